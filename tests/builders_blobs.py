"""Blobs for tests of the relay's side: right in length, magic and name; nobody can open them."""

import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from builders_relay import Running

from relay.wire import blob


@dataclass(frozen=True)
class Sealed:
    """A blob's bytes and its id."""

    data: bytes
    id: str

    def __len__(self) -> int:
        return len(self.data)


def blob_of(name: str, size: int = 0) -> Sealed:
    """Return the blob of a file of *size* bytes; another *name*, other bytes."""
    length = blob.sealed_size(size) - len(blob.MAGIC)
    data = blob.MAGIC + random.Random(name).randbytes(length)
    return Sealed(data, hashlib.sha256(data).hexdigest())


async def put(
    relay: Running, token: Mapping[str, str], made: Sealed, data: bytes | None = None
) -> tuple[int, bytes, Mapping[str, str]]:
    """Put a whole blob."""
    body = made.data if data is None else data
    return await relay.call("PUT", f"/v1/blobs/{made.id}", body, headers=dict(token))


async def put_piece(
    relay: Running, token: Mapping[str, str], made: Sealed, first: int, last: int
) -> tuple[int, bytes, Mapping[str, str]]:
    """Put the bytes from *first* to before *last*."""
    said = {**token, "Content-Range": f"bytes {first}-{last - 1}/{len(made)}"}
    return await relay.call("PUT", f"/v1/blobs/{made.id}", made.data[first:last], headers=said)


async def head(
    relay: Running, token: Mapping[str, str], made: Sealed
) -> tuple[int, Mapping[str, str]]:
    """Ask how much of a blob is there."""
    status, body, headers = await relay.call("HEAD", f"/v1/blobs/{made.id}", headers=dict(token))
    assert body == b""
    return status, headers


async def get(
    relay: Running, token: Mapping[str, str], made: Sealed, **headers: str
) -> tuple[int, bytes, Mapping[str, str]]:
    """Read a blob; names of *headers* are written with `_`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await relay.call("GET", f"/v1/blobs/{made.id}", headers={**token, **named})


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield *data* in pieces."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def offset(headers: Mapping[str, Any]) -> int:
    """Return where an upload goes on."""
    return int(headers["Upload-Offset"])
