"""Makes the vectors of PROTOCOL 17 from fixed seeds: ``python tests/vectors/make_vectors.py``
writes them all anew.

A change of format shows as a changed file. What is signed or sealed is made in signed.py.
"""

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import builders_wire as b  # noqa: E402
from vectors import signed  # noqa: E402

from keys import identity, statement, suite  # noqa: E402
from relay.core import tlog  # noqa: E402
from relay.wire import attachment, envelope  # noqa: E402


def ids() -> dict[str, Any]:
    """Ids that follow from seeds (5.3, 5.4)."""
    keys = [b.device("vn-01"), b.officer("vn-01"), b.device("au-01"), b.relay_signer()]
    return {
        "rule": "5.3 5.4",
        "keys": [
            {
                "seed": one.seed.hex(),
                "public": one.public.hex(),
                "kid": one.kid,
                "fingerprint": identity.fingerprint(one.kid),
            }
            for one in keys
        ],
        "prekeys": [
            {
                "seed": b.prekey_seed(name).hex(),
                "public_sha256": hashlib.sha256(b.prekey(name)).hexdigest(),
                "pkid": suite.pkid_of(b.prekey(name)).hex(),
                "hint": suite.pkid_of(b.prekey(name))[:8].hex(),
            }
            for name in ("vn-01", "au-01", "au-02")
        ],
        "dishonest": [
            {"name": "the neutral element", "public": "01" + "00" * 31},
            {"name": "a point of order two", "public": "ec" + "ff" * 30 + "7f"},
            {"name": "a point of order four", "public": "00" * 32},
            {
                "name": "a point of order eight",
                "public": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            },
            {
                "name": "an honest key and a point of order eight",
                "public": signed.mixed_key().hex(),
            },
            {"name": "not a point", "public": "02" + "00" * 31},
        ],
    }


def strict_json() -> dict[str, Any]:
    """Texts that are the one encoding of something, and texts that are not (6.1)."""
    deep = '{"a":' * 7 + "[]" + "}" * 7
    deeper = '{"a":' * 8 + "[]" + "}" * 8
    accept = [
        "{}",
        '{"a":1}',
        '{"a":-9007199254740991,"b":9007199254740991}',
        '{"a":"","b":[],"c":{},"d":true,"e":false}',
        '{"a":"é€😀","a_b":"/","ab":"\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f"}',
        '{"a":"\u007f\u2028"}',
        '{"a":[[[[[[[]]]]]]]}',
        deep,
        '{"a":"[[[[[[[[[[[[[[[["}',
        '{"' + "k" * 32 + '":0}',
    ]
    reject = [
        ("", "nothing"),
        ("null", "null alone"),
        ("[]", "an array"),
        ('"a"', "a string"),
        ("{} ", "white space behind"),
        (" {}", "white space before"),
        ('{"a": 1}', "white space inside"),
        ('{"a":1,}', "a comma too many"),
        ('{"b":1,"a":2}', "keys out of order"),
        ('{"a":1,"a":1}', "a key twice"),
        ('{"a":1,"a":2}', "a key twice, two meanings"),
        ('{"A":1}', "a capital in a key"),
        ('{"":1}', "an empty key"),
        ('{"1":1}', "a digit first"),
        ('{"a-b":1}', "a dash in a key"),
        ('{"' + "k" * 33 + '":0}', "a key of 33"),
        ('{"a":null}', "null"),
        ('{"a":1.0}', "a fraction"),
        ('{"a":1e3}', "an exponent"),
        ('{"a":-0}', "minus zero"),
        ('{"a":01}', "a leading zero"),
        ('{"a":+1}', "a plus"),
        ('{"a":9007199254740992}', "2^53"),
        ('{"a":-9007199254740992}', "-2^53"),
        ('{"a":' + "9" * 5000 + "}", "an integer that Python itself refuses"),
        ('{"a":NaN}', "not a number"),
        ('{"a":Infinity}', "infinity"),
        ('{"a":"\\u0061"}', "an escape where none is needed"),
        ('{"a":"\\/"}', "an escaped slash"),
        ('{"a":"\\u000A"}', "another spelling of newline"),
        ('{"a":"\\ud800"}', "a lone surrogate"),
        ('{"a":"\n"}', "a raw newline"),
        ("{'a':1}", "single quotes"),
        ('{"a":1}{"a":1}', "two objects"),
        (deeper, "nesting of nine"),
        ('{"a":[[[[[[[[]]]]]]]]}', "nesting of nine in arrays"),
        ('{"a":' + "[" * 2_000, "hostile nesting"),
    ]
    raw = [
        ("efbbbf7b7d", "a byte order mark"),
        ("7b2261223a22ff227d", "not UTF-8"),
        ("7b2261223a22c080227d", "an overlong zero"),
        ("7b2261223a22eda080227d", "a surrogate in UTF-8"),
        ("7b00220061002200", "UTF-16"),
    ]
    refused = [{"text": text, "name": name, "code": "E_ENCODING"} for text, name in reject]
    refused += [{"hex": data, "name": name, "code": "E_ENCODING"} for data, name in raw]
    return {"rule": "6.1", "accept": accept, "reject": refused}


