"""Stories of the domain as far as documents carry them, and a great many documents that somebody spoilt."""

import copy
import json
import os
import random
from typing import Any

import pytest

from keys.errors import Refused
from relay.desk.documents import codes, forms, page, prefill, schema, wording
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import written
from relay.desk.documents.wording import LANGUAGES

Form = dict[str, Any]
MUTANTS = 5_000 if os.environ.get("POC24_LONG") == "1" else 600


def test_story_1_sending_is_impossible_while_a_letter_is_red(request_form: Form, now: int) -> None:
    """An officer fills one form; each letter that is missing is red, and red letters stop the request."""
    draft: Form = {"kind": "preservation_request"}
    seen: list[str] = []
    for field, value in request_form.items():
        draft[field] = value
        red = "".join(letter for letter, _, done in forms.checklist(draft) if not done)
        seen.append(red)
        if red:
            with pytest.raises(Refused) as refused:
                forms.require("preservation_request", draft, now=now, priority="urgent")
            assert all(f"({letter})" in refused.value.text for letter in red)
    assert seen[0] == "abcdefg"
    assert seen[-1] == ""
    assert [len(red) for red in seen] == sorted((len(red) for red in seen), reverse=True)
    assert json.loads(json.dumps(draft)) == draft  # a saved draft is the same form


@pytest.mark.parametrize("language", LANGUAGES)
def test_story_1_in_every_language(language: str, request_form: Form, now: int) -> None:
    """The checklist and the refusal are read in the officer's language, with the article of each letter."""
    del request_form["necessity"]
    letters = forms.checklist(request_form, language)
    assert [letter for letter, _, done in letters if not done] == ["e"]
    assert all("42(3)" in text for _, text, _ in letters)
    with pytest.raises(Refused) as refused:
        forms.require(
            "preservation_request", request_form, now=now, priority="urgent", language=language
        )
    assert wording.word("Necessity", language) in refused.value.text


def test_story_3_an_address_forces_time_zone_and_port(request_form: Form, now: int) -> None:
    """The sentence says why: many share one address."""
    item = request_form["items"][0]
    for field in ("observed_tz", "port", "observed_at"):
        del item[field]
    found = forms.check("preservation_request", request_form, now=now, priority="urgent")
    assert {one.path for one in found} == {
        f"items[0].{x}" for x in ("observed_tz", "port", "observed_at")
    }
    assert "Many share one address" in next(one.text for one in found if one.path.endswith("port"))


def test_a_request_that_is_too_broad_is_told_so(request_form: Form, now: int) -> None:
    """Years of logs and mail come back; subscriber data of any age do not."""
    item = request_form["items"][1]
    item |= {"period_from": written(now - 900 * DAY), "period_to": written(now - DAY)}
    found = forms.check("preservation_request", request_form, now=now, priority="urgent")
    assert [(one.path, one.warning) for one in found] == [("items[1].period_to", True)]
    assert "too broad" in found[0].text
    item["data_categories"] = ["SUBSCRIBER"]
    assert forms.check("preservation_request", request_form, now=now, priority="urgent") == []


def test_story_5_extend_and_mla_sent_need_one_word_each(request_form: Form, now: int) -> None:
    """Ten days before the end: a reason and a date, or a reference and a date; everything else is there."""
    around: Form = {
        "now": now,
        "officer": "Tran Thi Mai",
        "function": "Senior investigator",
        "language": "en",
    }
    extend = prefill.extension(
        request_form, current_until=now + 10 * DAY, why="The court sits next week.", mla_expected_by=now + 20 * DAY, **around
    )  # fmt: skip
    sent = prefill.mla_sent(request_form, reference="M-1", sent_at=now, to_authority="Central authority of AU", **around)  # fmt: skip
    for document in (extend, sent):
        kind = str(document["kind"])
        assert forms.check(kind, document, now=now, priority="urgent", request=request_form) == []


def test_story_8_frozen_and_two_questions_in_one_step(
    request_form: Form, answers: dict[str, Form], now: int
) -> None:
    """The answer to an incomplete request holds the data meanwhile, and names letters and fields."""
    ask = prefill.freeze_and_ask(
        request_form, now=now, officer="Ann Reed", function="Officer", language="en",
        questions=["Which port?", "Which time zone?"], answer_by=now + DAY, frozen_until=now + 60 * DAY,
    )  # fmt: skip
    ask |= {"return_reasons": ["Q-INCOMPLETE"], "missing_letters": ["LETTER-C"]}
    assert forms.check("info_request", ask, now=now, priority="urgent", request=request_form) == []
    del ask["missing_letters"]
    found = forms.check("info_request", ask, now=now, priority="urgent", request=request_form)
    assert [one.path for one in found] == ["missing_letters"]


