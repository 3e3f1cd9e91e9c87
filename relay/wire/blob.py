r"""A blob's frame: what anybody may know of an attachment without a key (PROTOCOL 9.5).

::

    blob = "poc24/1 blob\n" || commitment (32) || STREAM of the padded data, chunks of 64 KiB + 16
    id   = SHA-256 of the blob

The relay keeps blobs by id and checks their frame and their hash, never their content: what is
inside is sealed by relay.wire.attachment, which only a desk has. Only lengths that padding can give
are a blob's, so a length says no more than the size class (161 of them up to 1 MiB, PROTOCOL 9.2.6).
"""

from keys import suite
from keys.errors import Code, Refused
from relay.wire.envelope import PADDED_BYTES_MIN, padme
from relay.wire.receipt import ATTACHMENT_BYTES_MAX

MAGIC = b"poc24/1 blob\n"
COMMITMENT_BYTES = 32
FRAME_BYTES = len(MAGIC) + COMMITMENT_BYTES
"""Bytes before the stream."""
_SEALED_CHUNK_BYTES = suite.CHUNK_BYTES + suite.TAG_BYTES


def padded(size: int) -> int:
    """Return how many bytes are sealed for a file of *size* bytes: Padme's length, at least 16384."""
    return padme(size)


def sealed_size(size: int) -> int:
    """Return the length of the blob of a file of *size* bytes, from 0 to ATTACHMENT_BYTES_MAX."""
    inner = padded(size)
    chunks = -(-inner // suite.CHUNK_BYTES)
    return FRAME_BYTES + inner + chunks * suite.TAG_BYTES


BLOB_BYTES_MIN = sealed_size(0)
BLOB_BYTES_MAX = sealed_size(ATTACHMENT_BYTES_MAX)


def fits(length: int) -> bool:
    """Say whether some blob has this length: frame, whole chunks, and a padded size inside."""
    if not BLOB_BYTES_MIN <= length <= BLOB_BYTES_MAX:
        return False
    stream = length - FRAME_BYTES
    chunks = -(-stream // _SEALED_CHUNK_BYTES)
    inner = stream - chunks * suite.TAG_BYTES
    return inner >= PADDED_BYTES_MIN and sealed_size(inner) == length


def check_length(length: int) -> None:
    """Refuse a length that no blob has: E_TOO_LARGE above the largest, else E_ENCODING."""
    if length > BLOB_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"A blob has at most {BLOB_BYTES_MAX} bytes, this one {length}."
        )
    if not fits(length):
        raise Refused(
            Code.E_ENCODING,
            f"No blob has {length} bytes: an attachment is padded to the length of its size class.",
        )


def check_start(start: bytes) -> None:
    """Refuse a blob whose first bytes are not the magic: E_VERSION."""
    if start[: len(MAGIC)] != MAGIC:
        raise Refused(Code.E_VERSION, "This is no blob of version 1: it begins with other bytes.")
