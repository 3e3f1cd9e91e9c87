"""Attachments over HTTP: bodies that are larger than memory, in and out (PROTOCOL 9.5, 12).

::

    PUT  /v1/blobs/{id}                              the whole blob: 201, or 200 if it was here
         Content-Range: bytes A-B/TOTAL              a piece: 202 and Upload-Offset, 201 with the last one
    HEAD /v1/blobs/{id}                              200 if it is whole, 204 and Upload-Offset if a part is here
    GET  /v1/blobs/{id}, Range: bytes=A-             200, 206

Nothing of a body is asked for before it is known that it may be taken, and never more than some
hundred KiB of it are in memory. Who may do what is decided in relay.blobs.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from keys.errors import Code, Refused
from relay import errors
from relay.blobs import Blobs
from relay.core import limits
from relay.exchange import Exchange
from relay.server.auth import Holder
from relay.server.clock import Clock
from relay.server.gate import Visitor
from relay.server.metrics import Metrics
from relay.store.base import BlobRow
from relay.upload import Elsewhere, Upload

PIECE_BYTES = 64 * 1024
"""Read and sent at a time."""
PIECE_S = 60.0
"""How long one of these may take to leave; the gate is less patient with a line that stands still."""
WINDOW_S = 30.0
WINDOW_BYTES = 60 * 1024
"""So much of a body must come in so many seconds: 2 KiB a second. What has come is kept, so a bad line gets on."""

QUOTA = "blob_quota_bytes"
"""The limit of network.json that says what every relay gives a desk at least."""
_ID = re.compile(r"[0-9a-f]{64}")
_PIECE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")

Enter = Callable[[web.Request], tuple[int, Holder]]
"""Return the time and whose token came with a call; raise Refused for everybody else."""


async def wait_for_body(_request: web.Request) -> None:
    """Say nothing yet to `Expect: 100-continue`: the call itself does, once it will take the body."""


class BlobDoor:
    """The three calls about blobs."""

    def __init__(self, exchange: Exchange, enter: Enter, clock: Clock, metrics: Metrics) -> None:
        """Stand before the blobs of *exchange*; *enter* knows who calls."""
        self._exchange = exchange
        self._enter = enter
        self._clock = clock
        self._metrics = metrics
        self._reading: Counter[str] = Counter()

    def _blobs(self) -> Blobs:
        blobs = self._exchange.blobs
        if blobs is None:
            raise Refused(Code.E_UNKNOWN, "This relay takes no attachments.")
        return blobs

    # In

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Take in a blob, or a piece of one."""
        now, holder = self._enter(request)
        try:
            return await self._put(request, holder.desk, now)
        except Refused as refused:
            self._metrics.uploaded("refused")
            if refused.code is Code.E_RATE:
                self._metrics.limited("blob_quota")
            raise
        except asyncio.CancelledError:
            self._metrics.uploaded("broken")
            raise
        except (
            ConnectionError
        ):  # as usual as rain, and no line of the log: the answer reaches nobody
            self._metrics.uploaded("broken")
            raise Refused(Code.E_ENCODING, "The line broke in the middle of the body.") from None

    async def _put(self, request: web.Request, desk: str, now: int) -> web.StreamResponse:
        blobs, blob = self._blobs(), _id(request)
        start, length, total = _announced(request)
        if await blobs.again(blob, desk, now):
            self._metrics.uploaded("known")
            return _answer(200)
        promised = self._exchange.directory.network.limits.get(QUOTA, 0)
        upload = await blobs.take(blob, desk, start, total, now, promised)
        try:
            await _receive(request, upload, length, self._metrics)
            whole = await upload.end()
        finally:
            await upload.leave()
        self._metrics.uploaded("whole" if whole else "piece")
        if whole:
            return _answer(201)
        return _answer(202, {"Upload-Offset": str(blobs.offset(blob, desk))})

    # Out

    async def head(self, request: web.Request) -> web.StreamResponse:
        """Say whether a blob is whole, or how much of it is here."""
        now, holder = self._enter(request)
        blobs, blob = self._blobs(), _id(request)
        row = await blobs.readable(blob, holder.desk)
        if row is not None and await blobs.present(row):
            return web.Response(headers={**_about(row), "Content-Length": str(row.size)})
        offset = await blobs.look(blob, holder.desk, now)
        if offset:
            return web.Response(status=204, headers={"Upload-Offset": str(offset)})
        raise _unknown()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Hand out a blob, or its end from a byte on."""
        _now, holder = self._enter(request)
        blobs = self._blobs()
        row = await blobs.readable(_id(request), holder.desk)
        if row is None:
            raise _unknown()
        wanted = _wanted(request, row)
        if wanted is None:
            return self._unsatisfiable(row)
        busy = sum(self._reading.values()) >= limits.DOWNLOADS_MAX
        if busy or self._reading[holder.desk] >= limits.DOWNLOADS_PER_DESK_MAX:
            self._metrics.limited("downloads")
            raise Refused(
                Code.E_BUSY,
                "The relay is handing out as many attachments as it can.",
                hint="Ask again.",
            )
        self._reading[holder.desk] += 1
        try:
            return await self._send(request, blobs, row, *wanted)
        finally:
            self._reading[holder.desk] -= 1

    async def _send(
        self, request: web.Request, blobs: Blobs, row: BlobRow, first: int, last: int
    ) -> web.StreamResponse:
        headers = _about(row)
        partly = last - first + 1 < row.size
        if partly:
            headers["Content-Range"] = f"bytes {first}-{last}/{row.size}"
        response = web.StreamResponse(status=206 if partly else 200, headers=headers)
        response.content_type = "application/octet-stream"
        response.content_length = last - first + 1
        reading = await blobs.read(row)
        try:
            piece = await reading.piece(first, min(PIECE_BYTES, last - first + 1))
            await response.prepare(request)
            at = first
            while True:
                async with asyncio.timeout(PIECE_S):
                    await response.write(piece)
                if isinstance(request.protocol, Visitor):
                    request.protocol.moved()
                at += len(piece)
                if at > last:
                    break
                piece = await reading.piece(at, min(PIECE_BYTES, last - at + 1))
            await response.write_eof()
        except (TimeoutError, ConnectionError, Refused):
            if not response.prepared:
                raise
            # What was begun cannot be taken back: the other side sees that the end is missing.
            if request.transport is not None:
                request.transport.abort()
        finally:
            await reading.close()
        return response

    def _unsatisfiable(self, row: BlobRow) -> web.Response:
        refusal = Refused(
            Code.E_ENCODING,
            f"The attachment has no such range: it has {row.size} bytes, and one range is given at a time.",
        )
        return web.Response(
            status=416,
            body=errors.to_json(refusal, self._clock.now()),
            content_type="application/json",
            headers={"Content-Range": f"bytes */{row.size}"},
        )


async def _receive(request: web.Request, upload: Upload, length: int, metrics: Metrics) -> None:
    """Read *length* bytes; E_BUSY if they come too slowly, E_ENCODING if they do not all come."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    loop = asyncio.get_running_loop()
    until, seen, came = loop.time() + WINDOW_S, 0, 0
    while came < length:
        try:
            async with asyncio.timeout_at(until):
                data = await request.content.readany()
        except TimeoutError:
            metrics.limited("slow_sender")
            raise Refused(
                Code.E_BUSY,
                f"The body brings less than {WINDOW_BYTES} bytes in {WINDOW_S:.0f} s.",
                hint="What has come is kept: ask with HEAD how much, and go on from there.",
            ) from None
        if not data:
            raise Refused(Code.E_ENCODING, "The body ended before its length.")
        came += len(data)
        seen += len(data)
        await upload.write(data)
        if seen >= WINDOW_BYTES:
            until, seen = loop.time() + WINDOW_S, 0


