"""Any documents in any order, twice or late: both desks come to the same matter, and nothing is ever dropped."""

import random
from typing import Any

from builders_keys import NOW
from builders_matter import DAY, HOUR, Thread, at, some
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.desk import course
from relay.desk.matter import HELD, INTERIM, LAPSED, Entry, Matter

ITEMS = st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True)
DAYS = st.integers(1, 150)
_RANK = {HELD: 2, INTERIM: 1}


def told(matter: Matter | None) -> object:
    """Return what two desks must agree on."""
    if matter is None:
        return None
    steps = [(step.entry.sid, step.fits) for step in matter.steps]
    return matter.items, matter.waiting, sorted(matter.flags, key=str), steps, matter.priority


class Exchange(RuleBasedStateMachine):
    """Two desks write to each other; each message comes to the other in its own time, and perhaps twice."""

    @initialize()
    def begin(self) -> None:
        """VN asks AU for three items."""
        self.thread = Thread(items=3)
        self.clock = 0
        self.here: dict[str, list[Entry]] = {"VN": [self.thread.opened], "AU": []}
        self.promised: dict[int, int] = {}

    def _write(self, kind: str, desk: str = "", **fields: Any) -> None:
        self.clock += HOUR
        before = self.thread.replay()
        entry = self.thread.add(self.clock, kind, desk, **fields)
        self.here[entry.desk].append(entry)
        self._never_better_by_itself(before, self.thread.replay(), entry)

    def _never_better_by_itself(self, before: Matter, after: Matter, entry: Entry) -> None:
        """An item is held, or held for longer, only by documents that led there; this one is among them."""
        for was, now in zip(before.items, after.items, strict=True):
            better = _RANK.get(now.state, 0) > _RANK.get(was.state, 0)
            longer = now.state == was.state == HELD and (now.until or 0) > (was.until or 0)
            if better or longer or (now.hold and not was.hold):
                assert entry.sid in now.led, (was, now)
            worse = was.state == HELD and now.state != HELD
            if worse:
                assert entry.event.name in {"released", "withdrawn", "mla_decided", "chosen"}, entry

    @rule(items=ITEMS, days=DAYS)
    def accepts(self, items: list[int], days: int) -> None:
        """AU preserves some items, some of which may not exist."""
        since = {"days": days, "since": self.clock}
        self._write("acceptance", **Thread.held(*items, **since))

    @rule(items=ITEMS)
    def decides(self, items: list[int]) -> None:
        """AU preserves one item, and waits for another."""
        rows = [
            {"item": one, "result": ("PRESERVED", "PENDING", "NOT-PRESERVED")[n % 3]}
            for n, one in enumerate(items)
        ]
        self._write("partial", **(Thread.held(1, since=self.clock) | {"items": rows}))

    @rule(
        kind=st.sampled_from(["refusal", "cannot_execute", "withdrawal", "mla_received"]),
        items=ITEMS,
    )
    def of_some(self, kind: str, items: list[int]) -> None:
        """Documents that speak of some items."""
        self._write(kind, **some(*items))

    @rule(
        kind=st.sampled_from(
            [
                "acknowledgement",
                "redirect",
                "withdrawal_confirmed",
                "release_notice",
                "mla_submitted",
                "not_sufficient",
                "not_sufficient_decision",
                "postponement",
                "info_answer",
                "status_query",
                "status_report",
                "urgency_change",
                "consultation",
                "traffic_path_notice",
                "preservation_request",
                "locate_answer",
                "oral_notice",
                "handover_note",
            ]
        )
    )
    def whole(self, kind: str) -> None:
        """Documents that speak of the whole, sensible or not."""
        self._write(kind)

    @rule(days=DAYS, blocking=st.booleans(), freeze=st.booleans())
    def asks(self, *, days: int, blocking: bool, freeze: bool) -> None:
        """AU asks, and perhaps freezes."""
        fields: dict[str, Any] = {"questions": [{"id": "1", "text": "?", "blocking": blocking}]}
        if freeze:
            span = {"from": at(self.clock), "until": at(self.clock + days * DAY)}
            fields |= {"interim_measure_taken": True, "interim": span}
        self._write("info_request", **fields)

    @rule(items=ITEMS, days=DAYS, outcome=st.sampled_from(["EXTENDED", "LAST-TERM", ""]))
    def extends(self, items: list[int], days: int, outcome: str) -> None:
        """VN asks for more time, AU answers; either may be missing."""
        until = at(self.clock + days * DAY)
        if not outcome:
            self._write("extension_request", **some(*items), requested_until=until)
            return
        granted = until if outcome == "EXTENDED" else None
        self._write("extension_decision", **some(*items), outcome=outcome, granted_until=granted)

    @rule(data=st.sampled_from(["STILL-HELD", "LET-GO", "HANDED-OVER"]))
    def ends(self, data: str) -> None:
        """The request for mutual legal assistance is decided."""
        self._write("mla_decided", outcome="MLA-GRANTED", data=data)

    @rule(which=st.integers(0, 30), days=DAYS, desk=st.sampled_from(["VN", "AU"]))
    def corrects(self, which: int, days: int, desk: str) -> None:
        """Somebody corrects the end that some document names; this may take a promise back."""
        target = self.thread.entries[which % len(self.thread.entries)]
        row = {"field": "preserved_until", "value": at(days * DAY)}
        fields = {"message": target.sid, "effect": "CORRECTS", "fields": [row]}
        self.clock += HOUR
        entry = self.thread.add(self.clock, "correction", desk, **fields)
        self.here[desk].append(entry)

    @precondition(lambda self: len(self.here["VN"]) + len(self.here["AU"]) > 1)
    @rule(seed=st.integers(0, 1000), share=st.floats(0, 1))
    def arrives(self, seed: int, share: float) -> None:
        """Some of what is under way arrives, in any order, some of it twice."""
        dice = random.Random(seed)
        for entry in dice.sample(self.thread.entries, len(self.thread.entries)):
            if dice.random() < share:
                self.here[entry.to[0]].append(entry)

    @invariant()
    def agree_once_all_is_there(self) -> None:
        """Whatever order it came in: the same items, the same flags."""
        everywhere = told(self.thread.replay())
        for desk in ("VN", "AU"):
            missing = [one for one in self.thread.entries if one not in self.here[desk]]
            late = [*self.here[desk], *reversed(missing), *self.here[desk][:2]]
            assert told(course.replay(late)) == everywhere

    @invariant()
    def nothing_is_dropped(self) -> None:
        """Each document is a step; one that moved nothing has a flag."""
        matter = self.thread.replay()
        assert [step.entry.sid for step in matter.steps] == [one.sid for one in self.thread.entries]
        flagged = {flag.sid for flag in matter.flags}
        assert {step.entry.sid for step in matter.steps if not step.fits} <= flagged
        assert all(flag.text.endswith(".") for flag in matter.flags)

    @invariant()
    def time_only_takes(self) -> None:
        """As days pass, a held item lapses or stays; nothing else becomes of it, and it never comes back."""
        for item in self.thread.replay().items:
            seen = [item.standing(NOW + self.clock + days * DAY) for days in range(0, 400, 20)]
            assert set(seen) <= {item.state, LAPSED}
            if LAPSED in seen:
                assert set(seen[seen.index(LAPSED) :]) == {LAPSED}


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=60, stateful_step_count=18, deadline=None)
