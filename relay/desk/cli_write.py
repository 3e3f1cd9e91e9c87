"""Commands for any kind of document: an empty form to fill in, and checking or sending a filled one."""

import io
import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from keys.errors import Code, Failed, Refused
from relay import errors
from relay.desk import compose, paper
from relay.desk.cli_hand import SEEN, asked_in, follow, nonce, reached, settle
from relay.desk.cli_keep import alone, judged, keep
from relay.desk.cli_office import Office, everywhere, reaching, signing
from relay.desk.cli_send import beside, send
from relay.desk.cli_terms import DESK
from relay.desk.documents import forms, skeleton, wording
from relay.desk.documents.interchange import exported
from relay.wire.envelope import PRIORITIES

LANGUAGE = click.option(
    "--language",
    type=click.Choice(wording.LANGUAGES),
    default="en",
    show_default=True,
    help="The language of labels and sentences.",
)


@click.command()
@click.argument("kind", type=click.Choice(forms.KINDS), metavar="KIND")
@click.option("--example", is_flag=True, help="A filled example instead of an empty form.")
@click.option("--explain", is_flag=True, help="What each field is for, instead of the form.")
@LANGUAGE
@everywhere
def form(office: Office, kind: str, *, example: bool, explain: bool, language: str) -> None:
    """Print an empty form of KIND as JSON, to be filled in; what is not needed is taken out."""
    if explain:
        rows = skeleton.explained(kind, language)
        found = [
            {"field": path, "label": label, "required": required, "form": how}
            for path, label, required, how in rows
        ]
        lines = [
            f"{'*' if required else ' '} {path}: {label}" + (f"  ({how})" if how else "")
            for path, label, required, how in rows
        ]
        office.data({"kind": kind, "fields": found}, lines)
        return
    made = skeleton.example(kind, office.clock.now()) if example else skeleton.skeleton(kind)
    click.echo(json.dumps(made, ensure_ascii=False, indent=2))
    office.say(f"What each field is for: desk form {kind} --explain")


def read(path: Path, kind: str) -> dict[str, Any]:
    """Return a document from a JSON or TOML file; its kind may be left out there."""
    data = path.read_bytes()[: compose.DOCUMENT_BYTES_MAX + 1]
    found = _from_toml(data) if path.suffix == ".toml" else compose.read_document(data)
    if found.setdefault("kind", kind) != kind:
        raise Refused(
            Code.E_DOCUMENT,
            f"The file holds a document of another kind than {kind}.",
            hint="Correct the file, or the kind that you typed.",
        )
    return found


def _from_toml(data: bytes) -> dict[str, Any]:
    try:
        found = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(
            Code.E_DOCUMENT,
            f"This document cannot be read as TOML: {error}.",
            hint="Save it as plain UTF-8 TOML, or as JSON.",
        ) from None
    return {key: _plain(value) for key, value in found.items()}


