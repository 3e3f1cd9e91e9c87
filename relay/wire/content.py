r"""DESK ONLY: what is inside an envelope. Originate, seal, re-seal, open (PROTOCOL 9).

::

    hh         = H(magic || u32 || header)
    stanza     = hint || HPKE(prekey, CEK, info = "poc24/1 wrap\n" || hh)
    T          = H(everything before the commitment)
    key || commitment = HKDF-SHA256(CEK, salt = T, info = "poc24/1 payload\n", 64 bytes)
    plaintext  = u32(len S) || S || u32(len body) || body || zeros, to Padme's length

The relay never imports this module: a wall keeps it out of its reach. :func:`open_message` is one
list of checks in one order; nothing that it returns was shown to anybody before the last of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from keys import suite
from keys.directory import DeskEntry, Directory, Member, Network
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer
from keys.statement import ORIGIN_BYTES_MAX, Statement, peek, unb64u
from relay.wire import envelope, receipt, vector
from relay.wire.envelope import Envelope, Header

BODY_BYTES_MAX = 1024 * 1024
CLOCK_SKEW_SECONDS = 300
NONCE_BYTES = 16
LABEL_WRAP = b"poc24/1 wrap\n"
LABEL_PAYLOAD = b"poc24/1 payload\n"

PARKABLE = frozenset({Code.E_SIGNER, Code.E_CLOCK})
"""Not final (9.4): refresh the directory, park the message, retry. Every other code is final for
this copy.
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that passed every check of 9.4 but the replay cache, which is the inbox's."""

    msg: str
    header: Header
    statement: Statement
    body: bytes = field(repr=False)
    member: Member
    """The sender's member entry: device of the header and officer of the statement."""
    submission: Statement
    revoked: bool
    """A key that signed is not active now: show it only as "signed with a key revoked since:
    telephone first".
    """
    own: bool
    """My desk sent it: no receipts are due."""
    cek: bytes = field(repr=False)
    """The content key: the keys of its attachments follow from it (PROTOCOL 9.5)."""


