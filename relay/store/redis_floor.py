"""What a Redis server must be set to before a promise is built on it: pure checks of what CONFIG and INFO say.

Every sentence names the setting, what it is, and the line that mends it.
"""

from collections.abc import Mapping, Sequence

from relay.store.redis_place import Replicas

REDIS_MIN = (6, 2)
SETTINGS: Mapping[str, tuple[str, str]] = {
    "appendonly": ("yes", "without the append-only file a restart loses everything"),
    "appendfsync": ("always", "an answer must not leave before the disk has it"),
    "no-appendfsync-on-rewrite": ("no", "a rewrite would switch the sync off for minutes"),
    "maxmemory-policy": ("noeviction", "any other policy throws facts away when memory is full"),
}
"""Setting: the one value that keeps the promise, and why."""


def version(info: Mapping[str, object]) -> tuple[int, ...]:
    """Return the version whose commands this server has; Valkey says in `redis_version` which Redis it stands for."""
    return tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])


def findings(
    config: Mapping[str, str],
    info: Mapping[str, object],
    replicas: Replicas,
    *,
    disk_safe: bool = True,
) -> list[str]:
    """Return what is wrong as sentences; [] if the promise can be kept."""
    found = []
    if version(info) < REDIS_MIN:
        found.append(
            f"The Redis server is version {info.get('redis_version')}; the store needs 6.2 or later, or any Valkey."
        )
    for name, (wanted, why) in SETTINGS.items():
        here = config.get(name, "")
        if here != wanted:
            found.append(
                f"The Redis server has {name} = {here or 'unknown'}, and must have {wanted}: {why}."
                f" Type: redis-cli CONFIG SET {name} {wanted} && redis-cli CONFIG REWRITE"
            )
    if info.get("role") != "master":
        found.append("The Redis server is a replica; the store writes to the master only.")
    if disk_safe and str(info.get("aof_last_write_status", "ok")) != "ok":
        found.append(
            "The Redis server's last write to its append-only file failed: it must not be restarted on that file."
            " Promote a replica and rebuild this node by a full resync (deploy/README.md)."
        )
    found += _copies(info, replicas)
    return found


def _copies(info: Mapping[str, object], replicas: Replicas) -> Sequence[str]:
    found = []
    if replicas.wait > replicas.promotable:
        found.append(
            f"The configuration waits for {replicas.wait} replicas, and names {replicas.promotable}:"
            " nothing could ever be accepted. Set replicas to how many there are."
        )
    here = int(str(info.get("connected_slaves", 0)))
    if here > replicas.promotable:
        found.append(
            f"{here} replicas are attached and the configuration names {replicas.promotable}. Each that can be promoted"
            " counts: name them all, or give the others replica-priority 0 and take them off."
        )
    return found
