"""Sealing and opening: an honest letter, and every dishonest one that PROTOCOL 9.4 names."""

import hashlib
from typing import Any

import builders_wire as b
import nacl.bindings as sodium
import pytest

from keys import suite
from keys.directory import Directory
from keys.errors import Code, Refused
from keys.statement import Statement, peek
from relay.wire import content, envelope, receipt
from relay.wire.content import PARKABLE, Opened
from relay.wire.envelope import Header


def _code(
    sealed: bytes,
    submission: bytes,
    *,
    at: str = "au-01",
    known: Directory | None = None,
    now: int = b.NOW + 5,
    service: str = b.SERVICE,
) -> Code:
    with pytest.raises(Refused) as refused:
        b.open_at(sealed, submission, at=at, known=known, now=now, service=service)
    return refused.value.code


def _sealed(of: Header, plain: bytes, **parts: object) -> tuple[bytes, bytes]:
    """Return what a hostile sender makes of *plain*, submitted honestly."""
    sealed = b.seal_anything(of, plain, **parts)  # type: ignore[arg-type]
    return sealed, b.hand_in(sealed, of)


def _spliced(letter: b.Letter, **parts: bytes) -> bytes:
    """Return a letter's envelope with parts of another one, so that only the splice is wrong."""
    read = envelope.parse(letter.envelope)
    header = parts.get("header", read.header.encode())
    stanzas = parts.get("stanzas", b"".join(read.stanzas))
    return (
        envelope.framed(header)
        + (len(stanzas) // envelope.STANZA_BYTES).to_bytes(2, "big")
        + stanzas
        + parts.get("commitment", read.commitment)
        + parts.get("stream", bytes(read.stream))
    )


# What is honest opens


@pytest.mark.parametrize("size", [0, 1, 15_000, 16_384, 65_536, 200_000, 1_048_576])
def test_a_letter_opens_on_each_device_of_the_recipient(size: int) -> None:
    """Body, statement, sender and submission come out as they went in (9.4, C4)."""
    body = b"x" * size
    letter = b.letter(body=body)
    for at in ("au-01", "au-02"):
        opened = b.open_at(letter.envelope, letter.submission, at=at)
        assert opened.msg == hashlib.sha256(letter.envelope).hexdigest()
        assert opened.body == body
        assert opened.statement.wire == letter.statement
        assert opened.submission.wire == letter.submission
        assert opened.member.officer == "vn-01"
        assert (opened.revoked, opened.own) == (False, False)


def test_the_senders_own_devices_open_their_copy() -> None:
    """The next shift reads what was asked, and knows that it was asked from here (9.3)."""
    letter = b.letter(names=("au-01", "vn-02"))
    assert b.open_at(letter.envelope, letter.submission, at="vn-02").own


def test_the_backup_opens_what_was_sealed_for_it() -> None:
    """A backup desk that the header names is a recipient, not a copy (9.3, 9.4.2)."""
    letter = b.letter(b.header(backup="FR"), names=("au-01", "fr-01"))
    assert not b.open_at(letter.envelope, letter.submission, at="fr-01").own


def test_a_server_of_a_desk_may_send_a_test_and_nothing_else() -> None:
    """An unattended canary is signed by the server's device, in mode test only (7.3)."""
    for mode, opens in (("test", True), ("exercise", False), ("actual", False)):
        head = b.header(mode=mode, dev=b.device("vn-server").kid)
        signed = b.origin(head, by=b.device("vn-server"))
        sealed, submission = _sealed(head, b.plaintext(signed))
        if opens:
            assert b.open_at(sealed, submission).member.officer == ""
        else:
            assert _code(sealed, submission) is Code.E_SIGNER


def test_an_officer_originates_and_a_device_does_not() -> None:
    """A device key never signs the text for a person; in mode test it may, and it is bound alike
    (7.1, C10).
    """
    for mode in ("actual", "exercise", "test"):
        head = b.header(mode=mode)
        for signer in (b.officer("vn-01"), b.device("vn-01"), b.relay_signer()):
            if signer.role == "officer" or (signer.role == "device" and mode == "test"):
                made = _originate(head, b.BODY, signer)
                assert made["header_sha256"] == head.sha256
                assert made["body_sha256"] == hashlib.sha256(b.BODY).hexdigest()
                assert (made["from"], made["to"]) == ("VN", "AU")
            else:
                with pytest.raises(Refused) as refused:
                    _originate(head, b.BODY, signer)
                assert refused.value.code is Code.E_SIGNER


def _originate(head: Header, body: bytes, signer: object) -> Statement:
    return content.originate(
        head,
        kind="request",
        body_type=b.BODY_TYPE,
        body=body,
        thread="",
        nonce=bytes(16),
        created=head.created,
        officer=signer,  # type: ignore[arg-type]
    )


def test_sealing_anew_keeps_the_text_and_needs_no_officer() -> None:
    """Same header, statement, body and key for other prekeys: another message id, the same sid
    (9.3.3).
    """
    head = b.header()
    signed = _originate(head, b.BODY, b.officer("vn-01")).wire
    first = content.seal(head, signed, b.BODY, b.seed("cek"), [b.prekey("au-01")])
    again = content.seal(
        head, signed, b.BODY, b.seed("cek"), [b.prekey("au-01"), b.prekey("au-02")]
    )
    opened = [b.open_at(one, b.hand_in(one, head)) for one in (first, again)]
    assert opened[0].msg != opened[1].msg
    assert opened[0].statement == opened[1].statement
    assert opened[0].body == opened[1].body
    assert envelope.parse(first).commitment != envelope.parse(again).commitment


def test_a_shared_hint_is_no_obstacle() -> None:
    """Eight bytes can meet by chance: each stanza with my hint is tried (9.4.4)."""
    head = b.header()
    mine = b.stanza("au-01", b.seed("cek"), head)
    strange = mine[:8] + b.stanza("au-02", b.seed("cek"), head)[8:]
    sealed, submission = _sealed(head, b.plaintext(b.origin(head)), stanzas=[strange, mine])
    assert b.open_at(sealed, submission).body == b.BODY


# What shows from outside


def test_equally_many_recipients_and_a_body_up_to_its_class_have_one_size() -> None:
    """The relay learns the size class and the number of devices, nothing else of length (C16)."""
    sizes = {len(b.letter(body=b"x" * n).envelope) for n in (0, 1, 700, 5_000, 15_000)}
    assert len(sizes) == 1
    assert len(b.letter(names=("au-01", "au-02")).envelope) == sizes.pop() - envelope.STANZA_BYTES


def test_nothing_of_the_text_is_seen_from_outside() -> None:
    """Two texts of one size class differ only where everything is sealed; handle and sid do not
    show (C14).
    """
    one, other = b.letter(body=b"keep the logs"), b.letter(body=b"x" * 9_000)
    assert len(one.envelope) == len(other.envelope)
    assert one.header == other.header
    sid = b.open_at(one.envelope, one.submission).statement.sid
    nonce = b.seed("nonce")[:16].hex()
    for secret in (
        b"keep the logs",
        b"vn-01",
        sid.encode(),
        nonce.encode(),
        b.officer("vn-01").kid.encode(),
    ):
        assert secret not in one.envelope
        assert secret not in one.submission


def test_no_other_key_opens_it() -> None:
    """Other prekeys of the device, and every signing key taken for one, open nothing (C1, C3)."""
    letter = b.letter(names=("au-01",))
    hint = suite.pkid_of(b.prekey("au-01"))[:8]
    signing = [b.officer("au-01"), b.device("au-01"), b.officer("vn-01"), b.device("vn-01")]
    others = [b.prekey_seed("au-02"), b.seed("next week"), *(one.seed for one in signing)]
    for seed in [*others, b.relay_signer().seed]:
        with pytest.raises(Refused) as refused:
            content.open_message(
                letter.envelope,
                letter.submission,
                desk="AU",
                service=b.SERVICE,
                seeds={hint: seed},
                directory=b.three_desks(),
                now=b.NOW,
            )
        assert refused.value.code is Code.E_DECRYPT


def test_both_halves_of_a_prekey_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who breaks X25519 alone, or ML-KEM alone, opens nothing (C2)."""
    letter = b.letter(names=("au-01",))
    mine, other = (hashlib.shake_256(b.prekey_seed(name)).digest(96) for name in ("au-01", "au-02"))

    def with_secret(secret: bytes) -> Opened:
        class Shake:
            def digest(self, _length: int) -> bytes:
                return secret

        with monkeypatch.context() as patched:
            patched.setattr("hashlib.shake_256", lambda _seed: Shake())
            return b.open_at(letter.envelope, letter.submission)

    assert with_secret(mine).body == b.BODY
    for half in (mine[:64] + other[64:], other[:64] + mine[64:]):
        with pytest.raises(Refused) as refused:
            with_secret(half)
        assert refused.value.code is Code.E_DECRYPT


# Making


def test_what_cannot_be_sealed() -> None:
    """Limits and keys are checked before anything is sealed (9.2, 15.1)."""
    head = b.header()
    signed = b.origin(head)
    cases: list[tuple[bytes, bytes, bytes, list[bytes], Code]] = [
        (signed, b.BODY, bytes(31), [b.prekey("au-01")], Code.E_KEY),
        (signed, bytes(2**20 + 1), bytes(32), [b.prekey("au-01")], Code.E_TOO_LARGE),
        (bytes(2**20 + 1), b.BODY, bytes(32), [b.prekey("au-01")], Code.E_TOO_LARGE),
        (signed, b.BODY, bytes(32), [], Code.E_RECIPIENTS),
        (signed, b.BODY, bytes(32), [b.prekey("au-01")] * 2, Code.E_RECIPIENTS),
        (signed, b.BODY, bytes(32), [b.prekey("au-01")[:-1]], Code.E_KEY),
    ]
    for stated, body, cek, prekeys, code in cases:
        with pytest.raises(Refused) as refused:
            content.seal(head, stated, body, cek, prekeys)
        assert refused.value.code is code
    with pytest.raises(Refused) as refused:
        _originate(head, bytes(2**20 + 1), b.officer("vn-01"))
    assert refused.value.code is Code.E_TOO_LARGE


# Each check of 9.4, in its order


def test_framing_is_checked_first() -> None:
    """9.4.1: a broken frame is refused before anything is tried."""
    letter = b.letter()
    assert _code(letter.envelope[:1000], letter.submission) is Code.E_ENCODING
    assert _code(b"", b"") is Code.E_VERSION


def test_a_message_for_another_desk() -> None:
    """9.4.2: though this device could open it, its desk is neither recipient, nor backup, nor
    sender.
    """
    letter = b.letter(names=("au-01", "fr-01"))
    assert _code(letter.envelope, letter.submission, at="fr-01") is Code.E_WRONG_DESK


def test_a_message_for_prekeys_that_are_not_here() -> None:
    """9.4.3: no stanza has a hint of mine."""
    letter = b.letter(names=("au-02",))
    assert _code(letter.envelope, letter.submission) is Code.E_NOT_FOR_ME


def test_my_hint_before_anothers_stanza() -> None:
    """9.4.4: a stanza that does not open is not mine, whatever its hint says."""
    head = b.header()
    strange = (
        b.stanza("au-01", b.seed("cek"), head)[:8] + b.stanza("au-02", b.seed("cek"), head)[8:]
    )
    sealed, submission = _sealed(head, b.plaintext(b.origin(head)), stanzas=[strange])
    assert _code(sealed, submission) is Code.E_DECRYPT


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_content_key_of_another_length(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """9.4.4: HPKE could carry any length; only 32 bytes are a key."""
    letter = b.letter()
    monkeypatch.setattr(suite, "unwrap", lambda *_: bytes(size))
    assert _code(letter.envelope, letter.submission) is Code.E_DECRYPT


def test_two_texts_under_one_message_id() -> None:
    """9.4.5: a key for each officer and one stream that opens under both would show two texts (C7)."""
    head = b.header()
    keys = b.seed("first key"), b.seed("second key")
    both = [b.stanza("au-01", keys[0], head), b.stanza("au-02", keys[1], head)]
    prefix = envelope.prefix_of(head, both)
    for cek, opens, refuses in ((keys[0], "au-01", "au-02"), (keys[1], "au-02", "au-01")):
        _key, commitment = b.derive(cek, prefix)
        sealed, submission = _sealed(
            head, b.plaintext(b.origin(head)), stanzas=both, cek=cek, commitment=commitment
        )
        assert b.open_at(sealed, submission, at=opens).body == b.BODY
        assert _code(sealed, submission, at=refuses) is Code.E_COMMIT


def test_the_commitment_is_checked_before_any_content_is_decrypted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """9.4.5: with a wrong commitment the content is not even tried, and with a right stream it is
    refused.
    """
    head = b.header()
    sealed, submission = _sealed(head, b.plaintext(b.origin(head)), commitment=bytes(32))
    tried: list[bytes] = []

    def never(_key: bytes, stream: bytes) -> bytes:
        tried.append(stream)
        return b""

    monkeypatch.setattr(suite, "open_content", never)
    assert _code(sealed, submission) is Code.E_COMMIT
    assert tried == []


def test_a_stream_under_another_key() -> None:
    """9.4.6: the commitment is right, the content is not of that key."""
    head = b.header()
    sealed, submission = _sealed(head, b.plaintext(b.origin(head)), stream_key=bytes(32))
    assert _code(sealed, submission) is Code.E_DECRYPT


def test_truncated_and_reordered_content() -> None:
    """9.4.6: a chunk less, a chunk moved, an empty last chunk: the content is refused as a whole
    (C15).
    """
    head = b.header()
    sealed, _submission = _sealed(
        head, b.plaintext(b.origin(head, body=bytes(200_000)), bytes(200_000))
    )
    at = len(sealed) - len(envelope.parse(sealed).stream)
    front, stream = sealed[:at], sealed[at:]
    chunk = suite.CHUNK_BYTES + suite.TAG_BYTES
    parts = [stream[start : start + chunk] for start in range(0, len(stream), chunk)]
    assert len(parts) == 4
    for wrong in (
        parts[:3],
        parts[1:],
        [parts[1], parts[0], *parts[2:]],
        [*parts[:3], parts[3][:-1]],
        [*parts, bytes(16)],
        [*parts, parts[3]],
    ):
        cut = front + b"".join(wrong)
        assert _code(cut, b.hand_in(cut, head)) is Code.E_DECRYPT


def test_an_empty_last_chunk() -> None:
    """9.4.6: a text that fills its chunks has one stream, not a second one with nothing behind it."""
    head = b.header()
    size = suite.CHUNK_BYTES - len(b.plaintext(b.origin(head), b"", size=0))
    plain = b.plaintext(b.origin(head, body=bytes(size)), bytes(size))
    assert len(plain) == suite.CHUNK_BYTES
    sealed, submission = _sealed(head, plain)
    assert b.open_at(sealed, submission).body == bytes(size)
    front = sealed[: len(sealed) - len(envelope.parse(sealed).stream)]
    key, _commitment = b.derive(b.seed("cek"), envelope.parse(sealed).prefix)
    two = [
        sodium.crypto_aead_chacha20poly1305_ietf_encrypt(chunk, None, nonce, key)
        for chunk, nonce in ((plain, bytes(12)), (b"", bytes(10) + b"\1\1"))
    ]
    longer = front + b"".join(two)
    assert _code(longer, b.hand_in(longer, head)) is Code.E_DECRYPT


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("a bit of padding", Code.E_PADDING),
        ("no padding", Code.E_PADDING),
        ("a size class more", Code.E_PADDING),
        ("a statement behind the end", Code.E_PADDING),
        ("a body behind the end", Code.E_PADDING),
        ("a statement of 1 MiB and a byte", Code.E_TOO_LARGE),
        ("a body of 1 MiB and a byte", Code.E_TOO_LARGE),
        ("three bytes", Code.E_PADDING),
    ],
)
def test_padding_and_lengths(what: str, code: Code) -> None:
    """9.4.7: there is one plaintext for a statement and a body; padding carries nothing (C15, C16)."""
    head = b.header()
    signed = b.origin(head)
    good = b.plaintext(signed)
    plain = {
        "a bit of padding": good[:-1] + b"\1",
        "no padding": good.rstrip(b"\0"),
        "a size class more": good.ljust(17_408, b"\0"),
        "a statement behind the end": (20_000).to_bytes(4, "big").ljust(16_384, b"\0"),
        "a body behind the end": b"\0\0\0\0\0\0\x40\0".ljust(16_384, b"\0"),
        "a statement of 1 MiB and a byte": (2**20 + 1).to_bytes(4, "big").ljust(16_384, b"\0"),
        "a body of 1 MiB and a byte": b"\0\0\0\0\0\x10\0\1".ljust(16_384, b"\0"),
        "three bytes": b"\0\0\0",
    }[what]
    sealed, submission = _sealed(head, plain)
    assert _code(sealed, submission) is code


def test_the_clock() -> None:
    """9.4.8: 300 s of difference are borne, a second more is parked; the last second of its life is
    life.
    """
    letter = b.letter()
    for now in (b.NOW - 300, b.NOW + b.DAY):
        assert b.open_at(letter.envelope, letter.submission, now=now).body == b.BODY
    assert _code(letter.envelope, letter.submission, now=b.NOW - 301) is Code.E_CLOCK
    assert _code(letter.envelope, letter.submission, now=b.NOW + b.DAY + 1) is Code.E_EXPIRED


def test_the_desk_of_the_sender_is_not_known() -> None:
    """9.4.9: a desk that the directory does not list signs nothing."""
    letter = b.letter()
    assert _code(letter.envelope, letter.submission, known=b.directory()) is Code.E_SIGNER


def test_the_sending_device_is_not_known() -> None:
    """9.4.9: the header's device must be the sender's, though another of its devices submitted."""
    head = b.header(dev=b.device("fr-01").kid)
    letter = b.letter(head)
    assert _code(letter.envelope, letter.submission) is Code.E_SIGNER


@pytest.mark.parametrize("other", ["vn-02", "au-01", "fr-01"])
def test_the_officer_belongs_to_another_device(other: str) -> None:
    """9.4.9: officer and device are one member entry, not two of the same desk, not two desks."""
    letter = b.letter(by_officer=b.officer(other))
    assert _code(letter.envelope, letter.submission) is Code.E_SIGNER


def test_a_device_key_signs_in_the_place_of_the_officer() -> None:
    """9.4.9: malware with the device key alone sends nothing in the officer's name (C10)."""
    letter = b.letter(by_officer=b.device("vn-01"))
    assert _code(letter.envelope, letter.submission) is Code.E_SIGNER


def test_a_statement_that_does_not_verify() -> None:
    """9.4.10: right keyid, wrong signature."""
    head = b.header()
    payload = peek(b.origin(head)).payload
    forged = b.forge(payload, kind="statement", by=b.officer("vn-01"), signature=bytes(64))
    sealed, submission = _sealed(head, b.plaintext(forged))
    assert _code(sealed, submission) is Code.E_SIGNATURE


def test_a_statement_that_names_another_signer_inside() -> None:
    """9.4.10: the signature is right and the text claims another's key; final, not parked (C13)."""
    head = b.header()
    values = receipt.read(b.origin(head), {"statement"}, b.officer("vn-01").public)
    payload = b.dumps({**values.fields, "v": 1, "signer": b.officer("vn-02").kid})
    forged = b.forge(payload, kind="statement", by=b.officer("vn-01"))
    sealed, submission = _sealed(head, b.plaintext(forged))
    assert _code(sealed, submission) is Code.E_BINDING


def test_another_act_of_the_same_officer_in_the_place_of_the_statement() -> None:
    """9.4.10: an acknowledgement that was signed yesterday is no request today."""
    head = b.header()
    other = receipt.make("withdrawn", b.values_of("withdrawn"), b.officer("vn-01")).wire
    sealed, submission = _sealed(head, b.plaintext(other))
    assert _code(sealed, submission) is Code.E_TYPE


def test_what_the_statement_says_is_checked_field_by_field() -> None:
    """9.4.11: from, to, header and body; each alone refuses (C4)."""
    head = b.header()
    for name, value in (
        ("from", "FR"),
        ("to", "FR"),
        ("header_sha256", b.header(mode="exercise").sha256),
        ("body_sha256", hashlib.sha256(b"another body").hexdigest()),
    ):
        lie: dict[str, Any] = {name: value}
        sealed, submission = _sealed(head, b.plaintext(b.origin(head, **lie)))
        assert _code(sealed, submission) is Code.E_BINDING, name


def test_surreptitious_forwarding() -> None:
    """9.4.11: AU passes VN's text on to FR as if VN had addressed it to FR: every way is refused
    (C6).
    """
    letter = b.letter()
    opened = b.open_at(letter.envelope, letter.submission)
    # AU seals VN's statement under a header that says VN -> FR.
    to_fr = b.header(to="FR")
    sealed = b.seal_anything(to_fr, b.plaintext(letter.statement), ["fr-01"])
    assert _code(sealed, b.hand_in(sealed, to_fr), at="fr-01") is Code.E_BINDING
    # Under AU's own name, with AU's device: the officer is not AU's.
    own = b.header(sender="AU", to="FR", dev=b.device("au-01").kid)
    sealed = b.seal_anything(own, b.plaintext(letter.statement), ["fr-01"])
    submission = b.hand_in(sealed, own, by=b.device("au-01"))
    assert _code(sealed, submission, at="fr-01") is Code.E_SIGNER
    # The original envelope, handed on: it is not for FR, and not sealed for it.
    assert _code(letter.envelope, letter.submission, at="fr-01") is Code.E_WRONG_DESK
    assert opened.statement["to"] == "AU"


def test_rewrapped_for_a_colleague() -> None:
    """9.4.12: a thief of one prekey wraps the authentic text anew for a colleague, and nobody
    submitted it (C5).
    """
    letter = b.letter(names=("au-01", "vn-01"))
    sealed = b.seal_anything(
        letter.header, b.plaintext(letter.statement), ["au-02"], cek=b.seed("thief")
    )
    assert _code(sealed, letter.submission, at="au-02") is Code.E_SUBMISSION
    for by in (b.device("au-01"), b.device("fr-01")):  # whoever the thief is, he is not VN
        assert _code(sealed, b.hand_in(sealed, letter.header, by=by), at="au-02") is Code.E_SIGNER


def test_what_the_submission_says_is_checked_field_by_field() -> None:
    """9.4.12: msg, size, header, desks and relay; each alone refuses (C12)."""
    letter = b.letter()
    for name, value in (
        ("msg", b.seed("another message").hex()),
        ("size", len(letter.envelope) + 1),
        ("header_sha256", b.header(mode="exercise").sha256),
        ("from", "FR"),
        ("to", "FR"),
        ("relay", "another-relay"),
    ):
        lie: dict[str, Any] = {name: value}
        submission = b.hand_in(letter.envelope, letter.header, **lie)
        assert _code(letter.envelope, submission) is Code.E_SUBMISSION, name
    assert _code(letter.envelope, letter.submission, service="another-relay") is Code.E_SUBMISSION


def test_the_submission_names_the_attachments_of_the_statement() -> None:
    """9.4.12: none missing, none more, in their order; what the relay was not asked to keep, it may not have."""
    ids = [b.seed(f"blob {number}").hex() for number in range(2)]
    signed = [
        {"name": "a", "media_type": "text/plain", "size": 1, "sha256": ids[0], "blob": one}
        for one in ids
    ]
    top = b.header()
    sealed = b.seal_anything(top, b.plaintext(b.origin(top, attachments=signed)))
    opened = b.open_at(sealed, b.hand_in(sealed, top, blobs=ids))

    assert [one["blob"] for one in opened.statement["attachments"]] == ids
    assert opened.cek == b.seed("cek")
    for wrong in ([], ids[:1], ids[::-1], [*ids, b.seed("more").hex()]):
        assert _code(sealed, b.hand_in(sealed, top, blobs=wrong)) is Code.E_SUBMISSION


def test_a_submission_that_does_not_verify() -> None:
    """9.4.12: unreadable, wrongly signed, of another kind, by another key: E_SUBMISSION, or
    E_SIGNER if unknown.
    """
    letter = b.letter()
    payload = peek(letter.submission).payload
    forged = b.forge(payload, kind="submission", by=b.device("vn-01"), signature=bytes(64))
    values = b.values_of("delivered", msg=hashlib.sha256(letter.envelope).hexdigest())
    another_act = receipt.make("delivered", values, b.device("vn-01")).wire
    retyped = b.forge(payload, kind="delivered", by=b.device("vn-01"))
    for wrong in (b"", b"{}", forged, another_act, retyped):
        assert _code(letter.envelope, wrong) is Code.E_SUBMISSION
    by_officer = b.hand_in(letter.envelope, letter.header, by=b.officer("vn-01"))
    assert _code(letter.envelope, by_officer) is Code.E_SIGNER


def test_any_device_of_the_sender_may_submit() -> None:
    """9.4.12: a colleague's device hands in what the officer signed: the outbox is the desk's."""
    letter = b.letter(by_device=b.device("vn-02"))
    assert b.open_at(letter.envelope, letter.submission).body == b.BODY


def test_parts_of_another_message_do_not_fit() -> None:
    """Header, stanzas, commitment and stream hang together; a transplant of any one is refused
    (C15).
    """
    letter, other = b.letter(), b.letter(b.header(priority="routine"))
    donor = envelope.parse(other.envelope)
    for part, code in (
        ({"header": donor.header.encode()}, Code.E_DECRYPT),
        ({"stanzas": b"".join(donor.stanzas)}, Code.E_DECRYPT),
        ({"commitment": donor.commitment}, Code.E_COMMIT),
        ({"stream": bytes(donor.stream)}, Code.E_DECRYPT),
    ):
        spliced = _spliced(letter, **part)
        assert _code(spliced, b.hand_in(spliced, envelope.parse(spliced).header)) is code
    assert _spliced(letter) == letter.envelope


def test_a_stanza_that_was_added_or_taken_away() -> None:
    """Nobody joins or leaves the recipients after the sender sealed (C15)."""
    letter = b.letter()
    stanzas = envelope.parse(letter.envelope).stanzas
    more = (*stanzas, b.stanza("fr-01", b.seed("cek"), letter.header))
    for wrong in (stanzas[:1], more, stanzas[::-1]):
        spliced = _spliced(letter, stanzas=b"".join(wrong))
        assert _code(spliced, b.hand_in(spliced, letter.header)) is Code.E_COMMIT


# Keys that were revoked


@pytest.mark.parametrize("name", ["vn-01", "vn-02"])
def test_a_signer_who_is_revoked_now(name: str) -> None:
    """The message opens and is marked, whether the officer's entry or the submitting device's is
    out (9.4.15).
    """
    letter = b.letter(by_device=b.device("vn-02"))
    for changes in ({"status": "revoked", "until": b.NOW}, {"until": b.NOW + 1}):
        members = [b.member(one, **(changes if one == name else {})) for one in ("vn-01", "vn-02")]
        known = b.directory(b.entry("VN", *members))
        assert b.open_at(letter.envelope, letter.submission, known=known).revoked


def test_what_is_not_final() -> None:
    """An unknown signer and a clock are waited for, everything else is final (9.4.14)."""
    assert {Code.E_SIGNER, Code.E_CLOCK} == PARKABLE


def test_a_copy_is_the_inboxs_business() -> None:
    """The same message opens twice to the same sid: the replay cache has what it needs (9.4.13)."""
    letter = b.letter()
    once, again = (b.open_at(letter.envelope, letter.submission) for _ in range(2))
    assert once.statement.sid == again.statement.sid
    assert once.msg == again.msg
