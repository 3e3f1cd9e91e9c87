r"""A whole run: a network, processes that die as planned, peace, and the judge's findings.

One point, or one planted bug, by hand; the folder stays, with the log of every life:

    PYTHONPATH=.:tests .venv/bin/python -m kill.run FOLDER "relay: a page is sent, and not noted"
    PYTHONPATH=.:tests .venv/bin/python -m kill.run FOLDER "AU: messages are fetched, and not opened" \
        "the place is kept before the message"
"""

import asyncio
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kill.checker import judge
from kill.history import History, Said
from kill.network import Network, ShortWorld
from kill.nursery import Nursery
from kill.people import Pager
from kill.story import HEAL_S, Load, Story, now

USUAL = Load()
BY_HAND = 5
"""How often a point is died at that was asked for by hand."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    history: History
    wrong: list[str]
    seconds: float
    healing: float
    """Of these, until everything had come to its end."""

    def __str__(self) -> str:
        """Return its figures in a line."""
        history = self.history
        letters = history.letters.values()
        late = sorted(history.facts.get("late", [])) or [0.0]
        pages = sorted(history.facts.get("page late", [])) or [0.0]
        stalled = sum(late for _at, late in history.stalls)
        return (
            f"{history.cycles} deaths ({len(history.deaths)} points) in {self.seconds:.0f} s, of them {self.healing:.0f} s "
            f"peace; {len(letters)} requests, {sum(one.taken for one in letters)} taken, "
            f"{sum(one.said.count(Said.UNKNOWN) for one in letters)} answers unknown, {len(history.words)} "
            f"acknowledgements; {len(late)} stages at most {late[-1]:.1f} s late, {len(history.pages)} pages at most "
            f"{pages[-1]:.1f} s late, the machine stalled {stalled:.1f} s; largest {history.largest}; "
            f"wrong: {len(self.wrong)}"
        )


async def perform(
    folder: Path,
    world: ShortWorld,
    plan: Mapping[str, Sequence[str]],
    *,
    load: Load = USUAL,
    bugs: Mapping[str, str] = MappingProxyType({}),
    dice: int = 1,
    patience: float = HEAL_S,
) -> Run:
    """Let each process of *plan* die at each of its points ("": at any moment), heal, and judge."""
    history, begun = History(), now()
    pager = Pager(history)
    pager.public = world.evidence.public
    await pager.start()
    try:
        network = Network(folder, world, int(begun), pager.port)
        async with Nursery(network.logs) as nursery:
            story = Story(network, nursery, pager, history, random.Random(dice), load, bugs)
            try:
                await story.open()
                story.employ()
                await asyncio.gather(*(story.deaths(who, some) for who, some in plan.items()))
                healing = now()
                await story.heal(patience)
                await story.look()
            finally:
                await story.close()
    finally:
        await pager.stop()
    return Run(history, judge(history, world), now() - begun, history.end - healing)


def main() -> None:
    """Let one process die at one point, and print what came of it."""
    folder, point, *bug = sys.argv[1:]
    who, name = point.split(": ", 1)
    world = ShortWorld(int(now()) - 60)
    plan = {who: [name] * BY_HAND}
    run = asyncio.run(perform(Path(folder), world, plan, bugs=dict.fromkeys(bug and [who], *bug)))
    print(run, *run.wrong, sep="\n")


if __name__ == "__main__":
    main()
