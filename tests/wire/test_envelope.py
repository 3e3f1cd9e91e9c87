"""The envelope: framing, header, sizes (PROTOCOL 9, 15)."""

import dataclasses
import hashlib

import builders_wire as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import statement
from keys.errors import Code, Refused
from relay.wire import envelope
from relay.wire.envelope import Header

STANZA = bytes(range(256)) * 4 + bytes(152)


def _assembled(count: int = 1, stream: bytes = b"s" * 100) -> bytes:
    return envelope.assemble(b.header(), [STANZA] * count, b"c" * 32, stream)


def _code(data: bytes) -> Code:
    with pytest.raises(Refused) as refused:
        envelope.parse(data)
    return refused.value.code


def _header_code(**changes: object) -> Code:
    """Return the code for a header with changes, made here and read from the wire: they must agree."""
    value = {**statement.decode(b.header().encode()), **changes}
    with pytest.raises(Refused) as read:
        Header.decode(statement.encode(value))
    if not changes.keys() & {"v", "x"}:  # what can be said of a header at all
        value.pop("v")
        value["sender"] = value.pop("from")
        with pytest.raises(Refused) as made:
            Header(**value)
        assert made.value.code == read.value.code
    return read.value.code


def test_an_envelope_reads_as_it_was_assembled() -> None:
    """Every part comes back, and the message id is the hash of all bytes (9, 9.6)."""
    wire = _assembled(count=3)
    read = envelope.parse(wire)
    assert read.header == b.header()
    assert read.stanzas == (STANZA,) * 3
    assert read.hints == (STANZA[:8],) * 3
    assert read.commitment == b"c" * 32
    assert bytes(read.stream) == b"s" * 100
    assert read.msg == hashlib.sha256(wire).hexdigest()
    assert read.prefix + read.commitment + bytes(read.stream) == wire == read.wire


def test_the_stream_is_not_copied() -> None:
    """The relay's hot path keeps one copy of the bytes: the stream is a view into them."""
    wire = _assembled()
    assert envelope.parse(wire).stream.obj is wire


def test_the_header_hash_is_over_magic_length_and_header() -> None:
    """``hh`` by hand (9.2.1)."""
    head = b.header().encode()
    by_hand = hashlib.sha256(b"poc24/1 envelope\n" + len(head).to_bytes(4, "big") + head)
    assert b.header().sha256 == by_hand.hexdigest()


def test_a_replaced_header_is_encoded_anew() -> None:
    """A changed copy of a header has its own bytes, never those of the first."""
    other = dataclasses.replace(b.header(), priority="routine")
    assert Header.decode(other.encode()).priority == "routine"
    assert other.sha256 != b.header().sha256


@pytest.mark.parametrize("cut", [0, 6, 17, 20, 21, 300, 17 + 4 + len(b.header().encode()) + 1])
def test_a_cut_envelope_is_refused(cut: int) -> None:
    """Wherever it is cut before its content, the framing says so (9.4.1)."""
    assert _code(_assembled()[:cut]) in {Code.E_ENCODING, Code.E_VERSION}


def test_it_is_cut_at_every_byte_before_its_content() -> None:
    """No cut reads as a shorter envelope, up to the smallest stream."""
    wire = _assembled(stream=b"s" * 17)
    assert envelope.parse(wire).header == b.header()
    for cut in range(17, len(wire)):
        assert _code(wire[:cut]) is Code.E_ENCODING


def test_another_version_is_told_from_garbage() -> None:
    """An envelope of a later version asks for an update; anything else is no envelope (9.4.1,
    16.4).
    """
    wire = _assembled()
    assert _code(wire.replace(b"poc24/1", b"poc24/2", 1)) is Code.E_VERSION
    with pytest.raises(Refused, match="begins with other bytes"):
        envelope.parse(b"PK\x03\x04" + wire)


def test_stanzas_at_the_limit_and_beyond() -> None:
    """1 and 96 stanzas are read, 0 and 97 are E_RECIPIENTS, made or received (15.1)."""
    assert len(envelope.parse(_assembled(1)).stanzas) == 1
    assert len(envelope.parse(_assembled(96)).stanzas) == 96
    at = 17 + 4 + len(b.header().encode())
    wire = _assembled(96)
    for count in (0, 97, 65_535):
        assert _code(wire[:at] + count.to_bytes(2, "big") + wire[at + 2 :]) is Code.E_RECIPIENTS
    for count in (0, 97):
        with pytest.raises(Refused) as refused:
            _assembled(count)
        assert refused.value.code is Code.E_RECIPIENTS


