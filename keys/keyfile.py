r"""Private keys at rest: key rings of persons and of services, and files that nobody else may read (PROTOCOL 5).

::

    file   = "poc24/1 keyring\n" || u32(len header) || header || nonce (24) || XChaCha20-Poly1305(keys)
    header = {"kdf":"argon2id","memory":bytes,"passes":n,"salt":b64u,"v":1}     a person: opened by a passphrase
           | {"kdf":"hkdf","salt":b64u,"v":1}                                   a service: opened by a 32-byte key

Everything before the nonce is associated data, so no parameter can be changed; weaker parameters than PROTOCOL 5 asks
for are refused on reading. A service ring opens without Argon2id, so that a relay or a desk starts unattended after a
power cut; its key comes from a credential file or a file descriptor, never from arguments or the environment.
"""

import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keys import statement, suite
from keys.errors import Code, Failed, Refused
from keys.identity import Role, Signer
from keys.shape import closed, integer, listed, one_of, text

LABEL = b"poc24/1 keyring\n"
MEMORY_MIN = suite.ARGON2_MEMORY_BYTES
PASSES_MIN = suite.ARGON2_PASSES
MEMORY_MAX = 2 * 1024**3
PASSES_MAX = 32
RING_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MAX = 1024
KEYS_MAX = 1000
CREDENTIAL_BYTES = 32
PASSPHRASE_CHARACTERS_MIN = 12
ARCHIVE = "archive"
"""Label of a device ring's archive key, which opens the desk's archive and signs nothing."""


