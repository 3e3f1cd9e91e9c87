"""Lives of the embedded store on a simulated disk, and who looks afterwards whether anything was lost.

One seed is one story: a disk, and the lives of the relays that work on it one after the other. In each life the store
starts, is asked for real work, and comes to an end: by a clean stop, a kill, a power cut or an I/O error at a call of
the seed's choice. The next life must find exactly what was answered, then some of what was asked and never answered,
in the order in which it was asked, each of it whole. The reference is the store in memory, fed with the same calls.

Everything is decided by the seed: the store's one thread is replaced by turns of the event loop.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from builders_apsw import seed_sqlite, stage
from builders_disk import CALLS, Disk, Fault
from builders_store import NOW, digest

from keys.errors import Failed
from relay import durable
from relay.core import tlog
from relay.store import place, schema, sqlite, writer
from relay.store.base import Change, Committed, Entry, Kept, PageRow, PrekeyRow, Timer
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore

LIVES = 8
"""Lives of one story. Then the disk is put away: what is compared grows with what it holds."""
DESKS = ("AU", "VN", "FJ")
KINDS = ("expire", "stage")
STATES = ("ready", "sent", "failed")
_CALLS_OF_A_START = {
    "folder": 6,
    "any": 260,
    "read": 110,
    "write": 140,
    "sync": 12,
    "truncate": 6,
    "name": 5,
}
_CALLS_OF_WORK = {"any": 160, "read": 15, "write": 150, "sync": 7, "truncate": 3, "name": 1}
"""About how many calls there are: a fault is drawn among them."""
AT_ONCE = frozenset({"lease_pages", "finish_page", "put_mark", "put_prekeys", "purge"})
"""What the store writes when its turn comes. All else is staged and written at the end of the batch: after these, as
the contract allows of calls that do not await each other.
"""


class Lost(AssertionError):
    """A promise was broken."""


class Turns:
    """An executor whose jobs are turns of the loop: what is done together depends on the seed, not on the machine."""

    def __init__(self, *_shape: object, **_more: object) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()

    def submit(self, run: Callable[..., Any], *args: Any) -> Future[Any]:
        """Do it when those who are ready have had their turn."""
        future: Future[Any] = Future()

        def do() -> None:
            try:
                future.set_result(run(*args))
            except BaseException as error:  # noqa: BLE001 - as a thread would hand it over
                future.set_exception(error)

        self._loop.call_soon(do)
        return future

    def shutdown(self, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - as an executor has it
        """There is no thread to end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of the contract, with its arguments."""

    name: str
    args: tuple[Any, ...]

    def of(self, store: Any) -> Awaitable[Any]:
        """Ask a store for it."""
        made: Awaitable[Any] = getattr(store, self.name)(*self.args)
        return made


@dataclass(slots=True)
class Tally:
    """What happened in a run: a test that reached nothing shows nothing."""

    lives: int = 0
    answered: int = 0
    unknown: int = 0
    durable_unknown: int = 0
    """Calls that failed for their caller and were there afterwards."""
    backups: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Take in another run's numbers."""
        self.lives += other.lives
        self.answered += other.answered
        self.unknown += other.unknown
        self.durable_unknown += other.durable_unknown
        self.backups += other.backups
        self.ends += other.ends
        self.struck += other.struck


@contextmanager
def turned(dice: random.Random) -> Iterator[None]:
    """Let stores work in turns on the disk in the drive, with limits so small that a short life reaches them."""
    limits = {
        "WAL_PAGES_REST": dice.choice((0, 30, 200)),
        "WAL_PAGES_MAX": dice.choice((40, 300)),
    }
    settings = dict.fromkeys(
        ("wal_autocheckpoint",), dice.choice((20, schema.WAL_PAGES_LAST_RESORT))
    )
    settings["cache_size"] = dice.choice(
        (-40, -schema.CACHE_KIB)
    )  # a small one spills into the log
    with ExitStack() as undo:
        undo.enter_context(stage(sqlite, place, durable))
        undo.enter_context(mock.patch.object(writer, "ThreadPoolExecutor", Turns))
        for name, value in limits.items():
            undo.enter_context(mock.patch.object(sqlite, name, value))
        undo.enter_context(mock.patch.object(schema, "SETTINGS", _settings(**settings)))
        yield


