"""What the desk holds of other people's words: statements by message, and its own receipts on their way.

A statement that verifies is kept for ever. One that does not verify yet (the directory may be old) is kept apart,
shown as unverified, and tried again after every refresh of the directory. A receipt of this desk stays on the
*posting* shelf until the relay's signed ``recorded`` names it (PROTOCOL 10): whatever happens on the way, it is posted
again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from keys import suite
from keys.errors import Refused
from keys.statement import Statement, decode, pae, peek
from relay.desk import proof
from relay.desk.archive import Archive, Row
from relay.desk.proof import About, Proven
from relay.desk.roster import Roster
from relay.desk.sound import sound
from relay.wire.receipt import RECEIPTS

POST_AGAIN_S, POST_AGAIN_S_MAX = 15, 3600
"""A receipt that the relay refused, but may take later, is posted again after this long, doubled each time."""
POST_KEPT_AFTER_EXPIRY_S = 30 * 86_400
"""A receipt for a message that no relay knows is given up this long after the message's expiry."""
_RANK = {"acknowledged": 0, "declined": 0, "withdrawn": 0, "closed": 1}


@dataclass(frozen=True, slots=True)
class Held:
    """A statement as it is kept. *received*: when this desk got it, seconds UTC."""

    sid: str
    wire: bytes = field(repr=False)
    msg: str
    kind: str
    desk: str
    """Whose it is, once verified; "" for the relay's."""
    received: int
    verified: bool
    mine: bool
    """Whether it was made here, by this device or an officer at it."""


@dataclass(frozen=True, slots=True)
class Post:
    """A receipt that waits for ``recorded``."""

    sid: str
    msg: str
    wire: bytes = field(repr=False)
    tries: int
    until: int


