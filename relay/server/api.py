"""The door over HTTP: bytes in, bytes out, one table from errors to statuses (PROTOCOL 12, 16).

Nothing is decided here. A body is read while it comes and refused at its limit, the corridor does the work, and what
it refuses becomes a status and a JSON sentence. Statements prove themselves; reads need a bearer token.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from aiohttp import WSMsgType, web
from structlog.typing import FilteringBoundLogger

from keys import directory as directories
from keys import statement
from keys.errors import Code, Failed, Refused
from relay import errors
from relay.exchange import Exchange
from relay.server import describe, describe_session
from relay.server.auth import Holder, Tokens
from relay.server.blobs import BlobDoor, offset_of, wait_for_body
from relay.server.calls import (
    CALLS,
    PREKEYS_BODY_BYTES_MAX,
    RECEIPTS_BODY_BYTES_MAX,
    SMALL_BODY_BYTES_MAX,
    SUBMIT_BODY_BYTES_MAX,
)
from relay.server.clock import Clock
from relay.server.gate import HEADERS, HERE, Visitor, neighbourhood
from relay.server.metrics import Metrics
from relay.server.rates import Call, Rates, TooFast
from relay.server.reading import Lane, ReadingRoom
from relay.server.session import directory_file, unavailable
from relay.server.sessions import Sessions
from relay.wire import frames
from relay.wire.frames import Type

BUSY_RETRY_S = 2
GONE = 499
"""The status of an answer that nobody waits for; it is never sent."""
HANDSHAKE = ("Upgrade", "Connection", *(f"Sec-WebSocket-{one}" for one in ("Key", "Version")))
"""Headers that aiohttp takes to be ASCII."""
HEARTBEAT_S = 25.0
CLOSE_S = 2.0

ROUTES = tuple((call.method, call.route) for call in CALLS)

Result = TypeVar("Result")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The HTTP calls of one relay."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        tokens: Tokens,
        rates: Rates,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        version: str = "unknown",
    ) -> None:
        """Open the door to the exchange of *sessions*; *version* is what it says of itself."""
        self._sessions = sessions
        self._exchange: Exchange = sessions.exchange
        self._tokens = tokens
        self._rates = rates
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self.reading = ReadingRoom(metrics.limited)
        self._publishing = asyncio.Lock()
        self._version = version
        self._blobs = BlobDoor(self._exchange, self._enter, clock, metrics)

    def application(self) -> web.Application:
        """Return the aiohttp application with every route of :data:`ROUTES`."""
        app = web.Application(middlewares=[self._manners])
        answers: dict[str, Answer] = {
            "submit": self._submit,
            "pickup": self._pickup,
            "record": self._receipts,
            "publish_prekeys": self._put_prekeys,
            "prekeys": self._get_prekeys,
            "publish": self._put_directory,
            "file": self._get_directory,
            "session": self._session,
            "put_blob": self._blobs.put,
            "get_blob": self._blobs.get,
            "head_blob": self._blobs.head,
            "describe_calls": self._told(describe.openapi(self._version)),
            "describe_session": self._told(describe_session.asyncapi(self._version)),
        }
        for call in CALLS:
            waits = wait_for_body if call.name == "put_blob" else None
            app.router.add_route(call.method, call.route, answers[call.name], expect_handler=waits)
        app.on_response_prepare.append(_header)
        return app

    @web.middleware
    async def _manners(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """Time every call and turn whatever it met into a status and a sentence."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            response = await handler(request)
        except Refused as refusal:
            response = self._refusal(refusal)
        except Failed as failure:
            self._log.exception("a call failed", text=failure.text)
            response = self._refusal(unavailable())
        except web.HTTPException as ours:
            response = self._refusal(_foreign(ours), status=ours.status)
            if "Allow" in ours.headers:  # RFC 9110, 15.5.6
                response.headers["Allow"] = ours.headers["Allow"]
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one call's bug must not show, nor end the others
            if isinstance(error, ConnectionError) and _gone(request):
                return web.Response(status=GONE)  # to nobody, and not worth a line
            self._log.exception("a call failed")
            response = self._refusal(unavailable(), status=500)
        resource = request.match_info.route.resource
        if response.status == 101:
            return response  # a session's length says nothing about the door
        if resource is not None and (request.method, resource.canonical) in TEMPLATES:
            self._metrics.http(
                resource.canonical, request.method, response.status, loop.time() - began
            )
        return response

    def _refusal(self, refusal: Refused, *, status: int | None = None) -> web.Response:
        headers = offset_of(refusal)
        if isinstance(refusal, TooFast):
            self._metrics.limited("rate")
            headers["Retry-After"] = str(refusal.after_s)
        elif refusal.code is Code.E_BUSY:
            headers["Retry-After"] = str(BUSY_RETRY_S)
        elif refusal.code is Code.E_AUTH:
            headers["WWW-Authenticate"] = "Bearer"
        body = errors.to_json(refusal, self._clock.now())
        status = status or errors.http_status(refusal)
        return web.Response(
            body=body, status=status, content_type="application/json", headers=headers
        )

    # Reading

    async def _body(self, request: web.Request, limit: int, lane: Lane = Lane.STRANGERS) -> bytes:
        """Return the body (relay.server.reading); whoever shows a good token reads in the lane of the desks."""
        address = neighbourhood(request.remote or "")
        who = "" if address in HERE else address
        if "Authorization" in request.headers:
            lane, who = Lane.DESKS, self._holder(request, self._clock.now()).desk
        chunks = request.content.iter_any()
        return await self.reading.read(
            chunks, lane, who, limit=limit, announced=request.content_length
        )

    def _holder(self, request: web.Request, now: int) -> Holder:
        """Return whose token this is; E_AUTH unless it is good and its device still active."""
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        holder = self._tokens.holder(token if scheme == "Bearer" else "", now)
        self._sessions.member(holder.kid, now)
        return holder

    def _charge(self, request: web.Request, call: Call, count: int = 1) -> int:
        """Charge the desk whose token came with the call, or else the address that it came from; return the time."""
        now = self._clock.now()
        if self._sessions.draining:
            raise Refused(
                Code.E_BUSY, "The relay is stopping.", hint="Send the same again in a few seconds."
            )
        known = "Authorization" in request.headers
        address = f"address {neighbourhood(request.remote or '')}"
        who = self._holder(request, now).desk if known else address
        self._rates.take(call, who, now, max(1, count))
        return now

    def _enter(self, request: web.Request) -> tuple[int, Holder]:
        """Charge a call that only a token allows; return the time and whose token it is."""
        if "Authorization" not in request.headers:
            self._holder(request, self._clock.now())
        now = self._charge(request, Call.READ)
        return now, self._holder(request, now)

    # Calls

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        submission, envelope = frames.split(await self._body(request, SUBMIT_BODY_BYTES_MAX), 2)
        now = self._charge(request, Call.SUBMIT)
        return _bytes(await _whole(self._exchange.submit(submission, envelope, now)))

    async def _pickup(self, request: web.Request) -> web.StreamResponse:
        wire = await self._body(request, SMALL_BODY_BYTES_MAX)
        now = self._charge(request, Call.READ)
        asked = statement.decode(statement.peek(wire).payload).get("msgs")
        if asked != [request.match_info["id"]]:
            raise Refused(
                Code.E_BINDING, "The pickup names other messages than the address that it came to."
            )
        charge = partial(self._rates.take, Call.PICKUP, now=now)
        parts = await _whole(self._exchange.collect(wire, now, charge))
        if not any(parts):
            raise Refused(
                Code.E_UNKNOWN, "There is no such message for this desk, or not any more."
            )
        return _bytes(frames.join(*parts))

    async def _receipts(self, request: web.Request) -> web.StreamResponse:
        wires = frames.split(await self._body(request, RECEIPTS_BODY_BYTES_MAX))
        now = self._charge(request, Call.RECEIPT, len(wires))
        repeats = partial(self._charge, request, Call.REPEAT)
        return _bytes(await _whole(self._exchange.record(wires, now, repeats)))

    async def _put_prekeys(self, request: web.Request) -> web.StreamResponse:
        wires = frames.split(await self._body(request, PREKEYS_BODY_BYTES_MAX))
        now = self._charge(request, Call.READ, len(wires))
        await _whole(self._exchange.roster.take_prekeys(wires, now))
        return _json(frames.answer(Type.PREKEYS, {}))

    async def _get_prekeys(self, request: web.Request) -> web.StreamResponse:
        now = self._clock.now()
        self._rates.take(Call.READ, self._holder(request, now).desk, now)
        wires = await self._exchange.roster.prekeys_of(request.match_info["desk"], now)
        return _bytes(frames.join(*wires))

    async def _put_directory(self, request: web.Request) -> web.StreamResponse:
        now = self._charge(request, Call.PUBLISH)
        # Whoever sends slowly keeps nobody else from publishing: only the work is done one at a time.
        data = await self._body(request, directories.PACK_BYTES_MAX, Lane.DIRECTORIES)
        if self._publishing.locked():
            raise Refused(
                Code.E_BUSY, "Another directory is being taken in.", hint="Send the same again."
            )
        async with self._publishing:
            version = await _whole(self._sessions.publish(directories.unpack(data), now))
        return _json(frames.answer(Type.PUBLISH, {"version": version}))

    async def _get_directory(self, request: web.Request) -> web.StreamResponse:
        now = self._clock.now()
        self._rates.take(Call.READ, self._holder(request, now).desk, now)
        return _bytes(directory_file(self._exchange, request.match_info["name"]))

    def _told(self, description: dict[str, Any]) -> Answer:
        body = describe.encoded(description)

        async def tell(request: web.Request) -> web.StreamResponse:
            self._charge(request, Call.READ)
            return _json(body)

        return tell

    async def _session(self, request: web.Request) -> web.StreamResponse:
        self._charge(request, Call.READ)
        if not all(request.headers.get(name, "").isascii() for name in HANDSHAKE):
            raise Refused(Code.E_ENCODING, "The handshake of a session is not in ASCII.")
        # One byte more than allowed: aiohttp refuses what is not smaller than its limit.
        channel = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=HEARTBEAT_S,
            compress=False,
            max_msg_size=frames.FRAME_BYTES_MAX + 1,
        )
        visitor = request.protocol
        if not isinstance(visitor, Visitor):  # no gate stands before this door
            await channel.prepare(request)
            await self._sessions.serve(WebSocket(request, channel))
            return channel
        visitor.greet()
        await channel.prepare(request)
        await self._sessions.serve(WebSocket(request, channel), visitor.known)
        return channel


