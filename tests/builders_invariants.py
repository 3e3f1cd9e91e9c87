"""What must hold of a relay whatever happened to it, judged from its disk and from what people heard (invariants I1 to I7).

Nothing here asks the rules (relay.core) what should have happened: a stage's own statement says when the next one was
promised, and that promise is what is compared. A finding is a sentence that ends with its invariant.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from builders_simulation import MAPPED, Record, Story

from keys.statement import Statement
from relay.alert.page import key_of
from relay.core.message import Message
from relay.store.base import PAGE_KEPT_AFTER, Kept, PageRow
from relay.wire import receipt

GAP_S = 60
SLACK_S = 20
"""How long a process that lives may take for what is due: a turn, and a clock that shows whole seconds."""
UNDER_WAY_S = 75
"""How long after a person's word a page may still arrive that was under way: a lease, and a turn."""
ENDS = ("sent", "failed", "cancelled", "expired")
RUNGS = ("escalated", "exhausted")
BY_RELAY = {"escalated", "paged", "exhausted", "expired", "accepted", "recorded", "offered"}


async def judge(record: Record) -> list[str]:
    """Return what is wrong with a run, [] if nothing is."""
    found = list(dict.fromkeys(record.wrong))
    told = {
        desk: {entry.ref for entry in await record.disk.mailbox(desk, 0, 10**9)}
        for desk in ("VN", "AU", "FR")
    }
    for story in record.stories:
        found += [f"{one} {story.letter.msg[:6]}" for one in await _judge_one(record, story, told)]
    found += [f"{one} (I7)" for one in await record.disk.check()]
    found += _resends(record, await _rows(record))
    return found


async def _rows(record: Record) -> list[PageRow]:
    return [row for one in record.stories for row in await record.disk.pages(one.letter.msg)]


async def _judge_one(
    record: Record, story: Story, told: Mapping[str, AbstractSet[str]]
) -> list[str]:
    msg, disk = story.letter.msg, record.disk
    stored = await disk.load(msg)
    if stored is None:
        return ["was never accepted"]
    message = Message.decode(stored.state)
    kept = await disk.statements(msg)
    for one in kept:
        if one.kind in BY_RELAY:
            receipt.read(one.wire, {one.kind}, record.world.evidence.public)
    life = _Life(record, story, message, kept)
    return [
        *life.order(),
        *life.distances(),
        *life.promises(),
        *life.end(),
        *life.pages(await disk.pages(msg)),
        *_told(message, kept, told),
    ]


