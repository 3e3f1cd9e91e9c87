"""What the embedded store promises beyond the contract: crashes, failures, locks, versions, backups
(PROTOCOL 11.1).
"""

import asyncio
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builders_store import NOW, digest, first, kept, message_to, msg_of, page, sealed

from keys.errors import Failed
from relay.core import tlog
from relay.store import place, schema
from relay.store.base import LOST, Change, Committed, Conflict, Stored, Timer
from relay.store.sqlite import SqliteStore
from relay.store.writer import BATCH_OPERATIONS_MAX

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store is."""
    return tmp_path / "relay.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    """Yield a started store."""
    made = SqliteStore(path)
    await made.start(NOW)
    yield made
    await made.stop()


class Watched:
    """A connection that notes what is executed, and can be told to do something before a statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.executed: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Execute a statement after what was asked to come before it."""
        self.executed.append(sql)
        if sql in self.before:
            self.before[sql]()
        return self._connection.execute(sql, *args)

    def backup(self, *args: Any, **more: Any) -> None:
        """Note when a backup begins and ends."""
        self.executed.append("backup begins")
        self._connection.backup(*args, **more)
        self.executed.append("backup ends")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def watch(store: SqliteStore) -> Watched:
    """Let a store work through a watched connection."""
    assert store._connection
    watched = Watched(store._connection)
    store._connection = watched  # type: ignore[assignment]
    return watched


def edit(path: Path, sql: str, *args: object) -> None:
    """Change a file that no store has open."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(sql, args)
    connection.close()


@contextmanager
def held_commit(watched: Watched) -> Iterator[Callable[[], bool]]:
    """Hold every COMMIT until the end of the block; yields what tells whether one was reached."""
    held, reached = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert held.wait(30)

    watched.before["COMMIT"] = hold
    try:
        yield reached.is_set
    finally:
        held.set()


async def wait_for(true: Callable[[], object]) -> None:
    """Give the loop turns until it is true; the test's own limit ends it if it never is."""
    while not true():  # noqa: ASYNC110 - what is waited for happens on a thread
        await asyncio.sleep(0)


# Crashes

WRITING = """
import asyncio, os, sys
from pathlib import Path
from relay.store.base import Committed
from relay.store.sqlite import SqliteStore
from builders_store import NOW, first, kept, message_to, msg_of

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.start(NOW)
    async def write(lane):
        for number in range(1_000_000):
            name = f"{sys.argv[2]} {lane} {number}"
            change = first(name, statements=(kept(name, msg_of(name)),), entries=(message_to("AU", name),))
            assert isinstance(await store.commit(change), Committed)
            os.write(1, f"{name}\\n".encode())
    await asyncio.gather(*map(write, range(16)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    """Three times a process that writes is killed with SIGKILL: what it had told as committed is all there, once."""
    told: list[str] = []
    for life in range(3):
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
            [sys.executable, "-c", WRITING, str(path), str(life)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(200 + 150 * life)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        told += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    assert len(told) >= 1050
    store = SqliteStore(path)
    await store.start(NOW)
    assert path.with_name(path.name + "-wal").stat().st_size == 0  # copied back before serving
    logged = set(await store.log_entries(0, 10**9))
    for name in told:
        assert await store.envelope(msg_of(name)) == sealed(name)
        assert bytes.fromhex(digest(name)) in logged
    refs = [entry.ref for entry in await store.mailbox("AU", 0, 10**9)]
    assert len(refs) == len(set(refs)) == len(logged)
    assert await store.check() == []
    await store.stop()


TOO_LARGE = """
import asyncio, resource, signal, sys
from pathlib import Path
from keys.errors import Failed
from relay.store.sqlite import SqliteStore
from builders_store import NOW, first

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.start(NOW)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    done = 0
    try:
        while True:
            await store.commit(first(f"m{done}"))
            done += 1
    except Failed as error:
        print(done, error.exit_code, error.text)
    try:
        await store.counts()
    except Failed:
        print("broken for good")
    await store.stop()

