"""Statements: every step of PROTOCOL 6.2 has a test that fails without it, and no bit can be changed."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from keys import statement, suite
from keys.errors import Code, Refused
from keys.identity import Role, Signer

DEVICE = Signer(Role.DEVICE, bytes(range(32)))
OTHER = Signer(Role.DEVICE, bytes(range(1, 33)))
FIELDS = {"desk": "VN", "at": 1_800_000_000, "note": "số điện thoại"}
MADE = statement.make("connect", FIELDS, DEVICE)


def refused(
    wire: bytes, public: bytes = DEVICE.public, kinds: frozenset[str] = frozenset({"connect"})
) -> Code:
    """Return the code with which a statement is refused."""
    with pytest.raises(Refused) as error:
        statement.verify(wire, kinds, public)
    return error.value.code


def outer(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the statement with its DSSE envelope changed, in its one encoding."""
    value = json.loads(MADE.wire)
    change(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def signed(payload: bytes, kind: str = "connect", signer: Signer = DEVICE) -> bytes:
    """Sign arbitrary payload bytes, as a hostile holder of a key can."""
    return json.dumps(
        {
            "payload": statement.b64u(payload),
            "payloadType": statement.payload_type(kind),
            "signatures": [
                {
                    "keyid": signer.kid,
                    "sig": statement.b64u(signer.sign(statement.pae(kind, payload))),
                }
            ],
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


def test_what_was_signed_is_read() -> None:
    """A statement comes back with its fields, signer and id."""
    read = statement.verify(MADE.wire, {"connect"}, DEVICE.public)
    assert read == MADE
    assert dict(read.fields) == FIELDS
    assert read.signer == DEVICE.kid
    payload = base64.urlsafe_b64decode(json.loads(MADE.wire)["payload"] + "==")
    assert read.sid == suite.sha256(statement.pae("connect", payload)).hex()


def test_pae_is_dsse_own_example() -> None:
    """The example of the DSSE protocol text: type and payload with their lengths in bytes."""
    name = b"application/vnd.poc24.connect.v1+json"
    expected = b"DSSEv1 %d %s 11 hello world" % (len(name), name)
    assert statement.pae("connect", b"hello world") == expected


def test_an_id_does_not_depend_on_the_signature() -> None:
    """PROTOCOL 6.2: another valid signature of one text, by the same key, is the same statement."""
    payload = statement.peek(MADE.wire).payload
    nonce, order = 12345, 2**252 + 27742317777372353535851937790883648493
    assert signed(payload) == MADE.wire
    # A second honest signature needs another nonce: computed here as a signer with other dice would.
    import hashlib

    import nacl.bindings as sodium

    digest = hashlib.sha512(DEVICE.seed).digest()
    scalar = int.from_bytes(
        bytes([digest[0] & 248]) + digest[1:31] + bytes([(digest[31] & 127) | 64]), "little"
    )
    point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce.to_bytes(32, "little"))
    hashed = hashlib.sha512(point + DEVICE.public + statement.pae("connect", payload)).digest()
    s = (nonce + int.from_bytes(hashed, "little") * scalar) % order
    sig = statement.b64u(point + s.to_bytes(32, "little"))
    second = outer(lambda value: value["signatures"][0].update(sig=sig))
    assert second != MADE.wire
    assert statement.verify(second, {"connect"}, DEVICE.public).sid == MADE.sid


# The steps of 6.2, in their order


def test_step_1_size() -> None:
    """A statement over its limit is refused before it is parsed; at the limit it is read."""
    with pytest.raises(Refused) as error:
        statement.verify(MADE.wire, {"connect"}, DEVICE.public, limit=len(MADE.wire) - 1)
    assert error.value.code is Code.E_TOO_LARGE
    statement.verify(MADE.wire, {"connect"}, DEVICE.public, limit=len(MADE.wire))
    assert refused(b"[" * (statement.STATEMENT_BYTES_MAX + 1)) is Code.E_TOO_LARGE


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        MADE.wire + b"\n",
        b" " + MADE.wire,
        MADE.wire.replace(b'"payload":', b'"payload": '),
        MADE.wire.replace(b"payloadType", b"payloadtype"),
        outer(lambda value: value.update(extra="1")),
        outer(lambda value: value.pop("payload")),
        outer(lambda value: value.update(signatures=[])),
        outer(lambda value: value.update(signatures={})),
        outer(lambda value: value.update(signatures=value["signatures"] * 2)),
        outer(lambda value: value.update(payload=7)),
        outer(lambda value: value["signatures"][0].update(extra="1")),
        outer(lambda value: value["signatures"][0].update(keyid=7)),
        outer(lambda value: value["signatures"][0].update(keyid=DEVICE.kid.upper())),
        outer(lambda value: value["signatures"][0].update(sig=value["signatures"][0]["sig"] + "=")),
        outer(lambda value: value.update(payload=value["payload"] + "=")),
        outer(lambda value: value.update(payload=value["payload"][:-1] + "!")),
        MADE.wire.replace(b'{"payload":', b'{"payload":"","payload":'),
        MADE.wire.replace(b"connect", b"c\\u006fnnect"),
        b"[" * 5000,
    ],
)
def test_step_2_shape_and_single_encoding(wire: bytes) -> None:
    """Anything but the one encoding of a DSSE envelope with one signature is E_ENCODING."""
    assert refused(wire) is Code.E_ENCODING


