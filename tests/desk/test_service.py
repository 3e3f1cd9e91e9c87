"""The desk's verbs: what they return, what they refuse, and that a refusal says what to do."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from builders_desk import DAY, Stage, perform
from builders_keys import NOW, World

from keys import statement, suite
from keys.errors import Code, Failed, Refused
from keys.statement import b64u, unb64u
from relay.desk.archive import Archive
from relay.desk.control import line_of
from relay.desk.letters import Alias, Way
from relay.desk.service import Desk
from relay.wire.envelope import Header

MARKER = b"Nguyen Van A, subscriber of 203.0.113.7"


def whole(value: dict[str, Any]) -> dict[str, Any]:
    """Return a verb's result after its way over the desk's socket: strict JSON, one line."""
    found: dict[str, Any] = json.loads(line_of({"result": value}))["result"]
    assert found == value
    return value


def test_every_verb_answers_in_strict_json(tmp_path: Path) -> None:
    """Every result fits the desk's socket; and what a request says stays sealed in the archive's file."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        body = statement.encode({"subject": MARKER.decode()})
        sent = whole(await vn.send("AU", body=body))
        whole(await vn.desk.wait(sent["msg"], "delivered", 60))
        whole(await vn.desk.status())
        whole(await vn.desk.recipients("AU", "AU-B"))
        for seat in (vn, au):
            whole(await seat.desk.inbox())
            whole(await seat.desk.inbox(all=True))
            page = whole(await seat.desk.show(sent["msg"]))
            assert page["document"] == {"subject": MARKER.decode()}
            whole(await seat.desk.timeline(sent["msg"]))
        whole(await au.sign("acknowledged", sent["msg"]))
        whole(await au.desk.backup(str(tmp_path / "backup.db")))
        await stage.settle()
        for event in vn.events + au.events:
            line_of({"event": event})
        written = b"".join(one.read_bytes() for one in tmp_path.iterdir())
        assert MARKER not in written
        assert b"vn-01" not in written
        assert vn.key not in written

    perform(story, tmp_path)


def test_status_says_how_the_desk_stands(tmp_path: Path) -> None:
    """Connected or not, what waits, how long others can seal for it, and what it trusts."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        found = await vn.desk.status()
        assert (found["desk"], found["device"]) == ("VN", vn.device.kid)
        assert found["connected"] is True
        assert (found["relay"], found["instance"]) == (stage.world.service, stage.world.instance)
        assert found["directory"]["fresh"] is True
        assert found["directory"]["version"] == stage.door.exchange.directory.version
        assert found["outbox"] == found["receipts"] == found["clock_offset"] == 0
        assert NOW + 27 * DAY < found["prekeys_until"] < NOW + 28 * DAY
        await au.stop()
        await vn.send("AU")
        await stage.settle()
        assert (await vn.desk.status())["outbox"] == 1
        stage.line.down = True
        stage.line.cut()
        await stage.clock.sleep(3700)
        found = await vn.desk.status()
        assert found["connected"] is False
        assert "down" in found["last_error"]
        assert found["directory"]["fresh"] is False

    perform(story, tmp_path)


def test_a_desk_without_a_directory_says_so(tmp_path: Path) -> None:
    """Before the first contact: status works, sending is refused with what to do."""

    async def story(stage: Stage) -> None:
        stage.line.down = True
        with Archive(tmp_path / "new.db", bytes(32)) as archive:
            desk = Desk(
                desk="VN",
                service=stage.world.service,
                device=stage.world.device("VN"),
                archive=archive,
                clock=stage.clock,
                dial=stage.line.dial,
            )
            desk.begin(stage.world.root)
            found = whole(await desk.status())
            assert found["directory"] == {"version": 0, "expires": 0, "fresh": False}
            with pytest.raises(Refused, match="no directory yet") as refused:
                await desk.recipients("AU", "")
            assert "desk serve" in refused.value.hint

    perform(story, tmp_path)


def test_the_officer_sees_whom_a_message_is_for(tmp_path: Path) -> None:
    """Card, devices, fingerprints and telephone before anything is sealed; an unknown desk is named."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        found = await vn.desk.recipients("AU", "AU-B")
        entry = stage.world.directory().desk("AU")
        assert found["card"]["names"][0]["name"] == "24/7 contact point of Australia"
        assert [one["officer"] for one in found["devices"]] == ["au-01", "au-02"]
        assert found["fingerprint"] == list(entry.desk_kids)
        assert found["telephone"].startswith("+84 24 1234 5678")
        assert found["fresh"] is True
        assert found["warnings"] == []
        own = await vn.desk.recipients("VN", "")
        assert own["desk"] == "VN"
        with pytest.raises(Refused) as refused:
            await vn.desk.recipients("XX", "")
        assert refused.value.code is Code.E_WRONG_DESK

    perform(story, tmp_path)


