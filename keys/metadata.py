"""TUF metadata as values: read, count signatures, write, sign (PROTOCOL 8.1). The only door to `tuf`.

The files are ordinary TUF 1.0 metadata as python-tuf writes and reads them, so any TUF program can mirror the
directory. Two things differ from a stock TUF program, on purpose: every key must be an Ed25519 key in the prime-order
subgroup, and signatures are verified by libsodium, because OpenSSL accepts keys under which anybody can sign anything.
Key ids in the metadata are the key ids of PROTOCOL 5.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signature,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import SerializationError

from keys import suite
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.remembered import remembered

ROLES = ("root", "targets", "snapshot", "timestamp")
KEYS_MAX = 16
"""Keys of one role (PROTOCOL 15: a rotation or recovery has at most 16 signatures)."""
REMEMBERED_BYTES_MAX = 8 * 1024 * 1024
"""Four directories of 1000 desks: the one in force, the one that comes, and room."""
_DEPTH_MAX = 12


class Kind(StrEnum):
    """The four kinds of TUF metadata; a desk's role is of kind targets."""

    ROOT = "root"
    TIMESTAMP = "timestamp"
    SNAPSHOT = "snapshot"
    TARGETS = "targets"


BYTES_MAX: Mapping[Kind, int] = {
    Kind.ROOT: 512_000,
    Kind.TIMESTAMP: 16_384,
    Kind.SNAPSHOT: 2_000_000,
    Kind.TARGETS: 5_000_000,
}
"""Largest file of each kind in bytes, the same as in python-tuf's own program."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of a role and how many of them must sign. *publics* are sorted, distinct and honest."""

    threshold: int
    publics: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse dishonest keys and thresholds that can never be reached."""
        for public in self.publics:
            suite.check_public(public)
        if list(self.publics) != sorted(set(self.publics)) or len(self.publics) > KEYS_MAX:
            raise Refused(Code.E_DIRECTORY, f"A role's keys are distinct and at most {KEYS_MAX}.")
        if not 1 <= self.threshold <= len(self.publics):
            raise Refused(
                Code.E_DIRECTORY,
                f"A role asks for {self.threshold} signatures of {len(self.publics)} keys.",
            )

    @classmethod
    def of(cls, threshold: int, signers: Sequence[Signer]) -> "KeySet":
        """Return the set of some signers' public keys."""
        return cls(threshold, tuple(sorted({one.public for one in signers})))

    @property
    def kids(self) -> tuple[str, ...]:
        """Key ids, sorted."""
        return tuple(sorted(suite.kid_of(public) for public in self.publics))


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What one file says of another: its version, and length and SHA-256 where given (0 and "" where not)."""

    version: int
    length: int = 0
    sha256: str = ""

    @classmethod
    def of(cls, version: int, data: bytes) -> "FileMeta":
        """Describe *data* fully."""
        return cls(version, len(data), suite.sha256(data).hex())

    def fits(self, data: bytes) -> bool:
        """Whether *data* has this length and hash."""
        return self.length in {0, len(data)} and self.sha256 in {"", suite.sha256(data).hex()}


@dataclass(frozen=True, slots=True)
class Delegation:
    """One delegated role of the top-level targets: a desk's keys and the paths that they may sign."""

    name: str
    keys: KeySet
    paths: tuple[str, ...]
    terminating: bool


