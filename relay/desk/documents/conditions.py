"""Rules that stand in the schema files: what fields owe each other, as data (``x-rules``).

Each rule is an object; the word that it has decides who reads it (:data:`READERS`):

| word | says |
| --- | --- |
| ``need`` | with ``when``: these fields must be there |
| ``forbid`` | with ``when``: these fields must not be there, ``because`` |
| ``one_of`` | one of these fields must be there |
| ``not_future``, ``not_past`` | times; ``warn`` = only a warning |
| ``order`` | the first time is not after the second; ``strict`` = before it |
| ``two_people`` | two different persons; a warning unless ``strict`` or an emergency |
| ``unique`` | values that may stand there once |
| ``every_item`` | numbers: each item of the request (``list``) is answered |
| ``items_exist`` | numbers: the request has these items |
| ``some`` | one value at least is ``value``, or ``otherwise`` |
| ``least_days`` | from and until: the shortest preservation of the legal basis |
| ``earliest`` | a time that is not after any of those ``of`` another path |
| ``ground`` | a ground of refusal that the legal basis allows for this ``answer`` |
| ``identifiers`` | a list of blocks with identifiers, each checked by its type |
| ``addresses`` | IP addresses |
| ``differ`` | two values that are not the same, or ``text`` |
| ``priority``, ``mode`` | how such a message is sent |

``when`` is ``field`` with ``is`` or ``given``; ``code`` with ``has`` or ``lacks``, an attribute of
that code in ``codes.json``; or ``includes`` with ``value``, for lists. Where paths go through lists,
condition and field are of the same entry.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY, Circumstances
from relay.desk.documents.identifier import identifier
from relay.desk.documents.places import Place, beside, label_of, list_of, places
from relay.desk.documents.reading import Finding, day, instant, listed, rows, text
from relay.desk.documents.wording import Said, say

Document = Mapping[str, object]
Rule = Mapping[str, Any]
Shape = Mapping[str, Any]
Reader = Callable[[Rule, Shape, Document, Circumstances], Iterator[Finding]]


def findings(shape: Shape, document: Document, around: Circumstances) -> Iterator[Finding]:
    """Yield what the rules of a resolved schema find in a document, whatever its shape."""
    for rule in shape.get("x-rules", ()):
        for word in rule:
            if word in READERS:
                yield from READERS[word](rule, shape, document, around)


def _named(shape: Shape, path: str) -> Said:
    return say(label_of(shape, path))


def _met(rule: Rule, shape: Shape, document: Document) -> Iterator[Place]:
    """Yield each place at which the condition of a rule holds."""
    when = rule["when"]
    if "includes" in when:
        if when["value"] in listed(document, when["includes"]):
            yield Place(when["includes"], None)
    elif "code" in when:
        name = list_of(shape, when["code"])
        for place in places(document, when["code"]):
            entry = codes.find(name, place.value)
            wanted = "has" in when
            if entry and bool(entry.more.get(when.get("has", when.get("lacks")))) == wanted:
                yield place
    else:
        for place in places(document, when["field"]):
            given = place.value is not None
            if given if "given" in when else given and place.value == when["is"]:
                yield place


def _need(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    for met in _met(rule, shape, document):
        for path in rule["need"]:
            for place in beside(document, met, path):
                if place.value is None and place.inside:
                    yield _because(rule, shape, met, place)


def _because(rule: Rule, shape: Shape, met: Place, place: Place) -> Finding:
    field, other = _named(shape, place.path), _named(shape, met.path)
    name = list_of(shape, met.path)
    entry = codes.find(name, met.value) if name else None
    if entry is not None:
        return Finding(
            place.path,
            say("“{field}” is missing: “{value}” needs it.", field=field, value=entry.named()),
        )
    return Finding(
        place.path, say("“{field}” is missing: “{other}” needs it.", field=field, other=other)
    )


def _forbid(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    for met in _met(rule, shape, document):
        for path in rule["forbid"]:
            for place in beside(document, met, path):
                if place.value is not None:
                    yield Finding(place.path, rule["because"])


def _one_of(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    first, *others = rule["one_of"]
    for place in places(document, first):
        rest = [other for path in others for other in beside(document, place, path)]
        if place.inside and all(one.value is None for one in (place, *rest)):
            names = " / ".join(label_of(shape, path) for path in rule["one_of"])
            words = [_named(shape, path) for path in rule["one_of"]]
            yield Finding(
                place.path,
                say("“{first}” or “{second}” is missing.", first=words[0], second=words[1])
                if len(words) == 2
                else say("One of these is missing: {names}.", names=names),
            )


def _moment(value: object) -> int | None:
    found = instant(value)
    return day(value) if found is None else found


def _not_future(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    for path in rule["not_future"]:
        for place in places(document, path):
            if around.future(_moment(place.value)):
                field = _named(shape, path)
                yield Finding(
                    place.path, say("“{field}” lies in the future.", field=field), _warns(rule)
                )


def _not_past(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    for path in rule["not_past"]:
        for place in places(document, path):
            if around.past(_moment(place.value)):
                field = _named(shape, path)
                yield Finding(
                    place.path, say("“{field}” has already passed.", field=field), _warns(rule)
                )


def _warns(rule: Rule) -> bool:
    return bool(rule.get("warn", False))


def _order(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    first, second = rule["order"]
    for begin in places(document, first):
        for end in beside(document, begin, second):
            a, b = _moment(begin.value), _moment(end.value)
            if a is not None and b is not None and (b < a or (b == a and "strict" in rule)):
                yield Finding(
                    end.path,
                    say(
                        "“{second}” must come after “{first}”.",
                        first=_named(shape, first),
                        second=_named(shape, second),
                    ),
                )


def _name(document: Document, path: str) -> str:
    return " ".join(
        " ".join(str(place.value).casefold().split())
        for place in places(document, f"{path}.name")
        if isinstance(place.value, str)
    )


def _two_people(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    first, second = rule["two_people"]
    if _name(document, first) and _name(document, first) == _name(document, second):
        yield Finding(
            second,
            say(
                "“{first}” and “{second}” are the same person; a second person is needed.",
                first=_named(shape, first),
                second=_named(shape, second),
            ),
            "strict" not in rule and around.priority != "emergency",
        )


def _unique(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    seen: list[object] = []
    for place in places(document, rule["unique"]):
        if place.value is None or isinstance(place.value, dict | list):
            continue
        if place.value in seen:
            yield Finding(place.path, say(rule["text"], place=str(place.value)))
        seen.append(place.value)


def _numbers(document: Document, path: str) -> list[tuple[str, int]]:
    found = []
    for place in places(document, path):
        inner = place.value if isinstance(place.value, list) else [place.value]
        several = isinstance(place.value, list)
        for number, value in enumerate(inner):
            if isinstance(value, int) and not isinstance(value, bool):
                found.append((f"{place.path}[{number}]" if several else place.path, value))
    return found


def _items_exist(
    rule: Rule, shape: Shape, document: Document, around: Circumstances, word: str = "items_exist"
) -> Iterator[Finding]:
    count = around.items(rule.get("list", "items"))
    if count is None:
        return
    for path, number in _numbers(document, rule[word]):
        if number > count:
            yield Finding(
                path,
                say(
                    "The request has {count, plural, one {# item} other {# items}}; there is no item"
                    " {number}.",
                    count=count,
                    number=str(number),
                ),
            )


def _every_item(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    yield from _items_exist(rule, shape, document, around, "every_item")
    count = around.items(rule.get("list", "items"))
    if count is not None:
        answered = {number for _, number in _numbers(document, rule["every_item"])}
        missing = [str(number) for number in range(1, count + 1) if number not in answered]
        if missing:
            yield Finding(
                rule["every_item"].split("[")[0],
                say(
                    "Every item of the request needs a result; missing: {missing}.",
                    missing=", ".join(missing),
                ),
            )


def _some(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    found = [place.value for place in places(document, rule["some"])]
    if found and rule["value"] not in found:
        yield Finding(rule["some"].split("[")[0], rule["otherwise"])


def _least_days(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    first, second = rule["least_days"]
    basis = around.request.get("legal_basis") if around.request is not None else ""
    least = codes.least_days(basis)
    top = instant(document.get(first.rpartition(".")[2]))
    for end in places(document, second):
        until = instant(end.value)
        begins = [instant(begin.value) for begin in beside(document, end, first)]
        start = next((one for one in begins if one is not None), top)
        if start is None or until is None or until >= start + least * DAY:
            continue
        yield Finding(end.path, too_short(least, until - start, basis))


def too_short(least: int, seconds: int, basis: object) -> Said:
    """Return the sentence on a preservation that is shorter than the legal basis wants."""
    return say(
        "Data are preserved for at least {least, plural, one {# day} other {# days}} from"
        " “{begin}”; these are {days} [{article}].",
        least=least,
        begin=say("Preserved from"),
        days=str(max(0, seconds) // DAY),
        article=codes.number_cited("preservation_min_days", basis),
    )


def _earliest(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    headline = instant(document.get(rule["earliest"]))
    for place in places(document, rule["of"]):
        own = instant(place.value)
        if headline is not None and own is not None and own < headline:
            yield Finding(rule["earliest"], earlier(place.path.rpartition(".")[0]))


def earlier(path: str) -> Said:
    """Return the sentence on an item that ends before the headline says."""
    return say(
        "{path} ends earlier than the acceptance says; “{field}” is the earliest end, so that no"
        " clock is late.",
        path=path,
        field=say("Preserved until"),
    )


def _ground(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    basis, code = text(document, "legal_basis"), text(document, rule["ground"])
    if not code or codes.find("legal_basis", basis) is None:
        return
    if around.request is not None and basis != text(around.request, "legal_basis"):
        wanted = text(around.request, "legal_basis")
        if wanted:
            yield Finding("legal_basis", "This is not the legal basis of the request.")
    offences = listed(around.request, "offence_categories") if around.request is not None else []
    found = codes.allowed_refusals(
        basis, around.reservations, offences=offences, answer=rule.get("answer", "preservation")
    )
    if code not in {one.code for one in found}:
        yield Finding(rule["ground"], codes.not_a_ground(code, basis, [one.code for one in found]))
    ground = codes.ground(code, basis)
    if ground is not None and ground.needs_provision and "provision" not in document:
        yield Finding(
            "provision",
            "“Provision” is missing: this ground rests on a provision that has to be named.",
        )


def _identifiers(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    for path, item in rows(document, rule["identifiers"]):
        yield from identifier(path, item)


def _addresses(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    for path in rule["addresses"]:
        for place in places(document, path):
            if not isinstance(place.value, str):
                continue
            try:
                ipaddress.ip_address(place.value)
            except ValueError:
                yield Finding(place.path, "This is no IP address.")


def _differ(rule: Rule, shape: Shape, document: Document, _: Circumstances) -> Iterator[Finding]:
    first, second = (document.get(name) for name in rule["differ"])
    if first is not None and first == second:
        yield Finding(rule["differ"][1], rule["text"])


def _priority(
    rule: Rule, shape: Shape, document: Document, around: Circumstances
) -> Iterator[Finding]:
    if around.now is not None and around.priority != rule["priority"]:
        wanted = codes.lists()["priority"][rule["priority"].upper()]
        yield Finding(
            "",
            say("Send it with the priority “{priority}”.", priority=wanted.named()),
            warning=True,
        )


def _mode(rule: Rule, shape: Shape, document: Document, around: Circumstances) -> Iterator[Finding]:
    if around.mode and around.mode != rule["mode"]:
        yield Finding(
            "", "This is a drill: send it as an exercise, so that nobody takes it for a real case."
        )


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "need": _need,
        "forbid": _forbid,
        "one_of": _one_of,
        "not_future": _not_future,
        "not_past": _not_past,
        "order": _order,
        "two_people": _two_people,
        "unique": _unique,
        "every_item": _every_item,
        "items_exist": _items_exist,
        "some": _some,
        "least_days": _least_days,
        "earliest": _earliest,
        "ground": _ground,
        "identifiers": _identifiers,
        "addresses": _addresses,
        "differ": _differ,
        "priority": _priority,
        "mode": _mode,
    }
)
"""The words that rules are made of, each with what reads it."""

OPTIONS = frozenset(
    {"when", "because", "warn", "strict", "text", "list", "value", "otherwise", "of", "answer"}
)
"""Words of a rule that belong to another one."""
