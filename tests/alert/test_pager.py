"""The pager over a real store: nothing is lost, nobody is drowned, and what is settled wakes nobody."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from builders_alert import NOW

from keys import suite
from keys.errors import Failed
from relay.alert import pager as pagers
from relay.alert.page import Page, Result, Woken, Word
from relay.alert.pager import ATTEMPTS_MAX, LEASE_S, Pager, backoff
from relay.server import logs
from relay.store.base import Change, Committed, PageRow
from relay.store.memory import MemoryStore

DAY = 86_400


@dataclass
class Clock:
    """A clock that stands where a test puts it."""

    at: int = NOW

    def now(self) -> int:
        """Return the time that was set."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds go by."""
        self.at += max(1, round(seconds))
        await asyncio.sleep(0)


@dataclass
class Phone:
    """A channel in memory that does what a test says: each result is used once, the last one for ever."""

    name: str = "webhook"
    seconds: float = 15.0
    says: list[Result | BaseException | asyncio.Event] = field(default_factory=list)
    rang: list[Page] = field(default_factory=list)

    async def send(self, page: Page) -> Result:
        """Ring."""
        self.rang.append(page)
        answer = (
            (self.says.pop(0) if len(self.says) > 1 else self.says[0])
            if self.says
            else Result(Word.SENT)
        )
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return Result(Word.SENT)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass
class Numbers:
    """What the pager reported."""

    attempts: list[tuple[str, str]] = field(default_factory=list)
    firsts: list[tuple[str, float]] = field(default_factory=list)
    oldest: int = 0

    def paged(self, channel: str, result: str, seconds: float, now: int) -> None:
        """Note an attempt."""
        self.attempts.append((channel, result))

    def first_page(self, priority: str, seconds: int) -> None:
        """Note a first page."""
        self.firsts.append((priority, seconds))

    def pager_turned(self, now: int, oldest: int) -> None:
        """Note a turn."""
        self.oldest = oldest


class Night:
    """A store, a pager, phones, and the messages that want somebody woken."""

    def __init__(self) -> None:
        """Map AU's duty and chief, VN's duty."""
        self.store = MemoryStore()
        self.clock = Clock()
        self.numbers = Numbers()
        self.phones = {("AU", "duty"): Phone(), ("AU", "chief"): Phone(), ("VN", "duty"): Phone()}
        self.second = Phone("email")
        self.unreached: list[tuple[str, int, int]] = []
        self.told: list[tuple[str, int, int]] = []
        self.senders: dict[str, str] = {}
        self.written = io.StringIO()
        self.pager = self.start()

    def start(self, outbox: Any = None) -> Pager:
        """Return a pager as a process that has just begun."""

        async def sender(msg: str) -> str:
            return self.senders[msg]

        async def unreachable(msg: str, stage: int, now: int) -> None:
            self.unreached.append((msg, stage, now))

        async def paged(msg: str, stage: int, now: int) -> None:
            self.told.append((msg, stage, now))

        woken = {
            key: Woken(*key, "en", (phone, self.second) if key == ("AU", "chief") else (phone,))
            for key, phone in self.phones.items()
        }
        self.pager = Pager(
            outbox or self.store,
            woken,
            self.clock,
            self.numbers,
            logs.build(self.clock.now, stream=self.written),
            sender=sender,
            paged=paged,
            unreachable=unreachable,
        )
        return self.pager

    async def want(
        self,
        label: str,
        *handles: str,
        desk: str = "AU",
        sender: str = "FR",
        priority: str = "urgent",
        mode: str = "actual",
        kind: str = "backstop",
        expires: int = DAY,
    ) -> str:
        """Let a message want pages of one stage; return its id."""
        msg = suite.sha256(label.encode()).hex()
        self.senders[msg] = sender
        rows = tuple(
            PageRow(
                id=suite.sha256(f"{msg}:1:{handle}:{kind}".encode()).hex(),
                msg=msg,
                desk=desk,
                handle=handle,
                stage=1,
                kind=kind,
                priority=priority,
                mode=mode,
                created=self.clock.at,
                expires=self.clock.at + expires,
                not_before=self.clock.at,
            )
            for handle in handles or ("duty",)
        )
        answer = await self.store.commit(Change(msg, 0, label.encode(), pages=rows, open=1))
        assert isinstance(answer, Committed)
        return msg

    async def settle(self, msg: str) -> None:
        """Let a person acknowledge: the message is closed, its pages are taken back."""
        await self.store.commit(Change(msg, 1, b"settled", unpage=True, open=0))

    async def turn(self, after: int = 0) -> None:
        """Let *after* seconds go by, turn once, and wait for what is under way."""
        self.clock.at += after
        await self.pager.turn()
        await self.pager.settle()

    async def states(self, msg: str) -> list[tuple[str, str]]:
        """Return state and result of a message's pages."""
        return [(row.state, row.result) for row in await self.store.pages(msg)]

    def rang(self, desk: str = "AU", handle: str = "duty") -> list[Page]:
        """Return what rang there."""
        return self.phones[desk, handle].rang


