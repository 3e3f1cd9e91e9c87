"""Bugs that such engines are known for, planted one at a time: the simulation finds each, and says which invariant it broke.

The first five are the variants that reference/escalation.md 3.5 compares; the others are mistakes of this design.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from builders_invariants import judge
from builders_simulation import Pool, simulate

from relay import deadlines, ledger
from relay.core import escalation, message
from relay.core.escalation import Ladder
from relay.core.message import Message, Outcome, Rung
from relay.store.base import Change, Committed, Kept, PageRow, Store, Timer

SEEDS = 60
"""A bug that is not found in so many seeds would not be found in the usual run either."""


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Return one world and its letters."""
    return Pool()


def no_generation_check(patch: pytest.MonkeyPatch) -> None:
    """Whatever timer was read fires what the message has next, whether it was meant or not."""
    asked = message.rung

    def rung(found: Message, now: int, reachable: Collection[str]) -> Rung | None:
        if found.ladder and not found.ladder.over:
            found = replace(found, ladder=replace(found.ladder, due=now))
        return asked(found, now, reachable)

    async def load(self: ledger.Ledger, msg: str) -> ledger.Known | None:
        stored = await self.store.load(msg)
        return ledger.Known(stored.version, Message.decode(stored.state)) if stored else None

    patch.setattr(message, "rung", rung)
    patch.setattr(Message, "generation", lambda _self, _kind: 1)
    patch.setattr(ledger.Ledger, "load", load)


def send_without_outbox(patch: pytest.MonkeyPatch) -> None:
    """The stage is committed first, and its pages afterwards."""
    commit = ledger.Ledger.commit

    async def in_two(
        self: ledger.Ledger,
        outcome: Outcome,
        expected: int,
        kept: Sequence[Kept],
        envelope: bytes | None = None,
        blobs: Sequence[str] = (),
    ) -> Committed | None:
        store = self.store
        later: list[PageRow] = []

        class Without:
            """The store, but for pages, which wait."""

            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            async def commit(self, change: Change) -> Any:
                later.extend(change.pages)
                return await store.commit(replace(change, pages=()))

        self.store = cast("Store", Without())
        try:
            done = await commit(self, outcome, expected, kept, envelope, blobs)
        finally:
            self.store = store
        stored = await store.load(outcome.message.msg) if done and later else None
        if stored is not None:
            after = Change(outcome.message.msg, stored.version, stored.state, pages=tuple(later))
            await store.commit(replace(after, open=len(message.timers(outcome.message))))
            self._known.pop(outcome.message.msg, None)
        return done

    patch.setattr(ledger.Ledger, "commit", in_two)


def wall_clock_for_due(patch: pytest.MonkeyPatch) -> None:
    """The relay takes whatever the machine's clock shows."""
    from relay.server.clock import SystemClock

    patch.setattr(SystemClock, "now", lambda self: int(self._wall()))


def overdue_fired_together(patch: pytest.MonkeyPatch) -> None:
    """What comes next is due when it was planned, however long ago that was."""
    climbed = escalation.climbed

    def planned(ladder: Ladder, now: int, *, skipped: bool = False) -> Ladder:
        after = climbed(ladder, now, skipped=skipped)
        return after if after.over else replace(after, due=after.plan.stages[after.at].due)

    patch.setattr(escalation, "climbed", planned)


def expiry_without_notice(patch: pytest.MonkeyPatch) -> None:
    """At the end of its life a message is dropped."""
    fire = deadlines.Deadlines.fire

    async def dropped(self: deadlines.Deadlines, timer: Timer, now: int) -> None:
        if timer.kind == message.EXPIRE:
            await self._disarm(timer)
        else:
            await fire(self, timer, now)

    patch.setattr(deadlines.Deadlines, "fire", dropped)


def delivered_stops_the_ladder(patch: pytest.MonkeyPatch) -> None:
    """A machine's receipt is taken for a person's."""
    patch.setattr(Message, "acknowledgement_asked", False)


def an_empty_stage_waits(patch: pytest.MonkeyPatch) -> None:
    """A stage with nobody to turn to uses up its time."""
    climbed = escalation.climbed

    def waits(ladder: Ladder, now: int, *, skipped: bool = False) -> Ladder:
        return climbed(ladder, now)

    patch.setattr(escalation, "climbed", waits)


def a_lost_lease_counts(patch: pytest.MonkeyPatch) -> None:
    """What a page's result was before its pager died is believed, and no repeat is said."""
    from relay.store import memory

    patch.setattr(memory, "LOST", "")


def a_second_instance_overwrites(patch: pytest.MonkeyPatch) -> None:
    """The store takes a change whatever it stands on."""
    from relay.store.memory import MemoryStore

    commit = MemoryStore.commit

    async def anyway(self: MemoryStore, change: Change) -> Any:
        there = self._messages.get(change.msg)
        expected = there.version if there and change.expected else change.expected
        return await commit(self, replace(change, expected=expected))

    patch.setattr(MemoryStore, "commit", anyway)


@pytest.mark.parametrize(
    ("plant", "broken"),
    [
        (no_generation_check, "I3"),
        (send_without_outbox, "I5"),
        (wall_clock_for_due, "I3"),
        (overdue_fired_together, "I3"),
        (expiry_without_notice, "I2"),
        (delivered_stops_the_ladder, "I2"),
        (an_empty_stage_waits, "I3"),
        (a_lost_lease_counts, "I6"),
        (a_second_instance_overwrites, "I1"),
    ],
)
def test_a_planted_bug_is_found(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    broken: str,
) -> None:
    """Some seed ends with the invariant broken that the bug breaks."""
    plant(monkeypatch)
    found: list[str] = []
    for seed in range(SEEDS):
        found += asyncio.run(judge(simulate(pool, seed)))
        if any(f"({broken})" in one for one in found):
            return
    pytest.fail(f"{plant.__name__} went unnoticed in {SEEDS} seeds, which found {found[:5]}")
