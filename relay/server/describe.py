"""What the relay says of itself to other people's programs: OpenAPI 3.1 of its calls, AsyncAPI 3 of its session.

Both are made of the tables that the relay itself works with: :mod:`relay.server.calls`, the kinds of statements, the
bodies of frames, the codes of errors, the limits. PROTOCOL.md is the text that counts; this is a map of it.
"""

import json
from collections.abc import Mapping
from typing import Any

from keys import directory as directories
from keys import statement
from keys.errors import RETRYABLE, Code
from relay import errors
from relay.core import limits
from relay.server.calls import CALLS, JSON_SHAPES, PARTS, HttpCall, Token
from relay.wire import blob, envelope, fields, frames, receipt
from relay.wire.frames import Type

Schema = Mapping[str, Any]
BYTES = "application/octet-stream"
JSON = "application/json"
_TOP = "#/components/schemas/"
_HEADERS: Mapping[str, Schema] = {
    "Upload-Offset": {
        "description": "Bytes of the attachment that are here.",
        "schema": {"type": "integer"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"schema": {"const": "Bearer"}},
    "ETag": {"schema": {"type": "string"}},
    "Accept-Ranges": {"schema": {"const": "bytes"}},
    "Content-Range": {"schema": {"type": "string"}},
}
_WITH_STATUS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def limits_said() -> dict[str, int]:
    """Return the limits of PROTOCOL 15 by name; bytes where nothing else is said."""
    return {
        "header": envelope.HEADER_BYTES_MAX,
        "stanzas": envelope.STANZAS_MAX,
        "envelope": envelope.ENVELOPE_BYTES_MAX,
        "life_seconds": envelope.EXPIRY_SECONDS_MAX,
        "statement": statement.STATEMENT_BYTES_MAX,
        "statement_of_origin": statement.ORIGIN_BYTES_MAX,
        "signatures": statement.SIGNATURES_MAX,
        "json_depth": statement.JSON_DEPTH_MAX,
        "frame": frames.FRAME_BYTES_MAX,
        "parts": frames.PARTS_MAX,
        "pickup": receipt.PICKUP_MAX,
        "receipts": limits.RECEIPTS_PER_CALL_MAX,
        "attachments": receipt.ATTACHMENTS_MAX,
        "attachment": receipt.ATTACHMENT_BYTES_MAX,
        "blob": blob.BLOB_BYTES_MAX,
        "pack": directories.PACK_BYTES_MAX,
        "error": errors.ERROR_BYTES_MAX,
    }


def components() -> dict[str, Schema]:
    """Return every shape by name: statements, payloads of each kind, the error, the header, frames' bodies."""
    found: dict[str, Schema] = {
        "Error": _error(),
        "Nothing": {"type": "object", "additionalProperties": False},
        "Version": fields.object_schema(frames.ANSWERS[Type.PUBLISH]),
        "Description": {"type": "object"},
        "Statement": _dsse(),
        "Header": _payload(envelope.HEADER_SHAPE),
    }
    for kind, shape in receipt.KINDS.items():
        more = {"x-signed-by": str(shape.role), "x-bytes-max": shape.limit}
        found[f"payload.{kind}"] = {
            **_payload({**shape.fields, "signer": fields.identifier}),
            **more,
        }
    return found


def _payload(shape: Mapping[str, fields.Check]) -> Schema:
    return fields.object_schema({**shape, "v": fields.integer(1, 1)})


def _error() -> Schema:
    return {
        "type": "object",
        "properties": {
            "at": {
                "type": "integer",
                "minimum": 0,
                "description": "The relay's time, seconds UTC.",
            },
            "code": {"type": "string", "enum": [code.value for code in Code]},
            "retry": {"type": "boolean", "description": "Whether the same may succeed later."},
            "text": {"type": "string", "maxLength": errors.TEXT_CHARACTERS_MAX},
        },
        "required": ["at", "code", "retry", "text"],
        "additionalProperties": False,
        "x-retryable": sorted(RETRYABLE),
    }


def _dsse() -> Schema:
    signature = {
        "type": "object",
        "properties": {"keyid": fields.schema(fields.identifier), "sig": {"type": "string"}},
        "required": ["keyid", "sig"],
        "additionalProperties": False,
    }
    kinds = "|".join(sorted(receipt.KINDS))
    return {
        "description": "A signed statement (PROTOCOL 6.2): DSSE, in its one encoding. The payload is base64url "
        "of one of the payloads here.",
        "type": "object",
        "properties": {
            "payload": {"type": "string", "contentEncoding": "base64url", "contentMediaType": JSON},
            "payloadType": {
                "type": "string",
                "pattern": rf"^application/vnd\.poc24\.({kinds}|prekey)\.v1\+json$",
            },
            "signatures": {"type": "array", "items": signature, "minItems": 1, "maxItems": 1},
        },
        "required": ["payload", "payloadType", "signatures"],
        "additionalProperties": False,
    }


# Over HTTP


def openapi(version: str) -> dict[str, Any]:
    """Return the description of every call over HTTP, OpenAPI 3.1; *version* is this program's."""
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": info("poc24 relay, calls", version),
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": components(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "From WELCOME or TOKEN of a session; for reads, and to be charged as a desk.",
                }
            },
        },
        "x-limits": limits_said(),
    }


