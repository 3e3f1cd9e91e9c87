"""The relay's ladder, pure: what is tried, and when, until a person of the recipient desk acknowledges.

::

    accepted ── path ── backstop ── backup ── exhausted          (DESIGN 5, PROTOCOL 8.3, 11.8, 11.9)

A :class:`Plan` is drawn when a message is accepted, from the recipient's profile of that moment, and frozen into the
message: an edit at night changes no running ladder. Stages are fired one at a time, never early, never closer together
than the minimum gap, also after the relay was down; one that has nobody to turn to is passed over at once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

PATH, BACKSTOP, BACKUP, EXHAUSTED = "path", "backstop", "backup", "exhausted"
"""Kinds of stages: offer again and page by another way; page the backstop; let the backup desk open; say so, signed."""

ROUTINE_S_MAX = 24 * 3600
"""A routine message is acknowledged on the next working day, and in any case within this time."""

TIMEOUT, EMPTY, UNREACHABLE, DECLINED = "timeout", "empty", "unreachable", "declined"
"""Causes of a step (PROTOCOL 10, `escalated`)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One rung: its kind, when it fires if nobody acknowledges (seconds UTC), and the endpoint handles to page."""

    kind: str
    due: int
    handles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A ladder with its times. The last stage is always ``exhausted``."""

    stages: tuple[Stage, ...]
    minimum_gap: int
    """Seconds between two stages at least."""
    progress: int
    """Seconds by which a desk's `progress` may delay one stage, once."""

    @property
    def deadline(self) -> int:
        """When silence is proven."""
        return self.stages[-1].due


@dataclass(frozen=True, slots=True)
class Ladder:
    """Where a running ladder stands: *at* is the stage that fires next, at *due*; at the end it stands behind them."""

    plan: Plan
    at: int = 0
    due: int = 0
    delayed: bool = False
    """Whether the one delay by `progress` was used."""
    last: int = 0
    """When the last stage fired; the next one keeps the minimum gap from it."""
    hurry: str = ""
    """Why the next stage does not wait for its planned time, as a cause; "" if it does."""

    @property
    def over(self) -> bool:
        """Whether every stage has fired; delivery goes on all the same."""
        return self.at >= len(self.plan.stages)

    @property
    def stage(self) -> Stage:
        """The stage that fires next."""
        return self.plan.stages[self.at]


def plan(
    profile: Mapping[str, Any],
    *,
    priority: str,
    mode: str,
    accepted: int,
    ack_by: int,
    backup: str,
    minimum_gap: int,
    workday_end: int = 0,
) -> Plan:
    """Draw a message's ladder from the recipient's *profile* (PROTOCOL 8.3).

    *ack_by* is the header's, 0 for none; *workday_end*, for routine, the end of the desk's next working day or 0 where
    the card does not say. If the deadline comes sooner than the profile's, all intervals shrink by one factor, but
    never below *minimum_gap* (the first: unless the profile itself says sooner). Mode ``test`` never reaches a backstop
    or a backup (PROTOCOL 9.1).
    """
    mine = profile[priority]
    whole = int(mine["acknowledge_s"])
    deadline = accepted + whole
    if priority == "routine":
        deadline = min(deadline, accepted + ROUTINE_S_MAX, workday_end or deadline)
    if ack_by:
        deadline = min(deadline, ack_by)
    span = max(0, deadline - accepted)
    stages: list[Stage] = []
    last = accepted
    for one in mine["stages"]:
        kind = one["kind"]
        if (mode == "test" and kind != PATH) or (kind == BACKUP and not backup):
            continue
        after = int(one["after_s"])
        gap = minimum_gap if stages else min(minimum_gap, after)
        due = max(accepted + after * min(span, whole) // whole, last + gap)
        stages.append(Stage(kind, due, tuple(one["handles"])))
        last = due
    stages.append(Stage(EXHAUSTED, max(deadline, last + minimum_gap if stages else deadline)))
    return Plan(tuple(stages), minimum_gap, int(mine["progress_s"]))


def begin(drawn: Plan) -> Ladder:
    """Return the ladder at its foot."""
    return Ladder(drawn, 0, drawn.stages[0].due)


def passed_over(stage: Stage, reachable: Collection[str]) -> str:
    """Return why a stage has nobody to turn to (empty, unreachable), or "" if it has.

    *reachable* are the handles that the relay's own configuration maps to a channel. A ``path`` stage offers the
    message to connected devices in any case, and a ``backup`` opens a mailbox: these two are never passed over.
    """
    if stage.kind != BACKSTOP:
        return ""
    if not stage.handles:
        return EMPTY
    return "" if any(handle in reachable for handle in stage.handles) else UNREACHABLE


def climbed(ladder: Ladder, now: int, *, skipped: bool = False) -> Ladder:
    """Return the ladder after its stage has fired at *now*.

    The next one fires when it was planned, but a minimum gap after this one at the soonest, so that after the relay was
    down stages come one at a time; after a stage that was passed over (*skipped*) it fires at once. ``exhausted`` alone
    is never pulled forward by that: until its time an acknowledgement is in time, however few there were to page.
    """
    at = ladder.at + 1
    if at >= len(ladder.plan.stages):
        return Ladder(ladder.plan, at, 0, ladder.delayed, now)
    planned = ladder.plan.stages[at].due
    if skipped:
        due = now
        if ladder.plan.stages[at].kind == EXHAUSTED:
            due = max(planned, now, ladder.last + ladder.plan.minimum_gap)
        return Ladder(ladder.plan, at, due, ladder.delayed, ladder.last)
    return Ladder(ladder.plan, at, max(planned, now + ladder.plan.minimum_gap), ladder.delayed, now)


def hurried(ladder: Ladder, now: int, cause: str = DECLINED) -> Ladder:
    """Return the ladder after a person declined, or nobody could be paged: the next stage fires at once (11.8)."""
    if ladder.over or ladder.due <= now:
        return ladder
    return Ladder(ladder.plan, ladder.at, now, ladder.delayed, ladder.last, cause)


def unreached(ladder: Ladder, stage: int, now: int) -> Ladder:
    """Return the ladder after every page of stage number *stage* failed for good (PROTOCOL 11.12).

    Only the stage that fired last counts, and only a ``backstop``: what :func:`passed_over` would have said of it, had
    it been known. The other kinds turn to devices and mailboxes too, which need no page.
    """
    if ladder.over or stage != ladder.at - 1 or ladder.plan.stages[stage].kind != BACKSTOP:
        return ladder
    if ladder.stage.kind == EXHAUSTED:
        return ladder
    return hurried(ladder, now, UNREACHABLE)


def held(ladder: Ladder, until: int) -> Ladder:
    """Return the ladder after the desk said that it is paging people until *until*: one delay, of bounded length.

    ``exhausted`` is never delayed: the sender hears of silence when it was promised (PROTOCOL 11.9). Nor is a stage
    that was hurried: a machine's word does not hold back a person's.
    """
    if ladder.over or ladder.delayed or ladder.hurry or ladder.stage.kind == EXHAUSTED:
        return ladder
    due = min(max(ladder.due, until), ladder.due + ladder.plan.progress)
    return Ladder(ladder.plan, ladder.at, due, due > ladder.due, ladder.last, ladder.hurry)
