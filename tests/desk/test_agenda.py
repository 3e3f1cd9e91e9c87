"""The days of a matter on a desk's own shelves: each thing is said once, at its time, whatever happens to the machine."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from builders import header_of
from builders_keys import NOW, World, seed
from builders_loop import VirtualClock, play
from builders_matter import DAY, HOUR, WHOLE, Thread, document
from builders_relay import SetClock

from keys import statement, suite
from keys.directory import begin, update
from keys.repository import current_entry
from relay.desk import paper_matter
from relay.desk.agenda import Agenda
from relay.desk.archive import Archive
from relay.desk.aside import Aside
from relay.desk.clock import ComparedClock
from relay.desk.documents import forms
from relay.desk.documents import schema as schemas
from relay.desk.documents.reading import written
from relay.desk.letters import NOTHING, Alias, Letter, Letters, Way
from relay.desk.matter_views import MatterViews
from relay.desk.matters import Matters
from relay.desk.notes import Notes
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.sheet import Sheet
from relay.desk.vigil import LOOK_AGAIN_S
from relay.wire import content


class Bench:
    """The shelves of one desk and its agenda; another one on the same file is the desk after a restart."""

    def __init__(self, world: World, path: Path, desk: str = "VN", **clocks: object) -> None:
        """Open the archive; it knows the world's directory."""
        self.world, self.desk, self.clocks = world, desk, clocks
        self.archive = Archive(path, seed("archive"))
        device = world.device(desk)
        self.roster = Roster(self.archive, desk=desk, service=world.service, device=device)
        if not self.roster.known:
            self.roster.take(update(begin(world.root), world.files, NOW, allow_expired=True)[0])
        self.letters = Letters(self.archive)
        records = Records(self.archive, self.roster)
        self.matters = Matters(self.archive, self.roster, records, self.letters, clocks)
        self.notes = Notes(self.archive)
        aside = Aside(self.archive, self.notes, ComparedClock(SetClock()))
        self.agenda = Agenda(self.archive, self.roster, self.matters, self.notes, aside)
        self.views = MatterViews(self.matters)
        self.count = self.archive.count("message")

    def again(self) -> "Bench":
        """Return the desk after a restart."""
        self.archive.close()
        return Bench(self.world, self.archive.path, self.desk, **self.clocks)

    def letter(self, after: int, kind: str, thread: str = "", **fields: Any) -> Letter:
        """Return a document as a message that was kept so many seconds after NOW."""
        sender = "AU" if schemas.load(kind)["x-from"] == "requested" else "VN"
        to = "VN" if sender == "AU" else "AU"
        header = header_of(self.world, NOW + after, sender=sender, to=to, backup="")
        body = statement.encode(document(kind, **fields))
        stated = content.originate(
            header,
            kind=forms.statement_kind(kind),
            body_type=forms.body_type(kind),
            body=body,
            thread=thread,
            nonce=suite.sha256(f"{kind} {after}".encode())[:16],
            created=header.created,
            officer=self.world.signer(sender, self.world.handles(sender)[0]),
        )
        way = Way.SENT if sender == self.desk else Way.RECEIVED
        return Letter(stated.sid, way, NOW + after, False, NOTHING, header, stated, body, "one")

    def keep(self, letter: Letter, *, msg: str = "") -> str:
        """Keep a message as inbox and outbox do; return its message id."""
        name = msg or suite.sha256(letter.sid.encode()).hex()
        with self.archive.commit():
            self.letters.put(letter)
            self.letters.name(
                Alias(name, letter.sid, letter.way, letter.received, letter.header.expires)
            )
            self.agenda.touch(letter)
        return name

    def add(self, after: int, kind: str, thread: str = "", **fields: Any) -> str:
        """Write and keep a document."""
        return self.keep(self.letter(after, kind, thread, **fields))

    def ask(self, items: int = 2) -> str:
        """VN asks AU for some items at NOW; return the message id."""
        rows = document("preservation_request")["items"] * items
        later = written(NOW + 50 * DAY)[:10]
        given = {"items": rows, "legal_basis": "UNCC-42", "mla_expected_by": later}
        return self.add(0, "preservation_request", **given)

    def accept(self, thread: str, *numbers: int, days: int = 60) -> str:
        """AU preserves items for so many days."""
        return self.add(HOUR, "acceptance", thread, **Thread.held(*numbers, days=days, since=0))

    def live(self, until: int, since: int = 0) -> list[tuple[int, str, str]]:
        """Let the time pass up to a day; return (day, event or level, text) of what was said."""
        said: list[tuple[int, str, str]] = []
        now = NOW + since
        while now <= NOW + until:
            found = self.agenda.due(now)
            said += [
                ((now - NOW) // DAY, str(one.get("level", one["event"])), one["text"])
                for one in found
            ]
            coming = self.agenda.next_at()
            if coming is None:
                break
            now = max(coming, now + 1)
        return said

    def page(self, msg: str, after: int) -> dict[str, Any]:
        """Return the matter of a message as people see it."""
        letter, root = self.letters.resolve(msg), self.matters.resolve(msg)
        return self.views.page(letter, root, NOW + after)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network whose cards say when the offices are open."""
    found = World()
    for desk, zone in (("VN", "Asia/Ho_Chi_Minh"), ("AU", "Australia/Sydney")):
        entry = current_entry(found.files, desk)
        office = {
            "zone": zone,
            "days": [1, 2, 3, 4, 5],
            "opens": "08:00",
            "closes": "17:00",
            "holidays": [],
        }
        found.edit(desk, {**entry, "card": {**entry["card"], "office": office}}, NOW)
    return found


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Bench:
    """Return VN's shelves."""
    return Bench(world, tmp_path / "vn.db")


def days(said: list[tuple[int, str, str]], word: str) -> list[int]:
    """Return the days on which something with this word was said."""
    return [day for day, _level, text in said if word in text]


def test_sixty_days_that_lapse_unless_somebody_reads(bench: Bench) -> None:
    """30, 14, 7, 3, 1 days before the end, and once it has ended; nothing is sent after that."""
    bench.accept(bench.ask(), 1, 2)
    said = bench.live(200 * DAY)
    assert days(said, "ends in") == [30, 46, 53, 57, 59]
    assert days(said, "has ended") == [60]
    assert [level for _day, level, text in said if "ends in" in text] == ["notice"] * 2 + [
        "urgent"
    ] * 3
    assert "The form to extend is open." in said[[d for d, _l, t in said].index(30)][2] or any(
        day == 30 and "form to extend" in text for day, _level, text in said
    )
    assert bench.live(200 * DAY, 200 * DAY) == []


def test_the_requested_desk_is_reminded_less(world: World, tmp_path: Path) -> None:
    """7 and 1 days before the end."""
    au = Bench(world, tmp_path / "au.db", "AU")
    au.accept(au.ask(), 1, 2)
    assert days(au.live(59 * DAY + HOUR), "ends in") == [53, 59]


@pytest.mark.parametrize("desk", ["VN", "AU"])
def test_an_extension_that_nobody_answers_rings(world: World, tmp_path: Path, desk: str) -> None:
    """At emergency level, 24 h before the end, at both desks, with whom to call and both desks' local time."""
    bench = Bench(world, tmp_path / "one.db", desk)
    thread = bench.ask()
    bench.accept(thread, 1, 2)
    bench.add(
        52 * DAY, "extension_request", thread, **WHOLE, requested_until=written(NOW + 120 * DAY)
    )
    said = bench.live(59 * DAY - 1, 52 * DAY)
    assert "alarm" not in [level for _day, level, _text in said]
    (event,) = [one for one in bench.agenda.due(NOW + 59 * DAY) if one["event"] == "alarm"]
    assert (event["priority"], event["to"]) == ("emergency", "AU" if desk == "VN" else "VN")
    assert event["deadline"] == NOW + 60 * DAY
    assert "UTC, VN " in event["text"]
    assert ", AU " in event["text"]
    assert "Telephone: " in event["text"]
    shown = bench.agenda.standing(NOW + 59 * DAY)
    assert shown[0]["priority"] == "emergency"
    assert "emergency".upper() in "\n".join(
        paper_matter.standing({"matters_due": shown}, Sheet(NOW))
    )


def test_an_extension_in_time_is_no_alarm(bench: Bench) -> None:
    """Granted: the days are counted anew from the new end, and what stood is over."""
    thread = bench.ask()
    bench.accept(thread, 1, 2)
    bench.live(52 * DAY)
    bench.add(
        52 * DAY, "extension_request", thread, **WHOLE, requested_until=written(NOW + 120 * DAY)
    )
    more = {"outcome": "EXTENDED", "granted_until": written(NOW + 120 * DAY)}
    bench.live(54 * DAY, 52 * DAY)
    bench.add(54 * DAY, "extension_decision", thread, **more)
    said = bench.live(130 * DAY, 54 * DAY)
    assert days(said, "ends in") == [90, 106, 113, 117, 119]
    assert "alarm" not in [level for _day, level, _text in said]


def test_fourteen_months_with_two_extensions_and_legal_assistance(bench: Bench) -> None:
    """Not one day on which the data could have lapsed unseen; held until the decision; then it is over."""
    thread = bench.ask()
    bench.accept(thread, 1, 2)
    said = []
    for number, start in enumerate((50, 110)):
        said += bench.live(start * DAY, (start - 50) * DAY)
        until = written(NOW + (120 + 60 * number) * DAY)
        bench.add(start * DAY, "extension_request", thread, **WHOLE, requested_until=until)
        more = {"outcome": "EXTENDED", "granted_until": until}
        bench.add((start + 1) * DAY, "extension_decision", thread, **more)
    sent = {"mla_reference": "MLA-7", "sent_at": written(NOW + 150 * DAY)}
    bench.add(150 * DAY, "mla_submitted", thread, **sent)
    came = {"received_at": written(NOW + 170 * DAY), "mla_ticket": "T-9"}
    said += bench.live(170 * DAY, 111 * DAY)
    assert days(said, "has arrived") == [164]
    bench.add(170 * DAY, "mla_received", thread, **came)
    said = bench.live(420 * DAY, 170 * DAY)
    assert days(said, "ask how far it is") == list(range(200, 420, 30))
    assert days(said, "has ended") == []
    assert bench.page(thread, 419 * DAY)["items"][0]["state"] == "held"
    over = {"outcome": "MLA-GRANTED", "decided_at": written(NOW + 420 * DAY), "data": "HANDED-OVER"}
    bench.add(420 * DAY, "mla_decided", thread, **over)
    assert bench.live(800 * DAY, 420 * DAY) == []
    assert bench.views.listed(NOW + 421 * DAY) == []
    assert bench.page(thread, 421 * DAY)["state"] == "handed_over"


def test_a_withdrawn_request_is_confirmed_or_late(bench: Bench) -> None:
    """No reminder of its end any more; the confirmation is due after 24 h, and then it is over."""
    thread = bench.ask()
    bench.accept(thread, 1, 2)
    bench.live(DAY)
    bench.add(DAY, "withdrawal", thread, **WHOLE, reason="NO-LONGER-NEEDED")
    (duty,) = bench.page(thread, DAY)["due"]
    assert (duty["duty"], duty["by"], duty["due"]) == ("withdrawn", "AU", NOW + 2 * DAY)
    said = bench.live(100 * DAY, DAY)
    assert [(day, text.split(" (")[0]) for day, _level, text in said] == [
        (2, "Late: Confirm the withdrawal")
    ]
    given = {"scope": "WHOLE", "released": True, "released_at": written(NOW + 3 * DAY)}
    bench.add(3 * DAY, "withdrawal_confirmed", thread, **given)
    assert bench.live(100 * DAY, 3 * DAY) == []
    assert bench.views.listed(NOW + 4 * DAY) == []


def test_a_late_correction_moves_the_days(bench: Bench) -> None:
    """The end was mistyped as day 30; what was said of day 30 is not said of day 60 again, and nothing lapses."""
    thread = bench.ask()
    accepted = bench.accept(thread, 1, 2, days=30)
    said = bench.live(25 * DAY)
    assert days(said, "ends in") == [0, 16, 23]
    row = {"field": "preserved_until", "value": written(NOW + 60 * DAY)}
    fixed = {"message": accepted[:16], "effect": "CORRECTS", "fields": [row]}
    letter = bench.letter(25 * DAY, "correction", thread, **fixed)
    assert letter.header.sender == "VN"
    bench.keep(letter)
    assert len(bench.page(thread, 25 * DAY)["flags"]) == 3
    own = header_of(bench.world, NOW + 26 * DAY, sender="AU", to="VN", backup="")
    stated = content.originate(
        own,
        kind="info",
        body_type=forms.body_type("correction"),
        body=letter.body,
        thread=thread,
        nonce=b"n" * 16,
        created=own.created,
        officer=bench.world.signer("AU", bench.world.handles("AU")[0]),
    )
    late = Letter(
        stated.sid, Way.RECEIVED, NOW + 26 * DAY, False, NOTHING, own, stated, letter.body, "a"
    )
    bench.keep(late)
    said = bench.live(61 * DAY, 26 * DAY)
    assert days(said, "ends in") == [30, 46, 53, 57, 59]
    assert days(said, "has ended") == [60]


def test_each_thing_is_said_once_over_restarts_and_steps(bench: Bench) -> None:
    """Not again after a restart, not when the clock was set back; after a long sleep only the last of a kind."""
    bench.accept(bench.ask(), 1, 2)
    first = [one["text"] for one in bench.agenda.due(NOW + 31 * DAY)]
    assert any("30 days" in text for text in first)
    after = bench.again()
    assert after.agenda.due(NOW + 31 * DAY) == []
    assert after.agenda.due(NOW + 29 * DAY) == []
    with (
        after.archive.commit()
    ):  # something new is known of one of its messages: it is looked at again
        after.agenda.touch(after.letters.all()[0])
    assert after.agenda.due(NOW + 31 * DAY) == []
    late = [one["text"] for one in after.agenda.due(NOW + 58 * DAY)]
    assert [text for text in late if "ends in" in text] != []
    assert not any("14 days" in text or "7 days" in text for text in late)
    after.archive.close()


def test_what_an_older_archive_holds_is_taken_up(bench: Bench) -> None:
    """Messages without rows: the agenda finds them at its start, and which belong together."""
    thread = bench.ask()
    bench.accept(thread, 1, 2)
    with bench.archive.commit():
        bench.archive.purge("leaf", "1")
        bench.archive.purge("matter", "1")
    after = bench.again()
    assert after.matters.adopt() == 2
    assert after.matters.adopt() == 0
    assert after.page(thread, DAY)["items"][1]["state"] == "held"
    after.archive.close()


def test_an_answer_that_is_here_before_its_request(bench: Bench) -> None:
    """It waits without a matter, and belongs to it as soon as the request is here; so does an answer to an answer."""
    request = bench.letter(
        0,
        "preservation_request",
        items=document("preservation_request")["items"],
        legal_basis="UNCC-42",
    )
    name = "ab" * 32
    answer = bench.accept(name, 1)
    late = bench.add(2 * HOUR, "status_report", answer, state="HELD")
    assert bench.views.listed(NOW + HOUR) == []
    bench.keep(request, msg=name)
    page = bench.page(late, DAY)
    assert [step["kind"] for step in page["steps"]][:2] == ["preservation_request", "acceptance"]
    assert page["items"][0]["state"] == "held"


def test_the_settings_of_a_desk_are_stricter_only(world: World, tmp_path: Path) -> None:
    """More reminders and a shorter clock count; a longer one does not."""
    bench = Bench(
        world, tmp_path / "vn.db", expiry_requesting=[45], decide=10 * DAY, info_answer=60
    )
    thread = bench.ask()
    (ack, decide) = bench.page(thread, 0)["due"][:2]
    assert (ack["duty"], decide["duty"], decide["due"]) == ("acknowledge", "decide", NOW + DAY)
    bench.accept(thread, 1, 2)
    assert days(bench.live(59 * DAY + 1), "ends in") == [15, 30, 46, 53, 57, 59]


def test_the_page_and_the_list(bench: Bench) -> None:
    """What is due next and by whom, in UTC and both desks' time; items, documents, what is flagged; JSON that fits."""
    thread = bench.ask()
    bench.accept(thread, 1)
    bench.add(
        2 * HOUR,
        "mla_decided",
        thread,
        outcome="MLA-GRANTED",
        data="LET-GO",
        scope="ITEMS",
        items=[2],
    )
    page = bench.page(thread, 3 * HOUR)
    assert json.loads(statement.encode(page)) == page
    text = "\n".join(paper_matter.shown(page, Sheet(NOW + 3 * HOUR)))
    assert "AU: Decide: preserve, refuse, or ask [item 2]" in text
    assert "UTC, VN " in text
    assert "FLAGGED" in text
    assert "Item 1  preserved, until" in text
    assert "Nothing of what it is about is preserved." in text
    second = bench.add(4 * HOUR, "locate_request")
    listed = bench.views.listed(NOW + 5 * HOUR)
    assert [one["msg"] for one in listed] == [
        second,
        thread,
    ]  # its acknowledgement is due within the hour
    later = [bench.add((5 + n) * HOUR, "locate_request") for n in range(4)]
    ordered = [one["msg"] for one in bench.views.listed(NOW + 9 * HOUR)]
    assert ordered == [second, *later, thread]
    lines = list(paper_matter.listed(listed, Sheet(NOW + 5 * HOUR)))
    assert len(lines) == 4
    assert "1 FLAGGED" in lines[2]


def test_the_timer_runs(bench: Bench) -> None:
    """It sleeps until something is due, wakes for a new message, and notices a clock that was set."""
    told: list[dict[str, Any]] = []

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), NOW)
        task = asyncio.ensure_future(bench.agenda.run(ComparedClock(clock), told.append))
        await clock.sleep(100)
        bench.accept(bench.ask(), 1, 2)
        await clock.sleep(100)
        assert told == []
        clock.step(30 * DAY)
        await clock.sleep(LOOK_AGAIN_S + 1)
        assert any("ends in 30 days" in one["text"] for one in told)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(story())