def test_story_9_an_emergency_is_on_the_first_screen(answers: dict[str, Form], now: int) -> None:
    """Danger, who is at risk, what is needed and why come before everything that is only needed later."""
    required = list(schema.load("emergency_request")["required"])
    wanted = ["danger", "persons_at_risk", "imminence", "data_needed", "how_data_avert"]
    assert [field for field in required if field in wanted] == wanted
    for field in [*wanted, "supervisor", "why_normal_too_slow"]:
        document = {key: one for key, one in answers["emergency_request"].items() if key != field}
        found = forms.check("emergency_request", document, now=now, priority="emergency")
        assert field in [one.path for one in found]
    own = answers["emergency_request"] | {"supervisor": answers["emergency_request"]["officer"]}
    found = forms.check("emergency_request", own, now=now, priority="emergency")
    assert "supervisor" in [one.path for one in found if not one.warning]


@pytest.mark.parametrize("basis", list(codes.lists()["legal_basis"]))
def test_story_10_a_refusal_needs_a_ground_of_the_treaty_and_a_second_person(
    basis: str, answers: dict[str, Form], now: int
) -> None:
    """Every ground under every basis is allowed or refused as the data file says; the approver is another person."""
    refusal = answers["refusal"] | {"legal_basis": basis, "provision": "Section 1"}
    for code in (*codes.lists()["refusal"], *codes.lists()["blocked_refusal"]):
        found = forms.check("refusal", refusal | {"ground": code}, now=now, priority="urgent")
        entry = codes.find("refusal", code)
        allowed = (
            entry is not None
            and basis in entry.more["bases"]
            and "preservation" in entry.more["answers"]
            and not entry.more["needs_reservation"]
        )
        assert ([one.path for one in found] == []) is allowed, code
    alone = refusal | {"approver": refusal["officer"]}
    found = forms.check("refusal", alone, now=now, priority="urgent")
    assert "approver" in [one.path for one in found if not one.warning]


@pytest.mark.parametrize("code", list(codes.lists()["blocked_refusal"]))
def test_what_no_treaty_allows_is_not_selectable(code: str) -> None:
    """Dual criminality as such, fiscal nature, bank secrecy and language are in no list of any form."""
    for kind in forms.KINDS:
        assert code not in json.dumps(forms.schema(kind))


def test_a_fact_and_a_question_are_no_refusals() -> None:
    """What cannot be executed, and what is asked back, have kinds and codes of their own."""
    grounds = set(codes.lists()["refusal"])
    for name in ("cannot_execute", "return_reason"):
        assert not grounds & set(codes.lists()[name])
    assert forms.statement_kind("cannot_execute") == "answer"
    assert forms.statement_kind("info_request") == "info"


# Bad input


def _spoil(value: Any, dice: random.Random) -> Any:
    """Return a document with one thing changed somewhere inside."""
    found = copy.deepcopy(value)
    holders: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict | list) and node:
            holders.append(node)
            for inner in node.values() if isinstance(node, dict) else node:
                walk(inner)

    walk(found)
    holder = dice.choice(holders)
    key = dice.choice(list(holder)) if isinstance(holder, dict) else dice.randrange(len(holder))
    act = dice.randrange(4)
    junk: list[Any] = [
        None,
        True,
        -1,
        2**60,
        "",
        "x",
        "\x1b[2J",
        "\u202e",
        3000 * "é",
        [],
        {},
        "2026-13-01T00:00:00Z",
    ]
    if act == 0:
        del holder[key]
    elif act == 1 and isinstance(holder, dict):
        holder[dice.choice(["colour", "kind", "items", "\u2028"])] = dice.choice(junk)
    elif act == 2 and isinstance(holder, list):
        holder.extend([copy.deepcopy(holder[key])] * 70)
    else:
        holder[key] = dice.choice(junk)
    return found


def test_spoilt_documents_are_sentences_in_the_readers_language(
    answers: dict[str, Form], now: int
) -> None:
    """Whatever is spoilt: a sentence that names the field, in each language in turn, or the document is still complete."""
    dice = random.Random(24)
    refused = 0
    for number in range(MUTANTS):
        kind = dice.choice(forms.KINDS)
        language = LANGUAGES[number % len(LANGUAGES)]
        document = _spoil(answers[kind], dice)
        found = forms.check(kind, document, now=now, priority="emergency", request=answers["preservation_request"] if forms.place(kind) == "follows" else None)  # fmt: skip
        for problem in found:
            line = forms.told(problem, language)
            assert "{" not in line.replace(str(document), ""), line
            assert not set(line) & set("\x1b\u202e\x07"), line
            if language in {"ar", "ru", "zh"}:
                assert any(ord(letter) > 0x400 for letter in line), line
        refused += any(not problem.warning for problem in found)
        made = page.page(page.form_of(forms.body_type(kind)), document, language)
        assert all(cell.labels for cell in made.cells)
    assert refused > MUTANTS // 2
