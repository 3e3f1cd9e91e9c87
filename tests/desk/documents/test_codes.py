"""The one file of codes: whole, honest about its sources, and filtered by legal basis."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.desk.documents import codes

ROOM = Path(codes.__file__).parent
FILE: dict[str, Any] = json.loads((ROOM / "codes.json").read_text(encoding="utf-8"))

UNCC = {"R-SOV", "R-DOMLAW", "R-DISCRIM"}
BUDAPEST = {"R-POL", "R-SOV"}
NATIONAL = {"R-NATLAW"}
GROUNDS = {
    "UNCC-42": UNCC,
    "UNCC-43": UNCC,
    "UNCC-41-3-a": NATIONAL,
    "UNCC-41-3-c": NATIONAL,
    "UNCC-41-3-d": NATIONAL,
    "UNCC-41-3-e": NATIONAL,
    "BUD-29": BUDAPEST,
    "BUD-30": BUDAPEST,
    "BUD-35": NATIONAL,
    "2AP-9": NATIONAL,
    "2AP-10": NATIONAL,
    "BILATERAL": NATIONAL | {"R-TREATY"},
    "RECIPROCITY": NATIONAL,
    "G7-24-7": NATIONAL,
    "INTERPOL": NATIONAL,
    "DOMESTIC": NATIONAL,
    "UNCC-37": NATIONAL,
    "UNCC-47": NATIONAL,
    "UNCC-50": NATIONAL,
    "BUD-24": NATIONAL,
    "UNCC-40-4": set(),
    "BUD-26": set(),
}


def _entries() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, rows in FILE["lists"].items():
        for code, row in rows.items():
            yield name, code, row


def test_every_code_has_all_its_attributes() -> None:
    """Each code has an English label, a source, and a citation that exists or none."""
    lists = codes.lists()
    for name, code, row in _entries():
        place = f"{name}/{code}"
        assert re.fullmatch(r"[A-Z0-9][A-Za-z0-9-]{1,31}", code), place
        assert row["labels"]["en"].strip(), place
        assert re.fullmatch(r"(S\d|M-h|M-m|M-l|D)(, (S\d|M-h|M-m|M-l|D))*", row["source"]), place
        assert row["cite"] == "" or row["cite"] in FILE["citations"], place
        entry = lists[name][code]
        assert entry.label() == row["labels"]["en"]
        assert entry.citation is not None or not row["cite"], place
        if entry.citation is not None:
            assert entry.citation.article, place
            assert entry.citation.instrument in FILE["instruments"], place
            assert isinstance(entry.citation.checked, str), place


def test_codes_of_one_list_share_their_attributes() -> None:
    """A rule that asks one code of a list for an attribute that only others have would stop."""
    for name, needed in {
        "legal_basis": {"serves"},
        "offence": {"convention_offence"},
        "refusal": {"bases", "answers"},
        "blocked_refusal": {"reason"},
        "identifier": {"pattern", "example", "needs"},
        "mla_measure": {"stored"},
        "data_category": {"parent"},
        "request_status": {"needs"},
        "desk_role": {"acknowledges"},
        "scope": {"needs_items"},
    }.items():
        for code, row in FILE["lists"][name].items():
            assert needed <= set(row), f"{name}/{code}"


def test_nothing_from_memory_is_marked_as_checked() -> None:
    """A citation is checked only if its source is a retrieved text, and it names that text."""
    for key, row in FILE["citations"].items():
        assert set(row) == {"instrument", "article", "paragraph", "point", "source", "checked"}
        if row["checked"]:
            assert re.fullmatch(r"S\d", row["source"]), key
            assert row["checked"].startswith(row["source"] + ":"), key
            # What was retrieved of the UN convention ends with Article 15.
            assert row["instrument"] == "BUD" or int(row["article"]) <= 15, key


def test_an_unchecked_article_says_so_wherever_it_is_shown() -> None:
    """The text of a citation carries the warning exactly where nobody has read the number."""
    for citation in codes.citations().values():
        assert (codes.TO_BE_CHECKED in citation.text()) == (citation.checked == "")
    assert codes.TO_BE_CHECKED in codes.citations()["UNCC-42-3-g"].text()
    assert codes.TO_BE_CHECKED not in codes.citations()["BUD-29-7"].text()
    assert codes.citations()["UNCC-42-3-g"].number() == "Article 42(3)(g)"


def test_every_citation_is_used_or_known_to_the_later_catalogue() -> None:
    """A citation key says what it cites, so that a typing error in one of both is seen."""
    for key, row in FILE["citations"].items():
        parts = [row["instrument"], row["article"], row["paragraph"], row["point"]]
        assert key == "-".join(part for part in parts if part)


def test_the_seven_letters_name_fields_of_the_form() -> None:
    """Letters (a) to (g) are there in order, with existing fields, none under two letters."""
    schema = json.loads((ROOM / "schemas/preservation_request.v1.json").read_text("utf-8"))
    top = schema["properties"]
    item = top["items"]["items"]["properties"]
    letters = codes.letters()
    assert [letter.letter for letter in letters] == list("abcdefg")
    seen: list[str] = []
    for letter in letters:
        assert letter.fields
        assert all(key in FILE["citations"] for key in letter.cites.values())
        for field in letter.fields:
            known = item if field.startswith("items[].") else top
            assert field.removeprefix("items[].") in known, field
            seen.append(field)
    assert len(seen) == len(set(seen))


def test_there_is_an_expectation_for_every_basis() -> None:
    """The table of this test covers every legal basis in the file."""
    assert set(GROUNDS) == set(codes.lists()["legal_basis"])


@pytest.mark.parametrize("basis", sorted(GROUNDS))
def test_refusal_grounds_follow_from_the_basis(basis: str) -> None:
    """Without a reservation, exactly the grounds of the instrument are allowed."""
    assert {found.code for found in codes.allowed_refusals(basis)} == GROUNDS[basis]


@pytest.mark.parametrize("basis", sorted(GROUNDS))
def test_every_ground_is_allowed_or_explained(basis: str) -> None:
    """Each code that an officer may type is either allowed, or refused with a sentence."""
    allowed = GROUNDS[basis]
    for code in (*codes.lists()["refusal"], *codes.lists()["blocked_refusal"], "R-NEVER"):
        sentence = codes.why_not(code, basis, (), ())
        assert (sentence == "") == (code in allowed), code
        assert sentence == "" or sentence.endswith("."), code


def test_one_ground_has_the_article_of_each_basis() -> None:
    """The same ground is another article under another convention."""
    under = {
        basis: found.citation.key
        for basis in ("UNCC-42", "BUD-29", "BUD-30")
        if (found := codes.ground("R-SOV", basis)) and found.citation
    }
    assert under == {
        "UNCC-42": "UNCC-40-21-b",
        "BUD-29": "BUD-29-5-b",
        "BUD-30": "BUD-30-2-b",
    }


@pytest.mark.parametrize(
    ("basis", "reservation", "own", "other"),
    [
        ("UNCC-42", "UNCC-42-5", "UNCC-7", "SERIOUS"),
        ("BUD-29", "BUD-29-4", "BUD-2", "OTHER-CRIME"),
    ],
)
def test_dual_criminality_needs_a_reservation_and_a_foreign_offence(
    basis: str, reservation: str, own: str, other: str
) -> None:
    """Dual criminality counts only where reserved, and never for the convention's own offences."""

    def allowed(reservations: list[str], offences: list[str]) -> bool:
        found = codes.allowed_refusals(basis, reservations, offences=offences)
        return "R-DUALCRIM-RES" in {ground.code for ground in found}

    assert allowed([reservation], [other])
    assert not allowed([], [other])
    assert not allowed([reservation], [own])
    assert not allowed([reservation], [other, own])
    assert not allowed(["UNCC-42-5" if basis == "BUD-29" else "BUD-29-4"], [other])


