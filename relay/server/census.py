"""Where the open messages stand, counted as they move: no scrape ever walks over messages.

Fed with every committed step of a message (before, after). After a restart :meth:`Census.enter` takes up each message
that still has a timer.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from relay.core.message import Fact, Message

Key = TypeVar("Key")

STATES = ("accepted", "delivered", "held", "exhausted")
"""Where an open message stands: nobody has it, a device has it, the desk says that it is paging its people, and nobody
has answered to the end of the ladder. What a person has acknowledged is not open any more: nothing waits."""
HANDOVER_S = 5
TIMER_S = 2
TOLD_S = 60
"""Objectives: a connected desk has a message so soon, a timer fires so soon, and the sender is told of a stage, of
silence and of the end so soon after their time."""
NOTICES = {
    "delivered": "delivered",
    "acknowledged": "accepted",
    "escalated": "stage",
    "exhausted": "exhausted",
    "expired": "expired",
}


def standing(message: Message | None) -> str:
    """Return one of STATES, or "" for a message that nothing has to watch over."""
    if message is None or not message.open:
        return ""
    if message.first("exhausted"):
        return "exhausted"
    if message.ladder and message.ladder.delayed and not message.ladder.over:
        return "held"
    return "delivered" if message.first("delivered") else "accepted"


class Census:
    """How many open messages there are of each priority and state, and since when the oldest waits."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self.open: Counter[tuple[str, str]] = Counter()
        """By (priority, state)."""
        self.exhausted: Counter[str] = Counter()
        """By priority; not those of mode ``test``, which wake nobody."""
        self._since: dict[str, Counter[int]] = {}
        self._oldest: dict[str, list[int]] = {}

    def enter(self, message: Message) -> None:
        """Take up a message that is open already."""
        self.move(None, message)

    def move(self, before: Message | None, after: Message) -> None:
        """Take in one step of a message; *before* None if it is new."""
        origin, was, now = after.origin, standing(before), standing(after)
        if was == now:
            return
        if was:
            self._leave(self.open, (origin.priority, was))
        if now:
            self.open[origin.priority, now] += 1
        if origin.mode != "test" and "exhausted" in (was, now):
            if now == "exhausted":
                self.exhausted[origin.priority] += 1
            else:
                self._leave(self.exhausted, origin.priority)
        since = self._since.setdefault(origin.priority, Counter())
        if not was:
            since[origin.at] += 1
            if since[origin.at] == 1:
                heapq.heappush(self._oldest.setdefault(origin.priority, []), origin.at)
        elif not now:
            self._leave(since, origin.at)

    @staticmethod
    def _leave(counts: Counter[Key], key: Key) -> None:
        """Count one less, and never less than none: a message may have entered before anybody counted."""
        if counts[key] > 1:
            counts[key] -= 1
        else:
            counts.pop(key, None)

    def oldest(self, priority: str) -> int:
        """Return when the oldest open message was accepted; 0 if there is none."""
        since, heap = self._since.get(priority, Counter()), self._oldest.get(priority, [])
        while heap and not since[heap[0]]:
            heapq.heappop(heap)
        return heap[0] if heap else 0


def notices(before: Message | None, after: Message) -> Iterator[tuple[str, str]]:
    """Yield (kind, result) of what the sender was told by this step: ``ok``, or ``late`` if it was due before."""
    for fact in after.facts[len(before.facts) if before else 0 :]:
        if fact.kind in NOTICES:
            yield NOTICES[fact.kind], "late" if fact.at > _due(before, after, fact) else "ok"


def _due(before: Message | None, after: Message, fact: Fact) -> int:
    """Return until when the relay had to say this; a person's or a device's word is never late."""
    ladder = before.ladder if before else None
    if fact.kind in ("escalated", "exhausted") and ladder is not None:
        return ladder.due + TOLD_S
    if fact.kind == "expired":
        return after.origin.expires + TOLD_S
    return fact.at


def outcomes(before: Message | None, after: Message) -> Iterator[tuple[str, bool]]:
    """Yield (sli, met) of the objectives that this step decides.

    ``handover`` counts only what was offered in time: the desk was connected. ``acknowledge`` is the desk's duty, not
    the relay's. ``sender_told``: an answer, or the signed silence, by the deadline; each miss is a review.
    """
    for fact in after.facts[len(before.facts) if before else 0 :]:
        if after.first(fact.kind) is not fact:
            continue
        offered = after.first("offered")
        if fact.kind == "delivered" and offered and offered.at <= after.origin.at + HANDOVER_S:
            yield "handover", fact.received <= after.origin.at + HANDOVER_S
        heard = after.first("acknowledged", "closed", "exhausted", "expired")
        if heard is not fact:
            continue
        deadline = after.ladder.plan.deadline if after.ladder else after.origin.expires
        yield "acknowledge", fact.kind in ("acknowledged", "closed")
        yield "sender_told", fact.received <= deadline + TOLD_S
