"""Prekeys: signed by their device, for seven days at most, and good to seal to (PROTOCOL 8.7)."""

from typing import Any

import pytest
from builders_keys import NOW, World, seed

from keys import statement, suite
from keys.directory import PREKEY_SECONDS_MAX, make_prekey, read_prekey
from keys.errors import Code, Refused

WORLD = World()
DEVICE = WORLD.device("AU")
MEMBER = WORLD.member("AU")
SEED = seed("prekey")


def refused(wire: bytes) -> Code:
    """Return the code with which a prekey of AU's first device is refused."""
    with pytest.raises(Refused) as error:
        read_prekey(wire, MEMBER)
    return error.value.code


def test_a_prekey_is_read_and_opens_what_is_sealed_to_it() -> None:
    """Key, hint, dates and device come back; its seed opens."""
    made = make_prekey("AU", SEED, NOW, NOW + PREKEY_SECONDS_MAX, DEVICE)
    read = read_prekey(made.wire, MEMBER)
    assert (read.desk, read.device, read.sid) == ("AU", DEVICE.kid, made.sid)
    assert read.hint == suite.pkid_of(read.key)[:8]
    assert suite.unwrap(SEED, suite.wrap(read.key, bytes(32), b""), b"") == bytes(32)
    assert [read.valid(NOW + at) for at in (-1, 0, PREKEY_SECONDS_MAX - 1, PREKEY_SECONDS_MAX)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("seconds", [0, -1, PREKEY_SECONDS_MAX + 1])
def test_seven_days_and_not_a_second_more(seconds: int) -> None:
    """PROTOCOL 8.7: at n accepted (above), at n + 1 refused; nor a prekey for no time."""
    assert refused(make_prekey("AU", SEED, NOW, NOW + seconds, DEVICE).wire) is Code.E_EXPIRED


def test_only_the_device_itself_makes_its_prekeys() -> None:
    """C10: another device, the officer's key, another desk, another kind: each its own refusal."""
    week = (NOW, NOW + PREKEY_SECONDS_MAX)
    assert (
        refused(make_prekey("AU", SEED, *week, WORLD.device("AU", "au-02")).wire) is Code.E_SIGNER
    )
    assert refused(make_prekey("AU", SEED, *week, WORLD.signer("AU")).wire) is Code.E_SIGNER
    assert refused(make_prekey("VN", SEED, *week, DEVICE).wire) is Code.E_WRONG_DESK
    fields = dict(make_prekey("AU", SEED, *week, DEVICE).fields)
    assert refused(statement.make("connect", fields, DEVICE).wire) is Code.E_TYPE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"more": 1}, Code.E_ENCODING),
        ({"not_after": "soon"}, Code.E_ENCODING),
        ({"key": "A"}, Code.E_ENCODING),
        ({"key": ""}, Code.E_KEY),
        ({"key": statement.b64u(bytes(1216))}, Code.E_KEY),
        ({"key": statement.b64u(b"\xff" * 1216)}, Code.E_KEY),
    ],
)
def test_a_prekey_is_closed_and_usable(changes: dict[str, Any], code: Code) -> None:
    """Unknown fields are E_ENCODING; a key that nobody can seal to is E_KEY before any sender meets it."""
    fields = dict(make_prekey("AU", SEED, NOW, NOW + 10, DEVICE).fields)
    assert refused(statement.make("prekey", fields | changes, DEVICE).wire) is code
