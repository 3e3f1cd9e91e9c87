"""What an officer reads at night: the banner, warnings and the next step first, and nothing that steers the terminal."""

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from relay.desk import paper
from relay.desk.documents import forms
from relay.desk.paper import Sheet

NOW = 1795402800
"""2026-11-23T03:00:00Z"""
HANOI = timezone(timedelta(hours=7))
SHEET = Sheet(NOW, HANOI, 96)
MSG = "4711082245" + "a" * 54


def found(**changed: Any) -> dict[str, Any]:
    """Return what the verb `show` gives for an urgent request from VN to AU."""
    top = {
        "from": "VN",
        "to": "AU",
        "priority": "urgent",
        "mode": "actual",
        "ack_by": NOW + 2580,
        "backup": "AU-B",
        "created": NOW - 1020,
        "expires": NOW + 600_000,
    }
    top |= changed.pop("header", {})
    plain = {
        "msg": MSG,
        "header": top,
        "kind": "request",
        "officer": "vn-01",
        "state": "delivered",
        "thread": "",
        "body_type": forms.body_type("preservation_request"),
        "document": {
            "kind": "preservation_request",
            "facts_summary": "A mail account was taken over.",
        },
    }
    return plain | changed


def page(**changed: Any) -> str:
    """Return the page of a message as AU reads it."""
    return "\n".join(paper.shown(found(**changed), "AU", SHEET))


def test_five_seconds_are_enough() -> None:
    """The first lines say how urgent, what, from whom, until when, and what to type."""
    lines = page().splitlines()[:5]
    assert lines[0] == "URGENT request from VN to AU"
    assert "Acknowledge by 2026-11-23 03:43:00 UTC (10:43 here), 43 min left" in lines[2]
    assert "desk acknowledge 4711082245" in lines[3]


def test_an_exercise_cannot_be_mistaken() -> None:
    """The mode is the first word of page, list and watch (PROTOCOL 9.1)."""
    exercise = {"mode": "exercise"}
    assert page(header=exercise).startswith("*** EXERCISE")
    row = {"msg": MSG, "kind": "request", "state": "delivered", **found()["header"], **exercise}
    assert "EXERCISE" in "\n".join(paper.listed([row], "AU", SHEET))
    event = {"event": "message", "revoked": False, **row}
    assert "EXERCISE" in paper.happened(event, SHEET)


def test_a_warning_stands_before_everything_else() -> None:
    """A revoked key is told before who signed and what is asked (PROTOCOL 9.4)."""
    text = page(warning="signed with a key revoked since: telephone first +84 24 1234 5678")
    assert text.index("! signed with a key revoked since") < text.index("Next")


def test_the_next_step_follows_the_state() -> None:
    """Acknowledge, then decide by the table's time, then nothing; and the sender waits."""
    assert "desk acknowledge 4711082245" in page()
    decided = page(state="acknowledged")
    assert "desk answer 4711082245 --preserved-until DATE" in decided
    assert "2026-11-24 02:43:00 UTC" in decided
    assert "Nothing: it is closed" in page(state="closed")
    own = "\n".join(paper.shown(found(), "VN", SHEET))
    assert "Wait: a person at AU acknowledges by" in own
    for state, words in (
        ("queued", "goes out by itself"),
        ("refused", "correct what it names"),
        ("exhausted", "Telephone AU"),
        ("declined", "Telephone AU"),
        ("acknowledged", "Wait for the answer"),
    ):
        assert words in "\n".join(paper.shown(found(state=state), "VN", SHEET))
    assert "this desk declined it" in page(state="declined")
    answer = page(
        kind="answer",
        body_type=forms.body_type("acceptance"),
        document={"kind": "acceptance", "preserved_until": "2027-01-22T23:59:59Z"},
    )
    assert "The data are kept until 2027-01-22 23:59:59 UTC" in answer


def test_late_is_said_in_capitals() -> None:
    """A deadline that has passed is a word, not a colour."""
    assert "12 min LATE" in page(header={"ack_by": NOW - 720})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s left"),
        (89, "89 s left"),
        (90, "1 min left"),
        (5399, "89 min left"),
        (5400, "1 h 30 min left"),
        (172_799, "47 h 59 min left"),
        (172_800, "2 days left"),
        (-1, "1 s LATE"),
        (-3 * 86_400, "3 days LATE"),
    ],
)
def test_time_left_is_told_in_the_unit_that_matters(seconds: int, text: str) -> None:
    """Seconds, minutes, hours, days: the boundaries of each."""
    assert paper.span(seconds) == text


