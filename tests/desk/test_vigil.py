"""The dead man's timer: when it looks, what it says, and that it says it once, whatever happens to the machine."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from builders import Letter as Sealed
from builders import by_relay, letter_of, receipt_of
from builders_keys import NOW, World, profile, seed
from builders_loop import VirtualClock, play
from builders_relay import SetClock

from keys.directory import begin, update
from keys.repository import current_entry
from keys.statement import Statement
from relay.desk.archive import Archive
from relay.desk.aside import Aside
from relay.desk.clock import ComparedClock
from relay.desk.letters import NOTHING, Alias, Letter, Letters, Way
from relay.desk.lives import Lives
from relay.desk.notes import Notes
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.vigil import GRACE_S, LOOK_AGAIN_S, SILENT, UNSENT, UNSENT_S, Vigil

ASKED = {"emergency": 900, "urgent": 3600, "routine": 86_400}


class Bench:
    """The shelves of VN's desk and its vigil; another one on the same file is the desk after a restart."""

    def __init__(self, world: World, path: Path) -> None:
        """Open the archive; it knows the world's directory."""
        self.world = world
        self.archive = Archive(path, seed("archive"))
        self.roster = Roster(
            self.archive, desk="VN", service=world.service, device=world.device("VN")
        )
        if not self.roster.known:
            self.learn()
        self.records = Records(self.archive, self.roster)
        self.letters = Letters(self.archive)
        self.notes = Notes(self.archive)
        self.lives = Lives(self.roster, self.records, self.letters)
        aside = Aside(self.archive, self.notes, ComparedClock(SetClock()))
        self.vigil = Vigil(self.archive, self.roster, self.letters, self.lives, self.notes, aside)

    def learn(self) -> None:
        """Take the world's directory as it is now."""
        trusted = self.roster._trusted or begin(self.world.root)
        self.roster.take(update(trusted, self.world.files, NOW, allow_expired=True)[0])

    def shelve(self, sealed: Sealed, way: Way = Way.SENT) -> Letter:
        """Put a message onto its shelf, without watching over it."""
        letter = Letter(
            sealed.statement.sid,
            way,
            NOW,
            False,
            NOTHING,
            sealed.header,
            sealed.statement,
            b"",
            "vn-01",
        )
        self.letters.put(letter)
        self.letters.name(Alias(sealed.msg, letter.sid, way, NOW, sealed.header.expires))
        self.records.keep(sealed.submission, "VN", NOW, mine=True)
        return letter

    def keep(self, sealed: Sealed, way: Way = Way.SENT) -> Letter:
        """Keep a message that this desk hands in, or holds as its own copy."""
        with self.archive.commit():
            letter = self.shelve(sealed, way)
            self.vigil.keep(letter)
        return letter

    def hear(self, letter: Letter, found: Statement, desk: str = "", at: int = NOW + 1) -> None:
        """Keep a statement about a message, as whoever takes it in does."""
        with self.archive.commit():
            self.records.keep(found, desk, at)
            self.vigil.heard(letter)

    def again(self) -> "Bench":
        """Return the desk after a restart."""
        self.archive.close()
        return Bench(self.world, self.archive.path)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network in which nothing changes."""
    return World()


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Bench:
    """Return VN's shelves."""
    return Bench(world, tmp_path / "vn.db")


def stages(found: list[dict[str, Any]]) -> list[str]:
    """Return the stages of events."""
    return [one["stage"] for one in found]


