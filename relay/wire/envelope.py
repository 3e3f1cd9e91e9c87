"""The envelope: what the relay sees of a message, and keeps without opening (PROTOCOL 9).

::

    envelope = magic || u32(len header) || header || u16(n) || n stanzas || commitment || stream
    stanza   = hint (8) || HPKE enc (1120) || HPKE ciphertext (48)      1176 bytes
    msg      = SHA-256 of the envelope

Nothing here opens anything. :func:`parse` is on the relay's hot path: one pass, and the stream is a
view, not a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from keys import statement, suite
from keys.errors import Code, Refused
from relay.wire import fields

MAGIC = b"poc24/1 envelope\n"
FAMILY = b"poc24/"
"""What envelopes of every version begin with."""
HEADER_BYTES_MAX = 4096
STANZAS_MAX = 96
STANZA_BYTES = suite.HINT_BYTES + suite.WRAPPED_BYTES
COMMITMENT_BYTES = 32
ENVELOPE_BYTES_MAX = 4 * 1024 * 1024
EXPIRY_SECONDS_MAX = 7 * 86400
PADDED_BYTES_MIN = 16384

MODES = ("actual", "exercise", "test")
PRIORITIES = ("emergency", "urgent", "routine")

HEADER_SHAPE = MappingProxyType(
    {
        "ack_by": fields.time,
        "backup": fields.or_empty(fields.desk),
        "created": fields.time,
        "dev": fields.identifier,
        "expires": fields.time,
        "from": fields.desk,
        "mode": fields.one_of(MODES),
        "priority": fields.one_of(PRIORITIES),
        "to": fields.desk,
    }
)
_AFTER_MAGIC = len(MAGIC)
_SMALLEST_STREAM = suite.TAG_BYTES + 1


@dataclass(frozen=True, slots=True)
class Header:
    """What the relay sees of a message. Times are seconds UTC; a header that exists has passed the
    rules of 9.1.
    """

    ack_by: int
    """By when a person should have acknowledged: created < ack_by <= expires; 0 asks for no
    acknowledgement.
    """
    backup: str
    """A desk that may open too once the ladder reaches it, or ""."""
    created: int
    dev: str
    """The kid of the sending device."""
    expires: int
    """At most seven days after *created*."""
    sender: str
    """The sending desk; ``from`` in JSON."""
    mode: str
    priority: str
    to: str
    encoded: bytes = field(init=False, repr=False, compare=False)
    """The one encoding."""

    def __post_init__(self) -> None:
        """Check the rules of PROTOCOL 9.1 and keep the one encoding; E_ENCODING, E_EXPIRED,
        E_TOO_LARGE.
        """
        value = self._value()
        fields.closed(value, HEADER_SHAPE, "The header")
        if not self.created < self.expires <= self.created + EXPIRY_SECONDS_MAX:
            raise Refused(
                Code.E_EXPIRED,
                "The header's expiry is not within seven days after its creation.",
                hint="Send it again with an earlier expiry.",
            )
        if self.ack_by and not self.created < self.ack_by <= self.expires:
            raise Refused(
                Code.E_ENCODING,
                "The header's ack_by is outside of its life: created < ack_by <= expires, or 0.",
            )
        if self.backup and self.backup in {self.sender, self.to}:
            raise Refused(
                Code.E_ENCODING, "The header's backup desk is its sender or its recipient."
            )
        object.__setattr__(self, "encoded", statement.encode({**value, "v": 1}))
        if len(self.encoded) > HEADER_BYTES_MAX:
            raise Refused(Code.E_TOO_LARGE, f"The header has more than {HEADER_BYTES_MAX} bytes.")

    def _value(self) -> dict[str, Any]:
        return {
            "ack_by": self.ack_by,
            "backup": self.backup,
            "created": self.created,
            "dev": self.dev,
            "expires": self.expires,
            "from": self.sender,
            "mode": self.mode,
            "priority": self.priority,
            "to": self.to,
        }

    def encode(self) -> bytes:
        """Return the header's strict JSON."""
        return self.encoded

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """Read a header by the rules of PROTOCOL 9.1; E_ENCODING, E_VERSION, E_EXPIRED or
        E_TOO_LARGE.
        """
        if len(data) > HEADER_BYTES_MAX:
            raise Refused(Code.E_TOO_LARGE, f"The header has more than {HEADER_BYTES_MAX} bytes.")
        value = statement.decode(data)
        version = value.pop("v", None)
        if type(version) is not int or version != 1:  # true equals 1 in Python
            raise Refused(Code.E_VERSION, "The header's version is not 1.")
        if value.keys() != HEADER_SHAPE.keys():
            fields.closed(value, HEADER_SHAPE, "The header")
        return cls(
            ack_by=value["ack_by"],
            backup=value["backup"],
            created=value["created"],
            dev=value["dev"],
            expires=value["expires"],
            sender=value["from"],
            mode=value["mode"],
            priority=value["priority"],
            to=value["to"],
        )

    @property
    def sha256(self) -> str:
        """Return ``hh``, the hash of magic, length and header, 64 hex digits: what statements name
        (PROTOCOL 9.2).
        """
        return suite.sha256(framed(self.encoded)).hex()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope: framing and header are right; nothing is said of what is inside."""

    header: Header
    stanzas: tuple[bytes, ...] = field(repr=False)
    """1 to 96 stanzas of 1176 bytes."""
    commitment: bytes = field(repr=False)
    stream: memoryview = field(repr=False)
    """A view into *wire*."""
    wire: bytes = field(repr=False)
    msg: str
    """The message id: SHA-256 of the whole envelope, 64 hex digits (PROTOCOL 9.6)."""

    @property
    def hints(self) -> tuple[bytes, ...]:
        """The first 8 bytes of every stanza: which prekeys it was sealed for."""
        return tuple(one[: suite.HINT_BYTES] for one in self.stanzas)

    @property
    def prefix(self) -> bytes:
        """Everything before the commitment: what the commitment binds."""
        return self.wire[: len(self.wire) - len(self.stream) - COMMITMENT_BYTES]


def framed(header: bytes) -> bytes:
    """Return magic, length and header, the first bytes of an envelope."""
    return MAGIC + len(header).to_bytes(4, "big") + header


def prefix_of(header: Header, stanzas: Sequence[bytes]) -> bytes:
    """Return everything before the commitment; E_RECIPIENTS for none or more than 96 stanzas."""
    _count(len(stanzas))
    if any(len(one) != STANZA_BYTES for one in stanzas):
        raise Refused(Code.E_ENCODING, f"A stanza has {STANZA_BYTES} bytes.")
    return framed(header.encode()) + len(stanzas).to_bytes(2, "big") + b"".join(stanzas)


def assemble(header: Header, stanzas: Sequence[bytes], commitment: bytes, stream: bytes) -> bytes:
    """Return an envelope's bytes; E_RECIPIENTS, E_ENCODING or E_TOO_LARGE if it could not be parsed
    again.
    """
    wire = prefix_of(header, stanzas) + commitment + stream
    if len(commitment) != COMMITMENT_BYTES or len(stream) < _SMALLEST_STREAM:
        raise Refused(Code.E_ENCODING, "The commitment or the stream is too short.")
    _limit(len(wire))
    return wire


def parse(data: bytes) -> Envelope:
    """Read an envelope's framing and header (9, 15): E_TOO_LARGE, E_VERSION, E_ENCODING, E_RECIPIENTS,
    E_EXPIRED.
    """
    _limit(len(data))
    if not data.startswith(MAGIC):
        if data.startswith(FAMILY):
            raise Refused(
                Code.E_VERSION, "This is not an envelope of version 1.", hint="Update this program."
            )
        raise Refused(Code.E_VERSION, "This is not an envelope: it begins with other bytes.")
    size = int.from_bytes(data[_AFTER_MAGIC : _AFTER_MAGIC + 4], "big")
    if size > HEADER_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"The header has more than {HEADER_BYTES_MAX} bytes.")
    at = _AFTER_MAGIC + 4 + size
    if len(data) < at + 2:
        raise Refused(Code.E_ENCODING, "The envelope ends before its stanzas: it was cut.")
    count = int.from_bytes(data[at : at + 2], "big")
    _count(count)
    end = at + 2 + count * STANZA_BYTES
    if len(data) < end + COMMITMENT_BYTES + _SMALLEST_STREAM:
        raise Refused(Code.E_ENCODING, "The envelope ends before its content: it was cut.")
    header = Header.decode(data[_AFTER_MAGIC + 4 : at])
    return Envelope(
        header=header,
        stanzas=tuple(
            [data[start : start + STANZA_BYTES] for start in range(at + 2, end, STANZA_BYTES)]
        ),
        commitment=data[end : end + COMMITMENT_BYTES],
        stream=memoryview(data)[end + COMMITMENT_BYTES :],
        wire=data,
        msg=suite.sha256(data).hex(),
    )


def _limit(size: int) -> None:
    if size > ENVELOPE_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"The envelope has {size} bytes; the limit is {ENVELOPE_BYTES_MAX}."
        )


def _count(count: int) -> None:
    if not 1 <= count <= STANZAS_MAX:
        raise Refused(
            Code.E_RECIPIENTS,
            f"The envelope is sealed for {count} devices; there must be 1 to {STANZAS_MAX}.",
        )


def padme(length: int) -> int:
    """Return the padded size of *length* bytes: Padme's rule, never below 16384 (PROTOCOL 9.2,
    claim C16).

    Padme (PETS 2019) rounds up so that the size shows no more of itself than its magnitude; at most
    12 % are added.
    """
    if length <= PADDED_BYTES_MIN:
        return PADDED_BYTES_MIN
    exponent = length.bit_length() - 1
    low = exponent - exponent.bit_length()
    mask = (1 << low) - 1
    return (length + mask) & ~mask
