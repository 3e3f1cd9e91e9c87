"""Nonsense by the thousand at the real doors: answered or hung up on, and a handful of lines in the log."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from builders_door import Device
from builders_fuzz import Mutator, Parser
from builders_keys import World
from builders_relay import Running, running

from keys.errors import Failed
from relay.server import control
from relay.server.rates import Call
from relay.wire import frames
from relay.wire.frames import Frame, Type

RAW, AT_ONCE = 1500, 150
LINES_MAX = 40
PLENTY = dict.fromkeys(Call, 10_000_000)
REQUESTS = (
    b"POST /v1/messages HTTP/1.1\r\nHost: relay\r\nContent-Length: 4\r\n\r\n\0\0\0\0",
    b"PUT /v1/prekeys HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"GET /v1/prekeys/AU HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer "
    + b"a" * 64
    + b"\r\n\r\n",
    (
        b"GET /v1/session HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ),
    b"GET /v1/blobs/" + b"0" * 64 + b" HTTP/1.1\r\nHost: relay\r\nRange: bytes=0-\r\n\r\n",
)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of two desks."""
    return World(("VN", "AU"))


def quiet(relay: Running) -> None:
    """Nothing failed inside, and what strangers do is a few lines a minute."""
    lines = relay.written.getvalue().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []
    assert len(lines) < LINES_MAX, lines[:LINES_MAX]


async def ended(device: Device) -> None:
    """Read to the end of a line."""
    while await device.socket.receive() is not None:
        pass


async def answered(port: int, data: bytes) -> bytes:
    """Send bytes over a connection of their own; return what comes back within a moment, then hang up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(0.4):
            return await reader.read(4096)
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


async def test_bent_requests_get_no_5xx_and_fill_no_log(world: World) -> None:
    """1500 connections with mutants of requests: a status below 500 with our error, a challenge, or the end."""
    mutator = Mutator(
        Parser(
            "requests", len, REQUESTS, tokens=(b"\r\n", b"HTTP/1.1", b"HTTP/9.9", b"%00", b"..")
        ),
        random.Random("requests"),
    )
    found: Counter[str] = Counter()
    async with running(world, per_minute=PLENTY) as relay:
        for _each in range(RAW // AT_ONCE):
            made = [mutator.make() for _one in range(AT_ONCE)]
            answers = await asyncio.gather(*(answered(relay.relay.port, one) for one in made))
            for data, answer in zip(made, answers, strict=True):
                status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else ""
                found[status] += 1
                assert status[:1] in {"", "1", "2", "4"}, (data, answer)
        assert await relay.health("/livez") == (200, {"alive": True})
        assert found["400"] > RAW // 20
        assert len(found) > 3
        quiet(relay)


async def test_refusals_by_the_thousand_are_counted_and_not_written(world: World) -> None:
    """False tokens, unknown addresses, wrong greetings and junk on a session: some lines, then only their number."""
    async with running(world, per_minute=PLENTY) as relay:
        for number in range(300):
            await relay.call("GET", f"/v1/prekeys/X{number}", headers={"Authorization": "Bearer x"})
            await relay.call("DELETE", f"/{number}")
        for _each in range(100):
            device = await relay.device("AU")
            await device.challenge()
            await device.socket.send(frames.encode(Frame(Type.CONNECT, 1, b"{}")))
            await ended(device)
        device, _token = await relay.connected("AU")
        for number in range(3000):
            await device.socket.send(b"\x10" + number.to_bytes(4, "big") + b"junk")
        for _each in range(3000):
            await device.frame()
        quiet(relay)
        relay.clock.at += 61
        late = await relay.device("AU")
        await late.challenge()
        await late.socket.send(b"")
        await ended(late)
        assert '"suppressed": 95' in relay.written.getvalue()


# The operator's bell


def acceptable(body: bytes) -> bool:
    """Whether a question names a path."""
    try:
        return control.path_in(body).is_absolute()
    except Failed as failure:
        return failure.exit_code != 2


async def test_the_bell_answers_nonsense_with_a_sentence(world: World, tmp_path: Path) -> None:
    """300 mutants of a question at the control socket: an error in JSON with a text and an exit code, never a 500."""
    bell, copy = tmp_path / "bell", tmp_path / "copy.db"
    good = json.dumps({"path": str(copy)}).encode()
    mutator = Mutator(Parser("bell", len, (good,)), random.Random("bell"))
    async with (
        running(world, control=bell) as relay,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(bell))) as session,
    ):
        for method, verb in (("GET", "nothing"), ("PUT", "backup"), ("POST", "doctor")):
            async with session.request(method, f"http://relay/{verb}") as response:
                assert response.status in {404, 405}
                assert (await response.json())["error"]["exit"] == 2
        for _each in range(300):
            body = mutator.make()
            if acceptable(body):
                continue  # it would be written
            async with session.post("http://relay/backup", data=body) as response:
                assert response.status == 400
                assert (await response.json())["error"][
                    "text"
                ] == "A backup needs an absolute path."
        async with session.post("http://relay/backup", data=bytes(200_000)) as response:
            assert (response.status, (await response.json())["error"]["exit"]) == (413, 2)
        quiet(relay)
