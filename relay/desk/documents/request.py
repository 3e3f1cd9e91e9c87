"""Rules of the preservation request: what its fields owe each other."""

from collections.abc import Iterator, Mapping

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY, Circumstances
from relay.desk.documents.identifier import identifier
from relay.desk.documents.reading import (
    Finding,
    at,
    block,
    day,
    integer,
    listed,
    person,
    rows,
)
from relay.desk.documents.wording import say

_STALE = 7 * DAY
"""A request dated longer ago than this was probably written for another occasion."""


def preservation_request(
    document: Mapping[str, object], around: Circumstances
) -> Iterator[Finding]:
    """Yield what is wrong between the fields of a preservation request."""
    yield from _basis(document)
    yield from _history(document)
    yield from offences(document)
    yield from _dates(document, around)
    yield from _urgency(document, around)
    for path, item in rows(document, "items"):
        yield from identifier(path, item)
        yield from _item(path, item, document, around)
    yield from _next_steps(document, around)
    yield from _approval(document, around)


def _basis(document: Mapping[str, object]) -> Iterator[Finding]:
    basis = codes.find("legal_basis", document.get("legal_basis"))
    if basis and basis.more.get("needs_reference", False) and "treaty_reference" not in document:
        yield Finding(
            "treaty_reference", "“Treaty” is missing: name the treaty that the request rests on."
        )


def _history(document: Mapping[str, object]) -> Iterator[Finding]:
    status = codes.find("request_status", document.get("request_status"))
    labels = {
        "previous_requests": "Earlier requests",
        "prior_oral_request": "Earlier oral request",
        "confirmation_contact": "Second person who can confirm",
    }
    for needed in status.more["needs"] if status else ():
        if needed not in document:
            yield Finding(
                needed,
                say(
                    "“{field}” is missing: “{value}” needs it.",
                    field=say(labels[needed]),
                    value=status.named() if status else "",
                ),
            )
    if (
        document.get("translation_is_machine") is True
        and document.get("translation_attached") is False
    ):
        yield Finding(
            "translation_is_machine",
            "A translation is said to be by machine, but none is attached.",
        )