asyncio.run(main())
"""


async def test_a_real_write_error_breaks_the_store(path: Path) -> None:
    """When the operating system refuses a write, the process is told Failed, for good; the next start has all accepted."""
    process = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [sys.executable, "-c", TOO_LARGE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    said, broken = process.stdout.splitlines()
    done, exit_code, text = said.split(" ", 2)
    assert broken == "broken for good"
    assert exit_code in {"70", "75"}
    assert "may or may not be kept" in text
    store = SqliteStore(path)
    await store.start(NOW)
    assert int(done) > 5
    for number in range(int(done)):
        assert await store.load(msg_of(f"m{number}")) == Stored(1, b"state 1")
    assert await store.check() == []
    await store.stop()


# Failing commits


@pytest.mark.parametrize("name", ["SQLITE_IOERR_FSYNC", "SQLITE_CORRUPT", "SQLITE_FULL"])
async def test_a_failed_commit_breaks_the_store_for_good(
    store: SqliteStore, path: Path, name: str
) -> None:
    """An error at the barrier: everybody in the batch, who waits and who comes later is told
    Failed; nobody a success.
    """

    def fail() -> None:
        error = sqlite3.OperationalError("planted")
        error.sqlite_errorname = name
        raise error

    await store.commit(first("before"))
    watch(store).before["COMMIT"] = fail
    changes = [first(f"m{number}") for number in range(100)]  # more than one batch
    outcomes = await asyncio.gather(*map(store.commit, changes), return_exceptions=True)
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    for call in (store.commit(first("after")), store.load(msg_of("before")), store.head("AU")):
        with pytest.raises(Failed):
            await call
    with pytest.raises(Failed):
        await store.backup(path.with_name("copy.db"))
    with pytest.raises(Failed):
        await store.check()
    await store.stop()
    with pytest.raises(Failed):
        await store.start(NOW)
    again = SqliteStore(path)
    await again.start(NOW)
    assert await again.load(msg_of("before")) == Stored(1, b"state 1")
    assert await again.check() == []
    await again.stop()


async def test_a_full_disk_is_told_as_such(store: SqliteStore, path: Path) -> None:
    """No page left: Failed with exit code 75 and what to do; what was accepted before is there
    after.
    """
    assert store._writer
    connection = store._connection
    assert connection
    await store._writer.on_thread(connection.execute, "PRAGMA max_page_count = 40")
    accepted = []

    async def fill() -> None:
        for number in range(200):
            await store.commit(first(f"m{number}"))
            accepted.append(f"m{number}")

    with pytest.raises(Failed, match="is full") as told:
        await fill()
    assert told.value.exit_code == 75
    assert "Make room" in told.value.hint
    assert accepted
    await store.stop()
    again = SqliteStore(path)
    await again.start(NOW)
    for name in accepted:
        assert await again.envelope(msg_of(name)) == sealed(name)
    assert await again.check() == []
    await again.stop()


async def test_a_failing_checkpoint_breaks_the_store(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after results were released is not forgotten: the next call is told."""
    monkeypatch.setattr("relay.store.sqlite.WAL_PAGES_REST", 0)

    def fail() -> None:
        raise sqlite3.OperationalError("planted")

    watch(store).before["PRAGMA wal_checkpoint(PASSIVE)"] = fail
    assert await store.commit(first("a")) == Committed(1, ())
    assert store._writer
    await wait_for(lambda: store._writer and store._writer.broken)
    with pytest.raises(Failed, match="planted"):
        await store.load(msg_of("a"))


async def test_a_damaged_envelope_is_noticed(store: SqliteStore, path: Path) -> None:
    """One bit of a kept envelope flipped: Failed on reading it, found by the doctor, and others are
    not hurt.
    """
    await store.commit(first("a"))
    await store.commit(first("b"))
    await store.stop()
    turned = sealed("a")[:-1] + bytes([sealed("a")[-1] ^ 1])
    edit(path, "UPDATE envelope SET bytes = ? WHERE arrival = 1", turned)
    await store.start(NOW)
    read, other, written = await asyncio.gather(
        store.envelope(msg_of("a")),
        store.envelope(msg_of("b")),
        store.commit(first("c")),
        return_exceptions=True,
    )
    assert isinstance(read, Failed)
    assert msg_of("a") in read.text
    assert (other, written) == (sealed("b"), Committed(1, ()))
    (finding,) = await store.check()
    assert msg_of("a") in finding


# Group commit