def originate(
    header: Header,
    *,
    kind: str,
    body_type: str,
    body: bytes,
    thread: str,
    nonce: bytes,
    created: int,
    officer: Signer,
    attachments: Sequence[Mapping[str, Any]] = (),
) -> Statement:
    """Sign the statement of origin: this body, under this header, by this officer (PROTOCOL 10).

    *nonce* is 16 random bytes; *thread* is the request's message id or "". In mode ``test`` a
    server's device may originate in the place of an officer. Raises E_SIGNER, E_ENCODING or
    E_TOO_LARGE.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Refused(
            Code.E_TOO_LARGE, f"The body has {len(body)} bytes; the limit is {BODY_BYTES_MAX}."
        )
    values = {
        "kind": kind,
        "from": header.sender,
        "to": header.to,
        "header_sha256": header.sha256,
        "body_type": body_type,
        "body_sha256": suite.sha256(body).hex(),
        "attachments": [dict(one) for one in attachments],
        "thread": thread,
        "nonce": nonce.hex(),
        "created": created,
    }
    if header.mode == "test" and officer.role is Role.DEVICE:
        return receipt.make_unchecked_role("statement", values, officer)
    return receipt.make("statement", values, officer)


def seal(
    header: Header, statement: bytes, body: bytes, cek: bytes, prekeys: Sequence[bytes]
) -> bytes:
    """Return the envelope of *statement* and *body* for the holders of *prekeys* (PROTOCOL 9.2).

    *cek* is 32 random bytes, fresh for each message. Sealing again with the same header, statement,
    body and *cek* for other *prekeys* is a re-seal: a new message id, the same text, and no officer
    is needed. Raises E_RECIPIENTS, E_KEY or E_TOO_LARGE.
    """
    if len(cek) != suite.CEK_BYTES:
        raise Refused(
            Code.E_KEY, f"A content key has {suite.CEK_BYTES} bytes, this one has {len(cek)}."
        )
    if len(statement) > ORIGIN_BYTES_MAX or len(body) > BODY_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, "The statement or the body has more than 1 MiB.")
    if len(set(prekeys)) != len(prekeys):
        raise Refused(Code.E_RECIPIENTS, "One prekey is named twice.")
    info = LABEL_WRAP + bytes.fromhex(header.sha256)
    stanzas = [
        suite.pkid_of(prekey)[: suite.HINT_BYTES] + suite.wrap(prekey, cek, info)
        for prekey in prekeys
    ]
    key, commitment = _derive(cek, envelope.prefix_of(header, stanzas))
    return envelope.assemble(
        header, stanzas, commitment, suite.seal_content(key, _pack(statement, body))
    )


def _derive(cek: bytes, prefix: bytes) -> tuple[bytes, bytes]:
    """Return payload key and commitment of a content key under everything before the commitment."""
    both = suite.hkdf(cek, salt=suite.sha256(prefix), info=LABEL_PAYLOAD, length=64)
    return both[:32], both[32:]


def _pack(statement: bytes, body: bytes) -> bytes:
    plain = b"".join(
        (len(statement).to_bytes(4, "big"), statement, len(body).to_bytes(4, "big"), body)
    )
    return plain.ljust(envelope.padme(len(plain)), b"\0")


def _unpack(plain: bytes) -> tuple[bytes, bytes]:
    """Cut an opened plaintext into statement and body; E_PADDING or E_TOO_LARGE."""
    size = int.from_bytes(plain[:4], "big")
    if size > ORIGIN_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, "The statement inside the message has more than 1 MiB.")
    at = 4 + size
    length = int.from_bytes(plain[at : at + 4], "big")
    if length > BODY_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, "The body inside the message has more than 1 MiB.")
    end = at + 4 + length
    if len(plain) != envelope.padme(end):  # which is never below end: no length points behind it
        raise Refused(Code.E_PADDING, "The message is not padded to the length of its size class.")
    if plain.count(0, end) != len(plain) - end:
        raise Refused(Code.E_PADDING, "The padding of the message is not all zero.")
    return plain[4:at], plain[at + 4 : end]


def open_message(
    sealed: bytes,
    submission: bytes,
    *,
    desk: str,
    service: str,
    seeds: Mapping[bytes, bytes],
    directory: Directory,
    now: int,
) -> Opened:
    """Open an envelope and check everything, in the order of PROTOCOL 9.4.

    *seeds* are this device's prekey seeds by hint, *service* is the relay service from which it
    came. Raises Refused with the code of the step that failed; codes in :data:`PARKABLE` are not
    final. Signed time and *now* are seconds UTC.
    """
    found = envelope.parse(sealed)
    header = found.header
    if desk not in {header.to, header.backup, header.sender}:
        raise Refused(
            Code.E_WRONG_DESK,
            f"The message is from {header.sender} to {header.to}, not for {desk}.",
        )
    cek, plain = _unseal(found, seeds)
    statement_wire, body = _unpack(plain)
    if header.created > now + CLOCK_SKEW_SECONDS:
        raise Refused(
            Code.E_CLOCK,
            "The message was made in the future by this device's clock.",
            hint="Check the clock: timedatectl status.",
        )
    if now > header.expires:
        raise Refused(Code.E_EXPIRED, "The message has expired.")
    entry = directory.desks.get(header.sender)
    if entry is None:
        _unknown(f"The desk {header.sender} is not in the directory.")
    peeked = peek(statement_wire, limit=ORIGIN_BYTES_MAX)
    member = _member(entry, header, peeked.keyid)
    try:
        signed = receipt.finish(peeked, statement_wire, ("statement",), _origin_key(member))
    except Refused as refused:
        if refused.code in PARKABLE:  # the key is known, so no newer directory will help
            raise Refused(Code.E_BINDING, refused.text) from None
        raise
    _bind(signed, header, body)
    handed_in, device = _submission(submission, found, signed, entry, service)
    return Opened(
        msg=found.msg,
        header=header,
        statement=signed,
        body=body,
        member=member,
        submission=handed_in,
        revoked=not (member.active(now) and device.active(now)),
        own=desk not in {header.to, header.backup},
        cek=cek,
    )


def _unseal(found: Envelope, seeds: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Find my stanza, unwrap the content key, check the commitment, and only then decrypt; return
    content key and plaintext.
    """
    mine = [one for one in found.stanzas if one[: suite.HINT_BYTES] in seeds]
    if not mine:
        raise Refused(
            Code.E_NOT_FOR_ME,
            "The message is not sealed for a prekey that this device holds.",
            hint="Another device of the desk can open it, or it was sealed for a prekey that is gone.",
        )
    cek = _unwrap_one(mine, seeds, LABEL_WRAP + bytes.fromhex(found.header.sha256))
    if len(cek) != suite.CEK_BYTES:
        raise Refused(Code.E_DECRYPT, "The content key in this copy has another length.")
    key, commitment = _derive(cek, found.prefix)
    if not suite.equal(commitment, found.commitment):
        raise Refused(
            Code.E_COMMIT,
            "The content key of this copy is not the one that the envelope commits to.",
        )
    return cek, suite.open_content(key, bytes(found.stream))


def _unwrap_one(mine: Sequence[bytes], seeds: Mapping[bytes, bytes], info: bytes) -> bytes:
    """Return the content key of the first stanza that opens: a hint is eight bytes, so two may
    share one.
    """
    last: Refused | None = None
    for stanza in mine:
        try:
            return suite.unwrap(seeds[stanza[: suite.HINT_BYTES]], stanza[suite.HINT_BYTES :], info)
        except Refused as refused:
            last = refused
    assert last is not None
    raise last


