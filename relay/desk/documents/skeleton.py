"""Forms to fill in: the empty fields of a kind, what each is for, and a filled example.

JSON has no comments, so a form is two things: a skeleton that can be saved and filled in, and an
explanation beside it with one line for each field. An example is made from the ``x-example`` of the
schema files, field by field, until the rules ask for nothing more; ``-2d`` there is two days before
now.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents import schema as schemas
from relay.desk.documents.circumstances import DAY, Circumstances
from relay.desk.documents.reading import written
from relay.desk.documents.rules import findings
from relay.desk.documents.wording import word

_DAYS = re.compile(r"([+-][0-9]+)d")
_EMPTY = {"object": {}, "array": [], "string": "", "boolean": False, "integer": 0}
_ROUNDS = 8
"""How often an example asks the rules what is still missing."""


def skeleton(kind: str) -> dict[str, object]:
    """Return a document of a kind with every field there, empty, to be filled in or taken out."""
    return dict(_blank(schemas.load(kind)))


def _blank(shape: Mapping[str, Any]) -> Any:
    if "const" in shape:
        return shape["const"]
    if shape["type"] == "object":
        return {key: _blank(inner) for key, inner in shape["properties"].items()}
    if shape["type"] == "array":
        return [_blank(shape["items"])]
    return _EMPTY[shape["type"]]


def explained(kind: str, language: str = "en") -> list[tuple[str, str, bool, str]]:
    """Return the lines of the explanation: path, label, whether it is required, and how to fill it in."""
    return list(_explain(schemas.load(kind), "", language))


def _explain(
    shape: Mapping[str, Any], path: str, language: str
) -> Iterator[tuple[str, str, bool, str]]:
    for key, inner in shape.get("properties", {}).items():
        place = f"{path}.{key}" if path else key
        required = key in shape["required"]
        yield place, word(inner["x-label"], language), required, _how(inner, language)
        node = inner
        if inner.get("type") == "array":
            place, node = f"{place}[]", inner["items"]
        yield from _explain(node, place, language)


def _how(shape: Mapping[str, Any], language: str) -> str:
    node = shape["items"] if shape.get("type") == "array" else shape
    if "const" in node:
        return str(node["const"]).lower()
    if name := node.get("x-codes"):
        return " | ".join(codes.lists()[name])
    if node.get("format") == "date-time":
        return word("UTC, like 2026-11-23T03:00:00Z", language)
    if node.get("format") == "date":
        return word("like 2026-11-23", language)
    if node.get("type") == "boolean":
        return "true | false"
    if "x-form" in node:
        return word(str(node["x-form"]), language)
    return ""


def example(kind: str, now: int) -> dict[str, Any]:
    """Return a filled example of a kind, complete at a time in seconds UTC."""
    shape = schemas.load(kind)
    found: dict[str, Any] = _fill(shape, shape, now)
    priority = "emergency" if kind == "emergency_request" else "routine"
    for _round in range(_ROUNDS):
        asked = [
            finding.path
            for finding in findings(kind, shape, found, Circumstances(now, priority))
            if not finding.warning
        ]
        filled = [_put(shape, found, path, now) for path in asked]
        if not any(filled):
            break
    return found


def _fill(shape: Mapping[str, Any], top: Mapping[str, Any], now: int) -> Any:
    if "const" in shape:
        return shape["const"]
    given = shape.get("x-example")
    if isinstance(given, dict):
        return dict(given)
    if shape["type"] == "object":
        inside = shape["properties"]
        return {key: _fill(inside[key], top, now) for key in inside if key in shape["required"]}
    if shape["type"] == "array":
        return [_fill(shape["items"], top, now)]
    if shape.get("format") and (days := _DAYS.fullmatch(str(given))):
        return written(now + int(days[1]) * DAY)[: 10 if shape["format"] == "date" else 20]
    if given is not None:
        return given
    if shape.get("x-codes") == "legal_basis":
        return next(
            code
            for code, entry in codes.lists()["legal_basis"].items()
            if set(top.get("x-serves", entry.more["serves"])) & set(entry.more["serves"])
        )
    if "enum" in shape:
        return shape["enum"][0]
    return shape.get("minimum", False)


def _put(shape: Mapping[str, Any], document: dict[str, Any], path: str, now: int) -> bool:
    """Fill in a field that a rule asked for; whether there was one to fill in."""
    node, holder, top = shape, document, shape
    *steps, last = path.split(".")
    for step in steps:
        name, _bracket, number = step.partition("[")
        node, holder = node["properties"][name], holder[name]
        if number:
            node, holder = node["items"], holder[int(number[:-1])]
    if last not in node.get("properties", {}) or last in holder:
        return False
    holder[last] = _fill(node["properties"][last], top, now)
    return True
