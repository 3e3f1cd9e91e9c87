"""`relay page-test`: one page through every channel of an endpoint, and what came of each."""

import asyncio
from dataclasses import dataclass

from keys import suite
from keys.errors import Failed
from relay.alert import texts, ways
from relay.alert.page import Page, Result, Word
from relay.config import Config
from relay.server import build


@dataclass(frozen=True, slots=True)
class Tried:
    """One channel by its kind, and its result."""

    channel: str
    result: Result


@dataclass(frozen=True, slots=True)
class Test:
    """What was said, under which code, and what came of it by channel."""

    code: str
    text: str
    channels: tuple[Tried, ...]

    @property
    def arrived(self) -> bool:
        """Whether every channel took it: one that does not is no second way."""
        return all(one.result.word in (Word.SENT, Word.DELIVERED) for one in self.channels)


async def test(config: Config, desk: str, handle: str, priority: str, now: int) -> Test:
    """Page an endpoint of the configuration in mode test; Failed (78) if it has no such endpoint."""
    signer = build.evidence(config.keys, config.instance)
    chosen = [one for one in config.endpoints if (one.desk, one.handle) == (desk, handle)]
    if not chosen:
        raise Failed(
            f"The configuration has no [[endpoint]] for desk {desk} and handle {handle}.",
            hint="See which handles lead nowhere: relay check --config FILE.",
            exit_code=78,
        )
    woken = ways.woken(chosen, config.service, signer)[desk, handle]
    page = Page(
        key=suite.random_bytes(32).hex(),
        desk=desk,
        priority=priority,
        mode="test",
        count=1,
        oldest=0,
        repeat=False,
        language=woken.language,
        at=now,
    )
    results = await asyncio.gather(*(channel.send(page) for channel in woken.channels))
    tried = zip(woken.channels, results, strict=True)
    channels = tuple(Tried(channel.name, result) for channel, result in tried)
    return Test(page.code, texts.text(page), channels)