def test_answers_to_a_request_for_assistance_have_more_grounds() -> None:
    """Grounds for mutual legal assistance do not reach preservation."""
    later = {found.code for found in codes.allowed_refusals("UNCC-42", answer="mla")}
    assert {"R-FORM", "R-LEGALSYSTEM", "R-DUALCRIM-MLA"} <= later
    assert not {"R-FORM", "R-LEGALSYSTEM", "R-DUALCRIM-MLA"} & GROUNDS["UNCC-42"]


@pytest.mark.parametrize("code", ["B-DUALCRIM", "B-FISCAL", "B-BANK-SECRECY", "B-LANGUAGE"])
def test_a_blocked_ground_comes_with_its_reason(code: str) -> None:
    """An officer who looks for a ground that none may use is told why."""
    blocked = codes.lists()["blocked_refusal"][code]
    sentence = codes.why_not(code, "UNCC-42", (), ())
    assert blocked.more["reason"]["en"] in sentence
    assert blocked.citation is not None
    assert blocked.citation.text() in sentence


def test_a_subtype_of_data_has_the_article_of_its_category() -> None:
    """A login log is traffic data, so it shows the point on traffic data."""
    login = codes.lists()["data_category"]["LOGIN-LOG"]
    assert login.citation is not None
    assert login.citation.key == "UNCC-2-c"


def test_the_readme_prints_no_article_number() -> None:
    """Article numbers that people see come from the file, so no text of this room has one."""
    for path in (ROOM / "README.md", *ROOM.glob("*.py")):
        found = re.findall(r"\b(?:Articles?|Art\.) \d+", path.read_text("utf-8"))
        # The format of a citation is shown once, in the docstring of the class that prints it.
        allowed = ["Article 42"] if path.name == "codes.py" else []
        assert found == allowed, path.name
