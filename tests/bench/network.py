"""What the relay's side of the measurement needs: a network, sealed letters, and the real relay as a process of its own.

Everything is sealed and signed by the product's own functions, before the clock runs. The relay is `relay serve`, as an
operator starts it, with a configuration that differs in the rates alone.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders_keys import World, seed

from keys import keyfile, suite
from keys.identity import Role, Signer
from keys.keyfile import Held, KeyRing
from relay.wire import content, envelope, receipt
from relay.wire.envelope import Header

ROOT = Path(__file__).resolve().parents[2]
RECIPIENT = "AU"
DEVICES = 8
"""Devices of the recipient desk: each has a stanza in every envelope."""
STORES = 12
"""Desks that only have mail waiting: a mailbox takes 10,000."""
KEY = bytes(range(32))
START_S = 60.0
BODY_TYPE = "application/vnd.poc24.document.preservation_request.v1+json"
RELAY = """\
[relay]
service = "{service}"
instance = "{instance}"
[listen]
port = 0
[observe]
port = 0
[store]
path = "relay.db"
free_bytes_min = 104857600
free_percent_min = 1
[directory]
root = "root.json"
folder = "repository"
[limits]
submits_per_minute = 1000000
receipts_per_minute = 1000000
reads_per_minute = 1000000
connections_per_address = 0
[log]
level = "warning"
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """A sealed request, ready to be submitted."""

    header: Header
    origin: str
    """sid of the officer's statement inside, which receipts name."""
    envelope: bytes = field(repr=False)
    msg: str


class Network:
    """Desks that send, one that is asked, and some whose mail waits; all made now."""

    def __init__(self, senders: int, *, devices: int = 1) -> None:
        """Hold the ceremony twenty minutes ago; each desk that sends has one officer with so many *devices*."""
        self.senders = [f"VN-{number:02d}" for number in range(senders)]
        self.stores = [f"NZ-{number:02d}" for number in range(STORES)]
        names = (*self.senders, *self.stores)
        self.world = World(names, officers=1, devices=devices, now=int(time.time()) - 1200)
        self.world._devices = 1
        self.world.add_desk(RECIPIENT, self.world.now, officers=DEVICES)
        self.now = int(time.time())
        self.world.freshen(self.now)
        self._devices = {desk: self.world.device(desk) for desk in names}

    def device(self, desk: str, number: int = 0) -> Signer:
        """Return the key of the *number*th device of a desk."""
        if desk in self._devices and not number:
            return self._devices[desk]
        if desk == RECIPIENT:
            return self.world.device(desk, self.world.handles(desk)[number])
        return self.world.device(desk, n=number)

    def officer(self, desk: str, number: int = 0) -> Signer:
        """Return the key of the *number*th officer of a desk."""
        return self.world.signer(desk, self.world.handles(desk)[number])

    def _header(self, sender: str, to: str, priority: str) -> Header:
        return Header(
            ack_by=0,
            backup="",
            created=self.now,
            dev=self.device(sender).kid,
            expires=self.now + 86_400,
            sender=sender,
            mode="actual",
            priority=priority,
            to=to,
        )

    def letters(self, count: int) -> list[Letter]:
        """Return *count* requests to the recipient, really sealed for its eight devices; the senders take turns."""
        keys = [one.key for one in self.world.current_prekeys(RECIPIENT)]
        assert len(keys) == DEVICES
        body = (ROOT / "deploy/examples/preservation_request.json").read_bytes()
        made: list[Letter] = []
        for number in range(count):
            sender = self.senders[number % len(self.senders)]
            header = self._header(sender, RECIPIENT, "urgent")
            origin = content.originate(
                header,
                kind="request",
                body_type=BODY_TYPE,
                body=body,
                thread="",
                nonce=suite.random_bytes(16),
                created=self.now,
                officer=self.officer(sender),
            )
            sealed = content.seal(header, origin.wire, body, suite.random_bytes(32), keys)
            made.append(Letter(header, origin.sid, sealed, suite.sha256(sealed).hex()))
        return made

    def waiting(self, sample: bytes, number: int) -> Letter:
        """Return the *number*th letter that nobody will fetch: the relay cannot know that its content opens for nobody.

        Sealing a hundred thousand would take half an hour; these have the size and frame of *sample*.
        """
        sender = self.senders[number % len(self.senders)]
        header = self._header(sender, self.stores[number % STORES], "routine")
        rest = sample[_before(sample) : -16] + number.to_bytes(16, "big")
        whole = envelope.framed(header.encoded) + rest
        return Letter(header, "", whole, suite.sha256(whole).hex())

    def submission(self, letter: Letter, now: int) -> bytes:
        """Return the proof of submission by the sender's device, made *now*."""
        values: dict[str, Any] = {
            "msg": letter.msg,
            "size": len(letter.envelope),
            "from": letter.header.sender,
            "to": letter.header.to,
            "relay": self.world.service,
            "header_sha256": letter.header.sha256,
            "blobs": [],
            "replaces": "",
            "created": now,
        }
        return receipt.make("submission", values, self.device(letter.header.sender)).wire

    def write(self, folder: Path) -> None:
        """Write a relay's folder: configuration, ring, credential, root document and directory."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        world = self.world
        ring = KeyRing((Held(Role.RELAY, seed(f"{Role.RELAY}/{world.instance}"), world.instance),))
        keyfile.write_private(folder / "relay.ring", keyfile.seal_service(ring, KEY))
        keyfile.write_private(folder / "relay.key", KEY)
        (folder / "root.json").write_bytes(world.root)
        for name, data in world.files.items():
            path = folder / "repository" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        text = RELAY.format(service=world.service, instance=world.instance)
        (folder / "relay.toml").write_text(text)


def _before(sealed: bytes) -> int:
    """Return how many bytes of an envelope stand before its stanzas and their number."""
    start = len(envelope.MAGIC)
    return start + 4 + int.from_bytes(sealed[start : start + 4], "big")


class Relay:
    """`relay serve` as a child of this process."""

    def __init__(self, folder: Path, line: list[str] | None = None) -> None:
        """Stand on a folder that :meth:`Network.write` made; *line* starts something else around the relay."""
        self.folder = folder
        self._line = line or [sys.executable, "-m", "relay.cli"]
        self._child: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> float:
        """Start; return the seconds from the call to the line that says ready."""
        began = time.perf_counter()
        with (self.folder / "said.log").open("ab") as said:
            self._child = subprocess.Popen(
                [*self._line, "serve", "--json", "--config", str(self.folder / "relay.toml")],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError((self.folder / "said.log").read_text()[-1500:])
        self.port = json.loads(line)["ready"]["port"]
        return time.perf_counter() - began

    @property
    def pids(self) -> list[int]:
        """Return the relay's process."""
        return [self._child.pid] if self._child else []

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send *number* and wait."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(number)
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def refuses(self) -> bool:
        """Return whether nobody listens any more."""
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) != 0
