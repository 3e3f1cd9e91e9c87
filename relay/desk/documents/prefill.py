"""Follow-ups with everything filled in that is known already: an officer adds a reference, a date, a reason.

Each function makes a complete document, or says in its docstring what is left to fill in. Times are
seconds UTC; an argument that is "" leaves its field out. Whoever calls checks the result with
``forms.require`` before it is signed.
"""

from collections.abc import Mapping, Sequence

from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import at, block, listed, text, written


def follow_up(
    kind: str,
    request: Mapping[str, object],
    *,
    now: int,
    officer: str,
    function: str,
    language: str,
    **fields: object,
) -> dict[str, object]:
    """Return a document that follows a request: the fields that all have, then those given."""
    head = {
        "kind": kind,
        "national_reference": text(request, "national_reference"),
        "language": language,
        "officer": {"name": officer, "function": function},
        "at": written(now),
    }
    return head | {key: value for key, value in fields.items() if value != ""}


def extension(
    request: Mapping[str, object],
    *,
    now: int,
    officer: str,
    function: str,
    language: str,
    current_until: int,
    days: int = 60,
    why: str,
    mla_expected_by: int,
    items: Sequence[int] = (),
    mla_reference: str = "",
) -> dict[str, object]:
    """Return a request to preserve for *days* more than until now."""
    return follow_up(
        "extension_request",
        request,
        now=now,
        officer=officer,
        function=function,
        language=language,
        current_until=written(current_until),
        requested_until=written(current_until + days * DAY),
        scope="ITEMS" if items else "WHOLE",
        items=list(items) or "",
        why_mla_not_yet=why,
        mla_expected_by=written(mla_expected_by)[:10],
        mla_reference=mla_reference,
    )


def mla_sent(
    request: Mapping[str, object],
    *,
    now: int,
    officer: str,
    function: str,
    language: str,
    reference: str,
    sent_at: int,
    to_authority: str,
    channel: str = "MAIL",
    items: Sequence[int] = (),
) -> dict[str, object]:
    """Return the notice that the request for mutual legal assistance was sent."""
    own = text(request, "mla_central_authority") or text(
        block(request, "requesting_authority"), "organisation"
    )
    return follow_up(
        "mla_submitted",
        request,
        now=now,
        officer=officer,
        function=function,
        language=language,
        mla_reference=reference,
        sent_at=written(sent_at),
        from_authority=own,
        to_authority=to_authority,
        channel=channel,
        scope="ITEMS" if items else "WHOLE",
        items=list(items) or "",
    )


def freeze_and_ask(
    request: Mapping[str, object],
    *,
    now: int,
    officer: str,
    function: str,
    language: str,
    questions: Sequence[str],
    answer_by: int,
    frozen_until: int = 0,
    blocking: bool = False,
    order: str = "",
) -> dict[str, object]:
    """Return questions on a request, and word that the data are frozen meanwhile (0 = they are not)."""
    interim: dict[str, object] = {"from": written(now), "until": written(frozen_until)}
    if order:
        interim["order_reference"] = order
    return follow_up(
        "info_request",
        request,
        now=now,
        officer=officer,
        function=function,
        language=language,
        questions=[
            {"id": str(number), "text": question, "blocking": blocking}
            for number, question in enumerate(questions, 1)
        ],
        answer_by=written(answer_by),
        interim_measure_taken=bool(frozen_until),
        interim=interim if frozen_until else "",
    )


def confirmed_in_writing(
    request: Mapping[str, object], notice: Mapping[str, object], *, now: int
) -> dict[str, object]:
    """Return a prepared request as the written confirmation of one by telephone."""
    oral: dict[str, object] = {
        "at": text(notice, "call_at"),
        "between": f"{text(notice, 'caller')}, {text(notice, 'called')}",
    }
    if text(notice, "call_back_code"):
        oral["call_back_code"] = text(notice, "call_back_code")
    return dict(request) | {
        "request_status": "ORAL-CONFIRMED",
        "date_of_request": written(now),
        "prior_oral_request": oral,
    }


def linked_request(
    request: Mapping[str, object], notice: Mapping[str, object], *, now: int, desk: str
) -> dict[str, object]:
    """Return a request to a third desk, from the notice of a path of traffic through its State.

    The case, the officer and the reasons are those of the first request; the items are the last hop
    of the path, at the provider that the notice names. Where the notice has no port, the officer says
    why; what it does not speak of stays as it was, to be read once more before it is signed.
    """
    hops = [hop for hop in listed(notice, "path") if isinstance(hop, dict)]
    hop = hops[-1] if hops else {}
    address, seen = text(hop, "from_address"), at(hop, "observed_at")
    first = next((one for one in listed(request, "items") if isinstance(one, dict)), {})
    item: dict[str, object] = {
        "identifier_type": "IPV6" if ":" in address else "IPV4",
        "identifier_value": address,
        "observed_at": text(hop, "observed_at"),
        "observed_tz": text(hop, "observed_tz"),
        "clock_source": text(hop, "clock_source"),
        "data_categories": ["SUBSCRIBER", "TRAFFIC"],
        "relation_to_offence": text(first, "relation_to_offence"),
        "custodian": {"known": True} | dict(block(notice, "provider")),
    }
    if isinstance(hop.get("from_port"), int):
        item["port"] = hop["from_port"]
    if seen is not None:
        item |= {"period_from": written(seen - 3600), "period_to": written(min(now, seen + 3600))}
    earlier = {
        "reference": text(request, "national_reference"),
        "date": text(request, "date_of_request")[:10],
        "channel": "RELAY",
    }
    previous = [one for one in listed(request, "previous_requests") if isinstance(one, dict)]
    return dict(request) | {
        "request_status": "SUPPLEMENT",
        "date_of_request": written(now),
        "requested_authority": desk,
        "items": [item],
        "previous_requests": [*previous, earlier],
    }
