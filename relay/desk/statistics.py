"""How often a desk cries emergency: requests by priority, with each other desk and in all.

Counted is what was verified when it came in, and what was signed and sent here; exercises are counted apart, answers
and notes not at all. A text that was sealed anew is one request.
"""

from collections.abc import Iterable
from typing import Any

from relay.desk.documents import forms
from relay.desk.letters import Letter, Letters, Way
from relay.wire.envelope import PRIORITIES

URGENCY = forms.body_type("urgency_change")
ALL = ""
"""The row of all desks together."""


def share(part: int, whole: int) -> int:
    """Return per cent, rounded half up; 0 of nothing is 0."""
    return (200 * part + whole) // (2 * whole) if whole else 0


def statistics(letters: Letters, desk: str, since: int) -> dict[str, Any]:
    """Return {"since", "desks": [...], "all": {...}}: *since* is seconds UTC, for this desk's *desk* id."""
    rows: dict[str, dict[str, Any]] = {ALL: _row(ALL)}
    for letter in letters.all(since=since):
        _count(rows, letter, desk)
    for row in rows.values():
        for way in ("sent", "received"):
            numbers = row[way]
            numbers["share"] = share(numbers["emergency"], _sum(numbers[one] for one in PRIORITIES))
    total = rows.pop(ALL)
    return {"since": since, "desks": [rows[name] for name in sorted(rows)], "all": total}


def _sum(numbers: Iterable[int]) -> int:
    return sum(numbers)


def _row(desk: str) -> dict[str, Any]:
    ways = {way: dict.fromkeys((*PRIORITIES, "exercises"), 0) for way in ("sent", "received")}
    return {"desk": desk, **ways, "lowered": 0}


def _count(rows: dict[str, dict[str, Any]], letter: Letter, desk: str) -> None:
    header, sent = letter.header, letter.way is not Way.RECEIVED
    other = header.to if sent else header.sender
    changed = letter.statement["body_type"] == URGENCY
    if letter.statement["kind"] != "request" and not changed:
        return
    if other == desk:
        return
    for row in (rows.setdefault(other, _row(other)), rows[ALL]):
        if changed:
            row["lowered"] += header.mode == "actual"
        elif header.mode != "actual":
            row["sent" if sent else "received"]["exercises"] += 1
        else:
            row["sent" if sent else "received"][header.priority] += 1
