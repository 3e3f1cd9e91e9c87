"""What comes in, copy by copy: opened once, receipted for every id, parked, refused - and never shown before it is kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Letter, letter_of, submission_of
from builders_keys import NOW, World, seed
from builders_relay import SetClock

from keys import suite
from keys.directory import begin, update
from keys.errors import Code, Refused
from keys.identity import Role, Signer
from keys.statement import Statement, peek
from relay.desk import inbox as inboxes
from relay.desk.archive import Archive
from relay.desk.aside import Aside
from relay.desk.clock import ComparedClock
from relay.desk.inbox import Copy, Inbox, Result, Taken
from relay.desk.letters import ACKNOWLEDGE, NOTHING, READ, Letters
from relay.desk.lives import Lives
from relay.desk.notes import Notes
from relay.desk.records import Records
from relay.desk.roster import Roster
from relay.desk.shelves import SEED_SHELF
from relay.desk.vigil import Vigil
from relay.wire import content, envelope, receipt

LATER = NOW + 60


class Device:
    """The inbox of one device with its rooms; another one on the same file is the same device after a restart."""

    def __init__(
        self, world: World, path: Path, desk: str = "AU", handle: str | None = None
    ) -> None:
        """Open the archive at *path* for the first officer's device of *desk*; it knows the world's directory."""
        self.world = world
        self.signer = world.device(desk, handle)
        self.archive = Archive(path, seed("archive"))
        self.roster = Roster(self.archive, desk=desk, service=world.service, device=self.signer)
        self.notes = Notes(self.archive)
        self.letters = Letters(self.archive)
        self.records = Records(self.archive, self.roster)
        lives = Lives(self.roster, self.records, self.letters)
        aside = Aside(self.archive, self.notes, ComparedClock(SetClock()))
        self.vigil = Vigil(self.archive, self.roster, self.letters, lives, self.notes, aside)
        self.inbox = Inbox(
            self.archive,
            self.roster,
            self.records,
            self.letters,
            self.notes,
            self.vigil,
            self.signer,
        )
        if not self.roster.known:
            self.learn()
            self.keep_seeds()

    def learn(self, now: int = NOW) -> None:
        """Take the world's directory as it is now."""
        trusted = self.roster._trusted or begin(self.world.root)
        self.roster.take(update(trusted, self.world.files, now)[0])

    def keep_seeds(self) -> None:
        """Put the device's prekeys of the world into its archive."""
        with self.archive.commit():
            for hint, one in self.world.prekey_seeds(self.signer.kid).items():
                clear = {"not_after": NOW + 40 * 86_400}
                self.archive.put(SEED_SHELF, hint.hex(), clear, {"seed": one})

    def retry(self, now: int, *, all_of_them: bool = False) -> list[Result]:
        """Try what is parked, as the mailroom does."""
        due = self.inbox.due(now, all_of_them=all_of_them)
        return [result for msg in due if (result := self.inbox.retry(msg, now))]

    def take(self, letter: Letter, now: int = LATER, **changes: Any) -> Result:
        """Take a letter's copy as the relay gives it."""
        return self.inbox.take(copy_of(self.world, letter, **changes), now)

    def posted(self) -> list[tuple[str, str]]:
        """Return (kind, message id) of every receipt that waits to be posted."""
        found = self.records.due(NOW + 10**7, 100)
        return [(peek(post.wire).kind, post.msg) for post in found]


def accepted_of(
    world: World, letter: Letter, *, by: Signer | None = None, **changes: Any
) -> Statement:
    """Return the relay's acceptance of a letter; *changes* are what a liar would write."""
    fields: dict[str, Any] = {
        "msg": letter.msg,
        "submission": letter.submission.sid,
        "relay": world.service,
        "instance": world.instance,
        "received": NOW,
        "expires": letter.header.expires,
        "entry": "00" * 32,
    }
    return receipt.make_unchecked_role("accepted", {**fields, **changes}, by or world.evidence)


