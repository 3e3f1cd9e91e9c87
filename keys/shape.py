"""Checks of the shape of strict JSON values: closed objects, bounded lists, texts and integers (PROTOCOL 6.1).

Each takes the value and what it is called, returns it typed, or raises E_ENCODING with a sentence.
"""

import re
from collections.abc import Collection
from typing import Any, NoReturn

from keys.errors import Code, Refused


def refuse(what: str) -> NoReturn:
    """Raise E_ENCODING with a sentence about what is wrong."""
    raise Refused(Code.E_ENCODING, f"This is not as the protocol wants it: {what}.")


def closed(value: object, names: Collection[str] | None, what: str) -> dict[str, Any]:
    """Return an object with exactly these names; None leaves the names to somebody who looks later."""
    if not isinstance(value, dict):
        refuse(f"{what} is not an object")
    if names is not None and value.keys() != set(names):
        odd = ", ".join(sorted(value.keys() ^ set(names)))
        refuse(f"{what} has unknown or missing fields ({odd})")
    return value


def listed(value: object, what: str, most: int) -> list[Any]:
    """Return a list of at most *most* values."""
    if not isinstance(value, list) or len(value) > most:
        refuse(f"{what} is not a list of at most {most}")
    return value


def text(value: object, what: str, most: int, *, empty: bool = True) -> str:
    """Return a text of at most *most* characters."""
    if not isinstance(value, str) or len(value) > most or not (value or empty):
        refuse(f"{what} is not a text of at most {most} characters")
    return value


def matching(value: object, pattern: re.Pattern[str], what: str) -> str:
    """Return a text that matches a pattern."""
    if not isinstance(value, str) or not pattern.match(value):
        refuse(what)
    return value


def one_of(value: object, words: Collection[str], what: str) -> str:
    """Return one of the words of a closed list."""
    if not isinstance(value, str) or value not in words:
        refuse(f"{what} is not one of {', '.join(words)}")
    return value


def integer(value: object, what: str, *, least: int = 0) -> int:
    """Return an integer that is not less than *least*; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        refuse(f"{what} is not an integer of at least {least}")
    return value
