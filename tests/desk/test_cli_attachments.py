"""Files typed on the command line: attached, announced, sealed, sent, shown and saved, against a real relay."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders_attached import data_of
from builders_desks import LiveRelay, make_home, passphrase_fd
from builders_keys import World
from click.testing import CliRunner, Result

from keys import suite
from relay.desk import cli_attach, spool
from relay.desk.cli import desk
from relay.desk.clock import SystemClock
from relay.wire.receipt import ATTACHMENT_BYTES_MAX

REQUEST = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "preservation_request.json"


@pytest.fixture(scope="module", autouse=True)
def quick_rings() -> Iterator[None]:
    """Argon2id takes half a second by design; other tests show it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "stretch_passphrase", lambda word, salt, **_m: suite.sha256(word.encode() + salt)
        )
        yield


@dataclass
class Network:
    """A relay in a thread that takes attachments, AU served by a process, VN run by each command for itself."""

    folder: Path
    files: Path

    def run(self, who: str, *args: object, signed: bool = False) -> Result:
        """Run one command line of a desk; *signed*: with the passphrase on a descriptor."""
        line = [*map(str, args), "--home", str(self.folder / who)]
        if not signed:
            return CliRunner().invoke(desk, line)
        given = passphrase_fd()
        try:
            return CliRunner().invoke(desk, [*line, "--passphrase-fd", str(given)])
        finally:
            os.close(given)

    def json(self, who: str, *args: object, signed: bool = False) -> dict[str, Any]:
        """Run a command that must succeed, and return its data."""
        found = self.run(who, *args, "--json", signed=signed)
        assert found.exit_code == 0, found.stderr
        data: dict[str, Any] = json.loads(found.stdout)
        return data

    def file(self, name: str, data: bytes) -> Path:
        """Write a file to attach."""
        path = self.files / name
        path.write_bytes(data)
        return path

    def send(self, *args: object, until: str = "delivered") -> dict[str, Any]:
        """Send a request from VN to AU, and wait until AU has it."""
        line = ["send", REQUEST, "--to", "AU", "--dated-now", "--yes", "--until", until]
        return self.json("VN", *line, *args, signed=True)

    def blobs(self, who: str) -> list[Path]:
        """Return what lies in a desk's folder of sealed attachments."""
        return [path for path in (self.folder / who / "archive.blobs").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, quick_rings: None) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("n")
    world = World(officers=1, now=SystemClock().now() - 60)
    relay = LiveRelay(world, folder / "relay-blobs")
    relay.start()
    for who in ("VN", "AU"):
        make_home(world, folder / who, who, relay.port)
    (folder / "files").mkdir()
    serve = [sys.executable, "-m", "relay.desk.cli", "serve", "--home", str(folder / "AU")]
    with (folder / "served.log").open("wb") as log:
        served = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log)
    assert served.stdout is not None
    assert b"Desk AU is ready" in served.stdout.readline()
    found = Network(folder, folder / "files")
    assert found.run("VN", "status", "--wait", "10").exit_code == 0
    ends = time.monotonic() + 20
    while not found.json("AU", "status")["connected"] and time.monotonic() < ends:
        time.sleep(0.05)
    yield found
    served.send_signal(signal.SIGTERM)
    assert served.wait(20) == 0
    served.stdout.close()
    relay.stop()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return an empty folder to save to."""
    folder = tmp_path / "to"
    folder.mkdir()
    return folder


def test_sent_shown_saved_and_answered(network: Network, target: Path) -> None:
    """Two files go with a request; the inbox names them, `save` writes them; the answer carries one back."""
    photo, log = data_of(300_000, "photo"), b"login from 198.51.100.7\n"
    first, second = network.file("photo.jpg", photo), network.file("log.txt", log)
    sent = network.json(
        "VN",
        *("send", REQUEST, "--to", "AU", "--dated-now", "--yes", "--until", "delivered"),
        *("--attach", first, "--attach", second),
        signed=True,
    )
    assert [one["name"] for one in sent["attachments"]] == ["photo.jpg", "log.txt"]
    msg = sent["msg"][:10]
    saved = network.json("AU", "save", msg, "--to", target, "--wait", "20")["saved"]
    assert [Path(one["path"]).name for one in saved] == ["photo.jpg", "log.txt"]
    assert (target / "photo.jpg").read_bytes() == photo
    assert (target / "log.txt").read_bytes() == log
    assert stat.S_IMODE((target / "log.txt").stat().st_mode) == 0o600
    inbox = network.run("AU", "inbox").stdout
    assert "+ 1  photo.jpg, 293.0 KiB, image/jpeg: here" in inbox
    page = network.run("AU", "show", msg).stdout
    assert "Attachment 2" in page
    assert "log.txt, 24 bytes, text/plain; here" in page
    assert f"desk save {msg} --to DIR" in page
    assert "with 2 attachments" in network.run("VN", "timeline", msg).stdout
    found = network.json("AU", "inbox", "--all")["messages"][0]["attachments"]
    assert [(one["number"], one["state"], one["size"]) for one in found] == [
        (1, "here", 300_000),
        (2, "here", 24),
    ]
    assert "secret" not in json.dumps(network.json("AU", "show", msg))

    order = network.file("order.pdf", data_of(1000))
    answered = network.json(
        *("AU", "answer", msg, "--preserved-until", "2027-12-31", "--attach", order, "--yes"),
        *("--wait", "20"),
        signed=True,
    )
    answer = answered["msg"][:10]
    network.run("VN", "inbox", "--wait", "5")
    network.json(
        "VN", "save", answer, "--to", target, "--attachment", 1, "--as", "a.pdf", "--wait", "20"
    )
    assert (target / "a.pdf").read_bytes() == order.read_bytes()
    acknowledged = network.json("AU", "acknowledge", msg, signed=True)
    assert "note" not in acknowledged
    assert network.blobs("VN") == [path for path in network.blobs("VN") if path.parent.name == "in"]


def test_what_is_said_before_anything_is_signed(network: Network) -> None:
    """Names, sizes and types are announced; of large files also that the message waits for them."""
    plain = network.file("a.txt", b"x")
    line = ["send", REQUEST, "--to", "AU", "--dated-now", "--attach", plain]
    said = network.run("VN", *line, "--yes", "--until", "accepted", signed=True)
    assert "Attached: a.txt, 1 bytes, text/plain" in said.stderr
    assert "must not wait" not in said.stderr
    large = network.file("large.bin", b"")
    with large.open("r+b") as file:
        file.truncate(9 * 1024 * 1024)
    office: list[str] = []
    picked = cli_attach.look([large])
    cli_attach.announce(type("Office", (), {"say": staticmethod(office.append)})(), picked)
    assert "must not wait" in office[1]


def test_one_too_many_and_a_byte_too_large(network: Network) -> None:
    """17 files, or one byte above 256 MiB, are refused before anything else happens: exit code 65, with the way out."""
    small = network.file("s.txt", b"x")
    line = ["send", REQUEST, "--to", "AU", "--dated-now", "--yes"]
    many = network.run("VN", *line, *(["--attach", small] * 17))
    assert many.exit_code == 65
    assert "at most 16 attachments; 17 files were named" in many.stderr
    large = network.files / "large.bin"
    with large.open("wb") as file:
        file.truncate(ATTACHMENT_BYTES_MAX + 1)
    too_large = network.run("VN", *line, "--attach", large)
    assert too_large.exit_code == 65
    assert "256 MiB" in too_large.stderr
    assert "split" in too_large.stderr
    large.unlink()
    assert network.blobs("VN") == [path for path in network.blobs("VN") if path.parent.name == "in"]


def test_sixteen_files_and_names_that_collide(network: Network, target: Path) -> None:
    """Sixteen files go; two of one name, and an odd name, leave as names that can be saved side by side."""
    other = network.files / "other"
    other.mkdir()
    paths = [network.file(f"{number}.txt", str(number).encode()) for number in range(13)]
    for folder in (network.files, other):
        (folder / "same.txt").write_text(str(folder))
        paths.append(folder / "same.txt")
    paths.append(network.file("evil\u202etxt.exe", b"odd"))
    attached = [word for path in paths for word in ("--attach", path)]
    sent = network.send(*attached)
    network.json("AU", "save", sent["msg"], "--to", target, "--wait", "20")
    assert (target / "same.txt").read_text() == str(network.files)
    assert (target / "same-2.txt").read_text() == str(other)
    assert (target / "evil_txt.exe").read_bytes() == b"odd"
    assert len(list(target.iterdir())) == 16


def test_what_cannot_be_attached(network: Network, tmp_path: Path) -> None:
    """A file that is not there, a folder, a pipe: exit code 66, and nothing was asked or signed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path / "nothing", tmp_path, pipe):
        found = network.run("VN", "send", REQUEST, "--to", "AU", "--dated-now", "--attach", path)
        assert found.exit_code == 66, found.stderr
        assert str(path) in found.stderr


