"""The desk's carrier and the relay's door: both ends of the calls about blobs, over a real socket (PROTOCOL 12.8.1)."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders_blobs import blob_of
from builders_keys import World
from builders_relay import Running, certificate, running

from keys.errors import Code, Refused
from relay.desk.carrier import HttpCarrier, Standing
from relay.desk.roster import TurnedDown
from relay.server import tls

MADE = blob_of("carried", 700_000)
LONG = len(MADE)


@pytest.fixture(scope="module")
def world() -> World:
    """Return a network of three desks with two officers each."""
    return World()


@pytest.fixture(params=["open", "tls"])
async def ends(
    request: pytest.FixtureRequest, world: World, tmp_path: Path
) -> AsyncIterator[tuple[Running, HttpCarrier, str]]:
    """Yield a relay, a carrier that calls it, and VN's token; over plain HTTP and over TLS."""
    secure = request.param == "tls"
    more: dict[str, Any] = {}
    ca = ""
    if secure:
        public, private = certificate(tmp_path)
        more["tls"], ca = tls.context(public, private), str(public)
    async with running(world, blobs=tmp_path / "blobs", blob_quota=2 * LONG, **more) as relay:
        if secure:
            token, _until = relay.relay.sessions.tokens.issue(
                relay.world.device("VN").kid, "VN", relay.clock.at
            )
        else:
            _device, headers = await relay.connected("VN")
            token = headers["Authorization"].removeprefix("Bearer ")
        carrier = HttpCarrier(relay.base, ca)
        yield relay, carrier, token
        await carrier.close()


async def test_a_blob_is_carried_there_and_back(ends: tuple[Running, HttpCarrier, str]) -> None:
    """In pieces, each asked for before its bytes leave; and read again in pieces."""
    _relay, carrier, token = ends
    file = io.BytesIO(MADE.data)
    assert await carrier.look(token, MADE.id) == Standing(whole=False, offset=0)
    at = 0
    while at < LONG:
        end = min(LONG, at + 300_000)
        standing = await carrier.put(token, MADE.id, file, at, end, LONG)
        assert standing == (
            Standing(whole=True, offset=0) if end == LONG else Standing(whole=False, offset=end)
        )
        at = end
    assert await carrier.look(token, MADE.id) == Standing(whole=True, offset=0)
    found = io.BytesIO()
    for start in range(0, LONG, 250_000):
        await carrier.get(token, MADE.id, found.write, start, min(LONG, start + 250_000), LONG)
    assert found.getvalue() == MADE.data


async def test_what_the_relay_refuses_is_heard(ends: tuple[Running, HttpCarrier, str]) -> None:
    """Another offset, too much, a wrong token, no such blob: the answer comes although no body was sent."""
    _relay, carrier, token = ends
    file = io.BytesIO(MADE.data)
    standing = await carrier.put(token, MADE.id, file, 100_000, LONG, LONG)
    assert standing == Standing(whole=False, offset=0)
    assert (await carrier.put(token, MADE.id, file, 0, LONG, LONG)).whole
    assert (await carrier.put(token, MADE.id, file, 0, LONG, LONG)).whole
    other = blob_of("too much", 1_500_000)
    for wrong, blob, code in (
        (token, other.id, Code.E_RATE),
        ("0" * 64, MADE.id, Code.E_AUTH),
    ):
        with pytest.raises(TurnedDown) as refused:
            await carrier.put(wrong, blob, io.BytesIO(other.data), 0, len(other), len(other))
        assert refused.value.code is code
    with pytest.raises(Refused) as refused_get:
        await carrier.get(token, "0" * 64, lambda _data: None, 0, 10, LONG)
    assert refused_get.value.code is Code.E_UNKNOWN