@pytest.fixture
async def night() -> Night:
    """Return a quiet night."""
    found = Night()
    await found.store.start(NOW)
    return found


async def test_a_page_goes_out_and_is_noted(night: Night) -> None:
    """One row, one call, one mark; its key is the row's, and no attempt follows."""
    msg = await night.want("one")
    await night.turn(after=3)
    for _each in range(5):
        await night.turn(after=60)

    (page,) = night.rang()
    (row,) = await night.store.pages(msg)
    assert (row.state, row.result, row.attempt) == ("sent", "sent", 1)
    assert (page.key, page.desk, page.priority, page.count, page.repeat) == (
        row.id,
        "AU",
        "urgent",
        1,
        False,
    )
    assert night.numbers.attempts == [("webhook", "sent")]
    assert night.numbers.firsts == [("urgent", 3)]


async def test_nothing_of_the_message_is_in_a_page_or_a_log(night: Night) -> None:
    """Neither id nor sender leaves; the log says where, what kind, the code and the result."""
    msg = await night.want("a-marker-string", sender="FR")
    await night.turn()

    said = repr(night.rang()[0]) + night.written.getvalue()
    assert msg not in said
    assert msg[:12] not in said
    assert "FR" not in said
    assert "a-marker-string" not in said
    assert night.rang()[0].code in night.written.getvalue()
    assert "blanked" not in night.written.getvalue()


# Failure, retry, the end of it


async def test_a_failure_is_tried_again_ever_more_rarely(night: Night) -> None:
    """5, 10, 20 seconds and so on, at most five minutes; nobody has heard it, so no repeat is said."""
    msg = await night.want("one")
    later = Result(Word.FAILED_TEMP, "status 503")
    night.phones["AU", "duty"].says = [later, later, later, Result(Word.SENT)]
    times = []
    for _second in range(60):
        before = len(night.rang())
        await night.turn(after=1)
        if len(night.rang()) > before:
            times.append(night.clock.at - NOW)

    assert times == [1, 6, 16, 36]
    assert [page.repeat for page in night.rang()] == [False] * 4
    assert len({page.key for page in night.rang()}) == 1
    assert await night.states(msg) == [("sent", "sent")]
    assert [backoff(number) for number in (1, 2, 3, 7, 20)] == [5, 10, 20, 300, 300]


async def test_unknown_is_said_again_as_a_repeat(night: Night) -> None:
    """Who may have heard it is told that it is the same page: same key, same code (invariant I6)."""
    await night.want("one", priority="emergency")
    night.phones["AU", "duty"].says = [Result(Word.UNKNOWN), Result(Word.SENT)]
    await night.turn()
    await night.turn(after=5)
    assert len(night.rang()) == 1, "thirty seconds lie between two pages that may both be heard"
    await night.turn(after=30)

    first, again = night.rang()
    assert (first.repeat, again.repeat) == (False, True)
    assert (first.key, first.code) == (again.key, again.code)


