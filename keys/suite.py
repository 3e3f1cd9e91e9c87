"""The one cipher suite of the house, and the only importer of PyNaCl and cryptography (PROTOCOL 5).

There is nothing to negotiate: Ed25519 by libsodium, HPKE with MLKEM768-X25519, ChaCha20-Poly1305 in age's STREAM,
HKDF and SHA-256, Argon2id and XChaCha20-Poly1305 at rest. Signatures are verified by libsodium alone, because OpenSSL
accepts small-order keys under which one fixed "signature" verifies every message.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NoReturn

import nacl.bindings as sodium
import nacl.exceptions
import nacl.pwhash
import nacl.utils
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm

from keys.errors import Code, Failed, Refused


class _Missing:
    """Stands for a part of the library that is not installed: whoever uses it is told, whoever does not is not."""

    def __getattr__(self, name: str) -> NoReturn:
        """Raise Failed (69): imports come before any command could turn an error into a sentence."""
        raise Failed(
            "The installed `cryptography` has no HPKE, ML-KEM or ML-DSA: nothing could be sealed against tomorrow's "
            "computers.",
            hint="Install the official wheel: pip install --force-reinstall 'cryptography>=48'. There is no fall-back.",
            exit_code=69,
        )


try:
    from cryptography.hazmat.primitives import hpke
    from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem, x25519
except ImportError:  # an older release, or a distribution's build on an old OpenSSL
    missing: Any = _Missing()
    hpke = mldsa = mlkem = x25519 = missing

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
CEK_BYTES = 32
PREKEY_BYTES = 1216
"""ML-KEM-768 encapsulation key (1184) || X25519 public key (32)."""
HINT_BYTES = 8
WRAPPED_BYTES = 1168
"""HPKE enc (1120) || ciphertext of a 32-byte key with its tag (48)."""
CHUNK_BYTES = 65536
TAG_BYTES = 16
NONCE_AT_REST_BYTES = 24

ARGON2_MEMORY_BYTES = 256 * 1024 * 1024
ARGON2_PASSES = 3
ARGON2_SALT_BYTES = 16

LABEL_ED25519 = b"poc24/1 ed25519\n"
LABEL_PREKEY = b"poc24/1 mlkem768-x25519\n"

_MLKEM_PUBLIC_BYTES = 1184


@cache
def _hpke() -> "hpke.Suite":
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


def random_bytes(count: int) -> bytes:
    """Return *count* bytes from the operating system: the only dice of the house."""
    return nacl.utils.random(count)


def sha256(data: bytes) -> bytes:
    """Return SHA-256 of *data*, 32 bytes."""
    return hashlib.sha256(data).digest()


def equal(left: bytes, right: bytes) -> bool:
    """Compare two byte strings in time that depends on their length only."""
    return hmac.compare_digest(left, right)


def hkdf(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Return *length* bytes of HKDF-SHA256 (RFC 5869)."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    blocks, last, counter = b"", b"", 1
    while len(blocks) < length:
        last = hmac.digest(extracted, last + info + bytes([counter]), "sha256")
        blocks, counter = blocks + last, counter + 1
    return blocks[:length]


# Signatures (PROTOCOL 5, 6.2)


def expand(seed: bytes) -> bytes:
    """Return libsodium's 64-byte signing key (seed || public key) of a 32-byte *seed*."""
    if len(seed) != SEED_BYTES:
        raise Refused(
            Code.E_KEY, f"An Ed25519 seed has {SEED_BYTES} bytes, this one has {len(seed)}."
        )
    _public, secret = sodium.crypto_sign_seed_keypair(seed)
    return secret


