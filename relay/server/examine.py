"""`relay check` and `relay doctor`: claims about a relay, each in a line, each with what to do if it does not hold."""

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys import directory as directories
from keys import suite
from keys.directory import Directory, Trusted
from keys.errors import Poc24Error
from relay import endpoints
from relay.alert import ways
from relay.blobs import Blobs
from relay.config import Config
from relay.core import limits
from relay.server import build, control, tls
from relay.server.source import Folder, read_pack
from relay.store import blobs as files
from relay.store.place import check_room
from relay.store.room import Room
from relay.store.sqlite import SqliteStore

TIMESTAMP_S = 3600
"""A timestamp is signed for an hour (PROTOCOL 8.5), so its date tells when it was signed."""
CERTIFICATE_SOON_S = 14 * 86_400
SYNCS = 40
SYNC_BYTES = 4096
SYNC_SLOW_S = 0.05
HANDLES_NAMED_MAX = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """One line: what was looked at, whether it holds, in words, and what to do."""

    name: str
    holds: bool
    text: str
    hint: str = ""


async def _claim(name: str, work: Callable[[], Awaitable[str]]) -> Claim:
    try:
        return Claim(name, True, await work())
    except Poc24Error as error:
        return Claim(name, False, error.text, error.hint)


async def check(config: Config, now: int) -> list[Claim]:
    """Look at everything that a start needs, and change nothing."""
    running = await _running(config)

    async def cryptography() -> str:
        suite.self_test()
        return "HPKE, ML-KEM-768, ML-DSA-44 and strict Ed25519 are here."

    async def keys() -> str:
        signer = build.evidence(config.keys, config.instance)
        return f"The ring holds the evidence key of {config.instance}: {signer.identity.fingerprint[:23]} …"

    async def store() -> str:
        if running is not None:
            return f"The running relay has {config.store} open."
        check_room(config.store.parent, 0)
        if config.redis is not None:
            from relay.store.redis import Link
            from relay.store.vouched import Vouched

            said = await Link(config.redis, Vouched(config.store)).look()
            return f"{said} This instance's journal is {config.store}."
        if not config.store.exists():
            return f"{config.store} will be made at the first start."
        opened = SqliteStore(config.store)
        await opened.start(now)
        await opened.stop()
        return f"{config.store} can be opened."

    async def attachments() -> str:
        if config.blobs.exists():
            check_room(config.blobs, 0)
            return f"{config.blobs} can be written."
        check_room(config.blobs.parent, 0)
        return f"{config.blobs} will be made at the first start."

    async def certificate() -> str:
        if config.listen.certificate is None or config.listen.key is None:
            return "No certificate: plain connections, on loopback only."
        tls.context(config.listen.certificate, config.listen.key)
        return "The certificate and its key fit."

    async def pages() -> str:
        signer = build.evidence(config.keys, config.instance)
        found = ways.woken(config.endpoints, config.service, signer)
        return f"{len(found)} handles lead to channels that can be used."

    claims = [
        Claim(
            "configuration", True, f"{config.path} can be read, and every value in it can stand."
        ),
        await _claim("cryptography", cryptography),
        await _claim("keys", keys),
        await _claim("store", store),
        await _claim("attachments", attachments),
        await _claim("certificate", certificate),
        await _claim("channels", pages),
        *_dates(config, now),
        *_ports(config, running=running is not None),
    ]
    return claims + await _directory(config, running, now)


async def _running(config: Config) -> dict[str, Any] | None:
    try:
        return await control.ask(config.control, "GET", "standing")
    except Poc24Error:
        return None


def _dates(config: Config, now: int) -> list[Claim]:
    if config.listen.certificate is None:
        return []
    try:
        until = tls.expires(config.listen.certificate)
    except Poc24Error as error:
        return [Claim("certificate dates", False, error.text, error.hint)]
    days = (until - now) // 86_400
    text = (
        f"The certificate is good for {days} more days."
        if days >= 0
        else "The certificate is past its date."
    )
    return [
        Claim(
            "certificate dates",
            until - now > CERTIFICATE_SOON_S,
            text,
            "Renew it, then restart the relay.",
        )
    ]


def _ports(config: Config, *, running: bool) -> list[Claim]:
    claims = []
    for name, address, port in (
        ("listen", config.listen.address, config.listen.port),
        ("observe", config.observe.address, config.observe.port),
    ):
        if running:
            claims.append(Claim(f"port ({name})", True, f"The running relay has port {port}."))
            continue
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((address, port))
            except OSError as error:
                text = f"Port {port} on {address} cannot be had: {error.strerror}."
                hint = f"See who has it: ss -ltnp 'sport = :{port}'; or set [{name}] port."
                claims.append(Claim(f"port ({name})", False, text, hint))
            else:
                claims.append(Claim(f"port ({name})", True, f"Port {port} on {address} is free."))
    return claims


async def _directory(config: Config, running: dict[str, Any] | None, now: int) -> list[Claim]:
    """Say whether the directory that the relay has, or would begin with, verifies and knows this instance."""
    found: list[Directory] = []

    async def verifies() -> str:
        _root, trusted = build.anchor(config)
        source = config.directory
        if running is not None or (source.folder is None and source.pack is None):
            return "The trust anchor is a root document."
        files = (
            await Folder(source.folder).newer()
            if source.folder
            else read_pack(source.pack or Path())
        )
        _trusted, directory = directories.update(trusted, files or {}, now, allow_expired=True)
        found.append(directory)
        return f"Version {directory.version} verifies from the trust anchor: {len(directory.desks)} desks."

    claims = [await _claim("directory", verifies)]
    if found:
        claims.append(_own_key(config, found[0]))
        profiles = {desk: entry.profile for desk, entry in found[0].desks.items()}
        mapped = {(one.desk, one.handle) for one in config.endpoints}
        claims.append(_handles(endpoints.unmapped(profiles, mapped)))
        claims += _freshness(found[0].version, found[0].expires, now)
    elif running is not None:
        claims.append(_handles(running["unmapped"]))
        claims += _freshness(running["directory"], running["directory_expires"], now)
    return claims


