"""A store on which a process dies: before a call of its choice, or after it, when what was asked for is durable already.

::

    crashing = CrashStore(MemoryStore(), at=17, after=True)
    exchange = Exchange(crashing, ...)          # the 17th call is done, and its caller never hears of it
    ...
    exchange = Exchange(CrashStore(disk), ...)  # the next process, on the same disk

From its death on every call of that process dies as well: nothing that it still wanted to do can reach the disk.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from relay.store.base import Store

LIFE = frozenset({"start", "stop"})
"""Opening and closing are the next process's business, and never die."""


class Killed(BaseException):
    """The process is dead. No ``except Exception`` of the code under test can catch it."""


class CrashStore:
    """Every call of the contract passes through to *disk*, until the process dies."""

    def __init__(
        self,
        disk: Store,
        *,
        at: int = 0,
        after: bool = False,
        dies: Callable[[str], str] | None = None,
    ) -> None:
        """Die at call number *at* (0: never), or when *dies* says "before" or "after" of the call that it is named."""
        self._disk = disk
        self._at = at
        self._after = after
        self._dies = dies
        self.calls = 0
        self.dead = False

    @property
    def epoch(self) -> int:
        """Return the disk's epoch."""
        return self._disk.epoch

    def _when(self, name: str) -> str:
        if name in LIFE:
            return ""
        self.calls += 1
        if self.calls == self._at:
            return "after" if self._after else "before"
        return self._dies(name) if self._dies else ""

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Awaitable[Any]] = getattr(self._disk, name)

        async def through(*args: Any, **more: Any) -> Any:
            if self.dead:
                raise Killed
            when = self._when(name)
            await asyncio.sleep(0)  # as every store but one in memory: others may come in between
            if self.dead:
                raise Killed
            if when == "before":
                self.dead = True
                raise Killed
            result = await call(*args, **more)
            if when == "after":
                self.dead = True
            if self.dead:  # died meanwhile: nobody is there to hear
                raise Killed
            return result

        return through


def crashing(disk: Store, **more: Any) -> tuple[Store, CrashStore]:
    """Return a store that dies, as the code under test takes it, and as the test holds it."""
    made = CrashStore(disk, **more)
    return cast("Store", made), made
