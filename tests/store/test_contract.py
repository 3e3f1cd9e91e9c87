"""What every store promises, run unchanged over each of them (DESIGN 6, PROTOCOL 11.1, 11.2, 13.1)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders_redis import SERVERS, emptied
from builders_store import (
    NOW,
    digest,
    first,
    kept,
    message_to,
    msg_of,
    page,
    prekey,
    sealed,
    statement_to,
)

from keys.errors import Failed
from relay.core import tlog
from relay.store.base import (
    LOST,
    PAGE_KEPT_AFTER,
    PAGE_STATES,
    PREKEY_KEPT_AFTER,
    Change,
    Committed,
    Conflict,
    Delivery,
    Entry,
    Full,
    Store,
    Stored,
    Timer,
)
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite", *SERVERS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield each kind of store, started; the last two are real servers, emptied before each test."""
    kinds: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(tmp_path / "relay.db"),
        **{name: lambda name=name: emptied(name, tmp_path) for name in SERVERS},  # type: ignore[misc]
    }
    made = kinds[request.param]()
    await made.start(NOW)
    yield made
    await made.stop()


# A change as a whole


async def test_what_was_committed_is_there(store: Store) -> None:
    """Every part of a change can be read once commit has returned."""
    submission, accepted = kept("s", msg_of("a"), "submission"), kept("a", msg_of("a"), "accepted")
    change = first(
        "a",
        statements=(submission, accepted),
        entries=(message_to("AU", "a"), statement_to("VN", accepted)),
        arm=(Timer("expire", msg_of("a"), 1, NOW + 60),),
        waiting=(("AU", 1),),
    )
    assert await store.commit(change) == Committed(1, (1, 1))
    assert await store.load(msg_of("a")) == Stored(1, b"state 1")
    assert await store.envelope(msg_of("a")) == sealed("a")
    assert await store.statement(accepted.sid) == accepted
    assert await store.statements(msg_of("a")) == (submission, accepted)
    assert await store.mailbox("AU", 0, 10) == (Delivery(1, "message", msg_of("a"), msg_of("a")),)
    assert await store.mailbox("VN", 0, 10) == (
        Delivery(1, "statement", accepted.sid, msg_of("a")),
    )
    assert await store.due(NOW + 60, 10) == change.arm
    assert await store.counts() == {
        "messages": 1,
        "envelopes": 1,
        "statements": 2,
        "entries": 2,
        "waiting": 1,
        "timers": 1,
        "timers_expire": 1,
        "open": 1,
        "log": 2,
        "blobs": 0,
        "blob_bytes": 0,
        **{f"pages_{state}": 0 for state in PAGE_STATES},
    }
    assert await store.check() == []


async def test_what_is_unknown_is_not_there(store: Store) -> None:
    """Reading what was never written gives nothing, and no error."""
    assert await store.load(digest("x")) is None
    assert await store.envelope(digest("x")) is None
    assert await store.statement(digest("x")) is None
    assert await store.statements(digest("x")) == ()
    assert await store.mailbox("NZ", 0, 10) == ()
    assert await store.head("NZ") == 0
    assert await store.due(NOW, 10) == ()
    assert await store.next_due() is None
    assert await store.directory() is None
    assert await store.prekeys("NZ", NOW) == ()
    assert await store.log() == tlog.EMPTY
    assert await store.log_entries(0, 10) == []
    assert await store.unarmed(10) == ()
    assert await store.lease_pages(NOW, NOW + 30, 10) == ()
    assert not await store.finish_page(digest("x"), 1, "sent", "sent", 0)
    assert await store.pages(digest("x")) == ()
    assert await store.next_page() is None
    assert await store.mark("clock") == 0
    assert await store.purge(NOW, 10) == 0
    assert set((await store.counts()).values()) == {0}


# Compare and set


async def test_a_repeat_is_a_conflict_that_writes_nothing(store: Store) -> None:
    """The same first change again (PROTOCOL 11.2): told the version that is there, log and mailbox
    as they were.
    """
    change = first(
        "a",
        statements=(kept("s", msg_of("a")),),
        entries=(message_to("AU", "a"),),
        waiting=(("AU", 1),),
    )
    await store.commit(change)
    before = (await store.log(), await store.counts())
    assert await store.commit(change) == Conflict(1)
    assert (await store.log(), await store.counts()) == before


@pytest.mark.parametrize("expected", [0, 1, 3, 4])
async def test_a_change_stands_on_its_version_only(store: Store, expected: int) -> None:
    """Older and newer versions than the one that is there are conflicts; nothing of the change is
    written.
    """
    await store.commit(first("a"))
    await store.commit(Change(msg_of("a"), 1, b"state 2"))
    refused = Change(
        msg_of("a"),
        expected,
        b"other",
        statements=(kept("late", msg_of("a")),),
        arm=(Timer("expire", msg_of("a"), 1, NOW),),
    )
    assert await store.commit(refused) == Conflict(2)
    assert await store.load(msg_of("a")) == Stored(2, b"state 2")
    assert await store.statement(digest("late")) is None
    assert await store.next_due() is None
    assert await store.commit(replace(refused, expected=2)) == Committed(3, ())