def test_an_expired_directory_needs_an_officers_word(tmp_path: Path) -> None:
    """Past its date: a warning before sealing, a refusal at sending, and the override is recorded and shown (8.5)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        await stage.clock.sleep(3700)
        seen = await vn.desk.recipients("AU", "")
        assert seen["fresh"] is False
        assert "past its date" in seen["warnings"][0]
        made = vn.write("AU")
        parts = (made["header"], made["statement"], made["body"])
        with pytest.raises(Refused) as refused:
            await vn.desk.send(*parts)
        assert refused.value.code is Code.E_DIRECTORY_STALE
        assert (await vn.desk.inbox(all=True))["messages"] == []
        sent = await vn.desk.send(*parts, override_stale=True)
        await vn.desk.wait(sent["msg"], "delivered", 60)
        page = await vn.desk.show(sent["msg"])
        assert any("officer's word" in one for one in page["warnings"])
        assert [one["code"] for one in vn.told("override")] == ["E_DIRECTORY_STALE"]

    perform(story, tmp_path)


def test_sending_twice_is_sending_once(tmp_path: Path) -> None:
    """The command line repeats after a crash: the same statement is the same message."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        made = vn.write("AU")
        parts = (made["header"], made["statement"], made["body"])
        first = await vn.desk.send(*parts)
        await vn.desk.wait(first["msg"], "delivered", 60)
        again = await vn.desk.send(*parts)
        assert again == first
        await stage.settle()
        assert len(await au.shown()) == 1
        assert (await vn.kinds(first["msg"])).count("submission") == 1

    perform(story, tmp_path)


