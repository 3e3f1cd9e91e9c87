"""The ladder on a real corridor, over both stores: every stage signed, kept, told and paged once, whatever is killed when.

PROTOCOL 9.3.4, 10, 11.8, 11.9; invariants I1 to I6.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import Letter, letter_of, pickup_of, receipt_of, relay_of, state_of
from builders_crash import Killed, crashing
from builders_keys import NOW as BEGUN
from builders_keys import World

from keys.errors import Code, Refused
from keys.statement import Statement
from relay.core import limits
from relay.core.message import EXPIRE, Phase
from relay.exchange import Exchange
from relay.ledger import Told
from relay.store.base import Change, Store, Timer
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.wire import receipt

NOW = BEGUN + 1200
DUTY = frozenset({"duty"})
LADDER = [(300, "path"), (600, "backstop"), (1200, "backup"), (3600, "exhausted")]
"""The world's urgent profile: seconds after acceptance."""
GAP = 60
AWAY_S = 720


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


@pytest.fixture(scope="module")
def letter(world: World) -> Letter:
    """Return one request, sealed once: many stories begin with it."""
    return letter_of(world, NOW)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield each store in turn: the ladder must not tell them apart."""
    found: Store = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "relay.db")
    )
    yield found
    await found.stop()


async def relay(world: World, store: Store, now: int = NOW, **more: Any) -> Exchange:
    """Return a corridor that can page the endpoint `duty` of every desk."""
    return await relay_of(world, store, now, **{"reachable": DUTY, **more})


async def accepted(exchange: Exchange, letter: Letter, now: int = NOW) -> Letter:
    """Submit a letter."""
    await exchange.submit(letter.submission.wire, letter.envelope, now)
    return letter


async def steps(world: World, store: Store, letter: Letter) -> list[Statement]:
    """Return the relay's statements about the ladder and the end, verified with its key, in the log's order."""
    kinds = {"escalated", "exhausted", "expired"}
    found = [kept for kept in await store.statements(letter.msg) if kept.kind in kinds]
    return [receipt.read(kept.wire, kinds, world.evidence.public) for kept in found]


async def paged(world: World, store: Store, letter: Letter) -> list[Statement]:
    """Return what the relay said of its pages, verified with its key, in the log's order."""
    found = [kept for kept in await store.statements(letter.msg) if kept.kind == "paged"]
    return [receipt.read(kept.wire, {"paged"}, world.evidence.public) for kept in found]


def times(found: list[Statement]) -> list[tuple[int, str]]:
    """Return seconds after acceptance and kinds."""
    return [(one["at"] - NOW, one.fields.get("kind", one.kind)) for one in found]


async def run(exchange: Exchange, begin: int, end: int, every: int = 20) -> None:
    """Let the relay look every so often."""
    for now in range(begin, end + 1, every):
        await exchange.tick(now)


# The ladder to its end


async def test_a_ladder_runs_to_its_end(world: World, store: Store, letter: Letter) -> None:
    """Four stages at their seconds, each signed with cause and next step; the end has what was tried (PROTOCOL 10)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 4000)

    found = await steps(world, store, letter)
    assert times(found) == LADDER
    assert [dict(one.fields) for one in found[:3]] == [
        {
            "msg": letter.msg,
            "relay": world.service,
            "stage": stage,
            "kind": kind,
            "cause": "timeout",
            "at": NOW + due,
            "next_at": NOW + LADDER[stage + 1][0],
        }
        for stage, (due, kind) in enumerate(LADDER[:3])
    ]
    assert found[3]["outcome"] == "silence"
    assert [(one["stage"], one["at"], one["pages"]) for one in found[3]["stages"]] == [
        (stage, NOW + due, 1) for stage, (due, _kind) in enumerate(LADDER[:3])
    ]
    assert (await state_of(exchange, letter.msg)).phase is Phase.EXHAUSTED
    assert await store.next_due() == letter.header.expires


async def test_what_became_of_pages_is_said_in_words(
    world: World, store: Store, letter: Letter
) -> None:
    """One word for each page of a stage, and never where it went (PROTOCOL 10)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    outcomes = {"path": ("sent", "delivered"), "backstop": ("ready", "failed_temp")}
    for due, kind in LADDER:
        await exchange.tick(NOW + due)
        if kind in outcomes:
            (row,) = await store.lease_pages(NOW + due, NOW + due + 30, 9)
            await store.finish_page(row.id, row.attempt, *outcomes[kind], NOW + 9000)
    end = (await steps(world, store, letter))[-1]
    assert [one["outcomes"] for one in end["stages"]] == [["sent"], ["failed_temp"], ["pending"]]
    wire = (await store.statements(letter.msg))[-1].wire
    assert b"duty" not in wire


