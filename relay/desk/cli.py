"""`desk`: the officer's command line.

An error is a sentence and a hint on standard error (with --json one object), and an exit code of
the table that `desk exit-codes` prints; never a traceback, unless POC24_TRACEBACK=1 asks for one.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from keys.errors import Failed, Poc24Error
from relay import errors
from relay.desk import logs
from relay.desk.cli_acts import acknowledge, answer, decline, withdraw
from relay.desk.cli_attach import save
from relay.desk.cli_drafts import COMMANDS as FOUR_EYES
from relay.desk.cli_house import backup, init, restore, serve
from relay.desk.cli_matter import matter, matters
from relay.desk.cli_reads import (
    exit_codes,
    inbox,
    phone,
    schema,
    sent,
    show,
    status,
    timeline,
    watch,
)
from relay.desk.cli_send import send
from relay.desk.cli_write import form, write
from relay.desk.control import describe

INTERRUPTED = 130


class Desk(click.Group):
    """The group of commands; whatever a command ends with leaves here as an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = "desk", **more: Any
    ) -> Any:
        """Run one command line and exit."""
        given = list(sys.argv[1:] if args is None else args)
        more["standalone_mode"] = False
        try:
            with logs.quiet():
                found = super().main(given, prog_name, **more)
            code = found if isinstance(found, int) else errors.OK
        except click.ClickException as wrong:
            wrong.show()
            code = wrong.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            code = INTERRUPTED
        except Poc24Error as error:
            code = _told(error, as_json="--json" in given)
        except BrokenPipeError:
            # Whoever read the output has enough; a second error at exit would only confuse.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = errors.OK
        except Exception as error:
            if os.environ.get("POC24_TRACEBACK") == "1":
                raise
            code = _told(_unknown(error), as_json="--json" in given)
        sys.exit(code)


def _unknown(error: Exception) -> Failed:
    return Failed(
        f"`desk` met an error of its own ({type(error).__name__}).",
        hint="What was confirmed before is kept. To see where: POC24_TRACEBACK=1 desk …",
    )


def _told(error: Poc24Error, *, as_json: bool) -> int:
    code = errors.exit_code(error)
    if as_json:
        click.echo(json.dumps({"error": describe(error)}, ensure_ascii=False), err=True)
        return code
    click.echo(error.text, err=True)
    if error.hint:
        click.echo(error.hint.strip(), err=True)
    return code


@click.group(cls=Desk, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="poc24", prog_name="desk")
@click.pass_context
def desk(context: click.Context) -> None:
    """Send, read and answer urgent requests between national contact points.

    One desk lives in one folder (--home or POC24_DESK_HOME). `desk serve` keeps it connected; every
    other command talks to it, or runs the desk itself for as long as the command takes.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


for command in (
    init,
    serve,
    send,
    form,
    write,
    inbox,
    sent,
    matters,
    matter,
    show,
    acknowledge,
    decline,
    answer,
    withdraw,
    save,
    timeline,
    watch,
    phone,
    status,
    backup,
    restore,
    schema,
    exit_codes,
    *FOUR_EYES,
):
    desk.add_command(command)


def main() -> None:
    """Enter from the shell."""
    desk.main()


if __name__ == "__main__":
    main()
