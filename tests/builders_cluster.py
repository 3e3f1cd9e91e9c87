"""A cluster of real servers in network namespaces: Redis, replicas and Sentinels, each on a host of its own, and cables to pull.

::

    with Cluster(folder) as cluster:            # r1 r2 r3 with redis-server, three Sentinels, c1 for a relay
        cluster.part({"r1", "c1"})              # they see each other and nobody else
        cluster.mend()

Nothing here leaves this machine: the namespaces are made here and hang on bridges without a way out.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from builders_redis import SETTINGS, program
from redis import Redis
from redis.exceptions import RedisError

PORT, SENTINEL = 6379, 26379
NAME = "poc24"
DOWN_MS = 1500
HOSTS = ("r1", "r2", "r3")
WATCHING = ("r1", "r3", "c2")
"""Where Sentinels run: two of them can be on a side without the master and one replica."""
READY_S = 20.0
_numbers = itertools.count()


def ip(*words: str) -> None:
    """Run ip(8)."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        raise RuntimeError(
            "Partitions need root and ip(8). Type: sudo apt-get install -y iproute2, and run the tests as root"
        )
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def until(what: Callable[[], bool], seconds: float = READY_S) -> None:
    """Wait for other people's programs; AssertionError when they take too long."""
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except (RedisError, OSError):
            pass
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.05)


class Net:
    """Hosts on one cable, and a second one to which some of them can be moved."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """Lay the cable. Names carry the process's number: two runs at once do not meet."""
        number = f"{os.getpid() % 100000:x}{next(_numbers):x}"
        self._mark = f"p{number}"[:8]
        self._octet = os.getpid() % 200 + 20
        self._hosts = list(hosts)
        for bridge in ("a", "b"):
            ip("link", "add", self._mark + bridge, "type", "bridge", "forward_delay", "0")
            ip("link", "set", self._mark + bridge, "up")
        ip("addr", "add", f"10.24.{self._octet}.254/24", "dev", self._mark + "a")
        for place, host in enumerate(self._hosts):
            outer = self._mark + str(place)
            ip("netns", "add", self.namespace(host))
            ip(
                "link",
                "add",
                outer,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.namespace(host),
            )
            ip("link", "set", outer, "master", self._mark + "a", "up")
            ip("-n", self.namespace(host), "link", "set", "lo", "up")
            ip("-n", self.namespace(host), "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", self.namespace(host), "link", "set", "eth0", "up")

    def namespace(self, host: str) -> str:
        """Return the name of a host's namespace."""
        return f"{self._mark}-{host}"

    def address(self, host: str) -> str:
        """Return a host's address."""
        return f"10.24.{self._octet}.{self._hosts.index(host) + 1}"

    def part(self, apart: Iterable[str]) -> None:
        """Move some hosts to the other cable: they see each other and nobody else."""
        for host in apart:
            ip("link", "set", self._mark + str(self._hosts.index(host)), "master", self._mark + "b")

    def mend(self) -> None:
        """Move everybody back."""
        for place in range(len(self._hosts)):
            ip("link", "set", self._mark + str(place), "master", self._mark + "a")

    def clear(self) -> None:
        """Take everything away."""
        for place, host in enumerate(self._hosts):
            subprocess.run(
                ["ip", "link", "del", self._mark + str(place)], check=False, capture_output=True
            )
            subprocess.run(
                ["ip", "netns", "del", self.namespace(host)], check=False, capture_output=True
            )
        for bridge in ("a", "b"):
            subprocess.run(
                ["ip", "link", "del", self._mark + bridge], check=False, capture_output=True
            )


