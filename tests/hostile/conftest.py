"""No peer outlives its test."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from builders_hostile import Peer


@pytest.fixture(autouse=True)
async def _hung_up() -> AsyncIterator[None]:
    """Hang up whatever a test has left open, while its loop still runs."""
    yield
    for peer in Peer.opened:
        peer.close()
    Peer.opened.clear()
    await asyncio.sleep(0)
