"""The relay, whole: its parts joined, started, drained and stopped. It runs in a process or inside one test.

Start: store, directory, timers, then the doors: nobody is let in before everything behind stands. Stop, the other way
round and with manners: not ready any more, no new calls, what is under way ends, what waits leaves, devices are told
when to come back, the store closes. Killing it at any point is safe; this is only kinder.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger

from keys.directory import begin
from keys.errors import Failed, Refused
from keys.identity import Signer
from relay.alert.page import Woken
from relay.alert.pager import Pager
from relay.blobs import Blobs
from relay.core import limits
from relay.exchange import Exchange
from relay.ledger import Told
from relay.server import control, observe, others
from relay.server.api import TEMPLATES, Api
from relay.server.auditor import Auditor
from relay.server.auth import Tokens
from relay.server.clock import STEP_S, Clock
from relay.server.gate import BACKLOG, LINGER_S, PER_ADDRESS_MAX, QUIET_S, Gate, Site
from relay.server.measured import measured
from relay.server.metrics import Metrics
from relay.server.observe import Health
from relay.server.rates import Call, Rates
from relay.server.sessions import Sessions
from relay.server.source import EVERY_S, Folder
from relay.server.stock import Stock
from relay.server.ticker import Ticker
from relay.store.base import Store
from relay.store.blobs import Folder as Blobfolder
from relay.store.room import Room

STALE_S = 24 * 3600
"""A directory this long past its date no longer counts as fresh enough to send new devices here."""
SHUTDOWN_S = 2.0
CLEANUP_S = 5.0
_HTTP: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": QUIET_S,
    "lingering_time": LINGER_S,
    "read_bufsize": 2**16,  # what waits of each body: many large ones come at once
}
DRAIN_S = 20
"""The kind part of a stop takes no longer than this; what comes after is safe without it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a relay stands: its names, keys and addresses. Port 0 takes any free one."""

    service: str
    instance: str
    evidence: Signer = field(repr=False)
    root: bytes = field(repr=False)
    """The trust anchor: root document 1."""
    address: str = "127.0.0.1"
    port: int = 0
    observe_address: str = "127.0.0.1"
    observe_port: int = 0
    version: str = "unknown"
    tls: ssl.SSLContext | None = None
    tls_expires: int = 0
    control: Path | None = None
    folder: Path | None = None
    first: Mapping[str, bytes] | None = field(default=None, repr=False)
    """Directory files to begin with, if the store holds none."""
    per_minute: Mapping[Call, int] = field(default_factory=dict)
    connections_per_address: int = PER_ADDRESS_MAX
    woken: Mapping[tuple[str, str], Woken] = field(default_factory=dict, repr=False)
    """Who stands behind each (desk, handle): whom this relay can page."""
    room: Room | None = None
    """The disk under the store; None: nobody watches it."""
    blobs: Path | None = None
    """The folder of attachments; None: none are taken."""
    blob_quota: int = limits.BLOB_QUOTA_BYTES
    safety: str = "embedded: one file; lost is only what this machine's disk loses"
    """Where things are kept, and what could still be lost: said at /readyz."""
    several: bool = False
    """Other instances work on the same store and the same folder of attachments."""

    def reachable(self, desk: str) -> frozenset[str]:
        """Return the handles of a desk that lead somewhere."""
        return frozenset(handle for one, handle in self.woken if one == desk)

    def attachments(self, store: Store) -> Blobs | None:
        """Return the attachments whose rows are in *store*; None if this place takes none."""
        if self.blobs is None:
            return None
        folder = Blobfolder(self.blobs, shared=self.several)
        room = self.room and self.room.earlier(self.blobs / "any")
        return Blobs(store, folder, quota=self.blob_quota, room=room)


class Relay:
    """One instance. ``await start()``, then ``await run(stop)`` or ``await drain()`` and ``await stop()``."""

    def __init__(
        self,
        place: Place,
        store: Store,
        clock: Clock,
        log: FilteringBoundLogger,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """Join the parts; nothing is opened yet."""
        self.place = place
        self.clock = clock
        self.log = log
        self.metrics = Metrics(
            registry or CollectorRegistry(), version=place.version, routes=TEMPLATES
        )
        self.metrics.expires("tls", place.tls_expires)
        if place.room is not None:
            self.metrics.disk(place.room)
        store = measured(store, self.metrics)
        self.exchange = Exchange(
            store,
            service=place.service,
            instance=place.instance,
            evidence=place.evidence,
            trusted=begin(place.root),
            tell=self._tell,
            meter=self.metrics,
            reachable=place.reachable,
            room=place.room,
            blobs=place.attachments(store),
        )
        tokens, rates = Tokens(), Rates(dict(place.per_minute))
        parts: dict[str, Any] = {
            "tokens": tokens,
            "rates": rates,
            "metrics": self.metrics,
            "log": log,
        }
        self.sessions = Sessions(self.exchange, clock, **parts)
        self.api = Api(self.sessions, clock=clock, version=place.version, **parts)
        self.gate = Gate(self.metrics, clock, per_address=place.connections_per_address)
        self.ticker = Ticker(self.exchange, clock, self.metrics, log)
        self.auditor = Auditor(self.exchange, clock, self.metrics, log)
        self.stock = Stock(self.exchange, self.metrics, log)
        self.pager = Pager(
            self.exchange.store,
            place.woken,
            clock,
            self.metrics,
            log,
            sender=self.exchange.sender,
            paged=self.exchange.deadlines.paged,
            unreachable=self.exchange.deadlines.unreachable,
        )
        self.port = 0
        self.observe_port = 0
        self._folder = Folder(place.folder) if place.folder else None
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False
        self._lacking = 0
        self._bell_socket: socket.socket | None = None

    def _tell(self, told: Told) -> None:
        self.sessions.tell(told)

    # Start

    async def start(self) -> None:
        """Open the store, take up the directory, let timers fire, open the doors. Failed with a sentence if not."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        await self.exchange.store.start(self.clock.now())
        self.metrics.stands(self.exchange.store.epoch)
        await self.ticker.resume()
        now = self.clock.now()
        await self._sweep(now)
        await self.exchange.start(now)
        await self.stock.take()
        await self._first_directory(now)
        await self.ticker.turn()
        self._tasks = [
            asyncio.ensure_future(one)
            for one in (
                self.ticker.run(),
                self.auditor.run(),
                self.pager.run(),
                self.sessions.run(),
                self.gate.run(),
                self._watch(),
                others.follow(self.sessions, self.clock),
            )
        ]
        place = self.place
        if place.control is not None:
            await self._bell(place.control)
        observed = observe.application(self.metrics.registry, self.ticker.alive, self.health)
        self.observe_port = await self._open(
            observed, place.observe_address, place.observe_port, "observe", None
        )
        self.port = await self._open(
            self.api.application(), place.address, place.port, "listen", place.tls, self.gate
        )
        self._ready = True
        self.log.info(
            "ready",
            address=place.address,
            port=self.port,
            service=place.service,
            origin=place.instance,
            version=place.version,
            epoch=self.exchange.store.epoch,
        )

    async def _sweep(self, now: int) -> None:
        if self.exchange.blobs is None:
            return
        swept = await self.exchange.blobs.start(now)
        if swept.removed:
            self.log.info("files that no attachment belongs to were removed", count=swept.removed)
        self._lacking = len(swept.missing)
        if swept.missing:
            text = "Their files are gone or cut: messages arrive without them. Run relay doctor."
            self.log.error("attachments are missing", count=len(swept.missing), text=text)

    async def _first_directory(self, now: int) -> None:
        if not self.exchange.roster.published and self.place.first:
            await self._publish(self.place.first, now, "pack")
        await self._look(now)
        if self.exchange.roster.published:
            self.metrics.expires("directory", self.exchange.directory.expires)
        else:
            self.log.warning("no directory yet", text="Publish one: relay publish PACK --url URL")

    async def _look(self, now: int) -> None:
        if self._folder is None:
            return
        try:
            files = await self._folder.newer()
        except Failed as failure:
            self.log.warning("the directory's folder was not read", text=failure.text)
            return
        if files is not None:
            await self._publish(files, now, "folder")

    async def _publish(self, files: Mapping[str, bytes], now: int, source: str) -> None:
        try:
            await self.sessions.publish(files, now)
        except Refused as refusal:
            self.log.warning(
                "a directory was refused", source=source, code=refusal.code.value, text=refusal.text
            )

    async def _watch(self) -> None:
        while True:
            await self.clock.sleep(EVERY_S)
            await self._look(self.clock.now())

    async def _open(
        self,
        app: web.Application,
        address: str,
        port: int,
        section: str,
        tls: ssl.SSLContext | None,
        gate: Gate | None = None,
    ) -> int:
        runner = await self._runner(app)
        if gate is None:
            site = web.TCPSite(runner, address, port, ssl_context=tls, backlog=BACKLOG)
        else:
            site = Site(runner, address, port, gate, ssl_context=tls, **_HTTP)
        try:
            await site.start()
        except OSError as error:
            raise _taken(error, address, port, section) from None
        bound: int = runner.addresses[0][1]
        return bound

    async def _bell(self, path: Path) -> None:
        runner = await self._runner(
            control.application(
                self.exchange.store, self.exchange.roster, self.place.woken, self.exchange.blobs
            )
        )
        self._bell_socket = control.listen(path)
        await web.SockSite(runner, self._bell_socket).start()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=SHUTDOWN_S, **_HTTP)
        await runner.setup()
        self._runners.append(runner)
        return runner

    # Health

    def health(self) -> Health:
        """Return what keeps this relay from serving, and what soon might."""
        reasons: list[str] = []
        warnings: list[str] = []
        if not self._ready:
            reasons.append("starting")
        if self.sessions.draining:
            reasons.append("draining")
        if not self.ticker.alive():
            reasons.append("the store or the event loop does not answer")
        roster, now = self.exchange.roster, self.clock.now()
        if not roster.published:
            reasons.append("no directory was published yet")
        elif now > roster.directory.expires + STALE_S:
            reasons.append("the directory is more than a day past its date")
        else:
            reasons += self._other_key()
            warnings += self._stale(now)
        if abs(self.ticker.offset) > STEP_S:
            warnings.append(
                "the wall clock and the relay's clock differ: see the runbook, RelayClockStepped"
            )
        if self.place.room is not None and not self.place.room.submissions_allowed():
            # Not a reason: receipts are still taken, so desks must still be sent here.
            warnings.append(
                "the disk is nearly full, new messages are refused: see the runbook, RelayDiskNearlyFull"
            )
        if self._lacking:
            warnings.append("attachments are missing since the start: run relay doctor")
        if 0 < self.place.tls_expires < now:
            warnings.append("the TLS certificate is past its date")
        return Health(tuple(reasons), tuple(warnings), self.place.safety)

    def _other_key(self) -> list[str]:
        """Desks check the evidence key: one that is not in the directory signs for nobody."""
        place = self.place
        try:
            if (
                self.exchange.directory.relay_key(place.service, place.instance)
                == place.evidence.public
            ):
                return []
        except Refused:
            pass
        return ["the directory does not list this relay's evidence key"]

    def _stale(self, now: int) -> list[str]:
        if self.exchange.directory.fresh(now):
            return []
        return ["the directory is past its date: run keys freshen, desks do not send unasked"]

    # The end

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until *stop* is set, then drain and stop; Failed when a part that all depends on has ended."""
        waiting = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    self._broken(task)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self.drain()
        finally:
            waiting.cancel()
            await self.stop()

    def _broken(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        if isinstance(error, Failed):
            raise error
        raise Failed("A part that the whole relay stands on has ended.", exit_code=70) from error

    async def drain(self) -> None:
        """Stop being ready, refuse new calls, finish what is under way, and send everybody away kindly."""
        self.log.info("draining", count=len(self.sessions))
        await asyncio.gather(self.sessions.drain(), self.pager.drain())

    async def stop(self) -> None:
        """Close the doors, end the loops, close the store. Safe to call twice and after a start that failed."""
        self._ready = False
        self.sessions.draining = True
        for runner in reversed(self._runners):
            # Whatever hangs on a connection does not keep the store from being closed.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLEANUP_S):
                    await runner.cleanup()
        self._runners = []
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.stock.stop()
        if self.exchange.blobs is not None:
            await self.exchange.blobs.stop()
        await self.exchange.store.stop()
        if self._bell_socket is not None and self.place.control is not None:
            self._bell_socket = None
            with contextlib.suppress(OSError):
                self.place.control.unlink()


def _taken(error: OSError, address: str, port: int, section: str) -> Failed:
    if error.errno == errno.EADDRINUSE:
        return Failed(
            f"Port {port} on {address} is taken by another program.",
            hint=f"See which: ss -ltnp 'sport = :{port}'. Stop it, or set [{section}] port to another.",
            exit_code=69,
        )
    if error.errno == errno.EACCES:
        return Failed(
            f"This account may not listen on port {port}.",
            hint=f"Set [{section}] port to one above 1023, or give the program the right (setcap, systemd).",
            exit_code=77,
        )
    return Failed(
        f"The relay cannot listen on {address} port {port}: {error.strerror}.",
        hint=f"[{section}] address must be one of this machine's own.",
        exit_code=69,
    )
