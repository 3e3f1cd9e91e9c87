"""The schema files, and the validator on what hostile or hurried people write."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keys import statement
from keys.errors import Refused
from relay.desk.documents import codes, forms, schema

ROOM = Path(schema.__file__).parent
FIELD = {"x-label": "Field"}


def _nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, node
    for key, inner in node.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{key}")
    if "items" in node:
        yield from _nodes(node["items"], f"{path}[]")


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_schema_file_keeps_the_manners_of_the_room(kind: str) -> None:
    """Closed objects, known keywords, a label on every field, a limit on every text and list."""
    found = schema.load(kind)
    assert found["$id"] == f"urn:poc24:document:{kind}:1"
    assert found["x-statement"] in {"request", "answer", "refusal", "info"}
    assert found["properties"]["kind"]["const"] == kind
    assert "kind" in found["required"]
    for path, node in _nodes(found):
        assert set(node) <= schema.KEYWORDS, path
        assert path == "" or node.get("x-label"), path
        assert path.count("[]") + path.count(".") < 8, path
        if node.get("type") == "object":
            assert node["additionalProperties"] is False, path
            assert set(node["required"]) <= set(node["properties"]), path
            assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", key) for key in node["properties"])
        elif node.get("type") == "array":
            assert node["maxItems"] >= node["minItems"] >= 1, path
        elif node.get("type") == "string":
            assert "enum" in node or node["maxLength"] >= node["minLength"] >= 1, path
            assert "pattern" not in node or "x-form" in node or "format" in node, path
        elif node.get("type") == "integer":
            assert node["minimum"] <= node["maximum"] < 2**53, path
        else:
            assert "const" in node or node["type"] == "boolean", path


def test_code_lists_and_articles_are_filled_in() -> None:
    """What `desk schema` prints can be read without the code file."""
    found = forms.schema("preservation_request")
    text = json.dumps(found)
    assert "x-block" not in text
    offence = found["properties"]["offence_categories"]["items"]  # type: ignore[index]
    assert offence["enum"] == list(codes.lists()["offence"])
    assert "Illegal access" in offence["x-labels"]["UNCC-7"]
    assert codes.citations()["UNCC-42-3-e"].text() in text


def test_a_schema_that_is_changed_by_its_reader_does_not_change_the_next() -> None:
    """The public schema is a copy."""
    forms.schema("withdrawal")["required"] = []
    assert forms.schema("withdrawal")["required"]


@pytest.mark.parametrize("kind", forms.KINDS)
def test_complete_documents_are_strict_json(kind: str, answers: dict[str, dict[str, Any]]) -> None:
    """Each kind has the one encoding of PROTOCOL 6.1 and fits its schema."""
    document = answers[kind]
    assert statement.decode(statement.encode(document)) == document
    assert schema.faults(schema.load(kind), document) == []


@pytest.mark.parametrize("value", [None, 1.0, 1.5, True, "3", [], {}])
def test_only_a_whole_number_is_a_whole_number(value: object) -> None:
    """Null, fractions, booleans and texts are no integers (PROTOCOL 6.1)."""
    rule = FIELD | {"type": "integer", "minimum": 0, "maximum": 9}
    assert [path for path, _ in schema.faults(rule, value)] == [""]
    assert schema.faults(rule, 3) == []


@pytest.mark.parametrize("value", [1, "true", None, False])
def test_a_constant_is_of_its_type(value: object) -> None:
    """One is not true: the promise of a follow-up request is made in so many words."""
    assert schema.faults(FIELD | {"const": True}, value)
    assert not schema.faults(FIELD | {"const": True}, True)


def test_a_line_feed_at_the_end_does_not_pass_a_pattern() -> None:
    """The end of a pattern is the very end of the text."""
    rule = FIELD | {"type": "string", "pattern": "^[A-Z]{2}$"}
    assert not schema.faults(rule, "VN")
    assert schema.faults(rule, "VN\n")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2026-11-23T03:00:00Z", True),
        ("2024-02-29T23:59:59Z", True),
        ("0001-01-01T00:00:00Z", True),
        ("2026-02-29T00:00:00Z", False),
        ("2026-11-23T24:00:00Z", False),
        ("2026-11-23T03:00:60Z", False),
        ("2026-11-23T03:00:00+07:00", False),
        ("2026-11-23t03:00:00z", False),
        ("2026-11-23 03:00:00Z", False),
        ("2026-11-23T03:00Z", False),
        ("٢٠٢٦-11-23T03:00:00Z", False),
        ("2026-11-23T03:00:00Z\n", False),
    ],
)
def test_a_time_is_utc_and_exists(text: str, good: bool) -> None:  # noqa: FBT001
    """Times are RFC 3339 in UTC, to the second, and on the calendar."""
    blocks = json.loads((ROOM / "blocks.json").read_text("utf-8"))
    assert (schema.faults(FIELD | blocks["time"], text) == []) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [("2026-11-23", True), ("2026-02-29", False), ("2026-W01-1", False), ("20261123", False)],
)
def test_a_day_exists(text: str, good: bool) -> None:  # noqa: FBT001
    """Days are on the calendar and written in one way."""
    blocks = json.loads((ROOM / "blocks.json").read_text("utf-8"))
    assert (schema.faults(FIELD | blocks["day"], text) == []) is good


def test_all_problems_are_told_at_once() -> None:
    """An officer corrects a form once, not once per line."""
    rule = {
        "type": "object",
        "additionalProperties": False,
        "required": ["a", "b", "c"],
        "properties": {
            "a": FIELD | {"type": "integer", "minimum": 3, "maximum": 9},
            "b": FIELD | {"type": "string", "minLength": 1, "maxLength": 3},
            "c": FIELD | {"type": "boolean"},
        },
    }
    found = schema.faults(rule, {"a": 2, "b": "four", "d": 1})
    assert [path for path, _ in found] == ["a", "b", "c", "d"]
    assert all(sentence.endswith(".") for _, sentence in found)


def test_limits_hold_at_n_and_not_at_n_plus_1() -> None:
    """Lengths and counts: at the limit fits, beyond does not."""
    text = FIELD | {"type": "string", "minLength": 2, "maxLength": 4}
    assert [bool(schema.faults(text, "x" * n)) for n in (1, 2, 4, 5)] == [True, False, False, True]
    whole = FIELD | {"type": "integer", "minimum": 2, "maximum": 4}
    assert [bool(schema.faults(whole, n)) for n in (1, 2, 4, 5)] == [True, False, False, True]
    listed = FIELD | {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}}
    assert [bool(schema.faults(listed, [1] * n)) for n in (0, 1, 2, 3)] == [
        True,
        False,
        False,
        True,
    ]


def test_an_unknown_kind_is_a_sentence() -> None:
    """Asking for a form that is not there names those that are."""
    with pytest.raises(Refused, match="no kind of document") as caught:
        forms.schema("postcard")
    assert "preservation_request" in caught.value.hint
