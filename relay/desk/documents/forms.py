"""The front of this room: check a document, show it, and name its kind. Writing answers is in
``writing``.

Everything is pure: the time is an argument, and nothing is sent or kept here.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from keys.errors import Code, Refused
from relay.desk.documents import codes, page, rules, showing
from relay.desk.documents import schema as schemas
from relay.desk.documents.circumstances import Circumstances
from relay.desk.documents.reading import (
    DEPTH_MAX,
    ENTRIES_MAX,
    Finding,
    deeper,
    longer,
    printable,
)
from relay.desk.documents.wording import into, say
from relay.desk.documents.writing import acceptance, acknowledgement, dated, refusal, withdrawal

__all__ = [
    "KINDS",
    "Problem",
    "acceptance",
    "acknowledgement",
    "answered_by",
    "body_type",
    "check",
    "checklist",
    "dated",
    "kind_in",
    "kind_of",
    "place",
    "refusal",
    "require",
    "schema",
    "serves",
    "statement_kind",
    "summary",
    "title",
    "told",
    "withdrawal",
]

KINDS: tuple[str, ...] = schemas.kinds()
"""Every kind of document that this desk can write and check."""

PROBLEMS_SHOWN_MAX = 60
"""Problems that one refusal spells out; the rest is counted."""

_NUMBER = re.compile(r"\[[0-9]*\]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document, as a sentence."""

    path: str
    """Where, like ``items[0].period_from``; "" is the document itself."""
    text: str
    letter: str
    """The letter "a" to "g" that a request does not fulfil because of it, or ""."""
    warning: bool = False
    """Whether the document may be sent all the same."""


def schema(kind: str) -> dict[str, object]:
    """Return the schema of a kind, code lists and blocks filled in; E_DOCUMENT if unknown."""
    return deepcopy(dict(_schema(kind)))


def _schema(kind: str) -> Mapping[str, Any]:
    try:
        return schemas.load(kind)
    except KeyError:
        raise Refused(
            Code.E_DOCUMENT,
            f"There is no kind of document called “{printable(kind)[:40]}”.",
            hint=f"Known kinds: {', '.join(KINDS)}.",
        ) from None


def body_type(kind: str) -> str:
    """Return the ``body_type`` that the signed statement names for a kind (PROTOCOL 10)."""
    return f"application/vnd.poc24.document.{kind}.v1+json"


def kind_of(body_type: str) -> str | None:
    """Return the kind of a media type; None if unknown: then it is shown as it is, never dropped."""
    form = page.form_of(body_type)
    return form.kind if form.known and not form.newer else None


def kind_in(document: Mapping[str, object]) -> str | None:
    """Return the kind that a document says it is; None if it says nothing that is known here."""
    found = document.get("kind")
    return found if isinstance(found, str) and found in KINDS else None


def statement_kind(kind: str) -> str:
    """Return the kind of the signed statement: request, answer, refusal or info (PROTOCOL 10)."""
    return str(_schema(kind)["x-statement"])


def title(kind: str, language: str = "en") -> str:
    """Return what people call a kind of document."""
    return into(say(str(_schema(kind)["title"])), language)


def place(kind: str) -> str:
    """Return where a document of a kind stands.

    It ``opens`` a thread, ``follows`` a request, does ``either``, or is ``kept`` at the own desk.
    """
    return str(_schema(kind)["x-place"])


def serves(kind: str) -> tuple[str, ...]:
    """Return what a kind asks for, in the words of the legal bases; empty for what only follows."""
    return tuple(_schema(kind).get("x-serves", ()))


def answered_by(kind: str) -> tuple[str, ...]:
    """Return the kinds of document that answer one of this kind; a refusal answers every request."""
    found = tuple(one for one in KINDS if kind in _schema(one).get("x-answers", ()))
    return (*found, "refusal") if statement_kind(kind) == "request" else found


def check(
    kind: str,
    document: Mapping[str, object],
    *,
    now: int,
    priority: str,
    request: Mapping[str, object] | None = None,
    reservations: Sequence[str] = (),
    card: Mapping[str, object] | None = None,
    mode: str = "",
) -> list[Problem]:
    """Return every problem of a document, warnings last; an empty list is a complete document.

    ``now`` is seconds UTC; ``priority`` is emergency, urgent or routine; ``request`` is the request
    that an answer belongs to; ``reservations`` are those of the State that refuses, as citation
    keys; ``card`` is that of the requested desk; ``mode`` is actual, exercise or test. The sentences
    are English; ``wording.into`` says them in another language. E_DOCUMENT only for an unknown kind.
    """
    around = Circumstances(now, priority, request, tuple(reservations), card, mode)
    return _problems(kind, document, around)


