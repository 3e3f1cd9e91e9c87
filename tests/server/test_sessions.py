"""Sessions over lines in memory: who is let in, what is pushed, and what happens to those who do not behave."""

import asyncio
from typing import Any

import pytest
from builders import letter_of, pickup_of, receipt_of
from builders_door import NOW, Device, Door, door_of, place, refusal
from builders_keys import World
from builders_loop import LINE_FRAMES, play

from keys import statement
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer
from relay.core import limits
from relay.core.events import Accepted
from relay.core.mailbox import WINDOW_MAX
from relay.server import outgoing, rates, session, sessions
from relay.server.rates import Call
from relay.store.memory import MemoryStore
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


async def submit(door: Door, device: Device, **changes: Any) -> str:
    """Send a request from *device* to AU; return its message id once it is accepted."""
    letter = letter_of(door.world, door.clock.now(), **changes)
    body = frames.join(letter.submission.wire, letter.envelope)
    receipt.read(await device.call(Type.SUBMIT, body), {"accepted"}, door.world.evidence.public)
    return letter.msg


# Challenge and connect


def test_a_device_is_welcomed_to_its_own_desk(world: World) -> None:
    """CONNECT over the relay's nonce is answered by WELCOME: where the mailbox stands, and a token (PROTOCOL 12)."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU")
        welcome = await device.connect()

        assert welcome["relay"] == world.service
        assert welcome["instance"] == world.instance
        assert (welcome["epoch"], welcome["head"]) == (door.exchange.store.epoch, 0)
        assert welcome["at"] == NOW
        assert welcome["directory"] == door.exchange.directory.version
        holder = door.tokens.holder(welcome["token"], NOW)
        assert (holder.kid, holder.desk, holder.until) == (device.signer.kid, "AU", NOW + 900)
        assert len(door.sessions) == 1
        assert door.value("relay_sessions") == 1

    play(story())


def test_an_answer_to_another_challenge_is_refused(world: World) -> None:
    """A recorded CONNECT is worth nothing on the next session (replayed nonce, E_AUTH)."""

    async def story() -> None:
        door = await door_of(world)
        first = door.enter("AU")
        challenge = await first.challenge()
        recorded = first.proof(challenge)
        await first.call(Type.CONNECT, recorded)
        second = door.enter("AU")
        await second.challenge()
        refused = await refusal(second.call(Type.CONNECT, recorded))

        assert refused.code is Code.E_AUTH
        assert await second.closed() == (1008, "E_AUTH")
        assert len(door.sessions) == 1

    play(story())


def test_an_old_challenge_is_refused(world: World) -> None:
    """A nonce is good for sixty seconds by the relay's clock, whatever the connection says."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU")
        challenge = await device.challenge()
        door.clock.step(60)
        refused = await refusal(device.call(Type.CONNECT, device.proof(challenge)))

        assert refused.code is Code.E_AUTH
        assert "older than a minute" in refused.text

    play(story())


def test_a_challenge_is_not_waited_for_longer_than_its_time(world: World) -> None:
    """Who does not answer within ten seconds is sent away, and the challenge is forgotten."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU")
        await device.challenge()
        await door.clock.sleep(sessions.GREET_S - 1)
        assert not door.tasks[0].done()
        await door.clock.sleep(2)

        assert door.tasks[0].done()
        assert (device.far.code, len(door.nonces)) == (1008, 0)

    play(story())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"relay": "another-relay"}, Code.E_AUTH),
        ({"nonce": "00" * 32}, Code.E_AUTH),
        ({"desk": "VN"}, Code.E_WRONG_DESK),
        ({"at": NOW - limits.CLOCK_SKEW_S - 1}, Code.E_CLOCK),
        ({"at": NOW + limits.CLOCK_SKEW_S + 1}, Code.E_CLOCK),
    ],
)
def test_a_connect_that_does_not_fit_is_refused(
    world: World, changes: dict[str, Any], code: Code
) -> None:
    """Made for another relay, another challenge, another desk or another time: refused, and the line is closed."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU")
        refused = await refusal(device.connect(**changes))

        assert refused.code is code
        assert await device.closed() == (1008, code.value)
        assert len(door.sessions) == 0
        assert code.value in door.written.getvalue()

    play(story())


