"""The evidence log's tree against RFC 6962 (PROTOCOL 13.1)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import Failed
from relay.core import tlog

# The leaves and roots that every implementation of certificate transparency is tested with.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = 301


def naive(entries: list[bytes]) -> bytes:
    """Return the tree's root exactly as RFC 6962, 2.1 defines it: by recursion over all entries."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + naive(entries[:split]) + naive(entries[split:])).digest()


def entries(count: int) -> list[bytes]:
    """Return *count* different entries of 32 bytes."""
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_known_roots(size: int) -> None:
    """The roots of RFC 6962's known trees come out, whether appended at once or one by one."""
    at_once = tlog.append(tlog.EMPTY, LEAVES[:size])
    one_by_one = tlog.EMPTY
    for leaf in LEAVES[:size]:
        one_by_one = tlog.append(one_by_one, [leaf])
    assert tlog.root(at_once).hex() == ROOTS[size]
    assert one_by_one == at_once


def test_every_size_to_300_is_the_naive_tree() -> None:
    """At every size from 0 to 300 the frontier's root is the one of the recursive definition."""
    logged = entries(SIZES)
    frontier = tlog.EMPTY
    for size in range(SIZES):
        assert frontier.size == size
        assert len(frontier.peaks) == size.bit_count()
        assert tlog.root(frontier) == naive(logged[:size])
        frontier = tlog.append(frontier, [logged[size]])


def test_peaks_are_the_complete_subtrees() -> None:
    """Each peak is the root of its own complete subtree, largest first."""
    logged = entries(SIZES)
    for size in range(SIZES):
        frontier = tlog.append(tlog.EMPTY, logged[:size])
        start = 0
        for peak in frontier.peaks:
            width = 1 << (size - start).bit_length() - 1
            assert peak == naive(logged[start : start + width])
            start += width
        assert start == size


@given(cuts=st.lists(st.integers(0, 40), max_size=12))
def test_batches_make_no_difference(cuts: list[int]) -> None:
    """However the entries are cut into batches, the frontier is the same."""
    logged = entries(sum(cuts))
    frontier, start = tlog.EMPTY, 0
    for cut in cuts:
        frontier = tlog.append(frontier, logged[start : start + cut])
        start += cut
    assert frontier == tlog.append(tlog.EMPTY, logged)


def test_append_leaves_the_old_frontier_alone() -> None:
    """A frontier is a value: appending makes a new one, so a batch that fails changes nothing."""
    before = tlog.append(tlog.EMPTY, entries(7))
    kept = tlog.encode(before)
    tlog.append(before, entries(9))
    assert tlog.encode(before) == kept


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 255, 256, 300])
def test_encoding_round_trip(size: int) -> None:
    """What the store keeps reads back as the same frontier."""
    frontier = tlog.append(tlog.EMPTY, entries(size))
    assert tlog.decode(tlog.encode(frontier)) == frontier


@pytest.mark.parametrize("size", [0, 1, 3, 8])
def test_a_cut_or_longer_frontier_fails(size: int) -> None:
    """A frontier whose length does not fit its size is damage, not data."""
    data = tlog.encode(tlog.append(tlog.EMPTY, entries(size)))
    for damaged in (data[:-1], data + b"\x00", data + bytes(32), b""):
        with pytest.raises(Failed, match="frontier"):
            tlog.decode(damaged)


def test_leaf_and_node_do_not_mix() -> None:
    """An entry that looks like an inner node has another hash than the node (RFC 6962, 2.1)."""
    left, right = entries(2)
    assert tlog.leaf_hash(left + right) != tlog.node_hash(left, right)