async def test_what_may_have_been_heard_stays_so(night: Night) -> None:
    """After an unknown attempt one that surely failed changes nothing: the third says that it is a repeat (I6)."""
    await night.want("one")
    night.phones["AU", "duty"].says = [
        Result(Word.UNKNOWN),
        Result(Word.FAILED_TEMP),
        Result(Word.SENT),
    ]
    for _turn in range(4):
        await night.turn(after=40)

    assert [page.repeat for page in night.rang()] == [False, True, True]


async def test_a_receiver_that_asks_for_time_gets_it(night: Night) -> None:
    """Retry-After counts where it is longer than our own patience."""
    await night.want("one")
    night.phones["AU", "duty"].says = [
        Result(Word.FAILED_TEMP, "status 429", after=50),
        Result(Word.SENT),
    ]
    await night.turn()
    await night.turn(after=49)
    assert len(night.rang()) == 1
    await night.turn(after=1)
    assert len(night.rang()) == 2


async def test_it_ends_after_twenty_attempts(night: Night) -> None:
    """A page does not go round for ever; the end is told like a failure for good (invariant I5)."""
    msg = await night.want("one", expires=7 * DAY)
    night.phones["AU", "duty"].says = [Result(Word.FAILED_TEMP)]
    for _each in range(2 * ATTEMPTS_MAX):
        await night.turn(after=300)

    assert len(night.rang()) == ATTEMPTS_MAX
    assert await night.states(msg) == [("failed", "failed_temp")]
    assert [one[:2] for one in night.unreached] == [(msg, 1)]


async def test_a_page_past_its_time_wakes_nobody(night: Night) -> None:
    """When the message has expired the page ends too."""
    msg = await night.want("one", expires=100)
    await night.turn(after=100)

    assert night.rang() == []
    assert await night.states(msg) == [("expired", "suppressed")]


async def test_the_oldest_late_page_is_reported_until_it_is_gone(night: Night) -> None:
    """An alarm can see that people are not woken; a page taken back is not late any more."""
    begun = night.clock.at
    msg = await night.want("one")
    night.phones["AU", "duty"].says = [Result(Word.FAILED_TEMP)]
    await night.turn()
    await night.turn(after=5)
    assert night.numbers.oldest == begun
    await night.settle(msg)
    for _each in range(8):
        await night.turn(after=60)
    assert night.numbers.oldest == 0


# What is settled, what is lost


async def test_a_page_of_an_acknowledged_message_is_not_sent(night: Night) -> None:
    """Neither one that waits nor one that failed once: both are taken back (invariant I4)."""
    waits = await night.want("waits")
    await night.settle(waits)
    failed = await night.want("failed", "chief")
    night.phones["AU", "chief"].says = [Result(Word.FAILED_TEMP)]
    night.second.says = [Result(Word.FAILED_TEMP)]
    await night.turn()
    await night.settle(failed)
    for _each in range(5):
        await night.turn(after=60)

    assert night.rang() == []
    assert len(night.rang(handle="chief")) == 1
    assert [state for state, _result in await night.states(waits)] == ["cancelled"]
    assert [state for state, _result in await night.states(failed)] == ["cancelled"]


async def test_an_acknowledgement_during_the_call(night: Night) -> None:
    """A call under way ends as it ends; nothing is repeated when its outcome is unknown."""
    msg = await night.want("one")
    night.phones["AU", "duty"].says = [ringing := asyncio.Event(), Result(Word.UNKNOWN)]
    await night.pager.turn()
    await asyncio.sleep(0)
    await night.settle(msg)
    ringing.set()
    await night.pager.settle()
    for _each in range(5):
        await night.turn(after=60)

    assert len(night.rang()) == 1
    assert await night.states(msg) == [("sent", "sent")]


