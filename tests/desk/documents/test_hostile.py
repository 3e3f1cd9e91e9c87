"""Documents of a megabyte that somebody wrote to keep an officer's machine busy: told what is wrong, in a moment."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from keys.errors import Code, Refused
from relay.desk.documents import forms, schema, skeleton
from relay.desk.documents.reading import ENTRIES_MAX

NOW = 1_800_000_000
MANY = 6000
SECONDS_MAX = 2.0


def lists(shape: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every list of a schema that is not inside of another one."""
    for key, inner in shape.get("properties", {}).items():
        if inner.get("type") == "array":
            yield (*path, key)
        else:
            yield from lists(inner, (*path, key))


def looked_at(kind: str, document: Mapping[str, Any]) -> str:
    """Check, show and refuse a document as a desk does; return the refusal. Fails if that takes long."""
    begun = time.process_time()
    forms.summary(kind, document)
    with pytest.raises(Refused) as refused:
        forms.require(kind, document, now=NOW, priority="urgent")
    assert time.process_time() - begun < SECONDS_MAX
    assert refused.value.code is Code.E_DOCUMENT
    return str(refused.value)


@pytest.mark.parametrize("kind", forms.KINDS)
def test_lists_without_end(kind: str) -> None:
    """Every list of a document has 6000 entries, numbers or blocks: rules that compare them are not begun."""
    makers: tuple[Callable[[], object], ...] = (int, dict)
    for entry in makers:
        document: dict[str, Any] = skeleton.example(kind, now=NOW)
        for *above, name in lists(schema.load(kind)):
            block = document
            for step in above:
                block = block.setdefault(step, {})
            block[name] = [entry() for _ in range(MANY // 4)]
        document["more"] = [entry() for _ in range(MANY)]
        assert "“more”" in looked_at(kind, document)


@pytest.mark.parametrize("kind", forms.KINDS)
def test_fields_without_end(kind: str) -> None:
    """6000 fields that no form has: some are named, the rest is counted."""
    document = {**skeleton.example(kind, now=NOW), **{f"x{n}": n for n in range(MANY)}}
    said = looked_at(kind, document)
    assert "and 9" in said
    assert len(said) < 20_000


def test_no_list_of_a_form_is_longer_than_what_rules_look_at() -> None:
    """Every list of every schema has a largest length, so whoever exceeds it is refused without the rules."""

    def check(shape: Mapping[str, Any]) -> None:
        if shape.get("type") == "array":
            assert shape["maxItems"] <= ENTRIES_MAX
            check(shape["items"])
        for inner in shape.get("properties", {}).values():
            check(inner)

    for kind in forms.KINDS:
        assert schema.load(kind)["additionalProperties"] is False
        check(schema.load(kind))
