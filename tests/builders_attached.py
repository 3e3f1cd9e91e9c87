"""Attachments for tests: files, a relay with a room for blobs, and a carrier in memory that can lie and break off.

::

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send_with("AU", {"photo.jpg": data_of(200_000)})

    attached(story, tmp_path)
"""

import contextlib
import hashlib
import io
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from builders import BODY, BODY_TYPE
from builders_desk import Seat, Stage
from builders_keys import World
from builders_loop import play

from keys import suite
from keys.errors import Code, Refused
from keys.statement import b64u, unb64u
from relay.blobs import Blobs
from relay.desk import filenames, saving, spool
from relay.desk.carrier import Standing
from relay.desk.roster import TurnedDown
from relay.desk.spool import Spool
from relay.server.auth import Holder
from relay.store.base import Store
from relay.store.blobs import Folder
from relay.upload import Elsewhere
from relay.wire import attachment, blob, content
from relay.wire.attachment import Sealing

READ_BYTES = 64 * 1024


def data_of(size: int, name: str = "") -> bytes:
    """Return fixed bytes of which none is zero, others for another name."""
    start = hashlib.sha256(name.encode()).digest()[0]
    block = bytes((start + at) % 255 + 1 for at in range(255))
    return (block * (size // 255 + 1))[:size]


class MemoryCarrier:
    """Brings blobs to the relay of a stage without HTTP; a test may look at each call, and change what is given."""

    def __init__(self, stage: "AttachedStage") -> None:
        """Carry for one desk of *stage*."""
        self.stage = stage
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], Awaitable[None]] | None = None
        """Sees each call before it is made: method and blob; may raise."""
        self.after: Callable[[str, str], Awaitable[None]] | None = None
        """Sees each call when it is done, before its caller hears of it."""
        self.gives: Callable[[str, bytes, int], bytes] | None = None
        """Sees what the relay gives of a blob, and from where; returns what arrives."""

    def count(self, method: str) -> int:
        """Return how many calls there were of a method."""
        return sum(one == method for one, _blob in self.calls)

    async def _begin(self, method: str, token: str, name: str) -> Holder:
        self.calls.append((method, name))
        if self.stage.line.down:
            raise ConnectionResetError("The way to the relay is down.")
        if self.before is not None:
            await self.before(method, name)
        try:
            return self.stage.door.tokens.holder(token, self.stage.clock.now())
        except Refused as refused:
            raise TurnedDown(refused.code, refused.text) from None

    async def _end(self, method: str, name: str) -> None:
        if self.after is not None:
            await self.after(method, name)

    async def look(self, token: str, blob: str) -> Standing:
        """Return how much of a blob the relay has from this device."""
        holder = await self._begin("HEAD", token, blob)
        blobs, now = self.stage.blobs, self.stage.clock.now()
        whole = await blobs.again(blob, holder.desk, now)
        offset = 0 if whole else blobs.offset(blob, holder.desk)
        await self._end("HEAD", blob)
        return Standing(whole, offset)

    async def put(
        self, token: str, blob: str, file: BinaryIO, start: int, end: int, total: int
    ) -> Standing:
        """Send a piece of a blob."""
        holder = await self._begin("PUT", token, blob)
        blobs, now = self.stage.blobs, self.stage.clock.now()
        file.seek(start)
        try:
            upload = await blobs.take(blob, holder.desk, start, total, now)
            try:
                left = end - start
                while left:
                    data = file.read(min(left, READ_BYTES))
                    await upload.write(data)
                    left -= len(data)
                whole = await upload.end()
            finally:
                await upload.leave()
        except Elsewhere as elsewhere:
            return Standing(whole=False, offset=elsewhere.offset)
        except Refused as refused:
            raise TurnedDown(refused.code, refused.text) from None
        await self._end("PUT", blob)
        return Standing(whole, 0 if whole else blobs.offset(blob, holder.desk))

    async def get(
        self,
        token: str,
        blob: str,
        write: Callable[[bytes], object],
        start: int,
        end: int,
        total: int,
    ) -> None:
        """Fetch a piece of a blob."""
        holder = await self._begin("GET", token, blob)
        row = await self.stage.blobs.readable(blob, holder.desk)
        if row is None:
            raise TurnedDown(Code.E_UNKNOWN, "The relay has no such attachment.")
        reading = await self.stage.blobs.read(row)
        try:
            data = await reading.piece(start, end - start)
        finally:
            await reading.close()
        given = data if self.gives is None else self.gives(blob, data, start)
        write(given[: end - start])
        if len(given) > end - start:
            raise Refused(Code.E_TOO_LARGE, "The relay gives more of an attachment than there is.")
        if len(given) < end - start:
            raise ConnectionError("The relay stopped in the middle of an attachment.")
        await self._end("GET", blob)

    async def close(self) -> None:
        """Nothing is open."""


