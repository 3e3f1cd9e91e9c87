"""The corridor: what is accepted, what is refused, and that nothing is answered before it is durable.

Every check of PROTOCOL 11.3 has a test that fails when the check is taken out.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import (
    Letter,
    header_of,
    letter_of,
    pickup_of,
    receipt_of,
    recipients,
    relay_of,
    state_of,
    submission_of,
)
from builders_keys import NOW as BEGUN
from builders_keys import World

from keys.errors import Code, Failed, Refused
from keys.statement import Statement
from relay.core import limits
from relay.core.message import Phase
from relay.exchange import Exchange
from relay.ledger import Told
from relay.store.base import Change, Committed, Conflict, Full, Missing, Store
from relay.store.memory import MemoryStore
from relay.store.sqlite import SqliteStore
from relay.wire import content, receipt

NOW = BEGUN + 1200
"""Twenty minutes after the ceremony: prekeys have settled."""


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks."""
    return World()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield each store in turn: the corridor must not tell them apart."""
    found: Store = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "relay.db")
    )
    yield found
    await found.stop()


async def submit(exchange: Exchange, letter: Letter, now: int = NOW) -> Statement:
    """Submit a letter and verify the answer as its sender does."""
    wire = await exchange.submit(letter.submission.wire, letter.envelope, now)
    key = exchange.directory.relay_key(exchange.service, exchange.instance)
    return receipt.read(wire, {"accepted"}, key)


async def refused(exchange: Exchange, letter: Letter, now: int = NOW) -> Code:
    """Return the code with which a submission is refused; nothing of it may stay."""
    with pytest.raises(Refused) as refusal:
        await exchange.submit(letter.submission.wire, letter.envelope, now)

    assert await exchange.store.load(letter.msg) is None
    assert await exchange.store.envelope(letter.msg) is None
    return refusal.value.code


# Submission


async def test_accepted_names_what_was_taken_in(world: World, store: Store) -> None:
    """The signed answer names message, submission, instance and the recipient's entry in force (PROTOCOL 10)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)

    accepted = await submit(exchange, letter)

    assert accepted.fields == {
        "msg": letter.msg,
        "submission": letter.submission.sid,
        "relay": world.service,
        "instance": world.instance,
        "received": NOW,
        "expires": letter.header.expires,
        "entry": world.directory().desk("AU").sha256,
    }
    assert await store.envelope(letter.msg) == letter.envelope
    assert [kept.kind for kept in await store.statements(letter.msg)] == ["submission", "accepted"]


