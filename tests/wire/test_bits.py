"""Every bit counts: any single bit flipped in an envelope, a submission or a statement is refused
(C15).

In the stream every bit is as good as any other, so a normal run takes every 41st of them; with
POC24_LONG all.
"""

import os
from collections.abc import Iterator
from itertools import pairwise

import builders_wire as b
import pytest

from keys.errors import Code, Refused
from relay.wire import content, envelope, receipt

ALL = os.environ.get("POC24_LONG") == "1"
STEP_STREAM = 1 if ALL else 41
STEP_WRAPPED = 1 if ALL else 5

LETTER = b.letter(names=("au-01", "au-02"))
HEAD = len(LETTER.header.encode())
STANZAS = 17 + 4 + HEAD + 2
SECOND = STANZAS + envelope.STANZA_BYTES
COMMITMENT = SECOND + envelope.STANZA_BYTES
STREAM = COMMITMENT + 32
SEEDS = b.seeds_of("au-01")
DIRECTORY = b.three_desks()

REGIONS: dict[str, tuple[int, int, int, set[Code]]] = {
    "magic": (0, 17, 1, {Code.E_VERSION}),
    "length of the header": (
        17,
        21,
        1,
        {Code.E_TOO_LARGE, Code.E_ENCODING, Code.E_RECIPIENTS, Code.E_VERSION},
    ),
    "header": (
        21,
        21 + HEAD,
        1,
        {Code.E_ENCODING, Code.E_VERSION, Code.E_EXPIRED, Code.E_WRONG_DESK, Code.E_DECRYPT},
    ),
    "number of stanzas": (
        STANZAS - 2,
        STANZAS,
        1,
        {Code.E_RECIPIENTS, Code.E_ENCODING, Code.E_COMMIT},
    ),
    "hint": (STANZAS, STANZAS + 8, 1, {Code.E_NOT_FOR_ME}),
    "wrapped key": (STANZAS + 8, SECOND, STEP_WRAPPED, {Code.E_DECRYPT}),
    "another's stanza": (SECOND, COMMITMENT, STEP_WRAPPED, {Code.E_COMMIT}),
    "commitment": (COMMITMENT, STREAM, 1, {Code.E_COMMIT}),
}
QUARTERS = [STREAM + (len(LETTER.envelope) - STREAM) * part // 4 for part in range(5)]
for _part, (_start, _end) in enumerate(pairwise(QUARTERS), 1):
    REGIONS[f"content {_part}"] = (_start, _end, STEP_STREAM, {Code.E_DECRYPT})


def _flips(data: bytes, start: int, end: int, step: int) -> Iterator[tuple[int, bytes]]:
    changed = bytearray(data)
    for bit in range(start * 8, end * 8, step):
        changed[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(changed)
        changed[bit // 8] ^= 1 << bit % 8


def _open(sealed: bytes, submission: bytes) -> None:
    content.open_message(
        sealed,
        submission,
        desk="AU",
        service=b.SERVICE,
        seeds=SEEDS,
        directory=DIRECTORY,
        now=b.NOW + 5,
    )


def test_the_regions_cover_the_envelope_and_the_letter_opens() -> None:
    """What follows flips every part, and only the flip is wrong."""
    edges = [(start, end) for start, end, _step, _codes in REGIONS.values()]
    assert edges[0][0] == 0
    assert [end for _start, end in edges[:-1]] == [start for start, _end in edges[1:]]
    assert edges[-1][1] == len(LETTER.envelope)
    _open(LETTER.envelope, LETTER.submission)


@pytest.mark.parametrize("region", REGIONS)
def test_a_bit_of_an_envelope(region: str) -> None:
    """Wherever it falls, a flipped bit is refused with the code of its region (9.4)."""
    start, end, step, codes = REGIONS[region]
    for bit, flipped in _flips(LETTER.envelope, start, end, step):
        with pytest.raises(Refused) as refused:
            _open(flipped, LETTER.submission)
        assert refused.value.code in codes, bit


@pytest.mark.parametrize("region", ["commitment", "content 1", "content 4", "wrapped key"])
def test_a_bit_that_was_submitted_anew(region: str) -> None:
    """A sender's hostile device submits the changed bytes honestly: the envelope itself refuses
    (9.4).
    """
    start, end, _step, codes = REGIONS[region]
    for bit, flipped in _flips(LETTER.envelope, start, end, max(97, (end - start) // 40)):
        with pytest.raises(Refused) as refused:
            _open(flipped, b.hand_in(flipped, LETTER.header))
        assert refused.value.code in codes, bit


def test_a_bit_of_a_submission_at_the_desk() -> None:
    """Every bit of the submission is refused by whoever opens: E_SUBMISSION, or E_SIGNER for
    another keyid (9.4.12).
    """
    for bit, flipped in _flips(LETTER.submission, 0, len(LETTER.submission), 1 if ALL else 7):
        with pytest.raises(Refused) as refused:
            _open(LETTER.envelope, flipped)
        assert refused.value.code in {Code.E_SUBMISSION, Code.E_SIGNER}, bit


@pytest.mark.parametrize("kind", ["submission", "statement", "acknowledged", "accepted", "pickup"])
def test_a_bit_of_a_statement(kind: str) -> None:
    """Every bit of a statement is refused: form, type, key or signature (6.2.4)."""
    wire, public = b.receipt_of(kind).wire, b.signer_of(kind).public
    seen: set[Code] = set()
    for _bit, flipped in _flips(wire, 0, len(wire), 1):
        with pytest.raises(Refused) as refused:
            receipt.read(flipped, {kind}, public)
        seen.add(refused.value.code)
    assert seen == {
        Code.E_ENCODING,
        Code.E_TYPE,
        Code.E_VERSION,
        Code.E_SIGNER,
        Code.E_SIGNATURE,
    }
