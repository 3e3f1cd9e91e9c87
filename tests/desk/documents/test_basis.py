"""What follows from the legal basis: what it serves, what it asks for, which clocks run, who is a party."""

import copy
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from relay.desk import compose
from relay.desk.documents import basis, card, clocks, codes, forms, wording
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.wording import LANGUAGES

Form = dict[str, Any]
BASES = codes.lists()["legal_basis"]
ASKING = [kind for kind in forms.KINDS if forms.serves(kind)]
SERVED = {
    "preservation_request": {"UNCC-42", "BUD-29", "BILATERAL", "RECIPROCITY", "G7-24-7", "INTERPOL", "DOMESTIC"},
    "emergency_request": {"UNCC-41-3-e", "2AP-9", "2AP-10", "BILATERAL", "RECIPROCITY", "G7-24-7", "INTERPOL", "DOMESTIC"},
    "technical_advice_request": {"UNCC-41-3-a", "BUD-35", "BILATERAL", "RECIPROCITY", "G7-24-7", "INTERPOL"},
    "locate_suspect_request": {"UNCC-41-3-d", "BUD-35", "BILATERAL", "RECIPROCITY", "G7-24-7", "INTERPOL"},
    "provisional_arrest_request": {"UNCC-37", "BUD-24", "BILATERAL", "RECIPROCITY", "INTERPOL"},
    "freezing_request": {"UNCC-50", "BILATERAL", "RECIPROCITY", "DOMESTIC"},
    "spontaneous_information": {"UNCC-40-4", "UNCC-47", "BUD-26", "BILATERAL", "RECIPROCITY", "G7-24-7", "INTERPOL"},
}  # fmt: skip


def _card(**more: Any) -> Form:
    return {
        "state": "AU",
        "languages": ["en"],
        "treaties": [{"treaty": "UNCC", "since": "2026-01-01", "reservations": []}],
        "capabilities": [{"assistance": "preservation", "capability": "court"}],
        "preservation_days": 90,
        "renewals": 1,
        "oral": True,
        "office": {"zone": "UTC", "days": [1, 2, 3, 4, 5], "opens": "08:00", "closes": "17:00", "holidays": []},
        "verified": "2026-11-01",
    } | more  # fmt: skip


@pytest.mark.parametrize("kind", ASKING)
def test_a_basis_carries_what_it_serves_and_nothing_else(
    kind: str, answers: dict[str, Form], now: int
) -> None:
    """Every kind that asks for something, under every basis: allowed or refused as the data file says."""
    if "legal_basis" not in answers[kind]:
        return
    for code in BASES:
        document = answers[kind] | {"legal_basis": code, "treaty_reference": "Treaty of 2001"}
        found = forms.check(kind, document, now=now, priority="emergency")
        refused = "legal_basis" in [one.path for one in found if not one.warning]
        serves = bool(set(BASES[code].more["serves"]) & set(forms.serves(kind)))
        assert refused is not serves, code
        if kind in SERVED:
            assert (code in SERVED[kind]) is serves, code


@pytest.mark.parametrize("code", list(BASES))
def test_a_basis_asks_for_its_fields(code: str, answers: dict[str, Form], now: int) -> None:
    """What a basis needs beyond the form is missed by name; what it advises is only said."""
    for kind, needed in BASES[code].more["needs"].items():
        document = answers[kind] | {"legal_basis": code}
        for field in needed:
            without = {key: value for key, value in document.items() if key != field}
            found = forms.check(kind, without, now=now, priority="emergency")
            assert field in [one.path for one in found if not one.warning]
    for kind, wished in BASES[code].more["advises"].items():
        document = {key: one for key, one in answers[kind].items() if key not in wished}
        found = forms.check(kind, document | {"legal_basis": code}, now=now, priority="emergency")
        assert set(wished) <= {one.path for one in found if one.warning}


