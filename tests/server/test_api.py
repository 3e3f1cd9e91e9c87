"""The door over HTTP and WebSocket, on a real port: statuses, limits while streaming, tokens, and no 5xx for bad bytes."""

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from builders import letter_of, pickup_of, receipt_of
from builders_door import NOW, place
from builders_keys import World
from builders_relay import Running, running

from keys import directory as directories
from keys import statement
from keys.errors import Code, Refused
from relay import errors
from relay.server import api, calls, outgoing, rates, reading
from relay.server.rates import Call
from relay.server.reading import Lane
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


@pytest.fixture
async def relay(world: World) -> AsyncIterator[Running]:
    """Yield a relay on a free port, with a store in memory."""
    async with running(world) as found:
        yield found


def code_of(body: bytes) -> Code:
    """Return the code of a refusal."""
    return errors.from_json(body).code


async def submit(relay: Running, **changes: Any) -> tuple[Any, int, bytes]:
    """Post a request from VN to AU; return the letter, the status and the body."""
    letter = letter_of(relay.world, relay.clock.at, **changes)
    body = frames.join(letter.submission.wire, letter.envelope)
    status, answer, _headers = await relay.call("POST", "/v1/messages", body)
    return letter, status, answer


# The journey over HTTP


async def test_a_message_goes_in_and_comes_out_over_http(relay: Running, world: World) -> None:
    """POST messages, pickup and receipts do what the session does, with the same bodies (PROTOCOL 12)."""
    letter, status, accepted = await submit(relay)
    assert status == 200
    assert (
        receipt.read(accepted, {"accepted"}, world.evidence.public)["submission"]
        == letter.submission.sid
    )
    body = pickup_of(world, [letter.msg], NOW)
    status, answer, headers = await relay.call("POST", f"/v1/messages/{letter.msg}/pickup", body)
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert frames.split(answer) == [letter.submission.wire, accepted, letter.envelope]

    signed = receipt_of(world, "delivered", letter, NOW)
    status, answer, _headers = await relay.call("POST", "/v1/receipts", frames.join(signed.wire))
    assert status == 200
    assert receipt.read(answer, {"recorded"}, world.evidence.public)["sids"] == [signed.sid]


async def test_a_repeat_gets_the_first_answer(relay: Running) -> None:
    """The same message twice: the same bytes of `accepted` (PROTOCOL 11.2)."""
    letter = letter_of(relay.world, NOW)
    body = frames.join(letter.submission.wire, letter.envelope)
    first = await relay.call("POST", "/v1/messages", body)
    second = await relay.call("POST", "/v1/messages", body)

    assert first[:2] == second[:2]


async def test_prekeys_and_directory_over_http(relay: Running, world: World) -> None:
    """PUT prekeys and directory prove themselves; GET of both needs a token."""
    _device, headers = await relay.connected("AU")
    body = frames.join(*world.prekeys("AU"))
    assert (await relay.call("PUT", "/v1/prekeys", body))[:2] == (200, b"{}")
    status, answer, _headers = await relay.call("GET", "/v1/prekeys/AU", headers=headers)
    assert (status, sorted(frames.split(answer))) == (200, sorted(world.prekeys("AU")))
    for name in world.files:
        if name.startswith("targets/") or name == "timestamp.json":
            found = await relay.call("GET", f"/v1/directory/{name}", headers=headers)
            assert found[:2] == (200, world.files[name])
    status, answer, _headers = await relay.call(
        "PUT", "/v1/directory", directories.pack(world.files)
    )
    assert (status, json.loads(answer)["version"]) == (
        200,
        relay.relay.exchange.directory.version,
    )


# Tokens


@pytest.mark.parametrize("path", ["/v1/prekeys/AU", "/v1/directory/timestamp.json"])
async def test_reads_need_a_token_that_is_good(relay: Running, path: str) -> None:
    """Without a token, with a wrong or an old one: 401, and which scheme is wanted."""
    device, headers = await relay.connected("AU")
    for wrong in ({}, {"Authorization": "Bearer " + "0" * 64}, {"Authorization": "Basic eDp5"}):
        status, body, found = await relay.call("GET", path, headers=wrong)
        assert (status, code_of(body), found["WWW-Authenticate"]) == (401, Code.E_AUTH, "Bearer")
    assert (await relay.call("GET", path, headers=headers))[0] == 200
    relay.clock.at += 15 * 60
    assert (await relay.call("GET", path, headers=headers))[0] == 401
    renewed = json.loads(await device.call(Type.TOKEN, b""))["token"]
    good = {"Authorization": f"Bearer {renewed}"}
    assert (await relay.call("GET", path, headers=good))[0] == 200


