"""The calls of the relay over HTTP, each in one row: address, limits, who may, what it takes and gives (PROTOCOL 12).

The door makes its routes of this table, and :mod:`relay.server.describe` says it to other people's programs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from keys import directory as directories
from keys import statement
from keys.errors import Code
from relay.core import limits
from relay.wire import blob
from relay.wire.envelope import ENVELOPE_BYTES_MAX

SMALL_BODY_BYTES_MAX = statement.STATEMENT_BYTES_MAX + 4
SUBMIT_BODY_BYTES_MAX = ENVELOPE_BYTES_MAX + statement.STATEMENT_BYTES_MAX + 4
RECEIPTS_BODY_BYTES_MAX = limits.RECEIPTS_PER_CALL_MAX * SMALL_BODY_BYTES_MAX
PREKEYS_BODY_BYTES_MAX = 1024 * 1024


class Token(StrEnum):
    """What a call does with the bearer token of a session."""

    NEEDED = "needed"
    WELCOME = "welcome"
    """The statement proves itself; with a token the desk is charged and not the address."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One call. *path* has names in braces; what fills them is in *places*, as JSON Schema."""

    name: str
    method: str
    path: str
    summary: str
    answers: Mapping[int, str]
    """Status -> what the body is: the name of a shape in ``describe``, or "" for none."""
    codes: frozenset[Code]
    """What it may be refused with."""
    token: Token = Token.WELCOME
    body: str = ""
    """What the body is: the name of a shape, or "" for none."""
    limit: int = 0
    """Bytes of body at most."""
    empty: bool = False
    """Whether a body of nothing is one too: no prekeys, no newer files."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Name in the path -> pattern."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that the call understands -> pattern, or "" where any is answered."""
    given: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Status -> headers that come with the answer."""
    leads_to: tuple[str, ...] = ()
    """Calls about the same id that can follow."""

    @property
    def route(self) -> str:
        """The path as aiohttp wants it: a file's name has slashes."""
        return self.path.replace("{name}", "{name:.+}")


_ID = "^[0-9a-f]{64}$"
_DESK = "^[A-Z]{2}(-[A-Z0-9]{1,4})?$"
_ALWAYS = frozenset({Code.E_ENCODING, Code.E_TOO_LARGE, Code.E_RATE, Code.E_BUSY, Code.E_AUTH})
_STATEMENT = _ALWAYS | {
    *(Code.E_VERSION, Code.E_TYPE, Code.E_SIGNER, Code.E_KEY, Code.E_SIGNATURE, Code.E_CLOCK),
    *(Code.E_WRONG_DESK, Code.E_BINDING),
}
_BLOB = {"id": _ID}

