"""Where newer directories come from besides the network: a folder that the freshness automaton writes, or a pack."""

import asyncio
from pathlib import Path

from keys import directory as directories
from keys.errors import Failed
from keys.trust import NAME

TIMESTAMP = "timestamp.json"
EVERY_S = 10
"""How often the folder is looked at."""


class Folder:
    """A folder in the form that ``keys`` publishes; read again only when its timestamp.json has changed."""

    def __init__(self, path: Path) -> None:
        """Watch *path*."""
        self.path = path
        self._seen = b""

    async def newer(self) -> dict[str, bytes] | None:
        """Return all directory files if the timestamp is another one than last time; None otherwise.

        Failed if the folder cannot be read: the relay goes on with the directory that it has.
        """
        return await asyncio.to_thread(self._newer)

    def _newer(self) -> dict[str, bytes] | None:
        try:
            timestamp = (self.path / TIMESTAMP).read_bytes()
            if timestamp == self._seen:
                return None
            files: dict[str, bytes] = {}
            size = 0
            for found in sorted(self.path.rglob("*.json")):
                name = found.relative_to(self.path).as_posix()
                size += found.stat().st_size
                if size > directories.PACK_BYTES_MAX or len(files) >= directories.PACK_FILES_MAX:
                    raise Failed(
                        f"The folder {self.path} holds more than a directory can have.",
                        exit_code=78,
                    )
                if NAME.match(name):
                    files[name] = found.read_bytes()
        except OSError as error:
            raise Failed(
                f"The directory's folder {self.path} cannot be read: {error.strerror}.",
                hint="It must hold timestamp.json and what that names; `keys freshen` writes it.",
                exit_code=78,
            ) from None
        files[TIMESTAMP] = timestamp
        self._seen = timestamp
        return files


def read_pack(path: Path) -> dict[str, bytes]:
    """Read one file that ``keys publish`` made; Failed or Refused with a sentence."""
    try:
        if path.stat().st_size > directories.PACK_BYTES_MAX:
            raise Failed(f"{path} is larger than a directory can be.", exit_code=78)
        return directories.unpack(path.read_bytes())
    except OSError as error:
        raise Failed(
            f"The directory pack {path} cannot be read: {error.strerror}.",
            hint="`keys publish` makes one.",
            exit_code=78,
        ) from None
