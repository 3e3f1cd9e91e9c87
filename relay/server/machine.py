"""Numbers of the machine: HTTP, sessions, timers, clock, store, auditor, what runs out, limits."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector

from relay.core import message as law
from relay.server.series import Children, Family
from relay.store.room import Room

TIMERS = (law.EXPIRE, law.LADDER, law.REPLACE)
CODES = ("2xx", "3xx", "4xx", "5xx")
STORE_OPS = (
    *("commit", "keep", "put_directory", "put_prekeys", "purge"),
    *("lease_pages", "finish_page", "put_mark", "put_blob", "drop_blobs"),
)
LIMITS = (
    *("rate", "body", "sessions", "slow_reader", "calls"),
    *("slow_sender", "connections", "greeting", "blob_quota", "downloads"),
)
UPLOADS = ("whole", "piece", "known", "refused", "broken")
DESK_STATES = ("connected", "quiet", "unreachable", "never")
DIRECTIONS = ("forward", "backward")
EXPIRING = ("tls", "directory")
CHECKS = ("no_timer", "overdue", "stuck_outbox", "chain")

HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
STORE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Machine(Family):
    """What the door, the clock, the auditor and the stop-watch on the store report."""

    def __init__(self, registry: CollectorRegistry, routes: Iterable[tuple[str, str]]) -> None:
        """Register everything; *routes* are (method, template) of the HTTP calls."""
        super().__init__(registry)
        ProcessCollector(registry=registry)  # memory, open files, and when this process began
        what = "Time of an HTTP call, by route template"
        labels = ("route", "method", "code")
        calls = self._times("relay_http_request_duration_seconds", what, HTTP_S, *labels)
        self._http = Children(calls)
        for method, route in routes:
            for code in CODES:
                self._http[route, method, code] = calls.labels(route, method, code)
        self._sessions = self._gauge("relay_sessions", "Open sessions of devices")
        desks = self._gauge("relay_desks", "Desks of the directory by when they were here", "state")
        self._desks = Children(desks, DESK_STATES)
        what = "How often a limit turned something away"
        self._limits = Children(self._counter("relay_limit_hits", what, "limit"), LIMITS)
        self._register_time()
        self._register_store()
        self._register_blobs()

    def _register_time(self) -> None:
        timers = self._gauge("relay_timers", "Armed timers", "kind")
        self._timers = Children(timers, TIMERS)
        what = "Oldest timer that should have fired; 0 = none"
        self._oldest_due = self._gauge("relay_timer_oldest_due_timestamp_seconds", what)
        what = "Last whole turn of the timer loop"
        self._turned = self._gauge("relay_timer_loop_last_success_timestamp_seconds", what)
        what = "Wall clock against the running clock since start"
        self._clock_offset = self._gauge("relay_clock_offset_seconds", what, "reference")
        self._clock_offset.labels("wall")
        steps = self._counter("relay_clock_steps", "Steps of the wall clock", "direction")
        self._clock_steps = Children(steps, DIRECTIONS)
        what = "How late the event loop wakes a sleeper"
        self.event_loop_lag = self._times("relay_event_loop_lag_seconds", what, LAG_S)

    def _register_store(self) -> None:
        what = "A durable write, from asking to knowing"
        writes = self._times("relay_store_transaction_seconds", what, STORE_S, "op")
        self._store = Children(writes, STORE_OPS)
        what = "Writes whose outcome is unknown"
        errors = self._counter("relay_store_errors", what, "reason")
        self._store_errors = Children(errors, STORE_OPS)
        what = "Bytes that may still be written where the store lies"
        self._free = self._gauge("relay_store_free_bytes", what)
        what = "Free bytes below which new messages are refused"
        self._floor = self._gauge("relay_store_floor_bytes", what)
        what = "Bytes kept back to be given up when the disk is full; 0 = given up"
        self._ballast = self._gauge("relay_store_ballast_bytes", what)
        what = "The store's epoch: another one than before means that it went back in time; 0 = starting"
        self._epoch = self._gauge("relay_store_epoch", what)
        what = "Replicas that follow the master of the store; 0 in a store of one file"
        self._replicas = self._gauge("relay_store_replicas", what)
        what = "Replicas that the configuration counts on"
        self._replicas_named = self._gauge("relay_store_replicas_named", what)
        what = "What the auditor found wrong, by check"
        self._findings = Children(self._counter("relay_audit_findings", what, "check"), CHECKS)
        what = "Last audit that found nothing; 0 = none yet"
        self._clean = self._gauge("relay_audit_last_clean_timestamp_seconds", what)
        what = "When a key or signature runs out; 0 = none"
        expiry = self._gauge("relay_key_expiry_timestamp_seconds", what, "kind")
        self._expiry = Children(expiry, EXPIRING)

    def _register_blobs(self) -> None:
        self._blobs = self._gauge("relay_blobs", "Attachments that are here as a whole")
        self._blob_bytes = self._gauge("relay_blob_bytes", "Bytes of these attachments")
        what = "Bodies of attachments that came in, by what became of them"
        self._uploads = Children(self._counter("relay_blob_uploads", what, "result"), UPLOADS)

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
        self._turned.set(now)
        self._oldest_due.set(oldest_due)

    def clock(self, offset: float) -> None:
        """Set how far the wall clock has moved against the running clock since start, in seconds."""
        self._clock_offset.labels("wall").set(offset)

    def stepped(self, seconds: float) -> None:
        """Count a step of the wall clock."""
        self._clock_steps["forward" if seconds > 0 else "backward",].inc()

    def counted(self, counts: Mapping[str, int]) -> None:
        """Take over the store's own numbers (Store.counts)."""
        for kind in TIMERS:
            self._timers[kind,].set(counts.get(f"timers_{kind}", 0))
        self._blobs.set(counts.get("blobs", 0))
        self._blob_bytes.set(counts.get("blob_bytes", 0))
        self._replicas.set(counts.get("replicas", 0))
        self._replicas_named.set(counts.get("replicas_named", 0))

    def stands(self, epoch: int) -> None:
        """Set the epoch that the store stands on since this start."""
        self._epoch.set(epoch)

    def uploaded(self, result: str) -> None:
        """Count a body of an attachment: *result* is one of UPLOADS."""
        self._uploads[result,].inc()

    def disk(self, room: Room) -> None:
        """Have the disk looked at anew for each scrape."""
        self._free.set_function(lambda: room.look()[0])
        self._floor.set_function(lambda: room.look()[1])
        self._ballast.set_function(room.held)

    def stored(self, op: str, seconds: float) -> None:
        """Observe a durable write."""
        self._store[op,].observe(seconds)

    def store_failed(self, op: str) -> None:
        """Count a write whose outcome is unknown."""
        self._store_errors[op,].inc()

    def found(self, check: str, count: int = 1) -> None:
        """Count what the auditor found wrong: *check* is one of CHECKS."""
        self._findings[check,].inc(count)

    def clean(self, now: int) -> None:
        """Note an audit that found nothing."""
        self._clean.set(now)

    def expires(self, kind: str, at: int) -> None:
        """Set when something (tls, directory) runs out, seconds UTC."""
        self._expiry[kind,].set(at)
