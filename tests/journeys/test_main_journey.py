"""The main journey in one process under a virtual clock: a real relay, real desks, real documents, no sockets.

From an officer in one country to an officer in another and back; with the relay restarted between any two steps, the
line down, clocks wrong, devices asleep and keys revoked on the way.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from builders_desk import DAY, Seat, Stage, perform
from builders_journey import acknowledge, answer, send_request
from builders_keys import World

from keys.errors import Code, Refused
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore

STEPS = ["statement", "submission", "accepted", "offered", "delivered", "acknowledged", "closed"]


def test_an_officer_acknowledges_and_answers(tmp_path: Path) -> None:
    """Both desks re-derive the same life of the request from statements that each verified itself (promise 3)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        msg = await send_request(vn, backup="AU-B")
        await vn.desk.wait(msg, "delivered", 60)
        await acknowledge(au, msg)
        await vn.desk.wait(msg, "acknowledged", 60)
        replied = await answer(au, msg)
        await vn.desk.wait(msg, "closed", 60)
        found = await vn.desk.wait(msg, "answer", 60)

        assert (await vn.desk.show(found["msg"]))["statement"] == replied
        assert await vn.kinds(msg) == STEPS
        assert await au.kinds(msg) == [step for step in STEPS if step != "offered"]
        shown = await vn.desk.show(replied)
        assert shown["document"]["preserved_until"] == "2027-04-15T08:00:00Z"
        assert shown["thread"] == (await vn.desk.show(msg))["msg"]
        assert [one["statement"] for one in await au.shown()] == [msg]
        assert [one["statement"] for one in await vn.shown()] == [replied]

    perform(story, tmp_path)


Cut = Callable[[Stage, Seat, Seat], Awaitable[None]]


async def _restart_relay(stage: Stage, _vn: Seat, _au: Seat) -> None:
    await stage.restart(SqliteStore(stage.folder / "relay.db"))


async def _restart_desks(_stage: Stage, vn: Seat, au: Seat) -> None:
    await vn.restart()
    await au.restart()


async def _cut_lines(stage: Stage, _vn: Seat, _au: Seat) -> None:
    stage.line.cut()


@pytest.mark.parametrize("disturb", [_restart_relay, _restart_desks, _cut_lines])
@pytest.mark.parametrize("after", range(5))
def test_disturbed_between_any_two_steps(tmp_path: Path, disturb: Cut, after: int) -> None:
    """Whatever restarts, and after whichever step: nothing is lost, nothing is shown twice (promise 1)."""

    async def story(stage: Stage) -> None:
        await stage.restart(SqliteStore(stage.folder / "relay.db"))
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        done = 0

        async def step() -> None:
            nonlocal done
            if done == after:
                await disturb(stage, vn, au)
            done += 1

        await step()
        msg = await send_request(vn)
        await step()
        await vn.desk.wait(msg, "delivered", 120)
        await step()
        await acknowledge(au, msg)
        await step()
        replied = await answer(au, msg)
        await step()
        await vn.desk.wait(msg, "closed", 120)
        await vn.desk.wait(msg, "answer", 120)
        await stage.settle()

        assert [one["statement"] for one in await au.shown()] == [msg]
        assert [one["statement"] for one in await vn.shown()] == [replied]
        assert sorted({*await vn.kinds(msg), "offered"}) == sorted(STEPS)
        assert (await vn.desk.status())["outbox"] == 0
        assert (await au.desk.status())["receipts"] == 0

    perform(story, tmp_path)


def test_a_device_that_was_off_for_nine_days(tmp_path: Path) -> None:
    """It wakes to a message that was sealed for the prekey of that week, published while it was still on (8.7)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.settle()
        await au.stop()
        for _day in range(9):
            await stage.clock.sleep(DAY)
            await stage.freshen()
        msg = await send_request(vn)
        await vn.desk.wait(msg, "accepted", 60)
        au.start()
        await vn.desk.wait(msg, "delivered", 120)

        assert (await au.desk.show(msg))["document"]["kind"] == "preservation_request"

    perform(story, tmp_path)


def test_the_line_is_down_for_six_hours(tmp_path: Path) -> None:
    """What officers sign meanwhile counts with its own time, and arrives when the line is back (PROTOCOL 12)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        msg = await send_request(vn)
        await vn.desk.wait(msg, "delivered", 60)
        stage.line.down = True
        stage.line.cut()
        signed_at = au.clock.now()
        await acknowledge(au, msg)
        await stage.clock.sleep(6 * 3600)
        assert "acknowledged" not in await vn.kinds(msg)
        stage.line.down = False
        await vn.desk.wait(msg, "acknowledged", 120)

        found = await vn.desk.timeline(msg)
        line = next(one for one in found["lines"] if one["what"] == "acknowledged")
        assert line["at"] == signed_at
        assert (await au.desk.status())["receipts"] == 0

    perform(story, tmp_path)


