"""The counter of a running desk: a 0600 Unix socket, a line of strict JSON to ask, one to answer.

::

    {"arguments":{"msg":"4711082245"},"verb":"show"}                     question
    {"result":{...}}                                                     answer
    {"error":{"code":"E_UNKNOWN","exit":1,"hint":"...","text":"..."}}    or refusal
    {"arguments":{},"verb":"watch"}   ->   {"event":{...}}  {"event":{...}} ...

One connection carries one question; `watch` answers with a line for each event until either side
hangs up. Only processes of the same account are answered: the folder is 0700, the socket 0600, and
each side asks the kernel who the other one is. A table maps a verb to the method of
:class:`~relay.desk.service.Desk` with the same name; nothing else can be called. No officer's key
ever passes here: what arrives is signed already. What opens an attachment passes as a message's
text does. The asking side is :mod:`relay.desk.remote`.
"""

import asyncio
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self, TypeVar

import structlog

from keys import statement
from keys.errors import Code, Failed, Poc24Error, Refused
from relay import errors

LINE_BYTES_MAX = 4 * 1024 * 1024
"""One line: a statement and a body of 1 MiB each (PROTOCOL 15) in base64, and their frame."""
CONNECTIONS_MAX = 64
QUESTION_SECONDS = 10
"""How long a connection may take to ask."""
SOCKET_PATH_BYTES_MAX = 107
"""What the kernel keeps of a Unix socket's name."""

VERBS: Mapping[str, Mapping[str, type]] = MappingProxyType(
    {
        "status": {},
        "recipients": {"to": str, "backup": str},
        "send": {
            "header": str,
            "statement": str,
            "body": str,
            "cek": str,
            "staged": str,
            "draft": str,
            "override_stale": bool,
        },
        "record": {"statement": str},
        "inbox": {"all": bool},
        "sent": {"all": bool},
        "matters": {},
        "matter": {"msg": str},
        "phone": {"desk": str},
        "show": {"msg": str},
        "attachments": {"msg": str},
        "unlock": {"msg": str, "number": int},
        "timeline": {"msg": str},
        "wait": {"msg": str, "kind": str, "seconds": int},
        "backup": {"path": str},
        "drafts": {},
        "draft": {"draft": str},
        "keep_draft": {"draft": str, "value": str},
        "drop_draft": {"draft": str},
        "approve": {"draft": str, "statement": str},
        "statistics": {"since": int},
        "watch": {},
    }
)
"""Verb -> its arguments and their types, all required. A verb is the name of the desk's method."""

