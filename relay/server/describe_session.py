"""The session described for other people's programs: AsyncAPI 3 of the frames of PROTOCOL 12.

AsyncAPI speaks from the side of the application that it describes: what devices send, the relay *receives*.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from relay.server.describe import BYTES, JSON, Schema, components, info, limits_said
from relay.wire import fields, frames
from relay.wire.frames import Type

_COMPONENT = "#/components/schemas/"
_MESSAGE = "#/channels/session/messages/"

WHAT: Mapping[Type, str] = MappingProxyType(
    {
        Type.CHALLENGE: "The relay begins: a nonce that serves once, for 60 s.",
        Type.CONNECT: "The device proves itself: a statement `connect` that repeats nonce and relay.",
        Type.WELCOME: "Where the mailbox stands, and a token for reads over HTTP.",
        Type.SUBMIT: "Hand a sealed message in.",
        Type.PICKUP: "Fetch 1 to 64 messages.",
        Type.RECORD: "Hand 1 to 64 receipts in.",
        Type.PREKEYS: "Publish prekeys of this device.",
        Type.RESUME: "Begin the pushes after a place in the mailbox.",
        Type.SEEN: "Everything up to a place is kept; opens the window of pushes. Has no answer.",
        Type.TOKEN: "Ask for a new token. Empty.",
        Type.GET_PREKEYS: "Read the prekeys of a desk, whose id is the body.",
        Type.GET_FILE: "Read a file of the directory, whose name is the body.",
        Type.PUBLISH: "Hand a newer directory in.",
        Type.ANSWER: "What a call gave; it carries the call's number.",
        Type.ERROR: "What a call was refused with; it carries the call's number.",
        Type.NOTIFY: "A message waits.",
        Type.STATEMENT: "A statement about a message of this desk.",
        Type.DIRECTORY: "A newer directory is in force.",
        Type.DRAINING: "The relay stops; come back after so many seconds.",
    }
)
PARTS: Mapping[Type, tuple[str, ...]] = MappingProxyType(
    {
        Type.SUBMIT: ("submission", "envelope"),
        Type.RECORD: ("receipt", "..."),
        Type.PREKEYS: ("prekey", "..."),
        Type.STATEMENT: ("place", "statement"),
    }
)
"""Bodies that are parts, each with its length (u32) before it (PROTOCOL 12.2)."""
ANSWER_PARTS: Mapping[Type, tuple[str, ...]] = MappingProxyType(
    {
        Type.PICKUP: ("submission", "accepted", "envelope", "..."),
        Type.GET_PREKEYS: ("prekey", "..."),
    }
)
ANSWER_STATEMENTS: Mapping[Type, str] = MappingProxyType(
    {Type.SUBMIT: "accepted", Type.RECORD: "recorded"}
)
STATEMENTS: Mapping[Type, str] = MappingProxyType({Type.CONNECT: "connect", Type.PICKUP: "pickup"})
"""Bodies that are one signed statement, and its kind."""
SILENT = frozenset({Type.SEEN})
"""Calls that have no answer."""


def is_call(kind: Type) -> bool:
    """Whether a device sends this frame to have something done."""
    return 16 <= kind < 32


def sent_by_device(kind: Type) -> bool:
    """Whether it is the device that sends this frame."""
    return kind is Type.CONNECT or is_call(kind)


def asyncapi(version: str) -> dict[str, Any]:
    """Return the description of the session, AsyncAPI 3.0; *version* is this program's."""
    return {
        "asyncapi": "3.0.0",
        "info": info("poc24 relay, session", version),
        "defaultContentType": BYTES,
        "channels": {
            "session": {
                "address": "/v1/session",
                "description": "One binary WebSocket message is one frame: u8 type, u32 request, body.",
                "messages": {kind.name: _message(kind) for kind in Type},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {kind.name.lower(): _operation(kind) for kind in Type if _stands_alone(kind)},
        "components": {"schemas": components()},
        "x-limits": limits_said(),
    }


def _stands_alone(kind: Type) -> bool:
    return kind not in {Type.ANSWER, Type.ERROR}


def _operation(kind: Type) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": "receive" if sent_by_device(kind) else "send",
        "channel": {"$ref": "#/channels/session"},
        "summary": WHAT[kind],
        "messages": [{"$ref": _MESSAGE + kind.name}],
    }
    if is_call(kind) and kind not in SILENT:
        found["reply"] = {
            "channel": {"$ref": "#/channels/session"},
            "messages": [{"$ref": _MESSAGE + one.name} for one in (Type.ANSWER, Type.ERROR)],
        }
        found["x-answer"] = _answer(kind)
    return found


def _answer(kind: Type) -> Schema:
    if kind in frames.ANSWERS:
        return fields.object_schema(frames.ANSWERS[kind])
    if kind in ANSWER_STATEMENTS:
        return {"$ref": _COMPONENT + "Statement", "x-kind": ANSWER_STATEMENTS[kind]}
    parts = ANSWER_PARTS.get(kind)
    return {"type": "string", "format": "binary", **({"x-join": list(parts)} if parts else {})}


def _message(kind: Type) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": kind.name,
        "title": WHAT[kind],
        "contentType": BYTES,
        "x-type": int(kind),
        "payload": {"type": "string", "format": "binary"},
    }
    if kind in PARTS:
        found["x-join"] = list(PARTS[kind])
    if kind in STATEMENTS:
        found["contentType"] = JSON
        found["payload"] = {"$ref": _COMPONENT + "Statement"}
        found["x-kind"] = STATEMENTS[kind]
    elif kind is Type.ERROR:
        found["contentType"] = JSON
        found["payload"] = {"$ref": _COMPONENT + "Error"}
    elif kind in frames.BODIES:
        body = fields.object_schema(frames.BODIES[kind])
        if kind in PARTS:
            found["x-place"] = body
        else:
            found["contentType"] = JSON
            found["payload"] = body
    return found
