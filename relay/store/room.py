"""Room on the disk: when no further message is taken in, and a file that is given up so that receipts still fit.

A disk that fills up must not end the relay in the middle of a night: what was accepted still has to be delivered,
receipted and escalated, and all of that writes. So new messages are refused long before the end
(``submissions_allowed``), and a ballast file of some megabytes lies beside the store and is deleted at the last moment.
Nothing is lost either way: whoever is refused keeps the message in the outbox and sends it again.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from keys.errors import Code, Refused

BALLAST_BYTES = 64 * 1024 * 1024
FREE_BYTES_MIN = 1024**3
FREE_PERCENT_MIN = 5
LEAST_SHARE = 4
"""The ballast is given up when less than this part of it (one in four) is free besides."""


@dataclass(frozen=True, slots=True)
class Room:
    """The disk under one folder. Everything is asked of the disk anew: other programs fill it too."""

    path: Path
    """The store's file; the ballast lies beside it."""
    ballast_bytes: int = BALLAST_BYTES
    free_bytes_min: int = FREE_BYTES_MIN
    free_percent_min: int = FREE_PERCENT_MIN
    statvfs: Callable[[Path], os.statvfs_result] = os.statvfs

    @property
    def ballast(self) -> Path:
        """Where the ballast lies, if it does."""
        return self.path.with_name(self.path.name + ".ballast")

    @property
    def least(self) -> int:
        """Bytes below which the ballast is given up; a store without them and without a ballast does not start."""
        return self.ballast_bytes // LEAST_SHARE

    def look(self) -> tuple[int, int]:
        """Return the bytes that this account may still write, and those below which no new message is taken in."""
        disk = self.statvfs(self.path.parent)
        share = disk.f_blocks * disk.f_frsize * self.free_percent_min // 100
        return disk.f_bavail * disk.f_frsize, max(self.free_bytes_min, share)

    def submissions_allowed(self, size: int = 0) -> bool:
        """Whether *size* more bytes of new messages may be written; receipts and purges always may."""
        free, floor = self.look()
        return free - size >= floor

    def earlier(self, path: Path) -> "Room":
        """Return the disk under *path*, for what must not take the last room from messages: it is full sooner."""
        return replace(
            self,
            path=path,
            ballast_bytes=0,
            free_bytes_min=2 * self.free_bytes_min,
            free_percent_min=2 * self.free_percent_min,
        )

    def check(self, size: int = 0) -> None:
        """Refuse (E_BUSY) what would bring *size* new bytes while the disk is nearly full."""
        if not self.submissions_allowed(size):
            raise Refused(
                Code.E_BUSY,
                "The relay's disk is nearly full: it takes no new messages until its operator has made room.",
                hint="Urgent? Telephone the desk. The message stays in your outbox and is sent again by itself.",
            )

    def held(self) -> int:
        """Return the size of the ballast; 0 while it is given up."""
        try:
            return self.ballast.stat().st_size
        except OSError:
            return 0

    def relieve(self) -> bool:
        """Give the ballast up if it is needed now; return whether that was done. Before something is written."""
        if not self.ballast_bytes or self.look()[0] >= self.least or not self.held():
            return False
        self.ballast.unlink(missing_ok=True)
        return True

    def restore(self) -> bool:
        """Put the ballast (back) where new messages would be taken in with it, too; return whether that was done."""
        if not self.ballast_bytes or self.held() >= self.ballast_bytes:
            return False
        if not self.submissions_allowed(self.ballast_bytes):
            return False
        part = self.ballast.with_suffix(".part")
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.ballast_bytes)
            finally:
                os.close(descriptor)
            part.rename(self.ballast)
        except OSError:  # another program was faster, or handles are short: at the next look
            part.unlink(missing_ok=True)
            return False
        return True
