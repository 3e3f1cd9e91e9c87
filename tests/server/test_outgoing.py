"""The one writer of a socket: order, bundles, bounds, and the end of patience."""

import asyncio

import pytest
from builders_loop import play

from relay.server import outgoing
from relay.server.outgoing import Outgoing, SlowReader
from relay.wire import frames
from relay.wire.frames import Frame, Type


class Tap:
    """A socket that lets through as much as a test allows."""

    def __init__(self, seconds: float = 0) -> None:
        """Take *seconds* for each message."""
        self.seconds = seconds
        self.taken: list[bytes] = []

    async def send(self, data: bytes) -> None:
        """Take a message."""
        if self.seconds:
            await asyncio.sleep(self.seconds)
        self.taken.append(data)

    async def receive(self) -> bytes | None:
        """Say nothing."""
        return None

    async def close(self, code: int, reason: str) -> None:
        """Close nothing."""


def frame(number: int, size: int = 10) -> Frame:
    """Return an answer of some bytes."""
    return Frame(Type.ANSWER, number, bytes(size))


def test_frames_leave_in_order() -> None:
    """What was put first leaves first, and nothing is left."""

    async def story() -> None:
        tap = Tap()
        out = Outgoing(tap)
        writer = asyncio.ensure_future(out.run())
        for number in range(5):
            out.put(frame(number))
        assert await out.flushed(1)
        assert [frames.decode(one).request for one in tap.taken] == list(range(5))
        assert out.bytes == 0
        writer.cancel()

    play(story())


def test_room_is_given_back_only_when_bytes_have_left() -> None:
    """At the limit there is room, one byte above there is none; it comes back when the bundle is out."""

    async def story() -> None:
        tap = Tap(seconds=1)
        size = len(frames.encode(frame(1)))
        out = Outgoing(tap, limit=2 * size)
        out.put(frame(1))
        out.put(frame(2))
        async with asyncio.timeout(0.1):
            await out.room()
        out.put(frame(3))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await out.room()
        writer = asyncio.ensure_future(out.run())
        await out.room()
        assert len(tap.taken) == 3
        writer.cancel()

    play(story())


def test_who_takes_nothing_is_a_slow_reader() -> None:
    """After ten seconds and the time that the bytes may take on a bad line, patience ends."""

    async def story() -> None:
        out = Outgoing(Tap(seconds=1e6))
        out.put(frame(1, outgoing.SLOWEST_BYTES_PER_S * 5))
        began = asyncio.get_running_loop().time()
        with pytest.raises(SlowReader):
            await out.run()
        spent = asyncio.get_running_loop().time() - began
        assert spent == pytest.approx(outgoing.SEND_S + 5, abs=0.01)

    play(story())


def test_a_bad_line_has_the_time_that_it_needs() -> None:
    """A large answer that takes a minute on a slow line arrives; nobody is cut off for being far away."""

    async def story() -> None:
        tap = Tap(seconds=60)
        out = Outgoing(tap)
        out.put(frame(1, 2 * 1024 * 1024))
        writer = asyncio.ensure_future(out.run())
        assert await out.flushed(100)
        assert len(tap.taken) == 1
        writer.cancel()

    play(story())


def test_flushed_gives_up_in_time() -> None:
    """A stop does not wait longer than it said."""

    async def story() -> None:
        out = Outgoing(Tap(seconds=9))
        writer = asyncio.ensure_future(out.run())
        out.put(frame(1))
        assert not await out.flushed(2)
        assert await out.flushed(10)
        writer.cancel()

    play(story())
