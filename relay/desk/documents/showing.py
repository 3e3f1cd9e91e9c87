"""Showing a document to people: every field with its label, every code with its words."""

from collections.abc import Mapping
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.reading import DEPTH_MAX, deeper, printable

ARTICLES_SHOWN = frozenset(
    {
        "legal_basis",
        "offence",
        "data_category",
        "mla_measure",
        "refusal",
        "return_reason",
        "withdrawal_reason",
    }
)
"""Code lists whose articles a reader needs beside the label."""


def lines(shape: Mapping[str, Any], document: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (label, value) in the order of the schema, then what the schema does not know."""
    if deeper(dict(document), DEPTH_MAX):
        return [("Document", f"nested deeper than {DEPTH_MAX} levels: it cannot be shown")]
    found: list[tuple[str, str]] = []
    _show(shape, dict(document), "", document, found)
    return found


def _show(
    shape: Mapping[str, Any],
    value: object,
    label: str,
    document: Mapping[str, object],
    found: list[tuple[str, str]],
) -> None:
    if isinstance(value, dict):
        properties = shape.get("properties", {})
        for key, inner in properties.items():
            if key in value and key != "kind":
                _show(
                    inner,
                    value[key],
                    _joined(label, str(inner.get("x-label", key))),
                    document,
                    found,
                )
        for key, strange in value.items():
            if key not in properties:
                _show({}, strange, _joined(label, f"[{printable(str(key))[:60]}]"), document, found)
    elif isinstance(value, list):
        inner = shape.get("items", {})
        if any(isinstance(one, dict | list) for one in value):
            for number, one in enumerate(value, 1):
                _show(
                    inner,
                    one,
                    _joined(label, f"{inner.get('x-label', 'no.')} {number}"),
                    document,
                    found,
                )
        else:
            found.append((label, "; ".join(_value(inner, one, document) for one in value)))
    else:
        found.append((label, _value(shape, value, document)))


def _joined(label: str, more: str) -> str:
    return f"{label} / {more}" if label else more


def _value(shape: Mapping[str, Any], value: object, document: Mapping[str, object]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    name = shape.get("x-codes", "")
    if name == "refusal":
        ground = codes.ground(str(value), str(document.get("legal_basis")))
        if ground is not None:
            return f"{value}: {ground.text()}"
    entry = codes.find(name, value) if name else None
    if entry is not None:
        return f"{value}: {entry.text() if name in ARTICLES_SHOWN else entry.label()}"
    return printable(str(value))
