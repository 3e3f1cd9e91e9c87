"""The same journey over three servers: submit durably, deliver, a receipt back durably, the sender has it.

Each load opens one connection per sender and one per receiving device, and counts a journey from the moment when it was
to begin until its sender holds what ends it. Nothing is done twice for one server and once for another, but that the
relay's side verifies: the sender `accepted` and `acknowledged`, the recipient `submission` and `accepted`, and the hash
of the envelope.
"""

import asyncio
import base64
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import nacl.bindings as sodium
from bench.lines import WebSocket, framed, websocket
from bench.network import RECIPIENT, Letter, Network

from keys import suite
from keys.statement import pae
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type

STALL_S = 60.0
now = time.perf_counter


@dataclass
class Taken:
    """What a run took: seconds per journey, and seconds to its durable acceptance."""

    accepted: list[float] = field(default_factory=list)
    journeys: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Load:
    """Starts journeys, one by one in a closed loop per sender or by the clock, and notes how long they take."""

    def __init__(self, senders: int, count: int) -> None:
        """Expect *count* journeys; the letter of number n belongs to sender n modulo *senders*."""
        self.senders = senders
        self.count = count
        self.taken = Taken()
        self._from: list[float] = [0.0] * count
        self._next: list[deque[int]] = [deque() for _each in range(senders)]
        self._done = asyncio.Event()
        self._left = 0
        self._closed = False

    async def open(self, port: int) -> None:
        """Connect everybody."""
        raise NotImplementedError

    def close(self) -> None:
        """Cut all lines."""

    def submit(self, number: int) -> None:
        """Send one letter."""
        raise NotImplementedError

    def is_accepted(self, number: int) -> None:
        """Its sender knows that it is durable."""
        self.taken.accepted.append(now() - self._from[number])

    def is_done(self, number: int) -> None:
        """Its sender holds what ends it."""
        self.taken.journeys.append(now() - self._from[number])
        self._left -= 1
        if not self._left:
            self._done.set()
        elif self._closed:
            self._more(number % self.senders)

    def _more(self, sender: int) -> None:
        if self._next[sender]:
            number = self._next[sender].popleft()
            self._from[number] = now()
            self.submit(number)

    async def closed(self, first: int, last: int) -> Taken:
        """Run the letters from *first* up to *last*, one at a time per sender."""
        self._begin(first, last)
        self._closed = True
        for number in range(first, last):
            self._next[number % self.senders].append(number)
        began = now()
        for sender in range(self.senders):
            self._more(sender)
        return await self._end(began)

    async def paced(self, first: int, last: int, rate: float) -> Taken:
        """Run them by the clock, *rate* a second; time counts from when each was to begin."""
        self._begin(first, last)
        self._closed = False
        began = now()
        for place, number in enumerate(range(first, last)):
            due = began + place / rate
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            self._from[number] = due
            self.submit(number)
        return await self._end(began)

    def _begin(self, first: int, last: int) -> None:
        self.taken = Taken()
        self._left = last - first
        self._done.clear()

    async def _end(self, began: float) -> Taken:
        left = -1
        while not self._done.is_set():
            if left == self._left:
                raise RuntimeError(f"{left} journeys do not end.")
            left = self._left
            try:
                async with asyncio.timeout(STALL_S):
                    await self._done.wait()
            except TimeoutError:
                continue
        self.taken.seconds = now() - began
        return self.taken


def said(wire: bytes, public: bytes) -> dict[str, Any]:
    """Verify one signature and return what was signed: the least that a desk must do."""
    outer = json.loads(wire)
    payload = _bytes(outer["payload"])
    kind = outer["payloadType"][22:-8]
    sodium.crypto_sign_open(_bytes(outer["signatures"][0]["sig"]) + pae(kind, payload), public)
    found: dict[str, Any] = json.loads(payload)
    return found


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# The relay


@dataclass
class Prepared:
    """What one run over the relay sends, signed just before it: submissions must be fresh."""

    submit: list[bytes]
    receipts: list[tuple[bytes, bytes]]
    """`delivered` by the first device, `acknowledged` by its officer."""
    more: list[list[bytes]]
    """`delivered` by each further device that is connected."""


