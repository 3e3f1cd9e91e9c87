"""Where a command meets its desk: the running one over its socket, else one for just this command.

Commands are plain functions, because people are asked in between (a passphrase, "seal this?"), and
Ctrl-C must work while they are. So the loop turns only while the desk is asked something.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keys.errors import Failed
from relay import errors
from relay.desk import home as homes
from relay.desk.control import Verbs
from relay.desk.home import Home
from relay.desk.remote import connect

if TYPE_CHECKING:
    from relay.desk.serving import Running

ENTER_SECONDS = 5
"""How long to wait where another command holds the home at this moment."""
STEP_SECONDS = 0.1

Result = TypeVar("Result")


class Counter:
    """One command's desk. *served*: a `desk serve` runs, which goes on when this command is over."""

    def __init__(self, runner: asyncio.Runner, desk: Verbs, own: "Running | None") -> None:
        """Ask *desk* with *runner*; *own* is the desk of this very process, or None."""
        self._runner = runner
        self._own = own
        self.desk = desk
        self.served = own is None

    def ask(self, question: Coroutine[Any, Any, Result]) -> Result:
        """Return the answer of one verb."""
        return self._runner.run(question)

    def link(self, seconds: float) -> bool:
        """Let a desk of this process reach for the relay, at most so long; return if it is there.

        A desk that is served elsewhere does so by itself.
        """
        if self._own is None:
            return bool(self.ask(self.desk.status())["connected"])
        return self.ask(self._own.reach(seconds))

    def catch_up(self, seconds: float) -> bool:
        """Let a desk of this process fetch what the relay holds for it; return whether it is there."""
        return self._own is None or self.ask(self._own.catch_up(seconds))

    def settle(self, seconds: float) -> bool:
        """Wait until the relay has recorded every receipt of this desk, at most so long."""
        loop = self._runner.get_loop()
        until = loop.time() + seconds
        while self.ask(self.desk.status())["receipts"]:
            if loop.time() > until:
                return False
            self.ask(asyncio.sleep(STEP_SECONDS))
        return True

    def each(self, take: Callable[[dict[str, Any]], None]) -> None:
        """Hand every event to *take* until the desk stops or Ctrl-C."""

        async def follow(events: AsyncIterator[dict[str, Any]]) -> None:
            async for event in events:
                take(event)

        self.ask(follow(self.desk.watch()))


@contextmanager
def at(home: Home, credential: Path | None) -> Iterator[Counter]:
    """Stand before the desk of *home*: the served one, or one that lives as long as this block.

    Raises Failed (75) where another command holds the home, (77) where a key is missing or closed.
    """
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        loop = runner.get_loop()
        until = loop.time() + ENTER_SECONDS
        while True:
            remote = runner.run(connect(home.socket))
            if remote is not None:
                yield Counter(runner, remote, None)
                return
            try:
                stack.enter_context(homes.held(home.folder))
                break
            except Failed as busy:
                # Another command, or a `desk serve` that is about to open its socket.
                if busy.exit_code != errors.TRY_AGAIN or loop.time() > until:
                    raise
                runner.run(asyncio.sleep(STEP_SECONDS))
        # Most commands only talk to the served desk: what a desk is made of loads here alone.
        from relay.desk import serving

        own = runner.run(serving.assemble(home, credential))
        try:
            yield Counter(runner, own.desk, own)
        finally:
            runner.run(own.close())
