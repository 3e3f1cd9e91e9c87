"""A whole relay under a seed: desks, crashes, outages, stepped clocks, channels that lie; and what must hold of it.

Everything of the relay is real: corridor, ladder, timer loop, clock, auditor, pager. The disk is the reference store, and
every process on it may die before or after any call. Time is virtual. A seed fixes everything: what fails once fails again.

The desks are honest and slow: they send again until they are answered. What a network of them must be able to rely on is
checked from the outside, from what lies on the disk at the end (:mod:`builders_invariants`).
"""

import asyncio
import copy
import io
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from builders import Letter, letter_of, receipt_of, relay_of, submission_of
from builders_crash import Killed, crashing
from builders_keys import World
from builders_loop import VirtualLoop

from keys.errors import Code, Refused
from keys.statement import Statement
from relay.alert.page import Page, Result, Woken, Word
from relay.alert.pager import Pager
from relay.core.message import Message, timers
from relay.exchange import Exchange
from relay.server import logs
from relay.server.auditor import Auditor
from relay.server.clock import SystemClock
from relay.server.ticker import TURN_S, Ticker
from relay.store.memory import MemoryStore
from relay.wire import receipt

ROUTES = (
    ("VN", "AU", "AU-B"),
    ("VN", "FR", ""),
    ("AU", "FR", "AU-B"),
    ("FR", "AU", "AU-B"),
    ("AU", "VN", ""),
)
"""From, to, backup. FR has no endpoint that the relay can page, so its backstop is passed over."""
MAPPED = ("AU", "AU-B", "VN")
LETTERS = 96
SLOTS, SLOT_S = 16, 150
"""Letters are sealed once, each for one of these moments, and used by every seed: sealing is what takes longest."""
EXPIRES_S = 9000
OUTAGE_S_MAX = 900
STEPS_S = (3600, -3600)
PREKEYS_S = 35 * 86_400
"""After this all prekeys of the world are past: the relay knows none, and judges no envelope by them."""
LOOK_S = 300.0
"""The longest nap of the loops, which wake for what is due and for what comes in."""
DEAD_S = 60_000
"""What a hanging channel takes; the pager cuts it off."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How bad a seed's world is, per call of the store or per page."""

    crash: float
    fails: float
    hangs: float
    unknown: float


@dataclass(slots=True)
class Story:
    """One message of a seed: its letter, and what people do about it and when (seconds after it was accepted)."""

    letter: Letter
    at: int
    acts: list[tuple[int, str, str]]
    """When, which receipt, by which desk."""
    accepted: float = -1.0
    """True seconds at which the desk held its ``accepted``; -1 before."""


@dataclass(slots=True)
class Sent:
    """A page that reached a channel."""

    at: float
    page: Page
    result: str


@dataclass
class Record:
    """What a run leaves for those who judge it."""

    world: World
    disk: MemoryStore
    start: int
    stories: list[Story]
    sent: list[Sent] = field(default_factory=list)
    up: list[tuple[float, float]] = field(default_factory=list)
    """From when to when each process served, in seconds since the start."""
    counted: Counter[str] = field(default_factory=Counter)
    """What happened, so that a test can see that something did."""
    wrong: list[str] = field(default_factory=list)
    """What was found to be wrong while it ran."""
    end: int = 0
    """When the run ended."""


