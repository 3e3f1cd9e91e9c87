"""One run: processes under load, deaths at chosen and at random moments, new lives; then peace, and the judge."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders_keys import seed
from kill import points
from kill.history import History, Letter, Said
from kill.network import SILENCE_S, Network
from kill.nursery import Life, Nursery
from kill.people import Bulk, Ear, Officers, Pager, shown_in

from keys.errors import Poc24Error
from keys.statement import decode, peek
from relay.desk.archive import Archive

DESKS = ("VN", "AU", "AU-B")
READY_S = 30.0
HEAL_S = 200.0
"""Peace ends as soon as nothing happens any more; a machine that does much else needs this long."""
REACHED_S = 2.5
"""A point that is not reached within this long is not waited for: the process is killed wherever it is."""
TRIES_MAX = 6
"""A point that was not reached is tried again, so often."""
RANDOM_S = 0.7
PLANS = ("prompt", "late", "backup", "never")
LATE_S = 3
GIVEN_UP_S = 20
"""After this long even those who never acknowledge do: late, after the proof of silence."""
CALLED = "while a pager is being called"
"""A point outside of every process: the pager's receiver sees to it."""
STALL_EVERY_S, STALL_S = 0.05, 0.02
OUTSTANDING_MAX = 48
BEHIND_MAX = 20
"""Messages or receipts that wait at a desk: with more than this nobody begins anything, however slow the machine is."""
SHORTLY = 5
"""In a plan with more deaths than this nobody begins what takes long once no point is left to be reached."""
CALM = 6
"""Looks in a row in which nothing has changed."""


@dataclass(frozen=True, slots=True)
class Load:
    """Seconds between two of a kind; 0: none."""

    bulk: float = 0.15
    emergencies: float = 1.0
    sends: float = 0.6
    nobody: float = 3.0
    brief: float = 3.0
    plans: tuple[str, ...] = PLANS


