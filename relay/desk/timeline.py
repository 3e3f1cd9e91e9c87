"""The life of one message as this desk can prove it: re-derived from statements that it verifies here. Pure.

Nothing is taken from the relay's word. Each kept statement is verified with the directory in force, and those that
verify are replayed through the law of :mod:`relay.core.message`, the same that the relay decides with. What does not
verify, or what that law does not allow, is shown as such and counts for nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from keys.directory import Directory
from keys.errors import Refused
from keys.statement import Statement
from relay.core import message as law
from relay.core.escalation import EXHAUSTED
from relay.core.events import Accepted, Attested, Climbed, Event, Received, Replaced
from relay.core.message import Message
from relay.desk import ladder
from relay.desk.letters import Letter
from relay.desk.proof import About, Proven, prove
from relay.desk.records import Held
from relay.wire.receipt import BY_RELAY

SAYS: Mapping[str, str] = MappingProxyType(
    {
        "statement": "written and signed",
        "submission": "sealed and handed in",
        "accepted": "the relay took responsibility for it",
        "offered": "the relay says that it told a device (its word only)",
        "delivered": "opened and verified by a device",
        "failed": "a device could not open it",
        "acknowledged": "acknowledged by a person",
        "declined": "declined: not for this desk",
        "closed": "closed",
        "withdrawn": "withdrawn by its sender",
        "progress": "the desk is calling its people",
        "expired": "nobody acknowledged it before it expired",
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One step. *at*: what its signer claims; *received*: when this desk got it; both seconds UTC."""

    at: int
    received: int
    what: str
    by: str
    proof: str
    """sid of the statement that proves it."""
    msg: str
    text: str
    verified: bool
    late: bool = False
    next_at: int = 0
    """When the relay takes its next step if nothing happens; only where a step says so."""

    def as_dict(self) -> dict[str, Any]:
        """Return the line as strict JSON has it."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Life:
    """What the statements about one message id amount to. *message* is None without a proven acceptance."""

    msg: str
    message: Message | None
    lines: tuple[Line, ...] = field(repr=False)
    climbs: tuple[Statement, ...] = ()
    """The relay's signed steps that count, in order: `escalated`, and `exhausted` at the end."""
    paged: tuple[Statement, ...] = ()
    """What the relay says became of its pages, in order; a later one of a stage takes the place of an earlier."""

    @property
    def phase(self) -> str:
        """Where it stands, in one word; "" without a proven acceptance."""
        return self.message.phase.value if self.message else ""


def derive(
    letter: Letter,
    msg: str,
    held: Sequence[Held],
    directory: Directory,
    service: str,
    *,
    replaced: Replaced | None = None,
) -> Life:
    """Re-derive one message id of *letter* from what is held about it, in the order in which it came."""
    proven: list[tuple[Held, Proven]] = []
    lines: list[Line] = []
    climbs: list[Statement] = []
    paged: list[Statement] = []
    for one in held:
        if one.msg != msg:
            continue
        try:
            proven.append((one, prove(one.wire, directory, service, letter.about)))
        except Refused as refused:
            text = f"not verified, and counts for nothing: {refused.text}"
            lines.append(Line(0, one.received, one.kind, "?", one.sid, msg, text, verified=False))
    message = _begin(letter, msg, [found for _held, found in proven])
    for one, found in proven:
        note = ""
        event = _event(found, one.received)
        if message is not None and event is not None:
            try:
                message = law.step(message, event).message
            except Refused as refused:
                note = f"does not count: {refused.text}"
            if isinstance(event, Climbed) and message.holds(event.sid):
                climbs.append(found.statement)
            elif found.statement.kind == "paged" and message.holds(found.statement.sid):
                paged.append(found.statement)
        lines.append(_line(one, found, note, message))
    if message is not None and replaced is not None:
        message = law.step(message, replaced).message
    ordered = tuple(sorted(lines, key=lambda line: (line.received, line.at)))
    return Life(msg, message, ordered, tuple(climbs), tuple(paged))


def origin_line(letter: Letter) -> Line:
    """Return the first line: who wrote it."""
    by = (
        f"{letter.officer} ({letter.header.sender})"
        if letter.officer
        else f"server ({letter.header.sender})"
    )
    text = SAYS["statement"]
    if count := len(letter.statement["attachments"]):
        text += f", with {count} attachment{'s' if count > 1 else ''}"
    if letter.revoked:
        text += "; signed with a key revoked since: telephone first"
    created = letter.statement["created"]
    return Line(created, letter.received, "statement", by, letter.sid, "", text, verified=True)


