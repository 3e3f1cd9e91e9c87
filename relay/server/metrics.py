"""What Prometheus may know of the relay: sums, never a message, a person, or who writes to whom.

Every combination of labels exists from the first scrape, at 0, so that `increase()` sees the first event. Label sets
are closed lists. A moment is a timestamp, not an age; 0 means that there is nothing to report.
"""

import platform
from collections.abc import Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, disable_created_metrics

from keys.errors import Code
from relay.core.escalation import BACKSTOP, BACKUP, EXHAUSTED, PATH
from relay.core.message import Message
from relay.server import census
from relay.server.machine import TIMERS, Machine
from relay.server.series import Children
from relay.wire.envelope import MODES, PRIORITIES
from relay.wire.receipt import CAUSES

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

TIMER_RESULTS = ("fired", "superseded", "caught_up", "failed")
CAUGHT_UP_S = 5
"""A timer that fires later than this was caught up: the relay was away when it fell due."""
STAGES: Mapping[str, str] = {"": "0", PATH: "1", BACKSTOP: "2", BACKUP: "3", EXHAUSTED: "4"}
"""The rung that a ladder reached last -> label ``stage``: one meaning for all desks, however long their ladders."""
NOTICES = ("delivered", "accepted", "stage", "exhausted", "expired")
NOTICE_RESULTS = ("ok", "late")
SLIS = ("handover", "first_page", "acknowledge", "timer", "sender_told")
OUTCOMES = ("met", "missed")
CHANNELS = ("webhook", "command", "email", "none")
PAGE_STATES = ("ready", "leased", "sent", "failed", "cancelled", "expired")
PAGE_RESULTS = ("sent", "delivered", "failed_temp", "failed_perm", "unknown", "suppressed")

HANDOVER_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 180, 600)
ACKNOWLEDGE_S = (15, 30, 60, 120, 180, 300, 480, 600, 900, 1200, 1800, 3600, 7200, 14400, 86400)
LATENESS_S = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
FIRST_PAGE_S = (0.5, 1, 2, 5, 10, 20, 30, 60, 120)
FIRST_PAGE_MET_S = 10
ATTEMPT_S = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30)