def sign(secret: bytes, message: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature of *message* by an expanded key (see :func:`expand`)."""
    return sodium.crypto_sign(message, secret)[:SIGNATURE_BYTES]


@lru_cache(maxsize=8192)
def check_public(public: bytes) -> None:
    """Refuse an Ed25519 public key outside the prime-order subgroup (PROTOCOL 6.2): such keys can sign anything."""
    if len(public) != PUBLIC_BYTES or not sodium.crypto_core_ed25519_is_valid_point(public):
        raise Refused(
            Code.E_KEY,
            "This Ed25519 public key is not an honest one: it is not in the prime-order subgroup.",
            hint="Ask its holder for a key made with `keys`; a key like this one can be made to 'verify' anything.",
        )


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Raise E_KEY or E_SIGNATURE unless *signature* is one of *message* by an honest *public* key."""
    check_public(public)
    if len(signature) != SIGNATURE_BYTES:
        raise Refused(
            Code.E_SIGNATURE,
            f"An Ed25519 signature has {SIGNATURE_BYTES} bytes, this one has {len(signature)}.",
        )
    try:
        sodium.crypto_sign_open(signature + message, public)
    except nacl.exceptions.BadSignatureError:
        raise Refused(
            Code.E_SIGNATURE, "The signature does not verify under the expected key."
        ) from None


@lru_cache(maxsize=8192)
def kid_of(public: bytes) -> str:
    """Return the key identifier of an Ed25519 public key: 64 hex digits (PROTOCOL 5)."""
    return sha256(LABEL_ED25519 + public).hex()


# Key wrap: HPKE with the hybrid of ML-KEM-768 and X25519 (PROTOCOL 5, 9.2)


def _prekey_secret(seed: bytes) -> "hpke.MLKEM768X25519PrivateKey":
    stretched = hashlib.shake_256(seed).digest(96)
    return hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(stretched[:64]),
        x25519.X25519PrivateKey.from_private_bytes(stretched[64:]),
    )


def prekey_public(seed: bytes) -> bytes:
    """Return the 1216-byte public prekey of a 32-byte *seed* (X-Wing's derivation: SHAKE-256 to 96 bytes)."""
    stretched = hashlib.shake_256(seed).digest(96)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(stretched[:64]).public_key()
    curve = x25519.X25519PrivateKey.from_private_bytes(stretched[64:]).public_key()
    return lattice.public_bytes_raw() + curve.public_bytes_raw()


def pkid_of(prekey: bytes) -> bytes:
    """Return the 32-byte identifier of a public prekey; its first 8 bytes are the stanza's hint (PROTOCOL 5)."""
    return sha256(LABEL_PREKEY + prekey)


