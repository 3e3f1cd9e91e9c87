"""What goes out: kept before it is sent, and kept until somebody at the other end has it (PROTOCOL 9.3, 11.2).

::

    uploading --> waiting --(sealed, submitted)--> accepted --(delivered, or a terminal statement)--> done
       ^             ^                                |
       '-------------'------ another store epoch -----'      refused: no repeat can help; the officer is told

Everything that a repeat needs is kept in one commit before the first byte leaves: the same envelope goes out again and
again until the relay's signed ``accepted`` is here. A re-seal (a device was enrolled or revoked, or nobody could open
the first copy) changes stanzas only: header, content key, statement, body and attachments stay, and no officer is
needed. A message with attachments waits (*uploading*) until the relay has them; :mod:`relay.desk.uploads` sees to that.
"""

import asyncio
import contextlib
from typing import Any

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import decode, peek
from relay.desk import proof
from relay.desk.archive import Archive
from relay.desk.aside import OUTBOX, Aside
from relay.desk.attachments import Attachments
from relay.desk.clock import ComparedClock
from relay.desk.letters import Alias, Letter, Letters, Way
from relay.desk.notes import Notes
from relay.desk.records import Records
from relay.desk.roster import REFRESH_BEFORE_SENDING_S, Ask, Roster, TurnedDown, telephone
from relay.desk.sending import Sending, submission
from relay.desk.shelves import ACCEPTED, DONE, REFUSED, UPLOADING, WAITING
from relay.desk.vigil import Vigil
from relay.wire import content, frames
from relay.wire.envelope import Header
from relay.wire.frames import Type

SETTLED = frozenset({"delivered", "acknowledged", "declined", "closed", "withdrawn", "expired"})
"""Kinds after which nothing needs to be sent again: somebody has it, or it has come to its end."""
SUBMISSION_S_MAX = 120
"""A submission older than this is signed anew before it is sent: the relay takes none beyond 300 s."""
EXPIRED_KEPT_S = 86_400
"""An expired message that a relay may have is asked for this much longer: its acceptance is a proof (PROTOCOL 11.2)."""
HELD_S = 30
"""What could not be sent is tried again after this long; at once when the link has come back."""
RESEALS_MAX = 4
"""Re-seals in one attempt; a roster that changes faster than that is waited out."""
_RANK = {"emergency": 0, "urgent": 1, "routine": 2}
_FINAL = frozenset(
    {
        Code.E_VERSION,
        Code.E_ENCODING,
        Code.E_TOO_LARGE,
        Code.E_TYPE,
        Code.E_KEY,
        Code.E_SIGNATURE,
        Code.E_EXPIRED,
        Code.E_BINDING,
        Code.E_BLOB_MISSING,
    }
)
"""Refusals of the relay that no repeat of the same message can change."""

Event = dict[str, Any]


