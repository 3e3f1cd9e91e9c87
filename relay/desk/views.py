"""What people are shown: lists, one message, its history, and where it stands; all of it from verified statements."""

from collections.abc import Sequence
from typing import Any

from keys.errors import Code, Refused
from keys.statement import b64u, decode, encode
from relay.desk.letters import SETTLING, Letter, Letters, Way
from relay.desk.outbox import DONE, REFUSED, WAITING, Outbox
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.timeline import Life, derive, origin_line, replaced_by, state_of

ANSWERS = frozenset({"answer", "refusal"})
LISTED_MAX = 1000
"""Messages in one list; older ones are found by their id."""
ENCODED_BYTES_MAX = 3 * 1024 * 1024
"""A body that is larger than this as a JSON text goes in base64, so that it fits the desk's socket."""
_RANK = {"emergency": 0, "urgent": 1, "routine": 2}


class Views:
    """Reads only; every value fits strict JSON."""

    def __init__(self, roster: Roster, records: Records, letters: Letters, outbox: Outbox) -> None:
        """Stand on the desk's rooms."""
        self._roster = roster
        self._records = records
        self._letters = letters
        self._outbox = outbox

    def listed(self, *, everything: bool) -> list[dict[str, Any]]:
        """Return what needs somebody here, the most pressing first; or everything, newest first."""
        if everything:
            return [self._summary(letter) for letter in self._letters.all(limit=LISTED_MAX)]
        needing = self._letters.all(needing=True, ways=(Way.RECEIVED,))
        needing.sort(
            key=lambda one: (_RANK[one.header.priority], one.header.ack_by or one.header.expires)
        )
        return [self._summary(letter) for letter in needing]

    def _summary(self, letter: Letter) -> dict[str, Any]:
        header, stated = letter.header, letter.statement
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
            "state": self._state(letter, self._lives(letter)),
            "body_type": stated["body_type"],
            "officer": letter.officer,
            "warning": " ".join(self._warnings(letter)),
        }

    def _current(self, letter: Letter) -> str:
        """Return the message id to act on: the newest, or for what came in the newest that nobody here has settled."""
        msgs = self._msgs(letter)
        if letter.way is Way.RECEIVED:
            settled = self._records.signed(msgs, self._roster.desk, SETTLING)
            msgs = [msg for msg in msgs if msg not in settled] or msgs
        return msgs[-1] if msgs else letter.sid

    def _warnings(self, letter: Letter) -> list[str]:
        warnings = []
        if letter.revoked:
            warnings.append("Signed with a key revoked since: telephone first.")
        sending = self._outbox.get(letter.sid)
        if sending is not None and sending.stale:
            warnings.append("Sent although the directory was past its date, on an officer's word.")
        if sending is not None and sending.reason and sending.state in {WAITING, REFUSED}:
            warnings.append(f"Not sent: {sending.reason}")
        if letter.way is Way.RECEIVED and len(self._msgs(letter)) > 1:
            warnings.append(
                "Its sender sent it more than once; each copy is acknowledged by itself."
            )
        return warnings

    def page(self, letter: Letter) -> dict[str, Any]:
        """Return one whole message with its signed frame."""
        found = self._summary(letter)
        del found["warning"]
        return {
            **found,
            "header": decode(letter.header.encode()),
            "msgs": self._msgs(letter),
            "signer": letter.statement.signer,
            "created": letter.statement["created"],
            "revoked": letter.revoked,
            "warnings": self._warnings(letter),
            **_body(letter.body),
        }

    def history(self, letter: Letter) -> dict[str, Any]:
        """Return every step of a message: {"msg", "state", "lines": [...]}, oldest first, and its frame."""
        lives = self._lives(letter)
        lines = [origin_line(letter), *(line for life in lives for line in life.lines)]
        lines.sort(key=lambda line: (line.received, line.at, line.what != "statement"))
        return {
            "msg": self._current(letter),
            "statement": letter.sid,
            "thread": letter.statement["thread"],
            "from": letter.header.sender,
            "to": letter.header.to,
            "kind": letter.statement["kind"],
            "priority": letter.header.priority,
            "mode": letter.header.mode,
            "state": self._state(letter, lives),
            "lines": [line.as_dict() for line in lines],
        }

    def _lives(self, letter: Letter) -> list[Life]:
        directory, service = self._roster.directory, self._roster.service
        held = {msg: self._records.of([msg]) for msg in self._msgs(letter)}
        return [
            derive(
                letter,
                msg,
                found,
                directory,
                service,
                replaced=replaced_by(held, msg, letter.about, directory, service),
            )
            for msg, found in held.items()
        ]

    def _state(self, letter: Letter, lives: Sequence[Life]) -> str:
        """Return where a message stands: a phase of its proven life, or queued, refused, withdrawn, unproven."""
        derived = state_of(lives)
        if derived:
            return derived
        sending = self._outbox.get(letter.sid)
        if sending is None or sending.state == DONE:
            withdrawn = "withdrawn" in self._records.kinds(self._msgs(letter))
            return "withdrawn" if withdrawn else "unproven"
        return "refused" if sending.state == REFUSED else "queued"

    def step(self, letter: Letter, kind: str) -> dict[str, Any] | None:
        """Return the first verified statement of *kind* about a message, or its answer; None while there is none.

        Raises the relay's refusal if the message was refused for good.
        """
        msgs = self._msgs(letter)
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

    def _msgs(self, letter: Letter) -> list[str]:
        return [alias.msg for alias in self._letters.aliases(letter.sid)]


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
