"""Redis and Valkey when things go wrong: gone back in time, gone away, half written, set up wrongly (reliability of DESIGN 6)."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from builders import letter_of, receipt_of, relay_of
from builders_keys import NOW as BEGUN
from builders_keys import World
from builders_redis import SERVERS, Server, running
from builders_store import first, kept, message_to, msg_of, page, statement_to

from keys.errors import Failed
from relay.config import load
from relay.replay import replay
from relay.server.migrate import migrate
from relay.store.base import Change, Committed, Conflict, Timer
from relay.store.redis_floor import findings
from relay.store.redis_place import Place, Replicas
from relay.store.several import RedisStore
from relay.store.sqlite import SqliteStore
from relay.store.vouched import Vouched

NOW = BEGUN + 1200


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network with VN, AU and its backup."""
    return World()


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Return a real server without anything in it."""
    found = running(request.param)
    with found.plain() as plain:
        plain.flushall()
    return found


def wipe(server: Server) -> None:
    """Take everything away, as a failover to an empty replica would."""
    with server.plain() as plain:
        plain.flushall()


def on(server: Server, folder: Path, instance: str = "relay-1", **more: Any) -> RedisStore:
    """Return an instance's store, with a journal of its own."""
    return RedisStore(server.place(instance, **more), folder / f"{instance}.db", replay)


async def no_merge(_store: RedisStore, _journal: Vouched) -> None:
    """Merge nothing."""


# Back in time


async def test_what_redis_lost_is_brought_back(
    world: World, server: Server, tmp_path: Path
) -> None:
    """Everything is gone from Redis: it is noticed at the next word, and after a new start all that was accepted is there."""
    store = on(server, tmp_path)
    await store.start(NOW)
    exchange = await relay_of(world, store, NOW, start=False)
    letters = [letter_of(world, NOW, nonce=str(n)) for n in range(5)]
    accepted = [await exchange.submit(one.submission.wire, one.envelope, NOW) for one in letters]
    word = receipt_of(world, "acknowledged", letters[0], NOW + 9)
    await exchange.record([word.wire], NOW + 9)
    log, epoch = await store.log(), store.epoch
    wipe(server)
    with pytest.raises(Failed, match="gone back in time"):
        await store.load(letters[0].msg)
    with pytest.raises(Failed, match="gone back in time"):
        await store.commit(first("z"))
    await store.stop()

    after = on(server, tmp_path)
    await after.start(NOW + 60)
    try:
        assert after.epoch > epoch
        assert (
            await after.log() == log
        )  # an instance's log never goes back, nor does it say things twice
        again = await relay_of(world, after, NOW + 60, start=False, prekeys=False)
        for letter, answer in zip(letters, accepted, strict=True):
            assert await after.envelope(letter.msg) == letter.envelope
            assert await again.submit(letter.submission.wire, letter.envelope, NOW + 60) == answer
        assert {one.kind for one in await after.statements(letters[0].msg)} >= {"acknowledged"}
        assert await after.unarmed(9) == ()
        for desk in ("VN", "AU"):
            found = {entry.ref for entry in await after.mailbox(desk, 0, 99)}
            assert {letter.msg for letter in letters} <= found
            assert word.sid in found
        due = {timer.subject for timer in await after.due(2**52, 99)}
        assert due == {letter.msg for letter in letters[1:]}
        assert await after.check() == []
    finally:
        await after.stop()


async def test_a_rollback_is_noticed_while_nobody_sends(server: Server, tmp_path: Path) -> None:
    """The heartbeat carries the fence: within two seconds the store says what happened."""
    store = on(server, tmp_path)
    await store.start(NOW)
    await store.commit(first("a"))
    wipe(server)
    pipeline = store._link.running()
    await asyncio.wait_for(asyncio.wait([pipeline._task]), 5)
    assert pipeline.broken is not None
    assert "gone back in time" in pipeline.broken.text
    await store.stop()


