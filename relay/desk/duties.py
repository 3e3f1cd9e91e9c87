"""What is due in a matter: what, by whom and when; and when somebody is reminded of it. Pure.

Clocks are those of ``documents/clocks.json``, made stricter by network and desk (``documents.clocks.terms``).
Every time is drawn from documents, so both desks draw the same. A clock of the requested desk stands still only while a
message says so in so many words, and the whole time since the request stands beside it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from relay.desk.documents import clocks
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.clocks import Terms
from relay.desk.matter import (
    HELD,
    INTERIM,
    OPEN,
    PENDING,
    REQUESTED,
    REQUESTING,
    WITHDRAWN,
    Ask,
    Item,
    Matter,
)

NOTICE, URGENT, EMERGENCY = "notice", "urgent", "emergency"
"""How loudly somebody is reminded; the last one rings."""
LEVELS = (NOTICE, URGENT, EMERGENCY)
HOLD_CHECKS_MAX = 60
"""While the decision on mutual legal assistance is awaited, so many reminders at most."""

_SAYS: Mapping[str, str] = {
    "asked": "Answer the questions",
    "warned": "Decide whether to go on",
    "extension_asked": "Decide on the extension",
    "status_asked": "Say how far it is",
    "withdrawn": "Confirm the withdrawal",
    "consulted": "Answer what was proposed",
    "onward_asked": "Say whether the data may be passed on",
    "oral": "Send the request in writing",
    "postponed": "Take it up again",
    "decided": "Send what is still needed",
}


@dataclass(frozen=True, slots=True)
class Duty:
    """Something that one side has to do. Times are seconds UTC."""

    name: str
    whose: str
    """``requesting`` or ``requested``."""
    since: int
    due: int
    """With the pauses up to now; 0 = it has no clock."""
    text: str
    items: tuple[int, ...] = ()
    paused: bool = False
    sid: str = ""
    """The document that asks for it."""
    opens: int = 0
    """From when on it can be done; 0 = at once."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """A moment at which somebody is told. *key* stays the same whenever it is drawn."""

    key: str
    whose: str
    at: int
    level: str
    text: str
    about: int = 0
    """The time that it speaks of: an end, or when something was due."""

    @property
    def group(self) -> str:
        """Return what it belongs to: of one group, only the last that is due is told."""
        return self.key.rpartition("/")[0]


def terms_of(
    matter: Matter, card: Mapping[str, object] | None, *settings: Mapping[str, object]
) -> Terms:
    """Return the clocks of a matter; *card* is the requested desk's, *settings* of network and desk."""
    return clocks.terms(matter.basis, matter.priority, card, *settings)


def duties(matter: Matter, terms: Terms, now: int) -> tuple[Duty, ...]:
    """Return what is due, the earliest first; what has no clock stands last."""
    found = [*_deciding(matter, terms, now), *_asked(matter, terms)]
    found += [*_keeping(matter, terms), *_following(matter, terms)]
    return tuple(sorted(found, key=lambda one: (one.due == 0, one.due, one.name, one.items)))


def _deciding(matter: Matter, terms: Terms, now: int) -> Iterator[Duty]:
    begun = matter.opened.at
    if matter.opened.event.name not in {"opened", "drill", "told"}:
        return
    undecided = tuple(one.number for one in matter.items if one.state in {OPEN, INTERIM})
    if undecided and matter.acknowledged is None:
        due = terms.start("acknowledge", begun)
        yield Duty("acknowledge", REQUESTED, begun, due, "Acknowledge the request", undecided)
    if undecided and matter.opened.event.name == "opened":
        due = terms.start("decide", begun) + matter.paused(now)
        text = "Decide: preserve, refuse, or ask"
        if matter.kind != "preservation_request":
            text = "Answer the request"
        yield Duty("decide", REQUESTED, begun, due, text, undecided, paused=matter.is_paused())
    for item in matter.items:
        if item.state == PENDING:
            due = item.expected or terms.seconds.get("in_effect", 0) + begun + matter.paused(now)
            text = f"Say what became of item {item.number}"
            paused = matter.is_paused()
            yield Duty("in_effect", REQUESTED, begun, due, text, (item.number,), paused=paused)


