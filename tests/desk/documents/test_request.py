"""The preservation request: complete passes; whatever is missing is named, with its letter."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from keys.errors import Code, Refused
from relay.desk.documents import codes, forms, schema

KIND = "preservation_request"
Form = dict[str, Any]
Check = Callable[..., list[forms.Problem]]

LETTERS = {
    "requesting_authority": "a",
    "officer": "a",
    "proceeding_type": "b",
    "offence_categories": "b",
    "offence_domestic": "b",
    "facts_summary": "b",
    "items": "c",
    "necessity": "e",
    "intends_mla": "f",
    "mla_measure": "f",
    "mla_expected_by": "f",
    "confidential": "g",
    "do_not_notify_user": "g",
}
"""Required fields that belong to a letter; all others belong to none."""
ITEM_LETTERS = {"custodian": "d"}
REQUIRED: list[str] = list(schema.load(KIND)["required"])
ITEM_REQUIRED: list[str] = list(schema.load(KIND)["properties"]["items"]["items"]["required"])
ONE_FIELD = {
    "a": lambda form: form.pop("requesting_authority"),
    "b": lambda form: form.pop("facts_summary"),
    "c": lambda form: form["items"][1].pop("relation_to_offence"),
    "d": lambda form: form["items"][2].pop("custodian"),
    "e": lambda form: form.pop("necessity"),
    "f": lambda form: form.pop("intends_mla"),
    "g": lambda form: form.pop("do_not_notify_user"),
}


def _red(form: Form) -> str:
    return "".join(letter for letter, _, satisfied in forms.checklist(form) if not satisfied)


def _paths(problems: list[forms.Problem], *, warning: bool = False) -> list[str]:
    return [problem.path for problem in problems if problem.warning == warning]


def test_the_example_is_complete(request_form: Form, problems: Check) -> None:
    """The form that the demonstration sends has no problem and no warning."""
    assert problems(KIND, request_form) == []
    assert _red(request_form) == ""
    forms.require(KIND, request_form, now=1_800_000_000, priority="urgent")


def test_an_old_copy_of_the_form_only_warns(request_form: Form, problems: Check) -> None:
    """Dates that time has overtaken are said, and do not stop the request."""
    old = request_form | {
        "date_of_request": "2026-02-09T19:40:00Z",
        "mla_expected_by": "2026-03-26",
    }
    found = problems(KIND, old)
    assert _paths(found) == []
    assert _paths(found, warning=True) == ["date_of_request", "mla_expected_by"]
    assert _red(old) == ""


@pytest.mark.parametrize("field", REQUIRED)
def test_each_required_field_is_missed_by_name(
    field: str, request_form: Form, problems: Check
) -> None:
    """Taking one required field away names it, with its letter, and turns only that letter red."""
    del request_form[field]
    letter = LETTERS.get(field, "")

    found = [problem for problem in problems(KIND, request_form) if problem.path == field]

    assert [problem.letter for problem in found] == [letter]
    assert "missing" in found[0].text or field == "kind"
    # Without items there is neither data nor custodian.
    assert _red(request_form) == ("cd" if field == "items" else letter)


@pytest.mark.parametrize("field", ITEM_REQUIRED)
@pytest.mark.parametrize("number", [0, 2])
def test_each_required_field_of_an_item_is_missed_by_name(
    number: int, field: str, request_form: Form, problems: Check
) -> None:
    """The same inside an item: the path has the number of the item."""
    del request_form["items"][number][field]
    letter = ITEM_LETTERS.get(field, "c")

    found = problems(KIND, request_form)

    assert (f"items[{number}].{field}", letter) in [(one.path, one.letter) for one in found]
    assert _red(request_form) == letter


@pytest.mark.parametrize("letter", list("abcdefg"))
def test_each_letter_alone_stops_the_request(letter: str, request_form: Form) -> None:
    """With one letter unfulfilled the checklist has one red line, and `require` names that letter."""
    ONE_FIELD[letter](request_form)
    assert _red(request_form) == letter

    with pytest.raises(Refused) as caught:
        forms.require(KIND, request_form, now=1_800_000_000, priority="urgent")

    assert caught.value.code is Code.E_DOCUMENT
    names = codes.letters()["abcdefg".index(letter)].label()
    missing = caught.value.text.splitlines()[1]
    assert missing.endswith(f"missing: ({letter}) {names}.")
    assert codes.citations()["UNCC-42-3"].text() in missing


def test_an_empty_form_misses_every_letter() -> None:
    """Nothing at all is refused with all seven letters and every required field."""
    assert _red({}) == "abcdefg"
    with pytest.raises(Refused) as caught:
        forms.require(KIND, {}, now=0, priority="routine")
    assert all(f"({letter})" in caught.value.text.splitlines()[1] for letter in "abcdefg")
    assert all(f"- {field}" in caught.value.text for field in REQUIRED)


def test_a_block_that_is_no_block_hurts_the_letters_inside(
    request_form: Form, problems: Check
) -> None:
    """An item that is a text has neither data nor custodian."""
    request_form["items"][1] = "the mail account"
    assert _red(request_form) == "cd"
    found = problems(KIND, request_form)
    assert [(one.path, one.letter) for one in found] == [("items[1]", "c")]


def test_a_stray_field_stops_the_form_but_no_letter(request_form: Form, problems: Check) -> None:
    """An unknown field is refused (closed objects, PROTOCOL 6.1), yet nothing of the list is missing."""
    request_form["items"][0]["colour"] = "red"
    found = problems(KIND, request_form)
    assert [(one.path, one.letter) for one in found] == [("items[0].colour", "")]
    assert _red(request_form) == ""


@pytest.mark.parametrize("kind", ["IPV4", "IPV6"])
@pytest.mark.parametrize("field", ["observed_at", "observed_tz", "port"])
def test_an_address_needs_time_zone_and_port(
    kind: str, field: str, request_form: Form, problems: Check
) -> None:
    """Behind one address are a thousand people: time, time zone and port tell them apart."""
    item = request_form["items"][0]
    item["identifier_type"] = kind
    item["identifier_value"] = "198.51.100.77" if kind == "IPV4" else "2001:db8::77"
    assert problems(KIND, request_form) == []
    del item[field]
    found = problems(KIND, request_form)
    assert [(one.path, one.letter) for one in found] == [(f"items[0].{field}", "c")]
    assert _red(request_form) == "c"


def test_a_port_that_nobody_logged_may_be_explained(request_form: Form, problems: Check) -> None:
    """Many logs have no port; the reason takes its place."""
    item = request_form["items"][0]
    del item["port"]
    item["port_unknown_reason"] = "The web server wrote no ports at that time."
    assert problems(KIND, request_form) == []


@pytest.mark.parametrize("code", list(codes.lists()["identifier"]))
def test_the_example_of_each_identifier_fits_its_form(code: str) -> None:
    """What the sentence tells an officer to write is accepted."""
    entry = codes.lists()["identifier"][code]
    example = entry.more["example"].removesuffix(", never the whole number")
    example = "a" * 64 if code in {"FILE-HASH", "CRYPTO-TX"} else example
    example = "x1AddressWithoutSpaces" if code == "CRYPTO-ADDRESS" else example
    assert re.fullmatch(entry.more["pattern"], example)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("EMAIL", "north-ledger"),
        ("PHONE", "024 0000 0100"),
        ("IPV4", "198.51.100.777"),
        ("IPV4", "2001:db8::77"),
        ("IPV6", "198.51.100.77"),
        ("IPV6", "2001:db8::g"),
        ("IMEI", "12"),
        ("MAC", "00-00-5e-00-53-01"),
        ("IBAN", "GB33BUKB20201555555556"),
        ("CARD-MASKED", "4000000000000002"),
        ("FILE-HASH", "deadbeef"),
        ("URL", "example.org/page"),
        ("DOMAIN", "example"),
    ],
)
def test_an_identifier_that_names_nothing_is_refused(
    kind: str, value: str, request_form: Form, problems: Check
) -> None:
    """A wrong identifier is seen before the custodian looks in vain; a whole card number never passes."""
    item = request_form["items"][0]
    item |= {"identifier_type": kind, "identifier_value": value}
    assert "items[0].identifier_value" in _paths(problems(KIND, request_form))


def test_a_right_account_number_passes(request_form: Form, problems: Check) -> None:
    """The check digits of an account are computed, and right ones pass."""
    item = request_form["items"][1]
    item |= {"identifier_type": "IBAN", "identifier_value": "GB33BUKB20201555555555"}
    assert problems(KIND, request_form) == []


def test_a_name_needs_its_service(request_form: Form, problems: Check) -> None:
    """A name without the service where it is used finds nobody."""
    item = request_form["items"][1]
    item |= {"identifier_type": "USERNAME", "identifier_value": "north-ledger"}
    assert _paths(problems(KIND, request_form)) == ["items[1].service"]
    item["service"] = "Example Chat"
    assert problems(KIND, request_form) == []


@pytest.mark.parametrize("value", ["10.1.2.3", "192.168.0.7", "127.0.0.1"])
def test_an_address_inside_a_network_warns(value: str, request_form: Form, problems: Check) -> None:
    """A private address is probably a mistake, and may still be meant."""
    request_form["items"][0]["identifier_value"] = value
    found = problems(KIND, request_form)
    assert _paths(found) == []
    assert _paths(found, warning=True) == ["items[0].identifier_value"]


def test_the_shortest_term_at_n_minus_1_and_n(request_form: Form, problems: Check) -> None:
    """Sixty days is the least that can be asked for, with the article of the legal basis."""
    request_form["requested_duration_days"] = 60
    assert problems(KIND, request_form) == []
    request_form["requested_duration_days"] = 59
    (found,) = problems(KIND, request_form)
    assert found.path == "requested_duration_days"
    assert codes.citations()["UNCC-42-8"].text() in found.text


def test_the_article_follows_the_legal_basis(budapest_form: Form, problems: Check) -> None:
    """Under the Budapest Convention the same problem has that convention's article."""
    assert problems(KIND, budapest_form) == []
    budapest_form["requested_duration_days"] = 59
    (found,) = problems(KIND, budapest_form)
    assert codes.citations()["BUD-29-7"].text() in found.text
    letters = {letter: text for letter, text, _ in forms.checklist(budapest_form)}
    assert codes.citations()["BUD-29-2-c"].text() in letters["c"]
    assert codes.citations()["UNCC-42-3-g"].text() in letters["g"]


