"""Rules of what comes after a request: acknowledgement, acceptance, refusal, withdrawal."""

from collections.abc import Iterator, Mapping

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY, Circumstances
from relay.desk.documents.conditions import earlier, too_short
from relay.desk.documents.reading import Finding, at, integer, listed, person, rows, text
from relay.desk.documents.wording import Said, say


def acknowledgement(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    """Yield what is wrong between the fields of an acknowledgement."""
    yield from belongs(document, around)
    role = codes.find("desk_role", document.get("acknowledged_by"))
    if role is not None and not role.more["acknowledges"]:
        yield Finding(
            "acknowledged_by",
            say("A person in the role “{role}” does not acknowledge requests.", role=role.named()),
        )
    will = codes.find("will", document.get("will"))
    if (
        will is not None
        and will.more.get("needs_competent_authority", False)
        and "competent_authority" not in document
    ):
        yield Finding(
            "competent_authority",
            "“Competent authority” is missing: the request is handed on, so say to whom.",
        )
    written, expected = at(document, "at"), at(document, "expected_decision_at")
    if written is not None and expected is not None and expected < written:
        yield Finding(
            "expected_decision_at",
            "The decision is expected before the acknowledgement was written.",
        )


def acceptance(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    """Yield what is wrong in an acceptance: the shortest term is kept, and every item answered."""
    yield from belongs(document, around)
    start, end = at(document, "preserved_from"), at(document, "preserved_until")
    yield from _term("", start, end, around)
    if around.future(start):
        yield Finding(
            "preserved_from",
            "The preservation starts in the future; send the acceptance when it is in effect.",
        )
    if around.past(end):
        yield Finding("preserved_until", "The preservation has already ended.")
    yield from _results(document, around)
    for path, item in rows(document, "items"):
        own = at(item, "preserved_until")
        if item.get("result") == "PRESERVED" and (
            "preserved_from" in item or "preserved_until" in item
        ):
            began = at(item, "preserved_from") if "preserved_from" in item else start
            yield from _term(f"{path}.", began, own if "preserved_until" in item else end, around)
            if own is not None and end is not None and own < end:
                yield Finding("preserved_until", earlier(path))
    extension = document.get("extension_possible")
    if isinstance(extension, dict) and end is not None:
        latest, ask_by = at(extension, "max_until"), at(extension, "ask_by")
        if latest is not None and latest < end:
            yield Finding(
                "extension_possible.max_until",
                "The extension would end before the preservation itself.",
            )
        if ask_by is not None and ask_by > end:
            yield Finding(
                "extension_possible.ask_by",
                "The extension could be asked for after the preservation has ended.",
            )
    if around.request is not None and start is not None and end is not None:
        wished = integer(around.request, "requested_duration_days")
        if wished is not None and end < start + wished * DAY:
            yield Finding(
                "preserved_until",
                say(
                    "This is less than the {wished, plural, one {# day} other {# days}} asked for.",
                    wished=wished,
                ),
                warning=True,
            )
    yield from _longest(start, end, around)


def _longest(start: int | None, end: int | None, around: Circumstances) -> Iterator[Finding]:
    """Yield whether a term is longer than the requested State's card says."""
    card = around.card or {}
    once, renewals = integer(card, "preservation_days") or 0, integer(card, "renewals") or 0
    if once and start is not None and end is not None and end > start + once * (1 + renewals) * DAY:
        yield Finding(
            "preserved_until",
            say(
                "This is longer than the card of the requested State allows, renewals included"
                " ({days, plural, one {# day} other {# days}}).",
                days=once * (1 + renewals),
            ),
            warning=True,
        )


def _results(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    answered: list[int] = []
    kept = 0
    count = around.items()
    for path, item in rows(document, "items"):
        place = integer(item, "item")
        if place is not None:
            if place in answered:
                yield Finding(
                    f"{path}.item", say("Item {place} is answered twice.", place=str(place))
                )
            if count is not None and place > count:
                yield Finding(f"{path}.item", _no_item(count, place))
            answered.append(place)
        if item.get("result") == "PRESERVED":
            kept += 1
        if item.get("result") == "NOT-PRESERVED":
            yield from _cause(path, item)
    if count is not None:
        missing = [str(place) for place in range(1, count + 1) if place not in answered]
        if missing:
            yield Finding(
                "items",
                say(
                    "Every item of the request needs a result; missing: {missing}.",
                    missing=", ".join(missing),
                ),
            )
    if listed(document, "items") and not kept:
        yield Finding(
            "items",
            "Nothing is preserved; this is no acceptance. Say that it cannot be executed, or"
            " refuse.",
        )


def _cause(path: str, item: Mapping[str, object]) -> Iterator[Finding]:
    cause = codes.find("cannot_execute", item.get("cause"))
    if "cause" not in item:
        yield Finding(
            f"{path}.cause", "“Why not” is missing: an item that is not preserved needs a cause."
        )
    if cause is not None and cause.more.get("needs_country", False) and "country" not in item:
        yield Finding(
            f"{path}.country",
            "“Country where the data are” is missing: the cause names another territory.",
        )


def _term(
    path: str, start: int | None, end: int | None, around: Circumstances
) -> Iterator[Finding]:
    if start is None or end is None:
        return
    basis = around.request.get("legal_basis") if around.request is not None else ""
    least = codes.least_days(basis)
    if end < start + least * DAY:
        yield Finding(f"{path}preserved_until", too_short(least, end - start, basis))


def refusal(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    """Yield what is wrong in a refusal: the legal basis must allow the ground."""
    yield from belongs(document, around)
    yield from _scope(document, around)
    basis, code = text(document, "legal_basis"), text(document, "ground")
    request = around.request
    if request is not None and basis != text(request, "legal_basis"):
        yield Finding("legal_basis", "This is not the legal basis of the request.")
    if codes.find("legal_basis", basis) is not None and code:
        offences = listed(request, "offence_categories") if request is not None else []
        sentence = codes.why_not(code, basis, around.reservations, offences)
        if sentence:
            yield Finding("ground", sentence)
        ground = codes.ground(code, basis)
        if ground is not None and ground.needs_provision and "provision" not in document:
            yield Finding(
                "provision",
                "“Provision” is missing: this ground rests on a provision that has to be named.",
            )
    if document.get("consulted") is True and "consulted_how" not in document:
        yield Finding(
            "consulted_how", "“How” is missing: say when and how the other side was consulted."
        )
    if person(document, "approver") and person(document, "approver") == person(document, "officer"):
        yield Finding(
            "approver",
            "A refusal needs a second person; the officer cannot approve the own refusal.",
        )


def withdrawal(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    """Yield what is wrong between the fields of a withdrawal."""
    yield from belongs(document, around)
    yield from _scope(document, around)


def _scope(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    scope = codes.find("scope", document.get("scope"))
    if scope is None:
        return
    if scope.more["needs_items"] and "items" not in document:
        yield Finding("items", "“Items” is missing: name the items that this is about.")
    if not scope.more["needs_items"] and "items" in document:
        yield Finding("items", "Items are named although the whole request is meant.")
    count = around.items()
    for number, place in enumerate(listed(document, "items")):
        if count is not None and isinstance(place, int) and place > count:
            yield Finding(f"items[{number}]", _no_item(count, place))


def _no_item(count: int, place: int) -> Said:
    return say(
        "The request has {count, plural, one {# item} other {# items}}; there is no item {number}.",
        count=count,
        number=str(place),
    )


def belongs(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    """Yield what holds for everything that follows a request: its time and its reference."""
    if around.future(at(document, "at")):
        yield Finding("at", "This was written in the future; check the clock of this machine.")
    reference = text(document, "national_reference")
    if (
        around.request is not None
        and reference
        and reference != text(around.request, "national_reference")
    ):
        yield Finding("national_reference", "This is the reference of another request.")