def test_the_envelope_at_its_limit_and_beyond() -> None:
    """4 MiB are read, one byte more is E_TOO_LARGE before anything else is looked at (15.1, 15.2)."""
    room = envelope.ENVELOPE_BYTES_MAX - len(_assembled(stream=b"s" * 17)) + 17
    assert len(_assembled(stream=bytes(room))) == envelope.ENVELOPE_BYTES_MAX
    assert envelope.parse(_assembled(stream=bytes(room))).header == b.header()
    with pytest.raises(Refused) as refused:
        _assembled(stream=bytes(room + 1))
    assert refused.value.code is Code.E_TOO_LARGE
    assert _code(bytes(envelope.ENVELOPE_BYTES_MAX + 1)) is Code.E_TOO_LARGE


def test_a_header_at_its_limit_and_beyond() -> None:
    """A length of 4097 is E_TOO_LARGE, though nothing of it was read (15.1, 15.2)."""
    long = b"poc24/1 envelope\n" + (4097).to_bytes(4, "big") + bytes(8000)
    assert _code(long) is Code.E_TOO_LARGE
    with pytest.raises(Refused) as refused:
        Header.decode(b" " * 4097)
    assert refused.value.code is Code.E_TOO_LARGE
    with pytest.raises(Refused) as refused:
        Header.decode(b" " * 4096)
    assert refused.value.code is Code.E_ENCODING


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires": b.NOW}, Code.E_EXPIRED),
        ({"expires": b.NOW + 7 * b.DAY + 1}, Code.E_EXPIRED),
        ({"ack_by": b.NOW}, Code.E_ENCODING),
        ({"ack_by": b.NOW + b.DAY + 1}, Code.E_ENCODING),
        ({"ack_by": -1}, Code.E_ENCODING),
        ({"created": True}, Code.E_ENCODING),
        ({"backup": "VN"}, Code.E_ENCODING),
        ({"backup": "AU"}, Code.E_ENCODING),
        ({"backup": "au"}, Code.E_ENCODING),
        ({"to": ""}, Code.E_ENCODING),
        ({"to": "AUS"}, Code.E_ENCODING),
        ({"to": "AU-"}, Code.E_ENCODING),
        ({"to": "AU-ABCDE"}, Code.E_ENCODING),
        ({"to": "AU\n"}, Code.E_ENCODING),
        ({"from": "V1"}, Code.E_ENCODING),
        ({"dev": "0" * 63}, Code.E_ENCODING),
        ({"dev": "A" * 64}, Code.E_ENCODING),
        ({"mode": "drill"}, Code.E_ENCODING),
        ({"priority": "high"}, Code.E_ENCODING),
        ({"priority": []}, Code.E_ENCODING),
        ({"v": 2}, Code.E_VERSION),
        ({"v": True}, Code.E_VERSION),
        ({"x": 1}, Code.E_ENCODING),
    ],
)
def test_a_header_that_breaks_a_rule(changes: dict[str, object], code: Code) -> None:
    """Each rule of the header refuses with its code, in making and in reading alike (9.1)."""
    assert _header_code(**changes) is code


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": b.NOW + 1, "ack_by": 0},
        {"expires": b.NOW + 7 * b.DAY},
        {"ack_by": b.NOW + 1},
        {"ack_by": b.NOW + b.DAY},
        {"backup": "AU-B"},
        {"to": "AU-ABCD", "mode": "exercise", "priority": "emergency"},
        {"mode": "test", "ack_by": 0, "priority": "routine"},
    ],
)
def test_a_header_at_the_edge_of_its_rules(changes: dict[str, object]) -> None:
    """What is just allowed reads as it was made (9.1)."""
    made = b.header(**changes)
    assert Header.decode(made.encode()) == made


def test_a_missing_field_of_a_header() -> None:
    """A header is closed: each field must be there (6.1.3)."""
    value = statement.decode(b.header().encode())
    for name in value:
        left = {key: one for key, one in value.items() if key != name}
        with pytest.raises(Refused) as refused:
            Header.decode(statement.encode(left))
        assert refused.value.code is (Code.E_VERSION if name == "v" else Code.E_ENCODING)


def test_161_sizes_up_to_one_mebibyte() -> None:
    """All lengths up to 16 KiB have one size, and up to 1 MiB there are 161 (9.2.6, C16)."""
    assert {envelope.padme(length) for length in range(16_385)} == {16_384}
    assert len({envelope.padme(length) for length in range(1, 1_048_577, 13)} | {1_048_576}) == 161


@given(st.integers(0, 2**40))
def test_padme_adds_little_and_never_takes_away(length: int) -> None:
    """Padding is monotone, idempotent, and below 12 % beyond the smallest size (9.2.6)."""
    padded = envelope.padme(length)
    assert padded >= length
    assert envelope.padme(padded) == padded
    assert envelope.padme(length + 1) >= padded
    if length >= 16_384:
        assert padded - length <= length * 0.12
