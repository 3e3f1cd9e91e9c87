"""Peers that do not behave, on real sockets; a relay in a process of its own; and two honest desks that watch it all."""

import asyncio
import base64
import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import aiohttp
from builders import letter_of, pickup_of, receipt_of
from builders_door import Device, place
from builders_keys import World, seed
from builders_relay import Line

from keys import directory as directories
from keys import keyfile, statement
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay.server import control
from relay.server.clock import SystemClock
from relay.wire import frames, receipt
from relay.wire.frames import Type

CHILD = Path(__file__).parent / "hostile" / "child.py"
KEY = bytes(range(32))
START_S = 30
STRANGER = "127.0.0.2"
"""Where strangers come from: not the address of a proxy on this machine, for which the total alone counts."""
OP_MORE, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG = 0, 1, 2, 8, 9, 10
HEADERS = b"Host: relay\r\n"


class Peer:
    """A socket, and whoever holds it decides what is sent and read: nothing happens by itself."""

    opened: ClassVar[list["Peer"]] = []
    """All of a test's, to be closed behind it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wrap an open connection."""
        self.reader = reader
        self.writer = writer
        self.code = 0
        self.reason = ""
        self.opened.append(self)

    @classmethod
    async def open(
        cls,
        port: int,
        *,
        source: str = STRANGER,
        tls: ssl.SSLContext | None = None,
        buffer: int = 0,
    ) -> Self:
        """Connect from *source*; *buffer* bytes of what the relay sends fit into the kernel on this side."""
        line = socket.socket()
        if buffer:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        line.setblocking(False)
        line.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
        more = {"ssl": tls, "server_hostname": "127.0.0.1"} if tls else {}
        return cls(*await asyncio.open_connection(sock=line, limit=1 << 16, **more))  # type: ignore[arg-type]

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Read one HTTP answer: status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, await self.reader.readexactly(length)

    async def ended(self, seconds: float = 20) -> bytes:
        """Read until the relay has ended the connection; return what came before that. TimeoutError if it does not."""
        found = b""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(1 << 16):
                    found += data
        return found

    def close(self) -> None:
        """Hang up at once."""
        self.writer.transport.abort()

    # As a WebSocket

    async def upgrade(self, *headers: str) -> bytes:
        """Ask for a session; return the head of the answer."""
        key = base64.b64encode(bytes(16)).decode()
        lines = [
            "GET /v1/session HTTP/1.1",
            "Host: relay",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *headers,
        ]
        await self.say("\r\n".join(lines).encode() + b"\r\n\r\n")
        return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send one binary message."""
        await self.say(frame(OP_BINARY, data))

    async def receive(self) -> bytes | None:
        """Return the next binary message, answering no ping; None at the end."""
        try:
            while True:
                kind, data = await self._frame()
                if kind == OP_BINARY:
                    return data
                if kind == OP_CLOSE:
                    self.code, self.reason = int.from_bytes(data[:2], "big"), data[2:].decode()
                    return None
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _frame(self) -> tuple[int, bytes]:
        first, length = await self.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        return first & 15, await self.reader.readexactly(length)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return one WebSocket frame of a device (masked with zeros)."""
    return header(opcode, len(data), fin=fin, rsv=rsv) + data