def test_choices_follow_from_both_cards() -> None:
    """A basis is usable where both cards show the treaty on that day; networks and reciprocity need what they need."""
    mine, theirs = _card(state="VN"), _card(treaties=[])
    today = "2026-11-23"
    both = {one.code: one.why_not for one in basis.choices(("preservation",), mine, mine, today)}
    assert both["UNCC-42"] is None
    assert both["RECIPROCITY"] is None
    assert both["BUD-29"] is not None
    found = basis.choices(("preservation",), mine, theirs, today)
    first = {one.code: one.why_not for one in found}
    assert first["UNCC-42"] == "The card of AU does not show UNCC."
    assert [one.why_not is None for one in found] == sorted(
        [one.why_not is None for one in found], reverse=True
    )
    assert not basis.party(mine, "UNCC", "2025-12-31")
    assert basis.party(mine, "", today)


def test_a_treaty_that_the_card_does_not_show_warns(request_form: Form, now: int) -> None:
    """The directory may be behind: it is said, and the request may go."""
    found = forms.check(
        "preservation_request", request_form, now=now, priority="urgent", card=_card()
    )
    assert [one.path for one in found] == []
    found = forms.check(
        "preservation_request", request_form, now=now, priority="urgent", card=_card(treaties=[])
    )
    assert [(one.path, one.warning) for one in found] == [("legal_basis", True)]


def test_a_treaty_that_is_not_in_force_there_yet_says_from_when(
    request_form: Form, now: int
) -> None:
    """A card that has the treaty from a later day on is not said to lack it: the day is named, in any language."""
    card = _card(treaties=[{"treaty": "UNCC", "since": "2027-06-15", "reservations": []}])
    around: Form = {"now": now, "priority": "urgent", "card": card}
    (found,) = forms.check("preservation_request", request_form, **around)
    assert (found.path, found.warning) == ("legal_basis", True)
    assert found.text == "UNCC is in force for AU only from 2027-06-15."
    assert "2027-06-15" in wording.into(found.text, "ru")
    assert "действует" in wording.into(found.text, "ru")
    (why,) = [
        one.why_not
        for one in basis.choices(("preservation",), _card(), card, "2026-11-23")
        if one.code == "UNCC-42"
    ]
    assert why == "UNCC is in force for AU only from 2027-06-15."


def test_a_language_that_is_not_read_there_stops_the_request(request_form: Form, now: int) -> None:
    """Without a translation it would come back; with one, or where nothing is known, it goes."""
    around: Form = {"now": now, "priority": "urgent", "card": _card(languages=["ar"])}
    found = forms.check("preservation_request", request_form, **around)
    assert [(one.path, one.warning) for one in found] == [("language", False)]
    translated = request_form | {"translation_attached": True}
    found = forms.check("preservation_request", translated, **around)
    assert [(one.path, one.warning) for one in found] == [("language", True)]
    around["card"] = _card(languages=["en-AU"])
    assert forms.check("preservation_request", request_form, **around) == []
    around["card"] = _card(languages=["en"])
    dialect = request_form | {"language": "en-GB"}
    assert forms.check("preservation_request", dialect, **around) == []


def test_an_acceptance_may_be_longer_than_the_card_says(answers: dict[str, Form], now: int) -> None:
    """Longer than order and renewals together is doubtful, and said."""
    around: Form = {
        "now": now,
        "priority": "urgent",
        "card": _card(preservation_days=60, renewals=0),
    }
    found = forms.check("acceptance", answers["acceptance"], **around)
    assert [(one.path, one.warning) for one in found] == [("preserved_until", True)]


# Clocks


def test_the_clocks_are_those_of_the_house() -> None:
    """Acknowledging and deciding are the same here and where headers are written (DESIGN 5)."""
    for priority, wanted in compose.CLOCKS.items():
        assert clocks.table()["acknowledge"][priority] == wanted.acknowledge_s
        assert clocks.table()["decide"][priority] == wanted.decide_s
    keys = {"label", "emergency", "urgent", "routine", "cites", "source", "follow_up"}
    for table in (clocks.table(), clocks.reminders()):
        for row in table.values():
            assert set(row["cites"]) <= set(codes.citations())
    for row in clocks.table().values():
        assert keys <= set(row)
        assert row["emergency"] <= row["urgent"] <= row["routine"]


