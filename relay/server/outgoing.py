"""What is on its way to one device: a queue bounded in bytes, written in bundles by one task.

Nothing here is worth keeping: answers can be asked for again, and what was pushed still stands in the mailbox.
"""

import asyncio
from collections import deque
from typing import Protocol

from relay.wire import frames
from relay.wire.frames import Frame

OUTGOING_BYTES_MAX = 8 * 1024 * 1024
"""More than this waiting for one device, and nothing further is read from it until some has left."""
SEND_S = 10
"""A device that takes nothing for this long is cut off; its mailbox keeps everything."""
SLOWEST_BYTES_PER_S = 32 * 1024
"""A bad line is no crime: a large answer has the time that it needs at this speed, on top of SEND_S."""


class Socket(Protocol):
    """A connection that carries whole binary messages, whatever it is made of."""

    async def send(self, data: bytes) -> None:
        """Return when the message is on its way; OSError if it cannot be."""

    async def receive(self) -> bytes | None:
        """Return the next message; None once the other side is gone."""

    async def close(self, code: int, reason: str) -> None:
        """End the connection with a WebSocket code (RFC 6455 section 7.4); safe to call twice."""


class SlowReader(Exception):
    """The device did not take what was sent to it in time."""


class Outgoing:
    """The one writer of a socket."""

    def __init__(
        self, socket: Socket, *, limit: int = OUTGOING_BYTES_MAX, send_s: float = SEND_S
    ) -> None:
        """Queue for *socket*; *limit* in bytes, *send_s* in seconds."""
        self._socket = socket
        self._limit = limit
        self._send_s = send_s
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def bytes(self) -> int:
        """How many bytes wait, those being written just now included."""
        return self._bytes

    def put(self, frame: Frame) -> None:
        """Queue a frame behind what waits. Callers that can wait call :meth:`room` first."""
        data = frames.encode(frame)
        self._waiting.append(data)
        self._bytes += len(data)
        self._empty.clear()
        if self._bytes > self._limit:
            self._room.clear()
        self._some.set()

    async def room(self) -> None:
        """Return when no more than the limit waits."""
        if not self._room.is_set():
            await self._room.wait()

    async def run(self) -> None:
        """Write until cancelled; SlowReader or OSError when the device takes nothing any more.

        All that came together since the last time leaves under one deadline, so an idle device costs no timer and a
        busy one a timer per bundle.
        """
        while True:
            await self._some.wait()
            self._some.clear()
            bundle = list(self._waiting)
            self._waiting.clear()
            size = sum(map(len, bundle))
            try:
                async with asyncio.timeout(self._send_s + size / SLOWEST_BYTES_PER_S):
                    for data in bundle:
                        await self._socket.send(data)
                        self._bytes -= len(data)
            except TimeoutError:
                raise SlowReader from None
            if self._bytes <= self._limit:
                self._room.set()
            if not self._bytes:
                self._empty.set()

    async def flushed(self, seconds: float) -> bool:
        """Return whether everything that waits left within *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
