"""Desk entries: members with proofs, limits, profile and card, exactly as PROTOCOL 8.3 wants them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from builders_keys import NOW, World, seed, signer

from keys import ceremony, entry, statement, suite
from keys.entry import ACTIVE_DEVICES_MAX, check_desk, check_floor, read_entry
from keys.errors import Code, Refused
from keys.identity import Role, Signer
from keys.repository import current_entry

WORLD = World(servers=True)
GOOD = current_entry(WORLD.files, "AU")
SMALL_ORDER = statement.b64u(bytes([1]) + bytes(31))

Change = Callable[[dict[str, Any]], object]


def read(value: dict[str, Any], retired: bytes = b"") -> entry.DeskEntry:
    """Read an entry of AU."""
    return read_entry("AU", statement.encode(value), retired)


def refused(change: Change) -> Refused:
    """Return how a changed entry is refused."""
    value = copy.deepcopy(GOOD)
    change(value)
    with pytest.raises(Refused) as error:
        read(value)
    return error.value


def member(n: int = 0) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a way to member *n* of an entry."""
    return lambda value: value["members"][n]


def proven(handle: str, officer: Signer | None, device: Signer, desk: str = "AU") -> dict[str, Any]:
    """Return a member with true proofs."""
    proofs = [one.wire for one in ceremony.prove(desk, handle, officer, device, NOW)]
    key = officer.public if officer else b""
    return ceremony.new_member("AU", handle, key, device.public, proofs, NOW)


def test_a_good_entry_is_read() -> None:
    """Members, server, profile and card come back; the hash is of the exact bytes."""
    found = read(GOOD)
    assert [one.officer for one in found.members] == ["au-01", "au-02", ""]
    assert found.members[-1].officer_kid == ""
    assert found.sha256 == suite.sha256(statement.encode(GOOD)).hex()
    assert found.card["backup"] == "AU-B"
    assert len(found.active(NOW)) == 3
    assert found.active(NOW - 1) == ()


OFFICE = {
    "zone": "Asia/Ho_Chi_Minh",
    "days": [1, 2, 3, 4, 5],
    "opens": "08:00",
    "closes": "17:00",
    "holidays": [],
}


SHAPES: dict[str, Change] = {
    "unknown field": lambda value: value.update(more=1),
    "card no object": lambda value: value.update(card=[]),
    "member no object": lambda value: value["members"].append("vn-01"),
    "missing field": lambda value: value.pop("card"),
    "another desk": lambda value: value.update(desk="VN"),
    "members no list": lambda value: value.update(members={}),
    "member closed": lambda value: member()(value).update(name="Nguyễn"),
    "handle": lambda value: member()(value).update(officer="AU 01"),
    "status": lambda value: member()(value).update(status="away"),
    "since": lambda value: member()(value).update(since="1"),
    "true is no time": lambda value: member()(value).update(since=True),
    "until before since": lambda value: member()(value).update(until=1),
    "revoked without until": lambda value: member()(value).update(status="revoked"),
    "server with a key": lambda value: member(2)(value).update(officer_key=SMALL_ORDER),
    "serves a stranger": lambda value: value.update(serves=["0" * 64]),
    "serves three": lambda value: value.update(serves=value["serves"] * 3),
    "archive": lambda value: value.update(archive="A"),
    "no proofs": lambda value: member()(value).update(enrol=[]),
    "one proof": lambda value: member()(value)["enrol"].pop(),
    "two proofs of a server": lambda value: member(2)(value).update(enrol=member()(value)["enrol"]),
    "member twice": lambda value: value["members"].append(member()(value)),
    "profile closed": lambda value: value["profile"].update(more=1),
    "no number": lambda value: value["profile"].update(exhausted=[]),
    "a number without a country": lambda value: value["profile"]["exhausted"][0].update(
        number="1234567"
    ),
    "a number without languages": lambda value: value["profile"]["exhausted"][0].update(
        languages=[]
    ),
    "a number without hours": lambda value: value["profile"]["exhausted"][0].update(hours=""),
    "no stage": lambda value: value["profile"]["urgent"].update(stages=[]),
    "stages do not ascend": lambda value: value["profile"]["urgent"]["stages"].reverse(),
    "stage after the deadline": lambda value: value["profile"]["urgent"].update(acknowledge_s=1199),
    "stage of another kind": lambda value: value["profile"]["urgent"]["stages"][0].update(
        kind="fax"
    ),
    "an address in place of a handle": lambda value: value["profile"]["urgent"]["stages"][0].update(
        handles=["+84 24 1234 5678"]
    ),
    "card closed": lambda value: value["card"].update(more=1),
    "card without a name": lambda value: value["card"].update(names=[]),
    "card of another capability": lambda value: value["card"]["capabilities"][0].update(
        capability="maybe"
    ),
    "card with a wild date": lambda value: value["card"].update(verified="yesterday"),
    "card with a wild backup": lambda value: value["card"].update(backup="au-b"),
    "oral": lambda value: value["card"].update(oral=1),
    "office closes before it opens": lambda value: value["card"].update(
        office={**OFFICE, "closes": "07:59"}
    ),
    "office on an eighth day": lambda value: value["card"].update(office={**OFFICE, "days": [8]}),
    "office in no zone": lambda value: value["card"].update(office={**OFFICE, "zone": "../etc"}),
    "office half said": lambda value: value["card"].update(office={"zone": "Asia/Ho_Chi_Minh"}),
    "language": lambda value: value["card"].update(languages=["English!"]),
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES.keys())
def test_an_entry_is_closed(change: Change) -> None:
    """PROTOCOL 6.1, 8.3: unknown, missing or impossible values are E_ENCODING."""
    assert refused(change).code is Code.E_ENCODING