def test_a_term_beyond_a_domestic_order_warns(request_form: Form, problems: Check) -> None:
    """Ninety days may be asked for in one; more comes in renewals."""
    request_form["requested_duration_days"] = 90
    assert problems(KIND, request_form) == []
    request_form["requested_duration_days"] = 91
    found = problems(KIND, request_form)
    assert _paths(found, warning=True) == ["requested_duration_days"]
    assert _paths(found) == []


@pytest.mark.parametrize(
    ("start", "end", "wrong"),
    [
        ("2026-01-05T00:00:00Z", "2026-01-05T00:00:01Z", False),
        ("2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z", True),
        ("2026-01-05T00:00:01Z", "2026-01-05T00:00:00Z", True),
        ("2026-11-23T00:00:00Z", "2026-11-23T03:05:00Z", False),
        ("2026-11-23T00:00:00Z", "2026-11-23T03:05:01Z", True),
    ],
)
def test_the_period_of_data_has_a_length_and_is_past(
    start: str,
    end: str,
    wrong: bool,  # noqa: FBT001
    request_form: Form,
    problems: Check,
) -> None:
    """Only stored data can be preserved: the end is after the start, and not after now plus 300 s."""
    request_form["items"][1] |= {"period_from": start, "period_to": end}
    expected = ["items[1].period_to"] if wrong else []
    assert _paths(problems(KIND, request_form)) == expected


