"""Who is who, as this desk knows it: the trusted directory, other desks' prekeys, and this device's own.

The directory is fetched from the relay and believed only for its signatures (PROTOCOL 8). It is judged by this
machine's clock. An expired one is still taken and used for receiving; who wants to send is told (8.5).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from keys import directory as directories
from keys import suite
from keys.directory import DeskEntry, Directory, Prekey, Trusted
from keys.errors import Code, Failed, Refused
from keys.identity import Signer
from keys.statement import Statement, peek
from relay.desk import proof
from relay.desk.archive import Archive
from relay.desk.shelves import SEED_SHELF
from relay.desk.sound import sound
from relay.wire import frames
from relay.wire.frames import Type

REFRESH_EVERY_S = 600
REFRESH_BEFORE_SENDING_S = 60
"""The directory is fetched every ten minutes, and before sending unless that was within a minute (PROTOCOL 8.5)."""
SEED_KEPT_S = 7 * 86_400
"""A prekey's secret is destroyed this long after its not_after (PROTOCOL 8.7): what it opens has expired by then."""
AHEAD_S = directories.AHEAD_SECONDS_MAX
WEEK_S = directories.PREKEY_SECONDS_MAX
EARLY_S = 3600
"""The first prekey of a device begins this long before it was made, so that a clock that is slow finds it valid."""
FILES_MAX = 6000
FETCHED_BYTES_MAX = 64 * 1024 * 1024
ROUNDS_MAX = 16
NEIGHBOURS_MAX = 31 * 8
"""Prekeys that are read of one desk: thirty-one devices, five weeks, and some that overlap."""


class TurnedDown(Refused):
    """The relay's own refusal of a call: its word, as against what this desk itself finds wrong with an answer."""


Ask = Callable[[Type, bytes], Awaitable[bytes]]
"""One call to the relay over the open session: type and body in, the answer's body out; raises TurnedDown."""


