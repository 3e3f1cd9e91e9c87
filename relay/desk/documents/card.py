"""The recipient's card beside a form: what an officer wants to know of a desk before writing to it.

Languages, whether it acts itself or needs a court, for how long it preserves, whether its office is
open now, by what both are bound, and how sure all that is. Values come from the directory's card
(PROTOCOL 8.3); what it does not say is shown as not said.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

from relay.desk.documents import codes
from relay.desk.documents.circumstances import DAY
from relay.desk.documents.reading import block, day, integer, listed, printable, text
from relay.desk.documents.wording import say, word

STALE_DAYS = 120
"""After so many days without a look, a card is no longer trusted without asking."""

Line = tuple[str, str]


def beside(
    card: Mapping[str, object],
    serves: tuple[str, ...],
    now: int,
    *,
    zone: tzinfo | None = None,
    last_drill: int = 0,
    language: str = "en",
) -> list[Line]:
    """Return (label, value) for each thing that a card says about a kind of request.

    *serves* is what the kind asks for (``x-serves``); *now* is seconds UTC; *zone* is that of the
    card's office, where the zone files know it; *last_drill* is when a person there last answered a
    drill or acknowledged a message, 0 = not known.
    """
    found = [
        *_able(card, serves, language),
        (word("Languages", language), ", ".join(_words(card, "languages"))),
        *_lasting(card, language),
        (word("Office", language), _office(card, now, zone, language)),
        (
            word("Requests by telephone", language),
            word("yes" if card.get("oral") is True else "no", language),
        ),
        (word("Treaties", language), _treaties(card)),
        (word("Last answer by a person", language), _ago(last_drill, now, language)),
        (word("Entry verified", language), _verified(card, now, language)),
    ]
    return [(label, value or word("not said", language)) for label, value in found]


def _words(card: Mapping[str, object], key: str) -> list[str]:
    return [printable(str(one)) for one in listed(card, key)]


def _able(card: Mapping[str, object], serves: tuple[str, ...], language: str) -> Iterator[Line]:
    said = {
        text(row, "assistance").lower(): text(row, "capability").lower()
        for row in listed(card, "capabilities")
        if isinstance(row, dict)
    }
    able = {entry.more["card"]: entry for entry in codes.lists()["capability"].values()}
    for entry in codes.lists()["assistance"].values():
        if set(serves) & set(entry.more["serves"]):
            word_ = said.get(entry.more["card"], said.get(entry.code.lower(), ""))
            yield entry.label(language), able[word_].label(language) if word_ in able else ""


def _lasting(card: Mapping[str, object], language: str) -> Iterator[Line]:
    once, renewals = integer(card, "preservation_days") or 0, integer(card, "renewals") or 0
    if once:
        value = say(
            "{once, plural, one {# day} other {# days}}, {renewals, plural, =0 {not renewable} one"
            " {renewable once} other {renewable # times}}",
            once=once,
            renewals=renewals,
        )
        yield word("Preserves for", language), value.into(language)


def _office(card: Mapping[str, object], now: int, zone: tzinfo | None, language: str) -> str:
    office = block(card, "office")
    if not office or zone is None:
        return text(office, "zone")
    here = datetime.fromtimestamp(now, UTC).astimezone(zone)
    try:
        opens, closes = (time.fromisoformat(text(office, name)) for name in ("opens", "closes"))
    except ValueError:
        return text(office, "zone")
    days, holidays = listed(office, "days"), listed(office, "holidays")
    working = here.isoweekday() in days and here.date().isoformat() not in holidays
    is_open = working and opens <= here.time() < closes
    return say(
        "{state}, it is {time} there ({zone}), office {opens} to {closes}",
        state=say("open now") if is_open else say("closed now: only the officer on call answers"),
        time=f"{here:%H:%M}",
        zone=printable(text(office, "zone")),
        opens=f"{opens:%H:%M}",
        closes=f"{closes:%H:%M}",
    ).into(language)


def _treaties(card: Mapping[str, object]) -> str:
    rows = [row for row in listed(card, "treaties") if isinstance(row, dict)]
    return "; ".join(
        printable(" ".join([text(row, "treaty"), text(row, "since"), *_words(row, "reservations")]))
        for row in rows
    )


def _ago(at: int, now: int, language: str) -> str:
    if not at:
        return ""
    days = max(0, now - at) // DAY
    return say("{days, plural, =0 {today} one {# day ago} other {# days ago}}", days=days).into(
        language
    )


def _verified(card: Mapping[str, Any], now: int, language: str) -> str:
    value = text(card, "verified")
    end = day(value)
    if end is None:
        return ""
    old = (datetime.fromtimestamp(now, UTC).date() - date.fromisoformat(value)).days
    if old <= STALE_DAYS:
        return value
    return say("{day}: old, ask whether it still holds", day=value).into(language)
