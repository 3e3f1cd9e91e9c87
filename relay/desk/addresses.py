"""Where the relay is: one address, or one for each of its instances; the next is taken when one does not answer.

An instance's tokens are its own, so what goes over HTTP goes to the instance that the session is with.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from keys.errors import Failed
from relay import errors

ADDRESSES_MAX = 8


class Addresses:
    """The addresses of one service, in the order of preference, and the one in use."""

    def __init__(self, text: str) -> None:
        """Take addresses with spaces between them, wss://host:port each; Failed (78) if one is none."""
        self._all = tuple(text.split())
        self._at = 0
        if not 0 < len(self._all) <= ADDRESSES_MAX:
            raise _wrong(text)
        for one in self._all:
            try:
                parts = urlsplit(one)
                fits = parts.scheme in {"ws", "wss", "http", "https"} and bool(parts.hostname)
            except ValueError:
                fits = False
            if not fits:
                raise _wrong(one)

    @classmethod
    def of(cls, found: "str | Addresses") -> "Addresses":
        """Return addresses as they are, or read them."""
        return found if isinstance(found, Addresses) else cls(found)

    def __iter__(self) -> Iterator[str]:
        """Return every address."""
        return iter(self._all)

    @property
    def current(self) -> str:
        """The address in use."""
        return self._all[self._at]

    def move_on(self) -> None:
        """Take the next one: the one in use does not answer."""
        self._at = (self._at + 1) % len(self._all)


def _wrong(text: str) -> Failed:
    return Failed(
        f"The relay's address {text[:200]!r} is not one.",
        hint="It looks like wss://relay.example:8424; several stand with spaces between them. See `url` in desk.toml.",
        exit_code=errors.CONFIGURATION,
    )