@pytest.mark.parametrize("priority", ["routine", "urgent", "emergency"])
def test_reasons_for_the_urgency_above_routine(
    priority: str, request_form: Form, problems: Check
) -> None:
    """Whoever wakes somebody says why; an emergency names the danger to persons."""
    del request_form["urgency_reasons"]
    expected = {
        "routine": [],
        "urgent": ["urgency_reasons"],
        "emergency": ["urgency_reasons", "victims_at_risk"],
    }
    assert _paths(problems(KIND, request_form, priority=priority)) == expected[priority]


def test_an_emergency_is_complete_with_its_danger(request_form: Form, problems: Check) -> None:
    """An emergency names the persons at risk, has the reason of life, and a second person."""
    request_form["victims_at_risk"] = "Patients whose operations cannot be postponed."
    found = problems(KIND, request_form, priority="emergency")
    assert _paths(found) == ["urgency_reasons"]
    request_form["urgency_reasons"] = ["THREAT-TO-LIFE"]
    assert problems(KIND, request_form, priority="emergency") == []
    request_form["approver"]["name"] = "TRAN  thi mai"
    assert _paths(problems(KIND, request_form, priority="emergency")) == ["approver"]
    found = problems(KIND, request_form, priority="urgent")
    assert _paths(found, warning=True) == ["approver"]
    assert _paths(found) == []


