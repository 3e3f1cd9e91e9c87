"""The relay's ladder in words: what was reached and why, what comes next, whom to call, what to say; on paper too."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from builders import Letter as Sealed
from builders import by_relay, letter_of, receipt_of
from builders_keys import NOW, World, profile

from keys.directory import update, view
from keys.errors import Code, Refused
from keys.repository import current_entry
from keys.statement import Statement, decode, encode
from relay.core.escalation import Plan
from relay.desk import ladder, paper, paper_ladder, phone
from relay.desk.frozen import Frozen, freeze
from relay.desk.letters import Letter, Way
from relay.desk.records import Held
from relay.desk.sheet import Sheet
from relay.desk.timeline import Life, derive
from relay.wire import receipt

SHEET = Sheet(NOW + 700, UTC, 96)
NUMBER = "+84 24 1234 5678"


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network in which nothing changes."""
    return World()


@pytest.fixture(scope="module")
def sealed(world: World) -> Sealed:
    """Return an urgent request from VN to AU with AU-B as backup."""
    return letter_of(world, NOW, ack_by=NOW + 3601)


def plan_of(world: World, sealed: Sealed) -> Plan:
    """Return the plan as the sender draws it, accepted a second after it was written."""
    frozen = freeze(world.directory(), sealed.header)
    assert frozen is not None
    return frozen.plan(sealed.header, NOW + 1)


def lived(world: World, sealed: Sealed, *later: Statement) -> Life:
    """Derive the request's life as VN holds it."""
    accepted = by_relay(world, sealed, "accepted", NOW + 1)
    letter = Letter(
        sealed.statement.sid,
        Way.SENT,
        NOW,
        False,
        0,
        sealed.header,
        sealed.statement,
        b"",
        "vn-01",
    )
    held = [
        Held(one.sid, one.wire, sealed.msg, one.kind, "", NOW + at, verified=True, mine=False)
        for at, one in enumerate((sealed.submission, accepted, *later))
    ]
    return derive(letter, sealed.msg, held, world.directory(), world.service)


def stands(world: World, sealed: Sealed, *later: Statement) -> dict[str, Any]:
    """Return where the ladder stands; it fits strict JSON."""
    life = lived(world, sealed, *later)
    assert life.message is not None
    found = ladder.standing(life.message, life.climbs, life.paged, plan_of(world, sealed))
    encode(found)
    return found


def step(world: World, sealed: Sealed, stage: int, kind: str, /, **changes: Any) -> Statement:
    """Return the relay's word that a stage was reached ten minutes into the message's life."""
    fields = {"stage": stage, "kind": kind, "next_at": NOW + 1200, **changes}
    return by_relay(world, sealed, "escalated", NOW + 600, **fields)


def test_before_the_first_step(world: World, sealed: Sealed) -> None:
    """What comes first and when follows from the recipient's own profile."""
    found = stands(world, sealed)
    assert found["steps"] == []
    coming = {"kind": "path", "at": NOW + 301, "hurried": False, "held": False}
    assert found["next"] == coming
    assert found["deadline"] == NOW + 3601


def test_the_next_step_is_named_and_timed_by_the_relay(world: World, sealed: Sealed) -> None:
    """When: from the signed step. What: from the plan. Without a plan the time stands alone."""
    backstop = step(world, sealed, 1, "backstop")
    found = stands(world, sealed, backstop)
    assert [(one["kind"], one["cause"]) for one in found["steps"]] == [("backstop", "timeout")]
    assert (found["next"]["kind"], found["next"]["at"]) == ("backup", NOW + 1200)
    life = lived(world, sealed, backstop)
    assert life.message is not None
    bare = ladder.standing(life.message, life.climbs, (), None)
    assert (bare["next"]["kind"], bare["next"]["at"]) == ("", NOW + 1200)


