"""The directory: updates whole or not at all, continuity of desk keys, one bad desk does not stop the others."""

from collections.abc import Callable, Iterator
from typing import Any

import builders_repositories as hostile
import pytest
from builders_keys import INSTANCE, NOW, SERVICE, World
from hypothesis import given
from hypothesis import strategies as st

from keys import ceremony, directory, statement, suite, trust
from keys.directory import (
    Directory,
    Trusted,
    begin,
    hashes,
    missing,
    next_root,
    pack,
    unpack,
    update,
    view,
)
from keys.errors import Code, Refused
from keys.identity import Role, Signer, fingerprint
from keys.metadata import FileMeta, KeySet, Kind, read, sign, write_targets
from keys.network import NETWORK_BYTES_MAX, read_network
from keys.repository import current_entry, newest

LATER = NOW + 60


def refused(call: Callable[[], object]) -> Refused:
    """Return how a call is refused."""
    with pytest.raises(Refused) as error:
        call()
    return error.value


# Looking up


def test_everybody_is_found() -> None:
    """Desks, devices, officers and relay keys are found by their ids; strangers are not."""
    world = World(servers=True)
    found = world.directory()
    entry = found.desk("VN")
    assert [one.officer for one in entry.members] == ["vn-01", "vn-02", ""]
    device, officer = world.device("AU", "au-02"), world.signer("AU", "au-02")
    member = found.device(device.kid)
    assert member is not None
    assert (member.desk, member.officer, member.device_key) == ("AU", "au-02", device.public)
    assert found.officer(officer.kid) == member
    assert found.desk("AU").by_officer(officer.kid) == (member,)
    assert found.desk("AU").by_device(device.kid) == member
    assert entry.by_device(device.kid) is None
    assert found.device("0" * 64) is None
    assert entry.serves == (world.device("VN", "").kid,)
    assert found.relay_key(SERVICE, INSTANCE) == world.evidence.public
    assert found.officer("") is None
    assert entry.by_officer("") == ()
    assert entry.desk_kids == (world.desk_signers["VN"][0].kid,)


def test_strangers_are_refused_with_sentences() -> None:
    """An unknown desk is E_WRONG_DESK, a relay that is not named E_SIGNER."""
    found = World().directory()
    assert refused(lambda: found.desk("XX")).code is Code.E_WRONG_DESK
    assert refused(lambda: found.sendable("XX", NOW)).code is Code.E_WRONG_DESK
    for service, instance in ((SERVICE, "relay.test/2"), ("other", INSTANCE)):
        assert refused(lambda: found.relay_key(service, instance)).code is Code.E_SIGNER  # noqa: B023


def test_a_revoked_member_stays_listed_and_acts_no_more() -> None:
    """PROTOCOL 8.3: revoked from now on; what was signed before can still be judged."""
    world = World()
    world.revoke("VN", "vn-01", NOW + 100)
    member = world.directory(NOW + 100).device(world.device("VN", "vn-01").kid)
    assert member is not None
    assert not member.active(NOW + 100)
    assert not member.active(NOW + 50)
    assert member.was_active(NOW + 99)
    assert not member.was_active(NOW + 100)
    assert not member.was_active(NOW - 1)


# Time


def test_an_hour_without_news_and_nothing_is_sent_silently() -> None:
    """PROTOCOL 8.5: receiving stays possible on an expired directory; sending is E_DIRECTORY_STALE."""
    world = World()
    trusted = world.trusted()
    found = view(trusted, NOW + 3599)
    assert found.fresh(NOW + 3599)
    assert found.sendable("AU", NOW + 3599).desk == "AU"
    found = view(trusted, NOW + 3600)
    assert not found.fresh(NOW + 3600)
    error = refused(lambda: found.sendable("AU", NOW + 3600))
    assert (error.code, "Refresh" in str(error)) == (Code.E_DIRECTORY_STALE, True)
    assert found.desk("AU").desk == "AU"


