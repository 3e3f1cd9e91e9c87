"""Hostile input: every parser raises its own errors and nothing else (PROTOCOL 16.3, C22).

3000 mutations of something valid for each parser, by fixed dice, and what hypothesis finds besides.
"""

import random
from collections.abc import Callable

import builders_wire as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import statement
from keys.errors import Refused
from relay import errors
from relay.wire import content, envelope, frames, receipt
from relay.wire.envelope import Header
from relay.wire.frames import Frame, Type

MUTATIONS = 3000
LETTER = b.letter()
SEEDS = b.seeds_of("au-01")
DIRECTORY = b.three_desks()
NOTIFY = b.dumps(
    {
        "epoch": 1,
        "seq": 2,
        "msg": "0" * 64,
        "to": "AU",
        "from": "VN",
        "priority": "urgent",
        "mode": "actual",
    }
)


def _open(sealed: bytes, submission: bytes = LETTER.submission) -> None:
    content.open_message(
        sealed,
        submission,
        desk="AU",
        service=b.SERVICE,
        seeds=SEEDS,
        directory=DIRECTORY,
        now=b.NOW,
    )


def _open_plain(plain: bytes) -> None:
    """A hostile sender seals anything: what is inside is parsed as well."""
    sealed = b.seal_anything(LETTER.header, plain or b"\0", stanzas=STANZAS)
    _open(sealed, b.hand_in(sealed, LETTER.header))


STANZAS = [b.stanza("au-01", b.seed("cek"), LETTER.header)]


def _read(kind: str) -> Callable[[bytes], object]:
    return lambda data: receipt.read(data, {kind}, b.signer_of(kind).public)


def _read_signed(kind: str) -> Callable[[bytes], object]:
    """The payload is what was mutated, and the signature over it is right."""
    signer = b.signer_of(kind)
    return lambda data: receipt.read(b.forge(data, kind=kind, by=signer), {kind}, signer.public)


def _payload(kind: str) -> bytes:
    return statement.peek(b.receipt_of(kind).wire).payload


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "strict JSON": (statement.decode, _payload("exhausted")),
    "a statement's frame": (statement.peek, b.receipt_of("delivered").wire),
    "header": (Header.decode, LETTER.header.encode()),
    "envelope": (envelope.parse, LETTER.envelope),
    "opening an envelope": (_open, LETTER.envelope),
    "opening a submission": (lambda data: _open(LETTER.envelope, data), LETTER.submission),
    "opening a plaintext": (_open_plain, b.plaintext(LETTER.statement)),
    "frame": (frames.decode, frames.encode(Frame(Type.NOTIFY, 0, NOTIFY))),
    "parts": (frames.split, frames.join(b"", b"one", NOTIFY)),
    "three parts": (lambda data: frames.split(data, 3), frames.join(b"", b"one", NOTIFY)),
    "a JSON body": (lambda data: frames.unpack(Type.NOTIFY, data), NOTIFY),
    "error": (errors.from_json, b.dumps({"at": 1, "code": "E_BUSY", "retry": True, "text": "x"})),
}
for _kind in ("statement", "submission", "exhausted"):
    PARSERS[f"the wire of {_kind}"] = (_read(_kind), b.receipt_of(_kind).wire)
    PARSERS[f"a signed payload of {_kind}"] = (_read_signed(_kind), _payload(_kind))

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"null",
    b"1e9",
    b"-",
    b"\xff",
    b"\0" * 4,
    b"\xff" * 4,
    b"\\ud800",
    b'"v":1',
    b"9" * 400,
]


def _mutated(good: bytes, dice: random.Random) -> bytes:
    data = bytearray(good)
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        at = dice.randrange(len(data) + 1)
        length = dice.choice((1, 1, 2, 4, 16, 200))
        match dice.randrange(7):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                data[at : at + length] = b""
            case 2:
                data[at:at] = dice.randbytes(length)
            case 3:
                data[at:at] = dice.choice(TOKENS)
            case 4:
                other = dice.randrange(len(data) + 1)
                data[at : at + length] = data[other : other + length]
            case 5:
                del data[at:]
            case _:
                data[at : at + 1] = dice.choice(TOKENS)
    return bytes(data)


@pytest.mark.parametrize("parser", PARSERS)
def test_mutated_input(parser: str) -> None:
    """3000 mutations: read or Refused, never anything else."""
    parse, good = PARSERS[parser]
    parse(good)
    dice = random.Random(parser)
    outcomes = {True: 0, False: 0}
    for number in range(MUTATIONS):
        data = _mutated(good, dice)
        try:
            parse(data)
        except Refused:
            outcomes[False] += 1
        except Exception as strange:  # noqa: BLE001 - that is what is looked for
            pytest.fail(f"mutation {number} raised {strange!r}: {data[:300]!r}")
        else:
            outcomes[True] += 1
    assert outcomes[False] > 50, "the mutations hardly hurt"


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=300))
def test_any_bytes(parser: str, data: bytes) -> None:
    """What never was a message is refused as well."""
    parse, _good = PARSERS[parser]
    try:
        parse(data)
    except Refused as refused:
        sentence = str(refused)
    else:
        sentence = "It was read."
    assert sentence.endswith(".")


JSON = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(receipt.KINDS)), st.data())
def test_any_fields_signed_rightly(kind: str, data: st.DataObject) -> None:
    """A hostile member signs any value in any field: refused, or read as it was signed (6.1.3,
    C17).
    """
    values = b.values_of(kind)
    name = data.draw(st.sampled_from(sorted(values)))
    values[name] = data.draw(JSON)
    signer = b.signer_of(kind)
    payload = b.dumps({**values, "v": 1, "signer": signer.kid})
    try:
        read = receipt.read(b.forge(payload, kind=kind, by=signer), {kind}, signer.public)
    except Refused:
        return
    assert read[name] == values[name]


@given(JSON)
def test_strict_json_is_a_bijection(value: object) -> None:
    """What encodes decodes to the same value, and what decodes encodes to the same bytes (6.1.2,
    C17).
    """
    try:
        data = statement.encode({"a": value})
    except Refused:
        return
    assert statement.decode(data) == {"a": value}
    assert statement.encode(statement.decode(data)) == data


def test_hostile_sizes_cost_nothing() -> None:
    """Deep nesting, huge numbers and long input are refused before they are worked on (15.2)."""
    for hostile in (
        b"[" * 2_000_000,
        b'{"a":' * 500_000,
        b'{"a":' + b"9" * 4_000_000 + b"}",
        b'"' + b"\\" * 10**6,
    ):
        with pytest.raises(Refused):
            statement.decode(hostile)
        with pytest.raises(Refused):
            receipt.read(hostile, {"delivered"}, b.device("au-01").public)
