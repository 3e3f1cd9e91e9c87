"""Attachments and death: the process is stopped before and after each step on disk and store, and started again.

Two ways to die: a kill leaves all that was done; a power cut takes back what was not synced (bytes behind the last
sync, names and removals before the folder's). Whatever the step: no message without its blobs, no file that stays and
belongs to nobody, and the next life can finish what this one began (PROTOCOL 9.5, issue: crash between any two steps).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from builders_blobs import Sealed, blob_of
from builders_crash import Killed, crashing
from builders_store import NOW, first, msg_of

from relay import blobs as rules
from relay.blobs import Blobs
from relay.store.base import Committed, Conflict, Store
from relay.store.blobs import Disk, Folder, Part
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.upload import Elsewhere, Key

DAY = 86_400
TWO = blob_of("in two pieces", 40_000)
ONE = blob_of("in one body")
IDS = (TWO.id, ONE.id)


class Steps:
    """Counts what is done to disk and store, and dies at step number *at* (0: never)."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.count = 0
        self.dead = False

    def step(self, _name: str) -> str:
        """Count one; return whether to die before or after it, or "" to live on."""
        self.count += 1
        if self.count != self.at:
            return ""
        return "after" if self.after else "before"


class MortalDisk(Disk):
    """A real folder whose process can die, and which remembers what a power cut would take back."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.open_files: list[int] = []
        self.synced: dict[int, int] = {}
        """Of each file by inode: how many bytes are durable."""
        self.paths: dict[int, Path] = {}
        self.undo: list[Callable[[], object]] = []
        """How names are put back that the folder's sync has not made durable, in order."""

    def _do(self, name: str, work: Callable[[], Any]) -> Any:
        if self.steps.dead:
            raise Killed
        when = self.steps.step(name)
        if when == "before":
            self.steps.dead = True
            raise Killed
        found = work()
        if when == "after":
            self.steps.dead = True
            raise Killed
        return found

    def open(self, path: Path) -> int:
        """Open; a new name is not durable yet."""
        fresh = not path.exists()

        def work() -> int:
            descriptor = super(MortalDisk, self).open(path)
            inode = os.fstat(descriptor).st_ino
            self.open_files.append(descriptor)
            self.paths[inode] = path
            if fresh:
                self.synced[inode] = 0
                self.undo.append(lambda: path.unlink(missing_ok=True))
            return descriptor

        return int(self._do("open", work))

    def write(self, descriptor: int, data: bytes, at: int) -> int:
        """Write; who dies at it has written half."""
        if not self.steps.dead and self.steps.count + 1 == self.steps.at:
            super().write(descriptor, data[: len(data) // 2], at)
        return int(self._do("write", lambda: super(MortalDisk, self).write(descriptor, data, at)))

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut."""
        self._do("truncate", lambda: super(MortalDisk, self).truncate(descriptor, size))

    def sync(self, descriptor: int) -> None:
        """Sync: from here on the bytes survive."""

        def work() -> None:
            about = os.fstat(descriptor)
            self.synced[about.st_ino] = about.st_size

        self._do("sync", work)

    def rename(self, old: Path, new: Path) -> None:
        """Rename, and know how it was."""
        inode = old.stat().st_ino

        def back() -> None:
            new.rename(old)
            self.paths[inode] = old

        def work() -> None:
            super(MortalDisk, self).rename(old, new)
            self.paths[inode] = new
            self.undo.append(back)

        self._do("rename", work)

    def sync_folder(self, folder: Path) -> None:
        """Sync the names."""
        self._do("sync_folder", self.undo.clear)

    def unlink(self, path: Path) -> None:
        """Remove; until the names are synced it may come back."""

        def work() -> None:
            if path.exists():
                limbo = path.parent.with_name(f"{path.parent.name} limbo")
                limbo.mkdir(exist_ok=True)
                kept = limbo / path.name
                path.rename(kept)
                self.undo.append(lambda: kept.rename(path))

        self._do("unlink", work)

    def lose_power(self, *, zeros: bool) -> None:
        """Take back what was not durable; the file's length may have come through without the bytes."""
        for back in reversed(self.undo):
            back()
        for inode, path in self.paths.items():
            if path.exists() and path.stat().st_ino == inode:
                size, durable = path.stat().st_size, self.synced.get(inode, 0)
                if durable < size:
                    os.truncate(path, durable)
                    os.truncate(path, size if zeros else durable)

    def end(self) -> None:
        """What the kernel does when a process is gone."""
        for descriptor in self.open_files:
            with suppress(OSError):  # it closed most of them itself
                os.close(descriptor)


class Life:
    """One process: it works until it dies or is done."""

    def __init__(
        self, folder: Path, store: Store, steps: Steps, kind: type[Blobs], disk: type[MortalDisk]
    ) -> None:
        self.disk = disk(steps)
        mortal, self.crash = crashing(store, dies=steps.step)
        self.store = mortal
        self.steps = steps
        self.folder = Folder(folder, self.disk)
        self.blobs = kind(mortal, self.folder)
        self.said: set[str] = set()
        self.again = 0

    async def live(self) -> bool:
        """Live through the whole story; return whether it was survived."""
        try:
            await self.blobs.start(NOW)
            await self._story()
        except Killed:
            return False
        finally:
            await asyncio.to_thread(self.blobs._pool.shutdown)
            self.folder.close()
            self.disk.end()
        return True

    async def _story(self) -> None:
        await self._put(TWO, len(TWO) // 2)
        await self._put(ONE, None)
        answer = await self.store.commit(first("a", blobs=IDS, drop_after=NOW + DAY))
        assert answer == Committed(1, ()) or answer == Conflict(1), answer
        self.said.add("accepted")
        self.said.add("ends")
        await self.store.purge(NOW + DAY, 9)
        while await self.blobs.house(NOW + DAY):
            pass

    async def _put(self, made: Sealed, middle: int | None) -> None:
        """Put a blob, in two pieces or in one body, from wherever an earlier life has left it."""
        while not await self.blobs.again(made.id, "VN", NOW):
            here = self.blobs.offset(made.id, "VN") if middle else 0
            end = middle if middle and here < middle else len(made)
            upload = await self.blobs.take(made.id, "VN", here if middle else None, len(made), NOW)
            try:
                await upload.write(made.data[here:end])
                await upload.end()
            except Elsewhere:  # a power cut has left zeros: once more from the beginning
                self.again += 1
                assert self.again == 1
            finally:
                await upload.leave()
        self.said.add(made.id)


class Lost(AssertionError):
    """A promise about attachments was broken."""


async def die_and_live_on(
    folder: Path,
    at: int,
    *,
    after: bool,
    power: str,
    make: Callable[[], Awaitable[Store]],
    kind: type[Blobs] = Blobs,
    disk: type[MortalDisk] = MortalDisk,
) -> bool:
    """Die at a step, start again, look, and finish; return whether the first life died at all."""
    store = await make()
    steps = Steps(at, after=after)
    one = Life(folder, store, steps, kind, disk)
    survived = await one.live()
    if power:
        one.disk.lose_power(zeros=power == "zeros")
    two = Life(folder, store, Steps(), kind, MortalDisk)
    swept = await two.blobs.start(NOW)
    try:
        if swept.missing:
            raise Lost(f"blobs without a file: {swept.missing}")
        if found := await two.blobs.check():
            raise Lost(found[0])
        if "ends" not in one.said:
            for blob in IDS:
                row = await store.blob(blob)
                if blob in one.said and row is None:
                    raise Lost("a blob that was put is not known")
                if "accepted" in one.said and (row is None or msg_of("a") not in row.messages):
                    raise Lost("a message has lost a blob")
        for path in folder.iterdir():
            whole = path.name == "relay.lock" or path.name.endswith(".part")
            if not whole and await store.blob(path.name) is None:
                raise Lost(f"a file of nobody stays: {path.name}")
        await two._story()
    finally:
        await two.blobs.stop()
        two.disk.end()
    left = {path.name for path in folder.iterdir()}
    if left != {"relay.lock"} or await store.blobs("", 9):
        raise Lost(f"something stays at the end: {left}")
    await store.stop()
    return not survived


async def in_memory() -> Store:
    """Return a new store in memory."""
    store = MemoryStore()
    await store.start(NOW)
    return store


async def every_step(
    tmp_path: Path, make: Callable[[], Awaitable[Store]] = in_memory, every: int = 1, **more: Any
) -> int:
    """Die at each step in each way; return how many steps there are."""
    at = 1
    while True:
        died = False
        ways = [(after, power) for after in (False, True) for power in ("", "cut", "zeros")]
        for number, (after, power) in enumerate(ways):
            folder = tmp_path / f"{at}-{number}"
            died |= await die_and_live_on(folder, at, after=after, power=power, make=make, **more)
        if not died:
            return at - 1
        at += every


async def test_death_at_every_step(tmp_path: Path) -> None:
    """Before and after each step, by kill and by power cut: nothing lost, nothing left."""
    assert await every_step(tmp_path) > 30


async def test_death_with_the_embedded_store(tmp_path: Path) -> None:
    """The same with the real store, at every ninth step."""
    made: list[SqliteStore] = []

    async def make() -> Store:
        store = SqliteStore(tmp_path / f"{len(made)}.db", free_min=0)
        made.append(store)
        await store.start(NOW)
        return store

    assert await every_step(tmp_path, make, every=9) > 30


# Would it be noticed? Each order that matters, turned round


class RowFirst(Blobs):
    """Writes the row before the file has its name."""

    async def publish(self, part: Part, key: Key, now: int) -> None:
        """Turned round."""
        await self._store.put_blob(key[0], part.size, key[1], now)
        await self.run(part.publish)
        self.put_down(key, 0, now, None)


class FileFirst(Blobs):
    """Removes files before their rows."""

    async def house(self, now: int) -> int:
        """Turned round."""
        for blob, _size in await self._store.blobs("", 9):
            row = await self._store.blob(blob)
            if row is not None and not row.messages:
                await self.run(self._folder.remove, blob)
        return len(await self._store.drop_blobs(now - DAY, 9))


class NoSweep(Blobs):
    """Leaves what it finds at the start."""

    async def start(self, now: int) -> rules.Swept:
        """Sweep nothing."""
        with mock.patch.object(self._folder, "remove"):
            return await super().start(now)


class NoSync(MortalDisk):
    """Does not sync bytes."""

    def sync(self, descriptor: int) -> None:
        """Say so and do nothing."""
        self._do("sync", lambda: None)


class NoFolderSync(MortalDisk):
    """Does not sync names."""

    def sync_folder(self, folder: Path) -> None:
        """Say so and do nothing."""
        self._do("sync_folder", lambda: None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": RowFirst},
        {"kind": FileFirst},
        {"kind": NoSweep},
        {"disk": NoSync},
        {"disk": NoFolderSync},
    ],
    ids=lambda wrong: next(iter(wrong.values())).__name__,
)
async def test_each_order_is_needed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A relay with one step left out or turned round loses something, and these tests see it."""
    with pytest.raises(Lost):
        await every_step(tmp_path, **wrong)
