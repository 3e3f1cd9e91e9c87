"""Sealed attachments on this desk's disk: one folder beside the archive, and nothing in it is ever plaintext.

::

    archive.blobs/stage-<random>/<blob id>    being sealed by a command that holds the folder's lock
    archive.blobs/out/<sid>.<number>          handed over; kept until the message has arrived
    archive.blobs/in/<sid>.<number>           fetched whole and opened once; kept as it came
    archive.blobs/in/<sid>.<number>.part      being fetched

Rows of the archive say what belongs here (:mod:`relay.desk.attachments`). What no row names, and no living command
holds, is left over from a crash and is swept away. Files are 0600, folders 0700, and no link is followed.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from keys import suite
from keys.errors import Failed

PART = ".part"
STAGE = "stage-"
RESERVE_BYTES = 256 * 1024 * 1024
"""Room that attachments leave on a disk: the archive needs some, or the desk ends."""
CANNOT_CREATE = 73


class Spool:
    """One desk's folder of sealed attachments. It need not be there before something is put into it."""

    def __init__(self, folder: Path) -> None:
        """Stand on *folder*."""
        self.folder = folder

    def out(self, row: str) -> Path:
        """Return where the sealed file of an upload stands."""
        return self.folder / "out" / row

    def held(self, row: str) -> Path:
        """Return where the sealed file of a received attachment stands."""
        return self.folder / "in" / row

    def part(self, row: str) -> Path:
        """Return where it is put together."""
        return self.folder / "in" / f"{row}{PART}"

    def make(self) -> None:
        """Make the folders, 0700."""
        for path in (self.folder, self.folder / "out", self.folder / "in"):
            path.mkdir(mode=0o700, exist_ok=True)

    def free(self) -> int:
        """Return how many bytes may still be put here."""
        self.make()
        return max(0, shutil.disk_usage(self.folder).free - RESERVE_BYTES)

    # Handing over

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Make a folder to seal into; it is gone at the end, whatever the end is, and swept away if nobody ends it."""
        self.make()
        while True:
            path = self.folder / f"{STAGE}{suite.random_bytes(16).hex()}"
            path.mkdir(mode=0o700)
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if path.exists():  # a sweep that was quicker had found it without a holder
                break
            os.close(handle)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)

    def staged(self, name: str) -> Path:
        """Return the folder that a command names; Failed where there is none."""
        path = self.folder / name
        digits = name.removeprefix(STAGE)
        if not name.startswith(STAGE) or digits.strip("0123456789abcdef") or not path.is_dir():
            raise Failed(
                "The sealed attachments that were handed over are not there.",
                hint="Type the same command again.",
                exit_code=66,
            )
        return path

    def take(self, moves: Sequence[tuple[Path, str]]) -> None:
        """Move sealed files that were staged to where their rows will say; durable on return."""
        if not moves:
            return
        self.make()
        try:
            for path, row in moves:
                path.rename(self.out(row))
            self._sync("out")
        except OSError as error:
            raise Failed(
                f"The sealed attachments cannot be kept: {error.strerror}.",
                hint="Nothing was sent. Type the same command again.",
                exit_code=CANNOT_CREATE,
            ) from None

    # Fetching

    def keep(self, row: str) -> None:
        """Give a fetched file its name; durable on return."""
        with self.part(row).open("rb") as file:
            os.fsync(file.fileno())
        self.part(row).rename(self.held(row))
        self._sync("in")

    def _sync(self, inside: str) -> None:
        """Make names durable: those in a folder, its own, and that of the folder around both."""
        for folder in (self.folder / inside, self.folder, self.folder.parent):
            sync(folder)

    # Clearing away

    def sweep(self, sending: Collection[str], received: Collection[str]) -> int:
        """Remove what no row names and nobody holds; return how many things that were."""
        if not self.folder.is_dir():
            return 0
        left = [path for path in _inside(self.folder / "out") if path.name not in sending]
        left += [
            path
            for path in _inside(self.folder / "in")
            if path.name.removesuffix(PART) not in received
        ]
        for path in left:
            path.unlink(missing_ok=True)
        stages = [path for path in self.folder.iterdir() if path.name.startswith(STAGE)]
        return len(left) + sum(_abandoned(path) for path in stages)


def beside(archive: Path) -> Path:
    """Return the folder of sealed attachments that belongs to an archive's file."""
    return archive.with_suffix(".blobs")


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _abandoned(path: Path) -> bool:
    """Remove a stage unless a living command holds it; return whether it was removed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def create(path: Path) -> int:
    """Open a new file, 0600, for reading and writing; OSError where one is there."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def reader(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Open a sealed file for reading; no link is followed. OSError where it is not there."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield file.read


def size(path: Path) -> int:
    """Return the size of a file, 0 where there is none."""
    try:
        return path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
