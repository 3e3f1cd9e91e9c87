"""What this relay has vouched for: its statements and the evidence log, in one file and one commit
with all else.

An instance's log never rolls back (PROTOCOL 13): the tables here are only ever appended to. A
statement's place in the table is its position in the log. The log's frontier is kept in memory and
written once per transaction, however many statements that brings.

All methods run on the store's thread; those that stage write nothing until :meth:`Journal.flush`.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from keys.errors import Failed
from relay.core import tlog
from relay.core.tlog import Frontier
from relay.store.base import Kept, raw

Connection = sqlite3.Connection
"""What the other tables of the store are read through; only the store itself opens one."""

TAIL_ENTRIES_MAX = 65536
"""Entries whose subtrees are computed again at every start: tens of milliseconds. `check` computes
all.
"""
_CHUNK_ENTRIES = 16384

_POSITION = "SELECT s.position FROM log l JOIN statement s USING (position) WHERE l.entry = ?"
_POSITIONS = (
    "SELECT l.entry, s.position FROM log l JOIN statement s USING (position) WHERE l.entry IN ({})"
)
LOOKED_UP_MAX = 256
"""Rows that are looked up by one statement."""
_KEPT = """
    SELECT l.entry, s.kind, coalesce(m.msg, s.stray), s.wire, s.at
    FROM statement s JOIN log l USING (position) LEFT JOIN message m USING (arrival)
"""
_STATEMENT = _KEPT + "WHERE l.entry = ?"
_ABOUT = f"""{_KEPT}
    WHERE s.position IN (
        SELECT position FROM statement
        WHERE arrival = (SELECT arrival FROM message WHERE msg = ?1)
        UNION ALL SELECT position FROM statement WHERE stray = ?1
    ) ORDER BY s.position
