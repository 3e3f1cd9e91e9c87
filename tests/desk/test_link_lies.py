"""A relay that lies, floods or talks nonsense: refused with an event, believed in nothing, and never able to stop a desk."""

from pathlib import Path

import pytest
from builders_desk import Stage, Tamper, perform
from builders_keys import World, seed

from keys.errors import Code, Refused
from keys.identity import Role, Signer
from relay import errors
from relay.wire import frames, receipt
from relay.wire.frames import Frame, Type


def resigned(kind: str, world: World) -> Tamper:
    """Return a tamper that signs every statement of *kind* in an answer by a key of its own."""
    other = Signer(Role.RELAY, seed("a relay that is not the relay"))

    def tamper(data: bytes) -> list[bytes]:
        if data[0] == Type.ANSWER and f"vnd.poc24.{kind}.v1".encode() in data:
            found = receipt.read(data[5:], {kind}, world.evidence.public)
            return [data[:5] + receipt.make(kind, dict(found.fields), other).wire]
        return [data]

    return tamper


def test_an_acceptance_by_another_key_is_not_believed(tmp_path: Path) -> None:
    """A false `accepted`: an event, no acceptance, and the message stays to be sent (E_SIGNER)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        honest = stage.line.dial
        vn.through(resigned("accepted", stage.world))
        await vn.until(lambda: vn.connected)
        sent = await vn.send("AU")
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_SIGNER"
        assert vn.told("refused")[0]["final"] is False
        await stage.settle()
        assert "delivered" in await vn.kinds(sent["msg"])
        assert "accepted" not in await vn.kinds(sent["msg"])
        vn.desk._link._dial = honest
        stage.line.cut()
        await vn.desk.wait(sent["msg"], "accepted", 120)
        assert (await vn.desk.status())["outbox"] == 0

    perform(story, tmp_path)


def test_an_acceptance_with_a_bent_signature_is_no_final_word(tmp_path: Path) -> None:
    """What this desk finds wrong with an answer never ends a message: only the relay's own refusal can (E_SIGNATURE)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")

        def bend(data: bytes) -> list[bytes]:
            place = data.find(b'"sig":"') + 20
            if data[0] == Type.ANSWER and b"vnd.poc24.accepted.v1" in data:
                other = b"A" if data[place : place + 1] != b"A" else b"B"
                return [data[:place] + other + data[place + 1 :]]
            return [data]

        vn.through(bend)
        await vn.until(lambda: vn.connected)
        sent = await vn.send("AU")
        await vn.until(lambda: vn.told("refused"))
        told = vn.told("refused")[0]
        assert (told["code"], told["final"]) == ("E_SIGNATURE", False)
        assert (await vn.desk.show(sent["msg"]))["state"] == "queued"

    perform(story, tmp_path)


def test_a_refusal_for_good_ends_a_message_aloud(tmp_path: Path) -> None:
    """The relay's own word that no repeat can change: the officer is told, and whoever waits for it (PROTOCOL 16)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")

        def refuse(data: bytes) -> list[bytes]:
            if data[0] == Type.ANSWER and b"vnd.poc24.accepted.v1" in data:
                body = errors.to_json(Refused(Code.E_TOO_LARGE, "Too large."), stage.clock.now())
                return [bytes([Type.ERROR]) + data[1:5] + body]
            return [data]

        vn.through(refuse)
        await vn.until(lambda: vn.connected)
        sent = await vn.send("AU")
        with pytest.raises(Refused, match="Too large") as refused:
            await vn.desk.wait(sent["msg"], "acknowledged", 60)
        assert refused.value.code is Code.E_TOO_LARGE
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["final"] is True
        page = await vn.desk.show(sent["msg"])
        assert page["state"] == "refused"
        assert any("Too large" in one for one in page["warnings"])

    perform(story, tmp_path)


def test_an_acceptance_of_something_else_is_not_believed(tmp_path: Path) -> None:
    """Signed by the relay, but of a submission that was not made here: no proof for this message (E_PROOF)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        world = stage.world

        def bend(data: bytes) -> list[bytes]:
            if data[0] == Type.ANSWER and b"vnd.poc24.accepted.v1" in data:
                found = receipt.read(data[5:], {"accepted"}, world.evidence.public)
                other = {**found.fields, "submission": "ab" * 32}
                return [data[:5] + receipt.make("accepted", other, world.evidence).wire]
            return [data]

        vn.through(bend)
        await vn.until(lambda: vn.connected)
        sent = await vn.send("AU")
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_PROOF"
        assert "accepted" not in await vn.kinds(sent["msg"])

    perform(story, tmp_path)


