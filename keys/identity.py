"""Key pairs and public identities by role; fingerprints to be read over the telephone (PROTOCOL 5, 7)."""

from dataclasses import dataclass, field
from enum import StrEnum

import segno

from keys import suite
from keys.errors import Code, Refused


class Role(StrEnum):
    """Who holds a key (PROTOCOL 7); a key has one role for life and is never converted into another kind."""

    ROOT = "root"
    REGISTRAR = "registrar"
    FRESHNESS = "freshness"
    DESK = "desk"
    OFFICER = "officer"
    DEVICE = "device"
    RELAY = "relay"
    LOG = "log"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True)
class Identity:
    """A public key with its role. *public* has 32 bytes and is in the prime-order subgroup."""

    role: Role
    public: bytes

    def __post_init__(self) -> None:
        """Refuse dishonest keys at the door, wherever an identity is made."""
        suite.check_public(self.public)

    @property
    def kid(self) -> str:
        """The key identifier, 64 hex digits (PROTOCOL 5)."""
        return suite.kid_of(self.public)

    @property
    def fingerprint(self) -> str:
        """The key identifier as digits for the telephone."""
        return fingerprint(self.kid)

    def line(self) -> str:
        """Return the identity as one line that can be copied, e.g. ``poc24-officer-<64 hex digits>``."""
        return f"poc24-{self.role}-{self.public.hex()}"

    @classmethod
    def parse(cls, line: str) -> "Identity":
        """Read what :meth:`line` wrote; E_ENCODING for anything else, E_KEY for a dishonest key."""
        parts = line.strip().split("-")
        if (
            len(parts) != 3
            or parts[0] != "poc24"
            or parts[1] not in set(Role)
            or len(parts[2]) != 2 * suite.PUBLIC_BYTES
        ):
            raise Refused(
                Code.E_ENCODING,
                "This is not a public identity.",
                hint="It looks like poc24-officer-<64 hex digits>; `keys show FILE` prints it.",
            )
        try:
            public = bytes.fromhex(parts[2])
        except ValueError:
            raise Refused(
                Code.E_ENCODING, "The key in this identity is not made of hex digits."
            ) from None
        return cls(Role(parts[1]), public)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key pair that can sign. The seed never shows in a representation, a log or an error."""

    role: Role
    seed: bytes = field(repr=False)
    secret: bytes = field(init=False, repr=False, compare=False)
    identity: Identity = field(init=False, compare=False)
    kid: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Expand the seed once; every signature uses the expanded form."""
        secret = suite.expand(self.seed)
        object.__setattr__(self, "secret", secret)
        object.__setattr__(self, "identity", Identity(self.role, secret[suite.SEED_BYTES :]))
        object.__setattr__(self, "kid", self.identity.kid)

    @classmethod
    def generate(cls, role: Role) -> "Signer":
        """Make a new key pair from the operating system's randomness."""
        return cls(role, suite.random_bytes(suite.SEED_BYTES))

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self.identity.public

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of *message*."""
        return suite.sign(self.secret, message)


def fingerprint(kid: str) -> str:
    """Return a key id as 12 groups of 5 digits, to be read aloud and compared.

    Each group is two bytes of the identifier's first 24, so 192 bits are compared; 65535 is the largest group.
    """
    digest = bytes.fromhex(kid)
    return " ".join(f"{int.from_bytes(digest[at : at + 2], 'big'):05d}" for at in range(0, 24, 2))


def qr(text: str) -> segno.QRCode:
    """Return a QR code of a public identity or fingerprint, to be shown on a terminal or saved as SVG or PNG."""
    return segno.make(text, error="m", micro=False)