def prepare(network: Network, letters: list[Letter], devices: int) -> Prepared:
    """Sign for *letters*."""
    at = int(time.time())
    made = Prepared([], [], [[] for _each in range(devices - 1)])
    for number, letter in enumerate(letters):
        body = frames.join(network.submission(letter, at), letter.envelope)
        made.submit.append(framed(frames.encode(Frame(Type.SUBMIT, number + 1, body))))
        values = {"msg": letter.msg, "statement": letter.origin, "desk": RECIPIENT, "at": at}
        made.receipts.append(
            (
                receipt.make("delivered", values, network.device(RECIPIENT)).wire,
                receipt.make("acknowledged", values, network.officer(RECIPIENT)).wire,
            )
        )
        for number_of, one in enumerate(made.more, 1):
            one.append(receipt.make("delivered", values, network.device(RECIPIENT, number_of)).wire)
    return made


class Seat:
    """A device on a session: it connects, reads from the start of its mailbox, and confirms what it has."""

    def __init__(self, load: "RelayLoad", desk: str, number: int = 0) -> None:
        """Be the *number*th device of *desk*."""
        self.load = load
        self.desk = desk
        self.signer = load.network.device(desk, number)
        self.line: WebSocket
        self.epoch = 0
        self._seq = self._confirmed = 0
        self._answers: asyncio.Queue[Frame] = asyncio.Queue()
        self._ready = False

    async def open(self, port: int) -> None:
        """Connect and resume."""
        self.line = await websocket(port, self._hear, self.settled)
        challenge = frames.unpack(Type.CHALLENGE, (await self._answers.get()).body)
        values = {
            "nonce": challenge["nonce"],
            "relay": challenge["relay"],
            "desk": self.desk,
            "at": challenge["at"],
        }
        self.call(Type.CONNECT, 1, receipt.make("connect", values, self.signer).wire)
        answer = await self._answers.get()
        assert answer.type is Type.WELCOME, answer.body
        self.epoch = frames.unpack(Type.WELCOME, answer.body)["epoch"]
        self.call(
            Type.RESUME, 0x7FFF_FFFF, frames.pack(Type.RESUME, {"epoch": self.epoch, "seq": 0})
        )
        await self._answers.get()
        self._ready = True
        self.settled()

    def call(self, kind: Type, request: int, body: bytes) -> None:
        """Send a call."""
        self.line.send(framed(bytes((kind,)) + request.to_bytes(4, "big") + body))

    def _hear(self, data: bytes) -> None:
        kind = data[0]
        if kind == Type.NOTIFY:
            place = json.loads(data[5:])
            self._seq = place["seq"]
            self.notified(place["msg"])
        elif kind == Type.STATEMENT:
            head, wire = frames.split(data[5:], 2)
            place = json.loads(head)
            self._seq = place["seq"]
            self.told(place["msg"], wire)
        elif not self._ready:
            self._answers.put_nowait(frames.decode(data))
        elif kind == Type.ANSWER:
            self.answered(int.from_bytes(data[1:5], "big"), data[5:])
        else:
            raise RuntimeError(f"The relay says {data[:300]!r}")

    def settled(self) -> None:
        """Confirm what came, once for all that came together."""
        if self._ready and self._seq > self._confirmed:
            self._confirmed = self._seq
            self.call(Type.SEEN, 0, b'{"epoch":%d,"seq":%d}' % (self.epoch, self._seq))

    def answered(self, request: int, body: bytes) -> None:
        """Take an answer."""

    def notified(self, msg: str) -> None:
        """A message waits."""

    def told(self, msg: str, wire: bytes) -> None:
        """A statement came."""


class Sender(Seat):
    """Submits, and waits for the word of a person."""

    def answered(self, request: int, body: bytes) -> None:
        """Verify `accepted`."""
        number, load = request - 1, self.load
        if said(body, load.evidence)["msg"] != load.msg(number):
            raise RuntimeError("The relay accepted another message.")
        load.is_answered(number)

    def told(self, msg: str, wire: bytes) -> None:
        """Verify `acknowledged`; what the relay says on the way needs no answer."""
        if b"poc24.acknowledged" in wire:
            load = self.load
            if said(wire, load.officer)["msg"] != msg:
                raise RuntimeError("Another message was acknowledged.")
            load.is_done(load.numbers[msg])