async def test_what_became_of_pages_is_told(world: World, store: Store, letter: Letter) -> None:
    """Said once something came of every page of a stage, and again only when that changes (PROTOCOL 11.13)."""
    exchange = await relay(world, store, reachable={"duty", "chief"})
    await accepted(exchange, letter)
    await exchange.tick(NOW + 300)
    (row,) = await store.pages(letter.msg)
    await exchange.deadlines.paged(letter.msg, 0, NOW + 301)
    assert await paged(world, store, letter) == []  # nothing has come of it yet
    for at, word in (
        (300, "suppressed"),
        (301, "failed_temp"),
        (306, "failed_temp"),
        (316, "unknown"),
        (336, "sent"),
    ):
        (row,) = await store.lease_pages(NOW + at, NOW + at + 1, 9)
        state = "sent" if word == "sent" else "ready"
        await store.finish_page(row.id, row.attempt, state, word, NOW + at + 1)
        await exchange.deadlines.paged(letter.msg, 0, NOW + at)
    found = [(one["at"] - NOW, one["outcomes"]) for one in await paged(world, store, letter)]
    assert found == [(301, ["failed_temp"]), (316, ["unknown"]), (336, ["sent"])]
    assert b"duty" not in b"".join(one.wire for one in (await store.statements(letter.msg))[-3:])


async def test_what_became_of_pages_is_told_before_the_next_stage(
    world: World, store: Store, letter: Letter
) -> None:
    """The pager may die between a page and its word: the next stage says what is known of the one before it."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await exchange.tick(NOW + 300)
    (row,) = await store.lease_pages(NOW + 300, NOW + 330, 9)
    await store.finish_page(row.id, row.attempt, "sent", "sent", 0)
    await run(exchange, NOW + 320, NOW + 1300)
    found = [(one["stage"], one["outcomes"]) for one in await paged(world, store, letter)]
    assert found == [(0, ["sent"]), (1, ["pending"])]


async def test_outcomes_are_bounded(
    world: World, store: Store, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many endpoints a stage has, the statement stays small and counts them all."""
    monkeypatch.setattr(limits, "PAGE_OUTCOMES_MAX", 1)
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await exchange.tick(NOW + 300)
    stored = await store.load(letter.msg)
    (row,) = await store.pages(letter.msg)
    assert stored is not None
    second = type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"id": "ab" * 32})
    await store.commit(Change(letter.msg, stored.version, stored.state, pages=(second,), open=2))
    exchange._ledger._known.clear()
    await run(exchange, NOW + 600, NOW + 3600, 300)
    first = (await steps(world, store, letter))[-1]["stages"][0]
    assert (first["pages"], first["outcomes"]) == (2, ["pending"])


async def test_every_step_is_told(world: World, store: Store, letter: Letter) -> None:
    """Both desks find each statement in their mailbox; the backup from its own stage on; hints come after the commit."""
    told: list[Told] = []
    exchange = await relay(world, store, told=told)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 4000)
    rungs = {one.sid for one in await steps(world, store, letter)}
    pages = {one.sid for one in await paged(world, store, letter)}
    sids = [one.sid for one in await store.statements(letter.msg) if one.sid in rungs | pages]
    assert len(pages) == 2
    assert len(sids) == 6  # path, its pages, backstop, its pages, backup, exhausted
    for desk, expected in (("VN", sids), ("AU", sids), ("AU-B", sids[4:])):
        entries = await exchange.mailbox(desk, 0, 99)
        assert [entry.ref for entry in entries if entry.kind == "statement"] == expected
        assert {hint.seq for hint in told if hint.desk == desk} >= {entry.seq for entry in entries}


