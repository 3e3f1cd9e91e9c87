"""Prekeys: the short-lived keys that messages are sealed to, signed by their device (PROTOCOL 8.7)."""

from dataclasses import dataclass, field
from functools import lru_cache

from keys import statement, suite
from keys.entry import Member
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.shape import closed, integer, text

PREKEY_SECONDS_MAX = 7 * 86_400
"""A prekey is valid for at most seven days (PROTOCOL 8.7)."""
AHEAD_SECONDS_MAX = 4 * PREKEY_SECONDS_MAX
"""Prekeys are published at most four weeks ahead."""


@dataclass(frozen=True, slots=True)
class Prekey:
    """A verified public prekey: 1216 bytes, its 8-byte hint, and from when to when (seconds UTC) it is used."""

    desk: str
    device: str
    key: bytes = field(repr=False)
    hint: bytes
    not_before: int
    not_after: int
    sid: str
    wire: bytes = field(repr=False)

    def valid(self, at: int) -> bool:
        """Whether senders may use it at this time."""
        return self.not_before <= at < self.not_after


def make_prekey(
    desk: str, seed: bytes, not_before: int, not_after: int, device: Signer
) -> statement.Statement:
    """Sign the public half of a 32-byte prekey *seed* by its device's key."""
    fields = {
        "desk": desk,
        "key": statement.b64u(suite.prekey_public(seed)),
        "not_before": not_before,
        "not_after": not_after,
    }
    return statement.make("prekey", fields, device)


@lru_cache(maxsize=8192)
def read_prekey(wire: bytes, member: Member) -> Prekey:
    """Verify a prekey statement by its member's device key. Cached by its bytes and the member.

    Whether the member is active, and the key valid now, is asked by the caller. Raises what
    :func:`keys.statement.verify` raises, E_WRONG_DESK for another desk, E_EXPIRED for more than seven days.
    """
    read = statement.verify(wire, {"prekey"}, member.device_key)
    fields = closed(dict(read.fields), {"desk", "key", "not_before", "not_after"}, "a prekey")
    if fields["desk"] != member.desk:
        raise Refused(Code.E_WRONG_DESK, f"The prekey is not for desk {member.desk}.")
    begins = integer(fields["not_before"], "not_before")
    ends = integer(fields["not_after"], "not_after")
    if not begins < ends <= begins + PREKEY_SECONDS_MAX:
        raise Refused(
            Code.E_EXPIRED, "A prekey is valid for more than nothing and at most seven days."
        )
    key = statement.unb64u(text(fields["key"], "key", 2048))
    suite.check_prekey(key)
    hint = suite.pkid_of(key)[: suite.HINT_BYTES]
    return Prekey(member.desk, read.signer, key, hint, begins, ends, read.sid, wire)
