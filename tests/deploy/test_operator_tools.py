"""Finding Prometheus and Alertmanager, with pretended packages: nothing is downloaded and nothing is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SHELL = shutil.which("dash") or shutil.which("sh") or "/bin/sh"
TOOLS = ("cat", "chmod", "cp", "mv", "rm", "ln", "mkdir", "mktemp", "sed", "tr")
PROGRAMS = ("prometheus", "promtool", "alertmanager", "amtool", "redis-server")
DOWNLOAD = 'case $* in *download*) : >"$PWD/a.deb";; esac'
UNPACK = """\
mkdir -p "$3/usr/bin"
for name in prometheus promtool prometheus-alertmanager amtool redis-check-rdb; do
    printf '#!%s\\n' "$SHELL" >"$3/usr/bin/$name"
    chmod 755 "$3/usr/bin/$name"
done
share=/usr/share/prometheus/alertmanager
mkdir -p "$3$share"
printf 'template' >"$3$share/default.tmpl"
printf 'cat %s/default.tmpl\\n' "$share" >>"$3/usr/bin/prometheus-alertmanager"
"""


class Machine:
    """A folder with an environment, and a PATH with nothing but what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / ".venv"
        self.path = folder / "path"
        for place in (self.venv / "bin", self.path, folder / "home"):
            place.mkdir(parents=True)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"{tool} belongs to every system"
            (self.path / tool).symlink_to(found)

    def program(self, place: Path, script: str = "") -> Path:
        """Put a program there that notes its arguments."""
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f'#!{SHELL}\necho "${{0##*/}} $*" >>"{self.folder}/notes"\n{script}\n')
        place.chmod(0o755)
        return place

    def apt(self) -> None:
        """Offer packages that can be downloaded and unpacked."""
        self.program(self.path / "apt-get", DOWNLOAD)
        self.program(self.path / "dpkg-deb", UNPACK)

    def find(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Source operators.sh as tests/run.sh does."""
        stop = 'poc24_say() { echo "$*" >&2; }; poc24_stop() { c=$1; shift; printf \'%s\\n\' "$@" >&2; exit $c; }'
        lines = (
            f'set -eu; {stop}; POC24_VENV="$V" POC24_BIN="$V/bin"; . "{ROOT}/deploy/operators.sh"'
        )
        environment = {"PATH": str(self.path), "V": str(self.venv), "SHELL": SHELL}
        environment["HOME"] = str(self.folder / "home")
        environment["TMPDIR"] = str(self.folder)
        return subprocess.run(
            [SHELL, "-c", lines],
            cwd=self.folder,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def links(self) -> dict[str, Path]:
        """Return where each program's link points."""
        return {name: (self.venv / "bin" / name).readlink() for name in PROGRAMS}

    def calls(self) -> list[str]:
        """Return what was called since the last time."""
        notes = self.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without Prometheus."""
    return Machine(tmp_path)


def test_packages_are_unpacked_and_nothing_is_installed(machine: Machine) -> None:
    """apt downloads with lists of its own, dpkg unpacks; no service, no root, no trace but the cache."""
    machine.apt()

    done = machine.find()

    assert done.returncode == 0, done.stderr
    cache = machine.folder / "home" / ".cache" / "poc24"
    assert {path.parent for path in machine.links().values()} == {cache}
    assert [call for call in machine.calls() if "install" in call] == []
    assert sorted(path.name for path in machine.folder.iterdir()) == [".venv", "home", "path"]


def test_alertmanager_finds_its_templates_without_root(machine: Machine) -> None:
    """The fixed path inside it is replaced by one of equal length, which leads to the unpacked templates."""
    machine.apt()
    machine.find()

    real = machine.folder / "home" / ".cache" / "poc24" / "alertmanager.real"
    fixed = "/usr/share/prometheus/alertmanager"
    (path,) = [word for word in real.read_text().split() if word.endswith("/default.tmpl")]
    shown = subprocess.run(
        [machine.venv / "bin" / "alertmanager"], cwd="/", capture_output=True, check=True
    )

    assert fixed not in real.read_text()
    assert len(path) == len(fixed + "/default.tmpl")
    assert shown.stdout == b"template"


def test_a_second_run_calls_nothing(machine: Machine) -> None:
    """Links that are there are enough; a new environment takes them from the cache."""
    machine.apt()
    machine.find()
    machine.calls()
    assert machine.find().returncode == 0
    assert machine.calls() == []

    shutil.rmtree(machine.venv)
    (machine.venv / "bin").mkdir(parents=True)
    assert machine.find().returncode == 0
    assert [call for call in machine.calls() if call.startswith("apt-get")] == []


@pytest.mark.parametrize("variables", [{"HOME": ""}, {"HOME": "/proc/none"}])
def test_without_a_home_the_environment_keeps_them(
    machine: Machine, variables: dict[str, str]
) -> None:
    """An empty HOME is not the root of the disk, and one that takes nothing stops nobody."""
    machine.apt()

    done = machine.find(**variables)

    assert done.returncode == 0, done.stderr
    assert {path.parent for path in machine.links().values()} == {machine.venv / "cache"}


def test_what_is_installed_is_used(machine: Machine) -> None:
    """Programs of the system come before a download, by Debian's name for one of them too."""
    for name in ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "redis-server"):
        machine.program(machine.path / name)

    assert machine.find().returncode == 0
    assert machine.links()["alertmanager"] == machine.path / "prometheus-alertmanager"


def test_what_is_named_is_used_or_refused(machine: Machine) -> None:
    """A program that was named is never silently replaced by another."""
    machine.apt()
    named = machine.program(machine.folder / "mine" / "promtool")
    assert machine.find(POC24_PROMTOOL="mine/promtool").returncode == 0
    assert machine.links()["promtool"] == named

    done = machine.find(POC24_AMTOOL="mine/nothing")
    assert done.returncode == 69
    assert "unset POC24_AMTOOL" in done.stderr


def test_without_apt_the_line_to_type_is_printed(machine: Machine) -> None:
    """Any other system: exit code 69 and one line to copy."""
    done = machine.find()

    assert done.returncode == 69
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert all(f"POC24_{name.removesuffix('-server').upper()}=" in line for name in PROGRAMS)


def test_without_a_network_apts_own_words_and_the_line_are_printed(machine: Machine) -> None:
    """A download that fails shows why and what to type, and leaves nothing half made."""
    machine.apt()
    machine.program(machine.path / "apt-get", "echo NO ROUTE; exit 100")

    done = machine.find()

    assert done.returncode == 69
    assert "NO ROUTE" in done.stderr
    assert "  sudo apt-get update && sudo apt-get install -y" in done.stderr
    assert sorted(path.name for path in machine.folder.glob("tmp*")) == []
    assert list((machine.venv / "bin").iterdir()) == []
