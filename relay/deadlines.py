"""Deadlines that have passed are acted upon: expiry, the ladder, and what is left of a re-seal (PROTOCOL 11.8, 11.9).

A timer is a row in the store that is committed with the decision that needs it, and so survives whatever happens to
this process. A row says only that it is time to look: what happens is decided from the message itself, so that a row
fired twice, late, or by two instances does no more than one that fired once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from keys.errors import Code, Refused
from keys.identity import Signer
from relay.core import limits
from relay.core import message as law
from relay.core.escalation import EXHAUSTED
from relay.core.events import Attested, Climbed, Disarm, Event, Replaced, Unreached
from relay.core.message import Message, Outcome, Rung
from relay.ledger import Known, Ledger, keep
from relay.meter import Meter
from relay.roster import Roster
from relay.store.base import Kept, Timer
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

    async def tick(self, now: int) -> int:
        """Fire what is due; return how many. One bad row does not keep the others from firing."""
        due = await self._ledger.store.due(now, limits.TIMERS_PER_TICK_MAX)
        for timer in due:
            try:
                await self.fire(timer, now)
            except Refused:
                self._meter.fired(timer.kind, "failed", max(0, now - timer.due))
        return len(due)

    async def fire(self, timer: Timer, now: int) -> None:
        """Do what a timer's time has come for, if its generation still counts."""
        known = await self._ledger.load(timer.subject)
        lateness = max(0, now - timer.due)
        if known is None or known.message.generation(timer.kind) != timer.generation:
            self._meter.fired(timer.kind, "superseded", lateness)
            return
        if timer.kind == law.EXPIRE and law.expired(known.message, now):
            fields = {"msg": timer.subject, "relay": self._service, "at": now}
            await self.attest(timer.subject, "expired", fields, now)
        elif timer.kind == law.REPLACE:
            await self._replace(known, now)
        elif timer.kind == law.LADDER and known.message.open:
            await self._climb(timer.subject, now)
        else:
            await self._disarm(timer)
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
            statement = receipt.make(*self._said(message, due, now), self._evidence)
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

    def _said(self, message: Message, due: Rung, now: int) -> tuple[str, dict[str, Any]]:
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
        devices = [
            one.device_kid for one in self._roster.directory.desk(message.origin.to).active(now)
        ]
        outcome = "unopenable" if law.unopenable(message, devices) else "silence"
        stages = [
            {"stage": fact.stage, "at": fact.at, "pages": 0, "outcomes": []}
            for fact in message.facts
            if fact.kind == "escalated"
        ]
        return "exhausted", common | {"stages": stages, "outcome": outcome}

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
