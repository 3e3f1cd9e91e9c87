"""A blob's frame and its lengths (PROTOCOL 9.5, 15)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import Code, Refused
from relay.wire import blob
from relay.wire.receipt import ATTACHMENT_BYTES_MAX

SIZES = st.one_of(
    st.integers(0, ATTACHMENT_BYTES_MAX),
    st.integers(0, 28).map(lambda bits: min(1 << bits, ATTACHMENT_BYTES_MAX)),
    st.integers(0, 4096).map(lambda chunks: min(chunks * 65536, ATTACHMENT_BYTES_MAX)),
)


@given(SIZES)
def test_every_file_has_a_blob_whose_length_fits(size: int) -> None:
    """What sealing gives is a length that the relay takes, never shorter than the file (9.5)."""
    length = blob.sealed_size(size)
    blob.check_length(length)
    assert blob.fits(length)
    assert blob.padded(size) >= max(size, 16384)
    assert length - blob.FRAME_BYTES > blob.padded(size)


@given(st.integers(1 << 20, ATTACHMENT_BYTES_MAX), st.integers(-16384, 16384).filter(bool))
def test_lengths_beside_it_do_not_fit(size: int, off: int) -> None:
    """Above 1 MiB size classes lie at least 32 KiB apart, and no length between two is taken (9.5)."""
    assert not blob.fits(blob.sealed_size(size) + off)


def test_all_lengths_of_small_blobs() -> None:
    """Up to 1 MiB exactly 161 lengths fit, one for each size class (C16), found by trying every one."""
    largest = blob.sealed_size(1 << 20)
    found = [length for length in range(largest + 1) if blob.fits(length)]
    assert found == sorted({blob.sealed_size(size) for size in range(16384, (1 << 20) + 1, 512)})
    assert len(found) == 161
    assert found[0] == blob.BLOB_BYTES_MIN == 13 + 32 + 16384 + 16


def test_the_largest_blob() -> None:
    """256 MiB fit; one size class more does not, and is called too large (15)."""
    assert blob.BLOB_BYTES_MAX == 45 + (256 << 20) + 4096 * 16
    assert blob.fits(blob.BLOB_BYTES_MAX)
    codes = {}
    for length in (blob.BLOB_BYTES_MAX + 1, 1 << 62, blob.BLOB_BYTES_MAX - 1, 0, -1, 45, 16384):
        with pytest.raises(Refused) as refused:
            blob.check_length(length)
        codes[length] = refused.value.code
    assert codes.pop(blob.BLOB_BYTES_MAX + 1) is codes.pop(1 << 62) is Code.E_TOO_LARGE
    assert set(codes.values()) == {Code.E_ENCODING}


@pytest.mark.parametrize("start", [b"", b"poc24/1 blob", b"poc24/2 blob\n", b"\0" * 64])
def test_other_beginnings(start: bytes) -> None:
    """Whatever does not begin with the magic is not of this version (9.5)."""
    with pytest.raises(Refused) as refused:
        blob.check_start(start)
    assert refused.value.code is Code.E_VERSION
    blob.check_start(blob.MAGIC + start)
