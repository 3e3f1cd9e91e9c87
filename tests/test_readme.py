"""The first page is true: what it tells a newcomer to paste works against the demo's network, and what it links is there."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "README.md").read_text()
SCREENS_LINES = 80
QUICK = """\
from keys import keyfile

keyfile.MEMORY_MIN, keyfile.PASSES_MIN = 8 * 1024 * 1024, 1
"""
"""Twenty passphrases are stretched here; how strongly is shown in keys/test_keyfile.py and need not be waited for."""


def by_hand() -> str:
    """Return what the page tells to paste, as it stands."""
    section = PAGE.split("## The same by hand")[1].split("\n## ")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment without anything of whoever runs the tests; *folder* holds what makes passphrases quick."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder), "LANG": "C.UTF-8"}


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run the demo in the background, as the page says; yield the folder of its network once it is ready."""
    folder = tmp_path_factory.mktemp("d")  # short: the name of a socket has 107 bytes at most
    (folder / "sitecustomize.py").write_text(QUICK)
    into = folder / "demo"
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-u", ROOT / "deploy" / "demo.py", "--into", into],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=surroundings(folder),
        )
        assert process.stdout is not None
        try:
            shown = []
            for line in process.stdout:
                shown.append(line)
                if "Ready after" in line:
                    break
            else:
                said.seek(0)
                pytest.fail("".join(shown) + said.read())
            yield into
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@pytest.mark.timeout(120)
def test_what_the_page_says_to_paste_works(demo: Path) -> None:
    """Every command by hand, in one shell, against real processes: none fails, and the steps are there."""
    script = by_hand().replace(".demo/", f"{demo}/")
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=ROOT,
        env=surroundings(demo.parent),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for step in (
        "poc24-demo, connected",
        "delivered, acknowledge by",
        "URGENT request from VN to AU",
        "acknowledged.",
        "answer   from AU",
        "au-01 (AU): closed: answered",
        "desk VN: entry 1",
        "root document",
        "Every row, hash and number agrees with every other.",
    ):
        assert step in done.stdout, (step, done.stdout)


def test_the_page_is_short_and_its_links_lead_somewhere() -> None:
    """At most two screens; each file that it names is there."""
    assert len(PAGE.splitlines()) <= SCREENS_LINES
    links = re.findall(r"\]\(([^)]+)\)", PAGE) + re.findall(r"sh ((?:deploy|tests)/\S+\.sh)", PAGE)
    assert len(links) > 8
    assert [one for one in links if not (ROOT / one).exists()] == []
