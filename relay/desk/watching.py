"""Events of a running desk for whoever watches; each has a queue of its own, and who is slow loses the oldest."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

EVENTS_MAX = 512
"""Events that wait for one watcher; what is lost can be read from the archive, and the watcher is told."""

Event = dict[str, Any]


class _Watcher:
    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.lost = 0
        self.some = asyncio.Event()


class Watching:
    """Everybody who watches one desk."""

    def __init__(self) -> None:
        """Nobody watches yet."""
        self._watchers: set[_Watcher] = set()
        self._over = False
        self._next = asyncio.Event()

    def tell(self, event: Event) -> None:
        """Hand an event to every watcher."""
        self._next.set()
        self._next = asyncio.Event()
        for watcher in self._watchers:
            watcher.events.append(event)
            if len(watcher.events) > EVENTS_MAX:
                watcher.events.popleft()
                watcher.lost += 1
            watcher.some.set()

    def end(self) -> None:
        """The desk stops: every watcher comes to its end."""
        self._over = True
        for watcher in self._watchers:
            watcher.some.set()

    async def next(self) -> None:
        """Return when something has happened after this call."""
        await self._next.wait()

    async def follow(self) -> AsyncIterator[Event]:
        """Yield events from now on until the desk stops."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while not self._over:
                await watcher.some.wait()
                watcher.some.clear()
                if watcher.lost:
                    yield {
                        "event": "missed",
                        "text": f"{watcher.lost} events were not read in time.",
                    }
                    watcher.lost = 0
                while watcher.events:
                    yield watcher.events.popleft()
        finally:
            self._watchers.discard(watcher)