async def test_a_change_of_nothing_is_a_conflict(store: Store) -> None:
    """A change that expects a message which is not there is told version 0."""
    assert await store.commit(Change(msg_of("a"), 1, b"state")) == Conflict(0)
    assert await store.load(msg_of("a")) is None


async def test_of_many_at_once_one_wins(store: Store) -> None:
    """Twenty changes race for one version: one is committed, the rest are conflicts with what it
    made.
    """
    await store.commit(first("a"))
    racers = [
        Change(msg_of("a"), 1, b"%d" % number, statements=(kept(f"racer {number}", msg_of("a")),))
        for number in range(20)
    ]
    outcomes = await asyncio.gather(*map(store.commit, racers))
    assert outcomes.count(Committed(2, ())) == 1
    assert outcomes.count(Conflict(2)) == 19
    winner = racers[outcomes.index(Committed(2, ()))]
    assert await store.load(msg_of("a")) == Stored(2, winner.state)
    assert await store.statements(msg_of("a")) == winner.statements


async def test_the_same_message_many_times_at_once_is_one(store: Store) -> None:
    """Twenty devices submit one envelope at the same instant: one message, one log entry, one
    delivery.
    """
    change = first("a", statements=(kept("s", msg_of("a")),), entries=(message_to("AU", "a"),))
    outcomes = await asyncio.gather(*(store.commit(change) for _ in range(20)))
    assert sorted(map(type, outcomes), key=str) == [Committed] + [Conflict] * 19
    assert await store.head("AU") == 1
    assert (await store.log()).size == 1


async def test_a_neighbours_refusal_hurts_nobody(store: Store) -> None:
    """A conflict, a full desk and a caller's mistake among many at once: all the others are
    committed.
    """
    await store.commit(first("old"))
    await store.commit(first("w", waiting=(("AU", 1),)))
    unknown = Entry("AU", "statement", digest("nowhere"), msg_of("mistaken"))
    changes = [
        first(f"m{number}", entries=(message_to("VN", f"m{number}"),)) for number in range(6)
    ]
    changes[2:2] = [
        first("old"),
        first("full", waiting=(("AU", 1),), waiting_max=1),
        first("mistaken", entries=(unknown,), statements=(kept("unseen", msg_of("mistaken")),)),
    ]
    outcomes = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
    assert outcomes[2:4] == [Conflict(1), Full("AU")]
    assert isinstance(outcomes[4], ValueError)
    assert [outcome for outcome in outcomes if isinstance(outcome, Committed)] == [
        Committed(1, (seq,)) for seq in range(1, 7)
    ]
    assert await store.load(msg_of("mistaken")) is None
    assert await store.statement(digest("unseen")) is None
    assert await store.check() == []


# Mailboxes


async def test_sequence_numbers_are_dense_per_desk(store: Store) -> None:
    """Each desk counts by itself, from 1 without a gap, also when many arrive at once."""
    changes = [
        first(f"m{number}", entries=(message_to("AU" if number % 3 else "VN", f"m{number}"),))
        for number in range(30)
    ]
    await asyncio.gather(*map(store.commit, changes))
    for desk, count in (("AU", 20), ("VN", 10)):
        entries = await store.mailbox(desk, 0, 100)
        assert [entry.seq for entry in entries] == list(range(1, count + 1))
        assert await store.head(desk) == count


async def test_an_entry_is_made_once(store: Store) -> None:
    """A (desk, ref) that is there is skipped with 0, within a change and later; the numbers stay
    dense.
    """
    receipt = kept("r", msg_of("a"))
    twice = message_to("AU", "a")
    outcome = await store.commit(first("a", entries=(twice, twice)))
    assert outcome == Committed(1, (1, 0))
    change = Change(
        msg_of("a"),
        1,
        b"state 2",
        statements=(receipt,),
        entries=(twice, statement_to("AU", receipt), statement_to("VN", receipt)),
    )
    assert await store.commit(change) == Committed(2, (0, 2, 1))
    again = replace(change, expected=2)
    assert await store.commit(again) == Committed(3, (0, 0, 0))
    assert await store.head("AU") == 2


async def test_reading_from_a_cursor(store: Store) -> None:
    """A desk reads what lies after its cursor, at most so many, in order."""
    for number in range(5):
        await store.commit(first(f"m{number}", entries=(message_to("AU", f"m{number}"),)))
    assert [entry.seq for entry in await store.mailbox("AU", 0, 2)] == [1, 2]
    assert [entry.seq for entry in await store.mailbox("AU", 2, 2)] == [3, 4]
    assert [entry.ref for entry in await store.mailbox("AU", 4, 9)] == [msg_of("m4")]
    assert await store.mailbox("AU", 5, 9) == ()
    assert await store.mailbox("AU", 0, 0) == ()


