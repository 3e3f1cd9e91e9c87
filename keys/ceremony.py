"""The registrar's and the desks' side of the directory: build and sign it (PROTOCOL 7, 8). Pure: files in, files out.

A repository is a mapping from TUF file names to bytes, old versions included. Every function takes one, with the
private keys that the step needs and the time, and returns a new one; nothing is published before :func:`freshen` has
signed a snapshot that names it, and freshen names nothing that a reader would refuse.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from keys import statement
from keys.continuity import add_step
from keys.directory import Directory, Trusted, begin, update
from keys.entry import Member, check_floor, enrolment, member_json, read_entry
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.metadata import (
    Delegation,
    Document,
    FileMeta,
    KeySet,
    Kind,
    read,
    sign,
    verified,
    write_root,
    write_snapshot,
    write_targets,
    write_timestamp,
)
from keys.network import read_network
from keys.repository import (
    Files,
    current_entry,
    current_root,
    current_targets,
    desk_keys,
    network_floor,
    newest,
    rotations_of,
)
from keys.suite import sha256
from keys.trust import desk_paths, newest_root, role_name, target_name

DAY = 86_400
ROOT_SECONDS = 365 * DAY
TARGETS_SECONDS = 365 * DAY
ENTRY_SECONDS = 400 * DAY
SNAPSHOT_SECONDS = DAY
TIMESTAMP_SECONDS = 3600


def ceremony(
    root: KeySet,
    registrar: KeySet,
    freshness: KeySet,
    root_signers: Sequence[Signer],
    registrar_signers: Sequence[Signer],
    network: Mapping[str, Any],
    now: int,
) -> dict[str, bytes]:
    """Begin a directory: root document 1 and targets 1 with ``network.json``, and no desk yet."""
    roles = {"root": root, "targets": registrar, "snapshot": freshness, "timestamp": freshness}
    files = {"1.root.json": sign(write_root(1, now + ROOT_SECONDS, roles), root_signers)}
    begin(files["1.root.json"])
    data = statement.encode(network)
    read_network(data)
    meta = FileMeta.of(0, data)
    files[target_name("network.json", meta.sha256)] = data
    return _targets(files, {"network.json": meta}, {}, registrar_signers, now)


def renew_root(
    files: Files,
    signers: Sequence[Signer],
    now: int,
    *,
    root: KeySet | None = None,
    registrar: KeySet | None = None,
    freshness: KeySet | None = None,
) -> dict[str, bytes]:
    """Sign the next root document, with other keys where given; *signers* must reach the old and the new threshold."""
    old = current_root(files)
    version = newest_root(files) + 1
    fresh = freshness or old.roles["timestamp"]
    roles = {
        "root": root or old.roles["root"],
        "targets": registrar or old.roles["targets"],
        "snapshot": fresh,
        "timestamp": fresh,
    }
    _enough("The next root document", old.roles["root"], signers)
    data = sign(write_root(version, now + ROOT_SECONDS, roles), signers)
    verified(Kind.ROOT, data, old.roles["root"], "root document (by the old keys)")
    begin(data)
    return {**files, f"{version}.root.json": data}


def _enough(
    what: str, by: KeySet, signers: Sequence[Signer], code: Code = Code.E_DIRECTORY
) -> None:
    """Refuse to sign what no reader would take: *code* below the threshold of *by*."""
    present = {one.public for one in signers} & set(by.publics)
    if len(present) < by.threshold:
        raise Refused(
            code,
            f"{what} needs {by.threshold} of {len(by.publics)} keys; {len(present)} are here.",
            hint="Give the ring of each holder; `keys show RING` says whose key is in it.",
        )


# The registrar


def _targets(
    files: Files,
    targets: Mapping[str, FileMeta],
    delegations: Mapping[str, Delegation],
    signers: Sequence[Signer],
    now: int,
) -> dict[str, bytes]:
    version = newest(files, "targets")[0] + 1
    data = write_targets(version, now + TARGETS_SECONDS, targets, list(delegations.values()))
    by = current_root(files).roles["targets"]
    _enough("What the registrar signs", by, signers)
    data = sign(data, signers)
    verified(Kind.TARGETS, data, by, "targets")
    return {**files, f"{version}.targets.json": data}


def set_network(
    files: Files, network: Mapping[str, Any], registrar: Sequence[Signer], now: int
) -> dict[str, bytes]:
    """Replace ``network.json``; E_DIRECTORY if a desk's profile would be slower than the new floor."""
    data = statement.encode(network)
    read_network(data)
    old = current_targets(files)
    for name in old.delegations:
        desk = name.removeprefix(role_name(""))
        if newest(files, name)[0]:
            check_floor(
                read_entry(desk, statement.encode(current_entry(files, desk))), network["floor"]
            )
    meta = FileMeta.of(0, data)
    files = {**files, target_name("network.json", meta.sha256): data}
    return _targets(files, {**old.targets, "network.json": meta}, old.delegations, registrar, now)


