"""A desk's home: settings that cannot be mistyped, one process for one home, keys that nobody else reads."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keys import keyfile, suite
from keys.errors import Code, Failed, Poc24Error, Refused
from keys.identity import Role, Signer
from keys.keyfile import Held, KeyRing
from relay.desk import home
from relay.desk.home import Home, Reply

ROOT = b'{"signed":"root"}'


def made(folder: Path, **changed: str) -> Home:
    """Return the settings of a desk VN in *folder*, not written yet."""
    plain = {
        "desk": "VN",
        "officer": "vn-01",
        "service": "poc24-demo",
        "url": "ws://127.0.0.1:8424",
        "root": suite.sha256(ROOT).hex(),
    }
    values: dict[str, Any] = plain | changed
    return Home(folder=folder, **values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "desk"


def test_what_is_written_is_read(folder: Path) -> None:
    """Settings survive the file, quotes and backslashes included, and the folder is 0700."""
    reply = Reply(name='Mai "M" \\ Tran', authority="Bộ Công an\nHà Nội")
    before = Home(
        folder=folder,
        desk="AU-B",
        officer="au-01",
        service="poc24-demo",
        url="wss://relay.example:8424",
        root=suite.sha256(ROOT).hex(),
        ca="/etc/ca.pem",
        reply=reply,
    )
    home.create(before, ROOT)
    assert home.load(folder) == before
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "desk.toml").stat().st_mode & 0o777 == 0o600
    assert home.load(folder).trust_anchor() == ROOT


def test_the_socket_can_lie_elsewhere(folder: Path) -> None:
    """A home that is too deep for a socket's name puts it somewhere shorter."""
    assert made(folder).socket == folder / "control.sock"
    home.create(made(folder, control="/run/desk/c.sock"), ROOT)
    assert home.load(folder).socket == Path("/run/desk/c.sock")


def test_a_home_is_not_made_twice(folder: Path) -> None:
    """`desk init` overwrites nothing (73)."""
    home.create(made(folder), ROOT)
    with pytest.raises(Failed) as failed:
        home.create(made(folder, desk="AU"), ROOT)
    assert failed.value.exit_code == 73
    assert home.load(folder).desk == "VN"


def test_another_root_document_is_noticed(folder: Path) -> None:
    """Who swaps root.json in the folder does not become the directory's root (E_DIRECTORY)."""
    home.create(made(folder), ROOT)
    (folder / "root.json").write_bytes(b'{"signed":"other"}')
    with pytest.raises(Refused) as refused:
        home.load(folder).trust_anchor()
    assert refused.value.code is Code.E_DIRECTORY


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('controll = "/run/x.sock"', "controll is not a setting"),
        ("ca = 5", "ca is not a text"),
        ("reply = 5", "reply is not a table"),
        ('[reply]\nnmae = "x"', "reply.nmae is not a setting"),
        ("= =", "not TOML"),
        ('desk = "VN"\ndesk = "AU"', "not TOML"),
    ],
)
def test_a_mistyped_setting_is_an_error(folder: Path, line: str, words: str) -> None:
    """Unknown and wrong settings are named, never passed over (78)."""
    home.create(made(folder), ROOT)
    path = folder / "desk.toml"
    text = path.read_text().split("[reply]")[0]
    path.write_text(text + line + "\n")
    with pytest.raises(Failed) as failed:
        home.load(folder)
    assert failed.value.exit_code == 78
    assert words in failed.value.text


@pytest.mark.parametrize("name", ["desk", "officer", "service", "url", "root"])
def test_a_missing_setting_is_named(folder: Path, name: str) -> None:
    """Each required setting is asked for by its name."""
    home.create(made(folder), ROOT)
    path = folder / "desk.toml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(f"{name} =")]
    path.write_text("\n".join(kept))
    with pytest.raises(Failed, match=f"{name} is missing"):
        home.load(folder)


def test_a_folder_that_is_no_home_says_what_to_type(tmp_path: Path) -> None:
    """The first command of a newcomer: a sentence and `desk init`."""
    with pytest.raises(Failed, match="not a desk's home") as failed:
        home.load(tmp_path)
    assert "desk init" in failed.value.hint


def test_an_open_folder_is_refused(folder: Path) -> None:
    """A home that others may enter is named with the line to type (77)."""
    home.create(made(folder), ROOT)
    folder.chmod(0o750)
    with pytest.raises(Failed) as failed:
        home.load(folder)
    assert (failed.value.exit_code, failed.value.hint) == (77, f"Type: chmod 700 {folder}")


