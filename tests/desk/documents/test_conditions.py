"""Rules as data: every word does what it says, every rule of every kind names fields that exist and can be broken."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from relay.desk.documents import codes, conditions, forms, schema
from relay.desk.documents.circumstances import DAY, Circumstances
from relay.desk.documents.places import label_of, list_of, places
from relay.desk.documents.reading import written

NOW = 1_795_000_000
Form = dict[str, Any]
KEYS = {
    "need", "forbid", "one_of", "not_future", "not_past", "order", "two_people", "addresses", "least_days",
}  # fmt: skip


def _said(
    rule: Form, document: Form, shape: Mapping[str, Any] | None = None, **around: Any
) -> list[tuple[str, bool]]:
    full = {"properties": {}} | dict(shape or {}) | {"x-rules": [rule]}
    found = conditions.findings(full, document, Circumstances(**({"now": NOW} | around)))
    return [(one.path, one.warning) for one in found]


def _codes(name: str) -> Mapping[str, Any]:
    return {"properties": {"c": {"x-codes": name, "x-label": "C"}}}


def test_need_follows_a_value_a_code_or_a_list() -> None:
    """A field is wanted where the condition holds, in the same entry of a list."""
    rule = {"when": {"field": "a", "is": True}, "need": ["b"]}
    assert _said(rule, {"a": True}) == [("b", False)]
    assert _said(rule, {"a": True, "b": 1}) == _said(rule, {"a": False}) == _said(rule, {}) == []
    rule = {"when": {"field": "x[].a", "given": True}, "need": ["x[].b", "t"]}
    found = _said(rule, {"x": [{"a": 1}, {"a": 2, "b": 1}, {}]})
    assert found == [("x[0].b", False), ("t", False), ("t", False)]
    rule = {"when": {"includes": "c", "value": "V"}, "need": ["b"]}
    assert _said(rule, {"c": ["W", "V"]}) == [("b", False)]
    assert _said(rule, {"c": "V"}) == []
    rule = {"when": {"code": "c", "has": "needs_country"}, "need": ["country"]}
    shape = _codes("cannot_execute")
    assert _said(rule, {"c": "X-NOT-IN-TERRITORY"}, shape) == [("country", False)]
    assert _said(rule, {"c": "X-DELETED"}, shape) == _said(rule, {"c": "?"}, shape) == []


def test_forbid_is_the_other_side_of_it() -> None:
    """A field that contradicts another is refused with the reason."""
    rule = {"when": {"code": "c", "lacks": "needs_items"}, "forbid": ["items"], "because": "No."}
    shape = _codes("scope")
    assert _said(rule, {"c": "WHOLE", "items": [1]}, shape) == [("items", False)]
    assert _said(rule, {"c": "ITEMS", "items": [1]}, shape) == []


def test_one_of_and_some_and_differ() -> None:
    """One field of several, one value at least, two values that differ."""
    assert _said({"one_of": ["a", "b"]}, {}) == [("a", False)]
    assert _said({"one_of": ["a", "b"]}, {"b": 0}) == []
    assert _said({"one_of": ["x[].a", "x[].b"]}, {"x": [{"b": 1}, {}]}) == [("x[1].a", False)]
    some = {"some": "x[].r", "value": "P", "otherwise": "No."}
    assert _said(some, {"x": [{"r": "N"}]}) == [("x", False)]
    assert _said(some, {"x": [{"r": "N"}, {"r": "P"}]}) == _said(some, {}) == []
    differ = {"differ": ["a", "b"], "text": "Same."}
    assert _said(differ, {"a": "1", "b": "1"}) == [("b", False)]
    assert _said(differ, {"a": "1", "b": "2"}) == _said(differ, {}) == []


@pytest.mark.parametrize(("off", "wrong"), [(300, False), (301, True)])
def test_times_lie_where_they_must(off: int, wrong: bool) -> None:  # noqa: FBT001
    """At n and n + 1 of what clocks may differ (PROTOCOL 15), in both directions; a day lasts until its end."""
    future, past = {"not_future": ["t"]}, {"not_past": ["t"], "warn": True}
    assert bool(_said(future, {"t": written(NOW + off)})) is wrong
    assert _said(past, {"t": written(NOW - off)}) == ([("t", True)] if wrong else [])
    assert _said(future, {"t": written(NOW + off)}, now=None) == []
    assert _said({"not_past": ["t"]}, {"t": written(NOW)[:10]}) == []
    assert _said({"not_past": ["t"]}, {"t": written(NOW - DAY)[:10]}) == [("t", False)]


def test_order_may_be_strict() -> None:
    """Two times in order; strict where they may not be the same."""
    one, two = written(NOW), written(NOW + 1)
    assert _said({"order": ["a", "b"]}, {"a": two, "b": one}) == [("b", False)]
    assert _said({"order": ["a", "b"]}, {"a": one, "b": one}) == []
    assert _said({"order": ["a", "b"], "strict": True}, {"a": one, "b": one}) == [("b", False)]
    rule = {"order": ["x[].a", "x[].b"]}
    assert _said(rule, {"x": [{"a": one, "b": two}, {"a": two, "b": one}]}) == [("x[1].b", False)]


def test_two_people_are_two() -> None:
    """One name in two spellings is one person; a warning, unless strict or in an emergency."""
    document = {"o": {"name": "Ann  Reed"}, "p": {"name": "ann reed"}}
    rule: Form = {"two_people": ["o", "p"]}
    assert _said(rule, document) == [("p", True)]
    assert _said(rule, document, priority="emergency") == [("p", False)]
    assert _said(rule | {"strict": True}, document) == [("p", False)]
    assert _said(rule, document | {"p": {"name": "John"}}) == _said(rule, {}) == []


def test_numbers_of_items_are_those_of_the_request() -> None:
    """Answered once, all of them, none beyond; not judged where the request is not at hand."""
    request: Form = {"items": [{}, {}]}
    unique = {"unique": "x[].item", "text": "Item {place} is answered twice."}
    every, exist = {"every_item": "x[].item"}, {"items_exist": "items"}
    document: Form = {"x": [{"item": 1}, {"item": 1}], "items": [2, 3]}
    assert _said(unique, document) == [("x[1].item", False)]
    assert _said(every, document, request=request) == [("x", False)]
    assert _said(exist, document, request=request) == [("items[1]", False)]
    assert _said(every, document) == _said(exist, document) == []
    assert _said(exist, document, request={"items": [1, 2]}) == []
    assets = {"items_exist": "a", "list": "assets"}
    assert _said(assets, {"a": 2}, request={"assets": [{}]}) == [("a", False)]


@pytest.mark.parametrize("basis", ["UNCC-42", "BUD-29", "BILATERAL"])
def test_the_shortest_preservation_is_that_of_the_basis(basis: str) -> None:
    """Sixty days to the second, for the headline and for items with times of their own."""
    rule = {"least_days": ["f", "u"]}
    for seconds, wrong in ((60 * DAY, False), (60 * DAY - 1, True)):
        dated = {"f": written(NOW), "u": written(NOW + seconds)}
        assert bool(_said(rule, dated, request={"legal_basis": basis})) is wrong
    item = {"least_days": ["x[].f", "x[].u"]}
    document: Form = {"f": written(NOW), "x": [{"u": written(NOW + 59 * DAY)}]}
    assert _said(item, document) == [("x[0].u", False)]
    earliest = {"earliest": "u", "of": "x[].u"}
    assert _said(earliest, document | {"u": written(NOW + 60 * DAY)}) == [("u", False)]


def test_a_ground_is_one_of_the_basis() -> None:
    """A ground of mutual legal assistance does not reach preservation; a provision is named."""
    mla, own = {"ground": "g", "answer": "mla"}, {"ground": "g"}
    document = {"legal_basis": "UNCC-42", "g": "R-FORM"}
    assert _said(mla, document) == []
    assert _said(own, document) == [("g", False)]
    assert _said(own, {"legal_basis": "INTERPOL", "g": "R-NATLAW"}) == [("provision", False)]
    other = {"legal_basis": "UNCC-42", "g": "R-SOV"}
    assert _said(own, other, request={"legal_basis": "BUD-29"}) == [("legal_basis", False)]


def test_how_a_message_is_sent() -> None:
    """A drill is sent as an exercise; an emergency with that priority, or it is said."""
    assert _said({"mode": "exercise"}, {}, mode="actual") == [("", False)]
    assert _said({"mode": "exercise"}, {}, mode="exercise") == _said({"mode": "exercise"}, {}) == []
    assert _said({"priority": "emergency"}, {}, priority="urgent") == [("", True)]
    assert _said({"priority": "emergency"}, {}, priority="emergency") == []
    assert _said({"addresses": ["x[].a"]}, {"x": [{"a": "999.1.1.1"}]}) == [("x[0].a", False)]


# The rules of the schema files


def _rules() -> list[tuple[str, int]]:
    return [
        (kind, n) for kind in forms.KINDS for n in range(len(schema.load(kind).get("x-rules", ())))
    ]


def _paths(rule: Form) -> list[str]:
    found: list[str] = []
    for key, value in rule.items():
        if key in KEYS:
            found += value
        elif key in {
            "unique",
            "every_item",
            "items_exist",
            "some",
            "earliest",
            "of",
            "ground",
            "identifiers",
        }:
            found.append(value)
        elif key == "differ":
            found += value
        elif key == "when":
            found += [value[one] for one in ("field", "code", "includes") if one in value]
    return found


@pytest.mark.parametrize(("kind", "number"), _rules())
def test_a_rule_of_a_kind_names_what_exists(kind: str, number: int) -> None:
    """Words are known, fields are in the schema, codes have the attribute that is asked of them."""
    shape = schema.load(kind)
    rule = shape["x-rules"][number]
    words = set(rule) & set(conditions.READERS)
    assert words, rule
    assert set(rule) <= set(conditions.READERS) | conditions.OPTIONS, rule
    for path in _paths(rule):
        node = shape
        for step in path.split("."):
            name = step.removesuffix("[]")
            assert name in node["properties"], (path, rule)
            node = node["properties"][name]
            if step.endswith("[]"):
                node = node["items"]
        assert label_of(shape, path), path
    if "code" in (when := rule.get("when", {})):
        rows = codes.lists()[list_of(shape, when["code"])]
        assert all(when.get("has", when.get("lacks")) in row.more for row in rows.values()), rule
        assert any(row.more[when.get("has", when.get("lacks"))] for row in rows.values()), rule


@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind, n in _rules() if "need" in schema.load(kind)["x-rules"][n]],
)
def test_a_needed_field_is_missed_when_its_condition_holds(
    kind: str, number: int, answers: dict[str, Form]
) -> None:
    """For every rule that wants a field: set the condition, take the field away, and it is named."""
    shape = schema.load(kind)
    rule = shape["x-rules"][number]
    when = rule["when"]
    path = when.get("field", when.get("code", when.get("includes")))
    for value in _values(shape, when, path):
        for needed in rule["need"]:
            document = copy.deepcopy(answers[kind])
            if not _set(document, path, value):
                continue
            for place in list(places(document, needed)):
                _drop(document, place.path)
            found = conditions.findings(shape, document, Circumstances(NOW))
            assert needed.replace("[]", "[0]") in [one.path for one in found], (value, needed)


def _values(shape: Mapping[str, Any], when: Form, path: str) -> list[Any]:
    if "code" in when:
        rows = codes.lists()[list_of(shape, path)]
        word = str(when.get("has", when.get("lacks")))
        return [code for code, row in rows.items() if bool(row.more[word]) == ("has" in when)]
    if "includes" in when:
        return [[when["value"]]]
    return [when.get("is", "x")]


def _set(document: Form, path: str, value: Any) -> bool:
    block: Any = document
    *steps, last = path.split(".")
    for step in steps:
        name = step.removesuffix("[]")
        if name not in block:
            block[name] = [{}] if step.endswith("[]") else {}
        block = block[name][0] if step.endswith("[]") else block[name]
    block[last] = value
    return True


def _drop(document: Form, path: str) -> None:
    block: Any = document
    *steps, last = path.split(".")
    for step in steps:
        name, _bracket, number = step.partition("[")
        block = block[name][int(number[:-1])] if number else block[name]
        if block is None:
            return
    if isinstance(block, dict):
        block.pop(last, None)


# What the domain asks for, written down a second time, so that no rule can be lost from a schema file.
WANTED = [
    ("redirect", {"forwarded": True}, "forwarded_at"),
    ("partial", {"items": [{"item": 1, "result": "NOT-PRESERVED"}]}, "items[0].cause"),
    ("partial", {"items": [{"item": 1, "result": "PENDING"}]}, "items[0].expected_at"),
    ("cannot_execute", {"cause": "X-NOT-IN-TERRITORY"}, "country"),
    ("cannot_execute", {"scope": "ITEMS"}, "items"),
    ("info_request", {"interim_measure_taken": True}, "interim"),
    ("info_request", {"return_reasons": ["Q-INCOMPLETE"]}, "missing_letters"),
    ("postponement", {"interim_preservation": True}, "interim_until"),
    ("not_sufficient_decision", {"decision": "PROCEED-CHANGED"}, "changes"),
    ("withdrawal_confirmed", {"released": True}, "released_at"),
    ("withdrawal_confirmed", {"released": False}, "why_held"),
    ("extension_decision", {"outcome": "EXTENDED"}, "granted_until"),
    ("extension_decision", {"outcome": "LAST-TERM"}, "last_possible_until"),
    ("extension_decision", {"outcome": "EXTENSION-REFUSED"}, "ground"),
    ("extension_decision", {"outcome": "EXTENSION-REFUSED"}, "reason_text"),
    ("extension_decision", {"outcome": "EXTENSION-REFUSED"}, "approver"),
    ("mla_decided", {"data": "STILL-HELD"}, "held_until"),
    ("mla_decided", {"outcome": "MLA-REFUSED"}, "ground"),
    ("mla_decided", {"outcome": "MLA-REFUSED"}, "reason_text"),
    ("locate_answer", {"found": [{"item": 1, "known": True}]}, "found[0].country"),
    ("emergency_request", {"oral_first": True}, "prior_oral_request"),
    ("emergency_request", {"oral_first": True}, "confirmation_contact"),
    ("emergency_request", {"do_not_notify_user": True}, "do_not_notify_reason"),
    ("emergency_answer", {"outcome": "PROVIDED"}, "delivery"),
    ("emergency_answer", {"delivery": "SECURE-TRANSFER"}, "transfer_reference"),
    ("emergency_answer", {"delivery": "ATTACHED"}, "attachments"),
    ("emergency_answer", {"outcome": "NEEDS-MORE"}, "needed"),
    ("legal_information_answer", {"outcome": "PROVIDED"}, "text"),
    ("locate_suspect_request", {"arrest_warrant": True}, "warrant"),
    ("locate_suspect_request", {"purpose": "LOCATE-TO-ARREST"}, "warrant"),
    ("locate_suspect_answer", {"outcome": "LOCATED"}, "location"),
    ("provisional_arrest_answer", {"outcome": "ARRESTED"}, "custody_until"),
    ("freezing_answer", {"assets": [{"asset": 1, "result": "FROZEN"}]}, "frozen_until"),
    ("freezing_answer", {"assets": [{"asset": 1, "result": "NOT-FROZEN"}]}, "assets[0].cause"),
    ("spontaneous_information", {"confidential": True}, "confidential_note"),
    ("spontaneous_answer", {"conditions_accepted": False}, "why_not"),
    ("incident_answer", {"seen_here": "SEEN"}, "sightings"),
    ("onward_transfer_request", {"receiver": {"is_state": True, "name": "X."}}, "receiver.country"),
    ("onward_transfer_answer", {"outcome": "AUTHORISED"}, "authorised_by"),
    ("onward_transfer_answer", {"outcome": "AUTHORISED-ON-CONDITIONS"}, "conditions"),
    ("ping", {"level": "BY-PERSON-WITH-ANSWER"}, "question"),
    ("pong", {"level": "BY-PERSON"}, "person_role"),
    ("correction", {"effect": "CORRECTS"}, "fields"),
    ("correction", {"effect": "SUPERSEDES"}, "replaced_by"),
]


@pytest.mark.parametrize(("kind", "changes", "path"), WANTED)
def test_what_the_domain_asks_for_is_asked_for(
    kind: str, changes: Form, path: str, answers: dict[str, Form]
) -> None:
    """With this value, that field must be there; with another value, or with the field, it is not missed."""
    document = answers[kind] | changes
    _drop(document, path)
    found = forms.check(kind, document, now=NOW, priority="emergency")
    assert path in [one.path for one in found if not one.warning]