class Records:
    """Statements and postings of one archive. What changes rows is called inside ``archive.commit()``."""

    def __init__(self, archive: Archive, roster: Roster) -> None:
        """Stand on *archive*, verify with *roster*'s directory."""
        self._archive = archive
        self._roster = roster

    # Statements

    def holds(self, sid: str) -> bool:
        """Whether this statement is kept and verified."""
        return bool(self._archive.count("statement", "id = ? AND verified = 1", (sid,)))

    def keep(self, found: Statement, desk: str, now: int, *, mine: bool = False) -> None:
        """Keep a verified statement about a message, signed by *desk* ("": the relay); one that is there stays."""
        if self.holds(found.sid):
            return
        clear: dict[str, int | str] = {
            "msg": found["msg"],
            "kind": found.kind,
            "desk": desk,
            "received": now,
        }
        self._archive.put(
            "statement",
            found.sid,
            {**clear, "verified": 1, "mine": int(mine)},
            {"wire": found.wire},
        )

    def keep_unverified(self, sid: str, kind: str, msg: str, wire: bytes, now: int) -> None:
        """Keep what could not be verified, to be tried again and shown as such."""
        if self._archive.count("statement", "id = ?", (sid,)):
            return
        clear: dict[str, int | str] = {"msg": msg, "kind": kind, "desk": "", "received": now}
        self._archive.put("statement", sid, {**clear, "verified": 0, "mine": 0}, {"wire": wire})

    def of(self, msgs: Sequence[str]) -> list[Held]:
        """Return everything kept about these messages, in the order in which it came."""
        marks = ", ".join("?" * len(msgs))
        rows = self._archive.find(
            "statement", f"msg IN ({marks})", tuple(msgs), order="received, rowid"
        )
        return [_held(row) for row in rows]

    def kinds(self, msgs: Sequence[str]) -> set[str]:
        """Return the kinds of which a verified statement is kept about these messages."""
        marks = ", ".join("?" * len(msgs))
        where = f"verified = 1 AND msg IN ({marks})"
        return {
            row["kind"] for row in self._archive.find("statement", where, tuple(msgs), columns=())
        }

    def signed(self, msgs: Sequence[str], desk: str, kinds: Iterable[str]) -> set[str]:
        """Return the message ids about which *desk* has signed one of *kinds*."""
        wanted = tuple(kinds)
        ids, words = ", ".join("?" * len(msgs)), ", ".join("?" * len(wanted))
        where = f"verified = 1 AND desk = ? AND msg IN ({ids}) AND kind IN ({words})"
        rows = self._archive.find("statement", where, (desk, *msgs, *wanted), columns=())
        return {row["msg"] for row in rows}

    def failed_here(self, msg: str) -> bool:
        """Whether this device has said for good that it cannot open this copy."""
        where = "mine = 1 AND kind = 'failed' AND msg = ?"
        return bool(self._archive.count("statement", where, (msg,)))

    def failed_by(self, msg: str) -> set[str]:
        """Return the kids of devices that could not open a copy, for another reason than its age."""
        found = [
            decode(peek(held.wire).payload) for held in self.of([msg]) if held.kind == "failed"
        ]
        return {one["signer"] for one in found if one["code"] != "E_EXPIRED"}

    def doubt(self, sid: str) -> None:
        """Take back that a statement is verified: the message has been opened and says otherwise."""
        self._archive.change("statement", sid, {"verified": 0})

    def prove(self, wire: bytes, about: About | None) -> Proven:
        """Verify a statement with the directory in force; see :func:`relay.desk.proof.prove`."""
        return proof.prove(wire, self._roster.directory, self._roster.service, about)

    def unverified(self) -> list[Held]:
        """Return what waits for a newer directory."""
        rows = sound(self._archive, "statement", "verified = 0", limit=1000)
        return [_held(row) for row in rows]

    def doubted(self) -> int:
        """Return how many statements are kept unverified."""
        return self._archive.count("statement", "verified = 0")

    # Receipts on their way

    def post(self, made: Statement, expires: int) -> None:
        """Put a receipt of this desk on the shelf from which it is posted until ``recorded``."""
        self._shelve(made.sid, made["msg"], made.kind, made.wire, expires)

    def _shelve(self, sid: str, msg: str, kind: str, wire: bytes, expires: int) -> None:
        until = expires + POST_KEPT_AFTER_EXPIRY_S
        clear: dict[str, int | str] = {
            "msg": msg,
            "rank": _RANK.get(kind, 2),
            "tries": 0,
            "next_at": 0,
        }
        self._archive.put("posting", sid, {**clear, "until": until}, {"wire": wire})

    @staticmethod
    def _left(without: Collection[str]) -> str:
        return f" AND id NOT IN ({', '.join('?' * len(without))})" if without else ""

    def due(self, now: int, limit: int, without: Collection[str] = ()) -> list[Post]:
        """Return receipts to be posted now, but for those *without*: what stops a ladder first."""
        left = self._left(without)
        where = f"next_at <= ?{left}"
        rows = sound(
            self._archive,
            "posting",
            where,
            (now, *without),
            order="rank, rowid",
            limit=limit,
        )
        return [
            Post(row["id"], row["msg"], row["wire"], row["tries"], row["until"]) for row in rows
        ]

    def recorded(self, sids: Iterable[str]) -> None:
        """Take receipts off the shelf: the relay has them."""
        for sid in sids:
            self._archive.drop("posting", sid)

    def postpone(self, post: Post, now: int) -> bool:
        """Try a receipt again later and later; False if it is given up: no relay knew the message in all its life."""
        if now > post.until:
            self._archive.drop("posting", post.sid)
            return False
        wait = min(POST_AGAIN_S_MAX, POST_AGAIN_S << min(post.tries, 12))
        self._archive.change("posting", post.sid, {"next_at": now + wait, "tries": post.tries + 1})
        return True

    def next_post(self, without: Collection[str] = ()) -> int | None:
        """Return when the next receipt is due, seconds UTC (in the past: now); None if none waits."""
        where = f"1{self._left(without)}"
        rows = self._archive.find(
            "posting", where, tuple(without), order="next_at", limit=1, columns=()
        )
        return int(rows[0]["next_at"]) if rows else None

    def waiting(self) -> int:
        """Return how many receipts the relay has not recorded yet."""
        return self._archive.count("posting")

    def post_again(self, now: int) -> int:
        """Shelve every receipt made here about a message that still lives anew: the relay's store is another one."""
        count = 0
        for row in self._archive.find("statement", "mine = 1"):
            if row["kind"] not in RECEIPTS:
                continue
            alias = self._archive.get("alias", row["msg"])
            if alias is None or alias["expires"] <= now or self._archive.get("posting", row["id"]):
                continue
            self._shelve(row["id"], row["msg"], row["kind"], row["wire"], alias["expires"])
            count += 1
        return count


def sid_of(wire: bytes) -> tuple[str, str]:
    """Return (sid, kind) of a statement that may not verify; ("", "") if it is not even one."""
    try:
        found = peek(wire)
    except Refused:
        return "", ""
    return suite.sha256(pae(found.kind, found.payload)).hex(), found.kind


def _held(row: Row) -> Held:
    return Held(
        row["id"],
        row["wire"],
        row["msg"],
        row["kind"],
        row["desk"],
        row["received"],
        bool(row["verified"]),
        bool(row["mine"]),
    )
