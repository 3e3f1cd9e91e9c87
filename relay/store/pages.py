"""The outbox in the embedded store: who must still be woken, and the leases of those who wake them.

A page is written in the commit of the stage that wants it. From then on a pager leases it, tries,
and says what came of it; a pager that dies loses its lease, and what it says afterwards does not
count. All methods run on the store's thread; those that stage write nothing until
:meth:`Pages.flush`.
"""

from collections.abc import Sequence

from relay.store.base import LOST, PAGE_KEPT_AFTER, PAGE_STATES, PageRow, raw
from relay.store.journal import Connection

_COLUMNS = (
    "p.id, m.msg, p.desk, p.handle, p.stage, p.kind, p.priority, p.mode, p.created, p.expires,"
    " p.state, p.not_before, p.attempt, p.lease_until, p.result"
)
_PAGE = f"SELECT {_COLUMNS} FROM page p JOIN message m USING (arrival) "  # noqa: S608 - constants
_RANK = "CASE p.priority WHEN 'emergency' THEN 0 WHEN 'urgent' THEN 1 ELSE 2 END"
_PUT = (
    "INSERT OR IGNORE INTO page (id, arrival, desk, handle, stage, kind, priority, mode, created,"
    " expires, state, not_before, attempt, lease_until, result)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CANCEL_SETTLED = (
    "UPDATE page SET state = 'cancelled' WHERE due <= ?"
    " AND (SELECT open FROM message m WHERE m.arrival = page.arrival) = 0"
)
_FINISH = (
    "UPDATE page SET result = ?1, not_before = ?2, state = CASE WHEN ?3 = 'ready'"
    " AND (SELECT open FROM message m WHERE m.arrival = page.arrival) = 0"
    " THEN 'cancelled' ELSE ?3 END WHERE id = ?4 AND state = 'leased' AND attempt = ?5"
)


class Pages:
    """The table of pages; messages are known by their arrival number."""

    def __init__(self, connection: Connection) -> None:
        """Work on an open file."""
        self._connection = connection
        self._steps: list[tuple[int, Sequence[PageRow]]] = []

    def stage(self, arrival: int, pages: Sequence[PageRow], *, unpage: bool) -> None:
        """Stage pages of a message; with *unpage* those that are ready are cancelled before."""
        if unpage:
            self._steps.append((arrival, ()))
        if pages:
            self._steps.append((arrival, pages))

    def flush(self) -> None:
        """Write what was staged, in its order. The messages must be written by now."""
        for arrival, pages in self._steps:
            if pages:
                self._connection.executemany(_PUT, [_row(page, arrival) for page in pages])
            else:
                self._connection.execute(
                    "UPDATE page SET state = 'cancelled' WHERE arrival = ? AND state = 'ready'",
                    (arrival,),
                )
        self._steps = []

    def lease(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give what is due to a pager until *until*; cancel what is due of settled messages."""
        self._connection.execute(_CANCEL_SETTLED, (now,))
        found = self._connection.execute(
            f"{_PAGE} WHERE p.due <= ? ORDER BY {_RANK}, p.created, p.id LIMIT ?",
            (now, max(limit, 0)),
        ).fetchall()
        self._connection.executemany(
            "UPDATE page SET state = 'leased', attempt = attempt + 1, lease_until = ?, result = ?"
            " WHERE id = ?",
            [(until, _last(row), row[0]) for row in found],
        )
        return tuple(
            _read((*row[:10], "leased", row[11], row[12] + 1, until, _last(row))) for row in found
        )

    def finish(self, page: bytes, attempt: int, state: str, result: str, not_before: int) -> bool:
        """Note what came of an attempt; False if it is not the one that holds the lease."""
        args = (result, not_before, state, page, attempt)
        return self._connection.execute(_FINISH, args).rowcount == 1

    def about(self, msg: bytes) -> tuple[PageRow, ...]:
        """Return a message's pages."""
        found = self._connection.execute(
            f"{_PAGE} WHERE m.msg = ? ORDER BY p.created, p.id", (msg,)
        )
        return tuple(map(_read, found))

    def next(self) -> int | None:
        """Return when the next page may be leased."""
        (found,) = self._connection.execute(
            "SELECT min(due) FROM page WHERE due IS NOT NULL"
        ).fetchone()
        return found if found is None else int(found)

    def purge(self, now: int, limit: int) -> int:
        """Delete pages whose end is long past, at most *limit*."""
        found = self._connection.execute(
            "SELECT id FROM page WHERE expires <= ? ORDER BY expires, id LIMIT ?",
            (now - PAGE_KEPT_AFTER, limit),
        ).fetchall()
        self._connection.executemany("DELETE FROM page WHERE id = ?", found)
        return len(found)

    def counts(self) -> dict[str, int]:
        """Return how many pages are in each state."""
        found = dict(
            self._connection.execute("SELECT state, count(*) FROM page GROUP BY state").fetchall()
        )
        return {f"pages_{state}": found.get(state, 0) for state in PAGE_STATES}

    # Marks

    def mark(self, name: str) -> int:
        """Return a number; 0 if there is none."""
        found = self._connection.execute(
            "SELECT value FROM mark WHERE name = ?", (name,)
        ).fetchone()
        return int(found[0]) if found else 0

    def put_mark(self, name: str, value: int) -> None:
        """Keep a number."""
        self._connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (name, value))


def _row(page: PageRow, arrival: int) -> tuple[object, ...]:
    return (
        *(raw(page.id), arrival, page.desk, page.handle, page.stage, page.kind, page.priority),
        *(page.mode, page.created, page.expires, page.state, page.not_before, page.attempt),
        *(page.lease_until, page.result),
    )


def _last(row: Sequence[object]) -> str:
    """Return what is known of the attempt before: nothing, if its lease ran out."""
    return LOST if row[10] == "leased" else str(row[14])


def _read(
    row: tuple[bytes, bytes, str, str, int, str, str, str, int, int, str, int, int, int, str],
) -> PageRow:
    return PageRow(row[0].hex(), row[1].hex(), *row[2:])
