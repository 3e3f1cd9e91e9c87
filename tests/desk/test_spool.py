"""The folder of sealed attachments: what nobody names and nobody holds is swept away, and nothing else (PROTOCOL 9.5)."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from keys.errors import Failed
from relay.desk import spool
from relay.desk.spool import Spool

ROW = f"{'ab' * 32}.00"


@pytest.fixture
def place(tmp_path: Path) -> Spool:
    """Return a spool that is made."""
    made = Spool(spool.beside(tmp_path / "archive.db"))
    made.make()
    return made


def test_folders_are_for_their_owner_alone(place: Spool) -> None:
    """The folder stands beside the archive, 0700 like everything in it; files are 0600."""
    assert place.folder.name == "archive.blobs"
    with place.stage() as stage:
        for folder in (place.folder, place.folder / "in", place.folder / "out", stage):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        os.close(spool.create(stage / "x"))
        assert stat.S_IMODE((stage / "x").stat().st_mode) == 0o600
        with pytest.raises(FileExistsError):
            spool.create(stage / "x")


def test_what_no_row_names_is_swept(place: Spool) -> None:
    """Files without a row go, whole or in part; those with one stay."""
    other = f"{'cd' * 32}.01"
    for path in (
        place.out(ROW),
        place.out(other),
        place.held(ROW),
        place.part(ROW),
        place.part(other),
    ):
        path.write_bytes(b"sealed")

    assert place.sweep({ROW}, {ROW}) == 2

    assert sorted(path.name for path in place.folder.rglob("*") if path.is_file()) == sorted(
        [ROW, ROW, f"{ROW}.part"]
    )
    assert place.sweep({ROW}, {ROW}) == 0


def test_a_stage_lives_as_long_as_its_command(place: Spool) -> None:
    """What a living command seals is never swept; at its end, or when it raises, it is gone."""
    with place.stage() as stage:
        (stage / "sealing").write_bytes(b"sealed")
        assert place.sweep((), ()) == 0
        assert (stage / "sealing").exists()
    assert not stage.exists()
    with pytest.raises(RuntimeError), place.stage() as second:
        raise RuntimeError
    assert not second.exists()


def test_a_stage_of_a_dead_command_is_swept(place: Spool) -> None:
    """A command that was killed while it sealed leaves a folder; the next sweep takes it."""
    dying = """
        import os, signal, sys
        from pathlib import Path
        from relay.desk.spool import Spool
        with Spool(Path(sys.argv[1])).stage() as stage:
            (stage / "sealing").write_bytes(b"sealed")
            print(stage.name, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(dying), str(place.folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == -signal.SIGKILL
    assert (place.folder / ran.stdout.strip() / "sealing").exists()

    assert place.sweep((), ()) == 1
    assert sorted(path.name for path in place.folder.iterdir()) == ["in", "out"]


@pytest.mark.parametrize(
    "name",
    ["", "..", "stage-", "stage-../../x", "stage-XYZ", "in", "out", "/etc", "stage-" + "0" * 32],
)
def test_only_a_stage_can_be_named(place: Spool, name: str) -> None:
    """Whoever hands over names a stage of this folder, or is told to type it again (66)."""
    with pytest.raises(Failed, match="not there") as failed:
        place.staged(name)
    assert failed.value.exit_code == 66


def test_what_is_taken_has_left_its_stage(place: Spool) -> None:
    """Taking moves files to their rows' names; what cannot be moved is a sentence (73)."""
    with place.stage() as stage:
        (stage / "x").write_bytes(b"sealed")
        assert place.staged(stage.name) == stage
        place.take([(stage / "x", ROW)])
        assert place.out(ROW).read_bytes() == b"sealed"
        with pytest.raises(Failed, match="cannot be kept") as failed:
            place.take([(stage / "x", ROW)])
        assert failed.value.exit_code == spool.CANNOT_CREATE
    assert place.out(ROW).exists()


def test_room_is_left_for_the_archive(place: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be put here is what is free, less what the archive needs; never less than nothing."""
    all_of_it = place.free() + spool.RESERVE_BYTES
    monkeypatch.setattr(spool, "RESERVE_BYTES", all_of_it * 2)
    assert place.free() == 0


def test_a_link_is_not_followed(place: Spool, tmp_path: Path) -> None:
    """A link in place of a sealed file is neither read nor measured, and a sweep removes the link alone."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 100)
    place.out(ROW).symlink_to(secret)

    with pytest.raises(OSError, match="symbolic links"), spool.reader(place.out(ROW)):
        pass
    assert spool.size(place.out(ROW)) != 100
    place.sweep((), ())

    assert secret.exists()
    assert not place.out(ROW).is_symlink()
