"""The fixed texts: complete, short, and equally long where it matters."""

import re
from pathlib import Path

import pytest
from builders_alert import page_for

from relay.alert import texts
from relay.alert.page import ALPHABET, code_of, key_of, page_of
from relay.store.base import PageRow
from relay.wire import fields
from relay.wire.envelope import MODES, PRIORITIES

LANGUAGES = ("ar", "en", "es", "fr", "ru", "vi", "zh")


def test_the_languages() -> None:
    """English and Vietnamese, and the other official languages of the United Nations."""
    assert texts.languages() == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_every_text_is_there_short_and_filled_up(language: str, priority: str) -> None:
    """Each shape has a text of one line and at most 70 signs, and all of them one width in bytes."""
    page = page_for(language=language, priority=priority)
    shapes = list(texts.variants(page))
    said = [texts.text(one) for one in shapes]

    assert all(len(one.encode("utf-16-le")) // 2 <= texts.SIGNS_MAX for one in said), max(
        said, key=len
    )
    assert all(page.code in one and fields.line(one) for one in said)
    assert len({len(texts.padded(one).encode()) for one in shapes}) == 1
    assert len(set(said)) == len(MODES) * 2 * (1 + 2 * 3)
    assert {texts.padded(one).rstrip() for one in shapes} == set(said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_priorities_and_modes_can_be_told_apart(language: str) -> None:
    """No two priorities begin alike, and each mode but the real one has its mark in front."""
    heads = {texts.text(page_for(language=language, priority=one))[:6] for one in PRIORITIES}
    plain = texts.text(page_for(language=language))

    assert len(heads) == len(PRIORITIES)
    for mode in ("exercise", "test"):
        marked = texts.text(page_for(language=language, mode=mode))
        assert marked != plain
        assert marked.endswith(plain)


def test_a_text_says_nothing_else() -> None:
    """The sentences have room for a code, a number and minutes, and for nothing more."""
    written = (Path(texts.__file__).parent / "texts.json").read_text("utf-8")
    places = set(re.findall(r"\{(\w+)\}", written))
    assert places == {"code", "count", "minutes"}


def test_codes_can_be_read_aloud() -> None:
    """Six signs of an alphabet without look-alikes; a page's code follows from its key alone."""
    assert not set(ALPHABET) & set("01IO")
    assert len(set(ALPHABET)) == 32
    for number in range(200):
        code = code_of(f"{number * 7_919_001:08x}" + "0" * 56)
        assert fields.page_code(code)
    assert code_of("0" * 64) == "222222"
    assert code_of("f" * 64) == "ZZZZZZ"


def row(number: int, **changes: object) -> PageRow:
    """Return a row of the outbox."""
    plain: dict[str, object] = {
        "id": f"{number:064x}",
        "msg": f"{number:064x}",
        "desk": "AU",
        "handle": "duty",
        "stage": 0,
        "kind": "path",
        "priority": "urgent",
        "mode": "actual",
        "created": 1000,
        "expires": 9000,
    }
    return PageRow(**{**plain, **changes})  # type: ignore[arg-type]


def test_a_digest_speaks_for_its_members() -> None:
    """The highest priority, the number, the oldest; its key depends on who is in it and not on their order."""
    rows = [row(1), row(2, priority="emergency", created=400), row(3, priority="routine")]
    page = page_of(rows, "en", 1000, repeat=False)

    assert (page.priority, page.count, page.oldest) == ("emergency", 3, 10)
    assert page.key == page_of(rows[::-1], "en", 2000, repeat=True).key
    assert page.key not in {one.id for one in rows}
    assert page.key != key_of([one.id for one in rows[:2]])
    assert page_of(rows[:1], "en", 1000, repeat=False).key == rows[0].id


def test_a_request_counts_once() -> None:
    """Two stages of one request that waited together are one request that waits, and that is what a person is told."""
    both = [row(1), row(2, msg=row(1).msg, stage=1, kind="backstop")]
    assert page_of(both, "en", 1000, repeat=False).count == 1


def test_numbers_stay_within_their_places() -> None:
    """A hundred is said as ninety-nine, three days as 999 minutes, and a clock that went back as none."""
    page = page_of([row(number) for number in range(150)], "en", 1000 + 300_000, repeat=False)

    assert (page.count, page.oldest) == (99, 999)
    assert page_of([row(1)], "en", 10, repeat=False).oldest == 0
