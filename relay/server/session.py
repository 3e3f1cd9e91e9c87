"""One device's session after the challenge: calls in, answers and pushes out (PROTOCOL 12).

Three tasks carry it: one reads, one writes, one pushes what stands in the mailbox. Each call runs beside the others and
is never cancelled: it may be half way in a commit, and when its session has gone nobody needs the answer.
"""

import asyncio
import itertools
from functools import partial
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from keys import directory as directories
from keys.directory import Member
from keys.errors import Code, Failed, Refused
from relay import errors
from relay.core.mailbox import Cursor, Window, resume
from relay.exchange import Exchange
from relay.server.auth import Tokens
from relay.server.clock import Clock
from relay.server.metrics import Metrics
from relay.server.outgoing import Outgoing, SlowReader, Socket
from relay.server.rates import Call, Rates
from relay.store.base import Delivery
from relay.wire import frames
from relay.wire.frames import Frame, Type

CALLS_MAX = 64
"""Calls of one session under way at once; nothing further is read until one has ended."""
CALL_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of those calls; one that is larger is let in alone."""
PICKUPS_MAX = 4
"""Pickups of one session under way at once: an answer may have 3 MiB and more."""
OFFERS_MAX = 64
"""Offers of one session that are being signed and written; then nothing further is pushed until one is durable."""
TURNS_AT_ONCE = 64
"""Frames read in one go before everybody else has a turn."""

WRITES = frozenset({Type.SUBMIT, Type.PICKUP, Type.RECORD, Type.PREKEYS, Type.PUBLISH})
"""What is refused while the relay drains; the rest only reads."""
CALLS = WRITES | {Type.RESUME, Type.SEEN, Type.TOKEN, Type.GET_PREKEYS, Type.GET_FILE}

GOING_AWAY, POLICY, INTERNAL = 1001, 1008, 1011


class Hall(Protocol):
    """What a session finds around it; relay.server.sessions.Sessions is one."""

    exchange: Exchange
    clock: Clock
    tokens: Tokens
    rates: Rates
    metrics: Metrics
    log: FilteringBoundLogger
    calls: set[asyncio.Task[None]]
    draining: bool

    async def publish(self, files: dict[str, bytes], now: int) -> int:
        """Take a directory in and tell everybody."""


class Session:
    """A device that has proven who it is. It gets the mailbox of its own desk and no other."""

    def __init__(self, hall: Hall, socket: Socket, member: Member) -> None:
        """Serve *member* over *socket*."""
        self.member = member
        self._hall = hall
        self._socket = socket
        self._out = Outgoing(socket)
        self._window: Window | None = None
        self._head = 0
        self._hint = asyncio.Event()
        self._offers: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._calls = 0
        self._call_bytes = 0
        self._slot = asyncio.Event()
        self._slot.set()
        self._pickups = asyncio.Semaphore(PICKUPS_MAX)

    # What the hall does with it

    async def greet(self, request: int) -> None:
        """Send WELCOME: where the mailbox stands, and a token for reads."""
        hall, now = self._hall, self._hall.clock.now()
        head = await hall.exchange.store.head(self.member.desk)
        token, until = hall.tokens.issue(self.member.device_kid, self.member.desk, now)
        values = {
            "relay": hall.exchange.service,
            "instance": hall.exchange.instance,
            "epoch": hall.exchange.store.epoch,
            "head": head,
            "token": token,
            "until": until,
            "directory": hall.exchange.directory.version,
            "at": now,
        }
        self._out.put(Frame(Type.WELCOME, request, frames.pack(Type.WELCOME, values)))

    async def run(self) -> None:
        """Carry the session to its end; returns when the socket is closed."""
        parts = [
            asyncio.ensure_future(one) for one in (self._read(), self._out.run(), self._push())
        ]
        code, reason = GOING_AWAY, ""
        try:
            waiting: list[asyncio.Future[Any]] = [*parts, self._end]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            code, reason = self._why(parts)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            try:
                await self._socket.close(code, reason)
            finally:
                self._over.set()

    def _why(self, parts: list[asyncio.Task[None]]) -> tuple[int, str]:
        if self._end.done():
            return self._end.result()
        for part in parts:
            error = part.exception() if part.done() else None
            if isinstance(error, SlowReader):
                self._hall.metrics.limited("slow_reader")
                self._hall.log.info("a slow reader was cut off", desk=self.member.desk)
                return POLICY, "what was sent was not taken in time"
            if error is not None and not isinstance(error, OSError):
                self._hall.log.error("a session failed", exc_info=error)
                return INTERNAL, "the relay failed; come back"
        return GOING_AWAY, ""

    def end(self, code: int, reason: str) -> None:
        """Ask the session to end with a WebSocket close code; the first word counts."""
        if not self._end.done():
            self._end.set_result((code, reason))

    async def ended(self) -> None:
        """Return once the socket is closed."""
        await self._over.wait()

    async def flushed(self, seconds: float) -> bool:
        """Return whether all that waits left within *seconds*; at once if the session is over."""
        return self._over.is_set() or await self._out.flushed(seconds)

    def push(self, frame: Frame) -> None:
        """Send news that is not in the mailbox."""
        self._out.put(frame)

    def wake(self, seq: int) -> None:
        """The desk's mailbox has grown to *seq*; a hint only."""
        self._head = max(self._head, seq)
        if self._window is not None and seq > self._window.sent:
            self._hint.set()

    # Calls in

    async def _read(self) -> None:
        for turn in itertools.count(1):
            await self._out.room()
            if not self._slot.is_set():
                await self._slot.wait()
            data = await self._socket.receive()
            if data is None:
                return
            self._take(data)
            if not turn % TURNS_AT_ONCE:
                await asyncio.sleep(0)  # what has arrived already must not keep the others waiting

    def _take(self, data: bytes) -> None:
        request = int.from_bytes(data[1:5], "big")
        try:
            frame = frames.decode(data)
            self._admit(frame.type)
            if frame.type is Type.SEEN:
                self._seen(frame.body)
                return
        except Refused as refusal:
            self._refuse(request, refusal)
            return
        self._calls += 1
        self._call_bytes += len(data)
        if self._calls >= CALLS_MAX or self._call_bytes >= CALL_BYTES_MAX:
            self._slot.clear()
        task = asyncio.get_running_loop().create_task(self._answer(frame))
        self._hall.calls.add(task)
        task.add_done_callback(self._hall.calls.discard)

    def _admit(self, kind: Type) -> None:
        if kind not in CALLS:
            raise Refused(
                Code.E_ENCODING, f"A frame {kind.name} is not a call: the relay sends these."
            )
        if self._hall.draining and kind in WRITES:
            raise Refused(
                Code.E_BUSY, "The relay is stopping.", hint="Connect again in a few seconds."
            )

    def _refuse(self, request: int, refusal: Refused) -> None:
        if refusal.code is Code.E_RATE:
            self._hall.metrics.limited("rate")
        self._out.put(Frame(Type.ERROR, request, errors.to_json(refusal, self._hall.clock.now())))

    async def _answer(self, frame: Frame) -> None:
        try:
            self._out.put(Frame(Type.ANSWER, frame.request, await self._call(frame)))
        except Refused as refusal:
            self._refuse(frame.request, refusal)
        except Failed as failure:
            self._hall.log.exception("a call failed", kind=frame.type.name, text=failure.text)
            self._refuse(frame.request, unavailable())
        except Exception:
            # One call's bug must not end the others.
            self._hall.log.exception("a call failed", kind=frame.type.name)
            self._refuse(frame.request, unavailable())
        finally:
            self._calls -= 1
            self._call_bytes -= len(frame.body) + frames.FRAME_HEAD_BYTES
            if self._calls < CALLS_MAX and self._call_bytes < CALL_BYTES_MAX:
                self._slot.set()

    async def _call(self, frame: Frame) -> bytes:
        hall, exchange, now = self._hall, self._hall.exchange, self._hall.clock.now()
        desk, body, kind = self.member.desk, frame.body, frame.type
        if kind is Type.SUBMIT:
            hall.rates.take(Call.SUBMIT, desk, now)
            submission, envelope = frames.split(body, 2)
            return await exchange.submit(submission, envelope, now)
        if kind is Type.RECORD:
            statements = frames.split(body)
            hall.rates.take(Call.RECEIPT, desk, now, max(1, len(statements)))
            repeats = partial(hall.rates.take, Call.REPEAT, desk, now)
            return await exchange.record(statements, now, repeats)
        hall.rates.take(Call.READ, desk, now)
        if kind is Type.PICKUP:
            charge = partial(hall.rates.take, Call.PICKUP, now=now)
            async with self._pickups:
                return frames.join(*await exchange.collect(body, hall.clock.now(), charge))
        if kind is Type.RESUME:
            return await self._resume(body)
        if kind is Type.TOKEN:
            token, until = hall.tokens.issue(self.member.device_kid, desk, now)
            return frames.answer(Type.TOKEN, {"token": token, "until": until})
        if kind is Type.PREKEYS:
            await exchange.roster.take_prekeys(frames.split(body), now)
            return frames.answer(Type.PREKEYS, {})
        if kind is Type.GET_PREKEYS:
            return frames.join(*await exchange.roster.prekeys_of(named(body), now))
        if kind is Type.GET_FILE:
            return directory_file(exchange, named(body))
        hall.rates.take(Call.PUBLISH, desk, now)
        version = await hall.publish(directories.unpack(body), now)
        return frames.answer(Type.PUBLISH, {"version": version})

    # Pushes out

    async def _resume(self, body: bytes) -> bytes:
        asked = frames.unpack(Type.RESUME, body)
        store = self._hall.exchange.store
        head = await store.head(self.member.desk)
        start = resume(Cursor(asked["epoch"], asked["seq"]), store.epoch, head)
        self._window = Window(start, start)
        self._head = max(self._head, head)
        self._hint.set()
        return frames.answer(Type.RESUME, {"epoch": store.epoch, "seq": start, "head": head})

    def _seen(self, body: bytes) -> None:
        epoch, seq = frames.seen(body)
        if self._window is not None and epoch == self._hall.exchange.store.epoch:
            self._window = self._window.confirm(seq)
            if self._window.sent < self._head:
                self._hint.set()

    async def _push(self) -> None:
        while True:
            await self._hint.wait()
            self._hint.clear()
            while await self._push_some():
                pass

    async def _push_some(self) -> bool:
        """Push what the window has room for; return whether there may be more to push now."""
        window, exchange = self._window, self._hall.exchange
        if window is None or not window.room or window.sent >= self._head:
            return False
        found = await exchange.mailbox(self.member.desk, window.sent, window.room)
        if not found:
            return False
        if len(found) == 1 or all(map(exchange.at_hand, found)):
            pushes = [await self._pushed(one) for one in found]
        else:
            pushes = await asyncio.gather(*map(self._pushed, found))
        await self._out.room()
        if self._window is None or self._window.sent != window.sent:
            return True  # the device has resumed from elsewhere meanwhile
        for frame in pushes:
            if frame is not None:
                self._out.put(frame)
        self._window = self._window.push(found[-1].seq)
        while len(self._offers) >= OFFERS_MAX:
            await asyncio.wait(self._offers, return_when=asyncio.FIRST_COMPLETED)
        for delivery, frame in zip(found, pushes, strict=True):
            if frame is not None and frame.type is Type.NOTIFY:
                self._offer(delivery.msg)
        return True

    def _offer(self, msg: str) -> None:
        """Have an offer signed while pushing goes on: many share a commit, and it is finished whoever hangs up."""
        task = asyncio.get_running_loop().create_task(self._offered(msg))
        for tasks in (self._offers, self._hall.calls):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _pushed(self, delivery: Delivery) -> Frame | None:
        """Return the push of one entry; None for one that cannot be shown: it must never stand before the next."""
        exchange = self._hall.exchange
        epoch, seq, msg = exchange.store.epoch, delivery.seq, delivery.msg
        try:
            if delivery.kind == "message":
                origin = await exchange.origin(msg)
                if origin is not None:
                    named = (origin.to, origin.sender, origin.priority, origin.mode)
                    return Frame(Type.NOTIFY, 0, frames.notify(epoch, seq, msg, named))
            else:
                wire = await exchange.statement(delivery.ref)
                if wire is not None:
                    return Frame(Type.STATEMENT, 0, frames.join(frames.told(epoch, seq, msg), wire))
        except Failed:
            raise
        except Exception:
            # Whatever is wrong with one entry, the others are not.
            self._hall.log.exception("a mailbox entry cannot be pushed", desk=self.member.desk)
            return None
        self._hall.log.error("a mailbox entry leads nowhere", desk=self.member.desk)
        return None

    async def _offered(self, msg: str) -> None:
        """Have it signed that a device of the recipient was notified; the sender's own copy is no offer."""
        exchange = self._hall.exchange
        origin = await exchange.origin(msg)
        if origin is None or origin.sender == self.member.desk:
            return
        try:
            await exchange.offered(msg, self.member.device_kid, self._hall.clock.now())
        except Refused as refusal:
            self._hall.log.warning("an offer was not recorded", code=refusal.code.value)
        except Failed as failure:
            self._hall.log.exception("an offer was not recorded", text=failure.text)
            self.end(INTERNAL, "the relay failed; come back")


def unavailable() -> Refused:
    """Return what a caller hears when this side failed: nothing about why, and that a repeat is safe."""
    return Refused(
        Code.E_BUSY,
        "The relay could not do this just now; whether it was done is unknown.",
        hint="Send the same again.",
    )


def named(body: bytes) -> str:
    """Read a body that is one ASCII name; E_ENCODING for anything else."""
    if not body or len(body) > 256 or not body.isascii():
        raise Refused(Code.E_ENCODING, "A name of 1 to 256 ASCII characters belongs here.")
    return body.decode("ascii")


def directory_file(exchange: Exchange, name: str) -> bytes:
    """Return a file of the directory in force; E_UNKNOWN if there is none of this name."""
    found = exchange.roster.files.get(name)
    if found is None:
        raise Refused(
            Code.E_UNKNOWN,
            "The directory in force has no file of this name.",
            hint="Begin with timestamp.json: it names the files of the version in force.",
        )
    return found
