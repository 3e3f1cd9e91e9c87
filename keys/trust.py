"""The TUF workflow with bytes and time as arguments (TUF 1.0 section 5, PROTOCOL 8.1).

Root chain one version at a time, signed by the old and the new threshold; timestamp, snapshot, targets, desk roles.
No version goes back; files that do not belong together are refused; expired metadata is refused unless the caller only
wants to look. After a change of snapshot or timestamp keys the old versions are forgotten, so that a thief of such a
key cannot lock readers out by a huge version number. An update is taken whole or not at all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keys.continuity import Pin, pinned_keys, walk
from keys.entry import check_desk
from keys.errors import Code, Refused
from keys.metadata import Delegation, Document, FileMeta, KeySet, Kind, read, verified

ROOTS_MAX = 256
"""Root documents taken in one update, as in python-tuf's own program."""
DESKS_MAX = 1000

_ID = r"[A-Z]{2}(?:-[A-Z0-9]{1,4})?"
NAME = re.compile(
    r"[1-9][0-9]{0,9}\.(?:root|snapshot|targets|desk-" + _ID + r")\.json\Z|timestamp\.json\Z|"
    r"targets/[0-9a-f]{64}\.network\.json\Z|targets/desks/[0-9a-f]{64}\."
    + _ID
    + r"(?:\.retired)?\.json\Z|"
    r"targets/rotations/[0-9a-f]{64}\." + _ID + r"\.json\Z"
)
"""Every file name of a directory, as TUF's consistent snapshots name them."""
_ROOT = re.compile(r"([1-9][0-9]{0,9})\.root\.json\Z")
_ROLE_PREFIX = "desk-"


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a reader keeps between runs: verified files by name, and per desk the key set last accepted."""

    files: Mapping[str, bytes] = field(repr=False)
    pins: Mapping[str, Pin]


@dataclass(frozen=True, slots=True)
class Found:
    """One desk as TUF gives it: its keys, its role, the entry's exact bytes (and the retired list's, or b"")."""

    keys: KeySet
    role: bytes = field(repr=False)
    version: int
    expires: int
    entry: bytes = field(repr=False)
    retired: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Walked:
    """An update that passed: the files in use, and what they say. *changed*: desks whose keys changed unaccepted."""

    files: dict[str, bytes]
    root: Document
    timestamp: Document
    network: bytes
    desks: Mapping[str, Found]
    changed: Mapping[str, Refused]


def target_name(path: str, sha256: str) -> str:
    """Return the file name of a target with consistent snapshots, e.g. ``targets/desks/<sha256>.VN.json``."""
    folder, slash, base = path.rpartition("/")
    return f"targets/{folder}{slash}{sha256}.{base}"


def role_name(desk: str) -> str:
    """Return the name of the role that is delegated to a desk."""
    return _ROLE_PREFIX + desk


def desk_paths(desk: str) -> tuple[str, str]:
    """Return the paths that a desk's role may sign: its entry and its retired members."""
    return f"desks/{desk}.json", f"desks/{desk}.retired.json"


def begin(root: bytes) -> Trusted:
    """Return the trust anchor: a root document got by hand, which must be signed by its own threshold."""
    document = _root(root)
    return Trusted({f"{document.version}.root.json": root}, {})


def _root(data: bytes) -> Document:
    return verified(Kind.ROOT, data, read(Kind.ROOT, data).roles["root"], "root document")


def newest_root(files: Mapping[str, bytes]) -> int:
    """Return the highest version among the root documents, 0 if there is none."""
    return max((int(found[1]) for name in files if (found := _ROOT.match(name))), default=0)


def walk_metadata(
    trusted: Trusted, offered: Mapping[str, bytes], now: int, *, allow_expired: bool
) -> Walked:
    """Take an update as far as the desks' bytes. Raises E_DIRECTORY, E_DIRECTORY_STALE, E_KEY, E_TOO_LARGE."""
    files, root = _roots(trusted, offered)
    look = _Expiry(now, allow_expired=allow_expired)
    look(root, "root document")
    pool = (offered, trusted.files)

    timestamp_wire, timestamp = _timestamp(trusted, offered, root)
    look(timestamp, "timestamp")
    files["timestamp.json"] = timestamp_wire

    named = timestamp.meta["snapshot.json"]
    name = f"{named.version}.snapshot.json"
    files[name] = _take(pool, name, named)
    snapshot = verified(Kind.SNAPSHOT, files[name], root.roles["snapshot"], "snapshot")
    _same_version(snapshot, named, "snapshot")
    _no_rollback(_old_snapshot(trusted, root), snapshot)
    look(snapshot, "snapshot")

    named = _listed(snapshot, "targets.json")
    name = f"{named.version}.targets.json"
    files[name] = _take(pool, name, named)
    targets = verified(Kind.TARGETS, files[name], root.roles["targets"], "targets")
    _same_version(targets, named, "targets")
    look(targets, "targets")

    network = _target(pool, files, targets, "network.json")
    if not network:
        raise Refused(Code.E_DIRECTORY, "The directory has no network.json.")
    desks, changed = _desks(trusted, pool, files, (root, snapshot, targets))
    return Walked(files, root, timestamp, network, desks, changed)


