"""The command line without a relay: how it is typed, what it says, how it ends, and what it never shows."""

import asyncio
import io
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import structlog
from builders_desks import PASSPHRASE, make_home, passphrase_fd
from builders_keys import World
from click.testing import CliRunner, Result

from keys import suite
from keys.errors import Code, Failed
from relay import errors
from relay.desk import cli_reads, counter, home, logs, serving
from relay.desk.cli import desk
from relay.desk.cli_terms import DAY, DURATION, FIRST_DAY
from relay.desk.documents import forms

MSG = "4711082245" + "a" * 54
LONG = "x\x1b[2J" + "y" * 1000
README = Path(__file__).resolve().parents[2] / "relay" / "desk" / "README.md"


@pytest.fixture(scope="module", autouse=True)
def quick_rings() -> Iterator[None]:
    """Argon2id takes half a second by design; tests of other things need not wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "stretch_passphrase", lambda word, salt, **_m: suite.sha256(word.encode() + salt)
        )
        yield


@pytest.fixture(scope="module")
def world() -> World:
    return World(desks=("VN",), officers=1)


@pytest.fixture
def folder(tmp_path: Path, world: World) -> Path:
    """A desk's home whose relay is not there."""
    make_home(world, tmp_path / "desk", "VN", 1)
    return tmp_path / "desk"


def run(*args: object, **more: Any) -> Result:
    """Run one command line as a script does: there is no terminal."""
    return CliRunner().invoke(desk, [str(one) for one in args], **more)


def lines() -> list[tuple[list[str], click.Command]]:
    """Return every command of `desk`, those of its groups too, with the words that are typed for it."""
    found: list[tuple[list[str], click.Command]] = []
    for name, command in sorted(desk.commands.items()):
        if isinstance(command, click.Group):
            found += [([name, inner], one) for inner, one in sorted(command.commands.items())]
        else:
            found.append(([name], command))
    return found


def leaves() -> list[click.Command]:
    """Return every command of `desk`."""
    return [command for _words, command in lines()]


# How it ends


def test_every_error_has_a_documented_exit_code() -> None:
    """Whatever code an error of the house maps to stands in the table that `desk exit-codes` prints."""
    listed = {code for code, _text in cli_reads.EXIT_CODES}
    assert set(errors.EXIT_CODE.values()) <= listed
    assert {errors.OK, errors.REFUSED, errors.USAGE, errors.UNAVAILABLE, errors.INTERNAL} <= listed
    assert set(errors.EXIT_CODE) == set(Code)


def test_the_exit_codes_are_the_documented_ones() -> None:
    """The command, its JSON and the table in the room's README say the same."""
    said = {int(line[:4]): line[4:].strip() for line in run("exit-codes").stdout.splitlines()}
    assert said == dict(cli_reads.EXIT_CODES)
    listed = json.loads(run("exit-codes", "--json").stdout)["exit_codes"]
    assert {one["code"]: one["text"] for one in listed} == said
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    assert {int(code): text for code, text in rows} == said


def test_the_readme_shows_every_command_and_no_other() -> None:
    """What the room's README tells people to type is there, and what is there is told."""
    section = README.read_text().split("## The command line")[1]
    shown = set(re.findall(r"^desk ([a-z-]+)", section, re.MULTILINE))
    shown |= set(re.findall(r" · ([a-z-]+)", section))
    assert shown == set(desk.commands)


def test_a_folder_that_is_no_home_ends_with_78(tmp_path: Path) -> None:
    """Each command of a desk that is not there says so in a sentence with what to type, and no traceback."""
    for args in (["inbox"], ["status"], ["show", "471108"], ["serve"], ["watch"]):
        found = run(*args, "--home", tmp_path)
        assert found.exit_code == 78, args
        assert "desk init" in found.stderr
        assert "Traceback" not in found.stderr
        assert found.stdout == ""


def test_an_error_can_be_json(tmp_path: Path) -> None:
    """With --json data stays away from standard output, and the error is one object on standard error."""
    found = run("inbox", "--json", "--home", tmp_path)
    assert found.stdout == ""
    error = json.loads(found.stderr)["error"]
    assert set(error) == {"code", "text", "hint", "exit"}
    assert error["exit"] == found.exit_code == 78


