"""Texts with arguments: the part of ICU MessageFormat that this room needs.

``{name}`` is replaced by an argument; ``{n, plural, =0 {none} one {# day} other {# days}}`` chooses
by :mod:`relay.desk.documents.plural`, and ``#`` in a branch is the number. Branches may hold further
arguments. An apostrophe is an apostrophe: there is no quoting, and no text here needs a literal
brace or #.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from relay.desk.documents.plural import category

Part = str | tuple[str] | tuple[str, tuple[tuple[str, tuple["Part", ...]], ...]]
"""Literal text; (argument,); or (argument, branches), a branch being (selector, parts)."""

_NAME = re.compile(r"\s*([a-z_]+)\s*")
_SELECTOR = re.compile(r"\s*(=[0-9]+|zero|one|two|few|many|other)\s*\{")


@lru_cache(maxsize=4096)
def parsed(template: str) -> tuple[Part, ...]:
    """Return the parts of a template; ValueError if it is not well formed."""
    parts, end = _parts(template, 0)
    if end != len(template):
        raise ValueError(f"A brace is closed that was not opened: {template}")
    return parts


def _parts(text: str, at: int) -> tuple[tuple[Part, ...], int]:
    found: list[Part] = []
    begun = at
    while at < len(text) and text[at] != "}":
        if text[at] != "{":
            at += 1
            continue
        if at > begun:
            found.append(text[begun:at])
        part, at = _argument(text, at + 1)
        found.append(part)
        begun = at
    if at > begun:
        found.append(text[begun:at])
    return tuple(found), at


def _argument(text: str, at: int) -> tuple[Part, int]:
    match = _NAME.match(text, at)
    if match is None:
        raise ValueError(f"An argument has no name: {text}")
    name, at = match[1], match.end()
    if text[at : at + 1] == "}":
        return (name,), at + 1
    head = re.compile(r",\s*plural\s*,").match(text, at)
    if head is None:
        raise ValueError(f"Only plural is known here: {text}")
    at = head.end()
    branches: list[tuple[str, tuple[Part, ...]]] = []
    while chosen := _SELECTOR.match(text, at):
        inner, at = _parts(text, chosen.end())
        if text[at : at + 1] != "}":
            raise ValueError(f"A branch is not closed: {text}")
        branches.append((chosen[1], inner))
        at += 1
    at += len(text[at:]) - len(text[at:].lstrip())
    if text[at : at + 1] != "}" or not branches:
        raise ValueError(f"A plural is not closed, or has no branch: {text}")
    return (name, tuple(branches)), at + 1


def arguments(template: str) -> frozenset[str]:
    """Return the names of all arguments of a template."""
    names: set[str] = set()

    def walk(parts: tuple[Part, ...]) -> None:
        for part in parts:
            if isinstance(part, tuple):
                names.add(part[0])
                for _selector, inner in part[1] if len(part) == 2 else ():
                    walk(inner)

    walk(parsed(template))
    return frozenset(names)


def plurals(template: str) -> list[frozenset[str]]:
    """Return the selectors of each plural of a template, outermost first."""
    found: list[frozenset[str]] = []

    def walk(parts: tuple[Part, ...]) -> None:
        for part in parts:
            if isinstance(part, tuple) and len(part) == 2:
                found.append(frozenset(selector for selector, _ in part[1]))
                for _selector, inner in part[1]:
                    walk(inner)

    walk(parsed(template))
    return found


def formatted(
    template: str,
    given: Mapping[str, object],
    language: str,
    put: Callable[[object], str] = str,
) -> str:
    """Return a template with its arguments in place; *put* turns an argument into text.

    KeyError where an argument is missing; a plural needs a whole number.
    """

    def walk(parts: tuple[Part, ...], number: str) -> str:
        found = []
        for part in parts:
            if isinstance(part, str):
                found.append(part.replace("#", number) if number else part)
            elif len(part) == 1:
                found.append(put(given[part[0]]))
            else:
                value = given[part[0]]
                if not isinstance(value, int) or isinstance(value, bool):
                    raise TypeError(f"{part[0]} is no whole number, but a plural asks for it")
                found.append(walk(_branch(part[1], value, language), str(value)))
        return "".join(found)

    return walk(parsed(template), "")


def _branch(
    branches: tuple[tuple[str, tuple[Part, ...]], ...], value: int, language: str
) -> tuple[Part, ...]:
    by = dict(branches)
    for selector in (f"={value}", category(language, value), "other"):
        if selector in by:
            return by[selector]
    return branches[-1][1]
