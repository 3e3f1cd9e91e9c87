"""Commands that only look: inbox, sent, show, timeline, watch, phone, status, schema, exit-codes."""

import contextlib
import json
import sys
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import click

from keys.errors import Code, Refused
from relay.desk import paper, paper_ladder, paper_matter
from relay.desk.cli_office import Office, everywhere, reaching
from relay.desk.counter import Counter
from relay.desk.documents import forms, page, web, wording
from relay.zones import zone_of

FETCH = "Where no `desk serve` runs: reach for the relay first, at most so long."

EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "Done."),
    (1, "Refused, or the answer is no: not found, expired, not confirmed."),
    (2, "The command was typed wrongly."),
    (65, "The data are wrong: an incomplete document, an unreadable file, bad encoding."),
    (66, "A file that was named is not there."),
    (69, "Something that is needed is not there: a running desk, a part of the system."),
    (70, "An error of the program itself."),
    (73, "A file is there already, or cannot be written."),
    (75, "Not now: the relay is away or busy. What was handed over is kept; it goes on by itself."),
    (76, "A proof failed: a signature, a key, a changed directory. Do not go on; telephone."),
    (77, "No permission: wrong passphrase, missing key, a folder open to others."),
    (78, "The configuration is wrong: settings, clock, version."),
    (130, "Interrupted with Ctrl-C."),
)
"""What every command of `desk` ends with; a test holds relay.errors and this table together."""


def fetched(office: Office, at: Counter) -> None:
    """Reach for the relay if --wait asks for it, and say so where what follows may be old."""
    if at.served:
        return
    if office.wait and at.catch_up(office.wait):
        return
    office.say("No `desk serve` runs here: this is what was kept when one did. (Type: desk serve)")


@click.command()
@click.option("--all", "every", is_flag=True, help="Also what needs nobody any more.")
@reaching(0, FETCH)
@everywhere
def inbox(office: Office, *, every: bool) -> None:
    """List the messages that need somebody."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.inbox(all=every))
    messages = found["messages"]
    lines = [
        *paper_matter.standing(found, office.sheet()),
        *paper.listed(messages, settings.desk, office.sheet()),
    ]
    office.data(found, lines or ["Nothing needs you."])


@click.command()
@click.option("--all", "every", is_flag=True, help="Also what somebody has taken up, or is over.")
@reaching(0, FETCH)
@everywhere
def sent(office: Office, *, every: bool) -> None:
    """List what this desk sent and nobody has taken up: where it stands and what comes next."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.sent(all=every))
    messages = found["messages"]
    lines = paper_ladder.sent(messages, office.sheet())
    office.data(found, lines if messages else ["Nothing of yours is open."])


@click.command()
@click.argument("desk")
@reaching(0, FETCH)
@everywhere
def phone(office: Office, desk: str) -> None:
    """Print the telephone numbers of DESK (AU-B) or State (AU), from the directory at hand."""
    settings = office.home()
    with office.counter(settings) as at:
        if not at.served and office.wait:
            at.catch_up(office.wait)
        found = at.ask(at.desk.phone(desk))
    office.data(found, paper_ladder.book(found, office.sheet()))


@click.command()
@click.argument("msg")
@click.option(
    "--language",
    type=click.Choice(wording.LANGUAGES),
    help="Show the document alone, in this language.",
)
@click.option("--html", "as_html", is_flag=True, help="As a page of HTML that can be printed.")
@reaching(0, FETCH)
@everywhere
def show(office: Office, msg: str, *, language: str | None, as_html: bool) -> None:
    """Show one message: what it asks, what to do next and by when."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.show(msg))
    if not (language or as_html) or office.as_json:
        office.data(found, paper.shown(found, settings.desk, office.sheet()))
        return
    content = found.get("document")
    if not isinstance(content, Mapping):
        raise Refused(
            Code.E_DOCUMENT,
            f"{paper.short(found['msg'])} is not a form: its text is in the language of its sender.",
            hint=f"Type: desk show {paper.short(found['msg'])}",
        )
    top = found["header"]
    form, chosen = page.form_of(str(found["body_type"])), language or "en"
    banner = paper.banner(top["mode"], top["priority"])
    made = page.page(form, content, chosen, zones_of(content), [banner])
    click.echo(web.html(made) if as_html else "\n".join(page.plain(made, office.sheet().width)))


def zones_of(document: Mapping[str, Any]) -> list[tuple[str, tzinfo]]:
    """Return the zone of the desk that wrote a request, and that of this machine, by their names."""
    reachable = document.get("reachable")
    name = str(reachable.get("time_zone", "")) if isinstance(reachable, Mapping) else ""
    there = zone_of(name)
    return [(name, there)] if there is not None and name != "UTC" else []


@click.command()
@click.argument("msg")
@reaching(0, FETCH)
@everywhere
def timeline(office: Office, msg: str) -> None:
    """Tell every step of a message, each from a statement that verified."""
    settings = office.home()
    with office.counter(settings) as at:
        fetched(office, at)
        found = at.ask(at.desk.timeline(msg))
    office.data(found, paper.told(found, office.sheet()))


@click.command()
@reaching(0, FETCH)
@everywhere
def watch(office: Office) -> None:
    """Print each step as it happens, until Ctrl-C; with --json one object on each line."""
    settings = office.home()
    with office.counter(settings) as at:
        if not at.served:
            office.say("No `desk serve` runs here: this desk is up as long as this command.")
            at.link(0)

        def tell(event: dict[str, Any]) -> None:
            office.data(event, [paper.happened(event, office.sheet())])
            if paper_ladder.rings(event) and sys.stdout.isatty():
                click.echo("\a", nl=False)

        with contextlib.suppress(KeyboardInterrupt):  # how a watch ends
            at.each(tell)


@click.command()
@reaching(0, FETCH)
@everywhere
def status(office: Office) -> None:
    """Say whether this desk is connected, and what waits."""
    settings = office.home()
    with office.counter(settings) as at:
        if not at.served and office.wait:
            at.link(office.wait)
        found = at.ask(at.desk.status()) | {"served": at.served}
    office.data(found, paper.standing(found, office.sheet()))


@click.command()
@click.argument("kind", type=click.Choice(forms.KINDS), metavar="[KIND]", required=False)
@click.option("--language", type=click.Choice(wording.LANGUAGES), default="en", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")
def schema(kind: str | None, *, language: str, as_json: bool) -> None:
    """Print the JSON Schema of a kind of document, codes included; without KIND, list the kinds."""
    if kind is not None:
        click.echo(json.dumps(forms.schema(kind), ensure_ascii=False, indent=2))
        return
    kinds = [
        {
            "kind": one,
            "title": forms.title(one, language),
            "statement": forms.statement_kind(one),
            "place": forms.place(one),
            "answered_by": list(forms.answered_by(one)),
        }
        for one in forms.KINDS
    ]
    if as_json:
        click.echo(json.dumps({"kinds": kinds}, ensure_ascii=False, separators=(",", ":")))
        return
    for row in kinds:
        click.echo(f"{row['kind']:<28} {row['title']}")


@click.command("exit-codes")
@click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")
def exit_codes(*, as_json: bool) -> None:
    """Print what the exit code of a command means."""
    if as_json:
        listed = [{"code": code, "text": text} for code, text in EXIT_CODES]
        click.echo(json.dumps({"exit_codes": listed}, ensure_ascii=False, separators=(",", ":")))
        return
    for code, text in EXIT_CODES:
        click.echo(f"{code:>4}  {text}")
