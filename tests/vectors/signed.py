"""Makes the vectors that are signed or sealed: statements and envelopes; called by make_vectors.py.

HPKE draws its own randomness, so the stanzas of the envelope are taken from the vector that is
there, and drawn only if there is none; everything else comes out the same each time.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import builders_wire as b

from keys import statement, suite
from relay.wire import envelope, receipt


def b64(data: bytes) -> str:
    """Return plain base64, for bytes that are no part of the protocol."""
    return base64.b64encode(data).decode()


def mixed_key() -> bytes:
    """Return an honest public key shifted by a point of order eight: both libraries verify under
    some of these.
    """
    import nacl.bindings as sodium

    shift = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    return sodium.crypto_core_ed25519_add(b.device("au-01").public, shift)


def mixed_statement() -> tuple[bytes, bytes]:
    """Return a mixed-order key and a statement whose signature libsodium's equation accepts under
    it.
    """
    import nacl.bindings as sodium

    public = mixed_key()
    kid = suite.kid_of(public)
    scalar = bytearray(hashlib.sha512(b.device("au-01").seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    secret = sodium.crypto_core_ed25519_scalar_reduce(bytes(scalar) + bytes(32))
    for at in range(b.NOW, b.NOW + 4096):
        payload = statement.encode({**b.values_of("delivered", at=at), "v": 1, "signer": kid})
        signed = statement.pae("delivered", payload)
        nonce = sodium.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"nonce" + signed).digest())
        point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = sodium.crypto_core_ed25519_scalar_reduce(
            hashlib.sha512(point + public + signed).digest()
        )
        if challenge[0] % 8 == 0:  # the shift vanishes from the equation
            product = sodium.crypto_core_ed25519_scalar_mul(challenge, secret)
            answer = sodium.crypto_core_ed25519_scalar_add(nonce, product)
            sodium.crypto_sign_open(point + answer + signed, public)  # it does verify
            return public, b.forge(payload, keyid=kid, signature=point + answer)
    raise AssertionError("no message was found")


def statements() -> dict[str, Any]:
    """One valid statement of each kind, and invalid ones with the code of the check that refuses
    them (6.2.4, 10).
    """
    valid = []
    for kind in receipt.KINDS:
        made = b.receipt_of(kind)
        valid.append(
            {
                "kind": kind,
                "public": b.signer_of(kind).public.hex(),
                "sid": made.sid,
                "wire": made.wire.decode(),
            }
        )
    by = b.device("au-01")
    fields = {**b.values_of("delivered"), "v": 1, "signer": by.kid}
    good = b.dumps(fields)
    wire = b.forge(good)
    listed = json.loads(wire)["signatures"]
    other = b.device("au-02")
    mixed_public, mixed_wire = mixed_statement()
    neutral = bytes([1]) + bytes(31)
    edited = b.dumps({**fields, "at": b.NOW + 1})
    right = base64.urlsafe_b64decode(listed[0]["sig"] + "==")
    sig = listed[0]["sig"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    loose = {**listed[0], "sig": sig[:-1] + alphabet[alphabet.index(sig[-1]) + 1]}
    text = fields.items()
    invalid = {
        "more than 64 KiB": ("E_TOO_LARGE", b.forge(b.dumps({**fields, "msg": "0" * 65_536}))),
        "white space in the envelope": ("E_ENCODING", wire.replace(b'","', b'", "', 1)),
        "a field more in the envelope": ("E_ENCODING", b.forge(good, outer={"x": 1})),
        "no signature": ("E_ENCODING", b.forge(good, outer={"signatures": []})),
        "two signatures": ("E_ENCODING", b.forge(good, outer={"signatures": listed * 2})),
        "padded base64": ("E_ENCODING", wire.replace(b'","payloadType', b'=","payloadType')),
        "loose last bits in base64": ("E_ENCODING", b.forge(good, outer={"signatures": [loose]})),
        "a keyid in capitals": (
            "E_ENCODING",
            b.forge(good, outer={"signatures": [{**listed[0], "keyid": by.kid.upper()}]}),
        ),
        "a payload that is a number": ("E_ENCODING", b.forge(good, outer={"payload": 1})),
        "a signature that is a list": ("E_ENCODING", b.forge(good, outer={"signatures": [[]]})),
        "somebody else's type": ("E_TYPE", b.forge(good, payload_type="application/json")),
        "a type of version 2": (
            "E_VERSION",
            b.forge(good, payload_type="application/vnd.poc24.delivered.v2+json"),
        ),
        "another keyid beside a right signature": ("E_SIGNER", b.forge(good, keyid=other.kid)),
        "signed by another key": (
            "E_SIGNER",
            b.forge(b.dumps({**fields, "signer": other.kid}), by=other),
        ),
        "a changed payload": ("E_SIGNATURE", b.forge(edited, signature=right)),
        "a signature and a byte": (
            "E_SIGNATURE",
            b.forge(good, signature=by.sign(b"x" + statement.pae("delivered", good)) + b"x"),
        ),
        "a cut signature": ("E_SIGNATURE", b.forge(good, signature=bytes(63))),
        "signed white space": ("E_ENCODING", b.forge(good.replace(b":", b": ", 1))),
        "a signed key twice": ("E_ENCODING", b.forge(good.replace(b"{", b'{"at":1,', 1))),
        "v is 2": ("E_VERSION", b.forge(b.dumps({**fields, "v": 2}))),
        "v is true": ("E_VERSION", b.forge(b.dumps({**fields, "v": True}))),
        "no v": ("E_VERSION", b.forge(b.dumps({k: v for k, v in text if k != "v"}))),
        "another signer inside": (
            "E_SIGNER",
            b.forge(b.dumps({**fields, "signer": other.kid})),
        ),
        "no signer inside": (
            "E_SIGNER",
            b.forge(b.dumps({k: v for k, v in text if k != "signer"})),
        ),
        "an unknown field": ("E_ENCODING", b.forge(b.dumps({**fields, "x": 1}))),
        "a missing field": (
            "E_ENCODING",
            b.forge(b.dumps({k: v for k, v in text if k != "desk"})),
        ),
        "a field of another type": ("E_ENCODING", b.forge(b.dumps({**fields, "at": True}))),
    }
    refused = [
        {"name": name, "code": code, "wire": bad.decode(), "public": by.public.hex()}
        for name, (code, bad) in invalid.items()
    ]
    refused += [
        {
            "name": "another kind than expected",
            "code": "E_TYPE",
            "wire": b.forge(good, kind="acknowledged").decode(),
            "public": by.public.hex(),
        },
        {
            "name": "a key outside the subgroup, under which the signature does verify",
            "code": "E_KEY",
            "wire": mixed_wire.decode(),
            "public": mixed_public.hex(),
        },
        {
            "name": "the neutral element, under which one signature verifies everything",
            "code": "E_KEY",
            "wire": b.forge(
                b.dumps({**fields, "signer": suite.kid_of(neutral)}),
                keyid=suite.kid_of(neutral),
                signature=neutral + bytes(32),
            ).decode(),
            "public": neutral.hex(),
        },
    ]
    return {"rule": "6.2.4 10", "expects": "delivered", "valid": valid, "invalid": refused}


NAMES = ("au-01", "au-02")


def stanzas(of: envelope.Header, cek: bytes, path: Path) -> list[bytes]:
    """Return the stanzas of the vector that is there, if it has this header; else new ones."""
    if path.exists():
        old = envelope.parse(base64.b64decode(json.loads(path.read_text("utf-8"))["envelope"]))
        if old.header == of and tuple(one[:8] for one in old.stanzas) == tuple(b.seeds_of(*NAMES)):
            return list(old.stanzas)
    return [b.stanza(name, cek, of) for name in NAMES]


def envelopes(path: Path) -> dict[str, Any]:
    """One envelope for two devices with its submission, and the same with one change each (9.4)."""
    of, cek = b.header(), b.seed("cek")
    signed = b.origin(of)
    made = stanzas(of, cek, path)
    plain = b.plaintext(signed)
    sealed = b.seal_anything(of, plain, stanzas=made, cek=cek)
    submission = b.hand_in(sealed, of)
    head = of.encode()
    start = 17 + 4 + len(head) + 2
    commitment = start + 2 * envelope.STANZA_BYTES
    changed: list[dict[str, Any]] = []

    def patch(name: str, rule: str, code: str, at: int, length: int, data: bytes) -> None:
        changed.append(
            {
                "name": name,
                "rule": rule,
                "code": code,
                "patch": {"at": at, "bytes": length, "by": b64(data)},
            }
        )

    def flip(name: str, rule: str, code: str, at: int) -> None:
        patch(name, rule, code, at, 1, bytes([sealed[at] ^ 1]))

    def header_as(name: str, rule: str, code: str, old: bytes, new: bytes) -> None:
        text = head.replace(old, new)
        assert text != head
        patch(name, rule, code, 17, 4 + len(head), len(text).to_bytes(4, "big") + text)

    def resealed(name: str, rule: str, code: str, what: bytes) -> None:
        again = b.seal_anything(of, what, stanzas=made, cek=cek)
        changed.append(
            {
                "name": name,
                "rule": rule,
                "code": code,
                "patch": {
                    "at": commitment,
                    "bytes": len(sealed) - commitment,
                    "by": b64(again[commitment:]),
                },
                "submission": b.hand_in(again, of).decode(),
            }
        )

    def otherwise(name: str, rule: str, code: str, **given: Any) -> None:
        changed.append({"name": name, "rule": rule, "code": code, **given})

    patch("version 2", "9.4.1", "E_VERSION", 6, 1, b"2")
    header_as("white space in the header", "9.4.1", "E_ENCODING", b'"to":', b'"to": ')
    header_as("an unknown field in the header", "9.4.1", "E_ENCODING", b'"v":1', b'"v":1,"x":1')
    header_as("the header's version is 2", "9.4.1", "E_VERSION", b'"v":1', b'"v":2')
    patch("a header of 4097 bytes", "9.4.1", "E_TOO_LARGE", 17, 4, (4097).to_bytes(4, "big"))
    patch("no stanza", "9.4.1", "E_RECIPIENTS", start - 2, 2, b"\0\0")
    patch("97 stanzas", "9.4.1", "E_RECIPIENTS", start - 2, 2, b"\0\x61")
    patch(
        "cut within the stanzas",
        "9.4.1",
        "E_ENCODING",
        commitment - 1,
        len(sealed) - commitment + 1,
        b"",
    )
    header_as(
        "addressed to another desk on the way", "9.4.2", "E_WRONG_DESK", b'"to":"AU"', b'"to":"FR"'
    )
    flip("another hint", "9.4.3", "E_NOT_FOR_ME", start)
    header_as("less urgent on the way", "9.4.4", "E_DECRYPT", b"urgent", b"routine")
    flip("a bit of the ML-KEM part", "9.4.4", "E_DECRYPT", start + 8)
    flip("a bit of the X25519 part", "9.4.4", "E_DECRYPT", start + 8 + 1088)
    flip("a bit of the wrapped key", "9.4.4", "E_DECRYPT", start + 8 + 1120)
    flip(
        "a bit of another device's stanza", "9.4.5", "E_COMMIT", start + envelope.STANZA_BYTES + 100
    )
    flip("a bit of the commitment", "9.4.5", "E_COMMIT", commitment)
    flip("a bit of the content", "9.4.6", "E_DECRYPT", commitment + 32 + 5)
    flip("a bit of the last tag", "9.4.6", "E_DECRYPT", len(sealed) - 1)
    patch("the last byte is cut off", "9.4.6", "E_DECRYPT", len(sealed) - 1, 1, b"")
    patch("a byte more", "9.4.6", "E_DECRYPT", len(sealed), 0, b"\0")
    resealed("a byte of padding is not zero", "9.4.7", "E_PADDING", plain[:-1] + b"\1")
    resealed("padded further than Padme says", "9.4.7", "E_PADDING", plain.ljust(17_408, b"\0"))
    resealed(
        "a body of another length", "9.4.7", "E_PADDING", b"\0\0\0\0\0\0\x40\0".ljust(16_384, b"\0")
    )
    otherwise("opened before it was made", "9.4.8", "E_CLOCK", now=b.NOW - 301)
    otherwise("opened after its end", "9.4.8", "E_EXPIRED", now=b.NOW + b.DAY + 1)
    otherwise("the sending device is not known", "9.4.9", "E_SIGNER", members=["vn-02"])
    resealed(
        "signed by a colleague of the sending device",
        "9.4.9",
        "E_SIGNER",
        b.plaintext(b.origin(of, by=b.officer("vn-02"))),
    )
    resealed(
        "a receipt in the place of the statement",
        "9.4.10",
        "E_TYPE",
        b.plaintext(statement.make("withdrawn", b.values_of("withdrawn"), b.officer("vn-01")).wire),
    )
    resealed(
        "another body", "9.4.11", "E_BINDING", b.plaintext(signed, b.BODY.replace(b"keep", b"send"))
    )
    resealed("signed for another desk", "9.4.11", "E_BINDING", b.plaintext(b.origin(of, to="FR")))
    resealed(
        "signed under another header",
        "9.4.11",
        "E_BINDING",
        b.plaintext(b.origin(of, header_sha256=b.header(mode="exercise").sha256)),
    )
    otherwise(
        "submitted to another relay",
        "9.4.12",
        "E_SUBMISSION",
        submission=b.hand_in(sealed, of, relay="elsewhere").decode(),
    )
    otherwise(
        "the submission of another message",
        "9.4.12",
        "E_SUBMISSION",
        submission=b.hand_in(sealed, of, msg="0" * 64).decode(),
    )
    return {
        "rule": "9 17.2",
        "desk": "AU",
        "service": b.SERVICE,
        "now": b.NOW + 5,
        "seeds": {hint.hex(): seed.hex() for hint, seed in b.seeds_of("au-01").items()},
        "members": [
            {
                "name": name,
                "desk": "VN",
                "officer_key": b.officer(name).public.hex(),
                "device_key": b.device(name).public.hex(),
            }
            for name in ("vn-01", "vn-02")
        ],
        "msg": hashlib.sha256(sealed).hexdigest(),
        "header_sha256": of.sha256,
        "cek": cek.hex(),
        "statement": signed.decode(),
        "body": b.BODY.decode(),
        "submission": submission.decode(),
        "envelope": b64(sealed),
        "changed": changed,
    }


def module(vector: dict[str, Any]) -> str:
    """Return the source of relay/wire/vector.py: what a desk needs to open the positive vector at
    start (5.5).
    """
    sealed = envelope.parse(base64.b64decode(vector["envelope"]))
    texts = {
        "HEADER": sealed.header.encode().decode(),
        "STATEMENT": vector["statement"],
        "BODY": vector["body"],
        "SUBMISSION": vector["submission"],
        "STANZAS": statement.b64u(b"".join(sealed.stanzas)),
    }
    values = {
        "CEK": vector["cek"],
        "SEED": next(iter(vector["seeds"].values())),
        "OFFICER_KEY": vector["members"][0]["officer_key"],
        "DEVICE_KEY": vector["members"][0]["device_key"],
        "MSG": vector["msg"],
    }
    lines = [
        '"""The envelope vector that a desk opens before it starts (PROTOCOL 5.5, 17.3).',
        "",
        "Written by tests/vectors/make_vectors.py; the same message stands in tests/vectors/envelope.json. Its content is",
        "sealed anew from the content key when it is needed, and must then have the message id that stands here.",
        '"""',
        "",
        f'DESK = "{vector["desk"]}"',
        f'SERVICE = "{vector["service"]}"',
        f"NOW = {vector['now']}",
    ]
    lines += [f'{name} = "{value}"' for name, value in values.items()]
    for name, text in texts.items():
        parts = [_quoted(text[at : at + 80]) for at in range(0, len(text), 80)]
        lines += (
            [f"{name} = (", *(f"    {part}" for part in parts), ")"]
            if len(parts) > 1
            else [f"{name} = {parts[0]}"]
        )
    return "\n".join(lines) + "\n"


def _quoted(part: str) -> str:
    quote = "'" if '"' in part else '"'
    assert quote not in part
    assert "\\" not in part
    return quote + part + quote