def _plain(value: Any) -> Any:
    """Return a TOML value as documents have it: times in UTC with a Z, days as they are."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="seconds")  # no time zone: the check says so
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


@click.command()
@click.argument("kind", type=click.Choice(forms.KINDS), metavar="KIND")
@click.option(
    "--file", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--to", type=DESK, metavar="DESK", help="Send it to this desk: it opens a thread.")
@click.option("--about", metavar="MSG", help="Send it in the thread of this message.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Default: urgent, or that of MSG.")
@click.option("--mode", type=click.Choice(("actual", "exercise")), default="actual")
@click.option("--draft", "as_draft", is_flag=True, help="Keep it as a draft; send nothing.")
@click.option("--dated-now", is_flag=True, help="Put today's date on a prepared document.")
@click.option(
    "--interchange",
    is_flag=True,
    help="Print a preservation request as tasks of ETSI TS 103 120, with what does not map.",
)
@LANGUAGE
@click.option("--yes", is_flag=True, help="Do not ask.")
@signing
@reaching(15, SEEN)
@everywhere
def write(
    office: Office,
    kind: str,
    *,
    path: Path,
    to: str | None,
    about: str | None,
    priority: str | None,
    mode: str,
    as_draft: bool,
    dated_now: bool,
    interchange: bool,
    language: str,
    yes: bool,
) -> None:
    """Check a document of KIND in a file; with --to or --about sign, seal and send it."""
    if to and about:
        raise click.UsageError("Choose one of --to and --about.")
    if as_draft and not (to or about):
        raise click.UsageError("Whom is the draft for? Add --to DESK or --about MSG.")
    document: Mapping[str, Any] = read(path, kind)
    if dated_now:
        document = forms.dated(document, now=office.clock.now())
    if interchange:
        if kind != "preservation_request" or to or about:
            raise click.UsageError("--interchange prints a preservation_request and sends nothing.")
        now = office.clock.now()
        forms.require(kind, document, now=now, priority=priority or "urgent")
        found = exported(document, now=now, priority=priority or "urgent")
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif about:
        send_about(office, about, kind, document, yes=yes, as_draft=as_draft)
    elif to:
        chosen = {"to": to, "priority": priority or "urgent", "mode": mode}
        _send_to(office, document, yes=yes, as_draft=as_draft, **chosen)
    else:
        _only_check(office, kind, document, priority or "urgent", mode, language)


def _only_check(
    office: Office,
    kind: str,
    document: Mapping[str, Any],
    priority: str,
    mode: str,
    language: str,
) -> None:
    """Print the page as the other side will read it, the letters, and what is wrong; 65 if something is."""
    data, lines = judged(office, kind, document, language, priority=priority, mode=mode)
    office.data(data, lines)
    if not data["complete"]:
        raise Failed(
            "This document is not complete; nothing was sent.",
            hint=f"Type: desk form {kind} --explain",
            exit_code=errors.BAD_DATA,
        )


def _send_to(office: Office, document: Mapping[str, Any], **chosen: Any) -> None:
    """Send a document that opens a thread, by the command that does it for every request."""
    context = click.get_current_context()
    given = {
        "folder": office.folder,
        "as_json": office.as_json,
        "credential": office.credential,
        "ring": office.ring,
        "passphrase_fd": office.passphrase_fd,
        "wait": office.wait,
    }
    data = json.dumps(document, ensure_ascii=False).encode()
    context.invoke(send, file=io.BytesIO(data), **chosen, **given)


def send_about(
    office: Office,
    msg: str,
    kind: str,
    document: Mapping[str, Any],
    *,
    yes: bool,
    as_draft: bool = False,
    draft: str = "",
) -> None:
    """Sign and send a document in the thread of a message, to the other desk of that message.

    *as_draft*: keep it instead. *draft*: the draft that is sent.
    """
    settings = office.home()
    with office.counter(settings) as at:
        found = at.ask(at.desk.show(msg))
        top, request = found["header"], asked_in(found)
        mine = top["from"] == settings.desk
        other = top["to"] if mine else top["from"]
        if as_draft:
            kept = {"to": other, "priority": top["priority"], "mode": top["mode"]}
            keep(office, at, settings, document, about=found["statement"], **kept)
            return
        alone(settings, kind, document, top["priority"], draft)
        me = reached(office, settings, at)
        answers = forms.statement_kind(kind) in {"answer", "refusal"}
        wants = forms.statement_kind(kind) == "request"
        within = None if wants or forms.answered_by(kind) else 0
        head = me.header(other, top["priority"], top["mode"], ack_within=within)
        card = at.ask(at.desk.recipients(settings.desk, ""))["card"]
        reservations = compose.reservations_of(card)
        compose.check_reply(document, head, request=request, reservations=reservations)
        beside(office, document, at.ask(at.desk.recipients(other, ""))["card"], head)
        office.say(f"{paper.banner(top['mode'], top['priority'])} to {other}")
        for line in paper.rows(forms.summary(kind, document), office.sheet().width):
            office.say(line)
        office.confirm("Sign, seal and send this?", yes=yes)
        officer = office.officer(settings)
        thread = found["msg"] if answers else found.get("thread") or found["msg"]
        made = compose.reply(
            document,
            head,
            request=request,
            thread=thread,
            reservations=reservations,
            officer=officer,
            nonce=nonce(),
        )
        sent = me.send(made, draft=draft)
        acts = []
        if answers and not mine:
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
        told = {"about": found["msg"], "statements": [act.sid for act in acts], **sent}
        follow(office, at, told)
