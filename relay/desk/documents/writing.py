"""Writing what follows a request: each function makes a complete document from the request and a
few arguments.

Times come in as seconds UTC and go out as documents write them. An argument that is "" leaves its
field out. Whoever calls checks the result with ``forms.require`` before it is signed: a wrong
argument is a wrong document, not an error here.
"""

from collections.abc import Mapping, Sequence

from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import listed, text, written


def dated(document: Mapping[str, object], *, now: int, mla_days: int = 45) -> dict[str, object]:
    """Return a request dated now, with the request for mutual legal assistance expected in so many
    days.

    For `desk send` of a prepared file: yesterday's form is today's request. A kind that has other
    dates gets the time at which it was written.
    """
    if document.get("kind") not in (None, "preservation_request"):
        own = "date_of_request" if "date_of_request" in document else "at"
        return dict(document) | {own: written(now)}
    return dict(document) | {
        "date_of_request": written(now),
        "mla_expected_by": written(now + mla_days * DAY)[:10],
    }


def acknowledgement(
    request: Mapping[str, object],
    *,
    at: int,
    officer: str,
    desk_ticket: str,
    expected_decision_at: int,
    function: str = "Officer of the contact point",
    acknowledged_by: str = "DESK-OFFICER",
    will: str = "EXECUTE",
    competent_authority: str = "",
    language_ok: bool = True,
    note: str = "",
) -> dict[str, object]:
    """Return an acknowledgement: a person has read the request, and says what happens next."""
    return _open("acknowledgement", request, at, officer, function) | _given(
        acknowledged_by=acknowledged_by,
        desk_ticket=desk_ticket,
        expected_decision_at=written(expected_decision_at),
        will=will,
        competent_authority=competent_authority,
        language_ok=language_ok,
        note=note,
    )


def acceptance(
    request: Mapping[str, object],
    *,
    at: int,
    officer: str,
    preserved_from: int,
    preserved_until: int,
    central_authority: str,
    language: str,
    requirements: str,
    order_reference: str = "",
    order_type: str = "ORDER",
    function: str = "Officer of the contact point",
    desk_ticket: str = "",
    holder_notice: str = "NO-NOTICE",
    not_preserved: Mapping[int, str] | None = None,
    note: str = "",
) -> dict[str, object]:
    """Return an acceptance that answers every item of the request.

    ``central_authority``, ``language`` and ``requirements`` say how to get the data.
    ``not_preserved`` maps the number of an item (from 1) to its cause in the list
    ``cannot_execute``; all other items are preserved for the whole term.
    """
    causes = not_preserved or {}
    items = [
        (
            {"item": number, "result": "NOT-PRESERVED", "cause": causes[number]}
            if number in causes
            else {"item": number, "result": "PRESERVED"}
        )
        for number in range(1, len(listed(request, "items")) + 1)
    ]
    return _open("acceptance", request, at, officer, function) | _given(
        desk_ticket=desk_ticket,
        preserved_from=written(preserved_from),
        preserved_until=written(preserved_until),
        items=items,
        order_reference=order_reference,
        order_type=order_type,
        user_notification=holder_notice,
        how_to_get_data={
            "central_authority": central_authority,
            "language": language,
            "requirements": requirements,
        },
        held_not_disclosed=True,
        note=note,
    )


def refusal(
    request: Mapping[str, object],
    *,
    at: int,
    officer: str,
    ground: str,
    reason: str,
    approver: str,
    approver_function: str = "Duty supervisor",
    function: str = "Officer of the contact point",
    provision: str = "",
    items: Sequence[int] = (),
    consulted: str = "",
    conditions: str = "",
    alternative: str = "",
    desk_ticket: str = "",
) -> dict[str, object]:
    """Return a refusal on a coded ground; the article follows from ground and legal basis when it
    is shown.

    ``items`` names single items, else the whole request is refused. ``consulted`` says when and how
    the other side was consulted, "" = it was not. ``conditions`` are those that would help,
    ``alternative`` is another way.
    """
    return _open("refusal", request, at, officer, function) | _given(
        desk_ticket=desk_ticket,
        legal_basis=text(request, "legal_basis"),
        ground=ground,
        provision=provision,
        reason_text=reason,
        scope="ITEMS" if items else "WHOLE",
        items=list(items) or "",
        consulted=bool(consulted),
        consulted_how=consulted,
        conditions_that_would_help=conditions,
        alternative_channel=alternative,
        approver={"name": approver, "function": approver_function},
    )


def withdrawal(
    request: Mapping[str, object],
    *,
    at: int,
    officer: str,
    reason: str,
    release_data: bool = True,
    items: Sequence[int] = (),
    function: str = "Officer of the contact point",
    note: str = "",
) -> dict[str, object]:
    """Return a withdrawal of the whole request or of single items, with a coded reason."""
    return _open("withdrawal", request, at, officer, function) | _given(
        scope="ITEMS" if items else "WHOLE",
        items=list(items) or "",
        reason=reason,
        release_data=release_data,
        note=note,
    )


def _open(
    kind: str, request: Mapping[str, object], at: int, officer: str, function: str
) -> dict[str, object]:
    return {
        "kind": kind,
        "national_reference": text(request, "national_reference"),
        "officer": {"name": officer, "function": function},
        "at": written(at),
    }


def _given(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value != ""}
