"""What officers do in journeys: write the demonstration's request, acknowledge it, answer it."""

import json
from pathlib import Path
from typing import Any

from builders_desk import DAY, Seat

from keys import suite
from relay.desk import compose
from relay.desk.documents import forms

EXAMPLE = Path(__file__).parents[1] / "deploy" / "examples" / "preservation_request.json"


def request(now: int) -> dict[str, Any]:
    """Return the Article 42 request that the demonstration sends, dated today."""
    return dict(forms.dated(json.loads(EXAMPLE.read_text()), now=now))


async def send_request(seat: Seat, **changes: Any) -> str:
    """Let VN's officer write, sign and hand over the request; return its statement's id, which never changes."""
    now = seat.clock.now()
    top = compose.header(
        sender="VN",
        device=seat.device.kid,
        to="AU",
        priority="urgent",
        mode="actual",
        now=now,
        **changes,
    )
    made = compose.request(request(now), top, officer=seat.officer, nonce=suite.random_bytes(16))
    handed: dict[str, Any] = {**made.handed_over()}
    sent = await seat.desk.send(**handed)
    return str(sent["statement"])


async def acknowledge(seat: Seat, msg: str) -> None:
    """Let an officer open the message and sign for it."""
    await seat.desk.show(msg)
    await seat.sign("acknowledged", msg)


async def answer(seat: Seat, msg: str) -> str:
    """Let an officer of the asked desk answer with a preserved-until date, and close; return the answer's statement."""
    now = seat.clock.now()
    found = await seat.desk.show(msg)
    document = forms.acceptance(
        found["document"],
        at=now,
        officer=seat.handle,
        preserved_from=now,
        preserved_until=now + 90 * DAY,
        central_authority="Attorney-General's Department (example)",
        language="en",
        requirements="Name this reference.",
    )
    top = compose.header(
        sender=seat.name,
        device=seat.device.kid,
        to="VN",
        priority="urgent",
        mode="actual",
        now=now,
        ack_within=0,
    )
    made = compose.reply(
        document,
        top,
        request=found["document"],
        thread=found["msg"],
        officer=seat.officer,
        nonce=suite.random_bytes(16),
    )
    handed: dict[str, Any] = {**made.handed_over()}
    sent = await seat.desk.send(**handed)
    await seat.sign("closed", msg, outcome=made.statement.sid)
    return str(sent["statement"])
