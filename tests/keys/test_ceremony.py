"""The ceremony and the registrar's work: thresholds, no step that readers would refuse, freshness."""

from collections.abc import Callable

import builders_repositories as hostile
import pytest
from builders_keys import NOW, World, signer

from keys import ceremony, metadata
from keys.directory import begin, update
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer
from keys.metadata import KeySet, Kind, read
from keys.repository import current_entry, current_root, current_targets, desk_keys

LATER = NOW + 60


def refused(call: Callable[[], object]) -> Refused:
    """Return how a call is refused."""
    with pytest.raises(Refused) as error:
        call()
    return error.value


def test_a_world_is_made_of_its_description_alone() -> None:
    """Two ceremonies with the same keys and time are equal to the last byte."""
    assert World().files == World().files
    assert World(("VN",)).files != World().files


@pytest.mark.parametrize(("root", "registrar"), [(2, 2), (3, 1)])
def test_a_ceremony_needs_its_thresholds(root: int, registrar: int) -> None:
    """PROTOCOL 4: 3 of 5 root holders, 2 of 3 registrars; one fewer signs nothing."""
    world = World(desks=())
    error = refused(
        lambda: ceremony.ceremony(
            KeySet.of(3, world.root_signers),
            KeySet.of(2, world.registrar),
            KeySet.of(1, [world.freshness]),
            world.root_signers[:root],
            world.registrar[:registrar],
            world.network(),
            NOW,
        )
    )
    assert error.code is Code.E_DIRECTORY


def test_what_each_role_may_not() -> None:
    """One registrar adds no desk, a registrar enters for no desk, a desk enters for itself alone."""
    world = World()
    keys = KeySet.of(1, [signer(Role.DESK, "CA")])
    entry = current_entry(world.files, "AU")
    for call in (
        lambda: ceremony.add_desk(world.files, "CA", keys, world.registrar[:1], LATER),
        lambda: ceremony.add_desk(world.files, "CA", keys, world.root_signers, LATER),
        lambda: ceremony.add_desk(world.files, "AU", keys, world.registrar, LATER),
        lambda: ceremony.enter(world.files, "AU", entry, world.registrar, LATER),
        lambda: ceremony.enter(world.files, "AU", entry, world.desk_signers["VN"], LATER),
    ):
        assert refused(call).code is Code.E_DIRECTORY
    assert refused(lambda: desk_keys(world.files, "CA")).code is Code.E_WRONG_DESK
    assert refused(lambda: current_entry(world.files, "CA")).code is Code.E_WRONG_DESK


def test_an_entry_is_checked_before_it_is_signed() -> None:
    """A slow profile, or an entry that readers would refuse, is not signed."""
    world = World()
    entry = current_entry(world.files, "AU")
    profile = {**entry["profile"], "urgent": {**entry["profile"]["urgent"], "acknowledge_s": 3601}}
    bad = {**entry, "profile": profile}
    error = refused(lambda: ceremony.enter(world.files, "AU", bad, world.desk_signers["AU"], LATER))
    assert "3601" in error.text
    bad = {**entry, "serves": ["0" * 64]}
    assert refused(
        lambda: ceremony.enter(world.files, "AU", bad, world.desk_signers["AU"], LATER)
    ).code is (Code.E_ENCODING)


def test_a_rotation_needs_the_old_threshold_and_a_recovery_the_roots() -> None:
    """PROTOCOL 8.4: signers who are not enough are refused before anything is signed."""
    world = World()
    new = [signer(Role.DESK, "new")]
    keys = KeySet.of(1, new)

    def rotate(by: list[Signer]) -> object:
        return ceremony.rotate(world.files, "AU", keys, by, world.registrar, new, LATER)

    def recover(by: list[Signer]) -> object:
        return ceremony.recover(world.files, "AU", keys, by, world.registrar, new, LATER)

    assert refused(lambda: rotate(world.desk_signers["VN"])).code is Code.E_SIGNATURE
    assert refused(lambda: rotate([])).code is Code.E_SIGNATURE
    assert refused(lambda: recover(world.root_signers[:2])).code is Code.E_SIGNATURE
    assert refused(lambda: recover(world.desk_signers["AU"])).code is Code.E_SIGNATURE


def test_a_stricter_floor_waits_for_the_desks() -> None:
    """network.json cannot make a desk's profile too slow from one hour to the next."""
    world = World()
    network = world.network()
    floor = {**network["floor"], "urgent": {**network["floor"]["urgent"], "acknowledge_s": 3599}}
    error = refused(
        lambda: ceremony.set_network(
            world.files, {**network, "floor": floor}, world.registrar, LATER
        )
    )
    assert "3599" in error.text
    looser = {**network["floor"], "urgent": {**network["floor"]["urgent"], "acknowledge_s": 3601}}
    world.files = ceremony.set_network(
        world.files, {**network, "floor": looser}, world.registrar, LATER
    )
    world.freshen(LATER)
    assert world.directory(LATER).network.floor["urgent"]["acknowledge_s"] == 3601


