"""The normative text and the code say the same (PROTOCOL 1, 10, 12, 15), and the claims have their
tests.
"""

import ast
import re
from pathlib import Path

from keys import statement, suite
from relay import errors
from relay.core import limits
from relay.wire import content, envelope, frames, receipt

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "relay" / "wire" / "PROTOCOL.md").read_text("utf-8")
CLAIMS = (ROOT / "tests" / "README.md").read_text("utf-8")


def _rows(section: str) -> list[list[str]]:
    """Return the cells of all table rows between a section's heading and the next one."""
    part = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    (chosen,) = [one for one in part if one.startswith(section)]
    lines = [line for line in chosen.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _rules() -> set[str]:
    """Return every number that a rule, a step, a heading or a claim has."""
    numbers = re.findall(r"(?:^|\| |\*\*|\. )(\d+(?:\.\d+){0,2})(?=[ .*])", TEXT, re.MULTILINE)
    return set(numbers) | set(re.findall(r"^\| (C\d+b?) \|", TEXT, re.MULTILINE))


def test_each_statement_has_the_fields_of_the_text() -> None:
    """Section 10's table and relay.wire.receipt, kind by kind, with signer and fields."""
    said = {
        row[0].strip("`"): (
            row[1].rsplit(" ", maxsplit=1)[-1].removeprefix("sender's "),
            set(re.sub(r" \([^)]*\)", "", row[2]).split(", ")),
        )
        for row in _rows("10. ")
        if row[0].startswith("`")
    }
    done = {kind: (str(one.role), set(one.fields)) for kind, one in receipt.KINDS.items()}
    assert said == done


def test_each_frame_has_the_number_of_the_text() -> None:
    """Section 12's table and sentences name every type with its number."""
    said = {row[0]: int(row[1]) for row in _rows("12. ") if row[1].isdigit()}
    said |= {name: int(number) for name, number in re.findall(r"\b([A-Z]{5,}) \((\d+)\)", TEXT)}
    assert said == {one.name: int(one) for one in frames.Type}


def test_the_limits_are_those_of_the_text() -> None:
    """Section 15 by its numbers."""
    (line,) = re.findall(r"^15\.1 (.*?)\n15\.2", TEXT, re.DOTALL | re.MULTILINE)
    for sentence, number in {
        "header 4 KiB": envelope.HEADER_BYTES_MAX / 1024,
        "stanzas 96": envelope.STANZAS_MAX,
        "body 1 MiB": content.BODY_BYTES_MAX / 2**20,
        "statement of origin 1 MiB": statement.ORIGIN_BYTES_MAX / 2**20,
        "other statements 64 KiB": statement.STATEMENT_BYTES_MAX / 1024,
        "attachments 16": receipt.ATTACHMENTS_MAX,
        "of 256 MiB": receipt.ATTACHMENT_BYTES_MAX / 2**20,
        "messages that name one blob 64": limits.BLOB_USES_MAX,
        "envelope 4 MiB": envelope.ENVELOPE_BYTES_MAX / 2**20,
        "parts 256": frames.PARTS_MAX,
        "life 7 days": envelope.EXPIRY_SECONDS_MAX / 86_400,
        "clock 300 s": content.CLOCK_SKEW_SECONDS,
        "JSON depth 8": statement.JSON_DEPTH_MAX,
        "error 4 KiB": errors.ERROR_BYTES_MAX / 1024,
    }.items():
        assert sentence in line
        assert float(re.findall(r"\d+", sentence)[0]) == number
    assert limits.CLOCK_SKEW_S == content.CLOCK_SKEW_SECONDS
    assert limits.EXPIRY_S_MAX == envelope.EXPIRY_SECONDS_MAX
    assert "1176 bytes" in TEXT
    assert envelope.STANZA_BYTES == 1176


def test_the_labels_are_those_of_the_text() -> None:
    """6.4 is a closed list: every label in the code stands there."""
    (line,) = re.findall(r"\*\*6\.4 .*?\n\n", TEXT, re.DOTALL)
    sources = [*(ROOT / "keys").rglob("*.py"), *(ROOT / "relay").rglob("*.py")]
    used = {
        found
        for path in sources
        for found in re.findall(r"b\"(poc24/1 [a-z0-9-]+\\n)\"", path.read_text("utf-8"))
    }
    assert {"poc24/1 wrap\\n", "poc24/1 envelope\\n", "poc24/1 keyring\\n"} <= used
    assert used <= set(re.findall(r"`(poc24/1 [a-z0-9-]+\\n)`", line))
    assert suite.LABEL_ED25519 == b"poc24/1 ed25519\n"


def test_the_rules_that_tests_cite_exist() -> None:
    """A number in a test's docstring is a rule of the text, so that nobody cites into the void."""
    rules = _rules()
    cited: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "wire").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.Module) and (
                words := ast.get_docstring(node)
            ):
                for number in re.findall(r"\b(?:\d{1,2}(?:\.\d+){1,2}|C\d+b?)\b", words):
                    cited[number] = f"{path.name}: {words[:60]}"
    assert len(cited) > 40
    assert {number: where for number, where in cited.items() if number not in rules} == {}


def test_every_claim_has_its_row_and_every_named_test_exists() -> None:
    """The table in tests/README.md covers each claim of section 18, and names no test that is gone."""
    claims = [row[0] for row in _rows("18. ") if row[0].startswith("C")]
    rows = dict(re.findall(r"^\| (C\d+b?) \| (.*) \|$", CLAIMS, re.MULTILINE))
    assert sorted(rows) == sorted(claims)
    for claim, row in rows.items():
        named = re.findall(r"`([a-z_/]+\.py)(?:::(\w+))?`", row)
        assert named or "later" in row, claim
        for file, test in named:
            path = ROOT / "tests" / file
            assert path.is_file(), f"{claim}: {file}"
            assert f"def {test}" in path.read_text("utf-8"), f"{claim}: {file}::{test}"


def test_the_text_stays_readable() -> None:
    """One sitting: at most 400 lines."""
    assert 200 < len(TEXT.splitlines()) <= 400