async def test_an_entry_points_to_what_is_kept(store: Store) -> None:
    """An entry for a statement that nobody keeps, or of another message, is the caller's mistake
    and writes nothing.
    """
    foreign = Entry("AU", "message", msg_of("b"), msg_of("b"))
    lost = Entry("AU", "statement", digest("nowhere"), msg_of("a"))
    odd = Entry("AU", "letter", msg_of("a"), msg_of("a"))
    for entry in (foreign, lost, odd):
        with pytest.raises(ValueError, match="entry"):
            await store.commit(first("a", entries=(entry,)))
    assert await store.load(msg_of("a")) is None
    await store.keep([kept("r")])
    entry = Entry("AU", "statement", digest("r"), msg_of("a"))
    assert await store.commit(first("a", entries=(entry,))) == Committed(1, (1,))


# Full mailboxes


async def test_full_at_one_more_than_allowed(store: Store) -> None:
    """With a limit of 3, the third message is accepted and the fourth is told Full; delivered makes
    room.
    """
    for number in range(3):
        change = first(f"m{number}", waiting=(("AU", 1),), waiting_max=3)
        assert await store.commit(change) == Committed(1, ())
    fourth = first("m3", waiting=(("AU", 1),), waiting_max=3, statements=(kept("s"),))
    assert await store.commit(fourth) == Full("AU")
    assert await store.load(msg_of("m3")) is None
    assert (await store.log()).size == 0
    await store.commit(Change(msg_of("m0"), 1, b"delivered", waiting=(("AU", -1),)))
    assert await store.commit(fourth) == Committed(1, ())
    assert (await store.counts())["waiting"] == 3


async def test_full_among_many_at_once(store: Store) -> None:
    """Of ten messages that arrive together where three may wait, exactly three are accepted."""
    changes = [first(f"m{n}", waiting=(("AU", 1),), waiting_max=3) for n in range(10)]
    outcomes = await asyncio.gather(*map(store.commit, changes))
    assert outcomes.count(Full("AU")) == 7
    assert (await store.counts())["waiting"] == 3


async def test_a_full_desk_is_another_desks_business(store: Store) -> None:
    """A limit counts per desk; without one, and with fewer waiting, nothing is refused."""
    await store.commit(first("a", waiting=(("AU", 1),)))
    assert await store.commit(first("b", waiting=(("NZ", 1),), waiting_max=1)) == Committed(1, ())
    assert await store.commit(first("c", waiting=(("AU", 1),))) == Committed(1, ())
    both = first("d", waiting=(("FJ", 1), ("AU", 1)), waiting_max=1)
    assert await store.commit(both) == Full("AU")
    assert await store.commit(first("e", waiting=(("FJ", 1),), waiting_max=1)) == Committed(1, ())


async def test_waiting_counts_a_message_once(store: Store) -> None:
    """Waiting twice or ceasing twice changes nothing, so a receipt from a second device cannot make
    room.
    """
    await store.commit(first("a", waiting=(("AU", 1), ("AU", 1))))
    await store.commit(first("b", waiting=(("AU", 1),)))
    for version in (1, 2):
        await store.commit(Change(msg_of("a"), version, b"d", waiting=(("AU", -1),)))
    assert (await store.counts())["waiting"] == 1
    assert await store.check() == []


async def test_waiting_counts_once_among_many_at_once(store: Store) -> None:
    """The same when the steps come together, each standing on the one before."""
    await store.commit(first("a", waiting=(("AU", 1), ("VN", 1))))
    steps = [("AU", -1), ("AU", -1), ("VN", -1), ("VN", 1), ("VN", 1), ("FJ", 1), ("FJ", 1)]
    changes = [Change(msg_of("a"), n, b"d", waiting=(step,)) for n, step in enumerate(steps, 1)]
    outcomes = await asyncio.gather(*map(store.commit, changes))
    assert outcomes == [Committed(version, ()) for version in range(2, 9)]
    assert (await store.counts())["waiting"] == 2
    assert await store.check() == []


# Statements and the log


async def test_the_log_has_the_statements_in_order(store: Store) -> None:
    """Log entries are the statement ids in the order of commits (PROTOCOL 13.1), and the root is
    theirs.
    """
    changes = [
        first("a", statements=(kept("1"), kept("2"))),
        first("b", statements=(kept("3"),)),
        Change(msg_of("a"), 1, b"x", statements=(kept("4"), kept("5"))),
    ]
    for change in changes:
        await store.commit(change)
    await store.keep([kept("6"), kept("7")])
    entries = [bytes.fromhex(digest(str(number))) for number in range(1, 8)]
    assert await store.log_entries(0, 100) == entries
    assert await store.log_entries(2, 4) == entries[2:4]
    assert await store.log() == tlog.append(tlog.EMPTY, entries)


async def test_a_known_statement_is_skipped(store: Store) -> None:
    """The same statement in one change twice, in a later change and alone: kept and logged once, as
    it first came.
    """
    receipt = kept("r", msg_of("a"))
    await store.commit(first("a", statements=(receipt, receipt)))
    later = replace(receipt, at=NOW + 5, wire=b"other bytes, same id")
    await store.commit(Change(msg_of("a"), 1, b"x", statements=(later, kept("new", msg_of("a")))))
    await store.keep([later, later])
    assert await store.statements(msg_of("a")) == (receipt, kept("new", msg_of("a")))
    assert (await store.log()).size == 2


