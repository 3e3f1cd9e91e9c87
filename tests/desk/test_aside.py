"""A fault of this program, or a byte that rotted, stops one row and never the desk (relay.desk.aside)."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from builders_desk import Seat, Stage, perform

from keys.errors import Failed
from relay.desk import paper
from relay.desk.aside import AGAIN_S
from relay.desk.sheet import Sheet


def poison(owner: Any, name: str, so: Callable[..., bool] = lambda *_: True) -> None:
    """Let a step of one desk break where *so* says so of its arguments; its words hold what nobody may read."""
    whole = getattr(owner, name)

    def broken(*args: Any, **more: Any) -> Any:
        if so(*args):
            raise ValueError("a secret of the message")
        return whole(*args, **more)

    setattr(owner, name, broken)


async def aside(seat: Seat) -> list[dict[str, Any]]:
    """Return what the desk's standing says of rows that are set aside."""
    return list((await seat.desk.status())["aside"])


def rot(seat: Seat, shelf: str, column: str, row: str) -> None:
    """Change one byte of a sealed column in the file of a desk that is stopped."""
    with sqlite3.connect(seat.path) as file:
        (value,) = file.execute(f"SELECT {column} FROM {shelf} WHERE id = ?", (row,)).fetchone()
        rotten = bytes([value[0] ^ 1]) + value[1:]
        file.execute(f"UPDATE {shelf} SET {column} = ? WHERE id = ?", (rotten, row))
    file.close()


def test_a_copy_that_meets_a_fault_is_laid_by(tmp_path: Path) -> None:
    """The next one is shown; the officer is told whom to call; the next process lives on too, and a better one opens it."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        bad: list[str] = []

        def first(copy: Any, *_rest: Any) -> bool:
            bad.append(copy.msg)
            return bool(copy.msg == bad[0])

        poison(au.desk._inbox, "_keep", first)
        one = await vn.send("AU")
        await stage.settle()
        other = await vn.send("AU")
        await vn.desk.wait(other["msg"], "delivered", 60)
        assert [shown["msg"] for shown in await au.shown()] == [other["msg"]]
        (told,) = await aside(au)
        assert told["msg"] == one["msg"]
        assert "Telephone the desk that sent it. (ValueError at inbox.py:" in told["text"]
        assert [event["kind"] for event in au.told("aside")] == ["parked"]
        assert "secret" not in f"{au.events} {await au.desk.status()}"
        await au.restart()
        poison(au.desk._inbox, "_keep", first)
        await stage.settle()
        assert au.connected
        assert len(await aside(au)) == 1
        await au.restart()
        await vn.desk.wait(one["msg"], "delivered", 120)
        assert len(await au.shown()) == 2
        assert await aside(au) == []

    perform(story, tmp_path)


def test_a_statement_that_meets_a_fault_is_laid_by(tmp_path: Path) -> None:
    """It is kept as unverified and taken in when the directory is signed anew; what came after it is there at once."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        poison(vn.desk._intake, "keep", lambda proven, *_: proven.statement.kind == "delivered")
        sent = await vn.send("AU")
        await stage.settle()
        await au.sign("acknowledged", sent["msg"])
        await vn.desk.wait(sent["msg"], "acknowledged", 60)
        with pytest.raises(Failed):
            await vn.desk.wait(sent["msg"], "delivered", 1)
        assert [event["kind"] for event in vn.told("aside")] == ["statement"]
        await vn.restart()
        await stage.freshen()
        await vn.desk.wait(sent["msg"], "delivered", 60)
        assert await aside(vn) == []

    perform(story, tmp_path)


def test_a_message_that_cannot_be_sent_stops_no_other(tmp_path: Path) -> None:
    """An emergency goes out although the one before it breaks; that one is tried again after an hour."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        bad: list[str] = []
        broken = True
        poison(vn.desk._outbox, "_check_sendable", lambda one: broken and one.letter.sid in bad)
        await stage.outage(1)
        stage.line.down = True
        vn.cut()
        one = await vn.send("AU", priority="emergency")
        bad.append(one["statement"])
        other = await vn.send("AU")
        stage.line.down = False
        await vn.desk.wait(other["msg"], "delivered", 60)
        (told,) = await aside(vn)
        assert told["msg"] == one["msg"]
        assert "It is not sent. Telephone the other desk." in told["text"]
        page = "\n".join(paper.standing(await vn.desk.status(), Sheet(now=0, width=200)))
        assert page.startswith(f"! SET ASIDE, {one['msg'][:10]}: It is not sent.")
        broken = False
        await stage.clock.sleep(AGAIN_S - 600)
        assert len(await au.shown()) == 1
        await stage.freshen()
        await vn.send("AU")
        await stage.clock.sleep(1200)
        vn.desk._link.wake()
        await vn.desk.wait(one["msg"], "delivered", 60)
        assert await aside(vn) == []

    perform(story, tmp_path)


def test_a_receipt_that_cannot_be_posted_stops_no_other(tmp_path: Path) -> None:
    """One receipt meets a fault whenever it is handled: the others are posted, and its message's sender is telephoned."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        take, bad = au.desk._records.recorded, list[str]()

        def recorded(sids: Iterable[str]) -> None:
            found = list(sids)
            bad.extend(found)
            if bad[0] in found:
                raise ValueError("a secret of the message")
            take(found)

        au.desk._records.recorded = recorded  # type: ignore[method-assign]
        await vn.send("AU")
        await stage.settle()
        other = await vn.send("AU")
        await vn.desk.wait(other["msg"], "delivered", 60)
        await stage.settle()
        (told,) = await aside(au)
        assert "A receipt of it is not posted" in told["text"]
        assert (await au.desk.status())["receipts"] == 1

    perform(story, tmp_path)


