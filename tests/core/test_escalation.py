"""The relay's ladder, as tables: which stage comes when, what hurries or delays it, and what never does (PROTOCOL 11.8, 11.9)."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from builders_ladder import (
    GAP,
    HANDLES,
    NOW,
    climb,
    climb_all,
    entered,
    ladder_of,
    plan_of,
    profile,
    receipt,
)

from relay.core import escalation
from relay.core.escalation import BACKSTOP, BACKUP, EXHAUSTED, PATH, Ladder
from relay.core.events import Arm, Attested, Climbed, Disarm, Offer, Page, Tell, Unpage, Unreached
from relay.core.message import (
    EXPIRE,
    LADDER,
    Message,
    Phase,
    rung,
    step,
    timers,
    unopenable,
)

MINUTE = 60


def minutes(plan: escalation.Plan) -> list[tuple[str, float]]:
    """Return kinds and minutes after acceptance."""
    return [(stage.kind, (stage.due - NOW) / MINUTE) for stage in plan.stages]


# The plan: DESIGN 5


@pytest.mark.parametrize(
    ("priority", "stages"),
    [
        ("emergency", [(PATH, 20 / 60), (BACKSTOP, 3), (BACKUP, 8), (EXHAUSTED, 15)]),
        ("urgent", [(PATH, 1), (BACKSTOP, 10), (BACKUP, 30), (EXHAUSTED, 60)]),
        ("routine", [(PATH, 60), (EXHAUSTED, 24 * 60)]),
    ],
)
def test_the_table_of_the_design(priority: str, stages: list[tuple[str, float]]) -> None:
    """Each priority climbs as the one table says, also where the first stage comes sooner than the gap."""
    assert minutes(plan_of(priority)) == stages
    assert plan_of(priority).deadline == NOW + stages[-1][1] * MINUTE


@pytest.mark.parametrize(
    ("ack_by", "stages"),
    [
        (3600, [(PATH, 1), (BACKSTOP, 10), (BACKUP, 30), (EXHAUSTED, 60)]),
        (7200, [(PATH, 1), (BACKSTOP, 10), (BACKUP, 30), (EXHAUSTED, 60)]),  # never later
        (1800, [(PATH, 1), (BACKSTOP, 5), (BACKUP, 15), (EXHAUSTED, 30)]),  # half of everything
        (360, [(PATH, 1), (BACKSTOP, 2), (BACKUP, 3), (EXHAUSTED, 6)]),  # the gap is the floor
        (60, [(PATH, 1), (BACKSTOP, 2), (BACKUP, 3), (EXHAUSTED, 4)]),  # ... and wins over ack_by
    ],
)
def test_a_shorter_deadline_compresses(ack_by: int, stages: list[tuple[str, float]]) -> None:
    """The deadline is the earlier of ack_by and the profile's; all intervals shrink by one factor, down to the gap."""
    assert minutes(plan_of("urgent", ack_by=NOW + ack_by)) == stages


def test_an_acknowledgement_that_is_wanted_in_the_past() -> None:
    """A request that came late in its own time still climbs stage by stage, a gap apart."""
    plan = plan_of("urgent", ack_by=NOW - 5)
    assert minutes(plan) == [(PATH, 1), (BACKSTOP, 2), (BACKUP, 3), (EXHAUSTED, 4)]


@pytest.mark.parametrize("gap", [1, 7, 60, 600])
@pytest.mark.parametrize("priority", ["emergency", "urgent", "routine"])
@pytest.mark.parametrize("ack_by", [0, 61, 300, 901, 5000])
def test_stages_ascend_and_keep_the_gap(priority: str, ack_by: int, gap: int) -> None:
    """Whatever is asked, no two stages are planned closer than the gap, and the last is always `exhausted`."""
    plan = plan_of(priority, ack_by=ack_by and NOW + ack_by, minimum_gap=gap)
    dues = [stage.due for stage in plan.stages]
    assert all(after - before >= gap for before, after in itertools.pairwise(dues))
    assert dues[0] > NOW
    assert [stage.kind for stage in plan.stages].index(EXHAUSTED) == len(dues) - 1


