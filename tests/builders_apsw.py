# ruff: noqa: N802 - the names of SQLite's VFS methods are SQLite's
"""SQLite on the simulated disk: an operating system for it (apsw's VFS), and apsw in the shape of ``sqlite3``.

The code under test is the real one. ``stage()`` puts two names into its modules for a while: ``sqlite3`` becomes
:data:`SQLITE3`, whose connections live on the disk in the drive, and ``os`` becomes builders_disk's. Nothing else is
replaced, and production knows nothing of it.
"""

import errno
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Self, cast
from unittest import mock

import apsw
from builders_disk import DISK, LOCKS, SYSTEM, Dead, Disk, Node

VFS_NAME = "poc24-disk"
PSOW = apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE
"""As SQLite takes it of every Unix disk: a write that is torn hurts no byte beside it."""
SECTOR_SIZE = 4096
"""As SQLite takes it of every Unix disk; what is torn here is smaller."""

_CODES = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "name": apsw.SQLITE_IOERR_DELETE,
}
_NAMED_JOURNALS = (
    apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
)


def _coded(kind: type[apsw.Error], code: int, text: object) -> apsw.Error:
    """Return an error with the code that SQLite is to be told."""
    made: Any = kind(str(text))
    made.extendedresult = code
    return cast("apsw.Error", made)


def _error(of: str, error: OSError) -> apsw.Error:
    """Return what SQLite is told of a call that failed."""
    if error.errno == errno.ENOSPC:
        return _coded(apsw.FullError, apsw.SQLITE_FULL, error)
    return _coded(apsw.IOError, _CODES[of], error)


