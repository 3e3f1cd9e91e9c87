"""Frames: what goes over a session's WebSocket, and how bodies are joined (PROTOCOL 12).

::

    frame = u8 type || u32 request || body      request 0 for pushes; answers carry their call's
    join  = u32 length || part || ...           the same bodies travel over HTTP
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from keys import statement
from keys.errors import Code, Refused
from relay.wire import fields
from relay.wire.envelope import ENVELOPE_BYTES_MAX, MODES, PRIORITIES
from relay.wire.fields import Check

FRAME_BYTES_MAX = ENVELOPE_BYTES_MAX + 128 * 1024
PARTS_MAX = 256
"""Parts of one body: a pickup's answer has three for each of 64 messages."""
FRAME_HEAD_BYTES = 5


class Type(IntEnum):
    """What a frame is: handshake (1 to 15), calls (16 to 31), answers (32 to 47), pushes (48 and
    up).
    """

    CHALLENGE = 1
    CONNECT = 2
    WELCOME = 3
    SUBMIT = 16
    PICKUP = 17
    RECORD = 18
    PREKEYS = 19
    RESUME = 20
    SEEN = 21
    TOKEN = 22
    GET_PREKEYS = 23
    GET_FILE = 24
    PUBLISH = 25
    ANSWER = 32
    ERROR = 33
    NOTIFY = 48
    STATEMENT = 49
    DIRECTORY = 50
    DRAINING = 51


_TYPES: Mapping[int, Type] = MappingProxyType({int(one): one for one in Type})


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a session. *request* is a u32 that the caller chooses; 0 for what is not asked
    for.
    """

    type: Type
    request: int
    body: bytes = field(repr=False)


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes; E_TOO_LARGE above 4 MiB + 128 KiB."""
    size = FRAME_HEAD_BYTES + len(frame.body)
    if size > FRAME_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"The frame has {size} bytes; the limit is {FRAME_BYTES_MAX}."
        )
    return bytes((frame.type,)) + frame.request.to_bytes(4, "big") + frame.body


def decode(data: bytes) -> Frame:
    """Read one frame; E_TOO_LARGE, or E_ENCODING for a cut frame or an unknown type."""
    if len(data) > FRAME_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"The frame has {len(data)} bytes; the limit is {FRAME_BYTES_MAX}."
        )
    if len(data) < FRAME_HEAD_BYTES:
        raise Refused(Code.E_ENCODING, "The frame ends before its body: it was cut.")
    kind = _TYPES.get(data[0])
    if kind is None:
        raise Refused(
            Code.E_ENCODING,
            f"A frame of type {data[0]} is not known here.",
            hint="One side is of a newer version; update the other.",
        )
    return Frame(kind, int.from_bytes(data[1:5], "big"), data[FRAME_HEAD_BYTES:])


def join(*parts: bytes) -> bytes:
    """Return *parts*, each with its length (u32) before it."""
    pieces: list[bytes] = []
    for part in parts:
        pieces.append(len(part).to_bytes(4, "big"))
        pieces.append(part)
    return b"".join(pieces)


def split(data: bytes, count: int | None = None) -> list[bytes]:
    """Cut a body into its parts; E_ENCODING unless they fill it exactly and are *count*, at most
    256 in any case.
    """
    parts: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        if len(parts) == PARTS_MAX:
            raise Refused(Code.E_TOO_LARGE, f"The body has more than {PARTS_MAX} parts.")
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        if start > end or at > end:
            raise Refused(
                Code.E_ENCODING, "A part of the body is longer than the body: it was cut."
            )
        parts.append(data[start:at])
    if count is not None and len(parts) != count:
        raise Refused(Code.E_ENCODING, f"The body has {len(parts)} parts where {count} belong.")
    return parts


