"""Several instances of one relay: the next address is taken when one does not answer."""

from pathlib import Path

import pytest
from builders_keys import World
from builders_relay import running

from keys.errors import Failed
from relay.desk.addresses import ADDRESSES_MAX, Addresses
from relay.desk.carrier import HttpCarrier
from relay.desk.dial import websocket_dial


def test_they_are_taken_in_turn() -> None:
    """Each in its order, and the first again after the last."""
    found = Addresses("wss://one.example wss://two.example")
    seen = []
    for _time in range(3):
        seen.append(found.current)
        found.move_on()
    assert seen == ["wss://one.example", "wss://two.example", "wss://one.example"]
    assert list(found) == seen[:2]


@pytest.mark.parametrize(
    "text", ["", " ", "relay.example", "ftp://relay.example", "wss://", "wss://a x", "wss://[::1"]
)
def test_what_is_no_address(text: str) -> None:
    """A sentence says what one looks like (78)."""
    with pytest.raises(Failed, match="is not one") as failure:
        Addresses(text)
    assert failure.value.exit_code == 78
    with pytest.raises(Failed):
        Addresses("wss://one.example " * (ADDRESSES_MAX + 1))


async def test_an_instance_that_is_gone_is_left_for_the_next() -> None:
    """The second dial reaches the other instance, and what goes over HTTP goes there too."""
    async with running(World()) as relay:
        alive = relay.base.replace("http", "ws")
        addresses = Addresses(f"ws://127.0.0.1:1 {alive}")
        dial, carrier = websocket_dial(addresses), HttpCarrier(addresses)
        with pytest.raises(OSError, match="cannot be reached"):
            await dial()
        socket = await dial()
        assert await socket.receive()
        await socket.close(1000, "")
        assert carrier._base.startswith(relay.base)


def test_every_address_needs_tls(tmp_path: Path) -> None:
    """One open line to another machine among several is refused as it would be alone."""
    with pytest.raises(Failed, match="without TLS"):
        websocket_dial("wss://one.example ws://two.example")
