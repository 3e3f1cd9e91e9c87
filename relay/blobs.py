"""Attachments at the relay: taken in, held, handed out, let go (PROTOCOL 9.5).

The relay knows a blob's length and hash, who put it, and which messages name it. Files and rows are
kept by the store's room (relay.store.blobs says in which order); here is who may put how much, what
may be named by a message, and what goes when.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from keys.errors import Code, Failed, Refused
from relay.core import limits
from relay.core.state import Message
from relay.store.base import BlobRow, Store
from relay.store.blobs import Folder, Hash, Part, Whole
from relay.store.room import Room
from relay.upload import Elsewhere, Key, Upload, busy, named
from relay.wire import blob as frame

THREADS = 4
DROP_MAX = 256
"""Blobs let go in one turn."""
HASHES_KEPT = 64
"""Hashes of parts kept in memory, so that the next piece need not read the part again."""
ROWS = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a start found: files that nobody knew, and rows whose file is not there."""

    removed: int
    missing: tuple[str, ...]


class Blobs:
    """The attachments of one relay. Times are seconds UTC."""

    def __init__(
        self,
        store: Store,
        folder: Folder,
        *,
        quota: int = limits.BLOB_QUOTA_BYTES,
        room: Room | None = None,
    ) -> None:
        """Hold blobs in *folder* and their rows in *store*; one desk may have *quota* bytes here."""
        self._store = store
        self._folder = folder
        self._quota = quota
        self._room = room
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._parts: dict[Key, tuple[int, int]] = {}  # size on the disk, and when it was written
        self._uploads: dict[Key, Upload] = {}
        self._hashes: OrderedDict[Key, tuple[int, Hash]] = OrderedDict()
        self._turn = asyncio.Lock()  # a file and its row change together
        self._copying = asyncio.Lock()  # nothing goes while a backup is made

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Do *work* on a thread of the blobs' own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    # Start and end

    async def start(self, now: int) -> Swept:
        """Open the folder, and bring it and the rows into agreement. Failed if it cannot be used."""
        try:
            await self.run(self._folder.open)
        except OSError as error:
            raise Failed(
                f"The folder {self._folder.path} for attachments cannot be used: {error.strerror}.",
                hint="It must belong to the relay's account; see [store] blobs.",
                exit_code=73,
            ) from error
        async with self._together():
            known = await self._rows()
            found = await self.run(self._folder.files)
            whole = {one.blob: one.size for one in found if not one.desk}
            strays = whole.keys() - known.keys()
            for blob in strays:
                await self.run(self._folder.remove, blob)
        self._parts = {(one.blob, one.desk): (one.size, one.at) for one in found if one.desk}
        late = await self._drop_parts(now)
        missing = sorted(blob for blob, size in known.items() if whole.get(blob) != size)
        return Swept(len(strays) + late, tuple(missing))

    async def stop(self) -> None:
        """Let go of the folder; uploads under way end first. Safe to call twice."""
        if self._uploads:
            await asyncio.gather(*(one.leave() for one in list(self._uploads.values())))
        await asyncio.to_thread(self._pool.shutdown)
        self._folder.close()

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[None]:
        """Let nobody else, here or in another relay, be between a file and its row. Not to be cancelled."""
        async with self._turn:
            if not self._folder.shared:
                yield
                return
            await self.run(self._folder.enter)
            try:
                yield
            finally:
                await self.run(self._folder.leave)

    async def _rows(self) -> dict[str, int]:
        known: dict[str, int] = {}
        last = ""
        while rows := await self._store.blobs(last, ROWS):
            known.update(rows)
            last = rows[-1][0]
        return known

    # Who may name and read what

    async def held(self, blobs: Sequence[str], desk: str) -> Collection[str]:
        """Return those of *blobs* that *desk* has put and that are here as a whole: what its message may name."""
        found = []
        for blob in blobs:
            row = await self._store.blob(blob)
            if row is None or desk not in row.desks or not await self.present(row):
                continue
            if len(row.messages) >= limits.BLOB_USES_MAX:
                raise Refused(
                    Code.E_TOO_LARGE,
                    f"More than {limits.BLOB_USES_MAX} messages name one attachment.",
                    hint="Every message seals its own attachments; only re-seals share them.",
                )
            found.append(blob)
        return found

    async def present(self, row: BlobRow) -> bool:
        """Whether the file of a row is there, with its size. Its bytes are for the doctor, and for who reads them."""
        return await self.run(self._folder.size, row.id) == row.size

    async def readable(self, blob: str, desk: str) -> BlobRow | None:
        """Return a blob that *desk* may read: it has put it, or may fetch a message that names it; else None."""
        row = await self._store.blob(blob)
        if row is None or desk in row.desks:
            return row
        for msg in row.messages:
            stored = await self._store.load(msg)
            if stored is not None and desk in Message.decode(stored.state).readers:
                return row
        return None

    def offset(self, blob: str, desk: str) -> int:
        """Return how much of a blob *desk* has put so far; 0 if nothing, or if it is whole."""
        return self._parts.get((blob, desk), (0, 0))[0]

    async def look(self, blob: str, desk: str, now: int) -> int:
        """Return the same, where another relay may have gone on with it."""
        if self._folder.shared and (blob, desk) not in self._uploads:
            size = await self.run(self._folder.part_size, blob, desk)
            if size != self.offset(blob, desk):
                self.put_down((blob, desk), size, now, None)
        return self.offset(blob, desk)

    # Taking in

    async def again(self, blob: str, desk: str, now: int) -> bool:
        """Whether *desk* has put this blob before, and it is whole: then it is kept for another day."""
        return await asyncio.shield(asyncio.ensure_future(self._again(blob, desk, now)))

    async def _again(self, blob: str, desk: str, now: int) -> bool:
        async with self._together():
            row = await self._store.blob(blob)
            if row is None or desk not in row.desks or not await self.present(row):
                return False
            await self._store.put_blob(blob, row.size, desk, now)
            return True

    async def take(
        self, blob: str, desk: str, start: int | None, total: int, now: int, promised: int = 0
    ) -> Upload:
        """Begin to take in a body: the whole blob (*start* None), or a piece of it from byte *start*.

        *promised* is the quota that the network gives each desk, whatever this relay's operator has set.

        Whoever calls ends it with :meth:`Upload.leave`, whatever happens. Refused: E_TOO_LARGE or E_ENCODING
        (no blob has that length), E_BUSY (too much at once; the disk), E_RATE (the quota), Elsewhere.
        """
        frame.check_length(total)
        key = blob, desk
        if key in self._uploads:
            raise busy("Another call is putting this attachment.")
        mine = [one for (_blob, who), one in self._uploads.items() if who == desk]
        if len(self._uploads) >= limits.UPLOADS_MAX or len(mine) >= limits.UPLOADS_PER_DESK_MAX:
            raise busy("The relay is taking in as many attachments as it can.")
        here = await self.look(blob, desk, now)
        if key in self._uploads:
            raise busy("Another call is putting this attachment.")
        if start is not None and start != here:
            raise Elsewhere("The piece does not begin where what the relay has of it ends.", here)
        upload = self._uploads[key] = Upload(self, key, total, now, whole=start is None)
        try:
            await self._admit(upload, mine, max(self._quota, promised))
            await upload.open()
        except BaseException:
            await upload.leave()
            raise
        return upload

    async def _admit(self, upload: Upload, mine: Sequence[Upload], quota: int) -> None:
        blob, desk = upload.key
        row = await self._store.blob(blob)
        used = await self._store.blob_bytes(desk)
        if row is not None and desk in row.desks:  # its file is lost, and comes back
            used -= row.size
        parts = [key for key in self._parts if key[1] == desk and key != upload.key]
        if len(parts) >= limits.PARTS_PER_DESK_MAX:
            raise Refused(
                Code.E_RATE,
                f"{desk} has begun {len(parts)} attachments and finished none of them.",
                hint="Finish them, or wait: what is not gone on with is removed after a day.",
            )
        under_way = sum(one.total for one in mine)
        used += under_way + sum(self.offset(*key) for key in parts if key not in self._uploads)
        if used + upload.total > quota:
            raise Refused(
                Code.E_RATE,
                f"The attachments of {desk} at this relay would exceed its quota of {quota} bytes.",
                hint="Room comes back as messages end: a month after a case is closed, a day after an"
                " attachment that was never sent.",
            )
        if self._room is not None:
            coming = sum(one.total - one.size for one in self._uploads.values())
            self._room.check(coming)

    def roomy(self) -> None:
        """Refuse (E_BUSY) to go on while the disk is nearly full: other programs fill it, too."""
        if self._room is not None:
            self._room.check()

    async def open_part(self, key: Key) -> Part:
        """Open what a desk puts of a blob."""
        return await self.run(self._folder.part, *key)

    def known_hash(self, key: Key, size: int) -> Hash | None:
        """Return the hash of a part of *size* bytes, if it is still in memory."""
        kept = self._hashes.pop(key, None)
        return kept[1] if kept is not None and kept[0] == size else None

    def put_down(self, key: Key, size: int, now: int, hashed: Hash | None) -> None:
        """Note that so much of a blob is on the disk; 0: nothing any more."""
        self._hashes.pop(key, None)
        if not size:
            self._parts.pop(key, None)
            return
        self._parts[key] = size, now
        if hashed is not None:
            self._hashes[key] = size, hashed
            if len(self._hashes) > HASHES_KEPT:
                self._hashes.popitem(last=False)

    async def publish(self, part: Part, key: Key, now: int) -> None:
        """Give a whole part its name, and then its row: durable when this returns."""
        blob, desk = key
        async with self._together():
            try:
                await self.run(part.publish)
            except OSError:  # it may have its name by now, and would be nobody's
                if await self._store.blob(blob) is None:
                    await self.run(self._folder.remove, blob)
                raise
            self.put_down(key, 0, now, None)
            await self._store.put_blob(blob, part.size, desk, now)

    def left(self, upload: Upload) -> None:
        """Note that an upload has ended."""
        if self._uploads.get(upload.key) is upload:
            del self._uploads[upload.key]

    # Handing out

    async def read(self, row: BlobRow) -> "Reading":
        """Open a whole blob; whoever calls closes it. E_BLOB_MISSING if its file is lost."""
        try:
            whole = await self.run(self._folder.read, row.id)
        except FileNotFoundError:
            _lost()
        except OSError as error:
            raise busy(f"The attachment cannot be opened now ({named(error)}).") from error
        return Reading(self, whole)

    # Letting go

    async def house(self, now: int) -> int:
        """Let go of what nobody needs any more; return how many. A few at a time, and nothing during a backup."""
        if self._copying.locked():
            return 0
        async with self._copying:
            async with self._together():
                gone = await self._store.drop_blobs(now - limits.BLOB_IDLE_S, DROP_MAX)
                for blob in gone:
                    await self.run(self._folder.remove, blob)
            return len(gone) + await self._drop_parts(now)

    async def _drop_parts(self, now: int) -> int:
        late = [
            key
            for key, (_size, at) in self._parts.items()
            if at <= now - limits.BLOB_IDLE_S and key not in self._uploads
        ]
        for key in late:
            self.put_down(key, 0, now, None)
            await self.run(self._folder.remove_part, *key, now - limits.BLOB_IDLE_S)
        return len(late)

    # For the operator

    async def check(self) -> list[str]:
        """Read every blob; return what is wrong as sentences."""
        async with self._together():
            files = {one.blob for one in await self.run(self._folder.files) if not one.desk}
            known = await self._rows()
        found = [
            f"The file of attachment {blob} is not known to the store; the next start removes it."
            for blob in sorted(files - known.keys())
        ]
        for blob, size in sorted(known.items()):
            try:
                right = await self.run(self._folder.hash, blob) == blob
                right = right and await self.run(self._folder.size, blob) == size
            except OSError:
                if await self._store.blob(blob) is None:
                    continue  # it went while the others were read
                found.append(f"The file of attachment {blob} is not there.")
            else:
                if not right:
                    found.append(f"The file of attachment {blob} is damaged.")
        return found

    async def backup(self, target: Path, first: Callable[[], Awaitable[None]]) -> int:
        """Copy or link every blob into *target*, which is made if there are any, after awaiting *first*; verify each.

        *first* copies the store: nothing is let go until both are done, so every row of the copy finds its file.
        Returns how many. Failed where a blob cannot be copied.
        """
        async with self._copying:
            await first()
            known = await self._rows()
            if not known:
                return 0
            await self.run(lambda: target.mkdir(mode=0o700))
            for blob in known:
                try:
                    await self.run(self._folder.copy, blob, target)
                except (OSError, ValueError) as error:
                    if await self._store.blob(blob) is None:
                        continue  # another relay of the same store has let it go meanwhile
                    raise Failed(
                        f"Attachment {blob} cannot be copied to the backup: {named(error)}.",
                        hint="Run `relay doctor`; a damaged attachment is put again by its sender, or lost.",
                        exit_code=73,
                    ) from error
            await self.run(self._folder.disk.sync_folder, target)
        return len(known)


class Reading:
    """A blob that is read, piece by piece."""

    def __init__(self, blobs: Blobs, whole: Whole) -> None:
        """Hold an open file."""
        self._blobs = blobs
        self._whole = whole

    async def piece(self, at: int, size: int) -> bytes:
        """Return *size* bytes from byte *at*; E_BLOB_MISSING if the file ends too early."""
        data = await self._blobs.run(self._whole.read, at, size)
        if len(data) != size:
            _lost()
        return data

    async def close(self) -> None:
        """Let go of the file."""
        await asyncio.shield(asyncio.ensure_future(self._blobs.run(self._whole.close)))


def _lost() -> NoReturn:
    raise Refused(
        Code.E_BLOB_MISSING,
        "The relay should hold this attachment, and does not: its file is lost.",
        hint="The operator runs `relay doctor`; the sender's desk can put it again.",
    )