@pytest.mark.parametrize(("who", "error"), [("VN", -3600), ("AU", -3600), ("AU", 3600)])
def test_a_clock_that_is_an_hour_off(tmp_path: Path, who: str, error: int) -> None:
    """A desk whose clock is wrong says so, keeps to the relay's time, and the journey goes on."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN", error=error if who == "VN" else 0)
        au = await stage.seat("AU", error=error if who == "AU" else 0)
        wrong = vn if who == "VN" else au
        assert abs((await wrong.desk.status())["clock_offset"] + error) <= 1
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 120)
        await au.sign("acknowledged", sent["msg"])
        await vn.desk.wait(sent["msg"], "acknowledged", 120)

    perform(story, tmp_path)


def test_a_senders_clock_that_is_an_hour_ahead(tmp_path: Path) -> None:
    """By its own clock its directory is past its hour: it says which clock is wrong, and an officer may override.

    The relay's clock cannot excuse it: a relay that hides a revocation would say the same.
    """

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN", error=3600), await stage.seat("AU")
        with pytest.raises(Refused, match="3600 s ahead of the relay's") as refusal:
            await vn.send("AU")
        assert refusal.value.code is Code.E_DIRECTORY_STALE

        written: dict[str, Any] = {**vn.write("AU"), "override_stale": True}
        sent = await vn.desk.send(**written)
        await vn.desk.wait(sent["msg"], "delivered", 120)
        assert len(await au.shown()) == 1

    perform(story, tmp_path)


def test_a_key_is_revoked_in_flight(tmp_path: Path) -> None:
    """The officer who sent is revoked before delivery: the message opens, and says to telephone first (9.4)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.settle()
        await au.stop()
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "accepted", 60)
        await vn.stop()
        stage.world.revoke("VN", "vn-01", stage.clock.now())
        await stage.publish()
        au.start()
        await au.until(lambda: au.told("message"))

        shown = await au.desk.show(sent["msg"])
        assert shown["revoked"]

    perform(story, tmp_path, World())


def test_an_officer_is_revoked_and_the_message_sealed_anew(tmp_path: Path) -> None:
    """The recipient revokes a device while the sender's directory is old: it re-seals by itself, with no officer."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        second = await stage.seat("AU", "au-02")
        await stage.settle()
        stage.line.down = True
        stage.line.cut()
        sent = await vn.send("AU")
        stage.world.revoke("AU", "au-02", stage.clock.now())
        await stage.publish()
        await second.stop()
        stage.line.down = False
        await vn.desk.wait(sent["statement"], "delivered", 240)

        shown = await au.shown()
        assert len(shown) == 1
        assert shown[0]["msg"] != sent["msg"]  # sealed anew: another id, the same statement
        assert (await au.desk.show(shown[0]["msg"]))["statement"] == sent["statement"]

    perform(story, tmp_path, World())


def test_a_new_officer_enrolled_at_night(tmp_path: Path) -> None:
    """Minutes after the desk's management signed the entry, the newcomer reads and acknowledges (8.3, 8.5)."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        stage.world.enrol("AU", "au-night", stage.clock.now())
        await stage.publish()
        newcomer = await stage.seat("AU", "au-night")
        await stage.clock.sleep(700)
        sent = await vn.send("AU")
        await newcomer.until(lambda: newcomer.told("message"))
        await newcomer.sign("acknowledged", sent["msg"])
        await vn.desk.wait(sent["msg"], "acknowledged", 60)

        found = await vn.desk.timeline(sent["msg"])
        assert any("au-night" in line["by"] for line in found["lines"])

    perform(story, tmp_path, World())


