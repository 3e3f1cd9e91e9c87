"""10,000 inputs for every parser that eats bytes from elsewhere, one million in the long run (PROTOCOL 16.3, C22).

Each is read, or refused in our own words; within a second, and in memory that its length bounds. The harness is shown
to see planted faults of each kind. Two processes share the work.
"""

import base64
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import builders_parsers
import builders_wire as b
import pytest
from builders_fuzz import SECONDS_MAX, Broken, Outcome, Parser, campaign, inputs, spans
from hypothesis import given
from hypothesis import strategies as st

from keys import directory, keyfile, statement
from relay.wire import envelope, fields

LONG = os.environ.get("POC24_LONG") == "1"
COUNT = 1_000_000 if LONG else 10_000
GUIDED = 20_000 if LONG else 500
PROCESSES = 2
HERE = Path(__file__).resolve().parent
NAMES = tuple(builders_parsers.parsers())

pytestmark = pytest.mark.timeout(0 if LONG else 900)


def attack(name: str, count: int) -> Outcome:
    """Run in a process of its own: one campaign."""
    return campaign(builders_parsers.parsers()[name], count)


@pytest.fixture(scope="module")
def campaigns(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Outcome]]:
    """Start the campaigns of all parsers that were asked for; return one that waits for its outcome."""
    asked = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and item.originalname == "test_a_parser_keeps_its_manners"
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        begun: dict[str, Future[Outcome]] = {
            name: pool.submit(attack, name, COUNT) for name in asked
        }
        yield lambda name: begun[name].result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_keeps_its_manners(campaigns: Callable[[str], Outcome], name: str) -> None:
    """Any input is read or refused, in bounded time and memory; the mutants do reach into the parser."""
    outcome = campaigns(name)
    assert outcome.inputs >= COUNT
    assert outcome.read > 0
    assert outcome.sentences > 0 or outcome.read == outcome.inputs