def test_no_room_to_seal(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room is a sentence (73) before anything is sealed."""
    monkeypatch.setattr(spool, "RESERVE_BYTES", 1 << 60)
    path = network.file("a.txt", b"x")
    line = ["send", REQUEST, "--to", "AU", "--dated-now", "--yes", "--attach", path]
    found = network.run("VN", *line, signed=True)
    assert found.exit_code == 73
    assert "no room" in found.stderr


def test_a_wrong_passphrase_leaves_nothing_behind(network: Network) -> None:
    """Sealed, and then not signed: what was sealed is gone, and nothing was sent."""
    path = network.file("a.txt", b"x")
    line = ["send", REQUEST, "--to", "AU", "--dated-now", "--yes", "--attach", path]
    before = len(network.json("VN", "sent", "--all")["messages"])
    given = passphrase_fd("wrong")
    try:
        home = ["--home", str(network.folder / "VN"), "--passphrase-fd", str(given)]
        found = CliRunner().invoke(desk, [*map(str, line), *home])
    finally:
        os.close(given)
    assert found.exit_code == 77
    assert not [path for path in network.blobs("VN") if path.parent.name != "in"]
    assert len(network.json("VN", "sent", "--all")["messages"]) == before


def test_what_save_answers(network: Network, target: Path) -> None:
    """No such number: 1; there already: 73; no such folder: 66; nothing attached: a sentence; the others are saved."""
    path = network.file("a.txt", b"x")
    msg = network.send("--attach", path)["msg"][:10]
    network.json("AU", "save", msg, "--to", target, "--wait", "20")
    for words, code, text in (
        (["--to", target], 73, "overwritten"),
        (["--to", target / "nowhere"], 66, "no folder"),
        (["--to", target, "--attachment", 2], 1, "none with the number 2"),
        (["--to", target, "--as", "../x"], 65, "Nothing is saved"),
        (["--to", target, "--as", "y", "--attachment", 1, "--attachment", 2], 2, "--as names one"),
        (["--to", target, "--attachment", 17], 2, "17"),
        ([], 2, "--to"),
    ):
        found = network.run("AU", "save", msg, *words)
        assert found.exit_code == code, (words, found.stderr)
        assert text in found.stderr
    (target / "a.txt").unlink()
    words = ["--to", target, "--attachment", 9, "--attachment", 1, "--json"]
    both = network.run("AU", "save", msg, *words)
    assert both.exit_code == 1
    assert json.loads(both.stdout)["saved"][0]["number"] == 1
    assert json.loads(both.stderr)["error"]["code"] == "E_UNKNOWN"
    bare = network.send()["msg"]
    assert "has no attachments" in network.run("AU", "save", bare, "--to", target).stdout
    sent = network.run("VN", "save", msg, "--to", target)
    assert sent.exit_code == 1
    assert "keeps no copy" in sent.stderr


def test_a_damaged_file_is_a_proof_that_failed(network: Network, target: Path) -> None:
    """A sealed file that was changed on this disk is not saved: exit code 76, and no file is there."""
    path = network.file("a.txt", data_of(500))
    msg = network.send("--attach", path)["msg"][:10]
    network.json("AU", "save", msg, "--to", target, "--wait", "20")
    (target / "a.txt").unlink()
    newest = max(network.blobs("AU"), key=lambda one: one.stat().st_mtime)
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    found = network.run("AU", "save", msg, "--to", target)
    assert found.exit_code == 76
    assert list(target.iterdir()) == []


def test_the_sender_is_told_of_what_did_not_arrive(network: Network, target: Path) -> None:
    """Acknowledging a message whose file the relay lost sends its sender a signed note; --no-note does not."""
    gone: list[str] = []
    for extra in ([], ["--no-note"]):
        served = network.folder / "relay-blobs"
        path = network.file("lost.txt", data_of(100, str(extra)))
        msg = _lost(network, served, path)
        found = network.run("AU", "acknowledge", msg, *extra, "--json", signed=True)
        assert found.exit_code == 0, found.stderr
        gone.append(json.loads(found.stdout).get("note", ""))
        if not extra:
            assert (
                "VN is told, signed: Attachment 1 (lost.txt) has not arrived here." in found.stderr
            )
    assert gone[0]
    assert not gone[1]
    network.run("VN", "inbox", "--wait", "5")
    text = network.json("VN", "show", gone[0])["text"]
    assert "Attachment 1 (lost.txt) has not arrived here." in text
    assert "Please send it again." in text


def _lost(network: Network, served: Path, path: Path) -> str:
    """Send a message whose blob is gone from the relay's disk before AU, which stands still, can fetch it."""
    au = int((network.folder / "AU" / "desk.lock").read_text())
    os.kill(au, signal.SIGSTOP)
    try:
        sent = network.send("--attach", path, until="accepted")
        blob = sent["attachments"][0]["blob"]
        (served / blob).unlink()
    finally:
        os.kill(au, signal.SIGCONT)
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        messages = network.json("AU", "inbox", "--all")["messages"]
        found = [one for one in messages if one["statement"] == sent["statement"]]
        if found and found[0]["attachments"][0]["reason"]:
            break
        time.sleep(0.05)
    return str(sent["msg"][:10])


def test_progress_is_for_a_terminal(network: Network, tmp_path: Path) -> None:
    """On a terminal large files show how far they are; where nobody looks, nothing is printed."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(10 * 1024 * 1024)
    line = [sys.executable, "-m", "relay.desk.cli", "send", str(REQUEST), "--to", "AU"]
    line += ["--dated-now", "--yes", "--attach", str(path), "--home", str(network.folder / "VN")]
    main, other = pty.openpty()
    given = passphrase_fd()
    told = b""
    try:
        with subprocess.Popen(
            [*line, "--passphrase-fd", str(given)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=other,
            pass_fds=(given,),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:
            os.close(other)
            while True:
                try:
                    told += os.read(main, 65536)
                except OSError:
                    break
                if not told:
                    break
            process.wait(60)
    finally:
        os.close(given)
        os.close(main)
    # The ring of this network is sealed the quick way, so the real command stops at the passphrase, after sealing.
    assert b"Sealing 100 % of 10.0 MiB" in told
    assert b"\r" in told
    given = passphrase_fd("wrong")
    try:
        quiet = CliRunner().invoke(desk, [*line[3:], "--passphrase-fd", str(given)])
    finally:
        os.close(given)
    assert quiet.exit_code == 77
    assert "Sealing" not in quiet.stderr
