"""What every command of `keys` stands on: talk and data, passphrases, key rings, the repository folder, errors."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from getpass import GetPassWarning
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from keys import keyfile
from keys.errors import Code, Failed, Poc24Error, Refused
from keys.identity import Role, Signer
from keys.keyfile import Held, KeyRing
from keys.trust import NAME

REFUSED, BAD_DATA, NO_PERMISSION = 1, 65, 77
_BAD = frozenset({Code.E_ENCODING, Code.E_TOO_LARGE, Code.E_VERSION, Code.E_TYPE})
EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "refused: a signature, a key, a rule of the directory",
    2: "the command was typed otherwise than it can be",
    65: "the data are not what they should be",
    69: "a part of this machine is missing",
    70: "a fault in this program",
    73: "a file cannot be written, or is there already",
    75: "try again later",
    77: "a passphrase is wrong, or a file may not be read",
    78: "a file or setting is missing or wrong",
    130: "stopped by Ctrl-C",
}
COMMANDS_FILE_BYTES_MAX = 64 * 1024

Command = TypeVar("Command", bound=Callable[..., Any])


def exit_code(error: Poc24Error) -> int:
    """Return the exit code of a command that ends with *error*."""
    if isinstance(error, Failed):
        return error.exit_code
    code = error.code if isinstance(error, Refused) else None
    if code is Code.E_KEYRING:
        return NO_PERMISSION
    return BAD_DATA if code in _BAD else REFUSED


class Sentences(click.Group):
    """A group whose commands end with a sentence and a documented exit code, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn this house's errors into sentences on stderr."""
        try:
            return super().invoke(ctx)
        except Poc24Error as error:
            tell(error, as_json=ctx.ensure_object(Bench).as_json)
            ctx.exit(exit_code(error))
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if os.environ.get("POC24_TRACEBACK") == "1":
                raise
            unknown = Failed(
                f"`keys` met an error of its own ({type(error).__name__}).",
                hint="What was written before is whole. To see where: POC24_TRACEBACK=1 keys …",
            )
            tell(unknown, as_json=ctx.ensure_object(Bench).as_json)
            ctx.exit(exit_code(unknown))


def tell(error: Poc24Error, *, as_json: bool = False) -> None:
    """Say an error on standard error: a sentence and what to type next, or one object."""
    code = error.code.value if isinstance(error, Refused) else ""
    if as_json:
        found = {"code": code, "exit": exit_code(error), "hint": error.hint, "text": error.text}
        click.echo(json.dumps({"error": found}, ensure_ascii=False), err=True)
        return
    click.echo(f"keys: {error.text}{f' ({code})' if code else ''}", err=True)
    if error.hint:
        click.echo(f"      {error.hint}", err=True)


