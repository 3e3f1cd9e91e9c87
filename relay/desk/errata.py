"""Corrections: read before anything else, so that a late one changes what a document says from its beginning.

Only the desk that wrote a document corrects it. A correction is applied to the fields that it names; one that
supersedes takes a document out as soon as the one in its place is here, and not before: until then the old word stands.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from relay.desk.documents import events
from relay.desk.documents.reading import rows, text
from relay.desk.matter import Entry, Flag

_STEP = re.compile(r"([a-z_0-9]+)(?:\[([0-9]{1,3})\])?")


def applied(entries: Sequence[Entry]) -> tuple[list[Entry], list[Flag], set[str]]:
    """Return the entries as corrected, flags, and the sids of those that another has replaced.

    *entries* are in order; a correction that does not fit is flagged and stays among them.
    """
    found = {entry.sid: entry for entry in entries}
    flags: list[Flag] = []
    replaced: set[str] = set()
    for entry in entries:
        if entry.event.name == "corrected":
            told = _apply(entry, found, replaced)
            flags += [Flag(entry.sid, one) for one in told]
    return [found[entry.sid] for entry in entries], flags, replaced


def _apply(entry: Entry, found: dict[str, Entry], replaced: set[str]) -> list[str]:
    target = _named(text(entry.document, "message"), found)
    if target is None:
        return ["The document that it corrects is not here."]
    if target.desk != entry.desk:
        return ["It corrects a document that another desk wrote; that one stands."]
    if target.event.name == "corrected":
        return ["It corrects a correction; a new correction of the document itself is needed."]
    if target.mode != entry.mode:
        return ["A drill corrects nothing that is real, and the other way round."]
    if entry.event.outcome == "SUPERSEDES":
        other = _named(text(entry.document, "replaced_by"), found)
        if other is None or other.sid == target.sid:
            return ["What it puts in the place of the old document is not here; that one stands."]
        if other.desk != entry.desk:
            return ["What it puts in the place of the old document is another desk's."]
        replaced.add(target.sid)
        return []
    document: dict[str, Any] = deepcopy(dict(target.document))
    told = [
        f"The field {text(row, 'field')[:60]} cannot be corrected by itself: read it."
        for _path, row in rows(entry.document, "fields")
        if not _put(document, text(row, "field"), text(row, "value"))
    ]
    event = events.read(target.event.kind, document)
    found[target.sid] = replace(target, document=document, event=event)
    return told


def _named(digits: str, found: Mapping[str, Entry]) -> Entry | None:
    """Return the one entry whose message id or statement begins with these digits."""
    if len(digits) < 10:
        return None
    hits = [
        entry
        for entry in found.values()
        if any(name.startswith(digits) for name in (entry.sid, *entry.msgs))
    ]
    return hits[0] if len(hits) == 1 else None


def _put(document: dict[str, Any], path: str, value: str) -> bool:
    """Put a value where a path such as ``items[0].port`` leads; whether there was such a field."""
    if path in {"", "kind"}:
        return False
    holder: Any = document
    *above, last = path.split(".")
    for step in above:
        match = _STEP.fullmatch(step)
        if match is None or not isinstance(holder, dict):
            return False
        holder = holder.get(match[1])
        if match[2] is not None:
            number = int(match[2])
            if not isinstance(holder, list) or number >= len(holder):
                return False
            holder = holder[number]
    if not isinstance(holder, dict) or not re.fullmatch("[a-z_0-9]{1,40}", last):
        return False
    now = holder.get(last, "")
    if isinstance(now, bool):
        if value not in {"true", "false"}:
            return False
        holder[last] = value == "true"
    elif isinstance(now, int):
        if not re.fullmatch("-?[0-9]{1,15}", value):
            return False
        holder[last] = int(value)
    elif isinstance(now, str):
        holder[last] = value
    else:
        return False
    return True
