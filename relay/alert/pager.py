"""The pager: takes pages from the outbox, hands them to channels, and notes what came of it. At least once, never lost.

A page is leased, sent, and finished. If this process dies in between, the lease runs out and the page is sent again,
with the same key and the word "repeat": twice is harmless, not at all is not. What can never arrive is said to the
ladder, so that it need not wait.

Of one endpoint, all pages that wait go out as one. Between two of them at least :data:`APART_S` go by, so that a person
is woken and not drowned; the first page of an emergency does not wait for that. Beyond a rate for each sender,
recipient and priority, pages wait for a digest (PROTOCOL 11.10): no desk can wear out another one's people.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from keys.errors import Failed
from relay.alert.page import BEST_LAST, Channel, Page, Result, Woken, Word, page_of
from relay.core import limits
from relay.store.base import PageRow

APART_S = 30
"""Seconds between two pages to one endpoint, but for the first of an emergency."""
DIGEST_S = {"emergency": 120, "urgent": 300, "routine": 300}
"""For how long pages beyond the rate are gathered into one, by priority: as long as between two calls to a person."""
PER_MINUTE = 3
"""Pages that one sender's messages of one priority may bring to one endpoint one by one (PROTOCOL 11.10)."""
RATES_MAX = 4096
LEASE_S = 60
"""How long a page is ours; longer than any channel takes, or it might be sent twice at the same time."""
LEASE_MAX = 256
LEASES_PER_TURN_MAX = 16
ATTEMPTS_MAX = 20
BACKOFF_S, BACKOFF_S_MAX = 5, 300
TURN_S = 1.0
EMERGENCY = "emergency"
UNSENT = frozenset({"", Word.SUPPRESSED, Word.FAILED_TEMP})
"""Results after which nobody can have heard the page yet."""


class Outbox(Protocol):
    """What the pager needs of a store."""

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give pages that wait to this pager until *until*."""

    async def finish_page(
        self,
        id: str,  # noqa: A002 - the store's own word for it
        attempt: int,
        state: str,
        result: str,
        not_before: int,
    ) -> bool:
        """Note what came of an attempt; False if the lease was lost."""

    async def pages(self, msg: str) -> tuple[PageRow, ...]:
        """Return all pages of a message."""

    async def next_page(self) -> int | None:
        """Return when there will be something to lease."""


class Clock(Protocol):
    """Time as the pager sees it."""

    def now(self) -> int:
        """Return seconds since the epoch, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


class Meter(Protocol):
    """What the pager reports of itself; never an id, a desk or a handle."""

    def paged(self, channel: str, result: str, seconds: float, now: int) -> None:
        """Count one attempt through one channel ("none" where no channel leads there)."""

    def first_page(self, priority: str, seconds: int) -> None:
        """Observe how long a page waited from its stage's start until a channel took it."""

    def pager_turned(self, now: int, oldest: int) -> None:
        """Note a turn, and when the oldest page was put in that should have gone out; 0 = none."""


@dataclass(slots=True)
class _Rate:
    """One sender's pages of one priority to one endpoint: what it may still bring, and when its digest goes out."""

    bucket: limits.Bucket
    digest_at: int = 0


@dataclass(slots=True)
class _Late:
    """A page that could not be sent: since when it waits, and until when it should have been seen again."""

    created: int
    until: int


