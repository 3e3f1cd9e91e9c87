"""Writes relay.json, the dashboard for Grafana, from the panels below. A test fails while the two differ.

    python deploy/grafana/make.py > deploy/grafana/relay.json

Each panel says what it shows, its unit, what to do when it looks wrong, and its queries. `$job` is the scrape job.
"""

import json
from dataclasses import dataclass
from typing import Any

WIDTH = 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One panel: *queries* are (PromQL, legend); *kind* is Grafana's name for its form."""

    title: str
    kind: str
    unit: str
    description: str
    queries: tuple[tuple[str, str], ...]
    width: int = 8
    bad: float | None = None
    """From this value on it is shown in the colour for trouble."""


def rate(name: str, by: str, more: str = "") -> str:
    """Return the rate of a counter, summed by labels."""
    return f'sum by ({by}) (rate({name}{{job="$job"{more}}}[$__rate_interval]))'


def happened(name: str, by: str, more: str = "") -> str:
    """Return how often something happened in each interval."""
    return f'sum by ({by}) (increase({name}{{job="$job"{more}}}[$__rate_interval]))'


def share(name: str, quantile: float, by: str) -> str:
    """Return a quantile of a histogram."""
    inner = f'sum by (le, {by}) (rate({name}_bucket{{job="$job"}}[$__rate_interval]))'
    return f"histogram_quantile({quantile}, {inner})"


def top(name: str, by: str, more: str = "") -> str:
    """Return a gauge that several instances may know, once."""
    return f'max by ({by}) ({name}{{job="$job"{more}}})'


def age(name: str, by: str) -> str:
    """Return how long ago a moment was; nothing where it is 0."""
    return f'time() - min by ({by}) ({name}{{job="$job"}} > 0) or max by ({by}) ({name}{{job="$job"}} * 0)'


def ahead(name: str, by: str) -> str:
    """Return how far ahead a moment is; nothing where it is 0."""
    return f'min by ({by}) ({name}{{job="$job"}} > 0) - time()'


WAITING = (
    Panel(
        "Unanswered to the end of the ladder",
        "stat",
        "none",
        "Must be 0. Otherwise telephone the recipient now: runbook, RelayEscalationExhausted.",
        ((top("relay_escalations_exhausted_open", "priority"), "{{priority}}"),),
        bad=1,
    ),
    Panel(
        "Oldest wait",
        "stat",
        "s",
        "How long the oldest request has waited for a person. Urgent ones are answered within the hour; compare with "
        "the ladder's stages before you call anybody.",
        ((age("relay_oldest_unacknowledged_timestamp_seconds", "priority"), "{{priority}}"),),
    ),
    Panel(
        "Findings of the auditor, last hour",
        "stat",
        "none",
        "Must be 0. Each is a message without its timer, or something that stands: runbook, RelayAuditFinding.",
        (('sum by (check) (increase(relay_audit_findings_total{job="$job"}[1h]))', "{{check}}"),),
        bad=1,
    ),
    Panel(
        "Open messages",
        "timeseries",
        "none",
        "Where open messages stand. Many in state accepted: a desk is not connected, see its sessions.",
        (
            (
                'sum by (priority, state) (relay_open_messages{job="$job"})',
                "{{priority}} {{state}}",
            ),
        ),
        width=16,
    ),
    Panel(
        "Messages accepted",
        "timeseries",
        "none",
        "Requests that the relay took responsibility for. None for long although desks work: try one yourself.",
        ((happened("relay_messages_accepted_total", "priority, mode"), "{{priority}} {{mode}}"),),
    ),
)

