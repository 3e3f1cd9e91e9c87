"""What the relay says of itself agrees with what it does: routes, frames, fields, codes, limits (PROTOCOL 12, 15, 16)."""

import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import builders_wire as b
import jsonschema
import pytest
from builders_fuzz import Mutator, Parser
from builders_keys import World
from builders_relay import Running, running
from schemathesis.specs.openapi import definitions

from keys import statement
from keys.errors import RETRYABLE, Code, Refused
from relay import errors
from relay.server import calls, describe, describe_session
from relay.server.api import ROUTES
from relay.server.session import CALLS
from relay.wire import envelope, fields, frames, receipt
from relay.wire.frames import Type

OPENAPI = json.loads(describe.encoded(describe.openapi("1.2.3")))
ASYNCAPI = json.loads(describe.encoded(describe_session.asyncapi("1.2.3")))
DRAFT = jsonschema.Draft202012Validator


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of two desks."""
    return World(("VN", "AU"))


@pytest.fixture
async def relay(world: World) -> AsyncIterator[Running]:
    """Yield a relay."""
    async with running(world, version="1.2.3") as found:
        yield found


async def test_both_are_served_to_everybody(relay: Running) -> None:
    """No token is asked for, and what is served is what the tables give."""
    for path, wanted in (("/openapi.json", OPENAPI), ("/asyncapi.json", ASYNCAPI)):
        status, body, headers = await relay.call("GET", path)
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert json.loads(body) == wanted
        assert (await relay.call("POST", path))[0] == 405


async def test_what_a_method_is_refused_with_says_which_there_are(relay: Running) -> None:
    """405 comes with Allow (RFC 9110, 15.5.6), and with a sentence of ours."""
    status, body, headers = await relay.call("DELETE", f"/v1/blobs/{'0' * 64}")
    assert (status, errors.from_json(body).code) == (405, Code.E_UNKNOWN)
    assert set(headers["Allow"].split(",")) == {"GET", "HEAD", "PUT"}


# OpenAPI


def test_it_is_openapi_3_1() -> None:
    """The description passes the schema of OpenAPI 3.1, and every reference leads somewhere."""
    DRAFT(definitions.OPENAPI_31).validate(OPENAPI)
    assert OPENAPI["openapi"].startswith("3.1.")
    for description in (OPENAPI, ASYNCAPI):
        for reference in references(description):
            found = description
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]


def references(value: Any) -> Iterator[str]:
    """Yield every reference in a description."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described_and_nothing_else(world: World) -> None:
    """Method by method, path by path; the door's router is made of the same table."""
    described = {
        (method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item
    }
    assert described == {(method, path.replace(":.+", "")) for method, path in ROUTES}
    named = [item["operationId"] for path in OPENAPI["paths"].values() for item in path.values()]
    assert len(set(named)) == len(named) == len(calls.CALLS)


def test_each_refusal_has_the_status_of_the_table() -> None:
    """Codes of PROTOCOL 16 under their HTTP status, for every call; the error's form is the one that is read."""
    for path in OPENAPI["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                for code in response.get("x-codes", ()):
                    assert errors.HTTP_STATUS[Code(code)] == int(status)
    shape = OPENAPI["components"]["schemas"]["Error"]
    assert shape["properties"]["code"]["enum"] == [code.value for code in Code]
    assert set(shape["x-retryable"]) == {code.value for code in RETRYABLE}
    for code in Code:
        said = errors.to_json(Refused(code, "Why.", hint="What next."), 7)
        DRAFT(shape).validate(json.loads(said))


def test_the_limits_are_those_of_the_text() -> None:
    """PROTOCOL 15 in numbers, as both descriptions say them."""
    said = OPENAPI["x-limits"]
    assert said == ASYNCAPI["x-limits"]
    mib = 1024 * 1024
    wanted = {"header": 4096, "stanzas": 96, "statement_of_origin": mib, "statement": 65536}
    wanted |= {"attachments": 16, "envelope": 4 * mib, "frame": 4 * mib + 128 * 1024, "parts": 256}
    wanted |= {"life_seconds": 7 * 86400, "json_depth": 8, "signatures": 16, "error": 4096}
    assert wanted.items() <= said.items()
    by_name = {call.name: call for call in calls.CALLS}
    assert by_name["submit"].limit == 4 * mib + 65536 + 4
    assert by_name["put_blob"].limit == said["blob"]


# AsyncAPI


def test_every_frame_is_described_and_nothing_else() -> None:
    """Each type with its number; what a device sends the relay receives, and the other way round."""
    messages = ASYNCAPI["channels"]["session"]["messages"]
    assert {name: one["x-type"] for name, one in messages.items()} == {
        kind.name: int(kind) for kind in Type
    }
    assert set(describe_session.WHAT) == set(Type)
    operations = ASYNCAPI["operations"]
    for kind in Type:
        if kind in {Type.ANSWER, Type.ERROR}:
            continue
        found = operations[kind.name.lower()]
        by_device = kind in CALLS or kind is Type.CONNECT
        assert found["action"] == ("receive" if by_device else "send")
        assert ("reply" in found) == (kind in CALLS and kind is not Type.SEEN)


def test_it_has_what_asyncapi_3_asks_for() -> None:
    """Version, head, channels with an address, operations with an action, a channel and its messages."""
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    assert ASYNCAPI["channels"]["session"]["address"] in OPENAPI["paths"]
    for operation in ASYNCAPI["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert operation["channel"] == {"$ref": "#/channels/session"}
        for message in operation["messages"]:
            assert message["$ref"].startswith("#/channels/session/messages/")


# Shapes


def test_every_kind_of_statement_is_there() -> None:
    """One payload for each kind, with who signs it and how long it may be."""
    shapes = OPENAPI["components"]["schemas"]
    for kind, shape in receipt.KINDS.items():
        found = shapes[f"payload.{kind}"]
        DRAFT.check_schema(found)
        assert (found["x-signed-by"], found["x-bytes-max"]) == (shape.role, shape.limit)
        payload = statement.peek(b.receipt_of(kind).wire, limit=shape.limit).payload
        DRAFT(found).validate(json.loads(payload))
        DRAFT(shapes["Statement"]).validate(json.loads(b.receipt_of(kind).wire))
        assert kind in shapes["Statement"]["properties"]["payloadType"]["pattern"]


def differences(
    shape: dict[str, fields.Check], schema: Any, good: bytes, count: int
) -> Iterator[bytes]:
    """Yield strict JSON of which the check and the schema think differently."""
    validator = DRAFT(schema)
    mutator = Mutator(Parser("described", statement.decode, (good,)), random.Random(11))
    for _ in range(count):
        data = mutator.make()
        try:
            value = statement.decode(data)
        except Refused:
            continue
        try:
            fields.closed(value, shape, "It")
            read = True
        except Refused:
            read = False
        # Python's $ stops before a last line feed; that of JSON Schema, which is ECMA-262's, does not.
        if read is not validator.is_valid(value) and not re.search(rb"\\n\"", data):
            yield data


SHAPES: dict[str, tuple[dict[str, fields.Check], Any, bytes]] = {
    f"payload.{kind}": (
        {**shape.fields, "v": fields.integer(1, 1), "signer": fields.identifier},
        OPENAPI["components"]["schemas"][f"payload.{kind}"],
        statement.peek(b.receipt_of(kind).wire, limit=shape.limit).payload,
    )
    for kind, shape in receipt.KINDS.items()
} | {
    "header": (
        {**envelope.HEADER_SHAPE, "v": fields.integer(1, 1)},
        OPENAPI["components"]["schemas"]["Header"],
        b.header().encode(),
    )
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_that_is_described_is_the_shape_that_is_checked(name: str) -> None:
    """1500 mutants of each kind: what the description takes, the relay's check takes, and nothing else."""
    shape, schema, good = SHAPES[name]
    assert list(differences(shape, schema, good, 1500)) == []


def test_bodies_of_frames_too() -> None:
    """The JSON bodies of AsyncAPI are those that frames.unpack reads."""
    messages = ASYNCAPI["channels"]["session"]["messages"]
    for kind, shape in frames.BODIES.items():
        found = messages[kind.name]
        assert found["x-place" if kind is Type.STATEMENT else "payload"] == json.loads(
            json.dumps(fields.object_schema(shape))
        )
    for kind, shape in frames.ANSWERS.items():
        answer = ASYNCAPI["operations"][kind.name.lower()]["x-answer"]
        assert answer == json.loads(json.dumps(fields.object_schema(shape)))
