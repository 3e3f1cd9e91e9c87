"""Errors at the doors (PROTOCOL 16)."""

import re
from pathlib import Path

import builders_wire as b
import pytest

from keys.errors import Code, Failed, Poc24Error, Refused
from relay import errors

PROTOCOL = Path(__file__).resolve().parents[2] / "relay" / "wire" / "PROTOCOL.md"


def _table() -> dict[str, int]:
    """Return code -> HTTP status, as the text's table in section 16 says."""
    found: dict[str, int] = {}
    for line in PROTOCOL.read_text("utf-8").splitlines():
        row = re.match(r"\| (E_[A-Z_, ]+) \| ([0-9, ]+) \|", line)
        if row:
            codes, statuses = row[1].split(", "), [int(one) for one in row[2].split(", ")]
            found |= dict(zip(codes, statuses * (len(codes) // len(statuses)), strict=True))
    return found


def test_every_code_has_a_status_and_an_exit_code() -> None:
    """Nothing that can be refused is without an answer (16.1, 16.2)."""
    assert set(errors.HTTP_STATUS) == set(errors.EXIT_CODE) == set(Code)
    assert set(errors.EXIT_CODE.values()) <= {1, 65, 69, 75, 76, 77, 78}


def test_the_statuses_are_those_of_the_text() -> None:
    """The table of section 16 and the code say the same."""
    assert _table() == {code.value: status for code, status in errors.HTTP_STATUS.items()}


def test_a_wrong_passphrase_a_bad_proof_and_a_busy_relay_end_differently() -> None:
    """Scripts can tell what to do from the exit code alone (16.2)."""
    ends = {
        Code.E_KEYRING: 77,
        Code.E_SIGNATURE: 76,
        Code.E_BUSY: 75,
        Code.E_ENCODING: 65,
        Code.E_CLOCK: 78,
        Code.E_WRONG_DESK: 1,
    }
    for code, end in ends.items():
        assert errors.exit_code(Refused(code, "No.")) == end
        assert errors.http_status(Refused(code, "No.")) == errors.HTTP_STATUS[code]
    assert errors.exit_code(Failed("The port is taken.", exit_code=69)) == 69
    assert errors.exit_code(Poc24Error("?")) == 70


@pytest.mark.parametrize("code", list(Code))
def test_an_error_travels(code: Code) -> None:
    """Code, sentence with hint, retry and the relay's time come back (16.1)."""
    sent = Refused(code, "It is so.", hint="Do this.")
    got, at = errors.read(errors.to_json(sent, b.NOW))
    assert (got.code, got.text, got.retry, at) == (code, "It is so. Do this.", sent.retry, b.NOW)
    assert errors.from_json(errors.to_json(sent, b.NOW)).code is code


def test_an_error_is_bounded_whatever_its_text() -> None:
    """The longest text in the longest spelling fits, and is read back (15.1)."""
    for text in ("\x00" * 5000, "\U0001f600" * 5000, "\ud800" * 10, '"' * 5000):
        wire = errors.to_json(Refused(Code.E_DIRECTORY_STALE, text), 2**53 - 1)
        assert len(wire) <= errors.ERROR_BYTES_MAX
        assert errors.from_json(wire).code is Code.E_DIRECTORY_STALE


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"at": 1, "code": "E_NEW", "retry": False, "text": ""}, Code.E_ENCODING),
        ({"at": 1, "code": 7, "retry": False, "text": ""}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": False, "text": ""}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": 1, "text": ""}, Code.E_ENCODING),
        ({"at": -1, "code": "E_BUSY", "retry": True, "text": ""}, Code.E_ENCODING),
        ({"at": True, "code": "E_BUSY", "retry": True, "text": ""}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": True, "text": []}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": True}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": True, "text": "", "x": 1}, Code.E_ENCODING),
        ({"at": 1, "code": "E_BUSY", "retry": True, "text": "x" * 641}, Code.E_TOO_LARGE),
        ({"at": 1, "code": "E_BUSY", "retry": True, "text": "x" * 4096}, Code.E_TOO_LARGE),
    ],
)
def test_a_strange_error_is_refused(value: dict[str, object], code: Code) -> None:
    """An error is read as strictly as anything else (16.1, 16.3)."""
    with pytest.raises(Refused) as refused:
        errors.from_json(b.dumps(value))
    assert refused.value.code is code
