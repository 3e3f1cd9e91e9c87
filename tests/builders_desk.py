"""A whole network inside one test: the real relay (sessions, corridor, a store) and real desks over lines in memory.

::

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await au.desk.wait(sent["msg"], "delivered", 60)

    perform(story, tmp_path)

Time is virtual; archives are real SQLite files under *tmp_path*.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from builders import BODY, BODY_TYPE, header_of
from builders_door import Door
from builders_keys import NOW, World
from builders_loop import Line, MemorySocket, VirtualClock, play

from keys import suite
from keys.directory import begin
from keys.identity import Signer
from keys.statement import Statement, b64u
from relay.desk.archive import Archive
from relay.desk.service import Desk
from relay.exchange import Exchange
from relay.ledger import Told
from relay.store.base import Store
from relay.store.memory import MemoryStore
from relay.wire import content, receipt
from relay.wire.envelope import Header

Tamper = Callable[[bytes], list[bytes]]
"""Sees each frame from the relay; returns what arrives in its place."""
DAY = 86_400
PATIENCE_S = 120
"""Virtual seconds in which anything that should happen by itself has happened."""


class Stage:
    """The relay, the way to it, and the desks that were seated."""

    def __init__(self, world: World, folder: Path, *, mapped: bool = True) -> None:
        """Set up the clock; :meth:`open` starts the relay. *mapped*: it can page every handle of every desk."""
        self.world = world
        self.mapped = mapped
        self.folder = folder
        self.clock = VirtualClock(asyncio.get_running_loop(), NOW)
        self.line = Line(self._serve)
        self.store: Store = MemoryStore()
        self.door: Door
        self.seats: list[Seat] = []
        self._ticking: asyncio.Task[None] | None = None

    async def _serve(self, socket: MemorySocket) -> None:
        await self.door.sessions.serve(socket)

    async def open(self, store: Store | None = None) -> None:
        """Start the relay on *store*, or on the one that it had; the directory is published if it has none."""
        self.store = store or self.store
        await self.store.start(self.clock.now())
        exchange = Exchange(
            self.store,
            service=self.world.service,
            instance=self.world.instance,
            evidence=self.world.evidence,
            trusted=begin(self.world.root),
            tell=self._tell,
            reachable=lambda _desk: ("duty",) if self.mapped else (),
        )
        await exchange.start(self.clock.now())
        self.door = Door(self.world, exchange, self.clock)
        if not exchange.roster.published:
            await exchange.publish(self.world.files, self.clock.now())
        self._ticking = asyncio.ensure_future(self._tick())

    def _tell(self, told: Told) -> None:
        self.door.sessions.tell(told)

    async def _tick(self) -> None:
        while True:
            await self.door.exchange.tick(self.clock.now())
            await self.clock.sleep(30)

    async def close(self) -> None:
        """Stop the relay: every line is cut."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
            self._ticking = None
        self.line.cut()
        await asyncio.sleep(0)
        await self.store.stop()

    async def restart(self, store: Store | None = None) -> None:
        """Stop and start the relay, on the same store or on another one."""
        self.line.down = True
        await self.close()
        self.line.down = False
        await self.open(store)

    async def outage(self, seconds: int, again: Callable[[], Store] | None = None) -> None:
        """Take the relay away for so long; start it anew on its store, or on what *again* opens."""
        self.line.down = True
        await self.close()
        await self.clock.sleep(seconds)
        self.line.down = False
        await self.open(again() if again else None)

    async def publish(self) -> None:
        """Publish the world's directory as it is now, and tell every device."""
        await self.door.sessions.publish(self.world.files, self.clock.now())

    async def freshen(self) -> None:
        """Let the freshness automaton sign, and publish."""
        self.world.freshen(self.clock.now())
        await self.publish()

    async def seat(self, desk: str, handle: str | None = None, **options: Any) -> "Seat":
        """Seat one device of a desk, and wait until its prekeys are published and settled."""
        seat = Seat(self, desk, handle, **options)
        self.seats.append(seat)
        seat.start()
        await seat.until(lambda: seat.connected)
        return seat

    async def pass_days(self, days: int) -> None:
        """Let days go by in which nobody is there but the relay; then the directory is fresh again."""
        assert self._ticking is not None
        self._ticking.cancel()
        await self.clock.sleep(days * DAY)
        await self.freshen()
        self._ticking = asyncio.ensure_future(self._tick())

    async def settle(self) -> None:
        """Let everybody finish what can be finished now: two virtual minutes."""
        await self.clock.sleep(PATIENCE_S)

    async def end(self) -> None:
        """Stop desks and relay."""
        for seat in self.seats:
            await seat.stop()
        self.line.down = True
        await self.close()
        await self.line.finish()


