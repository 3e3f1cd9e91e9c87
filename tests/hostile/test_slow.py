"""Peers that keep the relay waiting: each is given up in bounded time and memory, and the other desks do not notice.

The relay is whole, the sockets are real; only its patience is shortened. Strangers come from 127.0.0.2.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from builders import letter_of, pickup_of
from builders_door import NOW
from builders_hostile import (
    OP_BINARY,
    OP_PING,
    STRANGER,
    Bystanders,
    Peer,
    frame,
    header,
    raw_device,
    until,
)
from builders_keys import World
from builders_relay import Running, certificate, running

from relay.server import api, app, calls, gate, outgoing, reading, sessions, tls
from relay.server.rates import Call
from relay.server.reading import Lane
from relay.wire import frames
from relay.wire.frames import Frame, Type

MIB = 1024 * 1024
PLENTY = {Call.SUBMIT: 100_000, Call.READ: 100_000_000, Call.CONNECT: 1000}


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with three officers each."""
    return World(officers=3)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the relay's patience a fraction of a second."""
    monkeypatch.setattr(app, "SHUTDOWN_S", 0.2)
    monkeypatch.setattr(gate, "SWEEP_S", 0.1)
    monkeypatch.setattr(gate, "STILL_S", 0.4)
    monkeypatch.setattr(gate, "SESSION_STILL_S", 0.8)
    monkeypatch.setattr(gate, "HANDSHAKE_S", 0.5)
    monkeypatch.setitem(app._HTTP, "keepalive_timeout", 0.5)
    monkeypatch.setattr(reading, "PATIENCE_S", 0.5)
    monkeypatch.setattr(sessions, "GREET_S", 0.5)
    monkeypatch.setattr(api, "HEARTBEAT_S", 0.4)
    monkeypatch.setattr(api, "CLOSE_S", 0.2)
    assert outgoing.Outgoing.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(outgoing.Outgoing.__init__.__kwdefaults__, "send_s", 0.4)
    monkeypatch.setattr(outgoing, "SLOWEST_BYTES_PER_S", 1 << 40)


@pytest.fixture
async def relay(world: World, hasty: None) -> AsyncIterator[Running]:
    """Yield a hasty relay."""
    async with running(world, per_minute=PLENTY) as found:
        yield found


async def bystanders(relay: Running) -> Bystanders:
    """Return two honest desks, connected."""
    sender, _token = await relay.connected("VN")
    recipient, _token = await relay.connected("AU")
    return Bystanders(relay.world, sender, recipient, relay.clock.now)


def hits(relay: Running, limit: str) -> float:
    """Return how often a limit has turned something away."""
    found = relay.relay.metrics.registry.get_sample_value(
        "relay_limit_hits_total", {"limit": limit}
    )
    assert found is not None
    return found


async def only_bystanders(relay: Running) -> None:
    """Return once nobody is connected but the two honest desks."""
    await until(lambda: len(relay.relay.gate) == 2)
    assert len(relay.relay.sessions) == 2


def test_the_patience_that_is_shortened_here_is_there() -> None:
    """What these tests replace by fractions of a second is what a real relay is given."""
    found = (
        app._HTTP["keepalive_timeout"],
        app._HTTP["lingering_time"],
        app._HTTP["auto_decompress"],
    )
    assert found == (gate.QUIET_S, gate.LINGER_S, False)
    assert 0 < gate.STILL_S <= gate.SESSION_STILL_S <= 60
    assert 0 < max(gate.QUIET_S, gate.HANDSHAKE_S, reading.PATIENCE_S, sessions.GREET_S) <= 30
    assert 0 < api.HEARTBEAT_S <= 30
    assert gate.SWEEP_S < gate.STILL_S


# Who takes nothing


