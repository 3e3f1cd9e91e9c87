"""Devices that are connected: challenge, connect, then calls and pushes over one socket (PROTOCOL 12).

Nothing here knows HTTP or sockets: a :class:`~relay.server.outgoing.Socket` carries whole messages, so the same code
runs in memory inside a test. Nothing here is the truth: a session may end at any instant, and the mailbox has it all.

::

    relay -> CHALLENGE            device -> CONNECT         relay -> WELCOME
    device -> RESUME(epoch, seq)  relay -> ANSWER           relay -> NOTIFY, STATEMENT ... at most 16 unconfirmed
    device -> SEEN(epoch, seq)    relay -> the next ones    device -> any call, pipelined; answers in any order
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from structlog.typing import FilteringBoundLogger

from keys import suite
from keys.directory import Member
from keys.errors import Code, Failed, Refused
from relay import errors
from relay.exchange import Exchange
from relay.ledger import Told
from relay.server.auth import Nonces, Tokens
from relay.server.clock import Clock
from relay.server.metrics import Metrics
from relay.server.outgoing import Socket
from relay.server.rates import Call, Rates
from relay.server.session import Session, unavailable
from relay.wire import frames
from relay.wire.frames import Frame, Type

GREET_S = 10
"""How long a connection may take from the challenge to its answer."""
GREETINGS_MAX = 1024
"""Connections that have not said yet who they are."""
SESSIONS_MAX = 8192
SWEEP_S = 5
"""Hints may be lost; each mailbox with somebody listening is looked at this often."""
QUIET_S = 15 * 60
"""A desk without a session for longer than this counts as unreachable."""
FLUSH_S = 5
RECONNECT_S = 5
"""Before a stop each device is told to come back after a delay of its own, at most this long."""

GOING_AWAY, POLICY, INTERNAL, RESTART, BUSY = 1001, 1008, 1011, 1012, 1013
TAKEN_OVER = 4001
"""WebSocket close codes; the last is ours: the same device has opened a newer session."""
STOPPING = "the relay is stopping"


class Sessions:
    """Everybody who is connected to this instance."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        *,
        tokens: Tokens,
        rates: Rates,
        metrics: Metrics,
        log: FilteringBoundLogger,
        nonces: Nonces | None = None,
    ) -> None:
        """Assemble. Point the exchange's ``tell`` at :meth:`tell`."""
        self.exchange = exchange
        self.clock = clock
        self.tokens = tokens
        self.rates = rates
        self.metrics = metrics
        self.log = log
        self.calls: set[asyncio.Task[None]] = set()
        """Calls under way: they finish even when their session ends, because a commit is never cancelled."""
        self.draining = False
        self._nonces = nonces or Nonces()
        self._greeting = 0
        self._by_device: dict[str, Session] = {}
        self._by_desk: dict[str, set[Session]] = {}
        self._last_seen: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many devices are connected."""
        return len(self._by_device)

    async def serve(self, socket: Socket, known: Callable[[], None] = lambda: None) -> None:
        """Carry one connection from the challenge to its end. Never raises what the other side did.

        *known* is called once the device has proven itself.
        """
        if self.draining:
            await socket.close(RESTART, STOPPING)
            return
        if self._greeting >= GREETINGS_MAX or len(self) >= SESSIONS_MAX:
            self.metrics.limited("sessions")
            await socket.close(BUSY, "too many connections; come back in a few seconds")
            return
        self._greeting += 1
        try:
            session = await self._greet(socket, known)
        finally:
            self._greeting -= 1
        if session is None:
            return
        self._enter(session)
        if self.draining:
            session.end(RESTART, STOPPING)
        try:
            await session.run()
        finally:
            self._leave(session)

    async def _greet(self, socket: Socket, known: Callable[[], None]) -> Session | None:
        nonce = self._nonces.issue(self.clock.now())
        request = 0
        try:
            async with asyncio.timeout(GREET_S):
                challenge = {
                    "nonce": nonce,
                    "relay": self.exchange.service,
                    "at": self.clock.now(),
                    "v": 1,
                }
                body = frames.pack(Type.CHALLENGE, challenge)
                await socket.send(frames.encode(Frame(Type.CHALLENGE, 0, body)))
                data = await socket.receive()
                if data is None:
                    return None
                frame = frames.decode(data)
                request = frame.request
                _expect_connect(frame)
                now = self.clock.now()
                self._nonces.use(nonce, now)
                charge = partial(self.rates.take, Call.CONNECT, now=now)
                member = await self.exchange.connect(frame.body, nonce, now, charge)
                known()
                session = Session(self, socket, member)
                await session.greet(request)
                return session
        except TimeoutError:
            await socket.close(POLICY, "no answer to the challenge")
        except OSError:
            await socket.close(GOING_AWAY, "")
        except Refused as refusal:
            if refusal.code is Code.E_RATE:
                self.metrics.limited("rate")
            self.log.info("connect refused", code=refusal.code.value, text=refusal.text)
            await self._refuse(socket, request, refusal)
        except Failed as failure:
            self.log.exception("connect failed", text=failure.text)
            await self._refuse(socket, request, unavailable())
        except Exception:
            # One connection's bug must not end the others.
            self.log.exception("connect failed")
            await socket.close(INTERNAL, "the relay failed; come back")
        finally:
            self._nonces.drop(nonce)
        return None

    async def _refuse(self, socket: Socket, request: int, refusal: Refused) -> None:
        body = errors.to_json(refusal, self.clock.now())
        try:
            async with asyncio.timeout(GREET_S):
                await socket.send(frames.encode(Frame(Type.ERROR, request, body)))
        except (OSError, TimeoutError):
            pass
        await socket.close(POLICY, refusal.code.value)

    def _enter(self, session: Session) -> None:
        older = self._by_device.get(session.member.device_kid)
        if older is not None:
            older.end(TAKEN_OVER, "a newer session of this device took over")
            self._remove(older)
        self._by_device[session.member.device_kid] = session
        self._by_desk.setdefault(session.member.desk, set()).add(session)
        self._last_seen[session.member.desk] = self.clock.now()
        self.metrics.sessions(len(self))

    def _leave(self, session: Session) -> None:
        self._last_seen[session.member.desk] = self.clock.now()
        self._remove(session)
        self.metrics.sessions(len(self))

    def _remove(self, session: Session) -> None:
        if self._by_device.get(session.member.device_kid) is session:
            del self._by_device[session.member.device_kid]
        here = self._by_desk.get(session.member.desk)
        if here is not None:
            here.discard(session)
            if not here:
                del self._by_desk[session.member.desk]

    # Hints and news

    def tell(self, told: Told) -> None:
        """Wake the sessions of a desk whose mailbox has grown; a hint only (relay.exchange.Told)."""
        for session in self._by_desk.get(told.desk, ()):
            session.wake(told.seq)

    async def publish(self, files: Mapping[str, bytes], now: int) -> int:
        """Take a directory in, whichever door it came through; tell everybody if it is a newer one."""
        roster = self.exchange.roster
        before = roster.directory.version if roster.published else 0
        version = await roster.publish(files, now)
        if version != before:
            self.log.info("a newer directory is in force", version=version)
            self.metrics.expires("directory", self.exchange.directory.expires)
            self.announce(version, now)
        return version

    async def renew(self, now: int) -> None:
        """Take up what another instance has published, and tell everybody if it is a newer directory."""
        roster = self.exchange.roster
        before = roster.directory.version if roster.published else 0
        await roster.start(now)
        if roster.published and roster.directory.version != before:
            self.log.info("a newer directory is in force", version=roster.directory.version)
            self.metrics.expires("directory", roster.directory.expires)
            self.announce(roster.directory.version, now)

    def announce(self, version: int, now: int) -> None:
        """Tell every device that a newer directory is here, and end the sessions of those it revoked."""
        body = frames.pack(Type.DIRECTORY, {"version": version})
        for session in list(self._by_device.values()):
            session.push(Frame(Type.DIRECTORY, 0, body))
        self._end_revoked(now)

    def _end_revoked(self, now: int) -> None:
        for kid, session in list(self._by_device.items()):
            member = self.exchange.directory.device(kid)
            if member is None or not member.active(now):
                self.tokens.revoke(kid)
                session.end(POLICY, "this device was revoked")

    def member(self, kid: str, now: int) -> Member:
        """Return the device *kid* if it is active now; E_AUTH otherwise."""
        member = self.exchange.directory.device(kid)
        if member is None or not member.active(now):
            self.tokens.revoke(kid)
            raise Refused(Code.E_AUTH, "This device is not active any more.")
        return member

    async def sweep(self) -> None:
        """Look once at every mailbox that somebody listens to, at memberships, and at who is here."""
        now = self.clock.now()
        if not self.exchange.roster.published:
            return
        self._end_revoked(now)
        for desk in list(self._by_desk):
            self._last_seen[desk] = now
            self.tell(Told(desk, await self.exchange.store.head(desk)))
        self.metrics.desks(self.desks(now))

    async def run(self) -> None:
        """Sweep every five seconds until cancelled."""
        while True:
            await self.sweep()
            await self.clock.sleep(SWEEP_S)

    def desks(self, now: int) -> dict[str, int]:
        """Return how many desks of the directory are connected, quiet, unreachable, or were never here since start."""
        counts = dict.fromkeys(("connected", "quiet", "unreachable", "never"), 0)
        for desk in self.exchange.directory.desks:
            if desk in self._by_desk:
                counts["connected"] += 1
            elif desk not in self._last_seen:
                counts["never"] += 1
            else:
                counts["quiet" if now - self._last_seen[desk] <= QUIET_S else "unreachable"] += 1
        return counts

    # The end

    async def drain(self, seconds: float = FLUSH_S) -> None:
        """Refuse new calls, finish those under way, let answers and pushes leave, then send everybody away.

        Each device is told a delay of its own, so that they do not all come back at once. Takes at most about
        twice *seconds*; what did not leave by then stands in the mailboxes.
        """
        self.draining = True
        everybody = list(self._by_device.values())
        delays = suite.random_bytes(len(everybody))
        for session, dice in zip(everybody, delays, strict=True):
            body = frames.pack(Type.DRAINING, {"after": dice * (RECONNECT_S + 1) // 256})
            session.push(Frame(Type.DRAINING, 0, body))
        if self.calls:
            await asyncio.wait(set(self.calls), timeout=seconds)
        if everybody:
            await asyncio.gather(*(session.flushed(seconds) for session in everybody))
        for session in everybody:
            session.end(RESTART, STOPPING)
        if everybody:
            await asyncio.gather(*(session.ended() for session in everybody))


def _expect_connect(frame: Frame) -> None:
    if frame.type is not Type.CONNECT:
        raise Refused(Code.E_AUTH, "A session begins with the answer to the challenge.")
