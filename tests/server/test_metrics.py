"""Numbers: every reason, kind and result that the corridor can name has its series."""

import pytest
from prometheus_client import CollectorRegistry

from keys.errors import Code, Failed
from relay.core import message as law
from relay.server.measured import measured
from relay.server.metrics import REASONS, Metrics
from relay.store.base import Kept
from relay.store.memory import MemoryStore
from relay.wire import receipt


@pytest.fixture
def metrics() -> Metrics:
    """Return fresh numbers in a registry of their own."""
    return Metrics(CollectorRegistry(), version="1")


def test_every_code_has_a_reason(metrics: Metrics) -> None:
    """Any refusal can be counted, and outcome classes that operators act on are kept apart."""
    for code in Code:
        metrics.refused(code)
    value = metrics.registry.get_sample_value
    counted = sum(
        value("relay_messages_rejected_total", {"reason": reason}) or 0
        for reason in {*REASONS.values(), "malformed"}
    )
    assert counted == len(Code)
    assert value("relay_messages_rejected_total", {"reason": "rate_limited"}) == 1
    assert value("relay_messages_rejected_total", {"reason": "stale_roster"}) == 1


def test_every_receipt_has_a_kind(metrics: Metrics) -> None:
    """Each receipt of PROTOCOL 10 can be counted with each result."""
    for kind in (*receipt.RECEIPTS, "any"):
        for result in ("ok", "stale", "bad_signature", "refused"):
            metrics.receipt(kind, result)


def test_every_timer_has_its_series(metrics: Metrics) -> None:
    """Each timer of the core, with each result; one that fires late was caught up."""
    for kind in (law.EXPIRE, law.LADDER, law.REPLACE):
        for result in ("fired", "superseded", "failed"):
            metrics.fired(kind, result, 0)
    metrics.fired(law.EXPIRE, "fired", 6)
    value = metrics.registry.get_sample_value
    assert (
        value("relay_timer_fired_total", {"kind": law.EXPIRE, "result": "fired"}),
        value("relay_timer_fired_total", {"kind": law.EXPIRE, "result": "caught_up"}),
    ) == (1, 1)


async def test_writes_are_timed_and_failures_counted(metrics: Metrics) -> None:
    """A durable write leaves its time, one with unknown outcome leaves a count; results pass through untouched."""
    store = MemoryStore()
    watched = measured(store, metrics)
    await watched.start(1)
    await watched.keep([Kept("0" * 64, "pickup", "", b"{}", 1)])
    assert (await watched.statement("0" * 64)) == await store.statement("0" * 64)
    await store.stop()
    with pytest.raises(Failed):
        await watched.keep([Kept("1" * 64, "pickup", "", b"{}", 1)])
    value = metrics.registry.get_sample_value
    assert value("relay_store_transaction_seconds_count", {"op": "keep"}) == 1
    assert value("relay_store_errors_total", {"reason": "keep"}) == 1


def test_a_label_that_nobody_foresaw_breaks_no_call(metrics: Metrics) -> None:
    """Counting comes after the commit: an unknown kind makes a series of its own, and no exception."""
    metrics.fired("retention", "fired", 0)
    metrics.climbed("urgent", 1, "path", "a new cause")
    metrics.climbed("urgent", 4, "exhausted", "timeout")

    value = metrics.registry.get_sample_value
    assert value("relay_timer_fired_total", {"kind": "retention", "result": "fired"}) == 1
    assert value("relay_escalations_exhausted_total", {"priority": "urgent"}) == 1