async def test_statements_that_change_no_state(store: Store) -> None:
    """A statement without a message is kept; one about a message that comes later is found with it,
    in the log's order.
    """
    connect = kept("c", "", "connect")
    early = kept("p", msg_of("a"), "pickup")
    await store.keep([connect, early])
    assert await store.statement(connect.sid) == connect
    assert await store.statements(msg_of("a")) == (early,)
    await store.commit(first("a", statements=(kept("s", msg_of("a")),)))
    assert await store.statements(msg_of("a")) == (early, kept("s", msg_of("a")))
    assert await store.statement(early.sid) == early


async def test_many_keep_at_once(store: Store) -> None:
    """Statements that race are all logged once, whole groups in one piece."""
    groups = [[kept(f"{group} {number}") for number in range(3)] for group in range(12)]
    await asyncio.gather(*(store.keep(group) for group in groups + groups))
    entries = [entry.hex() for entry in await store.log_entries(0, 100)]
    assert sorted(entries) == sorted(digest(f"{g} {n}") for g in range(12) for n in range(3))
    for group in groups:
        start = entries.index(group[0].sid)
        assert entries[start : start + 3] == [one.sid for one in group]


# Timers


async def test_a_timer_is_replaced_by_kind_and_subject(store: Store) -> None:
    """Arming again replaces the one of the same kind and subject, and no other."""
    a, b = msg_of("a"), msg_of("b")
    await store.commit(first("a", arm=(Timer("expire", a, 1, 50), Timer("stage", a, 1, 20))))
    await store.commit(first("b", arm=(Timer("stage", b, 1, 30),)))
    await store.commit(Change(a, 1, b"x", arm=(Timer("stage", a, 2, 40),)))
    assert await store.due(100, 10) == (
        Timer("stage", b, 1, 30),
        Timer("stage", a, 2, 40),
        Timer("expire", a, 1, 50),
    )
    assert await store.next_due() == 30
    counts = await store.counts()
    assert (counts["timers"], counts["timers_stage"], counts["timers_expire"]) == (3, 2, 1)
    assert counts["open"] == 2


async def test_disarm_is_for_this_message_and_before_arm(store: Store) -> None:
    """A disarmed kind is gone for this message only; a kind that is disarmed and armed in one
    change is armed.
    """
    a, b = msg_of("a"), msg_of("b")
    for name in ("a", "b"):
        timers = tuple(Timer(kind, msg_of(name), 1, 10) for kind in ("expire", "stage"))
        await store.commit(first(name, arm=timers))
    change = Change(
        a, 1, b"x", arm=(Timer("stage", a, 2, 20),), disarm=("expire", "stage", "never armed")
    )
    await store.commit(change)
    assert await store.due(100, 10) == (
        Timer("expire", b, 1, 10),
        Timer("stage", b, 1, 10),
        Timer("stage", a, 2, 20),
    )


async def test_due_is_by_time_and_limited(store: Store) -> None:
    """Only what is due is told, the oldest first, at most so many; it stays armed until a change
    moves it.
    """
    for name, due in (("a", 30), ("b", 10), ("c", 20)):
        await store.commit(first(name, arm=(Timer("expire", msg_of(name), 1, due),)))
    assert [timer.due for timer in await store.due(20, 10)] == [10, 20]
    assert [timer.due for timer in await store.due(99, 2)] == [10, 20]
    assert await store.due(9, 10) == ()
    assert [timer.due for timer in await store.due(20, 10)] == [10, 20]
    assert await store.next_due() == 10


async def test_timers_stay_counted(store: Store) -> None:
    """Armed, armed again, disarmed twice, disarmed and armed in one change: the counts are those of the table."""
    a = msg_of("a")
    both = (Timer("expire", a, 1, 10), Timer("stage", a, 1, 10))
    await store.commit(first("a", arm=both))
    await store.commit(Change(a, 1, b"x", arm=(Timer("stage", a, 2, 20),)))
    await store.commit(Change(a, 2, b"x", disarm=("stage", "never")))
    await store.commit(Change(a, 3, b"x", disarm=("stage",)))
    await store.commit(Change(a, 4, b"x", disarm=("expire",), arm=both))
    counts = await store.counts()
    assert (counts["timers"], counts["timers_stage"], counts["timers_expire"]) == (2, 1, 1)
    await store.commit(Change(a, 5, b"x", disarm=("expire", "stage")))
    counts = await store.counts()
    assert counts["timers"] == 0
    assert "timers_stage" not in counts


# What the auditor looks for


