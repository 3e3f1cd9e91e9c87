"""The life of one message, told as tables: what may happen, what follows, and what changes nothing."""

from dataclasses import replace

import pytest

from keys.errors import Code, Refused
from relay.core import limits
from relay.core import message as law
from relay.core.events import (
    Accepted,
    Arm,
    Attested,
    Disarm,
    Drop,
    Effect,
    Offer,
    Received,
    Replaced,
    Tell,
    Waiting,
)
from relay.core.message import EXPIRE, REPLACE, Message, Phase, open_message, replay, step

NOW = 1_900_000_000
ORIGIN = Accepted(
    msg="aa" * 32,
    sender="VN",
    to="AU",
    backup="AU-B",
    priority="urgent",
    mode="actual",
    created=NOW,
    ack_by=NOW + 3600,
    expires=NOW + 86_400,
    size=26_000,
    header_sha256="bb" * 32,
    device="d0" * 32,
    submission="01" * 32,
    accepted="02" * 32,
    replaces="",
    at=NOW,
)


def receipt(kind: str, sid: str, desk: str = "AU", at: int = NOW + 60, by: str = "k") -> Received:
    """Return a verified receipt."""
    return Received(kind, sid, desk, by, at, at, statement="5d" * 32)


def after(*events: Received | Attested | Replaced, origin: Accepted = ORIGIN) -> Message:
    """Return the message after *events*."""
    message = open_message(origin).message
    for event in events:
        message = step(message, event).message
    return message


def effects_of(message: Message, event: Received | Attested | Replaced) -> tuple[Effect, ...]:
    """Return what must be done when *event* happens to *message*."""
    return step(message, event).effects


def test_a_message_enters_with_its_copy_its_timer_and_its_end() -> None:
    """Acceptance offers it to the recipient and to the sender's own devices, and arms its expiry."""
    outcome = open_message(ORIGIN)

    assert outcome.effects == (
        Offer("AU"),
        Offer("VN"),
        Arm(EXPIRE, ORIGIN.expires, 1),
        Waiting("AU", 1),
        Drop(ORIGIN.expires + limits.ENVELOPE_GRACE_S),
    )
    assert outcome.message.phase is Phase.ACCEPTED
    assert not outcome.message.settled


def test_delivered_does_not_stop_the_clock() -> None:
    """A machine's receipt counts the message out of the waiting ones and stops nothing (PROTOCOL 11.8)."""
    message = open_message(ORIGIN).message
    delivered = receipt("delivered", "s1")

    assert effects_of(message, delivered) == (Tell("s1", ("VN", "AU")), Waiting("AU", -1))
    assert not after(delivered).settled
    assert after(delivered).phase is Phase.DELIVERED


@pytest.mark.parametrize("kind", ["acknowledged", "closed", "withdrawn"])
def test_a_persons_word_stops_the_clock(kind: str) -> None:
    """Acknowledged, closed and withdrawn settle a message and drop its timer, at once."""
    event = receipt(kind, "s1", desk="VN" if kind == "withdrawn" else "AU")

    assert Disarm(EXPIRE) in effects_of(open_message(ORIGIN).message, event)
    assert after(event).settled
    assert not law.expired(after(event), ORIGIN.expires)


def test_declined_and_failed_do_not_stop_the_clock() -> None:
    """They move the ladder on; silence after them is still silence."""
    for kind in ("declined", "failed", "progress"):
        message = after(receipt(kind, "s1"))

        assert not message.settled
        assert law.expired(message, ORIGIN.expires)


@pytest.mark.parametrize(("ack_by", "mode"), [(0, "actual"), (NOW + 60, "test")])
def test_delivery_settles_what_asks_for_no_person(ack_by: int, mode: str) -> None:
    """With ack_by 0, or in mode test, delivery is all that was asked (PROTOCOL 9.1)."""
    message = after(receipt("delivered", "s1"), origin=replace(ORIGIN, ack_by=ack_by, mode=mode))

    assert message.settled


def test_a_repeat_changes_nothing() -> None:
    """The same statement twice has no effects and leaves the very same value."""
    event = receipt("acknowledged", "s1")
    message = after(event)

    outcome = step(message, event)

    assert outcome.message is message
    assert outcome.effects == ()


def test_late_positive_evidence_is_kept_beside_the_negative() -> None:
    """An acknowledgement after expiry is late; both stay, and nothing is rolled back (PROTOCOL 10.7)."""
    message = after(
        Attested("expired", "e1", ORIGIN.expires),
        receipt("acknowledged", "s1", at=ORIGIN.expires + 5),
    )

    assert [(fact.kind, fact.late) for fact in message.facts] == [
        ("expired", False),
        ("acknowledged", True),
    ]
    assert message.phase is Phase.ACKNOWLEDGED


def test_expired_is_said_once() -> None:
    """A second `expired`, from whatever cause, is not taken in."""
    message = after(Attested("expired", "e1", ORIGIN.expires))

    assert step(message, Attested("expired", "e2", ORIGIN.expires + 9)).message is message
    assert not law.expired(message, ORIGIN.expires + 9)


