"""The simulated disk does what a disk does, and sqlite3's stand-in what sqlite3 does: what rests on them is worth it."""

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders_apsw import SQLITE3, stage
from builders_disk import PAGE, ROOT, SECTOR, SYSTEM, Dead, Disk, Fault, Node

from relay import durable

FILE = f"{ROOT}/file"
NEW = os.O_CREAT | os.O_RDWR


@pytest.fixture
def disk() -> Disk:
    """Return a disk in the drive."""
    made = Disk(random.Random(1))
    made.path("")
    return made


def written(disk: Disk, data: bytes, *, sync: bool = True, name: bool = True) -> int:
    """Write a file; return its descriptor."""
    descriptor = SYSTEM.open(FILE, NEW)
    SYSTEM.pwrite(descriptor, data, 0)
    if sync:
        SYSTEM.fsync(descriptor)
    if name:
        disk.sync_folder(ROOT, disk.boot)
    return descriptor


def outcomes(tell: Callable[[Disk], object], make: Callable[[Disk], object]) -> set[Any]:
    """Return all that is told of many disks after *make* and a power cut."""
    found = set()
    for seed in range(200):
        disk = Disk(random.Random(seed))
        disk.path("")
        make(disk)
        disk.cut()
        found.add(tell(disk))
    return found


def media(disk: Disk) -> bytes | None:
    """Return what is left of the file."""
    return disk.image().get(FILE)


def test_what_was_synced_survives(disk: Disk) -> None:
    """Bytes and name were synced: they are there whatever the dice say."""
    assert outcomes(media, lambda disk: written(disk, b"a" * 3000)) == {b"a" * 3000}


def test_bytes_that_were_not_synced_survive_in_part() -> None:
    """An overwrite without a sync: all of it, nothing, and torn between sectors, but never within one."""

    def make(disk: Disk) -> None:
        descriptor = written(disk, b"a" * 4 * SECTOR)
        SYSTEM.pwrite(descriptor, b"b" * 4 * SECTOR, 0)

    found = outcomes(media, make)
    assert {b"a" * 4 * SECTOR, b"b" * 4 * SECTOR} < found
    for one in found:
        for at in range(0, len(one), SECTOR):
            assert len(set(one[at : at + SECTOR])) == 1
    assert any(one.startswith(b"a") and one.endswith(b"b") for one in found)  # out of order
    assert any(one.startswith(b"b") and one.endswith(b"a") for one in found)


def test_a_name_that_was_not_synced_may_go() -> None:
    """A file whose folder was not synced is there or not; a rename is one or the other name, never both or none."""
    assert outcomes(media, lambda disk: written(disk, b"a", name=False)) == {None, b"a"}

    def rename(disk: Disk) -> None:
        written(disk, b"a")
        disk.rename(FILE, f"{ROOT}/other")

    assert outcomes(lambda disk: tuple(disk.image()), rename) == {(FILE,), (f"{ROOT}/other",)}


def test_a_truncation_that_was_not_synced_may_go() -> None:
    """The file comes back as long as it was, or short."""

    def make(disk: Disk) -> None:
        SYSTEM.ftruncate(written(disk, b"a" * 100), 0)

    assert outcomes(media, make) == {b"", b"a" * 100}


def test_a_failed_sync_loses_and_the_next_one_succeeds_without(disk: Disk) -> None:
    """The cache shows what the disk has not, to the next process, too; only what is written again is written."""
    descriptor = written(disk, b"a" * 2 * PAGE)
    SYSTEM.pwrite(descriptor, b"b" * 2 * PAGE, 0)
    disk.dice = random.Random(3)  # throws the whole write away
    disk.faults = [Fault("error", "sync", disk.calls["sync"] + 1)]
    with pytest.raises(OSError, match="planted"):
        SYSTEM.fsync(descriptor)
    SYSTEM.fsync(descriptor)
    disk.restart()
    descriptor = SYSTEM.open(FILE, NEW)
    assert SYSTEM.pread(descriptor, 99999, 0) == b"b" * 2 * PAGE
    assert media(disk) == b"a" * 2 * PAGE
    SYSTEM.pwrite(descriptor, b"c", 0)  # makes its page dirty, and no other
    SYSTEM.fsync(descriptor)
    disk.cut()
    assert media(disk) == b"c" + b"b" * (PAGE - 1) + b"a" * PAGE


def test_what_is_written_again_is_on_the_disk(disk: Disk) -> None:
    """Writing the log again mends what a failed sync has left in doubt."""
    wal = Node(bytearray(b"b" * 9000), bytearray(9000), stale={0, 1, 2})
    disk.names[f"{FILE}-wal"] = disk._durable[f"{FILE}-wal"] = wal
    with stage(durable):
        durable.settle_log(disk.path("file"))
    disk.cut()
    assert disk.image()[f"{FILE}-wal"] == b"b" * 9000


