"""The officer's hand at the command line: sign here, hand over to the desk, follow what becomes of it.

Each act keeps one order: read and check everything, show it, ask, open the key, sign, hand over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keys import statement, suite
from keys.errors import Code, Failed, Refused
from keys.statement import Statement
from relay import errors
from relay.desk import clock, compose, paper
from relay.desk.cli_attach import NOTHING, UPLOADING, Enclosed, carried
from relay.desk.cli_office import Office
from relay.desk.compose import Composed
from relay.desk.counter import Counter
from relay.desk.home import Home
from relay.wire.content import NONCE_BYTES
from relay.wire.envelope import Header

COPIES_MAX = 16
SEEN = "How long to look for the relay's answer. What was signed is kept and sent in any case."


@dataclass(frozen=True, slots=True)
class Hand:
    """One officer's act: the desk's settings, its counter, its device and the time of the act."""

    home: Home
    at: Counter
    device: str
    """The kid of this desk's sending device."""
    now: int

    def header(self, to: str, priority: str, mode: str, **more: Any) -> Header:
        """Return a header from this desk, now; see :func:`relay.desk.compose.header`."""
        return compose.header(
            sender=self.home.desk,
            device=self.device,
            to=to,
            priority=priority,
            mode=mode,
            now=self.now,
            **more,
        )

    def back(self, top: Mapping[str, Any]) -> Header:
        """Return the header of what goes back to the sender of *top*: no acknowledgement is asked."""
        return self.header(top["from"], top["priority"], top["mode"], ack_within=0)

    def send(
        self,
        made: Composed,
        enclosed: Enclosed = NOTHING,
        *,
        draft: str = "",
        override_stale: bool = False,
    ) -> dict[str, Any]:
        """Hand a signed message over, with what was sealed for it; it is in the outbox on return.

        *draft*: the draft that it was, which is one no longer.
        """
        handed = made.handed_over() | enclosed.handed_over() | {"draft": draft}
        sent = self.at.ask(self.at.desk.send(**handed, override_stale=override_stale))
        if enclosed.named:
            sent["attachments"] = [dict(one) for one in enclosed.named]
        return sent

    def record(self, act: Statement) -> dict[str, Any]:
        """Hand a signed statement over; it is kept on return."""
        return self.at.ask(self.at.desk.record(statement.b64u(act.wire)))


def reached(office: Office, settings: Home, at: Counter) -> Hand:
    """Reach for the relay; the time is this machine's, corrected where the relay's differs."""
    at.link(office.wait)
    found = at.ask(at.desk.status())
    offset = int(found.get("clock_offset", 0))
    if offset:
        office.say(f"Warning: {clock.wrong(offset)} The relay's time is used.")
    return Hand(settings, at, str(found["device"]), office.clock.now() + offset)


def nonce() -> bytes:
    """Return the 16 random bytes that make a statement's id unguessable (PROTOCOL 10.1)."""
    return suite.random_bytes(NONCE_BYTES)


def follow(
    office: Office,
    at: Counter,
    found: dict[str, Any],
    *,
    until: str = "accepted",
    lines: tuple[str, ...] = (),
) -> None:
    """Wait until the relay has a message, print *found* with its state; 75 where it is still out."""
    if found.get("attachments"):
        carried(office, at, str(found["msg"]), UPLOADING)
    seen = _awaited(office, at, str(found["msg"]), until)
    # Sealed only now, or sealed anew meanwhile: the id under which the relay has it counts.
    msg = str(seen["msg"] if seen and until != "answer" else found["msg"])
    name = paper.short(msg)
    office.data(found | {"msg": msg, "state": until if seen else "queued"}, lines or (msg,))
    if seen:
        office.say(f"{name}: {until}. Follow it with: desk timeline {name}")
        return
    goes_on = (
        "The running desk goes on trying."
        if at.served
        else "It is sent when a desk runs: type desk serve."
    )
    within = f" within {office.wait:g} s" if office.wait else ""
    raise Failed(
        f"{name} is signed and kept in the outbox, but not {until} yet{within}.",
        hint=f"Do not send it again. {goes_on} See: desk timeline {name}",
        exit_code=errors.TRY_AGAIN,
    )


def _awaited(office: Office, at: Counter, msg: str, kind: str) -> dict[str, Any] | None:
    try:
        return at.ask(at.desk.wait(msg, kind, office.wait))
    except Failed as late:
        if late.exit_code != errors.TRY_AGAIN:
            raise
        return None


def settle(me: Hand, found: Mapping[str, Any], make: Callable[[str], Statement]) -> list[Statement]:
    """Sign and hand over an act on a message, once for each copy that came; return the acts.

    A sender may have sealed a text anew; each id of it has a ladder of its own (PROTOCOL 9.4).
    """
    acts: dict[str, Statement] = {}
    while found["msg"] not in acts and len(acts) < COPIES_MAX:
        act = make(found["msg"])
        me.record(act)
        acts[found["msg"]] = act
        found = me.at.ask(me.at.desk.show(found["statement"]))
    return list(acts.values())


def incoming(at: Counter, msg: str, mine: str) -> dict[str, Any]:
    """Return an opened message that came to this desk; E_WRONG_DESK for one that it sent."""
    found = at.ask(at.desk.show(msg))
    name = paper.short(found["msg"])
    if found["header"]["from"] == mine:
        raise Refused(
            Code.E_WRONG_DESK,
            f"{name} was sent by this desk, not to it.",
            hint=f"To take it back: desk withdraw {name} --reason CODE",
        )
    return found


def outgoing(at: Counter, msg: str, mine: str) -> dict[str, Any]:
    """Return a message that this desk sent; E_WRONG_DESK for one that came to it."""
    found = at.ask(at.desk.show(msg))
    name = paper.short(found["msg"])
    if found["header"]["from"] != mine:
        raise Refused(
            Code.E_WRONG_DESK,
            f"{name} was sent to this desk; only its sender can withdraw it.",
            hint=f"To turn it away: desk decline {name} --reason TEXT",
        )
    return found


def asked_in(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the document of a message if it is one, for the rules of what follows it."""
    content = found.get("document")
    return content if isinstance(content, Mapping) else None
