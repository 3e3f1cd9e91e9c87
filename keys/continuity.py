"""The continuity rule: a desk's keys change only by its own hand, or by the root's (PROTOCOL 8.4).

A reader pins the desk-key set that it last accepted. Another is accepted only if `rotations/<ID>.json` leads there::

    {"desk":ID,"keys":[b64u public key,..],"steps":[wire of a rotation or recovery,..],"v":1}

A step is a statement with several signatures and the fields {desk, old, new, threshold, at}: *old* and *new* are
sorted key ids, *threshold* is the new set's. A ``rotation`` is signed by the old set's threshold, a ``recovery`` by the
root's. The public keys beside the steps need no signature: the key ids in the steps are their hashes. A recovery counts
under the root in force now; when the root changes, its holders sign the recoveries that still stand anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keys import statement, suite
from keys.entry import KID
from keys.errors import Code, Refused
from keys.identity import Signer, fingerprint
from keys.metadata import KeySet
from keys.shape import closed, integer, listed, matching, refuse, text

ROTATIONS_BYTES_MAX = 512 * 1024
STEPS_MAX = 256
KINDS = frozenset({"rotation", "recovery"})

Pin = tuple[str, ...]
"""A pin as it is kept: the threshold in digits, then the public keys in hex, sorted."""


def pin_of(keys: KeySet) -> Pin:
    """Return a key set as it is pinned and persisted."""
    return (str(keys.threshold), *(public.hex() for public in keys.publics))


def pinned_keys(pin: Sequence[str]) -> KeySet:
    """Read a pin back."""
    return KeySet(int(pin[0]), tuple(bytes.fromhex(one) for one in pin[1:]))


def step_fields(desk: str, old: KeySet, new: KeySet, at: int) -> dict[str, Any]:
    """Return the fields of a rotation or recovery."""
    return {
        "desk": desk,
        "old": list(old.kids),
        "new": list(new.kids),
        "threshold": new.threshold,
        "at": at,
    }


def add_step(
    data: bytes, kind: str, desk: str, old: KeySet, new: KeySet, at: int, signers: Sequence[Signer]
) -> bytes:
    """Return `rotations/<ID>.json` with one more step; *data* is b"" for the first.

    A recovery of the same change, signed anew under a new root, takes the place of the old one.
    """
    fields = step_fields(desk, old, new, at)
    step = statement.make_joint(kind, fields, signers)
    keys, steps = ([], []) if not data else _read(desk, data)
    keys = sorted({*keys, *old.publics, *new.publics})
    wires = [one.decode() for one in steps]
    change = (fields["old"], fields["new"])
    wires = [one for one in wires if kind != "recovery" or _change(one) != change]
    return statement.encode(
        {
            "desk": desk,
            "keys": [statement.b64u(one) for one in keys],
            "steps": [*wires, step.wire.decode()],
            "v": 1,
        }
    )


def _change(wire: str) -> tuple[object, object] | None:
    peeked = statement.peek(wire.encode(), signatures_max=statement.SIGNATURES_MAX)
    fields = statement.decode(peeked.payload)
    return (fields["old"], fields["new"]) if peeked.kind == "recovery" else None


def _read(desk: str, data: bytes) -> tuple[list[bytes], list[bytes]]:
    if len(data) > ROTATIONS_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"The rotations of desk {desk} are over the limit.")
    raw = closed(statement.decode(data), {"desk", "keys", "steps", "v"}, "rotations")
    if raw["v"] != 1:
        raise Refused(Code.E_VERSION, "The version of these rotations is not 1.")
    if raw["desk"] != desk:
        refuse("the rotations are of another desk")
    keys = [statement.unb64u(text(one, "keys", 64)) for one in listed(raw["keys"], "keys", 1024)]
    for public in keys:
        suite.check_public(public)
    wires = [
        text(one, "steps", statement.STATEMENT_BYTES_MAX)
        for one in listed(raw["steps"], "steps", STEPS_MAX)
    ]
    return keys, [one.encode() for one in wires]


def walk(desk: str, pinned: KeySet, wanted: KeySet, data: bytes, root: KeySet) -> None:
    """Walk from the pinned key set to the one that the registrar names now, or raise.

    Every step from the first one that starts at the pinned set must verify and start where the one before ended, and
    the last must end at *wanted*. Raises E_DESK_KEY_CHANGED with both fingerprints, whatever is wrong with the path.
    """
    try:
        reached = _reach(desk, pinned, data, root) if data else pinned
    except Refused as broken:
        raise changed(desk, pinned, wanted, broken.text) from broken
    if reached != wanted:
        raise changed(desk, pinned, wanted, "no rotation or recovery leads from one to the other")


def _reach(desk: str, pinned: KeySet, data: bytes, root: KeySet) -> KeySet:
    keys, wires = _read(desk, data)
    publics = {suite.kid_of(public): public for public in (*keys, *pinned.publics)}
    here, begun = pinned, False
    for wire in wires:
        peeked = statement.peek(wire, signatures_max=statement.SIGNATURES_MAX)
        claimed = statement.decode(peeked.payload).get("old")
        if claimed != list(here.kids):
            if begun:
                refuse("a step does not begin where the one before it ended")
            continue
        signers = root if peeked.kind == "recovery" else here
        step = statement.verify_joint(wire, KINDS, signers.publics, signers.threshold)
        here, begun = _step(desk, step.fields, publics), True
    return here


def _step(desk: str, fields: Mapping[str, Any], publics: Mapping[str, bytes]) -> KeySet:
    raw = closed(dict(fields), {"at", "desk", "new", "old", "threshold"}, "a rotation")
    if raw["desk"] != desk:
        refuse("a step is of another desk")
    integer(raw["at"], "at")
    kids = [
        matching(one, KID, "a key id has 64 hex digits") for one in listed(raw["new"], "new", 16)
    ]
    unknown = [kid for kid in kids if kid not in publics]
    if unknown or kids != sorted(set(kids)):
        refuse("a step's new keys are not listed beside it, or not in order")
    return KeySet(
        integer(raw["threshold"], "threshold"), tuple(sorted(publics[kid] for kid in kids))
    )


def changed(desk: str, pinned: KeySet, wanted: KeySet, why: str) -> Refused:
    """Return E_DESK_KEY_CHANGED with both fingerprints, for a check by telephone (PROTOCOL 8.4)."""
    return Refused(
        Code.E_DESK_KEY_CHANGED,
        f"The keys of desk {desk} were changed and {why.rstrip('.')}. Accepted until now: {_said(pinned)}; "
        f"in the directory now: {_said(wanted)}.",
        hint=f"Send nothing to {desk} until you have compared these digits with it over the telephone.",
    )


def _said(keys: KeySet) -> str:
    said = " and ".join(fingerprint(kid) for kid in keys.kids)
    return f"{said} ({keys.threshold} of {len(keys.publics)})"
