"""Lives of the relay's attachments on a simulated disk: files, rows and messages, through errors of the disk, too.

tests/store/test_blobs_steps.py dies before and after each step; here the disk fails as well, and what a failed sync has
left in doubt is gone on with. Whatever happens: a blob that was said to be whole is whole, a message that was accepted
has its blobs, and no file stays that belongs to nobody (PROTOCOL 9.5).
"""

import asyncio
import random
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from unittest import mock

from builders_apsw import seed_sqlite, stage
from builders_blobs import Sealed, blob_of
from builders_lives import LIVES, Fate, Tally, Turns, turned
from builders_store import NOW, first, msg_of

from keys.errors import Code, Failed, Refused
from relay import blobs as rules
from relay import durable, upload
from relay.blobs import Blobs
from relay.store import blobs as files
from relay.store.base import Change, Committed, Conflict
from relay.store.blobs import Folder
from relay.store.sqlite import SqliteStore
from relay.upload import Elsewhere

DAY = 86_400
DESK = "VN"
FOLDER = "/other/blobs"
"""Not beside the store: its folder's sync must not be the one that saves the blobs."""


@dataclass(slots=True)
class World:
    """What the relay has told a desk."""

    whole: dict[str, Sealed] = field(default_factory=dict)
    """Blobs that were said to be whole, and must be until nobody needs them."""
    named: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Accepted messages by name, and the blobs that they name."""


class BlobStory:
    """One disk with a store and a folder of blobs, and the relays that work on both one after the other."""

    def __init__(self, seed: int, *, aim: str = "") -> None:
        """Draw everything from *seed*."""
        self.fate = Fate(seed, aim=aim)
        self.dice, self.disk = self.fate.dice, self.fate.disk
        self.now = NOW
        self.world = World()
        self._work = random.Random(f"blobs {seed}")
        self._number = 0
        self._begun: list[Sealed] = []
        self._asked: list[str] = []

    async def run(self, lives: int = LIVES) -> Tally:
        """Live *lives* lives and one that nothing disturbs, which leaves nothing behind; raise Lost otherwise."""
        self.disk.path("")
        seed_sqlite()
        with turned(self.dice), ExitStack() as undo:
            undo.enter_context(stage(files, durable))
            undo.enter_context(mock.patch.object(rules, "ThreadPoolExecutor", Turns))
            undo.enter_context(mock.patch.object(files, "SYNC_BYTES", 6000))
            undo.enter_context(mock.patch.object(files, "PIECE_BYTES", 5000))
            undo.enter_context(mock.patch.object(upload, "WRITE_BYTES", 3000))
            for number in range(lives + 1):
                await self._live(calm=number == lives)
        return self.fate.tally

    async def _live(self, *, calm: bool) -> None:
        fate = self.fate
        fate.begin(calm=calm)
        store = SqliteStore(self.disk.path("relay.db"), free_min=0)
        blobs = Blobs(store, Folder(self.disk.path(FOLDER)))
        end = "lost"
        try:
            await store.start(self.now)
            swept = await blobs.start(self.now)
            end = await self._look(store, blobs, swept.missing)
            if not end:
                fate.work()
                end = await self._serve(store, blobs)
            if calm:
                await self._tidy(store, blobs)
        except (Failed, OSError) as error:
            fate.told.append(f"start: {error}")
            if not self.disk.struck:
                raise fate.lost(f"the start refused although nothing failed: {error}") from error
            end = "start refused"
        finally:
            fate.dying(end)
            with suppress(Failed, OSError):
                await blobs.stop()
            await store.stop()
        fate.end(end)

    async def _look(self, store: SqliteStore, blobs: Blobs, missing: tuple[str, ...]) -> str:
        """Look for what was told."""
        try:
            findings = [*await blobs.check(), *await store.check()]
            rows = {blob: await store.blob(blob) for blob in self.world.whole}
        except (Failed, OSError) as error:
            self.fate.told.append(f"looking: {error}")
            return "not looked at"
        if self.disk.struck:  # what could not be read is not missing
            return "not looked at"
        if missing or findings:
            raise self.fate.lost(f"missing: {missing}; {findings}")
        for blob, row in rows.items():
            if row is None:
                raise self.fate.lost(f"blob {blob} was whole, and is not known")
        for name, ids in self.world.named.items():
            for blob in ids:
                row = rows[blob]
                if row is None or msg_of(name) not in row.messages:
                    raise self.fate.lost(f"message {name} was accepted, and has lost blob {blob}")
        return ""

    async def _serve(self, store: SqliteStore, blobs: Blobs) -> str:
        for _ in range(self.dice.randint(1, 8)):
            step = self._work.choice((self._put, self._put, self._name, self._name, self._late))
            try:
                await step(store, blobs)
                self.fate.tally.answered += 1
            except (Failed, OSError):
                self.fate.tally.unknown += 1
                return "failed"
            except Refused as refused:
                if refused.code is not Code.E_BUSY or not self.disk.struck:
                    raise self.fate.lost(f"a step was refused: {refused}") from refused
            if self.disk.died:
                return "failed"
        return self.dice.choice(("stopped", "stopped", "kill"))

    async def _put(self, store: SqliteStore, blobs: Blobs) -> None:
        """Put a new blob, or go on with one that was begun, whole or up to somewhere."""
        dice = self._work
        if self._begun and dice.random() < 0.6:
            made = self._begun[-1]
        else:
            self._number += 1
            made = blob_of(f"{self.fate.seed} {self._number}")
            self._begun.append(made)
        while not await blobs.again(made.id, DESK, self.now):
            whole = dice.random() < 0.3
            start = 0 if whole else blobs.offset(made.id, DESK)
            until = len(made) if whole else dice.choice((len(made), dice.randint(start, len(made))))
            try:
                taken = await blobs.take(
                    made.id, DESK, None if whole else start, len(made), self.now
                )
            except Elsewhere:
                continue
            try:
                await taken.write(made.data[start:until])
                if not await taken.end():
                    return
            except Elsewhere:  # a cut has left less of it, or other bytes: from the beginning
                continue
            finally:
                await taken.leave()
        self.world.whole[made.id] = made

    async def _name(self, store: SqliteStore, blobs: Blobs) -> None:
        """Let a message name blobs, as the admission does."""
        ids = tuple(await blobs.held(list(self.world.whole), DESK))
        if ids != tuple(self.world.whole):
            if self.disk.struck:
                return
            raise self.fate.lost("a blob that was whole is not held")
        if not ids:
            return
        self._number += 1
        name = f"message {self._number}"
        named = tuple(self._work.sample(ids, min(len(ids), 2)))
        ends = self._work.choice((0, self.now + DAY))
        if not ends:
            self._asked.append(name)
        answer = await store.commit(first(name, blobs=named, drop_after=ends))
        assert isinstance(answer, Committed), answer
        if not ends:
            self.world.named[name] = named

    async def _late(self, store: SqliteStore, blobs: Blobs) -> None:
        """Days later: what has ended goes, and what nobody named."""
        self.now += 3 * DAY
        needed = {blob for ids in self.world.named.values() for blob in ids}
        self.world.whole = {blob: one for blob, one in self.world.whole.items() if blob in needed}
        await store.purge(self.now, 99)
        await blobs.house(self.now)

    async def _tidy(self, store: SqliteStore, blobs: Blobs) -> None:
        """Let everything end; then nothing may be left."""
        for name in self._asked:  # also those whose answer never came
            there = await store.load(msg_of(name))
            if there is None:
                continue
            end = Change(msg_of(name), there.version, b"ended", drop_after=self.now)
            assert not isinstance(await store.commit(end), Conflict)
        self.world.named = {}
        await self._late(store, blobs)
        while await blobs.house(self.now):
            pass
        left = [path for path in self.disk.names if path.startswith(f"{FOLDER}/")]
        if left != [f"{FOLDER}/relay.lock"] or await store.blobs("", 9):
            raise self.fate.lost(f"something stays at the end: {left}")


def live_blobs(seed: int, *, lives: int = LIVES, aim: str = "") -> Tally:
    """Run the story of one seed; raise Lost with the seed and the story if a promise was broken."""
    return asyncio.run(BlobStory(seed, aim=aim).run(lives))