class Outbox:
    """The way out of one device."""

    def __init__(
        self,
        archive: Archive,
        roster: Roster,
        records: Records,
        letters: Letters,
        notes: Notes,
        *,
        vigil: Vigil,
        aside: Aside,
        device: Signer,
        clock: ComparedClock,
    ) -> None:
        """Stand on the archive's shelves; *device* signs submissions, *vigil* watches over what is sent."""
        self._archive = archive
        self._roster = roster
        self._records = records
        self._letters = letters
        self._notes = notes
        self._vigil = vigil
        self._aside = aside
        self._device = device
        self._clock = clock
        self._attachments = Attachments(archive)
        self._turn = asyncio.Lock()

    def add(self, letter: Letter, *, stale: bool, cek: bytes = b"") -> None:
        """Keep a signed message to be sent; one commit, and a repeat changes nothing.

        *cek*: the content key, if attachments were sealed under it before.
        """
        if self._archive.count("outbox", "id = ?", (letter.sid,)):
            return
        header = letter.header
        clear: dict[str, int | str] = {
            "msg": "",
            "state": UPLOADING if letter.statement["attachments"] else WAITING,
            "rank": _RANK[header.priority],
            "attempts": 0,
            "next_at": 0,
            "created": header.created,
            "expires": header.expires,
            "replaces": "",
            "resent": 0,
            "stale": int(stale),
        }
        cek = cek or suite.random_bytes(suite.CEK_BYTES)
        with self._archive.commit():
            self._letters.put(letter)
            self._letters.remember(letter.sid, header.expires)
            self._archive.put(
                "outbox",
                letter.sid,
                clear,
                {"cek": cek, "envelope": b"", "submission": b"", "reason": b""},
            )
            self._attachments.send(letter, cek)
            self._vigil.keep(letter)

    def get(self, sid: str) -> Sending | None:
        """Return what is known of a message's way out; None if it was not sent from here."""
        row = self._archive.get("outbox", sid)
        if row is None:
            return None
        letter = self._letters.get(sid)
        assert letter is not None, "A message and its outbox row are written in one commit."
        return Sending.of(row, letter)

    def waiting(self) -> int:
        """Return how many messages nobody at the other end has yet."""
        return self._archive.count("outbox", "state IN (?, ?, ?)", (UPLOADING, WAITING, ACCEPTED))

    def next_at(self) -> int | None:
        """Return when the next message is to be sent, seconds UTC; None if none waits."""
        left = self._aside.rows(OUTBOX)
        rows = self._archive.find(
            "outbox", "state = ?", (WAITING,), order="next_at", limit=1 + len(left), columns=()
        )
        return next((int(row["next_at"]) for row in rows if row["id"] not in left), None)

    # Sending

    async def send_due(self, ask: Ask) -> list[Event]:
        """Send what is due, emergencies first; one that is refused never stands in the way of the next."""
        now = self._clock.now()
        rows = self._archive.find(
            "outbox",
            "state = ? AND next_at <= ?",
            (WAITING, now),
            order="rank, created, id",
            columns=(),
        )
        events: list[Event] = []
        for row in rows:
            if not self._aside.left(OUTBOX, row["id"]):
                with self._aside.around(OUTBOX, row["id"], row["msg"] or row["id"]):
                    events.extend(await self._send(ask, row["id"]))
        return events

    async def prepare(self, sid: str, ask: Ask | None) -> str:
        """Seal a message that was just added, if that can be done now; return its id, or "" while it has none.

        *ask* None: the line is down, and the prekeys at hand are used; a stale roster is mended when it is back.
        """
        async with self._turn:
            sending = self.get(sid)
            if sending is None or sending.envelope or sending.state not in {UPLOADING, WAITING}:
                return sending.msg if sending else ""
            if ask is not None:
                with contextlib.suppress(Refused, OSError):  # then those at hand are used
                    await self._fetch(ask, sending.letter.header)
            try:
                self._sign(sending.letter, self._sealed(sending), sending.replaces)
            except Refused:
                return ""  # the link seals it when it sends it, and says why if it cannot
            ready = self.get(sid)
            return ready.msg if ready else ""

    async def _send(self, ask: Ask, sid: str) -> list[Event]:
        async with self._turn:
            return await self._send_in_turn(ask, sid)

    async def _send_in_turn(self, ask: Ask, sid: str) -> list[Event]:
        for _attempt in range(RESEALS_MAX):
            sending = self.get(sid)
            if sending is None or sending.state != WAITING:
                return []
            try:
                return await self._submit(ask, sending)
            except Refused as refused:
                try:
                    if not await self._mend(ask, sid, refused):
                        return self._put_off(sid, refused)
                except Refused as worse:
                    return self._put_off(sid, worse)
        return self._put_off(
            sid,
            Refused(
                Code.E_STALE_ROSTER,
                "The recipient's roster changes faster than it can be sealed for.",
            ),
        )

    async def _submit(self, ask: Ask, sending: Sending) -> list[Event]:
        now, header = self._clock.now(), sending.letter.header
        if now > header.expires and not sending.attempts:
            raise Refused(Code.E_EXPIRED, "The message expired before any relay accepted it.")
        await self._refresh(ask)
        self._check_sendable(sending)
        if not sending.envelope:
            await self._seal(ask, sending, sending.replaces)
        elif self._age(sending, now) > SUBMISSION_S_MAX:
            self._sign(sending.letter, sending.envelope, sending.replaces)
        ready = self.get(sending.letter.sid)
        if ready is None or ready.state != WAITING:
            return []
        with self._archive.commit():
            self._archive.change("outbox", ready.letter.sid, {"attempts": ready.attempts + 1})
        answer = await ask(Type.SUBMIT, frames.join(ready.submission, ready.envelope))
        return [self._accepted(ready, answer)]

    async def _refresh(self, ask: Ask) -> None:
        if self._clock.own() - self._roster.refreshed_at <= REFRESH_BEFORE_SENDING_S:
            return
        try:
            await self._roster.refresh(ask, self._clock.own())
        except Refused:
            # What was trusted stays in force, and says itself when it is past its date; the link tells the rest.
            return

    def _check_sendable(self, sending: Sending) -> None:
        try:
            self._roster.directory.sendable(sending.letter.header.to, self._clock.own())
        except Refused as refused:
            if refused.code is not Code.E_DIRECTORY_STALE or not sending.stale:
                raise

    def _accepted(self, sending: Sending, answer: bytes) -> Event:
        """Believe the relay's signature alone, and only for a submission that was made here."""
        accepted = self._roster.accepted(answer, sending.msg)
        if not self._records.holds(accepted["submission"]):
            raise Refused(
                Code.E_PROOF, "The relay's acceptance names a submission that was not made here."
            )
        sid, now = sending.letter.sid, self._clock.now()
        with self._archive.commit():
            self._records.keep(accepted, "", now)
            self._archive.change("outbox", sid, {"state": ACCEPTED}, {"reason": b""})
            self.settle(sid)
            self._vigil.heard(sending.letter)
        return {
            "event": "statement",
            "kind": "accepted",
            "msg": sending.msg,
            "statement": accepted.sid,
        }

    # Sealing

    async def _seal(self, ask: Ask, sending: Sending, replaces: str) -> None:
        """Seal for whoever is in force now: the recipient, this desk, the backup, the archive key (PROTOCOL 9.3)."""
        await self._fetch(ask, sending.letter.header)
        self._sign(sending.letter, self._sealed(sending), replaces)

    async def _fetch(self, ask: Ask, header: Header) -> None:
        now = self._clock.now()
        for desk in (header.to, header.sender, *([header.backup] if header.backup else [])):
            await self._roster.fetch_prekeys(ask, desk, now)

    def _sealed(self, sending: Sending) -> bytes:
        """Return the envelope for the prekeys at hand; E_RECIPIENTS, with whom to call, if nobody could open it."""
        letter, header, now = sending.letter, sending.letter.header, self._clock.now()
        keys = self._roster.prekeys_of(header.to, now)
        if not keys:
            entry = self._roster.directory.desk(header.to)
            raise Refused(
                Code.E_RECIPIENTS,
                f"No device of {header.to} has a prekey that is valid now: nobody there could open the message.",
                hint=f"It is tried again by itself. Telephone: {telephone(entry)}",
            )
        keys += self._roster.prekeys_of(header.sender, now)
        if header.backup:
            keys += self._roster.prekeys_of(header.backup, now)
        if self._roster.me.archive:
            keys.append(self._roster.me.archive)
        unique = list(dict.fromkeys(keys))
        return content.seal(header, letter.statement.wire, letter.body, sending.cek, unique)

    def _sign(self, letter: Letter, sealed: bytes, replaces: str) -> None:
        """Sign a submission of this envelope and keep both, with the message id, before anything leaves."""
        now, sid = self._clock.now(), letter.sid
        msg = suite.sha256(sealed).hex()
        handed_in = submission(
            letter,
            sealed,
            service=self._roster.service,
            replaces=replaces,
            now=now,
            device=self._device,
        )
        with self._archive.commit():
            self._archive.change(
                "outbox",
                sid,
                {"msg": msg, "replaces": replaces},
                {"envelope": sealed, "submission": handed_in.wire},
            )
            if self._letters.alias(msg) is None:
                self._letters.name(Alias(msg, sid, Way.SENT, now, letter.header.expires))
            self._records.keep(handed_in, self._roster.desk, now, mine=True)

    @staticmethod
    def _age(sending: Sending, now: int) -> int:
        return abs(now - _created(sending.submission))

    # What the relay refused

    async def _mend(self, ask: Ask, sid: str, refused: Refused) -> bool:
        """Do what makes a repeat right; False if only time or a person can."""
        sending = self.get(sid)
        if sending is None or not isinstance(refused, TurnedDown):
            return False
        if refused.code is Code.E_BLOB_MISSING:
            with self._archive.commit():
                return self._upload_again(sid)
        if refused.code is Code.E_STALE_ROSTER:
            await self._roster.refresh(ask, self._clock.own())
            await self._seal(ask, sending, self._replaced_by_a_reseal(sending))
            return True
        # An E_CLOCK told the relay's time, and the clock took note of it.
        late = self._age(sending, self._clock.now()) > SUBMISSION_S_MAX
        if refused.code is Code.E_CLOCK and sending.envelope and late:
            self._sign(sending.letter, sending.envelope, sending.replaces)
            return True
        return False

    def _replaced_by_a_reseal(self, sending: Sending) -> str:
        """A re-seal replaces the id that a relay accepted; one that was never accepted has no ladder to end."""
        if sending.msg and "accepted" in self._records.kinds([sending.msg]):
            return sending.msg
        return sending.replaces

    def _put_off(self, sid: str, refused: Refused) -> list[Event]:
        sending = self.get(sid)
        if sending is None or sending.state != WAITING:
            return []
        now, reason = self._clock.now(), f"{refused.code.value}: {refused}"
        over = now > sending.letter.header.expires + EXPIRED_KEPT_S or not sending.attempts
        expired = over and now > sending.letter.header.expires
        final = expired or (isinstance(refused, TurnedDown) and refused.code in _FINAL)
        with self._archive.commit():
            clear: dict[str, int | str] = {"next_at": now + HELD_S}
            if final:
                clear["state"] = REFUSED
                self._attachments.release(sid)
            self._archive.change("outbox", sid, clear, {"reason": reason.encode()})
        if reason == sending.reason:
            return []
        event = self._notes.add(now, "refused", sending.msg or sid, refused.code, str(refused))
        return [{**event, "final": final}]

    # What became of it

    def settle(self, sid: str) -> None:
        """Take note of what is kept about a sent message; called inside the commit that keeps a statement."""
        rows = self._archive.find("outbox", "id = ?", (sid,), columns=())
        if not rows or rows[0]["state"] in {DONE, REFUSED}:
            return
        kinds = self._records.kinds([alias.msg for alias in self._letters.aliases(sid)])
        if kinds & SETTLED:
            unsaid = rows[0]["state"] in {WAITING, UPLOADING} and "accepted" not in kinds
            if unsaid and rows[0]["attempts"]:
                return  # it has arrived, but its acceptance got lost on the way: ask for that proof once more
            # The content key stays: with it the desk can show a court what exactly it sealed (PROTOCOL 14).
            self.withdraw(sid)
        elif rows[0]["state"] == ACCEPTED and not rows[0]["resent"]:
            self._resend_unopenable(sid, rows[0]["msg"])

    def _resend_unopenable(self, sid: str, msg: str) -> None:
        """Every device of the recipient failed to open it: seal it anew, once (PROTOCOL 10, failed)."""
        letter = self._letters.get(sid)
        entry = self._roster.directory.desks.get(letter.header.to) if letter else None
        if entry is None:
            return
        failed = self._records.failed_by(msg)
        members = entry.active(self._clock.now())
        if failed and {one.device_kid for one in members} <= failed:
            self._archive.change(
                "outbox",
                sid,
                {"state": WAITING, "next_at": 0, "resent": 1, "replaces": msg},
                {"envelope": b"", "submission": b""},
            )

    def withdraw(self, sid: str) -> None:
        """Stop sending a message that has arrived, or that its officer withdrew. Called inside a commit."""
        self._archive.change(
            "outbox", sid, {"state": DONE}, {"envelope": b"", "submission": b"", "reason": b""}
        )
        self._attachments.release(sid)

    # Attachments

    def uploaded(self, sid: str) -> None:
        """Send a message whose attachments the relay has, or whose time is over. Called inside a commit."""
        if self._archive.count("outbox", "id = ? AND state = ?", (sid, UPLOADING)):
            self._archive.change("outbox", sid, {"state": WAITING, "next_at": 0})

    def _upload_again(self, sid: str) -> bool:
        if not self._attachments.upload_again(sid, self._clock.now()):
            return False
        self._archive.change("outbox", sid, {"state": UPLOADING})
        return True

    def give_up(self, sid: str, refused: Refused) -> list[Event]:
        """An attachment can never be uploaded: the officer is told, and sends the message anew."""
        with self._archive.commit():
            self.uploaded(sid)
        return self._put_off(sid, TurnedDown(refused.code, refused.text, hint=refused.hint))

    def submit_again(self) -> int:
        """The relay's store is another one: everything that nobody confirmed is submitted again. Inside a commit."""
        rows = self._archive.find("outbox", "state = ?", (ACCEPTED,), columns=())
        for row in rows:
            if not self._upload_again(row["id"]):
                self._archive.change("outbox", row["id"], {"state": WAITING, "next_at": 0})
        return len(rows)

    def hurry(self) -> None:
        """The link is back: what was put off is due now."""
        if self._archive.count("outbox", "state = ? AND next_at > 0", (WAITING,)):
            with self._archive.commit():
                for row in self._archive.find("outbox", "state = ?", (WAITING,), columns=()):
                    self._archive.change("outbox", row["id"], {"next_at": 0})


def _created(submission: bytes) -> int:
    return proof.claimed(decode(peek(submission).payload)) if submission else 0
