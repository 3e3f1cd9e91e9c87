"""Mutating real input: fast, by fixed dice, with the bounds that every parser is held to (PROTOCOL 16.3, C22).

A :class:`Parser` is a function that takes bytes from elsewhere, with real inputs to begin from. :func:`campaign` feeds
it changed copies: bytes are flipped, cut, repeated and moved, lengths are overwritten with interesting numbers, and
where an input is JSON, whole values are replaced, swapped, removed and doubled so that it stays JSON. The same name
and count give the same inputs on every machine.
"""

import gc
import random
import resource
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keys.errors import Failed, Refused

OURS: tuple[type[Exception], ...] = (Refused, Failed)
"""What a parser may raise; what else is right for one is said beside it."""
SECONDS_MAX = 1.0
"""CPU time after which an input is said to hang."""
KEPT_BYTES_MAX = 48 * 1024 * 1024
"""What the whole process may grow by over one campaign, whatever is cached."""
PEAK_BYTES_MAX, PEAK_FACTOR = 8 * 1024 * 1024, 64
"""What one input may take while it is read: a constant, and so many times its own length."""
WEIGHED_EVERY = 200
"""One input of so many is read under the watch of tracemalloc, which is slow."""
INPUT_BYTES_MAX = 256 * 1024
SENTENCES_MAX = 500

Parse = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Parser:
    """Something that eats bytes from elsewhere."""

    name: str
    parse: Parse = field(repr=False)
    seeds: tuple[bytes, ...] = field(repr=False)
    """Real inputs; the first one must be read."""
    errors: tuple[type[Exception], ...] = OURS
    tokens: tuple[bytes, ...] = ()
    """Bytes that mean something to this one, besides the usual."""


class Broken(AssertionError):
    """A parser did what none may do; *data* is the input that shows it."""

    def __init__(self, parser: str, number: int, data: bytes, what: str) -> None:
        """Say which input of which parser did what."""
        super().__init__(f"{parser}, input {number}: {what}: {data[:400].hex()}")
        self.parser, self.number, self.data, self.what = parser, number, data, what

    def __reduce__(self) -> tuple[type, tuple[str, int, bytes, str]]:
        """Travel between processes."""
        return Broken, (self.parser, self.number, self.data, self.what)


@dataclass(slots=True)
class Outcome:
    """What came of a campaign."""

    parser: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    sentences: int = 0
    """Different sentences with which it was refused, numbers aside: how deep the mutants came."""
    slowest: float = 0.0
    kept: int = 0
    peak: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """Return the outcome for a table."""
        return (
            f"{self.parser:34} {self.inputs:8} inputs {self.inputs / (self.seconds or 1):8.0f}/s"
            f" {self.read:7} read {self.sentences:4} sentences"
            f" slowest {self.slowest * 1000:6.1f} ms kept {self.kept // 1024:6} KiB"
            f" peak {self.peak // 1024:6} KiB"
        )


# Mutation

WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"null", b"1e9", b"-", b"\xff", b"0.5"),
    *(b"\0" * 4, b"\xff" * 4, b"\\ud800", b'"v":1', b"9" * 400, b"[" * 200, b'{"a":' * 60),
    *(
        b"\xef\xbb\xbf",
        b"\r\n",
        b" ",
        b"true",
        b"NaN",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"=",
        b"#",
    ),
    *(
        "\u017f".encode(),
        "\u202e".encode(),
        "\U0001f4de".encode(),
        b"\x1b[2J",
        b"__proto__",
        b"\n\n",
    ),
)
VALUES = (
    *(b"null", b"true", b"false", b"0", b"-1", b"1", b"1.5", b"-0", b"1e400", b"9007199254740991"),
    *(b"9007199254740992", b"1" * 30, b"9" * 5000, b'""', b'"x"', b'"\\u0000"', b'"\\ud800"'),
    *(b"[]", b"{}", b"[[]]", b'{"a":1}', b'["a","a"]', b"[1,1]", b'"AU"', b'"E_BUSY"'),
    *(b'"' + b"a" * 64 + b'"', b'"' + b"f" * 3000 + b'"', b'"\xc3\xa9"', b'"2026-13-01T00:00:00Z"'),
    *(
        b'"0001-01-01T00:00:00Z"',
        b'"9999-12-31T23:59:59Z"',
        b'"AAAA"',
        b'"AB"',
        b"[" * 9 + b"]" * 9,
    ),
    b"[" + b"0," * 3000 + b"0]",
)
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)

