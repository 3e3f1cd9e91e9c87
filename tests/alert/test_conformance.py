"""One suite for all channels: what every way to wake somebody must do, played on real receivers."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from builders_alert import HANGS, KINDS, LATER, NEVER, TAKES, Rig, page_for, rigged

from relay.alert import texts
from relay.alert.page import Result, Word
from relay.wire.envelope import PRIORITIES

MARKER = "canary-6f1c-case-4711"
"""Stands for everything that a page must not say: put wherever a message has room for it."""


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """Yield each channel with its receiver in turn."""
    async with rigged(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=KINDS)
async def hasty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """Yield each channel, set to give up soon."""
    async with rigged(request.param, tmp_path, seconds=1.5) as found:
        yield found


async def test_it_delivers_the_text_of_the_language(rig: Rig) -> None:
    """What arrives is the fixed text, with the page's code, in whatever script."""
    for language in texts.languages():
        page = page_for(language, language=language, priority="emergency")
        assert (await rig.channel.send(page)).word is Word.SENT
        assert rig.read()[-1] == texts.text(page)
        assert page.code in rig.read()[-1]


async def test_it_says_repeat_when_the_page_may_have_come_before(rig: Rig) -> None:
    """The same page once more carries the same key and code, and says so."""
    first = page_for()
    again = page_for(repeat=True, at=first.at + 5)
    await rig.channel.send(first)
    await rig.channel.send(again)

    one, two = rig.read()
    assert "(repeat)" not in one
    assert "(repeat)" in two
    assert first.code == again.code
    assert all(first.key.encode() in got for got in rig.got())


async def test_it_says_how_many_wait(rig: Rig) -> None:
    """A digest names the number and the age of the oldest."""
    await rig.channel.send(page_for(count=4, oldest=22))

    assert "4 wait, oldest 22 min" in rig.read()[0]


@pytest.mark.parametrize("mode", ["exercise", "test"])
async def test_an_exercise_says_so_first(rig: Rig, mode: str) -> None:
    """Nobody is left to believe that an exercise is real."""
    await rig.channel.send(page_for(mode=mode))

    assert rig.read()[0].startswith(mode.upper())


@pytest.mark.parametrize(
    ("behaviour", "word"), [(LATER, Word.FAILED_TEMP), (NEVER, Word.FAILED_PERM)]
)
async def test_failures_are_told_apart(rig: Rig, behaviour: str, word: Word) -> None:
    """What may succeed later is not what never will; both say why in words without an address."""
    rig.behave(behaviour)
    result = await rig.channel.send(page_for())

    assert result.word is word
    assert result.why
    assert "127.0.0.1" not in result.why
    rig.behave(TAKES)
    assert (await rig.channel.send(page_for(repeat=True))).word is Word.SENT


async def test_a_hang_is_unknown_within_its_time(hasty: Rig) -> None:
    """A receiver that took the page and never answers costs the channel's time and no more."""
    hasty.behave(HANGS)
    began = time.monotonic()
    result = await hasty.channel.send(page_for())

    assert result.word is Word.UNKNOWN
    assert 1.4 < time.monotonic() - began < 8
    assert len(hasty.got()) == 1


async def test_it_can_be_cancelled(rig: Rig) -> None:
    """A relay that stops does not wait for a receiver; the next page goes out as ever."""
    rig.behave(HANGS)
    sending = asyncio.ensure_future(rig.channel.send(page_for()))
    while not rig.got():  # noqa: ASYNC110 - the receiver may be another process
        await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    rig.behave(TAKES)
    assert (await rig.channel.send(page_for(repeat=True))).word is Word.SENT


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("language", ["en", "vi", "zh", "ar"])
async def test_the_length_tells_nothing(rig: Rig, priority: str, language: str) -> None:
    """Mode, repeat, count, age, time and code change no byte of the length."""
    shapes = [
        page_for("a", priority=priority, language=language),
        page_for("b", priority=priority, language=language, mode="exercise", repeat=True),
        page_for("c", priority=priority, language=language, mode="test", count=7, oldest=0),
        page_for("d", priority=priority, language=language, count=99, oldest=999, repeat=True),
        page_for("e", priority=priority, language=language, count=2, oldest=44, at=1_999_999_999),
    ]
    for shape in shapes:
        assert (await rig.channel.send(shape)).word is Word.SENT

    assert len({len(got) for got in rig.got()}) == 1
    assert len(set(rig.read())) == len(shapes)


async def test_nothing_is_sent_but_the_page(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay's environment, and what a message could hold, reach no receiver."""
    monkeypatch.setenv("POC24_SECRET", MARKER)
    monkeypatch.setenv("http_proxy", f"http://{MARKER}:1")
    monkeypatch.setenv("https_proxy", f"http://{MARKER}:1")
    for priority in PRIORITIES:
        await rig.channel.send(page_for(MARKER, priority=priority))

    assert len(rig.got()) == len(PRIORITIES)
    assert not any(MARKER.encode() in got for got in rig.got())


async def test_results_are_values(rig: Rig) -> None:
    """No channel raises: whatever happens is a result."""
    for behaviour in (TAKES, LATER, NEVER):
        rig.behave(behaviour)
        assert isinstance(await rig.channel.send(page_for()), Result)


def test_a_page_has_no_room_for_more() -> None:
    """The type's fields are a closed list: none of them could hold text, a case, a name or a message id."""
    import dataclasses

    from relay.alert.page import Page

    assert {one.name: one.type for one in dataclasses.fields(Page)} == {
        "key": str,
        "desk": str,
        "priority": str,
        "mode": str,
        "count": int,
        "oldest": int,
        "repeat": bool,
        "language": str,
        "at": int,
    }
