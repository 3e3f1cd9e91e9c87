"""What documents mean to whoever replays a matter, and the forms that are filled in from what is known."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from relay.desk.documents import events, forms, prefill, schema, skeleton
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import instant, written

Form = dict[str, Any]
NAMES = {
    "opened", "acknowledged", "redirected", "decided", "asked", "answered", "consulted", "postponed", "warned",
    "chosen", "withdrawn", "released", "extension_asked", "extension_decided", "mla_expected", "mla_submitted",
    "mla_received", "mla_decided", "path_found", "told", "taken_up", "status_asked", "reported", "onward_asked",
    "onward_decided", "drill", "drill_answered", "oral", "corrected", "urgency_changed", "handed_over",
}  # fmt: skip
OFFICER: Form = {"officer": "Ann Reed", "function": "Officer", "language": "en"}


@pytest.mark.parametrize("kind", forms.KINDS)
def test_every_kind_is_an_event(kind: str, answers: dict[str, Form]) -> None:
    """Each kind has a name as an event, a side that writes it, a place, and the kinds that it answers."""
    shape = schema.load(kind)
    found = events.read(kind, answers[kind])
    assert found.name in NAMES
    assert found.by in {"requesting", "requested", "either", "own"}
    assert forms.place(kind) in {"opens", "follows", "either", "kept"}
    assert (found.by == "own") == (forms.place(kind) == "kept")
    assert set(found.answers) <= set(forms.KINDS)
    assert found.at is not None
    if shape["x-statement"] == "answer":
        assert found.answers
        assert found.by == "requested"


def test_every_name_is_used() -> None:
    """The list of this test is the list of the schema files."""
    assert {schema.load(kind)["x-event"] for kind in forms.KINDS} == NAMES


def test_every_request_can_be_answered_and_refused() -> None:
    """What is asked has a kind that answers it; a refusal answers all."""
    for kind in forms.KINDS:
        if forms.statement_kind(kind) == "request":
            assert len(forms.answered_by(kind)) >= 2, kind
    assert forms.answered_by("preservation_request") == (
        "acceptance",
        "cannot_execute",
        "partial",
        "refusal",
    )
    assert forms.answered_by("info_request") == ("info_answer",)
    assert forms.answered_by("not_sufficient") == ("not_sufficient_decision",)


def test_decisions_are_of_items(answers: dict[str, Form], request_form: Form, now: int) -> None:
    """Held with their own times, pending, not held with a cause, refused: item by item."""
    assert events.read("preservation_request", request_form).items == (1, 2, 3)
    partial = answers["partial"]
    partial["items"] = [
        {"item": 1, "result": "PRESERVED", "preserved_until": written(now + 99 * DAY)},
        {"item": 2, "result": "NOT-PRESERVED", "cause": "X-DELETED"},
        {"item": 3, "result": "PENDING", "expected_at": written(now + DAY)},
    ]
    found = events.read("partial", partial)
    since = instant(partial["preserved_from"])
    assert found.results == (
        events.Result(1, "held", since, now + 99 * DAY),
        events.Result(2, "not_held", cause="X-DELETED"),
        events.Result(3, "pending", until=now + DAY),
    )
    assert found.until == instant(partial["preserved_until"])
    refusal = answers["refusal"] | {"scope": "ITEMS", "items": [2]}
    found = events.read("refusal", refusal)
    assert (found.items, found.outcome) == ((2,), "R-SOV")
    assert found.results == (events.Result(2, "refused", cause="R-SOV"),)
    whole = events.read("cannot_execute", answers["cannot_execute"])
    assert (whole.items, whole.results, whole.outcome) == (None, (), "X-NOTHELD")


def test_only_an_explicit_message_pauses(answers: dict[str, Form], now: int) -> None:
    """Blocking questions, a notice that waits, a postponement; nothing else. Data may be held meanwhile."""
    pausing = {kind for kind in forms.KINDS if events.read(kind, answers[kind]).paused}
    assert pausing == {"postponement"}
    ask = answers["info_request"]
    ask["questions"].append({"id": "2", "text": "Which port?", "blocking": True})
    ask |= {
        "interim_measure_taken": True,
        "interim": {"from": written(now), "until": written(now + DAY)},
    }
    found = events.read("info_request", ask)
    assert found.paused
    assert found.interim == (now, now + DAY)
    assert (found.clock, found.due) == ("info_answer", instant(ask["answer_by"]))
    assert events.read("not_sufficient", answers["not_sufficient"] | {"waits": True}).paused


def test_the_events_of_a_long_life(answers: dict[str, Form], now: int) -> None:
    """Extension, follow-up, decision: the times and codes that a matter needs."""
    asked = events.read("extension_request", answers["extension_request"])
    assert asked.until == instant(answers["extension_request"]["requested_until"])
    assert asked.clock == "extension_answer"
    decided = events.read("extension_decision", answers["extension_decision"])
    assert (decided.outcome, decided.until) == ("EXTENDED", now + 90 * DAY)
    sent = events.read("mla_submitted", answers["mla_submitted"])
    assert (sent.reference, sent.since) == ("REF-2026-01", now - 2 * DAY)
    assert events.expected(answers["preservation_request"]) is not None
    assert events.expected(answers["mla_expected"]) is not None
    assert events.expected({}) is None
    oral = events.read("oral_notice", answers["oral_notice"])
    assert (oral.clock, oral.due) == ("written_confirmation", now + 30 * DAY)
    free = answers["redirect"] | {"reason": "some words"}
    assert events.read("redirect", free).outcome == ""


def test_an_unknown_kind_is_an_event_without_a_name() -> None:
    """A matter keeps it and flags it; nothing stops."""
    found = events.read("postcard", {"at": "2026-01-01T00:00:00Z", "items": [1]})
    assert (found.name, found.kind, found.items) == ("", "postcard", None)


JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=5),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.sampled_from(["item", "items", "result", "at", "scope", "interim", "questions"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(kind=strategies.sampled_from(forms.KINDS), document=strategies.dictionaries(strategies.sampled_from(["items", "assets", "at", "scope", "interim", "interim_measure_taken", "questions", "outcome", "until"]), JSON, max_size=6))  # fmt: skip
def test_any_document_can_be_read(kind: str, document: Form) -> None:
    """Whatever verified can be replayed: no shape stops a matter."""
    found = events.read(kind, document | {"kind": kind})
    assert found.kind == kind


# Filled in from what is known


def test_follow_ups_are_complete_as_they_are_filled_in(
    request_form: Form, answers: dict[str, Form], now: int
) -> None:
    """Extend, MLA sent, freeze and ask: an officer adds a reason, a reference, a question."""
    made: dict[str, Form] = {
        "extension_request": prefill.extension(
            request_form, now=now, current_until=now + 9 * DAY, why="The court sits next week.", mla_expected_by=now + 20 * DAY, **OFFICER
        ),
        "mla_submitted": prefill.mla_sent(
            request_form, now=now, reference="MLA 12/2026", sent_at=now - DAY, to_authority="Central authority of AU", **OFFICER
        ),
        "info_request": prefill.freeze_and_ask(
            request_form, now=now, questions=["Which port?", "Which zone?"], answer_by=now + DAY, frozen_until=now + 60 * DAY, order="O-1", **OFFICER
        ),
    }  # fmt: skip
    for kind, document in made.items():
        found = forms.check(kind, document, now=now, priority="urgent", request=request_form)
        assert found == [], kind
        assert json.loads(json.dumps(document)) == document
    assert made["mla_submitted"]["from_authority"].startswith("Central authority of Viet Nam")
    event = events.read("info_request", made["info_request"])
    assert (event.interim, event.paused) == ((now, now + 60 * DAY), False)
    without = prefill.freeze_and_ask(
        request_form, now=now, questions=["?!"], answer_by=now, **OFFICER
    )
    assert "interim" not in without


def test_a_path_opens_a_linked_request_to_a_third_desk(
    request_form: Form, answers: dict[str, Form], now: int
) -> None:
    """The last hop and its provider stand in the new request, and the first one is named in it."""
    notice = answers["traffic_path_notice"]
    notice["path"] = [
        notice["path"][0],
        notice["path"][0]
        | {"from_address": "2001:db8::9", "from_port": 40211, "observed_at": written(now - DAY)},
    ]
    linked: Form = prefill.linked_request(request_form, notice, now=now, desk="SG")
    (item,) = linked["items"]
    assert (item["identifier_type"], item["identifier_value"], item["port"]) == (
        "IPV6",
        "2001:db8::9",
        40211,
    )
    assert item["custodian"]["name"] == notice["provider"]["name"]
    assert linked["previous_requests"][-1]["reference"] == request_form["national_reference"]
    assert forms.check("preservation_request", linked, now=now, priority="urgent") == []
    del notice["path"][1]["from_port"]
    linked = prefill.linked_request(request_form, notice, now=now, desk="SG")
    found = forms.check("preservation_request", linked, now=now, priority="urgent")
    assert [one.path for one in found] == ["items[0].port"]


def test_a_request_by_telephone_is_confirmed_in_writing(
    request_form: Form, answers: dict[str, Form], now: int
) -> None:
    """The note of the call fills in the earlier oral request; what is still missing is named."""
    notice = answers["oral_notice"] | {"call_back_code": "7-KILO"}
    confirmed = prefill.confirmed_in_writing(request_form, notice, now=now)
    assert forms.check("preservation_request", confirmed, now=now, priority="urgent") == []
    without = {key: value for key, value in confirmed.items() if key != "confirmation_contact"}
    found = forms.check("preservation_request", without, now=now, priority="urgent")
    assert [one.path for one in found] == ["confirmation_contact"]


# Forms to fill in


@pytest.mark.parametrize("kind", forms.KINDS)
def test_the_example_of_each_kind_is_complete(kind: str, now: int) -> None:
    """What `desk form KIND --example` prints can be sent as it stands, today and in ten years."""
    for moment in (now, now + 3650 * DAY):
        document = skeleton.example(kind, moment)
        priority = "emergency" if kind == "emergency_request" else "routine"
        mode = "exercise" if kind == "ping" else "actual"
        assert forms.check(kind, document, now=moment, priority=priority, mode=mode) == []


@pytest.mark.parametrize("kind", forms.KINDS)
def test_each_required_field_of_each_kind_is_missed_by_name(
    kind: str, answers: dict[str, Form], now: int
) -> None:
    """Take one away, and it is named; add one that is not there, and it is named; put a number in its place, too."""
    shape = schema.load(kind)
    for field in shape["required"]:
        without = {key: value for key, value in answers[kind].items() if key != field}
        found = [one.path for one in forms.check(kind, without, now=now, priority="emergency")]
        assert field in found
        wrong = answers[kind] | {field: 1.5}
        assert field in [path for path, _ in schema.faults(shape, wrong)]
    assert "colour" in [path for path, _ in schema.faults(shape, answers[kind] | {"colour": "red"})]


@pytest.mark.parametrize("kind", forms.KINDS)
def test_the_skeleton_has_every_field_and_the_explanation_too(kind: str) -> None:
    """An empty form shows every field; the explanation has a line for each, with what is required."""
    empty = skeleton.skeleton(kind)
    assert list(empty) == list(schema.load(kind)["properties"])
    assert empty["kind"] == kind
    lines = skeleton.explained(kind, "ru")
    assert {path for path, *_ in lines if "." not in path} == set(empty)
    assert all(label for _, label, _, _ in lines)
    required = [path for path, _, needed, _ in lines if needed and "." not in path]
    assert required == list(schema.load(kind)["required"])
