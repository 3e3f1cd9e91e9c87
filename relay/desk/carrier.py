"""How blobs travel between desk and relay: over HTTP, piece by piece, resumed where it broke off (PROTOCOL 12).

A piece is streamed from and to a file, so that nobody holds it in memory. What the relay says is not believed: it gives
no byte more than was asked for, and whether what came is right is found out by whoever opens it.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp

from keys.errors import Code, Refused
from relay import errors
from relay.desk.addresses import Addresses
from relay.desk.dial import CONNECT_SECONDS, secure, tls_context
from relay.desk.roster import TurnedDown

PIECE_BYTES = 8 * 1024 * 1024
"""After each piece the most pressing attachment is next; a line that breaks loses no more than one."""
READ_BYTES = 64 * 1024
PIECE_SECONDS = 600
SILENCE_SECONDS = 60
"""How long the relay may say nothing in the middle of a piece."""
PATH = "/v1/blobs/"
OFFSET = "Upload-Offset"
_OFFSET = re.compile(r"[0-9]{1,12}\Z")
_RANGE = re.compile(r"bytes ([0-9]{1,12})-([0-9]{1,12})/([0-9]{1,12})\Z")


Found = TypeVar("Found")
Bearer = Callable[[bool], Awaitable[str]]
"""Gives the session's bearer token; True: the one before was refused, ask for another."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a blob the relay has. *whole*: all of it, and durable."""

    whole: bool
    offset: int


class Carrier(Protocol):
    """The three calls about blobs, whatever carries them.

    Each raises TurnedDown for what the relay refuses, Refused for an answer that none may give, OSError where the line
    breaks. *token* is the session's bearer token.
    """

    async def look(self, token: str, blob: str) -> Standing:
        """Return how much of a blob the relay has from this device."""

    async def put(
        self, token: str, blob: str, file: BinaryIO, start: int, end: int, total: int
    ) -> Standing:
        """Send the bytes of *file* from *start* to *end* (exclusive) of *total*; return what the relay has then."""

    async def get(
        self,
        token: str,
        blob: str,
        write: Callable[[bytes], object],
        start: int,
        end: int,
        total: int,
    ) -> None:
        """Hand the bytes from *start* to *end* (exclusive) of *total* to *write*, as they come."""

    async def close(self) -> None:
        """End every connection."""


class Authorized:
    """The calls with the token of the session at hand; one that the relay refuses is renewed, once a call."""

    def __init__(self, carrier: Carrier, bearer: Bearer) -> None:
        """Call by *carrier* with what *bearer* gives."""
        self._carrier = carrier
        self._bearer = bearer

    async def look(self, blob: str) -> Standing:
        """Return how much of a blob the relay has from this device."""
        return await self._with(lambda token: self._carrier.look(token, blob))

    async def put(self, blob: str, file: BinaryIO, start: int, end: int, total: int) -> Standing:
        """Send a piece of a blob; return what the relay has then."""
        return await self._with(
            lambda token: self._carrier.put(token, blob, file, start, end, total)
        )

    async def get(
        self, blob: str, write: Callable[[bytes], object], start: int, end: int, total: int
    ) -> None:
        """Fetch a piece of a blob."""
        await self._with(lambda token: self._carrier.get(token, blob, write, start, end, total))

    async def _with(self, call: Callable[[str], Awaitable[Found]]) -> Found:
        try:
            return await call(await self._bearer(False))
        except TurnedDown as refused:
            if refused.code is not Code.E_AUTH:
                raise
        return await call(await self._bearer(True))


