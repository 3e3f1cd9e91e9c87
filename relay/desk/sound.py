"""Rows that open, and rows that do not: a byte of the archive that rotted hides one row, and never the others."""

from collections.abc import Sequence
from typing import Any

from keys.errors import Refused
from relay.desk.archive import Archive, Row


def sound(
    archive: Archive,
    shelf: str,
    where: str = "1",
    values: Sequence[object] = (),
    *,
    columns: Sequence[str] | None = None,
    **more: Any,
) -> list[Row]:
    """Return what :meth:`Archive.find` would, without the rows that do not open."""
    try:
        return archive.find(shelf, where, values, columns=columns, **more)
    except Refused:
        found = archive.find(shelf, where, values, columns=(), **more)
        opened = (_open(archive, shelf, row, columns) for row in found)
        return [row for row in opened if row is not None]


def rotten(archive: Archive, shelf: str, where: str = "1") -> list[Row]:
    """Return the rows that do not open, by their columns in the clear."""
    try:
        archive.find(shelf, where)
    except Refused:
        found = archive.find(shelf, where, columns=())
        return [row for row in found if _open(archive, shelf, row, None) is None]
    return []


def _open(archive: Archive, shelf: str, row: Row, columns: Sequence[str] | None) -> Row | None:
    try:
        found = archive.find(shelf, "id = ?", (row["id"],), columns=columns)
    except Refused:
        return None
    return found[0] if found else None