LADDER = (
    Panel(
        "Stages reached",
        "timeseries",
        "none",
        "1 path, 2 backstop, 3 backup. A growing share of 2 and 3: talk to the desks whose people do not answer.",
        ((happened("relay_escalations_total", "stage"), "stage {{stage}}"),),
    ),
    Panel(
        "Causes of steps",
        "timeseries",
        "none",
        "unreachable and empty mean a profile without anybody to page: run relay check and write to that desk.",
        ((happened("relay_escalations_total", "cause"), "{{cause}}"),),
    ),
    Panel(
        "Ladders that ended without a person",
        "timeseries",
        "none",
        "Each is a signed notice to its sender. Look into every one of priority emergency or urgent.",
        ((happened("relay_escalations_exhausted_total", "priority"), "{{priority}}"),),
    ),
    Panel(
        "Time to a person's acknowledgement",
        "heatmap",
        "s",
        "The desks' promise, not the relay's: dark cells beyond the deadline are a matter for the network's meeting.",
        (
            (
                'sum by (le) (increase(relay_acknowledge_seconds_bucket{job="$job"}[$__rate_interval]))',
                "{{le}}",
            ),
        ),
    ),
    Panel(
        "What senders were told",
        "timeseries",
        "none",
        "late means more than a minute after it was due: see Timers.",
        ((happened("relay_sender_notices_total", "kind, result"), "{{kind}} {{result}}"),),
    ),
    Panel(
        "Receipts of desks",
        "timeseries",
        "none",
        "bad_signature is an attack or a broken desk: find the desk in the log, and call it.",
        ((happened("relay_acks_total", "kind, result"), "{{kind}} {{result}}"),),
    ),
)

TIMERS = (
    Panel(
        "Armed timers",
        "timeseries",
        "none",
        "Moves with the open messages. Timers without open messages, or the reverse: run relay doctor.",
        ((top("relay_timers", "kind"), "{{kind}}"),),
    ),
    Panel(
        "Lateness of timers",
        "timeseries",
        "s",
        "Promised: below 2 s for 99.9 %. Higher: look at the store's writes and the event loop.",
        (
            (share("relay_timer_lateness_seconds", 0.5, "job"), "p50"),
            (share("relay_timer_lateness_seconds", 0.99, "job"), "p99"),
        ),
        bad=2,
    ),
    Panel(
        "What timers led to",
        "timeseries",
        "none",
        "caught_up after downtime is right; failed is not: read the log around it.",
        ((happened("relay_timer_fired_total", "result"), "{{result}}"),),
    ),
    Panel(
        "Oldest timer that is due",
        "stat",
        "s",
        "Must stay near 0: runbook, RelayTimersOverdue.",
        ((age("relay_timer_oldest_due_timestamp_seconds", "job"), "overdue"),),
        bad=30,
    ),
    Panel(
        "Last turn of the timer loop",
        "stat",
        "s",
        "Must stay below 15 s: runbook, RelayTimerLoopDead.",
        ((f"time() - {top('relay_timer_loop_last_success_timestamp_seconds', 'job')}", "ago"),),
        bad=30,
    ),
    Panel(
        "Last clean audit",
        "stat",
        "s",
        "Must stay below a minute: runbook, RelayAuditSilent.",
        ((age("relay_audit_last_clean_timestamp_seconds", "job"), "ago"),),
        bad=300,
    ),
)

PAGING = (
    Panel(
        "Attempts to page",
        "timeseries",
        "none",
        "failed_perm: the address is wrong, mend the relay's configuration. unknown: the provider hangs, call it.",
        ((happened("relay_pages_total", "channel, result"), "{{channel}} {{result}}"),),
    ),
    Panel(
        "Time of an attempt",
        "timeseries",
        "s",
        "Seconds are normal for e-mail and commands. Near the time-out: the provider is in trouble.",
        ((share("relay_page_attempt_seconds", 0.99, "channel"), "{{channel}} p99"),),
    ),
    Panel(
        "Outbox",
        "timeseries",
        "none",
        "ready and leased must come back to 0 within a minute: runbook, RelayOutboxStuck.",
        ((top("relay_outbox_rows", "state"), "{{state}}"),),
    ),
    Panel(
        "Oldest page that should have gone out",
        "stat",
        "s",
        "Must stay near 0: runbook, RelayOutboxStuck.",
        ((age("relay_outbox_oldest_timestamp_seconds", "job"), "waiting"),),
        bad=60,
    ),
    Panel(
        "Last success of each channel",
        "stat",
        "s",
        "A channel that has not carried a page for a week has not been tested for a week: send a test.",
        ((age("relay_channel_last_success_timestamp_seconds", "channel"), "{{channel}}"),),
    ),
    Panel(
        "From a stage to its first page",
        "timeseries",
        "s",
        "Promised: below 10 s for 99.9 %. Higher: see the outbox and the time of an attempt.",
        ((share("relay_first_page_seconds", 0.99, "priority"), "{{priority}} p99"),),
        bad=10,
    ),
)

