"""The running desk's verbs for what is not sent yet, and for how often it cries emergency."""

import json
from typing import Any

from keys.errors import Code, Refused
from keys.statement import unb64u
from relay.desk.clock import ComparedClock
from relay.desk.documents.reading import printable
from relay.desk.drafts import Drafts
from relay.desk.letters import Letters
from relay.desk.roster import Roster
from relay.desk.statistics import statistics


class Drafting:
    """The part of :class:`relay.desk.service.Desk` that keeps drafts and their approvals."""

    def __init__(
        self, drafts: Drafts, letters: Letters, roster: Roster, clock: ComparedClock
    ) -> None:
        """Stand on the desk's rooms."""
        self._drafts = drafts
        self._counted = letters, roster
        self._told = clock

    async def drafts(self) -> dict[str, Any]:
        """List what was written here and not sent yet, the newest first, without the texts."""
        return {"drafts": self._drafts.listed(self._told.now())}

    async def draft(self, draft: str) -> dict[str, Any]:
        """Return one draft whole, with what a second officer would sign. *draft*: six or more digits of its id."""
        return self._drafts.shown(draft, self._told.now())

    async def keep_draft(self, draft: str, value: str) -> dict[str, Any]:
        """Keep a draft (JSON of the fields of ``drafts.Draft``), new where *draft* is ""; an approval is void then."""
        try:
            found = json.loads(value)
        except ValueError as error:
            raise Refused(Code.E_DOCUMENT, f"A draft is JSON: {printable(str(error))}.") from None
        if not isinstance(found, dict):
            raise Refused(Code.E_DOCUMENT, "A draft is an object of JSON.")
        kept = self._drafts.keep(draft, found, self._told.now())
        return self._drafts.shown(kept, self._told.now())

    async def drop_draft(self, draft: str) -> dict[str, Any]:
        """Delete a draft that was not sent."""
        return {"draft": self._drafts.drop(draft), "state": "dropped"}

    async def approve(self, draft: str, statement: str) -> dict[str, Any]:
        """Verify and keep another officer's signed approval (base64url) of a draft."""
        self._drafts.approve(draft, unb64u(statement), self._told.now())
        return self._drafts.shown(draft, self._told.now())

    async def statistics(self, since: int) -> dict[str, Any]:
        """Count requests by priority since a time, seconds UTC."""
        letters, roster = self._counted
        return statistics(letters, roster.desk, since)