async def test_a_revoked_device_reads_nothing_any_more() -> None:
    """A token dies with its device: the newer directory decides, not the token's date."""
    world = World()
    async with running(world) as relay:
        device, headers = await relay.connected("AU", 1)
        await device.socket.channel.close()  # type: ignore[attr-defined]
        while relay.relay.sessions:  # noqa: ASYNC110 - it ends by itself, soon
            await asyncio.sleep(0.01)
        world.revoke("AU", world.handles("AU")[1], NOW)
        world.freshen(NOW)
        body = directories.pack(world.files)
        assert (await relay.call("PUT", "/v1/directory", body))[0] == 200
        status, body, _headers = await relay.call("GET", "/v1/prekeys/VN", headers=headers)

        assert (status, code_of(body)) == (401, Code.E_AUTH)


# Limits


async def test_a_body_that_announces_too_much_is_refused_before_it_is_read(relay: Running) -> None:
    """413 comes while not one byte of the body was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.relay.port)
    size = calls.SUBMIT_BODY_BYTES_MAX + 1
    writer.write(
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    await writer.drain()
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()

    assert b" 413 " in line


async def test_a_body_that_grows_too_large_is_refused_while_it_comes(relay: Running) -> None:
    """Chunks without an end: 413 soon after the limit, and the relay keeps nothing of it."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield bytes(65_536)

    try:
        async with asyncio.timeout(20):
            status, body, _headers = await relay.call("POST", "/v1/receipts", endless())
        assert (status, code_of(body)) == (413, Code.E_TOO_LARGE)
    except aiohttp.ClientConnectionError:
        pass  # the relay has hung up on what still came: as good
    assert relay.relay.api.reading.held(Lane.STRANGERS) == 0
    hits = relay.relay.metrics.registry.get_sample_value
    assert hits("relay_limit_hits_total", {"limit": "body"}) == 1


async def test_the_limit_of_a_body_is_exact(relay: Running) -> None:
    """n bytes are read and found to be no pickup; n+1 are too large."""
    path = f"/v1/messages/{'0' * 64}/pickup"
    status, body, _headers = await relay.call("POST", path, bytes(calls.SMALL_BODY_BYTES_MAX))
    assert (status, "The statement has" in errors.from_json(body).text) == (413, True)
    status, body, _headers = await relay.call("POST", path, bytes(1000))
    assert (status, code_of(body)) == (400, Code.E_ENCODING)
    status, body, _headers = await relay.call("POST", path, bytes(calls.SMALL_BODY_BYTES_MAX + 1))
    assert "all that this call takes" in errors.from_json(body).text


async def begun(
    relay: Running, call: str, size: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin a call whose body of *size* bytes is still to come; return when the relay waits for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.relay.port)
    head = f"{call} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert b" 100 " in await reader.readline()
        await reader.readline()
    return reader, writer


async def test_a_slow_publisher_keeps_nobody_from_publishing(relay: Running, world: World) -> None:
    """A body that does not come to its end holds no turn: revocations get in beside it."""
    _reader, writer = await begun(relay, "PUT /v1/directory", 1000)
    status, _body, _headers = await relay.call(
        "PUT", "/v1/directory", directories.pack(world.files)
    )
    writer.close()

    assert status == 200


