"""Two states of one message become one, whichever way round (PROTOCOL 10.7)."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from relay.core import escalation, limits
from relay.core.events import (
    Accepted,
    Arm,
    Attested,
    Climbed,
    Disarm,
    Drop,
    Event,
    Offer,
    Page,
    Received,
    Tell,
    Unpage,
    Waiting,
)
from relay.core.merge import merge, standing
from relay.core.message import Message, open_message, rung, step

NOW = 1_780_000_000
PROFILE = {
    "urgent": {
        "acknowledge_s": 3600,
        "progress_s": 300,
        "stages": [
            {"kind": "path", "after_s": 60, "handles": ["duty"]},
            {"kind": "backstop", "after_s": 600, "handles": ["chief", "duty"]},
            {"kind": "backup", "after_s": 1800, "handles": ["duty"]},
        ],
    }
}
ORIGIN = Accepted(
    *("aa" * 32, "VN", "AU", "AU-B", "urgent", "actual", NOW, NOW + 9000, NOW + 9000, 26_000),
    *("cc" * 32, "dd" * 32, "s0" * 32, "a0" * 32, "", NOW),
)
KINDS = ("delivered", "failed", "acknowledged", "declined", "closed", "progress")


def begun() -> Message:
    """Return a message with its ladder at the foot."""
    plan = escalation.plan(
        PROFILE,
        priority="urgent",
        mode="actual",
        accepted=NOW,
        ack_by=NOW + 9000,
        backup="AU-B",
        minimum_gap=60,
    )
    return open_message(ORIGIN, plan).message


def climbed(message: Message, at: int, sid: str) -> Message:
    """Let the stage that is due at *at* fire, if one is."""
    due = rung(message, at, {"duty", "chief"})
    if due is None:
        return message
    event = Climbed(sid, due.stage, due.kind, due.cause, at, due.next_at, due.passed_over)
    return step(message, event).message


def heard(kind: str, number: int, at: int) -> Event:
    """Return a receipt of the recipient's desk."""
    return Received(kind, f"{kind}{number}", "AU", "ee" * 32, at, at, until=at + 100)


@st.composite
def lives(draw: st.DrawFn) -> Message:
    """Draw a message after some receipts and stages; sids are shared between drawn lives."""
    message, at = begun(), NOW
    for _event in range(draw(st.integers(0, 6))):
        at += draw(st.sampled_from([1, 61, 700, 2000]))
        what = draw(st.sampled_from([*KINDS, "climb", "paged"]))
        number = draw(st.integers(0, 2))
        if what == "climb":
            message = climbed(
                message, at, f"climb{number}-{message.ladder.at if message.ladder else 0}"
            )
        elif what == "paged":
            message = step(message, Attested("paged", f"paged{number}", at, "sent", 0)).message
        else:
            message = step(message, heard(what, number, at)).message
    return message


@given(lives(), lives(), lives())
def test_it_does_not_matter_in_which_order(one: Message, two: Message, three: Message) -> None:
    """Commutative, idempotent, and of three the facts are the same whichever two come first."""
    assert merge(one, two) == merge(two, one)
    assert merge(one, one) == one
    both = merge(one, two)
    assert merge(both, two) == both
    left, right = merge(merge(one, two), three), merge(one, merge(two, three))
    assert {fact.sid for fact in left.facts} == {fact.sid for fact in right.facts}
    assert (left.phase, left.open, left.ladder) == (right.phase, right.open, right.ladder)


@given(lives(), lives())
def test_nothing_that_one_knew_is_lost(one: Message, two: Message) -> None:
    """Every fact of both is there once; what one knew as settled is settled; the ladder never goes back."""
    both = merge(one, two)
    sids = [fact.sid for fact in both.facts]
    assert len(set(sids)) == len(sids)
    assert set(sids) == {fact.sid for side in (one, two) for fact in side.facts}
    assert both.settled == (one.settled or two.settled)
    assert one.ladder is not None
    assert two.ladder is not None
    assert both.ladder is not None
    assert both.ladder.at == max(one.ladder.at, two.ladder.at)


def test_what_stands_beside_a_message() -> None:
    """Mailboxes of the parties, the backup from its stage on, timers, and the pages of what fired."""
    message = begun()
    for number, at in enumerate((NOW + 60, NOW + 600, NOW + 1800)):
        message = climbed(message, at, f"c{number}")
    found = standing(message)
    assert [one.desk for one in found if isinstance(one, Offer)] == ["AU", "VN", "AU-B"]
    tells = [one for one in found if isinstance(one, Tell)]
    assert [one.desks for one in tells] == [("VN", "AU")] * 2 + [("VN", "AU", "AU-B")]
    assert {one.kind for one in found if isinstance(one, Arm)} == {"expire", "ladder"}
    pages = [(one.stage, one.handle) for one in found if isinstance(one, Page)]
    assert pages == [(0, "duty"), (1, "chief"), (1, "duty"), (2, "duty")]
    assert Waiting("AU", 1) in found


def test_a_settled_message_arms_and_pages_nothing() -> None:
    """After a person's word its timers go and its pages are taken back, also when it is brought back (I4)."""
    message = step(climbed(begun(), NOW + 60, "c0"), heard("acknowledged", 1, NOW + 99)).message
    found = standing(message)
    assert not [one for one in found if isinstance(one, Arm | Page)]
    assert {one.kind for one in found if isinstance(one, Disarm)} == {"expire", "ladder"}
    assert Unpage() in found
    assert Drop(ORIGIN.expires + limits.ENVELOPE_GRACE_S) in found


def test_two_instances_that_accepted_the_same_envelope() -> None:
    """The earlier acceptance is the message's, on both sides."""
    later = replace(begun(), origin=replace(ORIGIN, at=NOW + 5, accepted="b0" * 32))
    assert merge(later, begun()).origin == merge(begun(), later).origin == ORIGIN
