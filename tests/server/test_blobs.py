"""Attachments at the door: in, out, gone on with, refused; on a real port (PROTOCOL 9.5, 11.3, 12)."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import letter_of, receipt_of, submission_of
from builders_blobs import Sealed, blob_of, get, head, offset, pieces, put, put_piece
from builders_door import NOW
from builders_keys import World
from builders_relay import Running, running

from keys.errors import Code
from relay import errors
from relay.core import limits
from relay.server import blobs as door
from relay.store.room import Room
from relay.wire import blob as frame
from relay.wire import frames

DAY = 86_400
SMALL = blob_of("small")
LARGE = blob_of("large", 300_000)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


@pytest.fixture
async def relay(world: World, tmp_path: Path) -> AsyncIterator[Running]:
    """Yield a relay that takes attachments."""
    async with running(world, blobs=tmp_path / "blobs") as found:
        yield found


@pytest.fixture
async def token(relay: Running) -> dict[str, str]:
    """Return the headers of VN's device."""
    return (await relay.connected("VN"))[1]


def code_of(body: bytes) -> Code:
    """Return the code of a refusal."""
    return errors.from_json(body).code


def files(relay: Running) -> set[str]:
    """Return the names of the blobs' files, parts included."""
    folder = relay.relay.place.blobs
    assert folder is not None
    return {path.name for path in folder.iterdir()} - {"relay.lock"}


async def submit(relay: Running, *blobs: Sealed, **header: Any) -> tuple[Any, int, bytes]:
    """Submit a request of VN that names blobs; return letter, status and answer."""
    letter = letter_of(relay.world, relay.clock.at, **header)
    named = submission_of(
        relay.world,
        letter.header,
        letter.envelope,
        relay.clock.at,
        blobs=[one.id for one in blobs],
    )
    letter = replace(letter, submission=named)
    body = frames.join(letter.submission.wire, letter.envelope)
    status, answer, _headers = await relay.call("POST", "/v1/messages", body)
    return letter, status, answer


def numbers(relay: Running, result: str) -> float | None:
    """Return how many bodies ended so."""
    value = relay.relay.metrics.registry.get_sample_value
    return value("relay_blob_uploads_total", {"result": result})


# In and out


async def test_a_blob_goes_in_and_comes_out(relay: Running, token: dict[str, str]) -> None:
    """201 once it is durable, 200 the second time; then HEAD and GET give length, tag and bytes."""
    assert (await head(relay, token, LARGE))[0] == 404
    assert (await put(relay, token, LARGE))[:2] == (201, b"{}")
    assert files(relay) == {LARGE.id}
    assert (await put(relay, token, LARGE))[0] == 200

    status, headers = await head(relay, token, LARGE)
    assert (status, int(headers["Content-Length"])) == (200, len(LARGE))
    status, body, headers = await get(relay, token, LARGE)
    assert (status, body, headers["ETag"]) == (200, LARGE.data, f'"{LARGE.id}"')
    assert headers["Accept-Ranges"] == "bytes"
    assert (numbers(relay, "whole"), numbers(relay, "known")) == (1, 1)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, len(LARGE) - 1),
        ("bytes=70000-", 70_000, len(LARGE) - 1),
        ("bytes=5-5", 5, 5),
        ("bytes=65535-65536", 65_535, 65_536),
        (f"bytes={len(LARGE) - 1}-", len(LARGE) - 1, len(LARGE) - 1),
        ("bytes=10-999999999999999", 10, len(LARGE) - 1),
        ("bytes=-7", len(LARGE) - 7, len(LARGE) - 1),
        ("bytes=-999999999", 0, len(LARGE) - 1),
    ],
)
async def test_a_part_is_read(
    relay: Running, token: dict[str, str], asked: str, first: int, last: int
) -> None:
    """A download that broke off goes on from any byte: 206 with where it begins and ends."""
    await put(relay, token, LARGE)
    status, body, headers = await get(relay, token, LARGE, Range=asked)
    assert body == LARGE.data[first : last + 1]
    whole = last - first + 1 == len(LARGE)
    assert status == (200 if whole else 206)
    assert headers.get("Content-Range") == (None if whole else f"bytes {first}-{last}/{len(LARGE)}")


