"""Frames and joined bodies of a session (PROTOCOL 12)."""

from typing import Any

import builders_wire as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import Code, Refused
from relay.wire import frames
from relay.wire.frames import Frame, Type

BODIES: dict[Type, dict[str, Any]] = {
    Type.CHALLENGE: {"nonce": "0" * 64, "relay": b.SERVICE, "at": b.NOW, "v": 1},
    Type.WELCOME: {
        "relay": b.SERVICE,
        "instance": "relay.example/poc24-1",
        "epoch": 1,
        "head": 0,
        "token": "0" * 64,
        "until": b.NOW,
        "directory": 3,
        "at": b.NOW,
    },
    Type.RESUME: {"epoch": 1, "seq": 2},
    Type.SEEN: {"epoch": 1, "seq": 2},
    Type.NOTIFY: {
        "epoch": 1,
        "seq": 2,
        "msg": "0" * 64,
        "to": "AU",
        "from": "VN",
        "priority": "urgent",
        "mode": "actual",
    },
    Type.STATEMENT: {"epoch": 1, "seq": 2, "msg": ""},
    Type.DIRECTORY: {"version": 7},
    Type.DRAINING: {"after": 5},
}


def _code(data: bytes) -> Code:
    with pytest.raises(Refused) as refused:
        frames.decode(data)
    return refused.value.code


@given(st.sampled_from(Type), st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_a_frame_reads_as_it_was_written(kind: Type, request: int, body: bytes) -> None:
    """Type, request and body come back (12.3)."""
    frame = Frame(kind, request, body)
    assert frames.decode(frames.encode(frame)) == frame


def test_the_numbers_of_types_are_stable() -> None:
    """What travels is the number; these are the table's (12.2 to 12.5)."""
    assert {one.name: int(one) for one in Type} == {
        "CHALLENGE": 1,
        "CONNECT": 2,
        "WELCOME": 3,
        "SUBMIT": 16,
        "PICKUP": 17,
        "RECORD": 18,
        "PREKEYS": 19,
        "RESUME": 20,
        "SEEN": 21,
        "TOKEN": 22,
        "GET_PREKEYS": 23,
        "GET_FILE": 24,
        "PUBLISH": 25,
        "ANSWER": 32,
        "ERROR": 33,
        "NOTIFY": 48,
        "STATEMENT": 49,
        "DIRECTORY": 50,
        "DRAINING": 51,
    }


def test_unknown_and_cut_frames() -> None:
    """An unknown type or a cut head is E_ENCODING (12.3)."""
    for data in (b"", b"\x10", b"\x10\0\0\0", b"\0\0\0\0\0", b"\xff\0\0\0\0body"):
        assert _code(data) is Code.E_ENCODING


def test_a_frame_at_its_limit_and_beyond() -> None:
    """4 MiB + 128 KiB pass, one byte more is E_TOO_LARGE, written or read (15.1)."""
    body = bytes(frames.FRAME_BYTES_MAX - 5)
    wire = frames.encode(Frame(Type.SUBMIT, 1, body))
    assert frames.decode(wire).body == body
    assert _code(wire + b"\0") is Code.E_TOO_LARGE
    with pytest.raises(Refused) as refused:
        frames.encode(Frame(Type.SUBMIT, 1, body + b"\0"))
    assert refused.value.code is Code.E_TOO_LARGE


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_parts_come_back(parts: list[bytes]) -> None:
    """A joined body is cut into its parts, empty ones too (12.2)."""
    assert frames.split(frames.join(*parts)) == parts
    assert frames.split(frames.join(*parts), len(parts)) == parts
    with pytest.raises(Refused):
        frames.split(frames.join(*parts), len(parts) + 1)


def test_a_body_is_filled_exactly() -> None:
    """Cut anywhere but between parts, or with bytes behind, it is E_ENCODING (12.2)."""
    body = frames.join(b"one", b"two")
    for cut in range(1, len(body)):
        if cut == len(frames.join(b"one")):
            continue
        with pytest.raises(Refused) as refused:
            frames.split(body[:cut])
        assert refused.value.code is Code.E_ENCODING
    with pytest.raises(Refused):
        frames.split(body + b"\0")
    with pytest.raises(Refused):
        frames.split(b"\xff\xff\xff\xff")


def test_parts_at_their_limit_and_beyond() -> None:
    """256 parts are read; the 257th is refused, so a body of empty parts costs no memory (15.1)."""
    assert len(frames.split(frames.join(*[b""] * 256))) == 256
    with pytest.raises(Refused) as refused:
        frames.split(frames.join(*[b""] * 257))
    assert refused.value.code is Code.E_TOO_LARGE


@pytest.mark.parametrize("kind", sorted(frames.BODIES))
def test_json_bodies_are_closed(kind: Type) -> None:
    """Each body reads as it was written; a field more, less or of another type is E_ENCODING
    (6.1.3).
    """
    values = BODIES[kind]
    assert frames.unpack(kind, frames.pack(kind, values)) == values
    wrong = [{**values, "x": 1}, *({**values, name: True} for name in values)]
    wrong += [{key: one for key, one in values.items() if key != name} for name in values]
    for one in wrong:
        with pytest.raises(Refused) as refused:
            frames.unpack(kind, b.dumps(one))
        assert refused.value.code is Code.E_ENCODING
        with pytest.raises(Refused):
            frames.pack(kind, one)


def test_a_json_body_has_a_limit() -> None:
    """64 KiB are enough for any (15.1)."""
    with pytest.raises(Refused) as refused:
        frames.unpack(Type.SEEN, b" " * 65_537)
    assert refused.value.code is Code.E_TOO_LARGE


def test_what_is_pushed_most_is_what_pack_would_make() -> None:
    """NOTIFY and STATEMENT are written without a detour, and are the same bytes."""
    msg = "ab" * 32
    named = {"to": "AU", "from": "VN-A1", "priority": "urgent", "mode": "test"}
    place = {"epoch": 2**53 - 1, "seq": 17, "msg": msg}
    made = frames.notify(2**53 - 1, 17, msg, ("AU", "VN-A1", "urgent", "test"))
    assert made == frames.pack(Type.NOTIFY, {**named, **place})
    assert frames.told(2**53 - 1, 17, msg) == frames.pack(Type.STATEMENT, place)


@pytest.mark.parametrize("epoch", [0, 7, 10**14, 10**15, 2**53 - 1])
def test_seen_is_read_as_any_other_body(epoch: int) -> None:
    """The short way and the long one give the same numbers."""
    body = frames.pack(Type.SEEN, {"epoch": epoch, "seq": 12})
    assert frames.seen(body) == (epoch, 12)


@pytest.mark.parametrize(
    "body",
    [
        b'{"epoch":01,"seq":1}',
        b'{"epoch":1, "seq":1}',
        b'{"epoch":-1,"seq":1}',
        b'{"epoch":1,"seq":9007199254740992}',
        b'{"epoch":1,"seq":1}\n',
        b'{"seq":1,"epoch":1}',
        b"",
    ],
)
def test_a_seen_that_is_not_one_is_refused(body: bytes) -> None:
    """The short way takes nothing that the long one would not (PROTOCOL 6.1)."""
    with pytest.raises(Refused) as refused:
        frames.seen(body)
    assert refused.value.code is Code.E_ENCODING