async def test_a_repeat_gets_the_same_bytes(world: World, store: Store) -> None:
    """However often and however late a message is submitted, the first answer is the answer (PROTOCOL 11.2)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    first = await exchange.submit(letter.submission.wire, letter.envelope, NOW)

    again = await exchange.submit(letter.submission.wire, letter.envelope, NOW + 5)
    much_later = await exchange.submit(letter.submission.wire, letter.envelope, NOW + 40 * 86_400)
    anew = submission_of(world, letter.header, letter.envelope, NOW + 900)
    other = await exchange.submit(anew.wire, letter.envelope, NOW + 900)

    assert {first, again, much_later, other} == {first}
    kinds = [kept.kind for kept in await store.statements(letter.msg)]
    assert kinds == [
        "submission",
        "accepted",
        "submission",
    ]  # the other submission is logged likewise


async def test_the_same_message_twice_at_once(world: World, store: Store) -> None:
    """Two submissions in flight together end in one message and one answer."""
    told: list[Told] = []
    exchange = await relay_of(world, store, NOW, told=told)
    letter = letter_of(world, NOW)

    answers = await asyncio.gather(
        *(exchange.submit(letter.submission.wire, letter.envelope, NOW) for _ in range(5))
    )

    assert len(set(answers)) == 1
    assert sorted((hint.desk, hint.seq) for hint in told) == [("AU", 1), ("VN", 1)]


async def test_a_restart_changes_no_answer(world: World, tmp_path: Path) -> None:
    """A relay that was stopped between submission and its repeat gives the stored answer."""
    letter = letter_of(world, NOW)
    before = SqliteStore(tmp_path / "relay.db")
    first = await (await relay_of(world, before, NOW)).submit(
        letter.submission.wire, letter.envelope, NOW
    )
    await before.stop()

    after = SqliteStore(tmp_path / "relay.db")
    exchange = await relay_of(world, after, NOW + 60, prekeys=False)

    assert await exchange.submit(letter.submission.wire, letter.envelope, NOW + 60) == first
    assert exchange.roster.prekeys("AU")
    await after.stop()


LIES: dict[str, tuple[dict[str, Any], Code]] = {
    "another message": ({"msg": "ab" * 32}, Code.E_BINDING),
    "another size": ({"size": 1}, Code.E_BINDING),
    "another header": ({"header_sha256": "ab" * 32}, Code.E_BINDING),
    "another recipient": ({"to": "AU-B"}, Code.E_BINDING),
    "another sender": ({"from": "AU-B"}, Code.E_BINDING),
    "another relay": ({"relay": "poc24-other"}, Code.E_BINDING),
    "301 s old": ({"created": NOW - 301}, Code.E_CLOCK),
    "301 s ahead": ({"created": NOW + 301}, Code.E_CLOCK),
    "attachments that are not here": ({"blobs": ["ab" * 32]}, Code.E_BLOB_MISSING),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_submission_that_lies(world: World, store: Store, lie: str) -> None:
    """Each field of a submission is compared with the envelope, the service and the clock (PROTOCOL 11.3)."""
    exchange = await relay_of(world, store, NOW)
    changes, code = LIES[lie]
    letter = letter_of(world, NOW)
    lying = submission_of(world, letter.header, letter.envelope, NOW, **changes)

    assert (
        await refused(
            exchange, Letter(letter.header, letter.statement, b"", letter.envelope, lying)
        )
        is code
    )


@pytest.mark.parametrize("seconds", [-300, 300])
async def test_the_clock_may_differ_by_300_s(world: World, store: Store, seconds: int) -> None:
    """At the limit a submission is taken."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    other = submission_of(world, letter.header, letter.envelope, NOW + seconds)

    await exchange.submit(other.wire, letter.envelope, NOW)


async def test_by_whom_a_submission_is_signed(world: World, store: Store) -> None:
    """An officer's key, another desk's device and an unknown device cannot submit (claims C10, C12)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    for by in (world.signer("VN"), world.device("AU"), World(("FR",)).device("FR")):
        forged = submission_of(world, letter.header, letter.envelope, NOW, by=by)
        code = await refused(
            exchange, Letter(letter.header, letter.statement, b"", letter.envelope, forged)
        )

        assert code in (Code.E_SIGNER, Code.E_BINDING)


async def test_a_revoked_device_cannot_submit(store: Store) -> None:
    """From the second of its revocation on, a device's submissions are refused."""
    world = World()
    letter = letter_of(world, NOW)
    world.revoke("VN", "vn-01", NOW)
    exchange = await relay_of(world, store, NOW)

    assert await refused(exchange, letter) is Code.E_SIGNER


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"created": NOW + 301, "expires": NOW + 86_400}, Code.E_CLOCK),
        ({"created": NOW - 90_000, "expires": NOW, "ack_by": 0}, Code.E_EXPIRED),
        ({"to": "FR"}, Code.E_WRONG_DESK),
        ({"backup": "FR"}, Code.E_WRONG_DESK),
    ],
)
async def test_a_header_that_cannot_be_served(
    world: World, store: Store, changes: dict[str, Any], code: Code
) -> None:
    """Dated in the future, expired, or for a desk that the directory does not list."""
    exchange = await relay_of(world, store, NOW)
    prekeys = recipients(world, header_of(world, NOW), NOW)
    header_changes = {**changes}

    assert await refused(exchange, letter_of(world, NOW, prekeys=prekeys, **header_changes)) is code