async def test_bodies_that_began_together_share_one_limit(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is counted while bytes come, not only when a body begins: whoever goes beyond it is sent away."""
    monkeypatch.setitem(reading.TOTAL_BYTES_MAX, Lane.STRANGERS, 3000)
    lines = [await begun(relay, "POST /v1/receipts", 2000) for _each in range(3)]
    for _reader, writer in lines:
        writer.write(bytes(1500))
        await writer.drain()
    reads = [asyncio.ensure_future(reader.readline()) for reader, _writer in lines]
    async with asyncio.timeout(5):
        done, _pending = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
    for read in reads:
        read.cancel()
    for _reader, writer in lines:
        writer.close()

    assert [b" 503 " in one.result() for one in done] == [True]


async def test_the_rate_of_a_stranger_is_counted_by_address(world: World) -> None:
    """n+1 in a minute is 429 with Retry-After; the desk whose message was sent again keeps its allowance."""
    async with running(world, per_minute={Call.SUBMIT: 2}) as relay:
        letter = letter_of(world, NOW)
        body = frames.join(letter.submission.wire, letter.envelope)
        for _each in range(2):
            assert (await relay.call("POST", "/v1/messages", body))[0] == 200
        status, answer, headers = await relay.call("POST", "/v1/messages", body)
        assert (status, code_of(answer), headers["Retry-After"]) == (429, Code.E_RATE, "30")

        _device, token = await relay.connected("VN")
        assert (await relay.call("POST", "/v1/messages", body, headers=token))[0] == 200


# Bad bytes


async def test_no_request_is_answered_with_5xx(relay: Running, world: World) -> None:
    """Whatever comes in, the answer is 4xx with a code and a sentence: garbage is theirs, not ours."""
    _device, headers = await relay.connected("AU")
    letter = letter_of(world, NOW)
    bodies = (b"", b"\0", b"{}", b"\xff" * 500, frames.join(b"", b""), letter.submission.wire)
    paths = [(method, re.sub(r"\{.*?\}", "x", path)) for method, path in api.ROUTES]
    paths += [("GET", "/"), ("DELETE", "/v1/messages"), ("DELETE", "/v1/blobs/x")]
    for method, path in paths:
        for body in bodies:
            status, answer, _headers = await relay.call(method, path, body, headers=headers)
            if status != 200:
                assert 400 <= status < 500, (method, path, body, answer)
                if method == "HEAD":
                    continue  # there is no body to say why
                refused = errors.from_json(answer)
                assert refused.text
                assert refused.code is not Code.E_BUSY


async def test_every_code_has_the_status_of_the_table(relay: Running) -> None:
    """A refusal of the corridor leaves with the HTTP status of PROTOCOL 16."""
    letter, _status, _body = await submit(relay)
    other = letter_of(relay.world, NOW, nonce="other")
    for body, status, code in (
        (frames.join(letter.submission.wire, other.envelope), 400, Code.E_BINDING),
        (frames.join(b"{}", other.envelope), 400, Code.E_ENCODING),
        (frames.join(other.submission.wire, b"x" * 200), 400, Code.E_VERSION),
    ):
        found, answer, _headers = await relay.call("POST", "/v1/messages", body)
        assert (found, code_of(answer)) == (status, code)
    body = pickup_of(relay.world, [letter.msg], NOW, desk="AU-B")
    found, answer, _headers = await relay.call("POST", f"/v1/messages/{letter.msg}/pickup", body)
    assert (found, code_of(answer)) == (404, Code.E_UNKNOWN)
    found, answer, _headers = await relay.call("POST", f"/v1/messages/{'0' * 64}/pickup", body)
    assert (found, code_of(answer)) == (400, Code.E_BINDING)
    relay.clock.at += 3600
    late = pickup_of(relay.world, [letter.msg], NOW)
    found, answer, _headers = await relay.call("POST", f"/v1/messages/{letter.msg}/pickup", late)
    assert (found, code_of(answer)) == (400, Code.E_CLOCK)
    assert errors.read(answer)[1] == relay.clock.at  # so that a wrong clock can be seen


async def test_a_bug_is_500_and_shows_nothing(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw leaves as "unknown, send again"; the log says where, and not with what."""

    async def broken(*_given: object) -> bytes:
        raise KeyError("a secret")

    monkeypatch.setattr(relay.relay.exchange, "record", broken)
    status, body, _headers = await relay.call("POST", "/v1/receipts", frames.join(b"x"))

    assert (status, code_of(body)) == (500, Code.E_BUSY)
    assert b"secret" not in body
    assert "KeyError" in relay.written.getvalue()
    assert "secret" not in relay.written.getvalue()


# The WebSocket


async def test_a_session_over_a_real_socket(relay: Running, world: World) -> None:
    """Challenge, connect, welcome, resume, submit, notify: the same over TCP as in memory."""
    sender, _token = await relay.connected("VN")
    device, _token = await relay.connected("AU")
    letter = letter_of(world, NOW)
    await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))

    assert place(await device.push())["msg"] == letter.msg


async def test_text_is_no_frame(relay: Running) -> None:
    """A text message ends the session with 1003."""
    device, _token = await relay.connected("AU")
    await device.socket.channel.send_str("hello")  # type: ignore[attr-defined]

    assert await device.socket.receive() is None
    assert device.socket.code == 1003


async def test_a_frame_has_its_limit(relay: Running) -> None:
    """n bytes are read and refused for what they are; n+1 end the session with 1009."""
    device, _token = await relay.connected("AU")
    body = bytes(frames.FRAME_BYTES_MAX - frames.FRAME_HEAD_BYTES)
    with pytest.raises(Refused) as refusal:
        await device.call(Type.RECORD, body)
    assert refusal.value.code in (Code.E_TOO_LARGE, Code.E_ENCODING)

    await device.socket.send(bytes(frames.FRAME_BYTES_MAX + 1))
    assert await device.socket.receive() is None
    assert device.socket.code == 1009