def _settings(**more: object) -> tuple[tuple[str, object, object], ...]:
    """Return the store's settings with others instead."""
    return tuple(
        (name, more.get(name, value), more.get(name, expected))
        for name, value, expected in schema.SETTINGS
    )


class Fate:
    """What becomes of the processes on one disk, one after the other: drawn from a seed, and told."""

    def __init__(self, seed: int, *, aim: str = "") -> None:
        """Draw from *seed*; *aim* (``sync``, ``folder``): only syncs of this kind fail."""
        self.seed = seed
        self.aim = aim
        self.dice = random.Random(seed)
        self.disk = Disk(random.Random(f"disk {seed}"))
        self.tally = Tally()
        self.told: list[str] = []
        self._shaken = False
        self._when = ""

    def begin(self, *, calm: bool) -> None:
        """Begin a life; draw when something goes wrong in it, if at all, and what, if that is at once."""
        self.tally.lives += 1
        self.told.append(f"life {self.tally.lives}")
        if calm:
            self._when = ""
        elif self._shaken and self.dice.random() < 0.7:
            # The cache shows what the media has not: a power cut in the middle of mending it is the worst there is.
            self._when = "mending"
        elif self.aim:
            self._when = "start" if self.aim == "folder" else "work"
        else:
            self._when = self.dice.choice(("", "start", "start", *["work"] * 5))
        if self._when in {"start", "mending"}:
            self._plan(_CALLS_OF_A_START)

    def work(self) -> None:
        """The start is done and looked at; draw what goes wrong from here."""
        if self._when == "work":
            self._plan(_CALLS_OF_WORK)

    def _plan(self, most: dict[str, int]) -> None:
        dice, calls = self.dice, self.disk.calls
        for _ in range(dice.choice((1, 1, 2))):
            what = dice.choice(("cut", "cut", "kill", "error", "error", "short", "full"))
            of = dice.choice(("any", "sync", *CALLS))
            if self._when == "mending":
                what, of = "cut", dice.choice(("any", "write", "sync"))
            elif self.aim:
                what, of = "error", self.aim
            at = calls[of] + dice.randint(1, most.get(of, 3))
            self.disk.faults.append(Fault(what, of, at))

    def dying(self, end: str) -> None:
        """Decide whether a process that comes to this end closes its files, or is gone at once."""
        if end in {"kill", "lost"} or (end == "failed" and self.dice.random() < 0.5):
            self.disk.died = self.disk.died or "kill"

    def end(self, end: str) -> None:
        """End a life, and make the disk ready for the next."""
        disk = self.disk
        powerless = disk.died == "cut" or (disk.died != "kill" and self.dice.random() < 0.5)
        self._shaken = not powerless and any("error at sync" in one for one in disk.struck)
        self.tally.struck.update(one.rpartition(" ")[0] for one in disk.struck)
        end = f"{end}, {'power cut' if powerless else 'started again'}"
        self.tally.ends[end] += 1
        self.told.append(f"{'; '.join(disk.struck) or 'nothing planted'}: {end}")
        if powerless:
            disk.cut()
        else:
            disk.restart()

    def lost(self, what: str) -> Lost:
        """Return the error that tells the seed, the story, and what was lost in it."""
        story = "\n  ".join(self.told)
        return Lost(f"Seed {self.seed}: {what}.\n  {story}\n  now: {'; '.join(self.disk.struck)}")


