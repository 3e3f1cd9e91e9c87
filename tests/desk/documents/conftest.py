"""The example request and a time for it, for all tests of this room."""

import calendar
import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from relay.desk.documents import forms, skeleton

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy/examples/preservation_request.json"
NOW = calendar.timegm((2026, 11, 23, 3, 0, 0))
DAY = 86_400


@cache
def _examples() -> str:
    return json.dumps({kind: skeleton.example(kind, NOW) for kind in forms.KINDS})


@pytest.fixture
def now() -> int:
    """A night in November, seconds UTC."""
    return NOW


@pytest.fixture
def request_form() -> dict[str, Any]:
    """The example request, dated now: complete, without a warning."""
    loaded = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return copy.deepcopy(forms.dated(loaded, now=NOW))


@pytest.fixture
def budapest_form(request_form: dict[str, Any]) -> dict[str, Any]:
    """The example under the Budapest Convention, with that convention's offences."""
    return request_form | {"legal_basis": "BUD-29", "offence_categories": ["BUD-2", "BUD-8"]}


@pytest.fixture
def problems() -> Callable[..., list[forms.Problem]]:
    """Return a check at the usual time and priority; what a test gives replaces that."""

    def check(kind: str, document: dict[str, Any], **more: Any) -> list[forms.Problem]:
        around: dict[str, Any] = {"now": NOW, "priority": "urgent"} | more
        return forms.check(kind, document, **around)

    return check


@pytest.fixture
def answers(request_form: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One complete document of each kind: as the builders write them, or the example of the kind."""
    examples: dict[str, dict[str, Any]] = json.loads(_examples())
    return examples | {
        "preservation_request": request_form,
        "acknowledgement": forms.acknowledgement(
            request_form,
            at=NOW,
            officer="Ann Reed",
            desk_ticket="AU-2026-77",
            expected_decision_at=NOW + 6 * 3600,
        ),
        "acceptance": forms.acceptance(
            request_form,
            at=NOW,
            officer="Ann Reed",
            preserved_from=NOW - 600,
            preserved_until=NOW - 600 + 90 * DAY,
            order_reference="PN 44/2026",
            central_authority="Central authority of Australia",
            language="en",
            requirements="A request for mutual legal assistance that names the order.",
        ),
        "refusal": forms.refusal(
            request_form,
            at=NOW,
            officer="Ann Reed",
            ground="R-SOV",
            reason="The tenant holds records of a security agency of this State.",
            approver="John Hale",
        ),
        "withdrawal": forms.withdrawal(
            request_form, at=NOW, officer="Tran Thi Mai", reason="OBTAINED-OTHERWISE"
        ),
    }
