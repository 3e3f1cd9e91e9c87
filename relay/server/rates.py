"""How often a desk may call: one token bucket per desk, or device, and kind of call.

On a session, and over HTTP with a bearer token, the caller's desk is proven. A stranger over HTTP is counted by address
instead, and never by the desk that his statements claim: whoever holds a copy of another desk's message could otherwise
send it again and again and use up that desk's allowance. What is logged for ever (opening a session, collecting) is
counted by the device that signed it, wherever it came in: a smaller pace for good, and a larger burst for a bad night.
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
    CONNECT = "connect"
    PICKUP = "pickup"
    PUBLISH = "publish"
    REPEAT = "repeat"


PER_MINUTE = {
    Call.SUBMIT: limits.SUBMITS_PER_MINUTE,
    Call.RECEIPT: limits.RECEIPTS_PER_MINUTE,
    Call.READ: limits.READS_PER_MINUTE,
    Call.PICKUP: limits.READS_PER_MINUTE // limits.PICKUP_SHARE,
    Call.CONNECT: limits.CONNECTS_PER_MINUTE,
    Call.PUBLISH: limits.PUBLISHES_PER_MINUTE,
    Call.REPEAT: limits.REPEATS_PER_MINUTE,
}
AT_ONCE = {
    Call.CONNECT: limits.CONNECTS_AT_ONCE,
    Call.PUBLISH: limits.PUBLISHES_AT_ONCE,
    Call.REPEAT: limits.REPEATS_AT_ONCE,
}
"""Bursts; where none is named, a minute's allowance."""


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
        given = per_minute or {}
        reads = given.get(Call.READ, PER_MINUTE[Call.READ])
        paced = {Call.PICKUP: max(1, reads // limits.PICKUP_SHARE)}
        self._per_minute = {**PER_MINUTE, **paced, **given}
        self._at_once = {
            **{call: max(AT_ONCE.get(call, 0), each) for call, each in self._per_minute.items()},
            Call.PICKUP: self._per_minute[Call.PICKUP] * limits.PICKUP_BURST,
        }
        self._buckets: dict[Call, OrderedDict[str, Bucket]] = {call: OrderedDict() for call in Call}

    def take(self, call: Call, who: str, now: int, count: int = 1) -> None:
        """Charge *count* calls to *who* (desk, device, address); TooFast, and nothing charged, if too few are left."""
        per_minute, burst, buckets = (
            self._per_minute[call],
            self._at_once[call],
            self._buckets[call],
        )
        bucket = buckets.get(who) or Bucket.full(burst, now * 1000)
        # A call bigger than the whole bucket could never pass; it waits for a full one.
        count = min(count, burst)
        bucket, wait_ms = take(bucket, per_minute, now * 1000, count=count, burst=burst)
        buckets[who] = bucket
        buckets.move_to_end(who)
        if len(buckets) > BUCKETS_MAX:
            buckets.popitem(last=False)
        if wait_ms:
            raise TooFast(call, per_minute, max(1, -(-wait_ms // 1000)))
