"""Words of this room in the reader's language: one data file, ``words.json``, keyed by the English text.

A sentence is made with :func:`say`. It is an ordinary text in English, so that logs, tests and
callers need to know nothing of languages; ``into`` gives the same sentence in another one. What is
not translated stays English and is never left out. A language whose words nobody has reviewed says
so (:func:`reviewed`), and so do pages that are rendered in it.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from relay.desk.documents import message

LANGUAGES = ("ar", "en", "es", "fr", "ru", "vi", "zh")
"""The six official languages of the United Nations, and Vietnamese."""
PSEUDO = "qps"
"""A language that nobody speaks: words in it are bracketed and accented, so that text which did not
come from the data files stands out."""
RIGHT_TO_LEFT = frozenset({"ar"})

LRI, FSI, PDI = "\u2066", "\u2068", "\u2069"
"""Marks that isolate a piece from the direction of the text around it (UAX #9)."""

_ACCENTED = str.maketrans("AEIOUYaeiouycnszCNSZ", "ÀÉÎÕÜÝàéîõüýçñšžÇÑŠŽ")


@runtime_checkable
class Translatable(Protocol):
    """What can say itself in a language."""

    def into(self, language: str, *, isolated: bool = False) -> str:
        """Return the text in a language; *isolated* = its arguments cannot turn it round."""


class Said(str):
    """A text in English that knows how it was made."""

    __slots__ = ("given", "template")
    template: str
    given: Mapping[str, object]

    def into(self, language: str, *, isolated: bool = False) -> str:
        """Return the text in a language; English where there is none."""
        return _formatted(self.template, self.given, language, isolated=isolated)


def say(template: str, **given: object) -> Said:
    """Return a sentence from a template of ``words.json`` and its arguments.

    Arguments that are :class:`Translatable` follow the language; whole numbers choose plurals.
    """
    said = Said(_formatted(template, given, "en", isolated=False))
    said.template, said.given = template, MappingProxyType(given)
    return said


def into(text: str, language: str, *, isolated: bool = False) -> str:
    """Return any text in a language: what cannot be said otherwise stays as it is."""
    if type(text) is str:  # most are; asking for a protocol takes ten times as long as all the rest
        return text
    return text.into(language, isolated=isolated) if isinstance(text, Translatable) else text


def word(english: str, language: str) -> str:
    """Return one of our own words or labels in a language, English where there is none."""
    if language == PSEUDO:
        return pseudo(english)
    return words().get(english, {}).get(language, english)


def pseudo(english: str) -> str:
    """Return a text as the pseudo-language has it; arguments in braces stay."""
    parts = message.parsed(english)
    literal = "".join(
        part.translate(_ACCENTED) if isinstance(part, str) else _source(part, english)
        for part in parts
    )
    return f"⟦{literal}⟧"


def _source(part: message.Part, english: str) -> str:
    if isinstance(part, str):
        return part.translate(_ACCENTED)
    if len(part) == 1:
        return "{" + part[0] + "}"
    branches = " ".join(
        selector + " {" + "".join(_source(one, english) for one in inner) + "}"
        for selector, inner in part[1]
    )
    return "{" + part[0] + ", plural, " + branches + "}"


def isolated(text: str, *, ltr: bool = False) -> str:
    """Return a piece that keeps its own direction: that of a reference, or that of its letters."""
    return f"{LRI if ltr else FSI}{text}{PDI}" if text else text


def bare(text: str) -> str:
    """Return a text of ours without the marks of isolation."""
    return text.translate({ord(mark): None for mark in (LRI, FSI, PDI)})


def _formatted(template: str, given: Mapping[str, object], language: str, *, isolated: bool) -> str:
    def put(value: object) -> str:
        text = into(value, language, isolated=isolated) if isinstance(value, str) else str(value)
        return f"{FSI}{text}{PDI}" if isolated and text else text

    return message.formatted(word(template, language), given, language, put)


@cache
def _file() -> Mapping[str, Any]:
    text = files("relay.desk.documents").joinpath("words.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return MappingProxyType(found)


@cache
def words() -> Mapping[str, Mapping[str, str]]:
    """Return every text of ours by its English form, with the same text in other languages."""
    return MappingProxyType(dict(_file()["words"]))


def language_names() -> Mapping[str, str]:
    """Return the languages that pages can be read in, each by its own name."""
    return {code: str(row["name"]) for code, row in _file()["languages"].items()}


def reviewed(language: str) -> str:
    """Return who has reviewed the words of a language, and when; "" = nobody yet."""
    row = _file()["languages"].get(language, {})
    return str(row.get("reviewed", ""))


def direction(language: str) -> str:
    """Return ``rtl`` or ``ltr``."""
    return "rtl" if language.split("-", maxsplit=1)[0] in RIGHT_TO_LEFT else "ltr"
