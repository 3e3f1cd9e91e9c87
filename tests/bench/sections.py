"""What tests/bench/journeys.py measures, section by section; each adds values of one run to the figures."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import uvloop
from bench.lines import amqp, command, framed, publication, quorum, resp
from bench.loads import Load, RelayLoad, Seat, Taken
from bench.network import Letter, Network, Relay
from bench.peer_loads import AiormqLoad, RabbitLoad, RedisLoad
from bench.peers import Rabbit, Redis, cpu_s, rss_mib
from bench.timers import Figures

from relay.wire import frames
from relay.wire.frames import Frame, Type

RATE = 200.0
RECEIPT_BYTES = 1500
"""As long as `delivered` and `acknowledged` together."""
IN_FLIGHT = 64
HERE = Path(__file__).parent
Server: TypeAlias = Relay | Rabbit | Redis
Opened: TypeAlias = Callable[[Load], Awaitable[Any]]


@dataclass
class Bench:
    """What all sections stand on."""

    folder: Path
    network: Network
    letters: list[Letter]
    figures: Figures
    spoken: list[str] = field(default_factory=list)
    place: int = 0

    def __post_init__(self) -> None:
        """Make what the peers carry: the same envelopes and submissions, and receipts of the same length."""
        self.bodies = [
            number.to_bytes(4, "big")
            + self.network.submission(one, self.network.now)
            + one.envelope
            for number, one in enumerate(self.letters)
        ]
        self.receipts = [
            number.to_bytes(4, "big") + bytes(RECEIPT_BYTES) for number in range(len(self.letters))
        ]

    def fresh(self) -> Path:
        """Return an empty folder."""
        self.place += 1
        path = self.folder / str(self.place)
        path.mkdir()
        return path

    def relay(self, folder: Path | None = None, line: list[str] | None = None) -> Relay:
        """Return a relay that is not started, in a new folder unless one is given."""
        if folder is None:
            folder = self.fresh()
            self.network.write(folder)
        return Relay(folder, line)

    def load(self, kind: str, devices: int = 1) -> Load:
        """Return the load for a kind of server."""
        count = len(self.network.senders)
        if kind == "relay":
            return RelayLoad(self.network, self.letters, devices)
        made = {"RabbitMQ": RabbitLoad, "RabbitMQ by aiormq": AiormqLoad, "Redis": RedisLoad}[kind]
        return made(self.bodies, self.receipts, count)

    def server(self, kind: str) -> Server:
        """Return a server of a kind, in an empty folder, not started."""
        if kind == "relay":
            return self.relay()
        return Redis(self.fresh()) if kind == "Redis" else Rabbit(self.fresh())

    def say(self, text: str) -> None:
        """Say on standard error what is going on."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and end it whatever happens."""
    try:
        server.start()
        yield server
    finally:
        server.end(signal.SIGKILL if isinstance(server, Rabbit) else signal.SIGTERM)


def opened(load: Load, port: int, work: Opened) -> Any:
    """Run *work* with the load's lines open."""

    async def run() -> Any:
        await load.open(port)
        try:
            return await work(load)
        finally:
            if isinstance(load, AiormqLoad):
                await load.shut()
            else:
                load.close()

    return uvloop.run(run())


