"""The calls over HTTP under attack, from their own description: nothing but what it says, no 5xx, only our own errors.

schemathesis makes requests from /openapi.json in a process of its own, with and without a session's token; real bodies,
whole and bent, bring it behind the first checks. Beside it each call gets mutants of real bodies.
"""

import asyncio
import base64
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import letter_of, pickup_of, receipt_of
from builders_blobs import blob_of
from builders_door import NOW
from builders_fuzz import Mutator, Parser
from builders_keys import World
from builders_relay import Running, running

from keys import directory
from keys.errors import Code, Refused
from relay import errors
from relay.server.calls import CALLS, HttpCall
from relay.server.rates import Call
from relay.wire import frames

LONG = os.environ.get("POC24_LONG") == "1"
EXAMPLES = 1000 if LONG else 20
MUTANTS = 20_000 if LONG else 300
HERE = Path(__file__).resolve().parent
PLENTY = dict.fromkeys(Call, 10_000_000)
LINES_MAX = 40
"""What the relay may write into its log under a whole attack."""

pytestmark = pytest.mark.timeout(3600 if LONG else 600)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


@pytest.fixture
async def relay(world: World, tmp_path: Path) -> AsyncIterator[Running]:
    """Yield a relay with a room for attachments that counts nobody's calls."""
    async with running(world, per_minute=PLENTY, blobs=tmp_path / "blobs") as found:
        yield found


async def real(relay: Running) -> dict[str, list[bytes]]:
    """Return real bodies by the name of the call; a first message is in the relay already."""
    world = relay.world
    letters = [letter_of(world, NOW, nonce=str(number)) for number in range(3)]
    bodies = [frames.join(one.submission.wire, one.envelope) for one in letters]
    assert (await relay.call("POST", "/v1/messages", bodies[0]))[0] == 200
    receipts = [
        receipt_of(world, kind, letters[0], NOW).wire for kind in ("delivered", "acknowledged")
    ]
    blobs = [blob_of(str(number), 20_000 * number).data for number in range(2)]
    return {
        "submit": bodies,
        "pickup": [pickup_of(world, [letters[0].msg], NOW)],
        "pickup_id": [letters[0].msg.encode()],
        "record": [frames.join(receipts[0]), frames.join(*receipts)],
        "publish_prekeys": [frames.join(*world.prekeys("AU")), b""],
        "publish": [directory.pack(world.files)],
        "put_blob": blobs,
    }


def quiet(relay: Running) -> None:
    """No call failed inside, and the log did not grow with the attack."""
    lines = relay.written.getvalue().splitlines()
    assert [line for line in lines if "failed" in line or '"error"' in line] == []
    assert len(lines) < LINES_MAX


@pytest.mark.parametrize("known", [True, False], ids=["token", "stranger"])
async def test_schemathesis_finds_nothing(relay: Running, tmp_path: Path, known: bool) -> None:  # noqa: FBT001
    """Every call as described, and in every way that is not: statuses, headers, bodies, methods, missing tokens."""
    kept = {
        name: [base64.b64encode(one).decode() for one in bodies]
        for name, bodies in (await real(relay)).items()
    }
    (tmp_path / "bodies.json").write_text(json.dumps(kept), "ascii")
    _device, token = await relay.connected("VN")
    arguments = ["--header", f"Authorization: {token['Authorization']}"] if known else []
    ran = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--no-color", "run"),
        *(f"{relay.base}/openapi.json", "--seed", "24", "--max-examples", str(EXAMPLES)),
        # A body is bytes to a description, so that most of what fits it is refused by right.
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--warnings", "off"),
        *("--phases", "coverage,fuzzing"),  # what follows upon what, tests/simulation tries out
        *("--generation-database", "none", "--continue-on-failure", *arguments),
        cwd=tmp_path,
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py"),
            "POC24_REAL_BODIES": str(tmp_path / "bodies.json"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await ran.communicate())[0].decode()
    assert ran.returncode == 0, said[-6000:]
    tested = re.search(r"Tested: +([0-9]+)", said)
    assert tested is not None
    assert int(tested[1]) >= len(CALLS) - 1, said
    if known:  # it did get in: real messages were taken, and real attachments
        assert relay.relay.metrics.registry.get_sample_value(
            "relay_blob_uploads_total", {"result": "whole"}
        )
    quiet(relay)


def path_of(call: HttpCall, bodies: dict[str, list[bytes]]) -> str:
    """Return an address for a call, with an id that there is."""
    places = {"id": bodies["pickup_id"][0].decode(), "desk": "AU", "name": "timestamp.json"}
    return call.path.format(**places)


@pytest.mark.parametrize("call", [call for call in CALLS if call.body], ids=lambda call: call.name)
async def test_mutants_of_real_bodies(relay: Running, call: HttpCall) -> None:
    """300 mutants of what a desk really sends: done as described, or refused with a code that the call may give."""
    bodies = await real(relay)
    _device, token = await relay.connected("AU")
    seeds = tuple(bodies[call.name])
    mutator = Mutator(Parser(call.name, len, seeds), random.Random(call.name))
    found: Counter[str] = Counter()
    for number in range(MUTANTS):
        headers = token if number % 2 or call.token == "needed" else {}
        body = mutator.make()
        status, answer, given = await relay.call(
            call.method, path_of(call, bodies), body, headers=headers
        )
        found[judge(call, status, answer, given)] += 1
    assert len(found) > 1, found
    quiet(relay)


def judge(call: HttpCall, status: int, answer: bytes, headers: Any) -> str:
    """Return what became of a call; fails if its description does not allow that."""
    assert headers["Server"] == "poc24"
    if status in call.answers:
        return str(status)
    refused = errors.from_json(answer)
    assert headers["Content-Type"].startswith("application/json")
    assert status == errors.http_status(refused), answer
    assert refused.code in call.codes, (call.name, answer)
    assert ("Retry-After" in headers) == (status in {429, 503})
    return refused.code


def test_the_attack_would_see_a_fault() -> None:
    """A status, a code or a body that is not described fails the judge."""
    call = CALLS[0]
    ours = {"Server": "poc24", "Content-Type": "application/json"}
    unknown = errors.to_json(Refused(Code.E_UNKNOWN, "No."), NOW)
    assert judge(call, 200, b"", ours) == "200"
    for status, answer in ((500, b"{}"), (404, unknown), (400, unknown), (418, b"I am a teapot")):
        with pytest.raises((AssertionError, Refused)):
            judge(call, status, answer, ours)
