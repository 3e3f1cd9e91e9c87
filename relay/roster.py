"""Who is who at the relay: the last verified directory, and the prekeys that its devices published (PROTOCOL 8).

The authority is in the signatures, not in who sends: anybody may hand in a newer directory, and only a device's own
signature makes a prekey its prekey. The relay works on its last verified directory, fresh or not.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence

from keys import directory as directories
from keys.directory import Directory, Trusted
from keys.errors import Code, Failed, Refused
from keys.statement import peek
from relay.core import limits
from relay.store.base import Kept, PrekeyRow, Store


class Roster:
    """The directory in force and the prekeys by desk, over one store. Caches only: the store has it all."""

    def __init__(self, store: Store, anchor: Trusted) -> None:
        """Begin with the trust anchor, or a later state of it; nothing is read before :meth:`start`."""
        self._store = store
        self._trusted = anchor
        self._directory: Directory | None = None
        self._prekeys: dict[str, tuple[PrekeyRow, ...]] = {}
        self._publishing = asyncio.Lock()

    async def start(self, now: int) -> None:
        """Take up the directory and the prekeys that the store holds."""
        kept = await self._store.directory()
        if kept is not None:
            _version, files, pins = kept
            self._same_anchor(files)
            self._trusted = Trusted(
                files, {desk: tuple(pin) for desk, pin in json.loads(pins).items()}
            )
        if "timestamp.json" in self._trusted.files:
            self._directory = directories.view(self._trusted, now)
            for desk in self._directory.desks:
                self._prekeys[desk] = await self._store.prekeys(desk, now)

    def _same_anchor(self, files: Mapping[str, bytes]) -> None:
        """Refuse a store that was filled under another root document: it belongs to another network."""
        for name, root in self._trusted.files.items():
            if files.get(name, root) != root:
                raise Failed(
                    "The store was filled under another root document than the one in the configuration.",
                    hint="Set [directory] root to this network's root.json, or give this relay a store of its own.",
                    exit_code=78,
                )

    @property
    def directory(self) -> Directory:
        """The last verified directory; Failed while none was published."""
        if self._directory is None:
            raise Failed(
                "This relay has no directory yet, so it knows no desk.",
                hint="Publish one: relay publish PACK --url URL, or set [directory] folder in its configuration.",
                exit_code=78,
            )
        return self._directory

    @property
    def published(self) -> bool:
        """Whether there is a directory at all."""
        return self._directory is not None

    async def publish(self, files: Mapping[str, bytes], now: int) -> int:
        """Take a newer directory in; return the version in force. Raises as ``keys.directory.update`` does."""
        async with self._publishing:  # two at once could put the older one over the newer one
            trusted, directory = directories.update(self._trusted, files, now)
            if self._directory is not None and directory.version <= self._directory.version:
                return self._directory.version
            log = directories.hashes(self._trusted, trusted)
            pins = json.dumps({desk: list(pin) for desk, pin in trusted.pins.items()}).encode()
            if await self._store.put_directory(directory.version, trusted.files, pins, log):
                self._trusted, self._directory = trusted, directory
            else:  # another instance was faster
                await self.start(now)
            return self.directory.version

    @property
    def files(self) -> Mapping[str, bytes]:
        """All files of the directory in force, by their TUF names."""
        return self._trusted.files

    async def take_prekeys(self, statements: Sequence[bytes], now: int) -> None:
        """Keep and log prekeys that active devices signed; all or none, and a repeat changes nothing."""
        rows: list[PrekeyRow] = []
        for wire in statements:
            member = self.directory.device(peek(wire).keyid)
            if member is None or not member.active(now):
                raise Refused(
                    Code.E_SIGNER,
                    "The prekey is signed by a device that the directory does not list as active.",
                )
            one = directories.read_prekey(wire, member)
            if one.not_after <= now or one.not_before > now + limits.PREKEY_AHEAD_S_MAX:
                raise Refused(
                    Code.E_EXPIRED,
                    "The prekey is past its last day, or begins more than four weeks ahead.",
                )
            rows.append(
                PrekeyRow(
                    one.desk,
                    one.device,
                    one.hint,
                    one.not_before,
                    one.not_after,
                    now,
                    one.sid,
                    wire,
                )
            )
        self._check_count(rows)
        await self._store.keep([Kept(row.sid, "prekey", "", row.wire, now) for row in rows])
        await self._store.put_prekeys(rows)
        for desk in {row.desk for row in rows}:
            self._prekeys[desk] = await self._store.prekeys(desk, now)

    def _check_count(self, rows: Sequence[PrekeyRow]) -> None:
        for desk in {row.desk for row in rows}:
            known = {row.sid: row.device for row in self._prekeys.get(desk, ())}
            known.update((row.sid, row.device) for row in rows if row.desk == desk)
            devices = list(known.values())
            if any(
                devices.count(device) > limits.PREKEYS_PER_DEVICE_MAX for device in set(devices)
            ):
                raise Refused(
                    Code.E_TOO_LARGE,
                    f"A device may have at most {limits.PREKEYS_PER_DEVICE_MAX} prekeys not past their last day.",
                )

    def prekeys(self, desk: str) -> tuple[PrekeyRow, ...]:
        """Return all prekeys of a desk's devices, revoked or not, that this relay knows of."""
        return self._prekeys.get(desk, ())

    async def prekeys_of(self, desk: str, now: int) -> list[bytes]:
        """Return the wires of the prekeys of a desk's active devices, valid now or later."""
        active = {member.device_kid for member in self.directory.desk(desk).active(now)}
        return [row.wire for row in await self._store.prekeys(desk, now) if row.device in active]
