"""`relay serve` with some of its constants changed, so that patience is shown in seconds: child.py KNOBS ARGUMENTS...

KNOBS is JSON: ``{"relay.server.gate:STILL_S": 1, "files": 64, "clock": "/path/of/offset"}``. ``files`` is how many handles
this process may open; the number in the file ``clock`` is added to what the wall clock says.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def _turn(knobs: dict[str, object]) -> None:
    files = knobs.pop("files", None)
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(str(files)), int(str(files))))
    offset = knobs.pop("clock", None)
    if offset is not None:
        _step(Path(str(offset)))
    for name, value in knobs.items():
        module, _colon, constant = name.partition(":")
        found = importlib.import_module(module)
        assert type(getattr(found, constant)) is type(value), name
        setattr(found, constant, value)


def _step(offset: Path) -> None:
    from relay.server.clock import SystemClock

    assert SystemClock.__init__.__kwdefaults__ is not None
    SystemClock.__init__.__kwdefaults__ |= {
        "wall": lambda: time.time() + float(offset.read_text()),  # noqa: TID251 - it plays the machine
        "trusted": lambda: False,
    }


if __name__ == "__main__":
    _turn(json.loads(sys.argv[1]))
    from relay.cli import main

    main(sys.argv[2:])
