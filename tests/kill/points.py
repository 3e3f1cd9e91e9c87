"""Where a process kills itself: points between two steps of the product, laid around it from outside.

A point is a name and a function that wraps one step of a class in this process. Nothing of this is in the product: a
child of kill.nursery arms one point, and at the n-th time that the step is reached the process sends itself SIGKILL.
"""

import importlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from relay.core import limits
from relay.desk import inbox, mailroom
from relay.desk.archive import Archive
from relay.desk.intake import Intake
from relay.desk.outbox import Outbox
from relay.desk.service import Desk
from relay.desk.session import Session as DeskSession
from relay.server.app import Relay
from relay.server.session import Session
from relay.store.sqlite import SqliteStore
from relay.store.tables import Tables
from relay.wire import content
from relay.wire.frames import Type

RECEIPTS = frozenset({"delivered", "acknowledged"})
MIDDLE_S = 0.0015
"""A point "in the middle" lies up to this long after the step has begun."""
ALWAYS: Callable[..., bool] = lambda *_args: True  # noqa: E731 - a name for the plainest condition

_passing: dict[str, Callable[[], None]] = {}


class Die:
    """Counts how often a point is passed, and ends the process at the n-th time."""

    def __init__(self, point: str, nth: int) -> None:
        """Die when called for the *nth* time."""
        self._point = point
        self._left = nth

    def __call__(self) -> None:
        """Pass the point."""
        self._left -= 1
        if self._left == 0:
            self.now()

    def now(self) -> None:
        """Say where, and be gone: no handler runs, nothing is flushed."""
        os.write(1, f"!{self._point}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def soon(self) -> None:
        """Be gone while the step that begins now is under way."""
        self._left -= 1
        if self._left == 0:
            delay = random.random() * MIDDLE_S

            def end() -> None:
                time.sleep(delay)
                self.now()

            threading.Thread(target=end, daemon=True).start()


def put(owner: Any, name: str, step: Any) -> None:
    """Put *step* in the place of a step of the product, in this process."""
    setattr(owner, name, step)


def before(owner: Any, name: str, die: Callable[[], None], when: Callable[..., bool]) -> None:
    """Pass a point before a coroutine of *owner* is run, if *when* says so of its arguments."""
    whole = getattr(owner, name)

    async def wrapped(*args: Any, **more: Any) -> Any:
        if when(*args):
            die()
        return await whole(*args, **more)

    put(owner, name, wrapped)


def after(owner: Any, name: str, die: Callable[[], None], when: Callable[..., bool]) -> None:
    """Pass a point when a coroutine of *owner* is done, if *when* says so of its result and arguments."""
    whole = getattr(owner, name)

    async def wrapped(*args: Any, **more: Any) -> Any:
        found = await whole(*args, **more)
        if when(found, *args):
            die()
        return found

    put(owner, name, wrapped)


def plainly(
    owner: Any,
    name: str,
    die: Callable[[], None],
    when: Callable[..., bool] = ALWAYS,
    *,
    first: bool = False,
) -> None:
    """The same for a function that is no coroutine: *first*, before it; else after it, with its result."""
    whole = getattr(owner, name)

    def wrapped(*args: Any, **more: Any) -> Any:
        if first and when(*args):
            die()
        found = whole(*args, **more)
        if not first and when(found, *args):
            die()
        return found

    put(owner, name, wrapped)


# The relay


def _submits(_store: Any, change: Any) -> bool:
    return change.envelope is not None


def _brings(*kinds: str) -> Callable[[Any, Any], bool]:
    def so(_store: Any, change: Any) -> bool:
        return change.envelope is None and any(one.kind in kinds for one in change.statements)

    return so


def _then(so: Callable[..., bool]) -> Callable[..., bool]:
    return lambda _found, *args: so(*args)


def _written(die: Die, *, soon: bool = False) -> None:
    """Inside the transaction that brings an envelope: all is written, and the commit comes next."""
    state = {"brings": False}
    work, flush = SqliteStore._work, Tables.flush

    def working(self: Any, batch: Any) -> None:
        changes = [one.args[0] for one in batch if one.writes and one.args]
        state["brings"] = any(getattr(one, "envelope", None) for one in changes)
        work(self, batch)

    def flushing(self: Any) -> None:
        flush(self)
        if state["brings"]:
            (die.soon if soon else die)()

    put(SqliteStore, "_work", working)
    put(Tables, "flush", flushing)


def _answered(die: Die, kind: Type, *, silent: bool) -> None:
    """An answer has left for its desk; *silent*: nothing is pushed before that."""
    answer = Session._answer

    async def answering(self: Any, frame: Any) -> None:
        await answer(self, frame)
        if frame.type is kind:
            await self._out.flushed(1)
            die()

    put(Session, "_answer", answering)
    if silent:

        async def pushing(_self: Any) -> bool:
            return False

        put(Session, "_push_some", pushing)


def _pushed(die: Die) -> None:
    async def offering(self: Any, _msg: str) -> None:
        await self._out.flushed(1)
        die()

    put(Session, "_offered", offering)


def _called(die: Die) -> None:
    from relay.alert.webhook import Webhook

    after(Webhook, "send", die, lambda found, *_: found.word.value == "sent")


def _open_doors(die: Die) -> None:
    before(Relay, "_open", die, lambda *args: args[4] == "listen")


RELAY: Mapping[str, Callable[[Die], None]] = MappingProxyType(
    {
        "a submission is decided, and not written": lambda die: before(
            SqliteStore, "commit", die, _submits
        ),
        "a submission is written, and not committed": _written,
        "in the middle of the commit of a submission": lambda die: _written(die, soon=True),
        "a submission is durable, and not answered": lambda die: after(
            SqliteStore, "commit", die, _then(_submits)
        ),
        "a submission is answered, and not pushed": lambda die: _answered(
            die, Type.SUBMIT, silent=True
        ),
        "a message is pushed, and its offer not signed": _pushed,
        "a message was handed out": lambda die: _answered(die, Type.PICKUP, silent=False),
        "a receipt is decided, and not written": lambda die: before(
            SqliteStore, "commit", die, _brings(*RECEIPTS)
        ),
        "a receipt is durable, and not answered": lambda die: after(
            SqliteStore, "commit", die, _then(_brings(*RECEIPTS))
        ),
        "a receipt is answered": lambda die: _answered(die, Type.RECORD, silent=True),
        "a stage is signed, and not durable": lambda die: before(
            SqliteStore, "commit", die, _brings("escalated")
        ),
        "a stage is durable, and nobody is told": lambda die: after(
            SqliteStore, "commit", die, _then(_brings("escalated"))
        ),
        "silence is signed, and not durable": lambda die: before(
            SqliteStore, "commit", die, _brings("exhausted")
        ),
        "silence is durable, and nobody is told": lambda die: after(
            SqliteStore, "commit", die, _then(_brings("exhausted"))
        ),
        "an expiry is durable, and nobody is told": lambda die: after(
            SqliteStore, "commit", die, _then(_brings("expired"))
        ),
        "pages are leased, and not sent": lambda die: after(
            SqliteStore, "lease_pages", die, lambda found, *_: bool(found)
        ),
        "a page is sent, and not noted": _called,
        "a page is noted, and not said": lambda die: after(
            SqliteStore, "finish_page", die, lambda _found, *args: args[3] == "sent"
        ),
        "in the middle of a checkpoint": lambda die: plainly(
            SqliteStore, "_checkpoint", die.soon, lambda *args: args[1] == "PASSIVE", first=True
        ),
        "envelopes are deleted, and it is not committed": lambda die: plainly(
            Tables, "purge", die, lambda found, *_: found > 0
        ),
        "envelopes are deleted for good": lambda die: after(
            SqliteStore, "purge", die, lambda found, *_: found > 0
        ),
        "the store is open, and nothing else": lambda die: plainly(SqliteStore, "_open", die),
        "what was overdue has fired, and the doors are shut": _open_doors,
    }
)

# The desk


def _sent(die: Die) -> None:
    after(DeskSession, "_send", die, lambda _found, *args: args[1].type is Type.SUBMIT)


def _asks(kind: Type) -> Callable[..., bool]:
    return lambda *args: args[1] is kind


def _shown(die: Die) -> None:
    plainly(Desk, "_tell", die, lambda _found, *args: args[1]["event"] == "message")


SENDER: Mapping[str, Callable[[Die], None]] = MappingProxyType(
    {
        "a message is kept, and not sealed": lambda die: plainly(Outbox, "add", die),
        "a message is sealed, and not sent": lambda die: before(
            DeskSession, "ask", die, _asks(Type.SUBMIT)
        ),
        "a message is sent, and not answered": _sent,
        "its acceptance has come, and is not kept": lambda die: after(
            DeskSession, "ask", die, _then(_asks(Type.SUBMIT))
        ),
        "its acceptance is kept": lambda die: plainly(Outbox, "_accepted", die),
        "an officer's message is kept, and he does not know": lambda die: after(
            Desk, "send", die, ALWAYS
        ),
        "a statement is taken in": lambda die: plainly(
            Intake, "take", die, lambda found, *_: found is not None
        ),
        "in the middle of a commit of the archive": lambda die: plainly(
            Archive, "_barrier", die.soon, first=True
        ),
    }
)

RECIPIENT: Mapping[str, Callable[[Die], None]] = MappingProxyType(
    {
        "messages are fetched, and not opened": lambda die: after(
            mailroom.Mailroom, "pick_up", die, lambda found, *_: bool(found)
        ),
        "a message is opened, and not kept": lambda die: plainly(content, "open_message", die),
        "a message is kept, and not shown": lambda die: plainly(
            inbox.Inbox, "take", die, lambda found, *_: found.taken is inbox.Taken.SHOWN
        ),
        "a message is shown, and its place not kept": _shown,
        "the place is kept, and not confirmed": lambda die: before(
            DeskSession, "say", die, _asks(Type.SEEN)
        ),
        "a receipt is signed, and not posted": lambda die: before(
            DeskSession, "ask", die, _asks(Type.RECORD)
        ),
        "a receipt is recorded, and that is not kept": lambda die: after(
            DeskSession, "ask", die, _then(_asks(Type.RECORD))
        ),
        "an officer's word is kept, and not posted": lambda die: after(Desk, "record", die, ALWAYS),
        "the archive is written, and not committed": lambda die: plainly(
            Archive, "_barrier", die, first=True
        ),
        "the archive is open, and nothing else": lambda die: plainly(Archive, "__init__", die),
    }
)

TUNED = MappingProxyType(
    {
        "relay.server.ticker:PURGE_EVERY_S": 0.5,
        "relay.core.limits:ENVELOPE_GRACE_S": 1,
        "relay.alert.pager:APART_S": 1,
        "relay.alert.pager:PER_MINUTE": 6000,
        "relay.alert.pager:BACKOFF_S": 1,
        "relay.store.sqlite:WAL_PAGES_REST": 40,
        "relay.store.sqlite:WAL_PAGES_MAX": 160,
        "relay.desk.link:BACKOFF_FIRST_S": 0.05,
        "relay.desk.link:BACKOFF_MAX_S": 0.2,
        "relay.desk.mailroom:BUSY_AGAIN_S": 0.2,
        "relay.desk.records:POST_AGAIN_S": 1,
        "relay.desk.outbox:HELD_S": 1,
        "relay.desk.inbox:PARKED_AGAIN_S": 1,
    }
)
"""Waits that are shortened in every child, so that fifty deaths fit into a minute; no step is left out by them."""
assert limits.ENVELOPE_GRACE_S


def tune(name: str, value: float) -> None:
    """Set a constant of a module: ``relay.desk.link:BACKOFF_MAX_S``."""
    module, constant = name.split(":")
    found = importlib.import_module(module)
    assert hasattr(found, constant), f"{name} is not there any more"
    setattr(found, constant, value)


def arm(point: str, nth: int) -> None:
    """Let this process die at *point*, when it comes there for the *nth* time."""
    die = Die(point, nth)
    _who, name = point.split(": ", 1)
    for table in (RELAY, SENDER, RECIPIENT):
        if name in table:
            table[name](die)
            return
    _passing[name] = die  # a point inside of a planted bug


def passing(name: str) -> None:
    """Pass a point inside of a planted bug."""
    if name in _passing:
        _passing[name]()


def all_points() -> list[str]:
    """Return every point with the process that has it: "relay: ...", "VN: ...", "AU: ..."."""
    tables = (("relay", RELAY), ("VN", SENDER), ("AU", RECIPIENT))
    return [f"{who}: {name}" for who, table in tables for name in table]
