"""Attachments and their operator: start, doctor, backup, restore (PROTOCOL 11.14)."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from builders_blobs import blob_of, get, head, put, put_piece
from builders_door import NOW
from builders_keys import World
from builders_relay import Running, running

from keys.errors import Code, Failed, Refused
from relay.blobs import Blobs
from relay.server import control
from relay.store.blobs import Folder
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.upload import Elsewhere

DAY = 86_400
ONE, TWO, STRAY = blob_of("one"), blob_of("two", 200_000), blob_of("stray")


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


def place(folder: Path, name: str = "relay.db") -> dict[str, Any]:
    """Return where a relay with attachments stands."""
    return {
        "store": SqliteStore(folder / name, free_min=0),
        "blobs": folder / f"{name}.blobs",
        "control": folder / "bell",
    }


async def filled(relay: Running) -> dict[str, str]:
    """Put two blobs as VN; return its headers."""
    _device, token = await relay.connected("VN")
    for one in (ONE, TWO):
        assert (await put(relay, token, one))[0] == 201
    return token


async def backup(folder: Path, name: str) -> dict[str, Any]:
    """Ask the running relay for a backup."""
    found = await control.ask(folder / "bell", "POST", "backup", {"path": str(folder / name)})
    assert found is not None
    return found


# Start


async def test_a_start_removes_what_nobody_knows(tmp_path: Path) -> None:
    """Files of no row and old parts go, young parts and other people's files stay; rows without a file are told."""
    store, folder = MemoryStore(), tmp_path / "blobs"
    await store.start(NOW)
    folder.mkdir()
    for made, name, age in (
        (ONE, ONE.id, 0),
        (STRAY, STRAY.id, 0),
        (STRAY, f"{STRAY.id}.VN.part", DAY),
        (STRAY, f"{STRAY.id}.AU-B.part", DAY - 1),
        (STRAY, "notes.txt", 90 * DAY),
        (STRAY, STRAY.id.upper(), 90 * DAY),
        (STRAY, f"{STRAY.id}.vn.part", 90 * DAY),
    ):
        (folder / name).write_bytes(made.data)
        os.utime(folder / name, (NOW - age, NOW - age))
    (folder / TWO.id).symlink_to(folder / ONE.id)
    await store.put_blob(ONE.id, len(ONE), "VN", NOW)
    await store.put_blob(TWO.id, len(TWO), "VN", NOW)
    blobs = Blobs(store, Folder(folder))
    swept = await blobs.start(NOW)
    assert (swept.removed, swept.missing) == (2, (TWO.id,))
    assert {path.name for path in folder.iterdir()} == {
        *(ONE.id, TWO.id, f"{STRAY.id}.AU-B.part", "notes.txt"),
        *(STRAY.id.upper(), f"{STRAY.id}.vn.part", "relay.lock"),
    }
    assert blobs.offset(STRAY.id, "AU-B") == len(STRAY)
    await blobs.stop()


async def test_one_folder_has_one_relay(tmp_path: Path) -> None:
    """A second relay on the same folder, or a folder that cannot be one, is refused with a sentence."""
    store = MemoryStore()
    await store.start(NOW)
    one = Blobs(store, Folder(tmp_path / "blobs"))
    await one.start(NOW)
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700
    two = Blobs(store, Folder(tmp_path / "blobs"))
    with pytest.raises(Failed, match="Another process") as failed:
        await two.start(NOW)
    assert failed.value.exit_code == 75
    await two.stop()
    await one.stop()
    (tmp_path / "file").touch()
    three = Blobs(store, Folder(tmp_path / "file" / "blobs"))
    with pytest.raises(Failed, match="cannot be used") as failed:
        await three.start(NOW)
    assert failed.value.exit_code == 73
    await three.stop()


async def test_a_relay_says_what_it_lacks(world: World, tmp_path: Path) -> None:
    """A file that is gone at the start is an error in the log, and a finding."""
    async with running(world, **place(tmp_path)) as relay:
        await filled(relay)
    (tmp_path / "relay.db.blobs" / ONE.id).unlink()
    async with running(world, **place(tmp_path)) as relay:
        assert "attachments are missing" in relay.written.getvalue()
        found = await control.ask(tmp_path / "bell", "GET", "doctor")
        assert found is not None
        (finding,) = found["findings"]
        assert f"{ONE.id} is not there" in finding
        assert any("attachments are missing" in one for one in relay.relay.health().warnings)


