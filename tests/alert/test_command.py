"""The command: what it is given, and that nothing of it stays behind."""

import asyncio
import os
from pathlib import Path

import pytest
import uvloop
from builders_alert import HANGS, Script, page_for

from relay.alert import texts
from relay.alert.command import Command
from relay.alert.page import Word


async def test_it_is_given_the_text_and_four_variables(tmp_path: Path) -> None:
    """The padded text stands on standard input; nothing of the relay's environment is handed on."""
    script, page = Script.at(tmp_path), page_for(language="fr")
    assert (await Command(script.argv).send(page)).word is Word.SENT
    environment, _empty, said = script.got()[0].decode().partition("\n\n")

    assert said == texts.padded(page) + "\n"
    assert dict(line.split("=", 1) for line in environment.splitlines()) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "POC24_PAGE_CODE": page.code,
        "POC24_PAGE_KEY": page.key,
        "POC24_PAGE_LANGUAGE": "fr",
        "POC24_PAGE_PRIORITY": "urgent",
    }


async def test_no_shell_looks_at_it(tmp_path: Path) -> None:
    """Arguments are handed over as they stand in the configuration."""
    target = tmp_path / "planted"
    result = await Command(("/bin/echo", f"; touch {target}", f"$(touch {target})")).send(
        page_for()
    )

    assert result.word is Word.SENT
    assert not target.exists()


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """The whole group is gone when the time is over: the script and what it waits for."""
    script = Script.at(tmp_path)
    script.tell(HANGS)
    result = await Command(script.argv, seconds=2.0).send(page_for())

    assert (result.word, result.why) == (Word.UNKNOWN, "did not end in time")
    assert _group(int(script.pid.read_text())) == []


async def test_a_cancelled_one_is_ended_too(tmp_path: Path) -> None:
    """A relay that stops leaves no process behind."""
    script = Script.at(tmp_path)
    script.tell(HANGS)
    sending = asyncio.ensure_future(Command(script.argv, seconds=30.0).send(page_for()))
    while not script.pid.exists() or not script.pid.read_text().strip():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert _group(int(script.pid.read_text())) == []


def _group(leader: int) -> list[int]:
    """Return the processes of a group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == leader and state != "Z":
                found.append(int(entry.name))
    return found


async def test_a_command_that_is_not_there_is_final(tmp_path: Path) -> None:
    """Nothing to run, or nothing that may run: the operator's matter, not the next minute's."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for program in (tmp_path / "missing", plain):
        assert (await Command((str(program),)).send(page_for())).word is Word.FAILED_PERM


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (0, Word.SENT),
        (1, Word.FAILED_TEMP),
        (75, Word.FAILED_TEMP),
        (64, Word.FAILED_PERM),
        (78, Word.FAILED_PERM),
    ],
)
async def test_what_an_exit_code_says(code: int, word: Word) -> None:
    """Only codes that mean "never" are final: a script that dies of something else is tried again."""
    result = await Command(("/bin/sh", "-c", f"exit {code}")).send(page_for())

    assert (result.word, result.why) == (word, f"exit {code}")


async def test_a_command_that_does_not_listen(tmp_path: Path) -> None:
    """One that closes its input or dies by a signal has a result like any other."""
    assert (await Command(("/bin/sh", "-c", "exec <&-; exit 0")).send(page_for())).word is Word.SENT
    result = await Command(("/bin/sh", "-c", "kill -9 $$")).send(page_for())
    assert (result.word, result.why) == (Word.FAILED_TEMP, "signal 9")


def test_a_command_that_ends_at_once_on_the_loop_that_serves() -> None:
    """uvloop says in words of its own that the pipe is closed; the exit code is the result all the same."""

    async def often() -> set[tuple[Word, str]]:
        command = Command(("/bin/false",), seconds=10)
        results = [await command.send(page_for()) for _time in range(100)]
        return {(one.word, one.why) for one in results}

    assert uvloop.run(often()) == {(Word.FAILED_TEMP, "exit 1")}


async def test_it_stands_in_no_folder_of_the_relays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts in / and not beside the store."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "place"
    await Command(("/bin/sh", "-c", f"pwd >{place}")).send(page_for())

    assert place.read_text() == "/\n"
    assert os.getcwd() == str(tmp_path)  # noqa: PTH109 - the process's own
