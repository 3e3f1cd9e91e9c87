"""Every bound of the relay that is not part of a format, named with its unit; and the token bucket that keeps rates.

Bounds of formats live beside the formats: relay.wire.envelope, relay.wire.receipt, relay.wire.frames, keys.statement.
"""

from dataclasses import dataclass

CLOCK_SKEW_S = 300
"""How far a device's clock may be from the relay's where freshness matters (PROTOCOL 11.3, 15)."""
EXPIRY_S_MAX = 7 * 24 * 3600
"""A message lives at most seven days (PROTOCOL 9.1)."""
ENVELOPE_GRACE_S = 24 * 3600
"""An envelope stays at least this long after its expiry (PROTOCOL 11.5)."""
ENVELOPE_AFTER_CLOSED_S = 30 * 24 * 3600
ENVELOPE_S_MAX = 37 * 24 * 3600
"""An envelope never stays longer than this after its expiry (PROTOCOL 11.5)."""
PREKEY_SETTLING_S = 600
"""A sender is not held to a prekey that the relay has had for less than ten minutes (PROTOCOL 8.7)."""
PREKEY_AHEAD_S_MAX = 28 * 24 * 3600 + CLOCK_SKEW_S
"""Prekeys are published up to four weeks ahead (PROTOCOL 8.7)."""
PREKEYS_PER_DEVICE_MAX = 16
"""Five are enough for four weeks; the rest is room for a device that was set up anew."""
FACTS_MAX = 256
"""Statements that one message may gather before further ones are refused."""
RECEIPTS_PER_CALL_MAX = 64
PICKUPS_PER_CALL_MAX = 64
PICKUP_ANSWER_BYTES_MAX = 3 * 1024 * 1024
WAITING_MESSAGES_MAX = 10_000
"""Messages that may wait undelivered in one desk's mailbox; a real desk sees one urgent request a week."""
WAITING_PER_SENDER_MAX = 1_000
"""... and those of one sender among them, so that a flood leaves the others room."""
COMMIT_TRIES_MAX = 5
"""How often a decision is taken anew when another instance was faster."""
MINIMUM_GAP_S = 60
"""Seconds between two stages of a ladder where network.json says nothing else (PROTOCOL 11.9)."""
STAGES_MAX = 32
TIMERS_PER_TICK_MAX = 512
TIMERS_AT_ONCE = 128
"""Timers that fire side by side: half share a barrier of the store while the others are decided and signed."""
CATCH_UP_PER_DESK_S = 10
"""Overdue ladders of one recipient desk that fire in a second after downtime."""
CATCH_UP_ROWS_MAX = 8192
"""Overdue timers among which the most urgent are looked for."""
RETRY_S_MAX = 60
"""A timer that stands although it was fired is tried again after 1, 2, 4 ... seconds, at most this."""
PAGE_OUTCOMES_MAX = 64
"""Outcomes of pages that an `exhausted` names for one stage (PROTOCOL 10)."""
PAGED_MAX = 8
"""How often it is said anew what became of the pages of one stage (PROTOCOL 11.13)."""
SUBMITS_PER_MINUTE = 120
"""Messages that one desk may submit in a minute, and as many at once."""
RECEIPTS_PER_MINUTE = 6_000
"""Receipts that one desk may post in a minute: thirty-one devices waking to a full mailbox."""
READS_PER_MINUTE = 6_000
PICKUP_SHARE, PICKUP_BURST = 100, 10
"""A device may collect at a hundredth of its desk's reads for good, and ten times that at once: each is logged."""
CONNECTS_PER_MINUTE = 10
CONNECTS_AT_ONCE = 60
"""Sessions that one device may open: each is logged, too."""
REPEATS_PER_MINUTE = 60
REPEATS_AT_ONCE = 600
"""Calls of one desk in which no receipt is new: each is answered by a statement that is logged."""
PUBLISHES_PER_MINUTE = 6
PUBLISHES_AT_ONCE = 30
"""Directories that one caller may hand in: each costs the relay many signatures to verify."""
CONNECTIONS_PER_ADDRESS = 256
"""A desk has at most 31 active devices; several desks may stand behind one address."""

BLOB_IDLE_S = 24 * 3600
"""A blob that no message names, and a part of one, is kept this long after it was last put (PROTOCOL 9.5)."""
BLOB_QUOTA_BYTES = 8 * 1024**3
"""Attachments of one desk that the relay holds at a time."""
BLOB_USES_MAX = 64
"""Messages that may name one blob: a message and its re-seals need a few."""
UPLOADS_MAX = 16
UPLOADS_PER_DESK_MAX = 8
"""Bodies of attachments that come in at once."""
PARTS_PER_DESK_MAX = 64
"""Attachments of one desk that have begun to come: two whole messages, and as much again."""
DOWNLOADS_MAX = 32
DOWNLOADS_PER_DESK_MAX = 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as a value: *tokens* in thousandths at time *at* (milliseconds)."""

    tokens: int
    at: int

    @classmethod
    def full(cls, burst: int, now_ms: int) -> "Bucket":
        """Return a bucket that allows *burst* at once."""
        return cls(burst * 1000, now_ms)


def take(
    bucket: Bucket, per_minute: int, now_ms: int, *, count: int = 1, burst: int = 0
) -> tuple[Bucket, int]:
    """Take *count* from a bucket; return it and the milliseconds to wait (0 = taken, else nothing was taken).

    It fills at *per_minute* up to *burst* (0: a minute's allowance).
    """
    elapsed = max(0, now_ms - bucket.at)
    tokens = min((burst or per_minute) * 1000, bucket.tokens + elapsed * per_minute // 60)
    wanted = count * 1000
    if tokens >= wanted:
        return Bucket(tokens - wanted, now_ms), 0
    missing = wanted - tokens
    return Bucket(tokens, now_ms), -(-missing * 60 // per_minute)
