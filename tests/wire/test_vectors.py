"""The vectors: each valid one is read as it says, each invalid one is refused with its own code
(PROTOCOL 17).
"""

import base64
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import builders_wire as b
import pytest
import rfc8785
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keys import identity, statement, suite
from keys.directory import Directory, Member
from keys.errors import Code, Failed, Refused
from keys.identity import Signer
from relay.core import tlog
from relay.wire import attachment, content, envelope, receipt, vector
from relay.wire.attachment import Facts
from relay.wire.content import Opened

HERE = Path(__file__).resolve().parents[1] / "vectors"


def _load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


IDS, JSON, DERIVED, STATEMENTS, ENVELOPE = map(
    _load, ("ids", "strict_json", "derived", "statements", "envelope")
)


def test_ids_follow_from_seeds() -> None:
    """kid, fingerprint, pkid and hint (5.3, 5.4)."""
    for key in IDS["keys"]:
        signer = Signer(identity.Role.DEVICE, bytes.fromhex(key["seed"]))
        by_hand = hashlib.sha256(b"poc24/1 ed25519\n" + bytes.fromhex(key["public"])).hexdigest()
        assert (signer.public.hex(), signer.kid) == (key["public"], key["kid"])
        assert signer.kid == by_hand
        assert identity.fingerprint(signer.kid) == key["fingerprint"]
    for prekey in IDS["prekeys"]:
        public = suite.prekey_public(bytes.fromhex(prekey["seed"]))
        by_hand = hashlib.sha256(b"poc24/1 mlkem768-x25519\n" + public).hexdigest()
        assert hashlib.sha256(public).hexdigest() == prekey["public_sha256"]
        assert suite.pkid_of(public).hex() == prekey["pkid"] == by_hand
        assert by_hand.startswith(prekey["hint"])


@pytest.mark.parametrize("key", IDS["dishonest"], ids=lambda key: str(key["name"]))
def test_dishonest_keys_are_refused(key: dict[str, str]) -> None:
    """No key outside the prime-order subgroup becomes an identity (5.2, C13)."""
    with pytest.raises(Refused) as refused:
        suite.check_public(bytes.fromhex(key["public"]))
    assert refused.value.code is Code.E_KEY


@pytest.mark.parametrize("text", JSON["accept"])
def test_the_one_encoding_is_read(text: str) -> None:
    """What is accepted encodes to the same bytes, here and by RFC 8785 (6.1, C17)."""
    value = statement.decode(text.encode())
    assert statement.encode(value) == text.encode() == rfc8785.dumps(value)


@pytest.mark.parametrize("case", JSON["reject"], ids=lambda case: str(case["name"]))
def test_any_other_encoding_is_refused(case: dict[str, str]) -> None:
    """One signed string has one reading (6.1.2, C17)."""
    data = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode()
    with pytest.raises(Refused) as refused:
        statement.decode(data)
    assert refused.value.code == case["code"]


def test_pae_and_sid() -> None:
    """The signed bytes and the id that follows from them, by hand (6.2.2, 6.2.3)."""
    case = DERIVED["pae"]
    payload = case["payload"].encode()
    name = b"application/vnd.poc24.delivered.v1+json"
    by_hand = b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)
    assert statement.pae(case["kind"], payload) == case["pae"].encode() == by_hand
    assert hashlib.sha256(by_hand).hexdigest() == case["sid"]
    read = receipt.read(case["wire"].encode(), {"delivered"}, b.device("au-01").public)
    assert read.sid == case["sid"]


def test_hkdf() -> None:
    """RFC 5869's first and third example, and our own labels, against another implementation (5)."""
    published = [
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ]
    assert [case["okm"] for case in DERIVED["hkdf"][:2]] == published
    for case in DERIVED["hkdf"]:
        ikm, salt, info, okm = (
            bytes.fromhex(case[name]) for name in ("ikm", "salt", "info", "okm")
        )
        assert suite.hkdf(ikm, salt=salt, info=info, length=len(okm)) == okm
        assert HKDF(SHA256(), len(okm), salt or None, info).derive(ikm) == okm


@pytest.mark.parametrize("case", DERIVED["stream"], ids=lambda case: str(case["zeros"]))
def test_stream(case: dict[str, Any]) -> None:
    """STREAM at the edges of its chunks, there and back (9.2.7)."""
    key = bytes.fromhex(case["key"])
    sealed = suite.seal_content(key, bytes(case["zeros"]))
    assert (len(sealed), hashlib.sha256(sealed).hexdigest()) == (
        case["sealed_bytes"],
        case["sealed_sha256"],
    )
    assert suite.open_content(key, sealed) == bytes(case["zeros"])


def test_padme() -> None:
    """Sizes at the edges of their classes (9.2.6)."""
    for length, padded in DERIVED["padme"]:
        assert envelope.padme(length) == padded