CALLS: tuple[HttpCall, ...] = (
    HttpCall(
        "submit",
        "POST",
        "/v1/messages",
        "Hand a sealed message in. Idempotent: the same bytes get the same answer.",
        {200: "accepted"},
        _STATEMENT | {Code.E_EXPIRED, Code.E_STALE_ROSTER, Code.E_RECIPIENTS, Code.E_BLOB_MISSING},
        body="submission_envelope",
        limit=SUBMIT_BODY_BYTES_MAX,
    ),
    HttpCall(
        "pickup",
        "POST",
        "/v1/messages/{id}/pickup",
        "Fetch one message; the request is the proof of it.",
        {200: "picked_up"},
        _STATEMENT | {Code.E_UNKNOWN},
        body="pickup",
        limit=SMALL_BODY_BYTES_MAX,
        places={"id": _ID},
    ),
    HttpCall(
        "record",
        "POST",
        "/v1/receipts",
        "Hand receipts in, 1 to 64. Idempotent by statement id.",
        {200: "recorded"},
        _STATEMENT | {Code.E_UNKNOWN},
        body="receipts",
        limit=RECEIPTS_BODY_BYTES_MAX,
    ),
    HttpCall(
        "publish_prekeys",
        "PUT",
        "/v1/prekeys",
        "Publish the prekeys of a device.",
        {200: "nothing"},
        _STATEMENT | {Code.E_EXPIRED},
        body="prekeys",
        limit=PREKEYS_BODY_BYTES_MAX,
        empty=True,
    ),
    HttpCall(
        "prekeys",
        "GET",
        "/v1/prekeys/{desk}",
        "Read the prekeys of a desk's active devices.",
        {200: "prekeys"},
        _ALWAYS | {Code.E_WRONG_DESK},
        token=Token.NEEDED,
        places={"desk": _DESK},
    ),
    HttpCall(
        "publish",
        "PUT",
        "/v1/directory",
        "Hand a newer directory in; the authority is in its signatures.",
        {200: "version"},
        _ALWAYS | {Code.E_VERSION, Code.E_KEY, Code.E_DIRECTORY, Code.E_DIRECTORY_STALE},
        body="pack",
        limit=directories.PACK_BYTES_MAX,
        empty=True,
    ),
    HttpCall(
        "file",
        "GET",
        "/v1/directory/{name}",
        "Read a file of the directory in force; timestamp.json names the others.",
        {200: "bytes"},
        _ALWAYS | {Code.E_UNKNOWN},
        token=Token.NEEDED,
        places={"name": "^[!-~]{1,256}$"},
    ),
    HttpCall(
        "session",
        "GET",
        "/v1/session",
        "Open a WebSocket session; /asyncapi.json describes what is said there.",
        {101: ""},
        _ALWAYS,
    ),
    HttpCall(
        "put_blob",
        "PUT",
        "/v1/blobs/{id}",
        "Hand an attachment in, whole or piece by piece; kept once the hash of all is its id.",
        {200: "nothing", 201: "nothing", 202: "nothing"},
        _ALWAYS | {Code.E_VERSION, Code.E_BINDING, Code.E_BLOB_MISSING, Code.E_UNKNOWN},
        token=Token.NEEDED,
        body="bytes",
        limit=blob.BLOB_BYTES_MAX,
        places=_BLOB,
        headers={"Content-Range": "^bytes [0-9]{1,15}-[0-9]{1,15}/[0-9]{1,15}$"},
        given={202: ("Upload-Offset",), 409: ("Upload-Offset",)},
        leads_to=("get_blob", "head_blob"),
    ),
    HttpCall(
        "get_blob",
        "GET",
        "/v1/blobs/{id}",
        "Read an attachment, or its end from a byte on.",
        {200: "bytes", 206: "bytes", 416: "error"},
        _ALWAYS | {Code.E_UNKNOWN, Code.E_BLOB_MISSING},
        token=Token.NEEDED,
        places=_BLOB,
        headers={"Range": ""},
        given={
            200: ("ETag", "Accept-Ranges"),
            206: ("ETag", "Accept-Ranges", "Content-Range"),
            416: ("Content-Range",),
        },
    ),
    HttpCall(
        "head_blob",
        "HEAD",
        "/v1/blobs/{id}",
        "Ask whether an attachment is whole, or how much of it is here.",
        {200: "", 204: ""},
        _ALWAYS | {Code.E_UNKNOWN, Code.E_BLOB_MISSING},
        token=Token.NEEDED,
        places=_BLOB,
        given={200: ("ETag", "Accept-Ranges"), 204: ("Upload-Offset",)},
    ),
    HttpCall(
        "describe_calls",
        "GET",
        "/openapi.json",
        "Read this description.",
        {200: "description"},
        _ALWAYS,
    ),
    HttpCall(
        "describe_session",
        "GET",
        "/asyncapi.json",
        "Read the description of the session.",
        {200: "description"},
        _ALWAYS,
    ),
)
"""Every call, in the order in which the door answers them."""

JSON_SHAPES: Mapping[str, str] = MappingProxyType(
    {"nothing": "Nothing", "version": "Version", "error": "Error", "description": "Description"}
)
"""Shapes that are JSON -> the component that says how; every other body is bytes."""
PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "submission_envelope": ("submission", "envelope"),
        "picked_up": ("submission", "accepted", "envelope"),
        "receipts": ("receipt", "..."),
        "prekeys": ("prekey", "..."),
    }
)
"""Shapes that are parts, each with its length (u32) before it (PROTOCOL 12.2)."""
