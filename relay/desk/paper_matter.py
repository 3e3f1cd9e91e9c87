"""What an officer reads of matters: what is due next and by whom, each item with its end, what led there."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.desk.documents import codes, forms
from relay.desk.sheet import Sheet, banner, bare, both, rows, short, span

_STATES: Mapping[str, str] = {
    "open": "not decided",
    "pending": "the custodian has to act",
    "interim": "held meanwhile, not decided",
    "held": "preserved",
    "lapsed": "LAPSED",
    "not_held": "could not be done",
    "refused": "refused",
    "answered": "answered",
    "redirected": "passed on",
    "withdrawn": "withdrawn",
    "released": "let go",
    "handed_over": "handed over",
    "closed": "closed",
}
_LISTS = ("refusal", "cannot_execute", "withdrawal_reason", "release_reason", "outcome", "decision")


def listed(matters: Sequence[Mapping[str, Any]], sheet: Sheet) -> Iterator[str]:
    """Yield a line for each matter with what is due next below; the most pressing first, as they come."""
    for one in matters:
        mark = "" if one["mode"] == "actual" else f" {str(one['mode']).upper()}"
        flagged = f", {one['flagged']} FLAGGED" if one["flagged"] else ""
        yield (
            f"{short(one['msg'])}  {str(one['priority']).upper():<9}{mark} {one['from']} to {one['to']}  "
            f"{_title(one['kind'])}: {_STATES.get(one['state'], bare(one['state']))}{flagged}"
        )
        for duty in one["due"][:1]:
            yield f"            {_due(duty, one, sheet)}"


def shown(one: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield the page of one matter: what is due, the items, the documents, and what is flagged."""
    if not one["state"]:
        yield "This message and what belongs to it are no forms: there is nothing to keep count of."
        return
    yield f"{banner(one['mode'], one['priority'])} {_title(one['kind'])} from {one['from']} to {one['to']}"
    for flag in one["flags"]:
        text = f"! {short(flag['msg'])}: {bare(flag['text'])}"
        yield from textwrap.wrap(text, sheet.width, subsequent_indent="  ")
    yield ""
    pairs = [("Next", _due(duty, one, sheet)) for duty in one["due"][:1]]
    pairs += [("Then", _due(duty, one, sheet)) for duty in one["due"][1:]]
    pairs += [("State", _STATES.get(one["state"], bare(one["state"])))]
    pairs += [("Asked", f"{_both(one['opened'], one)}, {_ago(one['elapsed'])} in all")]
    if one["paused_for"]:
        now = ", and is now" if one["paused"] else ""
        pairs.append(
            ("Stood still", f"{_ago(one['paused_for'])} of that{now}, by an explicit message")
        )
    mla = one["mla"]
    for label, name in (("expected", "expected"), ("sent", "submitted"), ("received", "received")):
        if mla[name]:
            reference = (
                f" ({bare(mla['reference'])})" if name == "submitted" and mla["reference"] else ""
            )
            pairs.append((f"Legal assistance {label}", _both(mla[name], one) + reference))
    for path in one["paths"]:
        desk = bare(path["desk"]) or "the next State"
        pairs.append(("Path leads on", f"to {desk}: ask there (notice {short(path['msg'])})"))
    for reminder in one["reminders"][:1]:
        pairs.append(("Next reminder", f"{sheet.time(reminder['at'])}: {bare(reminder['text'])}"))
    yield from rows(pairs, sheet.width)
    yield ""
    yield from rows(
        [(f"Item {item['item']}", _item(item, one, sheet)) for item in one["items"]], sheet.width
    )
    yield ""
    for step in one["steps"]:
        note = "" if step["fits"] else "  FLAGGED"
        yield f"{sheet.time(step['at'])}  {step['from']}: {_title(step['kind'])} ({short(step['msg'])}){note}"


def standing(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield what is urgent in matters, for `desk status` and `desk inbox`."""
    for one in found.get("matters_due", ()):
        head = f"! {banner(one['mode'], one['priority'])} {short(one['msg'])}, with {one['to']}: "
        yield from textwrap.wrap(head + bare(one["text"]), sheet.width, subsequent_indent="  ")


def _both(seconds: int, one: Mapping[str, Any]) -> str:
    return both(seconds, {row["desk"]: row["zone"] for row in one["zones"]})


def _due(duty: Mapping[str, Any], one: Mapping[str, Any], sheet: Sheet) -> str:
    which = f" [item {', '.join(map(str, duty['items']))}]" if duty["items"] else ""
    text = f"{duty['by']}: {bare(duty['text'])}{which}"
    if not duty["due"]:
        return f"{text}, no time is set"
    when = f"by {_both(duty['due'], one)}, {span(duty['due'] - sheet.now)}"
    still = "; the clock stands still" if duty["paused"] else ""
    opens = f"; opens {_both(duty['opens'], one)}" if duty["opens"] > sheet.now else ""
    return f"{text}, {when}{still}{opens}"


def _item(item: Mapping[str, Any], one: Mapping[str, Any], sheet: Sheet) -> str:
    parts = [_STATES.get(item["state"], bare(item["state"]))]
    if item["hold"]:
        parts.append("until the request for mutual legal assistance is decided")
    elif item["until"] and item["state"] in {"held", "interim", "lapsed", "withdrawn"}:
        left = "" if item["state"] == "lapsed" else f", {span(item['until'] - sheet.now)}"
        parts.append(f"until {_both(item['until'], one)}{left}")
    if item["expected"] and item["state"] in {"pending", "interim"}:
        parts.append(f"expected {_both(item['expected'], one)}")
    if item["cause"]:
        parts.append(_cause(item["cause"]))
    if item["last"]:
        parts.append("no further extension")
    return ", ".join(parts) + f"\nby {', '.join(short(msg) for msg in item['led'])}"


def _cause(code: str) -> str:
    found = next((entry for name in _LISTS if (entry := codes.find(name, code)) is not None), None)
    return f"{found.label()} ({code})" if found is not None else bare(code)


def _title(kind: str) -> str:
    return forms.title(kind) if kind in forms.KINDS else f"unknown form {bare(kind)}"


def _ago(seconds: int) -> str:
    return span(seconds).removesuffix(" left")
