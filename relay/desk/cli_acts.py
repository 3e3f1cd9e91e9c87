"""Commands by which an officer acts on a message: acknowledge, decline, answer, withdraw."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from keys.errors import Code, Refused
from keys.identity import Signer
from relay.desk import compose, paper, paper_attachments
from relay.desk.cli_attach import ATTACH, announce, look, sealed
from relay.desk.cli_hand import (
    SEEN,
    Hand,
    asked_in,
    follow,
    incoming,
    nonce,
    outgoing,
    reached,
    settle,
)
from relay.desk.cli_keep import alone, keep
from relay.desk.cli_office import Office, everywhere, reaching, signing
from relay.desk.cli_terms import DAY, FIRST_DAY
from relay.desk.documents import codes, forms
from relay.desk.home import Home


@click.command()
@click.argument("msg")
@click.option(
    "--no-note", is_flag=True, help="Do not tell the sender of attachments that are not here."
)
@signing
@reaching(15, SEEN)
@everywhere
def acknowledge(office: Office, msg: str, *, no_note: bool) -> None:
    """State, signed, that you have opened and read MSG: this stops the paging on both sides.

    Where an attachment did not arrive, or is damaged, its sender is told so in a signed note.
    """
    settings = office.home()
    with office.counter(settings) as at:
        found = incoming(at, msg, settings.desk)
        officer = office.officer(settings)
        me = reached(office, settings, at)
        acts = settle(
            me,
            found,
            lambda copy: compose.acknowledged(
                copy, found["statement"], desk=settings.desk, now=me.now, officer=officer
            ),
        )
        faults = [] if no_note else paper_attachments.faults(found)
        note = _tell(office, me, found, faults, officer) if faults else {}
        after = at.ask(at.desk.show(found["statement"]))
        office.data(
            {
                "msg": found["msg"],
                "kind": "acknowledged",
                "statements": [act.sid for act in acts],
                **note,
            },
            [
                f"{paper.short(found['msg'])} acknowledged.",
                paper.next_step(after, settings.desk, office.sheet()),
            ],
        )
        posted(office, me)


def _tell(
    office: Office, me: Hand, found: Mapping[str, Any], faults: list[str], officer: Signer
) -> dict[str, str]:
    """Send the sender of a message a signed note of what is wrong with its attachments."""
    name = paper.short(found["msg"])
    text = "\n".join(
        [f"Your message {name} was opened and read here.", *faults, "Please send it again."]
    )
    made = compose.note(
        text, me.back(found["header"]), thread=found["msg"], officer=officer, nonce=nonce()
    )
    sent = me.send(made)
    office.say(f"{found['header']['from']} is told, signed: {' '.join(faults)}")
    return {"note": str(sent["msg"])}


@click.command()
@click.argument("msg")
@click.option("--reason", required=True, metavar="TEXT", help="Why, and who else could do it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def decline(office: Office, msg: str, *, reason: str, yes: bool) -> None:
    """State, signed, that MSG is not for this desk: the next one is tried at once."""
    settings = office.home()
    with office.counter(settings) as at:
        found = incoming(at, msg, settings.desk)
        name = paper.short(found["msg"])
        office.confirm(
            f"Tell {found['header']['from']} that {name} is not for you?", yes=yes, needed=False
        )
        officer = office.officer(settings)
        me = reached(office, settings, at)
        acts = settle(
            me,
            found,
            lambda copy: compose.declined(
                copy, found["statement"], desk=settings.desk, now=me.now, officer=officer
            ),
        )
        made = compose.note(
            reason,
            me.back(found["header"]),
            thread=found["msg"],
            officer=officer,
            nonce=nonce(),
        )
        sent = me.send(made)
        told = {"declined": found["msg"], "statements": [act.sid for act in acts], **sent}
        follow(office, at, told, lines=(f"{name} declined.",))


@click.command()
@click.argument("msg")
@click.option(
    "--reason",
    required=True,
    type=click.Choice(list(codes.lists()["withdrawal_reason"])),
    help="Why, as a code.",
)
@click.option("--keep-data", is_flag=True, help="The data are to be kept all the same.")
@click.option("--note", default="", metavar="TEXT", help="A word more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def withdraw(
    office: Office, msg: str, *, reason: str, keep_data: bool, note: str, yes: bool
) -> None:
    """Withdraw MSG, which this desk sent: nobody is paged for it any more."""
    settings = office.home()
    with office.counter(settings) as at:
        found = outgoing(at, msg, settings.desk)
        name, top = paper.short(found["msg"]), found["header"]
        office.confirm(f"Withdraw {name}, sent to {top['to']}?", yes=yes, needed=False)
        officer = office.officer(settings)
        me = reached(office, settings, at)
        act = compose.withdrawn(found["msg"], found["statement"], now=me.now, officer=officer)
        me.record(act)
        if found["state"] == "queued" and at.ask(at.desk.show(found["statement"]))["state"] == (
            "withdrawn"
        ):
            # Nothing of it had left this desk: nobody else has to hear of it.
            told = {"msg": found["msg"], "withdrawn": found["msg"], "statements": [act.sid]}
            office.data(told | {"state": "withdrawn"}, [f"{name} withdrawn; it had not left."])
            return
        document = forms.withdrawal(
            asked_in(found) or {},
            at=me.now,
            officer=settings.reply.name or settings.officer,
            function=settings.reply.function,
            reason=reason,
            release_data=not keep_data,
            note=note,
        )
        made = compose.reply(
            document,
            me.header(top["to"], top["priority"], top["mode"], ack_within=0),
            request=asked_in(found),
            thread=found["msg"],
            officer=officer,
            nonce=nonce(),
        )
        sent = me.send(made)
        told = {"withdrawn": found["msg"], "statements": [act.sid], **sent}
        follow(office, at, told, lines=(f"{name} withdrawn.",))


@click.command()
@click.argument("msg")
@click.option(
    "--preserved-until", type=DAY, metavar="DATE", help="Accept: the data are kept so long."
)
@click.option("--preserved-from", type=FIRST_DAY, metavar="DATE", help="Since when. Default: now.")
@click.option("--refuse", metavar="GROUND", help="Refuse on a ground, such as R-SOV.")
@click.option("--reason", default="", metavar="TEXT", help="The reasons of a refusal.")
@click.option("--approver", default="", metavar="NAME", help="Who approved the refusal.")
@click.option("--provision", default="", metavar="TEXT", help="The provision that a ground names.")
@click.option("--file", type=click.File("rb"), help="Answer with this document instead.")
@click.option("--order", default="", metavar="TEXT", help="The reference of the order.")
@click.option("--ticket", default="", metavar="TEXT", help="This desk's own reference.")
@click.option("--note", default="", metavar="TEXT", help="A word more.")
@ATTACH
@click.option("--draft", "as_draft", is_flag=True, help="Keep it as a draft; send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def answer(
    office: Office,
    msg: str,
    *,
    attached: tuple[Path, ...],
    as_draft: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Answer MSG: accept it with --preserved-until, refuse it with --refuse, or send --file."""
    chosen = [name for name in ("preserved_until", "refuse", "file") if given[name] is not None]
    if len(chosen) != 1:
        raise click.UsageError("Choose one of --preserved-until, --refuse and --file.")
    settings, picked = office.home(), look(attached)
    with office.counter(settings) as at:
        found = incoming(at, msg, settings.desk)
        request = asked_in(found)
        if found.get("kind") != "request" or request is None:
            raise Refused(
                Code.E_DOCUMENT,
                f"{paper.short(found['msg'])} is not a request that this desk can read, "
                "so there is nothing to answer.",
                hint=f"Type: desk show {paper.short(found['msg'])}",
            )
        me = reached(office, settings, at)
        card = at.ask(at.desk.recipients(settings.desk, ""))["card"]
        document = _document(settings, me, request, given, card)
        if as_draft:
            if attached or forms.kind_in(document) is None:
                raise click.UsageError("A draft carries no files, and says what kind it is.")
            head = found["header"]
            kept = {"to": head["from"], "priority": head["priority"], "mode": head["mode"]}
            keep(office, at, settings, document, about=found["statement"], **kept)
            return
        top, reservations = me.back(found["header"]), compose.reservations_of(card)
        try:
            compose.check_reply(document, top, request=request, reservations=reservations)
        except Refused as incomplete:
            if given["file"] is not None:
                raise
            options = "\nSay it with other or further options; `desk answer --help` names them."
            raise Refused(incomplete.code, incomplete.text, hint=options) from None
        alone(settings, str(document["kind"]), document, top.priority, "")
        _show_before(office, document, found)
        announce(office, picked)
        office.confirm("Sign, seal and send this?", yes=yes, needed=False)
        with sealed(office, settings, picked) as enclosed:
            officer = office.officer(settings)
            made = compose.reply(
                document,
                top,
                request=request,
                thread=found["msg"],
                reservations=reservations,
                officer=officer,
                nonce=nonce(),
                attachments=enclosed.named,
            )
            sent = me.send(made, enclosed)
        acts = settle(
            me,
            found,
            lambda copy: compose.closed(
                copy,
                found["statement"],
                outcome=made.statement.sid,
                desk=settings.desk,
                now=me.now,
                officer=officer,
            ),
        )
        told = {"answers": found["msg"], "statements": [act.sid for act in acts], **sent}
        follow(office, at, told)


