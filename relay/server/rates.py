"""How often a desk may call: one token bucket per desk and kind of call.

On a session, and over HTTP with a bearer token, the caller's desk is proven. A stranger over HTTP is counted by address
instead, and never by the desk that his statements claim: whoever holds a copy of another desk's message could otherwise
send it again and again and use up that desk's allowance.
"""

from collections import OrderedDict
from enum import StrEnum

from keys.errors import Code, Refused
from relay.core import limits
from relay.core.limits import Bucket, take

BUCKETS_MAX = 8192
"""Desks and addresses remembered per kind; the one not seen for longest gives way."""


class Call(StrEnum):
    """What is counted."""

    SUBMIT = "submit"
    RECEIPT = "receipt"
    READ = "read"


PER_MINUTE = {
    Call.SUBMIT: limits.SUBMITS_PER_MINUTE,
    Call.RECEIPT: limits.RECEIPTS_PER_MINUTE,
    Call.READ: limits.READS_PER_MINUTE,
}


class TooFast(Refused):
    """E_RATE with the seconds to wait."""

    def __init__(self, call: Call, per_minute: int, after_s: int) -> None:
        """Say what the limit is and when to come back."""
        super().__init__(
            Code.E_RATE,
            f"More than {per_minute} calls of kind {call.value!r} in a minute.",
            hint=f"Nothing is lost: send the same again in {after_s} s.",
        )
        self.after_s = after_s


class Rates:
    """The buckets of this instance. Times are seconds UTC."""

    def __init__(self, per_minute: dict[Call, int] | None = None) -> None:
        """Take the allowances per minute; those not given are the relay's usual ones."""
        self._per_minute = {**PER_MINUTE, **(per_minute or {})}
        self._buckets: dict[Call, OrderedDict[str, Bucket]] = {call: OrderedDict() for call in Call}

    def take(self, call: Call, who: str, now: int, count: int = 1) -> None:
        """Charge *count* calls to *who*, a desk or an address; TooFast, and nothing is charged, if too few are left."""
        per_minute, buckets = self._per_minute[call], self._buckets[call]
        bucket = buckets.get(who) or Bucket.full(per_minute, now * 1000)
        # A call bigger than the whole bucket could never pass; it waits for a full one.
        bucket, wait_ms = take(bucket, per_minute, now * 1000, count=min(count, per_minute))
        buckets[who] = bucket
        buckets.move_to_end(who)
        if len(buckets) > BUCKETS_MAX:
            buckets.popitem(last=False)
        if wait_ms:
            raise TooFast(call, per_minute, max(1, -(-wait_ms // 1000)))
