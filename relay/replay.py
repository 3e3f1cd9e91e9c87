"""What an instance vouches for is brought back into a store that has lost it, or that has never had it.

A store that went back in time lacks what was acknowledged; the journal has it. Each fact is merged (relay.core.merge)
and committed like any other change, guarded by its version, so that several instances may do this at once and again:
nothing is lost, nothing is done twice, and what was written meanwhile stays. The same walk fills a new store.
"""

import asyncio
import json
from dataclasses import replace

from keys.errors import Code, Failed, Refused
from keys.statement import peek
from relay.core import limits, merge
from relay.core.message import Message, Outcome
from relay.ledger import change_of
from relay.store.base import Committed, Kept, Missing, Store
from relay.store.vouched import Fact, Vouched

PIECE = 64
"""Messages that are read from a journal at a time, and brought back side by side: they share the store's barriers."""


async def replay(store: Store, journal: Vouched) -> None:
    """Bring back everything that *journal* vouches for; Failed if the store keeps changing or fails."""
    known = await journal.directory()
    if known is not None:
        version, files, pins = known
        await store.put_directory(version, files, pins, ())
    await store.put_prekeys(await journal.prekeys_kept())
    for blob, size, desk, now in await journal.blobs_kept():
        await store.put_blob(blob, size, desk, now)
    after = 0
    while True:
        after, facts = await journal.facts(after, PIECE)
        if not after:
            return
        await asyncio.gather(*(bring_back(store, fact) for fact in facts))


async def complete(store: Vouched) -> int:
    """Make of a journal a store of its own, for a relay that goes back from several instances to one; return how many.

    A journal has messages and statements; mailboxes, timers and pages follow from them and are put beside them.
    """
    count, after = 0, 0
    while True:
        after, facts = await store.facts(after, PIECE)
        if not after:
            return count
        await asyncio.gather(*(bring_back(store, fact, anew=True) for fact in facts))
        count += len(facts)


async def missing(store: Store, journal: Vouched) -> list[str]:
    """Return the messages of *journal* that *store* does not hold whole: looked for before anybody relies on it."""
    found: list[str] = []
    after = 0
    while True:
        after, facts = await journal.facts(after, PIECE)
        if not after:
            return found
        for fact in facts:
            there = await store.load(fact.msg)
            known = {kept.sid for kept in await store.statements(fact.msg)}
            whole = (
                there is not None
                and known >= {kept.sid for kept in fact.statements}
                and (fact.envelope is None or await store.envelope(fact.msg) == fact.envelope)
                and merge.merge(Message.decode(there.state), Message.decode(fact.state)).encode()
                == there.state
            )
            if not whole:
                found.append(fact.msg)


async def bring_back(store: Store, fact: Fact, *, anew: bool = False) -> bool:
    """Merge one message into *store*; return whether anything was missing there.

    *anew*: put everything beside it that must stand there, although nothing is missing of the message itself.
    """
    vouched = Message.decode(fact.state)
    for _try in range(limits.COMMIT_TRIES_MAX):
        there = await store.load(fact.msg)
        known = {kept.sid for kept in await store.statements(fact.msg)} if there else set()
        new = tuple(kept for kept in fact.statements if kept.sid not in known)
        merged = merge.merge(Message.decode(there.state), vouched) if there else vouched
        # Another instance may have brought the message back before, and have vouched for its steps alone.
        lacks = fact.envelope is not None and (
            there is None or await store.envelope(fact.msg) is None
        )
        if there and merged.encode() == there.state and not (new or anew or lacks):
            return False
        change = change_of(
            Outcome(merged, merge.standing(merged)),
            there.version if there else 0,
            new,
            fact.envelope if lacks else None,
            blobs_of(fact.statements) if lacks else (),
        )
        answer = await store.commit(replace(change, waiting_max=0))
        if isinstance(answer, Committed):
            return True
        if isinstance(answer, Missing):
            raise Failed(
                f"Message {fact.msg} names the attachment {answer.blob}, of which nobody vouches that it is here.",
                hint="Start the instance that took it in, or restore its journal.",
            )
    raise Refused(Code.E_BUSY, "Other instances keep changing this message.")


def blobs_of(statements: tuple[Kept, ...]) -> tuple[str, ...]:
    """Return the attachments that a message's submission names (PROTOCOL 9.5)."""
    for kept in statements:
        if kept.kind == "submission":
            named = json.loads(peek(kept.wire).payload)["blobs"]
            return tuple(str(one) for one in named)
    return ()