class _Expiry:
    """The one place where a date is compared with now."""

    def __init__(self, now: int, *, allow_expired: bool) -> None:
        self._now, self._allow = now, allow_expired

    def __call__(self, document: Document, what: str) -> None:
        if not self._allow and self._now >= document.expires:
            raise Refused(
                Code.E_DIRECTORY_STALE,
                f"The directory's {what} expired {(self._now - document.expires) // 60} minutes ago.",
                hint="Refresh it; if it stays so, the freshness automaton stands still or something hides news.",
            )


def _roots(trusted: Trusted, offered: Mapping[str, bytes]) -> tuple[dict[str, bytes], Document]:
    files = {name: data for name, data in trusted.files.items() if _ROOT.match(name)}
    version = newest_root(files)
    if not version:
        raise Refused(Code.E_DIRECTORY, "There is no trusted root document to begin with.")
    root = _root(files[f"{version}.root.json"])
    newest = newest_root({name: b"" for name, data in offered.items() if data})
    if newest - version > ROOTS_MAX:
        raise Refused(Code.E_DIRECTORY, f"More than {ROOTS_MAX} new root documents at once.")
    for version in range(root.version + 1, newest + 1):
        name = f"{version}.root.json"
        data = offered.get(name)
        if not data:
            raise Refused(
                Code.E_DIRECTORY,
                f"The root documents offered jump over version {version}.",
                hint="Each one is vouched for by the one before it; fetch them all.",
            )
        verified(Kind.ROOT, data, root.roles["root"], f"root document {version} (by the old keys)")
        root = _root(data)
        if root.version != version:
            raise Refused(
                Code.E_DIRECTORY,
                f"The file {name} holds version {root.version} of the root document.",
            )
        files[name] = data
    return files, root


def _timestamp(
    trusted: Trusted, offered: Mapping[str, bytes], root: Document
) -> tuple[bytes, Document]:
    keys = root.roles["timestamp"]
    held = trusted.files.get("timestamp.json")
    old = _still(Kind.TIMESTAMP, held, keys)
    data = offered.get("timestamp.json")
    if not data:
        if held is None or old is None:
            raise Refused(
                Code.E_DIRECTORY, "No timestamp of the directory is here that the root vouches for."
            )
        return held, old
    new = verified(Kind.TIMESTAMP, data, keys, "timestamp")
    if held is not None and old is not None:
        if new.version == old.version:
            return held, old
        if new.version < old.version:
            raise _back("timestamp", old.version, new.version)
        before, after = old.meta["snapshot.json"].version, new.meta["snapshot.json"].version
        if after < before:
            raise _back("snapshot", before, after)
    return data, new


def _still(kind: Kind, data: bytes | None, keys: KeySet) -> Document | None:
    """Return what was trusted, if the root in force still vouches for it (fast-forward recovery)."""
    if data is None:
        return None
    try:
        return verified(kind, data, keys, kind)
    except Refused:
        return None


def _old_snapshot(trusted: Trusted, root: Document) -> Document | None:
    kept = [data for name, data in trusted.files.items() if name.endswith(".snapshot.json")]
    return _still(Kind.SNAPSHOT, kept[0] if kept else None, root.roles["snapshot"])


def _no_rollback(old: Document | None, new: Document) -> None:
    for name, meta in old.meta.items() if old else ():
        after = new.meta.get(name)
        if after is None:
            raise Refused(Code.E_DIRECTORY, f"The new snapshot no longer lists {name}.")
        if after.version < meta.version:
            raise _back(name, meta.version, after.version)


def _back(what: str, old: int, new: int) -> Refused:
    return Refused(
        Code.E_DIRECTORY,
        f"The directory offered goes back: {what} version {new}, known here already is {old}.",
        hint="Somebody plays an old copy; ask another relay or the registrar.",
    )


def _same_version(document: Document, named: FileMeta, what: str) -> None:
    if document.version != named.version:
        raise Refused(
            Code.E_DIRECTORY,
            f"The directory's {what} is version {document.version} where {named.version} is named.",
        )


