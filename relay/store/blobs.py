"""Blobs as files, named by their hash (PROTOCOL 9.5).

::

    <id>              whole and durable; its row says who put it
    <id>.<DESK>.part  what a desk has put of it so far

A blob becomes whole in this order, and each step is durable before the next: bytes, their sync, the
name, the folder's sync, the row. It goes in the other order: the row, then the file. So after a
crash a file may be here that nobody knows, which the next start removes, and never a row whose file
was not there when it was written.

Nothing here waits for anybody: whoever calls does so on a thread.
"""

import fcntl
import hashlib
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from relay.durable import make_durable
from relay.store.place import Lock

PIECE_BYTES = 1024 * 1024
"""Read at a time where a file is hashed or copied."""
SYNC_BYTES = 8 * 1024 * 1024
"""Written at most before it is synced: a disk that must take 256 MiB at once lets others wait."""
_NAME = re.compile(r"([0-9a-f]{64})(?:\.([A-Z]{2}(?:-[A-Z0-9]{1,4})?)\.part)?")


class Disk:
    """Every step that changes the disk, so that a test can stop before and after each of them."""

    def open(self, path: Path) -> int:
        """Open for writing and reading, and make it if it is not there (0600)."""
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, descriptor: int, data: bytes, at: int) -> int:
        """Write at a place; return how much was taken."""
        return os.pwrite(descriptor, data, at)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut to *size* bytes."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Make a file's bytes durable."""
        os.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name, in the place of what has it."""
        old.rename(new)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the folder; *desk* "" for a whole blob. *at* is when it was last written, by the relay's clock."""

    blob: str
    desk: str
    size: int
    at: int


class Hash(Protocol):
    """A SHA-256 that has read so far, as hashlib makes it."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Read on."""

    def copy(self) -> Self:
        """Return another that has read as far."""

    def hexdigest(self) -> str:
        """Return the hash of what was read."""


