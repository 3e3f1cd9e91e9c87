"""A document as a page that anybody reads in the own language: built once, written as text or HTML.

The labels, codes and sentences are ours and follow the reader's language; free text stays as it was
written and is marked with its language. What nobody has reviewed, and what this desk does not know,
says so on the page.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay.desk.documents import schema as schemas
from relay.desk.documents.reading import text
from relay.desk.documents.showing import Cell, Zones, cells
from relay.desk.documents.wording import (
    FSI,
    LRI,
    PDI,
    direction,
    isolated,
    language_names,
    reviewed,
    say,
    word,
)

_BODY_TYPE = re.compile(
    r"application/vnd\.poc24\.document\.([a-z_]{1,32})\.v([1-9][0-9]{0,3})\+json"
)
_RLM = "\u200f"
"""Makes a line of plain text run from right to left, whatever it begins with."""


@dataclass(frozen=True, slots=True)
class Form:
    """What is known of a body: its kind and version, and whether this desk has the schema."""

    kind: str
    """The kind that its type names, "" where it names none."""
    version: int
    known: bool
    """Whether this desk knows the kind, though perhaps an earlier version of it."""

    @property
    def newer(self) -> bool:
        """Whether this desk knows only an earlier version."""
        return self.known and self.version > 1

    def shape(self) -> Mapping[str, Any]:
        """Return the schema by which fields are labelled, empty for an unknown kind."""
        return schemas.load(self.kind) if self.known else {}


def form_of(body_type: str) -> Form:
    """Return what a media type says; an unknown one is no error: it is shown as it came."""
    match = _BODY_TYPE.fullmatch(body_type)
    if match is None:
        return Form("", 0, known=False)
    return Form(match[1], int(match[2]), match[1] in schemas.kinds())


@dataclass(frozen=True, slots=True)
class Page:
    """A page in one language."""

    language: str
    title: str
    notices: tuple[str, ...]
    """What must be known before a line of it is read."""
    cells: tuple[Cell, ...]
    written_in: str
    """The language of the free text, "" where the document does not say."""


def page(
    form: Form,
    document: Mapping[str, object],
    language: str = "en",
    zones: Zones = (),
    notices: Sequence[str] = (),
) -> Page:
    """Return a document as a page in a language.

    *notices* are sentences that come first, already in that language.
    """
    shape = form.shape()
    told = list(notices)
    if form.newer:
        told.append(
            say(
                "This was written with version {version} of the form, and this desk knows version 1."
                " What it does not know is shown as it came.",
                version=str(form.version),
            ).into(language, isolated=True)
        )
    elif not form.known:
        told.append(
            word(
                "This desk does not know this kind of document. Everything in it is shown as it came.",
                language,
            )
        )
    if language in language_names() and not reviewed(language):
        told.append(
            word(
                "Nobody has reviewed the words of this language yet. The codes and articles decide.",
                language,
            )
        )
    title = word(str(shape["title"]), language) if shape else isolated(form.kind or "?", ltr=True)
    spoken = re.fullmatch(r"[A-Za-z0-9-]{2,35}", text(document, "language"))
    found = tuple(cells(shape, document, language, zones))
    return Page(language, title, tuple(told), found, spoken[0] if spoken else "")


def plain(found: Page, width: int = 96) -> Iterator[str]:
    """Yield a page as lines of plain text; every line has as many marks that open as that close."""
    mark = _RLM if direction(found.language) == "rtl" else ""
    yield mark + found.title
    for notice in found.notices:
        yield from _wrapped(f"! {notice}", width, "  ", mark)
    above: tuple[str, ...] = ()
    for cell in found.cells:
        *groups, leaf = cell.labels
        for depth, group in enumerate(groups):
            if tuple(groups[: depth + 1]) != above[: depth + 1]:
                yield f"{mark}{'  ' * depth}{group}"
        above = tuple(groups)
        indent = "  " * len(groups)
        paragraphs = cell.text.split("\n")
        yield from _wrapped(
            f"{indent}{leaf}: {paragraphs[0]}",
            width,
            indent + "    ",
            mark,
            open_end=paragraphs[1:],
        )


def _wrapped(
    line: str, width: int, indent: str, mark: str, open_end: Sequence[str] = ()
) -> Iterator[str]:
    rows = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [line]
    for paragraph in open_end:
        rows += textwrap.wrap(
            paragraph,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ) or [indent]
    for row in balanced(rows):
        yield mark + row


def balanced(rows: Sequence[str]) -> Iterator[str]:
    """Yield lines so that an isolated piece that was wrapped is isolated on each of its lines."""
    held = ""
    for row in rows:
        body = row.lstrip(" ")
        line = row[: len(row) - len(body)] + held + body
        held = ""
        for letter in line:
            if letter in (LRI, FSI):
                held += letter
            elif letter == PDI:
                held = held[:-1]
        yield line + PDI * len(held)
