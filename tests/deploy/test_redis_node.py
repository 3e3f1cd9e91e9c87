"""deploy/redis with real servers: settings, accounts and TLS that a relay can stand on, and a start that loses nothing."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders_redis import free_port, program
from builders_relay import certificate

from relay.store import redis_floor
from relay.store.redis_place import Place, replicas
from relay.store.several import RedisStore
from relay.store.vouched import Vouched

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NODE = DEPLOY / "redis" / "node.sh"
HOST = "127.0.0.1"
READY_S = 30
ENDS_IN_TEST = "#!/bin/sh\nexit 1\n"


def settings(path: Path) -> dict[str, str]:
    """Return a Redis configuration's settings."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in (line.partition(" ") for line in lines)}


def until(what: Callable[[], bool]) -> None:
    """Wait for other programs."""
    end = time.monotonic() + READY_S
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


class Site:
    """A folder for one site: settings, passwords, a certificate; its nodes all on this machine, told apart by port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.etc, self.secrets = folder, folder / "etc", folder / "secrets"
        self.bin = folder / "bin"
        shutil.copytree(DEPLOY / "redis", self.etc / "redis")
        for path in (self.etc / "tls", self.secrets, self.bin):
            path.mkdir()
        public, private = certificate(folder)
        shutil.copy(public, self.etc / "tls" / "redis.crt")
        shutil.copy(public, self.etc / "tls" / "ca.crt")
        shutil.copy(private, self.etc / "tls" / "redis.key")
        for name in ("redis.conf", "sentinel.conf"):
            path = self.etc / "redis" / name
            path.write_text(path.read_text().replace("bind 0.0.0.0 -::*", f"bind {HOST}"))
        (self.bin / "redis-server").symlink_to(program("redis"))
        if not shutil.which("redis-cli"):
            asked = f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("redis_cli.py")}" "$@"\n'
            self.script("redis-cli", asked)
        self.ports = [free_port() for _ in range(3)]
        self.watchers = [free_port() for _ in range(3)]
        self.running: list[subprocess.Popen[bytes]] = []

    def script(self, name: str, text: str) -> None:
        """Put a program before all others."""
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def surroundings(self, port: int, **more: str) -> dict[str, str]:
        """Return the environment of a node."""
        data = self.folder / str(port)
        data.mkdir(exist_ok=True)
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "POC24_NODE": HOST,
            "POC24_PORT": str(port),
            "POC24_DATA": str(data),
            "POC24_ETC": str(self.etc),
            "POC24_SECRETS": str(self.secrets),
            "POC24_SENTINELS": " ".join(f"{HOST}:{one}" for one in self.watchers),
            "POC24_MASTER": f"{HOST}:{self.ports[0]}",
            **more,
        }

    def node(self, what: str, port: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run node.sh to its end."""
        return subprocess.run(
            ["sh", NODE, what],
            env=self.surroundings(port or self.ports[0], **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, what: str, port: int) -> subprocess.Popen[bytes]:
        """Start a node, which stays."""
        with (self.folder / f"{port}.log").open("ab") as log:
            process = subprocess.Popen(
                ["sh", NODE, what], env=self.surroundings(port), stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    def data(self, port: int) -> Path:
        """Return a node's folder."""
        return self.folder / str(port)

    def place(self) -> Place:
        """Return where a relay finds it."""
        return Place(
            "relay1.example.org",
            sentinels=tuple((HOST, one) for one in self.watchers),
            replicas=replicas(2, "strict"),
            account="relay",
            password=(self.secrets / "redis-relay").read_text(),
            authority=self.etc / "tls" / "ca.crt",
        )

    def end(self) -> None:
        """Stop what runs."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(40)
            except (
                subprocess.TimeoutExpired
            ):  # a busy machine; the next test must find nothing of it
                process.kill()
                process.wait()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site with passwords and without any node."""
    made = Site(tmp_path)
    made.node("passwords")
    yield made
    made.end()


async def nothing(_store: RedisStore, _journal: Vouched) -> None:
    """Merge nothing."""


def test_every_setting_is_one_that_the_relay_starts_on() -> None:
    """redis.conf satisfies the floor that the relay asks for; each line of it that is spoilt is named."""
    found = settings(DEPLOY / "redis" / "redis.conf")
    info = {"redis_version": "7.0.15", "role": "master", "connected_slaves": 2}
    assert redis_floor.findings(found, info, replicas(2, "strict")) == []
    for name in redis_floor.SETTINGS:
        spoilt = redis_floor.findings({**found, name: "else"}, info, replicas(2, "strict"))
        assert len(spoilt) == 1
        assert name in spoilt[0]
    assert (found["min-replicas-to-write"], found["min-replicas-max-lag"]) == ("1", "3")
    assert (found["port"], found["replica-priority"], found["save"]) == ("0", "100", "")
    assert found["aclfile"]


def test_no_secret_lies_in_the_files() -> None:
    """The files that are copied to machines hold neither a password nor the hash of one."""
    rules = (DEPLOY / "redis" / "users.acl").read_text()
    assert rules.startswith("user default off ")
    assert rules.count("_SHA256 ") == 4
    assert ">" not in rules
    for name in ("redis.conf", "sentinel.conf"):
        assert not {"requirepass", "masterauth"} & set(settings(DEPLOY / "redis" / name))


def test_an_empty_folder_is_never_started_as_a_master(site: Site) -> None:
    """Trap: an empty master empties its replicas. Only `first`, typed by a person, allows it, and only once."""
    refused = site.node("redis")
    assert refused.returncode == 78
    assert "node.sh first" in refused.stderr

    assert site.node("first").returncode == 0
    site.script("redis-server", "#!/bin/sh\nexit 0\n")
    assert site.node("redis").returncode == 0

    again = site.node("redis")
    assert again.returncode == 78
    assert "would empty its replicas" in again.stderr


def test_the_folder_of_another_node_is_refused(site: Site) -> None:
    """A volume that was mounted at the wrong node is noticed."""
    (site.data(site.ports[0])).mkdir(exist_ok=True)
    (site.data(site.ports[0]) / "poc24.node").write_text("redis9.example.org\n")
    (site.data(site.ports[0]) / "appendonly.aof").write_text("something")
    refused = site.node("redis")
    assert refused.returncode == 78
    assert f"is not the folder of {HOST}" in refused.stderr


def test_a_node_that_died_of_its_disk_does_not_start_on_its_own_file(site: Site) -> None:
    """Its file may lack what was acknowledged: it is put aside once another master is known, and never before."""
    site.node("first")
    site.script("redis-server", ENDS_IN_TEST)
    assert site.node("redis", POC24_SETTLED_S="0").returncode == 1
    file = site.data(site.ports[0]) / "appendonly.aof"
    file.write_text("something")

    refused = site.node("redis")
    assert refused.returncode == 78
    assert "SENTINEL FAILOVER" in refused.stderr
    assert file.exists()

    site.script("redis-cli", "#!/bin/sh\nprintf '127.0.0.1\\n6399\\n'\n")
    site.script("redis-server", "#!/bin/sh\nexit 0\n")
    assert site.node("redis").returncode == 0
    assert not file.exists()
    assert [one.read_text() for one in file.parent.glob("aside-*/appendonly.aof")] == ["something"]
    assert settings(file.parent / "redis.conf")["replicaof"] == "127.0.0.1 6399"


def test_a_wrong_setting_is_no_broken_disk(site: Site) -> None:
    """A server that ends at once has not written anything: the node is not called damaged."""
    site.node("first")
    site.script("redis-server", ENDS_IN_TEST)
    assert site.node("redis").returncode == 1
    assert not (site.data(site.ports[0]) / "poc24.damaged").exists()


def numbered(site: Site, port: int, name: str) -> str:
    """Return a line of INFO replication of a node; "" while it does not answer."""
    asked = f"AUTH operator {(site.secrets / 'redis-operator').read_text()}\nINFO replication\n"
    path = f"{site.bin}:{os.environ['PATH']}"
    done = subprocess.run(
        [
            "redis-cli",
            "-h",
            HOST,
            "-p",
            str(port),
            "--tls",
            "--cacert",
            site.etc / "tls" / "ca.crt",
        ],
        input=asked,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = dict(line.strip().split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    return lines.get(name, "")


@pytest.mark.timeout(180)
async def test_a_relay_stands_on_it_through_a_planned_switch_and_an_emptied_node(
    site: Site,
) -> None:
    """TLS, accounts, three Sentinels: a store writes at level strict, through `node.sh switch` and a node rebuilt."""
    assert site.node("first").returncode == 0
    nodes = {site.ports[0]: site.start("redis", site.ports[0])}
    until(lambda: numbered(site, site.ports[0], "role") == "master")
    for port in site.watchers:
        site.start("sentinel", port)
    until(lambda: "master already" in site.node("first", site.ports[1]).stderr)
    for port in site.ports[1:]:
        nodes[port] = site.start("redis", port)
    until(lambda: numbered(site, site.ports[0], "connected_slaves") == "2")

    store = RedisStore(site.place(), site.folder / "journal.db", nothing)
    await store.start(1_000_000)
    try:
        await store.put_mark("before", 1)
        # The Sentinels learn of replicas every ten seconds; before that they refuse, and nothing was touched.
        switched = site.node("switch")
        while switched.returncode == 78 and "takes writes again" in switched.stderr:
            await asyncio.sleep(1)
            switched = await asyncio.to_thread(site.node, "switch")
        assert switched.returncode == 0, switched.stderr
        assert "is the master now" in switched.stdout
        until(lambda: numbered(site, site.ports[0], "role") == "slave")
        await asyncio.wait_for(store.put_mark("after", 2), READY_S)
        assert (await store.mark("before"), await store.mark("after")) == (1, 2)
        until(lambda: numbered(site, site.ports[0], "master_link_status") == "up")
        counts = await store.counts()
        assert (counts["replicas"], counts["replicas_named"]) == (2, 2)
        assert await store.check() == []

        # A node whose disk is gone comes back as a replica of whoever is the master now, and has everything.
        gone = site.ports[0]
        nodes[gone].terminate()
        nodes[gone].wait(20)
        site.running.remove(nodes[gone])
        shutil.rmtree(site.data(gone))
        site.start("redis", gone)
        until(lambda: numbered(site, gone, "master_link_status") == "up")
        await asyncio.wait_for(store.put_mark("after", 3), READY_S)
    finally:
        await store.stop()
