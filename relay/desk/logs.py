"""What a desk says to whoever runs it: lines on standard error, and nothing of any message in them.

A list of allowed keys, not of forbidden ones: what nobody thought of is left out. On a terminal the
lines are plain, elsewhere each is one JSON object. Commands are silent; they have sentences of
their own.
"""

import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

from relay.desk.documents.reading import printable
from relay.repetition import Repetition

KEYS = frozenset(
    {
        "at",
        "code",
        "count",
        "desk",
        "error",
        "event",
        "kind",
        "level",
        "msg",
        "offset",
        "path",
        "reason",
        "relay",
        "seconds",
        "suppressed",
        "text",
        "version",
        "waiting",
    }
)
"""What a line may say."""
DONE_BY_OTHERS = frozenset(
    {"refused", "skipped", "parked", "attachment", "connected", "disconnected", "control_refused"}
)
"""What a relay, or whoever stands on the way to it, can make happen as often as he likes: counted, not repeated."""
MSG_DIGITS = 10
TEXT_CHARACTERS_MAX = 400

Event = MutableMapping[str, Any]


def _allowed(logger: WrappedLogger, method: str, event: Event) -> Event:
    """Keep known keys, short and printable; a message is named by its first digits only."""
    found: dict[str, Any] = {}
    for key, value in event.items():
        if key not in KEYS:
            continue
        if key == "msg":
            value = str(value)[:MSG_DIGITS]  # noqa: PLW2901 - the same value, shorter
        plain = isinstance(value, bool | int | float)
        found[key] = value if plain else printable(str(value))[:TEXT_CHARACTERS_MAX]
    return found


def _stamped(now: Callable[[], int]) -> Processor:
    def stamp(logger: WrappedLogger, method: str, event: Event) -> Event:
        return {"at": now(), **event}

    return stamp


def _plain(logger: WrappedLogger, method: str, event: Event) -> str:
    head = f"{event.pop('level', 'info')}: {event.pop('event', '')}"
    event.pop("at", None)
    return " ".join([head, *(f"{key}={value}" for key, value in event.items())])


def speak(now: Callable[[], int], *, as_json: bool, level: int = logging.INFO) -> None:
    """Send the desk's log to standard error; *now* tells the time, seconds UTC."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            Repetition(now, of=DONE_BY_OTHERS),
            _stamped(now),
            _allowed,
            structlog.processors.JSONRenderer(sort_keys=True) if as_json else _plain,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log silent for a command, and leave nothing behind."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    library = logging.getLogger("asyncio")
    level = library.level
    library.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        library.setLevel(level)
        structlog.configure(**before)
