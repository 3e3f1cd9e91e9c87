"""What one side of a matter waits for while it is replayed: questions, notices, consultations, and what ends them."""

from collections.abc import Iterable
from dataclasses import replace

from relay.desk.course_items import Items
from relay.desk.documents.events import Event
from relay.desk.documents.reading import listed, rows, text
from relay.desk.matter import (
    HELD,
    LIVE,
    PRIORITIES,
    REQUESTED,
    REQUESTING,
    WITHDRAWN,
    Ask,
    Entry,
    Flag,
)


class Asks(Items):
    """Items, the two desks, and what was asked between them."""

    def __init__(self, root: Entry, flags: list[Flag]) -> None:
        """Begin with what opens the matter."""
        super().__init__(root.event.items or (1,), root.sid, flags)
        self.root = self.opened = root
        self.requesting, self.requested = root.desk, root.to[0] if root.to else ""
        self.priority = root.priority
        self.asks: list[Ask] = []
        self.acknowledged = root.taken_up
        self.paths: list[tuple[str, str]] = []

    def side(self, entry: Entry) -> str:
        """Return the side that wrote a document; "" for a desk that has no part."""
        if self.root.event.name == "oral" and self.opened is self.root:
            return entry.event.by if entry.event.by != "either" else REQUESTING
        if entry.desk == self.requesting:
            return REQUESTING
        others = {self.requested, *self.root.to, *self.competent}
        return REQUESTED if entry.desk in others else ""

    def other(self, entry: Entry) -> str:
        """Return the side that did not write a document."""
        return REQUESTED if self.side(entry) == REQUESTING else REQUESTING

    def ask(self, entry: Entry, whose: str, **more: object) -> str:
        """Note that a side has to act."""
        event = entry.event
        ask = Ask(
            name=event.name,
            sid=entry.sid,
            whose=whose,
            at=entry.at,
            due=event.due,
            clock=event.clock,
            items=self.of(event.items),
            paused=event.paused,
        )
        self.asks.append(replace(ask, **more))  # type: ignore[arg-type]
        return ""

    def close(self, name: str, at: int, sids: Iterable[str] | None = None) -> bool:
        """Close the open questions of a sort; whether there were any."""
        chosen = None if sids is None else set(sids)
        hits = [
            number
            for number, ask in enumerate(self.asks)
            if ask.name == name and ask.closed is None and (chosen is None or ask.sid in chosen)
        ]
        for number in hits:
            self.asks[number] = replace(self.asks[number], closed=at)
        return bool(hits)

    def asked(self, entry: Entry, event: Event) -> str:
        """Questions, and perhaps an interim measure."""
        ids = tuple(text(row, "id") for _path, row in rows(entry.document, "questions"))
        self.ask(entry, REQUESTING, questions=ids)
        if event.interim is not None:
            self.freeze(entry, self.of(event.items), *event.interim)
        return ""

    def answered(self, entry: Entry, _event: Event) -> str:
        """Answers; a question that stays open stays asked."""
        given = {text(row, "question") for _path, row in rows(entry.document, "answers")}
        given |= {one for one in listed(entry.document, "unknown") if isinstance(one, str)}
        hit = False
        for number, ask in enumerate(self.asks):
            if ask.name == "asked" and ask.closed is None and given & set(ask.questions):
                left = tuple(one for one in ask.questions if one not in given)
                closed = None if left else entry.at
                self.asks[number] = replace(ask, questions=left or ask.questions, closed=closed)
                hit = True
        return "" if hit else "It answers no question that is open."

    def chosen(self, entry: Entry, event: Event) -> str:
        """The requesting desk goes on, or does not."""
        if not self.close("warned", entry.at):
            return "It decides whether to go on, and nobody has asked that."
        if event.outcome == "WITHDRAW":
            for number in self.of(event.items):
                self.move(entry, number, WITHDRAWN, cause="WITHDRAW")
        return ""

    def postponed(self, entry: Entry, event: Event) -> str:
        """Not now; perhaps the data are held meanwhile."""
        numbers = [one for one in self.of(event.items) if self.items[one].state in LIVE - {HELD}]
        if not numbers:
            return "Nothing that it would postpone is undecided."
        self.ask(entry, REQUESTED, items=tuple(numbers))
        if event.interim is not None:
            self.freeze(entry, tuple(numbers), *event.interim)
        return ""

    def consulted(self, entry: Entry, _event: Event) -> str:
        """Terms are proposed, or agreed."""
        theirs = [ask.sid for ask in self.asks if ask.whose == self.side(entry)]
        self.close("consulted", entry.at, theirs)
        return "" if "agreed" in entry.document else self.ask(entry, self.other(entry))

    def in_hand(self, entry: Entry, _event: Event) -> str:
        """A person there has it."""
        self.acknowledged = min(entry.at, self.acknowledged or entry.at)
        return ""

    def reported(self, entry: Entry, _event: Event) -> str:
        """Where it stands, by their word; compared with the documents."""
        self.close("status_asked", entry.at)
        for _path, row in rows(entry.document, "items"):
            self.compare(entry, row)
        return ""

    def onward_decided(self, entry: Entry, _event: Event) -> str:
        """Whether data may go to a third State."""
        return "" if self.close("onward_asked", entry.at) else "Nobody has asked for that."

    def urgency_changed(self, _entry: Entry, event: Event) -> str:
        """The requested desk sees it as more or less urgent, with a reason."""
        value = event.outcome.lower()
        if value not in PRIORITIES:
            return "It does not say how urgent it is."
        self.priority = value
        return ""

    def path_found(self, entry: Entry, _event: Event) -> str:
        """The traffic came from or went to another State."""
        self.paths.append((entry.sid, text(entry.document, "suggested_next_desk")))
        return ""
