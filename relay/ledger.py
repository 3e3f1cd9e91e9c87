"""The corridor's ledger: what a message is now, one writer at a time, and the one commit that follows a decision.

Decide, commit, then act: a decision of relay.core comes here with its effects, becomes one guarded change of the store,
and only after that commit do hints leave. Everything held in memory is a cache that may be dropped at any instant.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keys import suite
from keys.errors import Code, Refused
from keys.statement import Statement
from relay.core import limits
from relay.core import message as law
from relay.core.events import Arm, Disarm, Drop, Offer, Page, Tell, Unpage, Waiting
from relay.core.message import Message, Outcome
from relay.core.shares import Shares
from relay.meter import Meter
from relay.store.base import (
    Change,
    Committed,
    Delivery,
    Entry,
    Full,
    Kept,
    Missing,
    PageRow,
    Store,
    Timer,
)
from relay.store.recent import Recent

STATES_CACHED = 4096
BODIES_CACHED_BYTES = 16 * 1024 * 1024

Body = tuple[bytes, bytes, bytes]
"""submission, accepted, envelope, as they stand on the wire."""


@dataclass(frozen=True, slots=True)
class Told:
    """A hint that a desk's mailbox has grown to *seq*; whoever misses it finds the entry by reading the mailbox."""

    desk: str
    seq: int


@dataclass(slots=True)
class Known:
    """A message as the store last confirmed it; only a cache, guarded by the version on every write."""

    version: int
    message: Message


@dataclass(slots=True)
class _Turn:
    """One writer at a time for one message in this process, so that pipelined receipts do not collide."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Ledger:
    """Messages as the store last confirmed them, and the only way to change one."""

    def __init__(self, store: Store, tell: Callable[[Told], None], meter: Meter) -> None:
        """Stand on *store*; *tell* hears of every mailbox entry, *meter* of every step, after it is durable."""
        self.store = store
        self._tell = tell
        self._meter = meter
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._bodies: OrderedDict[str, Body] = OrderedDict()
        self._bodies_bytes = 0
        self._turns: dict[str, _Turn] = {}
        self.shares = Shares()
        self.recent = Recent()
        self.stepping: Callable[[Message | None, Message], None] | None = None

    def turn(self, msg: str) -> "_Taking":
        """Return the turn of one message, to be held while a decision on it is taken and committed."""
        return _Taking(self._turns, msg)

    async def load(self, msg: str) -> Known | None:
        """Return a message with its version, or None."""
        known = self._known.get(msg)
        if known is not None:
            self._known.move_to_end(msg)
            return known
        stored = await self.store.load(msg)
        if stored is None:
            return None
        return self._remember(msg, Known(stored.version, Message.decode(stored.state)))

    def holds(self, msg: str) -> bool:
        """Whether :meth:`load` would answer without the store."""
        return msg in self._known

    def _remember(self, msg: str, known: Known) -> Known:
        self._known[msg] = known
        while len(self._known) > STATES_CACHED:
            self._known.popitem(last=False)
        return known

    def remember_body(self, msg: str, body: Body) -> None:
        """Keep a body at hand for the pickups that follow at once."""
        if msg in self._bodies:
            return
        self._bodies[msg] = body
        self._bodies_bytes += sum(map(len, body))
        while self._bodies_bytes > BODIES_CACHED_BYTES:
            _msg, dropped = self._bodies.popitem(last=False)
            self._bodies_bytes -= sum(map(len, dropped))

    def forget(self, msg: str) -> None:
        """Drop what is remembered of a message that another instance has changed."""
        self._known.pop(msg, None)

    async def body(self, known: Known) -> Body | None:
        """Return a message's submission, acceptance and envelope; None once the envelope was purged."""
        msg, origin = known.message.msg, known.message.origin
        if msg in self._bodies:
            self._bodies.move_to_end(msg)
            return self._bodies[msg]
        submission, accepted, envelope = await asyncio.gather(
            self.store.statement(origin.submission),
            self.store.statement(origin.accepted),
            self.store.envelope(msg),
        )
        if submission is None or accepted is None or envelope is None:
            return None
        found = submission.wire, accepted.wire, envelope
        self.remember_body(msg, found)
        return found

    async def commit(
        self,
        outcome: Outcome,
        expected: int,
        kept: Sequence[Kept],
        envelope: bytes | None = None,
        blobs: Sequence[str] = (),
    ) -> Committed | None:
        """Commit a decision; None if another writer was faster. Hints leave after the commit, never before."""
        message = outcome.message
        before = await self.load(message.msg) if expected else None
        if envelope is not None:
            self._check_share(message)
        change = change_of(outcome, expected, kept, envelope, blobs)
        answer = await self.store.commit(change)
        if isinstance(answer, Full):
            raise Refused(
                Code.E_BUSY,
                f"The mailbox of desk {answer.desk} is full: {limits.WAITING_MESSAGES_MAX} messages wait undelivered.",
                hint="Telephone the desk; the message stays in your outbox and is sent again by itself.",
            )
        if isinstance(answer, Missing):
            raise Refused(
                Code.E_BLOB_MISSING,
                f"The attachment {answer.blob} went while the message was taken in: nothing named it for a day.",
                hint="Put it again, then submit the same message again.",
            )
        if not isinstance(answer, Committed):
            self._known.pop(message.msg, None)
            return None
        self._remember(message.msg, Known(answer.version, message))
        was = before.message if before else None
        if self.stepping is not None:
            self.stepping(was, message)
        self._meter.moved(was, message)
        self.shares.move(was, message)
        self._tell_all(change, answer)
        return answer

    def _check_share(self, message: Message) -> None:
        origin = message.origin
        if self.shares.of(origin.to, origin.sender) >= limits.WAITING_PER_SENDER_MAX:
            raise Refused(
                Code.E_BUSY,
                f"{limits.WAITING_PER_SENDER_MAX} messages of desk {origin.sender} wait for {origin.to} undelivered.",
                hint="Telephone the desk; the message stays in your outbox and is sent again by itself.",
            )

    def _tell_all(self, change: Change, answer: Committed) -> None:
        """Keep at hand what desks are told of, then tell them: the order in which a hint finds it."""
        epoch, recent = self.store.epoch, self.recent
        told: list[Told] = []
        for entry, seq in zip(change.entries, answer.seqs, strict=True):
            if seq:
                recent.add(epoch, entry.desk, Delivery(seq, entry.kind, entry.ref, entry.msg))
                told.append(Told(entry.desk, seq))
        named = {entry.ref for entry in change.entries}
        for kept in change.statements:
            if kept.sid in named:
                recent.keep(kept.sid, kept.wire)
        for one in told:
            self._tell(one)


