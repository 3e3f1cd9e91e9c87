"""Whatever happens to a message in whatever order: facts only grow, and the law's words stay true."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keys.errors import Refused
from relay.core.events import Accepted, Attested, Disarm, Received, Replaced, Waiting
from relay.core.message import EXPIRE, Message, Outcome, expired, open_message, step

START = 1_900_000_000
KINDS = ("delivered", "failed", "progress", "acknowledged", "declined", "closed", "withdrawn")


class Life(RuleBasedStateMachine):
    """One message under any sequence of receipts, repeats, expiry and replacement."""

    def __init__(self) -> None:
        super().__init__()
        origin = Accepted(
            "m" * 64,
            "VN",
            "AU",
            "",
            "urgent",
            "actual",
            START,
            START + 60,
            START + 600,
            1,
            "h",
            "d",
            "s",
            "a",
            "",
            START,
        )
        self.message: Message = open_message(origin).message
        self.now = START
        self.waiting = 1
        self.disarmed = False
        self.seen: list[Received] = []

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
        self.message = after

    @rule(
        kind=st.sampled_from(KINDS),
        desk=st.sampled_from(("AU", "VN", "FR")),
        seconds=st.integers(0, 400),
    )
    def receipt(self, kind: str, desk: str, seconds: int) -> None:
        """A desk signs something."""
        self.now += seconds
        event = Received(kind, f"sid{len(self.seen)}", desk, "k", self.now, self.now)
        self.seen.append(event)
        try:
            self.take(step(self.message, event))
        except Refused:
            assert desk == "FR" or (kind == "withdrawn") != (desk == "VN")

    @rule(which=st.integers(0, 50))
    def repeat(self, which: int) -> None:
        """A statement that was taken in comes again."""
        taken = [event for event in self.seen if self.message.holds(event.sid)]
        if taken:
            outcome = step(self.message, taken[which % len(taken)])
            assert outcome.message is self.message
            assert outcome.effects == ()

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
    def late_means_after_the_negative(self) -> None:
        """A fact is late if and only if it is positive and stands behind an expiry."""
        negative = False
        for fact in self.message.facts:
            assert fact.late == (negative and fact.kind in ("delivered", "acknowledged", "closed"))
            negative = negative or fact.kind == "expired"

    @invariant()
    def survives_the_store(self) -> None:
        """The state reads back as it was written."""
        assert Message.decode(self.message.encode()) == self.message


TestLife = Life.TestCase