def test_another_version_is_another_code() -> None:
    """v 2 is E_VERSION, not a guess."""
    assert refused(lambda value: value.update(v=2)).code is Code.E_VERSION


@pytest.mark.parametrize("name", ["officer_key", "device_key"])
def test_every_key_is_honest(name: str) -> None:
    """PROTOCOL 8.3: a small-order officer or device key is E_KEY."""
    assert refused(lambda value: member()(value).update({name: SMALL_ORDER})).code is Code.E_KEY


def test_an_archive_key_that_nobody_can_seal_to_is_refused() -> None:
    """The archive key is checked when it is published; a good one is read."""
    bad = statement.b64u(b"\xff" * suite.PREKEY_BYTES)
    assert refused(lambda value: value.update(archive=bad)).code is Code.E_KEY
    key = suite.prekey_public(seed("archive"))
    assert read({**GOOD, "archive": statement.b64u(key)}).archive == key


OFFICER, DEVICE = signer(Role.OFFICER, "new"), signer(Role.DEVICE, "new")
OTHER = signer(Role.OFFICER, "other")


def swapped(handle: str, desk: str, officer: Signer, device: Signer) -> dict[str, Any]:
    """Return a member whose proofs were made for something else."""
    proofs = [one.wire for one in ceremony.prove(desk, handle, officer, device, NOW)]
    return ceremony.new_member("AU", "au-09", OFFICER.public, DEVICE.public, proofs, NOW)


def wrong_kind() -> dict[str, Any]:
    """Return a member with a statement of another kind in place of a proof."""
    good = proven("au-09", OFFICER, DEVICE)
    fields = entry.enrolment("AU", "au-09", OFFICER.kid, DEVICE.kid, NOW)
    good["enrol"][0] = statement.make("acknowledged", fields, OFFICER).wire.decode()
    return good


PROOFS: dict[str, tuple[dict[str, Any], Code]] = {
    "for another desk": (swapped("au-09", "VN", OFFICER, DEVICE), Code.E_ENCODING),
    "for another handle": (swapped("au-08", "AU", OFFICER, DEVICE), Code.E_ENCODING),
    "by another officer": (swapped("au-09", "AU", OTHER, DEVICE), Code.E_SIGNER),
    "by another device": (swapped("au-09", "AU", OFFICER, OTHER), Code.E_ENCODING),
    "of another kind": (wrong_kind(), Code.E_TYPE),
}


@pytest.mark.parametrize(("bad", "code"), PROOFS.values(), ids=PROOFS.keys())
def test_nobody_enrols_anothers_key(bad: dict[str, Any], code: Code) -> None:
    """PROTOCOL 8.3: both keys prove possession, over desk, handle and both ids."""
    assert refused(lambda value: value["members"].append(bad)).code is code
    assert len(read(ceremony.with_member(GOOD, proven("au-09", OFFICER, DEVICE))).members) == 4


