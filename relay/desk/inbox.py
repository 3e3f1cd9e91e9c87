"""What comes in: opened once, checked in full, kept, and receipted; or parked; or refused (PROTOCOL 9.4).

::

    copy -> open_message (every check, in its order) -> replay cache -> ONE commit of
            message, message id, replay entry, submission, accepted, delivered   -> and only then is `delivered` posted

Attachments are fetched afterwards; `delivered` does not wait for them (:mod:`relay.desk.downloads`).

Nothing is shown before that commit, and nothing is posted before it. A crash on either side of it repeats a step that
changes nothing the second time.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Signer
from relay.desk.archive import Archive, Row
from relay.desk.attachments import Attachments
from relay.desk.letters import ACKNOWLEDGE, NOTHING, READ, SETTLING, Alias, Letter, Letters, Way
from relay.desk.notes import Notes
from relay.desk.records import Records, sid_of
from relay.desk.roster import Roster
from relay.desk.vigil import Vigil
from relay.wire import content, envelope, receipt
from relay.wire.content import Opened
from relay.wire.envelope import EXPIRY_SECONDS_MAX, Header
from relay.wire.receipt import PICKUP_MAX

PARKED_AGAIN_S = 60
"""A parked copy is tried again after this long, and after every refresh of the directory."""
GONE_AGAIN_S_MAX = 3600
GONE_TRIES_MAX = 10
"""How often a message is asked for that the relay announces and does not give; after 1, 2, 4 ... 60 minutes."""
PARKED_MAX = 4096
"""Copies that wait in all; a relay that announces more has invented them."""
PARKED_WHOLE_MAX = 256
"""Copies that wait with their bytes; more of them are fetched again when they are tried again."""
QUIET = Code.E_NOT_FOR_ME
"""Not sealed for this device: it was enrolled later, or its prekey is gone. No receipt is due, and nobody is told."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copy:
    """One message as the relay gave it for a pickup; all three empty if the relay has it no more."""

    msg: str
    submission: bytes = field(repr=False)
    accepted: bytes = field(repr=False)
    envelope: bytes = field(repr=False)


