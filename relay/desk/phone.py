"""Whom to call and what to say: the way that is left when nobody acknowledges, from the directory at hand. Pure.

Numbers are the recipient's own, from its signed desk entry; this desk has them offline. What is read out names the
caller's contact point, the message by the digits that `desk inbox` shows there, and nothing of what is in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keys.directory import DeskEntry, Directory
from keys.errors import Code, Refused
from keys.statement import Statement
from relay.desk.frozen import Frozen, Number, freeze, numbers
from relay.desk.ladder import UNOPENABLE
from relay.wire.envelope import Header

CODE_DIGITS = 10
"""Digits of a message id that are read out; the same that every list shows."""
_SPOKEN = {
    "exercise": "EXERCISE, EXERCISE, this is only a drill. ",
    "test": "This is only a test. ",
}
LANGUAGE = "en"


def name_of(entry: DeskEntry) -> str:
    """Return what a contact point calls itself in English, else in the first language of its card."""
    names: Sequence[Mapping[str, Any]] = entry.card["names"]
    english = [one["name"] for one in names if one["language"] == LANGUAGE]
    return str((english or [one["name"] for one in names])[0])


def sentence(header: Header, msg: str, caller: DeskEntry, outcome: str = "") -> str:
    """Return what to read out on the telephone about a message that *caller*'s desk sent, in English.

    *outcome* is that of `exhausted`, "" where there is none: a desk that could not open it is told something else than
    one that was silent.
    """
    code = f"{msg[:5]} {msg[5:CODE_DIGITS]}"
    begin = (
        f"{_SPOKEN.get(header.mode, '')}This is the duty officer of the {name_of(caller)}, desk "
        f"{caller.desk}. We have sent desk {header.to} a message, code {code}, priority "
        f"{header.priority}."
    )
    if outcome == UNOPENABLE:
        return (
            f"{begin} It has reached your devices, and none of them can open it. Please have your "
            "desk's devices and keys looked at now, and give me an officer to speak to; we are "
            "still delivering."
        )
    return f"{begin} Please open it and acknowledge it; we are still delivering."


def whom(
    header: Header, frozen: Frozen | None, accepted: Statement | None, directory: Directory
) -> tuple[list[Number], str]:
    """Return the numbers to call about a message, and a note where they are not simply those that the relay used.

    They come from the entry that `accepted` names if this desk has it (PROTOCOL 10), else from the directory at hand.
    Numbers that a desk published since are added behind its old ones.
    """
    now = freeze(directory, header)
    named = accepted["entry"] if accepted is not None else ""
    held = next((one for one in (frozen, now) if one is not None and one.entry == named), None)
    best = held or now or frozen
    if best is None:
        return [], f"The directory at hand does not know desk {header.to}."
    listed = list(best.numbers)
    since = [one for one in (now.numbers if now else ()) if one not in listed]
    if since:
        return [*listed, *since], "The last ones were published since this message went out."
    if named and held is None:
        return listed, (
            f"From this desk's copy of the directory (version {best.version}); the entry that the "
            "relay used is not at hand."
        )
    return listed, ""


def spoken(listed: Sequence[Number]) -> str:
    """Return numbers for a sentence."""
    return "; ".join(
        f"{one['desk']} {one['number']} ({', '.join(one['languages'])}; {one['hours']})"
        for one in listed
    )


def book(directory: Directory, asked: str, own_now: int) -> dict[str, Any]:
    """Return the numbers of one desk, or of all desks of a State, from the directory at hand; nothing is fetched.

    *asked*: ``AU-B``, or ``AU`` for every desk of Australia. Raises E_WRONG_DESK with the desks that there are.
    """
    wanted = asked.strip().upper()
    found = [
        entry
        for desk, entry in sorted(directory.desks.items())
        if desk == wanted or (len(wanted) == 2 and desk[:2] == wanted)
    ]
    if not found:
        known = ", ".join(sorted(directory.desks))
        raise Refused(
            Code.E_WRONG_DESK,
            f"The directory at hand has no desk or State {wanted[:20]!r}.",
            hint=f"It has: {known}.",
        )
    warnings = []
    fresh = directory.fresh(own_now)
    if not fresh:
        warnings.append("The directory is past its date: a number may have changed since.")
    for entry in found:
        warnings += [
            held[entry.desk] for held in (directory.held, directory.faulty) if entry.desk in held
        ]
    return {
        "asked": wanted,
        "desks": [
            {
                "desk": entry.desk,
                "name": name_of(entry),
                "languages": list(entry.card["languages"]),
                "backup": entry.card["backup"],
                "verified": entry.card["verified"],
                "numbers": numbers(entry),
            }
            for entry in found
        ],
        "directory": {
            "version": directory.version,
            "expires": directory.expires,
            "fresh": fresh,
        },
        "warnings": warnings,
    }
