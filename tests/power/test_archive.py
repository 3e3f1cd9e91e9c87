# ruff: noqa: T201 - what happened in a run is told with it
"""The desk's archive on a disk that loses what was not synced: what was sent is known, nothing is shown twice, and what
was destroyed stays destroyed (PROTOCOL 8.7, 9.4).

Replay a story that failed: ``POC24_STORY=17:sync pytest tests/power -k replays -s``.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from builders_apsw import Connection, Cursor
from builders_archive_lives import ArchiveStory, Step, live_archive
from builders_lives import LIVES, Lost, Tally

from relay.desk import archive as archives
from relay.desk.archive import Archive

AIMS = ("", "", "", "", "sync", "folder")
STORIES = 24
STORIES_LONG = 600
CONTROL_STORIES_MAX = 400


def _aim(seed: int) -> str:
    return AIMS[seed % len(AIMS)]


def _live(seeds: range) -> Tally:
    begun = time.perf_counter()
    tally = Tally()
    for seed in seeds:
        tally.add(live_archive(seed, aim=_aim(seed)))
    print(f"{tally.lives} lives, {tally.lives / (time.perf_counter() - begun):.0f} lives/s")
    print(f"{tally.answered} steps done, {tally.unknown} unknown, {tally.durable_unknown} durable")
    return tally


def test_a_desk_knows_what_it_sent_and_showed() -> None:
    """Two hundred lives: rows as they were kept, sent messages known, nothing shown twice, no destroyed secret back."""
    tally = _live(range(STORIES))
    assert tally.lives == STORIES * (LIVES + 1)
    for what in ("cut at write", "cut at sync", "error at sync", "error at folder"):
        assert tally.struck[what]
    for end in ("stopped, power cut", "failed, power cut", "failed, started again"):
        assert tally.ends[end]
    assert tally.durable_unknown > 5


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_desk_knows_what_it_sent_and_showed_for_long() -> None:
    """The same with other seeds."""
    assert _live(range(1000, 1000 + STORIES_LONG)).lives == STORIES_LONG * (LIVES + 1)


def test_a_desks_story_replays() -> None:
    """The same seed is the same story, to the byte on the disk; POC24_STORY names the one to be told."""
    seed, _, aim = os.environ.get("POC24_STORY", "5").partition(":")
    told = []
    for _ in range(2):
        story = ArchiveStory(int(seed), aim=aim)
        try:
            story.run()
        finally:
            print("\n  ".join([f"seed {seed}", *story.fate.told, *story.disk.struck]))
        told.append((story.fate.told, story.disk.image()))
    assert told[0] == told[1]


# Archives that break a rule


class GoesOn(Archive):
    """Serves on after an error."""

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        try:
            with super()._unbroken():
                yield
        finally:
            self._broken = False


def _nothing(*_args: object) -> None:
    pass


def instead(said: str, done: str, answer: str = "") -> AbstractContextManager[Any]:
    """Let SQLite do *done* where it is told *said*, and lie if it is asked for what it does."""
    execute = Connection.execute

    def other(self: Connection, sql: str, values: Sequence[Any] = ()) -> Cursor:
        return execute(
            self, {said: done, said.partition(" =")[0]: answer or sql}.get(sql, sql), values
        )

    return mock.patch.object(Connection, "execute", other)


def early() -> AbstractContextManager[Any]:
    """Send and show before the row is kept."""
    do = Step.do

    def first(self: Step, archive: Archive) -> None:
        self.then()
        self.then = _nothing
        do(self, archive)

    return mock.patch.object(Step, "do", first)


def without(name: str) -> Callable[[], AbstractContextManager[Any]]:
    """Leave out a function that the archive calls."""
    return lambda: mock.patch.object(archives, name, _nothing)


@dataclass(frozen=True)
class Control:
    """An archive that breaks a rule, and what is broken around it."""

    make: Callable[..., Archive] = Archive
    broken: Callable[[], AbstractContextManager[Any]] = nullcontext
    aim: str = ""


CONTROLS = {
    "synchronous=NORMAL": Control(
        broken=lambda: instead(
            "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL", "SELECT 2"
        )
    ),
    "sent and shown before it is kept": Control(broken=early),
    "continue after an I/O error": Control(GoesOn, aim="sync"),
    "start that believes the log": Control(broken=without("settle_log"), aim="sync"),
    "a log that is not emptied": Control(
        broken=lambda: mock.patch.object(Archive, "scrub", _nothing)
    ),
    "a log that is emptied without a sync": Control(broken=without("sync_log")),
    "deleted without overwriting": Control(
        broken=lambda: instead("PRAGMA secure_delete = ON", "PRAGMA secure_delete = OFF")
    ),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_an_archive_that_breaks_a_rule_loses(name: str) -> None:
    """Within some stories the checker finds what this archive has lost; if it did not, it could find nothing."""
    control = CONTROLS[name]
    with control.broken():
        for seed in range(CONTROL_STORIES_MAX):
            try:
                live_archive(seed, control.make, aim=control.aim)
            except Lost as lost:
                print(f"{name}: lost in story {seed}: {str(lost)[:200]}")
                return
    pytest.fail(f"{name}: nothing was lost in {CONTROL_STORIES_MAX} stories: the checker is blind")