async def test_an_open_message_without_its_timers_is_told(store: Store) -> None:
    """A message that must have more timers than stand for it is a finding; a settled one is none."""
    a, b, c = msg_of("a"), msg_of("b"), msg_of("c")
    timers = tuple(Timer(kind, a, 1, 10) for kind in ("expire", "ladder"))
    await store.commit(first("a", arm=timers, open=2))
    await store.commit(first("b", arm=(Timer("expire", b, 1, 10),), open=2))
    await store.commit(first("c", open=1))
    await store.commit(first("d", open=0))
    assert await store.unarmed(10) == (b, c)
    assert await store.unarmed(1) == (b,)
    assert await store.unarmed(0) == ()
    assert (await store.counts())["open"] == 3
    await store.commit(Change(b, 1, b"x", arm=(Timer("ladder", b, 1, 20),), open=2))
    await store.commit(Change(c, 1, b"settled", open=0))
    await store.commit(Change(a, 1, b"x", disarm=("ladder",), open=2))
    assert await store.unarmed(10) == (a,)
    assert (await store.counts())["open"] == 2
    await store.commit(Change(c, 2, b"open again", open=1))
    assert await store.unarmed(10) == (a, c)


# Pages


async def test_a_page_comes_with_its_change(store: Store) -> None:
    """Pages are put in with the commit that wants them, and not with one that is refused."""
    await store.commit(first("a"))
    change = Change(msg_of("a"), 1, b"x", pages=(page("p", "a"), page("q", "a")))
    assert await store.commit(replace(change, expected=5)) == Conflict(1)
    assert await store.pages(msg_of("a")) == ()
    await store.commit(change)
    by_id = sorted(change.pages, key=lambda one: one.id)
    assert await store.pages(msg_of("a")) == tuple(by_id)
    assert (await store.counts())["pages_ready"] == 2
    assert await store.next_page() == 0
    await store.commit(first("b", pages=(page("r", "b", not_before=7),)))
    assert await store.pages(msg_of("b")) == (page("r", "b", not_before=7),)


async def test_the_same_page_is_put_in_once(store: Store) -> None:
    """A known dedup key is skipped, whatever became of the page meanwhile."""
    await store.commit(first("a", pages=(page("p", "a"), page("p", "a", handle="other"))))
    await store.lease_pages(NOW, NOW + 30, 10)
    await store.finish_page(digest("p"), 1, "sent", "sent", NOW)
    await store.commit(Change(msg_of("a"), 1, b"x", pages=(page("p", "a"),)))
    (found,) = await store.pages(msg_of("a"))
    assert (found.state, found.handle, found.attempt) == ("sent", "duty", 1)
    assert await store.next_page() is None


async def test_leases_are_by_priority_and_age(store: Store) -> None:
    """Emergencies first, then urgent, then routine, each by age; only what is ready by now, at most so many."""
    await store.commit(first("a"))
    rows = [
        page("routine", "a", priority="routine", created=1),
        page("younger", "a", created=3),
        page("older", "a", created=2),
        page("emergency", "a", priority="emergency", created=9),
        page("later", "a", priority="emergency", not_before=NOW + 1),
    ]
    await store.commit(Change(msg_of("a"), 1, b"x", pages=tuple(rows)))
    leased = await store.lease_pages(NOW, NOW + 30, 3)
    assert [one.id for one in leased] == [digest(n) for n in ("emergency", "older", "younger")]
    assert {(one.state, one.attempt, one.lease_until) for one in leased} == {
        ("leased", 1, NOW + 30)
    }
    assert [one.id for one in await store.lease_pages(NOW, NOW + 30, 9)] == [digest("routine")]
    assert await store.lease_pages(NOW, NOW + 30, 9) == ()
    assert await store.next_page() == NOW + 1


async def test_two_pagers_never_hold_the_same_page(store: Store) -> None:
    """Many that lease at once get every page, each once."""
    rows = tuple(page(f"p{number}", "a") for number in range(20))
    await store.commit(first("a", pages=rows))
    leased = await asyncio.gather(*(store.lease_pages(NOW, NOW + 30, 3) for _ in range(10)))
    ids = [one.id for some in leased for one in some]
    assert sorted(ids) == sorted(one.id for one in rows)


async def test_a_dead_pagers_page_is_leased_again(store: Store) -> None:
    """At the end of its lease, not before, a page goes to another; what the first then says does not count."""
    await store.commit(first("a", pages=(page("p", "a"),)))
    await store.lease_pages(NOW, NOW + 30, 9)
    assert await store.next_page() == NOW + 30
    assert await store.lease_pages(NOW + 29, NOW + 59, 9) == ()
    (again,) = await store.lease_pages(NOW + 30, NOW + 60, 9)
    assert (again.id, again.attempt, again.lease_until) == (digest("p"), 2, NOW + 60)
    assert again.result == LOST
    assert not await store.finish_page(digest("p"), 1, "failed", "failed_perm", 0)
    assert await store.pages(msg_of("a")) == (again,)
    assert await store.finish_page(digest("p"), 2, "sent", "sent", 0)
    assert not await store.finish_page(digest("p"), 2, "failed", "failed_perm", 0)
    (found,) = await store.pages(msg_of("a"))
    assert (found.state, found.result) == ("sent", "sent")


