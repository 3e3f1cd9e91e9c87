"""Measures whole journeys over the relay, and the same over RabbitMQ and Redis, in one run on one machine.

    python tests/bench/journeys.py                          # all of it, some twenty minutes
    python tests/bench/journeys.py --quick                  # everything once and short, some three minutes
    python tests/bench/journeys.py --only speed,pace        # of: speed, devices, pace, steps, retained, idle, kill
    python tests/bench/journeys.py --json                   # the figures as JSON

The peers are Debian's, fetched without being installed (tests/bench/peers.sh). Runs of the servers alternate, so that
whatever else the machine does falls on all of them; ratios are of medians within this run.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench import peers, sections  # noqa: E402
from bench.network import DEVICES, Network  # noqa: E402
from bench.sections import Bench  # noqa: E402
from bench.timers import Figures, machine  # noqa: E402

SENDERS = 64
SECTIONS = ("speed", "devices", "pace", "steps", "retained", "idle", "kill")
RABBIT, AIORMQ, REDIS = "RabbitMQ", "RabbitMQ by aiormq", "Redis"
RATIOS = (
    ("journeys/s, relay", f"journeys/s, {RABBIT}", "at least 2"),
    ("journeys/s, relay", f"journeys/s, {AIORMQ}", ""),
    ("journeys/s, relay", f"journeys/s, {REDIS}", "as it is"),
    ("accepted p99 at 200/s, relay, ms", f"accepted p99 at 200/s, {RABBIT}, ms", "at most 1"),
    ("journey p99 at 200/s, relay, ms", f"journey p99 at 200/s, {RABBIT}, ms", "at most 1"),
    ("accepted/s, {full}", "accepted/s, empty", "at least 0.9"),
    ("start to ready, {full}, s", "start to ready, empty, s", "at most 2"),
)
LIMITS = (
    ("resident memory under load, {full}, MiB", "at most 200"),
    ("resident memory per idle device at {idle}, KiB", "at most 40"),
)


def measured(args: argparse.Namespace, folder: Path) -> Bench:
    """Run the sections that were asked for."""
    network, figures = Network(SENDERS), Figures()
    sys.stderr.write(f"sealing {args.journeys:,} envelopes\n")
    bench = Bench(folder, network, network.letters(args.journeys), figures)
    wanted = set(args.only)
    for _run in range(args.runs):
        if "speed" in wanted:
            for kind in ("relay", RABBIT, REDIS):
                sections.speed(bench, kind)
        if "devices" in wanted:
            sections.speed(bench, "relay", DEVICES)
        if "pace" in wanted:
            for kind in ("relay", RABBIT, REDIS):
                sections.pace(bench, kind, args.seconds)
        if "speed" in wanted:
            sections.speed(bench, AIORMQ)
    if "steps" in wanted:
        for _run in range(max(1, args.runs // 2)):
            sections.steps(bench)
    if "retained" in wanted:
        sections.retained(bench, args.retained, args.runs)
    if "idle" in wanted:
        sections.idle(bench, args.idle)
    if "kill" in wanted:
        dice = random.Random(args.seed)
        for kind in ("relay", RABBIT, REDIS):
            for _kill in range(args.kills):
                sure, lost = sections.kill(bench, kind, dice)
                figures.add(f"kill -9: accepted, {kind}", sure)
                figures.add(f"kill -9: lost, {kind}", lost)
    return bench


def ratios(figures: Figures, names: dict[str, str]) -> list[tuple[str, float, str]]:
    """Return what is compared: ratios of medians, and figures that have a limit of their own."""
    found: list[tuple[str, float, str]] = []
    values = figures.values
    for over, under, goal in RATIOS:
        above, below = over.format(**names), under.format(**names)
        if above in values and below in values:
            ratio = statistics.median(values[above]) / statistics.median(values[below])
            found.append((f"{above} / {below}", ratio, goal))
    for name, goal in LIMITS:
        if name.format(**names) in values:
            found.append(
                (name.format(**names), statistics.median(values[name.format(**names)]), goal)
            )
    return found


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--journeys", type=int, default=6000, help="per run, a sixth to warm up")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run at 200/s")
    parser.add_argument("--retained", type=int, default=100_000)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.journeys, args.runs, args.seconds = 1200, 1, 4.0
        args.retained, args.idle, args.kills = 5000, 100, 1
    with tempfile.TemporaryDirectory(prefix="poc24-bench-", dir=args.folder) as place:
        about = {**machine(Path(place)), **peers.versions()}
        bench = measured(args, Path(place))
    names = {"full": f"{args.retained:,} undelivered", "idle": f"{args.idle:,}"}
    compared = ratios(bench.figures, names)
    if args.json:
        found = {"machine": about, "figures": bench.figures.values, "compared": compared}
        print(json.dumps(found, indent=2))
        return 0
    for name, value in about.items():
        print(f"{name:24} {value}")
    print(f"\n{'':58} {'median':>12}   spread of the runs")
    for line in bench.figures.lines():
        print(line)
    print(f"\n{'compared, in this run':90} {'':>8}   goal")
    for name, ratio, goal in compared:
        print(f"{name:90} {ratio:>8.3g}   {goal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
