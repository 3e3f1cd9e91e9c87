"""The request in the shape of another format: everything is there, or told as not mapped."""

import json
import re
from typing import Any

from relay.desk.documents import interchange, schema
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import written

Form = dict[str, Any]


def _values(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _values(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _values(inner)]
    return [value]


def test_one_task_for_each_item(request_form: Form, now: int) -> None:
    """Identifier, port, period, custodian and the wished end stand in the task of their item."""
    found: Any = interchange.exported(request_form, now=now, priority="emergency")
    first, second, third = found["LPTasks"]
    assert first["RequestDetails"]["RequestValues"] == [
        {"FormatType": "IPV4", "Value": "198.51.100.77", "Port": 51844}
    ]
    assert first["DesiredPreservationExpiration"] == written(now + 90 * DAY)
    assert second["CSPID"] == {"Name": "Example Mail Pty Ltd", "CountryCode": "AU"}
    assert [one["Reference"][-2:] for one in (first, second, third)] == ["/1", "/2", "/3"]
    assert {one["DesiredStatus"] for one in found["LPTasks"]} == {"AwaitingPreservation"}
    assert found["Authorisation"]["Flags"] == ["IsEmergency"]
    assert "compared" in found["Caution"]
    assert json.loads(json.dumps(found)) == found
    calm: Any = interchange.exported(request_form, now=now, priority="urgent")
    assert calm["Authorisation"]["Flags"] == []


def test_nothing_is_dropped_in_silence(request_form: Form, now: int) -> None:
    """Every value of the request is in the export, or its path is named as not mapped."""
    found: Any = interchange.exported(request_form, now=now, priority="urgent")
    there = {str(one) for one in _values(found)}
    for path in interchange._paths(request_form):
        mapped = path in interchange.MAPPED or path == "kind"
        assert mapped is not (path in found["NotMapped"]), path
    for path in set(interchange._paths(request_form)) & set(interchange.MAPPED):
        if path == "requested_duration_days":
            continue
        for value in _at(request_form, path):
            assert str(value) in there, path


def _at(value: Any, path: str) -> list[Any]:
    found = [value]
    for step in re.findall(r"[a-z_]+|\[\]", path):
        if step == "[]":
            found = [one for each in found for one in each]
        else:
            found = [each[step] for each in found if step in each]
    return found


def test_what_is_said_to_map_exists(request_form: Form) -> None:
    """Every path of the table is a field of the form."""
    for path in interchange.MAPPED:
        node: Any = schema.load("preservation_request")
        for step in path.split("."):
            node = node["properties"][step.removesuffix("[]")]
            if step.endswith("[]"):
                node = node["items"]