async def test_killed_between_sending_and_noting(night: Night) -> None:
    """The next process sends the same page once more after the lease, and says repeat; then it is noted."""
    msg = await night.want("one", priority="emergency")

    class Dies:
        """An outbox behind which the process dies before anything is noted."""

        def __getattr__(self, name: str) -> Any:
            return getattr(night.store, name)

        async def finish_page(self, *_args: Any) -> bool:
            raise asyncio.CancelledError

    night.start(Dies())
    await night.pager.turn()
    await night.pager.settle()
    assert [state for state, _result in await night.states(msg)] == ["leased"]

    night.start()
    await night.turn(after=LEASE_S - 1)
    assert len(night.rang()) == 1
    await night.turn(after=1)
    first, again = night.rang()
    assert (again.repeat, again.key == first.key) == (True, True)
    assert await night.states(msg) == [("sent", "sent")]


async def test_a_pager_that_slept_past_its_lease_marks_nothing(night: Night) -> None:
    """Two pagers, one frozen in a call: the second sends, and what the first says afterwards does not count."""
    msg = await night.want("one")
    night.phones["AU", "duty"].says = [frozen := asyncio.Event(), Result(Word.UNKNOWN)]
    slow = night.pager
    await slow.turn()
    await asyncio.sleep(0)
    night.start()
    await night.turn(after=LEASE_S)
    assert await night.states(msg) == [("ready", "unknown")]

    frozen.set()
    await slow.settle()
    assert await night.states(msg) == [("ready", "unknown")], "the first one's word came too late"
    assert "lease was lost" in night.written.getvalue()