def test_a_root_document_needs_the_old_and_the_new_threshold() -> None:
    """TUF 5.3: neither the newcomers nor the old holders alone."""
    world = World()
    new = [signer(Role.ROOT, f"new {n}") for n in range(5)]
    keys = KeySet.of(3, new)
    for by in (
        new,
        world.root_signers,
        [*world.root_signers[:2], *new],
        [*world.root_signers, *new[:2]],
    ):
        assert refused(
            lambda: ceremony.renew_root(world.files, by, LATER, root=keys)  # noqa: B023
        ).code is (Code.E_DIRECTORY)
    by = [*world.root_signers[2:], *new[:3]]
    world.files = ceremony.renew_root(world.files, by, LATER, root=keys)
    world.freshen(LATER)
    assert world.directory(LATER).version == 2


def test_a_new_automaton_and_new_registrars_take_over() -> None:
    """After a root document with new keys, they sign and the old ones no longer do."""
    world = World()
    before = world.trusted()
    registrar = [signer(Role.REGISTRAR, f"new {n}") for n in range(3)]
    automaton = signer(Role.FRESHNESS, "new")
    world.files = ceremony.renew_root(
        world.files,
        world.root_signers,
        LATER,
        registrar=KeySet.of(2, registrar),
        freshness=KeySet.of(1, [automaton]),
    )
    stale = dict(world.files)
    assert refused(lambda: ceremony.freshen(stale, world.freshness, LATER)).code is Code.E_DIRECTORY
    old = world.registrar
    assert (
        refused(lambda: ceremony.set_network(world.files, world.network(), old, LATER)).code
        is Code.E_DIRECTORY
    )
    world.files = ceremony.set_network(world.files, world.network(), registrar, LATER)
    world.freshness = automaton
    world.freshen(LATER)
    after, found = update(before, world.files, LATER)
    assert (found.held, len(found.desks)) == ({}, 3)
    assert "2.root.json" in after.files


def test_freshness_signs_a_day_and_an_hour() -> None:
    """PROTOCOL 8.5: snapshot 24 h, timestamp 1 h; a snapshot that says nothing new is kept for half a day."""
    world = World()
    stamp = read(Kind.TIMESTAMP, world.files["timestamp.json"])
    snapshot = read(Kind.SNAPSHOT, world.files["1.snapshot.json"])
    assert (stamp.expires - NOW, snapshot.expires - NOW) == (3600, 86_400)
    world.freshen(NOW + 600)
    assert "2.snapshot.json" not in world.files
    assert read(Kind.TIMESTAMP, world.files["timestamp.json"]).version == 2
    world.freshen(NOW + 12 * 3600)
    assert "2.snapshot.json" in world.files


def test_only_the_automaton_freshens() -> None:
    """Another key signs nothing that a reader would take."""
    world = World()
    error = refused(lambda: ceremony.freshen(world.files, signer(Role.FRESHNESS, "evil"), LATER))
    assert error.code is Code.E_DIRECTORY


def test_a_desk_that_is_only_delegated_is_not_there_yet() -> None:
    """Between the registrar's signature and the desk's own, the directory goes on without the desk."""
    world = World()
    keys = KeySet.of(1, [signer(Role.DESK, "CA")])
    world.files = ceremony.add_desk(world.files, "CA", keys, world.registrar, LATER)
    world.freshen(LATER)
    assert "CA" not in world.directory(LATER).desks
    world.add_desk("NZ", LATER)
    assert [one.officer for one in world.directory(LATER).desk("NZ").members] == ["nz-01"]


def test_a_forged_role_is_not_picked_up() -> None:
    """A role file that somebody laid into the folder, signed by no desk key, is passed over."""
    world = World()
    entry = current_entry(world.files, "AU")
    forged = hostile.role(world, "AU", LATER, world.desk_signers["VN"])
    world.files = {**world.files, "2.desk-AU.json": forged["2.desk-AU.json"]}
    world.freshen(LATER)
    found = world.directory(LATER)
    assert (found.faulty, found.desk("AU").version) == ({}, 1)
    assert entry["desk"] == "AU"