class HttpCarrier:
    """The calls over HTTP, at the address where the session's WebSocket is too."""

    def __init__(self, relay: str | Addresses, ca: str = "") -> None:
        """Speak with the relay as :func:`relay.desk.dial.websocket_dial` does; it has checked both."""
        self._addresses = Addresses.of(relay)
        self._tls = tls_context(ca) if any(map(secure, self._addresses)) else None
        self._http: aiohttp.ClientSession | None = None

    @property
    def _base(self) -> str:
        parts = urlsplit(self._addresses.current)
        scheme = "https" if secure(self._addresses.current) else "http"
        return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{PATH}"

    async def look(self, token: str, blob: str) -> Standing:
        """Return how much of a blob the relay has from this device."""
        async with self._call("HEAD", token, blob) as answer:
            if answer.status == 404:  # HEAD has no body that could say so
                return Standing(whole=False, offset=0)
            return await _standing(answer)

    async def put(
        self, token: str, blob: str, file: BinaryIO, start: int, end: int, total: int
    ) -> Standing:
        """Send a piece of a blob."""
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{total}",
            "Content-Type": "application/octet-stream",
        }
        file.seek(start)
        body = _streamed(file, end - start)
        # The relay looks at who asks and for how much before the first byte leaves.
        async with self._call(
            "PUT", token, blob, headers=headers, data=body, expect100=True
        ) as answer:
            if answer.status == 409 and OFFSET in answer.headers:
                return Standing(whole=False, offset=_offset(answer))
            return await _standing(answer)

    async def get(
        self,
        token: str,
        blob: str,
        write: Callable[[bytes], object],
        start: int,
        end: int,
        total: int,
    ) -> None:
        """Fetch a piece of a blob."""
        headers = {"Range": f"bytes={start}-{end - 1}"}
        async with self._call("GET", token, blob, headers=headers) as answer:
            left = await _expected(answer, start, end, total)
            async for data in answer.content.iter_chunked(READ_BYTES):
                if len(data) > left:
                    answer.close()
                    raise Refused(
                        Code.E_TOO_LARGE, "The relay gives more of an attachment than there is."
                    )
                write(data)
                left -= len(data)
            if left:
                raise ConnectionError("The relay stopped in the middle of an attachment.")

    async def close(self) -> None:
        """End every connection."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    @contextlib.asynccontextmanager
    async def _call(
        self, method: str, token: str, blob: str, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request; what the library raises becomes ConnectionError."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=PIECE_SECONDS, connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
                ),
            )
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept-Encoding": "identity",
            **more.pop("headers", {}),
        }
        try:
            async with self._http.request(
                method,
                self._base + blob,
                headers=headers,
                allow_redirects=False,
                ssl=self._tls if self._tls is not None and self._base.startswith("https") else True,
                **more,
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broken(error) from None


def _broken(error: BaseException) -> ConnectionError:
    why = str(error) or type(error).__name__
    return ConnectionError(f"The line broke while an attachment was moved ({why[:200]}).")


async def _streamed(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    left = size
    while left:
        data = file.read(min(left, READ_BYTES))
        if not data:
            raise OSError("A sealed attachment is shorter than it was.")
        left -= len(data)
        yield data


async def _standing(answer: aiohttp.ClientResponse) -> Standing:
    if answer.status in {200, 201}:
        return Standing(whole=True, offset=0)
    if answer.status in {202, 204}:
        return Standing(whole=False, offset=_offset(answer))
    raise await _refusal(answer)


async def _expected(answer: aiohttp.ClientResponse, start: int, end: int, total: int) -> int:
    """Return how many bytes are to come, or raise what the relay said in their place."""
    if answer.status not in {200, 206}:
        raise await _refusal(answer)
    if answer.status == 206:
        named = _RANGE.match(answer.headers.get("Content-Range", ""))
        if named is None or tuple(map(int, named.groups())) != (start, end - 1, total):
            raise Refused(Code.E_BINDING, "The relay gives another part than was asked for.")
    elif (start, end) != (0, total):
        raise Refused(Code.E_BINDING, "The relay gives the whole where a part was asked for.")
    return end - start


def _offset(answer: aiohttp.ClientResponse) -> int:
    text = answer.headers.get(OFFSET, "")
    if not _OFFSET.match(text):
        raise Refused(Code.E_ENCODING, "The relay does not say how much of an attachment it has.")
    return int(text)


async def _refusal(answer: aiohttp.ClientResponse) -> Refused:
    """Return what the relay said; the connection ends, for a body may be on its way that nobody wants."""
    try:
        return await _said(answer)
    finally:
        answer.close()


async def _said(answer: aiohttp.ClientResponse) -> Refused:
    if answer.status == 401:  # of a HEAD nothing but the status comes
        return TurnedDown(Code.E_AUTH, "The relay wants another token.")
    data = await answer.content.read(errors.ERROR_BYTES_MAX + 1)
    try:
        refused = errors.from_json(data)
    except Refused:
        if answer.status in {429, 503}:  # of a HEAD, or of what stands before a relay
            return TurnedDown(Code.E_BUSY, "The relay is busy.")
        return Refused(
            Code.E_ENCODING,
            f"What answers for attachments at the relay's address is no relay (status {answer.status}).",
        )
    return TurnedDown(refused.code, refused.text)
