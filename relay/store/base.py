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

import hashlib
from collections.abc import Mapping, Sequence
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
class Change:
    """One step in the life of one message: everything that must become true together."""

    msg: str
    expected: int
    """The version that this change stands on; 0: the message must not exist."""
    state: bytes = field(repr=False)
    envelope: bytes | None = field(default=None, repr=False)
    """Given once, with *expected* 0; SHA-256 of it is *msg*."""
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


def raw(digest: str) -> bytes:
    """Return the 32 bytes of an id; ValueError unless it is 64 lower hex digits."""
    data = bytes.fromhex(digest)
    if len(data) != DIGEST_BYTES or data.hex() != digest:
        raise ValueError(f"An id is 64 lower hex digits, this is {digest[:80]!r}.")
    return data


def check_change(change: Change) -> None:
    """Raise ValueError if *change* contradicts itself: what every store must refuse in the same
    way.

    The envelope's hash is compared here, before it is written, and again whenever it is read.
    """
    msg = raw(change.msg)
    check_statements(change.statements)
    check_integer(change.expected)
    if change.envelope is not None and change.expected:
        raise ValueError("An envelope comes with the first change of its message, and only there.")
    if change.envelope is not None and hashlib.sha256(change.envelope).digest() != msg:
        raise ValueError("The envelope's SHA-256 is not the message id.")
    for entry in change.entries:
        if entry.msg != change.msg or entry.kind not in ENTRY_KINDS:
            raise ValueError("An entry belongs to its change's message, as message or statement.")
        if entry.kind == "message" and entry.ref != change.msg:
            raise ValueError("An entry of kind message refers to its change's message.")
        check_name(entry.desk)
    for desk, step in change.waiting:
        check_name(desk)
        if step not in {1, -1}:
            raise ValueError("A message begins to wait for a desk (+1) or ends (-1).")
    for timer in change.arm:
        check_name(timer.kind)
        check_name(timer.subject)
        check_integer(timer.generation)
        check_integer(timer.due)
    for kind in change.disarm:
        check_name(kind)
    check_integer(change.waiting_max)
    check_integer(change.drop_after)


def check_statements(statements: Sequence[Kept]) -> None:
    """Raise ValueError unless sids are ids and each msg is one or ""."""
    for statement in statements:
        raw(statement.sid)
        check_name(statement.kind)
        check_integer(statement.at)
        if statement.msg:
            raw(statement.msg)


def check_prekeys(rows: Sequence[PrekeyRow]) -> None:
    """Raise ValueError unless the rows' ids, desks and times are such."""
    for row in rows:
        raw(row.sid)
        raw(row.device)
        check_name(row.desk)
        for time in (row.not_before, row.not_after, row.received):
            check_integer(time)


def check_directory(version: int, files: Mapping[str, bytes]) -> None:
    """Raise ValueError unless version and file names can be kept."""
    check_integer(version)
    for name in files:
        check_name(name)


def check_name(name: str) -> None:
    """Raise ValueError unless a desk, kind or subject is plain, short and not empty."""
    if not (0 < len(name) <= NAME_MAX and name.isascii()):
        raise ValueError(f"Not a desk, kind or subject: {name[:80]!r}.")


def check_integer(value: int) -> None:
    """Raise ValueError unless 0 <= *value* < 2^53: what every kind of store can hold."""
    if not 0 <= value <= INTEGER_MAX:
        raise ValueError(f"Not a time, version or number that can be kept: {value}.")


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

    async def commit(self, change: Change) -> Committed | Conflict | Full:
        """Make *change* true as a whole if the message stands at ``change.expected``; else
        Conflict, then Full, and nothing.

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
        """Delete at most *limit* envelopes with drop_after <= *now* and prekeys whose end is 30
        days past; return how many.

        States, statements, log and mailbox entries stay.
        """

    async def log(self) -> Frontier:
        """Return the evidence log's size and peaks: its root is ``tlog.root`` of it."""

    async def log_entries(self, start: int, end: int) -> list[bytes]:
        """Return the 32-byte entries *start* <= position < *end* (as many as there are)."""

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
        timers, open, log.

        *open* counts the messages (subjects) with an armed timer, *waiting* the pairs of message
        and desk.
        """
