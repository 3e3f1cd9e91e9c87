"""Builders of matters: one document after another in a thread, at times that the test says.

::

    thread = Thread()                                     # VN asks AU for two items, at NOW
    thread.add(2 * HOUR, "acceptance", items=thread.held(1, 2, days=60))
    matter = thread.replay()
"""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from builders_keys import NOW

from relay.desk import course
from relay.desk.documents import events, skeleton
from relay.desk.documents import schema as schemas
from relay.desk.documents.reading import written
from relay.desk.matter import Entry, Matter

HOUR, DAY = 3600, 86_400
WHOLE = {"scope": "WHOLE"}


@cache
def _example(kind: str) -> str:
    return json.dumps(skeleton.example(kind, NOW))


def document(kind: str, **fields: Any) -> dict[str, Any]:
    """Return the example of a kind with other fields; None takes one out."""
    found: dict[str, Any] = json.loads(_example(kind)) | fields
    return {key: value for key, value in found.items() if value is not None}


def some(*numbers: int) -> dict[str, Any]:
    """Return the scope of some items."""
    return {"scope": "ITEMS", "items": list(numbers)}


def at(seconds: int) -> str:
    """Return a time so many seconds after NOW, as documents write it."""
    return written(NOW + seconds)


class Thread:
    """The documents of one request; VN asks AU."""

    def __init__(self, items: int = 2, kind: str = "preservation_request", **fields: Any) -> None:
        """Open it at NOW with so many items."""
        self.entries: list[Entry] = []
        given = json.loads(_example(kind))
        if kind == "preservation_request":
            fields = {"items": given["items"] * items, "legal_basis": "UNCC-42", **fields}
        self.opened = self.add(0, kind, "VN", **fields)

    def add(self, after: int, kind: str, desk: str = "", **fields: Any) -> Entry:
        """Add a document so many seconds after NOW; who writes it follows from its kind."""
        entry = self.entry(after, kind, desk, **fields)
        self.entries.append(entry)
        return entry

    def entry(
        self, after: int, kind: str, desk: str = "", *, mode: str = "actual", **fields: Any
    ) -> Entry:
        """Return a document without adding it."""
        made = document(kind, **fields)
        desk = desk or ("AU" if schemas.load(kind)["x-from"] == "requested" else "VN")
        number = len(self.entries) + 1
        return Entry(
            sid=f"{number:04x}{after & 0xFFFFFFFF:08x}" + "0" * 52,
            msgs=(f"{number:04x}" + "f" * 60,),
            desk=desk,
            to=("AU",) if desk == "VN" else ("VN",),
            at=NOW + after,
            event=events.read(kind, made),
            document=made,
            priority="urgent",
            mode=mode,
        )

    @staticmethod
    def held(*numbers: int, days: int = 60, since: int = 0) -> dict[str, Any]:
        """Return the fields of an acceptance of these items from *since* seconds after NOW."""
        until = at(since + days * DAY)
        return {
            "preserved_from": at(since),
            "preserved_until": until,
            "items": [{"item": one, "result": "PRESERVED"} for one in numbers],
        }

    def accept(self, after: int, *numbers: int, days: int = 60) -> Entry:
        """Add an acceptance of these items for so many days from now."""
        return self.add(after, "acceptance", **self.held(*numbers, days=days, since=after))

    def replay(self, entries: Iterable[Entry] | None = None) -> Matter:
        """Return the matter."""
        found = course.replay(self.entries if entries is None else entries)
        assert found is not None
        return found

    def states(self) -> list[str]:
        """Return the states of the items."""
        return [item.state for item in self.replay().items]

    def flags(self) -> list[str]:
        """Return what is flagged."""
        return [flag.text for flag in self.replay().flags]