@pytest.mark.parametrize(
    "case", DERIVED["attachment"], ids=lambda case: f"{case['number']}-{case['zeros']}"
)
def test_attachment(case: dict[str, Any]) -> None:
    """Key, commitment and blob of an attachment, by another implementation's HKDF and by hand (9.5)."""
    cek, number = bytes.fromhex(case["cek"]), case["number"]
    info = b"poc24/1 attachment\n" + number.to_bytes(4, "big")
    both = HKDF(SHA256(), 64, None, info).derive(cek)
    padded = envelope.padme(case["zeros"])
    sealed = b"poc24/1 blob\n" + both[32:] + suite.seal_content(both[:32], bytes(padded))
    facts = Facts(case["zeros"], hashlib.sha256(bytes(case["zeros"])).hexdigest(), case["blob"])

    assert case["key_and_commitment"] == both.hex()
    assert (case["blob_bytes"], case["blob"]) == (len(sealed), hashlib.sha256(sealed).hexdigest())
    assert case["sha256"] == facts.sha256
    opened = attachment.opened(attachment.secret_of(cek, number), facts, io.BytesIO(sealed).read)
    assert b"".join(opened) == bytes(case["zeros"])


def test_tree_roots() -> None:
    """The roots of the first eight entries of the tree that every RFC 6962 log tests with (13.1)."""
    entries = [bytes.fromhex(leaf) for leaf in DERIVED["tree"]["entries"]]
    for size, root in enumerate(DERIVED["tree"]["roots"]):
        assert tlog.root(tlog.append(tlog.EMPTY, entries[:size])).hex() == root


@pytest.mark.parametrize("case", STATEMENTS["valid"], ids=lambda case: str(case["kind"]))
def test_a_valid_statement(case: dict[str, str]) -> None:
    """One of each kind verifies, and has its sid (10)."""
    read = receipt.read(case["wire"].encode(), {case["kind"]}, bytes.fromhex(case["public"]))
    assert read.sid == case["sid"]


@pytest.mark.parametrize("case", STATEMENTS["invalid"], ids=lambda case: str(case["name"]))
def test_an_invalid_statement(case: dict[str, str]) -> None:
    """Each check of 6.2.4 refuses what it alone can refuse, with its own code."""
    with pytest.raises(Refused) as refused:
        receipt.read(case["wire"].encode(), {STATEMENTS["expects"]}, bytes.fromhex(case["public"]))
    assert refused.value.code == case["code"]


def _directory(names: list[str]) -> Directory:
    members = [
        Member(
            desk=one["desk"],
            officer=one["name"],
            officer_key=bytes.fromhex(one["officer_key"]),
            device_key=bytes.fromhex(one["device_key"]),
            status="active",
            since=0,
            until=0,
        )
        for one in ENVELOPE["members"]
        if one["name"] in names
    ]
    return b.directory(b.entry("VN", *members))


def _open(case: dict[str, Any]) -> Opened:
    sealed = base64.b64decode(ENVELOPE["envelope"])
    if "patch" in case:
        at, size = case["patch"]["at"], case["patch"]["bytes"]
        sealed = sealed[:at] + base64.b64decode(case["patch"]["by"]) + sealed[at + size :]
    return content.open_message(
        sealed,
        case.get("submission", ENVELOPE["submission"]).encode(),
        desk=ENVELOPE["desk"],
        service=ENVELOPE["service"],
        seeds={bytes.fromhex(k): bytes.fromhex(v) for k, v in ENVELOPE["seeds"].items()},
        directory=_directory(case.get("members", ["vn-01", "vn-02"])),
        now=case.get("now", ENVELOPE["now"]),
    )


def test_the_envelope_opens() -> None:
    """The positive vector opens to its statement and body (9.4, 17.2)."""
    opened = _open({})
    assert opened.msg == ENVELOPE["msg"]
    assert opened.header.sha256 == ENVELOPE["header_sha256"]
    assert opened.statement.wire.decode() == ENVELOPE["statement"]
    assert opened.body.decode() == ENVELOPE["body"]
    assert (opened.revoked, opened.own) == (False, False)


@pytest.mark.parametrize("case", ENVELOPE["changed"], ids=lambda case: str(case["name"]))
def test_a_changed_envelope(case: dict[str, Any]) -> None:
    """One change, one code, in the order of 9.4."""
    with pytest.raises(Refused) as refused:
        _open(case)
    assert refused.value.code == case["code"], case["rule"]


def test_each_step_of_opening_has_a_vector() -> None:
    """No step of 9.4 is without one (9.4.13 is the inbox's)."""
    assert {case["rule"] for case in ENVELOPE["changed"]} == {f"9.4.{n}" for n in range(1, 13)}


def test_a_desk_opens_the_vector_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped copy is the vector; a machine that reads it otherwise does not start (5.5, 17.3,
    C23).
    """
    assert ENVELOPE["msg"] == vector.MSG
    content.self_test()
    for name, value in (
        ("BODY", "{}"),
        ("MSG", "0" * 64),
        ("STANZAS", vector.STANZAS[:-3] + "AAA"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(vector, name, value)
            with pytest.raises(Failed, match="envelope vector") as failed:
                content.self_test()
            assert failed.value.exit_code == 69


def test_the_vectors_are_what_their_maker_makes(tmp_path: Path) -> None:
    """Nobody edited a vector by hand, and no format changed unseen (17.1)."""
    names = [*HERE.glob("*.json"), HERE.parents[1] / "relay" / "wire" / "vector.py"]
    before = {path: path.read_bytes() for path in names}
    made = subprocess.run(
        [sys.executable, str(HERE / "make_vectors.py"), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    assert {path.name: (tmp_path / path.name).read_bytes() for path in names} == {
        path.name: data for path, data in before.items()
    }
