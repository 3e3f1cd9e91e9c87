"""The codes that documents use, each with its article: one data file, ``codes.json``.

Every article number that a person can see comes from that file, so that a wrong number is a
one-line fix. A citation whose text was not read in a retrieved source says so wherever it is shown:
``checked`` is empty, and :meth:`Citation.text` adds "to be checked against the certified text".
Nothing that was written from memory is marked as checked.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from relay.desk.documents import wording
from relay.desk.documents.wording import Said, say

TO_BE_CHECKED = "to be checked against the certified text"

_KIN = {"2AP": "BUD"}
"""A protocol has the articles of its mother convention where the file names none of its own."""


class Term(str):
    """A text of the code file in English that can say itself in other languages."""

    __slots__ = ("spell",)
    spell: Callable[[str, bool], str]

    def into(self, language: str, *, isolated: bool = False) -> str:
        """Return the text in a language, English where there is none."""
        return self.spell(language, isolated)


def term(spell: Callable[[str, bool], str]) -> Term:
    """Return a term from what spells it in a language, with its pieces isolated or not."""
    found = Term(spell("en", False))
    found.spell = spell
    return found


def chosen(labels: Mapping[str, str], language: str) -> str:
    """Return a label in a language, English where there is none."""
    if language == wording.PSEUDO:
        return wording.pseudo(labels["en"])
    return labels.get(language, labels["en"])


@dataclass(frozen=True, slots=True)
class Citation:
    """One place in one instrument, and who read it there."""

    key: str
    instrument: str
    titles: Mapping[str, str]
    article: str
    paragraph: str
    point: str
    source: str
    """Where the number is from: a retrieved text (S…) or memory (M-h, M-m, M-l)."""
    checked: str
    """Which text was read, and when; empty = nobody has compared it yet."""

    @property
    def title(self) -> str:
        """Return the name of the instrument in English."""
        return self.titles["en"]

    def digits(self) -> str:
        """Return what stands after the word "Article", such as ``42(3)(a)``."""
        paragraph = f"({self.paragraph})" if self.paragraph else ""
        point = f"({self.point})" if self.point else ""
        return f"{self.article}{paragraph}{point}"

    def number(self, language: str = "en", *, isolated: bool = False) -> str:
        """Return the bare number, such as ``Article 42(3)(a)``."""
        return say("Article {number}", number=self.digits()).into(language, isolated=isolated)

    def text(self, language: str = "en", *, isolated: bool = False) -> str:
        """Return instrument and number, with the warning where nobody has checked the number."""
        title = term(lambda spoken, _isolated: chosen(self.titles, spoken))
        number = say("Article {number}", number=self.digits())
        if self.checked:
            said = say("{title}, {number}", title=title, number=number)
        else:
            warning = say(TO_BE_CHECKED)
            said = say("{title}, {number} ({warning})", title=title, number=number, warning=warning)
        return said.into(language, isolated=isolated)

    def said(self) -> Term:
        """Return :meth:`text` as a text that follows the reader's language."""
        return term(lambda language, isolated: self.text(language, isolated=isolated))