class _File:
    """One file that SQLite has open. apsw takes any object with these methods."""

    def __init__(self, disk: Disk, path: str, node: Node, flags: int) -> None:
        self._disk = disk
        self._path = path
        self._node = node
        self._boot = disk.boot
        self._delete = bool(flags & apsw.SQLITE_OPEN_DELETEONCLOSE)
        # SQLite's own operating system layer syncs the folder with the first sync of a new journal.
        self._named = not (flags & apsw.SQLITE_OPEN_CREATE and flags & _NAMED_JOURNALS)

    def xRead(self, amount: int, offset: int) -> bytes:
        try:
            self._disk.call("read", self._boot)
        except OSError as error:
            raise _error("read", error) from None
        return bytes(self._node.cache[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self._disk.write(self._node, offset, bytes(data), self._boot)
        except OSError as error:
            raise _error("write", error) from None

    def xTruncate(self, size: int) -> None:
        try:
            self._disk.truncate(self._node, size, self._boot)
        except OSError as error:
            raise _error("truncate", error) from None

    def xSync(self, flags: int) -> None:
        try:
            self._disk.sync(self._node, self._boot)
        except OSError as error:
            raise _error("sync", error) from None
        if not self._named:
            self._named = True
            try:  # and ignores what came of it, as SQLite does
                self._disk.sync_folder(self._path.rpartition("/")[0], self._boot)
            except Dead as error:
                raise _error("sync", error) from None
            except OSError:
                pass

    def xFileSize(self) -> int:
        return len(self._node.cache)

    def xClose(self) -> None:
        if self._delete and not self._disk.died and self._boot == self._disk.boot:
            self._disk.names.pop(self._path, None)

    def xLock(self, level: int) -> None:
        pass

    def xUnlock(self, level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, operation: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return SECTOR_SIZE

    def xDeviceCharacteristics(self) -> int:
        return PSOW


class _System(apsw.VFS):
    """SQLite's operating system, on the disk in the drive."""

    def __init__(self) -> None:
        super().__init__(
            VFS_NAME, "", makedefault=True, iVersion=1
        )  # the default is asked for dice

    def xRandomness(self, numbytes: int) -> bytes:
        return DISK[0].dice.randbytes(numbytes)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        disk = DISK[0]
        if name is None:
            return _File(disk, "", Node(), flags[0])
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        flags[1] = flags[0]
        try:
            if disk.died:
                raise Dead
            node = disk.open(path, create=bool(flags[0] & apsw.SQLITE_OPEN_CREATE))
        except OSError as error:
            raise _coded(apsw.CantOpenError, apsw.SQLITE_CANTOPEN, error) from None
        return _File(disk, path, node, flags[0])

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001
        disk = DISK[0]
        if filename not in disk.names:
            raise _coded(apsw.IOError, apsw.SQLITE_IOERR_DELETE_NOENT, "is not there")
        try:
            disk.unlink(filename)
            if syncdir:
                disk.sync_folder(filename.rpartition("/")[0], disk.boot)
        except OSError as error:
            raise _error("name", error) from None

    def xAccess(self, pathname: str, flags: int) -> bool:
        node = DISK[0].names.get(pathname)
        # As SQLite's own layer has it: an empty file counts as none.
        return bool(node and node.cache) if flags == apsw.SQLITE_ACCESS_EXISTS else node is not None

    def xFullPathname(self, name: str) -> str:
        return name

    def xSleep(self, microseconds: int) -> int:
        return microseconds


_OPERATING = _System()


def seed_sqlite() -> None:
    """Let SQLite draw its salts from the dice of the disk in the drive, from here on."""
    apsw.randomness(0)


# apsw in the shape of sqlite3


def _translated(error: apsw.Error) -> sqlite3.Error:
    """Return the error that ``sqlite3`` would have raised."""
    code = getattr(error, "extendedresult", 0) or getattr(error, "result", 0)
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(
        code & 255, type(error).__name__
    )
    primary = apsw.mapping_result_codes.get(code & 255, "")
    kinds: dict[object, type[sqlite3.Error]] = {
        "SQLITE_CONSTRAINT": sqlite3.IntegrityError,
        "SQLITE_CORRUPT": sqlite3.DatabaseError,
        "SQLITE_NOTADB": sqlite3.DatabaseError,
        "SQLITE_MISUSE": sqlite3.ProgrammingError,
    }
    made = kinds.get(primary, sqlite3.OperationalError)(str(error))
    made.sqlite_errorcode, made.sqlite_errorname = code, str(name)
    return made


class Cursor:
    """The rows of one statement, and how many it changed."""

    def __init__(self, cursor: apsw.Cursor, rowcount: int) -> None:
        """Take over a cursor that was executed."""
        self._cursor = cursor
        self.rowcount = rowcount

    @property
    def lastrowid(self) -> int:
        """The row that was inserted last."""
        return int(self._cursor.connection.last_insert_rowid())

    @property
    def description(self) -> Sequence[Any]:
        """The columns, as the DB API has them."""
        return self._cursor.description

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._cursor
        except apsw.Error as error:
            raise _translated(error) from None

    def fetchall(self) -> list[Any]:
        """Return what is left."""
        return list(self)

    def fetchone(self) -> Any:
        """Return the next row, None at the end."""
        try:
            return self._cursor.fetchone()
        except apsw.Error as error:
            raise _translated(error) from None


class Connection:
    """A connection of apsw with the methods that the store and the archive use of sqlite3's."""

    def __init__(self, path: object, cached: int) -> None:
        """Open the file at *path* on the disk in the drive."""
        try:
            self._connection = apsw.Connection(str(path), vfs=VFS_NAME, statementcachesize=cached)
        except apsw.Error as error:
            raise _translated(error) from None

    def _run(self, run: Callable[..., apsw.Cursor], *args: Any) -> Cursor:
        before = self._connection.total_changes()
        try:
            cursor = run(*args)
        except apsw.Error as error:
            raise _translated(error) from None
        return Cursor(cursor, self._connection.total_changes() - before)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        """Execute one statement."""
        return self._run(self._connection.execute, sql, tuple(values))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        """Execute one statement for many rows."""
        return self._run(self._connection.executemany, sql, rows)

    def executescript(self, sql: str) -> Cursor:
        """Execute many statements."""
        return self._run(self._connection.execute, sql)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def rollback(self) -> None:
        """Roll back, if there is anything."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    def backup(
        self, target: Self, *, pages: int, progress: Callable[[int, int, int], None]
    ) -> None:
        """Copy page by page."""
        try:
            copy = target._connection.backup("main", self._connection, "main")
            try:
                while not copy.done:
                    copy.step(pages)
                    progress(0, copy.remaining, copy.page_count)
                copy.finish()
            finally:
                with suppress(SystemError):  # apsw's, for an error of the disk while it closes
                    copy.close(force=True)
        except apsw.Error as error:
            raise _translated(error) from None

    def close(self) -> None:
        """Close. As in sqlite3 it says nothing of what fails meanwhile: a last checkpoint, that is."""
        with suppress(apsw.Error):
            self._connection.close()


class _Sqlite3:
    """What a module calls ``sqlite3``: its errors and names, and connections on the disk in the drive."""

    sqlite_version_info = tuple(map(int, apsw.sqlite_lib_version().split(".")))

    def __getattr__(self, name: str) -> Any:
        return getattr(sqlite3, name)

    def connect(self, path: object, *, cached_statements: int = 128, **_more: Any) -> Connection:
        """Open a file on the disk in the drive."""
        return Connection(path, cached_statements)


SQLITE3 = _Sqlite3()


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of errors that SQLite ignores, as it may: a journal that stays, a last checkpoint that fails."""
    before = sys.unraisablehook

    def hook(what: Any) -> None:
        if not issubclass(what.exc_type, apsw.Error):
            before(what)

    with mock.patch.object(sys, "unraisablehook", hook):
        yield


@contextmanager
def stage(*modules: ModuleType) -> Iterator[None]:
    """Let *modules* work on the disk in the drive until the end of the block."""
    found = {"sqlite3": SQLITE3, "os": SYSTEM, "fcntl": LOCKS}
    patches = [
        mock.patch.object(module, name, stand_in)
        for module in modules
        for name, stand_in in found.items()
        if isinstance(getattr(module, name, None), ModuleType)
    ]
    for patch in patches:
        patch.start()
    try:
        with _quiet():
            yield
    finally:
        for patch in patches:
            patch.stop()
        SYSTEM.forget()
