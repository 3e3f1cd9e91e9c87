"""What a page is, and what came of it. There is no field that could hold content, a case, a person or a message id.

A page is made from rows of the outbox (one, or several as a digest). Its code is for people on the telephone; its key
is for machines, and is the same for every attempt, so that a receiver may drop what it has had.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from keys import suite
from relay.store.base import PageRow, page_rank
from relay.wire.envelope import MODES
from relay.wire.receipt import PAGE_COUNT_MAX, PAGE_MINUTES_MAX

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Thirty-two signs that sound and look different: no 0, 1, I, O."""
CODE_SIGNS = 6


class Word(StrEnum):
    """What came of handing a page to a channel; *suppressed* pages were never handed over."""

    SENT = "sent"
    DELIVERED = "delivered"
    FAILED_TEMP = "failed_temp"
    FAILED_PERM = "failed_perm"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"


BEST_LAST = (Word.FAILED_PERM, Word.FAILED_TEMP, Word.UNKNOWN, Word.SENT, Word.DELIVERED)
"""Of several channels the one that did best speaks for the page; what is unknown may have woken somebody."""


@dataclass(frozen=True, slots=True)
class Result:
    """One channel's result. *why* is for the operator: fixed words and numbers, nothing that was answered."""

    word: Word
    why: str = ""
    after: int = 0
    """Seconds for which the receiver asked to be left alone; 0 if it did not."""


@dataclass(frozen=True, slots=True)
class Page:
    """All that a channel is ever given."""

    key: str
    """64 hex digits; the same for every attempt."""
    desk: str
    """Whose endpoint is paged."""
    priority: str
    mode: str
    count: int
    """Requests that wait, 1 to 99."""
    oldest: int
    """Minutes for which the oldest page has waited, 0 to 999."""
    repeat: bool
    """Whether the same page may have gone out before."""
    language: str
    at: int

    @property
    def code(self) -> str:
        """Six signs by which two people on the telephone can tell pages apart."""
        return code_of(self.key)


class Channel(Protocol):
    """One way to wake somebody. ``send`` never raises and ends within the channel's own time; it may be cancelled."""

    @property
    def name(self) -> str:
        """The kind of channel, as it is counted."""

    @property
    def seconds(self) -> float:
        """The time within which ``send`` ends."""

    async def send(self, page: Page) -> Result:
        """Hand the page over; *unknown* if it may have arrived and nobody can say."""


@dataclass(frozen=True, slots=True)
class Woken:
    """Who stands behind a handle: their language, and every channel to them."""

    desk: str
    handle: str
    language: str
    channels: tuple[Channel, ...]


def code_of(key: str) -> str:
    """Return the short code of a dedup key: its first thirty bits."""
    number = int(key[:8], 16) >> 2
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(CODE_SIGNS)))


def key_of(ids: Sequence[str]) -> str:
    """Return the dedup key of a page about these rows: a row's own, or, for a digest, one of its members."""
    return ids[0] if len(ids) == 1 else suite.sha256("".join(sorted(ids)).encode()).hex()


def page_of(rows: Sequence[PageRow], language: str, now: int, *, repeat: bool) -> Page:
    """Return the one page about *rows*, which are one endpoint's: the highest priority speaks for all."""
    return Page(
        key=key_of([row.id for row in rows]),
        desk=rows[0].desk,
        priority=min((row.priority for row in rows), key=page_rank),
        mode=min((row.mode for row in rows), key=MODES.index),
        count=min(len({row.msg for row in rows}), PAGE_COUNT_MAX),
        oldest=min(max(0, now - min(row.created for row in rows)) // 60, PAGE_MINUTES_MAX),
        repeat=repeat,
        language=language,
        at=now,
    )