"""  # noqa: S608 - made of constants


class Journal:
    """The log's tables, its frontier, and what the running transaction will append."""

    def __init__(self, connection: Connection) -> None:
        """Read the frontier; nothing is checked yet."""
        self._connection = connection
        (tree,) = connection.execute("SELECT tree FROM frontier").fetchone()
        self.frontier = tlog.decode(tree)
        (self.statements,) = connection.execute("SELECT statements FROM store").fetchone()
        self._next = self.frontier.size
        self._entries: list[bytes] = []
        self._coming: dict[bytes, int] = {}
        self._foreseen: dict[bytes, int | None] = {}
        self._rows: list[tuple[int, str, int | None, bytes | None, int, bytes]] = []

    def position(self, sid: bytes) -> int | None:
        """Return where a kept statement stands in the log, those of this transaction included."""
        coming = self._coming.get(sid)
        if coming is not None:
            return coming
        if sid in self._foreseen:
            return self._foreseen[sid]
        found = self._connection.execute(_POSITION, (sid,)).fetchone()
        return found[0] if found else None

    def foresee(self, sids: Sequence[bytes]) -> None:
        """Look up where these statements stand, all at once; what this transaction appends is known without."""
        self._foreseen = dict.fromkeys(sids)
        for part in parts_of(sids):
            marks = ", ".join("?" * len(part))
            self._foreseen.update(self._connection.execute(_POSITIONS.format(marks), part))

    def forget(self) -> None:
        """The transaction is over: what was foreseen no longer holds."""
        self._foreseen = {}

    def is_new(self, position: int) -> bool:
        """Whether the statement at *position* comes with this transaction."""
        return position >= self.frontier.size

    def stage(self, kept: Kept, arrival: int | None) -> int:
        """Append a statement unless it is kept already; return its position. *arrival*: its
        message, if that is here.
        """
        sid = raw(kept.sid)
        there = self.position(sid)
        if there is not None:
            return there
        stray = raw(kept.msg) if kept.msg and arrival is None else None
        position = self._append(sid)
        self._coming[sid] = position
        self._rows.append((position, kept.kind, arrival, stray, kept.at, kept.wire))
        return position

    def stage_entries(self, entries: Sequence[bytes]) -> None:
        """Append what is no statement: hashes of directory files (PROTOCOL 8.6)."""
        for entry in entries:
            self._append(entry)

    def _append(self, entry: bytes) -> int:
        self._entries.append(entry)
        self._next += 1
        return self._next - 1

    def flush(self) -> None:
        """Write what was staged, and the frontier once. The messages that statements name must be
        written by now.
        """
        if not self._entries:
            return
        execute = self._connection.executemany
        execute("INSERT INTO log VALUES (?, ?)", enumerate(self._entries, self.frontier.size))
        execute("INSERT INTO statement VALUES (?, ?, ?, ?, ?, ?)", self._rows)
        self.frontier = tlog.append(self.frontier, self._entries)
        self.statements += len(self._rows)
        self._connection.execute("UPDATE frontier SET tree = ?", (tlog.encode(self.frontier),))
        self._entries, self._coming, self._rows = [], {}, []

    def get(self) -> Frontier:
        """Return the frontier."""
        return self.frontier

    def statement(self, sid: bytes) -> Kept | None:
        """Return one statement."""
        found = self._connection.execute(_STATEMENT, (sid,)).fetchone()
        return _kept(found) if found else None

    def about(self, msg: bytes) -> tuple[Kept, ...]:
        """Return a message's statements in the log's order, those that came before it included."""
        found = self._connection.execute(_ABOUT, (msg,))
        return tuple(_kept(row) for row in found)

    def entries(self, start: int, end: int) -> list[bytes]:
        """Return the log's entries from *start* up to, not including, *end*."""
        found = self._connection.execute(
            "SELECT entry FROM log WHERE position >= ? AND position < ? ORDER BY position",
            (start, end),
        )
        return [entry for (entry,) in found]

    def check_tail(self) -> None:
        """Compare the frontier's small subtrees with the entries: Failed if the log's end is not
        what was written.
        """
        size, peaks = self.frontier.size, list(self.frontier.peaks)
        (last,) = self._connection.execute("SELECT max(position) FROM log").fetchone()
        start = size
        while peaks and size - start < TAIL_ENTRIES_MAX:
            width = start & -start  # the last complete subtree ends at start
            if size - start + width > TAIL_ENTRIES_MAX:
                break
            if tlog.append(tlog.EMPTY, self.entries(start - width, start)).peaks != (peaks.pop(),):
                last = None
                break
            start -= width
        if size and last != size - 1:
            raise Failed(
                "The end of the evidence log is not the one that was written: entries and tree disagree.",
                hint="Keep the file as it is, restore the latest backup, and tell the other desks' monitors.",
            )

    def check(self) -> list[str]:
        """Compute the whole tree again and count; return findings as sentences."""
        found = []
        frontier = tlog.EMPTY
        while chunk := self.entries(frontier.size, frontier.size + _CHUNK_ENTRIES):
            frontier = tlog.append(frontier, chunk)
        (rows,) = self._connection.execute("SELECT count(*) FROM log").fetchone()
        if frontier != self.frontier or rows != frontier.size:
            found.append(
                f"The evidence log has {rows} entries that do not make the tree of {self.frontier.size}"
                " entries that was kept beside them."
            )
        (statements,) = self._connection.execute("SELECT count(*) FROM statement").fetchone()
        if statements != self.statements:
            found.append(f"{statements} statements are kept, and {self.statements} were counted.")
        (lost,) = self._connection.execute(
            "SELECT count(*) FROM statement WHERE position NOT IN (SELECT position FROM log)"
        ).fetchone()
        if lost:
            found.append(f"{lost} statements are not in the evidence log.")
        return found


def parts_of(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut *keys* into parts of at most 256, each filled up to a power of two: few statements, that stay prepared."""
    for start in range(0, len(keys), LOOKED_UP_MAX):
        part = list(keys[start : start + LOOKED_UP_MAX])
        size = 1 << (len(part) - 1).bit_length()
        yield part + part[-1:] * (size - len(part))


def _kept(row: tuple[bytes, str, bytes | None, bytes, int]) -> Kept:
    entry, kind, msg, wire, at = row
    return Kept(entry.hex(), kind, msg.hex() if msg else "", wire, at)