def test_the_vigil_goes_on_over_the_others(tmp_path: Path) -> None:
    """A message whose time cannot be judged is told of; the alarm of the next one rings all the same."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        stage.line.down = True
        vn.cut()
        one = await vn.send("AU")
        poison(vn.desk._vigil, "_event", lambda letter, *_: letter.sid == one["statement"])
        other = await vn.send("AU")
        await vn.until(lambda: vn.told("alarm"), 300)
        assert [event["msg"] for event in vn.told("alarm")] == [other["msg"]]
        (told,) = await aside(vn)
        assert "Nobody watches over its time any more." in told["text"]
        stage.line.down = False

    perform(story, tmp_path)


def test_a_fault_outside_of_every_row_begins_the_line_anew(tmp_path: Path) -> None:
    """The desk lives, says so, and comes back; commands are answered meanwhile."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        await stage.seat("AU")
        broken = True
        poison(vn.desk._roster, "make_prekeys", lambda *_: broken)
        vn.cut()
        await vn.until(lambda: vn.told("aside"))
        assert not vn.connected
        status = await vn.desk.status()
        assert "an error of this desk's own (ValueError)" in status["last_error"]
        assert status["aside"][0]["text"].startswith("The line to the relay is begun anew.")
        assert len(vn.told("aside")) <= 12, "it does not whirl"
        broken = False
        await vn.until(lambda: vn.connected)
        assert await aside(vn) == []

    perform(story, tmp_path)


def test_what_was_withdrawn_is_no_longer_shown(tmp_path: Path) -> None:
    """The officer telephoned and took the message back: the next process has nothing to say of it."""

    async def story(stage: Stage) -> None:
        vn, _au = await stage.seat("VN"), await stage.seat("AU")
        first = await vn.send("AU")  # so that there are prekeys at hand
        await vn.desk.wait(first["msg"], "delivered", 60)
        stage.line.down = True
        vn.cut()
        sent = await vn.send("AU")
        vn.desk._aside.put("outbox", sent["statement"], sent["msg"], "ValueError at a test")
        assert len(await aside(vn)) == 1
        await vn.sign("withdrawn", sent["msg"])
        await vn.restart()
        await stage.clock.sleep(1)
        assert await aside(vn) == []

    perform(story, tmp_path)


@pytest.mark.parametrize(
    ("shelf", "column"), [("outbox", "cek"), ("posting", "wire"), ("vigil", "frozen")]
)
def test_a_byte_that_rotted_hides_one_row(tmp_path: Path, shelf: str, column: str) -> None:
    """A row of the working shelves does not open: it is told of at the start, and the others have their turn."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        stage.line.down = True
        seat = au if shelf == "posting" else vn
        if shelf == "posting":
            stage.line.down = False
            one = await vn.send("AU")
            await vn.desk.wait(one["msg"], "delivered", 60)
            stage.line.down = True
            au.cut()
            await au.sign("acknowledged", one["msg"])
            row = au.archive.find("posting")[0]["id"]
        else:
            vn.cut()
            one = await vn.send("AU")
            row = one["statement"]
        await seat.stop()
        rot(seat, shelf, column, row)
        seat.start()
        stage.line.down = False
        await seat.until(lambda: seat.connected)
        found = [entry["text"].endswith("(the row does not open)") for entry in await aside(seat)]
        assert found == [True] * (shelf != "vigil"), "what the vigil holds is drawn anew"
        other = await vn.send("AU")
        await vn.desk.wait(other["msg"], "delivered", 60)
        await au.sign("acknowledged", other["msg"])
        await vn.desk.wait(other["msg"], "acknowledged", 60)

    perform(story, tmp_path)


def test_a_message_that_rotted_hides_no_other(tmp_path: Path) -> None:
    """Lists leave out what does not open, and show the rest."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        one, other = await vn.send("AU"), await vn.send("AU")
        await vn.desk.wait(other["msg"], "delivered", 60)
        await stage.settle()
        await au.stop()
        rot(au, "message", "header", one["statement"])
        au.start()
        assert [found["msg"] for found in (await au.desk.inbox())["messages"]] == [other["msg"]]
        await au.until(lambda: au.connected)

    perform(story, tmp_path)


def test_an_alarm_that_rotted_hides_no_other(tmp_path: Path) -> None:
    """Two messages of this desk want somebody at the telephone; one does not open any more: the other is shown."""

    async def story(stage: Stage) -> None:
        vn = await stage.seat("VN")
        stage.line.down = True
        vn.cut()
        one, other = await vn.send("AU"), await vn.send("AU")
        await vn.until(lambda: len(vn.told("alarm")) == 2, 300)
        await vn.stop()
        rot(vn, "message", "header", one["statement"])
        vn.start()
        assert [found["msg"] for found in (await vn.desk.status())["alarms"]] == [other["msg"]]
        assert [found["msg"] for found in (await vn.desk.inbox())["messages"]] == [other["msg"]]
        assert len((await vn.desk.sent())["messages"]) == 1

    perform(story, tmp_path)


def test_an_archive_that_cannot_be_used_ends_the_desk(tmp_path: Path) -> None:
    """Who cannot keep must not promise: this is no fault of a row."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")

        def full(*_args: Any) -> None:
            raise Failed("The disk is full.", exit_code=75)

        au.desk._inbox._keep = full  # type: ignore[assignment,method-assign]
        await vn.send("AU")
        assert au.task is not None
        with pytest.raises(Failed):
            await au.task

    perform(story, tmp_path)