class Pager:
    """One pager over one outbox. ``run`` it, or ``turn`` and ``settle`` it by hand."""

    def __init__(
        self,
        outbox: Outbox,
        woken: Mapping[tuple[str, str], Woken],
        clock: Clock,
        meter: Meter,
        log: FilteringBoundLogger,
        *,
        sender: Callable[[str], Awaitable[str]],
        paged: Callable[[str, int, int], Awaitable[None]],
        unreachable: Callable[[str, int, int], Awaitable[None]],
    ) -> None:
        """Assemble. *woken* maps (desk, handle); *sender* names a message's sending desk, for the rate alone.

        *paged* hears (message id, stage, now) when something came of a stage's pages, *unreachable* when every one of
        them has failed for good.
        """
        self._outbox = outbox
        self._woken = woken
        self._clock = clock
        self._meter = meter
        self._log = log
        self._sender = sender
        self._paged = paged
        self._unreachable = unreachable
        self._free: dict[tuple[str, str], int] = {}
        self._rates: OrderedDict[tuple[str, str, str, str], _Rate] = OrderedDict()
        self._late: dict[str, _Late] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._broken: Failed | None = None
        self._draining = False

    # Turns

    async def run(self) -> None:
        """Turn until cancelled; what is under way then is cut off, and sent again when its lease has run out."""
        try:
            while True:
                await self._clock.sleep(await self.turn())
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def turn(self) -> float:
        """Begin to send what waits; return how many seconds the loop may sleep. Failed if the store has failed."""
        if self._broken is not None:
            raise self._broken
        now = self._clock.now()
        waits = await self._outbox.next_page()
        if waits is not None and waits <= now and not self._draining:
            for rows in _by_endpoint(await self._lease(now)):
                task = asyncio.ensure_future(self._guarded(rows))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        self._late = {key: late for key, late in self._late.items() if late.until > now}
        self._meter.pager_turned(now, min((one.created for one in self._late.values()), default=0))
        upcoming = await self._outbox.next_page()
        return TURN_S if upcoming is None else min(TURN_S, max(0.05, upcoming - now))

    async def _lease(self, now: int) -> list[PageRow]:
        rows: list[PageRow] = []
        for _each in range(LEASES_PER_TURN_MAX):
            more = await self._outbox.lease_pages(now, now + LEASE_S, LEASE_MAX)
            rows += more
            if len(more) < LEASE_MAX:
                break
        return rows

    async def settle(self) -> None:
        """Return when nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def drain(self) -> None:
        """Begin nothing more, and let what is under way end: a page that was handed over is noted as such."""
        self._draining = True
        await self.settle()

    async def _guarded(self, rows: Sequence[PageRow]) -> None:
        try:
            await self._wake(rows)
        except Failed as failure:
            self._broken = failure
        except Exception:  # noqa: BLE001 - whatever it was, the lease runs out and the page is sent again
            self._log.exception("a page was not finished")

    # One endpoint's pages

    async def _wake(self, rows: Sequence[PageRow]) -> None:
        """Send the pages of one endpoint as one, or put them off."""
        live = [row for row in rows if row.expires > self._clock.now()]
        for row in rows:
            if row.expires <= self._clock.now():
                await self._finish(row, "expired", Word.SUPPRESSED)
        if not live:
            return
        place = (live[0].desk, live[0].handle)
        woken = self._woken.get(place)
        if woken is None:
            self._log.warning("no channel leads there", desk=place[0], endpoint=place[1])
            self._meter.paged("none", Word.FAILED_PERM.value, 0.0, self._clock.now())
            await self._fail(live, Word.FAILED_PERM)
            return
        waits = [await self._until(row) for row in live]
        now = self._clock.now()
        if min(waits) > now:
            for row, until in zip(live, waits, strict=True):
                await self._put_off(row, until)
            for channel in woken.channels:
                self._meter.paged(channel.name, Word.SUPPRESSED.value, 0.0, now)
            return
        if now + max(one.seconds for one in woken.channels) >= live[0].lease_until:
            return  # something held us up: whoever leases them next sends them
        before = self._free.get(place, 0)
        if before <= now:
            self._free[place] = now + APART_S
        page = page_of(
            live, woken.language, now, repeat=any(row.result == Word.UNKNOWN for row in live)
        )
        result = await self._through(woken, page)
        if result.word in (Word.FAILED_TEMP, Word.FAILED_PERM):
            self._free[place] = before
        await self._note(live, result, now)

    async def _put_off(self, row: PageRow, until: int) -> None:
        """Let a page wait; what is known of its last attempt stays known."""
        if row.id in self._late:
            self._late[row.id].until = until + 2 * LEASE_S
        await self._finish(row, "ready", Word(row.result or Word.SUPPRESSED), until)

    async def _until(self, row: PageRow) -> int:
        """Return when this page may go out."""
        now = self._clock.now()
        free = max(now, self._free.get((row.desk, row.handle), 0))
        if row.result == "":
            sender = await self._sender(row.msg)
            gathered = self._over((sender, row.desk, row.handle, row.priority), now)
            if gathered:
                return gathered
        return now if row.priority == EMERGENCY and row.result in UNSENT else free

    def _over(self, key: tuple[str, str, str, str], now: int) -> int:
        """Take one from a rate; return 0, or when the digest of what is beyond it goes out."""
        rate = self._rates.pop(key, None) or _Rate(limits.Bucket.full(PER_MINUTE, now * 1000))
        self._rates[key] = rate
        while len(self._rates) > RATES_MAX:
            self._rates.popitem(last=False)
        rate.bucket, wait = limits.take(rate.bucket, PER_MINUTE, now * 1000)
        if not wait:
            return 0
        if rate.digest_at <= now:
            rate.digest_at = now + DIGEST_S[key[-1]]
        return rate.digest_at

    async def _through(self, woken: Woken, page: Page) -> Result:
        """Send through every channel at once; the best result speaks for the page."""
        results = await asyncio.gather(*(self._by(channel, page) for channel in woken.channels))
        for channel, result in zip(woken.channels, results, strict=True):
            self._log.info(
                "page",
                desk=woken.desk,
                endpoint=woken.handle,
                kind=channel.name,
                code=page.code,
                result=result.word.value,
                reason=result.why,
                count=page.count,
            )
        return max(results, key=lambda one: BEST_LAST.index(one.word))

    async def _by(self, channel: Channel, page: Page) -> Result:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(
                channel.seconds + 1
            ):  # a channel keeps its own time; in case it does not
                result = await channel.send(page)
        except Exception as error:  # noqa: BLE001 - one channel's fault is no other's
            self._log.error("a channel failed", kind=channel.name, reason=type(error).__name__)
            result = Result(Word.UNKNOWN, "an error of our own")
        self._meter.paged(channel.name, result.word.value, loop.time() - began, self._clock.now())
        return result

    # What came of it

    async def _note(self, rows: Sequence[PageRow], result: Result, began: int) -> None:
        if result.word in (Word.SENT, Word.DELIVERED):
            for row in rows:
                self._meter.first_page(row.priority, max(0, began - row.created))
                await self._finish(row, "sent", result.word)
            await self._tell(rows)
            return
        if result.word is Word.FAILED_PERM:
            await self._fail(rows, result.word)
            return
        now = self._clock.now()
        spent = [row for row in rows if row.attempt >= ATTEMPTS_MAX]
        for row in rows:
            if row.attempt < ATTEMPTS_MAX:
                again = now + max(backoff(row.attempt), result.after)
                self._late[row.id] = _Late(row.created, again + 2 * LEASE_S)
                # what may have been heard once stays so, whatever came of later attempts
                heard = row.result == Word.UNKNOWN
                await self._finish(row, "ready", Word.UNKNOWN if heard else result.word, again)
        await self._fail(spent, result.word)
        await self._tell([row for row in rows if row not in spent])

    async def _tell(self, rows: Sequence[PageRow]) -> None:
        """Say of which stages something came."""
        for msg, stage in _stages(rows):
            await self._paged(msg, stage, self._clock.now())

    async def _fail(self, rows: Sequence[PageRow], word: Word) -> None:
        """Give pages up; tell the ladder about stages of which no page is left."""
        for row in rows:
            await self._finish(row, "failed", word)
        await self._tell(rows)
        for msg, stage in _stages(rows):
            known = [one.state for one in await self._outbox.pages(msg) if one.stage == stage]
            if known and set(known) == {"failed"}:
                await self._unreachable(msg, stage, self._clock.now())

    async def _finish(self, row: PageRow, state: str, word: Word, not_before: int = 0) -> None:
        if state != "ready":
            self._late.pop(row.id, None)
        if not await self._outbox.finish_page(row.id, row.attempt, state, word.value, not_before):
            self._log.warning("a page's lease was lost", result=word.value)


def backoff(attempt: int) -> int:
    """Return the seconds to wait after an attempt that failed: 5, 10, 20 … 300."""
    return int(min(BACKOFF_S * 2 ** min(attempt - 1, 16), BACKOFF_S_MAX))


def _stages(rows: Sequence[PageRow]) -> list[tuple[str, int]]:
    """Return which stages of which messages the rows are of."""
    return list(dict.fromkeys((row.msg, row.stage) for row in rows))


def _by_endpoint(rows: Sequence[PageRow]) -> list[list[PageRow]]:
    """Return the rows by desk, handle and mode, in their order: an exercise is never mixed with what is real."""
    found: dict[tuple[str, str, str], list[PageRow]] = {}
    for row in rows:
        found.setdefault((row.desk, row.handle, row.mode), []).append(row)
    return list(found.values())
