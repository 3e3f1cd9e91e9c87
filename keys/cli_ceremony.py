"""`keys ceremony` and `keys new`: where keys are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from keys import ceremony, statement, suite
from keys.cli_bench import (
    Bench,
    everywhere,
    held,
    passphrases,
    write_repository,
    write_service,
)
from keys.cli_desk import device_ring, write_home
from keys.describe import DeskPlan, Plan, read_plan
from keys.entry import check_desk
from keys.errors import Failed
from keys.identity import Role, Signer, fingerprint
from keys.keyfile import Held, KeyRing, write_private
from keys.metadata import KeySet
from keys.network import SERVICE


@dataclass(slots=True)
class _Made:
    """What a ceremony makes before anything is written: a fault half-way leaves nothing behind."""

    root: list[Signer]
    registrar: list[Signer]
    freshness: Signer
    relays: dict[str, KeyRing]
    people: list[tuple[Path, str, KeyRing]] = field(default_factory=list)
    homes: list[tuple[Path, Held, str]] = field(default_factory=list)


def relay_ring(origin: str, now: int) -> KeyRing:
    """Make a relay instance's keys: evidence, and the log's Ed25519 and ML-DSA-44 seeds."""
    return KeyRing(
        (
            Held(Role.RELAY, suite.random_bytes(suite.SEED_BYTES), origin, "", now),
            Held(Role.LOG, suite.random_bytes(suite.SEED_BYTES), origin, "", now),
            Held(Role.LOG, suite.random_bytes(suite.SEED_BYTES), f"{origin} mldsa", "", now),
        )
    )


def instance_of(origin: str, ring: KeyRing) -> dict[str, Any]:
    """Return a relay instance's public keys as ``network.json`` names them."""
    evidence, log, lattice = ring.held
    return {
        "origin": origin,
        "evidence_key": statement.b64u(evidence.signer().public),
        "log_key": statement.b64u(log.signer().public),
        "log_mldsa": statement.b64u(suite.mldsa_public(lattice.seed)),
    }


def folder_name(origin: str) -> str:
    """Return an instance's origin as the name of a folder."""
    return origin.replace("/", "-")


@click.command(name="ceremony")
@click.option(
    "--describe",
    "description",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The network to make, in TOML or JSON.",
)
@click.option("--into", required=True, type=click.Path(path_type=Path, file_okay=False))
@passphrases
@everywhere
def hold(bench: Bench, description: Path, into: Path) -> None:
    """Begin a network: root, registrar, freshness automaton, relay keys, and the desks that are described.

    Each person's keys go into a ring of their own, under a passphrase of their own. With desks in the description
    this machine makes every key of theirs too: a rehearsal, or the first day of a small network.
    """
    now = bench.now
    plan = read_plan(description, now)
    if into.exists() and any(into.iterdir()):
        raise Failed(
            f"{into} is not empty; a ceremony begins in an empty folder.",
            hint="Choose another folder with --into.",
            exit_code=73,
        )
    made = _Made(
        [Signer.generate(Role.ROOT) for _ in range(plan.root.holders)],
        [Signer.generate(Role.REGISTRAR) for _ in range(plan.registrar.holders)],
        Signer.generate(Role.FRESHNESS),
        {origin: relay_ring(origin, now) for origin in plan.instances},
    )
    _people(made, "root", made.root, now)
    _people(made, "registrar", made.registrar, now)
    files = _files(plan, made, now)
    bench.say(f"Making {len(made.people)} key rings; each takes about a second.")
    rings = [(into / path, who, ring) for path, who, ring in made.people]
    bench.write_people(rings)
    _write(into, made, files, bench, now)
    shown = fingerprint(ceremony.fingerprint_of(files))
    bench.data(
        {
            "into": str(into),
            "root": ceremony.fingerprint_of(files),
            "fingerprint": shown,
            "rings": [str(path.relative_to(into)) for path, _who, _ring in rings],
            "desks": [one.desk for one in plan.desks],
            "instances": list(plan.instances),
        },
        [
            f"The directory is in {into / 'repository'}, its root document in {into / 'root.json'}.",
            f"Fingerprint of the root document, to be read aloud to every desk: {shown}",
            f"Give each ring in {into / 'rings'} to its holder and keep no copy here.",
        ],
    )


def _people(made: _Made, name: str, signers: Sequence[Signer], now: int, desk: str = "") -> None:
    for number, one in enumerate(signers, 1):
        who = f"{name} holder {number}"
        path = Path("rings") / f"{name}-{number}.ring"
        made.people.append((path, who, held(one, who, now, desk)))


def _files(plan: Plan, made: _Made, now: int) -> dict[str, bytes]:
    registrar = made.registrar[: plan.registrar.threshold]
    files = ceremony.ceremony(
        KeySet.of(plan.root.threshold, made.root),
        KeySet.of(plan.registrar.threshold, made.registrar),
        KeySet.of(1, [made.freshness]),
        made.root,
        registrar,
        plan.network([instance_of(origin, ring) for origin, ring in made.relays.items()]),
        now,
    )
    for desk in plan.desks:
        files = _desk(files, desk, made, registrar, now)
    return ceremony.freshen(files, made.freshness, now)


