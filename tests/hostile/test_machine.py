"""The machine misbehaves: no file handles, a clock that jumps, an order to stop in the middle of everything."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from builders import letter_of, pickup_of
from builders_door import Device, place
from builders_hostile import OP_BINARY, Peer, Process, frame, process, raw_device, until
from builders_keys import World
from builders_relay import Line

from keys import statement
from keys.errors import Code, Refused
from relay.server.gate import FILES_RESERVED
from relay.wire import frames, receipt
from relay.wire.frames import Type

STOP_S = 20
HOUR = 3600
RELAYS = {"escalated", "exhausted", "expired"}


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with three officers each, that begins now."""
    return World(officers=3, now=Process.now())


# File handles


async def test_connections_leave_handles_for_the_store_and_the_pagers(
    world: World, tmp_path: Path
) -> None:
    """However many knock, the relay opens what it needs: a backup in the middle of it, and the observer answers."""
    async with process(tmp_path / "relay", world, knobs={"files": 256}) as relay:
        honest = await relay.bystanders()
        files = relay.files()
        peers = [await Peer.open(relay.port, source=f"127.0.0.{2 + n % 4}") for n in range(300)]
        await until(lambda: relay.files() >= files + 256 - FILES_RESERVED - 4)
        assert relay.files() <= 256 - FILES_RESERVED + files
        assert (
            await relay.logged() > 0
        )  # the operator's bell opens a connection and looks at everything
        assert (await relay.ready())["ready"]
        assert await relay.number('relay_limit_hits_total{limit="connections"}') > 100
        await honest.round()
        for peer in peers:
            peer.close()
        await until(lambda: relay.files() <= files + 2)
        assert b" 101 " in await (await Peer.open(relay.port)).upgrade()


async def test_no_handle_is_left_at_all(world: World, tmp_path: Path) -> None:
    """With nothing held back the kernel refuses: sessions that stand go on, and the door opens again afterwards."""
    knobs = {"files": 64, "relay.server.gate:FILES_RESERVED": 0}
    async with process(tmp_path / "relay", world, knobs=knobs) as relay:
        honest = await relay.bystanders()
        files = relay.files()
        peers = [await Peer.open(relay.port, source=f"127.0.0.{2 + n % 4}") for n in range(80)]
        await until(lambda: relay.files() >= 60)
        for _each in range(5):
            await honest.round()
        for peer in peers:
            peer.close()
        await until(lambda: relay.files() <= files + 2)
        async with asyncio.timeout(20):
            while True:
                peer = await Peer.open(relay.port)
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    if b" 101 " in await peer.upgrade():
                        break
        await honest.round()
        assert (await relay.ready())["ready"]
        assert await relay.end(signal.SIGTERM) == 0


# The clock


