"""What was refused, parked or skipped, and why: so that nothing disappears without a word. The last 500 are kept."""

from typing import Any

from keys import statement
from keys.errors import Code
from relay.desk.archive import Archive
from relay.desk.sound import sound

NOTES_MAX = 500
TEXT_CHARACTERS_MAX = 600


class Notes:
    """The notes of one archive, newest last."""

    def __init__(self, archive: Archive) -> None:
        """Stand on *archive*."""
        self._archive = archive

    def add(
        self, now: int, event: str, subject: str, code: Code | str, text: str
    ) -> dict[str, Any]:
        """Note one thing in a commit of its own; return it as the event that watchers see."""
        value = {
            "event": event,
            "msg": subject,
            "code": str(code),
            "text": text[:TEXT_CHARACTERS_MAX],
            "at": now,
        }
        with self._archive.commit():
            last = self._archive.find("note", order="id DESC", limit=1, columns=())
            number = int(last[0]["id"]) + 1 if last else 1
            self._archive.put(
                "note", f"{number:012d}", {"at": now}, {"value": statement.encode(value)}
            )
            if number > NOTES_MAX:
                self._archive.purge("note", "id <= ?", (f"{number - NOTES_MAX:012d}",))
        return value

    def last(self, limit: int = 50, *, subject: str = "") -> list[dict[str, Any]]:
        """Return the last notes, newest first, of one message or of all."""
        rows = sound(self._archive, "note", order="id DESC")
        found = [statement.decode(row["value"]) for row in rows]
        return [one for one in found if not subject or one["msg"] == subject][:limit]
