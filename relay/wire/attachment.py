r"""DESK ONLY: an attachment, sealed and opened as a stream, in constant memory (PROTOCOL 9.5).

::

    key || commitment = HKDF-SHA256(CEK, no salt, "poc24/1 attachment\n" || u32(number), 64 bytes)
    blob              = "poc24/1 blob\n" || commitment || STREAM(key, data || zeros, to Padme's length)
    blob id           = SHA-256 of the blob

The relay keeps blobs and never imports this module. Nothing here opens a file: whoever calls gives
something to read from, and takes chunks of 64 KiB. What :func:`opened` yields counts only once it
has come to its end without an error.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from keys import suite
from keys.errors import Code, Refused
from relay.wire import blob
from relay.wire.receipt import ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX

LABEL = b"poc24/1 attachment\n"
SECRET_BYTES = 64

Read = Callable[[int], bytes]
"""Like a file's ``read``: up to so many bytes, b"" at the end."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the statement of origin says of an attachment's bytes."""

    size: int
    """Of the file, in bytes; the blob is longer, and its size says only the class of this one."""
    sha256: str
    """Of the file, 64 hex digits."""
    blob: str
    """The blob's id, 64 hex digits."""

    @classmethod
    def of(cls, named: Mapping[str, Any]) -> "Facts":
        """Return the facts of one entry of a statement's ``attachments``."""
        return cls(named["size"], named["sha256"], named["blob"])

    @property
    def sealed_bytes(self) -> int:
        """Size of the blob."""
        return blob.sealed_size(self.size)


def secret_of(cek: bytes, number: int) -> bytes:
    """Return key and commitment (64 bytes) of attachment *number*, from 0, under a content key.

    Raises E_KEY or E_TOO_LARGE for a content key or a number that no message has.
    """
    if len(cek) != suite.CEK_BYTES:
        raise Refused(Code.E_KEY, f"A content key has {suite.CEK_BYTES} bytes.")
    if not 0 <= number < ATTACHMENTS_MAX:
        raise Refused(Code.E_TOO_LARGE, f"A message has at most {ATTACHMENTS_MAX} attachments.")
    info = LABEL + number.to_bytes(4, "big")
    return suite.hkdf(cek, salt=b"", info=info, length=SECRET_BYTES)


class Sealing:
    """The blob of one file, as an iterator over its pieces; :attr:`facts` stand when it has ended."""

    def __init__(self, secret: bytes, size: int, read: Read) -> None:
        """Seal *size* bytes from *read* under *secret* (see :func:`secret_of`); E_TOO_LARGE."""
        _limit(size)
        self._key, self._commitment = _halves(secret)
        self._size = size
        self._read = read
        self._plain = hashlib.sha256()
        self._sealed = hashlib.sha256()
        self._done = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blob's pieces; E_ENCODING if there are fewer or more bytes than were announced."""
        for piece in self._pieces():
            self._sealed.update(piece)
            yield piece
        self._done = True

    def _pieces(self) -> Iterator[bytes]:
        yield blob.MAGIC
        yield self._commitment
        yield from suite.stream_seal(self._key, self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        left, padded = self._size, blob.padded(self._size)
        for start in range(0, padded, suite.CHUNK_BYTES):
            wanted = min(left, suite.CHUNK_BYTES)
            data = _exactly(self._read, wanted)
            if len(data) < wanted:
                _changed()
            left -= wanted
            self._plain.update(data)
            yield data.ljust(min(suite.CHUNK_BYTES, padded - start), b"\0")
        if self._read(1):  # asked before the last chunk leaves: stream_seal keeps one back
            _changed()

    @property
    def facts(self) -> Facts:
        """What the statement names; only after the last piece."""
        assert self._done, "Facts stand when every piece was taken."
        return Facts(self._size, self._plain.hexdigest(), self._sealed.hexdigest())


def opened(secret: bytes, facts: Facts, read: Read) -> Iterator[bytes]:
    """Yield the file's bytes from a blob; they count only when this ends without an error.

    In this order: E_TOO_LARGE (no file is that large); E_VERSION (the magic); E_COMMIT (another
    key, number or message); for each chunk E_DECRYPT (changed, cut, in another order) and E_PADDING;
    E_ENCODING where the blob is shorter or longer than *facts* say; last E_BINDING, where the
    hash of the file or the blob's id is another.
    """
    _limit(facts.size)
    key, commitment = _halves(secret)
    plain, sealed = hashlib.sha256(), hashlib.sha256()
    magic = _exactly(read, len(blob.MAGIC))
    blob.check_start(magic)
    named = _exactly(read, blob.COMMITMENT_BYTES)
    if not suite.equal(named, commitment):
        raise Refused(
            Code.E_COMMIT,
            "This is not the attachment that belongs here: it was sealed under another number or "
            "for another message.",
        )
    sealed.update(magic + named)
    left = facts.size
    for chunk in suite.stream_open(
        key, _sealed_chunks(read, blob.padded(facts.size), sealed.update)
    ):
        data = chunk[:left]
        if chunk.count(0, len(data)) != len(chunk) - len(data):
            raise Refused(Code.E_PADDING, "The padding of the attachment is not all zero.")
        left -= len(data)
        plain.update(data)
        yield data
    if plain.hexdigest() != facts.sha256:
        raise Refused(Code.E_BINDING, "The officer signed another file than this one.")
    if sealed.hexdigest() != facts.blob:
        raise Refused(Code.E_BINDING, "The officer signed another blob than this one.")


def _sealed_chunks(read: Read, padded: int, take: Callable[[bytes], None]) -> Iterator[bytes]:
    """Yield the sealed chunks of *padded* bytes, no byte fewer and none more; E_ENCODING."""
    for start in range(0, padded, suite.CHUNK_BYTES):
        size = min(suite.CHUNK_BYTES, padded - start) + suite.TAG_BYTES
        chunk = _exactly(read, size)
        if len(chunk) < size:
            raise Refused(Code.E_ENCODING, "The blob ends too early: it was cut.")
        take(chunk)
        yield chunk
    if read(1):
        raise Refused(Code.E_ENCODING, "The blob goes on behind its end.")


def _exactly(read: Read, size: int) -> bytes:
    """Return *size* bytes, fewer only at the end: one read may give less than was asked for."""
    data = read(size) if size else b""
    while data and len(data) < size:
        more = read(size - len(data))
        if not more:
            break
        data += more
    return data


def _halves(secret: bytes) -> tuple[bytes, bytes]:
    if len(secret) != SECRET_BYTES:
        raise Refused(Code.E_KEY, f"An attachment's secret has {SECRET_BYTES} bytes.")
    return secret[:32], secret[32:]


def _limit(size: int) -> None:
    if not 0 <= size <= ATTACHMENT_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE,
            f"An attachment has {size} bytes; the limit is {ATTACHMENT_BYTES_MAX}.",
        )


def _changed() -> NoReturn:
    raise Refused(
        Code.E_ENCODING,
        "The file grew or shrank while it was read.",
        hint="Wait until nobody writes to it, or attach a copy.",
    )
