"""Words in seven languages: plurals after CLDR, templates, completeness, and no text outside of the data files."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.desk.documents import clocks, codes, forms, message, page, plural, schema, wording
from relay.desk.documents.wording import LANGUAGES, PSEUDO, say

ROOM = Path(codes.__file__).parent
CODES: dict[str, Any] = json.loads((ROOM / "codes.json").read_text("utf-8"))
WORDS: dict[str, Any] = json.loads((ROOM / "words.json").read_text("utf-8"))
OTHERS = [language for language in LANGUAGES if language != "en"]

# The samples that Unicode CLDR publishes beside its cardinal rules.
CLDR = {
    "ar": {
        "zero": [0],
        "one": [1],
        "two": [2],
        "few": [*range(3, 11), 103, 110, 1003],
        "many": [*range(11, 27), 111, 1011],
        "other": [100, 101, 102, 200, 202, 300, 302, 400, 500, 1000, 10000, 100000, 1000000],
    },
    "en": {"one": [1], "other": [0, *range(2, 17), 100, 1000, 10000, 1000000]},
    "es": {
        "one": [1],
        "many": [1_000_000, 2_000_000],
        "other": [0, *range(2, 17), 100, 1000, 10000, 100000, 1_000_001],
    },
    "fr": {
        "one": [0, 1],
        "many": [1_000_000, 2_000_000],
        "other": [*range(2, 18), 100, 1000, 10000, 100000],
    },
    "ru": {
        "one": [1, 21, 31, 41, 51, 61, 71, 81, 101, 1001],
        "few": [2, 3, 4, 22, 23, 24, 32, 42, 52, 62, 102, 1002],
        "many": [0, *range(5, 20), 100, 111, 112, 114, 1000, 10000, 1000000],
    },
    "vi": {"other": [*range(16), 100, 1000, 1000000]},
    "zh": {"other": [*range(16), 100, 1000, 1000000]},
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_plural_categories_are_those_of_cldr(language: str) -> None:
    """Every sample number of every category falls into it."""
    for category, numbers in CLDR[language].items():
        for number in numbers:
            assert plural.category(language, number) == category, number


def test_a_template_chooses_its_branch() -> None:
    """Exact numbers first, then the category, then `other`; # is the number, arguments stand inside branches."""
    text = "{n, plural, =0 {no day} one {# day of {who}} other {# days of {who}}}!"
    said = [message.formatted(text, {"n": n, "who": "AU"}, "en") for n in (0, 1, 7)]
    assert said == ["no day!", "1 day of AU!", "7 days of AU!"]
    assert message.arguments(text) == {"n", "who"}


@pytest.mark.parametrize(
    "broken", ["{", "}", "{n", "{n, plural, one {x}", "{n, select, a {x}}", "{n, plural, }", "{N}"]
)
def test_a_broken_template_is_refused(broken: str) -> None:
    """What is not well formed is noticed when it is read, and never shown half."""
    with pytest.raises(ValueError, match=r"\S"):
        message.parsed(broken)


def test_a_plural_wants_a_whole_number() -> None:
    """A text where a number belongs is a mistake of the program, not a silent `other`."""
    with pytest.raises(TypeError):
        message.formatted("{n, plural, other {#}}", {"n": "7"}, "en")
    with pytest.raises(KeyError):
        message.formatted("{n}", {}, "en")


def test_a_sentence_is_english_text_that_knows_other_languages() -> None:
    """It compares and prints as English, and says itself with translated arguments and right plurals."""
    said = say(
        "“{field}” has {count, plural, one {# entry} other {# entries}}; the limit is {most}.",
        field=say("Items"),
        count=65,
        most="64",
    )
    assert said == "“Items” has 65 entries; the limit is 64."
    assert said.into("ru") == "В «Пункты» 65 записей; предел — 64."  # noqa: RUF001
    assert "65 مدخلاً" in said.into("ar")
    assert said.into("xx") == said
    assert wording.into("a word of theirs", "ru") == "a word of theirs"


def test_arguments_cannot_turn_a_sentence_round() -> None:
    """Isolated, each argument stands between marks; a reference reads the same in a sentence of Arabic."""
    said = say("{path} ends earlier than the acceptance says; “{field}” is the earliest end, so that no clock is late.", path="2026-01", field=say("Preserved until"))  # fmt: skip
    text = said.into("ar", isolated=True)
    assert "\u20682026-01\u2069" in text
    assert text.count("\u2068") == text.count("\u2069") == 2


# Completeness


def _labels() -> Iterator[tuple[str, dict[str, str]]]:
    for group in ("instruments", "letters", "numbers"):
        for key, row in CODES[group].items():
            yield f"{group}/{key}", row["labels"]
    for name, rows in CODES["lists"].items():
        for code, row in rows.items():
            yield f"{name}/{code}", row["labels"]
            if isinstance(row.get("reason"), dict):
                yield f"{name}/{code}/reason", row["reason"]


def test_every_code_has_a_label_in_all_seven_languages() -> None:
    """No label is missing, empty, or English by oversight (where a word is the same, it is short)."""
    for place, labels in _labels():
        assert set(labels) == set(LANGUAGES), place
        for language, label in labels.items():
            assert label.strip() == label, (place, language)
            assert label, (place, language)
            if language in {"ar", "ru", "zh"} and not label.isupper():
                assert re.search("[\u0400-\u04ff\u0600-\u06ff\u4e00-\u9fff]", label) or (
                    label in {"Europol", "INTERPOL"}
                ), (place, language)


