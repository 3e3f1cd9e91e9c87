"""Connections that cost the measuring side as little as can be: WebSocket, AMQP 0-9-1 and RESP on plain protocols.

What is sent was made before the clock ran wherever that is possible. The WebSocket mask is all zeros, which is a mask
like any other to the far side and saves this one the work.
"""

import asyncio
import base64
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from pamqp import base, body, commands, frame, header

Heard = Callable[[bytes], None]


class Line(asyncio.Protocol):
    """Bytes in a buffer, cut into messages by :meth:`cut`."""

    def __init__(self, heard: Heard) -> None:
        """*heard* takes each whole message."""
        self.heard = heard
        self.lost = asyncio.get_running_loop().create_future()
        self._left = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        if not self.lost.done():
            self.lost.set_result(exc)

    def data_received(self, data: bytes) -> None:
        """Cut what has come."""
        data = self._left + data if self._left else data
        at = 0
        while True:
            end, message = self.cut(data, at)
            if not end:
                break
            at = end
            if message is not None:
                self.heard(message)
        self._left = data[at:]
        self.settled()

    def cut(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """Return where the message at *at* ends (0: it is not whole yet), and the message."""
        raise NotImplementedError

    def settled(self) -> None:
        """All that came together was heard."""


class WebSocket(Line):
    """The sending side of RFC 6455, for binary messages that are never cut into fragments."""

    def __init__(self, heard: Heard, settled: Callable[[], None] = lambda: None) -> None:
        """*settled* is called after each run of messages that came together."""
        super().__init__(heard)
        self._settled = settled
        self.open = asyncio.get_running_loop().create_future()

    def cut(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """Cut the HTTP answer first, then frames."""
        if not self.open.done():
            end = data.find(b"\r\n\r\n", at)
            if end < 0:
                return 0, None
            if b" 101 " in data[:32]:
                self.open.set_result(None)
            else:
                self.open.set_exception(ConnectionError(data[:200].decode(errors="replace")))
            return end + 4, None
        if len(data) < at + 2:
            return 0, None
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        elif size == 127:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        if len(data) < start + size:
            return 0, None
        if data[at] == 0x82:
            return start + size, data[start : start + size]
        if data[at] == 0x89:  # ping
            self.transport.write(b"\x8a" + bytes((0x80 | size,)) + bytes(4) + data[start:][:size])
        return start + size, None

    def settled(self) -> None:
        """Pass it on."""
        self._settled()

    def send(self, framed: bytes) -> None:
        """Send what :func:`framed` made."""
        self.transport.write(framed)


def framed(message: bytes) -> bytes:
    """Return a WebSocket frame with a mask of zeros."""
    size = len(message)
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x82, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0xFF, size)
    return head + bytes(4) + message


async def websocket(port: int, heard: Heard, settled: Callable[[], None]) -> WebSocket:
    """Open a session's line to a relay on loopback."""
    loop = asyncio.get_running_loop()
    _transport, line = await loop.create_connection(
        lambda: WebSocket(heard, settled), "127.0.0.1", port
    )
    key = base64.b64encode(b"poc24 bench key.").decode()
    line.transport.write(
        f"GET /v1/session HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await line.open
    return line


DELIVER = b"\x00\x3c\x00\x3c"
ACK = b"\x00\x3c\x00\x50"
NACK = b"\x00\x3c\x00\x78"


class Amqp(Line):
    """One AMQP connection with one channel. Slow methods go through pamqp; deliveries and confirms are cut here."""

    def __init__(
        self, delivered: Callable[[int, bytes], None], confirmed: Callable[[int, bool], None]
    ) -> None:
        """*delivered* takes a tag and a body; *confirmed* a tag and whether it covers all before it."""
        super().__init__(self._frame)
        self._delivered = delivered
        self._confirmed = confirmed
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        self._tag = 0
        self._size = 0
        self._parts: list[bytes] = []

    def cut(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """Cut one frame: type, channel, size, payload, end."""
        if len(data) < at + 7:
            return 0, None
        end = at + 8 + int.from_bytes(data[at + 3 : at + 7], "big")
        if len(data) < end:
            return 0, None
        return end, data[at:end]

    def _frame(self, data: bytes) -> None:
        kind = data[0]
        if kind == 3:
            self._parts.append(data[7:-1])
            self._size -= len(data) - 8
            if self._size <= 0:
                whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts = []
                self._delivered(self._tag, whole)
        elif kind == 2:
            self._size = int.from_bytes(data[11:19], "big")
        elif kind == 1:
            method = data[7:11]
            if method == DELIVER:
                after = 12 + data[11]
                self._tag = int.from_bytes(data[after : after + 8], "big")
            elif method == ACK:
                self._confirmed(int.from_bytes(data[11:19], "big"), bool(data[19] & 1))
            elif method == NACK:
                raise RuntimeError("RabbitMQ did not take a message.")
            else:
                self._answers.put_nowait(frame.unmarshal(data)[2])

    async def ask(self, method: base.Frame, channel: int = 1) -> Any:
        """Send a method and return the next one that comes."""
        self.transport.write(frame.marshal(method, channel))
        return await self._answers.get()

    def ack(self, tag: int) -> None:
        """Say that a delivery was dealt with."""
        payload = ACK + tag.to_bytes(8, "big") + b"\x00"
        self.transport.write(b"\x01\x00\x01" + len(payload).to_bytes(4, "big") + payload + b"\xce")

    def consume(self, queue: str, prefetch: int) -> None:
        """Begin to take from a queue; what comes in answer is not waited for, deliveries may be among it."""
        self.transport.write(
            frame.marshal(commands.Basic.Qos(prefetch_count=prefetch), 1)
            + frame.marshal(commands.Basic.Consume(queue=queue, nowait=True, consumer_tag="c"), 1)
        )


async def amqp(
    port: int,
    delivered: Callable[[int, bytes], None] = lambda _tag, _data: None,
    confirmed: Callable[[int, bool], None] = lambda _tag, _all: None,
) -> Amqp:
    """Open a connection and its channel with publisher confirms."""
    loop = asyncio.get_running_loop()
    _transport, line = await loop.create_connection(
        lambda: Amqp(delivered, confirmed), "127.0.0.1", port
    )
    line.transport.write(b"AMQP\x00\x00\x09\x01")
    await line._answers.get()  # Start
    tune = await line.ask(
        commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), channel=0
    )
    line.transport.write(
        frame.marshal(commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
    )
    await line.ask(commands.Connection.Open("/"), channel=0)
    await line.ask(commands.Channel.Open())
    await line.ask(commands.Confirm.Select())
    return line


async def quorum(line: Amqp, queue: str) -> None:
    """Declare a quorum queue."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum"}
    await line.ask(commands.Queue.Declare(queue=queue, durable=True, arguments=arguments))


def publication(queue: str, data: bytes) -> bytes:
    """Return the frames that publish *data* persistently to a queue."""
    properties = commands.Basic.Properties(delivery_mode=2)
    return (
        frame.marshal(commands.Basic.Publish(exchange="", routing_key=queue, mandatory=False), 1)
        + frame.marshal(header.ContentHeader(body_size=len(data), properties=properties), 1)
        + frame.marshal(body.ContentBody(data), 1)
    )


class Resp(Line):
    """One connection to Redis: commands out, whole replies in, in order."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        super().__init__(lambda _data: None)
        self._waiting: deque[Callable[[Any], None]] = deque()

    def data_received(self, data: bytes) -> None:
        """Cut replies and hand each to whoever asked."""
        data = self._left + data if self._left else data
        at = 0
        while at < len(data):
            end, reply = _reply(data, at)
            if not end:
                break
            at = end
            self._waiting.popleft()(reply)
        self._left = data[at:]

    def tell(self, told: bytes, heard: Callable[[Any], None] = lambda _reply: None) -> None:
        """Send a command of :func:`command`; *heard* takes its reply."""
        self._waiting.append(heard)
        self.transport.write(told)

    def expect(self) -> None:
        """One reply more will come than commands were told: two went out together."""
        self._waiting.append(lambda _reply: None)

    async def ask(self, *words: bytes) -> Any:
        """Send a command and return its reply."""
        reply = asyncio.get_running_loop().create_future()
        self.tell(command(*words), reply.set_result)
        return await reply


def _reply(data: bytes, at: int) -> tuple[int, Any]:
    end = data.find(b"\r\n", at)
    if end < 0:
        return 0, None
    kind, rest = data[at], data[at + 1 : end]
    if kind == 0x24:  # $
        size = int(rest)
        if size < 0:
            return end + 2, None
        if len(data) < end + 4 + size:
            return 0, None
        return end + 4 + size, data[end + 2 : end + 2 + size]
    if kind == 0x2A:  # *
        found: list[Any] = []
        place = end + 2
        for _each in range(int(rest)):
            place, one = _reply(data, place)
            if not place:
                return 0, None
            found.append(one)
        return place, found if int(rest) >= 0 else None
    if kind == 0x2D:  # -
        raise RuntimeError(f"Redis: {rest.decode()}")
    return end + 2, rest


def command(*words: bytes) -> bytes:
    """Return a command as Redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in words)


async def resp(port: int) -> Resp:
    """Open a connection."""
    loop = asyncio.get_running_loop()
    _transport, line = await loop.create_connection(Resp, "127.0.0.1", port)
    return line
