"""What every store must refuse in the same way: values that contradict themselves or cannot be kept.

Each function raises ValueError, which is the caller's mistake; it is called before anything is
written.
"""

import hashlib
from collections.abc import Mapping, Sequence

from relay.store.base import (
    BLOBS_PER_CHANGE_MAX,
    ENTRY_KINDS,
    INTEGER_MAX,
    NAME_MAX,
    PAGE_STATES,
    Change,
    Kept,
    PageRow,
    PrekeyRow,
    raw,
)


def check_change(change: Change) -> None:
    """Raise ValueError if *change* contradicts itself: what every store must refuse in the same
    way.

    The envelope's hash is compared here, before it is written, and again whenever it is read.
    """
    msg = raw(change.msg)
    check_statements(change.statements)
    check_integer(change.expected)
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
    for page in change.pages:
        check_page(page)
        if page.msg != change.msg:
            raise ValueError("A page is about its change's message.")
    check_integer(change.waiting_max)
    check_integer(change.drop_after)
    check_integer(change.open)
    for blob in change.blobs:
        raw(blob)
    if change.blobs and (change.envelope is None or len(set(change.blobs)) != len(change.blobs)):
        raise ValueError("Blobs are named with the envelope, each once.")
    if len(change.blobs) > BLOBS_PER_CHANGE_MAX:
        raise ValueError(f"A change names at most {BLOBS_PER_CHANGE_MAX} blobs.")


def check_statements(statements: Sequence[Kept]) -> None:
    """Raise ValueError unless sids are ids and each msg is one or ""."""
    for statement in statements:
        raw(statement.sid)
        check_name(statement.kind)
        check_integer(statement.at)
        if statement.msg:
            raw(statement.msg)


def check_page(page: PageRow) -> None:
    """Raise ValueError unless a page's ids, names, times and state are such."""
    raw(page.id)
    raw(page.msg)
    for name in (page.desk, page.handle, page.kind, page.priority, page.mode):
        check_name(name)
    times = (page.created, page.expires, page.not_before, page.lease_until)
    for number in (*times, page.stage, page.attempt):
        check_integer(number)
    check_result(page.state, page.result)


def check_result(state: str, result: str) -> None:
    """Raise ValueError unless a page can be in *state*, with *result* a word or nothing."""
    if state not in PAGE_STATES:
        raise ValueError(f"Not a state of a page: {state[:80]!r}.")
    if result:
        check_name(result)


def check_blob(blob: str, size: int, desk: str, now: int) -> None:
    """Raise ValueError unless a blob's id, size, desk and time are such."""
    raw(blob)
    check_name(desk)
    check_integer(size)
    check_integer(now)


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
