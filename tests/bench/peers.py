"""The peers, as processes of our own on loopback: Debian's RabbitMQ with its Erlang, and Debian's Redis.

Each begins in an empty folder on the same disk as the relay, runs as a child of the script, and can be killed -9 and
started again on what it left. What is installed on the machine is not touched.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
START_S = 90.0


def unpacked() -> Path:
    """Return the folder with the peers' programs, fetched if need be (tests/bench/peers.sh)."""
    done = subprocess.run(
        ["sh", str(HERE / "peers.sh")], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.strip())


def versions() -> dict[str, str]:
    """Return the versions of Debian's packages."""
    lines = (unpacked() / "versions").read_text("utf-8").splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    return {name: found[name] for name in ("rabbitmq-server", "erlang-base", "redis-server")}


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass
class Process:
    """A server that is a child of this process. *lines* are its programs; the last one is the server itself."""

    folder: Path
    port: int
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def spawn(self, line: list[str], env: dict[str, str] | None = None) -> None:
        """Start one program in a session of its own; what it says goes into a file."""
        with (self.folder / "said.log").open("ab") as said:
            self.children.append(
                subprocess.Popen(
                    line,
                    cwd=self.folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send *number* to every program that was started here, with what it started itself, and wait."""
        for child in reversed(self.children):
            if child.poll() is None:
                os.killpg(child.pid, number)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self.children.clear()

    @property
    def pids(self) -> list[int]:
        """Return the processes of the server and those below them."""
        found = [child.pid for child in self.children]
        for pid in found:
            path = Path(f"/proc/{pid}/task/{pid}/children")
            found += [int(one) for one in path.read_text("ascii").split()] if path.exists() else []
        return found


def cpu_s(pids: list[int]) -> float:
    """Return the processor seconds that processes have used up to now."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/stat").read_text("ascii")
        except OSError:
            continue
        fields = text.rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def rss_mib(pids: list[int]) -> float:
    """Return the resident memory of processes in MiB."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total / 1024


class Rabbit(Process):
    """RabbitMQ: one node, quorum queues, no plugins. What it does for durability is its own default."""

    def __init__(self, folder: Path) -> None:
        """Prepare a folder; nothing runs before :meth:`start`."""
        super().__init__(folder, free_port())
        self._epmd, self._dist = free_port(), free_port()
        for name in ("home", "mnesia", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbit.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\nlog.console = false\n"
            "log.file.level = warning\nvm_memory_high_watermark.relative = 0.6\n"
        )
        cookie = folder / "home" / ".erlang.cookie"
        cookie.write_text("POC24BENCH")
        cookie.chmod(0o400)

    def start(self) -> float:
        """Start and return the seconds until it lets somebody in."""
        programs, folder = unpacked(), self.folder
        erlang = programs / "usr/lib/erlang/bin"
        rabbit = next((programs / "usr/lib/rabbitmq/lib").iterdir()) / "sbin"
        env = {
            "PATH": f"{erlang}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODENAME": "poc24@localhost",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }
        began = time.perf_counter()
        self.spawn(
            [str(erlang / "epmd"), "-address", "127.0.0.1", "-port", str(self._epmd)],
            {**env, "ERL_LIBS": ""},
        )
        self.spawn([str(rabbit / "rabbitmq-server")], env)
        return self.wait(began)

    def wait(self, began: float) -> float:
        """Return the seconds since *began* once a client is greeted; RuntimeError after 90 s."""
        while time.perf_counter() - began < START_S:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                    line.sendall(b"AMQP\x00\x00\x09\x01")
                    if line.recv(1):
                        return time.perf_counter() - began
            except OSError:
                time.sleep(0.02)
            if self.children[-1].poll() is not None:
                break
        raise RuntimeError(f"RabbitMQ did not start: see {self.folder}/said.log")


class Redis(Process):
    """Redis: an append-only file that is synced before every answer."""

    def __init__(self, folder: Path) -> None:
        """Prepare a folder; nothing runs before :meth:`start`."""
        super().__init__(folder, free_port())
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> float:
        """Start and return the seconds until it answers (a server that is loading does not)."""
        ours = unpacked()
        program = shutil.which("redis-server") or str(ours / "usr/bin/redis-server")
        env = {**os.environ, "LD_LIBRARY_PATH": ""}
        if program.startswith(str(ours)):
            env["LD_LIBRARY_PATH"] = str(ours / "usr/lib/x86_64-linux-gnu")
        began = time.perf_counter()
        self.spawn(
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder)),
                *("--auto-aof-rewrite-percentage", "0"),
            ],
            env,
        )
        while time.perf_counter() - began < START_S:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                    line.sendall(b"PING\r\n")
                    if line.recv(64).startswith(b"+PONG"):
                        return time.perf_counter() - began
            except OSError:
                pass
            time.sleep(0.005)
        raise RuntimeError(f"Redis did not start: see {self.folder}/said.log")
