"""From one file to several instances and back: the same facts in another kind of store, looked through first.

From one file to Redis nothing has to be carried: with a [redis] table the file becomes this instance's journal, and the
first start puts what it vouches for into Redis. The way back, and the joining of other instances' journals, is here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keys.errors import Failed
from relay.config import Config
from relay.replay import complete, missing, replay
from relay.server import build
from relay.store.base import Store
from relay.store.vouched import Vouched


async def migrate(config: Config, journals: Sequence[Path], now: int) -> dict[str, Any]:
    """Make the configured store whole from its own file and from other instances' *journals*; return what was found.

    The relay must not run on this store. Failed (70) if anything is missing afterwards: then nothing is switched.
    """
    store: Store = Vouched(config.store) if config.redis is None else build.store_of(config)
    await store.start(now)
    opened: list[Vouched] = []
    try:
        if isinstance(store, Vouched):
            await complete(store)
        for path in journals:
            journal = Vouched(path)
            await journal.start(now)
            opened.append(journal)
            await replay(store, journal)
        lacking = [msg for journal in opened for msg in await missing(store, journal)]
        wrong = await store.check()
        if lacking or wrong:
            raise Failed(
                f"{len(lacking)} messages are not whole in the new store, and the doctor found {len(wrong)} things:"
                f" {'; '.join([*lacking[:3], *wrong[:3]])}.",
                hint="Keep the old store in use; run this again, or restore the journals from their backups.",
            )
        if isinstance(store, Vouched):
            await store.begin_anew()
        counts = await store.counts()
        return {
            "messages": counts["messages"],
            "statements": counts["statements"],
            "open": counts["open"],
        }
    finally:
        for journal in opened:
            await journal.stop()
        await store.stop()