@dataclass(slots=True)
class Story:
    """A network in a folder, its processes and people."""

    network: Network
    nursery: Nursery
    pager: Pager
    history: History
    dice: random.Random
    load: Load
    bugs: Mapping[str, str] = field(default_factory=dict)
    """Process -> planted bug."""
    lives: dict[str, Life] = field(default_factory=dict)
    logs: dict[str, list[Path]] = field(default_factory=dict)
    since: float = 0.0
    """When the relay that lives became ready; 0 while there is none."""
    behind: bool = False
    """Whether a desk does not keep pace with what is begun."""
    slow: bool = True
    """Whether requests are still begun whose ladders take long."""
    people: list[asyncio.Task[Any]] = field(default_factory=list)
    working: list[asyncio.Task[Any]] = field(default_factory=list)
    under_way: set[asyncio.Task[Any]] = field(default_factory=set)
    bulk: Bulk = field(init=False)
    ears: dict[str, Ear] = field(init=False)
    officers: Officers = field(init=False)

    def __post_init__(self) -> None:
        """Let everybody take their places."""
        self.bulk = Bulk(self.network, self.history)
        listening = ("VN", "AU", "AU-B", "NZ")
        self.ears = {desk: Ear(self.network, self.history, desk) for desk in listening}
        self.ears["FR"] = self.bulk
        self.officers = Officers(self.network, self.history)

    # Lives

    async def begin(self, who: str, point: str = "", nth: int = 1) -> bool:
        """Let a process begin, and wait until it is ready; False if it has died on the way."""
        life, log = self.nursery.begin(
            self.network.line(who),
            who,
            point=point,
            nth=nth,
            bug=self.bugs.get(who, ""),
            tuned=dict(points.TUNED),
        )
        self.lives[who] = life
        self.logs.setdefault(who, []).append(log)
        assert await life.until(lambda one: one.ready or one.over is not None, READY_S), log
        if life.ready and who == "relay":
            self.since = now()
        return life.over is None

    async def bury(self, who: str) -> Life:
        """Wait until a process is dead, and take note."""
        life = self.lives[who]
        assert await life.until(lambda one: one.over is not None, READY_S), self.logs[who][-1]
        if who == "relay" and self.since:
            self.history.up.append((self.since, now()))
            self.since = 0.0
        if life.over not in (-signal.SIGKILL, 0):
            self.history.exits.append(f"{who} ended with {life.over}: {self.logs[who][-1].name}")
        return life

    def measure(self, who: str) -> None:
        """Look at the handles and memory of a process, and at the size of the store's log."""
        largest, life = self.history.largest, self.lives[who]
        with contextlib.suppress(OSError, StopIteration):
            proc = Path(f"/proc/{life.pid}")
            status = (proc / "status").read_text().splitlines()
            resident = int(next(one for one in status if one.startswith("VmRSS")).split()[1])
            found = {"handles": len(list((proc / "fd").iterdir())), "resident": resident}
            for what, value in found.items():
                largest[f"{who} {what}"] = max(largest.get(f"{who} {what}", 0), value)
        with contextlib.suppress(OSError):
            pages = (self.network.relay / "relay.db-wal").stat().st_size // 4120
            largest["relay log"] = max(largest.get("relay log", 0), pages)

    async def deaths(self, who: str, plan: Sequence[str]) -> None:
        """Let a process die once for each name in *plan*: at that point, or at any moment for ""."""
        waiting, tries = list(plan), dict[str, int]()
        self.lives[who].kill()
        await self.bury(who)
        while waiting:
            point = waiting.pop(0)
            if who == "relay" and len(plan) > SHORTLY:
                self.slow = bool(point or any(waiting))
            await self._armed(who, point, tries.get(point, 0))
            life = self.lives[who]
            if not point:
                await life.until(
                    lambda one: one.over is not None, self.dice.uniform(0.05, RANDOM_S)
                )
            else:
                patience = REACHED_S * (1 + tries.get(point, 0))
                await life.until(lambda one: one.over is not None, patience)
            self.measure(who)
            life.kill()
            self.history.cycles += 1
            reached = (await self.bury(who)).died_at or ("" if point != CALLED else self._called())
            if reached:
                name = f"relay: {CALLED}" if reached == CALLED else reached
                self.history.deaths[name] = self.history.deaths.get(name, 0) + 1
            elif point and tries.setdefault(point, 0) < TRIES_MAX:
                tries[point] += 1
                waiting.append(point)
            if not waiting:
                await self.begin(who)

    async def _armed(self, who: str, point: str, tries: int) -> None:
        """Begin a life in which it will die at *point*."""
        nth = 1 if tries else self.dice.choice((1, 1, 2, 3))
        inside = f"{who}: {point}" if point and point != CALLED else ""
        if point == CALLED:
            self.pager.called = self.lives[who].kill
        await self.begin(who, inside, nth)

    def _called(self) -> str:
        reached, self.pager.called = self.pager.called is None, None
        return CALLED if reached else ""

    # People

    def employ(self) -> None:
        """Let people work."""
        load = self.load
        work = (
            (load.bulk, lambda: self._bulk("bulk", "AU")),
            (load.emergencies, lambda: self._bulk(self.dice.choice(load.plans), "AU")),
            (load.nobody, lambda: self._bulk("nobody", "NZ")),
            (load.brief, lambda: self._send("brief", "NZ")),
            (load.sends, lambda: self._send(self.dice.choice(load.plans), "AU")),
        )
        self.working = [
            asyncio.ensure_future(self._every(seconds, one)) for seconds, one in work if seconds
        ]
        self.people += self.working
        self.people += [asyncio.ensure_future(self._office(desk)) for desk in ("AU", "AU-B")]
        self.people.append(asyncio.ensure_future(self._look_around()))
        self.people.append(asyncio.ensure_future(self._stall()))

    async def _every(self, seconds: float, work: Any) -> None:
        while True:
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * seconds)
            if len(self.under_way) < OUTSTANDING_MAX and not self.behind:
                work()

    def _task(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.history.wrong.append(f"the harness: {error!r}")

    def _bulk(self, plan: str, to: str) -> None:
        if self.slow or plan in ("bulk", "prompt"):
            self._task(self.bulk.submit(self.bulk.seal(to, plan)))

    def _send(self, plan: str, to: str) -> None:
        if self.slow or plan == "prompt":
            self._task(self.officers.send(to, plan))

    async def _stall(self) -> None:
        """Note when this process does not get its turn."""
        while True:
            asleep = now()
            await asyncio.sleep(STALL_EVERY_S)
            if (late := now() - asleep - STALL_EVERY_S) > STALL_S:
                self.history.stalls.append((now(), late))

    async def _look_around(self) -> None:
        """See whether the desks keep pace."""
        while True:
            await asyncio.sleep(0.5)
            waits = []
            for desk in DESKS:
                with contextlib.suppress(Poc24Error, OSError):
                    found = await self.officers.at(desk).status()
                    waits.append(max(found["outbox"], found["receipts"]))
            self.behind = max(waits, default=0) > BEHIND_MAX

    async def _office(self, desk: str) -> None:
        """Let officers look at their inbox, and acknowledge as the request's plan says."""
        while True:
            await asyncio.sleep(0.25)
            for row in await self.officers.inbox(desk):
                letter = self.history.letters.get(row["statement"])
                if letter is not None and _acknowledges(desk, letter, now()):
                    await self.officers.acknowledge(desk, row["msg"], letter)
                elif desk == "AU-B" and row["state"] == "acknowledged":
                    with contextlib.suppress(Poc24Error, OSError):
                        await self.officers.at(desk).show(row["msg"])

    # From the beginning to the end

    async def open(self) -> None:
        """Start relay and desks, let devices connect, learn prekeys."""
        assert await self.begin("relay")
        assert all(await asyncio.gather(*(self.begin(desk) for desk in DESKS)))
        self.people += [asyncio.ensure_future(ear.run()) for ear in self.ears.values()]
        ends = now() + READY_S
        while not all(ear.session for ear in self.ears.values()):
            assert now() < ends, "nobody connects"
            await asyncio.sleep(0.02)
        await self.ears["NZ"].publish()
        while not (await self.standing("VN", "AU", "AU-B", ready=True)) or not (
            await self.bulk.learn(("AU", "AU-B", "NZ"))
        ):
            assert now() < ends, "the desks do not come up"
            await asyncio.sleep(0.05)

    async def standing(self, *desks: str, ready: bool = False) -> bool:
        """Whether desks are connected and nothing waits in them; *ready*: whether they can be written to."""
        for desk in desks:
            try:
                found = await self.officers.at(desk).status()
            except (Poc24Error, OSError):
                return False
            busy = found["outbox"] + found["receipts"] + found["parked"]
            if not found["connected"] or not (found["prekeys_until"] if ready else not busy):
                return False
        return True

    async def heal(self, patience: float) -> None:
        """Let everything come to its end: nobody dies any more, and nobody begins anything."""
        ends = now() + patience
        for task in self.working:
            task.cancel()
        while now() < ends and (self.under_way or not await self.standing(*DESKS)):
            await asyncio.sleep(0.1)
        while now() < min(self._climbed(), ends):
            await asyncio.sleep(0.1)
        still, before = 0, (-1, -1)
        while now() < ends and still < CALM:
            await asyncio.sleep(0.1)
            count = sum(map(len, self.history.mailboxes.values())), len(self.history.pages)
            calm = count == before and all(ear.caught_up for ear in self.ears.values())
            still = still + 1 if calm and await self.standing(*DESKS) else 0
            before = count
        if still < CALM:
            self.history.healed = await self._why()
        self.history.end = now()

    def _climbed(self) -> float:
        """Return when the last ladder of a request that nobody acknowledges has come to its end."""
        acknowledged = {one.letter for one in self.history.words if Said.OK in one.said}
        ends = [
            one.header.created + SILENCE_S + 2
            for one in self.history.letters.values()
            if one.plan in ("never", "nobody") and one.sid not in acknowledged
        ]
        return max(ends, default=0.0)

    async def _why(self) -> str:
        """Return what is still under way."""
        found = [f"{len(self.under_way)} calls"] if self.under_way else []
        for desk in DESKS:
            try:
                told = await self.officers.at(desk).status()
            except (Poc24Error, OSError) as error:
                found.append(f"{desk}: {error}")
                continue
            waits = {name: told[name] for name in ("connected", "outbox", "receipts", "parked")}
            found.append(f"{desk}: {waits}")
        found += [f"{desk} behind" for desk, ear in self.ears.items() if not ear.caught_up]
        return "; ".join(found)

    async def look(self) -> None:
        """Read everything once more: mailboxes from their beginning, and what the relay still hands out."""
        for ear in self.ears.values():
            await ear.read_again()
        ends = now() + READY_S
        while not all(one.caught_up for one in self.ears.values()) and now() < ends:
            await asyncio.sleep(0.05)
        told = self.history.mailboxes["AU"].values()
        msgs = [one.msg for one in told if one.kind == "message"]
        self.history.handed = await self.ears["AU"].pick_up(msgs)

    async def close(self) -> None:
        """End everybody kindly, and open what the desks have kept."""
        for task in self.people:
            task.cancel()
        await asyncio.gather(*self.people, return_exceptions=True)
        for who in (*DESKS, "relay"):
            self.measure(who)
            self.lives[who].kill(signal.SIGTERM)
        for who in (*DESKS, "relay"):
            if (await self.bury(who)).over != 0:
                self.history.exits.append(f"{who} did not stop kindly")
        for desk in DESKS:
            self._read(desk)

    def _read(self, desk: str) -> None:
        history = self.history
        history.shown[desk] = [msg for log in self.logs[desk] for msg in shown_in(log)]
        kept = history.kept.setdefault(desk, {})
        with Archive(self.network.home(desk) / "archive.db", seed(f"archive of {desk}")) as archive:
            aliases: dict[str, list[str]] = {}
            for row in archive.find("alias", order="received, rowid"):
                aliases.setdefault(row["sid"], []).append(row["id"])
            for row in archive.find("message", "way = 'received'", columns=()):
                kept[row["id"]] = aliases.get(row["id"], [])
            for row in archive.find("outbox", columns=()):
                history.states[row["id"]] = row["state"]
            if desk == "VN":
                of = {msg: sid for sid, msgs in aliases.items() for msg in msgs}
                for row in archive.find("statement", "verified = 1"):
                    self._held(of.get(row["msg"], ""), row)

    def _held(self, sid: str, row: Mapping[str, Any]) -> None:
        history = self.history
        history.held.setdefault(sid, set()).add(row["kind"])
        letter = history.letters.get(sid)
        if letter is not None and row["kind"] == "accepted":
            letter.accepted.append(row["wire"])
            letter.msg = decode(peek(row["wire"]).payload)["msg"]


def _acknowledges(desk: str, letter: Letter, at: float) -> bool:
    age = at - letter.header.created
    if desk == "AU-B":
        return letter.plan == "backup"
    waits = {"prompt": 0, "late": LATE_S, "never": GIVEN_UP_S}
    return letter.plan in waits and age >= waits[letter.plan]


def now() -> float:
    """Return the time on the wall: what relay and desks see."""
    return time.time()
