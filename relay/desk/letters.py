"""The messages of this desk, received and sent, each kept once under its statement's sid.

One text may travel under several message ids: a re-seal makes a new one, and a sender may use two relays. An *alias*
leads from each id to the one text, so that nothing is shown twice and receipts still go out for every id
(PROTOCOL 9.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from keys import statement
from keys.errors import Code, Refused
from keys.statement import ORIGIN_BYTES_MAX, Statement, peek
from relay.desk.archive import Archive, Row
from relay.desk.proof import About
from relay.desk.sound import sound
from relay.wire.envelope import Header

REPLAY_KEPT_S = 30 * 86_400
"""The replay cache keeps a statement's sid this long after the message's expiry (PROTOCOL 9.4)."""
PREFIX_DIGITS_MIN = 6
ID_DIGITS = 64

NOTHING, ACKNOWLEDGE, READ = 0, 1, 2
"""What a message needs of a person here: nothing, an acknowledgement, or only to be looked at."""

SETTLING = frozenset({"acknowledged", "declined", "closed"})
"""What a person of this desk signs so that a message no longer needs an acknowledgement."""


class Way(StrEnum):
    """How a message came into this archive."""

    RECEIVED = "received"
    OWN = "own"
    """Another device of this desk sent it; this is the desk's own copy."""
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Letter:
    """One text with its signed frame. Times are seconds UTC."""

    sid: str
    way: Way
    received: int
    revoked: bool
    """A key that signed it was revoked when it was opened: telephone first."""
    needs: int
    header: Header
    statement: Statement
    body: bytes = field(repr=False)
    officer: str
    """The sender's handle in the directory, as it was when the message was opened or written."""

    @property
    def about(self) -> About:
        """What statements about this message are compared with."""
        return About.of(self.header, self.sid)


@dataclass(frozen=True, slots=True)
class Alias:
    """One message id under which a text travels. *received*: when it came, or was first sealed."""

    msg: str
    sid: str
    way: Way
    received: int
    expires: int