def wrap(prekey: bytes, cek: bytes, info: bytes) -> bytes:
    """Seal the 32-byte *cek* to a public prekey; 1168 bytes. HPKE draws its own randomness: it cannot be seeded."""
    if len(prekey) != PREKEY_BYTES:
        raise Refused(Code.E_KEY, f"A prekey has {PREKEY_BYTES} bytes, this one has {len(prekey)}.")
    try:
        public = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(prekey[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(prekey[_MLKEM_PUBLIC_BYTES:]),
        )
        return _hpke().encrypt(cek, public, info=info)
    except ValueError:
        raise Refused(
            Code.E_KEY, "This prekey cannot be used: its ML-KEM or X25519 part is malformed."
        ) from None


@lru_cache(maxsize=8192)
def check_prekey(prekey: bytes) -> None:
    """Refuse a public prekey that nobody can seal to (E_KEY): when it is published, not when a sender needs it."""
    wrap(prekey, bytes(CEK_BYTES), b"poc24/1 wrap\n")


def unwrap(seed: bytes, wrapped: bytes, info: bytes) -> bytes:
    """Open a stanza with the prekey's *seed*; raise E_DECRYPT for anything but the exact sealed key."""
    try:
        return _hpke().decrypt(wrapped, _prekey_secret(seed), info=info)
    except (InvalidTag, ValueError):
        raise Refused(
            Code.E_DECRYPT,
            "The key in this copy of the message does not open with this device's prekey.",
        ) from None


# Content: age's STREAM with ChaCha20-Poly1305 (PROTOCOL 9.2)


def _nonce(counter: int, *, last: bool) -> bytes:
    return counter.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def stream_seal(key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Seal plaintext chunks, each of exactly 64 KiB but the last, which is never empty; yield sealed chunks."""
    pending: bytes | None = None
    counter = 0
    for chunk in chunks:
        if pending is not None:
            yield sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
                pending, None, _nonce(counter, last=False), key
            )
            counter += 1
        pending = chunk
    if not pending:
        raise Failed("A stream's last chunk must not be empty.")
    yield sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        pending, None, _nonce(counter, last=True), key
    )


def stream_open(key: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Open sealed chunks (64 KiB + 16, the last shorter); what is yielded counts only once the last one is out."""
    pending: bytes | None = None
    counter = 0
    for chunk in chunks:
        if pending is not None:
            yield _open_chunk(key, pending, counter, last=False)
            counter += 1
        pending = chunk
    if pending is None or len(pending) <= TAG_BYTES:
        raise Refused(
            Code.E_DECRYPT, "The sealed content ends with an empty chunk or has none: it was cut."
        )
    yield _open_chunk(key, pending, counter, last=True)


def _open_chunk(key: bytes, chunk: bytes, counter: int, *, last: bool) -> bytes:
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(
            chunk, None, _nonce(counter, last=last), key
        )
    except nacl.exceptions.CryptoError:
        raise Refused(
            Code.E_DECRYPT,
            "The sealed content does not open: it was changed, cut or put in another order.",
        ) from None


def chunks_of(data: bytes, size: int) -> Iterator[bytes]:
    """Cut *data* into pieces of *size* bytes, the last one shorter."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def seal_content(key: bytes, plaintext: bytes) -> bytes:
    """Seal a whole plaintext held in memory as one STREAM."""
    return b"".join(stream_seal(key, chunks_of(plaintext, CHUNK_BYTES)))


def open_content(key: bytes, sealed: bytes) -> bytes:
    """Open a whole STREAM held in memory; raise E_DECRYPT unless every byte is as it was sealed."""
    return b"".join(stream_open(key, chunks_of(sealed, CHUNK_BYTES + TAG_BYTES)))


# At rest (PROTOCOL 5, 6.5)


def stretch_passphrase(
    passphrase: str, salt: bytes, *, memory: int = ARGON2_MEMORY_BYTES, passes: int = ARGON2_PASSES
) -> bytes:
    """Return a 32-byte key from a person's passphrase by Argon2id; *memory* in bytes."""
    return nacl.pwhash.argon2id.kdf(32, passphrase.encode(), salt, opslimit=passes, memlimit=memory)


def seal_at_rest(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Return nonce (24) || XChaCha20-Poly1305 of *plaintext*, bound to *associated*."""
    nonce = random_bytes(NONCE_AT_REST_BYTES)
    return nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, associated, nonce, key
    )


def open_at_rest(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open what :func:`seal_at_rest` made; raise E_KEYRING if the key is another or a byte was changed."""
    nonce, ciphertext = sealed[:NONCE_AT_REST_BYTES], sealed[NONCE_AT_REST_BYTES:]
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, key)
    except (nacl.exceptions.CryptoError, nacl.exceptions.TypeError, ValueError):
        raise Refused(
            Code.E_KEYRING,
            "What is kept here does not open with this key: another key, or changed bytes.",
        ) from None


# The log's second signature (PROTOCOL 13.2)


def mldsa_public(seed: bytes) -> bytes:
    """Return the ML-DSA-44 public key (1312 bytes) of a 32-byte *seed* (FIPS 204)."""
    return mldsa.MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def mldsa_sign(seed: bytes, message: bytes) -> bytes:
    """Return the ML-DSA-44 signature of *message* with empty context (FIPS 204)."""
    return mldsa.MLDSA44PrivateKey.from_seed_bytes(seed).sign(message)


def self_test() -> None:
    """Refuse to start where the suite is not whole (PROTOCOL 5): ML-KEM, HPKE, ML-DSA, strict Ed25519.

    Raises Failed with exit code 69 and a sentence that names the missing part.
    """
    try:
        seed = bytes(range(32))
        vector = bytes.fromhex((files("keys") / "self_test.hpke").read_text("ascii"))
        if unwrap(seed, vector, b"poc24/1 self-test") != b"poc24 self-test: 32 bytes of key":
            raise Failed("The HPKE self-test opened to something else.")
        mldsa_public(seed)
    except (UnsupportedAlgorithm, Refused) as missing:
        raise Failed(
            "The cryptographic library on this machine has no working ML-KEM-768, HPKE or ML-DSA-44.",
            hint="Install the official wheel: pip install --force-reinstall 'cryptography>=48'. There is no fall-back.",
            exit_code=69,
        ) from missing
    try:
        verify(bytes([1]) + bytes(31), b"any message", bytes([1]) + bytes(63))
    except Refused:
        return
    raise Failed(
        "The Ed25519 verifier on this machine accepts a small-order key, under which anybody can sign anything.",
        hint="Install the official wheel: pip install --force-reinstall 'pynacl>=1.6.2'.",
        exit_code=69,
    )
