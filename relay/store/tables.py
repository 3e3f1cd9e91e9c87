"""The embedded store's tables: messages, mailboxes, what waits, directory and prekeys.

**Validate before write.** Within a transaction each operation is first judged against the tables and against what its
neighbours have staged, then staged; only :meth:`Tables.flush` writes, table by table, many rows with one call. So a
Conflict or Full of one operation leaves the others alone, and what a whole batch costs is paid once per batch.

What is staged goes into the numbers kept in memory at once: a transaction that fails breaks the store for good, and
nobody reads those numbers again. All methods run on the store's thread.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.store.base import (
    PREKEY_KEPT_AFTER,
    Change,
    Committed,
    Conflict,
    Delivery,
    Entry,
    Full,
    Kept,
    Missing,
    PrekeyRow,
    Stored,
    damaged,
    raw,
)
from relay.store.blobrows import BlobTable
from relay.store.journal import Connection, Journal, parts_of
from relay.store.pages import Pages
from relay.store.timers import Timers

_FIND_ALL = "SELECT msg, arrival, version, open, open FROM message WHERE msg IN ({})"


class Unfounded(ValueError):
    """A change that refers to what is not here: refused before anything of it was staged."""


@dataclass(slots=True)
class _Desk:
    number: int
    head: int
    waiting: int


@dataclass(slots=True)
class _Row:
    """A message that this transaction writes; *drop_after* 0 leaves the date of a row that is there."""

    arrival: int
    version: int
    open: int = 0
    was_open: int = 0
    new: bool = False
    state: bytes = b""
    drop_after: int | None = 0
    sealed: bool = False  # its envelope comes with this transaction


class Tables:
    """Everything in the store's file but settings and file handling."""

    def __init__(self, connection: Connection) -> None:
        """Read the numbers that are kept in memory: desks, the last arrival, the log's frontier."""
        self._connection = connection
        self.journal = Journal(connection)
        self.pages = Pages(connection)
        self.timers = Timers(connection)
        self.blobs = BlobTable(connection)
        (self._envelopes,) = connection.execute("SELECT envelopes FROM store").fetchone()
        (self._arrivals,) = connection.execute(
            "SELECT coalesce(max(arrival), 0) FROM message"
        ).fetchone()
        (self._open,) = connection.execute("SELECT count(*) FROM message WHERE open > 0").fetchone()
        rows = connection.execute("SELECT name, number, head, waiting FROM desk").fetchall()
        self._desks = {name: _Desk(number, head, waiting) for name, number, head, waiting in rows}
        self._clear()

    def _clear(self) -> None:
        self._first_new = self._arrivals + 1
        self._messages: dict[bytes, _Row] = {}
        self._bodies: list[tuple[int, bytes]] = []
        self._moved: dict[str, _Desk] = {}
        self._entered: dict[tuple[int, int], tuple[int, int]] = {}
        self._waits: dict[tuple[int, int], bool] = {}
        self._counted = (self._envelopes, self.journal.statements)
        self._foreseen: dict[bytes, _Row | None] = {}
        self.journal.forget()

    # Writing

    def foresee(self, changes: Sequence[Change], statements: Sequence[Kept]) -> None:
        """Look up, all at once, the messages and statements that a transaction will ask for one by one.

        Every look-up hands Python's lock to and fro; a batch of many costs as few of them as a batch of one.
        """
        msgs = {raw(change.msg) for change in changes}
        msgs.update(raw(kept.msg) for kept in statements if kept.msg)
        sids = {raw(kept.sid) for change in changes for kept in change.statements}
        sids.update(raw(kept.sid) for kept in statements)
        self._foreseen = dict.fromkeys(msgs)
        for part in parts_of(list(msgs)):
            marks = ", ".join("?" * len(part))
            for msg, *row in self._connection.execute(_FIND_ALL.format(marks), part):
                self._foreseen[msg] = _Row(*row)
        self.journal.foresee(list(sids))

    def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Judge and stage a change that :func:`base.check_change` has passed."""
        msg = raw(change.msg)
        row = self._messages.get(msg) or self._find(msg)
        version = row.version if row else 0
        if version != change.expected:
            return Conflict(version)
        if row is None:
            row = _Row(self._arrivals + 1, 0, new=True)
        steps = self._steps(change, row.arrival)
        if isinstance(steps, Full):
            return steps
        blobs = self.blobs.find(change.blobs)
        if isinstance(blobs, Missing):
            return blobs
        self._check_refs(change)

        # From here on nothing is refused.
        self._messages[msg] = row
        if change.expected == 0:
            self._arrivals = row.arrival
            row.drop_after = None
        if change.envelope is not None and (change.expected == 0 or not self._sealed(row)):
            row.sealed, row.drop_after = True, 0
            self._bodies.append((row.arrival, change.envelope))
            self.blobs.use(row.arrival, blobs)
        row.version, row.state = change.expected + 1, change.state
        self._open += bool(change.open) - bool(row.open)
        row.open = change.open
        if change.drop_after and row.drop_after is not None:
            row.drop_after = change.drop_after
        self._keep(change.statements)
        seqs = tuple(self._enter(entry, row.arrival) for entry in change.entries)
        for desk, waits in steps.items():
            there = self._desk(desk)
            there.waiting += 1 if waits else -1
            self._waits[there.number, row.arrival] = waits
        if change.arm or change.disarm:
            self.timers.stage(change.msg, change.disarm, change.arm)
        if change.pages or change.unpage:
            self.pages.stage(row.arrival, change.pages, unpage=change.unpage)
        return Committed(row.version, seqs)

    def _sealed(self, row: _Row) -> bool:
        found = self._connection.execute("SELECT 1 FROM envelope WHERE arrival = ?", (row.arrival,))
        return row.sealed or found.fetchone() is not None

    def _find(self, msg: bytes) -> _Row | None:
        if msg in self._foreseen:
            return self._foreseen[msg]
        found = self._connection.execute(
            "SELECT arrival, version, open, open FROM message WHERE msg = ?", (msg,)
        ).fetchone()
        return _Row(*found) if found else None

    def _steps(self, change: Change, arrival: int) -> dict[str, bool] | Full:
        """Return for which desks the message begins (True) or ceases (False) to wait."""
        before: dict[str, bool] = {}
        after: dict[str, bool] = {}
        for desk, step in change.waiting:
            there = self._desks.get(desk)
            if desk not in before:
                before[desk] = there is not None and self._is_waiting(there.number, arrival)
            after[desk] = step > 0
            count = (there.waiting if there else 0) + after[desk] - before[desk]
            if step > 0 and 0 < change.waiting_max < count:
                return Full(desk)
        return {desk: waits for desk, waits in after.items() if waits != before[desk]}

    def _is_waiting(self, desk: int, arrival: int) -> bool:
        staged = self._waits.get((desk, arrival))
        if staged is not None or arrival >= self._first_new:
            return bool(staged)
        found = self._connection.execute(
            "SELECT 1 FROM waiting WHERE desk = ? AND arrival = ?", (desk, arrival)
        )
        return found.fetchone() is not None

    def _check_refs(self, change: Change) -> None:
        coming = {kept.sid for kept in change.statements}
        for entry in change.entries:
            if entry.kind == "message" or entry.ref in coming:
                continue
            if self.journal.position(raw(entry.ref)) is None:
                raise Unfounded("An entry refers to a statement that is not kept.")

    def _keep(self, statements: Sequence[Kept]) -> None:
        for kept in statements:
            row = None
            if kept.msg:
                msg = raw(kept.msg)
                row = self._messages.get(msg) or self._find(msg)
            self.journal.stage(kept, row.arrival if row else None)

    def _desk(self, name: str) -> _Desk:
        """Return a desk's numbers, to be changed and written."""
        if name not in self._desks:
            self._desks[name] = _Desk(len(self._desks) + 1, 0, 0)
        return self._moved.setdefault(name, self._desks[name])

    def _enter(self, entry: Entry, arrival: int) -> int:
        ref = -arrival  # as in the table: what is negative points to the message itself
        if entry.kind == "statement":
            kept = self.journal.position(raw(entry.ref))
            assert kept is not None  # _check_refs has looked
            ref = kept
        desk = self._desk(entry.desk)
        if (desk.number, ref) in self._entered or self._is_entered(desk.number, ref):
            return 0
        desk.head += 1
        self._entered[desk.number, ref] = (desk.head, arrival)
        return desk.head

    def _is_entered(self, desk: int, ref: int) -> bool:
        if (-ref >= self._first_new) if ref < 0 else self.journal.is_new(ref):
            return False  # what comes with this transaction cannot be in the table
        found = self._connection.execute(
            "SELECT 1 FROM entry WHERE desk = ? AND ref = ?", (desk, ref)
        )
        return found.fetchone() is not None

    def keep(self, statements: Sequence[Kept]) -> None:
        """Stage statements that change no state."""
        self._keep(statements)

    def put_directory(
        self, version: int, files: Mapping[str, bytes], pins: bytes, log: Sequence[bytes]
    ) -> bool:
        """Replace the directory, unless *version* is not newer; stage its log entries."""
        execute = self._connection.execute
        found = execute("SELECT version FROM directory").fetchone()
        if found and version <= found[0]:
            return False
        execute("INSERT OR REPLACE INTO directory VALUES (1, ?, ?)", (version, pins))
        execute("DELETE FROM directory_file")
        self._connection.executemany("INSERT INTO directory_file VALUES (?, ?)", files.items())
        self.journal.stage_entries(log)
        return True

    def put_prekeys(self, rows: Sequence[PrekeyRow]) -> None:
        """Write prekeys that are not here yet."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO prekey VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    raw(row.sid),
                    row.desk,
                    raw(row.device),
                    row.hint,
                    row.not_before,
                    row.not_after,
                    row.received,
                    row.wire,
                )
                for row in rows
            ],
        )

    def purge(self, now: int, limit: int) -> int:
        """Delete envelopes and prekeys past their date, at most *limit*."""
        execute, executemany = self._connection.execute, self._connection.executemany
        late = execute(
            "SELECT arrival FROM message WHERE drop_after > 0 AND drop_after <= ?"
            " ORDER BY drop_after, arrival LIMIT ?",
            (now, max(limit, 0)),
        ).fetchall()
        executemany("DELETE FROM envelope WHERE arrival = ?", late)
        self.blobs.let_go(late)
        executemany("UPDATE message SET drop_after = NULL WHERE arrival = ?", late)
        self._envelopes -= len(late)
        ended = execute(
            "SELECT sid FROM prekey WHERE not_after <= ? ORDER BY not_after, sid LIMIT ?",
            (now - PREKEY_KEPT_AFTER, max(limit, 0) - len(late)),
        ).fetchall()
        executemany("DELETE FROM prekey WHERE sid = ?", ended)
        gone = len(late) + len(ended)
        return gone + self.pages.purge(now, max(limit, 0) - gone)

    def flush(self) -> None:
        """Write what was staged. Parents come before those who refer to them."""
        executemany = self._connection.executemany
        rows = self._messages
        if self._moved:
            executemany(
                "INSERT INTO desk VALUES (?, ?, ?, ?) ON CONFLICT (number)"
                " DO UPDATE SET head = excluded.head, waiting = excluded.waiting",
                [(one.number, name, one.head, one.waiting) for name, one in self._moved.items()],
            )
        if rows:
            executemany(
                "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (row.arrival, msg, row.version, row.state, row.drop_after, row.open)
                    for msg, row in rows.items()
                    if row.new
                ],
            )
            executemany(
                "UPDATE message SET version = ?1, state = ?2, drop_after = CASE"
                " WHEN ?3 = 0 OR drop_after IS NULL THEN drop_after ELSE ?3 END WHERE arrival = ?4",
                [
                    (row.version, row.state, row.drop_after, row.arrival)
                    for row in rows.values()
                    if not row.new
                ],
            )
            executemany(  # apart, so that the index of open messages is touched only when it changes
                "UPDATE message SET open = ? WHERE arrival = ?",
                [
                    (row.open, row.arrival)
                    for row in rows.values()
                    if not row.new and row.open != row.was_open
                ],
            )
            late = [(one.drop_after, one.arrival) for one in rows.values() if one.sealed > one.new]
            executemany("UPDATE message SET drop_after = ? WHERE arrival = ?", late)
            executemany("INSERT INTO envelope VALUES (?, ?)", self._bodies)
            self._envelopes += len(self._bodies)
        self.journal.flush()
        if self._entered:
            executemany(
                "INSERT INTO entry (desk, ref, seq, arrival) VALUES (?, ?, ?, ?)",
                [(*key, *entered) for key, entered in self._entered.items()],
            )
        if self._waits:
            begun = [key for key, waits in self._waits.items() if waits]
            ended = [key for key, waits in self._waits.items() if not waits]
            executemany("INSERT OR IGNORE INTO waiting VALUES (?, ?)", begun)
            executemany("DELETE FROM waiting WHERE desk = ? AND arrival = ?", ended)
        self.timers.flush()
        self.pages.flush()
        self.blobs.flush()
        if (self._envelopes, self.journal.statements) != self._counted:
            self._connection.execute(
                "UPDATE store SET envelopes = ?, statements = ?",
                (self._envelopes, self.journal.statements),
            )
        self._clear()

    # Reading

    def load(self, msg: bytes) -> Stored | None:
        """Return version and state."""
        found = self._connection.execute(
            "SELECT version, state FROM message WHERE msg = ?", (msg,)
        ).fetchone()
        return Stored(*found) if found else None

    def envelope(self, msg: bytes) -> bytes | None:
        """Return the envelope; Failed if it is not the one that was accepted."""
        found: tuple[bytes] | None = self._connection.execute(
            "SELECT bytes FROM message JOIN envelope USING (arrival) WHERE msg = ?", (msg,)
        ).fetchone()
        if found is None:
            return None
        if hashlib.sha256(found[0]).digest() != msg:
            raise damaged(msg.hex())
        return found[0]

    def version(self, msg: bytes) -> int:
        """Return the version at which a message stands, what is staged included; 0 if it is not here."""
        row = self._messages.get(msg) or self._find(msg)
        return row.version if row else 0

    def scan(self, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Return (arrival, msg, state) of the messages that arrived after number *after*, in order."""
        return self._connection.execute(
            "SELECT arrival, msg, state FROM message WHERE arrival > ? ORDER BY arrival LIMIT ?",
            (after, limit),
        ).fetchall()

    def mailbox(self, desk: str, after: int, limit: int) -> tuple[Delivery, ...]:
        """Return the entries after a cursor."""
        there = self._desks.get(desk)
        if there is None or limit <= 0:
            return ()
        found = self._connection.execute(
            "SELECT e.seq, m.msg, l.entry FROM entry e JOIN message m USING (arrival)"
            " LEFT JOIN log l ON l.position = e.ref"
            " WHERE e.desk = ? AND e.seq > ? ORDER BY e.seq LIMIT ?",
            (there.number, after, limit),
        )
        return tuple(
            Delivery(seq, "message", msg.hex(), msg.hex())
            if sid is None
            else Delivery(seq, "statement", sid.hex(), msg.hex())
            for seq, msg, sid in found
        )

    def head(self, desk: str) -> int:
        """Return the last sequence number."""
        there = self._desks.get(desk)
        return there.head if there else 0

    def directory(self) -> tuple[int, dict[str, bytes], bytes] | None:
        """Return the directory."""
        found = self._connection.execute("SELECT version, pins FROM directory").fetchone()
        if found is None:
            return None
        files = self._connection.execute("SELECT name, bytes FROM directory_file ORDER BY name")
        return found[0], dict(files.fetchall()), found[1]

    def prekeys(self, desk: str, now: int) -> tuple[PrekeyRow, ...]:
        """Return the prekeys that are valid now or later."""
        found = self._connection.execute(
            "SELECT device, hint, not_before, not_after, received, sid, wire FROM prekey"
            " WHERE desk = ? AND not_after > ? ORDER BY device, not_before, sid",
            (desk, now),
        )
        return tuple(
            PrekeyRow(desk, device.hex(), hint, start, end, received, sid.hex(), wire)
            for device, hint, start, end, received, sid, wire in found
        )

    def all_prekeys(self) -> list[PrekeyRow]:
        """Return every prekey that is kept."""
        found = self._connection.execute(
            "SELECT desk, device, hint, not_before, not_after, received, sid, wire FROM prekey"
        )
        return [
            PrekeyRow(desk, device.hex(), hint, start, end, received, sid.hex(), wire)
            for desk, device, hint, start, end, received, sid, wire in found
        ]

    def counts(self) -> dict[str, int]:
        """Return the numbers; only pages are counted, and they are few."""
        return {
            "messages": self._arrivals,
            "envelopes": self._envelopes,
            "statements": self.journal.statements,
            "entries": sum(desk.head for desk in self._desks.values()),
            "waiting": sum(desk.waiting for desk in self._desks.values()),
            "open": self._open,
            "log": self.journal.frontier.size,
            **self.blobs.counts(),
            "timers": sum(self.timers.counts.values()),
            **{f"timers_{kind}": count for kind, count in self.timers.counts.items() if count},
            **self.pages.counts(),
        }
