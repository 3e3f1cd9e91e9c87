"""What one instance has vouched for, in an embedded store's file of its own: the journal beside Redis.

Redis with Sentinel may go back in time: a failover can promote a replica that lacks what was acknowledged. So every
fact that this instance answers for is on its own disk before it answers: envelopes, statements, the states that follow
from them, directory and prekeys, and the evidence log, which belongs to the instance and never goes back (PROTOCOL 13).
When Redis has lost something, the facts are merged back (relay.replay).

The file is an ordinary store's: the doctor, the backup and the upgrade are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.store.base import Change, Kept, PrekeyRow, raw
from relay.store.sqlite import SqliteStore

EPOCH, CONFIRMED = "epoch", "confirmed"
"""Marks: the epoch of Redis in which this instance last stood whole, and its last batch that is durable in both."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A message as this instance last vouched for it. *state* is the rules' business."""

    msg: str
    state: bytes = field(repr=False)
    envelope: bytes | None = field(repr=False)
    statements: tuple[Kept, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Published:
    """A directory that was put, as the contract's ``put_directory`` takes it."""

    version: int
    files: Mapping[str, bytes] = field(repr=False)
    pins: bytes = field(repr=False)
    log: Sequence[str]


@dataclass(slots=True)
class Batch:
    """What one batch made true in Redis."""

    logged: list[Change | Kept | Published] = field(default_factory=list)
    """In the order in which it goes into the evidence log."""
    prekeys: list[PrekeyRow] = field(default_factory=list)
    blobs: list[tuple[str, int, str, int]] = field(default_factory=list)
    """id, size, desk, when"""

    def __bool__(self) -> bool:
        """Whether there is anything to vouch for."""
        return bool(self.logged or self.prekeys or self.blobs)


class Vouched(SqliteStore):
    """The journal of one instance."""

    async def vouch(self, batch: Batch, confirmed: int) -> None:
        """Write down what a batch made true, and the batch's number, in one durable commit."""
        changes = [one for one in batch.logged if isinstance(one, Change)]
        size = sum(len(one.envelope or b"") + len(one.state) for one in changes)
        await self._write(self._vouch, batch, confirmed, weight=size)

    def _vouch(self, batch: Batch, confirmed: int) -> None:
        tables = self._tables
        for one in batch.logged:
            if isinstance(one, Change):
                self._vouch_one(one)
            elif isinstance(one, Kept):
                tables.keep((one,))
            else:
                log = [raw(entry) for entry in one.log]
                tables.put_directory(one.version, one.files, one.pins, log)
        if batch.prekeys:
            tables.put_prekeys(batch.prekeys)
        for blob, size, desk, now in batch.blobs:
            tables.blobs.put(raw(blob), size, desk, now)
        tables.pages.put_mark(CONFIRMED, confirmed)

    def _vouch_one(self, change: Change) -> None:
        """Take in a change, whatever this journal holds of its message; mailboxes, timers and pages are not facts."""
        there = self._tables.version(raw(change.msg))
        self._tables.commit(
            replace(
                change,
                expected=there,
                entries=(),
                arm=(),
                disarm=(),
                waiting=(),
                pages=(),
                unpage=False,
                open=0,
                blobs=(),
            )
        )

    async def facts(self, after: int, limit: int) -> tuple[int, list[Fact]]:
        """Return at most *limit* messages that arrived after number *after*, and the last one's number (0: no more)."""
        return await self._read(self._facts, after, limit)

    def _facts(self, after: int, limit: int) -> tuple[int, list[Fact]]:
        rows = self._tables.scan(after, limit)
        found = [
            Fact(msg.hex(), state, self._tables.envelope(msg), self._tables.journal.about(msg))
            for _arrival, msg, state in rows
        ]
        return (rows[-1][0] if rows else 0), found

    async def prekeys_kept(self) -> list[PrekeyRow]:
        """Return every prekey that this instance vouched for and that is not purged."""
        return await self._read(self._tables.all_prekeys)

    async def blobs_kept(self) -> list[tuple[str, int, str, int]]:
        """Return (id, size, desk, when) of the blobs that this instance vouched for."""
        return await self._read(self._blobs_kept)

    def _blobs_kept(self) -> list[tuple[str, int, str, int]]:
        assert self._connection
        return self._connection.execute(
            "SELECT lower(hex(id)), size, desk, since FROM blob JOIN blob_desk ON blob = number"
        ).fetchall()

    async def forget(self, blobs: Sequence[str]) -> None:
        """Forget blobs that nobody needs any more."""
        if blobs:
            await self._write(self._forget, [(raw(blob),) for blob in blobs])

    def _forget(self, blobs: Sequence[tuple[bytes]]) -> None:
        assert self._connection
        self._connection.executemany(
            "DELETE FROM blob_desk WHERE blob = (SELECT number FROM blob WHERE id = ?)", blobs
        )
        self._connection.executemany("DELETE FROM blob WHERE id = ?", blobs)

    async def begin_anew(self) -> None:
        """Let the next start take a new epoch: desks then look at everything again, and send what they hold."""
        await self._write(self._begin_anew)

    def _begin_anew(self) -> None:
        assert self._connection
        self._connection.execute("UPDATE store SET copied = 1")

    async def settle(self, epoch: int) -> None:
        """Note that this instance stands whole in *epoch* of Redis."""
        await self.put_mark(EPOCH, epoch)
