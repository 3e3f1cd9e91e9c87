"""The relay whole: start, health, TLS, directories that come in, drain, and the store that breaks."""

import asyncio
import contextlib
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from builders import letter_of
from builders_door import NOW, place
from builders_keys import World, signer
from builders_relay import SetClock, certificate, running

from keys import directory as directories
from keys.errors import Code, Failed, Refused
from keys.identity import Role
from relay.server import app as door
from relay.server import control, machine, tls
from relay.server import ticker as tickers
from relay.server.app import Relay
from relay.server.source import Folder, read_pack
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.wire import frames
from relay.wire.frames import Type


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


# Health


async def test_a_relay_that_serves_says_so(world: World) -> None:
    """/livez and /readyz answer 200, on an address of their own that has none of the calls."""
    async with running(world) as relay:
        status, found = await relay.health()
        assert found.pop("store").startswith("embedded: ")
        assert (status, found) == (200, {"ready": True, "reasons": [], "warnings": []})
        assert await relay.health("/livez") == (200, {"alive": True})
        assert (await relay.call("GET", "/metrics"))[0] == 404
        async with relay.session.get(f"{relay.observed}/v1/session") as response:
            assert response.status == 404


async def test_without_a_directory_it_is_not_ready(world: World) -> None:
    """No directory: alive, not ready, and a published one makes it ready."""
    async with running(world, publish=False) as relay:
        status, found = await relay.health()
        assert (status, found["reasons"]) == (503, ["no directory was published yet"])
        assert (await relay.health("/livez"))[0] == 200
        letter = letter_of(world, NOW)
        body = frames.join(letter.submission.wire, letter.envelope)
        assert (await relay.call("POST", "/v1/messages", body))[0] == 503
        body = directories.pack(world.files)
        assert (await relay.call("PUT", "/v1/directory", body))[0] == 200
        assert (await relay.health())[0] == 200


async def test_an_old_directory_is_a_warning_first_and_then_a_reason(world: World) -> None:
    """Past its date: still ready, with a warning. More than a day past: nobody new should come."""
    async with running(world) as relay:
        relay.clock.at = relay.relay.exchange.directory.expires + 1
        status, found = await relay.health()
        assert (status, len(found["warnings"])) == (200, 1)
        relay.clock.at += door.STALE_S
        status, found = await relay.health()
        assert (status, found["ready"]) == (503, False)
        assert "past its date" in found["reasons"][0]


async def test_a_relay_with_another_key_than_the_directorys_is_not_ready(world: World) -> None:
    """Desks would refuse everything that it signs, so it says so before they do."""
    async with running(world, evidence=signer(Role.RELAY, "another")) as relay:
        status, found = await relay.health()

        assert (status, found["reasons"]) == (
            503,
            ["the directory does not list this relay's evidence key"],
        )


async def test_a_loop_that_stands_still_is_not_alive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the timers' loop has not come round, /livez and /readyz are 503."""
    async with running(world) as relay:
        monkeypatch.setattr(tickers, "ALIVE_S", -1)
        assert (await relay.health("/livez"))[0] == 503
        assert "does not answer" in (await relay.health())[1]["reasons"][0]


# TLS


async def test_tls_1_3_and_nothing_older(world: World, tmp_path: Path) -> None:
    """A caller who speaks TLS 1.2 at most is turned away; with 1.3 everything works."""
    public, private = certificate(tmp_path)
    context = tls.context(public, private)
    async with running(world, tls=context, tls_expires=tls.expires(public)) as relay:
        trust = ssl.create_default_context(cafile=str(public))
        async with relay.session.ws_connect(f"{relay.base}/v1/session", ssl=trust) as channel:
            assert channel.get_extra_info("ssl_object").version() == "TLSv1.3"
            assert frames.decode((await channel.receive()).data).type is Type.CHALLENGE
        old = ssl.create_default_context(cafile=str(public))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(aiohttp.ClientConnectorError):
            await relay.session.get(f"{relay.base}/v1/session", ssl=old)
        value = relay.relay.metrics.registry.get_sample_value
        found = value("relay_key_expiry_timestamp_seconds", {"kind": "tls"})
        assert found == tls.expires(public)