class Roster:
    """The directory in force and the prekeys on both sides, kept in the archive."""

    def __init__(self, archive: Archive, *, desk: str, service: str, device: Signer) -> None:
        """Read what the archive holds; no directory is there before :meth:`begin` or a restore."""
        self._archive = archive
        self._device = device
        self.desk = desk
        self.service = service
        self.refreshed_at = 0
        """When the directory was last fetched, by this machine's clock; 0: not since the start."""
        self._refreshing = asyncio.Lock()
        self._trusted = self._kept()
        self._directory: Directory | None = None

    def _kept(self) -> Trusted | None:
        rows = self._archive.find("directory_file")
        held = self._archive.get("meta", "pins")
        if not rows or held is None:
            return None
        pins = {desk: tuple(pin) for desk, pin in json.loads(held["value"]).items()}
        return Trusted({row["id"]: row["value"] for row in rows}, pins)

    def begin(self, root: bytes) -> None:
        """Take the trust anchor: the root document that was got by hand. Nothing happens if there is one."""
        if self._trusted is None:
            self._keep(directories.begin(root))

    def take(self, trusted: Trusted) -> None:
        """Take a verified state of the directory that somebody brought, in place of what is there."""
        self._keep(trusted)

    def _keep(self, trusted: Trusted) -> None:
        before = self._trusted.files if self._trusted else {}
        with self._archive.commit():
            for name in before.keys() - trusted.files.keys():
                self._archive.drop("directory_file", name)
            for name, data in trusted.files.items():
                if before.get(name) != data:
                    self._archive.put("directory_file", name, {}, {"value": data})
            pins = {desk: list(pin) for desk, pin in trusted.pins.items()}
            self._archive.put("meta", "pins", {}, {"value": json.dumps(pins).encode()})
        self._trusted, self._directory = trusted, None

    @property
    def directory(self) -> Directory:
        """The directory in force; E_DIRECTORY_STALE while this desk has none."""
        if self._directory is None:
            if self._trusted is None or "timestamp.json" not in self._trusted.files:
                raise Refused(
                    Code.E_DIRECTORY_STALE,
                    "This desk has no directory yet, so it knows nobody.",
                    hint="Start `desk serve` where it can reach the relay: it fetches the directory.",
                )
            self._directory = directories.view(self._trusted, 0)
        return self._directory

    @property
    def known(self) -> bool:
        """Whether there is a directory at all."""
        return self._trusted is not None and "timestamp.json" in self._trusted.files

    @property
    def me(self) -> DeskEntry:
        """This desk's own entry."""
        return self.directory.desk(self.desk)

    def accepted(self, wire: bytes, msg: str) -> Statement:
        """Verify the relay's ``accepted`` of this message; E_BINDING if it is of another one."""
        found = proof.by_relay(wire, {"accepted"}, self.directory, self.service)
        if found["msg"] != msg:
            raise Refused(Code.E_BINDING, "The relay's acceptance is of another message.")
        return found

    async def refresh(self, ask: Ask, own_now: int) -> bool:
        """Fetch and verify the newest directory; return whether it is another. *own_now*: this machine's clock.

        Raises Refused as ``keys.directory.update`` does; what was trusted then stays in force.
        """
        async with self._refreshing:  # two at once could put the older answer over the newer one
            return await self._refresh(ask, own_now)

    async def _refresh(self, ask: Ask, own_now: int) -> bool:
        if self._trusted is None:
            raise Failed(
                "This desk has no trust anchor.",
                hint="Type: desk init --root root.json",
                exit_code=78,
            )
        trusted, offered, size = self._trusted, dict[str, bytes](), 0

        async def fetch(name: str) -> bytes:
            nonlocal size
            try:
                data = await ask(Type.GET_FILE, name.encode("ascii"))
            except TurnedDown as refused:
                if refused.code is not Code.E_UNKNOWN:
                    raise
                data = b""
            size += len(data)
            if size > FETCHED_BYTES_MAX or len(offered) >= FILES_MAX:
                raise Refused(Code.E_TOO_LARGE, "The relay offers a directory beyond every limit.")
            offered[name] = data
            return data

        while await fetch(directories.next_root(trusted, offered)):
            pass
        if (
            await fetch("timestamp.json") == trusted.files.get("timestamp.json")
            and len(offered) == 2
        ):
            self.refreshed_at = (
                own_now  # the same root and the same timestamp: everything is as it was
            )
            return False
        for _round in range(ROUNDS_MAX):
            names = directories.missing(trusted, offered)
            if not names:
                break
            for name in names:
                await fetch(name)
        files = {name: data for name, data in offered.items() if data}
        after, directory = directories.update(trusted, files, own_now, allow_expired=True)
        self.refreshed_at = own_now
        if after == trusted:
            return False
        self._keep(after)
        self._directory = directory
        return True

    # Other desks' prekeys

    async def fetch_prekeys(self, ask: Ask, desk: str, now: int) -> None:
        """Fetch and keep the prekeys of a desk; what does not verify is left out."""
        entry = self.directory.desk(desk)
        found: dict[str, Prekey] = {}
        for wire in frames.split(await ask(Type.GET_PREKEYS, desk.encode("ascii")))[
            :NEIGHBOURS_MAX
        ]:
            prekey = _read(wire, entry)
            if prekey is not None and prekey.not_after > now:
                found[prekey.sid] = prekey
        with self._archive.commit():
            self._archive.purge("neighbour", "desk = ?", (desk,))
            for sid, one in found.items():
                clear: dict[str, int | str] = {"desk": desk}
                times = {"not_before": one.not_before, "not_after": one.not_after}
                self._archive.put("neighbour", sid, {**clear, **times}, {"wire": one.wire})

    def prekeys_of(self, desk: str, now: int) -> list[bytes]:
        """Return one public prekey per active device of a desk: the newest that is valid now (PROTOCOL 8.7).

        In the order of the members; a device without a valid prekey is left out.
        """
        entry = self.directory.desk(desk)
        rows = self._archive.find(
            "neighbour", "desk = ? AND not_before <= ? AND not_after > ?", (desk, now, now)
        )
        newest: dict[str, Prekey] = {}
        for row in rows:
            prekey = _read(row["wire"], entry)
            if prekey is None:
                continue
            held = newest.get(prekey.device)
            if held is None or (prekey.not_before, prekey.sid) > (held.not_before, held.sid):
                newest[prekey.device] = prekey
        members = entry.active(now)
        return [newest[one.device_kid].key for one in members if one.device_kid in newest]

    # This device's own prekeys

    def seeds(self) -> dict[bytes, bytes]:
        """Return the secrets of this device's prekeys by hint."""
        rows = sound(self._archive, SEED_SHELF)
        return {bytes.fromhex(row["id"]): row["seed"] for row in rows}

    def published(self, hints: Sequence[bytes]) -> bool:
        """Whether one of these is a prekey of this device: a message that names it was sealed for it."""
        mine = {row["id"] for row in self._archive.find("prekey", columns=())}
        return any(hint.hex() in mine for hint in hints)

    def prekeys_until(self) -> int:
        """Return until when senders can seal to this device, seconds UTC; 0 if they cannot."""
        rows = self._archive.find(
            "prekey", "published = 1", order="not_after DESC", limit=1, columns=()
        )
        return int(rows[0]["not_after"]) if rows else 0

    def make_prekeys(self, now: int) -> int:
        """Make prekeys, a week each, until four weeks ahead are covered; return how many. Kept before published."""
        rows = self._archive.find("prekey", order="not_after DESC", limit=1, columns=())
        last = int(rows[0]["not_after"]) if rows else 0
        begins = last if now < last else now - EARLY_S
        made = 0
        while begins + WEEK_S <= now + AHEAD_S:
            self._make_prekey(begins, begins + WEEK_S)
            begins, made = begins + WEEK_S, made + 1
        return made

    def _make_prekey(self, begins: int, ends: int) -> None:
        seed = suite.random_bytes(suite.SEED_BYTES)
        made = directories.make_prekey(self.desk, seed, begins, ends, self._device)
        hint = suite.pkid_of(suite.prekey_public(seed))[: suite.HINT_BYTES].hex()
        with self._archive.commit():
            self._archive.put(SEED_SHELF, hint, {"not_after": ends}, {"seed": seed})
            clear = {"not_before": begins, "not_after": ends, "published": 0}
            self._archive.put("prekey", hint, clear, {"wire": made.wire})

    async def publish(self, ask: Ask) -> int:
        """Publish what is not published yet; return how many prekeys that were."""
        rows = self._archive.find("prekey", "published = 0", order="not_before", limit=64)
        if not rows:
            return 0
        await ask(Type.PREKEYS, frames.join(*(row["wire"] for row in rows)))
        with self._archive.commit():
            for row in rows:
                self._archive.change("prekey", row["id"], {"published": 1})
        return len(rows)

    def publish_again(self, now: int) -> None:
        """The relay's store is another one: publish what is still good anew. Called inside a commit."""
        for row in self._archive.find("prekey", "not_after > ?", (now,), columns=()):
            self._archive.change("prekey", row["id"], {"published": 0})

    def destroy_old(self, now: int) -> int:
        """Destroy the secrets of prekeys that ended more than seven days ago; return how many."""
        old = now - SEED_KEPT_S
        if not self._archive.count(SEED_SHELF, "not_after < ?", (old,)):
            return 0
        with self._archive.commit():
            gone = self._archive.purge(SEED_SHELF, "not_after < ?", (old,))
            self._archive.purge("prekey", "not_after < ?", (old,))
        self._archive.scrub()
        return gone


def _read(wire: bytes, entry: DeskEntry) -> Prekey | None:
    """Read a prekey by whichever device of the desk signed it; None if it is nobody's or not right."""
    try:
        member = entry.by_device(peek(wire).keyid)
        return directories.read_prekey(wire, member) if member else None
    except Refused:
        return None


def telephone(entry: DeskEntry) -> str:
    """Return where to call a desk, for a sentence: numbers with hours and languages (PROTOCOL 8.3)."""
    lines: Sequence[dict[str, str]] = entry.profile["exhausted"]
    return "; ".join(
        f"{one['number']} ({', '.join(one['languages'])}; {one['hours']})" for one in lines
    )