def copy_of(world: World, letter: Letter, **changes: Any) -> Copy:
    """Return a letter as a pickup gives it."""
    accepted = accepted_of(world, letter).wire
    return replace(Copy(letter.msg, letter.submission.wire, accepted, letter.envelope), **changes)


def sealed_again(world: World, letter: Letter, now: int = NOW) -> Letter:
    """Seal the same text anew: another id, the same statement."""
    keys = [one.key for desk in ("AU", "VN") for one in world.current_prekeys(desk, now)]
    sealed = content.seal(
        letter.header, letter.statement.wire, letter_body(letter), letter.cek, keys
    )
    return replace(
        letter, envelope=sealed, submission=submission_of(world, letter.header, sealed, now)
    )


def letter_body(letter: Letter) -> bytes:
    """Return the body of a letter of this file."""
    assert letter.statement["body_sha256"] == suite.sha256(BODY).hex()
    return BODY


BODY = b'{"please":"keep the logs"}'


@pytest.fixture(scope="module")
def still() -> World:
    """Return a network that no test of this file changes."""
    return World()


@pytest.fixture
def world() -> World:
    """Return a network that a test may change."""
    return World()


@pytest.fixture
def device(still: World, tmp_path: Path) -> Iterator[Device]:
    """Return AU's first device."""
    made = Device(still, tmp_path / "au.db")
    yield made
    made.archive.close()


def test_a_message_is_shown_once_and_receipted(still: World, device: Device) -> None:
    """A copy that passes every check is kept, shown, and confirmed with `delivered` (PROTOCOL 9.4, 10.5)."""
    letter = letter_of(still, NOW)
    result = device.take(letter)
    assert result.taken is Taken.SHOWN
    assert result.event is not None
    assert (result.event["msg"], result.event["from"], result.event["priority"]) == (
        letter.msg,
        "VN",
        "urgent",
    )
    kept = device.letters.resolve(letter.msg)
    assert (kept.sid, kept.body, kept.officer) == (letter.statement.sid, BODY, "vn-01")
    assert kept.needs == ACKNOWLEDGE
    assert device.posted() == [("delivered", letter.msg)]
    (post,) = device.records.due(LATER, 10)
    delivered = receipt.read(post.wire, {"delivered"}, device.signer.public)
    assert dict(delivered.fields) == {
        "msg": letter.msg,
        "statement": letter.statement.sid,
        "desk": "AU",
        "at": LATER,
    }
    assert device.records.kinds([letter.msg]) == {"submission", "accepted", "delivered"}


def test_the_same_copy_again_changes_nothing(still: World, device: Device) -> None:
    """A repeat of the same id is known: no second showing, no second receipt."""
    letter = letter_of(still, NOW)
    device.take(letter)
    again = device.take(letter, LATER + 5)
    assert (again.taken, again.event) == (Taken.KNOWN, None)
    assert len(device.posted()) == 1


def test_a_second_copy_is_not_shown_but_receipted(still: World, device: Device) -> None:
    """One statement under another id (a re-seal, a second relay): not shown again, `delivered` for both ids (9.4)."""
    first = letter_of(still, NOW)
    second = sealed_again(still, first)
    assert first.msg != second.msg
    device.take(first)
    again = device.take(second, LATER + 5)
    assert (again.taken, again.event) == (Taken.AGAIN, None)
    assert len(device.letters.all()) == 1
    assert set(device.posted()) == {("delivered", first.msg), ("delivered", second.msg)}
    assert device.letters.resolve(second.msg).sid == first.statement.sid
    assert [one.msg for one in device.letters.aliases(first.statement.sid)] == [
        first.msg,
        second.msg,
    ]