def percentile(values: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3


# Speed


def speed(bench: Bench, kind: str, devices: int = 1) -> None:
    """Count journeys a second in a closed loop."""
    name = kind if devices == 1 else f"{kind}, {devices} devices"
    bench.say(f"journeys: {name}")
    count = len(bench.letters)
    warm = count // 6

    async def work(load: Load) -> tuple[Taken, float, float]:
        await load.closed(0, warm)
        server_s, own_s = cpu_s(server.pids), time.process_time()
        taken = await load.closed(warm, count)
        return taken, cpu_s(server.pids) - server_s, time.process_time() - own_s

    with running(bench.server(kind)) as server:
        taken, server_s, own_s = opened(bench.load(kind, devices), server.port, work)
    done, add = len(taken.journeys), bench.figures.add
    add(f"journeys/s, {name}", done / taken.seconds)
    add(f"server us/journey, {name}", server_s / done * 1e6)
    add(f"server cores, {name}", server_s / taken.seconds)
    add(f"measuring side us/journey, {name}", own_s / done * 1e6)
    add(f"accepted p50, 64 in flight, {name}, ms", percentile(taken.accepted, 0.5))
    add(f"journey p50, 64 in flight, {name}, ms", percentile(taken.journeys, 0.5))


def pace(bench: Bench, kind: str, seconds: float) -> None:
    """Measure how long things take at 200 journeys a second, from when each was to begin."""
    bench.say(f"at {RATE:.0f}/s: {kind}")
    warm = min(200, len(bench.letters) // 4)
    count = min(len(bench.letters), warm + int(RATE * seconds))

    async def work(load: Load) -> tuple[Taken, float]:
        await load.paced(0, warm, RATE)
        before = cpu_s(server.pids)
        return await load.paced(warm, count, RATE), cpu_s(server.pids) - before

    with running(bench.server(kind)) as server:
        taken, server_s = opened(bench.load(kind), server.port, work)
    for what, values in (("accepted", taken.accepted), ("journey", taken.journeys)):
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            bench.figures.add(f"{what} {label} at 200/s, {kind}, ms", percentile(values, share))
    bench.figures.add(f"server us/journey at 200/s, {kind}", server_s / len(taken.journeys) * 1e6)


def steps(bench: Bench) -> None:
    """Find out what a journey costs the relay, step by step."""
    bench.say("journeys: relay with a stop-watch")
    count = len(bench.letters)
    warm = count // 6
    out = bench.fresh() / "steps.json"
    relay = bench.relay(line=[sys.executable, str(HERE / "stepped.py"), str(out)])

    async def work(load: Load) -> None:
        await load.closed(0, warm)
        os.kill(relay.pids[0], signal.SIGUSR1)
        await load.closed(warm, count)
        os.kill(relay.pids[0], signal.SIGUSR2)
        for _each in range(200):
            if out.exists():
                break
            await asyncio.sleep(0.05)

    with running(relay):
        opened(bench.load("relay"), relay.port, work)
    found = json.loads(out.read_text("utf-8"))
    done = count - warm
    for step, spent in sorted(found["spent"].items()):
        bench.figures.add(f"relay us/journey: {step}", spent / done * 1e6)
    rest = found["total"] - sum(found["spent"].values())
    bench.figures.add("relay us/journey: loop, tasks, the rest", rest / done * 1e6)
    bench.figures.add("relay us/journey: all, with the stop-watch", found["total"] / done * 1e6)


# Acceptance alone, for what stays


class Accepting(RelayLoad):
    """Submits letters that nobody fetches; a journey ends with `accepted`."""

    def __init__(self, network: Network, sample: bytes, first: int, count: int) -> None:
        """Submit the letters from number *first* on."""
        super().__init__(network, [], 0)
        self.count, self._first, self._sample = count, first, sample
        self._from = [0.0] * count
        self.accepted: list[str] = []
        self._msgs: dict[int, str] = {}

    def submit(self, number: int) -> None:
        """Make one and send it."""
        letter = self.network.waiting(self._sample, self._first + number)
        self._msgs[number] = letter.msg
        body = frames.join(self.network.submission(letter, int(time.time())), letter.envelope)
        frame = frames.encode(Frame(Type.SUBMIT, number + 1, body))
        self._sent[number % self.senders].line.send(framed(frame))

    def msg(self, number: int) -> str:
        """Return the id of a letter."""
        return self._msgs[number]

    def is_answered(self, number: int) -> None:
        """Note it as accepted, and go on."""
        self.accepted.append(self._msgs.pop(number))
        self.is_accepted(number)
        self.is_done(number)


def _accept(bench: Bench, server: Server, first: int, count: int) -> tuple[float, list[str]]:
    """Let *count* letters be accepted; return how many a second, and their ids."""
    load = Accepting(bench.network, bench.letters[0].envelope, first, count)

    async def work(_load: Load) -> Taken:
        return await load.closed(0, count)

    taken: Taken = opened(load, server.port, work)
    return count / taken.seconds, load.accepted


def _rest(server: Server) -> None:
    """Wait until a server does nothing: a relay counts what is open beside its work (relay.server.stock)."""
    for _each in range(120):
        before = cpu_s(server.pids)
        time.sleep(1)
        if cpu_s(server.pids) - before < 0.1:
            return


def retained(bench: Bench, count: int, runs: int) -> None:
    """Compare a relay with *count* undelivered messages with an empty one: speed, memory, start."""
    bench.say(f"filling a relay with {count:,} messages")
    add, label = bench.figures.add, f"{count:,} undelivered"
    full = bench.relay()
    with running(full):
        rate, _msgs = _accept(bench, full, 0, count)
        add(f"accepted/s while filling up to {label}", rate)
        add(f"resident memory after filling, {label}, MiB", rss_mib(full.pids))
    size = sum(one.stat().st_size for one in full.folder.glob("relay.db*")) / 2**20
    add(f"file, {label}, MiB", size)
    at = count
    some = max(500, min(3000, count // 20))
    for run in range(runs):
        bench.say(f"empty against full, {run + 1} of {runs}")
        empty = bench.relay()
        empty.start()  # makes the store: what is compared is a start, not a foundation
        empty.end()
        for name, relay in (("empty", empty), (label, full)):
            add(f"start to ready, {name}, s", relay.start())
            try:
                add(f"resident memory after the start, {name}, MiB", rss_mib(relay.pids))
                _rest(relay)
                rate, _msgs = _accept(bench, relay, at, some)
                add(f"accepted/s, {name}", rate)
                add(f"resident memory under load, {name}, MiB", rss_mib(relay.pids))
            finally:
                relay.end(signal.SIGKILL if run % 2 else signal.SIGTERM)
        at += some


def idle(bench: Bench, count: int) -> None:
    """Measure the memory of connected devices that do nothing."""
    bench.say(f"{count:,} idle devices")
    desks = max(1, count // 25)  # a desk has at most 31
    network = Network(desks, devices=count // desks)
    folder = bench.fresh()
    network.write(folder)
    with running(Relay(folder)) as relay:
        load = RelayLoad(network, [], 0)
        load._sent = []

        async def connect(_load: Load) -> tuple[float, float]:
            before = rss_mib(relay.pids)
            for desk in network.senders:
                for number in range(count // desks):
                    seat = Seat(load, desk, number)
                    load.recipients.append(seat)  # type: ignore[arg-type]
                    await seat.open(relay.port)
            await asyncio.sleep(6)  # a sweep has passed
            return before, rss_mib(relay.pids)

        before, after = opened(load, relay.port, connect)
    each = (after - before) * 1024 / (count // desks * desks)
    bench.figures.add(f"resident memory per idle device at {count:,}, KiB", each)


# kill -9


def kill(bench: Bench, kind: str, dice: random.Random) -> tuple[int, int]:
    """Kill a server at a random moment of full load; return how many it had accepted, and how many it lost."""
    bench.say(f"kill -9: {kind}")
    server = bench.server(kind)
    after = dice.uniform(2.0, 5.0)
    with running(server):
        sure = uvloop.run(_filled(bench, kind, server, after))
        if isinstance(server, Relay):
            server.end(signal.SIGKILL)
        server.start()
        there = uvloop.run(_found(bench, kind, server, len(sure)))
    return len(sure), len(sure - there)


async def _filled(bench: Bench, kind: str, server: Server, after: float) -> set[str]:
    """Send until the server is killed; return what it said was durable."""
    sure: set[str] = set()
    lost = asyncio.get_running_loop().create_future()

    def cut() -> None:
        for pid in reversed(server.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if isinstance(server, Rabbit | Redis):
            server.end(signal.SIGKILL)
        lost.set_result(None)

    if kind == "relay":
        load = Accepting(bench.network, bench.letters[0].envelope, 0, 1_000_000)
        await load.open(server.port)
        running_load = asyncio.ensure_future(load.closed(0, load.count))
        asyncio.get_running_loop().call_later(after, cut)
        await lost
        await asyncio.sleep(0.5)
        running_load.cancel()
        load.close()
        return set(load.accepted)
    send = _senders_of(bench, kind, server, sure)
    await send
    asyncio.get_running_loop().call_later(after, cut)
    await lost
    await asyncio.sleep(0.5)
    return sure


async def _senders_of(bench: Bench, kind: str, server: Server, sure: set[str]) -> None:
    """Let 64 lines publish, each when its last one was confirmed."""
    body, counter = bench.bodies[0][4:], [0]

    def next_one() -> tuple[str, bytes]:
        counter[0] += 1
        return str(counter[0]), counter[0].to_bytes(4, "big") + body

    for _line in range(IN_FLIGHT):
        if kind == "Redis":
            _redis_sender(await resp(server.port), next_one, sure)
        else:
            await _rabbit_sender(server.port, next_one, sure)


def _redis_sender(line: Any, next_one: Callable[[], tuple[str, bytes]], sure: set[str]) -> None:
    def go() -> None:
        name, data = next_one()

        def added(_reply: Any) -> None:
            sure.add(name)
            go()

        line.tell(command(b"XADD", b"mail", b"*", b"b", data), added)

    go()


async def _rabbit_sender(
    port: int, next_one: Callable[[], tuple[str, bytes]], sure: set[str]
) -> None:
    names: list[str] = []

    def confirmed(_tag: int, _all: bool) -> None:  # noqa: FBT001
        sure.update(names)
        names.clear()
        go()

    line = await amqp(port, confirmed=confirmed)
    await quorum(line, "mail")

    def go() -> None:
        name, data = next_one()
        names.append(name)
        line.transport.write(publication("mail", data))

    go()


async def _found(bench: Bench, kind: str, server: Server, expected: int) -> set[str]:
    """Return what a server that was started again still has."""
    if kind == "relay":
        return await _in_mailboxes(bench, server, expected)
    there: set[str] = set()
    if kind == "Redis":
        line = await resp(server.port)
        at = b"-"
        while entries := await line.ask(b"XRANGE", b"mail", at, b"+", b"COUNT", b"256"):
            there.update(str(int.from_bytes(data[:4], "big")) for _place, (_b, data) in entries)
            at = b"(" + entries[-1][0]
        line.transport.abort()
        return there

    def delivered(tag: int, data: bytes) -> None:
        there.add(str(int.from_bytes(data[:4], "big")))
        drained.ack(tag)

    drained = await amqp(server.port, delivered)
    drained.consume("mail", 512)
    await _until_quiet(lambda: len(there), expected)
    drained.transport.abort()
    return there


async def _in_mailboxes(bench: Bench, server: Server, expected: int) -> set[str]:
    there: set[str] = set()
    load = RelayLoad(bench.network, [], 0)
    seats = [Seat(load, desk) for desk in bench.network.stores]
    for seat in seats:
        seat.notified = there.add  # type: ignore[assignment,method-assign]
        await seat.open(server.port)
    await _until_quiet(lambda: len(there), expected)
    for seat in seats:
        seat.line.transport.abort()
    return there


async def _until_quiet(count: Callable[[], int], expected: int) -> None:
    """Return once all that is expected has come, or nothing more has come for five seconds."""
    quiet, last = 0.0, -1
    while count() < expected and quiet < 5:
        await asyncio.sleep(0.1)
        quiet = quiet + 0.1 if count() == last else 0.0
        last = count()
    await asyncio.sleep(0.3)