def test_declined_and_progress_change_what_comes(world: World, sealed: Sealed) -> None:
    """A refusal brings the next step at once, a desk that calls its people may delay one; both only until it came."""
    declined = receipt_of(world, "declined", sealed, NOW + 601)
    fields = {"msg": sealed.msg, "desk": "AU", "tier": 1, "next_at": NOW + 900, "at": NOW + 601}
    progress = receipt.make("progress", fields, world.device("AU"))
    found = stands(world, sealed, step(world, sealed, 0, "path"), declined)
    assert found["next"]["hurried"]
    found = stands(world, sealed, declined, step(world, sealed, 0, "path", cause="declined"))
    assert not found["next"]["hurried"]
    assert found["steps"][0]["cause"] == "declined"
    assert stands(world, sealed, step(world, sealed, 0, "path"), progress)["next"]["held"]
    assert not stands(world, sealed, progress, step(world, sealed, 0, "path"))["next"]["held"]
    # The end is never delayed (PROTOCOL 11.9).
    assert not stands(world, sealed, step(world, sealed, 2, "backup"), progress)["next"]["held"]


def test_nothing_comes_after_a_persons_word(world: World, sealed: Sealed) -> None:
    """Acknowledged: no next step is announced any more."""
    acknowledged = receipt_of(world, "acknowledged", sealed, NOW + 700)
    found = stands(world, sealed, step(world, sealed, 1, "backstop"), acknowledged)
    assert found["next"] == {}
    assert found["outcome"] == ""


def test_the_end_tells_pages_and_outcomes(world: World, sealed: Sealed) -> None:
    """How many pages went out in each step and what became of them, as the relay signed it."""
    stages = [
        {"stage": 0, "at": NOW + 300, "pages": 1, "outcomes": ["sent"]},
        {"stage": 1, "at": NOW + 600, "pages": 2, "outcomes": ["sent", "failed_perm"]},
    ]
    end = by_relay(world, sealed, "exhausted", NOW + 3600, stages=stages)
    found = stands(world, sealed, step(world, sealed, 1, "backstop"), end)
    assert (found["outcome"], found["ended"], found["pages"]) == ("silence", NOW + 3600, stages)
    assert found["next"] == {}
    assert ladder.pages(stages) == "3 pages (2 sent, 1 failed for good)"
    assert ladder.pages(stages[:1]) == "1 page (1 sent)"
    assert ladder.pages([]) == "nobody was paged"
    later = {"stage": 1, "at": NOW, "pages": 2, "outcomes": ["by_pigeon", "pending"]}
    assert ladder.pages([later]) == "2 pages (1 not sent yet, 1 by_pigeon)"
    text = "\n".join([paper_ladder.stands({"ladder": found}, SHEET)])
    assert "nobody had acknowledged; 3 pages (2 sent" in text


def test_what_became_of_the_last_pages_is_shown_while_it_runs(world: World, sealed: Sealed) -> None:
    """The newest word of each stage; the text shows the last stage's, in the timeline each line (PROTOCOL 11.13)."""
    said = [
        by_relay(world, sealed, "paged", NOW + 301, stage=0, pages=1, outcomes=["sent"]),
        by_relay(world, sealed, "paged", NOW + 610, stage=1, pages=2, outcomes=["sent", "unknown"]),
        by_relay(world, sealed, "paged", NOW + 640, stage=1, pages=2, outcomes=["sent", "sent"]),
    ]
    stage = step(world, sealed, 1, "backstop")
    found = stands(world, sealed, said[0], stage, *said[1:])
    assert [(one["stage"], one["outcomes"]) for one in found["pages"]] == [
        (0, ["sent"]),
        (1, ["sent", "sent"]),
    ]
    assert found["outcome"] == ""
    text = paper_ladder.stands({"ladder": found}, SHEET)
    assert "the relay says: 2 pages (2 sent) for step 2" in text
    assert "step 1" not in text
    lines = [line.text for line in lived(world, sealed, stage, *said).lines]
    assert "the relay says: 2 pages (1 sent, 1 perhaps sent) for step 2" in lines


@pytest.mark.parametrize("kind", ["path", "backstop", "backup"])
@pytest.mark.parametrize("cause", ["timeout", "declined", "unreachable", "empty", "manual"])
def test_every_step_has_words(kind: str, cause: str) -> None:
    """Each kind and each cause that the relay can sign is a sentence, and a step that was passed over says so."""
    fields = {"stage": 1, "kind": kind, "cause": cause, "at": NOW, "next_at": NOW + 60}
    text = ladder.step(fields)
    assert text.startswith(f"step 2, {kind}: ")
    assert "because" in text
    at_once = ladder.step({**fields, "next_at": NOW})
    over = kind == "backstop" and cause in {"unreachable", "empty"}
    assert ("passed over at once" in at_once) == over


