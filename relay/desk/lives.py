"""The lives of a text: one for each message id under which it travels, re-derived from what is held and verified."""

from collections.abc import Sequence

from keys.errors import Refused
from keys.statement import Statement
from relay.desk.letters import Letter, Letters
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.timeline import Life, derive, replaced_by

ANSWERED = ("acknowledged", "closed", "withdrawn")
"""What a person signs so that nobody has to be woken for a message any more (PROTOCOL 11.8)."""


class Lives:
    """Reads only; every statement is verified again with the directory in force."""

    def __init__(self, roster: Roster, records: Records, letters: Letters) -> None:
        """Stand on the desk's shelves."""
        self._roster = roster
        self._records = records
        self._letters = letters

    def msgs(self, letter: Letter) -> list[str]:
        """Return every message id of a text, oldest first."""
        return [alias.msg for alias in self._letters.aliases(letter.sid)]

    def of(self, letter: Letter) -> list[Life]:
        """Return what is proven of each message id of a text, oldest first."""
        directory, service = self._roster.directory, self._roster.service
        held = {msg: self._records.of([msg]) for msg in self.msgs(letter)}
        return [
            derive(
                letter,
                msg,
                found,
                directory,
                service,
                replaced=replaced_by(held, msg, letter.about, directory, service),
            )
            for msg, found in held.items()
        ]

    def settled(self, letter: Letter) -> bool:
        """Whether nobody has to be woken for a text any more, under whichever id that was said, or its time is over."""
        lives = self.of(letter)
        if any(life.message.first(*ANSWERED) for life in lives if life.message is not None):
            return True
        newest = current(lives)
        if newest is None or newest.message is None:  # no relay has it: only its sender can say so
            return "withdrawn" in self._records.kinds(self.msgs(letter))
        return not newest.message.open

    def accepted(self, letter: Letter) -> Statement | None:
        """Return the relay's acceptance of the newest message id of a text that has one, verified here."""
        for msg in reversed(self.msgs(letter)):
            for one in self._records.of([msg]):
                if one.kind != "accepted" or not one.verified:
                    continue
                try:
                    return self._roster.accepted(one.wire, msg)
                except Refused:
                    continue
        return None


def current(lives: Sequence[Life]) -> Life | None:
    """Return the life that counts: of the newest id that a relay accepted; None if none did."""
    return next((life for life in reversed(lives) if life.message is not None), None)


def exhausted(lives: Sequence[Life]) -> Statement | None:
    """Return the relay's `exhausted` about the newest id, if its ladder has come to its end."""
    newest = current(lives)
    last = newest.climbs[-1] if newest is not None and newest.climbs else None
    return last if last is not None and last.kind == "exhausted" else None


def who(lives: Sequence[Life], kind: str) -> str:
    """Return the desk whose officer first signed a statement of *kind* that counts; "" if nobody did."""
    found = (life.message.first(kind) for life in lives if life.message is not None)
    return next((fact.desk for fact in found if fact), "")
