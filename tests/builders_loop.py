"""Time, loop and line for tests that live through days in milliseconds.

::

    def test_nine_days_off() -> None:
        async def story() -> None:
            clock = VirtualClock(asyncio.get_running_loop(), start=1_800_000_000)
            await clock.sleep(9 * 86_400)      # no real time goes by
        play(story())

The loop is asyncio's own, unchanged but for its clock and its ``select``: when nothing is ready it
jumps to the next timer. A job in an executor (SQLite's thread) is waited for really, at the very
place where it is handed over, so a run is the same every time. A story that would sleep for ever,
or past the loop's horizon, fails and names the tasks that wait.
"""

import asyncio
import collections
import concurrent.futures
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

HORIZON_S = 400 * 86_400
"""Seconds after which a story is taken to run in circles: periodic timers alone keep a loop alive."""
JOB_SECONDS = 60.0
"""Real seconds that one job of an executor may take."""
LINE_FRAMES = 64
"""Frames that one direction of a socket pair holds before its sender waits."""


class SleptForever(RuntimeError):
    """Nothing is ready and nothing is due: what the story waits for can never come."""


class _Select:
    """What the loop takes for its selector: no file is ever ready, and waiting is a jump in time."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.jump(timeout)
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop whose ``time()`` starts at 0 and jumps ahead when nothing is ready."""

    def __init__(self, horizon: float = HORIZON_S) -> None:
        super().__init__()
        self._instant = 0.0
        self._horizon = horizon
        self._clock_resolution = 1e-6
        self._selector = _Select(self)
        self._notified = False

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._instant

    def jump(self, timeout: float | None) -> None:
        """Go to the next timer; called by the loop when it has nothing to run at once."""
        if self._notified or (timeout is not None and timeout <= 0):
            self._notified = False
            return
        if timeout is None:
            raise SleptForever(
                f"Nothing is ready and no timer is set at {self._instant} s. {self._waiting()}"
            )
        # The very instant of the timer: adding the difference to a large float could fall short of it.
        self._instant = max(self._instant, self._scheduled[0].when())  # type: ignore[attr-defined]
        if self._instant > self._horizon:
            raise SleptForever(f"Only timers run since {self._horizon} s. {self._waiting()}")

    def _waiting(self) -> str:
        return "Waiting: " + "; ".join(sorted(repr(task) for task in asyncio.all_tasks(self))[:20])

    def run_in_executor(  # type: ignore[override]
        self, executor: concurrent.futures.Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a job on its own thread, wait for it really, and hand its result over in the next round."""
        if executor is None:
            # No thread of our own: its results would come in an order that nobody can repeat.
            done: concurrent.futures.Future[T] = concurrent.futures.Future()
            try:
                done.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
                done.set_exception(error)
        else:
            done = executor.submit(func, *args)
            concurrent.futures.wait([done], JOB_SECONDS)
            if not done.done():
                raise SleptForever(
                    f"A job in an executor took more than {JOB_SECONDS} real seconds: {func!r}."
                )
        return asyncio.wrap_future(done, loop=self)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    def _process_events(self, event_list: list[Any]) -> None:
        """No file is watched, so there are none."""

    def _write_to_self(self) -> None:
        """Somebody called ``call_soon_threadsafe``: look again before jumping."""
        self._notified = True


def play(story: Coroutine[Any, Any, T], *, horizon: float = HORIZON_S) -> T:
    """Run one story on a loop of virtual time and return what it returns."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(horizon)) as runner:
        return runner.run(story)


class VirtualClock:
    """A clock for a desk or a relay; several may stand on one loop and differ, as clocks do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: int, *, error: int = 0) -> None:
        """Read *start* plus the loop's seconds; *error* seconds are added (a clock that is wrong)."""
        self._loop = loop
        self._start = start
        self.error = error

    def now(self) -> int:
        """Return seconds since 1970, UTC, as this clock shows them."""
        return self._start + int(self._loop.time()) + self.error

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds go by; a step of the clock does not shorten or lengthen them."""
        await asyncio.sleep(seconds)

    def step(self, seconds: int) -> None:
        """Set the clock forward (or back, if negative), as an operator or NTP does."""
        self.error += seconds


@dataclass(slots=True)
class _Half:
    """One direction of a line: what was sent and not yet received."""

    frames: collections.deque[bytes] = field(default_factory=collections.deque)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def wake(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


class MemorySocket:
    """One end of a line in memory, of the shape that a link and a session take for a WebSocket.

    ``sent`` counts frames; ``tamper``, if set, sees each frame before it leaves and returns the
    frames that leave in its place (none: lost; two: repeated; other bytes: a lying line).
    """

    def __init__(self, out: _Half, into: _Half) -> None:
        """Join two directions; :func:`socket_pair` makes both ends."""
        self._out, self._in = out, into
        self.sent = 0
        self.code = 0
        self.reason = ""
        self.tamper: Callable[[bytes], list[bytes]] | None = None

    async def send(self, data: bytes) -> None:
        """Hand one frame over; waits while the line is full; ConnectionResetError once it is closed."""
        for frame in [data] if self.tamper is None else self.tamper(data):
            while len(self._out.frames) >= LINE_FRAMES and not self._out.closed:
                await self._out.moved.wait()
            if self._out.closed:
                raise ConnectionResetError("The line is closed.")
            self._out.frames.append(bytes(frame))
            self._out.wake()
        self.sent += 1

    async def receive(self) -> bytes | None:
        """Return the next frame, or None once the line is closed and what had been sent is read."""
        while not self._in.frames:
            if self._in.closed:
                return None
            await self._in.moved.wait()
        frame = self._in.frames.popleft()
        self._in.wake()
        return frame

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both directions; frames under way still arrive."""
        self.code, self.reason = code, reason
        self._end(lose=False)

    def cut(self) -> None:
        """Break the line: frames under way are lost in both directions."""
        self._end(lose=True)

    def _end(self, *, lose: bool) -> None:
        for half in (self._out, self._in):
            half.closed = True
            if lose:
                half.frames.clear()
            half.wake()


def socket_pair() -> tuple[MemorySocket, MemorySocket]:
    """Return the two ends of a new line in memory."""
    there, back = _Half(), _Half()
    return MemorySocket(there, back), MemorySocket(back, there)


class Line:
    """The way from desks to a relay: it can go down, be cut, and counts who dialled.

    *serve* answers one socket until it is closed (``Sessions.serve``); ``dial`` is what a link takes.
    """

    def __init__(self, serve: Callable[[MemorySocket], Awaitable[None]]) -> None:
        """Lead every dial to *serve*; assign another to ``serve`` when the relay has restarted."""
        self.serve = serve
        self.down = False
        self.dialled = 0
        self.open: list[MemorySocket] = []
        self.on_dial: Callable[[MemorySocket, MemorySocket], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self) -> MemorySocket:
        """Open a line to the relay; ConnectionError while the way is down."""
        self.dialled += 1
        if self.down:
            raise ConnectionRefusedError("The way to the relay is down.")
        near, far = socket_pair()
        if self.on_dial is not None:
            self.on_dial(near, far)
        self.open.append(near)
        task = asyncio.ensure_future(self._answer(far))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def _answer(self, far: MemorySocket) -> None:
        try:
            await self.serve(far)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            await far.close()

    def cut(self) -> None:
        """Break every line that is open now; the next dial works again unless the way is down."""
        for socket in self.open:
            socket.cut()
        self.open.clear()

    async def finish(self) -> None:
        """Cut all lines and wait until whoever answered them is done."""
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