@pytest.mark.parametrize(("after", "what"), [(3600, "timestamp"), (90 * 86_400, "timestamp")])
def test_expired_metadata_is_stale_unless_one_only_looks(after: int, what: str) -> None:
    """C18, freeze: an update with expired metadata is E_DIRECTORY_STALE; who only looks may."""
    world = World()
    call = lambda: update(begin(world.root), world.files, NOW + after)  # noqa: E731 - called twice
    error = refused(call)
    assert (error.code, what in error.text) == (Code.E_DIRECTORY_STALE, True)
    trusted, found = update(begin(world.root), world.files, NOW + after, allow_expired=True)
    assert found.version == 1
    assert not found.fresh(NOW + after)
    assert view(trusted, NOW + after) == found


@pytest.mark.parametrize("name", ["root document", "snapshot", "targets"])
def test_each_document_has_its_own_date(name: str) -> None:
    """A fresh timestamp over an expired root, snapshot or targets is refused by the name of what expired."""
    world = World()
    now = NOW + 366 * 86_400 if name != "snapshot" else NOW + 2 * 86_400
    if name == "targets":
        world.files = ceremony.renew_root(world.files, world.root_signers, now)
    seconds = 24 * 3600 if name != "snapshot" else -1
    files = hostile.chain(world, now, snapshot_seconds=seconds)
    error = refused(lambda: update(world.trusted(NOW), files, now))
    assert (error.code, name in error.text) == (Code.E_DIRECTORY_STALE, True)


def test_a_desk_entry_past_its_date_stays_usable() -> None:
    """PROTOCOL 8.3: an entry past its 400 days is alarmed, and still names its members."""
    world = World()
    now = NOW + 401 * 86_400
    world.files = ceremony.renew_root(world.files, world.root_signers, now)
    world.files = ceremony.set_network(world.files, world.network(), world.registrar, now)
    world.freshen(now)
    found = update(begin(world.root), world.files, now)[1]
    assert found.sendable("AU", now).expires < now


# Continuity: PROTOCOL 8.4


def test_a_rotation_is_followed() -> None:
    """C19: a change signed by the desk's old key is accepted without asking anybody."""
    world = World()
    before = world.trusted()
    world.rotate("AU", LATER)
    after, found = update(before, world.files, LATER)
    assert (found.held, found.faulty) == ({}, {})
    assert found.desk("AU").desk_kids == (world.desk_signers["AU"][0].kid,)
    assert after.pins["AU"] != before.pins["AU"]
    world.revoke("AU", "au-01", LATER + 1)
    found = update(after, world.files, LATER + 1)[1]
    assert not found.desk("AU").members[0].active(LATER + 1)


def test_whoever_slept_through_three_changes_walks_them_all() -> None:
    """PROTOCOL 8.4: rotation, recovery, rotation, in one update from the pinned set."""
    world = World()
    before = world.trusted()
    world.rotate("AU", LATER)
    middle = update(before, world.files, LATER)[0]
    world.recover("AU", LATER + 1)
    world.rotate("AU", LATER + 2)
    for start in (before, middle, begin(world.root)):
        found = update(start, world.files, LATER + 3)[1]
        assert found.held == {}
        assert found.desk("AU").desk_kids == (world.desk_signers["AU"][0].kid,)


def test_a_swapped_key_is_held_and_the_old_entry_stays() -> None:
    """C19: a registrar quorum cannot silently replace a desk's key; both fingerprints are shown."""
    world = World()
    before, old = world.trusted(), world.directory().desk("AU")
    evil = world.swap_desk_key("AU", LATER)
    after, found = update(before, world.files, LATER)
    assert found.desk("AU") == old
    assert found.device(world.device("AU", "mole").kid) is None
    error = refused(lambda: found.sendable("AU", LATER))
    assert error.code is Code.E_DESK_KEY_CHANGED
    assert fingerprint(old.desk_kids[0]) in str(error)
    assert fingerprint(evil.kid) in str(error)
    assert found.sendable("VN", LATER).desk == "VN"
    # It stays so after a restart, and through further updates.
    assert view(Trusted(dict(after.files), dict(after.pins)), LATER) == found
    world.freshen(LATER + 10)
    again, found = update(after, world.files, LATER + 10)
    assert (found.desk("AU"), set(found.held)) == (old, {"AU"})
    # The registrar repairs it: nothing is held any more, and nothing is left over.
    keys = KeySet.of(1, world.desk_signers["AU"])
    world.files = ceremony.delegate(world.files, "AU", keys, world.registrar[:2], LATER + 20)
    world.edit("AU", current_entry(world.files, "VN") | _like(world, "AU"), LATER + 20)
    repaired, found = update(again, world.files, LATER + 20)
    assert found.held == {}
    assert not [name for name in repaired.files if name.startswith("held/")]


