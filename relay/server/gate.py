"""The gate: what a connection may do before anybody knows whose it is, and how long it may keep the relay waiting.

aiohttp reads HTTP strictly and bounds its lines, headers and queues. What it leaves to its house stands here: how many
connections there may be, from one address and in all, how much may come in before a device has proven itself, and what
happens to somebody who does not take what was sent.
"""

import asyncio
import ipaddress
import resource
from collections import Counter
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from keys.errors import Code, Refused
from relay import errors
from relay.core import limits
from relay.server.clock import Clock
from relay.server.metrics import Metrics
from relay.server.outgoing import SLOWEST_BYTES_PER_S

QUIET_S = 20.0
"""A whole request must stand here so soon after the connection, or after the last answer."""
LINGER_S = 2.0
"""How long the rest of a refused body is read and dropped, so that the sender sees the refusal."""
HANDSHAKE_S = 10.0
"""How long TLS may take to agree."""
CONNECTIONS_MAX = 10_000
PER_ADDRESS_MAX = limits.CONNECTIONS_PER_ADDRESS
FILES_RESERVED = 128
"""File handles kept for the store, the pagers and the operator, when the machine allows few."""
GREETING_BYTES_MAX = 16 * 1024
"""What a connection may send on a session before its device is known (PROTOCOL 12.4)."""
BACKLOG = 1024
SWEEP_S = 5.0
STILL_S = 10.0
SESSION_STILL_S = 30.0
"""A connection, a session, from which nothing of what was sent is taken for so long is cut off."""
HERE = frozenset({"127.0.0.1", "::1"})
"""This machine, where a proxy stands: everybody comes from there, so only the total counts."""

HEADERS = {"Server": "poc24", "Cache-Control": "no-store"}
"""Of every answer: nothing about what it is made of, and nothing for a proxy to keep."""
TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def raise_files() -> int:
    """Allow this process as many open files as it may have; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # a hard limit above what this system really gives
            return soft
    return hard


def neighbourhood(address: str) -> str:
    """Return by what an address is counted: itself, or the /64 network that one household of IPv6 has whole."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    if found.is_loopback:
        return "::1"
    return f"{ipaddress.IPv6Address(int(found) >> 64 << 64)}/64"


class Gate:
    """Who is connected from where, and how many there may be."""

    def __init__(
        self, metrics: Metrics, clock: Clock, *, per_address: int = PER_ADDRESS_MAX
    ) -> None:
        """*per_address*: connections; 0 for no limit, if a proxy stands before the relay and has one."""
        self.metrics = metrics
        self.clock = clock
        self._per_address = per_address
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = min(CONNECTIONS_MAX, max(files - FILES_RESERVED, files // 2))
        self._from: Counter[str] = Counter()
        self._visitors: set[Visitor] = set()

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._visitors)

    def enter(self, visitor: "Visitor") -> bool:
        """Let a connection in, unless there are too many of them."""
        address = visitor.address
        crowded = 0 < self._per_address <= self._from[address] and address not in HERE
        if crowded or len(self) >= self._most:
            self.metrics.limited("connections")
            return False
        self._visitors.add(visitor)
        self._from[address] += 1
        return True

    def leave(self, visitor: "Visitor") -> None:
        """Forget a connection that was let in."""
        self._visitors.discard(visitor)
        self._from[visitor.address] -= 1
        if not self._from[visitor.address]:
            del self._from[visitor.address]

    def sweep(self) -> None:
        """Cut off whoever has not taken for too long what was sent, also where the relay has closed already."""
        for visitor in list(self._visitors):
            if visitor.stuck():
                self.metrics.limited("slow_reader")
                visitor.cut()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self.clock.sleep(SWEEP_S)
            self.sweep()


class Visitor(RequestHandler):
    """One connection at the gate."""

    __slots__ = ("_allowance", "_gate", "_left", "_line", "_still", "address")

    def __init__(self, gate: Gate, server: web.Server, **how: Any) -> None:
        """Stand before *gate*; *how* is what aiohttp wants to know besides."""
        super().__init__(server, loop=asyncio.get_running_loop(), **how)
        self._gate = gate
        self.address = ""
        self._line: asyncio.Transport | None = None
        self._allowance = -1
        self._left = 0
        self._still = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Come in, or be sent away at once."""
        line = cast("asyncio.Transport", transport)  # uvloop's has no such parent
        peer = transport.get_extra_info("peername")
        self.address = neighbourhood(str(peer[0])) if isinstance(peer, tuple) else ""
        if self._gate.enter(self):
            self._line = line
            super().connection_made(transport)
            return
        self._force_close = True  # what still comes in is not looked at
        line.write(TOO_MANY)
        line.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave."""
        if self._line is not None:
            self._line = None
            self._gate.leave(self)
        super().connection_lost(exc)

    # Before a device is known

    def greet(self) -> None:
        """From now on count what comes in, until :meth:`known`."""
        self._allowance = GREETING_BYTES_MAX

    def known(self) -> None:
        """The device has proven itself: what it may send is bounded by its session."""
        self._allowance = -1

    def data_received(self, data: bytes) -> None:
        """Take what came in; more than a greeting has from somebody unknown ends the connection."""
        if self._allowance >= 0 and data:
            if len(data) > self._allowance:
                self._gate.metrics.limited("greeting")
                self.cut()
                return
            self._allowance -= len(data)
        super().data_received(data)

    # Whoever does not take what was sent

    def stuck(self) -> bool:
        """Look, once in SWEEP_S: has the other side taken too little for too long?

        A session has its own, finer patience while it lives (relay.server.outgoing); here only standing still counts.
        """
        if self._line is None:
            return False
        left, before = self._line.get_write_buffer_size(), self._left
        self._left = left
        session = self._upgraded and not self._line.is_closing()
        least = 1 if session else SWEEP_S * SLOWEST_BYTES_PER_S / 2
        if not left or before - left >= least or left > before:
            self._still = 0
        else:
            self._still += 1
        return self._still * SWEEP_S >= (SESSION_STILL_S if session else STILL_S)

    def moved(self) -> None:
        """A long answer goes out piece by piece: it is not standing still, however full the buffer is."""
        self._still = 0

    def cut(self) -> None:
        """End the connection at once, whatever still waits to be sent."""
        self._force_close = True
        if self._line is not None:
            self._line.abort()

    # Whoever does not speak HTTP

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP in the house's words; a stranger's nonsense is not worth a line of the log."""
        if status >= 500 or request.writer.output_size:
            return super().handle_error(request, status, exc, message)
        refusal = Refused(Code.E_ENCODING, "This is not a request that the relay can read.")
        body = errors.to_json(refusal, self._gate.clock.now())
        response = web.Response(body=body, status=status, content_type="application/json")
        response.headers.update(HEADERS)
        response.force_close()
        return response


class Site(web.TCPSite):
    """The listening socket behind which the gate stands."""

    __slots__ = ("_gate", "_how")

    def __init__(
        self, runner: web.AppRunner, address: str, port: int, gate: Gate, **how: Any
    ) -> None:
        """Listen on *address*; *how* goes to aiohttp, ``ssl_context`` to the socket."""
        super().__init__(
            runner, address, port, ssl_context=how.pop("ssl_context", None), backlog=BACKLOG
        )
        self._gate = gate
        self._how = how

    async def start(self) -> None:
        """Open the socket."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Visitor(self._gate, server, **self._how),
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=None if self._ssl_context is None else HANDSHAKE_S,
        )