def _nodes(shape: Any) -> Iterator[Any]:
    yield shape
    for inner in shape.get("properties", {}).values():
        yield from _nodes(inner)
    if "items" in shape:
        yield from _nodes(shape["items"])


def _used() -> set[str]:
    """Return every text of ours: labels, titles, forms, sentences of rules, and what the code says."""
    found: set[str] = set()
    for kind in forms.KINDS:
        shape = schema.load(kind)
        found.add(str(shape["title"]))
        for node in _nodes(shape):
            found |= {str(node[key]) for key in ("x-label", "x-form") if key in node}
        for rule in shape.get("x-rules", ()):
            found |= {rule[key] for key in ("because", "text", "otherwise") if key in rule}
    for table in (clocks.table(), clocks.reminders()):
        found |= {str(row["label"]) for row in table.values()}
    for path in ROOM.glob("*.py"):
        found |= set(_said(ast.parse(path.read_text("utf-8"))))
    return found


def _said(tree: ast.Module) -> Iterator[str]:
    documented = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = {"say": 0, "word": 0, "_no_such": 1, "Finding": 1}.get(name)
            if place is not None and len(node.args) > place:
                argument = node.args[place]
                chosen = [argument]
                if isinstance(argument, ast.IfExp):
                    chosen = [argument.body, argument.orelse]
                for one in chosen:
                    if isinstance(one, ast.Constant) and isinstance(one.value, str):
                        yield one.value
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documented
            and re.fullmatch(r"[A-Z“{][^`]* [^`]*[.?]", node.value, re.DOTALL)
            and not node.value.startswith(("There is no kind", "Known kinds"))
        ):
            yield node.value


def test_everything_that_is_said_can_be_said_in_every_language() -> None:
    """Each label, title and sentence stands in words.json with all six translations."""
    known = WORDS["words"]
    assert sorted(text for text in _used() if text not in known) == []
    for english, row in known.items():
        assert set(row) == set(OTHERS), english


def test_nothing_stands_in_the_words_that_nobody_says() -> None:
    """A text that was changed in the code leaves no old translation behind."""
    tables = {"a block of fields", "a list", "text", "true or false", "a whole number", "null"}
    tables |= {"a number with a fraction", "something else", "Earlier requests", "Service", "Port"}
    tables |= {"Earlier oral request", "Second person who can confirm", "Time zone of the log"}
    tables |= {codes.TO_BE_CHECKED, "Observed at", "The document", "The list", "The text"}
    tables |= {"see the schema", "no."}
    assert sorted(set(WORDS["words"]) - _used() - tables) == []


def test_translations_have_the_arguments_of_the_original() -> None:
    """No argument is lost or invented, and each plural spells out what the language needs."""
    for english, row in WORDS["words"].items():
        wanted = message.arguments(english)
        for language, text in row.items():
            assert message.arguments(text) == wanted, (language, english)
            assert len(message.plurals(text)) == len(message.plurals(english)), (language, english)
            for selectors in message.plurals(text):
                assert set(plural.NEEDED[language]) <= selectors, (language, english)


def test_nobody_has_reviewed_a_language_unless_the_files_say_who() -> None:
    """Both files say the same of every language, and a page in an unreviewed one carries the warning."""
    for language in LANGUAGES:
        said = CODES["languages"][language]["reviewed"]
        assert said == WORDS["languages"][language]["reviewed"] == wording.reviewed(language)
        found = page.page(page.form_of(forms.body_type("pong")), {}, language)
        assert bool(found.notices) == (said == "")
    assert list(WORDS["languages"]) == list(LANGUAGES) == list(CODES["languages"])


# The language that nobody speaks


@pytest.mark.parametrize("kind", forms.KINDS)
def test_no_text_is_hard_coded(kind: str, answers: dict[str, Any]) -> None:
    """In the pseudo-language every letter that is not the document's own stands in brackets of ours."""
    document = answers[kind]
    found = page.page(page.form_of(forms.body_type(kind)), document, PSEUDO)
    own = {str(leaf) for leaf in _leaves(document)}
    for cell in found.cells:
        for label in cell.labels:
            assert re.fullmatch(r"⟦.*⟧( [0-9]+)?", label), label
        text = re.sub("[\u2066\u2068\u2069]", "", cell.text)
        for leaf in sorted(own, key=len, reverse=True):
            text = text.replace(leaf, "")
        assert re.search(r"[A-Za-z]", _outside(text)) is None, cell


def test_no_sentence_is_hard_coded() -> None:
    """What is said of an empty and of a wild document is in brackets, too."""
    for kind in forms.KINDS:
        for document in ({}, {"items": [1], "officer": "x", "scope": "ITEMS"}):
            for problem in forms.check(kind, document, now=0, priority="emergency"):
                said = wording.into(problem.text, PSEUDO)
                assert said.startswith("⟦"), said
                assert said.endswith("⟧"), said


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _outside(text: str) -> str:
    depth, kept = 0, []
    for letter in text:
        depth += (letter == "⟦") - (letter == "⟧")
        if depth == 0:
            kept.append(letter)
    return "".join(kept)
