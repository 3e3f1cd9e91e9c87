"""Real homes of desks and a real relay on loopback, for tests of the command line: files, sockets, processes."""

import asyncio
import io
import os
import threading
from pathlib import Path

from builders_keys import World, seed

from keys import keyfile, suite
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay.desk import home as homes
from relay.desk.clock import SystemClock
from relay.desk.home import Home
from relay.server import logs
from relay.server.app import Place, Relay
from relay.store.memory import MemoryStore

PASSPHRASE = "correct horse battery staple"
DEVICE_KEY = b"k" * 32


class LiveRelay:
    """A relay in a thread of its own, on a port of this machine; it begins with the world's directory."""

    def __init__(self, world: World, blobs: Path | None = None) -> None:
        """Prepare; nothing listens before :meth:`start`. *blobs*: where it keeps attachments; None: it takes none."""
        self.world = world
        self.blobs = blobs
        self.port = 0
        self.said = io.StringIO()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def start(self) -> None:
        """Return when it serves."""
        self._thread.start()
        assert self._ready.wait(20), "the relay did not start"

    def stop(self) -> None:
        """Return when it is gone."""
        assert self._loop is not None
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        clock, world = SystemClock(), self.world
        place = Place(
            service=world.service,
            instance=world.instance,
            evidence=world.evidence,
            root=world.root,
            first=world.files,
            blobs=self.blobs,
        )
        log = logs.build(clock.now, stream=self.said)
        relay = Relay(place, MemoryStore(), clock, log)
        await relay.start()
        self._loop, self._over, self.port = asyncio.get_running_loop(), asyncio.Event(), relay.port
        self._ready.set()
        await relay.run(self._over)


def make_home(world: World, folder: Path, desk: str, port: int) -> Home:
    """Make the home of a desk's first officer: settings, device ring and key, officer's ring."""
    handle = world.handles(desk)[0]
    made = Home(
        folder=folder,
        desk=desk,
        officer=handle,
        service=world.service,
        url=f"ws://127.0.0.1:{port}",
        root=suite.sha256(world.root).hex(),
    )
    homes.create(made, world.root)
    device = KeyRing(
        (
            Held(Role.DEVICE, world.device(desk).seed, handle, desk),
            Held(Role.DEVICE, seed(f"archive of {desk}"), keyfile.ARCHIVE, desk),
        )
    )
    officer = KeyRing((Held(Role.OFFICER, world.signer(desk).seed, handle, desk),))
    keyfile.write_private(folder / "device.key", DEVICE_KEY)
    keyfile.write_private(folder / "device.ring", keyfile.seal_service(device, DEVICE_KEY))
    keyfile.write_private(folder / "officer.ring", keyfile.seal_person(officer, PASSPHRASE))
    return made


def passphrase_fd(word: str = PASSPHRASE) -> int:
    """Return a descriptor from which a command can read *word*; the caller closes it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as given:
        given.write(word.encode() + b"\n")
    return reading
