"""The journey over the peers: the same bytes, the same hops, on connections that cost as little as the relay's.

RabbitMQ is measured a second time through aiormq, as a Python program would use it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage
from bench.lines import Amqp, Resp, amqp, command, publication, quorum, resp
from bench.loads import Load
from pamqp.commands import Basic

PREFETCH = 64


# RabbitMQ


class RabbitLoad(Load):
    """The journey over quorum queues: confirm, deliver, confirm the receipt, ack; the sender takes the receipt."""

    def __init__(self, bodies: list[bytes], receipts: list[bytes], senders: int) -> None:
        """Carry the same bytes; a body begins with its number in four bytes."""
        super().__init__(senders, len(bodies))
        self._mail = [publication("mail", one) for one in bodies]
        self._receipts = [publication("receipts", one) for one in receipts]
        self._published: list[deque[int]] = [deque() for _each in range(senders)]
        self._taken: deque[int] = deque()
        self._lines: list[Amqp] = []
        self._last = 0

    async def open(self, port: int) -> None:
        """Connect everybody."""
        self._recipient = await amqp(port, self._delivered, self._recorded)
        await quorum(self._recipient, "mail")
        await quorum(self._recipient, "receipts")
        self._back = await amqp(port, self._returned)
        for sender in range(self.senders):
            self._lines.append(await amqp(port, confirmed=self._confirmed(sender)))
        self._recipient.consume("mail", PREFETCH)
        self._back.consume("receipts", PREFETCH)
        await asyncio.sleep(0.5)

    def submit(self, number: int) -> None:
        """Publish one."""
        sender = number % self.senders
        self._published[sender].append(number)
        self._lines[sender].transport.write(self._mail[number])

    def _confirmed(self, sender: int) -> Callable[[int, bool], None]:
        waiting, last = self._published[sender], 0

        def confirmed(tag: int, _all: bool) -> None:  # noqa: FBT001
            nonlocal last
            for _each in range(tag - last):  # in order, one by one or many at once
                self.is_accepted(waiting.popleft())
            last = max(last, tag)

        return confirmed

    def _delivered(self, tag: int, data: bytes) -> None:
        self._taken.append(tag)
        self._recipient.transport.write(self._receipts[int.from_bytes(data[:4], "big")])

    def _recorded(self, tag: int, all_before: bool) -> None:  # noqa: FBT001
        for _each in range(tag - self._last):
            self._recipient.ack(self._taken.popleft())
        self._last = max(self._last, tag)

    def _returned(self, tag: int, data: bytes) -> None:
        self._back.ack(tag)
        self.is_done(int.from_bytes(data[:4], "big"))

    def close(self) -> None:
        """Cut all lines."""
        for line in (*self._lines, self._recipient, self._back):
            line.transport.abort()


# Redis


class RedisLoad(Load):
    """The journey over two streams with a consumer group each; entries are acknowledged, and deleted once they were."""

    def __init__(self, bodies: list[bytes], receipts: list[bytes], senders: int) -> None:
        """Carry the same bytes; a body begins with its number in four bytes."""
        super().__init__(senders, len(bodies))
        self._mail = [command(b"XADD", b"mail", b"*", b"b", one) for one in bodies]
        self._receipts = [command(b"XADD", b"receipts", b"*", b"b", one) for one in receipts]
        self._lines: list[Resp] = []

    async def open(self, port: int) -> None:
        """Connect everybody."""
        self._recipient, self._answers = await resp(port), await resp(port)
        self._back, self._settle = await resp(port), await resp(port)
        for stream in (b"mail", b"receipts"):
            await self._answers.ask(b"XGROUP", b"CREATE", stream, b"g", b"0", b"MKSTREAM")
        for _sender in range(self.senders):
            self._lines.append(await resp(port))
        self._read(self._recipient, b"mail", self._delivered)
        self._read(self._back, b"receipts", self._returned)

    def submit(self, number: int) -> None:
        """Add one."""
        self._lines[number % self.senders].tell(
            self._mail[number], lambda _reply: self.is_accepted(number)
        )

    def _read(self, line: Resp, stream: bytes, each: Callable[[bytes, bytes], None]) -> None:
        asked = command(
            *(b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"%d" % PREFETCH),
            *(b"BLOCK", b"0", b"STREAMS", stream, b">"),
        )

        def heard(reply: Any) -> None:
            line.tell(asked, heard)
            for _name, entries in reply or ():
                for place, (_word, data) in entries:
                    each(place, data)

        line.tell(asked, heard)

    def _delivered(self, place: bytes, data: bytes) -> None:
        done = command(b"XACK", b"mail", b"g", place) + command(b"XDEL", b"mail", place)

        def recorded(_reply: Any) -> None:
            self._answers.tell(done)
            self._answers.expect()

        self._answers.tell(self._receipts[int.from_bytes(data[:4], "big")], recorded)

    def _returned(self, place: bytes, data: bytes) -> None:
        self._settle.tell(
            command(b"XACK", b"receipts", b"g", place) + command(b"XDEL", b"receipts", place)
        )
        self._settle.expect()
        self.is_done(int.from_bytes(data[:4], "big"))

    def close(self) -> None:
        """Cut all lines."""
        lines = (*self._lines, self._recipient, self._answers, self._back, self._settle)
        for line in lines:
            line.transport.abort()


# RabbitMQ, with the library that a Python program would take


class AiormqLoad(Load):
    """What RabbitLoad does, through aiormq: a connection per sender, and awaited confirms."""

    def __init__(self, bodies: list[bytes], receipts: list[bytes], senders: int) -> None:
        """Carry the same bytes."""
        super().__init__(senders, len(bodies))
        self._bodies = bodies
        self._back_with = receipts
        self._channels: list[aiormq.abc.AbstractChannel] = []
        self._connections: list[aiormq.abc.AbstractConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def _channel(self, port: int) -> aiormq.abc.AbstractChannel:
        connection = await aiormq.connect(f"amqp://guest:guest@127.0.0.1:{port}/")
        self._connections.append(connection)
        channel = await connection.channel(publisher_confirms=True)
        await channel.basic_qos(prefetch_count=PREFETCH)
        return channel

    async def open(self, port: int) -> None:
        """Connect everybody."""
        self._recipient, self._back = await self._channel(port), await self._channel(port)
        for queue in ("mail", "receipts"):
            arguments: dict[str, Any] = {"x-queue-type": "quorum"}
            await self._recipient.queue_declare(queue, durable=True, arguments=arguments)
        for _sender in range(self.senders):
            self._channels.append(await self._channel(port))
        await self._recipient.basic_consume("mail", self._delivered)
        await self._back.basic_consume("receipts", self._returned)

    def submit(self, number: int) -> None:
        """Publish one."""
        task = asyncio.get_running_loop().create_task(self._publish(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, number: int) -> None:
        channel = self._channels[number % self.senders]
        await channel.basic_publish(
            self._bodies[number], routing_key="mail", properties=Basic.Properties(delivery_mode=2)
        )
        self.is_accepted(number)

    async def _delivered(self, message: DeliveredMessage) -> None:
        number = int.from_bytes(message.body[:4], "big")
        await self._recipient.basic_publish(
            self._back_with[number],
            routing_key="receipts",
            properties=Basic.Properties(delivery_mode=2),
        )
        assert message.delivery_tag is not None
        await self._recipient.basic_ack(message.delivery_tag)

    async def _returned(self, message: DeliveredMessage) -> None:
        assert message.delivery_tag is not None
        await self._back.basic_ack(message.delivery_tag, wait=False)
        self.is_done(int.from_bytes(message.body[:4], "big"))

    async def shut(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            await connection.close()
