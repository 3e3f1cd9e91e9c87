"""The relay's configuration: one TOML file, read once, every value checked with a sentence.

Unknown keys are errors, because a misspelt limit that is silently ignored is worse than none. Secrets are not in the
file: it names files that hold them. Relative paths stand beside the file; ``credential:NAME`` is a file that systemd,
or whoever starts the relay, has put into the folder of credentials.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys.errors import Failed
from keys.network import ORIGIN, SERVICE
from relay import clustered, endpoints, settings
from relay.clustered import REDIS
from relay.core import limits
from relay.endpoints import ENDPOINT, Endpoint
from relay.settings import REQUIRED, Base, Rules, known, table, wrong
from relay.store import room
from relay.store.redis_place import Place
from relay.store.room import Room
from relay.wire.blob import BLOB_BYTES_MAX

LEVELS = ("debug", "info", "warning", "error")
PER_MINUTE_MAX = 1_000_000
DISK_BYTES_MAX = 2**50


@dataclass(frozen=True, slots=True)
class Listen:
    """Where desks connect. Without a certificate only loopback is possible. Port 0 takes any free one."""

    address: str
    port: int
    certificate: Path | None
    key: Path | None


@dataclass(frozen=True, slots=True)
class Observe:
    """Where the operator's machine reads health and metrics: loopback only."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Keys:
    """The relay's key ring, sealed, and the file with the 32-byte key that opens it."""

    ring: Path
    credential: Path


@dataclass(frozen=True, slots=True)
class Source:
    """The trust anchor, and where newer directories come from besides the network."""

    root: Path
    folder: Path | None
    pack: Path | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one desk may do in a minute, and how many connections there may be from one address."""

    submits_per_minute: int
    receipts_per_minute: int
    reads_per_minute: int
    connections_per_address: int


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator chooses."""

    path: Path
    service: str
    instance: str
    listen: Listen
    observe: Observe
    store: Path
    control: Path
    keys: Keys
    directory: Source
    limits: Limits
    level: str
    blobs: Path
    """The folder of attachments."""
    blob_quota: int
    """Bytes of attachments that one desk may have here."""
    room: Room
    """The disk under the store: how much of it has to stay free."""
    redis: Place | None
    """Where Redis is, for several instances; None: everything is in the store's file, and this is the only one."""
    endpoints: tuple[Endpoint, ...] = ()
    """Whom to page, for which handle of which desk."""


_PORT = settings.integer(0, 65_535)
_RATE = settings.integer(1, PER_MINUTE_MAX)

_SECTIONS: Mapping[str, Rules] = {
    "relay": {
        "service": (
            settings.text(
                SERVICE, "a service's name in network.json: small letters, digits, dots, dashes"
            ),
            REQUIRED,
        ),
        "instance": (
            settings.text(ORIGIN, "a log's origin in network.json, such as relay1.example.org"),
            REQUIRED,
        ),
        "control": (settings.optional_path, ""),
    },
    "listen": {
        "address": (settings.address, "127.0.0.1"),
        "port": (_PORT, 8424),
        "certificate": (settings.optional_path, ""),
        "key": (settings.optional_path, ""),
    },
    "observe": {"address": (settings.loopback, "127.0.0.1"), "port": (_PORT, 9424)},
    "store": {
        "path": (settings.path, "relay.db"),
        "blobs": (settings.optional_path, ""),
        "blob_quota_bytes": (
            settings.integer(BLOB_BYTES_MAX, DISK_BYTES_MAX),
            limits.BLOB_QUOTA_BYTES,
        ),
        "ballast_bytes": (settings.integer(0, DISK_BYTES_MAX), room.BALLAST_BYTES),
        "free_bytes_min": (settings.integer(0, DISK_BYTES_MAX), room.FREE_BYTES_MIN),
        "free_percent_min": (settings.integer(0, 50), room.FREE_PERCENT_MIN),
    },
    "keys": {"ring": (settings.path, "relay.ring"), "credential": (settings.path, "relay.key")},
    "directory": {
        "root": (settings.path, "root.json"),
        "folder": (settings.optional_path, ""),
        "pack": (settings.optional_path, ""),
    },
    "limits": {
        "submits_per_minute": (_RATE, limits.SUBMITS_PER_MINUTE),
        "receipts_per_minute": (_RATE, limits.RECEIPTS_PER_MINUTE),
        "reads_per_minute": (_RATE, limits.READS_PER_MINUTE),
        "connections_per_address": (settings.integer(0, 65_535), limits.CONNECTIONS_PER_ADDRESS),
    },
    "log": {"level": (settings.word(LEVELS), "info")},
}


def load(path: Path, credentials: Path | None = None) -> Config:
    """Read the file; *credentials* is the folder of ``credential:`` names. Failed (78) with a sentence otherwise."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(
            f"The configuration {path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.",
            hint="Copy deploy/relay.example.toml and name it with --config.",
            exit_code=78,
        ) from None
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # A number of 5000 digits; a list in lists in lists.
        raise Failed(f"The configuration {path} is not TOML: {error}.", exit_code=78) from None
    return parse(raw, path, credentials)


def parse(raw: Mapping[str, Any], path: Path, credentials: Path | None = None) -> Config:
    """Check a configuration that was read from *path*; Failed (78) with a sentence if it is wrong."""
    base = Base(path.parent, credentials)
    found: dict[str, dict[str, Any]] = {}
    known(path, "", raw, {**_SECTIONS, REDIS: None, ENDPOINT: None})
    for section, rules in _SECTIONS.items():
        found[section] = table(path, section, raw.get(section, {}), rules, base)
    relay, listen, store = found["relay"], Listen(**found["listen"]), found["store"].pop("path")
    blobs, quota = found["store"].pop("blobs"), found["store"].pop("blob_quota_bytes")
    _check_tls(path, listen)
    return Config(
        path=path,
        service=relay["service"],
        instance=relay["instance"],
        listen=listen,
        observe=Observe(**found["observe"]),
        store=store,
        control=relay["control"] or store.with_name(store.name + ".sock"),
        keys=Keys(**found["keys"]),
        directory=Source(**found["directory"]),
        limits=Limits(**found["limits"]),
        level=found["log"]["level"],
        blobs=blobs or store.with_name(store.name + ".blobs"),
        blob_quota=quota,
        room=Room(store, **found["store"]),
        redis=clustered.read(path, raw, relay["instance"], base),
        endpoints=endpoints.read(path, raw.get(ENDPOINT, []), base),
    )


def _check_tls(path: Path, listen: Listen) -> None:
    if (listen.certificate is None) != (listen.key is None):
        raise wrong(
            path, "listen", "certificate", "certificate and key belong together, and one is missing"
        )
    if listen.certificate is None and not ipaddress.ip_address(listen.address).is_loopback:
        raise wrong(
            path,
            "listen",
            "address",
            f"{listen.address} can be reached from elsewhere, so it needs TLS: set certificate and key, "
            "or listen on 127.0.0.1 behind a proxy that has them",
        )