def test_a_stranger_is_refused(world: World) -> None:
    """A key that the directory does not list connects nowhere (E_SIGNER)."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU", signer=Signer(Role.DEVICE, bytes(31) + b"x"))

        assert (await refusal(device.connect())).code is Code.E_SIGNER

    play(story())


def test_a_session_begins_with_connect_and_nothing_else(world: World) -> None:
    """A call before CONNECT is refused (E_AUTH), and so is a frame that is none."""

    async def story() -> None:
        door = await door_of(world)
        device = door.enter("AU")
        await device.challenge()
        refused = await refusal(device.call(Type.RESUME, b'{"epoch":1,"seq":0}'))
        assert refused.code is Code.E_AUTH

        device = door.enter("AU")
        await device.challenge()
        await device.socket.send(b"\xff")
        assert (await device.frame()).type is Type.ERROR
        assert await device.closed() == (1008, "E_ENCODING")

    play(story())


def test_the_newer_session_of_a_device_takes_over(world: World) -> None:
    """A device that comes twice keeps the newer line; the older is closed with 4001."""

    async def story() -> None:
        door = await door_of(world)
        first = await door.connected("AU")
        second = await door.connected("AU")

        code, reason = await first.closed()
        assert code == sessions.TAKEN_OVER
        assert "newer" in reason
        assert len(door.sessions) == 1
        sender = await door.connected("VN")
        await submit(door, sender)
        assert (await second.push()).type is Type.NOTIFY

    play(story())


# Pushes


def test_a_message_is_notified_and_picked_up(world: World) -> None:
    """The recipient's device is notified, fetches with a signed pickup, and gets exactly what was accepted."""

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU")
        letter = letter_of(world, NOW)
        accepted = await sender.call(
            Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope)
        )
        push = await device.push()

        assert push.type is Type.NOTIFY
        assert place(push) == {
            "epoch": door.exchange.store.epoch,
            "seq": 1,
            "msg": letter.msg,
            "to": "AU",
            "from": "VN",
            "priority": "urgent",
            "mode": "actual",
        }
        answer = await device.call(Type.PICKUP, pickup_of(world, [letter.msg], NOW))
        assert frames.split(answer) == [letter.submission.wire, accepted, letter.envelope]

    play(story())


def test_the_first_offer_is_signed_and_told_to_the_sender(world: World) -> None:
    """NOTIFY of a recipient's device leaves one `offered`; the sender's own copy is no offer (PROTOCOL 10)."""

    async def story() -> None:
        door = await door_of(world)
        sender, first = await door.connected("VN"), await door.connected("AU")
        msg = await submit(door, sender)
        await first.push()
        own, told = await sender.push(), await sender.push()

        assert (own.type, told.type) == (Type.NOTIFY, Type.STATEMENT)
        wire = frames.split(told.body)[1]
        offered = receipt.read(wire, {"offered"}, world.evidence.public)
        assert (offered["msg"], offered["device"]) == (msg, first.signer.kid)
        await (await door.connected("AU", 1)).push()
        kinds = [kept.kind for kept in await door.exchange.store.statements(msg)]
        assert kinds.count("offered") == 1

    play(story())