def test_an_error_of_our_own_is_no_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw ends with 70 and a sentence; its words, which may hold content, stay inside."""

    def broken(_folder: Path) -> None:
        raise ValueError("the suspect is called N.N.")

    monkeypatch.setattr(home, "load", broken)
    monkeypatch.delenv("POC24_TRACEBACK", raising=False)
    found = run("inbox", "--home", folder)
    assert found.exit_code == 70
    assert "ValueError" in found.stderr
    assert "N.N." not in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["inbox", "--nonsense"],
        ["send"],
        ["show"],
        ["answer", "471108"],
        ["answer", "471108", "--preserved-until", "2027-01-31", "--refuse", "R-SOV"],
        ["answer", "471108", "--preserved-until", "next week"],
        ["send", "-", "--to", "AU", "--ack-within", "soon"],
        ["send", "-", "--to", "AU", "--priority", "very"],
        ["withdraw", "471108", "--reason", "BECAUSE"],
        ["schema", "nonsense"],
    ],
)
def test_what_is_typed_wrongly_ends_with_2(folder: Path, args: list[str]) -> None:
    """Usage errors are told before anything is read or asked."""
    more = [] if args[0] in {"schema", "nonsense"} else ["--home", str(folder)]
    found = run(*args, *more, input="{}")
    assert found.exit_code == 2
    assert "Traceback" not in found.stderr


def test_every_command_has_help_and_json() -> None:
    """Each command explains itself; each that prints data can print it as JSON."""
    for words, command in lines():
        found = run(*words, "--help")
        assert found.exit_code == 0
        assert len(command.help or "") > 10
        if command.name != "schema":  # is JSON already
            assert "--json" in found.stdout, words


# What it never shows


def test_no_option_takes_a_secret() -> None:
    """A passphrase or key can be given by descriptor or file only: arguments and environment are visible to others."""
    for command in leaves():
        for param in command.params:
            if param.envvar:
                assert param.envvar == "POC24_DESK_HOME"
            if not isinstance(param, click.Option):
                continue
            if {"passphrase", "password", "secret", "seed"} & set(
                re.split(r"\W|_", param.name or "")
            ):
                assert isinstance(param.type, click.IntRange), param.name
            if param.name in {"credential", "ring", "recovery_ring"}:
                assert isinstance(param.type, click.Path)


def test_without_a_terminal_nobody_is_asked(folder: Path, world: World) -> None:
    """No prompt blocks a script: the passphrase is asked for with the option that gives it (77)."""
    ring = folder / "officer.ring"
    found = run("restore", ring, "--recovery-ring", ring, "--home", folder, input=f"{PASSPHRASE}\n")
    assert found.exit_code == 77
    assert "--passphrase-fd 3 3<FILE" in found.stderr


@pytest.mark.parametrize(
    ("word", "words"), [("wrong", "Wrong passphrase"), (PASSPHRASE, "no desk key")]
)
def test_a_wrong_passphrase_is_a_sentence(folder: Path, word: str, words: str) -> None:
    """A wrong passphrase ends with 77 and says so; it is never repeated. A right one gets further."""
    ring, given = folder / "officer.ring", passphrase_fd(word)
    found = run(
        "restore", ring, "--recovery-ring", ring, "--home", folder, "--passphrase-fd", given
    )
    os.close(given)
    assert found.exit_code == 77
    assert words in found.stderr
    assert f" {word}\n" not in found.stderr


@pytest.mark.parametrize("data", [b"\xff\xfe\n", b"x" * 5000])
def test_a_passphrase_that_is_none_is_a_sentence(folder: Path, data: bytes) -> None:
    """Bytes that are no text, or far too many, end with 77."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    ring = folder / "officer.ring"
    found = run(
        "restore", ring, "--recovery-ring", ring, "--home", folder, "--passphrase-fd", reading
    )
    os.close(reading)
    assert found.exit_code == 77


def test_a_descriptor_that_is_closed_is_a_sentence(folder: Path) -> None:
    """A script that forgot `3<FILE` is told so."""
    ring = folder / "officer.ring"
    found = run("restore", ring, "--recovery-ring", ring, "--home", folder, "--passphrase-fd", 987)
    assert found.exit_code == 77
    assert "987" in found.stderr


