"""No peer outlives its test, and all of them meet the relay on the loop that it runs on by default."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from builders_hostile import Peer


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return uvloop: its transports differ where hostile peers look."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
async def _hung_up() -> AsyncIterator[None]:
    """Hang up whatever a test has left open, while its loop still runs."""
    yield
    for peer in Peer.opened:
        peer.close()
    Peer.opened.clear()
    await asyncio.sleep(0)
