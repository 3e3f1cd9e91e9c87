"""A matter, document by document: what each does to the items, what it waits for, and what is flagged."""

from collections.abc import Callable
from typing import Any

import pytest
from builders_keys import NOW
from builders_matter import DAY, HOUR, WHOLE, Thread, at, some

from relay.desk import course
from relay.desk.documents import forms
from relay.desk.documents.events import expected

Story = Callable[[Thread], object]


def rows(*pairs: tuple[int, str, str | None]) -> list[dict[str, Any]]:
    """Return result rows: item, result, cause."""
    return [
        {"item": number, "result": result} | ({"cause": cause} if cause else {})
        for number, result, cause in pairs
    ]


def partly(thread: Thread) -> None:
    """Item 1 is preserved, item 2 is not."""
    found = rows((1, "PRESERVED", None), (2, "NOT-PRESERVED", "X-NOTHELD"))
    thread.add(HOUR, "partial", **(thread.held(1) | {"items": found}))


def pending(thread: Thread) -> None:
    """Item 1 is preserved, item 2 waits for its custodian."""
    found = rows((1, "PRESERVED", None), (2, "PENDING", None))
    found[1]["expected_at"] = at(DAY)
    thread.add(HOUR, "partial", **(thread.held(1) | {"items": found}))


def frozen(thread: Thread) -> None:
    """Questions, and the data are frozen meanwhile."""
    interim = {"from": at(HOUR), "until": at(10 * DAY)}
    thread.add(HOUR, "info_request", interim_measure_taken=True, interim=interim)


def held(thread: Thread) -> None:
    """Both items are preserved for 60 days."""
    thread.accept(HOUR, 1, 2)


def then(first: Story, kind: str, **fields: Any) -> Story:
    """Return a story with one more document a day later."""

    def story(thread: Thread) -> None:
        first(thread)
        thread.add(DAY, kind, **fields)

    return story


def only(kind: str, **fields: Any) -> Story:
    """Return a story of one document."""
    return lambda thread: thread.add(HOUR, kind, **fields)


GO = {"mla_reference": "MLA-7", "sent_at": at(DAY)}
CAME = {"received_at": at(DAY), "mla_ticket": "T-1"}
OVER = {"outcome": "MLA-GRANTED", "decided_at": at(DAY)}
MORE = {"outcome": "EXTENDED", "granted_until": at(120 * DAY)}


@pytest.mark.parametrize(
    ("story", "states"),
    [
        (lambda thread: None, ["open", "open"]),
        (only("acknowledgement"), ["open", "open"]),
        (held, ["held", "held"]),
        (partly, ["held", "not_held"]),
        (pending, ["held", "pending"]),
        (frozen, ["interim", "interim"]),
        (then(frozen, "info_answer"), ["interim", "interim"]),
        (then(frozen, "acceptance", **Thread.held(1, 2)), ["held", "held"]),
        (only("refusal", scope="WHOLE", items=None), ["refused", "refused"]),
        (only("refusal", **some(2)), ["open", "refused"]),
        (only("cannot_execute", **some(1)), ["not_held", "open"]),
        (then(partly, "refusal", **some(1)), ["held", "not_held"]),
        (then(partly, "acceptance", **Thread.held(2)), ["held", "held"]),
        (only("redirect", competent_desk="FR"), ["redirected", "redirected"]),
        (then(held, "redirect", competent_desk="FR"), ["held", "held"]),
        (only("postponement", **WHOLE), ["open", "open"]),
        (
            only("postponement", **WHOLE, interim_preservation=True, interim_until=at(9 * DAY)),
            ["interim", "interim"],
        ),
        (then(only("not_sufficient"), "not_sufficient_decision"), ["open", "open"]),
        (
            then(only("not_sufficient"), "not_sufficient_decision", decision="WITHDRAW"),
            ["withdrawn", "withdrawn"],
        ),
        (then(held, "withdrawal", **WHOLE), ["withdrawn", "withdrawn"]),
        (then(held, "withdrawal", **some(1)), ["withdrawn", "held"]),
        (
            then(then(held, "withdrawal", **WHOLE), "withdrawal_confirmed", released=True),
            ["released", "released"],
        ),
        (
            then(then(held, "withdrawal", **WHOLE), "withdrawal_confirmed", released=False),
            ["withdrawn", "withdrawn"],
        ),
        (then(held, "release_notice", released_at=at(DAY)), ["released", "released"]),
        (then(held, "mla_submitted", **GO), ["held", "held"]),
        (then(held, "mla_received", **CAME), ["held", "held"]),
        (then(held, "mla_decided", **OVER, data="HANDED-OVER"), ["handed_over", "handed_over"]),
        (then(held, "mla_decided", **OVER, data="LET-GO", **some(1)), ["released", "held"]),
        (then(held, "extension_decision", **MORE), ["held", "held"]),
        (then(held, "status_report", state="HELD"), ["held", "held"]),
        (only("urgency_change"), ["open", "open"]),
        (only("traffic_path_notice"), ["open", "open"]),
    ],
)
def test_what_a_document_makes_of_the_items(story: Story, states: list[str]) -> None:
    """The state of each item after a short story; what speaks of one item leaves the other alone."""
    thread = Thread()
    story(thread)
    assert thread.states() == states