def test_step_3_expected_type() -> None:
    """A statement of another kind, version or world does not pass for the one expected."""
    assert refused(MADE.wire, kinds=frozenset({"pickup"})) is Code.E_TYPE
    foreign = outer(lambda value: value.update(payloadType="application/vnd.in-toto+json"))
    assert refused(foreign) is Code.E_TYPE
    later = outer(lambda value: value.update(payloadType="application/vnd.poc24.connect.v2+json"))
    assert refused(later) is Code.E_VERSION


def test_step_4_the_key_is_honest_before_anything_else_is_asked_of_it() -> None:
    """A small-order key is E_KEY, even though it is also another key than the one named."""
    assert refused(MADE.wire, public=bytes([1]) + bytes(31)) is Code.E_KEY


def test_step_5_the_named_key_is_the_expected_one() -> None:
    """A keyid that is not the expected key's is E_SIGNER, although the signature would verify."""
    renamed = outer(lambda value: value["signatures"][0].update(keyid=OTHER.kid))
    assert refused(renamed) is Code.E_SIGNER
    assert refused(MADE.wire, public=OTHER.public) is Code.E_SIGNER


def test_step_6_the_signature() -> None:
    """Another key's signature, under the expected name, does not verify; nor does one of another kind."""
    payload = statement.peek(MADE.wire).payload
    forged = OTHER.sign(statement.pae("connect", payload))
    wire = outer(lambda value: value["signatures"][0].update(sig=statement.b64u(forged)))
    assert refused(wire) is Code.E_SIGNATURE
    crossed = outer(lambda value: value.update(payloadType=statement.payload_type("pickup")))
    assert refused(crossed, kinds=frozenset({"pickup"})) is Code.E_SIGNATURE


@pytest.mark.parametrize(
    "payload",
    [
        b'{"at":1, "signer":"%s","v":1}',
        b'{"v":1,"signer":"%s"}',
        b'{"at":1.0,"signer":"%s","v":1}',
        b'{"at":1,"at":1,"signer":"%s","v":1}',
        b'{"at":null,"signer":"%s","v":1}',
        b'["%s"]',
    ],
)
def test_step_7_the_payload_is_strict_json(payload: bytes) -> None:
    """Bytes that were truly signed, but have two readings, are E_ENCODING (C17)."""
    assert refused(signed(payload % DEVICE.kid.encode())) is Code.E_ENCODING


@pytest.mark.parametrize("version", [b'"v":2', b'"v":"1"', b'"v":[]', b'"w":1'])
def test_step_8_version(version: bytes) -> None:
    """A payload of another version is E_VERSION."""
    payload = b'{"signer":"%s",%s}' % (DEVICE.kid.encode(), version)
    assert refused(signed(payload)) is Code.E_VERSION


@pytest.mark.parametrize(
    "payload", [b'{"signer":"%s","v":1}' % OTHER.kid.encode(), b'{"v":1}', b'{"signer":7,"v":1}']
)
def test_step_9_the_signer_inside(payload: bytes) -> None:
    """C13: the text names its signer, so no second key can claim the signature."""
    assert refused(signed(payload)) is Code.E_SIGNER


def test_true_is_not_version_one() -> None:
    """`true` equals 1 to Python; it is not the version."""
    assert refused(signed(b'{"signer":"%s","v":true}' % DEVICE.kid.encode())) is Code.E_VERSION


def test_every_bit_is_load_bearing() -> None:
    """C15 for statements: no single bit of the wire can be flipped."""
    for at in range(len(MADE.wire)):
        for bit in range(8):
            wire = bytearray(MADE.wire)
            wire[at] ^= 1 << bit
            refused(bytes(wire))