def test_an_acknowledged_text_asks_again_under_its_new_id(still: World, device: Device) -> None:
    """The new id has a ladder of its own: a person acknowledges it too (9.4: for every message id)."""
    first = letter_of(still, NOW)
    second = sealed_again(still, first)
    device.take(first)
    with device.archive.commit():
        fields = {"msg": first.msg, "statement": first.statement.sid, "desk": "AU", "at": LATER}
        device.records.keep(receipt.make("acknowledged", fields, still.signer("AU")), "AU", LATER)
        device.letters.need(first.statement.sid, NOTHING)
    device.take(second, LATER + 5)
    assert device.letters.resolve(first.msg).needs == ACKNOWLEDGE


def test_a_replay_after_the_message_was_purged_is_not_shown(still: World, device: Device) -> None:
    """The replay cache stands by itself until 30 days after expiry (PROTOCOL 9.4)."""
    first = letter_of(still, NOW)
    device.take(first)
    with device.archive.commit():
        device.archive.purge("message", "1")
        device.archive.purge("alias", "1")
        assert device.letters.forget_old(first.header.expires + 30 * 86_400) == 0
    assert device.take(first, LATER + 5).taken is Taken.AGAIN
    with device.archive.commit():
        assert device.letters.forget_old(first.header.expires + 30 * 86_400 + 1) == 1


def test_an_own_copy_is_kept_without_receipts(still: World, tmp_path: Path) -> None:
    """The next shift reads what its desk sent; no receipt comes from the sender's own devices (9.3)."""
    device = Device(still, tmp_path / "vn.db", "VN", "vn-02")
    letter = letter_of(still, NOW)
    result = device.take(letter)
    assert (result.taken, result.event) == (Taken.OWN, None)
    assert device.letters.resolve(letter.msg).body == BODY
    assert device.letters.resolve(letter.msg).needs == NOTHING
    assert device.posted() == []
    device.archive.close()


def test_a_message_that_asks_no_acknowledgement_is_only_to_be_read(
    still: World, device: Device
) -> None:
    """ack_by 0 asks nobody to sign; a test asks nobody at all."""
    plain = letter_of(still, NOW, ack_by=0)
    device.take(plain)
    assert device.letters.resolve(plain.msg).needs == READ
    assert device.letters.unacknowledged() == 0


def test_a_message_for_other_devices_is_passed_over_quietly(still: World, device: Device) -> None:
    """Sealed before this device was enrolled: no receipt, nobody is told, but it is noted."""
    others = [one.key for one in still.current_prekeys("AU") if one.device != device.signer.kid]
    letter = letter_of(still, NOW, prekeys=others)
    result = device.take(letter)
    assert (result.taken, result.event) == (Taken.SKIPPED, None)
    assert device.posted() == []
    assert device.notes.last()[0]["code"] == "E_NOT_FOR_ME"
    assert device.notes.last()[0]["msg"] == letter.msg


def test_another_desks_message_is_refused_aloud(still: World, tmp_path: Path) -> None:
    """A relay that hands over another desk's mailbox gets nothing for it, and somebody hears (E_WRONG_DESK)."""
    device = Device(still, tmp_path / "b.db", "AU-B")
    letter = letter_of(still, NOW, backup="")
    result = device.take(letter)
    assert result.taken is Taken.SKIPPED
    assert result.event is not None
    assert result.event["code"] == "E_WRONG_DESK"
    assert device.posted() == []
    assert device.letters.all() == []
    device.archive.close()


def flipped(letter: Letter, place: int) -> Letter:
    """Return the letter with one bit of the envelope changed and a submission of the result."""
    sealed = bytearray(letter.envelope)
    sealed[place] ^= 1
    return replace(letter, envelope=bytes(sealed))


