"""The operator's bell: a 0600 Unix socket where a running relay takes what only it can do, the store being its own.

::

    GET  /standing            -> {"directory": version or 0, "directory_expires": t, "unmapped": ["AU duty", ...]}
    GET  /doctor              -> {"findings": [...], "log_size": n, "log_root": hex, ...}
    POST /backup {"path": p}  -> {"path": p, "blobs": n}
"""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from keys.errors import Failed
from relay import endpoints
from relay.blobs import Blobs
from relay.core import tlog
from relay.durable import make_durable
from relay.roster import Roster
from relay.store.base import Store

SOCKET_PATH_BYTES_MAX = 107
"""What the kernel keeps of a Unix socket's name."""
QUESTION_BYTES_MAX = 64 * 1024
ANSWER_S = 3600
"""A large store takes its time to be looked through."""


async def doctor(store: Store, blobs: Blobs | None = None) -> dict[str, Any]:
    """Look through a started store and its attachments; findings are sentences, none means clean."""
    frontier = await store.log()
    return {
        "findings": await store.check() + (await blobs.check() if blobs is not None else []),
        "log_size": frontier.size,
        "log_root": tlog.root(frontier).hex(),
        "epoch": store.epoch,
        "counts": dict(await store.counts()),
    }


async def backup(store: Store, path: Path, blobs: Blobs | None = None) -> dict[str, Any]:
    """Write a consistent copy of a started store to *path*, which must not be there yet.

    Attachments, if there are any, lie in a folder beside it, PATH.blobs. The copy gets its name last: whoever sees
    it has all of it.
    """
    folder, copy = (path.with_name(path.name + end) for end in (".blobs", ".copy"))
    part = folder.with_name(folder.name + ".part")
    for one in (path, folder):
        if one.exists():
            raise Failed(
                f"{one} is there already and is not overwritten.",
                hint="Choose another name, or move the old backup away first.",
                exit_code=73,
            )
    try:
        await asyncio.to_thread(_clear, copy, part)
        if blobs is None:
            count = 0
            await store.backup(copy)
        else:
            count = await blobs.backup(part, lambda: store.backup(copy))
        if count:
            part.rename(folder)
        copy.rename(path)
        make_durable(path)
    except OSError as error:
        raise Failed(f"The backup to {path} failed ({error.strerror}).", exit_code=73) from error
    finally:
        await asyncio.to_thread(_clear, copy, part)
    return {"path": str(path), "blobs": count}


def _clear(copy: Path, part: Path) -> None:
    """Remove what an interrupted backup left."""
    copy.unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)


async def standing(roster: Roster, mapped: Collection[tuple[str, str]]) -> dict[str, Any]:
    """Say which directory is in force (version 0 if none is), and which handles in it lead nowhere."""
    if not roster.published:
        return {"directory": 0, "directory_expires": 0, "unmapped": []}
    directory = roster.directory
    profiles = {desk: entry.profile for desk, entry in directory.desks.items()}
    return {
        "directory": directory.version,
        "directory_expires": directory.expires,
        "unmapped": list(endpoints.unmapped(profiles, mapped)),
    }


def application(
    store: Store,
    roster: Roster,
    mapped: Collection[tuple[str, str]] = (),
    blobs: Blobs | None = None,
) -> web.Application:
    """Return the aiohttp application of the bell."""

    async def get_standing(_request: web.Request) -> web.Response:
        return await _answer(standing(roster, mapped))

    async def get_doctor(_request: web.Request) -> web.Response:
        return await _answer(doctor(store, blobs))

    async def post_backup(request: web.Request) -> web.Response:
        return await _answer(backup(store, path_in(await request.read()), blobs))

    app = web.Application(middlewares=[_manners], client_max_size=QUESTION_BYTES_MAX)
    app.router.add_get("/standing", get_standing)
    app.router.add_get("/doctor", get_doctor)
    app.router.add_post("/backup", post_backup)
    return app


def path_in(body: bytes) -> Path:
    """Read where a backup is wanted; Failed (2) for anything but an absolute path in JSON."""
    try:
        found = json.loads(body)
        path = found["path"] if isinstance(found, dict) else None
        if isinstance(path, str) and path.startswith("/") and "\0" not in path and path.encode():
            return Path(path)
    except (KeyError, ValueError, RecursionError):
        pass
    raise Failed("A backup needs an absolute path.", exit_code=2)


@web.middleware
async def _manners(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer with a sentence, whatever was asked and whatever happened."""
    try:
        return await handler(request)
    except Failed as failure:
        return _sentence(failure, 400 if failure.exit_code == 2 else 503)
    except web.HTTPException as strange:
        return _sentence(Failed("The relay is not asked so.", exit_code=2), strange.status)


def _sentence(failure: Failed, status: int) -> web.Response:
    error = {"text": failure.text, "hint": failure.hint, "exit": failure.exit_code}
    return web.json_response({"error": error}, status=status)


async def _answer(work: Any) -> web.Response:
    # Not cancelled when the asking side hangs up: half a backup helps nobody.
    return web.json_response(await asyncio.shield(asyncio.ensure_future(work)))


def listen(path: Path) -> socket.socket:
    """Return a bound socket at *path* that only this account can reach; whoever left one behind there is gone.

    The store's lock is held by now, so no other relay of this store can be listening.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise Failed(
            f"The path of the control socket is longer than {SOCKET_PATH_BYTES_MAX} bytes: {path}.",
            hint="Set [relay] control to a shorter one.",
            exit_code=78,
        )
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        old = os.umask(0o177)
        try:
            bell.bind(str(path))
        finally:
            os.umask(old)
    except OSError as error:
        bell.close()
        raise Failed(
            f"The control socket {path} cannot be made: {error.strerror}.",
            hint="Its folder must belong to the relay's account; or set [relay] control.",
            exit_code=73,
        ) from None
    return bell


async def ask(
    path: Path, method: str, verb: str, body: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Ask the relay that listens at *path*; None if none does, Failed with its sentence if it could not."""
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(path)), timeout=timeout
            ) as session,
            session.request(method, f"http://relay/{verb}", json=body) as response,
        ):
            found: dict[str, Any] = await response.json()
    except aiohttp.ClientConnectorError:
        return None
    if "error" in found:
        error = found["error"]
        raise Failed(error["text"], hint=error.get("hint", ""), exit_code=error.get("exit", 70))
    return found