def changed(made: dict[str, str], **changes: Any) -> dict[str, str]:
    """Return a signed message with another header under the same statement."""
    header = statement.decode(unb64u(made["header"]))
    return {**made, "header": b64u(Header.decode(statement.encode({**header, **changes})).encode())}


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("body", Code.E_BINDING),
        ("header", Code.E_BINDING),
        ("device", Code.E_BINDING),
        ("officer", Code.E_SIGNER),
        ("sender", Code.E_BINDING),
        ("unknown", Code.E_WRONG_DESK),
        ("future", Code.E_CLOCK),
        ("expired", Code.E_EXPIRED),
        ("junk", Code.E_VERSION),
    ],
)
def test_what_the_recipient_would_refuse_is_refused_here(
    tmp_path: Path, case: str, code: Code
) -> None:
    """The desk opens a message as its recipient will before it keeps it; nothing wrong ever reaches the outbox."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        now = stage.clock.now()
        made = vn.write("AU")
        if case == "body":
            made["body"] = b64u(b"another text")
        elif case == "header":
            made = changed(made, priority="routine")
        elif case == "device":
            made = vn.write("AU", dev=stage.world.device("VN", "vn-02").kid)
        elif case == "officer":
            vn.officer = stage.world.signer("VN", "vn-02")
            made = vn.write("AU")
        elif case == "sender":
            made = vn.write("AU", sender="AU-B")
        elif case == "unknown":
            made = vn.write("XX")
        elif case == "future":
            made = vn.write("AU", created=now + 301)
        elif case == "expired":
            made = vn.write("AU", created=now - 7200, ack_by=now - 3700, expires=now - 3600)
        else:
            made["header"] = b64u(b"{}")
        with pytest.raises(Refused) as refused:
            await vn.desk.send(made["header"], made["statement"], made["body"])
        assert refused.value.code is code
        assert (await vn.desk.status())["outbox"] == 0
        assert (await vn.desk.inbox(all=True))["messages"] == []

    perform(story, tmp_path)


def test_a_revoked_device_may_not_send(tmp_path: Path) -> None:
    """The relay lets a revoked device in no more, and once the desk knows, it takes nothing from its officer."""
    world = World()

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        await stage.clock.sleep(30)
        world.revoke("VN", "vn-01", stage.clock.now() - 10)
        await stage.publish()
        await vn.until(lambda: vn.told("refused"))
        assert vn.told("refused")[0]["code"] == "E_SIGNER"
        await stage.settle()
        assert len(vn.told("refused")) == 1
        sent = await vn.send("AU")
        await stage.settle()
        assert (await vn.desk.show(sent["msg"]))["state"] == "queued"
        assert await au.shown() == []
        vn.desk._roster.take(world.trusted(stage.clock.now()))
        with pytest.raises(Refused) as refused:
            await vn.send("AU")
        assert refused.value.code is Code.E_SIGNER

    perform(story, tmp_path, world)


@pytest.mark.parametrize(
    ("kind", "changes", "signer", "code"),
    [
        ("acknowledged", {"statement": "ab" * 32}, "", Code.E_BINDING),
        ("acknowledged", {"msg": "ab" * 32}, "", Code.E_UNKNOWN),
        ("acknowledged", {"at": NOW + 10**6}, "", Code.E_CLOCK),
        ("acknowledged", {}, "vn", Code.E_SIGNER),
        ("withdrawn", {}, "", Code.E_SIGNER),
    ],
)
def test_an_officers_act_must_fit_the_message(
    tmp_path: Path, kind: str, changes: dict[str, Any], signer: str, code: Code
) -> None:
    """Another text, an unknown message, the future, another desk's officer, a part that this desk has not."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        if signer:
            au.officer = vn.officer
        made = au.act(kind, sent["msg"], sent["statement"], **changes)
        with pytest.raises(Refused) as refused:
            await au.desk.record(b64u(made.wire))
        assert refused.value.code is code
        assert (await au.desk.status())["receipts"] == 0
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 1

    perform(story, tmp_path)


def test_a_device_cannot_act_for_a_person(tmp_path: Path) -> None:
    """`delivered` is a machine's word: it is no officer's act, whoever hands it over (claim C10)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        (held,) = [one for one in au.desk._records.of([sent["msg"]]) if one.kind == "delivered"]
        with pytest.raises(Refused) as refused:
            await au.desk.record(b64u(held.wire))
        assert refused.value.code is Code.E_TYPE
        au.officer = au.device
        with pytest.raises(Refused):
            await au.sign("acknowledged", sent["msg"])

    perform(story, tmp_path)


def test_a_colleague_acknowledges_and_the_whole_desk_knows(tmp_path: Path) -> None:
    """Signed at one device: the other device of the desk no longer asks anybody."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        other = await stage.seat("AU", "au-02")
        sent = await vn.send("AU")
        await other.until(lambda: other.told("message"))
        assert len((await other.desk.inbox())["messages"]) == 1
        await au.sign("acknowledged", sent["msg"])
        await stage.settle()
        for seat in (au, other):
            assert (await seat.desk.inbox())["messages"] == []
            assert (await seat.desk.status())["inbox"]["unacknowledged"] == 0

    perform(story, tmp_path)