async def test_whoever_knows_only_the_steps_does_not_hide_the_envelope(
    world: World, server: Server, tmp_path: Path
) -> None:
    """One took the message in, the other its receipt; the other is back first, and the envelope is there all the same."""
    one, two = on(server, tmp_path, "relay-1"), on(server, tmp_path, "relay-2")
    await one.start(NOW)
    await two.start(NOW)
    letter = letter_of(world, NOW)
    first_ = await relay_of(world, one, NOW, start=False)
    await first_.submit(letter.submission.wire, letter.envelope, NOW)
    second = await relay_of(world, two, NOW, start=False)
    word = receipt_of(world, "delivered", letter, NOW + 9)
    await second.record([word.wire], NOW + 9)
    wipe(server)
    await one.stop()
    await two.stop()

    two = on(server, tmp_path, "relay-2")
    await two.start(NOW + 20)
    assert await two.envelope(letter.msg) is None, "else this test shows nothing"
    one = on(server, tmp_path, "relay-1")
    await one.start(NOW + 30)
    try:
        assert await one.envelope(letter.msg) == letter.envelope
        assert {kept.kind for kept in await one.statements(letter.msg)} >= {
            "submission",
            "delivered",
        }
    finally:
        await one.stop()
        await two.stop()


async def test_another_instance_that_begins_anew_ends_this_one(
    world: World, server: Server, tmp_path: Path
) -> None:
    """One notices the rollback and begins an epoch; the other is told so, starts anew, and adds what only it had."""
    one, two = on(server, tmp_path, "relay-1"), on(server, tmp_path, "relay-2")
    await one.start(NOW)
    await two.start(NOW)
    assert one.epoch == two.epoch
    mine, others = letter_of(world, NOW, nonce="1"), letter_of(world, NOW, nonce="2")
    first_, second = [await relay_of(world, store, NOW, start=False) for store in (one, two)]
    await first_.submit(mine.submission.wire, mine.envelope, NOW)
    await second.submit(others.submission.wire, others.envelope, NOW)
    wipe(server)
    with pytest.raises(Failed):
        await one.load(mine.msg)
    await one.stop()
    one = on(server, tmp_path, "relay-1")
    await one.start(NOW + 5)
    assert await one.envelope(mine.msg) == mine.envelope
    assert await one.envelope(others.msg) is None
    with pytest.raises(Failed, match="EPOCH"):
        await two.load(mine.msg)
    await two.stop()
    two = on(server, tmp_path, "relay-2")
    await two.start(NOW + 6)
    try:
        assert two.epoch == one.epoch
        assert await one.envelope(others.msg) == others.envelope
        assert await two.envelope(mine.msg) == mine.envelope
    finally:
        await one.stop()
        await two.stop()