@pytest.mark.parametrize(
    ("place", "failure"),
    [(-1, "E_DECRYPT"), ("commitment", "E_DECRYPT"), ("stanza", "E_DECRYPT")],
)
def test_what_cannot_be_opened_is_failed_by_class(
    still: World, device: Device, place: int | str, failure: str
) -> None:
    """A broken copy is final: signed `failed` with the class of the code only, and nothing is shown (PROTOCOL 16)."""
    plain = letter_of(still, NOW)
    parsed = envelope.parse(plain.envelope)
    mine = next(n for n, hint in enumerate(parsed.hints) if hint in device.roster.seeds())
    at = {
        "commitment": len(parsed.prefix),
        "stanza": len(parsed.prefix) - envelope.STANZA_BYTES * (len(parsed.stanzas) - mine) + 20,
    }
    broken = flipped(plain, place if isinstance(place, int) else at[place])
    result = device.take(broken)
    assert result.taken is Taken.FAILED
    assert result.event is not None
    assert result.event["event"] == "failed"
    assert device.letters.all() == []
    (post,) = device.records.due(LATER, 10)
    failed = receipt.read(post.wire, {"failed"}, device.signer.public)
    assert (failed["code"], failed["msg"]) == (failure, broken.msg)
    assert device.take(broken, LATER + 5).taken is Taken.KNOWN
    assert len(device.posted()) == 1


def test_a_submission_by_a_stranger_is_no_submission(still: World, device: Device) -> None:
    """A colleague's re-wrap of an authentic statement lacks the sender's submission: failed (claim C5)."""
    letter = letter_of(still, NOW)
    fields = dict(letter.submission.fields)
    by_colleague = receipt.make("submission", fields, still.device("AU", "au-02"))
    wrapped = replace(letter, submission=by_colleague)
    assert device.take(wrapped).taken is Taken.PARKED
    assert device.letters.all() == []


def test_other_bytes_than_were_asked_for_are_no_copy(still: World, device: Device) -> None:
    """A relay that answers a pickup with another envelope is caught before anything is opened (E_BINDING)."""
    one, other = letter_of(still, NOW, nonce="1"), letter_of(still, NOW, nonce="2")
    with pytest.raises(Refused) as refused:
        device.take(one, envelope=other.envelope, submission=other.submission.wire)
    assert refused.value.code is Code.E_BINDING
    device.inbox.mistrust(one.msg, LATER)
    assert device.letters.all() == []
    assert device.inbox.wanted(LATER + inboxes.PARKED_AGAIN_S) == [one.msg]
    assert device.take(one, LATER + 90).taken is Taken.SHOWN


def test_an_acceptance_that_lies_does_not_hide_the_message(still: World, device: Device) -> None:
    """The message proves itself; the relay's false acceptance is kept apart as unverified, and noted."""
    letter = letter_of(still, NOW)
    false = accepted_of(still, letter, by=Signer(Role.RELAY, seed("a false relay")))
    assert device.take(letter, accepted=false.wire).taken is Taken.SHOWN
    assert "accepted" not in device.records.kinds([letter.msg])
    assert [held.kind for held in device.records.unverified()] == ["accepted"]
    assert "does not verify" in device.notes.last()[0]["text"]
    other = letter_of(still, NOW, nonce="other")
    assert device.take(other, accepted=accepted_of(still, letter).wire).taken is Taken.SHOWN
    assert "of another message" in device.notes.last()[0]["text"]
    assert device.take(letter_of(still, NOW, nonce="3"), accepted=b"junk").taken is Taken.SHOWN


def test_a_statement_that_came_before_its_message_is_compared_with_it(
    still: World, device: Device
) -> None:
    """A receipt may come while the copy is parked: once it opens, one about another text counts for nothing (C8)."""
    letter = letter_of(still, NOW)
    right, wrong = (
        receipt.make("delivered", {**fields, "msg": letter.msg, "desk": "AU", "at": NOW}, signer)
        for fields, signer in (
            ({"statement": letter.statement.sid}, still.device("AU", "au-02")),
            ({"statement": "ab" * 32}, still.device("AU", "au-02")),
        )
    )
    with device.archive.commit():
        for one in (right, wrong):
            device.records.keep(device.records.prove(one.wire, None).statement, "AU", NOW)
    device.take(letter)
    assert device.records.holds(right.sid)
    assert not device.records.holds(wrong.sid)


