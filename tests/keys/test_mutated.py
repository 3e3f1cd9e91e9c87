"""Files of the directory with one value changed at random: read, or refused with this house's own error (C22)."""

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from builders_keys import World

from keys.continuity import walk
from keys.entry import read_entry
from keys.errors import Refused
from keys.metadata import KeySet, Kind, read
from keys.network import read_network

WORLD = World()
BEFORE = KeySet.of(1, WORLD.desk_signers["AU"])
WORLD.rotate("AU")
AFTER = KeySet.of(1, WORLD.desk_signers["AU"])
ROOT = KeySet.of(3, WORLD.root_signers)
COUNT = 5000 if os.environ.get("POC24_LONG") == "1" else 250

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**70, "", "x", "zz", "\ud800", "é" * 3),
    *([], {}, [[]], {"a": 1}, ["a"] * 3),
    *("2026-13-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
]
NAMES = ["x", "_type", "keyids", "delegations", "succinct_roles", "path_hash_prefixes"]
READERS: dict[str, Callable[[bytes], object]] = {
    "1.root.json": lambda data: read(Kind.ROOT, data),
    "timestamp.json": lambda data: read(Kind.TIMESTAMP, data),
    "2.snapshot.json": lambda data: read(Kind.SNAPSHOT, data),
    "5.targets.json": lambda data: read(Kind.TARGETS, data),
    "1.desk-AU.json": lambda data: read(Kind.TARGETS, data),
    ".network.json": read_network,
    ".VN.json": lambda data: read_entry("VN", data),
    "/rotations/": lambda data: walk("AU", BEFORE, AFTER, data, ROOT),
}


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a value."""
    if path:
        yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(value: object, dice: random.Random) -> Any:
    """Return the value with one place replaced, removed or added to."""
    out: Any = copy.deepcopy(value)
    *way, last = dice.choice(list(places(out)))
    here = out
    for key in way:
        here = here[key]
    what = dice.random()
    if what < 0.6:
        here[last] = dice.choice(JUNK)
    elif what < 0.8:
        del here[last]
    elif isinstance(here, dict):
        here[dice.choice(NAMES)] = dice.choice(JUNK)
    return out


@pytest.mark.parametrize("name", READERS)
def test_a_reader_raises_nothing_but_its_own_error(name: str) -> None:
    """C22: whatever stands where, it is read or refused."""
    dice = random.Random(name)
    data = next(one for file, one in WORLD.files.items() if name in file)
    value = json.loads(data)
    refused = 0
    for _ in range(COUNT):
        text = json.dumps(
            changed(value, dice), ensure_ascii=False, separators=(",", ":"), sort_keys=True
        )
        try:
            READERS[name](text.encode("utf-8", "surrogatepass"))
        except Refused:
            refused += 1
    assert refused > COUNT // 2