async def test_a_page_is_tried_again_later(store: Store) -> None:
    """Put back as ready it waits until its time and keeps what came of the last attempt."""
    await store.commit(first("a", pages=(page("p", "a"),)))
    await store.lease_pages(NOW, NOW + 30, 9)
    assert await store.finish_page(digest("p"), 1, "ready", "failed_temp", NOW + 5)
    assert await store.next_page() == NOW + 5
    assert await store.lease_pages(NOW + 4, NOW + 40, 9) == ()
    (again,) = await store.lease_pages(NOW + 5, NOW + 40, 9)
    assert (again.attempt, again.result, again.not_before) == (2, "failed_temp", NOW + 5)


async def test_what_is_taken_back_is_not_sent(store: Store) -> None:
    """Unpage cancels what is ready in the same commit; what is under way or done stays, other messages too."""
    rows = [page(name, "a", created=at) for at, name in enumerate(("under way", "done", "waits"))]
    await store.commit(first("a", pages=tuple(rows)))
    await store.commit(first("b", pages=(page("other", "b", created=9),)))
    await store.lease_pages(NOW, NOW + 30, 2)
    await store.finish_page(digest("done"), 1, "sent", "sent", 0)
    after = Change(msg_of("a"), 1, b"x", unpage=True, pages=(page("new", "a", created=9),))
    assert await store.commit(replace(after, expected=9)) == Conflict(1)
    assert (await store.counts())["pages_cancelled"] == 0
    await store.commit(after)
    states = {one.id: one.state for one in await store.pages(msg_of("a"))}
    assert states == {
        digest("under way"): "leased",
        digest("done"): "sent",
        digest("waits"): "cancelled",
        digest("new"): "ready",
    }
    assert [one.state for one in await store.pages(msg_of("b"))] == ["ready"]


async def test_nobody_is_woken_for_what_is_settled(store: Store) -> None:
    """A page of a message that is not open any more is neither put back nor leased again, but cancelled."""
    rows = (page("back", "a"), page("dead pager", "a"), page("ready", "a", not_before=NOW + 99))
    await store.commit(first("a", pages=rows))
    await store.lease_pages(NOW, NOW + 30, 9)
    await store.commit(Change(msg_of("a"), 1, b"settled", open=0))
    assert await store.finish_page(digest("back"), 1, "ready", "unknown", NOW + 5)
    assert await store.lease_pages(NOW + 99, NOW + 120, 0) == ()
    found = {one.id: (one.state, one.result) for one in await store.pages(msg_of("a"))}
    assert found == {
        digest("back"): ("cancelled", "unknown"),
        digest("dead pager"): ("cancelled", ""),
        digest("ready"): ("cancelled", ""),
    }
    assert await store.next_page() is None


async def test_pages_go_thirty_days_after_their_end(store: Store) -> None:
    """Purge takes the oldest pages, after envelopes and prekeys, and only past their date."""
    rows = (page("old", "a", expires=100), page("new", "a", expires=101))
    await store.commit(first("a", pages=rows, drop_after=50))
    now = 100 + PAGE_KEPT_AFTER
    assert await store.purge(now - 1, 10) == 1
    assert await store.purge(now, 0) == 0
    assert await store.purge(now, 10) == 1
    assert [one.id for one in await store.pages(msg_of("a"))] == [digest("new")]


# Marks


async def test_a_mark_is_kept(store: Store) -> None:
    """The last number that was put under a name is there, and no other name's."""
    await store.put_mark("clock", NOW)
    await store.put_mark("other", 2**53 - 1)
    await store.put_mark("clock", NOW - 5)
    assert (await store.mark("clock"), await store.mark("other")) == (NOW - 5, 2**53 - 1)


# Directory


async def test_the_directory_only_goes_forward(store: Store) -> None:
    """A newer version replaces the whole set and is logged; the same or an older one is refused
    without a trace.
    """
    assert await store.put_directory(5, {"a.json": b"1", "b.json": b"2"}, b"pins", [digest("a")])
    for version in (5, 4, 0):
        assert not await store.put_directory(version, {"c.json": b"3"}, b"", [digest("c")])
    assert await store.directory() == (5, {"a.json": b"1", "b.json": b"2"}, b"pins")
    assert await store.put_directory(6, {"b.json": b"4"}, b"pins 2", [digest("b"), digest("d")])
    assert await store.directory() == (6, {"b.json": b"4"}, b"pins 2")
    logged = [bytes.fromhex(digest(name)) for name in "abd"]
    assert await store.log_entries(0, 10) == logged
    assert await store.log() == tlog.append(tlog.EMPTY, logged)


async def test_two_directories_at_once(store: Store) -> None:
    """Of two publications that race, the newer one stands in the end, whole."""
    await asyncio.gather(
        *(store.put_directory(n, {f"{n}.json": b"x"}, b"%d" % n, []) for n in (3, 9, 5, 8))
    )
    assert await store.directory() == (9, {"9.json": b"x"}, b"9")


# Prekeys


