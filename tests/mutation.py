"""Removes each check of PROTOCOL 6.2, 9.3, 9.4, 9.5, 11.3, 11.8 and 11.9, one at a time, and asks the tests whether
they notice.

    python tests/mutation.py            # all of tests/mutants.txt, some minutes; exit code 1 if one goes unnoticed
    python tests/mutation.py 9.4        # those whose rule begins so

Lines that are no longer found, or found more than once, are an error: whoever changes a check
changes its mutant. The tests run in a copy of the tree, never in the tree itself.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTANTS = ROOT / "tests" / "mutants.txt"
TESTS = [
    f"tests/wire/test_{name}.py"
    for name in ("vectors", "content", "receipt", "envelope", "attachment")
]
PYTEST = [
    *(sys.executable, "-B", "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"),
]
AT_THE_DESK = ["-k", "not maker", *TESTS]  # the maker of the vectors would notice, but not say what
AT_THE_RELAY = ["-k", "not sqlite", "tests/test_exchange.py"]
AT_THE_LADDER = [
    *("-k", "not sqlite", "tests/core/test_escalation.py", "tests/core/test_pacing.py"),
    *(
        "tests/core/test_message_machine.py",
        "tests/server/test_clock.py",
        "tests/test_deadlines.py",
    ),
]
AT_THE_DOOR = ["tests/server/test_blobs.py", "tests/server/test_blobs_kept.py"]
IN_THE_STRONG_ROOM = [
    *("tests/keys/test_statement.py", "tests/keys/test_strict_json.py"),
    "tests/keys/test_continuity.py",
]
NOTICED_BY = {
    **dict.fromkeys(("6.1.1", "6.1.2", "6.2.6"), IN_THE_STRONG_ROOM),
    **dict.fromkeys(("9.5.2", "9.5.4"), AT_THE_DOOR),
    "11.3": AT_THE_RELAY,
    **dict.fromkeys(("11.8", "11.9"), AT_THE_LADDER),
}
"""Which tests look at a rule; all others are looked at where desks open messages."""
WORKERS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One check that is taken out: the lines *old* stand once in *file*, *new* takes their place."""

    rule: str
    what: str
    file: str
    old: str
    new: str
    reason: str = ""
    """Why no test can notice; "" where one must."""

    def apply(self, source: str) -> str:
        """Return *source* without the check; exits with a sentence if the lines are not there once."""
        if source.count(self.old) != 1:
            raise SystemExit(
                f"{self.file} has the check {self.what!r} ({self.rule}) {source.count(self.old)} times, "
                f"not once. Bring tests/mutants.txt up to date:\n{self.old}"
            )
        return source.replace(self.old, self.new)


CONTROL = Mutant("-", "control: nothing can be read", "keys/statement.py", "def decode(", "def x(")
"""Shows that the copy is what runs: it must be noticed."""


def load(text: str) -> list[Mutant]:
    """Read tests/mutants.txt."""
    found: list[Mutant] = []
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, *lines = block.splitlines()
        rule, what, file, *reason = head.split(" | ")
        old = "".join(f"{line[1:]}\n" for line in lines if line.startswith("-"))
        new = "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
        if not old or not new or old == new:
            raise SystemExit(f"tests/mutants.txt: {what!r} does not say what stands where.")
        found.append(Mutant(rule, what, file, old, new, *reason))
    return found


def copy_of_tree(place: Path) -> Path:
    """Copy what the tests need, without anything compiled."""
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for room in ("keys", "relay", "tests"):
        shutil.copytree(ROOT / room, place / room, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def run(tree: Path, tests: list[str]) -> tuple[bool, str]:
    """Run *tests* in *tree*; return whether they pass, and the first that does not."""
    ran = subprocess.run([*PYTEST, *tests], cwd=tree, capture_output=True, text=True, check=False)
    failed = re.search(
        r"^(?:FAILED|ERROR) \S*?(test_\w+\.py.*?)(?= - |$)", ran.stdout, re.MULTILINE
    )
    if ran.returncode not in {0, 1, 2}:
        raise SystemExit(f"pytest could not run:\n{ran.stdout}{ran.stderr}")
    return ran.returncode == 0, failed[1] if failed else ""


def main(prefix: str) -> int:
    """Try every mutant whose rule begins with *prefix*; print a table; return 1 if one went
    unnoticed.
    """
    mutants = [one for one in load(MUTANTS.read_text("utf-8")) if one.rule.startswith(prefix)]
    for one in mutants:
        one.apply((ROOT / one.file).read_text("utf-8"))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="poc24-mutants-") as place:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(WORKERS):
            trees.put(copy_of_tree(Path(place) / str(number)))

        def attempt(one: Mutant | None, tests: list[str] | None = None) -> tuple[bool, str]:
            tree = trees.get()
            path = tree / (one or CONTROL).file
            whole = path.read_text("utf-8")
            at = NOTICED_BY.get(one.rule, AT_THE_DESK) if one else AT_THE_DESK
            try:
                if one:
                    path.write_text(one.apply(whole), "utf-8")
                return run(tree, tests or at)
            finally:
                path.write_text(whole, "utf-8")
                trees.put(tree)

        wanted = [NOTICED_BY.get(one.rule, AT_THE_DESK) for one in mutants]
        for tests in [list(one) for one in dict.fromkeys(map(tuple, wanted))]:
            passes, where = attempt(None, tests)
            if not passes:
                raise SystemExit(f"The tests do not pass as they are: {where}. Repair them first.")
            if attempt(CONTROL, tests)[0]:
                raise SystemExit("The tests do not see the copy in which the checks are removed.")
        survivors = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for one, (survived, where) in zip(mutants, pool.map(attempt, mutants), strict=True):
                survivors += survived and not one.reason
                expected = f"nobody can: {one.reason}" if one.reason else "NOT NOTICED"
                print(f"{one.rule:7} {one.what:45} {expected if survived else where}", flush=True)
    minutes = (time.monotonic() - begun) / 60
    print(f"{len(mutants)} checks removed, {survivors} not noticed, {minutes:.1f} minutes")
    return 1 if survivors or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
