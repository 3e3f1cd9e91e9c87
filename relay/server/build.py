"""From a configuration to a relay: keys opened, certificate read, store chosen. Every step fails with a sentence."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry

from keys import keyfile
from keys.directory import Trusted, begin
from keys.errors import Failed
from keys.identity import Role, Signer
from relay.alert import ways
from relay.config import Config, Keys
from relay.replay import replay
from relay.server import logs, tls
from relay.server.app import Place, Relay
from relay.server.clock import Clock
from relay.server.gate import raise_files
from relay.server.rates import Call
from relay.server.source import read_pack
from relay.store import redis_place
from relay.store.base import Store
from relay.store.place import FREE_BYTES_MIN
from relay.store.sqlite import SqliteStore

ROOT_BYTES_MAX = 1024 * 1024
GARBAGE_OBJECTS = 20_000
"""New objects after which Python looks for cycles; its own 700 are reached twice in the life of a message."""


def evidence(keys: Keys, instance: str) -> Signer:
    """Open the key ring and return the evidence key of *instance*; E_KEYRING or Failed with what to do."""
    ring = keyfile.open_ring(
        keyfile.read_private(keys.ring), key=keyfile.read_credential(keys.credential)
    )
    return ring.one(Role.RELAY, instance).signer()


def anchor(config: Config) -> tuple[bytes, Trusted]:
    """Return the trust anchor's bytes and what a reader begins with; Failed or Refused if it is no root document."""
    path = config.directory.root
    try:
        if path.stat().st_size > ROOT_BYTES_MAX:
            raise Failed(f"{path} is too large for a root document.", exit_code=78)
        root = path.read_bytes()
    except OSError as error:
        raise Failed(
            f"The trust anchor {path} cannot be read: {error.strerror}.",
            hint="It is the first root document of the network, 1.root.json; set [directory] root.",
            exit_code=78,
        ) from None
    return root, begin(root)


def place_of(config: Config, *, version: str) -> Place:
    """Return where this configuration puts a relay; opens keys and certificate, and nothing else."""
    listen, observe, source = config.listen, config.observe, config.directory
    signer = evidence(config.keys, config.instance)
    root, _trusted = anchor(config)
    woken = ways.woken(config.endpoints, config.service, signer)
    place = Place(
        service=config.service,
        instance=config.instance,
        evidence=signer,
        root=root,
        address=listen.address,
        port=listen.port,
        observe_address=observe.address,
        observe_port=observe.port,
        version=version,
        control=config.control,
        folder=source.folder,
        first=read_pack(source.pack) if source.pack else None,
        per_minute={
            Call.SUBMIT: config.limits.submits_per_minute,
            Call.RECEIPT: config.limits.receipts_per_minute,
            Call.READ: config.limits.reads_per_minute,
        },
        connections_per_address=config.limits.connections_per_address,
        woken=woken,
        room=config.room,
        blobs=config.blobs,
        blob_quota=config.blob_quota,
        several=config.redis is not None,
    )
    if config.redis is not None:
        place = replace(place, safety=redis_place.said(config.redis))
    if listen.certificate is None or listen.key is None:
        return place
    context = tls.context(listen.certificate, listen.key)
    return replace(place, tls=context, tls_expires=tls.expires(listen.certificate))


def relay_of(config: Config, clock: Clock, *, version: str) -> Relay:
    """Return the relay of a configuration, not started; and let this process open as many files as it may."""
    raise_files()
    level = logging.getLevelNamesMapping()[config.level.upper()]
    log = logs.build(clock.now, level=level)
    place = place_of(config, version=version)
    return Relay(place, store_of(config), clock, log, CollectorRegistry())


def store_of(config: Config) -> Store:
    """Return the store of a configuration, not started: one file, or Redis with a journal in that file."""
    room = config.room
    free = room.least or FREE_BYTES_MIN
    if config.redis is None:
        return SqliteStore(config.store, free_min=free, room=room)
    from relay.store.several import RedisStore  # loads redis, which one instance does not need

    return RedisStore(config.redis, config.store, replay, free_min=free, room=room)


def _settle_memory() -> None:
    """Take what stands for the life of the process out of the collector's rounds, and let it make fewer of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


async def serve(relay: Relay, ready: Callable[[Relay], None]) -> None:
    """Start, tell *ready*, serve until SIGTERM or SIGINT, drain, stop. Failed when the relay cannot go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    undo = logs.bridge(relay.log)
    try:
        await relay.start()
        _settle_memory()
        ready(relay)
        await relay.run(stop)
    finally:
        undo()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
