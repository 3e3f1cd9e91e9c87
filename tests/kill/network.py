"""The network of a run, on disk: five desks, a relay's folder, homes; and how long its ladders take."""

import json
import socket
from pathlib import Path
from typing import Any

from builders_desks import make_home
from builders_keys import World, profile, seed

from keys import keyfile
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from keys.repository import current_entry

KEY = bytes(range(32))
STAGES = (("path", 2), ("backstop", 4), ("backup", 6))
"""An emergency's ladder to AU, in seconds after it was accepted; a real one takes minutes."""
HANDLES = {"path": "duty", "backstop": "watch", "backup": "deputy"}
"""Whom a stage pages: each an endpoint of its own."""
SILENCE_S = 10
GAP_S = 1
RELAY = """\
[relay]
service = "{service}"
instance = "{instance}"
[listen]
port = {port}
[observe]
port = {observed}
[store]
path = "relay.db"
[directory]
root = "root.json"
folder = "repository"
[limits]
submits_per_minute = 60000
receipts_per_minute = 60000
reads_per_minute = 60000
[log]
level = "info"
"""
ENDPOINT = """
[[endpoint]]
desk = "{desk}"
handle = "{handle}"
language = "en"
channels = [{{ kind = "webhook", url = "http://127.0.0.1:{pager}/{desk}/{handle}", seconds = 1 }}]
"""


class ShortWorld(World):
    """Five desks whose ladders take seconds: VN and FR send, AU is asked, AU-B is its backup, at NZ nobody is there."""

    def __init__(self, now: int) -> None:
        """Hold the ceremony at *now*."""
        super().__init__(("VN", "AU", "AU-B", "FR", "NZ"), officers=2, now=now)
        for desk in ("AU", "NZ"):
            self.edit(desk, {**current_entry(self.files, desk), "profile": _short()}, now)

    def network(self) -> dict[str, Any]:
        """Return ``network.json`` with a gap of a second."""
        found = super().network()
        return {**found, "limits": {**found["limits"], "minimum_gap_s": GAP_S}}


def _short() -> dict[str, Any]:
    plain = profile("+61 2 5550 0124")
    stages = [
        {"after_s": after, "kind": kind, "handles": [HANDLES[kind]]} for kind, after in STAGES
    ]
    plain["emergency"] = {"acknowledge_s": SILENCE_S, "progress_s": 1, "stages": stages}
    return plain


class Network:
    """Everything that real processes need in one folder."""

    def __init__(self, folder: Path, world: ShortWorld, now: int, pager: int) -> None:
        """Write it; *pager* is the port of the webhook's receiver."""
        self.folder = folder
        self.world = world
        self.port, self.observed = _free(), _free()
        self.relay = folder / "relay"
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.relay.mkdir(mode=0o700)
        world = self.world
        ring = KeyRing((Held(Role.RELAY, seed(f"{Role.RELAY}/{world.instance}"), world.instance),))
        keyfile.write_private(self.relay / "relay.ring", keyfile.seal_service(ring, KEY))
        keyfile.write_private(self.relay / "relay.key", KEY)
        (self.relay / "root.json").write_bytes(world.root)
        self.publish(now)
        text = RELAY.format(
            service=world.service,
            instance=world.instance,
            port=self.port,
            observed=self.observed,
        )
        text += "".join(
            ENDPOINT.format(desk=desk, handle=handle, pager=pager)
            for desk in ("AU", "NZ")
            for handle in HANDLES.values()
        )
        (self.relay / "relay.toml").write_text(text)
        for desk in ("VN", "AU", "AU-B"):
            make_home(world, self.home(desk), desk, self.port)

    def publish(self, now: int) -> None:
        """Let the freshness automaton sign, and write the directory where the relay looks."""
        self.world.freshen(now)
        for name, data in sorted(self.world.files.items(), key=lambda one: "timestamp" in one[0]):
            path = self.relay / "repository" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            part.rename(path)

    def home(self, desk: str) -> Path:
        """Return a desk's folder."""
        return self.folder / desk

    def line(self, who: str) -> list[str]:
        """Return the command line of a process."""
        if who == "relay":
            return ["relay", "serve", "--json", "--config", str(self.relay / "relay.toml")]
        return ["desk", "serve", "--home", str(self.home(who))]


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def question(verb: str, arguments: dict[str, Any]) -> bytes:
    """Return one line for a desk's socket."""
    told = {"verb": verb, "arguments": arguments}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
