"""The counter of the running desk: who may ask, what may be asked, and how answers and errors travel."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keys import statement
from keys.errors import Code, Failed, Refused
from relay.desk import control
from relay.desk.control import Control
from relay.desk.remote import Remote, connect

SIGNED = {"header": "h", "statement": "s", "body": "b"}


class Counterpart:
    """A desk that remembers what it was asked and answers as a test tells it to."""

    def __init__(self) -> None:
        """Start with nothing asked and no event."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.raises: Exception | None = None
        self.hold = asyncio.Event()
        self.reached = asyncio.Event()
        self.cut = asyncio.Event()
        self.watchers = 0

    def _note(self, verb: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append((verb, arguments))
        if self.raises:
            raise self.raises
        return {"verb": verb}

    async def status(self) -> dict[str, Any]:
        return self._note("status")

    async def recipients(self, to: str, backup: str) -> dict[str, Any]:
        return self._note("recipients", to=to, backup=backup)

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
        self.reached.set()
        await self.hold.wait()
        signed = {"header": header, "statement": statement, "body": body}
        sealed = {"cek": cek, "staged": staged, "draft": draft}
        return self._note("send", **signed, **sealed, override_stale=override_stale)

    async def record(self, statement: str) -> dict[str, Any]:
        return self._note("record", statement=statement)

    async def inbox(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002
        return self._note("inbox", all=all)

    async def sent(self, *, all: bool = False) -> dict[str, Any]:  # noqa: A002
        return self._note("sent", all=all)

    async def matters(self) -> dict[str, Any]:
        return self._note("matters")

    async def matter(self, msg: str) -> dict[str, Any]:
        return self._note("matter", msg=msg)

    async def phone(self, desk: str) -> dict[str, Any]:
        return self._note("phone", desk=desk)

    async def attachments(self, msg: str) -> dict[str, Any]:
        return self._note("attachments", msg=msg)

    async def unlock(self, msg: str, number: int) -> dict[str, Any]:
        return self._note("unlock", msg=msg, number=number)

    async def show(self, msg: str) -> dict[str, Any]:
        return self._note("show", msg=msg)

    async def drafts(self) -> dict[str, Any]:
        return self._note("drafts")

    async def draft(self, draft: str) -> dict[str, Any]:
        return self._note("draft", draft=draft)

    async def keep_draft(self, draft: str, value: str) -> dict[str, Any]:
        return self._note("keep_draft", draft=draft, value=value)

    async def drop_draft(self, draft: str) -> dict[str, Any]:
        return self._note("drop_draft", draft=draft)

    async def approve(self, draft: str, statement: str) -> dict[str, Any]:
        return self._note("approve", draft=draft, statement=statement)

    async def statistics(self, since: int) -> dict[str, Any]:
        return self._note("statistics", since=since)

    async def timeline(self, msg: str) -> dict[str, Any]:
        return self._note("timeline", msg=msg)

    async def wait(self, msg: str, kind: str, seconds: float) -> dict[str, Any]:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()
        return {}

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        self.watchers += 1
        self.reached.set()
        try:
            while True:
                yield await self.events.get()
        finally:
            self.watchers -= 1
            self.cut.set()

    async def backup(self, path: str) -> dict[str, Any]:
        return self._note("backup", path=path)


@pytest.fixture
def desk() -> Counterpart:
    return Counterpart()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder as `desk init` makes it."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
async def path(desk: Counterpart, home: Path) -> AsyncIterator[Path]:
    async with Control(desk, home / "control.sock"):
        yield home / "control.sock"


async def raw(path: Path, line: bytes) -> dict[str, Any]:
    """Send bytes as they are and return the decoded answer."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=control.LINE_BYTES_MAX)
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    return statement.decode(answer[:-1])


async def test_every_verb_reaches_the_method_of_its_name(desk: Counterpart, path: Path) -> None:
    """The table and both sides agree: each verb arrives under its own name with its own arguments."""
    remote = await connect(path)
    assert remote is not None
    desk.hold.set()
    await remote.status()
    await remote.recipients("AU", "AU-B")
    await remote.send("h", "s", "b", cek="k", staged="f", draft="d", override_stale=True)
    await remote.record("s")
    await remote.inbox(all=True)
    await remote.sent(all=True)
    await remote.matters()
    await remote.matter("4711082245")
    await remote.phone("AU-B")
    await remote.show("4711082245")
    await remote.attachments("4711082245")
    await remote.unlock("4711082245", 2)
    await remote.timeline("4711082245")
    assert await remote.backup("/tmp/b") == {"verb": "backup"}
    assert desk.asked == [
        ("status", {}),
        ("recipients", {"to": "AU", "backup": "AU-B"}),
        ("send", {**SIGNED, "cek": "k", "staged": "f", "draft": "d", "override_stale": True}),
        ("record", {"statement": "s"}),
        ("inbox", {"all": True}),
        ("sent", {"all": True}),
        ("matters", {}),
        ("matter", {"msg": "4711082245"}),
        ("phone", {"desk": "AU-B"}),
        ("show", {"msg": "4711082245"}),
        ("attachments", {"msg": "4711082245"}),
        ("unlock", {"msg": "4711082245", "number": 2}),
        ("timeline", {"msg": "4711082245"}),
        ("backup", {"path": "/tmp/b"}),
    ]
    public = {name for name in vars(Remote) if not name.startswith("_")}
    assert public == set(control.VERBS)


async def test_only_the_table_can_be_called(desk: Counterpart, path: Path) -> None:
    """No method of the desk but those of the table: neither `stop` nor a private one nor an attribute."""
    for verb in ("stop", "run", "_note", "__class__", "asked", ""):
        answer = await raw(path, statement.encode({"verb": verb, "arguments": {}}) + b"\n")
        assert answer["error"]["code"] == "E_ENCODING"
    assert desk.asked == []


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"[]\n",
        b'{"verb":"status"}\n',
        b'{"arguments":{},"verb":"status","x":1}\n',
        b'{"verb":"status","arguments":{}}\n',  # key order: not the one encoding (PROTOCOL 6.1)
        b'{"arguments":{"msg":1},"verb":"show"}\n',
        b'{"arguments":{"all":1},"verb":"inbox"}\n',
        b'{"arguments":{"msg":"1","all":true},"verb":"show"}\n',
        b'{"arguments":{},"verb":{}}\n',
        b"\xff\xfe\n",
    ],
)
async def test_a_line_that_is_not_exact_is_refused(
    desk: Counterpart, path: Path, line: bytes
) -> None:
    """Strict JSON with exactly the arguments of the table; anything else is E_ENCODING and asks nothing."""
    answer = await raw(path, line)
    assert answer["error"]["code"] == "E_ENCODING"
    assert answer["error"]["exit"] == 65
    assert desk.asked == []


async def test_a_line_has_a_limit(
    desk: Counterpart, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of exactly the limit is read, one byte more is E_TOO_LARGE, on both sides."""
    monkeypatch.setattr(control, "LINE_BYTES_MAX", 200)
    short = statement.encode({"verb": "show", "arguments": {"msg": ""}}) + b"\n"
    assert control.line_of({"verb": "show", "arguments": {"msg": "x" * (200 - len(short))}})
    with pytest.raises(Refused) as refused:
        control.line_of({"verb": "show", "arguments": {"msg": "x" * (201 - len(short))}})
    assert refused.value.code is Code.E_TOO_LARGE
    other = path.with_name("small.sock")
    async with Control(desk, other):
        assert "error" in await raw(other, b"x" * 400 + b"\n")
        answer = await raw(other, b"x" * 4096 + b"\n")
    assert answer["error"]["code"] == "E_TOO_LARGE"


async def test_errors_arrive_as_they_were_raised(desk: Counterpart, path: Path) -> None:
    """Refused and Failed cross the socket whole: code, sentence, hint and exit code."""
    remote = Remote(path)
    desk.raises = Refused(Code.E_UNKNOWN, "No message begins with 12.", hint="Type: desk inbox")
    with pytest.raises(Refused) as refused:
        await remote.show("12")
    assert (refused.value.code, refused.value.text, refused.value.hint) == (
        Code.E_UNKNOWN,
        "No message begins with 12.",
        "Type: desk inbox",
    )
    desk.raises = Failed("The disk is full.", hint="Make room.", exit_code=75)
    with pytest.raises(Failed) as failed:
        await remote.show("12")
    assert (failed.value.text, failed.value.hint, failed.value.exit_code) == (
        "The disk is full.",
        "Make room.",
        75,
    )


async def test_an_unknown_error_keeps_its_words_to_itself(desk: Counterpart, path: Path) -> None:
    """An error of no family may carry content: only its type crosses, and the desk goes on."""
    desk.raises = ValueError("the suspect is called N.N.")
    with pytest.raises(Failed) as failed:
        await Remote(path).status()
    assert "N.N." not in str(failed.value)
    assert "ValueError" in str(failed.value)
    desk.raises = None
    assert await Remote(path).status() == {"verb": "status"}


async def test_another_account_gets_no_answer(desk: Counterpart, home: Path) -> None:
    """The kernel names the asking process's account; another one is hung up on before a byte is read."""
    place = home / "other.sock"
    async with Control(desk, place, uid_of=lambda _socket: os.geteuid() + 1):
        reader, writer = await asyncio.open_unix_connection(str(place))
        writer.write(statement.encode({"verb": "status", "arguments": {}}) + b"\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert desk.asked == []


def test_the_kernel_names_the_account_of_the_other_end() -> None:
    """SO_PEERCRED tells the true account, which the previous test replaces."""
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert control.peer_uid(left) == os.geteuid()


async def test_socket_and_folder_are_closed_to_others(desk: Counterpart, path: Path) -> None:
    """The socket is 0600, and a folder open to others is refused with the line to type."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.parent.chmod(0o755)
    with pytest.raises(Failed) as failed:
        await Control(desk, path.parent / "second.sock").start()
    assert failed.value.exit_code == 77
    assert "chmod 700" in failed.value.hint


async def test_a_path_too_long_for_a_socket_is_a_sentence(
    desk: Counterpart, tmp_path: Path
) -> None:
    """A home so deep that no socket fits in it is named, with what to type, and not an OSError."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir(mode=0o700)
    with pytest.raises(Failed) as failed:
        await Control(desk, deep / "control.sock").start()
    assert failed.value.exit_code == 78
    assert "shorter" in failed.value.hint


async def test_a_dead_socket_is_replaced(desk: Counterpart, home: Path) -> None:
    """What a killed process left is no obstacle: nobody answers there, and the next desk takes the place."""
    place = home / "control.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    assert await connect(place) is None
    async with Control(desk, place):
        assert await Remote(place).status() == {"verb": "status"}
    assert not place.exists()


async def test_watch_streams_and_ends_with_either_side(desk: Counterpart, path: Path) -> None:
    """Events arrive one by one; hanging up ends the desk's side of it too."""
    stream = Remote(path).watch()
    first = asyncio.create_task(anext(stream))
    await desk.reached.wait()
    desk.events.put_nowait({"event": "connected", "at": 1})
    assert await first == {"event": "connected", "at": 1}
    await stream.aclose()
    async with asyncio.timeout(5):
        await desk.cut.wait()
    assert desk.watchers == 0


async def test_stopping_hangs_up_on_watchers(desk: Counterpart, home: Path) -> None:
    """When the desk drains, a watch ends without an error instead of keeping the desk alive."""
    running = Control(desk, home / "c.sock")
    await running.start()
    seen: list[dict[str, Any]] = []

    async def look() -> None:
        seen.extend([event async for event in Remote(home / "c.sock").watch()])

    looking = asyncio.create_task(look())
    await desk.reached.wait()
    await running.stop()
    async with asyncio.timeout(5):
        await looking
    assert seen == []


async def test_a_wait_ends_when_nobody_waits(desk: Counterpart, path: Path) -> None:
    """A command that is interrupted leaves no waiting task behind."""
    waiting = asyncio.create_task(Remote(path).wait("4711082245", "delivered", 60))
    await desk.reached.wait()
    waiting.cancel()
    async with asyncio.timeout(5):
        await desk.cut.wait()


async def test_a_send_is_finished_though_nobody_waits(desk: Counterpart, path: Path) -> None:
    """A send is not cut in two when the command that asked for it dies: the outbox gets it whole."""
    _reader, writer = await asyncio.open_unix_connection(str(path))
    arguments = {**SIGNED, "cek": "", "staged": "", "draft": "", "override_stale": False}
    writer.write(control.line_of({"verb": "send", "arguments": arguments}))
    await desk.reached.wait()
    writer.close()
    for _round in range(3):  # whoever hung up before these were asked has been noticed by their end
        await Remote(path).status()
    desk.hold.set()
    await Remote(path).status()
    assert [verb for verb, _arguments in desk.asked] == [
        "status",
        "status",
        "status",
        "send",
        "status",
    ]


async def test_a_send_is_finished_before_the_desk_stops(desk: Counterpart, home: Path) -> None:
    """Draining waits for what changes something: a send that is under way is kept before the desk goes."""
    running = Control(desk, home / "c.sock")
    await running.start()
    sending = asyncio.create_task(Remote(home / "c.sock").send("h", "s", "b"))
    await desk.reached.wait()
    stopping = asyncio.create_task(running.stop())
    await asyncio.sleep(0)
    assert await connect(home / "c.sock") is None, "no more questions are taken"
    desk.hold.set()
    await stopping
    assert await sending == {"verb": "send"}


async def test_no_desk_is_told_apart_from_a_silent_one(tmp_path: Path) -> None:
    """Nobody there: connect gives None, and a question is a sentence with exit code 69."""
    assert await connect(tmp_path / "control.sock") is None
    with pytest.raises(Failed) as failed:
        await Remote(tmp_path / "control.sock").status()
    assert failed.value.exit_code == 69
    assert failed.value.hint == "Type: desk serve"
