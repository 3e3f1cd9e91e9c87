"""Statements about messages, as the relay passes them on: verified, kept, and what follows from them (PROTOCOL 10.4).

The relay is a messenger here. A statement that does not verify is kept apart and shown as unverified, because the
directory may only be old; it is tried again after every refresh. Nothing that a relay sends can stop the desk.
"""

from typing import Any

from keys.errors import Refused
from relay.core.message import HUMAN_ACTS
from relay.desk import ladder
from relay.desk.archive import Archive
from relay.desk.aside import STATEMENT, Aside
from relay.desk.letters import ACKNOWLEDGE, NOTHING, READ, SETTLING, Letter, Letters, Way
from relay.desk.lives import Lives, who
from relay.desk.notes import Notes
from relay.desk.outbox import Outbox
from relay.desk.proof import ABOUT_A_MESSAGE, Proven
from relay.desk.records import Held, Records, sid_of
from relay.desk.vigil import Vigil

UNVERIFIED_MAX = 1000
"""Statements kept although they do not verify; a relay that sends more of them is not worth the room."""

TAKEN_UP = ("acknowledged", "closed")
"""What the other desk of a message signs (recipient or backup) so that nobody here has to."""

Event = dict[str, Any]


class Intake:
    """The way in of other people's statements."""

    def __init__(
        self,
        archive: Archive,
        records: Records,
        letters: Letters,
        outbox: Outbox,
        notes: Notes,
        lives: Lives,
        vigil: Vigil,
        *,
        desk: str,
    ) -> None:
        """Stand on the archive's shelves."""
        self._archive = archive
        self._records = records
        self._letters = letters
        self._outbox = outbox
        self._notes = notes
        self._lives = lives
        self._vigil = vigil
        self._desk = desk

    def take(self, msg: str, wire: bytes, now: int) -> Event | None:
        """Take one statement that the relay says is about *msg*; return what to tell (None: nothing new)."""
        sid, kind = sid_of(wire)
        if self._records.holds(sid):
            return None
        if kind not in ABOUT_A_MESSAGE:
            text = "The relay passed on something that is no statement about a message."
            return self._notes.add(now, "refused", msg, "E_TYPE", text)
        letter = self._letters.of(msg)
        try:
            proven = self._records.prove(wire, letter.about if letter else None)
        except Refused as refused:
            with self._archive.commit():
                if self._records.doubted() < UNVERIFIED_MAX:
                    self._records.keep_unverified(sid, kind, msg, wire, now)
            text = f"A statement of kind {kind!r} does not verify. {refused}"
            return self._notes.add(now, "refused", msg, refused.code, text)
        if proven.statement.fields.get("msg") != msg:
            text = f"The relay passed on a statement of kind {kind!r} under another message's name."
            return self._notes.add(now, "refused", msg, "E_BINDING", text)
        with self._archive.commit():
            self.keep(proven, now)
        return said(proven)

    def try_again(self, now: int, aside: Aside) -> list[Event]:
        """Verify what could not be verified before: the directory is another one."""
        events: list[Event] = []
        for held in self._records.unverified():
            if not aside.left(STATEMENT, held.sid):
                with aside.around(STATEMENT, held.sid, held.msg):
                    events += self._try(held)
        return events

    def _try(self, held: Held) -> list[Event]:
        letter = self._letters.of(held.msg)
        try:
            proven = self._records.prove(held.wire, letter.about if letter else None)
        except Refused:
            return []
        if proven.statement.fields.get("msg") != held.msg:
            return []
        with self._archive.commit():
            self.keep(proven, held.received)
        return [said(proven)]

    def lay_by(self, msg: str, wire: bytes, now: int) -> str:
        """Keep a statement that a fault of ours met with, to be tried again; return its sid."""
        sid, kind = sid_of(wire)
        with self._archive.commit():
            if self._records.doubted() < UNVERIFIED_MAX:
                self._records.keep_unverified(sid, kind, msg, wire, now)
        return sid

    def keep(self, proven: Proven, now: int, *, mine: bool = False) -> None:
        """Keep a verified statement and note what follows from it. Called inside a commit."""
        found = proven.statement
        self._records.keep(found, proven.desk, now, mine=mine)
        letter = self._letters.of(found["msg"])
        if letter is None:
            return
        if letter.way is Way.RECEIVED:
            self._settle_received(letter, found.kind, proven.desk)
        else:
            self._outbox.settle(letter.sid)
            self._vigil.heard(letter)

    def _settle_received(self, letter: Letter, kind: str, desk: str) -> None:
        if letter.needs != ACKNOWLEDGE:
            return
        if kind == "withdrawn" or (
            kind in TAKEN_UP and desk != self._desk and who(self._lives.of(letter), kind) == desk
        ):
            self._letters.need(letter.sid, READ)
        elif kind in SETTLING:
            msgs = [alias.msg for alias in self._letters.aliases(letter.sid)]
            if self._records.signed(msgs, self._desk, SETTLING) >= set(msgs):
                self._letters.need(letter.sid, NOTHING)


def said(proven: Proven) -> Event:
    """Return the event of a new verified statement."""
    found = proven.statement
    more: Event = {}
    if found.kind == "escalated":
        more = {name: found[name] for name in ("stage", "cause", "next_at")}
        more |= {"step": found["kind"], "text": ladder.step(found.fields)}
    elif found.kind == "paged":
        more = {name: found[name] for name in ("stage", "pages", "outcomes")}
        more |= {"text": ladder.paged(found.fields)}
    elif found.kind == "exhausted":
        more = {"outcome": found["outcome"], "text": ladder.end(found.fields)}
    return {
        **more,
        "event": "statement",
        "kind": found.kind,
        "msg": found["msg"],
        "statement": found.sid,
        "desk": proven.desk,
        "by": _officer(proven),
        "at": proven.at,
    }


def _officer(proven: Proven) -> str:
    """Return the handle of the officer who acted; "" for what a device or a relay signed."""
    human = proven.statement.kind in HUMAN_ACTS or proven.statement.kind == "withdrawn"
    return proven.member.officer if human and proven.member is not None else ""
