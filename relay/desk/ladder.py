"""Where the relay's ladder stands for one message, and in words why: from signed steps alone. Pure.

A desk is not told the relay's plan, it is told each step: `escalated` says what was tried, why, and when the next one
comes; `exhausted` says that nobody's acknowledgement was known at the end, and what became of the pages (PROTOCOL 10).
What the next step is called follows from the recipient's profile as it was frozen (relay.desk.frozen).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from keys.statement import Statement
from relay.core.escalation import BACKSTOP, BACKUP, EXHAUSTED, PATH, Plan
from relay.core.message import Message

DOES: Mapping[str, str] = MappingProxyType(
    {
        PATH: "it is offered again, and paged by another way",
        BACKSTOP: "the desk's backstop is paged",
        BACKUP: "the backup desk is woken, which may open and answer it",
        EXHAUSTED: "the relay signs that nobody acknowledged, and tells whom to call",
        "": "the next step of the relay's ladder",
    }
)
"""What a stage does, by its kind; "" where the profile that it was frozen from is not at hand."""
BECAUSE: Mapping[str, str] = MappingProxyType(
    {
        "timeout": "nobody had acknowledged in time",
        "declined": "a person there declined",
        "unreachable": "nobody could be reached in the step before",
        "empty": "nobody was named for the step before",
        "manual": "by hand",
    }
)
"""Why a stage was reached, by the cause that the relay signed."""
PASSED_OVER: Mapping[str, str] = MappingProxyType(
    {"unreachable": "none of its contacts can be reached", "empty": "nobody is named for it"}
)
"""Why a backstop was passed over; the step behind it comes at the same instant."""
BECAME: Mapping[str, str] = MappingProxyType(
    {
        "sent": "sent",
        "delivered": "delivered",
        "unknown": "perhaps sent",
        "failed_temp": "failed so far",
        "failed_perm": "failed for good",
        "suppressed": "taken back",
        "pending": "not sent yet",
    }
)
"""What became of a page, by the word that the relay signed; a word that is not here is shown as it is."""
UNOPENABLE = "unopenable"
"""The outcome of `exhausted` that is not silence."""


def step(escalated: Mapping[str, Any]) -> str:
    """Return what a step was and why; *escalated*: fields stage, kind, cause, at, next_at."""
    kind, cause = str(escalated["kind"]), str(escalated["cause"])
    head = f"step {int(escalated['stage']) + 1}, {kind}"
    if kind == BACKSTOP and cause in PASSED_OVER and escalated["next_at"] <= escalated["at"]:
        return f"{head}: passed over at once, {PASSED_OVER[cause]}"
    return f"{head}: {DOES[kind]}, because {BECAUSE[cause]}"


def end(exhausted: Mapping[str, Any]) -> str:
    """Return what the end of a ladder proves; *exhausted*: fields outcome, stages."""
    tail = f"{pages(exhausted['stages'])}; delivery goes on, but now telephone"
    if exhausted["outcome"] == UNOPENABLE:
        return (
            "the ladder ended: every device there says that it cannot open the message, "
            f"which is not silence; {tail}"
        )
    return f"the ladder ended and nobody's acknowledgement was known: proof of silence; {tail}"


def paged(said: Mapping[str, Any]) -> str:
    """Return what became of one step's pages; *said*: fields stage, pages, outcomes of `paged`."""
    return f"the relay says: {pages([said])} for step {int(said['stage']) + 1}"


def pages(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return how many pages there were in all steps, and what the relay says became of them."""
    count = sum(int(one["pages"]) for one in stages)
    if not count:
        return "nobody was paged"
    became = Counter(str(word) for one in stages for word in one["outcomes"])
    words = {word: BECAME.get(word, word) for word in [*BECAME, *sorted(became)]}
    known = ", ".join(f"{became[word]} {text}" for word, text in words.items() if became[word])
    return f"{count} page{'s' if count > 1 else ''}" + (f" ({known})" if known else "")


def standing(
    message: Message, climbs: Sequence[Statement], paged: Sequence[Statement], plan: Plan | None
) -> dict[str, Any]:
    """Return where a message's ladder stands, as strict JSON has it; times are seconds UTC, 0 for none.

    *climbs*: the relay's signed steps, in order; *paged*: what it said of their pages. *plan*: the ladder as this desk
    draws it, None if it cannot. Keys: ``steps`` [{stage, kind, cause, at, next_at}], ``next`` {kind, at, hurried, held}
    while something comes, ``deadline``, ``outcome`` ("", silence, unopenable), ``ended`` (when), ``pages`` [{stage, at,
    pages, outcomes}] by stage: what the relay last said of them, or said at the end.
    """
    steps = [
        {name: one[name] for name in ("stage", "kind", "cause", "at", "next_at")}
        for one in climbs
        if one.kind == "escalated"
    ]
    last = climbs[-1] if climbs else None
    over = last is not None and last.kind == "exhausted"
    found: dict[str, Any] = {
        "steps": steps,
        "next": {},
        "deadline": plan.deadline if plan else 0,
        "outcome": last["outcome"] if last is not None and over else "",
        "ended": last["at"] if last is not None and over else 0,
        "pages": list(last["stages"]) if last is not None and over else _latest(paged),
    }
    if message.open and not over:
        found["next"] = _next(message, last, plan)
    return found


def _latest(paged: Sequence[Statement]) -> list[dict[str, Any]]:
    """Return the last word about each stage's pages, by stage."""
    by_stage = {
        one["stage"]: {name: one[name] for name in ("stage", "at", "pages", "outcomes")}
        for one in paged
    }
    return [by_stage[stage] for stage in sorted(by_stage)]


def _next(message: Message, last: Statement | None, plan: Plan | None) -> dict[str, Any]:
    at = last["next_at"] if last is not None else plan.stages[0].due if plan else 0
    stage = last["stage"] + 1 if last is not None else 0
    kind = plan.stages[stage].kind if plan and stage < len(plan.stages) else ""
    sids = [fact.sid for fact in message.facts]
    since = sids.index(last.sid) + 1 if last is not None and last.sid in sids else 0
    heard = {fact.kind for fact in message.facts[since:]}
    return {
        "kind": kind,
        "at": at,
        "hurried": "declined" in heard,
        "held": "progress" in heard and kind != EXHAUSTED,
    }
