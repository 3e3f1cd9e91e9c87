"""A desk that floods another with emergencies: its rate, its share of the mailbox, and its pages are bounded."""

import asyncio
from collections import Counter

import pytest
from builders import Letter, letter_of
from builders_door import Device
from builders_hostile import Bystanders, until
from builders_keys import World
from builders_relay import Running, running

from keys.errors import Code, Refused
from relay.alert.page import Page, Result, Woken, Word
from relay.core import limits
from relay.wire import frames
from relay.wire.frames import Type
from relay.wire.receipt import PAGE_COUNT_MAX

FLOOD = limits.SUBMITS_PER_MINUTE + 10
STAGE_S = 60
"""When the first stage of an emergency's ladder falls due (the tests' profiles)."""
DRIPS = 30
PAGES_MAX = 8
"""Calls to one person within half a minute of a flood; without a bound there is one every second."""


class Siren:
    """A channel that keeps what it was given."""

    name = "command"
    seconds = 1.0

    def __init__(self) -> None:
        """Nobody was woken yet."""
        self.pages: list[Page] = []

    async def send(self, page: Page) -> Result:
        """Wake somebody."""
        self.pages.append(page)
        return Result(Word.SENT)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network in which VN floods AU, and FR and NZ want something of AU, too."""
    return World(("VN", "AU", "AU-B", "FR", "NZ"))


def emergency(world: World, now: int, sender: str, nonce: str) -> Letter:
    """Return an emergency request to AU."""
    dev = world.device(sender).kid
    return letter_of(
        world, now, nonce=nonce, sender=sender, dev=dev, priority="emergency", backup=""
    )


async def flood(device: Device, letters: list[Letter]) -> Counter[str]:
    """Submit everything at once; count what became of it."""
    asked = [
        await device.send(Type.SUBMIT, frames.join(one.submission.wire, one.envelope))
        for one in letters
    ]
    found: Counter[str] = Counter()
    for request in asked:
        try:
            await device.answer(request)
            found["accepted"] += 1
        except Refused as refused:
            found[refused.code.value] += 1
    return found


async def pass_by(relay: Running, seconds: int) -> None:
    """Let seconds go by, each long enough for the relay to act."""
    for _each in range(seconds):
        relay.clock.at += 1
        await relay.relay.ticker.turn()
        await relay.relay.pager.turn()
        await relay.relay.pager.settle()


async def test_a_flood_of_emergencies(world: World) -> None:
    """A minute's allowance and no more; the others' requests arrive; few pages wake the victim, and none of NZ's waits.

    PROTOCOL 11.10: beyond 3 a minute of one sender pages become one that says how many.
    """
    siren = Siren()
    woken = {("AU", "duty"): Woken("AU", "duty", "en", (siren,))}
    async with running(world, woken=woken) as relay:
        hostile, _token = await relay.connected("VN")
        honest = await _honest(relay, world)
        neighbour, _token = await relay.connected("NZ")
        now = relay.clock.now()
        letters = [emergency(world, now, "VN", f"flood {n}") for n in range(FLOOD)]
        attack = asyncio.ensure_future(flood(hostile, letters))
        await honest.while_it_lasts(attack, least=5)
        assert attack.result() == {"accepted": limits.SUBMITS_PER_MINUTE, "E_RATE": 10}
        for second in range(DRIPS):  # what the allowance gives back is used at once
            relay.clock.at += 1
            drip = [emergency(world, now + second, "VN", f"drip {second} {n}") for n in range(2)]
            assert await flood(hostile, drip) == {"accepted": 2}
            letters += drip
        real = emergency(world, relay.clock.at, "NZ", "this one is real")
        await neighbour.call(Type.SUBMIT, frames.join(real.submission.wire, real.envelope))

        relay.clock.at = now + STAGE_S - 1
        await pass_by(relay, DRIPS + 5)
        store = relay.relay.exchange.store
        rows = [row for one in letters for row in await store.pages(one.msg)]
        assert len(rows) == limits.SUBMITS_PER_MINUTE + 2 * DRIPS, "every stage was reached"
        (page,) = await store.pages(real.msg)
        assert page.state == "sent", "the rate is the sender's, not the endpoint's"
        assert len(siren.pages) <= PAGES_MAX, [page.count for page in siren.pages]
        await pass_by(relay, 130)
        rows = [row for one in letters for row in (await store.pages(one.msg))[:1]]
        assert {row.state for row in rows} == {"sent"}, "nothing of it is lost"
        assert len(siren.pages) <= 2 * PAGES_MAX, [page.count for page in siren.pages]
        assert max(page.count for page in siren.pages) == PAGE_COUNT_MAX, "one page says how many"
        await honest.round()


async def test_a_flood_leaves_the_others_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody at AU collects, one sender fills its share of the mailbox; everybody else's requests come in."""
    monkeypatch.setattr(limits, "WAITING_PER_SENDER_MAX", 20)
    monkeypatch.setattr(limits, "WAITING_MESSAGES_MAX", 24)
    async with running(world) as relay:
        hostile, _token = await relay.connected("VN")
        neighbour, _token = await relay.connected("NZ")
        now = relay.clock.now()
        letters = [emergency(world, now, "VN", f"fill {n}") for n in range(30)]
        found = await flood(hostile, letters)
        # What was under way together may go a little beyond the share; the mailbox's own bound is exact.
        assert found["accepted"] + found[Code.E_BUSY.value] == 30
        assert 20 <= found["accepted"] < 24
        real = emergency(world, now, "NZ", "there is room")
        await neighbour.call(Type.SUBMIT, frames.join(real.submission.wire, real.envelope))
        honest = await _honest(relay, world)
        await honest.round()


async def _honest(relay: Running, world: World) -> Bystanders:
    """Return FR and AU."""
    sender, _token = await relay.connected("FR")
    recipient, _token = await relay.connected("AU")
    await until(lambda: len(relay.relay.sessions) >= 2)
    return Bystanders(world, sender, recipient, relay.clock.now)
