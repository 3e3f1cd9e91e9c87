"""The signed directory of who is who: take an update, look desks and keys up (PROTOCOL 8). Start reading here.

The way of an update: :func:`missing` says which files to fetch next, :func:`update` verifies them all together with
what is trusted already (:mod:`keys.trust` for TUF, :mod:`keys.continuity` for changes of desk keys, :mod:`keys.entry`
for what a desk says of itself) and returns the new trusted state with the :class:`Directory` that it describes, or
raises and changes nothing. One desk with a bad entry does not stop the others: its last good entry stays, and nothing
is sent to it.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from keys import trust
from keys.continuity import pin_of
from keys.entry import DeskEntry, Member, check_floor, read_entry
from keys.errors import Code, Refused
from keys.identity import fingerprint
from keys.metadata import FileMeta, Kind, read
from keys.network import Instance, Network, Service, read_network
from keys.prekey import (
    AHEAD_SECONDS_MAX,
    PREKEY_SECONDS_MAX,
    Prekey,
    make_prekey,
    read_prekey,
)
from keys.suite import sha256
from keys.trust import Found, Trusted, Walked, begin, target_name

__all__ = [
    "AHEAD_SECONDS_MAX",
    "PREKEY_SECONDS_MAX",
    "DeskEntry",
    "Directory",
    "Instance",
    "Member",
    "Network",
    "Prekey",
    "Service",
    "Trusted",
    "begin",
    "hashes",
    "make_prekey",
    "missing",
    "next_root",
    "pack",
    "read_prekey",
    "unpack",
    "update",
    "view",
]

PACK_BYTES_MAX = 64 * 1024 * 1024
PACK_FILES_MAX = 6000


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory in force. *version* and *expires* (seconds UTC) are the timestamp's.

    *held*: desks whose keys changed without a rotation, each with a sentence that has both fingerprints. *faulty*:
    desks whose newest entry is not acceptable, each with the reason. For both, *desks* has the last accepted entry.
    """

    network: Network
    desks: Mapping[str, DeskEntry]
    version: int
    expires: int
    held: Mapping[str, str]
    faulty: Mapping[str, str]
    devices: Mapping[str, Member] = field(repr=False)
    officers: Mapping[str, Member] = field(repr=False)

    def desk(self, desk: str) -> DeskEntry:
        """Return a desk's entry; E_WRONG_DESK if the directory has none."""
        entry = self.desks.get(desk)
        if entry is None:
            raise Refused(
                Code.E_WRONG_DESK,
                f"There is no desk {desk!r} in the directory.",
                hint="Desk ids look like VN or AU-B; `keys verify` lists them.",
            )
        return entry

    def sendable(self, desk: str, now: int) -> DeskEntry:
        """Return a desk's entry if it may be written to now.

        Raises E_WRONG_DESK, E_DESK_KEY_CHANGED, E_DIRECTORY (its newest entry is faulty), E_DIRECTORY_STALE.
        """
        if desk in self.held:
            raise Refused(Code.E_DESK_KEY_CHANGED, self.held[desk])
        if desk in self.faulty:
            raise Refused(Code.E_DIRECTORY, self.faulty[desk])
        entry = self.desk(desk)
        if not self.fresh(now):
            raise Refused(
                Code.E_DIRECTORY_STALE,
                f"The directory is {(now - self.expires) // 60} minutes past its date: a revocation may be hidden.",
                hint="Refresh it, or override for this one message; the override is recorded and shown.",
            )
        return entry

    def device(self, kid: str) -> Member | None:
        """Return the member with this device key in the whole directory, in force or not."""
        return self.devices.get(kid)

    def officer(self, kid: str) -> Member | None:
        """Return the first member entry of the officer with this key."""
        return self.officers.get(kid)

    def relay_key(self, service: str, instance: str) -> bytes:
        """Return the evidence public key of a service's instance; E_SIGNER if the directory names none."""
        known = self.network.services.get(service)
        for one in known.instances if known else ():
            if one.origin == instance:
                return one.evidence_key
        raise Refused(
            Code.E_SIGNER,
            f"The directory names no instance {instance!r} of a relay service {service!r}.",
            hint="Refresh the directory; a relay that it does not name is not believed.",
        )

    def fresh(self, now: int) -> bool:
        """Whether the timestamp is within its date: older, and a revocation may be hidden."""
        return now < self.expires


# Taking an update


