"""Two relays over one Redis with Sentinel, with real processes on loopback; started by deploy/demo.sh --cluster.

A Redis master, two replicas, three Sentinels, two instances of the relay, desks on different instances. In the middle
of the traffic the master is killed, then one of the relays; at the end every message is at its desk, once.
"""

import argparse
import socket
import sys
from functools import partial
from pathlib import Path

from demo import (
    CHECKOUT,
    DESKS,
    EXAMPLES,
    Broken,
    Demo,
    _answers,
    _free,
    _short,
    say,
    title,
)

INSTANCES = ("relay.demo/1", "relay.demo/2")
MESSAGES = 8
DOWN_MS = 1500
RELAY = """\
[relay]
service = "poc24-demo"
instance = "{instance}"
[listen]
port = {port}
[observe]
port = {observed}
[store]
path = "relay.db"
blobs = "../blobs"
[redis]
sentinels = [{sentinels}]
replicas = 2
level = "available"
[directory]
root = "../../root.json"
folder = "../../repository"
"""
REDIS = (
    "--appendonly yes --appendfsync always --no-appendfsync-on-rewrite no --maxmemory-policy noeviction"
    " --save '' --bind 127.0.0.1 --daemonize no"
).replace("''", "")


def main() -> int:
    """Run the demonstration; return the exit code."""
    given = _arguments()
    demo = Cluster(given.into.resolve())
    try:
        with demo.running():
            demo.set_up()
            demo.start()
            demo.traffic()
            demo.move()
            if not given.once:
                demo.wait()
    except Broken as broken:
        print(f"demo: {broken}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    print("Everything is stopped. The network stays in", _short(demo.into))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sh deploy/demo.sh --cluster", exit_on_error=False)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--into", type=Path, default=CHECKOUT / ".demo-cluster")
    try:
        return parser.parse_args()
    except (argparse.ArgumentError, SystemExit) as wrong:
        print(f"demo: {wrong}. Type: sh deploy/demo.sh --help", file=sys.stderr)
        raise SystemExit(64) from None


