"""What was open before a start, counted: a few messages before the doors open, a hundred thousand beside the work.

A start must not take longer because more is waiting. Until a message was counted, its first step counts it as it was
before: so every number is right from the first step on, and short only by what has not moved and was not reached yet.
"""

import asyncio

from structlog.typing import FilteringBoundLogger

from keys.errors import Failed
from relay.core.message import Message
from relay.exchange import Exchange
from relay.server.metrics import Metrics
from relay.store.base import INTEGER_MAX

BEFORE_DOORS = 512
"""Timers whose messages are counted before anybody is let in: what a real network has open."""
STOCK_MAX = 50_000
"""Timers that are read to count what is open; beyond that the count is short, and the log says so."""
AT_ONCE = 32
"""Messages read side by side; then others have their turn."""


class Stock:
    """The one count at a start."""

    def __init__(self, exchange: Exchange, metrics: Metrics, log: FilteringBoundLogger) -> None:
        """Count for *metrics* and for the shares of the corridor."""
        self._exchange = exchange
        self._metrics = metrics
        self._log = log
        self._seen: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Count; return before all is counted if there is much."""
        store = self._exchange.store
        self._exchange.stepping(self._step)
        if len(await store.due(INTEGER_MAX, BEFORE_DOORS)) < BEFORE_DOORS:
            await self._count(BEFORE_DOORS)
        else:
            self._task = asyncio.ensure_future(self._count_beside())

    async def stop(self) -> None:
        """Count no further."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _count_beside(self) -> None:
        try:
            await self._count(STOCK_MAX)
        except Failed as failure:
            self._log.error("not all open messages were counted", text=failure.text)

    async def _count(self, most: int) -> None:
        store = self._exchange.store
        timers = await store.due(INTEGER_MAX, most)
        msgs = list(dict.fromkeys(timer.subject for timer in timers))
        for start in range(0, len(msgs), AT_ONCE):
            some = [msg for msg in msgs[start : start + AT_ONCE] if msg not in self._seen]
            for stored in await asyncio.gather(*map(store.load, some)):
                if stored is not None:
                    self._enter(Message.decode(stored.state))
            await asyncio.sleep(0)
        self._exchange.stepping(None)
        self._seen = set()
        if len(timers) == STOCK_MAX:
            self._log.warning("not all open messages were counted", count=STOCK_MAX)

    def _step(self, before: Message | None, after: Message) -> None:
        """A message takes a step while others are still being counted."""
        if before is not None:
            self._enter(before)
        self._seen.add(after.msg)

    def _enter(self, message: Message) -> None:
        if message.msg not in self._seen:
            self._seen.add(message.msg)
            self._metrics.entered(message)
            self._exchange.enter(message)
