"""Where the handles of desks' profiles lead: the tables ``[[endpoint]]`` of the relay's configuration (PROTOCOL 8.3).

A desk publishes opaque handles; who stands behind one is told to the relay's operator out of band and written here. So
no desk can make the relay call an address, and no address stands in a public directory. Secrets stand in files.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys.entry import DESK, HANDLE
from relay import settings
from relay.settings import REQUIRED, Base, Rules, Wrong, table, wrong

ENDPOINT = "endpoint"
"""The name of the tables."""
ENDPOINTS_MAX = 4096
WAYS_MAX = 8
ARGUMENTS_MAX = 32
SECONDS, SECONDS_MAX = 15, 30
"""How long one attempt may take, usually and at most; a page's lease is longer."""
SECURITY = ("starttls", "tls", "none")
PORTS = {"starttls": 587, "tls": 465, "none": 25}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?:/[!\"$-~]{0,1000})?\Z"
)
"""Only what every reader of URLs understands in the same way."""
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?\Z|::1\Z")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}\Z")
_LANGUAGE = re.compile(r"[a-z]{2,3}\Z")
_LOGIN = re.compile(r"[ -~]{0,200}\Z")


@dataclass(frozen=True, slots=True)
class ByWebhook:
    """A POST to a URL, with a bearer token from a file if one is named."""

    url: str
    token: Path | None
    ca: Path | None
    seconds: int


@dataclass(frozen=True, slots=True)
class ByCommand:
    """A program by its absolute path, with its arguments."""

    argv: tuple[str, ...]
    seconds: int


@dataclass(frozen=True, slots=True)
class ByEmail:
    """A mailbox, through a mail server."""

    to: str
    sender: str
    host: str
    port: int
    security: str
    login: str
    password: Path | None
    ca: Path | None
    seconds: int


Way = ByWebhook | ByCommand | ByEmail


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One handle of one desk: the language that is spoken there, and every way to wake somebody."""

    desk: str
    handle: str
    language: str
    ways: tuple[Way, ...]


def loopback(host: str) -> bool:
    """Whether a host is this machine, by a name that says so."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _url(value: Any, _base: Base) -> str:
    found = _URL.match(value) if isinstance(value, str) else None
    if found is None or int(found["port"] or 1) > 65_535:
        raise Wrong(
            "it must be a URL such as https://pager.example.org/au, without name or fragment"
        )
    if found["scheme"] != "https" and not loopback(found["host"]):
        raise Wrong("it must begin with https://, or with http:// on loopback")
    return str(value)


def _argv(value: Any, _base: Base) -> tuple[str, ...]:
    good = isinstance(value, list) and 1 <= len(value) <= ARGUMENTS_MAX
    if not good or not all(isinstance(one, str) and one and "\0" not in one for one in value):
        raise Wrong(
            f"it must be a list of 1 to {ARGUMENTS_MAX} strings: the program and its arguments"
        )
    if not value[0].startswith("/"):
        raise Wrong("the program must be named by its absolute path, such as /usr/local/bin/pager")
    return tuple(value)


_TIME = (settings.integer(1, SECONDS_MAX), SECONDS)
_FILE = (settings.optional_path, "")
_ADDRESS = settings.text(_MAILBOX, "a mailbox such as duty@example.org")

_WAYS: Mapping[str, Rules] = {
    "webhook": {"url": (_url, REQUIRED), "token": _FILE, "ca": _FILE, "seconds": _TIME},
    "command": {"argv": (_argv, REQUIRED), "seconds": _TIME},
    "email": {
        "to": (_ADDRESS, REQUIRED),
        "sender": (_ADDRESS, REQUIRED),
        "host": (settings.text(_HOST, "a mail server's name or address"), REQUIRED),
        "port": (settings.integer(0, 65_535), 0),
        "security": (settings.word(SECURITY), "starttls"),
        "login": (settings.text(_LOGIN, "a name that the mail server knows"), ""),
        "password": _FILE,
        "ca": _FILE,
        "seconds": _TIME,
    },
}


def read(file: Path, raw: Any, base: Base) -> tuple[Endpoint, ...]:
    """Read all tables; Failed (78) with a sentence that names the table by its number."""
    if not isinstance(raw, list) or len(raw) > ENDPOINTS_MAX:
        raise wrong(
            file, "", ENDPOINT, f"it must be at most {ENDPOINTS_MAX} tables, [[{ENDPOINT}]]"
        )
    found: dict[tuple[str, str], Endpoint] = {}
    for number, given in enumerate(raw, 1):
        where = f"{ENDPOINT} {number}"
        one = _endpoint(file, where, given, base)
        if (one.desk, one.handle) in found:
            raise wrong(file, where, "handle", f"{one.desk} {one.handle} stands here twice")
        found[one.desk, one.handle] = one
    return tuple(found.values())


def _endpoint(file: Path, where: str, given: Any, base: Base) -> Endpoint:
    def ways(value: Any, base: Base) -> tuple[Way, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= WAYS_MAX:
            raise Wrong(
                f'it must be a list of 1 to {WAYS_MAX} such as {{kind = "webhook", url = "…"}}'
            )
        return tuple(
            _way(file, f"{where} channels {number}", one, base)
            for number, one in enumerate(value, 1)
        )

    rules: Rules = {
        "desk": (settings.text(DESK, "a desk's id such as AU"), REQUIRED),
        "handle": (settings.text(HANDLE, "a handle as it stands in the desk's profile"), REQUIRED),
        "language": (settings.text(_LANGUAGE, "a language such as en"), "en"),
        "channels": (ways, REQUIRED),
    }
    one = table(file, where, given, rules, base)
    return Endpoint(one["desk"], one["handle"], one["language"], one["channels"])


def _way(file: Path, where: str, given: Any, base: Base) -> Way:
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if not isinstance(kind, str) or kind not in _WAYS:
        raise wrong(file, where, "kind", f"it must be one of {', '.join(_WAYS)}")
    rules = {"kind": (settings.word(tuple(_WAYS)), REQUIRED), **_WAYS[kind]}
    found = table(file, where, given, rules, base)
    del found["kind"]
    if kind == "webhook":
        return ByWebhook(**found)
    if kind == "command":
        return ByCommand(**found)
    mail = ByEmail(**{**found, "port": found["port"] or PORTS[found["security"]]})
    if mail.security == "none" and not loopback(mail.host):
        raise wrong(file, where, "security", "plain text is for a mail server on loopback alone")
    if bool(mail.login) != (mail.password is not None):
        raise wrong(file, where, "login", "login and password belong together, and one is missing")
    return mail


def unmapped(
    profiles: Mapping[str, Mapping[str, Any]], mapped: Collection[tuple[str, str]]
) -> tuple[str, ...]:
    """Return "DESK handle" for each handle in desks' *profiles* that leads nowhere, sorted."""
    wanted = {
        (desk, handle)
        for desk, profile in profiles.items()
        for priority in profile.values()
        if isinstance(priority, Mapping)
        for stage in priority["stages"]
        for handle in stage["handles"]
    }
    return tuple(f"{desk} {handle}" for desk, handle in sorted(wanted - set(mapped)))
