"""Reading what others wrote: times, texts and fields of a document that may be anything.

Rules run on documents whose shape is not yet certain, because all problems are told at once. These
readers give a value of the wanted type or an empty one; the schema has already said what is wrong
with the type.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from relay.desk.documents.wording import Translatable, say

DEPTH_MAX = 8
"""Blocks and lists inside each other, as strict JSON allows (PROTOCOL 6.1)."""
ENTRIES_MAX = 64
"""The longest list that any kind of document has; tests hold the schemas to it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: where, what, and whether it only warns.

    The sentence is from :func:`relay.desk.documents.wording.say`, or one without arguments.
    """

    path: str
    text: str
    warning: bool = False

    def __post_init__(self) -> None:
        """Make a plain sentence one that follows the reader's language."""
        if not isinstance(self.text, Translatable):
            object.__setattr__(self, "text", say(self.text))


def instant(value: object) -> int | None:
    """Return the seconds UTC of a time such as ``2026-11-23T03:00:00Z``, or None where it is none."""
    if not isinstance(value, str) or len(value) != 20:
        return None
    try:
        found = datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    seconds = int(found.timestamp())
    return seconds if written(seconds) == value else None


def written(seconds: int) -> str:
    """Return seconds UTC as documents write them, such as ``2026-11-23T03:00:00Z``."""
    # strftime does not pad years before 1000 on every platform; isoformat does.
    return (
        datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        + "Z"
    )


def day(value: object) -> int | None:
    """Return the seconds UTC at which a day such as ``2026-11-23`` ends, or None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        found = date.fromisoformat(value)
    except ValueError:
        return None
    if found.isoformat() != value:
        return None
    return int(datetime(found.year, found.month, found.day, 23, 59, 59, tzinfo=UTC).timestamp())


_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def hidden(text: str) -> bool:
    """Whether a text has what steers unseen: controls, direction marks that override, surrogates."""
    return _HIDDEN.search(text) is not None


def printable(text: str) -> str:
    """Return text in which everything that could steer a terminal shows as a replacement mark."""
    return _HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def text(document: Mapping[str, object], key: str) -> str:
    """Return a text field, or "" where there is none."""
    value = document.get(key)
    return value if isinstance(value, str) else ""


def integer(document: Mapping[str, object], key: str) -> int | None:
    """Return a whole number, or None where there is none; true is no number."""
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def at(document: Mapping[str, object], key: str) -> int | None:
    """Return a time in seconds UTC, or None where there is none."""
    return instant(document.get(key))


def block(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a block of fields, or an empty one."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def listed(document: Mapping[str, object], key: str) -> list[object]:
    """Return a list, or an empty one."""
    value = document.get(key)
    return value if isinstance(value, list) else []


def rows(document: Mapping[str, object], key: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield path and block for each block of a list; the schema has named what is no block."""
    for number, value in enumerate(listed(document, key)):
        if isinstance(value, dict):
            yield f"{key}[{number}]", value


def deeper(value: object, depth: int) -> bool:
    """Whether blocks and lists are nested deeper than so many levels; safe for any nesting."""
    level = [value]
    for _ in range(depth):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    return any(isinstance(one, dict | list) for one in level)


def longer(value: object, most: int) -> bool:
    """Whether a list anywhere in a document has more entries than that; the nesting was looked at before."""
    if isinstance(value, dict):
        return any(longer(one, most) for one in value.values())
    return isinstance(value, list) and (
        len(value) > most or any(longer(one, most) for one in value)
    )


def texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and text for every text in a document, however deep."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts(inner, f"{path}[{number}]")


def person(document: Mapping[str, object], key: str) -> str:
    """Return a person's name in a form that compares two spellings of one name."""
    return " ".join(text(block(document, key), "name").casefold().split())
