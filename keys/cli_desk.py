"""`keys enrol`, `enter`, `revoke`: the desks' commands. An officer asks; whoever holds the desk's key signs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from keys import ceremony, keyfile, statement, suite
from keys.cli_bench import (
    Bench,
    everywhere,
    held,
    passphrases,
    read_repository,
    repository_option,
    rings_option,
    write_repository,
    write_service,
)
from keys.describe import FLOOR, read_file, usual_card, usual_profile
from keys.entry import HANDLE, Member, check_desk, read_member
from keys.errors import Failed, Refused
from keys.identity import Role, Signer, fingerprint
from keys.keyfile import ARCHIVE, Held, KeyRing
from keys.repository import current_entry
from keys.shape import closed

REQUEST_BYTES_MAX = 16 * 1024


def device_ring(device: Held, now: int) -> KeyRing:
    """Return a device's ring: its signing key, and a random key for its archive."""
    archive = Held(Role.DEVICE, suite.random_bytes(32), ARCHIVE, device.desk, now)
    return KeyRing((device, archive))


def write_home(home: Path, ring: KeyRing) -> None:
    """Write ``device.ring`` and ``device.key`` into a desk's home."""
    write_service(home / "device.ring", home / "device.key", ring, suite.random_bytes(32))


@click.command()
@click.option("--desk", default="", help="The desk, e.g. VN.")
@click.option(
    "--officer", "handle", default="", help="The officer's handle, e.g. vn-03: a pseudonym."
)
@click.option("--server", is_flag=True, help="Enrol the desk's server: machine acts only.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="The desk's home.")
@click.option(
    "--officer-ring",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The officer's ring if it is there already: this is a further device.",
)
@click.option(
    "--accept",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Accept this request: sign the desk's new entry.",
)
@click.option("--repository", type=click.Path(path_type=Path, file_okay=False))
@rings_option("--ring", "With --accept: a ring with the desk's key.", required=False)
@click.option("--yes", is_flag=True, help="With --accept: the digits were compared.")
@passphrases
@everywhere
def enrol(
    bench: Bench,
    desk: str,
    handle: str,
    into: Path | None,
    officer_ring: Path | None,
    accept: Path | None,
    repository: Path | None,
    ring: tuple[Path, ...],
    *,
    server: bool,
    yes: bool,
) -> None:
    """Enrol a device, in two steps.

    On the device: keys enrol --desk VN --officer vn-03 --into HOME makes its keys and request.json, which holds public
    keys and proofs only. Where the desk's key is: keys enrol --accept request.json --repository DIR --ring desk.ring.
    """
    if accept:
        if repository is None or not ring:
            raise click.UsageError("--accept needs --repository and --ring.")
        _accept(bench, accept, repository, ring, yes=yes)
        return
    if into is None or bool(handle) == server:
        raise click.UsageError("Give --desk, --into, and either --officer HANDLE or --server.")
    if handle and not HANDLE.match(handle):
        raise click.UsageError("A handle is 1 to 32 of a-z, 0-9, dot, dash and underscore.")
    _request(bench, check_desk(desk), handle, into, officer_ring)


def _request(bench: Bench, desk: str, handle: str, into: Path, officer_ring: Path | None) -> None:
    now = bench.now
    officer: Signer | None = None
    if officer_ring:
        officer = bench.open_person(officer_ring).signer(Role.OFFICER)
    elif handle:
        officer = Signer.generate(Role.OFFICER)
        who = f"officer {handle} of {desk}"
        bench.write_people([(into / "officer.ring", who, held(officer, handle, now, desk))])
    device = Signer.generate(Role.DEVICE)
    write_home(into, device_ring(Held(Role.DEVICE, device.seed, handle, desk, now), now))
    wires = [one.wire for one in ceremony.prove(desk, handle, officer, device, now)]
    key = officer.public if officer else b""
    member = ceremony.new_member(desk, handle, key, device.public, wires, now)
    path = into / "request.json"
    keyfile.write_private(path, statement.encode({"desk": desk, "member": member, "v": 1}))
    digits = _digits(read_member(desk, member))
    bench.data(
        {"request": str(path), "desk": desk, "officer": handle, **digits},
        [
            f"Send {path} to whoever holds the key of {desk}, and read them these digits:",
            *(f"  {name}: {value}" for name, value in digits.items()),
        ],
    )


def _digits(member: Member) -> dict[str, str]:
    found = {"device": fingerprint(member.device_kid)}
    return {"officer_key": fingerprint(member.officer_kid), **found} if member.officer else found


def _accept(
    bench: Bench, request: Path, repository: Path, rings: Sequence[Path], *, yes: bool
) -> None:
    desk, member = read_request(request)
    read = read_member(desk, member)  # proves possession of both keys
    who = f"officer {read.officer}" if read.officer else "its server"
    bench.say(f"Desk {desk} is to enrol {who}:")
    for name, value in _digits(read).items():
        bench.say(f"  {name}: {value}")
    bench.confirm("Were these digits compared over the telephone?", yes=yes)
    files = read_repository(repository)
    entry = ceremony.with_member(current_entry(files, desk), member)
    signers = bench.signers(rings, Role.DESK)
    written = write_repository(repository, ceremony.enter(files, desk, entry, signers, bench.now))
    bench.data(
        {"desk": desk, "officer": read.officer, "device": read.device_kid, "written": written},
        [f"{who.capitalize()} of {desk} is enrolled; `keys freshen` publishes it."],
    )


def read_request(path: Path) -> tuple[str, dict[str, Any]]:
    """Read an enrolment request; return desk and member. Its proofs are verified by whoever accepts it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.", exit_code=78) from error
    if len(data) > REQUEST_BYTES_MAX:
        raise Failed(f"{path} is too large for an enrolment request.", exit_code=65)
    raw = closed(statement.decode(data), {"desk", "member", "v"}, "an enrolment request")
    return check_desk(raw["desk"]), closed(raw["member"], None, "a member")


@click.command()
@repository_option
@click.option("--desk", required=True)
@click.option(
    "--entry",
    "description",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML or JSON with [card], [profile] or telephones; needed the first time.",
)
@click.option(
    "--request",
    "requests",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The first time: an enrolment request of a device; repeat for each.",
)
@rings_option("--ring", "A ring with the desk's key; repeat until the threshold is reached.")
@passphrases
@everywhere
def enter(
    bench: Bench,
    repository: Path,
    desk: str,
    description: Path | None,
    requests: tuple[Path, ...],
    ring: tuple[Path, ...],
) -> None:
    """Sign a desk's entry: the first time, when its card or profile changes, and before its 400 days are over."""
    files = read_repository(repository)
    given = read_file(description) if description else {}
    odd = sorted(given.keys() - {"card", "profile", "telephones"})
    if odd:
        raise Failed(f"{description} has an unknown setting {odd[0]!r}.", exit_code=78)
    try:
        entry = current_entry(files, desk)
    except Refused:
        entry = _first_entry(desk, given, requests, bench.now)
    else:
        entry = _with(entry, given)
    signers = bench.signers(ring, Role.DESK)
    files = ceremony.enter(files, desk, entry, signers, bench.now)
    written = write_repository(repository, files)
    bench.data(
        {"desk": desk, "members": len(entry["members"]), "written": written},
        [f"The entry of {desk} is signed for 400 days; `keys freshen` publishes it."],
    )


def _first_entry(
    desk: str, given: Mapping[str, Any], requests: Sequence[Path], now: int
) -> dict[str, Any]:
    members = []
    for path in requests:
        of, member = read_request(path)
        if of != desk:
            raise Failed(f"{path} is a request to desk {of}, not to {desk}.", exit_code=65)
        members.append(member)
    profile = given.get("profile") or usual_profile(FLOOR, given.get("telephones", ()))
    card = usual_card(desk, given.get("card", {}), now)
    serves = [ceremony.statement_kid(one["device_key"]) for one in members[:1]]
    return ceremony.new_entry(desk, members, profile, card, serves=serves)


def _with(entry: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    profile = dict(given.get("profile") or entry["profile"])
    if "telephones" in given:
        profile["exhausted"] = [{"label": "", **one} for one in given["telephones"]]
    return {**entry, "card": {**entry["card"], **given.get("card", {})}, "profile": profile}


@click.command()
@repository_option
@click.option("--desk", required=True)
@click.option("--officer", "handle", default="", help="Revoke an officer with every device.")
@click.option("--device", default="", help="Revoke one device by its key id.")
@rings_option("--ring", "A ring with the desk's key; repeat until the threshold is reached.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@passphrases
@everywhere
def revoke(
    bench: Bench,
    repository: Path,
    desk: str,
    handle: str,
    device: str,
    ring: tuple[Path, ...],
    *,
    yes: bool,
) -> None:
    """Revoke a member from now on. What it signed before stays valid; nothing it signs from now on counts."""
    if bool(handle) == bool(device):
        raise click.UsageError("Give either --officer HANDLE or --device KID.")
    files = read_repository(repository)
    entry = current_entry(files, desk)
    changed = ceremony.without_member(entry, bench.now, handle=handle, device=device)
    bench.confirm(f"Revoke {handle or device} of {desk} from now on?", yes=yes)
    signers = bench.signers(ring, Role.DESK)
    written = write_repository(repository, ceremony.enter(files, desk, changed, signers, bench.now))
    bench.data(
        {"desk": desk, "revoked": handle or device, "at": bench.now, "written": written},
        [f"{handle or device} of {desk} is revoked; publish it now: keys freshen …"],
    )
