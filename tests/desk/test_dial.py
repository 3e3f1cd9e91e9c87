"""The desk's way to its relay over real sockets: TLS 1.3 with the relay's certificate, plain only to this machine."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import BODY, BODY_TYPE, header_of
from builders_door import NOW
from builders_keys import World, seed
from builders_relay import Running, SetClock, certificate, running

from keys import suite
from keys.errors import Failed
from keys.statement import b64u
from relay.desk.archive import Archive
from relay.desk.dial import Dial, websocket_dial
from relay.desk.service import Desk
from relay.server import tls
from relay.wire import content
from relay.wire.frames import FRAME_BYTES_MAX

SECONDS = 20


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network that no test of this file changes."""
    return World()


@asynccontextmanager
async def desk_of(world: World, name: str, folder: Path, dial: Dial) -> AsyncIterator[Desk]:
    """Run a desk over a real line, in real time."""
    with Archive(folder / f"{name}.db", seed(name)) as archive:
        desk = Desk(
            desk=name,
            service=world.service,
            device=world.device(name),
            archive=archive,
            clock=SetClock(),
            dial=dial,
        )
        desk.begin(world.root)
        task = asyncio.ensure_future(desk.run())
        try:
            yield desk
        finally:
            await desk.stop()
            await asyncio.gather(task, return_exceptions=True)


async def until(desk: Desk, name: str, value: object) -> dict[str, Any]:
    """Wait really until a desk's status says so."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await desk.status()
            if found[name] == value:
                return found
            await asyncio.sleep(0.02)


async def delivered(world: World, relay: Running, url: str, ca: str, folder: Path) -> None:
    """Send the largest body there is from VN to AU over real lines, and see it delivered."""
    dial = websocket_dial(url, ca)
    async with desk_of(world, "VN", folder, dial) as vn, desk_of(world, "AU", folder, dial) as au:
        await until(vn, "connected", True)
        await until(au, "connected", True)
        header = header_of(world, NOW, backup="")
        body = BODY + bytes(content.BODY_BYTES_MAX - len(BODY))
        stated = content.originate(
            header,
            kind="request",
            body_type=BODY_TYPE,
            body=body,
            thread="",
            nonce=suite.random_bytes(16),
            created=NOW,
            officer=world.signer("VN"),
        )
        sent = await vn.send(b64u(header.encode()), b64u(stated.wire), b64u(body))
        await vn.wait(sent["msg"], "delivered", SECONDS)
        assert (await au.show(sent["msg"]))["msg"] == sent["msg"]
        await until(au, "receipts", 0)
    assert relay.world is world


async def test_a_message_goes_over_tls_1_3(world: World, tmp_path: Path) -> None:
    """Real sockets, TLS 1.3, the relay's own certificate as the only authority; a message of the largest size."""
    public, private = certificate(tmp_path)
    async with running(world, tls=tls.context(public, private)) as relay:
        await delivered(world, relay, relay.base, str(public), tmp_path)


async def test_a_message_goes_without_tls_on_this_machine(world: World, tmp_path: Path) -> None:
    """ws:// is good enough for the demonstration on one machine."""
    async with running(world) as relay:
        await delivered(world, relay, relay.base.replace("http", "ws"), "", tmp_path)


async def test_another_certificate_is_not_believed(world: World, tmp_path: Path) -> None:
    """A relay with another certificate than the one in desk.toml is not talked to."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    public, private = certificate(mine)
    stranger, _key = certificate(other)
    async with running(world, tls=tls.context(public, private)) as relay:
        for ca in (str(stranger), ""):
            with pytest.raises(OSError, match="certificate is not believed"):
                await websocket_dial(relay.base, ca)()


async def test_an_older_tls_is_not_spoken(tmp_path: Path) -> None:
    """A server that offers TLS 1.2 at most is refused in the handshake (PROTOCOL 12)."""
    public, private = certificate(tmp_path)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.load_cert_chain(public, private)

    met: list[str] = []

    async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append("somebody shook hands")
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=old)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(OSError, match=r"no TLS 1\.3 connection|the line broke"):
            await websocket_dial(f"wss://127.0.0.1:{port}", str(public))()
        assert met == []
    finally:
        server.close()
        await server.wait_closed()


async def test_a_closed_port_is_an_oserror(tmp_path: Path) -> None:
    """Nobody there: the link tries again, with a sentence in the status."""
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="cannot be reached"):
        await websocket_dial(f"ws://127.0.0.1:{port}")()


@pytest.mark.parametrize(
    "url",
    [
        "ws://relay.example:8424",
        "http://192.0.2.7",
        "ws://127.0.0.1.relay.example",
        "ws://0.0.0.0:1",
    ],
)
def test_an_open_line_to_another_machine_is_refused(url: str) -> None:
    """Without TLS only to this machine: refused before a byte leaves, with what to change."""
    with pytest.raises(Failed, match="without TLS") as failed:
        websocket_dial(url)
    assert failed.value.exit_code == 78
    assert "wss://" in failed.value.hint


@pytest.mark.parametrize("url", ["", "relay.example:8424", "ftp://relay.example", "wss://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """A mistyped address ends in a sentence with an example."""
    with pytest.raises(Failed, match="is not one") as failed:
        websocket_dial(url)
    assert "wss://relay.example:8424" in failed.value.hint


def test_a_certificate_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """A missing file, or one that holds no certificate: a sentence that names it."""
    (tmp_path / "empty.pem").write_text("not a certificate")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(Failed, match=name):
            websocket_dial("wss://relay.example", str(tmp_path / name))


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "ws://[::1]:1", "http://localhost:1"])
def test_this_machine_has_several_names(url: str) -> None:
    """127.0.0.0/8, ::1 and localhost are this machine."""
    websocket_dial(url)


def test_a_frame_of_the_largest_size_fits_the_line() -> None:
    """The socket takes what a frame may have, and no more."""
    assert FRAME_BYTES_MAX == 4 * 1024 * 1024 + 128 * 1024
