"""Statements of a message's life: who may sign which, and exactly which fields they have (PROTOCOL
6.2, 7, 10).
"""

import builders_wire as b
import pytest

from keys import statement
from keys.errors import Code, Refused
from keys.identity import Role, Signer
from relay.wire import receipt

KINDS = sorted(receipt.KINDS)
ODD: tuple[object, ...] = (True, {}, -1, [[]], "\n", "X" * 5000)
"""Values that no field takes."""


def _refused(wire: bytes, kind: str) -> Code:
    with pytest.raises(Refused) as refused:
        receipt.read(wire, {kind}, b.signer_of(kind).public)
    return refused.value.code


def _signed(kind: str, /, **changes: object) -> bytes:
    """Return a statement whose signature is right and whose fields are anything."""
    return statement.make(kind, {**b.values_of(kind), **changes}, b.signer_of(kind)).wire


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_reads_as_it_was_made(kind: str) -> None:
    """Fields, signer and sid come back; the sid is what the signer computed (6.2.3, 10)."""
    made = b.receipt_of(kind)
    read = receipt.read(made.wire, {kind}, b.signer_of(kind).public)
    assert read == made
    assert dict(read.fields) == b.values_of(kind)
    assert read.sid == made.sid


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_closed(kind: str) -> None:
    """A field more, a field less, or a field of another type is E_ENCODING, signed or not (6.1.3)."""
    assert _refused(_signed(kind, x=1), kind) is Code.E_ENCODING
    values = b.values_of(kind)
    for name in values:
        less = {key: value for key, value in values.items() if key != name}
        wire = statement.make(kind, less, b.signer_of(kind)).wire
        assert _refused(wire, kind) is Code.E_ENCODING
        for odd in ODD:
            assert _refused(_signed(kind, **{name: odd}), kind) is Code.E_ENCODING
            with pytest.raises(Refused):
                b.receipt_of(kind, **{name: odd})


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_another_role_cannot_sign(kind: str) -> None:
    """Each kind is for keys of one role: above all, a device key makes no human act (7.1, C10)."""
    for role in Role:
        if role is receipt.KINDS[kind].role:
            continue
        with pytest.raises(Refused) as refused:
            receipt.make(kind, b.values_of(kind), Signer(role, b.seed("any")))
        assert refused.value.code is Code.E_SIGNER


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_do_not_cross(kind: str) -> None:
    """A statement of one kind is never taken for another, whatever its fields (6.2.4, C10)."""
    wire = b.receipt_of(kind).wire
    for other in KINDS:
        if other != kind:
            with pytest.raises(Refused) as refused:
                receipt.read(wire, {other}, b.signer_of(kind).public)
            assert refused.value.code is Code.E_TYPE


def test_the_human_acts_are_officers_and_the_machine_acts_devices() -> None:
    """The table of section 7, row by row."""
    by_role = {
        role: {kind for kind, shape in receipt.KINDS.items() if shape.role is role}
        for role in (Role.OFFICER, Role.DEVICE, Role.RELAY)
    }
    assert by_role[Role.OFFICER] == {
        "statement",
        "acknowledged",
        "declined",
        "closed",
        "withdrawn",
    }
    assert by_role[Role.DEVICE] == {
        "submission",
        "pickup",
        "delivered",
        "failed",
        "progress",
        "connect",
    }
    assert by_role[Role.RELAY] == receipt.BY_RELAY
    assert len(KINDS) == sum(map(len, by_role.values()))


def test_an_acknowledgement_by_a_device_key_does_not_verify_as_the_officers() -> None:
    """Malware that holds the device key only cannot acknowledge for a person (C8, C10)."""
    forged = statement.make("acknowledged", b.values_of("acknowledged"), b.device("au-01")).wire
    assert _refused(forged, "acknowledged") is Code.E_SIGNER