class Work:
    """What is asked of a store: drawn from the dice and from what the reference knows."""

    def __init__(self, dice: random.Random) -> None:
        """Begin with nothing."""
        self.dice = dice
        self.now = NOW
        self.versions: dict[str, int] = {}
        self.leases: list[tuple[str, int]] = []
        self._number = 0

    def draw(self) -> Asked:
        """Return the next call."""
        dice = self.dice
        self.now += dice.randint(0, 5)
        kind = dice.choices(
            ("first", "next", "keep", "lease", "finish", "mark", "directory", "prekeys", "purge"),
            (10, 10, 3, 3, 3, 1, 1, 1, 2),
        )[0]
        made: Asked = getattr(self, f"_{kind}")()
        return made

    def _name(self) -> str:
        self._number += 1
        return f"{self._number}"

    def _first(self) -> Asked:
        envelope = self.dice.randbytes(self.dice.choice((40, 600, 5000, 20000)))
        return self._change(hashlib.sha256(envelope).hexdigest(), 0, envelope)

    def _next(self) -> Asked:
        if not self.versions:
            return self._first()
        msg = self.dice.choice(list(self.versions)[-8:])
        wrong = self.dice.random() < 0.15
        return self._change(msg, self.versions[msg] + wrong, None)

    def _change(self, msg: str, expected: int, envelope: bytes | None) -> Asked:
        dice = self.dice
        statements = tuple(self._kept(msg) for _ in range(dice.randint(0, 3)))
        entries = [Entry(dice.choice(DESKS), "message", msg, msg)]
        entries += [Entry(dice.choice(DESKS), "statement", one.sid, msg) for one in statements]
        change = Change(
            msg,
            expected,
            dice.randbytes(dice.choice((4, 300))),
            envelope,
            statements,
            tuple(entries),
            tuple(
                Timer(kind, msg, dice.randint(0, 9), self.now + dice.randint(0, 60))
                for kind in dice.sample(KINDS, dice.randint(0, 2))
            ),
            tuple(dice.sample(KINDS, dice.randint(0, 1))),
            tuple((dice.choice(DESKS), dice.choice((1, 1, -1))) for _ in range(dice.randint(0, 2))),
            dice.choice((0, 0, 3)),
            self.now + dice.randint(0, 40) if dice.random() < 0.5 else 0,
            dice.random() < 0.2,
            tuple(self._page(msg) for _ in range(dice.randint(0, 2))),
            dice.randint(0, 2),
        )
        return Asked("commit", (change,))

    def _kept(self, msg: str) -> Kept:
        wire = self.dice.randbytes(self.dice.choice((30, 900)))
        return Kept(digest(f"statement {self._name()}"), "delivered", msg, wire, self.now)

    def _page(self, msg: str) -> PageRow:
        dice = self.dice
        return PageRow(
            *(digest(f"page {self._name()}"), msg, dice.choice(DESKS), "duty", 1, "backstop"),
            *(dice.choice(("emergency", "urgent", "routine")), "actual"),
            created=self.now,
            expires=self.now + dice.randint(10, 3600),
            not_before=self.now,
        )

    def _keep(self) -> Asked:
        about = self.dice.choice(["", *list(self.versions)[-3:]])
        return Asked("keep", ([self._kept(about) for _ in range(self.dice.randint(1, 4))],))

    def _lease(self) -> Asked:
        return Asked("lease_pages", (self.now, self.now + self.dice.randint(1, 20), 3))

    def _finish(self) -> Asked:
        if not self.leases:
            return self._lease()
        page, attempt = self.dice.choice(self.leases[-6:])
        return Asked("finish_page", (page, attempt, self.dice.choice(STATES), "ok", self.now + 5))

    def _mark(self) -> Asked:
        return Asked("put_mark", ("clock", self.now))

    def _directory(self) -> Asked:
        version = self.dice.randint(1, 40)
        files = {name: self.dice.randbytes(500) for name in self.dice.sample("abcd", 2)}
        return Asked("put_directory", (version, files, b"pins", [digest(f"d{self._name()}")]))

    def _prekeys(self) -> Asked:
        dice = self.dice
        row = PrekeyRow(
            *(dice.choice(DESKS), digest("laptop"), dice.randbytes(8), self.now, self.now + 9),
            *(self.now, digest(f"prekey {self._name()}"), dice.randbytes(200)),
        )
        return Asked("put_prekeys", ([row],))

    def _purge(self) -> Asked:
        late = self.dice.choice((0, 31 * 86400))
        return Asked("purge", (self.now + late, self.dice.choice((3, 50))))

    def learn(self, asked: Asked, answer: Any) -> None:
        """Take notice of an answer that later calls may stand on."""
        if asked.name == "commit" and isinstance(answer, Committed):
            self.versions[asked.args[0].msg] = answer.version
        if asked.name == "lease_pages":
            self.leases += [(one.id, one.attempt) for one in answer]


