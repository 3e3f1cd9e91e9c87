"""The life of a message as a desk can prove it: order, lateness, what does not verify, what the law does not allow."""

from typing import Any

import pytest
from builders import Letter as Sealed
from builders import letter_of, receipt_of, submission_of
from builders_keys import NOW, World, seed

from keys.identity import Role, Signer
from keys.statement import Statement
from relay.core.events import Replaced
from relay.desk.letters import Letter, Way
from relay.desk.records import Held
from relay.desk.timeline import Life, derive, origin_line, replaced_by, state_of
from relay.wire import receipt


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network."""
    return World()


@pytest.fixture(scope="module")
def sealed(world: World) -> Sealed:
    """Return a sealed request from VN to AU, with AU-B as backup."""
    return letter_of(world, NOW)


def letter_in(sealed: Sealed, *, revoked: bool = False) -> Letter:
    """Return the request as AU's archive holds it."""
    return Letter(
        sealed.statement.sid,
        Way.RECEIVED,
        NOW + 5,
        revoked,
        1,
        sealed.header,
        sealed.statement,
        b"",
        "vn-01",
    )


def by_relay(world: World, sealed: Sealed, what: str, signed_at: int, **changes: Any) -> Statement:
    """Return a statement of the relay about the request."""
    fields: dict[str, Any] = {"msg": sealed.msg, "relay": world.service, "at": signed_at}
    if what == "accepted":
        fields = {
            "msg": sealed.msg,
            "submission": sealed.submission.sid,
            "relay": world.service,
            "instance": world.instance,
            "received": signed_at,
            "expires": sealed.header.expires,
            "entry": "00" * 32,
        }
    return receipt.make_unchecked_role(what, {**fields, **changes}, world.evidence)


def held(found: Statement | bytes, received: int, msg: str = "", kind: str = "") -> Held:
    """Return a statement as it is kept, verified or not."""
    if isinstance(found, bytes):
        return Held("ff" * 32, found, msg, kind, "", received, verified=False, mine=False)
    return Held(
        found.sid, found.wire, found["msg"], found.kind, "", received, verified=True, mine=False
    )


def begun(world: World, sealed: Sealed) -> list[Held]:
    """Return submission and acceptance."""
    accepted = by_relay(world, sealed, "accepted", NOW + 1)
    return [held(sealed.submission, NOW), held(accepted, NOW + 1)]


def lived(world: World, sealed: Sealed, *later: Held, **options: Any) -> Life:
    """Derive the request's life from its beginning and what came later."""
    return derive(
        letter_in(sealed),
        sealed.msg,
        [*begun(world, sealed), *later],
        world.directory(),
        world.service,
        **options,
    )


def test_each_step_has_a_line_with_its_proof(world: World, sealed: Sealed) -> None:
    """Who, what, when it was claimed and when it came, and the sid that proves it."""
    delivered = receipt_of(world, "delivered", sealed, NOW + 3)
    acknowledged = receipt_of(world, "acknowledged", sealed, NOW + 60)
    life = lived(world, sealed, held(delivered, NOW + 4), held(acknowledged, NOW + 62))
    assert life.phase == "acknowledged"
    found = [(line.what, line.by, line.at, line.received, line.proof) for line in life.lines]
    assert found[2:] == [
        ("delivered", "device of au-01 (AU)", NOW + 3, NOW + 4, delivered.sid),
        ("acknowledged", "au-01 (AU)", NOW + 60, NOW + 62, acknowledged.sid),
    ]
    assert found[0][:2] == ("submission", "device of vn-01 (VN)")
    assert found[1][:2] == ("accepted", f"relay {world.service}")
    assert all(line.verified and not line.late for line in life.lines)
    first = origin_line(letter_in(sealed, revoked=True))
    assert (first.what, first.by, first.proof) == ("statement", "vn-01 (VN)", sealed.statement.sid)
    assert "telephone first" in first.text


def test_positive_after_negative_is_late_and_both_stay(world: World, sealed: Sealed) -> None:
    """Acknowledged after it expired: late, shown as such, nothing is rolled back (PROTOCOL 10.7)."""
    expired = by_relay(world, sealed, "expired", sealed.header.expires)
    acknowledged = receipt_of(world, "acknowledged", sealed, sealed.header.expires + 60)
    after = sealed.header.expires
    life = lived(world, sealed, held(expired, after), held(acknowledged, after + 61))
    assert life.phase == "acknowledged"
    assert [(line.what, line.late) for line in life.lines[2:]] == [
        ("expired", False),
        ("acknowledged", True),
    ]
    assert life.lines[-1].text.endswith("late")


