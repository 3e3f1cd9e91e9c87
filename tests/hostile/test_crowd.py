"""A thousand devices at once, and one address that wants everything: a relay in a process of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from builders_hostile import Peer, Process, enough_files, process, raw_device, until
from builders_keys import World

from relay.server.gate import PER_ADDRESS_MAX

MIB = 1024 * 1024
DEVICES = 31
DESKS = [f"{a}{b}" for a in "QXZ" for b in "ABCDEFGHIJK"]
MEMORY_EACH_MAX = 200 * 1024
"""Bytes of the relay for one device that is connected: several times what was measured."""


@pytest.fixture(scope="module")
def world() -> World:
    """Return a small network that begins now."""
    return World(now=Process.now())


@pytest.fixture
async def relay(world: World, tmp_path: Path) -> AsyncIterator[Process]:
    """Yield a relay in a process of its own."""
    async with process(tmp_path / "relay", world) as found:
        yield found


async def everybody(relay: Process, world: World) -> list[Peer]:
    """Connect every device of every desk at once, each desk from an address of its own."""

    async def one(desk: str, place: int, n: int) -> Peer:
        peer = await Peer.open(relay.port, source=f"127.0.1.{place + 1}")
        device = await raw_device(peer, world, desk, n)
        await device.resume(0)
        return peer

    doors = [(desk, place, n) for place, desk in enumerate(DESKS) for n in range(DEVICES)]
    return list(await asyncio.gather(*(one(*door) for door in doors)))


async def test_a_thousand_devices_come_back_at_once(tmp_path: Path) -> None:
    """All of them get in, twice, in bounded memory; meanwhile two desks exchange messages; then their places are free."""
    enough_files(4096)
    world = World(("VN", "AU", "AU-B", *DESKS), officers=DEVICES, now=Process.now())
    async with process(tmp_path / "relay", world) as relay:
        await _storm(relay, world)


async def _storm(relay: Process, world: World) -> None:
    honest = await relay.bystanders()
    await honest.round()
    files, memory = relay.files(), relay.memory()
    devices: list[Peer] = []

    async def storm() -> None:
        for _again in range(2):
            for device in devices:
                device.close()
            devices[:] = await everybody(relay, world)

    await honest.while_it_lasts(storm())
    assert len(devices) == len(DESKS) * DEVICES > 1000
    assert await relay.number("relay_sessions") == len(devices) + 2
    assert relay.memory() - memory < len(devices) * MEMORY_EACH_MAX
    assert relay.files() - files >= len(devices)
    for device in devices:
        device.close()
    await until(lambda: relay.files() <= files + 2)
    await honest.round()
    assert await relay.number("relay_sessions") == 2


async def test_one_address_has_so_many_connections_and_no_more(
    relay: Process, world: World
) -> None:
    """The 256th connection from an address is let in, the 257th hears 503 and why; elsewhere there is room."""
    honest = await relay.bystanders()
    peers = [await Peer.open(relay.port) for _each in range(PER_ADDRESS_MAX)]
    one_more = await Peer.open(relay.port)
    status, _body = await one_more.answer()
    assert (status, await one_more.ended()) == (503, b"")
    other = await Peer.open(relay.port, source="127.0.0.3")
    assert b" 101 " in await other.upgrade()
    assert b" 101 " in await peers[-1].upgrade()
    await honest.round()
    peers[0].close()
    again = await Peer.open(relay.port)

    async def until_let_in() -> None:
        nonlocal again
        while True:
            try:
                assert b" 101 " in await again.upgrade()
            except (AssertionError, ConnectionError, asyncio.IncompleteReadError):
                again = await Peer.open(relay.port)
            else:
                return

    async with asyncio.timeout(10):
        await until_let_in()
    assert await relay.number('relay_limit_hits_total{limit="connections"}') >= 1


async def test_strangers_fill_their_lane_and_no_more(relay: Process, world: World) -> None:
    """Forty bodies of 4 MiB from eight addresses: what the relay holds of them is the lane's 48 MiB, and not for long."""
    honest = await relay.bystanders()
    await honest.round()
    memory = relay.memory()
    size = 4 * MIB
    head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    peers = [await Peer.open(relay.port, source=f"127.0.0.{2 + n % 8}") for n in range(40)]
    highest = memory

    async def fill(peer: Peer) -> bytes:
        nonlocal highest
        with contextlib.suppress(ConnectionError):
            await peer.say(head + bytes(size - 1))
        while not said.done():
            highest = max(highest, relay.memory())
            await asyncio.sleep(0.05)
        peer.close()
        return b""

    said = asyncio.ensure_future(asyncio.wait_for(peers[-1].reader.read(100), 20))
    await honest.while_it_lasts(
        asyncio.gather(*(fill(peer) for peer in peers[:-1]), fill(peers[-1]))
    )
    assert b" 503 " in said.result()
    # Twelve bodies fit into the lane, and three of an address into its share.
    assert await relay.number('relay_limit_hits_total{limit="body"}') >= 20
    assert highest - memory < 48 * MIB + 32 * MIB
    await honest.round()


async def test_a_device_that_connects_without_end(relay: Process, world: World) -> None:
    """Sixty sessions pass, the next waits: each of them is logged for ever. Its desk's other devices do not notice."""
    honest = await relay.bystanders()
    logged = await relay.logged()

    async def again_and_again() -> list[str]:
        outcomes = []
        for _each in range(70):
            peer = await Peer.open(relay.port)
            try:
                await raw_device(peer, world, "AU", 1)
            except Exception as refused:  # noqa: BLE001 - told below
                outcomes.append(str(refused))
            else:
                outcomes.append("in")
            peer.close()
        return outcomes

    attack = asyncio.ensure_future(again_and_again())
    await honest.while_it_lasts(attack)
    outcomes = attack.result()
    assert outcomes[:60] == ["in"] * 60
    assert all("More than" in one for one in outcomes[62:]), outcomes[60:]
    # Of a round: submission, accepted, offered, pickup, delivered, recorded.
    assert await relay.logged() - logged <= outcomes.count("in") + 6 * len(honest.times)