def test_the_senders_own_copy_is_no_offer(world: World) -> None:
    """While nobody of the recipient is there, nothing is signed as offered, whoever else was notified."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        msg = await submit(door, sender)
        assert (await sender.push()).type is Type.NOTIFY
        await door.clock.sleep(60)

        kinds = [kept.kind for kept in await door.exchange.store.statements(msg)]
        assert "offered" not in kinds

    play(story())


def test_receipts_reach_the_sender(world: World) -> None:
    """A `delivered` is recorded, and pushed to the sender as the statement that the device signed."""

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU")
        letter = letter_of(world, NOW)
        await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
        fields = {
            "msg": letter.msg,
            "statement": letter.statement.sid,
            "desk": "AU",
            "at": NOW,
        }
        delivered = receipt.make("delivered", fields, device.signer)
        answer = await device.call(Type.RECORD, frames.join(delivered.wire))
        assert receipt.read(answer, {"recorded"}, world.evidence.public)["sids"] == [delivered.sid]

        pushed = [await sender.push() for _each in range(3)]
        wires = [frames.split(one.body)[1] for one in pushed if one.type is Type.STATEMENT]
        assert delivered.wire in wires

    play(story())


def test_a_device_resumes_from_its_cursor(world: World) -> None:
    """After RESUME come exactly the entries behind the cursor; another epoch begins anew (PROTOCOL 12)."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        msgs = [await submit(door, sender, nonce=str(n)) for n in range(4)]
        epoch = door.exchange.store.epoch

        device = await door.connected("AU", resume=False)
        assert await device.resume(epoch, 2) == {"epoch": epoch, "seq": 2, "head": 4}
        assert [place(await device.push())["msg"] for _each in range(2)] == msgs[2:]

        assert await device.resume(epoch + 1, 3) == {"epoch": epoch, "seq": 0, "head": 4}
        assert [place(await device.push())["msg"] for _each in range(4)] == msgs

    play(story())


def test_nothing_is_pushed_before_resume(world: World) -> None:
    """A device that has not said where it stands gets nothing that it could mistake."""

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU", resume=False)
        await submit(door, sender)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await device.frame()

    play(story())


def test_the_window_holds_back_what_is_not_confirmed(world: World) -> None:
    """At most 16 entries are on their way; SEEN lets as many through as it confirms, and no more."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        for n in range(WINDOW_MAX + 5):
            await submit(door, sender, nonce=str(n))
        device = await door.connected("AU")
        pushed = [place(await device.push())["seq"] for _each in range(WINDOW_MAX)]
        assert pushed == list(range(1, WINDOW_MAX + 1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await device.frame()

        epoch = door.exchange.store.epoch
        await device.seen(epoch + 1, 16)  # of another epoch: says nothing
        await device.seen(epoch, 2)
        assert [place(await device.push())["seq"] for _each in range(2)] == [17, 18]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await device.frame()
        await device.seen(epoch, 999)  # confirms what was pushed, nothing beyond
        assert [place(await device.push())["seq"] for _each in range(3)] == [19, 20, 21]

    play(story())


def test_a_lost_hint_costs_seconds_not_the_message(world: World) -> None:
    """When no hint comes, the sweep finds the entry within five seconds."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        sweeper = asyncio.ensure_future(door.sessions.run())
        await door.clock.sleep(1)
        letter = letter_of(world, door.clock.now())
        door.sessions._by_desk, hidden = {}, door.sessions._by_desk  # the hint goes nowhere
        await door.exchange.submit(letter.submission.wire, letter.envelope, door.clock.now())
        door.sessions._by_desk = hidden
        began = door.clock.now()

        assert place(await device.push())["msg"] == letter.msg
        assert 0 < door.clock.now() - began <= sessions.SWEEP_S
        sweeper.cancel()

    play(story())


