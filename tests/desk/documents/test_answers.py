"""What follows a request: acknowledgement, acceptance, refusal, withdrawal."""

from collections.abc import Callable
from typing import Any

import pytest

from keys.errors import Code, Refused
from relay.desk.documents import codes, forms, schema
from relay.desk.documents.reading import written

DAY = 86_400
Form = dict[str, Any]
Check = Callable[..., list[forms.Problem]]
FOLLOWING = ["acceptance", "acknowledgement", "refusal", "withdrawal"]


def _paths(problems: list[forms.Problem], *, warning: bool = False) -> list[str]:
    return [problem.path for problem in problems if problem.warning == warning]


@pytest.mark.parametrize("kind", FOLLOWING)
def test_what_the_builders_write_is_complete(
    kind: str, answers: dict[str, Form], request_form: Form, problems: Check, now: int
) -> None:
    """Each builder makes a document without problem or warning, with and without its request."""
    assert problems(kind, answers[kind], request=request_form) == []
    assert problems(kind, answers[kind]) == []
    forms.require(kind, answers[kind], now=now, priority="urgent", request=request_form)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in FOLLOWING for field in schema.load(kind)["required"]],
)
def test_each_required_field_is_missed_by_name(
    kind: str, field: str, answers: dict[str, Form], problems: Check
) -> None:
    """Taking one required field away names it; letters are for requests only."""
    del answers[kind][field]
    found = problems(kind, answers[kind])
    assert (field, "") in [(one.path, one.letter) for one in found]


