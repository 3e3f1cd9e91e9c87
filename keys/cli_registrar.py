"""`keys add-desk`, `rotate`, `recover`, `renew`, `network`: what the registrar and the root's holders sign."""

from collections.abc import Sequence
from pathlib import Path

import click

from keys import ceremony
from keys.cli_bench import (
    Bench,
    everywhere,
    passphrases,
    read_repository,
    repository_option,
    rings_option,
    write_repository,
)
from keys.describe import read_file
from keys.entry import check_desk
from keys.identity import Identity, Role, fingerprint
from keys.metadata import KeySet
from keys.repository import current_network
from keys.trust import newest_root


def _identities(lines: Sequence[str], role: Role) -> tuple[bytes, ...]:
    found = [Identity.parse(line) for line in lines]
    for one in found:
        if one.role is not role:
            raise click.UsageError(f"{one.line()} is a {one.role} key, not a {role} key.")
    return tuple(sorted({one.public for one in found}))


@click.command("add-desk")
@repository_option
@click.option("--desk", required=True)
@click.option("--key", "lines", multiple=True, required=True, help="poc24-desk-… of each holder.")
@click.option("--threshold", type=int, default=1, show_default=True)
@rings_option("--registrar-ring", "A registrar's key ring; repeat until the threshold is reached.")
@click.option("--yes", is_flag=True, help="Do not ask whether the digits were compared.")
@passphrases
@everywhere
def add_desk(
    bench: Bench,
    repository: Path,
    desk: str,
    lines: tuple[str, ...],
    threshold: int,
    registrar_ring: tuple[Path, ...],
    *,
    yes: bool,
) -> None:
    """Enter a new desk's keys into the directory; the desk then signs its own entry with `keys enter`."""
    keys = KeySet(threshold, _identities(lines, Role.DESK))
    files = read_repository(repository)
    for kid in keys.kids:
        bench.say(f"Key of {desk}: {fingerprint(kid)}")
    bench.confirm("Were these digits compared with the desk over the telephone?", yes=yes)
    registrar = bench.signers(registrar_ring, Role.REGISTRAR)
    files = ceremony.add_desk(files, check_desk(desk), keys, registrar, bench.now)
    written = write_repository(repository, files)
    bench.data(
        {"desk": desk, "keys": list(keys.kids), "written": written},
        [f"Desk {desk} is entered. It signs its entry with: keys enter --desk {desk} …"],
    )


def _changed(bench: Bench, desk: str, keys: KeySet, written: list[str]) -> None:
    digits = [fingerprint(kid) for kid in keys.kids]
    bench.data(
        {"desk": desk, "keys": list(keys.kids), "fingerprints": digits, "written": written},
        [f"The keys of {desk} are changed; `keys freshen` publishes it. New: {'; '.join(digits)}"],
    )


@click.command()
@repository_option
@click.option("--desk", required=True)
@rings_option(
    "--ring", "A ring with an old key of the desk; repeat until the threshold is reached."
)
@rings_option("--new-ring", "A ring with a new key of the desk; repeat for every new key.")
@click.option("--threshold", type=int, default=1, show_default=True, help="Of the new keys.")
@rings_option("--registrar-ring", "A registrar's key ring; repeat until the threshold is reached.")
@passphrases
@everywhere
def rotate(
    bench: Bench,
    repository: Path,
    desk: str,
    ring: tuple[Path, ...],
    new_ring: tuple[Path, ...],
    threshold: int,
    registrar_ring: tuple[Path, ...],
) -> None:
    """Change a desk's keys by its own hand: readers everywhere follow without asking anybody."""
    files = read_repository(repository)
    old = bench.signers(ring, Role.DESK)
    fresh = bench.signers(new_ring, Role.DESK)
    registrar = bench.signers(registrar_ring, Role.REGISTRAR)
    keys = KeySet.of(threshold, fresh)
    files = ceremony.rotate(files, desk, keys, old, registrar, fresh, bench.now)
    _changed(bench, desk, keys, write_repository(repository, files))


