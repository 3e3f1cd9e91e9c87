"""A whole relay for tests: real aiohttp on loopback, a store of choice, a clock that a test sets."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import aiohttp
from builders_door import NOW, Device
from builders_keys import World
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry, generate_latest

from relay.server import logs
from relay.server.app import Place, Relay
from relay.store.base import Store
from relay.store.memory import MemoryStore


class SetClock:
    """A clock that stands where a test puts it; sleeping takes real time."""

    def __init__(self, at: int = NOW) -> None:
        """Stand at *at*."""
        self.at = at

    def now(self) -> int:
        """Return the time that was set."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Sleep really."""
        await asyncio.sleep(seconds)


class Line:
    """A real WebSocket in the shape of a line in memory, so that a Device can be played on it."""

    def __init__(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        """Wrap an open WebSocket."""
        self.channel = channel
        self.code = 0
        self.reason = ""

    async def send(self, data: bytes) -> None:
        """Send one binary message."""
        await self.channel.send_bytes(data)

    async def receive(self) -> bytes | None:
        """Return the next binary message; None at the end."""
        message = await self.channel.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        self.code = self.channel.close_code or 0
        return None


class Running:
    """A relay that runs, and how a test talks to it."""

    def __init__(self, relay: Relay, world: World, clock: SetClock, written: io.StringIO) -> None:
        """Hold what :func:`running` started."""
        self.relay = relay
        self.world = world
        self.clock = clock
        self.written = written
        self.base = f"{'https' if relay.place.tls else 'http'}://127.0.0.1:{relay.port}"
        self.observed = f"http://127.0.0.1:{relay.observe_port}"
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open the test's own session."""
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close it."""
        await self.session.close()

    async def call(
        self, method: str, path: str, body: Any = None, **more: Any
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Call the relay; return status, body and headers."""
        async with self.session.request(method, self.base + path, data=body, **more) as response:
            return response.status, await response.read(), response.headers

    async def health(self, path: str = "/readyz") -> tuple[int, dict[str, Any]]:
        """Ask the observer; return status and JSON."""
        async with self.session.get(self.observed + path) as response:
            return response.status, await response.json()

    async def device(self, desk: str, n: int = 0) -> Device:
        """Return the *n*th officer's device of *desk*, at the relay's challenge."""
        channel = await self.session.ws_connect(f"{self.base}/v1/session", max_msg_size=0)
        signer = self.world.device(desk, self.world.handles(desk)[n])
        return Device(Line(channel), self.world, desk, signer)  # type: ignore[arg-type]

    async def connected(self, desk: str, n: int = 0) -> tuple[Device, dict[str, str]]:
        """Return a connected device that has resumed, and the headers for its reads over HTTP."""
        device = await self.device(desk, n)
        welcome = await device.connect()
        await device.resume(welcome["epoch"])
        return device, {"Authorization": f"Bearer {welcome['token']}"}

    def numbers(self) -> str:
        """Return what Prometheus would read."""
        return generate_latest(self.relay.metrics.registry).decode()


@asynccontextmanager
async def running(
    world: World, store: Store | None = None, *, publish: bool = True, **place: Any
) -> AsyncIterator[Running]:
    """Run a relay with the world's directory and prekeys in good time; stop it in the end."""
    clock, written = SetClock(place.pop("at", NOW)), io.StringIO()
    place.setdefault("first", world.files if publish else None)
    at = Place(
        service=world.service,
        instance=world.instance,
        evidence=place.pop("evidence", world.evidence),
        root=world.root,
        **place,
    )
    log = logs.build(clock.now, stream=written)
    relay = Relay(at, store or MemoryStore(), clock, log, CollectorRegistry())
    await relay.start()
    try:
        if publish:
            roster = relay.exchange.roster
            for desk in roster.directory.desks:
                await roster.take_prekeys(world.prekeys(desk), clock.at - 601)
        async with Running(relay, world, clock, written) as found:
            yield found
    finally:
        await relay.stop()


def certificate(folder: Path, *, days: int = 30) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.test")])
    now = datetime.now(UTC)  # noqa: TID251 - TLS knows only the machine's own time
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "relay.crt", folder / "relay.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private
