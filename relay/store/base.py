"""The store's contract: what every store promises, whatever it is made of (DESIGN 6, PROTOCOL
11.1).

Four promises stand behind every operation:

* **durable on return**: what a coroutine has returned survives a crash and a power cut;
* **atomic**: all of a :class:`Change` or nothing of it, whatever happens to its neighbours;
* **idempotent**: a repeat writes nothing twice, so "unknown, send the same again" is always a right
  answer;
* **honest**: :class:`Conflict` and :class:`Full` are normal outcomes and are returned;
  ``keys.errors.Failed`` says that the store could not do the work, which means *unknown*, never
  *rejected*. After a failed commit a store is broken for good: every later call raises Failed too,
  and the process must end and start anew.

Ids (msg, sid, kid, digest) are 64 lower hex digits, times are seconds UTC. A ``ValueError`` is the
caller's mistake: it hits the one call that made it and nothing is written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from keys.errors import Failed
from relay.core.tlog import Frontier

DIGEST_BYTES = 32
INTEGER_MAX = 2**53 - 1
"""No time, generation or version is larger (PROTOCOL 6.1)."""
NAME_MAX = 128
"""Characters of a desk id, a kind or a timer's subject."""
ENTRY_KINDS = frozenset({"message", "statement"})
PREKEY_KEPT_AFTER = 30 * 86400
"""Seconds for which a prekey is kept after its end: late messages are still judged by it (PROTOCOL
12, replay).
"""
PAGE_KEPT_AFTER = 30 * 86400
"""Seconds for which a page is kept after its end; what came of it stands in signed statements by
then.
"""
PAGE_STATES = ("ready", "leased", "sent", "failed", "cancelled", "expired")
"""A page waits, is under way with a pager, or has come to one of four ends."""
BLOBS_PER_CHANGE_MAX = 16
"""As many as a message has attachments (PROTOCOL 15)."""
LOST = "unknown"
"""The result of an attempt whose lease ended before anybody said what came of it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A statement as it is kept for years; its *sid* goes into the evidence log (PROTOCOL 11.4,
    13.1).
    """

    sid: str
    kind: str
    msg: str
    """The message that it is about; "" if none."""
    wire: bytes = field(repr=False)
    """The exact bytes that were signed."""
    at: int
    """When this relay received or made it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be put into a desk's mailbox."""

    desk: str
    kind: str
    """``message`` or ``statement``."""
    ref: str
    """The message id, or the sid of a statement that is kept (in the same change or before)."""
    msg: str
    """The message that it belongs to: the one of its change."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A durable alarm: one per (kind, subject); *generation* tells a stale one from the one that is
    armed.
    """

    kind: str
    subject: str
    generation: int
    due: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A message's state as the core encoded it, and the version on which the next change must
    stand.
    """

    version: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mailbox entry with its sequence number, dense per desk within the epoch, from 1."""

    seq: int
    kind: str
    ref: str
    msg: str


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page in the outbox: somebody must be woken, whatever happens to the process that decided
    it.
    """

    id: str
    """The dedup key: made from what the page is about, so that the same page is never put in twice,
    and every attempt carries it.
    """
    msg: str
    desk: str
    handle: str
    """The endpoint's name in the desk's profile; the address is in the relay's configuration
    alone.
    """
    stage: int
    kind: str
    """The stage's number and kind."""
    priority: str
    mode: str
    created: int
    expires: int
    """When nobody wants to be woken for it any more."""
    state: str = "ready"
    """One of PAGE_STATES."""
    not_before: int = 0
    attempt: int = 0
    """How often it was leased: also what fences a pager that was away for too long."""
    lease_until: int = 0
    result: str = ""
    """What came of the last attempt, in the pager's words; "" before the first one's end, LOST if its pager died."""


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob that is whole and on the disk: its file has the id for a name (relay.store.blobs)."""

    id: str
    size: int
    since: int
    """When it was last put: what no message names is kept for a day from then."""
    desks: tuple[str, ...]
    """Who put it, sorted: whose quota it uses, and who may name it."""
    messages: tuple[str, ...]
    """Ids of the messages that name it and whose envelope is here, in the order of arrival."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step in the life of one message: everything that must become true together."""

    msg: str
    expected: int
    """The version that this change stands on; 0: the message must not exist."""
    state: bytes = field(repr=False)
    envelope: bytes | None = field(default=None, repr=False)
    """Taken if the message has none: with its first change, or when it is brought back. SHA-256 of it is *msg*."""
    statements: tuple[Kept, ...] = ()
    """Kept and logged in this order; a sid that is kept already is skipped."""
    entries: tuple[Entry, ...] = ()
    """A (desk, ref) that is in the mailbox already is skipped."""
    arm: tuple[Timer, ...] = ()
    """One row per (kind, subject): the new one replaces it. Done after *disarm*."""
    disarm: tuple[str, ...] = ()
    """Kinds of timers whose subject is *msg*."""
    waiting: tuple[tuple[str, int], ...] = ()
    """(desk, +1): the message waits for this desk; (desk, -1): no longer. Twice the same counts
    once.
    """
    waiting_max: int = 0
    """More than 0: Full if a +1 would leave a desk with more messages waiting than this."""
    drop_after: int = 0
    """When the envelope may be purged; 0: as it was (at first: never)."""
    unpage: bool = False
    """Pages about this message that are ready become cancelled. Done before *pages*."""
    pages: tuple[PageRow, ...] = ()
    """Put into the outbox; an id that is known is skipped."""
    open: int = 1
    """How many timers must stand for this message after the change, as the rules say it: what the
    auditor compares the timers with. 0: its life needs no watching any more.
    """
    blobs: tuple[str, ...] = ()
    """Given once, with the envelope: blobs that stay for as long as it does. Missing if one is not
    here.
    """