def _asked(matter: Matter, terms: Terms) -> Iterator[Duty]:
    for ask in matter.waiting:
        text = _SAYS.get(ask.name, "Answer")
        yield Duty(
            ask.name, ask.whose, ask.at, due_of(matter, ask, terms), text, ask.items, sid=ask.sid
        )


def due_of(matter: Matter, ask: Ask, terms: Terms) -> int:
    """Return by when something that was asked has to be done; 0 where nothing says.

    An answer to a request to extend is due before the alarm that would follow without it.
    """
    wanted = ask.due or 0
    if ask.clock in terms.seconds:
        drawn = terms.start(ask.clock, ask.at)
        wanted = min(wanted, drawn) if ask.due and ask.name == "oral" else ask.due or drawn
    if ask.name == "extension_asked" and (until := _end(matter, ask)):
        wanted = min(wanted or until, until - terms.seconds.get("extension_alarm", 0))
    return wanted


def _end(matter: Matter, ask: Ask) -> int:
    """Return the earliest end of the items for which an extension is asked; 0 if none of them needs one any more."""
    ends = [one.until for one in _running(matter) if one.number in ask.items and one.until]
    return min(ends, default=0)


def _running(matter: Matter) -> list[Item]:
    return [one for one in matter.items if one.state == HELD and not one.hold and one.until]


def _ends(items: Iterable[Item]) -> dict[int, tuple[int, ...]]:
    """Return the ends of items that are held, and the items of each."""
    found: dict[int, tuple[int, ...]] = {}
    for item in items:
        if item.until is not None:
            found[item.until] = (*found.get(item.until, ()), item.number)
    return found


def _keeping(matter: Matter, terms: Terms) -> Iterator[Duty]:
    asked = {
        number for ask in matter.waiting if ask.name == "extension_asked" for number in ask.items
    }
    for until, numbers in sorted(_ends(_running(matter)).items()):
        items = [one for one in matter.items if one.number in numbers]
        since = min(one.since or matter.opened.at for one in items)
        free = tuple(one for one in numbers if one not in asked)
        if not terms.follow_up or not free:
            continue
        opens = min(terms.before("extension_opens", until), default=0)
        last = all(one.last for one in items)
        text = (
            "See that the request for mutual legal assistance arrives: no further extension"
            if last
            else "Ask for an extension, or see that the request for mutual legal assistance arrives"
        )
        yield Duty("end", REQUESTING, since, until, text, free, opens=max(opens, since))


def _following(matter: Matter, terms: Terms) -> Iterator[Duty]:
    if not terms.follow_up:
        return
    held = [one for one in matter.items if one.state == HELD]
    if held and matter.mla_submitted is None and matter.mla_received is None:
        since, due = min(one.since or matter.opened.at for one in held), matter.mla_expected or 0
        yield Duty(
            "mla", REQUESTING, since, due, "Submit the request for mutual legal assistance",
            tuple(one.number for one in held),
        )  # fmt: skip
    if held and matter.mla_submitted is not None and matter.mla_received is None:
        due = max(terms.after("mla_received", matter.mla_submitted), default=0)
        text = "Say whether the request for mutual legal assistance has arrived"
        yield Duty("mla_received", REQUESTED, matter.mla_submitted, due, text)
    if any(one.hold for one in held) and matter.mla_received is not None:
        text = "Decide on the request for mutual legal assistance"
        yield Duty("mla_decided", REQUESTED, matter.mla_received, 0, text)


# Reminders


def reminders(matter: Matter, terms: Terms, now: int) -> tuple[Reminder, ...]:
    """Return every moment, past or to come, of what still stands by the documents; the earliest first."""
    found = [*_before_the_end(matter, terms), *_unanswered(matter, terms), *_mla(matter, terms)]
    for duty in duties(matter, terms, now):
        if duty.due and not duty.paused and duty.name not in {"acknowledge", "end", "mla_received"}:
            for side in (REQUESTING, REQUESTED):
                key = f"late/{side}/{duty.name}/{duty.sid[:16]}/{duty.due}/0"
                text = f"Late: {duty.text} ({matter.desk_of(duty.whose)})."
                found.append(Reminder(key, side, duty.due, URGENT, text, duty.due))
    return tuple(sorted(found, key=lambda one: (one.at, one.key)))


