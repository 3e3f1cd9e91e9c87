"""What was committed just now, for those who are told of it at once: a push need not read back what this process wrote.

Only a cache: entries of a mailbox never change within an epoch, and whoever asks for something that is not here, or not
without a gap, asks the store. Entries that another instance put in are in the store alone.
"""

import itertools
from collections import OrderedDict, deque

from relay.store.base import Delivery

ENTRIES_PER_DESK_MAX = 1024
"""As many as may stand between what a busy desk's devices have confirmed and the end of its mailbox."""
ENTRIES_MAX = 16_384
"""In all: some 5 MB. The desk that has had nothing for longest gives way."""
STATEMENTS_BYTES_MAX = 4 * 1024 * 1024


class Recent:
    """The last entries of mailboxes, without gaps, and the last statements that they point to."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._epoch = 0
        self._entries: OrderedDict[str, deque[Delivery]] = OrderedDict()
        self._statements: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._count = 0

    def add(self, epoch: int, desk: str, delivery: Delivery) -> None:
        """Take an entry that is durable now; after a gap what came before it is forgotten."""
        self._enter(epoch)
        entries = self._entries.get(desk)
        if entries is None:
            entries = self._entries[desk] = deque()
        self._entries.move_to_end(desk)
        if entries:
            expected = entries[-1].seq + 1
            if delivery.seq < expected:
                return
            if delivery.seq > expected:
                self._count -= len(entries)
                entries.clear()
        entries.append(delivery)
        self._count += 1
        if len(entries) > ENTRIES_PER_DESK_MAX:
            entries.popleft()
            self._count -= 1
        while self._count > ENTRIES_MAX:
            _desk, dropped = self._entries.popitem(last=False)
            self._count -= len(dropped)

    def after(self, epoch: int, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return at most *limit* entries that follow *after* without a gap; none where the store must be asked."""
        self._enter(epoch)
        entries = self._entries.get(desk)
        if not entries:
            return ()
        start = after + 1 - entries[0].seq
        if not 0 <= start < len(entries) or limit <= 0:
            return ()
        return tuple(itertools.islice(entries, start, start + limit))

    def keep(self, sid: str, wire: bytes) -> None:
        """Take a statement that is durable now."""
        if sid in self._statements:
            return
        self._statements[sid] = wire
        self._bytes += len(wire)
        while self._bytes > STATEMENTS_BYTES_MAX:
            _sid, dropped = self._statements.popitem(last=False)
            self._bytes -= len(dropped)

    def statement(self, sid: str) -> bytes | None:
        """Return a statement's bytes; None where the store must be asked."""
        return self._statements.get(sid)

    def _enter(self, epoch: int) -> None:
        if epoch != self._epoch:  # another store, or an older state of it
            self._epoch = epoch
            self._entries.clear()
            self._statements.clear()
            self._bytes = self._count = 0
