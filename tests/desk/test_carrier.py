"""Blobs over HTTP: what this side sends, and what it makes of anything that may answer (PROTOCOL 9.5, 12)."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from builders_attached import data_of
from builders_keys import World
from builders_relay import Running, certificate, running

from keys.errors import Code, Refused
from relay import errors
from relay.desk import carrier
from relay.desk.carrier import HttpCarrier, Standing
from relay.desk.roster import TurnedDown
from relay.server import tls
from relay.wire import attachment
from relay.wire.attachment import Sealing

TOKEN = "ab" * 32
BLOB = "cd" * 32
BODY = data_of(300_000)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[HttpCarrier]:
    """Let *answer* stand where a relay should, and carry to it."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    carried = HttpCarrier(f"ws://127.0.0.1:{port}")
    try:
        yield carried
    finally:
        await carried.close()
        await runner.cleanup()


async def _get(carried: HttpCarrier, start: int = 0, end: int = 1000, total: int = 5000) -> bytes:
    came = bytearray()
    await carried.get(TOKEN, BLOB, came.extend, start, end, total)
    return bytes(came)


def _token(relay: Running) -> str:
    """Return a token as VN's device gets it with its welcome."""
    kid = relay.world.device("VN").kid
    token, _until = relay.relay.api._tokens.issue(kid, "VN", relay.clock.now())
    return token


async def test_a_real_relay_takes_it_in_pieces_and_gives_it_back(tmp_path: Path) -> None:
    """HEAD, PUT and GET against the relay itself: resumed from where it is, whole, and given in parts (12)."""
    secret = attachment.secret_of(bytes(32), 0)
    sealing = Sealing(secret, len(BODY), io.BytesIO(BODY).read)
    sealed = b"".join(sealing)
    blob, total = sealing.facts.blob, len(sealed)
    async with running(World(), blobs=tmp_path / "blobs") as relay:
        token = _token(relay)
        carried = HttpCarrier(relay.base.replace("http", "ws"))
        try:
            assert await carried.look(token, blob) == Standing(whole=False, offset=0)
            file = io.BytesIO(sealed)
            assert await carried.put(token, blob, file, 0, 100_000, total) == Standing(
                whole=False, offset=100_000
            )
            assert await carried.look(token, blob) == Standing(whole=False, offset=100_000)
            # Another try that begins elsewhere is told where to go on.
            assert await carried.put(token, blob, file, 0, 50_000, total) == Standing(
                whole=False, offset=100_000
            )
            done = await carried.put(token, blob, file, 100_000, total, total)
            assert done == Standing(whole=True, offset=0)
            assert await carried.look(token, blob) == Standing(whole=True, offset=0)
            assert (await carried.put(token, blob, file, 0, total, total)).whole
            came = bytearray()
            await carried.get(token, blob, came.extend, 0, 70_000, total)
            await carried.get(token, blob, came.extend, 70_000, total, total)
            assert hashlib.sha256(came).hexdigest() == blob
            whole = bytearray()
            await carried.get(token, blob, whole.extend, 0, total, total)
            assert whole == came
            with pytest.raises(TurnedDown) as refused:
                await carried.get(token, "0" * 64, came.extend, 0, 10, 10)
            assert refused.value.code is Code.E_UNKNOWN
            with pytest.raises(TurnedDown) as refused:
                await carried.look("0" * 64, blob)
            assert refused.value.code is Code.E_AUTH
        finally:
            await carried.close()


async def test_a_refusal_comes_before_the_body(tmp_path: Path) -> None:
    """A relay that will not take it says so, and why, before the bytes leave (E_RATE)."""
    async with running(World(), blobs=tmp_path / "blobs", blob_quota=1000) as relay:
        token = _token(relay)
        carried = HttpCarrier(relay.base.replace("http", "ws"))
        file = io.BytesIO(bytes(213_067))
        try:
            with pytest.raises(TurnedDown, match="quota") as refused:
                await carried.put(token, BLOB, file, 0, 16_445, 16_445)
            assert refused.value.code is Code.E_RATE
            assert file.tell() == 0
        finally:
            await carried.close()


async def test_over_tls_with_the_relays_certificate(tmp_path: Path) -> None:
    """wss becomes https with the same certificate; another authority is not believed, and is a broken line."""
    public, private = certificate(tmp_path)
    context = tls.context(public, private)
    async with running(World(), blobs=tmp_path / "blobs", tls=context) as relay:
        token = _token(relay)
        url = relay.base.replace("https", "wss")
        for authority, fine in ((str(public), True), ("", False)):
            carried = HttpCarrier(url, authority)
            try:
                if fine:
                    assert not (await carried.look(token, BLOB)).whole
                else:
                    with pytest.raises(ConnectionError, match="certificate"):
                        await carried.look(token, BLOB)
            finally:
                await carried.close()