def test_what_others_do_is_not_written_without_end() -> None:
    """A relay that refuses or breaks off a thousand times a minute: five lines, then their number; alarms all stay."""
    before, at = structlog.get_config(), [1795402800]
    said = io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", said)
            logs.speak(lambda: at[0], as_json=True)
        log = structlog.get_logger("test")
        for number in range(1000):
            log.info("refused", code="E_SIGNATURE", msg=str(number))
            log.info("disconnected", reason="it hung up")
        for _each in range(20):
            log.warning("alarm", text="Call them.")
            log.info("statement", kind="escalated")
        at[0] += 60
        log.info("refused", code="E_SIGNATURE")
    finally:
        structlog.configure(**before)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    counted = Counter(line["event"] for line in lines)
    assert counted == {"refused": 6, "disconnected": 5, "alarm": 20, "statement": 20}
    assert lines[-1]["suppressed"] == 995


def test_the_log_says_known_words_only() -> None:
    """An allow-list of keys: content, names and whole ids do not get into a line, whatever a caller hands over."""
    before = structlog.get_config()
    said = io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stderr", said)
            logs.speak(lambda: 1795402800, as_json=True)
        log = structlog.get_logger("test")
        log.info(
            "message",
            msg=MSG,
            kind="request",
            body="the suspect",
            thread="b" * 64,
        )
        log.warning("refused", text=LONG)
    finally:
        structlog.configure(**before)
    first, second = (json.loads(line) for line in said.getvalue().splitlines())
    assert first == {
        "at": 1795402800,
        "event": "message",
        "kind": "request",
        "level": "info",
        "msg": "4711082245",
    }
    assert "\x1b" not in second["text"]
    assert len(second["text"]) <= logs.TEXT_CHARACTERS_MAX


def test_a_command_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    """Commands are silent, and a program that runs one keeps its own log."""
    before, level = structlog.get_config(), logging.getLogger("asyncio").level
    run("inbox", "--home", tmp_path)
    assert structlog.get_config() == before
    assert logging.getLogger("asyncio").level == level


def test_colour_is_not_needed(tmp_path: Path) -> None:
    """NO_COLOR or not, nothing that is printed holds an escape sequence; state is told in words."""
    for environment in ({"NO_COLOR": "1"}, {"NO_COLOR": None}):
        found = run("inbox", "--home", tmp_path, env=environment)
        assert "\x1b" not in found.stdout + found.stderr


# What is typed


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("45m", 2700), ("2h", 7200), ("3d", 259_200)]
)
def test_lengths_of_time_are_typed_as_people_write_them(text: str, seconds: int) -> None:
    """45m, 2h, 3d; anything else is a usage error."""
    assert DURATION.convert(text, None, None) == seconds
    for wrong in ("", "m", "-5m", "5 m", "1.5h", "9999999999", "5x"):
        with pytest.raises(click.UsageError):
            DURATION.convert(wrong, None, None)


def test_a_day_is_whole() -> None:
    """A day that ends something means its last second, one that begins something its first."""
    assert (
        DAY.convert("2027-01-31", None, None) - FIRST_DAY.convert("2027-01-31", None, None)
        == 86_399
    )
    assert DAY.convert("2026-11-23T03:00:00Z", None, None) == 1795402800
    for wrong in ("31.1.2027", "2027-02-30", "2026-11-23T03:00:00", ""):
        with pytest.raises(click.UsageError):
            DAY.convert(wrong, None, None)


# Commands that need no relay


def test_schemas_are_printed_whole() -> None:
    """`desk schema KIND` gives the JSON Schema of each kind, codes filled in."""
    for kind in forms.KINDS:
        assert json.loads(run("schema", kind).stdout) == forms.schema(kind)


def test_init_makes_a_home_that_loads(tmp_path: Path, world: World) -> None:
    """Settings and trust anchor are written; the fingerprint is shown for the telephone; what is missing is named."""
    root = tmp_path / "root.json"
    root.write_bytes(world.root)
    folder = tmp_path / "new"
    args = ["init", "--desk", "VN", "--officer", "vn-01", "--service", world.service]
    args += ["--url", "ws://127.0.0.1:8424", "--root", str(root), "--home", str(folder), "--json"]
    refused = run(*args)
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert not folder.exists()
    found = run(*args, "--yes")
    assert found.exit_code == 0, found.stderr
    made = json.loads(found.stdout)
    assert made["root"] == suite.sha256(world.root).hex()
    assert made["fingerprint"] in found.stderr
    assert "device.ring, device.key, officer.ring" in found.stderr
    assert home.load(folder).trust_anchor() == world.root
    again = run(*args, "--yes")
    assert again.exit_code == 73


