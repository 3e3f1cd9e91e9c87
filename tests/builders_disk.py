"""A disk with a cache that a power cut empties: files and names become durable when they are synced, and not before.

::

    disk = Disk(random.Random(seed))
    disk.faults = [Fault("error", "sync", 3)]     # the third sync of this boot fails
    ... a process works on it, through `System` (as `os`) or through builders_apsw (as SQLite's operating system) ...
    disk.restart()                                # the process is gone, the page cache is not
    disk.cut()                                    # the power is gone, too: what was not synced is lost, in part or whole

What it follows is Linux with ext4: a page cache of 4 KiB pages over sectors of 512 bytes; names belong to the folder
and need its own sync; **a sync that fails marks the pages clean**, so that the cache shows what the disk has not, and
the next sync succeeds without them.
"""

import errno
import fcntl
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

SECTOR = 512
PAGE = 4096
ROOT = "/disk"
OTHER = "/other"
"""Folders that were always there."""
CALLS = ("read", "write", "sync", "truncate", "name", "folder")
"""What a fault may hit; *folder* is the sync of a folder, *name* is making, renaming or deleting a file."""
_FIRST_DESCRIPTOR = 1 << 20


class Dead(OSError):
    """The process that asks is dead: nothing that it still wants reaches the disk."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the process is dead")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the *at*-th call *of* a kind (``any``: whichever comes), counted from the start of the process.

    *what*: ``cut`` (power), ``kill`` (the process), ``error`` (EIO), ``short`` (a write that ends half way), ``full``
    (no room from here until the process ends).
    """

    what: str
    of: str
    at: int

    def __str__(self) -> str:
        """Say it in one word group."""
        return f"{self.what} at {self.of} {self.at}"


@dataclass(slots=True, eq=False)
class Node:
    """One file: what the page cache shows, what the media holds, and what was written since the last sync."""

    cache: bytearray = field(default_factory=bytearray)
    media: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)
    """Writes (offset, bytes) and truncations (size), in their order."""
    mtime: int = 0
    stale: set[int] = field(default_factory=set)
    """Pages that the cache shows and the media has not, and that no sync will write: a sync has failed on them."""

    def write(self, offset: int, data: bytes) -> None:
        """Write into the cache."""
        _put(self.cache, offset, data)
        self.pending.append((offset, data))
        if self.stale:  # the page is dirty again, and goes to the disk as a whole
            for page in range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1):
                if page in self.stale:
                    self.stale.discard(page)
                    self.pending.append((page * PAGE, bytes(self.cache[page * PAGE :][:PAGE])))

    def truncate(self, size: int) -> None:
        """Cut or extend."""
        _resize(self.cache, size)
        self.pending.append(size)

    def sync(self) -> None:
        """Bring everything to the media."""
        for one in self.pending:
            _apply(self.media, one)
        self.pending = []

    def fail_sync(self, dice: random.Random) -> None:
        """Bring some sectors to the media and forget the rest; sizes are kept in the journal, and wait on."""
        waiting: list[tuple[int, bytes] | int] = []
        for one in self.pending:
            if isinstance(one, int):
                waiting.append(one)
                continue
            offset, data = one
            self.stale.update(range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1))
            if dice.random() < 0.2:
                _apply(self.media, one)
        self.pending = waiting

    def cut(self, dice: random.Random) -> None:
        """Lose the power: none, all or some sectors of what was not synced are on the media."""
        mode = dice.choice(("none", "all", "some", "some", "first"))
        share = dice.choice((0.1, 0.5, 0.9))
        until = dice.randint(0, len(self.pending)) if mode == "first" else len(self.pending)
        if mode != "none":
            for one in self.pending[:until]:
                for piece in _pieces(one) if mode == "some" else (one,):
                    if mode != "some" or dice.random() < share:
                        _apply(self.media, piece)
        self.cache = bytearray(self.media)
        self.pending, self.stale = [], set()


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if offset > len(into):
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(data)] = data


def _resize(what: bytearray, size: int) -> None:
    if size < len(what):
        del what[size:]
    else:
        what.extend(bytes(size - len(what)))


def _apply(media: bytearray, one: tuple[int, bytes] | int) -> None:
    if isinstance(one, int):
        _resize(media, one)
    else:
        _put(media, *one)


