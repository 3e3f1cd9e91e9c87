"""Who takes part besides the processes: devices that listen, a desk that submits in bulk, officers, a pager."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from builders import BODY, BODY_TYPE
from kill.history import Entry, History, Letter, Paged, Said, Word
from kill.network import Network

from keys import statement, suite
from keys.directory import read_prekey
from keys.errors import Code, Failed, Refused
from keys.statement import b64u, peek
from relay import errors
from relay.desk import proof
from relay.desk.clock import ComparedClock, SystemClock
from relay.desk.dial import websocket_dial
from relay.desk.records import sid_of
from relay.desk.remote import Remote
from relay.desk.roster import TurnedDown
from relay.desk.session import Session
from relay.wire import content, frames, receipt
from relay.wire.envelope import Header
from relay.wire.frames import Type

AGAIN_S = 0.05
DAY = 86_400
LIVES_S = {"nobody": 12, "brief": 5}
"""How long requests live that are sent to where nobody is."""
NOT_REFUSALS = frozenset({Code.E_BUSY, Code.E_RATE, Code.E_CLOCK, Code.E_AUTH})
"""Codes after which the same is sent again (PROTOCOL 13)."""
_BODIES = {Type.NOTIFY, Type.STATEMENT}


class Ear:
    """A second device of a desk, that only listens: it keeps every push under its place, and compares."""

    def __init__(self, network: Network, history: History, desk: str) -> None:
        """Listen for *desk*."""
        self.network = network
        self.history = history
        self.desk = desk
        world = network.world
        self.device = world.device(desk, world.handles(desk)[1])
        self.mailbox = history.mailboxes.setdefault(desk, {})
        self.session: Session | None = None
        self.cursor = (0, 0)
        self.head = 0
        self._anew = asyncio.Event()
        self._dial = websocket_dial(f"ws://127.0.0.1:{network.port}")

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            with contextlib.suppress(OSError, TurnedDown):
                await self._once()
            await asyncio.sleep(AGAIN_S)

    async def _once(self) -> None:
        socket = await self._dial()
        reading: asyncio.Task[None] | None = None
        try:
            session = Session(
                socket,
                desk=self.desk,
                service=self.network.world.service,
                device=self.device,
                clock=ComparedClock(SystemClock()),
            )
            welcome = await session.greet()
            reading = asyncio.ensure_future(session.read())
            epoch = welcome["epoch"]
            if self.cursor[0] != epoch or self._anew.is_set():
                self.cursor = (epoch, 0)
            await self._resume(session)
            self._anew.clear()
            self.session = session
            await self._listen(session, reading)
        finally:
            self.session = None
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await socket.close(1000, "")

    async def _resume(self, session: Session) -> None:
        epoch, seq = self.cursor
        body = frames.pack(Type.RESUME, {"epoch": epoch, "seq": seq})
        answer = statement.decode(await session.ask(Type.RESUME, body))
        self.head = answer["head"]
        if answer["seq"] != seq:
            self.history.wrong.append(
                f"{self.desk} was at {seq}, and the relay goes on from {answer['seq']} (C7)"
            )
            self.cursor = (epoch, answer["seq"])

    async def _listen(self, session: Session, reading: asyncio.Task[None]) -> None:
        while not self._anew.is_set():
            pushed = asyncio.ensure_future(session.pushed())
            try:
                waits = {pushed, reading}
                while not self._anew.is_set() and not any(one.done() for one in waits):
                    await asyncio.wait(waits, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
                if self._anew.is_set():
                    return
                if not pushed.done():
                    reading.result()
                for frame in pushed.result():
                    if frame.type in _BODIES:
                        self._take(frame)
            finally:
                pushed.cancel()
            epoch, seq = self.cursor
            await session.say(Type.SEEN, frames.pack(Type.SEEN, {"epoch": epoch, "seq": seq}))

    def _take(self, frame: frames.Frame) -> None:
        if frame.type is Type.NOTIFY:
            place = frames.unpack(Type.NOTIFY, frame.body)
            entry = Entry("message", place["msg"], "", b"")
        else:
            head, wire = frames.split(frame.body, 2)
            place = frames.unpack(Type.STATEMENT, head)
            sid, kind = sid_of(wire)
            entry = Entry(kind, place["msg"], sid, wire)
        at = (place["epoch"], place["seq"])
        if at[1] != self.cursor[1] + 1:
            self.history.wrong.append(f"{self.desk}: {at[1]} came after {self.cursor[1]} (C7)")
        if self.mailbox.setdefault(at, entry) != entry:
            self.history.wrong.append(f"{self.desk}: another entry stands at {at[1]} now (C7)")
        self.cursor = at
        self.head = max(self.head, at[1])

    async def read_again(self) -> None:
        """End this session, and read the whole mailbox once more in the next one."""
        self._anew.set()
        while self._anew.is_set():
            await asyncio.sleep(AGAIN_S / 2)

    @property
    def caught_up(self) -> bool:
        """Whether everything that stood there when it connected has come."""
        return self.session is not None and self.cursor[1] >= self.head

    async def ask(self, kind: Type, body: bytes) -> bytes:
        """Call; OSError while there is no line."""
        session = self.session
        if session is None:
            raise ConnectionError("no line")
        asked = asyncio.ensure_future(session.ask(kind, body))
        while not asked.done():
            await asyncio.wait({asked}, timeout=0.2)
            if self.session is not session and not asked.done():
                asked.cancel()
                raise ConnectionError("the line broke")
        return asked.result()

    async def publish(self) -> None:
        """Publish this device's prekeys, so that the desk can be written to."""
        wires = self.network.world.prekeys_of(self.desk, self.device)
        await self.ask(Type.PREKEYS, frames.join(*wires))

    async def pick_up(self, msgs: list[str]) -> set[str]:
        """Return which of these messages the relay hands out whole."""
        found: set[str] = set()
        while msgs:
            some = msgs[:16]
            fields = {
                "msgs": some,
                "desk": self.desk,
                "relay": self.network.world.service,
                "at": SystemClock().now(),
            }
            parts = frames.split(
                await self.ask(Type.PICKUP, receipt.make("pickup", fields, self.device).wire)
            )
            for at, msg in enumerate(some[: len(parts) // 3]):
                if suite.sha256(parts[3 * at + 2]).hex() == msg:
                    found.add(msg)
            msgs = msgs[max(1, len(parts) // 3) :]
        return found


def write(network: Network, sender: str, to: str, plan: str, now: int, n: int) -> Letter:
    """Let an officer of *sender* write and sign a request; *n* says by which of the desk's devices it goes."""
    world = network.world
    handle = world.handles(sender)[n]
    bulk = plan == "bulk"
    header = Header(
        ack_by=0 if plan in ("bulk", "brief") else min(3600, LIVES_S.get(plan, DAY)) + now,
        backup="AU-B" if to == "AU" and not bulk else "",
        created=now,
        dev=world.device(sender, handle).kid,
        expires=now + LIVES_S.get(plan, DAY),
        sender=sender,
        mode="test" if bulk else "actual",
        priority="routine" if bulk else "emergency",
        to=to,
    )
    stated = content.originate(
        header,
        kind="request",
        body_type=BODY_TYPE,
        body=BODY,
        thread="",
        nonce=suite.random_bytes(16),
        created=now,
        officer=world.signer(sender, handle),
    )
    return Letter(header, stated, plan)


class Bulk(Ear):
    """FR: submits sealed envelopes side by side and keeps what it was answered; it repeats what is unknown."""

    def __init__(self, network: Network, history: History) -> None:
        """Send for FR."""
        super().__init__(network, history, "FR")
        self._keys: dict[str, list[bytes]] = {}
        self._envelopes: dict[str, bytes] = {}

    async def learn(self, desks: tuple[str, ...]) -> bool:
        """Fetch the prekeys of *desks*; return whether each has one that is good now."""
        directory, now = self.network.world.directory(), SystemClock().now()
        for desk in desks:
            entry = directory.desk(desk)
            newest: dict[str, bytes] = {}
            for wire in frames.split(await self.ask(Type.GET_PREKEYS, desk.encode())):
                member = entry.by_device(peek(wire).keyid)
                found = read_prekey(wire, member) if member else None
                if found is not None and found.valid(now):
                    newest[found.device] = found.key
            self._keys[desk] = list(newest.values())
        return all(self._keys.values())

    def seal(self, to: str, plan: str) -> Letter:
        """Sign and seal a request, beforehand."""
        letter = write(self.network, "FR", to, plan, SystemClock().now(), 1)
        desks = [to, *([letter.header.backup] if letter.header.backup else [])]
        keys = [key for desk in desks for key in self._keys[desk]]
        cek = suite.random_bytes(suite.CEK_BYTES)
        sealed = content.seal(letter.header, letter.statement.wire, BODY, cek, keys)
        letter.msg = suite.sha256(sealed).hex()
        self._envelopes[letter.sid] = sealed
        self.history.letters[letter.sid] = letter
        return letter

    async def submit(self, letter: Letter) -> None:
        """Hand it in, and again the same, until the relay has answered; what it says is kept."""
        sealed = self._envelopes.pop(letter.sid)
        while letter.said[-1:] not in ([Said.OK], [Said.REJECTED]):
            said = await self._try(letter, sealed)
            letter.said.append(said)
            if said is Said.UNKNOWN:
                await asyncio.sleep(AGAIN_S)

    async def _try(self, letter: Letter, sealed: bytes) -> Said:
        fields = {
            "msg": letter.msg,
            "size": len(sealed),
            "from": "FR",
            "to": letter.header.to,
            "relay": self.network.world.service,
            "header_sha256": letter.header.sha256,
            "blobs": [],
            "replaces": "",
            "created": SystemClock().now(),
        }
        while self.session is None:
            await asyncio.sleep(AGAIN_S / 2)
        made = receipt.make("submission", fields, self.device)
        try:
            wire = await self.ask(Type.SUBMIT, frames.join(made.wire, sealed))
        except OSError:
            return Said.UNKNOWN
        except Refused as refused:
            return Said.UNKNOWN if refused.code in NOT_REFUSALS else Said.REJECTED
        world = self.network.world
        found = proof.by_relay(wire, {"accepted"}, world.directory(), world.service)
        assert found["msg"] == letter.msg
        letter.accepted.append(wire)
        return Said.OK


class Officers:
    """The people at the desks that are processes: they ask over the desk's socket, as the commands do."""

    def __init__(self, network: Network, history: History) -> None:
        """Nobody has done anything yet."""
        self.network = network
        self.history = history
        self.signed: dict[tuple[str, str], Word] = {}

    def at(self, desk: str) -> Remote:
        """Return the way to a desk."""
        return Remote(self.network.home(desk) / "control.sock")

    async def _hand_over(self, work: Awaitable[dict[str, Any]]) -> tuple[Said, dict[str, Any]]:
        try:
            return Said.OK, await work
        except Failed as failed:
            unknown = failed.exit_code in (errors.TRY_AGAIN, errors.UNAVAILABLE)
            return Said.UNKNOWN if unknown else Said.REJECTED, {"why": str(failed)}
        except Refused as refused:
            return Said.REJECTED, {"why": str(refused)}
        except (OSError, ValueError):
            return Said.UNKNOWN, {}

    async def send(self, to: str, plan: str) -> Letter:
        """Let VN's officer sign a request and hand it over, and again the same until the desk says that it is kept."""
        letter = write(self.network, "VN", to, plan, SystemClock().now(), 0)
        self.history.letters[letter.sid] = letter
        handed = b64u(letter.header.encode()), b64u(letter.statement.wire), b64u(BODY)
        while letter.said[-1:] not in ([Said.OK], [Said.REJECTED]):
            said, found = await self._hand_over(self.at("VN").send(*handed))
            letter.said.append(said)
            if said is Said.REJECTED:
                self.history.wrong.append(f"VN's desk refused a sound message: {found} (C12)")
            if said is Said.UNKNOWN:
                await asyncio.sleep(AGAIN_S)
        return letter

    async def inbox(self, desk: str) -> list[dict[str, Any]]:
        """Return what needs somebody; [] while the desk does not answer."""
        said, found = await self._hand_over(self.at(desk).inbox())
        return list(found["messages"]) if said is Said.OK else []

    async def acknowledge(self, desk: str, msg: str, letter: Letter) -> None:
        """Let an officer acknowledge, and hand the same signed word over until the desk says that it is kept."""
        word = self.signed.get((desk, letter.sid))
        if word is None:
            world = self.network.world
            fields = {
                "msg": msg,
                "statement": letter.sid,
                "desk": desk,
                "at": SystemClock().now(),
            }
            made = receipt.make("acknowledged", fields, world.signer(desk))
            word = Word(desk, letter.sid, b64u(made.wire), made.sid)
            self.signed[desk, letter.sid] = word
            self.history.words.append(word)
        if word.said[-1:] == [Said.OK]:
            return
        said, found = await self._hand_over(self.at(desk).record(word.wire))
        word.said.append(said)
        if said is Said.REJECTED:
            self.history.wrong.append(f"{desk}'s desk refused an officer's word: {found} (C12)")


class Pager:
    """A real receiver of pages; it may be told to let the relay die while it is being called."""

    def __init__(self, history: History) -> None:
        """Not listening yet."""
        self.history = history
        self.port = 0
        self.called: Callable[[], None] | None = None
        self.public = b""

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_post("/{desk}/{handle}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        found = receipt.read(await request.read(), {"page"}, self.public)
        self.history.pages.append(
            Paged(
                request.headers["Idempotency-Key"],
                found["count"],
                bool(found["repeat"]),
                SystemClock().now(),
                request.path.removeprefix("/"),
            )
        )
        if self.called is not None:
            called, self.called = self.called, None
            called()
            await asyncio.sleep(0.2)
        return web.Response(status=204)


def shown_in(log: Path) -> list[str]:
    """Return the messages that a desk showed to whoever watched, as its log of one life has them."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if told.get("event") == "message":
                found.append(told["msg"])
    return found