@pytest.mark.parametrize("priority", ["emergency", "urgent", "routine"])
def test_when_it_looks(bench: Bench, priority: str) -> None:
    """Two minutes for what is hasty and with no relay; a minute after the deadline for all (DESIGN 5)."""
    sealed = letter_of(bench.world, NOW, priority=priority, ack_by=NOW + ASKED[priority])
    letter = bench.keep(sealed)
    hasty = priority != "routine"
    silent_at = NOW + ASKED[priority] + GRACE_S
    assert bench.vigil.next_at() == (NOW + UNSENT_S if hasty else silent_at)
    assert bench.vigil.due(NOW + UNSENT_S - 1) == []
    assert stages(bench.vigil.due(NOW + UNSENT_S)) == ([UNSENT] if hasty else [])
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 150))
    assert bench.vigil.next_at() == silent_at
    assert bench.vigil.due(silent_at - 1) == []
    assert stages(bench.vigil.due(silent_at)) == [SILENT]
    assert bench.vigil.next_at() is None


def test_a_shorter_time_and_a_stricter_desk(bench: Bench) -> None:
    """The deadline is the earlier of what the header asks and what the desk publishes (PROTOCOL 11.9)."""
    soon = letter_of(bench.world, NOW, nonce="soon", ack_by=NOW + 600)
    bench.hear(bench.keep(soon), by_relay(bench.world, soon, "accepted", NOW + 1))
    assert bench.vigil.next_at() == NOW + 600 + GRACE_S
    late = letter_of(bench.world, NOW, nonce="late", priority="emergency", ack_by=NOW + 9000)
    bench.hear(bench.keep(late), by_relay(bench.world, late, "accepted", NOW + 1))
    with bench.archive.commit():
        bench.archive.change("vigil", soon.statement.sid, {"due": 0})
    assert bench.vigil.next_at() == NOW + 1 + 900 + GRACE_S


def test_each_stage_is_said_once(bench: Bench) -> None:
    """Not again by itself, not after a restart, not when the clock was set back; the note and the row stay."""
    sealed = letter_of(bench.world, NOW)
    letter = bench.keep(sealed)
    (first,) = bench.vigil.due(NOW + UNSENT_S)
    assert (first["event"], first["to"], first["msg"]) == ("alarm", "AU", sealed.msg)
    assert "+84 24 1234 5678" in first["text"]
    assert bench.vigil.due(NOW + UNSENT_S) == []
    after = bench.again()
    assert after.vigil.due(NOW + UNSENT_S + 1) == []
    with after.archive.commit():
        after.vigil.heard(letter)
    assert after.vigil.due(NOW + UNSENT_S + 1) == []
    assert after.vigil.raised() == [letter.sid]
    assert stages(after.vigil.due(NOW + 9000)) == [SILENT]
    last = after.again()
    assert last.vigil.due(NOW + 90_000) == []
    assert [one["code"] for one in last.notes.last()] == [SILENT, UNSENT]
    last.archive.close()


def test_what_was_due_while_the_desk_was_off_is_said_at_once(bench: Bench) -> None:
    """The row outlives the process; of two stages that are due only the graver is said."""
    bench.keep(letter_of(bench.world, NOW))
    after = bench.again()
    assert stages(after.vigil.due(NOW + 7200)) == [SILENT]
    assert after.vigil.next_at() is None
    after.archive.close()


@pytest.mark.parametrize(
    "kind", ["acknowledged", "closed", "withdrawn", "expired", "exhausted", "delivered", "declined"]
)
def test_what_ends_the_watch(bench: Bench, kind: str) -> None:
    """A person's word, the relay's proof of silence, the end of its life; not delivery, and not a refusal."""
    sealed = letter_of(bench.world, NOW)
    letter = bench.keep(sealed)
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 1))
    if kind in {"expired", "exhausted"}:
        bench.hear(letter, by_relay(bench.world, sealed, kind, NOW + 2))
    else:
        desk = "VN" if kind == "withdrawn" else "AU"
        bench.hear(letter, receipt_of(bench.world, kind, sealed, NOW + 2, desk=desk), desk)
    goes_on = kind in {"delivered", "declined"}
    assert (bench.vigil.next_at() is not None) == goes_on
    assert stages(bench.vigil.due(NOW + 9000)) == ([SILENT] if goes_on else [])
    assert (letter.sid in bench.vigil.open()) == (goes_on or kind == "exhausted")
    # After `exhausted` somebody has to telephone all the same: the relay has said so.
    assert bench.vigil.ended(letter) == (kind == "exhausted")
    assert (bench.vigil.raised() != []) == (goes_on or kind == "exhausted")