def test_one_home_is_for_one_process(folder: Path) -> None:
    """A second process is told who holds the home; when that one dies, however, the next gets it."""
    home.create(made(folder), ROOT)
    code = (
        "import sys, pathlib\nfrom relay.desk import home\n"
        "with home.held(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Failed, match=f"process {other.pid}") as failed, home.held(folder):
            pass
        assert failed.value.exit_code == 75
        other.kill()
    with home.held(folder):
        assert (folder / "desk.lock").read_text() == f"{os.getpid()}\n"


def test_the_device_key_is_looked_for_in_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--credential-file, then the service manager's folder, then the home; and it has exactly 32 bytes."""
    home.create(made(folder), ROOT)
    with pytest.raises(Failed, match="device's key is not there"):
        home.credential(folder, None)
    keyfile.write_private(folder / "device.key", b"h" * 32)
    assert home.credential(folder, None) == b"h" * 32
    managed = tmp_path / "credentials"
    managed.mkdir()
    keyfile.write_private(managed / "device.key", b"m" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(managed))
    assert home.credential(folder, None) == b"m" * 32
    keyfile.write_private(tmp_path / "named", b"n" * 32)
    assert home.credential(folder, tmp_path / "named") == b"n" * 32
    with pytest.raises(Failed, match="not there"):
        home.credential(folder, tmp_path / "nowhere")
    keyfile.write_private(tmp_path / "short", b"n" * 31)
    with pytest.raises(Poc24Error):
        home.credential(folder, tmp_path / "short")


def test_the_device_ring_holds_two_keys(folder: Path) -> None:
    """The device's signing key and the archive's key are told apart by their label."""
    home.create(made(folder), ROOT)
    ring = KeyRing((Held(Role.DEVICE, b"a" * 32, keyfile.ARCHIVE), Held(Role.DEVICE, b"d" * 32)))
    with pytest.raises(Failed, match="no key ring"):
        home.device(folder, b"k" * 32)
    keyfile.write_private(folder / "device.ring", keyfile.seal_service(ring, b"k" * 32))
    device, archive = home.device(folder, b"k" * 32)
    assert device.kid == Signer(Role.DEVICE, b"d" * 32).kid
    assert archive == b"a" * 32
    with pytest.raises(Refused) as refused:
        home.device(folder, b"x" * 32)
    assert refused.value.code is Code.E_KEYRING


def test_another_desks_officer_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of AU does not sign at VN, even with the right passphrase; a wrong one is a sentence."""
    monkeypatch.setattr(
        suite, "stretch_passphrase", lambda word, salt, **_more: suite.sha256(word.encode() + salt)
    )
    ring = KeyRing((Held(Role.OFFICER, b"o" * 32, "au-01", "AU"),))
    keyfile.write_private(
        tmp := folder.parent / "officer.ring", keyfile.seal_person(ring, "correct horse")
    )
    assert home.officer(tmp, "correct horse", "AU").role is Role.OFFICER
    with pytest.raises(Refused, match="belongs to AU, not to VN"):
        home.officer(tmp, "correct horse", "VN")
    with pytest.raises(Refused, match="Wrong passphrase") as refused:
        home.officer(tmp, "wrong horse", "AU")
    assert refused.value.code is Code.E_KEYRING


def test_the_clocks_of_a_desk_are_stricter_or_refused(folder: Path) -> None:
    """Seconds and days by their names; what would be weaker for every request is told, and so is a mistyped name."""
    home.create(made(folder), ROOT)
    path = folder / "desk.toml"
    plain = path.read_text()
    path.write_text(f"{plain}\n[clocks]\ndecide = 3600\nexpiry_requesting = [45, 2]\n")
    assert home.load(folder).clocks == {"decide": 3600, "expiry_requesting": [45, 2]}
    for line, says in (
        ("decide = 999999999", "weaker"),
        ("extension_alarm = 60", "weaker"),
        ("decide = true", "number of seconds"),
        ("decide = 0", "number of seconds"),
        ("expiry_requesting = [0]", "list of days"),
        ("expiry_requesting = 3", "list of days"),
        ("decided = 3600", "not a setting"),
    ):
        path.write_text(f"{plain}\n[clocks]\n{line}\n")
        with pytest.raises(Failed, match=says):
            home.load(folder)
    path.write_text(f"clocks = 3\n{plain}")
    with pytest.raises(Failed, match="not a table"):
        home.load(folder)