def _handles(unmapped: Sequence[str]) -> Claim:
    """Say whether every handle in every desk's profile leads to somebody."""
    if not unmapped:
        return Claim("handles", True, "Every handle in the desks' profiles leads to a channel.")
    named = ", ".join(unmapped[:HANDLES_NAMED_MAX])
    more = len(unmapped) - HANDLES_NAMED_MAX
    text = f"Nobody can be paged at {named}{f' and {more} more' if more > 0 else ''}."
    hint = "Write an [[endpoint]] table for each: the desk says where it leads. Without one its stage is passed over."
    return Claim("handles", False, text, hint)


def _own_key(config: Config, directory: Directory) -> Claim:
    name = "own key"
    try:
        listed = directory.relay_key(config.service, config.instance)
        if listed == build.evidence(config.keys, config.instance).public:
            return Claim(name, True, f"The directory lists this ring's key for {config.instance}.")
    except Poc24Error as error:
        return Claim(name, False, error.text, error.hint)
    hint = "Desks would refuse what this relay signs. Use the ring that belongs to the instance, or publish its key."
    return Claim(name, False, f"The directory lists another key for {config.instance}.", hint)


def _freshness(version: int, expires: int, now: int) -> list[Claim]:
    if not version:
        hint = "Publish one: relay publish PACK --url URL."
        return [Claim("freshness", False, "The relay has no directory yet.", hint)]
    fresh = now <= expires
    text = f"Version {version} is {'in' if fresh else 'past'} its date, by {abs(expires - now) // 60} minutes."
    claims = [Claim("freshness", fresh, text, "Run keys freshen, and publish what it wrote.")]
    ahead = (expires - TIMESTAMP_S) - now
    sane = ahead <= limits.CLOCK_SKEW_S
    text = (
        "This machine's clock is not before the directory's signature."
        if sane
        else f"This machine's clock is {ahead} s behind the freshness automaton's: the directory is from the future."
    )
    claims.append(Claim("clock", sane, text, "Set the clock: timedatectl set-ntp true."))
    return claims


# The doctor


async def doctor(config: Config, now: int) -> list[Claim]:
    """Look through the store, the disk, the log and the directory; asks the running relay for what only it can see."""
    claims: list[Claim] = []
    try:
        found = await control.ask(config.control, "GET", "doctor")
        standing = await control.ask(config.control, "GET", "standing") if found else None
        if found is None:
            found, standing = await _alone(config, now)
    except Poc24Error as error:
        claims.append(Claim("store", False, error.text, error.hint))
    else:
        hint = "Do not restart in haste: take a copy of the file, then see the handbook, 'restore'."
        claims += [Claim("store", False, one, hint) for one in found["findings"]]
        if not found["findings"]:
            claims.append(
                Claim("store", True, "Every row, hash and number agrees with every other.")
            )
        text = f"The log has {found['log_size']} entries; its root is {found['log_root'][:16]} …"
        claims.append(Claim("log", True, text))
        if standing is not None:
            claims += _freshness(standing["directory"], standing["directory_expires"], now)
    folder = config.store.parent
    return [*claims, _disk(config.room), _sync(folder)]


async def _alone(config: Config, now: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
    check_room(config.store.parent, 0)
    store = SqliteStore(config.store)
    await store.start(now)
    blobs = Blobs(store, files.Folder(config.blobs))
    try:
        found = await control.doctor(store, blobs)
        kept = await store.directory()
    finally:
        await blobs.stop()
        await store.stop()
    if kept is None:
        return found, {"directory": 0, "directory_expires": 0}
    directory = directories.view(Trusted(kept[1], {}), now)
    return found, {"directory": directory.version, "directory_expires": directory.expires}


def _disk(room: Room) -> Claim:
    folder = room.path.parent
    try:
        free, floor = room.look()
    except OSError as error:
        return Claim("disk", False, f"The folder {folder} cannot be looked at: {error.strerror}.")
    text = f"{free / 1024**3:.1f} GiB are free in {folder}; below {floor / 1024**3:.1f} GiB new messages are refused."
    hint = "Make room, or set [store] free_bytes_min and free_percent_min to less."
    return Claim("disk", free >= floor, text, hint)


def _sync(folder: Path) -> Claim:
    """Measure how long the disk takes to promise: every acceptance waits for it."""
    times: list[float] = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as tried:
            for _each in range(SYNCS):
                tried.write(b"\0" * SYNC_BYTES)
                tried.flush()
                began = time.perf_counter()
                os.fdatasync(tried.fileno())
                times.append(time.perf_counter() - began)
    except OSError as error:
        return Claim("sync", False, f"A file in {folder} cannot be synced: {error.strerror}.")
    median = statistics.median(times)
    text = f"The disk takes {median * 1000:.2f} ms to make a write durable ({1 / max(median, 1e-6):.0f} a second)."
    return Claim(
        "sync",
        median <= SYNC_SLOW_S,
        text,
        "A desk waits for two of these per message; use a faster disk.",
    )
