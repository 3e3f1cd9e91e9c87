"""What a recipient had published when a message went out: kept, so that an edit changes nothing.

The relay freezes its ladder when it accepts a message, and names the entry by its hash (`accepted`, PROTOCOL 10). The
sending desk keeps a copy of that entry's profile of its own: its dead man's timer and the numbers to call must be at
hand when neither the relay nor a newer directory is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keys import statement
from keys.directory import DeskEntry, Directory
from relay.core import escalation, limits
from relay.core.escalation import Plan
from relay.wire.envelope import Header
from relay.zones import workday_end

Number = dict[str, Any]
"""{"desk", "label", "number", "languages", "hours"}: one telephone."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A recipient's profile and numbers, those of the backup desk too, at one moment."""

    entry: str
    """SHA-256 of the recipient's desk entry, hex."""
    version: int
    """The directory's."""
    gap: int
    """Seconds between two stages at least, as network.json said."""
    profile: Mapping[str, Any] = field(repr=False)
    office: Mapping[str, Any] = field(repr=False)
    """When its office works, from the card; empty where the card does not say."""
    numbers: tuple[Number, ...]
    """Whom to call: the recipient's numbers, then those of the backup desk."""

    def plan(self, header: Header, accepted: int) -> Plan:
        """Draw the ladder that the relay runs for *header* since *accepted*, seconds UTC (PROTOCOL 11.9)."""
        return escalation.plan(
            self.profile,
            priority=header.priority,
            mode=header.mode,
            accepted=accepted,
            ack_by=header.ack_by,
            backup=header.backup,
            minimum_gap=self.gap,
            workday_end=workday_end(self.office, accepted),
        )

    def encode(self) -> bytes:
        """Return it as it is kept."""
        value = {
            "entry": self.entry,
            "version": self.version,
            "gap": self.gap,
            "profile": dict(self.profile),
            "office": dict(self.office),
            "numbers": list(self.numbers),
        }
        return statement.encode(value)

    @classmethod
    def decode(cls, data: bytes) -> "Frozen":
        """Read what :meth:`encode` wrote."""
        found = statement.decode(data)
        numbers = tuple(found["numbers"])
        return cls(
            found["entry"],
            found["version"],
            found["gap"],
            found["profile"],
            found.get("office", {}),  # kept before cards said when an office works
            numbers,
        )


def freeze(directory: Directory, header: Header) -> Frozen | None:
    """Return what *directory* says now of the desks that *header* names; None if it does not know the recipient."""
    entry = directory.desks.get(header.to)
    if entry is None:
        return None
    deputy = directory.desks.get(header.backup)
    return Frozen(
        entry.sha256,
        directory.version,
        directory.network.limits.get("minimum_gap_s", limits.MINIMUM_GAP_S),
        entry.profile,
        entry.card["office"],
        (*numbers(entry), *(numbers(deputy) if deputy else ())),
    )


def numbers(entry: DeskEntry) -> list[Number]:
    """Return the telephone numbers of a desk, in its own order, with languages and hours (PROTOCOL 8.3)."""
    lines: Sequence[Mapping[str, Any]] = entry.profile["exhausted"]
    return [
        {
            "desk": entry.desk,
            "label": line["label"],
            "number": line["number"],
            "languages": list(line["languages"]),
            "hours": line["hours"],
        }
        for line in lines
    ]
