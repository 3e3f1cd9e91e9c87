"""The relay's only reader of time: a clock that keeps its pace when the machine's is moved.

Everything below the door takes ``now`` as an argument. Deadlines are absolute times in the store, so what this clock
shows decides when a person is woken. It counts the seconds that really go by (``CLOCK_BOOTTIME``, which goes on while
the machine sleeps) and is drawn to the wall clock by at most 0.5 ms a second; it never jumps. Why so: the README here.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

STEP_S = 2.0
"""A difference between the wall clock and this one that no drift explains."""
SLEW = 500e-6
"""The most by which the clock runs faster or slower than the seconds that go by."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MARK = "clock"
"""The mark (relay.store) of how far the clock had come."""


class Clock(Protocol):
    """Time as the relay sees it."""

    def now(self) -> int:
        """Return seconds since the epoch, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


def boottime() -> float:
    """Return the seconds since the machine was started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def kept_by_ntp() -> bool:
    """Whether the kernel says that the wall clock is held by a time service; False where it cannot say."""
    try:
        answer = int(
            ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        )  # zeros: only asks
    except (AttributeError, OSError):
        return False
    return 0 <= answer <= 4  # 5: not synchronised


def boot() -> str:
    """Return the mark's name for this run of the machine; "" where there is no telling."""
    try:
        return f"{MARK}.{BOOT_ID.read_text('ascii')[:8]}"
    except OSError:
        return ""


class SystemClock:
    """The machine's clock, disciplined. ``now`` never goes back and never jumps."""

    def __init__(
        self,
        *,
        running: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
        trusted: Callable[[], bool] = kept_by_ntp,
        run: str | None = None,
        believe: bool = False,
    ) -> None:
        """Show the wall clock's time until :meth:`begin` knows better. *run* names this run of the machine.

        *believe*: an operator says that the wall clock is right now, whatever was before.
        """
        self._running = running
        self._wall = wall
        self._trusted = trusted
        self.run = boot() if run is None else run
        self._believe = believe
        self._then = running()
        self._ahead = wall() - self._then
        """How far this clock is ahead of the running one: all that ever changes."""

    def begin(self, mark: int, anchor: int) -> float:
        """Choose where to go on, before anything fires; return by how many seconds this is not the wall clock's time.

        *mark* is how far the clock of the last process had come; *anchor*, where the machine was not started anew
        since, how far it stood from the running clock, in milliseconds (0: unknown). A wall clock that a time service
        keeps is believed. Otherwise the last process's clock is carried on, and else the later of mark and wall clock
        holds: time does not go back because a machine woke up in the past.
        """
        self._then, wall = self._running(), self._wall()
        if self._believe or self._trusted():
            self._ahead = wall - self._then
        elif anchor:
            self._ahead = anchor / 1000
        else:
            self._ahead = max(wall, float(mark)) - self._then
        return self._then + self._ahead - wall

    def now(self) -> int:
        """Return seconds since the epoch, UTC."""
        self._draw()
        return int(self._then + self._ahead)

    def offset(self) -> float:
        """Return how far the wall clock is ahead of this one, in seconds."""
        return self._draw()

    def anchor(self) -> int:
        """Return how far this clock is ahead of the running clock, in milliseconds."""
        return round(self._ahead * 1000)

    def _draw(self) -> float:
        """Draw this clock to the wall clock as far as the time since the last look allows; return what is left."""
        running = self._running()
        passed, self._then = running - self._then, running
        offset = self._wall() - running - self._ahead
        if abs(offset) <= STEP_S or self._trusted():
            drawn = min(max(offset, -passed * SLEW), passed * SLEW)
            self._ahead += drawn
            offset -= drawn
        return offset

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)
