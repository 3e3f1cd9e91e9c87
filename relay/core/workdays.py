"""A desk's working days, pure: when its next working day ends (DESIGN 5: routine messages).

The card says in the desk's own words when its office is open::

    {"closes":"17:00","days":[1,2,3,4,5],"holidays":["2027-02-17"],"opens":"08:00","zone":"Asia/Ho_Chi_Minh"}

Days are ISO numbers, Monday is 1. The time zone comes as a value: relay.zones reads the zone files.
"""

from collections.abc import Mapping
from datetime import datetime, time, timedelta, tzinfo
from typing import Any

DAYS_SEARCHED = 31
"""A desk that has no working day in a month has said nothing useful."""


def next_workday_end(office: Mapping[str, Any], zone: tzinfo, at: int) -> int:
    """Return when the first working day closes that opens at *at* or later (seconds UTC); 0 if there is none.

    A message of Monday 03:00 is due when Monday's office closes; one of Monday 09:00, when Tuesday's does.
    """
    begun = datetime.fromtimestamp(at, zone)
    opens, closes = time.fromisoformat(office["opens"]), time.fromisoformat(office["closes"])
    holidays = set(office["holidays"])
    for ahead in range(DAYS_SEARCHED):
        day = begun.date() + timedelta(days=ahead)
        if day.isoweekday() not in office["days"] or day.isoformat() in holidays:
            continue
        if datetime.combine(day, opens, zone).timestamp() >= at:
            return int(datetime.combine(day, closes, zone).timestamp())
    return 0
