"""The desk's edge of time: the only place in this room that reads a clock, and the one that doubts it.

A desk whose clock is wrong must still be woken. So every session begins with the relay's time, and where the two
differ by more than a minute the desk's machine acts (connect, pickup, submission, receipts, prekeys) use the relay's.
What the directory says is judged by the desk's own clock alone: a relay must not be able to keep an old directory
"fresh" by telling the time (PROTOCOL 8.5).
"""

import asyncio
import time
from typing import Protocol

NOTED_S = 60
"""A difference up to this many seconds is the network's, and is left alone."""


class Clock(Protocol):
    """Time as a desk sees it."""

    def now(self) -> int:
        """Return seconds since 1970, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        """Return seconds since 1970, UTC."""
        return int(time.time())

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)


class ComparedClock:
    """A clock together with what the relay said of it."""

    def __init__(self, clock: Clock) -> None:
        """Trust *clock* until a relay says something else."""
        self._clock = clock
        self.offset = 0
        """Seconds that the relay's clock is ahead of this one; 0 while they agree within a minute."""

    def own(self) -> int:
        """Return the machine's own time: what the directory is judged by."""
        return self._clock.now()

    def now(self) -> int:
        """Return the time for machine acts: the relay's, where the two differ."""
        return self._clock.now() + self.offset

    def note(self, relay_at: int) -> int:
        """Take note of the relay's time, seconds UTC; return by how much this clock was found wrong anew."""
        difference = relay_at - self._clock.now()
        before, self.offset = self.offset, difference if abs(difference) > NOTED_S else 0
        return self.offset if abs(self.offset - before) > NOTED_S else 0

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await self._clock.sleep(seconds)


def wrong(offset: int) -> str:
    """Return what to say of a clock that is *offset* seconds behind the relay's (negative: ahead), and what to do."""
    way = "behind" if offset > 0 else "ahead of"
    return f"This computer's clock is {abs(offset)} s {way} the relay's: set it (timedatectl set-ntp true)."
