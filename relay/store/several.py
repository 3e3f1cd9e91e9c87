"""The store for several instances of the relay: the contract over Redis or Valkey, with a journal beside it (DESIGN 6).

One script per operation does what the embedded store does in a transaction; relay.store.redis carries them and says
when they are durable. The evidence log belongs to the instance and is its journal's. Why so: this room's README.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keys.errors import Failed
from relay.core.tlog import Frontier
from relay.store import redis_rows
from relay.store.base import (
    INTEGER_MAX,
    PAGE_KEPT_AFTER,
    PREKEY_KEPT_AFTER,
    BlobRow,
    Change,
    Committed,
    Conflict,
    Delivery,
    Full,
    Hear,
    Kept,
    Missing,
    PageRow,
    PrekeyRow,
    Stored,
    Timer,
    raw,
)
from relay.store.checks import (
    check_blob,
    check_change,
    check_directory,
    check_integer,
    check_name,
    check_prekeys,
    check_result,
    check_statements,
)
from relay.store.place import FREE_BYTES_MIN
from relay.store.redis import Link
from relay.store.redis_place import Place
from relay.store.redis_rows import Argument
from relay.store.room import Room
from relay.store.vouched import Published, Vouched

AUDIT_ROWS = 2000
"""Open messages that one script looks at."""

Merge = Callable[["RedisStore", Vouched], Awaitable[None]]
"""Brings back into a store what a journal vouches for (relay.replay)."""


class RedisStore:
    """The contract over Redis, and this instance's journal beside it."""

    def __init__(
        self,
        place: Place,
        journal: Path,
        merge: Merge,
        *,
        free_min: int = FREE_BYTES_MIN,
        room: Room | None = None,
    ) -> None:
        """Name the server and the journal's file; nothing is opened. *free_min*, *room*: the disk under the journal."""
        self.place = place
        self.journal = Vouched(journal, free_min=free_min, room=room)
        self._link = Link(place, self.journal)
        self._merge = merge
        self.epoch = 0
        """The epoch of Redis that this instance stands on."""

    # Opening and closing

    async def start(self, now: int) -> None:
        """Open the journal, stand on one epoch with Redis, and merge back what Redis lost; Failed if it cannot be."""
        await self.journal.start(now)
        try:
            anew = await self._link.start(now)
            self.epoch = self._link.epoch
            if anew:
                await self._merge(self, self.journal)
                await self.journal.settle(self.epoch)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish what waits, then let go of Redis and of the journal."""
        await self._link.stop()
        await self.journal.stop()

    async def watch(self, hear: Hear) -> None:
        """Tell *hear* of what other instances wrote, until cancelled."""
        await self._link.watch(hear)

    # The contract

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Make the change as a whole, or say why not."""
        self._link.running()
        check_change(change)
        weight = len(change.state) + len(change.envelope or b"")
        entries = len(change.entries)
        answer: Committed | Conflict | Full | Missing = await self._link.write(
            "commit",
            redis_rows.change(change),
            lambda answer: redis_rows.committed(answer, entries),
            weight=weight + sum(len(one.wire) for one in change.statements),
            change=change,
        )
        return answer

    async def keep(self, statements: Sequence[Kept]) -> None:
        """Keep and log statements that change no state."""
        self._link.running()
        check_statements(statements)
        given = redis_rows.statements(statements)
        weight = sum(len(one.wire) for one in statements)
        await self._link.write("keep", given, _nothing, weight=weight, statements=tuple(statements))

    async def load(self, msg: str) -> Stored | None:
        """Return version and state."""
        raw(msg)

        def read(row: Sequence[Any]) -> Stored | None:
            return Stored(int(row[0]), row[1]) if row[0] is not None else None

        found: Stored | None = await self._link.read(
            ("HMGET", self._link.key(f"m:{msg}"), "version", "state"), read
        )
        return found

    async def envelope(self, msg: str) -> bytes | None:
        """Return the envelope, if it is still here and whole."""
        raw(msg)
        return redis_rows.whole(
            msg, await self._link.read(("GET", self._link.key(f"e:{msg}")), _same)
        )

    async def statement(self, sid: str) -> Kept | None:
        """Return one statement."""
        raw(sid)
        found: Kept | None = await self._link.read(
            ("HMGET", self._link.key(f"s:{sid}"), *redis_rows.KEPT),
            lambda row: redis_rows.kept(sid, row),
        )
        return found

    async def statements(self, msg: str) -> tuple[Kept, ...]:
        """Return a message's statements in the log's order."""
        raw(msg)
        sids = await self._link.read(("ZRANGE", self._link.key(f"about:{msg}"), 0, -1), _same)
        found = await asyncio.gather(*(self.statement(sid.decode()) for sid in sids))
        return tuple(one for one in found if one is not None)

    async def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return the entries after a cursor."""
        start = max(after, 0)
        if limit <= 0 or start > INTEGER_MAX:
            return ()
        rows = await self._link.read(
            ("ZRANGE", self._link.key(f"box:{desk}"), start, start + limit - 1), _same
        )
        return tuple(redis_rows.delivery(seq, row) for seq, row in enumerate(rows, start + 1))

    async def head(self, desk: str) -> int:
        """Return the last sequence number."""
        return int(await self._link.read(("ZCARD", self._link.key(f"box:{desk}")), _same))

    async def due(self, now: int, limit: int) -> tuple[Timer, ...]:
        """Return the timers that are due, the oldest first."""
        if limit <= 0:
            return ()
        rows = await self._link.read(("EVALSHA", "due", now, limit), _same)
        return tuple(
            Timer(kind, subject, int(rows[at + 2]), int(rows[at + 1]))
            for at in range(0, len(rows), 3)
            for kind, _line, subject in (rows[at].decode().partition("|"),)
        )

    async def next_due(self) -> int | None:
        """Return when the next timer is due."""
        rows = await self._link.read(("EVALSHA", "due", INTEGER_MAX, 1), _same)
        return int(rows[1]) if rows else None

    async def unarmed(self, limit: int) -> tuple[str, ...]:
        """Return messages that have fewer timers than they must have; others work in between."""
        found: list[str] = []
        after = 0
        while len(found) < limit:
            last, *lacking = await self._link.read(("EVALSHA", "lacking", after, AUDIT_ROWS), _same)
            found += [msg.decode() for msg in lacking]
            after = int(last)
            if not after:
                break
        return tuple(found[: max(limit, 0)])

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give pages to a pager; cancel what is settled."""
        check_integer(now)
        check_integer(until)

        def read(rows: Sequence[Any]) -> tuple[PageRow, ...]:
            return tuple(
                redis_rows.page(rows[at].decode(), redis_rows.flat(rows[at + 1]))
                for at in range(0, len(rows), 2)
            )

        leased: tuple[PageRow, ...] = await self._link.write(
            "lease", (now, until, max(limit, 0)), read
        )
        return leased

    async def finish_page(
        self, page: str, attempt: int, state: str, result: str, not_before: int
    ) -> bool:
        """Note what came of an attempt, if its lease still counts."""
        raw(page)
        check_result(state, result)
        check_integer(not_before)
        return bool(
            await self._link.write("finish", (page, attempt, state, result, not_before), _same)
        )

    async def pages(self, msg: str) -> tuple[PageRow, ...]:
        """Return a message's pages."""
        raw(msg)
        rows = await self._link.read(("EVALSHA", "pages", msg), _same)
        found = [
            redis_rows.page(rows[at].decode(), redis_rows.flat(rows[at + 1]))
            for at in range(0, len(rows), 2)
        ]
        return tuple(sorted(found, key=lambda one: (one.created, one.id)))

    async def next_page(self) -> int | None:
        """Return when a page will be there to be leased."""
        rows = await asyncio.gather(
            *(
                self._link.read(
                    ("ZRANGE", self._link.key(f"ready{rank}"), 0, 0, "WITHSCORES"), _score
                )
                for rank in range(3)
            )
        )
        return min((one for one in rows if one is not None), default=None)

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        """Note that a desk has put a blob."""
        check_blob(blob, size, desk, now)
        put = await self._link.write(
            "blob", (blob, size, desk, now), bool, blob=(blob, size, desk, now)
        )
        if not put:
            raise ValueError("A blob of this id is here already, and has another size.")

    async def blob(self, blob: str) -> BlobRow | None:
        """Return what is known of a blob."""
        raw(blob)
        found: BlobRow | None = await self._link.read(
            ("EVALSHA", "stored", blob), lambda row: redis_rows.blob(blob, row)
        )
        return found

    async def blob_bytes(self, desk: str) -> int:
        """Return how many bytes a desk has put."""
        return int(await self._link.read(("HGET", self._link.key("quota"), desk), _same) or 0)

    async def blobs(self, after: str, limit: int) -> tuple[tuple[str, int], ...]:
        """Return blobs by their ids."""
        rows = await self._link.read(("EVALSHA", "sizes", after, max(limit, 0)), _same)
        return tuple((rows[at].decode(), int(rows[at + 1])) for at in range(0, len(rows), 2))

    async def drop_blobs(self, before: int, limit: int) -> tuple[str, ...]:
        """Forget blobs that nobody needs any more."""
        check_integer(before)
        gone = await self._link.write("drop", (before, max(limit, 0)), _same)
        dropped = tuple(one.decode() for one in gone)
        await self.journal.forget(dropped)
        return dropped

    async def mark(self, name: str) -> int:
        """Return a number."""
        return int(await self._link.read(("HGET", self._link.key("marks"), name), _same) or 0)

    async def put_mark(self, name: str, value: int) -> None:
        """Keep a number."""
        check_name(name)
        check_integer(value)
        await self._link.write("mark", (name, value), _nothing)

    async def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[str]
    ) -> bool:
        """Replace the directory by a newer one."""
        self._link.running()
        check_directory(version, files)
        logged = [raw(entry).hex() for entry in log]
        given: list[Argument] = [version, pins, len(files)]
        for name, data in files.items():
            given += [name, data]
        facts = Published(version, dict(files), pins, logged)
        return bool(await self._link.write("directory", given, _same, directory=facts))

    async def directory(self) -> tuple[int, dict[str, bytes], bytes] | None:
        """Return the directory."""
        found = await self._link.read(("EVALSHA", "published"), _same)
        if not found:
            return None
        files = {name.decode(): data for name, data in redis_rows.flat(found[2]).items()}
        return int(found[0]), files, found[1]

    async def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        """Keep prekeys."""
        self._link.running()
        check_prekeys(rows)
        given: list[Argument] = [len(rows)]
        for row in rows:
            given += [row.sid, row.desk, row.not_after, redis_rows.prekey(row)]
        await self._link.write("prekeys", given, _nothing, prekeys=tuple(rows))

    async def prekeys(self, desk: str, now: int) -> tuple[PrekeyRow, ...]:
        """Return the prekeys that are valid now or later."""
        rows = await self._link.read(("HVALS", self._link.key(f"prekeys:{desk}")), _same)
        found = [one for row in rows if (one := redis_rows.prekey_of(row)).not_after > now]
        return tuple(sorted(found, key=lambda one: (one.device, one.not_before, one.sid)))

    async def purge(self, now: int, limit: int) -> int:
        """Delete what is past its date, here and in this instance's journal (PROTOCOL 11.5)."""
        check_integer(now)
        given = (now, now - PREKEY_KEPT_AFTER, now - PAGE_KEPT_AFTER, max(limit, 0))
        purged = await self._link.write("purge", given, lambda answer: int(answer[0]))
        await self.journal.purge(now, limit)
        return int(purged)

    async def log(self) -> Frontier:
        """Return the frontier of this instance's own log."""
        self._link.running()
        return await self.journal.log()

    async def log_entries(self, start: int, end: int) -> list[bytes]:
        """Return a part of this instance's own log."""
        self._link.running()
        return await self.journal.log_entries(start, end)

    async def counts(self) -> Mapping[str, int]:
        """Return the kept numbers."""
        found = await self._link.read(("EVALSHA", "counts"), redis_rows.flat)
        numbers = redis_rows.counts(found, (await self.journal.log()).size)
        if named := self.place.replicas.promotable:
            info = await self._link.read(("INFO", "replication"), _same)
            numbers |= {"replicas": int(info["connected_slaves"]), "replicas_named": named}
        return numbers

    async def backup(self, path: Path) -> None:
        """Copy this instance's journal: every fact that it vouches for. Redis has backups of its own."""
        await self.journal.backup(path)

    async def check(self) -> list[str]:
        """Look at every message and mailbox, and at the journal."""
        found = list(await self.journal.check())
        cursor = 0
        while True:
            cursor, keys = await self._link.read(
                ("SCAN", cursor, "MATCH", self._link.key("m:*"), "COUNT", 512), _scanned
            )
            for key in keys:
                found += await self._look(key.decode().rpartition(":")[2])
            if not cursor:
                return found

    async def _look(self, msg: str) -> list[str]:
        try:
            await self.envelope(msg)
        except Failed as failure:
            return [failure.text]
        return []


def _same(answer: Any) -> Any:
    return answer


def _nothing(_answer: Any) -> None:
    return None


def _score(rows: Sequence[Any]) -> int | None:
    if not rows:
        return None
    first = rows[0]
    return int(first[1]) if isinstance(first, tuple | list) else int(rows[1])


def _scanned(answer: Sequence[Any]) -> tuple[int, list[bytes]]:
    return int(answer[0]), list(answer[1])