def test_a_certificate_that_does_not_serve_is_a_sentence(tmp_path: Path) -> None:
    """Missing, readable by others, or without its key: what to type, and no traceback."""
    public, private = certificate(tmp_path)
    private.chmod(0o644)
    with pytest.raises(Failed, match="can be read by others") as failure:
        tls.context(public, private)
    assert (failure.value.exit_code, f"chmod 600 {private}" in failure.value.hint) == (77, True)
    private.chmod(0o600)
    private.write_bytes(public.read_bytes())
    with pytest.raises(Failed, match="cannot be used"):
        tls.context(public, private)
    with pytest.raises(Failed, match="cannot be used"):
        tls.context(tmp_path / "none", tmp_path / "none")
    with pytest.raises(Failed, match="cannot be read"):
        tls.expires(tmp_path / "none")


# Ports and the bell


async def test_a_taken_port_is_a_sentence(world: World) -> None:
    """Who has the port, how to see it, and which key to change; nothing stays open behind it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Failed, match=f"Port {port} on 127.0.0.1 is taken") as failure:
            async with running(world, port=port):
                pass
    assert failure.value.exit_code == 69
    assert f"sport = :{port}" in failure.value.hint


async def test_the_bell_answers_its_own_account_only(world: World, tmp_path: Path) -> None:
    """The control socket is 0600; it looks through the store and copies it while the relay runs."""
    bell, copy = tmp_path / "bell", tmp_path / "copy.db"
    store = SqliteStore(tmp_path / "relay.db")
    async with running(world, store, control=bell) as relay:
        assert bell.stat().st_mode & 0o777 == 0o600
        found = await control.ask(bell, "GET", "doctor")
        assert found is not None
        assert found["findings"] == []
        assert found["log_size"] > 0
        standing = await control.ask(bell, "GET", "standing")
        directory = relay.relay.exchange.directory
        assert standing == {
            "directory": directory.version,
            "directory_expires": directory.expires,
            "unmapped": ["AU duty", "AU-B duty", "VN duty"],
        }
        written = await control.ask(bell, "POST", "backup", {"path": str(copy)})
        assert written == {"path": str(copy), "blobs": 0}
        with pytest.raises(Failed, match="there already"):
            await control.ask(bell, "POST", "backup", {"path": str(copy)})
        with pytest.raises(Failed, match="absolute"):
            await control.ask(bell, "POST", "backup", {"path": "copy.db"})
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not bell.exists()
    assert await control.ask(bell, "GET", "doctor") is None


async def test_a_second_relay_does_not_take_the_firsts_bell(world: World, tmp_path: Path) -> None:
    """Two relays on one store: the second is refused by name, and the first keeps answering."""
    bell = tmp_path / "bell"
    async with running(world, SqliteStore(tmp_path / "relay.db"), control=bell):
        with pytest.raises(Failed, match="Another process"):
            async with running(world, SqliteStore(tmp_path / "relay.db"), control=bell):
                pass
        assert await control.ask(bell, "GET", "standing") is not None


def test_a_bell_with_a_long_name_is_a_sentence(tmp_path: Path) -> None:
    """The kernel's limit for names of Unix sockets is told before it cuts the name off."""
    with pytest.raises(Failed, match="longer than 107 bytes"):
        control.listen(tmp_path / ("x" * 100))


# Directories


async def test_a_folder_is_read_when_its_timestamp_changes(tmp_path: Path) -> None:
    """What the freshness automaton writes is in force within seconds; a bad or missing folder changes nothing."""
    world = World()
    for name, data in world.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "officer.ring").write_text("no business of the relay")
    async with running(world, first=None, folder=tmp_path) as relay:
        first = relay.relay.exchange.directory.version
        device, _token = await relay.connected("AU")
        world.freshen(NOW)
        await relay.relay._look(NOW)
        assert relay.relay.exchange.directory.version == first
        (tmp_path / "timestamp.json").write_bytes(b"{}")
        await relay.relay._look(NOW)
        assert relay.relay.exchange.directory.version == first
        assert "a directory was refused" in relay.written.getvalue()
        for name, data in world.files.items():
            (tmp_path / name).write_bytes(data)
        await relay.relay._look(NOW)
        assert place(await device.push()) == {"version": first + 1}
        (tmp_path / "timestamp.json").unlink()
        await relay.relay._look(NOW)
        assert "was not read" in relay.written.getvalue()
        assert relay.relay.exchange.directory.version == first + 1