def test_init_trusts_no_other_file(tmp_path: Path) -> None:
    """A file that is no root document is refused before anything is written (65)."""
    wrong = tmp_path / "root.json"
    wrong.write_text('{"signed":{}}')
    args = ["init", "--desk", "VN", "--officer", "vn-01", "--service", "poc24", "--yes"]
    args += ["--root", str(wrong), "--home", str(tmp_path / "new")]
    found = run(*args, "--url", "ws://127.0.0.1:8424")
    assert found.exit_code == 65
    assert not (tmp_path / "new").exists()
    bare = run(*args, "--url", "ws://relay.example:8424")
    assert bare.exit_code == 78
    assert "TLS" in bare.stderr


def test_a_desk_without_directory_says_what_to_do(folder: Path) -> None:
    """Before the first contact with a relay nothing can be sent, and the sentence says why (75)."""
    found = run("status", "--home", folder)
    assert found.exit_code == 0
    assert "none yet" in found.stdout
    for listing in ("inbox", "sent"):
        empty = run(listing, "--json", "--home", folder)
        assert (empty.exit_code, json.loads(empty.stdout)) == (0, {"messages": []})
    unknown = run("phone", "AU", "--home", folder)
    assert unknown.exit_code == 75
    assert "no directory yet" in unknown.stderr


def test_an_incomplete_request_needs_no_relay_to_be_told(folder: Path, tmp_path: Path) -> None:
    """The missing letters of Article 42(3) are named at once: no relay, no directory, no passphrase (65)."""
    draft = tmp_path / "request.json"
    draft.write_text('{"kind": "preservation_request", "requested_authority": "AU"}')
    found = run("send", draft, "--to", "AU", "--home", folder)
    assert found.exit_code == 65
    for letter in "abcdefg":
        assert f"({letter})" in found.stderr
    assert "desk schema preservation_request" in found.stderr


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bell_rings_for_what_needs_somebody(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    """An alarm of the dead man's timer is a line of `watch`, with BEL where a terminal can ring; a step has none."""
    alarm = {"event": "alarm", "at": 1795402800, "msg": MSG, "to": "AU", "mode": "actual"}
    alarm |= {"priority": "urgent", "text": "Its time is over. Telephone: AU +61 2 5550 1234"}
    step = {"event": "statement", "kind": "escalated", "at": 1795402800, "msg": MSG, "desk": ""}

    class Told:
        served = True

        def each(self, take: Callable[[dict[str, Any]], None]) -> None:
            take(step)
            take(alarm)

    @contextmanager
    def at(*_given: object) -> Iterator[Told]:
        yield Told()

    monkeypatch.setattr(counter, "at", at)
    shown = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setattr(cli_reads, "sys", shown)
    found = run("watch", "--home", folder)
    first, second, *_rest = found.stdout.splitlines()
    assert "escalated" in first
    assert "ALARM URGENT to AU: Its time is over. Telephone: AU +61 2 5550 1234" in second
    assert found.stdout.count("\a") == int(terminal)


def test_a_file_that_is_not_there_is_a_usage_error(folder: Path) -> None:
    """A mistyped file name is told before anything else (2)."""
    found = run("send", "/nowhere/request.json", "--to", "AU", "--home", folder)
    assert found.exit_code == 2
    assert "request.json" in found.stderr


def test_an_archive_that_is_gone_is_not_a_new_one(tmp_path: Path) -> None:
    """A desk that has kept messages says that they are gone; an empty archive must be wanted (no silent loss)."""
    settings = make_home(World(), tmp_path / "VN", "VN", 1)

    async def begin() -> None:
        running = await serving.assemble(settings, None)
        await running.close()

    asyncio.run(begin())
    settings.archive.unlink()

    with pytest.raises(Failed, match="gone or empty") as failure:
        asyncio.run(begin())

    assert "desk restore" in str(failure.value)
    (settings.folder / "archive.begun").unlink()
    asyncio.run(begin())
