"""Real receivers of pages on loopback, one for each channel, that take, refuse, put off, or never answer."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from builders_wire import SERVICE, relay_signer

from keys import suite
from relay.alert.command import Command
from relay.alert.email import Email
from relay.alert.page import Channel, Page
from relay.alert.webhook import Webhook

NOW = 1_900_000_000
TAKES, LATER, NEVER, HANGS = "takes", "later", "never", "hangs"
"""What a receiver does with a page."""


def page_for(label: str = "a page", **changes: Any) -> Page:
    """Return a page about one urgent request."""
    plain: dict[str, Any] = {
        "key": suite.sha256(label.encode()).hex(),
        "desk": "AU",
        "priority": "urgent",
        "mode": "actual",
        "count": 1,
        "oldest": 0,
        "repeat": False,
        "language": "en",
        "at": NOW,
    }
    return Page(**{**plain, **changes})


@dataclass
class Receiver:
    """Somebody at the other end of a channel. *got* is everything that reached them, byte for byte."""

    channel: Channel
    behaviour: str = TAKES
    got: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """What a person would have read, padding and all."""


# Webhook


class Hook:
    """A web server that is paged."""

    def __init__(self) -> None:
        """Take pages at first."""
        self.behaviour = TAKES
        self.bodies: list[bytes] = []
        self.raw: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.statuses = {TAKES: 202, LATER: 503, NEVER: 410}
        self.elsewhere = 0
        self.base = ""
        self.over = asyncio.Event()

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Take one page as told."""
        body = await request.read()
        self.bodies.append(body)
        head = b"".join(name + b": " + value + b"\r\n" for name, value in request.raw_headers)
        self.raw.append(request.path_qs.encode() + b"\r\n" + head + body)
        if self.behaviour == HANGS:
            await self.over.wait()
            return web.Response()
        if self.behaviour == "redirects":
            return web.Response(status=307, headers={"Location": f"{self.base}/elsewhere"})
        if self.behaviour == "talks":
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await response.write(b"x" * 65536)
            return response
        return web.Response(status=self.statuses[self.behaviour], headers=self.headers)

    async def other(self, _request: web.Request) -> web.Response:
        """Count who came here: nobody should."""
        self.elsewhere += 1
        return web.Response()


