"""The relay under seeds: whatever crashes, goes down, is set wrong or answers nothing, I1 to I7 hold (escalation 3.5).

A seed that fails is run again by ``pytest tests/simulation -k "seeds and 40"``: it fails the same way.
"""

import asyncio
import os
from collections import Counter

import pytest
from builders_invariants import judge
from builders_simulation import Pool, simulate, simulate_years

SEEDS = 1000 if os.environ.get("POC24_LONG") == "1" else 200
AT_ONCE = 20
YEARS, MESSAGES = 10, 1000

happened: Counter[str] = Counter()
"""What happened in all seeds together."""


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Return one world and its letters."""
    return Pool()


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_seeds(pool: Pool, first: int) -> None:
    """Every stage once, in order, never early, late only while nobody lived, paged, told, ended, and logged."""
    for seed in range(first, first + AT_ONCE):
        record = simulate(pool, seed)
        assert (seed, asyncio.run(judge(record))) == (seed, [])
        happened.update(record.counted)


def test_a_seed_is_a_seed(pool: Pool) -> None:
    """The same seed lives the same life twice, to the last page: what fails can be looked at."""
    first, again = simulate(pool, 5), simulate(pool, 5)
    assert first.counted == again.counted
    assert first.up == again.up
    assert [(one.at, one.page.key) for one in first.sent] == [
        (one.at, one.page.key) for one in again.sent
    ]


def test_what_is_simulated_happens(pool: Pool) -> None:
    """A quiet world would show nothing: processes die, all go down, clocks are moved, channels lie, people act."""
    for seed in range(40):
        happened.update(simulate(pool, seed).counted)
    rare = {"declined", "withdrawn", "acknowledged", "failed", "progress", "delivered", "not yet"}
    rare |= {"page sent", "page unknown", "page failed_temp", "page hangs"}
    rare |= {"deaths", "outages", "steps"}
    assert {what: count for what in rare if (count := happened[what]) < 20} == {}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_years(pool: Pool) -> None:
    """Ten years of a request twice a week, with a death or an outage now and then: nothing accumulates, nothing is lost."""
    record = simulate_years(pool, 1, years=YEARS, messages=MESSAGES)
    assert asyncio.run(judge(record)) == []
    assert len(record.stories) == MESSAGES
    assert record.disk._timers == {}
    assert len(record.disk._pages) < 100
