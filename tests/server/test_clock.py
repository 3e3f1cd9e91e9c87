"""The clock under steps, sleep and restarts; the loop that lets timers fire by it; the auditor that looks behind them."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import Letter, letter_of, receipt_of, relay_of
from builders_keys import World
from prometheus_client import CollectorRegistry

from keys.errors import Failed
from relay.core import limits
from relay.core.message import EXPIRE, LADDER
from relay.exchange import Exchange
from relay.server import logs
from relay.server.auditor import Auditor
from relay.server.clock import SLEW, SystemClock, boottime, kept_by_ntp
from relay.server.metrics import Metrics
from relay.server.ticker import MARK_EVERY_S, TURN_S, Ticker
from relay.store.base import Change, Store, Timer
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore

WALL = 1_900_000_000.25
HOUR = 3600


class Machine:
    """What a machine tells of time: seconds that go by, and a wall clock that somebody moves."""

    def __init__(self) -> None:
        """Start, an hour ago."""
        self.running = 3600.0
        self.wall = WALL
        self.ntp = False
        self.run = "clock.0"

    def pass_by(self, seconds: float) -> None:
        """Let seconds go by, asleep or awake: CLOCK_BOOTTIME makes no difference."""
        self.running += seconds
        self.wall += seconds

    def restart(self, off: float, wall: float) -> None:
        """Switch the machine off for *off* seconds; it comes up with *wall* on its clock."""
        self.running = 20.0
        self.wall = wall
        self.run = f"clock.{off}"

    def clock(self, **more: Any) -> SystemClock:
        """Return a new process's clock."""
        return SystemClock(
            running=lambda: self.running,
            wall=lambda: self.wall,
            trusted=lambda: self.ntp,
            run=self.run,
            **more,
        )


@pytest.fixture
def machine() -> Machine:
    """Return a machine."""
    return Machine()


# The clock


def test_seconds_are_seconds(machine: Machine) -> None:
    """An undisturbed clock shows the wall clock's time, and a second is not shown before it is there."""
    clock = machine.clock()
    assert clock.now() == int(WALL)
    machine.pass_by(0.74)
    assert clock.now() == int(WALL)
    machine.pass_by(0.02)
    assert clock.now() == int(WALL) + 1


@pytest.mark.parametrize("step", [HOUR, -HOUR, 3, -3, 10 * 365 * 86_400])
def test_a_step_is_not_followed(machine: Machine, step: int) -> None:
    """However far and however long the wall clock is moved: a second of this clock stays a second."""
    clock = machine.clock()
    machine.wall += step
    for _hour in range(48):
        machine.pass_by(HOUR)
        clock.now()
    assert clock.now() == int(WALL) + 48 * HOUR
    assert clock.offset() == pytest.approx(step)


def test_a_step_there_and_back_leaves_nothing(machine: Machine) -> None:
    """The wall clock is moved for a minute and put right: nothing was shown early or late, and nothing is left."""
    clock = machine.clock()
    shown = []
    for step in (0, HOUR, 0, -HOUR, 0):
        machine.wall += step
        machine.pass_by(60)
        shown.append(clock.now() - int(WALL))
        machine.wall -= step
    assert shown == [60, 120, 180, 240, 300]
    assert clock.offset() == pytest.approx(0)


@pytest.mark.parametrize("drift", [1.5, -1.5])
def test_drift_is_followed_slowly(machine: Machine, drift: float) -> None:
    """A small difference is made up for by at most 500 ppm, so that no second is skipped or comes twice."""
    clock = machine.clock()
    machine.wall += drift
    before = clock.now()
    for _second in range(1000):
        machine.pass_by(1)
        assert clock.now() - before in {0, 1, 2}
        before = clock.now()
    left = drift - 1000 * SLEW * (1 if drift > 0 else -1)
    assert clock.offset() == pytest.approx(left, abs=1e-3)
    for _second in range(3000):
        machine.pass_by(1)
        clock.now()
    assert clock.offset() == pytest.approx(0, abs=1e-3)


def test_a_large_difference_is_followed_only_where_a_time_service_vouches(machine: Machine) -> None:
    """Slowly, even then: what the wall clock says cannot let a timer fire more than 1.8 s an hour early."""
    clock = machine.clock()
    machine.wall += HOUR
    machine.ntp = True
    machine.pass_by(HOUR)
    assert clock.now() == int(WALL + HOUR + HOUR * SLEW)
    machine.ntp = False
    machine.pass_by(HOUR)
    assert clock.now() == int(WALL + 2 * HOUR + HOUR * SLEW)