async def test_what_is_asked(tmp_path: Path) -> None:
    """Each call names the blob, carries the token, asks for exactly its bytes, and lets nobody pack them."""
    seen: list[tuple[str, str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path, dict(request.headers)))
        if request.method == "PUT":
            assert await request.read() == BODY[10:20]
            return web.Response(status=202, headers={"Upload-Offset": "20"})
        if request.method == "HEAD":
            return web.Response(status=204, headers={"Upload-Offset": "10"})
        return web.Response(
            status=206, body=BODY[10:20], headers={"Content-Range": f"bytes 10-19/{len(BODY)}"}
        )

    async with answering(answer) as carried:
        assert await carried.look(TOKEN, BLOB) == Standing(whole=False, offset=10)
        file = io.BytesIO(BODY)
        found = await carried.put(TOKEN, BLOB, file, 10, 20, len(BODY))
        assert found == Standing(whole=False, offset=20)
        assert await _get(carried, 10, 20, len(BODY)) == BODY[10:20]
    for _method, path, headers in seen:
        assert path == f"/v1/blobs/{BLOB}"
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert headers["Accept-Encoding"] == "identity"
    put, get = seen[1][2], seen[2][2]
    assert put["Content-Range"] == f"bytes 10-19/{len(BODY)}"
    assert put["Content-Length"] == "10"
    assert get["Range"] == "bytes=10-19"


def _gives(status: int, body: bytes = b"", **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


REFUSAL = errors.to_json(Refused(Code.E_BUSY, "Later."), 1)
GETS: dict[str, tuple[Answer, type[Exception], Code | None]] = {
    "more than was asked for": (
        _gives(206, BODY[:1001], Content_Range="bytes 0-999/5000"),
        Refused,
        Code.E_TOO_LARGE,
    ),
    "another part": (
        _gives(206, BODY[:1000], Content_Range="bytes 1-1000/5000"),
        Refused,
        Code.E_BINDING,
    ),
    "of another length": (
        _gives(206, BODY[:1000], Content_Range="bytes 0-999/5001"),
        Refused,
        Code.E_BINDING,
    ),
    "a part of nothing": (_gives(206, BODY[:1000]), Refused, Code.E_BINDING),
    "a range that is none": (
        _gives(206, BODY[:1000], Content_Range="bytes 0-999/*"),
        Refused,
        Code.E_BINDING,
    ),
    "the whole": (_gives(200, BODY[:5000]), Refused, Code.E_BINDING),
    "another place": (_gives(302, b"", Location="http://127.0.0.1:1/"), Refused, Code.E_ENCODING),
    "a page": (_gives(404, b"<html>"), Refused, Code.E_ENCODING),
    "a large page": (_gives(500, b"x" * 100_000), Refused, Code.E_ENCODING),
    "the relay's word": (_gives(503, REFUSAL), TurnedDown, Code.E_BUSY),
    "another token": (_gives(401, b""), TurnedDown, Code.E_AUTH),
}


@pytest.mark.parametrize("name", GETS)
async def test_whatever_answers_a_get(name: str) -> None:
    """Wrong parts, pages, redirects, refusals: each is one of our own errors, and no byte too many is written."""
    answer, kind, code = GETS[name]
    came = bytearray()
    async with answering(answer) as carried:
        with pytest.raises(kind) as wrong:
            await carried.get(TOKEN, BLOB, came.extend, 0, 1000, 5000)
    assert getattr(wrong.value, "code", None) is code
    assert type(wrong.value) is kind
    assert len(came) <= 1000


async def test_a_get_that_ends_too_early() -> None:
    """Fewer bytes than announced, or than asked for, are a broken line; what came is kept for the next try."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 0-999/5000"})
        response.content_length = 1000
        await response.prepare(request)
        await response.write(BODY[:400])
        assert request.transport is not None
        request.transport.close()
        return response

    short = _gives(206, BODY[:400], Content_Range="bytes 0-999/5000")
    for answer in (cut, short):
        came = bytearray()
        async with answering(answer) as carried:
            with pytest.raises(ConnectionError):
                await carried.get(TOKEN, BLOB, came.extend, 0, 1000, 5000)
        assert came == BODY[:400]


async def test_a_get_without_an_end() -> None:
    """A relay that never stops sending is hung up on after the last byte that was asked for."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 0-999/5000"})
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))
            sent += 65_536
            await asyncio.sleep(0)

    async with answering(endless) as carried:
        with pytest.raises(Refused) as refused:
            await _get(carried)
    assert refused.value.code is Code.E_TOO_LARGE
    assert sent < 64 * 1024 * 1024


