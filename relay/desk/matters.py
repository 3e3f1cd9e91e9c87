"""Matters of this desk: which messages belong together, and what was made of them, replayed from the archive.

A message belongs to the matter of the message that its thread names. The row that says so, and the row that says that
its matter is to be looked at, are kept in the same commit as the message (``touch``); everything else is replayed.
"""

from collections.abc import Mapping
from typing import Any

from keys.errors import Code, Refused
from keys.statement import decode
from relay.desk import course
from relay.desk.archive import Archive
from relay.desk.documents import events, page
from relay.desk.documents.clocks import Terms
from relay.desk.documents.reading import at, block
from relay.desk.duties import terms_of
from relay.desk.letters import Letter, Letters
from relay.desk.matter import REQUESTED, REQUESTING, Entry, Matter
from relay.desk.records import Records
from relay.desk.roster import Roster

SOON = 1
"""A row with this *due* is looked at now."""


class Matters:
    """Reads only, but for :meth:`touch`, which is called inside ``archive.commit()``."""

    def __init__(
        self,
        archive: Archive,
        roster: Roster,
        records: Records,
        letters: Letters,
        settings: Mapping[str, object],
    ) -> None:
        """Stand on the desk's shelves; *settings* are this desk's own clocks, stricter ones only."""
        self._archive = archive
        self._roster = roster
        self._records = records
        self._letters = letters
        self._settings = settings

    # Which messages belong together

    def touch(self, letter: Letter) -> None:
        """Take note that a message is new, or that something new is known of it."""
        root = self._leaf(letter.sid)
        if root is None:
            root = self._root(letter)
            self._archive.put("leaf", letter.sid, {"root": root}, {})
            for alias in self._letters.aliases(letter.sid):
                for row in self._archive.find("leaf", "root = ?", (alias.msg,)):
                    self._archive.change("leaf", row["id"], {"root": root})
        if self._archive.count("matter", "id = ?", (root,)):
            self._archive.change("matter", root, {"due": SOON, "open": 1})
        elif root == letter.sid:
            clear: dict[str, int | str] = {"due": SOON, "open": 1, "raised": ""}
            self._archive.put("matter", root, clear, {"said": b""})

    def adopt(self) -> int:
        """Take up the messages that an older archive or a backup has without a row; return how many."""
        missing = "id NOT IN (SELECT id FROM leaf)"
        rows = self._archive.find("message", missing, order="received, rowid", columns=())
        for row in rows:
            letter = self._letters.readable(row["id"])
            if letter is not None:
                with self._archive.commit():
                    self.touch(letter)
        return len(rows)

    def _leaf(self, sid: str) -> str | None:
        row = self._archive.get("leaf", sid)
        return str(row["root"]) if row else None

    def _root(self, letter: Letter) -> str:
        thread = str(letter.statement["thread"])
        if not thread:
            return self._spoken(letter) or letter.sid
        above = self._letters.of(thread)
        if above is None:
            return thread
        return self._leaf(above.sid) or above.sid

    def _spoken(self, letter: Letter) -> str:
        """Return the matter of the call that a request confirms in writing; "" where there was none."""
        prior = at(block(_document(letter), "prior_oral_request"), "at")
        if prior is None:
            return ""
        pair = {letter.header.sender, letter.header.to}
        for row in self._archive.find("matter", "open = 1", columns=()):
            found = self._letters.readable(row["id"])
            if found is None or {found.header.sender, found.header.to} != pair:
                continue
            if at(_document(found), "call_at") == prior:
                return found.sid
        return ""

    def resolve(self, text: str) -> str:
        """Return the matter to which a message belongs, by digits of any of its messages.

        Raises E_UNKNOWN where there is none.
        """
        letter = self._letters.resolve(text)
        root = self._leaf(letter.sid) or letter.sid
        if self._letters.get(root) is None:
            raise Refused(
                Code.E_UNKNOWN,
                "The request to which this message belongs is not here.",
                hint=f"Type: desk show {text}",
            )
        return root

    def roots(self) -> list[str]:
        """Return the matters in which anything can still happen."""
        return [row["id"] for row in self._archive.find("matter", "open = 1", columns=())]

    # What was made of them

    def of(self, root: str) -> Matter | None:
        """Return a matter; None where its messages are no forms."""
        sids = [row["id"] for row in self._archive.find("leaf", "root = ?", (root,))]
        letters = [self._letters.readable(sid) for sid in sids]
        entries = [self._entry(one) for one in letters if one is not None]
        return course.replay(one for one in entries if one is not None)

    def _entry(self, letter: Letter) -> Entry | None:
        form = page.form_of(str(letter.statement["body_type"]))
        if not form.kind:
            return None  # a note, or a text that is no form
        document = _document(letter)
        kind = form.kind if form.known and not form.newer else f"{form.kind} {form.version}"
        if document.get("kind") != form.kind:
            kind = (
                f"{form.kind} ?"  # it does not say what it is: shown, flagged, and it moves nothing
            )
        msgs = tuple(alias.msg for alias in self._letters.aliases(letter.sid))
        top = letter.header
        return Entry(
            sid=letter.sid,
            msgs=msgs,
            desk=top.sender,
            to=(top.to, *([top.backup] if top.backup else [])),
            at=self._accepted(letter, msgs),
            event=events.read(kind, document),
            document=document,
            priority=top.priority,
            mode=top.mode,
            taken_up=self._taken_up(letter, msgs),
        )

    def _accepted(self, letter: Letter, msgs: tuple[str, ...]) -> int:
        """Return when a relay first accepted a message, which both desks can prove; until then, when it was kept."""
        for held in self._records.of(msgs) if msgs else ():
            if held.kind == "accepted" and held.verified:
                try:
                    return int(self._roster.accepted(held.wire, held.msg)["received"])
                except Refused:
                    continue
        return letter.received

    def _taken_up(self, letter: Letter, msgs: tuple[str, ...]) -> int | None:
        for held in self._records.of(msgs) if msgs else ():
            if held.kind == "acknowledged" and held.verified and held.desk != letter.header.sender:
                try:
                    return self._records.prove(held.wire, letter.about).at
                except Refused:
                    continue
        return None

    def card(self, desk: str) -> Mapping[str, Any]:
        """Return a desk's card in the directory at hand; {} where it has none."""
        try:
            return dict(self._roster.directory.desk(desk).card) if self._roster.known else {}
        except Refused:
            return {}

    def terms(self, matter: Matter) -> Terms:
        """Return the clocks of a matter, by its legal basis, both desks' cards and this desk's settings."""
        return terms_of(matter, self.card(matter.requested), self._settings)

    def side(self, matter: Matter) -> str:
        """Return this desk's side."""
        return REQUESTING if matter.requesting == self._roster.desk else REQUESTED

    def zones(self, matter: Matter) -> dict[str, str]:
        """Return the time zones of both desks' offices, by desk, where their cards say them."""
        found = {}
        for desk in (matter.requesting, matter.requested):
            zone = block(self.card(desk), "office").get("zone")
            if isinstance(zone, str):
                found[desk] = zone
        return found


def _document(letter: Letter) -> Mapping[str, object]:
    try:
        return decode(letter.body)
    except Refused:
        return {}
