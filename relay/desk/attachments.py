"""The shelf of attachments: what is to be uploaded or fetched, how far that is, and what opens it.

::

    up     waiting --(the relay has it whole)--> there --(the message has arrived)--> no row, no file
    down   coming --(fetched, opened once in full)--> here
              |'--(the relay does not give it, and need not keep it any longer)--> lost
              '---(its sender sealed something else than he signed)--> damaged

A row is written in the commit that keeps its message, and before any byte moves; a file without a row is swept away,
a row without its file begins anew. So a crash anywhere leaves neither an orphan nor a message without its attachment.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from relay.desk.archive import Archive, Row
from relay.desk.letters import Letter, Way
from relay.desk.shelves import COMING, DAMAGED, DOWN, HERE, LOST, THERE, UP, WAITING
from relay.wire import attachment
from relay.wire.attachment import Facts
from relay.wire.envelope import Header

AGAIN_S, AGAIN_S_MAX = 15, 3600
"""What could not be moved is tried again after this long, doubled each time; at once when the link has come back."""
KEPT_S = 86_400
"""The relay keeps a blob at least so long after the message's expiry (PROTOCOL 11.5)."""
_RANK = MappingProxyType({"emergency": 0, "urgent": 1, "routine": 2})


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment on its way. Times are seconds UTC."""

    sid: str
    """The statement of the message that it belongs to."""
    number: int
    """From 0, as the statement counts."""
    way: str
    state: str
    size: int
    """Of the blob, in bytes."""
    blob: str
    tries: int
    until: int
    """Until when a relay is bound to have it."""
    secret: bytes = field(repr=False)
    code: str
    """What was in the way the last time, as a code; "" where nothing was, or only the line."""
    reason: str
    """Why it is not there yet; "" where nothing was in the way so far."""

    @property
    def row(self) -> str:
        """The row's id, and the name of its file."""
        return row_of(self.sid, self.number)


class Attachments:
    """The rows of one archive. What changes them is called inside ``archive.commit()``."""

    def __init__(self, archive: Archive) -> None:
        """Stand on *archive*."""
        self._archive = archive

    # From a message to its rows

    def send(self, letter: Letter, cek: bytes) -> None:
        """Note the attachments of a message that this desk sends, to be uploaded."""
        self._put(letter, cek, UP, WAITING)

    def expect(self, letter: Letter, cek: bytes) -> None:
        """Note the attachments of a message that was opened, to be fetched; another copy of it is another chance."""
        if self._archive.count("attachment", "sid = ?", (letter.sid,)):
            for one in self.of(letter.sid):
                if one.state == LOST:
                    self.change(one, state=COMING, next_at=0, until=letter.header.expires + KEPT_S)
            return
        self._put(letter, cek, DOWN, COMING)

    def _put(self, letter: Letter, cek: bytes, way: str, state: str) -> None:
        for number, named in enumerate(letter.statement["attachments"]):
            facts = Facts.of(named)
            clear: dict[str, int | str] = {
                "sid": letter.sid,
                "number": number,
                "way": way,
                "state": state,
                "rank": _RANK[letter.header.priority],
                "created": letter.received,
                "size": facts.sealed_bytes,
                "blob": facts.blob,
                "tries": 0,
                "next_at": 0,
                "until": letter.header.expires + KEPT_S,
            }
            sealed = {"secret": attachment.secret_of(cek, number), "reason": b""}
            self._archive.put("attachment", row_of(letter.sid, number), clear, sealed)

    # What there is

    def of(self, sid: str) -> list[Attachment]:
        """Return the rows of a message, in its statement's order, without what opens them."""
        rows = self._archive.find(
            "attachment", "sid = ?", (sid,), order="number", columns=("reason",)
        )
        return [_attachment({**row, "secret": b""}) for row in rows]

    def get(self, row: str) -> Attachment | None:
        """Return one row, with what opens it."""
        found = self._archive.get("attachment", row)
        return _attachment(found) if found else None

    def due(self, way: str, now: int, without: Collection[str] = ()) -> tuple[str, str] | None:
        """Return row and sid of what is to be moved next: of the most pressing message, of these the oldest."""
        found = self._archive.find(
            "attachment",
            "way = ? AND state = ? AND next_at <= ?",
            (way, WAITING if way == UP else COMING, now),
            order="rank, created, sid, number",
            limit=1 + len(without),
            columns=(),
        )
        return next(((row["id"], row["sid"]) for row in found if row["id"] not in without), None)

    def next_at(self, way: str, without: Collection[str] = ()) -> int | None:
        """Return when something is to be moved, seconds UTC; None if nothing waits but what is *without*."""
        found = self._archive.find(
            "attachment",
            "way = ? AND state = ?",
            (way, WAITING if way == UP else COMING),
            order="next_at",
            limit=1 + len(without),
            columns=(),
        )
        return next((int(row["next_at"]) for row in found if row["id"] not in without), None)

    def rows(self, way: str) -> dict[str, str]:
        """Return the state of every row of one way, by its id."""
        found = self._archive.find("attachment", "way = ?", (way,), columns=())
        return {row["id"]: row["state"] for row in found}

    def all_there(self, sid: str) -> bool:
        """Whether the relay has every attachment of a message that this desk sends."""
        return not self._archive.count("attachment", "sid = ? AND state = ?", (sid, WAITING))

    # What becomes of a row

    def change(
        self, one: Attachment, *, reason: str | None = None, code: str = "", **clear: int | str
    ) -> None:
        """Change columns of a row."""
        sealed = (
            {} if reason is None else {"reason": f"{code}: {reason}".encode() if reason else b""}
        )
        self._archive.change("attachment", one.row, clear, sealed)

    def begin_anew(self, row: str, now: int) -> None:
        """What was here is gone from the disk: fetch it again."""
        self._archive.change("attachment", row, {"state": COMING, "tries": 0, "next_at": now})

    def put_off(self, one: Attachment, now: int, reason: str | None = None, code: str = "") -> None:
        """Try again later and later; without a reason, the one that is known stays."""
        wait = min(AGAIN_S_MAX, AGAIN_S << min(one.tries, 12))
        self.change(one, reason=reason, code=code, tries=one.tries + 1, next_at=now + wait)

    def upload_again(self, sid: str, now: int) -> bool:
        """The relay says that something is missing: have all looked at again; False for a message without any."""
        found = [one for one in self.of(sid) if one.way == UP]
        for one in found:
            wait = min(AGAIN_S_MAX, AGAIN_S << min(one.tries - 1, 12)) if one.tries else 0
            self.change(one, state=WAITING, tries=one.tries + 1, next_at=now + wait)
        return bool(found)

    def release(self, sid: str) -> None:
        """The message has arrived, or is not sent any more: its sealed files are swept away."""
        self._archive.purge("attachment", "sid = ? AND way = ?", (sid, UP))

    def hurry(self) -> None:
        """The link is back: what was put off is due now."""
        where = "next_at > 0 AND state IN (?, ?)"
        for row in self._archive.find("attachment", where, (WAITING, COMING), columns=()):
            self._archive.change("attachment", row["id"], {"next_at": 0})