def test_a_backup_that_was_reached_early_was_reached(world: World, sealed: Sealed) -> None:
    """Nobody of the backstop could be paged, so the backup came at once: it was woken, not passed over (11.12)."""
    text = ladder.step(step(world, sealed, 2, "backup", cause="unreachable").fields)
    assert "woken" in text
    assert "nobody could be reached in the step before" in text


# Whom to call


def test_the_numbers_come_from_the_entry_that_accepted_names(sealed: Sealed) -> None:
    """The frozen entry, else the directory at hand if it is the one, else that one with a note (PROTOCOL 10)."""
    world = World()
    header = sealed.header
    before = freeze(world.directory(), header)
    assert before is not None
    accepted = by_relay(world, sealed, "accepted", NOW + 1)
    listed, note = phone.whom(header, before, accepted, world.directory())
    assert [(one["desk"], one["number"]) for one in listed] == [("AU", NUMBER), ("AU-B", NUMBER)]
    assert note == ""
    entry = current_entry(world.files, "AU")
    world.edit("AU", {**entry, "profile": profile("+61 2 5550 1234")}, NOW + 2)
    after = world.directory()
    numbers = [one["number"] for one in phone.whom(header, before, accepted, after)[0]]
    assert numbers == [NUMBER, NUMBER, "+61 2 5550 1234"]
    assert "published since" in phone.whom(header, before, accepted, after)[1]
    # Neither is the entry that the relay used: what is at hand, and it is said.
    listed, note = phone.whom(header, None, accepted, after)
    assert [one["number"] for one in listed] == ["+61 2 5550 1234", NUMBER]
    assert f"version {after.version}" in note
    # The relay used the new one, this desk froze the old one and has both: the new one counts.
    newer = by_relay(world, sealed, "accepted", NOW + 3)
    assert phone.whom(header, before, newer, after) == (listed, "")
    # Not accepted at all: what is at hand.
    assert phone.whom(header, before, None, after) == (listed, "")


def test_what_is_kept_is_what_was_frozen(world: World, sealed: Sealed) -> None:
    """A frozen profile survives the archive."""
    frozen = freeze(world.directory(), sealed.header)
    assert frozen is not None
    assert Frozen.decode(frozen.encode()) == frozen


def test_what_was_kept_before_offices_were_known(world: World, sealed: Sealed) -> None:
    """An archive of an earlier day opens: what a card did not say then is unknown, and no error."""
    frozen = freeze(world.directory(), sealed.header)
    assert frozen is not None
    kept = decode(frozen.encode())
    del kept["office"]

    assert Frozen.decode(encode(kept)) == replace(frozen, office={})
    assert freeze(world.directory(), replace(sealed.header, to="NZ")) is None


def test_the_sentence_names_no_content(world: World, sealed: Sealed) -> None:
    """Who calls, the message's digits, the priority; a drill is said first, unopenable is not called silence."""
    caller = world.directory().desk("VN")
    text = phone.sentence(sealed.header, sealed.msg, caller)
    assert text.startswith(
        "This is the duty officer of the 24/7 contact point of Viet Nam, desk VN."
    )
    assert f"code {sealed.msg[:5]} {sealed.msg[5:10]}, priority urgent" in text
    assert sealed.msg[:12] not in text.replace(" ", "")
    assert text.endswith("we are still delivering.")
    drill = phone.sentence(replace(sealed.header, mode="exercise"), sealed.msg, caller)
    assert drill.startswith("EXERCISE")
    broken = phone.sentence(sealed.header, sealed.msg, caller, "unopenable")
    assert "none of them can open it" in broken
    assert "acknowledge it" not in broken


