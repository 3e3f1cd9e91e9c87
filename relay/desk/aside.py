"""Rows with which this program met an error of its own: each is left alone, so that everything else goes on.

::

    with aside.around("outbox", sid, msg):
        await send(sid)              # whatever it raises of its own stops here; the next row has its turn

A fault of ours (or a byte that rotted) in one row must not end the desk: started anew, it would meet the same row
again. Such a row is set aside, marked in the archive, told to whoever watches and to the log, and shown by ``status``
until it goes well. It is tried again after an hour, and by the next process, which may be a better version.

What is not ours passes through: a refusal, a line that broke, and above all an archive that cannot be used (Failed),
with which the desk ends.
"""

import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from keys.errors import Code, Failed, Refused
from relay.desk.archive import Archive
from relay.desk.clock import ComparedClock
from relay.desk.notes import Notes
from relay.desk.roster import TurnedDown
from relay.desk.shelves import SEED_SHELF, WAITING
from relay.desk.sound import rotten

AGAIN_S = 3600
"""How long a row is left alone."""
KEPT_S = 30 * 86_400
SHOWN_MAX = 20

OUTBOX, POSTING, PARKED, STATEMENT, VIGIL, MAILBOX, LINE, ATTACHMENT, MATTER = (
    "outbox",
    "posting",
    "parked",
    "statement",
    "vigil",
    "mailbox",
    "line",
    "attachment",
    "matter",
)
"""What a row is of: a shelf of the archive, a place in the relay's mailbox, or the line as a whole."""
SAYS = MappingProxyType(
    {
        OUTBOX: "It is not sent. Telephone the other desk.",
        POSTING: "A receipt of it is not posted: the other desk does not know yet what was signed here.",
        PARKED: "It has come in and cannot be opened here. Telephone the desk that sent it.",
        STATEMENT: "A statement about it was not taken in.",
        VIGIL: "Nobody watches over its time any more. Look at it yourself: desk sent",
        MAILBOX: "It has come in and could not be taken in. Telephone the desk that sent it.",
        LINE: "The line to the relay is begun anew.",
        ATTACHMENT: "One of its attachments is not moved. Telephone the other desk.",
        MATTER: "Nobody watches over the days of this request any more. Look at it yourself: desk matter",
        SEED_SHELF: "A prekey's secret does not open: what was sealed for it cannot be read here.",
    }
)
WORKING = MappingProxyType(
    {OUTBOX: f"state = '{WAITING}'", POSTING: "1", PARKED: "1", VIGIL: "due > 0", SEED_SHELF: "1"}
)
"""Which rows of the archive this desk works with; what the vigil cannot open, it draws anew (relay.desk.vigil)."""

Event = dict[str, Any]


class Aside:
    """The rows of one archive that are left alone; *tell* hears of each."""

    def __init__(
        self,
        archive: Archive,
        notes: Notes,
        clock: ComparedClock,
        tell: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """Stand on *archive*; this process has left nothing alone yet."""
        self._archive = archive
        self._notes = notes
        self._clock = clock
        self._tell = tell
        self._until: dict[str, int] = {}
        self._marked = {row["id"]: str(row["reason"]) for row in archive.find("aside")}

    def left(self, shelf: str, row: str) -> bool:
        """Whether this row is left alone now."""
        return self._until.get(f"{shelf}/{row}", 0) > self._clock.now()

    def rows(self, shelf: str) -> Collection[str]:
        """Return the ids of rows of a shelf that are left alone now."""
        if not self._until:
            return ()
        head, now = f"{shelf}/", self._clock.now()
        names = [name for name, until in self._until.items() if until > now]
        return {name.removeprefix(head) for name in names if name.startswith(head)}

    @contextmanager
    def around(self, shelf: str, row: str, msg: str) -> Iterator[None]:
        """Set the row aside if what is done with it inside raises an error of our own."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - what is not ours is raised anew
            self.catch(shelf, row, msg, error)
        else:
            self.well(shelf, row)

    def well(self, shelf: str, row: str) -> None:
        """Take note that all went well with a row: it is no longer set aside."""
        self._went_well(f"{shelf}/{row}")

    def catch(self, shelf: str, row: str, msg: str, error: Exception) -> None:
        """Set a row aside for an error of our own; raise any other anew."""
        if not ours(error):
            raise error
        self.put(shelf, row, msg, f"{type(error).__name__} at {_where(error)}")

    def put(self, shelf: str, row: str, msg: str, reason: str) -> None:
        """Set a row aside: leave it alone, mark it, tell. *reason* is for operators and holds nothing of a message."""
        name, now = f"{shelf}/{row}", self._clock.now()
        self._until[name] = now + AGAIN_S
        known = self._marked.get(name) == reason
        self._marked[name] = reason
        with self._archive.commit():
            self._archive.put("aside", name, {"msg": msg, "at": now, "reason": reason}, {})
        text = f"This desk met an error of its own. {SAYS[shelf]} ({reason})"
        if not known:
            self._notes.add(now, "aside", msg, reason.partition(" ")[0], text)
        self._tell({"event": "aside", "kind": shelf, "msg": msg, "reason": reason, "text": text})

    def _went_well(self, name: str) -> None:
        self._until.pop(name, None)
        if self._marked.pop(name, None) is not None:
            with self._archive.commit():
                self._archive.drop("aside", name)

    def look(self) -> None:
        """Open every row that this desk works with, once at its start: what rotted is told of before it is missed."""
        now = self._clock.now()
        with self._archive.commit():
            self._archive.purge("aside", "at < ?", (now - KEPT_S,))
        for name in list(self._marked):
            shelf, _slash, row = name.partition("/")
            where = f"id = ? AND {WORKING.get(shelf, '1')}"
            if shelf in WORKING and not self._archive.count(shelf, where, (row,)):
                self._went_well(name)  # somebody withdrew it, or its time is over
        for shelf, where in WORKING.items():
            for row in rotten(self._archive, shelf, where) if shelf != VIGIL else ():
                self.put(shelf, row["id"], str(row.get("msg", row["id"])), "the row does not open")

    def shown(self) -> list[dict[str, Any]]:
        """Return what is set aside, newest first: {"msg", "at", "text"}."""
        rows = self._archive.find("aside", order="at DESC", limit=SHOWN_MAX)
        return [
            {
                "msg": row["msg"],
                "at": row["at"],
                "text": f"{SAYS[row['id'].partition('/')[0]]} ({row['reason']})",
            }
            for row in rows
        ]


def ours(error: Exception) -> bool:
    """Whether an error says that this program, or a byte of its archive, is not as it should be."""
    if isinstance(error, Refused):
        return error.code is Code.E_KEYRING and not isinstance(error, TurnedDown)
    return not isinstance(error, Failed | OSError | MemoryError)


def _where(error: Exception) -> str:
    """Return the innermost place of ours in an error's traceback: a file's name and a line, never a value."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [
        one
        for one in frames
        if "relay" in Path(one.filename).parts or "keys" in Path(one.filename).parts
    ]
    last = (mine or frames)[-1:]
    return f"{Path(last[0].filename).name}:{last[0].lineno}" if last else "an unknown place"