async def test_a_machine_that_slept_between_lease_and_call(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may hold the page by now: it is not sent, only leased again later."""
    await night.want("one")
    asked = night.pager._sender

    async def slept(msg: str) -> str:
        night.clock.at += LEASE_S
        return await asked(msg)

    monkeypatch.setattr(night.pager, "_sender", slept)
    await night.turn()
    assert night.rang() == []
    monkeypatch.setattr(night.pager, "_sender", asked)
    await night.turn()
    assert len(night.rang()) == 1


async def test_a_store_that_failed_ends_the_pager(night: Night) -> None:
    """Failed passes through: the relay ends, and starts anew."""
    await night.want("one")

    class Broken:
        """An outbox whose store broke."""

        def __getattr__(self, name: str) -> Any:
            return getattr(night.store, name)

        async def finish_page(self, *_args: Any) -> bool:
            raise Failed("The disk is gone.")

    night.start(Broken())
    await night.pager.turn()
    await night.pager.settle()
    with pytest.raises(Failed, match="The disk is gone"):
        await night.pager.turn()


async def test_a_channel_with_a_fault_of_its_own(night: Night) -> None:
    """An exception is an unknown result, and the other channel's success counts."""
    msg = await night.want("one", "chief")
    night.phones["AU", "chief"].says = [ValueError("a bug")]
    await night.turn()

    assert await night.states(msg) == [("sent", "sent")]
    assert sorted(night.numbers.attempts) == [("email", "sent"), ("webhook", "unknown")]
    assert "a bug" not in night.written.getvalue()


async def test_a_channel_that_forgets_its_time_is_cut_off(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a channel does, a page ends within the lease."""
    msg = await night.want("one")
    phone = night.phones["AU", "duty"]
    phone.says, phone.seconds = [asyncio.Event()], -0.95
    await night.turn()

    assert await night.states(msg) == [("ready", "unknown")]


async def test_stopping_lets_a_call_end_and_begins_no_other(night: Night) -> None:
    """Drain: what was handed over is noted, what waits stays for the next process."""
    first = await night.want("first")
    night.phones["AU", "duty"].says = [ringing := asyncio.Event()]
    await night.pager.turn()
    await asyncio.sleep(0)
    second = await night.want("second", desk="VN")
    draining = asyncio.ensure_future(night.pager.drain())
    await asyncio.sleep(0)
    await night.pager.turn()
    assert not draining.done()
    ringing.set()
    await draining

    assert await night.states(first) == [("sent", "sent")]
    assert await night.states(second) == [("ready", "")]


async def test_run_turns_until_it_is_cancelled(night: Night) -> None:
    """The loop finds what comes later; cancelled, it leaves no call behind."""
    running = asyncio.ensure_future(night.pager.run())
    await night.want("one")
    while not night.rang():  # noqa: ASYNC110 - rounds of the loop, not time
        await asyncio.sleep(0)
    await night.want("two", desk="VN")
    night.phones["VN", "duty"].says = [asyncio.Event()]
    while not night.rang("VN"):  # noqa: ASYNC110 - the same
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert night.pager._under_way == set()


# Nobody there


async def test_when_every_page_of_a_stage_fails_for_good_the_ladder_hears_of_it(
    night: Night,
) -> None:
    """Only when the last handle is given up, and once."""
    msg = await night.want("one", "duty", "chief")
    night.phones["AU", "duty"].says = [Result(Word.FAILED_PERM)]
    night.phones["AU", "chief"].says = [Result(Word.FAILED_TEMP), Result(Word.FAILED_PERM)]
    night.second.says = [Result(Word.FAILED_PERM)]
    await night.turn()
    assert night.unreached == []
    await night.turn(after=5)
    assert night.unreached == [(msg, 1, night.clock.at)]
    for _each in range(4):
        await night.turn(after=60)
    assert len(night.unreached) == 1


async def test_one_channel_is_enough(night: Night) -> None:
    """A handle whose first channel is dead for good is reached by its second."""
    msg = await night.want("one", "chief")
    night.phones["AU", "chief"].says = [Result(Word.FAILED_PERM)]
    await night.turn()

    assert await night.states(msg) == [("sent", "sent")]
    assert night.unreached == []


async def test_a_handle_that_leads_nowhere(night: Night) -> None:
    """It fails at once, is counted, and a stage with no other handle is passed by."""
    msg = await night.want("one", "nobody")
    await night.turn()

    assert await night.states(msg) == [("failed", "failed_perm")]
    assert night.numbers.attempts == [("none", "failed_perm")]
    assert [one[:2] for one in night.unreached] == [(msg, 1)]


async def test_a_stage_with_one_that_was_reached_is_not_unreachable(night: Night) -> None:
    """Somebody was paged: the ladder keeps its times."""
    await night.want("one", "duty", "nobody")
    await night.turn()

    assert len(night.rang()) == 1
    assert night.unreached == []


# Order, digest, rate


async def test_emergencies_first(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that wait the most pressing are begun first, whenever they came."""
    monkeypatch.setattr(pagers, "LEASE_MAX", 1)
    monkeypatch.setattr(pagers, "LEASES_PER_TURN_MAX", 1)
    await night.want("routine", priority="routine")
    await night.want("urgent", "chief")
    await night.want("emergency", desk="VN", priority="emergency")
    order = []
    for _each in range(3):
        await night.turn()
        order.append([len(night.rang("VN")), len(night.rang(handle="chief")), len(night.rang())])

    assert order == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


async def test_what_waited_while_nobody_was_there_becomes_one_page(night: Night) -> None:
    """After downtime people get one digest: how many, and how old the oldest."""
    msgs = [
        await night.want(f"one of {number}", sender="FR" if number % 2 else "DE")
        for number in range(4)
    ]
    night.clock.at += 1320
    msgs.append(await night.want("just now"))
    await night.turn()

    (page,) = night.rang()
    assert (page.count, page.oldest) == (5, 22)
    assert page.key not in {row.id for msg in msgs for row in await night.store.pages(msg)}
    for msg in msgs:
        assert await night.states(msg) == [("sent", "sent")]


async def test_half_a_minute_lies_between_two_pages(night: Night) -> None:
    """What comes in between is gathered; another endpoint is another matter."""
    await night.want("first")
    await night.turn()
    late = [await night.want(f"late {number}") for number in range(2)]
    await night.want("elsewhere", desk="VN")
    await night.turn(after=2)
    assert (len(night.rang()), len(night.rang("VN"))) == (1, 1)
    assert ("webhook", "suppressed") in night.numbers.attempts
    await night.turn(after=27)
    assert len(night.rang()) == 1
    await night.turn(after=1)
    assert night.rang()[1].count == 2
    assert not night.rang()[1].repeat, "what was put off was never said"
    assert [await night.states(msg) for msg in late] == [[("sent", "sent")]] * 2


async def test_the_first_page_of_an_emergency_does_not_wait(night: Night) -> None:
    """It goes out within the half minute too, and takes along what waits at that moment."""
    await night.want("first")
    await night.turn()
    await night.want("emergency", priority="emergency")
    await night.turn(after=2)

    assert [page.priority for page in night.rang()] == ["urgent", "emergency"]


async def test_emergencies_do_not_push_the_others_away(night: Night) -> None:
    """One emergency after the other does not move the half minute of what is less pressing."""
    await night.want("first")
    await night.turn()
    await night.want("urgent")
    await night.turn(after=1)
    for number in range(3):
        await night.want(f"emergency {number}", priority="emergency", sender=f"S{number}")
        await night.turn(after=9)
    assert [page.priority for page in night.rang()] == ["urgent", *["emergency"] * 3]
    await night.turn(after=2)

    assert (night.rang()[-1].priority, night.clock.at) == ("urgent", NOW + 30)


async def test_a_flood_of_one_sender_becomes_a_digest(night: Night) -> None:
    """Three a minute go out one by one; what is beyond them waits and becomes one page (PROTOCOL 11.10)."""
    for number in range(40):
        await night.want(f"flood {number}", priority="emergency", sender="ZZ")
        await night.turn(after=1)
    rung = len(night.rang())
    for _each in range(300):
        await night.turn(after=1)

    assert rung == pagers.PER_MINUTE + 1, "one more has come back into the bucket meanwhile"
    assert len(night.rang()) == rung + 1
    assert night.rang()[-1].count == 40 - rung


async def test_nobodys_emergency_waits_behind_anothers_flood(night: Night) -> None:
    """The rate is one sender's, one recipient's, one priority's: all others ring at once."""
    for number in range(20):
        await night.want(f"flood {number}", priority="emergency", sender="ZZ")
        await night.turn(after=1)
    before = len(night.rang())
    await night.want("honest", priority="emergency", sender="FR")
    await night.turn(after=1)

    assert len(night.rang()) == before + 1


async def test_an_exercise_is_never_mixed_with_what_is_real(night: Night) -> None:
    """Two pages: whoever hears an exercise must not believe that it was all."""
    await night.want("real")
    await night.want("drill", mode="exercise")
    await night.turn()
    await night.turn(after=30)

    assert sorted((page.mode, page.count) for page in night.rang()) == [
        ("actual", 1),
        ("exercise", 1),
    ]


async def test_a_failed_call_does_not_use_up_the_half_minute(night: Night) -> None:
    """Nobody was rung, so the next page need not wait for it."""
    await night.want("first")
    night.phones["AU", "duty"].says = [Result(Word.FAILED_TEMP), Result(Word.SENT)]
    await night.turn()
    await night.want("second")
    await night.turn(after=1)

    assert [page.count for page in night.rang()] == [1, 1]


async def test_a_large_flood_is_one_page(night: Night) -> None:
    """More than one lease's worth of one endpoint still goes out as one, and no number runs over."""
    for number in range(pagers.LEASE_MAX + 20):
        await night.want(f"flood {number}", sender=f"S{number}")
    await night.turn(after=60)

    (page,) = night.rang()
    assert (page.count, page.oldest) == (99, 1)


async def test_rates_are_not_remembered_for_ever(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of senders has a bound."""
    monkeypatch.setattr(pagers, "RATES_MAX", 8)
    for number in range(30):
        await night.want(f"one of {number}", sender=f"S{number}")
    await night.turn()

    assert len(night.pager._rates) == 8


async def test_a_quiet_night_costs_little(night: Night) -> None:
    """An idle pager reads the end of an index, and writes nothing."""
    asked: dict[str, int] = {}

    class Counting:
        """An outbox that counts its calls."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            asked[name] = asked.get(name, 0) + 1
            found: Callable[..., Any] = getattr(night.store, name)
            return found

    night.start(Counting())
    for _each in range(100):
        await night.turn(after=1)

    assert asked == {"next_page": 200}
