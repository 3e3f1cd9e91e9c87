"""Desks, letters and forgeries for the tests of what travels: small, fixed, and made without
keys.ceremony.

:func:`seal_anything` is a second writing of PROTOCOL 9.2 that checks nothing: what a hostile sender
would run.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from keys import statement, suite
from keys.directory import DeskEntry, Directory, Member, Network
from keys.identity import Role, Signer
from keys.statement import Statement
from relay.wire import content, envelope, receipt
from relay.wire.content import Opened
from relay.wire.envelope import Header

NOW = 1_800_000_000
SERVICE = "poc24-demo"
BODY_TYPE = "application/vnd.poc24.preservation_request.v1+json"
BODY = b'{"please":"keep the logs"}'
DAY = 86_400


def seed(name: str) -> bytes:
    """Return 32 fixed bytes for a name."""
    return hashlib.sha256(b"poc24 test seed: " + name.encode()).digest()


def device(name: str) -> Signer:
    """Return the device key of a member such as ``vn-01``."""
    return Signer(Role.DEVICE, seed(f"{name} device"))


def officer(name: str) -> Signer:
    """Return the officer key of a member such as ``vn-01``."""
    return Signer(Role.OFFICER, seed(f"{name} officer"))


def relay_signer() -> Signer:
    """Return the evidence key of the relay."""
    return Signer(Role.RELAY, seed("relay"))


def prekey_seed(name: str) -> bytes:
    """Return the prekey seed of a member's device."""
    return seed(f"{name} prekey")


@lru_cache
def prekey(name: str) -> bytes:
    """Return the public prekey of a member's device."""
    return suite.prekey_public(prekey_seed(name))


def seeds_of(*names: str) -> dict[bytes, bytes]:
    """Return hint -> seed, as a device holds them."""
    return {suite.pkid_of(prekey(name))[: suite.HINT_BYTES]: prekey_seed(name) for name in names}


def member(name: str, **changes: Any) -> Member:
    """Return the member entry of ``vn-01``; a name that ends in ``server`` has no officer."""
    values: dict[str, Any] = {
        "desk": name.split("-", maxsplit=1)[0].upper(),
        "officer": "" if name.endswith("server") else name,
        "officer_key": b"" if name.endswith("server") else officer(name).public,
        "device_key": device(name).public,
        "status": "active",
        "since": 0,
        "until": 0,
    }
    return Member(**{**values, **changes})


def entry(desk: str, *members: Member) -> DeskEntry:
    """Return a desk entry that holds *members*."""
    return DeskEntry(
        desk=desk,
        members=members,
        archive=b"",
        profile={},
        card={},
        serves=(),
        sha256=seed(f"entry of {desk}").hex(),
        by_kid={one.device_kid: one for one in members},
    )


def directory(*entries: DeskEntry) -> Directory:
    """Return a directory that holds *entries*."""
    members = [one for each in entries for one in each.members]
    return Directory(
        network=Network(services={}, limits={}, floor={}, raw={}),
        desks={one.desk: one for one in entries},
        version=1,
        expires=NOW + DAY,
        held={},
        faulty={},
        devices={one.device_kid: one for one in members},
        officers={one.officer_kid: one for one in members if one.officer_kid},
    )


def three_desks() -> Directory:
    """Return VN (two officers and a server), AU (two officers) and FR (one)."""
    return directory(
        entry("VN", member("vn-01"), member("vn-02"), member("vn-server")),
        entry("AU", member("au-01"), member("au-02")),
        entry("FR", member("fr-01")),
    )


def header(**changes: Any) -> Header:
    """Return the header of an urgent message from VN's first device to AU."""
    values: dict[str, Any] = {
        "ack_by": NOW + 3600,
        "backup": "",
        "created": NOW,
        "dev": device("vn-01").kid,
        "expires": NOW + DAY,
        "sender": "VN",
        "mode": "actual",
        "priority": "urgent",
        "to": "AU",
    }
    return Header(**{**values, **changes})


def origin(of: Header, *, by: Signer | None = None, body: bytes = BODY, **changes: Any) -> bytes:
    """Return a statement of origin for a header; *changes* are what a liar writes into it."""
    values = {
        "kind": "request",
        "from": of.sender,
        "to": of.to,
        "header_sha256": of.sha256,
        "body_type": BODY_TYPE,
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "attachments": [],
        "thread": "",
        "nonce": seed("nonce")[:16].hex(),
        "created": of.created,
    }
    return statement.make("statement", {**values, **changes}, by or officer("vn-01")).wire


