"""Lives of a desk's archive on a simulated disk: what the desk does on the strength of a commit, and what it then finds.

The steps are those of the desk's rooms, with small rows: a message is written, sealed, sent, accepted and settled; one
comes in, is shown once and receipted; a prekey is published, ends and is destroyed. The world outside remembers what it
was sent and shown. In the next life every row must be what was kept, the step in flight whole or not there, and:

* whatever was sent has its row: the desk knows what it sent and to whom (PROTOCOL 9.3);
* nothing is shown twice (PROTOCOL 9.4);
* a destroyed secret is gone for good, from the rows and from the bytes of the files (PROTOCOL 8.7).
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from builders_apsw import seed_sqlite, stage
from builders_lives import LIVES, Fate, Tally
from builders_store import digest

from keys import suite
from keys.errors import Failed, Refused
from relay import durable
from relay.desk import archive as archives
from relay.desk.archive import Archive
from relay.desk.shelves import DONE, SEED_SHELF, SHELVES, WAITING

KEY = bytes(range(32))
Rows = dict[tuple[str, str], dict[str, Any]]


@dataclass(slots=True)
class Step:
    """One commit: what it puts, changes and deletes, and what the desk does once it has returned."""

    put: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    change: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    drop: list[tuple[str, str]] = field(default_factory=list)
    scrub: bool = False
    """Whether the log is emptied afterwards, so that nothing of what was dropped is left."""
    then: Callable[[], None] = lambda: None

    def do(self, archive: Archive) -> None:
        """Do it to an archive."""
        with archive.commit():
            for table, row, values in self.put:
                archive.put(table, row, *_split(table, values))
            for table, row, values in self.change:
                archive.change(table, row, *_split(table, values))
            for table, row in self.drop:
                archive.drop(table, row)
        if self.scrub:
            archive.scrub()

    def note(self, rows: Rows) -> None:
        """Do it to the rows as they should be."""
        for table, row, values in self.put:
            rows[table, row] = dict(values)
        for table, row, values in self.change:
            if (table, row) in rows:
                rows[table, row] |= values
        for table, row in self.drop:
            rows.pop((table, row), None)


def _split(table: str, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    shelf = SHELVES[table]
    clear = {name: value for name, value in values.items() if name in shelf.clear}
    return clear, {name: value for name, value in values.items() if name in shelf.sealed}


def _whole(table: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a row with all its columns."""
    shelf = SHELVES[table]
    plain = {name: 0 if kind == "INTEGER" else "" for name, kind in shelf.clear.items()}
    return {**plain, **dict.fromkeys(shelf.sealed, b""), **values}


@dataclass(slots=True)
class World:
    """What the outside remembers, whatever becomes of the desk."""

    sent: dict[str, str] = field(default_factory=dict)
    """Message id to statement id, as the relay was given them."""
    shown: list[str] = field(default_factory=list)
    """Statement ids as the officer saw them."""
    offered: list[str] = field(default_factory=list)
    """What the relay gives to the desk until it confirms."""
    confirmed: int = 0
    """The cursor that the relay was told."""
    destroyed: dict[str, bytes] = field(default_factory=dict)
    """Hints of prekeys whose destruction was told, and the sealed bytes of their secrets."""


