"""The verbs of a desk that only read: lists, one message, a matter, numbers to call; and waiting for a step."""

import asyncio
from typing import Any

from keys.errors import Code, Failed, Refused
from relay import errors
from relay.desk import phone
from relay.desk.agenda import Agenda
from relay.desk.archive import Archive
from relay.desk.clock import ComparedClock
from relay.desk.letters import NOTHING, READ, Letters
from relay.desk.matter_views import MatterViews
from relay.desk.matters import Matters
from relay.desk.roster import Roster
from relay.desk.transfers import Transfers
from relay.desk.views import Views
from relay.desk.watching import Watching
from relay.wire import receipt

WAIT_S_MAX = 86_400


class Reading:
    """What a desk answers from its archive; :class:`relay.desk.service.Desk` brings the rooms."""

    _archive: Archive
    _agenda: Agenda
    _clock: ComparedClock
    _letters: Letters
    _matters: Matters
    _matter_views: MatterViews
    _roster: Roster
    _transfers: Transfers
    _views: Views
    _watching: Watching

    async def inbox(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List messages that need somebody here, the most pressing first; or all, newest first.

        What is urgent in matters stands beside them as ``matters_due``; the key is not there while nothing is.
        """
        now = self._clock.now()
        found = {"messages": self._views.listed(now, everything=all)}
        standing = self._agenda.standing(now)
        return found | ({"matters_due": standing} if standing else {})

    async def matters(self) -> dict[str, Any]:
        """List the open matters with what is due in each, the most pressing first."""
        return {"matters": self._matter_views.listed(self._clock.now())}

    async def matter(self, msg: str) -> dict[str, Any]:
        """Return the matter to which a message belongs. *msg*: its id or its statement's, or six or more digits.

        Raises E_UNKNOWN for a message that is not here, or whose request is not.
        """
        letter, root = self._letters.resolve(msg), self._matters.resolve(msg)
        return self._matter_views.page(letter, root, self._clock.now())

    async def sent(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List what this desk has asked and nobody has taken up yet, with the ladder's step; or all it ever sent."""
        return {"messages": self._views.sent(everything=all)}

    async def phone(self, desk: str) -> dict[str, Any]:
        """Return the telephone numbers of a desk (AU-B), or of a State's desks (AU), from the directory at hand.

        Nothing is fetched. Raises E_WRONG_DESK, and E_DIRECTORY_STALE where this desk never had a directory.
        """
        return phone.book(self._roster.directory, desk, self._clock.own())

    async def show(self, msg: str) -> dict[str, Any]:
        """Return one opened message. *msg*: its id or its statement's, or six or more first digits."""
        letter = self._letters.resolve(msg)
        if letter.needs == READ:
            with self._archive.commit():
                self._letters.need(letter.sid, NOTHING)
        return self._views.page(letter)

    async def attachments(self, msg: str) -> dict[str, Any]:
        """Return how far each attachment of a message is; see :func:`relay.desk.attachments.shown`."""
        letter = self._letters.resolve(msg)
        return {"statement": letter.sid, "attachments": self._transfers.shown(letter)}

    async def unlock(self, msg: str, number: int) -> dict[str, Any]:
        """Return where attachment *number* (from 1) of a message stands sealed, and what opens it.

        Raises E_UNKNOWN for a number that it does not have, E_BLOB_MISSING (75) while it is not here, and for one that
        is lost or damaged E_UNKNOWN or the code with which it did not open.
        """
        return self._transfers.unlock(self._letters.resolve(msg), number)

    async def timeline(self, msg: str) -> dict[str, Any]:
        """Return every step of one message, re-derived from statements that are verified here and now."""
        return self._views.history(self._letters.resolve(msg))

    async def wait(self, msg: str, kind: str, seconds: float) -> dict[str, Any]:
        """Return when a verified statement of *kind* is held for a message, or its ``answer`` has come.

        Raises Failed (75) after *seconds*, and the relay's refusal if the message was refused for good.
        """
        if not 0 <= seconds <= WAIT_S_MAX:
            raise Refused(Code.E_ENCODING, f"One can wait 0 to {WAIT_S_MAX} seconds.")
        if kind != "answer" and kind not in receipt.KINDS:
            raise Refused(
                Code.E_TYPE, f"There is no step called {kind[:40]!r} in a message's life."
            )
        letter = self._letters.resolve(msg)
        try:
            async with asyncio.timeout(seconds):
                while (found := self._views.step(letter, kind)) is None:
                    await self._watching.next()
                return found
        except TimeoutError:
            raise Failed(
                f"No {kind!r} of message {msg[:16]} within {seconds:g} s.",
                hint="It goes on by itself; see: desk timeline.",
                exit_code=errors.TRY_AGAIN,
            ) from None
