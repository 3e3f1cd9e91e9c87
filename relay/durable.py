"""Making files durable: their bytes, their names, and what an earlier failure has left in doubt.

Three facts about disks stand behind it. A name is durable when its *folder* is synced. A sync that has failed is not
mended by the next one, which succeeds: the kernel has marked the pages as written, and until the power goes every
reader sees in them what the disk does not have. And a page that is written once more is written to the disk.
"""

import os
from pathlib import Path

PIECE_BYTES = 1024 * 1024


def sync(path: Path) -> None:
    """Make a file's bytes durable, or a folder's names; OSError if the disk refuses."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable(path: Path) -> None:
    """Sync a file and its name in the folder."""
    sync(path)
    sync(path.parent)


def sync_log(path: Path) -> None:
    """Make the write-ahead log of the SQLite file at *path* durable as it is: SQLite cuts it without a sync."""
    sync(path.with_name(path.name + "-wal"))


def settle_log(path: Path) -> None:
    """Make the write-ahead log of the SQLite file at *path* what it seems to be, before anything is copied out of it.

    An earlier process may have failed to sync it and died. Then the log can be read to its end as long as the power
    stays, and a part of it is not on the disk. Copied into the file now, a power cut in between would leave half of
    the copy and no log to mend it: a damaged file. So every byte is written again where it stands, and synced; so is
    the log's name, for which SQLite asks, too, and does not look what came of it. The caller holds SQLite's lock and
    has read from the file once (so that the log is there). OSError if the disk refuses.
    """
    descriptor = os.open(path.with_name(path.name + "-wal"), os.O_RDWR | os.O_CLOEXEC)
    try:
        at = 0
        while piece := os.pread(descriptor, PIECE_BYTES, at):
            at += os.pwrite(descriptor, piece, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync(path.parent)