def test_without_a_backup_there_is_no_backup_stage() -> None:
    """A header that names no backup leaves the stage out; the deadline stays."""
    assert minutes(plan_of("urgent", backup="")) == [(PATH, 1), (BACKSTOP, 10), (EXHAUSTED, 60)]


@pytest.mark.parametrize("priority", ["emergency", "urgent", "routine"])
def test_a_test_wakes_no_backstop(priority: str) -> None:
    """Mode `test` has its path alone; an exercise climbs as the real thing does (PROTOCOL 9.1)."""
    assert [stage.kind for stage in plan_of(priority, mode="test").stages] == [PATH, EXHAUSTED]
    assert plan_of(priority, mode="exercise") == plan_of(priority, mode="actual")


@pytest.mark.parametrize(
    ("acknowledge_s", "workday_end", "hours"),
    [(86_400, 0, 24), (3 * 86_400, 0, 24), (86_400, NOW + 7 * 3600, 7), (3600, NOW + 7 * 3600, 1)],
)
def test_routine_takes_a_day_at_most(acknowledge_s: int, workday_end: int, hours: int) -> None:
    """The next working day where the card says so, the desk's own promise if it is shorter, at most 24 hours."""
    mine = profile()
    mine["routine"] = {
        "acknowledge_s": acknowledge_s,
        "progress_s": 0,
        "stages": [{"after_s": 600, "kind": PATH, "handles": ["duty"]}],
    }
    plan = plan_of("routine", mine, workday_end=workday_end)
    assert plan.deadline == NOW + hours * 3600


# Climbing


def test_every_stage_fires_at_its_time_and_pages_its_handles() -> None:
    """Not a second early; each is told to both desks, and its endpoints are paged in the same commit (invariant I3)."""
    message = entered()
    for stage, kind, due in ((0, PATH, 60), (1, BACKSTOP, 600), (2, BACKUP, 1800)):
        assert rung(message, NOW + due - 1, HANDLES) is None
        found = rung(message, NOW + due, HANDLES)
        assert found is not None
        assert (found.stage, found.kind, found.cause) == (stage, kind, "timeout")
        outcome = climb(message, NOW + due)
        assert Page("AU", f"{kind}-1", stage, kind) in outcome.effects
        assert Arm(LADDER, found.next_at, stage + 2) in outcome.effects
        message = outcome.message
    outcome = climb(message, NOW + 3600)
    assert Disarm(LADDER) in outcome.effects
    assert not [effect for effect in outcome.effects if isinstance(effect, Page)]
    assert outcome.message.phase is Phase.EXHAUSTED
    assert rung(outcome.message, NOW + 80_000, HANDLES) is None


def test_the_backup_may_read_from_its_stage_on() -> None:
    """The stage `backup` puts the message into the backup's mailbox and lets it answer (PROTOCOL 9.3.4)."""
    before = climb_all(entered(), NOW + 600)
    assert before.readers == ("AU", "VN")
    outcome = climb(before, NOW + 1800)
    assert Offer("AU-B") in outcome.effects
    assert Tell("climbed 2", ("VN", "AU", "AU-B")) in outcome.effects
    assert outcome.message.readers == ("AU", "VN", "AU-B")
    acknowledged = step(outcome.message, receipt("acknowledged", desk="AU-B", at=NOW + 1900))
    assert acknowledged.message.phase is Phase.ACKNOWLEDGED


def test_after_downtime_one_stage_at_a_time() -> None:
    """All four are overdue: they come a minimum gap apart, in order, whenever the relay looks (invariant I3)."""
    message, now, seen = entered(), NOW + 7200, []
    while not ladder_of(message).over:
        found = rung(message, now, HANDLES)
        if found:
            seen.append((found.kind, now - NOW - 7200))
            message = climb(message, now).message
        now += 1
    assert seen == [(PATH, 0), (BACKSTOP, GAP), (BACKUP, 2 * GAP), (EXHAUSTED, 3 * GAP)]


