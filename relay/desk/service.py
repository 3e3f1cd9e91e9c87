"""The running desk: its rooms put together, and the verbs with which a command line or a console asks it.

Every verb takes and returns values of strict JSON. An officer's key never comes here: what an officer signs is signed
where the officer sits, and is handed over as {header, statement, body}; this desk checks it exactly as its recipient
will, keeps it, seals it for whoever is in force, sends it, and seals it again when the roster has changed.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import decode, peek, unb64u
from relay.desk import spool
from relay.desk.agenda import Agenda
from relay.desk.archive import Archive
from relay.desk.aside import Aside
from relay.desk.carrier import Carrier
from relay.desk.clock import Clock, ComparedClock, wrong
from relay.desk.dial import Dial
from relay.desk.downloads import Downloads
from relay.desk.drafting import Drafting
from relay.desk.drafts import Drafts
from relay.desk.handed import as_the_recipient, check_clock
from relay.desk.inbox import Inbox
from relay.desk.intake import Intake, said
from relay.desk.letters import NOTHING, Letter, Letters, Way
from relay.desk.link import Link
from relay.desk.lives import Lives
from relay.desk.mailroom import Mailroom
from relay.desk.margin import Margin
from relay.desk.matter_views import MatterViews
from relay.desk.matters import Matters
from relay.desk.notes import Notes
from relay.desk.outbox import Outbox
from relay.desk.reading import Reading
from relay.desk.records import Records
from relay.desk.roster import REFRESH_BEFORE_SENDING_S, Roster, telephone
from relay.desk.spool import Spool
from relay.desk.transfers import Transfers
from relay.desk.uploads import Uploads
from relay.desk.views import Views
from relay.desk.vigil import Vigil
from relay.desk.watching import Watching
from relay.wire.envelope import Header

HUMAN = frozenset({"acknowledged", "declined", "closed", "withdrawn"})
"""What an officer signs and hands over with the verb ``record``."""

Event = dict[str, Any]
log = structlog.get_logger(__name__)


class Desk(Drafting, Reading):
    """One device of one desk, over one archive and one way to the relay."""

    def __init__(
        self,
        *,
        desk: str,
        service: str,
        device: Signer,
        archive: Archive,
        clock: Clock,
        dial: Dial,
        carrier: Carrier | None = None,
        policy: Collection[str] = (),
        clocks: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Put the rooms together; nothing is sent before :meth:`run`. *device* signs machine acts only.

        Attachments stand beside the archive, and go by *carrier*; without one they wait. *policy*: see ``approval``.
        *clocks*: this desk's own, which count where they are stricter than those of ``documents/clocks.json``.
        """
        self._archive = archive
        self._device = device
        self._clock = ComparedClock(clock)
        self._notes = Notes(archive)
        self._letters = Letters(archive)
        self._roster = Roster(archive, desk=desk, service=service, device=device)
        self._records = Records(archive, self._roster)
        shelves = self._roster, self._records, self._letters
        drafts = Drafts(archive, self._letters, self._roster, policy)
        super().__init__(drafts, self._letters, self._roster, self._clock)
        lives = Lives(*shelves)
        self._aside = Aside(archive, self._notes, self._clock, self._tell)
        self._matters = Matters(archive, *shelves, clocks)
        self._matter_views = MatterViews(self._matters)
        self._agenda = Agenda(archive, self._roster, self._matters, self._notes, self._aside)
        self._vigil = Vigil(
            archive, *shelves[::2], lives, self._notes, self._aside, self._agenda.touch
        )
        self._inbox = Inbox(archive, *shelves, self._notes, self._vigil, device)
        self._outbox = Outbox(
            *(archive, *shelves, self._notes),
            vigil=self._vigil,
            aside=self._aside,
            device=device,
            clock=self._clock,
        )
        self._intake = Intake(
            *(archive, self._records, self._letters, self._outbox),
            *(self._notes, lives, self._vigil),
            desk=desk,
        )
        self._spool = Spool(spool.beside(archive.path))
        files = archive, self._spool, self._letters
        self._uploads = Uploads(*files, self._outbox, self._notes, self._clock)
        self._downloads = Downloads(*files, self._notes, self._clock)
        self._transfers = Transfers(
            *(archive, self._spool, self._uploads, self._downloads),
            *(self._clock, self._aside, carrier, self._tell),
        )
        self._views = Views(
            *(*shelves, self._outbox, lives, self._vigil, Margin(self._letters, drafts)),
            enclosed=self._transfers.shown,
        )
        self._watching = Watching()
        self._stopping = asyncio.Event()
        mailroom = Mailroom(
            *(self._clock, self._roster, self._inbox, self._intake),
            *(self._notes, self._aside, device, self._tell),
        )
        self._link = Link(
            dial=dial,
            clock=self._clock,
            archive=archive,
            roster=self._roster,
            records=self._records,
            letters=self._letters,
            mailroom=mailroom,
            outbox=self._outbox,
            notes=self._notes,
            aside=self._aside,
            transfers=self._transfers,
            device=device,
            tell=self._tell,
        )

    def begin(self, root: bytes) -> None:
        """Take the trust anchor (the directory's first root document) into an archive that has none yet."""
        self._roster.begin(root)

    async def run(self) -> None:
        """Keep the line to the relay until :meth:`stop`. Failed if the archive breaks: nothing is promised then."""
        self._transfers.begin()
        self._aside.look()
        parts = [
            asyncio.ensure_future(self._link.run()),
            asyncio.ensure_future(self._vigil.run(self._clock, self._tell)),
            asyncio.ensure_future(self._agenda.run(self._clock, self._tell)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await self._transfers.close()
            self._watching.end()

    async def stop(self) -> None:
        """End :meth:`run`. Whatever was begun is in the archive and goes on with the next run."""
        self._stopping.set()

    def _tell(self, event: Event) -> None:
        told = self._views.told({"at": self._clock.now(), **event})
        shown = {name: value for name, value in told.items() if name not in {"event", "at"}}
        say = log.warning if told["event"] in {"alarm", "aside"} else log.info
        say(str(told["event"]), **shown)
        self._watching.tell(told)

    # How the desk stands

    async def status(self) -> dict[str, Any]:
        """Return what this desk is, whether it is connected, what it trusts and what waits."""
        known = self._roster.known
        directory = self._roster.directory if known else None
        return {
            "desk": self._roster.desk,
            "device": self._device.kid,
            "connected": self._link.connected,
            "relay": self._roster.service,
            "instance": self._link.instance,
            "last_error": "" if self._link.connected else self._link.last_error,
            "directory": {
                "version": directory.version if directory else 0,
                "expires": directory.expires if directory else 0,
                "fresh": bool(directory and directory.fresh(self._clock.own())),
            },
            "outbox": self._outbox.waiting(),
            "receipts": self._records.waiting(),
            "parked": len(self._inbox.parked()),
            "inbox": {"unacknowledged": self._letters.unacknowledged()},
            "clock_offset": self._clock.offset,
            "now": self._clock.now(),
            "prekeys_until": self._roster.prekeys_until(),
            "alarms": self._views.alarms(self._clock.now()),
            "matters_due": self._agenda.standing(self._clock.now()),
            "aside": self._aside.shown(),
            "notes": self._notes.last(5),
        }

    def watch(self) -> AsyncIterator[Event]:
        """Yield events as they happen, until the desk stops: message, statement, connected, parked, refused ..."""
        return self._watching.follow()

    # Before sending

    async def recipients(self, to: str, backup: str) -> dict[str, Any]:
        """Return what an officer sees of a desk before sealing for it.

        Raises E_WRONG_DESK, E_DESK_KEY_CHANGED or E_DIRECTORY. An expired directory is a warning here; ``send`` refuses
        it unless the officer overrides.
        """
        await self._refresh()
        directory, own_now = self._roster.directory, self._clock.own()
        warnings: list[str] = []
        for desk in [to, *([backup] if backup else [])]:
            try:
                directory.sendable(desk, own_now)
            except Refused as refused:
                if refused.code is not Code.E_DIRECTORY_STALE:
                    raise
                warnings.append(self._stale(refused))
            await self._fetch_prekeys(desk)
        entry, now = directory.desk(to), self._clock.now()
        if not self._roster.prekeys_of(to, now):
            warnings.append(
                f"No device of {to} could open a message now. Telephone: {telephone(entry)}"
            )
        if 0 < entry.expires < own_now:
            warnings.append(f"The entry of {to} in the directory is past its date.")
        return {
            "desk": to,
            "backup": backup,
            "card": dict(entry.card),
            "devices": [
                {"device": one.device_kid, "officer": one.officer} for one in entry.active(now)
            ],
            "fingerprint": list(entry.desk_kids),
            "telephone": telephone(entry),
            "fresh": directory.fresh(own_now),
            "now": now,
            "warnings": list(dict.fromkeys(warnings)),
        }

    async def _refresh(self) -> None:
        session = self._link.session
        if session is None:
            return
        if self._clock.own() - self._roster.refreshed_at > REFRESH_BEFORE_SENDING_S:
            try:
                await self._roster.refresh(session.ask, self._clock.own())
            except (Refused, OSError):
                return  # what is trusted stays; if it is past its date, that is said

    async def _fetch_prekeys(self, desk: str) -> None:
        session = self._link.session
        if session is None:
            return
        try:
            await self._roster.fetch_prekeys(session.ask, desk, self._clock.now())
        except (Refused, OSError):
            return  # those at hand are used

    def _stale(self, refused: Refused) -> str:
        if not self._clock.offset:
            return str(refused)
        return f"{refused} {wrong(self._clock.offset)}"

    # Sending

    async def send(
        self,
        header: str,
        statement: str,
        body: str,
        *,
        cek: str = "",
        staged: str = "",
        draft: str = "",
        override_stale: bool = False,
    ) -> dict[str, Any]:
        """Keep an officer's signed message in the outbox and send it; return its id and its statement's sid.

        All three are base64url. A repeat of the same statement changes nothing and returns the same. While the message
        cannot be sealed yet, ``msg`` is the statement's sid, which every verb understands too. Raises whatever its
        recipient would find wrong with it, E_DIRECTORY_STALE (unless *override_stale*), E_DESK_KEY_CHANGED.
        *cek* and *staged*: the content key (base64url) under which attachments were sealed, and the folder where.
        *draft*: the draft that is sent. Failed (77) where a second officer has not approved what needs it.
        """
        top, wire, text = Header.decode(unb64u(header)), unb64u(statement), unb64u(body)
        await self._refresh()
        check_clock(top.created, self._clock)
        now = self._clock.now()
        opened = as_the_recipient(
            top, wire, text, roster=self._roster, device=self._device, now=now
        )
        self._drafts.permit(draft, opened, now)
        stale = False
        try:
            self._roster.directory.sendable(top.to, self._clock.own())
        except Refused as refused:
            if refused.code is not Code.E_DIRECTORY_STALE:
                raise
            if not override_stale:
                raise Refused(
                    refused.code,
                    refused.text,
                    hint=self._stale(refused)[len(refused.text) :].strip(),
                ) from None
            stale = True
        sid, key = opened.statement.sid, unb64u(cek)
        moves = []
        if self._outbox.get(sid) is None:
            moves = await self._uploads.check(staged, opened.statement, key)
        now = self._clock.now()
        letter = Letter(
            sid, Way.SENT, now, False, NOTHING, top, opened.statement, text, opened.member.officer
        )
        if self._outbox.get(sid) is None:  # nothing is awaited from here to the commit
            self._spool.take(moves)
        self._drafts.mark(draft, sid)
        self._outbox.add(letter, stale=stale, cek=key)
        if stale:
            told = "An officer sends this although the directory is past its date."
            self._tell(self._notes.add(now, "override", sid, Code.E_DIRECTORY_STALE, told))
        session = self._link.session
        msg = await self._outbox.prepare(sid, session.ask if session else None)
        self._link.wake()
        return {"msg": msg or sid, "statement": sid, "sealed": bool(msg)}

    async def record(self, statement: str) -> dict[str, Any]:
        """Keep what an officer of this desk signed about a message, and post it until the relay has recorded it.

        Raises E_UNKNOWN for a message that is not here, E_SIGNER, E_BINDING and the other codes of a statement that
        does not verify.
        """
        wire = unb64u(statement)
        found = peek(wire)
        if found.kind not in HUMAN:
            raise Refused(
                Code.E_TYPE,
                f"A statement of kind {found.kind!r} is not an officer's act on a message.",
            )
        msg = str(decode(found.payload).get("msg", ""))
        letter = self._letters.of(msg)
        if letter is None:
            raise Refused(Code.E_UNKNOWN, f"This desk holds no message {msg[:16]}.")
        proven = self._records.prove(wire, letter.about)
        signed = proven.statement
        now = self._clock.now()
        if (
            proven.desk != self._roster.desk
            or proven.member is None
            or not proven.member.active(now)
        ):
            raise Refused(
                Code.E_SIGNER,
                f"The signer is not an officer of {self._roster.desk} who is in force now.",
            )
        check_clock(proven.at, self._clock)
        if not self._records.holds(signed.sid):
            with self._archive.commit():
                self._intake.keep(proven, now, mine=True)
                if self._never_left(letter, signed.kind):
                    self._outbox.withdraw(letter.sid)
                else:
                    self._records.post(signed, letter.header.expires)
            self._tell(said(proven))
            self._link.wake()
        return {"msg": msg, "kind": signed.kind, "statement": signed.sid}

    def _never_left(self, letter: Letter, kind: str) -> bool:
        """Whether a message is withdrawn before the first byte of it left: then no relay needs to hear of it."""
        sending = self._outbox.get(letter.sid)
        return kind == "withdrawn" and sending is not None and sending.attempts == 0

    async def backup(self, path: str) -> dict[str, Any]:
        """Write a sealed copy of the archive, without prekey secrets; never over a file that is there."""
        return self._archive.backup(Path(path))
