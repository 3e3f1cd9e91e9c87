"""The way in of attachments: fetched once their message is open, opened once in full, kept sealed (PROTOCOL 9.5).

::

    message opened -> ONE commit of message, `delivered` and rows      -> `delivered` does not wait for attachments
    row coming -> pieces into a file -> whole: opened in full, nothing of it kept -> named, durable -> row here

What the relay gives is not believed: bytes that are not the blob that the officer signed are thrown away and asked for
again. What is that blob and does not open is the sender's fault, and final. Whoever watches is told either way.
"""

import os
from typing import Any

from keys.errors import Code, Refused
from relay.desk import spool
from relay.desk.archive import Archive
from relay.desk.attachments import Attachment, Attachments
from relay.desk.carrier import PIECE_BYTES, Authorized
from relay.desk.clock import ComparedClock
from relay.desk.letters import Letter, Letters
from relay.desk.notes import Notes
from relay.desk.roster import TurnedDown
from relay.desk.shelves import COMING, DAMAGED, DOWN, HERE, LOST, NOT_GIVEN
from relay.desk.spool import Spool
from relay.desk.uploads import QUIET, hash_in_turns, opened_in_turns
from relay.wire.attachment import Facts

OFTEN = 3
"""Tries after which a line that breaks is no chance any more."""

Event = dict[str, Any]


class Downloads:
    """The downloads of one device."""

    def __init__(
        self,
        archive: Archive,
        spooled: Spool,
        letters: Letters,
        notes: Notes,
        clock: ComparedClock,
    ) -> None:
        """Stand on the desk's shelves and on its folder of sealed files."""
        self._archive = archive
        self._spool = spooled
        self._letters = letters
        self._notes = notes
        self._clock = clock
        self._attachments = Attachments(archive)

    def moved(self, row: str) -> int:
        """Return how many bytes of a blob are here."""
        return spool.size(self._spool.part(row))

    def look(self, now: int) -> None:
        """Begin anew what a row says is here and a disk does not have: a restored archive comes without its files."""
        for row, state in self._attachments.rows(DOWN).items():
            if state == HERE and not self._spool.held(row).exists():
                with self._archive.commit():
                    self._attachments.begin_anew(row, now)

    async def step(self, one: Attachment, carrier: Authorized) -> list[Event]:
        """Fetch one piece of an attachment; return what to tell."""
        now = self._clock.now()
        letter = self._letters.get(one.sid)
        assert letter is not None, "A message and its attachments' rows are written in one commit."
        try:
            return await self._move(one, letter, carrier)
        except Refused as refused:
            return self._trouble(one, letter, now, refused)
        except ConnectionError:
            # The link tells of the line; of a relay that hangs up each time, the list does.
            often = "The line breaks each time it is fetched." if one.tries >= OFTEN else None
            with self._archive.commit():
                self._attachments.put_off(one, now, often, Code.E_BUSY)
            return []
        except OSError as error:
            why = f"It cannot be written to this device's disk: {error.strerror}."
            return self._trouble(one, letter, now, Refused(Code.E_BUSY, why))

    async def _move(self, one: Attachment, letter: Letter, carrier: Authorized) -> list[Event]:
        part, held = self._spool.part(one.row), self._spool.held(one.row)
        self._spool.make()
        if held.exists():  # named, and the process ended before the row said so
            held.rename(part)
        at = spool.size(part)
        if at > one.size:
            part.unlink()
            at = 0
        if at < one.size:
            if self._spool.free() < one.size - at:
                raise Refused(
                    Code.E_BUSY,
                    f"There is no room for it on this device's disk: {one.size - at} bytes are missing.",
                    hint="Make room; it is fetched by itself then.",
                )
            end = min(one.size, at + PIECE_BYTES)
            handle = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "ab") as file:
                await carrier.get(one.blob, file.write, at, end, one.size)
                file.flush()
                os.fdatasync(file.fileno())  # a little each time, so that the last one is short
            if end < one.size:
                return []
        return await self._whole(one, letter)

    async def _whole(self, one: Attachment, letter: Letter) -> list[Event]:
        facts = Facts.of(letter.statement["attachments"][one.number])
        part = self._spool.part(one.row)
        try:
            with spool.reader(part) as read:
                await opened_in_turns(one.secret, facts, read)
        except Refused as refused:
            relays = await hash_in_turns(part) != one.blob
            part.unlink(missing_ok=True)
            if relays:
                text = "The relay gave other bytes than the ones that were uploaded."
                raise Refused(Code.E_BINDING, text) from None
            return self._end(
                one, letter, DAMAGED, f"It does not open. {refused.text}", refused.code
            )
        self._spool.keep(one.row)
        return self._end(one, letter, HERE, "", None)

    def _end(
        self, one: Attachment, letter: Letter, state: str, reason: str, code: Code | None
    ) -> list[Event]:
        with self._archive.commit():
            self._attachments.change(one, state=state, reason=reason, code=str(code or ""))
        return [self._event(one, letter, state, reason, code)]

    def _trouble(self, one: Attachment, letter: Letter, now: int, refused: Refused) -> list[Event]:
        """Take note of why it is not here: for good once no relay need have it any longer, else until the next try."""
        if isinstance(refused, TurnedDown) and refused.code in QUIET:
            with self._archive.commit():
                self._attachments.put_off(one, now)
            return []
        reason = "The relay does not have it." if refused.code is Code.E_UNKNOWN else str(refused)
        if now > one.until and refused.code in NOT_GIVEN:
            return self._end(one, letter, LOST, reason, refused.code)
        with self._archive.commit():
            self._attachments.put_off(one, now, reason, refused.code)
        if reason == one.reason:
            return []
        return [self._event(one, letter, COMING, reason, refused.code)]

    def _event(
        self, one: Attachment, letter: Letter, state: str, reason: str, code: Code | None
    ) -> Event:
        aliases = self._letters.aliases(one.sid)
        event: Event = {
            "event": "attachment",
            "msg": aliases[-1].msg if aliases else one.sid,
            "number": one.number + 1,
            "name": letter.statement["attachments"][one.number]["name"],
            "state": state,
            "text": reason,
        }
        if code is not None:
            text = f"Attachment {one.number + 1}: {reason}"
            self._notes.add(self._clock.now(), "attachment", event["msg"], code, text)
        return event
