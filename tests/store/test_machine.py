"""The embedded store and the one over Redis against the reference: whatever is done to both, they tell the same."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders_redis import nothing, running
from builders_store import NOW, digest, kept, msg_of, page, prekey, sealed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.store.base import PAGE_STATES, PREKEY_KEPT_AFTER, Change, Entry, Store, Timer
from relay.store.memory import MemoryStore
from relay.store.several import RedisStore
from relay.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(1200)
"""With --long thousands of stores are opened on the disk."""

LONG = os.environ.get("POC24_LONG") == "1"

MESSAGES = ["a", "b", "c", "d"]
DESKS = ["AU", "VN", "FJ"]
STATEMENTS = [f"s{number}" for number in range(8)]
KINDS = ["expire", "stage"]
TIMES = st.integers(0, 60)


@st.composite
def statements(draw: st.DrawFn) -> list[object]:
    """Draw statements, some of them twice, some about messages that are not there."""
    names = draw(st.lists(st.sampled_from(STATEMENTS), max_size=4))
    # A statement is about one message whenever it comes: its bytes belong to its id.
    about = ["", *map(msg_of, MESSAGES)]
    return [kept(name, about[int(name[1:]) % len(about)]) for name in names]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a change, as often right as wrong: its version is put right by the machine, or not."""
    name = draw(st.sampled_from(MESSAGES))
    msg = msg_of(name)
    known = draw(statements())
    refs = st.sampled_from(["", *STATEMENTS])
    entries = [
        Entry(desk, "statement", digest(ref), msg) if ref else Entry(desk, "message", msg, msg)
        for desk, ref in draw(st.lists(st.tuples(st.sampled_from(DESKS), refs), max_size=3))
    ]
    timers = st.tuples(st.sampled_from(KINDS), st.sampled_from(MESSAGES), st.integers(0, 3), TIMES)
    waiting = st.tuples(st.sampled_from(DESKS), st.sampled_from([1, -1]))
    return Change(
        msg,
        draw(st.sampled_from([-1, -1, -1, 0, 1, 2])),  # -1: what is there
        draw(st.binary(max_size=4)),
        sealed(name) if draw(st.booleans()) else None,
        tuple(known),  # type: ignore[arg-type]
        tuple(entries),
        tuple(Timer(k, msg_of(n), g, d) for k, n, g, d in draw(st.lists(timers, max_size=2))),
        tuple(draw(st.lists(st.sampled_from(KINDS), max_size=2))),
        tuple(draw(st.lists(waiting, max_size=2))),
        draw(st.integers(0, 2)),
        draw(TIMES),
        draw(st.booleans()),
        tuple(
            page(
                *(f"p{number}", name),
                priority=draw(st.sampled_from(["emergency", "urgent", "routine"])),
                created=draw(TIMES),
                expires=draw(TIMES),
                not_before=draw(TIMES),
            )
            for number in draw(st.lists(st.integers(0, 5), max_size=3))
        ),
        draw(st.integers(0, 2)),
        tuple(map(digest, draw(st.lists(st.sampled_from("lmn"), max_size=2)))),
    )