def test_a_statement_under_another_messages_name_is_not_kept(tmp_path: Path) -> None:
    """A true `failed` of one message, passed on as if it were another's: refused with an event (E_BINDING)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        first = await vn.send("AU", nonce=b"1" * 16)
        await vn.desk.wait(first["msg"], "delivered", 60)
        await stage.settle()
        (held,) = [one for one in vn.desk._records.of([first["msg"]]) if one.kind == "delivered"]

        def bend(data: bytes) -> list[bytes]:
            if data[0] == Type.STATEMENT and b"vnd.poc24.delivered" in data:
                head, _wire = frames.split(data[5:], 2)
                fields = {
                    "msg": first["msg"],
                    "desk": "AU",
                    "code": "E_DECRYPT",
                    "at": au.clock.now(),
                }
                other = receipt.make("failed", fields, au.device)
                return [data[:5] + frames.join(head, other.wire)]
            return [data]

        vn.through(bend)
        await vn.until(lambda: vn.connected)
        await au.until(lambda: au.connected)
        second = await vn.send("AU", nonce=b"2" * 16)
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_BINDING"
        assert (await vn.desk.timeline(second["msg"]))["state"] == "accepted"
        assert (await vn.desk.timeline(first["msg"]))["state"] == "delivered"
        assert held.verified

    perform(story, tmp_path)


def test_a_recorded_by_another_key_is_not_believed(tmp_path: Path) -> None:
    """A false `recorded`: the receipt stays on its shelf and is posted again."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        honest = stage.line.dial
        au.through(resigned("recorded", stage.world))
        await vn.until(lambda: vn.connected)
        await au.until(lambda: au.connected)
        sent = await vn.send("AU")
        await au.until(lambda: au.told("message"))
        await stage.settle()
        assert (await au.desk.status())["receipts"] == 1
        assert [one["code"] for one in au.told("refused")] == ["E_SIGNER"]
        au.desk._link._dial = honest
        stage.line.cut()
        await stage.clock.sleep(1200)
        assert (await au.desk.status())["receipts"] == 0
        assert len(await au.shown()) == 1
        assert sent["msg"]

    perform(story, tmp_path)


def test_a_recorded_of_another_receipt_clears_nothing(tmp_path: Path) -> None:
    """A true `recorded` that names something else: what it does not name stays on the shelf (PROTOCOL 10)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        fields = {
            "sids": ["ab" * 32],
            "relay": stage.world.service,
            "instance": stage.world.instance,
        }
        other = receipt.make("recorded", {**fields, "at": stage.clock.now()}, stage.world.evidence)

        def bend(data: bytes) -> list[bytes]:
            if data[0] == Type.ANSWER and b"vnd.poc24.recorded.v1" in data:
                return [data[:5] + other.wire]
            return [data]

        au.through(bend)
        await au.until(lambda: au.connected)
        await vn.until(lambda: vn.connected)
        await vn.send("AU")
        await au.until(lambda: au.told("message"))
        await stage.settle()
        assert (await au.desk.status())["receipts"] == 1

    perform(story, tmp_path)


def test_another_relays_challenge_is_not_answered(tmp_path: Path) -> None:
    """A relay in between forwards another one's challenge: no CONNECT leaves, and somebody hears (PROTOCOL 12)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")

        def rename(data: bytes) -> list[bytes]:
            return [data.replace(b'"relay":"poc24-test"', b'"relay":"poc24-evil"')]

        stage.line.open.clear()
        vn.through(rename)
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_AUTH"
        assert "poc24-evil" in vn.told("refused")[0]["text"]
        await stage.settle()
        assert not vn.connected
        assert len(vn.told("refused")) == 1
        assert all(socket.sent == 0 for socket in stage.line.open)

    perform(story, tmp_path)


