"""A stage whose pages can all never arrive: the ladder moves on at once, once, and only there (PROTOCOL 11.12)."""

from typing import Any

import pytest

from relay.core import escalation
from relay.core import message as law
from relay.core.events import Accepted, Arm, Climbed, Received, Unreached
from relay.core.message import LADDER, Message, open_message, rung, step

NOW = 1_900_000_000
GAP = 60
PROFILE: dict[str, Any] = {
    "urgent": {
        "acknowledge_s": 3600,
        "progress_s": 300,
        "stages": [
            {"after_s": 60, "kind": "path", "handles": ["duty"]},
            {"after_s": 600, "kind": "backstop", "handles": ["chief", "deputy"]},
            {"after_s": 1800, "kind": "backup", "handles": ["backup"]},
        ],
    }
}
ORIGIN = Accepted(
    msg="aa" * 32,
    sender="VN",
    to="AU",
    backup="AU-B",
    priority="urgent",
    mode="actual",
    created=NOW,
    ack_by=NOW + 3600,
    expires=NOW + 86_400,
    size=26_000,
    header_sha256="bb" * 32,
    device="d0" * 32,
    submission="01" * 32,
    accepted="02" * 32,
    replaces="",
    at=NOW,
)
EVERYBODY = ("duty", "chief", "deputy", "backup")


def climbing(stages: int) -> Message:
    """Return a message whose first *stages* stages have fired in their time."""
    drawn = escalation.plan(
        PROFILE,
        priority="urgent",
        mode="actual",
        accepted=NOW,
        ack_by=ORIGIN.ack_by,
        backup="AU-B",
        minimum_gap=GAP,
    )
    message = open_message(ORIGIN, drawn).message
    for _each in range(stages):
        assert message.ladder is not None
        message = fired(message, message.ladder.due)
    return message


def fired(message: Message, now: int, reachable: tuple[str, ...] = EVERYBODY) -> Message:
    """Return the message after the stage that is due at *now*."""
    due = rung(message, now, reachable)
    assert due is not None
    sid = f"{due.stage:064x}"
    event = Climbed(sid, due.stage, due.kind, due.cause, now, due.next_at, due.passed_over)
    return step(message, event).message


def test_the_stage_after_a_backstop_that_nobody_hears_fires_at_once() -> None:
    """The timer is set to now, the next stage is due and says why it comes early."""
    message = climbing(2)
    now = NOW + 620
    outcome = step(message, Unreached(1, now))

    assert outcome.effects == (Arm(LADDER, now, 3),)
    due = rung(outcome.message, now, EVERYBODY)
    assert due is not None
    assert (due.kind, due.cause, due.passed_over) == ("backup", "unreachable", False)


def test_it_is_not_said_of_a_stage_that_came_in_its_time() -> None:
    """Whoever looks only after the planned time sees an ordinary timeout."""
    message = step(climbing(2), Unreached(1, NOW + 620)).message
    due = rung(message, NOW + 1800, EVERYBODY)

    assert due is not None
    assert due.cause == "timeout"


def test_the_stages_behind_keep_their_times() -> None:
    """Only one stage is hurried: silence is still proven when it was promised."""
    message = fired(step(climbing(2), Unreached(1, NOW + 620)).message, NOW + 620)

    assert message.ladder is not None
    assert (message.ladder.due, message.ladder.hurry) == (NOW + 3600, "")


@pytest.mark.parametrize(
    ("climbed", "stage", "why"),
    [
        (1, 0, "devices were offered it again: a path is more than its page"),
        (3, 2, "the backup desk's mailbox is open: it is more than its page"),
        (3, 1, "the ladder has moved on by itself"),
        (1, 1, "the stage has not even fired"),
        (4, 3, "the ladder is over"),
    ],
)
def test_elsewhere_it_changes_nothing(climbed: int, stage: int, why: str) -> None:
    """Path and backup are never hurried past, nor a stage that is not the last one fired."""
    message = climbing(climbed)
    assert message.ladder is not None
    outcome = step(message, Unreached(stage, message.ladder.last + 5))

    assert outcome.message is message, why
    assert outcome.effects == ()


def test_a_persons_word_comes_first() -> None:
    """After an acknowledgement no page's failure moves anything (invariant I4)."""
    word = Received("acknowledged", "ac" * 32, "AU", "k", NOW + 610, NOW + 610, "5d" * 32)
    message = step(climbing(2), word).message

    assert step(message, Unreached(1, NOW + 620)).message is message


def test_said_twice_it_is_said_once() -> None:
    """A pager that repeats itself after a crash does no more harm."""
    message = step(climbing(2), Unreached(1, NOW + 620)).message

    assert step(message, Unreached(1, NOW + 625)).message is message


def test_the_hurry_survives_the_store() -> None:
    """Cause and time stand in the message's own state."""
    message = step(climbing(2), Unreached(1, NOW + 620)).message

    assert Message.decode(message.encode()) == message


def test_a_persons_no_still_says_declined() -> None:
    """The one other way to hurry keeps its own cause (PROTOCOL 11.8)."""
    word = Received("declined", "de" * 32, "AU", "k", NOW + 620, NOW + 620, "5d" * 32)
    due = rung(step(climbing(2), word).message, NOW + 620, EVERYBODY)

    assert due is not None
    assert due.cause == "declined"
    assert not law.expired(climbing(2), NOW + 620)
