"""Requests and receipts of a whole network, for tests of the corridor, the door and the journeys.

Built on ``builders_keys.World``: everything here is signed and sealed by the real functions.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from builders_keys import World

from keys import suite
from keys.directory import begin
from keys.identity import Signer
from keys.statement import Statement
from relay.core.message import Message
from relay.exchange import Exchange
from relay.ledger import Told
from relay.store.base import Store
from relay.wire import content, receipt
from relay.wire.envelope import Header

BODY = b'{"please":"keep the logs"}'
BODY_TYPE = "application/vnd.poc24.document.preservation_request.v1+json"


@dataclass(frozen=True)
class Letter:
    """A sealed request with everything that it was made of."""

    header: Header
    statement: Statement
    cek: bytes
    envelope: bytes
    submission: Statement

    @property
    def msg(self) -> str:
        """The message id."""
        return suite.sha256(self.envelope).hex()


def header_of(world: World, now: int, **changes: Any) -> Header:
    """Return the header of an urgent request from VN to AU, with AU-B as backup."""
    plain = Header(
        ack_by=now + 3600,
        backup="AU-B",
        created=now,
        dev=world.device("VN").kid,
        expires=now + 86_400,
        sender="VN",
        mode="actual",
        priority="urgent",
        to="AU",
    )
    return replace(plain, **changes)


def recipients(world: World, header: Header, now: int) -> list[bytes]:
    """Return the prekeys that an honest sender seals for (PROTOCOL 9.3)."""
    desks = [header.to, header.sender, *([header.backup] if header.backup else [])]
    return [prekey.key for desk in desks for prekey in world.current_prekeys(desk, now)]


def letter_of(
    world: World,
    now: int,
    *,
    body: bytes = BODY,
    nonce: str = "",
    prekeys: list[bytes] | None = None,
    officer: Signer | None = None,
    **changes: Any,
) -> Letter:
    """Seal a request as VN's first officer and device do; *nonce* tells otherwise equal requests apart."""
    header = header_of(world, now, **changes)
    statement = content.originate(
        header,
        kind="request",
        body_type=BODY_TYPE,
        body=body,
        thread="",
        nonce=suite.sha256(nonce.encode())[:16],
        created=now,
        officer=officer or world.signer(header.sender),
    )
    cek = suite.random_bytes(32)
    keys = recipients(world, header, now) if prekeys is None else prekeys
    sealed = content.seal(header, statement.wire, body, cek, keys)
    return Letter(header, statement, cek, sealed, submission_of(world, header, sealed, now))


def submission_of(
    world: World,
    header: Header,
    sealed: bytes,
    now: int,
    *,
    by: Signer | None = None,
    **changes: Any,
) -> Statement:
    """Return the device's proof of submission; *changes* are what a liar would write."""
    fields: dict[str, Any] = {
        "msg": suite.sha256(sealed).hex(),
        "size": len(sealed),
        "from": header.sender,
        "to": header.to,
        "relay": world.service,
        "header_sha256": header.sha256,
        "blobs": [],
        "replaces": "",
        "created": now,
    }
    return receipt.make_unchecked_role(
        "submission", {**fields, **changes}, by or world.device(header.sender)
    )


def receipt_of(
    world: World, kind: str, letter: Letter, signed_at: int, *, desk: str = "AU", **changes: Any
) -> Statement:
    """Return a receipt by the desk's first device or officer, as its kind wants."""
    fields: dict[str, Any] = {
        "msg": letter.msg,
        "statement": letter.statement.sid,
        "desk": desk,
        "at": signed_at,
    }
    if kind == "withdrawn":
        del fields["desk"]
    elif kind == "failed":
        del fields["statement"]
        fields["code"] = "E_DECRYPT"
    elif kind == "closed":
        fields["outcome"] = ""
    machine = kind in ("delivered", "failed", "progress")
    signer = world.device(desk) if machine else world.signer(desk)
    return receipt.make(kind, {**fields, **changes}, signer)


def by_relay(
    world: World, letter: Letter, kind: str, signed_at: int, /, **changes: Any
) -> Statement:
    """Return a statement of the relay about a letter; *changes* are further fields, or what a liar would write."""
    fields: dict[str, Any] = {"msg": letter.msg, "relay": world.service, "at": signed_at}
    if kind == "accepted":
        entry = world.directory(signed_at).desk(letter.header.to).sha256
        del fields["at"]
        fields |= {
            "submission": letter.submission.sid,
            "instance": world.instance,
            "received": signed_at,
            "expires": letter.header.expires,
            "entry": entry,
        }
    elif kind == "escalated":
        fields |= {"stage": 0, "kind": "path", "cause": "timeout", "next_at": signed_at + 300}
    elif kind == "paged":
        fields |= {"stage": 0, "pages": 1, "outcomes": ["sent"]}
    elif kind == "exhausted":
        fields |= {"stages": [], "outcome": "silence"}
    return receipt.make_unchecked_role(kind, {**fields, **changes}, world.evidence)


def pickup_of(
    world: World, msgs: list[str], at: int, *, desk: str = "AU", by: Signer | None = None
) -> bytes:
    """Return a device's signed wish to have the bytes of messages."""
    fields = {"msgs": msgs, "desk": desk, "relay": world.service, "at": at}
    return receipt.make_unchecked_role("pickup", fields, by or world.device(desk)).wire


async def relay_of(
    world: World,
    store: Store,
    now: int,
    *,
    told: list[Told] | None = None,
    prekeys: bool = True,
    start: bool = True,
    reachable: Collection[str] = (),
) -> Exchange:
    """Start a corridor on *store* that was given the world's directory and, in good time, its prekeys.

    *reachable* are the endpoint handles that it can page, of every desk.
    """
    if start:
        await store.start(now)
    exchange = Exchange(
        store,
        service=world.service,
        instance=world.instance,
        evidence=world.evidence,
        trusted=begin(world.root),
        tell=told.append if told is not None else lambda _told: None,
        reachable=lambda _desk: reachable,
    )
    await exchange.start(now)
    if not exchange.roster.published:
        await exchange.publish(world.files, world.now)
    if prekeys:
        for desk in exchange.directory.desks:
            await exchange.prekeys_in(world.prekeys(desk), max(world.now, now - 601))
    return exchange


async def state_of(exchange: Exchange, msg: str) -> Message:
    """Return a message as the store has it."""
    stored = await exchange.store.load(msg)
    assert stored is not None
    return Message.decode(stored.state)
