"""A machine that lacks a part: every command ends with a sentence and the documented exit code, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_KEMS = """\
import sys


class Without:
    def find_spec(self, name, path=None, target=None):
        if name.rpartition(".")[2] in {"mlkem", "mldsa", "hpke"}:
            raise ImportError(name)


sys.meta_path.insert(0, Without())
"""
"""Stands before a command: `cryptography` is there, but it is an older one."""


@pytest.mark.parametrize(
    ("entrance", "words"),
    [
        ("relay.cli", ("check", "--config", "relay.toml")),
        ("relay.cli", ("serve", "--config", "relay.toml")),
        ("keys.cli", ("verify", "--repository", "repository")),
    ],
)
def test_without_ml_kem_a_command_says_what_to_install(
    tmp_path: Path, entrance: str, words: tuple[str, ...]
) -> None:
    """C23: an older `cryptography` has no module to import; that is a sentence and exit code 69, too."""
    (tmp_path / "relay.toml").touch()
    (tmp_path / "repository").mkdir()
    program = f"{WITHOUT_KEMS}\nfrom {entrance} import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "pip install" in done.stderr) == (69, True), done.stderr
    assert "Traceback" not in done.stderr


def test_without_ml_kem_the_desk_still_speaks(tmp_path: Path) -> None:
    """C23: what needs no cryptography says what it has to say; assembling a desk runs the self-test."""
    program = f"{WITHOUT_KEMS}\nfrom relay.desk.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, "inbox", "--home", "nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "desk init" in done.stderr) == (78, True), done.stderr
