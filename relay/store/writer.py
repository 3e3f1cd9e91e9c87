"""One thread that does what waits, together: group commit without a queue thread, and without a
delay.

Operations wait in a list. While one job runs on the thread, what arrives meanwhile is the next
job's batch; so with one caller every operation is alone, and with a hundred they share a barrier.
Results are released to their callers only after the whole batch is done, that is after its commit.

When a batch fails, nobody knows what of it became durable. Then the writer is broken for good: that
batch, what waits and every later call raise Failed, and the process has to start anew (reliability
of fsync errors: README).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from keys.errors import Failed

BATCH_OPERATIONS_MAX = 64
"""A larger batch gains a tenth and waits four times as long."""
BATCH_BYTES_MAX = 1024 * 1024
"""A batch ends with the operation that crosses this many bytes to be written."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Operation:
    """One call that waits for its turn on the thread."""

    run: Callable[..., Any]
    args: tuple[Any, ...]
    writes: bool
    weight: int
    """Bytes that it brings, about."""
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = field(default=None)


class Writer:
    """The thread, the list and the batches. All methods but *work* run on the event loop."""

    def __init__(
        self,
        work: Callable[[list[Operation]], None],
        failed: Callable[[Exception], Failed],
        rest: Callable[[bool], None],
    ) -> None:
        """*work* does a batch and sets each operation's result or error; what it raises breaks the
        writer.

        *failed* makes a sentence of what was raised; *rest* is called on the thread after results
        were released.
        """
        self._work = work
        self._failed = failed
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[Operation] = deque()
        self._busy = False
        self._closed = False
        self.broken: Failed | None = None
        """What broke it, for good."""
        self._idle = asyncio.Event()
        self._idle.set()

    async def ask(
        self, run: Callable[..., T], *args: Any, writes: bool = False, weight: int = 0
    ) -> T:
        """Run ``run(*args)`` on the thread in the next batch; return its result after the batch is
        durable.
        """
        self.must_be_whole()
        if self._closed:
            raise Failed("The store is stopped.", hint="Start the relay again.", exit_code=75)
        operation = Operation(run, args, writes, weight, self._loop.create_future())
        self._waiting.append(operation)
        if not self._busy:
            self._begin()
        result: T = await operation.future
        return result

    def _begin(self) -> None:
        self._busy = True
        self._idle.clear()
        self._loop.run_in_executor(self._thread, self.turns).add_done_callback(self._ended)

    def _ended(self, _job: asyncio.Future[None]) -> None:
        if self._waiting:  # came between the thread's last look and now
            self._begin()
        else:
            self._busy = False
            self._idle.set()

    def must_be_whole(self) -> None:
        """Raise Failed if a batch has broken the writer."""
        if self.broken:
            raise _again(self.broken)

    def turns(self) -> None:
        """Do batches until nothing waits: on the thread, also from within a long work of it."""
        while batch := self._take():
            try:
                if self.broken is None:
                    self._work(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was, the batch is unknown
                self.broken = self._failed(error)
            if self.broken:
                for operation in batch:
                    operation.error = _again(self.broken)
            self._loop.call_soon_threadsafe(_release, batch)
            if self.broken is None:
                try:
                    self._rest(not self._waiting)
                except Exception as error:  # noqa: BLE001
                    self.broken = self._failed(error)

    def _take(self) -> list[Operation]:
        batch: list[Operation] = []
        weight = 0
        while self._waiting and len(batch) < BATCH_OPERATIONS_MAX and weight < BATCH_BYTES_MAX:
            operation = self._waiting.popleft()
            weight += operation.weight
            batch.append(operation)
        return batch

    async def on_thread(self, run: Callable[..., T], *args: Any) -> T:
        """Run ``run(*args)`` on the thread by itself, outside batches: opening and closing."""
        return await self._loop.run_in_executor(self._thread, run, *args)

    async def close(self) -> None:
        """Take no more, finish what waits."""
        self._closed = True
        await self._idle.wait()

    def end(self) -> None:
        """Let the thread go, after :meth:`close`."""
        self._thread.shutdown(wait=True)


def _release(batch: list[Operation]) -> None:
    for operation in batch:
        future = operation.future
        if future.done():  # its caller was cancelled; what it asked for is done all the same
            continue
        if operation.error is not None:
            future.set_exception(operation.error)
        else:
            future.set_result(operation.result)


def _again(failed: Failed) -> Failed:
    """Return a new exception for each caller: one object raised twice would mix their tracebacks."""
    return Failed(failed.text, hint=failed.hint, exit_code=failed.exit_code)
