"""Hooks for schemathesis, which runs in a process of its own: half of the bodies are real ones, whole or bent.

A description says that a body is bytes; what is in them only a desk can make. ``test_openapi.py`` leaves real bodies in
a file, by the name of the call.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

REAL: dict[str, list[bytes]] = {
    name: [base64.b64decode(one) for one in bodies]
    for name, bodies in json.loads(Path(os.environ["POC24_REAL_BODIES"]).read_text("ascii")).items()
}


def bent(body: bytes) -> st.SearchStrategy[bytes]:
    """Return a body with one piece of it replaced."""
    places = st.integers(0, len(body))
    return st.builds(
        lambda at, cut, more: body[:at] + more + body[at + cut :],
        places,
        st.integers(0, 40),
        st.binary(max_size=20),
    )


@schemathesis.hook
def before_generate_body(context: Any, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mix real bodies, whole and bent, with what the description alone would give."""
    bodies = REAL.get(context.operation.definition.raw["operationId"])
    if not bodies:
        return strategy
    real = st.sampled_from(bodies)
    return st.one_of(real, real, real.flatmap(bent), strategy)


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Address a real blob by its hash and a real pickup by its message, as who sends them does."""
    name, body = context.operation.definition.raw["operationId"], case.body
    if name == "put_blob" and body in REAL["put_blob"]:
        case.path_parameters["id"] = hashlib.sha256(body).hexdigest()
        if case.headers:
            case.headers.pop("Content-Range", None)
    if name == "pickup" and body in REAL["pickup"]:
        case.path_parameters["id"] = REAL["pickup_id"][0].decode()
    if name == "file" and len(str(case.path_parameters["name"])) % 2:
        case.path_parameters["name"] = "timestamp.json"
    if name == "prekeys" and str(case.path_parameters["desk"]) < "M":
        case.path_parameters["desk"] = "AU"
    return case
