"""Composing: what an officer signs is complete, addressed, on time and bound to its header."""

import json
from typing import Any

import pytest

from keys.errors import Code, Refused
from keys.identity import Role, Signer
from keys.statement import unb64u
from relay.desk import compose
from relay.desk.documents import forms
from relay.wire import receipt
from relay.wire.envelope import Header

NOW = 1795402800
"""2026-11-23T03:00:00Z"""
NONCE = bytes(range(16))
OFFICER = Signer(Role.OFFICER, b"o" * 32)
DEVICE = Signer(Role.DEVICE, b"d" * 32)
MSG, SID = "a" * 64, "b" * 64

REQUEST: dict[str, Any] = {
    "kind": "preservation_request",
    "legal_basis": "UNCC-42",
    "request_status": "NEW",
    "date_of_request": "2026-11-23T02:50:00Z",
    "national_reference": "VN-A05-2026-0417",
    "requesting_authority": {
        "organisation": "Department of Cybersecurity",
        "country": "VN",
        "address": "Ha Noi",
    },
    "officer": {
        "name": "Tran Thi Mai",
        "function": "Investigator",
        "email": "desk@example.vn",
        "phone": "+84 24 1234 5678",
    },
    "reachable": {
        "office_hours": "08:00-17:00",
        "time_zone": "Asia/Ho_Chi_Minh",
        "out_of_hours_phone": "+84 24 1234 5679",
        "languages": ["vi", "en"],
    },
    "requested_authority": "AU",
    "language": "en",
    "translation_attached": False,
    "translation_is_machine": False,
    "proceeding_type": "INVESTIGATION",
    "offence_categories": ["UNCC-7"],
    "offence_domestic": {
        "law": "Penal Code",
        "section": "289",
        "title": "Illegal access",
        "max_penalty_years": 7,
    },
    "facts_summary": "A mail account was taken over and used to empty bank accounts.",
    "items": [
        {
            "identifier_type": "EMAIL",
            "identifier_value": "suspect@example.au",
            "data_categories": ["TRAFFIC"],
            "period_from": "2026-11-01T00:00:00Z",
            "period_to": "2026-11-20T00:00:00Z",
            "relation_to_offence": "The account from which the access was made.",
            "custodian": {"known": True, "name": "Example Mail Pty Ltd", "country": "AU"},
        }
    ],
    "necessity": "The provider deletes its logs after thirty days.",
    "urgency_reasons": ["RETENTION-ENDS"],
    "requested_duration_days": 60,
    "confidential": True,
    "do_not_notify_user": True,
    "do_not_notify_reason": "The suspect would destroy evidence.",
    "intends_mla": True,
    "mla_measure": ["DISCLOSE"],
    "mla_expected_by": "2027-01-10",
    "approver": {"name": "Nguyen Van Binh", "function": "Head of division"},
}


def top(**changed: Any) -> Header:
    """Return a header from VN to AU, urgent and actual unless *changed*."""
    values: dict[str, Any] = {
        "sender": "VN",
        "device": DEVICE.kid,
        "to": "AU",
        "priority": "urgent",
        "mode": "actual",
        "now": NOW,
    }
    return compose.header(**(values | changed))


@pytest.mark.parametrize(
    ("priority", "seconds"), [("emergency", 900), ("urgent", 3600), ("routine", 86400)]
)
def test_ack_by_comes_from_the_clock_table(priority: str, seconds: int) -> None:
    """Each priority has one time within which a person acknowledges (DESIGN 5); it expires within 7 days."""
    made = top(priority=priority)
    assert made.ack_by == NOW + seconds
    assert NOW < made.expires <= NOW + 7 * 86400


def test_ack_by_can_be_shortened_and_never_lengthened() -> None:
    """The officer may ask for a faster answer, or for none; a slower one is refused at n + 1."""
    assert top(ack_within=2700).ack_by == NOW + 2700
    assert top(ack_within=3600).ack_by == NOW + 3600
    assert top(ack_within=0).ack_by == 0
    for wrong in (3601, 59, -5):
        with pytest.raises(Refused) as refused:
            top(ack_within=wrong)
        assert refused.value.code is Code.E_DOCUMENT


