"""The virtual loop keeps asyncio's promises, and says so when a story can never end."""

import asyncio
import concurrent.futures
import sqlite3
import threading
import time

import pytest
from builders_loop import Line, MemorySocket, SleptForever, VirtualClock, play, socket_pair


def test_days_take_no_time() -> None:
    """Sleeping for a year returns at once, and the clock shows the year."""

    async def story() -> tuple[int, int]:
        clock = VirtualClock(asyncio.get_running_loop(), 1_800_000_000)
        before = clock.now()
        for _ in range(365):
            await clock.sleep(86_400)
        return before, clock.now()

    begun = time.monotonic()
    before, after = play(story())
    assert after - before == 365 * 86_400
    assert time.monotonic() - begun < 5


def test_timers_fire_in_order_and_at_their_instant() -> None:
    """Two tasks with periods that meet only sometimes interleave exactly."""

    async def story() -> list[float]:
        seen: list[float] = []

        async def every(seconds: float, times: int) -> None:
            for _ in range(times):
                await asyncio.sleep(seconds)
                seen.append(asyncio.get_running_loop().time())

        await asyncio.gather(every(0.1, 30), every(0.7, 4))
        return seen

    seen = play(story())
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(3.0)


def test_a_timeout_is_virtual() -> None:
    """asyncio.timeout fires after virtual seconds."""

    async def story() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.sleep(7200)
        return asyncio.get_running_loop().time()

    assert play(story()) == pytest.approx(3600)


def test_sleeping_for_ever_is_an_error() -> None:
    """A future that nobody will ever set is named, not waited for."""

    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SleptForever, match="story"):
        play(story())


def test_running_in_circles_is_an_error() -> None:
    """A periodic timer alone does not keep a story alive past the horizon."""

    async def story() -> None:
        async def beat() -> None:
            for _ in range(1_000_000):
                await asyncio.sleep(60)

        task = asyncio.ensure_future(beat())
        await asyncio.get_running_loop().create_future()
        task.cancel()

    with pytest.raises(SleptForever, match="Only timers"):
        play(story(), horizon=86_400)


def test_sqlite_works_on_its_own_thread() -> None:
    """A connection made and used on one executor thread works, and its jobs take no virtual time."""

    async def story() -> tuple[list[int], float, int]:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            connection = await loop.run_in_executor(executor, sqlite3.connect, ":memory:")
            await loop.run_in_executor(executor, connection.execute, "create table t (n integer)")
            for n in range(3):
                await loop.run_in_executor(
                    executor, connection.execute, "insert into t values (?)", (n,)
                )

            def read() -> list[int]:
                return [n for (n,) in connection.execute("select n from t order by n")]

            rows = await loop.run_in_executor(executor, read)
            thread = await loop.run_in_executor(executor, threading.get_ident)
            await loop.run_in_executor(executor, connection.close)
        return rows, loop.time(), thread

    rows, elapsed, thread = play(story())
    assert rows == [0, 1, 2]
    assert elapsed == 0
    assert thread != threading.get_ident()


def test_a_jobs_error_reaches_its_caller() -> None:
    """What a job raises is raised where it is awaited, on a thread of its own or not."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            for one in (executor, None):
                with pytest.raises(ZeroDivisionError):
                    await loop.run_in_executor(one, lambda: 1 // 0)

    play(story())


def test_clocks_differ_and_step() -> None:
    """Two clocks on one loop differ by their errors; a step moves one of them only."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        right, wrong = VirtualClock(loop, 1000), VirtualClock(loop, 1000, error=3600)
        assert wrong.now() - right.now() == 3600
        wrong.step(-3600)
        await right.sleep(10)
        assert right.now() == wrong.now() == 1010

    play(story())


def test_a_line_keeps_order_and_pushes_back() -> None:
    """Frames arrive in order, and a sender waits while the reader does not read."""

    async def story() -> None:
        near, far = socket_pair()

        async def flood() -> None:
            for n in range(500):
                await near.send(n.to_bytes(2, "big"))

        task = asyncio.ensure_future(flood())
        await asyncio.sleep(1)
        assert near.sent == 64
        got = [int.from_bytes(await far.receive() or b"", "big") for _ in range(500)]
        await task
        assert got == list(range(500))
        await near.close(1000, "done")
        assert await far.receive() is None
        with pytest.raises(ConnectionResetError):
            await far.send(b"late")

    play(story())


def test_a_cut_line_loses_what_was_under_way() -> None:
    """After a cut neither end receives what had been sent before."""

    async def story() -> None:
        near, far = socket_pair()
        await near.send(b"lost")
        near.cut()
        assert await far.receive() is None
        assert await near.receive() is None

    play(story())


def test_a_way_that_is_down_refuses_and_comes_back() -> None:
    """A dial fails while the way is down; afterwards it is answered, until the line is cut."""

    async def story() -> None:
        async def echo(socket: MemorySocket) -> None:
            while (frame := await socket.receive()) is not None:
                await socket.send(frame)

        line = Line(echo)
        line.down = True
        with pytest.raises(ConnectionRefusedError):
            await line.dial()
        line.down = False
        socket = await line.dial()
        await socket.send(b"hello")
        assert await socket.receive() == b"hello"
        line.cut()
        assert await socket.receive() is None
        await line.finish()

    play(story())
