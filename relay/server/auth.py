"""Who stands at the door: nonces for the challenge, bearer tokens for reads (PROTOCOL 12).

Both live in memory only. A restart forgets them; every device then simply connects again.
"""

from collections import OrderedDict
from dataclasses import dataclass

from keys import suite
from keys.errors import Code, Refused

NONCE_BYTES = 32
NONCE_S = 60
"""A challenge is answered within a minute or not at all."""
NONCES_MAX = 4096
"""Challenges that may be open at once; the oldest gives way, and its device asks for another."""
TOKEN_BYTES = 32
TOKEN_S = 15 * 60
TOKENS_PER_DEVICE_MAX = 4
"""Tokens of one device that are good at once: a renewal may overlap with calls under way."""
TOKENS_MAX = 65_536


class Nonces:
    """Challenges that were given out: each is good once, for 60 seconds."""

    def __init__(self, limit: int = NONCES_MAX) -> None:
        """Keep at most *limit* open challenges."""
        self._limit = limit
        self._open: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        """Return how many challenges are open, lapsed ones that nobody asked for included."""
        return len(self._open)

    def issue(self, now: int) -> str:
        """Return a fresh nonce, 64 hex digits, good until *now* + 60 s."""
        while self._open:
            nonce, until = next(iter(self._open.items()))
            if until > now and len(self._open) < self._limit:
                break
            del self._open[nonce]
        nonce = suite.random_bytes(NONCE_BYTES).hex()
        self._open[nonce] = now + NONCE_S
        return nonce

    def use(self, nonce: str, now: int) -> None:
        """Take the nonce out of circulation; E_AUTH unless it was given out here, is unused and is not too old."""
        until = self._open.pop(nonce, 0)
        if until <= now:
            raise Refused(
                Code.E_AUTH,
                "This challenge was not given out here, was answered before, or is older than a minute.",
                hint="Open the session again: every session begins with a challenge of its own.",
            )

    def drop(self, nonce: str) -> None:
        """Forget the nonce of a session that ended before it answered."""
        self._open.pop(nonce, None)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a token was given to. *until* in seconds UTC."""

    kid: str
    desk: str
    until: int


class Tokens:
    """Bearer tokens: 32 random bytes, 15 minutes, tied to a device, kept only as hashes."""

    def __init__(self, limit: int = TOKENS_MAX) -> None:
        """Keep at most *limit* tokens in all; the oldest give way."""
        self._limit = limit
        self._held: OrderedDict[bytes, Holder] = OrderedDict()
        self._of: dict[str, list[bytes]] = {}

    def __len__(self) -> int:
        """Return how many tokens are kept."""
        return len(self._held)

    def issue(self, kid: str, desk: str, now: int) -> tuple[str, int]:
        """Return a new token (64 hex digits) of the device *kid* of *desk*, and until when it is good."""
        while self._held:
            oldest, holder = next(iter(self._held.items()))
            if holder.until > now and len(self._held) < self._limit:
                break
            self._forget(oldest)
        token = suite.random_bytes(TOKEN_BYTES).hex()
        hashed = suite.sha256(token.encode())
        mine = self._of.setdefault(kid, [])
        if len(mine) >= TOKENS_PER_DEVICE_MAX:
            self._forget(mine[0])
            mine = self._of.setdefault(kid, [])
        mine.append(hashed)
        self._held[hashed] = Holder(kid, desk, now + TOKEN_S)
        return token, now + TOKEN_S

    def holder(self, token: str, now: int) -> Holder:
        """Return whom *token* belongs to; E_AUTH if it is unknown or has run out."""
        # Looked up by its hash: how long the look-up takes says nothing about another token.
        holder = self._held.get(suite.sha256(token.encode("utf-8", "surrogateescape")))
        if holder is None or holder.until <= now:
            raise Refused(
                Code.E_AUTH,
                "This read needs a bearer token that is good now.",
                hint="A token comes with `welcome` on the session and is renewed there; it lasts 15 minutes.",
            )
        return holder

    def revoke(self, kid: str) -> None:
        """Forget every token of a device, for example when the directory says that it is revoked."""
        for hashed in list(self._of.get(kid, ())):
            self._forget(hashed)

    def _forget(self, hashed: bytes) -> None:
        holder = self._held.pop(hashed, None)
        if holder is None:
            return
        mine = self._of[holder.kid]
        mine.remove(hashed)
        if not mine:
            del self._of[holder.kid]