def test_a_crime_outside_the_convention_must_be_serious(
    request_form: Form, problems: Check
) -> None:
    """Without an offence of the convention, the form says that the crime is serious, and it is."""
    del request_form["is_serious_crime"]
    assert problems(KIND, request_form) == []
    request_form["offence_categories"] = ["SERIOUS"]
    (found,) = problems(KIND, request_form)
    assert (found.path, found.letter) == ("is_serious_crime", "b")
    assert _red(request_form) == "b"
    request_form["is_serious_crime"] = False
    assert _paths(problems(KIND, request_form)) == ["is_serious_crime"]
    request_form["is_serious_crime"] = True
    assert problems(KIND, request_form) == []


@pytest.mark.parametrize(("years", "wrong"), [(3, True), (4, False)])
def test_a_serious_crime_has_four_years_at_n_minus_1_and_n(
    years: int,
    wrong: bool,  # noqa: FBT001
    request_form: Form,
    problems: Check,
) -> None:
    """A serious crime is one with a maximum penalty of at least four years."""
    request_form["offence_domestic"]["max_penalty_years"] = years
    assert _paths(problems(KIND, request_form)) == (["is_serious_crime"] if wrong else [])


def test_offences_belong_to_the_instrument(budapest_form: Form, problems: Check) -> None:
    """A code of one convention says nothing under the other."""
    budapest_form["offence_categories"] = ["UNCC-7", "BUD-2", "SERIOUS"]
    assert _paths(problems(KIND, budapest_form)) == ["offence_categories[0]"]


def test_an_offence_of_another_convention_names_it(request_form: Form, problems: Check) -> None:
    """The code for other conventions alone says too little."""
    request_form["offence_categories"] = ["UNCONV"]
    assert _paths(problems(KIND, request_form)) == ["other_convention"]
    request_form["other_convention"] = "Convention against Transnational Organized Crime"
    request_form["is_serious_crime"] = False
    request_form["offence_domestic"]["max_penalty_years"] = 2
    assert problems(KIND, request_form) == []