def _problems(kind: str, document: Mapping[str, object], around: Circumstances) -> list[Problem]:
    plain = dict(document)
    if deeper(plain, DEPTH_MAX):
        deep = say("Blocks are nested deeper than {most} levels.", most=str(DEPTH_MAX))
        return [Problem("", deep, "")]
    findings = [Finding(path, text) for path, text in schemas.faults(_schema(kind), plain)]
    # Rules compare entries with entries; where a list is too long, the schema's word is enough.
    if not longer(plain, ENTRIES_MAX):
        findings += rules.findings(kind, _schema(kind), plain, around)
    found: dict[tuple[str, str], Problem] = {}
    lettered = kind == "preservation_request"
    for finding in findings:
        letter = _letter(finding.path) if lettered and not finding.warning else ""
        problem = Problem(finding.path, finding.text, letter, finding.warning)
        found.setdefault((problem.path, problem.text), problem)
    return sorted(found.values(), key=lambda problem: problem.warning)


@lru_cache(maxsize=1024)
def _steps(path: str) -> list[str]:
    return _NUMBER.sub(".[]", path).split(".") if path else []


def _letter(path: str) -> str:
    """Return the letter whose field the path is, or is inside of."""
    steps = _steps(path)
    for letter in codes.letters():
        for wanted in map(_steps, letter.fields):
            # A stray field of an item is no reason to call the whole list of items missing.
            inside = steps[: len(wanted)] == wanted and wanted != ["items"]
            if inside or steps in (wanted, [*wanted, "[]"]):
                return letter.letter
    return ""


def _hurts(path: str, letter: codes.Letter) -> bool:
    """Whether a problem at this path is in a field of the letter, or in what holds the field."""
    steps = _steps(path)
    return _letter(path) == letter.letter or any(
        len(steps) < len(_steps(field)) and _steps(field)[: len(steps)] == steps
        for field in letter.fields
    )


def checklist(document: Mapping[str, object], language: str = "en") -> list[tuple[str, str, bool]]:
    """Return the letters (a) to (g) of a request: letter, text, and whether it is satisfied."""
    problems = [
        problem
        for problem in _problems("preservation_request", document, Circumstances(now=None))
        if not problem.warning
    ]
    found = []
    for letter in codes.letters():
        citation = codes.cited(tuple(letter.cites.values()), document.get("legal_basis"))
        article = f" [{citation.text(language)}]" if citation else ""
        satisfied = not any(_hurts(problem.path, letter) for problem in problems)
        found.append((letter.letter, letter.label(language) + article, satisfied))
    return found


def require(
    kind: str,
    document: Mapping[str, object],
    *,
    now: int,
    priority: str,
    request: Mapping[str, object] | None = None,
    reservations: Sequence[str] = (),
    mode: str = "",
    language: str = "en",
) -> None:
    """Raise E_DOCUMENT, naming every missing letter and problem, unless the document is complete."""
    found = check(
        kind,
        document,
        now=now,
        priority=priority,
        request=request,
        reservations=reservations,
        mode=mode,
    )
    problems = [problem for problem in found if not problem.warning]
    if not problems:
        return
    name = title(kind, language)
    sentence = say("This document cannot be sent ({title}).", title=name[:1].lower() + name[1:])
    lines = [into(sentence, language)]
    if kind == "preservation_request":
        missing = [
            f"({letter}) {text.split(' [')[0]}"
            for letter, text, satisfied in checklist(document, language)
            if not satisfied
        ]
        if missing:
            asked = say(
                "{article} asks for more; missing: {letters}.",
                article=codes.citations()["UNCC-42-3"].said(),
                letters="; ".join(missing),
            )
            lines.append(into(asked, language))
    lines += [told(problem, language) for problem in problems[:PROBLEMS_SHOWN_MAX]]
    if len(problems) > PROBLEMS_SHOWN_MAX:
        more = say("- and {count} more.", count=str(len(problems) - PROBLEMS_SHOWN_MAX))
        lines.append(into(more, language))
    raise Refused(
        Code.E_DOCUMENT,
        "\n".join(lines),
        hint=f"\nCorrect the file; `desk schema {kind}` shows every field and code.",
    )


def told(problem: Problem, language: str = "en") -> str:
    """Return a problem on one line: where, the letter that it hurts, and the sentence."""
    where = problem.path or into(say("document"), language)
    letter = f" ({problem.letter})" if problem.letter else ""
    return f"- {where}{letter}: {into(problem.text, language)}"


def summary(
    kind: str, document: Mapping[str, object], language: str = "en"
) -> list[tuple[str, str]]:
    """Return a document as (label, value) for people, in the order of the form.

    It takes any document, complete or not: what the schema does not know is shown with its own
    name. Codes come with label and article. Values hold no character that steers a terminal; they
    may hold line feeds.
    """
    return showing.lines(_schema(kind), document, language)
