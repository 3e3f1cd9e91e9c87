"""Nobody answers: the relay climbs, the backup desk opens, silence is proven, and the sender knows whom to call.

A real relay and real desks under a virtual clock. The recipient's profile for urgent messages is the slowest that the
network allows: path after 5 minutes, backstop after 10, backup after 20, exhausted after an hour.
"""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from builders_desk import DAY, Seat, Stage, perform
from builders_journey import acknowledge, answer, send_request
from builders_keys import World, profile
from structlog.testing import capture_logs

from keys.errors import Code, Refused
from keys.repository import current_entry
from relay.core.message import Message
from relay.desk.vigil import GRACE_S, SILENT, UNSENT, UNSENT_S
from relay.store.sqlite import SqliteStore
from relay.wire import frames, receipt
from relay.wire.frames import Type

PATH_S, BACKSTOP_S, BACKUP_S, HOUR_S = 300, 600, 1200, 3600
LATE_S = 35
"""The relay of these tests looks at its timers every 30 seconds."""
OUTAGE_S = 720
NUMBER = "+84 24 1234 5678"


async def climbed(seat: Seat, msg: str) -> list[tuple[str, str, int]]:
    """Return (kind, cause, time) of each step of the ladder that this desk holds as verified."""
    return [
        (one["kind"], one["cause"], one["at"])
        for one in (await seat.desk.show(msg))["ladder"]["steps"]
    ]


async def reach(seat: Seat, msg: str, kind: str) -> None:
    """Wait until this desk was told that a step was reached, and shows it; ``exhausted`` is the last."""
    for _half_minute in range(2 * 90):
        told = [one.get("step", one["kind"]) for one in seat.told("statement")]
        if kind in told:
            break
        await seat.clock.sleep(30)
    known = (await seat.desk.show(msg))["ladder"]
    assert kind in [one["kind"] for one in known["steps"]] or known["outcome"], kind


def change_profile(stage: Stage, desk: str, **changes: Any) -> None:
    """Let a desk publish another profile."""
    world = stage.world
    entry = current_entry(world.files, desk)
    world.edit(desk, {**entry, "profile": {**entry["profile"], **changes}}, stage.clock.now())


def test_the_backup_desk_opens_and_answers(tmp_path: Path) -> None:
    """A desk whose people sleep: path, backstop, backup; AU-B opens, acknowledges, answers; the sender sees it all."""

    async def story(stage: Stage) -> None:
        vn, au, deputy = [await stage.seat(desk) for desk in ("VN", "AU", "AU-B")]
        begun = stage.clock.now()
        msg = await send_request(vn, backup="AU-B")
        await vn.desk.wait(msg, "delivered", 60)

        shown = await vn.desk.show(msg)
        assert shown["ladder"]["next"] == {
            "kind": "path",
            "at": pytest.approx(begun + PATH_S, abs=3),
            "hurried": False,
            "held": False,
        }
        await reach(vn, msg, "backstop")
        with pytest.raises(Refused) as unknown:
            await deputy.desk.show(msg)
        assert unknown.value.code is Code.E_UNKNOWN
        assert await deputy.shown() == []
        assert (await vn.desk.show(msg))["ladder"]["next"]["kind"] == "backup"

        await reach(vn, msg, "backup")
        await deputy.until(lambda: deputy.told("message"))
        found = (await deputy.desk.inbox())["messages"]
        assert [(one["statement"], one["state"]) for one in found] == [(msg, "delivered")]
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 1
        await acknowledge(deputy, msg)
        await vn.desk.wait(msg, "acknowledged", 60)
        await au.until(lambda: "AU-B" in [one["desk"] for one in au.told("statement")])
        assert (await au.desk.status())["inbox"]["unacknowledged"] == 0
        assert len((await au.desk.inbox())["messages"]) == 1  # still to be read, not to be signed
        replied = await answer(deputy, msg)
        came = await vn.desk.wait(msg, "answer", 60)
        await stage.clock.sleep(2 * HOUR_S)

        steps = await climbed(vn, msg)
        assert [step[:2] for step in steps] == [
            (kind, "timeout") for kind in ("path", "backstop", "backup")
        ]
        for (_kind, _cause, at), due in zip(steps, (PATH_S, BACKSTOP_S, BACKUP_S), strict=True):
            assert begun + due - 2 <= at <= begun + due + LATE_S
        assert (await vn.desk.show(came["msg"]))["statement"] == replied
        lines = (await vn.desk.timeline(msg))["lines"]
        by = {line["what"]: line["by"] for line in lines}
        assert by["acknowledged"] == by["closed"] == "au-b-01 (AU-B)"
        assert all(line["verified"] and not line["late"] for line in lines)
        assert "exhausted" not in by
        assert (await vn.desk.timeline(msg))["state"] == "closed"
        # The desk that slept sees that there is nothing left to sign, and whom to ask.
        assert (await au.desk.show(msg))["by"]["acknowledged"] == "AU-B"
        assert (await au.desk.timeline(msg))["state"] == "closed"
        assert vn.told("alarm") == []

    perform(story, tmp_path)