def test_a_machine_that_slept(machine: Machine) -> None:
    """After eight hours of suspend both clocks have moved: nothing is a step, and it is eight hours later."""
    clock = machine.clock()
    machine.pass_by(8 * HOUR)
    assert clock.now() == int(WALL) + 8 * HOUR
    assert clock.offset() == pytest.approx(0)


def test_a_new_process_goes_on_where_the_last_one_was(machine: Machine) -> None:
    """On the same run of the machine a restart during a step changes nothing, to the millisecond."""
    old = machine.clock()
    machine.wall -= HOUR
    machine.pass_by(100)
    mark, anchor = old.now(), old.anchor()
    machine.pass_by(50)
    new = machine.clock()
    assert new.begin(mark, anchor) == pytest.approx(HOUR)
    assert new.now() == old.now() == int(WALL) + 150


def test_a_machine_that_woke_up_in_the_past(machine: Machine) -> None:
    """Its clock was lost: time does not go back behind the mark, and the difference is told."""
    mark = machine.clock().now()
    machine.restart(600, wall=0.0)
    clock = machine.clock()
    assert clock.begin(mark, 0) == mark
    assert clock.now() == mark
    machine.pass_by(60)
    assert clock.now() == mark + 60


def test_a_machine_that_was_off(machine: Machine) -> None:
    """Its wall clock went on: it is later, and that is the time."""
    mark = machine.clock().now()
    machine.restart(600, wall=WALL + 600)
    clock = machine.clock()
    assert clock.begin(mark, 0) == 0
    assert clock.now() == mark + 600


@pytest.mark.parametrize("who", ["time service", "operator"])
def test_whoever_knows_better_is_believed_at_the_start(machine: Machine, who: str) -> None:
    """The last process ran on a wrong clock: a time service, or an operator, puts it right with the next start."""
    machine.wall += HOUR
    wrong = machine.clock()
    mark, anchor = wrong.now(), wrong.anchor()
    machine.wall -= HOUR
    machine.ntp = who == "time service"
    clock = machine.clock(believe=who == "operator")
    assert clock.begin(mark, anchor) == 0
    assert clock.now() == int(WALL)


def test_the_machines_own_clocks_can_be_read() -> None:
    """The real sources answer: seconds since the start, and whether a time service keeps the wall clock."""
    assert boottime() > 0
    assert kept_by_ntp() in {True, False}
    clock = SystemClock()
    assert abs(clock.offset()) < 1
    assert clock.run == "" or clock.run.startswith("clock.")


# The loop


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network."""
    return World()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield each store in turn."""
    found: Store = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "relay.db")
    )
    yield found
    await found.stop()


class Stage:
    """A relay without doors: exchange, loop and auditor over one store and one machine."""

    def __init__(self, machine: Machine, exchange: Exchange, **more: Any) -> None:
        """Join them."""
        self.machine = machine
        self.exchange = exchange
        self.clock = machine.clock(**more)
        self.written = io.StringIO()
        self.metrics = Metrics(CollectorRegistry(), version="1")
        log = logs.build(self.clock.now, stream=self.written)
        self.ticker = Ticker(exchange, self.clock, self.metrics, log)
        self.auditor = Auditor(exchange, self.clock, self.metrics, log)

    def value(self, name: str, **labels: str) -> float | None:
        """Return what Prometheus would read."""
        return self.metrics.registry.get_sample_value(name, labels)


async def staged(
    world: World, store: Store, machine: Machine, *, start: bool = True, **more: Any
) -> Stage:
    """Return a relay whose wall clock begins twenty minutes after the ceremony."""
    if start:
        machine.wall = world.now + 1200.0
    now = int(machine.wall)
    exchange = await relay_of(
        world, store, now, start=start, prekeys=start, reachable=frozenset({"duty"})
    )
    return Stage(machine, exchange, **more)


async def submitted(stage: Stage, world: World, **changes: Any) -> Letter:
    """Submit an urgent request and return it."""
    now = stage.clock.now()
    letter = letter_of(world, now, **changes)
    await stage.exchange.submit(letter.submission.wire, letter.envelope, now)
    return letter


