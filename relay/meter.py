"""What the corridor reports of itself, as calls that the door turns into metrics.

Never an id, never a pair of desks.
"""

from collections.abc import Sequence
from typing import Protocol

from keys.errors import Code
from relay.core.events import Received
from relay.core.message import Message


class Meter(Protocol):
    """What the corridor reports of itself; never an id, never a pair of desks."""

    def accepted(self, priority: str, mode: str) -> None:
        """Count a message that was accepted."""

    def refused(self, code: Code) -> None:
        """Count a submission that was refused."""

    def receipt(self, kind: str, result: str) -> None:
        """Count a receipt: kind of PROTOCOL 10, result ok, stale, bad_signature."""

    def handover(self, priority: str, seconds: int) -> None:
        """Observe the time from acceptance to the first delivery."""

    def acknowledged(self, priority: str, seconds: int, stage: str) -> None:
        """Observe the time from acceptance to a person's acknowledgement; *stage* is the kind reached last, or ""."""

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Count a timer: result fired, superseded or failed; lateness in seconds."""

    def climbed(self, priority: str, stage: int, kind: str, cause: str) -> None:
        """Count a step of a ladder, and separately the end of one (kind exhausted)."""

    def moved(self, before: Message | None, after: Message) -> None:
        """Take in one committed step of a message; *before* None if it is new."""


class Unmetered:
    """A meter that counts nothing, for tests and tools."""

    def accepted(self, priority: str, mode: str) -> None:
        """Count nothing."""

    def refused(self, code: Code) -> None:
        """Count nothing."""

    def receipt(self, kind: str, result: str) -> None:
        """Count nothing."""

    def handover(self, priority: str, seconds: int) -> None:
        """Observe nothing."""

    def acknowledged(self, priority: str, seconds: int, stage: str) -> None:
        """Observe nothing."""

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Count nothing."""

    def climbed(self, priority: str, stage: int, kind: str, cause: str) -> None:
        """Count nothing."""

    def moved(self, before: Message | None, after: Message) -> None:
        """Count nothing."""


def taken(meter: Meter, before: Message, after: Message, events: Sequence[Received]) -> None:
    """Report receipts that were committed, and how long the first of their kind took since acceptance."""
    for event in events:
        meter.receipt(event.kind, "ok")
        if before.first(event.kind) is None and after.first(event.kind) is not None:
            seconds = max(0, event.received - after.origin.at)
            if event.kind == "delivered":
                meter.handover(after.origin.priority, seconds)
            elif event.kind == "acknowledged":
                rungs = [fact for fact in before.facts if fact.kind in ("escalated", "exhausted")]
                meter.acknowledged(
                    after.origin.priority, seconds, rungs[-1].detail if rungs else ""
                )
