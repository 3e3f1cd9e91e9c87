"""The session held to its own description: every frame that the relay sends fits /asyncapi.json, whatever it is sent.

10,000 frames made of real ones, on a session and before one: each is answered as described or refused with one of our
codes, the next one is served all the same, and the log stays short.
"""

import json
import os
import random
from collections import Counter
from typing import Any

import jsonschema
import pytest
from builders import letter_of, pickup_of, receipt_of
from builders_door import NOW, Device, Door, door_of
from builders_fuzz import Mutator, Parser
from builders_keys import World
from builders_relay import running

from keys import directory, statement
from keys.errors import Code, Refused
from relay import errors
from relay.server import describe_session
from relay.server.rates import Call
from relay.wire import envelope, frames
from relay.wire.frames import Frame, Type

LONG = os.environ.get("POC24_LONG") == "1"
FRAMES = 1_000_000 if LONG else 10_000
GREETINGS = 20_000 if LONG else 1000
BUNDLE = 50
LINES_MAX = 40
PLENTY = dict.fromkeys(Call, 10**12)
DESCRIBED = json.loads(json.dumps(describe_session.asyncapi("1")))
MESSAGES = DESCRIBED["channels"]["session"]["messages"]
OPERATIONS = DESCRIBED["operations"]

pytestmark = pytest.mark.timeout(7200 if LONG else 300)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


def fits(schema: dict[str, Any], data: bytes) -> None:
    """Fail unless the bytes are strict JSON that fits a schema of the description."""
    top = {**schema, "components": DESCRIBED["components"]}
    jsonschema.Draft202012Validator(top).validate(statement.decode(data))


def signed(schema: dict[str, Any], data: bytes) -> None:
    """Fail unless the bytes are a statement of the kind that the description names, with its payload."""
    peeked = statement.peek(data, limit=statement.ORIGIN_BYTES_MAX)
    kind = schema.get("x-kind", peeked.kind)
    assert peeked.kind == kind
    if kind != "prekey":
        fits(DESCRIBED["components"]["schemas"][f"payload.{kind}"], peeked.payload)


def part(name: str, data: bytes) -> None:
    """Fail unless one part of a body is what the description calls it."""
    if name == "envelope":
        envelope.parse(data)
    elif name in {"statement", "receipt"}:
        signed({}, data)
    elif name != "place":
        signed({"x-kind": name}, data)


def parts(names: list[str], body: bytes) -> int:
    """Fail unless a body is made of the parts that the description names, again and again where it says so."""
    found = frames.split(body)
    once = [name for name in names if name != "..."]
    assert len(found) == len(once) or (names[-1] == "..." and not len(found) % len(once))
    for number, data in enumerate(found):
        if data:
            part(once[number % len(once)], data)
    return len(found)


def conforms(frame: Frame, call: Type | None = None) -> None:
    """Fail unless a frame of the relay is as the description says; *call* is what an answer answers."""
    message = MESSAGES[frame.type.name]
    assert message["x-type"] == int(frame.type)
    if frame.type is Type.ANSWER:
        assert call is not None
        answer = OPERATIONS[call.name.lower()]["x-answer"]
        if "x-join" in answer:
            parts(answer["x-join"], frame.body)
        elif "x-kind" in answer:
            signed(answer, frame.body)
        elif answer["type"] == "object":
            fits(answer, frame.body)
        return
    if "x-join" in message:
        parts(message["x-join"], frame.body)
        fits(message["x-place"], frames.split(frame.body)[0])
    elif "x-kind" in message:
        signed(message, frame.body)
    else:
        fits(message["payload"], frame.body)


class Listener(Device):
    """A device that holds every frame that comes against the description."""

    asked: dict[int, Type]

    async def frame(self) -> Frame:
        """Return the next frame, once it is seen to fit."""
        found = await super().frame()
        conforms(found, self.asked.get(found.request) if found.request else None)
        return found

    async def send(self, kind: Type, body: bytes, request: int | None = None) -> int:
        """Send, and remember what was asked."""
        number = await super().send(kind, body, request)
        self.asked[number] = kind
        return number


def listening(device: Device) -> Listener:
    """Make a device listen closely."""
    device.__class__ = Listener
    assert isinstance(device, Listener)
    device.asked = {}
    return device


def bodies(world: World) -> dict[Type, list[bytes]]:
    """Return real bodies of every call, for a device of AU."""
    letter = letter_of(world, NOW)
    acknowledged, delivered = (
        receipt_of(world, kind, letter, NOW).wire for kind in ("acknowledged", "delivered")
    )
    place = statement.encode({"epoch": NOW, "seq": 0})
    return {
        Type.SUBMIT: [frames.join(letter.submission.wire, letter.envelope)],
        Type.PICKUP: [pickup_of(world, [letter.msg], NOW)],
        Type.RECORD: [frames.join(acknowledged, delivered)],
        Type.PREKEYS: [frames.join(*world.prekeys("AU")), b""],
        Type.RESUME: [place],
        Type.SEEN: [place],
        Type.TOKEN: [b""],
        Type.GET_PREKEYS: [b"AU", b"VN"],
        Type.GET_FILE: [b"timestamp.json", b"1.root.json"],
        Type.PUBLISH: [directory.pack(world.files)],
    }


