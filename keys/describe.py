"""The description of a network that a ceremony reads: one TOML or JSON file, checked before any key is made.

See deploy/examples for one in full. In short::

    [service]            name, url, ca (path of a PEM file, or ""), instances = ["relay.example/1"]
    [root] [registrar]   holders and threshold; 5 and 3, 3 and 2 where not given
    [limits]             name = integer
    [floor.urgent]       acknowledge_s, first_stage_s, progress_s
    [[desk]]             id, keys, threshold, officers = ["vn-01"], devices, server, telephones, card, profile

Desks are for a rehearsal or a first day on which one machine makes every key; else they join by `keys add-desk`.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from keys.entry import HANDLE, PRIORITIES, check_desk
from keys.errors import Failed, Refused

DESCRIPTION_BYTES_MAX = 1024 * 1024
LIMITS = {"minimum_gap_s": 60}
FLOOR = {
    "emergency": {"acknowledge_s": 900, "first_stage_s": 60, "progress_s": 300},
    "urgent": {"acknowledge_s": 3600, "first_stage_s": 300, "progress_s": 900},
    "routine": {"acknowledge_s": 86_400, "first_stage_s": 3600, "progress_s": 3600},
}
CARD = {
    "treaties": [],
    "capabilities": [],
    "preservation_days": 0,
    "renewals": 0,
    "office": {},
    "oral": False,
    "backup": "",
    "authority": "",
}


@dataclass(frozen=True, slots=True)
class Group:
    """How many persons hold a key of a kind, and how many of them must sign."""

    holders: int
    threshold: int


@dataclass(frozen=True, slots=True)
class DeskPlan:
    """A desk to be made: its keys, officers and devices, and what its entry says."""

    desk: str
    keys: Group
    officers: tuple[str, ...]
    devices: int
    server: bool
    card: Mapping[str, Any]
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole network to be made. *network* lacks only the keys of its relay instances."""

    root: Group
    registrar: Group
    service: Mapping[str, Any]
    instances: tuple[str, ...]
    limits: Mapping[str, int]
    floor: Mapping[str, Mapping[str, int]]
    desks: tuple[DeskPlan, ...] = field(default=())

    def network(self, instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return ``network.json`` with the public keys of the instances."""
        return {
            "v": 1,
            "services": [{**self.service, "instances": list(instances)}],
            "witnesses": "",
            "tsa": [],
            "versions": [{"version": 1, "send": True, "receive_until": 0}],
            "limits": dict(self.limits),
            "floor": {name: dict(one) for name, one in self.floor.items()},
        }


def _wrong(path: Path, what: str) -> NoReturn:
    raise Failed(
        f"The description {path} cannot be used: {what}.",
        hint="deploy/examples has one in full.",
        exit_code=78,
    )


def read_file(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file that a person wrote; Failed with exit code 78 and the place of the mistake."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.", exit_code=78) from error
    if len(data) > DESCRIPTION_BYTES_MAX:
        _wrong(path, "it is far too large")
    try:
        value = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML; a list in lists in lists
        _wrong(path, f"{error}")
    if not isinstance(value, dict):
        _wrong(path, "it is not a table")
    return value


def read_plan(path: Path, now: int) -> Plan:
    """Read a description; Failed with exit code 78 and a sentence if something in it cannot be."""
    raw = read_file(path)
    try:
        return _plan(path, raw, now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        _wrong(path, f"{error!r} is missing or of another kind")
    except Refused as refused:
        _wrong(path, refused.text)


def _known(path: Path, what: str, value: Mapping[str, Any], names: set[str]) -> None:
    odd = sorted(set(value) - names)
    if odd:
        _wrong(path, f"{what} has an unknown setting {odd[0]!r}")


def _plan(path: Path, raw: Mapping[str, Any], now: int) -> Plan:
    _known(path, "it", raw, {"service", "root", "registrar", "limits", "floor", "desk"})
    service = raw["service"]
    _known(path, "[service]", service, {"name", "url", "ca", "instances"})
    ca = str(service.get("ca", ""))
    pem = (path.parent / ca).read_text() if ca else ""
    floor = {name: {**FLOOR[name], **raw.get("floor", {}).get(name, {})} for name in PRIORITIES}
    desks = tuple(_desk(path, one, floor, now) for one in raw.get("desk", ()))
    if len({one.desk for one in desks}) != len(desks):
        _wrong(path, "one desk stands in it twice")
    return Plan(
        _group(path, raw.get("root", {}), Group(5, 3)),
        _group(path, raw.get("registrar", {}), Group(3, 2)),
        {"name": service["name"], "url": service["url"], "ca": pem},
        tuple(str(one) for one in service["instances"]),
        {**LIMITS, **raw.get("limits", {})},
        floor,
        desks,
    )


def _group(path: Path, raw: Mapping[str, Any], usual: Group) -> Group:
    _known(path, "a group of holders", raw, {"holders", "threshold"})
    group = Group(raw.get("holders", usual.holders), raw.get("threshold", usual.threshold))
    if not 1 <= group.threshold <= group.holders <= 16:
        _wrong(path, f"{group.threshold} of {group.holders} signatures cannot be")
    return group


def _desk(
    path: Path, raw: Mapping[str, Any], floor: Mapping[str, Mapping[str, int]], now: int
) -> DeskPlan:
    names = {"id", "keys", "threshold", "officers", "devices", "server"}
    _known(path, "a desk", raw, names | {"telephones", "card", "profile"})
    desk = check_desk(raw["id"])
    officers = tuple(raw["officers"])
    if not all(HANDLE.match(one) for one in officers) or len(set(officers)) != len(officers):
        _wrong(path, f"the officers of {desk} are not distinct handles such as vn-01")
    holders = {"holders": raw.get("keys", 1), "threshold": raw.get("threshold", 1)}
    profile = raw.get("profile") or usual_profile(floor, raw.get("telephones", ()))
    return DeskPlan(
        desk,
        _group(path, holders, Group(1, 1)),
        officers,
        int(raw.get("devices", 1)),
        bool(raw.get("server", False)),
        usual_card(desk, raw.get("card", {}), now),
        profile,
    )


def usual_profile(
    floor: Mapping[str, Mapping[str, int]], telephones: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a profile as slow as the floor allows: a second way at the first stage, then backstop and backup."""
    profile: dict[str, Any] = {"exhausted": [{"label": "", **one} for one in telephones]}
    for priority in PRIORITIES:
        deadline, first = floor[priority]["acknowledge_s"], floor[priority]["first_stage_s"]
        stages = [
            {"after_s": first, "kind": "path", "handles": ["duty"]},
            {"after_s": first + (deadline - first) // 4, "kind": "backstop", "handles": ["duty"]},
            {"after_s": first + (deadline - first) // 2, "kind": "backup", "handles": ["backup"]},
        ]
        profile[priority] = {
            "acknowledge_s": deadline,
            "progress_s": floor[priority]["progress_s"],
            "stages": stages,
        }
    return profile


def usual_card(desk: str, given: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Return a card with what is given, and the plainest value for what is not."""
    return {
        **CARD,
        "state": desk[:2],
        "names": [{"language": "en", "name": f"24/7 contact point {desk}"}],
        "languages": ["en"],
        "verified": datetime.fromtimestamp(now, UTC).date().isoformat(),
        **given,
    }