def test_without_a_proven_acceptance_there_is_no_life(world: World, sealed: Sealed) -> None:
    """The relay's word alone begins nothing: neither a missing nor a false `accepted` (claim C12)."""
    delivered = held(receipt_of(world, "delivered", sealed, NOW + 3), NOW + 4)
    false = receipt.make(
        "accepted",
        dict(by_relay(world, sealed, "accepted", NOW + 1).fields),
        Signer(Role.RELAY, seed("a false relay")),
    )
    other = by_relay(world, sealed, "accepted", NOW + 1, submission="ab" * 32)
    elsewhere = by_relay(world, sealed, "accepted", NOW + 1, relay="another-relay")
    stranger = by_relay(world, sealed, "accepted", NOW + 1, instance="another/1")
    another = submission_of(world, sealed.header, sealed.envelope, NOW, header_sha256="ab" * 32)
    of_another = by_relay(world, sealed, "accepted", NOW + 1, submission=another.sid)
    for statements in (
        [held(sealed.submission, NOW), delivered],
        [held(sealed.submission, NOW), held(false, NOW + 1), delivered],
        [held(sealed.submission, NOW), held(other, NOW + 1), delivered],
        [held(sealed.submission, NOW), held(elsewhere, NOW + 1), delivered],
        [held(sealed.submission, NOW), held(stranger, NOW + 1), delivered],
        [held(another, NOW), held(of_another, NOW + 1), delivered],
    ):
        letter = letter_in(sealed)
        life = derive(letter, sealed.msg, statements, world.directory(), world.service)
        assert life.message is None
        assert life.phase == ""
        assert state_of([life]) == ""


@pytest.mark.parametrize(
    ("kind", "changes", "by"),
    [
        ("delivered", {"statement": "ab" * 32}, None),
        ("acknowledged", {"statement": "ab" * 32}, None),
        ("acknowledged", {}, ("VN", "officer")),
        ("acknowledged", {}, ("AU", "device")),
        ("delivered", {}, ("AU", "officer")),
        ("withdrawn", {}, ("AU", "officer")),
        ("acknowledged", {"at": NOW - 10**6}, None),
        ("delivered", {"at": NOW - 10**6}, None),
        ("delivered", {"desk": "AU-B"}, None),
    ],
    ids=[
        "other-text",
        "other-text-human",
        "sender",
        "device-acts",
        "officer-acts",
        "withdrawn",
        "before",
        "device-before",
        "other-desk",
    ],
)
def test_what_does_not_count_is_shown_as_such(
    world: World,
    sealed: Sealed,
    kind: str,
    changes: dict[str, Any],
    by: tuple[str, str] | None,
) -> None:
    """Another text, another desk's key, a key of another role, a time before the member was in force (C8 to C10)."""
    right = receipt_of(world, kind, sealed, NOW + 3, desk="VN" if kind == "withdrawn" else "AU")
    signer = {
        ("VN", "officer"): world.signer("VN"),
        ("AU", "officer"): world.signer("AU"),
        ("AU", "device"): world.device("AU"),
    }
    machine = kind == "delivered"
    default = world.device("AU") if machine else world.signer("AU")
    made = receipt.make_unchecked_role(
        kind, {**right.fields, **changes}, signer[by] if by else default
    )
    life = lived(world, sealed, held(made.wire, NOW + 4, sealed.msg, kind))
    assert life.phase == "accepted"
    (line,) = [line for line in life.lines if line.what == kind]
    assert not line.verified
    assert line.by == "?"
    assert "counts for nothing" in line.text


def test_a_backup_that_is_not_engaged_does_not_count(world: World, sealed: Sealed) -> None:
    """The backup desk's receipt before its stage verifies, and the law does not let it count (PROTOCOL 9.3)."""
    early = receipt_of(world, "acknowledged", sealed, NOW + 3, desk="AU-B")
    life = lived(world, sealed, held(early, NOW + 4))
    assert life.phase == "accepted"
    assert life.lines[-1].verified
    assert "does not count" in life.lines[-1].text
    stage = {"stage": 3, "kind": "backup", "cause": "timeout", "next_at": NOW + 90}
    engaged = by_relay(world, sealed, "escalated", NOW + 2, **stage)
    life = lived(world, sealed, held(engaged, NOW + 2), held(early, NOW + 4))
    assert life.phase == "acknowledged"


