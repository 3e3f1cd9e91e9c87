"""Commands for four eyes: drafts, a second officer's approval, lowered urgency, and the share of emergencies."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from keys import suite
from keys.errors import Code, Failed, Refused
from keys.statement import b64u, encode
from relay import errors
from relay.desk import approval, compose, paper
from relay.desk.approval import Subject
from relay.desk.cli_hand import SEEN, asked_in, incoming
from relay.desk.cli_keep import keep
from relay.desk.cli_keep import show as show_draft
from relay.desk.cli_office import Office, everywhere, reaching, signing
from relay.desk.cli_send import UNTIL, send
from relay.desk.cli_terms import DESK, DURATION, FIRST_DAY
from relay.desk.cli_write import LANGUAGE, read, send_about
from relay.desk.documents.reading import text, written
from relay.desk.margin import rank
from relay.wire.envelope import PRIORITIES

NOW = "Where no `desk serve` runs: reach for the relay first, at most so long."


@click.command()
@reaching(0, NOW)
@everywhere
def drafts(office: Office) -> None:
    """List what was written here and not sent yet."""
    with office.counter(office.home()) as at:
        found = at.ask(at.desk.drafts())
    office.data(found, [_line(one) for one in found["drafts"]] or ["There is no draft."])


def _line(one: Mapping[str, Any]) -> str:
    state = "approved" if one["approved"] else "needs approval" if one["needs"] else "may be sent"
    about = f" about {one['about'][:10]}" if one["about"] else ""
    return f"{one['draft'][:10]}  {one['priority'].upper():<9} {one['kind']} to {one['to']}{about}, {state}"


@click.group()
def draft() -> None:
    """Show, edit, send or drop a draft."""


@draft.command("show")
@click.argument("name", metavar="ID")
@LANGUAGE
@reaching(0, NOW)
@everywhere
def draft_show(office: Office, name: str, *, language: str) -> None:
    """Show a draft as the other side will read it, with what is missing and what is doubtful."""
    settings = office.home()
    with office.counter(settings) as at:
        show_draft(office, at, settings, at.ask(at.desk.draft(name)), language)


@draft.command("edit")
@click.argument("name", metavar="ID")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", type=DESK, metavar="DESK", help="Another desk, where it opens a thread.")
@click.option("--priority", type=click.Choice(PRIORITIES))
@reaching(0, NOW)
@everywhere
def draft_edit(
    office: Office, name: str, *, path: Path | None, to: str | None, priority: str | None
) -> None:
    """Put another text or another recipient into a draft; an approval of it is void then."""
    if path is None and not to and not priority:
        raise click.UsageError("Say what to change: --file, --to or --priority.")
    settings = office.home()
    with office.counter(settings) as at:
        found = at.ask(at.desk.draft(name))
        if to and found["about"]:
            raise click.UsageError("This draft follows a message: it goes to that message's desk.")
        document = (
            read(path, found["kind"]) if path else compose.read_document(found["text"].encode())
        )
        keep(
            office,
            at,
            settings,
            document,
            name=found["draft"],
            to=to or found["to"],
            about=found["about"],
            priority=priority or found["priority"],
            mode=found["mode"],
            backup=found["backup"],
        )


@draft.command("drop")
@click.argument("name", metavar="ID")
@reaching(0, NOW)
@everywhere
def draft_drop(office: Office, name: str) -> None:
    """Delete a draft."""
    with office.counter(office.home()) as at:
        found = at.ask(at.desk.drop_draft(name))
    office.data(found, [f"Draft {found['draft'][:10]} dropped."])


@draft.command("send")
@click.argument("name", metavar="ID")
@click.option(
    "--ack-within", type=DURATION, metavar="45m", help="Ask for an acknowledgement sooner."
)
@click.option(
    "--despite-stale-directory", "override_stale", is_flag=True, help="As for `desk send`."
)
@click.option("--until", type=click.Choice(UNTIL), default="accepted", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def draft_send(
    office: Office,
    name: str,
    *,
    ack_within: int | None,
    override_stale: bool,
    until: str,
    yes: bool,
) -> None:
    """Sign a draft, seal it for its desk and send it; it is a draft no longer."""
    settings = office.home()
    with office.counter(settings) as at:
        found = at.ask(at.desk.draft(name))
    if found["needs"] and not found["approved"]:
        raise Failed(
            f"{found['needs']} Nothing was sent.",
            hint=f"Another officer types: desk approve {found['draft'][:10]} --officer-ring RING",
            exit_code=errors.NO_PERMISSION,
        )
    document = compose.read_document(found["text"].encode())
    if found["about"]:
        send_about(office, found["about"], found["kind"], document, yes=yes, draft=found["draft"])
        return
    given = {one.name: getattr(office, one.name) for one in fields(office) if one.name != "clock"}
    click.get_current_context().invoke(
        send,
        file=io.BytesIO(found["text"].encode()),
        to=found["to"],
        priority=found["priority"],
        mode=found["mode"],
        backup={"": None, "-": ""}.get(found["backup"], found["backup"]),
        ack_within=ack_within,
        override_stale=override_stale,
        until=until,
        yes=yes,
        draft=found["draft"],
        **given,
    )


@click.command()
@click.argument("name", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@LANGUAGE
@signing
@reaching(0, NOW)
@everywhere
def approve(office: Office, name: str, *, yes: bool, language: str) -> None:
    """Approve a draft as its second officer, signed: exactly this text, for this desk, as urgent as this.

    The ring is yours (--officer-ring), not that of the officer who wrote it.
    """
    settings = office.home()
    with office.counter(settings) as at:
        found = at.ask(at.desk.draft(name))
        document = compose.read_document(found["text"].encode())
        aloud = Office(office.folder, as_json=False, clock=office.clock)
        if not office.as_json and not show_draft(aloud, at, settings, found, language):
            raise _incomplete(found)
        subject = Subject(**found["subject"]) if found["subject"] else None
        if subject is None or subject.body_sha256 != suite.sha256(encode(document)).hex():
            raise _incomplete(found)
        office.confirm("Approve exactly this?", yes=yes, needed=False)
        offset = int(at.ask(at.desk.status()).get("clock_offset", 0))
        now = office.clock.now() + offset
        signed = approval.make(
            subject, desk=settings.desk, now=now, officer=office.officer(settings)
        )
        done = at.ask(at.desk.approve(found["draft"], b64u(signed.wire)))
    by = done["approved"].get("officer", "")
    short = done["draft"][:10]
    told = {"draft": done["draft"], "approved": done["approved"], "needs": done["needs"]}
    office.data(told, [f"Draft {short} approved by {by}. An edit voids it."])
    office.say(f"It is sent by its officer: desk draft send {short}")


def _incomplete(found: Mapping[str, Any]) -> Failed:
    return Failed(
        "This draft is not complete, so there is nothing to approve yet.",
        hint=f"Type: desk draft show {found['draft'][:10]}",
        exit_code=errors.BAD_DATA,
    )


@click.command()
@click.argument("msg")
@click.option("--reason", required=True, metavar="TEXT", help="Why; its sender reads it.")
@click.option(
    "--to",
    "value",
    type=click.Choice(("urgent", "routine")),
    help="The new urgency. Default: the next lower one.",
)
@click.option("--approver", default="", metavar="NAME", help="Who agreed to it.")
@click.option("--draft", "as_draft", is_flag=True, help="Keep it as a draft; send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def downgrade(
    office: Office,
    msg: str,
    *,
    reason: str,
    value: str | None,
    approver: str,
    as_draft: bool,
    yes: bool,
) -> None:
    """Tell the sender of MSG, signed and with the reason, that it is less urgent than it says."""
    settings = office.home()
    with office.counter(settings) as at:
        found = incoming(at, msg, settings.desk)
        request = asked_in(found)
        if found.get("kind") != "request" or request is None:
            raise Refused(
                Code.E_DOCUMENT,
                f"{paper.short(found['msg'])} is not a request that this desk can read.",
                hint=f"Type: desk show {paper.short(found['msg'])}",
            )
        at.link(office.wait)
        offset = int(at.ask(at.desk.status()).get("clock_offset", 0))
    was = str(found["urgency"] or found["header"]["priority"]).upper()
    lower = (value or ("urgent" if was == "EMERGENCY" else "routine")).upper()
    if rank(lower) >= rank(was):
        raise Failed(
            f"{paper.short(found['msg'])} is {was.lower()} already; {lower.lower()} is not lower.",
            hint="What is more urgent than its sender says is simply done sooner.",
            exit_code=errors.REFUSED,
        )
    reply = settings.reply
    document: dict[str, Any] = {
        "kind": "urgency_change",
        "national_reference": text(request, "national_reference"),
        "language": reply.language,
        "officer": {"name": reply.name or settings.officer, "function": reply.function},
        "at": written(office.clock.now() + offset),
        "was": was,
        "value": lower,
        "reason": reason,
    }
    if approver:
        document["approver"] = {"name": approver, "function": "Duty supervisor"}
    send_about(office, msg, "urgency_change", document, yes=yes, as_draft=as_draft)


@click.command("statistics")
@click.option(
    "--since", type=FIRST_DAY, default=0, metavar="DATE", help="Default: everything here."
)
@reaching(0, NOW)
@everywhere
def statistics(office: Office, *, since: int) -> None:
    """Count requests by urgency, with each desk and in all: how often emergency is said."""
    with office.counter(office.home()) as at:
        found = at.ask(at.desk.statistics(since))
    office.data(found, _table(found))


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'':<10}{'':<10}{'emergency':>10}{'urgent':>10}{'routine':>10}{'emergencies':>13}{'exercises':>11}"
    for row in (*found["desks"], {**found["all"], "desk": "all"}):
        for way in ("sent", "received"):
            numbers = row[way]
            counts = "".join(f"{numbers[one]:>10}" for one in PRIORITIES)
            yield f"{row['desk']:<10}{way:<10}{counts}{numbers['share']:>11} %{numbers['exercises']:>11}"
        if row["lowered"]:
            yield f"{row['desk']:<10}urgency lowered {row['lowered']} times"


COMMANDS = (drafts, draft, approve, downgrade, statistics)
"""What this module adds to `desk`."""
