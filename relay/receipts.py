"""What devices and officers sign about a message, taken in: verify, decide, commit, and only then say `recorded`.

Receipts of one message share a commit, and those of one call are settled side by side: many of them share a sync.
"""

import asyncio
from collections.abc import Callable, Sequence

from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import Statement, peek
from relay import admission
from relay.core import limits
from relay.core import message as law
from relay.core.events import Effect, Received
from relay.core.message import Outcome
from relay.ledger import Ledger, keep
from relay.meter import Meter, taken
from relay.roster import Roster
from relay.store.base import Kept
from relay.wire import receipt


class Receipts:
    """The relay's receipts over one ledger; it signs which of them are durable."""

    def __init__(
        self,
        ledger: Ledger,
        roster: Roster,
        *,
        service: str,
        instance: str,
        evidence: Signer,
        meter: Meter,
    ) -> None:
        """Take receipts in under the directory of *roster*; sign with the instance's *evidence* key."""
        self._ledger = ledger
        self._roster = roster
        self._service = service
        self._instance = instance
        self._evidence = evidence
        self._meter = meter

    async def record(
        self, statements: Sequence[bytes], now: int, repeats: Callable[[], object] = lambda: None
    ) -> bytes:
        """Take receipts in; return the signed ``recorded`` over those that are now durable.

        *repeats* is called before a ``recorded`` is kept and logged that says nothing new: it may refuse.

        A call of which nothing could be recorded raises the first refusal; otherwise what was refused is simply not
        named, and the desk posts it alone to learn why.
        """
        if not 1 <= len(statements) <= limits.RECEIPTS_PER_CALL_MAX:
            raise Refused(
                Code.E_TOO_LARGE if statements else Code.E_ENCODING,
                f"A call carries 1 to {limits.RECEIPTS_PER_CALL_MAX} receipts.",
            )
        refusals: list[Refused] = []
        grouped: dict[str, list[tuple[Statement, Received]]] = {}
        for wire in dict.fromkeys(
            statements
        ):  # twice in one call is once: a signature has one form
            try:
                statement, event = self._receipt(wire, now)
                grouped.setdefault(statement["msg"], []).append((statement, event))
            except Refused as refusal:
                self._meter.receipt(
                    "any", "bad_signature" if refusal.code is Code.E_SIGNATURE else "refused"
                )
                refusals.append(refusal)
        if len(grouped) == 1 and not refusals:
            ((msg, events),) = grouped.items()
            return await self._record_one(msg, events, now, repeats)
        sids: list[str] = []
        # Side by side, so that they share a commit: one after the other each would wait for a sync of its own.
        settled = await asyncio.gather(
            *(self._settle_receipts(msg, events, now, ()) for msg, events in grouped.items()),
            return_exceptions=True,
        )
        for events, done in zip(grouped.values(), settled, strict=True):
            if isinstance(done, Refused):
                refusals.append(done)
            elif isinstance(done, BaseException):
                raise done
            else:  # new or a repeat: all of them are durable
                sids.extend(statement.sid for statement, _event in events)
        if not sids:
            raise refusals[0]
        if not any(done for done in settled if isinstance(done, list)):
            repeats()
        recorded = self._recorded(sids, now)
        await self._ledger.store.keep([keep(recorded, "", now)])
        return recorded.wire

    async def _record_one(
        self,
        msg: str,
        events: list[tuple[Statement, Received]],
        now: int,
        repeats: Callable[[], object],
    ) -> bytes:
        """The usual call, about one message: ``recorded`` is kept in the same commit as what it records."""
        recorded = self._recorded([statement.sid for statement, _event in events], now)
        fresh = await self._settle_receipts(msg, events, now, (keep(recorded, msg, now),))
        if fresh or not events:
            return recorded.wire
        wanted = {statement.sid for statement, _event in events}
        for kept in await self._ledger.store.statements(msg):
            if kept.kind == "recorded" and wanted <= set(
                receipt.read(kept.wire, {"recorded"}, self._evidence.public)["sids"]
            ):
                return kept.wire  # a duplicate gets the stored outcome, never a fresh success
        repeats()
        await self._ledger.store.keep([keep(recorded, msg, now)])
        return recorded.wire

    def _recorded(self, sids: list[str], now: int) -> Statement:
        fields = {"sids": sids, "relay": self._service, "instance": self._instance, "at": now}
        return receipt.make("recorded", fields, self._evidence)

    def _receipt(self, wire: bytes, now: int) -> tuple[Statement, Received]:
        peeked = peek(wire)
        if peeked.kind not in receipt.RECEIPTS:
            raise Refused(Code.E_TYPE, f"A statement of kind {peeked.kind!r} is not a receipt.")
        if peeked.kind in law.MACHINE_ACTS:
            statement, member = admission.by_device(
                wire, {peeked.kind}, self._roster.directory, now, peeked
            )
        else:
            statement, member = admission.by_officer(wire, peeked, self._roster.directory, now)
        if statement["at"] > now + limits.CLOCK_SKEW_S:
            raise Refused(
                Code.E_CLOCK, f"The receipt is dated in the future; the relay says {now}."
            )
        if statement.fields.get("desk", member.desk) != member.desk:
            raise Refused(
                Code.E_WRONG_DESK, "The receipt's signer does not belong to the desk that it names."
            )
        detail = statement.fields.get("code") or statement.fields.get("outcome") or ""
        event = Received(
            peeked.kind,
            statement.sid,
            member.desk,
            statement.signer,
            statement["at"],
            now,
            statement.fields.get("statement", ""),
            detail,
            statement.fields.get("next_at", 0),
        )
        return statement, event

    async def _settle_receipts(
        self,
        msg: str,
        events: Sequence[tuple[Statement, Received]],
        now: int,
        with_them: Sequence[Kept],
    ) -> list[str]:
        """Decide and commit receipts of one message; return the sids that are durable and new (all, if any is new)."""
        async with self._ledger.turn(msg):
            for _try in range(limits.COMMIT_TRIES_MAX):
                known = await self._ledger.load(msg)
                if known is None:
                    raise Refused(
                        Code.E_UNKNOWN,
                        "This relay does not know the message.",
                        hint="The sender submits it again.",
                    )
                before = message = known.message
                effects: list[Effect] = []
                for _statement, event in events:
                    outcome = law.step(message, event)
                    message = outcome.message
                    effects.extend(outcome.effects)
                if message is before:
                    return []
                kept = [keep(statement, msg, now) for statement, _event in events] + list(with_them)
                if (
                    await self._ledger.commit(Outcome(message, tuple(effects)), known.version, kept)
                    is not None
                ):
                    taken(self._meter, before, message, [event for _statement, event in events])
                    return [statement.sid for statement, _event in events]
        raise Refused(
            Code.E_BUSY,
            "Other instances keep changing this message.",
            hint="Post the same receipt again.",
        )
