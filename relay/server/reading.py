"""The reading room: bodies that are being read, and how much of the memory for them one caller may fill.

A submission proves itself only after it was read, so somebody without a name can make the relay hold bytes. Three lanes
keep that from becoming everybody's trouble: what strangers fill is never what a proven desk needs, one address or desk
never fills a lane, and whoever stops sending loses the place within seconds.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import StrEnum

from keys import directory as directories
from keys.errors import Code, Refused

PATIENCE_S = 10.0
"""How long a body may stand still; what arrives earns it back, so that dripping is no way to stay."""
SLOWEST_BYTES_PER_S = 32 * 1024
"""A bad line is no crime: at this speed nobody is cut off."""

MIB = 1024 * 1024


class Lane(StrEnum):
    """Who is sending: desks that a bearer token proves, strangers, and strangers with a directory."""

    DESKS = "desks"
    STRANGERS = "strangers"
    DIRECTORIES = "directories"


TOTAL_BYTES_MAX = {
    Lane.DESKS: 64 * MIB,
    Lane.STRANGERS: 48 * MIB,
    Lane.DIRECTORIES: 96 * MIB,
}
"""Bodies being read at once in a lane, in bytes that have arrived."""
EACH_BYTES_MAX = {
    Lane.DESKS: 16 * MIB,
    Lane.STRANGERS: 12 * MIB,
    Lane.DIRECTORIES: directories.PACK_BYTES_MAX,
}
"""What one desk or one address may have there."""


class ReadingRoom:
    """The lanes of one relay."""

    def __init__(self, full: Callable[[str], None]) -> None:
        """*full* hears the name of a limit whenever one turns somebody away."""
        self._full = full
        self._lanes: Counter[Lane] = Counter()
        self._each: Counter[tuple[Lane, str]] = Counter()

    def held(self, lane: Lane, who: str = "") -> int:
        """Return how many bytes are held in a lane, or of one caller there."""
        return self._each[lane, who] if who else self._lanes[lane]

    async def read(
        self,
        chunks: AsyncIterator[bytes],
        lane: Lane,
        who: str,
        *,
        limit: int,
        announced: int | None,
    ) -> bytes:
        """Return a body of at most *limit* bytes; E_TOO_LARGE as soon as it is clear that it is larger.

        E_BUSY when the lane or the caller's part of it is full, and when the body stands still. A caller "" has no part
        of its own: somebody whom nobody can tell apart.
        """
        if announced is not None and announced > limit:
            raise self._too_large(limit)
        self._check(lane, who, limit if announced is None else announced)
        loop = asyncio.get_running_loop()
        found: list[bytes] = []
        size, patience, asked = 0, PATIENCE_S, loop.time()
        arriving = aiter(chunks)
        try:
            while True:
                async with asyncio.timeout_at(asked + patience):
                    chunk = await anext(arriving, None)
                if chunk is None:
                    return b"".join(found)
                patience, asked = patience - (loop.time() - asked), loop.time()
                patience = min(PATIENCE_S, patience + len(chunk) / SLOWEST_BYTES_PER_S)
                size += len(chunk)
                self._take(lane, who, len(chunk))
                if size > limit:
                    raise self._too_large(limit)
                self._check(lane, who, 0)  # many began while there was room
                found.append(chunk)
        except TimeoutError:
            self._full("slow_sender")
            raise Refused(
                Code.E_BUSY,
                f"The body stood still for {PATIENCE_S:.0f} s, or came slower than 32 KiB a second.",
                hint="Send the same again when the line is better.",
            ) from None
        finally:
            self._take(lane, who, -size)

    def _take(self, lane: Lane, who: str, size: int) -> None:
        self._lanes[lane] += size
        self._each[lane, who] += size
        if not self._each[lane, who]:
            del self._each[lane, who]

    def _check(self, lane: Lane, who: str, more: int) -> None:
        """Refuse *more* bytes of a caller where they would not fit beside what is being read already."""
        if self._lanes[lane] + more > TOTAL_BYTES_MAX[lane]:
            what = "The relay is reading as much as it can."
        elif who and self._each[lane, who] + more > EACH_BYTES_MAX[lane]:
            what = "This caller is sending more at once than one caller may."
        else:
            return
        self._full("body")
        raise Refused(Code.E_BUSY, what, hint="Send the same again.")

    def _too_large(self, limit: int) -> Refused:
        self._full("body")
        return Refused(
            Code.E_TOO_LARGE,
            f"The body has more than {limit} bytes, which is all that this call takes.",
        )