RELAY = (
    Panel(
        "HTTP calls",
        "timeseries",
        "reqps",
        "By class of status. Many 5xx: read the log. Many 4xx: one desk has gone astray, see Refusals.",
        ((rate("relay_http_request_duration_seconds_count", "code"), "{{code}}"),),
    ),
    Panel(
        "Time of HTTP calls",
        "timeseries",
        "s",
        "Promised: a signed receipt within 2 s. Higher: see the store.",
        ((share("relay_http_request_duration_seconds", 0.99, "route"), "{{route}} p99"),),
        bad=2,
    ),
    Panel(
        "Refusals",
        "timeseries",
        "none",
        "bad_signature, replay and unknown_sender in numbers are an attack or a broken desk; storage is ours.",
        ((happened("relay_messages_rejected_total", "reason"), "{{reason}}"),),
    ),
    Panel(
        "Sessions and desks",
        "timeseries",
        "none",
        "unreachable and never: no person can be woken over the line there; look at their last message, call them.",
        (
            ('sum by (job) (relay_sessions{job="$job"})', "sessions"),
            (top("relay_desks", "state"), "desks {{state}}"),
        ),
    ),
    Panel(
        "From accepted to delivered",
        "timeseries",
        "s",
        "Below 5 s for a desk that is connected. Higher for all desks: see the event loop.",
        ((share("relay_handover_seconds", 0.99, "priority"), "{{priority}} p99"),),
    ),
    Panel(
        "Limits that turned something away",
        "timeseries",
        "none",
        "rate: a desk sends more than it may, talk to it before you raise the limit. calls, sessions: too small here?",
        ((happened("relay_limit_hits_total", "limit"), "{{limit}}"),),
    ),
    Panel(
        "Lag of the event loop",
        "timeseries",
        "s",
        "Above 0.1 s something blocks the whole relay: note the time, and read the log around it.",
        ((share("relay_event_loop_lag_seconds", 0.99, "instance"), "{{instance}} p99"),),
        bad=0.1,
    ),
    Panel(
        "Memory",
        "timeseries",
        "bytes",
        "Grows with connected devices. Growing without them: restart at a quiet hour, and report it.",
        (('process_resident_memory_bytes{job="$job"}', "{{instance}}"),),
    ),
    Panel(
        "Open files",
        "timeseries",
        "none",
        "One for each connection. Near the limit of the service: runbook, RelayFilesShort.",
        (('process_open_fds{job="$job"}', "{{instance}}"),),
    ),
)

