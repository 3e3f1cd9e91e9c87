"""A desk that is killed at any commit and started again: nothing is lost, nothing is shown twice."""

from pathlib import Path
from typing import Any

import pytest
from builders_desk import Seat, Stage, perform

from relay.desk.archive import Archive


class Crash(Exception):
    """The machine stops here."""


class Fragile:
    """Lets one archive crash at its n-th commit from now, before or after the disk has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch every archive; none crashes yet."""
        self._left: dict[Path, tuple[int, bool]] = {}
        dead: list[Archive] = []
        barrier, run = Archive._barrier, Archive._run

        def crash_at_the_barrier(archive: Archive) -> None:
            left, durable = self._left.get(archive.path, (-1, False))
            if left > 0:
                self._left[archive.path] = (left - 1, durable)
            if left != 0:
                barrier(archive)
                return
            del self._left[archive.path]
            if durable:
                barrier(archive)
            dead.append(archive)
            raise Crash

        def nothing_after_a_crash(archive: Archive, *arguments: Any) -> Any:
            if any(archive is one for one in dead):
                raise Crash
            return run(archive, *arguments)

        monkeypatch.setattr(Archive, "_barrier", crash_at_the_barrier)
        monkeypatch.setattr(Archive, "_run", nothing_after_a_crash)

    def arm(self, seat: Seat, commits: int, *, durable: bool) -> None:
        """Crash at the commit after *commits* further ones."""
        self._left[seat.path] = (commits, durable)

    def disarm(self, seat: Seat) -> bool:
        """Return whether it had crashed."""
        return self._left.pop(seat.path, None) is None


@pytest.mark.parametrize("durable", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("side", ["VN", "AU"])
def test_a_crash_between_any_two_steps_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, *, durable: bool
) -> None:
    """Killed at the 1st, 2nd, 3rd ... commit of a journey and started again: delivered, and shown exactly once."""
    fragile = Fragile(monkeypatch)

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        victim = vn if side == "VN" else au
        journeys = 0
        while True:
            fragile.arm(victim, journeys, durable=durable)
            made = vn.write("AU", body=b'{"n":%d}' % journeys, ack_by=0)
            parts = (made["header"], made["statement"], made["body"])
            try:
                sent = await vn.desk.send(*parts)
            except Crash:
                await vn.restart()
                sent = await vn.desk.send(*parts)
            for _again in range(2):
                assert victim.task is not None
                await stage.clock.sleep(20)
                if victim.task.done():
                    await victim.restart()
            await vn.desk.wait(sent["msg"], "delivered", 300)
            await stage.settle()
            journeys += 1
            shown = await au.shown()
            assert len(shown) == journeys
            assert {one["state"] for one in shown} == {"delivered"}
            assert (await au.desk.status())["receipts"] == 0
            assert (await vn.desk.status())["outbox"] == 0
            if not fragile.disarm(victim):
                break
        assert journeys > 3

    perform(story, tmp_path)