def test_a_relay_that_gives_other_bytes_is_asked_again(tmp_path: Path) -> None:
    """A pickup answered with a changed envelope: nothing is shown, somebody hears, the honest bytes open later."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        lied: list[int] = []

        def bend(data: bytes) -> list[bytes]:
            if data[0] == Type.ANSWER and b"poc24/1 envelope" in data and not lied:
                lied.append(1)
                return [data[:-1] + bytes([data[-1] ^ 1])]
            return [data]

        au.through(bend)
        await au.until(lambda: au.connected)
        await vn.until(lambda: vn.connected)
        await vn.send("AU")
        await au.until(lambda: au.told("refused"))
        assert au.told("refused")[0]["code"] == "E_BINDING"
        assert await au.shown() == []
        await au.until(lambda: au.told("message"))
        assert len(await au.shown()) == 1

    perform(story, tmp_path)


def test_a_statement_that_was_changed_is_kept_apart(tmp_path: Path) -> None:
    """A bit of `delivered` flipped on its way: shown as unverified, counts for nothing, and the desk goes on."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        def bend(data: bytes) -> list[bytes]:
            if data[0] == Type.STATEMENT and b"vnd.poc24.delivered" in data:
                head, wire = frames.split(data[5:], 2)
                place = wire.index(b'"sig":"') + 20
                other = b"A" if wire[place : place + 1] != b"A" else b"B"
                bent = wire[:place] + other + wire[place + 1 :]
                return [data[:5] + frames.join(head, bent)]
            return [data]

        vn.through(bend)
        await vn.until(lambda: vn.connected)
        await au.until(lambda: au.connected)
        sent = await vn.send("AU")
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_SIGNATURE"
        await stage.settle()
        found = await vn.desk.timeline(sent["msg"])
        assert found["state"] == "accepted"
        (line,) = [line for line in found["lines"] if line["what"] == "delivered"]
        assert line["verified"] is False
        assert "counts for nothing" in line["text"]
        assert (await vn.desk.status())["outbox"] == 1

    perform(story, tmp_path)


def test_a_relay_that_floods_is_left(tmp_path: Path) -> None:
    """More pushes than any honest relay has under way: the line is dropped, memory stays bounded (back-pressure)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        body = frames.pack(Type.DIRECTORY, {"version": 1})
        push = frames.encode(Frame(Type.DIRECTORY, 0, body))

        def flood(data: bytes) -> list[bytes]:
            return [push] * 1000 + [data]

        vn.through(flood)
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_ENCODING"

        def flood_later(data: bytes) -> list[bytes]:
            return [data, *[push] * 1000] if data[0] == Type.ANSWER else [data]

        vn.through(flood_later)
        await vn.until(lambda: any(one["code"] == "E_TOO_LARGE" for one in vn.told("refused")))

    perform(story, tmp_path)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\x00\x00\x00\x00",
        frames.encode(Frame(Type.ANSWER, 77, b"{}")),
        frames.encode(Frame(Type.NOTIFY, 0, b"not json")),
        frames.encode(Frame(Type.STATEMENT, 0, b"\x00\x00\x00\xff")),
        frames.encode(Frame(Type.SUBMIT, 1, b"")),
        frames.encode(Frame(Type.DRAINING, 0, b"[]")),
    ],
    ids=["empty", "unknown", "unasked", "notify", "statement", "call", "draining"],
)
def test_junk_from_the_relay_ends_the_line_and_nothing_else(tmp_path: Path, frame: bytes) -> None:
    """Whatever bytes come: the session ends with an event, the desk comes back and works."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent_junk: list[int] = []

        def bend(data: bytes) -> list[bytes]:
            if vn.connected and not sent_junk:
                sent_junk.append(1)
                return [frame, data]
            return [data]

        vn.through(bend)
        await stage.settle()
        await stage.publish()
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 300)
        assert sent_junk
        assert vn.told("disconnected")
        assert au.connected

    perform(story, tmp_path)
