"""An attachment leaves the desk: into a file that has no name before every byte of it was verified (PROTOCOL 9.5).

Where the system knows files without a name (O_TMPFILE), a crash leaves nothing; elsewhere a hidden file with ``.part``
at its end, which the next try removes. Nothing is ever overwritten, and no link is followed.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from keys.errors import Code, Failed, Refused
from relay.desk import filenames, spool
from relay.wire import attachment
from relay.wire.attachment import Facts

MODE = 0o600
NOT_THERE, CANNOT_CREATE = 66, 73
_UNNAMED: int = getattr(os, "O_TMPFILE", 0)

Told = Callable[[int], object]
"""Hears how many bytes more are written."""


def save(sealed: Path, secret: bytes, facts: Facts, folder: Path, name: str, told: Told) -> Path:
    """Open the blob at *sealed* into *folder* under *name*; return where the file is, durable and 0600.

    Raises E_ENCODING for an odd name, Failed 66 for a place that is not there, Failed 73 where something has that name
    or nothing can be written, and what opening raises (PROTOCOL 9.5): then no file was made.
    """
    if why := filenames.odd(name):
        raise Refused(
            Code.E_ENCODING,
            f"Nothing is saved under the name {filenames.plain(name)!r}, as it was sent: {why}.",
            hint="Give it another: --as NAME",
        )
    with _folder(folder) as place:
        _check_free(place, folder, name)
        try:
            with _unnamed(place) as (handle, give):
                _write(handle, sealed, secret, facts, told)
                os.fsync(handle)
                give(name)
            os.fsync(place)
        except FileExistsError:
            raise _taken(folder, name) from None
        except OSError as error:
            raise Failed(
                f"{folder / name} cannot be written: {error.strerror}.",
                hint="Choose a folder with room that is yours.",
                exit_code=CANNOT_CREATE,
            ) from None
    return folder / name


def _write(handle: int, sealed: Path, secret: bytes, facts: Facts, told: Told) -> None:
    try:
        opening = spool.reader(sealed)
        read = opening.__enter__()
    except OSError:
        raise Failed(
            "The sealed attachment has left this desk's folder.",
            hint="Type the same command again in a moment: it is fetched anew.",
            exit_code=NOT_THERE,
        ) from None
    try:
        for data in attachment.opened(secret, facts, read):
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            told(len(data))
    finally:
        opening.__exit__(None, None, None)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """Hold a folder, so that it cannot be swapped while something is written into it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            raise Failed(
                f"{path} is a link; nothing is written through one.",
                hint=f"Name the folder itself: --to {path.resolve()}",
                exit_code=CANNOT_CREATE,
            ) from None
        raise Failed(
            f"{path} is no folder that can be written to: {error.strerror}.",
            hint=f"Type: mkdir -p {path}",
            exit_code=NOT_THERE if error.errno == errno.ENOENT else CANNOT_CREATE,
        ) from None
    try:
        yield handle
    finally:
        os.close(handle)


def _check_free(place: int, folder: Path, name: str) -> None:
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError:
        return  # writing says why
    raise _taken(folder, name, link=stat.S_ISLNK(found.st_mode))


def _taken(folder: Path, name: str, *, link: bool = False) -> Failed:
    what = "there already, and a link" if link else "there already"
    return Failed(
        f"{folder / name} is {what}; nothing is overwritten.",
        hint="Move it away, or give another name: --as NAME",
        exit_code=CANNOT_CREATE,
    )


@contextlib.contextmanager
def _unnamed(place: int) -> Iterator[tuple[int, Callable[[str], None]]]:
    """Open a file that nobody sees; yield it and what gives it its name (FileExistsError where one has that)."""
    handle = _without_name(place)
    if handle < 0:
        with _hidden(place) as pair:
            yield pair
        return

    def give(name: str) -> None:
        os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=place, follow_symlinks=True)

    try:
        yield handle, give
    finally:
        os.close(handle)


def _without_name(place: int) -> int:
    """Return a file that has no name; -1 where this disk or system knows none, or could not give it one later."""
    if not _UNNAMED or not Path("/proc/self/fd").exists():
        return -1
    try:
        return os.open(".", _UNNAMED | os.O_RDWR, MODE, dir_fd=place)
    except OSError:
        return -1


@contextlib.contextmanager
def _hidden(place: int) -> Iterator[tuple[int, Callable[[str], None]]]:
    """Do the same on a disk that knows no file without a name."""
    temporary = ".poc24-save.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=place)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW
    handle = os.open(temporary, flags, MODE, dir_fd=place)

    def give(name: str) -> None:
        try:
            os.link(temporary, name, src_dir_fd=place, dst_dir_fd=place, follow_symlinks=False)
        except FileExistsError:
            raise
        except (
            OSError
        ):  # a disk without links: take the name with an empty file, then put this one there
            os.close(os.open(name, flags, MODE, dir_fd=place))
            os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)

    try:
        yield handle, give
    finally:
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)
