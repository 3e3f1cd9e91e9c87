"""The archive: sealed at rest, one commit a step, and what a stranger's file or another key meets."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders_keys import seed

from keys import suite
from keys.errors import Code, Failed, Refused
from relay.desk import archive as archives
from relay.desk.archive import Archive
from relay.desk.shelves import SEED_SHELF, SHELVES

KEY, OTHER = seed("archive key"), seed("another archive key")
RECOVERY = seed("recovery")
MARKER = b"the name of the person under investigation"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the archive of a test lies."""
    return tmp_path / "archive.db"


@pytest.fixture
def kept(path: Path) -> Iterator[Archive]:
    """Return an open archive."""
    with Archive(path, KEY) as archive:
        yield archive


def everything(folder: Path) -> bytes:
    """Return all bytes of all files in a folder: the archive, its write-ahead log, copies."""
    return b"".join(one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file())


def fill(archive: Archive) -> None:
    """Put a row with the marker in every sealed column of every shelf."""
    with archive.commit():
        for table, shelf in SHELVES.items():
            clear = {name: 0 if kind == "INTEGER" else "" for name, kind in shelf.clear.items()}
            archive.put(table, "row", clear, dict.fromkeys(shelf.sealed, MARKER))


def test_nothing_sealed_can_be_read_in_the_file(kept: Archive, tmp_path: Path) -> None:
    """Every sealed column of every shelf holds the marker; no file of the archive does (PROTOCOL 5, at rest)."""
    fill(kept)
    assert MARKER not in everything(tmp_path)
    kept.scrub()
    assert MARKER not in everything(tmp_path)
    for table, shelf in SHELVES.items():
        row = kept.get(table, "row")
        assert row is not None
        assert [row[name] for name in shelf.sealed] == [MARKER] * len(shelf.sealed)


@pytest.mark.parametrize(
    "move",
    [
        "UPDATE message SET body = (SELECT body FROM message WHERE id = 'b') WHERE id = 'a'",
        "UPDATE message SET body = header WHERE id = 'a'",
        "UPDATE message SET body = (SELECT wire FROM statement WHERE id = 'a') WHERE id = 'a'",
        "UPDATE message SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB) WHERE id = 'a'",
    ],
    ids=["row", "column", "table", "bit"],
)
def test_sealed_values_cannot_be_moved_or_changed(path: Path, move: str) -> None:
    """A value is bound to its table, row and column: moved anywhere else, or changed, it does not open (E_KEYRING)."""
    message: dict[str, int | str] = {
        "way": "received",
        "received": 1,
        "expires": 1,
        "revoked": 0,
        "needs": 0,
    }
    stated: dict[str, int | str] = {
        "msg": "",
        "kind": "",
        "desk": "",
        "received": 1,
        "verified": 1,
        "mine": 0,
    }
    with Archive(path, KEY) as archive, archive.commit():
        for row in ("a", "b"):
            body = {"header": b"h", "statement": b"s", "body": row.encode(), "sender": b"x"}
            archive.put("message", row, message, body)
        archive.put("statement", "a", stated, {"wire": b"wire"})
    with sqlite3.connect(path) as file:
        file.execute(move)
    file.close()
    with Archive(path, KEY) as archive, pytest.raises(Refused) as refused:
        archive.get("message", "a")
    assert refused.value.code is Code.E_KEYRING


def test_another_key_opens_nothing(path: Path) -> None:
    """With another key the archive is refused with a sentence that says which key belongs to it."""
    Archive(path, KEY).close()
    with pytest.raises(Refused, match="does not open with this device's archive key") as refused:
        Archive(path, OTHER)
    assert refused.value.code is Code.E_KEYRING
    with pytest.raises(Failed, match="32 bytes"):
        Archive(path, KEY[:-1])
    Archive(path, KEY).close()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    """A newer format ends in a sentence and exit code 78; not a byte of the file changes."""
    Archive(path, KEY).close()
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {archives.VERSION + 1}")
    file.close()
    before = path.read_bytes()
    with pytest.raises(Failed, match="newer version of this program") as failed:
        Archive(path, KEY)
    assert failed.value.exit_code == 78
    assert "Install the newer version" in failed.value.hint
    assert path.read_bytes() == before


def test_a_strangers_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Another program's database, or no database at all: refused, untouched, with what to do."""
    database, text = tmp_path / "theirs.db", tmp_path / "text.db"
    with sqlite3.connect(database) as file:
        file.execute("CREATE TABLE theirs (n integer)")
    file.close()
    text.write_text("this is a letter, not a database\n" * 100)
    for one, words in ((database, "not a desk's archive"), (text, "no archive")):
        before = one.read_bytes()
        with pytest.raises(Failed, match=words):
            Archive(one, KEY)
        assert one.read_bytes()[100:] == before[100:]
    with sqlite3.connect(database) as file:
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    file.close()


