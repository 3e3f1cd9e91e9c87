"""Coverage-guided fuzzing of the parsers in tests/builders_parsers.py: atheris sees which lines an input reaches, and
builds on those that reach new ones. Half of its changes are our own, which know JSON and lengths.

    python tests/fuzz/guided.py --list
    python tests/fuzz/guided.py envelope --runs 100000      # one parser; several may be named
    python tests/fuzz/guided.py --all --runs 2000           # every parser, two at a time

Each parser runs in a process of its own. Exit code 1 if one raised what it must not, hung for 5 seconds or took 1 GiB;
its input then lies in the folder that is named, and goes with one line into tests/fuzz/regressions.json.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import atheris  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

with atheris.instrument_imports(include=["keys", "relay"]):
    from builders_fuzz import INPUT_BYTES_MAX, Mutator, Parser
    from builders_parsers import parsers

from keys.errors import Code, Refused  # noqa: E402 - after the instrumented ones

PLANTED = "planted fault"
PROCESSES = 2
RSS_MB_MAX = 1024
SECONDS_MAX = 5
BROKEN, ENDED = 77, 70
"""How a child ends that found something, and one that came back from where nobody comes back."""


@atheris.instrument_func  # type: ignore[untyped-decorator]
def _planted(data: bytes) -> object:
    """Four steps deep, and each step is found only by whoever sees that the one before was reached."""
    if len(data) < 8 or data[0] != 0xC5:
        raise Refused(Code.E_ENCODING, "Not the first.")
    if data[1] != data[0] ^ 0x77:
        raise Refused(Code.E_ENCODING, "Not the second.")
    if data[2] != 0x1B:
        raise Refused(Code.E_ENCODING, "Not the third.")
    if data[3] != 0x9D:
        raise Refused(Code.E_ENCODING, "Not the fourth.")
    raise KeyError("planted")


def _parser(name: str) -> Parser:
    return Parser(PLANTED, _planted, (bytes(8),)) if name == PLANTED else parsers()[name]


def _fuzz(parser: Parser, runs: int, folder: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(parser.seeds):
        (corpus / f"{number:04d}").write_bytes(seed)
    mutator = Mutator(parser, random.Random(f"{parser.name} guided"))
    dice = random.Random(f"{parser.name} whose")

    def one(data: bytes) -> None:
        try:
            parser.parse(data)
        except parser.errors:
            pass
        except Exception:  # noqa: BLE001 - that is what is looked for
            (folder / "input").write_bytes(data)
            traceback.print_exc(limit=-6)
            sys.stderr.flush()
            os._exit(BROKEN)

    def changed(data: bytes, most: int, _seed: int) -> bytes:
        """Change what libFuzzer found interesting in our way, or in its own."""
        if dice.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutator.changed(data)[:most]

    arguments = [
        *("guided.py", f"-runs={runs}", "-seed=1", f"-rss_limit_mb={RSS_MB_MAX}"),
        *(f"-timeout={SECONDS_MAX}", f"-max_len={INPUT_BYTES_MAX}", "-len_control=0"),
        *(f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)),
    ]
    atheris.Setup(arguments, one, custom_mutator=changed, internal_libfuzzer=True)
    atheris.Fuzz()


def _start(parser: Parser, runs: int, folder: Path) -> int:
    """Fork; return the child's process id. What it prints goes to ``said``."""
    folder.mkdir()
    child = os.fork()
    if child:
        return child
    try:
        handle = os.open(folder / "said", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        _fuzz(parser, runs, folder)
    finally:
        os._exit(ENDED)


def _coverage(said: str) -> str:
    seen = [word for line in said.splitlines() for word in line.split() if line.startswith("#")]
    places = [seen[at + 1] for at, word in enumerate(seen[:-1]) if word == "cov:"]
    return places[-1] if places else "?"


def main() -> int:
    """Run; return the exit code."""
    asked = argparse.ArgumentParser(
        description="Coverage-guided fuzzing; see the file's first lines."
    )
    asked.add_argument("parser", nargs="*")
    asked.add_argument("--all", action="store_true")
    asked.add_argument("--list", action="store_true")
    asked.add_argument("--runs", type=int, default=10_000)
    found = asked.parse_args()
    if found.list:
        print("\n".join(parsers()))
        return 0
    names = list(parsers()) if found.all else found.parser
    unknown = [name for name in names if name != PLANTED and name not in parsers()]
    if unknown or not names:
        print(f"Unknown parser {unknown}; --list names them." if unknown else asked.format_usage())
        return 64
    place = Path(tempfile.mkdtemp(prefix="poc24-guided-"))
    waiting, running, broken = list(names), dict[int, tuple[str, Path, float]](), 0
    while waiting or running:
        while waiting and len(running) < PROCESSES:
            name = waiting.pop(0)
            folder = place / f"{names.index(name):03d}"
            running[_start(_parser(name), found.runs, folder)] = (name, folder, time.monotonic())
        child, status = os.wait()
        name, folder, begun = running.pop(child)
        code = os.waitstatus_to_exitcode(status)
        said = (folder / "said").read_text("utf-8", "replace")
        seconds = time.monotonic() - begun
        print(
            f"{name:34} {found.runs / seconds:8.0f}/s coverage {_coverage(said):>6}"
            f" {'' if code == 0 else f'BROKEN ({code}), see {folder}'}",
            flush=True,
        )
        if code:
            broken += 1
            print("\n".join(said.splitlines()[-40:]), flush=True)
    if not broken:
        shutil.rmtree(place)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
