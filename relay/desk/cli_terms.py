"""Terms that people type: how long, and until when."""

import re
from datetime import UTC, date, datetime, time
from typing import Any

import click

from keys.entry import check_desk
from keys.errors import Refused
from relay.desk.documents.reading import instant

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)\Z")


class Duration(click.ParamType[int]):
    """A length of time such as ``45m``, ``2h``, ``3d``, ``90s`` or ``90``; gives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds; a usage error for anything else."""
        if isinstance(value, int):
            return value
        found = _DURATION.match(str(value))
        if not found:
            self.fail(f"{value!r} is no length of time; type 45m, 2h, 3d or 90s.", param, ctx)
        if not int(found[1]):
            self.fail(f"{value!r} is no time at all; leave it out, or type 45m.", param, ctx)
        return int(found[1]) * _UNITS[found[2] or "s"]


class Desk(click.ParamType[str]):
    """A desk's id such as ``AU`` or ``AU-B``."""

    name = "desk"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id; a usage error for anything else but ``""``."""
        try:
            return check_desk(str(value)) if value else ""
        except Refused:
            self.fail(f"{value!r} is no desk; one is like VN or AU-B.", param, ctx)


class Day(click.ParamType[int]):
    """A day such as ``2027-01-31``, or a time with a Z.

    A day gives its last second in UTC, because it is meant to be whole; with *first*, its first one.
    """

    name = "date"

    def __init__(self, *, first: bool = False) -> None:
        """Choose which end of a day is meant."""
        self._time = time(0, 0, 0) if first else time(23, 59, 59)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds UTC; a usage error for anything else."""
        if isinstance(value, int):
            return value
        at = instant(value)
        if at is not None:
            return at
        try:
            day = date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no date; type 2027-01-31 or 2027-01-31T12:00:00Z.", param, ctx)
        return int(datetime.combine(day, self._time, UTC).timestamp())


DESK = Desk()
DURATION = Duration()
DAY = Day()
FIRST_DAY = Day(first=True)
