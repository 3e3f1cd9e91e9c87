"""From a document and an officer's key to what the running desk seals. Pure: time and dice come in.

A message is header, statement and body. The officer signs here, at the command line or the console;
the running desk gets the three, checks them as a recipient would, and seals. It never sees the key.
An answer is an ordinary message in the other direction, in the request's thread, and a ``closed``
that names the answer's statement (PROTOCOL 10.2, 10.3).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from keys import statement
from keys.errors import Code, Refused
from keys.identity import Signer
from keys.statement import Statement
from relay.desk.documents import forms
from relay.desk.documents.reading import printable
from relay.wire import content, receipt
from relay.wire.envelope import EXPIRY_SECONDS_MAX, Header


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a priority asks for, in seconds (DESIGN 5); a desk may publish stricter ones."""

    acknowledge_s: int
    """Within which a person acknowledges: the header's ``ack_by``."""
    decide_s: int
    """Within which the asked desk accepts, refuses or asks."""


CLOCKS: Mapping[str, Clocks] = MappingProxyType(
    {
        "emergency": Clocks(15 * 60, 2 * 3600),
        "urgent": Clocks(60 * 60, 24 * 3600),
        "routine": Clocks(24 * 3600, 7 * 86400),
    }
)
ACK_SECONDS_MIN = 60
DOCUMENT_BYTES_MAX = content.BODY_BYTES_MAX
NOTE_TYPE = "text/plain;charset=utf-8"
"""Body of a short note that belongs to no form: why a request is not for this desk."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A signed message, ready to be handed to the running desk."""

    header: Header
    statement: Statement
    body: bytes = field(repr=False)

    def handed_over(self) -> dict[str, str]:
        """Return the arguments of the verb ``send``, in base64url."""
        return {
            "header": statement.b64u(self.header.encode()),
            "statement": statement.b64u(self.statement.wire),
            "body": statement.b64u(self.body),
        }


def read_document(data: bytes) -> dict[str, Any]:
    """Read a document as an officer's editor saved it; E_DOCUMENT with the place of a mistake.

    Spaces and order are free here. A key twice, a fraction or an empty value (null) is refused:
    what is sent is strict JSON, where none of them exists (PROTOCOL 6.1).
    """
    if len(data) > DOCUMENT_BYTES_MAX:
        _not_read(f"it has more than {DOCUMENT_BYTES_MAX} bytes")
    try:
        found = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_once,
            parse_float=lambda token: _not_read(f"the fraction {token[:20]} is not allowed"),
            parse_constant=lambda token: _not_read(f"{token} is not allowed"),
        )
    except UnicodeDecodeError:
        _not_read("it is not UTF-8 text")
    except json.JSONDecodeError as error:
        _not_read(f"line {error.lineno}, column {error.colno}: {error.msg}")
    except (RecursionError, ValueError):
        _not_read("it is nested too deeply, or has a number that is too long")
    if not isinstance(found, dict):
        _not_read("it is not an object in braces")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _not_read("a field stands there twice")
    return found


def _not_read(what: str) -> NoReturn:
    raise Refused(
        Code.E_DOCUMENT,
        f"This document cannot be read as JSON: {what}.",
        hint="Save it as plain UTF-8 JSON; `desk schema preservation_request` shows every field.",
    )


def backup_of(card: Mapping[str, Any], to: str, sender: str) -> str:
    """Return the backup desk that a message to *to* names by default: a desk of the same State.

    *card* is the recipient's card (PROTOCOL 8.3); "" where it names none, or one of another State:
    that one the officer must choose in so many words, since it may read the message.
    """
    backup = str(card.get("backup", ""))
    return backup if backup[:2] == to[:2] and backup not in {to, sender} else ""


def header(
    *,
    sender: str,
    device: str,
    to: str,
    priority: str,
    mode: str,
    now: int,
    backup: str = "",
    ack_within: int | None = None,
    expires_within: int = EXPIRY_SECONDS_MAX,
) -> Header:
    """Return a header from the one clock table. Times are seconds.

    *ack_within* may shorten the priority's time, never lengthen it; 0 asks for no acknowledgement.
    *device* is the kid of the sending device. Raises E_DOCUMENT, E_ENCODING, E_EXPIRED.
    """
    if priority not in CLOCKS:
        raise Refused(
            Code.E_DOCUMENT,
            f"There is no priority {priority!r}.",
            hint=f"Choose one of: {', '.join(CLOCKS)}.",
        )
    most = CLOCKS[priority].acknowledge_s
    wanted = most if ack_within is None else ack_within
    if wanted and not ACK_SECONDS_MIN <= wanted <= most:
        raise Refused(
            Code.E_DOCUMENT,
            f"A person must acknowledge {priority} messages within {most // 60} minutes; "
            f"{wanted} seconds is not between one minute and that.",
            hint="Leave --ack-within out, or shorten it.",
        )
    return Header(
        ack_by=now + wanted if wanted else 0,
        backup=backup,
        created=now,
        dev=device,
        expires=now + expires_within,
        sender=sender,
        mode=mode,
        priority=priority,
        to=to,
    )


