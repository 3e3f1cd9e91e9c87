"""The main journey with real processes; started by deploy/demo.sh, which sets everything up first.

What it prints after a `$` are the very commands that it runs: each can be typed by hand in another terminal. Nothing
here talks to the relay or a desk in any other way than those commands do.
"""

import argparse
import base64
import contextlib
import datetime as dt
import http.server
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parent.parent
EXAMPLES = CHECKOUT / "deploy" / "examples"
DESKS = {"VN": "vn-01", "AU": "au-01", "AU-B": "aub-01"}
START_S = 20
RELAY = """\
[relay]
service = "poc24-demo"
instance = "relay.demo/1"
[listen]
port = {port}
[observe]
port = {observed}
[store]
path = "relay.db"
free_bytes_min = 67108864
free_percent_min = 0
[directory]
root = "../../root.json"
folder = "../../repository"

"""
ENDPOINT = """
[[endpoint]]
desk = "{desk}"
handle = "{handle}"
language = "en"
channels = [{{ kind = "webhook", url = "http://127.0.0.1:{pager}/{desk}/{handle}" }}]
"""


class Broken(Exception):
    """A step of the demonstration did not work; the message says which and why."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    given = _arguments()
    begun = time.monotonic()
    demo = Demo(given.into.resolve())
    try:
        with demo.running():
            demo.set_up()
            demo.start()
            say(f"Ready after {time.monotonic() - begun:.1f} s.")
            demo.journey()
            demo.ladder()
            demo.where_to_look()
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
    parser = argparse.ArgumentParser(prog="sh deploy/demo.sh", exit_on_error=False)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--into", type=Path, default=CHECKOUT / ".demo")
    try:
        return parser.parse_args()
    except (argparse.ArgumentError, SystemExit) as wrong:
        print(f"demo: {wrong}. Type: sh deploy/demo.sh --help", file=sys.stderr)
        raise SystemExit(64) from None


class Demo:
    """One network in one folder, and the processes that run it."""

    def __init__(self, into: Path) -> None:
        """Work in *into*; nothing happens yet."""
        self.into = into
        self.passphrase = into / "passphrase"
        self.processes: list[tuple[str, subprocess.Popen[str]]] = []
        self.port = self.observed = 0

    # 1. The ceremony, once

    def describe(self) -> Path:
        """Return the file that describes the network."""
        return EXAMPLES / "demo_network.toml"

    def set_up(self) -> None:
        """Hold the key ceremony, or find the network that an earlier run left."""
        if (self.into / "complete").exists():
            title("1. The network of an earlier run is here; the freshness automaton signs it anew")
            return
        if self.into.exists():
            if any(self.into.iterdir()) and not self.passphrase.exists():
                raise Broken(
                    f"{self.into} is in use for something else. Choose another folder with --into."
                )
            shutil.rmtree(self.into)
        title(
            "1. A key ceremony: root 3 of 5, registrar 2 of 3, freshness, desks VN, AU and its backup AU-B"
        )
        self.into.mkdir(mode=0o700, parents=True)
        self.passphrase.touch(0o600)
        self.passphrase.write_text(secrets.token_urlsafe(18) + "\n")
        described = self.describe()
        secret = 16 + described.read_text().count("relay.demo/") - 1  # a ring for each instance
        into = self.into / "network"
        self.run("keys", "ceremony", "--describe", described, "--into", into, secret=secret)
        self.run("keys", "verify", "--repository", self.network / "repository")
        for desk, officer in DESKS.items():
            self.run(
                *("desk", "init", "--home", self.home(desk), "--desk", desk, "--officer", officer),
                *("--service", "poc24-demo", "--url", "ws://127.0.0.1:8424"),
                *("--root", self.network / "root.json", "--yes"),
                quiet=True,
            )
        (self.into / "complete").touch()

    @property
    def network(self) -> Path:
        """Where the ceremony wrote."""
        return self.into / "network"

    @property
    def relay(self) -> Path:
        """The relay's folder."""
        return self.network / "relay" / "relay.demo-1"

    def home(self, desk: str) -> Path:
        """Return the home folder of a desk."""
        return self.network / "homes" / desk / DESKS[desk]

    def _freshening(self) -> list[str | Path]:
        folder = self.network / "freshness"
        return [
            *("keys", "freshen", "--repository", self.network / "repository"),
            *("--ring", folder / "freshness.ring", "--credential-file", folder / "freshness.key"),
        ]

    # 2. The relay and the desks

    def start(self) -> None:
        """Start the relay and the desks, and wait until each says that it is ready."""
        title("2. The relay (embedded SQLite) and the three desks, each a process of its own")
        self.port, self.observed = _free(8424), _free(9424)
        config = self.relay / "relay.toml"
        pager = self.pager()
        endpoints = [
            ENDPOINT.format(desk=desk, handle=handle, pager=pager)
            for desk in DESKS
            for handle in ("duty", "backup")
        ]
        relay = RELAY.format(port=self.port, observed=self.observed)
        config.write_text(relay + "".join(endpoints))
        for desk in DESKS:
            path = self.home(desk) / "desk.toml"
            lines = path.read_text().splitlines()
            url = f'url = "ws://127.0.0.1:{self.port}"'
            path.write_text(
                "\n".join(url if line.startswith("url = ") else line for line in lines) + "\n"
            )
        self.spawn("freshness", *self._freshening(), "--every", "1200")
        for desk in DESKS:
            self.spawn(f"desk-{desk}", "desk", "serve", "--home", self.home(desk))
        if self._stale():
            signed = self.into / "logs" / "freshness.log"
            self._until(lambda: "is signed" in signed.read_text(), "the freshness automaton")
        self.spawn("relay", "relay", "serve", "--config", config)
        self._until(lambda: _answers(f"http://127.0.0.1:{self.observed}/readyz"), "the relay")
        for desk in DESKS:
            self._until(lambda name=desk: self._connected(name), f"desk {desk}")  # type: ignore[misc]
        say(f"relay  ws://127.0.0.1:{self.port}   desks {', '.join(DESKS)} connected")

    def _stale(self) -> bool:
        """Whether what an earlier run signed is about to expire, so that the relay must wait for a newer timestamp."""
        stamp = json.loads((self.network / "repository" / "timestamp.json").read_text())
        expires = dt.datetime.fromisoformat(stamp["signed"]["expires"])
        return expires < dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)

    def _until(self, so: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + START_S
        while not so():
            self._alive()
            if time.monotonic() > until:
                raise Broken(f"Not ready after {START_S} s: {what}. See {self.into / 'logs'}.")
            time.sleep(0.02)

    def _connected(self, desk: str) -> bool:
        """Ask a running desk over its socket, as `desk status` does, but without starting a Python for it."""
        with contextlib.suppress(OSError, ValueError):
            status = self._ask(desk, "status")
            return bool(status["connected"] and status["prekeys_until"])
        return False

    def _ask(self, desk: str, verb: str, **arguments: object) -> dict[str, Any]:
        question = {"arguments": arguments, "verb": verb}
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(os.path.relpath(self.home(desk) / "control.sock"))
            line.sendall(
                json.dumps(question, separators=(",", ":"), sort_keys=True).encode() + b"\n"
            )
            with line.makefile("rb") as answers:
                return dict(json.loads(answers.readline())["result"])

    # 3 and 4. The journey

    def journey(self) -> None:
        """Send, deliver, acknowledge, answer; VN watches meanwhile."""
        watching = self.watch("VN")
        title(
            "3. VN sends an urgent preservation request and a log, sealed for AU's devices, VN's own and the backup's"
        )
        request = EXAMPLES / "preservation_request.json"
        sent = self.act(
            *("VN", "send", request, "--to", "AU", "--priority", "urgent", "--dated-now", "--yes"),
            *("--attach", EXAMPLES / "login_log.txt", "--until", "delivered", "--wait", "20"),
        )
        msg = sent["msg"][:10]
        title("4. AU's device has delivered it; AU's officer opens, acknowledges and answers")
        self.look("AU", "inbox")
        self.look("AU", "show", msg)
        saved = self.into / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir()
        self.look("AU", "save", msg, "--to", str(saved), "--wait", "20")
        self.act("AU", "acknowledge", msg)
        answered = self.act(
            "AU", "answer", msg, "--preserved-until", _days(90), "--order", "PO-2026-0417", "--yes"
        )
        self.look("VN", "show", answered["msg"][:10])
        watching.terminate()
        title(
            "5. What happened, as each desk re-derives it from statements that it verified itself"
        )
        self.look("VN", "timeline", msg)
        self.look("AU", "timeline", msg)

    # 6. The ladder

    def ladder(self) -> None:
        """Two emergencies to a desk whose people sleep: the backup desk answers one, and nobody the other."""
        title(
            "6. Two emergencies while AU's people sleep: pages, the backup desk, and at last the proof of silence"
        )
        watching = self.watch("VN")
        request = EXAMPLES / "emergency_request.json"
        asked = ("send", request, "--to", "AU", "--priority", "emergency", "--dated-now", "--yes")
        first = self.act("VN", *asked)["msg"][:10]
        second = self.act("VN", *asked)["msg"][:10]
        say(
            "Nobody at AU signs. This desk's ladder takes 20 seconds (deploy/examples/demo_network.toml)."
        )
        self._until(lambda: first in self._inbox("AU-B"), "the backup desk's stage")
        self.look("AU-B", "inbox")
        self.act("AU-B", "acknowledge", first)
        self.act("AU-B", "answer", first, "--preserved-until", _days(90), "--yes")
        self._until(lambda: "exhausted" in self._steps("VN", second), "the proof of silence")
        watching.terminate()
        title("7. The first: answered by AU-B. The second: a signed notice, and whom to call now")
        self.look("VN", "timeline", first)
        self.look("VN", "timeline", second)
        self.look("VN", "phone", "AU")

    def _inbox(self, desk: str) -> list[str]:
        """Return the short ids of what waits at a desk; asked quietly, again and again."""
        found = self._ask(desk, "inbox", all=False)
        return [one["msg"][:10] for one in found["messages"]]

    def _steps(self, desk: str, msg: str) -> list[str]:
        found = self._ask(desk, "timeline", msg=msg)
        return [line["what"] for line in found["lines"]]

    def pager(self) -> int:
        """Start what AU's duty officer would carry: a real receiver of pages. Return its port."""

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                payload = json.loads(body)["payload"]
                page = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
                told = {name: page[name] for name in ("priority", "code", "count") if name in page}
                words = "  ".join(f"{name} {value}" for name, value in told.items())
                print(f"    {self.path.split('/')[1]}'s pager | {words}", flush=True)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing on standard error."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    def watch(self, desk: str) -> subprocess.Popen[str]:
        """Show what a desk sees as it happens, beside everything else."""
        command = ["desk", "watch", "--home", self.home(desk)]
        say(_shown(command) + "   (its lines are marked below)")
        process = self._popen(command, stdout=subprocess.PIPE)

        def show() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"    {desk} sees | {line.rstrip()}", flush=True)

        threading.Thread(target=show, daemon=True).start()
        self.processes.append((f"watch-{desk}", process))
        return process

    # 5. Afterwards

    def where_to_look(self) -> None:
        """Say what is there now."""
        title("Where to look next")
        homes = _short(self.network / "homes")
        print(
            f"  metrics    http://127.0.0.1:{self.observed}/metrics\n"
            f"  health     http://127.0.0.1:{self.observed}/readyz\n"
            f"  a desk     {_short(BIN / 'desk')} inbox --all --home {homes}/AU/au-01\n"
            f"  the relay  {_short(BIN / 'relay')} doctor --config {_short(self.relay / 'relay.toml')}\n"
            f"  logs       {_short(self.into / 'logs')}\n"
            f"  officers   their passphrase is the line in {_short(self.passphrase)}"
        )

    def wait(self) -> None:
        """Leave everything running until Ctrl-C."""
        print("\nEverything runs until you press Ctrl-C.", flush=True)
        while True:
            self._alive()
            time.sleep(0.5)

    # Processes

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Stop every process at the end, whatever the end is."""
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
        ):  # a closed terminal ends it too
            signal.signal(number, signal.default_int_handler)
        try:
            yield
        finally:
            for _name, process in reversed(self.processes):
                process.terminate()
            for _name, process in self.processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()

    def spawn(self, name: str, *command: str | Path) -> None:
        """Start a process that stays; what it says goes to a log."""
        logs = self.into / "logs"
        logs.mkdir(exist_ok=True)
        say(_shown(command) + " &")
        with (logs / f"{name}.log").open("w") as log:
            self.processes.append((name, self._popen(command, stdout=log, stderr=log)))

    def _popen(self, command: object, **more: object) -> "subprocess.Popen[str]":
        words = _words(command)
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [BIN / words[0], *words[1:]],
            cwd=CHECKOUT,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **more,
        )

    def _alive(self) -> None:
        for name, process in self.processes:
            if not name.startswith("watch") and process.poll() is not None:
                log = self.into / "logs" / f"{name}.log"
                last = log.read_text().strip().splitlines()[-3:] if log.exists() else []
                raise Broken(
                    "\n".join([f"{name} has ended with exit code {process.returncode}:", *last])
                )

    def act(self, desk: str, verb: str, *rest: str | Path) -> dict[str, str]:
        """Run a command that an officer signs; show it as typed, return its data."""
        command = ("desk", verb, *rest, "--home", self.home(desk))
        return dict(json.loads(self.run(*command, secret=1, data=True)))

    def look(self, desk: str, verb: str, *rest: str) -> None:
        """Run a command that only looks, and show what it shows."""
        self.run("desk", verb, *rest, "--home", self.home(desk))

    def run(
        self, *command: str | Path, secret: int = 0, quiet: bool = False, data: bool = False
    ) -> str:
        """Run one command to its end. The passphrase goes by a descriptor: never argv, never the environment.

        *secret*: how many lines of it the command reads; *data*: ask for JSON and return it.
        """
        say(_shown(command))
        words = _words(command)
        arguments: list[str | Path] = [BIN / words[0], *words[1:], *(["--json"] if data else [])]
        passed: tuple[int, ...] = ()
        if secret:
            reading, writing = os.pipe()
            os.write(writing, self.passphrase.read_bytes() * secret)
            os.close(writing)
            arguments += ["--passphrase-fd", str(reading)]
            passed = (reading,)
        done = subprocess.run(
            arguments,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=passed,
            check=False,
        )
        for number in passed:
            os.close(number)
        shown = done.stderr if data else done.stdout + done.stderr
        if not quiet:
            print("".join(f"    {line}\n" for line in shown.splitlines()), end="", flush=True)
        if done.returncode:
            raise Broken(
                f"`{_shown(command)}` ended with exit code {done.returncode}.\n{done.stderr}"
            )
        return done.stdout


def _days(count: int) -> str:
    """Return the date in so many days."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=count)).date().isoformat()


def title(text: str) -> None:
    """Print the head of a step."""
    print(f"\n== {text}", flush=True)


def say(text: str) -> None:
    """Print one line of talk."""
    print(f"  {text}", flush=True)


def _shown(command: object) -> str:
    return "$ " + shlex.join(_words(command))


def _words(command: object) -> list[str]:
    """Return a command as it is typed in the checkout; short paths also fit what the name of a socket may have."""
    return [_short(word) if isinstance(word, Path) else str(word) for word in command]  # type: ignore[attr-defined]


def _short(path: Path) -> str:
    return str(path.relative_to(CHECKOUT)) if path.is_relative_to(CHECKOUT) else str(path)


def _free(wanted: int) -> int:
    """Return the wanted port of loopback, or a free one if somebody has it."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Broken("No port of 127.0.0.1 is free.")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback, http
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
