"""Texts that were written here and not sent yet, with the approval of a second officer where one is needed.

A draft is sealed in the archive and is there on return of the verb: it survives whatever ends the process. It may be
incomplete. It keeps its row when it is sent, marked with the statement under which it went: the mark is committed
before the message is, so a draft is sent once, and a crash between the two leaves it a draft. An edit drops the
approval.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from keys import suite
from keys.errors import Code, Failed, Refused
from keys.statement import encode
from relay import errors
from relay.desk import approval, compose
from relay.desk.approval import Approved, Subject
from relay.desk.archive import Archive, Row
from relay.desk.documents import forms
from relay.desk.letters import PREFIX_DIGITS_MIN, Letter, Letters
from relay.desk.roster import Roster
from relay.desk.sound import sound
from relay.wire.content import Opened
from relay.wire.envelope import MODES, PRIORITIES

ID_BYTES = 8
DRAFTS_MAX = 500
TEXT_BYTES_MAX = compose.DOCUMENT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Draft:
    """One text that is not sent yet."""

    kind: str
    text: str = field(repr=False)
    """The document as JSON; it may be incomplete."""
    to: str
    """The desk that is asked, or that the message *about* was exchanged with."""
    about: str
    """Statement sid of the message that it follows, or "" where it opens a thread."""
    priority: str
    mode: str
    backup: str
    """A backup desk, "-" for none, "" for the one of the recipient's card."""
    officer: str
    """The handle of the officer who keeps it."""

    @property
    def document(self) -> dict[str, Any]:
        """Return the document."""
        return compose.read_document(self.text.encode())