@asynccontextmanager
async def hooked(tls: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
    """Run a web server on loopback; its ``base`` is where it is."""
    hook = Hook()
    app = web.Application()
    app.router.add_post("/page", hook.page)
    app.router.add_route("*", "/elsewhere", hook.other)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    hook.base = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield hook
    finally:
        hook.over.set()
        await runner.cleanup()


# E-mail


class MailServer:
    """A small SMTP server: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, QUIT, with a behaviour."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> None:
        """Offer STARTTLS with *tls*, or speak TLS *at_once*."""
        self.tls = tls
        self.at_once = at_once
        self.behaviour = TAKES
        self.mails: list[bytes] = []
        self.said: list[str] = []
        self.logins: list[str] = []
        self.secure: list[bool] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one sender."""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        if self.behaviour == "mute":
            await reader.read()
            return
        secure = self.at_once
        await say("421 later" if self.behaviour == "busy" else "220 mail.test")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.said.append(line)
            verb = line.split(" ", 1)[0].upper()
            if verb == "EHLO":
                await say("250-mail.test")
                if self.tls and not secure:
                    await say("250-STARTTLS")
                await say("250 AUTH PLAIN")
            elif verb == "STARTTLS" and self.tls:
                await say("220 go ahead")
                await writer.start_tls(self.tls)
                secure = True
            elif verb == "AUTH":
                plain = base64.b64decode(line.split()[2]).decode().split("\0")
                self.logins.append(":".join(plain[1:]))
                await say("235 ok" if plain[2] == "right" else "535 no")
            elif verb == "RCPT" and self.behaviour in (LATER, NEVER):
                await say("451 later" if self.behaviour == LATER else "550 no such mailbox")
            elif verb == "DATA":
                await say("354 go on")
                mail = await reader.readuntil(b"\r\n.\r\n")
                self.mails.append(mail[:-3])
                self.secure.append(secure)
                if self.behaviour == HANGS:
                    await reader.read()
                    return
                if self.behaviour == "breaks":
                    return
                await say("250 taken")
            elif verb == "QUIT":
                await say("221 bye")
                return
            else:
                await say("250 ok")


@asynccontextmanager
async def mailed(
    tls: ssl.SSLContext | None = None, *, at_once: bool = False
) -> AsyncIterator[MailServer]:
    """Run an SMTP server on loopback."""
    server = MailServer(tls, at_once=at_once)
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(server.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls if at_once else None)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await listening.wait_closed()


def body_of(mail: bytes) -> str:
    """Return the text of a mail, as its reader sees it."""
    _head, _empty, body = mail.partition(b"\r\n\r\n")
    return base64.b64decode(body).decode()


# Command

SCRIPT = """#!/bin/sh
# Writes down everything that it is given, then does as told.
here=$1
number=$(ls "$here" | wc -l)
{ tr '\\000' '\\n' </proc/self/environ; echo; cat; } >"$2.new" && mv "$2.new" "$here/got$number"
case $(cat "$2") in
    takes) exit 0 ;;
    later) exit 75 ;;
    never) exit 78 ;;
    hangs) echo $$ >"$3"; sleep 60 & wait ;;
    *) exit 1 ;;
esac
"""


@dataclass
class Script:
    """A program that is paged, and where it writes."""

    folder: Path
    program: Path
    told: Path
    pid: Path

    @classmethod
    def at(cls, folder: Path) -> "Script":
        """Write the program."""
        made = cls(folder / "got", folder / "pager.sh", folder / "told", folder / "pid")
        made.folder.mkdir()
        made.program.write_text(SCRIPT)
        made.program.chmod(0o755)
        made.tell(TAKES)
        return made

    def tell(self, behaviour: str) -> None:
        """Say what it is to do."""
        self.told.write_text(behaviour)

    @property
    def argv(self) -> tuple[str, ...]:
        """Return what starts it."""
        return tuple(map(str, (self.program, self.folder, self.told, self.pid)))

    def got(self) -> list[bytes]:
        """Return what it was given, in order."""
        count = len(list(self.folder.iterdir()))
        return [(self.folder / f"got{number}").read_bytes() for number in range(count)]


# All of them in one shape


class Rig:
    """One channel and its receiver, in the shape that the conformance suite plays on."""

    def __init__(
        self, channel: Channel, hook: Hook | None, mail: MailServer | None, script: Script | None
    ) -> None:
        """Hold one of the three."""
        self.channel = channel
        self._hook, self._mail, self._script = hook, mail, script

    def behave(self, behaviour: str) -> None:
        """Say what the receiver is to do from now on."""
        for one in (self._hook, self._mail):
            if one is not None:
                one.behaviour = behaviour
        if self._script is not None:
            self._script.tell(behaviour)

    def got(self) -> list[bytes]:
        """Return everything that reached the receiver, page by page."""
        if self._hook is not None:
            return list(self._hook.raw)
        if self._mail is not None:
            return list(self._mail.mails)
        return self._script.got() if self._script else []

    def read(self) -> list[str]:
        """Return what a person reads of each page."""
        if self._hook is not None:
            from keys import statement

            bodies = [statement.peek(body).payload for body in self._hook.bodies]
            return [str(statement.decode(body)["text"]) for body in bodies]
        if self._mail is not None:
            return [body_of(mail).strip() for mail in self._mail.mails]
        return [one.decode().splitlines()[-1].strip() for one in self.got()]


KINDS = ("webhook", "email", "command")


@asynccontextmanager
async def rigged(kind: str, folder: Path, *, seconds: float = 5.0) -> AsyncIterator[Rig]:
    """Run a receiver of *kind* and yield it with its channel, which gives up after *seconds*."""
    if kind == "webhook":
        async with hooked() as hook:
            webhook = Webhook(f"{hook.base}/page", SERVICE, relay_signer(), seconds=seconds)
            yield Rig(webhook, hook, None, None)
    elif kind == "email":
        async with mailed() as server:
            email = Email(
                "relay@relay.test",
                "duty@au.test",
                "127.0.0.1",
                server.port,
                "none",
                seconds=seconds,
            )
            yield Rig(email, None, server, None)
    else:
        script = Script.at(folder)
        yield Rig(Command(script.argv, seconds=seconds), None, None, script)