def test_every_cut_is_refused() -> None:
    """No prefix of a statement is a statement."""
    for length in range(len(MADE.wire)):
        refused(MADE.wire[:length])


# Several signatures (8.4)

THREE = [Signer(Role.DESK, bytes([n]) * 32) for n in (1, 2, 3)]
PUBLICS = [one.public for one in THREE]


def joint(wire: bytes, threshold: int = 2, publics: list[bytes] | None = None) -> Code:
    """Return the code with which a joint statement is refused."""
    with pytest.raises(Refused) as error:
        statement.verify_joint(wire, {"rotation"}, publics or PUBLICS, threshold)
    return error.value.code


def test_a_threshold_of_distinct_keys_signs() -> None:
    """Two of three sign, in any order of the signers, and the text names them."""
    made = statement.make_joint("rotation", FIELDS, THREE[:2])
    read = statement.verify_joint(made.wire, {"rotation"}, PUBLICS, 2)
    assert (read.sid, dict(read.fields)) == (made.sid, FIELDS)
    assert statement.make_joint("rotation", FIELDS, THREE[1::-1]).wire == made.wire


def test_a_threshold_is_not_reached_by_one_key_twice_or_a_stranger() -> None:
    """Below threshold, a key twice, a stranger's key, one bad signature among good ones: each refused."""
    alone = statement.make_joint("rotation", FIELDS, THREE[:1])
    assert joint(alone.wire) is Code.E_SIGNATURE
    twice = statement.make_joint("rotation", FIELDS, [THREE[0], THREE[0]])
    assert joint(twice.wire) is Code.E_SIGNER
    stranger = statement.make_joint("rotation", FIELDS, [*THREE[:2], DEVICE])
    assert joint(stranger.wire) is Code.E_SIGNER
    two = statement.make_joint("rotation", FIELDS, THREE[:2])
    value = json.loads(two.wire)
    value["signatures"][1]["sig"] = value["signatures"][0]["sig"]
    wire = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    assert joint(wire, threshold=1) is Code.E_SIGNATURE
    value = json.loads(two.wire)
    del value["signatures"][1]
    wire = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    assert joint(wire, threshold=1) is Code.E_SIGNER
    assert joint(two.wire, threshold=3) is Code.E_SIGNATURE
    assert joint(two.wire, publics=[*PUBLICS, bytes([1]) + bytes(31)]) is Code.E_KEY


def test_the_short_way_to_read_a_statement_is_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pattern matches is read by the long way to the same value (PROTOCOL 6.1, 6.2)."""
    made = statement.make("delivered", {"msg": "ab" * 32, "at": 7}, DEVICE)
    short = statement.peek(made.wire)
    never = re.compile(rb"(?!)")
    monkeypatch.setattr(statement, "_ONE", never)
    assert statement.peek(made.wire) == short
    assert short.kind == "delivered"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'","payloadType', b'=","payloadType'),
        (b'{"payload":', b'{ "payload":'),
        (b".v1+json", b".v2+json"),
        (b'"}]}', b'"}]}\n'),
        (b'"}]}', b'"}],"x":1}'),
        (b'"sig":"', b'"sig":"\\u0041'),
        (b'"keyid":"', b'"keyid":"A'),
    ],
)
def test_a_statement_spelt_otherwise_is_refused_as_before(
    old: bytes, new: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways refuse the same bytes with the same code."""
    made = statement.make("delivered", {"msg": "ab" * 32, "at": 7}, DEVICE)
    wire = made.wire.replace(old, new, 1)
    assert wire != made.wire
    codes = []
    for pattern in (statement._ONE, re.compile(rb"(?!)")):
        monkeypatch.setattr(statement, "_ONE", pattern)
        with pytest.raises(Refused) as refused:
            statement.peek(wire)
        codes.append(refused.value.code)
    assert codes[0] is codes[1]


def test_base64_that_is_not_canonical_is_refused_on_the_short_way_too() -> None:
    """A signature with other filling bits verifies as the same 64 bytes, and is another statement on the wire."""
    made = statement.make("delivered", {"msg": "ab" * 32, "at": 7}, DEVICE)
    end = made.wire.rindex(b'"}]}')
    last = made.wire[end - 1 : end]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(last) + 1 : alphabet.index(last) + 2]
    assert statement._ONE.fullmatch(made.wire[: end - 1] + other + made.wire[end:])
    with pytest.raises(Refused) as refused:
        statement.peek(made.wire[: end - 1] + other + made.wire[end:])
    assert refused.value.code is Code.E_ENCODING