def _like(world: World, desk: str) -> dict[str, Any]:
    entry = World().files
    return current_entry(entry, desk)


def test_a_newcomer_pins_what_it_meets_first() -> None:
    """PROTOCOL 8.4: first contact pins; that is why a new country's digits are checked by telephone."""
    world = World()
    world.swap_desk_key("AU", LATER)
    trusted, found = update(begin(world.root), world.files, LATER)
    assert found.held == {}
    assert trusted.pins["AU"] != world.trusted(NOW).pins["VN"]


def test_a_lower_threshold_is_a_change_too() -> None:
    """A registrar quorum that leaves the keys and lowers their threshold is held like a swap."""
    world = World()
    signers = [*world.desk_signers["AU"], *world.desk_signers["VN"]]
    world.files = ceremony.rotate(
        world.files,
        "AU",
        KeySet.of(2, signers),
        world.desk_signers["AU"],
        world.registrar,
        signers,
        NOW,
    )
    world.freshen(NOW)
    before = world.trusted()
    keys = KeySet.of(1, signers)
    world.files = ceremony.delegate(world.files, "AU", keys, world.registrar, LATER)
    world.freshen(LATER)
    assert set(update(before, world.files, LATER)[1].held) == {"AU"}


def test_an_entry_below_the_desks_own_threshold_is_refused() -> None:
    """A desk that asks for two of its keys is not entered by one."""
    world = World()
    signers = [*world.desk_signers["AU"], *world.desk_signers["VN"]]
    world.files = ceremony.rotate(
        world.files, "AU", KeySet.of(2, signers), signers[:1], world.registrar, signers, NOW
    )
    world.freshen(NOW)
    entry = current_entry(world.files, "AU")
    one = refused(lambda: ceremony.enter(world.files, "AU", entry, signers[:1], LATER))
    assert one.code is Code.E_DIRECTORY
    files = hostile.role(world, "AU", LATER, signers[:1])
    assert refused(lambda: update(world.trusted(), files, LATER)).code is Code.E_DIRECTORY


# One bad desk


def changed(
    world: World, desk: str, change: Callable[[dict[str, Any]], object]
) -> dict[str, bytes]:
    """Return files in which a desk signs an entry of its own making, unasked by `ceremony.enter`."""
    entry = current_entry(world.files, desk)
    change(entry)
    return hostile.role(world, desk, LATER, world.desk_signers[desk], statement.encode(entry))


def test_a_desk_with_a_bad_entry_does_not_stop_the_others() -> None:
    """Its last good entry stays for receiving, nothing is sent to it, and everybody else goes on."""
    world = World()
    before, old = world.trusted(), world.directory().desk("AU")
    files = changed(world, "AU", lambda entry: entry["members"][0].update(since=-1))
    after, found = update(before, files, LATER)
    assert set(found.faulty) == {"AU"}
    assert found.desk("AU") == old
    assert refused(lambda: found.sendable("AU", LATER)).code is Code.E_DIRECTORY
    assert found.sendable("VN", LATER).desk == "VN"
    assert view(after, LATER) == found
    newcomer = update(begin(world.root), files, LATER)[1]
    assert set(newcomer.faulty) == {"AU"}
    assert "AU" not in newcomer.desks


def stolen_device(world: World) -> Callable[[dict[str, Any]], None]:
    """Let AU list VN's device as its own, with VN's own proofs."""
    theirs = current_entry(world.files, "VN")["members"][0]
    return lambda entry: entry["members"].append(theirs)