class Letters:
    """Messages and aliases of one archive. What changes rows is called inside ``archive.commit()``."""

    def __init__(self, archive: Archive) -> None:
        """Stand on *archive*."""
        self._archive = archive

    def put(self, letter: Letter) -> None:
        """Keep a message for good."""
        clear: dict[str, int | str] = {
            "way": letter.way,
            "received": letter.received,
            "expires": letter.header.expires,
            "revoked": int(letter.revoked),
            "needs": letter.needs,
        }
        sealed = {
            "header": letter.header.encode(),
            "statement": letter.statement.wire,
            "body": letter.body,
            "sender": letter.officer.encode(),
        }
        self._archive.put("message", letter.sid, clear, sealed)

    def get(self, sid: str) -> Letter | None:
        """Return one message by its statement's sid."""
        row = self._archive.get("message", sid)
        return _letter(row) if row else None

    def readable(self, sid: str) -> Letter | None:
        """Return one message; None also if a byte of it rotted, so that it hides no other from who reads a list."""
        try:
            return self.get(sid)
        except Refused:
            return None

    def of(self, msg: str) -> Letter | None:
        """Return the message that travels under this message id."""
        alias = self._archive.get("alias", msg)
        return self.get(alias["sid"]) if alias else None

    def all(
        self,
        *,
        needing: bool = False,
        ways: Sequence[Way] = tuple(Way),
        since: int = 0,
        limit: int = -1,
    ) -> list[Letter]:
        """Return messages without their bodies, newest first.

        *needing*: only those that need somebody here; *since*: received at that time or later, seconds UTC.
        """
        marks = ", ".join("?" * len(ways))
        where = f"way IN ({marks}) AND received >= ?" + (" AND needs > 0" if needing else "")
        rows = sound(
            self._archive,
            "message",
            where,
            (*ways, since),
            order="received DESC, rowid DESC",
            limit=limit,
            columns=("header", "statement", "sender"),
        )
        return [_letter({**row, "body": b""}) for row in rows]

    def unacknowledged(self) -> int:
        """Return how many messages wait for a person's acknowledgement."""
        return self._archive.count("message", "needs = ?", (ACKNOWLEDGE,))

    def need(self, sid: str, needs: int) -> None:
        """Note what a message needs of a person now."""
        self._archive.change("message", sid, {"needs": needs})

    # Message ids

    def name(self, alias: Alias) -> None:
        """Lead a message id to its text."""
        clear: dict[str, int | str] = {
            "sid": alias.sid,
            "way": alias.way,
            "received": alias.received,
            "expires": alias.expires,
        }
        self._archive.put("alias", alias.msg, clear, {})

    def alias(self, msg: str) -> Alias | None:
        """Return where a message id leads."""
        row = self._archive.get("alias", msg)
        return _alias(row) if row else None

    def aliases(self, sid: str) -> list[Alias]:
        """Return every message id of a text, oldest first."""
        rows = self._archive.find("alias", "sid = ?", (sid,), order="received, rowid")
        return [_alias(row) for row in rows]

    def resolve(self, text: str) -> Letter:
        """Find a message by its id, its statement's sid, or the first six or more digits of either.

        Raises E_UNKNOWN if there is none, or more than one.
        """
        wanted = text.strip().lower()
        if len(wanted) < PREFIX_DIGITS_MIN or wanted.strip("0123456789abcdef"):
            raise Refused(
                Code.E_UNKNOWN,
                f"{text[:80]!r} is no message id.",
                hint=f"Give {PREFIX_DIGITS_MIN} or more of its hex digits, as `desk inbox --all` shows them.",
            )
        span = (wanted, wanted + "g")
        sids = {row["sid"] for row in self._archive.find("alias", "id >= ? AND id < ?", span)}
        found = self._archive.find("message", "id >= ? AND id < ?", span, columns=())
        sids |= {row["id"] for row in found}
        if len(sids) > 1:
            raise Refused(
                Code.E_UNKNOWN,
                f"{len(sids)} messages begin with {wanted}.",
                hint="Give more of its digits.",
            )
        letter = self.get(sids.pop()) if sids else None
        if letter is None:
            raise Refused(
                Code.E_UNKNOWN,
                f"This desk holds no message {wanted[:16]}.",
                hint="`desk inbox --all` lists what it holds.",
            )
        return letter

    # The replay cache (PROTOCOL 9.4)

    def seen(self, sid: str) -> bool:
        """Whether this text was shown before."""
        return bool(self._archive.count("replay", "id = ?", (sid,)))

    def remember(self, sid: str, expires: int) -> None:
        """Never show this text again."""
        self._archive.put("replay", sid, {"until": expires + REPLAY_KEPT_S}, {})

    def forget_old(self, now: int) -> int:
        """Drop replay entries that no message can come back from; return how many. Called inside a commit."""
        return self._archive.purge("replay", "until < ?", (now,))


def _letter(row: Row) -> Letter:
    return Letter(
        row["id"],
        _way(row),
        row["received"],
        bool(row["revoked"]),
        row["needs"],
        Header.decode(row["header"]),
        _reread(row["statement"], row["id"]),
        row["body"],
        row["sender"].decode(),
    )


def _reread(wire: bytes, sid: str) -> Statement:
    """Read a statement that was verified before it was sealed into the archive."""
    found = statement.decode(peek(wire, limit=ORIGIN_BYTES_MAX).payload)
    fields = {name: value for name, value in found.items() if name not in {"v", "signer"}}
    return Statement("statement", found["signer"], fields, sid, wire)


def _alias(row: Row) -> Alias:
    return Alias(row["id"], row["sid"], _way(row), row["received"], row["expires"])


def _way(row: Row) -> Way:
    """Return how a row's message came; E_KEYRING where its word, which is in the clear, was changed."""
    if row["way"] not in set(Way):
        raise Refused(
            Code.E_KEYRING,
            "A row of the archive was changed: it does not say how its message came.",
            hint="Restore a backup: desk restore BACKUP.",
        )
    return Way(row["way"])
