# ruff: noqa: S608 - names of tables and columns come from relay.desk.shelves and from this room alone
"""The desk's archive: one SQLite file, every value in it sealed, every step one durable commit.

::

    with archive.commit():                       # all of it, or nothing, and durable on return
        archive.put("message", sid, {"received": now}, {"body": body})
        archive.put("posting", other, {"msg": msg}, {"wire": delivered})

What stands where, in the clear or sealed, is said in :mod:`relay.desk.shelves`. Sealed is XChaCha20-Poly1305 under the
archive key, bound to table, row and column, so that nothing can be moved or swapped in the file. The key itself lives
in the device's key ring and, wrapped, in the file for the desk's recovery key.

The file has one holder and is used in the thread that opened it. A commit takes about a disk's flush; the
desk waits for it, because nothing may leave the desk before it is kept.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from keys import suite
from keys.errors import Failed, Refused
from relay import errors
from relay.desk.shelves import OWN_TO_A_DEVICE, SEED_SHELF, SHELVES, held_in
from relay.durable import settle_log, sync, sync_log

VERSION = 1
"""Format of the file (user_version). A file of a newer format is refused, never guessed at."""
APPLICATION_ID = 0x706F6334
LABEL = b"poc24/1 archive\n"
KEY_BYTES = 32
_OBJECTIONS = (sqlite3.Error, OSError, UnicodeDecodeError)  # the last: it quotes what it objects to
Row = dict[str, Any]
"""A row as read: its id, its columns in the clear, and its sealed columns opened (bytes; b"" where none was kept)."""


class Archive:
    """One open archive file; see the module for the shape of its use."""

    def __init__(self, path: Path, key: bytes, *, recovery: bytes = b"") -> None:
        """Open the archive at *path*, or make it (mode 0600).

        *key* has 32 bytes. *recovery*: the desk's public recovery key (1216 bytes), for which the archive key is
        wrapped in the file. Raises Failed for a file that is newer, in use or no archive; E_KEYRING for another key.
        """
        if len(key) != KEY_BYTES:
            raise Failed(f"An archive key has {KEY_BYTES} bytes, not {len(key)}.", exit_code=78)
        self.path = path
        self._key = key
        self._writing = self._broken = False
        self._file = _open(path)
        try:
            _check_version(self._file, path)
            with self._unbroken():
                self._create(self._file)
            self._check_key()
            if recovery:
                self._wrap_for(recovery)
        except BaseException:
            self._file.close()
            raise

    @staticmethod
    def _create(file: sqlite3.Connection) -> None:
        file.execute("BEGIN IMMEDIATE")
        for table, shelf in SHELVES.items():
            columns = ["id TEXT PRIMARY KEY"]
            columns += [f"{name} {kind} NOT NULL" for name, kind in shelf.clear.items()]
            columns += [f"{name} BLOB NOT NULL" for name in shelf.sealed]
            file.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)})")
            for name in shelf.indexes:
                file.execute(f"CREATE INDEX IF NOT EXISTS {table}_{name} ON {table} ({name})")
        # In the clear: who restores a backup has no archive key yet.
        file.execute(
            "CREATE TABLE IF NOT EXISTS recovery (id TEXT PRIMARY KEY, wrapped BLOB NOT NULL)"
        )
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {VERSION}")
        file.execute("COMMIT")

    def _check_key(self) -> None:
        try:
            found = self.get("meta", "key")
        except Refused as other:
            raise Refused(
                other.code,
                f"The archive {self.path} does not open with this device's archive key.",
                hint="Use the key ring that belongs to it, or: desk restore BACKUP with the recovery key.",
            ) from None
        if found is None:
            with self.commit():
                self.put("meta", "key", {}, {"value": b"poc24 archive"})

    def _wrap_for(self, recovery: bytes) -> None:
        """Keep the archive key wrapped for the desk's recovery key; only that key's seed opens it."""
        name = suite.pkid_of(recovery).hex()
        held, _count = self._run("SELECT 1 FROM recovery WHERE id = ?", (name,))
        if held:
            return
        with self.commit():
            self._run("DELETE FROM recovery")
            wrapped = suite.wrap(recovery, self._key, LABEL)
            self._run("INSERT INTO recovery VALUES (?, ?)", (name, wrapped))

    def close(self) -> None:
        """Close the file; what was committed is in it."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the archive."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close it."""
        self.close()

    # One step, one commit

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Make what happens inside true together, durable on return; nothing of it if the block raises.

        Blocks do not nest, and nothing may be awaited inside. Failed if the disk refuses; the archive is then broken
        for good, because nobody knows what reached the disk.
        """
        assert not self._writing, "A step of the archive is one commit; blocks do not nest."
        self._run("BEGIN IMMEDIATE")
        self._writing = True
        try:
            yield
            self._barrier()
        except BaseException:
            if self._file.in_transaction:
                self._file.rollback()
            raise
        finally:
            self._writing = False

    def _barrier(self) -> None:
        self._run("COMMIT")

    def _run(self, sql: str, values: Sequence[object] = ()) -> tuple[list[Any], int]:
        """Run one statement; return its rows and how many it changed."""
        with self._unbroken():
            cursor = self._file.execute(sql, values)
            return cursor.fetchall(), cursor.rowcount

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """Do something with the file. What SQLite or the disk objects to breaks the archive."""
        if self._broken:
            raise Failed(
                "The desk's archive is broken since a write failed; nothing more is kept.",
                hint="Make room on the disk or repair it, then start `desk serve` again.",
                exit_code=errors.TRY_AGAIN,
            )
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except _OBJECTIONS as error:
            self._broken = True
            raise Failed(
                f"The desk's archive {self.path} cannot be used ({error}).",
                hint="See whether the disk is full (df -h), then start `desk serve` again. What was confirmed is kept.",
                exit_code=errors.TRY_AGAIN,
            ) from None

    # Rows

    def put(
        self, table: str, row: str, clear: Mapping[str, int | str], sealed: Mapping[str, bytes]
    ) -> None:
        """Write a whole row, in place of the one that may be there."""
        self._inside()
        names = ["id", *clear, *sealed]
        values = [row, *clear.values(), *(self._seal(table, row, c, v) for c, v in sealed.items())]
        marks = ", ".join("?" * len(names))
        self._run(f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", values)

    def change(
        self,
        table: str,
        row: str,
        clear: Mapping[str, int | str],
        sealed: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Change some columns of a row; nothing happens if the row is not there."""
        self._inside()
        names = [*clear, *sealed]
        values = [*clear.values(), *(self._seal(table, row, c, v) for c, v in sealed.items()), row]
        assignments = ", ".join(f"{name} = ?" for name in names)
        self._run(f"UPDATE {table} SET {assignments} WHERE id = ?", values)

    def drop(self, table: str, row: str) -> None:
        """Delete a row; its bytes are overwritten (secure_delete)."""
        self._inside()
        self._run(f"DELETE FROM {table} WHERE id = ?", (row,))

    def get(self, table: str, row: str) -> Row | None:
        """Return one row with its sealed columns opened; E_KEYRING if a byte of it was changed."""
        found = self.find(table, "id = ?", (row,))
        return found[0] if found else None

    def find(
        self,
        table: str,
        where: str = "1",
        values: Sequence[object] = (),
        *,
        order: str = "id",
        limit: int = -1,
        columns: Sequence[str] | None = None,
    ) -> list[Row]:
        """Return rows; *where* and *order* name columns in the clear. *columns*: the sealed ones to open, else all."""
        shelf = SHELVES[table]
        opened = tuple(shelf.sealed if columns is None else columns)
        names = ("id", *shelf.clear, *opened)
        found, _count = self._run(
            f"SELECT {', '.join(names)} FROM {table} WHERE {where} ORDER BY {order} LIMIT ?",
            (*values, limit),
        )
        rows = []
        for values_of_row in found:
            row = shelf.typed(dict(zip(names, values_of_row, strict=True)))
            for column in opened:
                row[column] = self._open(table, row["id"], column, row[column])
            rows.append(row)
        return rows

    def count(self, table: str, where: str = "1", values: Sequence[object] = ()) -> int:
        """Return how many rows there are."""
        ((number,),), _count = self._run(f"SELECT count(*) FROM {table} WHERE {where}", values)
        return int(number)

    def purge(self, table: str, where: str, values: Sequence[object] = ()) -> int:
        """Delete rows; return how many."""
        self._inside()
        return self._run(f"DELETE FROM {table} WHERE {where}", values)[1]

    def scrub(self) -> None:
        """Bring the write-ahead log into the file and empty it, so that deleted bytes do not linger there."""
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        with self._unbroken():
            sync_log(self.path)  # or a power cut brings back what was in it

    def _inside(self) -> None:
        assert self._writing, "A change of the archive belongs into a commit() block."

    def _seal(self, table: str, row: str, column: str, value: bytes) -> bytes:
        return suite.seal_at_rest(self._key, value, _bound(table, row, column)) if value else b""

    def _open(self, table: str, row: str, column: str, value: bytes) -> bytes:
        if not value:
            return b""
        return suite.open_at_rest(self._key, value, _bound(table, row, column))

    # Backup and recovery

    def backup(self, path: Path) -> dict[str, Any]:
        """Write a sealed copy (mode 0600) without prekey seeds; never over a file that is there.

        Returns {"path", "bytes", "recoverable"}: whether the desk's recovery key opens it on a new device.
        """
        if path.exists():
            raise Failed(
                f"{path} is there already; a backup never overwrites.",
                hint="Give another name.",
                exit_code=73,
            )
        partial = path.with_name(path.name + ".part")
        partial.unlink(missing_ok=True)
        recoverable = bool(self._run("SELECT 1 FROM recovery")[0])
        try:
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            with closing(_open(partial)) as copy:
                self._create(copy)
                self._copy_to(copy)
                copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                copy.execute("PRAGMA journal_mode = DELETE")
                (verdict,) = copy.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise Failed(f"The backup did not pass its check: {verdict}.")
            sync(partial)
            partial.rename(path)
            sync(path.parent)
        except _OBJECTIONS as error:
            partial.unlink(missing_ok=True)
            raise Failed(
                f"The backup could not be written: {error}.",
                hint="Choose a place with room that this account may write to.",
                exit_code=73,
            ) from None
        return {"path": str(path), "bytes": path.stat().st_size, "recoverable": recoverable}

    def _copy_to(self, copy: sqlite3.Connection) -> None:
        copy.execute("BEGIN IMMEDIATE")
        for table in (*SHELVES, "recovery"):
            if table != SEED_SHELF:
                cursor = self._file.execute(f"SELECT * FROM {table}")
                marks = ", ".join("?" * len(cursor.description))
                copy.executemany(f"INSERT INTO {table} VALUES ({marks})", cursor)
        copy.execute("COMMIT")

    @classmethod
    def restore(
        cls, backup: Path, path: Path, key: bytes, *, seed: bytes, recovery: bytes = b""
    ) -> "Archive":
        """Make a new archive at *path* under *key* from a backup and the seed (32 bytes) of the desk's recovery key.

        Every value is opened and sealed anew, so the lost device's key opens nothing of it. Raises Failed for a file
        that is there or a backup that cannot be recovered, E_DECRYPT for another recovery key.
        """
        if path.exists():
            raise Failed(
                f"{path} is there already; a restore never overwrites an archive.",
                hint="Move it away first, or give another --home.",
                exit_code=73,
            )
        if not backup.exists():
            raise Failed(f"There is no backup at {backup}.", exit_code=66)
        source = _open(backup, writing=False)
        try:
            _check_version(source, backup)
            old = suite.unwrap(seed, _wrapped(source, backup), LABEL)
            made = cls(path, key, recovery=recovery)
            try:
                made._take_from(source, old)
            except BaseException:
                made.close()
                path.unlink(missing_ok=True)
                raise
            return made
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise Failed(
                f"The backup {backup} is damaged ({error}).",
                hint="Use an older backup; the messages since then can be fetched from the relay while they live.",
                exit_code=errors.BAD_DATA,
            ) from None
        finally:
            source.close()

    def _take_from(self, source: sqlite3.Connection, old: bytes) -> None:
        with self.commit():
            for table, shelf in held_in(source.execute("SELECT name FROM sqlite_master")):
                names = ("id", *shelf.clear, *shelf.sealed)
                for values in source.execute(f"SELECT {', '.join(names)} FROM {table}"):
                    row = dict(zip(names, values, strict=True))
                    if (table, row["id"]) in OWN_TO_A_DEVICE or (table, "") in OWN_TO_A_DEVICE:
                        continue
                    opened = {
                        name: suite.open_at_rest(old, row[name], _bound(table, row["id"], name))
                        if row[name]
                        else b""
                        for name in shelf.sealed
                    }
                    self.put(table, row["id"], {name: row[name] for name in shelf.clear}, opened)


def _check_version(file: sqlite3.Connection, path: Path) -> None:
    """Refuse a file of a newer format, and a database that is not an archive; nothing is written to either."""
    try:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        (application,) = file.execute("PRAGMA application_id").fetchone()
        (tables,) = file.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        raise _no_archive(path) from None
    if tables and application != APPLICATION_ID:
        raise Failed(
            f"The file {path} is a database, but not a desk's archive. It was left untouched.",
            hint="Move it away or give another --home.",
            exit_code=errors.CONFIGURATION,
        )
    if version > VERSION:
        raise Failed(
            f"The archive {path} is of format {version}, from a newer version of this program, which knows "
            f"formats up to {VERSION}. It was left untouched.",
            hint="Install the newer version again, or give another --home.",
            exit_code=errors.CONFIGURATION,
        )


def _no_archive(path: Path) -> Failed:
    return Failed(
        f"The file {path} is no archive, or it is damaged.",
        hint="Move it away and restore a backup: desk restore BACKUP.",
        exit_code=errors.BAD_DATA,
    )


def _wrapped(source: sqlite3.Connection, path: Path) -> bytes:
    """Return the archive key as it is wrapped for the desk's recovery key."""
    found = source.execute("SELECT wrapped FROM recovery").fetchone()
    if found is None:
        raise Failed(
            f"{path} is not a backup that a recovery key opens.",
            hint="Backups name a recovery key only if desk.toml had one (`recovery`) when they were made.",
            exit_code=errors.BAD_DATA,
        )
    return bytes(found[0])


def _bound(table: str, row: str, column: str) -> bytes:
    return LABEL + f"{table}\n{row}\n{column}".encode()


def _open(path: Path, *, writing: bool = True) -> sqlite3.Connection:
    with ExitStack() as undo:
        try:
            if not writing:
                return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            file = sqlite3.connect(path, timeout=1, isolation_level=None)
            undo.callback(file.close)
            file.execute("PRAGMA locking_mode = EXCLUSIVE")
            (mode,) = file.execute("PRAGMA journal_mode = WAL").fetchone()
            file.execute("PRAGMA synchronous = FULL")
            file.execute("PRAGMA secure_delete = ON")
            (level,) = file.execute("PRAGMA synchronous").fetchone()
            file.execute("PRAGMA user_version").fetchone()  # so that there is a log
            settle_log(path)
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (sqlite3.OperationalError, OSError) as error:
            if "locked" not in str(error):
                raise Failed(
                    f"The archive {path} cannot be opened: {error}.",
                    hint="See that the folder is there and belongs to this account.",
                    exit_code=errors.CONFIGURATION,
                ) from None
            raise Failed(
                f"The archive {path} is in use: another `desk` of this account has it open.",
                hint="Type it again while `desk serve` runs (it asks the running desk), or stop the other one.",
                exit_code=errors.TRY_AGAIN,
            ) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            raise _no_archive(path) from None
        if mode != "wal" or level != 2:
            raise Failed(
                f"SQLite cannot keep {path} safely here (journal {mode}, synchronous {level}).",
                hint="Put the desk's home on a local disk.",
                exit_code=errors.CONFIGURATION,
            )
        undo.pop_all()
    return file
