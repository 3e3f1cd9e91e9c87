"""Plural categories of whole numbers in the seven languages, after Unicode CLDR (cardinal rules).

For a whole number n, CLDR's operands are i = n and v = 0 (no fraction), so its rules become:

====  =====  =====  =====  ==========================  ==========================  =====
lang  zero   one    two    few                         many                        other
====  =====  =====  =====  ==========================  ==========================  =====
ar    n=0    n=1    n=2    n%100=3..10                 n%100=11..99                else
en           n=1                                                                   else
es           n=1                                       n!=0 and n%1000000=0        else
fr           n=0,1                                     n!=0 and n%1000000=0        else
ru           n%10=1,       n%10=2..4, n%100!=12..14    else                        (fractions)
             n%100!=11
vi, zh                                                                             all
====  =====  =====  =====  ==========================  ==========================  =====
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

CATEGORIES = ("zero", "one", "two", "few", "many", "other")


def _arabic(number: int) -> str:
    if number in {0, 1, 2}:
        return CATEGORIES[number]
    rest = number % 100
    if 3 <= rest <= 10:
        return "few"
    return "many" if rest >= 11 else "other"


def _russian(number: int) -> str:
    last, rest = number % 10, number % 100
    if last == 1 and rest != 11:
        return "one"
    return "few" if 2 <= last <= 4 and not 12 <= rest <= 14 else "many"


def _romance(*ones: int) -> Callable[[int], str]:
    def rule(number: int) -> str:
        if number in ones:
            return "one"
        return "many" if number and number % 1_000_000 == 0 else "other"

    return rule


RULES: Mapping[str, Callable[[int], str]] = MappingProxyType(
    {
        "ar": _arabic,
        "en": lambda number: "one" if number == 1 else "other",
        "es": _romance(1),
        "fr": _romance(0, 1),
        "ru": _russian,
        "vi": lambda number: "other",
        "zh": lambda number: "other",
    }
)

NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ar": CATEGORIES,
        "en": ("one", "other"),
        "es": ("one", "other"),
        "fr": ("one", "other"),
        "ru": ("one", "few", "many"),
        "vi": ("other",),
        "zh": ("other",),
    }
)
"""Categories that a text of a language must spell out; `many` of es and fr falls back to `other`."""


def category(language: str, number: int) -> str:
    """Return the plural category of a whole number; English rules for an unknown language."""
    return RULES.get(language, RULES["en"])(abs(number))