async def test_the_session_is_not_compressed(relay: Running) -> None:
    """Compression before encryption tells lengths: it is not even offered an answer."""
    channel = await relay.session.ws_connect(f"{relay.base}/v1/session", compress=15)

    assert channel.compress == 0
    await channel.close()


async def test_a_real_slow_reader_is_cut_off_and_everything_is_kept(
    relay: Running, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that asks for much and reads nothing is cut off in bounded memory; its mailbox waits for it."""
    monkeypatch.setattr(outgoing, "SLOWEST_BYTES_PER_S", 1 << 40)
    sender, _token = await relay.connected("VN")
    slow, _token = await relay.connected("AU")
    (session,) = relay.relay.sessions._by_desk["AU"]
    session._out._send_s = 0.3
    channel: aiohttp.ClientWebSocketResponse = slow.socket.channel  # type: ignore[attr-defined]
    channel._reader._protocol.pause_reading()
    name = max(world.files, key=lambda one: len(world.files[one])).encode()
    highest = 0
    with contextlib.suppress(OSError):
        async with asyncio.timeout(30):
            for number in itertools.count(1):
                await channel.send_bytes(frames.encode(Frame(Type.GET_FILE, number, name)))
                await asyncio.sleep(0)  # the relay lives on this very loop
                highest = max(highest, session._out.bytes)
                if session._over.is_set():
                    break
    async with asyncio.timeout(10):
        await session.ended()
    assert highest <= outgoing.OUTGOING_BYTES_MAX + 65 * len(world.files[name.decode()])
    letter = letter_of(world, NOW)
    await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    again, _token = await relay.connected("AU")

    assert place(await again.push())["msg"] == letter.msg
    hits = relay.relay.metrics.registry.get_sample_value
    assert hits("relay_limit_hits_total", {"limit": "slow_reader"}) == 1
    channel._reader._protocol.resume_reading()
    await channel.close()


async def test_after_a_send_that_was_given_up_the_line_is_cut(relay: Running) -> None:
    """No goodbye is tried on such a line: aiohttp could not write it, and would fail in its own way."""

    class Stuck:
        transport: Any = None
        aborted = False

        async def send_bytes(self, _data: bytes) -> None:
            await asyncio.Event().wait()

        async def close(self, **_given: Any) -> None:
            raise asyncio.CancelledError

        def abort(self) -> None:
            self.aborted = True

    stuck: Any = Stuck()
    stuck.transport = stuck
    line = api.WebSocket(stuck, stuck)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await line.send(b"x")
    await line.close(1008, "slow")

    assert stuck.aborted


async def test_a_plain_get_of_the_session_is_refused(relay: Running) -> None:
    """Without the WebSocket handshake there is nothing to see."""
    status, body, _headers = await relay.call("GET", "/v1/session")

    assert (status, code_of(body)) == (400, Code.E_ENCODING)


# Numbers and lines


async def test_metrics_name_no_message_no_person_and_no_pair(relay: Running, world: World) -> None:
    """After traffic the numbers have moved, and nothing in them is an id, a handle, a desk or an address."""
    _letter, _status, _answer = await submit(relay)
    await relay.connected("AU")
    await relay.call("GET", "/v1/directory/nothing")
    async with relay.session.get(f"{relay.observed}/metrics") as response:
        text = await response.text()

    assert 'relay_messages_accepted_total{mode="actual",priority="urgent"} 1.0' in text
    assert 'code="2xx",le="+Inf",method="POST",route="/v1/messages"} 1.0' in text
    labels = set(re.findall(r'="([^"]*)"', text))
    assert not [one for one in labels if re.search(r"[0-9a-f]{16}", one)]
    assert not labels & {"VN", "AU", "AU-B", *world.handles("AU"), "127.0.0.1", world.service}


async def test_lines_hold_no_secret(relay: Running, world: World) -> None:
    """After a connect, a refusal and a message: no token, id, key, handle or body stands in any line."""
    device, headers = await relay.connected("VN")
    letter, _status, _answer = await submit(relay)
    stranger = await relay.device("AU")
    with pytest.raises(Refused):
        await stranger.connect(nonce="0" * 64)
    await device.call(Type.GET_FILE, b"timestamp.json")
    secrets = [
        headers["Authorization"].removeprefix("Bearer "),
        letter.msg,
        letter.submission.sid,
        device.signer.kid,
        device.signer.public.hex(),
        device.signer.seed.hex(),
        statement.b64u(device.signer.seed),
        *world.handles("VN"),
        "please keep the logs",
    ]
    written = relay.written.getvalue()

    assert "E_AUTH" in written
    assert not [one for one in secrets if one in written]


def test_rates_know_every_call() -> None:
    """Each kind of call has an allowance."""
    assert set(rates.PER_MINUTE) == set(Call)
