"""What is kept of what was read: bounded by bytes, whoever sends them."""

import json

import pytest
from builders_keys import World

from keys import metadata
from keys.directory import update
from keys.errors import Code, Refused
from keys.remembered import remembered


def test_it_is_read_once_and_the_oldest_gives_way() -> None:
    """The same bytes give the same object; beyond the bound, what was not asked for longest is read again."""
    asked: list[bytes] = []

    @remembered(100)
    def read(data: bytes, more: str = "") -> list[int]:
        asked.append(data)
        return [len(data), len(more)]

    first = read(b"a" * 40)
    assert read(b"a" * 40) is first
    assert read(b"a" * 40, more="x") == [40, 1]
    assert read(b"a" * 40) is first
    read(b"b" * 40)
    assert read(b"a" * 40) is first
    assert read(b"a" * 40, more="x") == [40, 1]
    assert asked == [b"a" * 40, b"a" * 40, b"b" * 40, b"a" * 40]
    assert (read.bytes, len(read)) == (80, 2)
    read.clear()
    assert (read.bytes, len(read)) == (0, 0)


def test_what_is_too_large_and_what_is_refused_is_not_kept() -> None:
    """One that is larger than all that may be kept pushes nothing out; an error is no result."""

    @remembered(100)
    def read(data: bytes) -> int:
        if not data:
            raise Refused(Code.E_ENCODING, "Nothing.")
        return len(data)

    read(b"a")
    assert read(bytes(101)) == 101
    with pytest.raises(Refused):
        read(b"")
    assert (read.bytes, len(read)) == (1, 1)


def test_a_stranger_cannot_fill_memory_with_directories_that_nobody_signed() -> None:
    """Root documents of 200 KB, each another one, offered to a reader: refused, and little is kept (PROTOCOL 15)."""
    world = World(("VN",), officers=1)
    trusted = world.trusted()
    value = json.loads(world.root)
    value["signed"]["version"] = 2
    value["signed"]["x"] = "x" * 200_000
    metadata.read.clear()
    for number in range(100):
        value["signed"]["y"] = number
        offered = {"2.root.json": json.dumps(value).encode()}
        with pytest.raises(Refused) as refused:
            update(trusted, offered, world.now)
        assert refused.value.code is Code.E_DIRECTORY
    assert metadata.read.bytes <= metadata.REMEMBERED_BYTES_MAX
    assert len(metadata.read) < 50
