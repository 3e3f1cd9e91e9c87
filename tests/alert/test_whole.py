"""The relay whole, from an accepted request to a page at a real web server, and nothing of the request in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from builders import Letter, letter_of, receipt_of
from builders_alert import NEVER, TAKES, Hook, hooked
from builders_door import NOW
from builders_keys import World
from builders_relay import Running, running

from keys.statement import peek
from relay.alert.page import Woken
from relay.alert.webhook import Webhook
from relay.store.memory import MemoryStore
from relay.wire import receipt

MARKER = "canary-6f1c-case-4711-nguyen"
"""Stands in everything of a request that is text."""


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


class Watch:
    """A relay that runs, the gateway of AU's duty officer, and time."""

    def __init__(self, world: World, relay: Running, hook: Hook) -> None:
        """Hold what :func:`watch` started."""
        self.world, self.relay, self.hook = world, relay, hook

    async def submit(self, nonce: str = "", **header: Any) -> Letter:
        """Send an emergency from VN to AU."""
        body = b'{"please":"' + MARKER.encode() + b'"}'
        changes: dict[str, Any] = {"priority": "emergency", **header}
        at = self.relay.clock.at
        letter = letter_of(self.world, at, body=body, nonce=nonce, **changes)
        await self.relay.relay.exchange.submit(letter.submission.wire, letter.envelope, at)
        return letter

    async def after(self, seconds: int) -> None:
        """Let time go by, and let timers and pages have their turn."""
        self.relay.clock.at += seconds
        for _each in range(3):  # a page's end may make a timer due
            await self.relay.relay.ticker.turn()
            await self.relay.relay.pager.turn()
            await self.relay.relay.pager.settle()

    async def steps(self, letter: Letter) -> list[tuple[str, str]]:
        """Return kind and cause of each step of a message's ladder, as signed."""
        kept = await self.relay.relay.exchange.store.statements(letter.msg)
        key = self.world.evidence.public
        read = [
            receipt.read(one.wire, {"escalated"}, key) for one in kept if one.kind == "escalated"
        ]
        return [(one["kind"], one["cause"]) for one in read]


@asynccontextmanager
async def watch(world: World, store: MemoryStore | None = None) -> AsyncIterator[Watch]:
    """Run a relay that maps AU's duty to a web server."""
    async with hooked() as hook:
        channel = Webhook(f"{hook.base}/page", world.service, world.evidence, seconds=5.0)
        woken = {("AU", "duty"): Woken("AU", "duty", "en", (channel,))}
        async with running(world, store, woken=woken, at=NOW) as relay:
            yield Watch(world, relay, hook)


async def test_nobody_looks_and_somebody_is_woken(world: World) -> None:
    """The first stage pages the desk's endpoint; the gateway verifies who pages it (PROTOCOL 11.11)."""
    async with watch(world) as night:
        letter = await night.submit()
        await night.after(59)
        assert night.hook.bodies == []
        await night.after(2)

        said = receipt.read(night.hook.bodies[0], {"page"}, world.evidence.public)
        assert (said["desk"], said["priority"], said["mode"], said["count"]) == (
            "AU",
            "emergency",
            "actual",
            1,
        )
        assert await night.steps(letter) == [("path", "timeout")]
        numbers = night.relay.numbers()
        assert 'relay_pages_total{channel="webhook",result="sent"} 1.0' in numbers
        assert 'relay_first_page_seconds_count{priority="emergency"} 1.0' in numbers


async def test_the_sender_hears_what_became_of_the_last_page(world: World) -> None:
    """A gateway that is away, then takes it: both are told, signed, and once each (PROTOCOL 11.13)."""
    async with watch(world) as night:
        night.hook.behaviour = "later"
        letter = await night.submit()
        await night.after(61)
        night.hook.behaviour = TAKES
        for _again in range(3):
            await night.after(15)

        kept = await night.relay.relay.exchange.store.statements(letter.msg)
        said = [one for one in kept if one.kind == "paged"]
        read = [receipt.read(one.wire, {"paged"}, world.evidence.public) for one in said]
        assert [(one["stage"], one["outcomes"]) for one in read] == [
            (0, ["failed_temp"]),
            (0, ["sent"]),
        ]
        mailbox = await night.relay.relay.exchange.store.mailbox("VN", 0, 99)
        assert {one.sid for one in said} <= {entry.ref for entry in mailbox}


