"""Faults that are planted in a child, each of a kind that real systems have had: the checker must find every one.

They live here alone. A bug is a function that replaces a step of the product in this process.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from kill import points
from kill.points import put

from keys.errors import Code
from relay.desk.inbox import Inbox
from relay.desk.link import Link
from relay.desk.outbox import Outbox
from relay.desk.roster import TurnedDown
from relay.store.base import Committed
from relay.store.sqlite import SqliteStore

LATER_S = 0.3


def _reply_before_commit() -> None:
    """The relay answers, and writes a little later."""
    commit = SqliteStore.commit
    later: set[asyncio.Task[Any]] = set()

    async def committing(self: SqliteStore, change: Any) -> Any:
        if change.envelope is None:
            return await commit(self, change)

        async def write() -> None:
            await asyncio.sleep(LATER_S)
            await commit(self, change)

        task = asyncio.ensure_future(write())
        later.add(task)
        return Committed(1, tuple(0 for _one in change.entries))

    put(SqliteStore, "commit", committing)


def _timer_beside_the_commit() -> None:
    """The relay writes the message first and its timers after that, in another commit."""
    commit = SqliteStore.commit

    async def committing(self: SqliteStore, change: Any) -> Any:
        if change.envelope is None or not change.arm:
            return await commit(self, change)
        first = await commit(self, replace(change, arm=(), open=0))
        if not isinstance(first, Committed):
            return first
        points.passing("between a message and its timers")
        again = replace(
            change, expected=first.version, envelope=None, statements=(), entries=(), waiting=()
        )
        second = await commit(self, again)
        return replace(second, seqs=first.seqs) if isinstance(second, Committed) else second

    put(SqliteStore, "commit", committing)


def _silent_end() -> None:
    """The relay signs that nobody answered, and tells nobody."""
    commit = SqliteStore.commit

    async def committing(self: SqliteStore, change: Any) -> Any:
        quiet = {one.sid for one in change.statements if one.kind in ("exhausted", "expired")}
        told = [one.ref not in quiet for one in change.entries]
        left = tuple(one for one, so in zip(change.entries, told, strict=True) if so)
        answer = await commit(self, replace(change, entries=left))
        if not isinstance(answer, Committed):
            return answer
        seqs = iter(answer.seqs)
        return replace(answer, seqs=tuple(next(seqs) if so else 0 for so in told))

    put(SqliteStore, "commit", committing)


def _place_before_keeping() -> None:
    """The desk confirms its place in the mailbox, and takes in what stands there after that."""
    take = Link._take_entries

    async def taking(self: Link, session: Any, entries: Any) -> None:
        with self._archive.commit():
            self._set_cursor(self._epoch, entries[-1][0])
        await take(self, session, entries)

    put(Link, "_take_entries", taking)


def _memory_alone_remembers() -> None:
    """What the desk has shown before, it knows by heart, and not from its archive."""
    keep, shown = Inbox._keep, set[str]()

    def known(self: Inbox, msg: str) -> bool:
        return msg in shown

    def keeping(self: Inbox, copy: Any, opened: Any, now: int) -> Any:
        if copy.msg not in shown and not opened.own:
            with self._archive.commit():
                for table in ("replay", "message"):
                    self._archive.drop(table, opened.statement.sid)
                self._archive.drop("alias", copy.msg)
        shown.add(copy.msg)
        return keep(self, copy, opened, now)

    put(Inbox, "known", known)
    put(Inbox, "_keep", keeping)


def _lost_is_rejected() -> None:
    """The desk takes a line that broke while it waited for the answer for a refusal."""
    submit = Outbox._submit

    async def submitting(self: Outbox, ask: Any, sending: Any) -> Any:
        try:
            return await submit(self, ask, sending)
        except (asyncio.CancelledError, OSError):
            self._put_off(sending.letter.sid, TurnedDown(Code.E_ENCODING, "The line broke."))
            raise

    put(Outbox, "_submit", submitting)


BUGS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "the relay answers before the commit": _reply_before_commit,
        "the timer is set beside the commit": _timer_beside_the_commit,
        "the end of a ladder is told to nobody": _silent_end,
        "the place is kept before the message": _place_before_keeping,
        "what was shown is remembered in memory alone": _memory_alone_remembers,
        "a lost answer is called a refusal": _lost_is_rejected,
    }
)


def plant(name: str) -> None:
    """Plant one bug in this process."""
    BUGS[name]()