def add_desk(
    files: Files, desk: str, keys: KeySet, registrar: Sequence[Signer], now: int
) -> dict[str, bytes]:
    """Delegate ``desks/<ID>.json`` to a new desk's keys; E_DIRECTORY if the desk is there already."""
    old = current_targets(files)
    if role_name(desk) in old.delegations:
        raise Refused(
            Code.E_DIRECTORY,
            f"Desk {desk} is in the directory already.",
            hint="Its keys change by `keys rotate`, or by `keys recover` when they are lost.",
        )
    return delegate(files, desk, keys, registrar, now)


def delegate(
    files: Files,
    desk: str,
    keys: KeySet,
    registrar: Sequence[Signer],
    now: int,
    rotations: bytes = b"",
) -> dict[str, bytes]:
    """Name a desk's keys, whatever they were: readers follow a change only with *rotations* that lead to it (8.4)."""
    old = current_targets(files)
    delegation = Delegation(role_name(desk), keys, desk_paths(desk), terminating=True)
    targets = dict(old.targets)
    files = dict(files)
    if rotations:
        path = f"rotations/{desk}.json"
        targets[path] = FileMeta.of(0, rotations)
        files[target_name(path, targets[path].sha256)] = rotations
    return _targets(
        files, targets, {**old.delegations, delegation.name: delegation}, registrar, now
    )


def rotate(
    files: Files,
    desk: str,
    new: KeySet,
    old_signers: Sequence[Signer],
    registrar: Sequence[Signer],
    new_signers: Sequence[Signer],
    now: int,
) -> dict[str, bytes]:
    """Change a desk's keys by its own hand: rotation statement, delegation, and the entry signed by the new keys."""
    return _change("rotation", files, desk, new, old_signers, registrar, new_signers, now)


def recover(
    files: Files,
    desk: str,
    new: KeySet,
    root: Sequence[Signer],
    registrar: Sequence[Signer],
    new_signers: Sequence[Signer],
    now: int,
) -> dict[str, bytes]:
    """Change a desk's lost keys by the root's threshold: recovery statement, delegation, entry by the new keys."""
    return _change("recovery", files, desk, new, root, registrar, new_signers, now)


def _change(
    kind: str,
    files: Files,
    desk: str,
    new: KeySet,
    signers: Sequence[Signer],
    registrar: Sequence[Signer],
    new_signers: Sequence[Signer],
    now: int,
) -> dict[str, bytes]:
    old = desk_keys(files, desk)
    by = old if kind == "rotation" else current_root(files).roles["root"]
    _enough(f"A {kind} of desk {desk}", by, signers, Code.E_SIGNATURE)
    steps = add_step(rotations_of(files, desk), kind, desk, old, new, now, signers)
    entry = current_entry(files, desk) if newest(files, role_name(desk))[0] else None
    changed = delegate(files, desk, new, registrar, now, steps)
    return enter(changed, desk, entry, new_signers, now) if entry else changed


# The desk


def prove(
    desk: str, handle: str, officer: Signer | None, device: Signer, now: int
) -> list[statement.Statement]:
    """Return the enrolment statements of a new member: proof that both private keys are held (PROTOCOL 8.3)."""
    fields = enrolment(desk, handle, officer.kid if officer else "", device.kid, now)
    return [statement.make("enrol", fields, one) for one in (officer, device) if one]


def new_member(
    desk: str, handle: str, officer: bytes, device: bytes, enrol: Sequence[bytes], since: int
) -> dict[str, Any]:
    """Return a new active member as it stands in the entry; *officer* is b"" and *handle* "" for a desk's server."""
    member = Member(desk, handle, officer, device, "active", since, 0)
    return member_json(member, enrol)


def new_entry(
    desk: str,
    members: Sequence[Mapping[str, Any]],
    profile: Mapping[str, Any],
    card: Mapping[str, Any],
    *,
    serves: Sequence[str] = (),
    archive: bytes = b"",
) -> dict[str, Any]:
    """Return a desk entry as JSON, not signed yet."""
    return {
        "v": 1,
        "desk": desk,
        "members": list(members),
        "profile": profile,
        "card": card,
        "serves": list(serves),
        "archive": statement.b64u(archive),
    }