def test_the_long_clocks_have_the_numbers_of_the_domain() -> None:
    """Reminders at 30, 14, 7, 3 and 1 days; the form opens at 30; nobody forgets the follow-up."""
    found = clocks.terms("UNCC-42", "urgent", _card())
    assert found.days["expiry_requesting"] == (30, 14, 7, 3, 1)
    assert found.days["mla_warn"] == (30, 45, 53)
    assert (found.least_days, found.longest_days, found.follow_up) == (60, 180, True)
    assert found.seconds["extension_alarm"] == DAY
    until = 100 * DAY
    assert found.before("expiry_requesting", until) == tuple(
        (100 - days) * DAY for days in (30, 14, 7, 3, 1)
    )
    assert found.after("mla_warn", DAY) == (31 * DAY, 46 * DAY, 54 * DAY)
    assert found.start("info_answer", 7) == 7 + 8 * 3600


def test_without_a_request_to_follow_nobody_waits_for_one() -> None:
    """Emergency data, advice and information have no clock of preservation and none of a follow-up."""
    found = clocks.terms("UNCC-41-3-e", "emergency")
    assert found.least_days == 0
    assert not found.follow_up
    assert "mla_warn" not in found.days
    assert "extension_answer" not in found.seconds
    assert found.seconds["decide"] == 7200
    assert clocks.terms("unknown", "urgent").least_days == 60


def test_settings_are_stricter_and_never_weaker() -> None:
    """A network and a desk may shorten, add reminders and be alarmed earlier; the rest has no effect and is named."""
    network: Form = {
        "decide": 3600,
        "acknowledge": 99_999,
        "extension_alarm": 2 * DAY,
        "info_answer": 0,
    }
    desk: Form = {"decide": 1800, "expiry_requested": [14, 30], "mla_warn": "x"}
    found = clocks.terms("UNCC-42", "urgent", None, network, desk)
    assert found.seconds["decide"] == 1800
    assert found.seconds["acknowledge"] == 3600
    assert found.seconds["extension_alarm"] == 2 * DAY
    assert found.seconds["info_answer"] == 8 * 3600
    assert found.days["expiry_requested"] == (30, 14, 7, 1)
    assert found.days["mla_warn"] == (30, 45, 53)
    assert clocks.weaker(network, "urgent") == ["acknowledge", "info_answer"]
    assert clocks.weaker({"extension_alarm": DAY - 1}, "urgent") == ["extension_alarm"]


# The card beside the form


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_card_is_shown_in_every_language(language: str, now: int) -> None:
    """Whoever writes sees languages, power, days, the clock there, treaties, the last answer; nothing is left out."""
    zone = timezone(timedelta(hours=10))
    found = card.beside(
        _card(), ("preservation",), now, zone=zone, last_drill=now - 3 * DAY, language=language
    )
    assert len(found) == 9
    assert all(label and value for label, value in found)
    if language == "en":
        values = dict(found)
        assert values["Preservation of stored data"] == "Needs a court"
        assert values["Location of a service provider"] == "not said"
        assert values["Preserves for"] == "90 days, renewable once"
        assert values["Last answer by a person"] == "3 days ago"
        assert values["Office"] == "open now, it is 13:00 there (UTC), office 08:00 to 17:00"
        assert values["Treaties"] == "UNCC 2026-01-01"


def test_a_closed_office_and_an_old_card_are_said(now: int) -> None:
    """At night only the officer on call answers; a card that nobody looked at for months is not trusted."""
    values = dict(
        card.beside(
            _card(verified="2026-01-01", office=_card()["office"] | {"zone": "Night/\x1bZone"}),
            ("emergency",),
            now,
            zone=UTC,
        )
    )
    assert values["Office"].startswith("closed now: only the officer on call answers, it is 03:00")
    assert "\x1b" not in values["Office"]
    assert values["Entry verified"] == "2026-01-01: old, ask whether it still holds"
    assert values["Last answer by a person"] == "not said"
    empty = card.beside({}, ("preservation",), now)
    assert all(value for _, value in empty)


def test_a_choice_is_not_changed_by_looking(request_form: Form, now: int) -> None:
    """Checking a document changes nothing of it."""
    before = copy.deepcopy(request_form)
    forms.check("preservation_request", request_form, now=now, priority="urgent", card=_card())
    assert request_form == before
