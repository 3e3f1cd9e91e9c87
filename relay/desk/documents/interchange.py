"""A preservation request in the shape of another format: the preservation task of ETSI TS 103 120.

That interface runs between an authority and a provider, where a requested desk may want to hand the
request on by machine. The names used here (LPTask, DesiredStatus, RequestDetails, Timespan,
DesiredPreservationExpiration, IsEmergency) are from secondary sources and nobody has compared them
with the published standard: the export says so itself. One task is made for each item, because a
task has one identifier. What does not map is listed with the export, never dropped in silence.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import at, block, integer, listed, rows, text, written

FORMAT = "ETSI TS 103 120, preservation task (LPTask)"
UNCHECKED = "names from secondary sources; to be compared with the published standard"

MAPPED: Mapping[str, str] = MappingProxyType(
    {
        "national_reference": "Authorisation.Reference",
        "requesting_authority.country": "Authorisation.CountryCode",
        "requesting_authority.organisation": "Authorisation.ApproverDetails.Organisation",
        "approver.name": "Authorisation.ApproverDetails.Name",
        "approver.function": "Authorisation.ApproverDetails.Role",
        "date_of_request": "Authorisation.ApproverDetails.Timestamp",
        "language": "Authorisation.Languages",
        "legal_basis": "Authorisation.LegalBasis",
        "offence_categories[]": "Authorisation.LegalBasis.Offences",
        "requested_duration_days": "LPTask.DesiredPreservationExpiration",
        "items[].identifier_type": "LPTask.RequestDetails.RequestValues.FormatType",
        "items[].identifier_value": "LPTask.RequestDetails.RequestValues.Value",
        "items[].port": "LPTask.RequestDetails.RequestValues.Port",
        "items[].observed_at": "LPTask.RequestDetails.ObservedTimes",
        "items[].data_categories[]": "LPTask.RequestDetails.Subtype",
        "items[].period_from": "LPTask.RequestDetails.StartTime",
        "items[].period_to": "LPTask.RequestDetails.EndTime",
        "items[].custodian.name": "LPTask.CSPID",
        "items[].custodian.country": "LPTask.CSPID.CountryCode",
    }
)
"""What has a place there: a path of the form to the place. Everything else is told as not mapped."""


def exported(request: Mapping[str, object], *, now: int, priority: str) -> dict[str, object]:
    """Return a request as authorisation, tasks and the statement of what does not map.

    *now* is seconds UTC: the wished end of a task counts from it; *priority* is emergency, urgent
    or routine. Take a request that passed the check: what is missing here is missing there.
    """
    days = integer(request, "requested_duration_days") or codes.least_days(
        request.get("legal_basis")
    )
    authority, approver = block(request, "requesting_authority"), block(request, "approver")
    reference = text(request, "national_reference")
    tasks = [
        _task(f"{reference}/{number}", item, now + days * DAY)
        for number, (_path, item) in enumerate(rows(request, "items"), 1)
    ]
    return {
        "Format": FORMAT,
        "Caution": UNCHECKED,
        "Authorisation": {
            "Reference": reference,
            "CountryCode": text(authority, "country"),
            "LegalBasis": {
                "Code": text(request, "legal_basis"),
                "Offences": listed(request, "offence_categories"),
            },
            "Priority": priority,
            "Flags": ["IsEmergency"] if priority == "emergency" else [],
            "Languages": [text(request, "language")],
            "ApproverDetails": {
                "Name": text(approver, "name"),
                "Role": text(approver, "function"),
                "Organisation": text(authority, "organisation"),
                "Timestamp": text(request, "date_of_request"),
            },
        },
        "LPTasks": tasks,
        "NotMapped": sorted(set(_paths(dict(request))) - set(MAPPED) - {"kind"}),
    }


def _task(reference: str, item: Mapping[str, object], until: int) -> dict[str, object]:
    value: dict[str, object] = {
        "FormatType": text(item, "identifier_type"),
        "Value": text(item, "identifier_value"),
    }
    port, seen, custodian = integer(item, "port"), at(item, "observed_at"), block(item, "custodian")
    if port is not None:
        value["Port"] = port
    details: dict[str, Any] = {
        "Type": "Preservation",
        "Subtype": listed(item, "data_categories"),
        "StartTime": text(item, "period_from"),
        "EndTime": text(item, "period_to"),
        "RequestValues": [value],
    }
    if seen is not None:
        details["ObservedTimes"] = [written(seen)]
    return {
        "Reference": reference,
        "DesiredStatus": "AwaitingPreservation",
        "CSPID": {"Name": text(custodian, "name"), "CountryCode": text(custodian, "country")},
        "DesiredPreservationExpiration": written(until),
        "RequestDetails": details,
    }


def _paths(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every value of a document, entries of lists as ``[]``."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, f"{path}[]")
    else:
        yield path