def hand_in(sealed: bytes, of: Header, *, by: Signer | None = None, **changes: Any) -> bytes:
    """Return a submission of an envelope; *changes* are what a liar writes into it."""
    values = {
        "msg": hashlib.sha256(sealed).hexdigest(),
        "size": len(sealed),
        "from": of.sender,
        "to": of.to,
        "relay": SERVICE,
        "header_sha256": of.sha256,
        "blobs": [],
        "replaces": "",
        "created": of.created,
    }
    return statement.make("submission", {**values, **changes}, by or device("vn-01")).wire


def plaintext(stated: bytes, body: bytes = BODY, *, size: int | None = None) -> bytes:
    """Return what is sealed; *size* is a padded length of a liar's choice."""
    plain = b"".join(len(one).to_bytes(4, "big") + one for one in (stated, body))
    return plain.ljust(envelope.padme(len(plain)) if size is None else size, b"\0")


def derive(cek: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    """Return payload key and commitment: RFC 5869 by hand."""
    extracted = hmac.digest(hashlib.sha256(prefix).digest(), cek, "sha256")
    first = hmac.digest(extracted, b"poc24/1 payload\n\x01", "sha256")
    return first, hmac.digest(extracted, first + b"poc24/1 payload\n\x02", "sha256")


def stanza(name: str, cek: bytes, of: Header) -> bytes:
    """Return one stanza for a member's prekey."""
    public = prekey(name)
    info = b"poc24/1 wrap\n" + bytes.fromhex(of.sha256)
    return suite.pkid_of(public)[:8] + suite.wrap(public, cek, info)


def seal_anything(
    of: Header,
    plain: bytes,
    names: Sequence[str] = ("au-01", "au-02", "vn-01"),
    *,
    cek: bytes = seed("cek"),
    stanzas: Sequence[bytes] | None = None,
    commitment: bytes | None = None,
    stream_key: bytes | None = None,
) -> bytes:
    """Seal any plaintext under any header, with any part replaced."""
    made = [stanza(name, cek, of) for name in names] if stanzas is None else stanzas
    prefix = envelope.prefix_of(of, made)
    key, committed = derive(cek, prefix)
    return prefix + (commitment or committed) + suite.seal_content(stream_key or key, plain)


@dataclass(frozen=True, slots=True)
class Letter:
    """An envelope with its submission, and what it was made of."""

    header: Header
    envelope: bytes = field(repr=False)
    submission: bytes = field(repr=False)
    statement: bytes = field(repr=False)


def letter(
    of: Header | None = None,
    *,
    names: Sequence[str] = ("au-01", "au-02", "vn-01"),
    stated: bytes | None = None,
    body: bytes = BODY,
    by_officer: Signer | None = None,
    by_device: Signer | None = None,
) -> Letter:
    """Return an honest letter from VN to AU, or one with the parts given."""
    head = of or header()
    signed = stated or origin(head, by=by_officer, body=body)
    sealed = content.seal(head, signed, body, seed("cek"), [prekey(name) for name in names])
    return Letter(head, sealed, hand_in(sealed, head, by=by_device), signed)


def open_at(
    sealed: bytes,
    submission: bytes,
    *,
    at: str = "au-01",
    known: Directory | None = None,
    now: int = NOW + 5,
    service: str = SERVICE,
) -> Opened:
    """Open on a member's device, as the inbox does."""
    return content.open_message(
        sealed,
        submission,
        desk=at.split("-", maxsplit=1)[0].upper(),
        service=service,
        seeds=seeds_of(at),
        directory=known or three_desks(),
        now=now,
    )


# Receipts


def values_of(kind: str, /, **changes: Any) -> dict[str, Any]:
    """Return acceptable fields of any kind of statement."""
    some, other = seed("some id").hex(), seed("another id").hex()
    every: dict[str, Any] = {
        "statement": {
            "kind": "request",
            "from": "VN",
            "to": "AU",
            "header_sha256": some,
            "body_type": BODY_TYPE,
            "body_sha256": other,
            "attachments": [
                {
                    "name": "a.pdf",
                    "media_type": "application/pdf",
                    "size": 9,
                    "sha256": some,
                    "blob": other,
                }
            ],
            "thread": "",
            "nonce": some[:32],
            "created": NOW,
        },
        "submission": {
            "msg": some,
            "size": 18_000,
            "from": "VN",
            "to": "AU",
            "relay": SERVICE,
            "header_sha256": other,
            "blobs": [],
            "replaces": "",
            "created": NOW,
        },
        "accepted": {
            "msg": some,
            "submission": other,
            "relay": SERVICE,
            "instance": "relay.example/poc24-1",
            "received": NOW,
            "expires": NOW + DAY,
            "entry": some,
        },
        "recorded": {
            "sids": [some, other],
            "relay": SERVICE,
            "instance": "relay.example/poc24-1",
            "at": NOW,
        },
        "offered": {"msg": some, "device": other, "at": NOW, "relay": SERVICE},
        "escalated": {
            "msg": some,
            "relay": SERVICE,
            "stage": 1,
            "kind": "path",
            "cause": "timeout",
            "at": NOW,
            "next_at": NOW + 60,
        },
        "paged": {
            "msg": some,
            "relay": SERVICE,
            "stage": 1,
            "pages": 2,
            "outcomes": ["sent", "failed_temp"],
            "at": NOW,
        },
        "exhausted": {
            "msg": some,
            "relay": SERVICE,
            "stages": [{"stage": 1, "at": NOW, "pages": 2, "outcomes": ["no_answer"]}],
            "outcome": "silence",
            "at": NOW,
        },
        "pickup": {"msgs": [some, other], "desk": "AU", "relay": SERVICE, "at": NOW},
        "delivered": {"msg": some, "statement": other, "desk": "AU", "at": NOW},
        "failed": {"msg": some, "desk": "AU", "code": "E_DECRYPT", "at": NOW},
        "acknowledged": {"msg": some, "statement": other, "desk": "AU", "at": NOW},
        "declined": {"msg": some, "statement": other, "desk": "AU", "at": NOW},
        "withdrawn": {"msg": some, "statement": other, "at": NOW},
        "closed": {"msg": some, "statement": other, "outcome": "", "desk": "AU", "at": NOW},
        "progress": {"msg": some, "desk": "AU", "tier": 1, "next_at": NOW + 60, "at": NOW},
        "expired": {"msg": some, "relay": SERVICE, "at": NOW},
        "page": {
            "relay": SERVICE,
            "desk": "AU",
            "code": "K4T7QX",
            "priority": "urgent",
            "mode": "actual",
            "count": 1,
            "oldest": 0,
            "repeat": 0,
            "language": "en",
            "text": "URGENT request waits. Code K4T7QX",
            "pad": "....",
            "at": NOW,
        },
        "connect": {"nonce": some, "relay": SERVICE, "desk": "AU", "at": NOW},
    }
    return {**every[kind], **changes}


def signer_of(kind: str) -> Signer:
    """Return a key of the role that signs *kind*."""
    role = receipt.KINDS[kind].role
    return {Role.OFFICER: officer("au-01"), Role.DEVICE: device("au-01")}.get(role, relay_signer())


def receipt_of(kind: str, /, **changes: Any) -> Statement:
    """Return a signed statement of *kind*."""
    return receipt.make(kind, values_of(kind, **changes), signer_of(kind))


def forge(
    payload: bytes,
    *,
    kind: str = "delivered",
    by: Signer | None = None,
    keyid: str | None = None,
    payload_type: str | None = None,
    signature: bytes | None = None,
    outer: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a DSSE envelope over any payload, with any part of it a lie; the signature is right
    unless given.
    """
    signer = by or device("au-01")
    name = payload_type or f"application/vnd.poc24.{kind}.v1+json"
    signed = b"DSSEv1 %d %s %d %s" % (len(name), name.encode(), len(payload), payload)
    value = {
        "payload": statement.b64u(payload),
        "payloadType": name,
        "signatures": [
            {"keyid": keyid or signer.kid, "sig": statement.b64u(signature or signer.sign(signed))}
        ],
    }
    return dumps({**value, **(outer or {})})


def dumps(value: object) -> bytes:
    """Return JSON in the one encoding, without any check."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
