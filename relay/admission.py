"""Who may do what at the relay: the checks of PROTOCOL 11.3, and whose key may sign which statement. Pure.

Every function takes the directory in force and *now* (seconds UTC) as arguments and raises Refused with the code of
PROTOCOL 16; nothing here reads a clock, a store or a socket.
"""

from collections.abc import Collection, Iterable, Sequence

from keys.directory import Directory, Member
from keys.errors import Code, Refused
from keys.statement import Peeked, Statement, peek
from relay.core import limits
from relay.store.base import PrekeyRow
from relay.wire import receipt
from relay.wire.envelope import Envelope


def submitted(wire: bytes, envelope: Envelope, directory: Directory) -> tuple[Statement, Member]:
    """Verify a submission by a device that the directory lists (revoked or not), for exactly this envelope."""
    peeked = peek(wire)
    member = directory.device(peeked.keyid)
    if member is None:
        raise Refused(
            Code.E_SIGNER, "The submission is signed by a device that the directory does not list."
        )
    statement = receipt.finish(peeked, wire, {"submission"}, member.device_key)
    if statement["msg"] != envelope.msg:
        raise Refused(
            Code.E_BINDING,
            "The submission names another message than the envelope that came with it.",
        )
    return statement, member


def admit(
    submission: Statement,
    member: Member,
    envelope: Envelope,
    *,
    service: str,
    directory: Directory,
    prekeys: Iterable[PrekeyRow],
    now: int,
    held: Collection[str] = (),
) -> str:
    """Check everything that must hold before a message is accepted (PROTOCOL 11.3).

    *prekeys* are those of the recipient desk, *held* the attachments that are here and that the sender's desk has
    put. Returns the hash of the recipient's desk entry in force.
    """
    header = envelope.header
    if not member.active(now):
        raise Refused(Code.E_SIGNER, "The submission is signed by a device that was revoked.")
    if (submission["from"], submission["to"]) != (
        header.sender,
        header.to,
    ) or member.desk != header.sender:
        raise Refused(
            Code.E_BINDING,
            "The submission and the envelope's header do not name the same two desks.",
        )
    if submission["header_sha256"] != header.sha256 or submission["size"] != len(envelope.wire):
        raise Refused(
            Code.E_BINDING, "The submission does not describe this envelope's header and size."
        )
    if submission["relay"] != service:
        raise Refused(
            Code.E_BINDING, f"The submission is addressed to another relay service than {service}."
        )
    fresh(submission["created"], now)
    if header.created > now + limits.CLOCK_SKEW_S:
        raise Refused(Code.E_CLOCK, f"The message is dated in the future; the relay says {now}.")
    if header.expires <= now or header.expires > header.created + limits.EXPIRY_S_MAX:
        raise Refused(
            Code.E_EXPIRED, "The message has expired, or would live longer than seven days."
        )
    missing = [blob for blob in submission["blobs"] if blob not in held]
    if missing:
        raise absent(missing[0])
    recipient = directory.desk(header.to)
    if header.backup:
        directory.desk(header.backup)
    check_hints(envelope, recipient.active(now), prekeys, directory.version, now)
    return recipient.sha256


def absent(blob: str) -> Refused:
    """Return E_BLOB_MISSING for an attachment that is not here, or that another desk has put."""
    return Refused(
        Code.E_BLOB_MISSING,
        f"The message names the attachment {blob}, which its desk has not put here, or not in the last day.",
        hint="The desk puts the attachment (PUT /v1/blobs/…), then submits the same message again.",
    )


def check_hints(
    envelope: Envelope,
    active: Sequence[Member],
    prekeys: Iterable[PrekeyRow],
    version: int,
    now: int,
) -> None:
    """Refuse an envelope that leaves out an active device of the recipient or serves a revoked one (PROTOCOL 9.3)."""
    hints = set(envelope.hints)
    devices = {member.device_kid for member in active}
    left_out: set[str] = set()
    served: set[str] = set()
    for row in prekeys:
        if not row.not_before <= now < row.not_after:
            continue
        if row.device not in devices:
            if row.hint in hints:
                _stale("is sealed for a device that was revoked", version)
        elif row.hint in hints:
            served.add(row.device)
        elif row.received + limits.PREKEY_SETTLING_S <= now:
            left_out.add(row.device)
    if left_out - served:
        _stale("leaves out a device that is active now", version)


def _stale(why: str, version: int) -> None:
    raise Refused(
        Code.E_STALE_ROSTER,
        f"The envelope {why}; the directory in force here is version {version}.",
        hint="The desk refreshes its directory and prekeys and seals again; no officer is needed.",
    )


def by_device(
    wire: bytes,
    kinds: Collection[str],
    directory: Directory,
    now: int,
    peeked: Peeked | None = None,
) -> tuple[Statement, Member]:
    """Verify a statement by a device that is active now."""
    peeked = peeked or peek(wire)
    member = directory.device(peeked.keyid)
    if member is None or not member.active(now):
        raise Refused(
            Code.E_SIGNER,
            "The statement is signed by a device that the directory does not list as active.",
            hint="A new device is entered by its desk's management: keys enrol --accept REQUEST.",
        )
    return receipt.finish(peeked, wire, kinds, member.device_key), member


def by_officer(
    wire: bytes, peeked: Peeked, directory: Directory, now: int
) -> tuple[Statement, Member]:
    """Verify a statement by an officer who is active now, on whichever device (PROTOCOL 8.3)."""
    member = directory.officer(peeked.keyid)
    if member is None or not any(
        one.active(now) for one in directory.desk(member.desk).by_officer(peeked.keyid)
    ):
        raise Refused(
            Code.E_SIGNER,
            "The statement is signed by an officer that the directory does not list as active.",
        )
    return receipt.finish(peeked, wire, {peeked.kind}, member.officer_key), member


def fresh(at: int, now: int) -> None:
    """Refuse a time further than 300 s from the relay's, where freshness matters (PROTOCOL 12)."""
    if abs(at - now) > limits.CLOCK_SKEW_S:
        raise Refused(
            Code.E_CLOCK,
            f"The device's clock and the relay's differ by more than {limits.CLOCK_SKEW_S} s; the relay says {now}.",
            hint="Set the device's clock (timedatectl set-ntp true) and try again.",
        )
