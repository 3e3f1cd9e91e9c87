"""What people are shown of matters: one with its items, what is due and what led there; and the list."""

from typing import Any

from relay.desk.duties import Duty, Reminder, duties, pressing, reminders
from relay.desk.letters import Letter
from relay.desk.matter import Entry, Item, Matter
from relay.desk.matters import Matters

COMING_MAX = 5
"""Reminders to come that are shown."""


class MatterViews:
    """Reads only; every value fits strict JSON."""

    def __init__(self, matters: Matters) -> None:
        """Stand on the desk's matters."""
        self._matters = matters

    def listed(self, now: int) -> list[dict[str, Any]]:
        """Return the open matters, the most pressing first."""
        found = []
        for root in self._matters.roots():
            matter = self._matters.of(root)
            if matter is not None and matter.open(now):
                found.append((pressing(matter, self._matters.terms(matter), now), matter))
        found.sort(key=lambda one: (one[0], one[1].opened.at, one[1].opened.sid))
        return [self._summary(matter, now) for _key, matter in found]

    def page(self, letter: Letter, root: str, now: int) -> dict[str, Any]:
        """Return one matter whole; *letter* is the message by which it was named."""
        matter = self._matters.of(root)
        if matter is None:
            return {
                "msg": letter.sid,
                "state": "",
                "items": [],
                "due": [],
                "steps": [],
                "flags": [],
            }
        terms = self._matters.terms(matter)
        side = self._matters.side(matter)
        coming = [
            one for one in reminders(matter, terms, now) if one.at > now and one.whose == side
        ]
        names = {step.entry.sid: name_of(step.entry) for step in matter.steps}
        return {
            **self._summary(matter, now),
            "now": now,
            "acknowledged": matter.acknowledged or 0,
            "elapsed": matter.elapsed(now),
            "paused_for": matter.paused(now),
            "paused": matter.is_paused(),
            "least_days": terms.least_days,
            "longest_days": terms.longest_days,
            "mla": {
                "reference": matter.mla_reference,
                "expected": matter.mla_expected or 0,
                "submitted": matter.mla_submitted or 0,
                "received": matter.mla_received or 0,
            },
            "paths": [{"msg": names.get(sid, sid), "desk": desk} for sid, desk in matter.paths],
            "reminders": [_reminder(one) for one in coming[:COMING_MAX]],
            "steps": [
                {
                    "msg": name_of(step.entry),
                    "kind": step.entry.event.kind,
                    "event": step.entry.event.name,
                    "from": step.entry.desk,
                    "at": step.entry.at,
                    "fits": step.fits,
                }
                for step in matter.steps
            ],
            "flags": [
                {"msg": names.get(flag.sid, flag.sid), "text": flag.text} for flag in matter.flags
            ],
        }

    def _summary(self, matter: Matter, now: int) -> dict[str, Any]:
        due = duties(matter, self._matters.terms(matter), now)
        names = {step.entry.sid: name_of(step.entry) for step in matter.steps}
        return {
            "msg": name_of(matter.opened),
            "kind": matter.kind,
            "from": matter.requesting,
            "to": matter.requested,
            "priority": matter.priority,
            "mode": matter.mode,
            "legal_basis": matter.basis,
            "opened": matter.opened.at,
            "state": matter.state(now),
            "open": matter.open(now),
            "items": [_item(item, now, names) for item in matter.items],
            "due": [_duty(one, matter, names) for one in due],
            "flagged": len(matter.flags),
            "zones": [
                {"desk": desk, "zone": zone} for desk, zone in self._matters.zones(matter).items()
            ],
        }


def name_of(entry: Entry) -> str:
    """Return the id by which people name a message: the newest under which it travels, or its statement's."""
    return entry.msgs[-1] if entry.msgs else entry.sid


def _item(item: Item, now: int, names: dict[str, str]) -> dict[str, Any]:
    return {
        "item": item.number,
        "state": item.standing(now),
        "since": item.since or 0,
        "until": item.until or 0,
        "expected": item.expected or 0,
        "hold": item.hold,
        "last": item.last,
        "cause": item.cause,
        "mla": item.mla,
        "led": [names.get(sid, sid) for sid in item.led],
    }


def _duty(one: Duty, matter: Matter, names: dict[str, str]) -> dict[str, Any]:
    return {
        "duty": one.name,
        "by": matter.desk_of(one.whose),
        "side": one.whose,
        "since": one.since,
        "due": one.due,
        "opens": one.opens,
        "paused": one.paused,
        "items": list(one.items),
        "msg": names.get(one.sid, one.sid),
        "text": one.text,
    }


def _reminder(one: Reminder) -> dict[str, Any]:
    return {"at": one.at, "level": one.level, "text": one.text}
