"""What a document is judged against: time, urgency, the request it answers, reservations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.desk.documents.reading import listed

DAY = 86_400
SKEW = 300
"""Seconds by which clocks of two desks may differ (PROTOCOL 15)."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything outside the document that a rule may look at."""

    now: int | None
    """Seconds UTC; None in a live checklist: then no date is too old or too new."""
    priority: str = "routine"
    """``emergency``, ``urgent`` or ``routine`` (PROTOCOL 9.1)."""
    request: Mapping[str, object] | None = None
    """The request that an answer belongs to, where it is at hand."""
    reservations: Sequence[str] = ()
    """Citation keys of the reservations of the requested State, from its card."""
    card: Mapping[str, object] | None = None
    """The card of the requested desk (PROTOCOL 8.3), where it is at hand."""
    mode: str = ""
    """``actual``, ``exercise`` or ``test``; "" where it is not chosen yet."""

    def future(self, moment: int | None) -> bool:
        """Whether a moment lies after now, beyond what clocks may differ."""
        return moment is not None and self.now is not None and moment > self.now + SKEW

    def past(self, moment: int | None) -> bool:
        """Whether a moment lies before now, beyond what clocks may differ."""
        return moment is not None and self.now is not None and moment < self.now - SKEW

    def items(self, name: str = "items") -> int | None:
        """Return how many items the request has; None where it is not at hand, or has no such list."""
        found = listed(self.request, name) if self.request is not None else []
        blocks = sum(isinstance(one, dict) for one in found)
        return blocks if blocks == len(found) and blocks else None