def test_two_desks_acknowledge_and_one_had_no_line(tmp_path: Path) -> None:
    """AU signs while its line is down, so the relay climbs on and AU-B signs too: both count, at every desk (10.7)."""

    async def story(stage: Stage) -> None:
        vn, au, deputy = [await stage.seat(desk) for desk in ("VN", "AU", "AU-B")]
        msg = await send_request(vn, backup="AU-B")
        await vn.desk.wait(msg, "delivered", 60)
        au.away()
        await acknowledge(au, msg)
        await reach(vn, msg, "backup")
        await deputy.until(lambda: deputy.told("message"))
        await acknowledge(deputy, msg)
        await vn.desk.wait(msg, "acknowledged", 60)
        au.back(stage)
        await stage.settle()

        for seat in (vn, au, deputy):
            lines = (await seat.desk.timeline(msg))["lines"]
            signed = [line for line in lines if line["what"] == "acknowledged"]
            assert sorted(line["by"] for line in signed) == ["au-01 (AU)", "au-b-01 (AU-B)"]
            assert not [line for line in lines if "does not count" in line["text"]], seat.name
        assert (await au.desk.status())["receipts"] == 0

    perform(story, tmp_path)


def test_the_relay_gives_the_backup_nothing_before_its_time(tmp_path: Path) -> None:
    """A backup that knows the message id and asks for it gets three empty parts; after its stage it gets it (9.3)."""

    async def story(stage: Stage) -> None:
        vn, deputy = await stage.seat("VN"), await stage.seat("AU-B")
        await stage.seat("AU")
        msg = await send_request(vn, backup="AU-B")
        found = await vn.desk.wait(msg, "delivered", 60)

        async def asked() -> list[bytes]:
            fields = {
                "msgs": [found["msg"]],
                "desk": "AU-B",
                "relay": stage.world.service,
                "at": stage.clock.now(),
            }
            session = deputy.desk._link.session
            assert session is not None
            wire = receipt.make("pickup", fields, deputy.device).wire
            return frames.split(await session.ask(Type.PICKUP, wire))

        await reach(vn, msg, "backstop")
        assert await asked() == [b"", b"", b""]
        early = deputy.act("acknowledged", found["msg"], msg)
        session = deputy.desk._link.session
        assert session is not None
        with pytest.raises(Refused) as refused:
            await session.ask(Type.RECORD, frames.join(early.wire))
        assert refused.value.code is Code.E_WRONG_DESK
        await reach(vn, msg, "backup")
        assert all(await asked())

    perform(story, tmp_path)


