"""What an officer hands over is looked at as its recipient will look at it, before it is kept (PROTOCOL 9.4)."""

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import ORIGIN_BYTES_MAX, decode, peek
from relay.desk.clock import ComparedClock, wrong
from relay.desk.roster import Roster
from relay.wire import content, fields, receipt
from relay.wire.content import Opened
from relay.wire.envelope import Header
from relay.wire.receipt import ATTACHMENTS_MAX


def as_the_recipient(
    top: Header, wire: bytes, body: bytes, *, roster: Roster, device: Signer, now: int
) -> Opened:
    """Seal for a key of the moment and open it, so that this desk refuses exactly what its recipient would.

    *top*, *wire*, *body*: header, the officer's signed statement, text. Raises E_BINDING where another device was
    meant, E_SIGNER for a key that is revoked or not yet in force, and whatever opening raises.
    """
    if top.sender != roster.desk or top.dev != device.kid:
        raise Refused(
            Code.E_BINDING,
            f"The message was written for another device than this one of {roster.desk}.",
            hint="Write it again here.",
        )
    seed = suite.random_bytes(suite.SEED_BYTES)
    public = suite.prekey_public(seed)
    sealed = content.seal(top, wire, body, suite.random_bytes(suite.CEK_BYTES), [public])
    fields = {
        "msg": suite.sha256(sealed).hex(),
        "size": len(sealed),
        "from": top.sender,
        "to": top.to,
        "relay": roster.service,
        "header_sha256": top.sha256,
        "blobs": _blobs(wire),
        "replaces": "",
        "created": now,
    }
    opened = content.open_message(
        sealed,
        receipt.make("submission", fields, device).wire,
        desk=top.to,
        service=roster.service,
        seeds={suite.pkid_of(public)[: suite.HINT_BYTES]: seed},
        directory=roster.directory,
        now=now,
    )
    if opened.revoked:
        raise Refused(
            Code.E_SIGNER,
            "The directory lists this device or officer as revoked or not yet in force.",
            hint="Ask your desk's management: keys enrol.",
        )
    return opened


def check_clock(at: int, clock: ComparedClock) -> None:
    """Refuse what was signed in the future; E_CLOCK. *at* is seconds UTC."""
    now = clock.now()
    if at > now + content.CLOCK_SKEW_SECONDS:
        hint = (
            wrong(clock.offset)
            if clock.offset
            else "Check this computer's clock: timedatectl status."
        )
        raise Refused(
            Code.E_CLOCK,
            f"This was signed {at - now} s in the future.",
            hint=f"{hint} Then sign it again.",
        )


def _blobs(wire: bytes) -> list[str]:
    """Return the blobs that a statement names, before anything of it was verified; E_ENCODING for another form."""
    named = decode(peek(wire, limit=ORIGIN_BYTES_MAX).payload).get("attachments")
    if not isinstance(named, list) or len(named) > ATTACHMENTS_MAX:
        return []
    return [
        one["blob"] for one in named if isinstance(one, dict) and fields.identifier(one.get("blob"))
    ]
