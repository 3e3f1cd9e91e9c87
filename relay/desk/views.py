"""What people are shown: lists, one message, its history, and where it stands; all of it from verified statements."""

from collections.abc import Callable, Sequence
from typing import Any

from keys.errors import Code, Refused
from keys.statement import b64u, decode, encode
from relay.desk import attachments, ladder, phone
from relay.desk.frozen import Number
from relay.desk.letters import SETTLING, Letter, Letters, Way
from relay.desk.lives import Lives, current, exhausted, who
from relay.desk.margin import Margin
from relay.desk.outbox import Outbox
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.shelves import DONE, REFUSED, WAITING
from relay.desk.timeline import Life, origin_line, state_of
from relay.desk.vigil import Vigil

ANSWERS = frozenset({"answer", "refusal"})
CALLING = frozenset({"declined", "failed", "exhausted", "expired"})
"""States of a message of this desk in which the telephone is the way that is left."""
LISTED_MAX = 1000
"""Messages in one list; older ones are found by their id."""
ENCODED_BYTES_MAX = 3 * 1024 * 1024
"""A body that is larger than this as a JSON text goes in base64, so that it fits the desk's socket."""
_RANK = {"emergency": 0, "urgent": 1, "routine": 2}


class Views:
    """Reads only; every value fits strict JSON."""

    def __init__(
        self,
        roster: Roster,
        records: Records,
        letters: Letters,
        outbox: Outbox,
        lives: Lives,
        vigil: Vigil,
        margin: Margin,
        *,
        enclosed: Callable[[Letter], list[dict[str, Any]]],
    ) -> None:
        """Stand on the desk's rooms; *enclosed* tells how far the attachments of a message are."""
        self._roster = roster
        self._records = records
        self._letters = letters
        self._outbox = outbox
        self._lives = lives
        self._vigil = vigil
        self._margin = margin
        self._enclosed = enclosed

    def listed(self, now: int, *, everything: bool) -> list[dict[str, Any]]:
        """Return what needs somebody here, the most pressing first; or everything, newest first.

        What this desk sent needs somebody here once nobody there has acknowledged in time: he has to telephone.
        """
        if everything:
            return [self._summary(letter) for letter in self._letters.all(limit=LISTED_MAX)]
        needing = self._letters.all(needing=True, ways=(Way.RECEIVED,)) + self._unheard(now)
        needing.sort(
            key=lambda one: (_RANK[one.header.priority], one.header.ack_by or one.header.expires)
        )
        return [self._summary(letter) for letter in needing]

    def _unheard(self, now: int) -> list[Letter]:
        """Return this desk's open messages about which somebody has to telephone."""
        found = [self._letters.readable(sid) for sid in self._vigil.raised()]
        return [one for one in found if one is not None and one.header.expires > now]

    def sent(self, *, everything: bool) -> list[dict[str, Any]]:
        """Return what this desk sent and nobody has taken up yet, with its ladder; or all it sent. Newest first."""
        still = set(self._vigil.open())
        found = []
        for letter in self._letters.all(ways=(Way.SENT, Way.OWN), limit=LISTED_MAX):
            if everything or letter.sid in still:
                lives = self._lives.of(letter)
                ladder_of = {"ladder": self._ladder(letter, lives)}
                found.append(self._summary(letter, lives) | ladder_of)
        return found

    def alarms(self, now: int) -> list[dict[str, Any]]:
        """Return, for the desk's standing, each of its messages about which somebody has to telephone, and why."""
        return [
            {
                "msg": self._current(letter),
                "to": letter.header.to,
                "priority": letter.header.priority,
                "mode": letter.header.mode,
                "text": self._alarm(letter) + self._telephone(letter),
            }
            for letter in self._unheard(now)
        ]

    def _alarm(self, letter: Letter) -> str:
        """Return why somebody has to telephone about a message of this desk; "" where nobody has to."""
        said = self._vigil.said(letter)
        if said is not None:
            return str(said["text"])
        ended = exhausted(self._lives.of(letter)) if self._vigil.ended(letter) else None
        if ended is None:
            return ""
        text = ladder.end(ended.fields)
        return f"{text[0].upper()}{text[1:]}."

    def _telephone(self, letter: Letter) -> str:
        return f" Telephone: {phone.spoken(self._numbers(letter)[0])}"

    def _numbers(self, letter: Letter) -> tuple[list[Number], str]:
        frozen, accepted = self._vigil.frozen(letter), self._lives.accepted(letter)
        return phone.whom(letter.header, frozen, accepted, self._roster.directory)

    def _ladder(self, letter: Letter, lives: Sequence[Life]) -> dict[str, Any]:
        """Return where the relay's ladder stands for a message; {} without a proven acceptance."""
        life, accepted = current(lives), self._lives.accepted(letter)
        if life is None or life.message is None or accepted is None:
            return {}
        frozen = self._vigil.frozen(letter)
        plan = frozen.plan(letter.header, accepted["received"]) if frozen else None
        return ladder.standing(life.message, life.climbs, life.paged, plan)

    def _call(self, letter: Letter, lives: Sequence[Life], state: str) -> dict[str, Any]:
        """Return whom to call about a message of this desk, and what to read out; {} while nobody has to."""
        alarm = self._alarm(letter)
        if letter.way is Way.RECEIVED or not (alarm or state in CALLING):
            return {}
        ended = exhausted(lives)
        outcome = str(ended["outcome"]) if ended is not None else ""
        numbers, note = self._numbers(letter)
        return {
            "to": letter.header.to,
            "why": alarm,
            "outcome": outcome,
            "numbers": numbers,
            "note": note,
            "say": phone.sentence(letter.header, self._current(letter), self._roster.me, outcome),
        }

    def told(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return an event with whom to call, where it says that a ladder has ended for this desk's message."""
        if event.get("kind") != "exhausted" or event["event"] != "statement":
            return event
        letter = self._letters.of(event["msg"])
        if letter is None or letter.way is Way.RECEIVED:
            return event
        numbers, _note = self._numbers(letter)
        text = f"{event.get('text', '')}. Telephone: {phone.spoken(numbers)}"
        return {**event, "to": letter.header.to, "numbers": numbers, "text": text}

    def _summary(self, letter: Letter, lives: Sequence[Life] | None = None) -> dict[str, Any]:
        header, stated = letter.header, letter.statement
        lives = self._lives.of(letter) if lives is None else lives
        alarm = self._alarm(letter)
        spoken = f"{alarm}{self._telephone(letter)}" if alarm else ""
        return {
            "msg": self._current(letter),
            "statement": letter.sid,
            "thread": stated["thread"],
            "from": header.sender,
            "to": header.to,
            "kind": stated["kind"],
            "priority": header.priority,
            "mode": header.mode,
            "received": letter.received,
            "ack_by": header.ack_by,
            "expires": header.expires,
            "state": self._state(letter, lives),
            "by": {kind: desk for kind in SETTLING if (desk := who(lives, kind))},
            "body_type": stated["body_type"],
            "attachments": self._enclosed(letter),
            "officer": letter.officer,
            "warning": " ".join(self._warnings(letter, spoken)),
        }

    def _current(self, letter: Letter) -> str:
        """Return the message id to act on: the newest, or for what came in the newest that nobody here has settled."""
        msgs = self._lives.msgs(letter)
        if letter.way is Way.RECEIVED:
            settled = self._records.signed(msgs, self._roster.desk, SETTLING)
            msgs = [msg for msg in msgs if msg not in settled] or msgs
        return msgs[-1] if msgs else letter.sid

    def _warnings(self, letter: Letter, alarm: str) -> list[str]:
        warnings = [alarm] if alarm else []
        if letter.revoked:
            warnings.append("Signed with a key revoked since: telephone first.")
        sending = self._outbox.get(letter.sid)
        if sending is not None and sending.stale:
            warnings.append("Sent although the directory was past its date, on an officer's word.")
        if sending is not None and sending.reason and sending.state in {WAITING, REFUSED}:
            warnings.append(f"Not sent: {sending.reason}")
        if letter.way is Way.RECEIVED and len(self._lives.msgs(letter)) > 1:
            warnings.append(
                "Its sender sent it more than once; each copy is acknowledged by itself."
            )
        return warnings + attachments.warnings(letter.header, self._enclosed(letter))

    def page(self, letter: Letter) -> dict[str, Any]:
        """Return one whole message with its signed frame."""
        lives = self._lives.of(letter)
        found = self._summary(letter, lives)
        del found["warning"]
        return {
            "ladder": self._ladder(letter, lives),
            "call": self._call(letter, lives, found["state"]),
            **found,
            "header": decode(letter.header.encode()),
            "msgs": self._lives.msgs(letter),
            "signer": letter.statement.signer,
            "created": letter.statement["created"],
            "revoked": letter.revoked,
            "warnings": self._warnings(letter, self._alarm(letter)),
            **self._margin.beside(letter, self._lives.msgs(letter)),
            **_body(letter.body),
        }

    def history(self, letter: Letter) -> dict[str, Any]:
        """Return every step of a message: {"msg", "state", "lines": [...]}, oldest first, and its frame."""
        lives = self._lives.of(letter)
        lines = [origin_line(letter), *(line for life in lives for line in life.lines)]
        lines += self._margin.lines(letter, self._lives.msgs(letter))
        lines.sort(key=lambda line: (line.received, line.at, line.what != "statement"))
        state = self._state(letter, lives)
        return {
            "msg": self._current(letter),
            "statement": letter.sid,
            "thread": letter.statement["thread"],
            "from": letter.header.sender,
            "to": letter.header.to,
            "kind": letter.statement["kind"],
            "priority": letter.header.priority,
            "mode": letter.header.mode,
            "state": state,
            "ladder": self._ladder(letter, lives),
            "call": self._call(letter, lives, state),
            "attachments": self._enclosed(letter),
            "lines": [line.as_dict() for line in lines],
        }

    def _state(self, letter: Letter, lives: Sequence[Life]) -> str:
        """Return where a message stands: a phase of its proven life, or queued, refused, withdrawn, unproven."""
        derived = state_of(lives)
        if derived:
            return derived
        sending = self._outbox.get(letter.sid)
        if sending is None or sending.state == DONE:
            withdrawn = "withdrawn" in self._records.kinds(self._lives.msgs(letter))
            return "withdrawn" if withdrawn else "unproven"
        return "refused" if sending.state == REFUSED else "queued"

    def step(self, letter: Letter, kind: str) -> dict[str, Any] | None:
        """Return the first verified statement of *kind* about a message, or its answer; None while there is none.

        Raises the relay's refusal if the message was refused for good.
        """
        msgs = self._lives.msgs(letter)
        if kind == "answer":
            for other in self._letters.all(ways=(Way.RECEIVED, Way.OWN), since=letter.received):
                if other.statement["thread"] in msgs and other.statement["kind"] in ANSWERS:
                    return {"msg": self._current(other), "kind": kind, "statement": other.sid}
            return None
        for held in self._records.of(msgs):
            if held.verified and held.kind == kind:
                return {"msg": held.msg, "kind": kind, "statement": held.sid}
        sending = self._outbox.get(letter.sid)
        if sending is not None and sending.state == REFUSED:
            code, _colon, text = sending.reason.partition(": ")
            raise Refused(Code(code), text)
        return None


def _body(body: bytes) -> dict[str, Any]:
    """Return a body as a document, or as text, or in base64url: whatever a sender wrote, nothing of it is dropped."""
    for name, read in (("document", decode), ("text", bytes.decode)):
        try:
            found = {name: read(body)}
            # As deep as it will stand in an answer of the desk's socket: strict JSON has a bottom.
            if len(encode({"result": found})) <= ENCODED_BYTES_MAX:
                return found
        except (Refused, UnicodeDecodeError):
            continue
    return {"base64": b64u(body)}
