"""What the relay says to its operator: JSON lines on standard error, and nothing secret in them.

A list of allowed keys, not of forbidden ones: a key that nobody thought of is blanked. What is left is a word, a
number or a short sentence, and any long run of letters and digits inside a sentence (a token, a key, an identifier) is
blanked too. The same line is not repeated without end: after a few of one kind in a minute the rest are only counted.
"""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from relay.repetition import Repetition

Event = MutableMapping[str, Any]

KEYS = frozenset(
    {
        "at",
        "level",
        "event",
        "text",
        "code",
        "reason",
        "address",
        "port",
        "path",
        "desk",
        "endpoint",
        "kind",
        "result",
        "origin",
        "service",
        "version",
        "python",
        "epoch",
        "count",
        "seconds",
        "bytes",
        "limit",
        "suppressed",
        "source",
        "signal",
        "exception",
        "where",
    }
)
"""What a line may say. Everything else is written as its name alone."""

BLANK = "[blanked]"
TEXT_CHARACTERS_MAX = 400
FRAMES_MAX = 12

_RUN = re.compile(r"[A-Za-z0-9_+/=-]{28,}")
"""Longer than any word, shorter than any token, key, seed or identifier in any spelling used here."""


def blank(text: str) -> str:
    """Return *text* without anything that looks like a token, key or identifier, cut to a readable length."""
    return _RUN.sub(BLANK, text)[:TEXT_CHARACTERS_MAX]


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [blank(one) for one in value[:FRAMES_MAX]]
    return BLANK


def only_known_keys(logger: WrappedLogger, method: str, event: Event) -> Event:
    """Keep the keys of :data:`KEYS` with blanked values; of any other key keep nothing but that there was one."""
    found: dict[str, Any] = {}
    for key, value in event.items():
        if key == "path" and isinstance(value, str):
            found[key] = value[
                :TEXT_CHARACTERS_MAX
            ]  # the operator's own folders, by the operator's own words
        elif key in KEYS:
            found[key] = _plain(value)
        else:
            found["blanked"] = found.get("blanked", 0) + 1
    return found


def where(error: BaseException) -> dict[str, Any]:
    """Return an exception's type and the places that it came through; its message may hold anything and stays out."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return {
        "exception": type(error).__name__,
        "where": [
            f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames
        ],
    }


def _exception(logger: WrappedLogger, method: str, event: Event) -> Event:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event.update(where(error))
    return event


class Stamp:
    """Adds the time, as seconds UTC, from the relay's clock."""

    def __init__(self, now: Callable[[], int]) -> None:
        """Take the clock."""
        self._now = now

    def __call__(self, logger: WrappedLogger, method: str, event: Event) -> Event:
        """Add ``at``."""
        return {"at": self._now(), **event}


def build(
    now: Callable[[], int], *, stream: TextIO | None = None, level: int = logging.INFO
) -> FilteringBoundLogger:
    """Return the relay's logger: JSON lines to *stream* (standard error), allow-listed, bounded in repetition."""
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            Repetition(now),
            _exception,
            only_known_keys,
            Stamp(now),
            structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    return log


class Bridge(logging.Handler):
    """Carries what libraries log (asyncio, aiohttp) over to the relay's own lines: name and level, never their text."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        """Write to *log*."""
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a library's text may quote a request, so only its source and its exception are kept."""
        found: Mapping[str, Any] = {}
        error: BaseException | None = None
        kind: (
            tuple[type[BaseException], BaseException, TracebackType | None]
            | tuple[None, None, None]
            | None
        )
        kind = record.exc_info
        if kind is not None and kind[1] is not None:
            error = kind[1]
            found = where(error)
        self._log.warning(
            "a library reports",
            source=record.name,
            kind=record.levelname,
            code=record.name,
            **found,
        )


def bridge(log: FilteringBoundLogger) -> Callable[[], None]:
    """Send the standard library's logging to *log*; return what undoes it."""
    handler, root = Bridge(log), logging.getLogger()
    root.addHandler(handler)
    return lambda: root.removeHandler(handler)
