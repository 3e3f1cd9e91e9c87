"""Measures the timer engine: a million armed timers at rest, and fifty thousand that fall due in one second.

    python tests/bench/timers.py                              # all of it, some minutes
    python tests/bench/timers.py --timers 100000 --due 5000   # a smaller machine
    python tests/bench/timers.py --json                       # the figures as JSON

Every figure is the median of the runs with their spread. The store is the embedded one, on the disk of ``--folder``.
"""

import argparse
import asyncio
import io
import json
import logging
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from builders import relay_of  # noqa: E402
from builders_keys import World, profile  # noqa: E402
from prometheus_client import CollectorRegistry  # noqa: E402

from keys import suite  # noqa: E402
from relay.core import escalation  # noqa: E402
from relay.core.events import Accepted  # noqa: E402
from relay.core.message import open_message  # noqa: E402
from relay.exchange import Exchange  # noqa: E402
from relay.meter import Unmetered  # noqa: E402
from relay.server import logs  # noqa: E402
from relay.server.auditor import Auditor  # noqa: E402
from relay.server.clock import SystemClock  # noqa: E402
from relay.server.metrics import Metrics  # noqa: E402
from relay.server.ticker import Ticker  # noqa: E402
from relay.store.sqlite import SqliteStore  # noqa: E402

DESKS = 200
"""Recipient desks over which due ladders are spread."""
POLLS = 2000
TURNS = 300
CHUNK = 20_000
AHEAD_S = 3
AWAY_S = 720


@dataclass
class Figures:
    """What was measured, by name; a run adds one value to each."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Take one value of one run."""
        self.values.setdefault(name, []).append(value)

    def lines(self) -> Iterator[str]:
        """Yield the table: median and spread."""
        for name, values in self.values.items():
            middle = statistics.median(values)
            spread = f"{min(values):,.6g} to {max(values):,.6g}" if len(values) > 1 else ""
            yield f"{name:58} {middle:>12,.6g}   {spread}"


def machine(folder: Path) -> dict[str, str]:
    """Return what the figures depend on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "memory": f"{memory:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "sync of the disk, ms": f"{_sync(folder) * 1000:.2f}",
        "code": described.stdout.strip(),
    }


def _sync(folder: Path) -> float:
    took: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder) as tried:
        for _each in range(40):
            tried.write(b"\0" * 4096)
            tried.flush()
            began = time.perf_counter()
            os.fdatasync(tried.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def resident() -> float:
    """Return this process's resident memory in MiB."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        (kib,) = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return int(kib) / 1024


# A store at rest with many timers


async def fill(path: Path, count: int) -> None:
    """Make a store of *count* open messages with a timer each, due in a year; behind the back of the rules, for speed."""
    store = SqliteStore(path)
    await store.start(int(time.time()))
    await store.stop()
    due = int(time.time()) + 365 * 86_400
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for start in range(0, count, CHUNK):
            ids = [
                suite.sha256(b"%d" % number) for number in range(start, min(start + CHUNK, count))
            ]
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO message VALUES (?, ?, 1, x'00', NULL, 1)",
                [(start + place + 1, msg) for place, msg in enumerate(ids)],
            )
            connection.executemany(
                "INSERT INTO timer VALUES ('ladder', ?, 1, ?)",
                [(msg.hex(), due + place % 90_000) for place, msg in enumerate(ids)],
            )
            connection.execute("COMMIT")
    connection.close()


