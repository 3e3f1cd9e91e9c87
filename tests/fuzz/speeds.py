"""How fast each parser is attacked, how deep the inputs come, and what it takes: one line each.

python tests/fuzz/speeds.py [--inputs 10000] [PARSER ...]
"""

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

from builders_fuzz import campaign  # noqa: E402 - found on the path above
from builders_parsers import parsers  # noqa: E402


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description="What an attack on each parser takes.")
    asked.add_argument("parser", nargs="*", default=list(parsers()))
    asked.add_argument("--inputs", type=int, default=10_000)
    found = asked.parse_args()
    seconds = 0.0
    for name in found.parser:
        outcome = campaign(parsers()[name], found.inputs)
        seconds += outcome.seconds
        print(outcome.line(), flush=True)
    print(f"{seconds:.0f} s of one core")


if __name__ == "__main__":
    main()
