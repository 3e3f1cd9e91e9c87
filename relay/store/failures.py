"""What went wrong with the store's file, as sentences that say what to do next."""

import errno
from pathlib import Path

from keys.errors import Failed

RESTORE = "Keep the file as it is, and restore the latest backup: relay/store/README.md says how."


def damaged_file(path: Path, what: str) -> Failed:
    """Return the sentence for a file that can be read but is not what was written."""
    return Failed(f"The store {path} is damaged ({what}).", hint=RESTORE)


def explain(error: Exception, path: Path) -> Failed:
    """Make a sentence of what SQLite or anything else raised while the store worked.

    Whatever it was, a commit that it ended is unknown, and never to be called rejected: nine in ten
    failed commits were in fact durable afterwards.
    """
    if isinstance(error, Failed):
        return error
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if name == "SQLITE_FULL" or getattr(error, "errno", 0) == errno.ENOSPC:
        return Failed(
            f"The disk that holds the store {path} is full; the last commit may or may not be kept.",
            hint="Make room, then start the relay again. All that was accepted is there.",
            exit_code=75,
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Failed(
            f"Another program has the store {path} open.",
            hint="Close it (an sqlite3 shell, a backup job), then start the relay again.",
            exit_code=75,
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return Failed(
            f"The store {path} cannot be opened for writing ({error}).",
            hint="Look at its owner and mode, and whether its disk is mounted read-only.",
            exit_code=73,
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damaged_file(path, str(error))
    return Failed(
        f"The store {path} failed ({name}: {error}); the last commit may or may not be kept.",
        hint="Start the relay again: it checks the file before it serves. All that was accepted is"
        " there.",
    )