@pytest.mark.parametrize(
    ("handles", "reachable", "cause"),
    [
        ([], HANDLES, "empty"),
        (["gone"], HANDLES, "unreachable"),
        (["backstop-1"], (), "unreachable"),
    ],
)
def test_a_stage_with_nobody_to_turn_to_is_passed_over(
    handles: list[str], reachable: Any, cause: str
) -> None:
    """An empty or unmapped backstop is signed with its cause, pages nobody, and the next stage fires at once."""
    mine = profile()
    mine["urgent"]["stages"][1]["handles"] = handles
    message = climb_all(entered(mine), NOW + 60)
    found = rung(message, NOW + 600, reachable)
    assert found is not None
    assert (found.kind, found.cause, found.passed_over, found.next_at) == (
        BACKSTOP,
        cause,
        True,
        NOW + 600,
    )
    outcome = climb(message, NOW + 600, reachable)
    assert not [effect for effect in outcome.effects if isinstance(effect, Page)]
    after = rung(outcome.message, NOW + 600, reachable)
    assert after is not None
    assert (after.kind, after.cause) == (BACKUP, "timeout")
    assert rung(climb(outcome.message, NOW + 600, reachable).message, NOW + 659, reachable) is None


@pytest.mark.parametrize("kind", [PATH, BACKUP])
def test_path_and_backup_are_never_passed_over(kind: str) -> None:
    """They turn to devices and mailboxes, which need no page."""
    assert escalation.passed_over(escalation.Stage(kind, NOW), ()) == ""


def test_silence_is_not_called_before_its_time() -> None:
    """With nobody to page and no backup, `exhausted` keeps its time: until then an acknowledgement is not late."""
    message = entered(backup="")
    message = climb(message, NOW + 60, ()).message
    found = rung(message, NOW + 600, ())
    assert found is not None
    assert (found.passed_over, found.next_at) == (True, NOW + 3600)
    message = climb(message, NOW + 600, ()).message
    assert rung(message, NOW + 3599, ()) is None
    acknowledged = step(message, receipt("acknowledged", at=NOW + 3599)).message
    assert [fact.late for fact in acknowledged.facts if fact.kind == "acknowledged"] == [False]
    assert rung(message, NOW + 3600, ()) is not None


def test_a_backstop_that_no_page_reached_is_not_waited_for() -> None:
    """When every page of it has failed for good, the next stage fires at once, and its cause says why (11.12)."""
    message = climb_all(entered(), NOW + 600)
    outcome = step(message, Unreached(1, NOW + 640))
    assert outcome.effects == (Arm(LADDER, NOW + 640, 3),)
    found = rung(outcome.message, NOW + 640, HANDLES)
    assert found is not None
    assert (found.kind, found.cause) == (BACKUP, "unreachable")
    assert step(outcome.message, Unreached(1, NOW + 650)).message is outcome.message


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_only_the_backstop_that_fired_last_is_given_up(stage: int) -> None:
    """What the pager says of another stage moves nothing."""
    message = climb_all(entered(), NOW + 600)
    assert step(message, Unreached(stage, NOW + 640)).message is message


def test_a_backstop_given_up_does_not_hurry_silence() -> None:
    """If `exhausted` is next, it keeps its time."""
    message = climb_all(entered(backup=""), NOW + 600)
    assert step(message, Unreached(1, NOW + 640)).message is message


# What a desk's word does


def test_declined_moves_on_at_once() -> None:
    """The next stage fires in the same second, a gap or not, with its cause; the one after keeps the gap (11.8)."""
    message = climb_all(entered(), NOW + 60)
    outcome = step(message, receipt("declined", at=NOW + 70))
    assert Arm(LADDER, NOW + 70, 2) in outcome.effects
    found = rung(outcome.message, NOW + 70, HANDLES)
    assert found is not None
    assert (found.kind, found.cause) == (BACKSTOP, "declined")
    after = climb(outcome.message, NOW + 70).message
    assert ladder_of(after).due == NOW + 1800
    assert not after.settled


