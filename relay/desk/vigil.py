"""The dead man's timer of the sending desk: it speaks up when nobody else does (DESIGN 5).

::

    kept -- 2 minutes --> unsent            emergency, urgent: no relay has accepted it
    kept -- deadline, and a grace --> silent   neither an acknowledgement nor the relay's `exhausted` is known

Everything else that tells a sender of silence comes from the relay. This does not: the times are drawn here, from the
recipient's profile as it was when the message went out, and the row that says "look then" is kept in the same commit
as the message. A row says only that it is time to look; what is said follows from what is proven then. Each stage is
said once, also over restarts: the row is changed before anybody is told.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from keys import statement
from keys.statement import Statement
from relay.desk import phone
from relay.desk.archive import Archive, Row
from relay.desk.aside import VIGIL, Aside
from relay.desk.clock import ComparedClock
from relay.desk.frozen import Frozen, freeze
from relay.desk.letters import Letter, Letters, Way
from relay.desk.lives import Lives, exhausted
from relay.desk.notes import Notes
from relay.desk.roster import Roster
from relay.desk.shelves import REFUSED
from relay.desk.sound import rotten

UNSENT, SILENT = "unsent", "silent"
"""Stages at which the desk speaks up."""
EXHAUSTED = "exhausted"
"""Not ours to say: the relay has spoken, and a person here has to telephone."""
UNSENT_S = 120
"""Seconds in which an emergency or an urgent message is with a relay, or this desk speaks up."""
GRACE_S = 60
"""Seconds after the deadline that the relay's own notice may take."""
LOOK_AGAIN_S = 30
"""While something is due later, the clock is read at least so often: it may step, and a machine may have slept."""
HASTY = frozenset({"emergency", "urgent"})

Event = dict[str, Any]


