"""Nonces and tokens: good once, good for a while, bounded, and never kept in clear."""

import pytest
from builders_door import NOW

from keys.errors import Code, Refused
from relay.server.auth import NONCE_S, TOKEN_S, TOKENS_PER_DEVICE_MAX, Nonces, Tokens


def test_a_nonce_is_good_once() -> None:
    """The second use of a challenge is E_AUTH, and so is one that was never given out (PROTOCOL 12)."""
    nonces = Nonces()
    nonce = nonces.issue(NOW)
    assert len(bytes.fromhex(nonce)) == 32
    nonces.use(nonce, NOW)
    for wrong in (nonce, "0" * 64, ""):
        with pytest.raises(Refused) as refusal:
            nonces.use(wrong, NOW)
        assert refusal.value.code is Code.E_AUTH


def test_a_nonce_lasts_sixty_seconds_and_not_one_more() -> None:
    """At 59 s a challenge is answered in time, at 60 s it is not; either way it is used up."""
    nonces = Nonces()
    early, late = nonces.issue(NOW), nonces.issue(NOW)
    nonces.use(early, NOW + NONCE_S - 1)
    with pytest.raises(Refused):
        nonces.use(late, NOW + NONCE_S)
    assert len(nonces) == 0


def test_open_challenges_are_bounded() -> None:
    """Of more than the limit the oldest gives way; lapsed ones go first of all."""
    nonces = Nonces(limit=3)
    first, *others = [nonces.issue(NOW) for _each in range(4)]
    assert len(nonces) == 3
    with pytest.raises(Refused):
        nonces.use(first, NOW)
    for nonce in others:
        nonces.use(nonce, NOW)
    for _each in range(3):
        nonces.issue(NOW)
    nonces.issue(NOW + NONCE_S)
    assert len(nonces) == 1


def test_a_token_belongs_to_a_device_for_fifteen_minutes() -> None:
    """It names device and desk until its time is over (E_AUTH), and is not kept in clear."""
    tokens = Tokens()
    token, until = tokens.issue("kid", "VN", NOW)
    assert until == NOW + TOKEN_S
    assert tokens.holder(token, until - 1).kid == "kid"
    for wrong, at in ((token, until), (token[:-1] + "x", NOW), ("", NOW), ("\udcff", NOW)):
        with pytest.raises(Refused) as refusal:
            tokens.holder(wrong, at)
        assert refusal.value.code is Code.E_AUTH
    assert token not in repr(vars(tokens))
    assert bytes.fromhex(token) not in repr(vars(tokens)).encode()


def test_tokens_are_bounded_per_device_and_in_all() -> None:
    """A device has at most four at once, the relay at most its limit; the oldest give way."""
    tokens = Tokens(limit=6)
    mine = [tokens.issue("a", "VN", NOW)[0] for _each in range(TOKENS_PER_DEVICE_MAX + 1)]
    assert len(tokens) == TOKENS_PER_DEVICE_MAX
    with pytest.raises(Refused):
        tokens.holder(mine[0], NOW)
    theirs = [tokens.issue(kid, "AU", NOW)[0] for kid in "bcd"]
    assert len(tokens) == 6
    with pytest.raises(Refused):
        tokens.holder(mine[1], NOW)
    assert [tokens.holder(one, NOW).kid for one in [*mine[2:], *theirs]] == list("aaabcd")


def test_a_revoked_devices_tokens_are_gone() -> None:
    """revoke() ends all tokens of one device and no other's."""
    tokens = Tokens()
    gone = [tokens.issue("a", "VN", NOW)[0] for _each in range(2)]
    stays, _until = tokens.issue("b", "VN", NOW)
    tokens.revoke("a")
    tokens.revoke("never seen")
    assert tokens.holder(stays, NOW).kid == "b"
    for token in gone:
        with pytest.raises(Refused):
            tokens.holder(token, NOW)