def info(title: str, version: str) -> dict[str, Any]:
    """Return the head of a description."""
    return {
        "title": title,
        "version": version,
        "description": "A map of relay/wire/PROTOCOL.md, section 12; where they differ, that text counts.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    }


def _operation(call: HttpCall) -> dict[str, Any]:
    token: dict[str, list[str]] = {"token": []}
    found: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "security": [token] if call.token is Token.NEEDED else [{}, token],
        "responses": _responses(call),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _text(pattern)}
        for name, pattern in call.places.items()
    ]
    parameters += [
        {"name": name, "in": "header", "required": False, "schema": _text(pattern)}
        for name, pattern in call.headers.items()
    ]
    if parameters:
        found["parameters"] = parameters
    if call.body:
        found["requestBody"] = {"required": not call.empty, "content": content(call.body)}
        found["x-body-bytes-max"] = call.limit
    return found


def _text(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern} if pattern else {"type": "string"}


def content(shape: str) -> dict[str, Any]:
    """Return what a body is: JSON of a component, or bytes, with the parts that they are made of."""
    if shape in JSON_SHAPES:
        return {JSON: {"schema": {"$ref": _TOP + JSON_SHAPES[shape]}}}
    parts = PARTS.get(shape)
    more = {"x-join": list(parts)} if parts else {"x-bytes": shape}
    return {BYTES: {"schema": {"type": "string", "format": "binary"}, **more}}


def _responses(call: HttpCall) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, shape in call.answers.items():
        done = _response(call, status, content(shape) if shape else {}, "Done.")
        if call.leads_to and status != 202:
            same = {"parameters": {"id": "$request.path.id"}}
            done["links"] = {name: {"operationId": name, **same} for name in call.leads_to}
        found[str(status)] = done
    by_status: dict[int, list[str]] = {}
    for code in sorted(call.codes):
        by_status.setdefault(errors.HTTP_STATUS[code], []).append(code.value)
    for status, codes in sorted(by_status.items()):
        refused = {} if call.method == "HEAD" else content("error")
        found[str(status)] = {
            **_response(call, status, refused, f"Refused: {', '.join(codes)}."),
            "x-codes": codes,
        }
    return found


def _response(call: HttpCall, status: int, content: dict[str, Any], what: str) -> dict[str, Any]:
    names = [*call.given.get(status, ())]
    if status in _WITH_STATUS:
        names.append(_WITH_STATUS[status])
    found: dict[str, Any] = {"description": what}
    if names:
        found["headers"] = {name: _HEADERS[name] for name in names}
    if content:
        found["content"] = content
    return found


def encoded(description: Mapping[str, Any]) -> bytes:
    """Return a description as it is served."""
    return json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()
