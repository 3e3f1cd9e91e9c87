"""Whose word a statement is: every one that a desk believes was verified here, never taken from the relay (DESIGN 4).

A statement by a device or an officer counts if the directory lists the key, the member was in force at the time that
the statement claims, and the desk has that part in the message. A statement by the relay counts if its key is an
instance of the service. What a statement says of the message (its statement's sid, its desks) must be what the sealed
message itself says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keys import suite
from keys.directory import DeskEntry, Directory, Member
from keys.errors import Code, Refused
from keys.statement import Peeked, Statement, peek
from relay.core.message import MACHINE_ACTS
from relay.wire import receipt
from relay.wire.envelope import Header

ABOUT_A_MESSAGE = receipt.RECEIPTS | receipt.BY_RELAY - {"recorded"} | {"submission"}
"""The kinds that a desk keeps with a message and shows in its timeline."""


@dataclass(frozen=True, slots=True)
class About:
    """What this desk knows of a message from having opened it or written it."""

    sender: str
    to: str
    backup: str
    statement: str
    """sid of the sealed statement."""
    header_sha256: str

    @classmethod
    def of(cls, header: Header, sid: str) -> "About":
        """Return what a header and the statement's sid say."""
        return cls(header.sender, header.to, header.backup, sid, header.sha256)


@dataclass(frozen=True, slots=True)
class Proven:
    """A verified statement and who made it. *desk* is "" for the relay; *member* None likewise."""

    statement: Statement
    desk: str
    member: Member | None
    bound: bool
    """Whether it was compared with the message itself, which this desk must have opened for that."""

    @property
    def at(self) -> int:
        """The time that its signer claims, seconds UTC."""
        return claimed(self.statement.fields)


def claimed(fields: Mapping[str, Any]) -> int:
    """Return the time that a statement about a message claims."""
    for name in ("at", "received", "created"):
        if name in fields:
            return int(fields[name])
    return 0


def prove(wire: bytes, directory: Directory, service: str, about: About | None) -> Proven:
    """Verify a statement about a message; *about* None where this desk could not open the message.

    Raises Refused: E_TYPE for another kind, E_SIGNER for a key that is not listed, was not in force or has no part in
    the message, E_BINDING for a statement about another text, and what ``relay.wire.receipt.finish`` raises.
    """
    peeked = peek(wire)
    if peeked.kind not in ABOUT_A_MESSAGE:
        raise Refused(Code.E_TYPE, f"A statement of kind {peeked.kind!r} is not about a message.")
    if peeked.kind in receipt.BY_RELAY:
        found, member = by_relay(wire, {peeked.kind}, directory, service, peeked), None
    elif peeked.kind in MACHINE_ACTS or peeked.kind == "submission":
        found, member = _by_device(wire, peeked, directory)
    else:
        found, member = _by_officer(wire, peeked, directory)
    desk = member.desk if member else ""
    if found.fields.get("desk", desk) != desk:
        raise Refused(
            Code.E_SIGNER, "The signer does not belong to the desk that the statement names."
        )
    if about is not None:
        _bind(found, desk, about)
    return Proven(found, desk, member, about is not None)


def by_relay(
    wire: bytes, kinds: set[str], directory: Directory, service: str, peeked: Peeked | None = None
) -> Statement:
    """Verify a statement by an instance of *service*; E_SIGNER for another key, E_BINDING for another relay's name."""
    peeked = peeked or peek(wire)
    known = directory.network.services.get(service)
    for instance in known.instances if known else ():
        if suite.kid_of(instance.evidence_key) == peeked.keyid:
            found = receipt.finish(peeked, wire, kinds, instance.evidence_key)
            named = found.fields.get("instance", instance.origin)
            if found.fields.get("relay") != service or named != instance.origin:
                raise Refused(
                    Code.E_BINDING, "The relay's statement names another relay or another instance."
                )
            return found
    raise Refused(
        Code.E_SIGNER, f"The statement is signed by a key that is not one of the relay {service}."
    )


def _by_device(wire: bytes, peeked: Peeked, directory: Directory) -> tuple[Statement, Member]:
    member = directory.device(peeked.keyid)
    if member is None:
        raise Refused(Code.E_SIGNER, "The statement is signed by a device that is not listed.")
    found = receipt.finish(peeked, wire, {peeked.kind}, member.device_key)
    if not member.was_active(claimed(found.fields)):
        raise Refused(Code.E_SIGNER, "The device that signed was not in force at that time.")
    return found, member


def _by_officer(wire: bytes, peeked: Peeked, directory: Directory) -> tuple[Statement, Member]:
    first = directory.officer(peeked.keyid)
    if first is None:
        raise Refused(Code.E_SIGNER, "The statement is signed by an officer who is not listed.")
    found = receipt.finish(peeked, wire, {peeked.kind}, first.officer_key)
    entry: DeskEntry = directory.desk(first.desk)
    for member in entry.by_officer(peeked.keyid):
        if member.was_active(claimed(found.fields)):
            return found, member
    raise Refused(Code.E_SIGNER, "The officer who signed was not in force at that time.")


def _bind(found: Statement, desk: str, about: About) -> None:
    """Refuse a statement whose signer has no part in the message, or that is about another text."""
    kind = found.kind
    if kind in {"withdrawn", "submission"}:
        allowed: tuple[str, ...] = (about.sender,)
    elif kind in receipt.RECEIPTS:
        allowed = (about.to, about.backup) if about.backup else (about.to,)
    else:
        return
    if desk not in allowed:
        raise Refused(
            Code.E_SIGNER, f"Desk {desk} has no part in this message that allows {kind!r}."
        )
    if found.fields.get("statement", about.statement) != about.statement:
        raise Refused(
            Code.E_BINDING, f"This {kind!r} is about another text than the message holds."
        )
    if found.fields.get("header_sha256", about.header_sha256) != about.header_sha256:
        raise Refused(Code.E_BINDING, "The submission is of an envelope with another header.")
