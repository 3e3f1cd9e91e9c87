"""What every store promises of blobs: no message without its blobs, and none stays that nobody needs (PROTOCOL 9.5)."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from builders_store import NOW, digest, first, msg_of

from relay.store import schema
from relay.store.base import BlobRow, Committed, Conflict, Full, Missing, Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore

DAY = 86_400
ONE, TWO = sorted(map(digest, ("blob 1", "blob 2")))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield each kind of store, started."""
    made: Store = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "r.db", free_min=0)
    )
    await made.start(NOW)
    yield made
    await made.stop()


async def test_who_put_a_blob_and_who_needs_it(store: Store) -> None:
    """A row tells size, desks and messages; both desks' quotas are used."""
    assert await store.blob(ONE) is None
    await store.put_blob(ONE, 100, "VN", NOW)
    await store.put_blob(ONE, 100, "AU", NOW + 5)
    await store.put_blob(TWO, 30, "VN", NOW)
    await store.commit(first("a", blobs=(TWO, ONE)))
    await store.commit(first("b", blobs=(ONE,)))

    messages = (msg_of("a"), msg_of("b"))
    assert await store.blob(ONE) == BlobRow(ONE, 100, NOW + 5, ("AU", "VN"), messages)
    assert await store.blob(TWO) == BlobRow(TWO, 30, NOW, ("VN",), messages[:1])
    used = [await store.blob_bytes(desk) for desk in ("VN", "AU", "FJ")]
    assert used == [130, 100, 0]
    counts = await store.counts()
    assert (counts["blobs"], counts["blob_bytes"]) == (2, 130)
    assert await store.blobs("", 1) == ((ONE, 100),)
    assert await store.blobs(ONE, 9) == ((TWO, 30),)
    assert await store.check() == []


async def test_a_message_is_not_taken_without_its_blobs(store: Store) -> None:
    """A blob that is not here: nothing of the change is written, and it can be committed later."""
    await store.put_blob(ONE, 1, "VN", NOW)
    change = first("a", blobs=(ONE, TWO), waiting=(("AU", 1),), waiting_max=1)
    assert await store.commit(change) == Missing(TWO)
    assert await store.load(msg_of("a")) is None
    assert (await store.blob(ONE)).messages == ()  # type: ignore[union-attr]
    await store.put_blob(TWO, 1, "VN", NOW)
    assert await store.commit(change) == Committed(1, ())
    assert await store.commit(replace(change, blobs=(digest("x"),))) == Conflict(1)
    other = first("b", blobs=(digest("x"),), waiting=(("AU", 1),), waiting_max=1)
    assert await store.commit(other) == Full("AU")
    assert await store.check() == []


async def test_a_blob_goes_when_nobody_needs_it_any_more(store: Store) -> None:
    """A day after it was last put, or with the last envelope that names it; not before (9.5, 11.5)."""
    for blob in (ONE, TWO):
        await store.put_blob(blob, 10, "VN", NOW)
    await store.put_blob(TWO, 10, "VN", NOW + 50)
    assert await store.drop_blobs(NOW - 1, 9) == ()
    await store.commit(first("a", blobs=(ONE,), drop_after=NOW + DAY))
    await store.commit(first("b", blobs=(ONE,), drop_after=NOW + 2 * DAY))
    assert await store.drop_blobs(NOW + 49, 9) == ()
    assert await store.drop_blobs(NOW + 50, 0) == ()
    assert await store.drop_blobs(NOW + 50, 9) == (TWO,)
    assert (await store.counts())["blob_bytes"] == 10

    await store.purge(NOW + DAY, 9)
    assert (await store.blob(ONE)).messages == (msg_of("b"),)  # type: ignore[union-attr]
    assert await store.drop_blobs(NOW + DAY, 9) == ()
    await store.purge(NOW + 2 * DAY, 9)
    assert await store.drop_blobs(NOW + DAY, 9) == (ONE,)
    assert await store.blob(ONE) is None
    assert await store.blob_bytes("VN") == 0
    assert await store.check() == []


async def test_a_purge_in_the_same_batch_takes_no_blob_from_a_message(store: Store) -> None:
    """Commit and drop at once: whoever comes first wins, and the other hears of it."""
    await store.put_blob(ONE, 10, "VN", NOW)
    answers = await asyncio.gather(
        store.commit(first("a", blobs=(ONE,))),
        store.drop_blobs(NOW + DAY, 9),
        store.put_blob(TWO, 10, "VN", NOW),
        store.drop_blobs(NOW + DAY, 9),
        store.commit(first("b", blobs=(TWO,))),
    )
    assert list(answers) == [Committed(1, ()), (), None, (TWO,), Missing(TWO)]
    assert await store.check() == []


async def test_values_that_contradict_themselves(store: Store) -> None:
    """A blob named twice, without an envelope, with another size, or with no id: ValueError, nothing written."""
    await store.put_blob(ONE, 10, "VN", NOW)
    with pytest.raises(ValueError, match="another size"):
        await store.put_blob(ONE, 11, "VN", NOW)
    wrong = [
        first("a", blobs=(ONE, ONE)),
        replace(first("a", blobs=(ONE,)), envelope=None),
        first("a", blobs=("../" + ONE[3:],)),
        first("a", blobs=tuple(digest(f"{n}") for n in range(17))),
    ]
    for change in wrong:
        with pytest.raises(ValueError, match=r"blob|Blob|id|fromhex"):
            await store.commit(change)
    with pytest.raises(ValueError, match="id"):
        await store.put_blob("AB" * 32, 1, "VN", NOW)
    assert (await store.counts())["messages"] == 0


async def test_a_store_of_before_attachments_is_upgraded(tmp_path: Path) -> None:
    """A file of version 2 keeps what it has and takes blobs from then on."""
    path = tmp_path / "r.db"
    old = SqliteStore(path, free_min=0, scripts=schema.scripts()[:2])
    with pytest.raises(Exception, match="blob"):  # this code cannot read it as it is
        await old.start(NOW)
    await old.stop()
    new = SqliteStore(path, free_min=0)
    await new.start(NOW + 1)
    await new.put_blob(ONE, 10, "VN", NOW)
    assert await new.commit(first("a", blobs=(ONE,))) == Committed(1, ())
    await new.stop()
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (len(schema.scripts()),)
    file.close()
    assert path.with_name("r.db.schema-2").exists()


async def test_the_doctor_sees_numbers_that_disagree(tmp_path: Path) -> None:
    """A wrong count of uses, and a blob of nobody, are findings."""
    store = SqliteStore(tmp_path / "r.db", free_min=0)
    await store.start(NOW)
    await store.put_blob(ONE, 10, "VN", NOW)
    await store.commit(first("a", blobs=(ONE,)))
    await store.stop()
    with sqlite3.connect(store.path) as file:
        file.execute("UPDATE blob SET uses = 2")
        file.execute("DELETE FROM blob_desk")
    file.close()
    await store.start(NOW)
    found = await store.check()
    await store.stop()
    assert [ONE in one for one in found] == [True, True]
    assert "named by 1 messages, and 2 were counted" in found[0]