def test_the_telephone_book(world: World) -> None:
    """One desk, or all desks of a State; small letters will do; an unknown one names those that there are."""
    directory = world.directory()
    found = phone.book(directory, "au", NOW)
    encode(found)
    assert [one["desk"] for one in found["desks"]] == ["AU", "AU-B"]
    assert found["desks"][0]["numbers"][0]["number"] == NUMBER
    assert found["warnings"] == []
    assert [one["desk"] for one in phone.book(directory, "AU-B", NOW)["desks"]] == ["AU-B"]
    with pytest.raises(Refused) as refused:
        phone.book(directory, "NZ", NOW)
    assert refused.value.code is Code.E_WRONG_DESK
    assert "AU, AU-B, VN" in refused.value.hint
    old = phone.book(directory, "VN", directory.expires + 1)
    assert "past its date" in old["warnings"][0]
    text = "\n".join(paper_ladder.book(old, SHEET))
    assert text.startswith("! The directory is past its date")
    assert f"{NUMBER}  (en; 24/7)" in text


def test_a_desk_whose_key_changed_is_called_with_a_warning() -> None:
    """The registrar may be the thief: the fingerprints stand beside the number."""
    world = World()
    before = world.trusted()
    world.swap_desk_key("AU", NOW + 1)
    trusted = update(before, world.files, NOW + 1)[0]
    found = phone.book(view(trusted, NOW + 1), "AU", NOW + 1)
    assert len(found["warnings"]) == 1


# On paper


def page(**changed: Any) -> dict[str, Any]:
    """Return what the verb `show` gives VN for its urgent request to AU."""
    top = {
        "from": "VN",
        "to": "AU",
        "priority": "urgent",
        "mode": "actual",
        "ack_by": NOW + 3600,
        "backup": "AU-B",
        "created": NOW,
        "expires": NOW + 600_000,
    }
    plain: dict[str, Any] = {
        "msg": "4711082245" + "a" * 54,
        "header": top | changed.pop("header", {}),
        "kind": "request",
        "officer": "vn-01",
        "state": "delivered",
        "thread": "",
        "body_type": "text/plain",
        "text": "",
    }
    return plain | changed


CALL = {
    "to": "AU",
    "why": "The ladder ended.",
    "outcome": "silence",
    "numbers": [
        {
            "desk": "AU",
            "label": "duty officer",
            "number": "+61 2 5550 1234",
            "languages": ["en"],
            "hours": "24/7",
        }
    ],
    "note": "The last ones were published since this message went out.",
    "say": "This is the duty officer.",
}
RUNNING = {
    "steps": [
        {
            "stage": 1,
            "kind": "backstop",
            "cause": "timeout",
            "at": NOW + 600,
            "next_at": NOW + 1200,
        }
    ],
    "next": {"kind": "backup", "at": NOW + 1200, "hurried": False, "held": False},
    "deadline": NOW + 3600,
    "outcome": "",
    "ended": 0,
    "pages": [],
}


def read(found: dict[str, Any], mine: str = "VN") -> str:
    """Return a page as *mine* reads it, on one line for each row."""
    return "\n".join(paper.shown(found, mine, Sheet(NOW + 700, UTC, 400)))


def test_a_page_says_how_far_the_ladder_is() -> None:
    """Which step, why, when; what comes next and when, in UTC and the time that is left."""
    text = read(page(ladder=RUNNING))
    assert "step 2, backstop: the desk's backstop is paged, because nobody" in text
    assert "next: the backup desk is woken" in text
    assert "2027-01-15 08:20:00 UTC, 8 min left" in text
    held = {**RUNNING, "next": {**RUNNING["next"], "held": True}}  # type: ignore[dict-item]
    assert "the desk is calling its people" in read(page(ladder=held))