@pytest.mark.parametrize("basis", list(codes.lists()["legal_basis"]))
def test_only_some_bases_serve_preservation(
    basis: str, request_form: Form, problems: Check
) -> None:
    """A basis for emergency data or advice is none for this form; a treaty is named."""
    entry = codes.lists()["legal_basis"][basis]
    offences = ["BUD-2"] if codes.family(basis) == "BUD" else ["UNCC-7"]
    form = request_form | {"legal_basis": basis, "offence_categories": offences}
    found = _paths(problems(KIND, form))
    assert ("legal_basis" not in found) == ("preservation" in entry.more["serves"])
    assert ("treaty_reference" in found) == (basis == "BILATERAL")


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ("SUPPLEMENT", ["previous_requests"]),
        ("EXTENSION", ["previous_requests"]),
        ("REPLACEMENT", ["previous_requests"]),
        ("ORAL-CONFIRMED", ["prior_oral_request", "confirmation_contact"]),
    ],
)
def test_a_request_with_a_history_tells_it(
    status: str, missing: list[str], request_form: Form, problems: Check
) -> None:
    """A supplement names what it adds to; a confirmation names the call."""
    del request_form["confirmation_contact"]
    request_form["request_status"] = status
    assert _paths(problems(KIND, request_form)) == missing


def test_an_unknown_custodian_needs_a_place_or_a_question(
    request_form: Form, problems: Check
) -> None:
    """Any information on custodian or place: unknown is an answer if the desk asks for help."""
    request_form["items"][0]["custodian"] = {"known": False}
    (found,) = problems(KIND, request_form)
    assert (found.path, found.letter) == ("items[0].custodian", "d")
    assert _red(request_form) == "d"
    request_form["ask_provider_location"] = True
    assert problems(KIND, request_form) == []
    request_form["items"][0]["custodian"] = {"known": True}
    assert _paths(problems(KIND, request_form)) == ["items[0].custodian.name"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"mla_measure": ["TRAFFIC-REALTIME"]}, "mla_measure"),
        ({"date_of_request": "2026-11-24T03:00:00Z"}, "date_of_request"),
        ({"urgency_reasons": ["OTHER-URGENCY"], "urgency_note": None}, "urgency_note"),
        ({"do_not_notify_reason": None}, "do_not_notify_reason"),
        ({"translation_is_machine": True}, "translation_is_machine"),
        ({"second_approver": {"name": "Le Van Duc", "function": "Head"}}, "second_approver"),
        ({"conduct_period": {"from": "2026-12-01T00:00:00Z"}}, "conduct_period.from"),
        (
            {"conduct_period": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}},
            "conduct_period.to",
        ),
    ],
)
def test_fields_that_contradict_each_other(
    change: Form, path: str, request_form: Form, problems: Check
) -> None:
    """Each rule between two fields names the one to correct."""
    form = {key: value for key, value in (request_form | change).items() if value is not None}
    assert _paths(problems(KIND, form)) == [path]


@pytest.mark.parametrize("letter", ["\x1b", "\x00", "\u202e", "\u2066", "\x9b", "\r"])
def test_text_that_steers_is_refused(letter: str, request_form: Form, problems: Check) -> None:
    """What is signed is what is read: no escape sequence, no turned reading direction."""
    request_form["facts_summary"] += f"{letter}[2K"
    assert _paths(problems(KIND, request_form)) == ["facts_summary"]


def test_languages_of_the_network_pass(request_form: Form, problems: Check) -> None:
    """Vietnamese, Arabic and Chinese texts, and more than one line, are ordinary."""
    request_form["facts_summary"] = "Bệnh viện bị tấn công.\nهجوم على المستشفى.\t医院遭到攻击。"  # noqa: RUF001
    assert problems(KIND, request_form) == []


def test_the_checklist_needs_no_clock(request_form: Form) -> None:
    """The live checklist is about the form; a date that lies ahead is for `check` to say."""
    form = copy.deepcopy(request_form)
    form["items"][0]["period_to"] = "2999-01-01T00:00:00Z"
    assert _red(form) == ""