Span = tuple[int, int]


def spans(data: bytes) -> list[Span]:
    """Return where the values of a JSON text stand, keys too; [] for what is none."""
    found: list[Span] = []
    opened: list[int] = []
    at, end = 0, len(data)
    while at < end:
        byte = data[at]
        if byte in b"{[":
            opened.append(at)
            at += 1
        elif byte in b"}]":
            if not opened:
                return []
            at += 1
            found.append((opened.pop(), at))
        elif byte == 0x22:
            start, at = at, at + 1
            while at < end and data[at] != 0x22:
                at += 2 if data[at] == 0x5C else 1
            at += 1
            found.append((start, min(at, end)))
        elif byte in b"-0123456789tfn":
            start = at
            while at < end and data[at] not in b",]} \n\r\t":
                at += 1
            found.append((start, at))
        elif byte in b" \t\r\n,:":
            at += 1
        else:
            return []
    return [] if opened else found


class Mutator:
    """Makes inputs out of seeds; what it makes depends on its name alone."""

    def __init__(self, parser: Parser, dice: random.Random) -> None:
        """Look at the seeds once."""
        self._dice = dice
        self._seeds = [(one, spans(one) if one[:1] in {b"{", b"["} else []) for one in parser.seeds]
        self._words = (*WORDS, *parser.tokens)

    def make(self) -> bytes:
        """Return the next input."""
        dice = self._dice
        seed, places = self._seeds[int(dice.random() * len(self._seeds))]
        rounds = (1, 1, 1, 1, 2, 3, 6)[int(dice.random() * 7)]
        if places and dice.random() < 0.7:
            data = self._valued(seed, places)
            rounds -= 1
            if rounds and dice.random() < 0.7 and (again := spans(data)):
                data, rounds = self._valued(data, again), 0
        else:
            data = seed
        if rounds:
            data = self._hurt(data, rounds)
        return data[:INPUT_BYTES_MAX]

    def changed(self, data: bytes) -> bytes:
        """Return *data* changed once."""
        places = spans(data) if data[:1] in {b"{", b"["} else []
        if places and self._dice.random() < 0.7:
            return self._valued(data, places)
        return self._hurt(data, 1)

    def _valued(self, data: bytes, places: list[Span]) -> bytes:
        """Change a JSON text into another one, most of the time."""
        dice = self._dice
        start, end = places[int(dice.random() * len(places))]
        what = dice.random()
        if what < 0.45:
            return data[:start] + VALUES[int(dice.random() * len(VALUES))] + data[end:]
        other_start, other_end = places[int(dice.random() * len(places))]
        if what < 0.7:
            return data[:start] + data[other_start:other_end] + data[end:]
        if what < 0.8:  # once more
            return data[:end] + b"," + data[start:end] + data[end:]
        if what < 0.9:  # without it, and without one comma
            after = end + (data[end : end + 1] == b",")
            return data[: start - (after == end and data[start - 1 : start] == b",")] + data[after:]
        # inside of the value
        at = start + int(dice.random() * (end - start))
        return data[:at] + self._words[int(dice.random() * len(self._words))] + data[at + 1 :]

    def _hurt(self, seed: bytes, rounds: int) -> bytes:
        dice = self._dice
        data = bytearray(seed)
        for _ in range(rounds):
            at = int(dice.random() * (len(data) + 1))
            length = (1, 1, 2, 4, 16, 200)[int(dice.random() * 6)]
            what = int(dice.random() * 10)
            if what == 0:
                data[at : at + 1] = bytes((int(dice.random() * 256),))
            elif what == 1:
                data[at : at + length] = b""
            elif what == 2:
                data[at:at] = dice.randbytes(length)
            elif what == 3:
                data[at:at] = self._words[int(dice.random() * len(self._words))]
            elif what == 4:
                other = int(dice.random() * (len(data) + 1))
                data[at : at + length] = data[other : other + length]
            elif what == 5:
                del data[at:]
            elif what == 6:  # lengths stand near the beginning
                at = int(dice.random() * min(len(data) + 1, 64))
                width = (1, 2, 4)[int(dice.random() * 3)]
                number = NUMBERS[int(dice.random() * len(NUMBERS))] & ((1 << 8 * width) - 1)
                data[at : at + width] = number.to_bytes(width, "big")
            elif what == 7 and at < len(data):
                data[at] ^= 1 << int(dice.random() * 8)
            elif what == 8:
                whole = self._seeds[int(dice.random() * len(self._seeds))][0]
                data[at:] = whole[int(dice.random() * (len(whole) + 1)) :]
            else:
                data[at : at + 1] = self._words[int(dice.random() * len(self._words))]
        return bytes(data)