def test_proofs_in_the_wrong_order_or_forged_are_refused() -> None:
    """The officer's proof comes first; a flipped signature does not verify."""
    good = proven("au-09", OFFICER, DEVICE)
    turned = {**good, "enrol": good["enrol"][::-1]}
    assert refused(lambda value: value["members"].append(turned)).code is Code.E_SIGNER
    at = good["enrol"][1].index('"sig":"') + 10
    letter = "A" if good["enrol"][1][at] != "A" else "B"
    forged = good["enrol"][1][:at] + letter + good["enrol"][1][at + 1 :]
    bad = {**good, "enrol": [good["enrol"][0], forged]}
    assert refused(lambda value: value["members"].append(bad)).code is Code.E_SIGNATURE


def test_one_key_has_one_role() -> None:
    """A key that stands for officer and device at once is refused."""
    same = Signer(Role.DEVICE, OFFICER.seed)
    bad = proven("au-09", OFFICER, same)
    assert refused(lambda value: value["members"].append(bad)).code is Code.E_ENCODING


def test_thirty_one_active_devices_and_not_one_more() -> None:
    """PROTOCOL 8.3, 15: at n read, at n + 1 refused; revoked ones do not count."""
    value = copy.deepcopy(GOOD)
    for n in range(ACTIVE_DEVICES_MAX - 3):
        value["members"].append(
            proven("au-01", signer(Role.OFFICER, "AU/au-01"), signer(Role.DEVICE, f"many {n}"))
        )
    assert len(read(value).active(NOW)) == ACTIVE_DEVICES_MAX
    value["members"].append(proven("au-09", OFFICER, DEVICE))
    with pytest.raises(Refused, match="32 active devices"):
        read(value)
    value["members"][0].update(status="revoked", until=NOW)
    value["serves"] = []
    assert len(read(value).active(NOW)) == ACTIVE_DEVICES_MAX


def test_retired_members_are_found_and_act_no_more() -> None:
    """PROTOCOL 8.3: the list of retired members is signed the same way, and read with the entry."""
    value = copy.deepcopy(GOOD)
    old = value["members"].pop(0)
    old.update(status="revoked", until=NOW)
    retired = statement.encode({"desk": "AU", "members": [old], "v": 1})
    found = read({**value}, retired)
    kid = ceremony.statement_kid(old["device_key"])
    gone = found.by_device(kid)
    assert gone is not None
    assert not gone.active(NOW)
    assert len(found.members) == 2
    for bad in (
        {"desk": "VN", "members": [old], "v": 1},
        {"desk": "AU", "members": [value["members"][0]], "v": 1},
        {"desk": "AU", "members": [{**old, "status": "active"}], "v": 1},
        {"desk": "AU", "members": [old, old], "v": 1},
        {"desk": "AU", "members": [old], "v": 1, "more": 1},
    ):
        with pytest.raises(Refused) as error:
            read(value, statement.encode(bad))
        assert error.value.code is Code.E_ENCODING


def test_an_entry_has_a_size() -> None:
    """C22: a huge entry is refused before it is parsed."""
    with pytest.raises(Refused) as error:
        read_entry("AU", b"[" * (entry.ENTRY_BYTES_MAX + 1))
    assert error.value.code is Code.E_TOO_LARGE


@pytest.mark.parametrize("name", ["acknowledge_s", "progress_s", "first_stage_s"])
def test_a_profile_is_never_slower_than_the_network_allows(name: str) -> None:
    """PROTOCOL 8.2: at the floor accepted, one second over refused."""
    found = read(GOOD)
    floor = copy.deepcopy(WORLD.network()["floor"])
    check_floor(found, floor)
    floor["urgent"][name] -= 1
    with pytest.raises(Refused) as error:
        check_floor(found, floor)
    assert error.value.code is Code.E_DIRECTORY


def test_desk_ids() -> None:
    """PROTOCOL 8.1: two capital letters, and a suffix of up to four."""
    for good in ("VN", "AU-B", "DE-BKA1"):
        assert check_desk(good) == good
    for bad in ("", "vn", "VNM", "VN-", "VN-ABCDE", "VN/..", "VN\n", None, 7):
        with pytest.raises(Refused):
            check_desk(bad)