async def test_an_envelope_changed_on_the_way(world: World, store: Store) -> None:
    """Any other byte gives another message id than the submission names (claim C15, relay's side)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    changed = letter.envelope[:-1] + bytes([letter.envelope[-1] ^ 1])

    with pytest.raises(Refused) as refusal:
        await exchange.submit(letter.submission.wire, changed, NOW)

    assert refusal.value.code is Code.E_BINDING


async def test_another_desk_cannot_submit_what_it_was_sent(world: World, store: Store) -> None:
    """Who holds the envelope adds nothing to its evidence: a repeat comes from the sender's desk (PROTOCOL 11.2)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    size = (await store.log()).size
    stranger = submission_of(world, letter.header, letter.envelope, NOW, by=world.device("AU"))

    with pytest.raises(Refused) as refusal:
        await exchange.submit(stranger.wire, letter.envelope, NOW)

    assert refusal.value.code is Code.E_BINDING
    assert (await store.log()).size == size


async def test_two_directories_at_once(store: Store) -> None:
    """Whichever comes first, the newer one is in force in the end: a revoked device does not come back (8.1)."""
    world = World()
    exchange = await relay_of(world, store, NOW)
    world.freshen(NOW + 1)
    older = dict(world.files)
    world.revoke("AU", "au-02", NOW + 2)
    await asyncio.gather(
        exchange.publish(world.files, NOW + 3),
        exchange.publish(older, NOW + 3),
        return_exceptions=True,
    )

    gone = world.device("AU", "au-02").kid
    assert exchange.file("timestamp.json") == world.files["timestamp.json"]
    assert gone not in [one.device_kid for one in exchange.directory.desk("AU").active(NOW + 3)]


# Whom an envelope serves (PROTOCOL 9.3)


async def test_a_device_left_out(world: World, store: Store) -> None:
    """An envelope without a stanza for an active device of the recipient is refused as stale."""
    exchange = await relay_of(world, store, NOW)
    left_out = {one.key for one in world.current_prekeys("AU")[:1]}
    keys = [key for key in recipients(world, header_of(world, NOW), NOW) if key not in left_out]

    assert await refused(exchange, letter_of(world, NOW, prekeys=keys)) is Code.E_STALE_ROSTER


async def test_a_new_prekey_is_not_held_against_the_sender(world: World, store: Store) -> None:
    """For ten minutes a sender need not know of a prekey; then it must (PROTOCOL 8.7)."""
    exchange = await relay_of(world, store, NOW, prekeys=False)
    await exchange.prekeys_in(world.prekeys("AU"), NOW)
    late = NOW + limits.PREKEY_SETTLING_S
    early = letter_of(world, late - 1, prekeys=[one.key for one in world.current_prekeys("VN")])
    on_time = letter_of(world, late, prekeys=[one.key for one in world.current_prekeys("VN")])

    await submit(exchange, early, late - 1)

    assert await refused(exchange, on_time, late) is Code.E_STALE_ROSTER


async def test_a_revoked_device_served(store: Store) -> None:
    """An envelope that a revoked device could open is refused; sealed anew it is taken."""
    world = World()
    letter = letter_of(world, NOW)
    exchange = await relay_of(world, store, NOW)
    world.revoke("AU", "au-02", NOW + 1)
    await exchange.publish(world.files, NOW + 1)

    assert await refused(exchange, letter, NOW + 1) is Code.E_STALE_ROSTER
    await submit(exchange, letter_of(world, NOW + 1), NOW + 1)