def with_member(entry: Mapping[str, Any], member: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry with one more member."""
    return {**entry, "members": [*entry["members"], member]}


def without_member(
    entry: Mapping[str, Any], now: int, *, handle: str = "", device: str = ""
) -> dict[str, Any]:
    """Return the entry with an officer (all devices of a handle) or one device revoked from *now* on.

    Revoked members stay listed for ten years, so that what they signed before can be judged. E_UNKNOWN if nobody fits.
    """

    def meant(one: Mapping[str, Any]) -> bool:
        kid = statement_kid(one["device_key"])
        return one["status"] == "active" and (kid == device if device else one["officer"] == handle)

    gone = {statement_kid(one["device_key"]) for one in entry["members"] if meant(one)}
    if not gone:
        raise Refused(
            Code.E_UNKNOWN,
            f"Desk {entry['desk']} has no active member {device or handle!r}.",
            hint=f"Active there are: {', '.join(_active(entry)) or 'none'}.",
        )
    members = [
        {**one, "status": "revoked", "until": max(now, one["since"])} if meant(one) else one
        for one in entry["members"]
    ]
    serves = [kid for kid in entry["serves"] if kid not in gone]
    return {**entry, "members": members, "serves": serves}


def _active(entry: Mapping[str, Any]) -> list[str]:
    return [
        f"{one['officer'] or 'the server'} (--device {statement_kid(one['device_key'])})"
        for one in entry["members"]
        if one["status"] == "active"
    ]


def statement_kid(key: str) -> str:
    """Return the key id of a public key in b64u."""
    return Member("", "", b"", statement.unb64u(key), "active", 0, 0).device_kid


def enter(
    files: Files,
    desk: str,
    entry: Mapping[str, Any],
    signers: Sequence[Signer],
    now: int,
    *,
    retired: bytes | None = None,
) -> dict[str, bytes]:
    """Sign a desk's entry by its keys, after checking it as a reader would; it is valid for 400 days.

    *retired*: the list of retired members; None keeps the one that is there. Raises what reading an entry raises.
    """
    data = statement.encode(entry)
    path, retired_path = desk_paths(desk)
    version, role = newest(files, role_name(desk))
    targets = dict(read(Kind.TARGETS, role).targets) if role else {}
    files = dict(files)
    if retired is not None:
        targets[retired_path] = FileMeta.of(0, retired)
        files[target_name(retired_path, targets[retired_path].sha256)] = retired
    past = targets.get(retired_path)
    read_desk = read_entry(
        desk, data, files[target_name(retired_path, past.sha256)] if past else b""
    )
    check_floor(read_desk, network_floor(files))
    targets[path] = FileMeta.of(0, data)
    files[target_name(path, targets[path].sha256)] = data
    by = desk_keys(files, desk)
    _enough(f"The entry of desk {desk}", by, signers)
    signed = sign(write_targets(version + 1, now + ENTRY_SECONDS, targets), signers)
    verified(Kind.TARGETS, signed, by, f"role of desk {desk}")
    return {**files, f"{version + 1}.{role_name(desk)}.json": signed}


# The freshness automaton


def freshen(files: Files, freshness: Signer, now: int) -> dict[str, bytes]:
    """Sign a snapshot (24 h) of the newest acceptable files and a timestamp (1 h) over it.

    A desk's newest role is picked up only if a reader would accept it; else the one before stays listed. A snapshot
    that says nothing new and is good for more than half a day is kept, and only the timestamp is signed.
    """
    _version, old_data = newest(files, "snapshot")
    old = read(Kind.SNAPSHOT, old_data) if old_data else None
    left_out: set[str] = set()
    # As a reader sees it who has what was published last: keys that a desk had already are not given to another.
    before = _first(files)
    with suppress(Refused):  # nothing was published, or a new root has taken its signer away
        before = update(before, files, now, allow_expired=True)[0]
    while True:
        made = _snapshot(files, freshness, now, old, old_data, left_out)
        directory = update(before, made, now)[1]
        bad = set(directory.faulty) - left_out
        if not bad:
            return made
        left_out |= bad


def _snapshot(
    files: Files,
    freshness: Signer,
    now: int,
    old: Document | None,
    old_data: bytes,
    left_out: set[str],
) -> dict[str, bytes]:
    targets = current_targets(files)
    listed = dict(old.meta) if old else {}
    listed["targets.json"] = FileMeta.of(targets.version, newest(files, "targets")[1])
    for name, one in targets.delegations.items():
        version, data = newest(files, name)
        if data and name.removeprefix(role_name("")) not in left_out and _signed(data, one.keys):
            listed[f"{name}.json"] = FileMeta.of(version, data)
    out = dict(files)
    if old and listed == dict(old.meta) and old.expires - now > SNAPSHOT_SECONDS // 2:
        version, data = old.version, old_data
    else:
        version = old.version + 1 if old else 1
        data = sign(write_snapshot(version, now + SNAPSHOT_SECONDS, listed), [freshness])
    out[f"{version}.snapshot.json"] = data
    before = read(Kind.TIMESTAMP, out["timestamp.json"]).version if "timestamp.json" in out else 0
    stamp = write_timestamp(before + 1, now + TIMESTAMP_SECONDS, FileMeta.of(version, data))
    out["timestamp.json"] = sign(stamp, [freshness])
    return out


def _signed(data: bytes, keys: KeySet) -> bool:
    try:
        verified(Kind.TARGETS, data, keys, "desk's role")
    except Refused:
        return False
    return True


def accepted(files: Files, now: int) -> Directory:
    """Return the directory as a newcomer would accept it from the first root document on; raise as it would."""
    return update(_first(files), files, now)[1]


def _first(files: Files) -> Trusted:
    first = min(int(name.split(".")[0]) for name in files if name.endswith(".root.json"))
    return begin(files[f"{first}.root.json"])


def fingerprint_of(files: Files) -> str:
    """Return the SHA-256 of the newest root document, in hex: what desks compare when they begin."""
    return sha256(files[f"{newest_root(files)}.root.json"]).hex()
