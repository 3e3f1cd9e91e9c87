r"""The life of one message, pure: ``(state, event) -> (state, effects)``. One law for both sides.

The relay decides with it; a desk replays it over statements that it verified itself, and so sees whether the relay
kept to the law. Outcomes form a lattice (PROTOCOL 10.7): facts are only ever added. Positive evidence that comes after
negative evidence is kept and marked late; nothing is rolled back; a repeated statement changes nothing.

::

    accepted -> delivered -> acknowledged -> closed
        \_ declined   \_ failed      \_ withdrawn, replaced, expired
        \_ escalated (path, backstop, backup) -> exhausted; only a person's word stops this (relay.core.escalation)
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from keys.errors import Code, Refused
from relay.core import escalation, limits
from relay.core.escalation import BACKUP, EXHAUSTED, Plan
from relay.core.events import (
    Accepted,
    Arm,
    Attested,
    Climbed,
    Disarm,
    Drop,
    Effect,
    Event,
    Offer,
    Page,
    Received,
    Replaced,
    Tell,
    Unpage,
    Unreached,
    Waiting,
)
from relay.core.state import EXPIRE, LADDER, REPLACE, Fact, Message, Phase

__all__ = [
    "EXPIRE",
    "HUMAN_ACTS",
    "LADDER",
    "MACHINE_ACTS",
    "REPLACE",
    "Fact",
    "Message",
    "Outcome",
    "Phase",
    "Rung",
    "expired",
    "open_message",
    "replay",
    "rung",
    "step",
    "unopenable",
]

MACHINE_ACTS = frozenset({"delivered", "failed", "progress"})
HUMAN_ACTS = frozenset({"acknowledged", "declined", "closed"})
NEGATIVE = frozenset({"exhausted", "expired"})
POSITIVE = frozenset({"delivered", "acknowledged", "closed"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message became, and what must be done in the same commit."""

    message: Message
    effects: tuple[Effect, ...] = ()


def open_message(event: Accepted, plan: Plan | None = None) -> Outcome:
    """Let a message enter: offered to the recipient, a copy for the sender's own devices, its timers armed.

    *plan* is the ladder that is frozen into it (relay.core.escalation); a desk that replays has none.
    """
    effects: list[Effect] = [
        Offer(event.to),
        Offer(event.sender),
        Arm(EXPIRE, event.expires, 1),
        Waiting(event.to, 1),
        Drop(event.expires + limits.ENVELOPE_GRACE_S),
    ]
    if event.replaces:
        effects.append(Arm(REPLACE, event.at, 1))
    message = Message(event, ladder=escalation.begin(plan) if plan else None)
    return Outcome(message, (*effects, *_armed(message)))


def timers(message: Message) -> tuple[Arm, ...]:
    """Return the timers that must stand for *message* now: what the auditor compares the store with (invariant I2)."""
    if not message.open:
        return ()
    ladder = message.ladder
    running = ladder is not None and not ladder.over
    climbs = (Arm(LADDER, ladder.due, message.generation(LADDER)),) if ladder and running else ()
    return (Arm(EXPIRE, message.origin.expires, message.generation(EXPIRE)), *climbs)


def _armed(message: Message) -> tuple[Effect, ...]:
    """Return the ladder's timer as it must stand."""
    ladder = message.ladder
    if ladder is None or ladder.over:
        return (Disarm(LADDER),) if ladder else ()
    return (Arm(LADDER, ladder.due, message.generation(LADDER)),)


def step(message: Message, event: Event) -> Outcome:
    """Return what *message* becomes when *event* happens; raise Refused if it may not happen.

    A statement that was taken in before changes nothing and has no effects.
    """
    match event:
        case Accepted():
            return Outcome(message)
        case Received():
            return _received(message, event)
        case Attested():
            if message.holds(event.sid) or _said_before(message, event):
                return Outcome(message)
            fact = Fact(
                event.kind,
                event.sid,
                "",
                "",
                event.at,
                event.at,
                detail=event.detail,
                stage=event.stage,
            )
            desks = (message.origin.sender,) if event.kind == "offered" else _parties(message)
            return _add(message, fact, (Tell(event.sid, desks),))
        case Climbed():
            return _climbed(message, event)
        case Unreached():
            return _unreached(message, event)
        case Replaced():
            if message.replaced_by:
                return Outcome(message)
            return _settle(message, replace(message, replaced_by=event.by), ())


def _said_before(message: Message, event: Attested) -> bool:
    """Whether a statement of the relay would say nothing new; `paged` is said anew when it changes, a few times."""
    if event.kind != "paged":
        return event.kind in ("offered", "expired") and message.first(event.kind) is not None
    told = [one for one in message.facts if one.kind == "paged" and one.stage == event.stage]
    return len(told) >= limits.PAGED_MAX or bool(told and told[-1].detail == event.detail)


def _received(message: Message, event: Received) -> Outcome:
    if message.holds(event.sid):
        return Outcome(message)
    if event.kind == "withdrawn":
        if event.desk != message.origin.sender:
            raise Refused(Code.E_SIGNER, "Only the desk that sent a message can withdraw it.")
    elif event.desk not in message.answerable:
        raise Refused(
            Code.E_WRONG_DESK,
            f"Desk {event.desk} has no part in this message, or not yet: its receipts do not count.",
        )
    room = limits.FACTS_MAX * (
        1 if event.kind in MACHINE_ACTS else 2
    )  # machines leave room for people
    if len(message.facts) >= room:
        raise Refused(
            Code.E_TOO_LARGE,
            f"This message has gathered {room} statements; no further ones are kept.",
        )
    late = event.kind in POSITIVE and message.first(*NEGATIVE) is not None
    fact = Fact(
        event.kind,
        event.sid,
        event.desk,
        event.by,
        event.at,
        event.received,
        event.statement,
        event.detail,
        late,
    )
    moved = _moved(message, event)
    effects = (Tell(event.sid, _parties(message)), *(_armed(moved) if moved is not message else ()))
    return _add(moved, fact, effects)


