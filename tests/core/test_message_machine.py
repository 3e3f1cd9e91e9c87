"""Whatever happens to a message in whatever order: facts only grow, and the law's words stay true.

The ladder climbs beside it, looked at as often or as seldom as chance wants: no stage twice, none early, none closer than
the gap unless something hurried it, none after a person's word (invariants I1 to I4).
"""

from builders_ladder import GAP, HANDLES, climb, plan_of, profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keys.errors import Refused
from relay.core.escalation import BACKSTOP, EXHAUSTED
from relay.core.events import (
    Accepted,
    Arm,
    Attested,
    Disarm,
    Page,
    Received,
    Replaced,
    Unpage,
    Unreached,
    Waiting,
)
from relay.core.message import EXPIRE, Message, Outcome, expired, open_message, rung, step, timers

START = 1_900_000_000
KINDS = ("delivered", "failed", "progress", "acknowledged", "declined", "closed", "withdrawn")


class Life(RuleBasedStateMachine):
    """One message under any sequence of receipts, repeats, expiry and replacement."""

    def __init__(self) -> None:
        super().__init__()
        origin = Accepted(
            *("m" * 64, "VN", "AU", "AU-B", "urgent", "actual", START, START + 900, START + 4000),
            *(1, "h", "d", "s", "a", "", START),
        )
        mine = profile()
        mine["urgent"]["stages"][1]["handles"].append("unmapped")
        plan = plan_of("urgent", mine, accepted=START, ack_by=START + 900)
        outcome = open_message(origin, plan)
        self.message: Message = outcome.message
        self.armed: dict[str, Arm] = {}
        self.arm(outcome)
        self.pages: set[Page] = set()
        self.fired: list[tuple[int, int, str]] = []
        """Stage, when, and what hurried it."""
        self.now = START
        self.waiting = 1
        self.disarmed = False
        self.seen: list[Received] = []
        self.skipped = False

    def arm(self, outcome: Outcome) -> None:
        """Keep timers as a store does: what goes first, then what comes."""
        for effect in outcome.effects:
            if isinstance(effect, Disarm):
                self.armed.pop(effect.kind, None)
        for effect in outcome.effects:
            if isinstance(effect, Arm):
                self.armed[effect.kind] = effect

    def take(self, outcome: Outcome) -> None:
        """Check what must hold for every step, then go on with its result."""
        before, after = self.message, outcome.message
        assert after.facts[: len(before.facts)] == before.facts
        assert before.settled <= after.settled
        for effect in outcome.effects:
            if isinstance(effect, Waiting):
                self.waiting += effect.change
            elif effect == Disarm(EXPIRE):
                self.disarmed = True
            elif isinstance(effect, Page):
                assert effect not in self.pages
                self.pages.add(effect)
        if before.open and not after.open and before.ladder:
            assert Unpage() in outcome.effects
        self.arm(outcome)
        self.message = after

    @rule(
        kind=st.sampled_from(KINDS),
        desk=st.sampled_from(("AU", "VN", "FR", "AU-B")),
        seconds=st.integers(0, 400),
    )
    def receipt(self, kind: str, desk: str, seconds: int) -> None:
        """A desk signs something."""
        self.now += seconds
        until = self.now + seconds
        event = Received(kind, f"sid{len(self.seen)}", desk, "k", self.now, self.now, until=until)
        self.seen.append(event)
        try:
            self.take(step(self.message, event))
        except Refused:
            backup = desk == "AU-B" and not self.message.engaged
            assert desk == "FR" or backup or (kind == "withdrawn") != (desk == "VN")

    @rule(which=st.integers(0, 50))
    def repeat(self, which: int) -> None:
        """A statement that was taken in comes again."""
        taken = [event for event in self.seen if self.message.holds(event.sid)]
        if taken:
            outcome = step(self.message, taken[which % len(taken)])
            assert outcome.message is self.message
            assert outcome.effects == ()

    @rule(seconds=st.integers(0, 400), mapped=st.booleans())
    def look(self, seconds: int, *, mapped: bool) -> None:
        """The relay looks at the ladder after a while, perhaps a long one, with or without a pager."""
        self.now += seconds
        reachable = HANDLES if mapped else ()
        while (due := rung(self.message, self.now, reachable)) is not None:
            ladder = self.message.ladder
            assert ladder is not None
            hurry = due.cause if due.cause in ("declined", "unreachable") else ""
            planned = ladder.plan.stages[due.stage].due
            assert self.now >= planned or hurry or self.skipped
            if due.kind == EXHAUSTED and due.cause != "declined":
                assert self.now >= planned
            last = [at for _stage, at, _hurry in self.fired]
            if last and not hurry and not self.skipped:
                assert self.now - last[-1] >= GAP
            if not due.passed_over:
                self.fired.append((due.stage, self.now, hurry))
            self.take(climb(self.message, self.now, reachable))
            self.skipped = due.passed_over and due.kind == BACKSTOP
            if not due.passed_over:
                break

    @rule(stage=st.integers(0, 3))
    def given_up(self, stage: int) -> None:
        """The pager says that no page of a stage can arrive."""
        self.take(step(self.message, Unreached(stage, self.now)))

    @rule()
    def deadline(self) -> None:
        """The relay looks at the clock, as its timer makes it do."""
        if expired(self.message, self.now):
            self.take(step(self.message, Attested("expired", "expired", self.now)))

    @rule()
    def replaced(self) -> None:
        """The sender sealed it anew."""
        self.take(step(self.message, Replaced("n" * 64, self.now)))

    @invariant()
    def counted_out_once(self) -> None:
        """The waiting count is 1 while nobody has it, then 0, and never less."""
        assert self.waiting == (1 if self.message.waiting else 0)

    @invariant()
    def the_timer_lives_while_it_is_needed(self) -> None:
        """The expiry timer is dropped exactly when the message is settled or has expired."""
        assert self.disarmed == (self.message.settled or self.message.first("expired") is not None)

    @invariant()
    def what_is_armed_is_what_must_be(self) -> None:
        """The timers that the effects left are those that the law names: one ladder timer, or none (I2)."""
        assert set(self.armed.values()) == set(timers(self.message))

    @invariant()
    def each_stage_once_in_order_and_none_after_the_end(self) -> None:
        """Stages stand among the facts in their order, each once, and none behind a person's word (I1, I4)."""
        stages = [one.stage for one in self.message.facts if one.kind in ("escalated", "exhausted")]
        assert stages == list(range(len(stages)))
        ended = False
        for fact in self.message.facts:
            assert not (ended and fact.kind in ("escalated", "exhausted"))
            ended = ended or fact.kind in ("acknowledged", "closed", "withdrawn", "expired")

    @invariant()
    def late_means_after_the_negative(self) -> None:
        """A fact is late if and only if it is positive and stands behind an expiry or the end of the ladder."""
        negative = False
        for fact in self.message.facts:
            assert fact.late == (negative and fact.kind in ("delivered", "acknowledged", "closed"))
            negative = negative or fact.kind in ("expired", "exhausted")

    @invariant()
    def survives_the_store(self) -> None:
        """The state reads back as it was written."""
        assert Message.decode(self.message.encode()) == self.message


TestLife = Life.TestCase