@pytest.mark.parametrize("kind", FOLLOWING)
def test_an_answer_belongs_to_its_request(
    kind: str, answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """An answer with the reference of another case is not sent."""
    request_form["national_reference"] = "A05/TK-2026-9999"
    assert "national_reference" in _paths(problems(kind, answers[kind], request=request_form))


@pytest.mark.parametrize("kind", FOLLOWING)
def test_nothing_is_written_in_the_future(
    kind: str, answers: dict[str, Form], problems: Check, now: int
) -> None:
    """A document of tomorrow comes from a wrong clock; 300 s are allowed (PROTOCOL 15)."""
    answers[kind]["at"] = written(now + 300)
    assert _paths(problems(kind, answers[kind])) == []
    answers[kind]["at"] = written(now + 301)
    assert _paths(problems(kind, answers[kind])) == ["at"]


@pytest.mark.parametrize(("seconds", "wrong"), [(60 * DAY, False), (60 * DAY - 1, True)])
def test_an_acceptance_lasts_sixty_days_at_n_minus_1_and_n(
    seconds: int,
    wrong: bool,  # noqa: FBT001
    answers: dict[str, Form],
    request_form: Form,
    problems: Check,
    now: int,
) -> None:
    """Sixty days to the second from the start of the preservation; less is not sent."""
    request_form["requested_duration_days"] = 60
    accepted = answers["acceptance"] | {
        "preserved_from": written(now),
        "preserved_until": written(now + seconds),
    }
    found = [
        one for one in problems("acceptance", accepted, request=request_form) if not one.warning
    ]
    assert [one.path for one in found] == (["preserved_until"] if wrong else [])
    if wrong:
        assert codes.citations()["UNCC-42-8"].text() in found[0].text


@pytest.mark.parametrize(("seconds", "wrong"), [(60 * DAY, False), (60 * DAY - 1, True)])
def test_an_item_with_its_own_term_lasts_sixty_days_too(
    seconds: int,
    wrong: bool,  # noqa: FBT001
    answers: dict[str, Form],
    problems: Check,
    now: int,
) -> None:
    """The shortest term holds for each item, also for one that began later."""
    accepted = answers["acceptance"]
    accepted |= {"preserved_from": written(now - DAY), "preserved_until": written(now + 59 * DAY)}
    accepted["items"][1] |= {
        "preserved_from": written(now),
        "preserved_until": written(now + seconds),
    }
    found = _paths(problems("acceptance", accepted))
    assert found == (["items[1].preserved_until"] if wrong else [])


def test_the_headline_end_is_the_earliest(answers: dict[str, Form], problems: Check) -> None:
    """A clock that follows the acceptance is never later than one of its items."""
    accepted = answers["acceptance"]
    accepted["items"][0]["preserved_until"] = accepted["preserved_until"][:8] + "01T00:00:00Z"
    assert _paths(problems("acceptance", accepted)) == ["preserved_until"]


def test_less_than_asked_for_warns(
    answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """A shorter term than wished is lawful, and said."""
    request_form["requested_duration_days"] = 91
    found = problems("acceptance", answers["acceptance"], request=request_form)
    assert _paths(found, warning=True) == ["preserved_until"]
    assert _paths(found) == []


def test_every_item_is_answered_once(
    answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """No item missing, none twice, none that was never asked for."""
    accepted = answers["acceptance"]
    (third,) = accepted["items"][2:]
    accepted["items"] = accepted["items"][:2]
    (found,) = problems("acceptance", accepted, request=request_form)
    assert found.path == "items"
    assert "missing: 3." in found.text
    accepted["items"] += [third, {"item": 2, "result": "PRESERVED"}]
    found_paths = _paths(problems("acceptance", accepted, request=request_form))
    assert found_paths == ["items[3].item"]
    accepted["items"][3]["item"] = 4
    found_paths = _paths(problems("acceptance", accepted, request=request_form))
    assert found_paths == ["items[3].item"]


def test_what_is_not_preserved_has_a_cause(
    answers: dict[str, Form], request_form: Form, problems: Check, now: int
) -> None:
    """A fact stands beside the item; data in another country name the country; nothing is no acceptance."""
    accepted = answers["acceptance"]
    accepted["items"][0] = {"item": 1, "result": "NOT-PRESERVED"}
    assert _paths(problems("acceptance", accepted)) == ["items[0].cause"]
    accepted["items"][0]["cause"] = "X-NOT-IN-TERRITORY"
    assert _paths(problems("acceptance", accepted)) == ["items[0].country"]
    accepted["items"][0]["country"] = "NZ"
    assert problems("acceptance", accepted) == []

    nothing = forms.acceptance(
        request_form,
        at=now,
        officer="Ann Reed",
        preserved_from=now,
        preserved_until=now + 90 * DAY,
        central_authority="Central authority",
        language="en",
        requirements="None.",
        not_preserved={1: "X-DELETED", 2: "X-DELETED", 3: "X-NOTHELD"},
    )
    assert _paths(problems("acceptance", nothing, request=request_form)) == ["items"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"preserved_from": "2026-11-24T00:00:00Z"}, "preserved_from"),
        (
            {"preserved_from": "2026-01-01T00:00:00Z", "preserved_until": "2026-11-01T00:00:00Z"},
            "preserved_until",
        ),
        (
            {
                "extension_possible": {
                    "max_until": "2026-12-01T00:00:00Z",
                    "ask_by": "2026-12-01T00:00:00Z",
                    "how": "By a message here.",
                }
            },
            "extension_possible.max_until",
        ),
        (
            {
                "extension_possible": {
                    "max_until": "2027-06-01T00:00:00Z",
                    "ask_by": "2027-05-01T00:00:00Z",
                    "how": "By a message here.",
                }
            },
            "extension_possible.ask_by",
        ),
    ],
)
def test_dates_of_an_acceptance_make_sense(
    change: Form, path: str, answers: dict[str, Form], problems: Check
) -> None:
    """Preservation is in effect, not over, and an extension is asked for before it ends."""
    assert _paths(problems("acceptance", answers["acceptance"] | change)) == [path]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"will": "FORWARD"}, "competent_authority"),
        ({"acknowledged_by": "OPERATOR"}, "acknowledged_by"),
        ({"acknowledged_by": "AUDITOR"}, "acknowledged_by"),
        ({"expected_decision_at": "2026-11-23T02:00:00Z"}, "expected_decision_at"),
    ],
)
def test_an_acknowledgement_says_what_happens_next(
    change: Form, path: str, answers: dict[str, Form], problems: Check
) -> None:
    """Who hands a request on says to whom; only people of the desk acknowledge."""
    assert _paths(problems("acknowledgement", answers["acknowledgement"] | change)) == [path]