def update(
    trusted: Trusted, offered: Mapping[str, bytes], now: int, *, allow_expired: bool = False
) -> tuple[Trusted, Directory]:
    """Verify an offered update and return the new trusted state and its directory; all or nothing.

    Raises E_DIRECTORY (rollback, below threshold, mixed files, a gap in the root chain), E_DIRECTORY_STALE (expired),
    E_KEY (a dishonest key anywhere), E_TOO_LARGE, E_ENCODING (network.json).
    """
    walked = trust.walk_metadata(trusted, offered, now, allow_expired=allow_expired)
    network = read_network(walked.network)
    taking = _Taking(trusted, walked, network)
    for desk in taking.order():
        taking.take(desk)
    directory = Directory(
        network,
        dict(sorted(taking.entries.items())),
        walked.timestamp.version,
        walked.timestamp.expires,
        taking.held,
        taking.faulty,
        taking.devices,
        taking.officers,
    )
    return Trusted(walked.files, taking.pins), directory


def view(trusted: Trusted, now: int) -> Directory:
    """Return the directory of what is trusted already, expired or not (``fresh(now)`` says)."""
    return update(trusted, {}, now, allow_expired=True)[1]


class _Taking:
    """Takes the desks of one update one by one, each in full or not at all."""

    def __init__(self, trusted: Trusted, walked: Walked, network: Network) -> None:
        self._trusted, self._walked, self._network = trusted, walked, network
        self.entries: dict[str, DeskEntry] = {}
        self.held: dict[str, str] = {}
        self.faulty: dict[str, str] = {}
        self.pins = dict(trusted.pins)
        self.devices: dict[str, Member] = {}
        self.officers: dict[str, Member] = {}
        self._owners: dict[str, str] = {}

    def order(self) -> list[str]:
        """Desks that did not change come first; keys that a changed desk had before are kept for it.

        So nobody can push a desk out by listing its keys first.
        """
        files = self._trusted.files

        def unchanged(desk: str, found: Found) -> bool:
            name = target_name(trust.desk_paths(desk)[0], sha256(found.entry).hex())
            return name in files and desk not in self._walked.changed

        desks = self._walked.desks
        changed = {desk for desk, found in desks.items() if not unchanged(desk, found)}
        for desk in changed:
            self._keep_keys(desk)
        return sorted(desks, key=lambda desk: (desk in changed, desk))

    def _keep_keys(self, desk: str) -> None:
        before = trust.previous(self._trusted, desk)
        if before is None or not before.entry:
            return
        with suppress(Refused):
            entry = read_entry(desk, before.entry, before.retired)
            for one in (*entry.members, *entry.retired):
                self._owners[one.device_kid] = desk
                self._owners[one.officer_kid] = desk

    def take(self, desk: str) -> None:
        """Take one desk, or keep what was accepted of it and say why."""
        found = self._walked.desks[desk]
        try:
            if desk in self._walked.changed:
                raise self._walked.changed[desk]
            self._enter(desk, found)
        except Refused as refused:
            reasons = self.held if refused.code is Code.E_DESK_KEY_CHANGED else self.faulty
            reasons[desk] = str(refused)
            self._keep(desk)
            return
        self.pins[desk] = pin_of(found.keys)

    def _enter(self, desk: str, found: Found) -> None:
        if not found.entry:
            raise Refused(Code.E_DIRECTORY, f"Desk {desk} has signed no entry.")
        read = read_entry(desk, found.entry, found.retired)
        check_floor(read, self._network.floor)
        members = (*read.members, *read.retired)
        self._claim(desk, members)
        self.entries[desk] = replace(
            read,
            version=found.version,
            expires=found.expires,
            desk_kids=found.keys.kids,
            threshold=found.keys.threshold,
        )
        for one in members:
            self.devices[one.device_kid] = one
            if one.officer_kid:
                self.officers.setdefault(one.officer_kid, one)

    def _claim(self, desk: str, members: Iterable[Member]) -> None:
        """Refuse keys that stand elsewhere: a device key occurs once, an officer key under one desk and handle."""
        mine: dict[str, str] = {}
        for one in members:
            if one.device_kid in self.devices or one.device_kid in self.officers:
                raise _twice(desk, "device", one.device_kid)
            if self._owners.get(one.device_kid, desk) != desk:
                raise _twice(desk, "device", one.device_kid)
            if not one.officer_kid:
                continue
            other = self.officers.get(one.officer_kid)
            handle = mine.setdefault(one.officer_kid, one.officer)
            if other is not None or handle != one.officer or one.officer_kid in self.devices:
                raise _twice(desk, "officer", one.officer_kid)
            if self._owners.get(one.officer_kid, desk) != desk:
                raise _twice(desk, "officer", one.officer_kid)
        if mine.keys() & {one.device_kid for one in members}:
            raise _twice(desk, "officer", next(iter(mine)))

    def _keep(self, desk: str) -> None:
        before = trust.previous(self._trusted, desk)
        if before is None:
            return
        trust.hold(self._walked.files, desk, before)
        try:
            self._enter(desk, before)
        except Refused as refused:
            self.faulty.setdefault(desk, str(refused))