class Pool:
    """Letters of one world, sealed when they are first asked for, and its store as it begins."""

    def __init__(self) -> None:
        """Hold a ceremony; the relay's store begins with its directory and prekeys."""
        self.world = World(("VN", "AU", "AU-B", "FR"), officers=1)
        self.start = self.world.now + 1200
        self._letters: dict[int, tuple[int, Letter]] = {}
        self._disk: MemoryStore | None = None

    def letter(self, number: int) -> tuple[int, Letter]:
        """Return a letter and the second in which it was sealed: one of LETTERS, each of its own kind."""
        if number not in self._letters:
            after = random.Random(number).randrange(SLOTS) * SLOT_S
            self._letters[number] = after, self.seal(number, after)
        return self._letters[number]

    def seal(self, number: int, after: int) -> Letter:
        """Seal letter *number* so many seconds after the start: its number decides its kind."""
        dice = random.Random(number)
        sender, to, backup = dice.choice(ROUTES)
        priority = dice.choice(("emergency", "emergency", "urgent", "routine"))
        mode = dice.choice(("actual", "actual", "actual", "exercise", "test"))
        ack_by = dice.choice((300, 900, 1800, 3600, 6000, 0))
        at = self.start + after
        desks = [to, sender, *([backup] if backup else [])]
        first = [one.key for desk in desks for one in self.world.current_prekeys(desk, self.start)]
        return letter_of(
            *(self.world, at),
            sender=sender,
            to=to,
            backup=backup,
            dev=self.world.device(sender).kid,
            officer=self.world.signer(sender),
            priority=priority,
            mode=mode,
            ack_by=ack_by and at + ack_by,
            expires=at + EXPIRES_S,
            nonce=str(number),
            prekeys=first,
        )

    async def disk(self) -> MemoryStore:
        """Return a store of its own that holds the directory and nothing else."""
        if self._disk is None:
            self._disk = MemoryStore()
            await relay_of(self.world, self._disk, self.start)
        return copy.deepcopy(self._disk)


class Machine:
    """The wall clock that somebody moves, over seconds that go by truly."""

    def __init__(self, start: int, *, ntp: bool) -> None:
        """Begin at *start*; *ntp*: a time service puts the wall clock right and vouches for it when it is."""
        self.start = start
        self.step = 0
        self._ntp = ntp

    def wall(self) -> float:
        """Return what the wall clock shows."""
        return self.true() + self.step

    def true(self) -> float:
        """Return the true time."""
        return self.start + asyncio.get_running_loop().time()

    def clock(self) -> SystemClock:
        """Return a new process's clock."""
        return SystemClock(
            running=lambda: 500 + asyncio.get_running_loop().time(),
            wall=self.wall,
            trusted=lambda: self._ntp and not self.step,
            run="clock.sim",
        )


class BadChannel:
    """One endpoint's only channel: it takes, fails, hangs, and sometimes says nothing or the wrong thing."""

    name = "webhook"
    seconds = 10.0

    def __init__(self, dice: random.Random, chances: Chances, record: Record) -> None:
        """Throw *dice* for every page; put what arrives into *record*."""
        self._dice, self._chances, self._record = dice, chances, record

    async def send(self, page: Page) -> Result:
        """Take a page or not, and say so or not."""
        throw, chances = self._dice.random(), self._chances
        word, arrives = Word.SENT, True
        if throw < chances.fails:
            word, arrives = Word.FAILED_TEMP, False
        elif throw < chances.fails + chances.unknown:
            word, arrives = Word.UNKNOWN, self._dice.random() < 0.5
        hangs = self._dice.random() < chances.hangs
        loop = asyncio.get_running_loop()
        self._record.counted[f"page {word.value}"] += 1
        if arrives:
            self._record.sent.append(Sent(loop.time(), page, "unknown" if hangs else word.value))
        if hangs:
            self._record.counted["page hangs"] += 1
            await asyncio.sleep(DEAD_S)
        return Result(word)


class Numbers:
    """The relay's metrics, of which only the auditor's findings matter here: there must be none."""

    def __init__(self, record: Record) -> None:
        """Note findings in *record*."""
        self._record = record

    def found(self, check: str, count: int = 1) -> None:
        """Take a finding; a page that lies while every process is dead is the outage's, and not the relay's."""
        if check != "stuck_outbox":
            self._record.wrong.append(f"the auditor found {check} {count} times (I2)")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_more: None