# Parked, not refused


def test_an_officer_whom_nobody_here_knows_yet_is_waited_for(world: World, tmp_path: Path) -> None:
    """Enrolled at night: the message parks, the directory is refreshed, and it opens (PROTOCOL 9.4)."""
    device = Device(world, tmp_path / "au.db")
    officer = world.enrol("VN", "vn-09", NOW + 10)
    letter = letter_of(world, NOW + 20, officer=officer, dev=world.device("VN", "vn-09").kid)
    result = device.take(letter)
    assert result.taken is Taken.PARKED
    assert result.event is not None
    assert (result.event["event"], result.event["code"]) == ("parked", "E_SIGNER")
    assert device.letters.all() == []
    assert device.posted() == []
    assert device.inbox.known(letter.msg)
    (still_parked,) = device.retry(LATER + 60)
    assert (still_parked.taken, still_parked.event) == (Taken.PARKED, None)
    device.learn(NOW + 30)
    (opened,) = device.retry(LATER + 61, all_of_them=True)
    assert opened.taken is Taken.SHOWN
    assert device.posted() == [("delivered", letter.msg)]
    assert device.inbox.parked() == []
    device.archive.close()


def test_a_message_from_a_clock_ahead_is_waited_for(still: World, device: Device) -> None:
    """Made in the future by this clock: parked, and opened once the time has come."""
    letter = letter_of(still, NOW + 3600)
    assert device.take(letter, NOW).taken is Taken.PARKED
    assert device.retry(NOW + 30) == []
    assert device.inbox.next_retry() == NOW + inboxes.PARKED_AGAIN_S
    (opened,) = device.retry(NOW + 3300)
    assert opened.taken is Taken.SHOWN


def test_a_copy_that_came_in_its_life_does_not_expire_in_the_parking_place(
    world: World, tmp_path: Path
) -> None:
    """Refreshing took until after the expiry: it was received in time, so it is opened; a copy that came late is not."""
    device = Device(world, tmp_path / "au.db")
    officer = world.enrol("VN", "vn-09", NOW + 10)
    dev = world.device("VN", "vn-09").kid
    letter = letter_of(
        world, NOW + 20, officer=officer, dev=dev, expires=NOW + 900, ack_by=NOW + 800
    )
    assert device.take(letter, NOW + 800).taken is Taken.PARKED
    device.learn(NOW + 30)
    (opened,) = device.retry(NOW + 1000, all_of_them=True)
    assert opened.taken is Taken.SHOWN
    late = letter_of(world, NOW + 20, expires=NOW + 900, ack_by=NOW + 800, nonce="late")
    result = device.take(late, NOW + 1000)
    assert result.taken is Taken.FAILED
    assert result.event is not None
    assert result.event["code"] == "E_EXPIRED"
    device.archive.close()


def test_a_signer_who_stays_unknown_is_failed_at_the_end(world: World, tmp_path: Path) -> None:
    """Parked until the message's own expiry; then it is failed, aloud."""
    device = Device(world, tmp_path / "au.db")
    officer = Signer(Role.OFFICER, seed("nobody"))
    letter = letter_of(world, NOW, officer=officer)
    assert device.take(letter).taken is Taken.PARKED
    (still_parked,) = device.retry(letter.header.expires)
    assert still_parked.taken is Taken.PARKED
    (failed,) = device.retry(letter.header.expires + 61)
    assert failed.taken is Taken.FAILED
    assert device.inbox.parked() == []
    assert device.posted() == [("failed", letter.msg)]
    device.archive.close()


def test_a_key_revoked_in_flight_is_shown_as_such(world: World, tmp_path: Path) -> None:
    """Signed before, revoked before it was opened: shown only with "telephone first" (PROTOCOL 9.4)."""
    device = Device(world, tmp_path / "au.db")
    letter = letter_of(world, NOW)
    world.revoke("VN", "vn-01", NOW + 30)
    device.learn(NOW + 40)
    result = device.take(letter)
    assert result.taken is Taken.SHOWN
    assert result.event is not None
    assert result.event["revoked"] is True
    assert device.letters.resolve(letter.msg).revoked
    device.archive.close()


