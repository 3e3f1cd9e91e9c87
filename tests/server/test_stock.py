"""What was open before a start is counted once, whether before the doors open or beside the work (relay.server.stock)."""

import asyncio
import io
import logging

import pytest
from builders import Letter, letter_of, receipt_of, relay_of
from builders_keys import World
from prometheus_client import CollectorRegistry

from relay.exchange import Exchange
from relay.server import logs, stock
from relay.server.metrics import Metrics
from relay.server.stock import Stock
from relay.store.memory import MemoryStore


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network."""
    return World()


async def filled(world: World, count: int) -> tuple[MemoryStore, list[Letter], int]:
    """Return a store with *count* open messages that an earlier process took in."""
    store, now = MemoryStore(), world.now + 1200
    exchange = await relay_of(world, store, now)
    letters = [letter_of(world, now, nonce=str(number)) for number in range(count)]
    for letter in letters:
        await exchange.submit(letter.submission.wire, letter.envelope, now)
    return store, letters, now


async def started(
    world: World, store: MemoryStore, now: int
) -> tuple[Exchange, Metrics, Stock, io.StringIO]:
    """Return the next process on it, before its stock is taken."""
    exchange = await relay_of(world, store, now, start=False, prekeys=False)
    metrics, said = Metrics(CollectorRegistry(), version="1"), io.StringIO()
    exchange._ledger._meter = metrics
    log = logs.build(lambda: now, level=logging.INFO, stream=said)
    return exchange, metrics, Stock(exchange, metrics, log), said


async def test_few_are_counted_before_the_doors_open(world: World) -> None:
    """When take() returns, the numbers and the sender's share are whole."""
    store, _letters, now = await filled(world, 3)
    exchange, metrics, taken, _said = await started(world, store, now)
    await taken.take()
    assert metrics.census.open["urgent", "accepted"] == 3
    assert exchange._ledger.shares.of("AU", "VN") == 3
    assert exchange._ledger.stepping is None


async def test_many_are_counted_beside_the_work_and_each_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One moves before it was counted, one is new: no number is short or double in the end."""
    monkeypatch.setattr(stock, "BEFORE_DOORS", 4)
    monkeypatch.setattr(stock, "AT_ONCE", 2)
    store, letters, now = await filled(world, 6)
    exchange, metrics, taken, _said = await started(world, store, now)
    await taken.take()
    assert metrics.census.open["urgent", "accepted"] == 0  # nothing yet: the doors open first
    await exchange.record([receipt_of(world, "delivered", letters[5], now).wire], now)
    assert metrics.census.open["urgent", "delivered"] == 1
    new = letter_of(world, now, nonce="new")
    await exchange.submit(new.submission.wire, new.envelope, now)
    assert taken._task is not None
    await taken._task

    assert metrics.census.open == {("urgent", "accepted"): 6, ("urgent", "delivered"): 1}
    assert exchange._ledger.shares.of("AU", "VN") == 6
    assert exchange._ledger.stepping is None


async def test_a_count_that_is_cut_short_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the log says that not all were counted; stop() ends a count under way."""
    monkeypatch.setattr(stock, "BEFORE_DOORS", 4)
    monkeypatch.setattr(stock, "STOCK_MAX", 5)
    store, _letters, now = await filled(world, 6)
    _exchange, metrics, taken, said = await started(world, store, now)
    await taken.take()
    assert taken._task is not None
    await taken._task
    assert "not all open messages were counted" in said.getvalue()
    assert 0 < metrics.census.open["urgent", "accepted"] < 6

    _exchange, _metrics, again, _said = await started(world, store, now)
    await again.take()
    await again.stop()
    assert again._task is not None
    assert again._task.cancelled()
    await asyncio.sleep(0)
