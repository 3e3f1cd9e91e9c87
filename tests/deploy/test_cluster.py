"""The demonstration with several instances, once, with real processes; and the way back to one file, as the runbook types it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from builders_redis import program
from click import Command, Group

from relay import cli

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "deploy" / "README.md").read_text()
CHAPTER = RUNBOOK.split("\n# Several instances\n")[1].split("\n# Runbook\n")[0]
MESSAGES = 9
"""What the demonstration sends: eight while the master dies, one after a relay died."""
QUICK = """\
from keys import keyfile

keyfile.MEMORY_MIN, keyfile.PASSES_MIN = 8 * 1024 * 1024, 1
"""


def typed(heading: str = "") -> list[str]:
    """Return the commands that the chapter (or one section of it) tells to type."""
    text = CHAPTER.split(f"\n## {heading}\n")[1].split("\n## ")[0] if heading else CHAPTER
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.mark.timeout(240)
def test_nothing_is_lost_when_master_and_relay_die_and_one_file_has_it_all_in_the_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """`demo.sh --cluster --once`: none lost, none twice. Then both journals become one file, which the doctor passes."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "sitecustomize.py").write_text(QUICK)
    (folder / "redis-server").symlink_to(program("redis"))
    path = f"{Path(sys.executable).parent}:{folder}:{os.environ['PATH']}"
    around = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder), "LANG": "C.UTF-8"}
    words = ["--cluster", "--once", "--into", str(folder / "demo")]
    done = subprocess.run(
        [sys.executable, "-u", ROOT / "deploy" / "cluster.py", *words],
        capture_output=True,
        text=True,
        check=False,
        env=around,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    counted = re.findall(
        r"Accepted: (\d+)\. At AU: (\d+)\. Lost: (\d+)\. Twice: (\d+)\.", done.stdout
    )
    assert counted == [("8", "8", "0", "0"), ("9", "9", "0", "0")]

    relays = folder / "demo" / "network" / "relay"
    kept = relays / "relay.demo-2"
    text = (kept / "relay.toml").read_text()
    redis = text.split("[redis]\n")[1].split("[directory]")[0]
    (kept / "relay.toml").write_text(text.replace("[redis]\n" + redis, ""))
    back = typed("From one file to several, and back")[3:]
    assert len(back) == 2
    for command in back:
        found = subprocess.run(
            [*shlex.split(command.replace("OTHER", "../relay.demo-1")), "--json"],
            cwd=kept,
            capture_output=True,
            text=True,
            check=False,
            env=around,
        )
        assert found.returncode == 0, (command, found.stdout, found.stderr)
        if "migrate" in command:
            assert json.loads(found.stdout)["messages"] == MESSAGES


def test_the_demonstration_that_the_pages_name_is_there() -> None:
    """demo.sh knows --cluster, and both pages name it."""
    assert "script=deploy/cluster.py" in (ROOT / "deploy" / "demo.sh").read_text()
    for page in ((ROOT / "README.md").read_text(), CHAPTER):
        assert "`sh deploy/demo.sh --cluster`" in page


def test_the_chapter_types_what_there_is() -> None:
    """Each command of relay has its options, node.sh its word, each unit and folder its file."""
    relay = cli.main
    assert isinstance(relay, Group)
    seen = set()
    for line in (*typed(), *re.findall(r"`((?:relay|systemctl|node\.sh) [^`]+)`", CHAPTER)):
        name, *words = shlex.split(line)
        while "=" in name:
            name, *words = words
        seen.add(name)
        if name == "relay":
            command = relay.commands[words[0]]
            assert isinstance(command, Command)
            options = {option for one in command.params for option in one.opts}
            assert {one for one in words if one.startswith("--")} <= options, line
        elif name in ("sh", "node.sh"):
            asked = words[-1]
            assert f"#   node.sh {asked} " in (ROOT / "deploy/redis/node.sh").read_text(), line
        elif name == "systemctl":
            assert (ROOT / "deploy" / "systemd" / f"{words[-1]}.service").exists(), line
        elif name == "kubectl" and "-k" in words:
            assert (ROOT / words[-1] / "kustomization.yaml").exists(), line
    assert seen == {"relay", "sh", "node.sh", "systemctl", "kubectl"}
    for section in (
        "A planned failover",
        "A lost node",
        "A full disk",
        "Restore",
        "A rolling upgrade",
    ):
        assert f"\n## {section}\n" in CHAPTER


def test_the_levels_are_those_of_the_configuration() -> None:
    """The table names each level of safety that relay.toml takes, with what can be lost."""
    from relay.store.redis_place import LEVELS

    assert re.findall(r"(?m)^\| `(\w+)` \|", CHAPTER) == list(LEVELS)
