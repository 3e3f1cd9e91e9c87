"""The configuration's [redis] table: several instances of the relay over one Redis with Sentinel.

Without this table the relay keeps everything in one file, and is the only instance. With it the store's path is this
instance's journal, and the folder of attachments is one that every instance sees.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keys.errors import Failed
from relay import settings
from relay.settings import Base, Rules, Wrong, table, wrong
from relay.store.redis_place import AVAILABLE, LEVELS, Place, replicas

REDIS = "redis"
REPLICAS_MAX = 8
PASSWORD_BYTES_MAX = 1024
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{0,64}\Z")


def _server(value: Any, _base: Base) -> tuple[str, int]:
    """Read a server as HOST:PORT; an IPv6 address stands in brackets."""
    host, colon, port = str(value).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    fits = bool(_HOST.match(bare)) or (bare != host and ":" in bare)
    if not (
        isinstance(value, str) and colon and fits and port.isdecimal() and 0 < int(port) < 65_536
    ):
        raise Wrong(
            "it must be a server such as redis1.example.org:6379, 10.0.0.7:6379 or [fd00::7]:6379"
        )
    return bare, int(port)


def _servers(value: Any, base: Base) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, list):
        raise Wrong('it must be a list such as ["sentinel1.example.org:26379"]')
    return tuple(_server(one, base) for one in value)


_RULES: Rules = {
    "address": (_server, "127.0.0.1:6379"),
    "sentinels": (_servers, []),
    "name": (settings.text(_NAME, "the name under which the Sentinels know the master"), "poc24"),
    "replicas": (settings.integer(0, REPLICAS_MAX), 0),
    "level": (settings.word(tuple(LEVELS)), AVAILABLE),
    "account": (settings.text(_ACCOUNT, "the name of an account of Redis, or nothing"), ""),
    "password": (settings.optional_path, ""),
    "authority": (settings.optional_path, ""),
}


def read(file: Path, raw: Mapping[str, Any], instance: str, base: Base) -> Place | None:
    """Return where Redis is; None without a [redis] table. Failed (78) with a sentence if it is wrong."""
    if REDIS not in raw:
        return None
    found = table(file, REDIS, raw[REDIS], _RULES, base)
    blobs = raw.get("store", {})
    if not isinstance(blobs, Mapping) or not blobs.get("blobs"):
        raise wrong(
            file,
            "store",
            "blobs",
            "with [redis] it must be set, to a folder that every instance sees (a shared file system): an instance"
            " answers only for attachments that the others can hand out too",
        )
    return Place(
        instance=instance,
        address=found["address"],
        sentinels=found["sentinels"],
        name=found["name"],
        replicas=replicas(found["replicas"], found["level"]),
        account=found["account"] or None,
        password=_password(found["password"]),
        authority=found["authority"],
    )


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(PASSWORD_BYTES_MAX).decode().strip()
    except (OSError, ValueError) as error:
        raise Failed(
            f"The password of Redis in {path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.",
            hint="Give it to the relay's account alone: chown, chmod 600; or systemd LoadCredential=.",
            exit_code=78,
        ) from None