def _announced(request: web.Request) -> tuple[int | None, int, int]:
    """Return where the body begins (None: it is the whole), its length, and the blob's; E_ENCODING."""
    length = request.content_length
    if length is None:
        raise Refused(Code.E_ENCODING, "A blob's length is announced: Content-Length is missing.")
    said = request.headers.get("Content-Range")
    if said is None:
        return None, length, length
    found = _PIECE.fullmatch(said)
    if found is not None:
        first, last, total = map(int, found.groups())
        if first <= last < total and last - first + 1 == length:
            return first, length, total
    raise Refused(
        Code.E_ENCODING,
        "A piece is announced as `Content-Range: bytes FIRST-LAST/TOTAL`, and has exactly these bytes.",
    )


def _wanted(request: web.Request, row: BlobRow) -> tuple[int, int] | None:
    """Return the first and last byte that are asked for; None if there are no such bytes."""
    said = request.headers.get("Range")
    if said is None or request.headers.get("If-Range", _tag(row)) != _tag(row):
        return 0, row.size - 1
    found = _RANGE.fullmatch(said)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        return (max(0, row.size - int(last)), row.size - 1) if int(last) else None
    begin, end = int(first), min(int(last or row.size), row.size - 1)
    return (begin, end) if begin <= end else None


def _id(request: web.Request) -> str:
    blob = request.match_info["id"]
    if not _ID.fullmatch(blob):
        raise _unknown()
    return blob


def _unknown() -> Refused:
    return Refused(Code.E_UNKNOWN, "There is no such attachment for this desk, or not any more.")


def _tag(row: BlobRow) -> str:
    return f'"{row.id}"'


def _about(row: BlobRow) -> dict[str, str]:
    return {"ETag": _tag(row), "Accept-Ranges": "bytes"}


def _answer(status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=b"{}", content_type="application/json", headers=headers)


def offset_of(refusal: Refused) -> dict[str, str]:
    """Return the header that says where an upload goes on, for a refusal that knows."""
    return {"Upload-Offset": str(refusal.offset)} if isinstance(refusal, Elsewhere) else {}