def header(opcode: int, length: int, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a frame's head that announces *length* bytes."""
    first = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        size = bytes([128 | length])
    elif length < 1 << 16:
        size = b"\xfe" + length.to_bytes(2, "big")
    else:
        size = b"\xff" + length.to_bytes(8, "big")
    return first + size + bytes(4)


async def raw_device(peer: Peer, world: World, desk: str, n: int = 0) -> Device:
    """Let the *n*th officer's device of a desk connect on a bare socket."""
    assert b" 101 " in await peer.upgrade()
    device = Device(peer, world, desk, world.device(desk, world.handles(desk)[n]))  # type: ignore[arg-type]
    await device.connect()
    return device


# Two honest desks


class Pump:
    """A device that always reads, as real ones do: otherwise it answers no heartbeat while a test thinks."""

    def __init__(self, line: Any) -> None:
        """Read from *line* from now on."""
        self.line = line
        self.code = 0
        self.reason = ""
        self._came: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        data: bytes | None = b""
        while data is not None:
            data = await self.line.receive()
            self.code = self.line.code
            self._came.put_nowait(data)

    async def send(self, data: bytes) -> None:
        """Send one message."""
        await self.line.send(data)

    async def receive(self) -> bytes | None:
        """Return the next message; None at the end."""
        return await self._came.get()


class Bystanders:
    """A desk sends to AU, again and again, and everything has to arrive while somebody else misbehaves."""

    def __init__(
        self, world: World, sender: Device, recipient: Device, now: Callable[[], int]
    ) -> None:
        """Play both devices, which are connected and have resumed."""
        self.world = world
        self.sender = sender
        self.recipient = recipient
        for device in (sender, recipient):
            device.socket = Pump(device.socket)  # type: ignore[assignment]
        self.now = now
        self.times: list[float] = []
        self._number = 0

    async def round(self) -> None:
        """One message, from submission to the sender's word that it was delivered."""
        self._number += 1
        loop = asyncio.get_running_loop()
        now = self.now()
        letter = letter_of(
            self.world,
            now,
            nonce=f"bystander {id(self)} {self._number}",
            sender=self.sender.desk,
            dev=self.sender.signer.kid,
        )
        began = loop.time()
        body = frames.join(letter.submission.wire, letter.envelope)
        accepted = await self.sender.call(Type.SUBMIT, body)
        receipt.read(accepted, {"accepted"}, self.world.evidence.public)
        await self._pushed(self.recipient, Type.NOTIFY, letter.msg)
        found = frames.split(
            await self.recipient.call(Type.PICKUP, pickup_of(self.world, [letter.msg], now))
        )
        assert found == [letter.submission.wire, accepted, letter.envelope]
        delivered = receipt_of(self.world, "delivered", letter, now)
        await self.recipient.call(Type.RECORD, frames.join(delivered.wire))
        await self._pushed(self.sender, Type.STATEMENT, letter.msg)
        self.times.append(loop.time() - began)

    async def _pushed(self, device: Device, kind: Type, msg: str) -> None:
        while True:
            found = await device.push()
            if found.type not in {Type.NOTIFY, Type.STATEMENT}:
                continue
            said = place(found)
            await device.seen(said["epoch"], said["seq"])
            if (found.type, said["msg"]) == (kind, msg):
                return

    async def while_it_lasts(self, attack: Awaitable[Any], *, least: int = 3) -> None:
        """Send messages until *attack* is over, and *least* in any case: each of them must arrive."""
        task = asyncio.ensure_future(attack)
        count = 0
        try:
            while not task.done() or count < least:
                await self.round()
                count += 1
            await task
        finally:
            task.cancel()


# A relay in a process of its own


def folder_of(folder: Path, world: World, **sections: dict[str, Any]) -> Path:
    """Write everything that a relay needs into *folder*; return its configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    ring = KeyRing((Held(Role.RELAY, seed(f"{Role.RELAY}/{world.instance}"), world.instance),))
    keyfile.write_private(folder / "relay.ring", keyfile.seal_service(ring, KEY))
    keyfile.write_private(folder / "relay.key", KEY)
    (folder / "root.json").write_bytes(world.root)
    (folder / "directory.pack").write_bytes(directories.pack(world.files))
    raw: dict[str, dict[str, Any]] = {
        "relay": {"service": world.service, "instance": world.instance},
        "listen": {"port": 0},
        "observe": {"port": 0},
        "directory": {"pack": "directory.pack"},
        "store": {"path": "relay.db", "free_bytes_min": 1 << 26, "free_percent_min": 0},
        "limits": {"submits_per_minute": 60_000, "reads_per_minute": 600_000},
    }
    for name, changes in sections.items():
        raw[name] = {**raw.get(name, {}), **changes}
    lines: list[str] = []
    for name, values in raw.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    config = folder / "relay.toml"
    config.write_text("\n".join(lines))
    return config


class Process:
    """`relay serve`, and what a test may know of it."""

    def __init__(self, config: Path, world: World) -> None:
        """Nothing is started yet."""
        self.config = config
        self.world = world
        self.port = 0
        self.observed = 0
        self.child: asyncio.subprocess.Process
        self.session: aiohttp.ClientSession
        self.log = config.with_suffix(".log")

    async def start(self, knobs: dict[str, Any] | None = None) -> None:
        """Start it with constants changed (``module:NAME``: value); return once it is ready."""
        with self.log.open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(
                *(sys.executable, str(CHILD), json.dumps(knobs or {})),
                *("serve", "--config", str(self.config), "--json"),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self.child.stdout is not None
        async with asyncio.timeout(START_S):
            line = await self.child.stdout.readline()
        assert line, self.log.read_text()
        ready = json.loads(line)["ready"]
        self.port, self.observed = ready["port"], ready["observe_port"]
        self.session = aiohttp.ClientSession()

    async def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal; return the exit code once the process has ended."""
        await self.session.close()
        if self.child.returncode is None:
            self.child.send_signal(number)
        async with asyncio.timeout(START_S):
            return await self.child.wait()

    @staticmethod
    def now() -> int:
        """Return the time by which the process lives."""
        return SystemClock().now()

    async def device(self, desk: str, n: int = 0, *, resume: bool = True) -> Device:
        """Return a connected device."""
        url = f"http://127.0.0.1:{self.port}/v1/session"
        channel = await self.session.ws_connect(url, max_msg_size=0)
        signer = self.world.device(desk, self.world.handles(desk)[n])
        device = Device(Line(channel), self.world, desk, signer)  # type: ignore[arg-type]
        welcome = await device.connect()
        if resume:
            await device.resume(welcome["epoch"], welcome["head"])
        return device

    async def bystanders(self) -> Bystanders:
        """Return two desks that send and receive."""
        return Bystanders(self.world, await self.device("VN"), await self.device("AU"), self.now)

    async def publish_prekeys(self, desks: Sequence[str]) -> None:
        """Hand in the prekeys of every device of some desks."""
        for desk in desks:
            body = frames.join(*self.world.prekeys(desk))
            url = f"http://127.0.0.1:{self.port}/v1/prekeys"
            async with self.session.put(url, data=body) as response:
                assert response.status == 200, await response.read()

    async def observe(self, path: str) -> tuple[int, bytes]:
        """Ask the observer."""
        async with self.session.get(f"http://127.0.0.1:{self.observed}{path}") as response:
            return response.status, await response.read()

    async def ready(self) -> dict[str, Any]:
        """Return what /readyz says."""
        found: dict[str, Any] = json.loads((await self.observe("/readyz"))[1])
        return found

    async def number(self, name: str) -> float:
        """Return a metric's value; *name* with its labels as Prometheus writes them."""
        text = (await self.observe("/metrics"))[1].decode()
        (found,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(found.rpartition(" ")[2])

    async def logged(self) -> int:
        """Return how many entries the evidence log has."""
        found = await control.ask(self.config.parent / "relay.db.sock", "GET", "doctor")
        assert found is not None
        assert found["findings"] == []
        size: int = found["log_size"]
        return size

    def memory(self) -> int:
        """Return the bytes of memory that the process has."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024

    def files(self) -> int:
        """Return how many file handles it has open."""
        return len(list(Path(f"/proc/{self.child.pid}/fd").iterdir()))

    def said(self) -> list[dict[str, Any]]:
        """Return the lines of its log."""
        text = self.log.read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@asynccontextmanager
async def process(
    folder: Path,
    world: World,
    *,
    knobs: dict[str, Any] | None = None,
    prekeys: Sequence[str] = ("VN", "AU", "AU-B"),
    **sections: dict[str, Any],
) -> AsyncIterator[Process]:
    """Run a relay as a process, with the world's prekeys; make sure that it ends."""
    found = Process(folder_of(folder, world, **sections), world)
    await found.start(knobs)
    try:
        await found.publish_prekeys(prekeys)
        yield found
    finally:
        await found.end()


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Return once something holds that another task or process brings about; TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - another process brings it about, and rings no bell
            await asyncio.sleep(0.02)


def enough_files(wanted: int) -> None:
    """Let this process open so many files; AssertionError where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        assert hard >= wanted, f"this test needs {wanted} open files: raise the limit (ulimit -Hn)"
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def resumed(answer: bytes) -> dict[str, Any]:
    """Read the answer to RESUME."""
    return statement.decode(answer)