def test_a_page_says_whom_to_call_and_what_to_say() -> None:
    """Right below the next step, before anything else."""
    lines = read(page(state="exhausted", call=CALL)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("Next"))
    assert "Telephone AU: nobody there has acknowledged it" in lines[at]
    assert "+61 2 5550 1234  AU: duty officer, en; 24/7" in lines[at + 1]
    assert "published since" in lines[at + 2]
    assert '"This is the duty officer."' in lines[at + 3]
    broken = read(page(state="exhausted", call={**CALL, "outcome": "unopenable"}))
    assert "none can open it" in broken
    assert "nobody there has acknowledged" not in broken


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            {"state": "declined", "ladder": {**RUNNING}},
            "A person at AU declined it; next, the backup",
        ),
        ({"state": "delivered", "call": CALL}, "Telephone AU, see the warning"),
        ({"state": "queued", "call": CALL}, "Telephone AU, see the warning"),
        ({"state": "expired"}, "Telephone AU, or send it anew"),
    ],
)
def test_what_the_sender_does_next(found: dict[str, Any], words: str) -> None:
    """Each state of a request that nobody took up has a next step of its own."""
    assert words in read(page(**found))


def test_what_the_other_desk_reads() -> None:
    """Two desks and one request: who has nothing to sign, who is the backup, and that late is better than never."""
    theirs = read(page(state="acknowledged", by={"acknowledged": "AU-B"}), "AU")
    assert "Nothing to sign: AU-B has acknowledged it" in theirs
    assert "desk answer" in read(page(state="acknowledged", by={"acknowledged": "AU"}), "AU")
    deputy = read(page(state="declined", by={"declined": "AU"}), "AU-B")
    assert "You are the backup of AU. Acknowledge by" in deputy
    assert "desk acknowledge 4711082245" in deputy
    late = read(page(state="exhausted"), "AU")
    assert "late as it is" in late
    assert "desk acknowledge 4711082245" in late


def test_lists_and_events_tell_it_too() -> None:
    """`sent`, `timeline`, `status` and `watch` in one voice; the bell rings for an alarm and for the ladder's end."""
    row = {**page(ladder=RUNNING), **page()["header"], "warning": "Its time is over."}
    text = "\n".join(paper_ladder.sent([row], SHEET))
    assert "4711082245  URGENT    request  to AU        delivered" in text
    assert "next: the backup desk is woken" in text
    assert "! Its time is over." in text
    line = {"at": NOW, "by": "relay", "text": "step 2", "next_at": NOW + 1200, "proof": "ab" * 32}
    told = {
        "msg": "47" * 32,
        "state": "delivered",
        "lines": [line],
        "ladder": RUNNING,
        "call": CALL,
    }
    text = "\n".join(paper.told(told, Sheet(NOW, UTC, 400)))
    assert "step 2; next step 2027-01-15 08:20:00 UTC" in text
    assert "+61 2 5550 1234" in text
    alarm = {"event": "alarm", "at": NOW, "to": "AU", "mode": "exercise", "priority": "urgent"}
    alarm |= {"text": "Its time is over.", "msg": "47" * 32}
    text = paper.happened(alarm, SHEET)
    assert "ALARM *** EXERCISE" in text
    assert "Its time is over." in text
    ended = {"event": "statement", "kind": "exhausted", "at": NOW, "text": "the ladder ended"}
    assert "relay  exhausted: the ladder ended" in paper.happened(ended, SHEET)
    assert paper_ladder.rings(alarm)
    assert paper_ladder.rings(ended)
    assert not paper_ladder.rings({**ended, "kind": "escalated"})


def test_numbers_from_elsewhere_steer_nothing() -> None:
    """Labels, hours and names are another State's text."""
    hostile = "\x1b[2Jdone\u202e\nAcknowledged by AU"
    one = {**CALL["numbers"][0], "label": hostile, "hours": hostile, "number": hostile}  # type: ignore[dict-item]
    call = {**CALL, "numbers": [one], "note": hostile, "say": hostile}
    text = read(page(call=call))
    desk = {"desk": "AU", "name": hostile, "languages": [hostile], "backup": "", "numbers": [one]}
    known = {"version": 1, "expires": NOW, "fresh": True}
    text += "\n".join(
        paper_ladder.book({"desks": [desk], "directory": known, "warnings": [hostile]}, SHEET)
    )
    row = {"mode": "actual", "priority": "urgent", "to": "AU", "msg": "47" * 32, "text": hostile}
    text += "\n".join(paper_ladder.alarms({"alarms": [row]}, SHEET))
    assert not {c for c in text if ord(c) < 32 and c != "\n"}
    assert "\u202e" not in text
    assert "\nAcknowledged by AU" not in text
