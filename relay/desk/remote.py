"""The asking side of the counter: a desk that runs in another process, with the same verbs."""

import asyncio
import math
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from keys import statement
from keys.errors import Failed
from relay import errors
from relay.desk.control import LINE_BYTES_MAX, line_of, peer_uid, undescribe

CONNECT_SECONDS = 5
ANSWER_SECONDS = 120
"""How long to wait for an answer: a send may refresh the directory over a slow link first."""


class Remote:
    """The verbs of a desk that runs in another process; see :func:`connect`.

    Every verb raises what the desk raised there, or Failed (69: nobody answers, 75: it hung up).
    """

    def __init__(self, path: Path) -> None:
        """Ask at the socket *path*."""
        self._path = path

    async def status(self) -> dict[str, Any]:
        """Return what the desk is, whether it is connected, and how much waits."""
        return await self._ask("status", {})

    async def recipients(self, to: str, backup: str) -> dict[str, Any]:
        """Return what an officer sees of a desk before sealing."""
        return await self._ask("recipients", {"to": to, "backup": backup})

    async def send(
        self,
        header: str,
        statement: str,
        body: str,
        *,
        cek: str = "",
        staged: str = "",
        draft: str = "",
        override_stale: bool = False,
    ) -> dict[str, Any]:
        """Hand a signed message over; the running desk keeps it in its outbox and sends it."""
        signed = {"header": header, "statement": statement, "body": body}
        sealed = {"cek": cek, "staged": staged}
        # What was attached is opened once in full before it is kept.
        patience = ANSWER_SECONDS * (5 if staged else 1)
        arguments = {**signed, **sealed, "draft": draft, "override_stale": override_stale}
        return await self._ask("send", arguments, patience=patience)

    async def record(self, statement: str) -> dict[str, Any]:
        """Hand over an officer's signed statement about a message."""
        return await self._ask("record", {"statement": statement})

    async def inbox(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List the messages that need somebody, or all."""
        return await self._ask("inbox", {"all": all})

    async def sent(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List what the desk sent and nobody has taken up yet, or all."""
        return await self._ask("sent", {"all": all})

    async def matters(self) -> dict[str, Any]:
        """List the open matters, the most pressing first."""
        return await self._ask("matters", {})

    async def matter(self, msg: str) -> dict[str, Any]:
        """Return one matter: items, what is due, documents."""
        return await self._ask("matter", {"msg": msg})

    async def phone(self, desk: str) -> dict[str, Any]:
        """Return telephone numbers from the directory at hand."""
        return await self._ask("phone", {"desk": desk})

    async def show(self, msg: str) -> dict[str, Any]:
        """Return one opened message."""
        return await self._ask("show", {"msg": msg})

    async def attachments(self, msg: str) -> dict[str, Any]:
        """Return how far each attachment of a message is."""
        return await self._ask("attachments", {"msg": msg})

    async def unlock(self, msg: str, number: int) -> dict[str, Any]:
        """Return where one attachment stands sealed, and what opens it."""
        return await self._ask("unlock", {"msg": msg, "number": number})

    async def timeline(self, msg: str) -> dict[str, Any]:
        """Return every proven step of one message."""
        return await self._ask("timeline", {"msg": msg})

    async def wait(self, msg: str, kind: str, seconds: float) -> dict[str, Any]:
        """Return when such a statement is there; *seconds* are rounded up to whole ones."""
        patience = math.ceil(seconds)
        arguments = {"msg": msg, "kind": kind, "seconds": patience}
        return await self._ask("wait", arguments, patience=patience + ANSWER_SECONDS)

    async def backup(self, path: str) -> dict[str, Any]:
        """Have the running desk write a sealed copy of its archive."""
        return await self._ask("backup", {"path": path})

    async def drafts(self) -> dict[str, Any]:
        """List what was written here and not sent yet."""
        return await self._ask("drafts", {})

    async def draft(self, draft: str) -> dict[str, Any]:
        """Return one draft whole."""
        return await self._ask("draft", {"draft": draft})

    async def keep_draft(self, draft: str, value: str) -> dict[str, Any]:
        """Have the running desk keep a draft."""
        return await self._ask("keep_draft", {"draft": draft, "value": value})

    async def drop_draft(self, draft: str) -> dict[str, Any]:
        """Have the running desk delete a draft."""
        return await self._ask("drop_draft", {"draft": draft})

    async def approve(self, draft: str, statement: str) -> dict[str, Any]:
        """Hand over another officer's signed approval of a draft."""
        return await self._ask("approve", {"draft": draft, "statement": statement})

    async def statistics(self, since: int) -> dict[str, Any]:
        """Count requests by priority, with each other desk and in all."""
        return await self._ask("statistics", {"since": since})

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield each event as it happens; ends when the running desk stops."""
        reader, writer = await _reach(self._path)
        try:
            writer.write(line_of({"verb": "watch", "arguments": {}}))
            while line := await reader.readline():
                found = statement.decode(line[:-1])
                if "error" in found:
                    raise undescribe(found["error"])
                yield found["event"]
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _ask(
        self, verb: str, arguments: dict[str, Any], *, patience: float = ANSWER_SECONDS
    ) -> dict[str, Any]:
        question = line_of({"verb": verb, "arguments": arguments})
        reader, writer = await _reach(self._path)
        try:
            async with asyncio.timeout(patience):
                writer.write(question)
                await writer.drain()
                line = await reader.readuntil(b"\n")
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            raise Failed(
                f"The running desk gave no whole answer to `{verb}`.",
                hint="It may have stopped; what it had confirmed is kept. "
                "Start `desk serve` and type the same again.",
                exit_code=errors.TRY_AGAIN,
            ) from None
        finally:
            writer.close()
        found = statement.decode(line[:-1])
        if "error" in found:
            raise undescribe(found["error"])
        result: dict[str, Any] = found["result"]
        return result


async def connect(path: Path) -> Remote | None:
    """Return the desk that runs at socket *path*, or None where nobody listens.

    Raises Failed (77) where another account's process listens instead.
    """
    try:
        _reader, writer = await _reach(path)
    except Failed as error:
        if error.exit_code != errors.UNAVAILABLE:
            raise
        return None
    writer.close()
    return Remote(path)


async def _reach(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_BYTES_MAX)
    except (OSError, TimeoutError):
        raise Failed(
            f"No desk answers at {path}.", hint="Type: desk serve", exit_code=errors.UNAVAILABLE
        ) from None
    if peer_uid(writer.get_extra_info("socket")) != os.geteuid():
        writer.close()
        raise Failed(
            f"What listens at {path} is a process of another account, not this desk.",
            hint=f"See whose it is (ls -l {path}) before you type anything else.",
            exit_code=errors.NO_PERMISSION,
        )
    return reader, writer