def offences(document: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what is wrong between the codes of the offences, the domestic law and the legal basis."""
    named = listed(document, "offence_categories")
    instrument = codes.family(document.get("legal_basis"))
    for number, code in enumerate(named):
        entry = codes.find("offence", code)
        foreign = {"UNCC": "BUD", "BUD": "UNCC"}.get(instrument)
        # The words for serious crimes and other conventions are of the UN convention, and mean the
        # same elsewhere.
        if (
            entry
            and entry.citation
            and entry.citation.instrument == foreign
            and code not in {"SERIOUS", "UNCONV"}
        ):
            yield Finding(
                f"offence_categories[{number}]",
                say(
                    "{offence} belongs to another instrument than the legal basis.",
                    offence=entry.said(),
                ),
            )
    if "UNCONV" in named and "other_convention" not in document:
        yield Finding(
            "other_convention",
            "“Other UN convention” is missing: name the convention of the offence.",
        )
    serious = document.get("is_serious_crime")
    least = codes.number("serious_crime_min_years")
    penalty = integer(block(document, "offence_domestic"), "max_penalty_years")
    why = codes.number_cited("serious_crime_min_years")
    if serious is True and penalty is not None and penalty < least:
        yield Finding(
            "is_serious_crime",
            say(
                "A serious crime has a maximum penalty of at least {least, plural, one {# year} other"
                " {# years}}, here it is {penalty} [{article}].",
                least=least,
                penalty=str(penalty),
                article=why,
            ),
        )
    needed = (
        instrument == "UNCC" and not codes.convention_offence(named, "UNCC")
    ) or "SERIOUS" in named
    if not needed or not named:
        return
    if serious is None:
        yield Finding(
            "is_serious_crime",
            say(
                "“Serious crime” is missing: no offence of the convention is named, so say whether it"
                " is one [{article}].",
                article=why,
            ),
        )
    elif serious is False and named != ["UNCONV"]:
        yield Finding(
            "is_serious_crime",
            say(
                "Without an offence of the convention, only a serious crime can be the ground of a"
                " request [{article}].",
                article=why,
            ),
        )


def _dates(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    written = at(document, "date_of_request")
    if around.future(written):
        yield Finding("date_of_request", "The date of the request lies in the future.")
    if written is not None and around.past(written + _STALE):
        yield Finding(
            "date_of_request",
            "The date of the request is more than a week ago; is this an old copy?",
            warning=True,
        )
    period = block(document, "conduct_period")
    start, end = at(period, "from"), at(period, "to")
    if start is not None and end is not None and end < start:
        yield Finding("conduct_period.to", "The period of the conduct ends before it starts.")
    if around.future(start):
        yield Finding("conduct_period.from", "The conduct starts in the future.")
    if around.future(at(block(document, "prior_oral_request"), "at")):
        yield Finding("prior_oral_request.at", "The earlier oral request lies in the future.")
    if around.past(at(block(document, "requested_deadline"), "at")):
        yield Finding(
            "requested_deadline.at", "The wished deadline has already passed.", warning=True
        )


def _urgency(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    reasons = listed(document, "urgency_reasons")
    if around.priority != "routine" and "urgency_reasons" not in document:
        yield Finding(
            "urgency_reasons",
            say(
                "“{field}” is missing: “{value}” needs it.",
                field=say("Reasons for the urgency"),
                value=codes.lists()["priority"][around.priority.upper()].named(),
            ),
        )
    if "OTHER-URGENCY" in reasons and "urgency_note" not in document:
        yield Finding("urgency_note", "“Note on the urgency” is missing: explain the other reason.")
    if around.priority != "emergency":
        return
    if "victims_at_risk" not in document:
        yield Finding(
            "victims_at_risk",
            "“Persons at risk” is missing: an emergency is a significant and imminent risk to"
            " somebody's life or safety.",
        )
    if "urgency_reasons" in document and "THREAT-TO-LIFE" not in reasons:
        yield Finding(
            "urgency_reasons",
            "An emergency has the reason THREAT-TO-LIFE; choose priority urgent for other reasons.",
        )


def _item(
    path: str, item: Mapping[str, object], document: Mapping[str, object], around: Circumstances
) -> Iterator[Finding]:
    start, end = at(item, "period_from"), at(item, "period_to")
    if start is not None and end is not None and end <= start:
        yield Finding(f"{path}.period_to", "The period of the data ends before it starts.")
    if around.future(end):
        yield Finding(
            f"{path}.period_to",
            "The period ends in the future: only data that are stored already can be preserved.",
        )
    yield from _breadth(path, item, start, end)
    seen = at(item, "observed_at")
    if around.future(seen):
        yield Finding(f"{path}.observed_at", "The identifier was observed in the future.")
    if seen is not None and start is not None and end is not None and not start <= seen <= end:
        yield Finding(
            f"{path}.observed_at",
            "The identifier was observed outside the period of the data.",
            warning=True,
        )
    if around.past(at(block(item, "volatility"), "retention_end")):
        yield Finding(
            f"{path}.volatility.retention_end",
            "The data were expected to be gone by now.",
            warning=True,
        )
    custodian = block(item, "custodian")
    if custodian.get("known") is True and "name" not in custodian:
        yield Finding(
            f"{path}.custodian.name", "“Provider” is missing: the custodian is said to be known."
        )
    if (
        custodian.get("known") is False
        and "system_location" not in item
        and document.get("ask_provider_location") is not True
    ):
        yield Finding(
            f"{path}.custodian",
            "The custodian is not known: say where the system may be, or ask for the provider"
            " (ask_provider_location).",
        )


def _breadth(
    path: str, item: Mapping[str, object], start: int | None, end: int | None
) -> Iterator[Finding]:
    """Yield whether a custodian will probably call the period too broad."""
    if start is None or end is None:
        return
    for code in listed(item, "data_categories"):
        entry = codes.find("data_category", code)
        most = int(entry.more["broad_days"]) if entry else 0
        if most and entry and end - start > most * DAY:
            yield Finding(
                f"{path}.period_to",
                say(
                    "This is probably too broad: {days, plural, one {# day} other {# days}} of"
                    " “{category}”. A request that is too broad is sent back; name the days that"
                    " the facts point to.",
                    days=(end - start) // DAY,
                    category=entry.named(),
                ),
                warning=True,
            )
            return


def _next_steps(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    basis = document.get("legal_basis")
    days = integer(document, "requested_duration_days")
    least = codes.least_days(basis)
    most = int(str((around.card or {}).get("preservation_days", 0))) or codes.number(
        "domestic_order_max_days"
    )
    if days is not None and days < least:
        yield Finding(
            "requested_duration_days",
            say(
                "“{field}” must be at least {least}, here it is {days} [{article}].",
                field=say("Duration in days"),
                least=str(least),
                days=str(days),
                article=codes.number_cited("preservation_min_days", basis),
            ),
        )
    if days is not None and days > most:
        yield Finding(
            "requested_duration_days",
            say(
                "More than {most, plural, one {# day} other {# days}} may be given only in renewals.",
                most=most,
            ),
            warning=True,
        )
    measures = [codes.find("mla_measure", code) for code in listed(document, "mla_measure")]
    if measures and not any(entry is not None and entry.more["stored"] for entry in measures):
        yield Finding(
            "mla_measure", "One of the measures must search, seize or disclose stored data."
        )
    if around.past(day(document.get("mla_expected_by"))):
        yield Finding(
            "mla_expected_by",
            "The day by which the request for mutual legal assistance was expected has passed.",
            warning=True,
        )
    if document.get("do_not_notify_user") is True and "do_not_notify_reason" not in document:
        yield Finding("do_not_notify_reason", "“Why the holder must not be told” is missing.")


def _approval(document: Mapping[str, object], around: Circumstances) -> Iterator[Finding]:
    officer, approver = person(document, "officer"), person(document, "approver")
    if approver and officer == approver:
        emergency = around.priority == "emergency"
        yield Finding(
            "approver",
            "The officer approved the own request; a second person should.",
            warning=not emergency,
        )
    if "second_approver" in document and person(document, "second_approver") in {officer, approver}:
        yield Finding("second_approver", "The second approval is by a person who signed already.")
