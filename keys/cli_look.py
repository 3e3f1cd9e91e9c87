"""`keys freshen`, `publish`, `verify`, `show`: what the automaton does, and what anybody may look at."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

from keys import ceremony, keyfile, suite
from keys.cli_bench import (
    REFUSED,
    Bench,
    everywhere,
    passphrases,
    read_repository,
    repository_option,
    tell,
    write_repository,
)
from keys.cli_desk import read_request
from keys.continuity import walk
from keys.directory import Directory, Trusted, begin, pack, update
from keys.entry import read_member
from keys.errors import Code, Failed, Poc24Error, Refused
from keys.identity import Identity, Role, Signer, fingerprint, qr
from keys.metadata import KeySet, Kind, read
from keys.repository import newest, rotations_of
from keys.trust import delegated, newest_root

DAY = 86_400
ALARM_SECONDS = 30 * DAY
"""A desk entry is alarmed this long before its date (PROTOCOL 8.3)."""


@click.command()
@repository_option
@click.option("--ring", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--credential-file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--credential-fd", type=int, metavar="N")
@click.option(
    "--every", type=click.IntRange(10, 3600), metavar="SECONDS", help="Go on until Ctrl-C."
)
@everywhere
def freshen(
    bench: Bench,
    repository: Path,
    ring: Path,
    credential_file: Path | None,
    credential_fd: int | None,
    every: int | None,
) -> None:
    """Sign a snapshot (24 h) and a timestamp (1 h) over what is new and acceptable: the freshness automaton."""
    key = keyfile.read_credential(credential_file, fd=credential_fd)
    opened = keyfile.open_ring(keyfile.read_private(ring), key=key)
    signer = opened.signer(Role.FRESHNESS)
    while True:
        try:
            _freshen(bench, repository, signer)
        except Poc24Error as error:
            if every is None:
                raise
            # Somebody may be half way through writing there; and if not, this is said again and again.
            tell(error, as_json=bench.as_json)
        if every is None:
            return
        time.sleep(every)


def _freshen(bench: Bench, repository: Path, signer: Signer) -> None:
    files = ceremony.freshen(read_repository(repository), signer, bench.now)
    written = write_repository(repository, files)
    stamp = read(Kind.TIMESTAMP, files["timestamp.json"])
    bench.data(
        {"version": stamp.version, "expires": stamp.expires, "written": written},
        [f"Version {stamp.version} is signed, good until {_when(stamp.expires)}."],
    )


@click.command()
@repository_option
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@everywhere
def publish(bench: Bench, repository: Path, out: Path) -> None:
    """Verify the directory as a newcomer would, and pack it into one file for the relay (PUT /v1/directory).

    `keys` opens no socket. The relay reads the repository folder that its configuration names, or takes this pack.
    """
    files = read_repository(repository)
    trusted, directory = _newcomer(files, bench.now)
    _no_faults(directory)
    data = pack(trusted.files)
    keyfile.write_private(out, data, replace=True)
    out.chmod(0o644)
    bench.data(
        {"out": str(out), "version": directory.version, "bytes": len(data)},
        [f"{out} holds version {directory.version} of the directory ({len(data)} bytes)."],
    )


def _newcomer(files: dict[str, bytes], now: int) -> tuple[Trusted, Directory]:
    first = min(
        (int(name.split(".")[0]) for name in files if name.endswith(".root.json")), default=0
    )
    if not first:
        raise Failed("This folder holds no root document.", exit_code=78)
    return update(begin(files[f"{first}.root.json"]), files, now)


def _no_faults(directory: Directory) -> None:
    for sentence in (*directory.held.values(), *directory.faulty.values()):
        raise Refused(Code.E_DIRECTORY, sentence)


def _when(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


@click.command()
@repository_option
@click.option(
    "--root",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The root document got by hand; without it, the folder's first one is believed.",
)
@everywhere
def verify(bench: Bench, repository: Path, root: Path | None) -> None:
    """Check a directory from its root document on, and say one line per claim. Exit code 1 if one fails."""
    files = read_repository(repository)
    now = bench.now
    anchor = _bytes(root) if root else None
    if anchor is None:
        first = min(
            (name for name in files if name.endswith(".root.json")), key=_version, default=""
        )
        if not first:
            raise Failed("This folder holds no root document.", exit_code=78)
        anchor = files[first]
    trusted, directory = update(begin(anchor), files, now, allow_expired=True)
    claims = [*_chain(trusted, now), *_desks(directory, now), *_continuity(files, trusted)]
    good = all(ok for ok, _text in claims)
    digits = fingerprint(suite.sha256(anchor).hex())
    bench.data(
        {
            "good": good,
            "root": suite.sha256(anchor).hex(),
            "version": directory.version,
            "expires": directory.expires,
            "claims": [{"good": ok, "text": text} for ok, text in claims],
        },
        [
            f"root document {digits}"
            + ("" if root else " (taken from the folder: compare these digits)"),
            *(f"{'ok     ' if ok else 'NOT OK '} {text}" for ok, text in claims),
        ],
    )
    if not good:
        click.get_current_context().exit(REFUSED)


def _version(name: str) -> int:
    return int(name.split(".", maxsplit=1)[0])


def _chain(trusted: Trusted, now: int) -> list[tuple[bool, str]]:
    files = trusted.files
    newest = newest_root(files)
    root = read(Kind.ROOT, files[f"{newest}.root.json"])
    stamp = read(Kind.TIMESTAMP, files["timestamp.json"])
    snapshot = read(Kind.SNAPSHOT, files[f"{stamp.meta['snapshot.json'].version}.snapshot.json"])
    targets = read(Kind.TARGETS, files[f"{snapshot.meta['targets.json'].version}.targets.json"])
    lines = []
    for name, document, role in (
        ("root document", root, "root"),
        ("registrar's targets", targets, "targets"),
        ("snapshot", snapshot, "snapshot"),
        ("timestamp", stamp, "timestamp"),
    ):
        keys = root.roles[role]
        text = (
            f"{name} {document.version}: signed by {keys.threshold} of {len(keys.publics)}, "
            f"good until {_when(document.expires)}"
        )
        lines.append((now < document.expires, text))
    return lines


def _desks(directory: Directory, now: int) -> list[tuple[bool, str]]:
    lines = []
    for desk, entry in directory.desks.items():
        if desk in directory.held or desk in directory.faulty:
            continue
        active = entry.active(now)
        text = (
            f"desk {desk}: entry {entry.version} by {entry.threshold} of {len(entry.desk_kids)} keys, "
            f"{len(active)} active devices, every proof of possession good, until {_when(entry.expires)}; "
            f"keys {'; '.join(fingerprint(kid) for kid in entry.desk_kids)}"
        )
        if now + ALARM_SECONDS > entry.expires:
            text += " (it must be signed anew: keys enter)"
        lines.append((now < entry.expires, text))
    lines += [(False, text) for text in (*directory.held.values(), *directory.faulty.values())]
    return lines


def _continuity(files: Mapping[str, bytes], trusted: Trusted) -> list[tuple[bool, str]]:
    """Walk from the first keys that this folder remembers of each desk to those of today (PROTOCOL 8.4)."""
    root = read(Kind.ROOT, files[f"{newest_root(files)}.root.json"]).roles["root"]
    now = newest(trusted.files, "targets")[0]
    first: dict[str, tuple[int, KeySet]] = {}
    for version in range(1, now + 1):
        data = files.get(f"{version}.targets.json")
        for desk, one in delegated(read(Kind.TARGETS, data)) if data else ():
            first.setdefault(desk, (version, one.keys))
    lines = []
    for desk, one in delegated(read(Kind.TARGETS, trusted.files[f"{now}.targets.json"])):
        version, keys = first[desk]
        if keys == one.keys:
            continue
        try:
            walk(desk, keys, one.keys, rotations_of(trusted.files, desk), root)
            text = f"desk {desk}: rotations or recoveries lead from its keys in targets {version} to those of today"
            lines.append((True, text))
        except Refused as refused:
            lines.append((False, refused.text))
    return lines


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.", exit_code=78) from error


# Looking at one thing


@click.command()
@click.argument("what")
@click.option("--qr", "as_qr", is_flag=True, help="Also draw the identity as a QR code.")
@click.option("--credential-file", type=click.Path(path_type=Path, dir_okay=False))
@passphrases
@everywhere
def show(bench: Bench, what: str, credential_file: Path | None, *, as_qr: bool) -> None:
    """Say whose key this is: an identity (poc24-…), a key ring, an enrolment request, or a root document.

    The digits are for the telephone: whoever reads the same digits holds the same key.
    """
    found = _look(bench, what, credential_file)
    bench.data(
        {
            "shown": [
                {"what": name, "identity": line, "fingerprint": digits}
                for name, line, digits in found
            ]
        },
        [
            text
            for name, line, digits in found
            for text in (name, f"  {line}", f"  {digits}")
            if text.strip()
        ],
    )
    if as_qr:
        for said in [line or digits for _name, line, digits in found if line or digits]:
            qr(said).terminal(out=sys.stderr, compact=True)


def _look(bench: Bench, what: str, credential: Path | None) -> list[tuple[str, str, str]]:
    if what.startswith("poc24-") and not Path(what).exists():
        one = Identity.parse(what)
        return [(f"{one.role} key", one.line(), one.fingerprint)]
    path = Path(what)
    if path.suffix == ".json":
        return _look_json(path)
    data = keyfile.read_private(path)
    if keyfile.is_service(data):
        beside = path.with_suffix(".key")
        key = keyfile.read_credential(credential or (beside if beside.exists() else None))
        ring = keyfile.open_ring(data, key=key)
    else:
        ring = keyfile.open_ring(data, passphrase=bench.passphrase(what, new=False))
    shown = []
    for held in ring.held:
        if held.label in (keyfile.ARCHIVE, "recovery") or held.label.endswith(" mldsa"):
            shown.append((f"{held.label}: a secret without an Ed25519 identity", "", ""))
            continue
        one = held.signer().identity
        name = " ".join(word for word in (f"{held.role} key", held.label, held.desk) if word)
        shown.append((name, one.line(), one.fingerprint))
    return shown


def _look_json(path: Path) -> list[tuple[str, str, str]]:
    data = _bytes(path)
    try:
        begin(data)
    except Refused:
        desk, raw = read_request(path)
        member = read_member(desk, raw)
        shown = [(Role.OFFICER, member.officer_key)] if member.officer else []
        return [
            (f"request to desk {desk}: {role} key", line.line(), line.fingerprint)
            for role, key in (*shown, (Role.DEVICE, member.device_key))
            for line in (Identity(role, key),)
        ]
    return [("root document", "", fingerprint(suite.sha256(data).hex()))]
