"""Bytes in shapes that two programs may read differently, and messages up to their limits: on real sockets, n and n + 1."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator

import pytest
from builders import header_of, letter_of, pickup_of, receipt_of, submission_of
from builders_door import NOW, Device, refusal
from builders_hostile import (
    OP_BINARY,
    OP_MORE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    Bystanders,
    Peer,
    frame,
    header,
    raw_device,
    until,
)
from builders_keys import World
from builders_relay import Running, running

from keys import suite
from keys.errors import Code, Refused
from relay import errors
from relay.server import app
from relay.server.rates import Call
from relay.server.session import CALLS_MAX
from relay.wire import content, envelope, frames, receipt
from relay.wire.frames import Frame, Type

MIB = 1024 * 1024
PLENTY = {Call.SUBMIT: 100_000, Call.READ: 100_000_000, Call.CONNECT: 1000}
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: relay\r\n\r\n"
POST = b"POST /v1/receipts HTTP/1.1\r\nHost: relay\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with three officers each."""
    return World(officers=3)


@pytest.fixture
async def relay(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Yield a relay that waits half a second for the rest of a request."""
    monkeypatch.setitem(app._HTTP, "keepalive_timeout", 0.5)
    monkeypatch.setattr(app, "SHUTDOWN_S", 0.2)
    async with running(world, per_minute=PLENTY) as found:
        yield found


async def bystanders(relay: Running) -> Bystanders:
    """Return two honest desks, connected."""
    sender, _token = await relay.connected("VN")
    recipient, _token = await relay.connected("AU")
    return Bystanders(relay.world, sender, recipient, relay.clock.now)


# HTTP


def chunk(size: bytes, data: bytes = b"") -> bytes:
    """Return a chunked body that begins with *size* as it is written, and hides a request behind it."""
    return size + b"\r\n" + data


SHAPES = {
    "length and chunks": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and length": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 37\r\n\r\n" + HIDDEN,
    "one length twice": POST + b"Content-Length: 0, 37\r\n\r\n" + HIDDEN,
    "a signed length": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length in hex": POST + b"Content-Length: 0x25\r\n\r\n" + HIDDEN,
    "a length with an underscore": POST + b"Content-Length: 3_7\r\n\r\n" + HIDDEN,
    "a huge length": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n" + HIDDEN,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a zero in a header": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "lines without a return": b"POST /v1/receipts HTTP/1.1\nHost: relay\nContent-Length: 0\n\n"
    + HIDDEN,
    "chunks of HTTP/1.0": b"POST /v1/receipts HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "a chunk in hex with 0x": POST + CHUNKED + b"\r\n" + chunk(b"0x0", b"\r\n") + HIDDEN,
    "a signed chunk": POST + CHUNKED + b"\r\n" + chunk(b"+0", b"\r\n") + HIDDEN,
    "a negative chunk": POST + CHUNKED + b"\r\n" + chunk(b"-1", b"\r\n") + HIDDEN,
    "a chunk beyond 64 bits": POST + CHUNKED + b"\r\n" + chunk(b"f" * 17, b"\r\n") + HIDDEN,
    "a chunk longer than it says": POST
    + CHUNKED
    + b"\r\n"
    + chunk(b"1", b"abc\r\n0\r\n\r\n")
    + HIDDEN,
    "a request within the request": POST + b"Content-Length: 37\r\n\r\n" + HIDDEN,
    "a line of 9000 bytes": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: relay\r\n\r\n",
    "a header of 9000 bytes": POST + b"X: " + b"a" * 9000 + b"\r\n\r\n",
    "200 headers": POST + b"X: a\r\n" * 200 + b"\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another program": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "no protocol": b"GET /v1/session\r\n\r\n",
}


@pytest.mark.parametrize("name", SHAPES)
async def test_a_request_in_a_doubtful_shape(relay: Running, name: str) -> None:
    """Refused once and hung up, or read as one request: what hides behind it is never answered as another."""
    peer = await Peer.open(relay.relay.port)
    await peer.say(SHAPES[name])
    said = await peer.ended()
    assert said.count(b"HTTP/") == 1, said
    assert b"hidden" not in said
    assert b"aiohttp" not in said
    status, _space, rest = said.partition(b" ")[2].partition(b" ")
    assert 400 <= int(status) < 500, said
    body = rest.partition(b"\r\n\r\n")[2]
    assert errors.from_json(body).text
    written = relay.written.getvalue()
    assert '"level": "error"' not in written
    assert '"level": "warning"' not in written


async def test_pipelined_calls_wait_outside(relay: Running) -> None:
    """Hundreds of calls in one go are answered in order, and only a few of them are taken up at once."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port)
    taken_up = 0

    async def call() -> None:
        nonlocal taken_up
        wishes = b"".join(
            b"GET /v1/nothing/%d HTTP/1.1\r\nHost: relay\r\n\r\n" % n for n in range(300)
        )
        peer.writer.write(wishes)
        for _each in range(300):
            status, body = await peer.answer()
            assert (status, json.loads(body)["code"]) == (404, "E_UNKNOWN")
            (visitor,) = [one for one in relay.relay.gate._visitors if one.address != "127.0.0.1"]
            taken_up = max(taken_up, len(visitor._messages))

    await honest.while_it_lasts(call())
    assert taken_up <= 32


async def test_a_body_that_grows_when_it_is_unpacked(relay: Running) -> None:
    """Nothing is unpacked: 64 MiB of zeros in 64 KiB are 64 KiB that make no sense."""
    packed = gzip.compress(bytes(64 * MIB))
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        status, body, _headers = await relay.call(
            "POST", "/v1/receipts", io.BytesIO(packed), headers={"Content-Encoding": coding}
        )
        assert (status, errors.from_json(body).code) in {
            (400, Code.E_ENCODING),
            (413, Code.E_TOO_LARGE),
        }


# The WebSocket

BROKEN = {
    "a compressed frame": (frame(OP_BINARY, b"x", rsv=4), 1002),
    "a reserved bit": (frame(OP_BINARY, b"x", rsv=1), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "a long ping": (frame(OP_PING, bytes(126)), 1002),
    "a ping in parts": (frame(OP_PING, b"x", fin=False), 1002),
    "a part of nothing": (frame(OP_MORE, b"x"), 1002),
    "a message within a message": (
        frame(OP_BINARY, b"x", fin=False) + frame(OP_BINARY, b"y"),
        1002,
    ),
    "text": (frame(OP_TEXT, b"x"), 1003),
    "text that is none": (frame(OP_TEXT, b"\xff\xfe"), 1007),
    "a frame that announces too much": (header(OP_BINARY, frames.FRAME_BYTES_MAX + 1), 1009),
    "a frame that announces 2^63": (header(OP_BINARY, 1 << 63), 1009),
    "parts that are too much": (
        b"".join(frame(OP_MORE if n else OP_BINARY, bytes(MIB), fin=False) for n in range(4))
        + header(OP_MORE, 256 * 1024),
        1009,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_frame_that_breaks_the_rules_ends_the_session(
    relay: Running, world: World, name: str
) -> None:
    """Each with its code, before what it announces is held, and nobody else's session."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port)
    await raw_device(peer, world, "AU", 1)
    data, code = BROKEN[name]
    await peer.say(data)
    while await peer.receive() is not None:
        pass
    assert peer.code == code
    await until(lambda: len(relay.relay.sessions) == 2)
    await honest.round()
    assert '"level": "error"' not in relay.written.getvalue()


async def test_compression_is_not_agreed_upon(relay: Running) -> None:
    """Whatever is offered, the answer names no extension: what is packed cannot grow (and lengths tell nothing)."""
    peer = await Peer.open(relay.relay.port)
    offers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    assert b"extensions" not in (await peer.upgrade(offers)).lower()


async def test_the_largest_frame_in_small_parts(relay: Running, world: World) -> None:
    """4 MiB in 1 KiB parts with pings between them is one call, and is answered; empty parts cost nothing."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port)
    device = await raw_device(peer, world, "AU", 1)
    call = frames.encode(Frame(Type.RECORD, 7, bytes(frames.FRAME_BYTES_MAX - 5)))
    assert len(call) == frames.FRAME_BYTES_MAX

    async def parts() -> None:
        for at in range(0, len(call), 1024):
            kind = OP_MORE if at else OP_BINARY
            await peer.say(frame(kind, call[at : at + 1024], fin=False))
            await peer.say(frame(OP_MORE, fin=False) * 20)
            if not at % (64 * 1024):
                await peer.say(frame(OP_PING) + frame(OP_PONG))
        await peer.say(frame(OP_MORE))

    await honest.while_it_lasts(parts())
    assert (await refusal(device.answer(7))).code is Code.E_TOO_LARGE


async def test_a_flood_of_small_messages_is_held_back(relay: Running, world: World) -> None:
    """Pings, pongs and empty messages by the ten thousand: what waits is bounded, and the others have their turn."""
    honest = await bystanders(relay)
    peer = await Peer.open(relay.relay.port)
    await raw_device(peer, world, "AU", 1)
    (session,) = [
        one
        for one in relay.relay.sessions._by_desk["AU"]
        if one.member.device_kid != honest.recipient.signer.kid
    ]
    highest = 0
    drain = asyncio.ensure_future(peer.ended(60))

    async def flood() -> None:
        nonlocal highest
        for _each in range(40):
            await peer.say((frame(OP_PING) + frame(OP_PONG) + frame(OP_BINARY)) * 1000)
            assert session._socket._channel._reader is not None  # type: ignore[attr-defined]
            highest = max(highest, len(session._socket._channel._reader._buffer))  # type: ignore[attr-defined]

    await honest.while_it_lasts(flood())
    assert highest <= 4096
    assert len(relay.relay.sessions.calls) <= CALLS_MAX
    drain.cancel()


async def test_twenty_sessions_of_one_device(relay: Running, world: World) -> None:
    """The last one has it; each of the others is told why; a call that was under way is done, and repeats as it was."""
    honest = await bystanders(relay)
    letter = letter_of(
        world, NOW, nonce="twenty", sender="AU", to="VN", backup="", dev=world.device("AU").kid
    )
    body = frames.join(letter.submission.wire, letter.envelope)
    devices: list[Device] = []

    async def connect(_n: int) -> None:
        device = await relay.device("AU", 1)
        await device.connect()
        await device.send(Type.SUBMIT, body)
        devices.append(device)

    await honest.while_it_lasts(asyncio.gather(*(connect(n) for n in range(20))))
    await until(lambda: len(relay.relay.sessions) == 3)
    answered = []
    for device in devices:
        while (data := await device.socket.receive()) is not None:
            found = frames.decode(data)
            if found.type is Type.ANSWER:
                answered.append(found.body)
            if len(relay.relay.sessions._by_device) == 3 and device is devices[-1] and answered:
                break
        if device.socket.code:
            assert device.socket.code == 4001
    assert len(set(answered)) == 1
    assert await devices[-1].call(Type.SUBMIT, body) == answered[0]


# Up to the limits


def enlarged(world: World, size: int, stanzas: int = 0, nonce: str = "") -> tuple[bytes, bytes]:
    """Return submission and envelope of *size* bytes, or with so many stanzas: as large as the relay can judge."""
    letter = letter_of(world, NOW, nonce=f"{size} {stanzas} {nonce}")
    found = envelope.parse(letter.envelope)
    wire = letter.envelope
    if stanzas:
        made = list(found.stanzas)
        while len(made) < stanzas:
            made.append(suite.sha256(b"%d" % len(made))[:8] + found.stanzas[0][8:])
        head = envelope.framed(found.header.encode()) + len(made).to_bytes(2, "big")
        wire = head + b"".join(made) + found.commitment + bytes(found.stream)
    wire += bytes(max(0, size - len(wire)))
    header = header_of(world, NOW)
    described = min(len(wire), envelope.ENVELOPE_BYTES_MAX)  # nobody can sign for more
    return submission_of(world, header, wire, NOW, size=described).wire, wire


@pytest.mark.parametrize(
    ("size", "stanzas", "code"),
    [
        (envelope.ENVELOPE_BYTES_MAX, 0, None),
        (envelope.ENVELOPE_BYTES_MAX + 1, 0, Code.E_TOO_LARGE),
        (0, envelope.STANZAS_MAX, None),
        (0, envelope.STANZAS_MAX + 1, Code.E_RECIPIENTS),
    ],
    ids=["4 MiB", "4 MiB + 1", "96 stanzas", "97 stanzas"],
)
async def test_envelopes_up_to_the_limits(
    relay: Running, world: World, size: int, stanzas: int, code: Code | None
) -> None:
    """The largest goes in and comes out by both doors, one more is refused by both (PROTOCOL 15.1)."""
    honest = await bystanders(relay)
    submission, wire = enlarged(world, size, stanzas)
    body = frames.join(submission, wire)
    status, answer, _headers = await relay.call("POST", "/v1/messages", io.BytesIO(body))
    if code is not None:
        assert (status, errors.from_json(answer).code) == (errors.HTTP_STATUS[code], code)
        assert (await refusal(honest.sender.call(Type.SUBMIT, body))).code is code
    else:
        assert status == 200
        accepted = await honest.sender.call(Type.SUBMIT, body)
        assert accepted == answer
        pickup = pickup_of(world, [suite.sha256(wire).hex()], NOW)
        found = await honest.recipient.call(Type.PICKUP, pickup)
        assert frames.split(found) == [submission, accepted, wire]
    await honest.round()


async def test_lists_up_to_the_limits(relay: Running, world: World) -> None:
    """64 pickups and 64 receipts in a call pass, 65 do not (PROTOCOL 10)."""
    honest = await bystanders(relay)
    letter = letter_of(world, NOW, nonce="lists")
    await honest.sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    ids = [suite.sha256(b"%d" % n).hex() for n in range(65)]
    signed = [receipt_of(world, "delivered", letter, NOW + n).wire for n in range(65)]
    answer = await honest.recipient.call(Type.RECORD, frames.join(*signed[:64]))
    recorded = receipt.read(answer, {"recorded"}, world.evidence.public)
    assert len(recorded["sids"]) == 64
    found = await honest.recipient.call(Type.PICKUP, pickup_of(world, ids[:64], NOW))
    assert len(frames.split(found)) == 3 * 64
    refused = await refusal(honest.recipient.call(Type.RECORD, frames.join(*signed)))
    assert refused.code is Code.E_TOO_LARGE
    with pytest.raises(Refused):
        pickup_of(world, ids, NOW)  # one table for makers and readers: nobody can sign for 65
    await honest.round()


async def test_one_receipt_many_times_in_a_call(relay: Running, world: World) -> None:
    """It is recorded once, beside another message's: what is durable is never called refused."""
    honest = await bystanders(relay)
    wires = []
    for nonce in ("one", "two"):
        letter = letter_of(world, NOW, nonce=nonce)
        await honest.sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
        wires.append(receipt_of(world, "delivered", letter, NOW).wire)
    answer = await honest.recipient.call(Type.RECORD, frames.join(*wires, *wires, wires[0]))
    recorded = receipt.read(answer, {"recorded"}, world.evidence.public)
    assert len(recorded["sids"]) == 2
    answer = await honest.recipient.call(Type.RECORD, frames.join(*wires[:1] * 3))
    recorded = receipt.read(answer, {"recorded"}, world.evidence.public)
    assert len(recorded["sids"]) == 1


async def test_a_body_of_a_megabyte_opens_and_a_byte_more_cannot_be_sealed(
    relay: Running, world: World
) -> None:
    """The largest text that a desk can seal goes through the relay whole."""
    honest = await bystanders(relay)
    largest = b'"' + b"x" * (content.BODY_BYTES_MAX - 2) + b'"'
    letter = letter_of(world, NOW, body=largest)
    await honest.sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    found = await honest.recipient.call(Type.PICKUP, pickup_of(world, [letter.msg], NOW))
    assert frames.split(found)[2] == letter.envelope
