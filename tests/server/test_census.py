"""The census of open messages, what the sender was told, and which promises were kept: fed by committed steps."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import Letter, letter_of, receipt_of
from builders_door import NOW
from builders_keys import World
from builders_relay import Running, running

from relay.core.escalation import EXHAUSTED, Plan, Stage
from relay.core.events import Accepted, Attested, Climbed, Event, Received
from relay.core.message import Message, open_message, step
from relay.server import census
from relay.store.sqlite import SqliteStore
from relay.wire import frames
from relay.wire.frames import Type


@pytest.fixture(scope="module")
def world() -> World:
    """Return one network for all tests; none of them changes it."""
    return World()


ORIGIN = Accepted(
    *("m", "VN", "AU", "AU-B", "urgent", "actual", 1000, 4600, 90_000, 1, "h", "d", "s", "a", ""),
    at=1000,
)
PLAN = Plan((Stage("path", 1300), Stage("backstop", 1600), Stage(EXHAUSTED, 4600)), 60, 900)


def _lived(*events: Event, origin: Accepted = ORIGIN) -> tuple[census.Census, Message, list[str]]:
    """Return the census, the message, and what each step decided, as words."""
    count, words = census.Census(), []
    message = open_message(origin, PLAN).message
    count.move(None, message)
    for event in events:
        after = step(message, event).message
        count.move(message, after)
        words += [f"{sli} {'met' if met else 'missed'}" for sli, met in _decided(message, after)]
        words += [f"{kind} {result}" for kind, result in census.notices(message, after)]
        message = after
    return count, message, words


def _decided(before: Message, after: Message) -> list[tuple[str, bool]]:
    return list(census.outcomes(before, after))


def _said(kind: str, received: int) -> Received:
    return Received(kind, f"{kind}{received}", "AU", "k", received, received, "s")


def _climb(stage: int, kind: str, at: int) -> Climbed:
    return Climbed(f"c{stage}", stage, kind, "timeout", at, 0)


SILENCE = (_climb(0, "path", 1300), _climb(1, "backstop", 1600), _climb(2, EXHAUSTED, 4600))


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ((), "accepted"),
        ((_said("delivered", 1002),), "delivered"),
        ((replace(_said("progress", 1002), until=1500),), "held"),
        (SILENCE, "exhausted"),
        ((_said("delivered", 1002), *SILENCE), "exhausted"),
        ((_said("acknowledged", 1002),), ""),
        ((*SILENCE, _said("acknowledged", 5000)), ""),
        ((*SILENCE, Attested("expired", "e", 90_000)), ""),
    ],
)
def test_where_a_message_stands(events: tuple[Event, ...], state: str) -> None:
    """Each message is counted in one state, and in none once nothing waits for it."""
    count, message, _words = _lived(*events)

    assert census.standing(message) == state
    assert dict(count.open) == ({("urgent", state): 1} if state else {})
    assert dict(count.exhausted) == ({"urgent": 1} if state == "exhausted" else {})
    assert count.oldest("urgent") == (1000 if state else 0)


def test_a_test_that_nobody_answers_wakes_no_operator() -> None:
    """Mode test counts as open, not among the exhausted ones that page."""
    count, _message, _words = _lived(*SILENCE, origin=replace(ORIGIN, mode="test"))

    assert count.open["urgent", "exhausted"] == 1
    assert not count.exhausted


def test_the_oldest_is_the_oldest_of_those_that_are_left() -> None:
    """Messages leave in any order; several of one second are told apart by their number."""
    count = census.Census()
    opened = [open_message(replace(ORIGIN, msg=str(at), at=at), PLAN).message for at in (5, 3, 3)]
    for message in opened:
        count.enter(message)
    seen = []
    for message in (opened[1], opened[2], opened[0]):
        seen.append(count.oldest("urgent"))
        count.move(message, step(message, _said("acknowledged", 10)).message)

    assert [*seen, count.oldest("urgent")] == [3, 3, 5, 0]


def test_what_was_never_counted_cannot_leave_a_debt() -> None:
    """A message that settles without having been counted leaves no number below 0."""
    count = census.Census()
    before = open_message(ORIGIN, PLAN).message
    count.move(before, step(before, _said("acknowledged", 1010)).message)
    count.enter(before)

    assert (count.open["urgent", "accepted"], count.oldest("urgent")) == (1, 1000)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            (Attested("offered", "o", 1001), _said("delivered", 1004)),
            ["handover met", "delivered ok"],
        ),
        (
            (Attested("offered", "o", 1001), _said("delivered", 1009)),
            ["handover missed", "delivered ok"],
        ),
        ((Attested("offered", "o", 1900), _said("delivered", 1902)), ["delivered ok"]),
        (
            (_said("acknowledged", 1500), _said("acknowledged", 1501)),
            ["acknowledge met", "sender_told met", "accepted ok", "accepted ok"],
        ),
        (
            SILENCE,
            ["stage ok", "stage ok", "acknowledge missed", "sender_told met", "exhausted ok"],
        ),
        (
            (*SILENCE[:2], _climb(2, EXHAUSTED, 4661)),
            ["stage ok", "stage ok", "acknowledge missed", "sender_told missed", "exhausted late"],
        ),
        ((_climb(0, "path", 1361),), ["stage late"]),
        ((*SILENCE, _said("acknowledged", 5000)), None),
    ],
)
def test_which_promises_were_kept(events: tuple[Event, ...], words: list[str] | None) -> None:
    """Each promise is decided once, by the step that decides it; what is due late is said to be late."""
    told = _lived(*events)[2]

    if words is None:  # an answer after the silence decides nothing anew
        words = [*_lived(*SILENCE)[2], "accepted ok"]
    assert told == words


async def _silent(relay: Running, world: World) -> Letter:
    """Send a request whose ladder comes to its end."""
    sender, _token = await relay.connected("VN")
    letter = letter_of(world, relay.clock.at)
    await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    for _stage in range(8):
        relay.clock.at += 1200
        await relay.relay.ticker.turn()
    return letter


async def test_a_restart_forgets_no_silence(world: World, tmp_path: Path) -> None:
    """Exhausted and unanswered is shown again after a restart, until a person answers."""
    at = {"priority": "urgent"}
    name = "relay_escalations_exhausted_open"
    async with running(world, SqliteStore(tmp_path / "relay.db")) as relay:
        value = relay.relay.metrics.registry.get_sample_value
        assert value(name, at) == 0
        letter = await _silent(relay, world)
        assert value(name, at) == 1
        now = relay.clock.at
    async with running(world, SqliteStore(tmp_path / "relay.db"), at=now) as relay:
        value = relay.relay.metrics.registry.get_sample_value
        assert value(name, at) == 1
        assert value("relay_oldest_unacknowledged_timestamp_seconds", at) == NOW
        assert value("relay_open_messages", {**at, "state": "exhausted"}) == 1
        officer, _token = await relay.connected("AU")
        acknowledged = receipt_of(world, "acknowledged", letter, now)
        await officer.call(Type.RECORD, frames.join(acknowledged.wire))
        assert value(name, at) == 0
        assert value("relay_oldest_unacknowledged_timestamp_seconds", at) == 0
