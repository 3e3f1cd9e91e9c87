"""How values of a configuration are read: what may stand there, and a sentence where something else does.

A reader takes a value of TOML and what paths are relative to; it returns the value as the program wants it, or raises
:class:`Wrong` with the end of a sentence that begins "In FILE, [table] key:".
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys.errors import Failed

CREDENTIAL = "credential:"
REQUIRED = object()
"""The default of a value that nobody can guess."""


class Wrong(Exception):
    """A value that cannot stand; the sentence says what may."""


@dataclass(frozen=True, slots=True)
class Base:
    """What paths are relative to."""

    folder: Path
    credentials: Path | None


Read = Callable[[Any, Base], Any]
Rules = Mapping[str, tuple[Read, Any]]
"""A table's keys: how each is read, and what it is where it is absent."""


def text(pattern: re.Pattern[str], what: str) -> Read:
    """Return a reader of strings of a form that *what* describes."""

    def read(value: Any, _base: Base) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise Wrong(f"it must be {what}")
        return value

    return read


def integer(least: int, most: int) -> Read:
    """Return a reader of whole numbers from *least* to *most*."""

    def read(value: Any, _base: Base) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Wrong(f"it must be a whole number from {least} to {most}")
        return value

    return read


def word(words: tuple[str, ...]) -> Read:
    """Return a reader of one of a closed list of words."""

    def read(value: Any, _base: Base) -> str:
        if value not in words:
            raise Wrong(f"it must be one of {', '.join(words)}")
        return str(value)

    return read


def address(value: Any, _base: Base) -> str:
    """Read an IP address; ``localhost`` is one too."""
    if value == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise Wrong("it must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1") from None


def loopback(value: Any, base: Base) -> str:
    """Read an address of this machine's own."""
    found = address(value, base)
    if not ipaddress.ip_address(found).is_loopback:
        raise Wrong(
            "it must be a loopback address: what stands there is for this machine's operator alone"
        )
    return found


def path(value: Any, base: Base) -> Path:
    """Read the path of a file, beside the configuration or among the credentials."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong("it must be the path of a file")
    if not value.startswith(CREDENTIAL):
        return base.folder / Path(value).expanduser()
    name = value.removeprefix(CREDENTIAL)
    if not name or "/" in name:
        raise Wrong("a credential has a name without slashes")
    if base.credentials is None:
        raise Wrong(
            "nobody has passed credentials on: CREDENTIALS_DIRECTORY is not set (systemd: LoadCredential=)"
        )
    return base.credentials / name


def optional_path(value: Any, base: Base) -> Path | None:
    """Read a path, or "" for none."""
    return None if value == "" else path(value, base)


def table(file: Path, where: str, given: Any, rules: Rules, base: Base) -> dict[str, Any]:
    """Read one closed table; Failed (78) for an unknown key, a missing one, or a value that cannot stand."""
    if not isinstance(given, Mapping):
        raise wrong(file, where, "", "it must be a table, [name] and then its keys")
    known(file, where, given, rules)
    return {key: _value(file, where, key, given, base, rule) for key, rule in rules.items()}


def _value(
    file: Path,
    where: str,
    key: str,
    given: Mapping[str, Any],
    base: Base,
    rule: tuple[Read, Any],
) -> Any:
    read, default = rule
    if key not in given and default is REQUIRED:
        raise wrong(file, where, key, "it is missing, and nobody can guess it")
    try:
        return read(given.get(key, default), base)
    except Wrong as error:
        raise wrong(file, where, key, str(error)) from None


def known(file: Path, where: str, given: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Refuse a key that is none of *names*: a misspelt one that is silently ignored is worse than none."""
    odd = sorted(set(given) - set(names))
    if odd:
        raise wrong(file, where, odd[0], f"there is no such key here; there are {', '.join(names)}")


def wrong(file: Path, where: str, key: str, why: str) -> Failed:
    """Return the failure of one value."""
    place = f"[{where}] {key}".strip() if where else f"[{key}]"
    return Failed(
        f"In {file}, {place}: {why}.", hint="See deploy/relay.example.toml.", exit_code=78
    )
