"""Attachments and a real relay process: what memory they take, and what a kill in their midst leaves (PROTOCOL 9.5)."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from builders_blobs import blob_of
from builders_door import Device
from builders_hostile import Process, folder_of, process
from builders_keys import World
from builders_relay import Line

from relay.wire import blob as frame

MIB = 1024 * 1024
GROWTH_BYTES_MAX = 16 * MIB
"""Four bodies up and four down, and what the allocator keeps back."""
PROCESS_BYTES_MAX = 100 * 1000 * 1000


async def token(relay: Process, desk: str, n: int = 0) -> dict[str, str]:
    """Return the headers of a device's calls."""
    url = f"http://127.0.0.1:{relay.port}/v1/session"
    channel = await relay.session.ws_connect(url, max_msg_size=0)
    signer = relay.world.device(desk, relay.world.handles(desk)[n])
    device = Device(Line(channel), relay.world, desk, signer)  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {(await device.connect())['token']}"}


def peak(relay: Process) -> int:
    """Return the most memory that the process has ever had, in bytes."""
    text = Path(f"/proc/{relay.child.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


class Streamed:
    """A blob of a file of *size* bytes that is never in memory; another *number*, other bytes."""

    def __init__(self, size: int, number: int) -> None:
        self.length = frame.sealed_size(size)
        self.block = random.Random(number).randbytes(256 * 1024)
        found = hashlib.sha256()
        for piece in self.parts():
            found.update(piece)
        self.id = found.hexdigest()

    def parts(self) -> Iterator[bytes]:
        """Yield its pieces."""
        yield frame.MAGIC
        left = self.length - len(frame.MAGIC)
        while left:
            yield self.block[:left]
            left -= min(left, len(self.block))

    async def body(self) -> AsyncIterator[bytes]:
        """Yield its pieces to a call."""
        for piece in self.parts():
            yield piece


def url(relay: Process, blob: str) -> str:
    """Return a blob's address."""
    return f"http://127.0.0.1:{relay.port}/v1/blobs/{blob}"


async def up(relay: Process, headers: dict[str, str], made: Streamed) -> int:
    """Put a blob; return the status."""
    said = {**headers, "Content-Length": str(made.length)}
    async with relay.session.put(url(relay, made.id), data=made.body(), headers=said) as response:
        return response.status


async def down(relay: Process, headers: dict[str, str], blob: str) -> str:
    """Read a blob; return the SHA-256 of what came."""
    found = hashlib.sha256()
    async with relay.session.get(url(relay, blob), headers=headers) as response:
        async for piece in response.content.iter_chunked(MIB):
            found.update(piece)
    return found.hexdigest()


async def carry(folder: Path, size: int, at_once: int) -> tuple[int, int]:
    """Put and read blobs of *size*, so many at once; return the peak before and after."""
    world = World(now=Process.now())
    made = [Streamed(size, number) for number in range(at_once)]
    async with process(folder, world) as relay:
        desks = [await token(relay, desk) for desk in ("VN", "AU")]
        warm = Streamed(MIB, -1)
        assert await up(relay, desks[0], warm) == 201
        assert await down(relay, desks[0], warm.id) == warm.id
        before = peak(relay)
        work = [up(relay, desks[number % 2], one) for number, one in enumerate(made)]
        assert await asyncio.gather(*work) == [201] * at_once
        reads = [down(relay, desks[number % 2], one.id) for number, one in enumerate(made)]
        assert await asyncio.gather(*reads) == [one.id for one in made]
        return before, peak(relay)


async def test_bodies_larger_than_memory_should_hold(tmp_path: Path) -> None:
    """24 MiB up and down, four at once: the process grows by less than one of them."""
    before, after = await carry(tmp_path, 24 * MIB, 4)
    assert after - before < GROWTH_BYTES_MAX, (before / MIB, after / MIB)
    assert after < PROCESS_BYTES_MAX, (before / MIB, after / MIB)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_the_largest_attachments(tmp_path: Path) -> None:
    """256 MiB, three at once, up and down: under 100 MB at the peak."""
    before, after = await carry(tmp_path, 256 * MIB, 3)
    assert after < PROCESS_BYTES_MAX, (before / MIB, after / MIB)


async def test_killed_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    """kill -9 half way: the next life has the part, the rest completes it, and nothing else lies there."""
    world = World(now=Process.now())
    made = blob_of("large", 900_000)
    half = len(made) // 2
    relay = Process(folder_of(tmp_path, world), world)
    await relay.start()
    try:
        headers = await token(relay, "VN")
        said = {**headers, "Content-Range": f"bytes 0-{half - 1}/{len(made)}"}
        async with relay.session.put(
            url(relay, made.id), data=made.data[:half], headers=said
        ) as response:
            assert response.status == 202

        async def endless() -> None:
            async def rest() -> AsyncIterator[bytes]:
                yield made.data[half : half + 200_000]
                await asyncio.sleep(60)

            more = {"Content-Range": f"bytes {half}-{len(made) - 1}/{len(made)}"}
            more["Content-Length"] = str(len(made) - half)
            async with relay.session.put(
                url(relay, made.id), data=rest(), headers={**headers, **more}
            ):
                pass

        going = asyncio.ensure_future(endless())
        part = tmp_path / "relay.db.blobs" / f"{made.id}.VN.part"
        while part.stat().st_size <= half:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    finally:
        await relay.end()
    with pytest.raises(aiohttp.ClientError):
        await going
    await relay.start()
    try:
        headers = await token(relay, "VN")
        async with relay.session.head(url(relay, made.id), headers=headers) as response:
            assert response.status == 204
            at = int(response.headers["Upload-Offset"])
        assert half <= at <= half + 200_000
        said = {**headers, "Content-Range": f"bytes {at}-{len(made) - 1}/{len(made)}"}
        async with relay.session.put(
            url(relay, made.id), data=made.data[at:], headers=said
        ) as response:
            assert response.status == 201
        assert await down(relay, headers, made.id) == made.id
        assert {path.name for path in part.parent.iterdir()} == {made.id, "relay.lock"}
    finally:
        await relay.end()
