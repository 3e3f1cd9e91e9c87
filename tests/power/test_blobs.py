# ruff: noqa: T201 - what happened in a run is told with it
"""Attachments on a disk that fails and loses what was not synced: no message without its blob, no file that stays
(PROTOCOL 9.5).
"""

import hashlib
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import pytest
from builders_apsw import stage
from builders_blob_lives import DESK, FOLDER, live_blobs
from builders_blobs import blob_of
from builders_disk import SYSTEM, Disk, Fault
from builders_lives import LIVES, Lost, Tally
from builders_store import NOW

from keys.errors import Refused
from relay import durable
from relay.blobs import Blobs
from relay.store import blobs as files
from relay.store import place
from relay.store.blobs import Disk as Steps
from relay.store.blobs import Folder, Part
from relay.store.memory import MemoryStore
from relay.upload import Key, Upload, busy

AIMS = ("", "", "", "sync", "folder")
STORIES = 20
STORIES_LONG = 400
CONTROL_STORIES_MAX = 300


def _live(seeds: range) -> Tally:
    begun = time.perf_counter()
    tally = Tally()
    for seed in seeds:
        tally.add(live_blobs(seed, aim=AIMS[seed % len(AIMS)]))
    print(f"{tally.lives} lives, {tally.lives / (time.perf_counter() - begun):.0f} lives/s")
    return tally


def test_no_message_is_without_its_blob() -> None:
    """A hundred and eighty lives, each with a fault of files, names, rows or power; at the end nothing is left over."""
    tally = _live(range(STORIES))
    assert tally.lives == STORIES * (LIVES + 1)
    for what in ("cut at sync", "error at sync", "error at folder", "error at name"):
        assert tally.struck[what]
    assert tally.ends["failed, power cut"]
    assert tally.ends["failed, started again"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_message_is_without_its_blob_for_long() -> None:
    """The same with other seeds."""
    assert _live(range(1000, 1000 + STORIES_LONG)).lives == STORIES_LONG * (LIVES + 1)


async def _go_on_with_a_part_in_doubt() -> list[str]:
    """A sync of a part fails, and the process dies before it can remove the part; the next one goes on with it."""
    made = blob_of("in doubt", 40_000)
    disk = Disk(random.Random(3))  # throws the whole write away
    store = MemoryStore()
    await store.start(NOW)

    async def put(until: int) -> None:
        taken = await blobs.take(made.id, DESK, blobs.offset(made.id, DESK), len(made), NOW)
        try:
            await taken.write(made.data[taken.size : until])
            await taken.end()
        finally:
            await taken.leave()

    with stage(files, place, durable):
        blobs = Blobs(store, Folder(disk.path(FOLDER)))
        await blobs.start(NOW)
        disk.faults = [
            Fault("error", "sync", disk.calls["sync"] + 1),
            Fault("kill", "name", disk.calls["name"] + 2),  # making the part is the first
        ]
        with pytest.raises(Refused):
            await put(30_000)
        assert disk.died == "kill"
        await blobs.stop()
        disk.restart()
        blobs = Blobs(store, Folder(disk.path(FOLDER)))
        await blobs.start(NOW)
        assert blobs.offset(made.id, DESK) == 30_000
        await put(len(made))
        assert await blobs.again(made.id, DESK, NOW)
        await blobs.stop()
        disk.cut()
        blobs = Blobs(store, Folder(disk.path(FOLDER)))
        await blobs.start(NOW)
        findings = await blobs.check()
        await blobs.stop()
    return findings


def _believed(self: Part) -> Any:
    """Hash what the cache shows, and leave it there."""
    found, at = hashlib.sha256(), 0
    while piece := SYSTEM.pread(self._descriptor, files.PIECE_BYTES, at):
        found.update(piece)
        at += len(piece)
    return found


async def test_what_a_failed_sync_left_of_a_part_is_written_again() -> None:
    """The blob is whole after a cut; it is damaged if the relay believes what the cache shows of the part."""
    assert await _go_on_with_a_part_in_doubt() == []
    with mock.patch.object(Part, "_read", _believed):
        (finding,) = await _go_on_with_a_part_in_doubt()
    assert "is damaged" in finding


# Relays that break a rule


async def _row_first(self: Blobs, part: Part, key: Key, now: int) -> None:
    await self._store.put_blob(key[0], part.size, key[1], now)
    await self.run(part.publish)
    self.put_down(key, 0, now, None)


async def _go_on(self: Upload, work: Callable[[], Any]) -> Any:
    async with self._turn:
        try:
            return await work()
        except OSError as error:
            raise busy("The disk did not take it, and what it has is kept.") from error


def _open_once(self: Folder) -> None:
    """Make the folder's name durable only where it is made."""
    if not self.path.is_dir():
        self.path.mkdir(mode=0o700)
        durable.make_durable(self.path)
    self._lock = place.Lock(self.path / "relay")


def _leave(self: Folder, blob: str) -> None:
    pass


CONTROLS: dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]] = {
    "the row before the file": ("", lambda: mock.patch.object(Blobs, "publish", _row_first)),
    "names without a sync": (
        "",
        lambda: mock.patch.object(Steps, "sync_folder", return_value=None),
    ),
    "a folder that is synced once": (
        "folder",
        lambda: mock.patch.object(Folder, "open", _open_once),
    ),
    "what failed is gone on with": ("sync", lambda: mock.patch.object(Upload, "_safely", _go_on)),
    "strays are not swept": ("", lambda: mock.patch.object(Folder, "remove", _leave)),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_relay_that_breaks_a_rule_loses(name: str) -> None:
    """Within some stories the checker finds what this relay has lost; if it did not, it could find nothing."""
    aim, broken = CONTROLS[name]
    with broken():
        for seed in range(CONTROL_STORIES_MAX):
            try:
                live_blobs(seed, aim=aim)
            except Lost as lost:
                print(f"{name}: lost in story {seed}: {str(lost)[:200]}")
                return
    pytest.fail(f"{name}: nothing was lost in {CONTROL_STORIES_MAX} stories: the checker is blind")
