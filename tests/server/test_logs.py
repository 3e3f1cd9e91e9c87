"""Lines for the operator: only what is allowed, nothing that looks like a secret, and not the same for ever."""

import asyncio
import io
import json
import logging
from typing import Any

import pytest
from builders_door import NOW

from keys import suite
from keys.statement import b64u
from relay import repetition
from relay.server import logs

SECRET = bytes(range(100, 132))


class Minute:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Stand at NOW."""
        self.at = NOW

    def now(self) -> int:
        """Return the time that was set."""
        return self.at


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was written, read back."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_and_event() -> None:
    """One object a line, with the relay's time in seconds UTC."""
    stream = io.StringIO()
    logs.build(lambda: NOW, stream=stream).info("ready", port=8424, address="127.0.0.1")

    assert lines(stream) == [
        {"address": "127.0.0.1", "at": NOW, "event": "ready", "level": "info", "port": 8424}
    ]


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "key",
        "seed",
        "passphrase",
        "body",
        "statement",
        "handle",
        "officer",
        "msg",
        "sid",
        "kid",
        "signature",
        "envelope",
    ],
)
def test_a_key_that_nobody_allowed_is_blanked(key: str) -> None:
    """Neither the key nor its value is written: only that there was one."""
    stream = io.StringIO()
    logs.build(lambda: NOW, stream=stream).warning("something", **{key: "vn-01 said: hello"})

    assert lines(stream)[0]["blanked"] == 1
    assert "hello" not in stream.getvalue()
    assert f'"{key}"' not in stream.getvalue()


@pytest.mark.parametrize(
    "spelling",
    [SECRET.hex(), b64u(SECRET), suite.kid_of(bytes(31) + b"x"), SECRET.hex().upper(), "A" * 28],
)
def test_what_looks_like_a_key_is_blanked_inside_a_sentence(spelling: str) -> None:
    """Hex, base64url, identifiers: a long run of letters and digits does not pass, under no key."""
    stream = io.StringIO()
    log = logs.build(lambda: NOW, stream=stream)
    said = f"event with {spelling}"
    log.error(said, text=f"The key {spelling} is wrong.", where=[spelling])

    assert spelling not in stream.getvalue()
    assert lines(stream)[0]["text"] == f"The key {logs.BLANK} is wrong."


def test_bytes_and_objects_are_blanked() -> None:
    """A value that is no word, number or sentence is not written at all, whatever its key."""
    stream = io.StringIO()
    log = logs.build(lambda: NOW, stream=stream)
    log.error("odd", text=SECRET, code={"a": "deep secret"}, reason=[b"deep secret"])

    assert "secret" not in stream.getvalue()
    assert {lines(stream)[0][key] for key in ("text", "code", "reason")} == {logs.BLANK}


def test_an_exception_says_where_and_not_what() -> None:
    """Type and places; its message and its variables may hold anything and stay out."""
    stream = io.StringIO()
    log = logs.build(lambda: NOW, stream=stream)
    try:
        raise ValueError("the passphrase is swordfish")  # noqa: TRY301
    except ValueError:
        log.exception("a call failed")

    (line,) = lines(stream)
    assert line["exception"] == "ValueError"
    assert line["where"][0].startswith("test_logs.py:")
    assert "swordfish" not in stream.getvalue()


def test_the_same_line_is_not_written_for_ever() -> None:
    """Five of a kind in a minute; the next minute's first says how many were left out. Kinds count apart."""
    stream, minute = io.StringIO(), Minute()
    log = logs.build(minute.now, stream=stream)
    for _each in range(1000):
        log.info("connect refused", code="E_AUTH")
    log.info("connect refused", code="E_SIGNER")
    assert len(lines(stream)) == repetition.REPEATS_MAX + 1
    minute.at += repetition.REPEAT_S
    log.info("connect refused", code="E_AUTH")

    assert lines(stream)[-1]["suppressed"] == 1000 - repetition.REPEATS_MAX


def test_kinds_that_are_remembered_are_bounded() -> None:
    """An attacker cannot make the relay remember without end what it has said."""
    kept = repetition.Repetition(lambda: NOW, kinds_max=10)
    for number in range(100):
        kept(None, "info", {"event": f"kind {number}"})

    assert len(kept) == 10


def test_levels_below_the_one_chosen_are_not_written() -> None:
    """`level` of the configuration is what it says."""
    stream = io.StringIO()
    log = logs.build(lambda: NOW, stream=stream, level=logging.WARNING)
    log.info("quiet")
    log.warning("loud")

    assert [line["event"] for line in lines(stream)] == ["loud"]


async def test_what_libraries_say_comes_without_their_words() -> None:
    """A warning of asyncio or aiohttp becomes a line with its source; its text may quote a request and stays out."""
    stream = io.StringIO()
    undo = logs.bridge(logs.build(lambda: NOW, stream=stream))
    try:
        logging.getLogger("aiohttp.server").error("bad request: Authorization: Bearer swordfish")
        asyncio.get_running_loop().call_exception_handler({"message": "swordfish"})
    finally:
        undo()
    logging.getLogger("aiohttp.server").info("nobody listens any more")

    assert [line["source"] for line in lines(stream)] == ["aiohttp.server", "asyncio"]
    assert "swordfish" not in stream.getvalue()
