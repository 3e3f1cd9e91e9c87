"""What commands that write share: a document judged, a draft kept and shown, and whether two officers are needed."""

import json
from collections.abc import Mapping
from typing import Any

from keys.errors import Failed, Refused
from relay import errors
from relay.desk import approval, compose, paper
from relay.desk.cli_hand import asked_in
from relay.desk.cli_office import Office
from relay.desk.counter import Counter
from relay.desk.documents import forms, page, wording
from relay.desk.home import Home

DEFAULT_BACKUP = {None: "", "": "-"}
"""How a draft says what `--backup` says: left out is the card's, '' is none."""


def judged(
    office: Office, kind: str, document: Mapping[str, Any], language: str, **around: Any
) -> tuple[dict[str, Any], list[str]]:
    """Return a document as data and as lines: its page, the letters (a) to (g), and what is wrong or doubtful.

    *around*: what ``forms.check`` takes. ``complete`` says whether it may be sent.
    """
    found = forms.check(kind, document, now=office.clock.now(), **around)
    letters = forms.checklist(document, language) if kind == "preservation_request" else []
    problems = [
        {
            "path": one.path,
            "text": wording.into(one.text, language),
            "letter": one.letter,
            "warning": one.warning,
        }
        for one in found
    ]
    shown = page.page(page.form_of(forms.body_type(kind)), document, language)
    data = {
        "kind": kind,
        "complete": not [one for one in found if not one.warning],
        "letters": [
            {"letter": letter, "text": text, "fulfilled": done} for letter, text, done in letters
        ],
        "problems": problems,
    }
    lines = [
        *page.plain(shown, office.sheet().width),
        *(f"[{'x' if done else ' '}] ({letter}) {text}" for letter, text, done in letters),
        *(forms.told(one, language) + (" (!)" if one.warning else "") for one in found),
    ]
    return data, lines


def alone(
    settings: Home, kind: str, document: Mapping[str, Any], priority: str, draft: str
) -> None:
    """Say before anybody signs that a second officer is needed; Failed (77). The desk checks it again."""
    need = approval.why(
        forms.statement_kind(kind), kind, document, priority, settings.policy.approve
    )
    if need and not draft:
        raise Failed(
            f"{need} Nothing was sent.",
            hint="Type the same with --draft; then another officer types: desk approve ID",
            exit_code=errors.NO_PERMISSION,
        )


def keep(
    office: Office, at: Counter, settings: Home, document: Mapping[str, Any], **fields: str
) -> None:
    """Keep a document as a draft, complete or not, and show how far it is. *fields*: those of a draft."""
    value = {
        "kind": str(document["kind"]),
        "text": json.dumps(document, ensure_ascii=False),
        "officer": settings.officer,
        "backup": "",
        **fields,
    }
    name = value.pop("name", "")
    show(office, at, settings, at.ask(at.desk.keep_draft(name, json.dumps(value))))


def show(
    office: Office, at: Counter, settings: Home, found: dict[str, Any], language: str = "en"
) -> bool:
    """Show a draft with its live checklist, the approval and what to type next; return whether it is complete."""
    document = compose.read_document(found["text"].encode())
    data, lines = judged(office, found["kind"], document, language, **_around(at, settings, found))
    office.data({**found, "document": document, **data}, [*_head(found), "", *lines])
    name = found["draft"][:10]
    complete = bool(data["complete"])
    if not complete:
        office.say(f"Not complete. Kept; go on with: desk draft edit {name} --file FILE")
    elif found["needs"] and not found["approved"]:
        office.say(f"{found['needs']} He types: desk approve {name} --officer-ring RING")
    else:
        office.say(f"Complete. Nothing was sent; type: desk draft send {name}")
    return complete


def _head(found: Mapping[str, Any]) -> list[str]:
    where = f"about {found['about'][:10]} to {found['to']}" if found["about"] else found["to"]
    first = (
        f"Draft {found['draft'][:10]}: {paper.banner(found['mode'], found['priority'])}, {where}"
    )
    approved = found["approved"]
    if approved:
        return [first, f"Approved by {approved['officer']}  [proof {approved['proof'][:10]}]"]
    return [first, *([f"NOT APPROVED. {found['needs']}"] if found["needs"] else [])]


def _around(at: Counter, settings: Home, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the document is judged against: urgency, the recipient's card, the request that it follows."""
    around: dict[str, Any] = {"priority": found["priority"], "mode": found["mode"]}
    try:
        around["card"] = at.ask(at.desk.recipients(found["to"], ""))["card"]
        if found["about"]:
            around["request"] = asked_in(at.ask(at.desk.show(found["about"])))
            card = at.ask(at.desk.recipients(settings.desk, ""))["card"]
            around["reservations"] = compose.reservations_of(card)
    except Refused:
        pass  # without a directory a draft is judged by itself; sending it judges again
    return around
