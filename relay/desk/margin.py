"""What stands beside a message: who approved it before it was sent, and that its urgency was lowered. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keys.errors import Refused
from keys.statement import decode
from relay.desk.documents import codes, forms
from relay.desk.documents.reading import printable
from relay.desk.drafts import Drafts
from relay.desk.letters import Letter, Letters
from relay.desk.timeline import Line

URGENCY = forms.body_type("urgency_change")


@dataclass(frozen=True, slots=True)
class Lowered:
    """A signed change of the urgency of a request, by the desk that was asked."""

    letter: Letter
    was: str
    value: str
    """Codes of the list ``priority``."""
    reason: str

    @property
    def text(self) -> str:
        """Return it in words."""
        was, value = (printable(one)[:20].lower() for one in (self.was, self.value))
        return f"urgency changed from {was} to {value}: {printable(self.reason)}"


def rank(code: str) -> int:
    """Return how pressing a code of the list ``priority`` is; -1 for an unknown one."""
    entry = codes.find("priority", code)
    return int(entry.more["rank"]) if entry else -1


class Margin:
    """Stands on what was verified when it came in, and on approvals, which it verifies anew."""

    def __init__(self, letters: Letters, drafts: Drafts) -> None:
        """Stand on the desk's shelves."""
        self._letters = letters
        self._drafts = drafts

    def lowered(self, letter: Letter, msgs: Sequence[str]) -> list[Lowered]:
        """Return the changes of a request's urgency, oldest first; *msgs* are the ids under which it travels.

        Only those by a desk that was asked count: nobody else may speak for it.
        """
        asked = {letter.header.to, letter.header.backup} - {""}
        if letter.statement["kind"] != "request":
            return []
        found = [
            change
            for one in self._letters.all(since=letter.received)
            if one.statement["body_type"] == URGENCY
            and one.statement["thread"] in msgs
            and one.header.sender in asked
            and (change := self._change(one.sid)) is not None
        ]
        return sorted(found, key=lambda one: one.letter.statement["created"])

    def _change(self, sid: str) -> Lowered | None:
        letter = self._letters.readable(sid)
        if letter is None:
            return None
        try:
            document = decode(letter.body)
        except Refused:
            return None
        was, value, reason = (str(document.get(name, "")) for name in ("was", "value", "reason"))
        return Lowered(letter, was, value, reason)

    def lines(self, letter: Letter, msgs: Sequence[str]) -> list[Line]:
        """Return the timeline's lines for both."""
        found = [
            Line(
                one.letter.statement["created"],
                one.letter.received,
                "urgency",
                f"{one.letter.officer} ({one.letter.header.sender})",
                one.letter.sid,
                "",
                one.text,
                verified=True,
            )
            for one in self.lowered(letter, msgs)
        ]
        approved = self._drafts.approved(letter.sid)
        if approved is not None:
            by = f"{approved.officer} ({letter.header.sender})"
            text = "approved by a second officer, before it was sent"
            at = letter.received
            found.append(
                Line(approved.at, at, "approved", by, approved.sid, "", text, verified=True)
            )
        return found

    def beside(self, letter: Letter, msgs: Sequence[str]) -> dict[str, Any]:
        """Return what a page says: {"approved": handle or "", "urgency": code or "", "notes": [sentence]}."""
        changes = self.lowered(letter, msgs)
        approved = self._drafts.approved(letter.sid)
        return {
            "approved": approved.officer if approved else "",
            "urgency": changes[-1].value if changes else "",
            "notes": [f"{one.letter.header.sender}: {one.text}" for one in changes],
        }