async def test_nothing_of_a_request_is_in_a_page_a_log_or_a_number(world: World) -> None:
    """Neither the marker nor the message id, the sid, the sender or the device, in any spelling that is sent."""
    async with watch(world) as night:
        letter = await night.submit()
        for _stage in range(4):
            await night.after(200)
        sent = b"".join(night.hook.raw) + b"".join(peek(one).payload for one in night.hook.bodies)
        seen = sent.decode() + night.relay.written.getvalue() + night.relay.numbers()

    assert len(night.hook.raw) >= 2
    device, statement = world.device("VN").kid, letter.statement.sid
    for secret in (MARKER, letter.msg, letter.msg[:16], statement, device, letter.submission.sid):
        assert secret not in seen
    assert b'"VN"' not in sent
    assert len({len(one) for one in night.hook.raw}) == 1


async def test_a_persons_word_ends_the_paging(world: World) -> None:
    """After the acknowledgement no page leaves, whatever stage would come (invariant I4)."""
    async with watch(world) as night:
        letter = await night.submit()
        await night.after(61)
        word = receipt_of(world, "acknowledged", letter, night.relay.clock.at)
        await night.relay.relay.exchange.record([word.wire], night.relay.clock.at)
        for _stage in range(6):
            await night.after(200)

        assert len(night.hook.bodies) == 1
        assert await night.steps(letter) == [("path", "timeout")]


async def test_a_dead_backstop_is_not_waited_for(world: World) -> None:
    """When the only endpoint of the backstop refuses for good, the backup desk is asked at once (PROTOCOL 11.12)."""
    async with watch(world) as night:
        letter = await night.submit()
        night.hook.behaviour = NEVER
        await night.after(61)
        assert await night.steps(letter) == [("path", "timeout")], (
            "devices were offered it: a path is waited for"
        )
        await night.after(120)

        assert await night.steps(letter) == [
            ("path", "timeout"),
            ("backstop", "timeout"),
            ("backup", "unreachable"),
        ]


async def test_a_backstop_that_is_reached_is_waited_for(world: World) -> None:
    """The same with a gateway that answers: the backup desk sleeps on until its time."""
    async with watch(world) as night:
        letter = await night.submit()
        await night.after(61)
        await night.after(120)
        assert await night.steps(letter) == [("path", "timeout"), ("backstop", "timeout")]
        await night.after(300)
        assert (await night.steps(letter))[-1] == ("backup", "timeout")


async def test_after_downtime_people_get_one_digest(world: World) -> None:
    """Four requests fell due while nobody was there: one page says how many."""
    async with watch(world) as night:
        for number in range(4):
            await night.submit(str(number))
        await night.after(720)

        (page,) = [receipt.read(one, {"page"}, world.evidence.public) for one in night.hook.bodies]
        assert (page["count"], page["priority"]) == (4, "emergency")


async def test_a_gateway_that_was_away_is_tried_again(world: World) -> None:
    """A page that failed goes out when the gateway is back; metrics say since when it is late."""
    async with watch(world) as night:
        night.hook.behaviour = "later"
        await night.submit()
        await night.after(61)
        due = night.relay.clock.at
        value = night.relay.relay.metrics.registry.get_sample_value
        assert value("relay_outbox_oldest_timestamp_seconds") == due
        night.hook.behaviour = TAKES
        await night.after(5)

        assert value("relay_outbox_oldest_timestamp_seconds") == 0
        assert len(night.hook.bodies) == 2
        assert (
            'relay_pages_total{channel="webhook",result="failed_temp"} 1.0' in night.relay.numbers()
        )


async def test_an_exercise_says_so(world: World) -> None:
    """The mode of a request reaches whoever is paged (PROTOCOL 9.1)."""
    async with watch(world) as night:
        await night.submit("drill", mode="exercise")
        await night.after(61)
        said = receipt.read(night.hook.bodies[0], {"page"}, world.evidence.public)
        assert (said["mode"], said["text"].startswith("EXERCISE ")) == ("exercise", True)
