"""The relay's door for tests: sessions over lines in memory, and devices that a test plays frame by frame."""

import asyncio
import io
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from builders_keys import NOW as BEGUN
from builders_keys import World
from builders_loop import MemorySocket, VirtualClock, socket_pair
from prometheus_client import CollectorRegistry

from keys import statement
from keys.directory import begin
from keys.errors import Refused
from keys.identity import Signer
from relay import errors
from relay.exchange import Exchange
from relay.ledger import Told
from relay.server import logs
from relay.server.auth import Nonces, Tokens
from relay.server.metrics import Metrics
from relay.server.rates import Call, Rates
from relay.server.sessions import Sessions
from relay.store.base import Store
from relay.store.memory import MemoryStore
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type

NOW = BEGUN + 1200
"""Twenty minutes after the ceremony: prekeys have settled."""


class Device:
    """A device's end of a session, played by a test."""

    def __init__(self, socket: MemorySocket, world: World, desk: str, signer: Signer) -> None:
        """Play *signer* of *desk* on *socket*."""
        self.socket = socket
        self.world = world
        self.desk = desk
        self.signer = signer
        self.pushes: deque[Frame] = deque()
        self._request = 0

    async def frame(self) -> Frame:
        """Return the next frame; EOFError once the line is closed."""
        data = await self.socket.receive()
        if data is None:
            raise EOFError(f"closed: {self.socket.code} {self.socket.reason}")
        return frames.decode(data)

    async def send(self, kind: Type, body: bytes, request: int | None = None) -> int:
        """Send a frame; return its request number."""
        if request is None:
            self._request += 1
            request = self._request
        await self.socket.send(frames.encode(Frame(kind, request, body)))
        return request

    async def answer(self, request: int) -> bytes:
        """Return the body that answers *request*, keeping pushes aside; raise what the relay refused with."""
        while True:
            frame = await self.frame()
            if frame.request == request and frame.type is Type.ERROR:
                raise errors.from_json(frame.body)
            if frame.request == request:
                return frame.body
            assert frame.request == 0, frame
            self.pushes.append(frame)

    async def call(self, kind: Type, body: bytes) -> bytes:
        """Call and wait for the answer."""
        return await self.answer(await self.send(kind, body))

    async def push(self) -> Frame:
        """Return the next push."""
        if self.pushes:
            return self.pushes.popleft()
        frame = await self.frame()
        assert frame.request == 0, frame
        return frame

    async def challenge(self) -> dict[str, Any]:
        """Read the challenge that opens every session."""
        frame = await self.frame()
        assert (frame.type, frame.request) == (Type.CHALLENGE, 0)
        return frames.unpack(Type.CHALLENGE, frame.body)

    def proof(self, challenge: Mapping[str, Any], **changes: Any) -> bytes:
        """Return the signed answer to a challenge; *changes* are what a liar would write."""
        fields = {
            "nonce": challenge["nonce"],
            "relay": self.world.service,
            "desk": self.desk,
            "at": challenge["at"],
        }
        return receipt.make("connect", {**fields, **changes}, self.signer).wire

    async def connect(self, **changes: Any) -> dict[str, Any]:
        """Answer the challenge and return the welcome."""
        challenge = await self.challenge()
        wire = self.proof(challenge, **changes)
        body = await self.call(Type.CONNECT, wire)
        return frames.unpack(Type.WELCOME, body)

    async def resume(self, epoch: int, seq: int = 0) -> dict[str, Any]:
        """Ask for everything after a cursor."""
        body = await self.call(Type.RESUME, statement.encode({"epoch": epoch, "seq": seq}))
        return statement.decode(body)

    async def seen(self, epoch: int, seq: int) -> None:
        """Confirm everything up to *seq*."""
        await self.send(Type.SEEN, statement.encode({"epoch": epoch, "seq": seq}))

    async def closed(self) -> tuple[int, str]:
        """Read to the end of the line; return the code and reason with which the relay closed it."""
        while await self.socket.receive() is not None:
            pass
        far = self.far
        return far.code, far.reason

    far: MemorySocket


def place(frame: Frame) -> dict[str, Any]:
    """Return the JSON of a push: of STATEMENT its first part."""
    body = frames.split(frame.body)[0] if frame.type is Type.STATEMENT else frame.body
    found: dict[str, Any] = json.loads(body)
    return found


class Door:
    """Sessions over a real corridor; devices come in through lines in memory."""

    def __init__(self, world: World, exchange: Exchange, clock: VirtualClock, **parts: Any) -> None:
        """Join the parts; :func:`door_of` does it all."""
        self.world = world
        self.exchange = exchange
        self.clock = clock
        self.written = io.StringIO()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, version="1")
        self.tokens = Tokens()
        self.nonces = Nonces()
        self.sessions = Sessions(
            exchange,
            clock,
            tokens=self.tokens,
            rates=Rates(parts.get("per_minute")),
            metrics=self.metrics,
            log=logs.build(clock.now, stream=self.written),
            nonces=self.nonces,
        )
        self.tasks: list[asyncio.Task[None]] = []

    def enter(self, desk: str, n: int = 0, signer: Signer | None = None) -> Device:
        """Let a device knock: the *n*th officer's of *desk*."""
        near, far = socket_pair()
        handles = self.world.handles(desk)
        device = Device(near, self.world, desk, signer or self.world.device(desk, handles[n]))
        device.far = far
        self.tasks.append(asyncio.ensure_future(self.sessions.serve(far)))
        return device

    async def connected(self, desk: str, n: int = 0, *, resume: bool = True) -> Device:
        """Return a device that has connected, and resumed from the beginning."""
        device = self.enter(desk, n)
        await device.connect()
        if resume:
            await device.resume(self.exchange.store.epoch)
        return device

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """Return a metric's value."""
        found = self.registry.get_sample_value(name, dict(labels or {}))
        assert found is not None, name
        return found


async def door_of(
    world: World,
    store: Store | None = None,
    *,
    now: int = NOW,
    per_minute: dict[Call, int] | None = None,
) -> Door:
    """Open a door on a started corridor with the world's directory and prekeys; time begins at *now*."""
    clock = VirtualClock(asyncio.get_running_loop(), now)
    kept = store or MemoryStore()
    await kept.start(now)
    heard: list[Door] = []

    def tell(told: Told) -> None:
        heard[0].sessions.tell(told)

    exchange = Exchange(
        kept,
        service=world.service,
        instance=world.instance,
        evidence=world.evidence,
        trusted=begin(world.root),
        tell=tell,
    )
    await exchange.start(now)
    if not exchange.roster.published:
        await exchange.roster.publish(world.files, world.now)
    for desk in exchange.directory.desks:
        await exchange.roster.take_prekeys(world.prekeys(desk), max(world.now, now - 601))
    heard.append(Door(world, exchange, clock, per_minute=per_minute))
    return heard[0]


async def refusal(work: Any) -> Refused:
    """Return what *work* is refused with."""
    try:
        await work
    except Refused as refused:
        return refused
    raise AssertionError("nothing was refused")
