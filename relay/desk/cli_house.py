"""Commands about the desk itself: init, serve, backup, restore.

What a desk is made of is loaded by the command that runs one: the others start faster without it.
"""

import asyncio
import sys
from pathlib import Path

import click

from keys import suite
from keys.directory import begin
from keys.errors import Code, Failed, Refused
from keys.identity import fingerprint
from relay import errors
from relay.desk import home as homes
from relay.desk import logs
from relay.desk.cli_office import Office, everywhere, reaching
from relay.desk.home import Home, Reply
from relay.wire import fields


@click.command()
@click.option("--desk", required=True, metavar="VN", help="This desk's id in the directory.")
@click.option("--officer", required=True, metavar="vn-01", help="The officer's handle.")
@click.option("--service", required=True, metavar="NAME", help="The relay's name in the directory.")
@click.option("--url", required=True, metavar="wss://…", help="Where the relay is.")
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The directory's first root document, as the registrar gave it.",
)
@click.option(
    "--ca", default="", metavar="FILE", help="The certificate that the relay's must come from."
)
@click.option("--recovery", default="", metavar="KEY", help="The desk's public recovery key.")
@click.option("--yes", is_flag=True, help="Do not ask: the fingerprint was compared before.")
@everywhere
def init(
    office: Office,
    *,
    desk: str,
    officer: str,
    service: str,
    url: str,
    root: Path,
    ca: str,
    recovery: str,
    yes: bool,
) -> None:
    """Make this desk's home: its settings and what it trusts first."""
    if not fields.desk(desk) or not fields.service(service):
        raise click.UsageError("A desk is like VN or AU-B; a service's name has no spaces.")
    from relay.desk.dial import websocket_dial

    websocket_dial(url, ca)
    anchor = _anchor(root)
    digest = suite.sha256(anchor).hex()
    office.say(f"Fingerprint of the root document:\n  {fingerprint(digest)}")
    office.say("Compare it by telephone with the registrar's before you go on.")
    office.confirm("Is it the same?", yes=yes)
    made = Home(
        folder=office.folder,
        desk=desk,
        officer=officer,
        service=service,
        url=url,
        root=digest,
        ca=str(Path(ca).resolve()) if ca else "",
        recovery=recovery,
        reply=Reply(),
    )
    homes.create(made, anchor)
    office.data(
        {
            "home": str(office.folder),
            "desk": desk,
            "root": digest,
            "fingerprint": fingerprint(digest),
        },
        [f"{office.folder} is the home of desk {desk}."],
    )
    missing = [
        name
        for name in ("device.ring", "device.key", "officer.ring")
        if not (office.folder / name).exists()
    ]
    if missing:
        office.say(f"Still missing there: {', '.join(missing)}. Type: keys enrol --help")
    else:
        office.say("Type: desk serve")


def _anchor(root: Path) -> bytes:
    data = root.read_bytes() if root.stat().st_size <= homes.ROOT_BYTES_MAX else b""
    try:
        begin(data)
    except Refused as wrong:
        raise Failed(
            f"{root} is not a root document. {wrong.text}",
            hint="It is the file 1.root.json of the directory.",
            exit_code=errors.BAD_DATA,
        ) from None
    return data


@click.command()
@click.option(
    "--credential-file",
    "credential",
    type=click.Path(path_type=Path),
    help="The device's key, if it is not in the desk's folder.",
)
@everywhere
def serve(office: Office) -> None:
    """Keep this desk connected: fetch, open and confirm messages, send what waits, until SIGTERM."""
    from relay.desk import serving

    settings = office.home()
    logs.speak(office.clock.now, as_json=office.as_json or not sys.stderr.isatty())

    def ready() -> None:
        line = f"Desk {settings.desk} is ready; commands reach it at {settings.socket}"
        office.data({"ready": True, "desk": settings.desk, "socket": str(settings.socket)}, [line])
        sys.stdout.flush()

    asyncio.run(serving.serve(settings, office.credential, ready))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@reaching(0, "Not used here.")
@everywhere
def backup(office: Office, file: Path) -> None:
    """Write a sealed copy of the archive to FILE; the desk's recovery key opens it."""
    settings = office.home()
    with office.counter(settings) as at:
        found = at.ask(at.desk.backup(str(file.expanduser().resolve())))
    office.data(found, [f"{found['path']}: {found['bytes']} bytes."])
    if not found["recoverable"]:
        office.say(
            "Warning: no recovery key is set, so only this device's key ring opens the copy. "
            f"Type: keys new recovery --ring recovery.ring --desk {settings.desk}; put the line that "
            "it prints into desk.toml, and back up again."
        )


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--recovery-ring",
    required=True,
    type=click.Path(path_type=Path),
    help="The ring of the desk's recovery key, from the safe.",
)
@click.option(
    "--passphrase-fd",
    type=click.IntRange(0),
    metavar="N",
    help="Read that ring's passphrase from file descriptor N, not from the terminal.",
)
@click.option(
    "--credential-file",
    "credential",
    type=click.Path(path_type=Path),
    help="This device's key, if it is not in the desk's folder.",
)
@everywhere
def restore(office: Office, file: Path, *, recovery_ring: Path) -> None:
    """Make this device's archive from the backup FILE with the desk's recovery key."""
    from relay.desk.archive import Archive

    settings = office.home()
    with homes.held(settings.folder):
        _device, key = homes.device(
            settings.folder, homes.credential(settings.folder, office.credential)
        )
        seed = homes.recovery_seed(recovery_ring, office.passphrase(recovery_ring), settings.desk)
        try:
            made = Archive.restore(
                file, settings.archive, key, seed=seed, recovery=settings.recovery_key
            )
        except Refused as other:
            if other.code is not Code.E_DECRYPT:
                raise
            raise Refused(
                other.code,
                f"The recovery key in {recovery_ring} does not open {file}.",
                hint="Take the ring of the key that desk.toml named (`recovery`) when the backup was made.",
            ) from None
        try:
            count = made.count("message")
        finally:
            made.close()
    office.data(
        {"archive": str(settings.archive), "messages": count},
        [f"{settings.archive}: {count} messages restored. Type: desk serve"],
    )
