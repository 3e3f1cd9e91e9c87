"""The judge of a run: it knows what was handed over, what desks and pagers saw, and when the relay was there. Nothing else.

It asks no rule of the product what should have happened: when a stage is due follows here from the recipient's published
profile, and what a sender may expect follows from what he was told. A finding is a sentence that ends with its check
(C1 to C12 of the reference, tests/kill/README.md).
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from builders_keys import World
from kill.history import Entry, History, Letter, Paged, Said
from kill.network import GAP_S, HANDLES, SILENCE_S, STAGES

from keys.statement import Statement, decode, peek
from relay.desk import proof
from relay.wire import receipt

LATE_S = 3.0
"""A stage may be this late beside the time in which no relay was there: whole seconds, and a busy machine."""
PAGE_LATE_S = 4.0
"""... and its page: an attempt takes a second, and the next one comes a second later."""
HANDLES_MAX = 160
"""File handles of one process, in a network of five desks."""
RESIDENT_KIB_MAX = 200 * 1024
LOG_PAGES_MAX = 4000
"""Pages of the store's write-ahead log: what it rests at, and one batch."""
NEAR_MAX = 22
"""Stages among which those of one digest are looked for ..."""
TRIED_MAX = 100_000
"""... and how many choices of them are tried."""
RUNGS = ("escalated", "exhausted")


def judge(history: History, world: World) -> list[str]:
    """Return what is wrong, [] if nothing is."""
    found = list(history.wrong)
    if history.healed:
        found.append(f"not everything came to its end: {history.healed} (C2)")
    found += history.exits
    found += _dense(history)
    found += _shown(history)
    found += _bounds(history)
    for letter in history.letters.values():
        found += [f"{one} {letter.plan} {letter.msg[:10]}" for one in _one(history, letter, world)]
    found += _words(history)
    found += _pages(history, world)
    return list(dict.fromkeys(found))


def _bounds(history: History) -> Iterator[str]:
    for what, value in history.largest.items():
        most = {"handles": HANDLES_MAX, "resident": RESIDENT_KIB_MAX, "log": LOG_PAGES_MAX}
        if value > most[what.rsplit(" ", maxsplit=1)[1]]:
            yield f"{what} grew to {value} (C10)"


def _dense(history: History) -> Iterator[str]:
    for desk, mailbox in history.mailboxes.items():
        by_epoch: dict[int, list[int]] = {}
        for epoch, seq in mailbox:
            by_epoch.setdefault(epoch, []).append(seq)
        if len(by_epoch) > 1:
            yield f"{desk}: the store has another epoch, although it was never lost (C7)"
        for seqs in by_epoch.values():
            if sorted(seqs) != list(range(1, len(seqs) + 1)):
                yield f"{desk}: the mailbox has gaps (C7)"
        twice = [one for one, count in Counter(mailbox.values()).items() if count > 1]
        if twice:
            yield f"{desk}: {twice[0].kind} {twice[0].msg[:10]} stands there twice (C7)"


def _shown(history: History) -> Iterator[str]:
    """Shown once to whoever watched; and everything that is kept was submitted."""
    for desk, msgs in history.shown.items():
        for msg, count in Counter(msgs).items():
            if count > 1:
                yield f"{desk} was shown {msg} {count} times (C3)"
    for desk, kept in history.kept.items():
        ids = {msg[:10] for copies in kept.values() for msg in copies}
        for msg in set(history.shown[desk]) - ids:
            yield f"{desk} was shown {msg}, and does not have it (C3)"
        for sid in kept:
            if sid not in history.letters:
                yield f"{desk} has a message that nobody signed (C4)"
            elif not history.letters[sid].said:
                yield f"{desk} has a message that nobody submitted (C4)"
        texts = Counter(
            sid for sid, copies in kept.items() for msg in copies if msg[:10] in history.shown[desk]
        )
        for sid, count in texts.items():
            if count > 1:
                yield f"{desk} was shown the text {sid[:10]} under {count} ids (C3)"


def _one(history: History, letter: Letter, world: World) -> Iterator[str]:
    """One message: accepted and never missing, delivered or told, "unknown" never called a refusal."""
    to, sender, sid = letter.header.to, letter.header.sender, letter.sid
    arrived = to in history.kept and sid in history.kept[to]
    refused = Said.REJECTED in letter.said or history.states.get(sid) == "refused"
    if refused and (arrived or letter.accepted):
        yield f"{sender} was told of a refusal, and it was taken in (C12)"
    if refused:
        return
    if not letter.taken:
        yield f"{sender} never got an answer (C2)"
        return
    if len(set(letter.accepted)) > 1:
        yield "two acceptances were given for one message (C6)"
    life = _Life(history, letter, world)
    if to == "NZ":
        if (
            "expired" not in life.kinds
        ):  # and silence before that, if the ladder came so far: see below
            yield f"{sender} was not told that nobody answered: {sorted(life.kinds)} (C2)"
    else:
        if letter.msg not in history.handed:
            yield "was accepted, and the relay does not have it (C1)"
        if not arrived:
            yield f"was accepted, and {to} never had it (C1)"
        if "delivered" not in life.kinds:
            yield f"{sender} was not told of its delivery (C2)"
    if sender in history.kept and letter.taken:
        missing = life.kinds - {"submission", "message", "recorded"} - history.held.get(sid, set())
        if missing:
            yield f"{sender}'s desk does not hold what stands in its mailbox: {sorted(missing)} (C6)"
    yield from life.ladder()