@dataclass(frozen=True, slots=True)
class Held:
    """One private key: 32 bytes of seed, what it is for, and when it was made (seconds UTC)."""

    role: Role
    seed: bytes = field(repr=False)
    label: str = ""
    desk: str = ""
    created: int = 0
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    def signer(self) -> Signer:
        """Return the key pair."""
        return Signer(self.role, self.seed)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The private keys of one person or one service."""

    held: tuple[Held, ...]

    def one(self, role: Role, label: str | None = None) -> Held:
        """Return the first key of a role, with a label if one is given; E_KEYRING if there is none.

        Without a label, keys that sign nothing (see :data:`ARCHIVE`) are passed over.
        """
        for held in self.held:
            if held.role is role and (
                held.label == label if label is not None else held.label != ARCHIVE
            ):
                return held
        named = f" called {label!r}" if label is not None else ""
        raise Refused(
            Code.E_KEYRING,
            f"This key ring holds no {role} key{named}.",
            hint="It may be another person's or device's ring; `keys show` says what a ring holds.",
        )

    def signer(self, role: Role) -> Signer:
        """Return the key pair of a role; E_KEYRING if the ring has none."""
        return self.one(role).signer()


def _encode(ring: KeyRing) -> bytes:
    keys = [
        {
            "created": one.created,
            "desk": one.desk,
            "extra": dict(one.extra),
            "label": one.label,
            "role": str(one.role),
            "seed": statement.b64u(one.seed),
        }
        for one in ring.held
    ]
    return statement.encode({"keys": keys, "v": 1})


def _decode(data: bytes) -> KeyRing:
    raw = closed(statement.decode(data), {"keys", "v"}, "a key ring")
    if raw["v"] != 1:
        raise Refused(Code.E_VERSION, "The version of this key ring is not 1.")
    return KeyRing(tuple(_held(one) for one in listed(raw["keys"], "keys", KEYS_MAX)))


def _held(value: object) -> Held:
    raw = closed(value, {"created", "desk", "extra", "label", "role", "seed"}, "a kept key")
    extra = closed(raw["extra"], None, "extra")
    seed = statement.unb64u(text(raw["seed"], "seed", 64))
    if len(seed) != suite.SEED_BYTES:
        raise Refused(
            Code.E_KEYRING, f"A seed in this key ring does not have {suite.SEED_BYTES} bytes."
        )
    return Held(
        Role(one_of(raw["role"], tuple(Role), "role")),
        seed,
        text(raw["label"], "label", 200),
        text(raw["desk"], "desk", 16),
        integer(raw["created"], "created"),
        {name: text(word, name, 4096) for name, word in extra.items()},
    )


def _head(header: Mapping[str, Any]) -> bytes:
    encoded = statement.encode(header)
    return LABEL + len(encoded).to_bytes(4, "big") + encoded


def seal_person(ring: KeyRing, passphrase: str) -> bytes:
    """Return the key ring of a person, sealed by a passphrase (Argon2id, 256 MiB, 3 passes: about 0.8 s)."""
    salt = suite.random_bytes(suite.ARGON2_SALT_BYTES)
    header = {
        "kdf": "argon2id",
        "memory": MEMORY_MIN,
        "passes": PASSES_MIN,
        "salt": statement.b64u(salt),
        "v": 1,
    }
    head = _head(header)
    key = _stretch(passphrase, salt, MEMORY_MIN, PASSES_MIN)
    return head + suite.seal_at_rest(key, _encode(ring), head)


def seal_service(ring: KeyRing, key: bytes) -> bytes:
    """Return the key ring of a service, sealed by a 32-byte *key*."""
    salt = suite.random_bytes(suite.ARGON2_SALT_BYTES)
    head = _head({"kdf": "hkdf", "salt": statement.b64u(salt), "v": 1})
    return head + suite.seal_at_rest(_derive(key, salt), _encode(ring), head)


def _stretch(passphrase: str, salt: bytes, memory: int, passes: int) -> bytes:
    normal = unicodedata.normalize("NFC", passphrase)  # the same keys pressed on another system
    return suite.stretch_passphrase(normal, salt, memory=memory, passes=passes)


def _derive(key: bytes, salt: bytes) -> bytes:
    if len(key) != CREDENTIAL_BYTES:
        raise Refused(
            Code.E_KEYRING,
            f"The key of a service's key ring has {CREDENTIAL_BYTES} bytes, this one has {len(key)}.",
        )
    return suite.hkdf(key, salt=salt, info=LABEL, length=32)


def _cut(data: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    """Return associated data, header and sealed part of a ring's file."""
    begins = len(LABEL) + 4
    size = int.from_bytes(data[len(LABEL) : begins], "big")
    ends = begins + size
    if not data.startswith(LABEL) or size > HEADER_BYTES_MAX or len(data) < ends:
        raise Refused(
            Code.E_KEYRING,
            "This file is not a key ring of poc24, version 1.",
            hint="Key rings are made by `keys` and end in .ring.",
        )
    if len(data) > RING_BYTES_MAX:
        raise Refused(Code.E_TOO_LARGE, f"A key ring may have {RING_BYTES_MAX} bytes.")
    return data[:ends], statement.decode(data[begins:ends]), data[ends:]


def is_service(data: bytes) -> bool:
    """Whether a ring's file is a service's; E_KEYRING if it is no key ring."""
    return _cut(data)[1].get("kdf") == "hkdf"


def open_ring(data: bytes, *, passphrase: str | None = None, key: bytes | None = None) -> KeyRing:
    """Open a key ring by its passphrase (a person's) or its 32-byte key (a service's); E_KEYRING with a sentence."""
    head, header, sealed = _cut(data)
    salt = statement.unb64u(text(header.get("salt"), "salt", 64))
    if header.get("v") != 1 or len(salt) != suite.ARGON2_SALT_BYTES:
        raise Refused(Code.E_KEYRING, "The header of this key ring is not of version 1.")
    if header.get("kdf") == "hkdf":
        closed(header, {"kdf", "salt", "v"}, "a key ring's header")
        if key is None:
            raise Refused(
                Code.E_KEYRING,
                "This is a service's key ring: it opens with a key file, not with a passphrase.",
                hint="Give its key with --credential-file FILE.",
            )
        return _open(_derive(key, salt), sealed, head, "The key file does not open this key ring")
    closed(header, {"kdf", "memory", "passes", "salt", "v"}, "a key ring's header")
    memory, passes = _parameters(header)
    if passphrase is None:
        raise Refused(
            Code.E_KEYRING,
            "This is a person's key ring: it opens with a passphrase.",
            hint="Type it when asked, or give it on a descriptor with --passphrase-fd N.",
        )
    stretched = _stretch(passphrase, salt, memory, passes)
    return _open(stretched, sealed, head, "Wrong passphrase for this key ring")