@click.command()
@repository_option
@click.option("--desk", required=True)
@rings_option("--root-ring", "A root holder's key ring; repeat until the threshold is reached.")
@rings_option("--new-ring", "A ring with a new key of the desk; repeat for every new key.")
@click.option("--threshold", type=int, default=1, show_default=True, help="Of the new keys.")
@rings_option("--registrar-ring", "A registrar's key ring; repeat until the threshold is reached.")
@click.option("--yes", is_flag=True, help="Do not ask whether the desk was called.")
@passphrases
@everywhere
def recover(
    bench: Bench,
    repository: Path,
    desk: str,
    root_ring: tuple[Path, ...],
    new_ring: tuple[Path, ...],
    threshold: int,
    registrar_ring: tuple[Path, ...],
    *,
    yes: bool,
) -> None:
    """Give a desk that lost its keys new ones, by the root's threshold."""
    files = read_repository(repository)
    bench.confirm(f"Did you hear from {desk} itself that its keys are lost?", yes=yes)
    root = bench.signers(root_ring, Role.ROOT)
    fresh = bench.signers(new_ring, Role.DESK)
    registrar = bench.signers(registrar_ring, Role.REGISTRAR)
    keys = KeySet.of(threshold, fresh)
    files = ceremony.recover(files, desk, keys, root, registrar, fresh, bench.now)
    _changed(bench, desk, keys, write_repository(repository, files))


@click.command()
@repository_option
@rings_option(
    "--root-ring", "A root holder's ring; repeat until the old and the new threshold are reached."
)
@click.option(
    "--root-key",
    "roots",
    multiple=True,
    help="poc24-root-… of every future holder, if they change.",
)
@click.option("--root-threshold", type=int, default=3, show_default=True)
@click.option(
    "--registrar-key", "registrars", multiple=True, help="poc24-registrar-…, if they change."
)
@click.option("--registrar-threshold", type=int, default=2, show_default=True)
@click.option(
    "--freshness-key", "automata", multiple=True, help="poc24-freshness-…, if it changes."
)
@passphrases
@everywhere
def renew(
    bench: Bench,
    repository: Path,
    root_ring: tuple[Path, ...],
    roots: tuple[str, ...],
    root_threshold: int,
    registrars: tuple[str, ...],
    registrar_threshold: int,
    automata: tuple[str, ...],
) -> None:
    """Sign the next root document: every year, and whenever a root, registrar or freshness key changes."""
    files = read_repository(repository)
    files = ceremony.renew_root(
        files,
        bench.signers(root_ring, Role.ROOT),
        bench.now,
        root=KeySet(root_threshold, _identities(roots, Role.ROOT)) if roots else None,
        registrar=KeySet(registrar_threshold, _identities(registrars, Role.REGISTRAR))
        if registrars
        else None,
        freshness=KeySet(1, _identities(automata, Role.FRESHNESS)) if automata else None,
    )
    written = write_repository(repository, files)
    version = newest_root(files)
    bench.data(
        {"version": version, "written": written},
        [
            f"Root document {version} is signed. Sign the targets anew if the registrar changed: keys network"
        ],
    )


@click.command()
@repository_option
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new network.json, as JSON; without it the one in force is signed anew.",
)
@rings_option("--registrar-ring", "A registrar's key ring; repeat until the threshold is reached.")
@passphrases
@everywhere
def network(
    bench: Bench, repository: Path, path: Path | None, registrar_ring: tuple[Path, ...]
) -> None:
    """Sign network.json: the relay services and their keys, limits, and the escalation floor."""
    files = read_repository(repository)
    value = read_file(path) if path else current_network(files)
    registrar = bench.signers(registrar_ring, Role.REGISTRAR)
    written = write_repository(repository, ceremony.set_network(files, value, registrar, bench.now))
    bench.data({"written": written}, ["network.json is signed; `keys freshen` publishes it."])
