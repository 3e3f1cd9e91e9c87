"""The relay's command line: `relay`. Data go to standard output, talk and logs to standard error."""

import asyncio
import ipaddress
import json
import os
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from keys import suite
from keys.errors import Code, Failed, Poc24Error, Refused
from relay import errors
from relay.config import Config, load

INTERRUPTED = 130
PUBLISH_S = 120
Result = TypeVar("Result")

EXIT_CODES = (
    (errors.OK, "done"),
    (errors.REFUSED, "refused, or a claim does not hold; the sentence says why"),
    (errors.USAGE, "the command line is wrong"),
    (errors.BAD_DATA, "the data are not what they should be"),
    (errors.UNAVAILABLE, "something needed is not there: a part of the machine, a port, the relay"),
    (errors.INTERNAL, "an error of the relay's own; what it had accepted is kept"),
    (73, "a file or folder cannot be made"),
    (errors.TRY_AGAIN, "not now; the same again later"),
    (errors.PROOF_FAILED, "a signature or proof does not verify"),
    (errors.NO_PERMISSION, "a key does not open, or a file may not be read"),
    (errors.CONFIGURATION, "the configuration is wrong"),
    (INTERRUPTED, "stopped by Ctrl-C"),
)


class Sentences(click.Group):
    """The group of commands: whatever one ends with leaves as a sentence and an exit code, never as a traceback."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = "relay", **more: Any
    ) -> Any:
        """Run one command line and exit."""
        given = list(sys.argv[1:] if args is None else args)
        more["standalone_mode"] = False
        try:
            found = super().main(given, prog_name, **more)
            code = found if isinstance(found, int) else errors.OK
        except click.ClickException as wrong:
            wrong.show()
            code = wrong.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("Stopped.", err=True)
            code = INTERRUPTED
        except Poc24Error as error:
            code = _told(error, as_json="--json" in given)
        except Exception as error:
            if os.environ.get("POC24_TRACEBACK") == "1":
                raise
            unknown = Failed(
                f"`relay` met an error of its own ({type(error).__name__}).",
                hint="What was accepted is kept. To see where: POC24_TRACEBACK=1 relay …",
            )
            code = _told(unknown, as_json="--json" in given)
        sys.exit(code)


def _told(error: Poc24Error, *, as_json: bool) -> int:
    code = errors.exit_code(error)
    if as_json:
        name = error.code.value if isinstance(error, Refused) else ""
        told = {"code": name, "exit": code, "text": error.text, "hint": error.hint}
        click.echo(json.dumps({"error": told}, ensure_ascii=False), err=True)
        return code
    click.echo(error.text, err=True)
    if error.hint:
        click.echo(error.hint, err=True)
    return code


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, on the faster loop where it is installed (extra `fast`)."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _now() -> int:
    from relay.server.clock import SystemClock

    return SystemClock().now()


def _version() -> str:
    try:
        return version("poc24")
    except PackageNotFoundError:
        return "unknown"


def _config(path: Path) -> Config:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return load(path, Path(credentials) if credentials else None)


_config_option = click.option(
    "--config",
    "path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration; deploy/relay.example.toml explains it.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="poc24", prog_name="relay")
def main() -> None:
    """Carry sealed, proven requests between national contact points, and keep each until a person has it."""
    suite.self_test()


@main.command()
@_config_option
@_json_option
@click.option(
    "--believe-wall-clock",
    "believe",
    is_flag=True,
    help="Go on at the wall clock's time, although the relay's clock had come to another.",
)
def serve(path: Path, *, as_json: bool, believe: bool) -> None:
    """Run the relay until SIGTERM or Ctrl-C; then finish what is under way, and stop.

    With --json one line on standard output says when it is ready, and on which ports.
    """
    from relay.server import build
    from relay.server.app import Relay
    from relay.server.clock import SystemClock

    def ready(relay: Relay) -> None:
        if as_json:
            ports = {"port": relay.port, "observe_port": relay.observe_port}
            click.echo(json.dumps({"ready": {"address": relay.place.address, **ports}}))
        else:
            click.echo(f"Ready on {relay.place.address} port {relay.port}.", err=True)

    clock = SystemClock(believe=believe)
    _run(build.serve(build.relay_of(_config(path), clock, version=_version()), ready))


@main.command()
@_config_option
@_json_option
def check(path: Path, *, as_json: bool) -> int:
    """Look at everything that a start needs: configuration, keys, store, directory, ports, certificate, clock."""
    from relay.server import examine

    return _claims(_run(examine.check(_config(path), _now())), as_json=as_json)


@main.command()
@_config_option
@_json_option
def doctor(path: Path, *, as_json: bool) -> int:
    """Look through store, log, disk and directory. Works while the relay runs, and while it does not."""
    from relay.server import examine

    return _claims(_run(examine.doctor(_config(path), _now())), as_json=as_json)


def _claims(claims: Sequence[Any], *, as_json: bool) -> int:
    holds = all(claim.holds for claim in claims)
    if as_json:
        listed = [
            {
                "name": claim.name,
                "holds": claim.holds,
                "text": claim.text,
                "hint": "" if claim.holds else claim.hint,
            }
            for claim in claims
        ]
        click.echo(json.dumps({"holds": holds, "claims": listed}, ensure_ascii=False))
    else:
        for claim in claims:
            click.echo(f"{'ok ' if claim.holds else 'NO '} {claim.name:<18} {claim.text}")
            if not claim.holds and claim.hint:
                click.echo(f"{'':<23}{claim.hint}")
    return errors.OK if holds else errors.REFUSED


@main.command()
@click.argument(
    "pack", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--url", required=True, metavar="https://…", help="Where the relay is.")
@click.option(
    "--ca",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The certificate that the relay's must come from.",
)
@_json_option
def publish(pack: Path, url: str, ca: Path | None, *, as_json: bool) -> None:
    """Hand a directory that `keys publish` packed to a relay. Anybody may: the authority is in its signatures."""
    taken = _run(_publish(pack.read_bytes(), url, ca))
    if as_json:
        click.echo(json.dumps({"version": taken}))
    else:
        click.echo(f"The relay works with version {taken} of the directory.")


async def _publish(data: bytes, url: str, ca: Path | None) -> int:
    import aiohttp

    where = url.rstrip("/").replace("ws", "http", 1) if url.startswith("ws") else url.rstrip("/")
    parts = urlsplit(where)
    open_line = parts.scheme == "http" and _here(parts.hostname)
    if not parts.hostname or not (parts.scheme == "https" or open_line):
        raise click.UsageError("A relay's address begins with https:// (or http:// on loopback).")
    tls = ssl.create_default_context(cafile=str(ca)) if ca else ssl.create_default_context()
    timeout = aiohttp.ClientTimeout(total=PUBLISH_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.put(f"{where}/v1/directory", data=data, ssl=tls) as response,
        ):
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failed(
            f"The relay at {where} cannot be reached: {_why(error)}.",
            hint="Is it running? relay check --config FILE; or curl -i " + where + "/v1/session",
            exit_code=errors.UNAVAILABLE,
        ) from None
    if response.status != 200:
        raise errors.from_json(body)
    from relay.wire import frames

    try:
        version: int = frames.answered(frames.Type.PUBLISH, body)["version"]
    except Refused:
        raise Refused(Code.E_ENCODING, "What answers there is not a relay.") from None
    return version


def _here(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _why(error: Exception) -> str:
    cause = getattr(error, "os_error", error)
    return getattr(cause, "strerror", "") or str(error) or type(error).__name__


@main.command()
@_config_option
@click.argument("file", type=click.Path(path_type=Path))
@_json_option
def backup(path: Path, file: Path, *, as_json: bool) -> None:
    """Write a consistent, verified copy of the store to FILE, which must not be there. The relay may run meanwhile.

    A relay that starts on the copy takes a new epoch: desks then send again what they hold.
    """
    written = _run(_backup(_config(path), file.absolute()))
    if as_json:
        click.echo(json.dumps(written, ensure_ascii=False))
        return
    click.echo(f"{written['path']} holds a verified copy.")
    if written["blobs"]:
        click.echo(
            f"Its {written['blobs']} attachments are in {written['path']}.blobs: keep both together."
        )


@main.command()
@_config_option
@click.argument(
    "journals",
    nargs=-1,
    metavar="[JOURNAL]…",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@_json_option
def migrate(path: Path, journals: tuple[Path, ...], *, as_json: bool) -> None:
    """Make the configured store whole: before the first start without [redis], or when other journals are to join.

    JOURNAL: the files of other instances. No relay may run on any of them. Nothing is taken out of where it was.
    """
    from relay.server.migrate import migrate as work

    found = _run(work(_config(path), journals, _now()))
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"The store holds {found['messages']} messages, {found['open']} of them open. Looked through: whole."
        )


async def _backup(config: Config, file: Path) -> dict[str, Any]:
    from relay.blobs import Blobs
    from relay.server import control
    from relay.store.blobs import Folder
    from relay.store.sqlite import SqliteStore

    written = await control.ask(config.control, "POST", "backup", {"path": str(file)})
    if written is not None:
        return written
    store = SqliteStore(config.store)
    await store.start(_now())
    blobs = Blobs(store, Folder(config.blobs))
    try:
        return await control.backup(store, file, blobs)
    finally:
        await blobs.stop()
        await store.stop()


@main.command("page-test")
@_config_option
@click.option("--desk", required=True, metavar="DESK", help="Whose endpoint, such as AU.")
@click.option("--handle", required=True, metavar="HANDLE", help="Which, such as duty.")
@click.option(
    "--priority", type=click.Choice(["emergency", "urgent", "routine"]), default="routine"
)
@_json_option
def page_test(path: Path, desk: str, handle: str, priority: str, *, as_json: bool) -> int:
    """Send a test page through every channel of an endpoint, and say what came of it. Wakes whoever is there.

    The relay need not run. The text says TEST, and has a code by which the other side can name it.
    """
    from relay.server import paging

    tried = _run(paging.test(_config(path), desk, handle, priority, _now()))
    if as_json:
        listed = [
            {"channel": one.channel, "result": one.result.word.value, "why": one.result.why}
            for one in tried.channels
        ]
        told = {"code": tried.code, "text": tried.text, "channels": listed}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"Sent to {desk} {handle}: {tried.text}")
        for one in tried.channels:
            click.echo(f"{one.result.word.value:<12} {one.channel:<8} {one.result.why}")
    return errors.OK if tried.arrived else errors.REFUSED


@main.command("exit-codes")
@_json_option
def exit_codes(*, as_json: bool) -> None:
    """Print what the exit code of a command means."""
    if as_json:
        listed = [{"code": code, "text": text} for code, text in EXIT_CODES]
        click.echo(json.dumps({"exit_codes": listed}, ensure_ascii=False))
        return
    for code, text in EXIT_CODES:
        click.echo(f"{code:>4}  {text}")


if __name__ == "__main__":
    main()
