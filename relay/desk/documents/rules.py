"""Rules across fields: what a schema cannot say. Most are data (``x-rules``, read in
``conditions``); five kinds have a function more, found by name in :data:`RULES`.

A rule takes the document, whatever its shape, and the circumstances; it gives findings, each with a
path and a sentence.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from relay.desk.documents import basis, conditions
from relay.desk.documents.answers import acceptance, acknowledgement, belongs, refusal, withdrawal
from relay.desk.documents.circumstances import Circumstances
from relay.desk.documents.reading import Finding, hidden, listed, printable, text, texts
from relay.desk.documents.request import offences, preservation_request
from relay.desk.documents.wording import say

Rule = Callable[[Mapping[str, object], Circumstances], Iterator[Finding]]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "acceptance": acceptance,
        "acknowledgement": acknowledgement,
        "preservation_request": preservation_request,
        "refusal": refusal,
        "withdrawal": withdrawal,
    }
)


def findings(
    kind: str, shape: Mapping[str, Any], document: Mapping[str, object], around: Circumstances
) -> list[Finding]:
    """Return what the rules of a kind find, and what holds for every kind."""
    found = list(_steering(document))
    if kind in RULES:
        found += RULES[kind](document, around)
    elif shape.get("x-place") == "follows":
        found += belongs(document, around)
    found += _fits(shape, around)
    if "offence_domestic" in document and kind not in RULES:
        found += offences(document)
    found += conditions.findings(shape, document, around)
    found += basis.findings(kind, shape, document, around)
    found += _spoken(shape, document, around)
    return found


def _steering(document: Mapping[str, object]) -> Iterator[Finding]:
    # What an officer signs must be what the other officer reads: no escape sequences, no turned
    # text.
    for path, value in texts(document):
        if hidden(value):
            yield Finding(
                printable(path),
                "The text has an invisible control character, so two people could read it"
                " differently; type it again.",
            )


def _fits(shape: Mapping[str, Any], around: Circumstances) -> Iterator[Finding]:
    """Yield whether an answer stands under a request that it can answer."""
    asked = text(around.request, "kind") if around.request is not None else ""
    if asked and shape["x-statement"] == "answer" and asked not in shape["x-answers"]:
        yield Finding(
            "kind",
            say(
                "This answers {kinds}, and not {asked}.",
                kinds=", ".join(shape["x-answers"]),
                asked=printable(asked)[:40],
            ),
        )


def _spoken(
    shape: Mapping[str, Any], document: Mapping[str, object], around: Circumstances
) -> Iterator[Finding]:
    """Yield whether the desk that is asked reads the language, as far as its card is at hand."""
    language = text(document, "language")
    read = [str(one) for one in listed(around.card, "languages")] if around.card else []
    if shape.get("x-place") != "opens" or not language or not read:
        return
    if language.split("-")[0] not in {one.split("-")[0] for one in read}:
        yield Finding(
            "language",
            say(
                "The desk that is asked reads {languages}, not {language}: attach a translation."
                " Codes are shown there in its own language.",
                languages=", ".join(read),
                language=language,
            ),
            warning=document.get("translation_attached") is not False,
        )
