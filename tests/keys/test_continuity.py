"""The continuity walk: only the old keys' threshold or the root's leads from one key set to another (PROTOCOL 8.4)."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from builders_keys import NOW, signer

from keys import statement
from keys.continuity import STEPS_MAX, add_step, pin_of, pinned_keys, step_fields, walk
from keys.errors import Code, Refused
from keys.identity import Role, Signer, fingerprint
from keys.metadata import KeySet

A, B, C, D = [[signer(Role.DESK, f"{name}{n}") for n in range(3)] for name in "ABCD"]
ROOTS = [signer(Role.ROOT, str(n)) for n in range(5)]
SET_A, SET_B, SET_C, SET_D = [KeySet.of(2, who) for who in (A, B, C, D)]
ROOT = KeySet.of(3, ROOTS)


def rotated(
    before: Sequence[Signer], after: Sequence[Signer], data: bytes = b"", **changes: Any
) -> bytes:
    """Return rotations with one more rotation, signed by two of the old keys; *changes* go into its fields."""
    fields = step_fields("AU", KeySet.of(2, before), KeySet.of(2, after), NOW) | changes
    return appended("rotation", fields, before[:2], [*before, *after], data)


def appended(
    kind: str,
    fields: dict[str, Any],
    by: Sequence[Signer],
    keys: Sequence[Signer],
    data: bytes = b"",
) -> bytes:
    """Return rotations with one more step of any content."""
    raw: dict[str, Any] = (
        statement.decode(data) if data else {"desk": "AU", "keys": [], "steps": [], "v": 1}
    )
    step = statement.make_joint(kind, fields, by).wire.decode()
    publics = sorted({*raw["keys"], *(statement.b64u(one.public) for one in keys)})
    return statement.encode({**raw, "keys": publics, "steps": [*raw["steps"], step]})


def held(data: bytes, wanted: KeySet = SET_B, pinned: KeySet = SET_A) -> str:
    """Return why a change is not accepted."""
    with pytest.raises(Refused) as error:
        walk("AU", pinned, wanted, data, ROOT)
    assert error.value.code is Code.E_DESK_KEY_CHANGED
    for kid in (*pinned.kids, *wanted.kids):
        assert fingerprint(kid) in error.value.text
    return error.value.text


def test_a_rotation_by_the_old_threshold_is_walked() -> None:
    """One step, two steps, from the first pin or from the middle."""
    one = rotated(A, B)
    walk("AU", SET_A, SET_B, one, ROOT)
    two = rotated(B, C, one)
    walk("AU", SET_A, SET_C, two, ROOT)
    walk("AU", SET_B, SET_C, two, ROOT)
    walk("AU", SET_C, SET_C, two, ROOT)


def test_the_real_writer_writes_what_is_walked() -> None:
    """`add_step` and `walk` agree, rotation and recovery mixed."""
    data = add_step(b"", "rotation", "AU", SET_A, SET_B, NOW, A[:2])
    data = add_step(data, "recovery", "AU", SET_B, SET_C, NOW, ROOTS[:3])
    data = add_step(data, "rotation", "AU", SET_C, SET_D, NOW, C[1:])
    walk("AU", SET_A, SET_D, data, ROOT)


def test_a_recovery_signed_anew_under_a_new_root_takes_the_old_ones_place() -> None:
    """After the root has changed, its holders sign a standing recovery again; it is listed once."""
    data = add_step(b"", "recovery", "AU", SET_A, SET_B, NOW, ROOTS[:3])
    new = [signer(Role.ROOT, f"new {n}") for n in range(5)]
    with pytest.raises(Refused):
        walk("AU", SET_A, SET_B, data, KeySet.of(3, new))
    data = add_step(data, "recovery", "AU", SET_A, SET_B, NOW, new[:3])
    walk("AU", SET_A, SET_B, data, KeySet.of(3, new))
    assert len(statement.decode(data)["steps"]) == 1


CASES: dict[str, Callable[[], bytes]] = {
    "no rotation at all": lambda: b"",
    "not JSON": lambda: b"{",
    "another desk's list": lambda: rotated(A, B).replace(
        b'"desk":"AU","keys"', b'"desk":"VN","keys"'
    ),
    "a step of another desk": lambda: rotated(A, B, desk="VN"),
    "below the old threshold": lambda: appended(
        "rotation", step_fields("AU", SET_A, SET_B, NOW), A[:1], [*A, *B]
    ),
    "by the new keys": lambda: appended(
        "rotation", step_fields("AU", SET_A, SET_B, NOW), B, [*A, *B]
    ),
    "by the root, called a rotation": lambda: appended(
        "rotation", step_fields("AU", SET_A, SET_B, NOW), ROOTS, [*A, *B, *ROOTS]
    ),
    "recovery by two of the root": lambda: appended(
        "recovery", step_fields("AU", SET_A, SET_B, NOW), ROOTS[:2], [*A, *B]
    ),
    "recovery by the old keys": lambda: appended(
        "recovery", step_fields("AU", SET_A, SET_B, NOW), A, [*A, *B]
    ),
    "another kind": lambda: appended("enrol", step_fields("AU", SET_A, SET_B, NOW), A, [*A, *B]),
    "to other keys": lambda: rotated(A, C),
    "to another threshold": lambda: rotated(A, B, threshold=1),
    "to an impossible threshold": lambda: rotated(A, B, threshold=4),
    "a threshold of true": lambda: rotated(A, B, threshold=True),
    "to no keys": lambda: rotated(A, B, new=[]),
    "to keys out of order": lambda: rotated(A, B, new=list(reversed(SET_B.kids))),
    "to a key twice": lambda: rotated(A, B, new=sorted([*SET_B.kids, SET_B.kids[0]])),
    "to keys that are not listed": lambda: appended(
        "rotation", step_fields("AU", SET_A, SET_B, NOW), A, A
    ),
    "an unknown field": lambda: rotated(A, B, more=1),
    "goes on to other keys": lambda: rotated(B, C, rotated(A, B)),
    "a gap in the chain": lambda: rotated(C, B, rotated(A, D)),
    "goes back again": lambda: rotated(B, A, rotated(A, B)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_anything_else_is_held(case: Callable[[], bytes]) -> None:
    """C19: the change is not accepted, and the sentence has both fingerprints."""
    held(case())


def test_a_stray_step_in_between_is_held() -> None:
    """Once the walk has begun, every further step begins where the one before it ended."""
    data = rotated(B, C, rotated(D, A, rotated(A, B)))
    assert "where the one before it ended" in held(data, wanted=SET_C)


def test_a_dishonest_key_in_the_list_is_held() -> None:
    """A small-order key beside the steps spoils the list."""
    raw = statement.decode(rotated(A, B))
    raw["keys"].append(statement.b64u(bytes([1]) + bytes(31)))
    assert "subgroup" in held(statement.encode(raw))


def test_the_list_has_limits() -> None:
    """C22: too many steps, or too many bytes, are held without work."""
    raw = statement.decode(rotated(A, B))
    assert "list of at most" in held(
        statement.encode({**raw, "steps": raw["steps"] * (STEPS_MAX + 1)})
    )
    assert "over the limit" in held(b"[" * (512 * 1024 + 1))


def test_every_byte_of_a_rotation_is_load_bearing() -> None:
    """A changed byte in a step leads nowhere (keys beside the steps count only by their ids in them)."""
    data = rotated(A, B)
    for at in range(data.index(b'"steps"'), len(data)):
        held(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_a_pin_comes_back() -> None:
    """Threshold and keys are pinned and read again."""
    for keys in (SET_A, KeySet.of(1, A), ROOT):
        assert pinned_keys(pin_of(keys)) == keys
