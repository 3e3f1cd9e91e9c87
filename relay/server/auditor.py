"""The auditor: does the store say what the law says? It looks by itself, repairs, and vouches only for a clean look.

A timer that is lost wakes nobody and complains to nobody, so somebody else has to look for it: every open message has
the timers that the law wants (relay.core.message.timers), nothing stands that should have fired long ago, and no page
waits that nobody takes. What is found twice in a row is a finding. It is cheap on purpose, so that it is never
switched off: what it reads is one index.
"""

from structlog.typing import FilteringBoundLogger

from keys.errors import Failed
from relay.exchange import Exchange
from relay.server.clock import Clock
from relay.server.metrics import Metrics
from relay.store.base import Timer

AUDIT_EVERY_S = 30
OVERDUE_S = 60
"""A timer that stands this long after its time is overdue: the loop comes round every second."""
STUCK_S = 120
"""A page that nobody has leased this long after its time is stuck."""
LOOKED_AT_MAX = 1000
"""Findings of a kind in one look; what is beyond comes with the next."""


class Auditor:
    """Looks every half minute; Failed passes through, as everywhere."""

    def __init__(
        self, exchange: Exchange, clock: Clock, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        """Look at what *exchange* stands on."""
        self._exchange = exchange
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._late: frozenset[Timer] = frozenset()
        self._stuck = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(AUDIT_EVERY_S)
            try:
                await self.look()
            except Failed:
                raise
            except Exception:  # noqa: BLE001 - the next look must come; this one has vouched for nothing
                self._log.exception("an audit failed")

    async def look(self) -> bool:
        """Look once, repair what can be; return whether all was well."""
        now = self._clock.now()
        clean = [await self._armed(), await self._fired(now), await self._paged(now)]
        if all(clean):
            self._metrics.clean(now)
        return all(clean)

    async def _armed(self) -> bool:
        found = await self._exchange.store.unarmed(LOOKED_AT_MAX)
        for msg in found:
            await self._exchange.deadlines.rearm(msg)
        return not self._found("no_timer", len(found))

    async def _fired(self, now: int) -> bool:
        """Look for timers that stand long after their time; what waits its turn after downtime is none."""
        late = frozenset(await self._exchange.store.due(now - OVERDUE_S, LOOKED_AT_MAX))
        again, self._late = late & self._late, late
        if self._exchange.deadlines.deferred:
            return False
        for timer in again:
            await self._exchange.deadlines.rearm(timer.subject)
        self._found("overdue", len(again))
        return not late

    async def _paged(self, now: int) -> bool:
        waits = await self._exchange.store.next_page()
        stuck = waits is not None and waits < now - STUCK_S
        again, self._stuck = stuck and self._stuck, stuck
        self._found("stuck_outbox", int(again))
        return not stuck

    def _found(self, check: str, count: int) -> int:
        if count:
            self._metrics.found(check, count)
            self._log.error("the auditor found something", kind=check, count=count)
        return count
