"""Commands about matters: `desk matters` lists the open ones, `desk matter` shows one."""

import click

from relay.desk import paper_matter
from relay.desk.cli_office import Office, everywhere, reaching
from relay.desk.cli_reads import FETCH, fetched


@click.command()
@reaching(0, FETCH)
@everywhere
def matters(office: Office) -> None:
    """List the open requests with what is due next and by whom, the most pressing first."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.matters())
    lines = paper_matter.listed(found["matters"], office.sheet())
    office.data(found, lines if found["matters"] else ["No request is open."])


@click.command()
@click.argument("msg")
@reaching(0, FETCH)
@everywhere
def matter(office: Office, msg: str) -> None:
    """Show the whole life of a request: items, what is due, and the documents that led there."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.matter(msg))
    office.data(found, paper_matter.shown(found, office.sheet()))