class Drafts:
    """The drafts of one archive."""

    def __init__(
        self, archive: Archive, letters: Letters, roster: Roster, policy: Collection[str]
    ) -> None:
        """Stand on the desk's shelves; *policy* are words of ``approval.WORDS``."""
        self._archive = archive
        self._letters = letters
        self._roster = roster
        self._policy = frozenset(policy)

    # What an officer does with them

    def keep(self, name: str, value: Mapping[str, Any], now: int) -> str:
        """Keep a draft, new where *name* is "", and return its id; durable on return. An approval of it is void now.

        Raises E_DOCUMENT for fields that are not those of a draft, E_UNKNOWN for another id, E_BUSY for too many.
        """
        draft = _read(value)
        row = self._row(name) if name else None
        if row is None and len(self._open()) >= DRAFTS_MAX:
            raise Refused(
                Code.E_BUSY,
                f"There are {DRAFTS_MAX} drafts at this desk.",
                hint="Send some, or drop them: desk drafts",
            )
        kept = row["id"] if row else suite.random_bytes(ID_BYTES).hex()
        sealed = {"value": encode(asdict(draft)), "approval": b""}
        with self._archive.commit():
            self._archive.put("draft", kept, {"changed": now, "sid": ""}, sealed)
        return str(kept)

    def drop(self, name: str) -> str:
        """Delete a draft and return its id."""
        row = self._row(name)
        with self._archive.commit():
            self._archive.drop("draft", row["id"])
        return str(row["id"])

    def approve(self, name: str, wire: bytes, now: int) -> Approved:
        """Verify and keep a second officer's approval; E_SIGNER where it is by the officer who keeps the draft."""
        row = self._row(name)
        draft = _read_row(row)
        found = self._approved(wire, self._subject(draft), now)
        approval.check_other(found, officer=draft.officer, kid="")
        with self._archive.commit():
            self._archive.change("draft", row["id"], {}, {"approval": wire})
        return found

    # What is shown of them

    def listed(self, now: int) -> list[dict[str, Any]]:
        """Return what is not sent yet, the newest first, without the texts."""
        rows = sorted(self._open(), key=lambda row: row["changed"], reverse=True)
        return [self._shown(row, now) for row in rows]

    def shown(self, name: str, now: int) -> dict[str, Any]:
        """Return one draft whole; ``subject`` is what a second officer signs, {} while the text has no encoding."""
        row = self._row(name)
        draft = _read_row(row)
        try:
            subject = asdict(self._subject(draft))
        except Refused:
            subject = {}
        return {**self._shown(row, now), "text": draft.text, "subject": subject}

    def _shown(self, row: Row, now: int) -> dict[str, Any]:
        draft = _read_row(row)
        approved = {}
        if row["approval"]:
            try:
                found = self._approved(row["approval"], self._subject(draft), now)
                approved = {"officer": found.officer, "at": found.at, "proof": found.sid}
            except Refused:
                pass  # what was approved is something else by now: it is shown as not approved
        return {
            "draft": row["id"],
            "changed": row["changed"],
            **{one.name: getattr(draft, one.name) for one in fields(Draft) if one.name != "text"},
            "needs": self._why(draft),
            "approved": approved,
        }

    def _why(self, draft: Draft) -> str:
        stated = forms.statement_kind(draft.kind)
        return approval.why(stated, draft.kind, draft.document, draft.priority, self._policy)

    # Sending

    def permit(self, name: str, opened: Opened, now: int) -> None:
        """Refuse to send what lacks the approval that it needs, and a draft that was sent already.

        *name* is the draft that is sent, "" for a text that was none. Failed (77) without an approval; E_SIGNER,
        E_BINDING for one that does not verify, is by the signer, or is of something else.
        """
        stated, top = opened.statement, opened.header
        kind = forms.kind_of(stated["body_type"]) or ""
        row = self._row(name, sending=stated.sid) if name else None
        try:
            document = compose.read_document(opened.body)
        except Refused:
            document = {}  # a note in plain text
        need = approval.why(stated["kind"], kind, document, top.priority, self._policy)
        if not need:
            return
        if row is None or not row["approval"]:
            which = name or "ID"
            raise Failed(
                need,
                hint=f"Another officer types: desk approve {which}"
                + ("" if name else "\n(Keep it as a draft first: type the same with --draft)"),
                exit_code=errors.NO_PERMISSION,
            )
        subject = Subject(
            body_sha256=stated["body_sha256"],
            body_type=stated["body_type"],
            to=top.to,
            backup=top.backup,
            thread=self._root(stated["thread"]),
            priority=top.priority,
            mode=top.mode,
            attachments=len(stated["attachments"]),
        )
        found = self._approved(row["approval"], subject, now)
        approval.check_other(found, officer=opened.member.officer, kid=stated.signer)

    def mark(self, name: str, sid: str) -> None:
        """Note under which statement a draft goes out; just before that message is kept."""
        if name:
            row = self._row(name, sending=sid)
            with self._archive.commit():
                self._archive.change("draft", row["id"], {"sid": sid})

    def approved(self, sid: str) -> Approved | None:
        """Return the approval with which a message was sent, verified anew; None if it had none, or it fails."""
        for row in sound(self._archive, "draft", "sid = ?", (sid,)):
            letter = self._letters.get(sid)
            if not row["approval"] or letter is None:
                continue
            try:
                subject = self._subject(_read_row(row), letter.header.backup)
                return self._approved(row["approval"], subject, letter.received, over=True)
            except Refused:
                return None
        return None

    # Inside

    def _approved(self, wire: bytes, subject: Subject, now: int, *, over: bool = False) -> Approved:
        directory, desk = self._roster.directory, self._roster.desk
        return approval.read(wire, subject, directory=directory, desk=desk, now=now, over=over)

    def _subject(self, draft: Draft, backup: str | None = None) -> Subject:
        """Return what a second officer approves of a draft, as things stand now."""
        if backup is None:
            backup = self._backup(draft)
        return Subject(
            body_sha256=suite.sha256(encode(draft.document)).hex(),
            body_type=forms.body_type(draft.kind),
            to=draft.to,
            backup=backup,
            thread=self._thread(draft),
            priority=draft.priority,
            mode=draft.mode,
        )

    def _backup(self, draft: Draft) -> str:
        if draft.about or draft.backup == "-":
            return ""
        if draft.backup:
            return draft.backup
        card = self._roster.directory.desk(draft.to).card
        return compose.backup_of(card, draft.to, self._roster.desk)

    def _thread(self, draft: Draft) -> str:
        """Return the sid of the message in whose thread a draft will stand, as `desk write --about` chooses it."""
        if not draft.about:
            return ""
        letter = self._letters.get(draft.about)
        if letter is None or forms.statement_kind(draft.kind) in {"answer", "refusal"}:
            return draft.about
        return self._root(letter.statement["thread"]) or draft.about

    def _root(self, thread: str) -> str:
        """Return the sid of the message that a thread is named after; its id where this desk does not hold it."""
        letter: Letter | None = self._letters.of(thread) if thread else None
        return letter.sid if letter else thread

    def _open(self) -> list[Row]:
        return [row for row in sound(self._archive, "draft") if not self._sent(row)]

    def _sent(self, row: Row) -> bool:
        return bool(row["sid"]) and bool(self._archive.count("message", "id = ?", (row["sid"],)))

    def _row(self, name: str, *, sending: str = "") -> Row:
        """Find a draft by its id or the first six or more digits of it; E_UNKNOWN, or Failed (1) if it was sent."""
        wanted = name.strip().lower()
        rows: list[Row] = []
        if len(wanted) >= PREFIX_DIGITS_MIN and not wanted.strip("0123456789abcdef"):
            rows = self._archive.find("draft", "id >= ? AND id < ?", (wanted, wanted + "g"))
        if len(rows) != 1:
            raise Refused(
                Code.E_UNKNOWN,
                f"This desk has {len(rows) or 'no'} drafts whose id begins with {name[:20]!r}.",
                hint="`desk drafts` lists them.",
            )
        if rows[0]["sid"] != sending and self._sent(rows[0]):
            raise Failed(
                f"Draft {rows[0]['id']} was sent already.",
                hint=f"See: desk timeline {rows[0]['sid'][:10]}",
                exit_code=errors.REFUSED,
            )
        return rows[0]


def _read_row(row: Row) -> Draft:
    return Draft(**json.loads(row["value"]))


def _read(value: Mapping[str, Any]) -> Draft:
    names = {one.name for one in fields(Draft)}
    if set(value) != names or not all(isinstance(one, str) for one in value.values()):
        raise Refused(Code.E_DOCUMENT, f"A draft has these texts: {', '.join(sorted(names))}.")
    draft = Draft(**value)
    if draft.kind not in forms.KINDS or draft.priority not in PRIORITIES or draft.mode not in MODES:
        raise Refused(
            Code.E_DOCUMENT,
            "A draft names a kind of document, a priority and a mode that exist.",
            hint="`desk schema` lists the kinds.",
        )
    if len(draft.text.encode()) > TEXT_BYTES_MAX or draft.document.get("kind") != draft.kind:
        raise Refused(
            Code.E_DOCUMENT, f"The text of this draft is no document of kind {draft.kind}."
        )
    return draft