class Metrics(Machine):
    """Every number of one relay, in one registry. Fulfils the corridor's ``Meter``."""

    def __init__(
        self, registry: CollectorRegistry, *, version: str, routes: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Register everything; *routes* are (method, template) of the HTTP calls."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more line per series
        super().__init__(registry, routes)
        build = self._gauge("relay_build_info", "1, with versions as labels", "version", "python")
        build.labels(version, platform.python_version()).set(1)
        self.census = census.Census()
        self._register_messages()
        self._register_ladders()
        self._register_pages()
        self._show()

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
        self._acknowledge = Children(acknowledge, PRIORITIES, STAGES.values())
        acks = self._counter("relay_acks", "Receipts of desks", "kind", "result")
        self._acks = Children(acks, sorted(set(RECEIPTS.values())), RESULTS)
        what = "Messages for which nobody has answered yet, by where they stand"
        opened = self._gauge("relay_open_messages", what, "priority", "state")
        self._open = Children(opened, PRIORITIES, census.STATES)
        what = "When the oldest open message was accepted; 0 = none"
        oldest = self._gauge("relay_oldest_unacknowledged_timestamp_seconds", what, "priority")
        self._oldest = Children(oldest, PRIORITIES)
        what = "What the sender was told; late: more than a minute after it was due"
        told = self._counter("relay_sender_notices", what, "kind", "result")
        self._notices = Children(told, NOTICES, NOTICE_RESULTS)
        what = "Objectives met and missed: the only source of what is promised"
        decided = self._counter("relay_deadline_outcomes", what, "sli", "outcome")
        self._outcomes = Children(decided, SLIS, OUTCOMES)

    def _register_ladders(self) -> None:
        what = "Stages of ladders that were reached or passed over"
        escalations = self._counter("relay_escalations", what, "priority", "stage", "cause")
        rungs = [STAGES[kind] for kind in (PATH, BACKSTOP, BACKUP)]
        self._escalations = Children(escalations, PRIORITIES, rungs, CAUSES)
        what = "Ladders that ended without a person"
        exhausted = self._counter("relay_escalations_exhausted", what, "priority")
        self._exhausted = Children(exhausted, PRIORITIES)
        what = "Messages whose ladder has ended and that nobody has answered; mode test left out"
        waiting = self._gauge("relay_escalations_exhausted_open", what, "priority")
        self._exhausted_open = Children(waiting, PRIORITIES)
        fired = self._counter("relay_timer_fired", "Timers that were acted upon", "kind", "result")
        self._fired = Children(fired, TIMERS, TIMER_RESULTS)
        what = "How late a timer was acted upon"
        lateness = self._times("relay_timer_lateness_seconds", what, LATENESS_S, "kind")
        self._lateness = Children(lateness, TIMERS)

    def _register_pages(self) -> None:
        what = "Pages in the outbox; one stands for all channels of its endpoint"
        rows = self._gauge("relay_outbox_rows", what, "state")
        self._outbox = Children(rows, PAGE_STATES)
        what = "When the oldest page was put in that should have gone out; 0 = none"
        self._outbox_oldest = self._gauge("relay_outbox_oldest_timestamp_seconds", what)
        what = "Last whole turn of the pager; 0 = not yet"
        self._pager_turned = self._gauge("relay_pager_last_success_timestamp_seconds", what)
        pages = self._counter("relay_pages", "Attempts to page, by result", "channel", "result")
        self._pages = Children(pages, CHANNELS, PAGE_RESULTS)
        what = "Time of one attempt"
        attempts = self._times("relay_page_attempt_seconds", what, ATTEMPT_S, "channel")
        self._attempts = Children(attempts, CHANNELS)
        what = "When a channel took a page last; 0 = not since start"
        success = self._gauge("relay_channel_last_success_timestamp_seconds", what, "channel")
        self._channel_success = Children(success, CHANNELS)
        what = "From a stage's start to the page that a channel took"
        first = self._times("relay_first_page_seconds", what, FIRST_PAGE_S, "priority")
        self._first_page = Children(first, PRIORITIES)

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

    def acknowledged(self, priority: str, seconds: int, stage: str = "") -> None:
        """Observe the time from acceptance to a person's acknowledgement; *stage* is the kind reached last."""
        self._acknowledge[priority, STAGES.get(stage, stage)].observe(seconds)

    def fired(self, kind: str, result: str, lateness: int) -> None:
        """Count a timer: result fired, superseded or failed; lateness in seconds."""
        if result == "fired":
            self.decided("timer", met=lateness <= census.TIMER_S)
            if lateness > CAUGHT_UP_S:
                result = "caught_up"
        self._fired[kind, result].inc()
        self._lateness[kind,].observe(lateness)

    def climbed(self, priority: str, stage: int, kind: str, cause: str) -> None:
        """Count a step of a ladder, and separately the end of one (kind exhausted)."""
        if kind == EXHAUSTED:
            self._exhausted[priority,].inc()
        else:
            self._escalations[priority, STAGES.get(kind, kind), cause].inc()

    def decided(self, sli: str, *, met: bool) -> None:
        """Count an objective (one of SLIS) as met or missed."""
        self._outcomes[sli, OUTCOMES[0 if met else 1]].inc()

    def moved(self, before: Message | None, after: Message) -> None:
        """Take in one committed step of a message; *before* None if it is new."""
        self.census.move(before, after)
        for kind, result in census.notices(before, after):
            self._notices[kind, result].inc()
        for sli, met in census.outcomes(before, after):
            self.decided(sli, met=met)

    def entered(self, message: Message) -> None:
        """Take up a message that was open before this process began."""
        self.census.enter(message)

    def _show(self) -> None:
        """Have the census looked at for each scrape, and not for each step of a message."""
        for priority in PRIORITIES:
            for state in census.STATES:
                self._open[priority, state].set_function(partial(self._count, priority, state))
            self._oldest[priority,].set_function(partial(self.census.oldest, priority))
            self._exhausted_open[priority,].set_function(partial(self._ended, priority))

    def _count(self, priority: str, state: str) -> int:
        return self.census.open[priority, state]

    def _ended(self, priority: str) -> int:
        return self.census.exhausted[priority]

    # What the pager reports (relay.alert.pager.Meter)

    def paged(self, channel: str, result: str, seconds: float, now: int) -> None:
        """Count an attempt through a channel (one of CHANNELS), its result (PAGE_RESULTS) and its time."""
        self._pages[channel, result].inc()
        if result == "suppressed":
            return  # nothing was attempted
        self._attempts[channel,].observe(seconds)
        if result in ("sent", "delivered"):
            self._channel_success[channel,].set(now)

    def first_page(self, priority: str, seconds: int) -> None:
        """Observe the time from a stage's start to the page that a channel took."""
        self._first_page[priority,].observe(seconds)
        self.decided("first_page", met=seconds <= FIRST_PAGE_MET_S)

    def pager_turned(self, now: int, oldest: int) -> None:
        """Note a turn of the pager, and since when the oldest page waits that should have gone out; 0 = none."""
        self._pager_turned.set(now)
        self._outbox_oldest.set(oldest)

    def counted(self, counts: Mapping[str, int]) -> None:
        """Take over the store's own numbers (Store.counts)."""
        super().counted(counts)
        for state in PAGE_STATES:
            self._outbox[state,].set(counts.get(f"pages_{state}", 0))