async def kinds(store: Store, letter: Letter) -> list[str]:
    """Return the kinds of a message's statements behind its acceptance, but for what became of pages."""
    return [kept.kind for kept in await store.statements(letter.msg) if kept.kind != "paged"][2:]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_an_hours_step_fires_nothing_early_or_late(
    world: World, store: Store, machine: Machine, step: int
) -> None:
    """The wall clock jumps while a ladder runs: each stage comes at its second all the same, and the step is counted."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    await stage.ticker.turn()
    machine.wall += step
    seen: list[tuple[str, int]] = []
    for second in range(1, 3700):
        machine.pass_by(1)
        if second % 60 in {0, 1, 59}:
            await stage.ticker.turn()
            found = await kinds(store, letter)
            seen += [(kind, second) for kind in found[len(seen) :]]
    assert seen == [
        *(("escalated", due) for due in (300, 600, 1200)),
        ("exhausted", 3600),
    ]
    way = "forward" if step > 0 else "backward"
    assert stage.value("relay_clock_steps_total", direction=way) == 1
    assert stage.value("relay_clock_offset_seconds", reference="wall") == pytest.approx(step)
    assert "the wall clock was moved" in stage.written.getvalue()


async def test_a_process_that_dies_during_a_step(
    world: World, store: Store, machine: Machine
) -> None:
    """The next process takes the clock up from the store; the ladder's next stage is at its second still."""
    first = await staged(world, store, machine)
    letter = await submitted(first, world)
    machine.wall -= HOUR
    await first.ticker.turn()
    machine.pass_by(100)
    second = await staged(world, store, machine, start=False)
    await second.ticker.resume()
    assert "goes on by itself" in second.written.getvalue()
    machine.pass_by(199)
    await second.ticker.turn()
    assert await kinds(store, letter) == []
    machine.pass_by(1)
    await second.ticker.turn()
    assert await kinds(store, letter) == ["escalated"]
    assert second.value("relay_clock_steps_total", direction="backward") == 1


async def test_a_machine_that_woke_up_in_the_past_goes_on_at_the_mark(
    world: World, store: Store, machine: Machine
) -> None:
    """With a dead battery a restart costs the time since the mark, and not the ladder."""
    first = await staged(world, store, machine)
    letter = await submitted(first, world)
    for _turn in range(3):
        first.ticker._mark_at = 0.0
        await first.ticker.turn()
        machine.pass_by(MARK_EVERY_S)
    shown = first.clock.now()
    machine.restart(5, wall=86_400.0)
    second = await staged(world, store, machine, start=False)
    await second.ticker.resume()
    assert shown - MARK_EVERY_S - 1 <= second.clock.now() <= shown
    machine.pass_by(300)
    await second.ticker.turn()
    assert await kinds(store, letter) == ["escalated"]


async def test_the_time_service_puts_a_wrong_mark_right(
    world: World, store: Store, machine: Machine
) -> None:
    """A last process that ran an hour ahead does not hold the next one, and that time went back is told."""
    first = await staged(world, store, machine)
    await first.ticker.turn()
    machine.wall -= HOUR
    machine.ntp = True
    second = await staged(world, store, machine, start=False)
    await second.ticker.resume()
    assert second.clock.now() == int(machine.wall)
    assert "the clock goes back" in second.written.getvalue()