async def test_a_relay_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence in the middle of a piece is a broken line after its time, and never a wait for ever."""
    monkeypatch.setattr(carrier, "SILENCE_SECONDS", 0.2)

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 0-999/5000"})
        await response.prepare(request)
        await response.write(BODY[:10])
        await asyncio.sleep(30)
        return response

    async with answering(silent) as carried, asyncio.timeout(10):
        with pytest.raises(ConnectionError, match="attachment"):
            await _get(carried)


@pytest.mark.parametrize(
    ("status", "code"), [(401, Code.E_AUTH), (429, Code.E_BUSY), (503, Code.E_BUSY), (500, None)]
)
async def test_whatever_answers_a_head(status: int, code: Code | None) -> None:
    """A HEAD has no body that could say why: the status alone tells what to do next."""
    async with answering(_gives(status)) as carried:
        with pytest.raises(Refused) as refused:
            await carried.look(TOKEN, BLOB)
    assert refused.value.code is (code or Code.E_ENCODING)
    assert isinstance(refused.value, TurnedDown) is (code is not None)


PUTS: dict[str, tuple[Answer, Standing | Code]] = {
    "whole": (_gives(201), Standing(whole=True, offset=0)),
    "had it": (_gives(200), Standing(whole=True, offset=0)),
    "a piece": (_gives(202, Upload_Offset="7"), Standing(whole=False, offset=7)),
    "elsewhere": (_gives(409, REFUSAL, Upload_Offset="3"), Standing(whole=False, offset=3)),
    "a piece of unknown size": (_gives(202), Code.E_ENCODING),
    "an offset that is none": (_gives(202, Upload_Offset="-1"), Code.E_ENCODING),
    "an offset without end": (_gives(202, Upload_Offset="9" * 5000), Code.E_ENCODING),
    "refused": (_gives(429, errors.to_json(Refused(Code.E_RATE, "x"), 1)), Code.E_RATE),
    "missing": (
        _gives(409, errors.to_json(Refused(Code.E_BLOB_MISSING, "x"), 1)),
        Code.E_BLOB_MISSING,
    ),
    "no relay": (_gives(200 + 26, b"?"), Code.E_ENCODING),
}


@pytest.mark.parametrize("name", PUTS)
async def test_whatever_answers_a_put(name: str) -> None:
    """Each answer to a piece is understood, or is one of our own errors."""
    answer, expected = PUTS[name]
    async with answering(answer) as carried:
        try:
            found: Standing | Code = await carried.put(TOKEN, BLOB, io.BytesIO(BODY), 0, 10, 100)
        except Refused as refused:
            found = refused.code
    assert found == expected


async def test_nobody_there() -> None:
    """Where nobody answers, that is a broken line like any other (OSError)."""
    carried = HttpCarrier("ws://127.0.0.1:1")
    try:
        for call in (
            carried.look(TOKEN, BLOB),
            carried.put(TOKEN, BLOB, io.BytesIO(BODY), 0, 10, 100),
            _get(carried),
        ):
            with pytest.raises(ConnectionError):
                await call
    finally:
        await carried.close()
        await carried.close()


async def test_a_file_that_became_shorter() -> None:
    """A sealed file that ends too early is a broken line, not a body that the relay waits for."""

    async def patient(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=202, headers={"Upload-Offset": "10"})

    async with answering(patient) as carried, asyncio.timeout(10):
        with pytest.raises(OSError, match=r"line broke|shorter"):
            await carried.put(TOKEN, BLOB, io.BytesIO(b"short"), 0, 10, 100)


def test_the_address_is_the_sessions() -> None:
    """The same host and path as the session's, over http only where that was ws."""
    assert HttpCarrier("ws://127.0.0.1:8/x/")._base == "http://127.0.0.1:8/x/v1/blobs/"
    secure = HttpCarrier("wss://relay.example:8424")
    assert secure._base == "https://relay.example:8424/v1/blobs/"
    assert secure._tls is not None
    assert aiohttp.ClientTimeout().total is None