async def test_every_call_and_every_push_is_as_described(world: World) -> None:
    """On a real port: the handshake, each call with its answer, the pushes that follow, the farewell."""
    async with running(world) as relay:
        device = listening(await relay.device("AU"))
        await device.connect()
        await device.resume(relay.relay.exchange.store.epoch)
        answered: set[Type] = set()
        for kind, real in bodies(world).items():
            if kind is Type.SEEN:
                await device.send(kind, real[0])
                continue
            for body in real:
                await device.call(kind, body)
                answered.add(kind)
        assert answered == {
            Type[name.upper()] for name, one in OPERATIONS.items() if "reply" in one
        }
        pushed = {Type.NOTIFY, Type.STATEMENT}
        while pushed:
            pushed.discard((await device.push()).type)
        relay.relay.sessions.announce(99, NOW)
        while (await device.push()).type is not Type.DIRECTORY:
            pass
        await relay.relay.sessions.drain(0.1)
        while (await device.push()).type is not Type.DRAINING:
            pass


async def bundle(device: Device, data: list[bytes], counted: Counter[str]) -> None:
    """Send frames, then a question that nobody else asks; look at all that comes until it is answered."""
    for one in data:
        await device.socket.send(one)
    last = frames.encode(Frame(Type.GET_FILE, 0xFFFFFFFF, b"timestamp.json"))
    await device.socket.send(last)
    while True:
        frame = await device.frame()
        if frame.type is Type.ERROR:
            fits(MESSAGES["ERROR"]["payload"], frame.body)
            refused = errors.from_json(frame.body)
            assert "could not do this just now" not in refused.text
            counted[refused.code] += 1
        else:
            conforms(frame, Type.GET_FILE)
            counted[frame.type.name] += 1
        if frame.request == 0xFFFFFFFF and frame.type is Type.ANSWER:
            return


def quiet(door: Door) -> None:
    """Nothing failed inside, and nonsense does not fill a disk."""
    lines = door.written.getvalue().splitlines()
    assert [line for line in lines if '"level": "error"' in line] == []
    assert len(lines) < LINES_MAX


async def test_whatever_frame_comes_is_answered_in_our_words(world: World) -> None:
    """10,000 mutants of real frames on one session: answered or refused, and the session serves on."""
    door = await door_of(world, per_minute=PLENTY)
    device = await door.connected("AU")
    seeds = [
        frames.encode(Frame(kind, 7, body)) for kind, real in bodies(world).items() for body in real
    ]
    inside = {kind: tuple(real) for kind, real in bodies(world).items()}
    dice, counted = random.Random("frames"), Counter[str]()
    mutators = {
        kind: Mutator(Parser(kind.name, len, real), random.Random(kind.name))
        for kind, real in inside.items()
    }
    whole = Mutator(Parser("frames", len, tuple(seeds)), random.Random("whole"))
    for _each in range(FRAMES // BUNDLE):
        made = []
        for _one in range(BUNDLE):
            kind = dice.choice(list(mutators))
            body = mutators[kind].make()
            request = 1 + dice.randrange(1000)
            # Only what asks for a file or nothing has an answer of any form; others are looked at by number.
            made.append(
                whole.make()
                if dice.random() < 0.2
                else bytes((kind,)) + request.to_bytes(4, "big") + body
            )
        await bundle(device, [one for one in made if one[1:5] != b"\xff" * 4], counted)
    assert counted[Type.ANSWER.name] > FRAMES // BUNDLE
    assert {Code.E_ENCODING, Code.E_SIGNER, Code.E_TYPE, Code.E_SIGNATURE} <= set(counted)
    assert sum(counted.values()) > FRAMES * 0.8
    await bundle(device, [], counted)
    quiet(door)


async def test_whoever_greets_wrongly_is_sent_away_quietly(world: World) -> None:
    """1000 connections, each with a mutant of a good answer to the challenge: refused with a code, and closed."""
    door = await door_of(world, per_minute=PLENTY)
    counted: Counter[str] = Counter()
    dice = random.Random("greetings")
    for _each in range(GREETINGS):
        device = door.enter("AU")
        challenge = await device.challenge()
        good = frames.encode(Frame(Type.CONNECT, 1, device.proof(challenge)))
        made = Mutator(Parser("greeting", len, (good, good[5:])), dice).make()
        if made == good:
            continue
        await device.socket.send(made)
        try:
            frame = await device.frame()
        except EOFError:
            counted["closed"] += 1
            continue
        if frame.type is Type.WELCOME:
            # Another number on the frame changes nothing of what was signed.
            assert made[:1] + made[5:] == good[:1] + good[5:]
            counted["welcome"] += 1
            await device.socket.close(1000, "")
            continue
        fits(MESSAGES["ERROR"]["payload"], frame.body)
        counted[errors.from_json(frame.body).code] += 1
        assert (await device.closed())[0] == 1008
    assert counted[Code.E_ENCODING] > GREETINGS // 10
    assert len(counted) > 3
    quiet(door)


def test_the_description_would_see_a_fault() -> None:
    """A frame with a field too many, an answer of another kind and an unknown code do not fit."""
    seen = statement.encode({"version": 1})
    conforms(Frame(Type.DIRECTORY, 0, seen))
    conforms(Frame(Type.ANSWER, 1, seen), Type.PUBLISH)
    for frame, call in (
        (Frame(Type.DIRECTORY, 0, statement.encode({"version": 1, "more": 2})), None),
        (Frame(Type.DRAINING, 0, statement.encode({"after": "soon"})), None),
        (Frame(Type.ANSWER, 1, seen), Type.RESUME),
        (Frame(Type.ANSWER, 1, seen), Type.SUBMIT),
        (
            Frame(
                Type.ERROR,
                1,
                statement.encode({"at": 1, "code": "E_ODD", "retry": False, "text": ""}),
            ),
            None,
        ),
    ):
        with pytest.raises((jsonschema.ValidationError, Refused, AssertionError)):
            conforms(frame, call)
