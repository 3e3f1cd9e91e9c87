"""A document as a page: one renderer, two forms, any direction, and nothing that runs."""

import re
from datetime import timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest

from relay.desk.documents import forms, page, web
from relay.desk.documents.wording import FSI, LANGUAGES, LRI, PDI

Form = dict[str, Any]
REFERENCE = "2026-01"


def _page(kind: str, document: Form, language: str, **more: Any) -> page.Page:
    return page.page(page.form_of(forms.body_type(kind)), document, language, **more)


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_page_leaves_nothing_out(kind: str, answers: dict[str, Form]) -> None:
    """Whatever the language, every value is on the page, in both forms, with balanced marks on every line."""
    document = answers[kind]
    for language in LANGUAGES:
        found = _page(kind, document, language)
        lines = list(page.plain(found, 60))
        text, html = "\n".join(lines), web.html(found)
        for line in lines:
            held = 0
            for letter in line:
                held += (letter in (LRI, FSI)) - (letter == PDI)
                assert held >= 0, line
            assert held == 0, line
        bare = re.sub(rf"[\s{LRI}{FSI}{PDI}\u200f]+", "", text)
        for leaf in _texts(document):
            assert re.sub(r"\s+", "", leaf) in bare, leaf
        assert html.count("<bdi") == html.count("</bdi>")


def _texts(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _texts(inner, name)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _texts(inner)]
    return [value] if isinstance(value, str) and key != "kind" else []


def test_a_reference_never_turns_round(answers: dict[str, Form]) -> None:
    """In Arabic, references, times, addresses and codes stand between marks that keep them left to right."""
    document = answers["acceptance"] | {"national_reference": REFERENCE, "desk_ticket": "12/٣-4"}
    found = _page("acceptance", document, "ar")
    text = "\n".join(page.plain(found))
    assert f"{LRI}{REFERENCE}{PDI}" in text
    assert f"{LRI}12/٣-4{PDI}" in text
    assert f"{LRI}{document['preserved_until']}{PDI}" in text
    assert f"{LRI}ORDER{PDI}: " in text
    assert all(line.startswith("\u200f") for line in text.splitlines())
    assert f'<bdi dir="ltr">{REFERENCE}</bdi>' in web.html(found)
    assert '<html lang="ar" dir="rtl">' in web.html(found)


def test_marks_of_a_document_do_not_close_ours(answers: dict[str, Form]) -> None:
    """Marks of direction that a document brings along are shown, and cannot leave their cell."""
    document = answers["refusal"] | {"reason_text": f"a{PDI}{PDI}\u202eb"}
    (cell,) = [one for one in _page("refusal", document, "en").cells if "Reasons" in one.labels]
    assert cell.text == f"{FSI}a���b{PDI}"


def test_free_text_carries_its_language(answers: dict[str, Form]) -> None:
    """What a person wrote is marked with the language of the document, whatever the page's is."""
    document = answers["info_request"] | {"language": "vi"}
    document["questions"][0]["text"] = "Cổng nào?\nVà khi nào?"
    html = web.html(_page("info_request", document, "ru"))
    assert '<td class="free" lang="vi" dir="auto"><bdi>Cổng nào?\nVà khi nào?</bdi></td>' in html
    assert '<html lang="ru" dir="ltr">' in html
    wild = document | {"language": 'x" onload="x'}
    assert "onload" not in re.sub(
        r"<bdi[^>]*>.*?</bdi>", "", web.html(_page("info_request", wild, "ru"))
    )


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_escaped_and_static(answers: dict[str, Form]) -> None:
    """Nothing of a document becomes markup; the page has no script, no link, no image and loads nothing."""
    document = answers["preservation_request"]
    evil = "<script>alert(1)</script><img src=x onerror=y>&\"'"
    document["facts_summary"] = document["national_reference"] = evil
    document[evil] = {evil: evil}
    seen = _Seen()
    html = web.html(_page("preservation_request", document, "fr"))
    seen.feed(html)
    assert seen.open == []
    assert seen.tags == {"html", "head", "meta", "title", "style", "body", "h1", "p", "table", "tr", "th", "td", "bdi"}  # fmt: skip
    assert not [
        name for name in seen.attributes if name.startswith("on") or name in {"src", "href"}
    ]
    assert "default-src 'none'" in html
    assert evil not in html


def test_a_newer_version_is_shown_as_far_as_it_is_understood(answers: dict[str, Form]) -> None:
    """Known fields have their labels, new ones their own name, and the page says so."""
    form = page.form_of("application/vnd.poc24.document.acceptance.v2+json")
    assert (form.kind, form.version, form.known, form.newer) == ("acceptance", 2, True, True)
    found = page.page(form, answers["acceptance"] | {"seal": {"by": "court"}}, "en")
    cells = {cell.labels: cell.text for cell in found.cells}
    assert f"version {FSI}2{PDI}" in found.notices[0]
    assert cells["[seal]", "[by]"] == f"{FSI}court{PDI}"
    assert ("Preserved until",) in cells


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_unknown_kind_is_shown_and_not_dropped(language: str) -> None:
    """A kind of tomorrow is shown field by field, as it came."""
    form = page.form_of("application/vnd.poc24.document.postcard.v1+json")
    assert not form.known
    found = page.page(form, {"kind": "postcard", "greeting": ["hello", {"n": 1}]}, language)
    text = "\n".join(page.plain(found))
    assert "postcard" in text
    assert "hello" in text
    assert found.notices
    assert page.form_of("text/plain").kind == ""


def test_times_are_shown_in_utc_and_in_the_zones_of_those_who_read(
    answers: dict[str, Form],
) -> None:
    """Beside UTC stands the local time of each desk, with its name."""
    zones = [
        ("Asia/Ho_Chi_Minh", timezone(timedelta(hours=7))),
        ("Sydney", timezone(timedelta(hours=11))),
    ]
    document = answers["acceptance"] | {"at": "2026-11-23T18:30:00Z"}
    found = _page("acceptance", document, "en", zones=zones)
    (cell,) = [one for one in found.cells if one.labels == ("Written at",)]
    assert re.sub(rf"[{LRI}{FSI}{PDI}]", "", cell.text) == (
        "2026-11-23T18:30:00Z (2026-11-24 01:30 Asia/Ho_Chi_Minh; 2026-11-24 05:30 Sydney)"
    )
    edge = answers["acceptance"] | {"at": "9999-12-31T23:59:59Z"}
    assert _page("acceptance", edge, "en", zones=zones).cells


def test_a_wrapped_piece_is_isolated_on_each_of_its_lines() -> None:
    """A long value that is wrapped keeps its direction on every line."""
    assert list(page.balanced([f"a {LRI}b {FSI}c", "  d", f"e{PDI}{PDI} f"])) == [
        f"a {LRI}b {FSI}c{PDI}{PDI}",
        f"  {LRI}{FSI}d{PDI}{PDI}",
        f"{LRI}{FSI}e{PDI}{PDI} f",
    ]