def _before_the_end(matter: Matter, terms: Terms) -> Iterator[Reminder]:
    opens = max(terms.days.get("extension_opens", (0,)), default=0)
    red = max(terms.days.get("extension_red", (0,)), default=0)
    promised = _ends(_running(matter))
    meanwhile = _ends(one for one in matter.items if one.state == INTERIM)
    for until, numbers, interim in (
        *((end, numbers, False) for end, numbers in promised.items()),
        *((end, numbers, True) for end, numbers in meanwhile.items()),
    ):
        what = f"{'The interim measure for' if interim else 'Preservation of'} {_items(numbers)}"
        for side in (REQUESTING, REQUESTED):
            kind = "meanwhile" if interim else "end"
            for days in terms.days.get(f"expiry_{side}", ()):
                at = until - days * DAY
                level = URGENT if days <= red else NOTICE
                left = f"{days} days" if days > 1 else "1 day"
                text = f"{what} ends in {left}."
                if interim:
                    text += " Nothing is decided."
                elif side == REQUESTING and days <= opens:
                    text += " The form to extend is open."
                yield Reminder(f"{kind}/{side}/{until}/{days:05d}", side, at, level, text, until)
            text = f"{what} has ended, and no document renewed it."
            yield Reminder(f"{kind}/{side}/{until}/00000", side, until + 1, URGENT, text, until)


def _unanswered(matter: Matter, terms: Terms) -> Iterator[Reminder]:
    before = terms.seconds.get("extension_alarm", 0)
    for ask in matter.waiting:
        until = _end(matter, ask) if ask.name == "extension_asked" else 0
        if not until or not before:
            continue
        other = matter.requested
        for side in (REQUESTING, REQUESTED):
            what = f"Telephone {other}" if side == REQUESTING else "Decide now"
            text = f"Nobody has answered the request to extend {_items(ask.items)}. {what}."
            at = max(until - before, ask.at)
            yield Reminder(
                f"alarm/{side}/{ask.sid[:16]}/{until}/0", side, at, EMERGENCY, text, until
            )


def _mla(matter: Matter, terms: Terms) -> Iterator[Reminder]:
    held = [one for one in matter.items if one.state == HELD]
    if not held:
        return
    since = min(one.since or matter.opened.at for one in held)
    if matter.mla_submitted is None and matter.mla_received is None:
        if matter.mla_expected is None:
            for at in terms.after("mla_ask", since):
                text = "When will the request for mutual legal assistance be sent? Say so."
                yield Reminder(f"mla/{REQUESTING}/{at}", REQUESTING, at, NOTICE, text)
        for at in terms.after("mla_warn", since):
            days = (at - since) // DAY
            text = f"No request for mutual legal assistance was sent in {days} days."
            yield Reminder(f"mla/{REQUESTING}/{at}", REQUESTING, at, NOTICE, text)
    elif matter.mla_received is None and matter.mla_submitted is not None:
        for at in terms.after("mla_received", matter.mla_submitted):
            for side in (REQUESTING, REQUESTED):
                text = "Nobody has said that the request for mutual legal assistance has arrived."
                yield Reminder(f"arrived/{side}/{at}", side, at, NOTICE, text)
    elif matter.mla_received is not None and any(one.hold for one in held):
        for every in terms.days.get("hold_status", ()):
            for number in range(1, HOLD_CHECKS_MAX + 1):
                at = matter.mla_received + number * every * DAY
                text = "The request for mutual legal assistance is not decided: ask how far it is."
                yield Reminder(f"hold/{REQUESTING}/{at}", REQUESTING, at, NOTICE, text)


def _items(numbers: tuple[int, ...]) -> str:
    return f"item{'s' if len(numbers) > 1 else ''} {', '.join(str(one) for one in numbers)}"


def pressing(matter: Matter, terms: Terms, now: int) -> tuple[int, int]:
    """Return by what matters are ordered: what waits for a withdrawn or lapsed one stands behind what runs out."""
    over = all(one.state == WITHDRAWN or one.standing(now) == "lapsed" for one in matter.items)
    due = [one.due for one in duties(matter, terms, now) if one.due]
    return int(over), min(due, default=1 << 62)
