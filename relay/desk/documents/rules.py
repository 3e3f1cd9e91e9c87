"""Rules across fields: what a schema cannot say. One function per kind, found by name in
:data:`RULES`.

A rule takes the document, whatever its shape, and the circumstances; it gives findings, each with a
path and a sentence. To add a kind, write its schema file, and a function here if its fields depend
on each other.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from relay.desk.documents.answers import acceptance, acknowledgement, refusal, withdrawal
from relay.desk.documents.circumstances import Circumstances
from relay.desk.documents.reading import Finding, hidden, printable, texts
from relay.desk.documents.request import preservation_request

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


def findings(kind: str, document: Mapping[str, object], around: Circumstances) -> list[Finding]:
    """Return what the rules of a kind find, and what holds for every kind."""
    found = list(_steering(document))
    if kind in RULES:
        found += RULES[kind](document, around)
    return found


def _steering(document: Mapping[str, object]) -> Iterator[Finding]:
    # What an officer signs must be what the other officer reads: no escape sequences, no turned
    # text.
    for path, value in texts(document):
        if any(hidden(letter) for letter in value):
            yield Finding(
                printable(path),
                "The text has an invisible control character, so two people could read it"
                " differently; type it again.",
            )