async def _whole(work: Coroutine[Any, Any, Result]) -> Result:
    """Do *work* to its end even if its caller has gone: a commit is never cancelled half way."""
    return await asyncio.shield(asyncio.ensure_future(work))


class WebSocket:
    """An aiohttp WebSocket as the sessions see it: whole binary messages, nothing else."""

    def __init__(self, request: web.Request, channel: web.WebSocketResponse) -> None:
        """Wrap a prepared *channel*."""
        self._request = request
        self._channel = channel
        self._stuck = False

    async def send(self, data: bytes) -> None:
        """Return when the message is on its way; OSError if it cannot be."""
        self._stuck = True
        await self._channel.send_bytes(data)
        self._stuck = False

    async def receive(self) -> bytes | None:
        """Return the next binary message; None at the end, which a text message is too."""
        message = await self._channel.receive()
        if message.type is WSMsgType.BINARY:
            data: bytes = message.data
            return data
        if message.type is WSMsgType.TEXT:
            await self.close(1003, "binary messages only")
        return None

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye; whoever does not take that either, or was in the middle of taking something, is cut off."""
        if not self._stuck:
            try:
                async with asyncio.timeout(2 * CLOSE_S):
                    await self._channel.close(code=code, message=reason.encode()[:123])
                return
            except (TimeoutError, OSError):
                pass
        # A send that was given up leaves aiohttp unable to write to this connection again.
        if self._request.transport is not None:
            self._request.transport.abort()


def _gone(request: web.Request) -> bool:
    """Whether who called has hung up: then a broken connection is his and not ours."""
    return request.transport is None or request.transport.is_closing()


def _bytes(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/octet-stream")


def _json(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/json")


async def _header(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _foreign(error: web.HTTPException) -> Refused:
    """Put what aiohttp says about an address or a method into the house's words."""
    if error.status == 404:
        return Refused(Code.E_UNKNOWN, "The relay has no such address.")
    if error.status == 405:
        return Refused(Code.E_UNKNOWN, "This address does not take that method.")
    return Refused(Code.E_ENCODING, "The relay does not understand this request.")


TEMPLATES = frozenset((method, path.replace(":.+", "")) for method, path in ROUTES)
