"""Strict JSON: one value has one encoding, and one byte string one reading (PROTOCOL 6.1, C17)."""

import time
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from keys import statement
from keys.errors import Code, Refused

ACCEPTED = [
    b"{}",
    b'{"a":0}',
    b'{"a":-9007199254740991,"b":9007199254740991}',
    b'{"a":"","b":[],"c":{},"d":true,"e":false}',
    '{"a":"số 24/7 \U0001f4de"}'.encode(),
    b'{"a":"\\u0000\\n\\"\\\\"}',
    b'{"a1_b":[1,[2,[3,[4,[5,[6,[7]]]]]]]}',
    b'{"' + b"k" * 32 + b'":1}',
]

REFUSED = {
    "empty": b"",
    "list": b"[]",
    "text": b'"a"',
    "null inside": b'{"a":null}',
    "fraction": b'{"a":1.0}',
    "exponent": b'{"a":1e2}',
    "minus zero": b'{"a":-0}',
    "leading zero": b'{"a":01}',
    "NaN": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "2^53": b'{"a":9007199254740992}',
    "-2^53": b'{"a":-9007199254740992}',
    "huge": b'{"a":' + b"9" * 5000 + b"}",
    "space": b'{"a": 1}',
    "newline": b'{"a":1}\n',
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "keys out of order": b'{"b":1,"a":1}',
    "key twice": b'{"a":1,"a":1}',
    "key twice inside": b'{"x":{"a":1,"a":1}}',
    "capital key": b'{"A":1}',
    "empty key": b'{"":1}',
    "key of 33": b'{"' + b"k" * 33 + b'":1}',
    "key with dash": b'{"a-b":1}',
    "key with newline": b'{"a\\n":1}',
    "needless escape": b'{"a":"\\u0041"}',
    "escaped slash": b'{"a":"\\/"}',
    "capital hex escape": b'{"a":"\\u001F"}',
    "raw control": b'{"a":"\x01"}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "escaped astral": b'{"a":"\\ud83d\\ude00"}',
    "not UTF-8": b'{"a":"\xff"}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "comment": b'{"a":1}//',
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "depth 9": b'{"a":[[[[[[[[]]]]]]]]}',
    "depth 5000": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "depth 5000 open": b"{" + b"[" * 100_000,
    "two values": b"{}{}",
}


@pytest.mark.parametrize("data", ACCEPTED)
def test_the_one_encoding_is_read(data: bytes) -> None:
    """What is accepted encodes to the same bytes, which are also RFC 8785's."""
    value = statement.decode(data)
    assert statement.encode(value) == data
    assert rfc8785.dumps(value) == data


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_any_other_byte_is_refused(data: bytes) -> None:
    """Every other spelling, and every value outside the subset, is E_ENCODING and nothing else."""
    with pytest.raises(Refused) as refused:
        statement.decode(data)
    assert refused.value.code is Code.E_ENCODING


@pytest.mark.parametrize(
    "value",
    [
        {"a": None},
        {"a": 1.5},
        {"a": 2**53},
        {"A": 1},
        {1: 1},
        {"a": b"x"},
        {"a": "\ud800"},
        {"a": {1}},
        {"a": [[[[[[[[]]]]]]]]},
    ],
)
def test_what_has_no_encoding_is_not_written(value: dict[Any, Any]) -> None:
    """The encoder refuses what the decoder would refuse."""
    with pytest.raises(Refused) as refused:
        statement.encode(value)
    assert refused.value.code is Code.E_ENCODING


KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
LEAVES = (
    st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def depth(value: object) -> int:
    """Return how deep a value is nested."""
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_it_agrees_with_rfc_8785(value: dict[str, Any]) -> None:
    """jcs_agreement: on the subset, the encoding is the canonical one of RFC 8785, and comes back equal."""
    if depth(value) > statement.JSON_DEPTH_MAX:
        with pytest.raises(Refused):
            statement.encode(value)
        return
    data = statement.encode(value)
    assert data == rfc8785.dumps(value)
    assert statement.decode(data) == value


@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_the_parser_raises_nothing_but_its_own_error(data: bytes) -> None:
    """C22: any bytes are read as their one meaning, or refused."""
    for read in (statement.decode, statement.peek):
        try:
            read(data)
        except Refused:
            continue
        assert read is statement.decode
        assert statement.encode(statement.decode(data)) == data


@given(st.binary(max_size=64))
def test_base64_has_one_spelling(data: bytes) -> None:
    """b64u comes back, and any other spelling of the same bytes is refused."""
    text = statement.b64u(data)
    assert statement.unb64u(text) == data
    for other in (
        text + "=",
        text + "\n",
        " " + text,
        text.replace("-", "+").replace("_", "/") + "A=",
    ):
        with pytest.raises(Refused):
            statement.unb64u(other)


def test_base64_has_no_spare_bits() -> None:
    """The last letter's unused bits are zero."""
    assert statement.unb64u("AA") == b"\0"
    for text in ("AB", "A", "AAB", "AA==", "A A", "ÀÀ"):
        with pytest.raises(Refused):
            statement.unb64u(text)


@example(b"[" * 8)
@example(b"[" * 9)
@example(b'{"a":' * 9 + b"}" * 9)
@example(b"[]" * 9)
@example(b'["' + b"[" * 20 + b'"]')
@example(b'"' + b"[" * 20)
@example(b'"\\"' + b"[" * 20)
@example(b'"\\\\"' + b"[" * 20)
@given(st.text(alphabet='[[[[{{]}",:\\', max_size=60).map(str.encode) | st.binary(max_size=60))
def test_depth_is_what_a_plain_count_says(data: bytes) -> None:
    """Brackets are counted outside of strings alone, and a string that does not end goes to the end."""
    depth = deepest = 0
    inside = escaped = False
    for letter in data.decode("latin-1"):
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        else:
            depth += (letter in "[{") - (letter in "]}")
            deepest = max(deepest, depth)
    assert statement._too_deep(data) is (deepest > statement.JSON_DEPTH_MAX)


def test_hostile_strings_cost_nothing() -> None:
    """A megabyte of quotes, escapes and brackets, ended or not, is looked through once."""
    for hostile in (
        b'"' + b'\\"' * 500_000,
        b'"[' * 500_000,
        b'{"a":"' + b"[" * 10**6,
        b"\\" * 10**6,
    ):
        before = time.process_time()
        with pytest.raises(Refused):
            statement.decode(hostile)
        assert time.process_time() - before < 1