async def test_the_doctor_reads_every_byte(world: World, tmp_path: Path) -> None:
    """One bit, a cut file, a file of nobody: each is a finding."""
    async with running(world, **place(tmp_path)) as relay:
        await filled(relay)
        folder = tmp_path / "relay.db.blobs"
        found = await control.ask(tmp_path / "bell", "GET", "doctor")
        assert found is not None
        assert found["findings"] == []
        (folder / ONE.id).write_bytes(ONE.data[:-1] + bytes([ONE.data[-1] ^ 1]))
        os.truncate(folder / TWO.id, len(TWO) - 1)
        (folder / STRAY.id).write_bytes(STRAY.data)
        found = await control.ask(tmp_path / "bell", "GET", "doctor")
        assert found is not None
        told = " ".join(found["findings"])
        assert len(found["findings"]) == 3
        assert f"{ONE.id} is damaged" in told
        assert f"{TWO.id} is damaged" in told
        assert f"{STRAY.id} is not known" in told


# Backup


@pytest.mark.parametrize("same_disk", [True, False])
async def test_a_backup_has_its_attachments(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, same_disk: bool
) -> None:
    """Linked or copied, verified; and a relay that starts on both hands them out again."""
    if not same_disk:
        monkeypatch.setattr(os, "link", _another_disk)
    async with running(world, **place(tmp_path)) as relay:
        token = await filled(relay)
        await put_piece(relay, token, blob_of("begun"), 0, 100)
        assert await backup(tmp_path, "copy.db") == {
            "path": str(tmp_path / "copy.db"),
            "blobs": 2,
        }
        with pytest.raises(Failed, match="there already"):
            await backup(tmp_path, "copy.db")
    copied = tmp_path / "copy.db.blobs"
    assert {path.name for path in copied.iterdir()} == {ONE.id, TWO.id}
    for one in copied.iterdir():
        theirs = tmp_path / "relay.db.blobs" / one.name
        assert one.samefile(theirs) is same_disk
        assert one.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.copy"))

    async with running(world, **place(tmp_path, "copy.db")) as relay:
        assert "attachments are missing" not in relay.written.getvalue()
        _device, token = await relay.connected("VN")
        assert (await get(relay, token, TWO))[:2] == (200, TWO.data)


def _another_disk(*_names: object, **_how: object) -> None:
    raise OSError(18, "Invalid cross-device link")


async def test_a_backup_without_all_attachments_is_none(world: World, tmp_path: Path) -> None:
    """A damaged or lost attachment: a sentence, and nothing that looks like a backup."""
    async with running(world, **place(tmp_path)) as relay:
        token = await filled(relay)
        theirs = tmp_path / "relay.db.blobs" / TWO.id
        theirs.write_bytes(bytes(len(TWO)))
        with pytest.raises(Failed, match=TWO.id):
            await backup(tmp_path, "copy.db")
        theirs.unlink()
        with pytest.raises(Failed, match=TWO.id):
            await backup(tmp_path, "copy.db")
        assert {path.name for path in tmp_path.glob("copy*")} == set()
        assert (await put(relay, token, TWO))[0] == 201
        assert (await backup(tmp_path, "copy.db"))["blobs"] == 2


async def test_nothing_goes_during_a_backup(world: World, tmp_path: Path) -> None:
    """What is let go while a backup is made goes afterwards: each row of the copy finds its file."""
    async with running(world, **place(tmp_path)) as relay:
        await filled(relay)
        blobs, late = relay.relay.exchange.blobs, NOW + DAY
        assert blobs is not None
        held = asyncio.Event()

        async def slowly() -> None:
            assert await blobs.house(late) == 0
            held.set()

        assert await blobs.backup(tmp_path / "copies", slowly) == 2
        assert held.is_set()
        assert await blobs.house(late) == 2


async def test_a_backup_of_a_relay_without_attachments_has_no_folder(
    world: World, tmp_path: Path
) -> None:
    """No attachments, no folder: one file, as before."""
    async with running(world, **place(tmp_path)):
        assert (await backup(tmp_path, "copy.db"))["blobs"] == 0
    assert {path.name for path in tmp_path.glob("copy*")} == {"copy.db"}


