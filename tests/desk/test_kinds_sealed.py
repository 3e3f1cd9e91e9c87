"""Every kind of document between two desks: composed in its place, sealed, and nothing of it seen outside."""

import json
from typing import Any

import pytest
from builders_wire import prekey, seed

from keys.errors import Code, Refused
from keys.identity import Role, Signer
from relay.desk import compose
from relay.desk.compose import Composed
from relay.desk.documents import forms, skeleton
from relay.wire import content
from relay.wire.envelope import Header

NOW = 1795402800
OFFICER = Signer(Role.OFFICER, b"o" * 32)
DEVICE = Signer(Role.DEVICE, b"d" * 32)
MARKER = "Zanzibar-Quetzal"


def _header(kind: str) -> Header:
    priority = "emergency" if kind == "emergency_request" else "routine"
    mode = "exercise" if kind == "ping" else "actual"
    return compose.header(
        sender="VN", device=DEVICE.kid, to="AU", priority=priority, mode=mode, now=NOW
    )


def _marked(value: Any) -> Any:
    """Return a document whose every free text has the marker in it."""
    if isinstance(value, dict):
        return {key: _marked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_marked(inner) for inner in value]
    return f"{value} {MARKER}" if value in {"Example", "An example."} else value


def _composed(kind: str) -> Composed:
    document = _marked(skeleton.example(kind, NOW))
    head = _header(kind)
    if forms.place(kind) in {"opens", "either"}:
        return compose.request(document, head, officer=OFFICER, nonce=bytes(16))
    return compose.reply(
        document, head, request=None, thread="a" * 64, officer=OFFICER, nonce=bytes(16)
    )


@pytest.mark.parametrize("kind", [kind for kind in forms.KINDS if forms.place(kind) != "kept"])
def test_nothing_of_a_document_is_seen_outside(kind: str) -> None:
    """Neither its text nor its kind stands in the sealed envelope, which is all that a relay ever has."""
    made = _composed(kind)
    body = made.body.decode()
    assert MARKER in body
    assert json.loads(body)["kind"] == kind
    sealed = content.seal(
        made.header, made.statement.wire, made.body, seed("cek"), [prekey("au-01")]
    )
    for secret in (MARKER, kind, f'"{forms.statement_kind(kind)}"', "REF-2026-01"):
        assert secret.encode() not in sealed, secret


@pytest.mark.parametrize("kind", forms.KINDS)
def test_each_kind_stands_in_its_place(kind: str) -> None:
    """What opens a thread follows nothing, what follows opens none, and a note of the shift stays here."""
    document, head = skeleton.example(kind, NOW), _header(kind)
    place = forms.place(kind)

    if place in {"opens", "either"}:
        assert compose.check_request(document, head) == kind
    else:
        with pytest.raises(Refused) as refused:
            compose.check_request(document, head)
        assert refused.value.code is Code.E_DOCUMENT
    if place in {"follows", "either"}:
        assert compose.check_reply(document, head, request=None) == kind
    else:
        with pytest.raises(Refused) as refused:
            compose.check_reply(document, head, request=None)
        assert refused.value.code is Code.E_DOCUMENT
