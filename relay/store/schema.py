"""The store's file: how SQLite must be set, whose file it is, and how an older one becomes a newer
one.

The schema itself is sql/NNN_*.sql, which is written to be read. ``user_version`` is the number of
the last script that was run on a file; a file from a later one is refused, never guessed at.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from keys.errors import Failed
from relay.store.journal import Connection

SQLITE_MIN = (3, 33, 0)
APPLICATION_ID = 0x70C24001
"""In the file's header: a store of ours, and not somebody's other SQLite file."""
WAL_BYTES_KEPT = 64 * 1024 * 1024
WAL_PAGES_LAST_RESORT = 16000
"""SQLite's own checkpoint inside a commit; the store's own, after a commit, comes long before."""
CACHE_KIB = 16 * 1024

SETTINGS: tuple[tuple[str, object, object], ...] = (
    # pragma, value, what SQLite must then say
    ("locking_mode", "EXCLUSIVE", "exclusive"),  # first: no shared memory, and nobody else
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("secure_delete", "ON", 1),  # a purged envelope is overwritten, not just unlinked
    ("temp_store", "MEMORY", 2),
    ("mmap_size", 0, 0),
    ("cache_size", -CACHE_KIB, -CACHE_KIB),
    ("journal_size_limit", WAL_BYTES_KEPT, WAL_BYTES_KEPT),
    ("wal_autocheckpoint", WAL_PAGES_LAST_RESORT, WAL_PAGES_LAST_RESORT),
)


def check_library(version: tuple[int, int, int]) -> None:
    """Fail if the SQLite that Python was built with is too old."""
    if version < SQLITE_MIN:
        raise Failed(
            f"This Python has SQLite {'.'.join(map(str, version))}; the store needs 3.33 or later.",
            hint="Run the relay with a newer Python.",
            exit_code=69,
        )


def scripts() -> tuple[str, ...]:
    """Return the scripts of sql/ in order: the n-th makes version n of a file of version n - 1."""
    folder = files("relay.store") / "sql"
    found = [one for one in folder.iterdir() if one.name.endswith(".sql")]
    return tuple(one.read_text("utf-8") for one in sorted(found, key=lambda one: one.name))


def settle(connection: Connection) -> None:
    """Make every setting and read it back: one that does not take would break a promise in silence."""
    for name, value, expected in SETTINGS:
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        row = connection.execute(f"PRAGMA {name}").fetchone()
        if row is None and name == "mmap_size":  # a library built without it cannot map at all
            continue
        if row is None or row[0] != expected:
            raise Failed(
                f"SQLite does not take the setting {name} = {value} here (it says {row}).",
                hint="Put the store on a local disk: network file systems cannot keep its promise.",
                exit_code=78,
            )


def version_of(connection: Connection, path: Path, known: int) -> int:
    """Return the schema version of a file, 0 for a new one; Failed (78) if it is not ours or newer
    than *known*.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application or tables) and application != APPLICATION_ID:
        raise Failed(
            f"{path} is an SQLite file of something else, not a store of the relay.",
            hint="Give the relay a path of its own.",
            exit_code=78,
        )
    if version > known:
        raise Failed(
            f"The store {path} was written by a newer version of poc24 (schema {version}; this one"
            f" knows {known}).",
            hint="Install that version again, or restore a backup that this version made.",
            exit_code=78,
        )
    return int(version)


def upgrade(connection: Connection, version: int, steps: Sequence[str]) -> None:
    """Run the scripts that a file of *version* lacks, each in a transaction with its new number."""
    for number, script in enumerate(steps[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
        )
