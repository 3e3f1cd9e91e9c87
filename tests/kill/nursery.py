"""Real processes, started from one that has loaded everything already: a life begins in a tenth of a second.

::

    python -m kill.nursery            reads orders on standard input, one JSON object a line:
        {"id": 7, "line": ["relay", "serve", ...], "log": PATH, "point": "relay: ...", "nth": 2, "bug": "", "tuned": {}}
    and says on standard output:
        {"id": 7, "pid": 4711} · {"id": 7, "said": "..."} · {"id": 7, "over": 9}

Each child is a fork that calls the product's own command line, as `relay serve` and `desk serve` do. Where it is to
die, and which fault is planted in it, is laid around the product from outside (kill.points, kill.bugs).
"""

import gc
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Self

Order = dict[str, Any]


def main() -> None:
    """Serve orders until standard input ends; then end whoever is left."""
    _load()
    gc.collect()
    gc.freeze()
    children: dict[int, tuple[int, int]] = {}
    waiting = selectors.DefaultSelector()
    waiting.register(0, selectors.EVENT_READ)
    os.set_blocking(0, False)
    rest = b""
    _say({"ready": True})
    while True:
        for key, _events in waiting.select():
            data = os.read(key.fd, 65536)
            if key.fd != 0:
                number, pid = children[key.fd]
                if data:
                    for line in data.decode(errors="replace").splitlines():
                        _say({"id": number, "said": line})
                    continue
                waiting.unregister(key.fd)
                os.close(key.fd)
                del children[key.fd]
                _pid, status = os.waitpid(pid, 0)
                _say({"id": number, "over": os.waitstatus_to_exitcode(status)})
                continue
            if not data:
                for _number, pid in children.values():
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, rest = (rest + data).split(b"\n")
            for asked in lines:
                order = json.loads(asked)
                fd, pid = _bear(order, list(children))
                children[fd] = order["id"], pid
                waiting.register(fd, selectors.EVENT_READ)
                _say({"id": order["id"], "pid": pid})


def _load() -> None:
    """Import what relay and desk import at their start, so that a child finds it."""
    import contextlib

    import aiohttp.web  # noqa: F401
    import kill.bugs
    import kill.points  # noqa: F401

    import relay.cli
    import relay.desk.cli
    import relay.desk.serving
    import relay.server.build  # noqa: F401

    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401


def _say(found: Order) -> None:
    os.write(1, json.dumps(found).encode() + b"\n")


def _bear(order: Order, others: list[int]) -> tuple[int, int]:
    """Fork; return where the child speaks, and its process id."""
    hearing, speaking = os.pipe()
    log = os.open(order["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    pid = os.fork()
    if pid:
        os.close(speaking)
        os.close(log)
        return hearing, pid
    code = 70
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, place in ((nothing, 0), (speaking, 1), (log, 2)):
            os.dup2(fd, place)
        for fd in (hearing, speaking, log, nothing, *others):
            os.close(fd)
        code = _live(order)
    except BaseException:  # noqa: BLE001 - whatever it was, it stands in the log of this life
        traceback.print_exc()
    finally:
        os._exit(code)


def _live(order: Order) -> int:
    """Be a relay or a desk until the end."""
    from kill import bugs, points

    who, *line = order["line"]
    for name, value in order.get("tuned", {}).items():
        points.tune(name, value)
    if order.get("bug"):
        bugs.plant(order["bug"])
    if order.get("point"):
        points.arm(order["point"], order.get("nth", 1))
    try:
        if who == "relay":
            from relay import cli

            cli.main(line)
        else:
            from relay.desk.cli import desk

            desk(line)
    except SystemExit as ended:
        sys.stdout.flush()
        return ended.code if isinstance(ended.code, int) else 70
    return 0


class Life:
    """One process, as the harness sees it."""

    def __init__(self, number: int) -> None:
        """Be expected."""
        import asyncio

        self.number = number
        self.pid = 0
        self.said: list[str] = []
        self.over: int | None = None
        self.changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it has said that it serves."""
        return any(not one.startswith("!") for one in self.said)

    @property
    def died_at(self) -> str:
        """The point at which it killed itself; "" if it did not."""
        return next((one[1:] for one in self.said if one.startswith("!")), "")

    async def until(self, so: Any, seconds: float) -> bool:
        """Return whether *so* became true of it in time."""
        import asyncio

        try:
            async with asyncio.timeout(seconds):
                while not so(self):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it still lives."""
        if self.over is None and self.pid:
            os.kill(self.pid, number)


class Nursery:
    """The harness's side: lives by number."""

    def __init__(self, folder: Path) -> None:
        """Keep every life's log in *folder*."""
        self.folder = folder
        self._lives: dict[int, Life] = {}
        self._count = 0

    async def __aenter__(self) -> Self:
        """Start the process from which all others come."""
        import asyncio

        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(root / "tests")])
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kill.nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "POC24_TRACEBACK": ""},
        )
        assert self._process.stdout is not None
        assert json.loads(await self._process.stdout.readline())["ready"]
        self._hearing = asyncio.ensure_future(self._hear())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End it, and with it everybody."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._hearing

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            life = self._lives[told["id"]]
            life.pid = told.get("pid", life.pid)
            if "said" in told:
                life.said.append(told["said"])
            if "over" in told:
                life.over = told["over"]
            life.changed.set()

    def begin(self, line: list[str], name: str, **order: Any) -> tuple[Life, Path]:
        """Let a process begin with this command line; return it and the path of its log."""
        self._count += 1
        life = self._lives[self._count] = Life(self._count)
        log = self.folder / f"{name}-{self._count:05d}.log"
        whole = {"id": self._count, "line": line, "log": str(log), **order}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(whole).encode() + b"\n")
        return life, log


if __name__ == "__main__":
    main()
