"""Paths of a document, such as ``items[].period_to``: every place that one names, with what stands there.

A path that goes through lists names one place in each entry. What is not there is None: a document
has no null (PROTOCOL 6.1).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a document: its path with numbers, and the value there, None where none is."""

    path: str
    value: object
    inside: bool = True
    """Whether the block that would hold the value is there."""


def places(document: Mapping[str, object], path: str) -> Iterator[Place]:
    """Yield every place that a path names; lists with ``[]`` give one for each entry."""
    yield from _walk(document, path.split("."), "", inside=True)


def _walk(value: object, steps: list[str], path: str, *, inside: bool) -> Iterator[Place]:
    if not steps:
        yield Place(path, value, inside)
        return
    name, many = steps[0].removesuffix("[]"), steps[0].endswith("[]")
    here = f"{path}.{name}" if path else name
    block = isinstance(value, dict)
    found = value.get(name) if isinstance(value, dict) else None
    if not many:
        yield from _walk(found, steps[1:], here, inside=block)
    elif isinstance(found, list):
        for number, one in enumerate(found):
            yield from _walk(one, steps[1:], f"{here}[{number}]", inside=True)


def beside(document: Mapping[str, object], place: Place, path: str) -> list[Place]:
    """Return the places of another path that belong to this one: the same entry of the same list."""
    indexes = _INDEX.findall(place.path)
    return [
        other
        for other in places(document, path)
        if _INDEX.findall(other.path)[: len(indexes)] == indexes[: path.count("[]")]
    ]


def label_of(schema: Mapping[str, Any], path: str) -> str:
    """Return what people call the field at a path; its name where the schema does not know it."""
    node: Mapping[str, Any] = schema
    name = path
    for step in path.split("."):
        name = step.split("[")[0]
        node = node.get("properties", {}).get(name, {})
        if "[" in step:
            node = node.get("items", {})
    return str(node.get("x-label", name))


def list_of(schema: Mapping[str, Any], path: str) -> str:
    """Return the name of the code list of the field at a path, or ""."""
    node: Mapping[str, Any] = schema
    for step in path.split("."):
        node = node.get("properties", {}).get(step.split("[")[0], {})
        if "[" in step:
            node = node.get("items", {})
    return str(node.get("x-codes", ""))