async def test_a_session_that_reads_nothing(relay: Running, world: World) -> None:
    """A device asks for much and takes nothing: bounded bytes, cut off, and its mailbox keeps everything for it."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port, buffer=4096)
    await raw_device(peer, world, "AU", 1)
    (session,) = [
        one
        for one in relay.relay.sessions._by_desk["AU"]
        if one.member.device_kid != honest.recipient.signer.kid
    ]
    name = max(world.files, key=lambda one: len(world.files[one])).encode()
    highest = 0

    async def ask() -> None:
        nonlocal highest
        number = 0
        while not session._over.is_set():
            number += 1
            peer.writer.write(frame(OP_BINARY, frames.encode(Frame(Type.GET_FILE, number, name))))
            await asyncio.sleep(0)
            highest = max(highest, session._out.bytes)

    await honest.while_it_lasts(ask())
    assert highest <= outgoing.OUTGOING_BYTES_MAX + 65 * len(world.files[name.decode()])
    assert hits(relay, "slow_reader") >= 1
    assert "a slow reader was cut off" in relay.written.getvalue(), (
        "by its own session, not by the gate"
    )
    await only_bystanders(relay)
    peer.close()
    again, _token = await relay.connected("AU", 1)
    assert (await again.push()).type is Type.NOTIFY


async def test_answers_over_http_that_nobody_takes(relay: Running, world: World) -> None:
    """Pipelined calls whose answers are not read hold a connection only for a while, also when it is closing already."""
    honest = await bystanders(relay)
    letter = letter_of(world, NOW, body=b'"' + b"x" * (MIB - 2) + b'"')
    await honest.sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    pickup = pickup_of(world, [letter.msg], NOW)
    head = f"POST /v1/messages/{letter.msg}/pickup HTTP/1.1\r\nHost: x\r\nContent-Length: {len(pickup)}\r\n\r\n"
    peers = [await Peer.open(relay.relay.port, buffer=4096) for _each in range(4)]
    for peer in peers:
        await peer.say((head.encode() + pickup) * 20)
    await honest.while_it_lasts(only_bystanders(relay))
    assert hits(relay, "slow_reader") == len(peers)
    for peer in peers:
        peer.close()


# Who sends slowly


async def drip(peer: Peer, data: bytes = b"a") -> bytes:
    """Send a little now and then until the relay hangs up; return what it said."""
    ended = asyncio.ensure_future(peer.ended())
    while not ended.done():
        with contextlib.suppress(ConnectionError):
            await peer.say(data)
        await asyncio.wait([ended], timeout=0.05)
    peer.close()
    return await ended


async def test_headers_that_never_end(relay: Running) -> None:
    """A byte now and then keeps no connection: a whole request stands in time, or the line is closed."""
    honest = await bystanders(relay)
    peers = [await Peer.open(relay.relay.port) for _each in range(40)]
    for number, peer in enumerate(peers):
        begun = b"GET /v1/session HTTP/1.1\r\nHost: relay\r\nX-Drip: "
        await peer.say(begun[: number + 1])
    await honest.while_it_lasts(asyncio.gather(*(drip(peer) for peer in peers)))
    await only_bystanders(relay)


async def test_a_line_that_says_nothing_and_one_that_said_something_once(relay: Running) -> None:
    """An idle connection is closed, before its first request and after it."""
    silent, once = [await Peer.open(relay.relay.port) for _each in range(2)]
    await once.say(b"GET /v1/nothing HTTP/1.1\r\nHost: relay\r\n\r\n")
    assert (await once.answer())[0] == 404
    assert (await silent.ended(), await once.ended()) == (b"", b"")
    assert len(relay.relay.gate) == 0


@pytest.mark.parametrize("drops", [b"", b"a"], ids=["stands still", "drips"])
async def test_bodies_that_never_end(relay: Running, world: World, drops: bytes) -> None:
    """One address fills its share of the strangers' lane and no more, and loses it when it stops sending.

    Meanwhile a stranger from elsewhere submits, and so does a desk that shows its token.
    """
    honest = await bystanders(relay)
    lanes = relay.relay.api.reading
    size = calls.SUBMIT_BODY_BYTES_MAX
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    peers = [await Peer.open(relay.relay.port) for _each in range(8)]

    async def begin(peer: Peer) -> bytes:
        with contextlib.suppress(ConnectionError):
            await peer.say(head + bytes(size - 1000))
        return await drip(peer, drops) if drops else await peer.ended()

    async def all_begin() -> None:
        said = await asyncio.gather(*(begin(peer) for peer in peers))
        # Those whose share was full heard 503 (or lost the line while they still sent); the others were given up.
        assert sum(b" 503 " in one for one in said) >= 2

    attack = asyncio.ensure_future(all_begin())
    await until(lambda: lanes.held(Lane.STRANGERS, STRANGER) > 2 * MIB)
    letter = letter_of(world, NOW, nonce=f"elsewhere {drops!r}")
    body = frames.join(letter.submission.wire, letter.envelope)
    assert (await relay.call("POST", "/v1/messages", body))[0] == 200
    await honest.while_it_lasts(attack)
    assert hits(relay, "slow_sender") >= 1
    assert lanes.held(Lane.STRANGERS) == 0


async def test_one_address_has_one_share(relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """n bytes are read beside each other from one address, n + 1 are refused at once, elsewhere there is room."""
    monkeypatch.setitem(reading.EACH_BYTES_MAX, Lane.STRANGERS, 2000)
    head = b"POST /v1/receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    first, second, third, other = [
        await Peer.open(relay.relay.port, source=source)
        for source in (STRANGER, STRANGER, STRANGER, "127.0.0.3")
    ]
    for peer in (first, second):
        await peer.say(head + bytes(999))
    await until(lambda: relay.relay.api.reading.held(Lane.STRANGERS) == 1998)
    await third.say(head)
    assert (await third.answer())[0] == 503
    await other.say(head + bytes(1000))
    assert (await other.answer())[0] == 413  # was read; 250 empty parts are too many
    await first.say(b"\0")
    assert (await first.answer())[0] == 413


# Who opens a session and does not go on


async def test_greetings_that_are_never_answered(relay: Running) -> None:
    """A challenge without an answer, half an answer, and an answer without an end: the line is closed in time."""
    honest = await bystanders(relay)
    peers = [await Peer.open(relay.relay.port) for _each in range(30)]
    begun = header(OP_BINARY, 2000) + bytes(10)

    async def greet(number: int, peer: Peer) -> None:
        assert b" 101 " in await peer.upgrade()
        await peer.say(begun[: number % len(begun)])
        await drip(peer)

    greetings = (greet(number, peer) for number, peer in enumerate(peers))
    await honest.while_it_lasts(asyncio.gather(*greetings))
    await only_bystanders(relay)


async def test_nobody_unknown_makes_the_relay_hold_a_large_frame(relay: Running) -> None:
    """Before its device is known a connection may send 16 KiB; an honest device needs a tenth of that (PROTOCOL 12.4)."""
    for size in (gate.GREETING_BYTES_MAX - 64, gate.GREETING_BYTES_MAX + 64):
        peer = await Peer.open(relay.relay.port)
        await peer.upgrade()
        await peer.receive()
        await peer.say(header(OP_BINARY, 4 * MIB) + bytes(size))
        small = size < gate.GREETING_BYTES_MAX
        found = await peer.ended()
        assert bool(found) == small, found  # a goodbye after the patience, or nothing at all
        assert hits(relay, "greeting") == (0 if small else 1)
    assert len(relay.relay.gate) == 0


async def test_a_device_that_vanished(relay: Running, world: World) -> None:
    """No farewell and no answer to the heartbeat: the session is freed, and its place with it."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port)
    device = await raw_device(peer, world, "AU", 1)
    await peer.say(header(OP_BINARY, 100_000) + bytes(50_000))  # in the middle of a frame, too
    assert len(relay.relay.sessions) == 3
    await honest.while_it_lasts(until(lambda: len(relay.relay.sessions) == 2))
    await only_bystanders(relay)
    assert relay.relay.metrics.registry.get_sample_value("relay_sessions") == 2
    again, _token = await relay.connected("AU", 1)
    assert again.signer.kid == device.signer.kid


