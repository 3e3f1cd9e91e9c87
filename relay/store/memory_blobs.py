"""What the reference store knows of blobs: who put each, when, and which messages name it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from relay.store.base import BlobRow, Change, Missing, raw
from relay.store.checks import check_blob, check_integer


@dataclass(slots=True)
class _Blob:
    size: int
    since: int = 0
    desks: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)


class MemoryBlobs(ABC):
    """The contract's calls about blobs, over a plain dictionary."""

    def __init__(self) -> None:
        """Begin empty."""
        self._blobs: dict[str, _Blob] = {}

    @abstractmethod
    def _must_run(self) -> None: ...

    def _missing(self, change: Change) -> Missing | None:
        return next((Missing(blob) for blob in change.blobs if blob not in self._blobs), None)

    def _name_blobs(self, change: Change) -> None:
        for blob in change.blobs:
            self._blobs[blob].messages.append(change.msg)

    def _let_go(self, purged: set[str]) -> None:
        for blob in self._blobs.values():
            blob.messages = [msg for msg in blob.messages if msg not in purged]

    def _count_blobs(self) -> dict[str, int]:
        sizes = [blob.size for blob in self._blobs.values()]
        return {"blobs": len(sizes), "blob_bytes": sum(sizes)}

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        """Note that a desk has put a blob."""
        self._must_run()
        check_blob(blob, size, desk, now)
        there = self._blobs.setdefault(blob, _Blob(size))
        if there.size != size:
            raise ValueError("A blob of this id is here already, and has another size.")
        there.desks.add(desk)
        there.since = max(there.since, now)

    async def blob(self, blob: str) -> BlobRow | None:
        """Return what is known of a blob."""
        self._must_run()
        raw(blob)
        found = self._blobs.get(blob)
        if found is None:
            return None
        desks, messages = tuple(sorted(found.desks)), tuple(found.messages)
        return BlobRow(blob, found.size, found.since, desks, messages)

    async def blob_bytes(self, desk: str) -> int:
        """Return how many bytes a desk has put."""
        self._must_run()
        return sum(blob.size for blob in self._blobs.values() if desk in blob.desks)

    async def blobs(self, after: str, limit: int) -> tuple[tuple[str, int], ...]:
        """Return blobs by their ids."""
        self._must_run()
        found = sorted((name, blob.size) for name, blob in self._blobs.items() if name > after)
        return tuple(found[: max(limit, 0)])

    async def drop_blobs(self, before: int, limit: int) -> tuple[str, ...]:
        """Forget blobs that nobody needs any more."""
        self._must_run()
        check_integer(before)
        idle = [
            (blob.since, name)
            for name, blob in self._blobs.items()
            if not blob.messages and blob.since <= before
        ]
        gone = tuple(name for _since, name in sorted(idle)[: max(limit, 0)])
        for name in gone:
            del self._blobs[name]
        return gone