class Recipient(Seat):
    """Fetches what was announced, as much at a time as has come; verifies; signs for it."""

    def __init__(self, load: "RelayLoad", number: int) -> None:
        """Be the *number*th device of the desk that is asked."""
        super().__init__(load, RECIPIENT, number)
        self.number = number
        self._announced: list[str] = []
        self._asked: list[str] = []

    def notified(self, msg: str) -> None:
        """Note it: all that came together is fetched together."""
        self._announced.append(msg)

    def settled(self) -> None:
        """Ask for what was announced, unless an answer is on its way."""
        super().settled()
        if self._announced and not self._asked:
            self._asked = self._announced[: receipt.PICKUP_MAX]
            del self._announced[: receipt.PICKUP_MAX]
            values = {
                "msgs": self._asked,
                "desk": RECIPIENT,
                "relay": self.load.network.world.service,
                "at": int(time.time()),
            }
            self.call(Type.PICKUP, 2, receipt.make("pickup", values, self.signer).wire)

    def answered(self, request: int, body: bytes) -> None:
        """Verify what was fetched, and post receipts for it: in one call, as many as belong together."""
        if request != 2:
            return  # recorded
        parts, load = frames.split(body), self.load
        asked, self._asked = self._asked, []
        wires: list[bytes] = []
        for place, msg in enumerate(asked[: len(parts) // 3]):
            submission, accepted, envelope = parts[3 * place : 3 * place + 3]
            number = load.numbers[msg]
            if suite.sha256(envelope).hex() != msg:
                raise RuntimeError("Another envelope came.")
            if said(accepted, load.evidence)["msg"] != msg:
                raise RuntimeError("Another acceptance came.")
            if said(submission, load.devices[number % load.senders])["msg"] != msg:
                raise RuntimeError("Another submission came.")
            if self.number:
                wires.append(load.prepared.more[self.number - 1][number])
            else:
                wires += load.prepared.receipts[number]
        self._announced[:0] = asked[len(parts) // 3 :]
        for start in range(0, len(wires), receipt.RECORD_MAX):
            some = frames.join(*wires[start : start + receipt.RECORD_MAX])
            self.call(Type.RECORD, 3, some)


class RelayLoad(Load):
    """The journey over the relay."""

    def __init__(self, network: Network, letters: list[Letter], devices: int) -> None:
        """Let *devices* of the recipient be connected."""
        super().__init__(len(network.senders), len(letters))
        self.network = network
        self.letters = letters
        self.numbers = {letter.msg: number for number, letter in enumerate(letters)}
        self.evidence = network.world.evidence.public
        self.officer = network.officer(RECIPIENT).public
        self.devices = [network.device(desk).public for desk in network.senders]
        self.prepared = prepare(network, letters, devices)
        self._sent = [Sender(self, desk) for desk in network.senders]
        self.recipients = [Recipient(self, number) for number in range(devices)]

    async def open(self, port: int) -> None:
        """Connect everybody; the recipient's devices publish their prekeys first."""
        for number, seat in enumerate(self.recipients):
            await seat.open(port)
            if number == 0:
                wires = self.network.world.prekeys(RECIPIENT)
                seat.call(Type.PREKEYS, 1, frames.join(*wires))
        for sender in self._sent:
            await sender.open(port)

    def submit(self, number: int) -> None:
        """Send one."""
        self._sent[number % self.senders].line.send(self.prepared.submit[number])

    def msg(self, number: int) -> str:
        """Return the id of a letter."""
        return self.letters[number].msg

    def is_answered(self, number: int) -> None:
        """Its sender has verified `accepted`."""
        self.is_accepted(number)

    def close(self) -> None:
        """Cut all lines."""
        for seat in (*self._sent, *self.recipients):
            seat.line.transport.abort()
