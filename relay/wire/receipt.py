"""Every statement that a message's life needs: who signs it, and exactly which fields it has
(PROTOCOL 10).

One table, :data:`KINDS`. What is read from the wire and what is signed here pass the same check, so
that this side never signs what the other side would refuse. The statements of the directory (enrol,
prekey, rotation, recovery) are read by ``keys.directory``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from keys import statement
from keys.errors import Code, Refused
from keys.identity import Role, Signer
from keys.statement import ORIGIN_BYTES_MAX, STATEMENT_BYTES_MAX, Peeked, Statement
from relay.wire import fields
from relay.wire.envelope import ENVELOPE_BYTES_MAX, MODES, PRIORITIES
from relay.wire.fields import Check

ATTACHMENTS_MAX = 16
ATTACHMENT_BYTES_MAX = 256 * 1024 * 1024
PICKUP_MAX = 64
"""Messages that one pickup may name."""
RECORD_MAX = 64
"""Receipts that one ``recorded`` may name."""
STAGES_MAX = 32
PAGE_COUNT_MAX = 99
PAGE_MINUTES_MAX = 999
"""What a page's text has room for: it says this number also where there are more."""

ORIGIN_KINDS = ("request", "answer", "refusal", "info")
STAGE_KINDS = ("path", "backstop", "backup")
CAUSES = ("timeout", "unreachable", "empty", "declined", "manual")

FAILURES: Mapping[Code, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (Code.E_NOT_FOR_ME, Code.E_DECRYPT, Code.E_COMMIT, Code.E_PADDING), "E_DECRYPT"
        ),
        **dict.fromkeys(
            (
                Code.E_WRONG_DESK,
                Code.E_TYPE,
                Code.E_SIGNER,
                Code.E_KEY,
                Code.E_SIGNATURE,
                Code.E_BINDING,
                Code.E_SUBMISSION,
                Code.E_DOCUMENT,
            ),
            "E_BINDING",
        ),
        **dict.fromkeys((Code.E_EXPIRED, Code.E_CLOCK), "E_EXPIRED"),
    }
)
"""What ``failed`` may say of an error: its class only, so that nobody probes a desk step by step
(PROTOCOL 16).
"""


