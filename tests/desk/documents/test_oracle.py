"""Our validator against another implementation of JSON Schema 2020-12, on documents that hypothesis bends."""

import copy
import json
from datetime import datetime
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings, strategies

from relay.desk.documents import forms, schema

ORACLE_FORMATS = jsonschema.FormatChecker()


@ORACLE_FORMATS.checks("date-time", raises=ValueError)
def _date_time(value: object) -> bool:
    # The package leaves this format to another one; the pattern beside it says the rest.
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


ORACLES = {
    kind: jsonschema.Draft202012Validator(forms.schema(kind), format_checker=ORACLE_FORMATS)
    for kind in forms.KINDS
}

WORDS = strategies.sampled_from(
    [
        "",
        "x",
        "VN",
        "vn",
        "AU-B",
        "UNCC-42",
        "NEW",
        "IPV4",
        "+84 24 0000 0100",
        "a@b.example",
        "en-AU",
        "UTC",
        "+07:00",
        "kind",
        " space",
        "two\nlines",
        "2026-11-23",
        "2026-02-30",
        "2026-11-23T03:00:00Z",
        "2026-11-23T25:00:00Z",
        "1.2.3.4",
        50 * "é",
        500 * "word ",
    ]
)
# No fractions: another implementation takes 1.0 for an integer, PROTOCOL 6.1 does not.
ATOMS = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-2, 70_000)
    | WORDS
    | strategies.text(max_size=12).filter(lambda text: not text.endswith("\n"))
)
VALUES = strategies.recursive(
    ATOMS,
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(WORDS, inner, max_size=3)
    ),
    max_leaves=4,
)


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += _places(inner, (*path, number))
    return found


def _bend(document: object, data: strategies.DataObject) -> object:
    path = data.draw(strategies.sampled_from(_places(document)), label="where")
    act = data.draw(strategies.sampled_from(["replace", "remove", "add", "double"]), label="what")
    if not path:
        return data.draw(VALUES) if act == "replace" else document
    holder: Any = document
    for step in path[:-1]:
        holder = holder[step]
    if act == "replace":
        holder[path[-1]] = data.draw(VALUES, label="value")
    elif act == "remove":
        del holder[path[-1]]
    elif isinstance(holder, list):
        holder.extend([holder[path[-1]]] * (1 if act == "double" else 70))
    else:
        holder[data.draw(WORDS, label="key")] = data.draw(VALUES, label="value")
    return document


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=strategies.data())
def test_both_validators_agree(data: strategies.DataObject, answers: dict[str, Any]) -> None:
    """A document that one of two implementations takes, the other takes too; so with refusals."""
    kind = data.draw(strategies.sampled_from(forms.KINDS), label="kind")
    document: object = copy.deepcopy(answers[kind])
    for _ in range(data.draw(strategies.integers(0, 3), label="changes")):
        document = _bend(document, data)

    ours = schema.faults(schema.load(kind), document)
    theirs = [error.message for error in ORACLES[kind].iter_errors(document)]

    assert bool(ours) == bool(theirs), json.dumps({"ours": ours, "theirs": theirs})[:2000]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=strategies.data())
def test_no_document_stops_the_rules(data: strategies.DataObject, answers: dict[str, Any]) -> None:
    """Whatever others send, checking and showing it ends in sentences, never in a crash."""
    kind = data.draw(strategies.sampled_from(forms.KINDS), label="kind")
    document: object = copy.deepcopy(answers[kind])
    for _ in range(data.draw(strategies.integers(1, 4), label="changes")):
        document = _bend(document, data)
    if not isinstance(document, dict):
        return

    found = forms.check(
        kind, document, now=0, priority="emergency", request=answers["preservation_request"]
    )
    shown = forms.summary(kind, document)

    assert all(problem.text.endswith((".", "?")) for problem in found)
    assert all("\x1b" not in value for _, value in shown)
    if schema.faults(schema.load(kind), document):
        assert any(not problem.warning for problem in found)


def test_the_oracle_knows_every_schema_as_a_schema() -> None:
    """What `desk schema` prints is JSON Schema 2020-12."""
    for kind in forms.KINDS:
        jsonschema.Draft202012Validator.check_schema(forms.schema(kind))