_MAY_BE_CUT = {"", "wait", "watch"}
"""What ends when the asking side hangs up. All else is finished: it may be half way in a commit."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class Verbs(Protocol):
    """What can be asked of a desk, here or in another process; all values fit strict JSON."""

    async def status(self) -> dict[str, Any]:
        """Return what the desk is, whether it is connected, and how much waits."""

    async def recipients(self, to: str, backup: str) -> dict[str, Any]:
        """Return what an officer sees of a desk before sealing."""

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
        """Keep a signed message in the outbox; the link sends it."""

    async def record(self, statement: str) -> dict[str, Any]:
        """Keep and post an officer's signed statement about a message."""

    async def inbox(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List the messages that need somebody, or all."""

    async def sent(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002 - the verb's word
        """List what this desk sent and nobody has taken up yet, or all."""

    async def matters(self) -> dict[str, Any]:
        """List the open matters, the most pressing first."""

    async def matter(self, msg: str) -> dict[str, Any]:
        """Return one matter: items, what is due, documents."""

    async def phone(self, desk: str) -> dict[str, Any]:
        """Return telephone numbers from the directory at hand."""

    async def show(self, msg: str) -> dict[str, Any]:
        """Return one opened message."""

    async def attachments(self, msg: str) -> dict[str, Any]:
        """Return how far each attachment of a message is."""

    async def unlock(self, msg: str, number: int) -> dict[str, Any]:
        """Return where one attachment stands sealed, and what opens it."""

    async def timeline(self, msg: str) -> dict[str, Any]:
        """Return every proven step of one message."""

    async def wait(self, msg: str, kind: str, seconds: float) -> dict[str, Any]:
        """Return when a statement of this kind is there for this message."""

    def watch(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each event as it happens."""

    async def backup(self, path: str) -> dict[str, Any]:
        """Write a sealed copy of the archive."""

    async def drafts(self) -> dict[str, Any]:
        """List what was written here and not sent yet."""

    async def draft(self, draft: str) -> dict[str, Any]:
        """Return one draft whole."""

    async def keep_draft(self, draft: str, value: str) -> dict[str, Any]:
        """Keep a draft; an approval of it is void then."""

    async def drop_draft(self, draft: str) -> dict[str, Any]:
        """Delete a draft."""

    async def approve(self, draft: str, statement: str) -> dict[str, Any]:
        """Keep another officer's signed approval of a draft."""

    async def statistics(self, since: int) -> dict[str, Any]:
        """Count requests by priority, with each other desk and in all."""


def check_question(question: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return verb and arguments of a decoded line; E_ENCODING unless the table has exactly them."""
    if set(question) != {"verb", "arguments"}:
        raise Refused(Code.E_ENCODING, "A question to the desk has a verb and arguments only.")
    verb, arguments = question["verb"], question["arguments"]
    if not isinstance(verb, str) or verb not in VERBS:
        raise Refused(
            Code.E_ENCODING,
            "The running desk does not know this verb.",
            hint="It may be of another version than this command: restart `desk serve`.",
        )
    shape = VERBS[verb]
    if not isinstance(arguments, dict) or set(arguments) != set(shape):
        wanted = ", ".join(shape) or "nothing"
        raise Refused(Code.E_ENCODING, f"The verb {verb} takes exactly: {wanted}.")
    for name, kind in shape.items():
        if type(arguments[name]) is not kind:
            raise Refused(Code.E_ENCODING, f"The argument {name} of {verb} has another type.")
    return verb, arguments


def describe(error: Poc24Error) -> dict[str, Any]:
    """Return an error as it travels and as ``--json`` prints it; code is "" where it is our own."""
    code = error.code.value if isinstance(error, Refused) else ""
    return {
        "code": code,
        "text": error.text,
        "hint": error.hint.strip(),
        "exit": errors.exit_code(error),
    }


def undescribe(found: Mapping[str, Any]) -> Poc24Error:
    """Put together again what :func:`describe` took apart: both ways to a desk raise the same."""
    code, text, hint = str(found["code"]), str(found["text"]), str(found["hint"])
    if code in Code.__members__:
        return Refused(Code(code), text, hint=hint)
    return Failed(text, hint=hint, exit_code=int(found["exit"]))


def line_of(value: Mapping[str, Any]) -> bytes:
    """Return one line of strict JSON; E_TOO_LARGE beyond LINE_BYTES_MAX."""
    line = statement.encode(value) + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"The line has {len(line)} bytes; the limit is {LINE_BYTES_MAX}."
        )
    return line


def peer_uid(found: socket.socket) -> int:
    """Return the account of the process at the other end, as the kernel knows it."""
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux: the modes of folder and socket stand alone
        return os.geteuid()
    size = struct.calcsize("3i")
    credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


class Control:
    """The socket of one running desk. Only the holder of the home's lock opens it."""

    def __init__(
        self, desk: Verbs, path: Path, *, uid_of: Callable[[socket.socket], int] = peer_uid
    ) -> None:
        """Stand before *desk* at *path*; *uid_of* tells whose process is at the other end."""
        self._desk = desk
        self._path = path
        self._uid_of = uid_of
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], str] = {}

    async def start(self) -> None:
        """Open the socket, 0600 before anybody can connect; Failed if the place is not ours."""
        _check_place(self._path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Who holds the home's lock may remove what lies here: it is a dead process's.
            self._path.unlink(missing_ok=True)
            listening.bind(str(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._answer, sock=listening, limit=LINE_BYTES_MAX
            )
        except OSError as error:
            listening.close()
            raise Failed(
                f"The desk's socket cannot be opened at {self._path}: {error.strerror}.",
                hint="Check that the folder exists and is yours.",
                exit_code=errors.CONFIGURATION,
            ) from None

    async def stop(self) -> None:
        """Take no more questions, finish those that change something, hang up on who watches."""
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        for task, verb in list(self._open.items()):
            if verb in _MAY_BE_CUT:
                task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._server = None

    async def __aenter__(self) -> Self:
        """Open the socket."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Close the socket."""
        await self.stop()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = ""
        try:
            if self._uid_of(writer.get_extra_info("socket")) != os.geteuid():
                log.warning("control_refused", reason="another account")
                return
            if answer := await self._one(task, reader, writer):
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the other side hung up, or this desk stops: nobody is left to be told
        finally:
            del self._open[task]
            writer.close()

    async def _one(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes:
        try:
            _check_room(len(self._open))
            verb, arguments = check_question(statement.decode(await _question(reader)))
            self._open[task] = verb
            if verb == "watch":
                await _until_hung_up(reader, self._stream(writer))
                return b""
            work = getattr(self._desk, verb)(**arguments)
            result = await (_until_hung_up(reader, work) if verb in _MAY_BE_CUT else work)
            return line_of({"result": result})
        except Poc24Error as error:
            return line_of({"error": describe(error)})
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - one broken answer must not end the desk
            # The type alone: an unknown error's words may hold what only an officer should read.
            log.error("control_broke", error=type(error).__name__)  # noqa: TRY400 - see above
            broken = Failed(
                f"The running desk met an error of its own ({type(error).__name__}).",
                hint="Nothing was lost. Try again, and look at the log of `desk serve`.",
            )
            return line_of({"error": describe(broken)})

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        async for event in self._desk.watch():
            writer.write(line_of({"event": event}))
            await writer.drain()


def _check_place(path: Path) -> None:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise Failed(
            f"The path of the desk's socket is longer than the {SOCKET_PATH_BYTES_MAX} bytes "
            f"that a socket's name may have: {path}",
            hint='Choose a shorter --home, or put control = "/run/desk/control.sock" in desk.toml.',
            exit_code=errors.CONFIGURATION,
        )
    if not path.parent.is_dir():
        raise Failed(
            f"The folder of the desk's socket is not there: {path.parent}",
            hint=f"Type: mkdir -m 700 {path.parent}",
            exit_code=errors.CONFIGURATION,
        )
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    if mode & 0o077:
        raise Failed(
            f"The folder of the desk's socket is open to others (mode {mode:o}): {path.parent}",
            hint=f"Type: chmod 700 {path.parent}",
            exit_code=errors.NO_PERMISSION,
        )


def _check_room(count: int) -> None:
    if count > CONNECTIONS_MAX:
        raise Refused(
            Code.E_BUSY,
            f"More than {CONNECTIONS_MAX} commands talk to this desk at once.",
            hint="End a `desk watch` that nobody looks at, then type the same again.",
        )


async def _question(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            return (await reader.readuntil(b"\n"))[:-1]
    except asyncio.LimitOverrunError:
        raise Refused(Code.E_TOO_LARGE, f"A line has at most {LINE_BYTES_MAX} bytes.") from None
    except (asyncio.IncompleteReadError, TimeoutError):
        raise ConnectionAbortedError from None


async def _until_hung_up(reader: asyncio.StreamReader, work: Coroutine[Any, Any, Result]) -> Result:
    doing = asyncio.create_task(work)
    gone = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ConnectionAbortedError
        return doing.result()
    finally:
        for task in (doing, gone):
            task.cancel()
        await asyncio.gather(doing, gone, return_exceptions=True)
