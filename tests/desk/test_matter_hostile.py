"""Documents in which anything may stand: a matter is replayed all the same, and every page of it can be written."""

import json
import random
from typing import Any

from builders_keys import NOW
from builders_matter import DAY, Thread, document

from relay.desk import course
from relay.desk.documents import events, forms
from relay.desk.duties import duties, reminders, terms_of
from relay.desk.matter import Entry
from relay.desk.sheet import YEAR_1, YEAR_9999, both

ZONES = {"VN": "Asia/Ho_Chi_Minh", "AU": "Pacific/Kiritimati", "FR": "Nowhere/Else"}
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 2**53, "", "x", "ITEMS", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z",
    [], [1, 1, 99], [{}], {}, {"item": 1}, [{"item": "1", "result": "PRESERVED"}], "a" * 64, [[[]]],
)  # fmt: skip


def spoilt(given: Any, dice: random.Random) -> Any:
    """Return a document in which one thing, at any depth, is another."""
    if isinstance(given, dict) and given and dice.random() < 0.9:
        key = dice.choice(sorted(given))
        return given | {key: spoilt(given[key], dice)}
    if isinstance(given, list) and given and dice.random() < 0.9:
        place = dice.randrange(len(given))
        return [*given[:place], spoilt(given[place], dice), *given[place + 1 :]]
    return dice.choice(JUNK)


def test_nothing_that_a_document_says_breaks_a_matter() -> None:
    """Five hundred threads of spoilt documents: each is a step, its clocks can be drawn and its times written."""
    kinds = [kind for kind in forms.KINDS if forms.place(kind) != "kept"]
    for number in range(500):
        dice = random.Random(number)
        thread = Thread()
        for after in range(1, 9):
            kind = dice.choice(["acceptance", "correction", "extension_decision", *kinds])
            entry = thread.entry(after * DAY, kind)
            found = spoilt(document(kind), dice)
            if kind == "correction" and isinstance(found, dict) and dice.random() < 0.7:
                found["message"] = dice.choice(thread.entries).sid
            found = (found if isinstance(found, dict) else {}) | {"kind": kind}
            event = events.read(kind, found)
            thread.entries.append(
                Entry(entry.sid, entry.msgs, entry.desk, entry.to, entry.at, event, found)
            )
        matter = course.replay(thread.entries)
        assert matter is not None
        assert len(matter.steps) == 9, json.dumps([one.document for one in thread.entries])
        terms = terms_of(matter, {})
        now = NOW + 30 * DAY
        for duty in duties(matter, terms, now):
            assert both(duty.due, ZONES)
        for one in reminders(matter, terms, now):
            assert both(one.about, ZONES)


def test_a_time_at_the_end_of_the_calendar() -> None:
    """Years that no clock shows are shown at the calendar's edge, and a zone that nobody knows is left out."""
    assert both(10**15, ZONES).startswith("9999-12-30")
    assert both(-(10**15), ZONES).startswith("1-01-02") or both(YEAR_1, ZONES).startswith(
        "0001-01-02"
    )
    assert "FR" not in both(YEAR_9999, ZONES)