class Vigil:
    """Watches over every open message of this desk. ``keep`` and ``heard`` are called inside ``archive.commit()``."""

    def __init__(
        self,
        archive: Archive,
        roster: Roster,
        letters: Letters,
        lives: Lives,
        notes: Notes,
        aside: Aside,
        touch: Callable[[Letter], None] = lambda _letter: None,
    ) -> None:
        """Stand on the archive's shelves; *touch* hears of every message, inside the commit that keeps it."""
        self._touch = touch
        self._archive = archive
        self._aside = aside
        self._roster = roster
        self._letters = letters
        self._lives = lives
        self._notes = notes
        self._changed = asyncio.Event()

    # What is watched over

    def keep(self, letter: Letter) -> None:
        """Watch over a message of this desk from now on; inside the commit that keeps it."""
        self._touch(letter)
        if letter.way is Way.RECEIVED or self._archive.count("vigil", "id = ?", (letter.sid,)):
            return
        clear: dict[str, int | str] = {"due": 0, "open": 1, "raised": ""}
        frozen = self._freeze(letter, None)
        sealed = {"frozen": frozen.encode() if frozen else b"", "said": b""}
        self._archive.put("vigil", letter.sid, clear, sealed)
        self.heard(letter)

    def heard(self, letter: Letter) -> None:
        """Take note that something new is held about a message; inside the commit that keeps it."""
        self._touch(letter)
        row = self._archive.get("vigil", letter.sid)
        if row is None or not row["open"]:
            return
        accepted = self._lives.accepted(letter)
        frozen = self._freeze(letter, accepted, _frozen(row))
        clear: dict[str, int | str] = {"open": 1, "due": 0, "raised": row["raised"]}
        if self._lives.settled(letter):
            clear |= {"open": 0, "raised": ""}
        elif exhausted(self._lives.of(letter)) is not None:
            clear["raised"] = EXHAUSTED
        else:
            clear["due"] = self._next(letter, accepted, frozen, _said(row))
            if row["raised"] == EXHAUSTED or (row["raised"] == UNSENT and accepted is not None):
                clear["raised"] = ""
        sealed = {"frozen": frozen.encode()} if frozen is not None else {}
        self._archive.change("vigil", letter.sid, clear, sealed)
        self._changed.set()

    def adopt(self, now: int) -> int:
        """Watch over messages that an older archive or a backup has without a row; return how many."""
        for row in rotten(
            self._archive, "vigil"
        ):  # what it held is drawn anew; an alarm may ring twice
            with self._aside.around(VIGIL, row["id"], row["id"]), self._archive.commit():
                self._archive.change("vigil", row["id"], {}, {"frozen": b"", "said": b""})
                letter = self._letters.get(row["id"])
                if letter is not None:
                    self.heard(letter)
        if not self._roster.known:
            return 0
        known = {row["id"] for row in self._archive.find("vigil", columns=())}
        found = [
            letter
            for letter in self._letters.all(ways=(Way.SENT, Way.OWN))
            if letter.sid not in known and letter.header.expires > now
        ]
        for letter in found:
            with self._aside.around(VIGIL, letter.sid, letter.sid), self._archive.commit():
                self.keep(letter)
        return len(found)

    def frozen(self, letter: Letter) -> Frozen | None:
        """Return the recipient's profile as it was when a message went out; for one that came in, as it is now."""
        row = self._archive.get("vigil", letter.sid)
        kept = _frozen(row) if row else None
        return kept or (
            freeze(self._roster.directory, letter.header) if self._roster.known else None
        )

    def _freeze(
        self, letter: Letter, accepted: Statement | None, kept: Frozen | None = None
    ) -> Frozen | None:
        """Return what to keep: the entry that the relay used if it is at hand, else what there is."""
        now = freeze(self._roster.directory, letter.header) if self._roster.known else None
        if kept is None or (now is not None and accepted and now.entry == accepted["entry"]):
            return now
        return kept

    # When it is time to look

    def _times(
        self, letter: Letter, accepted: Statement | None, frozen: Frozen | None
    ) -> list[tuple[str, int]]:
        """Return when each stage is reached if nothing is heard, seconds UTC, in order."""
        times = []
        if accepted is None and letter.way is Way.SENT and letter.header.priority in HASTY:
            times.append((UNSENT, letter.received + UNSENT_S))
        times.append((SILENT, self._deadline(letter, accepted, frozen) + GRACE_S))
        return times

    @staticmethod
    def _deadline(letter: Letter, accepted: Statement | None, frozen: Frozen | None) -> int:
        """Return when silence must have been told: by the relay's plan, drawn here; else as the header asks."""
        header = letter.header
        if frozen is None:
            return header.ack_by or header.expires
        begun = accepted["received"] if accepted is not None else letter.received
        return frozen.plan(header, begun).deadline

    def _next(
        self, letter: Letter, accepted: Statement | None, frozen: Frozen | None, said: list[Event]
    ) -> int:
        over = {one["stage"] for one in said}
        if SILENT in over:
            return 0
        times = self._times(letter, accepted, frozen)
        return min((at for stage, at in times if stage not in over), default=0)

    def next_at(self) -> int | None:
        """Return when to look next, seconds UTC; None if nothing waits for its time."""
        left = self._aside.rows(VIGIL)
        rows = self._archive.find("vigil", "due > 0", order="due", limit=1 + len(left), columns=())
        return next((int(row["due"]) for row in rows if row["id"] not in left), None)

    # Speaking up

    def due(self, now: int) -> list[Event]:
        """Look at what is due; return what is to be told, already kept as told."""
        events = []
        where = "due > 0 AND due <= ?"
        for row in self._archive.find("vigil", where, (now,), order="due", columns=()):
            if not self._aside.left(VIGIL, row["id"]):
                with self._aside.around(VIGIL, row["id"], row["id"]):
                    letter = self._letters.get(row["id"])
                    assert letter is not None, "A message and its row are written in one commit."
                    events += self._look(letter, self._archive.get("vigil", row["id"]) or row, now)
        return events

    def _look(self, letter: Letter, row: Row, now: int) -> list[Event]:
        accepted, frozen, said = self._lives.accepted(letter), _frozen(row), _said(row)
        times = self._times(letter, accepted, frozen)
        reached = [stage for stage, at in times if at <= now]
        with self._archive.commit():
            self.heard(letter)
        row = self._archive.get("vigil", letter.sid) or row
        if not row["due"] or not reached or reached[-1] in {one["stage"] for one in said}:
            return []
        stage = reached[-1]  # after a long sleep only the gravest is said
        event = self._event(letter, stage, accepted, frozen, now)
        spoken = f"{event['text']} Telephone: {phone.spoken(event['numbers'])}"
        said.append({"stage": stage, "at": now, "text": event["text"]})
        with self._archive.commit():
            due = self._next(letter, accepted, frozen, said)
            sealed = {"said": statement.encode({"said": said})}
            self._archive.change("vigil", letter.sid, {"raised": stage, "due": due}, sealed)
        self._notes.add(now, "alarm", event["msg"], stage, spoken)
        return [{**event, "text": spoken}]

    def _event(
        self,
        letter: Letter,
        stage: str,
        accepted: Statement | None,
        frozen: Frozen | None,
        now: int,
    ) -> Event:
        header, msgs = letter.header, self._lives.msgs(letter)
        numbers, _note = phone.whom(header, frozen, accepted, self._roster.directory)
        deadline = self._deadline(letter, accepted, frozen)
        text = self._text(letter, stage, accepted)
        return {
            "event": "alarm",
            "stage": stage,
            "msg": msgs[-1] if msgs else letter.sid,
            "to": header.to,
            "priority": header.priority,
            "mode": header.mode,
            "deadline": deadline,
            "numbers": numbers,
            "text": text,
            "at": now,
        }

    def _text(self, letter: Letter, stage: str, accepted: Statement | None) -> str:
        to = letter.header.to
        if accepted is None:
            row = self._archive.get("outbox", letter.sid)
            refused = row is not None and row["state"] == REFUSED
            goes_on = "The relay refused it." if refused else "It is tried on."
            late = f"within {UNSENT_S // 60} minutes" if stage == UNSENT else "in its time"
            return f"No relay has taken this message {late}: {to} knows nothing of it. {goes_on}"
        what = "acknowledged it" if letter.header.ack_by else "received it"
        return (
            f"Its time is over: nobody at {to} is known to have {what}, and the relay has not said "
            "what became of it."
        )

    def said(self, letter: Letter) -> Event | None:
        """Return what this desk last said about a message that is still open; None if it was silent."""
        row = self._archive.get("vigil", letter.sid)
        if row is None or not row["open"] or row["raised"] not in {UNSENT, SILENT}:
            return None
        return _said(row)[-1]

    def raised(self) -> list[str]:
        """Return the statements' sids of open messages for which somebody here has to telephone."""
        return self._those("open = 1 AND raised != ''")

    def ended(self, letter: Letter) -> bool:
        """Whether the relay's ladder has ended for an open message of this desk: somebody here has to telephone."""
        row = self._archive.get("vigil", letter.sid)
        return row is not None and bool(row["open"]) and row["raised"] == EXHAUSTED

    def open(self) -> list[str]:
        """Return the statements' sids of this desk's messages that nobody has taken up yet."""
        return self._those("open = 1")

    def _those(self, where: str) -> list[str]:
        return [row["id"] for row in self._archive.find("vigil", where, columns=())]

    async def run(self, clock: ComparedClock, tell: Callable[[Event], None]) -> None:
        """Watch for ever, with one timer over all messages; *tell* hears each event after it is kept."""
        self.adopt(clock.now())
        while True:
            self._changed.clear()
            for event in self.due(clock.now()):
                tell(event)
            due = self.next_at()
            wait = None if due is None else min(LOOK_AGAIN_S, max(1, due - clock.now()))
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue


def _frozen(row: Row) -> Frozen | None:
    return Frozen.decode(row["frozen"]) if row["frozen"] else None


def _said(row: Row) -> list[Event]:
    return list(statement.decode(row["said"])["said"]) if row["said"] else []
