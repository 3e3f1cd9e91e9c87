"""The relay's only reader of time, and the loop that lets due timers fire.

Everything below the door takes ``now`` as an argument. Deadlines are absolute times in the store, so a restart loses
none: what fell due while the relay was away fires in the first turn.
"""

import asyncio
import time
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from keys.errors import Failed
from relay.exchange import Exchange
from relay.server.metrics import Metrics

TURN_S = 1.0
"""The loop looks at least this often, whatever it was told: a timer may have been set behind its back."""
STEP_S = 2
"""The wall clock moving this much against the running clock between two turns is a step: an operator's matter."""
COUNT_EVERY_S = 10
PURGE_EVERY_S = 300
PURGE_LIMIT = 256
ALIVE_S = 15
"""A loop that has not come round for this long does not live any more."""


class Clock(Protocol):
    """Time as the relay sees it."""

    def now(self) -> int:
        """Return seconds since the epoch, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        """Return seconds since the epoch, UTC."""
        return int(time.time())

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""
        await asyncio.sleep(seconds)


class Ticker:
    """Lets due timers fire, purges what may go, and watches the clock, the store and the event loop while it does."""

    def __init__(
        self, exchange: Exchange, clock: Clock, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        """Drive *exchange*."""
        self._exchange = exchange
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._last_turn = 0.0
        self._offset = 0.0
        self._began: tuple[int, float] | None = None
        self._count_at = 0.0
        self._purge_at = 0.0

    async def run(self) -> None:
        """Turn until cancelled. Failed passes through: a store that does not answer ends the relay."""
        loop = asyncio.get_running_loop()
        while True:
            pause = await self.turn()
            asleep = loop.time()
            await self._clock.sleep(pause)
            self._metrics.event_loop_lag.observe(max(0.0, loop.time() - asleep - pause))

    async def turn(self) -> float:
        """Fire what is due; return how many seconds the loop may sleep."""
        now, running = self._clock.now(), asyncio.get_running_loop().time()
        self._watch(now, running)
        store = self._exchange.store
        due = await store.next_due()
        if due is not None and due <= now:
            try:
                await self._exchange.tick(now)
            except Failed:
                raise
            except Exception:  # noqa: BLE001 - the next turn must come, whatever this one met
                self._log.exception("a turn of the timers failed")
        if running >= self._count_at:
            self._count_at = running + COUNT_EVERY_S
            self._metrics.counted(await store.counts())
        if running >= self._purge_at:
            self._purge_at = running + PURGE_EVERY_S
            purged = await store.purge(now, PURGE_LIMIT)
            if purged:
                self._log.info("envelopes past their time were deleted", count=purged)
        due = await store.next_due()
        self._last_turn = running
        self._metrics.turned(now, due if due is not None and due <= now else 0)
        return TURN_S if due is None else min(TURN_S, max(0.05, due - now))

    def alive(self) -> bool:
        """Whether the loop came round lately, and so the store answered lately."""
        return asyncio.get_running_loop().time() - self._last_turn <= ALIVE_S

    def _watch(self, now: int, running: float) -> None:
        if self._began is None:
            self._began = now, running
        offset = (now - self._began[0]) - (running - self._began[1])
        step = offset - self._offset
        if abs(step) > STEP_S:
            self._metrics.stepped(step)
            self._log.warning("the wall clock was moved", seconds=round(step))
        self._offset = offset
        self._metrics.clock(offset)
