"""What an officer reads on a terminal: pure text, made for the night.

Warnings come first, then what to do next and until when, then the rest. State is a word, never a
colour alone. Times stand in UTC and, where it differs, in the time of this machine. Text that came
from elsewhere is shown without anything that could steer a terminal.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from keys.identity import fingerprint
from relay.desk import clock, paper_attachments, paper_ladder, paper_matter
from relay.desk.compose import CLOCKS, NOTE_TYPE
from relay.desk.documents import forms, page
from relay.desk.documents.reading import instant, printable
from relay.desk.documents.wording import bare as bare_text
from relay.desk.ladder import UNOPENABLE
from relay.desk.sheet import Sheet, banner, bare, rows, short, span, warnings

__all__ = [
    "Sheet",
    "asked",
    "banner",
    "bare",
    "document",
    "happened",
    "listed",
    "next_step",
    "recipient",
    "rows",
    "short",
    "shown",
    "span",
    "standing",
    "told",
    "until_decision",
    "warnings",
]

_QUIET = {
    "confidential": "Keep it confidential.",
    "do_not_notify_user": "Do not tell the holder of the account.",
}
ENDED = frozenset({"closed", "withdrawn", "replaced", "expired"})
UNHEARD = frozenset({"accepted", "delivered", "failed", "queued", "exhausted"})
"""States in which nobody has acknowledged yet."""


def asked(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a request is about in three lines: who asks, for what, and what to beware of."""
    authority, items = content.get("requesting_authority"), content.get("items")
    if isinstance(authority, Mapping):
        yield (
            "Asked by",
            bare(", ".join(str(authority.get(one, "")) for one in ("organisation", "country"))),
        )
    if isinstance(items, list) and items and all(isinstance(one, Mapping) for one in items):
        first, more = items[0], f" and {len(items) - 1} more" if len(items) > 1 else ""
        at = first.get("custodian")
        where = f" at {at['name']}" if isinstance(at, Mapping) and at.get("name") else ""
        days = content.get("requested_duration_days", "?")
        yield (
            "Asks",
            bare(f"Preserve data of {first.get('identifier_value')}{where}{more}, {days} days."),
        )
    quiet = [text for name, text in _QUIET.items() if content.get(name) is True]
    if quiet:
        yield "Beware", " ".join(quiet)


def shown(found: Mapping[str, Any], mine: str, sheet: Sheet) -> Iterator[str]:
    """Yield the page of one message: banner, warnings, what to do next, who asks, the document.

    *found* is what the verb ``show`` returned; *mine* is this desk.
    """
    top: Mapping[str, Any] = found["header"]
    kind = str(found.get("kind", ""))
    yield f"{banner(top['mode'], top['priority'])} {kind} from {top['from']} to {top['to']}"
    for warning in warnings(found):
        yield from textwrap.wrap(f"! {warning}", sheet.width, subsequent_indent="  ")
    yield ""
    content = found.get("document")
    pairs = [
        ("Next", next_step(found, mine, sheet)),
        *paper_ladder.call(found),
        *(asked(content) if kind == "request" and isinstance(content, Mapping) else ()),
        ("State", bare(found["state"])),
        *([(paper_ladder.STANDS, stands)] if (stands := paper_ladder.stands(found, sheet)) else ()),
        ("Signed by", f"{bare(found['officer'])} of {top['from']}, {sheet.time(top['created'])}"),
        ("Message", f"{short(found['msg'])}  ({found['msg']})"),
    ]
    if found.get("thread"):
        pairs.append(
            ("Belongs to", f"{short(found['thread'])}  (desk show {short(found['thread'])})")
        )
    pairs += [("Urgency", bare(one)) for one in found.get("notes", ())]
    if found.get("approved"):
        pairs.append(("Approved by", f"{bare(found['approved'])} of {top['from']}"))
    pairs += paper_attachments.rows(found)
    if top["backup"]:
        pairs.append(("Backup desk", top["backup"]))
    pairs.append(("Expires", sheet.time(top["expires"])))
    yield from rows(pairs, sheet.width)
    yield ""
    yield from document(found, sheet)


