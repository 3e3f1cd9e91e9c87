"""Nothing accepted is lost by any failover: real Redis, real Sentinels, cables that are pulled, judged from outside.

Each story runs at both levels of safety; the controls, without the journal, must lose, or the stories prove nothing.
"""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from builders_cluster import HOSTS, NAME, SENTINEL, Cluster, until
from redis import Redis

from relay.replay import replay
from relay.store.redis_place import Place, replicas
from relay.store.several import RedisStore

pytestmark = pytest.mark.timeout(240)


def killed(cluster: Cluster) -> None:
    """The master dies, a replica is promoted, the dead one comes back."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.kill("r1")
    until(lambda: cluster.master("r3", "c2") in ("r2", "r3"))
    time.sleep(1)
    cluster.serve("r1")
    cluster.healed()
    worker.goes_on()


def frozen(cluster: Cluster) -> None:
    """The master stands still, a replica is promoted, the old one goes on and believes it is the master."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.freeze("r1")
    until(lambda: cluster.master("r3", "c2") in ("r2", "r3"))
    time.sleep(1)
    cluster.thaw("r1")
    cluster.healed()
    worker.goes_on()


def planned(cluster: Cluster) -> None:
    """SENTINEL FAILOVER under load, three times."""
    worker = cluster.workers[0]
    for _time in range(3):
        worker.goes_on()
        before = cluster.master()
        with Redis(cluster.net.address("r1"), SENTINEL) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", NAME)
        until(lambda: cluster.master() not in ("", before))  # noqa: B023 - awaited here
        cluster.healed()
    worker.goes_on()


def alone(cluster: Cluster) -> None:
    """The master is cut off with the relay: both sides work on, then they meet again."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.net.part({"r1", "c1"})
    until(lambda: cluster.master("r3", "c2") in ("r2", "r3"))
    time.sleep(3)
    cluster.net.mend()
    cluster.healed()
    worker.goes_on()


def minority(cluster: Cluster) -> None:
    """The master with one replica and the relay on one side, the other replica and two Sentinels on the other."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.net.part({"r1", "r2", "c1"})
    until(lambda: cluster.master("r3", "c2") == "r3", 40)
    time.sleep(3)
    cluster.net.mend()
    cluster.healed()
    worker.goes_on()


def stale(cluster: Cluster) -> None:
    """One replica lags behind; master and the fresh replica die; the stale one is promoted."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.freeze("r3")
    time.sleep(3)
    cluster.kill("r2")
    cluster.kill("r1")
    cluster.thaw("r3")
    until(lambda: cluster.master("r3", "c2") == "r3", 40)
    time.sleep(2)
    cluster.serve("r1")
    cluster.serve("r2")
    cluster.healed()
    worker.goes_on()


def emptied(cluster: Cluster) -> None:
    """The master comes back at once with an empty disk: the replicas copy the emptiness."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.kill("r1")
    shutil.rmtree(cluster.folder / "r1")
    cluster.serve("r1")
    time.sleep(2)
    cluster.healed()
    worker.goes_on()


def resynced(cluster: Cluster) -> None:
    """A node that lost its file to an error of the disk is rebuilt by a full resync, never on what it has."""
    worker = cluster.workers[0]
    worker.goes_on()
    cluster.kill("r2")
    shutil.rmtree(cluster.folder / "r2")
    cluster.serve("r2", cluster.master())
    cluster.healed()
    worker.goes_on()
    cluster.kill(cluster.master())
    time.sleep(4)
    for host in HOSTS:
        if cluster.servers[host].poll() is not None:
            cluster.serve(host)
    cluster.healed()
    worker.goes_on()


STORIES: tuple[Callable[[Cluster], None], ...] = (
    killed,
    frozen,
    planned,
    alone,
    minority,
    stale,
    emptied,
    resynced,
)
IN_EVERY_RUN = {("alone", "available"), ("stale", "available")}
CASES = [
    pytest.param(
        story,
        level,
        id=f"{story.__name__}-{level}",
        marks=() if (story.__name__, level) in IN_EVERY_RUN else pytest.mark.long,
    )
    for story in STORIES
    for level in ("available", "strict")
]


async def judged(
    cluster: Cluster, told: list[str], *, merge: bool = True
) -> tuple[list[str], list[str]]:
    """Return what was accepted and is not there, and what is wrong with what is there; as a new instance sees it."""
    master = cluster.master()
    place = Place("judge", (cluster.net.address(master), 6379), replicas=replicas(2, "available"))
    store = RedisStore(place, cluster.folder / "judge.db", replay)
    await store.start(int(time.time()))
    try:
        lost, wrong = [], []
        box = Counter(entry.msg for entry in await store.mailbox("AU", 0, 10**6))
        for msg in told:
            if await store.envelope(msg) is None:
                lost.append(msg)
            elif box[msg] != 1:
                wrong.append(f"{msg} stands {box[msg]} times in the mailbox")
            elif len(await store.statements(msg)) != 2:
                wrong.append(f"{msg} has not its two statements")
        wrong += [f"{msg} has no timer" for msg in await store.unarmed(10**6)]
        return lost, wrong
    finally:
        await store.stop()


@pytest.mark.parametrize(("story", "level"), CASES)
def test_nothing_accepted_is_lost(
    story: Callable[[Cluster], None], level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 lost, 0 twice, no ladder without its timer, whatever happened to the servers and cables."""
    with Cluster(tmp_path) as cluster:
        worker = cluster.worker("c1", level=level)
        story(cluster)
        worker.end()
        told = worker.told()
        lost, wrong = asyncio.run(judged(cluster, told))
    with capsys.disabled():
        unknown = len(worker.told("unknown"))
        print(
            f"\n{story.__name__:<9} {level:<9} accepted {len(told):>6}  unknown {unknown:>3}  lost {len(lost)}"
        )
    assert len(told) > 100
    assert lost == []
    assert wrong == []


@pytest.mark.parametrize(
    ("story", "level"),
    [
        pytest.param(alone, "none", id="alone-without-wait-and-journal"),
        pytest.param(stale, "available", id="stale-without-journal", marks=pytest.mark.long),
    ],
)
def test_the_controls_lose(story: Callable[[Cluster], None], level: str, tmp_path: Path) -> None:
    """Without the journal the same story loses what was acknowledged: the story can tell."""
    with Cluster(tmp_path) as cluster:
        worker = cluster.worker("c1", level=level, merge=False)
        story(cluster)
        worker.end()
        lost, _wrong = asyncio.run(judged(cluster, worker.told()))
    assert lost
