"""When a routine message is due: the desk's own calendar, in its own time zone, and never later than a day."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from builders_keys import profile

from relay.core import escalation
from relay.zones import workday_end

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
SYDNEY = ZoneInfo("Australia/Sydney")
OFFICE = {
    "zone": "Asia/Ho_Chi_Minh",
    "days": [1, 2, 3, 4, 5],
    "opens": "08:00",
    "closes": "17:00",
    "holidays": ["2027-02-17"],
}


def at(text: str, zone: ZoneInfo = HANOI) -> int:
    """Return a local time as seconds UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp())


@pytest.mark.parametrize(
    ("sent", "due"),
    [
        ("2027-02-15 03:00", "2027-02-15 17:00"),  # Monday before the office opens
        ("2027-02-15 08:00", "2027-02-15 17:00"),  # at the second it opens
        ("2027-02-15 08:01", "2027-02-16 17:00"),
        ("2027-02-16 09:00", "2027-02-18 17:00"),  # Wednesday is a holiday
        ("2027-02-19 20:00", "2027-02-22 17:00"),  # over a weekend
    ],
)
def test_the_next_working_day(sent: str, due: str) -> None:
    """The first day that opens after the message came, without weekends and holidays."""
    assert workday_end(OFFICE, at(sent)) == at(due)


def test_a_change_of_the_clocks_is_the_desks_own() -> None:
    """Sydney goes back an hour on 4 April 2027: the office still closes at 17:00 of the wall."""
    office = {**OFFICE, "zone": "Australia/Sydney", "days": [7], "holidays": []}

    due = workday_end(office, at("2027-04-03 12:00", SYDNEY))

    assert datetime.fromtimestamp(due, UTC).isoformat() == "2027-04-04T07:00:00+00:00"


@pytest.mark.parametrize(
    "office", [{}, {**OFFICE, "days": []}, {**OFFICE, "zone": "Nowhere/Known"}]
)
def test_a_card_that_does_not_say(office: dict[str, Any]) -> None:
    """Then the 24 hours stand alone."""
    assert workday_end(office, at("2027-02-15 03:00")) == 0


@pytest.mark.parametrize(
    ("sent", "hours"),
    [("2027-02-15 03:00", 14), ("2027-02-15 09:00", 24), ("2027-02-19 20:00", 24)],
)
def test_routine_is_due_then_and_at_most_a_day_later(sent: str, hours: int) -> None:
    """The plan takes the earlier of the two (PROTOCOL 11.9)."""
    drawn = escalation.plan(
        profile(),
        priority="routine",
        mode="actual",
        accepted=at(sent),
        ack_by=0,
        backup="",
        minimum_gap=60,
        workday_end=workday_end(OFFICE, at(sent)),
    )

    assert drawn.deadline == at(sent) + hours * 3600
