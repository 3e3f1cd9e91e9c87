"""Which due timers fire now: after downtime without a burst, emergencies first, and nothing dropped."""

import pytest

from relay.core import limits
from relay.core.pacing import LATE_S, Due, Lane, turn

NOW = 1_900_000_000
AWAY = NOW - LATE_S - 1
"""Due while the relay was away."""


def due(
    place: int, at: int = AWAY, desk: str = "AU", priority: str = "urgent", **more: bool
) -> Due:
    """Return a ladder that is due."""
    return Due(place, at, Lane(priority, desk), more.get("climbs", True))


def test_what_is_due_in_time_fires_at_once() -> None:
    """A thousand ladders of one desk that fall due together are no catching up: at a minute late they still are not."""
    found = [due(place, NOW - LATE_S) for place in range(200)]
    chosen = turn(found, NOW, {}, 1000)
    assert chosen.places == tuple(range(200))
    assert (chosen.deferred, chosen.spent) == (0, {})


def test_overdue_ladders_are_paced_per_desk() -> None:
    """Ten of each desk in a second, the others wait; what a desk has spent counts for the rest of the second."""
    found = [due(place, desk="AU" if place % 2 else "VN") for place in range(60)]
    chosen = turn(found, NOW, {"VN": 4}, 1000)
    assert len(chosen.places) == limits.CATCH_UP_PER_DESK_S * 2 - 4
    assert chosen.deferred == 60 - len(chosen.places)
    assert chosen.spent == {"AU": limits.CATCH_UP_PER_DESK_S, "VN": limits.CATCH_UP_PER_DESK_S}
    again = turn(found, NOW, chosen.spent, 1000)
    assert (again.places, again.deferred) == ((), 60)


def test_emergencies_first_then_the_oldest() -> None:
    """Whatever came first in the store, an emergency is not behind a routine message of the same desk."""
    found = [due(place, AWAY - 9 + place, priority="routine") for place in range(9)]
    found += [due(place, AWAY - place, priority="urgent") for place in range(9, 18)]
    found += [due(18, AWAY, priority="emergency"), due(19, AWAY - 5, priority="emergency")]
    assert turn(found, NOW, {}, 1000).places == (19, 18, *range(17, 9, -1))


def test_what_wakes_nobody_is_not_paced() -> None:
    """Expiry and re-seals of long ago are told at once, all of them; so is what belongs to no known message."""
    found = [due(place, climbs=False) for place in range(40)]
    found += [Due(40, AWAY, None, climbs=True)]
    assert turn(found, NOW, {"AU": 10}, 1000).places == tuple(range(41))


def test_a_ladder_comes_before_the_expiry_of_the_same_second() -> None:
    """So that silence that is proven is said before the end is."""
    found = [due(0, climbs=False), due(1)]
    assert turn(found, NOW, {}, 10).places == (1, 0)


@pytest.mark.parametrize("most", [0, 1, 7])
def test_a_turn_is_bounded(most: int) -> None:
    """At most so many, the most urgent; what did not fit is not called deferred: it comes in the next turn."""
    chosen = turn([due(place, NOW) for place in range(20)], NOW, {}, most)
    assert chosen.places == tuple(range(most))
    assert chosen.deferred == 0


def test_nothing_is_dropped() -> None:
    """Second after second everything that was overdue fires, each once."""
    waiting = [due(place, desk=f"D{place % 3}") for place in range(95)]
    fired: list[int] = []
    for second in range(10):
        chosen = turn(waiting, NOW + second, {}, 256)
        fired += chosen.places
        waiting = [one for one in waiting if one.place not in chosen.places]
    assert sorted(fired) == list(range(95))