class Cluster(Demo):
    """One network with two instances of its relay."""

    def describe(self) -> Path:
        """Return the description of a network whose relay has two instances."""
        text = (EXAMPLES / "demo_network.toml").read_text()
        names = ", ".join(f'"{one}"' for one in INSTANCES)
        path = self.into / "network.toml"
        path.write_text(text.replace('instances = ["relay.demo/1"]', f"instances = [{names}]"))
        return path

    def start(self) -> None:
        """Start Redis, the Sentinels, both relays and the desks."""
        title("2. Redis: a master, two replicas, three Sentinels")
        self.redis = [_free(port) for port in (6401, 6402, 6403)]
        self.sentinels = [_free(port) for port in (26401, 26402, 26403)]
        for place in range(len(self.redis)):
            self._redis(place, f"--replicaof 127.0.0.1 {self.redis[0]}" if place else "")
        for place, port in enumerate(self.sentinels):
            folder = self._folder(f"sentinel-{place + 1}")
            config = folder / "sentinel.conf"
            config.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
                f"sentinel monitor poc24 127.0.0.1 {self.redis[0]} 2\n"
                f"sentinel down-after-milliseconds poc24 {DOWN_MS}\nsentinel failover-timeout poc24 4000\n"
            )
            self.spawn(f"sentinel-{place + 1}", "redis-server", config, "--sentinel")
        self._until(lambda: self._replicas() == "2", "the replicas and the Sentinels")
        title("3. Two relays over it, and the desks: VN at the first, AU and AU-B at the second")
        self.spawn("freshness", *self._freshening(), "--every", "1200")
        ports = [_free(port) for port in (8424, 8425)]
        self.health = [_free(port) for port in (9424, 9425)]
        (self.network / "relay" / "blobs").mkdir(exist_ok=True)
        for place, instance in enumerate(INSTANCES):
            sentinels = ", ".join(f'"127.0.0.1:{port}"' for port in self.sentinels)
            config = self.network / "relay" / instance.replace("/", "-") / "relay.toml"
            text = RELAY.format(
                instance=instance,
                port=ports[place],
                observed=self.health[place],
                sentinels=sentinels,
            )
            config.write_text(text)
            self.spawn(f"relay-{place + 1}", "relay", "serve", "--config", config)
        for place, port in enumerate(self.health, 1):
            url = f"http://127.0.0.1:{port}/readyz"
            self._until(partial(_answers, url), f"relay {place}")
        for desk in DESKS:
            first, second = ports if desk == "VN" else ports[::-1]
            path = self.home(desk) / "desk.toml"
            url = f'url = "ws://127.0.0.1:{first} ws://127.0.0.1:{second}"'
            lines = path.read_text().splitlines()
            path.write_text(
                "\n".join(url if line.startswith("url = ") else line for line in lines) + "\n"
            )
            self.spawn(f"desk-{desk}", "desk", "serve", "--home", self.home(desk))
        for desk in DESKS:
            self._until(partial(self._connected, desk), f"desk {desk}")
        say(f"relays on ports {ports[0]} and {ports[1]}; desks {', '.join(DESKS)} connected")

    def _folder(self, name: str) -> Path:
        folder = self.into / name
        folder.mkdir(exist_ok=True)
        return folder

    def _redis(self, place: int, more: str) -> None:
        folder = self._folder(f"redis-{place + 1}")
        words = [*REDIS.split(" "), *more.split()]
        words = [word for word in words if word]
        words.insert(words.index("--save") + 1, "")
        self.spawn(
            f"redis-{place + 1}",
            "redis-server",
            "--port",
            str(self.redis[place]),
            "--dir",
            folder,
            *words,
        )

    def _sentinel(self, *words: str) -> str:
        """Ask the first Sentinel in its own words; "" while it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.sentinels[0]), 2) as line:
                parts = ["SENTINEL", *words]
                asked = f"*{len(parts)}\r\n" + "".join(f"${len(one)}\r\n{one}\r\n" for one in parts)
                line.sendall(asked.encode())
                return line.recv(65536).decode()
        except OSError:
            return ""

    def _replicas(self) -> str:
        lines = self._sentinel("MASTER", "poc24").split("\r\n")
        return lines[lines.index("num-slaves") + 2] if "num-slaves" in lines else ""

    def _master(self) -> int:
        lines = self._sentinel("GET-MASTER-ADDR-BY-NAME", "poc24").split("\r\n")
        return int(lines[4]) if len(lines) > 4 else 0

    # The traffic

    def traffic(self) -> None:
        """Send while the master dies."""
        title(f"4. VN sends {MESSAGES} requests to AU; after the third the master is killed")
        sent = []
        for number in range(MESSAGES):
            if number == 3:
                self.kill(f"redis-{self.redis.index(self._master()) + 1}", "the master of Redis")
            sent.append(self.send())
        self._until(lambda: self._master() not in (0, self.redis[0]), "another master")
        say(f"The Sentinels have made the server on port {self._master()} the master.")
        self.count(sent)
        self.sent = sent

    def send(self) -> str:
        """Send one request; return its short id."""
        request = EXAMPLES / "preservation_request.json"
        asked = ("send", request, "--to", "AU", "--priority", "urgent", "--dated-now", "--yes")
        return self.act("VN", *asked, "--until", "accepted", "--wait", "60")["msg"][:10]

    def count(self, sent: list[str]) -> None:
        """Compare what was accepted with what AU has: each once."""
        self._until(lambda: set(sent) <= set(self._inbox("AU")), "the last message at AU")
        there = self._inbox("AU")
        lost = [msg for msg in sent if msg not in there]
        twice = [msg for msg in sent if there.count(msg) > 1]
        say(
            f"Accepted: {len(sent)}. At AU: {len(set(there) & set(sent))}. Lost: {len(lost)}. Twice: {len(twice)}."
        )
        if lost or twice:
            raise Broken(f"lost {lost}, twice {twice}")

    def move(self) -> None:
        """Kill the relay that VN is connected to; its desk goes to the other one."""
        title(
            "5. The relay that VN is connected to is killed, too; VN's desk goes to the other one"
        )
        self.kill("relay-1", "the first relay")
        self.sent.append(self.send())
        self.count(self.sent)
        self.look("VN", "timeline", self.sent[-1])
        for place, port in enumerate(self.health[1:], 2):
            say(f"health of relay {place}: http://127.0.0.1:{port}/readyz")

    def kill(self, name: str, what: str) -> None:
        """Kill a process without a word (SIGKILL), and forget it."""
        process = next(process for known, process in self.processes if known == name)
        self.processes = [(known, other) for known, other in self.processes if known != name]
        process.kill()
        process.wait()
        say(f"$ kill -9 {process.pid}    # {what}")


if __name__ == "__main__":
    sys.exit(main())
