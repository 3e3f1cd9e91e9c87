"""python-tuf's own program as oracle: on every case but continuity, both accept or both refuse (PROTOCOL 8.1, C18)."""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import builders_repositories as hostile
import pytest
from builders_keys import NOW, World, signer
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater  # type: ignore[attr-defined]
from tuf.ngclient._internal import trusted_metadata_set

from keys import ceremony, directory, metadata, suite
from keys.directory import update
from keys.errors import Refused
from keys.identity import Role
from keys.metadata import FileMeta, KeySet
from keys.repository import current_root, newest
from keys.trust import newest_root

Files = dict[str, bytes]
DESKS = ("VN", "AU")
LATER = NOW + 60


class Local(FetcherInterface):
    """Serves files of a mapping under any address."""

    def __init__(self, files: Files) -> None:
        """Serve *files* by name; targets stand under targets/."""
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self.files.get(url.removeprefix("mem:///").removeprefix("meta/"))
        if data is None:
            raise DownloadHTTPError("not there", 404)
        yield data


class Stock:
    """python-tuf's program with a folder of its own, at a time of our choice."""

    def __init__(self, folder: Path, root: bytes, patch: pytest.MonkeyPatch) -> None:
        """Begin with the same trust anchor as ours."""
        self.folder, self.root, self.patch = folder, root, patch

    def accepts(self, files: Files, now: int) -> bool:
        """Refresh and fetch every desk's entry."""
        at = dt.datetime.fromtimestamp(now, dt.UTC)
        clock = SimpleNamespace(now=lambda _zone: at)
        fake = SimpleNamespace(datetime=clock, timezone=dt.timezone)
        self.patch.setattr(trusted_metadata_set, "datetime", fake)
        for name in ("meta", "got"):
            (self.folder / name).mkdir(exist_ok=True)
        program = Updater(
            str(self.folder / "meta"),
            "mem:///meta/",
            str(self.folder / "got"),
            "mem:///targets/",
            fetcher=Local(files),
            bootstrap=self.root,
        )
        try:
            program.refresh()
            for path in ("network.json", *(f"desks/{desk}.json" for desk in DESKS)):
                info = program.get_targetinfo(path)
                if info is None:
                    return False
                program.download_target(info)
        except (RepositoryError, DownloadError):
            return False
        return True


def ours(before: directory.Trusted, files: Files, now: int) -> bool:
    """Whether our workflow takes the update with every desk."""
    try:
        found = update(before, files, now)[1]
    except Refused:
        return False
    return not found.held and not found.faulty and set(DESKS) <= set(found.desks)


Case = Callable[[World], Files]
ROOT = [signer(Role.ROOT, f"new {n}") for n in range(1, 6)]
EVIL = signer(Role.FRESHNESS, "evil")


def root(world: World, version: int, by: list[int], *, old: list[int] | None = None) -> Files:
    """Sign a next root with new root keys, by some of the new holders and some of the old ones."""
    document = current_root(world.files)
    roles = {**document.roles, "root": KeySet.of(3, ROOT)}
    who = [ROOT[n] for n in by] + [world.root_signers[n] for n in old or []]
    data = metadata.sign(metadata.write_root(version, NOW + 10**7, roles), who)
    return {**world.files, f"{version}.root.json": data}


def two_roots(world: World) -> Files:
    """Return a chain of two honest root documents."""
    world.files = root(world, 2, [0, 1, 2], old=[0, 1, 2])
    document = current_root(world.files)
    data = metadata.sign(metadata.write_root(3, NOW + 10**7, document.roles), ROOT[1:4])
    return {**world.files, "3.root.json": data}


def without(files: Files, name: str) -> Files:
    """Return files without one."""
    return {key: data for key, data in files.items() if key != name}


def enrolled(world: World) -> Files:
    """Return the files after an honest enrolment."""
    world.enrol("AU", "au-09", LATER)
    return world.files


def fresh(world: World) -> Files:
    """Return the files after an honest freshening."""
    world.freshen(LATER)
    return world.files


def swapped_bytes(world: World, suffix: str) -> Files:
    """Return newer files in which one file is put back to its old bytes, under the new name."""
    old = dict(world.files)
    was = next(data for name, data in old.items() if name.endswith(suffix))
    world.enrol("AU", "au-09", LATER)
    new = max(
        (name for name in world.files if name.endswith(suffix)), key=lambda name: name not in old
    )
    return {**world.files, new: was}