def test_each_device_of_a_desk_gets_the_desks_mailbox_and_no_other(world: World) -> None:
    """Both officers' devices of AU are notified; a third desk's device hears nothing at all."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        both = [await door.connected("AU", n) for n in range(2)]
        backup = await door.connected("AU-B")
        msg = await submit(door, sender)

        assert [place(await device.push())["msg"] for device in both] == [msg, msg]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await backup.frame()

    play(story())


def test_another_desks_message_is_not_handed_over(world: World) -> None:
    """A pickup for another desk is refused; one of its own that names foreign messages gets empty parts."""

    async def story() -> None:
        door = await door_of(world)
        sender, spy = await door.connected("VN"), await door.connected("AU-B")
        msg = await submit(door, sender)
        fields = {"msgs": [msg], "desk": "AU", "relay": world.service, "at": NOW}
        lie = receipt.make("pickup", fields, spy.signer).wire
        assert (await refusal(spy.call(Type.PICKUP, lie))).code is Code.E_WRONG_DESK

        honest = pickup_of(world, [msg], NOW, desk="AU-B")
        assert frames.split(await spy.call(Type.PICKUP, honest)) == [b"", b"", b""]

    play(story())


# Calls


def test_calls_are_answered_in_any_order_each_with_its_number(world: World) -> None:
    """Pipelined calls run beside each other; one that is refused does not disturb the others."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        letters = [letter_of(world, NOW, nonce=str(n)) for n in range(10)]
        numbers = []
        for letter in letters:
            body = frames.join(letter.submission.wire, letter.envelope)
            numbers.append(await sender.send(Type.SUBMIT, body))
            await sender.send(Type.GET_FILE, b"no-such-file", 10_000)
        found: dict[int, Frame] = {}
        while len(found) < 11:
            frame = await sender.frame()
            if frame.request:
                found[frame.request] = frame
        for number, letter in zip(numbers, letters, strict=True):
            accepted = receipt.read(found[number].body, {"accepted"}, world.evidence.public)
            assert accepted["msg"] == letter.msg
        assert found[10_000].type is Type.ERROR

    play(story())


def test_calls_under_way_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many calls at once nothing further is read; it is read once one has ended."""
    monkeypatch.setattr(session, "CALLS_MAX", 3)

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        gate, begun = asyncio.Event(), 0

        async def slow(desk: str, now: int) -> list[bytes]:
            nonlocal begun
            begun += 1
            await gate.wait()
            return []

        door.exchange.roster.prekeys_of = slow  # type: ignore[method-assign]
        for _each in range(8):
            await device.send(Type.GET_PREKEYS, b"AU")
        await door.clock.sleep(1)
        assert begun == 3
        gate.set()
        await door.clock.sleep(1)
        assert begun == 8

    play(story())


def test_the_allowance_of_a_minute_ends_exactly_there(world: World) -> None:
    """n submits in a minute pass, n+1 is E_RATE and says when to come back; another desk is not touched."""

    async def story() -> None:
        door = await door_of(world, per_minute={Call.SUBMIT: 3})
        sender = await door.connected("VN")
        for n in range(3):
            await submit(door, sender, nonce=str(n))
        refused = await refusal(submit(door, sender, nonce="3"))
        assert (refused.code, refused.retry) == (Code.E_RATE, True)
        assert " 20 s" in refused.text
        assert door.value("relay_limit_hits_total", {"limit": "rate"}) == 1
        second = await door.connected("VN", 1)  # the same desk by another device
        assert (await refusal(submit(door, second, nonce="4"))).code is Code.E_RATE
        await door.clock.sleep(20)
        await submit(door, sender, nonce="5")

    play(story())


def test_receipts_are_counted_one_by_one(world: World) -> None:
    """Sixty-four receipts in one call count as sixty-four."""

    async def story() -> None:
        door = await door_of(world, per_minute={Call.RECEIPT: 64})
        device = await door.connected("AU")
        call = frames.join(*[b"x"] * 64)
        assert (await refusal(device.call(Type.RECORD, call))).code is Code.E_ENCODING
        assert (await refusal(device.call(Type.RECORD, frames.join(b"x")))).code is Code.E_RATE

    play(story())


@pytest.mark.parametrize("kind", [0, 4, 26, 99, 255])
def test_an_unknown_frame_is_refused_and_the_session_goes_on(world: World, kind: int) -> None:
    """A frame of a type that is not known, or cut, is E_ENCODING with its request's number."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        await device.socket.send(bytes((kind,)) + (77).to_bytes(4, "big") + b"body")
        answer = await device.frame()
        assert (answer.type, answer.request) == (Type.ERROR, 77)
        await device.socket.send(bytes((kind, 1)))
        assert (await device.frame()).type is Type.ERROR
        assert "token" in statement.decode(await device.call(Type.TOKEN, b""))

    play(story())