async def at_rest(path: Path, label: str, figures: Figures, world: World) -> None:
    """Measure what a relay costs that has nothing to do."""
    before = resident()
    store = SqliteStore(path)
    began = time.perf_counter()
    await store.start(int(time.time()))
    figures.add(f"start of the store, {label}, s", time.perf_counter() - began)
    exchange = await relay_of(world, store, world.now + 1200, start=False, prekeys=False)
    clock = SystemClock()
    log = logs.build(clock.now, level=logging.CRITICAL, stream=io.StringIO())
    metrics = Metrics(CollectorRegistry(), version="1")
    ticker, auditor = Ticker(exchange, clock, metrics, log), Auditor(exchange, clock, metrics, log)
    await ticker.turn()
    for name, what, times in (
        ("poll for what is due", store.next_due, POLLS),
        ("whole turn of the idle loop", ticker.turn, TURNS),
        ("counts for the metrics", store.counts, 20),
    ):
        took = await _timed(what, times)
        figures.add(f"{name}, {label}, p50, us", statistics.median(took) * 1e6)
        figures.add(f"{name}, {label}, p99, us", sorted(took)[len(took) * 99 // 100] * 1e6)
    stalls: list[float] = []
    watching = asyncio.ensure_future(_watch(store, stalls))
    began = time.perf_counter()
    await auditor.look()
    figures.add(f"look of the auditor, {label}, s", time.perf_counter() - began)
    watching.cancel()
    figures.add(f"longest read that waited for it, {label}, ms", max(stalls, default=0.0) * 1e3)
    figures.add(f"resident memory over a store that is closed, {label}, MiB", resident() - before)
    figures.add(f"file, {label}, MiB", path.stat().st_size / 2**20)
    await store.stop()


async def _timed(what: Callable[[], Awaitable[object]], times: int) -> list[float]:
    took: list[float] = []
    for _each in range(times):
        began = time.perf_counter()
        await what()
        took.append(time.perf_counter() - began)
    return took


async def _watch(store: SqliteStore, stalls: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await store.head("AU")
        stalls.append(time.perf_counter() - began)
        await asyncio.sleep(0.001)


# Many that fall due at once


class Firing(Unmetered):
    """Notes when each timer was done, on the relay's own clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Read *clock* for what *fired* reports only in whole seconds."""
        self._clock = clock
        self.at: list[float] = []
        self.results: dict[str, int] = {}

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Take one."""
        self.at.append(self._clock())
        self.results[result] = self.results.get(result, 0) + 1


async def entered(exchange: Exchange, count: int, accepted: int) -> list[str]:
    """Commit *count* urgent messages, all accepted in one second, so that all stages fall due together."""
    drawn = escalation.plan(
        profile(),
        priority="urgent",
        mode="actual",
        accepted=accepted,
        ack_by=0,
        backup="AU-B",
        minimum_gap=60,
    )

    async def one(number: int) -> str:
        envelope = b"envelope %d" % number
        msg = suite.sha256(envelope).hex()
        desk = f"D{number % DESKS:03d}"
        event = Accepted(
            *(msg, "VN", desk, "AU-B", "urgent", "actual", accepted, accepted + 3600),
            *(accepted + 86_400, len(envelope), "h", "d", "s", "a", "", accepted),
        )
        assert await exchange._ledger.commit(open_message(event, drawn), 0, (), envelope)
        return msg

    made: list[str] = []
    for start in range(0, count, 512):
        made += await asyncio.gather(*map(one, range(start, min(start + 512, count))))
    return made


async def all_at_once(
    folder: Path, count: int, figures: Figures, world: World, *, away: int
) -> None:
    """Let *count* ladders fall due in one second, with the relay there (*away* 0) or long gone, and watch them fire."""
    label = f"{count:,} due at once" + (f" {away // 60} min ago" if away else "")
    store = SqliteStore(folder / f"{away}-{time.monotonic_ns()}.db")
    begun, wall = time.monotonic(), float(world.now + 1200)

    def now() -> float:
        return wall + time.monotonic() - begun

    await store.start(int(now()))
    exchange = await relay_of(world, store, int(now()), start=False, reachable=("duty",))
    began = time.perf_counter()
    msgs = await entered(exchange, count, int(now()))
    figures.add(f"{label}: messages entered a second", count / (time.perf_counter() - began))
    due = await store.next_due()
    assert due is not None
    wall += due - AHEAD_S - now() + (AHEAD_S + away if away else 0)
    clock = SystemClock(running=time.monotonic, wall=now, trusted=lambda: False, run="")
    firing = Firing(now)
    exchange.deadlines._meter = firing
    log = logs.build(clock.now, level=logging.WARNING, stream=io.StringIO())
    ticker = Ticker(exchange, clock, Metrics(CollectorRegistry(), version="1"), log)
    base = now() if away else float(due)
    loop = asyncio.ensure_future(ticker.run())
    while len(firing.at) < count:
        await asyncio.sleep(0.05)
        if loop.done():
            await loop
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    late = sorted(at - base for at in firing.at)
    assert firing.results == {"fired": count}, firing.results
    assert late[0] >= 0, "one was early"
    for msg in msgs:
        kinds = [kept.kind for kept in await store.statements(msg)]
        assert kinds == ["escalated"], kinds
    pages = (await store.counts())["pages_ready"]
    assert pages == count, pages
    for name, place in (("p50", 0.5), ("p99", 0.99), ("last", 1.0)):
        figures.add(f"{label}: lateness {name}, s", late[min(count - 1, int(count * place))])
    figures.add(f"{label}: fired a second", count / late[-1])
    figures.add(f"{label}: resident memory, MiB", resident())
    await store.stop()


# All of it


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--timers", type=int, default=1_000_000)
    parser.add_argument("--due", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fill", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fill is not None:
        asyncio.run(fill(args.fill, args.timers))
        return 0
    figures, world = Figures(), World()
    with tempfile.TemporaryDirectory(prefix="poc24-bench-", dir=args.folder) as place:
        folder = Path(place)
        about = machine(folder)
        for count in (min(1000, args.timers), args.timers):
            path = folder / f"{count}.db"
            # in a process of its own, so that what filling takes is not counted as memory of the relay
            again = [sys.executable, __file__, "--fill", str(path), "--timers", str(count)]
            subprocess.run(again, check=True)
            for _run in range(args.runs):
                asyncio.run(at_rest(path, f"{count:,} timers", figures, world))
            path.unlink()
        for away in (0, AWAY_S):
            for _run in range(args.runs):
                asyncio.run(all_at_once(folder, args.due, figures, world, away=away))
    if args.json:
        print(json.dumps({"machine": about, "figures": figures.values}, indent=2))
        return 0
    for name, value in about.items():
        print(f"{name:24} {value}")
    print(f"\n{'':58} {'median':>12}   spread of {args.runs} runs")
    for line in figures.lines():
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
