"""The front of the room: names of kinds, and documents shown to people."""

from typing import Any

import pytest

from keys.errors import Refused
from relay.desk.documents import codes, forms, schema

Form = dict[str, Any]


def test_the_kinds_of_this_version() -> None:
    """Every kind has a statement kind of PROTOCOL 10; what asks is a request, what decides an answer."""
    kinds = {kind: forms.statement_kind(kind) for kind in forms.KINDS}
    assert len(kinds) == 54
    assert kinds["preservation_request"] == kinds["extension_request"] == "request"
    assert kinds["acceptance"] == kinds["extension_decision"] == "answer"
    assert [kind for kind, said in kinds.items() if said == "refusal"] == ["refusal"]
    assert set(kinds.values()) == {"request", "answer", "refusal", "info"}


@pytest.mark.parametrize("kind", forms.KINDS)
def test_kind_and_body_type_name_each_other(kind: str, answers: dict[str, Form]) -> None:
    """A kind has one media type; the document says its kind too."""
    assert forms.body_type(kind) == f"application/vnd.poc24.document.{kind}.v1+json"
    assert forms.kind_of(forms.body_type(kind)) == kind
    assert forms.kind_in(answers[kind]) == kind


@pytest.mark.parametrize(
    "body_type",
    [
        "",
        "text/plain",
        "application/vnd.poc24.document.postcard.v1+json",
        "application/vnd.poc24.document.refusal.v2+json",
        "application/vnd.poc24.document.refusal.v1+json\n",
        "application/vnd.poc24.document.refusal.v1+json; charset=utf-8",
    ],
)
def test_an_unknown_body_type_is_no_kind(body_type: str) -> None:
    """What comes from a later version is unknown, not mistaken for something else."""
    assert forms.kind_of(body_type) is None


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_document_of_another_kind_does_not_pass(
    kind: str, answers: dict[str, Form], now: int
) -> None:
    """The kind inside and the kind outside must agree."""
    for other in forms.KINDS:
        found = forms.check(other, answers[kind], now=now, priority="urgent")
        assert ("kind" in [problem.path for problem in found]) == (other != kind)


def test_a_summary_has_labels_codes_and_articles(request_form: Form) -> None:
    """People read labels, code words and articles, in the order of the form."""
    shown = forms.summary("preservation_request", request_form)
    values = dict(shown)
    assert values["National reference"] == "A05/TK-2026-0417"
    assert values["Data to be preserved / Item 1 / Port"] == "51844"
    assert values["Keep the request confidential"] == "yes"
    assert values["Offences"].startswith("UNCC-7: Illegal access [")
    assert codes.citations()["UNCC-42-1"].text() in values["Legal basis"]
    assert values["How to reach us / Languages spoken"] == "vi; en"
    labels = [label for label, _ in shown]
    assert labels.index("Legal basis") < labels.index("Officer / Name") < labels.index("Necessity")
    assert all(label and value for label, value in shown)


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_summary_leaves_nothing_out(kind: str, answers: dict[str, Form]) -> None:
    """Every text of a document is in its summary, so that nobody acknowledges what was not shown."""

    def leaves(value: object) -> list[str]:
        if isinstance(value, dict):
            return [leaf for inner in value.values() for leaf in leaves(inner)]
        if isinstance(value, list):
            return [leaf for inner in value for leaf in leaves(inner)]
        return [value] if isinstance(value, str) else []

    document = answers[kind]
    shown = " ".join(value for _, value in forms.summary(kind, document))
    assert [leaf for leaf in leaves(document) if leaf not in shown] == [kind]


def test_what_a_later_version_adds_is_shown(request_form: Form) -> None:
    """A field that this version does not know is shown by its own name, blocks and lists too."""
    request_form["court_seal"] = {"by": "registry", "pages": [1, 2]}
    shown = dict(forms.summary("preservation_request", request_form))
    assert shown["[court_seal] / [by]"] == "registry"
    assert shown["[court_seal] / [pages]"] == "1; 2"


def test_a_summary_does_not_steer_a_terminal(request_form: Form) -> None:
    """Escape sequences and turned text from another desk arrive as visible marks."""
    request_form["facts_summary"] = "\x1b[2Jnothing\u202ehere\x07"
    request_form["\x1bkey"] = "\x9bvalue"
    for label, value in forms.summary("preservation_request", request_form):
        assert not set(label + value) & set("\x1b\u202e\x07\x9b")
    values = dict(forms.summary("preservation_request", request_form))
    assert values["Summary of the facts"] == "�[2Jnothing�here�"


def test_deep_nesting_is_a_sentence(now: int) -> None:
    """Eight levels may be read (PROTOCOL 6.1); a thousand neither crash the check nor the display."""
    deep: Form = {}
    for _ in range(900):
        deep = {"a": deep}
    (found,) = forms.check("withdrawal", deep, now=now, priority="routine")
    assert "nested deeper" in found.text
    ((label, value),) = forms.summary("withdrawal", deep)
    assert label == "Document"
    assert "nested deeper" in value
    eight: Form = {"a": [[[[[[[]]]]]]]}
    assert "nested" not in forms.check("withdrawal", eight, now=now, priority="routine")[-1].text
    nine: Form = {"a": [[[[[[[[]]]]]]]]}
    assert "nested" in forms.check("withdrawal", nine, now=now, priority="routine")[-1].text


def test_many_problems_are_counted(now: int) -> None:
    """A refusal stays readable: the first sixty problems, and how many more."""
    document = {f"x{number}": 1 for number in range(100)}
    with pytest.raises(Refused) as caught:
        forms.require("withdrawal", document, now=now, priority="routine")
    lines = caught.value.text.splitlines()
    assert len(lines) == 1 + forms.PROBLEMS_SHOWN_MAX + 1
    expected = 100 + len(schema.load("withdrawal")["required"]) - forms.PROBLEMS_SHOWN_MAX
    assert lines[-1] == f"- and {expected} more."


def test_warnings_come_last_and_stop_nothing(request_form: Form, now: int) -> None:
    """Problems first, then what may be sent all the same."""
    request_form["date_of_request"] = "2026-01-01T00:00:00Z"
    forms.require("preservation_request", request_form, now=now, priority="urgent")
    del request_form["do_not_notify_reason"]
    found = forms.check("preservation_request", request_form, now=now, priority="urgent")
    assert [(problem.path, problem.warning) for problem in found] == [
        ("do_not_notify_reason", False),
        ("date_of_request", True),
    ]
    assert found[1].letter == ""


def test_a_prepared_form_is_dated_for_today(request_form: Form, now: int) -> None:
    """Sending a file that was written long ago sets the two dates that must be of today."""
    fresh = forms.dated(request_form, now=now + 400 * 86_400, mla_days=30)
    assert fresh["date_of_request"] == "2027-12-28T03:00:00Z"
    assert fresh["mla_expected_by"] == "2028-01-27"
    assert request_form["date_of_request"] == "2026-11-23T03:00:00Z"