def test_an_acceptance_names_its_end_for_each_item() -> None:
    """The headline end, and an item's own where it has one; less than the treaty's 60 days is flagged (42(8))."""
    thread = Thread()
    fields = thread.held(1, 2)
    fields["items"][1] |= {"preserved_from": at(0), "preserved_until": at(90 * DAY)}
    thread.add(HOUR, "acceptance", **fields)
    assert [item.until for item in thread.replay().items] == [NOW + 60 * DAY, NOW + 90 * DAY]
    assert thread.flags() == []
    short = Thread()
    short.accept(HOUR, 1, 2, days=59)
    assert short.states() == ["held", "held"]
    assert "59" not in short.flags()[0]
    assert "60 days" in short.flags()[0]


def test_time_ends_what_nobody_renewed() -> None:
    """Preserved up to the last second; then lapsed, by the clock alone; the state of the thread is its worst item's."""
    thread = Thread()
    thread.accept(0, 1, 2)
    thread.add(DAY, "mla_received", received_at=at(DAY), mla_ticket="T", **some(1))
    matter = thread.replay()
    end = NOW + 60 * DAY
    assert [item.standing(end) for item in matter.items] == ["held", "held"]
    assert [item.standing(end + 1) for item in matter.items] == ["held", "lapsed"]
    assert (matter.state(end), matter.state(end + 1)) == ("held", "lapsed")
    assert matter.open(end + 1)


