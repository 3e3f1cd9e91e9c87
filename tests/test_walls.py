"""The walls of the house: each one holds on this tree, and each one breaks when somebody climbs it.

A copy of both packages gets one forbidden import at a time, and import-linter, with the contracts of the real
pyproject.toml, must name exactly the walls that this import crosses. A wall that has quietly stopped
working (a renamed module, a misspelt option) is found here and not years later.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

CHILD = r"""
import contextlib, io, json, pathlib, re, sys
from importlinter import configuration
from importlinter.application import use_cases

configuration.configure()
answers = {}
for name, files in json.load(sys.stdin).items():
    before = {}
    for file, line in files.items():
        path = pathlib.Path(file)
        before[path] = path.read_text() if path.exists() else None
        path.write_text((before[path] or "") + "\n" + line + "\n")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        use_cases.lint_imports(cache_dir=None, no_logo=True)
    for path, text in before.items():
        path.unlink() if text is None else path.write_text(text)
    answers[name] = said.getvalue()
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True)
class Climb:
    """One forbidden thing: lines added to files, and the walls that must break, no more and no fewer."""

    files: dict[str, str]
    broken: frozenset[str]


def _climb(*broken: str, **files: str) -> Climb:
    paths = {name.replace("__", "/") + ".py": line for name, line in files.items()}
    return Climb(
        {path.replace("/init.py", "/__init__.py"): line for path, line in paths.items()},
        frozenset(broken),
    )


CLIMBS = {
    "a lower floor of relay imports a higher one": _climb(
        "floors-of-relay", relay__errors="import relay.settings"
    ),
    "a room of relay without a floor": _climb(
        "floors-of-relay", relay__stray="import relay.errors"
    ),
    "server and desk are neighbours, not friends": _climb(
        "floors-of-relay", "desk-stands-apart", relay__desk__init="import relay.server"
    ),
    "a lower floor of keys imports a higher one": _climb(
        "floors-of-keys", keys__keyfile="import keys.ceremony"
    ),
    "a room of keys without a floor": _climb("floors-of-keys", keys__stray="import keys.errors"),
    "keys imports relay": _climb("keys-stands-alone", keys__cli="import relay.errors"),
    "keys opens a socket": _climb("keys-is-offline", keys__cli="from socket import create_server"),
    "keys starts a loop": _climb("keys-is-offline", keys__directory="import asyncio.events"),
    "keys speaks HTTP": _climb("keys-is-offline", keys__cli="import aiohttp.web"),
    "keys opens a database": _climb(
        "keys-is-offline", "three-doors-to-sqlite", keys__keyfile="import sqlite3"
    ),
    "a room of relay uses PyNaCl by itself": _climb(
        "one-door-to-cryptography", relay__wire__envelope="import nacl.secret"
    ),
    "a room of keys uses cryptography by itself": _climb(
        "one-door-to-cryptography",
        keys__keyfile="from cryptography.hazmat.primitives import hashes",
    ),
    "the exchange reads the directory past its door": _climb(
        "one-door-to-tuf", relay__exchange="import tuf.api.metadata"
    ),
    "the desk throws dice of its own": _climb(
        "one-place-of-dice", relay__desk__link="import random"
    ),
    "a room reaches for Redis": _climb(
        "one-door-to-redis", relay__server__init="import redis.asyncio"
    ),
    "a room reaches for SQLite": _climb("three-doors-to-sqlite", relay__exchange="import sqlite3"),
    "a rule reads the clock": _climb(
        "formats-and-rules-are-pure", relay__core__message="import time"
    ),
    "a rule writes a log": _climb(
        "formats-and-rules-are-pure",
        relay__core__mailbox="def planted() -> None:\n    import logging",
    ),
    "a format waits for the network": _climb(
        "formats-and-rules-are-pure", relay__wire__frames="from asyncio import sleep"
    ),
    "a format opens a file": _climb(
        "formats-and-rules-are-pure", relay__wire__receipt="from pathlib import Path"
    ),
    "a rule verifies by itself": _climb(
        "core-takes-verified-values", relay__core__message="from keys import statement"
    ),
    "a rule holds the suite": _climb(
        "core-takes-verified-values", relay__core__init="import keys.suite"
    ),
    "the exchange can open plaintext": _climb(
        "relay-cannot-open", relay__exchange="from relay.wire import content"
    ),
    "a store can open plaintext by a detour": _climb(
        "relay-cannot-open",
        relay__store__init="import relay.wire.detour",
        relay__wire__detour="import relay.wire.content",
    ),
    "the store of blobs can open an attachment": _climb(
        "relay-cannot-open", relay__store__init="from relay.wire import attachment"
    ),
    "the door knows the desk": _climb(
        "relay-cannot-open", "floors-of-relay", relay__server__init="import relay.desk.compose"
    ),
    "the desk uses the relay's store": _climb(
        "desk-stands-apart", relay__desk__archive="import relay.store.base"
    ),
    "the desk uses the exchange": _climb(
        "desk-stands-apart", relay__desk__link="def planted() -> None:\n    import relay.exchange"
    ),
    "a second door to mail": _climb("one-door-to-mail", relay__server__logs="import aiosmtplib"),
    "the standard library's mail": _climb(
        "one-door-to-mail", relay__alert__webhook="import smtplib"
    ),
    "the pager asks the exchange": _climb(
        "floors-of-relay", "pages-know-nothing", relay__alert__pager="import relay.exchange"
    ),
    "a page looks into a message": _climb(
        "pages-know-nothing", relay__alert__page="from relay.core import message"
    ),
    "two rules need each other": _climb(
        "no-cycles",
        relay__core__left="import relay.core.right",
        relay__core__right="import relay.core.left",
    ),
}


