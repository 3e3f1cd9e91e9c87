r"""The life of one message, pure: ``(state, event) -> (state, effects)``. One law for both sides.

The relay decides with it; a desk replays it over statements that it verified itself, and so sees whether the relay
kept to the law. Outcomes form a lattice (PROTOCOL 10.7): facts are only ever added. Positive evidence that comes after
negative evidence is kept and marked late; nothing is rolled back; a repeated statement changes nothing.

::

    accepted -> delivered -> acknowledged -> closed
        \_ declined   \_ failed      \_ withdrawn, replaced, expired (and the ladder's stages)
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from keys.errors import Code, Refused
from relay.core import limits
from relay.core.events import (
    Accepted,
    Arm,
    Attested,
    Disarm,
    Drop,
    Effect,
    Event,
    Offer,
    Received,
    Replaced,
    Tell,
    Waiting,
)

EXPIRE = "expire"
"""Timer: the message's own end of life."""
REPLACE = "replace"
"""Timer: the message that this one replaces has still to be told so."""

MACHINE_ACTS = frozenset({"delivered", "failed", "progress"})
HUMAN_ACTS = frozenset({"acknowledged", "declined", "closed"})
NEGATIVE = frozenset({"exhausted", "expired"})
POSITIVE = frozenset({"delivered", "acknowledged", "closed"})


class Phase(StrEnum):
    """Where a message stands, in one word for people; derived from the facts, never stored."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    DELIVERED = "delivered"
    DECLINED = "declined"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement about a message, as far as the rules need it."""

    kind: str
    sid: str
    desk: str
    by: str
    at: int
    received: int
    statement: str = ""
    detail: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Everything the rules know of one message. Facts stand in the order in which they were taken in."""

    origin: Accepted
    facts: tuple[Fact, ...] = ()
    replaced_by: str = ""
    waiting: bool = True
    generation: int = 1

    @property
    def msg(self) -> str:
        """The message id."""
        return self.origin.msg

    @property
    def engaged(self) -> bool:
        """Whether the backup desk's stage was reached, so that it may read and answer (PROTOCOL 9.3)."""
        return any(fact.kind == "escalated" and fact.detail == "backup" for fact in self.facts)

    @property
    def readers(self) -> tuple[str, ...]:
        """Desks that may fetch the message now; the sender's own devices hold a copy (PROTOCOL 9.3)."""
        desks = (self.origin.to, self.origin.sender)
        return (*desks, self.origin.backup) if self.origin.backup and self.engaged else desks

    @property
    def answerable(self) -> tuple[str, ...]:
        """Desks whose receipts count."""
        return (
            (self.origin.to, self.origin.backup)
            if self.origin.backup and self.engaged
            else (self.origin.to,)
        )

    @property
    def acknowledgement_asked(self) -> bool:
        """Whether a person has to acknowledge; otherwise delivery settles the message (PROTOCOL 9.1, 11.8)."""
        return self.origin.ack_by > 0 and self.origin.mode != "test"

    @property
    def settled(self) -> bool:
        """Whether the ladder and the expiry have nothing left to do (PROTOCOL 11.8)."""
        if self.replaced_by or self.first("acknowledged", "closed", "withdrawn"):
            return True
        return not self.acknowledgement_asked and self.first("delivered") is not None

    @property
    def phase(self) -> Phase:
        """Where the message stands; the highest evidence wins, late or not (PROTOCOL 10.7)."""
        if self.first("withdrawn"):
            return Phase.WITHDRAWN
        if self.replaced_by:
            return Phase.REPLACED
        for kind in (
            "closed",
            "acknowledged",
            "expired",
            "exhausted",
            "declined",
            "delivered",
            "failed",
        ):
            if self.first(kind):
                return Phase(kind)
        return Phase.ACCEPTED

    def first(self, *kinds: str) -> Fact | None:
        """Return the first fact of one of *kinds*: the one that counts."""
        return next((fact for fact in self.facts if fact.kind in kinds), None)

    def holds(self, sid: str) -> bool:
        """Whether the statement *sid* was taken in."""
        return any(fact.sid == sid for fact in self.facts)

    def encode(self) -> bytes:
        """Return the state as JSON for the store."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Message":
        """Read what :meth:`encode` wrote."""
        raw = json.loads(data)
        return cls(
            Accepted(**raw["origin"]),
            tuple(Fact(**fact) for fact in raw["facts"]),
            raw["replaced_by"],
            raw["waiting"],
            raw["generation"],
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message became, and what must be done in the same commit."""

    message: Message
    effects: tuple[Effect, ...] = ()


def open_message(event: Accepted) -> Outcome:
    """Let a message enter: offered to the recipient, a copy for the sender's own devices, its end of life armed."""
    effects: list[Effect] = [
        Offer(event.to),
        Offer(event.sender),
        Arm(EXPIRE, event.expires, 1),
        Waiting(event.to, 1),
        Drop(event.expires + limits.ENVELOPE_GRACE_S),
    ]
    if event.replaces:
        effects.append(Arm(REPLACE, event.at, 1))
    return Outcome(Message(event), tuple(effects))


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
            fact = Fact(event.kind, event.sid, "", "", event.at, event.at, "", event.detail)
            if message.holds(event.sid) or (
                event.kind in ("offered", "expired") and message.first(event.kind)
            ):
                return Outcome(message)
            desks = (message.origin.sender,) if event.kind == "offered" else _parties(message)
            return _add(message, fact, (Tell(event.sid, desks),))
        case Replaced():
            if message.replaced_by:
                return Outcome(message)
            return _settle(message, replace(message, replaced_by=event.by), ())


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
    if len(message.facts) >= limits.FACTS_MAX:
        raise Refused(
            Code.E_TOO_LARGE,
            f"This message has gathered {limits.FACTS_MAX} statements; no further ones are kept.",
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
    desks = tuple(desk for desk in _parties(message) if desk)
    return _add(message, fact, (Tell(event.sid, desks),))


def _parties(message: Message) -> tuple[str, ...]:
    desks = (message.origin.sender, message.origin.to)
    return (*desks, message.origin.backup) if message.engaged else desks


def _add(message: Message, fact: Fact, effects: tuple[Effect, ...]) -> Outcome:
    return _settle(message, replace(message, facts=(*message.facts, fact)), effects)


def _settle(before: Message, after: Message, effects: Iterable[Effect]) -> Outcome:
    """Derive what follows from the facts alone: timers, the waiting count, the time to drop the envelope."""
    found = list(effects)
    if (after.settled and not before.settled) or (
        after.first("expired") and not before.first("expired")
    ):
        found.append(Disarm(EXPIRE))
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