class Process:
    """One life of one instance: from its start until it dies."""

    def __init__(self, simulation: "Simulation") -> None:
        """Come up on the simulation's disk."""
        self._simulation = simulation
        self._store, self._crash = crashing(simulation.record.disk, dies=self._dies)
        self.exchange: Exchange | None = None
        self.woken = asyncio.Event()

    def _dies(self, _call: str) -> str:
        dice, chances = self._simulation.dice, self._simulation.chances
        if dice.random() >= chances.crash:
            return ""
        return "after" if dice.random() < 0.5 else "before"

    def kill(self) -> None:
        """Pull the plug: not one more call reaches the disk."""
        self._crash.dead = True
        self.woken.set()

    async def live(self) -> None:
        """Serve until dead."""
        simulation, loop = self._simulation, asyncio.get_running_loop()
        clock, store = simulation.machine.clock(), self._store
        log = logs.build(clock.now, stream=io.StringIO(), level=logging.CRITICAL)
        metrics: Any = Numbers(simulation.record)
        began = loop.time()
        try:
            exchange = await relay_of(
                *(simulation.pool.world, store, clock.now()), start=False, prekeys=False
            )
            exchange.deadlines._reachable = lambda desk: ("duty",) if desk in MAPPED else ()
            pager = Pager(
                *(store, simulation.woken, clock, metrics, log),
                sender=_sender(exchange),
                paged=exchange.deadlines.paged,
                unreachable=exchange.deadlines.unreachable,
            )
            ticker = Ticker(exchange, clock, metrics, log)
            await ticker.resume()
            self.exchange = exchange
            await self._turn(ticker, pager, Auditor(exchange, clock, metrics, log), clock)
        except Killed:
            pass
        finally:
            self.exchange = None
            self._crash.dead = True
            simulation.record.up.append((began, loop.time()))

    async def _turn(
        self, ticker: Ticker, pager: Pager, auditor: Auditor, clock: SystemClock
    ) -> None:
        """Do what the relay's loops do, but sleep until something is due or comes in, and not a second at a time."""
        simulation, store, loop = self._simulation, self._store, asyncio.get_running_loop()
        looked = loop.time()
        try:
            while True:
                self.woken.clear()
                pause = await ticker.turn()
                await pager.turn()
                if loop.time() - looked >= simulation.look_s:
                    looked = loop.time()
                    await simulation.armed()
                    await auditor.look()
                simulation.judge_clock(clock)
                if pause:
                    upcoming = [await store.next_due(), await store.next_page()]
                    now = clock.now()
                    naps = [one - now for one in upcoming if one is not None]
                    # what stands although it is due waits for the next second, as in the real loop
                    await self._nap(min([simulation.look_s, *(max(TURN_S, nap) for nap in naps)]))
        finally:
            for task in pager._under_way:
                task.cancel()
            await asyncio.gather(*pager._under_way, return_exceptions=True)

    async def _nap(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            pass


def _sender(exchange: Exchange) -> Callable[[str], Coroutine[Any, Any, str]]:
    async def sender(msg: str) -> str:
        known = await exchange._ledger.load(msg)
        return known.message.origin.sender if known else ""

    return sender


class Simulation:
    """One seed's world, lived through from the first submission to the last expiry."""

    look_s = LOOK_S
    span_s = SLOTS * SLOT_S + 60
    """How long messages come in."""

    def __init__(self, pool: Pool, seed: int, disk: MemoryStore, *, messages: int) -> None:
        """Throw all dice that can be thrown beforehand."""
        self.pool = pool
        self.dice = random.Random(seed)
        dice = self.dice
        self.chances = Chances(
            crash=dice.choice((0.0, 0.002, 0.01, 0.03)),
            fails=dice.choice((0.0, 0.2, 0.6)),
            hangs=dice.choice((0.0, 0.1, 0.4)),
            unknown=dice.choice((0.0, 0.1, 0.4)),
        )
        self.instances = dice.choice((1, 1, 2))
        self.machine = Machine(pool.start, ntp=dice.random() < 0.5)
        stories = [self._story(number) for number in range(messages)]
        self.record = Record(pool.world, disk, pool.start, _distinct(stories))
        channel = BadChannel(dice, self.chances, self.record)
        self.woken = {(desk, "duty"): Woken(desk, "duty", "en", (channel,)) for desk in MAPPED}
        self._living: dict[int, Process] = {}

    def _story(self, _number: int) -> Story:
        sealed, letter = self.pool.letter(self.dice.randrange(LETTERS))
        return Story(letter, sealed + self.dice.randrange(60), self._acts(letter))

    def _acts(self, letter: Letter) -> list[tuple[int, str, str]]:
        """Return what people and machines do, or do not."""
        dice, to = self.dice, letter.header.to
        acts: list[tuple[int, str, str]] = []
        if dice.random() < 0.7:
            acts.append((dice.randrange(1, 400), "delivered", to))
        if dice.random() < 0.3:
            acts.append((dice.randrange(10, 1500), "progress", to))
        if dice.random() < 0.15:
            acts.append((dice.randrange(10, 3000), "declined", to))
        if dice.random() < 0.1:
            acts.append((dice.randrange(5, 600), "failed", to))
        end = dice.random()
        if end < 0.25:
            acts.append((dice.randrange(5, 5000), "acknowledged", to))
        elif end < 0.35 and letter.header.backup:
            acts.append((dice.randrange(5, 7000), "acknowledged", letter.header.backup))
        elif end < 0.42:
            acts.append((dice.randrange(5, 4000), "withdrawn", letter.header.sender))
        return sorted(acts)

    # The run

    async def run(self) -> Record:
        """Live through it."""
        loop = asyncio.get_running_loop()
        world = [asyncio.ensure_future(self._instance(n)) for n in range(self.instances)]
        world += [asyncio.ensure_future(self._outages()), asyncio.ensure_future(self._clocks())]
        desks = [asyncio.ensure_future(self._desk(one)) for one in self.record.stories]
        await asyncio.gather(*desks)
        end = self.span_s + EXPIRES_S + 2 * OUTAGE_S_MAX
        await asyncio.sleep(max(0.0, end - loop.time()))
        self.chances = Chances(
            0, 0, 0, 0
        )  # the last quarter of an hour is quiet, so that all can end
        self.machine.step = 0
        await asyncio.sleep(OUTAGE_S_MAX)
        for task in world:
            task.cancel()
        for one in await asyncio.gather(*world, return_exceptions=True):
            if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
                raise one
        await self.armed()
        self.record.end = int(self.machine.true())
        return self.record

    async def _instance(self, number: int) -> None:
        """Keep one instance alive: it dies, and comes back after a while."""
        while True:
            process = self._living[number] = Process(self)
            await process.live()
            del self._living[number]
            self.record.counted["deaths"] += 1
            self._wake()
            long = self.dice.random() < 0.1
            await asyncio.sleep(self.dice.randrange(*((60, OUTAGE_S_MAX) if long else (1, 20))))

    async def _outages(self) -> None:
        """Now and then everything is down at once; where nothing crashes, nobody pulls the plug either."""
        while self.chances.crash:
            await asyncio.sleep(self.dice.randrange(600, 6000))
            self.record.counted["outages"] += 1
            for process in self._living.values():
                process.kill()

    def _wake(self) -> None:
        """Let every process look: the real ones look every second."""
        for process in self._living.values():
            process.woken.set()

    async def _clocks(self) -> None:
        """Somebody sets the wall clock wrong, and later right again."""
        while True:
            await asyncio.sleep(self.dice.randrange(300, 4000))
            self.machine.step = self.dice.choice(STEPS_S)
            self.record.counted["steps"] += 1
            await asyncio.sleep(self.dice.randrange(20, 2000))
            self.machine.step = 0

    # Desks

    def _alive(self) -> Process | None:
        ready = [one for one in self._living.values() if one.exchange is not None]
        return self.dice.choice(ready) if ready else None

    async def _ask(self, call: Callable[[Exchange, int], Coroutine[Any, Any, Any]]) -> Any:
        """Ask until somebody answers; a process that dies meanwhile has not answered."""
        while True:
            process = self._alive()
            if process is not None and process.exchange is not None:
                try:
                    return await call(process.exchange, int(self.machine.true()))
                except Killed:
                    process.kill()
                except Refused as refusal:
                    if refusal.code is not Code.E_BUSY:
                        raise
                finally:
                    self._wake()
            await asyncio.sleep(self.dice.randrange(1, 15))

    async def _desk(self, story: Story) -> None:
        """Send one message until it is accepted, then do what this story wants."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(story.at)
        letter, world = story.letter, self.pool.world

        async def submit(exchange: Exchange, now: int) -> bytes:
            anew = submission_of(world, letter.header, letter.envelope, now)
            return await exchange.submit(anew.wire, letter.envelope, now)

        await self._ask(submit)
        story.accepted = loop.time()
        for after, kind, desk in story.acts:
            await asyncio.sleep(max(0.0, story.accepted + after - loop.time()))
            await self._say(letter, kind, desk, end=story.accepted + after + 3000)

    async def _say(self, letter: Letter, kind: str, desk: str, end: float) -> None:
        """Post one receipt until it is recorded; a backup that has no part yet asks again for a while."""
        loop = asyncio.get_running_loop()
        now = int(self.machine.true())
        wire = _receipt(self.pool.world, letter, kind, desk, now).wire
        while True:
            try:
                await self._ask(lambda exchange, at: exchange.record([wire], at))
                self.record.counted[kind] += 1
                return
            except Refused as refusal:
                if refusal.code is not Code.E_WRONG_DESK:
                    raise
                self.record.counted["not yet"] += 1
            if loop.time() > end:
                return
            await asyncio.sleep(300)

    # What is looked at while it runs

    def judge_clock(self, clock: SystemClock) -> None:
        """The relay's clock shows the true time within two seconds, whatever was done to the wall clock."""
        error = clock.now() - self.machine.true()
        if abs(error) > 2:
            self.record.wrong.append(f"the relay's clock is {error:.0f} s from the truth (I3)")

    async def armed(self) -> None:
        """Every open message has exactly the timers that the law wants, and no other has one (I2)."""
        disk = self.record.disk
        standing = {
            (one.subject, one.kind, one.generation, one.due) for one in disk._timers.values()
        }
        wanted = {
            (msg, arm.kind, arm.generation, arm.due)
            for msg, row in disk._messages.items()
            for arm in timers(Message.decode(row.state))
        }
        if standing != wanted:
            self.record.wrong.append("what is armed is not what the law wants (I2)")


def _receipt(world: World, letter: Letter, kind: str, desk: str, now: int) -> Statement:
    if kind == "progress":
        fields = {"msg": letter.msg, "desk": desk, "tier": 1, "next_at": now + 400, "at": now}
        return receipt.make("progress", fields, world.device(desk))
    return receipt_of(world, kind, letter, now, desk=desk)


def _distinct(stories: list[Story]) -> list[Story]:
    """Return one story of each letter."""
    return list({story.letter.msg: story for story in stories}.values())


class Years(Simulation):
    """A quiet network for years: a request now and then, and everything else as in any seed."""

    look_s = 20 * 86_400.0

    def __init__(
        self, pool: Pool, seed: int, disk: MemoryStore, *, years: int, messages: int
    ) -> None:
        """Spread *messages* over *years*."""
        self.span_s = years * 365 * 86_400
        super().__init__(pool, seed, disk, messages=messages)
        self.chances = Chances(0.005, 0.2, 0.1, 0.1)

    def _story(self, number: int) -> Story:
        after = self.dice.randrange(PREKEYS_S, self.span_s)
        letter = self.pool.seal(LETTERS + number, after)
        return Story(letter, after + self.dice.randrange(60), self._acts(letter))


def live_through(make: Callable[[MemoryStore], Simulation], pool: Pool, horizon: float) -> Record:
    """Run a simulation on a loop of virtual time and return what it left."""

    async def story() -> Record:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # tasks of dead processes
        return await make(await pool.disk()).run()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(horizon)) as runner:
        return runner.run(story())


def simulate(pool: Pool, seed: int, *, messages: int = 7) -> Record:
    """Live through one seed."""
    return live_through(
        lambda disk: Simulation(pool, seed, disk, messages=messages), pool, 30 * 86_400
    )


def simulate_years(pool: Pool, seed: int, *, years: int, messages: int) -> Record:
    """Live through years."""
    return live_through(
        lambda disk: Years(pool, seed, disk, years=years, messages=messages),
        pool,
        (years + 1) * 366 * 86_400,
    )
