"""The evidence log's tree: RFC 6962 with SHA-256, kept as a frontier so that appending never reads
the past (PROTOCOL 13.1).

A frontier holds the roots of the complete subtrees into which the first *size* entries fall,
largest first: one for each binary digit 1 of the size (the "compact range" of the entries from 0).
It is all that an append or a root needs::

    size 7 = 4 + 2 + 1        peaks = (root of 0..3, root of 4..5, leaf hash of 6)
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from keys.errors import Failed

ENTRY_BYTES = 32
"""What is logged: a statement's id or a metadata file's SHA-256 (PROTOCOL 13.1). The tree itself
takes any bytes.
"""

HASH_BYTES = 32
_SIZE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Frontier:
    """The log up to now: how many entries, and the roots of its complete subtrees."""

    size: int
    peaks: tuple[bytes, ...]


EMPTY = Frontier(0, ())


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry: SHA-256(0x00 || entry) (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(frontier: Frontier, entries: Iterable[bytes]) -> Frontier:
    """Return the frontier after *entries*; about two hashes an entry, whatever the size."""
    size, peaks = frontier.size, list(frontier.peaks)
    for entry in entries:
        node = leaf_hash(entry)
        # As adding 1 carries over the trailing ones of the size, the leaf swallows the subtrees of
        # its own height.
        carry = size
        while carry & 1:
            node = node_hash(peaks.pop(), node)
            carry >>= 1
        peaks.append(node)
        size += 1
    return Frontier(size, tuple(peaks))


def root(frontier: Frontier) -> bytes:
    """Return the Merkle tree hash of all entries; SHA-256 of nothing for the empty log (RFC 6962,
    2.1).
    """
    if not frontier.peaks:
        return hashlib.sha256(b"").digest()
    node = frontier.peaks[-1]
    for left in reversed(frontier.peaks[:-1]):
        node = node_hash(left, node)
    return node


def encode(frontier: Frontier) -> bytes:
    """Return size (8 bytes, big endian) and peaks, as the store keeps them."""
    return frontier.size.to_bytes(_SIZE_BYTES, "big") + b"".join(frontier.peaks)


def decode(data: bytes) -> Frontier:
    """Read what :func:`encode` wrote; Failed if it is not a frontier, because only our own store
    writes one.
    """
    size = int.from_bytes(data[:_SIZE_BYTES], "big")
    if len(data) != _SIZE_BYTES + HASH_BYTES * size.bit_count():
        raise Failed(
            "The evidence log's kept frontier does not have the length that its size asks for.",
            hint="The store is damaged: restore its latest backup (relay/store/README.md).",
        )
    peaks = tuple(data[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, len(data), HASH_BYTES))
    return Frontier(size, peaks)