def _pieces(one: tuple[int, bytes] | int) -> Iterator[tuple[int, bytes] | int]:
    """Yield a write sector by sector: a sector is on the media whole, or as it was."""
    if isinstance(one, int):
        yield one
        return
    offset, data = one
    start = 0
    while start < len(data):
        end = start + SECTOR - (offset + start) % SECTOR
        yield offset + start, data[start:end]
        start = end


@dataclass(frozen=True, slots=True)
class _Naming:
    """A change of names that its folder has not synced yet: *old* goes, *new* comes; "" where there is none."""

    old: str
    new: str
    node: Node | None

    def apply(self, names: dict[str, Node]) -> None:
        if self.old:
            names.pop(self.old, None)
        if self.new and self.node:
            names[self.new] = self.node


class Disk:
    """Files by their paths; all of it belongs to one process at a time."""

    def __init__(self, dice: random.Random) -> None:
        """Begin empty, with the folder :data:`ROOT`."""
        self.dice = dice
        self.names: dict[str, Node] = {}
        self.faults: list[Fault] = []
        self.boot = 1
        """Which process this is; what an earlier one still holds is dead."""
        self.died = ""
        """``kill`` or ``cut``, once it has happened in this boot."""
        self.struck: list[str] = []
        """Faults that have happened in this boot."""
        self.folders = {"/", ROOT, OTHER}
        self.calls = dict.fromkeys(("any", *CALLS), 0)
        self._durable: dict[str, Node] = {}
        self._new_folders: list[str] = []
        """Folders whose parent was not synced since they were made."""
        self._namings: list[_Naming] = []
        self._full = False

    def image(self) -> dict[str, bytes]:
        """Return what the media hold, by durable names."""
        return {path: bytes(node.media) for path, node in self._durable.items()}

    # Life and death

    def restart(self) -> None:
        """End the process: the next one finds what the cache shows."""
        self.boot += 1
        self.died, self.struck, self.faults, self._full = "", [], [], False
        self.calls = dict.fromkeys(self.calls, 0)

    def cut(self) -> None:
        """Lose the power: names and bytes that were not synced survive in part; then the next process may begin."""
        mode = self.dice.choice(("none", "all", "some"))
        for naming in self._namings:
            if mode == "all" or (mode == "some" and self.dice.random() < 0.5):
                naming.apply(self._durable)
        self._namings = []
        for folder in self._new_folders:
            if self.dice.random() < 0.5:
                self.folders.discard(folder)
                inside = [path for path in self._durable if path.startswith(f"{folder}/")]
                for path in inside:
                    del self._durable[path]
        self._new_folders = []
        for node in {id(node): node for node in self._durable.values()}.values():
            node.cut(self.dice)
        self.names = dict(self._durable)
        self.restart()

    def call(self, of: str, boot: int, node: Node | None = None, *, grows: bool = False) -> str:
        """Count a call and let happen what was planned for it: raises, or returns ``short`` for half a write.

        *grows*: it needs room on the disk.
        """
        if self.died or boot != self.boot:
            raise Dead
        calls = self.calls
        calls["any"] += 1
        calls[of] += 1
        for fault in self.faults:
            if fault.of in {of, "any"} and fault.at == calls[fault.of]:
                return self._strike(fault, of, node, grows=grows)
        if self._full and grows:
            raise OSError(errno.ENOSPC, "no room")
        return ""

    def _strike(self, fault: Fault, of: str, node: Node | None, *, grows: bool) -> str:
        self.struck.append(str(fault))
        if fault.what in {"cut", "kill"}:
            self.died = fault.what
            raise Dead
        if fault.what == "full":
            self._full = True
            if grows:
                raise OSError(errno.ENOSPC, "no room")
            return ""
        if fault.what == "short" and of == "write":
            return "short"
        if of == "sync" and node is not None:
            node.fail_sync(self.dice)
        raise OSError(errno.EIO, f"planted: {fault}")

    # Files

    def open(self, path: str, *, create: bool, exclusive: bool = False) -> Node:
        """Return a file, made if *create* says so; FileExistsError, FileNotFoundError as the system has them."""
        node = self.names.get(path)
        if node is not None:
            if exclusive:
                raise FileExistsError(errno.EEXIST, "is there", path)
            return node
        if not create or str(PurePosixPath(path).parent) not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "is not there", path)
        self.call("name", self.boot, grows=True)
        node = Node()
        self._name(_Naming("", path, node))
        return node

    def write(self, node: Node, offset: int, data: bytes, boot: int) -> None:
        """Write, or fail; half of it if it was planned so."""
        if self.call("write", boot, grows=True) == "short":
            node.write(offset, data[: len(data) // 2])
            raise OSError(errno.EIO, "planted: half a write")
        node.write(offset, data)

    def truncate(self, node: Node, size: int, boot: int) -> None:
        """Set the size."""
        self.call("truncate", boot)
        node.truncate(size)

    def sync(self, node: Node, boot: int) -> None:
        """Make a file's bytes durable, not its name."""
        self.call("sync", boot, node)
        node.sync()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of a file that may have it."""
        if old not in self.names:
            raise FileNotFoundError(errno.ENOENT, "is not there", old)
        self.call("name", self.boot)
        self._name(_Naming(old, new, self.names[old]))

    def unlink(self, path: str) -> None:
        """Take a file's name away."""
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "is not there", path)
        self.call("name", self.boot)
        self._name(_Naming(path, "", None))

    def sync_folder(self, folder: str, boot: int) -> None:
        """Make a folder's names durable."""
        self.call("folder", boot)
        waiting = []
        for naming in self._namings:
            if str(PurePosixPath(naming.new or naming.old).parent) == folder:
                naming.apply(self._durable)
            else:
                waiting.append(naming)
        self._namings = waiting
        self._new_folders = [
            one for one in self._new_folders if str(PurePosixPath(one).parent) != folder
        ]

    def mkdir(self, path: str) -> None:
        """Make a folder."""
        if path in self.folders:
            raise FileExistsError(errno.EEXIST, "is there", path)
        self.call("name", self.boot, grows=True)
        self.folders.add(path)
        self._new_folders.append(path)

    def _name(self, naming: _Naming) -> None:
        naming.apply(self.names)
        self._namings.append(naming)

    def path(self, name: str) -> Path:
        """Put the disk into the drive; return a path on it, as far as the code under test uses one."""
        DISK[0] = self
        return cast("Path", DiskPath(ROOT, name))  # an absolute name stands for itself


DISK: list[Disk] = [Disk(random.Random(0))]
"""The disk in the drive: there is one at a time."""


class DiskPath(PurePosixPath):
    """A path on the disk in the drive: pathlib's names, without a file system behind them."""

    __slots__ = ()

    def exists(self) -> bool:
        """Whether a file or folder is there."""
        return str(self) in DISK[0].names or self.is_dir()

    def is_dir(self) -> bool:
        """Whether a folder is there."""
        return str(self) in DISK[0].folders

    def is_file(self) -> bool:
        """Whether a file is there."""
        return str(self) in DISK[0].names

    def stat(self) -> SimpleNamespace:
        """Return the size and a mode."""
        return SYSTEM.stat(self)

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - as pathlib has it
        """Delete."""
        if not missing_ok or self.exists():
            DISK[0].unlink(str(self))

    def mkdir(self, mode: int = 0o777) -> None:
        """Make a folder."""
        DISK[0].mkdir(str(self))

    def rename(self, target: PurePosixPath) -> "DiskPath":
        """Rename, also over another file."""
        DISK[0].rename(str(self), str(target))
        return DiskPath(target)

    replace = rename

    def resolve(self) -> "DiskPath":
        """Return itself: there are no links here."""
        return self


@dataclass(slots=True)
class _Open:
    node: Node | None
    path: str
    boot: int
    at: int = 0


class System:
    """What a module calls ``os``, on the disk in the drive; constants are the real ones."""

    def __init__(self) -> None:
        """Begin with no open file."""
        self._open: dict[int, _Open] = {}

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name in {"getpid", "fsencode", "fspath", "path"}:
            return getattr(os, name)
        raise AttributeError(
            f"The simulated disk has no os.{name} yet; add it to tests/builders_disk.py."
        )

    def open(self, path: object, flags: int, mode: int = 0o777) -> int:
        """Open a file or a folder."""
        disk, name = DISK[0], str(path)
        node = None
        if name not in disk.folders:
            node = disk.open(
                name, create=bool(flags & os.O_CREAT), exclusive=bool(flags & os.O_EXCL)
            )
            if flags & os.O_TRUNC and node.cache:
                disk.truncate(node, 0, disk.boot)
        descriptor = max(self._open, default=_FIRST_DESCRIPTOR) + 1
        self._open[descriptor] = _Open(node, name, disk.boot)
        return descriptor

    def _of(self, descriptor: int) -> tuple[_Open, Node]:
        one = self._open[descriptor]
        if one.node is None:
            raise IsADirectoryError(errno.EISDIR, "is a folder", one.path)
        return one, one.node

    def close(self, descriptor: int) -> None:
        """Close; nothing is synced by it."""
        del self._open[descriptor]

    def fsync(self, descriptor: int) -> None:
        """Sync a file's bytes, or a folder's names."""
        one = self._open[descriptor]
        if one.node is None:
            DISK[0].sync_folder(one.path, one.boot)
        else:
            DISK[0].sync(one.node, one.boot)

    fdatasync = fsync

    def ftruncate(self, descriptor: int, size: int) -> None:
        """Set a size."""
        one, node = self._of(descriptor)
        DISK[0].truncate(node, size, one.boot)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write at an offset."""
        one, node = self._of(descriptor)
        DISK[0].write(node, offset, bytes(data), one.boot)
        return len(data)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write where the descriptor stands."""
        one, _node = self._of(descriptor)
        self.pwrite(descriptor, data, one.at)
        one.at += len(data)
        return len(data)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read at an offset."""
        one, node = self._of(descriptor)
        DISK[0].call("read", one.boot)
        return bytes(node.cache[offset : offset + size])

    def read(self, descriptor: int, size: int) -> bytes:
        """Read where the descriptor stands."""
        one, _node = self._of(descriptor)
        data = self.pread(descriptor, size, one.at)
        one.at += len(data)
        return data

    def lseek(self, descriptor: int, offset: int, how: int) -> int:
        """Set where the descriptor stands."""
        one, node = self._of(descriptor)
        one.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: one.at, os.SEEK_END: len(node.cache)}[how]
        return one.at

    def fstat(self, descriptor: int) -> SimpleNamespace:
        """Return size and mode of an open file."""
        return self.stat(self._open[descriptor].path)

    def stat(self, path: object, *, follow_symlinks: bool = True) -> SimpleNamespace:
        """Return size and mode; there are no links here."""
        if str(path) in DISK[0].folders:
            return SimpleNamespace(st_size=0, st_mode=stat.S_IFDIR | 0o700)
        node = DISK[0].open(str(path), create=False)
        return SimpleNamespace(
            st_size=len(node.cache), st_mode=stat.S_IFREG | 0o600, st_mtime=node.mtime
        )

    def utime(self, descriptor: int, times: tuple[int, int]) -> None:
        """Date a file; dates survive whatever happens, for nothing rests on them but tidiness."""
        self._of(descriptor)[1].mtime = times[1]

    @contextmanager
    def scandir(self, folder: object) -> Iterator[Iterator[SimpleNamespace]]:
        """List a folder."""
        if str(folder) not in DISK[0].folders:
            raise FileNotFoundError(errno.ENOENT, "is not there", str(folder))
        inside = [path for path in DISK[0].names if path.startswith(f"{folder}/")]
        yield iter([self._entry(path) for path in inside])

    def _entry(self, path: str) -> SimpleNamespace:
        return SimpleNamespace(
            name=PurePosixPath(path).name,
            is_file=lambda **_: True,
            stat=lambda **_: self.stat(path),
        )

    def access(self, path: object, how: int) -> bool:
        """Whether this account may: always."""
        return True

    def statvfs(self, path: object) -> SimpleNamespace:
        """Tell of a disk with 64 GiB free."""
        return SimpleNamespace(f_bavail=1 << 24, f_frsize=4096, f_blocks=1 << 25)

    def unlink(self, path: object) -> None:
        """Delete."""
        DISK[0].unlink(str(path))

    def rename(self, old: object, new: object) -> None:
        """Rename, also over another file."""
        DISK[0].rename(str(old), str(new))

    replace = rename

    def forget(self) -> None:
        """Close what a dead process left open."""
        self._open = {}


SYSTEM = System()
LOCKS = SimpleNamespace(LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB, flock=lambda *_: None)
"""What a module calls ``fcntl``: the process before is dead, so its lock is free."""
