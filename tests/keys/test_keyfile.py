"""Key rings at rest: opened by the right secret alone, every byte load-bearing, files that nobody else may read."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from keys import keyfile, statement, suite
from keys.errors import Code, Failed, Refused
from keys.identity import Role
from keys.keyfile import ARCHIVE, Held, KeyRing

RING = KeyRing(
    (
        Held(Role.DEVICE, bytes(range(32)), ARCHIVE, "VN", 1_800_000_000),
        Held(Role.DEVICE, bytes(range(1, 33)), "vn-01", "VN", 1_800_000_000, {"note": "máy số 1"}),
        Held(Role.OFFICER, bytes(range(2, 34)), "vn-01", "VN", 1_800_000_000),
    )
)
KEY = bytes(range(100, 132))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Argon2id be quick where its strength is not what is shown."""
    monkeypatch.setattr(keyfile, "MEMORY_MIN", 8 * 1024 * 1024)
    monkeypatch.setattr(keyfile, "PASSES_MIN", 1)


def refused(data: bytes, passphrase: str | None = None, key: bytes | None = None) -> Refused:
    """Return how a ring is refused."""
    with pytest.raises(Refused) as error:
        keyfile.open_ring(data, passphrase=passphrase, key=key)
    return error.value


def test_a_persons_ring_has_the_strength_of_protocol_5() -> None:
    """PROTOCOL 5: Argon2id with 256 MiB and 3 passes, and it opens again with the same passphrase."""
    data = keyfile.seal_person(RING, "sáu từ rút bằng xúc xắc")
    header = json.loads(data[len(keyfile.LABEL) + 4 : data.index(b"}") + 1])
    assert (header["memory"], header["passes"]) == (256 * 1024 * 1024, 3)
    assert keyfile.open_ring(data, passphrase="sáu từ rút bằng xúc xắc") == RING
    assert not keyfile.is_service(data)


@pytest.mark.usefixtures("small")
def test_the_same_keys_pressed_elsewhere_open_it() -> None:
    """A passphrase typed as composed or decomposed letters is one passphrase."""
    data = keyfile.seal_person(RING, "caf\u00e9 caf\u00e9 caf\u00e9")
    assert keyfile.open_ring(data, passphrase="cafe\u0301 cafe\u0301 cafe\u0301") == RING


@pytest.mark.usefixtures("small")
def test_a_wrong_passphrase_is_a_sentence() -> None:
    """E_KEYRING says what happened and what to do; the passphrase is not in it."""
    error = refused(keyfile.seal_person(RING, "right passphrase"), passphrase="wrong passphrase")
    assert error.code is Code.E_KEYRING
    assert "Wrong passphrase" in str(error)
    assert "Try again" in str(error)


def test_a_services_ring_opens_with_its_key_alone() -> None:
    """A service ring needs no passphrase; another key is E_KEYRING, a key of another length too."""
    data = keyfile.seal_service(RING, KEY)
    assert keyfile.is_service(data)
    assert keyfile.open_ring(data, key=KEY) == RING
    for key in (bytes(32), KEY[:31], KEY + b"\0"):
        assert refused(data, key=key).code is Code.E_KEYRING


@pytest.mark.usefixtures("small")
def test_each_ring_says_what_it_opens_with() -> None:
    """A passphrase for a service's ring, or a key for a person's, is answered with what to give."""
    assert "--credential-file" in str(refused(keyfile.seal_service(RING, KEY), passphrase="x" * 12))
    assert "--passphrase-fd" in str(refused(keyfile.seal_person(RING, "x" * 12), key=KEY))


@pytest.mark.parametrize("kind", ["person", "service"])
@pytest.mark.usefixtures("small")
def test_every_byte_is_load_bearing(kind: str) -> None:
    """Every byte flipped, in any part of the file: it does not open."""
    one = KeyRing(RING.held[:1])
    data = keyfile.seal_service(one, KEY)
    passphrase = None
    step = 1
    if kind == "person":
        data, passphrase, step = keyfile.seal_person(one, "x" * 12), "x" * 12, 5
    for at in range(0, len(data), step):
        changed = bytearray(data)
        changed[at] ^= 1
        refused(bytes(changed), passphrase=passphrase, key=KEY)
    for length in range(0, len(data), step):
        refused(data[:length], passphrase=passphrase, key=KEY)