def test_an_interim_measure_that_runs_out(bench: Bench) -> None:
    """Data that are held while questions are open have an end too; nobody forgets it, and both desks are told."""
    thread = bench.ask()
    span = {"from": written(NOW), "until": written(NOW + 10 * DAY)}
    bench.add(HOUR, "info_request", thread, interim_measure_taken=True, interim=span)
    said = bench.live(11 * DAY, HOUR)
    assert days(said, "interim measure for items 1, 2 ends in") == [0, 3, 7, 9]
    assert days(said, "has ended") == [10]
    assert bench.page(thread, 11 * DAY)["state"] == "lapsed"


def test_a_call_and_its_written_confirmation_are_one_matter(bench: Bench) -> None:
    """The request opens a thread of its own and names the call: the notice of that call is in the same matter."""
    call = bench.add(0, "oral_notice", call_at=written(NOW))
    (duty,) = bench.page(call, 0)["due"]
    assert (duty["duty"], duty["by"], duty["due"]) == ("oral", "VN", NOW + 8 * HOUR)
    rows = document("preservation_request")["items"]
    prior = {"at": written(NOW), "between": "A, B"}
    given = {"items": rows, "legal_basis": "UNCC-42", "request_status": "ORAL-CONFIRMED"}
    asked = bench.add(HOUR, "preservation_request", **given, prior_oral_request=prior)
    bench.add(2 * HOUR, "acceptance", asked, **Thread.held(1, days=60))
    page = bench.page(call, DAY)
    assert [step["kind"] for step in page["steps"]] == [
        "oral_notice",
        "preservation_request",
        "acceptance",
    ]
    assert (page["state"], page["kind"], page["flags"]) == ("held", "preservation_request", [])
    assert len(bench.views.listed(NOW + DAY)) == 1