def test_a_message_that_the_relay_does_not_give_is_asked_for_again(
    still: World, device: Device
) -> None:
    """Announced and not given: asked for ten times, then noted; it never stands in the way."""
    gone = Copy("ab" * 32, b"", b"", b"")
    now = NOW
    assert device.inbox.take(gone, now).taken is Taken.PARKED
    for _try in range(inboxes.GONE_TRIES_MAX - 1):
        now = device.inbox.next_retry() or 0
        assert device.inbox.wanted(now - 1) == []
        assert device.inbox.wanted(now) == [gone.msg]
        assert device.retry(now) == []
        assert device.inbox.take(gone, now).taken is Taken.PARKED
    now = device.inbox.next_retry() or 0
    assert now > NOW + 4 * 3600
    assert device.inbox.take(gone, now).taken is Taken.SKIPPED
    assert device.inbox.wanted(now + 10**6) == []
    assert device.notes.last()[0]["code"] == "E_UNKNOWN"


def test_the_parking_place_is_bounded(
    still: World, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that invents messages, or a desk that sends unreadable ones, fills neither memory nor disk."""
    monkeypatch.setattr(inboxes, "PARKED_MAX", 3)
    monkeypatch.setattr(inboxes, "PARKED_WHOLE_MAX", 1)
    stranger = Signer(Role.OFFICER, seed("nobody"))
    whole, thin = (letter_of(still, NOW, officer=stranger, nonce=str(n)) for n in range(2))
    assert device.take(whole).taken is Taken.PARKED
    assert device.take(thin).taken is Taken.PARKED
    assert [device.inbox.known(one.msg) for one in (whole, thin)] == [True, False]
    assert device.inbox.wanted(LATER + 60) == [thin.msg]
    invented = [Copy(f"{n:02x}" * 32, b"", b"", b"") for n in range(4)]
    taken = [device.inbox.take(one, LATER).taken for one in invented]
    assert taken == [Taken.PARKED, Taken.SKIPPED, Taken.SKIPPED, Taken.SKIPPED]


def test_a_message_sealed_for_a_prekey_that_is_gone_is_failed(still: World, device: Device) -> None:
    """Sealed for this very device, whose secret is gone: that is no colleague's message, and the sender must know."""
    letter = letter_of(still, NOW)
    hints = [one.hint for one in still.current_prekeys("AU") if one.device == device.signer.kid]
    with device.archive.commit():
        device.archive.purge(SEED_SHELF, "1")
        times = {"not_before": NOW, "not_after": NOW + 1, "published": 1}
        device.archive.put("prekey", hints[0].hex(), times, {"wire": b"x"})
    assert device.take(letter).taken is Taken.FAILED
    assert device.posted() == [("failed", letter.msg)]


# Crashes


class Crash(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("durable", [False, True], ids=["before", "after"])
def test_a_crash_at_the_commit_repeats_one_step(
    still: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    """Stopped just before or just after the commit: shown exactly once, receipted exactly once."""
    path = tmp_path / "au.db"
    device = Device(still, path)
    letter = letter_of(still, NOW)

    def stop(archive: Archive) -> None:
        if durable:
            archive._run("COMMIT")
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "_barrier", stop)
        with pytest.raises(Crash):
            device.take(letter)
    device.archive.close()
    device = Device(still, path)
    assert len(device.letters.all()) == (1 if durable else 0)
    assert len(device.posted()) == (1 if durable else 0)
    result = device.take(letter, LATER + 5)
    assert result.taken is (Taken.KNOWN if durable else Taken.SHOWN)
    assert len(device.letters.all()) == 1
    assert device.posted() == [("delivered", letter.msg)]
    device.archive.close()
