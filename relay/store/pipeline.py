"""One connection and what waits for it: batches go out as one pipeline, and are released when they are durable.

The same thought as the embedded store's writer: while one batch is under way, what arrives is the next one. One task
owns the connection, so nobody who gives up waiting can ever read somebody else's answer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keys.errors import Failed
from relay.store.base import Change, Kept, PrekeyRow
from relay.store.redis_rows import Argument
from relay.store.vouched import Published

BATCH_OPERATIONS_MAX = 64
BATCH_BYTES_MAX = 1024 * 1024


@dataclass(slots=True, eq=False)
class Operation:
    """One call: a script that writes, or commands that read."""

    script: str
    """Name of a script in lua/; "" for a read."""
    arguments: tuple[Argument, ...]
    """The script's own arguments, or of a read the one command with its arguments."""
    future: asyncio.Future[Any]
    read: Callable[[Any], Any]
    """Makes the call's result of what was answered; may raise ValueError or Failed, for its caller alone."""
    weight: int = 0
    change: Change | None = None
    statements: Sequence[Kept] = ()
    prekeys: Sequence[PrekeyRow] = ()
    directory: Published | None = None
    blob: tuple[str, int, str, int] | None = None
    """What the instance's journal has to vouch for once this is true."""
    answer: Any = field(default=None)


class Pipeline:
    """What waits, and the task that carries it."""

    def __init__(
        self,
        carry: Callable[[list[Operation]], Awaitable[None]],
        idle: Callable[[], Awaitable[None]],
        beat_s: float,
    ) -> None:
        """*carry* makes a batch true and durable and sets each operation's answer; what it raises ends everything.

        *idle* is called when nothing came for *beat_s* seconds.
        """
        self._carry = carry
        self._idle = idle
        self._beat_s = beat_s
        self._waiting: deque[Operation] = deque()
        self._came = asyncio.Event()
        self._closing = False
        self.broken: Failed | None = None
        """What ended it, for good."""
        self._task = asyncio.create_task(self._run())

    async def ask(self, operation: Operation) -> Any:
        """Return an operation's result after its batch is durable."""
        if self.broken is not None:
            raise again(self.broken)
        if self._closing:
            raise Failed("The store is stopped.", hint="Start the relay again.", exit_code=75)
        self._waiting.append(operation)
        self._came.set()
        return await operation.future

    async def close(self) -> None:
        """Take no more, and finish what waits."""
        self._closing = True
        self._came.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            batch: list[Operation] = []
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._came.wait()
            except TimeoutError:
                pass
            try:
                batch = self._take()
                await (self._carry(batch) if batch else self._idle())
            except Failed as failure:
                self.broken = failure
            except Exception as error:  # noqa: BLE001 - whatever it was, the batch is unknown
                self.broken = Failed(
                    f"The store failed ({type(error).__name__}: {error}).", exit_code=75
                )
            if self.broken is not None:
                self._give_up([*batch, *self._waiting], self.broken)
                return
            for operation in batch:
                release(operation)

    def _take(self) -> list[Operation]:
        batch: list[Operation] = []
        weight = 0
        while self._waiting and len(batch) < BATCH_OPERATIONS_MAX and weight < BATCH_BYTES_MAX:
            operation = self._waiting.popleft()
            weight += operation.weight
            batch.append(operation)
        if not self._waiting:
            self._came.clear()
        return batch

    def _give_up(self, waiting: Sequence[Operation], failure: Failed) -> None:
        for operation in waiting:
            if not operation.future.done():
                operation.future.set_exception(again(failure))


def release(operation: Operation) -> None:
    """Hand an operation's result to its caller, who may have gone: what he asked for is done all the same."""
    if operation.future.done():
        return
    try:
        operation.future.set_result(operation.read(operation.answer))
    except Exception as error:  # noqa: BLE001 - one caller's answer is no other's
        operation.future.set_exception(error)


def again(failed: Failed) -> Failed:
    """Return a new exception for each caller: one object raised twice would mix their tracebacks."""
    return Failed(failed.text, hint=failed.hint, exit_code=failed.exit_code)