@pytest.mark.parametrize(
    "asked",
    [
        *(f"bytes={len(LARGE)}-", "bytes=9-8", "bytes=-0", "bytes=-", "bytes=1-2,4-5", "lines=1-2"),
        *("bytes=a-b", "bytes= 1-2", "bytes=--1", "-", "bytes=" + "9" * 500 + "-"),
    ],
)
async def test_ranges_that_there_are_not(relay: Running, token: dict[str, str], asked: str) -> None:
    """Beyond the end, backwards, two at once, or no range at all: 416, and how long the blob is."""
    await put(relay, token, LARGE)
    status, body, headers = await get(relay, token, LARGE, Range=asked)
    assert (status, code_of(body)) == (416, Code.E_ENCODING)
    assert headers["Content-Range"] == f"bytes */{len(LARGE)}"


async def half_read(relay: Running, token: dict[str, str], made: Sealed, wait: Any) -> int:
    """Put a blob, begin to read it, take no more than its head before *wait*; return how much came in the end."""
    headers = {**token, "Content-Length": str(len(made))}
    body = pieces(made.data, 500_000)
    assert (await relay.call("PUT", f"/v1/blobs/{made.id}", body, headers=headers))[0] == 201
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.relay.port, limit=1024)
    lines = [f"GET /v1/blobs/{made.id} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in token.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    assert b" 200 " in await reader.readline()
    await wait()
    found = 0
    with suppress(ConnectionError):
        while more := await reader.read(1_000_000):
            found += len(more)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return found


async def test_whoever_takes_nothing_is_cut_off(
    relay: Running,
    token: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A download that stands still ends, its place is free again, and nobody is told at length."""
    monkeypatch.setattr(door, "PIECE_S", 0.2)
    made = blob_of("much", 12_000_000)

    async def until_free() -> None:
        while sum(relay.relay.api._blobs._reading.values()):  # noqa: ASYNC110 - it ends by itself
            await asyncio.sleep(0.02)

    assert await half_read(relay, token, made, until_free) < len(made)
    assert (await get(relay, token, made, Range="bytes=-3"))[1] == made.data[-3:]
    assert caplog.records == []


async def test_a_file_that_is_cut_meanwhile(
    relay: Running, token: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """What is missing is not made up: the answer breaks off, and the next one says that it is lost."""
    made = blob_of("much", 12_000_000)

    async def cut() -> None:
        assert relay.relay.place.blobs is not None
        os.truncate(relay.relay.place.blobs / made.id, 11_000_000)

    assert await half_read(relay, token, made, cut) < 11_100_000
    status, body, _headers = await get(relay, token, made, Range="bytes=11500000-")
    assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)
    assert caplog.records == []


async def test_a_range_of_another_blob_is_not_joined(relay: Running, token: dict[str, str]) -> None:
    """If-Range with another tag: the whole blob, from its beginning."""
    await put(relay, token, LARGE)
    right = await get(relay, token, LARGE, Range="bytes=9-", If_Range=f'"{LARGE.id}"')
    wrong = await get(relay, token, LARGE, Range="bytes=9-", If_Range=f'"{SMALL.id}"')
    assert (right[0], len(right[1])) == (206, len(LARGE) - 9)
    assert (wrong[0], len(wrong[1])) == (200, len(LARGE))


# In pieces


async def test_a_blob_comes_in_pieces(relay: Running, token: dict[str, str]) -> None:
    """Each piece is answered with how much is on the disk, the last one with 201."""
    cuts = [0, 5, 13, 70_000, 70_001, 200_000]
    for first, last in itertools.pairwise(cuts):
        status, _body, headers = await put_piece(relay, token, LARGE, first, last)
        assert (status, offset(headers)) == (202, last)
        status, headers = await head(relay, token, LARGE)
        assert (status, offset(headers)) == (204, last)
    assert files(relay) == {f"{LARGE.id}.VN.part"}
    assert (await put_piece(relay, token, LARGE, cuts[-1], len(LARGE)))[0] == 201
    assert (await get(relay, token, LARGE))[1] == LARGE.data
    assert files(relay) == {LARGE.id}


async def test_a_piece_that_does_not_fit(relay: Running, token: dict[str, str]) -> None:
    """409 and where to go on; nothing of it was taken (E_BLOB_MISSING)."""
    status, body, headers = await put_piece(relay, token, LARGE, 10, 20)
    assert (status, code_of(body), offset(headers)) == (409, Code.E_BLOB_MISSING, 0)
    await put_piece(relay, token, LARGE, 0, 100_000)
    for first in (0, 99_999, 100_001):
        status, body, headers = await put_piece(relay, token, LARGE, first, 150_000)
        assert (status, code_of(body), offset(headers)) == (409, Code.E_BLOB_MISSING, 100_000)
    assert (await put_piece(relay, token, LARGE, 100_000, len(LARGE)))[0] == 201


async def test_a_whole_body_begins_anew(relay: Running, token: dict[str, str]) -> None:
    """Without a range the body is the blob, whatever part of it is here."""
    await put_piece(relay, token, LARGE, 0, 1000)
    assert (await put(relay, token, LARGE))[0] == 201


async def test_a_line_that_breaks_leaves_what_came(
    relay: Running, token: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Half a body, then nothing: HEAD says how much is here, the rest completes it, and no log is filled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.relay.port)
    lines = [f"PUT /v1/blobs/{LARGE.id} HTTP/1.1", "Host: x", f"Content-Length: {len(LARGE)}"]
    lines += [f"{name}: {value}" for name, value in token.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + LARGE.data[:150_000])
    await writer.drain()
    uploads = relay.relay.exchange.blobs._uploads  # type: ignore[union-attr]
    while sum(one.size for one in uploads.values()) < 150_000:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    writer.transport.abort()
    while uploads:  # noqa: ASYNC110 - it ends by itself, soon
        await asyncio.sleep(0.01)
    assert (await reader.read())[:1] in (b"", b"H")
    status, headers = await head(relay, token, LARGE)
    assert (status, offset(headers)) == (204, 150_000)
    assert (await put_piece(relay, token, LARGE, 150_000, len(LARGE)))[0] == 201
    assert numbers(relay, "broken") == 1
    assert caplog.records == []


async def test_two_at_once(relay: Running, token: dict[str, str]) -> None:
    """The second call for the same blob is told to come later (503), and the first one is not disturbed."""
    first = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield LARGE.data[:100_000]
        await first.wait()
        yield LARGE.data[100_000:]

    headers = {**token, "Content-Length": str(len(LARGE))}
    going = asyncio.ensure_future(
        relay.call("PUT", f"/v1/blobs/{LARGE.id}", slowly(), headers=headers)
    )
    while not relay.relay.exchange.blobs._uploads:  # type: ignore[union-attr]  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    status, body, headers_ = await put(relay, token, LARGE)
    assert (status, code_of(body), headers_["Retry-After"]) == (503, Code.E_BUSY, "2")
    _device, other = await relay.connected("AU")
    assert (await put(relay, other, LARGE))[0] == 201  # another desk's is its own
    first.set()
    assert (await going)[0] == 201
    assert files(relay) == {LARGE.id}
    row = await relay.relay.exchange.store.blob(LARGE.id)
    assert row is not None
    assert row.desks == ("AU", "VN")


# Refused


async def test_nobody_without_a_token(relay: Running) -> None:
    """All three calls need a bearer token (12.8)."""
    for method in ("PUT", "GET", "HEAD"):
        for headers in ({}, {"Authorization": "Bearer " + "0" * 64}):
            status, _body, found = await relay.call(
                method, f"/v1/blobs/{SMALL.id}", SMALL.data, headers=headers
            )
            assert (status, found["WWW-Authenticate"]) == (401, "Bearer")
    assert files(relay) == set()


@pytest.mark.parametrize(
    "name",
    [
        *("x", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "g", "..", "%2e%2e%2f" + "0" * 60),
        *("..%2f..%2fetc%2fpasswd", "%00" + "0" * 63, SMALL.id + ".part", SMALL.id + "%2f."),
        *(SMALL.id + ".VN.part", "relay.lock", SMALL.id + "%0a", "\uff10" * 64),
    ],
)
async def test_names_that_are_none(relay: Running, token: dict[str, str], name: str) -> None:
    """Whatever is no id is not looked for: 404, and nothing is written (hostile paths)."""
    for method in ("PUT", "GET", "HEAD"):
        body = SMALL.data if method == "PUT" else None
        status, _body, _headers = await relay.call(method, f"/v1/blobs/{name}", body, headers=token)
        assert status in (404, 400), (method, status)
    assert files(relay) == set()


async def test_lengths_that_no_blob_has(relay: Running, token: dict[str, str]) -> None:
    """Too large is 413, no size class is 400; both before one byte of the body is asked for (15)."""
    for length, status, code in (
        (frame.BLOB_BYTES_MAX + 1, 413, Code.E_TOO_LARGE),
        (2**50, 413, Code.E_TOO_LARGE),
        (frame.BLOB_BYTES_MAX - 1, 400, Code.E_ENCODING),
        (len(SMALL) - 1, 400, Code.E_ENCODING),
        (0, 400, Code.E_ENCODING),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.relay.port)
        lines = [f"PUT /v1/blobs/{SMALL.id} HTTP/1.1", "Host: x", f"Content-Length: {length}"]
        lines += ["Expect: 100-continue", f"Authorization: {token['Authorization']}"]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        async with asyncio.timeout(5):
            head_, _, rest = (await reader.readuntil(b"}")).partition(b"\r\n\r\n")
        writer.close()
        assert head_.startswith(f"HTTP/1.1 {status} ".encode()), head_
        assert code_of(rest) is code
    assert files(relay) == set()


async def test_a_body_that_waits_to_be_asked(relay: Running, token: dict[str, str]) -> None:
    """With Expect: 100-continue the body is asked for once it may come, and taken."""
    status, _body, _headers = await relay.call(
        "PUT", f"/v1/blobs/{SMALL.id}", SMALL.data, headers=token, expect100=True
    )
    assert status == 201


@pytest.mark.parametrize(
    "said",
    [
        *("bytes 0-9/10", "bytes 0-9/x", "bytes 9-0/16445", "bytes 0-16444/16444", "0-9/16445"),
        *("bytes 0-9", "bytes */16445", "bytes 0-11/16445", "bytes 00000000000000000-9/16445"),
    ],
)
async def test_pieces_that_contradict_themselves(
    relay: Running, token: dict[str, str], said: str
) -> None:
    """A Content-Range that is none, or not of this body, is E_ENCODING."""
    status, body, _headers = await relay.call(
        "PUT",
        f"/v1/blobs/{SMALL.id}",
        SMALL.data[:10],
        headers={**token, "Content-Range": said},
    )
    assert (status, code_of(body)) == (400, Code.E_ENCODING)
    assert files(relay) == set()


async def test_a_body_without_a_length(relay: Running, token: dict[str, str]) -> None:
    """What does not say how long it is cannot be weighed against the quota: E_ENCODING."""
    status, body, _headers = await relay.call(
        "PUT", f"/v1/blobs/{SMALL.id}", pieces(SMALL.data, 4096), headers=token
    )
    assert (status, code_of(body)) == (400, Code.E_ENCODING)


async def test_bytes_that_are_not_the_blob(relay: Running, token: dict[str, str]) -> None:
    """Another hash: E_BINDING, and the file is gone; in pieces: begin again (9.5). No magic: E_VERSION."""
    wrong = replace(SMALL, data=SMALL.data[:-1] + bytes([SMALL.data[-1] ^ 1]))
    status, body, _headers = await put(relay, token, wrong)
    assert (status, code_of(body)) == (400, Code.E_BINDING)
    assert files(relay) == set()

    await put_piece(relay, token, wrong, 0, 8000)
    status, body, headers = await put_piece(relay, token, wrong, 8000, len(wrong))
    assert (status, code_of(body), offset(headers)) == (409, Code.E_BLOB_MISSING, 0)
    assert files(relay) == set()

    status, body, _headers = await put(relay, token, SMALL, b"poc24/2 blob\n" + SMALL.data[13:])
    assert (status, code_of(body)) == (400, Code.E_VERSION)
    status, body, _headers = await put_piece(
        relay, token, replace(SMALL, data=b"poc23" + SMALL.data[5:]), 0, 5
    )
    assert (status, code_of(body)) == (400, Code.E_VERSION)
    assert files(relay) == set()
    assert (await head(relay, token, SMALL))[0] == 404
    assert (await put(relay, token, SMALL))[0] == 201


async def test_a_slow_body_is_cut_off_and_kept(
    relay: Running, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who brings too little in its time is refused (503), frees the place, and can go on."""
    monkeypatch.setattr(door, "WINDOW_S", 0.2)

    async def dripping() -> AsyncIterator[bytes]:
        yield LARGE.data[:20_000]
        await asyncio.sleep(30)

    headers = {**token, "Content-Length": str(len(LARGE))}
    async with asyncio.timeout(5):
        status, body, _headers = await relay.call(
            "PUT", f"/v1/blobs/{LARGE.id}", dripping(), headers=headers
        )
    assert (status, code_of(body)) == (503, Code.E_BUSY)
    assert offset((await head(relay, token, LARGE))[1]) == 20_000
    assert (await put_piece(relay, token, LARGE, 20_000, len(LARGE)))[0] == 201
    value = relay.relay.metrics.registry.get_sample_value
    assert value("relay_limit_hits_total", {"limit": "slow_sender"}) == 1


async def test_a_desk_has_a_quota(world: World, tmp_path: Path) -> None:
    """What is here and what has begun to come both count; another desk is not touched (E_RATE)."""
    three = [blob_of(str(n)) for n in range(3)]
    quota = 2 * len(SMALL) + 100
    async with running(world, blobs=tmp_path / "blobs", blob_quota=quota) as relay:
        _device, vn = await relay.connected("VN")
        _device, au = await relay.connected("AU")
        assert (await put(relay, vn, three[0]))[0] == 201
        assert (await put_piece(relay, vn, three[1], 0, 200))[0] == 202
        status, body, _headers = await put(relay, vn, three[2])
        assert (status, code_of(body)) == (429, Code.E_RATE)
        assert "quota" in errors.from_json(body).text
        assert (await put(relay, vn, three[0]))[0] == 200
        assert (await put_piece(relay, vn, three[1], 200, len(SMALL)))[0] == 201
        assert (await put(relay, au, three[2]))[0] == 201
        value = relay.relay.metrics.registry.get_sample_value
        assert value("relay_limit_hits_total", {"limit": "blob_quota"}) == 1
        assert (await put(relay, vn, three[2]))[
            0
        ] == 429  # whole at another desk: its own all the same


async def test_the_network_promises_a_quota(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What network.json gives each desk, an operator cannot make less (11.14)."""
    async with running(world, blobs=tmp_path / "blobs", blob_quota=len(SMALL) - 1) as relay:
        _device, token = await relay.connected("VN")
        assert (await put(relay, token, SMALL))[0] == 429
        given = dict(relay.relay.exchange.directory.network.limits)
        network = replace(
            relay.relay.exchange.directory.network,
            limits={**given, "blob_quota_bytes": len(SMALL)},
        )
        directory = replace(relay.relay.exchange.directory, network=network)
        monkeypatch.setattr(type(relay.relay.exchange), "directory", directory)
        assert (await put(relay, token, SMALL))[0] == 201
        assert (await put(relay, token, LARGE))[0] == 429


async def test_a_disk_that_is_nearly_full(world: World, tmp_path: Path) -> None:
    """No room, no attachment (503); what was begun is kept, and goes on when there is room."""
    full = [False]

    class Disk:
        f_blocks, f_frsize = 1000, 1024**3

        @property
        def f_bavail(self) -> int:
            return 0 if full[0] else 1000

    room = Room(tmp_path / "r.db", ballast_bytes=0, statvfs=lambda _path: Disk())  # type: ignore[arg-type,return-value]
    async with running(world, blobs=tmp_path / "blobs", room=room) as relay:
        _device, token = await relay.connected("VN")
        assert (await put_piece(relay, token, LARGE, 0, 1000))[0] == 202
        full[0] = True
        status, body, headers = await put_piece(relay, token, LARGE, 1000, len(LARGE))
        assert (status, code_of(body), headers["Retry-After"]) == (503, Code.E_BUSY, "2")
        full[0] = False
        assert (await put_piece(relay, token, LARGE, 1000, len(LARGE)))[0] == 201


async def test_no_more_than_so_many_at_once(
    relay: Running, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, begun blobs and downloads of a desk are bounded, and of all desks together."""
    monkeypatch.setattr(limits, "PARTS_PER_DESK_MAX", 2)
    for name in "ab":
        assert (await put_piece(relay, token, blob_of(name), 0, 20))[0] == 202
    status, body, _headers = await put_piece(relay, token, blob_of("c"), 0, 20)
    assert (status, code_of(body)) == (429, Code.E_RATE)
    assert (await put_piece(relay, token, blob_of("a"), 20, 40))[0] == 202
    monkeypatch.setattr(limits, "UPLOADS_PER_DESK_MAX", 0)
    assert (await put_piece(relay, token, blob_of("a"), 40, 60))[0] == 503
    monkeypatch.setattr(limits, "UPLOADS_PER_DESK_MAX", 8)
    assert (await put_piece(relay, token, blob_of("a"), 40, len(SMALL)))[0] == 201
    monkeypatch.setattr(limits, "DOWNLOADS_PER_DESK_MAX", 0)
    assert (await get(relay, token, blob_of("a")))[0] == 503


async def test_a_relay_without_a_folder(world: World) -> None:
    """A relay that takes no attachments says so, and refuses messages that name any."""
    async with running(world) as relay:
        _device, token = await relay.connected("VN")
        status, body, _headers = await put(relay, token, SMALL)
        assert (status, code_of(body)) == (404, Code.E_UNKNOWN)
        _letter, status, body = await submit(relay, SMALL)
        assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)


# With a message


async def test_a_message_names_what_its_desk_has_put(relay: Running, token: dict[str, str]) -> None:
    """Not there, not whole, or put by another desk: E_BLOB_MISSING; then accepted (11.3)."""
    _device, other = await relay.connected("AU")
    await put_piece(relay, token, LARGE, 0, 1000)
    await put(relay, other, SMALL)
    for wrong in (SMALL, LARGE, blob_of("never")):
        _letter, status, body = await submit(relay, wrong)
        assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)
    assert (await put(relay, token, SMALL))[0] == 201
    assert (await put(relay, token, LARGE))[0] == 201
    _letter, status, _body = await submit(relay, SMALL, LARGE)
    assert status == 200


async def test_a_blob_that_goes_at_the_last_moment(
    relay: Running, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the commit it is let go: the commit refuses, nothing is accepted, and all can be repeated."""
    await put(relay, token, SMALL)
    exchange = relay.relay.exchange
    blobs = exchange.blobs
    assert blobs is not None
    held = blobs.held

    async def held_no_longer(*asked: Any) -> Any:
        found = await held(*asked)
        assert await blobs.house(NOW + DAY) == 1
        return found

    monkeypatch.setattr(blobs, "held", held_no_longer)
    letter, status, body = await submit(relay, SMALL)
    assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)
    assert await exchange.store.load(letter.msg) is None
    monkeypatch.setattr(blobs, "held", held)
    assert (await put(relay, token, SMALL))[0] == 201
    again = frames.join(letter.submission.wire, letter.envelope)
    assert (await relay.call("POST", "/v1/messages", again))[0] == 200


async def test_a_repeat_is_answered_before_blobs_are_looked_at(
    relay: Running, token: dict[str, str]
) -> None:
    """The attachment is lost afterwards: the known message gets its `accepted` all the same (11.2)."""
    await put(relay, token, SMALL)
    letter, status, first = await submit(relay, SMALL)
    assert relay.relay.place.blobs is not None
    (relay.relay.place.blobs / SMALL.id).unlink()
    body = frames.join(letter.submission.wire, letter.envelope)
    again = await relay.call("POST", "/v1/messages", body)
    assert (status, again[:2]) == (200, (200, first))


async def test_who_may_read(relay: Running, token: dict[str, str]) -> None:
    """Who put it, and the desks of a message that names it; the backup once it is engaged; nobody else (9.5)."""
    _device, au = await relay.connected("AU")
    _device, backup = await relay.connected("AU-B")
    await put(relay, token, SMALL)
    assert (await get(relay, token, SMALL))[0] == 200
    for other in (au, backup):
        assert (await get(relay, other, SMALL))[0] == 404
        assert (await head(relay, other, SMALL))[0] == 404
    letter, status, _body = await submit(relay, SMALL, backup="AU-B")
    assert status == 200
    assert (await get(relay, au, SMALL))[:2] == (200, SMALL.data)
    assert (await head(relay, au, SMALL))[0] == 200
    assert (await get(relay, backup, SMALL))[0] == 404

    exchange = relay.relay.exchange
    while "AU-B" not in (await exchange._ledger.load(letter.msg)).message.readers:  # type: ignore[union-attr]
        due = await exchange.store.next_due()
        assert due is not None
        relay.clock.at = max(relay.clock.at, due)
        await exchange.tick(relay.clock.at)
    renewed = (await relay.connected("AU-B", 1))[1]
    assert (await get(relay, renewed, SMALL))[:2] == (200, SMALL.data)


async def test_blobs_go_with_their_message(relay: Running, token: dict[str, str]) -> None:
    """Unnamed ones after a day, named ones with the envelope, parts after a day: rows and files (11.5)."""
    exchange = relay.relay.exchange
    assert exchange.blobs is not None
    alone, begun = blob_of("alone"), blob_of("begun", 50_000)
    for one in (SMALL, alone):
        await put(relay, token, one)
    await put_piece(relay, token, begun, 0, 300)
    letter, _status, _body = await submit(relay, SMALL)
    assert await exchange.blobs.house(NOW + DAY - 1) == 0
    assert files(relay) == {SMALL.id, alone.id, f"{begun.id}.VN.part"}
    assert await exchange.blobs.house(NOW + DAY) == 2
    assert files(relay) == {SMALL.id}
    assert (await put_piece(relay, token, begun, 300, 400))[0] == 409

    closed = receipt_of(relay.world, "closed", letter, NOW)
    assert (await relay.call("POST", "/v1/receipts", frames.join(closed.wire)))[0] == 200
    stored = await exchange.store.load(letter.msg)
    assert stored is not None
    last = letter.header.expires + limits.ENVELOPE_S_MAX
    await exchange.store.purge(last, 10)
    assert await exchange.store.envelope(letter.msg) is None
    assert await exchange.blobs.house(last) == 1
    assert files(relay) == set()
    assert await exchange.store.blob(SMALL.id) is None
    assert (await exchange.store.counts())["blob_bytes"] == 0


async def test_a_lost_file_is_told_and_can_be_put_again(
    relay: Running, token: dict[str, str]
) -> None:
    """A row without its file: a finding, no new message may name it, readers hear that it is lost; a new PUT heals."""
    _device, au = await relay.connected("AU")
    await put(relay, token, SMALL)
    await submit(relay, SMALL)
    exchange, folder = relay.relay.exchange, relay.relay.place.blobs
    assert exchange.blobs is not None
    assert folder is not None
    (folder / SMALL.id).unlink()
    (finding,) = await exchange.blobs.check()
    assert SMALL.id in finding
    status, body, _headers = await get(relay, au, SMALL)
    assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)
    assert (await head(relay, token, SMALL))[0] == 404
    _letter, status, body = await submit(relay, SMALL, priority="routine")
    assert (status, code_of(body)) == (409, Code.E_BLOB_MISSING)

    assert (await put(relay, token, SMALL))[0] == 201
    assert await exchange.blobs.check() == []
    assert (await get(relay, au, SMALL))[:2] == (200, SMALL.data)


async def test_one_blob_is_not_named_by_everything(
    relay: Running, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Re-seals share a blob; more messages than that may not (E_TOO_LARGE)."""
    monkeypatch.setattr(limits, "BLOB_USES_MAX", 2)
    await put(relay, token, SMALL)
    assert (await submit(relay, SMALL))[1] == 200
    assert (await submit(relay, SMALL, priority="routine"))[1] == 200
    _letter, status, body = await submit(relay, SMALL, mode="exercise")
    assert (status, code_of(body)) == (413, Code.E_TOO_LARGE)
