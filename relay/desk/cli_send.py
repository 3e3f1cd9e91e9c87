"""The command that sends a request: read, check, show who will get it, ask, sign, hand over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keys.errors import Code, Refused
from relay.desk import compose, paper
from relay.desk.cli_attach import ATTACH, announce, look, sealed
from relay.desk.cli_hand import SEEN, follow, nonce, reached
from relay.desk.cli_keep import DEFAULT_BACKUP, alone, keep
from relay.desk.cli_office import Office, everywhere, reaching, signing
from relay.desk.cli_terms import DESK, DURATION
from relay.desk.documents import card as cards
from relay.desk.documents import forms
from relay.wire.envelope import PRIORITIES, Header
from relay.zones import zone_of

SHOWN = frozenset({"Languages", "Preserves for"})
"""What the lines on the recipient have told already."""
UNTIL = ("accepted", "delivered", "acknowledged", "closed", "answer")


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--to", required=True, type=DESK, metavar="DESK", help="The desk that is asked, such as AU."
)
@click.option("--priority", type=click.Choice(PRIORITIES), default="urgent", show_default=True)
@click.option(
    "--mode",
    type=click.Choice(("actual", "exercise")),
    default="actual",
    show_default=True,
    help="An exercise runs everything and says so everywhere.",
)
@click.option(
    "--backup",
    type=DESK,
    metavar="DESK",
    help="A desk that may open it too if nobody answers, '' for none. Default: from the card.",
)
@click.option(
    "--ack-within",
    type=DURATION,
    metavar="45m",
    help="Ask a person to acknowledge sooner than the priority says.",
)
@ATTACH
@click.option("--draft", "as_draft", is_flag=True, help="Keep it as a draft; send nothing.")
@click.option("--dated-now", is_flag=True, help="Put today's date on a prepared request.")
@click.option(
    "--despite-stale-directory",
    "override_stale",
    is_flag=True,
    help="Send with a directory that is out of date; this is recorded and shown.",
)
@click.option(
    "--until",
    type=click.Choice(UNTIL),
    default="accepted",
    show_default=True,
    help="What --wait waits for.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def send(
    office: Office,
    *,
    file: Any,
    to: str,
    priority: str,
    mode: str,
    backup: str | None,
    ack_within: int | None,
    attached: tuple[Path, ...],
    as_draft: bool,
    dated_now: bool,
    override_stale: bool,
    until: str,
    yes: bool,
    draft: str = "",
) -> None:
    """Sign the request in FILE ('-' is standard input), seal it for a desk and send it."""
    document: Mapping[str, Any] = compose.read_document(file.read(compose.DOCUMENT_BYTES_MAX + 1))
    settings, now = office.home(), office.clock.now()
    if dated_now:
        document = forms.dated(document, now=now)
    if as_draft:
        if attached:
            raise click.UsageError("A draft carries no files: attach them to what is sent at once.")
        kept = {"to": to, "about": "", "priority": priority, "mode": mode}
        other = DEFAULT_BACKUP.get(backup, str(backup))
        with office.counter(settings) as at:
            keep(office, at, settings, _of_a_kind(document), **kept, backup=other)
        return
    kind = _check_alone(document, settings.desk, to, priority, now)
    alone(settings, kind, document, priority, draft)
    picked = look(attached)
    with office.counter(settings) as at:
        me = reached(office, settings, at)
        if dated_now:
            document = forms.dated(document, now=me.now)  # this clock may be wrong
        seen = at.ask(at.desk.recipients(to, backup or ""))
        if backup is None:
            backup = compose.backup_of(seen["card"], to, settings.desk)
        top = me.header(to, priority, mode, backup=backup, ack_within=ack_within)
        _show_before(office, seen, top)
        beside(office, document, seen["card"], top)
        announce(office, picked)
        office.confirm("Sign, seal and send this?", yes=yes)
        with sealed(office, settings, picked) as enclosed:
            officer = office.officer(settings)
            made = compose.request(
                document, top, officer=officer, nonce=nonce(), attachments=enclosed.named
            )
            sent = me.send(made, enclosed, draft=draft, override_stale=override_stale)
        told = sent | {
            "to": top.to,
            "backup": top.backup,
            "priority": top.priority,
            "mode": top.mode,
            "ack_by": top.ack_by,
            "expires": top.expires,
        }
        follow(office, at, told, until=until)


def _of_a_kind(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a document that says what kind it is; E_DOCUMENT for one that may not open a thread."""
    kind = forms.kind_in(document)
    if kind is None or forms.place(kind) not in {"opens", "either"}:
        raise Refused(
            Code.E_DOCUMENT,
            "This document does not say that it is of a kind that opens a thread.",
            hint="`desk schema` lists the kinds; what follows a message: desk write KIND --about MSG",
        )
    return document


def _check_alone(document: Mapping[str, Any], mine: str, to: str, priority: str, now: int) -> str:
    """Tell what is missing before anything else: no relay, no key and no passphrase is needed for it."""
    top = compose.header(
        sender=mine, device="0" * 64, to=to, priority=priority, mode="actual", now=now
    )
    return compose.check_request(document, top)


def _show_before(office: Office, seen: Mapping[str, Any], top: Header) -> None:
    sheet = office.sheet()
    office.say(paper.banner(top.mode, top.priority))
    for line in paper.recipient(seen, sheet):
        office.say(line)
    if top.backup:
        office.say(f"If nobody acknowledges, {top.backup} may open it too.")
    if top.ack_by:
        office.say(f"A person there acknowledges by {sheet.until(top.ack_by)}.")


def beside(
    office: Office, document: Mapping[str, Any], card: Mapping[str, Any], top: Header
) -> None:
    """Show what the recipient's card says about such a request, and what is doubtful about this one."""
    kind = forms.kind_in(document)
    if kind is None:
        return
    zone = zone_of(str(card.get("office", {}).get("zone", "")))
    pairs = cards.beside(card, forms.serves(kind), top.created, zone=zone)
    for line in paper.rows([pair for pair in pairs if pair[0] not in SHOWN], office.sheet().width):
        office.say(line)
    found = forms.check(
        kind, document, now=top.created, priority=top.priority, card=card, mode=top.mode
    )
    for problem in found:
        office.say(f"Warning: {problem.path}: {problem.text}" if problem.path else problem.text)