@dataclass(slots=True)
class Bench:
    """One run of a command: the clock, where data and talk go, and the passphrases."""

    clock: Callable[[], int]
    as_json: bool = False
    fd: int | None = None
    one: bool = False
    _lines: list[str] | None = field(default=None, repr=False)

    @property
    def now(self) -> int:
        """The time, seconds UTC."""
        return self.clock()

    def data(self, value: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Print what was asked for: the value as JSON with ``--json``, else the lines."""
        if self.as_json:
            click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True))
        else:
            for line in lines:
                click.echo(line)

    def say(self, text: str) -> None:
        """Tell the person at the terminal something that is not data."""
        click.echo(text, err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask, unless *yes* was given; "no" ends the command."""
        if yes:
            return
        try:
            sure = click.confirm(question, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError(
                "Nobody can be asked here (no terminal). Add --yes to go on."
            ) from None
        if not sure:
            raise Refused(Code.E_SIGNATURE, "Nothing was signed: it was not confirmed.")

    # Passphrases: from a prompt or a descriptor, never from arguments or the environment

    def passphrase(self, who: str, *, new: bool) -> str:
        """Return a person's passphrase; a new one has at least 12 characters and is typed twice."""
        found = (
            self._line(who, new=new)
            if self.fd is not None or self.one
            else self._typed(who, new=new)
        )
        if new and len(found) < keyfile.PASSPHRASE_CHARACTERS_MIN:
            raise Refused(
                Code.E_KEYRING,
                f"The new passphrase of {who} has fewer than {keyfile.PASSPHRASE_CHARACTERS_MIN} characters.",
                hint="Take five or six words drawn by dice.",
            )
        return found

    def _typed(self, who: str, *, new: bool) -> str:
        words = f"{'New passphrase' if new else 'Passphrase'} of {who}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GetPassWarning)  # without a terminal nothing echoes
                typed: str = click.prompt(words, hide_input=True, confirmation_prompt=new, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise Failed(
                f"The passphrase of {who} is needed, and nobody can be asked (no terminal).",
                hint="Give it on a file descriptor: --passphrase-fd 3 3<FILE",
                exit_code=NO_PERMISSION,
            ) from None
        return typed

    def _line(self, who: str, *, new: bool) -> str:
        if self._lines is None:
            self._lines = _lines_of(self.fd) if self.fd is not None else [self._typed(who, new=new)]
        if not self._lines:
            raise Failed(
                f"The descriptor has no further line, and the passphrase of {who} is still to come.",
                hint="One line per person, in the order in which they are asked; or --one-passphrase.",
                exit_code=78,
            )
        return self._lines[0] if self.one else self._lines.pop(0)

    # Key rings

    def open_person(self, path: Path) -> KeyRing:
        """Open a person's key ring with the passphrase that is asked for."""
        data = keyfile.read_private(path)
        if keyfile.is_service(data):
            keyfile.open_ring(data)  # says what it needs
        return keyfile.open_ring(data, passphrase=self.passphrase(str(path), new=False))

    def signers(self, paths: Sequence[Path], role: Role) -> list[Signer]:
        """Open several persons' rings and return the key of one role in each; none may come twice."""
        found = [self.open_person(path).signer(role) for path in paths]
        if len({one.kid for one in found}) != len(found):
            raise Refused(Code.E_SIGNER, f"One {role} key was given twice; each signs once.")
        return found

    def write_people(self, rings: Sequence[tuple[Path, str, KeyRing]]) -> None:
        """Ask for a new passphrase per person and write their rings; sealing runs on several cores."""
        for path, _who, _ring in rings:
            if path.exists():
                raise Failed(f"{path} is there already and is not overwritten.", exit_code=73)
        asked = [self.passphrase(who, new=True) for _path, who, _ring in rings]

        def seal(number: int) -> bytes:
            return keyfile.seal_person(rings[number][2], asked[number])

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            sealed = list(pool.map(seal, range(len(rings))))
        for (path, _who, _ring), data in zip(rings, sealed, strict=True):
            make_folder(path.parent)
            keyfile.write_private(path, data)


def _lines_of(fd: int) -> list[str]:
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(COMMANDS_FILE_BYTES_MAX)
        return data.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"Descriptor {fd} cannot be read as lines of text.", exit_code=78) from error


def write_service(path: Path, credential: Path, ring: KeyRing, key: bytes) -> None:
    """Write a service's ring and, beside it, the 32-byte key that opens it."""
    make_folder(path.parent)
    keyfile.write_private(credential, key)
    keyfile.write_private(path, keyfile.seal_service(ring, key))


def held(signer: Signer, label: str, now: int, desk: str = "") -> KeyRing:
    """Return a ring of one key."""
    return KeyRing((Held(signer.role, signer.seed, label, desk, now),))


# The repository folder


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder, private unless said otherwise, with those above it; Failed with exit code 73 if it cannot be."""
    try:
        for one in (*reversed(folder.parents), folder):
            if not one.exists():
                one.mkdir(mode=mode)
    except OSError as error:
        raise Failed(f"{folder} cannot be made: {error.strerror}.", exit_code=73) from error


def read_repository(folder: Path) -> dict[str, bytes]:
    """Read every directory file of a folder by its TUF name; others are passed over."""
    if not folder.is_dir():
        raise Failed(
            f"{folder} is not a folder with a directory in it.",
            hint="It is the folder `repository` that `keys ceremony` made.",
            exit_code=78,
        )
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.json")}
    try:
        return {name: path.read_bytes() for name, path in names.items() if NAME.match(name)}
    except OSError as error:
        raise Failed(f"{error.filename} cannot be read: {error.strerror}.", exit_code=78) from error


def write_repository(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write what is new; only the timestamp, which comes last, ever replaces a file. Return the names written."""
    last = {"timestamp.json"} & files.keys()
    written = []
    for name in (*sorted(files.keys() - last), *last):
        path = folder / name
        if path.exists() and path.read_bytes() == files[name]:
            continue
        make_folder(path.parent, 0o755)
        keyfile.write_private(path, files[name], replace=name in last)
        path.chmod(0o644)  # public: the relay, which may run under another account, serves it
        written.append(name)
    return written


# Options that several commands share


def everywhere(command: Command) -> Command:
    """Give a command ``--json``; it receives the bench as its first argument."""

    def keep(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
        ctx.ensure_object(Bench).as_json = value

    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=keep,
        help="Print data as JSON on standard output.",
    )
    wrapped: Any = option(click.pass_obj(command))
    return cast("Command", wrapped)


def passphrases(command: Command) -> Command:
    """Give a command ``--passphrase-fd`` and ``--one-passphrase``."""

    def keep_fd(ctx: click.Context, _option: click.Parameter, value: int | None) -> None:
        ctx.ensure_object(Bench).fd = value

    def keep_one(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
        ctx.ensure_object(Bench).one = value

    fd = click.option(
        "--passphrase-fd",
        type=int,
        metavar="N",
        expose_value=False,
        callback=keep_fd,
        help="Read passphrases from descriptor N, one line per key ring, in the order of the options.",
    )
    one = click.option(
        "--one-passphrase",
        is_flag=True,
        expose_value=False,
        callback=keep_one,
        help="The same passphrase for every ring of this command: for rehearsals.",
    )
    return fd(one(command))


def repository_option(command: Command) -> Command:
    """Give a command ``--repository``."""
    return click.option(
        "--repository",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder with the directory's files.",
    )(command)


def rings_option(
    name: str, help_text: str, *, required: bool = True
) -> Callable[[Command], Command]:
    """Give a command an option for persons' key rings that can be repeated."""
    return click.option(
        name,
        required=required,
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="RING",
        help=help_text,
    )