def failure(code: Code) -> str:
    """Return the class under which a device reports *code* in ``failed``: a word of four."""
    return FAILURES.get(code, "E_ENCODING")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of statement looks like. *limit* is the largest size on the wire in bytes."""

    role: Role
    fields: Mapping[str, Check]
    limit: int = STATEMENT_BYTES_MAX


_ID, _DESK, _TIME = fields.identifier, fields.desk, fields.time
_RELAY, _INSTANCE = fields.service, fields.origin
_ID_OR_NONE = fields.or_empty(_ID)

_ATTACHMENT = fields.object_of(
    {
        "name": fields.file_name,
        "media_type": fields.media_type,
        "size": fields.integer(0, ATTACHMENT_BYTES_MAX),
        "sha256": _ID,
        "blob": _ID,
    }
)
_STAGE = fields.object_of(
    {
        "stage": fields.integer(0, STAGES_MAX),
        "at": _TIME,
        "pages": fields.integer(0, 10_000),
        "outcomes": fields.list_of(fields.word, 0, 64),
    }
)

KINDS: Mapping[str, Shape] = MappingProxyType(
    {
        "statement": Shape(
            Role.OFFICER,
            {
                "kind": fields.one_of(ORIGIN_KINDS),
                "from": _DESK,
                "to": _DESK,
                "header_sha256": _ID,
                "body_type": fields.media_type,
                "body_sha256": _ID,
                "attachments": fields.list_of(_ATTACHMENT, 0, ATTACHMENTS_MAX),
                "thread": _ID_OR_NONE,
                "nonce": fields.nonce16,
                "created": _TIME,
            },
            limit=ORIGIN_BYTES_MAX,
        ),
        "submission": Shape(
            Role.DEVICE,
            {
                "msg": _ID,
                "size": fields.integer(1, ENVELOPE_BYTES_MAX),
                "from": _DESK,
                "to": _DESK,
                "relay": _RELAY,
                "header_sha256": _ID,
                "blobs": fields.list_of(_ID, 0, ATTACHMENTS_MAX, distinct=True),
                "replaces": _ID_OR_NONE,
                "created": _TIME,
            },
        ),
        "accepted": Shape(
            Role.RELAY,
            {
                "msg": _ID,
                "submission": _ID,
                "relay": _RELAY,
                "instance": _INSTANCE,
                "received": _TIME,
                "expires": _TIME,
                "entry": _ID,
            },
        ),
        "recorded": Shape(
            Role.RELAY,
            {
                "sids": fields.list_of(_ID, 1, RECORD_MAX, distinct=True),
                "relay": _RELAY,
                "instance": _INSTANCE,
                "at": _TIME,
            },
        ),
        "offered": Shape(Role.RELAY, {"msg": _ID, "device": _ID, "at": _TIME, "relay": _RELAY}),
        "escalated": Shape(
            Role.RELAY,
            {
                "msg": _ID,
                "relay": _RELAY,
                "stage": fields.integer(0, STAGES_MAX),
                "kind": fields.one_of(STAGE_KINDS),
                "cause": fields.one_of(CAUSES),
                "at": _TIME,
                "next_at": _TIME,
            },
        ),
        "paged": Shape(
            Role.RELAY,
            {
                "msg": _ID,
                "relay": _RELAY,
                "stage": fields.integer(0, STAGES_MAX),
                "pages": fields.integer(1, 10_000),
                "outcomes": fields.list_of(fields.word, 0, 64),
                "at": _TIME,
            },
        ),
        "exhausted": Shape(
            Role.RELAY,
            {
                "msg": _ID,
                "relay": _RELAY,
                "stages": fields.list_of(_STAGE, 0, STAGES_MAX),
                "outcome": fields.one_of(("silence", "unopenable")),
                "at": _TIME,
            },
        ),
        "pickup": Shape(
            Role.DEVICE,
            {
                "msgs": fields.list_of(_ID, 1, PICKUP_MAX, distinct=True),
                "desk": _DESK,
                "relay": _RELAY,
                "at": _TIME,
            },
        ),
        "delivered": Shape(Role.DEVICE, {"msg": _ID, "statement": _ID, "desk": _DESK, "at": _TIME}),
        "failed": Shape(
            Role.DEVICE,
            {
                "msg": _ID,
                "desk": _DESK,
                "code": fields.one_of({*FAILURES.values(), "E_ENCODING"}),
                "at": _TIME,
            },
        ),
        "acknowledged": Shape(
            Role.OFFICER, {"msg": _ID, "statement": _ID, "desk": _DESK, "at": _TIME}
        ),
        "declined": Shape(Role.OFFICER, {"msg": _ID, "statement": _ID, "desk": _DESK, "at": _TIME}),
        "withdrawn": Shape(Role.OFFICER, {"msg": _ID, "statement": _ID, "at": _TIME}),
        "closed": Shape(
            Role.OFFICER,
            {"msg": _ID, "statement": _ID, "outcome": _ID_OR_NONE, "desk": _DESK, "at": _TIME},
        ),
        "progress": Shape(
            Role.DEVICE,
            {
                "msg": _ID,
                "desk": _DESK,
                "tier": fields.integer(0, STAGES_MAX),
                "next_at": _TIME,
                "at": _TIME,
            },
        ),
        "expired": Shape(Role.RELAY, {"msg": _ID, "relay": _RELAY, "at": _TIME}),
        "page": Shape(
            Role.RELAY,
            {
                "relay": _RELAY,
                "desk": _DESK,
                "code": fields.page_code,
                "priority": fields.one_of(PRIORITIES),
                "mode": fields.one_of(MODES),
                "count": fields.integer(1, PAGE_COUNT_MAX),
                "oldest": fields.integer(0, PAGE_MINUTES_MAX),
                "repeat": fields.integer(0, 1),
                "language": fields.language,
                "text": fields.line,
                "pad": fields.dots,
                "at": _TIME,
            },
        ),
        "connect": Shape(
            Role.DEVICE, {"nonce": _ID, "relay": _INSTANCE, "desk": _DESK, "at": _TIME}
        ),
    }
)

RECEIPTS = frozenset(
    {"delivered", "failed", "acknowledged", "declined", "closed", "withdrawn", "progress"}
)
"""What desks post to the relay about a message (PROTOCOL 12)."""
BY_RELAY = frozenset(kind for kind, shape in KINDS.items() if shape.role is Role.RELAY)
"""What the relay signs with its evidence key."""


def read(wire: bytes, kinds: Collection[str], public: bytes) -> Statement:
    """Verify a statement of one of *kinds* by one expected key, then its closed fields.

    Raises what ``keys.statement.verify`` raises, in the order of PROTOCOL 6.2, and E_ENCODING for
    other fields.
    """
    limit = max(KINDS[kind].limit for kind in kinds)
    return finish(statement.peek(wire, limit=limit), wire, kinds, public)


def finish(peeked: Peeked, wire: bytes, kinds: Collection[str], public: bytes) -> Statement:
    """Finish :func:`read` for a statement that was peeked at to choose *public*: saves a parse."""
    found = statement.verified(peeked, wire, kinds, public)
    shape = KINDS[found.kind]
    if len(wire) > shape.limit:
        raise Refused(
            Code.E_TOO_LARGE, f"A statement of kind {found.kind} is at most {shape.limit} bytes."
        )
    fields.closed(found.fields, shape.fields, f"The statement of kind {found.kind}")
    return found


def make(kind: str, values: Mapping[str, Any], signer: Signer) -> Statement:
    """Sign a statement of *kind*; E_ENCODING for other fields, E_SIGNER for a key of another role
    (PROTOCOL 7).
    """
    if signer.role is not KINDS[kind].role:
        raise Refused(
            Code.E_SIGNER,
            f"A {signer.role} key cannot sign {kind!r}: that takes a {KINDS[kind].role} key.",
        )
    return make_unchecked_role(kind, values, signer)


def make_unchecked_role(kind: str, values: Mapping[str, Any], signer: Signer) -> Statement:
    """Sign like :func:`make` with a key of any role: for a test message, which a server's device
    originates.
    """
    fields.closed(values, KINDS[kind].fields, f"The statement of kind {kind}")
    made = statement.make(kind, values, signer)
    if len(made.wire) > KINDS[kind].limit:
        raise Refused(
            Code.E_TOO_LARGE, f"A statement of kind {kind} is at most {KINDS[kind].limit} bytes."
        )
    return made