def test_an_expiry_beyond_seven_days_is_refused() -> None:
    """Seven days are the longest life of a message (PROTOCOL 9.1)."""
    assert top(expires_within=7 * 86400).expires == NOW + 7 * 86400
    with pytest.raises(Refused) as refused:
        top(expires_within=7 * 86400 + 1)
    assert refused.value.code is Code.E_EXPIRED


def test_an_unknown_priority_names_the_known_ones() -> None:
    """A mistyped priority is a sentence with the words to choose from."""
    with pytest.raises(Refused, match="emergency, urgent, routine"):
        top(priority="urgnet")


@pytest.mark.parametrize(
    ("named", "expected"),
    [("AU-B", "AU-B"), ("NZ", ""), ("", ""), ("AU", "")],
)
def test_the_default_backup_is_a_desk_of_the_same_state(named: str, expected: str) -> None:
    """A desk of another State may read only if the officer names it (PROTOCOL 9.1)."""
    assert compose.backup_of({"backup": named}, "AU", "VN") == expected


def test_a_sender_is_never_its_own_backup() -> None:
    """AU-B writing to AU does not name itself as the deputy."""
    assert compose.backup_of({"backup": "AU-B"}, "AU", "AU-B") == ""


def test_a_complete_request_is_signed_and_bound() -> None:
    """The statement verifies under the officer's key and names header, body, desks and kind (PROTOCOL 10)."""
    made = compose.request(REQUEST, top(), officer=OFFICER, nonce=NONCE)
    read = receipt.read(made.statement.wire, {"statement"}, OFFICER.public)
    assert read["kind"] == "request"
    assert (read["from"], read["to"], read["thread"]) == ("VN", "AU", "")
    assert read["header_sha256"] == made.header.sha256
    assert read["nonce"] == NONCE.hex()
    assert read["created"] == NOW
    assert forms.kind_of(read["body_type"]) == "preservation_request"
    assert json.loads(made.body) == REQUEST
    handed = made.handed_over()
    assert unb64u(handed["header"]) == made.header.encode()
    assert unb64u(handed["statement"]) == made.statement.wire
    assert unb64u(handed["body"]) == made.body


def test_an_incomplete_request_names_the_missing_letters() -> None:
    """Without facts and necessity, letters (b) and (e) of Article 42(3) are named, and nothing is signed."""
    short = {
        key: value for key, value in REQUEST.items() if key not in {"facts_summary", "necessity"}
    }
    with pytest.raises(Refused) as refused:
        compose.request(short, top(), officer=OFFICER, nonce=NONCE)
    assert refused.value.code is Code.E_DOCUMENT
    assert "(b)" in refused.value.text
    assert "(e)" in refused.value.text
    assert "(a)" not in refused.value.text


def test_a_request_goes_to_the_desk_that_it_asks() -> None:
    """A document that asks AU cannot be sealed for NZ by a slip of the hand."""
    with pytest.raises(Refused, match="asks AU, but it is addressed to desk NZ"):
        compose.request(REQUEST, top(to="NZ"), officer=OFFICER, nonce=NONCE)


def test_a_device_cannot_sign_a_request() -> None:
    """Human acts take an officer's key (PROTOCOL 7, claim C10)."""
    with pytest.raises(Refused) as refused:
        compose.request(REQUEST, top(), officer=DEVICE, nonce=NONCE)
    assert refused.value.code is Code.E_SIGNER


def test_requests_and_answers_do_not_change_places() -> None:
    """`send` takes requests only, `answer` everything else, and each names the other command."""
    acceptance = {"kind": "acceptance"}
    with pytest.raises(Refused, match="desk answer"):
        compose.request(acceptance, top(), officer=OFFICER, nonce=NONCE)
    with pytest.raises(Refused, match="desk send"):
        compose.reply(REQUEST, top(), request=None, thread=MSG, officer=OFFICER, nonce=NONCE)
    with pytest.raises(Refused, match="does not say what kind"):
        compose.request({}, top(), officer=OFFICER, nonce=NONCE)


