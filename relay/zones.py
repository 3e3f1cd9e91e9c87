"""Time zones by their names: the one place that reads zone files, for the relay and the desk alike."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from relay.core.workdays import next_workday_end


def zone_of(name: str) -> ZoneInfo | None:
    """Return a time zone by its name; None where the zone files do not know it."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def workday_end(office: Mapping[str, Any], at: int) -> int:
    """Return when a desk's next working day ends, seconds UTC; 0 where its card or the zone files do not say."""
    try:
        return next_workday_end(office, ZoneInfo(office["zone"]), at) if office else 0
    except (ZoneInfoNotFoundError, ValueError):
        return 0