async def test_prekeys_valid_now_or_later(store: Store) -> None:
    """A desk's prekeys that are valid at a time or later are told, by device and begin; ended ones
    are not.
    """
    old, now, soon = prekey("old", 0, 10), prekey("now", 5, 20), prekey("soon", 20, 30)
    phone = prekey("phone", 0, 99, device="phone")
    await store.put_prekeys([soon, old, phone, prekey("other desk", 0, 99, desk="VN"), now])
    by_device = sorted([now, soon, phone], key=lambda row: (row.device, row.not_before))
    assert await store.prekeys("AU", 10) == tuple(by_device)
    assert old in await store.prekeys("AU", 9)
    assert await store.prekeys("AU", 99) == ()


async def test_a_prekey_is_kept_once(store: Store) -> None:
    """Publishing again keeps the first row, so the time of receipt does not move (PROTOCOL 8.7)."""
    row = prekey("k", 0, 10)
    await store.put_prekeys([row, row])
    await store.put_prekeys([replace(row, received=NOW + 9)])
    assert await store.prekeys("AU", 0) == (row,)


# Purge


async def test_purge_drops_envelopes_past_their_date_and_nothing_else(store: Store) -> None:
    """At drop_after the envelope goes (PROTOCOL 11.5); state, statements, log and mailbox stay."""
    receipt = kept("r", msg_of("a"))
    await store.commit(
        first("a", statements=(receipt,), entries=(message_to("AU", "a"),), drop_after=100)
    )
    await store.commit(first("b", drop_after=101))
    await store.commit(first("never"))
    before = await store.log()
    assert await store.purge(99, 10) == 0
    assert await store.purge(100, 10) == 1
    assert await store.purge(100, 10) == 0
    assert await store.envelope(msg_of("a")) is None
    assert await store.envelope(msg_of("b")) == sealed("b")
    assert await store.envelope(msg_of("never")) == sealed("never")
    assert await store.load(msg_of("a")) == Stored(1, b"state 1")
    assert await store.statements(msg_of("a")) == (receipt,)
    assert len(await store.mailbox("AU", 0, 10)) == 1
    assert await store.log() == before
    assert await store.commit(first("a")) == Conflict(1)  # a late repeat cannot bring it back
    assert await store.envelope(msg_of("a")) is None
    assert (await store.counts())["envelopes"] == 2
    assert await store.check() == []


async def test_the_date_moves_with_later_changes(store: Store) -> None:
    """A later date replaces the first, 0 leaves it, and a message without envelope has none."""
    await store.commit(first("a", drop_after=100))
    await store.commit(Change(msg_of("a"), 1, b"x"))
    await store.commit(Change(msg_of("a"), 2, b"x", drop_after=200))
    assert await store.purge(199, 10) == 0
    assert await store.purge(200, 10) == 1
    await store.commit(Change(msg_of("a"), 3, b"x", drop_after=300))
    assert await store.purge(300, 10) == 0


async def test_purge_is_limited_and_takes_the_oldest(store: Store) -> None:
    """At most *limit* rows go at once: the oldest envelopes, then prekeys that ended 30 days ago."""
    for name, date in (("a", 30), ("b", 10), ("c", 20)):
        await store.commit(first(name, drop_after=date))
    await store.put_prekeys([prekey("k", 0, 50), prekey("l", 0, 51)])
    now = 50 + PREKEY_KEPT_AFTER
    assert await store.purge(now, 2) == 2
    assert await store.envelope(msg_of("a")) == sealed("a")
    assert await store.purge(now - 1, 10) == 1
    assert await store.purge(now, 10) == 1
    assert [row.sid for row in await store.prekeys("AU", 0)] == [digest("l")]


async def test_an_envelope_may_come_later_once(store: Store) -> None:
    """A message that was brought back without its envelope takes it from whoever has it; a second one changes nothing."""
    await store.commit(first("a", envelope=None, drop_after=NOW))
    assert await store.envelope(msg_of("a")) is None
    for version in (1, 2):
        later = replace(first("a", drop_after=NOW + version), expected=version)
        assert isinstance(await store.commit(later), Committed)
        assert await store.envelope(msg_of("a")) == sealed("a")
        assert (await store.counts())["envelopes"] == 1
    assert await store.check() == []
    assert await store.purge(NOW + 1, 9) == 0
    assert await store.purge(NOW + 2, 9) == 1
    assert await store.envelope(msg_of("a")) is None


# Mistakes, start and stop


