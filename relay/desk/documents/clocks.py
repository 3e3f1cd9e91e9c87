"""Clocks of a request: the defaults in ``clocks.json``, made stricter by a network or a desk, never weaker.

No treaty gives hours: "expeditiously", "promptly" and "forthwith" are the words. So the numbers are
defaults of this project, each with the article whose word it spells out. Which of them run follows
from the legal basis: without a request for mutual legal assistance to come, nobody waits for one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import integer


@cache
def _file() -> Mapping[str, Any]:
    text = files("relay.desk.documents").joinpath("clocks.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return MappingProxyType(found)


def table() -> Mapping[str, Mapping[str, Any]]:
    """Return the clocks in seconds: name to label, value for each priority, citations, source."""
    found: Mapping[str, Mapping[str, Any]] = _file()["seconds"]
    return found


def reminders() -> Mapping[str, Mapping[str, Any]]:
    """Return the clocks in days: name to label, days, whether they count back from the end."""
    found: Mapping[str, Mapping[str, Any]] = _file()["days"]
    return found


@dataclass(frozen=True, slots=True)
class Terms:
    """The clocks of one request."""

    seconds: Mapping[str, int]
    """Name to seconds, as in ``clocks.json``."""
    days: Mapping[str, tuple[int, ...]]
    """Name to days; those that count back from the end descend, the others ascend."""
    least_days: int
    """The shortest preservation under the legal basis, 0 where it asks for none."""
    longest_days: int
    """The longest preservation by the requested State's card, renewals included; 0 = it does not say."""
    follow_up: bool
    """Whether a request for mutual legal assistance, extradition or confiscation has to follow."""

    def start(self, name: str, at: int) -> int:
        """Return when a clock that starts now runs out, in seconds UTC."""
        return at + self.seconds[name]

    def before(self, name: str, until: int) -> tuple[int, ...]:
        """Return the times of the reminders before an end, in seconds UTC, ascending."""
        return tuple(sorted(until - days * DAY for days in self.days.get(name, ())))

    def after(self, name: str, since: int) -> tuple[int, ...]:
        """Return the times of the reminders after a beginning, in seconds UTC, ascending."""
        return tuple(sorted(since + days * DAY for days in self.days.get(name, ())))


def terms(
    legal_basis: object,
    priority: str,
    card: Mapping[str, object] | None = None,
    *settings: Mapping[str, object],
) -> Terms:
    """Return the clocks of a request.

    *priority* is emergency, urgent or routine; *card* is the requested desk's (PROTOCOL 8.3);
    *settings* are those of the network and of the desk: a clock's name to seconds, or to a list of
    days. What is weaker than the default is not taken: see :func:`weaker`.
    """
    entry = codes.find("legal_basis", legal_basis)
    follow_up = bool(entry.more["follow_up"]) if entry else True
    once, renewals = integer(card or {}, "preservation_days"), integer(card or {}, "renewals")
    seconds = {
        name: _strictest(name, int(row[priority]), settings)
        for name, row in table().items()
        if follow_up or not row["follow_up"]
    }
    days = {
        name: _all_days(name, row, settings)
        for name, row in reminders().items()
        if follow_up or not row["follow_up"]
    }
    return Terms(
        MappingProxyType(seconds),
        MappingProxyType(days),
        codes.least_days(legal_basis),
        (once or 0) * (1 + (renewals or 0)),
        follow_up,
    )


def _strictest(name: str, value: int, settings: Sequence[Mapping[str, object]]) -> int:
    for given in settings:
        wanted = integer(given, name)
        if wanted is not None and wanted > 0 and _is_stricter(name, wanted, value):
            value = wanted
    return value


def _is_stricter(name: str, wanted: int, value: int) -> bool:
    return wanted > value if table()[name].get("longer_is_stricter", False) else wanted < value


def _all_days(
    name: str, row: Mapping[str, Any], settings: Sequence[Mapping[str, object]]
) -> tuple[int, ...]:
    found = set(row["days"])
    for given in settings:
        wanted = given.get(name)
        if isinstance(wanted, list):
            found |= {day for day in wanted if isinstance(day, int) and 0 < day <= 3650}
    return tuple(sorted(found, reverse=bool(row["before"])))


def weaker(settings: Mapping[str, object], priority: str) -> list[str]:
    """Return the clocks of a setting that are weaker than the default, and so have no effect."""
    found = []
    for name, row in table().items():
        wanted = integer(settings, name)
        value = int(row[priority])
        if wanted is None or wanted == value:
            continue
        if wanted <= 0 or not _is_stricter(name, wanted, value):
            found.append(name)
    return found