async def test_an_upload_goes_on_in_the_next_life(world: World, tmp_path: Path) -> None:
    """A stop in between changes nothing: the part is hashed again, and completed."""
    async with running(world, **place(tmp_path)) as relay:
        _device, token = await relay.connected("VN")
        assert (await put_piece(relay, token, TWO, 0, 150_000))[0] == 202
    async with running(world, **place(tmp_path)) as relay:
        _device, token = await relay.connected("VN")
        status, headers = await head(relay, token, TWO)
        assert (status, headers["Upload-Offset"]) == (204, "150000")
        assert (await put_piece(relay, token, TWO, 150_000, len(TWO)))[0] == 201
        assert (await get(relay, token, TWO))[1] == TWO.data


# Several relays on one folder


class Slow(MemoryStore):
    """A store that can be held up while it writes a row."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.free = asyncio.Event(), asyncio.Event()

    async def put_blob(self, blob: str, size: int, desk: str, now: int) -> None:
        """Wait to be let go."""
        self.asked.set()
        await self.free.wait()
        await super().put_blob(blob, size, desk, now)


async def two_relays(folder: Path, store: MemoryStore) -> tuple[Blobs, Blobs]:
    """Return the attachments of two relays over one store and one folder, started."""
    await store.start(NOW)
    both = [Blobs(store, Folder(folder, shared=True)) for _each in range(2)]
    for one in both:
        await one.start(NOW)
    return both[0], both[1]


async def test_an_upload_goes_on_at_another_relay(tmp_path: Path) -> None:
    """What one relay has of a blob the other knows; never do both write it (E_BUSY)."""
    store = MemoryStore()
    one, two = await two_relays(tmp_path / "blobs", store)
    upload = await one.take(TWO.id, "VN", 0, len(TWO), NOW)
    await upload.write(TWO.data[:100_000])
    with pytest.raises(Refused) as refused:
        await two.take(TWO.id, "VN", await two.look(TWO.id, "VN", NOW), len(TWO), NOW)
    assert refused.value.code is Code.E_BUSY
    assert not await upload.end()
    await upload.leave()

    assert await two.look(TWO.id, "VN", NOW) == 100_000
    upload = await two.take(TWO.id, "VN", 100_000, len(TWO), NOW)
    await upload.write(TWO.data[100_000:])
    assert await upload.end()
    await upload.leave()
    assert await one.held([TWO.id], "VN") == [TWO.id]
    with pytest.raises(Elsewhere) as elsewhere:
        await one.take(TWO.id, "VN", 100_000, len(TWO), NOW)
    assert elsewhere.value.offset == 0
    for relay in (one, two):
        assert await relay.check() == []
        await relay.stop()


async def test_no_byte_is_taken_behind_the_end(tmp_path: Path) -> None:
    """Whoever brings more than was announced is refused before it is written (E_ENCODING), whatever HTTP says."""
    one, two = await two_relays(tmp_path / "blobs", MemoryStore())
    upload = await one.take(ONE.id, "VN", None, len(ONE), NOW)
    await upload.write(ONE.data)
    with pytest.raises(Refused) as refused:
        await upload.write(b"x")
    assert refused.value.code is Code.E_ENCODING
    assert await upload.end()
    await upload.leave()
    for relay in (one, two):
        await relay.stop()


async def test_nobody_comes_between_a_file_and_its_row(tmp_path: Path) -> None:
    """A relay that starts waits until another has written its row, and removes nothing of it."""
    store = Slow()
    one, two = await two_relays(tmp_path / "blobs", store)
    await two.stop()
    upload = await one.take(ONE.id, "VN", None, len(ONE), NOW)
    await upload.write(ONE.data)
    ending = asyncio.ensure_future(upload.end())
    await store.asked.wait()
    assert (tmp_path / "blobs" / ONE.id).exists()
    three = Blobs(store, Folder(tmp_path / "blobs", shared=True))
    starting = asyncio.ensure_future(three.start(NOW))
    done, _waiting = await asyncio.wait([starting], timeout=0.2)
    assert not done
    store.free.set()
    assert await ending
    await upload.leave()
    assert (await starting).removed == 0
    assert await three.check() == []
    for relay in (one, three):
        await relay.stop()