async def everything(store: Any, messages: list[str]) -> dict[str, Any]:
    """Read all that a store knows."""
    reads: dict[str, Awaitable[Any]] = {
        "counts": store.counts(),
        "log": store.log(),
        "entries": store.log_entries(0, 10**6),
        "directory": store.directory(),
        "due": store.due(10**11, 10**6),
        "next_due": store.next_due(),
        "next_page": store.next_page(),
        "unarmed": store.unarmed(10**6),
        "clock": store.mark("clock"),
    }
    for desk in DESKS:
        reads[f"mailbox {desk}"] = store.mailbox(desk, 0, 10**6)
        reads[f"head {desk}"] = store.head(desk)
        reads[f"prekeys {desk}"] = store.prekeys(desk, 0)
    for msg in messages:
        reads[f"state {msg[:8]}"] = store.load(msg)
        reads[f"envelope {msg[:8]}"] = store.envelope(msg)
        reads[f"statements {msg[:8]}"] = store.statements(msg)
        reads[f"pages {msg[:8]}"] = store.pages(msg)
    return dict(zip(reads, await asyncio.gather(*reads.values()), strict=True))


class Story:
    """One disk, its lives, and the checker that knows what was answered."""

    def __init__(
        self, seed: int, make: Callable[..., SqliteStore] = SqliteStore, *, aim: str = ""
    ) -> None:
        """Draw everything from *seed*; *make* is the store under test. *aim*: see :class:`Fate`."""
        self.fate = Fate(seed, aim=aim)
        self.dice, self.disk, self.tally = self.fate.dice, self.fate.disk, self.fate.tally
        self.told = self.fate.told
        self._make = make
        self._work = Work(random.Random(f"work {seed}"))
        self._reference = MemoryStore()
        self._unknown: list[Asked] = []
        self._again: list[Asked] = []
        self._messages: dict[str, None] = {}
        self._seen_log = tlog.EMPTY
        self._seen_heads = dict.fromkeys(DESKS, 0)
        self._epoch = 0
        self._backups: list[tuple[str, dict[str, Any]]] = []
        """Backups that were said to be made, and what was in the store then."""

    async def run(self, lives: int = LIVES) -> Tally:
        """Live *lives* lives and one that nothing disturbs; raise Lost if a promise was broken."""
        await self._reference.start(NOW)
        self.disk.path("")  # puts it into the drive
        seed_sqlite()
        with turned(self.dice):
            for number in range(lives + 1):
                await self._live(calm=number == lives)
            for name, expected in self._backups:
                await self._restore(name, expected)
        return self.tally

    async def _live(self, *, calm: bool) -> None:
        self.fate.begin(calm=calm)
        store = self._make(self.disk.path("relay.db"), free_min=0)
        end = "lost"
        try:
            end = await self._start(store) or await self._compare(store, started=True)
            if not end:
                self.fate.work()
                end = await self._serve(store)
        finally:  # SQLite deletes files by their names: a connection left open would do so on the next disk
            self.fate.dying(end)
            await store.stop()
        self.fate.end(end)

    async def _start(self, store: SqliteStore) -> str:
        """Start; return how it ended if it did not."""
        try:
            await store.start(self._work.now)
        except Failed as error:
            self.told.append(f"start: {error.text}")
            if not self.disk.struck:
                raise self.fate.lost(
                    f"the start refused although nothing failed: {error}"
                ) from error
            return "start refused"
        if self._epoch and store.epoch != self._epoch:
            raise self.fate.lost(f"the epoch was {self._epoch} and is {store.epoch}")
        self._epoch = store.epoch
        return ""

    async def _compare(self, store: SqliteStore, *, started: bool = False) -> str:
        """Find what was answered, and the last batch or nothing of it, in the store: or else it was lost."""
        try:
            findings = await store.check()
            found = await everything(store, list(self._messages))
        except Failed as error:  # a read that was planted to fail
            self.told.append(f"looking: {error.text}")
            if not self.disk.struck:
                raise self.fate.lost(f"it cannot be read: {error}") from error
            return "not looked at"
        if findings and not self.disk.struck:
            raise self.fate.lost(f"the check says {findings}")
        self._look_back(found)
        pages = dict(self._reference._pages)
        self._end_leases(started=started)
        expected = await everything(self._reference, list(self._messages))
        differs = _first_difference(expected, found)
        if differs and self._unknown:
            self._reference._pages = pages
            for asked in self._unknown:
                await self._do(asked)
            self._end_leases(started=started)
            nothing, expected = differs, await everything(self._reference, list(self._messages))
            if differs := _first_difference(expected, found):
                raise self.fate.lost(
                    f"the last batch is here neither whole nor not at all: without it {nothing};"
                    f" with it {differs}"
                )
            self.tally.durable_unknown += len(self._unknown)
        if differs:
            raise self.fate.lost(f"what is here is not what was answered: {differs}")
        # Who was not answered asks again; some of it is done already.
        self._again = [one for one in self._unknown if self.dice.random() < 0.5]
        self._unknown = []
        return ""

    def _end_leases(self, *, started: bool) -> None:
        """A start ends the leases of the pagers before it, which the store in memory never survives."""
        for page in self._reference._pages.values():
            if started and page.state == "leased":
                until = min(page.lease_until, self._work.now)
                self._reference._pages[page.id] = replace(page, lease_until=until)

    def _look_back(self, found: dict[str, Any]) -> None:
        """Compare with what was read, by whomever: nobody may have been told what is not so later."""
        size = self._seen_log.size
        if tlog.append(tlog.EMPTY, found["entries"][:size]) != self._seen_log:
            raise self.fate.lost(
                f"the evidence log had {size} entries, and these are not its beginning"
            )
        for desk, head in self._seen_heads.items():
            if found[f"head {desk}"] < head:
                raise self.fate.lost(f"the mailbox of {desk} had {head} entries and has fewer now")
            seqs = [one.seq for one in found[f"mailbox {desk}"]]
            if seqs != list(range(1, found[f"head {desk}"] + 1)):
                raise self.fate.lost(f"the mailbox of {desk} is not dense: {seqs}")

    async def _do(self, asked: Asked) -> Any:
        """Do it to the reference; return its answer, with a kind of its own for a mistake."""
        try:
            answer = await asked.of(self._reference)
        except ValueError:
            return ValueError
        self._work.learn(asked, answer)
        return answer

    async def _serve(self, store: SqliteStore) -> str:
        """Ask for rounds of work; return how the life ended."""
        rounds = self.dice.randint(1, 6)
        for _ in range(rounds):
            calls = [*self._again, *(self._work.draw() for _ in range(self.dice.randint(1, 8)))]
            self._again = []
            if await self._round(store, calls):
                assert store._writer
                if self.disk.died or store._writer.broken:
                    return "failed"
                # It goes on. Then others are told what it shows from now on.
                if end := await self._compare(store):
                    return end
            if self.dice.random() < 0.05 and (end := await self._backup(store)):
                return end
        return self.dice.choice(("stopped", "stopped", "kill"))

    async def _backup(self, store: SqliteStore) -> str:
        """Make a backup; return how the life ended, if it did. A backup that fails is no reason for that."""
        name = f"backup-{len(self._backups)}-{self.tally.lives}.db"
        try:
            await store.backup(self.disk.path(name))
        except Failed as error:
            self.told.append(f"backup: {error.text}")
            assert store._writer
            if not self.disk.struck:
                raise self.fate.lost(
                    f"a backup failed although nothing else did: {error}"
                ) from error
            return "failed" if self.disk.died or store._writer.broken else ""
        messages = [msg for msg in self._messages if await self._reference.load(msg)]
        self._backups.append((name, await everything(self._reference, messages)))
        self.tally.backups += 1
        return ""

    async def _restore(self, name: str, expected: dict[str, Any]) -> None:
        """Start a backup as a store: it holds what the store held, and has an epoch of its own."""
        store = self._make(self.disk.path(name), free_min=0)
        try:
            await store.start(self._work.now)
            findings = await store.check()
            found = await everything(store, list(self._messages))
        except Failed as error:
            raise self.fate.lost(f"the backup {name} is no store: {error}") from error
        finally:
            await store.stop()
        for one, value in expected.items():  # the start has ended the leases of pages
            if "page" not in one and value != found[one]:
                raise self.fate.lost(
                    f"the backup {name} has {one} {_short(found[one])}, not {_short(value)}"
                )
        if findings or store.epoch <= self._epoch:
            raise self.fate.lost(f"the backup {name}: {findings}, epoch {store.epoch}")

    async def _round(self, store: SqliteStore, calls: list[Asked]) -> bool:
        """Ask for many calls at once, and compare each answer with the reference's; True if the store broke."""
        asked: list[Asked] = []
        answers: dict[int, Any] = {}
        # An aim at failed syncs is for stores that go on: what fails and what follows are rounds of their own.
        waits = [0 if self.fate.aim else self.dice.choice((0, 0, 1, 4)) for _ in calls]

        async def ask(one: Asked, wait: int) -> None:
            for _ in range(wait):
                await asyncio.sleep(0)
            place_in_line = len(asked)
            asked.append(one)
            try:
                answers[place_in_line] = await one.of(store)
            except ValueError:
                answers[place_in_line] = ValueError
            except Failed:
                pass

        reads = [self._read(store)] if self.dice.random() < 0.5 else []
        batches = _note_batches(store)
        await asyncio.gather(*map(ask, calls, waits), *reads)
        self._messages.update({one.args[0].msg: None for one in asked if one.name == "commit"})
        self._unknown, begin = [], 0
        for size in batches:
            batch = range(begin, begin + size)
            begin += size
            in_order = sorted(batch, key=lambda number: asked[number].name not in AT_ONCE)
            if not any(number in answers for number in batch):
                self._unknown = [asked[number] for number in in_order]
                break
            for number in in_order:
                await self._hear(asked[number], answers.get(number, Failed))
        self.tally.unknown += len(self._unknown)
        if any(number in answers for number in range(begin, len(asked))):
            raise self.fate.lost("a call was answered after one that failed")
        return len(answers) < len(asked) or bool(self.disk.died)

    async def _hear(self, asked: Asked, answer: Any) -> None:
        """Compare an answer with the reference's."""
        self.tally.answered += 1
        expected = await self._do(asked)
        if answer != expected:
            raise self.fate.lost(f"{asked.name} was answered {answer!r}, not {expected!r}")

    async def _read(self, store: SqliteStore) -> None:
        """Read beside the work; what was read must never be taken back."""
        for _ in range(self.dice.randint(0, 3)):
            await asyncio.sleep(0)
        try:
            frontier = await store.log()
            head = await store.head(DESKS[0])
        except Failed:
            return
        if frontier.size >= self._seen_log.size:
            self._seen_log = frontier
        self._seen_heads[DESKS[0]] = max(head, self._seen_heads[DESKS[0]])


def _note_batches(store: SqliteStore) -> list[int]:
    """Return a list that is told how many calls each batch from now on writes together."""
    sizes: list[int] = []
    assert store._writer
    work = store._work

    def noted(batch: list[writer.Operation]) -> None:
        if size := sum(operation.writes for operation in batch):
            sizes.append(size)
        work(batch)

    store._writer._work = noted
    return sizes


def _first_difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    for name, value in expected.items():
        if found[name] != value:
            return f"{name} should be {_short(value)} and is {_short(found[name])}"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 500 else f"{text[:240]} ... {text[-240:]}"


def live(
    seed: int, make: Callable[..., SqliteStore] = SqliteStore, *, lives: int = LIVES, aim: str = ""
) -> Tally:
    """Run the story of one seed; raise Lost with the seed and the story if a promise was broken."""
    return asyncio.run(Story(seed, make, aim=aim).run(lives))