def _twice(desk: str, what: str, kid: str) -> Refused:
    return Refused(
        Code.E_DIRECTORY,
        f"Desk {desk} lists the {what} key {fingerprint(kid)[:17]}… which stands elsewhere already.",
        hint="One key is one device, and one officer at one desk. Enrol a new key.",
    )


# Fetching


def next_root(trusted: Trusted, offered: Mapping[str, bytes]) -> str:
    """Return the name of the root document to ask for next; a source that has none ends the chain (TUF 5.3)."""
    mine = trust.newest_root(trusted.files)
    theirs = trust.newest_root({name: b"" for name, data in offered.items() if data})
    return f"{max(mine, theirs) + 1}.root.json"


def missing(trusted: Trusted, offered: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return names still to be fetched, from what was fetched so far; () when there is nothing more to ask for.

    The loop of a reader: ask for :func:`next_root` until the source has none (each answer into *offered*), then fetch
    what this function names until it names nothing, then :func:`update`. A file that the source does not have is put
    into *offered* as b"", so that it is not asked for again; the update then says what is missing. Nothing here is
    trusted yet: what cannot be read names nothing, and the update refuses it.
    """
    wanted: list[str] = []
    mine = trust.newest_root(trusted.files)
    theirs = trust.newest_root({name: b"" for name, data in offered.items() if data})
    wanted += [f"{n}.root.json" for n in range(mine + 1, min(theirs, mine + trust.ROOTS_MAX))]
    wanted.append("timestamp.json")
    pool = {**trusted.files, **offered}
    if offered.get("timestamp.json"):
        with suppress(Refused):
            _wanted_below(pool, trusted.files, wanted)
    return tuple(dict.fromkeys(name for name in wanted if name not in offered))


def _wanted_below(pool: Mapping[str, bytes], kept: Mapping[str, bytes], wanted: list[str]) -> None:
    named = read(Kind.TIMESTAMP, pool["timestamp.json"]).meta["snapshot.json"]

    def want(name: str, meta: FileMeta) -> bytes:
        """Ask for a file unless the right one is kept; return what there is of it."""
        if name not in kept or not meta.fits(kept[name]):
            wanted.append(name)
        return pool.get(name, b"")

    name = f"{named.version}.snapshot.json"
    data = want(name, named)
    if not data:
        return
    for base, meta in read(Kind.SNAPSHOT, data).meta.items():
        name = f"{meta.version}.{base}"
        if not trust.NAME.match(name):
            continue
        role = want(name, meta)
        if not role:
            continue
        for path, target in read(Kind.TARGETS, role).targets.items():
            name = target_name(path, target.sha256)
            if trust.NAME.match(name):
                want(name, target)


def hashes(before: Trusted | None, after: Trusted) -> tuple[str, ...]:
    """Return SHA-256, in hex, of metadata and rotation files that are new, for the evidence log (PROTOCOL 8.6)."""
    known = set(before.files.values()) if before else set()
    new = {
        sha256(data).hex()
        for name, data in after.files.items()
        if data not in known
        and (not name.startswith(("targets/", "held/")) or name.startswith("targets/rotations/"))
    }
    return tuple(sorted(new))


# One body for a whole publication


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return directory files as one body: per file u16 length || name || u32 length || bytes, sorted by name."""
    parts: list[bytes] = []
    for name in sorted(files):
        if trust.NAME.match(name):
            encoded = name.encode()
            parts += (len(encoded).to_bytes(2, "big"), encoded)
            parts += (len(files[name]).to_bytes(4, "big"), files[name])
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, bytes]:
    """Read what :func:`pack` wrote; E_TOO_LARGE over 64 MiB or 6000 files, E_ENCODING for anything else but it."""
    if len(data) > PACK_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"A directory pack may have {PACK_BYTES_MAX} bytes.")
    files: dict[str, bytes] = {}
    at, last = 0, ""
    while at < len(data):
        head, at = _cut(data, at, 2)
        encoded, at = _cut(data, at, int.from_bytes(head, "big"))
        size, at = _cut(data, at, 4)
        body, at = _cut(data, at, int.from_bytes(size, "big"))
        name = encoded.decode("ascii", "replace")
        if not trust.NAME.match(name) or name <= last:
            raise Refused(
                Code.E_ENCODING,
                "A directory pack names a file that does not belong, or out of order.",
            )
        files[name], last = body, name
        if len(files) > PACK_FILES_MAX:
            raise Refused(Code.E_TOO_LARGE, f"A directory pack may have {PACK_FILES_MAX} files.")
    return files


def _cut(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise Refused(Code.E_ENCODING, "A directory pack ends in the middle of a file.")
    return data[at : at + length], at + length