def test_an_archive_has_one_user_at_a_time(kept: Archive, path: Path) -> None:
    """A second process (here: a second connection) is refused with exit code 75 and what to type."""
    with pytest.raises(Failed, match="is in use") as failed:
        Archive(path, KEY)
    assert failed.value.exit_code == 75
    assert "desk serve" in failed.value.hint


def test_the_file_is_nobody_elses_and_syncs_every_commit(kept: Archive, path: Path) -> None:
    """Mode 0600, write-ahead log, synchronous=FULL, secure_delete: the promises stand on these."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = {
        name: kept._file.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "secure_delete", "locking_mode")
    }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "locking_mode": "exclusive",
    }


def half_a_step(archive: Archive) -> None:
    """Write something, then fail."""
    archive.put("replay", "a", {"until": 1}, {})
    raise KeyError


def fill_up(archive: Archive) -> None:
    """Write until there is no room."""
    for n in range(100):
        archive.put("meta", str(n), {}, {"value": bytes(4096)})


def test_a_step_is_whole_or_nothing(kept: Archive) -> None:
    """What raises inside a commit leaves nothing behind; the archive goes on."""
    with pytest.raises(KeyError), kept.commit():
        half_a_step(kept)
    assert kept.count("replay") == 0
    with kept.commit():
        kept.put("replay", "a", {"until": 1}, {})
        kept.put("replay", "b", {"until": 2}, {})
    assert [row["id"] for row in kept.find("replay", order="until DESC")] == ["b", "a"]


def test_changes_belong_into_a_commit(kept: Archive) -> None:
    """A write outside of a commit, or a commit inside of one, is a bug and stops at once."""
    with pytest.raises(AssertionError):
        kept.put("replay", "a", {"until": 1}, {})
    with pytest.raises(AssertionError), kept.commit(), kept.commit():
        pass


def test_a_full_disk_breaks_the_archive_for_good(kept: Archive) -> None:
    """After a failed write nobody knows what reached the disk: everything is refused until a new start."""
    (pages,) = kept._file.execute("PRAGMA page_count").fetchone()
    kept._file.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Failed, match="cannot be used") as failed, kept.commit():
        fill_up(kept)
    assert "disk is full" in str(failed.value)
    with pytest.raises(Failed, match="broken"):
        kept.count("meta")
    with pytest.raises(Failed, match="broken"), kept.commit():
        pass


def test_a_destroyed_secret_is_gone_from_the_disk(kept: Archive, tmp_path: Path) -> None:
    """After a prekey's seed is dropped not even its sealed form is in any file (PROTOCOL 8.7)."""
    with kept.commit():
        kept.put(SEED_SHELF, "hint", {"not_after": 1}, {"seed": seed("a prekey")})
    (sealed,) = kept._file.execute(f"SELECT seed FROM {SEED_SHELF}").fetchone()
    assert sealed in everything(tmp_path)
    with kept.commit():
        kept.purge(SEED_SHELF, "not_after < ?", (2,))
    kept.scrub()
    assert sealed not in everything(tmp_path)


def test_a_backup_opens_on_a_new_device_with_the_recovery_key(tmp_path: Path) -> None:
    """Everything but prekeys and the mailbox cursor comes back, sealed anew under the new device's key."""
    path, copy, new = tmp_path / "a.db", tmp_path / "backup.db", tmp_path / "new" / "b.db"
    new.parent.mkdir()
    with Archive(path, KEY, recovery=suite.prekey_public(RECOVERY)) as archive:
        fill(archive)
        with archive.commit():
            archive.put("meta", "cursor", {}, {"value": b"1"})
        found = archive.backup(copy)
    assert found == {"path": str(copy), "bytes": copy.stat().st_size, "recoverable": True}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with Archive.restore(copy, new, OTHER, seed=RECOVERY) as restored:
        for table, shelf in SHELVES.items():
            row = restored.get(table, "row")
            if table in {SEED_SHELF, "prekey"}:
                assert row is None
            else:
                assert row is not None
                assert [row[name] for name in shelf.sealed] == [MARKER] * len(shelf.sealed)
        assert restored.get("meta", "cursor") is None
    Archive(new, OTHER).close()
    assert MARKER not in everything(tmp_path)