def test_declined_at_the_end_is_exhausted_at_once() -> None:
    """When nobody else is left to ask, the sender hears it now."""
    message = climb_all(entered(), NOW + 1800)
    message = step(message, receipt("declined", at=NOW + 1810)).message
    found = rung(message, NOW + 1810, HANDLES)
    assert found is not None
    assert (found.kind, found.cause) == (EXHAUSTED, "declined")


def test_progress_delays_one_stage_once() -> None:
    """The desk says that it is paging people: one delay, at most progress_s, and never again."""
    message = climb_all(entered(), NOW + 60)
    held = step(message, receipt("progress", at=NOW + 100, until=NOW + 700)).message
    assert ladder_of(held).due == NOW + 700
    assert rung(held, NOW + 699, HANDLES) is None
    again = step(held, receipt("progress", sid="again", at=NOW + 650, until=NOW + 1300)).message
    assert ladder_of(again).due == NOW + 700
    late = step(message, receipt("progress", at=NOW + 100, until=NOW + 9999)).message
    assert ladder_of(late).due == NOW + 600 + 900
    on = climb(held, NOW + 700).message
    further = step(on, receipt("progress", sid="third", at=NOW + 710, until=NOW + 5000)).message
    assert ladder_of(further).due == NOW + 1800


def test_progress_that_asks_for_nothing_uses_nothing_up() -> None:
    """A next step before the stage's own time is no delay, and the one delay is still there."""
    message = climb_all(entered(), NOW + 60)
    same = step(message, receipt("progress", at=NOW + 100, until=NOW + 500)).message
    assert not ladder_of(same).delayed


def test_progress_holds_back_no_persons_word() -> None:
    """A stage that a person's `declined` has hurried is not delayed by the desk's machine in the same second."""
    message = climb_all(entered(), NOW + 60)
    declined = step(message, receipt("declined", at=NOW + 70)).message
    after = step(declined, receipt("progress", at=NOW + 70, until=NOW + 900)).message
    assert ladder_of(after) == ladder_of(declined)


def test_a_stage_never_promises_the_past() -> None:
    """A backstop that is passed over long after the end was planned names the present as the next step."""
    message = climb(entered(backup=""), NOW + 60, ()).message
    found = rung(message, NOW + 9000, ())
    assert found is not None
    assert (found.passed_over, found.next_at) == (True, NOW + 9000)


def test_progress_never_delays_exhausted() -> None:
    """Silence is told when it was promised (11.9), whatever the desk's machine says."""
    message = climb_all(entered(), NOW + 1800)
    after = step(message, receipt("progress", at=NOW + 1900, until=NOW + 9000)).message
    assert ladder_of(after).due == NOW + 3600


def test_delivered_does_not_stop_the_ladder() -> None:
    """A machine has it; no person has (11.8)."""
    message = step(entered(), receipt("delivered", at=NOW + 5)).message
    assert climb_all(message, NOW + 3600).phase is Phase.EXHAUSTED


@pytest.mark.parametrize("kind", ["acknowledged", "closed", "withdrawn"])
def test_a_persons_word_stops_the_ladder(kind: str) -> None:
    """Timers go and pages are taken back in the same commit, and no stage follows (invariant I4)."""
    message = climb_all(entered(), NOW + 600)
    desk = "VN" if kind == "withdrawn" else "AU"
    outcome = step(message, receipt(kind, desk=desk, at=NOW + 700))
    assert {Disarm(EXPIRE), Disarm(LADDER), Unpage()} <= set(outcome.effects)
    assert timers(outcome.message) == ()
    assert rung(outcome.message, NOW + 9000, HANDLES) is None
    forced = Climbed("late", 2, BACKUP, "timeout", NOW + 9000, 0)
    assert step(outcome.message, forced).message is outcome.message


