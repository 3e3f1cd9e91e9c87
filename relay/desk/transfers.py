"""Attachments on the move, as long as the line stands: one upload and one download at a time, beside everything else.

The emergency's piece comes first, whatever was begun before. Nothing here can end a session: what goes wrong is put
off, and the rows say what is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from keys.errors import Code, Refused
from keys.statement import b64u
from relay.desk.archive import Archive
from relay.desk.aside import AGAIN_S, ATTACHMENT, Aside
from relay.desk.attachments import Attachment, Attachments, row_of, shown
from relay.desk.carrier import Authorized, Bearer, Carrier
from relay.desk.clock import ComparedClock
from relay.desk.downloads import Downloads
from relay.desk.letters import Letter, Way
from relay.desk.shelves import DAMAGED, DOWN, HERE, LOST, UP
from relay.desk.spool import Spool
from relay.desk.uploads import Uploads

Event = dict[str, Any]


class Transfers:
    """What one device uploads and fetches."""

    def __init__(
        self,
        archive: Archive,
        spooled: Spool,
        uploads: Uploads,
        downloads: Downloads,
        clock: ComparedClock,
        aside: Aside,
        carrier: Carrier | None,
        tell: Callable[[Event], None],
    ) -> None:
        """Move with *carrier*, or nothing without one; *tell* hears every event."""
        self._archive = archive
        self._spool = spooled
        self._uploads = uploads
        self._downloads = downloads
        self._clock = clock
        self._aside = aside
        self._carrier = carrier
        self._tell = tell
        self._attachments = Attachments(archive)
        self._work = {UP: asyncio.Event(), DOWN: asyncio.Event()}

    def begin(self) -> None:
        """Put disk and archive in step again, as a crash or a restore may have left them."""
        self.sweep()
        self._downloads.look(self._clock.now())

    def sweep(self) -> None:
        """Remove every file that no row names."""
        self._spool.sweep(self._attachments.rows(UP), self._attachments.rows(DOWN))

    def wake(self) -> None:
        """Something was sent, opened or settled."""
        for event in self._work.values():
            event.set()

    def lanes(self, bearer: Bearer, sent: Callable[[], None]) -> list[Coroutine[Any, Any, None]]:
        """Return what moves until it is cancelled: one way each.

        *bearer* gives the session's token; *sent* hears that a message may go out now.
        """
        if self._carrier is None:
            return []
        with self._archive.commit():
            self._attachments.hurry()
        carrier = Authorized(self._carrier, bearer)
        up, down = self._uploads, self._downloads
        return [
            self._lane(UP, lambda one: up.step(one, carrier), sent),
            self._lane(DOWN, lambda one: down.step(one, carrier), lambda: None),
        ]

    async def _lane(
        self,
        way: str,
        step: Callable[[Attachment], Awaitable[list[Event]]],
        moved: Callable[[], None],
    ) -> None:
        while True:
            self._work[way].clear()
            due = self._attachments.due(way, self._clock.now(), self._aside.rows(ATTACHMENT))
            if due is None:
                await self._rest(way)
                continue
            row, sid = due
            with self._aside.around(ATTACHMENT, row, sid):
                one = self._attachments.get(row)
                for event in await step(one) if one is not None else ():
                    self._tell(event)
            moved()

    async def _rest(self, way: str) -> None:
        """Tidy up, and wait until there is something to move."""
        self.sweep()
        aside = self._aside.rows(ATTACHMENT)
        due = self._attachments.next_at(way, aside)
        waits = [AGAIN_S] if aside else []
        if due is not None:
            waits.append(max(1, due - self._clock.now()))
        try:
            async with asyncio.timeout(min(waits) if waits else None):
                await self._work[way].wait()
        except TimeoutError:
            return

    # What people see

    def shown(self, letter: Letter) -> list[dict[str, Any]]:
        """Return the attachments of a message; see :func:`relay.desk.attachments.shown`."""
        rows = self._attachments.of(letter.sid)
        moved = {
            one.row: self._downloads.moved(one.row)
            if one.way == DOWN
            else self._uploads.moved.get(one.row, 0)
            for one in rows
        }
        return shown(letter, rows, moved)

    def unlock(self, letter: Letter, number: int) -> dict[str, Any]:
        """Return {"path", "secret", "name", "size", "sha256", "blob"} of a sealed attachment that is here.

        *secret* is what opens it (64 bytes, base64url). Raises E_UNKNOWN or E_BLOB_MISSING.
        """
        named = letter.statement["attachments"]
        if not 1 <= number <= len(named):
            raise Refused(
                Code.E_UNKNOWN,
                f"This message has {len(named)} attachments; there is none with the number {number}.",
            )
        one = self._attachments.get(row_of(letter.sid, number - 1))
        path = self._path(one) if one is not None else None
        if one is None or path is None:
            raise _not_here(one, letter, number)
        return {"path": str(path), "secret": b64u(one.secret), **named[number - 1]}

    def _path(self, one: Attachment) -> Path | None:
        path = self._spool.out(one.row) if one.way == UP else self._spool.held(one.row)
        return path if (one.way == UP or one.state == HERE) and path.exists() else None

    async def close(self) -> None:
        """End every connection."""
        if self._carrier is not None:
            await self._carrier.close()


def _not_here(one: Attachment | None, letter: Letter, number: int) -> Refused:
    """Return why there is nothing to open, and what is left to do."""
    what = f"Attachment {number}"
    sender = letter.header.sender
    if letter.way is Way.SENT:
        return Refused(
            Code.E_UNKNOWN,
            f"{what} has left this device, which keeps no copy of a file that it sent.",
            hint="Other devices of this desk hold the desk's own copy.",
        )
    if one is not None and one.state == DAMAGED:
        return Refused(
            Code.E_BINDING,
            f"{what} is not what its sender signed. {one.reason}",
            hint=f"Ask {sender} to send it again.",
        )
    if one is None or one.state == LOST:
        why = f" {one.reason}" if one is not None else ""
        return Refused(
            Code.E_UNKNOWN, f"{what} never came.{why}", hint=f"Ask {sender} to send it again."
        )
    why = f" {one.reason}" if one.reason else ""
    return Refused(
        Code.E_BLOB_MISSING, f"{what} is not here yet.{why}", hint="It is fetched by itself."
    )
