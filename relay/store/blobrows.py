"""What the embedded store knows of blobs: who put each, when, and which messages need it.

The bytes are files (relay.store.blobs). A message that names a blob and the blob's use become true
in one transaction, and a blob is forgotten only where no use is left: so a message without its blob
can be made neither by a crash nor by a purge at the same moment.
"""

from collections.abc import Sequence

from relay.store.base import BlobRow, Missing, raw
from relay.store.journal import Connection


class BlobTable:
    """The tables blob, blob_desk and blob_use. All methods run on the store's thread."""

    def __init__(self, connection: Connection) -> None:
        """Work on an open file; count once."""
        self._connection = connection
        self._count, self._bytes = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM blob"
        ).fetchone()
        self._uses: list[tuple[int, int]] = []

    # Writing

    def put(self, blob: bytes, size: int, desk: str, now: int) -> bool:
        """Write who put a blob, and when; False, and nothing, if it is here with another size."""
        execute = self._connection.execute
        found = execute("SELECT number, size FROM blob WHERE id = ?", (blob,)).fetchone()
        if found is None:
            made = execute("INSERT INTO blob VALUES (NULL, ?, ?, ?, 0)", (blob, size, now))
            number = made.lastrowid
            self._count += 1
            self._bytes += size
        elif found[1] != size:
            return False
        else:
            number = found[0]
            execute("UPDATE blob SET since = max(since, ?) WHERE number = ?", (now, number))
        execute("INSERT OR IGNORE INTO blob_desk VALUES (?, ?)", (desk, number))
        return True

    def find(self, blobs: Sequence[str]) -> list[int] | Missing:
        """Return the numbers of blobs that a change names, or the first that is not here."""
        numbers = []
        for blob in blobs:
            found = self._connection.execute("SELECT number FROM blob WHERE id = ?", (raw(blob),))
            row = found.fetchone()
            if row is None:
                return Missing(blob)
            numbers.append(row[0])
        return numbers

    def use(self, arrival: int, numbers: Sequence[int]) -> None:
        """Stage that a message needs blobs. What follows in this transaction finds them in use."""
        for number in numbers:
            self._connection.execute("UPDATE blob SET uses = uses + 1 WHERE number = ?", (number,))
            self._uses.append((arrival, number))

    def flush(self) -> None:
        """Write what was staged. The messages must be written by now."""
        if self._uses:
            self._connection.executemany("INSERT INTO blob_use VALUES (?, ?)", self._uses)
            self._uses = []

    def let_go(self, arrivals: Sequence[tuple[int]]) -> None:
        """End the uses of messages whose envelopes go."""
        executemany = self._connection.executemany
        executemany(
            "UPDATE blob SET uses = uses - 1"
            " WHERE number IN (SELECT blob FROM blob_use WHERE arrival = ?)",
            arrivals,
        )
        executemany("DELETE FROM blob_use WHERE arrival = ?", arrivals)

    def drop(self, before: int, limit: int) -> tuple[str, ...]:
        """Delete the rows of blobs that nobody needs; return their ids."""
        gone = self._connection.execute(
            "SELECT number, id, size FROM blob WHERE uses = 0 AND since <= ?"
            " ORDER BY since, id LIMIT ?",
            (before, max(limit, 0)),
        ).fetchall()
        numbers = [(number,) for number, _id, _size in gone]
        self._connection.executemany("DELETE FROM blob_desk WHERE blob = ?", numbers)
        self._connection.executemany("DELETE FROM blob WHERE number = ?", numbers)
        self._count -= len(gone)
        self._bytes -= sum(size for _number, _id, size in gone)
        return tuple(blob.hex() for _number, blob, _size in gone)

    # Reading

    def get(self, blob: bytes) -> BlobRow | None:
        """Return what is known of a blob."""
        execute = self._connection.execute
        found = execute("SELECT number, size, since FROM blob WHERE id = ?", (blob,)).fetchone()
        if found is None:
            return None
        number, size, since = found
        desks = execute("SELECT desk FROM blob_desk WHERE blob = ? ORDER BY desk", (number,))
        named = execute(
            "SELECT msg FROM blob_use JOIN message USING (arrival) WHERE blob = ? ORDER BY arrival",
            (number,),
        )
        who = tuple(desk for (desk,) in desks)
        return BlobRow(blob.hex(), size, since, who, tuple(msg.hex() for (msg,) in named))

    def bytes_of(self, desk: str) -> int:
        """Return how many bytes a desk has put."""
        found: tuple[int] = self._connection.execute(
            "SELECT coalesce(sum(size), 0) FROM blob_desk JOIN blob ON number = blob WHERE desk = ?",
            (desk,),
        ).fetchone()
        return found[0]

    def ids(self, after: bytes, limit: int) -> tuple[tuple[str, int], ...]:
        """Return blobs by their ids."""
        found = self._connection.execute(
            "SELECT id, size FROM blob WHERE id > ? ORDER BY id LIMIT ?", (after, max(limit, 0))
        )
        return tuple((blob.hex(), size) for blob, size in found)

    def counts(self) -> dict[str, int]:
        """Return the numbers that are kept."""
        return {"blobs": self._count, "blob_bytes": self._bytes}


def findings(connection: Connection) -> list[str]:
    """Return what the tables say against each other."""
    wrong = connection.execute(
        "SELECT lower(hex(id)), uses, (SELECT count(*) FROM blob_use WHERE blob = number) AS there"
        " FROM blob WHERE uses <> there"
    )
    found = [
        f"Blob {blob} is named by {there} messages, and {uses} were counted."
        for blob, uses, there in wrong
    ]
    nobody = connection.execute(
        "SELECT lower(hex(id)) FROM blob WHERE number NOT IN (SELECT blob FROM blob_desk)"
    )
    return found + [f"Blob {blob} was put by nobody." for (blob,) in nobody]