def _desk(
    files: Mapping[str, bytes],
    plan: DeskPlan,
    made: _Made,
    registrar: Sequence[Signer],
    now: int,
) -> dict[str, bytes]:
    signers = [Signer.generate(Role.DESK) for _ in range(plan.keys.holders)]
    _people(made, f"desk-{plan.desk}", signers, now, plan.desk)
    keys = KeySet.of(plan.keys.threshold, signers)
    out = ceremony.add_desk(files, plan.desk, keys, registrar, now)
    members = []
    for handle in plan.officers:
        officer = Signer.generate(Role.OFFICER)
        for number in range(1, plan.devices + 1):
            name = handle if number == 1 else f"{handle}-{number}"
            home = Path("homes") / plan.desk / name
            members.append(_member(made, plan.desk, handle, officer, home, now))
        path = Path("homes") / plan.desk / handle / "officer.ring"
        who = f"officer {handle} of {plan.desk}"
        made.people.append((path, who, held(officer, handle, now, plan.desk)))
    if plan.server:
        home = Path("homes") / plan.desk / "server"
        members.append(_member(made, plan.desk, "", None, home, now))
    last = members[-1:] if plan.server else members[:1]
    serves = [ceremony.statement_kid(one["device_key"]) for one in last]
    entry = ceremony.new_entry(plan.desk, members, plan.profile, plan.card, serves=serves)
    return ceremony.enter(out, plan.desk, entry, signers, now)


def _member(
    made: _Made, desk: str, handle: str, officer: Signer | None, home: Path, now: int
) -> dict[str, Any]:
    device = Signer.generate(Role.DEVICE)
    made.homes.append((home, Held(Role.DEVICE, device.seed, handle, desk, now), desk))
    enrol = [one.wire for one in ceremony.prove(desk, handle, officer, device, now)]
    key = officer.public if officer else b""
    return ceremony.new_member(desk, handle, key, device.public, enrol, now)


def _write(into: Path, made: _Made, files: Mapping[str, bytes], bench: Bench, now: int) -> None:
    for home, device, _desk_id in made.homes:
        write_home(into / home, device_ring(device, now))
    freshness = into / "freshness"
    write_service(
        freshness / "freshness.ring",
        freshness / "freshness.key",
        held(made.freshness, "freshness automaton", now),
        suite.random_bytes(32),
    )
    for origin, ring in made.relays.items():
        folder = into / "relay" / folder_name(origin)
        write_service(folder / "relay.ring", folder / "relay.key", ring, suite.random_bytes(32))
    write_repository(into / "repository", files)
    write_private(into / "root.json", files["1.root.json"])
    if made.homes:
        bench.say("This machine has seen every key of these desks: a rehearsal, or the first day.")


# Single keys


ROLES_ALONE = ("root", "registrar", "desk", "freshness", "relay", "recovery")


@click.command()
@click.argument("role", type=click.Choice(ROLES_ALONE))
@click.option(
    "--ring",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key ring to write; a service's key goes beside it, as *.key.",
)
@click.option("--name", default="", help="Whose it is: a person, or a relay's origin.")
@click.option("--desk", default="", help="The desk of a desk key or recovery key.")
@passphrases
@everywhere
def new(bench: Bench, role: str, path: Path, name: str, desk: str) -> None:
    """Make one key ring and print its public identity, to be sent to whoever enters it."""
    now = bench.now
    if desk:
        check_desk(desk)
    if role == "relay":
        if not SERVICE.match(name.split("/", maxsplit=1)[0]):
            raise click.UsageError("A relay's key needs --name ORIGIN, e.g. relay.example/1.")
        ring = relay_ring(name, now)
        write_service(path, path.with_suffix(".key"), ring, suite.random_bytes(32))
        public = instance_of(name, ring)
        bench.data(public, [f"{key} = {value}" for key, value in public.items()])
        return
    if role == "recovery":
        seed = suite.random_bytes(suite.SEED_BYTES)
        ring = KeyRing((Held(Role.DESK, seed, "recovery", desk, now),))
        bench.write_people([(path, f"the recovery key of {desk or 'the desk'}", ring)])
        key = statement.b64u(suite.prekey_public(seed))
        bench.data({"recovery": key}, [f'recovery = "{key}"'])
        return
    signer = Signer.generate(Role(role))
    if role == "freshness":
        ring = held(signer, name or "freshness automaton", now)
        write_service(path, path.with_suffix(".key"), ring, suite.random_bytes(32))
    else:
        bench.write_people([(path, name or f"{role} holder", held(signer, name, now, desk))])
    line = signer.identity.line()
    bench.data(
        {"identity": line, "kid": signer.kid, "fingerprint": fingerprint(signer.kid)},
        [line, f"fingerprint {fingerprint(signer.kid)}"],
    )