async def test_commits_are_grouped(store: SqliteStore) -> None:
    """Two hundred operations that come together take a few transactions, none with more than 64 of
    them.
    """
    watched = watch(store)
    sizes: list[int] = []
    work = store._work

    def noted(batch: list[Any]) -> None:
        sizes.append(len(batch))
        work(batch)

    assert store._writer
    store._writer._work = noted
    await asyncio.gather(*(store.commit(first(f"m{number}")) for number in range(200)))
    assert sum(sizes) == 200
    assert max(sizes) == BATCH_OPERATIONS_MAX == 64
    assert watched.executed.count("COMMIT") == len(sizes) <= 5


async def test_a_batch_ends_at_its_bytes(store: SqliteStore) -> None:
    """Envelopes of 400 kB: the third crosses 1 MiB, so a transaction takes three of them."""
    sizes: list[int] = []
    work = store._work

    def noted(batch: list[Any]) -> None:
        sizes.append(len(batch))
        work(batch)

    assert store._writer
    store._writer._work = noted
    watched = watch(store)
    with held_commit(watched) as reached:
        one = asyncio.ensure_future(store.commit(first("one")))
        await wait_for(reached)
        names = [f"{number}" * 8000 for number in range(9)]
        calls = [asyncio.ensure_future(store.commit(first(name))) for name in names]
        await asyncio.sleep(0)
    assert await asyncio.gather(one, *calls) == [Committed(1, ())] * 10
    assert sizes == [1, 3, 3, 3]


async def test_the_frontier_is_written_once_a_batch(store: SqliteStore) -> None:
    """Sixty statements in one batch: one write of the log's frontier, and the root is that of all."""
    assert store._writer
    written: list[str] = []
    connection = store._connection
    assert connection
    await store._writer.on_thread(connection.set_trace_callback, written.append)
    await asyncio.gather(*(store.keep([kept(f"s{number}")]) for number in range(60)))
    await store._writer.on_thread(connection.set_trace_callback, None)
    assert sum(line.startswith("UPDATE frontier") for line in written) == 1
    entries = [bytes.fromhex(digest(f"s{number}")) for number in range(60)]
    assert await store.log() == tlog.append(tlog.EMPTY, entries)


async def test_a_dead_pagers_lease_ends_with_the_next_start(store: SqliteStore) -> None:
    """Killed between lease and call: the next process sends the page at once, and knows that it may be the second time."""
    await store.commit(first("a", pages=(page("p", "a"),)))
    await store.lease_pages(NOW, NOW + 60, 9)
    await store.stop()
    await store.start(NOW + 1)
    assert await store.next_page() == NOW + 1
    (again,) = await store.lease_pages(NOW + 1, NOW + 61, 9)
    assert (again.attempt, again.result) == (2, LOST)
    assert not await store.finish_page(digest("p"), 1, "sent", "sent", 0)


async def test_nothing_is_released_before_the_commit(store: SqliteStore) -> None:
    """While the barrier is held, neither what was written nor what was read beside it is told
    (PROTOCOL 11.1).
    """
    await store.commit(first("old"))
    held, reached = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert held.wait(30)

    watched = watch(store)
    watched.before["COMMIT"] = hold
    calls: list[asyncio.Task[Any]] = [
        asyncio.ensure_future(store.commit(first("a"))),
        asyncio.ensure_future(
            store.commit(first("old"))
        ),  # even a conflict may tell of a neighbour
        asyncio.ensure_future(store.load(msg_of("a"))),
        asyncio.ensure_future(store.load(msg_of("old"))),
    ]
    await wait_for(reached.is_set)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)
    held.set()
    assert await asyncio.gather(*calls) == [
        Committed(1, ()),
        Conflict(1),
        Stored(1, b"state 1"),
        Stored(1, b"state 1"),
    ]
    assert watched.executed.count("COMMIT") == 1


async def test_what_arrives_during_a_commit_is_the_next_batch(store: SqliteStore) -> None:
    """One commit is held; ten more come meanwhile and share the next one."""
    watched = watch(store)
    with held_commit(watched) as reached:
        one = asyncio.ensure_future(store.commit(first("a")))
        await wait_for(reached)
        more = [asyncio.ensure_future(store.commit(first(f"m{number}"))) for number in range(10)]
        await asyncio.sleep(0)
    await asyncio.gather(one, *more)
    assert watched.executed.count("COMMIT") == 2