def test_nobody_at_all(tmp_path: Path) -> None:
    """Every desk sleeps: the sender holds the relay's proof of silence, the numbers, and a sentence to read out."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        for desk in ("AU", "AU-B"):
            await (await stage.seat(desk)).stop()
        begun = stage.clock.now()
        msg = await send_request(vn, backup="AU-B")
        await reach(vn, msg, "exhausted")
        await stage.settle()

        shown = await vn.desk.show(msg)
        assert shown["state"] == "exhausted"
        assert shown["ladder"]["outcome"] == "silence"
        assert begun + HOUR_S - 2 <= shown["ladder"]["ended"] <= begun + HOUR_S + LATE_S
        assert shown["ladder"]["next"] == {}
        assert [(one["desk"], one["number"]) for one in shown["call"]["numbers"]] == [
            ("AU", NUMBER),
            ("AU-B", NUMBER),
        ]
        assert shown["call"]["numbers"][0]["languages"] == ["en"]
        assert shown["call"]["numbers"][0]["hours"] == "24/7"
        assert shown["call"]["note"] == ""
        said = shown["call"]["say"]
        assert "24/7 contact point of Viet Nam" in said
        assert f"{shown['msg'][:5]} {shown['msg'][5:10]}" in said
        assert "urgent" in said
        assert "still delivering" in said
        history = await vn.desk.timeline(msg)
        assert history["call"] == shown["call"]
        assert "proof of silence" in history["lines"][-1]["text"]
        # Somebody here has to telephone: it stands in the inbox and in the desk's standing.
        (listed,) = (await vn.desk.inbox())["messages"]
        assert NUMBER in listed["warning"]
        (alarm,) = (await vn.desk.status())["alarms"]
        assert (alarm["to"], NUMBER in alarm["text"]) == ("AU", True)
        (told,) = [one for one in vn.told("statement") if one["kind"] == "exhausted"]
        assert NUMBER in told["text"]
        assert (
            vn.told("alarm") == []
        )  # the relay has spoken: the dead man's timer has nothing to add

    perform(story, tmp_path)


def test_a_late_acknowledgement(tmp_path: Path) -> None:
    """After `exhausted` delivery goes on: whoever wakes acknowledges, late, and the telephone can rest (10.7)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await au.stop()
        msg = await send_request(vn)
        await reach(vn, msg, "exhausted")
        au.start()
        await vn.desk.wait(msg, "delivered", 120)
        assert (await au.desk.show(msg))["state"] == "exhausted"
        await acknowledge(au, msg)
        await vn.desk.wait(msg, "acknowledged", 60)

        for seat in (vn, au):
            history = await seat.desk.timeline(msg)
            late = {line["what"]: line["late"] for line in history["lines"]}
            assert late["acknowledged"]
            assert not late["exhausted"]
            assert history["state"] == "acknowledged"
        assert (await vn.desk.show(msg))["call"] == {}
        assert (await vn.desk.inbox())["messages"] == []
        assert (await vn.desk.status())["alarms"] == []
        assert (await vn.desk.sent())["messages"] == []
        assert [one["statement"] for one in (await vn.desk.sent(all=True))["messages"]] == [msg]

    perform(story, tmp_path)


def test_declined_moves_on_at_once(tmp_path: Path) -> None:
    """Not for this desk: the next step comes at once, with the reason; no second is lost (PROTOCOL 11.8)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        msg = await send_request(vn, backup="AU-B")
        await vn.desk.wait(msg, "delivered", 60)
        begun = stage.clock.now()
        await au.sign("declined", msg)
        await vn.desk.wait(msg, "declined", 60)
        assert (await vn.desk.show(msg))["ladder"]["next"]["hurried"]
        await reach(vn, msg, "path")

        ((kind, cause, at),) = await climbed(vn, msg)
        assert (kind, cause) == ("path", "declined")
        assert at <= begun + LATE_S < begun + PATH_S
        known = (await vn.desk.show(msg))["ladder"]["next"]
        assert (known["kind"], known["hurried"]) == ("backstop", False)

    perform(story, tmp_path)


def test_a_step_with_nobody_to_turn_to_is_passed_over(tmp_path: Path) -> None:
    """A backstop that the relay cannot page is passed over at once, and says so; the backup comes with it."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        msg = await send_request(vn, backup="AU-B")
        await reach(vn, msg, "backup")

        steps = await climbed(vn, msg)
        assert [step[:2] for step in steps[1:]] == [
            ("backstop", "unreachable"),
            ("backup", "timeout"),
        ]
        lines = [line for line in (await vn.desk.timeline(msg))["lines"] if line["next_at"]]
        assert "passed over at once" in lines[1]["text"]
        assert steps[2][2] - steps[1][2] < BACKUP_S - BACKSTOP_S

    perform(story, tmp_path, mapped=False)


def test_unopenable_is_not_silence(tmp_path: Path) -> None:
    """Every device there says that it cannot open it, also after it was sealed anew: said differently (PROTOCOL 10)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        with au.archive.commit():
            au.archive.purge("prekey_seed", "1")
        msg = await send_request(vn)
        await reach(vn, msg, "exhausted")

        shown = await vn.desk.show(msg)
        assert shown["ladder"]["outcome"] == shown["call"]["outcome"] == "unopenable"
        assert len(shown["msgs"]) == 2
        assert "none of them can open it" in shown["call"]["say"]
        text = (await vn.desk.timeline(msg))["lines"][-1]["text"]
        assert "which is not silence" in text
        assert "proof of silence" not in text

    perform(story, tmp_path, World(officers=1))


def test_the_numbers_are_those_that_the_relay_used(tmp_path: Path) -> None:
    """They come from the entry that `accepted` names; what a desk published since stands behind, and is said to be new."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await (await stage.seat("AU")).stop()
        msg = await send_request(vn)
        await vn.desk.wait(msg, "accepted", 60)
        change_profile(stage, "AU", exhausted=profile("+61 2 5550 1234")["exhausted"])
        await stage.publish()
        await reach(vn, msg, "exhausted")

        call = (await vn.desk.show(msg))["call"]
        assert [one["number"] for one in call["numbers"]] == [NUMBER, "+61 2 5550 1234"]
        assert "published since" in call["note"]

    perform(story, tmp_path)