@dataclass(frozen=True, slots=True)
class Entry:
    """One code of one list."""

    code: str
    labels: Mapping[str, str]
    citation: Citation | None
    source: str
    """Where the code is from; ``D`` is a design choice of this project."""
    more: Mapping[str, Any]
    """What rules need to know of this code, as the file has it."""

    def label(self, language: str = "en") -> str:
        """Return the label in a language, or in English where there is none."""
        return chosen(self.labels, language)

    def text(self, language: str = "en", *, isolated: bool = False) -> str:
        """Return label and article, as people see it."""
        return _with_article(self.label(language), self.citation, language, isolated=isolated)

    def said(self) -> Term:
        """Return :meth:`text` as a text that follows the reader's language."""
        return term(lambda language, isolated: self.text(language, isolated=isolated))

    def named(self) -> Term:
        """Return the label alone as a text that follows the reader's language."""
        return term(lambda language, isolated: self.label(language))


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that a request for preservation shall specify, and the fields that satisfy it."""

    letter: str
    labels: Mapping[str, str]
    cites: Mapping[str, str]
    fields: tuple[str, ...]

    def label(self, language: str = "en") -> str:
        """Return what the letter asks for."""
        return chosen(self.labels, language)


@dataclass(frozen=True, slots=True)
class Ground:
    """A ground of refusal under one legal basis."""

    code: str
    entry: Entry
    citation: Citation | None

    @property
    def needs_provision(self) -> bool:
        """Whether the refusing desk has to name the provision that it relies on."""
        return bool(self.entry.more.get("needs_provision", False))

    def text(self, language: str = "en", *, isolated: bool = False) -> str:
        """Return label and the article under this basis."""
        label = self.entry.label(language)
        return _with_article(label, self.citation, language, isolated=isolated)


def _with_article(label: str, citation: Citation | None, language: str, *, isolated: bool) -> str:
    return f"{label} [{citation.text(language, isolated=isolated)}]" if citation else label


@cache
def _file() -> Mapping[str, Any]:
    text = files("relay.desk.documents").joinpath("codes.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return MappingProxyType(found)


@cache
def citations() -> Mapping[str, Citation]:
    """Return every citation by its key, such as ``UNCC-42-3-a``."""
    titles = {
        key: MappingProxyType(value["labels"]) for key, value in _file()["instruments"].items()
    }
    return MappingProxyType(
        {
            key: Citation(key=key, titles=titles[row["instrument"]], **row)
            for key, row in _file()["citations"].items()
        }
    )


def _entry(code: str, row: Mapping[str, Any], rows: Mapping[str, Any]) -> Entry:
    cite = row["cite"]
    parent = row.get("parent", "")
    if not cite and parent:
        cite = rows[parent]["cite"]
    more = {key: value for key, value in row.items() if key not in {"labels", "cite", "source"}}
    citation = citations()[cite] if cite else None
    return Entry(
        code, MappingProxyType(row["labels"]), citation, row["source"], MappingProxyType(more)
    )


@cache
def lists() -> Mapping[str, Mapping[str, Entry]]:
    """Return every code list by name, in the order of the file."""
    return MappingProxyType(
        {
            name: MappingProxyType({code: _entry(code, row, rows) for code, row in rows.items()})
            for name, rows in _file()["lists"].items()
        }
    )


def find(name: str, code: object) -> Entry | None:
    """Return a code of a list, or None where the value is no code of it."""
    return lists()[name].get(code) if isinstance(code, str) else None


def family(legal_basis: object) -> str:
    """Return the instrument of a legal basis (``UNCC``, ``BUD``, ``2AP``), or "" for none."""
    entry = find("legal_basis", legal_basis)
    return entry.citation.instrument if entry and entry.citation else ""


def cited(keys: str | Sequence[str], legal_basis: object = "") -> Citation | None:
    """Return the citation that fits the legal basis among several; the first where none does."""
    found = [citations()[key] for key in ([keys] if isinstance(keys, str) else keys)]
    wanted = family(legal_basis)
    for instrument in (wanted, _KIN.get(wanted, "")):
        for citation in found:
            if citation.instrument == instrument:
                return citation
    return found[0] if found else None


@cache
def letters() -> tuple[Letter, ...]:
    """Return the seven letters (a) to (g), in order."""
    return tuple(
        Letter(
            letter,
            MappingProxyType(row["labels"]),
            MappingProxyType(row["cites"]),
            tuple(row["fields"]),
        )
        for letter, row in _file()["letters"].items()
    )


def number(name: str) -> int:
    """Return a number of the law, such as the shortest preservation in days."""
    return int(_file()["numbers"][name]["value"])


def number_cited(name: str, legal_basis: object = "") -> Term:
    """Return the article that a number of the law is from; "a default of this network" for none."""
    entry = find("legal_basis", legal_basis)
    citation = cited(tuple(_file()["numbers"][name]["cites"].values()), legal_basis)
    if citation is None or (entry is not None and not entry.more["treaty"]):
        return term(lambda language, isolated: wording.word("a default of this network", language))
    return citation.said()


def least_days(legal_basis: object) -> int:
    """Return the shortest preservation under a legal basis, in days; the treaties' for an unknown one."""
    entry = find("legal_basis", legal_basis)
    return int(entry.more["min_days"]) if entry else number("preservation_min_days")


