"""The agenda: the days of every matter, and what is said of them once (domain: no preserved data lapse by forgetting).

::

    reminder --> `watch`                             30, 14, 7, 3, 1 days before an end; what is late; what is missing
    alarm    --> `watch` with the bell, `status`     a day before an end, while a request to extend is not answered

As with the dead man's timer (vigil), a row says only that it is time to look: what is said follows from the documents
that are here then, and each thing is said once, also over restarts and when a clock steps: the row is changed before
anybody is told. Of several reminders of one thing that are due, only the last is said.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from keys import statement
from relay.desk import frozen, phone
from relay.desk.archive import Archive
from relay.desk.aside import MATTER, Aside
from relay.desk.clock import ComparedClock
from relay.desk.duties import EMERGENCY, LEVELS, URGENT, Reminder, reminders
from relay.desk.letters import Letter
from relay.desk.matter import Matter
from relay.desk.matters import Matters
from relay.desk.notes import Notes
from relay.desk.roster import Roster
from relay.desk.sheet import both
from relay.desk.vigil import LOOK_AGAIN_S

Event = dict[str, Any]


class Agenda:
    """One timer over all matters. ``touch`` is called inside ``archive.commit()``."""

    def __init__(
        self, archive: Archive, roster: Roster, matters: Matters, notes: Notes, aside: Aside
    ) -> None:
        """Stand on the archive's shelves."""
        self._archive = archive
        self._roster = roster
        self._matters = matters
        self._notes = notes
        self._aside = aside
        self._changed = asyncio.Event()

    def touch(self, letter: Letter) -> None:
        """Take note that a message is new, or that something new is known of it."""
        self._matters.touch(letter)
        self._changed.set()

    def next_at(self) -> int | None:
        """Return when to look next, seconds UTC; None if nothing waits for its time."""
        left = self._aside.rows(MATTER)
        rows = self._archive.find("matter", "due > 0", order="due", limit=1 + len(left), columns=())
        return next((int(row["due"]) for row in rows if row["id"] not in left), None)

    def due(self, now: int) -> list[Event]:
        """Look at what is due; return what is to be told, already kept as told."""
        events: list[Event] = []
        rows = self._archive.find("matter", "due > 0 AND due <= ?", (now,), order="due", columns=())
        for row in rows:
            if not self._aside.left(MATTER, row["id"]):
                with self._aside.around(MATTER, row["id"], row["id"]):
                    events += self._look(row["id"], now)
        return events

    def _look(self, root: str, now: int) -> list[Event]:
        matter = self._matters.of(root)
        if matter is None:
            with self._archive.commit():
                self._archive.change("matter", root, {"due": 0, "open": 0, "raised": ""})
            return []
        mine = self._mine(matter, now)
        standing, reached = self._standing(mine, now), [one for one in mine if one.at <= now]
        said = self._said(root)
        fresh = [one for one in standing if one.key not in said]
        live = matter.open(now)
        clear: dict[str, int | str] = {
            "due": min((one.at for one in mine if one.at > now), default=0) if live else 0,
            "open": int(live),
            "raised": max((one.level for one in standing), key=LEVELS.index, default=""),
        }
        keys = sorted(said | {one.key for one in reached})
        with self._archive.commit():
            self._archive.change(
                "matter", root, clear, {"said": statement.encode({"said": keys}) if keys else b""}
            )
        return [self._event(matter, one, now) for one in fresh]

    def _said(self, root: str) -> set[str]:
        row = self._archive.get("matter", root)
        return set(statement.decode(row["said"])["said"]) if row and row["said"] else set()

    def _mine(self, matter: Matter, now: int) -> list[Reminder]:
        side = self._matters.side(matter)
        found = reminders(matter, self._matters.terms(matter), now)
        return [one for one in found if one.whose == side]

    @staticmethod
    def _standing(mine: list[Reminder], now: int) -> list[Reminder]:
        """Return the last reminder of each group whose time has come."""
        last: dict[str, Reminder] = {}
        for one in mine:
            if one.at <= now:
                last[one.group] = one
        return list(last.values())

    def _event(self, matter: Matter, one: Reminder, now: int) -> Event:
        msg = matter.opened.msgs[-1] if matter.opened.msgs else matter.opened.sid
        to = matter.requested if matter.requesting == self._roster.desk else matter.requesting
        text = self._text(matter, one)
        event: Event = {
            "event": "reminder",
            "level": one.level,
            "msg": msg,
            "to": to,
            "text": text,
            "at": now,
        }
        if one.level == EMERGENCY:
            numbers = frozen.numbers(self._roster.directory.desk(to)) if self._known(to) else []
            text = f"{text} Telephone: {phone.spoken(numbers)}"
            event |= {
                "event": "alarm",
                "stage": "extension",
                "priority": EMERGENCY,
                "mode": matter.mode,
                "deadline": one.about,
                "numbers": numbers,
                "text": text,
            }
        self._notes.add(now, event["event"], msg, one.level, text)
        return event

    def _known(self, desk: str) -> bool:
        return self._roster.known and desk in self._roster.directory.desks

    def _text(self, matter: Matter, one: Reminder) -> str:
        when = f" ({both(one.about, self._matters.zones(matter))})" if one.about else ""
        return f"{one.text}{when}"

    def standing(self, now: int) -> list[dict[str, Any]]:
        """Return, for `status` and `inbox`, what is urgent in open matters and not over: {"msg", "text" ...}."""
        found = []
        rows = self._archive.find("matter", "raised IN (?, ?)", (URGENT, EMERGENCY), columns=())
        for row in rows:
            matter = self._matters.of(row["id"])
            if matter is None or not matter.open(now):
                continue
            for one in self._standing(self._mine(matter, now), now):
                if one.level in {URGENT, EMERGENCY}:
                    msgs = matter.opened.msgs
                    found.append(
                        {
                            "msg": msgs[-1] if msgs else matter.opened.sid,
                            "to": matter.requested
                            if matter.requesting == self._roster.desk
                            else matter.requesting,
                            "priority": one.level,
                            "mode": matter.mode,
                            "text": self._text(matter, one),
                            "at": one.at,
                        }
                    )
        return sorted(found, key=lambda one: (one["priority"] != EMERGENCY, one["at"]))

    async def run(self, clock: ComparedClock, tell: Callable[[Event], None]) -> None:
        """Watch for ever; *tell* hears each event after it is kept."""
        self._matters.adopt()
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