class Cluster:
    """One master (r1), two replicas, three Sentinels, and hosts c1, c2 for instances of the relay."""

    def __init__(self, folder: Path, kind: str = "redis") -> None:
        """Name the folder; nothing runs yet."""
        self.folder, self.kind = folder, kind
        self.net = Net((*HOSTS, "c1", "c2"))
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.sentinels: dict[str, subprocess.Popen[bytes]] = {}
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        """Start everything and wait until the Sentinels see it whole."""
        try:
            for host in HOSTS:
                self.serve(host, "" if host == "r1" else "r1")
            until(lambda: self.at("r1").info()["connected_slaves"] == 2)
            for host in WATCHING:
                self._watch(host)
            until(self._whole)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self.close()

    def close(self) -> None:
        """Kill what runs and take the cables away."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
        for process in (*self.servers.values(), *self.sentinels.values()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.net.clear()

    def _run(self, host: str, argv: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{host}-{log}.log").open("ab") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.net.namespace(host), *argv],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def serve(self, host: str, of: str = "") -> None:
        """Start the server of a host on what lies in its folder, as a replica of another host, or as a master."""
        place = self.folder / host
        place.mkdir(exist_ok=True)
        settings = [*SETTINGS, "--bind", self.net.address(host), "--protected-mode", "no"]
        settings += ["--repl-diskless-sync-delay", "0", "--repl-timeout", "5"]
        if of:
            settings += ["--replicaof", self.net.address(of), str(PORT)]
        argv = [program(self.kind), "--port", str(PORT), "--dir", str(place), *settings]
        self.servers[host] = self._run(host, argv, "redis")

    def _watch(self, host: str) -> None:
        path = self.folder / f"sentinel-{host}.conf"
        path.write_text(
            f"port {SENTINEL}\nbind {self.net.address(host)}\nprotected-mode no\ndir {self.folder}\n"
            f"sentinel monitor {NAME} {self.net.address('r1')} {PORT} 2\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_MS}\nsentinel failover-timeout {NAME} 4000\n"
            f"sentinel parallel-syncs {NAME} 2\n"
        )
        argv = [program(self.kind), str(path), "--sentinel"]
        self.sentinels[host] = self._run(host, argv, "sentinel")

    def _whole(self) -> bool:
        for host in WATCHING:
            with Redis(self.net.address(host), SENTINEL, socket_timeout=2) as sentinel:
                found = sentinel.execute_command("SENTINEL", "MASTER", NAME)
                pairs = (
                    found
                    if isinstance(found, dict)
                    else dict(zip(found[::2], found[1::2], strict=True))
                )
                known = {_text(key): _text(value) for key, value in pairs.items()}
                if (int(known["num-slaves"]), int(known["num-other-sentinels"])) != (2, 2):
                    return False
        return True

    def at(self, host: str) -> Redis:
        """Return a connection to a host's server."""
        return Redis(self.net.address(host), PORT, socket_timeout=2)

    def master(self, *asked: str) -> str:
        """Return the host that the Sentinels call the master."""
        for host in asked or WATCHING:
            try:
                with Redis(self.net.address(host), SENTINEL, socket_timeout=1) as sentinel:
                    address, _port = sentinel.sentinel_get_master_addr_by_name(NAME)
                    return next(one for one in HOSTS if self.net.address(one) == _text(address))
            except (RedisError, OSError):
                continue
        return ""

    def kill(self, host: str) -> None:
        """Kill the server of a host without a word."""
        self.servers[host].kill()
        self.servers[host].wait()

    def freeze(self, host: str) -> None:
        """Stop the server of a host where it stands."""
        os.kill(self._inner(self.servers[host]), signal.SIGSTOP)

    def thaw(self, host: str) -> None:
        """Let it go on."""
        os.kill(self._inner(self.servers[host]), signal.SIGCONT)

    def _inner(self, process: subprocess.Popen[bytes]) -> int:
        return process.pid  # ip netns exec replaces itself by the program

    def healed(self) -> None:
        """Wait until every Sentinel names one master, and the two others follow it, whatever happened."""

        def whole() -> bool:
            named = {self.master(host) for host in WATCHING}
            if len(named) != 1 or "" in named:
                return False
            (master,) = named
            for host in HOSTS:
                info = self.at(host).info("replication")
                if host == master and (info["role"], info.get("connected_slaves")) != ("master", 2):
                    return False
                if host != master and (info["role"], info.get("master_link_status")) != (
                    "slave",
                    "up",
                ):
                    return False
                if host != master and info.get("master_host") != self.net.address(master):
                    return False
            return True

        until(whole, 40)

    def worker(self, host: str, **options: object) -> "Worker":
        """Start an instance's traffic on a host."""
        made = Worker(self, host, len(self.workers), options)
        self.workers.append(made)
        return made


class Worker:
    """A process that writes messages through an instance's store and notes what it was told (failover/traffic.py)."""

    def __init__(
        self, cluster: Cluster, host: str, number: int, options: dict[str, object]
    ) -> None:
        """Start it."""
        self.history = cluster.folder / f"history-{number}.jsonl"
        self.journal = cluster.folder / f"journal-{number}.db"
        given = {
            "instance": f"relay-{number}",
            "sentinels": [[cluster.net.address(one), SENTINEL] for one in WATCHING],
            "history": str(self.history),
            "journal": str(self.journal),
            "replicas": 2,
            "level": "available",
            "merge": True,
            **options,
        }
        script = Path(__file__).parent / "failover" / "traffic.py"
        self.process = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                cluster.net.namespace(host),
                sys.executable,
                str(script),
                json.dumps(given),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
                ),
            },
        )

    def told(self, what: str = "accepted") -> list[str]:
        """Return the messages of which it was told *what*, by now."""
        if not self.history.exists():
            return []
        lines = self.history.read_text().splitlines()
        return [
            found["msg"]
            for line in lines
            if line.endswith("}") and (found := json.loads(line))["told"] == what
        ]

    def goes_on(self, more: int = 50) -> None:
        """Wait until it was told *more* messages than now."""
        before = len(self.told())
        until(lambda: len(self.told()) >= before + more, 60)

    def end(self) -> None:
        """Let it finish what is under way and stop."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