@pytest.mark.parametrize("what", ["cut", "kill"])
def test_the_dead_write_nothing(disk: Disk, what: str) -> None:
    """From the chosen call on nothing of the process reaches the disk, and its handles stay dead in the next life."""
    descriptor = written(disk, b"a")
    disk.faults = [Fault(what, "write", disk.calls["write"] + 1)]
    for _ in range(2):
        with pytest.raises(Dead):
            SYSTEM.pwrite(descriptor, b"b", 0)
    disk.restart()
    with pytest.raises(Dead):
        SYSTEM.pwrite(descriptor, b"b", 0)
    assert media(disk) == b"a"


def test_a_full_disk_takes_no_write_until_the_process_ends(disk: Disk) -> None:
    """ENOSPC from the chosen call on; half a write leaves its half."""
    descriptor = written(disk, b"a")
    disk.faults = [Fault("full", "write", disk.calls["write"] + 1)]
    for _ in range(2):
        with pytest.raises(OSError, match="no room") as told:
            SYSTEM.pwrite(descriptor, b"bb", 0)
        assert told.value.errno == errno.ENOSPC
    disk.restart()
    disk.faults = [Fault("short", "write", 1)]
    descriptor = SYSTEM.open(FILE, NEW)
    with pytest.raises(OSError, match="half"):
        SYSTEM.pwrite(descriptor, b"bb", 0)
    assert SYSTEM.pread(descriptor, 9, 0) == b"b"


def test_the_stand_in_answers_as_sqlite3_does(disk: Disk, tmp_path: Path) -> None:
    """Rows, counts of changed rows, transactions, scripts, copies and errors: the same from both."""

    def use(module: Any, path: object, copy: object) -> list[Any]:
        found: list[Any] = []
        connection = module.connect(path, timeout=0, isolation_level=None, cached_statements=9)
        execute = connection.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        found.append(execute("PRAGMA journal_mode = WAL").fetchone())
        connection.executescript("CREATE TABLE t (a PRIMARY KEY, b); CREATE INDEX i ON t (b);")
        execute("BEGIN IMMEDIATE")
        found.append(connection.in_transaction)
        many = connection.executemany("INSERT INTO t VALUES (?, ?)", [(1, b"x"), (2, "y")])
        found.append(many.rowcount)
        connection.rollback()
        found.append(execute("SELECT count(*) FROM t").fetchall())
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, n % 2) for n in range(9)))
        found.append(execute("INSERT OR IGNORE INTO t VALUES (1, 1)").rowcount)
        found.append(execute("UPDATE t SET b = 7 WHERE b = 1").rowcount)
        found.append(execute("INSERT INTO t VALUES (99, NULL)").lastrowid)
        cursor = execute("SELECT a, b FROM t ORDER BY a")
        found += [[one[0] for one in cursor.description], cursor.fetchone(), list(cursor)]
        found.append(execute("SELECT 1 WHERE 0").fetchone())
        for wrong in ("INSERT INTO t VALUES (1, 1)", "SELECT nothing FROM t"):
            try:
                execute(wrong).fetchall()
            except sqlite3.Error as error:
                found.append((type(error), getattr(error, "sqlite_errorname", "")))
        target = module.connect(copy, isolation_level=None)
        connection.backup(target, pages=2, progress=lambda *_: None)
        target.close()
        connection.close()
        again = module.connect(copy, isolation_level=None)
        again.execute("PRAGMA locking_mode = EXCLUSIVE")
        found.append(again.execute("SELECT count(*) FROM t").fetchone())
        again.close()
        return found

    real = use(sqlite3, tmp_path / "a.db", tmp_path / "b.db")
    with stage():
        assert use(SQLITE3, disk.path("a.db"), disk.path("b.db")) == real
    assert len(real) > 12


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault("error", "write", 1), "SQLITE_IOERR_WRITE"),
        (Fault("short", "write", 1), "SQLITE_IOERR_WRITE"),
        (Fault("error", "sync", 1), "SQLITE_IOERR_FSYNC"),
        (Fault("full", "write", 1), "SQLITE_FULL"),
        (Fault("cut", "any", 1), "SQLITE_IOERR"),
    ],
    ids=str,
)
def test_errors_of_the_disk_have_sqlite3s_names(disk: Disk, fault: Fault, name: str) -> None:
    """The store reads the names of errors; the stand-in gives the ones that sqlite3 gives."""
    connection = SQLITE3.connect(disk.path("a.db"))
    connection.execute("CREATE TABLE t (a)")
    disk.faults = [Fault(fault.what, fault.of, disk.calls[fault.of] + 1)]
    with pytest.raises(sqlite3.OperationalError) as told:
        connection.execute("INSERT INTO t VALUES (1)")
    assert told.value.sqlite_errorname.startswith(name)
    connection.close()
