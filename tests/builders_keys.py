"""A whole network in memory for tests: root, registrar, freshness, desks, officers, devices, a relay's keys.

Everything is made by the same functions as the real thing, from seeds that are derived from names: two worlds with one
description are equal to the last byte, but for sealed messages.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from keys import ceremony, statement, suite
from keys.directory import (
    Directory,
    Member,
    Prekey,
    Trusted,
    begin,
    make_prekey,
    read_prekey,
    update,
    view,
)
from keys.identity import Role, Signer
from keys.metadata import KeySet
from keys.repository import current_entry

NOW = 1_800_000_000
"""When every world begins: 2027-01-15 08:00 UTC."""
WEEK = 7 * 86_400
SERVICE = "poc24-test"
INSTANCE = "relay.test/1"
NAMES = {
    "VN": (("vi", "Đầu mối 24/7 Việt Nam"), ("en", "24/7 contact point of Viet Nam")),
    "AU": (("en", "24/7 contact point of Australia"),),
    "AU-B": (("en", "Australia, backup contact point"),),
}


def seed(name: str) -> bytes:
    """Return 32 bytes that only this name gives."""
    return hashlib.sha256(b"poc24 test world: " + name.encode()).digest()


def signer(role: Role, name: str) -> Signer:
    """Return a key pair that only this role and name give."""
    return Signer(role, seed(f"{role}/{name}"))


FLOOR = {
    "emergency": {"acknowledge_s": 900, "first_stage_s": 60, "progress_s": 300},
    "urgent": {"acknowledge_s": 3600, "first_stage_s": 300, "progress_s": 900},
    "routine": {"acknowledge_s": 86_400, "first_stage_s": 3600, "progress_s": 3600},
}


def profile(number: str = "+84 24 1234 5678") -> dict[str, Any]:
    """Return a realistic escalation profile, as slow as the network allows."""

    def stages(*steps: tuple[int, str]) -> list[dict[str, Any]]:
        return [{"after_s": after, "kind": kind, "handles": ["duty"]} for after, kind in steps]

    return {
        "emergency": {
            "acknowledge_s": 900,
            "progress_s": 300,
            "stages": stages((60, "path"), (180, "backstop"), (480, "backup")),
        },
        "urgent": {
            "acknowledge_s": 3600,
            "progress_s": 900,
            "stages": stages((300, "path"), (600, "backstop"), (1200, "backup")),
        },
        "routine": {"acknowledge_s": 86_400, "progress_s": 3600, "stages": stages((3600, "path"))},
        "exhausted": [
            {"label": "duty officer", "number": number, "languages": ["en"], "hours": "24/7"}
        ],
    }


def card(desk: str, backup: str = "") -> dict[str, Any]:
    """Return a realistic card of a desk."""
    names = NAMES.get(desk, (("en", f"24/7 contact point {desk}"),))
    return {
        "state": desk[:2],
        "names": [{"language": language, "name": name} for language, name in names],
        "treaties": [{"treaty": "UNCC", "since": "2026-12-01", "reservations": []}],
        "capabilities": [
            {"assistance": "preservation", "capability": "direct"},
            {"assistance": "location", "capability": "facilitates"},
        ],
        "languages": ["en", "vi"] if desk == "VN" else ["en"],
        "preservation_days": 90,
        "renewals": 2,
        "office": {},
        "oral": True,
        "backup": backup,
        "authority": f"Ministry of Justice ({desk[:2]})",
        "verified": "2027-01-04",
    }


class World:
    """A complete network; :attr:`files` is what a relay serves. Changes of it are published at once (`freshen`)."""

    def __init__(
        self,
        desks: Sequence[str] = ("VN", "AU", "AU-B"),
        *,
        officers: int = 2,
        devices: int = 1,
        servers: bool = False,
        now: int = NOW,
    ) -> None:
        """Hold a ceremony at *now*: officers are called ``vn-01``, ``vn-02``; with *servers* each desk has one."""
        self.now = now
        self.service, self.instance = SERVICE, INSTANCE
        self.evidence = signer(Role.RELAY, INSTANCE)
        self.log = signer(Role.LOG, INSTANCE)
        self.log_mldsa = seed("log mldsa")
        self.root_signers = [signer(Role.ROOT, str(n)) for n in range(1, 6)]
        self.registrar = [signer(Role.REGISTRAR, str(n)) for n in range(1, 4)]
        self.freshness = signer(Role.FRESHNESS, "automaton")
        self.desk_signers: dict[str, list[Signer]] = {}
        self._handles: dict[str, list[str]] = {}
        self._devices = devices
        self.files: dict[str, bytes] = ceremony.ceremony(
            KeySet.of(3, self.root_signers),
            KeySet.of(2, self.registrar),
            KeySet.of(1, [self.freshness]),
            self.root_signers[:3],
            self.registrar[:2],
            self.network(),
            now,
        )
        self.root = self.files["1.root.json"]
        for desk in desks:
            self._delegate(desk, now)
            handles = [f"{desk.lower()}-{n:02d}" for n in range(1, officers + 1)]
            self._enter_all(desk, handles, servers=servers, now=now)
        self.freshen(now)

    def network(self) -> dict[str, Any]:
        """Return ``network.json`` with one service and one instance."""
        instance = {
            "origin": INSTANCE,
            "evidence_key": statement.b64u(self.evidence.public),
            "log_key": statement.b64u(self.log.public),
            "log_mldsa": statement.b64u(suite.mldsa_public(self.log_mldsa)),
        }
        return {
            "v": 1,
            "services": [
                {"name": SERVICE, "url": "ws://127.0.0.1:8424", "ca": "", "instances": [instance]}
            ],
            "witnesses": "",
            "tsa": [],
            "versions": [{"version": 1, "send": True, "receive_until": 0}],
            "limits": {"minimum_gap_s": 60, "messages_per_minute": 60, "waiting": 1000},
            "floor": FLOOR,
        }

    def _delegate(self, desk: str, now: int) -> None:
        self.desk_signers[desk] = [signer(Role.DESK, f"{desk}/1")]
        keys = KeySet.of(1, self.desk_signers[desk])
        self.files = ceremony.add_desk(self.files, desk, keys, self.registrar[:2], now)

    def _enter_all(self, desk: str, handles: list[str], *, servers: bool, now: int) -> None:
        self._handles[desk] = handles
        members = [
            self._member(desk, handle, n, now) for handle in handles for n in range(self._devices)
        ]
        if servers:
            members.append(self._member(desk, "", 0, now))
        serves = [ceremony.statement_kid(one["device_key"]) for one in members[-1:]]
        backup = f"{desk}-B" if desk == "AU" else ""
        entry = ceremony.new_entry(desk, members, profile(), card(desk, backup), serves=serves)
        self.files = ceremony.enter(self.files, desk, entry, self.desk_signers[desk], now)

    def _member(self, desk: str, handle: str, n: int, now: int) -> dict[str, Any]:
        officer = self.signer(desk, handle) if handle else None
        device = self.device(desk, handle, n)
        enrol = [one.wire for one in ceremony.prove(desk, handle, officer, device, now)]
        officer_key = officer.public if officer else b""
        return ceremony.new_member(desk, handle, officer_key, device.public, enrol, now)

    # What a reader sees

    def trusted(self, now: int | None = None) -> Trusted:
        """Return the trusted state of somebody who begins with root document 1 and takes everything."""
        at = self.now if now is None else now
        return update(begin(self.root), self.files, at, allow_expired=True)[0]

    def directory(self, now: int | None = None) -> Directory:
        """Return the directory that :meth:`trusted` describes."""
        return view(self.trusted(now), self.now if now is None else now)

    # Keys

    def handles(self, desk: str) -> list[str]:
        """Return the officers of a desk, in the order of their enrolment."""
        return list(self._handles[desk])

    def signer(self, desk: str, handle: str = "") -> Signer:
        """Return an officer's key; the desk's first officer without a handle."""
        return signer(Role.OFFICER, f"{desk}/{handle or self._handles[desk][0]}")

    def device(self, desk: str, handle: str | None = None, n: int = 0) -> Signer:
        """Return the key of an officer's device *n*; of the first officer without a handle, of the server with ""."""
        return signer(
            Role.DEVICE, f"{desk}/{self._handles[desk][0] if handle is None else handle}/{n}"
        )

    def member(self, desk: str, handle: str | None = None, n: int = 0) -> Member:
        """Return the directory's member for a device."""
        found = self.directory().device(self.device(desk, handle, n).kid)
        assert found is not None
        return found

    # Prekeys: four weeks from one day before the world begins

    def prekey_seed(self, kid: str, week: int) -> bytes:
        """Return the seed of a device's prekey of one week."""
        return seed(f"prekey/{kid}/{week}")

    def prekey_seeds(self, kid: str, weeks: int = 4) -> dict[bytes, bytes]:
        """Return hint -> seed of a device's prekeys."""
        seeds = [self.prekey_seed(kid, week) for week in range(weeks)]
        return {suite.pkid_of(suite.prekey_public(one))[: suite.HINT_BYTES]: one for one in seeds}

    def prekeys_of(self, desk: str, device: Signer, weeks: int = 4) -> list[bytes]:
        """Return the prekey statements of one device, one a week."""
        begins = [self.now - 86_400 + week * WEEK for week in range(weeks)]
        return [
            make_prekey(desk, self.prekey_seed(device.kid, week), at, at + WEEK, device).wire
            for week, at in enumerate(begins)
        ]

    def prekeys(self, desk: str, weeks: int = 4) -> list[bytes]:
        """Return the prekey statements of a desk's active devices, device by device, one a week."""
        return [
            wire
            for device in self._active_devices(desk)
            for wire in self.prekeys_of(desk, device, weeks)
        ]

    def current_prekeys(self, desk: str, now: int | None = None) -> list[Prekey]:
        """Return, per active device of a desk, the verified prekey that is valid now."""
        at = self.now if now is None else now
        directory = self.directory()
        read = []
        for device in self._active_devices(desk):
            member = directory.device(device.kid)
            assert member is not None
            read += [read_prekey(wire, member) for wire in self.prekeys_of(desk, device)]
        return [one for one in read if one.valid(at)]

    def _active_devices(self, desk: str) -> list[Signer]:
        active = {
            one.device_kid for one in self.directory().desk(desk).members if one.status == "active"
        }
        known = [
            self.device(desk, handle, n)
            for handle in (*self._handles[desk], "")
            for n in range(self._devices)
        ]
        return [one for one in known if one.kid in active]

    # Changes, published at once

    def freshen(self, now: int) -> None:
        """Let the freshness automaton sign a snapshot and a timestamp."""
        self.files = ceremony.freshen(self.files, self.freshness, now)

    def edit(self, desk: str, entry: Mapping[str, Any], now: int) -> None:
        """Sign a changed desk entry by the desk's keys, and publish it."""
        self.files = ceremony.enter(self.files, desk, entry, self.desk_signers[desk], now)
        self.freshen(now)

    def enrol(self, desk: str, handle: str, now: int) -> Signer:
        """Enrol a new officer with the usual number of devices; return the officer's key."""
        self._handles[desk].append(handle)
        entry = current_entry(self.files, desk)
        for n in range(self._devices):
            entry = ceremony.with_member(entry, self._member(desk, handle, n, now))
        self.edit(desk, entry, now)
        return self.signer(desk, handle)

    def revoke(self, desk: str, handle: str, now: int) -> None:
        """Revoke an officer with all devices from *now* on."""
        entry = current_entry(self.files, desk)
        self.edit(desk, ceremony.without_member(entry, now, handle=handle), now)

    def add_desk(self, desk: str, now: int, *, officers: int = 1) -> None:
        """Enter a new desk."""
        self._delegate(desk, now)
        handles = [f"{desk.lower()}-{n:02d}" for n in range(1, officers + 1)]
        self._enter_all(desk, handles, servers=False, now=now)
        self.freshen(now)

    def _next_desk_key(self, desk: str, who: str) -> list[Signer]:
        return [signer(Role.DESK, f"{desk}/{who} after {self.desk_signers[desk][0].kid}")]

    def rotate(self, desk: str, now: int | None = None) -> None:
        """Change a desk's key by its own hand."""
        at = self.now if now is None else now
        new, old = self._next_desk_key(desk, "rotation"), self.desk_signers[desk]
        self.files = ceremony.rotate(
            self.files, desk, KeySet.of(1, new), old, self.registrar[:2], new, at
        )
        self.desk_signers[desk] = new
        self.freshen(at)

    def recover(self, desk: str, now: int | None = None) -> None:
        """Change a desk's lost key by the root's threshold."""
        at = self.now if now is None else now
        new = self._next_desk_key(desk, "recovery")
        self.files = ceremony.recover(
            self.files, desk, KeySet.of(1, new), self.root_signers[:3], self.registrar[:2], new, at
        )
        self.desk_signers[desk] = new
        self.freshen(at)

    def swap_desk_key(self, desk: str, now: int | None = None) -> Signer:
        """Do what a malicious registrar quorum can: name another key for a desk, with an officer of its own.

        Returns the key that the registrar put in; the desk knows nothing of it.
        """
        at = self.now if now is None else now
        evil = signer(Role.DESK, f"{desk}/evil")
        self.files = ceremony.delegate(
            self.files, desk, KeySet.of(1, [evil]), self.registrar[:2], at
        )
        entry = current_entry(self.files, desk)
        mole = self._member(desk, "mole", 0, at)
        members = [{**one, "status": "revoked", "until": at} for one in entry["members"]]
        changed = {**entry, "members": [*members, mole], "serves": []}
        self.files = ceremony.enter(self.files, desk, changed, [evil], at)
        self.freshen(at)
        return evil
