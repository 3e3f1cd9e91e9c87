"""Strict JSON and DSSE statements: one encoding, sign, verify (PROTOCOL 6).

::

    {"payload":b64u,"payloadType":"application/vnd.poc24.<kind>.v1+json","signatures":[{"keyid":kid,"sig":b64u}]}

The exact bytes that were signed travel and are kept. A decoder re-encodes what it read and compares, so that one signed
byte string has one reading. The statement id is the hash of type and payload, never of a signature.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Signer

JSON_DEPTH_MAX = 8
INTEGER_MAX = 2**53 - 1
STATEMENT_BYTES_MAX = 64 * 1024
"""Any statement but the one inside an envelope, which may have 1 MiB (PROTOCOL 15)."""
ORIGIN_BYTES_MAX = 1024 * 1024
SIGNATURES_MAX = 16
"""Signatures of a rotation or recovery; every other statement has exactly one (PROTOCOL 15)."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_KIND = re.compile(r"application/vnd\.poc24\.([a-z_]{1,32})\.v1\+json\Z")
_KID = re.compile(r"[0-9a-f]{64}\Z")

_TYPE_PREFIX, _TYPE_SUFFIX = "application/vnd.poc24.", ".v1+json"


def _refuse(what: str) -> NoReturn:
    raise Refused(Code.E_ENCODING, f"Not the one encoding of strict JSON: {what}.")


def encode(value: Mapping[str, Any]) -> bytes:
    """Return the one encoding of an object (PROTOCOL 6.1); E_ENCODING if it has no such encoding."""
    _check(value, 1)
    return _dump(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False
)


def _whole() -> Callable[[object], str]:
    """Return what encodes a value in one go: the standard library builds its C encoder anew for every call."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    escape = json.encoder.encode_basestring
    if make is None:
        return _ENCODER.encode
    try:
        encoder = make(None, _ENCODER.default, escape, None, ":", ",", True, False, False)
        if "".join(encoder({"b": [1, "\u00e9"], "a": True}, 0)) != '{"a":true,"b":[1,"\u00e9"]}':
            return _ENCODER.encode
    except (TypeError, ValueError):  # another Python, with another inside
        return _ENCODER.encode
    return lambda value: "".join(encoder(value, 0))


_encode = _whole()


def _dump(value: object) -> bytes:
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        _refuse("a lone surrogate")


_KEYS_KEPT_MAX = 1024
_keys: set[str] = set()
"""Keys that were found to be right; there are some hundred in this protocol."""


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not _KEY.match(key):
        _refuse("a key that is not [a-z][a-z0-9_]{0,31}")
    if len(_keys) < _KEYS_KEPT_MAX:
        _keys.add(str(key))


def _check(value: object, depth: int) -> None:
    if value is True or value is False or isinstance(value, str):
        return
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            _refuse("an integer beyond 2^53")
        return
    if depth > JSON_DEPTH_MAX:
        _refuse(f"nesting deeper than {JSON_DEPTH_MAX}")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _keys:
                _check_key(key)
            if type(inner) is not str:
                _check(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, depth + 1)
    else:
        _refuse(f"a value of type {type(value).__name__}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("a key twice")
    return found


def _no(what: str) -> Callable[[str], NoReturn]:
    def refuse(_token: str) -> NoReturn:
        _refuse(what)

    return refuse


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_no("a fraction or exponent"),
    parse_constant=_no("NaN or infinity"),
)


def decode(data: bytes) -> dict[str, Any]:
    """Read the one encoding of an object; E_ENCODING for any other byte (PROTOCOL 6.1). Callers check size first."""
    # The C scanner recurses once per bracket; count them first so that hostile nesting costs nothing.
    if data.count(b"[") + data.count(b"{") > JSON_DEPTH_MAX and _too_deep(data):
        _refuse(f"nesting deeper than {JSON_DEPTH_MAX}")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        _refuse("not UTF-8 JSON")
    if not isinstance(value, dict):
        _refuse("not an object")
    _check(value, 1)
    if _dump(value) != data:
        _refuse("the same value has other bytes (white space, key order, escapes)")
    return value


# Possessive, so that a million escapes cost no memory; and one that does not end goes to the end, or each of its quotes
# would be tried as a beginning.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def _too_deep(data: bytes) -> bool:
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > JSON_DEPTH_MAX:
            return True
    return False


def b64u(data: bytes) -> str:
    """Return base64url without padding (PROTOCOL, conventions)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    """Read canonical base64url without padding; E_ENCODING for any other spelling of the same bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse("not base64url")
    if b64u(data) != text:
        _refuse("base64url that is not canonical")
    return data


@dataclass(frozen=True, slots=True)
class Statement:
    """A verified statement. *fields*: the payload without ``v`` and ``signer``; *wire*: the exact bytes received."""

    kind: str
    signer: str
    fields: Mapping[str, Any] = field(hash=False)
    sid: str
    """H(PAE), 64 hex digits: what identifies the statement everywhere (PROTOCOL 6.2)."""
    wire: bytes = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """Return one field of the payload."""
        return self.fields[name]


def payload_type(kind: str) -> str:
    """Return the DSSE payloadType of a kind."""
    return f"{_TYPE_PREFIX}{kind}{_TYPE_SUFFIX}"


def pae(kind: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, the bytes that are signed."""
    name = payload_type(kind).encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def make(kind: str, fields: Mapping[str, Any], signer: Signer) -> Statement:
    """Sign *fields* as a statement of *kind*; ``v`` and ``signer`` are added here."""
    payload = encode({**fields, "v": 1, "signer": signer.kid})
    signed = pae(kind, payload)
    wire = _one(kind, b64u(payload), signer.kid, b64u(signer.sign(signed)))
    return Statement(kind, signer.kid, dict(fields), suite.sha256(signed).hex(), wire)