def test_a_backup_from_before_a_shelf_was_built(tmp_path: Path) -> None:
    """One that lacks the dead man's timers is restored, and the desk fills them; one that lacks messages is not."""
    path, copy, new = tmp_path / "a.db", tmp_path / "backup.db", tmp_path / "b.db"
    with Archive(path, KEY, recovery=suite.prekey_public(RECOVERY)) as archive:
        fill(archive)
        archive.backup(copy)
    with sqlite3.connect(copy) as file:
        file.execute("DROP TABLE vigil")
    file.close()
    with Archive.restore(copy, new, OTHER, seed=RECOVERY) as restored:
        assert restored.count("vigil") == 0
        assert restored.count("message") == 1
    new.unlink()
    with sqlite3.connect(copy) as file:
        file.execute("DROP TABLE message")
    file.close()
    with pytest.raises(Failed, match="damaged"):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)


def test_a_backup_never_holds_a_prekeys_secret(tmp_path: Path) -> None:
    """The shelf of seeds is empty in a backup: who gets one can open nothing that is still to come."""
    path, copy = tmp_path / "a.db", tmp_path / "backup.db"
    with Archive(path, KEY) as archive:
        fill(archive)
        (sealed,) = archive._file.execute(f"SELECT seed FROM {SEED_SHELF}").fetchone()
        archive.backup(copy)
    assert sealed not in copy.read_bytes()
    with sqlite3.connect(copy) as file:
        assert file.execute(f"SELECT count(*) FROM {SEED_SHELF}").fetchone() == (0,)
    file.close()


def test_a_backup_says_what_is_wrong(tmp_path: Path) -> None:
    """No overwriting, no recovery without a recovery key, none with another one: each with its sentence."""
    path, copy, new = tmp_path / "a.db", tmp_path / "backup.db", tmp_path / "b.db"
    with Archive(path, KEY) as archive:
        assert archive.backup(copy)["recoverable"] is False
        with pytest.raises(Failed, match="never overwrites") as failed:
            archive.backup(copy)
        assert failed.value.exit_code == 73
        with pytest.raises(Failed, match="could not be written"):
            archive.backup(tmp_path / "nowhere" / "backup.db")
    with pytest.raises(Failed, match="not a backup that a recovery key opens"):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)
    with pytest.raises(Failed, match="no backup at"):
        Archive.restore(tmp_path / "none.db", new, OTHER, seed=RECOVERY)
    with pytest.raises(Failed, match="never overwrites an archive"):
        Archive.restore(copy, path, OTHER, seed=RECOVERY)
    second = tmp_path / "second.db"
    with Archive(path, KEY, recovery=suite.prekey_public(RECOVERY)) as archive:
        archive.backup(second)
    with pytest.raises(Refused) as refused:
        Archive.restore(second, new, OTHER, seed=seed("another recovery key"))
    assert refused.value.code is Code.E_DECRYPT
    assert not new.exists()


def test_a_backup_that_is_newer_or_damaged_is_refused(tmp_path: Path) -> None:
    """A backup of a newer format, and one with a hole in it: a sentence each, and no half archive is left behind."""
    path, copy, new = tmp_path / "a.db", tmp_path / "backup.db", tmp_path / "b.db"
    with Archive(path, KEY, recovery=suite.prekey_public(RECOVERY)) as archive:
        fill(archive)
        archive.backup(copy)
    whole = copy.read_bytes()
    with sqlite3.connect(copy) as file:
        ((sealed,),) = file.execute("SELECT body FROM message").fetchall()
        file.execute(f"PRAGMA user_version = {archives.VERSION + 1}")
    file.close()
    with pytest.raises(Failed, match="newer version of this program"):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)
    hole = whole.index(sealed)  # in a page that is read, wherever the shelves put it
    copy.write_bytes(whole[:hole] + bytes(len(sealed)) + whole[hole + len(sealed) :])
    with pytest.raises((Failed, Refused)):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)
    copy.write_bytes(b"no database at all" * 1000)
    with pytest.raises(Failed, match="no archive, or it is damaged"):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)
    assert not new.exists()


def test_another_recovery_key_takes_the_place_of_the_first(tmp_path: Path) -> None:
    """When desk.toml names another recovery key, the old one opens no later backup."""
    path, copy, new = tmp_path / "a.db", tmp_path / "backup.db", tmp_path / "b.db"
    later = seed("a later recovery key")
    Archive(path, KEY, recovery=suite.prekey_public(RECOVERY)).close()
    with Archive(path, KEY, recovery=suite.prekey_public(later)) as archive:
        archive.backup(copy)
    with pytest.raises(Refused):
        Archive.restore(copy, new, OTHER, seed=RECOVERY)
    Archive.restore(copy, new, OTHER, seed=later).close()
