"""Timers in the embedded store: one row per kind and subject, counted by kind as they come and go.

All methods run on the store's thread; those that stage write nothing until :meth:`Timers.flush`.
"""

from collections.abc import Iterable

from relay.store.base import INTEGER_MAX, Timer
from relay.store.journal import Connection

_COUNT = "SELECT kind, count(*) FROM timer GROUP BY kind"
_LAST = (
    "SELECT arrival FROM message WHERE open > 0 AND arrival > ? ORDER BY arrival LIMIT 1 OFFSET ?"
)
_LACKING = """
    SELECT lower(hex(msg)) FROM message
    WHERE open > 0 AND arrival > ? AND arrival <= ? AND open > (
        SELECT count(*) FROM timer WHERE subject = lower(hex(msg)) AND kind IN ({})
    ) ORDER BY arrival
"""


class Timers:
    """The table of timers. How many there are of each kind is kept in memory: metrics cost the same
    at a million.
    """

    def __init__(self, connection: Connection) -> None:
        """Count what is there."""
        self._connection = connection
        self.counts: dict[str, int] = dict(connection.execute(_COUNT).fetchall())
        self._staged: dict[tuple[str, str], Timer | None] = {}

    def stage(self, subject: str, disarm: Iterable[str], arm: Iterable[Timer]) -> None:
        """Stage that kinds of *subject* go, and then that timers come."""
        for kind in disarm:
            self._staged[kind, subject] = None
        for timer in arm:
            self._staged[timer.kind, timer.subject] = timer

    def flush(self) -> None:
        """Write what was staged: what goes and what is replaced first, so that both are counted."""
        if not self._staged:
            return
        by_kind: dict[str, list[tuple[str, str]]] = {}
        for key in self._staged:
            by_kind.setdefault(key[0], []).append(key)
        for kind, keys in by_kind.items():
            gone = self._connection.executemany(
                "DELETE FROM timer WHERE kind = ? AND subject = ?", keys
            ).rowcount
            armed = [
                (one.kind, one.subject, one.generation, one.due)
                for key in keys
                if (one := self._staged[key])
            ]
            self._connection.executemany("INSERT INTO timer VALUES (?, ?, ?, ?)", armed)
            self.counts[kind] = self.counts.get(kind, 0) + len(armed) - gone
        self._staged = {}

    def due(self, now: int, limit: int) -> tuple[Timer, ...]:
        """Return the timers that are due."""
        found = self._connection.execute(
            "SELECT kind, subject, generation, due FROM timer WHERE due <= ?"
            " ORDER BY due, kind, subject LIMIT ?",
            (now, max(limit, 0)),
        )
        return tuple(Timer(*row) for row in found)

    def next_due(self) -> int | None:
        """Return when the next timer is due."""
        (found,) = self._connection.execute("SELECT min(due) FROM timer").fetchone()
        return found if found is None else int(found)

    def lacking(self, after: int, rows: int) -> tuple[int, list[str]]:
        """Look at the next *rows* open messages after an arrival; return the last one's arrival (0:
        there are no more), and those of them that have fewer timers than they must.
        """
        execute, kinds = self._connection.execute, list(self.counts)
        (last,) = execute(_LAST, (after, rows - 1)).fetchone() or (0,)
        asked = _LACKING.format(", ".join("?" * len(kinds)))
        found = execute(asked, (after, last or INTEGER_MAX, *kinds)).fetchall()
        return last, [subject for (subject,) in found]