async def test_a_caller_that_left_changes_nothing(store: SqliteStore) -> None:
    """A caller that is cancelled while its operation runs: it is done all the same, and its
    neighbours are told.
    """
    with held_commit(watch(store)) as reached:
        gone = asyncio.ensure_future(store.commit(first("gone")))
        stays = asyncio.ensure_future(store.commit(first("stays")))
        await wait_for(reached)
        gone.cancel()
        await asyncio.sleep(0)
    assert await stays == Committed(1, ())
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await store.commit(first("gone")) == Conflict(1)


async def test_stop_finishes_what_waits(store: SqliteStore, path: Path) -> None:
    """What was asked before stop is done and told; the write-ahead log is empty afterwards."""
    calls = [asyncio.ensure_future(store.commit(first(f"m{number}"))) for number in range(150)]
    await asyncio.sleep(0)
    await store.stop()
    assert [await call for call in calls] == [Committed(1, ())] * 150
    wal = path.with_name(path.name + "-wal")
    assert not wal.exists() or wal.stat().st_size == 0


async def test_stop_waits_for_what_came_at_the_last_moment(store: SqliteStore) -> None:
    """A call that came after the thread's last look, and before the loop knew of it, is done before
    the file closes.
    """
    assert store._writer
    turns, ended = store._writer.turns, threading.Event()

    def noted() -> None:
        turns()
        ended.set()

    store._writer.turns = noted  # type: ignore[method-assign]
    one = asyncio.ensure_future(store.commit(first("a")))
    await asyncio.sleep(0)
    assert ended.wait(30)  # the loop stands still meanwhile
    late = asyncio.ensure_future(store.commit(first("late")))
    await asyncio.gather(store.stop(), one)
    assert await late == Committed(1, ())


async def test_the_write_ahead_log_stays_small(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied back at rest and under load: 30 MB of envelopes leave a write-ahead log of a few."""
    monkeypatch.setattr("relay.store.sqlite.WAL_PAGES_REST", 100)
    monkeypatch.setattr("relay.store.sqlite.WAL_PAGES_MAX", 400)
    for start in range(0, 1200, 200):
        names = [f"{number:04}" * 125 for number in range(start, start + 200)]
        await asyncio.gather(*(store.commit(first(name)) for name in names))
    assert path.stat().st_size > 24_000_000
    assert path.with_name(path.name + "-wal").stat().st_size < 8_000_000


# Starting


async def test_settings_are_as_promised(store: SqliteStore, path: Path) -> None:
    """WAL, FULL, exclusive and the rest are read back from the open connection; the files are
    private.
    """
    assert store._writer
    connection = store._connection
    assert connection

    def read() -> dict[str, object]:
        return {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name, _value, _expected in schema.SETTINGS
        }

    assert await store._writer.on_thread(read) == {
        n: expected for n, _v, expected in schema.SETTINGS
    }
    assert connection.isolation_level is None
    await store.commit(first("a"))
    for one in path.parent.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
    assert not path.with_name(path.name + "-shm").exists()


@pytest.mark.parametrize("name", ["synchronous", "journal_mode", "locking_mode", "foreign_keys"])
async def test_a_setting_that_does_not_take_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """If SQLite stays at something weaker, the store does not start (exit 78), and lets go of its
    lock.
    """
    weaker = {
        "synchronous": "NORMAL",
        "journal_mode": "MEMORY",
        "locking_mode": "NORMAL",
        "foreign_keys": "OFF",
    }
    settings = tuple(
        (one, weaker[name] if one == name else value, expected)
        for one, value, expected in schema.SETTINGS
    )
    with monkeypatch.context() as patched:
        patched.setattr(schema, "SETTINGS", settings)
        with pytest.raises(Failed, match=name) as told:
            await SqliteStore(path).start(NOW)
    assert told.value.exit_code == 78
    store = SqliteStore(path)
    await store.start(NOW)
    await store.stop()


async def test_the_start_insists_on_the_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If what an earlier process left cannot be copied back, nobody is served: after a failed sync
    it may be lost.
    """
    executed: list[str] = []

    class Busy(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            executed.append(sql)
            busy = sql == "PRAGMA wal_checkpoint(TRUNCATE)"
            return super().execute("SELECT 1, 5, 0" if busy else sql, *args)

    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Busy))
        with pytest.raises(Failed, match="write-ahead log"):
            await SqliteStore(path).start(NOW)
    assert all(sql.startswith("PRAGMA") for sql in executed if "sqlite_master" not in sql)
    store = SqliteStore(path)
    await store.start(NOW)
    await store.stop()