def recovered(world: World, *, now: int = LATER) -> Files:
    """Return files after a thief of the freshness key ran far ahead, and the root replaced that key."""
    world.freshness = signer(Role.FRESHNESS, "second automaton")
    world.files = ceremony.renew_root(
        world.files, world.root_signers[:3], now, freshness=KeySet.of(1, [world.freshness])
    )
    return hostile.chain(world, now, snapshot_version=9, timestamp_version=9)


HONEST: dict[str, Case] = {
    "nothing new": lambda world: world.files,
    "fresh": fresh,
    "an officer is enrolled": enrolled,
    "a new root document": lambda world: root(world, 2, [0, 1, 2], old=[2, 3, 4]),
    "two new root documents": two_roots,
    "the freshness key is replaced": recovered,
    "a skipped timestamp version": lambda world: hostile.chain(world, LATER, timestamp_version=7),
}

DISHONEST: dict[str, Case] = {
    "timestamp expired": lambda world: hostile.chain(world, LATER, timestamp_seconds=-1),
    "timestamp expires now": lambda world: hostile.chain(world, LATER, timestamp_seconds=0),
    "snapshot expired": lambda world: hostile.chain(world, LATER, snapshot_seconds=-1),
    "timestamp by a stranger": lambda world: hostile.chain(world, LATER, timestamp_by=[EVIL]),
    "snapshot by a stranger": lambda world: hostile.chain(world, LATER, snapshot_by=[EVIL]),
    "targets by one registrar": lambda world: hostile.targets(world, LATER, world.registrar[:1]),
    "targets by one registrar twice": lambda world: hostile.targets(
        world, LATER, [world.registrar[0], world.registrar[0]]
    ),
    "targets by the root": lambda world: hostile.targets(world, LATER, world.root_signers),
    "a desk's roster by another desk": lambda world: hostile.role(
        world, "AU", LATER, world.desk_signers["VN"]
    ),
    "a desk's roster by the registrar": lambda world: hostile.role(
        world, "AU", LATER, world.registrar
    ),
    "root by new keys only": lambda world: root(world, 2, [0, 1, 2, 3, 4]),
    "root by old keys only": lambda world: root(world, 2, [], old=[0, 1, 2, 3, 4]),
    "root by two old keys": lambda world: root(world, 2, [0, 1, 2], old=[0, 1]),
    "root 2 holds version 3": lambda world: {
        **world.files,
        "2.root.json": root(world, 3, [0, 1, 2], old=[0, 1, 2])["3.root.json"],
    },
    "root 2 holds version 1": lambda world: {**world.files, "2.root.json": world.root},
    "mixed: old targets under the new name": lambda world: swapped_bytes(world, ".snapshot.json"),
    "mixed: old desk role under the new name": lambda world: swapped_bytes(world, ".desk-AU.json"),
    "mixed: old entry under the new name": lambda world: swapped_bytes(world, ".AU.json"),
    "snapshot names an older targets": lambda world: hostile.chain(
        world, LATER, listed={"targets.json": FileMeta.of(1, world.files["1.targets.json"])}
    ),
    "snapshot drops the targets": lambda world: hostile.chain(
        world, LATER, leave_out=["targets.json"]
    ),
    "snapshot drops a desk": lambda world: hostile.chain(world, LATER, leave_out=["desk-AU.json"]),
    "snapshot names another version than the file has": lambda world: {
        **hostile.chain(
            world, LATER, listed={"desk-AU.json": FileMeta.of(5, world.files["1.desk-AU.json"])}
        ),
        "5.desk-AU.json": world.files["1.desk-AU.json"],
    },
    "timestamp names another snapshot": lambda world: hostile.chain(
        world, LATER, named=FileMeta.of(2, b"other")
    ),
    "timestamp is not JSON": lambda world: {**world.files, "timestamp.json": b"{"},
    "timestamp is a snapshot": lambda world: {
        **world.files,
        "timestamp.json": world.files["1.snapshot.json"],
    },
    "snapshot is missing": lambda world: without(hostile.chain(world, LATER), "2.snapshot.json"),
    "entry is missing": lambda world: {
        name: data for name, data in enrolled(world).items() if not name.endswith(".AU.json")
    },
}


