"""One desk, put together from its home and run: for good by `desk serve`, or for one command."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from keys import suite
from keys.errors import Failed, Poc24Error
from relay import errors
from relay.desk import home as homes
from relay.desk.addresses import Addresses
from relay.desk.archive import Archive
from relay.desk.carrier import HttpCarrier
from relay.desk.clock import Clock, SystemClock
from relay.desk.control import Control
from relay.desk.dial import websocket_dial
from relay.desk.home import Home
from relay.desk.service import Desk
from relay.wire import content

QUIET_SECONDS = 0.5
"""When nothing came for so long, the mailbox is taken to be empty."""
LOOK_SECONDS = 0.05
"""How often a command looks whether its own desk has come so far."""
STOP_SECONDS = 10
"""How long a desk may take to finish what it is at."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Running:
    """A desk of this process: its link is down until :meth:`reach` or :meth:`run`."""

    desk: Desk
    archive: Archive
    _task: asyncio.Task[None] | None = field(default=None)

    def begin(self) -> asyncio.Task[None]:
        """Let the link turn in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self.desk.run())
        return self._task

    async def reach(self, seconds: float) -> bool:
        """Let the link turn, and wait until it is up, at most so long; return whether it is."""
        return await self._until(seconds, lambda found: bool(found["connected"]))

    async def catch_up(self, seconds: float) -> bool:
        """Reach for the relay and let what it holds come in, until nothing more has come for a while."""
        if not await self.reach(seconds):
            return False
        loop = asyncio.get_running_loop()
        ends, events = loop.time() + seconds, self.desk.watch()
        with contextlib.suppress(TimeoutError):
            while loop.time() < ends:
                async with asyncio.timeout(QUIET_SECONDS):
                    await anext(events)
        return True

    async def _until(self, seconds: float, so: Callable[[dict[str, Any]], bool]) -> bool:
        task = self.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not so(await self.desk.status()):
                    if task.done():
                        task.result()
                    await asyncio.sleep(LOOK_SECONDS)
                return True
        return False

    async def close(self) -> None:
        """Stop the link, finish what is begun, close the archive."""
        try:
            if self._task is not None:
                await self.desk.stop()
                await asyncio.wait({self._task}, timeout=STOP_SECONDS)
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Poc24Error):
                    await self._task
        finally:
            self.archive.close()


async def assemble(home: Home, credential: Path | None, clock: Clock | None = None) -> Running:
    """Put the desk of *home* together; its lock must be held. Opens the device's ring and archive.

    Raises Failed (77, 78, 75) and E_KEYRING, each with what to type.
    """
    suite.self_test()
    content.self_test()
    device, key = homes.device(home.folder, homes.credential(home.folder, credential))
    _not_gone(home)
    archive = Archive(home.archive, key, recovery=home.recovery_key)
    _begun(home).touch(0o600)
    try:
        addresses = Addresses(home.url)
        desk = Desk(
            desk=home.desk,
            service=home.service,
            device=device,
            archive=archive,
            clock=clock or SystemClock(),
            dial=websocket_dial(addresses, home.ca),
            carrier=HttpCarrier(addresses, home.ca),
            policy=home.policy.approve,
            clocks=home.clocks,
        )
        desk.begin(home.trust_anchor())
    except BaseException:
        archive.close()
        raise
    return Running(desk, archive)


def _begun(home: Home) -> Path:
    return home.folder / "archive.begun"


def _not_gone(home: Home) -> None:
    """Refuse to take an archive that is missing or empty for a new desk's: that would be a silent loss."""
    there = home.archive.exists() and home.archive.stat().st_size > 0
    if _begun(home).exists() and not there:
        raise Failed(
            f"{home.archive} is gone or empty, and this desk has kept messages in it.",
            hint="Restore the latest backup: desk restore FILE --recovery-ring RING. To begin with an empty archive "
            f"on purpose, remove {_begun(home)} first.",
            exit_code=errors.CONFIGURATION,
        )


async def serve(home: Home, credential: Path | None, ready: Callable[[], None]) -> None:
    """Run the desk of *home* until SIGTERM or SIGINT, and answer commands on its socket.

    *ready* is called once, when commands are answered. On a signal the desk takes no more questions,
    finishes what it is at and closes; what was confirmed is kept.
    """
    with homes.held(home.folder):
        running = await assemble(home, credential)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        try:
            async with Control(running.desk, home.socket):
                task = running.begin()
                ready()
                told = asyncio.create_task(stopping.wait())
                await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
                if task.done():
                    task.result()
                log.info("stopping")
        finally:
            await running.close()
