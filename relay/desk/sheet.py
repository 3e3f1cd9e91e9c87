"""The sheet that officers read from: times in both clocks, columns, digits, banners; nothing here knows a message.

Text that came from elsewhere is shown without anything that could steer a terminal.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from relay.desk.documents.reading import printable
from relay.zones import zone_of

YEAR_1, YEAR_9999 = -62_135_510_400, 253_402_214_399
"""The first and the last second that every zone can write, a day inside the calendar: documents may name any year."""
SHORT = 10
"""Digits of a message id that are shown; any unique prefix of at least six is understood."""
LABEL_WIDTH = 34
BANNERS = {
    "exercise": "EXERCISE - this is a drill, not a real case",
    "test": "TEST - sent by a machine to try the line; nobody needs to act",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """How to write: *now* in seconds UTC, the zone of this machine, and the width of the terminal."""

    now: int
    zone: tzinfo | None = None
    """None = the machine's own."""
    width: int = 96

    def time(self, seconds: int) -> str:
        """Return a time as ``2026-11-23 03:04:05 UTC (10:04 here)``."""
        there = datetime.fromtimestamp(seconds, UTC)
        here = there.astimezone(self.zone)
        text = there.strftime("%Y-%m-%d %H:%M:%S UTC")
        if here.utcoffset() == there.utcoffset():
            return text
        day = "" if here.date() == there.date() else here.strftime("%a ")
        return f"{text} ({day}{here.strftime('%H:%M')} here)"

    def until(self, seconds: int) -> str:
        """Return a deadline and how long it is to it, or since it."""
        return f"{self.time(seconds)}, {span(seconds - self.now)}"


def both(seconds: int, zones: Mapping[str, str]) -> str:
    """Return a time in UTC and by the clocks of two desks, ``2026-11-23 03:04 UTC, VN 10:04, AU 14:04``; a day that
    differs is named. *zones*: desk to the name of its zone; one that the zone files do not know is left out.
    """
    there = datetime.fromtimestamp(max(YEAR_1, min(seconds, YEAR_9999)), UTC)
    found = [there.strftime("%Y-%m-%d %H:%M UTC")]
    for desk, name in zones.items():
        zone = zone_of(name)
        if zone is not None:
            here = there.astimezone(zone)
            day = "" if here.date() == there.date() else here.strftime("%a ")
            found.append(f"{desk} {day}{here.strftime('%H:%M')}")
    return ", ".join(found)


def span(seconds: int) -> str:
    """Return a time that is left, or by which somebody is late, as words."""
    word = "left" if seconds >= 0 else "LATE"
    size = abs(seconds)
    if size < 90:
        return f"{size} s {word}"
    if size < 90 * 60:
        return f"{size // 60} min {word}"
    if size < 48 * 3600:
        return f"{size // 3600} h {size % 3600 // 60} min {word}"
    return f"{size // 86400} days {word}"


def short(msg: str) -> str:
    """Return a message id as people see and type it."""
    return msg[:SHORT]


def bare(text: object) -> str:
    """Return text from elsewhere on one line, without anything that steers a terminal."""
    return printable(str(text)).replace("\n", " ").replace("\t", " ")


def banner(mode: str, priority: str) -> str:
    """Return the first line of a message; an exercise can never be mistaken for a real case."""
    mark = f"*** {BANNERS[mode]} *** " if mode in BANNERS else ""
    return f"{mark}{priority.upper()}"


def rows(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield label and value in two columns; long values and values of several lines are wrapped.

    Labels like ``Officer / Name`` that share their beginning stand indented under it.
    """
    leaves = [label.rpartition(" / ") for label, _value in pairs]
    wide = max((len(leaf) + 2 * bool(group) for group, _slash, leaf in leaves), default=0)
    column, above = min(LABEL_WIDTH, wide), ""
    for (group, _slash, leaf), (_label, value) in zip(leaves, pairs, strict=True):
        if group and group != above:
            yield group
        above = group
        label = f"  {leaf}" if group else leaf
        lines: list[str] = []
        for line in (value or "-").split("\n"):
            lines += textwrap.wrap(line, max(24, width - column - 2)) or [""]
        if len(label) > column:
            yield label
            label = ""
        for number, line in enumerate(lines):
            yield f"{label if not number else '':<{column}}  {line}".rstrip()


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Return what must be known before a line of the message is believed."""
    listed = found.get("warnings") or found.get("warning") or []
    return [bare(one) for one in ([listed] if isinstance(listed, str) else listed)]
