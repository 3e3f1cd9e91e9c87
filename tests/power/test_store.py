# ruff: noqa: T201 - what happened in a run is told with it
"""The embedded store on a disk that loses what was not synced: nothing that was answered is ever missing (PROTOCOL 11.1).

Replay a story that failed, with all that happened in it::

    POC24_STORY=1291 pytest tests/power -k replay -s
    POC24_STORY=86:sync pytest tests/power -k replay -s
"""

import asyncio
import faulthandler
import hashlib
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from builders_disk import CALLS
from builders_lives import LIVES, Lost, Story, Tally, live

AIMS = ("", "", "", "", "", "", "sync", "folder")
"""Of eight stories six are drawn from everything, and one each tries failing syncs of files and of folders."""
STORIES = 48
STORIES_LONG = 2304
CHUNK = 16


def _aim(seed: int) -> str:
    return AIMS[seed % len(AIMS)]


def stories(seeds: range) -> tuple[Tally, list[str]]:
    """Run stories; return what happened, and what was lost."""
    tally, lost = Tally(), []
    for seed in seeds:
        aim = _aim(seed)
        try:
            tally.add(live(seed, aim=aim))
        except Lost as error:
            lost.append(f"POC24_STORY={seed}{':' * bool(aim)}{aim} {error}")
    return tally, lost


def _say(tally: Tally, lost: list[str], seconds: float) -> None:
    print(f"{tally.backups} backups;", end=" ")
    print(f"{tally.lives} lives, {len(lost)} stories lost, {tally.lives / seconds:.0f} lives/s")
    print(f"{tally.answered} calls answered, {tally.unknown} not, {tally.durable_unknown} of these")
    print("  were durable all the same")
    for what, count in sorted({**tally.ends, **tally.struck}.items()):
        print(f"  {count:6} {what}")


def test_nothing_answered_is_lost_in_four_hundred_lives() -> None:
    """Power cuts, kills and I/O errors at every kind of call; after each, what was answered is there, and no half of
    anything.
    """
    begun = time.perf_counter()
    tally, lost = stories(range(STORIES))
    _say(tally, lost, time.perf_counter() - begun)
    assert lost == []
    assert tally.lives == STORIES * (LIVES + 1) >= 400
    # What never happened was not shown.
    for what in ("cut", "error"):
        assert [of for of in CALLS if not tally.struck[f"{what} at {of}"]] == []
    for what in ("kill at write", "kill at sync", "short at write", "full at write"):
        assert tally.struck[what]
    assert tally.ends["kill, started again"]
    for end in ("stopped", "failed", "start refused"):
        assert tally.ends[f"{end}, power cut"]
        assert tally.ends[f"{end}, started again"]
    assert tally.answered > 2000
    assert tally.backups > 5
    assert tally.durable_unknown > 20  # so "unknown" may never be told as "rejected"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_answered_is_lost_in_twenty_thousand_lives() -> None:
    """The same with other seeds, on all processors."""
    begun = time.perf_counter()
    chunks = [range(at, at + CHUNK) for at in range(1000, 1000 + STORIES_LONG, CHUNK)]
    total, losses = Tally(), []
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawned, faulthandler.enable) as processes:
        for tally, lost in processes.map(stories, chunks):
            total.add(tally)
            losses += lost
    _say(total, losses, time.perf_counter() - begun)
    assert losses == []
    assert total.lives >= 20_000


def test_a_story_is_replayed_by_its_seed() -> None:
    """The same seed is the same story, to the byte on the disk; POC24_STORY names the one to be told."""
    seed, _, aim = os.environ.get("POC24_STORY", "5").partition(":")

    def tell() -> tuple[list[str], dict[str, str]]:
        story = Story(int(seed), aim=aim)
        try:
            asyncio.run(story.run())
        finally:
            print("\n  ".join([f"seed {seed}", *story.told, *story.disk.struck]))
        image = {
            path: hashlib.sha256(data).hexdigest() for path, data in story.disk.image().items()
        }
        return story.told, image

    told, image = tell()
    assert tell() == (told, image)
    assert image