@pytest.mark.parametrize("kind", ["declined", "progress"])
def test_what_comes_after_the_end_arms_nothing(kind: str) -> None:
    """A second officer's `declined`, or a slow machine's `progress`, wakes no ladder that was stopped."""
    message = climb_all(entered(), NOW + 60)
    stopped = step(message, receipt("acknowledged", at=NOW + 70)).message
    outcome = step(stopped, receipt(kind, sid="late", at=NOW + 80, until=NOW + 900))
    assert not [effect for effect in outcome.effects if isinstance(effect, Arm)]


def test_an_acknowledgement_after_exhausted_is_late() -> None:
    """Both stand; the later one is marked and told to both desks (10.7)."""
    message = climb_all(entered(), NOW + 3600)
    outcome = step(message, receipt("acknowledged", at=NOW + 3601))
    fact = outcome.message.first("acknowledged")
    assert fact is not None
    assert fact.late
    assert outcome.message.first("exhausted") is not None
    assert Tell("acknowledged", ("VN", "AU", "AU-B")) in outcome.effects
    assert outcome.message.phase is Phase.ACKNOWLEDGED


def test_a_stage_is_taken_once_and_in_order() -> None:
    """The same step again, the one after next, and one that was taken before change nothing (invariant I1)."""
    message = climb_all(entered(), NOW + 60)
    for stage in (0, 2, 3):
        event = Climbed(f"other {stage}", stage, BACKSTOP, "timeout", NOW + 9000, 0)
        assert step(message, event).message is message
    assert message.generation(LADDER) == 2


def test_nobody_is_woken_for_what_has_expired() -> None:
    """Past its end a message climbs no more, but silence that was proven by then is said."""
    message = entered()
    assert rung(message, message.origin.expires, HANDLES) is None
    last = climb_all(message, NOW + 1800)
    found = rung(last, message.origin.expires, HANDLES)
    assert found is not None
    assert found.kind == EXHAUSTED
    ended = step(last, Attested("expired", "e", message.origin.expires)).message
    assert rung(ended, message.origin.expires + 5, HANDLES) is None
    assert timers(ended) == ()


# Unopenable


def test_unopenable_is_not_silence() -> None:
    """Only when every device of the recipient said that it cannot open it, and none has delivered."""
    devices = ["d1", "d2"]
    message = step(entered(), receipt("failed", sid="1", by="d1", at=NOW + 1)).message
    assert not unopenable(message, devices)
    both = step(message, receipt("failed", sid="2", by="d2", at=NOW + 2)).message
    assert unopenable(both, devices)
    assert not unopenable(both, [])
    assert not unopenable(both, [*devices, "d3"])
    opened = step(both, receipt("delivered", sid="3", by="d2", at=NOW + 3)).message
    assert not unopenable(opened, devices)


# What must be armed


def test_timers_are_what_was_armed() -> None:
    """After every step the law's answer is what the steps' effects have armed (invariant I2)."""
    message = entered()
    assert timers(message) == (
        Arm(EXPIRE, message.origin.expires, 1),
        Arm(LADDER, NOW + 60, 1),
    )
    assert timers(climb_all(message, NOW + 600)) == (
        Arm(EXPIRE, message.origin.expires, 1),
        Arm(LADDER, NOW + 1800, 3),
    )
    assert timers(climb_all(message, NOW + 3600)) == (Arm(EXPIRE, message.origin.expires, 1),)


def test_a_ladder_survives_the_store() -> None:
    """A message with its ladder, hurried or held, reads back as it was written."""
    message = climb_all(entered(), NOW + 60)
    for event in (
        receipt("progress", sid="p", at=NOW + 90, until=NOW + 800),
        receipt("declined", sid="d", at=NOW + 95),
    ):
        message = step(message, event).message
        assert Message.decode(message.encode()) == message


def test_a_ladder_at_its_end_stays_there() -> None:
    """Hurrying, holding and giving up move nothing behind the last stage."""
    plan = plan_of("urgent")
    over = replace(escalation.begin(plan), at=len(plan.stages), due=0)
    assert over.over
    assert escalation.hurried(over, NOW) is over
    assert escalation.held(over, NOW + 900) is over
    assert escalation.unreached(over, 3, NOW) is over
    assert isinstance(over, Ladder)