def _listed(snapshot: Document, name: str) -> FileMeta:
    meta = snapshot.meta.get(name)
    if meta is None:
        raise Refused(Code.E_DIRECTORY, f"The directory's snapshot does not list {name}.")
    return meta


def _take(pool: tuple[Mapping[str, bytes], ...], name: str, named: FileMeta) -> bytes:
    """Return the file that *named* describes, from what is offered or from what is kept."""
    found = [one[name] for one in pool if one.get(name)]
    for data in found:
        if named.fits(data):
            return data
    what = "is another file than the one that is vouched for" if found else "is missing"
    raise Refused(
        Code.E_DIRECTORY,
        f"The directory's file {name} {what}.",
        hint="The copy is incomplete or mixed from two; fetch it again or from another relay.",
    )


def _target(
    pool: tuple[Mapping[str, bytes], ...], files: dict[str, bytes], role: Document, path: str
) -> bytes:
    """Return a target file and note it as in use; b"" if the role lists none."""
    meta = role.targets.get(path)
    if meta is None:
        return b""
    name = target_name(path, meta.sha256)
    files[name] = _take(pool, name, meta)
    return files[name]


def delegated(targets: Document) -> Iterator[tuple[str, Delegation]]:
    """Yield each desk's delegation; E_DIRECTORY for one that is not exactly what PROTOCOL 8.1 allows."""
    if len(targets.delegations) > DESKS_MAX:
        raise Refused(Code.E_DIRECTORY, f"The directory has more than {DESKS_MAX} desks.")
    for name, one in targets.delegations.items():
        desk = name.removeprefix(_ROLE_PREFIX)
        if (
            not name.startswith(_ROLE_PREFIX)
            or one.paths != desk_paths(desk)
            or not one.terminating
        ):
            raise Refused(
                Code.E_DIRECTORY, f"The directory delegates {name} otherwise than to a desk."
            )
        yield check_desk(desk), one


def _desks(
    trusted: Trusted,
    pool: tuple[Mapping[str, bytes], ...],
    files: dict[str, bytes],
    chain: tuple[Document, Document, Document],
) -> tuple[dict[str, Found], dict[str, Refused]]:
    root, snapshot, targets = chain
    desks: dict[str, Found] = {}
    changed: dict[str, Refused] = {}
    for desk, one in delegated(targets):
        rotations = _target(pool, files, targets, f"rotations/{desk}.json")
        named = snapshot.meta.get(f"{one.name}.json")
        if named is None:  # delegated, and not yet picked up by the freshness automaton
            continue
        pin = trusted.pins.get(desk)
        if pin is not None and pinned_keys(pin) != one.keys:
            try:
                walk(desk, pinned_keys(pin), one.keys, rotations, root.roles["root"])
            except Refused as refused:
                changed[desk] = refused
        name = f"{named.version}.{one.name}.json"
        files[name] = _take(pool, name, named)
        role = verified(Kind.TARGETS, files[name], one.keys, f"role of desk {desk}")
        _same_version(role, named, f"role of desk {desk}")
        entry, retired = (_target(pool, files, role, path) for path in desk_paths(desk))
        desks[desk] = Found(one.keys, files[name], role.version, role.expires, entry, retired)
    return desks, changed


# What was accepted of a desk before, while what is offered now is not acceptable


def previous(trusted: Trusted, desk: str) -> Found | None:
    """Return a desk as it was last accepted, by the keys that are pinned; None if it never was."""
    pin = trusted.pins.get(desk)
    if pin is None:
        return None
    kept = _held_names(desk)
    if kept[0] in trusted.files:
        role, entry, retired = (trusted.files.get(name, b"") for name in kept)
    else:
        suffix = f".{role_name(desk)}.json"
        role = next((data for name, data in trusted.files.items() if name.endswith(suffix)), b"")
        entry = retired = b""
    keys = pinned_keys(pin)
    document = _still(Kind.TARGETS, role or None, keys)
    if document is None:
        return None
    if not entry:
        pool, unused = (trusted.files,), dict[str, bytes]()
        entry, retired = (_target(pool, unused, document, path) for path in desk_paths(desk))
    return Found(keys, role, document.version, document.expires, entry, retired)


def hold(files: dict[str, bytes], desk: str, found: Found) -> None:
    """Keep a desk's accepted files beside the ones in use, under ``held/``."""
    kept = zip(_held_names(desk), (found.role, found.entry, found.retired), strict=True)
    files.update({name: data for name, data in kept if data})


def _held_names(desk: str) -> tuple[str, str, str]:
    return f"held/{desk}/role.json", f"held/{desk}/entry.json", f"held/{desk}/retired.json"
