"""Pages by webhook: one POST of a signed statement of kind ``page`` (PROTOCOL 6.5, 10).

The receiver verifies it with the relay's evidence key from the directory. It is asked for a status and for nothing
else: a redirect is not followed, an answer's body is not read, no address but the configured host's is called.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from keys.identity import Signer
from keys.statement import encode
from relay.alert import addresses, texts
from relay.alert.addresses import Address, Forbidden
from relay.alert.page import Page, Result, Word
from relay.wire import receipt

CONNECT_S = 5.0
AGAIN = frozenset({408, 421, 425, 429})
"""Statuses below 500 after which the same call may do better."""
RETRY_AFTER_S_MAX = 300


@dataclass(frozen=True, slots=True)
class Webhook:
    """A channel to one URL: https, or plain http on loopback."""

    url: str
    service: str
    evidence: Signer = field(repr=False)
    token: str = field(default="", repr=False)
    """Sent as a bearer token to receivers that ask for one."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    seconds: float = 15.0
    name: str = "webhook"

    async def send(self, page: Page) -> Result:
        """Post the page; the status decides."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._send(page)
        except TimeoutError:
            return Result(Word.UNKNOWN, "no answer in time")

    async def _send(self, page: Page) -> Result:
        url = URL(self.url)
        try:
            found = await addresses.resolve(url.host or "", url.port or 0)
        except Forbidden:
            return Result(Word.FAILED_PERM, "an inner address")
        except OSError:
            return Result(Word.FAILED_TEMP, "the name does not resolve")
        connector = aiohttp.TCPConnector(resolver=_Known(found), ssl=self.tls or True)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(
            connector=connector, timeout=limits, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            try:
                async with session.post(
                    url, data=self.body(page), headers=self._headers(page), allow_redirects=False
                ) as response:
                    answer = judged(response.status, response.headers.get("Retry-After", ""))
                    response.close()  # whatever it goes on to say
                    return answer
            except aiohttp.ClientSSLError:
                return Result(Word.FAILED_TEMP, "its certificate does not fit")
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                return Result(Word.FAILED_TEMP, "no connection")
            except aiohttp.ClientError:
                return Result(Word.UNKNOWN, "the connection broke")

    def _headers(self, page: Page) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": page.key,
            hdrs.USER_AGENT: "poc24",
        }
        return headers | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def body(self, page: Page) -> bytes:
        """Return the signed statement; equally long for every page of one priority."""
        longest = max(len(encode(self._fields(one))) for one in texts.variants(page))
        fields = self._fields(page)
        fields["pad"] = "." * (longest - len(encode(fields)))
        return receipt.make("page", fields, self.evidence).wire

    def _fields(self, page: Page) -> dict[str, str | int]:
        return {
            "relay": self.service,
            "desk": page.desk,
            "code": page.code,
            "priority": page.priority,
            "mode": page.mode,
            "count": page.count,
            "oldest": page.oldest,
            "repeat": int(page.repeat),
            "language": page.language,
            "text": texts.text(page),
            "pad": "",
            "at": page.at,
        }


class _Known(AbstractResolver):
    """Answers with the addresses that were looked at, and asks nobody."""

    def __init__(self, found: tuple[Address, ...]) -> None:
        self._found = found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=one.ip, port=port, family=one.family, proto=0, flags=0
            )
            for one in self._found
        ]

    async def close(self) -> None:
        """Nothing is open."""


def judged(status: int, retry_after: str) -> Result:
    """Return what an HTTP status says: 2xx sent, a few and 5xx later again, everything else never."""
    why = f"status {status}"
    if 200 <= status < 300:
        return Result(Word.SENT, why)
    if status in AGAIN or status >= 500:
        plain = retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 9
        return Result(
            Word.FAILED_TEMP, why, min(int(retry_after), RETRY_AFTER_S_MAX) if plain else 0
        )
    return Result(Word.FAILED_PERM, why)
