"""Real processes under load, killed with SIGKILL wherever it hurts; an outside judge reads what desks and pagers saw."""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from kill import points
from kill.bugs import BUGS
from kill.network import ShortWorld
from kill.run import Run, perform
from kill.story import CALLED, Load, now

SLOW = ("silence", "an expiry", "envelopes")
"""Points that are reached only once something has come to its end: they are tried last."""


@pytest.fixture(scope="module")
def world() -> ShortWorld:
    """Hold the ceremony once."""
    return ShortWorld(int(now()) - 60)


def everywhere() -> dict[str, list[str]]:
    """Return fifty deaths and more: each point of each process once, and moments that nobody chose."""
    quick = [one for one in points.RELAY if not one.startswith(SLOW)]
    slow = [one for one in points.RELAY if one.startswith(SLOW)]
    return {
        "relay": ["", *quick, CALLED, *slow, *[""] * 5],
        "AU": ["", *points.RECIPIENT, "", ""],
        "VN": ["", *points.SENDER, ""],
        "AU-B": ["", ""],
    }


@pytest.mark.timeout(400)
async def test_killed_wherever_it_hurts(world: ShortWorld, tmp_path: Path) -> None:
    """Fifty deaths, at every point between two steps and in between: nothing lost, nothing twice, every ladder goes on."""
    plan = everywhere()
    run = await perform(tmp_path / "n", world, plan)
    print(run)
    assert run.wrong == []
    assert run.history.cycles >= 50
    reached = {one for one in run.history.deaths if one.split(": ")[1]}
    assert reached == {*points.all_points(), f"relay: {CALLED}"}, "not every point was reached"


# What the judge must be able to see


@dataclass(frozen=True)
class Planted:
    """A bug, in which process, where to kill so that it bites, under which load, and what the judge must say."""

    who: str
    plan: Mapping[str, Sequence[str]]
    load: Load
    says: str
    patience: float = 25.0


BULK = Load(bulk=0.06, emergencies=0, sends=0, nobody=0, brief=0)
PLANTED = {
    "the relay answers before the commit": Planted(
        "relay", {"relay": ["a submission is answered, and not pushed"]}, BULK, "(C1)"
    ),
    "the timer is set beside the commit": Planted(
        "relay",
        {"relay": ["between a message and its timers"]},
        Load(bulk=0, emergencies=0.3, sends=0, nobody=0, brief=0, plans=("never",)),
        "never came (C5)",
    ),
    "the end of a ladder is told to nobody": Planted(
        "relay",
        {"relay": [""]},
        Load(bulk=0, emergencies=0, sends=0, nobody=0, brief=0.2),
        "was not told that nobody answered",
        12.0,
    ),
    "the place is kept before the message": Planted(
        "AU", {"AU": ["messages are fetched, and not opened"]}, BULK, "never had it (C1)"
    ),
    "what was shown is remembered in memory alone": Planted(
        "AU", {"AU": ["a message is shown, and its place not kept"]}, BULK, "2 times (C3)"
    ),
    "a lost answer is called a refusal": Planted(
        "VN",
        {"relay": ["a submission is durable, and not answered"]},
        Load(bulk=0, emergencies=0, sends=0.2, nobody=0, brief=0, plans=("prompt",)),
        "(C12)",
    ),
}


@pytest.fixture(scope="module")
def bitten(world: ShortWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Play a small story with each planted bug, all of them side by side."""

    async def all_of_them() -> dict[str, Run]:
        folder = tmp_path_factory.mktemp("b")
        runs = [
            perform(
                folder / str(number),
                world,
                one.plan,
                load=one.load,
                bugs={one.who: bug},
                patience=one.patience,
            )
            for number, (bug, one) in enumerate(PLANTED.items())
        ]
        return dict(zip(PLANTED, await asyncio.gather(*runs), strict=True))

    return asyncio.run(all_of_them())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bitten: dict[str, Run], bug: str) -> None:
    """The judge sees what the bug did, from outside and without knowing of it."""
    found = bitten[bug].wrong
    assert any(PLANTED[bug].says in one for one in found), (found, str(bitten[bug]))


# The long run

DEATHS = 2000
A_ROUND = 100


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_thousand_deaths(tmp_path: Path) -> None:
    """The same, 2,000 times, in rounds of a hundred and more, each with other dice and a network of its own."""
    deaths = 0
    for round_ in range(DEATHS):
        world = ShortWorld(int(now()) - 60)
        plan = {who: [*[""] * len(some), *some] for who, some in everywhere().items()}
        run = asyncio.run(perform(tmp_path / "n", world, plan, dice=round_))
        print(f"{round_}: {run}", flush=True)
        assert run.wrong == []
        shutil.rmtree(tmp_path / "n")
        deaths += run.history.cycles
        if deaths >= int(os.environ.get("POC24_DEATHS", DEATHS)):
            break