class Both(RuleBasedStateMachine):
    """Do everything to both stores and compare what they answer, and then all that they know."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="poc24-machine-"))
        self.model = MemoryStore()
        self.store = self.made()
        self.starts = 0
        self.leases: list[tuple[str, int]] = []
        self.both(lambda store: store.start(NOW))
        self.ahead = self.store.epoch - self.model.epoch

    def made(self) -> Store:
        """Return the store that is compared, on what is there."""
        return SqliteStore(self.folder / "relay.db", free_min=0)

    def both(self, do: Callable[[Store], Awaitable[object]]) -> object:
        """Do it to both; their answers, or the kinds of their errors, must be equal."""

        async def answer(store: Store) -> object:
            try:
                return await do(store)
            except ValueError:
                return ValueError

        expected = self.loop.run_until_complete(answer(self.model))
        found = self.loop.run_until_complete(answer(self.store))
        assert found == expected, f"the reference says {expected}, the store {found}"
        return expected

    def stand(self, change: Change) -> Change:
        """Let a change stand on the version that is there, where it was drawn so."""
        if change.expected < 0:
            there = self.loop.run_until_complete(self.model.load(change.msg))
            change = replace(change, expected=there.version if there else 0)
        return change  # an envelope that comes late is taken once, as in relay.replay

    @rule(change=changes())
    def commit(self, change: Change) -> None:
        """Commit one change."""
        change = self.stand(change)
        self.both(lambda store: store.commit(change))

    @rule(many=st.lists(changes(), min_size=2, max_size=8), known=statements())
    def commit_many(self, many: list[Change], known: list[object]) -> None:
        """Commit several at once: in one batch they are judged one after the other, as if alone."""
        many = [self.stand(change) for change in many]

        async def do(store: Store) -> object:
            calls = [store.commit(change) for change in many]
            calls.insert(1, store.keep(known))  # type: ignore[arg-type]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return [ValueError if isinstance(one, ValueError) else one for one in answers]

        self.both(do)

    @rule(known=statements())
    def keep(self, known: list[object]) -> None:
        """Keep statements."""
        self.both(lambda store: store.keep(known))  # type: ignore[arg-type]

    @rule(version=st.integers(0, 5), names=st.lists(st.sampled_from("abc"), max_size=3))
    def put_directory(self, version: int, names: list[str]) -> None:
        """Publish a directory."""
        files = {name: f"{name} {version}".encode() for name in names}
        self.both(
            lambda store: store.put_directory(version, files, b"pins", [digest(n) for n in names])
        )

    @rule(name=st.sampled_from("xyz"), desk=st.sampled_from(DESKS), end=TIMES)
    def put_prekeys(self, name: str, desk: str, end: int) -> None:
        """Publish prekeys; a statement's id is also that of its desk."""
        self.both(lambda store: store.put_prekeys([prekey(name + desk, 0, end, desk=desk)]))

    @rule(now=TIMES, seconds=st.integers(0, 20), limit=st.integers(0, 3))
    def lease(self, now: int, seconds: int, limit: int) -> None:
        """Lease pages; remember who holds what, also those whose lease was lost since."""
        found = self.both(lambda store: store.lease_pages(now, now + seconds, limit))
        self.leases += [(one.id, one.attempt) for one in found]  # type: ignore[attr-defined]

    @rule(which=st.integers(0, 9), state=st.sampled_from(PAGE_STATES), at=TIMES)
    def finish(self, which: int, state: str, at: int) -> None:
        """Say what came of an attempt, as often too late as in time."""
        if self.leases:
            key, attempt = self.leases[-1 - which % len(self.leases)]
            self.both(lambda store: store.finish_page(key, attempt, state, state, at))

    @rule(name=st.sampled_from("lmn"), desk=st.sampled_from(DESKS), at=TIMES)
    def put_blob(self, name: str, desk: str, at: int) -> None:
        """Put a blob, also again and by another desk."""
        self.both(lambda store: store.put_blob(digest(name), ord(name), desk, at))

    @rule(change=changes(), name=st.sampled_from("lmn"), before=TIMES, at=TIMES)
    def commit_among_blobs(self, change: Change, name: str, before: int, at: int) -> None:
        """A change that names blobs, in one batch with one that is put and those that are dropped."""
        change = self.stand(change)

        async def do(store: Store) -> object:
            calls: list[Awaitable[object]] = [
                store.put_blob(digest(name), ord(name), "AU", at),
                store.commit(change),
                store.drop_blobs(before, 9),
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return [ValueError if isinstance(one, ValueError) else one for one in answers]

        self.both(do)

    @rule(before=TIMES, limit=st.integers(0, 3))
    def drop_blobs(self, before: int, limit: int) -> None:
        """Drop what nobody needs."""
        self.both(lambda store: store.drop_blobs(before, limit))

    @rule(name=st.sampled_from("xyz"), value=TIMES)
    def put_mark(self, name: str, value: int) -> None:
        """Put a mark."""
        self.both(lambda store: store.put_mark(name, value))

    @rule(now=TIMES, late=st.booleans(), limit=st.integers(0, 3))
    def purge(self, now: int, limit: int, *, late: bool) -> None:
        """Purge, also so late that prekeys go."""
        self.both(lambda store: store.purge(now + late * PREKEY_KEPT_AFTER, limit))

    @rule()
    def reopen(self) -> None:
        """Stop and start the embedded store alone: nobody may notice."""
        self.loop.run_until_complete(self.store.stop())
        self.starts += 1
        self.store = self.made()
        self.loop.run_until_complete(self.store.start(NOW + self.starts))

    @invariant()
    def they_know_the_same(self) -> None:
        """Compare all that can be read."""

        async def everything(store: Store) -> object:
            reads: list[Awaitable[object]] = [store.counts(), store.directory(), store.log()]
            for name in MESSAGES:
                msg = msg_of(name)
                reads += [store.load(msg), store.envelope(msg), store.statements(msg)]
                reads.append(store.pages(msg))
            for desk in DESKS:
                reads += [store.mailbox(desk, 0, 99), store.mailbox(desk, 1, 2)]
                reads += [store.head(desk), store.prekeys(desk, 20)]
            reads += [store.statement(digest(name)) for name in STATEMENTS]
            reads += [store.due(40, 99), store.due(99, 2), store.next_due()]
            reads += [store.unarmed(99), store.unarmed(1), store.next_page()]
            reads += [store.mark(name) for name in "xyz"]
            reads += [store.blob(digest(name)) for name in "lmn"]
            reads += [store.blob_bytes(desk) for desk in DESKS]
            reads += [store.blobs("", 99), store.blobs(digest("m"), 1)]
            reads.append(store.log_entries(0, 999))
            epoch = store.epoch - (0 if store is self.model else self.ahead)
            return [epoch, *await asyncio.gather(*reads)]

        self.both(everything)

    def teardown(self) -> None:
        """Let the doctor look at both, then clear up."""
        try:
            self.both(lambda store: store.check())
            assert self.loop.run_until_complete(self.model.check()) == []
        finally:
            self.loop.run_until_complete(self.store.stop())
            self.loop.close()
            shutil.rmtree(self.folder)


class BothOnValkey(Both):
    """The same with the Lua scripts on a real server: the rules in two languages must be one."""

    def __init__(self) -> None:
        with running("valkey").plain() as plain:
            plain.flushall()
        super().__init__()

    def made(self) -> Store:
        """Return an instance's store on the server, with its journal in the folder."""
        return RedisStore(running("valkey").place(), self.folder / "journal.db", nothing)


TestBoth = Both.TestCase
TestBoth.settings = settings(stateful_step_count=20, max_examples=1000 if LONG else 60)
TestBothOnValkey = BothOnValkey.TestCase
TestBothOnValkey.settings = settings(stateful_step_count=20, max_examples=300 if LONG else 30)