@dataclass(frozen=True, slots=True)
class Committed:
    """The change is durable. *seqs* stand beside the change's entries, 0 where one was skipped."""

    version: int
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: the message stands at *version* (0: it is not there). Load, decide
    again, commit again.
    """

    version: int


@dataclass(frozen=True, slots=True)
class Full:
    """Nothing was written: as many messages as allowed wait for *desk* already."""

    desk: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing was written: the change names *blob*, which is not here, or not any more."""

    blob: str


@dataclass(frozen=True, slots=True)
class PrekeyRow:
    """A device's published prekey: its verified statement and the fields by which it is found
    (PROTOCOL 8.7).
    """

    desk: str
    device: str
    """The device's kid."""
    hint: bytes
    """The first 8 bytes of the prekey's identifier: what a stanza names."""
    not_before: int
    not_after: int
    received: int
    sid: str
    wire: bytes = field(repr=False)


Hear = Callable[[str, int, str], None]
"""Hears of another instance's write: (desk, seq, message): the desk whose mailbox grew, or "", and the message that
changed, or "" for the directory. A hint only: whoever misses one finds everything by looking.
"""


def raw(digest: str) -> bytes:
    """Return the 32 bytes of an id; ValueError unless it is 64 lower hex digits."""
    data = bytes.fromhex(digest)
    if len(data) != DIGEST_BYTES or data.hex() != digest:
        raise ValueError(f"An id is 64 lower hex digits, this is {digest[:80]!r}.")
    return data


def page_rank(priority: str) -> int:
    """Return the place of a page among those that wait: emergencies first."""
    return {"emergency": 0, "urgent": 1}.get(priority, 2)


def damaged(msg: str) -> Failed:
    """Return what every store raises for an envelope that is no longer the one it accepted."""
    return Failed(
        f"The kept envelope of message {msg} is damaged: its SHA-256 is not the message id.",
        hint="Stop the relay, run `relay doctor`, and restore the latest backup.",
    )


