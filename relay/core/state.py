"""What a message is: where it came from, what was stated about it, where its ladder stands. Values only.

The rules that change it are in relay.core.message; nothing here changes anything.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any

from relay.core.escalation import Ladder, Plan, Stage
from relay.core.events import Accepted

EXPIRE = "expire"
"""Timer: the message's own end of life."""
LADDER = "ladder"
"""Timer: the next stage of the relay's ladder."""
REPLACE = "replace"
"""Timer: the message that this one replaces has still to be told so."""


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
    stage: int = -1
    next_at: int = 0
    """escalated: which stage, and when the next one fires."""


@dataclass(frozen=True, slots=True)
class Message:
    """Everything the rules know of one message. Facts stand in the order in which they were taken in."""

    origin: Accepted
    facts: tuple[Fact, ...] = ()
    replaced_by: str = ""
    waiting: bool = True
    ladder: Ladder | None = None
    """Where the relay's ladder stands; None at a desk, which sees each step as a statement."""

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

    @property
    def open(self) -> bool:
        """Whether a timer still has to watch over this message; otherwise it is terminal."""
        return not self.settled and self.first("expired") is None

    def generation(self, kind: str) -> int:
        """Return the generation of the timer of *kind* that counts now; one of another generation is void."""
        return self.ladder.at + 1 if kind == LADDER and self.ladder else 1

    def first(self, *kinds: str) -> Fact | None:
        """Return the first fact of one of *kinds*: the one that counts."""
        for fact in self.facts:  # a loop: this is asked dozens of times in the life of a message
            if fact.kind in kinds:
                return fact
        return None

    def holds(self, sid: str) -> bool:
        """Whether the statement *sid* was taken in."""
        return any(fact.sid == sid for fact in self.facts)

    def encode(self) -> bytes:
        """Return the state as JSON for the store."""
        raw = {
            "origin": _plain(self.origin, _ORIGIN),
            "facts": [_plain(fact, _FACT) for fact in self.facts],
            "replaced_by": self.replaced_by,
            "waiting": self.waiting,
            "ladder": _plain_ladder(self.ladder) if self.ladder else None,
        }
        return _ENCODER.encode(raw).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Message":
        """Read what :meth:`encode` wrote."""
        raw = json.loads(data)
        return cls(
            Accepted(**raw["origin"]),
            tuple(Fact(**fact) for fact in raw["facts"]),
            raw["replaced_by"],
            raw["waiting"],
            _ladder(raw["ladder"]),
        )


Reader = tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]


def _reader(*names: str) -> Reader:
    return names, attrgetter(*names)


_ORIGIN = _reader(*(one.name for one in fields(Accepted)))
_FACT = _reader(*(one.name for one in fields(Fact)))
_LADDER = _reader(*(one.name for one in fields(Ladder) if one.name != "plan"))
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _plain(value: object, reader: Reader) -> dict[str, Any]:
    """Return a flat value as a dictionary; `asdict` copies deeply, which costs ten times as much on every commit."""
    names, values = reader
    return dict(zip(names, values(value), strict=True))


def _plain_ladder(ladder: Ladder) -> dict[str, Any]:
    plan = ladder.plan
    stages = [{"kind": one.kind, "due": one.due, "handles": one.handles} for one in plan.stages]
    drawn = {"stages": stages, "minimum_gap": plan.minimum_gap, "progress": plan.progress}
    return {"plan": drawn, **_plain(ladder, _LADDER)}


def _ladder(raw: dict[str, Any] | None) -> Ladder | None:
    if raw is None:
        return None
    drawn = raw.pop("plan")
    stages = tuple(Stage(one["kind"], one["due"], tuple(one["handles"])) for one in drawn["stages"])
    return Ladder(Plan(stages, drawn["minimum_gap"], drawn["progress"]), **raw)