async def test_each_stage_pages_its_endpoints_once(
    world: World, store: Store, letter: Letter
) -> None:
    """A page is about one stage and one endpoint, under one key; the last stage pages nobody."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 4000, 5)
    rows = await store.pages(letter.msg)
    assert [(row.stage, row.kind, row.desk, row.handle, row.created - NOW) for row in rows] == [
        (stage, kind, "AU", "duty", due) for stage, (due, kind) in enumerate(LADDER[:3])
    ]
    assert len({row.id for row in rows}) == 3
    assert {(row.priority, row.mode, row.expires, row.state) for row in rows} == {
        ("urgent", "actual", letter.header.expires, "ready")
    }


async def test_the_backup_reads_from_its_stage_on(
    world: World, store: Store, letter: Letter
) -> None:
    """Not a second before; then it has the message, and its acknowledgement stops the ladder (C6b, PROTOCOL 9.3.4)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 1199)
    asked = pickup_of(world, [letter.msg], NOW + 1199, desk="AU-B")
    early = receipt_of(world, "acknowledged", letter, NOW + 1199, desk="AU-B")
    assert await exchange.collect(asked, NOW + 1199) == [b"", b"", b""]
    assert await exchange.mailbox("AU-B", 0, 9) == ()
    with pytest.raises(Refused) as refusal:
        await exchange.record([early.wire], NOW + 1199)
    assert refusal.value.code is Code.E_WRONG_DESK

    await exchange.tick(NOW + 1200)
    asked = pickup_of(world, [letter.msg], NOW + 1200, desk="AU-B")
    assert (await exchange.collect(asked, NOW + 1200))[2] == letter.envelope
    mine = await exchange.mailbox("AU-B", 0, 9)
    assert {entry.kind for entry in mine} == {"message", "statement"}
    word = receipt_of(world, "acknowledged", letter, NOW + 1250, desk="AU-B")
    await exchange.record([word.wire], NOW + 1250)
    await run(exchange, NOW + 1260, NOW + 9000, 60)
    assert times(await steps(world, store, letter)) == LADDER[:3]


async def test_a_word_takes_back_what_was_not_sent(
    world: World, store: Store, letter: Letter
) -> None:
    """Timers go and pages are cancelled in the commit of the acknowledgement; nobody is woken after it (I4)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 700)
    await exchange.record([receipt_of(world, "acknowledged", letter, NOW + 700).wire], NOW + 700)
    assert [row.state for row in await store.pages(letter.msg)] == ["cancelled", "cancelled"]
    assert await store.lease_pages(NOW + 9000, NOW + 9030, 9) == ()
    assert await store.next_due() is None
    assert await store.unarmed(9) == ()


async def test_nobody_to_page(world: World, store: Store, letter: Letter) -> None:
    """A relay that can page nobody passes the backstop over in the second in which it is due, and goes on to the backup."""
    exchange = await relay(world, store, reachable=())
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 4000)
    found = await steps(world, store, letter)
    assert times(found) == [(300, "path"), (600, "backstop"), (600, "backup"), (3600, "exhausted")]
    assert [one.fields.get("cause") for one in found[:3]] == ["timeout", "unreachable", "timeout"]
    assert [one["pages"] for one in found[3]["stages"]] == [1, 0, 1]


async def test_given_up_by_the_pager(world: World, store: Store, letter: Letter) -> None:
    """When no page of the backstop can arrive, the ladder moves on with that cause (PROTOCOL 11.12)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 600)
    await exchange.deadlines.unreachable(letter.msg, 1, NOW + 610)
    await exchange.tick(NOW + 610)
    last = (await steps(world, store, letter))[-1]
    assert (last["at"] - NOW, last["kind"], last["cause"]) == (610, "backup", "unreachable")


async def test_silence_before_the_end(world: World, store: Store) -> None:
    """Who wants the acknowledgement by the very end still hears of silence, with numbers, before `expired`."""
    letter = letter_of(world, NOW, ack_by=NOW + 900, expires=NOW + 900)
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 899)
    await exchange.tick(NOW + 900)
    assert [one.kind for one in await steps(world, store, letter)][-2:] == ["exhausted", "expired"]
    assert await store.next_due() is None


async def test_silence_before_the_end_if_the_end_is_faster(
    world: World, store: Store, letter: Letter
) -> None:
    """The timer of the end fires while the ladder's waits its turn: what is proven by then is said first all the same."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 1200)
    end = letter.header.expires
    await exchange.deadlines.fire(Timer(EXPIRE, letter.msg, 1, end), end)
    assert [one.kind for one in await steps(world, store, letter)][-2:] == ["exhausted", "expired"]


async def test_unopenable_is_told_apart(world: World, store: Store, letter: Letter) -> None:
    """Every active device of the recipient failed to open it: the end says so, and not silence."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    for handle in world.handles("AU"):
        fields = {"msg": letter.msg, "desk": "AU", "code": "E_DECRYPT", "at": NOW + 5}
        failed = receipt.make("failed", fields, world.device("AU", handle))
        await exchange.record([failed.wire], NOW + 5)
    await run(exchange, NOW, NOW + 4000, 60)
    assert (await steps(world, store, letter))[-1]["outcome"] == "unopenable"