async def test_pings_to_which_the_answers_are_not_taken(relay: Running, world: World) -> None:
    """A flood of pings without a reader is held back by its own answers, and ended by the heartbeat or the gate."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port, buffer=4096)
    await raw_device(peer, world, "AU", 1)

    async def flood() -> None:
        pings = frame(OP_PING, b"x" * 125) * 500
        with contextlib.suppress(ConnectionError, RuntimeError):
            while len(relay.relay.sessions) == 3:
                peer.writer.write(pings)
                await asyncio.sleep(0.001)
                if peer.writer.transport.get_write_buffer_size() > 64 * MIB:
                    raise AssertionError("the relay reads on and on, or never hangs up")

    await honest.while_it_lasts(flood())
    await only_bystanders(relay)
    peer.close()


# TLS


async def test_handshakes_that_stand_still(world: World, hasty: None, tmp_path: Path) -> None:
    """TLS that is never agreed upon is given up; whoever knows how gets in meanwhile."""
    public, private = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=str(public))
    async with running(world, tls=tls.context(public, private), per_minute=PLENTY) as relay:
        hello = bytes.fromhex("160301010001000100")
        peers = [await Peer.open(relay.relay.port) for _each in range(40)]
        for number, peer in enumerate(peers):
            await peer.say(hello[: number % len(hello)])

        async def others() -> None:
            for _each in range(5):
                peer = await Peer.open(relay.relay.port, tls=trust)
                assert b" 101 " in await peer.upgrade()
                peer.close()

        await asyncio.gather(others(), *(peer.ended() for peer in peers))
        for peer in peers:
            peer.close()