@pytest.mark.parametrize(
    ("kind", "name", "most", "beyond"),
    [
        ("pickup", "msgs", 64, 65),
        ("recorded", "sids", 64, 65),
        ("submission", "blobs", 16, 17),
    ],
)
def test_lists_at_their_limit_and_beyond(kind: str, name: str, most: int, beyond: int) -> None:
    """n ids are read, n + 1 are refused, and none stands twice (10.5, 15.1)."""
    ids = [b.seed(str(number)).hex() for number in range(beyond)]
    assert b.receipt_of(kind, **{name: ids[:most]})[name] == ids[:most]
    assert _refused(_signed(kind, **{name: ids}), kind) is Code.E_ENCODING
    assert _refused(_signed(kind, **{name: [ids[0], ids[0]]}), kind) is Code.E_ENCODING


def test_a_pickup_names_at_least_one_message() -> None:
    """An empty pickup asks for nothing."""
    assert _refused(_signed("pickup", msgs=[]), "pickup") is Code.E_ENCODING


def test_sixteen_attachments_of_256_mebibytes() -> None:
    """Attachments at their limits are read, one more or one byte more is refused (15.1)."""
    one = b.values_of("statement")["attachments"][0]
    most = [{**one, "size": 256 * 2**20}] * 16
    assert b.receipt_of("statement", attachments=most)["attachments"] == most
    for wrong in (
        [one] * 17,
        [{**one, "size": 256 * 2**20 + 1}],
        [{**one, "name": "../a"}],
        [{**one, "name": "a\x00"}],
        [{**one, "x": 1}],
    ):
        assert _refused(_signed("statement", attachments=wrong), "statement") is Code.E_ENCODING


def test_the_size_of_a_statement_at_its_limit_and_beyond() -> None:
    """64 KiB on the wire are read, one byte more is E_TOO_LARGE before its signature is looked at
    (15.1).
    """

    def of(size: int) -> bytes:
        return _signed("delivered", x="y" * size)

    short = len(of(0))
    size = next(n for n in range((65_536 - short) * 3 // 4 - 4, 65_536) if len(of(n)) >= 65_536)
    while len(of(size)) > 65_536:
        size -= 1
    at_limit = of(size)
    assert 65_533 <= len(at_limit) <= 65_536
    assert _refused(at_limit, "delivered") is Code.E_ENCODING  # the unknown field, not the size
    assert _refused(at_limit + b" " * (65_537 - len(at_limit)), "delivered") is Code.E_TOO_LARGE


def test_the_statement_of_origin_may_have_one_mebibyte() -> None:
    """The one kind with a larger limit keeps it to itself (15.1)."""
    wire = _signed("statement", x="y" * 700_000)
    assert len(wire) > 65_536
    assert _refused(wire, "statement") is Code.E_ENCODING
    with pytest.raises(Refused) as refused:
        receipt.read(
            _signed("delivered", x="y" * 70_000),
            {"statement", "delivered"},
            b.signer_of("delivered").public,
        )
    assert refused.value.code is Code.E_TOO_LARGE
    assert _refused(b" " * (2**20 + 1), "statement") is Code.E_TOO_LARGE


def test_a_peeked_statement_is_finished_like_a_read_one() -> None:
    """Looking at the keyid first changes no check (6.2.5)."""
    wire = b.receipt_of("closed").wire
    peeked = statement.peek(wire)
    assert peeked.keyid == b.officer("au-01").kid
    read = receipt.finish(peeked, wire, {"closed"}, b.officer("au-01").public)
    assert read == receipt.read(wire, {"closed"}, b.officer("au-01").public)
    with pytest.raises(Refused) as refused:
        receipt.finish(peeked, wire, {"closed"}, b.officer("au-02").public)
    assert refused.value.code is Code.E_SIGNER


def test_a_failure_is_reported_by_its_class_only() -> None:
    """Every code has a class of four, which ``failed`` takes; no step of opening shows (10.9, 16)."""
    classes = {receipt.failure(code) for code in Code}
    assert classes == {"E_ENCODING", "E_DECRYPT", "E_BINDING", "E_EXPIRED"}
    for one in classes:
        assert b.receipt_of("failed", code=one)["code"] == one
    assert receipt.failure(Code.E_COMMIT) == receipt.failure(Code.E_PADDING) == "E_DECRYPT"
    assert _refused(_signed("failed", code="E_COMMIT"), "failed") is Code.E_ENCODING
