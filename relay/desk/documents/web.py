"""A page as HTML: static, complete in itself, without script, and fit for printing into a court's file.

Everything that comes from elsewhere is escaped. The marks of isolation become ``<bdi>``; free text
carries its language, so that a screen reader and a hyphenator know it.
"""

from collections.abc import Iterator
from html import escape

from relay.desk.documents.page import Page
from relay.desk.documents.wording import FSI, LRI, PDI, direction

_STYLE = """
body { font: 11pt/1.4 "Noto Sans", "Noto Sans Arabic", "Noto Sans SC", sans-serif; margin: 2em auto; max-width: 60em; }
h1 { font-size: 1.3em; } .notice { border: 1px solid; padding: .4em .8em; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #999; padding: .25em .5em; text-align: start; vertical-align: top; }
th[scope=row] { width: 32%; font-weight: normal; } th[scope=rowgroup] { padding-top: 1em; }
td.free { white-space: pre-wrap; }
@page { size: A4; margin: 2cm; } @media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is loaded, nothing runs: not even what a mistake here would let through."""


def html(found: Page) -> str:
    """Return a page as one HTML document."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Page) -> Iterator[str]:
    language = escape(found.language, quote=True)
    yield "<!DOCTYPE html>"
    yield f'<html lang="{language}" dir="{direction(found.language)}">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield f"<title>{escape(_unmarked(found.title))}</title>"
    yield f"<style>{_STYLE}</style>"
    yield "</head>"
    yield "<body>"
    yield f"<h1>{marked(found.title)}</h1>"
    for notice in found.notices:
        yield f'<p class="notice">{marked(notice)}</p>'
    yield "<table>"
    above: tuple[str, ...] = ()
    for cell in found.cells:
        *groups, leaf = cell.labels
        if groups and tuple(groups) != above:
            heading = " / ".join(marked(group) for group in groups)
            yield f'<tr><th scope="rowgroup" colspan="2">{heading}</th></tr>'
        above = tuple(groups)
        where = ""
        if cell.free:
            where = f' class="free" lang="{escape(found.written_in, quote=True)}" dir="auto"'
        yield f'<tr><th scope="row">{marked(leaf)}</th><td{where}>{marked(cell.text)}</td></tr>'
    yield "</table>"
    yield "</body>"
    yield "</html>"


def marked(text: str) -> str:
    """Return text as HTML: escaped, its isolated pieces in ``<bdi>``."""
    return (
        escape(text, quote=True)
        .replace(LRI, '<bdi dir="ltr">')
        .replace(FSI, "<bdi>")
        .replace(PDI, "</bdi>")
    )


def _unmarked(text: str) -> str:
    return text.translate({ord(mark): None for mark in (LRI, FSI, PDI)})
