"""Pages by a command of the operator's: a modem, a siren, a gateway in an inner network.

The list of arguments stands in the configuration and is never changed; no shell looks at it. The text comes on standard
input, padded; the rest in a few variables. Exit codes are those of sysexits: 0 sent; usage, address, permission and
configuration errors never succeed; anything else may later.
"""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE

from relay.alert import texts
from relay.alert.page import Page, Result, Word

NEVER = frozenset({64, 67, 68, 77, 78, 126, 127})
"""usage, no such person, no such host, no permission, configuration; not executable, not found (sysexits, sh)."""
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Command:
    """A channel through a program that is started once for each page."""

    argv: tuple[str, ...]
    """The program's absolute path, and its arguments."""
    seconds: float = 15.0
    name: str = "command"

    async def send(self, page: Page) -> Result:
        """Run the command with the text on its standard input; its exit code decides."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=DEVNULL,
                cwd="/",
                env=_environment(page),
                start_new_session=True,
            )
        except OSError as error:
            return Result(Word.FAILED_PERM, f"cannot be started ({error.strerror})")
        try:
            async with asyncio.timeout(self.seconds):
                await _tell(process, f"{texts.padded(page)}\n".encode())
                code = await process.wait()
        except TimeoutError:
            return Result(Word.UNKNOWN, "did not end in time")
        finally:
            await _end(process)
        if code == 0:
            return Result(Word.SENT, "exit 0")
        word = Word.FAILED_PERM if code in NEVER else Word.FAILED_TEMP
        return Result(word, f"exit {code}" if code > 0 else f"signal {-code}")


def _environment(page: Page) -> dict[str, str]:
    """Return everything that the command finds in its environment; nothing of the relay's own is handed on."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "POC24_PAGE_CODE": page.code,
        "POC24_PAGE_KEY": page.key,
        "POC24_PAGE_LANGUAGE": page.language,
        "POC24_PAGE_PRIORITY": page.priority,
    }


async def _tell(process: asyncio.subprocess.Process, said: bytes) -> None:
    if process.stdin is None:
        return
    # A command need not listen; uvloop says RuntimeError where asyncio says ConnectionError.
    with contextlib.suppress(ConnectionError, RuntimeError):
        process.stdin.write(said)
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave nothing running that did not end in time: the command and whatever it started share a group."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
