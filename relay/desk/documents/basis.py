"""What follows from the legal basis of a request: what it serves, what it asks for, who is a party.

Everything is in ``codes.json``: ``serves`` (for what a basis can be relied on), ``needs`` and
``advises`` (fields beyond those of the schema, by kind), ``treaty`` (the name on the cards of its
parties), ``min_days``, ``follow_up`` (whether a request for mutual legal assistance comes after).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.circumstances import Circumstances
from relay.desk.documents.places import label_of
from relay.desk.documents.reading import Finding, listed, printable, text, written
from relay.desk.documents.wording import Said, say

Card = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A legal basis for one kind of document between two desks."""

    entry: codes.Entry
    why_not: Said | None
    """Why the two cards do not show it; None where both do, or where it needs no treaty."""

    @property
    def code(self) -> str:
        """Return its code."""
        return self.entry.code


def choices(
    serves: Iterator[str] | tuple[str, ...], mine: Card, theirs: Card, today: str
) -> tuple[Choice, ...]:
    """Return every legal basis that serves a purpose, usable ones first, in the order of the file.

    *serves* are words such as ``preservation``; *mine* and *theirs* are cards (PROTOCOL 8.3);
    *today* is a day such as ``2026-11-23``.
    """
    wanted = set(serves)
    found = [
        Choice(entry, _missing(entry, mine, theirs, today))
        for entry in codes.lists()["legal_basis"].values()
        if wanted & set(entry.more["serves"])
    ]
    return tuple(sorted(found, key=lambda choice: choice.why_not is not None))


def _missing(entry: codes.Entry, mine: Card, theirs: Card, today: str) -> Said | None:
    for card in (mine, theirs):
        if not party(card, entry.more["treaty"], today):
            return _not_party(card, entry.more["treaty"])
    return None


def _not_party(card: Card, treaty: str) -> Said:
    """Return why a State is not bound by a treaty today: its card says so from a later day on, or not at all."""
    days = [
        str(row.get("since", ""))
        for row in listed(card, "treaties")
        if isinstance(row, dict) and row.get("treaty") == treaty
    ]
    state = printable(text(card, "state")) or "?"
    if days:
        return say(
            "{treaty} is in force for {state} only from {day}.",
            treaty=treaty,
            state=state,
            day=printable(min(days)),
        )
    return say("The card of {state} does not show {treaty}.", state=state, treaty=treaty)


def party(card: Card, treaty: str, today: str) -> bool:
    """Whether a card shows a State as bound by a treaty, or member of a network, on a day; "" asks for none."""
    if not treaty:
        return True
    rows = listed(card, "treaties")
    return any(
        isinstance(row, dict) and row.get("treaty") == treaty and str(row.get("since", "")) <= today
        for row in rows
    )


def findings(
    kind: str, shape: Mapping[str, Any], document: Mapping[str, object], around: Circumstances
) -> Iterator[Finding]:
    """Yield what is wrong between a document and the legal basis that it names."""
    entry = codes.find("legal_basis", document.get("legal_basis"))
    serves = shape.get("x-serves", ())
    if entry is None or not serves:
        return
    if not set(serves) & set(entry.more["serves"]):
        yield Finding(
            "legal_basis",
            say("{basis} cannot carry a document of this kind.", basis=entry.said()),
        )
    for needed in entry.more["needs"].get(kind, ()):
        if needed not in document:
            yield Finding(
                needed,
                say(
                    "“{field}” is missing: the legal basis {basis} asks for it.",
                    field=say(label_of(shape, needed)),
                    basis=entry.said(),
                ),
            )
    for wished in entry.more["advises"].get(kind, ()):
        if wished not in document:
            yield Finding(
                wished,
                say(
                    "“{field}” is usual under the legal basis {basis}.",
                    field=say(label_of(shape, wished)),
                    basis=entry.said(),
                ),
                warning=True,
            )
    card, treaty = around.card, entry.more["treaty"]
    if card is None or around.now is None or party(card, treaty, written(around.now)[:10]):
        return
    yield Finding(
        "legal_basis",
        _not_party(card, treaty),
        warning=True,
    )