@pytest.mark.parametrize(
    "kind", [Type.CHALLENGE, Type.CONNECT, Type.WELCOME, Type.ANSWER, Type.NOTIFY]
)
def test_what_only_the_relay_says_is_refused(world: World, kind: Type) -> None:
    """Frames of the handshake, answers and pushes are no calls."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        for body in (b"{}", b""):
            assert (await refusal(device.call(kind, body))).code is Code.E_ENCODING

    play(story())


def test_bodies_that_are_none_are_refused_with_a_code(world: World) -> None:
    """No call lets bad bytes through as anything but a refusal; the relay's own failures stay out of it."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        for kind in sorted(session.CALLS - {Type.TOKEN}):
            for body in (b"", b"\x00", b"{}", b"\xff" * 40, frames.join(b"a", b"b"), b"[]"):
                try:
                    await device.call(kind, body)
                except Refused as refused:
                    assert refused.code is not Code.E_BUSY, (kind, body)  # noqa: PT017

    play(story())


def test_a_failure_of_the_relay_says_nothing_about_itself(world: World) -> None:
    """When the store fails, the caller hears E_BUSY and "unknown", never "refused" (Store's promise)."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")

        async def failing(desk: str, now: int) -> list[bytes]:
            raise Failed("the disk with the secret name is gone")

        door.exchange.roster.prekeys_of = failing  # type: ignore[method-assign]
        refused = await refusal(device.call(Type.GET_PREKEYS, b"AU"))
        assert (refused.code, refused.retry) == (Code.E_BUSY, True)
        assert "secret" not in refused.text

        async def broken(desk: str, now: int) -> list[bytes]:
            raise KeyError("another secret")

        door.exchange.roster.prekeys_of = broken  # type: ignore[method-assign]
        refused = await refusal(device.call(Type.GET_PREKEYS, b"AU"))
        assert (refused.code, "secret" in refused.text) == (Code.E_BUSY, False)
        assert '"exception": "KeyError"' in door.written.getvalue()
        assert "another secret" not in door.written.getvalue()

    play(story())


def test_directory_prekeys_and_token_are_served_on_the_session(world: World) -> None:
    """GET_FILE, GET_PREKEYS, PREKEYS, TOKEN and PUBLISH answer with the bodies that HTTP has."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        assert await device.call(Type.GET_FILE, b"timestamp.json") == world.files["timestamp.json"]
        assert (await refusal(device.call(Type.GET_FILE, b"../x"))).code is Code.E_UNKNOWN
        wires = frames.split(await device.call(Type.GET_PREKEYS, b"VN"))
        assert sorted(wires) == sorted(world.prekeys("VN"))
        assert await device.call(Type.PREKEYS, frames.join(*world.prekeys("AU"))) == b"{}"
        renewed = statement.decode(await device.call(Type.TOKEN, b"{}"))
        assert door.tokens.holder(renewed["token"], NOW).kid == device.signer.kid

    play(story())


# Those who do not behave


def test_a_slow_reader_is_cut_off_and_everything_is_kept(world: World) -> None:
    """A device that takes nothing for ten seconds loses its line and nothing else."""

    async def story() -> None:
        door = await door_of(world)
        sender = await door.connected("VN")
        slow = await door.connected("AU")
        for _each in range(LINE_FRAMES + 8):  # it asks and never reads
            await slow.send(Type.TOKEN, b"")
        msg = await submit(door, sender)
        await door.clock.sleep(outgoing.SEND_S - 1)
        assert len(door.sessions) == 2
        await door.clock.sleep(3)

        assert len(door.sessions) == 1
        assert slow.far.code == 1008
        assert door.value("relay_limit_hits_total", {"limit": "slow_reader"}) == 1
        again = await door.connected("AU")
        assert place(await again.push())["msg"] == msg

    play(story())


