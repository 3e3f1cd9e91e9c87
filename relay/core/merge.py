"""What two instances know of one message, made one: pure, and the same whichever way round it is done.

Instances that could not see each other, or a store that went back in time, leave two states of a message. Facts are
only ever added (PROTOCOL 10.7), so nothing has to be chosen but where the ladder stands: the further one counts, for
what it did was signed. From the merged state everything that must stand beside it follows: mailboxes, timers, pages.
"""

from collections.abc import Sequence
from dataclasses import replace

from relay.core import limits
from relay.core import message as law
from relay.core.escalation import Ladder
from relay.core.events import Disarm, Drop, Effect, Offer, Page, Tell, Unpage, Waiting
from relay.core.message import EXPIRE, LADDER, Fact, Message


def merge(one: Message, other: Message) -> Message:
    """Return what both together know of the same message; commutative, and ``merge(a, a)`` is ``a``."""
    origin = min(one.origin, other.origin, key=lambda found: (found.at, found.accepted))
    return replace(
        one,
        origin=origin,
        facts=_facts(one, other),
        replaced_by=min(filter(None, (one.replaced_by, other.replaced_by)), default=""),
        waiting=one.waiting and other.waiting,
        ladder=_further(one.ladder, other.ladder),
    )


def _facts(one: Message, other: Message) -> tuple[Fact, ...]:
    """Return every fact once, as who had it first has it.

    In the order of the side that knows them all, else by when they were taken in.
    """
    mine, others = ({fact.sid: fact for fact in side.facts} for side in (one, other))
    first = {
        sid: min((side[sid] for side in (mine, others) if sid in side), key=_when)
        for sid in mine | others
    }
    if mine.keys() == others.keys():
        order = min(list(mine), list(others))
    elif mine.keys() > others.keys() or mine.keys() < others.keys():
        order = list(mine if len(mine) > len(others) else others)
    else:
        order = sorted(first, key=lambda sid: (first[sid].received, sid))
    return tuple(first[sid] for sid in order)


def _when(fact: Fact) -> tuple[int, int, bool]:
    return fact.received, fact.at, fact.late


def _further(one: Ladder | None, other: Ladder | None) -> Ladder | None:
    found = [ladder for ladder in (one, other) if ladder is not None]
    return max(found, key=lambda it: (it.at, it.last, it.due, it.delayed, it.hurry), default=None)


def standing(message: Message) -> tuple[Effect, ...]:
    """Return everything that must stand beside *message* as it is: each may be done again without harm.

    Whom it was offered to, what each desk was told, which timers stand, whether it waits, when its envelope goes, and,
    while nobody has acknowledged, the pages of the stages that fired: rather a page too many than none.
    """
    origin = message.origin
    effects: list[Effect] = [Offer(origin.to), Offer(origin.sender)]
    parties: tuple[str, ...] = (origin.sender, origin.to)
    for fact in message.facts:
        if fact.kind == "escalated" and fact.detail == "backup" and origin.backup:
            effects.append(Offer(origin.backup))
            parties = (origin.sender, origin.to, origin.backup)
        effects.append(Tell(fact.sid, (origin.sender,) if fact.kind == "offered" else parties))
    effects += [Disarm(EXPIRE), Disarm(LADDER), *law.timers(message)]
    effects.append(Waiting(origin.to, 1 if message.waiting else -1))
    effects.append(Drop(_drop(message)))
    effects += _pages(message) if message.open else [Unpage()]
    return tuple(effects)


def _drop(message: Message) -> int:
    """Return when the envelope may go (PROTOCOL 11.5)."""
    grace = message.origin.expires + limits.ENVELOPE_GRACE_S
    closed = message.first("closed")
    if closed is None:
        return grace
    latest = message.origin.expires + limits.ENVELOPE_S_MAX
    return min(latest, max(grace, closed.received + limits.ENVELOPE_AFTER_CLOSED_S))


def _pages(message: Message) -> Sequence[Page]:
    """Return the pages of every stage that fired and was not passed over."""
    if message.ladder is None:
        return ()
    stages = message.ladder.plan.stages
    fired = {fact.stage for fact in message.facts if fact.kind == "escalated"}
    return [
        Page(message.origin.to, handle, number, stages[number].kind)
        for number in sorted(fired)
        for handle in stages[number].handles
    ]
