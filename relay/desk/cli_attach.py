"""Files that go with a message: looked at first, sealed on this side of the desk's socket, and saved on the other end.

A file is sealed by the command itself, into the desk's folder: a running desk need not be able to read what an officer
can, and no plaintext is ever written. What an officer signs names each file's size and hash and its sealed form.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from keys import statement, suite
from keys.errors import Code, Failed, Refused
from relay.desk import filenames, saving, spool
from relay.desk.cli_office import Office, everywhere, reaching
from relay.desk.counter import Counter
from relay.desk.home import Home
from relay.desk.paper_attachments import line, size_of, under_way
from relay.desk.shelves import COMING, WAITING
from relay.desk.spool import Spool
from relay.wire import attachment, blob
from relay.wire.attachment import Facts, Sealing
from relay.wire.receipt import ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX

LARGE_BYTES = 8 * 1024 * 1024
"""From here on a person is told that the message goes out only after its files."""
LOOK_SECONDS = 0.2

ATTACH = click.option(
    "--attach",
    "attached",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Send a file with it; up to {ATTACHMENTS_MAX}, each up to 256 MiB.",
)


@dataclass(frozen=True, slots=True)
class Picked:
    """A file that is to go with a message, as it stood when it was looked at."""

    path: Path
    name: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Enclosed:
    """What was sealed: *named* is what the officer signs of it."""

    named: Sequence[Mapping[str, Any]] = ()
    cek: bytes = field(default=b"", repr=False)
    staged: str = ""

    def handed_over(self) -> dict[str, str]:
        """Return the arguments of the verb ``send`` that belong to it."""
        return {"cek": statement.b64u(self.cek), "staged": self.staged}


NOTHING = Enclosed()


def look(paths: Sequence[Path]) -> list[Picked]:
    """Look at files before anything else is done; E_TOO_LARGE beyond a limit, Failed 66 for what cannot be read."""
    if len(paths) > ATTACHMENTS_MAX:
        raise Refused(
            Code.E_TOO_LARGE,
            f"A message has at most {ATTACHMENTS_MAX} attachments; {len(paths)} files were named.",
            hint="Put several into one archive file, or send a second message.",
        )
    found: list[Picked] = []
    for path in paths:
        size = _size(path)
        if size > ATTACHMENT_BYTES_MAX:
            raise Refused(
                Code.E_TOO_LARGE,
                f"{path} has {size} bytes; an attachment has at most {ATTACHMENT_BYTES_MAX} (256 MiB).",
                hint=f"Cut it: split -b 250M {path}",
            )
        name = _free(filenames.plain(path.name), {one.name for one in found})
        found.append(Picked(path, name, filenames.media_type(name), size))
    return found


def _size(path: Path) -> int:
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise Failed(f"{path} is no file.", hint="Name files, not folders.", exit_code=66)
        with path.open("rb"):
            return kind.st_size
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.", exit_code=66) from None


def _free(name: str, taken: set[str]) -> str:
    """Return a name that no other attachment of the message has: both would be saved to one place."""
    stem, dot, ending = name.rpartition(".")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{dot}{ending}" if dot else f"{name}-{number}"
    return filenames.plain(free)


def announce(office: Office, picked: Sequence[Picked]) -> None:
    """Tell what goes along before anybody is asked."""
    for one in picked:
        office.say(f"Attached: {one.name}, {size_of(one.size)}, {one.media_type}")
    if sum(one.size for one in picked) > LARGE_BYTES:
        office.say(
            "The message goes out when its files are with the relay. If it must not wait, send it without them first."
        )


@contextlib.contextmanager
def sealed(office: Office, settings: Home, picked: Sequence[Picked]) -> Iterator[Enclosed]:
    """Seal files for one message under a fresh content key; they are gone at the end unless the desk took them."""
    if not picked:
        yield NOTHING
        return
    place = Spool(spool.beside(settings.archive))
    needed, free = sum(blob.sealed_size(one.size) for one in picked), place.free()
    if needed > free:
        raise Failed(
            f"There is no room to seal the files: {size_of(needed)} are needed in {place.folder}, "
            f"{size_of(free)} are free.",
            hint="Make room on that disk.",
            exit_code=spool.CANNOT_CREATE,
        )
    cek = suite.random_bytes(suite.CEK_BYTES)
    with place.stage() as stage:
        with meter(office, "Sealing", sum(one.size for one in picked)) as told:
            named = [
                _one(stage, one, attachment.secret_of(cek, number), told)
                for number, one in enumerate(picked)
            ]
        spool.sync(stage)
        yield Enclosed(named, cek, stage.name)


def _one(stage: Path, one: Picked, secret: bytes, told: saving.Told) -> dict[str, Any]:
    temporary = stage / "sealing"
    try:
        with one.path.open("rb") as source, os.fdopen(spool.create(temporary), "wb") as target:
            sealing = Sealing(secret, one.size, source.read)
            for piece in sealing:
                target.write(piece)
                told(len(piece))
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise Failed(
            f"{one.path} cannot be sealed: {error.strerror}.", exit_code=spool.CANNOT_CREATE
        ) from None
    facts = sealing.facts
    temporary.rename(stage / facts.blob)
    return {
        "name": one.name,
        "media_type": one.media_type,
        "size": facts.size,
        "sha256": facts.sha256,
        "blob": facts.blob,
    }


# What goes on meanwhile


@contextlib.contextmanager
def meter(office: Office, what: str, total: int) -> Iterator[saving.Told]:
    """Show on a terminal how far something is; elsewhere, and for what is quick, nothing."""
    done, shown = 0, -1
    speak = total > LARGE_BYTES and office.watched()

    def told(count: int) -> None:
        nonlocal done, shown
        done += count
        percent = min(100, 100 * done // total) if total else 100
        if speak and percent != shown:
            shown = percent
            click.echo(f"\r{what} {percent:3d} % of {size_of(total)} ", nl=False, err=True)

    try:
        yield told
    finally:
        if shown >= 0:
            click.echo(err=True)


def carried(office: Office, at: Counter, msg: str, states: frozenset[str]) -> None:
    """Wait while attachments of a message are in *states* and move; --wait counts from the last byte that moved."""
    last, quiet, shown = "", 0.0, False
    while quiet < office.wait:
        found = at.ask(at.desk.attachments(msg))["attachments"]
        if not any(one["state"] in states for one in found):
            break
        now = under_way(found)
        if now != last and office.watched():
            click.echo(f"\r{now} ", nl=False, err=True)
            shown = True
        quiet = 0.0 if now != last else quiet + LOOK_SECONDS
        last = now
        at.ask(asyncio.sleep(LOOK_SECONDS))
    if shown:
        click.echo(err=True)


UPLOADING = frozenset({WAITING})
FETCHING = frozenset({COMING})


@click.command()
@click.argument("msg")
@click.option(
    "--attachment",
    "numbers",
    multiple=True,
    type=click.IntRange(1, ATTACHMENTS_MAX),
    metavar="N",
    help="Which one, as `desk show` numbers them. Default: all.",
)
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), help="The folder to save to."
)
@click.option("--as", "name", metavar="NAME", help="Save one attachment under this name.")
@reaching(0, "Wait for attachments that are still being fetched, at most so long.")
@everywhere
def save(
    office: Office, msg: str, *, numbers: tuple[int, ...], target: Path, name: str | None
) -> None:
    """Open attachments of MSG into a folder; nothing is overwritten, and nothing unverified has a name."""
    settings = office.home()
    saved: list[dict[str, Any]] = []
    troubles: list[Failed | Refused] = []
    with office.counter(settings) as at:
        if office.wait:
            at.link(office.wait)
            carried(office, at, msg, FETCHING)
        listed = at.ask(at.desk.attachments(msg))["attachments"]
        wanted = list(dict.fromkeys(numbers)) or [one["number"] for one in listed]
        if name is not None and len(wanted) != 1:
            raise click.UsageError("--as names one file: choose it with --attachment N.")
        for number in wanted:
            try:
                found = at.ask(at.desk.unlock(msg, number))
                path = _saved(office, found, target.expanduser(), name)
            except (Failed, Refused) as trouble:
                troubles.append(trouble)
                continue
            saved.append({"number": number, "path": str(path), "size": found["size"]})
    lines = [f"{one['path']}: {size_of(one['size'])}, verified." for one in saved]
    if not troubles:
        office.data({"saved": saved}, lines or ["This message has no attachments."])
        return
    if saved:
        office.data({"saved": saved}, lines)
    for other in troubles[1:]:
        office.say(str(other))
    raise troubles[0]


def _saved(office: Office, found: Mapping[str, Any], folder: Path, name: str | None) -> Path:
    secret, facts = statement.unb64u(found["secret"]), Facts.of(found)
    with meter(office, f"Opening {line(found)}:", facts.size) as told:
        return saving.save(
            Path(found["path"]),
            secret,
            facts,
            folder,
            found["name"] if name is None else name,
            told,
        )
