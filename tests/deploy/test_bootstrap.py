"""Setting up and running the checks, with pretended tools: nothing is downloaded and nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SHELL = shutil.which("dash") or shutil.which("sh") or "/bin/sh"
TOOLS = ("cat", "cksum", "tr", "ls", "rm", "uname", "id")
SCRIPTS = ("deploy/bootstrap.sh", "deploy/operators.sh", "tests/run.sh")
OPERATORS = ("prometheus", "promtool", "alertmanager", "amtool")
NOTED = 'echo "$(basename "$0") $*" >>"$NOTES"\n'


class Checkout:
    """A copy of the scripts in a folder of its own, with pretended programs that note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / ".venv" / "bin"
        self.notes = folder / "notes"
        for name in (*SCRIPTS, "pyproject.toml"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for lock in ("requirements.lock", "requirements-test.lock"):
            (folder / "deploy" / lock).write_text("# pretended\n")

    def pretend(
        self, name: str, script: str = "", code: int = 0, *, folder: Path | None = None
    ) -> None:
        """Put a program into the environment (or *folder*) that notes its arguments and ends with *code*."""
        place = folder or self.bin
        place.mkdir(parents=True, exist_ok=True)
        program = place / name
        program.write_text(f"#!{SHELL}\n{NOTED}{script}\nexit {code}\n")
        program.chmod(0o755)

    def pretend_everything(self) -> None:
        """Pretend a whole environment, in which every tool is content."""
        (self.folder / ".venv").mkdir(exist_ok=True)
        (self.folder / ".venv" / "pyvenv.cfg").touch()
        for name in ("python", "pip", "ruff", "mypy", "shellcheck", "lint-imports", *OPERATORS):
            self.pretend(name)
        self.pretend("pytest", "echo '===== 7 passed in 0.10s ====='")

    def run(
        self, *words: str, path: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell in the checkout, with nothing of this process's environment but PATH."""
        environment = {"PATH": path or os.environ["PATH"], "NOTES": str(self.notes)} | variables
        return subprocess.run(
            [SHELL, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def set_up(self, path: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Source bootstrap.sh as the demo does, and say where it put things."""
        return self.run(
            "-c", 'set -eu; . deploy/bootstrap.sh; echo "$POC24_BIN"', path=path, **variables
        )

    def calls(self) -> list[str]:
        """Return how the pretended programs were called since the last time."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a fresh copy of the scripts."""
    return Checkout(tmp_path)


def _bare(checkout: Checkout) -> Path:
    """Return a folder with the few tools that every system has, and no Python."""
    folder = checkout.folder / "tools"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"{tool} belongs to every system"
        (folder / tool).symlink_to(found)
    return folder


def test_packages_are_installed_by_hash_and_poc24_without_a_network(checkout: Checkout) -> None:
    """The lock is installed with --require-hashes; poc24 itself asks for nothing more."""
    checkout.pretend_everything()

    done = checkout.set_up()

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(checkout.bin)
    installs = [call for call in checkout.calls() if " install " in call]
    assert len(installs) == 2
    assert installs[0].endswith("--require-hashes -r deploy/requirements.lock")
    assert installs[1].endswith("--no-deps --no-build-isolation -e .")


def test_a_second_start_installs_nothing(checkout: Checkout) -> None:
    """The stamp says that nothing changed; all that is asked is whether Python still runs."""
    checkout.pretend_everything()
    checkout.set_up()
    checkout.calls()

    done = checkout.set_up()

    assert done.returncode == 0
    assert done.stderr == ""
    assert checkout.calls() == ["python -I -c import relay"]


@pytest.mark.parametrize("changed", ["pyproject.toml", "deploy/requirements.lock"])
def test_a_change_of_what_is_asked_for_installs_again(checkout: Checkout, changed: str) -> None:
    """A stamp is worth nothing once the lock or pyproject.toml is another."""
    checkout.pretend_everything()
    checkout.set_up()
    checkout.calls()
    with (checkout.folder / changed).open("a") as file:
        file.write("# changed\n")

    checkout.set_up()

    assert [call for call in checkout.calls() if "--require-hashes" in call]


def test_what_tests_installed_will_do_for_the_demo(checkout: Checkout) -> None:
    """The test lock contains the runtime lock, so the demo after the tests is quick; not the other way."""
    checkout.pretend_everything()
    checkout.run("-c", 'poc24_needs="test"; . deploy/bootstrap.sh')
    checkout.calls()

    checkout.set_up()
    assert not [call for call in checkout.calls() if "install" in call]

    (checkout.folder / "deploy" / "requirements.lock").write_text("# another\n")
    checkout.set_up()
    checkout.calls()
    checkout.run("-c", 'poc24_needs="test"; . deploy/bootstrap.sh')
    assert [call for call in checkout.calls() if "-r deploy/requirements-test.lock" in call]


def test_a_failed_installation_shows_what_pip_said_and_leaves_no_stamp(checkout: Checkout) -> None:
    """A wrong hash ends with 69 and pip's own words, and the next start tries again."""
    checkout.pretend_everything()
    checkout.pretend(
        "python", 'case $* in *require-hashes*) echo "HASHES DO NOT MATCH"; exit 1;; esac'
    )

    done = checkout.set_up()

    assert done.returncode == 69
    assert "HASHES DO NOT MATCH" in done.stderr
    assert list((checkout.folder / ".venv").glob("*.stamp")) == []


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Checkout) -> None:
    """Whatever lies where the environment should go is not deleted."""
    precious = checkout.folder / "mine" / "precious"
    precious.parent.mkdir()
    precious.touch()

    done = checkout.set_up(POC24_VENV="mine")

    assert done.returncode == 73
    assert "nothing was touched" in done.stderr
    assert precious.exists()


def test_a_python_that_will_not_do_is_named(checkout: Checkout) -> None:
    """POC24_PYTHON is never silently replaced by another."""
    checkout.pretend("python3.8", code=1, folder=checkout.folder / "old")

    done = checkout.set_up(POC24_PYTHON=str(checkout.folder / "old" / "python3.8"))

    assert done.returncode == 69
    assert "is not a Python 3.11 or later" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_without_python_the_exact_line_is_printed(checkout: Checkout) -> None:
    """Not root, on a system with apt: the line to copy stands alone, and nothing was changed."""
    tools = _bare(checkout)
    (tools / "id").unlink()
    checkout.pretend("id", "echo 1000", folder=tools)
    checkout.pretend("apt-get", folder=tools)
    checkout.pretend("apt-cache", "case $* in *3.12*) ;; *) exit 1;; esac", folder=tools)
    (tools / "basename").symlink_to(str(shutil.which("basename")))

    done = checkout.set_up(path=str(tools))

    assert done.returncode == 69
    line = "  sudo apt-get update && sudo apt-get install -y python3.12 python3.12-venv"
    assert line in done.stderr.splitlines()
    assert not [call for call in checkout.calls() if call.startswith("apt-get")]


def test_without_python_and_without_apt_the_way_out_is_named(checkout: Checkout) -> None:
    """On any other system the sentence says what is missing and how to name it."""
    done = checkout.set_up(path=str(_bare(checkout)))

    assert done.returncode == 69
    assert "POC24_PYTHON=" in done.stderr or "brew install" in done.stderr


def test_every_group_passes_and_pytest_has_the_last_word(checkout: Checkout) -> None:
    """The summary names each group with its minutes; pytest's closing line stands right before the verdict."""
    checkout.pretend_everything()

    done = checkout.run("tests/run.sh", "--", "-k", "journey")

    assert done.returncode == 0, done.stdout + done.stderr
    closing, verdict = done.stdout.splitlines()[-2:]
    assert closing == "===== 7 passed in 0.10s ====="
    assert verdict == "poc24: all groups passed"
    assert "pytest -k journey" in checkout.calls()
    summary = done.stdout.splitlines()[-7:-2]
    assert [line.split()[:2] for line in summary] == [
        [name, "ok"] for name in ("lint", "types", "shell", "walls", "tests")
    ]


@pytest.mark.parametrize(
    ("tool", "group"),
    [
        ("ruff check", "lint"),
        ("ruff format", "lint"),
        ("mypy", "types"),
        ("shellcheck", "shell"),
        ("lint-imports", "walls"),
        ("pytest", "tests"),
    ],
)
def test_one_failed_group_fails_the_run(checkout: Checkout, tool: str, group: str) -> None:
    """Each group counts; the others still run, so one round shows everything."""
    checkout.pretend_everything()
    program, _, first = tool.partition(" ")
    checkout.pretend(program, f"case $1 in {first}*) echo not content; exit 1;; esac")

    done = checkout.run("tests/run.sh")

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"poc24: FAILED: {group}"
    assert "pytest " in [call[:7] for call in checkout.calls()]


def test_a_quick_run_admits_what_it_left_out(checkout: Checkout) -> None:
    """--quick never looks like a whole run."""
    checkout.pretend_everything()

    done = checkout.run("tests/run.sh", "--quick")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith("left out because of --quick: types shell")
    assert not [call for call in checkout.calls() if call.startswith(("mypy", "shellcheck"))]


def test_a_long_run_says_so_to_the_tests_and_runs_the_long_scripts(checkout: Checkout) -> None:
    """--long reaches pytest through POC24_LONG, and tests/mutation.py runs."""
    checkout.pretend_everything()
    checkout.pretend("pytest", 'echo "long=$POC24_LONG"')
    (checkout.folder / "tests" / "mutation.py").touch()

    done = checkout.run("tests/run.sh", "--long")

    assert done.returncode == 0
    assert "long=1" in done.stdout.splitlines()
    assert "python tests/mutation.py" in checkout.calls()


def test_an_unknown_option_is_refused(checkout: Checkout) -> None:
    """A misspelt --long must not become a short run."""
    done = checkout.run("tests/run.sh", "--lnog")

    assert done.returncode == 64
    assert "--lnog" in done.stderr