async def test_dead_between_redis_and_the_journal(
    world: World, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed there, not yet written down here: the next start writes it down, envelope, statements and log."""
    store = on(server, tmp_path)
    await store.start(NOW)
    exchange = await relay_of(world, store, NOW, start=False)

    async def dies(*_args: object) -> None:
        raise Failed("The process is dead.")

    letter = letter_of(world, NOW)
    monkeypatch.setattr(store.journal, "vouch", dies)
    with pytest.raises(Failed, match="dead"):
        await exchange.submit(letter.submission.wire, letter.envelope, NOW)
    assert (await store.journal.counts())["messages"] == 0
    await store.stop()
    store = on(server, tmp_path)
    await store.start(NOW + 1)
    try:
        assert await store.journal.envelope(letter.msg) == letter.envelope
        logged = await store.log_entries(0, 99)
        known = await store.statements(letter.msg)
        assert len(known) == 2
        assert {bytes.fromhex(one.sid) for one in known} <= set(logged)
    finally:
        await store.stop()


# Gone away


async def test_killed_and_back_in_the_middle_of_the_traffic(tmp_path: Path) -> None:
    """The server dies and comes back while forty commits are under way: each is there once, nobody is told a failure."""
    server = Server("valkey", tmp_path / "server")
    store = on(server, tmp_path)
    await store.start(NOW)
    try:
        names = [f"m{n}" for n in range(40)]
        changes = [first(name, entries=(message_to("AU", name),)) for name in names]
        tasks = [asyncio.create_task(store.commit(one)) for one in changes[:20]]
        await asyncio.sleep(0)
        server.kill()
        tasks += [asyncio.create_task(store.commit(one)) for one in changes[20:]]
        await asyncio.to_thread(server.start)
        answers = await asyncio.gather(*tasks)
        assert all(isinstance(one, Committed) for one in answers)
        found = [entry.msg for entry in await store.mailbox("AU", 0, 99)]
        assert sorted(found) == sorted(msg_of(name) for name in names)
    finally:
        await store.stop()
        server.kill()


async def test_gone_for_good(tmp_path: Path) -> None:
    """A server that does not come back is said to be gone, and nothing is called rejected."""
    server = Server("valkey", tmp_path / "server")
    store = on(server, tmp_path, away_s=0.5)
    await store.start(NOW)
    server.kill()
    with pytest.raises(Failed, match="may or may not be kept"):
        await store.commit(first("a"))
    with pytest.raises(Failed):
        await store.load(msg_of("a"))
    await store.stop()


async def test_scripts_that_were_forgotten_are_loaded_again(server: Server, tmp_path: Path) -> None:
    """SCRIPT FLUSH, or a promoted replica that never had them: the batch is done all the same."""
    store = on(server, tmp_path)
    await store.start(NOW)
    with server.plain() as plain:
        plain.script_flush()
    assert await store.commit(first("a")) == Committed(1, ())
    await store.stop()


async def test_who_gives_up_waiting_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    """Calls that are cancelled while their batch is under way: nobody else ever reads their answers."""
    store = on(server, tmp_path)
    await store.start(NOW)
    try:
        for number in range(20):
            await store.put_mark(f"m{number}", number)
        for _round in range(10):
            asked = [asyncio.create_task(store.mark(f"m{number}")) for number in range(20)]
            await asyncio.sleep(0.0005 * _round)
            for task in asked[::2]:
                task.cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            kept_ = [(n, one) for n, one in enumerate(done) if not isinstance(one, BaseException)]
            assert all(number == value for number, value in kept_)
            assert len(kept_) >= 10
    finally:
        await store.stop()


# Half written


FAILING = """
local calls, dies, real = 0, %d, redis
local redis = {
  error_reply = real.error_reply,
  call = function(...)
    calls = calls + 1
    if calls == dies then error('OOM this call fails') end
    return real.call(...)
  end,
}
"""
"""Stands before a script: its n-th call of the server fails, and what was written before it stays."""


def rich(version: int) -> Change:
    """Return a change that touches everything."""
    told = kept(f"s{version}", msg_of("a"))
    change = Change(msg_of("a"), version, b"state %d" % version) if version else first("a")
    pages = (page(f"p{version}", "a", created=NOW + version),)
    return Change(
        change.msg,
        version,
        change.state,
        change.envelope,
        (told,),
        (message_to("AU", "a"), statement_to("VN", told), statement_to("AU", told)),
        (Timer("expire", msg_of("a"), 1, NOW + 60), Timer("ladder", msg_of("a"), version, NOW + 9)),
        ("ladder",),
        (("AU", 1 if version == 0 else -1),),
        drop_after=NOW + 999,
        unpage=bool(version),
        pages=pages,
        open=2,
    )


async def seen(store: RedisStore) -> object:
    """Return what the contract shows of everything."""
    return (
        await store.load(msg_of("a")),
        await store.envelope(msg_of("a")),
        await store.statements(msg_of("a")),
        {desk: [one.ref for one in await store.mailbox(desk, 0, 9)] for desk in ("AU", "VN")},
        await store.due(2**52, 9),
        await store.unarmed(9),
        await store.pages(msg_of("a")),
        await store.lease_pages(NOW + 99, NOW + 199, 9),
    )


async def test_every_call_in_the_commit_fails_once(server: Server, tmp_path: Path) -> None:
    """The server refuses the n-th call of a script, for every n: the batch is tried again, and all of it stands once."""
    changes = [rich(0), rich(1)]
    store = on(server, tmp_path)
    await store.start(NOW)
    for change in changes:
        await store.commit(change)
    expected = await seen(store)
    await store.stop()
    done = failed = 0
    for number in range(1, 200):
        wipe(server)
        folder = tmp_path / str(number)
        folder.mkdir()
        store = on(server, folder, again_s=0.01)
        await store.start(NOW)
        try:
            with server.plain() as plain:
                source = FAILING % number + store._link._sources["commit"]
                broken = str(plain.script_load(source))
            whole = store._link._hashes["commit"]
            for change in changes:
                store._link._hashes["commit"] = broken
                answer = await store.commit(change)
                assert isinstance(answer, Committed)
                assert answer.version == change.expected + 1
                failed += store._link._hashes["commit"] == whole
            assert await seen(store) == expected, f"after call {number} failed"
        finally:
            await store.stop()
        if failed == 0:
            break
        done, failed = failed, 0
    else:
        raise AssertionError("the script never came to its end")
    assert number > 40
    assert done


# The order of things


async def test_a_repeat_is_still_a_conflict(server: Server, tmp_path: Path) -> None:
    """Only an answer that was lost on its way is given again; whoever sends twice is told that it stands."""
    store = on(server, tmp_path)
    await store.start(NOW)
    assert await store.commit(first("a")) == Committed(1, ())
    assert await store.commit(first("a")) == Conflict(1)
    await store.stop()


async def test_others_hear_of_it(server: Server, tmp_path: Path) -> None:
    """What one instance writes, the other is told within a second, and not of its own."""
    one, two = on(server, tmp_path, "relay-1"), on(server, tmp_path, "relay-2")
    await one.start(NOW)
    await two.start(NOW)
    heard: list[tuple[str, int, str]] = []
    came = asyncio.Event()

    def hear(*hint: Any) -> None:
        heard.append(hint)
        came.set()

    watching = asyncio.create_task(two.watch(hear))
    await asyncio.sleep(0.3)
    await two.commit(first("b", entries=(message_to("VN", "b"),)))
    await one.commit(first("a", entries=(message_to("AU", "a"),)))
    await asyncio.wait_for(came.wait(), 5)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert heard == [("AU", 1, msg_of("a"))]
    await one.stop()
    await two.stop()


# What is refused at start


async def test_a_server_with_default_settings_is_refused(tmp_path: Path) -> None:
    """Redis as it comes out of the box loses what it acknowledged: each setting is named with the line that mends it."""
    server = Server("redis", tmp_path / "server")
    try:
        for name, bad in (
            ("appendonly", "no"),
            ("appendfsync", "everysec"),
            ("maxmemory-policy", "allkeys-lru"),
            ("no-appendfsync-on-rewrite", "yes"),
        ):
            with server.plain() as plain:
                good = plain.config_get(name)[name]
                plain.config_set(name, bad)
                with pytest.raises(Failed) as failure:
                    await on(server, tmp_path).start(NOW)
                assert f"CONFIG SET {name} {good}" in failure.value.text
                assert failure.value.exit_code == 78
                plain.config_set(name, good)
        store = on(server, tmp_path)
        await store.start(NOW)
        await store.stop()
    finally:
        server.kill()


async def test_nobody_there(tmp_path: Path) -> None:
    """No server at all: exit 75, and a sentence that says what to look at."""
    place = Place("relay-1", ("127.0.0.1", 1), away_s=0.2)
    with pytest.raises(Failed, match="cannot be reached") as failure:
        await RedisStore(place, tmp_path / "journal.db", no_merge).start(NOW)
    assert failure.value.exit_code == 75


async def test_a_newer_schema_is_refused(server: Server, tmp_path: Path) -> None:
    """What a later release wrote is not guessed at."""
    with server.plain() as plain:
        plain.hset("{poc24}schema", mapping={"reads": 2, "writes": 2})
    with pytest.raises(Failed, match="newer version"):
        await on(server, tmp_path).start(NOW)


GOOD = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
INFO = {"redis_version": "7.0.15", "role": "master", "connected_slaves": 2}


@pytest.mark.parametrize(
    ("config", "info", "replicas", "says"),
    [
        ({}, {}, Replicas(2, 1), None),
        ({}, {"redis_version": "6.0.16"}, Replicas(2, 1), "needs 6.2"),
        ({}, {"role": "slave"}, Replicas(2, 1), "is a replica"),
        ({}, {"connected_slaves": 3}, Replicas(2, 1), "3 replicas are attached"),
        ({}, {}, Replicas(2, 3), "nothing could ever be accepted"),
        ({}, {"aof_last_write_status": "err"}, Replicas(2, 1), "full resync"),
        ({"appendfsync": "no"}, {}, Replicas(2, 1), "CONFIG SET appendfsync always"),
    ],
)
def test_the_floor(
    config: dict[str, str], info: dict[str, object], replicas: Replicas, says: str | None
) -> None:
    """Each thing that would break the promise is one sentence, and a good server has none."""
    found = findings({**GOOD, **config}, {**INFO, **info}, replicas)
    assert len(found) == (says is not None)
    assert re.search(says or "^$", " ".join(found))


# From one file to several instances, and back


async def test_one_file_becomes_several_instances_and_one_file_again(
    world: World, server: Server, tmp_path: Path
) -> None:
    """The embedded store's file becomes a journal; two instances work; their journals become one embedded store again."""
    alone = SqliteStore(tmp_path / "relay-1.db")
    await alone.start(NOW)
    letters = [letter_of(world, NOW, nonce=str(n)) for n in range(4)]
    answers = [await _submit(world, alone, letters[n]) for n in range(2)]
    grown, epoch = await alone.log(), alone.epoch
    await alone.stop()

    one, two = on(server, tmp_path, "relay-1"), on(server, tmp_path, "relay-2")
    await one.start(NOW)
    await two.start(NOW)
    assert one.epoch > epoch
    assert await one.log() == grown
    assert await two.envelope(letters[0].msg) == letters[0].envelope
    answers += [await _submit(world, one, letters[2]), await _submit(world, two, letters[3])]
    several = one.epoch
    await one.stop()
    await two.stop()
    wipe(server)  # nothing of what follows may come from Redis

    config = tmp_path / "relay.toml"
    config.write_text(
        '[relay]\nservice = "poc24"\ninstance = "relay-1"\n[store]\npath = "relay-1.db"\n'
    )
    found = await migrate(load(config), [tmp_path / "relay-2.db"], NOW + 9)
    assert found == {"messages": 4, "statements": found["statements"], "open": 4}
    again = SqliteStore(tmp_path / "relay-1.db")
    await again.start(NOW + 99)
    try:
        assert again.epoch > several
        assert await again.unarmed(9) == ()
        assert len(await again.due(2**52, 99)) == 8
        for desk in ("VN", "AU"):
            told = [entry.ref for entry in await again.mailbox(desk, 0, 99)]
            assert sorted(told) == sorted(letter.msg for letter in letters)
        exchange = await relay_of(world, again, NOW + 99, start=False, prekeys=False)
        for letter, answer in zip(letters, answers, strict=True):
            assert (
                await exchange.submit(letter.submission.wire, letter.envelope, NOW + 99) == answer
            )
        assert (await again.log_entries(0, grown.size)) == (await again.log_entries(0, 999))[
            : grown.size
        ]
    finally:
        await again.stop()


async def _submit(world: World, store: Any, letter: Any) -> bytes:
    exchange = await relay_of(world, store, NOW, start=False)
    return await exchange.submit(letter.submission.wire, letter.envelope, NOW)


async def test_what_does_not_arrive_is_said(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is not whole in the new store: a sentence, and the old one stays in use."""
    journal = Vouched(tmp_path / "other.db")
    await journal.start(NOW)
    await _submit(world, journal, letter_of(world, NOW))
    await journal.stop()
    config = tmp_path / "relay.toml"
    config.write_text(
        '[relay]\nservice = "poc24"\ninstance = "relay-1"\n[store]\npath = "relay-1.db"\n'
    )

    async def loses(*_args: object, **_more: object) -> bool:
        return True

    monkeypatch.setattr("relay.replay.bring_back", loses)
    with pytest.raises(Failed, match="1 messages are not whole"):
        await migrate(load(config), [tmp_path / "other.db"], NOW + 9)