@pytest.mark.parametrize("basis", list(codes.lists()["legal_basis"]))
@pytest.mark.parametrize("ground", list(codes.lists()["refusal"]))
def test_a_ground_passes_only_under_a_basis_that_knows_it(
    basis: str, ground: str, answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """For all bases and all grounds: a refusal is complete exactly where the code list allows it."""
    request_form["legal_basis"] = basis
    refused = answers["refusal"] | {
        "legal_basis": basis,
        "ground": ground,
        "provision": "Section 12 of the example act",
    }
    allowed = {found.code for found in codes.allowed_refusals(basis)}
    found = _paths(problems("refusal", refused, request=request_form))
    assert found == ([] if ground in allowed else ["ground"])


def test_a_reservation_opens_its_ground(
    answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """Dual criminality needs the reservation, and offences outside the convention."""
    refused = answers["refusal"] | {"ground": "R-DUALCRIM-RES"}
    made = {"request": request_form, "reservations": ["UNCC-42-5"]}
    assert _paths(problems("refusal", refused, request=request_form)) == ["ground"]
    assert _paths(problems("refusal", refused, **made)) == ["ground"]
    request_form["offence_categories"] = ["SERIOUS"]
    assert problems("refusal", refused, **made) == []


def test_a_refusal_keeps_to_the_basis_of_the_request(
    answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """Nobody refuses under another convention than the one that was invoked."""
    refused = answers["refusal"] | {"legal_basis": "BUD-29", "ground": "R-POL"}
    assert _paths(problems("refusal", refused, request=request_form)) == ["legal_basis"]


def test_a_refusal_needs_a_second_person_and_what_it_claims(
    answers: dict[str, Form], problems: Check
) -> None:
    """The officer alone cannot refuse; a consultation is described; named items are named."""
    refused = answers["refusal"]
    own = refused | {"approver": {"name": "ann  reed", "function": "Officer"}}
    assert _paths(problems("refusal", own)) == ["approver"]
    assert _paths(problems("refusal", refused | {"consulted": True})) == ["consulted_how"]
    assert _paths(problems("refusal", refused | {"scope": "ITEMS"})) == ["items"]
    assert _paths(problems("refusal", refused | {"items": [1]})) == ["items"]


def test_a_ground_of_national_law_names_the_provision(
    answers: dict[str, Form], request_form: Form, problems: Check
) -> None:
    """Where no treaty lists the grounds, the provision relied on is named."""
    request_form["legal_basis"] = "RECIPROCITY"
    refused = answers["refusal"] | {"legal_basis": "RECIPROCITY", "ground": "R-NATLAW"}
    assert _paths(problems("refusal", refused, request=request_form)) == ["provision"]


def test_a_blocked_ground_is_refused_with_its_reason(answers: dict[str, Form], now: int) -> None:
    """Bank secrecy is not a code of the form, and the officer is told why."""
    with pytest.raises(Refused) as caught:
        forms.require(
            "refusal", answers["refusal"] | {"ground": "B-BANK-SECRECY"}, now=now, priority="urgent"
        )
    assert caught.value.code is Code.E_DOCUMENT
    assert "Bank secrecy is not a ground for refusal" in caught.value.text


def test_the_article_of_a_refusal_is_derived(answers: dict[str, Form], request_form: Form) -> None:
    """The document has no article; it is shown from the ground and the legal basis."""
    assert "article" not in schema.load("refusal")["properties"]
    under: dict[str, str] = {}
    for basis in ("UNCC-42", "BUD-29"):
        refused = answers["refusal"] | {"legal_basis": basis}
        under[basis] = dict(forms.summary("refusal", refused))["Ground"]
    assert codes.citations()["UNCC-40-21-b"].text() in under["UNCC-42"]
    assert codes.citations()["BUD-29-5-b"].text() in under["BUD-29"]


def test_a_part_can_be_withdrawn_or_refused(request_form: Form, problems: Check, now: int) -> None:
    """Single items by number; an item that was never asked for is named."""
    part = forms.withdrawal(
        request_form, at=now, officer="Mai", reason="CASE-CLOSED", items=[1, 3], release_data=False
    )
    assert part["scope"] == "ITEMS"
    assert problems("withdrawal", part, request=request_form) == []
    part["items"] = [1, 4]
    assert _paths(problems("withdrawal", part, request=request_form)) == ["items[1]"]
    refused = forms.refusal(
        request_form,
        at=now,
        officer="Ann Reed",
        ground="R-DOMLAW",
        reason="A court order is needed for this tenant.",
        approver="John Hale",
        items=[3],
        consulted="By telephone with the officer, at two in the morning.",
        conditions="A decision of a court.",
        alternative="Mutual legal assistance.",
    )
    assert problems("refusal", refused, request=request_form) == []


def test_an_answer_is_of_the_kind_that_was_asked_for(
    answers: dict[str, Form], problems: Check
) -> None:
    """Preservation is not granted to who asked for advice; a refusal answers any request."""
    asked = answers["technical_advice_request"] | {"national_reference": "REF-2026-01"}
    for kind in ("acceptance", "pong", "extension_decision"):
        found = problems(kind, answers[kind], request=asked)
        assert "kind" in _paths(found), kind
    refusal = answers["refusal"] | {"legal_basis": "UNCC-41-3-a", "ground": "R-NATLAW"}
    refusal |= {"national_reference": "REF-2026-01", "provision": "Section 1"}
    assert _paths(problems("refusal", refusal, request=asked)) == []
