"""What stands in the relay's mailbox, taken in entry by entry: fetched, opened or verified, kept.

::

    entries -> pickup -> inbox (copies), intake (statements)        each durable before the next has its turn

An entry that this program cannot take in through a fault of its own is laid by and set aside (relay.desk.aside): it
never stands before the next one, and no process meets it as the first thing of its life.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keys.errors import Code, Refused
from keys.identity import Signer
from relay.desk.aside import MAILBOX, PARKED, STATEMENT, Aside, ours
from relay.desk.clock import ComparedClock
from relay.desk.inbox import Copy, Inbox, Taken
from relay.desk.intake import Intake
from relay.desk.notes import Notes
from relay.desk.roster import Roster, TurnedDown
from relay.desk.session import Session
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type

BUSY_AGAIN_S = 5
RETRY_LATER = frozenset({Code.E_BUSY, Code.E_RATE, Code.E_AUTH})

Event = dict[str, Any]


class Mailroom:
    """The way in of one device, over whichever session is open."""

    def __init__(
        self,
        clock: ComparedClock,
        roster: Roster,
        inbox: Inbox,
        intake: Intake,
        notes: Notes,
        aside: Aside,
        device: Signer,
        tell: Callable[[Event], None],
    ) -> None:
        """Stand on the desk's rooms; *tell* hears every event."""
        self._clock = clock
        self._roster = roster
        self._inbox = inbox
        self._intake = intake
        self._notes = notes
        self._aside = aside
        self._device = device
        self._tell = tell

    async def take(
        self, session: Session, epoch: int, entries: Sequence[tuple[int, Frame, dict[str, Any]]]
    ) -> bool:
        """Take (seq, push, its place) in, in order; return whether a copy parked: a newer directory may help it."""
        announced = [place["msg"] for _seq, frame, place in entries if frame.type is Type.NOTIFY]
        copies = await self.pick_up(session, [msg for msg in announced if self._lacks(msg)])
        parked = False
        for seq, frame, place in entries:
            msg = place["msg"]
            with self._aside.around(MAILBOX, f"{epoch}.{seq}", msg):
                if frame.type is Type.NOTIFY:
                    copy = copies.get(msg)
                    parked |= copy is not None and self.take_copy(copy) is Taken.PARKED
                else:
                    self._take_statement(msg, frames.split(frame.body, 2)[1])
        return parked

    def _take_statement(self, msg: str, wire: bytes) -> None:
        now = self._clock.now()
        try:
            event = self._intake.take(msg, wire, now)
        except Exception as error:
            if not ours(error):
                raise
            self._aside.catch(STATEMENT, self._intake.lay_by(msg, wire, now), msg, error)
            return
        self._hear(event)

    def _lacks(self, msg: str) -> bool:
        with self._aside.around(MAILBOX, msg, msg):
            return not self._inbox.known(msg)
        return True

    def take_copy(self, copy: Copy) -> Taken:
        """Take one copy in; one that meets a fault of ours is kept with its bytes, and tried again later."""
        now = self._clock.now()
        try:
            result = self._inbox.take(copy, now)
        except Exception as error:
            if ours(error):
                self._inbox.lay_by(copy, now)
                self._aside.catch(PARKED, copy.msg, copy.msg, error)
                return Taken.SKIPPED
            if not isinstance(error, Refused):
                raise
            self._inbox.mistrust(copy.msg, now)
            self._hear(self._notes.add(now, "refused", copy.msg, error.code, str(error)))
            return Taken.SKIPPED
        self._hear(result.event)
        return result.taken

    async def ask_again(self, session: Session) -> None:
        """Ask once more for what was announced and not given."""
        wanted = self._inbox.wanted(self._clock.now())
        for copy in (await self.pick_up(session, wanted)).values():
            self.take_copy(copy)

    def try_again(self, *, all_of_them: bool = False) -> None:
        """Try what is parked: what is due, or, with another directory, everything, and unverified statements too."""
        now = self._clock.now()
        for msg in self._inbox.due(now, all_of_them=all_of_them):
            if not self._aside.left(PARKED, msg):
                with self._aside.around(PARKED, msg, msg):
                    result = self._inbox.retry(msg, now)
                    self._hear(result.event if result else None)
        if all_of_them:
            for event in self._intake.try_again(now, self._aside):
                self._hear(event)

    def next_try(self) -> int | None:
        """Return when the next parked copy is to be tried, seconds UTC; None if there is none."""
        return self._inbox.next_retry(self._aside.rows(PARKED))

    async def pick_up(self, session: Session, msgs: Sequence[str]) -> dict[str, Copy]:
        """Fetch messages with signed pickups; the relay answers as many of each as fit, and is asked for the rest."""
        found: dict[str, Copy] = {}
        left = list(dict.fromkeys(msgs))
        while left:
            wanted = left[: receipt.PICKUP_MAX]
            parts = frames.split(await self._ask_patiently(session, wanted))
            if not parts or len(parts) % 3 or len(parts) > 3 * len(wanted):
                raise Refused(
                    Code.E_ENCODING,
                    "The relay's answer to a pickup has other parts than were asked for.",
                )
            for at, msg in enumerate(wanted[: len(parts) // 3]):
                found[msg] = Copy(msg, *parts[3 * at : 3 * at + 3])
            left = left[len(parts) // 3 :]
        return found

    async def _ask_patiently(self, session: Session, msgs: list[str]) -> bytes:
        clock_was_wrong = False
        while True:
            fields = {
                "msgs": msgs,
                "desk": self._roster.desk,
                "relay": self._roster.service,
                "at": self._clock.now(),
            }
            try:
                return await session.ask(
                    Type.PICKUP, receipt.make("pickup", fields, self._device).wire
                )
            except TurnedDown as refused:
                if refused.code is Code.E_CLOCK and not clock_was_wrong:
                    clock_was_wrong = True
                elif refused.code in RETRY_LATER:
                    await self._clock.sleep(BUSY_AGAIN_S)
                else:
                    raise

    def _hear(self, event: Event | None) -> None:
        if event is not None:
            self._tell(event)
