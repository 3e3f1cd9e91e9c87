"""What Prometheus may know of the relay: sums, never a message, a person, or who writes to whom.

Every combination of labels exists from the first scrape, at 0, so that `increase()` sees the first event. Label sets
are closed lists. A moment is a timestamp, not an age; 0 means that there is nothing to report.
"""

import itertools
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from keys.errors import Code
from relay.core import message as law
from relay.core.escalation import EXHAUSTED
from relay.wire.envelope import MODES, PRIORITIES
from relay.wire.receipt import CAUSES, STAGE_KINDS

REASONS: Mapping[Code, str] = {
    Code.E_SIGNATURE: "bad_signature",
    Code.E_KEY: "bad_signature",
    Code.E_SIGNER: "unknown_sender",
    Code.E_WRONG_DESK: "unknown_recipient",
    Code.E_REPLAY: "replay",
    Code.E_EXPIRED: "expired",
    Code.E_TOO_LARGE: "too_large",
    Code.E_RATE: "rate_limited",
    Code.E_BUSY: "storage",
    Code.E_CLOCK: "clock",
    Code.E_STALE_ROSTER: "stale_roster",
    Code.E_BLOB_MISSING: "missing_blob",
}
MALFORMED = "malformed"
"""The reason of every other code."""

RECEIPTS: Mapping[str, str] = {
    "delivered": "transport",
    "acknowledged": "accepted",
    "declined": "negative",
    "failed": "failed",
    "closed": "closed",
    "withdrawn": "withdrawn",
    "progress": "progress",
    "any": "unknown",
}
"""Receipt (PROTOCOL 10) -> kind; ``any`` is one that was refused before its kind could be believed."""
RESULTS = ("ok", "stale", "bad_signature", "refused")

TIMERS = (law.EXPIRE, law.LADDER, law.REPLACE)
TIMER_RESULTS = ("fired", "superseded", "caught_up", "failed")
CAUGHT_UP_S = 5
"""A timer that fires later than this was caught up: the relay was away when it fell due."""
STAGES = ("0", "1", "2", "3", "4")
CODES = ("2xx", "3xx", "4xx", "5xx")
STORE_OPS = ("commit", "keep", "put_directory", "put_prekeys", "purge")
LIMITS = ("rate", "body", "sessions", "slow_reader", "calls")
DESK_STATES = ("connected", "quiet", "unreachable", "never")
DIRECTIONS = ("forward", "backward")
EXPIRING = ("tls", "directory")

HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HANDOVER_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 180, 600)
ACKNOWLEDGE_S = (15, 30, 60, 120, 180, 300, 480, 600, 900, 1200, 1800, 3600, 7200, 14400, 86400)
LATENESS_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
LAG_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
STORE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Children(dict[tuple[str, ...], Any]):
    """The series of one metric by their labels, all of them made at once.

    A label that nobody foresaw makes a series of its own: a number is no reason for a call to fail.
    """

    def __init__(self, metric: Any, *labels: Iterable[str]) -> None:
        """Make the product of *labels*; none at all if no labels are given."""
        keys = itertools.product(*labels) if labels else ()
        super().__init__((key, metric.labels(*key)) for key in keys)
        self._metric = metric

    def __missing__(self, key: tuple[str, ...]) -> Any:
        """Make the series of other labels."""
        found = self[key] = self._metric.labels(*key)
        return found