def test_the_same_message_twice(tmp_path: Path) -> None:
    """One signed text submitted again, sealed anew, and sent to two relays: shown once, receipted for every id."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        written: dict[str, Any] = {**vn.write("AU")}
        first = await vn.desk.send(**written)
        again = await vn.desk.send(**written)
        await vn.desk.wait(first["msg"], "delivered", 60)
        await stage.settle()

        assert again["msg"] == first["msg"]
        assert len(await au.shown()) == 1

    perform(story, tmp_path)


def test_a_new_store_is_filled_again_by_the_desks(tmp_path: Path) -> None:
    """The relay lost its disk: a new epoch, and every desk hands in again what nobody has received (promise 1)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.settle()
        await au.stop()
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "accepted", 60)
        await stage.clock.sleep(10)
        await stage.restart(MemoryStore())
        au.start()
        await vn.desk.wait(sent["msg"], "delivered", 240)

        assert len(await au.shown()) == 1

    perform(story, tmp_path)


def test_nobody_answers_and_the_sender_holds_the_proof(tmp_path: Path) -> None:
    """The message expires unacknowledged: a signed `expired`, verified and kept by the sender (promise 1)."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        _au = await stage.seat("AU")
        sent = await vn.send("AU", ack_by=stage.clock.now() + 60, expires=stage.clock.now() + 600)
        await vn.desk.wait(sent["msg"], "expired", 1200)

        assert (await vn.desk.timeline(sent["msg"]))["state"] == "expired"

    perform(story, tmp_path)


def test_a_registrar_swaps_a_desks_key(tmp_path: Path) -> None:
    """Two dishonest registrars name another key for AU: VN keeps to the old one and sends nothing (claim C19)."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        await vn.desk.recipients("AU", "")
        stage.world.swap_desk_key("AU", stage.clock.now())
        await stage.publish()
        await stage.settle()
        with pytest.raises(Refused) as refusal:
            await vn.send("AU")

        assert refusal.value.code is Code.E_DESK_KEY_CHANGED
        assert "telephone" in str(refusal.value)

    perform(story, tmp_path, World())


def test_a_directory_that_stands_still(tmp_path: Path) -> None:
    """With a timestamp past its hour nothing is sent silently; an officer may override, and it is kept (8.5)."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        await stage.clock.sleep(2 * 3600)
        with pytest.raises(Refused) as refusal:
            await vn.send("AU")
        assert refusal.value.code is Code.E_DIRECTORY_STALE

        written: dict[str, Any] = {**vn.write("AU"), "override_stale": True}
        sent = await vn.desk.send(**written)
        await vn.desk.wait(sent["msg"], "delivered", 120)
        assert len(await au.shown()) == 1

    perform(story, tmp_path)


def test_withdrawn_before_and_after_delivery(tmp_path: Path) -> None:
    """A withdrawal reaches the other side, stops the clock, and stays in both timelines."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        await vn.sign("withdrawn", sent["msg"])
        await stage.settle()

        assert (await vn.desk.timeline(sent["msg"]))["state"] == "withdrawn"
        assert (await au.desk.timeline(sent["msg"]))["state"] == "withdrawn"

    perform(story, tmp_path)


def test_declined_is_told_at_once(tmp_path: Path) -> None:
    """Not for this desk: the sender sees it, and the request stays open."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        await au.sign("declined", sent["msg"])
        await vn.desk.wait(sent["msg"], "declined", 60)

        assert (await vn.desk.timeline(sent["msg"]))["state"] == "declined"

    perform(story, tmp_path)


def test_a_shift_reads_what_its_colleague_sent(tmp_path: Path) -> None:
    """The sending desk's other device holds its own copy, and signs no receipt for it (PROTOCOL 9.3)."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        colleague = await stage.seat("VN", "vn-02")
        await stage.settle()
        sent = await vn.send("AU")
        await vn.desk.wait(sent["msg"], "delivered", 60)
        await stage.settle()

        shown = await colleague.desk.show(sent["msg"])
        assert shown["statement"] == sent["statement"]
        lines = (await vn.desk.timeline(sent["msg"]))["lines"]
        assert sum(line["what"] == "delivered" for line in lines) == 1

    perform(story, tmp_path)