@dataclass(frozen=True, slots=True)
class Document:
    """One metadata file as read. *expires* is seconds UTC; only the fields of its kind are filled."""

    kind: Kind
    version: int
    expires: int
    signed_bytes: bytes = field(repr=False)
    signatures: Mapping[str, bytes] = field(repr=False, hash=False)
    roles: Mapping[str, KeySet] = field(default_factory=dict, hash=False)
    """root: the four top-level roles."""
    meta: Mapping[str, FileMeta] = field(default_factory=dict, hash=False)
    """timestamp: ``snapshot.json``; snapshot: every targets file by name, e.g. ``desk-VN.json``."""
    targets: Mapping[str, FileMeta] = field(default_factory=dict, hash=False)
    """targets: files by path, e.g. ``desks/VN.json`` (version 0)."""
    delegations: Mapping[str, Delegation] = field(default_factory=dict, hash=False)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _no_number(token: str) -> None:
    raise ValueError(token)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_no_number, parse_constant=_no_number
)


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    if _depth(value) > _DEPTH_MAX:
        raise ValueError("nested too deeply")
    return value


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@remembered(REMEMBERED_BYTES_MAX)
def read(kind: Kind, data: bytes) -> Document:
    """Read one metadata file without trusting it: shape, sizes, honest keys. Cached by its bytes.

    Raises E_TOO_LARGE, E_DIRECTORY for what is not metadata of this kind, E_KEY for a key that is not honest Ed25519.
    """
    if len(data) > BYTES_MAX[kind]:
        raise Refused(
            Code.E_TOO_LARGE,
            f"A {kind} file of the directory has {len(data)} bytes; the limit is {BYTES_MAX[kind]}.",
        )
    try:
        parsed = _shallow(_DECODER.decode(data.decode("utf-8")))
        document: Metadata[Any] = Metadata.from_dict(parsed)
        return _document(kind, document)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as broken:
        raise Refused(
            Code.E_DIRECTORY, f"A file of the directory is not TUF {kind} metadata."
        ) from broken
    except SerializationError as broken:
        raise Refused(
            Code.E_DIRECTORY, f"A file of the directory is not TUF {kind} metadata."
        ) from broken


def _document(kind: Kind, document: Metadata[Any]) -> Document:
    signed = document.signed
    if signed.type != kind:
        raise Refused(Code.E_DIRECTORY, f"Expected {kind} metadata, this is {signed.type}.")
    base = Document(
        kind,
        signed.version,
        int(signed.expires.timestamp()),
        document.signed_bytes,
        {keyid: bytes.fromhex(one.signature) for keyid, one in document.signatures.items()},
    )
    if isinstance(signed, Root):
        if not signed.consistent_snapshot:
            raise Refused(
                Code.E_DIRECTORY, "The root document does not ask for consistent snapshots."
            )
        return replace(
            base, roles={name: _key_set(signed.roles[name], signed.keys) for name in ROLES}
        )
    if isinstance(signed, Timestamp):
        return replace(base, meta={"snapshot.json": _meta(signed.snapshot_meta)})
    if isinstance(signed, Snapshot):
        return replace(base, meta={name: _meta(one) for name, one in signed.meta.items()})
    files = {
        path: FileMeta(0, one.length, one.hashes["sha256"]) for path, one in signed.targets.items()
    }
    return replace(base, targets=files, delegations=_delegations(signed.delegations))


def _meta(meta: MetaFile) -> FileMeta:
    hashes = meta.hashes or {}
    if hashes and "sha256" not in hashes:
        raise ValueError("a hash that is not SHA-256")
    return FileMeta(meta.version, meta.length or 0, hashes.get("sha256", ""))


def _key_set(role: Role, keys: Mapping[str, Any]) -> KeySet:
    publics = set()
    for keyid in role.keyids:
        key = keys[keyid]
        if key.keytype != "ed25519" or key.scheme != "ed25519":
            raise Refused(
                Code.E_KEY, f"A key of the directory is {key.keytype}; only Ed25519 is used."
            )
        public = bytes.fromhex(key.keyval["public"])
        if keyid != suite.kid_of(public):
            raise Refused(
                Code.E_KEY, "A key of the directory stands under an id that is not its own."
            )
        publics.add(public)
    return KeySet(role.threshold, tuple(sorted(publics)))


def _delegations(delegations: Delegations | None) -> dict[str, Delegation]:
    if delegations is None:
        return {}
    if delegations.roles is None:
        raise ValueError("succinct delegations")
    return {
        name: Delegation(
            name, _key_set(role, delegations.keys), tuple(role.paths or ()), role.terminating
        )
        for name, role in delegations.roles.items()
    }