def test_nobody_enrols_another_desks_key() -> None:
    """PROTOCOL 8.3: proofs of possession name the desk; a key that is copied with its proofs is refused."""
    world = World()
    found = update(world.trusted(), changed(world, "AU", stolen_device(world)), LATER)[1]
    assert set(found.faulty) == {"AU"}
    assert found.device(world.device("VN").kid) is not None


def two_desks_one_key(world: World, *, officer: bool) -> dict[str, bytes]:
    """Let the holder of a VN key help AU to list it as well, with true proofs."""
    device = world.device("AU", "extra") if officer else world.device("VN")
    person = world.signer("VN") if officer else world.signer("AU", "extra")
    proofs = [one.wire for one in ceremony.prove("AU", "extra", person, device, LATER)]
    member = ceremony.new_member("AU", "extra", person.public, device.public, proofs, LATER)
    return changed(world, "AU", lambda entry: entry["members"].append(member))


@pytest.mark.parametrize("officer", [True, False])
def test_a_key_stands_once_and_whoever_was_first_keeps_it(officer: bool) -> None:  # noqa: FBT001
    """PROTOCOL 8.3: a device key occurs once, an officer key under one desk and handle; the newcomer is faulty."""
    world = World()
    files = two_desks_one_key(world, officer=officer)
    found = update(world.trusted(), files, LATER)[1]
    assert set(found.faulty) == {"AU"}
    member = found.device(world.device("VN").kid)
    assert member is not None
    assert member.desk == "VN"
    assert "stands elsewhere" in found.faulty["AU"]


@pytest.mark.parametrize("officer", [True, False])
def test_who_had_a_key_keeps_it_although_both_change_at_once(officer: bool) -> None:  # noqa: FBT001
    """AU lists VN's key in the very update in which VN changes too: AU comes first, and VN keeps its key."""
    world = World()
    before = world.trusted()
    extra = two_desks_one_key(world, officer=officer)
    world.enrol("VN", "vn-07", LATER)
    world.files = {**world.files, "2.desk-AU.json": extra["2.desk-AU.json"]}
    world.files |= {name: data for name, data in extra.items() if name.endswith(".AU.json")}
    role = FileMeta.of(2, extra["2.desk-AU.json"])
    files = hostile.chain(world, LATER, listed={"desk-AU.json": role})
    found = update(before, files, LATER)[1]
    assert set(found.faulty) == {"AU"}
    assert len(found.desk("VN").members) == 3


def test_one_key_is_not_an_officers_and_a_devices() -> None:
    """One key has one role, in one desk and across desks."""
    for desk in ("AU", "VN"):
        world = World()
        device = world.device("AU", "extra")
        person = Signer(Role.OFFICER, world.device(desk).seed)
        proofs = [one.wire for one in ceremony.prove("AU", "extra", person, device, LATER)]
        member = ceremony.new_member("AU", "extra", person.public, device.public, proofs, LATER)
        files = changed(world, "AU", lambda entry: entry["members"].append(member))  # noqa: B023
        found = update(world.trusted(NOW), files, LATER)[1]
        assert set(found.faulty) == {"AU"}
        assert "stands elsewhere" in found.faulty["AU"]


def test_a_desk_that_signs_no_entry_is_named() -> None:
    """A role without an entry is a sentence, and the old entry stays."""
    world = World()
    data = sign(write_targets(2, NOW + 10**7, {}), world.desk_signers["AU"])
    role = FileMeta.of(2, data)
    files = hostile.chain(world, LATER, listed={"desk-AU.json": role})
    found = update(world.trusted(), {**files, "2.desk-AU.json": data}, LATER)[1]
    assert "signed no entry" in found.faulty["AU"]
    assert found.desk("AU").version == 1


