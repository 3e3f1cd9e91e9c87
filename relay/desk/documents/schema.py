"""Schemas of documents: loading, and a validator for exactly the part of JSON Schema that they use.

A schema file is JSON Schema 2020-12 with annotations of our own: ``x-codes`` names a list of
``codes.json`` and becomes an ``enum``; ``x-block`` names a block of ``blocks.json`` and is replaced
by it; ``x-article`` names citations; ``x-label`` is what people call the field, ``x-form`` how they
write it; ``x-statement`` is the kind of the signed statement. ``x-head`` and ``x-tail`` put the
fields of blocks before and after a kind's own; what else begins with ``x-`` is read by other modules
of this room (README). :func:`load` resolves blocks, codes and articles, so that people and any
validator can read what ``desk schema`` prints. Ours is here because it returns all
problems at once, each as a sentence, and because it takes hostile documents: no references, no
recursion beyond the schema's own, no floats (PROTOCOL 6.1). The tests hold its verdict against
another implementation.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.reading import day, instant, printable
from relay.desk.documents.wording import Said, say

KEYWORDS = frozenset(
    {
        "$schema",
        "$id",
        "title",
        "type",
        "required",
        "properties",
        "additionalProperties",
        "enum",
        "const",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "x-codes",
        "x-article",
        "x-label",
        "x-labels",
        "x-form",
        "x-statement",
        "x-from",
        "x-place",
        "x-answers",
        "x-event",
        "x-serves",
        "x-clock",
        "x-rules",
        "x-free",
        "x-example",
    }
)
"""Every keyword that a resolved schema may have; a test holds the files to it."""

_FILE = re.compile(r"([a-z_]{1,32})\.v1\.json")
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_WORDS = {
    "object": "a block of fields",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
}

FAULTS_MAX = 1000
"""Fields without end that no form has are not all named."""

Fault = tuple[str, Said]
"""(path, sentence); the path is like ``items[0].period_from``, "" is the document itself."""


@cache
def kinds() -> tuple[str, ...]:
    """Return the kinds of document that have a schema file, in alphabetical order."""
    folder = files("relay.desk.documents").joinpath("schemas")
    found = (_FILE.fullmatch(entry.name) for entry in folder.iterdir())
    return tuple(sorted(match[1] for match in found if match))


def _read(*names: str) -> dict[str, Any]:
    place = files("relay.desk.documents").joinpath(*names)
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


@cache
def load(kind: str) -> Mapping[str, Any]:
    """Return the resolved schema of a kind, to be read only; KeyError if there is no such kind."""
    if kind not in kinds():
        raise KeyError(kind)
    blocks = _read("blocks.json")
    found = _read("schemas", f"{kind}.v1.json")
    resolved: Mapping[str, Any] = _resolve(_whole(found, blocks), blocks)
    return resolved


def _whole(found: dict[str, Any], blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the fields of its head and tail in their places; its own come between."""
    own, required = dict(found["properties"]), list(found["required"])
    head = [blocks[name] for name in found.pop("x-head", ())]
    tail = [blocks[name] for name in found.pop("x-tail", ())]
    fields = {"kind": own.pop("kind")}
    for block in head:
        fields |= block["properties"]
    fields |= own
    for block in tail:
        fields |= {key: inner for key, inner in block["properties"].items() if key not in fields}
    needed = {*required, *(key for block in (*head, *tail) for key in block["required"])}
    return found | {"required": [key for key in fields if key in needed], "properties": fields}