@pytest.mark.parametrize(
    ("first", "kind", "fields", "says"),
    [
        (held, "release_notice", {"released_at": at(DAY)}, "before the end that was promised"),
        (held, "acceptance", Thread.held(1, 2, days=30), "earlier answer, which stands"),
        (held, "extension_decision", {"outcome": "EXTENDED", "granted_until": at(9 * DAY)}, "ends before"),
        (held, "extension_decision", {"outcome": "EXTENSION-REFUSED"}, "nobody asked for"),
        (held, "cannot_execute", {"scope": "WHOLE", "items": None}, "earlier answer, which stands"),
        (held, "info_answer", {}, "no question that is open"),
        (held, "not_sufficient_decision", {}, "nobody has asked that"),
        (held, "withdrawal_confirmed", {"released": True}, "withdrawal that is not here"),
        (held, "locate_answer", {}, "request of another kind"),
        (held, "postponement", WHOLE, "Nothing that it would postpone"),
        (held, "preservation_request", {}, "second request"),
        (held, "correction", {"message": "ab" * 6}, "is not here"),
        (held, "onward_transfer_answer", {}, "Nobody has asked"),
        (lambda thread: None, "extension_request", {}, "Nothing of what it would extend"),
        (lambda thread: None, "mla_received", CAME, "Nothing of what it would hold"),
        (lambda thread: None, "release_notice", {}, "Nothing of what it lets go"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_flagged_and_kept(
    first: Story, kind: str, fields: dict[str, Any], says: str
) -> None:
    """A promise stands, nothing is dropped, and the flag says why in a sentence."""
    thread = Thread()
    first(thread)
    before = thread.states()
    entry = thread.add(DAY, kind, **fields)
    matter = thread.replay()
    assert [flag.sid for flag in matter.flags][-1] == entry.sid
    assert says in matter.flags[-1].text
    assert entry in [step.entry for step in matter.steps]
    if kind != "release_notice":
        assert thread.states() == before


@pytest.mark.parametrize(
    ("desk", "mode", "says"),
    [
        ("VN", "actual", "the other desk's"),
        ("FR", "actual", "no part"),
        ("AU", "exercise", "drill"),
    ],
)
def test_who_may_say_what(desk: str, mode: str, says: str) -> None:
    """Neither the asking desk nor a stranger accepts, and no drill moves what is real."""
    thread = Thread()
    thread.add(HOUR, "acceptance", desk, mode=mode, **thread.held(1, 2))
    assert thread.states() == ["open", "open"]
    assert says in thread.flags()[0]


def test_a_redirected_request_is_answered_by_the_competent_desk() -> None:
    """The desk that a redirect names has a part from then on."""
    thread = Thread()
    thread.add(HOUR, "redirect", competent_desk="FR")
    thread.add(DAY, "acceptance", "FR", **thread.held(1, 2))
    assert thread.states() == ["held", "held"]
    assert thread.replay().items[0].led[-1] == thread.entries[-1].sid


def test_an_extension_from_question_to_answer() -> None:
    """Asked: it waits for the other side; granted: the end moves; the last term: it does not, and that is known."""
    thread = Thread()
    thread.accept(0, 1, 2)
    thread.add(50 * DAY, "extension_request", **WHOLE, requested_until=at(120 * DAY))
    (ask,) = thread.replay().waiting
    assert (ask.name, ask.whose, ask.clock) == ("extension_asked", "requested", "extension_answer")
    assert thread.replay().items[0].until == NOW + 60 * DAY
    thread.add(51 * DAY, "extension_decision", **MORE, **some(1))
    items = thread.replay().items
    assert [item.until for item in items] == [NOW + 120 * DAY, NOW + 60 * DAY]
    thread.add(52 * DAY, "extension_request", **some(2), requested_until=at(120 * DAY))
    thread.add(53 * DAY, "extension_decision", outcome="LAST-TERM", **some(2))
    item = thread.replay().items[1]
    assert (item.last, item.until) == (True, NOW + 60 * DAY)
    assert thread.replay().waiting == ()


def test_a_late_extension_counts_and_is_flagged() -> None:
    """The end had passed: it is held again by the document, and both read that there was a gap."""
    thread = Thread()
    thread.accept(0, 1, 2)
    thread.add(61 * DAY, "extension_decision", **MORE)
    assert thread.replay().state(NOW + 62 * DAY) == "held"
    assert any("after the end" in text for text in thread.flags())


def test_mutual_legal_assistance_holds_until_it_is_decided() -> None:
    """Submitted holds nothing; received holds beyond the end; decided lets the end count again (42(8))."""
    thread = Thread()
    thread.accept(0, 1, 2)
    thread.add(20 * DAY, "mla_submitted", **GO)
    assert thread.replay().state(NOW + 61 * DAY) == "lapsed"
    thread.add(30 * DAY, "mla_received", **CAME)
    matter = thread.replay()
    assert matter.state(NOW + 300 * DAY) == "held"
    assert (matter.mla_reference, matter.items[0].mla) == ("MLA-7", "received")
    thread.add(400 * DAY, "mla_decided", **OVER, data="STILL-HELD", held_until=at(420 * DAY))
    assert thread.replay().state(NOW + 419 * DAY) == "held"
    assert thread.replay().state(NOW + 421 * DAY) == "lapsed"


def test_a_pause_needs_a_message_that_says_so() -> None:
    """Questions that do not block pause nothing; blocking ones do until the answer; all that elapsed stays visible."""
    thread = Thread()
    thread.add(HOUR, "info_request", questions=[{"id": "1", "text": "Which?", "blocking": False}])
    assert not thread.replay().is_paused()
    blocking = [{"id": one, "text": "Which?", "blocking": True} for one in ("2", "3")]
    thread.add(2 * HOUR, "info_request", questions=blocking)
    assert thread.replay().is_paused()
    thread.add(3 * HOUR, "info_answer", answers=[{"question": "2", "text": "This."}])
    assert thread.replay().waiting[-1].questions == ("3",)
    thread.add(5 * HOUR, "info_answer", answers=None, unknown=["3"])
    matter = thread.replay()
    assert not matter.is_paused()
    assert (matter.paused(NOW + DAY), matter.flags) == (3 * HOUR, ())
    assert matter.elapsed(NOW + DAY) == DAY


def test_two_pauses_at_once_count_once() -> None:
    """The time in which anything paused it, not the sum."""
    thread = Thread()
    thread.add(HOUR, "postponement", **WHOLE)
    thread.add(2 * HOUR, "not_sufficient", waits=True)
    assert thread.replay().paused(NOW + 4 * HOUR) == 3 * HOUR


def test_a_call_that_is_confirmed_in_writing() -> None:
    """An oral notice opens a matter; it waits for the written request, whose items it then has (40(13))."""
    thread = Thread(kind="oral_notice", written_by=at(2 * HOUR))
    (ask,) = thread.replay().waiting
    assert (ask.name, ask.whose, ask.clock) == ("oral", "requesting", "written_confirmation")
    request = Thread(items=3).entries[0].document
    given = {key: value for key, value in request.items() if key != "kind"}
    thread.add(HOUR, "preservation_request", "VN", **given)
    matter = thread.replay()
    assert (matter.kind, len(matter.items), matter.waiting) == ("preservation_request", 3, ())
    assert matter.mla_expected == expected(request)


def test_a_correction_that_comes_late_counts_from_the_beginning() -> None:
    """The end that was mistyped; and only its author corrects a document."""
    thread = Thread()
    accepted = thread.add(HOUR, "acceptance", **thread.held(1, 2, days=6))
    assert len(thread.flags()) == 2
    fields = [{"field": "preserved_until", "was": at(6 * DAY), "value": at(61 * DAY)}]
    given = {"message": accepted.msgs[0][:12], "effect": "CORRECTS", "fields": fields}
    thread.add(30 * DAY, "correction", "VN", **given)
    assert "another desk" in thread.flags()[0]
    assert thread.replay().items[0].until == NOW + 6 * DAY
    thread.add(40 * DAY, "correction", "AU", **given)
    assert thread.replay().items[0].until == NOW + 61 * DAY
    assert len(thread.flags()) == 1


def test_a_document_is_replaced_when_the_other_is_here() -> None:
    """Until what supersedes it has come, the old word stands."""
    thread = Thread()
    first = thread.accept(HOUR, 1, 2)
    second = thread.entry(DAY, "acceptance", **thread.held(1, 2, days=75))
    named = {"message": first.sid[:16], "effect": "SUPERSEDES", "fields": None}
    thread.add(2 * DAY, "correction", "AU", **named, replaced_by=second.sid[:20])
    assert thread.replay().items[0].until == NOW + HOUR + 60 * DAY
    thread.entries.append(second)
    assert thread.replay().items[0].until == NOW + 75 * DAY
    assert [step.fits for step in thread.replay().steps] == [True, False, True, True]


@pytest.mark.parametrize(
    "field", ["", "kind", "items[9].result", "items", "officer", "a.b.c", "items[0]"]
)
def test_a_field_that_is_not_there_is_read_by_a_person(field: str) -> None:
    """What cannot be put in is flagged; it breaks nothing."""
    thread = Thread()
    accepted = thread.accept(HOUR, 1, 2)
    rows_of = [{"field": field, "value": "1"}]
    thread.add(
        DAY, "correction", "AU", message=accepted.sid[:12], effect="CORRECTS", fields=rows_of
    )
    assert "cannot be corrected by itself" in thread.flags()[0]
    assert thread.states() == ["held", "held"]


def test_an_answer_that_crossed_a_withdrawal() -> None:
    """The data are held, nobody wants them: withdrawn, with the end known, until they are let go."""
    thread = Thread()
    thread.add(HOUR, "withdrawal", **WHOLE)
    thread.accept(2 * HOUR, 1, 2)
    matter = thread.replay()
    assert [item.state for item in matter.items] == ["withdrawn", "withdrawn"]
    assert matter.items[0].until is not None
    assert "waits for release" in thread.flags()[0]
    thread.add(DAY, "withdrawal_confirmed", released=True)
    assert thread.states() == ["released", "released"]
    assert not thread.replay().open(NOW + DAY)


def test_what_came_before_what_it_answers_waits_for_it() -> None:
    """A decision on an extension that the relay had first: it fits once the acceptance is here."""
    thread = Thread()
    thread.add(HOUR, "extension_decision", **MORE)
    assert len(thread.flags()) == 1
    thread.accept(2 * HOUR, 1, 2)
    assert thread.flags() == []
    assert thread.replay().items[0].until == NOW + 120 * DAY


def test_a_report_that_differs_is_told_to_both() -> None:
    """It changes nothing; the difference is flagged."""
    thread = Thread()
    thread.accept(HOUR, 1, 2)
    said = [
        {"item": 1, "state": "ENDED"},
        {"item": 2, "state": "HELD", "until": at(HOUR + 60 * DAY)},
    ]
    thread.add(DAY, "status_report", state="HELD", items=said)
    assert len(thread.flags()) == 1
    assert thread.states() == ["held", "held"]


def test_a_path_to_a_third_state() -> None:
    """The notice names the next desk; the items stay as they were (43)."""
    thread = Thread()
    entry = thread.add(HOUR, "traffic_path_notice", suggested_next_desk="FR")
    assert thread.replay().paths == ((entry.sid, "FR"),)


def test_a_change_of_urgency_is_visible() -> None:
    """The requested desk sees it as less urgent; its clocks follow."""
    thread = Thread()
    thread.add(HOUR, "urgency_change", was="urgent", value="ROUTINE")
    assert thread.replay().priority == "routine"


def test_every_event_has_its_place() -> None:
    """No kind that may be sent is unknown to a matter."""
    thread = Thread()
    for kind in forms.KINDS:
        if forms.place(kind) != "kept":
            thread.add(HOUR, kind)
    assert not [text for text in thread.flags() if "does not know" in text and "kind" not in text]
    opening = {"opened", "told", "drill"}
    known = {
        step.entry.event.name
        for step in thread.replay().steps
        if step.entry.event.name not in opening
    }
    strange = [
        flag
        for flag in thread.replay().flags
        if "does not know what" in flag.text
        and next(e for e in thread.entries if e.sid == flag.sid).event.name not in opening
    ]
    assert len(known) > 25
    assert strange == []


def test_without_what_opens_it_there_is_no_matter() -> None:
    """Only an answer is here: nothing can be said yet."""
    assert course.replay([Thread().entry(HOUR, "acceptance")]) is None
    assert course.replay([]) is None
