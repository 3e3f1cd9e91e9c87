"""How a desk reaches its relay: one connection that carries whole binary messages (PROTOCOL 12).

TLS 1.3 with the relay's certificate; without TLS only to this machine itself. What is sealed and signed does not rest
on TLS, but who talks to whom does.
"""

import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from keys.errors import Failed
from relay import errors
from relay.desk.addresses import Addresses
from relay.wire.frames import FRAME_BYTES_MAX

SESSION_PATH = "/v1/session"
CONNECT_SECONDS = 15
HEARTBEAT_SECONDS = 20.0
"""A ping this often: a line that is dead is noticed within half a minute."""


class Socket(Protocol):
    """A connection that carries whole binary messages, whatever it is made of."""

    async def send(self, data: bytes) -> None:
        """Return when the message is on its way; OSError if it cannot be."""

    async def receive(self) -> bytes | None:
        """Return the next message; None once the other side is gone."""

    async def close(self, code: int, reason: str) -> None:
        """End the connection with a WebSocket code (RFC 6455 section 7.4); safe to call twice."""


Dial = Callable[[], Awaitable[Socket]]
"""Opens a connection to the relay; OSError where nobody answers."""


class _WebSocket:
    """aiohttp's WebSocket as a :class:`Socket`; it owns the aiohttp session that it came from."""

    def __init__(
        self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self._session = session
        self._socket = socket

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def receive(self) -> bytes | None:
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else None

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._socket.close(code=code, message=reason.encode()[:120])
        finally:
            await self._session.close()


def websocket_dial(relay: str | Addresses, ca: str = "") -> Dial:
    """Return the way to a relay (wss://host:port, or ws:// to this machine); to the next instance after one that fails.

    *ca*: path of a PEM file with the authority that the relay's certificate must come from; "": the system's. Raises
    Failed (78) for an open line to another machine, or a file that cannot be read.
    """
    addresses = Addresses.of(relay)
    for url in addresses:
        host = urlsplit(url).hostname or ""
        if not secure(url) and not _loopback(host):
            raise Failed(
                f"The relay at {host} would be reached without TLS.",
                hint="Use wss:// in desk.toml; ws:// is for a relay on this machine only.",
                exit_code=errors.CONFIGURATION,
            )
    context = tls_context(ca) if any(map(secure, addresses)) else None

    async def dial() -> Socket:
        url = addresses.current
        parts = urlsplit(url)
        scheme = "wss" if secure(url) else "ws"
        target = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{SESSION_PATH}"
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS)
        )
        try:
            socket = await session.ws_connect(
                target,
                ssl=context if context is not None and secure(url) else True,
                max_msg_size=FRAME_BYTES_MAX,
                heartbeat=HEARTBEAT_SECONDS,
                compress=0,
            )
        except aiohttp.ClientError as error:
            await session.close()
            addresses.move_on()
            raise ConnectionError(
                f"The relay at {target} cannot be reached: {_why(error)}."
            ) from None
        except BaseException:
            await session.close()
            addresses.move_on()
            raise
        return _WebSocket(session, socket)

    return dial


def _why(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not believed ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS 1.3 connection could be made"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or f"the line broke ({type(error.os_error).__name__})"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"what answers there is no relay (HTTP status {error.status})"
    return str(error) or type(error).__name__


def secure(url: str) -> bool:
    """Whether an address is one with TLS."""
    return urlsplit(url).scheme in {"wss", "https"}


def tls_context(ca: str) -> ssl.SSLContext:
    """Return how TLS 1.3 is spoken with the relay; Failed (78) for a file *ca* that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=str(Path(ca)) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Failed(
            f"The certificate file {ca} cannot be used: {error}.",
            hint="Put the path of the relay's CA as a PEM file into desk.toml (`ca`).",
            exit_code=errors.CONFIGURATION,
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
