"""The fixed texts of pages, and how they are made equally long.

A text depends on priority, language, mode, and on whether several wait or it is said again; nothing else goes in but a
number of requests, minutes, and the code. Whoever sees a page's length learns priority and language, and no more.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from relay.alert.page import Page
from relay.wire.envelope import MODES, PRIORITIES
from relay.wire.receipt import PAGE_COUNT_MAX, PAGE_MINUTES_MAX

SIGNS_MAX = 70
"""A text of any language fits into one short message of 70 signs."""


@cache
def _texts() -> Mapping[str, Any]:
    texts: Mapping[str, Any] = json.loads(
        resources.files("relay.alert").joinpath("texts.json").read_text("utf-8")
    )
    return texts


def languages() -> tuple[str, ...]:
    """Return the languages that there are texts in, as codes of ISO 639."""
    return tuple(sorted(_texts()))


def text(page: Page) -> str:
    """Return what the person reads or hears: one line, at most 70 signs."""
    words = _texts()[page.language]
    line: str = words[page.priority]["one" if page.count == 1 else "many"]
    said = line.format(code=page.code, count=page.count, minutes=page.oldest)
    mark = words.get(page.mode, "")
    return f"{mark}{said}{words['repeat'] if page.repeat else ''}"


def variants(page: Page) -> Iterator[Page]:
    """Yield a page of each shape that *page* could have had with its priority and language.

    Numbers count by their digits, so these are all the lengths that there are.
    """
    for mode in MODES:
        for repeat in (False, True):
            for count in (1, 9, PAGE_COUNT_MAX):
                for oldest in (9, 99, PAGE_MINUTES_MAX):
                    yield replace(page, mode=mode, repeat=repeat, count=count, oldest=oldest)


@cache
def width(priority: str, language: str) -> int:
    """Return the bytes of UTF-8 to which every text of this priority and language is filled up."""
    blank = Page("0" * 64, "", priority, MODES[0], 1, 0, repeat=False, language=language, at=0)
    return max(len(text(one).encode()) for one in variants(blank))


def padded(page: Page) -> str:
    """Return the text, filled up with spaces to the width of its priority and language."""
    said = text(page)
    return said + " " * (width(page.priority, page.language) - len(said.encode()))


def check() -> None:
    """Raise ValueError if a text is missing or too long: run by tests, whoever adds a language runs it."""
    for language in languages():
        for priority in PRIORITIES:
            blank = Page("0" * 64, "", priority, MODES[0], 1, 0, False, language, 0)
            for one in variants(blank):
                if len(text(one).encode("utf-16-le")) // 2 > SIGNS_MAX:
                    raise ValueError(f"Longer than {SIGNS_MAX} signs: {text(one)!r}")