def test_an_acknowledgement_of_another_text_ends_nothing(bench: Bench) -> None:
    """Only what verifies and counts: a receipt that names another statement, or a backup's before its stage (9.3)."""
    sealed = letter_of(bench.world, NOW)
    letter = bench.keep(sealed)
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 1))
    other = receipt_of(bench.world, "acknowledged", sealed, NOW + 2, statement="ab" * 32)
    bench.hear(letter, other, "AU")
    early = receipt_of(bench.world, "acknowledged", sealed, NOW + 3, desk="AU-B")
    bench.hear(letter, early, "AU-B")
    assert stages(bench.vigil.due(NOW + 9000)) == [SILENT]
    bench.hear(letter, by_relay(bench.world, sealed, "escalated", NOW + 4, kind="backup", stage=2))
    late = receipt_of(bench.world, "acknowledged", sealed, NOW + 5, desk="AU-B")
    bench.hear(letter, late, "AU-B", NOW + 9001)
    assert bench.vigil.raised() == []


def test_what_asks_for_no_person_ends_with_delivery(bench: Bench) -> None:
    """An answer with ack_by 0: `delivered` is all that was asked; without it the desk says that nobody has it."""
    sealed = letter_of(bench.world, NOW, ack_by=0)
    letter = bench.keep(sealed)
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 1))
    (event,) = bench.vigil.due(NOW + 9000)
    assert "received it" in event["text"]
    bench.hear(letter, receipt_of(bench.world, "delivered", sealed, NOW + 9001), "AU")
    assert bench.vigil.raised() == []


def test_a_message_that_goes_out_at_last_is_no_alarm_any_more(bench: Bench) -> None:
    """Unsent is over with the relay's acceptance; the deadline still counts."""
    sealed = letter_of(bench.world, NOW)
    letter = bench.keep(sealed)
    assert stages(bench.vigil.due(NOW + UNSENT_S)) == [UNSENT]
    assert bench.vigil.said(letter) is not None
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 200))
    assert bench.vigil.said(letter) is None
    assert bench.vigil.raised() == []
    assert stages(bench.vigil.due(NOW + 9000)) == [SILENT]


def test_a_colleagues_device_watches_too(bench: Bench) -> None:
    """The desk's own copy came from a relay, so it cannot be unsent; but silence is told by every device."""
    sealed = letter_of(bench.world, NOW)
    letter = bench.keep(sealed, Way.OWN)
    bench.hear(letter, by_relay(bench.world, sealed, "accepted", NOW + 1))
    assert bench.vigil.due(NOW + UNSENT_S) == []
    assert stages(bench.vigil.due(NOW + 9000)) == [SILENT]


def test_what_came_in_is_not_watched(bench: Bench) -> None:
    """The desk that was asked has the relay's ladder; its own clock is its officers'."""
    with bench.archive.commit():
        bench.vigil.keep(bench.shelve(letter_of(bench.world, NOW), Way.RECEIVED))
    assert bench.vigil.next_at() is None


def test_a_message_without_a_row_is_taken_up(bench: Bench) -> None:
    """An archive from before, or a backup: what is still open is watched over from the start on, once."""
    with bench.archive.commit():
        bench.shelve(letter_of(bench.world, NOW))
        bench.shelve(letter_of(bench.world, NOW, nonce="old", expires=NOW + 7200))
    assert bench.vigil.adopt(NOW + 7200) == 1
    assert bench.vigil.adopt(NOW + 7200) == 0
    assert stages(bench.vigil.due(NOW + 7200)) == [SILENT]