def _open(key: bytes, sealed: bytes, head: bytes, wrong: str) -> KeyRing:
    try:
        opened = suite.open_at_rest(key, sealed, head)
    except Refused:
        raise Refused(
            Code.E_KEYRING,
            f"{wrong}, or the file was changed.",
            hint="Try again; nothing was written. If it is certainly right, take the copy from the safe.",
        ) from None
    return _decode(opened)


def _parameters(header: Mapping[str, Any]) -> tuple[int, int]:
    memory, passes = integer(header["memory"], "memory"), integer(header["passes"], "passes")
    if header["kdf"] != "argon2id" or memory < MEMORY_MIN or passes < PASSES_MIN:
        raise Refused(
            Code.E_KEYRING,
            "This key ring is protected more weakly than is allowed, so it is not opened.",
            hint=f"Argon2id with at least {MEMORY_MIN // 1024**2} MiB and {PASSES_MIN} passes is asked for.",
        )
    if memory > MEMORY_MAX or passes > PASSES_MAX:
        raise Refused(
            Code.E_KEYRING, "This key ring asks for more memory or time than is sensible."
        )
    return memory, passes


# Files that nobody else may read


def write_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write a file of mode 0600, whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Refuses to overwrite what is there unless *replace*. Raises Failed with exit code 73.
    """
    temporary = path.with_name(f".{path.name}.{suite.random_bytes(8).hex()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                temporary.replace(path)
            else:
                os.link(temporary, path)  # unlike rename, fails where something is
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise Failed(
            f"{path} is there already and is not overwritten.",
            hint="Move it away first, or choose another place.",
            exit_code=73,
        ) from None
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.", exit_code=73) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_private(path: Path) -> bytes:
    """Read a file that must be nobody else's to read; Failed with the line to type if it is (exit code 77 or 78)."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
                raise Failed(
                    f"{path} can be read by others on this machine, so its keys are not safe and it is not used.",
                    hint=f"Type: chmod 600 {path}",
                    exit_code=77,
                )
            data = file.read(RING_BYTES_MAX + 1)
    except PermissionError:
        raise Failed(f"{path} may not be read by this account.", exit_code=77) from None
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}.", exit_code=78) from error
    if len(data) > RING_BYTES_MAX:
        raise Failed(f"{path} is far too large for a file of keys.", exit_code=78)
    return data


def read_credential(path: Path | None = None, *, fd: int | None = None) -> bytes:
    """Return a service's 32-byte key from a private file, or from a file descriptor that was handed over."""
    if fd is not None:
        try:
            with os.fdopen(fd, "rb") as file:
                data = file.read(CREDENTIAL_BYTES + 1)
        except OSError as error:
            raise Failed(
                f"Descriptor {fd} cannot be read: {error.strerror}.", exit_code=78
            ) from error
        where = f"descriptor {fd}"
    elif path is not None:
        data, where = read_private(path), str(path)
    else:
        raise Failed(
            "No key file is given.", hint="Give it with --credential-file FILE.", exit_code=78
        )
    if len(data) != CREDENTIAL_BYTES:
        raise Failed(
            f"A service's key has exactly {CREDENTIAL_BYTES} bytes; {where} has another size.",
            hint="`keys enrol` and `keys ceremony` make key files.",
            exit_code=78,
        )
    return data