async def test_sealed_anew_ends_the_old_one(world: World, store: Store) -> None:
    """`replaces` names the message whose ladder ends; another request cannot be replaced so (PROTOCOL 9.3)."""
    exchange = await relay_of(world, store, NOW)
    first, stranger = letter_of(world, NOW), letter_of(world, NOW, nonce="x", priority="routine")
    await submit(exchange, first)
    await submit(exchange, stranger)
    keys = recipients(world, first.header, NOW)
    sealed = content.seal(
        first.header, first.statement.wire, b'{"please":"keep the logs"}', first.cek, keys
    )
    wrong = submission_of(world, first.header, sealed, NOW, replaces=stranger.msg)
    right = submission_of(world, first.header, sealed, NOW, replaces=first.msg)

    assert (
        await refused(exchange, Letter(first.header, first.statement, b"", sealed, wrong))
        is Code.E_BINDING
    )
    await exchange.submit(right.wire, sealed, NOW)
    sealed_id = right["msg"]

    assert (await state_of(exchange, first.msg)).phase is Phase.REPLACED
    due = await store.due(first.header.expires + 1, 100)
    assert {timer.subject for timer in due} == {
        sealed_id,
        stranger.msg,
    }  # the old one's timers are gone
    assert "replace" not in {timer.kind for timer in due}


async def test_a_crash_before_the_old_one_was_told(world: World, store: Store) -> None:
    """The reminder is committed with the new message, so a later tick ends the old one."""
    exchange = await relay_of(world, store, NOW)
    first = letter_of(world, NOW)
    await submit(exchange, first)
    sealed = content.seal(
        first.header,
        first.statement.wire,
        b'{"please":"keep the logs"}',
        first.cek,
        recipients(world, first.header, NOW),
    )
    anew = submission_of(world, first.header, sealed, NOW, replaces=first.msg)

    async def crash(*_: object) -> None:
        raise Failed("The power is cut here.")

    exchange.deadlines.fire = crash  # type: ignore[method-assign, assignment]
    with pytest.raises(Failed):
        await exchange.submit(anew.wire, sealed, NOW)
    recovered = await relay_of(world, store, NOW + 1, prekeys=False, start=False)
    assert (await state_of(recovered, first.msg)).phase is Phase.ACCEPTED

    await recovered.tick(NOW + 1)

    assert (await state_of(recovered, first.msg)).phase is Phase.REPLACED


# Durable before anything leaves


class HeldStore(MemoryStore):
    """A store whose barrier is in the test's hand."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = asyncio.Event()

    async def commit(self, change: Change) -> Committed | Conflict | Full | Missing:
        """Commit only after the test lets the disk finish."""
        await self.barrier.wait()
        return await super().commit(change)


async def test_nothing_leaves_before_the_barrier(world: World) -> None:
    """While the disk has not answered there is no acceptance and no hint (PROTOCOL 11.1)."""
    told: list[Told] = []
    store = HeldStore()
    exchange = await relay_of(world, store, NOW, told=told)
    letter = letter_of(world, NOW)
    answer = asyncio.ensure_future(exchange.submit(letter.submission.wire, letter.envelope, NOW))
    for _ in range(50):
        await asyncio.sleep(0)

    assert not answer.done()
    assert told == []
    store.barrier.set()
    await answer
    assert {hint.desk for hint in told} == {"AU", "VN"}


class BrokenStore(MemoryStore):
    """A store whose disk fails."""

    async def commit(self, change: Change) -> Committed | Conflict | Full:
        """Fail as a disk does."""
        raise Failed("The disk failed.", exit_code=75)


async def test_a_failed_commit_is_not_a_refusal(world: World) -> None:
    """The sender must not be told `rejected` when nobody knows: it is our failure, and it sends again."""
    exchange = await relay_of(world, BrokenStore(), NOW)
    letter = letter_of(world, NOW)

    with pytest.raises(Failed):
        await exchange.submit(letter.submission.wire, letter.envelope, NOW)


async def test_a_full_mailbox(world: World, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """At n the mailbox takes a message, at n + 1 the sentence says what to do; a delivery makes room."""
    monkeypatch.setattr(limits, "WAITING_MESSAGES_MAX", 2)
    exchange = await relay_of(world, store, NOW)
    letters = [letter_of(world, NOW, nonce=str(n)) for n in range(3)]
    for letter in letters[:2]:
        await submit(exchange, letter)

    with pytest.raises(Refused, match="Telephone the desk") as refusal:
        await submit(exchange, letters[2])

    assert refusal.value.code is Code.E_BUSY
    await exchange.record([receipt_of(world, "delivered", letters[0], NOW).wire], NOW)
    await submit(exchange, letters[2])


async def test_a_senders_share_of_a_mailbox(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender's n + 1st waiting message is refused, another desk's is not; after a restart it is counted as before."""
    monkeypatch.setattr(limits, "WAITING_PER_SENDER_MAX", 2)
    exchange = await relay_of(world, store, NOW)
    letters = [letter_of(world, NOW, nonce=str(n)) for n in range(3)]
    for letter in letters[:2]:
        await submit(exchange, letter)
    with pytest.raises(Refused, match="of desk VN wait for AU") as refusal:
        await submit(exchange, letters[2])
    assert refusal.value.code is Code.E_BUSY
    device = world.device("AU-B")
    other = letter_of(world, NOW, sender="AU-B", backup="", dev=device.kid)
    await exchange.submit(other.submission.wire, other.envelope, NOW)

    again = await relay_of(world, store, NOW, start=False)
    for letter in letters[:2]:
        again.enter(await state_of(again, letter.msg))
    with pytest.raises(Refused, match="of desk VN"):
        await submit(again, letters[2])
    await again.record([receipt_of(world, "delivered", letters[0], NOW).wire], NOW)
    await submit(again, letters[2])


