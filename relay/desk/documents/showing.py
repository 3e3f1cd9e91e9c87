"""Showing a document to people: every field with its label, every code with its words, in any language.

A value keeps its own direction: references, addresses and times run from left to right whatever
stands around them (``2026-01`` never turns round), free text follows its first letter. The marks
that do this (UAX #9 isolates) are put here and only here; those that a document brings along are
made visible by ``printable``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.reading import DEPTH_MAX, deeper, instant, printable
from relay.desk.documents.wording import bare, isolated, say, word

ARTICLES_SHOWN = frozenset(
    {
        "legal_basis",
        "offence",
        "data_category",
        "mla_measure",
        "refusal",
        "return_reason",
        "withdrawal_reason",
        "risk",
        "letter",
        "extension_outcome",
    }
)
"""Code lists whose articles a reader needs beside the label."""

Zones = Sequence[tuple[str, tzinfo]]
"""Names and time zones of those who read, for the local time of each beside UTC."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a document: the labels on the way to it, and its text with isolated pieces."""

    labels: tuple[str, ...]
    text: str
    free: bool = False
    """Whether a person wrote it in the document's own language."""


def lines(
    shape: Mapping[str, Any], document: Mapping[str, object], language: str = "en"
) -> list[tuple[str, str]]:
    """Return (label, value) in the order of the schema, then what the schema does not know."""
    return [(" / ".join(cell.labels), bare(cell.text)) for cell in cells(shape, document, language)]


def cells(
    shape: Mapping[str, Any],
    document: Mapping[str, object],
    language: str = "en",
    zones: Zones = (),
) -> list[Cell]:
    """Return a document's values in the order of the schema, then what the schema does not know."""
    if deeper(dict(document), DEPTH_MAX):
        known = say("nested deeper than {most} levels: it cannot be shown", most=str(DEPTH_MAX))
        return [Cell((word("Document", language),), known.into(language))]
    found: list[Cell] = []
    _Reader(language, zones, document).show(shape, dict(document), (), found)
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads: the language, the zones, and the whole document, which some codes depend on."""

    language: str
    zones: Zones
    document: Mapping[str, object]

    def show(
        self, shape: Mapping[str, Any], value: object, labels: tuple[str, ...], found: list[Cell]
    ) -> None:
        if isinstance(value, dict):
            properties = shape.get("properties", {})
            for key, inner in properties.items():
                if key in value and (labels or key != "kind"):
                    label = word(str(inner.get("x-label", key)), self.language)
                    self.show(inner, value[key], (*labels, label), found)
            for key, strange in value.items():
                if key not in properties and (labels or key != "kind"):
                    label = f"[{printable(str(key))[:60]}]"
                    self.show({}, strange, (*labels, label), found)
        elif isinstance(value, list):
            self._show_list(shape.get("items", {}), value, labels, found)
        else:
            found.append(Cell(labels, self._value(shape, value), self._free(shape, value)))

    def _show_list(
        self,
        inner: Mapping[str, Any],
        value: list[object],
        labels: tuple[str, ...],
        found: list[Cell],
    ) -> None:
        if any(isinstance(one, dict | list) for one in value):
            name = word(str(inner.get("x-label", "no.")), self.language)
            for number, one in enumerate(value, 1):
                self.show(inner, one, (*labels, f"{name} {number}"), found)
            return
        texts = [self._value(inner, one) for one in value]
        free = bool(value) and all(self._free(inner, one) for one in value)
        found.append(Cell(labels, "; ".join(texts), free))

    @staticmethod
    def _free(shape: Mapping[str, Any], value: object) -> bool:
        return isinstance(value, str) and (bool(shape.get("x-free")) or not shape)

    def _value(self, shape: Mapping[str, Any], value: object) -> str:
        if isinstance(value, bool):
            return word("yes" if value else "no", self.language)
        name = shape.get("x-codes", "")
        if name:
            return self._code(name, value)
        text = printable(str(value))
        if self._free(shape, value):
            return isolated(text)
        local = self._local(value) if shape.get("format") == "date-time" else ""
        return isolated(text, ltr=True) + local

    def _code(self, name: str, value: object) -> str:
        code = isolated(printable(str(value)), ltr=True)
        if name == "refusal":
            ground = codes.ground(str(value), str(self.document.get("legal_basis")))
            if ground is not None:
                return f"{code}: {ground.text(self.language, isolated=True)}"
        entry = codes.find(name, value)
        if entry is None:
            return code
        if name in ARTICLES_SHOWN:
            return f"{code}: {entry.text(self.language, isolated=True)}"
        return f"{code}: {entry.label(self.language)}"

    def _local(self, value: object) -> str:
        seconds = instant(value)
        if seconds is None:
            return ""
        there = []
        for name, zone in self.zones:
            try:
                local = datetime.fromtimestamp(seconds, UTC).astimezone(zone)
            except OverflowError:  # the first and the last day that a calendar has
                return ""
            text = f"{local:%Y-%m-%d %H:%M} {printable(name)}"
            there.append(isolated(text, ltr=True))
        return f" ({'; '.join(there)})" if there else ""