def reservations_of(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the reservations of a State as citation keys, from its card (PROTOCOL 8.3)."""
    return tuple(one for treaty in card.get("treaties", ()) for one in treaty["reservations"])


def check_request(document: Mapping[str, Any], top: Header) -> str:
    """Return the kind of a document that may open a thread under *top*, before anybody signs it.

    E_DOCUMENT names every letter of Article 42(3) that is missing.
    """
    kind = _kind(document)
    if forms.place(kind) not in {"opens", "either"}:
        raise Refused(
            Code.E_DOCUMENT,
            f"This document is of kind {kind}, which follows a request and opens none.",
            hint=f"Type: desk answer MSG --file FILE, or desk write {kind} --file FILE --about MSG",
        )
    forms.require(kind, document, now=top.created, priority=top.priority, mode=top.mode)
    asked = document.get("requested_authority", top.to if forms.place(kind) == "either" else None)
    if asked != top.to:
        raise Refused(
            Code.E_DOCUMENT,
            f"The document asks {printable(str(asked))[:20]}, but it is addressed to desk "
            f"{top.to}.",
            hint="Correct requested_authority in the file, or --to.",
        )
    return kind


def request(
    document: Mapping[str, Any],
    top: Header,
    *,
    officer: Signer,
    nonce: bytes,
    attachments: Sequence[Mapping[str, Any]] = (),
) -> Composed:
    """Return a signed request that passed :func:`check_request`; *nonce* is 16 random bytes.

    *attachments*: what the officer signs of each file that goes with it (PROTOCOL 9.5).
    """
    kind = check_request(document, top)
    return _signed(
        kind, document, top, thread="", officer=officer, nonce=nonce, attachments=attachments
    )


def check_reply(
    document: Mapping[str, Any],
    top: Header,
    *,
    request: Mapping[str, Any] | None,
    reservations: Sequence[str] = (),
) -> str:
    """Return the kind of a document that may follow *request* under *top*; E_DOCUMENT if not.

    *reservations* are those of the answering State, as citation keys.
    """
    kind = _kind(document)
    if forms.place(kind) not in {"follows", "either"}:
        raise Refused(
            Code.E_DOCUMENT,
            f"This document is of kind {kind}: it follows no request.",
            hint="Type: desk send FILE --to DESK"
            if forms.place(kind) == "opens"
            else "It stays at this desk and is sent to nobody.",
        )
    forms.require(
        kind,
        document,
        now=top.created,
        priority=top.priority,
        request=request,
        reservations=reservations,
        mode=top.mode,
    )
    return kind


def reply(
    document: Mapping[str, Any],
    top: Header,
    *,
    request: Mapping[str, Any] | None,
    thread: str,
    reservations: Sequence[str] = (),
    officer: Signer,
    nonce: bytes,
    attachments: Sequence[Mapping[str, Any]] = (),
) -> Composed:
    """Return a signed document that passed :func:`check_reply`, in the thread of a request.

    *request* is the document that it follows, *thread* its message id.
    """
    kind = check_reply(document, top, request=request, reservations=reservations)
    return _signed(
        kind, document, top, thread=thread, officer=officer, nonce=nonce, attachments=attachments
    )


def note(text: str, top: Header, *, thread: str, officer: Signer, nonce: bytes) -> Composed:
    """Return a signed note of plain text in the thread of a message."""
    body = text.encode()
    origin = content.originate(
        top,
        kind="info",
        body_type=NOTE_TYPE,
        body=body,
        thread=thread,
        nonce=nonce,
        created=top.created,
        officer=officer,
    )
    return Composed(top, origin, body)


def _kind(document: Mapping[str, Any]) -> str:
    kind = forms.kind_in(document)
    if kind is None:
        raise Refused(
            Code.E_DOCUMENT,
            "The document does not say what kind it is.",
            hint=f'Add "kind" with one of: {", ".join(forms.KINDS)}.',
        )
    return kind


def _signed(
    kind: str,
    document: Mapping[str, Any],
    top: Header,
    *,
    thread: str,
    officer: Signer,
    nonce: bytes,
    attachments: Sequence[Mapping[str, Any]],
) -> Composed:
    body = statement.encode(document)
    origin = content.originate(
        top,
        kind=forms.statement_kind(kind),
        body_type=forms.body_type(kind),
        body=body,
        thread=thread,
        nonce=nonce,
        created=top.created,
        officer=officer,
        attachments=attachments,
    )
    return Composed(top, origin, body)


# What a person states about a message that is there already (PROTOCOL 10)


def acknowledged(msg: str, sid: str, *, desk: str, now: int, officer: Signer) -> Statement:
    """Return the human acknowledgement: this officer has opened and understood the message."""
    return _act("acknowledged", msg, sid, now, officer, desk=desk)


def declined(msg: str, sid: str, *, desk: str, now: int, officer: Signer) -> Statement:
    """Return "not for this desk": the ladder moves on at once; why is told in a message."""
    return _act("declined", msg, sid, now, officer, desk=desk)


def closed(msg: str, sid: str, *, outcome: str, desk: str, now: int, officer: Signer) -> Statement:
    """Return the end of a message's life here; *outcome* is the answer's statement, or ""."""
    return _act("closed", msg, sid, now, officer, desk=desk, outcome=outcome)


def withdrawn(msg: str, sid: str, *, now: int, officer: Signer) -> Statement:
    """Return the sender's withdrawal, which stops the ladders."""
    return _act("withdrawn", msg, sid, now, officer)


def _act(kind: str, msg: str, sid: str, now: int, officer: Signer, **more: str) -> Statement:
    return receipt.make(kind, {"msg": msg, "statement": sid, "at": now, **more}, officer)