async def test_the_mark_is_written_now_and_then(
    world: World, store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most every ten seconds of the loop's own time, however often it turns: each is a sync of the disk."""
    stage = await staged(world, store, machine)
    marks: list[str] = []
    put = store.put_mark

    async def counted(name: str, value: int) -> None:
        marks.append(name)
        await put(name, value)

    monkeypatch.setattr(store, "put_mark", counted)
    for _turn in range(20):
        await stage.ticker.turn()
    assert sorted(marks) == ["clock", "clock.0"]
    stage.ticker._mark_at = 0.0
    await stage.ticker.turn()
    assert len(marks) == 4
    assert await store.mark("clock") == stage.clock.now()


async def test_how_long_the_loop_sleeps(world: World, store: Store, machine: Machine) -> None:
    """A second at most; exactly until what is due sooner; not at all while there is more to fire."""
    stage = await staged(world, store, machine)
    assert await stage.ticker.turn() == TURN_S
    await submitted(stage, world)
    machine.pass_by(299)
    assert await stage.ticker.turn() == TURN_S
    machine.pass_by(1)
    assert await stage.ticker.turn() == TURN_S  # fired; the next stage is far


async def test_more_than_one_turn_can_fire_is_fired_without_a_pause(
    world: World, store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five due at once, two a turn: three turns, one after the other, and none is left."""
    monkeypatch.setattr(limits, "TIMERS_PER_TICK_MAX", 2)
    stage = await staged(world, store, machine)
    letters = [await submitted(stage, world, nonce=str(n)) for n in range(5)]
    machine.pass_by(300)
    assert [await stage.ticker.turn() for _turn in range(4)] == [0, 0, TURN_S, TURN_S]
    assert [await kinds(store, one) for one in letters] == [["escalated"]] * 5


async def test_a_turn_that_fails_is_not_the_last(
    world: World, store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the rules is logged and the loop goes on, with a pause; a store that fails ends it."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    machine.pass_by(300)

    async def wrong(*_args: object) -> None:
        raise ValueError("a fault")

    climb = stage.exchange.deadlines._climb
    monkeypatch.setattr(stage.exchange.deadlines, "_climb", wrong)
    assert await stage.ticker.turn() == TURN_S
    assert "a turn of the timers failed" in stage.written.getvalue()
    monkeypatch.setattr(stage.exchange.deadlines, "_climb", climb)
    machine.pass_by(2)
    await stage.ticker.turn()
    assert await kinds(store, letter) == ["escalated"]
    await store.stop()
    with pytest.raises(Failed):
        await stage.ticker.turn()


async def test_the_loop_turns_until_it_is_stopped(
    world: World, store: Store, machine: Machine
) -> None:
    """It fires what falls due while it runs, by itself, and ends when it is cancelled."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)

    async def hasten(_seconds: float) -> None:
        machine.pass_by(10)
        await asyncio.sleep(0)

    stage.clock.sleep = hasten  # type: ignore[assignment]
    loop = asyncio.ensure_future(stage.ticker.run())
    while "exhausted" not in await kinds(store, letter):  # noqa: ASYNC110
        await asyncio.sleep(0)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert stage.ticker.alive()
    assert (await kinds(store, letter))[:4] == ["escalated"] * 3 + ["exhausted"]


# The auditor


async def lose(store: Store, letter: Letter, *gone: str) -> None:
    """Let timers of a message vanish behind the back of the rules, as a mistake or a bad disk would."""
    stored = await store.load(letter.msg)
    assert stored is not None
    await store.commit(Change(letter.msg, stored.version, stored.state, disarm=gone, open=2))


async def test_a_clean_look_is_the_only_one_that_is_vouched_for(
    world: World, store: Store, machine: Machine
) -> None:
    """The heartbeat moves with a clean look, stands still with a finding, and moves again after the repair."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    beat = "relay_audit_last_clean_timestamp_seconds"
    assert stage.value(beat) == 0
    assert await stage.auditor.look()
    assert stage.value(beat) == stage.clock.now()
    await lose(store, letter, LADDER)
    stage.exchange._ledger._known.clear()
    machine.pass_by(30)
    assert not await stage.auditor.look()
    assert stage.value(beat) == stage.clock.now() - 30
    assert stage.value("relay_audit_findings_total", check="no_timer") == 1
    assert await stage.auditor.look()
    assert stage.value(beat) == stage.clock.now()


@pytest.mark.parametrize("gone", [(LADDER,), (EXPIRE,), (EXPIRE, LADDER)])
async def test_a_lost_timer_is_armed_again(
    world: World, store: Store, machine: Machine, gone: tuple[str, ...]
) -> None:
    """Whichever vanished, it stands again where the law wants it, and the ladder runs on to its end."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    before = await store.due(2**52, 9)
    await lose(store, letter, *gone)
    stage.exchange._ledger._known.clear()
    await stage.auditor.look()
    assert await store.due(2**52, 9) == before
    for _minute in range(61):
        machine.pass_by(60)
        await stage.ticker.turn()
    assert await kinds(store, letter) == ["escalated"] * 3 + ["exhausted"]
    assert await store.unarmed(9) == ()


async def test_a_timer_of_another_generation_is_found_and_put_right(
    world: World, store: Store, machine: Machine
) -> None:
    """A row that no turn can fire is noticed when it is overdue twice, and replaced by the right one."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    stored = await store.load(letter.msg)
    assert stored is not None
    wrong = Timer(LADDER, letter.msg, 7, stage.clock.now() + 300)
    await store.commit(Change(letter.msg, stored.version, stored.state, arm=(wrong,), open=2))
    stage.exchange._ledger._known.clear()
    machine.pass_by(300)
    looks: list[bool] = []
    for _look in range(3):
        machine.pass_by(30)
        await stage.ticker.turn()
        assert await kinds(store, letter) == []
        looks.append(await stage.auditor.look())
    assert looks == [True, False, False]  # seen once it is not clean, seen twice it is a finding
    assert stage.value("relay_audit_findings_total", check="overdue") == 1
    await stage.ticker.turn()
    assert await kinds(store, letter) == ["escalated"]


async def test_what_waits_its_turn_after_downtime_is_no_finding(
    world: World, store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While ladders are paced nothing is counted against the relay, and nothing is vouched for either."""
    monkeypatch.setattr(limits, "CATCH_UP_PER_DESK_S", 1)
    stage = await staged(world, store, machine)
    letters = [await submitted(stage, world, nonce=str(n)) for n in range(4)]
    machine.pass_by(900)
    await stage.ticker.turn()
    assert stage.exchange.deadlines.deferred == 3
    assert [await stage.auditor.look() for _look in range(3)] == [False] * 3
    assert stage.value("relay_audit_findings_total", check="overdue") == 0
    for _second in range(3):
        machine.pass_by(1)
        await stage.ticker.turn()
    assert [await kinds(store, one) for one in letters] == [["escalated"]] * 4
    assert await stage.auditor.look()


async def test_a_page_that_nobody_takes_is_a_finding(
    world: World, store: Store, machine: Machine
) -> None:
    """A pager that has died is noticed by what it leaves lying; the second look counts it."""
    stage = await staged(world, store, machine)
    await submitted(stage, world)
    machine.pass_by(300)
    await stage.ticker.turn()
    assert await stage.auditor.look()
    machine.pass_by(121)
    assert [await stage.auditor.look() for _look in range(2)] == [False, False]
    assert stage.value("relay_audit_findings_total", check="stuck_outbox") == 1
    now = stage.clock.now()
    for row in await store.lease_pages(now, now + 30, 9):
        await store.finish_page(row.id, row.attempt, "sent", "sent", now)
    assert await stage.auditor.look()


async def test_the_auditor_goes_on_after_a_fault(
    world: World, store: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that met a fault vouches for nothing and is not the last; a store that fails ends it."""
    stage = await staged(world, store, machine)
    looks: list[str] = []

    async def look() -> bool:
        looks.append("")
        if len(looks) == 3:
            raise Failed("The disk is gone.")
        raise ValueError("a fault")

    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    stage.clock.sleep = at_once  # type: ignore[assignment]
    monkeypatch.setattr(stage.auditor, "look", look)
    with pytest.raises(Failed, match="disk"):
        await stage.auditor.run()
    assert "an audit failed" in stage.written.getvalue()
    assert stage.value("relay_audit_last_clean_timestamp_seconds") == 0


async def test_a_settled_message_needs_nothing(
    world: World, store: Store, machine: Machine
) -> None:
    """Acknowledged: no timers, no findings, whatever the auditor is told of before."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    now = stage.clock.now()
    await stage.exchange.record([receipt_of(world, "acknowledged", letter, now).wire], now)
    await stage.exchange.deadlines.rearm(letter.msg)
    await stage.exchange.deadlines.rearm("ab" * 32)
    assert await store.next_due() is None
    assert await stage.auditor.look()


async def test_a_timer_that_should_not_stand_is_taken_away(
    world: World, store: Store, machine: Machine
) -> None:
    """A timer that was left behind for a settled message fires into nothing, and is gone."""
    stage = await staged(world, store, machine)
    letter = await submitted(stage, world)
    now = stage.clock.now()
    await stage.exchange.record([receipt_of(world, "acknowledged", letter, now).wire], now)
    stored = await store.load(letter.msg)
    assert stored is not None
    left = Timer(LADDER, letter.msg, 1, now + 1)
    await store.commit(Change(letter.msg, stored.version, stored.state, arm=(left,), open=0))
    stage.exchange._ledger._known.clear()
    machine.pass_by(1)
    await stage.ticker.turn()
    assert await store.next_due() is None
    assert await kinds(store, letter) == ["acknowledged", "recorded"]
