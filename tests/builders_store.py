"""Small values for the tests of the store: everything has a name, and its id belongs to the name."""

import hashlib
from dataclasses import replace

from relay.store.base import Change, Entry, Kept, PageRow, PrekeyRow

NOW = 1_780_000_000


def digest(name: str) -> str:
    """Return an id that belongs to a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def sealed(name: str) -> bytes:
    """Return an envelope; its id is ``msg_of(name)``."""
    return b"envelope " + name.encode() * 50


def msg_of(name: str) -> str:
    """Return the id of ``sealed(name)``."""
    return hashlib.sha256(sealed(name)).hexdigest()


def kept(name: str, msg: str = "", kind: str = "delivered") -> Kept:
    """Return a statement with an id of its own."""
    return Kept(digest(name), kind, msg, b"wire " + name.encode(), NOW)


def first(name: str, **more: object) -> Change:
    """Return the change with which a message arrives."""
    change = Change(msg_of(name), 0, b"state 1", sealed(name))
    return replace(change, **more)  # type: ignore[arg-type]


def message_to(desk: str, name: str) -> Entry:
    """Return the entry that tells a desk of a message."""
    return Entry(desk, "message", msg_of(name), msg_of(name))


def statement_to(desk: str, statement: Kept) -> Entry:
    """Return the entry that tells a desk of a statement."""
    return Entry(desk, "statement", statement.sid, statement.msg)


def prekey(name: str, start: int, end: int, desk: str = "AU", device: str = "laptop") -> PrekeyRow:
    """Return a prekey row."""
    return PrekeyRow(
        desk,
        digest(device),
        name.encode()[:8].ljust(8),
        start,
        end,
        NOW,
        digest(name),
        b"w" + name.encode(),
    )


def page(name: str, of: str, **more: object) -> PageRow:
    """Return a page about the message ``sealed(of)``, ready at once."""
    plain = PageRow(
        *(digest(name), msg_of(of), "AU", "duty", 1, "backstop", "urgent", "actual"),
        created=NOW,
        expires=NOW + 3600,
    )
    return replace(plain, **more)  # type: ignore[arg-type]