def inputs(parser: Parser, count: int) -> Iterator[bytes]:
    """Yield the seeds, then so many inputs."""
    yield from parser.seeds
    mutator = Mutator(parser, random.Random(parser.name))
    for _ in range(count):
        yield mutator.make()


# Campaign


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def highest() -> int:
    """Return the most bytes of memory that this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Watch:
    """Which input is being read; one that is still the same at the next tick but one hangs."""

    def __init__(self, parser: str) -> None:
        self.parser, self.number, self.data = parser, -1, b""
        self._seen = -2

    def tick(self, _signal: int, _frame: object) -> None:
        if self._seen == self.number:
            raise Broken(self.parser, self.number, self.data, f"took {SECONDS_MAX:.0f} s and more")
        self._seen = self.number


@contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    """Let CPU time tick: no input is asked twice, so this costs nothing where nothing hangs."""
    before = signal.signal(signal.SIGVTALRM, watch.tick)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_MAX, SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def campaign(parser: Parser, count: int) -> Outcome:
    """Feed a parser its seeds and *count* inputs; :class:`Broken` at the first one that it does not take in manners."""
    parser.parse(parser.seeds[0])
    gc.collect()
    before, began = resident(), time.process_time()
    outcome, said, watch = Outcome(parser.name), set[str](), _Watch(parser.name)
    with _watched(watch):
        for number, data in enumerate(inputs(parser, count)):
            watch.number, watch.data = number, data
            _one(parser, number, data, outcome, said)
    outcome.seconds = time.process_time() - began
    outcome.sentences = len(said)
    gc.collect()
    outcome.kept = max(0, resident() - before)
    if outcome.kept > KEPT_BYTES_MAX:
        raise Broken(parser.name, outcome.inputs, b"", f"{outcome.kept} bytes are kept for ever")
    return outcome


def _one(parser: Parser, number: int, data: bytes, outcome: Outcome, said: set[str]) -> None:
    weighed = number % WEIGHED_EVERY == 0
    if weighed:
        tracemalloc.start()
    most, begun = highest(), time.process_time()
    try:
        parser.parse(data)
    except parser.errors as refused:
        outcome.refused += 1
        if len(said) < SENTENCES_MAX:
            said.add("".join(letter for letter in str(refused)[:160] if not letter.isdigit()))
    except Broken:
        raise
    except Exception as strange:
        raise Broken(parser.name, number, data, f"raised {strange!r}") from strange
    else:
        outcome.read += 1
    finally:
        seconds, took = time.process_time() - begun, highest() - most
        if weighed:
            took = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            outcome.peak = max(outcome.peak, took)
    outcome.inputs += 1
    if took > PEAK_BYTES_MAX + PEAK_FACTOR * len(data):
        raise Broken(parser.name, number, data, f"took {took} bytes")
    if not weighed:
        outcome.slowest = max(outcome.slowest, seconds)
