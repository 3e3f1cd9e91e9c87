"""Keys and signatures that nobody honest makes, made here from the equations: every one is refused (PROTOCOL 5.2, C13).

Small order, mixed order, two spellings of one point, S with L added, equations that hold only after a multiplication by
8: the families of published sets of edge cases, in every combination. Verifiers without our checks take some of them,
which shows that the cases are what they claim to be.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache, partial

import builders_curve as curve
import nacl.bindings as sodium
import nacl.exceptions
import pytest
from builders_curve import Forgery
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Identity, Role
from keys.metadata import KeySet


@cache
def forged() -> tuple[Forgery, ...]:
    """Return every combination."""
    return tuple(curve.forgeries())


def accepted(one: Forgery) -> Code | None:
    """Return with which code the suite refuses; None if it does not."""
    try:
        suite.verify(one.public, one.message, one.signature)
    except Refused as refused:
        return refused.code
    return None


def passes(door: Callable[[bytes], object], public: bytes) -> bool:
    """Whether a key gets through a door; what does not is E_KEY."""
    try:
        door(public)
    except Refused as refused:
        return refused.code is not Code.E_KEY
    return True


def by_sodium(one: Forgery) -> bool:
    """Whether libsodium alone takes it, without the point check of ours."""
    try:
        sodium.crypto_sign_open(one.signature + one.message, one.public)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def by_openssl(one: Forgery) -> bool:
    """Whether OpenSSL takes it."""
    try:
        Ed25519PublicKey.from_public_bytes(one.public).verify(one.signature, one.message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_the_arithmetic_is_the_curves() -> None:
    """The base point is of order L, eight points are of small order, and every spelling is read as its point."""
    assert curve.encode(curve.base()).hex() == "58" + "66" * 31
    assert curve.times(curve.L, curve.base()) == curve.NEUTRAL
    assert len(set(curve.torsion())) == 8
    spelled = [data for point in curve.torsion() for data in curve.encodings(point)]
    assert len(set(spelled)) == 14
    assert all(
        curve.decode(data) == point for point in curve.torsion() for data in curve.encodings(point)
    )


def test_it_signs_what_libsodium_signs() -> None:
    """An honest signature is the same to the last bit, and passes everywhere."""
    for number in range(24):
        seed, message = bytes([number]) * 32, b"m" * number
        made = suite.expand(seed)
        public = made[32:]
        assert curve.sign(seed, message) == suite.sign(made, message)
        suite.verify(public, message, curve.sign(seed, message))
        assert curve.honest(public)
        if number % 6 == 0:
            assert curve.plain(public, message, curve.sign(seed, message))


def test_every_forgery_is_refused_and_no_honest_one() -> None:
    """All combinations of key, nonce, residue, size and spelling: only what nothing is wrong with verifies."""
    counted: Counter[tuple[str, Code | None]] = Counter()
    for one in forged():
        code = accepted(one)
        counted[one.key, code] += 1
        if not one.wrong:
            assert code is None, one
        elif one.key == "honest":
            assert code is Code.E_SIGNATURE, one
        else:
            assert code is Code.E_KEY, one
    assert counted["honest", None] == 1
    assert counted["honest", Code.E_SIGNATURE] > 60
    assert counted["mixed", Code.E_KEY] > 500
    assert counted["small", Code.E_KEY] > 1000


def test_without_our_checks_some_would_pass() -> None:
    """libsodium alone takes mixed-order keys; OpenSSL takes small-order ones besides; S + L neither does."""
    ours = [one for one in forged() if one.wrong and one.more == 0]
    sodium_takes = {one.key for one in ours if by_sodium(one)}
    openssl_takes = {one.key for one in ours if by_openssl(one)}
    assert sodium_takes == {"mixed"}
    assert openssl_takes == {"mixed", "small", "honest"}
    assert not any(by_sodium(one) or by_openssl(one) for one in forged() if one.more)


NONE: frozenset[str] = frozenset()
SMALL = {"small": False}
SMALL_KEY = {"small": False, "prime": False}
FAMILIES: tuple[tuple[tuple[object, ...], dict[str, bool]], ...] = (
    (("mixed", "honest", True, 0, NONE, False), {"prime": False}),
    (("mixed", "mixed", True, 0, NONE, False), {"prime": False}),
    (("mixed", "mixed", False, 0, NONE, False), {"prime": False, "cofactored": True}),
    (("mixed", "small", True, 0, NONE, False), SMALL_KEY),
    (("honest", "mixed", False, 0, NONE, False), {"cofactored": True}),
    (("honest", "small", True, 0, NONE, False), SMALL),
    (("honest", "small", False, 0, NONE, False), {**SMALL, "cofactored": True}),
    (("small", "honest", True, 0, NONE, False), SMALL_KEY),
    (("small", "small", True, 0, NONE, False), SMALL_KEY),
    (("honest", "honest", True, 1, NONE, False), {"bounded": False}),
    (("honest", "honest", True, 8, NONE, False), {"bounded": False}),
    (("honest", "small", True, 0, {"nonce"}, False), {**SMALL, "canonical": False}),
    (
        ("honest", "small", True, 0, {"nonce"}, True),
        {**SMALL, "canonical": False, "reencoded": True},
    ),
    (("small", "honest", True, 0, {"key"}, False), {**SMALL_KEY, "canonical": False}),
    (
        ("small", "small", True, 0, {"key", "nonce"}, True),
        {**SMALL_KEY, "canonical": False, "reencoded": True},
    ),
)


@pytest.mark.parametrize(("sort", "without"), FAMILIES)
def test_each_family_is_what_it_claims_to_be(
    sort: tuple[object, ...], without: dict[str, bool]
) -> None:
    """A verifier from the equations takes it without exactly the named checks, and with any of them it does not."""
    family = [
        one
        for one in forged()
        if (one.key, one.nonce, one.exact, one.more, one.odd, one.reencoded) == sort
    ]

    def taken(one: Forgery, *, but: str = "") -> bool:
        left_out = {name: value for name, value in without.items() if name != but}
        return curve.plain(one.public, one.message, one.signature, **left_out)

    assert any(taken(one) and not any(taken(one, but=name) for name in without) for one in family)
    for one in family:
        assert accepted(one) is not None


def test_one_signature_for_every_message() -> None:
    """Under the neutral key a fixed signature verifies whatever one likes: OpenSSL says so, and we refuse the key."""
    neutral = curve.encode(curve.NEUTRAL)
    signature = curve.encode(curve.times(5, curve.base())) + (5).to_bytes(32, "little")
    for message in (b"", b"pay", b"do not pay"):
        one = Forgery(neutral, message, signature, "small", "honest", True, 0, False)
        assert by_openssl(one)
        assert accepted(one) is Code.E_KEY


def test_a_public_key_is_honest_or_refused_at_every_door() -> None:
    """The point check agrees with its definition: for all sorts of keys, all spellings, and points that are none."""
    candidates = {one.public for one in forged()}
    for y in range(2, 19):  # every other number that has two spellings
        for sign in (0, 1):
            candidates |= {
                (number | sign << 255).to_bytes(32, "little") for number in (y, y + curve.P)
            }
    candidates |= {bytes([number]) * 32 for number in range(0, 256, 5)}
    candidates |= {curve.encode(curve.times(number, curve.base())) for number in range(1, 40, 3)}
    found: Counter[bool] = Counter()
    for public in sorted(candidates):
        good = curve.honest(public)
        found[good] += 1
        for door in (
            suite.check_public,
            partial(Identity, Role.DEVICE),
            lambda public: KeySet(1, (public,)),
            lambda public: Identity.parse(f"poc24-device-{public.hex()}"),
        ):
            assert passes(door, public) is good, public.hex()
    assert found[True] > 10
    assert found[False] > 60
