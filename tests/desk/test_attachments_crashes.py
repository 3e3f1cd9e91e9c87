"""A desk that is killed between any two steps of sending or receiving files: neither an orphan nor a gap stays (9.5)."""

import os
from pathlib import Path
from typing import Any

import pytest
from builders_attached import AttachedSeat, AttachedStage, attached, data_of

from relay.desk import downloads, spool, uploads
from relay.desk.archive import Archive

STRIDE = 1 if os.environ.get("POC24_LONG") == "1" else 3
"""An ordinary run dies at every third step, the long one at each."""
FILES = {"photo.jpg": data_of(50_000, "photo")}


class Crash(BaseException):
    """The machine stops here."""


class Fragile:
    """Lets one seat's process die at its n-th step from now: a commit, a name on its disk, a call to the relay."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch every step of every seat; nobody dies yet."""
        self.seat: AttachedSeat | None = None
        self.left = -1
        self.where = ""
        self._dead: list[Archive] = []
        barrier, run = Archive._barrier, Archive._run
        rename, unlink, sync = Path.rename, Path.unlink, spool.sync

        def crash_at_the_barrier(archive: Archive) -> None:
            mine = self.seat is not None and archive.path == self.seat.path
            self.step("before a commit", archive, mine=mine)
            barrier(archive)
            self.step("after a commit", archive, mine=mine)

        def nothing_after_a_crash(archive: Archive, *given: Any) -> Any:
            if any(archive is one for one in self._dead):
                raise Crash
            return run(archive, *given)

        def renamed(path: Path, target: Path) -> Path:
            self._on_disk(path, "before a name")
            done = rename(path, target)
            self._on_disk(path, "after a name")
            return done

        def unlinked(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - its own shape
            self._on_disk(path, "before a file goes")
            unlink(path, missing_ok)
            self._on_disk(path, "after a file went")

        def synced(folder: Path) -> None:
            self._on_disk(folder / "x", "before the names are durable")
            sync(folder)

        monkeypatch.setattr(Archive, "_barrier", crash_at_the_barrier)
        monkeypatch.setattr(Archive, "_run", nothing_after_a_crash)
        monkeypatch.setattr(Path, "rename", renamed)
        monkeypatch.setattr(Path, "unlink", unlinked)
        monkeypatch.setattr(spool, "sync", synced)

    def _on_disk(self, path: Path, where: str) -> None:
        seat = self.seat
        if seat is None or not path.is_relative_to(seat.spool.folder):
            return
        if path.parent.name.startswith(spool.STAGE):
            mine = where.endswith(
                "name"
            )  # what leaves a stage is the desk's; the rest is the command's
            self.step(where, seat.archive, mine=mine)
        else:
            self.step(where, seat.archive, mine=True)

    def step(self, where: str, archive: Archive, *, mine: bool) -> None:
        """Die here, if it is time."""
        if not mine:
            return
        if any(archive is one for one in self._dead):
            raise Crash
        self.left -= 1
        if self.left == -1:
            self.where = where
            self._dead.append(archive)
            raise Crash

    def arm(self, seat: AttachedSeat, steps: int) -> None:
        """Let *seat* die at the step after *steps* further ones."""
        self.seat, self.left, self.where = seat, steps, ""

        async def before(method: str, _blob: str) -> None:
            self.step(f"before {method}", seat.archive, mine=True)

        async def after(method: str, _blob: str) -> None:
            self.step(f"after {method}", seat.archive, mine=True)

        seat.carrier.before, seat.carrier.after = before, after

    def disarm(self) -> str:
        """Return where it died; "" if it outlived everything."""
        assert self.seat is not None
        self.seat.carrier.before = self.seat.carrier.after = None
        self.seat = None
        return self.where


async def _sent(vn: AttachedSeat) -> dict[str, Any]:
    """Send as an officer does whose desk dies under his command: he looks whether it was kept, and types it again."""
    try:
        return await vn.send_with("AU", FILES, ack_by=0)
    except Crash:
        await vn.restart()
        await vn.stage.clock.sleep(5)
        kept = (await vn.desk.sent(all=True))["messages"]
        newest: dict[str, Any] | None = kept[0] if kept else None
        if newest is not None and newest["received"] >= vn.stage.clock.now() - 5:
            return newest
        return await vn.send_with("AU", FILES, ack_by=0)


@pytest.mark.parametrize("side", ["VN", "AU"])
def test_killed_between_any_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """Killed at the 1st, 2nd, 3rd ... step: every message arrives once, with its files, and no sealed file stays behind."""
    for module in (uploads, downloads):
        monkeypatch.setattr(module, "PIECE_BYTES", 40_000)
    fragile = Fragile(monkeypatch)
    died: list[str] = []

    async def story(stage: AttachedStage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        victim = vn if side == "VN" else au
        while True:
            if len(died) % 10 == 9:
                await stage.freshen()
            fragile.arm(victim, STRIDE * len(died))
            sent = await _sent(vn)
            for _again in range(2):
                await stage.clock.sleep(25)
                assert victim.task is not None
                if victim.task.done():
                    await victim.restart()
            await vn.desk.wait(sent["statement"], "delivered", 300)
            await au.until_states(sent["statement"], "here")
            await stage.clock.sleep(25)
            where = fragile.disarm()
            assert vn.files() == [], where
            shown = await au.shown()
            assert len({one["statement"] for one in shown}) == len(shown) == len(died) + 1, where
            assert {one["state"] for one in shown[-1]["attachments"]} == {"here"}, where
            assert len(au.files()) == len(shown), where
            assert not [name for name in au.files() if name.endswith(".part")], where
            assert await au.saved(sent["statement"]) == FILES["photo.jpg"], where
            assert len(stage.held()) == len(shown), where
            if not where:
                break
            died.append(where)

    attached(story, tmp_path)
    assert STRIDE * len(died) > 15
    assert {"before a commit", "after a commit"} <= set(died)
    if STRIDE == 1:
        ends = {"before PUT", "after PUT", "after HEAD", "after a file went"}
        assert (ends if side == "VN" else {"before GET", "before the names are durable"}) <= set(
            died
        )
