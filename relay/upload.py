"""One attachment that comes in: gathered, written, hashed, and at its end made whole or put down.

What has come when a line breaks is kept, and the next piece goes on behind it. The files are
relay.store.blobs; who may put how much is decided in relay.blobs, before an upload begins.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from keys.errors import Code, Refused
from relay.store.blobs import SYNC_BYTES, Hash, Part
from relay.wire import blob as frame

WRITE_BYTES = 64 * 1024
"""Gathered before it is written: a hop to the thread costs as much as hashing half of it."""

Key = tuple[str, str]
"""A blob's id and the desk that puts it."""
T = TypeVar("T")


class Elsewhere(Refused):
    """E_BLOB_MISSING: the piece does not begin where what the relay has ends, at *offset*."""

    def __init__(self, text: str, offset: int) -> None:
        """Say why, and where to go on."""
        super().__init__(Code.E_BLOB_MISSING, text, hint=f"Go on from byte {offset}.")
        self.offset = offset


class Keeper(Protocol):
    """What an upload asks of the relay's blobs."""

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Do *work* on a thread."""

    async def open_part(self, key: Key) -> Part:
        """Open what a desk puts of a blob."""

    def offset(self, blob: str, desk: str) -> int:
        """Return how much of it should be there."""

    def known_hash(self, key: Key, size: int) -> Hash | None:
        """Return its hash so far, if it is still in memory."""

    def put_down(self, key: Key, size: int, now: int, hashed: Hash | None) -> None:
        """Note how much of it is on the disk."""

    async def publish(self, part: Part, key: Key, now: int) -> None:
        """Make a whole part known."""

    def roomy(self) -> None:
        """Refuse to go on while the disk is nearly full."""

    def left(self, upload: "Upload") -> None:
        """Note that an upload has ended."""


class Upload:
    """One body that comes in. What has come when it breaks off is kept, and can be gone on with.

    Each step runs to its end even if its caller is gone, and one after the other: a file is never
    left between two names because somebody hung up.
    """

    def __init__(self, blobs: Keeper, key: Key, total: int, now: int, *, whole: bool) -> None:
        """Take in a blob of *total* bytes; *whole*: from its beginning, whatever is here."""
        self._blobs = blobs
        self.key = key
        self.total = total
        self._now = now
        self._whole = whole
        self._part: Part | None = None
        self._waiting: list[bytes] = []
        self._waits = 0
        self._looked = 0
        self._over = False
        self._turn = asyncio.Lock()

    @property
    def size(self) -> int:
        """How much of the blob has come, what waits to be written included."""
        return (self._part.size if self._part else 0) + self._waits

    async def open(self) -> None:
        """Open the file, and stand behind what is in it."""
        await self._do(self._open)

    async def write(self, data: bytes) -> None:
        """Take the next bytes; E_ENCODING beyond the blob's end, E_VERSION if it is none, E_BUSY for the disk."""
        if self.size + len(data) > self.total:
            raise Refused(Code.E_ENCODING, "The body goes on behind the end of the attachment.")
        self._waiting.append(data)
        self._waits += len(data)
        if self._waits >= WRITE_BYTES:
            await self._do(self._flush)

    async def end(self) -> bool:
        """Make durable what has come; return whether the blob is whole now, and its row written.

        E_BINDING if the whole is not the blob of this id; Elsewhere, with offset 0, if that came in pieces.
        Either way nothing of it is kept.
        """
        return await self._do(self._end)

    async def leave(self) -> None:
        """Put down what has come, and let go. Safe to call twice."""
        await asyncio.shield(asyncio.ensure_future(self._leave()))

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        return await asyncio.shield(asyncio.ensure_future(self._safely(work)))

    async def _safely(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do *work*; where the disk fails, what is on it cannot be trusted, and goes."""
        async with self._turn:
            try:
                return await work()
            except OSError as error:
                with suppress(OSError):
                    await self._discard()
                text = f"The relay's disk did not take the attachment ({named(error)})."
                raise busy(text) from error

    async def _open(self) -> None:
        try:
            part = self._part = await self._blobs.open_part(self.key)
        except BlockingIOError:
            raise busy("Another relay is taking in this attachment.") from None
        if self._whole:
            await self._blobs.run(part.restart)
        else:
            await self._blobs.run(part.resume, self._blobs.known_hash(self.key, part.size))
        if not self._whole and part.size != self._blobs.offset(
            *self.key
        ):  # cut or grown behind our back
            await self._discard()
            raise Elsewhere("What the relay had of it is not there any more.", 0)

    async def _flush(self) -> None:
        part = self._part
        if part is None or self._over or not self._waiting:
            return
        waiting, self._waiting, self._waits = self._waiting, [], 0
        data = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        del waiting
        if not part.size:
            try:
                frame.check_start(data + frame.MAGIC[len(data) :])  # as far as it is here
            except Refused:
                await self._discard()
                raise
        await self._blobs.run(part.append, data)
        if part.size - self._looked >= SYNC_BYTES:
            self._looked = part.size
            self._blobs.roomy()

    async def _end(self) -> bool:
        assert self._part is not None
        part, blobs = self._part, self._blobs
        await self._flush()
        if part.size < self.total:
            await self._put_down()
            return False
        hashed = await blobs.run(part.settle, self._now)
        if hashed.hexdigest() != self.key[0]:
            await self._discard()
            text = "What came is not the attachment of this id: its SHA-256 is another."
            if self._whole:
                raise Refused(Code.E_BINDING, text)
            raise Elsewhere(text, 0)
        self._over = True
        await blobs.publish(part, self.key, self._now)
        return True

    async def _put_down(self) -> None:
        part = self._part
        if part is None or self._over:
            return
        if not part.size:
            await self._discard()
            return
        hashed = await self._blobs.run(part.settle, self._now)
        self._over = True
        self._blobs.put_down(self.key, part.size, self._now, hashed)

    async def _discard(self) -> None:
        self._over = True
        self._blobs.put_down(self.key, 0, self._now, None)
        if self._part is not None:
            await self._blobs.run(self._part.discard)

    async def _leave(self) -> None:
        try:
            with suppress(Refused):  # whoever should be told was told
                await self._safely(self._flush)
                await self._safely(self._put_down)
        finally:
            if self._part is not None:
                await self._blobs.run(self._part.close)
            self._blobs.left(self)


def busy(text: str) -> Refused:
    """Return E_BUSY: nothing is wrong, only later."""
    return Refused(Code.E_BUSY, text, hint="The same again in a moment; what has come is kept.")


def named(error: Exception) -> str:
    """Return an error's name, without paths."""
    number = getattr(error, "errno", None)
    return errno.errorcode.get(number, "") if number else str(error)
