"""The items of a matter while it is replayed: what each decision does to one of them. Pure.

An item that is held stays so until its end whatever else is said of it, unless a document takes the promise back in so
many words. What contradicts a promise is flagged, so that both desks read it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from relay.desk.documents.circumstances import DAY
from relay.desk.documents.events import Event
from relay.desk.documents.reading import at, integer, text
from relay.desk.matter import (
    HANDED_OVER,
    HELD,
    INTERIM,
    LIVE,
    OPEN,
    PENDING,
    REDIRECTED,
    RELEASED,
    WITHDRAWN,
    Entry,
    Flag,
    Item,
)

_GONE = frozenset({RELEASED, HANDED_OVER})
_OPEN_WORDS = frozenset({"NOT-HELD", "ENDED"})


class Items:
    """Items by their number; what changes one also notes the document that led there."""

    def __init__(self, numbers: Iterable[int], sid: str, flags: list[Flag]) -> None:
        """Begin with every item open."""
        self.items: dict[int, Item] = {}
        self.flags = flags
        self.competent: set[str] = set()
        self.least_days = 0
        self._ended: dict[int, int] = {}
        self.begin(numbers, sid)

    def begin(self, numbers: Iterable[int], sid: str) -> None:
        """Take the items of the request that opens the matter; those that were spoken of before keep their state."""
        was = self.items
        self.items = {one: was.get(one, Item(one, led=(sid,))) for one in numbers}

    def of(self, numbers: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return the items of a scope; None = all."""
        return tuple(one for one in (numbers or sorted(self.items)) if one in self.items)

    def held(self, numbers: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return the items of a scope for which a promise was given."""
        return tuple(one for one in self.of(numbers) if self.items[one].state == HELD)

    def flag(self, entry: Entry, why: str) -> None:
        """Flag a document that counts all the same."""
        self.flags.append(Flag(entry.sid, why))

    def _set(self, entry: Entry, number: int, **changes: object) -> None:
        item = self.items[number]
        led = item.led if entry.sid in item.led else (*item.led, entry.sid)
        self.items[number] = replace(item, led=led, **changes)  # type: ignore[arg-type]
        if self.items[number].state not in LIVE:
            self._ended.setdefault(number, entry.at)

    def ended_at(self, numbers: Iterable[int]) -> int:
        """Return when the last of some items that are over came to its end."""
        return max((self._ended.get(one, 0) for one in numbers), default=0)

    def move(self, entry: Entry, number: int, state: str, *, cause: str = "") -> None:
        """Give an item a state that holds nothing; what was promised stays readable."""
        self._set(entry, number, state=state, cause=cause)

    def freeze(
        self, entry: Entry, numbers: Iterable[int], since: int | None, until: int | None
    ) -> None:
        """Note that data are held while questions are open; it promises nothing beyond its end."""
        for one in numbers:
            item = self.items[one]
            if item.state in {OPEN, PENDING, INTERIM}:
                end = max(until or entry.at, item.until or 0)
                self._set(
                    entry, one, state=INTERIM, since=item.since or since or entry.at, until=end
                )

    def result(
        self,
        entry: Entry,
        number: int,
        state: str,
        since: int | None,
        until: int | None,
        cause: str,
    ) -> None:
        """Take what an answer says of one item."""
        item = self.items[number]
        if state == HELD:
            since = since or entry.at
            least = since + self.least_days * DAY
            if until is None:
                self.flag(entry, f"Item {number} is preserved, and it is not said until when.")
                until = least
            if until < least:
                days = self.least_days
                self.flag(
                    entry,
                    f"Item {number} is preserved for less than the {days} days of the treaty.",
                )
        if item.state in _GONE:
            self.flag(entry, f"Item {number} was let go before this answer.")
        elif item.state == WITHDRAWN:
            self.flag(
                entry, f"Item {number} was withdrawn before this answer; it waits for release."
            )
            if state == HELD:
                self._set(entry, number, since=since, until=until)
        elif item.state == HELD:
            self._again(entry, item, state, until)
        elif state == PENDING and item.state == INTERIM:
            self._set(entry, number, expected=until)
        elif state == PENDING:
            self._set(entry, number, state=PENDING, expected=until, cause=cause)
        elif state == HELD:
            self._set(entry, number, state=HELD, since=since, until=until, cause="", expected=None)
        else:
            self.move(entry, number, state, cause=cause)

    def _again(self, entry: Entry, item: Item, state: str, until: int | None) -> None:
        """A second answer on an item that is held: more is taken, less is flagged."""
        if state == HELD and until is not None and until >= (item.until or 0):
            self._set(entry, item.number, until=until)
        else:
            self.flag(
                entry,
                f"Item {item.number} is preserved by an earlier answer, which stands: "
                "a promise is taken back by a correction or a release.",
            )

    def extend(self, entry: Entry, number: int, granted: int | None) -> None:
        """Move the end of a promise; None = no further extension."""
        item = self.items[number]
        if granted is None:
            self._set(entry, number, last=True)
        elif granted < (item.until or 0):
            self.flag(entry, f"It ends before what is promised for item {number}, which stands.")
        else:
            if entry.at > (item.until or 0):
                self.flag(
                    entry, f"It came after the end of item {number}: ask what was kept meanwhile."
                )
            self._set(entry, number, until=granted)

    def redirect(self, entry: Entry, where: str) -> str:
        """Another desk is competent; what is held stays held."""
        numbers = [one for one in self.of(None) if self.items[one].state in {OPEN, PENDING}]
        if not numbers:
            return "Nothing that it would pass on is undecided."
        for one in numbers:
            self.move(entry, one, REDIRECTED, cause=where)
        return ""

    # Mutual legal assistance

    def note_mla(self, entry: Entry, number: int, mla: str) -> None:
        """Note how far the request for mutual legal assistance is; it never goes back."""
        if not self.items[number].mla:
            self._set(entry, number, mla=mla)

    def hold(self, entry: Entry, number: int) -> None:
        """It has arrived: the item is held until it is decided."""
        item = self.items[number]
        if entry.at > (item.until or 0):
            self.flag(
                entry, f"It came after the end of item {number}: ask what was kept meanwhile."
            )
        if item.mla != "decided":
            self._set(entry, number, mla="received", hold=True)

    def end_hold(self, entry: Entry, number: int, data: str, until: int | None) -> None:
        """It is decided: the data went over, are let go, or are held for a while."""
        if data == "HANDED-OVER":
            self._set(entry, number, state=HANDED_OVER, mla="decided", hold=False)
        elif data == "LET-GO":
            self._set(entry, number, state=RELEASED, mla="decided", hold=False, cause="MLA-OVER")
        else:
            end = max(until or 0, self.items[number].until or 0) or entry.at
            self._set(entry, number, mla="decided", hold=False, until=end)

    # The end

    def can_withdraw(self, number: int) -> bool:
        """Whether there is anything to withdraw of an item."""
        return self.items[number].state in LIVE | {REDIRECTED}

    def release(self, entry: Entry, numbers: tuple[int, ...], event: Event) -> str:
        """The data are no longer held; one that was let go before its promised end is flagged, and gone."""
        kept = [
            one
            for one in numbers
            if self.items[one].state in {HELD, INTERIM, WITHDRAWN}
            and (self.items[one].until is not None or event.kind == "withdrawal_confirmed")
        ]
        if not kept:
            return "Nothing of what it lets go is held."
        for one in kept:
            item = self.items[one]
            early = item.hold or (event.since or entry.at) < (item.until or 0)
            if item.state != WITHDRAWN and early:
                self.flag(
                    entry, f"Item {one} was let go before the end that was promised. Telephone."
                )
            self._set(entry, one, state=RELEASED, hold=False, cause=event.outcome)
        return ""

    def compare(self, entry: Entry, row: Mapping[str, object]) -> None:
        """Compare what a report says of an item with what its documents say; a report changes nothing."""
        number, said = integer(row, "item"), text(row, "state")
        item = self.items.get(number) if number is not None else None
        if item is None:
            self.flag(entry, f"The request has no item {number}.")
            return
        until = at(row, "until")
        less = item.state == HELD and said in _OPEN_WORDS
        more = said == "HELD" and item.state not in {HELD, INTERIM}
        other = said == "HELD" and until is not None and item.until not in {None, until}
        if less or more or other:
            self.flag(entry, f"The report says otherwise of item {number} than the documents do.")
