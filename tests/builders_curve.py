"""Ed25519 from the equations (RFC 8032), in plain integers: to make the keys and signatures that nobody honest makes.

A key is a point A = a·B + torsion, a signature a point R = r·B + torsion and a number S. Each may be of small order, of
mixed order, or written in a way that is not the one; S may be too large; and the equation may hold exactly, or only
after both sides were multiplied by 8. :func:`forgeries` makes every combination, each with a message under which it is
as valid as it can be. :func:`plain` is a verifier from which one check at a time can be left out.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)
"""A square root of -1."""

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    """Return the sum of two points; the formula is complete, so it holds for every pair."""
    (x1, y1), (x2, y2) = one, other
    cross = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, -1, P) % P
    return x, y


def times(number: int, point: Point) -> Point:
    """Return a multiple of a point, in extended coordinates to save inversions."""
    total, power = (0, 1, 1, 0), (point[0], point[1], 1, point[0] * point[1] % P)
    while number:
        if number & 1:
            total = _sum(total, power)
        power = _sum(power, power)
        number >>= 1
    inverse = pow(total[2], -1, P)
    return total[0] * inverse % P, total[1] * inverse % P


def _sum(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def encode(point: Point) -> bytes:
    """Return the one encoding: y, and the lowest bit of x on top."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """Return the point of an encoding, also of one that is not the only one; None if there is none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, (number & (1 << 255) - 1) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT % P
    if x * x % P != square:
        return None
    return (P - x if x & 1 != sign and x else x), y


@cache
def base() -> Point:
    """Return the base point: y = 4/5, x even."""
    found = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert found is not None
    return found


@cache
def torsion() -> tuple[Point, ...]:
    """Return the eight points whose eightfold is the neutral one, as multiples of one of order 8."""
    y = 2
    while True:
        y += 1
        found = decode(y.to_bytes(32, "little"))
        if found is None:
            continue
        small = times(L, found)
        if times(4, small) != NEUTRAL:
            return tuple(times(number, small) for number in range(8))


def encodings(point: Point) -> tuple[bytes, ...]:
    """Return every 32 bytes that :func:`decode` reads as this point: the right ones first."""
    x, y = point
    ys = [y, *([y + P] if y + P < 2**255 else [])]
    signs = [x & 1, *([1] if x == 0 else [])]
    return tuple((one | sign << 255).to_bytes(32, "little") for one in ys for sign in signs)


def honest(data: bytes) -> bool:
    """Whether an encoding is a public key that PROTOCOL 5.2 allows: canonical, of prime order, not the neutral point."""
    point = decode(data)
    return (
        point is not None
        and encode(point) == data
        and point != NEUTRAL
        and times(L, point) == NEUTRAL
    )


def hashed(*parts: bytes) -> int:
    """Return SHA-512 as a number, little-endian."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def secrets_of(seed: bytes) -> tuple[int, bytes]:
    """Return the secret number of a seed and the prefix for its nonces (RFC 8032, 5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    number = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    return number, digest[32:]


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the signature that RFC 8032 describes."""
    secret, prefix = secrets_of(seed)
    public, nonce = encode(times(secret, base())), hashed(prefix, message) % L
    first = encode(times(nonce, base()))
    number = (nonce + hashed(first, public, message) * secret) % L
    return first + number.to_bytes(32, "little")


def plain(
    public: bytes,
    message: bytes,
    signature: bytes,
    *,
    cofactored: bool = False,
    bounded: bool = True,
    canonical: bool = True,
    small: bool = True,
    prime: bool = True,
    reencoded: bool = False,
) -> bool:
    """Verify by the equation. *bounded*: S < L; *canonical*: one encoding each; *small*: no point of small order;
    *prime*: the key is of prime order; *cofactored*: both sides times 8; *reencoded*: hash what was read, not what came.
    """
    first, last = signature[:32], int.from_bytes(signature[32:], "little")
    key, nonce = decode(public), decode(first)
    if key is None or nonce is None:
        return False
    if bounded and last >= L:
        return False
    if canonical and (encode(key) != public or encode(nonce) != first):
        return False
    if small and (times(8, key) == NEUTRAL or times(8, nonce) == NEUTRAL):
        return False
    if prime and not honest(public):
        return False
    named = (encode(nonce), encode(key)) if reencoded else (first, public)
    right = add(nonce, times(hashed(*named, message), key))
    left = times(last, base())
    return times(8, left) == times(8, right) if cofactored else left == right


@dataclass(frozen=True, slots=True)
class Forgery:
    """A key, a message and a signature, and what is wrong with them."""

    public: bytes
    message: bytes
    signature: bytes
    key: str
    """honest, mixed or small."""
    nonce: str
    """honest, mixed or small."""
    exact: bool
    """Whether the equation holds as it stands, or only after a multiplication by 8."""
    more: int
    """How often L was added to S."""
    reencoded: bool
    """Whether what was hashed is the canonical spelling and not the one that is sent."""
    odd: frozenset[str] = field(default_factory=frozenset)
    """Which of key and nonce are written otherwise than in the one way."""

    @property
    def wrong(self) -> bool:
        """Whether anything is: the only right one is honest, exact, small enough and written in one way."""
        fine = self.key == self.nonce == "honest" and self.exact
        return not fine or bool(self.more or self.odd)


Spelled = tuple[str, int, Point, bytes]
"""What sort of point, its multiple of the generator of the torsion, the point, and one spelling of it."""


def _points(secret: int) -> Iterator[Spelled]:
    """Yield a point of every sort with this secret number, in every spelling."""
    pure = times(secret, base())
    for number, small in enumerate(torsion()):
        sort = "mixed" if number else "honest"
        yield sort, number, add(pure, small), encode(add(pure, small))
    for number, small in enumerate(torsion()):
        for spelled in encodings(small):
            yield "small", number, small, spelled


def forgeries() -> Iterator[Forgery]:
    """Yield every combination of key, nonce, residue, size of S and spelling."""
    secret, nonce = (hashed(name) % L for name in (b"poc24 secret", b"poc24 nonce"))
    for key in _points(secret):
        for first in _points(nonce):
            for exact in (True, False):
                for reencoded in (False, True):
                    yield from _made((secret, nonce), key, first, exact=exact, reencoded=reencoded)


def _made(
    numbers: tuple[int, int], key: Spelled, first: Spelled, *, exact: bool, reencoded: bool
) -> Iterator[Forgery]:
    key_sort, key_torsion, key_point, public = key
    nonce_sort, nonce_torsion, nonce_point, spelled = first
    names = (("key", key_point, public), ("nonce", nonce_point, spelled))
    odd = frozenset(name for name, point, data in names if encode(point) != data)
    if reencoded and not odd:
        return
    secret = 0 if key_sort == "small" else numbers[0]
    nonce = 0 if nonce_sort == "small" else numbers[1]
    named = (encode(nonce_point), encode(key_point)) if reencoded else (spelled, public)
    for attempt in range(200):
        message = b"message %d" % attempt
        challenge = hashed(*named, message)
        if ((nonce_torsion + challenge * key_torsion) % 8 == 0) is exact:
            break
    else:
        return  # no message does: nothing of small order is in it, or always the same
    number = (nonce + challenge * secret) % L
    for more in (0, 1, 8):
        last = (number + more * L).to_bytes(32, "little")
        yield Forgery(
            public, message, spelled + last, key_sort, nonce_sort, exact, more, reencoded, odd
        )
