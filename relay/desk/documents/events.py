"""What a document means for the life of a request: one value for each, for whoever replays a matter.

Pure and tolerant: any document that verified can be read, complete or not; what it does not say is
empty here. The names of events stand in the schema files (``x-event``); README lists them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from relay.desk.documents import schema as schemas
from relay.desk.documents.reading import at, block, day, integer, listed, rows, text

_SINCE = ("preserved_from", "frozen_from", "released_at", "sent_at", "received_at", "decided_at")
_UNTIL = ("preserved_until", "granted_until", "requested_until", "held_until", "frozen_until")
_DUE = (
    "answer_by",
    "written_by",
    "expected_decision_at",
    "expected_at",
    "wished_by",
    "custody_until",
    "until",
)
_OUTCOME = (
    "outcome",
    "ground",
    "cause",
    "decision",
    "reason",
    "reception",
    "state",
    "effect",
    "value",
)
_REFERENCE = ("mla_ticket", "mla_reference", "order_reference", "desk_ticket", "replaced_by")
_HELD = frozenset({"PRESERVED", "FROZEN"})
_WAITING = frozenset({"PENDING", "FREEZE-PENDING"})


@dataclass(frozen=True, slots=True)
class Result:
    """What was decided on one item. Times are seconds UTC, None where the document has none."""

    item: int
    state: str
    """``held``, ``pending``, ``not_held`` or ``refused``."""
    since: int | None = None
    until: int | None = None
    cause: str = ""
    """A code of ``cannot_execute`` or ``refusal``."""


@dataclass(frozen=True, slots=True)
class Event:
    """One document as an event in the life of a request."""

    name: str
    """As ``x-event`` says; "" for a kind that this desk does not know."""
    kind: str
    by: str
    """Who writes it: ``requesting``, ``requested``, ``either`` or ``own``."""
    at: int | None
    """When it was written, by its own word; what counts is when it arrived."""
    items: tuple[int, ...] | None
    """The items that it is about, from 1; None = the whole request."""
    results: tuple[Result, ...] = ()
    since: int | None = None
    until: int | None = None
    due: int | None = None
    """By when the other side is expected to act."""
    clock: str = ""
    """The clock that it starts for the other side, a name of ``clocks.json``."""
    paused: bool = False
    """Whether it says that nothing goes on before the other side has answered."""
    interim: tuple[int | None, int | None] | None = None
    """From when until when data are held meanwhile; None = they are not."""
    outcome: str = ""
    """The code that says what was decided."""
    reference: str = ""
    answers: tuple[str, ...] = ()
    """The kinds that it can answer."""


def read(kind: str, document: Mapping[str, object]) -> Event:
    """Return what a document means; an unknown kind gives an event without a name."""
    if kind not in schemas.kinds():
        return Event("", kind, "either", at(document, "at"), None)
    shape = schemas.load(kind)
    scoped = document.get("scope") == "ITEMS" or (
        "scope" not in document and _numbers(document, "items")
    )
    since, until = _time(document, _SINCE), _time(document, _UNTIL)
    return Event(
        name=str(shape.get("x-event", "")),
        kind=kind,
        by=str(shape["x-from"]),
        at=at(document, "at") or at(document, "date_of_request"),
        items=_numbers(document, "items") if scoped else _opened(shape, document),
        results=tuple(_results(document, since, until)),
        since=since,
        until=until,
        due=_time(document, _DUE),
        clock=str(shape.get("x-clock", "")),
        paused=_paused(kind, document),
        interim=_interim(kind, document),
        outcome=_first(document, tuple(name for name in _OUTCOME if _coded(shape, name))),
        reference=_first(document, _REFERENCE),
        answers=tuple(shape.get("x-answers", ())),
    )


def _time(document: Mapping[str, object], names: tuple[str, ...]) -> int | None:
    return next((found for name in names if (found := at(document, name)) is not None), None)


def _first(document: Mapping[str, object], names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := text(document, name))), "")


def _coded(shape: Mapping[str, Any], name: str) -> bool:
    return "x-codes" in shape["properties"].get(name, {})


def _numbers(document: Mapping[str, object], key: str) -> tuple[int, ...]:
    found = listed(document, key)
    return tuple(one for one in found if isinstance(one, int) and not isinstance(one, bool))


def _opened(shape: Mapping[str, object], document: Mapping[str, object]) -> tuple[int, ...] | None:
    if shape.get("x-event") != "opened":
        return None
    name = "assets" if "assets" in document else "items"
    return tuple(range(1, len(listed(document, name)) + 1)) or (1,)


def _results(
    document: Mapping[str, object], since: int | None, until: int | None
) -> Iterator[Result]:
    for name, number in (("items", "item"), ("assets", "asset")):
        for _path, row in rows(document, name):
            item, result = integer(row, number), text(row, "result")
            if item is None or not result:
                continue
            if result in _HELD:
                own = at(row, "preserved_from"), at(row, "preserved_until")
                yield Result(item, "held", own[0] or since, own[1] or until)
            elif result in _WAITING:
                yield Result(item, "pending", until=at(row, "expected_at"))
            else:
                yield Result(item, "not_held", cause=text(row, "cause"))
    if document.get("kind") in ("refusal", "cannot_execute"):
        state = "refused" if document["kind"] == "refusal" else "not_held"
        for item in _numbers(document, "items"):
            yield Result(item, state, cause=_first(document, ("ground", "cause")))


def _paused(kind: str, document: Mapping[str, object]) -> bool:
    if kind == "info_request":
        return any(row.get("blocking") is True for _path, row in rows(document, "questions"))
    return kind == "postponement" or document.get("waits") is True


def _interim(kind: str, document: Mapping[str, object]) -> tuple[int | None, int | None] | None:
    if document.get("interim_measure_taken") is True:
        measure = block(document, "interim")
        return at(measure, "from"), at(measure, "until")
    if document.get("interim_preservation") is True:
        return at(document, "at"), at(document, "interim_until")
    return None


def expected(document: Mapping[str, object]) -> int | None:
    """Return the end of the day by which a request for mutual legal assistance is expected."""
    for name in (
        "mla_expected_by",
        "planned_by",
        "extradition_expected_by",
        "follow_up_expected_by",
    ):
        found = day(document.get(name))
        if found is not None:
            return found
    return None