def test_what_waits_for_a_device_is_bounded_in_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more than the limit waits to leave, nothing further is read from the device."""
    monkeypatch.setattr(outgoing, "SLOWEST_BYTES_PER_S", 1)

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        inner = next(iter(door.sessions._by_device.values()))
        inner._out._limit = 5_000
        name = max(world.files, key=lambda one: len(world.files[one])).encode()
        size = len(world.files[name.decode()])
        for _each in range(LINE_FRAMES - 1):
            await device.send(Type.GET_FILE, name)
        await door.clock.sleep(5)
        assert inner._out.bytes <= 5_000 + (session.CALLS_MAX + 1) * (size + 5)
        for _each in range(LINE_FRAMES - 1):
            await device.frame()

    play(story())


def test_a_device_that_is_revoked_is_sent_away(world: World) -> None:
    """A newer directory is announced to all; the device that it revokes loses line and token."""

    async def story() -> None:
        inner = World()
        door = await door_of(inner)
        keeps, loses = await door.connected("AU", 0), await door.connected("AU", 1)
        token, _until = door.tokens.issue(loses.signer.kid, "AU", NOW)
        inner.revoke("AU", inner.handles("AU")[1], NOW)
        inner.freshen(NOW)
        version = await door.sessions.publish(inner.files, NOW)

        push = await keeps.push()
        assert (push.type, place(push)) == (Type.DIRECTORY, {"version": version})
        assert (await loses.closed())[0] == 1008
        with pytest.raises(Refused):
            door.tokens.holder(token, NOW)
        assert len(door.sessions) == 1
        assert await door.sessions.publish(inner.files, NOW) == version
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await keeps.frame()

    play(story())


# Draining


def test_draining_lets_what_is_under_way_end_and_refuses_the_rest(world: World) -> None:
    """DRAINING, then E_BUSY for new writes, the answer of the old one, and close 1012; new lines are sent away."""

    async def story() -> None:
        door = await door_of(world)
        device = await door.connected("AU")
        gate = asyncio.Event()
        inner = door.exchange.roster.prekeys_of

        async def slow(desk: str, now: int) -> list[bytes]:
            await gate.wait()
            return await inner(desk, now)

        door.exchange.roster.prekeys_of = slow  # type: ignore[method-assign]
        under_way = await device.send(Type.GET_PREKEYS, b"VN")
        await door.clock.sleep(0)
        draining = asyncio.ensure_future(door.sessions.drain())
        push = await device.push()
        assert push.type is Type.DRAINING
        assert 0 <= place(push)["after"] <= sessions.RECONNECT_S
        letter = letter_of(world, NOW)
        body = frames.join(letter.submission.wire, letter.envelope)
        assert (await refusal(device.call(Type.SUBMIT, body))).code is Code.E_BUSY
        gate.set()
        assert len(frames.split(await device.answer(under_way))) == len(world.prekeys("VN"))
        assert await device.closed() == (1012, sessions.STOPPING)
        await draining
        late = door.enter("AU")
        assert await late.closed() == (1012, sessions.STOPPING)
        assert await door.exchange.store.load(letter.msg) is None

    play(story())


def test_draining_does_not_wait_for_ever(world: World) -> None:
    """A call that never ends and a device that never reads hold the stop up for a few seconds only."""

    async def story() -> None:
        door = await door_of(world)
        device, slow = await door.connected("AU"), await door.connected("VN")

        async def never(desk: str, now: int) -> list[bytes]:
            await asyncio.Event().wait()
            return []

        door.exchange.roster.prekeys_of = never  # type: ignore[method-assign]
        await device.send(Type.GET_PREKEYS, b"VN")
        for _each in range(LINE_FRAMES + 8):
            await slow.send(Type.TOKEN, b"")
        await door.clock.sleep(0)
        began = asyncio.get_running_loop().time()
        await door.sessions.drain()

        assert asyncio.get_running_loop().time() - began <= 3 * sessions.FLUSH_S
        assert len(door.sessions) == 0
        for task in door.sessions.calls:
            task.cancel()

    play(story())


def test_a_call_ends_even_if_its_session_is_gone(world: World) -> None:
    """The line breaks while a submit is under way: the message is accepted all the same, and told to its desk."""

    async def story() -> None:
        store = MemoryStore()
        door = await door_of(world, store)
        sender, device = await door.connected("VN"), await door.connected("AU")
        letter = letter_of(world, NOW)
        inner, gate = store.commit, asyncio.Event()

        async def slow(change: Any) -> Any:
            await gate.wait()
            return await inner(change)

        store.commit = slow  # type: ignore[method-assign]
        await sender.send(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
        await door.clock.sleep(1)
        sender.socket.cut()
        await door.clock.sleep(1)
        assert len(door.sessions) == 1
        gate.set()

        assert place(await device.push())["msg"] == letter.msg

    play(story())


def test_desks_are_counted_by_when_they_were_here(world: World) -> None:
    """connected, quiet for fifteen minutes, then unreachable; never until the first time. Numbers only."""

    async def story() -> None:
        door = await door_of(world)
        assert door.sessions.desks(NOW)["never"] == 3
        device = await door.connected("AU")
        assert door.sessions.desks(NOW) == {
            "connected": 1,
            "quiet": 0,
            "unreachable": 0,
            "never": 2,
        }
        device.socket.cut()
        await door.clock.sleep(1)
        assert door.sessions.desks(door.clock.now())["quiet"] == 1
        await door.clock.sleep(sessions.QUIET_S)
        assert door.sessions.desks(door.clock.now())["unreachable"] == 1
        await door.sessions.sweep()
        assert door.value("relay_desks", {"state": "unreachable"}) == 1

    play(story())


def test_an_entry_that_cannot_be_shown_stands_before_nothing(world: World) -> None:
    """A mailbox entry that leads nowhere is skipped and logged; the next one is pushed."""

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU", resume=False)
        poison, sound = [await submit(door, sender, nonce=str(n)) for n in range(2)]
        inner = door.exchange.origin

        async def broken(msg: str) -> Accepted | None:
            if msg == poison:
                raise ValueError("cannot be read")
            return await inner(msg)

        door.exchange.origin = broken  # type: ignore[method-assign]
        await device.resume(door.exchange.store.epoch)
        assert place(await device.push())["msg"] == sound
        assert "cannot be pushed" in door.written.getvalue()

    play(story())


def test_receipt_builders_are_what_the_relay_takes(world: World) -> None:
    """An officer's `acknowledged` passes through the session of his desk's device and reaches both desks."""

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU")
        letter = letter_of(world, NOW)
        await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
        signed = receipt_of(world, "acknowledged", letter, NOW)
        await device.call(Type.RECORD, frames.join(signed.wire))
        for reader, entries in ((sender, 3), (device, 2)):
            pushed = [await reader.push() for _each in range(entries)]
            wires = [frames.split(one.body)[1] for one in pushed if one.type is Type.STATEMENT]
            assert signed.wire in wires

    play(story())


def test_receipts_that_are_no_news_have_a_pace_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two old receipts in one call are answered by a statement that is logged: so many times, and then E_RATE."""
    monkeypatch.setitem(rates.AT_ONCE, Call.REPEAT, 3)
    monkeypatch.setitem(rates.PER_MINUTE, Call.REPEAT, 3)

    async def story() -> None:
        door = await door_of(world)
        sender, device = await door.connected("VN"), await door.connected("AU")
        wires = []
        for nonce in ("one", "two"):
            letter = letter_of(world, NOW, nonce=nonce)
            await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
            wires.append(receipt_of(world, "delivered", letter, NOW).wire)
        for _each in range(4):  # the first is news
            await device.call(Type.RECORD, frames.join(*wires))
        logged = (await door.exchange.store.log()).size
        for _each in range(5):
            refused = await refusal(device.call(Type.RECORD, frames.join(*wires)))
            assert refused.code is Code.E_RATE
        assert (await door.exchange.store.log()).size == logged

    play(story())
