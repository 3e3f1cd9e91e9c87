"""What can happen to a message, and what must then be done. Plain values; both lists stand side by side here.

==================  ==========================================================================================
event               source
==================  ==========================================================================================
``Accepted``        a submission that passed every check (relay), or a verified ``accepted`` (desk)
``Received``        a receipt that a desk's device or officer signed: delivered, acknowledged, closed ...
``Attested``        a statement that the relay itself signed: offered, paged, expired
``Climbed``         a stage of the ladder was reached or passed over: escalated, or exhausted at its end
``Unreached``       every page of a stage failed for good, as the pager says
``Replaced``        the sender sealed the same request anew under another message id
==================  ==========================================================================================

==================  ==========================================================================================
effect              what the corridor does with it, in the same commit
==================  ==========================================================================================
``Offer``           put the message into a desk's mailbox
``Tell``            put a statement into desks' mailboxes
``Arm``/``Disarm``  set or drop the one timer of a kind
``Waiting``         count the message in or out of a desk's undelivered ones
``Drop``            set when the envelope may be purged
``Page``            put a page to an endpoint into the outbox; ``Unpage`` takes back those not sent yet
==================  ==========================================================================================
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message enters. Fields are those of its header and submission (PROTOCOL 9.1, 10)."""

    msg: str
    sender: str
    to: str
    backup: str
    priority: str
    mode: str
    created: int
    ack_by: int
    expires: int
    size: int
    """Bytes of the envelope."""
    header_sha256: str
    device: str
    """kid of the submitting device."""
    submission: str
    accepted: str
    """sids of the two statements that prove submission and acceptance."""
    replaces: str
    at: int


@dataclass(frozen=True, slots=True)
class Received:
    """A desk's receipt, verified. *at* is what its signer claims, *received* when this side saw it."""

    kind: str
    sid: str
    desk: str
    by: str
    """kid of the signing key."""
    at: int
    received: int
    statement: str = ""
    """sid of the sealed statement that the receipt names; only who opened the message can know it."""
    detail: str = ""
    """failed: the code; closed: sid of the outcome; progress: the tier."""
    until: int = 0
    """progress: when the desk's own ladder takes its next step."""


@dataclass(frozen=True, slots=True)
class Attested:
    """A statement signed by the relay about this message."""

    kind: str
    sid: str
    at: int
    detail: str = ""
    """offered: kid of the device; paged: what became of the pages, in words."""
    stage: int = -1
    """paged: of which stage."""


@dataclass(frozen=True, slots=True)
class Climbed:
    """The ladder's stage number *stage* fired or was passed over; signed by the relay (PROTOCOL 10, 11.8)."""

    sid: str
    stage: int
    kind: str
    """path, backstop, backup, or exhausted."""
    cause: str
    at: int
    next_at: int
    """When the next stage fires if nothing happens; 0 behind the last one."""
    passed_over: bool = False
    """Whether there was nobody to turn to: nobody was paged."""


@dataclass(frozen=True, slots=True)
class Unreached:
    """No page of stage number *stage* can arrive any more: there was nobody to turn to after all (PROTOCOL 11.12)."""

    stage: int
    at: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """The sender sealed the same request anew; *by* is the new message id (PROTOCOL 9.3)."""

    by: str
    at: int


Event = Accepted | Received | Attested | Climbed | Unreached | Replaced


@dataclass(frozen=True, slots=True)
class Offer:
    """Put the message itself into a desk's mailbox."""

    desk: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Put the statement *sid* into the mailboxes of *desks*."""

    sid: str
    desks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """Set the one timer of *kind* of this message to *due*."""

    kind: str
    due: int
    generation: int


@dataclass(frozen=True, slots=True)
class Disarm:
    """Drop the timer of *kind*."""

    kind: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Count the message into (+1) or out of (-1) a desk's undelivered ones."""

    desk: str
    change: int


@dataclass(frozen=True, slots=True)
class Drop:
    """The envelope may be purged after this time."""

    after: int


@dataclass(frozen=True, slots=True)
class Page:
    """Page an endpoint *handle* of *desk* about this message; the pager knows what channel it is."""

    desk: str
    handle: str
    stage: int
    kind: str


@dataclass(frozen=True, slots=True)
class Unpage:
    """Take back the pages about this message that were not sent yet."""


Effect = Offer | Tell | Arm | Disarm | Waiting | Drop | Page | Unpage
