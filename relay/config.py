"""The relay's configuration: one TOML file, read once, every value checked with a sentence.

Unknown keys are errors, because a misspelt limit that is silently ignored is worse than none. Secrets are not in the
file: it names files that hold them. Relative paths stand beside the file; ``credential:NAME`` is a file that systemd,
or whoever starts the relay, has put into the folder of credentials.
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys.errors import Failed
from keys.network import ORIGIN, SERVICE
from relay.core import limits

CREDENTIAL = "credential:"
LEVELS = ("debug", "info", "warning", "error")
PER_MINUTE_MAX = 1_000_000
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}\Z")


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
    """What one desk may do in a minute."""

    submits_per_minute: int
    receipts_per_minute: int
    reads_per_minute: int


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


class _Wrong(Exception):
    """A value that cannot stand; the sentence says what may."""


@dataclass(frozen=True, slots=True)
class _Base:
    """What paths are relative to."""

    folder: Path
    credentials: Path | None


_Read = Callable[[Any, _Base], Any]
_REQUIRED = object()


def _text(pattern: re.Pattern[str], what: str) -> _Read:
    def read(value: Any, _base: _Base) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise _Wrong(f"it must be {what}")
        return value

    return read


def _integer(least: int, most: int) -> _Read:
    def read(value: Any, _base: _Base) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _Wrong(f"it must be a whole number from {least} to {most}")
        return value

    return read


def _word(words: tuple[str, ...]) -> _Read:
    def read(value: Any, _base: _Base) -> str:
        if value not in words:
            raise _Wrong(f"it must be one of {', '.join(words)}")
        return str(value)

    return read


def _address(value: Any, _base: _Base) -> str:
    if value == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise _Wrong("it must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1") from None


def _loopback(value: Any, base: _Base) -> str:
    address = _address(value, base)
    if not ipaddress.ip_address(address).is_loopback:
        raise _Wrong(
            "it must be a loopback address: what stands there is for this machine's operator alone"
        )
    return address


def _path(value: Any, base: _Base) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _Wrong("it must be the path of a file")
    if not value.startswith(CREDENTIAL):
        return base.folder / Path(value).expanduser()
    name = value.removeprefix(CREDENTIAL)
    if not name or "/" in name:
        raise _Wrong("a credential has a name without slashes")
    if base.credentials is None:
        raise _Wrong(
            "nobody has passed credentials on: CREDENTIALS_DIRECTORY is not set (systemd: LoadCredential=)"
        )
    return base.credentials / name


def _optional_path(value: Any, base: _Base) -> Path | None:
    return None if value == "" else _path(value, base)


_PORT = _integer(0, 65_535)
_RATE = _integer(1, PER_MINUTE_MAX)

_SECTIONS: Mapping[str, Mapping[str, tuple[_Read, Any]]] = {
    "relay": {
        "service": (
            _text(SERVICE, "a service's name in network.json: small letters, digits, dots, dashes"),
            _REQUIRED,
        ),
        "instance": (
            _text(ORIGIN, "a log's origin in network.json, such as relay1.example.org"),
            _REQUIRED,
        ),
        "control": (_optional_path, ""),
    },
    "listen": {
        "address": (_address, "127.0.0.1"),
        "port": (_PORT, 8424),
        "certificate": (_optional_path, ""),
        "key": (_optional_path, ""),
    },
    "observe": {"address": (_loopback, "127.0.0.1"), "port": (_PORT, 9424)},
    "store": {"path": (_path, "relay.db")},
    "keys": {"ring": (_path, "relay.ring"), "credential": (_path, "relay.key")},
    "directory": {
        "root": (_path, "root.json"),
        "folder": (_optional_path, ""),
        "pack": (_optional_path, ""),
    },
    "limits": {
        "submits_per_minute": (_RATE, limits.SUBMITS_PER_MINUTE),
        "receipts_per_minute": (_RATE, limits.RECEIPTS_PER_MINUTE),
        "reads_per_minute": (_RATE, limits.READS_PER_MINUTE),
    },
    "log": {"level": (_word(LEVELS), "info")},
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
    except tomllib.TOMLDecodeError as error:
        raise Failed(f"The configuration {path} is not TOML: {error}.", exit_code=78) from None
    return parse(raw, path, credentials)


def parse(raw: Mapping[str, Any], path: Path, credentials: Path | None = None) -> Config:
    """Check a configuration that was read from *path*; Failed (78) with a sentence if it is wrong."""
    base = _Base(path.parent, credentials)
    found: dict[str, dict[str, Any]] = {}
    _known(path, "", raw, _SECTIONS)
    for section, rules in _SECTIONS.items():
        given = raw.get(section, {})
        if not isinstance(given, Mapping):
            raise _wrong(path, section, "", "it must be a table, [name] and then its keys")
        _known(path, section, given, rules)
        found[section] = {key: _value(path, section, key, given, base, rules[key]) for key in rules}
    relay, listen, store = found["relay"], Listen(**found["listen"]), found["store"]["path"]
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
    )


def _value(
    path: Path,
    section: str,
    key: str,
    given: Mapping[str, Any],
    base: _Base,
    rule: tuple[_Read, Any],
) -> Any:
    read, default = rule
    if key not in given and default is _REQUIRED:
        raise _wrong(path, section, key, "it is missing, and nobody can guess it")
    try:
        return read(given.get(key, default), base)
    except _Wrong as wrong:
        raise _wrong(path, section, key, str(wrong)) from None


def _check_tls(path: Path, listen: Listen) -> None:
    if (listen.certificate is None) != (listen.key is None):
        raise _wrong(
            path, "listen", "certificate", "certificate and key belong together, and one is missing"
        )
    if listen.certificate is None and not ipaddress.ip_address(listen.address).is_loopback:
        raise _wrong(
            path,
            "listen",
            "address",
            f"{listen.address} can be reached from elsewhere, so it needs TLS: set certificate and key, "
            "or listen on 127.0.0.1 behind a proxy that has them",
        )


def _known(path: Path, section: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    odd = sorted(set(given) - set(known))
    if odd:
        raise _wrong(
            path, section, odd[0], f"there is no such key here; there are {', '.join(known)}"
        )


def _wrong(path: Path, section: str, key: str, why: str) -> Failed:
    where = f"[{section}] {key}".strip() if section else f"[{key}]"
    return Failed(
        f"In {path}, {where}: {why}.", hint="See deploy/relay.example.toml.", exit_code=78
    )
