"""The command line of the strong-room: `keys`. The only place of `keys` that reads a clock."""

import sys
import time

import click

from keys import suite
from keys.cli_bench import EXIT_CODES, Bench, Sentences
from keys.cli_ceremony import hold, new
from keys.cli_desk import enrol, enter, revoke
from keys.cli_look import freshen, publish, show, verify
from keys.cli_registrar import add_desk, network, recover, renew, rotate
from keys.errors import Poc24Error

_EPILOG = "Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + "."


def clock() -> int:
    """Return the time of this machine, seconds UTC."""
    return int(time.time())


@click.group(
    cls=Sentences, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="poc24")
@click.pass_context
def keys(ctx: click.Context) -> None:
    """Make identities, and keep the signed directory of who is who.

    Secrets are asked for, or read from a descriptor (--passphrase-fd) or a private file (--credential-file); they are
    never taken from arguments or the environment. Data go to standard output, talk to standard error.
    """
    if ctx.obj is None:
        ctx.obj = Bench(clock)
    try:
        suite.self_test()
    except Poc24Error as error:
        click.echo(f"keys: {error}", err=True)
        ctx.exit(69)


_COMMANDS = (
    hold,
    new,
    add_desk,
    enrol,
    enter,
    rotate,
    revoke,
    recover,
    renew,
    network,
    freshen,
    publish,
    verify,
    show,
)
for _command in _COMMANDS:
    keys.add_command(_command)


def main() -> None:
    """Run the command line; Ctrl-C ends it with 130."""
    try:
        ended = keys(standalone_mode=False)
    except click.Abort:
        click.echo("keys: stopped; nothing more was written.", err=True)
        sys.exit(130)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    sys.exit(ended if isinstance(ended, int) else 0)


if __name__ == "__main__":
    main()
