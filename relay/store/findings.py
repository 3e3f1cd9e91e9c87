"""What the doctor looks at in the embedded store: everything against everything, told in sentences.

Whether every open message has its timers is for the corridor to say, which knows the rules; here is
what the tables themselves promise: nothing refers to what is not there, numbers that are kept equal
those that are counted, every envelope is the one that was accepted, and the log's tree is the one
of its entries.
"""

import hashlib

from relay.store import blobrows
from relay.store.base import damaged
from relay.store.journal import Connection, Journal

DAMAGED_SHOWN_MAX = 10

_SEQUENCES = """
    SELECT name, head, count(e.seq), coalesce(max(e.seq), 0)
    FROM desk d LEFT JOIN entry e ON e.desk = d.number GROUP BY d.number
    HAVING head <> count(e.seq) OR head <> coalesce(max(e.seq), 0)
"""
_WAITING = """
    SELECT name, d.waiting, count(w.arrival)
    FROM desk d LEFT JOIN waiting w ON w.desk = d.number GROUP BY d.number
    HAVING d.waiting <> count(w.arrival)
"""
_NUMBERS = """
    SELECT (SELECT envelopes FROM store), (SELECT count(*) FROM envelope),
           (SELECT count(*) FROM message WHERE drop_after IS NOT NULL),
           (SELECT count(*) FROM message), (SELECT coalesce(max(arrival), 0) FROM message)
"""
_LOST = """
    SELECT count(*) FROM entry
    WHERE ref >= 0 AND ref NOT IN (SELECT position FROM statement)
"""
_BODIES = "SELECT msg, bytes FROM message JOIN envelope USING (arrival)"


def whole(connection: Connection, name: str = "integrity_check") -> list[str]:
    """Let SQLite look at the file itself: every page, and every index against its table."""
    rows = connection.execute(f"PRAGMA {name}").fetchall()
    return [f"SQLite's {name} says: {line}." for (line,) in rows if line != "ok"]


def look(connection: Connection, journal: Journal) -> list[str]:
    """Return findings about a store of this version."""
    if found := whole(connection, "quick_check"):
        return found  # what follows would only repeat it
    found = [
        f"A row of the table {table} refers to a row of {parent} that is not there."
        for table, _row, parent, _key in connection.execute("PRAGMA foreign_key_check")
    ]
    found += journal.check()
    found += [
        f"The mailbox of {desk} has {rows} entries up to number {last}, and its head says {head}."
        for desk, head, rows, last in connection.execute(_SEQUENCES)
    ]
    found += [
        f"{rows} messages wait for {desk}, and {kept} were counted."
        for desk, kept, rows in connection.execute(_WAITING)
    ]
    kept, bodies, dated, messages, last = connection.execute(_NUMBERS).fetchone()
    if not kept == bodies == dated:
        found.append(f"{bodies} envelopes are here, {kept} were counted, {dated} have a date.")
    if messages != last:
        found.append(f"{messages} messages are here, and the last one to arrive was number {last}.")
    (lost,) = connection.execute(_LOST).fetchone()
    if lost:
        found.append(f"{lost} mailbox entries point to a statement that is not there.")
    return found + blobrows.findings(connection) + _damaged(connection)


def _damaged(connection: Connection) -> list[str]:
    found = []
    for msg, body in connection.execute(_BODIES):
        if hashlib.sha256(body).digest() != msg:
            found.append(damaged(msg.hex()).text)
        if len(found) == DAMAGED_SHOWN_MAX:
            found.append("There may be more damaged envelopes; the rest was not looked at.")
            break
    return found
