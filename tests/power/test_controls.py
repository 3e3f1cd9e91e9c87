# ruff: noqa: T201 - what happened in a run is told with it
"""The harness has teeth: stores that break one rule of durability each, and each of them must lose something."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from builders_lives import Lost, live

from keys.errors import Failed
from relay import durable
from relay.store import schema, sqlite
from relay.store.sqlite import SqliteStore
from relay.store.tables import Tables
from relay.store.writer import Operation, _release

STORIES_MAX = 400
"""Stories after which a control is said to have lost nothing: then the harness is blind."""


class AnswersEarly(SqliteStore):
    """Tells its callers before the commit."""

    def _work(self, batch: list[Operation]) -> None:
        flush = self._tables.flush

        def early() -> None:
            flush()
            _release([operation for operation in batch if operation.writes])

        with mock.patch.object(self._tables, "flush", early):
            super()._work(batch)


class GoesOn(SqliteStore):
    """Rolls back after an I/O error, and serves on with the same connection."""

    def _work(self, batch: list[Operation]) -> None:
        assert self._connection
        try:
            super()._work(batch)
        except sqlite3.Error as error:
            self._connection.rollback()
            self._kept = Tables(self._connection)
            for operation in batch:
                operation.error = Failed(f"not now: {error}")

    def _checkpoint(self, mode: str) -> None:
        try:
            super()._checkpoint(mode)
        except sqlite3.Error:
            if self._kept is None:  # at start
                raise


class NoCheckpoint(SqliteStore):
    """Starts on what the cache shows."""

    def _checkpoint(self, mode: str) -> None:
        if self._kept is not None:
            super()._checkpoint(mode)


class TimersApart(SqliteStore):
    """Writes timers in a transaction of their own."""

    def _work(self, batch: list[Operation]) -> None:
        assert self._connection
        timers, flush = self._tables.timers, self._tables.timers.flush

        def apart() -> None:
            assert self._connection
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")
            flush()

        with mock.patch.object(timers, "flush", apart):
            super()._work(batch)


def _nothing(*_args: object) -> None:
    pass


def believes_the_log() -> AbstractContextManager[Any]:
    """Leave out that the log is written again at start."""
    return mock.patch.object(sqlite, "settle_log", _nothing)


def normal() -> AbstractContextManager[Any]:
    """Set synchronous=NORMAL."""
    settings = tuple(
        (name, "NORMAL", 1) if name == "synchronous" else (name, value, expected)
        for name, value, expected in schema.SETTINGS
    )
    return mock.patch.object(schema, "SETTINGS", settings)


@contextmanager
def nameless() -> Iterator[None]:
    """Leave out every sync of a folder that the store asks for."""
    sync = durable.sync
    with mock.patch.object(durable, "sync", lambda path: None if path.is_dir() else sync(path)):
        yield


@dataclass(frozen=True)
class Control:
    """A store that breaks a rule, and what is broken around it."""

    make: Callable[..., SqliteStore] = SqliteStore
    broken: Callable[[], AbstractContextManager[Any]] = nullcontext
    aim: str = ""


CONTROLS = {
    "synchronous=NORMAL": Control(broken=normal),
    "reply before commit": Control(AnswersEarly),
    "continue after an I/O error": Control(GoesOn, aim="sync"),
    "start without a checkpoint": Control(NoCheckpoint, believes_the_log, "sync"),
    "start that believes the log": Control(broken=believes_the_log, aim="sync"),
    "names without a sync": Control(broken=nameless, aim="folder"),
    "timers in a transaction of their own": Control(TimersApart),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_store_that_breaks_a_rule_loses(name: str) -> None:
    """Within some stories the checker finds what this store has lost; if it did not, it could find nothing."""
    control = CONTROLS[name]
    with control.broken():
        for seed in range(STORIES_MAX):
            try:
                live(seed, control.make, aim=control.aim)
            except Lost as lost:
                print(f"{name}: lost in story {seed}: {str(lost)[:200]}")
                return
    pytest.fail(f"{name}: nothing was lost in {STORIES_MAX} stories: the checker is blind")
