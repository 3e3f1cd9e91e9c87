"""The way out of attachments: sealed files to the relay, before the message that names them (PROTOCOL 9.5).

::

    handed over -> opened as the recipient will -> moved to its place -> ONE commit of message and rows
    row waiting -> asked how much the relay has -> pieces -> whole: row there; all there: the message goes out

A step moves one piece of the most pressing message. Every step may be repeated: the relay says how much it has, and
where it has a blob already, nothing is sent.
"""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keys.errors import Code, Failed, Refused
from keys.statement import Statement
from relay.desk import spool
from relay.desk.archive import Archive
from relay.desk.attachments import Attachment, Attachments, row_of
from relay.desk.carrier import PIECE_BYTES, READ_BYTES, Authorized
from relay.desk.clock import ComparedClock
from relay.desk.letters import Letters
from relay.desk.notes import Notes
from relay.desk.outbox import Outbox
from relay.desk.roster import TurnedDown
from relay.desk.shelves import THERE
from relay.desk.spool import Spool
from relay.wire import attachment
from relay.wire.attachment import Facts

QUIET = frozenset({Code.E_AUTH, Code.E_BUSY})
"""What a relay says now and then, and what only means: later."""
TURN_CHUNKS = 16
"""Chunks of 64 KiB between which others get their turn."""

Event = dict[str, Any]


class Uploads:
    """The uploads of one device."""

    def __init__(
        self,
        archive: Archive,
        spooled: Spool,
        letters: Letters,
        outbox: Outbox,
        notes: Notes,
        clock: ComparedClock,
    ) -> None:
        """Stand on the desk's shelves and on its folder of sealed files."""
        self._archive = archive
        self._spool = spooled
        self._letters = letters
        self._outbox = outbox
        self._notes = notes
        self._clock = clock
        self._attachments = Attachments(archive)
        # By row, how much the relay has; not asked again while the line stands.
        self._known: dict[str, int] = {}
        self.moved: dict[str, int] = {}
        """The same, for whoever watches."""

    # Handing over

    async def check(self, staged: str, origin: Statement, cek: bytes) -> list[tuple[Path, str]]:
        """Open what a command sealed, as the recipient will; return what :meth:`Spool.take` is to move.

        Raises what opening raises (PROTOCOL 9.5), E_BINDING where content key and attachments do not belong together,
        and Failed (66) for a file that is not there.
        """
        named = origin["attachments"]
        if bool(named) != bool(cek):
            raise Refused(
                Code.E_BINDING, "The content key and the attachments were not handed over together."
            )
        if not named:
            return []
        folder = self._spool.staged(staged)
        moves = []
        for number, one in enumerate(named):
            path, facts = folder / one["blob"], Facts.of(one)
            try:
                with spool.reader(path) as read:
                    await opened_in_turns(attachment.secret_of(cek, number), facts, read)
            except OSError as error:
                raise Failed(
                    f"The sealed attachment {number + 1} cannot be read: {error.strerror}.",
                    hint="Type the same command again.",
                    exit_code=66,
                ) from None
            moves.append((path, row_of(origin.sid, number)))
        return moves

    # Moving

    async def step(self, one: Attachment, carrier: Authorized) -> list[Event]:
        """Move one piece of an attachment; return what to tell."""
        now = self._clock.now()
        letter = self._letters.get(one.sid)
        if letter is None or now > letter.header.expires:
            with self._archive.commit():  # the outbox says that its time is over
                self._attachments.release(one.sid)
                self._outbox.uploaded(one.sid)
            return []
        try:
            return await self._move(one, carrier)
        except TurnedDown as refused:
            if refused.code is Code.E_TOO_LARGE:
                return self._outbox.give_up(one.sid, refused)
            return self._put_off(one, now, str(refused), refused.code)
        except Refused as refused:
            return self._put_off(one, now, str(refused), refused.code)
        except OSError as error:
            return self._put_off(one, now, str(error) or type(error).__name__, None)

    async def _move(self, one: Attachment, carrier: Authorized) -> list[Event]:
        at = self._known.get(one.row)
        if at is None:
            found = await carrier.look(one.blob)
            if found.whole:
                return self._there(one)
            at = self.moved[one.row] = found.offset
        path = self._spool.out(one.row)
        if spool.size(path) != one.size:
            return self._outbox.give_up(one.sid, _gone(one))
        if not 0 <= at < one.size:
            at = 0
        end = min(one.size, at + PIECE_BYTES)
        try:
            with path.open("rb") as file:
                found = await carrier.put(one.blob, file, at, end, one.size)
        except TurnedDown as refused:
            self._known.pop(one.row, None)
            if refused.code is Code.E_BINDING and await hash_in_turns(path) != one.blob:
                return self._outbox.give_up(one.sid, _gone(one))
            raise
        except (Refused, OSError):
            self._known.pop(one.row, None)
            raise
        if found.whole:
            return self._there(one)
        if found.offset <= at:
            # What came was not the blob, or the relay has lost what it had, or it lies: it is asked anew, later.
            self._known.pop(one.row, None)
            if await hash_in_turns(path) != one.blob:
                return self._outbox.give_up(one.sid, _gone(one))
            return self._put_off(one, self._clock.now(), "The relay took nothing of it.", None)
        self._known[one.row] = self.moved[one.row] = found.offset
        return []

    def _there(self, one: Attachment) -> list[Event]:
        self._known.pop(one.row, None)
        self.moved.pop(one.row, None)
        with self._archive.commit():
            self._attachments.change(one, state=THERE, reason="")
            if self._attachments.all_there(one.sid):
                self._outbox.uploaded(one.sid)
        return []

    def _put_off(self, one: Attachment, now: int, reason: str, code: Code | None) -> list[Event]:
        self._known.pop(one.row, None)
        # A line that breaks is told by the link, and a relay that is busy is no news; what else it says is told once.
        quiet = code is None or code in QUIET
        with self._archive.commit():
            self._attachments.put_off(one, now, None if quiet else reason, str(code or ""))
        if quiet or code is None or reason == one.reason:
            return []
        text = f"Attachment {one.number + 1} was not taken by the relay: {reason}"
        return [self._notes.add(now, "refused", self._name(one.sid), code, text)]

    def _name(self, sid: str) -> str:
        found = self._letters.aliases(sid)
        return found[-1].msg if found else sid


def _gone(one: Attachment) -> Refused:
    return Refused(
        Code.E_BLOB_MISSING,
        f"The sealed attachment {one.number + 1} is missing or damaged on this disk.",
        hint="Send the message anew, with its files.",
    )


async def opened_in_turns(secret: bytes, facts: Facts, read: Callable[[int], bytes]) -> None:
    """Open a whole attachment and keep nothing of it; others get their turn meanwhile. Raises as opening does."""
    for count, _data in enumerate(attachment.opened(secret, facts, read)):
        if count % TURN_CHUNKS == 0:
            await asyncio.sleep(0)


async def hash_in_turns(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; "" where it cannot be read."""
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            count = 0
            while data := file.read(READ_BYTES):
                whole.update(data)
                count += 1
                if count % TURN_CHUNKS == 0:
                    await asyncio.sleep(0)
    except OSError:
        return ""
    return whole.hexdigest()