def test_the_relay_falls_silent(tmp_path: Path) -> None:
    """The relay is gone after it accepted: a minute after the deadline the sending desk itself speaks up, once."""

    async def story(stage: Stage) -> None:
        vn, colleague = await stage.seat("VN"), await stage.seat("VN", "vn-02")
        await (await stage.seat("AU")).stop()
        await stage.settle()
        begun = stage.clock.now()
        msg = await send_request(vn, expires_within=DAY)
        await vn.desk.wait(msg, "accepted", 60)
        await stage.clock.sleep(5)
        stage.line.down = True
        stage.line.cut()
        await stage.clock.sleep(HOUR_S + GRACE_S - 15)
        assert vn.told("alarm") == []
        with capture_logs() as written:
            await stage.clock.sleep(20)
        assert [one["log_level"] for one in written if one["event"] == "alarm"] == 2 * ["warning"]
        assert [one["stage"] for one in colleague.told("alarm")] == [SILENT]
        (alarm,) = vn.told("alarm")
        assert (alarm["stage"], alarm["to"]) == (SILENT, "AU")
        assert begun + HOUR_S + GRACE_S - 2 <= alarm["at"] <= begun + HOUR_S + GRACE_S + 10
        assert NUMBER in alarm["text"]
        await vn.restart()
        await stage.clock.sleep(DAY // 2)
        assert (
            len(vn.told("alarm")) == 1
        )  # events of both runs: it is said once, also over a restart
        shown = await vn.desk.show(msg)
        assert [one["number"] for one in shown["call"]["numbers"]] == [NUMBER]
        (listed,) = (await vn.desk.inbox())["messages"]
        assert "the relay has not said" in listed["warning"]
        assert len((await vn.desk.status())["alarms"]) == 1
        await stage.clock.sleep(DAY // 2)  # past its life: nothing that a call could still change
        assert (await vn.desk.inbox())["messages"] == []
        assert (await vn.desk.status())["alarms"] == []

    perform(story, tmp_path)


def test_it_could_not_be_handed_in(tmp_path: Path) -> None:
    """No relay for two minutes: the desk says so, and once more at the deadline; then it goes out and all is well."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        await au.stop()
        stage.line.down = True
        stage.line.cut()
        begun = stage.clock.now()
        msg = await send_request(vn)
        await stage.clock.sleep(UNSENT_S - 5)
        assert vn.told("alarm") == []
        await stage.clock.sleep(10)
        assert [one["stage"] for one in vn.told("alarm")] == [UNSENT]
        assert "knows nothing of it" in vn.told("alarm")[0]["text"]
        await stage.clock.sleep(HOUR_S)
        assert [one["stage"] for one in vn.told("alarm")] == [UNSENT, SILENT]
        assert vn.told("alarm")[1]["at"] <= begun + HOUR_S + GRACE_S + 2

        assert len((await vn.desk.status())["alarms"]) == 1
        stage.line.down = False
        await stage.freshen()
        await vn.desk.wait(msg, "accepted", 120)
        au.start()
        await vn.desk.wait(msg, "delivered", 120)
        await acknowledge(au, msg)
        await vn.desk.wait(msg, "acknowledged", 60)
        assert (await vn.desk.status())["alarms"] == []
        assert (await vn.desk.inbox())["messages"] == []
        assert len(vn.told("alarm")) == 2

    perform(story, tmp_path)


def test_it_goes_out_late(tmp_path: Path) -> None:
    """No relay for three minutes, then one: with its acceptance the alarm is over, though nobody has it yet."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        await au.stop()
        stage.line.down = True
        stage.line.cut()
        msg = await send_request(vn)
        await stage.clock.sleep(180)
        (alarm,) = (await vn.desk.status())["alarms"]
        assert "No relay has taken this message" in alarm["text"]
        stage.line.down = False
        await vn.desk.wait(msg, "accepted", 120)

        assert (await vn.desk.status())["alarms"] == []
        assert (await vn.desk.show(msg))["warnings"] == []

    perform(story, tmp_path)


def test_what_is_withdrawn_before_it_left_is_no_alarm(tmp_path: Path) -> None:
    """Its sender took it back while no relay was there: nothing waits for an answer any more."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        stage.line.down = True
        stage.line.cut()
        msg = await send_request(vn)
        await vn.sign("withdrawn", msg)
        await stage.clock.sleep(2 * HOUR_S)

        assert vn.told("alarm") == []
        assert (await vn.desk.sent())["messages"] == []

    perform(story, tmp_path)


def test_a_desk_that_slept_over_its_own_alarm(tmp_path: Path) -> None:
    """It was off at the deadline: it speaks up when it starts, with no line, and says only the gravest."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        stage.line.down = True
        stage.line.cut()
        await send_request(vn)
        await vn.stop()
        await stage.clock.sleep(DAY)
        vn.start()
        await stage.settle()

        assert [one["stage"] for one in vn.told("alarm")] == [SILENT]

    perform(story, tmp_path)


@pytest.mark.parametrize("after", ["accepted", "path", "backstop", "backup"])
def test_the_relay_is_away_between_any_two_steps(tmp_path: Path, after: str) -> None:
    """Twelve minutes without a relay: nothing fires early, twice or never, and steps keep their gap (11.9)."""

    async def story(stage: Stage) -> None:
        await stage.restart(SqliteStore(stage.folder / "relay.db"))
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        begun = stage.clock.now()
        msg = await send_request(vn, backup="AU-B")
        found = await vn.desk.wait(msg, "delivered", 60)
        if after != "accepted":
            await reach(vn, msg, after)
        await stage.outage(OUTAGE_S, lambda: SqliteStore(stage.folder / "relay.db"))
        await reach(vn, msg, "exhausted")
        await stage.clock.sleep(HOUR_S)

        steps = await climbed(vn, msg)
        ended = (await vn.desk.show(msg))["ladder"]["ended"]
        assert [step[:2] for step in steps] == [
            (kind, "timeout") for kind in ("path", "backstop", "backup")
        ]
        times = [step[2] for step in steps] + [ended]
        dues = [begun + due for due in (PATH_S, BACKSTOP_S, BACKUP_S, HOUR_S)]
        assert all(due - 2 <= at for at, due in zip(times, dues, strict=True))
        assert all(after - before >= 60 for before, after in itertools.pairwise(times))
        assert ended <= begun + HOUR_S + LATE_S  # the hour is long enough to catch up
        kinds = await vn.kinds(msg)
        assert (kinds.count("escalated"), kinds.count("exhausted")) == (3, 1)
        stored = await stage.store.load(found["msg"])
        assert stored is not None
        assert Message.decode(stored.state).phase == "exhausted"

    perform(story, tmp_path)


def test_the_relay_is_away_when_silence_should_be_proven(tmp_path: Path) -> None:
    """The dead man's timer speaks in its place; when it is back, it signs, and nobody is told twice by the timer."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        msg = await send_request(vn)
        await reach(vn, msg, "backstop")
        await stage.clock.sleep(HOUR_S - BACKSTOP_S - 200)
        await stage.outage(OUTAGE_S)
        assert [one["stage"] for one in vn.told("alarm")] == [SILENT]
        assert "proof of silence" not in (await vn.desk.inbox())["messages"][0]["warning"]
        await reach(vn, msg, "exhausted")
        await stage.settle()

        assert "proof of silence" in (await vn.desk.inbox())["messages"][0]["warning"].replace(
            "Proof", "proof"
        )
        assert len(vn.told("alarm")) == 1

    perform(story, tmp_path)


def test_the_sender_draws_the_plan_that_the_relay_froze(tmp_path: Path) -> None:
    """Same profile, same acceptance, same plan to the second: for each priority, with and without a shorter time."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        for priority in ("emergency", "urgent", "routine"):
            for within in (120, 3600, 0):
                now = stage.clock.now()
                sent = await vn.send(
                    "AU", priority=priority, ack_by=now + within if within else 0, backup="AU-B"
                )
                found = await vn.desk.wait(sent["msg"], "accepted", 60)
                stored = await stage.store.load(found["msg"])
                assert stored is not None
                ladder = Message.decode(stored.state).ladder
                assert ladder is not None
                letter = vn.desk._letters.resolve(found["msg"])
                frozen, accepted = (
                    vn.desk._vigil.frozen(letter),
                    vn.desk._views._lives.accepted(letter),
                )
                assert frozen is not None
                assert accepted is not None
                assert frozen.plan(letter.header, accepted["received"]) == ladder.plan
            await asyncio.sleep(61)

    perform(story, tmp_path)
