"""Forms at the command line: printed empty, filled and explained; checked from a file without any line or key."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.desk.cli import desk
from relay.desk.documents import forms

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def run(*args: object) -> Result:
    """Run one command line."""
    return CliRunner().invoke(desk, [str(one) for one in args])


@pytest.mark.parametrize("kind", forms.KINDS)
def test_a_form_is_printed_and_its_example_is_complete(kind: str, tmp_path: Path) -> None:
    """Data on standard output only: what is printed can be saved, and the example passes the check."""
    empty = run("form", kind)
    assert json.loads(empty.stdout)["kind"] == kind
    path = tmp_path / "example.json"
    path.write_text(run("form", kind, "--example").stdout)
    more = ["--priority", "emergency"] if kind == "emergency_request" else ["--priority", "routine"]
    mode = ["--mode", "exercise"] if kind == "ping" else []
    found = run("write", kind, "--file", path, *more, *mode, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["complete"] is True


def test_a_form_is_explained_in_every_language() -> None:
    """A line for each field: what it is called, whether it is required, how it is written."""
    english = run("form", "refusal", "--explain").stdout
    assert "* ground: Ground  (R-SOV | " in english
    assert "  provision: Provision" in english
    russian = run("form", "refusal", "--explain", "--language", "ru").stdout
    assert "* ground: Основание для отказа" in russian
    fields = json.loads(run("form", "refusal", "--explain", "--json").stdout)["fields"]
    assert {
        "field": "kind",
        "label": "Kind of document",
        "required": True,
        "form": "refusal",
    } in fields


def test_the_kinds_are_listed() -> None:
    """`desk schema` without a kind lists them all, with their titles; with one, prints it."""
    listed = run("schema").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(forms.KINDS)
    found = json.loads(run("schema", "--json").stdout)["kinds"]
    assert found[0] == {
        "kind": "acceptance",
        "title": "Acceptance: the data are preserved",
        "statement": "answer",
        "place": "follows",
        "answered_by": [],
    }
    assert json.loads(run("schema", "pong").stdout)["$id"] == "urn:poc24:document:pong:1"
    assert "接受" in run("schema", "--language", "zh").stdout


def test_an_incomplete_document_names_what_is_missing(tmp_path: Path) -> None:
    """The page, the letters and the sentences, in the language that was asked; 65 at the end."""
    document: dict[str, Any] = json.loads((EXAMPLES / "preservation_request.json").read_text())
    del document["necessity"]
    path = tmp_path / "request.json"
    path.write_text(json.dumps(document))
    line = ["write", "preservation_request", "--file", path, "--dated-now", "--language", "vi"]
    found = run(*line)
    assert found.exit_code == 65
    assert "[ ] (e) vì sao cần bảo quản" in found.stdout
    assert "[x] (a) " in found.stdout
    assert "- necessity (e): Thiếu “Sự cần thiết”." in found.stdout
    data = json.loads(run(*line, "--json").stdout)
    assert data["complete"] is False
    assert [one["letter"] for one in data["letters"] if not one["fulfilled"]] == ["e"]
    assert [one["path"] for one in data["problems"]] == ["necessity"]


def test_a_document_may_come_from_toml(tmp_path: Path) -> None:
    """Times of TOML become those of documents; one without a time zone is named, not guessed."""
    path = tmp_path / "note.toml"
    text = """
national_reference = "A05/TK-2026-0417"
language = "vi"
at = 2026-01-02T10:00:00+07:00
planned_by = 2099-01-01
channel = "MAIL"
central_authority = "Ministry of Justice"
officer = { name = "Mai", function = "Investigator" }
"""
    path.write_text(text)
    found = run("write", "mla_expected", "--file", path)
    assert found.exit_code == 0, found.output
    assert "2026-01-02T03:00:00Z" in found.stdout
    path.write_text(text.replace("+07:00", ""))
    wrong = run("write", "mla_expected", "--file", path)
    assert wrong.exit_code == 65
    assert "- at: “Written at”" in wrong.stdout
    path.write_text("at = [")
    assert "cannot be read as TOML" in run("write", "mla_expected", "--file", path).stderr


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """What the officer typed and what the file says must agree; two ways to send are one too many."""
    path = tmp_path / "pong.json"
    path.write_text(run("form", "pong", "--example").stdout)
    found = run("write", "ping", "--file", path)
    assert found.exit_code == 65
    assert "another kind than ping" in found.stderr
    assert run("write", "pong", "--file", path, "--to", "AU", "--about", "abc123").exit_code == 2


def test_a_request_is_printed_in_the_shape_of_another_format() -> None:
    """A complete request only; what does not map is listed; nothing is sent."""
    path = EXAMPLES / "preservation_request.json"
    line = ["write", "preservation_request", "--file", path, "--interchange", "--dated-now"]
    found = json.loads(run(*line).stdout)
    assert len(found["LPTasks"]) == 3
    assert "facts_summary" in found["NotMapped"]
    assert run(*line, "--to", "AU").exit_code == 2