def replaced_by(
    lives: Mapping[str, Sequence[Held]], msg: str, about: About, directory: Directory, service: str
) -> Replaced | None:
    """Return the re-seal that took this id's place: a submission that names it, of an id that a relay accepted."""
    for other, held in lives.items():
        if other == msg:
            continue
        found = [_proven(one, directory, service, about) for one in held]
        accepted = next((one for one in found if one is not None and one.kind == "accepted"), None)
        names = any(
            one is not None and one.kind == "submission" and one["replaces"] == msg for one in found
        )
        if accepted is not None and names:
            return Replaced(other, accepted["received"])
    return None


def state_of(lives: Sequence[Life]) -> str:
    """Return where a text stands that travelled under these ids, oldest first; "" if no relay accepted any.

    The newest id counts, unless an older one has evidence that is worth more than its own.
    """
    accepted = [life for life in lives if life.message is not None]
    if not accepted:
        return ""
    newest = accepted[-1]
    if newest.phase in {"accepted", "failed", "expired", "exhausted"}:
        for life in reversed(accepted[:-1]):
            assert life.message is not None
            best = life.message.first("closed", "acknowledged", "declined", "delivered")
            if best is not None:
                return best.kind
    return newest.phase


def _proven(one: Held, directory: Directory, service: str, about: About) -> Statement | None:
    try:
        return prove(one.wire, directory, service, about).statement
    except Refused:
        return None


def _begin(letter: Letter, msg: str, proven: Sequence[Proven]) -> Message | None:
    accepted = next((one.statement for one in proven if one.statement.kind == "accepted"), None)
    handed_in = {
        one.statement.sid: one.statement for one in proven if one.statement.kind == "submission"
    }
    if accepted is None or accepted["submission"] not in handed_in:
        return None
    submission, header = handed_in[accepted["submission"]], letter.header
    return law.open_message(
        Accepted(
            msg=msg,
            sender=header.sender,
            to=header.to,
            backup=header.backup,
            priority=header.priority,
            mode=header.mode,
            created=header.created,
            ack_by=header.ack_by,
            expires=header.expires,
            size=submission["size"],
            header_sha256=header.sha256,
            device=submission.signer,
            submission=submission.sid,
            accepted=accepted.sid,
            replaces=submission["replaces"],
            at=accepted["received"],
        )
    ).message


def _event(found: Proven, received: int) -> Event | None:
    statement = found.statement
    given = statement.fields
    if statement.kind in {"submission", "accepted"}:
        return None
    if statement.kind in {"escalated", "exhausted"}:
        return Climbed(
            statement.sid,
            given.get("stage", 0),
            given.get("kind", EXHAUSTED),
            given.get("cause", ""),
            found.at,
            given.get("next_at", 0),
        )
    if statement.kind in BY_RELAY:
        detail = given.get("device") or " ".join(given.get("outcomes", ()))
        return Attested(statement.kind, statement.sid, found.at, detail, given.get("stage", -1))
    detail = given.get("code") or given.get("outcome") or ""
    return Received(
        statement.kind,
        statement.sid,
        found.desk,
        statement.signer,
        found.at,
        received,
        given.get("statement", ""),
        str(detail),
    )


def _line(one: Held, found: Proven, note: str, message: Message | None) -> Line:
    statement, member = found.statement, found.member
    text = SAYS.get(statement.kind, statement.kind)
    if statement.kind == "escalated":
        text = ladder.step(statement.fields)
    elif statement.kind == "paged":
        text = ladder.paged(statement.fields)
    elif statement.kind == "exhausted":
        text = ladder.end(statement.fields)
    elif statement.kind == "failed":
        text += f" ({statement['code']})"
    elif statement.kind == "closed":
        text += ": answered" if statement["outcome"] else " without an answer"
    elif statement.kind == "submission" and statement["replaces"]:
        text += ", in place of an earlier copy"
    if member is not None and member.status != "active":
        text += "; the key was revoked later"
    if note:
        text += f"; {note}"
    fact = (
        next((fact for fact in message.facts if fact.sid == statement.sid), None)
        if message
        else None
    )
    late = fact.late if fact is not None else False
    if late:
        text += "; late"
    by = _name(found)
    return Line(
        found.at,
        one.received,
        statement.kind,
        by,
        statement.sid,
        one.msg,
        text,
        verified=True,
        late=late,
        next_at=statement.fields.get("next_at", 0) if statement.kind == "escalated" else 0,
    )


def _name(found: Proven) -> str:
    member, kind = found.member, found.statement.kind
    if member is None:
        return f"relay {found.statement['relay']}"
    who = member.officer or "server"
    if kind in law.MACHINE_ACTS or kind == "submission":
        return f"device of {who} ({member.desk})"
    return f"{who} ({member.desk})"
