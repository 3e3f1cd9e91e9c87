"""One device's view of its desk's mailbox, pure: where it resumes, and how much may be on its way at once.

The mailbox is a dense sequence per desk within a store's epoch. A device keeps its own cursor (epoch, seq); the relay
keeps nothing per device, so a lost connection, a new instance or a restored store cost a repeat and never a gap.
"""

from dataclasses import dataclass

WINDOW_MAX = 16
"""Entries on their way to one device that it has not confirmed yet."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry that a device has kept durably, and the epoch in which that number means something."""

    epoch: int
    seq: int


def resume(cursor: Cursor, epoch: int, head: int) -> int:
    """Return the sequence number after which pushes begin; another epoch or an impossible number begins anew."""
    if cursor.epoch != epoch or cursor.seq > head or cursor.seq < 0:
        return 0
    return cursor.seq


@dataclass(frozen=True, slots=True)
class Window:
    """What was pushed (*sent*) and what was confirmed (*seen*), both as sequence numbers."""

    sent: int
    seen: int
    limit: int = WINDOW_MAX

    @property
    def room(self) -> int:
        """How many more entries may be pushed now."""
        return max(0, self.limit - (self.sent - self.seen))

    def push(self, seq: int) -> "Window":
        """Note that everything up to *seq* was pushed."""
        return Window(max(self.sent, seq), self.seen, self.limit)

    def confirm(self, seq: int) -> "Window":
        """Note the device's word that it has kept everything up to *seq*; it cannot confirm what was not pushed."""
        return Window(self.sent, max(self.seen, min(seq, self.sent)), self.limit)