def test_expiry_is_due_at_the_second_and_not_before() -> None:
    """One second early nothing is due."""
    message = open_message(ORIGIN).message

    assert not law.expired(message, ORIGIN.expires - 1)
    assert law.expired(message, ORIGIN.expires)


@pytest.mark.parametrize(
    "kind", ["delivered", "acknowledged", "declined", "closed", "failed", "progress"]
)
def test_only_the_recipient_answers(kind: str) -> None:
    """The sender, a stranger, and the backup before its stage have no part (PROTOCOL 9.3)."""
    for desk in ("VN", "FR", "AU-B"):
        with pytest.raises(Refused) as refusal:
            after(receipt(kind, "s1", desk=desk))

        assert refusal.value.code is Code.E_WRONG_DESK


def test_only_the_sender_withdraws() -> None:
    """The recipient cannot make a request disappear."""
    with pytest.raises(Refused) as refusal:
        after(receipt("withdrawn", "s1", desk="AU"))

    assert refusal.value.code is Code.E_SIGNER


def test_who_may_read() -> None:
    """The recipient and the sender may fetch; the backup may not before its stage."""
    assert open_message(ORIGIN).message.readers == ("AU", "VN")


def test_the_facts_of_one_message_are_bounded() -> None:
    """At the limit a further statement is refused, at one less it is taken."""
    message = after(*(receipt("progress", f"s{n}") for n in range(limits.FACTS_MAX - 1)))
    message = step(message, receipt("progress", "last")).message

    with pytest.raises(Refused) as refusal:
        step(message, receipt("progress", "one too many"))

    assert refusal.value.code is Code.E_TOO_LARGE


def test_replaced_ends_the_old_one() -> None:
    """A re-sealed request ends the message that it replaces; its own timer remembers to say so."""
    new = open_message(replace(ORIGIN, msg="cc" * 32, replaces=ORIGIN.msg))
    old = after(Replaced("cc" * 32, NOW + 10))

    assert Arm(REPLACE, NOW, 1) in new.effects
    assert old.settled
    assert old.phase is Phase.REPLACED
    assert step(old, Replaced("dd" * 32, NOW + 20)).message is old


@pytest.mark.parametrize(
    ("closed_at", "drop"),
    [
        (NOW + 60, NOW + 60 + limits.ENVELOPE_AFTER_CLOSED_S),
        (ORIGIN.expires + 30 * 86_400, ORIGIN.expires + limits.ENVELOPE_S_MAX),
    ],
)
def test_the_envelope_goes_after_closing_and_never_later_than_the_limit(
    closed_at: int, drop: int
) -> None:
    """The later of expiry + 24 h and closing + 30 days, never beyond expiry + 37 days (PROTOCOL 11.5)."""
    assert Drop(drop) in effects_of(
        open_message(ORIGIN).message, receipt("closed", "s1", at=closed_at)
    )


def test_offered_is_told_to_the_sender_alone_and_once() -> None:
    """The relay's word that a device was notified helps the sender; a second one adds nothing."""
    message = open_message(ORIGIN).message
    offered = Attested("offered", "o1", NOW + 1, "d1" * 32)

    assert effects_of(message, offered) == (Tell("o1", ("VN",)),)
    assert step(after(offered), Attested("offered", "o2", NOW + 2, "d2" * 32)).effects == ()


def test_what_became_of_pages_is_said_anew_when_it_changed_and_a_few_times() -> None:
    """The same word of the same stage adds nothing; another stage's does; a page that flickers ends somewhere (11.13)."""
    said = Attested("paged", "p1", NOW + 1, "sent pending", 0)
    message = after(said)

    assert message.facts[-1].stage == 0
    assert step(message, Attested("paged", "p2", NOW + 2, "sent pending", 0)).message is message
    assert step(message, Attested("paged", "p3", NOW + 2, "sent sent", 0)).message is not message
    assert step(message, Attested("paged", "p4", NOW + 2, "sent pending", 1)).message is not message
    for n in range(20):
        message = step(message, Attested("paged", f"q{n}", NOW + n, "ab"[n % 2], 0)).message
    assert len(message.facts) == limits.PAGED_MAX


def test_the_state_survives_the_store() -> None:
    """Encoding and decoding give the same value."""
    message = after(
        receipt("delivered", "s1"),
        Attested("expired", "e1", NOW + 9),
        Replaced("ff" * 32, NOW + 10),
    )

    assert Message.decode(message.encode()) == message


def test_replay_leaves_out_what_may_not_happen() -> None:
    """A desk that replays a lying relay's statements arrives at what is allowed."""
    events = (
        receipt("delivered", "s1"),
        receipt("withdrawn", "s2", desk="AU"),
        receipt("acknowledged", "s3"),
    )

    assert [fact.sid for fact in replay(ORIGIN, events).facts] == ["s1", "s3"]
