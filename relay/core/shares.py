"""How much of a desk's mailbox one sender has filled: nobody may use up the room that the others need.

Counted from committed steps, in memory; after a restart :meth:`Shares.enter` takes up each message that still has a
timer. It is no promise but a fence, so a count that is short by what was not taken up harms nobody.
"""

from collections import Counter

from relay.core.message import Message


class Shares:
    """Messages that wait undelivered, by (recipient, sender)."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._waiting: Counter[tuple[str, str]] = Counter()

    def of(self, recipient: str, sender: str) -> int:
        """Return how many messages of *sender* wait for *recipient*."""
        return self._waiting[recipient, sender]

    def enter(self, message: Message) -> None:
        """Take up a message that is there already."""
        self.move(None, message)

    def move(self, before: Message | None, after: Message) -> None:
        """Take in one committed step of a message; *before* None if it is new."""
        was = before is not None and before.waiting
        if was == after.waiting:
            return
        pair = after.origin.to, after.origin.sender
        self._waiting[pair] += 1 if after.waiting else -1
        if self._waiting[pair] <= 0:
            del self._waiting[pair]
