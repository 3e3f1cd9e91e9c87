"""What stands on which shelf of the archive: its columns in the clear, and those that are sealed.

In the clear is only what rows are found by: ids, states, times. Whatever a person wrote, whatever opens or signs
something, and whatever the desk believes (the directory) is sealed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from keys.errors import Code, Refused

SEED_SHELF = "prekey_seed"
"""The one shelf that never leaves the device: its rows open messages, and are destroyed on time."""

LATER = frozenset({"vigil", "attachment", "aside", "draft", "matter", "leaf"})
"""Shelves that the first archives did not have: a backup may lack them, and the desk fills them when it starts."""

WAITING, ACCEPTED, DONE, REFUSED = "waiting", "accepted", "done", "refused"
UPLOADING = "uploading"
"""States of a row of the shelf ``outbox``; it waits for its attachments first."""

UP, DOWN = "up", "down"
THERE = "there"
COMING, HERE, LOST, DAMAGED = "coming", "here", "lost", "damaged"
"""Ways and states of a row of the shelf ``attachment``; one that is to be uploaded is ``waiting`` too."""

NOT_GIVEN = frozenset({"E_UNKNOWN", "E_BLOB_MISSING", "E_BINDING", "E_TOO_LARGE", "E_ENCODING"})
"""Codes that mean that a relay has an attachment not, or not right; a full disk here is no matter of the sender's."""

_TEXT, _INTEGER = "TEXT", "INTEGER"
_KINDS: Mapping[str, type] = {_TEXT: str, _INTEGER: int}


@dataclass(frozen=True, slots=True)
class Shelf:
    """One table; every table has a primary key ``id`` besides. *indexes* name columns in the clear."""

    clear: Mapping[str, str]
    sealed: tuple[str, ...]
    indexes: tuple[str, ...] = ()

    def typed(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row as it is; E_KEYRING where a column in the clear is not of its kind: SQLite holds anything."""
        kinds = {"id": _TEXT, **self.clear}
        odd = [name for name, kind in kinds.items() if type(row[name]) is not _KINDS[kind]]
        if odd:
            raise Refused(
                Code.E_KEYRING,
                f"A row of the archive was changed: its {odd[0]} is not what was kept there.",
                hint="Restore a backup: desk restore BACKUP.",
            )
        return row


SHELVES: Mapping[str, Shelf] = MappingProxyType(
    {
        # by name: cursor, pins, fresh
        "meta": Shelf({}, ("value",)),
        # by TUF name: the trusted directory
        "directory_file": Shelf({}, ("value",)),
        # by hint: this device's prekeys, public part
        "prekey": Shelf(
            {"not_before": _INTEGER, "not_after": _INTEGER, "published": _INTEGER}, ("wire",)
        ),
        # by hint: their secrets, until seven days after not_after
        SEED_SHELF: Shelf({"not_after": _INTEGER}, ("seed",)),
        # by sid: other desks' prekeys as last fetched
        "neighbour": Shelf(
            {"desk": _TEXT, "not_before": _INTEGER, "not_after": _INTEGER}, ("wire",), ("desk",)
        ),
        # by statement sid: what this desk sends, until somebody has it
        "outbox": Shelf(
            {
                "msg": _TEXT,
                "state": _TEXT,
                "rank": _INTEGER,
                "attempts": _INTEGER,
                "next_at": _INTEGER,
                "created": _INTEGER,
                "expires": _INTEGER,
                "replaces": _TEXT,
                "resent": _INTEGER,
                "stale": _INTEGER,
            },
            ("cek", "envelope", "submission", "reason"),
            ("state", "msg"),
        ),
        # by statement sid: every message of this desk, opened once
        "message": Shelf(
            {
                "way": _TEXT,
                "received": _INTEGER,
                "expires": _INTEGER,
                "revoked": _INTEGER,
                "needs": _INTEGER,
            },
            ("header", "statement", "body", "sender"),
            ("received", "needs"),
        ),
        # by message id: which statement it carries; a re-seal or a second copy has an id of its own
        "alias": Shelf(
            {"sid": _TEXT, "way": _TEXT, "received": _INTEGER, "expires": _INTEGER}, (), ("sid",)
        ),
        # by statement sid: the replay cache (PROTOCOL 9.4)
        "replay": Shelf({"until": _INTEGER}, (), ("until",)),
        # by sid: every statement about a message, for ever; verified 0 where it could not be yet
        "statement": Shelf(
            {
                "msg": _TEXT,
                "kind": _TEXT,
                "desk": _TEXT,
                "received": _INTEGER,
                "verified": _INTEGER,
                "mine": _INTEGER,
            },
            ("wire",),
            ("msg", "verified"),
        ),
        # by sid: receipts that the relay has not recorded yet
        "posting": Shelf(
            {
                "msg": _TEXT,
                "rank": _INTEGER,
                "tries": _INTEGER,
                "next_at": _INTEGER,
                "until": _INTEGER,
            },
            ("wire",),
            ("next_at",),
        ),
        # by statement sid: the dead man's timer of each message of this desk; due 0 = nothing to look at
        "vigil": Shelf(
            {"due": _INTEGER, "open": _INTEGER, "raised": _TEXT}, ("frozen", "said"), ("due",)
        ),
        # by statement sid of what opens it: when to look at a matter next, and what was said; due 0 = never
        "matter": Shelf({"due": _INTEGER, "open": _INTEGER, "raised": _TEXT}, ("said",), ("due",)),
        # by statement sid: the matter to which a message belongs, or the message id that it names, until that is here
        "leaf": Shelf({"root": _TEXT}, (), ("root",)),
        # by statement sid and number: attachments to be uploaded or fetched, and what opens them (PROTOCOL 9.5)
        "attachment": Shelf(
            {
                "sid": _TEXT,
                "number": _INTEGER,
                "way": _TEXT,
                "state": _TEXT,
                "rank": _INTEGER,
                "created": _INTEGER,
                "size": _INTEGER,
                "blob": _TEXT,
                "tries": _INTEGER,
                "next_at": _INTEGER,
                "until": _INTEGER,
            },
            ("secret", "reason"),
            ("sid", "state"),
        ),
        # by message id: copies that may open after a directory refresh or once a clock is right
        "parked": Shelf(
            {
                "code": _TEXT,
                "since": _INTEGER,
                "expires": _INTEGER,
                "tries": _INTEGER,
                "next_at": _INTEGER,
            },
            ("submission", "accepted", "envelope"),
            ("next_at",),
        ),
        # by shelf and row: what an error of our own was met with, and where; nothing of any message
        "aside": Shelf({"msg": _TEXT, "at": _INTEGER, "reason": _TEXT}, ()),
        # by dice: texts that are not sent yet, with a second officer's approval; sid: the statement as which one went
        "draft": Shelf({"changed": _INTEGER, "sid": _TEXT}, ("value", "approval"), ("sid",)),
        # in order: what was refused or skipped, and why; the last ones only
        "note": Shelf({"at": _INTEGER}, ("value",), ("at",)),
    }
)

OWN_TO_A_DEVICE = frozenset({(SEED_SHELF, ""), ("prekey", ""), ("meta", "key"), ("meta", "cursor")})
"""(shelf, row; "" for all) that a restore leaves out: a new device has prekeys and a cursor of its own."""


def held_in(tables: Iterable[tuple[str]]) -> list[tuple[str, Shelf]]:
    """Return the shelves to be read from a file with these tables: all, but for later ones that it does not have."""
    there = {name for (name,) in tables}
    return [(name, shelf) for name, shelf in SHELVES.items() if name in there or name not in LATER]
