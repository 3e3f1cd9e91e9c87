"""What Prometheus may know of the relay: sums, never a message, a person, or who writes to whom.

Every combination of labels exists from the first scrape, at 0, so that `increase()` sees the first event. Label sets
are closed lists. A moment is a timestamp, not an age; 0 means that there is nothing to report.
"""

import platform
from collections.abc import Iterable, Mapping

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
CAUGHT_UP_S = 5
"""A timer that fires later than this was caught up: the relay was away when it fell due."""
STAGES = ("0", "1", "2", "3", "4")
CODES = ("2xx", "3xx", "4xx", "5xx")
STORE_OPS = ("commit", "keep", "put_directory", "put_prekeys", "purge")
LIMITS = ("rate", "body", "sessions", "slow_reader", "calls")
DESK_STATES = ("connected", "quiet", "unreachable", "never")
DIRECTIONS = ("forward", "backward")

HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
HANDOVER_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 180, 600)
ACKNOWLEDGE_S = (15, 30, 60, 120, 180, 300, 480, 600, 900, 1200, 1800, 3600, 7200, 14400, 86400)
LATENESS_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
LAG_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
STORE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics:
    """Every number of one relay, in one registry. Fulfils the corridor's ``Meter``."""

    def __init__(
        self, registry: CollectorRegistry, *, version: str, routes: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Register everything; *routes* are (method, template) of the HTTP calls."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more line per series, which nobody reads
        self.registry = registry
        build = Gauge(
            "relay_build_info",
            "1, with versions as labels",
            ["version", "python"],
            registry=registry,
        )
        build.labels(version, platform.python_version()).set(1)
        self._register_messages(registry)
        self._register_machine(registry)
        self._http = Histogram(
            "relay_http_request_duration_seconds",
            "Time of an HTTP call, by route template",
            ["route", "method", "code"],
            buckets=HTTP_S,
            registry=registry,
        )
        for method, route in routes:
            for code in CODES:
                self._http.labels(route, method, code)

    def _register_messages(self, registry: CollectorRegistry) -> None:
        accepted = Counter(
            "relay_messages_accepted",
            "Messages taken responsibility for",
            ["priority", "mode"],
            registry=registry,
        )
        self._accepted = {
            (one, mode): accepted.labels(one, mode) for one in PRIORITIES for mode in MODES
        }
        rejected = Counter(
            "relay_messages_rejected", "Submissions refused", ["reason"], registry=registry
        )
        self._rejected = {
            reason: rejected.labels(reason)
            for reason in (*sorted(set(REASONS.values())), MALFORMED)
        }
        handover = Histogram(
            "relay_handover_seconds",
            "From accepted to the first delivery",
            ["priority"],
            buckets=HANDOVER_S,
            registry=registry,
        )
        self._handover = {priority: handover.labels(priority) for priority in PRIORITIES}
        acknowledge = Histogram(
            "relay_acknowledge_seconds",
            "From accepted to a person's acknowledgement, by the ladder's stage at that moment",
            ["priority", "stage"],
            buckets=ACKNOWLEDGE_S,
            registry=registry,
        )
        self._acknowledge = {
            (one, stage): acknowledge.labels(one, stage) for one in PRIORITIES for stage in STAGES
        }
        acks = Counter("relay_acks", "Receipts of desks", ["kind", "result"], registry=registry)
        self._acks = {
            (kind, result): acks.labels(kind, result)
            for kind in RECEIPTS.values()
            for result in RESULTS
        }
        escalations = Counter(
            "relay_escalations",
            "Stages of ladders that were reached or passed over",
            ["priority", "kind", "cause"],
            registry=registry,
        )
        self._escalations = {
            (one, kind, cause): escalations.labels(one, kind, cause)
            for one in PRIORITIES
            for kind in STAGE_KINDS
            for cause in CAUSES
        }
        exhausted = Counter(
            "relay_escalations_exhausted",
            "Ladders that ended without a person",
            ["priority"],
            registry=registry,
        )
        self._exhausted = {one: exhausted.labels(one) for one in PRIORITIES}
        self._open = Gauge(
            "relay_open_messages", "Messages whose end of life is still ahead", registry=registry
        )
        desks = Gauge(
            "relay_desks",
            "Desks of the directory by when they were last here",
            ["state"],
            registry=registry,
        )
        self._desks = {state: desks.labels(state) for state in DESK_STATES}

    def _register_machine(self, registry: CollectorRegistry) -> None:
        self._timers = Gauge("relay_timers", "Armed timers", registry=registry)
        fired = Counter(
            "relay_timer_fired",
            "Timers that were acted upon",
            ["kind", "result"],
            registry=registry,
        )
        outcomes = ("fired", "superseded", "caught_up", "failed")
        self._fired = {
            (kind, result): fired.labels(kind, result) for kind in TIMERS for result in outcomes
        }
        lateness = Histogram(
            "relay_timer_lateness_seconds",
            "How late a timer was acted upon",
            ["kind"],
            buckets=LATENESS_S,
            registry=registry,
        )
        self._lateness = {kind: lateness.labels(kind) for kind in TIMERS}
        self._oldest_due = Gauge(
            "relay_timer_oldest_due_timestamp_seconds",
            "Oldest timer that should have fired; 0 = none",
            registry=registry,
        )
        self._loop_success = Gauge(
            "relay_timer_loop_last_success_timestamp_seconds",
            "Last whole turn of the timer loop",
            registry=registry,
        )
        offset = Gauge(
            "relay_clock_offset_seconds",
            "Wall clock against the running clock since start",
            ["reference"],
            registry=registry,
        )
        self._clock_offset = offset.labels("wall")
        steps = Counter(
            "relay_clock_steps", "Steps of the wall clock", ["direction"], registry=registry
        )
        self._clock_steps = {direction: steps.labels(direction) for direction in DIRECTIONS}
        self.event_loop_lag = Histogram(
            "relay_event_loop_lag_seconds",
            "How late the event loop wakes a sleeper",
            buckets=LAG_S,
            registry=registry,
        )
        transaction = Histogram(
            "relay_store_transaction_seconds",
            "A durable write, from asking to knowing",
            ["op"],
            buckets=STORE_S,
            registry=registry,
        )
        self._store = {op: transaction.labels(op) for op in STORE_OPS}
        errors = Counter(
            "relay_store_errors", "Writes whose outcome is unknown", ["reason"], registry=registry
        )
        self._store_errors = {op: errors.labels(op) for op in STORE_OPS}
        expiry = Gauge(
            "relay_key_expiry_timestamp_seconds",
            "When a key or signature runs out; 0 = none",
            ["kind"],
            registry=registry,
        )
        self._expiry = {kind: expiry.labels(kind) for kind in ("tls", "directory")}
        hits = Counter(
            "relay_limit_hits",
            "How often a limit turned something away",
            ["limit"],
            registry=registry,
        )
        self._limits = {limit: hits.labels(limit) for limit in LIMITS}
        self._sessions = Gauge("relay_sessions", "Open sessions of devices", registry=registry)

    # What the corridor reports (relay.exchange.Meter)

    def accepted(self, priority: str, mode: str) -> None:
        """Count a message that was accepted."""
        self._accepted[priority, mode].inc()

    def refused(self, code: Code) -> None:
        """Count a submission that was refused."""
        self._rejected[REASONS.get(code, MALFORMED)].inc()

    def receipt(self, kind: str, result: str) -> None:
        """Count a receipt: kind of PROTOCOL 10, result ok, stale, bad_signature, refused."""
        self._acks[RECEIPTS.get(kind, "unknown"), result].inc()

    def handover(self, priority: str, seconds: int) -> None:
        """Observe the time from acceptance to the first delivery."""
        self._handover[priority].observe(seconds)

    def acknowledged(self, priority: str, seconds: int) -> None:
        """Observe the time from acceptance to a person's acknowledgement; there is no ladder yet, so stage 0."""
        self._acknowledge[priority, STAGES[0]].observe(seconds)

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Count a timer: result fired, superseded or failed; lateness in seconds."""
        if result == "fired" and lateness > CAUGHT_UP_S:
            result = "caught_up"
        self._fired[kind, result].inc()
        self._lateness[kind].observe(lateness)

    def climbed(self, priority: str, stage: int, kind: str, cause: str) -> None:
        """Count a step of a ladder, and separately the end of one (kind exhausted)."""
        if kind == EXHAUSTED:
            self._exhausted[priority].inc()
        else:
            self._escalations[priority, kind, cause].inc()

    # What the door and the clock report

    def http(self, route: str, method: str, status: int, seconds: float) -> None:
        """Observe one HTTP call."""
        self._http.labels(route, method, f"{status // 100}xx").observe(seconds)

    def limited(self, limit: str) -> None:
        """Count that a limit (one of LIMITS) turned something away."""
        self._limits[limit].inc()

    def sessions(self, count: int) -> None:
        """Set how many sessions are open."""
        self._sessions.set(count)

    def desks(self, counts: Mapping[str, int]) -> None:
        """Set how many desks are in each state."""
        for state, gauge in self._desks.items():
            gauge.set(counts.get(state, 0))

    def turned(self, now: int, oldest_due: int) -> None:
        """Note a whole turn of the timer loop; *oldest_due* 0 if nothing is overdue."""
        self._loop_success.set(now)
        self._oldest_due.set(oldest_due)

    def clock(self, offset: float) -> None:
        """Set how far the wall clock has moved against the running clock since start, in seconds."""
        self._clock_offset.set(offset)

    def stepped(self, seconds: float) -> None:
        """Count a step of the wall clock."""
        self._clock_steps["forward" if seconds > 0 else "backward"].inc()

    def counted(self, counts: Mapping[str, int]) -> None:
        """Take over the store's own numbers (Store.counts)."""
        self._open.set(counts.get("open", 0))
        self._timers.set(counts.get("timers", 0))

    def stored(self, op: str, seconds: float) -> None:
        """Observe a durable write."""
        self._store[op].observe(seconds)

    def store_failed(self, op: str) -> None:
        """Count a write whose outcome is unknown."""
        self._store_errors[op].inc()

    def expires(self, kind: str, at: int) -> None:
        """Set when something (tls, directory) runs out, seconds UTC."""
        self._expiry[kind].set(at)
