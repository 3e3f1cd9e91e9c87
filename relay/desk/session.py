"""One session with the relay: the challenge, calls with their answers, and what the relay pushes (PROTOCOL 12).

Only frames are known here; what they mean for this desk is the link's. A relay that is not the one it should be, or
that says what no relay may say, ends the session with Refused; a line that breaks ends it with an OSError.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from keys import statement
from keys.errors import Code, Refused
from keys.identity import Signer
from relay import errors
from relay.desk.clock import ComparedClock
from relay.desk.dial import Socket
from relay.desk.roster import TurnedDown
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type

HANDSHAKE_S = 20
ANSWER_S = 60
"""How long an answer may take before the line counts as dead."""
SEND_S = 60
PUSHES_MAX = 256
"""Pushes that wait to be handled. The relay keeps 16 mailbox entries under way; what sends more is no honest relay."""
CALLS_MAX = 16
TOKEN_LEFT_S = 60
"""A token that is good for less than this is renewed before it is shown."""
BROKEN = "The line to the relay broke."
PUSHED = frozenset({Type.NOTIFY, Type.STATEMENT, Type.DIRECTORY, Type.DRAINING})


class Session:
    """An open connection of one device."""

    def __init__(
        self, socket: Socket, *, desk: str, service: str, device: Signer, clock: ComparedClock
    ) -> None:
        """Speak over *socket* as *device* of *desk* with the relay *service*."""
        self._socket = socket
        self._desk = desk
        self._service = service
        self._device = device
        self._clock = clock
        self._sending = asyncio.Lock()
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._last = 0
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._over = False
        self._pushes: deque[Frame] = deque()
        self._pushed = asyncio.Event()
        self._token = ""
        self._token_until = 0
        self._renewing = asyncio.Lock()

    async def greet(self) -> dict[str, Any]:
        """Answer the challenge; return the relay's WELCOME. The clock takes note of the relay's time first.

        Raises Refused: E_AUTH for a challenge of another relay, TurnedDown for what the relay refuses.
        """
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                challenge = frames.unpack(Type.CHALLENGE, (await self._expect(Type.CHALLENGE)).body)
                if challenge["relay"] != self._service:
                    raise Refused(
                        Code.E_AUTH,
                        f"What answers at the relay's address calls itself {challenge['relay']!r}, "
                        f"not {self._service!r}.",
                        hint="Check `url` and `service` in desk.toml; somebody may stand in between.",
                    )
                self._clock.note(challenge["at"])
                fields = {
                    "nonce": challenge["nonce"],
                    "relay": self._service,
                    "desk": self._desk,
                    "at": self._clock.now(),
                }
                await self._send(
                    Frame(Type.CONNECT, 0, receipt.make("connect", fields, self._device).wire)
                )
                welcome = frames.unpack(Type.WELCOME, (await self._expect(Type.WELCOME)).body)
        except TimeoutError:
            raise ConnectionError("The relay did not greet in time.") from None
        if welcome["relay"] != self._service:
            raise Refused(Code.E_AUTH, "The relay welcomes under another name than it challenged.")
        self._token, self._token_until = welcome["token"], welcome["until"]
        return welcome

    async def bearer(self, again: bool = False) -> str:  # noqa: FBT001, FBT002 - one word of one caller
        """Return the bearer token for calls over HTTP; *again*: the one before was refused. Raises as :meth:`ask`."""
        async with self._renewing:
            if again or self._clock.now() > self._token_until - TOKEN_LEFT_S:
                found = statement.decode(await self.ask(Type.TOKEN, b""))
                token, until = found.get("token"), found.get("until")
                if not isinstance(token, str) or not isinstance(until, int):
                    raise Refused(Code.E_ENCODING, "The relay's token has another form.")
                self._token, self._token_until = token, until
            return self._token

    async def _expect(self, kind: Type) -> Frame:
        data = await self._socket.receive()
        if data is None:
            raise ConnectionError("The relay closed the line.")
        frame = frames.decode(data)
        if frame.type is Type.ERROR:
            raise self._turned_down(frame.body)
        if frame.type is not kind:
            raise Refused(
                Code.E_ENCODING, f"The relay sent {frame.type.name} where {kind.name} belongs."
            )
        return frame

    def _turned_down(self, body: bytes) -> TurnedDown:
        refused, at = errors.read(body)
        if refused.code is Code.E_CLOCK:
            self._clock.note(at)
        return TurnedDown(refused.code, refused.text)

    # Calls

    async def ask(self, kind: Type, body: bytes) -> bytes:
        """Make one call; return its answer's body. TurnedDown if the relay refuses, OSError if the line is dead."""
        async with self._calls:
            if self._over:
                raise ConnectionError(BROKEN)
            self._last = request = self._last % 0xFFFFFFFF + 1
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._open[request] = answer
            try:
                await self._send(Frame(kind, request, body))
                async with asyncio.timeout(ANSWER_S):
                    return await answer
            except TimeoutError:
                raise ConnectionError(f"The relay did not answer within {ANSWER_S} s.") from None
            finally:
                del self._open[request]

    async def say(self, kind: Type, body: bytes) -> None:
        """Send a frame that has no answer."""
        await self._send(Frame(kind, 0, body))

    async def _send(self, frame: Frame) -> None:
        try:
            async with asyncio.timeout(SEND_S), self._sending:
                await self._socket.send(frames.encode(frame))
        except TimeoutError:
            raise ConnectionError("The relay takes nothing any more.") from None

    # What comes in

    async def read(self) -> None:
        """Read until the line ends (ConnectionError) or the relay says what none may say (Refused).

        With it ends every call: nobody waits for an answer that can no longer come.
        """
        try:
            await self._read()
        finally:
            self._over = True
            for answer in self._open.values():
                if not answer.done():
                    answer.set_exception(ConnectionError(BROKEN))

    async def _read(self) -> None:
        while True:
            data = await self._socket.receive()
            if data is None:
                raise ConnectionError("The relay closed the line.")
            frame = frames.decode(data)
            if frame.type in {Type.ANSWER, Type.ERROR}:
                self._resolve(frame)
            elif frame.type in PUSHED:
                if len(self._pushes) >= PUSHES_MAX:
                    raise Refused(Code.E_TOO_LARGE, "The relay pushes more than it may.")
                self._pushes.append(frame)
                self._pushed.set()
            else:
                raise Refused(
                    Code.E_ENCODING, f"The relay sent {frame.type.name}, which only desks send."
                )

    def _resolve(self, frame: Frame) -> None:
        answer = self._open.get(frame.request)
        if answer is None or answer.done():
            if not 1 <= frame.request <= self._last:
                raise Refused(Code.E_ENCODING, "The relay answers what was not asked.")
            return  # late: whoever asked has gone
        if frame.type is Type.ERROR:
            answer.set_exception(self._turned_down(frame.body))
        else:
            answer.set_result(frame.body)

    async def pushed(self) -> Sequence[Frame]:
        """Return what was pushed since the last time, at least one frame, in its order."""
        await self._pushed.wait()
        self._pushed.clear()
        found = list(self._pushes)
        self._pushes.clear()
        return found