def _document(
    settings: Home,
    me: Hand,
    request: Mapping[str, Any],
    given: Mapping[str, Any],
    card: Mapping[str, Any],
) -> Mapping[str, Any]:
    reply = settings.reply
    name = reply.name or settings.officer
    if given["file"] is not None:
        return compose.read_document(given["file"].read(compose.DOCUMENT_BYTES_MAX + 1))
    if given["refuse"] is not None:
        return forms.refusal(
            request,
            at=me.now,
            officer=name,
            function=reply.function,
            ground=given["refuse"],
            reason=given["reason"],
            approver=given["approver"],
            provision=given["provision"],
            desk_ticket=given["ticket"],
        )
    return forms.acceptance(
        request,
        at=me.now,
        officer=name,
        function=reply.function,
        preserved_from=given["preserved_from"] or me.now,
        preserved_until=given["preserved_until"],
        central_authority=reply.authority or card["authority"],
        language=reply.language,
        requirements=reply.requirements
        or "A request for mutual legal assistance that names the reference of this request.",
        order_reference=given["order"],
        desk_ticket=given["ticket"],
        note=given["note"],
    )


def _show_before(office: Office, document: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    kind, sheet = forms.kind_in(document), office.sheet()
    top = found["header"]
    office.say(f"{paper.banner(top['mode'], top['priority'])} to {top['from']}")
    if kind:
        for line in paper.rows(forms.summary(kind, document), sheet.width):
            office.say(line)


def posted(office: Office, me: Hand) -> None:
    """Give a receipt the time of --wait to reach the relay; say so where it has not."""
    if not me.at.settle(office.wait):
        goes_on = (
            "the running desk posts it." if me.at.served else "type desk serve, which posts it."
        )
        office.say(f"The relay does not have it yet. It is kept; {goes_on}")