# Pickup


async def test_a_pickup_gives_the_three_parts(world: World, store: Store) -> None:
    """Submission, acceptance and envelope come as they were, to the recipient and to the sender's own devices."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    accepted = await exchange.submit(letter.submission.wire, letter.envelope, NOW)

    for desk in ("AU", "VN"):
        parts = await exchange.collect(pickup_of(world, [letter.msg], NOW, desk=desk), NOW)

        assert parts == [letter.submission.wire, accepted, letter.envelope]


async def test_whose_message_it_is_not(world: World, store: Store) -> None:
    """A third desk, the backup before its stage, and an unknown id get nothing (C6b; one desk's mailbox)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)

    assert await exchange.collect(pickup_of(world, [letter.msg], NOW, desk="AU-B"), NOW) == [
        b"",
        b"",
        b"",
    ]
    assert await exchange.collect(pickup_of(world, ["ab" * 32], NOW), NOW) == [b"", b"", b""]


async def test_a_pickup_that_lies(world: World, store: Store) -> None:
    """For another desk, by an officer's key, old, or for another relay: refused."""
    exchange = await relay_of(world, store, NOW)
    cases = [
        (pickup_of(world, ["ab" * 32], NOW, desk="AU", by=world.device("VN")), Code.E_WRONG_DESK),
        (pickup_of(world, ["ab" * 32], NOW - 301), Code.E_CLOCK),
        (pickup_of(world, ["ab" * 32], NOW, by=world.signer("AU")), Code.E_SIGNER),
    ]
    for wire, code in cases:
        with pytest.raises(Refused) as refusal:
            await exchange.collect(wire, NOW)

        assert refusal.value.code is code


async def test_every_pickup_is_logged(world: World, store: Store) -> None:
    """Fetching leaves its proof: the statement is kept and stands in the log (PROTOCOL 10, 11.4)."""
    exchange = await relay_of(world, store, NOW)
    before = (await store.log()).size

    await exchange.collect(pickup_of(world, ["ab" * 32], NOW), NOW)

    assert (await store.log()).size == before + 1


async def test_a_large_pickup_is_cut_at_a_message(
    world: World, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the longest prefix that fits, and at least one message."""
    monkeypatch.setattr(limits, "PICKUP_ANSWER_BYTES_MAX", 1)
    exchange = await relay_of(world, store, NOW)
    letters = [letter_of(world, NOW, nonce=str(n)) for n in range(2)]
    for letter in letters:
        await submit(exchange, letter)

    parts = await exchange.collect(pickup_of(world, [one.msg for one in letters], NOW), NOW)

    assert [parts[2]] == [letters[0].envelope]
    assert len(parts) == 3


# Receipts


async def test_recorded_names_what_is_durable(world: World, store: Store) -> None:
    """A receipt is kept, logged, told to both desks, and answered by a signed `recorded`."""
    told: list[Told] = []
    exchange = await relay_of(world, store, NOW, told=told)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    told.clear()
    delivered = receipt_of(world, "delivered", letter, NOW + 1)

    wire = await exchange.record([delivered.wire], NOW + 1)

    recorded = receipt.read(wire, {"recorded"}, world.evidence.public)
    assert recorded["sids"] == [delivered.sid]
    assert [(hint.desk, hint.seq) for hint in told] == [("VN", 2), ("AU", 2)]
    assert [kept.kind for kept in await store.statements(letter.msg)][2:] == [
        "delivered",
        "recorded",
    ]
    entry = (await store.mailbox("VN", 1, 10))[0]
    assert (entry.kind, entry.ref) == ("statement", delivered.sid)


async def test_a_repeated_receipt_gets_the_stored_answer(world: World, store: Store) -> None:
    """A duplicate gets the stored outcome, never a fresh success (PROTOCOL 10.7)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    delivered = receipt_of(world, "delivered", letter, NOW + 1)
    first = await exchange.record([delivered.wire], NOW + 1)
    size = (await store.log()).size

    assert await exchange.record([delivered.wire], NOW + 500) == first
    assert (await store.log()).size == size


async def test_a_repeated_call_about_two_messages_is_answered(world: World, store: Store) -> None:
    """An answer that got lost is given again: all that the call carried is durable, new or not (PROTOCOL 10.7)."""
    exchange = await relay_of(world, store, NOW)
    letters = [letter_of(world, NOW, nonce=nonce) for nonce in ("one", "two", "three")]
    for letter in letters:
        await submit(exchange, letter)
    signed = [receipt_of(world, "delivered", letter, NOW + 1) for letter in letters]
    await exchange.record([one.wire for one in signed[:2]], NOW + 1)

    for posted in (signed[:2], signed):
        wire = await exchange.record([one.wire for one in posted], NOW + 2)
        recorded = receipt.read(wire, {"recorded"}, world.evidence.public)
        assert recorded["sids"] == [one.sid for one in posted]
    for letter in letters:
        kinds = [kept.kind for kept in await store.statements(letter.msg)]
        assert kinds.count("delivered") == 1


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        ("delivered", {"by": "officer"}, Code.E_SIGNER),
        ("acknowledged", {"by": "device"}, Code.E_SIGNER),
        ("closed", {"by": "device"}, Code.E_SIGNER),
        ("declined", {"by": "device"}, Code.E_SIGNER),
        ("acknowledged", {"desk": "AU-B"}, Code.E_WRONG_DESK),
        ("acknowledged", {"desk": "VN"}, Code.E_WRONG_DESK),
        ("acknowledged", {"at": NOW + 302}, Code.E_CLOCK),
        ("acknowledged", {"msg": "ab" * 32}, Code.E_UNKNOWN),
        ("withdrawn", {"by": "device"}, Code.E_SIGNER),
        ("withdrawn", {"by": "au"}, Code.E_SIGNER),
    ],
)
async def test_a_receipt_that_lies(
    world: World, store: Store, kind: str, changes: dict[str, Any], code: Code
) -> None:
    """A device key does no human act, an officer's key no machine act, and nobody acts for another desk (C10)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    home = "VN" if kind == "withdrawn" else changes.get("desk", "AU")
    keys = {"officer": world.signer(home), "device": world.device(home), "au": world.signer("AU")}
    plain = {name: value for name, value in changes.items() if name not in ("by", "desk")}
    honest = receipt_of(world, kind, letter, NOW + 1, desk=home, **plain)
    signer = keys.get(changes.get("by", ""))
    forged = receipt.make_unchecked_role(kind, dict(honest.fields), signer) if signer else honest

    with pytest.raises(Refused) as refusal:
        await exchange.record([forged.wire], NOW + 1)

    assert refusal.value.code is code
    assert (await state_of(exchange, letter.msg)).facts == ()


async def test_a_receipt_from_when_the_line_was_down(world: World, store: Store) -> None:
    """Signed six hours ago is as good as now (PROTOCOL 12)."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)

    await exchange.record(
        [receipt_of(world, "acknowledged", letter, NOW + 60).wire], NOW + 6 * 3600
    )

    assert (await state_of(exchange, letter.msg)).phase is Phase.ACKNOWLEDGED


