"""A matter: the life of one request, replayed from its documents. Pure; the same documents give the same matter.

::

    entries  ->  errata (corrections first)  ->  course (each document moves the items)  ->  Matter

What each item's state is follows from documents alone; the clock adds one thing only: a promise that nobody renewed is
over (``Item.standing``). Documents count in the order in which the relay accepted them, which both desks can prove, and
never in the order in which they came here. One that comes before what it answers waits for it; one that fits nothing,
or says less than was promised before, is kept and flagged. So both desks see the same, or the same flag.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relay.desk.documents.events import Event

OPEN, PENDING, INTERIM, HELD = "open", "pending", "interim", "held"
"""Nothing is decided; the custodian has to act; data are held while questions are open; data are preserved."""
NOT_HELD, REFUSED, ANSWERED, REDIRECTED = "not_held", "refused", "answered", "redirected"
WITHDRAWN, RELEASED, HANDED_OVER = "withdrawn", "released", "handed_over"
LAPSED = "lapsed"
"""Not a state but what time makes of one: the promise ended, and no document renewed it."""
LIVE = frozenset({OPEN, PENDING, INTERIM, HELD})
_WORST = (LAPSED, OPEN, PENDING, INTERIM, HELD)
_OVER_AFTER_S = 30 * 86_400
"""A lapsed item is listed as open for so long."""

PRIORITIES = ("emergency", "urgent", "routine")
REQUESTING, REQUESTED = "requesting", "requested"
"""The two sides."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One verified document in a thread, or the first message of one."""

    sid: str
    """Its statement: two entries with one sid are one."""
    msgs: tuple[str, ...]
    """The message ids under which it travelled."""
    desk: str
    to: tuple[str, ...]
    """The desk that it went to, and the backup desk."""
    at: int
    """When the relay accepted it, seconds UTC; before that, when it was kept here."""
    event: Event
    document: Mapping[str, object] = field(repr=False)
    priority: str = "routine"
    mode: str = "actual"
    taken_up: int | None = None
    """When a person at the other desk signed that it was read."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a request. Times are seconds UTC."""

    number: int
    state: str = OPEN
    since: int | None = None
    until: int | None = None
    """The end that was promised; the data are preserved up to this second."""
    expected: int | None = None
    """When the requested desk expects to know, while it is pending."""
    cause: str = ""
    """The code that says why: of a refusal, of what could not be done, of a release; or the competent desk."""
    hold: bool = False
    """The request for mutual legal assistance has arrived: held until it is decided, whatever *until* says."""
    last: bool = False
    """No further extension is to be had."""
    mla: str = ""
    """``submitted``, ``received`` or ``decided``."""
    led: tuple[str, ...] = ()
    """The documents that led here, oldest first."""

    def standing(self, now: int) -> str:
        """Return the state at a time; a promise that ran out is ``lapsed``."""
        held = self.state in {HELD, INTERIM} and not self.hold
        return LAPSED if held and self.until is not None and self.until < now else self.state


@dataclass(frozen=True, slots=True)
class Ask:
    """Something that one side waits for."""

    name: str
    """The event that asked: ``asked``, ``warned``, ``extension_asked`` ..."""
    sid: str
    whose: str
    """The side that has to act."""
    at: int
    due: int | None
    """By when, as the document says; None where it leaves that to the clock."""
    clock: str
    items: tuple[int, ...]
    paused: bool = False
    questions: tuple[str, ...] = ()
    until: int | None = None
    """The end that an extension asks for."""
    closed: int | None = None
    """When it was answered."""


@dataclass(frozen=True, slots=True)
class Flag:
    """What did not fit, and why; the document is kept all the same."""

    sid: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One document on the matter's way."""

    entry: Entry
    fits: bool
    """Whether it moved the matter; False: it is kept, flagged, and moved nothing."""


@dataclass(frozen=True, slots=True)
class Matter:
    """Where a request stands."""

    opened: Entry
    kind: str
    requesting: str
    requested: str
    priority: str
    """As the requested desk sees it now: it may have changed it, with a reason."""
    basis: str
    items: tuple[Item, ...]
    asks: tuple[Ask, ...]
    """All that was ever asked; ``waiting`` has the open ones."""
    flags: tuple[Flag, ...]
    steps: tuple[Step, ...]
    acknowledged: int | None = None
    mla_expected: int | None = None
    mla_submitted: int | None = None
    mla_received: int | None = None
    mla_reference: str = ""
    paths: tuple[tuple[str, str], ...] = ()
    """Notices of a path of traffic: the statement, and the next desk that it suggests."""

    @property
    def mode(self) -> str:
        """Return whether it is actual, an exercise or a test."""
        return self.opened.mode

    @property
    def waiting(self) -> tuple[Ask, ...]:
        """Return what is asked and not answered."""
        return tuple(ask for ask in self.asks if ask.closed is None)

    def state(self, now: int) -> str:
        """Return the worst open item's state; with none open, the state of all, or ``closed`` where they differ."""
        found = [item.standing(now) for item in self.items]
        for state in _WORST:
            if state in found:
                return state
        return found[0] if len(set(found)) == 1 else "closed"

    def open(self, now: int) -> bool:
        """Whether anything can still happen by itself: an item lives, or somebody waits for an answer."""
        return bool(self.waiting) or any(
            item.state in LIVE
            and not (
                item.standing(now) == LAPSED
                and item.until is not None
                and item.until + _OVER_AFTER_S < now
            )
            for item in self.items
        )

    def desk_of(self, side: str) -> str:
        """Return the desk on a side."""
        return self.requesting if side == REQUESTING else self.requested

    def elapsed(self, now: int) -> int:
        """Return the seconds since it was asked, pauses included."""
        return max(0, now - self.opened.at)

    def paused(self, now: int) -> int:
        """Return the seconds in which the requested side waited, by an explicit message of its own."""
        ends, total = 0, 0
        spans = sorted(
            (ask.at, now if ask.closed is None else min(now, ask.closed))
            for ask in self.asks
            if ask.paused
        )
        for begun, ended in spans:
            total += max(0, ended - max(begun, ends))
            ends = max(ends, ended)
        return total

    def is_paused(self) -> bool:
        """Whether the requested side waits for the other now, by an explicit message."""
        return any(ask.paused for ask in self.waiting)


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries once each, in the order in which both desks can prove them; whatever order they came in."""
    found: dict[str, Entry] = {}
    for entry in entries:
        known = found.get(entry.sid)
        if known is None or (entry.at, entry.taken_up or 0) < (known.at, known.taken_up or 0):
            found[entry.sid] = entry
    return sorted(found.values(), key=lambda one: (one.at, one.sid))