def test_freshen_does_not_pick_up_what_readers_refuse() -> None:
    """The automaton leaves a desk at its last good entry, and signs everything else."""
    world = World()
    files = two_desks_one_key(world, officer=False)
    for name in [name for name in files if name.endswith("snapshot.json")][1:]:
        del files[name]
    files["timestamp.json"] = world.files["timestamp.json"]
    world.files = files
    world.enrol("VN", "vn-07", LATER)
    found = world.directory(LATER)
    assert (found.faulty, len(found.desk("AU").members)) == ({}, 2)
    assert len(found.desk("VN").members) == 3


# All or nothing


def test_a_refused_update_changes_nothing() -> None:
    """The old state and its files are as they were, and still the directory in force."""
    world = World()
    before = world.trusted()
    kept = dict(before.files)
    files = hostile.targets(world, LATER, world.registrar[:1])
    assert refused(lambda: update(before, files, LATER)).code is Code.E_DIRECTORY
    assert before.files == kept
    assert view(before, NOW) == world.directory()


def flips(data: bytes) -> Iterator[bytes]:
    """Yield the file with one byte changed, at some forty places."""
    for at in range(0, len(data), max(1, len(data) // 40)):
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_no_byte_of_any_file_can_be_changed() -> None:
    """C18, C22: a changed file is refused, with this house's own error and no other."""
    world = World()
    world.rotate("AU", NOW)
    needed = world.trusted()
    for name, data in needed.files.items():
        if name == "1.root.json":
            continue
        for bad in flips(data):
            files = {**world.files, name: bad}
            try:
                found = update(begin(world.root), files, NOW)[1]
            except Refused:
                continue
            assert found == world.directory(), name


def test_the_anchor_must_be_signed_by_itself() -> None:
    """A root document below its own threshold begins nothing; nor does anything else."""
    world = World()
    for bad in (*flips(world.root), b"", b"{}", world.files["1.targets.json"]):
        assert refused(lambda: begin(bad)).code in {Code.E_DIRECTORY, Code.E_KEY}  # noqa: B023
    assert refused(lambda: view(Trusted({}, {}), NOW)).code is Code.E_DIRECTORY
    assert refused(lambda: view(begin(world.root), NOW)).code is Code.E_DIRECTORY


def test_the_registrar_delegates_to_desks_and_to_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PROTOCOL 8.1: any other role, path or a delegation that does not end the search is refused."""
    for name, paths in (("desk-AU", ("*",)), ("helpdesk", ("desks/AU.json",)), ("desk-VN", ())):
        world = World()
        with monkeypatch.context() as patch:
            patch.setattr(ceremony, "role_name", lambda _desk: name)  # noqa: B023
            patch.setattr(ceremony, "desk_paths", lambda _desk: paths)  # noqa: B023
            keys = KeySet.of(1, world.desk_signers["AU"])
            world.files = ceremony.delegate(world.files, "AU", keys, world.registrar, LATER)
        latest = FileMeta.of(*newest(world.files, "targets"))
        files = hostile.chain(world, LATER, listed={"targets.json": latest})
        assert refused(lambda: update(world.trusted(NOW), files, LATER)).code is Code.E_DIRECTORY  # noqa: B023


def test_a_directory_has_a_network() -> None:
    """Targets without network.json name no relay, and are refused."""
    world = World()
    old = read(Kind.TARGETS, world.files["4.targets.json"])
    data = write_targets(5, NOW + 10**7, {}, list(old.delegations.values()))
    data = sign(data, world.registrar)
    files = hostile.chain(world, LATER, listed={"targets.json": FileMeta.of(5, data)})
    error = refused(lambda: update(world.trusted(), {**files, "5.targets.json": data}, LATER))
    assert (error.code, "network.json" in error.text) == (Code.E_DIRECTORY, True)


def test_desks_and_roots_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROTOCOL 15, C22: so many desks, and so many new root documents at once; at n and n + 1."""
    world = World()
    for version in (2, 3):
        world.files = ceremony.renew_root(world.files, world.root_signers, NOW)
        assert f"{version}.root.json" in world.files
    for name, limit in (("DESKS_MAX", 3), ("ROOTS_MAX", 2)):
        monkeypatch.setattr(trust, name, limit)
        assert len(update(begin(world.root), world.files, NOW)[1].desks) == 3
        monkeypatch.setattr(trust, name, limit - 1)
        error = refused(lambda: update(begin(world.root), world.files, NOW))
        assert (error.code, "ore than" in error.text) == (Code.E_DIRECTORY, True)
        monkeypatch.undo()


# Fetching, packing, logging


def fetched(world: World, trusted: Trusted) -> dict[str, bytes]:
    """Run a reader's loop against a source."""
    offered: dict[str, bytes] = {}
    while data := world.files.get(next_root(trusted, offered)):
        offered[next_root(trusted, offered)] = data
    rounds = 0
    while names := missing(trusted, offered):
        rounds += 1
        assert rounds < 9
        offered.update({name: world.files.get(name, b"") for name in names})
    return offered


def test_a_reader_fetches_exactly_what_it_needs() -> None:
    """From nothing: everything; then only what changed; then only the timestamp."""
    world = World()
    world.rotate("AU", NOW)
    trusted = begin(world.root)
    offered = fetched(world, trusted)
    trusted, found = update(trusted, offered, NOW)
    assert found == world.directory()
    assert set(fetched(world, trusted)) == {"timestamp.json"}
    world.enrol("AU", "au-07", LATER)
    names = {name.split(".")[-2] if "desks" in name else name for name in fetched(world, trusted)}
    assert names == {"timestamp.json", "3.snapshot.json", "3.desk-AU.json", "AU"}
    world.files = ceremony.renew_root(world.files, world.root_signers, LATER)
    assert "2.root.json" in fetched(world, trusted)
    assert (
        update(trusted, fetched(world, trusted), LATER)[1]
        .desk("AU")
        .by_officer(world.signer("AU", "au-07").kid)
    )


def test_a_source_that_lacks_a_file_is_named() -> None:
    """A file that is not there is asked for once, and then named by the refusal."""
    world = World()
    del world.files["1.desk-AU.json"]
    offered = fetched(world, begin(world.root))
    assert "1.desk-AU.json" in refused(lambda: update(begin(world.root), offered, NOW)).text


@given(st.binary(max_size=200))
def test_rubbish_names_nothing(data: bytes) -> None:
    """What cannot be read asks for nothing more, and raises nothing."""
    world = begin(World(desks=()).root)
    assert missing(world, {"timestamp.json": data}) == ()


def test_a_pack_comes_back_and_has_one_encoding() -> None:
    """PUT /v1/directory takes one body; any other order, name or cut is E_ENCODING."""
    world = World()
    data = pack(world.files)
    assert unpack(data) == world.files
    assert pack({**world.files, "held/AU/role.json": b"x", "../etc/passwd": b"x"}) == data
    assert unpack(b"") == {}
    for bad in (data[:-1], data + b"\0", data + data, b"\0\1x\0\0\0\0", b"\xff" * 9):
        assert refused(lambda: unpack(bad)).code is Code.E_ENCODING  # noqa: B023


def test_a_pack_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """C22: bytes and files are bounded, at n and n + 1."""
    world = World()
    data = pack(world.files)
    monkeypatch.setattr(directory, "PACK_FILES_MAX", len(world.files))
    monkeypatch.setattr(directory, "PACK_BYTES_MAX", len(data))
    assert len(unpack(data)) == len(world.files)
    monkeypatch.setattr(directory, "PACK_FILES_MAX", len(world.files) - 1)
    assert refused(lambda: unpack(data)).code is Code.E_TOO_LARGE
    monkeypatch.setattr(directory, "PACK_FILES_MAX", len(world.files))
    monkeypatch.setattr(directory, "PACK_BYTES_MAX", len(data) - 1)
    assert refused(lambda: unpack(data)).code is Code.E_TOO_LARGE


def test_new_metadata_and_rotations_go_into_the_log() -> None:
    """PROTOCOL 8.6: each new metadata file's hash, and the rotations'; entries and network.json are named by these."""
    world = World()
    before = world.trusted()
    names = {name for name in before.files if not name.startswith("targets/")}
    assert set(hashes(None, before)) == {suite.sha256(before.files[name]).hex() for name in names}
    world.rotate("AU", LATER)
    after = update(before, world.files, LATER)[0]
    new = {
        name
        for name, data in after.files.items()
        if before.files.get(name) != data and not name.startswith("targets/desks/")
    }
    assert {name.split("/")[1] for name in new if "/" in name} == {"rotations"}
    assert set(hashes(before, after)) == {suite.sha256(after.files[name]).hex() for name in new}


def test_one_changed_desk_does_not_verify_the_others_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many desks, a refresh costs the signatures of what changed, and no more."""
    desks = [f"{a}{b}" for a in "ABCD" for b in "EFGHI"]
    world = World(desks, officers=1)
    before = world.trusted()
    world.enrol("BF", "bf-02", LATER)
    counted = 0
    real = suite.verify

    def verify(public: bytes, message: bytes, signature: bytes) -> None:
        nonlocal counted
        counted += 1
        real(public, message, signature)

    monkeypatch.setattr(suite, "verify", verify)
    after, found = update(before, world.files, LATER)
    assert len(found.desks) == 20
    assert counted == 0, "freshen had verified all of it already"
    world.revoke("CG", "cg-01", LATER + 1)
    counted = 0
    update(after, world.files, LATER + 1)
    assert counted == 0
    files = dict(world.files)
    other = World(desks[:1], officers=1, now=LATER + 2)
    counted = 0
    update(begin(other.root), other.files, LATER + 2)
    assert counted <= 12
    assert files == world.files


def test_the_network_is_read_once_and_closed() -> None:
    """PROTOCOL 8.2: network.json has exactly its fields."""
    raw = World(desks=()).network()
    read_network(statement.encode(raw))
    changes: list[tuple[dict[str, Any], Code]] = [
        ({"more": 1}, Code.E_ENCODING),
        ({"v": 2}, Code.E_VERSION),
        ({"services": []}, Code.E_ENCODING),
        ({"services": raw["services"] * 2}, Code.E_ENCODING),
        ({"floor": {}}, Code.E_ENCODING),
        ({"limits": {"a": -1}}, Code.E_ENCODING),
        ({"versions": [{}]}, Code.E_ENCODING),
        ({"witnesses": 7}, Code.E_ENCODING),
    ]
    instance = raw["services"][0]["instances"][0]
    for name, value, code in (
        ("evidence_key", statement.b64u(bytes([1]) + bytes(31)), Code.E_KEY),
        ("log_key", instance["evidence_key"], Code.E_ENCODING),
        ("log_mldsa", statement.b64u(bytes(1311)), Code.E_KEY),
        ("origin", "", Code.E_ENCODING),
        ("more", 1, Code.E_ENCODING),
    ):
        service = {**raw["services"][0], "instances": [{**instance, name: value}]}
        changes.append(({"services": [service]}, code))
    service = raw["services"][0]
    version = raw["versions"][0]
    odd: list[dict[str, Any]] = [
        {"services": [{**service, "instances": []}]},
        {"services": [{**service, "instances": [instance, instance]}]},
        {"services": [{**service, "url": "ftp://relay"}]},
        {"services": ["poc24-test"]},
        {"versions": [{**version, "send": 1}]},
        {"versions": [{**version, "version": 0}]},
        {"tsa": [""]},
    ]
    changes += [(one, Code.E_ENCODING) for one in odd]
    changes.append(({"witnesses": "x" * NETWORK_BYTES_MAX}, Code.E_TOO_LARGE))
    for change, code in changes:
        data = statement.encode({**raw, **change})
        assert refused(lambda: read_network(data)).code is code, change  # noqa: B023


def test_a_directory_does_not_depend_on_the_order_of_files() -> None:
    """The same files in another order give an equal directory."""
    world = World()
    turned = dict(reversed(list(world.files.items())))
    found: Directory = update(begin(world.root), turned, NOW)[1]
    assert found == world.directory()