class _Taking:
    """Hold one message's turn; the table of turns holds only messages that somebody waits for."""

    def __init__(self, turns: dict[str, _Turn], msg: str) -> None:
        self._turns = turns
        self._msg = msg

    async def __aenter__(self) -> None:
        turn = self._turns.setdefault(self._msg, _Turn())
        turn.waiting += 1
        try:
            await turn.lock.acquire()
        except BaseException:
            self._leave(turn)
            raise

    async def __aexit__(self, *_exc: object) -> None:
        turn = self._turns[self._msg]
        turn.lock.release()
        self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        turn.waiting -= 1
        if not turn.waiting:
            self._turns.pop(self._msg, None)


def keep(statement: Statement, msg: str, now: int) -> Kept:
    """Return a statement as the store keeps and logs it."""
    return Kept(statement.sid, statement.kind, msg, statement.wire, now)


def change_of(
    outcome: Outcome,
    expected: int,
    kept: Sequence[Kept],
    envelope: bytes | None,
    blobs: Sequence[str],
) -> Change:
    """Turn a decision with its effects into one change of the store."""
    msg = outcome.message.msg
    entries: list[Entry] = []
    arm: list[Timer] = []
    disarm: list[str] = []
    waiting: list[tuple[str, int]] = []
    drop_after = 0
    pages: list[PageRow] = []
    unpage = False
    for effect in outcome.effects:
        match effect:
            case Offer(desk):
                entries.append(Entry(desk, "message", msg, msg))
            case Tell(sid, desks):
                entries.extend(Entry(desk, "statement", sid, msg) for desk in dict.fromkeys(desks))
            case Arm(kind, due, generation):
                arm.append(Timer(kind, msg, generation, due))
            case Disarm(kind):
                disarm.append(kind)
            case Waiting(desk, change):
                waiting.append((desk, change))
            case Drop(after):
                drop_after = after
            case Page():
                pages.append(_page(outcome.message, effect))
            case Unpage():
                unpage = True
    return Change(
        msg=msg,
        expected=expected,
        state=outcome.message.encode(),
        envelope=envelope,
        statements=tuple(kept),
        entries=tuple(entries),
        arm=tuple(arm),
        disarm=tuple(disarm),
        waiting=tuple(waiting),
        waiting_max=limits.WAITING_MESSAGES_MAX if envelope is not None else 0,
        drop_after=drop_after,
        unpage=unpage,
        pages=tuple(pages),
        open=len(law.timers(outcome.message)),
        blobs=tuple(blobs),
    )


def _page(message: Message, page: Page) -> PageRow:
    """Return a page as the outbox holds it. Its id is made from what it is about: the same stage never pages twice."""
    assert message.ladder is not None  # only a ladder pages
    origin = message.origin
    about = f"{message.msg}:{page.stage}:{page.handle}:{page.kind}"
    return PageRow(
        id=suite.sha256(about.encode()).hex(),
        msg=message.msg,
        desk=page.desk,
        handle=page.handle,
        stage=page.stage,
        kind=page.kind,
        priority=origin.priority,
        mode=origin.mode,
        created=message.ladder.last,
        expires=origin.expires,
        not_before=message.ladder.last,
    )