def _moved(message: Message, event: Received) -> Message:
    """Return the message with its ladder hurried by `declined`, or delayed once by `progress` (PROTOCOL 11.8, 11.9)."""
    ladder = message.ladder
    if ladder is None or ladder.over or not message.open:
        return message
    if event.kind == "declined":
        after = escalation.hurried(ladder, event.received)
    elif event.kind == "progress":
        after = escalation.held(ladder, event.until)
    else:
        return message
    return message if after is ladder else replace(message, ladder=after)


def _unreached(message: Message, event: Unreached) -> Outcome:
    """Let the ladder move on at once from a stage where nobody could be paged."""
    ladder = message.ladder
    if ladder is None or not message.open:
        return Outcome(message)
    after = escalation.unreached(ladder, event.stage, event.at)
    if after is ladder:
        return Outcome(message)
    moved = replace(message, ladder=after)
    return Outcome(moved, _armed(moved))


def _climbed(message: Message, event: Climbed) -> Outcome:
    """Take in one stage: each is taken once, in order, and never after a person's word (invariants I1, I4).

    A desk (no ladder) keeps whatever the relay signed: its own officer's word may have been on the way at that time.
    """
    ladder = message.ladder
    if message.holds(event.sid) or (ladder and (event.stage != ladder.at or not message.open)):
        return Outcome(message)
    fact = Fact(
        "exhausted" if event.kind == EXHAUSTED else "escalated",
        event.sid,
        "",
        "",
        event.at,
        event.at,
        detail=event.kind,
        stage=event.stage,
        next_at=event.next_at,
    )
    engaged = event.kind == BACKUP and bool(message.origin.backup)
    effects: list[Effect] = [Offer(message.origin.backup)] if engaged else []
    after = message
    if ladder:
        if not event.passed_over:
            effects += [
                Page(message.origin.to, handle, event.stage, event.kind)
                for handle in ladder.stage.handles
            ]
        after = replace(
            message, ladder=escalation.climbed(ladder, event.at, skipped=event.passed_over)
        )
        effects += _armed(after)
    after = replace(after, facts=(*after.facts, fact))
    return Outcome(after, (Tell(event.sid, _parties(after)), *effects))


def _parties(message: Message) -> tuple[str, ...]:
    desks = (message.origin.sender, message.origin.to)
    return (*desks, message.origin.backup) if message.engaged else desks


def _add(message: Message, fact: Fact, effects: tuple[Effect, ...]) -> Outcome:
    return _settle(message, replace(message, facts=(*message.facts, fact)), effects)


def _settle(before: Message, after: Message, effects: Iterable[Effect]) -> Outcome:
    """Derive what follows from the facts alone: timers, the waiting count, the time to drop the envelope."""
    found = list(effects)
    if before.open and not after.open:
        found.append(Disarm(EXPIRE))
        found += [Disarm(LADDER), Unpage()] if after.ladder else []
    if after.waiting and (after.settled or after.first("delivered", "expired")):
        after = replace(after, waiting=False)
        found.append(Waiting(after.origin.to, -1))
    closed = after.first("closed")
    if closed and not before.first("closed"):
        latest = after.origin.expires + limits.ENVELOPE_S_MAX
        grace = after.origin.expires + limits.ENVELOPE_GRACE_S
        found.append(
            Drop(min(latest, max(grace, closed.received + limits.ENVELOPE_AFTER_CLOSED_S)))
        )
    return Outcome(after, tuple(found))


@dataclass(frozen=True, slots=True)
class Rung:
    """A stage that is due now, as it must be signed: the fields of `escalated`, or most of those of `exhausted`."""

    stage: int
    kind: str
    cause: str
    next_at: int
    passed_over: bool


def rung(message: Message, now: int, reachable: Collection[str]) -> Rung | None:
    """Return the one stage of the ladder that is due at *now*, or None (too early, settled, or at its end).

    *reachable* are the recipient's endpoint handles that the relay can page.
    """
    ladder = message.ladder
    if ladder is None or ladder.over or not message.open or now < ladder.due:
        return None
    stage = ladder.stage
    if now >= message.origin.expires and stage.kind != EXHAUSTED:
        return None  # nobody is woken for what has expired; that is said instead
    why = escalation.passed_over(stage, reachable)
    after = escalation.climbed(ladder, now, skipped=bool(why))
    early = ladder.hurry if now < stage.due else ""
    cause = why or early or escalation.TIMEOUT
    return Rung(ladder.at, stage.kind, cause, after.due, bool(why))


def unopenable(message: Message, devices: Collection[str]) -> bool:
    """Whether every one of the recipient's *devices* said that it cannot open the message: never called silence."""
    failed = {fact.by for fact in message.facts if fact.kind == "failed"}
    return bool(devices) and failed >= set(devices) and message.first("delivered") is None


def expired(message: Message, now: int) -> bool:
    """Whether the relay must now sign ``expired``: nobody acknowledged in the message's life (PROTOCOL 10)."""
    return (
        now >= message.origin.expires and not message.settled and message.first("expired") is None
    )


def replay(origin: Accepted, events: Iterable[Event]) -> Message:
    """Re-derive a message from verified events in the order given; what may not happen is left out."""
    message = open_message(origin).message
    for event in events:
        try:
            message = step(message, event).message
        except Refused:
            continue
    return message
