"""Closed objects: which fields a value has, and what each may hold (PROTOCOL 6.1).

A check takes a value of strict JSON and says whether it may stand there. An object has exactly the
fields of its shape.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from keys.errors import Code, Refused

Check = Callable[[Any], bool]
_SCHEMAS: dict[Check, Mapping[str, Any]] = {}

_ID = re.compile(r"[0-9a-f]{64}\Z")
_NONCE = re.compile(r"[0-9a-f]{32}\Z")
_DESK = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,4})?\Z")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_ORIGIN = re.compile(r"[!-*,-~]{1,200}\Z")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_MEDIA = re.compile(r"[!-~]{1,128}\Z")
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,255}\Z")
_LANGUAGE = re.compile(r"[a-z]{2,3}\Z")
_PAGE_CODE = re.compile(r"[2-9A-HJ-NP-Z]{6}\Z")
_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,400}\Z")
_DOTS = re.compile(r"\.{0,400}\Z")


def _matches(pattern: re.Pattern[str]) -> Check:
    match = pattern.match

    def check(value: Any) -> bool:
        return isinstance(value, str) and match(value) is not None

    # JSON Schema means ECMA-262, where $ is the very end, as \Z is here; and searches where this matches.
    said = pattern.pattern.removesuffix(r"\Z")
    return _described(check, {"type": "string", "pattern": f"^{said}$"})


def _described(check: Check, schema: Mapping[str, Any]) -> Check:
    _SCHEMAS[check] = schema
    return check


def schema(check: Check) -> Mapping[str, Any]:
    """Return what a check of this room lets through, as JSON Schema 2020-12."""
    return _SCHEMAS[check]


identifier = _matches(_ID)
"""64 lower hex digits: a kid, a sid, a message id, a SHA-256."""
nonce16 = _matches(_NONCE)
"""32 lower hex digits: 16 random bytes."""
desk = _matches(_DESK)
"""A desk id: ISO 3166-1 alpha-2 with an optional suffix (PROTOCOL 8.1)."""
service = _matches(_SERVICE)
"""A relay service's name in network.json."""
origin = _matches(_ORIGIN)
"""A relay instance's log origin: printable ASCII without space and plus (C2SP)."""
word = _matches(_WORD)
"""A short lower-case word."""
media_type = _matches(_MEDIA)
"""A type's name: printable ASCII, at most 128 characters."""
file_name = _matches(_NAME)
"""A file's name without path: no control character, no slash, at most 255 characters."""

language = _matches(_LANGUAGE)
"""A language's code, as in ISO 639."""
page_code = _matches(_PAGE_CODE)
"""Six characters that can be told apart when read aloud: no 0, 1, I, O."""
line = _matches(_LINE)
"""One line of text for a person: 1 to 400 characters, none of them a control character."""
dots = _matches(_DOTS)
"""Filling that makes lengths equal: 0 to 400 dots."""


def integer(least: int, most: int) -> Check:
    """Return a check for integers from *least* to *most*; true and false are no integers."""

    def check(value: Any) -> bool:
        return type(value) is int and least <= value <= most

    return _described(check, {"type": "integer", "minimum": least, "maximum": most})


time = integer(0, 2**53 - 1)
"""Seconds since the epoch, UTC."""
count = integer(0, 2**53 - 1)
"""A number of things, a sequence number, an epoch."""


def one_of(words: Collection[str]) -> Check:
    """Return a check for one of a closed list of words."""
    allowed = frozenset(words)

    def check(value: Any) -> bool:
        return isinstance(value, str) and value in allowed

    return _described(check, {"type": "string", "enum": sorted(allowed)})


def or_empty(inner: Check) -> Check:
    """Return a check that also lets the empty string through, which means none."""

    def check(value: Any) -> bool:
        return value == "" or inner(value)

    return _described(check, {"anyOf": [{"const": ""}, schema(inner)]})


def list_of(inner: Check, least: int, most: int, *, distinct: bool = False) -> Check:
    """Return a check for a list of *least* to *most* values; *distinct* is for strings that must
    differ.
    """

    def check(value: Any) -> bool:
        return (
            isinstance(value, list)
            and least <= len(value) <= most
            and all(inner(one) for one in value)
            and not (distinct and len(set(value)) != len(value))
        )

    bounds = {"minItems": least, "maxItems": most, **({"uniqueItems": True} if distinct else {})}
    return _described(check, {"type": "array", "items": schema(inner), **bounds})


def object_of(shape: Mapping[str, Check]) -> Check:
    """Return a check for an object with exactly the fields of *shape*."""

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and value.keys() == shape.keys()
            and all(inner(value[name]) for name, inner in shape.items())
        )

    return _described(check, object_schema(shape))


def object_schema(shape: Mapping[str, Check]) -> Mapping[str, Any]:
    """Return an object with exactly the fields of *shape*, as JSON Schema 2020-12."""
    return {
        "type": "object",
        "properties": {name: schema(inner) for name, inner in shape.items()},
        "required": list(shape),
        "additionalProperties": False,
    }


def closed(value: Mapping[str, Any], shape: Mapping[str, Check], what: str) -> None:
    """Refuse *value* with E_ENCODING unless it has exactly the fields of *shape*, each as it must
    be.
    """
    if value.keys() != shape.keys():
        odd = sorted(value.keys() ^ shape.keys())
        raise Refused(
            Code.E_ENCODING, f"{what} has unknown or missing fields: {', '.join(odd)[:200]}."
        )
    for name, inner in shape.items():
        if not inner(value[name]):
            raise Refused(Code.E_ENCODING, f"{what} has a field {name} that is not as it must be.")