async def test_a_recipient_that_left_the_directory(
    world: World, store: Store, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence is told all the same."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 1200, 60)

    def gone(_self: object, desk: str) -> None:
        raise Refused(Code.E_WRONG_DESK, f"Desk {desk} is not in the directory.")

    monkeypatch.setattr(type(exchange.directory), "desk", gone)
    await exchange.tick(NOW + 3600)
    assert (await steps(world, store, letter))[-1]["outcome"] == "silence"


# Downtime and death


async def test_after_downtime_stages_keep_their_distance(
    world: World, store: Store, letter: Letter
) -> None:
    """Twelve minutes away in the middle: one stage at once, the others a gap apart or at their time; none is lost (I3)."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 280)
    await run(exchange, NOW + 280 + AWAY_S, NOW + 4000, 1)
    assert times(await steps(world, store, letter)) == [
        (1000, "path"),
        (1060, "backstop"),
        (1200, "backup"),
        (3600, "exhausted"),
    ]


async def test_away_past_the_end(world: World, store: Store, letter: Letter) -> None:
    """Away until the message had expired: nobody is woken for it any more; the sender is told of its end."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    await run(exchange, letter.header.expires, letter.header.expires + 300)
    assert [one.kind for one in await steps(world, store, letter)] == ["expired"]
    assert await store.pages(letter.msg) == ()


async def test_overdue_ladders_of_one_desk_are_paced(world: World, store: Store) -> None:
    """Thirty overdue at once: ten a second, emergencies first, each one stage, and one stage only."""
    exchange = await relay(world, store)
    letters = [letter_of(world, NOW, nonce=str(n), priority="routine") for n in range(22)]
    letters += [letter_of(world, NOW, nonce=str(n), priority="emergency") for n in range(8)]
    await asyncio.gather(*(accepted(exchange, one) for one in letters))
    back = NOW + 3600 + AWAY_S
    fired = []
    for second in range(4):
        fired.append([await exchange.tick(back + second) for _again in range(2)])
        if second == 0:
            urgent = [await steps(world, store, one) for one in letters[22:]]
            assert [len(found) for found in urgent] == [1] * 8
    assert fired == [[10, 0], [10, 0], [10, 0], [0, 0]]
    assert [len(await steps(world, store, one)) for one in letters] == [1] * 30


async def told_whole(world: World, disk: Store, letter: Letter) -> None:
    """Assert what must hold of a ladder that ran to its end, whatever was killed meanwhile."""
    found = await steps(world, disk, letter)
    kinds = [one.fields.get("kind", one.kind) for one in found]
    assert kinds == [kind for _due, kind in LADDER], kinds  # each once, in order: I1
    for one, (due, _kind) in zip(found, LADDER, strict=True):
        assert one["at"] >= NOW + due  # none early: I3
    assert all(after["at"] - before["at"] >= GAP for before, after in itertools.pairwise(found))
    rows = await disk.pages(letter.msg)
    assert [row.stage for row in rows] == [0, 1, 2]  # each stage has its page: I5, I6
    assert [row.created for row in rows] == [one["at"] for one in found[:3]]
    for desk in ("VN", "AU"):
        told = [entry.ref for entry in await disk.mailbox(desk, 0, 99)]
        pages = {one.sid: one["stage"] for one in await paged(world, disk, letter)}
        assert [pages[ref] for ref in told if ref in pages] == [0, 1]  # said once of each stage
        told = [ref for ref in told if ref not in pages]
        assert [one.sid for one in found] == [ref for ref in told if ref != letter.msg]
    assert await disk.unarmed(9) == ()  # I2
    assert await disk.check() == []  # I7


async def live(world: World, disk: Store, letter: Letter, begin: int, **dies: Any) -> int:
    """Let one process live from *begin* until it dies or the ladder has ended; return when it died, 0 if it did not."""
    store, crash = crashing(disk, **dies)
    now = begin
    try:
        exchange = await relay(world, store, now, start=False, prekeys=False)
        await accepted(exchange, letter, now)
        while now < NOW + 8000:
            await exchange.tick(now)
            now += 100
    except Killed:
        assert crash.dead
        return now
    return 0


async def disks(kind: str, path: Path) -> Store:
    """Return a new store of *kind*, started."""
    made: Store = MemoryStore() if kind == "memory" else SqliteStore(path)
    await made.start(NOW)
    return made


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_killed_between_any_two_steps(
    world: World, letter: Letter, kind: str, tmp_path: Path, *, after: bool
) -> None:
    """Dead before, or after, each single call of the store, away for twelve minutes, back: nothing early, twice or never."""
    whole = await disks(kind, tmp_path / "whole.db")
    await relay(world, whole, start=False)
    store, crash = crashing(whole)
    exchange = await relay(world, store, start=False, prekeys=False)
    await accepted(exchange, letter)
    await run(exchange, NOW, NOW + 8000, 100)
    await told_whole(world, whole, letter)
    await whole.stop()
    assert crash.calls > 40
    for at in range(1, crash.calls + 1, 1 if kind == "memory" else 7):
        disk = await disks(kind, tmp_path / f"{at}.db")
        await relay(world, disk, start=False)
        died = await live(world, disk, letter, NOW, at=at, after=after)
        if died:
            if kind == "sqlite":
                await disk.stop()
                disk = SqliteStore(tmp_path / f"{at}.db")
                await disk.start(died)
            # before the relay had it, the sender sends it again, in its own time
            known = await disk.load(letter.msg)
            assert await live(world, disk, letter, died + AWAY_S if known else died) == 0
        await told_whole(world, disk, letter)
        await disk.stop()


async def test_killed_twice_in_a_row(world: World, letter: Letter) -> None:
    """Whoever dies in the first second after every restart still gets on, a step at a time."""
    disk = MemoryStore()
    await disk.start(NOW)
    await relay(world, disk, start=False)
    await accepted(await relay(world, disk, start=False), letter)
    begin, lives = NOW, 0
    while True:
        died = await live(world, disk, letter, begin, at=12 + lives % 5, after=bool(lives % 2))
        lives += 1
        if not died:
            break
        begin = died + 30
    assert lives > 5
    await told_whole(world, disk, letter)


async def test_two_instances_fire_each_stage_once(world: World, letter: Letter) -> None:
    """Two processes on one store that look at the same instant: one of them is faster, the other changes nothing (I1)."""
    disk = MemoryStore()
    await disk.start(NOW)
    await relay(world, disk, start=False)
    stores = [crashing(disk)[0] for _instance in range(2)]
    both = [await relay(world, one, start=False, prekeys=False) for one in stores]
    await accepted(both[0], letter)
    for now in range(NOW, NOW + 8000, 60):
        # their clocks differ by a second, or both would sign the very same statement
        await asyncio.gather(*(one.tick(now + late) for late, one in enumerate(both)))
    await told_whole(world, disk, letter)


# Bad rows


async def test_a_bad_row_keeps_no_other_from_firing(
    world: World, store: Store, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message cannot climb, for whatever reason: the others do, and it is tried ever more rarely, and never dropped."""
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    other = await accepted(exchange, letter_of(world, NOW, nonce="other"))
    climb, tries = exchange.deadlines._climb, []

    async def wrong(msg: str, now: int) -> None:
        if msg == letter.msg:
            tries.append(now - NOW)
            raise ValueError("a fault")
        await climb(msg, now)

    monkeypatch.setattr(exchange.deadlines, "_climb", wrong)
    for second in range(300, 420):
        try:
            await exchange.tick(NOW + second)
        except ValueError:
            assert tries[-1] == second
    assert times(await steps(world, store, other)) == LADDER[:1]
    assert tries == [300, 301, 303, 307, 315, 331, 363]
    monkeypatch.setattr(exchange.deadlines, "_climb", climb)
    await run(exchange, NOW + 420, NOW + 500)
    assert times(await steps(world, store, letter)) == [(440, "path")]


async def test_rows_that_nobody_can_fire_starve_nobody(
    world: World, store: Store, letter: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than a turn takes stand in front: what is behind them fires all the same."""
    monkeypatch.setattr(limits, "TIMERS_PER_TICK_MAX", 4)
    exchange = await relay(world, store)
    await accepted(exchange, letter)
    known = await store.load(letter.msg)
    assert known is not None
    lost = [Timer("ladder", f"{n:064x}", 1, NOW + 280 + n) for n in range(9)]
    await store.commit(Change(letter.msg, known.version, known.state, arm=tuple(lost), open=2))
    exchange._ledger._known.clear()
    for second in range(300, 310):
        await exchange.tick(NOW + second)
    assert len(await steps(world, store, letter)) == 1
