"""Attachments sealed and opened as streams: whatever is changed, swapped or cut is refused with its own code
(PROTOCOL 9.5).
"""

import hashlib
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import builders_wire as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import suite
from keys.errors import Code, Refused
from relay.wire import attachment, blob
from relay.wire.attachment import Facts, Sealing
from relay.wire.receipt import ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX

CEK = b.seed("cek of attachments")
CHUNK = suite.CHUNK_BYTES
SEALED = CHUNK + suite.TAG_BYTES
HEAD = len(blob.MAGIC) + blob.COMMITMENT_BYTES


def _data(size: int) -> bytes:
    """Return bytes of which none is zero, so that padding can be told from content."""
    return bytes(at % 255 + 1 for at in range(251)) * (size // 251) + b"\x07" * (size % 251)


def _sealed(data: bytes, number: int = 0, cek: bytes = CEK) -> tuple[bytes, Facts]:
    sealing = Sealing(attachment.secret_of(cek, number), len(data), io.BytesIO(data).read)
    return b"".join(sealing), sealing.facts


def _opened(sealed: bytes, facts: Facts, number: int = 0, cek: bytes = CEK) -> bytes:
    read = io.BytesIO(sealed).read
    return b"".join(attachment.opened(attachment.secret_of(cek, number), facts, read))


def _code(sealed: bytes, facts: Facts, number: int = 0, cek: bytes = CEK) -> Code:
    with pytest.raises(Refused) as refused:
        _opened(sealed, facts, number, cek)
    return refused.value.code


DATA = _data(3 * CHUNK - 100)
BLOB, FACTS = _sealed(DATA)
CHUNKS = [BLOB[start : start + SEALED] for start in range(HEAD, len(BLOB), SEALED)]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _of(*chunks: bytes) -> bytes:
    return BLOB[:HEAD] + b"".join(chunks)


@pytest.mark.parametrize(
    "size", [0, 1, 16_383, 16_384, 16_385, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 1_000_003]
)
def test_there_and_back(size: int) -> None:
    """A file of any size comes back as it was, and its blob has the size of its class (9.5)."""
    data = _data(size)

    sealed, facts = _sealed(data)

    assert len(sealed) == blob.sealed_size(size) == facts.sealed_bytes
    assert facts == Facts(
        size, hashlib.sha256(data).hexdigest(), hashlib.sha256(sealed).hexdigest()
    )
    assert _opened(sealed, facts) == data


@given(size=st.integers(0, 2 * CHUNK + 9), most=st.integers(300, 70_000), number=st.integers(0, 15))
def test_pieces_of_any_length(size: int, most: int, number: int) -> None:
    """However few bytes a read gives, the blob and the file are the same: pipes and disks may give fewer."""
    data = _data(size)

    def slow(source: bytes) -> Callable[[int], bytes]:
        stream = io.BytesIO(source)
        return lambda wanted: stream.read(min(wanted, most))

    secret = attachment.secret_of(CEK, number)
    sealing = Sealing(secret, size, slow(data))
    sealed = b"".join(sealing)

    assert (sealed, sealing.facts) == _sealed(data, number)
    assert b"".join(attachment.opened(secret, sealing.facts, slow(sealed))) == data


def test_files_of_one_class_have_one_size_and_no_two_blobs_are_equal() -> None:
    """Size tells the class alone; the same file twice, or in another message, is another blob (9.5, C14)."""
    sizes = {len(_sealed(_data(size))[0]) for size in (1, 500, 16_384)}
    same = [_sealed(DATA, number, cek)[1].blob for number in (0, 1) for cek in (CEK, bytes(32))]

    assert len(sizes) == 1
    assert len(set(same)) == 4


TAMPERED = {
    "the magic": (_flipped(BLOB, 3), Code.E_VERSION),
    "another version's magic": (BLOB.replace(b"/1 ", b"/2 ", 1), Code.E_VERSION),
    "nothing": (b"", Code.E_VERSION),
    "the magic alone": (blob.MAGIC, Code.E_COMMIT),
    "the commitment": (_flipped(BLOB, len(blob.MAGIC)), Code.E_COMMIT),
    "the commitment's last bit": (_flipped(BLOB, HEAD - 1), Code.E_COMMIT),
    "no chunk": (BLOB[:HEAD], Code.E_ENCODING),
    "the first chunk": (_flipped(BLOB, HEAD), Code.E_DECRYPT),
    "a tag": (_flipped(BLOB, HEAD + SEALED - 1), Code.E_DECRYPT),
    "the middle chunk": (_flipped(BLOB, HEAD + SEALED + 9), Code.E_DECRYPT),
    "the last chunk": (_flipped(BLOB, len(BLOB) - 1), Code.E_DECRYPT),
    "two chunks in another order": (_of(CHUNKS[1], CHUNKS[0], CHUNKS[2]), Code.E_DECRYPT),
    "a chunk twice": (_of(CHUNKS[0], CHUNKS[0], CHUNKS[2]), Code.E_DECRYPT),
    "a chunk left out": (_of(CHUNKS[0], CHUNKS[2]), Code.E_ENCODING),
    "cut at a chunk": (_of(*CHUNKS[:2]), Code.E_ENCODING),
    "cut by a byte": (BLOB[:-1], Code.E_ENCODING),
    "a byte too many": (BLOB + b"\0", Code.E_ENCODING),
    "a chunk too many": (BLOB + CHUNKS[0], Code.E_ENCODING),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_blob(name: str) -> None:
    """Each part of a blob, changed, cut or moved, is refused with the code of its check (9.5, C15)."""
    sealed, code = TAMPERED[name]

    assert _code(sealed, FACTS) is code


def test_each_chunk_is_checked() -> None:
    """A changed bit anywhere in any chunk is found when that chunk is read (9.5, C15)."""
    for number in range(len(CHUNKS)):
        for inside in (0, SEALED // 2, len(CHUNKS[number]) - 1):
            assert _code(_flipped(BLOB, HEAD + number * SEALED + inside), FACTS) is Code.E_DECRYPT


def test_another_number_or_another_message() -> None:
    """A blob fits one number of one message: swapped or re-used it is refused before it is decrypted (9.5)."""
    assert _code(BLOB, FACTS, number=1) is Code.E_COMMIT
    assert _code(BLOB, FACTS, cek=b.seed("another message")) is Code.E_COMMIT


def test_two_attachments_swapped() -> None:
    """Blob 1 in the place of blob 0, as large as it and whole, is not taken for it (9.5)."""
    other, facts = _sealed(_data(len(DATA)), 1)

    assert _code(other, FACTS, number=0) is Code.E_COMMIT
    assert _code(BLOB, facts, number=1) is Code.E_COMMIT


def test_the_statement_names_another_size() -> None:
    """A size of another class is another length; one of the same class leaves padding or a hash that is wrong (9.5)."""
    short, bare = _sealed(_data(10))

    assert _code(BLOB, replace(FACTS, size=100)) is Code.E_ENCODING
    assert _code(short, replace(bare, size=3 * CHUNK)) is Code.E_ENCODING
    assert _code(short, replace(bare, size=9)) is Code.E_PADDING
    assert _code(short, replace(bare, size=11)) is Code.E_BINDING
    for size in (-1, ATTACHMENT_BYTES_MAX + 1):
        assert _code(short, replace(bare, size=size)) is Code.E_TOO_LARGE


def test_the_statement_names_another_hash_or_blob() -> None:
    """The officer's hash of the file and the blob's id are compared after the last chunk (9.5)."""
    assert _code(BLOB, replace(FACTS, sha256="0" * 64)) is Code.E_BINDING
    assert _code(BLOB, replace(FACTS, blob="0" * 64)) is Code.E_BINDING


def _hostile(plain: bytes, number: int = 0) -> bytes:
    """Seal any padded plaintext under the right secret, as a hostile sender would."""
    secret = attachment.secret_of(CEK, number)
    return blob.MAGIC + secret[32:] + suite.seal_content(secret[:32], plain)


@pytest.mark.parametrize("at", [10, 16_383])
def test_padding_that_is_not_zero(at: int) -> None:
    """A sender who hides bytes in the padding is refused, wherever they are (9.5)."""
    plain = _data(10) + bytes(16_384 - 10)
    hidden = plain[:at] + b"\1" + plain[at + 1 :]
    facts = replace(_sealed(_data(10))[1], blob=hashlib.sha256(_hostile(hidden)).hexdigest())

    assert _code(_hostile(hidden), facts) is Code.E_PADDING
    assert _opened(_hostile(plain), _sealed(_data(10))[1]) == _data(10)


def test_padding_in_a_chunk_of_its_own() -> None:
    """Padding that fills a whole chunk is looked at too (9.5)."""
    size = 64 * CHUNK + 1  # the next length of Padme is 66 chunks: the last one is padding alone
    plain = _data(size).ljust(66 * CHUNK, b"\0")
    assert blob.padded(size) == len(plain)
    facts = Facts(size, hashlib.sha256(_data(size)).hexdigest(), "")

    assert _code(_hostile(plain[:-1] + b"\1"), facts) is Code.E_PADDING


def test_cut_and_the_officer_signed_the_cut_size() -> None:
    """A sender who cuts a stream and signs the shorter length is refused by the last chunk's mark (9.5)."""
    plain = bytes(3 * CHUNK)
    secret = attachment.secret_of(CEK, 0)
    cut = _hostile(plain)[: HEAD + 2 * SEALED]
    facts = Facts(2 * CHUNK, hashlib.sha256(plain[: 2 * CHUNK]).hexdigest(), "")

    assert blob.sealed_size(2 * CHUNK) == len(cut)
    assert _code(cut, facts) is Code.E_DECRYPT
    assert len(secret) == 64


def test_a_byte_of_a_chunk_that_opens_is_not_enough() -> None:
    """What came before the fault was yielded, and the error tells that it does not count (9.5)."""
    out: list[bytes] = []
    stream = attachment.opened(
        attachment.secret_of(CEK, 0), FACTS, io.BytesIO(_flipped(BLOB, len(BLOB) - 1)).read
    )

    with pytest.raises(Refused) as refused:
        out.extend(stream)

    assert refused.value.code is Code.E_DECRYPT
    assert b"".join(out) == DATA[: 2 * CHUNK]


def test_a_file_that_changes_while_it_is_read() -> None:
    """A file that shrank or grew since its size was taken is refused, and named (9.5)."""
    secret = attachment.secret_of(CEK, 0)
    for announced in (len(DATA) + 1, len(DATA) - 1, CHUNK - 1, 0, 10 * CHUNK):
        with pytest.raises(Refused, match="while it was read") as refused:
            b"".join(Sealing(secret, announced, io.BytesIO(DATA).read))
        assert refused.value.code is Code.E_ENCODING


def test_limits() -> None:
    """Sizes, numbers and keys beyond what a message may have are refused before anything is read (15.1)."""
    secret = attachment.secret_of(CEK, ATTACHMENTS_MAX - 1)
    for number in (-1, ATTACHMENTS_MAX):
        with pytest.raises(Refused) as refused:
            attachment.secret_of(CEK, number)
        assert refused.value.code is Code.E_TOO_LARGE
    with pytest.raises(Refused) as refused:
        attachment.secret_of(CEK[:-1], 0)
    assert refused.value.code is Code.E_KEY
    with pytest.raises(Refused) as refused:
        Sealing(secret, ATTACHMENT_BYTES_MAX + 1, io.BytesIO().read)
    assert refused.value.code is Code.E_TOO_LARGE
    with pytest.raises(Refused) as refused:
        Sealing(secret[:-1], 1, io.BytesIO().read)
    assert refused.value.code is Code.E_KEY


def test_memory_does_not_grow_with_the_file() -> None:
    """Sealing and opening 24 MiB holds no more than a few chunks at once."""
    size, secret = 24 * 1024 * 1024, attachment.secret_of(CEK, 0)

    class Zeros:
        left = size

        def read(self, wanted: int) -> bytes:
            given = min(wanted, self.left)
            self.left -= given
            return bytes(given)

    class Blob:
        """Reads from a sealing as from a file."""

        def __init__(self) -> None:
            self.sealing = Sealing(secret, size, Zeros().read)
            self.pieces = iter(self.sealing)
            self.rest = b""

        def read(self, wanted: int) -> bytes:
            if not self.rest:
                self.rest = next(self.pieces, b"")
            given, self.rest = self.rest[:wanted], self.rest[wanted:]
            return given

    first = Blob()
    while first.read(1 << 20):
        pass
    tracemalloc.start()
    second = Blob()
    length = sum(len(one) for one in attachment.opened(secret, first.sealing.facts, second.read))
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert length == size
    assert peak < 2 * 1024 * 1024
