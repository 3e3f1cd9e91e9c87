"""Hostile values: whatever a member signs rightly is refused, or read as it was signed (PROTOCOL 16.3, C17, C22).

Hostile bytes are thrown at every parser in ``tests/fuzz``.
"""

import builders_wire as b
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import statement
from keys.errors import Refused
from relay.wire import receipt

JSON = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(receipt.KINDS)), st.data())
def test_any_fields_signed_rightly(kind: str, data: st.DataObject) -> None:
    """A hostile member signs any value in any field: refused, or read as it was signed (6.1.3,
    C17).
    """
    values = b.values_of(kind)
    name = data.draw(st.sampled_from(sorted(values)))
    values[name] = data.draw(JSON)
    signer = b.signer_of(kind)
    payload = b.dumps({**values, "v": 1, "signer": signer.kid})
    try:
        read = receipt.read(b.forge(payload, kind=kind, by=signer), {kind}, signer.public)
    except Refused:
        return
    assert read[name] == values[name]


@given(JSON)
def test_strict_json_is_a_bijection(value: object) -> None:
    """What encodes decodes to the same value, and what decodes encodes to the same bytes (6.1.2,
    C17).
    """
    try:
        data = statement.encode({"a": value})
    except Refused:
        return
    assert statement.decode(data) == {"a": value}
    assert statement.encode(statement.decode(data)) == data


def test_hostile_sizes_cost_nothing() -> None:
    """Deep nesting, huge numbers and long input are refused before they are worked on (15.2)."""
    for hostile in (
        b"[" * 2_000_000,
        b'{"a":' * 500_000,
        b'{"a":' + b"9" * 4_000_000 + b"}",
        b'"' + b"\\" * 10**6,
    ):
        with pytest.raises(Refused):
            statement.decode(hostile)
        with pytest.raises(Refused):
            receipt.read(hostile, {"delivered"}, b.device("au-01").public)