async def test_an_hour_forward_and_back_under_load(world: World, tmp_path: Path) -> None:
    """Nothing fires early or late, desks with right clocks are served, and the operator is told both times."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    async with process(tmp_path / "relay", world, knobs={"clock": str(offset)}) as relay:
        honest = await relay.bystanders()
        device = await relay.device("VN", 1)
        now = relay.now()
        ends = letter_of(world, now, nonce="ends soon", expires=now + 4, ack_by=0)
        stays = letter_of(world, now, nonce="stays")
        for letter in (ends, stays):
            await device.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))

        def put(seconds: int) -> None:
            new = offset.with_name("new")  # whole or not at all: the relay reads it at any moment
            new.write_text(str(seconds))
            new.replace(offset)

        async def step() -> None:
            for seconds, direction in ((HOUR, "forward"), (-HOUR, "backward")):
                moved = f'relay_clock_steps_total{{direction="{direction}"}}'
                put(seconds)
                async with asyncio.timeout(10):
                    while await relay.number(moved) < 1:
                        await relay.ready()
                assert "RelayClockStepped" in " ".join((await relay.ready())["warnings"])
            put(0)

        await honest.while_it_lasts(step())
        async with asyncio.timeout(15):
            said = await _of_the_ladder(device, world)
        assert (said.kind, said["msg"]) == ("expired", ends.msg), "nothing else was due"
        assert now + 4 <= said["at"] <= relay.now() + 1
        assert await relay.logged() > 0


async def _of_the_ladder(device: Device, world: World) -> statement.Statement:
    """Return the next statement by which the relay moves a ladder or ends a message."""
    while True:
        pushed = await device.push()
        where = place(pushed)
        await device.seen(where["epoch"], where["seq"])
        if pushed.type is Type.STATEMENT:
            wire = frames.split(pushed.body)[1]
            if statement.peek(wire).kind in RELAYS:
                return receipt.read(wire, RELAYS, world.evidence.public)


# The end


class Load:
    """Devices that submit one message after another, and know what became of each."""

    def __init__(self, world: World) -> None:
        """Nothing was sent yet."""
        self.world = world
        self.accepted: dict[str, tuple[bytes, bytes]] = {}
        self.unknown: list[bytes] = []
        self.told: list[Type] = []

    async def run(self, device: Device, name: str) -> None:
        """Submit until the line ends; a submission without an answer is unknown, never refused."""
        number = 0
        while True:
            number += 1
            letter = letter_of(self.world, Process.now(), nonce=f"{name} {number}")
            body = frames.join(letter.submission.wire, letter.envelope)
            try:
                answer = await device.call(Type.SUBMIT, body)
            except (EOFError, OSError):
                self.unknown.append(body)
                break
            except Refused as refused:
                if refused.code is not Code.E_BUSY:
                    raise
                self.unknown.append(body)
                break
            self.accepted[letter.msg] = body, answer
            receipt.read(answer, {"accepted"}, self.world.evidence.public)
        with suppress(EOFError, OSError):
            while True:
                self.told.append((await device.frame()).type)


async def test_told_to_stop_in_the_middle_of_everything(world: World, tmp_path: Path) -> None:
    """SIGTERM under load and beside hostile peers: every call answered or unknown, exit 0 in time, nothing lost."""
    async with process(
        tmp_path / "relay", world, knobs={"relay.server.app:SHUTDOWN_S": 0.5}
    ) as relay:
        load, devices = Load(world), [await relay.device("VN", n) for n in range(3)]
        idle = await relay.device("AU", 2)
        peers = await _hostile(relay, world)
        work = [asyncio.ensure_future(load.run(device, str(n))) for n, device in enumerate(devices)]
        await until(lambda: len(load.accepted) >= 20)
        loop = asyncio.get_running_loop()
        began = loop.time()
        relay.child.send_signal(signal.SIGTERM)
        told = [(await idle.frame()).type]
        while told[-1] is not Type.DRAINING:
            told.append((await idle.frame()).type)
        line = idle.socket
        assert isinstance(line, Line)
        while await line.receive() is not None:
            pass
        assert line.code == 1012
        assert await relay.child.wait() == 0
        assert loop.time() - began < STOP_S
        await asyncio.gather(*work)
        for peer in peers:
            peer.close()
        await relay.end()
        events = [one["event"] for one in relay.said()]
        assert "draining" in events
        assert not [one for one in relay.said() if one["level"] == "error"], relay.said()

        await relay.start()
        sender, device = await relay.device("VN"), await relay.device("AU", resume=False)
        for body, answer in load.accepted.values():
            assert await sender.call(Type.SUBMIT, body) == answer
        for body in load.unknown:
            receipt.read(await sender.call(Type.SUBMIT, body), {"accepted"}, world.evidence.public)
        for msg, (body, answer) in load.accepted.items():
            parts = await device.call(Type.PICKUP, pickup_of(world, [msg], relay.now()))
            assert frames.split(parts) == [*frames.split(body)[:1], answer, frames.split(body)[1]]
        assert await relay.logged() > 0


async def _hostile(relay: Process, world: World) -> list[Peer]:
    """Let a reader that takes nothing, a body and headers without an end, and a silent greeting be there."""
    peers = [await Peer.open(relay.port, buffer=4096) for _each in range(4)]
    await raw_device(peers[0], world, "AU", 1)
    name = max(world.files, key=lambda one: len(world.files[one])).encode()
    for number in range(2000):
        call = frames.encode(frames.Frame(Type.GET_FILE, number + 1, name))
        peers[0].writer.write(frame(OP_BINARY, call))
    await peers[1].say(
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\nxx"
    )
    await peers[2].say(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-")
    assert b" 101 " in await peers[3].upgrade()
    return peers
