"""Starts `relay serve` with a stop-watch around its steps: what a journey costs the relay, and where.

    python tests/bench/stepped.py OUT serve --config relay.toml

Seconds of processor time per step, each without the steps inside it. SIGUSR1 sets all to 0, SIGUSR2 writes OUT as JSON.
The watch itself costs about a microsecond a call, which its own step bears.
"""

import functools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import local
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from aiohttp._websocket import writer as web_writer

from keys import statement, suite
from relay import admission, cli, ledger, receipts
from relay.core import escalation
from relay.core import message as law
from relay.server import gate, outgoing
from relay.store import checks, writer
from relay.wire import envelope, frames, receipt

spent: Counter[str] = Counter()
calls: Counter[str] = Counter()
_stack = local()
_began = [time.process_time()]


def watched(step: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return *work* with its processor time noted under *step*, without that of steps inside it."""

    @functools.wraps(work)
    def timed(*args: Any, **more: Any) -> Any:
        within = _stack.__dict__.setdefault("within", [])
        within.append(0.0)
        began = time.thread_time()
        try:
            return work(*args, **more)
        finally:
            took = time.thread_time() - began
            spent[step] += took - within.pop()
            calls[step] += 1
            if within:
                within[-1] += took

    return timed


def watch(step: str, *places: tuple[Any, str]) -> None:
    """Put the stop-watch around functions, wherever they are known by name."""
    for place, name in places:
        setattr(place, name, watched(step, getattr(place, name)))


def lay() -> None:
    """Put all of them."""
    watch("verify", (suite, "verify"))
    watch("sign", (suite, "sign"))
    watch("hash", (suite, "sha256"), (checks, "check_change"))
    watch("parse", (envelope, "parse"), (statement, "peek"), (statement, "_fields"))
    watch("parse", (frames, "decode"), (frames, "split"), (frames, "seen"), (receipt, "finish"))
    for module in (admission, receipts):
        setattr(module, "peek", statement.peek)  # noqa: B010 - known by name there
    watch("make statements", (receipt, "make"))
    watch("decide", (law, "step"), (law, "open_message"), (ledger, "change_of"))
    watch("decide", (admission, "admit"), (escalation, "plan"))
    watch("socket", (web_writer.WebSocketWriter, "_write_websocket_frame"))
    watch("socket", (gate.Visitor, "data_received"), (outgoing.Outgoing, "put"))
    watch("store: thread", (writer.Writer, "turns"))


def reset(*_signal: object) -> None:
    """Begin anew."""
    spent.clear()
    calls.clear()
    _began[0] = time.process_time()


def main() -> None:
    """Lay the watches, then be the relay."""
    out = Path(sys.argv.pop(1))

    def write(*_signal: object) -> None:
        total = time.process_time() - _began[0]
        part = out.with_suffix(".part")
        part.write_text(json.dumps({"total": total, "spent": spent, "calls": calls}))
        part.rename(out)

    signal.signal(signal.SIGUSR1, reset)
    signal.signal(signal.SIGUSR2, write)
    lay()
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
