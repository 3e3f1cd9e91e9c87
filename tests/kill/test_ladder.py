"""Ladders under way and the people they wake: killed between any two steps, back after twelve minutes.

The relay's corridor and its pager in one process over a store that dies at a call of choice; time is set. What each
ladder signs is shown in test_deadlines.py; here it is what a person's telephone does.
"""

import asyncio
import io
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from builders import Letter, letter_of, relay_of
from builders_crash import Killed, crashing
from builders_keys import NOW as BEGUN
from builders_keys import World

from relay.alert.page import Page, Result, Woken, Word
from relay.alert.pager import APART_S, Pager
from relay.meter import Unmetered
from relay.server import logs
from relay.store.base import Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore

NOW = BEGUN + 1200
STAGES = ((300, "path"), (600, "backstop"), (1200, "backup"))
AWAY_S = 720
OVER_S = 2100
"""Every page has gone out by then, also for who was away."""
STEP_S = 30
EVERY = {"memory": 5, "sqlite": 29}
"""Of the store's calls each so many-th is died at in an ordinary run; all of them in the long one."""


class Telephone:
    """A person's telephone: it rings when a page arrives, whatever becomes of its sender."""

    name = "telephone"
    seconds = 1.0

    def __init__(self) -> None:
        """Silent so far."""
        self.rang: list[Page] = []

    async def send(self, page: Page) -> Result:
        """Ring."""
        self.rang.append(page)
        return Result(Word.SENT)


class Numbers(Unmetered):
    """What the pager counts goes nowhere."""

    def paged(self, channel: str, result: str, seconds: float, now: int) -> None:
        """Count nothing."""

    def first_page(self, priority: str, seconds: int) -> None:
        """Count nothing."""

    def pager_turned(self, now: int, oldest: int) -> None:
        """Count nothing."""


class SetClock:
    """A clock that is set."""

    at = NOW

    def now(self) -> int:
        """Return the time that was set."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Take no time."""


class Life:
    """One process: corridor and pager over one store, until it dies."""

    def __init__(self, world: World, telephone: Telephone) -> None:
        """Be about to begin."""
        self.world = world
        self.telephone = telephone
        self.clock = SetClock()

    async def live(self, store: Store, letters: list[Letter], begin: int) -> None:
        """Take the letters in, and look every so often until all is over; Killed when the store dies."""
        self.clock.at = begin
        exchange = await relay_of(
            self.world, store, begin, start=False, prekeys=False, reachable={"duty"}
        )
        pager = Pager(
            exchange.store,
            {("AU", "duty"): Woken("AU", "duty", "en", (self.telephone,))},
            self.clock,
            Numbers(),
            logs.build(self.clock.now, stream=io.StringIO()),
            sender=exchange.sender,
            paged=exchange.deadlines.paged,
            unreachable=exchange.deadlines.unreachable,
        )
        if begin == NOW:
            for letter in letters:
                await exchange.submit(letter.submission.wire, letter.envelope, begin)
        while self.clock.at < NOW + OVER_S:
            await exchange.tick(self.clock.at)
            await pager.turn()
            await self._settled(pager)
            self.clock.at += STEP_S

    @staticmethod
    async def _settled(pager: Pager) -> None:
        """Wait for what is under way; a pager that dies of the store dies whole."""
        under_way = list(pager._under_way)
        for found in await asyncio.gather(*under_way, return_exceptions=True):
            if isinstance(found, BaseException):
                raise found


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


@pytest.fixture(scope="module")
def letters(world: World) -> list[Letter]:
    """Return three requests to one desk: their ladders run side by side."""
    return [letter_of(world, NOW, nonce=str(number)) for number in range(3)]


async def judged(
    world: World, disk: Store, letters: list[Letter], telephone: Telephone, died: int
) -> None:
    """Assert what people had: every stage of every letter, none early, one call for what waited, no call twice unsaid."""
    rows = [row for letter in letters for row in await disk.pages(letter.msg)]
    for number, (after, kind) in enumerate(STAGES):
        mine = [row for row in rows if row.stage == number]
        assert [row.kind for row in mine] == [kind] * len(letters), f"{kind}: {len(mine)} pages"
        assert all(row.created >= NOW + after for row in mine), f"{kind} was early"
        assert {row.state for row in mine} == {"sent"}, f"{kind} never went out"
    rang = telephone.rang
    assert all(page.at >= NOW + STAGES[0][0] for page in rang)
    for page in rang:
        assert page.count <= len(letters), "one call speaks for every request once"
    back = died + AWAY_S
    if died:
        first = [page for page in rang if back <= page.at < back + APART_S]
        assert len(first) <= 1, "people get one digest, and not a call for each"
        due = sum(1 for row in rows if row.created <= back)
        before = sum(page.count for page in rang if page.at < back)
        if due > before:
            assert len(first) == 1, "what waited goes out at once"
    said: Counter[str] = Counter()
    for page in rang:
        said[page.key] += 1
        assert said[page.key] == 1 or page.repeat, "a second call says that it is one"
    whole = sum(page.count for page in rang if not page.repeat)
    assert whole <= len(rows), "nobody is called anew for what he was called for"


async def disk_of(kind: str, path: Path) -> Store:
    """Return a new store, started, with the network's directory and prekeys in it."""
    made: Store = MemoryStore() if kind == "memory" else SqliteStore(path)
    await made.start(NOW)
    return made


Story = Callable[..., Awaitable[int]]


async def die_at(
    world: World, letters: list[Letter], kind: str, path: Path, at: int, *, after: bool
) -> int:
    """Play the story; die at call number *at* (0: never). Return how many calls there were."""
    disk = await disk_of(kind, path)
    await relay_of(world, disk, NOW, start=False)
    telephone, died, life = Telephone(), 0, None
    more: dict[str, Any] = {"at": at, "after": after} if at else {}
    store, crash = crashing(disk, **more)
    life = Life(world, telephone)
    try:
        await life.live(store, letters, NOW)
    except Killed:
        died = life.clock.at
    if died:
        if kind == "sqlite":
            await disk.stop()
            disk = SqliteStore(path)
            await disk.start(died + AWAY_S)
        taken_in = all([await disk.load(letter.msg) for letter in letters])
        if not taken_in:
            await disk.stop()
            return crash.calls  # what comes before the ladder is another test's
        await Life(world, telephone).live(disk, letters, died + AWAY_S)
    await judged(world, disk, letters, telephone, died)
    await disk.stop()
    return crash.calls


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_killed_between_any_two_steps_people_get_one_digest(
    world: World, letters: list[Letter], kind: str, tmp_path: Path, *, after: bool
) -> None:
    """Dead before, or after, each call of the store, away twelve minutes: one page for all that waits; none early, lost or twice."""
    calls = await die_at(world, letters, kind, tmp_path / "whole.db", 0, after=after)
    assert calls > 150
    every = 1 if os.environ.get("POC24_LONG") == "1" else EVERY[kind]
    for at in range(10 + after, calls + 1, every):
        try:
            await die_at(world, letters, kind, tmp_path / f"{at}.db", at, after=after)
        except AssertionError as error:
            raise AssertionError(f"dead at call {at}: {error}") from error
