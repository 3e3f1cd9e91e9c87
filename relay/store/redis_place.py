"""Where Redis is, and how many copies of a write there must be before it is answered for. Values only."""

from dataclasses import dataclass, field
from pathlib import Path

AWAY_S = 20.0
"""How long a batch waits for a master that answers, through a failover; then the store has failed."""
AGAIN_S = 0.2

AVAILABLE, STRICT = "available", "strict"
LEVELS = {
    AVAILABLE: "one replica has every write before it is answered for; what a failover to another one takes away"
    " comes back from the journals of the instances, and is lost only with the disk of the instance that took it in",
    STRICT: "every replica that can be promoted has every write before it is answered for; nothing is accepted while"
    " one of them is away",
}
"""The two levels of safety, each with what can still be lost."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many copies stand beside the master. *wait*: how many must have a write before it is answered for."""

    promotable: int
    wait: int


def replicas(count: int, level: str) -> Replicas:
    """Return how many of *count* replicas a write waits for at a level of safety."""
    return Replicas(count, count if level == STRICT else min(count, 1))


def level(copies: Replicas) -> str:
    """Return the level of safety that a number of copies makes."""
    return STRICT if copies.wait == copies.promotable else AVAILABLE


def said(place: "Place") -> str:
    """Return where things are kept and what could still be lost, in a sentence for /readyz."""
    if not place.replicas.promotable:
        return "redis, without replicas: what its disk loses comes back from the journals of the instances"
    found = level(place.replicas)
    return f"redis, {found}: {LEVELS[found]}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where Redis is. With *sentinels* the master is asked for by *name*; else *address* is it."""

    instance: str
    address: tuple[str, int] = ("127.0.0.1", 6379)
    sentinels: tuple[tuple[str, int], ...] = ()
    name: str = "poc24"
    replicas: Replicas = field(default_factory=lambda: Replicas(0, 0))
    tag: str = "{poc24}"
    account: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: Path | None = None
    """The file of the certificate authority that vouches for Redis and the Sentinels: then TLS is spoken to both."""
    away_s: float = AWAY_S
    again_s: float = AGAIN_S
    """How long to wait before the next try; in between a failover goes on."""
