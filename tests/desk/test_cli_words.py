"""What an officer reads when something is not as it should be: what happened, why, and what to type next."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builders_desks
import pytest
from builders_desks import LiveRelay, make_home, passphrase_fd
from builders_keys import World, seed
from click.testing import CliRunner, Result

from keys import keyfile, statement, suite
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay.desk import home as homes
from relay.desk.archive import Archive
from relay.desk.cli import desk
from relay.desk.clock import SystemClock

REQUEST = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "preservation_request.json"
FAST_S = 700


class Slow(SystemClock):
    """A relay's clock: the desk's, on this very machine, is ahead of it."""

    def now(self) -> int:
        """Return the time of some minutes ago."""
        return super().now() - FAST_S


@pytest.fixture(scope="module", autouse=True)
def quick_rings() -> Iterator[None]:
    """Argon2id takes half a second by design; tests of other things need not wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "stretch_passphrase", lambda word, salt, **_m: suite.sha256(word.encode() + salt)
        )
        yield


@pytest.fixture(scope="module")
def world() -> World:
    """A network that is an hour old."""
    return World(officers=1, now=SystemClock().now() - 1800)


@pytest.fixture
def folder(tmp_path: Path, world: World) -> Path:
    """A desk's home whose relay is not there."""
    make_home(world, tmp_path / "VN", "VN", 1)
    return tmp_path / "VN"


def run(folder: Path, *args: object, **more: Any) -> Result:
    """Run one command line of a desk with the passphrase on a descriptor."""
    given = passphrase_fd()
    line = [*map(str, args), "--home", str(folder), "--passphrase-fd", str(given)]
    try:
        return CliRunner().invoke(desk, line, **more)
    finally:
        os.close(given)


def test_a_clock_that_is_fast_sends_all_the_same(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--dated-now` is dated by the relay's time, and the officer hears what to do about the clock (issue: clock off)."""
    monkeypatch.setattr(builders_desks, "SystemClock", Slow)
    relay = LiveRelay(world)
    relay.start()
    try:
        make_home(world, tmp_path / "VN", "VN", relay.port)
        looked = CliRunner().invoke(
            desk, ["status", "--wait", "10", "--home", str(tmp_path / "VN")]
        )
        line = ["--to", "AU", "--dated-now", "--yes", "--wait", "5"]
        sent = run(tmp_path / "VN", "send", REQUEST, *line)
    finally:
        relay.stop()

    for said in (looked.stdout, sent.stderr):
        words = " ".join(said.split())
        assert "ahead of the relay's: set it (timedatectl set-ntp true)" in words
    assert "lies in the future" not in sent.stderr
    assert sent.exit_code == 75  # nobody at AU could open it; it is kept
    assert "kept in the outbox" in sent.stderr


@pytest.mark.parametrize("length", ["0", "0m"])
def test_no_time_at_all_is_no_time_to_acknowledge(folder: Path, length: str) -> None:
    """An urgent request that nobody need acknowledge is never sent by a slip of the hand."""
    found = run(folder, "send", REQUEST, "--to", "AU", "--yes", "--ack-within", length)
    assert found.exit_code == 2
    assert "no time at all" in found.stderr


@pytest.mark.parametrize("option", ["--to", "--backup"])
def test_what_is_no_desk_is_told_with_what_one_looks_like(folder: Path, option: str) -> None:
    """A desk typed in small letters is a sentence about desks, not about headers."""
    line = ["send", REQUEST, "--to", "AU", "--yes", option, "au"]
    found = run(folder, *line)
    assert found.exit_code == 2
    assert "'au' is no desk; one is like VN or AU-B." in found.stderr


def test_a_backup_and_another_recovery_key(tmp_path: Path, folder: Path, world: World) -> None:
    """The wrong ring from the safe is named as what it is; nothing is talked of that is not at hand."""
    ring = tmp_path / "recovery.ring"
    made = KeyRing((Held(Role.DESK, seed("another recovery"), homes.RECOVERY_LABEL, "VN"),))
    keyfile.write_private(ring, keyfile.seal_person(made, builders_desks.PASSPHRASE))
    right = suite.prekey_public(seed("the recovery key"))
    copy = tmp_path / "copy.db"
    with Archive(tmp_path / "old.db", bytes(32), recovery=right) as archive:
        archive.backup(copy)
    found = run(folder, "restore", copy, "--recovery-ring", ring)

    assert statement.b64u(right) not in found.stderr
    assert f"The recovery key in {ring} does not open {copy}." in found.stderr
    assert "desk.toml" in found.stderr
    assert not (folder / "archive.db").exists()