async def test_a_folder_gives_only_what_belongs_to_a_directory(tmp_path: Path) -> None:
    """Other files in the folder are not read; an unchanged timestamp is not read twice."""
    world = World(desks=("VN",))
    for name, data in world.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "secrets.json").write_text("{}")
    folder = Folder(tmp_path)
    found = await folder.newer()

    assert found is not None
    assert set(found) == set(world.files)
    assert await folder.newer() is None


def test_a_pack_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    """A missing pack is Failed with a hint; other bytes are refused."""
    with pytest.raises(Failed, match="cannot be read"):
        read_pack(tmp_path / "none")
    (tmp_path / "pack").write_bytes(b"\0\1x")
    with pytest.raises(Refused):
        read_pack(tmp_path / "pack")


async def test_a_restart_goes_on_with_the_directory_that_it_had(
    world: World, tmp_path: Path
) -> None:
    """The directory is in the store: the next start needs neither folder nor pack."""
    async with running(world, SqliteStore(tmp_path / "relay.db")) as relay:
        version = relay.relay.exchange.directory.version
    async with running(world, SqliteStore(tmp_path / "relay.db"), first=None) as relay:
        assert relay.relay.exchange.directory.version == version
        assert (await relay.health())[0] == 200


# The end


async def test_sigterm_drains_in_order(world: World, tmp_path: Path) -> None:
    """Not ready, DRAINING, E_BUSY for new calls, close 1012, then the doors and the store are closed."""
    store = SqliteStore(tmp_path / "relay.db")
    async with running(world, store) as relay:
        device, _token = await relay.connected("AU")
        gate = asyncio.Event()
        inner = relay.relay.exchange.roster.prekeys_of

        async def slow(desk: str, now: int) -> list[bytes]:
            await gate.wait()
            return await inner(desk, now)

        relay.relay.exchange.roster.prekeys_of = slow  # type: ignore[method-assign]
        under_way = await device.send(Type.GET_PREKEYS, b"VN")
        stop = asyncio.Event()
        run = asyncio.ensure_future(relay.relay.run(stop))
        await asyncio.sleep(0.05)
        stop.set()
        assert (await device.push()).type is Type.DRAINING
        status, found = await relay.health()
        assert (status, found["reasons"]) == (503, ["draining"])
        letter = letter_of(world, NOW)
        body = frames.join(letter.submission.wire, letter.envelope)
        with pytest.raises(Refused) as refusal:
            await device.call(Type.SUBMIT, body)
        assert refusal.value.code is Code.E_BUSY
        status, _answer, headers = await relay.call("POST", "/v1/messages", body)
        assert (status, headers["Retry-After"]) == (503, "2")
        gate.set()
        assert frames.split(await device.answer(under_way))
        assert await device.socket.receive() is None
        assert device.socket.code == 1012
        await run
        with pytest.raises(Failed, match="not running"):
            await store.head("AU")
        with pytest.raises(aiohttp.ClientConnectorError):
            await relay.call("GET", "/v1/session")


async def test_a_store_that_breaks_ends_the_relay(world: World) -> None:
    """The timers' loop meets the broken store within a second; the relay ends with its sentence, not later."""
    store = MemoryStore()
    async with running(world, store) as relay:

        async def broken() -> int | None:
            raise Failed("The disk is gone.", exit_code=75)

        store.next_due = broken  # type: ignore[method-assign]
        with pytest.raises(Failed, match="The disk is gone"):
            async with asyncio.timeout(10):
                await relay.relay.run(asyncio.Event())


async def test_one_bad_turn_of_the_timers_does_not_end_them(world: World) -> None:
    """A bug in one turn is logged and the next turn comes; a store that failed is passed on."""
    store = MemoryStore()
    async with running(world, store) as relay:

        async def due() -> int | None:
            return NOW

        async def bad(now: int) -> int:
            raise ValueError

        store.next_due = due  # type: ignore[method-assign]
        relay.relay.exchange.tick = bad  # type: ignore[method-assign]
        await relay.relay.ticker.turn()
        assert "a turn of the timers failed" in relay.written.getvalue()

        async def broken(now: int) -> int:
            raise Failed("The disk is gone.")

        relay.relay.exchange.tick = broken  # type: ignore[method-assign]
        with pytest.raises(Failed):
            await relay.relay.ticker.turn()


