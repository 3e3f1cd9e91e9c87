"""Ladders for tests of the core: a profile with the times of DESIGN 5, a message that has one, and its steps."""

import copy
from collections.abc import Collection
from typing import Any

from relay.core import escalation
from relay.core.escalation import BACKSTOP, BACKUP, PATH, Ladder, Plan
from relay.core.events import Accepted, Climbed, Received
from relay.core.message import Message, Outcome, open_message, rung, step

NOW = 1_900_000_000
GAP = 60
HANDLES = frozenset({"path-1", "backstop-1", "backup-1"})


def _stages(*steps: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"after_s": after, "kind": kind, "handles": [f"{kind}-1"]} for after, kind in steps]


_PROFILE: dict[str, Any] = {
    "emergency": {
        "acknowledge_s": 900,
        "progress_s": 300,
        "stages": _stages((20, PATH), (180, BACKSTOP), (480, BACKUP)),
    },
    "urgent": {
        "acknowledge_s": 3600,
        "progress_s": 900,
        "stages": _stages((60, PATH), (600, BACKSTOP), (1800, BACKUP)),
    },
    "routine": {"acknowledge_s": 86_400, "progress_s": 3600, "stages": _stages((3600, PATH))},
}


def profile() -> dict[str, Any]:
    """Return a profile with the times of DESIGN 5, to be changed."""
    return copy.deepcopy(_PROFILE)


def plan_of(priority: str, of: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """Return the ladder of a message that is accepted now."""
    plain: dict[str, Any] = {
        "priority": priority,
        "mode": "actual",
        "accepted": NOW,
        "ack_by": 0,
        "backup": "AU-B",
        "minimum_gap": GAP,
    }
    return escalation.plan(of or profile(), **{**plain, **changes})


def entered(
    of: dict[str, Any] | None = None, *, priority: str = "urgent", backup: str = "AU-B"
) -> Message:
    """Return an urgent message from VN to AU at its acceptance, with its ladder."""
    origin = Accepted(
        *("aa" * 32, "VN", "AU", backup, priority, "actual", NOW, NOW + 3600, NOW + 86_400),
        *(26_000, "bb" * 32, "d0" * 32, "01" * 32, "02" * 32, "", NOW),
    )
    return open_message(origin, plan_of(priority, of, backup=backup)).message


def ladder_of(message: Message) -> Ladder:
    """Return a message's ladder, which it must have."""
    assert message.ladder is not None
    return message.ladder


def climb(message: Message, now: int, reachable: Collection[str] = HANDLES) -> Outcome:
    """Return what the one stage that is due makes of *message*, as the relay would sign it."""
    due = rung(message, now, reachable)
    assert due is not None, "nothing is due"
    return step(
        message,
        Climbed(
            *(f"climbed {due.stage}", due.stage, due.kind, due.cause, now, due.next_at),
            passed_over=due.passed_over,
        ),
    )


def climb_all(message: Message, until: int) -> Message:
    """Return *message* after every stage up to *until* has fired at its time."""
    while message.ladder and not message.ladder.over and message.ladder.due <= until:
        message = climb(message, message.ladder.due).message
    return message


def receipt(
    kind: str,
    *,
    sid: str = "",
    desk: str = "AU",
    at: int = NOW + 60,
    by: str = "k",
    until: int = 0,
) -> Received:
    """Return a verified receipt."""
    return Received(kind, sid or kind, desk, by, at, at, statement="5d" * 32, until=until)
