"""Identities: one role for life, ids and digits for the telephone, secrets that do not show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import Code, Refused
from keys.identity import Identity, Role, Signer, fingerprint, qr

SIGNER = Signer(Role.OFFICER, bytes(range(32)))


def test_an_identity_line_comes_back() -> None:
    """What is printed is read again, with its role."""
    for role in Role:
        one = Signer(role, bytes(range(32))).identity
        assert Identity.parse(one.line() + "\n") == one


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", Code.E_ENCODING),
        ("poc24-officer-", Code.E_ENCODING),
        ("poc24-king-" + "0" * 64, Code.E_ENCODING),
        ("age-officer-" + "0" * 64, Code.E_ENCODING),
        ("poc24-officer-" + "g" * 64, Code.E_ENCODING),
        ("poc24-officer-01" + "0" * 62, Code.E_KEY),
    ],
)
def test_anything_else_is_refused(line: str, code: Code) -> None:
    """Another shape is E_ENCODING, a small-order key E_KEY."""
    with pytest.raises(Refused) as refused:
        Identity.parse(line)
    assert refused.value.code is code


@given(st.binary(min_size=32, max_size=32), st.integers(0, 23))
def test_digits_tell_keys_apart(kid: bytes, at: int) -> None:
    """Twelve groups of five digits cover the first 24 bytes: a change in any of them shows."""
    digits = fingerprint(kid.hex())
    assert len(digits) == 12 * 5 + 11
    other = kid[:at] + bytes([kid[at] ^ 1]) + kid[at + 1 :]
    assert fingerprint(other.hex()) != digits


def test_a_signer_hides_its_seed() -> None:
    """Neither seed nor secret is in the representation; equality asks for role and seed."""
    assert SIGNER.seed.hex() not in repr(SIGNER)
    assert repr(SIGNER.seed) not in repr(SIGNER)
    assert repr(SIGNER.secret) not in repr(SIGNER)
    assert Signer(Role.OFFICER, bytes(range(32))) == SIGNER
    assert Signer(Role.DEVICE, bytes(range(32))) != SIGNER
    assert Signer.generate(Role.DEVICE) != Signer.generate(Role.DEVICE)


def test_a_seed_has_32_bytes() -> None:
    """Any other length is E_KEY."""
    for length in (0, 31, 33):
        with pytest.raises(Refused) as refused:
            Signer(Role.DEVICE, bytes(length))
        assert refused.value.code is Code.E_KEY


def test_a_qr_code_holds_the_whole_line() -> None:
    """The code is drawn for a full identity line."""
    assert qr(SIGNER.identity.line()).error in {"M", "Q", "H"}