def test_an_acceptance_is_in_the_thread_of_its_request() -> None:
    """An answer is an ordinary message in the other direction (PROTOCOL 10.2); less than 60 days is refused."""
    days = 60

    def accept() -> compose.Composed:
        document = forms.acceptance(
            REQUEST,
            at=NOW,
            officer="au-01",
            preserved_from=NOW,
            preserved_until=NOW + days * 86400,
            central_authority="Attorney-General's Department",
            language="en",
            requirements="A request under Article 44.",
        )
        back = top(sender="AU", to="VN", ack_within=0)
        return compose.reply(
            document, back, request=REQUEST, thread=MSG, officer=OFFICER, nonce=NONCE
        )

    made = accept()
    assert made.statement["kind"] == "answer"
    assert made.statement["thread"] == MSG
    assert made.header.ack_by == 0
    days = 59
    with pytest.raises(Refused, match="at least 60 days"):
        accept()


def test_a_refusal_is_its_own_kind() -> None:
    """A refusal carries the statement kind refusal; a ground that the treaty does not know is refused."""
    document = forms.refusal(
        REQUEST,
        at=NOW,
        officer="au-01",
        ground="R-SOV",
        reason="Essential interests.",
        approver="The supervisor",
    )
    back = top(sender="AU", to="VN", ack_within=0)
    made = compose.reply(document, back, request=REQUEST, thread=MSG, officer=OFFICER, nonce=NONCE)
    assert made.statement["kind"] == "refusal"
    with pytest.raises(Refused):
        compose.reply(
            document | {"ground": "R-LAZY"},
            back,
            request=REQUEST,
            thread=MSG,
            officer=OFFICER,
            nonce=NONCE,
        )


def test_a_note_says_why_a_request_is_not_for_this_desk() -> None:
    """A short text in the thread, signed like any message."""
    made = compose.note("Ask the federal police.", top(), thread=MSG, officer=OFFICER, nonce=NONCE)
    assert (made.statement["kind"], made.statement["body_type"]) == ("info", compose.NOTE_TYPE)
    assert made.body == b"Ask the federal police."


def test_human_acts_have_exactly_their_fields() -> None:
    """acknowledged, declined, closed and withdrawn verify with the fields of PROTOCOL 10, and no others."""
    acts = [
        compose.acknowledged(MSG, SID, desk="AU", now=NOW, officer=OFFICER),
        compose.declined(MSG, SID, desk="AU", now=NOW, officer=OFFICER),
        compose.closed(MSG, SID, outcome="c" * 64, desk="AU", now=NOW, officer=OFFICER),
        compose.withdrawn(MSG, SID, now=NOW, officer=OFFICER),
    ]
    for act, kind in zip(acts, ("acknowledged", "declined", "closed", "withdrawn"), strict=True):
        read = receipt.read(act.wire, {kind}, OFFICER.public)
        assert (read["msg"], read["statement"], read["at"]) == (MSG, SID, NOW)
    assert acts[2]["outcome"] == "c" * 64
    with pytest.raises(Refused) as refused:
        compose.acknowledged(MSG, SID, desk="AU", now=NOW, officer=DEVICE)
    assert refused.value.code is Code.E_SIGNER


def test_a_file_is_read_as_an_editor_saves_it() -> None:
    """Spaces, order and a byte order mark do not matter; what is sent is the one encoding."""
    text = json.dumps(REQUEST, indent=4, ensure_ascii=False)
    assert compose.read_document(b"\xef\xbb\xbf" + text.encode()) == REQUEST


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "b" 2}', "line 2"),
        (b"\xff\xfe{", "UTF-8"),
        (b"[]", "object in braces"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": 1.5}', "1.5"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b" " * (1024 * 1024 + 1), "more than"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence(data: bytes, words: str) -> None:
    """A mistake in the file is told with its place; nothing but E_DOCUMENT comes out."""
    with pytest.raises(Refused) as refused:
        compose.read_document(data)
    assert refused.value.code is Code.E_DOCUMENT
    assert words in refused.value.text
    assert "desk schema" in refused.value.hint


def test_what_has_no_strict_encoding_is_not_signed() -> None:
    """An empty value has no strict JSON (PROTOCOL 6.1): it is refused before anything is signed."""
    with pytest.raises(Refused) as refused:
        compose.request(REQUEST | {"treaty_reference": None}, top(), officer=OFFICER, nonce=NONCE)
    assert refused.value.code in {Code.E_DOCUMENT, Code.E_ENCODING}