async def test_a_revoked_officer_acknowledges_nothing(store: Store) -> None:
    """After the revocation a key stops no ladder, whatever date it writes."""
    world = World()
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    backdated = receipt_of(world, "acknowledged", letter, NOW + 1)
    world.revoke("AU", "au-01", NOW + 60)
    await exchange.publish(world.files, NOW + 60)

    with pytest.raises(Refused) as refusal:
        await exchange.record([backdated.wire], NOW + 61)

    assert refusal.value.code is Code.E_SIGNER


async def test_a_revoked_device_delivers_nothing(store: Store) -> None:
    """A device that was revoked while it held the message does no machine act any more."""
    world = World()
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    delivered = receipt_of(world, "delivered", letter, NOW + 1)
    world.revoke("AU", "au-01", NOW + 60)
    await exchange.publish(world.files, NOW + 60)

    with pytest.raises(Refused) as refusal:
        await exchange.record([delivered.wire], NOW + 61)

    assert refusal.value.code is Code.E_SIGNER


async def test_a_receipt_in_another_desks_name(world: World, store: Store) -> None:
    """What a desk signs must say of itself that it is this desk's."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    forged = receipt_of(world, "delivered", letter, NOW + 1)
    lying = receipt.make("delivered", {**forged.fields, "desk": "AU-B"}, world.device("AU"))

    with pytest.raises(Refused) as refusal:
        await exchange.record([lying.wire], NOW + 1)

    assert refusal.value.code is Code.E_WRONG_DESK


async def test_receipts_at_once_all_count(world: World, store: Store) -> None:
    """Pipelined receipts of one message end in one state that holds them all."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    kinds = ("delivered", "acknowledged", "closed", "failed")
    receipts = [receipt_of(world, kind, letter, NOW + 1) for kind in kinds]

    await asyncio.gather(*(exchange.record([one.wire], NOW + 2) for one in receipts))

    facts = (await state_of(exchange, letter.msg)).facts
    assert {fact.sid for fact in facts} == {one.sid for one in receipts}
    assert exchange._ledger._turns == {}


