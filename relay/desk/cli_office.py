"""What every command of `desk` has in common: where, how it speaks, and who signs.

Data goes to standard output, talk to standard error. Nothing is asked without a terminal. A
passphrase comes from the terminal or from a file descriptor, never from an argument or the
environment, where other processes can read it.
"""

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from keys.errors import Failed
from keys.identity import Signer
from relay import errors
from relay.desk import counter, home
from relay.desk.clock import Clock, SystemClock
from relay.desk.counter import Counter
from relay.desk.home import Home
from relay.desk.paper import Sheet

HOME_DEFAULT = "~/.poc24/desk"
PASSPHRASE_BYTES_MAX = 4096
WIDTH_MAX = 110

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(slots=True)
class Office:
    """One run of one command."""

    folder: Path
    as_json: bool
    credential: Path | None = None
    ring: Path | None = None
    passphrase_fd: int | None = None
    wait: float = 0
    clock: Clock = field(default_factory=SystemClock)

    def home(self) -> Home:
        """Return the settings of this desk."""
        return home.load(self.folder)

    def counter(self, settings: Home) -> AbstractContextManager[Counter]:
        """Stand before the desk."""
        return counter.at(settings, self.credential)

    def sheet(self) -> Sheet:
        """Return how to write for people now."""
        width = min(WIDTH_MAX, shutil.get_terminal_size((96, 24)).columns)
        return Sheet(now=self.clock.now(), width=width)

    def data(self, found: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Print what was asked for: one line of JSON with --json, else *lines* for people."""
        if self.as_json:
            text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            click.echo(text)
            return
        for line in lines:
            click.echo(line)

    @staticmethod
    def say(text: str) -> None:
        """Talk on standard error."""
        click.echo(text, err=True)

    @staticmethod
    def watched() -> bool:
        """Whether somebody sees the talk as it comes: progress is for a terminal alone."""
        return sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool, needed: bool = True) -> None:
        """Ask a person, unless told ``--yes``; ends the command (2) where nobody can be asked.

        *needed* = False: without a terminal the command goes on, as its arguments are plain enough.
        """
        if yes:
            return
        if not terminal():
            if needed:
                raise click.UsageError(
                    "Nobody can be asked here (no terminal). Add --yes to go on."
                )
            return
        if not click.confirm(question, err=True):
            raise Failed("Nothing was signed and nothing was sent.", exit_code=errors.REFUSED)

    def officer(self, settings: Home) -> Signer:
        """Open the officer's ring; the passphrase is asked for here and forgotten at once."""
        path = self.ring or settings.folder / "officer.ring"
        return home.officer(path, self.passphrase(path), settings.desk)

    def passphrase(self, path: Path) -> str:
        """Return a ring's passphrase, from the descriptor or from the person who sits here."""
        if self.passphrase_fd is not None:
            return _from_descriptor(self.passphrase_fd)
        if not terminal():
            raise Failed(
                f"The passphrase of {path} is needed, and nobody can be asked (no terminal).",
                hint="Give it on a file descriptor: --passphrase-fd 3 3<FILE",
                exit_code=errors.NO_PERMISSION,
            )
        asked: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        return asked


def terminal() -> bool:
    """Whether a person sits here: input and talk are both a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _from_descriptor(number: int) -> str:
    """Return the first line that a descriptor gives."""
    try:
        with os.fdopen(number, "rb", closefd=False) as given:
            data = given.read(PASSPHRASE_BYTES_MAX + 1)
    except OSError as error:
        raise Failed(
            f"File descriptor {number} cannot be read: {error.strerror}.",
            hint="Open it in the shell: --passphrase-fd 3 3<FILE",
            exit_code=errors.NO_PERMISSION,
        ) from None
    if len(data) > PASSPHRASE_BYTES_MAX:
        raise Failed(
            f"A passphrase has at most {PASSPHRASE_BYTES_MAX} bytes.",
            exit_code=errors.NO_PERMISSION,
        )
    try:
        return data.decode().partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError:
        raise Failed("The passphrase is not UTF-8 text.", exit_code=errors.NO_PERMISSION) from None


# Options that commands share


def everywhere(command: Callable[Given, Result]) -> Callable[..., Result]:
    """Give a command --home and --json, and hand it its :class:`Office` first."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print data as JSON, one object on one line."
    )
    @click.option(
        "--home",
        "folder",
        type=click.Path(path_type=Path),
        envvar="POC24_DESK_HOME",
        default=HOME_DEFAULT,
        show_default=True,
        help="The desk's folder.",
    )
    @functools.wraps(command)
    def run(*args: Any, folder: Path, as_json: bool, **given: Any) -> Result:
        office = Office(folder.expanduser(), as_json)
        for name in ("credential", "ring", "passphrase_fd", "wait"):
            if name in given:
                setattr(office, name, given.pop(name))
        return command(office, *args, **given)  # type: ignore[arg-type]

    return run


def reaching(
    wait: float, about: str
) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Give a command --credential-file and --wait with a default of *wait* seconds."""

    def add(command: Callable[Given, Result]) -> Callable[Given, Result]:
        for option in (
            click.option(
                "--wait",
                type=click.FloatRange(0, 7 * 86400),
                default=wait,
                show_default=True,
                metavar="SECONDS",
                help=about,
            ),
            click.option(
                "--credential-file",
                "credential",
                type=click.Path(path_type=Path),
                help="The device's key, if it is not in the desk's folder.",
            ),
        ):
            command = option(command)
        return command

    return add


def signing(command: Callable[Given, Result]) -> Callable[Given, Result]:
    """Give a command --officer-ring and --passphrase-fd."""
    for option in (
        click.option(
            "--passphrase-fd",
            type=click.IntRange(0),
            metavar="N",
            help="Read the passphrase from file descriptor N, not from the terminal.",
        ),
        click.option(
            "--officer-ring",
            "ring",
            type=click.Path(path_type=Path),
            help="The officer's key ring, if it is not in the desk's folder.",
        ),
    ):
        command = option(command)
    return command
