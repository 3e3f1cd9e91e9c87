"""Which of the timers that are due fire now, pure: after downtime the relay catches up without a burst.

In the usual second everything that is due fires. A ladder that is overdue by more than a minute says that the relay
was away: such ladders fire at most so many per recipient desk and second, emergencies first, the oldest first, so that
a desk's people are not called twenty times in the second in which the relay is back. Nothing is dropped; each ladder
moves one stage (relay.core.escalation).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay.core import limits

LATE_S = 60
"""A ladder that fires later than this is caught up."""
_RANKS: Mapping[str, int] = {"emergency": 0, "urgent": 1}


@dataclass(frozen=True, slots=True)
class Lane:
    """What of a message says when its turn is: *priority*, and *desk*, the recipient."""

    priority: str
    desk: str


@dataclass(frozen=True, slots=True)
class Due:
    """A timer that is due: its place in the list that the caller holds, and what its turn depends on."""

    place: int
    due: int
    lane: Lane | None
    """None: its message is not known."""
    climbs: bool
    """Whether it is a ladder's: only these wake people. It comes before the message's other timers of that second."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What fires now (places, in order), how many must wait for a later second, and what each desk has spent."""

    places: tuple[int, ...]
    deferred: int
    spent: Mapping[str, int]


def turn(found: Iterable[Due], now: int, spent: Mapping[str, int], most: int) -> Turn:
    """Choose at most *most* of what is due at *now*; *spent* is what each desk was given in this second already."""
    used = dict(spent)
    places: list[int] = []
    deferred = 0
    for one in sorted(found, key=_order):
        if len(places) >= most:
            break
        if one.lane and one.climbs and now - one.due > LATE_S:
            if used.get(one.lane.desk, 0) >= limits.CATCH_UP_PER_DESK_S:
                deferred += 1
                continue
            used[one.lane.desk] = used.get(one.lane.desk, 0) + 1
        places.append(one.place)
    return Turn(tuple(places), deferred, used)


def _order(one: Due) -> tuple[int, int, bool, int]:
    rank = _RANKS.get(one.lane.priority, 2) if one.lane else 3
    return rank, one.due, not one.climbs, one.place
