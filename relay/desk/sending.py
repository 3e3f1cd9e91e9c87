"""One text on its way out: how it stands in the outbox, and the submission of what was sealed of it. Pure."""

from dataclasses import dataclass, field

from keys import suite
from keys.identity import Signer
from keys.statement import Statement
from relay.desk.archive import Row
from relay.desk.letters import Letter
from relay.wire import receipt


@dataclass(frozen=True, slots=True)
class Sending:
    """One text on its way, under its current message id; "" while it is not sealed yet."""

    letter: Letter
    msg: str
    state: str
    attempts: int
    replaces: str
    resent: bool
    stale: bool
    """The officer overrode an expired directory for this message (PROTOCOL 8.5)."""
    cek: bytes = field(repr=False)
    envelope: bytes = field(repr=False)
    submission: bytes = field(repr=False)
    reason: str

    @classmethod
    def of(cls, row: Row, letter: Letter) -> "Sending":
        """Return what a row of the outbox says of *letter*."""
        return cls(
            letter,
            row["msg"],
            row["state"],
            row["attempts"],
            row["replaces"],
            bool(row["resent"]),
            bool(row["stale"]),
            row["cek"],
            row["envelope"],
            row["submission"],
            row["reason"].decode(),
        )


def submission(
    letter: Letter, sealed: bytes, *, service: str, replaces: str, now: int, device: Signer
) -> Statement:
    """Sign that this device hands in these bytes, with the attachments that the officer signed (PROTOCOL 10)."""
    header = letter.header
    fields = {
        "msg": suite.sha256(sealed).hex(),
        "size": len(sealed),
        "from": header.sender,
        "to": header.to,
        "relay": service,
        "header_sha256": header.sha256,
        "blobs": [one["blob"] for one in letter.statement["attachments"]],
        "replaces": replaces,
        "created": now,
    }
    return receipt.make("submission", fields, device)
