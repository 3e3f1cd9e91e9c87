"""What other instances of this relay write is told to the devices that are connected here (DESIGN 6).

Hints only. Nobody who misses one stays wrong: every write is guarded by its version, mailboxes are looked at every few
seconds, and the directory is read again with each of its own.
"""

import asyncio

from relay.ledger import Told
from relay.server.clock import Clock
from relay.server.sessions import Sessions


async def follow(sessions: Sessions, clock: Clock) -> None:
    """Follow the store's other writers until cancelled; where there are none, wait."""
    exchange = sessions.exchange
    news = asyncio.Event()

    def hear(desk: str, seq: int, msg: str) -> None:
        if msg:
            exchange.forget(msg)
        if desk:
            sessions.tell(Told(desk, seq))
        if not (desk or msg):
            news.set()

    watching = asyncio.ensure_future(exchange.store.watch(hear))
    try:
        while True:
            await news.wait()
            news.clear()
            await sessions.renew(clock.now())
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
