"""What an officer reads when nobody answers: how far the ladder is, whom to call and what to say. Pure text."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.desk import ladder
from relay.desk.ladder import UNOPENABLE
from relay.desk.sheet import Sheet, banner, bare, rows, short, warnings

STANDS = "Ladder"
"""The label under which the ladder is shown."""


def stands(found: Mapping[str, Any], sheet: Sheet) -> str:
    """Return where the relay's ladder stands for a message, on a line for each thing; "" where nothing is known.

    *found*: what the verbs ``show``, ``sent`` or ``timeline`` say of a message.
    """
    known: Mapping[str, Any] = found.get("ladder") or {}
    lines = []
    if known.get("outcome"):
        what = (
            "no device there can open it"
            if known["outcome"] == UNOPENABLE
            else "nobody had acknowledged"
        )
        lines.append(f"ended {sheet.time(known['ended'])}: {what}; {ladder.pages(known['pages'])}")
    elif known.get("steps"):
        last = known["steps"][-1]
        lines.append(f"{ladder.step(last)}; {sheet.time(last['at'])}")
        lines += [f"{ladder.paged(one)}; {sheet.time(one['at'])}" for one in known["pages"][-1:]]
    if coming := comes(found, sheet):
        lines.append(f"next: {coming}")
    return "\n".join(lines)


def comes(found: Mapping[str, Any], sheet: Sheet) -> str:
    """Return what the relay does next if nobody acknowledges, and when; "" where nothing comes any more."""
    coming: Mapping[str, Any] = (found.get("ladder") or {}).get("next") or {}
    if not coming or not coming["at"]:
        return ""
    when = "now" if coming["hurried"] else f"at {sheet.until(coming['at'])}"
    wait = " (it may wait once: the desk is calling its people)" if coming["held"] else ""
    return f"{ladder.DOES[coming['kind']]}, {when}{wait}"


def call(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield whom to call about a message and what to read out, as rows; nothing where nobody has to be called."""
    known: Mapping[str, Any] = found.get("call") or {}
    if not known:
        return
    lines = [number(one) for one in known["numbers"]]
    if known["note"]:
        lines.append(bare(known["note"]))
    yield "Telephone", "\n".join(lines)
    yield "Say", f'"{bare(known["say"])}"'


def number(one: Mapping[str, Any]) -> str:
    """Return one telephone number with whose it is, languages and hours."""
    about = ", ".join([bare(one["label"]), *(bare(word) for word in one["languages"])])
    return f"{bare(one['number'])}  {one['desk']}: {about}; {bare(one['hours'])}"


def sent(messages: Sequence[Mapping[str, Any]], sheet: Sheet) -> Iterator[str]:
    """Yield what this desk sent: message, where it stands, what comes next; warnings below."""
    for one in messages:
        mark = "" if one["mode"] == "actual" else f" {str(one['mode']).upper()}"
        yield (
            f"{short(one['msg'])}  {str(one['priority']).upper():<9}{mark} {one['kind']:<8} "
            f"to {one['to']:<9} {bare(one['state'])}"
        )
        for line in stands(one, sheet).splitlines():
            yield f"            {line}"
        for warning in warnings(one):
            yield f"            ! {warning}"


def alarms(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield, before anything else of the desk's standing, whom somebody has to telephone and why."""
    for one in found.get("alarms", ()):
        head = f"! {banner(one['mode'], one['priority'])} to {one['to']}, {short(one['msg'])}: "
        yield from textwrap.wrap(head + bare(one["text"]), sheet.width, subsequent_indent="  ")


def aside(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield what this desk met an error of its own with, and so leaves alone."""
    for one in found.get("aside", ()):
        head = f"! SET ASIDE, {short(one['msg']) if one['msg'] else 'the line'}: "
        yield from textwrap.wrap(head + bare(one["text"]), sheet.width, subsequent_indent="  ")


def book(found: Mapping[str, Any], sheet: Sheet) -> Iterator[str]:
    """Yield the telephone numbers of desks, as `desk phone` prints them."""
    for warning in warnings(found):
        yield from textwrap.wrap(f"! {warning}", sheet.width, subsequent_indent="  ")
    for one in found["desks"]:
        yield f"{one['desk']}  {bare(one['name'])}"
        pairs = [
            (f"  {bare(line['label']) or 'telephone'}", _line(line)) for line in one["numbers"]
        ]
        pairs.append(("  writes", ", ".join(bare(word) for word in one["languages"])))
        if one["backup"]:
            pairs.append(("  backup", f"{one['backup']}  (desk phone {one['backup']})"))
        yield from rows(pairs, sheet.width)
    known = found["directory"]
    yield f"From the directory at hand, version {known['version']}, good until {sheet.time(known['expires'])}."


def _line(one: Mapping[str, Any]) -> str:
    languages = ", ".join(bare(word) for word in one["languages"])
    return f"{bare(one['number'])}  ({languages}; {bare(one['hours'])})"


def rings(event: Mapping[str, Any]) -> bool:
    """Whether an event of `desk watch` needs somebody at once: then the terminal's bell rings."""
    ended = event["event"] == "statement" and event.get("kind") == "exhausted"
    return bool(event.get("ack_by")) or event["event"] == "alarm" or ended