def test_the_plan_and_the_numbers_are_frozen(tmp_path: Path) -> None:
    """A desk that publishes a laxer time at night changes nothing for what is under way."""
    world = World()
    bench = Bench(world, tmp_path / "vn.db")
    sealed = letter_of(world, NOW, priority="emergency", ack_by=0)
    letter = bench.keep(sealed)
    bench.hear(letter, by_relay(world, sealed, "accepted", NOW + 1))
    before = bench.vigil.frozen(letter)
    entry = current_entry(world.files, "AU")
    changed = profile("+61 2 5550 1234")
    changed["emergency"]["acknowledge_s"] = 600
    world.edit("AU", {**entry, "profile": changed}, NOW + 2)
    bench.learn()
    with bench.archive.commit():
        bench.vigil.heard(letter)
    assert bench.vigil.frozen(letter) == before
    assert bench.vigil.next_at() == NOW + 1 + 900 + GRACE_S
    after = letter_of(world, NOW, nonce="after", priority="emergency", ack_by=0)
    fresh = bench.keep(after)
    bench.hear(fresh, by_relay(world, after, "accepted", NOW + 3))
    assert bench.vigil.next_at() == NOW + 3 + 600 + GRACE_S
    bench.archive.close()


def test_the_entry_that_the_relay_used_is_frozen_in_its_place(tmp_path: Path) -> None:
    """The relay knew a newer directory when it accepted; once this desk has it, that one counts (PROTOCOL 10)."""
    world = World()
    bench = Bench(world, tmp_path / "vn.db")
    sealed = letter_of(world, NOW)
    letter = bench.keep(sealed)
    old = bench.vigil.frozen(letter)
    entry = current_entry(world.files, "AU")
    world.edit("AU", {**entry, "profile": profile("+61 2 5550 1234")}, NOW + 1)
    accepted = by_relay(world, sealed, "accepted", NOW + 2)
    bench.hear(letter, accepted)
    assert bench.vigil.frozen(letter) == old  # not at hand yet: what there is stays
    bench.learn()
    with bench.archive.commit():
        bench.vigil.heard(letter)
    found = bench.vigil.frozen(letter)
    assert found is not None
    assert found.entry == accepted["entry"]
    bench.archive.close()


def test_one_timer_serves_all(bench: Bench) -> None:
    """It sleeps until the first is due, wakes for a new message, and notices a clock that was set within 30 s."""
    told: list[dict[str, Any]] = []

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), NOW)
        task = asyncio.ensure_future(bench.vigil.run(ComparedClock(clock), told.append))
        await clock.sleep(1000)
        assert told == []
        late = letter_of(bench.world, NOW, nonce="late", ack_by=NOW + 3000)
        bench.hear(bench.keep(late), by_relay(bench.world, late, "accepted", NOW + 1))
        await clock.sleep(1000)
        soon = letter_of(bench.world, NOW, nonce="soon", ack_by=NOW + 2100)
        bench.hear(bench.keep(soon), by_relay(bench.world, soon, "accepted", NOW + 1))
        await clock.sleep(100 + GRACE_S - 2)
        assert told == []
        await clock.sleep(4)
        assert [one["msg"] for one in told] == [soon.msg]
        clock.step(3600)  # the machine slept, or its clock was wrong
        await clock.sleep(LOOK_AGAIN_S + 1)
        assert [one["msg"] for one in told] == [soon.msg, late.msg]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(story())


def test_the_start_takes_up_what_has_no_row(bench: Bench) -> None:
    """A desk that starts on a restored archive speaks up about what was due meanwhile."""
    told: list[dict[str, Any]] = []
    with bench.archive.commit():
        bench.shelve(letter_of(bench.world, NOW))

    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), NOW + 7200)
        task = asyncio.ensure_future(bench.vigil.run(ComparedClock(clock), told.append))
        await clock.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    play(story())
    assert stages(told) == [SILENT]
