"""Real desks as processes, and files larger than they: what memory they take, and what kill -9 leaves (PROTOCOL 9.5)."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders_desks import LiveRelay, make_home, passphrase_fd
from builders_keys import World

from relay.desk.clock import SystemClock
from relay.desk.remote import Remote

REQUEST = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "preservation_request.json"
MIB = 1024 * 1024
PROCESS_BYTES_MAX = 100 * 1000 * 1000
SECONDS = 60
SEND = ("send", REQUEST, "--to", "AU", "--dated-now", "--yes", "--json")
MEASURED = """
import atexit, os
from pathlib import Path

def told() -> None:
    kilobytes = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    Path(os.environ["PEAK"]).write_text(str(int(kilobytes) * 1024))

atexit.register(told)
from relay.desk.cli import main
main()
"""
"""The command line, which writes down at its end how much memory it ever had."""


@dataclass
class Ran:
    """A command that has ended: its exit code, its data, and the most memory that it ever had, in bytes."""

    code: int
    data: str
    said: str
    peak: int


@dataclass
class Network:
    """A relay in this process; VN and AU each served by one of their own."""

    folder: Path
    served: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def serve(self, who: str) -> None:
        """Start a desk, and wait until commands reach it."""
        with (self.folder / f"{who}.log").open("ab") as log:
            process = subprocess.Popen(
                self._words(who, "serve"), stdout=subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        said = process.stdout.readline()
        assert b"is ready" in said, (self.folder / f"{who}.log").read_text()[-2000:]
        process.stdout.close()
        self.served[who] = process

    def _words(self, who: str, *args: object) -> list[str]:
        home = ["--home", str(self.folder / who)]
        return [sys.executable, "-m", "relay.desk.cli", *map(str, args), *home]

    def start(self, who: str, *args: object, signed: bool = False) -> "subprocess.Popen[str]":
        """Start a command as a process of its own; *signed*: with the passphrase on a descriptor."""
        words = [sys.executable, "-c", MEASURED, *self._words(who, *args)[3:]]
        passed = [passphrase_fd()] if signed else []
        words += [word for number in passed for word in ("--passphrase-fd", str(number))]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            text=True,
            env={**os.environ, "PEAK": str(self.folder / "peak")},
        )
        for number in passed:
            os.close(number)
        return process

    def run(self, who: str, *args: object, signed: bool = False) -> Ran:
        """Run a command as a process of its own, to its end."""
        process = self.start(who, *args, signed=signed)
        data, said = process.communicate(timeout=3 * SECONDS)
        return Ran(process.returncode, data, said, int((self.folder / "peak").read_text()))

    def ask(self, who: str, verb: str, **arguments: object) -> dict[str, Any]:
        """Ask a served desk over its socket, without a process for it."""
        remote = Remote(self.folder / who / "control.sock")
        found: dict[str, Any] = asyncio.run(getattr(remote, verb)(**arguments))
        return found

    def peak(self, who: str) -> int:
        """Return the most memory that a served desk has ever had, in bytes."""
        text = Path(f"/proc/{self.served[who].pid}/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024

    def parts(self, *folder: str) -> list[Path]:
        """Return what is half there, or whole, in a folder."""
        place = self.folder.joinpath(*folder)
        return [path for path in place.iterdir() if len(path.name) >= 64] if place.is_dir() else []

    def kill(self, who: str) -> None:
        """Kill a served desk: -9, whatever it is at."""
        self.served[who].kill()
        self.served[who].wait()

    def blobs(self, who: str) -> list[Path]:
        """Return what lies in a desk's folder of sealed attachments."""
        return [path for path in (self.folder / who / "archive.blobs").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Start a relay and two served desks; end them."""
    tmp_path = tmp_path_factory.mktemp("n")
    world = World(officers=1, now=SystemClock().now() - 60)
    relay = LiveRelay(world, tmp_path / "relay-blobs")
    relay.start()
    found = Network(tmp_path)
    for who in ("VN", "AU"):
        make_home(world, tmp_path / who, who, relay.port)
        found.serve(who)
    until(lambda: all(_connected(found, who) for who in ("VN", "AU")))
    yield found
    for process in found.served.values():
        process.send_signal(signal.SIGTERM)
    for process in found.served.values():
        process.wait(20)
    relay.stop()


def _connected(network: Network, who: str) -> bool:
    status = network.ask(who, "status")
    return bool(status["connected"] and status["prekeys_until"])


def until(so: Callable[[], bool]) -> None:
    """Look until something is so."""
    ends = time.monotonic() + SECONDS
    while not so():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


def large(folder: Path, size: int) -> tuple[Path, str]:
    """Write a file of *size* bytes, most of them a hole; return it and its SHA-256."""
    path = folder / "large.bin"
    with path.open("wb") as file:
        file.write(b"begin")
        file.truncate(size - 3)
        file.seek(0, os.SEEK_END)
        file.write(b"end")
    return path, _hash(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def carried(network: Network, size: int) -> dict[str, int]:
    """Send and save one file of *size* bytes; return the peaks of all processes that touched it."""
    path, digest = large(network.folder, size)
    before = {who: network.peak(who) for who in ("VN", "AU")}
    # Without a passphrase the command ends after sealing: Argon2id alone takes 256 MiB, by design.
    sealing = network.run("VN", *SEND, "--attach", path)
    assert sealing.code == 77, sealing.said
    wait = ("--until", "delivered", "--wait", SECONDS)
    sent = network.run("VN", *SEND, "--attach", path, *wait, signed=True)
    assert sent.code == 0, sent.said
    msg = json.loads(sent.data)["msg"]
    saved = _saved(network, msg, digest)
    until(lambda: not network.blobs("VN"))
    peaks = {"sealing": sealing.peak, "saving": saved.peak}
    peaks |= {f"grown {who}": network.peak(who) - before[who] for who in before}
    return peaks | {who: network.peak(who) for who in before}


@pytest.mark.timeout(180)
def test_files_larger_than_memory_should_hold(network: Network) -> None:
    """24 MiB sealed, sent, fetched and saved: every process under 100 MB, and none grows by half of the file."""
    peaks = carried(network, 24 * MIB)
    for who in ("sealing", "saving", "VN", "AU"):
        assert peaks[who] < PROCESS_BYTES_MAX, peaks
    for who in ("VN", "AU"):
        assert peaks[f"grown {who}"] < 12 * MIB, peaks


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_largest_file(network: Network) -> None:
    """256 MiB, as large as an attachment may be: every process under 100 MB."""
    peaks = carried(network, 256 * MIB)
    for who in ("sealing", "saving", "VN", "AU"):
        assert peaks[who] < PROCESS_BYTES_MAX, peaks


@pytest.mark.timeout(180)
def test_killed_while_it_moves(network: Network) -> None:
    """Kill -9 of the sender while it uploads, of the recipient while it fetches: it arrives, and nothing is left over."""
    path, digest = large(network.folder, 24 * MIB)
    here, there = network.parts("AU", "archive.blobs", "in"), network.parts("relay-blobs")
    sending = network.start("VN", *SEND, "--attach", path, signed=True)
    until(lambda: len(network.parts("relay-blobs")) > len(there))
    network.kill("VN")
    _data, said = sending.communicate(timeout=SECONDS)
    assert sending.returncode in {0, 69, 75}, said
    network.serve("VN")
    until(lambda: len(network.parts("AU", "archive.blobs", "in")) > len(here))
    network.kill("AU")
    network.serve("AU")
    sent = network.ask("VN", "sent", all=True)["messages"][0]
    _saved(network, sent["statement"], digest)
    until(lambda: not network.blobs("VN"))
    assert len(network.blobs("AU")) == len(here) + 1
    assert [len(path.name) for path in network.parts("relay-blobs")] == [64] * (len(there) + 1)


def _saved(network: Network, msg: str, digest: str) -> Ran:
    """Save the one file of a message at AU, and compare it."""
    target = network.folder / f"to-{msg[:10]}"
    target.mkdir()
    saved = network.run("AU", "save", msg, "--to", target, "--wait", SECONDS)
    assert saved.code == 0, saved.said
    assert _hash(target / "large.bin") == digest
    return saved