class _Life:
    """One message's statements in the log's order."""

    def __init__(
        self, record: Record, story: Story, message: Message, kept: Sequence[Kept]
    ) -> None:
        self.record = record
        self.story = story
        self.message = message
        assert message.ladder is not None
        self.plan = message.ladder.plan
        self.kept = kept
        key = record.world.evidence.public
        self.rungs: list[tuple[int, Statement]] = [
            (place, receipt.read(one.wire, set(RUNGS), key))
            for place, one in enumerate(kept)
            if one.kind in RUNGS
        ]
        self.settled = self._settled()

    def _settled(self) -> int:
        """Return the place of the statement that settled the message; the end if none did."""
        header = self.story.letter.header
        stops = {"acknowledged", "closed", "withdrawn"}
        if not header.ack_by or header.mode == "test":
            stops.add("delivered")
        ended = (place for place, one in enumerate(self.kept) if one.kind in stops)
        return next(ended, len(self.kept))

    def _between(self, first: int, last: int, kind: str) -> bool:
        return any(one.kind == kind for one in self.kept[first:last])

    def order(self) -> Iterator[str]:
        """Each stage once and in order (I1); none after a person's word (I4); the end is said once."""
        kinds = [one.fields.get("kind", "exhausted") for _place, one in self.rungs]
        planned = [stage.kind for stage in self.plan.stages]
        if kinds != planned[: len(kinds)]:
            yield f"climbed {kinds}, and not {planned} (I1)"
        stages = [one["stage"] for _place, one in self.rungs if one.kind == "escalated"]
        if stages != list(range(len(stages))):
            yield f"fired stages {stages} (I1)"
        if any(place > self.settled for place, _one in self.rungs):
            yield "climbed after it was settled (I4)"
        if sum(one.kind == "expired" for one in self.kept) > 1:
            yield "expired twice (I1)"

    def distances(self) -> Iterator[str]:
        """No stage before it was promised, and none closer than the gap, unless something hurried it (I3)."""
        for place, one in self.rungs[:1]:
            early = one["at"] < self.plan.stages[0].due
            if early and not self._between(0, place, "declined"):
                yield "the first stage was early (I3)"
        for (before, one), (after, other) in itertools.pairwise(self.rungs):
            hurried = other.fields.get("cause") == "unreachable" and other["kind"] == "backup"
            if hurried or self._between(before, after, "declined") or one.kind == "exhausted":
                continue
            if other["at"] < one["next_at"]:
                yield f"{_name(other)} came {one['next_at'] - other['at']} s before its time (I3)"
            if not _skipped(one) and other["at"] - one["at"] < GAP_S:
                yield f"{_name(other)} came {other['at'] - one['at']} s after {_name(one)} (I3)"

    def promises(self) -> Iterator[str]:
        """What was promised came, as soon as somebody was there to do it; a stage without people waits for nobody."""
        promised = self.plan.stages[0].due
        last = 0
        for place, one in [*self.rungs, (len(self.kept), None)]:
            if one is None and self.rungs and self.rungs[-1][1].kind == "exhausted":
                break
            until = one["at"] if one else self._over()
            held = self._between(last, place, "progress")
            if not held and (late := self._waited(promised, until)) > SLACK_S:
                yield f"{_name(one) if one else 'the next stage'} was {late:.0f} s late (I2)"
            if one is None or one.kind == "exhausted":
                break
            waits = _skipped(one) and one["next_at"] != one["at"]
            if waits and self.plan.stages[one["stage"] + 1].kind != "exhausted":
                yield "an empty stage was waited for (I3)"
            promised, last = one["next_at"], place

    def _over(self) -> int:
        """Return when nothing had to climb any more."""
        ends = [one.at for one in self.kept[self.settled :][:1]]
        return min([self.message.origin.expires, *ends])

    def _waited(self, promised: int, until: int) -> float:
        """Return the longest time between the two in which one process lived and did not do it."""
        begin, end = promised - self.record.start, until - self.record.start
        shared = (min(end, down) - max(begin, up) for up, down in self.record.up)
        return max(shared, default=0.0)

    def end(self) -> Iterator[str]:
        """Delivered and acknowledged, or told: nothing ends in silence."""
        expires = self.message.origin.expires
        ended = [one for one in self.kept if one.kind == "expired"]
        if self.settled == len(self.kept) and not ended:
            yield "ended without a word (I2)"
        if ended and ended[0].at < expires:
            yield "expired before its time (I3)"
        if ended and self._waited(expires, ended[0].at) > SLACK_S:
            yield "expired late (I2)"

    def pages(self, rows: Sequence[PageRow]) -> Iterator[str]:
        """Each stage has put its pages into the outbox with it, and each has come to an end (I5)."""
        wanted = [
            (one["stage"], one["at"])
            for _place, one in self.rungs
            if one.kind == "escalated" and not _skipped(one)
        ]
        have = sorted((row.stage, row.created) for row in rows)
        purged = self.record.end >= self.message.origin.expires + PAGE_KEPT_AFTER
        if have != ([] if purged else wanted):
            yield f"has pages {have} of stages {wanted} (I5)"
        for _place, one in self.rungs:
            if one.kind == "exhausted":
                said = [(stage["stage"], stage["at"]) for stage in one["stages"] if stage["pages"]]
                if said != wanted:
                    yield f"said at the end that {said} were paged, and not {wanted} (I5)"
        if any(row.state not in ENDS for row in rows):
            yield "has a page that came to no end (I5)"
        if self.settled < len(self.kept):
            word = self.kept[self.settled].at - self.record.start
            mine = {row.id for row in rows}
            heard = [sent.at for sent in self.record.sent if sent.page.key in mine]
            if any(at > word + UNDER_WAY_S for at in heard):
                yield "woke somebody after a person's word (I4)"


def _skipped(one: Statement) -> bool:
    return one.fields.get("cause") in ("empty", "unreachable") and one["kind"] == "backstop"


def _name(one: Statement) -> str:
    return str(one.fields.get("kind", one.kind))


def _told(
    message: Message, kept: Sequence[Kept], told: Mapping[str, AbstractSet[str]]
) -> list[str]:
    """Both desks are told of every stage and of the end."""
    said = {one.sid for one in kept if one.kind in (*RUNGS, "expired")}
    parties = (message.origin.sender, message.origin.to)
    missing = [desk for desk in parties if not said <= told[desk]]
    return [f"{desk} was not told of everything (I7)" for desk in missing]


def _keys(rows: Sequence[PageRow]) -> set[str]:
    """Return the keys of all pages about one message: of a stage, or of several stages that waited for one endpoint."""
    by_message: dict[tuple[str, str, str], list[PageRow]] = {}
    for row in sorted(rows, key=lambda row: (row.created, row.id)):
        by_message.setdefault((row.msg, row.desk, row.handle), []).append(row)
    return {
        key_of([row.id for row in some])
        for found in by_message.values()
        for count in range(1, len(found) + 1)
        for some in itertools.combinations(found, count)
    }


def _resends(record: Record, rows: Sequence[PageRow]) -> list[str]:
    """Every page that arrived is one of the outbox, and one that may have arrived before says so (I6)."""
    known = _keys(rows)
    first = record.end - record.start - PAGE_KEPT_AFTER  # before this a page's row may be gone
    found: list[str] = []
    heard: set[str] = set()
    for sent in record.sent:
        key = sent.page.key
        if sent.page.count == 1 and key not in known and sent.at > first:
            found.append("a page came from nowhere (I6)")
        if sent.page.desk not in MAPPED:
            found.append("a page went where no channel leads (I6)")
        if key in heard and not sent.page.repeat:
            found.append("a second page did not say that it is one (I6)")
        heard.add(key)
    return found