class Seat:
    """One device of a desk: its archive on disk, and the desk that runs on it between start and stop."""

    def __init__(
        self,
        stage: Stage,
        desk: str,
        handle: str | None = None,
        *,
        n: int = 0,
        error: int = 0,
        name: str = "",
        recovery: bytes = b"",
        policy: tuple[str, ...] = (),
    ) -> None:
        """Seat device *n* of an officer (the first without a handle); its clock is wrong by *error* seconds."""
        self.stage = stage
        self.name = desk
        self.handle = handle or stage.world.handles(desk)[0]
        self.device: Signer = stage.world.device(desk, self.handle, n)
        self.officer: Signer = stage.world.signer(desk, self.handle)
        self.clock = VirtualClock(asyncio.get_running_loop(), NOW, error=error)
        self.path = stage.folder / f"{name or f'{self.handle}-{n}'}.db"
        self.recovery = recovery
        self.key = hashlib.sha256(f"archive {self.path.name}".encode()).digest()
        self.socket: MemorySocket | None = None
        self.dial: Callable[[], Awaitable[MemorySocket]] = self._dial_of(stage)
        self.events: list[dict[str, Any]] = []
        self.parts: dict[str, Any] = {"policy": policy} if policy else {}
        self.archive: Archive
        self.desk: Desk
        self.task: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def _dial_of(self, stage: Stage) -> Callable[[], Awaitable[MemorySocket]]:
        async def dial() -> MemorySocket:
            self.socket = await stage.line.dial()
            return self.socket

        return dial

    def start(self) -> None:
        """Open the archive and run the desk."""
        self.archive = Archive(self.path, self.key, recovery=self.recovery)
        self.desk = Desk(
            desk=self.name,
            service=self.stage.world.service,
            device=self.device,
            archive=self.archive,
            clock=self.clock,
            dial=self.dial,
            **self.parts,
        )
        self.desk.begin(self.stage.world.root)
        self._listening = asyncio.ensure_future(self._listen())
        self.task = asyncio.ensure_future(self.desk.run())

    async def _listen(self) -> None:
        async for event in self.desk.watch():
            self.events.append(event)

    async def stop(self) -> None:
        """Stop the desk and close its archive; safe to call twice. A desk that crashed is only cleared away."""
        if self.task is None:
            return
        await self.desk.stop()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self._listening is not None
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        self.archive.close()
        self.task = None

    async def restart(self) -> None:
        """Stop the desk and start it again on the same archive."""
        await self.stop()
        self.start()

    def away(self) -> None:
        """Take this seat's way to the relay down, and no other's."""

        async def nobody() -> MemorySocket:
            raise ConnectionRefusedError("This desk's way to the relay is down.")

        self.dial = self.desk._link._dial = nobody
        self.cut()

    def through(self, tamper: Tamper) -> None:
        """Let every later line of this seat go through *tamper* on its way from the relay; the present one is cut."""
        honest = self._dial_of(self.stage)

        async def dial() -> MemorySocket:
            self.stage.line.on_dial = lambda _near, far: setattr(far, "tamper", tamper)
            try:
                return await honest()
            finally:
                self.stage.line.on_dial = None

        self.desk._link._dial = dial
        self.cut()

    def cut(self) -> None:
        """Break this seat's line; it may come back."""
        if self.socket is not None:
            self.socket.cut()

    def back(self, stage: Stage) -> None:
        """The way is there again."""
        self.dial = self.desk._link._dial = self._dial_of(stage)

    @property
    def connected(self) -> bool:
        """Whether the desk reads its mailbox."""
        return self.desk._link.connected

    async def until(self, so: Callable[[], object], seconds: float = PATIENCE_S) -> None:
        """Wait until *so* is true, or fail with what the desk noted."""
        end = asyncio.get_running_loop().time() + seconds
        while not so():
            if self.task is not None and self.task.done():
                self.task.result()
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"{self.name} waited in vain: {await self.desk.status()}")
            await asyncio.sleep(0.25)

    # What an officer does

    def header(self, to: str, **changes: Any) -> Header:
        """Return the header of an urgent request, as the desk's command line writes it."""
        now = self.desk._clock.now()
        plain = {"sender": self.name, "to": to, "dev": self.device.kid, "backup": ""}
        return header_of(self.stage.world, now, **{**plain, **changes})

    def write(
        self,
        to: str,
        *,
        body: bytes = BODY,
        kind: str = "request",
        thread: str = "",
        nonce: bytes = b"",
        **changes: Any,
    ) -> dict[str, str]:
        """Sign a message; return it as it is handed over."""
        header = self.header(to, **changes)
        stated = content.originate(
            header,
            kind=kind,
            body_type=BODY_TYPE,
            body=body,
            thread=thread,
            nonce=nonce or suite.random_bytes(16),
            created=header.created,
            officer=self.officer,
        )
        return {
            "header": b64u(header.encode()),
            "statement": b64u(stated.wire),
            "body": b64u(body),
        }

    async def send(self, to: str, **changes: Any) -> dict[str, Any]:
        """Sign and hand over a message."""
        made = self.write(to, **changes)
        return await self.desk.send(made["header"], made["statement"], made["body"])

    def act(self, kind: str, msg: str, statement: str, /, **changes: Any) -> Statement:
        """Sign what an officer says about a message."""
        fields: dict[str, Any] = {
            "msg": msg,
            "statement": statement,
            "desk": self.name,
            "at": self.desk._clock.now(),
        }
        if kind == "withdrawn":
            del fields["desk"]
        if kind == "closed":
            fields["outcome"] = ""
        return receipt.make(kind, {**fields, **changes}, self.officer)

    async def sign(self, kind: str, msg: str, **changes: Any) -> dict[str, Any]:
        """Sign and hand over an officer's act on a message that this desk holds."""
        found = await self.desk.show(msg)
        made = self.act(kind, found["msg"], found["statement"], **changes)
        return await self.desk.record(b64u(made.wire))

    # What can be seen

    async def shown(self) -> list[dict[str, Any]]:
        """Return what came in, oldest first: every message that was ever shown here."""
        listed = (await self.desk.inbox(all=True))["messages"]
        return [one for one in reversed(listed) if one["from"] != self.name]

    async def kinds(self, msg: str) -> list[str]:
        """Return the kinds of a message's verified steps, in order."""
        found = await self.desk.timeline(msg)
        return [line["what"] for line in found["lines"] if line["verified"]]

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the events of one sort that watchers saw."""
        return [one for one in self.events if one["event"] == event]


def perform(
    story: Callable[[Stage], Awaitable[None]],
    folder: Path,
    world: World | None = None,
    *,
    mapped: bool = True,
) -> None:
    """Play a story on a stage of its own, and clear everything away."""

    async def whole() -> None:
        stage = Stage(world or World(), folder, mapped=mapped)
        await stage.open()
        try:
            await story(stage)
        finally:
            await stage.end()

    play(whole())