def _member(entry: DeskEntry, header: Header, signer: str) -> Member:
    """Return the one entry that holds the header's device and the statement's signer; E_SIGNER if
    there is none.

    A revoked member counts: who signed is known, and what to make of it is the reader's decision.
    """
    member = entry.by_device(header.dev)
    if member is None:
        _unknown(f"The sending device is not a member of {header.sender}.")
    server = header.mode == "test" and not member.officer_key
    if signer != (member.device_kid if server else member.officer_kid):
        _unknown(
            f"The officer who signed does not belong to the sending device at {header.sender}."
        )
    return member


def _origin_key(member: Member) -> bytes:
    return member.officer_key or member.device_key


def _unknown(text: str) -> NoReturn:
    raise Refused(
        Code.E_SIGNER,
        text,
        hint="The directory here may be old; it is fetched again before a retry.",
    )


def _bind(signed: Statement, header: Header, body: bytes) -> None:
    """Refuse a statement that is about another header, desk or body (E_BINDING): re-wrapped,
    forwarded, swapped.
    """
    if signed["from"] != header.sender:
        raise Refused(Code.E_BINDING, "The officer signed for another sending desk.")
    if signed["to"] != header.to:
        raise Refused(Code.E_BINDING, "The officer signed for another receiving desk.")
    if signed["header_sha256"] != header.sha256:
        raise Refused(Code.E_BINDING, "The officer signed under another header.")
    if signed["body_sha256"] != suite.sha256(body).hex():
        raise Refused(Code.E_BINDING, "The officer signed another body.")


def _submission(
    wire: bytes, found: Envelope, signed: Statement, entry: DeskEntry, service: str
) -> tuple[Statement, Member]:
    """Verify the submission of exactly this envelope to this relay by a device of the sender;
    E_SUBMISSION.

    Without it, a thief of one prekey could wrap an authentic statement into another envelope for a
    colleague.
    """
    header = found.header
    try:
        peeked = peek(wire)
    except Refused as refused:
        raise Refused(Code.E_SUBMISSION, f"The submission is unreadable. {refused.text}") from None
    device = entry.by_device(peeked.keyid)
    if device is None:
        _unknown(f"The device that submitted the message is not a member of {header.sender}.")
    try:
        handed_in = receipt.finish(peeked, wire, ("submission",), device.device_key)
    except Refused as refused:
        raise Refused(
            Code.E_SUBMISSION, f"The submission does not verify. {refused.text}"
        ) from None
    expected = {
        "msg": found.msg,
        "size": len(found.wire),
        "header_sha256": header.sha256,
        "from": header.sender,
        "to": header.to,
        "relay": service,
        # What the relay has not answered for, it may not have.
        "blobs": [one["blob"] for one in signed["attachments"]],
    }
    for name, value in expected.items():
        if handed_in[name] != value:
            raise Refused(
                Code.E_SUBMISSION, f"The submission is of another message: {name} differs."
            )
    return handed_in, device


def self_test() -> None:
    """Open the envelope vector (PROTOCOL 5.5); Failed with exit code 69 if this machine reads it
    otherwise.
    """
    try:
        opened = open_message(
            _vector(),
            vector.SUBMISSION.encode(),
            desk=vector.DESK,
            service=vector.SERVICE,
            seeds=_vector_seeds(),
            directory=_vector_directory(),
            now=vector.NOW,
        )
        good = opened.msg == vector.MSG and opened.body == vector.BODY.encode()
    except Refused as refused:
        raise _broken(refused.text) from refused
    if not good:
        raise _broken("It opened to something else.")


def _broken(why: str) -> Failed:
    return Failed(
        f"The envelope vector does not open on this machine: {why}",
        hint="Do not use this installation; install poc24 and its libraries anew and run it again.",
        exit_code=69,
    )


def _vector() -> bytes:
    """Return the vector's envelope: its stanzas are kept, the rest follows from its content key."""
    header, kept = Header.decode(vector.HEADER.encode()), unb64u(vector.STANZAS)
    stanzas = list(suite.chunks_of(kept, envelope.STANZA_BYTES))
    key, commitment = _derive(bytes.fromhex(vector.CEK), envelope.prefix_of(header, stanzas))
    stream = suite.seal_content(key, _pack(vector.STATEMENT.encode(), vector.BODY.encode()))
    return envelope.assemble(header, stanzas, commitment, stream)


def _vector_seeds() -> Mapping[bytes, bytes]:
    seed = bytes.fromhex(vector.SEED)
    return {suite.pkid_of(suite.prekey_public(seed))[: suite.HINT_BYTES]: seed}


def _vector_directory() -> Directory:
    officer, device = bytes.fromhex(vector.OFFICER_KEY), bytes.fromhex(vector.DEVICE_KEY)
    member = Member("VN", "vn-01", officer, device, "active", 0, 0)
    devices = {member.device_kid: member}
    entry = DeskEntry("VN", (member,), b"", {}, {}, (), "", by_kid=devices)
    return Directory(
        network=Network({}, {}, {}, {}),
        desks={"VN": entry},
        version=1,
        expires=vector.NOW,
        held={},
        faulty={},
        devices=devices,
        officers={member.officer_kid: member},
    )
