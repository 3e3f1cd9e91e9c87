"""The loop that lets due timers fire.

Deadlines are absolute times in the store, so a restart loses none: what fell due while the relay was away fires in the
first turns, in the order of relay.core.pacing. What a turn costs does not depend on how many timers are armed.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from keys.errors import Failed
from relay.exchange import Exchange
from relay.server.clock import MARK, STEP_S, Clock, SystemClock
from relay.server.metrics import Metrics

TURN_S = 1.0
"""The loop looks at least this often, whatever it was told: a timer may have been set behind its back."""
MARK_EVERY_S = 10
"""How often it is written down how far the clock has come: each time costs the disk a sync."""
COUNT_EVERY_S = 10
PURGE_EVERY_S = 300
PURGE_LIMIT = 256
ALIVE_S = 15
"""A loop that has not come round for this long does not live any more."""


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
        self.offset = 0.0
        """How far the wall clock is ahead of the relay's, in seconds, as the last turn saw it."""
        self._began: tuple[int, float] | None = None
        self._mark_at = 0.0
        self._count_at = 0.0
        self._purge_at = 0.0

    async def resume(self) -> None:
        """Let the clock go on from where it had come; before anything fires."""
        clock, store = self._clock, self._exchange.store
        if not isinstance(clock, SystemClock):
            return
        wall = clock.now() + round(clock.offset())
        mark = await store.mark(MARK)
        anchor = await store.mark(clock.run) if clock.run else 0
        ahead = clock.begin(mark, anchor)
        if abs(ahead) > STEP_S:
            text = "The wall clock says another time than the relay's clock had come to: see which one is right."
            self._log.warning("the clock goes on by itself", seconds=round(ahead), text=text)
        if mark > wall + STEP_S and abs(ahead) <= STEP_S:
            text = (
                "The time service says so; what is armed fires that much later than it was meant."
            )
            self._log.warning("the clock goes back", seconds=mark - wall, text=text)

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
        fired = await self._fire(now) if due is not None and due <= now else 0
        await self._keep_house(now, running)
        due = await store.next_due()
        self._last_turn = running
        self._metrics.turned(now, due if due is not None and due <= now else 0)
        if due is None or due > now:
            return TURN_S if due is None else min(TURN_S, due - now)
        return 0.0 if fired else TURN_S  # what stands although it is due waits for its second

    async def _fire(self, now: int) -> int:
        try:
            return await self._exchange.tick(now)
        except Failed:
            raise
        except Exception:  # noqa: BLE001 - the next turn must come, whatever this one met
            self._log.exception("a turn of the timers failed")
            return 0

    async def _keep_house(self, now: int, running: float) -> None:
        store, clock = self._exchange.store, self._clock
        if isinstance(clock, SystemClock) and running >= self._mark_at:
            self._mark_at = running + MARK_EVERY_S
            marks = [store.put_mark(MARK, now)]
            if clock.run:
                marks.append(store.put_mark(clock.run, clock.anchor()))
            await asyncio.gather(*marks)
        if running >= self._count_at:
            self._count_at = running + COUNT_EVERY_S
            self._metrics.counted(await store.counts())
        if running >= self._purge_at:
            self._purge_at = running + PURGE_EVERY_S
            purged = await store.purge(now, PURGE_LIMIT)
            if (
                self._exchange.blobs is not None
            ):  # after the envelopes, which may have been the last to name one
                purged += await self._exchange.blobs.house(now)
            if purged:
                self._log.info(
                    "envelopes and attachments past their time were deleted", count=purged
                )

    def alive(self) -> bool:
        """Whether the loop came round lately, and so the store answered lately."""
        return asyncio.get_running_loop().time() - self._last_turn <= ALIVE_S

    def _watch(self, now: int, running: float) -> None:
        if isinstance(self._clock, SystemClock):
            offset = self._clock.offset()
        else:
            self._began = self._began or (now, running)
            offset = (now - self._began[0]) - (running - self._began[1])
        step = offset - self.offset
        if abs(step) > STEP_S:
            self._metrics.stepped(step)
            self._log.warning("the wall clock was moved", seconds=round(step))
        self.offset = offset
        self._metrics.clock(offset)