class Desk:
    """What the desk does next, drawn from the dice and from what its archive says."""

    def __init__(self, dice: random.Random) -> None:
        """Begin with an empty world."""
        self.dice = dice
        self.world = World()
        self._number = 0

    def step(self, archive: Archive) -> Step:
        """Return the next step."""
        kinds = ("_compose", "_sign", "_accepted", "_receive", "_recorded", "_prekey", "_destroy")
        made: Step | None = None
        while made is None:
            made = getattr(self, self.dice.choice(kinds))(archive)
        return made

    def _id(self, what: str) -> str:
        self._number += 1
        return digest(f"{what} {self._number}")

    def _bytes(self, most: int = 3000) -> bytes:
        return self.dice.randbytes(self.dice.randint(1, most))

    def _message(self, sid: str, way: str) -> list[tuple[str, str, dict[str, Any]]]:
        letter = {
            "way": way,
            "received": 7,
            "expires": 99,
            "header": b"header",
            "body": self._bytes(),
        }
        return [
            ("message", sid, _whole("message", letter)),
            ("replay", sid, {"until": 99}),
            ("vigil", sid, _whole("vigil", {"due": 9, "open": 1})),
        ]

    def _compose(self, archive: Archive) -> Step:
        sid = self._id("statement")
        row = _whole("outbox", {"state": WAITING, "created": 7, "cek": self.dice.randbytes(32)})
        return Step(put=[*self._message(sid, "sent"), ("outbox", sid, row)])

    def _sign(self, archive: Archive) -> Step | None:
        rows = archive.find("outbox", "state = ?", (WAITING,))
        if not rows:
            return None
        row = self.dice.choice(rows)
        sid = row["id"]
        if row["msg"] and self.dice.random() < 0.5:  # what was signed is sent again as it is

            def again() -> None:
                self.world.sent[row["msg"]] = sid

            return Step(change=[("outbox", sid, {"attempts": row["attempts"] + 1})], then=again)
        msg = self._id("message")

        def send() -> None:
            self.world.sent[msg] = sid

        sealed = {"msg": msg, "envelope": self._bytes(9000), "submission": self._bytes(200)}
        statement = _whole("statement", {"msg": msg, "kind": "submitted", "wire": self._bytes(200)})
        return Step(
            put=[
                ("alias", msg, _whole("alias", {"sid": sid, "way": "sent"})),
                ("statement", self._id("submission"), statement),
            ],
            change=[("outbox", sid, sealed)],
            then=send,
        )

    def _accepted(self, archive: Archive) -> Step | None:
        rows = archive.find("outbox", "state = ? AND msg <> ''", (WAITING,), columns=())
        if not rows:
            return None
        row = self.dice.choice(rows)
        statement = _whole("statement", {"msg": row["msg"], "kind": "accepted", "wire": b"signed"})
        done = {"state": DONE, "envelope": b"", "submission": b"", "reason": b""}
        return Step(
            put=[("statement", self._id("accepted"), statement)],
            change=[("outbox", row["id"], done), ("vigil", row["id"], {"due": 0})],
        )

    def _receive(self, archive: Archive) -> Step:
        world = self.world
        cursor = archive.get("meta", "cursor")
        seen = int(cursor["value"]) if cursor else 0
        if seen == len(
            world.offered
        ):  # the relay has something new, or the same text under another id
            again = world.offered and self.dice.random() < 0.3
            world.offered.append(
                self.dice.choice(world.offered) if again else self._id("statement")
            )
        sid = world.offered[seen]
        known = archive.count("replay", "id = ?", (sid,)) or archive.get("message", sid)
        receipt = self._id("receipt")
        step = Step(
            put=[
                *([] if known else self._message(sid, "received")),
                ("alias", self._id("message"), _whole("alias", {"sid": sid, "way": "received"})),
                ("statement", receipt, _whole("statement", {"kind": "delivered", "mine": 1})),
                ("posting", receipt, _whole("posting", {"wire": b"signed"})),
                ("meta", "cursor", {"value": str(seen + 1).encode()}),
            ]
        )

        def confirm() -> None:
            world.confirmed = seen + 1
            if not known:
                world.shown.append(sid)

        step.then = confirm
        return step

    def _recorded(self, archive: Archive) -> Step | None:
        rows = archive.find("posting", limit=1, columns=())
        return Step(drop=[("posting", rows[0]["id"])]) if rows else None

    def _prekey(self, archive: Archive) -> Step:
        hint = self._id("prekey")[:16]
        return Step(
            put=[
                ("prekey", hint, _whole("prekey", {"not_after": 9, "wire": b"signed"})),
                (SEED_SHELF, hint, {"not_after": 9, "seed": self.dice.randbytes(32)}),
            ]
        )

    def _destroy(self, archive: Archive) -> Step | None:
        rows = archive.find(SEED_SHELF, columns=())
        if len(rows) < 3:
            return None
        hint = rows[0]["id"]
        ((sealed,),), _count = archive._run(
            f"SELECT seed FROM {SEED_SHELF} WHERE id = ?",
            (hint,),
        )

        def told() -> None:
            self.world.destroyed[hint] = bytes(sealed)

        return Step(drop=[(SEED_SHELF, hint), ("prekey", hint)], scrub=True, then=told)


