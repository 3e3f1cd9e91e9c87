"""The course of a matter: what each document does to it. Pure; :func:`replay` is the way in.

Two rules stand above all: a promise is taken back only by a document that says so (a correction, a release, the
decision on mutual legal assistance), and an item gets better only by a document. What does not fit when its turn comes
is tried again after each later document, and flagged if it never fits.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from relay.desk.course_asks import Asks
from relay.desk.documents import codes
from relay.desk.documents.events import Event, expected
from relay.desk.documents.reading import text
from relay.desk.errata import applied
from relay.desk.matter import (
    ANSWERED,
    LIVE,
    NOT_HELD,
    REFUSED,
    REQUESTED,
    REQUESTING,
    WITHDRAWN,
    Ask,
    Entry,
    Flag,
    Matter,
    Step,
    ordered,
)

OPENING = frozenset({"opened", "told", "drill", "oral"})
"""Events with which a thread begins."""


def replay(entries: Iterable[Entry]) -> Matter | None:
    """Return the matter that a thread's documents make, in whatever order and how often they are given.

    None where none of them can begin a thread: then what opens it is not here yet.
    """
    found, flags, replaced = applied(ordered(entries))
    roots = [one for one in found if one.event.name in OPENING and one.sid not in replaced]
    if not roots:
        return None
    course = _Course(roots[0], flags)
    fits: dict[str, bool] = {roots[0].sid: True}
    corrected_in_vain = {flag.sid for flag in flags}
    left: list[tuple[Entry, str]] = []
    for entry in found:
        if entry.sid == roots[0].sid:
            continue
        if entry.sid in replaced:
            fits[entry.sid] = False
            flags.append(Flag(entry.sid, "Another document of the same desk stands in its place."))
        elif entry.event.name == "corrected":
            fits[entry.sid] = entry.sid not in corrected_in_vain
        else:
            left = _try([*left, (entry, "")], course, fits)
    for entry, why in left:
        fits[entry.sid] = False
        flags.append(Flag(entry.sid, why))
    return course.matter(tuple(Step(entry, fits[entry.sid]) for entry in found))


def _try(
    left: list[tuple[Entry, str]], course: "_Course", fits: dict[str, bool]
) -> list[tuple[Entry, str]]:
    """Fit what can be fitted now; a document that fits may make room for one that came before it."""
    moved = True
    while moved:
        moved, still = False, []
        for entry, _why in left:
            why = course.take(entry)
            if why:
                still.append((entry, why))
            else:
                fits[entry.sid] = moved = True
        left = still
    return left


class _Course(Asks):
    """The matter while it is replayed."""

    def __init__(self, root: Entry, flags: list[Flag]) -> None:
        super().__init__(root, flags)
        self.basis = text(root.document, "legal_basis")
        self.least_days = codes.least_days(self.basis)
        self.mla_expected = expected(root.document)
        self.mla_submitted: int | None = None
        self.mla_received: int | None = None
        self.reference = ""
        if root.event.name == "oral":
            self.ask(root, REQUESTING)
        self._does: Mapping[str, Callable[[Entry, Event], str]] = {
            "opened": self._opened,
            "acknowledged": self.in_hand,
            "redirected": self._redirected,
            "asked": self.asked,
            "answered": self.answered,
            "decided": self._decided,
            "warned": lambda entry, _event: self.ask(entry, REQUESTING),
            "chosen": self.chosen,
            "postponed": self.postponed,
            "consulted": self.consulted,
            "extension_asked": self._extension_asked,
            "extension_decided": self._extension_decided,
            "mla_expected": self._mla_is_expected,
            "mla_submitted": self._mla_was_submitted,
            "mla_received": self._mla_was_received,
            "mla_decided": self._mla_was_decided,
            "withdrawn": self._withdrawn,
            "released": self._released,
            "path_found": self.path_found,
            "oral": lambda entry, _event: self.ask(entry, self.other(entry)),
            "urgency_changed": self.urgency_changed,
            "status_asked": lambda entry, _event: self.ask(entry, REQUESTED),
            "reported": self.reported,
            "onward_asked": lambda entry, _event: self.ask(entry, REQUESTED),
            "onward_decided": self.onward_decided,
            "taken_up": self._taken_up,
            "drill_answered": self._taken_up,
        }

    def take(self, entry: Entry) -> str:
        """Let a document do what it does; return why it does not fit, or ""."""
        event = entry.event
        act = self._does.get(event.name)
        if act is None:
            return "This desk does not know what a document of this kind does to a request."
        if entry.mode != self.root.mode:
            return "A drill moves nothing that is real, and the other way round."
        side = self.side(entry)
        if not side:
            return f"{entry.desk} has no part in this request."
        if event.by not in {"either", side}:
            return (
                f"A document of this kind is the other desk's to write, not that of {entry.desk}."
            )
        return act(entry, event)

    # Decisions

    def _opened(self, entry: Entry, event: Event) -> str:
        if self.root.event.name != "oral" or self.opened is not self.root:
            return "A second request in this thread; a thread has one."
        self.opened = entry
        self.requesting, self.requested = entry.desk, entry.to[0] if entry.to else ""
        self.basis = text(entry.document, "legal_basis")
        self.least_days = codes.least_days(self.basis)
        self.mla_expected = expected(entry.document)
        self.begin(event.items or (1,), entry.sid)
        self.close("oral", entry.at)
        return ""

    def _redirected(self, entry: Entry, _event: Event) -> str:
        desk = text(entry.document, "competent_desk")
        self.competent |= {desk} if desk else set()
        return self.redirect(entry, desk or text(entry.document, "competent_authority"))

    def _decided(self, entry: Entry, event: Event) -> str:
        if event.answers and self.opened.event.kind not in event.answers:
            return "It answers a request of another kind."
        named: list[tuple[int, str, int | None, int | None, str]]
        if event.kind in {"refusal", "cannot_execute"}:
            state = REFUSED if event.kind == "refusal" else NOT_HELD
            named = [(one, state, None, None, event.outcome) for one in self.of(event.items)]
        elif event.results:
            strange = sorted({one.item for one in event.results} - set(self.items))
            named = [
                (one.item, one.state, one.since, one.until, one.cause)
                for one in event.results
                if one.item in self.items
            ]
            if strange and named:
                self.flag(entry, f"The request has no item {', '.join(map(str, strange))}.")
        else:
            return self._other_outcome(entry, event)
        if not named:
            return "It decides on no item of this request."
        for number, state, since, until, cause in named:
            self.result(entry, number, state, since, until, cause)
        self.close("postponed", entry.at)
        return ""

    def _other_outcome(self, entry: Entry, event: Event) -> str:
        rows_of = (codes.find(name, event.outcome) for name in ("outcome", "suspect_outcome"))
        if event.outcome == "INQUIRIES-GO-ON":
            return ""
        if any(row is not None and row.more.get("asks") for row in rows_of):
            return self.ask(entry, REQUESTING, due=None)
        for number in self.of(event.items):
            self.move(entry, number, ANSWERED, cause=event.outcome)
        return ""

    def _taken_up(self, entry: Entry, event: Event) -> str:
        if event.answers and self.opened.event.kind not in event.answers:
            return "It answers a message of another kind."
        for number in self.of(event.items):
            self.move(entry, number, ANSWERED, cause=event.outcome)
        return ""

    # Extension, mutual legal assistance, the end

    def _extension_asked(self, entry: Entry, event: Event) -> str:
        numbers = self.held(event.items)
        if not numbers:
            return "Nothing of what it would extend is preserved."
        if all((self.items[one].until or 0) < entry.at for one in numbers):
            self.flag(entry, "It came after the end of what it would extend.")
        self.mla_expected = expected(entry.document) or self.mla_expected
        return self.ask(entry, REQUESTED, items=numbers, until=event.until)

    def _extension_decided(self, entry: Entry, event: Event) -> str:
        asked = [one for one in self.asks if one.name == "extension_asked" and one.closed is None]
        numbers = self.held(event.items)
        if not numbers:
            return "Nothing of what it would extend is preserved."
        granted = event.until if event.outcome.startswith("EXTENDED") else None
        if granted is None and not asked:
            return "It refuses an extension that nobody asked for."
        for number in numbers:
            self.extend(entry, number, granted)
        self.close(
            "extension_asked", entry.at, [one.sid for one in asked if set(one.items) & set(numbers)]
        )
        return ""

    def _mla_is_expected(self, entry: Entry, _event: Event) -> str:
        self.mla_expected = expected(entry.document) or self.mla_expected
        return ""

    def _mla_was_submitted(self, entry: Entry, event: Event) -> str:
        numbers = [one for one in self.of(event.items) if self.items[one].state in LIVE]
        if not numbers:
            return "Nothing of what it is about is open."
        self.mla_submitted = self.mla_submitted or event.since or entry.at
        self.reference = event.reference or self.reference
        for number in numbers:
            self.note_mla(entry, number, "submitted")
        return ""

    def _mla_was_received(self, entry: Entry, event: Event) -> str:
        numbers = self.held(event.items)
        if not numbers:
            return "Nothing of what it would hold is preserved."
        self.mla_received = self.mla_received or event.since or entry.at
        for number in numbers:
            self.hold(entry, number)
        return ""

    def _mla_was_decided(self, entry: Entry, event: Event) -> str:
        numbers = self.held(event.items)
        if not numbers:
            return "Nothing of what it is about is preserved."
        for number in numbers:
            self.end_hold(entry, number, text(entry.document, "data"), event.until)
        return ""

    def _withdrawn(self, entry: Entry, event: Event) -> str:
        numbers = [one for one in self.of(event.items) if self.can_withdraw(one)]
        if not numbers:
            return "Nothing of what it would withdraw is open."
        for number in numbers:
            self.move(entry, number, WITHDRAWN, cause=event.outcome)
        return self.ask(entry, REQUESTED, items=tuple(numbers))

    def _released(self, entry: Entry, event: Event) -> str:
        numbers = self.of(event.items)
        if event.kind == "withdrawal_confirmed":
            numbers = tuple(one for one in numbers if self.items[one].state == WITHDRAWN)
            if not numbers or not self.close("withdrawn", entry.at):
                return "It confirms a withdrawal that is not here."
            if entry.document.get("released") is not True:
                return ""
        return self.release(entry, numbers, event)

    def matter(self, steps: tuple[Step, ...]) -> Matter:
        """Return what was replayed."""
        over = {number for number, item in self.items.items() if item.state not in LIVE}
        asks = tuple(
            replace(ask, closed=self.ended_at(ask.items))
            if ask.closed is None and ask.items and set(ask.items) <= over and _dies(ask)
            else ask
            for ask in self.asks
        )
        deeds = [
            step.entry.at for step in steps if step.fits and self.side(step.entry) == REQUESTED
        ]
        taken = min(
            [one for one in (self.acknowledged, *deeds[:1]) if one is not None], default=None
        )
        return Matter(
            opened=self.opened,
            kind=self.opened.event.kind,
            requesting=self.requesting,
            requested=self.requested,
            priority=self.priority,
            basis=self.basis,
            items=tuple(self.items[number] for number in sorted(self.items)),
            asks=asks,
            flags=tuple(self.flags),
            steps=steps,
            acknowledged=taken,
            mla_expected=self.mla_expected,
            mla_submitted=self.mla_submitted,
            mla_received=self.mla_received,
            mla_reference=self.reference,
            paths=tuple(self.paths),
        )


def _dies(ask: Ask) -> bool:
    """Whether a question is over with the items that it is about; a withdrawal is confirmed all the same."""
    return ask.name not in {"withdrawn", "onward_asked", "status_asked", "consulted"}