class Part:
    """What a desk puts of a blob, open for more. One caller at a time; the rest wait for their turn."""

    def __init__(self, folder: "Folder", blob: str, desk: str) -> None:
        """Open the file, and make it if the desk has put nothing yet; BlockingIOError if another relay has it open."""
        self._folder = folder
        self.blob = blob
        self.path = folder.path / f"{blob}.{desk}.part"
        self._turn = threading.Lock()
        self._descriptor = folder.disk.open(self.path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise
        self.size = os.fstat(self._descriptor).st_size
        """Bytes that are here."""
        self._unsynced = 0
        self._hash: Hash | None = None

    def resume(self, known: Hash | None) -> None:
        """Go on behind what is here; *known* is its hash so far, else it is read once more."""
        with self._turn:
            self._hash = known or self._read()

    def _read(self) -> Hash:
        """Hash what is here, and write it once more: whether an earlier process could sync it is not known."""
        found: Hash = hashlib.sha256()
        at = 0
        while piece := os.pread(self._descriptor, PIECE_BYTES, at):
            found.update(piece)
            at += self._folder.disk.write(self._descriptor, piece, at)
        return found

    def restart(self) -> None:
        """Begin anew."""
        with self._turn:
            self._folder.disk.truncate(self._descriptor, 0)
            self.size, self._hash = 0, hashlib.sha256()

    def append(self, data: bytes) -> None:
        """Write behind what is here, and hash; OSError if the disk does not take it all."""
        with self._turn:
            assert self._hash is not None, "resume() or restart() comes first"
            disk, view = self._folder.disk, memoryview(data)
            while view:
                taken = disk.write(self._descriptor, view, self.size)  # type: ignore[arg-type]
                self._hash.update(view[:taken])
                self.size += taken
                self._unsynced += taken
                view = view[taken:]
            if self._unsynced >= SYNC_BYTES:
                self._sync()

    def _sync(self) -> None:
        self._folder.disk.sync(self._descriptor)
        self._unsynced = 0

    def settle(self, now: int) -> Hash:
        """Make what is here durable, dated *now*; return the hash so far."""
        with self._turn:
            assert self._hash is not None
            os.utime(self._descriptor, (now, now))
            self._sync()
            return self._hash.copy()

    def publish(self) -> None:
        """Give the file its name for good. :meth:`settle` has made its bytes durable."""
        with self._turn:
            disk, folder = self._folder.disk, self._folder.path
            disk.rename(self.path, folder / self.blob)
            disk.sync_folder(folder)

    def discard(self) -> None:
        """Remove the file."""
        with self._turn:
            self._folder.disk.unlink(self.path)

    def close(self) -> None:
        """Let go of the file; what was asked for before is done first."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


class Whole:
    """A whole blob, open for reading, whatever becomes of its name."""

    def __init__(self, path: Path) -> None:
        """Open the file; OSError if it cannot be."""
        self._turn = threading.Lock()
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read(self, at: int, size: int) -> bytes:
        """Return *size* bytes from byte *at*, fewer at the end."""
        with self._turn:
            return os.pread(self._descriptor, size, at)

    def hash(self) -> str:
        """Return the SHA-256 of everything."""
        found, at = hashlib.sha256(), 0
        while piece := self.read(at, PIECE_BYTES):
            found.update(piece)
            at += len(piece)
        return found.hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)


class Folder:
    """The folder of blobs. Whoever names a blob has checked that the name is one."""

    def __init__(self, path: Path, disk: Disk | None = None, *, shared: bool = False) -> None:
        """Name the folder; nothing is opened. *shared*: several relays, over one store, work on it."""
        self.path = path
        self.shared = shared
        self.disk = disk or Disk()
        self._lock: Lock | None = None
        self._turn = -1

    def open(self) -> None:
        """Make the folder (0700) and lock it; Failed (75) if another relay has it."""
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700)
        make_durable(self.path)  # an earlier start may have made it, and failed before this
        if self.shared:
            self._turn = os.open(
                self.path / "turn.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
            )
        else:
            self._lock = Lock(self.path / "relay")

    def close(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._turn >= 0:
            os.close(self._turn)
            self._turn = -1

    def enter(self) -> None:
        """Wait until no other relay is between a file and its row, and keep them out until :meth:`leave`."""
        if self._turn >= 0:
            fcntl.flock(self._turn, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let the other relays go on."""
        if self._turn >= 0:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def files(self) -> list[Found]:
        """Return what is here; other people's files are left out, and left alone."""
        found = []
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name)
                if named and entry.is_file(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    desk = named[2] or ""
                    found.append(Found(named[1], desk, about.st_size, int(about.st_mtime)))
        return found

    def size(self, blob: str) -> int | None:
        """Return the size of a whole blob's file; None if there is none."""
        try:
            return os.stat(self.path / blob, follow_symlinks=False).st_size  # noqa: PTH116
        except OSError:
            return None

    def part(self, blob: str, desk: str) -> Part:
        """Open what a desk puts of a blob."""
        return Part(self, blob, desk)

    def read(self, blob: str) -> Whole:
        """Open a whole blob; OSError if it is not here or cannot be opened."""
        return Whole(self.path / blob)

    def remove(self, blob: str) -> None:
        """Remove a whole blob's file. Its row is gone by now."""
        self.disk.unlink(self.path / blob)

    def part_size(self, blob: str, desk: str) -> int:
        """Return how much a desk has put of a blob; 0 if nothing."""
        return self.size(f"{blob}.{desk}.part") or 0

    def remove_part(self, blob: str, desk: str, before: int) -> None:
        """Remove what a desk has put of a blob, unless it was gone on with after *before*."""
        path = self.path / f"{blob}.{desk}.part"
        with suppress(FileNotFoundError):
            if path.stat().st_mtime <= before:
                self.disk.unlink(path)

    def hash(self, blob: str) -> str:
        """Return the SHA-256 of a whole blob's bytes; OSError if they cannot be read."""
        whole = self.read(blob)
        try:
            return whole.hash()
        finally:
            whole.close()

    def copy(self, blob: str, target: Path) -> None:
        """Put a whole blob into another folder, by a second name where both are on one disk; verified.

        OSError if it cannot be; ValueError if its bytes are not the blob's.
        """
        made = target / blob
        try:
            os.link(self.path / blob, made, follow_symlinks=False)
        except OSError:
            self._copy_bytes(blob, made)
        if Folder(target).hash(blob) != blob:
            raise ValueError("its bytes are not those that were put")

    def _copy_bytes(self, blob: str, made: Path) -> None:
        source = self.read(blob)
        try:
            with made.open("xb") as out:
                at = 0
                while piece := source.read(at, PIECE_BYTES):
                    out.write(piece)
                    at += len(piece)
                out.flush()
                made.chmod(0o600)
                os.fsync(out.fileno())
        finally:
            source.close()