def test_local_time_stands_beside_utc() -> None:
    """Both clocks, the day where it differs, and only one where they agree."""
    assert SHEET.time(NOW) == "2026-11-23 03:00:00 UTC (10:00 here)"
    assert SHEET.time(NOW + 15 * 3600) == "2026-11-23 18:00:00 UTC (Tue 01:00 here)"
    assert Sheet(NOW, UTC).time(NOW) == "2026-11-23 03:00:00 UTC"


def test_text_from_elsewhere_steers_nothing() -> None:
    """Escape sequences, overriding direction marks and line breaks of another State stay harmless."""
    hostile = "\x1b]0;owned\x07\x1b[2Jdone\u202ecod.exe\nAcknowledged by AU"
    document = {"kind": "preservation_request", "facts_summary": hostile, hostile: hostile}
    text = page(document=document, officer=hostile, warning=hostile, state=hostile)
    text += page(body_type=hostile, document=hostile)
    text += "\n".join(
        paper.recipient({"desk": "AU", "card": {"names": [{"name": hostile}]}}, SHEET)
    )
    text += "\n".join(
        paper.told(
            {"msg": MSG, "state": hostile, "lines": [{"at": 1, "by": hostile, "text": hostile}]},
            SHEET,
        )
    )
    text += paper.happened({"event": "refused", "text": hostile, "msg": MSG}, SHEET)
    assert not {c for c in text if ord(c) < 32 and c != "\n"}
    assert "\u202e" not in text
    assert "\x9b" not in text


def test_an_unknown_form_is_shown_all_the_same() -> None:
    """What this desk has no form for is printed as it came, never dropped."""
    text = page(body_type="application/vnd.other+json", document={"hello": "world"})
    assert "no form of type application/vnd.other+json" in text
    assert "world" in text


def test_the_document_is_shown_by_its_labels() -> None:
    """A form is read by its labels and codes, not as JSON."""
    text = page()
    assert "Summary of the facts" in text
    assert '"facts_summary"' not in text


def test_what_happens_is_told_in_words() -> None:
    """Each event of `desk watch` is one line that begins with the time."""
    told = paper.happened(
        {
            "event": "statement",
            "kind": "acknowledged",
            "desk": "AU",
            "by": "au-01",
            "at": NOW,
            "msg": MSG,
        },
        SHEET,
    )
    assert told == "03:00:00 UTC  AU  acknowledged by au-01  (4711082245)"
    assert paper.happened({"event": "connected"}, SHEET) == "03:00:00 UTC  connected"


def test_the_recipient_is_shown_before_anything_is_sealed() -> None:
    """Country, name, languages and the fingerprint to compare by telephone."""
    seen = {
        "desk": "AU",
        "card": {
            "state": "AU",
            "names": [{"language": "en", "name": "Contact point"}],
            "languages": ["en"],
        },
        "devices": [1, 2],
        "fingerprint": "ab" * 32,
    }
    text = "\n".join(paper.recipient(seen, SHEET))
    assert "Contact point" in text
    assert "43947 43947" in text


def test_what_to_type_follows_the_kind_of_document() -> None:
    """An extension is decided, questions are answered, each with its own form; a refusal answers every request."""
    extend = page(
        state="acknowledged",
        body_type=forms.body_type("extension_request"),
        document={"kind": "extension_request"},
    )
    assert "desk write extension_decision --file FILE --about 4711082245" in extend
    assert "desk write refusal --file FILE --about 4711082245" in extend
    assert "--preserved-until" not in extend
    asked = page(
        kind="info", body_type=forms.body_type("info_request"), document={"kind": "info_request"}
    )
    assert "Read it.\n" in asked
    assert "desk write info_answer --file FILE --about 4711082245" in asked


def test_a_newer_version_is_shown_with_a_warning() -> None:
    """Fields that this desk knows have their labels; the page says that there may be more; no mark steers."""
    text = page(
        body_type=forms.body_type("preservation_request").replace(".v1", ".v2"),
        document={"kind": "preservation_request", "necessity": "Logs go.", "seal": "court"},
    )
    assert "! This was written with version 2 of the form" in text
    assert "Necessity" in text
    assert "[seal]" in text
    assert "\u2068" not in text