def test_a_key_revoked_later_is_said(world: World) -> None:
    """A receipt by a member who was in force then stays good, and the line says what happened since."""
    later = World()
    sealed = letter_of(later, NOW)
    delivered = receipt_of(later, "delivered", sealed, NOW + 3)
    later.revoke("AU", "au-01", NOW + 100)
    directory = later.directory(NOW + 100)
    statements = [*begun(later, sealed), held(delivered, NOW + 4)]
    life = derive(letter_in(sealed), sealed.msg, statements, directory, later.service)
    assert life.phase == "delivered"
    assert "the key was revoked later" in life.lines[-1].text
    after = receipt_of(later, "acknowledged", sealed, NOW + 200)
    life = derive(
        letter_in(sealed),
        sealed.msg,
        [*statements, held(after, NOW + 201)],
        directory,
        later.service,
    )
    assert life.phase == "delivered"
    assert not life.lines[-1].verified


def test_a_reseal_takes_the_place_of_an_older_id(world: World, sealed: Sealed) -> None:
    """The submission that names the old id, once accepted, ends the old ladder; the newest id's state counts (9.3)."""
    again = letter_of(world, NOW, prekeys=[one.key for one in world.current_prekeys("AU")])
    new = Sealed(
        sealed.header,
        sealed.statement,
        sealed.cek,
        again.envelope,
        submission_of(world, sealed.header, again.envelope, NOW + 50, replaces=sealed.msg),
    )
    accepted = by_relay(world, new, "accepted", NOW + 51)
    kept = {
        sealed.msg: begun(world, sealed),
        new.msg: [held(new.submission, NOW + 50), held(accepted, NOW + 51)],
    }
    about, directory = letter_in(sealed).about, world.directory()
    found = replaced_by(kept, sealed.msg, about, directory, world.service)
    assert found == Replaced(new.msg, NOW + 51)
    assert replaced_by(kept, new.msg, about, directory, world.service) is None
    old_life = lived(world, sealed, replaced=found)
    new_life = derive(letter_in(sealed), new.msg, kept[new.msg], directory, world.service)
    assert old_life.phase == "replaced"
    assert state_of([old_life, new_life]) == "accepted"
    assert "in place of an earlier copy" in new_life.lines[0].text
    acknowledged = receipt_of(world, "acknowledged", sealed, NOW + 40)
    old_life = lived(world, sealed, held(acknowledged, NOW + 41), replaced=found)
    assert state_of([old_life, new_life]) == "acknowledged"


def test_the_ladders_end_is_told_in_words(world: World, sealed: Sealed) -> None:
    """Silence and unopenable are two things, and each stage says why it was reached (PROTOCOL 10)."""
    stage = {"stage": 1, "kind": "backstop", "cause": "timeout", "next_at": NOW + 90}
    climbed = by_relay(world, sealed, "escalated", NOW + 60, **stage)
    silence = by_relay(world, sealed, "exhausted", NOW + 90, stages=[], outcome="silence")
    broken = by_relay(world, sealed, "exhausted", NOW + 90, stages=[], outcome="unopenable")
    life = lived(world, sealed, held(climbed, NOW + 61), held(silence, NOW + 91))
    assert life.phase == "exhausted"
    assert life.lines[2].text.startswith("step 2, backstop: the desk's backstop is paged")
    assert life.lines[2].text.endswith("nobody had acknowledged in time")
    assert life.lines[2].next_at == NOW + 90
    assert "nobody's acknowledgement was known: proof of silence" in life.lines[3].text
    assert [one.kind for one in life.climbs] == ["escalated", "exhausted"]
    life = lived(world, sealed, held(broken, NOW + 91))
    assert "cannot open the message, which is not silence" in life.lines[2].text


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"outcome": "ab" * 32}, "closed: answered"), ({"outcome": ""}, "closed without an answer")],
)
def test_closed_says_whether_there_was_an_answer(
    world: World, sealed: Sealed, changes: dict[str, Any], text: str
) -> None:
    """Answered or not is what `closed` proves; which answer only the parties see (PROTOCOL 10.3)."""
    closed = receipt_of(world, "closed", sealed, NOW + 90, **changes)
    life = lived(world, sealed, held(closed, NOW + 91))
    assert (life.phase, life.lines[-1].text) == ("closed", text)