def _one(kind: str, payload: str, keyid: str, sig: str) -> bytes:
    """Return the one encoding of a statement with one signature, whose parts need no escapes."""
    return (
        f'{{"payload":"{payload}","payloadType":"{payload_type(kind)}",'
        f'"signatures":[{{"keyid":"{keyid}","sig":"{sig}"}}]}}'
    ).encode()


_ONE = re.compile(
    rb'\{"payload":"([A-Za-z0-9_-]*)","payloadType":"application/vnd\.poc24\.([a-z_]{1,32})\.v1\+json",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([A-Za-z0-9_-]*)"\}\]\}'
)
"""The one encoding of a statement with one signature; whatever it does not match is read the long way, to say why."""


@dataclass(frozen=True, slots=True)
class Peeked:
    """What an unverified statement says of itself: enough to choose a key, never enough to act."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    """(kid, signature) as they stand on the wire."""

    @property
    def keyid(self) -> str:
        """The kid beside the first signature."""
        return self.signatures[0][0]


def peek(wire: bytes, *, limit: int = STATEMENT_BYTES_MAX, signatures_max: int = 1) -> Peeked:
    """Check size, DSSE shape and single encoding; E_TOO_LARGE, E_ENCODING, E_VERSION (PROTOCOL 6.2, first steps)."""
    if len(wire) > limit:
        raise Refused(
            Code.E_TOO_LARGE, f"The statement has {len(wire)} bytes; the limit is {limit}."
        )
    if found := _ONE.fullmatch(wire):
        plain, named, keyid, sig = (part.decode("ascii") for part in found.groups())
        return Peeked(named, unb64u(plain), ((keyid, unb64u(sig)),))
    try:
        outer = _DECODER.decode(wire.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        _refuse("the statement is not UTF-8 JSON")
    if not isinstance(outer, dict) or set(outer) != {"payload", "payloadType", "signatures"}:
        _refuse("the statement is not a DSSE envelope of payload, payloadType and signatures")
    kind, payload, listed = outer["payloadType"], outer["payload"], outer["signatures"]
    if not isinstance(kind, str) or not isinstance(payload, str) or not isinstance(listed, list):
        _refuse("a DSSE field has another type")
    if not 1 <= len(listed) <= signatures_max:
        _refuse(f"{len(listed)} signatures where 1 to {signatures_max} are allowed")
    signatures: list[tuple[str, bytes]] = []
    for one in listed:
        if not isinstance(one, dict) or set(one) != {"keyid", "sig"}:
            _refuse("a signature is not keyid and sig")
        keyid, sig = one["keyid"], one["sig"]
        if not isinstance(keyid, str) or not isinstance(sig, str) or not _KID.match(keyid):
            _refuse("a signature's keyid is not 64 hex digits")
        signatures.append((keyid, unb64u(sig)))
    if _dump(outer) != wire:
        _refuse("the statement has other bytes than its one encoding")
    known = _KIND.match(kind)
    if not known:
        if kind.startswith(_TYPE_PREFIX) and kind.endswith("+json"):
            raise Refused(
                Code.E_VERSION,
                f"The statement's type {kind[:80]!r} is of a version that is not known here.",
            )
        raise Refused(Code.E_TYPE, "The statement's type is not one of this protocol.")
    return Peeked(known[1], unb64u(payload), tuple(signatures))


def verify(
    wire: bytes, kinds: Collection[str], public: bytes, *, limit: int = STATEMENT_BYTES_MAX
) -> Statement:
    """Verify a statement by one expected key, in the order of PROTOCOL 6.2; only then may a field be read.

    Raises E_TOO_LARGE, E_ENCODING, E_VERSION, E_TYPE, E_KEY, E_SIGNER or E_SIGNATURE.
    """
    return verified(peek(wire, limit=limit), wire, kinds, public)


def verified(peeked: Peeked, wire: bytes, kinds: Collection[str], public: bytes) -> Statement:
    """Finish :func:`verify` for a statement that was peeked at to choose *public*."""
    _expect_kind(peeked, kinds)
    suite.check_public(public)
    kid = suite.kid_of(public)
    if peeked.keyid != kid:
        raise Refused(Code.E_SIGNER, "The statement names another key than the one expected here.")
    signed = pae(peeked.kind, peeked.payload)
    suite.verify(public, signed, peeked.signatures[0][1])
    fields = _fields(peeked.payload)
    if fields.pop("signer", None) != kid:
        raise Refused(
            Code.E_SIGNER, "The signer inside the statement is not the key that signed it."
        )
    return Statement(peeked.kind, kid, fields, suite.sha256(signed).hex(), wire)


def _expect_kind(peeked: Peeked, kinds: Collection[str]) -> None:
    if peeked.kind not in kinds:
        raise Refused(
            Code.E_TYPE,
            f"A statement of kind {peeked.kind!r} does not belong here; expected {', '.join(sorted(kinds))}.",
        )


def _fields(payload: bytes) -> dict[str, Any]:
    fields = decode(payload)
    version = fields.pop("v", None)
    if type(version) is not int or version != 1:  # true equals 1 in Python
        raise Refused(Code.E_VERSION, "The statement's version is not 1.")
    return fields


# Rotations and recoveries: several signatures, distinct keys are counted (PROTOCOL 8.4)


def make_joint(kind: str, fields: Mapping[str, Any], signers: Sequence[Signer]) -> Statement:
    """Sign *fields* by several keys; the payload names them all, sorted, as ``signers``."""
    ordered = sorted(signers, key=lambda one: one.kid)
    payload = encode({**fields, "v": 1, "signers": [one.kid for one in ordered]})
    signed = pae(kind, payload)
    wire = _dump(
        {
            "payload": b64u(payload),
            "payloadType": payload_type(kind),
            "signatures": [{"keyid": one.kid, "sig": b64u(one.sign(signed))} for one in ordered],
        }
    )
    return Statement(kind, ordered[0].kid, dict(fields), suite.sha256(signed).hex(), wire)


def verify_joint(
    wire: bytes, kinds: Collection[str], publics: Collection[bytes], threshold: int
) -> Statement:
    """Verify a statement signed by at least *threshold* distinct keys of *publics*; each signature must verify."""
    peeked = peek(wire, signatures_max=SIGNATURES_MAX)
    _expect_kind(peeked, kinds)
    for public in publics:
        suite.check_public(public)
    allowed = {suite.kid_of(public): public for public in publics}
    signed = pae(peeked.kind, peeked.payload)
    seen: list[str] = []
    for keyid, signature in peeked.signatures:
        if keyid in seen or keyid not in allowed:
            raise Refused(
                Code.E_SIGNER,
                "A signature is by a key that may not sign here, or by the same key twice.",
            )
        suite.verify(allowed[keyid], signed, signature)
        seen.append(keyid)
    if len(seen) < max(1, threshold):
        raise Refused(
            Code.E_SIGNATURE, f"{len(seen)} of the {threshold} signatures that are needed."
        )
    fields = _fields(peeked.payload)
    if fields.pop("signers", None) != sorted(seen):
        raise Refused(
            Code.E_SIGNER, "The signers inside the statement are not the keys that signed it."
        )
    return Statement(peeked.kind, seen[0], fields, suite.sha256(signed).hex(), wire)