@st.composite
def spliced(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a parser and bytes for it: any at all, or two pieces of real inputs with any between them."""
    name = draw(st.sampled_from(NAMES))
    between = draw(st.binary(max_size=60))
    if draw(st.booleans()):
        return name, between
    seeds = st.sampled_from(builders_parsers.parsers()[name].seeds)
    first, last = draw(seeds), draw(seeds)
    start, end = draw(st.integers(0, len(first))), draw(st.integers(0, len(last)))
    return name, first[:start] + between + last[end:]


@given(spliced())
def test_what_hypothesis_finds(drawn: tuple[str, bytes]) -> None:
    """Pieces of real inputs and any bytes: what breaks a parser here is shrunk to the least that does."""
    name, data = drawn
    parser = builders_parsers.parsers()[name]
    try:
        parser.parse(data)
    except parser.errors as refused:
        sentence = str(refused)
    else:
        sentence = "It was read."
    assert sentence.rstrip().endswith((".", ")"))


REGRESSIONS = json.loads((HERE / "regressions.json").read_text("utf-8"))


def data_of(one: dict[str, Any]) -> bytes:
    """Return a kept input: pieces of text, each so many times, or compressed bytes."""
    if "zlib" in one:
        return zlib.decompress(base64.b64decode(one["zlib"]))
    return "".join(text * count for text, count in one["parts"]).encode()


@pytest.mark.parametrize(
    "one", REGRESSIONS, ids=[f"{one['parser']}: {one['what']}" for one in REGRESSIONS]
)
def test_what_once_broke_a_parser_is_refused(one: dict[str, Any]) -> None:
    """Found by these campaigns and mended: refused with a sentence, and at once."""
    parser = builders_parsers.parsers()[one["parser"]]
    begun = time.process_time()
    with pytest.raises(parser.errors):
        parser.parse(data_of(one))
    assert time.process_time() - begun < SECONDS_MAX


def test_a_long_name_of_a_device_is_still_a_name() -> None:
    """Found here: a mark was put before a name after it was cut, and it was too long again."""
    builders_parsers.parsers()["name of a file"].parse(b"con." + b"t" * 300)
    builders_parsers.parsers()["name of a file"].parse(b"con .txt")


# The harness is able to fail


def _own(parse: Callable[[bytes], object], *seeds: bytes) -> Parser:
    return Parser("planted", parse, seeds)


def test_a_missing_check_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: headers are not closed objects any more, and a missing field is a KeyError."""
    monkeypatch.setattr(fields, "closed", lambda *_: None)
    with pytest.raises(Broken, match=r"KeyError|TypeError"):
        campaign(builders_parsers.parsers()["header"], 10_000)


def test_an_error_of_another_family_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a key ring's roles are not looked at before they are used."""
    monkeypatch.setattr(keyfile, "one_of", lambda value, _words, _what: value)
    with pytest.raises(Broken, match="ValueError"):
        campaign(builders_parsers.parsers()["key ring, inside"], 10_000)


def test_deep_nesting_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: strict JSON without its limit of depth, in a reader that is written plainly."""

    def deep(value: object) -> int:
        return 1 + max(map(deep, value), default=0) if isinstance(value, list) else 0

    parser = _own(lambda data: deep(json.loads(data)), b'{"a":[1]}', b"[]")
    parser = Parser(
        "planted", parser.parse, parser.seeds, (ValueError,), (b"[" * 900 + b"]" * 900,)
    )
    with pytest.raises(Broken, match="RecursionError"):
        campaign(parser, 10_000)


def test_what_takes_memory_is_seen() -> None:
    """Planted: as many bytes as a length announces are taken before anybody counts what is there."""

    def greedy(data: bytes) -> object:
        size = int.from_bytes(data[:4], "big")
        taken = b"\1" * min(size, 1 << 28)
        return envelope.parse(taken[:0] + data[4:])

    seed = b"\0\0\0\1" + b.letter().envelope
    with pytest.raises(Broken, match=r"took [0-9]+ bytes"):
        campaign(_own(greedy, seed), 10_000)


def test_what_is_kept_is_seen() -> None:
    """Planted: a cache that forgets nothing."""
    kept: list[bytes] = []

    def hoarding(data: bytes) -> object:
        kept.append(data * 8)
        return directory.unpack(data)

    with pytest.raises(Broken, match="kept for ever"):
        campaign(_own(hoarding, builders_parsers.parsers()["packed directory"].seeds[0]), 10_000)


def test_what_hangs_is_seen() -> None:
    """Planted: a pattern that tries every way to cut a word."""
    pattern = re.compile(rb'"(?:[a-z]+)+"\Z')

    def slow(data: bytes) -> object:
        statement.decode(data)
        return any(pattern.match(data[start : end - 1] + b"!") for start, end in spans(data))

    with pytest.raises(Broken, match="took 1 s and more"):
        campaign(_own(slow, b'{"word":"and"}'), 10_000)


def test_the_same_inputs_on_every_machine() -> None:
    """Inputs follow from the parser's name alone, and they are not all alike."""
    parser = builders_parsers.parsers()["header"]
    made = list(inputs(parser, 1000))
    assert made == list(inputs(parser, 1000))
    assert len(set(made)) > 900


# Coverage-guided


def _guided(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", str(HERE / "guided.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def test_guided_by_coverage_every_parser_keeps_its_manners() -> None:
    """Inputs that are built on what reached new lines: no parser breaks."""
    ran = _guided("--all", "--runs", str(GUIDED))
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert len(re.findall(r"coverage +[0-9]+", ran.stdout)) == len(NAMES)


def test_guided_by_coverage_finds_what_chance_does_not() -> None:
    """A fault four steps deep: not one of 10,000 mutants meets it, coverage leads there step by step."""

    def planted(data: bytes) -> object:
        if data[:4] == bytes((0xC5, 0xB2, 0x1B, 0x9D)):
            raise KeyError
        return data

    assert campaign(_own(planted, bytes(8)), 10_000).refused == 0
    ran = _guided("planted fault", "--runs", "1000000")
    assert ran.returncode == 1
    assert "KeyError: 'planted'" in ran.stdout
