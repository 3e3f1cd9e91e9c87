"""The reference: the whole contract in plain dictionaries, to read and to compare other stores
with.

It keeps every promise but one: what is in memory does not survive the process. Simulations and
tests run on it; ``stop`` and ``start`` on the same object are a restart that keeps everything.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keys.errors import Failed
from relay.core import tlog
from relay.core.tlog import Frontier
from relay.store.base import (
    LOST,
    PAGE_KEPT_AFTER,
    PAGE_STATES,
    PREKEY_KEPT_AFTER,
    Change,
    Committed,
    Conflict,
    Delivery,
    Entry,
    Full,
    Hear,
    Kept,
    Missing,
    PageRow,
    PrekeyRow,
    Stored,
    Timer,
    damaged,
    page_rank,
    raw,
)
from relay.store.checks import (
    check_change,
    check_directory,
    check_integer,
    check_name,
    check_prekeys,
    check_result,
    check_statements,
)
from relay.store.memory_blobs import MemoryBlobs


@dataclass(slots=True)
class _Message:
    arrival: int
    version: int
    state: bytes
    envelope: bytes | None
    drop_after: int
    open: int = 0


@dataclass(slots=True)
class _Mailbox:
    entries: list[Entry] = field(default_factory=list)
    """The entry with sequence number n stands at n - 1."""
    known: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)


class MemoryStore(MemoryBlobs):
    """A store in memory. Each operation runs to its end without waiting, so each is atomic."""

    def __init__(self) -> None:
        """Begin empty; :meth:`start` gives the epoch."""
        super().__init__()
        self.epoch = 0
        self._running = False
        self._messages: dict[str, _Message] = {}
        self._statements: dict[str, Kept] = {}  # in the order in which they were logged
        self._mailboxes: dict[str, _Mailbox] = {}
        self._timers: dict[tuple[str, str], Timer] = {}
        self._pages: dict[str, PageRow] = {}
        self._marks: dict[str, int] = {}
        self._directory: tuple[int, dict[str, bytes], bytes] | None = None
        self._prekeys: dict[str, PrekeyRow] = {}
        self._log: list[bytes] = []
        self._frontier = tlog.EMPTY

    async def start(self, now: int) -> None:
        """Begin, or begin again with everything that is here."""
        self.epoch = self.epoch or max(1, now)
        self._running = True

    async def stop(self) -> None:
        """Refuse what comes until the next start."""
        self._running = False

    def _must_run(self) -> None:
        if not self._running:
            raise Failed("The store is not running.", hint="Await start() first.", exit_code=75)

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Make the change as a whole, or say why not."""
        self._must_run()
        check_change(change)
        there = self._messages.get(change.msg)
        version = there.version if there else 0
        if version != change.expected:
            return Conflict(version)
        if refused := self._full(change) or self._missing(change):
            return refused
        coming = {statement.sid for statement in change.statements}
        for entry in change.entries:
            if entry.kind == "statement" and not (
                entry.ref in coming or entry.ref in self._statements
            ):
                raise ValueError("An entry refers to a statement that is not kept.")

        if there is None:
            there = _Message(len(self._messages) + 1, 0, b"", change.envelope, 0)
            self._messages[change.msg] = there
            self._name_blobs(change)
        elif there.envelope is None and change.envelope is not None:
            there.envelope = change.envelope
            self._name_blobs(change)
        there.version, there.state = change.expected + 1, change.state
        there.drop_after = change.drop_after or there.drop_after
        self._keep(change.statements)
        seqs = tuple(self._enter(entry) for entry in change.entries)
        for desk, step in change.waiting:
            waiting = self._mailbox(desk).waiting
            (waiting.add if step > 0 else waiting.discard)(change.msg)
        for kind in change.disarm:
            self._timers.pop((kind, change.msg), None)
        self._timers.update({(timer.kind, timer.subject): timer for timer in change.arm})
        there.open = change.open
        if change.unpage:
            for page in self._pages.values():
                if page.msg == change.msg and page.state == "ready":
                    self._pages[page.id] = replace(page, state="cancelled")
        for page in change.pages:
            self._pages.setdefault(page.id, page)
        return Committed(there.version, seqs)

    def _full(self, change: Change) -> Full | None:
        if change.waiting_max:
            after: dict[str, set[str]] = {}
            for desk, step in change.waiting:
                waiting = after.setdefault(desk, set(self._mailbox(desk).waiting))
                (waiting.add if step > 0 else waiting.discard)(change.msg)
                if step > 0 and len(waiting) > change.waiting_max:
                    return Full(desk)
        return None

    def _mailbox(self, desk: str) -> _Mailbox:
        return self._mailboxes.setdefault(desk, _Mailbox())

    def _enter(self, entry: Entry) -> int:
        mailbox = self._mailbox(entry.desk)
        if entry.ref in mailbox.known:
            return 0
        mailbox.known.add(entry.ref)
        mailbox.entries.append(entry)
        return len(mailbox.entries)

    def _keep(self, statements: Sequence[Kept]) -> None:
        for statement in statements:
            if statement.sid not in self._statements:
                self._statements[statement.sid] = statement
                self._append([statement.sid])

    def _append(self, entries: Sequence[str]) -> None:
        logged = [raw(entry) for entry in entries]
        self._log.extend(logged)
        self._frontier = tlog.append(self._frontier, logged)

    async def keep(self, statements: Sequence[Kept]) -> None:
        """Keep and log statements that change no state."""
        self._must_run()
        check_statements(statements)
        self._keep(statements)

    async def load(self, msg: str) -> Stored | None:
        """Return version and state."""
        self._must_run()
        raw(msg)
        found = self._messages.get(msg)
        return Stored(found.version, found.state) if found else None

    async def envelope(self, msg: str) -> bytes | None:
        """Return the envelope, if it is still here and whole."""
        self._must_run()
        raw(msg)
        found = self._messages.get(msg)
        if found is None or found.envelope is None:
            return None
        if hashlib.sha256(found.envelope).hexdigest() != msg:
            raise damaged(msg)
        return found.envelope

    async def statement(self, sid: str) -> Kept | None:
        """Return one statement."""
        self._must_run()
        raw(sid)
        return self._statements.get(sid)

    async def statements(self, msg: str) -> tuple[Kept, ...]:
        """Return a message's statements in the log's order."""
        self._must_run()
        raw(msg)
        return tuple(kept for kept in self._statements.values() if kept.msg == msg)

    async def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return the entries after a cursor."""
        self._must_run()
        start = max(after, 0)
        found = self._mailbox(desk).entries[start : start + max(limit, 0)]
        return tuple(
            Delivery(seq, entry.kind, entry.ref, entry.msg)
            for seq, entry in enumerate(found, start + 1)
        )

    async def head(self, desk: str) -> int:
        """Return the last sequence number."""
        self._must_run()
        return len(self._mailbox(desk).entries)

    async def due(self, now: int, limit: int) -> tuple[Timer, ...]:
        """Return the timers that are due, the oldest first."""
        self._must_run()
        found = [timer for timer in self._timers.values() if timer.due <= now]
        return tuple(
            sorted(found, key=lambda timer: (timer.due, timer.kind, timer.subject))[: max(limit, 0)]
        )

    async def next_due(self) -> int | None:
        """Return when the next timer is due."""
        self._must_run()
        return min((timer.due for timer in self._timers.values()), default=None)

    async def unarmed(self, limit: int) -> tuple[str, ...]:
        """Return messages that have fewer timers than they must have."""
        self._must_run()
        armed = [timer.subject for timer in self._timers.values()]
        found = [msg for msg, message in self._messages.items() if armed.count(msg) < message.open]
        return tuple(found[: max(limit, 0)])

    async def lease_pages(self, now: int, until: int, limit: int) -> tuple[PageRow, ...]:
        """Give pages to a pager; cancel what is settled."""
        self._must_run()
        check_integer(now)
        check_integer(until)
        due = [page for page in self._pages.values() if (at := _at(page)) is not None and at <= now]
        for page in due:
            if not self._messages[page.msg].open:
                self._pages[page.id] = replace(page, state="cancelled")
        due = [page for page in due if self._messages[page.msg].open]
        due.sort(key=lambda page: (page_rank(page.priority), page.created, page.id))
        leased = tuple(
            replace(
                page,
                state="leased",
                attempt=page.attempt + 1,
                lease_until=until,
                result=LOST if page.state == "leased" else page.result,
            )
            for page in due[: max(limit, 0)]
        )
        self._pages.update({page.id: page for page in leased})
        return leased

    async def finish_page(
        self, page: str, attempt: int, state: str, result: str, not_before: int
    ) -> bool:
        """Note what came of an attempt, if its lease still counts."""
        self._must_run()
        raw(page)
        check_result(state, result)
        check_integer(not_before)
        found = self._pages.get(page)
        if found is None or (found.state, found.attempt) != ("leased", attempt):
            return False
        if state == "ready" and not self._messages[found.msg].open:
            state = "cancelled"
        self._pages[page] = replace(found, state=state, result=result, not_before=not_before)
        return True

    async def pages(self, msg: str) -> tuple[PageRow, ...]:
        """Return a message's pages."""
        self._must_run()
        raw(msg)
        found = [page for page in self._pages.values() if page.msg == msg]
        return tuple(sorted(found, key=lambda page: (page.created, page.id)))

    async def next_page(self) -> int | None:
        """Return when a page will be there to be leased."""
        self._must_run()
        times = [at for page in self._pages.values() if (at := _at(page)) is not None]
        return min(times, default=None)

    async def mark(self, name: str) -> int:
        """Return a number."""
        self._must_run()
        return self._marks.get(name, 0)

    async def put_mark(self, name: str, value: int) -> None:
        """Keep a number."""
        self._must_run()
        check_name(name)
        check_integer(value)
        self._marks[name] = value

    async def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[str]
    ) -> bool:
        """Replace the directory by a newer one."""
        self._must_run()
        check_directory(version, files)
        logged = [raw(entry).hex() for entry in log]
        if self._directory and version <= self._directory[0]:
            return False
        self._directory = (version, dict(files), pins)
        self._append(logged)
        return True

    async def directory(self) -> tuple[int, dict[str, bytes], bytes] | None:
        """Return the directory."""
        self._must_run()
        if self._directory is None:
            return None
        version, files, pins = self._directory
        return version, dict(files), pins

    async def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        """Keep prekeys."""
        self._must_run()
        check_prekeys(rows)
        for row in rows:
            self._prekeys.setdefault(row.sid, row)

    async def prekeys(self, desk: str, now: int) -> tuple[PrekeyRow, ...]:
        """Return the prekeys that are valid now or later."""
        self._must_run()
        found = [row for row in self._prekeys.values() if row.desk == desk and row.not_after > now]
        return tuple(sorted(found, key=lambda row: (row.device, row.not_before, row.sid)))

    async def purge(self, now: int, limit: int) -> int:
        """Delete what is past its date: envelopes first, then prekeys."""
        self._must_run()
        check_integer(now)
        late = [
            message
            for message in self._messages.values()
            if message.envelope is not None and 0 < message.drop_after <= now
        ]
        late = sorted(late, key=lambda message: (message.drop_after, message.arrival))[
            : max(limit, 0)
        ]
        for message in late:
            message.envelope = None
        self._let_go({msg for msg, one in self._messages.items() if one.envelope is None})
        ended = [row for row in self._prekeys.values() if row.not_after + PREKEY_KEPT_AFTER <= now]
        ended = sorted(ended, key=lambda row: (row.not_after, row.sid))[: max(limit, 0) - len(late)]
        for row in ended:
            del self._prekeys[row.sid]
        left = max(limit, 0) - len(late) - len(ended)
        over = [page for page in self._pages.values() if page.expires + PAGE_KEPT_AFTER <= now]
        over = sorted(over, key=lambda page: (page.expires, page.id))[:left]
        for page in over:
            del self._pages[page.id]
        return len(late) + len(ended) + len(over)

    async def log(self) -> Frontier:
        """Return the log's frontier."""
        self._must_run()
        return self._frontier

    async def log_entries(self, start: int, end: int) -> list[bytes]:
        """Return a part of the log."""
        self._must_run()
        return self._log[max(start, 0) : max(end, 0)]

    async def watch(self, hear: Hear) -> None:
        """Return: there is no other instance."""

    async def backup(self, path: Path) -> None:
        """Fail: there is nothing at rest that could be copied."""
        raise Failed(
            "This store lives in memory only, and a backup of it could not be started as a store.",
            hint="Run the relay on the embedded store to have backups.",
            exit_code=78,
        )

    async def check(self) -> list[str]:
        """Compare everything with everything."""
        self._must_run()
        found = []
        if tlog.append(tlog.EMPTY, self._log) != self._frontier:
            found.append("The log's frontier is not the one of its entries.")
        logged = set(self._log)
        found += [
            f"Statement {sid} is not in the log."
            for sid in self._statements
            if raw(sid) not in logged
        ]
        for msg, message in self._messages.items():
            envelope = message.envelope
            if envelope is not None and hashlib.sha256(envelope).hexdigest() != msg:
                found.append(damaged(msg).text)
        for desk, mailbox in self._mailboxes.items():
            for entry in mailbox.entries:
                if entry.msg not in self._messages:
                    found.append(f"The mailbox of {desk} names an unknown message {entry.msg}.")
                if entry.kind == "statement" and entry.ref not in self._statements:
                    found.append(f"The mailbox of {desk} names an unknown statement {entry.ref}.")
        return found

    async def counts(self) -> Mapping[str, int]:
        """Count."""
        self._must_run()
        kinds = [timer.kind for timer in self._timers.values()]
        states = [page.state for page in self._pages.values()]
        return {
            "messages": len(self._messages),
            "envelopes": sum(one.envelope is not None for one in self._messages.values()),
            "statements": len(self._statements),
            "entries": sum(len(one.entries) for one in self._mailboxes.values()),
            "waiting": sum(len(one.waiting) for one in self._mailboxes.values()),
            "open": sum(one.open > 0 for one in self._messages.values()),
            "log": self._frontier.size,
            **self._count_blobs(),
            "timers": len(kinds),
            **{f"timers_{kind}": kinds.count(kind) for kind in set(kinds)},
            **{f"pages_{state}": states.count(state) for state in PAGE_STATES},
        }


def _at(page: PageRow) -> int | None:
    """Return when a page may be leased; None once it has come to an end."""
    return {"ready": page.not_before, "leased": page.lease_until}.get(page.state)