def _resolve(node: Mapping[str, Any], blocks: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(node)
    while (name := found.pop("x-block", None)) is not None:
        found = blocks[name] | found  # what the field itself says stands above its block
    if (name := found.get("x-codes")) is not None:
        found["enum"] = list(codes.lists()[name])
        found["x-labels"] = {code: entry.text() for code, entry in codes.lists()[name].items()}
    if (cited := found.get("x-article")) is not None:
        keys = [cited] if isinstance(cited, str) else cited
        found["x-article"] = [codes.citations()[key].text() for key in keys]
    if "properties" in found:
        found["properties"] = {
            key: _resolve(inner, blocks) for key, inner in found["properties"].items()
        }
    if "items" in found:
        found["items"] = _resolve(found["items"], blocks)
    return found


def faults(schema: Mapping[str, Any], document: object) -> list[Fault]:
    """Return every way in which a document does not fit its schema, in the order of the schema."""
    found: list[Fault] = []
    _judge(schema, document, "", found)
    return found


def label(schema: Mapping[str, Any], otherwise: str) -> Said:
    """Return what people call a field."""
    return say(str(schema.get("x-label", otherwise)))


def _judge(schema: Mapping[str, Any], value: object, path: str, found: list[Fault]) -> None:
    field = label(schema, "The document")
    if "const" in schema and not _same(value, schema["const"]):
        wanted = _shown(schema["const"])
        found.append((path, say("“{field}” must be {wanted}.", field=field, wanted=wanted)))
        return
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        wanted, given = say(_WORDS[kind]), say(_kind_of(value))
        found.append(
            (
                path,
                say(
                    "“{field}” must be {wanted}, not {given}.",
                    field=field,
                    wanted=wanted,
                    given=given,
                ),
            )
        )
        return
    if "enum" in schema and value not in schema["enum"]:
        choice = ", ".join(str(code) for code in schema["enum"])
        found.append(
            (
                path,
                say("“{field}” is not a code of its list: {choice}.", field=field, choice=choice),
            )
        )
        return
    if isinstance(value, dict):
        _judge_object(schema, value, path, found)
    elif isinstance(value, list):
        _judge_list(schema, value, path, found)
    elif isinstance(value, str):
        _judge_text(schema, value, path, found)
    elif isinstance(value, int) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            limit = str(schema["minimum"])
            found.append(
                (path, say("“{field}” must be at least {limit}.", field=field, limit=limit))
            )
        if value > schema.get("maximum", value):
            limit = str(schema["maximum"])
            found.append(
                (path, say("“{field}” must be at most {limit}.", field=field, limit=limit))
            )


def _judge_object(
    schema: Mapping[str, Any], value: dict[str, object], path: str, found: list[Fault]
) -> None:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    for key, inner in properties.items():
        place = f"{path}.{key}" if path else key
        if key in value:
            _judge(inner, value[key], place, found)
        elif key in required:
            found.append((place, say("“{field}” is missing.", field=label(inner, key))))
    if schema.get("additionalProperties", True) is False:
        for key in value:
            if len(found) >= FAULTS_MAX:
                return
            if key not in properties:
                known = printable(str(key))[:60]
                place = f"{path}.{known}" if path else known
                found.append(
                    (
                        place,
                        say(
                            "There is no field “{field}” here; check its spelling or take it out.",
                            field=known,
                        ),
                    )
                )


def _judge_list(
    schema: Mapping[str, Any], value: list[object], path: str, found: list[Fault]
) -> None:
    field = label(schema, "The list")
    if len(value) < schema.get("minItems", 0):
        found.append(
            (
                path,
                say(
                    "“{field}” needs at least {least, plural, one {# entry} other {# entries}}.",
                    field=field,
                    least=schema["minItems"],
                ),
            )
        )
    if len(value) > schema.get("maxItems", len(value)):
        found.append(
            (
                path,
                say(
                    "“{field}” has {count, plural, one {# entry} other {# entries}}; the limit is"
                    " {most}.",
                    field=field,
                    count=len(value),
                    most=schema["maxItems"],
                ),
            )
        )
        return
    for place, inner in enumerate(value):
        _judge(schema.get("items", {}), inner, f"{path}[{place}]", found)


def _judge_text(schema: Mapping[str, Any], value: str, path: str, found: list[Fault]) -> None:
    field = label(schema, "The text")
    if len(value) < schema.get("minLength", 0):
        found.append((path, say("“{field}” is empty or too short.", field=field)))
        return
    if len(value) > schema.get("maxLength", len(value)):
        found.append(
            (
                path,
                say(
                    "“{field}” has {count, plural, one {# character} other {# characters}}; the limit"
                    " is {most}.",
                    field=field,
                    count=len(value),
                    most=schema["maxLength"],
                ),
            )
        )
        return
    if "pattern" in schema and not _matches(schema["pattern"], value):
        found.append(
            (
                path,
                say("“{field}” does not have its form ({form}).", field=field, form=_form(schema)),
            )
        )
    elif schema.get("format") == "date-time" and instant(value) is None:
        found.append(
            (
                path,
                say(
                    "“{field}” is no time that exists; write it like 2026-11-23T03:00:00Z.",
                    field=field,
                ),
            )
        )
    elif schema.get("format") == "date" and day(value) is None:
        found.append(
            (path, say("“{field}” is no day that exists; write it like 2026-11-23.", field=field))
        )


def _matches(pattern: str, value: str) -> bool:
    # JSON Schema means ECMA-262, where $ is the very end; Python's $ also stops before a last line
    # feed.
    if pattern.endswith("$"):
        return re.search(pattern[:-1] + r"\Z", value) is not None
    return re.search(pattern, value) is not None


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def _same(value: object, wanted: object) -> bool:
    return type(value) is type(wanted) and value == wanted


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"“{value}”"


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    for kind, word in _WORDS.items():
        if _is(value, kind):
            return word
    return "a number with a fraction" if isinstance(value, float) else "something else"


def _form(schema: Mapping[str, Any]) -> Said:
    if schema.get("format") == "date-time":
        return say("UTC, like 2026-11-23T03:00:00Z")
    if schema.get("format") == "date":
        return say("like 2026-11-23")
    return say(str(schema.get("x-form", "see the schema")))