def derived() -> dict[str, Any]:
    """PAE and sid, HKDF, STREAM, Padme and tree roots (6.2, 9.2, 13.1)."""
    made = b.receipt_of("delivered")
    payload = statement.peek(made.wire).payload
    sizes = [1, 16_384, 16_385, 65_535, 65_536, 65_537, 131_072, 131_073]
    lengths = [
        0,
        1,
        16_383,
        16_384,
        16_385,
        17_408,
        17_409,
        32_768,
        32_769,
        65_537,
        1_048_576,
        2_097_161,
    ]
    key = b.seed("stream key")
    leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    entries = [bytes.fromhex(leaf) for leaf in leaves]
    return {
        "pae": {
            "rule": "6.2.2 6.2.3",
            "kind": "delivered",
            "payload": payload.decode(),
            "pae": statement.pae("delivered", payload).decode(),
            "sid": made.sid,
            "wire": made.wire.decode(),
        },
        "hkdf": [
            {
                "ikm": ikm,
                "salt": salt,
                "info": info,
                "okm": suite.hkdf(
                    bytes.fromhex(ikm),
                    salt=bytes.fromhex(salt),
                    info=bytes.fromhex(info),
                    length=length,
                ).hex(),
            }
            for ikm, salt, info, length in (
                ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42),
                ("0b" * 22, "", "", 42),
                (b.seed("cek").hex(), b.seed("salt").hex(), b"poc24/1 payload\n".hex(), 64),
            )
        ],
        "stream": [
            {
                "rule": "9.2.7",
                "key": key.hex(),
                "zeros": size,
                "sealed_bytes": len(suite.seal_content(key, bytes(size))),
                "sealed_sha256": hashlib.sha256(suite.seal_content(key, bytes(size))).hexdigest(),
            }
            for size in sizes
        ],
        "padme": [[length, envelope.padme(length)] for length in lengths],
        "attachment": [
            attachment_of(number, size)
            for number, size in ((0, 0), (0, 1), (1, 1), (2, 16_384), (3, 16_385), (15, 200_000))
        ],
        "tree": {
            "rule": "13.1",
            "entries": leaves,
            "roots": [
                tlog.root(tlog.append(tlog.EMPTY, entries[:size])).hex() for size in range(9)
            ],
        },
    }


def attachment_of(number: int, size: int) -> dict[str, Any]:
    """One attachment of zeros: its secret, and the blob that follows from it (9.5)."""
    secret = attachment.secret_of(b.seed("cek"), number)
    sealing = attachment.Sealing(secret, size, io.BytesIO(bytes(size)).read)
    sealed = b"".join(sealing)
    return {
        "rule": "9.5",
        "cek": b.seed("cek").hex(),
        "number": number,
        "key_and_commitment": secret.hex(),
        "zeros": size,
        "sha256": sealing.facts.sha256,
        "blob_bytes": len(sealed),
        "blob": sealing.facts.blob,
    }


def main(folder: Path, module: Path) -> None:
    """Write every file into *folder*, and the source of the shipped vector to *module*."""
    vector = signed.envelopes(HERE / "envelope.json")
    for name, made in (
        ("ids", ids()),
        ("strict_json", strict_json()),
        ("derived", derived()),
        ("statements", signed.statements()),
        ("envelope", vector),
    ):
        text = json.dumps(made, ensure_ascii=True, indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, "utf-8")
    module.write_text(signed.module(vector), "utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a test compares
        main(Path(sys.argv[1]), Path(sys.argv[1]) / "vector.py")
    else:
        main(HERE, ROOT / "relay" / "wire" / "vector.py")
