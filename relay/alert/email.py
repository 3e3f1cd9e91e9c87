"""Pages by e-mail, through the operator's own mail server: STARTTLS, TLS, or plain on loopback.

What leaves is equally long for every page of one priority and language: subject and text differ in length, and a header
of dots makes up for it. A page that is said again has the Message-ID that it had, so that mail systems show it once.
"""

import asyncio
import base64
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime

import aiosmtplib

from relay.alert import addresses, texts
from relay.alert.addresses import Address, Forbidden
from relay.alert.page import Page, Result, Word

IMPORTANCE = {"emergency": ("1 (Highest)", "high"), "urgent": ("2 (High)", "high")}
BASE64_LINE = 76
QUIT_S = 1.0
"""For good manners after the mail was taken; what becomes of them changes nothing."""


@dataclass(frozen=True, slots=True)
class Email:
    """A channel to one mailbox. *security* is ``starttls``, ``tls`` or ``none`` (loopback)."""

    sender: str
    recipient: str
    host: str
    port: int
    security: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    login: str = ""
    password: str = field(default="", repr=False)
    seconds: float = 15.0
    name: str = "email"

    async def send(self, page: Page) -> Result:
        """Hand the mail over to the server; its answer decides."""
        stage = _Stage()
        try:
            async with asyncio.timeout(self.seconds):
                return await self._send(page, stage)
        except Forbidden:
            return Result(Word.FAILED_PERM, "an inner address")
        except TimeoutError:
            return stage.broken("no answer in time")
        except aiosmtplib.SMTPResponseException as refusal:
            word = Word.FAILED_TEMP if 400 <= refusal.code < 500 else Word.FAILED_PERM
            return Result(word, f"code {refusal.code}")
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPConnectError, OSError):
            return stage.broken("no connection" if not stage.handed else "the connection broke")
        except aiosmtplib.SMTPException:
            return Result(Word.FAILED_PERM, "the server lacks what is configured")

    async def _send(self, page: Page, stage: "_Stage") -> Result:
        found = await addresses.resolve(self.host, self.port)
        line = await _connect(found)
        smtp = aiosmtplib.SMTP(
            hostname=self.host,
            sock=line,
            timeout=self.seconds,
            use_tls=self.security == "tls",
            start_tls=self.security == "starttls",
            tls_context=self.tls,
            username=self.login or None,
            password=self.password or None,
            local_hostname=self.sender.rpartition("@")[2],
        )
        try:
            await smtp.connect()
            await smtp.mail(self.sender)
            await smtp.rcpt(self.recipient)
            stage.handed = True
            answer = await smtp.data(self.message(page))
            stage.result = Result(Word.SENT, f"code {answer.code}")
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await smtp.quit(timeout=QUIT_S)
            return stage.result
        finally:
            smtp.close()  # it owns the socket

    def message(self, page: Page) -> bytes:
        """Return the whole mail as it is handed to the server."""
        longest = max(len(self._render(one, 0)) for one in texts.variants(page))
        return self._render(page, longest - len(self._render(page, 0)))

    def _render(self, page: Page, dots: int) -> bytes:
        """Return the mail with *dots* of filling."""
        said = texts.text(page)
        charset = "us-ascii" if said.isascii() else "utf-8"
        subject = Header(said, charset, header_name="Subject", maxlinelen=76).encode(linesep="\r\n")
        xpriority, importance = IMPORTANCE.get(page.priority, ("3 (Normal)", "normal"))
        domain = self.sender.rpartition("@")[2]
        body = base64.b64encode(f"{texts.padded(page)}\r\n".encode()).decode()
        lines = [
            f"From: {self.sender}",
            f"To: {self.recipient}",
            f"Date: {format_datetime(datetime.fromtimestamp(page.at, UTC))}",
            f"Message-ID: <{page.key}@{domain}>",
            f"Subject: {subject}",
            f"X-Priority: {xpriority}",
            f"Importance: {importance}",
            "Auto-Submitted: auto-generated",
            "X-Padding: " + "." * dots,
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Language: {page.language}",
            "Content-Transfer-Encoding: base64",
            "",
            *(body[at : at + BASE64_LINE] for at in range(0, len(body), BASE64_LINE)),
            "",
        ]
        return "\r\n".join(lines).encode("ascii")


@dataclass(slots=True)
class _Stage:
    """How far the conversation came: before the text was handed over, nothing can have arrived."""

    handed: bool = False
    result: Result | None = None

    def broken(self, why: str) -> Result:
        return self.result or Result(Word.UNKNOWN if self.handed else Word.FAILED_TEMP, why)


async def _connect(found: tuple[Address, ...]) -> socket.socket:
    """Return a socket that is connected to the first of the addresses that answers."""
    loop = asyncio.get_running_loop()
    last: OSError = OSError("no address")
    for address in found:
        line = socket.socket(address.family, socket.SOCK_STREAM)
        line.setblocking(False)
        try:
            await loop.sock_connect(line, (address.ip, address.port))
        except OSError as error:
            line.close()
            last = error
        except BaseException:
            with contextlib.suppress(OSError):
                line.close()
            raise
        else:
            return line
    raise last
