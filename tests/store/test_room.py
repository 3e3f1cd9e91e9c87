"""Room on the disk: when no further message is taken in, and when the ballast is given up and put back."""

import os
from pathlib import Path

import pytest
from builders_keys import NOW

from keys.errors import Code, Failed, Refused
from relay.store import place
from relay.store.room import Room
from relay.store.sqlite import SqliteStore

KIB = 1024
TOTAL = 1000 * KIB


class Disk:
    """A disk of which a test says how much is free, besides the ballast that lies on it."""

    def __init__(self, path: Path) -> None:
        """Be empty but for what *path*'s ballast takes."""
        self.free = TOTAL
        self.room = Room(path, 64 * KIB, 100 * KIB, 5, statvfs=self.statvfs)

    def statvfs(self, _path: Path) -> os.statvfs_result:
        """Say how much is free, in blocks of one KiB."""
        free = (self.free - self.room.held()) // KIB
        return os.statvfs_result((KIB, KIB, TOTAL // KIB, free, free, *[0] * 5))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk of 1,000 KiB: floor 100 KiB, ballast 64 KiB, given up below 16 KiB."""
    return Disk(tmp_path / "relay.db")


def test_no_message_below_the_floor(disk: Disk) -> None:
    """At the floor a message still comes in, a byte below it none does, and the refusal says what to do."""
    disk.free = 100 * KIB
    assert disk.room.submissions_allowed()
    disk.room.check()
    assert not disk.room.submissions_allowed(1)
    disk.free = 99 * KIB
    with pytest.raises(Refused, match="nearly full") as refused:
        disk.room.check()
    assert refused.value.code is Code.E_BUSY


def test_the_floor_is_the_larger_of_bytes_and_share(disk: Disk) -> None:
    """max(bytes, percent of the disk), as an operator of a large disk expects."""
    assert disk.room.look() == (TOTAL, 100 * KIB)
    large = Room(disk.room.path, 64 * KIB, 100 * KIB, 50, statvfs=disk.statvfs)
    assert large.look()[1] == TOTAL // 2


def test_the_ballast_is_given_up_at_the_last_moment_and_put_back_later(disk: Disk) -> None:
    """Below a quarter of it: gone. Back only when messages would be taken in with it lying there, too."""
    room = disk.room
    assert room.restore()
    assert not room.restore()
    assert (room.held(), room.ballast.stat().st_mode & 0o777) == (64 * KIB, 0o600)
    assert room.ballast.stat().st_blocks * 512 >= 64 * KIB, "a hole in a file holds no room"
    disk.free = (64 + 16) * KIB
    assert not room.relieve()
    disk.free -= KIB
    assert room.relieve()
    assert not room.relieve()
    assert room.held() == 0
    disk.free = 163 * KIB
    assert not room.restore()
    disk.free = 164 * KIB
    assert room.restore()


async def test_a_store_begins_with_the_help_of_its_ballast(disk: Disk) -> None:
    """A full disk at the start: the ballast is given up, and the store opens; without one it says what is missing."""
    path, room = disk.room.path, disk.room
    store = SqliteStore(path, free_min=0, room=room)
    await store.start(NOW)
    await store.put_mark("x", 1)
    await store.stop()
    assert room.held() == 64 * KIB
    disk.free = 64 * KIB
    store = SqliteStore(path, free_min=0, room=room)
    await store.start(NOW)
    assert room.held() == 0
    disk.free = 0
    assert await store.mark("x") == 1
    await store.stop()
    with pytest.raises(Failed, match="MiB are free") as failed:
        await SqliteStore(path, free_min=2**60, room=room).start(NOW)
    assert failed.value.exit_code == 75
    place.Lock(path).release()