@pytest.mark.parametrize("case", HONEST.values(), ids=HONEST.keys())
def test_both_accept_what_is_honest(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same first state, an honest update passes with us and with stock TUF."""
    world = World()
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted()
    assert stock.accepts(world.files, NOW)
    files = case(world)
    assert (ours(mine, files, LATER), stock.accepts(files, LATER)) == (True, True)


@pytest.mark.parametrize("case", DISHONEST.values(), ids=DISHONEST.keys())
def test_both_refuse_what_is_not(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C18: rollback, freeze, mix-and-match, below threshold, a roster by another desk: refused by both."""
    world = World()
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted()
    assert stock.accepts(world.files, NOW)
    files = case(world)
    assert (ours(mine, files, LATER), stock.accepts(files, LATER)) == (False, False)


def test_both_refuse_to_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C18: whoever has seen a newer timestamp or snapshot does not take an older one."""
    world = World()
    old = dict(world.files)
    world.freshen(NOW + 10)
    world.enrol("AU", "au-09", NOW + 20)
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted(NOW + 20)
    assert stock.accepts(world.files, NOW + 20)
    assert (ours(mine, old, LATER), stock.accepts(old, LATER)) == (False, False)
    snapshot = FileMeta.of(1, old["1.snapshot.json"])
    back = hostile.chain(world, LATER, named=snapshot)
    assert (ours(mine, back, LATER), stock.accepts(back, LATER)) == (False, False)


@pytest.mark.parametrize("what", ["timestamp alone", "snapshot alone", "one desk alone"])
def test_each_version_by_itself_does_not_go_back(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C18: one number that goes back is enough, although everything else is newer or the same."""
    world = World()
    first = dict(world.files)
    if what == "one desk alone":
        world.enrol("AU", "au-09", NOW + 10)
    else:
        world.files = hostile.chain(world, NOW + 10, timestamp_version=5)
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted(NOW + 10)
    assert stock.accepts(world.files, NOW + 10)
    if what == "timestamp alone":
        back = hostile.chain(
            world, LATER, timestamp_version=4, named=FileMeta.of(2, world.files["2.snapshot.json"])
        )
    elif what == "snapshot alone":
        back = hostile.chain(world, LATER, named=FileMeta.of(1, first["1.snapshot.json"]))
    else:
        old = FileMeta.of(1, first["1.desk-AU.json"])
        back = hostile.chain(world, LATER, listed={"desk-AU.json": old})
    assert (ours(mine, back, LATER), stock.accepts(back, LATER)) == (False, False)
    with pytest.raises(Refused, match="goes back"):
        update(mine, back, LATER)


def test_both_recover_from_a_thief_who_ran_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C18: after huge versions by a stolen freshness key, a new root lets everybody return to small ones."""
    world = World()
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted()
    ahead = hostile.chain(world, LATER, snapshot_version=2**31, timestamp_version=2**31)
    assert stock.accepts(ahead, LATER)
    mine, _directory = update(mine, ahead, LATER)
    stuck = hostile.chain(world, LATER)
    assert (ours(mine, stuck, LATER), stock.accepts(stuck, LATER)) == (False, False)
    files = recovered(world)
    assert newest_root(files) == 2
    assert (ours(mine, files, LATER), stock.accepts(files, LATER)) == (True, True)


def test_a_jump_in_the_root_chain_is_refused_here_and_ignored_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root 3 without root 2: stock TUF stops at what it has; we are told of 3, and ask for 2."""
    world = World()
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted()
    files = without(two_roots(world), "2.root.json")
    assert stock.accepts(files, LATER)
    with pytest.raises(Refused, match="jump over version 2"):
        update(mine, files, LATER)
    assert "2.root.json" in directory.missing(mine, {"3.root.json": files["3.root.json"]})


def test_stock_tuf_accepts_a_swapped_desk_key_and_we_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C19: the one case on which both differ; it is why PROTOCOL 8.4 exists."""
    world = World()
    stock, mine = Stock(tmp_path, world.root, monkeypatch), world.trusted()
    assert stock.accepts(world.files, NOW)
    world.swap_desk_key("AU", LATER)
    assert stock.accepts(world.files, LATER)
    assert not ours(mine, world.files, LATER)


def test_a_key_under_which_anybody_signs_is_refused_here_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PROTOCOL 8.1: a small-order desk key in the targets is E_KEY with us, whatever stock TUF makes of it."""
    world = World()
    evil = bytes([1]) + bytes(31)
    monkeypatch.setattr(suite, "check_public", lambda _public: None)
    keys = KeySet(1, (evil,))
    world.files = ceremony.delegate(world.files, "AU", keys, world.registrar[:2], LATER)
    files = hostile.chain(
        world, LATER, listed={"targets.json": FileMeta.of(*newest(world.files, "targets"))}
    )
    monkeypatch.undo()
    metadata.read.clear()
    metadata.verified.clear()
    with pytest.raises(Refused) as refused:
        update(World().trusted(), files, LATER)
    assert refused.value.code == "E_KEY"
