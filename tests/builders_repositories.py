"""Hands for the directory's tests: hostile repositories, signed by whoever is said to sign."""

from collections.abc import Mapping, Sequence

from builders_keys import World

from keys.identity import Signer
from keys.metadata import FileMeta, Kind, read, sign, write_snapshot, write_targets, write_timestamp
from keys.repository import newest

Files = dict[str, bytes]
HOUR = 3600


def chain(
    world: World,
    now: int,
    *,
    listed: Mapping[str, FileMeta] | None = None,
    leave_out: Sequence[str] = (),
    snapshot_version: int = 0,
    timestamp_version: int = 0,
    snapshot_by: Sequence[Signer] = (),
    timestamp_by: Sequence[Signer] = (),
    snapshot_seconds: int = 24 * HOUR,
    timestamp_seconds: int = HOUR,
    named: FileMeta | None = None,
) -> Files:
    """Sign a snapshot and a timestamp without asking whether they are right. Versions: 0 = the next."""
    files = dict(world.files)
    before, data = newest(files, "snapshot")
    meta = {**read(Kind.SNAPSHOT, data).meta, **(listed or {})}
    meta = {name: one for name, one in meta.items() if name not in leave_out}
    version = snapshot_version or before + 1
    by = list(snapshot_by) or [world.freshness]
    snapshot = sign(write_snapshot(version, now + snapshot_seconds, meta), by)
    files[f"{version}.snapshot.json"] = snapshot
    last = read(Kind.TIMESTAMP, files["timestamp.json"]).version
    stamp = write_timestamp(
        timestamp_version or last + 1,
        now + timestamp_seconds,
        named or FileMeta.of(version, snapshot),
    )
    files["timestamp.json"] = sign(stamp, list(timestamp_by) or [world.freshness])
    return files


def role(
    world: World, desk: str, now: int, by: Sequence[Signer], entry: bytes | None = None
) -> Files:
    """Sign the next role of a desk by any key, with its entry as it is or other bytes; publish it unasked."""
    version, data = newest(world.files, f"desk-{desk}")
    targets = dict(read(Kind.TARGETS, data).targets)
    files = dict(world.files)
    path = f"desks/{desk}.json"
    if entry is not None:
        targets[path] = FileMeta.of(0, entry)
        files[f"targets/desks/{targets[path].sha256}.{desk}.json"] = entry
    signed = sign(write_targets(version + 1, now + 400 * 24 * HOUR, targets), by)
    files[f"{version + 1}.desk-{desk}.json"] = signed
    made = chain(world, now, listed={f"desk-{desk}.json": FileMeta.of(version + 1, signed)})
    return {**made, **files, "timestamp.json": made["timestamp.json"]}


def targets(world: World, now: int, by: Sequence[Signer]) -> Files:
    """Sign the targets anew by anybody, and publish them unasked."""
    version, data = newest(world.files, "targets")
    old = read(Kind.TARGETS, data)
    signed = sign(
        write_targets(
            version + 1, now + 9 * 24 * HOUR, old.targets, list(old.delegations.values())
        ),
        by,
    )
    made = chain(world, now, listed={"targets.json": FileMeta.of(version + 1, signed)})
    return {**made, f"{version + 1}.targets.json": signed}