def head(**changes: object) -> bytes:
    """Return the head of a person's ring with other parameters."""
    header = {"kdf": "argon2id", "memory": 256 * 1024**2, "passes": 3, "salt": "A" * 22, "v": 1}
    encoded = statement.encode({**header, **changes})
    return keyfile.LABEL + len(encoded).to_bytes(4, "big") + encoded


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": 256 * 1024**2 - 1},
        {"passes": 2},
        {"kdf": "argon2i"},
        {"memory": keyfile.MEMORY_MAX + 1},
        {"passes": keyfile.PASSES_MAX + 1},
        {"v": 2},
        {"salt": "AAAA"},
    ],
)
def test_weaker_or_absurd_parameters_are_refused_before_any_work(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROTOCOL 5: minimums are enforced on reading, and nobody is made to spend a day or all memory."""
    monkeypatch.setattr(suite, "stretch_passphrase", lambda *_, **__: pytest.fail("work was done"))
    assert refused(head(**changes) + bytes(60), passphrase="x").code is Code.E_KEYRING


def test_an_unknown_setting_in_the_header_is_refused() -> None:
    """The header is closed."""
    assert refused(head(more=1) + bytes(60), passphrase="x").code is Code.E_ENCODING


def test_what_is_no_ring_is_refused_with_a_hint() -> None:
    """Any other file is E_KEYRING, whatever it is."""
    for data in (
        b"",
        b"-----BEGIN",
        keyfile.LABEL,
        keyfile.LABEL + b"\xff\xff\xff\xff",
        bytes(100),
    ):
        assert refused(data, passphrase="x").code is Code.E_KEYRING
    huge = keyfile.seal_service(RING, KEY) + bytes(keyfile.RING_BYTES_MAX)
    assert refused(huge, key=KEY).code is Code.E_TOO_LARGE


def test_a_ring_has_one_shape_inside_too() -> None:
    """What was sealed by the right key is still read strictly: version, fields, seeds of 32 bytes."""
    head = keyfile.seal_service(RING, KEY)
    size = len(keyfile.LABEL) + 4 + int.from_bytes(head[len(keyfile.LABEL) :][:4], "big")
    salt = json.loads(head[len(keyfile.LABEL) + 4 : size])["salt"]
    derived = suite.hkdf(KEY, salt=statement.unb64u(salt), info=keyfile.LABEL, length=32)
    kept: dict[str, Any] = {
        "created": 0,
        "desk": "",
        "extra": {},
        "label": "",
        "role": "device",
        "seed": "A" * 43,
    }
    for inside, code in (
        ({"keys": [kept], "v": 1}, None),
        ({"keys": [kept], "v": 2}, Code.E_VERSION),
        ({"keys": [kept], "v": 1, "more": 1}, Code.E_ENCODING),
        ({"keys": [{**kept, "seed": "AAAA"}], "v": 1}, Code.E_KEYRING),
        ({"keys": [{**kept, "role": "king"}], "v": 1}, Code.E_ENCODING),
        ({"keys": [{**kept, "extra": {"a": 1}}], "v": 1}, Code.E_ENCODING),
    ):
        data = head[:size] + suite.seal_at_rest(derived, statement.encode(inside), head[:size])
        if code is None:
            assert keyfile.open_ring(data, key=KEY).held[0].seed == bytes(32)
        else:
            assert refused(data, key=KEY).code is code
    with pytest.raises(Refused):
        keyfile.seal_service(RING, KEY[:31])


def test_the_right_key_is_picked_from_a_ring() -> None:
    """The archive's key is never taken for the device's; a role that is missing is a sentence."""
    assert RING.one(Role.DEVICE).label == "vn-01"
    assert RING.one(Role.DEVICE, ARCHIVE).seed == bytes(range(32))
    assert RING.signer(Role.OFFICER).seed == bytes(range(2, 34))
    with pytest.raises(Refused, match="no root key"):
        RING.signer(Role.ROOT)
    with pytest.raises(Refused, match="'spare'"):
        RING.one(Role.DEVICE, "spare")


def test_secrets_do_not_show() -> None:
    """A seed is in no representation of a kept key, a ring or a signer."""
    shown = f"{RING!r} {RING.held[0]!r} {RING.signer(Role.OFFICER)!r}"
    for held in RING.held:
        assert repr(held.seed) not in shown
        assert held.seed.hex() not in shown


# Files


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask; what is there is not overwritten unless asked; nothing else is left behind."""
    path = tmp_path / "officer.ring"
    old = os.umask(0)
    try:
        keyfile.write_private(path, b"one")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Failed, match="there already") as failed:
        keyfile.write_private(path, b"two")
    assert failed.value.exit_code == 73
    assert keyfile.read_private(path) == b"one"
    keyfile.write_private(path, b"three", replace=True)
    assert keyfile.read_private(path) == b"three"
    assert [one.name for one in tmp_path.iterdir()] == ["officer.ring"]


def test_a_file_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """The error has the line to type."""
    path = tmp_path / "officer.ring"
    path.write_bytes(b"secret")
    for mode in (0o640, 0o604, 0o620, 0o601):
        path.chmod(mode)
        with pytest.raises(Failed, match=f"chmod 600 {path}") as failed:
            keyfile.read_private(path)
        assert failed.value.exit_code == 77
    path.chmod(0o400)
    assert keyfile.read_private(path) == b"secret"


def test_what_cannot_be_read_or_written_is_a_sentence(tmp_path: Path) -> None:
    """A missing file, a folder in its place, a folder that is not there."""
    for path, code in ((tmp_path / "none", 78), (tmp_path, 78)):
        with pytest.raises(Failed) as failed:
            keyfile.read_private(path)
        assert failed.value.exit_code == code
    huge = tmp_path / "huge.ring"
    keyfile.write_private(huge, bytes(keyfile.RING_BYTES_MAX))
    assert len(keyfile.read_private(huge)) == keyfile.RING_BYTES_MAX
    keyfile.write_private(huge, bytes(keyfile.RING_BYTES_MAX + 1), replace=True)
    with pytest.raises(Failed, match="far too large"):
        keyfile.read_private(huge)
    with pytest.raises(Failed) as failed:
        keyfile.write_private(tmp_path / "no" / "folder", b"")
    assert failed.value.exit_code == 73


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full when the new file is synced, the old one stands and no rest lies about."""
    path = tmp_path / "ring"
    keyfile.write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="No space left"):
        keyfile.write_private(path, b"new", replace=True)
    monkeypatch.undo()
    assert keyfile.read_private(path) == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["ring"]


def test_a_credential_has_32_bytes(tmp_path: Path) -> None:
    """From a private file or a descriptor; any other size is a sentence."""
    path = tmp_path / "device.key"
    keyfile.write_private(path, KEY)
    assert keyfile.read_credential(path) == KEY
    read, write = os.pipe()
    os.write(write, KEY)
    os.close(write)
    assert keyfile.read_credential(fd=read) == KEY
    keyfile.write_private(path, KEY + b"\n", replace=True)
    for attempt in (path, None):
        with pytest.raises(Failed) as failed:
            keyfile.read_credential(attempt)
        assert failed.value.exit_code == 78