@remembered(REMEMBERED_BYTES_MAX)
def verified(kind: Kind, data: bytes, keys: KeySet, role: str) -> Document:
    """Read a metadata file and require the threshold of *keys* over its signed bytes. Cached by bytes and keys.

    A signature by another key, or one that does not verify, is not counted (TUF 1.0 section 5). Raises E_DIRECTORY.
    """
    document = read(kind, data)
    good = 0
    for public in keys.publics:
        signature = document.signatures.get(suite.kid_of(public))
        if signature is None:
            continue
        try:
            suite.verify(public, document.signed_bytes, signature)
        except Refused:
            continue
        good += 1
    if good < keys.threshold:
        raise Refused(
            Code.E_DIRECTORY,
            f"The directory's {role} has {good} good signatures of the {keys.threshold} that are needed.",
            hint="Do not use this copy; ask another relay or the registrar.",
        )
    return document


# Writing and signing


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _keys(sets: Sequence[KeySet]) -> dict[str, SSlibKey]:
    publics = {public for one in sets for public in one.publics}
    by_kid = {suite.kid_of(public): public for public in publics}
    return {
        kid: SSlibKey(kid, "ed25519", "ed25519", {"public": by_kid[kid].hex()})
        for kid in sorted(by_kid)
    }


def _write(signed: Root | Timestamp | Snapshot | Targets) -> bytes:
    document: Metadata[Any] = Metadata(signed)
    return document.to_bytes()


def write_root(version: int, expires: int, roles: Mapping[str, KeySet]) -> bytes:
    """Return an unsigned root document for the four *roles*."""
    sets = [roles[name] for name in ROLES]
    return _write(
        Root(
            version=version,
            expires=_time(expires),
            keys=dict(_keys(sets)),
            roles={name: Role(list(roles[name].kids), roles[name].threshold) for name in ROLES},
            consistent_snapshot=True,
        )
    )


def write_timestamp(version: int, expires: int, snapshot: FileMeta) -> bytes:
    """Return an unsigned timestamp that names one snapshot."""
    return _write(
        Timestamp(version=version, expires=_time(expires), snapshot_meta=_meta_file(snapshot))
    )


def write_snapshot(version: int, expires: int, meta: Mapping[str, FileMeta]) -> bytes:
    """Return an unsigned snapshot that names every targets file by name and version."""
    listed = {name: _meta_file(one) for name, one in sorted(meta.items())}
    return _write(Snapshot(version=version, expires=_time(expires), meta=listed))


def write_targets(
    version: int,
    expires: int,
    targets: Mapping[str, FileMeta],
    delegations: Sequence[Delegation] | None = None,
) -> bytes:
    """Return unsigned targets: files by path, and for the top level the desks' delegations."""
    files = {
        path: TargetFile(one.length, {"sha256": one.sha256}, path)
        for path, one in sorted(targets.items())
    }
    delegated = None
    if delegations is not None:
        ordered = sorted(delegations, key=lambda one: one.name)
        roles = {
            one.name: DelegatedRole(
                one.name, list(one.keys.kids), one.keys.threshold, one.terminating, list(one.paths)
            )
            for one in ordered
        }
        delegated = Delegations(dict(_keys([one.keys for one in ordered])), roles)
    return _write(
        Targets(version=version, expires=_time(expires), targets=files, delegations=delegated)
    )


def _meta_file(meta: FileMeta) -> MetaFile:
    return MetaFile(
        meta.version, meta.length or None, {"sha256": meta.sha256} if meta.sha256 else None
    )


def sign(data: bytes, signers: Sequence[Signer]) -> bytes:
    """Return the file with these signers' signatures added; one that is there already is replaced."""
    document: Metadata[Any] = Metadata.from_bytes(data)
    signed = document.signed_bytes
    for signer in signers:
        document.signatures[signer.kid] = Signature(signer.kid, signer.sign(signed).hex())
    return document.to_bytes()
