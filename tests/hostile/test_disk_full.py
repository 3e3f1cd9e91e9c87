"""A disk that fills up: new messages are refused in time, receipts still taken, nothing accepted is lost."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import Letter, letter_of, pickup_of, receipt_of
from builders_door import NOW, Device, place, refusal
from builders_hostile import Process, process, until
from builders_keys import World
from builders_relay import Running, running

from keys.errors import Code, Refused
from relay import errors
from relay.store.room import Room
from relay.wire import frames, receipt
from relay.wire.frames import Type

MIB = 1024 * 1024
DISK = {"ballast_bytes": 6 * MIB, "free_bytes_min": 10 * MIB, "free_percent_min": 0}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 40 MiB, a real one: its end is the kernel's."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={40 * MIB},mode=700", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this account may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(disk: Path) -> int:
    """Return the bytes that are free."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, leave: int) -> None:
    """Let another program write until only *leave* bytes are free."""
    more = free(disk) - leave
    if more > 0:
        with (disk / "another program's").open("ab") as other:
            os.posix_fallocate(other.fileno(), other.tell(), more)


def empty(disk: Path) -> None:
    """Let the other program delete what it wrote."""
    (disk / "another program's").unlink()


@dataclass
class Sent:
    """A message that was accepted: what was sent, and the bytes that answered it."""

    letter: Letter
    body: bytes
    accepted: bytes

    @property
    def msg(self) -> str:
        """The message id."""
        return self.letter.msg


async def sent(world: World, device: Device, now: int, nonce: str) -> Sent:
    """Submit a message and read its acceptance."""
    letter = letter_of(world, now, nonce=nonce)
    body = frames.join(letter.submission.wire, letter.envelope)
    accepted = await device.call(Type.SUBMIT, body)
    receipt.read(accepted, {"accepted"}, world.evidence.public)
    return Sent(letter, body, accepted)


@pytest.mark.may_skip("an account that may not mount; the test after this one runs everywhere")
async def test_a_disk_that_fills_to_its_last_byte(disk: Path, tmp_path: Path) -> None:
    """Floor, ballast, the end, and room again: what was accepted is there each time, in a real process on a real disk."""
    world = World(now=Process.now())
    store = {"path": str(disk / "relay.db"), **DISK}
    async with process(tmp_path / "relay", world, store=store) as relay:
        now, ballast = relay.now(), disk / "relay.db.ballast"
        sender, device = await relay.device("VN"), await relay.device("AU")
        kept = [await sent(world, sender, now, f"before {n}") for n in range(3)]
        await until(ballast.exists)

        # Nearly full: no new message, and the sender hears why; a repeat and receipts pass.
        fill(disk, 9 * MIB)
        refused = await refusal(sent(world, sender, now, "too late"))
        assert (refused.code, refused.retry) == (Code.E_BUSY, True)
        assert "nearly full" in refused.text
        assert await sender.call(Type.SUBMIT, kept[0].body) == kept[0].accepted
        await device.call(Type.PICKUP, pickup_of(world, [kept[0].msg], now))
        delivered = receipt_of(world, "delivered", kept[0].letter, now)
        assert await device.call(Type.RECORD, frames.join(delivered.wire))
        found = await relay.ready()
        assert found["ready"], found
        assert "RelayDiskNearlyFull" in found["warnings"][0]
        assert await relay.number("relay_store_free_bytes") < 10 * MIB
        assert await relay.number("relay_store_floor_bytes") == 10 * MIB
        assert await relay.number('relay_messages_rejected_total{reason="storage"}') == 1

        # Full: the ballast is given up, and what had been accepted is still worked on.
        fill(disk, 0)
        for _each in range(64):
            await device.call(Type.PICKUP, pickup_of(world, [kept[1].msg], now))
        await until(lambda: not ballast.exists())
        assert await relay.number("relay_store_ballast_bytes") == 0

        # Room again: everything as before, and nobody had to start anything.
        empty(disk)
        await until(ballast.exists)
        kept.append(await sent(world, sender, now, "room again"))
        assert (await relay.ready())["warnings"] == []

        # Full to the last byte, ballast and all: the relay ends rather than answer for what it cannot keep.
        unknown = await _to_the_last_byte(disk, device, pickup_of(world, [kept[1].msg], now))
        if isinstance(unknown, Refused):
            assert unknown.code is Code.E_BUSY
            assert "unknown" in unknown.text
        assert await relay.child.wait() == errors.TRY_AGAIN
        again = Process(relay.config, world)
        with pytest.raises(AssertionError, match="MiB are free"):
            await again.start()
        assert await again.child.wait() == errors.TRY_AGAIN

        empty(disk)
        await again.start()
        try:
            sender = await again.device("VN")
            for one in kept:
                assert await sender.call(Type.SUBMIT, one.body) == one.accepted
            device = await again.device("AU", resume=False)
            await device.resume(0)
            missing = {one.msg for one in kept}
            while missing:
                missing.discard(place(await device.push())["msg"])
        finally:
            assert await again.end(15) == 0


async def _to_the_last_byte(disk: Path, device: Device, pickup: bytes) -> Exception:
    """Collect while somebody else takes every byte that gets free; return what the device is left with."""
    while True:
        fill(disk, 0)
        try:
            await device.call(Type.PICKUP, pickup)
        except (EOFError, OSError, Refused) as unknown:
            return unknown


async def test_nearly_full_as_the_desks_see_it(tmp_path: Path) -> None:
    """The same without a mount: refused with E_BUSY over both doors, receipts recorded, a warning and no 503."""
    world = World()
    share = os.statvfs(tmp_path)
    full = [False]

    def statvfs(_path: Path) -> os.statvfs_result:
        found = list(share)
        if full[0]:
            found[4] = 0  # f_bavail
        return os.statvfs_result(found)

    room = Room(tmp_path / "relay.db", 0, 1, 0, statvfs=statvfs)
    async with running(world, room=room) as relay:
        sender, _token = await relay.connected("VN")
        device, _token = await relay.connected("AU")
        before = await sent(world, sender, NOW, "before")
        full[0] = True
        assert (await refusal(sent(world, sender, NOW, "after"))).code is Code.E_BUSY
        status, headers = await _over_http(relay, world)
        assert (status, headers["Retry-After"]) == (503, "2")
        assert await sender.call(Type.SUBMIT, before.body) == before.accepted
        await device.call(Type.PICKUP, pickup_of(world, [before.msg], NOW))
        delivered = receipt_of(world, "delivered", before.letter, NOW)
        assert await device.call(Type.RECORD, frames.join(delivered.wire))
        status, found = await relay.health()
        assert (status, len(found["warnings"])) == (200, 1)
        full[0] = False
        await sent(world, sender, NOW, "room again")


async def _over_http(relay: Running, world: World) -> tuple[int, dict[str, str]]:
    letter = letter_of(world, NOW, nonce="over http")
    body = frames.join(letter.submission.wire, letter.envelope)
    status, _answer, headers = await relay.call("POST", "/v1/messages", body)
    return status, dict(headers)


def test_the_example_says_what_the_relay_does(tmp_path: Path) -> None:
    """A configuration that says nothing keeps 1 GiB or 5 % free, and 64 MiB of ballast."""
    room = Room(tmp_path / "relay.db")
    total = os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert room.look()[1] == max(1024**3, total * 5 // 100)
    assert room.ballast_bytes == 64 * MIB