BODIES: Mapping[Type, Mapping[str, Check]] = MappingProxyType(
    {
        Type.CHALLENGE: {
            "nonce": fields.identifier,
            "relay": fields.origin,
            "at": fields.time,
            "v": fields.integer(1, 1),
        },
        Type.WELCOME: {
            "relay": fields.service,
            "instance": fields.origin,
            "epoch": fields.count,
            "head": fields.count,
            "token": fields.identifier,
            "until": fields.time,
            "directory": fields.count,
            "at": fields.time,
        },
        Type.RESUME: {"epoch": fields.count, "seq": fields.count},
        Type.SEEN: {"epoch": fields.count, "seq": fields.count},
        Type.NOTIFY: {
            "epoch": fields.count,
            "seq": fields.count,
            "msg": fields.identifier,
            "to": fields.desk,
            "from": fields.desk,
            "priority": fields.one_of(PRIORITIES),
            "mode": fields.one_of(MODES),
        },
        Type.STATEMENT: {
            "epoch": fields.count,
            "seq": fields.count,
            "msg": fields.or_empty(fields.identifier),
        },
        Type.DIRECTORY: {"version": fields.count},
        Type.DRAINING: {"after": fields.count},
    }
)
"""The bodies that are strict JSON; of STATEMENT it is the first of two parts."""

ANSWERS: Mapping[Type, Mapping[str, Check]] = MappingProxyType(
    {
        Type.PREKEYS: {},
        Type.RESUME: {"epoch": fields.count, "seq": fields.count, "head": fields.count},
        Type.TOKEN: {"token": fields.identifier, "until": fields.time},
        Type.PUBLISH: {"version": fields.count},
    }
)
"""The answers that are strict JSON, by the call that they answer."""


def pack(kind: Type, values: Mapping[str, Any]) -> bytes:
    """Return a body of :data:`BODIES`; E_ENCODING for other fields."""
    fields.closed(values, BODIES[kind], f"The frame {kind.name}")
    return statement.encode(values)


def unpack(kind: Type, body: bytes) -> dict[str, Any]:
    """Read a body of :data:`BODIES`; E_ENCODING unless strict JSON with exactly its fields."""
    return _read(BODIES[kind], f"The frame {kind.name}", body)


def notify(epoch: int, seq: int, msg: str, origin: tuple[str, str, str, str]) -> bytes:
    """Return the body of a NOTIFY as :func:`pack` does, of values that were checked when the message was read.

    *origin*: to, from, priority, mode.
    """
    to, sender, priority, mode = origin
    return (
        f'{{"epoch":{epoch},"from":"{sender}","mode":"{mode}","msg":"{msg}",'
        f'"priority":"{priority}","seq":{seq},"to":"{to}"}}'
    ).encode()


def told(epoch: int, seq: int, msg: str) -> bytes:
    """Return the first part of a STATEMENT as :func:`pack` does, of values that were checked before."""
    return f'{{"epoch":{epoch},"msg":"{msg}","seq":{seq}}}'.encode()


_SEEN = re.compile(rb'\{"epoch":(0|[1-9][0-9]{0,14}),"seq":(0|[1-9][0-9]{0,14})\}')


def seen(body: bytes) -> tuple[int, int]:
    """Return epoch and seq of a SEEN, the frame that comes most often; otherwise as :func:`unpack`."""
    if found := _SEEN.fullmatch(body):
        return int(found[1]), int(found[2])
    read = unpack(Type.SEEN, body)
    return read["epoch"], read["seq"]


def answer(kind: Type, values: Mapping[str, Any]) -> bytes:
    """Return an answer of :data:`ANSWERS`; E_ENCODING for other fields."""
    fields.closed(values, ANSWERS[kind], f"The answer to {kind.name}")
    return statement.encode(values)


def answered(kind: Type, body: bytes) -> dict[str, Any]:
    """Read an answer of :data:`ANSWERS`; E_ENCODING unless strict JSON with exactly its fields."""
    return _read(ANSWERS[kind], f"The answer to {kind.name}", body)


def _read(shape: Mapping[str, Check], what: str, body: bytes) -> dict[str, Any]:
    if len(body) > statement.STATEMENT_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"{what} is too long.")
    found = statement.decode(body)
    fields.closed(found, shape, what)
    return found
