"""Values of the contract as the scripts take them and as Redis gives them back. Pure."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from relay.store.base import (
    PAGE_STATES,
    BlobRow,
    Change,
    Committed,
    Conflict,
    Delivery,
    Full,
    Kept,
    Missing,
    PageRow,
    PrekeyRow,
    damaged,
    raw,
)

Argument = str | bytes | int
ID = 64
"""Hex digits of an id."""
KEPT = ("kind", "msg", "wire", "at")
_PAGE = (
    *("id", "desk", "handle", "stage", "kind", "priority", "mode", "created", "expires", "state"),
    *("not_before", "attempt", "lease_until", "result"),
)
_NUMBERS = frozenset(one.name for one in fields(PageRow) if one.type is int)


def change(one: Change) -> list[Argument]:
    """Return a change as lua/commit.lua takes it, without the mark of a repeat."""
    given: list[Argument] = [one.msg, one.expected, one.state]
    given += [1, one.envelope] if one.envelope is not None else [0]
    given += [one.drop_after, one.open, int(one.unpage), one.waiting_max]
    given += statements(one.statements)
    given.append(len(one.entries))
    for entry in one.entries:
        given += [entry.desk, entry.kind, entry.ref]
    given.append(len(one.arm))
    for timer in one.arm:
        given += [timer.kind, timer.subject, timer.generation, timer.due]
    given += [len(one.disarm), *one.disarm, len(one.waiting)]
    for desk, step in one.waiting:
        given += [desk, step]
    given.append(len(one.pages))
    for page in one.pages:
        given += [getattr(page, name) for name in _PAGE]
    return [*given, len(one.blobs), *one.blobs]


def statements(kept: Sequence[Kept]) -> list[Argument]:
    """Return statements with their number before them."""
    given: list[Argument] = [len(kept)]
    for one in kept:
        given += [one.sid, one.kind, one.msg, one.wire, one.at]
    return given


def committed(answer: Sequence[Any], entries: int) -> Committed | Conflict | Full | Missing:
    """Return what lua/commit.lua answered; ValueError for a change that refers to what is not there."""
    word = answer[0]
    if word == b"unfounded":
        raise ValueError("An entry refers to a statement that is not kept.")
    if word == b"missing":
        return Missing(answer[1].decode())
    if word == b"full":
        return Full(answer[1].decode())
    version = int(answer[1])
    if word == b"conflict":
        return Conflict(version)
    seqs = tuple(int(one) for one in answer[2:])
    return Committed(version, seqs or (0,) * entries)


def kept(sid: str, row: Sequence[Any]) -> Kept | None:
    """Return a statement from (kind, msg, wire, at)."""
    kind, msg, wire, at = row
    return None if kind is None else Kept(sid, kind.decode(), msg.decode(), wire, int(at))


def delivery(seq: int, entry: bytes) -> Delivery:
    """Return a mailbox entry: a letter for its kind, what it points to, its message."""
    text = entry.decode()
    kind = "message" if text[0] == "m" else "statement"
    return Delivery(seq, kind, text[1 : 1 + ID], text[1 + ID :])


def page(id_: str, row: Mapping[bytes, bytes]) -> PageRow:
    """Return a page from its hash."""
    texts = {name.decode(): value.decode() for name, value in row.items()}
    values: dict[str, Any] = {"id": id_}
    for one in fields(PageRow):
        if one.name != "id":
            values[one.name] = int(texts[one.name]) if one.name in _NUMBERS else texts[one.name]
    return PageRow(**values)


def flat(row: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return a hash that was answered as names and values in turn."""
    return dict(zip(row[::2], row[1::2], strict=True))


def prekey(row: PrekeyRow) -> str:
    """Return a prekey as it is kept."""
    values = {one.name: getattr(row, one.name) for one in fields(PrekeyRow)}
    for name in ("hint", "wire"):
        values[name] = base64.b64encode(values[name]).decode()
    return json.dumps(values)


def prekey_of(text: bytes) -> PrekeyRow:
    """Read what :func:`prekey` wrote."""
    values = json.loads(text)
    for name in ("hint", "wire"):
        values[name] = base64.b64decode(values[name])
    raw(values["sid"])
    return PrekeyRow(**values)


def whole(msg: str, envelope: bytes | None) -> bytes | None:
    """Return an envelope; Failed if it is not the one that was accepted."""
    if envelope is not None and hashlib.sha256(envelope).hexdigest() != msg:
        raise damaged(msg)
    return envelope


def blob(id_: str, row: Sequence[Any]) -> BlobRow | None:
    """Return what lua/stored.lua says of a blob."""
    if not row:
        return None
    size, since, desks, messages = row
    who = tuple(sorted(one.decode() for one in desks))
    return BlobRow(id_, int(size), int(since), who, tuple(one.decode() for one in messages))


COUNTED = (
    "messages",
    "envelopes",
    "statements",
    "entries",
    "waiting",
    "open",
    "blobs",
    "blob_bytes",
)


def counts(kept_: Mapping[bytes, bytes], log: int) -> dict[str, int]:
    """Return the numbers for metrics from those that the scripts keep."""
    numbers = {name.decode(): int(value) for name, value in kept_.items()}
    kinds = {name: value for name, value in numbers.items() if name.startswith("timers_") and value}
    return {
        **{name: numbers.get(name, 0) for name in COUNTED},
        "log": log,
        "timers": sum(kinds.values()),
        **kinds,
        **{f"pages_{state}": numbers.get(f"pages_{state}", 0) for state in PAGE_STATES},
    }
