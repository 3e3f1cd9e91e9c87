"""Attachments as officers read them: name, size, kind, and whether it is here. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relay.desk.sheet import bare, short
from relay.desk.shelves import COMING, DAMAGED, HERE, LOST, NOT_GIVEN, THERE, WAITING

STATES: Mapping[str, str] = {
    WAITING: "on its way to the relay",
    THERE: "with the relay",
    "sent": "sent",
    COMING: "being fetched",
    HERE: "here",
    LOST: "NEVER CAME",
    DAMAGED: "DAMAGED",
}
NAME_WIDTH = 60


def size_of(count: int) -> str:
    """Return a number of bytes as people say it: 812 bytes, 25.4 KiB, 256.0 MiB."""
    if count < 1024:
        return f"{count} bytes"
    size, unit = float(count), ""
    for unit in ("KiB", "MiB", "GiB"):  # noqa: B007 - the last one is used below
        size /= 1024
        if size < 1024:
            break
    return f"{size:.1f} {unit}"


def line(one: Mapping[str, Any]) -> str:
    """Return an attachment's name, size and kind, without anything that steers a terminal."""
    name = bare(one["name"])
    if len(name) > NAME_WIDTH:
        name = f"{name[: NAME_WIDTH - 9]}…{name[-8:]}"
    return f"{name}, {size_of(one['size'])}, {bare(one['media_type'])}"


def state(one: Mapping[str, Any]) -> str:
    """Return how far an attachment is, in words."""
    words = STATES.get(str(one["state"]), bare(one["state"]))
    if one["state"] in {WAITING, COMING}:
        words += f", {one['percent']} %"
    if one["reason"]:
        words += f"; {bare(one['reason'])}"
    return words


def listed(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each attachment of a message in a list."""
    for one in found.get("attachments", ()):
        yield f"+ {one['number']}  {line(one)}: {STATES.get(str(one['state']), bare(one['state']))}"


def rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return label and text for each attachment of a message, and what to type to save them."""
    listed: Sequence[Mapping[str, Any]] = found.get("attachments", ())
    pairs = [(f"Attachment {one['number']}", f"{line(one)}; {state(one)}") for one in listed]
    if any(one["state"] == HERE for one in listed):
        pairs.append(("To save them", f"desk save {short(found['msg'])} --to DIR"))
    return pairs


def under_way(found: Sequence[Mapping[str, Any]]) -> str:
    """Return, for a terminal, how far all attachments of a message are together."""
    total = sum(one["size"] for one in found) or 1
    done = sum(one["size"] * one["percent"] for one in found) // total
    left = [one for one in found if one["state"] in {WAITING, COMING}]
    what = (
        f"{len(left)} of {len(found)} files" if len(found) > 1 else line(found[0]) if found else ""
    )
    return f"Moving {what}: {done:3d} %"


def moved(event: Mapping[str, Any]) -> str:
    """Return what became of an attachment, as an event tells it."""
    words = STATES.get(str(event["state"]), bare(event["state"]))
    text = f": {bare(event['text'])}" if event["text"] else ""
    return f"attachment {event['number']} ({bare(event['name'])}) {words}{text}"


def faults(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each attachment of a message that its sender should hear of; none while all goes well."""
    told = []
    for one in found.get("attachments", ()):
        what = f"Attachment {one['number']} ({one['name']})"
        if one["state"] == DAMAGED:
            told.append(f"{what} arrived here, and is not what was signed. {one['reason']}")
        elif one["state"] == LOST or (one["state"] == COMING and one["code"] in NOT_GIVEN):
            told.append(f"{what} has not arrived here. {one['reason']}")
    return told