class AttachedStage(Stage):
    """A stage whose relay takes attachments, and whose seats carry them."""

    blobs: Blobs

    async def open(self, store: Store | None = None) -> None:
        """Start the relay with a room for blobs."""
        await super().open(store)
        self.blobs = Blobs(self.store, Folder(self.folder / "relay-blobs"))
        await self.blobs.start(self.clock.now())
        self.door.exchange.blobs = self.blobs

    async def close(self) -> None:
        """Stop the relay; uploads under way are put down."""
        await super().close()
        await self.blobs.stop()

    async def seat(self, desk: str, handle: str | None = None, **options: Any) -> "AttachedSeat":
        """Seat a device that carries attachments."""
        seat = AttachedSeat(self, desk, handle, **options)
        self.seats.append(seat)
        seat.start()
        await seat.until(lambda: seat.connected)
        return seat

    def held(self) -> list[str]:
        """Return the names of what lies in the relay's folder: whole blobs, and parts of some."""
        folder = self.folder / "relay-blobs"
        return sorted(path.name for path in folder.iterdir() if len(path.name) >= 64)


class AttachedSeat(Seat):
    """A seat with a carrier of its own, which outlives restarts of the desk."""

    def __init__(self, stage: AttachedStage, *given: Any, **options: Any) -> None:
        """Seat a device as :class:`Seat` does."""
        super().__init__(stage, *given, **options)
        self.carrier = MemoryCarrier(stage)
        self.parts = {"carrier": self.carrier}

    @property
    def spool(self) -> Spool:
        """The folder of sealed attachments of this seat."""
        return Spool(spool.beside(self.path))

    def files(self) -> list[str]:
        """Return everything in that folder: its place, and the number that its name ends with."""
        folder = self.spool.folder
        found = [path for path in folder.rglob("*") if path.is_file()]
        return sorted(f"{path.parent.name}/{path.name[64:]}" for path in found)

    def seal(self, cek: bytes, files: Mapping[str, bytes], stage: Path) -> list[dict[str, Any]]:
        """Seal files as the command line does; return what the officer signs of them."""
        named = []
        for number, (name, data) in enumerate(files.items()):
            sealing = Sealing(attachment.secret_of(cek, number), len(data), io.BytesIO(data).read)
            sealed = b"".join(sealing)
            facts = sealing.facts
            (stage / facts.blob).write_bytes(sealed)
            assert len(sealed) == blob.sealed_size(len(data))
            named.append(
                {
                    "name": name,
                    "media_type": filenames.media_type(name),
                    "size": facts.size,
                    "sha256": facts.sha256,
                    "blob": facts.blob,
                }
            )
        return named

    async def send_with(
        self,
        to: str,
        files: Mapping[str, bytes],
        *,
        lie: Callable[[list[dict[str, Any]], Path], None] | None = None,
        cek: bytes = b"",
        handed: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Seal files, sign a message with them, and hand all of it over.

        *lie* may change what is signed and what is sealed; *handed* replaces arguments of ``send``.
        """
        cek = cek or suite.random_bytes(32)
        kind, thread = changes.pop("kind", "request"), changes.pop("thread", "")
        with self.spool.stage() as stage:
            named = self.seal(cek, files, stage)
            if lie is not None:
                lie(named, stage)
            header = self.header(to, **changes)
            stated = content.originate(
                header,
                kind=kind,
                body_type=BODY_TYPE,
                body=BODY,
                thread=thread,
                nonce=suite.random_bytes(16),
                created=header.created,
                officer=self.officer,
                attachments=named,
            )
            sealed: dict[str, Any] = {"cek": b64u(cek), "staged": stage.name, **(handed or {})}
            return await self.desk.send(
                b64u(header.encode()), b64u(stated.wire), b64u(BODY), **sealed
            )

    async def listed(self, msg: str) -> list[dict[str, Any]]:
        """Return the attachments of a message as people see them."""
        found: list[dict[str, Any]] = (await self.desk.attachments(msg))["attachments"]
        return found

    async def states(self, msg: str) -> list[str]:
        """Return how far each attachment of a message is."""
        return [one["state"] for one in await self.listed(msg)]

    async def until_states(self, msg: str, *states: str) -> None:
        """Wait until the attachments of a message are so far."""
        for _second in range(240):
            if await self.states(msg) == list(states):
                return
            await self.stage.clock.sleep(0.5)
        raise AssertionError(f"{self.name}: {await self.listed(msg)}")

    async def saved(self, msg: str, number: int = 1) -> bytes:
        """Open an attachment that is here, and return it."""
        found = await self.desk.unlock(msg, number)
        folder = self.stage.folder / f"saved-{self.path.stem}"
        folder.mkdir(exist_ok=True)
        path = saving.save(
            Path(found["path"]),
            unb64u(found["secret"]),
            attachment.Facts.of(found),
            folder,
            f"{number}-{len(list(folder.iterdir()))}",
            lambda _count: None,
        )
        return path.read_bytes()


def attached(
    story: Callable[[AttachedStage], Awaitable[None]], folder: Path, world: World | None = None
) -> None:
    """Play a story on a stage with attachments, and clear everything away."""

    async def whole() -> None:
        stage = AttachedStage(world or World(), folder)
        await stage.open()
        try:
            await story(stage)
        finally:
            with contextlib.suppress(ConnectionError):
                await stage.end()

    play(whole())