@dataclass(slots=True)
class _Rung:
    place: int
    statement: Statement


class _Life:
    """What the sender's mailbox says of one message, in the order in which the relay committed it."""

    def __init__(self, history: History, letter: Letter, world: World) -> None:
        self.history = history
        self.letter = letter
        mailbox = history.mailboxes[letter.header.sender]
        self.entries: list[Entry] = [
            mailbox[at] for at in sorted(mailbox) if mailbox[at].msg == letter.msg
        ]
        self.kinds = {one.kind for one in self.entries}
        key = world.evidence.public
        self.rungs = [
            _Rung(place, receipt.read(one.wire, set(RUNGS), key))
            for place, one in enumerate(self.entries)
            if one.kind in RUNGS
        ]
        self.accepted = next(
            (
                proof.by_relay(wire, {"accepted"}, world.directory(), world.service)
                for wire in letter.accepted
            ),
            None,
        )
        stops = {"acknowledged"} if letter.header.ack_by else {"delivered", "acknowledged"}
        self.settled = next(
            (place for place, one in enumerate(self.entries) if one.kind in stops),
            len(self.entries),
        )

    def _promised(self, begun: int) -> list[tuple[str, int]]:
        """Return what the profile promises of each stage; a deadline that is near draws them together (PROTOCOL 11.9)."""
        header = self.letter.header
        span = min(SILENCE_S, header.ack_by - begun) if header.ack_by else SILENCE_S
        wanted: list[tuple[str, int]] = []
        last = begun
        for kind, after in STAGES:
            if kind != "backup" or header.backup:
                last = max(begun + after * span // SILENCE_S, last + GAP_S)
                wanted.append((kind, last))
        return [*wanted, ("exhausted", max(begun + span, last + GAP_S))]

    def ladder(self) -> Iterator[str]:
        """Each stage once, in order, never early, late only by the time that nobody was there; none after a word."""
        if self.letter.header.mode == "test" or self.accepted is None:
            return
        wanted = self._promised(self.accepted["received"])
        if self.letter.plan == "brief":
            wanted = [one for one in wanted if one[1] < self.letter.header.expires]
        climbed = [one.statement.fields.get("kind", "exhausted") for one in self.rungs]
        if climbed != [kind for kind, _due in wanted][: len(climbed)]:
            yield f"climbed {climbed} (C5)"
            return
        if any(one.place > self.settled for one in self.rungs):
            yield "climbed after a person's word (C5)"
        last = 0
        for one, (kind, due) in zip(self.rungs, wanted, strict=False):
            at = one.statement["at"]
            promised = max(due, last + GAP_S if last else 0)
            if at < promised:
                yield f"{kind} came {promised - at} s early (C5)"
            late = at - promised - self.history.away(promised, at)
            self.history.facts.setdefault("late", []).append(max(0.0, late))
            if late > LATE_S:
                yield f"{kind} came {late:.1f} s late (C5)"
            last = at
        if len(self.rungs) < len(wanted):
            kind, due = wanted[len(self.rungs)]
            due = max(due, last + GAP_S if last else 0)
            until = min(self.history.end, self._over())
            if until - due - self.history.away(due, until) > LATE_S:
                yield f"{kind} never came (C5)"

    def _over(self) -> float:
        """Return when nothing had to climb any more: at a person's word, or at the end of its life."""
        if self.settled == len(self.entries):
            return self.letter.header.expires  # then that is said instead
        word = decode(peek(self.entries[self.settled].wire).payload)
        return min(self.letter.header.expires, int(word["at"]))


def _words(history: History) -> Iterator[str]:
    """Every acknowledgement that was taken reaches its sender: once, the same, and in the same order at both desks."""
    for word in history.words:
        letter = history.letters[word.letter]
        seen = [
            one.sid
            for one in history.mailboxes[letter.header.sender].values()
            if one.kind == "acknowledged" and one.msg == letter.msg
        ]
        if Said.OK in word.said and word.sid not in seen:
            yield f"{word.desk} acknowledged {letter.msg[:10]}, and {letter.header.sender} never heard of it (C6)"
        signed = {one.sid for one in history.words if one.letter == word.letter}
        if set(seen) - signed:
            yield f"an acknowledgement of {letter.msg[:10]} that nobody signed (C6)"
        there = history.mailboxes[letter.header.to]
        other = [
            there[at].sid
            for at in sorted(there)
            if there[at].kind == "acknowledged" and there[at].msg == letter.msg
        ]
        mine = history.mailboxes[letter.header.sender]
        own = [
            mine[at].sid
            for at in sorted(mine)
            if mine[at].kind == "acknowledged" and mine[at].msg == letter.msg
        ]
        if own != other:
            yield f"the two desks of {letter.msg[:10]} saw acknowledgements in another order (C6)"


@dataclass(frozen=True, slots=True)
class _Due:
    """A page that a stage must have brought."""

    key: str
    at: int
    endpoint: str
    needed: bool
    """Whether somebody must have heard it: nobody acknowledged before it could go out."""


def _pages(history: History, world: World) -> Iterator[str]:
    """Every stage woke somebody, every page belongs to a stage, and a second one says that it is one."""
    due = list(_expected(history, world))
    heard: dict[str, float] = {}
    nameless: list[Paged] = []
    known: dict[str, Sequence[str]] = {}
    first: set[str] = set()
    for page in history.pages:
        if page.key in first and not page.repeat:
            yield "a second page did not say that it is one (C5)"
        first.add(page.key)
        near = [one for one in due if one.endpoint == page.endpoint and one.at <= page.at + 1]
        members = known.get(page.key) or _members(page, near, heard)
        if members is None and page.count <= len(near):
            nameless.append(page)
        elif not members:
            yield f"a page for {page.count} came from nowhere (C5)"
        for key in members or ():
            heard.setdefault(key, page.at)
        if members:
            known[page.key] = members
    yield from _heard(history, due, heard, nameless)


def _heard(
    history: History, due: Sequence[_Due], heard: dict[str, float], nameless: Sequence[Paged]
) -> Iterator[str]:
    """*nameless*: digests of so many that their members cannot be found; each speaks for as many stages as it says."""
    left = {id(page): page.count for page in nameless}
    for one in sorted(due, key=lambda one: (not one.needed, one.at)):
        for page in nameless if one.key not in heard else ():
            if page.endpoint == one.endpoint and page.at >= one.at - 1 and left[id(page)]:
                left[id(page)] -= 1
                heard[one.key] = float(one.at)  # when exactly is not known
                break
        if one.key not in heard:
            waited = history.end - one.at - history.away(one.at, history.end)
            if one.needed and waited > PAGE_LATE_S:
                yield f"a stage at {one.endpoint} woke nobody (C5)"
            continue
        late = heard[one.key] - one.at - history.away(one.at, heard[one.key])
        history.facts.setdefault("page late", []).append(max(0.0, late))
        if heard[one.key] < one.at - 1:
            yield "a page came before its stage (C5)"
        if late > PAGE_LATE_S:
            yield f"a page came {late:.1f} s after its stage (C5)"


def _expected(history: History, world: World) -> Iterator[_Due]:
    for letter in history.letters.values():
        if not letter.msg or letter.header.sender not in history.mailboxes:
            continue
        life = _Life(history, letter, world)
        for one in life.rungs:
            if one.statement.kind != "escalated":
                continue
            stage, kind = one.statement["stage"], one.statement["kind"]
            about = f"{letter.msg}:{stage}:{HANDLES[kind]}:{kind}"
            at = one.statement["at"]
            over = letter.header.expires
            for word in history.words:
                if word.letter == letter.sid:
                    over = min(over, _signed_at(history, letter, word.sid))
            key = hashlib.sha256(about.encode()).hexdigest()
            calm = over - at - history.away(at, over) > PAGE_LATE_S
            yield _Due(key, at, f"{letter.header.to}/{HANDLES[kind]}", calm)


def _signed_at(history: History, letter: Letter, sid: str) -> int:
    """Return when a word that reached the sender was signed; the request's end if it never did."""
    for one in history.mailboxes[letter.header.sender].values():
        if one.sid == sid:
            return int(decode(peek(one.wire).payload)["at"])
    return letter.header.expires


def _members(page: Paged, near: Sequence[_Due], heard: Mapping[str, float]) -> Sequence[str] | None:
    """Return the keys of the stages that a page is about: its own, or, for a digest, those whose hash it is.

    None where there are too many among which to look.
    """
    if page.count == 1:
        return [page.key] if any(one.key == page.key for one in near) else ()
    fresh = [one for one in near if one.key not in heard]
    for some in (*_runs(fresh, page.count), *_runs(near, page.count)):
        if _digest(some) == page.key:
            return [one.key for one in some]
    likely = sorted(near, key=lambda one: (one.key in heard, -one.at))[:NEAR_MAX]
    if math.comb(len(likely), page.count) <= TRIED_MAX:
        for choice in itertools.combinations(likely, page.count):
            if _digest(choice) == page.key:
                return [one.key for one in choice]
    return None


def _runs(found: Sequence[_Due], count: int) -> Iterator[Sequence[_Due]]:
    """Yield each run of so many stages in the order of their time: what waits goes out together."""
    ordered = sorted(found, key=lambda one: one.at)
    for start in range(len(ordered) - count, -1, -1):
        yield ordered[start : start + count]


def _digest(some: Sequence[_Due]) -> str:
    return hashlib.sha256("".join(sorted(one.key for one in some)).encode()).hexdigest()
