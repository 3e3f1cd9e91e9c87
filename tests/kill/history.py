"""What people at desks and whoever carries a pager saw: the only thing that the checker reads."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keys.statement import Statement
from relay.wire.envelope import Header


class Said(StrEnum):
    """How an attempt to hand something over ended, as whoever tried was told."""

    OK = "ok"
    UNKNOWN = "unknown"
    """No answer, or one that says so: the same is handed over again."""
    REJECTED = "rejected"


@dataclass(slots=True)
class Letter:
    """One request: what was signed, how handing it over ended, and what the asked desk means to do."""

    header: Header
    statement: Statement
    plan: str
    """bulk, prompt, late, backup or never: who acknowledges, and when; "nobody" where nobody is there."""
    msg: str = ""
    """The id under which the relay accepted it."""
    said: list[Said] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list, repr=False)
    """Every `accepted` that its sender was given."""

    @property
    def sid(self) -> str:
        """The statement's."""
        return self.statement.sid

    @property
    def taken(self) -> bool:
        """Whether its sender was told that it is kept."""
        return Said.OK in self.said


@dataclass(slots=True)
class Word:
    """An officer's acknowledgement, and how handing it over ended."""

    desk: str
    letter: str
    wire: str
    sid: str
    said: list[Said] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entry:
    """One push of a mailbox, as a device of the desk saw it."""

    kind: str
    msg: str
    sid: str
    """Of a statement; "" for a message."""
    wire: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Paged:
    """One call at the webhook."""

    key: str
    count: int
    repeat: bool
    at: float
    endpoint: str
    """Desk and handle: AU/duty."""


STALLED_TIMES, STALLED_PART = 4, 0.6
"""What keeps the harness waiting keeps relay, desk and pager waiting, one after the other; but never for ever."""


@dataclass(slots=True)
class History:
    """A whole run."""

    letters: dict[str, Letter] = field(default_factory=dict)
    """By the statement's sid."""
    words: list[Word] = field(default_factory=list)
    pages: list[Paged] = field(default_factory=list)
    mailboxes: dict[str, dict[tuple[int, int], Entry]] = field(default_factory=dict)
    """By desk: (epoch, seq) -> entry."""
    wrong: list[str] = field(default_factory=list)
    """What was seen to be wrong at once: an entry that changed, a page that does not verify."""
    shown: dict[str, list[str]] = field(default_factory=dict)
    """By desk: the first ten digits of the id of each message that was shown to whoever watched, in order."""
    kept: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By desk, at the end: statement's sid -> ids of its copies; what the desk lists as received."""
    states: dict[str, str] = field(default_factory=dict)
    """By sid, at the end: where the sending desk says that its message stands."""
    held: dict[str, set[str]] = field(default_factory=dict)
    """By sid, at the end: kinds of verified statements that the sending desk holds."""
    handed: set[str] = field(default_factory=set)
    """Messages that the relay handed out whole at the end."""
    up: list[tuple[float, float]] = field(default_factory=list)
    """When the relay was there: from its readiness to its death."""
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When the harness itself got its turn late, and by how many seconds: others had to wait as well."""
    exits: list[str] = field(default_factory=list)
    """Processes that ended in another way than by being killed."""
    largest: dict[str, int] = field(default_factory=dict)
    """Largest number of file handles and of resident KiB, by process; and of the log's pages."""
    deaths: dict[str, int] = field(default_factory=dict)
    """How often each point was the place of a death."""
    cycles: int = 0
    end: float = 0.0
    healed: str = ""
    """What had not come to its end when patience ran out; "" if all had."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Figures for the report."""

    def away(self, begin: float, end: float) -> float:
        """Return for how many seconds between two times no relay was there, or the machine gave nobody a turn."""
        there = sum(max(0.0, min(end, down) - max(begin, up)) for up, down in self.up)
        away = max(0.0, end - begin - there)
        stalled = sum(seconds for at, seconds in self.stalls if begin <= at <= end + 1)
        return away + min(STALLED_TIMES * stalled, STALLED_PART * (end - begin - away))