def row_of(sid: str, number: int) -> str:
    """Return the id of an attachment's row, which is also the name of its file."""
    return f"{sid}.{number:02d}"


def _attachment(row: Row) -> Attachment:
    code, _colon, reason = row["reason"].decode().partition(": ")
    return Attachment(
        row["sid"],
        row["number"],
        row["way"],
        row["state"],
        row["size"],
        row["blob"],
        row["tries"],
        row["until"],
        row["secret"],
        code,
        reason,
    )


def shown(
    letter: Letter, rows: Sequence[Attachment], moved: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return what people see of a message's attachments; *moved*: bytes of blobs under way, by row.

    Each: number (from 1), name, media_type, size, sha256, blob, state, percent, code, reason. ``state`` is that of the
    row; a message that this desk sent and that has arrived has none any more: ``sent``.
    """
    known = {one.number: one for one in rows}
    found = []
    for number, named in enumerate(letter.statement["attachments"]):
        one = known.get(number)
        state = one.state if one else "sent" if letter.way is Way.SENT else LOST
        done = 100 if state in {THERE, HERE, "sent"} else 0
        if one is not None and state in {WAITING, COMING}:
            done = min(99, 100 * moved.get(one.row, 0) // one.size)
        found.append(
            {
                "number": number + 1,
                **named,
                "state": state,
                "percent": done,
                "code": one.code if one and state not in {THERE, HERE} else "",
                "reason": one.reason if one and state not in {THERE, HERE} else "",
            }
        )
    return found


def warnings(header: Header, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what must be known of a message's attachments (see :func:`shown`) before it is acted upon."""
    told = []
    for one in found:
        what = f"Attachment {one['number']} ({one['name']})"
        if one["state"] == DAMAGED:
            told.append(f"{what} is damaged: ask {header.sender} to send it again. {one['reason']}")
        elif one["state"] == LOST:
            told.append(f"{what} never came: ask {header.sender} to send it again. {one['reason']}")
        elif one["state"] == COMING and one["reason"]:
            told.append(f"{what} is not here yet. {one['reason']} It is tried on.")
        elif one["state"] == WAITING and one["reason"]:
            told.append(f"{what} is not with the relay yet. {one['reason']} It is tried on.")
    return told