class ArchiveStory:
    """One disk, the lives of a desk on it, and what the world outside knows."""

    def __init__(self, seed: int, make: Callable[..., Archive] = Archive, *, aim: str = "") -> None:
        """Draw everything from *seed*; *make* is the archive under test."""
        self.fate = Fate(seed, aim=aim)
        self.dice, self.disk = self.fate.dice, self.fate.disk
        self._make = make
        self._desk = Desk(random.Random(f"desk {seed}"))
        self._rows: Rows = {}
        self._unknown: Step | None = None

    def run(self, lives: int = LIVES) -> Tally:
        """Live *lives* lives and one that nothing disturbs; raise Lost if a promise was broken."""
        self.disk.path("")
        seed_sqlite()
        nonces = random.Random("nonces")
        with ExitStack() as undo:
            undo.enter_context(stage(archives, durable))
            undo.enter_context(mock.patch.object(suite, "random_bytes", nonces.randbytes))
            for number in range(lives + 1):
                self._live(calm=number == lives)
        return self.fate.tally

    def _live(self, *, calm: bool) -> None:
        fate = self.fate
        fate.begin(calm=calm)
        archive: Archive | None = None
        end = "lost"
        try:
            archive = self._make(self.disk.path("archive.db"), KEY)
            end = self._compare(archive)
            if not end:
                fate.work()
                end = self._serve(archive)
        except Failed as error:
            fate.told.append(f"start: {error.text}")
            if not self.disk.struck:
                raise fate.lost(f"the start refused although nothing failed: {error}") from error
            end = "start refused"
        finally:
            fate.dying(end)
            if archive is not None:
                archive.close()
        fate.end(end)

    def _compare(self, archive: Archive) -> str:
        """Find every row as it was kept, and the step in flight whole or not at all."""
        try:
            found = dict(_rows_of(archive))
            ((verdict,), *_more), _count = archive._run("PRAGMA integrity_check")
        except Failed as error:
            self.fate.told.append(f"looking: {error.text}")
            if not self.disk.struck:
                raise self.fate.lost(f"it cannot be read: {error}") from error
            return "not looked at"
        except Refused as error:
            raise self.fate.lost(f"a row does not open any more: {error}") from error
        if verdict != "ok":
            raise self.fate.lost(f"SQLite says {verdict}")
        if (differs := _first_difference(self._rows, found)) and self._unknown:
            self._unknown.note(self._rows)
            differs = _first_difference(self._rows, found)
            self.fate.tally.durable_unknown += 1
        if differs:
            raise self.fate.lost(f"what is here is not what was kept: {differs}")
        self._unknown = None
        self._look_outside(found)
        return ""

    def _look_outside(self, found: Rows) -> None:
        """Compare with what the world outside remembers."""
        world = self._desk.world
        for msg, sid in world.sent.items():
            if found.get(("alias", msg), {}).get("sid") != sid or ("outbox", sid) not in found:
                raise self.fate.lost(f"message {msg} was sent, and the desk does not know it")
        if len(set(world.shown)) != len(world.shown):
            raise self.fate.lost("a message was shown twice")
        cursor = int(found.get(("meta", "cursor"), {"value": b"0"})["value"])
        if cursor < world.confirmed:
            raise self.fate.lost(f"the cursor was {world.confirmed} and is {cursor}")
        self._look_for_secrets()

    def _look_for_secrets(self) -> None:
        """Look for destroyed secrets in every file, as it is read now and as a power cut would leave it."""
        files = [(path, bytes(node.cache)) for path, node in self.disk.names.items()]
        files += list(self.disk.image().items())
        for hint, sealed in self._desk.world.destroyed.items():
            for path, data in files:
                if sealed in data:
                    raise self.fate.lost(f"the destroyed secret of {hint} is in {path}")

    def _serve(self, archive: Archive) -> str:
        """Do some steps; return how the life ended."""
        for _ in range(self.dice.randint(1, 25)):
            try:
                step = self._desk.step(archive)
            except Failed:
                return "failed"
            try:
                step.do(archive)
            except Failed:
                self._unknown = step
                self.fate.tally.unknown += 1
                if archive._broken or self.disk.died:
                    return "failed"
                # It goes on. Then the desk stands on what it shows from now on.
                if end := self._compare(archive):
                    return end
                continue
            step.note(self._rows)
            step.then()
            if step.scrub:
                self._look_for_secrets()
            self.fate.tally.answered += 1
        return self.dice.choice(("stopped", "stopped", "kill"))


def _rows_of(archive: Archive) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for table in SHELVES:
        for row in archive.find(table):
            name = row.pop("id")
            if (table, name) != ("meta", "key"):
                yield (table, name), row


def _first_difference(expected: Rows, found: Rows) -> str:
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            return f"{name} should be {expected.get(name)!r:.300} and is {found.get(name)!r:.300}"
    return ""


def live_archive(
    seed: int, make: Callable[..., Archive] = Archive, *, lives: int = LIVES, aim: str = ""
) -> Tally:
    """Run the story of one seed; raise Lost with the seed and the story if a promise was broken."""
    return ArchiveStory(seed, make, aim=aim).run(lives)