async def test_one_bad_receipt_does_not_hold_the_others(world: World, store: Store) -> None:
    """A call of several messages records what can be recorded and leaves out what cannot."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    good = receipt_of(world, "delivered", letter, NOW + 1)
    bad = receipt_of(world, "delivered", letter, NOW + 1, msg="ab" * 32)

    wire = await exchange.record([bad.wire, good.wire], NOW + 1)

    assert receipt.read(wire, {"recorded"}, world.evidence.public)["sids"] == [good.sid]


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, Code.E_ENCODING), (limits.RECEIPTS_PER_CALL_MAX + 1, Code.E_TOO_LARGE)],
)
async def test_how_many_receipts_a_call_carries(
    world: World, store: Store, count: int, code: Code
) -> None:
    """None, or one too many, is refused."""
    exchange = await relay_of(world, store, NOW)
    with pytest.raises(Refused) as refusal:
        await exchange.record([b"{}"] * count, NOW)

    assert refusal.value.code is code


# Deadlines


async def test_expired_is_signed_and_told(world: World, store: Store) -> None:
    """Nobody acknowledged: at the end of its life the message is said to have expired, to both desks, once."""
    told: list[Told] = []
    exchange = await relay_of(world, store, NOW, told=told)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)
    end = letter.header.expires
    for minute in range(0, 86_400, 600):  # the ladder runs to its end meanwhile
        await exchange.tick(NOW + minute)
    told.clear()

    assert await exchange.tick(end - 1) == 0
    assert await exchange.tick(end) == 1
    assert await exchange.tick(end + 1) == 0

    assert (await state_of(exchange, letter.msg)).phase is Phase.EXPIRED
    assert {hint.desk for hint in told} >= {"VN", "AU"}
    expired = (await store.statements(letter.msg))[-1]
    assert receipt.read(expired.wire, {"expired"}, world.evidence.public)["msg"] == letter.msg


async def test_an_acknowledged_message_never_expires(world: World, store: Store) -> None:
    """The timer goes with the acknowledgement, in the same commit."""
    exchange = await relay_of(world, store, NOW)
    letter = letter_of(world, NOW)
    await submit(exchange, letter)

    await exchange.record([receipt_of(world, "acknowledged", letter, NOW + 1).wire], NOW + 1)

    assert await store.next_due() is None
    assert await exchange.tick(letter.header.expires + 1) == 0


async def test_expiry_survives_a_restart(world: World, tmp_path: Path) -> None:
    """A relay that was down over a deadline acts on it when it is back."""
    store = SqliteStore(tmp_path / "relay.db")
    letter = letter_of(world, NOW)
    await submit(await relay_of(world, store, NOW), letter)
    await store.stop()
    back = SqliteStore(tmp_path / "relay.db")
    exchange = await relay_of(world, back, NOW + 90_000, prekeys=False)

    await exchange.tick(NOW + 90_000)

    assert (await state_of(exchange, letter.msg)).phase is Phase.EXPIRED
    await back.stop()


# Directory and prekeys


async def test_another_networks_store(world: World, store: Store) -> None:
    """A store that was filled under another root is refused with a sentence."""
    await relay_of(world, store, NOW)
    stranger = World(now=BEGUN + 1)

    with pytest.raises(Failed, match="another root"):
        await relay_of(stranger, store, NOW, start=False)


async def test_prekeys_are_bounded(world: World, store: Store) -> None:
    """Only active devices publish, not further ahead than four weeks, and the same again changes nothing."""
    exchange = await relay_of(world, store, NOW)
    before = exchange.roster.prekeys("AU")

    await exchange.prekeys_in(world.prekeys("AU"), NOW)
    assert exchange.roster.prekeys("AU") == before
    with pytest.raises(Refused) as refusal:
        await exchange.prekeys_in(world.prekeys("AU", weeks=6), NOW)
    assert refusal.value.code is Code.E_EXPIRED
    with pytest.raises(Refused) as refusal:
        await exchange.prekeys_in(World(("FR",)).prekeys("FR"), NOW)
    assert refusal.value.code is Code.E_SIGNER


async def test_an_older_directory_changes_nothing(store: Store) -> None:
    """The directory never goes back (PROTOCOL 8.1)."""
    world = World()
    old = dict(world.files)
    exchange = await relay_of(world, store, NOW)
    world.revoke("AU", "au-02", NOW + 60)
    version = await exchange.publish(world.files, NOW + 60)

    with pytest.raises(Refused):
        await exchange.publish(old, NOW + 61)

    assert exchange.directory.version == version
    assert exchange.directory.desk("AU").active(NOW + 61) == world.directory(NOW + 61).desk(
        "AU"
    ).active(NOW + 61)
