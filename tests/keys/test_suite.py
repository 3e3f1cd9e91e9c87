"""The cipher suite: honest keys only, no malleable signatures, key wrap and content that open exactly or not at all."""

from collections.abc import Iterator

import nacl.bindings as sodium
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from keys import suite
from keys.errors import Code, Failed, Refused

SEED = bytes(range(32))
SECRET = suite.expand(SEED)
PUBLIC = SECRET[32:]

# Edwards25519 by itself, from RFC 8032, to make points that no honest key generation makes.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """Add two affine points."""
    t = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + t, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P
    return x, y


def times(n: int, a: Point) -> Point:
    """Multiply a point by an integer."""
    total = (0, 1)
    while n:
        if n & 1:
            total = add(total, a)
        a, n = add(a, a), n >> 1
    return total


def at_y(y: int, sign: int) -> Point | None:
    """Return the point with this y, if there is one."""
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * SQRT_M1 % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    return (P - x if x % 2 != sign else x), y


def encoded(a: Point, *, plus_p: bool = False) -> bytes:
    """Encode a point, on demand with y + p, which no honest encoder writes."""
    return (a[1] + (P if plus_p else 0) | (a[0] & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """Return the eight points of small order."""
    y = 2
    while True:
        point = at_y(y, 0)
        if point:
            eighth = times(ORDER, point)
            if times(4, eighth) != (0, 1):
                return [times(n, eighth) for n in range(8)]
        y += 1


SMALL = torsion()


def dishonest() -> Iterator[tuple[str, bytes]]:
    """Yield public keys outside the prime-order subgroup, or with an encoding of their own."""
    for order, point in enumerate(SMALL):
        yield f"small order {order}", encoded(point)
        if point[1] + P < 2**255:
            yield f"small order {order}, not canonical", encoded(point, plus_p=True)
    honest = int.from_bytes(PUBLIC, "little")
    mine = at_y(honest & (2**255 - 1), honest >> 255)
    assert mine is not None
    for order, point in enumerate(SMALL[1:], 1):
        yield f"mixed order {order}", encoded(add(mine, point))
    for y in range(2, 19):
        point_y = at_y(y, 0)
        if point_y:
            yield f"y = {y} + p, not canonical", encoded(point_y, plus_p=True)
    yield (
        "no point at all",
        next(y.to_bytes(32, "little") for y in range(2, 100) if at_y(y, 0) is None),
    )
    yield "too short", PUBLIC[:31]
    yield "too long", PUBLIC + b"\0"


BAD_KEYS = dict(dishonest())


@pytest.mark.parametrize("public", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_dishonest_key_is_refused_before_any_signature(public: bytes) -> None:
    """PROTOCOL 5, 6.2, C13: a key outside the prime-order subgroup is E_KEY, whatever it signs."""
    with pytest.raises(Refused) as refused:
        suite.verify(public, b"message", bytes([1]) + bytes(63))
    assert refused.value.code is Code.E_KEY


def test_the_edge_cases_are_what_they_say() -> None:
    """The bad keys above are real ones: eight small orders, and mixed keys that differ from the honest one."""
    assert len({encoded(point) for point in SMALL}) == 8
    assert all(times(8, point) == (0, 1) for point in SMALL)
    assert len(BAD_KEYS) > 20
    suite.check_public(PUBLIC)


def test_a_second_signature_of_the_same_text_does_not_verify() -> None:
    """S + L is the same signature to a careless verifier; libsodium refuses it."""
    signature = suite.sign(SECRET, b"message")
    suite.verify(PUBLIC, b"message", signature)
    other = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(Refused) as refused:
        suite.verify(PUBLIC, b"message", signature[:32] + other.to_bytes(32, "little"))
    assert refused.value.code is Code.E_SIGNATURE


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_has_64_bytes(length: int) -> None:
    """Any other length is E_SIGNATURE, also where the message could lend the missing bytes."""
    with pytest.raises(Refused) as refused:
        suite.verify(PUBLIC, b"message", bytes(length))
    assert refused.value.code is Code.E_SIGNATURE


def test_a_message_does_not_lend_its_bytes_to_a_short_signature() -> None:
    """Signature and message are joined for libsodium; where one ends and the other begins is not open."""
    signature = suite.sign(SECRET, b"message")
    for cut in (63, 65):
        joined = signature + b"message"
        with pytest.raises(Refused) as refused:
            suite.verify(PUBLIC, joined[cut:], joined[:cut])
        assert refused.value.code is Code.E_SIGNATURE


def test_a_prekey_wraps_for_its_seed_alone() -> None:
    """PROTOCOL 9.2: the key opens with the seed and the info, and with nothing else."""
    prekey = suite.prekey_public(SEED)
    sealed = suite.wrap(prekey, bytes(32), b"info")
    assert (len(prekey), len(sealed)) == (suite.PREKEY_BYTES, suite.WRAPPED_BYTES)
    assert suite.unwrap(SEED, sealed, b"info") == bytes(32)
    for seed, wrapped, info in (
        (bytes(32), sealed, b"info"),
        (SEED, sealed, b"other"),
        (SEED, sealed[:-1], b"info"),
        (SEED, bytes([sealed[0] ^ 1]) + sealed[1:], b"info"),
        (SEED, sealed[:1100] + bytes([sealed[1100] ^ 1]) + sealed[1101:], b"info"),
    ):
        with pytest.raises(Refused) as refused:
            suite.unwrap(seed, wrapped, info)
        assert refused.value.code is Code.E_DECRYPT


def test_a_prekey_that_nobody_can_seal_to_is_refused_when_published() -> None:
    """A malformed ML-KEM part, a zero X25519 part or another length is E_KEY."""
    good = suite.prekey_public(SEED)
    suite.check_prekey(good)
    for bad in (good[:-1], b"\xff" * 1184 + good[1184:], good[:1184] + bytes(32)):
        with pytest.raises(Refused) as refused:
            suite.check_prekey(bad)
        assert refused.value.code is Code.E_KEY


@given(st.binary(min_size=1, max_size=200), st.integers(0, 4))
def test_content_comes_back_whole(piece: bytes, chunks: int) -> None:
    """STREAM opens to what was sealed, at every border of its 64 KiB chunks."""
    plain = (bytes(suite.CHUNK_BYTES) * chunks + piece)[: suite.CHUNK_BYTES * chunks + len(piece)]
    sealed = suite.seal_content(SEED, plain)
    assert suite.open_content(SEED, sealed) == plain


def test_content_cut_moved_or_changed_does_not_open() -> None:
    """C15: chunks cannot be dropped, swapped or flipped, nor another key used."""
    size = suite.CHUNK_BYTES + suite.TAG_BYTES
    sealed = suite.seal_content(SEED, bytes(suite.CHUNK_BYTES * 2 + 5))
    for bad in (
        sealed[:size],
        sealed[: 2 * size],
        sealed[size : 2 * size] + sealed[:size] + sealed[2 * size :],
        sealed[:-1] + bytes([sealed[-1] ^ 1]),
        b"",
        sealed[: 2 * size + suite.TAG_BYTES],
    ):
        with pytest.raises(Refused) as refused:
            suite.open_content(SEED, bad)
        assert refused.value.code is Code.E_DECRYPT
    with pytest.raises(Refused):
        suite.open_content(bytes(32), sealed)


def test_nothing_is_not_content() -> None:
    """A stream's last chunk is never empty, so an empty plaintext has no stream."""
    with pytest.raises(Failed):
        suite.seal_content(SEED, b"")


def test_an_empty_last_chunk_is_refused_although_it_is_sealed() -> None:
    """C15: a hostile sender cannot give one text two lengths of stream."""
    first = suite.seal_content(SEED, bytes(suite.CHUNK_BYTES + 1))[: suite.CHUNK_BYTES + 16]
    nonce = (1).to_bytes(11, "big") + b"\x01"
    last = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(b"", None, nonce, SEED)
    with pytest.raises(Refused) as refused:
        suite.open_content(SEED, first + last)
    assert refused.value.code is Code.E_DECRYPT


def test_hkdf_agrees_with_rfc_5869() -> None:
    """Test case 1 of RFC 5869, appendix A."""
    found = suite.hkdf(
        b"\x0b" * 22,
        salt=bytes(range(13)),
        info=bytes(range(0xF0, 0xFA)),
        length=42,
    )
    assert found.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_at_rest_is_bound_to_its_header() -> None:
    """What is kept opens with its key and its associated data only."""
    sealed = suite.seal_at_rest(SEED, b"secret", b"header")
    assert suite.open_at_rest(SEED, sealed, b"header") == b"secret"
    for key, data, header in (
        (bytes(32), sealed, b"header"),
        (SEED, sealed, b"Header"),
        (SEED, sealed[:-1], b"header"),
        (SEED, b"", b"header"),
        (SEED, sealed[:24], b"header"),
    ):
        with pytest.raises(Refused) as refused:
            suite.open_at_rest(key, data, header)
        assert refused.value.code is Code.E_KEYRING


def test_the_self_test_passes_here() -> None:
    """C23: this machine has the whole suite."""
    suite.self_test()


def test_the_self_test_sees_a_verifier_that_takes_small_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C23: with a verifier that accepts the small-order vector, the program does not start."""
    monkeypatch.setattr(suite, "verify", lambda *_: None)
    with pytest.raises(Failed) as failed:
        suite.self_test()
    assert failed.value.exit_code == 69


def test_the_self_test_sees_missing_ml_kem(monkeypatch: pytest.MonkeyPatch) -> None:
    """C23: without ML-KEM the program does not start, and says what to install."""

    def missing(*_: object) -> bytes:
        raise UnsupportedAlgorithm("ML-KEM")

    monkeypatch.setattr(suite, "unwrap", missing)
    with pytest.raises(Failed, match="pip install") as failed:
        suite.self_test()
    assert failed.value.exit_code == 69