def convention_offence(offences: Iterable[object], instrument: str) -> bool:
    """Whether one of the offences is one that the instrument itself establishes."""
    found = (find("offence", code) for code in offences)
    return any(
        entry.citation is not None
        and entry.more["convention_offence"] is True
        and instrument in ("", entry.citation.instrument)
        for entry in found
        if entry is not None
    )


def ground(code: str, legal_basis: str) -> Ground | None:
    """Return a ground under a legal basis, whatever else it needs; None if it is none there."""
    entry = find("refusal", code)
    if entry is None or legal_basis not in entry.more["bases"]:
        return None
    key = entry.more["bases"][legal_basis]
    return Ground(code, entry, citations()[key] if key else None)


def allowed_refusals(
    legal_basis: str,
    reservations: Sequence[str] = (),
    *,
    offences: Iterable[object] = (),
    answer: str = "preservation",
) -> tuple[Ground, ...]:
    """Return the grounds on which a request may be refused under its legal basis.

    ``reservations`` are citation keys of the reservations that the requested State made
    (``UNCC-42-5``, ``BUD-29-4``). ``offences`` are those of the request: a reservation never covers
    an offence of the convention itself. ``answer`` is ``preservation`` or ``mla``: the second has
    grounds that the first must not use.
    """
    allowed = []
    for code, entry in lists()["refusal"].items():
        found = ground(code, legal_basis)
        if found is None or answer not in entry.more["answers"]:
            continue
        if entry.more.get("needs_reservation", False):
            made = found.citation is not None and found.citation.key in reservations
            if not made or convention_offence(offences, family(legal_basis)):
                continue
        allowed.append(found)
    return tuple(allowed)


def why_not(
    code: str, legal_basis: str, reservations: Sequence[str], offences: Iterable[object]
) -> str:
    """Return a sentence on why a request cannot be refused on this ground, or "" if it can."""
    allowed = allowed_refusals(legal_basis, reservations, offences=offences)
    if any(found.code == code for found in allowed):
        return ""
    return not_a_ground(code, legal_basis, [found.code for found in allowed])


def not_a_ground(code: str, legal_basis: str, allowed: Sequence[str]) -> Said:
    """Return why a ground, or what was taken for one, is none here; *allowed* are those that are."""
    choice = ", ".join(allowed) or "-"
    blocked = find("blocked_refusal", code)
    if blocked is not None:
        reasons = blocked.more["reason"]
        return say(
            "{ground} is not a ground for refusal: {reason} Grounds under {basis}: {choice}.",
            ground=blocked.said(),
            reason=term(lambda language, isolated: chosen(reasons, language)),
            basis=legal_basis,
            choice=choice,
        )
    entry = find("refusal", code)
    if entry is None:
        return say(
            "This ground is not in the code list. Grounds under {basis}: {choice}.",
            basis=legal_basis,
            choice=choice,
        )
    found = ground(code, legal_basis)
    if found is not None and entry.more["needs_reservation"] and found.citation is not None:
        return say(
            "{ground} needs a reservation that the directory shows ({article}), and an offence that"
            " the convention itself does not establish. Grounds here: {choice}.",
            ground=code,
            article=found.citation.said(),
            choice=choice,
        )
    return say(
        "{ground} is not a ground for refusal under {basis}. Grounds there: {choice}.",
        ground=code,
        basis=legal_basis,
        choice=choice,
    )