class Store(Protocol):
    """What is remembered. One caller's operations may run in any order until they return: await
    what must come first.
    """

    epoch: int
    """Changes only when the store was restored from a backup or is a new one: then desks send again
    what they hold.
    """

    async def start(self, now: int) -> None:
        """Open and check; Failed with a sentence if the promises cannot be kept here (exit 75: try
        later, 78: configuration).
        """

    async def stop(self) -> None:
        """Finish what waits, then close; safe to call twice. Later calls raise Failed."""

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Make *change* true as a whole if the message stands at ``change.expected``; else
        Conflict, then Full, then Missing, and nothing.

        Returns after the durability barrier: only then may anything be answered, pushed or paged. A
        repeat of a change that was committed is a Conflict with the version that it made.
        """

    async def keep(self, statements: Sequence[Kept]) -> None:
        """Keep and log statements that change no state (pickup, connect), in order; known sids are
        skipped.
        """

    async def load(self, msg: str) -> Stored | None:
        """Return a message's state, which stays for good (PROTOCOL 11.5: a late repeat must find
        its answer).
        """

    async def envelope(self, msg: str) -> bytes | None:
        """Return a message's envelope; None if there is none or it was purged.

        SHA-256 is compared with *msg* on every read: Failed if a byte differs.
        """

    async def statement(self, sid: str) -> Kept | None:
        """Return one statement by its id."""

    async def statements(self, msg: str) -> tuple[Kept, ...]:
        """Return all statements about a message in the order in which they were logged."""

    async def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return at most *limit* entries of a desk's mailbox with seq > *after*, ascending."""

    async def head(self, desk: str) -> int:
        """Return the last seq of a desk's mailbox; 0 if it is empty."""

    async def due(self, now: int, limit: int) -> tuple[Timer, ...]:
        """Return at most *limit* timers with due <= *now*, by (due, kind, subject). They stay armed
        until a change moves them.
        """

    async def next_due(self) -> int | None:
        """Return when the next timer is due; None if none is armed."""

    async def unarmed(self, limit: int) -> tuple[str, ...]:
        """Return at most *limit* messages, in order of arrival, for which fewer timers stand than
        their last change's *open*: each of them is a mistake that the auditor repairs.
        """

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give at most *limit* pages to a pager until *until*: those that are ready with not_before
        <= *now*, and those whose lease ended by *now* (their pager died). By (priority, created,
        id), emergencies first; each with its attempt counted, and with result LOST if a lease had ended.

        A page of a message that is not open any more is cancelled instead: nobody is woken for
        what is settled.
        """

    async def finish_page(
        self, page: str, attempt: int, state: str, result: str, not_before: int
    ) -> bool:
        """Note what came of an attempt; False if the lease was lost (*attempt* is another one's, or
        the page was finished): then nothing is changed.

        *state* ``ready`` puts it back until *not_before*, or cancels it if its message is not open
        any more. *attempt* is the fence: what a pager says that was away past its lease does not
        count.
        """

    async def pages(self, msg: str) -> tuple[PageRow, ...]:
        """Return a message's pages by (created, id)."""

    async def next_page(self) -> int | None:
        """Return when :meth:`lease_pages` will find the next one; None if nothing is under way."""

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        """Note that *desk* has put a blob whose file is whole and durable, or has put it again: it
        is kept for a day from *now*, and for as long as a message names it.
        """

    async def blob(self, blob: str) -> BlobRow | None:
        """Return what is known of a blob."""

    async def blob_bytes(self, desk: str) -> int:
        """Return the sum of the sizes of the blobs that a desk has put."""

    async def blobs(self, after: str, limit: int) -> tuple[tuple[str, int], ...]:
        """Return at most *limit* blobs (id, size) with an id behind *after*, ascending; "" begins."""

    async def drop_blobs(self, before: int, limit: int) -> tuple[str, ...]:
        """Forget at most *limit* blobs that no message names and that were last put at *before* or
        earlier, by (since, id); return their ids: only then may their files go.
        """

    async def mark(self, name: str) -> int:
        """Return a number that was put, 0 if there is none."""

    async def put_mark(self, name: str, value: int) -> None:
        """Keep a small number by its name, for example how far the relay's clock had come."""

    async def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[str]
    ) -> bool:
        """Replace the whole directory and log the hashes *log* (PROTOCOL 8.6), unless *version* <=
        the kept one: False.
        """

    async def directory(self) -> tuple[int, dict[str, bytes], bytes] | None:
        """Return (version, files, pins) as they were put; None before the first."""

    async def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        """Keep published prekeys; a known sid is skipped. Their statements are logged by
        :meth:`keep`, if the caller wants it.
        """

    async def prekeys(self, desk: str, now: int) -> tuple[PrekeyRow, ...]:
        """Return a desk's prekeys that are valid at *now* or later (not_after > *now*), by (device,
        not_before, sid).
        """

    async def purge(self, now: int, limit: int) -> int:
        """Delete at most *limit* envelopes with drop_after <= *now*, then prekeys and then pages
        whose end is 30 days past; return how many.

        With an envelope goes what its message says of blobs: :meth:`drop_blobs` finds those that no
        message names any more. States, statements, log and mailbox entries stay.
        """

    async def log(self) -> Frontier:
        """Return the evidence log's size and peaks: its root is ``tlog.root`` of it."""

    async def log_entries(self, start: int, end: int) -> list[bytes]:
        """Return the 32-byte entries *start* <= position < *end* (as many as there are)."""

    async def watch(self, hear: Hear) -> None:
        """Tell *hear* of what other instances write, until cancelled; returns at once where there
        are none.
        """

    async def backup(self, path: Path) -> None:
        """Write a consistent, verified copy (mode 0600) that takes a new epoch when it is started
        as a store.

        Refuses to overwrite. Failed for a store that has no form at rest.
        """

    async def check(self) -> list[str]:
        """Look at everything and return findings as sentences; [] means clean. Takes seconds per
        gigabyte.
        """

    async def counts(self) -> Mapping[str, int]:
        """Return numbers for metrics, cheaply: messages, envelopes, statements, entries, waiting,
        open, log, blobs, blob_bytes, timers; ``timers_KIND`` for each kind that is armed and ``pages_STATE`` for each
        state.

        *open* counts the messages that must have a timer, *waiting* the pairs of message and desk.
        """
