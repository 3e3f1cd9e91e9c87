"""The same line is not written without end: after a few of one kind in a minute the rest are only counted.

What strangers do must not fill a disk, at the relay as little as at a desk.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

import structlog
from structlog.typing import WrappedLogger

Event = MutableMapping[str, Any]

REPEATS_MAX = 5
"""Lines of one kind (event and code) in one minute before the rest are only counted."""
REPEAT_S = 60
KINDS_MAX = 512


class Repetition:
    """Lets a few lines of one kind through in a minute and counts the rest: refusals cannot fill a disk."""

    def __init__(
        self, now: Callable[[], int], *, of: Collection[str] = (), kinds_max: int = KINDS_MAX
    ) -> None:
        """Take the clock that tells minutes; *of*: the events that are counted, none for all of them."""
        self._now = now
        self._of = frozenset(of)
        self._kinds_max = kinds_max
        self._seen: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many kinds of lines are remembered."""
        return len(self._seen)

    def __call__(self, logger: WrappedLogger, method: str, event: Event) -> Event:
        """Let the line pass, or drop it; the first line of a later minute says how many were dropped."""
        kind = (str(event.get("event", ""))[:100], str(event.get("code", ""))[:40])
        if self._of and kind[0] not in self._of:
            return event
        minute = self._now() // REPEAT_S
        began, count = self._seen.get(kind, (minute, 0))
        if began != minute:
            if count > REPEATS_MAX:
                event = {**event, "suppressed": count - REPEATS_MAX}
            began, count = minute, 0
        self._seen[kind] = (began, count + 1)
        self._seen.move_to_end(kind)
        if len(self._seen) > self._kinds_max:
            self._seen.popitem(last=False)
        if count >= REPEATS_MAX:
            raise structlog.DropEvent
        return event
