"""The webhook: what it signs, whom it calls, and how little it listens to."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from builders_alert import HANGS, NEVER, hooked, page_for
from builders_relay import certificate
from builders_wire import SERVICE, officer, relay_signer

from keys import suite
from keys.errors import Code, Refused
from relay.alert import addresses, texts
from relay.alert.addresses import Address
from relay.alert.page import Word
from relay.alert.webhook import Webhook, judged
from relay.wire import receipt


def webhook(url: str, **more: object) -> Webhook:
    """Return a channel to *url*."""
    return Webhook(url, SERVICE, relay_signer(), seconds=5.0, **more)  # type: ignore[arg-type]


async def test_the_receiver_verifies_the_relay(tmp_path: Path) -> None:
    """The body is a statement of kind page by the evidence key of the directory (PROTOCOL 10)."""
    page = page_for(priority="emergency", count=3, oldest=7)
    async with hooked() as hook:
        await webhook(f"{hook.base}/page").send(page)
    said = receipt.read(hook.bodies[0], {"page"}, relay_signer().public)

    assert dict(said.fields) | {"pad": ""} == {
        "relay": SERVICE,
        "desk": "AU",
        "code": page.code,
        "priority": "emergency",
        "mode": "actual",
        "count": 3,
        "oldest": 7,
        "repeat": 0,
        "language": "en",
        "text": texts.text(page),
        "pad": "",
        "at": page.at,
    }
    with pytest.raises(Refused) as refused:
        receipt.read(hook.bodies[0], {"page"}, officer("au-01").public)
    assert refused.value.code is Code.E_SIGNER


async def test_headers_are_few() -> None:
    """A key to drop repeats by, a type, a bare name, and the token where one is configured."""
    async with hooked() as hook:
        await webhook(f"{hook.base}/page", token="sesame").send(page_for())
        await webhook(f"{hook.base}/page").send(page_for())

    assert hook.raw[0].count(b"Authorization: Bearer sesame\r\n") == 1
    assert b"Authorization" not in hook.raw[1]
    assert b"Idempotency-Key: " + page_for().key.encode() in hook.raw[1]
    assert b"User-Agent: poc24\r\n" in hook.raw[1]


async def test_a_redirect_is_not_followed() -> None:
    """Whoever answers elsewhere gets nothing: the page failed for good."""
    async with hooked() as hook:
        hook.behaviour = "redirects"
        result = await webhook(f"{hook.base}/page").send(page_for())

    assert (result.word, result.why) == (Word.FAILED_PERM, "status 307")
    assert hook.elsewhere == 0


async def test_an_endless_answer_is_not_read() -> None:
    """A receiver that never stops talking has said enough with its status."""
    async with hooked() as hook:
        hook.behaviour = "talks"
        result = await asyncio.wait_for(webhook(f"{hook.base}/page").send(page_for()), 3)

    assert result.word is Word.SENT


async def test_endless_headers_end() -> None:
    """Nor does one get far that sends a header without end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        try:
            for _each in range(10_000):
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    result = await asyncio.wait_for(webhook(f"http://127.0.0.1:{port}/page").send(page_for()), 4)
    server.close()

    assert result.word is Word.UNKNOWN


async def test_no_connection_is_not_a_mystery() -> None:
    """Where nobody listens nothing can have arrived; where the line breaks after the page, it can."""
    async with hooked() as hook:
        url = f"{hook.base}/page"
    assert (await webhook(url).send(page_for())).word is Word.FAILED_TEMP

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    result = await webhook(f"http://127.0.0.1:{port}/page").send(page_for())
    server.close()
    assert result.word is Word.UNKNOWN


async def test_a_name_that_leads_inside_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public name whose address is this machine or an inner network gets no byte, for good."""
    async with hooked() as hook:
        port = int(hook.base.rsplit(":", 1)[1])

        async def inner(*_args: object, **_more: object) -> list[object]:
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", inner)
        result = await webhook(f"http://pager.example.org:{port}/page").send(page_for())

    assert (result.word, result.why) == (Word.FAILED_PERM, "an inner address")
    assert hook.raw == []


async def test_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was looked at: whoever answers a second question differently is not asked."""
    async with hooked() as hook:
        port = int(hook.base.rsplit(":", 1)[1])

        async def looked_at(_host: str, port: int) -> tuple[Address, ...]:
            return (Address(socket.AF_INET, "127.0.0.1", port),)

        async def asked(*_args: object, **_more: object) -> list[object]:
            raise AssertionError("the name was asked for again")

        monkeypatch.setattr(addresses, "resolve", looked_at)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", asked)
        result = await webhook(f"http://pager.example.org:{port}/page").send(page_for())

    assert result.word is Word.SENT
    assert f"Host: pager.example.org:{port}\r\n".encode() in hook.raw[0]


async def test_tls_is_checked(tmp_path: Path) -> None:
    """A certificate of the configured authority is needed; another one is a failure, and no page."""
    public, private = certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    async with hooked(server) as hook:
        known = ssl.create_default_context(cafile=str(public))
        good = await webhook(f"{hook.base}/page", tls=known).send(page_for())
        bad = await webhook(f"{hook.base}/page").send(page_for())

    assert good.word is Word.SENT
    assert (bad.word, bad.why) == (Word.FAILED_TEMP, "its certificate does not fit")
    assert len(hook.bodies) == 1


async def test_a_receiver_may_ask_for_time() -> None:
    """Retry-After is honoured within bounds, and only as a number of seconds."""
    async with hooked() as hook:
        hook.behaviour, hook.statuses[NEVER] = NEVER, 429
        hook.headers = {"Retry-After": "40"}
        result = await webhook(f"{hook.base}/page").send(page_for())
    assert (result.word, result.after) == (Word.FAILED_TEMP, 40)
    assert judged(503, "999999").after == 300
    assert judged(503, "Wed, 21 Oct 2026 07:28:00 GMT").after == 0
    assert judged(503, "9" * 5000).after == 0


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (200, Word.SENT),
        (204, Word.SENT),
        (301, Word.FAILED_PERM),
        (400, Word.FAILED_PERM),
        (401, Word.FAILED_PERM),
        (404, Word.FAILED_PERM),
        (408, Word.FAILED_TEMP),
        (410, Word.FAILED_PERM),
        (429, Word.FAILED_TEMP),
        (500, Word.FAILED_TEMP),
        (502, Word.FAILED_TEMP),
    ],
)
def test_what_a_status_says(status: int, word: Word) -> None:
    """The table of statuses."""
    assert judged(status, "").word is word


async def test_secrets_do_not_show() -> None:
    """Neither token nor key stand in a representation."""
    shown = repr(webhook("https://pager.example.org/x", token="sesame"))

    assert "sesame" not in shown
    assert relay_signer().seed.hex() not in shown
    assert suite.kid_of(relay_signer().public) not in shown


async def test_a_hang_leaves_no_connection_behind() -> None:
    """The line is closed when the time is over, so that nothing piles up in a long night."""
    async with hooked() as hook:
        hook.behaviour = HANGS
        channel = Webhook(f"{hook.base}/page", SERVICE, relay_signer(), seconds=0.2)
        before = len(asyncio.all_tasks())
        for _each in range(3):
            assert (await channel.send(page_for())).word is Word.UNKNOWN
        await asyncio.sleep(0.1)
        hook.over.set()
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) <= before
