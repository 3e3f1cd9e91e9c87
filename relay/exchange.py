"""The corridor: submit, collect, record, tick. Start reading here.

All of the relay's life passes through this file, in the order of the journey. Each verb is a straight walk: parse,
verify, decide (relay.core, pure), commit (relay.store, one durable change), and only then answer or tell. A signed
``accepted`` leaves after the commit has returned, never before (PROTOCOL 11.1).

Nothing here is remembered that the store could not give again: the caches may be dropped at any instant.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from keys.directory import Directory, Member, Trusted
from keys.errors import Code, Failed, Refused
from keys.identity import Signer
from keys.statement import Statement
from relay import admission
from relay.blobs import Blobs
from relay.core import escalation, limits
from relay.core import message as law
from relay.core.events import Accepted
from relay.deadlines import Deadlines
from relay.ledger import Body, Ledger, Told, keep
from relay.meter import Meter, Unmetered
from relay.receipts import Receipts
from relay.roster import Roster
from relay.store.base import Delivery, Store, Timer
from relay.store.room import Room
from relay.wire import envelope as envelopes
from relay.wire import receipt
from relay.wire.envelope import Envelope
from relay.zones import workday_end

Charge = Callable[[str], None]
"""Is told the device (kid) of a statement that is about to be kept; raises Refused if there were too many."""


def _free(_kid: str) -> None:
    """Charge nothing."""


class Exchange:
    """The relay's verbs over one store, with one instance's evidence key."""

    def __init__(
        self,
        store: Store,
        *,
        service: str,
        instance: str,
        evidence: Signer,
        trusted: Trusted,
        tell: Callable[[Told], None] = lambda _told: None,
        meter: Meter | None = None,
        reachable: Callable[[str], Collection[str]] = lambda _desk: (),
        room: Room | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        """Assemble; *trusted* is the directory's trust anchor or a later state of it. Nothing is read before start."""
        self.store = store
        self.room = room
        """The disk: new messages are refused while it is nearly full; None where nobody watches it."""
        self.blobs = blobs  # None where no attachments are taken
        self.service = service
        self.instance = instance
        self.meter: Meter = meter or Unmetered()
        self._evidence = evidence
        self.roster = Roster(store, trusted)
        self._ledger = Ledger(store, tell, self.meter)
        self.receipts = Receipts(
            self._ledger,
            self.roster,
            service=service,
            instance=instance,
            evidence=evidence,
            meter=self.meter,
        )
        self.deadlines = Deadlines(
            self._ledger,
            self.roster,
            service=service,
            evidence=evidence,
            meter=self.meter,
            reachable=reachable,
        )

    async def start(self, now: int) -> None:
        """Take up the directory that the store holds, if it holds one."""
        await self.roster.start(now)

    def enter(self, message: law.Message) -> None:
        """Take up a message that was open before this process began: it counts towards its sender's share."""
        self._ledger.shares.enter(message)

    def stepping(self, heard: Callable[[law.Message | None, law.Message], None] | None) -> None:
        """Let *heard* know of every committed step, before and after, until it is None: while stock is taken."""
        self._ledger.stepping = heard

    def forget(self, msg: str) -> None:
        """Drop what is remembered of a message: another instance has changed it."""
        self._ledger.forget(msg)

    @property
    def directory(self) -> Directory:
        """The last verified directory; Failed while none was published."""
        return self.roster.directory

    async def publish(self, files: Mapping[str, bytes], now: int) -> int:
        """Take a newer directory in; return the version in force (PROTOCOL 8.5)."""
        return await self.roster.publish(files, now)

    def file(self, name: str) -> bytes | None:
        """Return one file of the directory in force."""
        return self.roster.files.get(name)

    async def prekeys_in(self, statements: Sequence[bytes], now: int) -> None:
        """Keep prekeys that their devices signed (PROTOCOL 8.7)."""
        await self.roster.take_prekeys(statements, now)

    async def prekeys_of(self, desk: str, now: int) -> list[bytes]:
        """Return the prekeys of a desk's active devices, valid now or later."""
        return await self.roster.prekeys_of(desk, now)

    # 1. A desk hands in an envelope (PROTOCOL 11.1 to 11.3)

    async def submit(self, submission: bytes, envelope: bytes, now: int) -> bytes:
        """Return the signed ``accepted`` of an envelope, after it is durable; the same bytes for every repeat."""
        try:
            parsed = envelopes.parse(envelope)
            statement, member = admission.submitted(submission, parsed, self.directory)
            try:
                named = statement["blobs"]
                held = await self.blobs.held(named, member.desk) if named and self.blobs else ()
                entry = admission.admit(
                    statement,
                    member,
                    parsed,
                    service=self.service,
                    directory=self.directory,
                    prekeys=self.roster.prekeys(parsed.header.to),
                    now=now,
                    held=held,
                )
                if self.room is not None:
                    self.room.check(len(envelope))
            except Refused:
                known = await self._again(statement, member, parsed.msg, now)
                if known is None:
                    raise
                return known
            return await self._accept(statement, member, parsed, entry, now)
        except Refused as refusal:
            self.meter.refused(refusal.code)
            raise

    async def _accept(
        self, submission: Statement, member: Member, envelope: Envelope, entry: str, now: int
    ) -> bytes:
        header = envelope.header
        await self._check_replaces(submission, header.sha256)
        accepted = receipt.make(
            "accepted",
            {
                "msg": envelope.msg,
                "submission": submission.sid,
                "relay": self.service,
                "instance": self.instance,
                "received": now,
                "expires": header.expires,
                "entry": entry,
            },
            self._evidence,
        )
        event = Accepted(
            msg=envelope.msg,
            sender=header.sender,
            to=header.to,
            backup=header.backup,
            priority=header.priority,
            mode=header.mode,
            created=header.created,
            ack_by=header.ack_by,
            expires=header.expires,
            size=len(envelope.wire),
            header_sha256=header.sha256,
            device=member.device_kid,
            submission=submission.sid,
            accepted=accepted.sid,
            replaces=submission["replaces"],
            at=now,
        )
        outcome = law.open_message(event, self._plan(event))
        kept = [keep(submission, envelope.msg, now), keep(accepted, envelope.msg, now)]
        answer = await self._ledger.commit(outcome, 0, kept, envelope.wire, submission["blobs"])
        if answer is None:
            known = await self._again(submission, member, envelope.msg, now)
            if known is None:
                raise Refused(
                    Code.E_BUSY, "The store changed meanwhile.", hint="Send the same again."
                )
            return known
        self._ledger.remember_body(envelope.msg, (submission.wire, accepted.wire, envelope.wire))
        self.meter.accepted(header.priority, header.mode)
        if event.replaces:
            await self.deadlines.fire(Timer(law.REPLACE, envelope.msg, 1, now), now)
        return accepted.wire

    def _plan(self, event: Accepted) -> escalation.Plan:
        """Draw the ladder from the recipient's profile of this moment; it is frozen into the message."""
        directory = self.directory
        recipient = directory.desk(event.to)
        return escalation.plan(
            recipient.profile,
            priority=event.priority,
            mode=event.mode,
            accepted=event.at,
            ack_by=event.ack_by,
            backup=event.backup,
            minimum_gap=directory.network.limits.get("minimum_gap_s", limits.MINIMUM_GAP_S),
            workday_end=workday_end(recipient.card["office"], event.at),
        )

    async def _check_replaces(self, submission: Statement, header_sha256: str) -> None:
        if not submission["replaces"]:
            return
        known = await self._ledger.load(submission["replaces"])
        if known is not None and known.message.origin.header_sha256 != header_sha256:
            raise Refused(
                Code.E_BINDING, "Only the same request, sealed anew, may replace a message."
            )

    async def _again(
        self, submission: Statement, member: Member, msg: str, now: int
    ) -> bytes | None:
        """Answer a repeat with the stored ``accepted``; keep and log another submission of it (PROTOCOL 11.2).

        Only a device of the sender repeats: whoever else holds the envelope has no part in the message's evidence.
        """
        known = await self._ledger.load(msg)
        if known is None or known.message.origin.sender != member.desk:
            return None
        await self.store.keep([keep(submission, msg, now)])
        accepted = await self.store.statement(known.message.origin.accepted)
        if accepted is None:
            raise Failed("The store holds a message without its acceptance: run relay doctor.")
        return accepted.wire

    # 2. A device asks for what waits for its desk (PROTOCOL 12)

    async def connect(self, wire: bytes, nonce: str, now: int, charge: Charge = _free) -> Member:
        """Verify a device's answer to the challenge *nonce*; return who it is.

        *charge* is called with the device once it has proven itself, and before anything is kept: it may refuse.
        """
        statement, member = admission.by_device(wire, {"connect"}, self.directory, now)
        if statement["nonce"] != nonce or statement["relay"] != self.service:
            raise Refused(
                Code.E_AUTH, "The answer belongs to another challenge or to another relay."
            )
        if statement["desk"] != member.desk:
            raise Refused(Code.E_WRONG_DESK, "The device is not one of the desk that it names.")
        admission.fresh(statement["at"], now)
        charge(member.device_kid)
        await self.store.keep([keep(statement, "", now)])
        return member

    async def collect(self, wire: bytes, now: int, charge: Charge = _free) -> list[bytes]:
        """Return submission, accepted, envelope of each message that a ``pickup`` names, in its order.

        A message that is gone, or is not this desk's, gives three empty parts; the answer ends before it is too large.
        """
        statement, member = admission.by_device(wire, {"pickup"}, self.directory, now)
        if statement["desk"] != member.desk or statement["relay"] != self.service:
            raise Refused(Code.E_WRONG_DESK, "The pickup names another desk or another relay.")
        admission.fresh(statement["at"], now)
        if len(statement["msgs"]) > limits.PICKUPS_PER_CALL_MAX:
            raise Refused(
                Code.E_TOO_LARGE, f"A pickup names at most {limits.PICKUPS_PER_CALL_MAX} messages."
            )
        charge(member.device_kid)
        await self.store.keep([keep(statement, "", now)])
        parts: list[bytes] = []
        size = 0
        for msg in statement["msgs"]:
            body = await self._body(msg, member.desk)
            size += sum(map(len, body))
            if parts and size > limits.PICKUP_ANSWER_BYTES_MAX:
                break
            parts.extend(body)
        return parts

    async def _body(self, msg: str, desk: str) -> Body:
        known = await self._ledger.load(msg)
        if known is None or desk not in known.message.readers:
            return b"", b"", b""
        return await self._ledger.body(known) or (b"", b"", b"")

    async def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return what stands in a desk's mailbox after *after*, in order; what was just written, without reading it."""
        recent = self._ledger.recent.after(self.store.epoch, desk, after, limit)
        return recent or await self.store.mailbox(desk, after, limit)

    def at_hand(self, delivery: Delivery) -> bool:
        """Whether a mailbox entry can be shown without asking the store."""
        if delivery.kind == "message":
            return self._ledger.holds(delivery.msg)
        return self._ledger.recent.statement(delivery.ref) is not None

    async def origin(self, msg: str) -> Accepted | None:
        """Return where a message came from: what a NOTIFY says of it is in its header (PROTOCOL 12)."""
        known = await self._ledger.load(msg)
        return known.message.origin if known else None

    async def statement(self, sid: str) -> bytes | None:
        """Return a kept statement's bytes."""
        wire = self._ledger.recent.statement(sid)
        if wire is not None:
            return wire
        kept = await self.store.statement(sid)
        return kept.wire if kept else None

    async def sender(self, msg: str) -> str:
        """Return the desk that sent a message, for rates; "" if there is no such message."""
        known = await self._ledger.load(msg)
        return known.message.origin.sender if known else ""

    async def offered(self, msg: str, device: str, now: int) -> None:
        """Sign that a device of the recipient was notified: the first time only (relay's word, PROTOCOL 10)."""
        known = await self._ledger.load(msg)
        if known is None or known.message.first("offered", "delivered"):
            return
        fields = {"msg": msg, "device": device, "at": now, "relay": self.service}
        await self.deadlines.attest(msg, "offered", fields, now, detail=device)

    # 3. A device or an officer signs for something (PROTOCOL 10)

    async def record(
        self, statements: Sequence[bytes], now: int, repeats: Callable[[], object] = lambda: None
    ) -> bytes:
        """Take receipts in; return the signed ``recorded`` over those that are now durable (relay.receipts)."""
        return await self.receipts.record(statements, now, repeats)

    # 4. Deadlines that have passed are acted upon

    async def tick(self, now: int) -> int:
        """Fire what is due; return how many (relay.deadlines)."""
        return await self.deadlines.tick(now)
