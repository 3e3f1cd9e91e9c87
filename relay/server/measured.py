"""The store with a stop-watch on its durable writes; reads and results pass through untouched."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar, cast

from keys.errors import Failed
from relay.server.metrics import Metrics
from relay.store.base import (
    Change,
    Committed,
    Conflict,
    Full,
    Kept,
    Missing,
    PageRow,
    PrekeyRow,
    Store,
)

Result = TypeVar("Result")


class _Measured:
    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _timed(self, op: str, work: Awaitable[Result]) -> Result:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            result = await work
        except Failed:
            self._metrics.store_failed(op)
            raise
        self._metrics.stored(op, loop.time() - began)
        return result

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        return await self._timed("commit", self._store.commit(change))

    async def keep(self, statements: Sequence[Kept]) -> None:
        await self._timed("keep", self._store.keep(statements))

    async def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[str]
    ) -> bool:
        return await self._timed(
            "put_directory", self._store.put_directory(version, files, pins, log)
        )

    async def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        await self._timed("put_prekeys", self._store.put_prekeys(rows))

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        return await self._timed("lease_pages", self._store.lease_pages(now, until, limit))

    async def finish_page(
        self, page: str, attempt: int, state: str, result: str, not_before: int
    ) -> bool:
        finished = self._store.finish_page(page, attempt, state, result, not_before)
        return await self._timed("finish_page", finished)

    async def put_mark(self, name: str, value: int) -> None:
        await self._timed("put_mark", self._store.put_mark(name, value))

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        await self._timed("put_blob", self._store.put_blob(blob, size, desk, now))

    async def drop_blobs(self, before: int, limit: int) -> tuple[str, ...]:
        return await self._timed("drop_blobs", self._store.drop_blobs(before, limit))

    async def purge(self, now: int, limit: int) -> int:
        return await self._timed("purge", self._store.purge(now, limit))


def measured(store: Store, metrics: Metrics) -> Store:
    """Return *store*, with the time and the failures of its writes in *metrics*."""
    return cast("Store", _Measured(store, metrics))