class Metrics:
    """Every number of one relay, in one registry. Fulfils the corridor's ``Meter``."""

    def __init__(
        self, registry: CollectorRegistry, *, version: str, routes: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Register everything; *routes* are (method, template) of the HTTP calls."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more line per series
        self.registry = registry
        build = self._gauge("relay_build_info", "1, with versions as labels", "version", "python")
        build.labels(version, platform.python_version()).set(1)
        self._register_messages()
        self._register_ladders()
        self._register_machine()
        what = "Time of an HTTP call, by route template"
        labels = ("route", "method", "code")
        calls = self._times("relay_http_request_duration_seconds", what, HTTP_S, *labels)
        self._http = Children(calls)
        for method, route in routes:
            for code in CODES:
                self._http[route, method, code] = calls.labels(route, method, code)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, labels, registry=self.registry)

    def _times(self, name: str, what: str, edges: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, what, labels, buckets=edges, registry=self.registry)

    def _register_messages(self) -> None:
        what = "Messages taken responsibility for"
        accepted = self._counter("relay_messages_accepted", what, "priority", "mode")
        self._accepted = Children(accepted, PRIORITIES, MODES)
        rejected = self._counter("relay_messages_rejected", "Submissions refused", "reason")
        self._rejected = Children(rejected, sorted({*REASONS.values(), MALFORMED}))
        what = "From accepted to the first delivery"
        handover = self._times("relay_handover_seconds", what, HANDOVER_S, "priority")
        self._handover = Children(handover, PRIORITIES)
        what = "From accepted to a person's acknowledgement, by the ladder's stage at that moment"
        labels = ("priority", "stage")
        acknowledge = self._times("relay_acknowledge_seconds", what, ACKNOWLEDGE_S, *labels)
        self._acknowledge = Children(acknowledge, PRIORITIES, STAGES)
        acks = self._counter("relay_acks", "Receipts of desks", "kind", "result")
        self._acks = Children(acks, sorted(set(RECEIPTS.values())), RESULTS)
        self._open = self._gauge("relay_open_messages", "Messages whose end of life is ahead")
        desks = self._gauge("relay_desks", "Desks of the directory by when they were here", "state")
        self._desks = Children(desks, DESK_STATES)
        self._sessions = self._gauge("relay_sessions", "Open sessions of devices")

    def _register_ladders(self) -> None:
        what = "Stages of ladders that were reached or passed over"
        escalations = self._counter("relay_escalations", what, "priority", "kind", "cause")
        self._escalations = Children(escalations, PRIORITIES, STAGE_KINDS, CAUSES)
        what = "Ladders that ended without a person"
        exhausted = self._counter("relay_escalations_exhausted", what, "priority")
        self._exhausted = Children(exhausted, PRIORITIES)
        self._timers = self._gauge("relay_timers", "Armed timers")
        fired = self._counter("relay_timer_fired", "Timers that were acted upon", "kind", "result")
        self._fired = Children(fired, TIMERS, TIMER_RESULTS)
        what = "How late a timer was acted upon"
        lateness = self._times("relay_timer_lateness_seconds", what, LATENESS_S, "kind")
        self._lateness = Children(lateness, TIMERS)
        self._oldest_due = self._gauge(
            "relay_timer_oldest_due_timestamp_seconds",
            "Oldest timer that should have fired; 0 = none",
        )
        self._loop_success = self._gauge(
            "relay_timer_loop_last_success_timestamp_seconds", "Last whole turn of the timer loop"
        )

    def _register_machine(self) -> None:
        what = "Wall clock against the running clock since start"
        self._clock_offset = self._gauge("relay_clock_offset_seconds", what, "reference")
        self._clock_offset.labels("wall")
        steps = self._counter("relay_clock_steps", "Steps of the wall clock", "direction")
        self._clock_steps = Children(steps, DIRECTIONS)
        what = "How late the event loop wakes a sleeper"
        self.event_loop_lag = self._times("relay_event_loop_lag_seconds", what, LAG_S)
        what = "A durable write, from asking to knowing"
        writes = self._times("relay_store_transaction_seconds", what, STORE_S, "op")
        self._store = Children(writes, STORE_OPS)
        what = "Writes whose outcome is unknown"
        self._store_errors = Children(
            self._counter("relay_store_errors", what, "reason"), STORE_OPS
        )
        what = "When a key or signature runs out; 0 = none"
        expiry = self._gauge("relay_key_expiry_timestamp_seconds", what, "kind")
        self._expiry = Children(expiry, EXPIRING)
        what = "How often a limit turned something away"
        self._limits = Children(self._counter("relay_limit_hits", what, "limit"), LIMITS)

    # What the corridor reports (relay.exchange.Meter)

    def accepted(self, priority: str, mode: str) -> None:
        """Count a message that was accepted."""
        self._accepted[priority, mode].inc()

    def refused(self, code: Code) -> None:
        """Count a submission that was refused."""
        self._rejected[REASONS.get(code, MALFORMED),].inc()

    def receipt(self, kind: str, result: str) -> None:
        """Count a receipt: kind of PROTOCOL 10, result ok, stale, bad_signature, refused."""
        self._acks[RECEIPTS.get(kind, "unknown"), result].inc()

    def handover(self, priority: str, seconds: int) -> None:
        """Observe the time from acceptance to the first delivery."""
        self._handover[priority,].observe(seconds)

    def acknowledged(self, priority: str, seconds: int) -> None:
        """Observe the time from acceptance to a person's acknowledgement; there is no ladder yet, so stage 0."""
        self._acknowledge[priority, STAGES[0]].observe(seconds)

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Count a timer: result fired, superseded or failed; lateness in seconds."""
        if result == "fired" and lateness > CAUGHT_UP_S:
            result = "caught_up"
        self._fired[kind, result].inc()
        self._lateness[kind,].observe(lateness)

    def climbed(self, priority: str, stage: int, kind: str, cause: str) -> None:
        """Count a step of a ladder, and separately the end of one (kind exhausted)."""
        if kind == EXHAUSTED:
            self._exhausted[priority,].inc()
        else:
            self._escalations[priority, kind, cause].inc()

    # What the door and the clock report

    def http(self, route: str, method: str, status: int, seconds: float) -> None:
        """Observe one HTTP call."""
        self._http[route, method, f"{status // 100}xx"].observe(seconds)

    def limited(self, limit: str) -> None:
        """Count that a limit (one of LIMITS) turned something away."""
        self._limits[limit,].inc()

    def sessions(self, count: int) -> None:
        """Set how many sessions are open."""
        self._sessions.set(count)

    def desks(self, counts: Mapping[str, int]) -> None:
        """Set how many desks are in each state."""
        for state in DESK_STATES:
            self._desks[state,].set(counts.get(state, 0))

    def turned(self, now: int, oldest_due: int) -> None:
        """Note a whole turn of the timer loop; *oldest_due* 0 if nothing is overdue."""
        self._loop_success.set(now)
        self._oldest_due.set(oldest_due)

    def clock(self, offset: float) -> None:
        """Set how far the wall clock has moved against the running clock since start, in seconds."""
        self._clock_offset.labels("wall").set(offset)

    def stepped(self, seconds: float) -> None:
        """Count a step of the wall clock."""
        self._clock_steps["forward" if seconds > 0 else "backward",].inc()

    def counted(self, counts: Mapping[str, int]) -> None:
        """Take over the store's own numbers (Store.counts)."""
        self._open.set(counts.get("open", 0))
        self._timers.set(counts.get("timers", 0))

    def stored(self, op: str, seconds: float) -> None:
        """Observe a durable write."""
        self._store[op,].observe(seconds)

    def store_failed(self, op: str) -> None:
        """Count a write whose outcome is unknown."""
        self._store_errors[op,].inc()

    def expires(self, kind: str, at: int) -> None:
        """Set when something (tls, directory) runs out, seconds UTC."""
        self._expiry[kind,].set(at)
