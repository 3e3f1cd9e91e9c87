"""Deadlines that have passed are acted upon: expiry, the ladder, and what is left of a re-seal (PROTOCOL 11.8, 11.9).

A timer is a row in the store that is committed with the decision that needs it, and so survives whatever happens to
this process. A row says only that it is time to look: what happens is decided from the message itself, so that a row
fired twice, late, or by two instances does no more than one that fired once.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from keys.errors import Code, Failed, Refused
from keys.identity import Signer
from relay.core import limits, pacing
from relay.core import message as law
from relay.core.escalation import EXHAUSTED
from relay.core.events import Attested, Climbed, Disarm, Event, Replaced, Unreached
from relay.core.message import Message, Outcome, Rung
from relay.core.pacing import Due, Lane
from relay.ledger import Known, Ledger, keep
from relay.meter import Meter
from relay.roster import Roster
from relay.store.base import Kept, PageRow, Timer
from relay.wire import receipt


class Deadlines:
    """The relay's timers over one ledger; it signs what time alone brings about."""

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        *,
        service: str,
        evidence: Signer,
        meter: Meter,
        reachable: Callable[[str], Collection[str]],
    ) -> None:
        """*reachable* returns the endpoint handles of a desk that this relay can page."""
        self._ledger = ledger
        self._roster = roster
        self._service = service
        self._evidence = evidence
        self._meter = meter
        self._reachable = reachable
        self.deferred = 0
        """Overdue ladders that the last tick left for a later second."""
        self._lanes: dict[str, Lane | None] = {}
        self._tried: dict[Timer, tuple[int, int]] = {}
        self._second = 0
        self._spent: Mapping[str, int] = {}

    async def tick(self, now: int) -> int:
        """Fire what is due, in its turn (relay.core.pacing); return how many fired.

        One bad row does not keep the others from firing: what went wrong with it is raised when the others are done.
        """
        due = await self._due(now)
        self._tried = {timer: tried for timer in due if (tried := self._tried.get(timer))}
        ready = [timer for timer in due if self._tried.get(timer, (0, 0))[1] <= now]
        await self._look_up(ready)
        found = [
            Due(place, timer.due, self._lanes[timer.subject], timer.kind == law.LADDER)
            for place, timer in enumerate(ready)
        ]
        if now != self._second:
            self._second, self._spent = now, {}
        turn = pacing.turn(found, now, self._spent, limits.TIMERS_PER_TICK_MAX)
        self.deferred, self._spent = turn.deferred, turn.spent
        firing = [ready[place] for place in turn.places]
        for timer in firing:
            times = self._tried.get(timer, (0, 0))[0]
            self._tried[timer] = (times + 1, now + min(2**times, limits.RETRY_S_MAX))
        room = asyncio.Semaphore(limits.TIMERS_AT_ONCE)
        done = await asyncio.gather(
            *(self._attempt(timer, now, room) for timer in firing), return_exceptions=True
        )
        errors = [one for one in done if isinstance(one, BaseException)]
        for error in sorted(errors, key=lambda one: not isinstance(one, Failed)):
            raise error
        return len(firing)

    async def _due(self, now: int) -> tuple[Timer, ...]:
        """Return what is due; more of it after downtime, so that what is urgent is found among it."""
        store, standing = self._ledger.store, len(self._tried)
        due = await store.due(now, limits.TIMERS_PER_TICK_MAX + standing)
        if len(due) < limits.TIMERS_PER_TICK_MAX or now - due[0].due <= pacing.LATE_S:
            return due
        return await store.due(now, limits.CATCH_UP_ROWS_MAX + standing + self.deferred)

    async def _look_up(self, due: Sequence[Timer]) -> None:
        """Know the lanes of what is due, and of nothing else."""
        wanted = dict.fromkeys(timer.subject for timer in due)
        self._lanes = {msg: self._lanes[msg] for msg in wanted if msg in self._lanes}
        missing = [msg for msg in wanted if msg not in self._lanes]
        for start in range(0, len(missing), limits.TIMERS_AT_ONCE):
            some = missing[start : start + limits.TIMERS_AT_ONCE]
            for msg, known in zip(
                some, await asyncio.gather(*map(self._ledger.load, some)), strict=True
            ):
                origin = known.message.origin if known else None
                self._lanes[msg] = Lane(origin.priority, origin.to) if origin else None

    async def _attempt(self, timer: Timer, now: int, room: asyncio.Semaphore) -> None:
        async with room:
            try:
                await self.fire(timer, now)
            except Refused:
                self._meter.fired(timer.kind, "failed", max(0, now - timer.due))

    async def fire(self, timer: Timer, now: int) -> None:
        """Do what a timer's time has come for, if its generation still counts."""
        known = await self._ledger.load(timer.subject)
        lateness = max(0, now - timer.due)
        if known is None or known.message.generation(timer.kind) != timer.generation:
            self._meter.fired(timer.kind, "superseded", lateness)
            return
        if timer.kind == law.EXPIRE and law.expired(known.message, now):
            await self._climb(timer.subject, now)  # silence, if it is proven by now, is said first
            fields = {"msg": timer.subject, "relay": self._service, "at": now}
            await self.attest(timer.subject, "expired", fields, now)
        elif timer.kind == law.REPLACE:
            await self._replace(known, now)
        elif timer.kind == law.LADDER and known.message.open:
            await self._climb(timer.subject, now)
        else:
            await self.rearm(timer.subject)
        self._meter.fired(timer.kind, "fired", lateness)

    async def _replace(self, known: Known, now: int) -> None:
        """Tell the old message that it was sealed anew; only then forget that this had to be done."""
        origin = known.message.origin
        await self._step(origin.replaces, Replaced(origin.msg, now), ())
        await self._disarm(Timer(law.REPLACE, origin.msg, 1, now))

    async def _disarm(self, timer: Timer) -> None:
        async with self._ledger.turn(timer.subject):
            known = await self._ledger.load(timer.subject)
            if known is not None:
                outcome = Outcome(known.message, (Disarm(timer.kind),))
                await self._ledger.commit(outcome, known.version, ())

    async def rearm(self, msg: str) -> None:
        """Arm for a message what the law says must be armed, and nothing else: the auditor's repair."""
        async with self._ledger.turn(msg):
            known = await self._ledger.load(msg)
            if known is not None:
                gone = (Disarm(law.EXPIRE), Disarm(law.LADDER))
                outcome = Outcome(known.message, (*gone, *law.timers(known.message)))
                await self._ledger.commit(outcome, known.version, ())

    # The ladder

    async def _climb(self, msg: str, now: int) -> None:
        """Fire the one stage that is due, and pass over those with nobody to turn to; all in one commit each."""
        for _stage in range(limits.STAGES_MAX):
            known = await self._ledger.load(msg)
            if known is None:
                return
            message = known.message
            due = law.rung(message, now, self._reachable(message.origin.to))
            if due is None:
                return
            pages = await self._ledger.store.pages(msg) if due.kind == EXHAUSTED else ()
            if due.stage and due.kind != EXHAUSTED:
                await self.paged(msg, due.stage - 1, now, whole=False)
            statement = receipt.make(*self._said(message, due, pages, now), self._evidence)
            event = Climbed(
                statement.sid, due.stage, due.kind, due.cause, now, due.next_at, due.passed_over
            )
            await self._step(msg, event, (keep(statement, msg, now),))
            self._meter.climbed(message.origin.priority, due.stage, due.kind, due.cause)
            if not due.passed_over:
                return

    async def unreachable(self, msg: str, stage: int, now: int) -> None:
        """Let the ladder move on at once: the pager gave up every page of this stage (PROTOCOL 11.12)."""
        await self._step(msg, Unreached(stage, now), ())

    async def paged(self, msg: str, stage: int, now: int, *, whole: bool = True) -> None:
        """Say what became of a stage's pages, unless that was said; *whole*: only once each has an outcome (11.13)."""
        said = _paged(await self._ledger.store.pages(msg), stage)
        if not said["pages"] or (whole and PENDING in said["outcomes"]):
            return
        fields = {"msg": msg, "relay": self._service, "stage": stage, "at": now, **said}
        statement = receipt.make("paged", fields, self._evidence)
        event = Attested("paged", statement.sid, now, " ".join(said["outcomes"]), stage)
        await self._step(msg, event, (keep(statement, msg, now),))

    def _said(
        self, message: Message, due: Rung, pages: Sequence[PageRow], now: int
    ) -> tuple[str, dict[str, Any]]:
        """Return the kind and fields of the statement that proves a stage (PROTOCOL 10)."""
        common = {"msg": message.msg, "relay": self._service, "at": now}
        if due.kind != EXHAUSTED:
            more = {
                "stage": due.stage,
                "kind": due.kind,
                "cause": due.cause,
                "next_at": due.next_at,
            }
            return "escalated", common | more
        outcome = (
            "unopenable" if law.unopenable(message, self._devices(message, now)) else "silence"
        )
        stages = [
            {"stage": fact.stage, "at": fact.at, **_paged(pages, fact.stage)}
            for fact in message.facts
            if fact.kind == "escalated"
        ]
        return "exhausted", common | {"stages": stages, "outcome": outcome}

    def _devices(self, message: Message, now: int) -> list[str]:
        try:
            recipient = self._roster.directory.desk(message.origin.to)
        except Refused:
            return []  # the desk has left the directory: its silence is told all the same
        return [one.device_kid for one in recipient.active(now)]

    # What every deadline stands on

    async def attest(
        self, msg: str, kind: str, fields: Mapping[str, Any], now: int, detail: str = ""
    ) -> None:
        """Sign a statement about a message, take it in, keep and tell it."""
        statement = receipt.make(kind, fields, self._evidence)
        event = Attested(kind, statement.sid, now, detail)
        await self._step(msg, event, (keep(statement, msg, now),))

    async def _step(self, msg: str, event: Event, kept: Sequence[Kept]) -> None:
        async with self._ledger.turn(msg):
            for _try in range(limits.COMMIT_TRIES_MAX):
                known = await self._ledger.load(msg)
                if known is None:
                    return
                outcome = law.step(known.message, event)
                if outcome.message is known.message:
                    return
                if await self._ledger.commit(outcome, known.version, kept) is not None:
                    return
        raise Refused(Code.E_BUSY, "Other instances keep changing this message.")


PENDING = "pending"
OUTCOMES = ("sent", "failed_temp", "failed_perm", "unknown", "suppressed", PENDING)
"""What became of a page, as `paged` and `exhausted` say it: words only, never who was paged by what way."""
_ENDS = {
    "sent": "sent",
    "failed": "failed_perm",
    "cancelled": "suppressed",
    "expired": "failed_temp",
}


def _paged(pages: Iterable[PageRow], stage: int) -> dict[str, Any]:
    """Return how many pages a stage had and what became of each, in a word (PROTOCOL 10)."""
    words = [_outcome(page) for page in pages if page.stage == stage]
    return {"pages": len(words), "outcomes": words[: limits.PAGE_OUTCOMES_MAX]}


def _outcome(page: PageRow) -> str:
    if page.state in ("ready", "leased") and page.result == "suppressed":
        return PENDING  # it was put off and goes out with others
    if page.result in OUTCOMES:
        return page.result
    return "sent" if page.result else _ENDS.get(page.state, PENDING)