def test_every_copy_is_acknowledged_by_itself(tmp_path: Path) -> None:
    """One text under two ids: it needs somebody until a person has signed for both (PROTOCOL 9.4)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await au.until(lambda: au.told("message"))
        sid, second = sent["statement"], "cd" * 32
        with au.archive.commit():
            until = stage.clock.now() + DAY
            au.desk._letters.name(Alias(second, sid, Way.RECEIVED, stage.clock.now() + 1, until))
        page = await au.desk.show(sid)
        assert page["msg"] == second
        assert any("more than once" in one for one in page["warnings"])
        await au.sign("acknowledged", sid)
        page = await au.desk.show(sid)
        assert page["msg"] == sent["msg"]
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 1
        await au.sign("acknowledged", sid)
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 0

    perform(story, tmp_path)


def test_the_inbox_puts_the_most_pressing_first(tmp_path: Path) -> None:
    """Emergencies before the rest, then what must be acknowledged soonest; answers until somebody has read them."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        now = stage.clock.now()
        first = await vn.send("AU", priority="routine")
        second = await vn.send("AU", priority="urgent", ack_by=now + 3000)
        third = await vn.send("AU", priority="urgent", ack_by=now + 2000)
        fourth = await vn.send("AU", priority="emergency")
        info = await vn.send("AU", ack_by=0, kind="info", priority="routine", expires=now + 5 * DAY)
        await au.until(lambda: len(au.told("message")) == 5)
        listed = [one["msg"] for one in (await au.desk.inbox())["messages"]]
        assert listed == [one["msg"] for one in (fourth, third, second, first, info)]
        await au.desk.show(info["msg"])
        assert len((await au.desk.inbox())["messages"]) == 4

    perform(story, tmp_path)


def test_a_message_is_found_by_its_first_digits(tmp_path: Path) -> None:
    """Six or more digits of an id; fewer, none or several are refused with what to type."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        sent = await vn.send("AU")
        assert (await vn.desk.show(sent["msg"][:6]))["msg"] == sent["msg"]
        assert (await vn.desk.show(sent["statement"][:10].upper()))["msg"] == sent["msg"]
        other = await vn.send("AU")
        with vn.archive.commit():
            until = stage.clock.now() + DAY
            for one, digit in ((sent, "1"), (other, "2")):
                msg = "abcdef" + digit * 58
                vn.desk._letters.name(Alias(msg, one["statement"], Way.SENT, 1, until))
        assert (await vn.desk.show("abcdef2"))["statement"] == other["statement"]
        for wrong in (sent["msg"][:5], "", "xyz123", "../../etc", "0" * 64, "abcdef"):
            with pytest.raises(Refused) as refused:
                await vn.desk.show(wrong)
            assert refused.value.code is Code.E_UNKNOWN
            assert refused.value.hint

    perform(story, tmp_path)


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b'{"a":1}', "document"),
        (b'{"a":' * 6 + b"1" + b"}" * 6, "document"),
        (b'{"a":' * 8 + b"1" + b"}" * 8, "text"),
        ("Xin chào".encode(), "text"),
        (b"\xff\xfe\x00", "base64"),
        (b"\x01" * 1_000_000, "base64"),
        (b"", "text"),
    ],
    ids=["document", "deep", "too-deep", "words", "bytes", "control", "empty"],
)
def test_whatever_a_sender_wrote_can_be_shown(tmp_path: Path, body: bytes, shape: str) -> None:
    """A body of any shape comes over the desk's socket whole: as a document, as text, or in base64."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU", body=body)
        await vn.desk.wait(sent["msg"], "delivered", 60)
        page = whole(await au.desk.show(sent["msg"]))
        shapes = {"document", "text", "base64"} & page.keys()
        assert shapes == {shape}
        found = page[shape]
        if shape == "document":
            found = statement.encode(found).decode()
        assert (unb64u(found) if shape == "base64" else found.encode()) == body

    perform(story, tmp_path)