def document(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield the body: a form by its labels as far as they are known, anything else as it is."""
    form, content = page.form_of(str(found["body_type"])), found.get("document")
    if form.kind and isinstance(content, Mapping):
        known = page.page(form, content)
        yield known.title if form.known else bare(found["body_type"])
        for notice in known.notices:
            yield from textwrap.wrap(f"! {bare_text(notice)}", sheet.width, subsequent_indent="  ")
        pairs = [(" / ".join(cell.labels), bare_text(cell.text)) for cell in known.cells]
        yield from rows(pairs, sheet.width)
        return
    if found["body_type"] != NOTE_TYPE:
        yield f"This desk knows no form of type {bare(found['body_type'])}; here is what was sent:"
    text = next((found[name] for name in ("text", "base64", "document") if name in found), "")
    yield from printable(str(text)).splitlines()


def next_step(found: Mapping[str, Any], mine: str, sheet: Sheet) -> str:
    """Return the one thing to do now, by when, and what to type for it."""
    top: Mapping[str, Any] = found["header"]
    name, state = short(found["msg"]), str(found["state"])
    if top["from"] == mine and state == "expired":
        return f"Telephone {top['to']}, or send it anew: it expired and nobody had acknowledged it."
    if state in ENDED:
        return f"Nothing: it is {state}. What happened: desk timeline {name}"
    if top["from"] == mine:
        return _sent(found, sheet)
    if found.get("kind") != "request":
        return "Read it." + _term(found, sheet) + _written(found)
    by: Mapping[str, str] = found.get("by") or {}
    if state == "declined" and by.get("declined", mine) == mine:
        return f"Nothing: this desk declined it. desk timeline {name}"
    other = by.get("acknowledged", mine)
    if state == "acknowledged" and other != mine:
        return (
            f"Nothing to sign: {other} has acknowledged it. Speak with {other} before you do "
            f"anything. desk timeline {name}"
        )
    if state == "acknowledged" or not top["ack_by"]:
        if written := _written(found):
            return f"Decide, {until_decision(found, sheet)}:{written}"
        return (
            f"Decide, {until_decision(found, sheet)}:\n"
            f"desk answer {name} --preserved-until DATE\n"
            f"desk answer {name} --refuse GROUND --reason TEXT --approver NAME --draft"
        )
    deputy = f"You are the backup of {top['to']}. " if top["backup"] == mine else ""
    due = f"Acknowledge by {sheet.until(top['ack_by'])}"
    if state == "exhausted":
        due = "Acknowledge, late as it is: its sender was told that nobody had answered"
    return f"{deputy}{due}:\ndesk acknowledge {name}"


def _sent(found: Mapping[str, Any], sheet: Sheet) -> str:
    """Return what the sender does next."""
    top: Mapping[str, Any] = found["header"]
    name, state, to = short(found["msg"]), str(found["state"]), top["to"]
    telephone: Mapping[str, Any] = found.get("call") or {}
    if telephone.get("outcome") == UNOPENABLE:
        return (
            f"Telephone {to}: its devices have it, and none can open it. Delivery goes on until "
            f"{sheet.time(top['expires'])}. desk timeline {name}"
        )
    if state == "exhausted":
        return (
            f"Telephone {to}: nobody there has acknowledged it. Delivery goes on until "
            f"{sheet.time(top['expires'])}. desk timeline {name}"
        )
    if telephone.get("why") and state != "refused":
        return f"Telephone {to}, see the warning; it goes on by itself too. desk timeline {name}"
    if state == "queued":
        return f"Wait: it is not with the relay yet and goes out by itself. desk timeline {name}"
    if state == "refused":
        return "Read the warning, correct what it names, and send it again."
    if state == "declined" and (coming := paper_ladder.comes(found, sheet)):
        return (
            f"A person at {to} declined it; next, {coming}. Wait for that, or telephone {to}. "
            f"desk timeline {name}"
        )
    if state in {"declined", "failed"}:
        return f"Telephone {to}: it is {state}. What happened: desk timeline {name}"
    if state == "acknowledged":
        return f"Wait for the answer, {until_decision(found, sheet)}. desk timeline {name}"
    if top["ack_by"]:
        due = sheet.until(top["ack_by"])
        return f"Wait: a person at {to} acknowledges by {due}. desk timeline {name}"
    return f"Nothing: no acknowledgement was asked. desk timeline {name}"


def _written(found: Mapping[str, Any]) -> str:
    """Return what to type to answer a document other than a request for preservation, or ""."""
    form, name = page.form_of(str(found["body_type"])), short(found["msg"])
    if not form.known or form.kind == "preservation_request":
        return ""
    return "".join(
        f"\ndesk write {kind} --file FILE --about {name}" for kind in forms.answered_by(form.kind)
    )


def until_decision(found: Mapping[str, Any], sheet: Sheet) -> str:
    """Return by when the asked desk decides, from the one clock table."""
    top: Mapping[str, Any] = found["header"]
    return f"by {sheet.until(top['created'] + CLOCKS[top['priority']].decide_s)}"


def _term(found: Mapping[str, Any], sheet: Sheet) -> str:
    content = found.get("document")
    end = instant(content.get("preserved_until")) if isinstance(content, Mapping) else None
    if end is None:
        return ""
    return f" The data are kept until {sheet.until(end)}: send the request for assistance before."


def listed(messages: Sequence[Mapping[str, Any]], mine: str, sheet: Sheet) -> Iterator[str]:
    """Yield the inbox, one line for each message, the most pressing first as the desk gave them."""
    for one in messages:
        way = f"to {one['to']}" if one["from"] == mine else f"from {one['from']}"
        mark = "" if one["mode"] == "actual" else f" {str(one['mode']).upper()}"
        due = ""
        if one["ack_by"] and one["state"] in UNHEARD:
            due = f", acknowledge by {sheet.until(one['ack_by'])}"
        yield (
            f"{short(one['msg'])}  {str(one['priority']).upper():<9}{mark} {one['kind']:<8} "
            f"{way:<12} {bare(one['state'])}{due}"
        )
        for line in paper_attachments.listed(one):
            yield f"            {line}"
        for warning in warnings(one):
            yield f"            ! {warning}"


def told(timeline: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield the timeline: each proven step in words, with the digits of its proof."""
    yield f"Message {short(timeline['msg'])}: {bare(timeline['state'])}"
    for line in timeline["lines"]:
        late = "  LATE" if line.get("late") else ""
        proof = f"  [proof {short(line['proof'])}]" if line.get("proof") else ""
        at = line["at"] or line["received"]
        after = f"; next step {sheet.time(line['next_at'])}" if line.get("next_at") else ""
        yield f"{sheet.time(at)}  {bare(line['by'])}: {bare(line['text'])}{after}{late}{proof}"
    pairs = [*paper_ladder.call(timeline)]
    if coming := paper_ladder.comes(timeline, sheet):
        pairs.insert(0, ("Next", coming))
    pairs += paper_attachments.rows(timeline)
    yield from rows(pairs, sheet.width)


def recipient(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield what an officer sees of a desk before anything is sealed for it."""
    card: Mapping[str, Any] = found.get("card", {})
    names = ", ".join(bare(one["name"]) for one in card.get("names", ()))
    pairs = [
        ("To", f"{found['desk']}  {names}".rstrip()),
        ("Country", bare(card.get("state", str(found["desk"])[:2]))),
        ("Languages", ", ".join(bare(one) for one in card.get("languages", ()))),
        ("Devices", str(len(found.get("devices", ())))),
        ("Fingerprint", "\n".join(_fingerprints(found))),
    ]
    if found.get("telephone"):
        pairs.append(("Telephone", bare(found["telephone"])))
    if card.get("preservation_days"):
        pairs.append(("Preserves for", f"{card['preservation_days']} days at most at a time"))
    yield from rows(pairs, sheet.width)
    for warning in warnings(found):
        yield from textwrap.wrap(f"! {warning}", sheet.width, subsequent_indent="  ")


def _fingerprints(found: Mapping[str, Any]) -> list[str]:
    given = found.get("fingerprint", "")
    listed = [given] if isinstance(given, str) else list(given)
    return [fingerprint(one) if len(one) == 64 else bare(one) for one in listed]


def happened(event: Mapping[str, Any], sheet: Sheet) -> str:
    """Return one event of `desk watch` in words: time, desk, what, and which message."""
    time = datetime.fromtimestamp(event.get("at") or sheet.now, UTC).strftime("%H:%M:%S UTC")
    name = f"  ({short(event['msg'])})" if event.get("msg") else ""
    what = str(event["event"])
    if what == "message":
        line = f"{event['from']}  {banner(event['mode'], event['priority'])} {event['kind']}"
        due = f", acknowledge by {sheet.until(event['ack_by'])}" if event["ack_by"] else ""
        revoked = "  ! signed with a key revoked since: telephone first" if event["revoked"] else ""
        files = f", {event['attachments']} attached" if event.get("attachments") else ""
        return f"{time}  {line} to {event['to']}{files}{due}{revoked}{name}"
    if what == "attachment":
        return f"{time}  {paper_attachments.moved(event)}{name}"
    if what == "statement":
        by = f" by {bare(event['by'])}" if event.get("by") else ""
        text = f": {bare(event['text'])}" if event.get("text") else ""
        if event.get("next_at"):
            text += f"; next step {sheet.until(event['next_at'])}"
        return f"{time}  {event.get('desk') or 'relay'}  {event['kind']}{by}{text}{name}"
    text = f": {bare(event['text'])}" if event.get("text") else ""
    if what == "alarm":
        what = f"ALARM {banner(event['mode'], event['priority'])} to {event['to']}"
    return f"{time}  {bare(what)}{text}{name}"


def standing(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield whether the desk is up, what waits, and what will run out."""
    yield from paper_ladder.alarms(found, sheet)
    yield from paper_matter.standing(found, sheet)
    yield from paper_ladder.aside(found, sheet)
    known: Mapping[str, Any] = found["directory"]
    fresh = "fresh" if known["fresh"] else "OUT OF DATE"
    unacknowledged = found["inbox"]["unacknowledged"]
    pairs = [
        ("Desk", f"{found['desk']}, device {short(found['device'])}"),
        ("Served", "yes" if found.get("served") else "no: type desk serve"),
        (
            "Relay",
            f"{bare(found['relay'])}, {'connected' if found['connected'] else 'NOT CONNECTED'}",
        ),
        (
            "Directory",
            f"version {known['version']}, {fresh}, until {sheet.time(known['expires'])}"
            if known["version"]
            else "none yet",
        ),
        ("Waiting for a person here", str(unacknowledged)),
        ("Not confirmed yet", f"{found['outbox']} messages, {found['receipts']} receipts"),
        (
            "Others can seal for it until",
            sheet.time(found["prekeys_until"]) if found["prekeys_until"] else "not at all yet",
        ),
    ]
    if found["parked"]:
        pairs.append(("Cannot be opened yet", str(found["parked"])))
    if found["last_error"]:
        pairs.append(("Last error", bare(found["last_error"])))
    if found["clock_offset"]:
        pairs.append(("Clock", f"WRONG. {clock.wrong(found['clock_offset'])}"))
    yield from rows(pairs, sheet.width)
