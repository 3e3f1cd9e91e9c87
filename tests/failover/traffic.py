"""One instance's traffic: messages through its store, as fast as it answers, and a line for each thing that it was told.

A store that has failed is started anew, as a supervisor would start the relay; what was under way then is "unknown".
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from keys.errors import Failed
from relay.core import escalation
from relay.core import message as law
from relay.core.events import Accepted
from relay.ledger import change_of
from relay.replay import replay
from relay.store.base import Change, Committed, Kept
from relay.store.redis_place import Place, Replicas, replicas
from relay.store.several import RedisStore
from relay.store.vouched import Vouched

LANES = 8
ENVELOPE_BYTES = 2048
AGAIN_S = 0.3
PROFILE = {
    "urgent": {
        "acknowledge_s": 3600,
        "progress_s": 300,
        "stages": [{"kind": "path", "after_s": 60, "handles": ["duty"]}],
    }
}


def letter(instance: str, number: int, now: int) -> Change:
    """Return the change with which a message arrives, as the corridor makes it."""
    envelope = f"{instance} {number} ".encode().ljust(ENVELOPE_BYTES, b".")
    msg = hashlib.sha256(envelope).hexdigest()
    sids = [
        hashlib.sha256(f"{msg} {kind}".encode()).hexdigest() for kind in ("submission", "accepted")
    ]
    event = Accepted(
        *(msg, "VN", "AU", "", "urgent", "actual", now, now + 9000, now + 90_000, ENVELOPE_BYTES),
        *("cc" * 32, "dd" * 32, sids[0], sids[1], "", now),
    )
    plan = escalation.plan(
        PROFILE,
        priority="urgent",
        mode="actual",
        accepted=now,
        ack_by=now + 9000,
        backup="",
        minimum_gap=60,
    )
    kept = [
        Kept(sid, kind, msg, b"wire", now)
        for sid, kind in zip(sids, ("other", "accepted"), strict=True)
    ]
    change = change_of(law.open_message(event, plan), 0, kept, envelope, ())
    return replace(
        change, waiting_max=0
    )  # nobody fetches: a mailbox would be full before a cable is mended


def copies(count: int, level: str) -> Replicas:
    """Return how many replicas a write waits for; "none" is a control."""
    return Replicas(count, 0) if level == "none" else replicas(count, level)


async def nothing(_store: RedisStore, _journal: Vouched) -> None:
    """Bring nothing back: a control, which must lose."""


class Traffic:
    """The lanes and the history."""

    def __init__(self, given: dict[str, object]) -> None:
        """Open the history; the numbers go on where an earlier life stopped."""
        self.given = given
        self.out = os.open(str(given["history"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.number = 0
        self.stopping = asyncio.Event()

    def note(self, msg: str, told: str) -> None:
        """Write one line at once: whatever happens to this process, it was told so."""
        os.write(
            self.out, (json.dumps({"msg": msg, "told": told, "at": time.time()}) + "\n").encode()
        )

    async def lane(self, store: RedisStore) -> None:
        """Send one after the other until the store fails or the end comes."""
        while not self.stopping.is_set():
            self.number += 1
            change = letter(str(self.given["instance"]), self.number, int(time.time()))
            try:
                answer = await store.commit(change)
            except Failed:
                self.note(change.msg, "unknown")
                raise
            assert isinstance(answer, Committed), answer
            self.note(change.msg, "accepted")
            await asyncio.sleep(0.002)

    async def life(self) -> None:
        """Start the store, send until it fails or the end comes, stop."""
        given = self.given
        place = Place(
            instance=str(given["instance"]),
            sentinels=tuple((host, port) for host, port in given["sentinels"]),  # type: ignore[attr-defined]
            replicas=copies(int(str(given["replicas"])), str(given["level"])),
        )
        merge = replay if given["merge"] else nothing
        journal = Path(str(given["journal"]))
        if not given["merge"]:
            for path in journal.parent.glob(journal.name + "*"):
                path.unlink()  # the control has no journal that outlives a start
        store = RedisStore(place, journal, merge)
        await store.start(int(time.time()))
        try:
            async with asyncio.TaskGroup() as lanes:
                for _lane in range(LANES):
                    lanes.create_task(self.lane(store))
        finally:
            await store.stop()

    async def run(self) -> None:
        """Live again and again until the end comes."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stopping.set)
        while not self.stopping.is_set():
            try:
                await self.life()
            except* Failed as failures:
                print(*(one.args[0] for one in failures.exceptions), file=sys.stderr, flush=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), AGAIN_S)


if __name__ == "__main__":
    asyncio.run(Traffic(json.loads(sys.argv[1])).run())
