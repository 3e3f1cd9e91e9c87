"""An attachment saved: verified before it has a name, never over something, never through a link (PROTOCOL 9.5.6)."""

import errno
import io
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders_attached import data_of

from keys.errors import Code, Failed, Refused
from relay.desk import saving
from relay.wire import attachment
from relay.wire.attachment import Facts, Sealing

SECRET = attachment.secret_of(bytes(32), 0)
DATA = data_of(200_000)


@pytest.fixture(params=["unnamed", "hidden", "without links"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Save on a disk that knows files without a name, on one that does not, and on one without links."""
    if request.param != "unnamed":
        monkeypatch.setattr(saving, "_UNNAMED", 0)
    if request.param == "without links":

        def refused(*_given: Any, **_more: Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    return str(request.param)


def _sealed(folder: Path, data: bytes = DATA) -> tuple[Path, Facts]:
    sealing = Sealing(SECRET, len(data), io.BytesIO(data).read)
    path = folder / "sealed"
    path.write_bytes(b"".join(sealing))
    return path, sealing.facts


def _save(
    folder: Path,
    path: Path,
    facts: Facts,
    name: str = "a.txt",
    told: Callable[[int], None] = lambda _n: None,
) -> Path:
    return saving.save(path, SECRET, facts, folder, name, told)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return an empty folder to save to."""
    folder = tmp_path / "to"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_saved_as_it_was_sent(tmp_path: Path, target: Path, disk: str, size: int) -> None:
    """The file is there, whole, for its owner alone, and nothing else is."""
    sealed, facts = _sealed(tmp_path, data_of(size))
    moved: list[int] = []

    path = _save(target, sealed, facts, told=moved.append)

    assert path.read_bytes() == data_of(size)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(target.iterdir()) == [path]
    assert sum(moved) == size


def test_nothing_is_overwritten(tmp_path: Path, target: Path, disk: str) -> None:
    """A file, a folder or a link that has the name stays as it is: exit code 73."""
    sealed, facts = _sealed(tmp_path)
    (target / "a.txt").write_text("mine")
    (target / "b.txt").mkdir()
    (target / "c.txt").symlink_to(tmp_path / "elsewhere")
    for name in ("a.txt", "b.txt", "c.txt"):
        with pytest.raises(Failed, match="overwritten") as failed:
            _save(target, sealed, facts, name)
        assert failed.value.exit_code == 73
    assert (target / "a.txt").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert len(list(target.iterdir())) == 3


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path, target: Path, disk: str) -> None:
    """Somebody makes a file of that name while the attachment is opened: his stays, exit code 73."""
    sealed, facts = _sealed(tmp_path)

    def told(_count: int) -> None:
        (target / "a.txt").write_text("mine")

    with pytest.raises(Failed, match="overwritten") as failed:
        _save(target, sealed, facts, told=told)
    assert failed.value.exit_code == 73
    assert (target / "a.txt").read_text() == "mine"
    assert len(list(target.iterdir())) == 1


def test_a_link_in_place_of_the_folder(tmp_path: Path, target: Path, disk: str) -> None:
    """Nothing is written through a link; the sentence names the folder behind it. A folder that is missing: 66."""
    sealed, facts = _sealed(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(Failed, match="is a link") as failed:
        _save(link, sealed, facts)
    assert failed.value.exit_code == 73
    assert str(target) in failed.value.hint
    for place, code in ((tmp_path / "nowhere", 66), (sealed, 73)):
        with pytest.raises(Failed, match="no folder") as failed:
            _save(place, sealed, facts)
        assert failed.value.exit_code == code
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["../a", "a/b", ".bashrc", "x\u202egpj.exe", "", ".."])
def test_an_odd_name_makes_no_file(tmp_path: Path, target: Path, name: str) -> None:
    """A name that steers is refused before anything is opened, and the way out is named (9.5.7)."""
    sealed, facts = _sealed(tmp_path)
    with pytest.raises(Refused, match="Nothing is saved") as refused:
        _save(target, sealed, facts, name)
    assert refused.value.code is Code.E_ENCODING
    assert "--as" in refused.value.hint
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("at", [20, 50, 70_000, -1])
def test_a_damaged_blob_makes_no_file(tmp_path: Path, target: Path, disk: str, at: int) -> None:
    """One bit that is wrong anywhere, the last chunk included, and no file is there (9.5.6)."""
    sealed, facts = _sealed(tmp_path)
    data = bytearray(sealed.read_bytes())
    data[at] ^= 1
    sealed.write_bytes(data)
    with pytest.raises(Refused):
        _save(target, sealed, facts)
    assert list(target.iterdir()) == []


def test_another_hash_makes_no_file(tmp_path: Path, target: Path, disk: str) -> None:
    """Every chunk opens and the hash that the officer signed is another: no file (E_BINDING)."""
    sealed, facts = _sealed(tmp_path)
    with pytest.raises(Refused) as refused:
        _save(target, sealed, Facts(facts.size, "0" * 64, facts.blob))
    assert refused.value.code is Code.E_BINDING
    assert list(target.iterdir()) == []


def test_no_name_before_the_last_byte(tmp_path: Path, target: Path, disk: str) -> None:
    """While it is opened, nobody sees a file of that name."""
    sealed, facts = _sealed(tmp_path)
    seen: set[str] = set()

    _save(
        target,
        sealed,
        facts,
        told=lambda _count: seen.update(path.name for path in target.iterdir()),
    )

    assert "a.txt" not in seen
    assert seen <= {".poc24-save.part"}


def test_a_disk_that_is_full(
    tmp_path: Path, target: Path, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing more can be written, that is said with 73, and nothing is left over."""
    sealed, facts = _sealed(tmp_path)

    def full(*_given: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Failed, match="No space left") as failed:
        _save(target, sealed, facts)
    assert failed.value.exit_code == 73
    assert list(target.iterdir()) == []


def test_a_sealed_file_that_is_gone(tmp_path: Path, target: Path, disk: str) -> None:
    """A sealed file that left meanwhile is a sentence (66), and a link in its place is not followed."""
    sealed, facts = _sealed(tmp_path)
    other = tmp_path / "other"
    sealed.rename(other)
    for linked in (False, True):
        if linked:
            sealed.symlink_to(other)
        with pytest.raises(Failed, match="has left") as failed:
            _save(target, sealed, facts)
        assert failed.value.exit_code == 66
    assert list(target.iterdir()) == []


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from relay.desk import saving
    from relay.wire import attachment
    from relay.wire.attachment import Facts

    folder, size, sha256, blob, unnamed = sys.argv[1:]
    if unnamed == "no":
        saving._UNNAMED = 0
    facts = Facts(int(size), sha256, blob)
    saving.save(
        Path(folder, "sealed"), attachment.secret_of(bytes(32), 0), facts, Path(folder, "to"), "a.txt",
        lambda _count: os.kill(os.getpid(), signal.SIGKILL),
    )
"""


@pytest.mark.parametrize("unnamed", ["yes", "no"])
def test_killed_while_it_is_opened(tmp_path: Path, target: Path, unnamed: str) -> None:
    """Kill -9 in the middle leaves no plaintext; on a disk without unnamed files a hidden one, which goes next time."""
    sealed, facts = _sealed(tmp_path)
    arguments = [str(tmp_path), str(facts.size), facts.sha256, facts.blob, unnamed]
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), *arguments],
        check=False,
        capture_output=True,
    )

    assert ran.returncode == -9, ran.stderr
    left = [path.name for path in target.iterdir()]
    assert left == ([] if unnamed == "yes" else [".poc24-save.part"])

    saving._UNNAMED, kept = (saving._UNNAMED if unnamed == "yes" else 0), saving._UNNAMED
    try:
        assert _save(target, sealed, facts).read_bytes() == DATA
    finally:
        saving._UNNAMED = kept
    assert [path.name for path in target.iterdir()] == ["a.txt"]
