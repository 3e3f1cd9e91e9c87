"""The directory as a desk takes it, and prekeys on both sides."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from builders_keys import NOW, WEEK, World, seed

from keys import suite
from keys.directory import make_prekey, read_prekey
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer
from keys.statement import peek
from relay.desk import roster as rosters
from relay.desk.archive import Archive
from relay.desk.clock import NOTED_S, ComparedClock
from relay.desk.roster import Roster, TurnedDown
from relay.wire import frames
from relay.wire.frames import Type

DAY = 86_400


@pytest.fixture
def world() -> World:
    """Return a network that a test may change."""
    return World()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Return an empty archive."""
    with Archive(tmp_path / "vn.db", seed("archive")) as made:
        yield made


def roster_of(world: World, archive: Archive) -> Roster:
    """Return VN's roster with nothing but the trust anchor, or with what the archive holds."""
    made = Roster(archive, desk="VN", service=world.service, device=world.device("VN"))
    made.begin(world.root)
    return made


class Relay:
    """Answers a roster's calls from a world, and counts them."""

    def __init__(self, world: World, files: Mapping[str, bytes] | None = None) -> None:
        """Serve *files*, or the world's as they are at each call."""
        self._world = world
        self._files = files
        self.asked: list[str] = []
        self.taken: list[bytes] = []
        self.pause: Callable[[str], Awaitable[None]] | None = None

    async def ask(self, kind: Type, body: bytes) -> bytes:
        """Answer one call as the relay does."""
        name = body.decode("ascii", "replace")
        if kind is Type.PREKEYS:
            self.taken += frames.split(body)
            return b"{}"
        if kind is Type.GET_PREKEYS:
            return frames.join(*self._world.prekeys(name))
        self.asked.append(name)
        found = (self._files or self._world.files).get(name)
        if self.pause is not None:
            await self.pause(name)
        if found is None:
            raise TurnedDown(Code.E_UNKNOWN, "There is none of this name.")
        return found


async def test_a_directory_is_taken_from_the_anchor_alone(world: World, archive: Archive) -> None:
    """From root document 1 to every desk; kept, and there again after a restart without the relay."""
    made = roster_of(world, archive)
    assert not made.known
    assert await made.refresh(Relay(world).ask, NOW) is True
    assert set(made.directory.desks) == {"VN", "AU", "AU-B"}
    again = roster_of(world, archive)
    assert again.directory.version == made.directory.version
    assert again.me.desk == "VN"
    assert again.refreshed_at == 0


async def test_nothing_new_costs_two_questions(world: World, archive: Archive) -> None:
    """Every ten minutes the next root and the timestamp are asked for; the same ones end the refresh."""
    made, relay = roster_of(world, archive), Relay(world)
    await made.refresh(relay.ask, NOW)
    relay.asked.clear()
    assert await made.refresh(relay.ask, NOW + 600) is False
    assert relay.asked == ["2.root.json", "timestamp.json"]
    assert made.refreshed_at == NOW + 600


async def test_an_older_directory_is_refused(world: World, archive: Archive) -> None:
    """A relay that goes back in time is refused, and what was trusted stays in force (claim C18)."""
    made, before = roster_of(world, archive), dict(world.files)
    world.revoke("AU", "au-01", NOW + 5)
    await made.refresh(Relay(world).ask, NOW + 10)
    version = made.directory.version
    with pytest.raises(Refused) as refused:
        await made.refresh(Relay(world, before).ask, NOW + 20)
    assert refused.value.code is Code.E_DIRECTORY
    assert made.directory.version == version
    assert made.refreshed_at == NOW + 10


async def test_two_refreshes_at_once_end_with_the_newer_one(world: World, archive: Archive) -> None:
    """One that began earlier and ends later does not put its older answer over the newer one."""
    made = roster_of(world, archive)
    old, new = Relay(world, dict(world.files)), Relay(world)
    going = asyncio.Event()

    async def linger(name: str) -> None:
        if name == "timestamp.json":
            await going.wait()

    old.pause = linger
    first = asyncio.ensure_future(made.refresh(old.ask, NOW))
    await asyncio.sleep(0)
    world.enrol("AU", "au-09", NOW + 5)
    second = asyncio.ensure_future(made.refresh(new.ask, NOW + 10))
    await asyncio.sleep(0)
    going.set()
    await asyncio.gather(first, second)
    assert made.directory.version == world.directory().version
    assert roster_of(world, archive).directory.version == world.directory().version


