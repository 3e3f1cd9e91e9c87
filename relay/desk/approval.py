"""Four eyes: which documents a second officer approves, what exactly is approved, and whose word that is. Pure.

An approval is a statement by another officer of the same desk about one text for one recipient. It is verified when the
text is handed over for sending, and kept beside it. It never leaves the desk: what a desk asks of its own officers is
its own affair, and a recipient could not check another desk's policy anyway.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from keys import statement
from keys.directory import Directory
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import Statement, peek
from relay.desk.documents import forms
from relay.wire.content import CLOCK_SKEW_SECONDS
from relay.wire.envelope import PRIORITIES

KIND = "approval"
WORDS = frozenset({*PRIORITIES, *forms.KINDS})
"""What a desk's policy may name: requests of a priority, or a kind of document."""
REFUSING = frozenset({"extension_decision"})
"""Kinds that refuse if they name a ground; a refusal of its own always does."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is approved: this text, for this desk, in this thread, in this way. All of it is signed."""

    body_sha256: str
    body_type: str
    to: str
    backup: str
    """The backup desk that may read it too, or ""."""
    thread: str
    """Statement sid of the message whose thread it is in, or "" where it opens one."""
    priority: str
    mode: str
    attachments: int = 0
    """How many files go with it."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A verified approval. *at*: seconds UTC."""

    officer: str
    """The handle of the officer who approved."""
    kid: str
    at: int
    sid: str


def why(
    stated: str, kind: str, document: Mapping[str, Any], priority: str, policy: Collection[str]
) -> str:
    """Return why a second officer has to approve a document before it is sent; "" if nobody has to.

    *stated* is the kind of the signed statement (request, answer, refusal, info), *kind* that of the document. A
    refusal always needs two: reasons have to be given, and they are read by another State.
    """
    if stated == "refusal" or (kind in REFUSING and "ground" in document):
        return "A refusal needs the approval of a second officer of this desk."
    if stated == "request" and priority in policy:
        return f"This desk's policy asks a second officer to approve {priority} requests."
    if kind in policy:
        return f"This desk's policy asks a second officer to approve a document of kind {kind}."
    return ""


def make(subject: Subject, *, desk: str, now: int, officer: Signer) -> Statement:
    """Return an officer's signed approval; *now* is seconds UTC."""
    return statement.make(KIND, {"desk": desk, "at": now, **asdict(subject)}, officer)


def read(
    wire: bytes,
    subject: Subject,
    *,
    directory: Directory,
    desk: str,
    now: int,
    over: bool = False,
) -> Approved:
    """Verify an approval of *subject* by an officer of *desk* who was in force then, and is now unless it is *over*.

    Raises E_SIGNER for anybody else, E_BINDING where something else was approved, E_CLOCK for one from the future,
    and what ``keys.statement.verify`` raises.
    """
    peeked = peek(wire)
    member = directory.officer(peeked.keyid)
    if member is None or member.desk != desk:
        raise Refused(Code.E_SIGNER, f"This approval is not by an officer of {desk}.")
    found = statement.verified(peeked, wire, {KIND}, member.officer_key)
    fields = dict(found.fields)
    at = fields.pop("at", None)
    if type(at) is not int or at > now + CLOCK_SKEW_SECONDS:
        raise Refused(Code.E_CLOCK, "This approval claims a time in the future, or none.")
    entries = directory.desk(desk).by_officer(peeked.keyid)
    if not any(one.was_active(at) and (over or one.active(now)) for one in entries):
        raise Refused(Code.E_SIGNER, f"{member.officer} of {desk} approved it and is not in force.")
    if fields != {"desk": desk, **asdict(subject)}:
        raise Refused(
            Code.E_BINDING,
            "Something else was approved: the text, its recipient or its urgency differs.",
            hint="Show it to the second officer again: desk approve DRAFT",
        )
    return Approved(member.officer, found.signer, at, found.sid)


def check_other(approved: Approved, *, officer: str, kid: str) -> None:
    """Refuse an approval by the officer who signs the text: *officer* is a handle, *kid* a key. E_SIGNER."""
    if approved.officer == officer or approved.kid == kid:
        raise Refused(
            Code.E_SIGNER,
            f"{approved.officer} approved this and signs it too: four eyes are those of two people.",
            hint="Let another officer of this desk approve it, or sign it.",
        )
