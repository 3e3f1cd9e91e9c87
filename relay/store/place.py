"""Where a store's file lies: room on the disk, a lock against a second relay, and who may read it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from keys.errors import Failed
from relay.durable import make_durable

FREE_BYTES_MIN = 64 * 1024 * 1024
"""A store with less room than this is refused at start: it would soon have to break in a commit."""


def check_room(folder: Path, needed: int) -> None:
    """Fail unless *needed* bytes are free in *folder*, which must be there and ours to write."""
    if not folder.is_dir():
        raise Failed(
            f"The folder {folder} for the store is not there.",
            hint=f"Make it: mkdir -m 700 {folder}",
            exit_code=73,
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Failed(
            f"The folder {folder} for the store cannot be written by this account.",
            hint=f"Give it away: chown $(id -un) {folder}",
            exit_code=73,
        )
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise Failed(
            f"Only {free >> 20} MiB are free in {folder}; the store needs {needed >> 20} MiB there.",
            hint="Make room or choose another folder, then start again. Nothing was lost.",
            exit_code=75,
        )


def create_private(path: Path) -> None:
    """Make an empty file that only its owner may read; Failed if it is there already."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        make_durable(path)
    except FileExistsError:
        raise Failed(
            f"{path} is there already and is not overwritten.",
            hint="Choose another name, or move the old file away first.",
            exit_code=73,
        ) from None
    except OSError as error:
        raise Failed(f"{path} cannot be made: {error.strerror}.", exit_code=73) from error


class Lock:
    """One process per store. A file of its own: closing a second descriptor of the store's file
    would end SQLite's lock.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock beside *path*; Failed (75) with the holder's process number if another has
        it.
        """
        lock = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failed(f"{lock} cannot be opened: {error.strerror}.", exit_code=73) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Failed(
                f"Another process{f' (number {holder})' if holder else ''} works on the store {path}.",
                hint="One relay at a time: stop that one, or give this one a store of its own.",
                exit_code=75,
            ) from None
        # The number is only for the sentence above: a disk that does not take it is found by others.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others in. The file stays: removing it would race with one who has just opened it."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