class Taken(StrEnum):
    """What became of a copy."""

    SHOWN = "shown"
    AGAIN = "again"
    """Another copy of a text that was shown before: receipted, not shown."""
    OWN = "own"
    KNOWN = "known"
    """The same copy once more: nothing changes."""
    PARKED = "parked"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a copy, and what to tell whoever watches (None: nothing)."""

    taken: Taken
    event: Event | None = None


class Inbox:
    """The way in of one device."""

    def __init__(
        self,
        archive: Archive,
        roster: Roster,
        records: Records,
        letters: Letters,
        notes: Notes,
        vigil: Vigil,
        device: Signer,
    ) -> None:
        """Stand on the archive's shelves; *device* signs ``delivered`` and ``failed``."""
        self._archive = archive
        self._roster = roster
        self._records = records
        self._letters = letters
        self._notes = notes
        self._vigil = vigil
        self._device = device
        self._attachments = Attachments(archive)

    def known(self, msg: str) -> bool:
        """Whether this copy needs not be fetched: opened, sent from here, failed for good, or parked with its bytes."""
        if self._letters.alias(msg) or self._records.failed_here(msg):
            return True
        parked = self._archive.get("parked", msg)
        return parked is not None and bool(parked["envelope"])

    def take(self, copy: Copy, now: int) -> Result:
        """Take one copy in. *now*: seconds UTC. Raises E_BINDING if the relay gave other bytes than were asked for."""
        if self.known(copy.msg):
            return Result(Taken.KNOWN)
        if not copy.envelope:
            return self._gone(copy.msg, now)
        if suite.sha256(copy.envelope).hex() != copy.msg:
            raise Refused(
                Code.E_BINDING, "The relay gave another envelope than the one that was asked for."
            )
        return self._try(copy, now, since=now, tries=0)

    def due(self, now: int, *, all_of_them: bool = False) -> list[str]:
        """Return what is parked and to be tried now: what is due, or everything (the directory is another one)."""
        return [one["id"] for one in self.parked() if all_of_them or one["next_at"] <= now]

    def retry(self, msg: str, now: int) -> Result | None:
        """Try a parked copy again; None if its bytes are not here."""
        row = self._archive.get("parked", msg)
        if row is None or not row["envelope"]:
            return None
        copy = Copy(msg, row["submission"], row["accepted"], row["envelope"])
        return self._try(copy, now, since=row["since"], tries=row["tries"] + 1)

    def lay_by(self, copy: Copy, now: int) -> None:
        """Keep a copy that a fault of ours met with: it has not failed, and is tried again."""
        header = _header(copy.envelope)
        clear: dict[str, int | str] = {
            "code": "",
            "since": now,
            "expires": header.expires if header else now + EXPIRY_SECONDS_MAX,
            "tries": 0,
            "next_at": now + PARKED_AGAIN_S,
        }
        parts = {
            "submission": copy.submission,
            "accepted": copy.accepted,
            "envelope": copy.envelope,
        }
        with self._archive.commit():
            self._archive.put("parked", copy.msg, clear, parts)

    def wanted(self, now: int) -> list[str]:
        """Return messages that were announced, not given, and are to be asked for again now."""
        where = "next_at <= ? AND envelope = x''"
        rows = self._archive.find("parked", where, (now,), columns=(), limit=PICKUP_MAX)
        return [row["id"] for row in rows]

    def next_retry(self, without: Collection[str] = ()) -> int | None:
        """Return when the next parked copy is to be tried, seconds UTC; None if there is none but those *without*."""
        rows = self._archive.find("parked", order="next_at", limit=1 + len(without), columns=())
        return next((int(row["next_at"]) for row in rows if row["id"] not in without), None)

    # One copy

    def _try(self, copy: Copy, now: int, *, since: int, tries: int) -> Result:
        seeds = self._roster.seeds()
        try:
            opened = content.open_message(
                copy.envelope,
                copy.submission,
                desk=self._roster.desk,
                service=self._roster.service,
                seeds=seeds,
                directory=self._roster.directory,
                now=self._moment(copy, now, since),
            )
        except Refused as refused:
            return self._refused(copy, refused, now, since=since, tries=tries)
        return self._keep(copy, opened, now)

    def _moment(self, copy: Copy, now: int, since: int) -> int:
        """Return the time by which a copy is judged: one that came in its life and was parked has not expired here."""
        header = _header(copy.envelope)
        if header is None or since > header.expires:
            return now
        return min(now, header.expires)

    def _keep(self, copy: Copy, opened: Opened, now: int) -> Result:
        header, sid = opened.header, opened.statement.sid
        way = Way.OWN if opened.own else Way.RECEIVED
        shown_before = self._letters.seen(sid) or self._letters.get(sid) is not None
        letter = Letter(
            sid,
            way,
            now,
            opened.revoked,
            NOTHING if opened.own else _needs(header),
            header,
            opened.statement,
            opened.body,
            opened.member.officer,
        )
        delivered = None
        if not opened.own:
            fields = {"msg": copy.msg, "statement": sid, "desk": self._roster.desk, "at": now}
            delivered = receipt.make("delivered", fields, self._device)
        lie = ""
        with self._archive.commit():
            if not shown_before:
                self._letters.put(letter)
                self._letters.remember(sid, header.expires)
            self._attachments.expect(letter, opened.cek)
            self._letters.name(Alias(copy.msg, sid, way, now, header.expires))
            self._records.keep(opened.submission, header.sender, now)
            lie = self._keep_accepted(copy, now)
            if delivered is not None:
                self._records.keep(delivered, self._roster.desk, now, mine=True)
                self._records.post(delivered, header.expires)
            self._archive.drop("parked", copy.msg)
            self._check_what_came_before(copy.msg, letter)
            if shown_before and not opened.own:
                self._again(sid)
            self._vigil.keep(letter)
        if lie:
            self._notes.add(now, "refused", copy.msg, Code.E_SIGNER, lie)
        if opened.own:
            return Result(Taken.OWN)
        return (
            Result(Taken.AGAIN) if shown_before else Result(Taken.SHOWN, _shown(copy.msg, letter))
        )

    def _keep_accepted(self, copy: Copy, now: int) -> str:
        """Keep the relay's acceptance, verified or as what it is; return why it is not, if so."""
        try:
            accepted = self._roster.accepted(copy.accepted, copy.msg)
        except Refused as refused:
            sid, kind = sid_of(copy.accepted)
            if kind == "accepted":
                self._records.keep_unverified(sid, kind, copy.msg, copy.accepted, now)
            return f"The relay's acceptance does not verify. {refused}"
        self._records.keep(accepted, "", now)
        return ""

    def _check_what_came_before(self, msg: str, letter: Letter) -> None:
        """Statements about a message may come before it opens: compare them with it now."""
        for held in self._records.of([msg]):
            if held.verified and not held.mine and held.kind != "accepted":
                try:
                    self._records.prove(held.wire, letter.about)
                except Refused:
                    self._records.doubt(held.sid)

    def _again(self, sid: str) -> None:
        """A known text under a new id: its ladder runs again unless a person acknowledges that id too."""
        letter = self._letters.get(sid)
        if letter is None or _needs(letter.header) != ACKNOWLEDGE:
            return
        msgs = [alias.msg for alias in self._letters.aliases(sid)]
        if len(self._records.signed(msgs, self._roster.desk, SETTLING)) < len(msgs):
            self._letters.need(sid, ACKNOWLEDGE)

    # What does not open

    def _refused(self, copy: Copy, refused: Refused, now: int, *, since: int, tries: int) -> Result:
        header = None
        if refused.code not in {
            Code.E_VERSION,
            Code.E_ENCODING,
            Code.E_TOO_LARGE,
            Code.E_RECIPIENTS,
        }:
            header = envelope.parse(copy.envelope).header
        if refused.code in content.PARKABLE and header is not None and now <= header.expires:
            return self._park(copy, refused, now, since=since, tries=tries, expires=header.expires)
        for_me = header is not None and self._roster.desk in {header.to, header.backup}
        quiet = refused.code is QUIET and not self._roster.published(
            envelope.parse(copy.envelope).hints
        )
        silent = quiet or not for_me
        with self._archive.commit():
            self._archive.drop("parked", copy.msg)
            if not silent and header is not None:
                fields = {
                    "msg": copy.msg,
                    "desk": self._roster.desk,
                    "code": receipt.failure(refused.code),
                    "at": now,
                }
                failed = receipt.make("failed", fields, self._device)
                self._records.keep(failed, self._roster.desk, now, mine=True)
                self._records.post(failed, header.expires)
        kind = "skipped" if quiet else "refused" if silent else "failed"
        event = self._notes.add(now, kind, copy.msg, refused.code, str(refused))
        if kind == "skipped":
            return Result(Taken.SKIPPED)
        return Result(Taken.SKIPPED if silent else Taken.FAILED, event)

    def _park(
        self, copy: Copy, refused: Refused, now: int, *, since: int, tries: int, expires: int
    ) -> Result:
        if not tries and self._archive.count("parked", "expires > 0") >= PARKED_WHOLE_MAX:
            return self._gone(copy.msg, now)
        clear: dict[str, int | str] = {
            "code": refused.code.value,
            "since": since,
            "expires": expires,
            "tries": tries,
            "next_at": now + PARKED_AGAIN_S,
        }
        parts = {
            "submission": copy.submission,
            "accepted": copy.accepted,
            "envelope": copy.envelope,
        }
        with self._archive.commit():
            self._archive.put("parked", copy.msg, clear, parts)
        if tries:
            return Result(Taken.PARKED)
        event = self._notes.add(now, "parked", copy.msg, refused.code, str(refused))
        return Result(Taken.PARKED, event)

    def mistrust(self, msg: str, now: int) -> None:
        """The relay gave other bytes than were asked for: ask again later, and do not wait for it."""
        self._gone(msg, now)

    def _gone(self, msg: str, now: int) -> Result:
        row = self._archive.get("parked", msg)
        tries = row["tries"] + 1 if row else 0
        room = row is not None or self._archive.count("parked") < PARKED_MAX
        if tries < GONE_TRIES_MAX and room:
            clear: dict[str, int | str] = {
                "code": Code.E_UNKNOWN.value,
                "since": row["since"] if row else now,
                "expires": 0,
                "tries": tries,
                "next_at": now + min(PARKED_AGAIN_S << tries, GONE_AGAIN_S_MAX),
            }
            nothing = {"submission": b"", "accepted": b"", "envelope": b""}
            with self._archive.commit():
                self._archive.put("parked", msg, clear, nothing)
            return Result(Taken.PARKED)
        with self._archive.commit():
            self._archive.drop("parked", msg)
        text = "The relay announced this message and does not give it: it was purged, or is not for this desk."
        self._notes.add(now, "skipped", msg, Code.E_UNKNOWN, text)
        return Result(Taken.SKIPPED)

    def parked(self) -> list[Row]:
        """Return what is parked, without its bytes."""
        return self._archive.find("parked", columns=(), order="since")


def _header(sealed: bytes) -> Header | None:
    try:
        return envelope.parse(sealed).header
    except Refused:
        return None


def _needs(header: Header) -> int:
    if header.mode == "test":
        return NOTHING
    return ACKNOWLEDGE if header.ack_by else READ


def _shown(msg: str, letter: Letter) -> Event:
    """Return the event of a new message: what its header says, and its kind and thread; never content."""
    header = letter.header
    return {
        "event": "message",
        "msg": msg,
        "statement": letter.sid,
        "thread": letter.statement["thread"],
        "kind": letter.statement["kind"],
        "from": header.sender,
        "to": header.to,
        "priority": header.priority,
        "mode": header.mode,
        "ack_by": header.ack_by,
        "revoked": letter.revoked,
        "attachments": len(letter.statement["attachments"]),
    }