async def test_an_expired_directory_is_taken_and_says_so(world: World, archive: Archive) -> None:
    """Receiving is always possible: the newest there is stays in use, and is not fresh (PROTOCOL 8.5)."""
    made = roster_of(world, archive)
    await made.refresh(Relay(world).ask, NOW + 9 * DAY)
    assert made.directory.fresh(NOW)
    assert not made.directory.fresh(NOW + 9 * DAY)
    with pytest.raises(Refused) as refused:
        made.directory.sendable("AU", NOW + 9 * DAY)
    assert refused.value.code is Code.E_DIRECTORY_STALE


async def test_a_relay_that_never_ends_is_left(
    world: World, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory beyond every limit is refused before it fills the memory (E_TOO_LARGE)."""
    monkeypatch.setattr(rosters, "FETCHED_BYTES_MAX", 10_000)
    made = roster_of(world, archive)
    with pytest.raises(Refused) as refused:
        await made.refresh(Relay(world).ask, NOW)
    assert refused.value.code is Code.E_TOO_LARGE
    assert not made.known


async def test_without_an_anchor_nothing_is_believed(world: World, archive: Archive) -> None:
    """A desk that was never given a root document asks for one, and does not take the relay's."""
    bare = Roster(archive, desk="VN", service=world.service, device=world.device("VN"))
    with pytest.raises(Failed, match="no trust anchor"):
        await bare.refresh(Relay(world).ask, NOW)


# Other desks' prekeys


async def learned(world: World, archive: Archive, now: int = NOW) -> Roster:
    """Return VN's roster with directory and AU's prekeys."""
    made, relay = roster_of(world, archive), Relay(world)
    await made.refresh(relay.ask, now)
    await made.fetch_prekeys(relay.ask, "AU", now)
    return made


async def test_the_newest_prekey_that_is_valid_now_is_used(world: World, archive: Archive) -> None:
    """One per active device, week by week, in the order of the members (PROTOCOL 8.7, 9.3)."""
    made = await learned(world, archive)
    for now in (NOW, NOW + 6 * DAY, NOW + 13 * DAY, NOW + 26 * DAY):
        expected = [one.key for one in world.current_prekeys("AU", now)]
        assert len(expected) == 2
        assert made.prekeys_of("AU", now) == expected
    assert made.prekeys_of("AU", NOW + 27 * DAY + 1) == []


async def test_of_two_valid_prekeys_the_newer_one_is_used(world: World, archive: Archive) -> None:
    """A device that published anew (a restored one) is sealed for by its newest prekey."""
    made = await learned(world, archive)
    device = world.device("AU")
    newer = make_prekey("AU", seed("newer"), NOW, NOW + WEEK, device)
    relay = Relay(world)

    async def ask(kind: Type, body: bytes) -> bytes:
        return (
            frames.join(newer.wire, *world.prekeys("AU")) if kind else await relay.ask(kind, body)
        )

    await made.fetch_prekeys(ask, "AU", NOW)
    keys = made.prekeys_of("AU", NOW)
    assert keys[0] == suite.prekey_public(seed("newer"))
    assert len(keys) == 2


async def test_a_revoked_devices_prekey_is_not_used(world: World, archive: Archive) -> None:
    """The directory decides who is sealed for, not the list that the relay gives (9.3)."""
    made = await learned(world, archive)
    world.revoke("AU", "au-01", NOW + 5)
    await made.refresh(Relay(world).ask, NOW + 10)
    expected = [
        one.key
        for one in world.current_prekeys("AU", NOW + 10)
        if one.device == world.device("AU", "au-02").kid
    ]
    assert made.prekeys_of("AU", NOW + 10) == expected


async def test_a_prekey_by_a_stranger_is_left_out(world: World, archive: Archive) -> None:
    """A relay that slips in a key of its own, or another desk's, gets nothing sealed for it (claim C1)."""
    made = await learned(world, archive)
    stranger = Signer(Role.DEVICE, seed("stranger"))
    false = [
        make_prekey("AU", seed("1"), NOW, NOW + WEEK, stranger).wire,
        make_prekey("AU", seed("2"), NOW, NOW + WEEK, world.device("VN")).wire,
        make_prekey("VN", seed("3"), NOW, NOW + WEEK, world.device("AU")).wire,
        make_prekey("AU", seed("4"), NOW, NOW + WEEK + 1, world.device("AU")).wire,
        b"junk",
    ]

    async def ask(_kind: Type, _body: bytes) -> bytes:
        return frames.join(*false, *world.prekeys("AU"))

    await made.fetch_prekeys(ask, "AU", NOW)
    assert made.prekeys_of("AU", NOW) == [one.key for one in world.current_prekeys("AU")]
    assert archive.count("neighbour", "desk = 'AU'") == 8


# This device's own prekeys


async def test_prekeys_cover_four_weeks_without_a_gap(world: World, archive: Archive) -> None:
    """A week each, from an hour ago on; kept before they are published, each with its secret (8.7)."""
    made, relay = await learned(world, archive), Relay(world)
    assert made.make_prekeys(NOW) == 4
    assert made.prekeys_until() == 0
    assert len(made.seeds()) == 4
    assert await made.publish(relay.ask) == 4
    assert await made.publish(relay.ask) == 0
    member = world.member("VN")
    found = sorted(
        (read_prekey(wire, member) for wire in relay.taken), key=lambda one: one.not_before
    )
    assert found[0].not_before == NOW - rosters.EARLY_S
    assert all(one.not_after - one.not_before == WEEK for one in found)
    assert [one.not_after for one in found[:-1]] == [one.not_before for one in found[1:]]
    assert found[-1].not_after <= NOW + 4 * WEEK
    assert made.prekeys_until() == found[-1].not_after
    assert {one.hint for one in found} == set(made.seeds())
    assert made.make_prekeys(NOW + DAY) == 0
    assert made.make_prekeys(NOW + 8 * DAY) == 1
    assert made.make_prekeys(NOW + 90 * DAY) == 4
    assert peek(relay.taken[0]).keyid == world.device("VN").kid


async def test_what_could_not_be_published_is_published_later(
    world: World, archive: Archive
) -> None:
    """Refused today (the directory does not list the device yet): the same prekeys, next time."""
    made, relay = await learned(world, archive), Relay(world)
    made.make_prekeys(NOW)

    async def refuse(_kind: Type, _body: bytes) -> bytes:
        raise TurnedDown(Code.E_SIGNER, "not listed yet")

    with pytest.raises(TurnedDown):
        await made.publish(refuse)
    assert made.make_prekeys(NOW + 60) == 0
    assert await made.publish(relay.ask) == 4


def everything(folder: Path) -> bytes:
    """Return all bytes of all files in a folder: the archive and its write-ahead log."""
    return b"".join(one.read_bytes() for one in folder.iterdir() if one.is_file())


async def test_secrets_are_destroyed_seven_days_after_their_last_day(
    world: World, archive: Archive, tmp_path: Path
) -> None:
    """n and n+1: on the last second the secret is there, one later no file of the archive holds it (8.7)."""
    made = await learned(world, archive)
    made.make_prekeys(NOW)
    first_end = NOW - rosters.EARLY_S + WEEK
    order = "SELECT seed FROM prekey_seed ORDER BY not_after LIMIT 1"
    (sealed,) = archive._file.execute(order).fetchone()
    assert made.destroy_old(first_end + 7 * DAY) == 0
    assert sealed in everything(tmp_path)
    assert made.destroy_old(first_end + 7 * DAY + 1) == 1
    assert len(made.seeds()) == 3
    assert sealed not in everything(tmp_path)


# The clock that is compared


class StoppedClock:
    """Stands still."""

    def now(self) -> int:
        """Return the same time, always."""
        return NOW

    async def sleep(self, seconds: float) -> None:
        """Do not wait."""


@pytest.mark.parametrize(
    ("relay_at", "offset"),
    [
        (NOW, 0),
        (NOW + NOTED_S, 0),
        (NOW - NOTED_S, 0),
        (NOW + NOTED_S + 1, NOTED_S + 1),
        (NOW - 3600, -3600),
    ],
)
def test_a_small_difference_is_the_networks(relay_at: int, offset: int) -> None:
    """Up to a minute is left alone; more moves machine acts to the relay's time, never the machine's own."""
    clock = ComparedClock(StoppedClock())
    assert clock.note(relay_at) == offset
    assert clock.note(relay_at) == 0
    assert (clock.now(), clock.own()) == (NOW + offset, NOW)
    clock.note(NOW)
    assert clock.now() == NOW