def test_a_withdrawn_message_that_never_left_never_leaves(tmp_path: Path) -> None:
    """Withdrawn while the line is down: nothing is sent, and no relay hears of it."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        vn.away()
        sent = await vn.send("AU")
        assert (await vn.desk.show(sent["msg"]))["state"] == "queued"
        await vn.sign("withdrawn", sent["msg"])
        vn.back(stage)
        await stage.settle()
        assert await au.shown() == []
        assert (await vn.desk.show(sent["msg"]))["state"] == "withdrawn"
        status = await vn.desk.status()
        assert (status["outbox"], status["receipts"]) == (0, 0)

    perform(story, tmp_path)


def test_a_withdrawal_is_told_to_the_recipient(tmp_path: Path) -> None:
    """Withdrawn after delivery: the recipient is asked for nothing more, and sees why."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        await vn.sign("withdrawn", sent["msg"])
        await au.desk.wait(sent["msg"], "withdrawn", 60)
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 0
        (listed,) = (await au.desk.inbox())["messages"]
        assert listed["state"] == "withdrawn"
        assert (await au.desk.timeline(sent["msg"]))["state"] == "withdrawn"

    perform(story, tmp_path)


def test_waiting_ends_in_time(tmp_path: Path) -> None:
    """What does not come in time is exit code 75; a step that does not exist is refused at once."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        begun = stage.clock.now()
        with pytest.raises(Failed) as failed:
            await vn.desk.wait(sent["msg"], "acknowledged", 30)
        assert failed.value.exit_code == 75
        assert stage.clock.now() - begun == 30
        with pytest.raises(Refused):
            await vn.desk.wait(sent["msg"], "applauded", 30)
        with pytest.raises(Refused):
            await vn.desk.wait(sent["msg"], "delivered", -1)

    perform(story, tmp_path)


def test_a_watcher_that_is_slow_is_told_what_it_missed(tmp_path: Path) -> None:
    """Each watcher has a bounded queue; the desk never waits for one, and stopping ends them all."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        slow = vn.desk.watch()
        first = asyncio.ensure_future(anext(slow))
        await asyncio.sleep(0)
        for n in range(1000):
            vn.desk._tell({"event": "directory", "version": n})
        assert (await first)["event"] == "missed"
        rest = [await anext(slow) for _ in range(512)]
        assert rest[-1]["version"] == 999
        await vn.stop()
        assert [event["event"] async for event in slow] == ["disconnected"]

    perform(story, tmp_path)


def test_a_broken_archive_ends_the_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing can be kept nothing is promised: run raises, so that the process ends and is started anew."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        def refuse(archive: Archive) -> None:
            if archive is au.archive:
                archive._run("a statement that no database knows")

        with monkeypatch.context() as broken:
            broken.setattr(Archive, "_barrier", refuse)
            await vn.stop()
            await asyncio.sleep(0)
            au.desk._link._renew.set()
            assert au.task is not None
            with pytest.raises(Failed, match="archive"):
                await au.task

    perform(story, tmp_path)


def test_a_restored_desk_goes_on(tmp_path: Path) -> None:
    """On a new device, from a backup: everything is there, and what was on its way arrives."""
    recovery = bytes(range(32))

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN", recovery=suite.prekey_public(recovery))
        au = await stage.seat("AU")
        old = await vn.send("AU", nonce=b"1" * 16)
        await vn.desk.wait(old["msg"], "delivered", 60)
        await au.stop()
        waiting = await vn.send("AU", nonce=b"2" * 16)
        await vn.desk.wait(waiting["msg"], "accepted", 60)
        await vn.desk.backup(str(tmp_path / "backup.db"))
        await vn.stop()
        vn.path, vn.key = tmp_path / "new.db", bytes([7]) * 32
        Archive.restore(tmp_path / "backup.db", vn.path, vn.key, seed=recovery).close()
        vn.start()
        await vn.until(lambda: vn.connected)
        assert (await vn.desk.status())["prekeys_until"] > stage.clock.now() + 20 * DAY
        assert (await vn.desk.timeline(old["msg"]))["state"] == "delivered"
        au.start()
        await vn.desk.wait(waiting["msg"], "delivered", 60)
        assert len(await au.shown()) == 2

    perform(story, tmp_path)
