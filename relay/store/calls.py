"""The embedded store's calls about what is not a message: pages, marks, blobs.

Each checks what it is given, then goes to the thread: what writes returns after its commit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from relay.store.base import BlobRow, PageRow, raw
from relay.store.checks import check_blob, check_integer, check_name, check_result
from relay.store.tables import Tables

T = TypeVar("T")


class Calls(ABC):
    """A part of the contract, over the tables of one file."""

    @property
    @abstractmethod
    def _tables(self) -> Tables: ...

    @abstractmethod
    async def _write(self, run: Callable[..., T], *args: Any, weight: int = 0) -> T: ...

    @abstractmethod
    async def _read(self, run: Callable[..., T], *args: Any) -> T: ...

    # Pages: the outbox

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give pages to a pager; cancel what is settled."""
        check_integer(now)
        check_integer(until)
        return await self._write(self._tables.pages.lease, now, until, limit)

    async def finish_page(
        self, page: str, attempt: int, state: str, result: str, not_before: int
    ) -> bool:
        """Note what came of an attempt, if its lease still counts."""
        check_result(state, result)
        check_integer(not_before)
        finish = self._tables.pages.finish
        return await self._write(finish, raw(page), attempt, state, result, not_before)

    async def pages(self, msg: str) -> tuple[PageRow, ...]:
        """Return a message's pages."""
        return await self._read(self._tables.pages.about, raw(msg))

    async def next_page(self) -> int | None:
        """Return when a page will be there to be leased."""
        return await self._read(self._tables.pages.next)

    async def mark(self, name: str) -> int:
        """Return a number."""
        return await self._read(self._tables.pages.mark, name)

    async def put_mark(self, name: str, value: int) -> None:
        """Keep a number."""
        check_name(name)
        check_integer(value)
        await self._write(self._tables.pages.put_mark, name, value)

    # Blobs: their rows

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        """Note that a desk has put a blob."""
        check_blob(blob, size, desk, now)
        if not await self._write(self._tables.blobs.put, raw(blob), size, desk, now):
            raise ValueError("A blob of this id is here already, and has another size.")

    async def blob(self, blob: str) -> BlobRow | None:
        """Return what is known of a blob."""
        return await self._read(self._tables.blobs.get, raw(blob))

    async def blob_bytes(self, desk: str) -> int:
        """Return how many bytes a desk has put."""
        return await self._read(self._tables.blobs.bytes_of, desk)

    async def blobs(self, after: str, limit: int) -> tuple[tuple[str, int], ...]:
        """Return blobs by their ids."""
        return await self._read(self._tables.blobs.ids, bytes.fromhex(after), limit)

    async def drop_blobs(self, before: int, limit: int) -> tuple[str, ...]:
        """Forget blobs that nobody needs any more."""
        check_integer(before)
        return await self._write(self._tables.blobs.drop, before, limit)