def _config() -> list[dict[str, Any]]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts: list[dict[str, Any]] = config["tool"]["importlinter"]["contracts"]
    return contracts


def _contracts() -> dict[str, str]:
    return {each["id"]: each["name"] for each in _config()}


def _contract(identity: str) -> dict[str, Any]:
    return next(each for each in _config() if each["id"] == identity)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what import-linter said of the clean copy and of each climb; one process for all."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("relay", "keys"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    asked: dict[str, dict[str, str]] = {"clean": {}} | {
        name: climb.files for name, climb in CLIMBS.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=copy,
        env={"COLUMNS": "300", "PYTHONDONTWRITEBYTECODE": "1"},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout)
    return said


def _broken(said: str) -> set[str]:
    """Return the ids of the contracts that broke; every contract must have been judged."""
    judged = {
        identity: verdict
        for identity, name in _contracts().items()
        for verdict in ("KEPT", "BROKEN")
        if f"{name} {verdict}" in said
    }
    assert judged.keys() == _contracts().keys(), said
    return {identity for identity, verdict in judged.items() if verdict == "BROKEN"}


def test_the_walls_hold_on_this_tree(answers: dict[str, str]) -> None:
    """No room of this tree crosses a wall."""
    assert _broken(answers["clean"]) == set(), answers["clean"]


@pytest.mark.parametrize("name", CLIMBS)
def test_a_climbed_wall_breaks(name: str, answers: dict[str, str]) -> None:
    """A planted import breaks the walls that it crosses, and no other."""
    assert _broken(answers[name]) == CLIMBS[name].broken, answers[name]


def test_every_wall_is_climbed_at_least_once() -> None:
    """A contract that nobody tries to break is a contract that nobody knows to work."""
    tried = set().union(*(climb.broken for climb in CLIMBS.values()))

    assert tried == set(_contracts())


def test_every_room_of_relay_has_taken_a_side() -> None:
    """A new room beside the exchange stands behind both walls between relay and desk, or is neutral on purpose."""
    neutral = {
        "__init__",
        "cli",
        "clustered",
        "config",
        "core",
        "desk",
        "durable",
        "endpoints",
        "errors",
        "repetition",
        "settings",
        "wire",
        "zones",
    }
    rooms = {
        path.stem for path in (ROOT / "relay").iterdir() if not path.name.startswith((".", "__py"))
    }
    rooms -= {path.stem for path in (ROOT / "relay").iterdir() if path.suffix in {".md", ".typed"}}

    for identity in ("relay-cannot-open", "desk-stands-apart"):
        named = set(re.findall(r"\((\w+)\)", " ".join(_contract(identity)["layers"])))
        assert rooms - named <= neutral, identity


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import time\n\nprint(time.time())", "TID251"),
        ("from time import time_ns\n\nnow = time_ns()", "TID251"),
        ("import datetime\n\nnow = datetime.datetime.now(datetime.UTC)", "TID251"),
        ("from datetime import UTC, datetime\n\nnow = datetime.now(UTC)", "TID251"),
        ("import os\n\nnonce = os.urandom(32)", "TID251"),
        ("from . import message", "TID252"),
        ('print("hello")', "T201"),
    ],
)
def test_style_keeps_the_clock_the_dice_and_the_printing_at_the_edges(line: str, rule: str) -> None:
    """What import-linter cannot see (a call, a spelling), ruff refuses in a room and allows at its edge."""
    assert rule in _ruff(line, "relay/desk/link.py")


def test_style_lets_the_named_edges_read_the_clock() -> None:
    """The four edges of time may call it; the exemption names them and nobody else."""
    line = "import time\n\nnow = time.time()"
    edges = ("keys/cli.py", "relay/cli.py", "relay/server/clock.py", "relay/desk/clock.py")

    assert [edge for edge in edges if "TID251" in _ruff(line, edge)] == []
    assert "TID251" in _ruff(line, "relay/server/app.py")


def _ruff(source: str, name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", name, "-"],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout
