"""The embedded store: one file, one connection, one thread (DESIGN 6).

Why each setting is as it is stands in this room's README. In short: WAL with synchronous=FULL is
what makes "durable on return" true; locking_mode=EXCLUSIVE keeps everybody else out; any error in a
commit breaks the store for good.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from keys.errors import Failed
from relay.core.tlog import Frontier
from relay.durable import make_durable, settle_log
from relay.store import findings, place, schema
from relay.store.base import (
    Change,
    Committed,
    Conflict,
    Delivery,
    Full,
    Hear,
    Kept,
    Missing,
    PrekeyRow,
    Stored,
    Timer,
    raw,
)
from relay.store.calls import Calls
from relay.store.checks import (
    check_change,
    check_directory,
    check_integer,
    check_prekeys,
    check_statements,
)
from relay.store.failures import damaged_file, explain
from relay.store.room import Room
from relay.store.tables import Tables, Unfounded
from relay.store.writer import Operation, Writer

WAL_PAGES_REST = 1000
"""Pages in the write-ahead log after which it is copied back when nothing waits."""
WAL_PAGES_MAX = 4000
"""... and after which it is copied back although something waits."""
BACKUP_PAGES = 256
"""Pages that a backup copies before it lets the next batch run."""
AUDIT_ROWS = 2000
"""Open messages that are looked at in one operation: then others have their turn."""

T = TypeVar("T")


class SqliteStore(Calls):
    """The contract over one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        free_min: int = place.FREE_BYTES_MIN,
        scripts: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> None:
        """Name the file; nothing is opened. *free_min* bytes must be free; *scripts* stand in for those of sql/."""
        self.path = path
        self.epoch = 0
        self._room = room or Room(path, ballast_bytes=0)
        self._free_min = free_min
        self._scripts = schema.scripts() if scripts is None else tuple(scripts)
        self._writer: Writer | None = None
        self._lock: place.Lock | None = None
        self._broken: Failed | None = None
        self._connection: sqlite3.Connection | None = None
        self._kept: Tables | None = None
        self._pages = 0

    # Opening and closing

    async def start(self, now: int) -> None:
        """Lock, open, check; Failed with a sentence if this file or disk cannot keep the promises."""
        if self._broken:
            raise self._broken
        schema.check_library(sqlite3.sqlite_version_info)
        place.check_room(self.path.parent, 0 if self._room.held() else self._free_min)
        self._lock = place.Lock(self.path)
        writer = Writer(self._work, self._explain, self._rest)
        try:
            await writer.on_thread(self._open, now)
        except BaseException as error:
            await self._leave(writer)
            if isinstance(error, sqlite3.Error | OSError):
                raise self._explain(error) from error
            raise
        self._writer = writer

    def _open(self, now: int) -> None:
        self._room.relieve()
        place.check_room(self.path.parent, self._free_min)
        if not self.path.exists():
            place.create_private(self.path)
        # No waiting for locks: whoever else has the file open is a mistake that must be told.
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, cached_statements=256
        )
        self._connection = connection
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = schema.version_of(connection, self.path, len(self._scripts))
        schema.settle(connection)
        # What an earlier process wrote may sit in the page cache only: this syncs it or fails.
        connection.execute("PRAGMA user_version").fetchone()
        settle_log(self.path)
        self._checkpoint("TRUNCATE")
        if 0 < version < len(self._scripts):
            self._copy_aside(version)
        schema.upgrade(connection, version, self._scripts)
        # A write before anybody is served: a disk that takes none is found now. It also gives a restored
        # copy an epoch that no desk has seen, even if the same backup is restored twice.
        connection.execute(
            "UPDATE store SET starts = starts + 1, copied = 0, epoch ="
            " CASE WHEN copied = 1 OR epoch = 0 THEN max(epoch + 1, ?) ELSE epoch END",
            (now,),
        )
        # Nobody else has the file, so whoever had leased a page is dead: nobody waits for its lease.
        connection.execute(
            "UPDATE page SET lease_until = min(lease_until, ?) WHERE state = 'leased'", (now,)
        )
        self._checkpoint("TRUNCATE")
        (self.epoch,) = connection.execute("SELECT epoch FROM store").fetchone()
        self._kept = Tables(connection)
        self._kept.journal.check_tail()
        for (line,) in connection.execute("PRAGMA quick_check(timer)"):
            if line != "ok":
                raise damaged_file(self.path, f"timers: {line}")

    def _copy_aside(self, version: int) -> None:
        """Keep a verified copy of a file that is about to be upgraded."""
        copy = self.path.with_name(f"{self.path.name}.schema-{version}")
        part = copy.with_name(copy.name + ".part")
        part.unlink(missing_ok=True)
        self._copy(part, lambda: None)
        self._seal(part, copy, findings.whole)

    async def stop(self) -> None:
        """Finish what waits, close the file and let go of it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
            self._broken = writer.broken
            await self._leave(writer)

    async def _leave(self, writer: Writer) -> None:
        await writer.on_thread(self._close)
        writer.end()
        if self._lock:
            self._lock.release()
            self._lock = None

    def _close(self) -> None:
        connection, self._connection, self._kept = self._connection, None, None
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.rollback()
            else:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            pass  # all that was promised is in the write-ahead log, and the next start insists
        finally:
            connection.close()

    # The thread's work

    def _work(self, batch: list[Operation]) -> None:
        """Do what writes in one transaction, then what reads: nothing is released before this returns."""
        assert self._connection
        if any(operation.writes for operation in batch):
            self._room.relieve()
            self._connection.execute("BEGIN IMMEDIATE")
            self._foresee(batch)
            for operation in batch:
                if operation.writes:
                    try:
                        operation.result = operation.run(*operation.args)
                    except Unfounded as error:
                        operation.error = error
            self._tables.flush()
            self._connection.execute("COMMIT")
            self._pages += _pages(batch)
        for operation in batch:
            if not operation.writes:
                try:
                    operation.result = operation.run(*operation.args)
                except (ValueError, OverflowError, Failed) as error:
                    operation.error = error

    def _foresee(self, batch: list[Operation]) -> None:
        """Let the tables look up together what the batch is about."""
        tables = self._tables
        changes = [one.args[0] for one in batch if one.run == tables.commit]
        statements = [kept for one in batch if one.run == tables.keep for kept in one.args[0]]
        tables.foresee(changes, statements)

    def _rest(self, idle: bool) -> None:  # noqa: FBT001 - called by the writer alone
        """Copy the write-ahead log back after results were released: nobody waits for it who need not."""
        if idle:
            self._room.restore()
        if self._pages > WAL_PAGES_MAX or (idle and self._pages > WAL_PAGES_REST):
            self._room.relieve()
            self._checkpoint("PASSIVE")
            self._pages = 0

    def _checkpoint(self, mode: str) -> None:
        assert self._connection
        row = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if row[0]:
            raise Failed(
                f"The write-ahead log of the store {self.path} could not be copied into it.",
                hint="Start again; if it happens twice, look at the disk before anything else.",
            )

    def _explain(self, error: Exception) -> Failed:
        return explain(error, self.path)

    # The contract

    async def _write(self, run: Callable[..., T], *args: Any, weight: int = 0) -> T:
        return await self._running().ask(run, *args, writes=True, weight=weight)

    async def _read(self, run: Callable[..., T], *args: Any) -> T:
        return await self._running().ask(run, *args)

    @property
    def _tables(self) -> Tables:
        if self._kept is None:
            self._running()
            raise Failed("The store is not open.", hint="Await start() first.", exit_code=75)
        return self._kept

    def _running(self) -> Writer:
        if self._writer is None:
            raise Failed("The store is not running.", hint="Await start() first.", exit_code=75)
        return self._writer

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Make the change as a whole, or say why not."""
        self._running()
        check_change(change)
        weight = len(change.state) + len(change.envelope or b"") + _weight(change.statements)
        return await self._write(self._tables.commit, change, weight=weight)

    async def keep(self, statements: Sequence[Kept]) -> None:
        """Keep and log statements that change no state."""
        self._running()
        check_statements(statements)
        await self._write(self._tables.keep, tuple(statements), weight=_weight(statements))

    async def load(self, msg: str) -> Stored | None:
        """Return version and state."""
        return await self._read(self._tables.load, raw(msg))

    async def envelope(self, msg: str) -> bytes | None:
        """Return the envelope, if it is still here and whole."""
        return await self._read(self._tables.envelope, raw(msg))

    async def statement(self, sid: str) -> Kept | None:
        """Return one statement."""
        return await self._read(self._tables.journal.statement, raw(sid))

    async def statements(self, msg: str) -> tuple[Kept, ...]:
        """Return a message's statements in the log's order."""
        return await self._read(self._tables.journal.about, raw(msg))

    async def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return the entries after a cursor."""
        return await self._read(self._tables.mailbox, desk, after, limit)

    async def head(self, desk: str) -> int:
        """Return the last sequence number."""
        return await self._read(self._tables.head, desk)

    async def due(self, now: int, limit: int) -> tuple[Timer, ...]:
        """Return the timers that are due, the oldest first."""
        return await self._read(self._tables.timers.due, now, limit)

    async def next_due(self) -> int | None:
        """Return when the next timer is due."""
        return await self._read(self._tables.timers.next_due)

    async def unarmed(self, limit: int) -> tuple[str, ...]:
        """Return messages that have fewer timers than they must have; others work in between."""
        found: list[str] = []
        after = 0
        while len(found) < limit:
            after, lacking = await self._read(self._tables.timers.lacking, after, AUDIT_ROWS)
            found += lacking
            if not after:
                break
        return tuple(found[: max(limit, 0)])

    async def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[str]
    ) -> bool:
        """Replace the directory by a newer one."""
        self._running()
        check_directory(version, files)
        args = (version, dict(files), pins, [raw(entry) for entry in log])
        weight = sum(map(len, files.values()))
        return await self._write(self._tables.put_directory, *args, weight=weight)

    async def directory(self) -> tuple[int, dict[str, bytes], bytes] | None:
        """Return the directory."""
        return await self._read(self._tables.directory)

    async def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        """Keep prekeys."""
        self._running()
        check_prekeys(rows)
        await self._write(self._tables.put_prekeys, tuple(rows))

    async def prekeys(self, desk: str, now: int) -> tuple[PrekeyRow, ...]:
        """Return the prekeys that are valid now or later."""
        return await self._read(self._tables.prekeys, desk, now)

    async def purge(self, now: int, limit: int) -> int:
        """Delete what is past its date: envelopes first, then prekeys."""
        check_integer(now)
        return await self._write(self._tables.purge, now, limit)

    async def log(self) -> Frontier:
        """Return the log's frontier."""
        return await self._read(self._tables.journal.get)

    async def log_entries(self, start: int, end: int) -> list[bytes]:
        """Return a part of the log."""
        return await self._read(self._tables.journal.entries, start, end)

    async def counts(self) -> Mapping[str, int]:
        """Return the kept numbers."""
        return await self._read(self._tables.counts)

    # Backup and check

    async def check(self) -> list[str]:
        """Look at everything; nothing else is done meanwhile."""
        writer = self._running()
        return await writer.on_thread(self._look, writer)

    def _look(self, writer: Writer) -> list[str]:
        writer.must_be_whole()
        assert self._connection
        try:
            return findings.look(self._connection, self._tables.journal)
        except sqlite3.Error as error:
            return [f"The store cannot be read to its end ({error})."]

    async def watch(self, hear: Hear) -> None:
        """Return: there is no other instance."""

    async def backup(self, path: Path) -> None:
        """Copy page by page while batches go on in between; verify the copy before it gets its name."""
        writer = self._running()
        part = path.with_name(path.name + ".part")
        try:
            await writer.on_thread(self._copy_out, path, part, writer)
            await asyncio.to_thread(self._seal, part, path, _everything)
        except (sqlite3.Error, OSError) as error:
            raise Failed(f"The backup to {path} failed ({error}).", exit_code=73) from error
        finally:
            with suppress(OSError):  # the next backup tries again
                part.unlink(missing_ok=True)

    def _copy_out(self, path: Path, part: Path, writer: Writer) -> None:
        if path.exists():
            raise Failed(
                f"{path} is there already and is not overwritten.",
                hint="Choose another name, or move the old backup away first.",
                exit_code=73,
            )
        part.unlink(missing_ok=True)  # what an interrupted backup left

        def between() -> None:
            writer.turns()
            writer.must_be_whole()  # or SQLite would wait for a transaction that never ends

        between()
        self._copy(part, between)

    def _copy(self, part: Path, between: Callable[[], None]) -> None:
        assert self._connection
        # A copy that filled the disk would take the store down with it.
        place.check_room(part.parent, self._free_min + self.path.stat().st_size)
        place.create_private(part)
        target = sqlite3.connect(part, isolation_level=None)
        try:
            self._connection.backup(
                target, pages=BACKUP_PAGES, progress=lambda _status, _left, _all: between()
            )
        finally:
            target.close()

    def _seal(
        self, part: Path, path: Path, look: Callable[[sqlite3.Connection], list[str]]
    ) -> None:
        """Verify a copy, mark it as one and give it its name."""
        copy = sqlite3.connect(part, isolation_level=None)
        try:
            copy.execute("PRAGMA locking_mode = EXCLUSIVE")  # leaves no shared memory beside it
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, to be carried away
            if found := look(copy):
                raise Failed(
                    f"The copy of the store {self.path} is not sound: {found[0]}",
                    hint="Stop the relay and run `relay doctor`.",
                )
            copy.execute("UPDATE store SET copied = 1")
        finally:
            copy.close()
        make_durable(part)
        part.rename(path)
        make_durable(path)


def _everything(connection: sqlite3.Connection) -> list[str]:
    return findings.whole(connection) or findings.look(connection, Tables(connection).journal)


def _weight(statements: Sequence[Kept]) -> int:
    return sum(len(kept.wire) for kept in statements)


def _pages(batch: list[Operation]) -> int:
    """Return about how many pages a batch has put into the write-ahead log."""
    return 12 + 3 * len(batch) + sum(operation.weight for operation in batch) // 4096