def test_revoking_nobody_is_refused() -> None:
    """A handle or device that is not there, or is revoked already, is E_UNKNOWN."""
    world = World()
    entry = current_entry(world.files, "AU")
    assert (
        refused(lambda: ceremony.without_member(entry, LATER, handle="au-77")).code
        is Code.E_UNKNOWN
    )
    world.revoke("AU", "au-01", LATER)
    entry = current_entry(world.files, "AU")
    assert (
        refused(lambda: ceremony.without_member(entry, LATER, handle="au-01")).code
        is Code.E_UNKNOWN
    )
    kid = world.device("AU", "au-02").kid
    after = ceremony.without_member(entry, LATER, device=kid)
    assert [one["status"] for one in after["members"]] == ["revoked", "revoked"]


def test_a_folder_without_a_directory_is_a_sentence() -> None:
    """Nothing to begin from: Failed with what to type."""
    with pytest.raises(Failed, match="ceremony"):
        current_root({})
    with pytest.raises(Failed):
        current_targets({})


def test_metadata_is_what_tuf_says_it_is() -> None:
    """The door to TUF: anything else is E_DIRECTORY, E_KEY or E_TOO_LARGE, and never another error (C22)."""
    world = World()
    root = world.root
    for bad in (
        b"",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        root.replace(b'"version":1', b'"version":1.5'),
        root.replace(b'"version":1', b'"version":-1'),
        root.replace(b'"version":1', b'"version":1,"version":1'),
        root.replace(b'"consistent_snapshot":true', b'"consistent_snapshot":false'),
        root.replace(b'"threshold":3', b'"threshold":6'),
        root.replace(b'"threshold":3', b'"threshold":0'),
        root.replace(b'"_type":"root"', b'"_type":"snapshot"'),
        root.replace(b'"scheme":"ed25519"', b'"scheme":"rsassa-pss-sha256"'),
        world.files["timestamp.json"],
    ):
        assert refused(lambda: metadata.read(Kind.ROOT, bad)).code is Code.E_DIRECTORY  # noqa: B023
    for old, new in (
        (world.root_signers[0].public.hex().encode(), b"01" + b"00" * 31),
        (world.root_signers[0].public.hex().encode(), world.root_signers[1].public.hex().encode()),
    ):
        assert refused(lambda: metadata.read(Kind.ROOT, root.replace(old, new))).code is Code.E_KEY  # noqa: B023
    other = root.replace(b'"keytype":"ed25519"', b'"keytype":"ecdsa"')
    other = other.replace(b'"scheme":"ed25519"', b'"scheme":"ecdsa-sha2-nistp256"')
    assert refused(lambda: metadata.read(Kind.ROOT, other)).code is Code.E_KEY
    huge = root + b" " * metadata.BYTES_MAX[Kind.ROOT]
    assert refused(lambda: metadata.read(Kind.ROOT, huge)).code is Code.E_TOO_LARGE


def test_a_file_is_named_by_sha_256_or_by_nothing() -> None:
    """PROTOCOL 5: a hash of another algorithm is refused; it is not taken for no hash at all."""
    stamp = World().files["timestamp.json"]
    bad = stamp.replace(b'"sha256"', b'"sha512"')
    assert refused(lambda: metadata.read(Kind.TIMESTAMP, bad)).code is Code.E_DIRECTORY


def test_metadata_is_not_nested_deeply() -> None:
    """C22: unknown fields may be there, as TUF allows, but not as a tower."""
    stamp = World().files["timestamp.json"]
    for depth, good in ((5, True), (50, False), (900, False)):
        tower = b'"x":' + b"[" * depth + b"]" * depth + b',"spec_version"'
        data = stamp.replace(b'"spec_version"', tower)
        if good:
            assert metadata.read(Kind.TIMESTAMP, data).version == 1
        else:
            assert refused(lambda: metadata.read(Kind.TIMESTAMP, data)).code is Code.E_DIRECTORY  # noqa: B023


def test_a_key_set_is_what_it_says() -> None:
    """Distinct, sorted, honest keys, at most sixteen, and a threshold that can be reached."""
    publics = tuple(sorted(signer(Role.DESK, str(n)).public for n in range(17)))
    KeySet(16, publics[:16])
    for threshold, keys in (
        (1, publics),
        (1, (publics[0], publics[0])),
        (1, publics[1::-1]),
        (0, publics[:2]),
        (3, publics[:2]),
        (1, ()),
    ):
        assert refused(lambda: KeySet(threshold, keys)).code is Code.E_DIRECTORY  # noqa: B023
    assert refused(lambda: KeySet(1, (bytes([1]) + bytes(31),))).code is Code.E_KEY


def test_a_first_directory_begins_with_its_root() -> None:
    """What a newcomer needs by hand is the first root document alone."""
    world = World()
    assert ceremony.accepted(world.files, NOW) == update(begin(world.root), world.files, NOW)[1]