STORE = (
    Panel(
        "Durable writes",
        "timeseries",
        "s",
        "One sync of the disk each. Above 0.1 s: another program uses the disk, or it is failing.",
        ((share("relay_store_transaction_seconds", 0.99, "op"), "{{op}} p99"),),
        bad=0.1,
    ),
    Panel(
        "Room on the disk",
        "timeseries",
        "bytes",
        "Below the floor new messages are refused: runbook, RelayDiskNearlyFull. Ballast 0: it has been given up.",
        (
            ('relay_store_free_bytes{job="$job"}', "{{instance}} free"),
            ('relay_store_floor_bytes{job="$job"}', "{{instance}} floor"),
            ('relay_store_ballast_bytes{job="$job"}', "{{instance}} ballast"),
        ),
    ),
    Panel(
        "Replicas of the store",
        "timeseries",
        "none",
        "Where Redis is the store, as many must follow as are counted on: runbook, RelayReplicasMissing.",
        (
            ('relay_store_replicas{job="$job"}', "{{instance}} follow"),
            ('relay_store_replicas_named{job="$job"}', "{{instance}} counted on"),
        ),
    ),
    Panel(
        "New epochs of the store",
        "timeseries",
        "none",
        "More than 0: it went back in time, and was made whole: runbook, RelayStoreFellBack.",
        (('changes(relay_store_epoch{job="$job"}[30m])', "{{instance}}"),),
        bad=1,
    ),
    Panel(
        "Writes with unknown outcome",
        "stat",
        "none",
        "Must be 0: runbook, RelayStoreErrors.",
        (('sum by (reason) (increase(relay_store_errors_total{job="$job"}[1h]))', "{{reason}}"),),
        bad=1,
    ),
    Panel(
        "Attachments held",
        "timeseries",
        "bytes",
        "They go a month after their case is closed. Growing without end: relay doctor, and which desk sends them.",
        ((top("relay_blob_bytes", "instance"), "{{instance}}"),),
    ),
    Panel(
        "Attachments that came in",
        "timeseries",
        "none",
        "broken: bad lines, desks go on by themselves. refused: see the limits, and the disk.",
        ((happened("relay_blob_uploads_total", "result"), "{{result}}"),),
    ),
    Panel(
        "Wall clock against the relay's clock",
        "timeseries",
        "s",
        "Within 2 s. Further away: see that the time service runs; runbook, RelayClockStepped.",
        (
            (
                'max by (instance, reference) (relay_clock_offset_seconds{job="$job"})',
                "{{instance}} {{reference}}",
            ),
        ),
    ),
    Panel(
        "Steps of the wall clock",
        "timeseries",
        "none",
        "Must be 0: runbook, RelayClockStepped.",
        ((happened("relay_clock_steps_total", "direction"), "{{direction}}"),),
    ),
    Panel(
        "What runs out",
        "stat",
        "s",
        "directory is signed anew every hour, tls within weeks: runbook, RelayDirectoryStale and RelayKeyExpiry.",
        ((ahead("relay_key_expiry_timestamp_seconds", "kind"), "{{kind}}"),),
    ),
    Panel(
        "Versions",
        "stat",
        "none",
        "Instances per version; more than one only while you upgrade.",
        (('count by (version, python) (relay_build_info{job="$job"})', "{{version}} {{python}}"),),
    ),
)

PROMISES = (
    Panel(
        "Promises missed, last 6 hours",
        "stat",
        "none",
        "sender_told must be 0, each one is looked into: runbook, RelaySenderNotTold.",
        (("job_sli:relay_deadline_misses:increase6h", "{{sli}}"),),
        bad=1,
    ),
    Panel(
        "Share missed within an hour",
        "timeseries",
        "percentunit",
        "The month's allowance is 0.1 %; 1.44 % for an hour wakes somebody: runbook, RelayDeadlineBurnFast.",
        (("job_sli:relay_deadline_misses:ratio_rate1h", "{{sli}}"),),
        bad=0.0144,
    ),
    Panel(
        "Promises met and missed",
        "timeseries",
        "none",
        "acknowledge is the desks' own; the others are the relay's.",
        ((happened("relay_deadline_outcomes_total", "sli, outcome"), "{{sli}} {{outcome}}"),),
    ),
)

ROWS = (
    ("Is anyone waiting?", WAITING),
    ("Escalation", LADDER),
    ("Timers and audit", TIMERS),
    ("Paging", PAGING),
    ("Relay", RELAY),
    ("Store and clock", STORE),
    ("Promises", PROMISES),
)


def panels() -> list[dict[str, Any]]:
    """Return all panels in Grafana's form, row by row."""
    found: list[dict[str, Any]] = []
    y = 0
    for name, row in ROWS:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append({"id": len(found) + 1, "type": "row", "title": name, "gridPos": place})
        y += 1
        x = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            found.append(one(panel, len(found) + 1, x, y))
            x += panel.width
        y += HEIGHT
    return found


def one(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """Return one panel at a place."""
    steps: list[dict[str, Any]] = [{"color": "blue", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "orange", "value": panel.bad})  # told apart by every eye
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        options = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["max"]}}
    elif panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    form = "heatmap" if panel.kind == "heatmap" else "time_series"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": None if panel.unit == "s" else 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "format": form,
            }
            for n, (expr, legend) in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "label": "Job",
            "datasource": SOURCE,
            "query": "label_values(relay_build_info, job)",
            "refresh": 2,
        },
    ]
    return {
        "uid": "poc24-relay",
        "title": "poc24 relay",
        "description": "What to do when something looks wrong: deploy/README.md, Runbook.",
        "tags": ["poc24"],
        "schemaVersion": 37,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [],
        "panels": panels(),
    }


def main() -> None:
    """Print the dashboard."""
    print(json.dumps(dashboard(), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