async def test_what_fell_due_while_away_fires_before_anybody_is_let_in(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that expired during a stop is `expired` before a door opens, and counted as caught up."""
    async with running(world, SqliteStore(tmp_path / "relay.db")) as relay:
        sender, _token = await relay.connected("VN")
        letter = letter_of(world, NOW)
        await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    late = letter.header.expires + 100
    inner, before = Relay._open, list[str]()

    async def opening(self: Relay, *given: Any) -> int:
        if not before:
            before.extend(kept.kind for kept in await self.exchange.store.statements(letter.msg))
        return await inner(self, *given)

    monkeypatch.setattr(Relay, "_open", opening)
    async with running(world, SqliteStore(tmp_path / "relay.db"), first=None, at=late) as relay:
        assert "expired" in before
        value = relay.relay.metrics.registry.get_sample_value
        caught = {"kind": "expire", "result": "caught_up"}
        assert value("relay_timer_fired_total", caught) == 1
        assert value("relay_timer_lateness_seconds_bucket", {"kind": "expire", "le": "60.0"}) == 0


async def test_a_step_of_the_clock_is_seen(world: World) -> None:
    """A wall clock that jumps against the running clock is counted by its direction, and logged."""
    async with running(world) as relay:
        value = relay.relay.metrics.registry.get_sample_value
        await relay.relay.ticker.turn()
        relay.clock.at += 3600
        await relay.relay.ticker.turn()
        relay.clock.at -= 7200
        await relay.relay.ticker.turn()

        for direction in machine.DIRECTIONS:
            assert value("relay_clock_steps_total", {"direction": direction}) == 1
        assert value("relay_clock_offset_seconds", {"reference": "wall"}) == pytest.approx(
            -3600, abs=2
        )
        assert "the wall clock was moved" in relay.written.getvalue()


async def test_every_series_is_there_from_the_first_scrape(world: World) -> None:
    """Each metric has all of its label sets at the start, so that increase() sees the first event."""
    async with running(world) as relay:
        before = set(re.findall(r"^(\w+(?:\{[^}]*\})?) ", relay.numbers(), re.MULTILINE))
        sender, _token = await relay.connected("VN")
        letter = letter_of(world, NOW)
        await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
        with contextlib.suppress(Refused):
            await sender.call(Type.RECORD, frames.join(b"x"))
        await relay.call("POST", "/v1/receipts", b"x")
        after = set(re.findall(r"^(\w+(?:\{[^}]*\})?) ", relay.numbers(), re.MULTILINE))

    assert after == before
    assert len(before) < 1500  # the budget of escalation.md 4.1
    for name in (
        "relay_build_info",
        "relay_messages_accepted_total",
        "relay_messages_rejected_total",
        "relay_http_request_duration_seconds",
        "relay_handover_seconds",
        "relay_acknowledge_seconds",
        "relay_open_messages",
        "relay_acks_total",
        "relay_store_transaction_seconds",
        "relay_store_errors_total",
        "relay_event_loop_lag_seconds",
        "relay_timers",
        "relay_timer_fired_total",
        "relay_timer_lateness_seconds",
        "relay_clock_offset_seconds",
        "relay_key_expiry_timestamp_seconds",
        "relay_desks",
    ):
        assert any(one.startswith(name) for one in before), name


async def test_the_whole_relay_starts_and_stops_twice_in_one_process(world: World) -> None:
    """Nothing global stays behind: a second relay in the same test is like the first."""
    for _each in range(2):
        async with running(world) as relay:
            assert (await relay.health())[0] == 200


async def test_stopping_what_was_never_started_is_safe(world: World) -> None:
    """stop() after a start that failed half way leaves nothing open and raises nothing."""
    async with running(world) as relay:
        place_ = relay.relay.place
    half = Relay(place_, MemoryStore(), SetClock(), relay.relay.log)
    await half.stop()
    await half.stop()