async def test_a_newer_schema_is_refused(store: SqliteStore, path: Path) -> None:
    """A file that a later version wrote is refused with both numbers (exit 78), and not touched."""
    await store.commit(first("a"))
    await store.stop()
    edit(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(
        Failed, match=r"newer version of poc24 \(schema 99; this one knows 3\)"
    ) as told:
        await SqliteStore(path).start(NOW)
    assert told.value.exit_code == 78
    assert path.read_bytes() == before


async def test_a_strangers_file_is_refused(path: Path) -> None:
    """An SQLite file of another program, and a file that is none, are refused and not touched."""
    edit(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(Failed, match="something else"):
        await SqliteStore(path).start(NOW)
    assert path.read_bytes() == before
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(Failed, match="damaged"):
        await SqliteStore(path).start(NOW)


HOLDING = """
import asyncio, sys
from pathlib import Path
from relay.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.start(1)
    print("holds", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_a_second_process_is_refused(path: Path) -> None:
    """While another process has the store: exit 75 with its number; after it was killed, the store starts."""
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", HOLDING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"holds\n"
    with pytest.raises(Failed, match=rf"number {process.pid}\b") as told:
        await SqliteStore(path).start(NOW)
    assert told.value.exit_code == 75
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    store = SqliteStore(path)
    await store.start(NOW)
    await store.stop()


async def test_another_program_in_the_file_is_told(path: Path) -> None:
    """An sqlite3 shell with an open transaction does not know our lock: SQLite's own refuses, with
    a sentence (75).
    """
    store = SqliteStore(path)
    await store.start(NOW)
    await store.stop()
    shell = sqlite3.connect(path)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(Failed, match="Another program") as told:
        await SqliteStore(path).start(NOW)
    assert told.value.exit_code == 75
    shell.close()


async def test_nobody_else_reads_a_running_store(store: SqliteStore, path: Path) -> None:
    """While the relay runs, another program cannot even read the file."""
    await store.commit(first("a"))
    shell = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        shell.execute("SELECT * FROM message").fetchall()
    shell.close()


async def test_no_room_no_folder_no_permission(tmp_path: Path) -> None:
    """A full disk, a folder that is missing and one that takes no files: sentences, before anything
    is promised.
    """
    with pytest.raises(Failed, match="MiB are free") as told:
        await SqliteStore(tmp_path / "relay.db", free_min=2**60).start(NOW)
    assert told.value.exit_code == 75
    with pytest.raises(Failed, match="mkdir -m 700") as told:
        await SqliteStore(tmp_path / "missing" / "relay.db").start(NOW)
    assert told.value.exit_code == 73
    with pytest.raises(Failed, match=r"cannot be (opened|written)") as told:
        await SqliteStore(Path("/proc/relay.db"), free_min=0).start(NOW)
    assert told.value.exit_code == 73


def test_an_old_library_is_told() -> None:
    """A Python that was built with an SQLite before 3.33 is named as what is missing (exit 69)."""
    schema.check_library((3, 33, 0))
    with pytest.raises(Failed, match=r"SQLite 3\.32\.9") as told:
        schema.check_library((3, 32, 9))
    assert told.value.exit_code == 69


async def test_a_log_with_another_end_is_refused(store: SqliteStore, path: Path) -> None:
    """An entry changed, cut off or added behind the store's back: the start refuses, before anybody
    relies on it.
    """
    await store.keep([kept(f"s{number}") for number in range(11)])
    await store.stop()
    whole = path.read_bytes()
    edits = (
        ("UPDATE log SET entry = ? WHERE position = 10", bytes(32)),
        ("UPDATE log SET entry = ? WHERE position = 0", bytes(32)),
        ("INSERT INTO log VALUES (11, ?)", bytes(32)),
        ("UPDATE frontier SET tree = ?", tlog.encode(tlog.append(tlog.EMPTY, [b"x"]))),
        ("DELETE FROM log WHERE position = 10 AND ? = ?", 1, 1),
    )
    for sql, *args in edits:
        path.write_bytes(whole)
        edit(path, sql, *args)
        with pytest.raises(Failed, match="end of the evidence log"):
            await SqliteStore(path).start(NOW)
    path.write_bytes(whole)
    await store.start(NOW)
    assert await store.check() == []


# Upgrades

NEXT = "CREATE TABLE later (x); INSERT INTO later VALUES (7)"


async def test_an_older_file_is_copied_and_upgraded(store: SqliteStore, path: Path) -> None:
    """The next version's script runs once, in order; a verified copy of the old file lies beside it
    and still starts.
    """
    await store.commit(first("a"))
    await store.stop()
    newer = SqliteStore(path, scripts=[*schema.scripts(), NEXT])
    for _ in range(2):
        await newer.start(NOW)
        assert await newer.load(msg_of("a")) == Stored(1, b"state 1")
        await newer.stop()
    copy = path.with_name(f"relay.db.schema-{len(schema.scripts())}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with pytest.raises(Failed, match="newer version"):
        await SqliteStore(path).start(NOW)
    old = SqliteStore(copy)
    await old.start(NOW + 5)
    assert await old.load(msg_of("a")) == Stored(1, b"state 1")
    assert old.epoch == NOW + 5
    await old.stop()


async def test_a_store_of_version_1_is_upgraded(path: Path) -> None:
    """Messages, timers and log of the first version are as they were; what has a timer there is open."""
    a, b = bytes.fromhex(msg_of("a")), bytes.fromhex(msg_of("b"))
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(f"{schema.scripts()[0]}; PRAGMA user_version = 1;")
    old.execute("UPDATE store SET epoch = 7, envelopes = 2")
    for arrival, msg, name in ((1, a, "a"), (2, b, "b")):
        old.execute("INSERT INTO message VALUES (?, ?, 3, x'00', 0)", (arrival, msg))
        old.execute("INSERT INTO envelope VALUES (?, ?)", (arrival, sealed(name)))
    for kind in ("expire", "ladder"):
        old.execute("INSERT INTO timer VALUES (?, ?, 1, 50)", (kind, msg_of("a")))
    old.close()
    store = SqliteStore(path)
    await store.start(NOW)
    assert (store.epoch, await store.load(msg_of("b"))) == (7, Stored(3, b"\0"))
    assert (await store.counts())["open"] == 1
    assert await store.unarmed(9) == ()
    assert await store.commit(Change(msg_of("a"), 3, b"x", disarm=("ladder",), open=2)) == (
        Committed(4, ())
    )
    assert await store.unarmed(9) == (msg_of("a"),)
    await store.commit(Change(msg_of("a"), 4, b"x", pages=(page("p", "a"),)))
    assert await store.check() == []
    assert path.with_name("relay.db.schema-1").exists()
    await store.stop()


async def test_a_submit_pays_nothing_for_pages(store: SqliteStore) -> None:
    """A change without pages touches neither the outbox nor the marks (a hot path stays as it was)."""
    watched = watch(store)
    assert store._kept
    tables: list[str] = []

    class Noted(Watched):
        def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
            """Note which statement runs over many rows."""
            tables.append(sql)
            return watched._connection.executemany(sql, rows)

    noted = Noted(watched._connection)
    for part in (store._kept, store._kept.pages, store._kept.timers, store._kept.journal):
        part._connection = noted  # type: ignore[assignment]
    await store.commit(first("a", arm=(Timer("expire", msg_of("a"), 1, 9),)))
    assert any("INTO message" in sql for sql in tables)
    assert not [sql for sql in tables + noted.executed if " page" in sql or " mark" in sql]


async def test_the_auditor_lets_others_work(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many open messages are looked at in pieces, all of them, whichever piece holds what is wrong."""
    monkeypatch.setattr("relay.store.sqlite.AUDIT_ROWS", 4)
    for number in range(13):
        timers = (Timer("expire", msg_of(f"m{number}"), 1, 9),) if number % 5 else ()
        await store.commit(first(f"m{number}", arm=timers))
    lacking = tuple(msg_of(f"m{number}") for number in (0, 5, 10))
    assert await store.unarmed(9) == lacking
    assert await store.unarmed(2) == lacking[:2]


async def test_a_failing_upgrade_leaves_the_old_file(store: SqliteStore, path: Path) -> None:
    """A script that fails in its middle is undone as a whole, and the version before starts again."""
    await store.commit(first("a"))
    await store.stop()
    for _ in range(2):
        broken = SqliteStore(path, scripts=[*schema.scripts(), NEXT + "; SELECT no_such_column"])
        with pytest.raises(Failed, match="no_such_column"):
            await broken.start(NOW)
    await store.start(NOW)
    assert await store.load(msg_of("a")) == Stored(1, b"state 1")
    assert await store.check() == []


def test_every_table_and_column_is_explained() -> None:
    """The schema is prose: each table has a sentence above it, each column one behind it or a name
    that needs none.
    """
    plain = {"one", "name", "kind", "sid", "desk", "not_before", "not_after", "received", "wire"}
    plain |= {"bytes", "generation", "due", "msg", "arrival", "blob"}
    for script in schema.scripts():
        lines = script.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("CREATE TABLE"):
                assert lines[number - 1].startswith("--"), line
            column = re.match(r"    ([a-z_]+) +[A-Z]", line)
            if column and "--" not in line:
                assert column[1] in plain, line


# Backup


async def test_a_backup_is_a_store_with_a_new_epoch(store: SqliteStore, path: Path) -> None:
    """The copy is private, whole and one file; started as a store it takes an epoch of its own,
    once per restore.
    """
    for name in ("a", "b"):
        await store.commit(first(name, entries=(message_to("AU", name),), statements=(kept(name),)))
    copy = path.with_name("copy.db")
    await store.backup(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir() if "copy" in one.name) == ["copy.db"]
    twin = path.with_name("twin.db")
    twin.write_bytes(copy.read_bytes())

    await store.commit(first("later"))
    restored = SqliteStore(copy)
    await restored.start(NOW + 100)
    assert restored.epoch == NOW + 100 != store.epoch
    assert await restored.envelope(msg_of("a")) == sealed("a")
    assert await restored.head("AU") == 2
    assert await restored.load(msg_of("later")) is None
    assert (await restored.log()).size == 2
    await restored.stop()
    await restored.start(NOW + 900)
    assert restored.epoch == NOW + 100  # it is a store like any other now
    await restored.stop()

    second = SqliteStore(
        twin
    )  # the same backup restored again: desks must not take it for the first
    await second.start(NOW + 200)
    assert second.epoch not in {store.epoch, restored.epoch}
    await second.stop()
    early = path.with_name("early.db")
    await store.backup(early)
    slow = SqliteStore(early)
    await slow.start(5)  # a clock that is wrong does not bring an old epoch back
    assert slow.epoch > store.epoch == NOW
    await slow.stop()


async def test_a_backup_goes_on_beside_commits(store: SqliteStore, path: Path) -> None:
    """Commits are answered while pages are copied, and the copy is one consistent moment of the
    store.
    """
    names = [f"{number:04}" * 500 for number in range(100)]
    await asyncio.gather(*(store.commit(first(name)) for name in names))
    watched = watch(store)
    copy = path.with_name("copy.db")
    backup = asyncio.ensure_future(store.backup(copy))
    done = 0
    while not backup.done():
        await store.commit(first(f"during {done}", statements=(kept(f"s{done}"),)))
        done += 1
    await backup
    order = watched.executed
    assert "COMMIT" in order[order.index("backup begins") : order.index("backup ends")]
    restored = SqliteStore(copy)
    await restored.start(NOW)
    assert await restored.check() == []
    assert (await restored.counts())["messages"] >= len(names)
    assert (await restored.log()).size <= done
    await restored.stop()
    assert await store.check() == []


async def test_a_backup_overwrites_nothing(store: SqliteStore, path: Path) -> None:
    """An existing file is left as it is; what an interrupted backup left is no obstacle."""
    copy = path.with_name("copy.db")
    copy.write_bytes(b"precious")
    with pytest.raises(Failed, match="not overwritten"):
        await store.backup(copy)
    assert copy.read_bytes() == b"precious"
    copy.unlink()
    path.with_name("copy.db.part").write_bytes(b"half")
    await store.backup(copy)
    assert copy.exists()


async def test_a_damaged_store_makes_no_backup(store: SqliteStore, path: Path) -> None:
    """The copy is verified before it gets its name: damage is told, and no file pretends to be a
    backup.
    """
    await store.commit(first("a"))
    await store.stop()
    edit(path, "UPDATE envelope SET bytes = ?", b"other")
    await store.start(NOW)
    copy = path.with_name("copy.db")
    with pytest.raises(Failed, match="not sound"):
        await store.backup(copy)
    assert not copy.exists()
    assert not path.with_name("copy.db.part").exists()


async def test_a_backup_leaves_room(store: SqliteStore, path: Path) -> None:
    """A copy that would fill the disk under the running store is refused; the store works on."""
    store._free_min = 2**60
    with pytest.raises(Failed, match="MiB are free"):
        await store.backup(path.with_name("copy.db"))
    assert await store.commit(first("a")) == Committed(1, ())


# The doctor


@pytest.mark.parametrize(
    ("sql", "finding"),
    [
        ("UPDATE desk SET head = 9", "head says 9"),
        ("UPDATE entry SET seq = 5 WHERE seq = 2", "up to number 5"),
        ("UPDATE desk SET waiting = 9", "9 were counted"),
        ("DELETE FROM envelope", "0 envelopes"),
        ("UPDATE store SET envelopes = 9", "9 were counted"),
        ("UPDATE store SET statements = 9", "9 were counted"),
        ("UPDATE message SET arrival = 7", "number 7"),
        ("DELETE FROM statement", "point to a statement"),
        ("UPDATE statement SET position = 99 WHERE position = 1", "not in the evidence log"),
        ("UPDATE message SET drop_after = NULL", "0 have a date"),
        ("UPDATE entry SET arrival = 99", "refers to a row of message"),
    ],
)
async def test_the_doctor_finds(store: SqliteStore, path: Path, sql: str, finding: str) -> None:
    """Each thing that the tables promise, broken by hand, is a sentence of the doctor's."""
    entry = message_to("AU", "a")
    await store.commit(
        first(
            "a",
            statements=(kept("r", msg_of("a")), kept("s", msg_of("a"))),
            entries=(entry, entry.__class__("AU", "statement", digest("r"), msg_of("a"))),
            waiting=(("AU", 1),),
        )
    )
    assert await store.check() == []
    await store.stop()
    edit(path, sql)
    await store.start(NOW)
    assert finding in "\n".join(await store.check())


async def test_the_doctor_finds_a_changed_log(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry far before the end, which the start does not read, is found when all of the tree is
    computed.
    """
    monkeypatch.setattr("relay.store.journal.TAIL_ENTRIES_MAX", 4)
    await store.keep([kept(f"s{number}") for number in range(11)])
    await store.stop()
    edit(path, "UPDATE log SET entry = ? WHERE position = 3", bytes(32))
    await store.start(NOW)
    assert "do not make the tree" in "\n".join(await store.check())


async def test_a_damaged_timer_table_is_refused(store: SqliteStore, path: Path) -> None:
    """A timer that its index does not know would never fire: the start refuses the file."""
    timers = tuple(Timer("expire", f"{number:064}", 1, number) for number in range(40))
    await store.commit(Change(msg_of("a"), 0, b"x", arm=timers))
    await store.stop()
    connection = sqlite3.connect(path)
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'timer'"
    ).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size + 8)
        file.write(bytes(40))
    with pytest.raises(Failed, match="damaged") as told:
        await SqliteStore(path).start(NOW)
    assert "restore" in told.value.hint


# Purge


async def test_a_purged_envelope_is_overwritten(store: SqliteStore, path: Path) -> None:
    """After purge and a stop no byte of the envelope is left in the file (PROTOCOL 11.5)."""
    name = "a needle that nobody else writes"
    await store.commit(first(name, drop_after=10))
    assert await store.purge(10, 1) == 1
    await store.stop()
    for one in path.parent.iterdir():
        assert name.encode() not in one.read_bytes(), one


def test_the_lock_is_released_and_kept(path: Path) -> None:
    """The lock file stays, names nobody when nobody holds it, and a second holder is refused."""
    lock = place.Lock(path)
    with pytest.raises(Failed, match=rf"number {os.getpid()}\b"):
        place.Lock(path)
    lock.release()
    assert path.with_name(path.name + ".lock").read_bytes() == b""
    place.Lock(path).release()