@pytest.mark.parametrize(
    "change",
    [
        first("a", envelope=b"another envelope"),
        replace(first("a"), expected=-1),
        replace(first("a"), msg="A" * 64),
        replace(first("a"), msg="abcd"),
        first("a", waiting=(("AU", 2),)),
        first("a", arm=(Timer("", msg_of("a"), 1, 1),)),
        first("a", arm=(Timer("expire", "x" * 129, 1, 1),)),
        first("a", arm=(Timer("expire", msg_of("a"), 1, 2**53),)),
        first("a", arm=(Timer("expire", msg_of("a"), 1, -1),)),
        first("a", disarm=("\udcff",)),
        first("a", drop_after=2**63),
        first("a", open=-1),
        first("a", pages=(page("p", "b"),)),
        first("a", pages=(page("p", "a", id="short"),)),
        first("a", pages=(page("p", "a", handle=""),)),
        first("a", pages=(page("p", "a", state="gone"),)),
        first("a", pages=(page("p", "a", result="\udcff"),)),
        first("a", pages=(page("p", "a", attempt=-1),)),
        first("a", statements=(replace(kept("s"), sid="short"),)),
        first("a", statements=(replace(kept("s"), msg="short"),)),
        first("a", statements=(replace(kept("s"), kind="\udcff"),)),
    ],
)
async def test_a_mistaken_change_writes_nothing(store: Store, change: Change) -> None:
    """What no store can keep is a ValueError for its caller; the store works on."""
    with pytest.raises(ValueError, match=r"\w"):
        await store.commit(change)
    assert set((await store.counts()).values()) == {0}
    assert await store.commit(first("a")) == Committed(1, ())


async def test_the_limits_of_names_and_numbers(store: Store) -> None:
    """A name of 128 characters and a number of 2^53 - 1 are kept as they are."""
    timer = Timer("k" * 128, "s" * 128, 2**53 - 1, 2**53 - 1)
    await store.commit(first("a", arm=(timer,)))
    assert await store.due(2**53 - 1, 1) == (timer,)


async def test_other_mistakes_write_nothing(store: Store) -> None:
    """Mistaken statements, prekeys, directories, purges and ids are refused, and the store works
    on.
    """
    mistakes = [
        lambda: store.keep([kept("good"), replace(kept("bad"), at=-1)]),
        lambda: store.put_prekeys([prekey("good", 0, 1), prekey("bad", 0, 2**60)]),
        lambda: store.put_directory(1, {"\udcff": b""}, b"", []),
        lambda: store.put_directory(1, {"a": b""}, b"", ["short"]),
        lambda: store.put_directory(2**60, {"a": b""}, b"", []),
        lambda: store.purge(2**70, 1),
        lambda: store.put_mark("", 1),
        lambda: store.put_mark("clock", -1),
        lambda: store.lease_pages(-1, 5, 1),
        lambda: store.finish_page(digest("p"), 1, "gone", "", 0),
        lambda: store.finish_page(digest("p"), 1, "ready", "", 2**53),
        lambda: store.finish_page("short", 1, "ready", "", 0),
        lambda: store.pages("short"),
        lambda: store.load("short"),
        lambda: store.envelope("short"),
        lambda: store.statement("short"),
        lambda: store.statements("short"),
    ]
    for mistake in mistakes:
        with pytest.raises(ValueError, match=r"\w"):
            await mistake()  # type: ignore[no-untyped-call]
    assert await store.directory() is None
    assert set((await store.counts()).values()) == {0}


async def test_a_store_that_does_not_run_fails(store: Store) -> None:
    """Before start and after stop every call says so; stopping twice is harmless."""
    await store.stop()
    await store.stop()
    for call in (store.commit(first("a")), store.load(msg_of("a")), store.counts(), store.check()):
        with pytest.raises(Failed, match="not running"):
            await call


async def test_a_restart_keeps_everything(store: Store) -> None:
    """Stop and start: epoch, states, envelopes, statements, mailboxes, timers, directory and log
    are as before.
    """
    receipt = kept("r", msg_of("a"))
    await store.commit(
        first(
            "a",
            statements=(receipt, kept("stray", msg_of("z"))),
            entries=(message_to("AU", "a"), statement_to("VN", receipt)),
            arm=(Timer("expire", msg_of("a"), 1, 9),),
            waiting=(("AU", 1),),
            drop_after=50,
            pages=(page("p", "a"), page("q", "a", not_before=NOW + 9)),
            open=2,
        )
    )
    await store.lease_pages(NOW, NOW + 30, 9)
    await store.put_mark("clock", NOW)
    await store.put_directory(1, {"a": b"b"}, b"pins", [digest("f")])
    await store.put_prekeys([prekey("k", 0, 10)])

    async def everything() -> list[object]:
        return [
            store.epoch,
            await store.load(msg_of("a")),
            await store.envelope(msg_of("a")),
            await store.statements(msg_of("a")),
            await store.statements(msg_of("z")),
            await store.mailbox("AU", 0, 9),
            await store.mailbox("VN", 0, 9),
            await store.due(99, 9),
            await store.unarmed(9),
            await store.pages(msg_of("a")),
            await store.next_page(),
            await store.mark("clock"),
            await store.directory(),
            await store.prekeys("AU", 0),
            await store.log(),
            await store.log_entries(0, 9),
            await store.counts(),
        ]

    before = await everything()
    assert store.epoch > 0
    await store.stop()
    await store.start(NOW + 1000)
    assert await everything() == before
    assert await store.check() == []
    # and it goes on where it was
    assert await store.commit(first("b", entries=(message_to("AU", "b"),))) == Committed(1, (2,))
    assert await store.commit(first("a")) == Conflict(1)
    assert await store.purge(50, 10) == 1
