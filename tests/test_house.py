"""Manners of the house that no other tool watches: docstrings, words, sizes, names, and no secrets in the tree."""

import ast
import io
import re
import shutil
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("keys", "relay")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MODULE_LINES_MAX = 450

# The words of DESIGN 9. An officer, a desk and a device have names of their own.
BANNED_WORDS = re.compile(r"\b(users?|clients?|managers?|helpers?|utils?)\b", re.IGNORECASE)
# Where the word is somebody else's name for something that is neither person nor desk.
ALLOWED = re.compile(
    r"HTTP clients?|TLS clients?|client certificates?|context managers?|service managers?",
    re.IGNORECASE,
)
BANNED_MODULES = {"utils", "util", "helpers", "helper", "managers", "manager", "common", "misc"}

# Written in two halves, so that this file does not contain what it looks for.
REGISTRIES = tuple(
    name + "." + domain
    for name, domain in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("golang", "org"),
        ("crates", "io"),
        ("ghcr", "io"),
        ("docker", "io"),
    )
)
PRIVATE_KEY = re.compile(
    rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY" + rb"-----|AGE-SECRET-" + rb"KEY-1"
)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tracked() -> Iterator[Path]:
    """Yield the project's files: what git would take, or, in a copy without git, what lies here."""
    names = _known_to_git()
    if names is None:
        paths = [path for path in ROOT.rglob("*") if not _made_here(path)]
    else:
        paths = [ROOT / name for name in names]
    yield from (path for path in paths if path.is_file())


def _known_to_git() -> list[str] | None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        return None
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    # git refuses a checkout that belongs to somebody else; then what lies here is looked at.
    return (
        [name for name in listed.stdout.decode().split("\0") if name]
        if listed.returncode == 0
        else None
    )


def _made_here(path: Path) -> bool:
    inside = path.relative_to(ROOT).parts
    return any(part == "__pycache__" or (part[0] == "." and part != ".ci") for part in inside)


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield what others may call: public functions and classes, and the public methods of these."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    for node in tree.body:
        if not isinstance(node, functions | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, functions) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_everything_public_says_what_it_is(module: Path) -> None:
    """Each module, public class and public function has a docstring."""
    tree = ast.parse(module.read_text())
    nodes: list[tuple[str, ast.AST]] = [("the module itself", tree), *_public(tree)]

    silent = [
        name
        for name, node in nodes
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not (ast.get_docstring(node) or "").strip()
    ]

    assert silent == [], f"{_name(module)}: no docstring"


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    """A module stays under its cap of lines, and its name says what it holds."""
    assert len(module.read_text().splitlines()) <= MODULE_LINES_MAX
    assert module.stem not in BANNED_MODULES, f"{_name(module)}: name it after what it holds"
    assert not BANNED_MODULES & set(module.relative_to(ROOT).parts)


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_people_and_desks_are_called_by_their_names(module: Path) -> None:
    """No name that is defined here, no text and no comment uses a word that DESIGN 9 bans."""
    source = module.read_text()

    found = [
        f"line {line}: {word}"
        for line, text in (*_defined(source), *_said(source))
        for word in BANNED_WORDS.findall(ALLOWED.sub("", text))
    ]

    assert found == [], _name(module)


def _defined(source: str) -> Iterator[tuple[int, str]]:
    """Yield every name that the source defines, as words; names of other people's things stay theirs."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                pass
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                pass
            case _:
                continue
        yield node.lineno, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


def _said(source: str) -> Iterator[tuple[int, str]]:
    """Yield every comment and every piece of text."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_documents_call_people_and_desks_by_their_names() -> None:
    """The same words are banned in what is written for people to read."""
    found = [
        f"{_name(path)}, line {number}: {word}"
        for path in _tracked()
        if path.suffix == ".md"
        for number, text in enumerate(path.read_text().splitlines(), 1)
        for word in BANNED_WORDS.findall(ALLOWED.sub("", text))
    ]

    assert found == []


def test_every_room_says_what_it_does() -> None:
    """Each room has a README: what it does, who may enter, why so."""
    rooms = {path.parent for path in MODULES if path.parent != ROOT / "relay"}
    rooms |= {ROOT, ROOT / "tests", ROOT / "deploy"}

    assert sorted(_name(room) for room in rooms if not (room / "README.md").is_file()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=_name)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test begins with a line that says what it shows."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]

    assert silent == []


def test_test_folders_are_no_packages() -> None:
    """Test files are named by their folders; an __init__.py in tests/keys would hide the real keys."""
    assert sorted(_name(path) for path in (ROOT / "tests").rglob("__init__.py")) == []


def test_no_private_key_lies_in_the_tree() -> None:
    """Real keys live outside the checkout; nothing here may even look like one."""
    found = [_name(path) for path in _tracked() if PRIVATE_KEY.search(path.read_bytes())]

    assert found == []


def test_the_private_key_pattern_finds_one() -> None:
    """The pattern of the test above knows a private key when it sees one."""
    for kind in (b"", b"RSA ", b"EC ", b"OPENSSH ", b"ENCRYPTED "):
        assert PRIVATE_KEY.search(b"-----BEGIN " + kind + b"PRIVATE " + b"KEY-----\n")
    assert not PRIVATE_KEY.search(b"-----BEGIN PUBLIC KEY-----\n")


def test_no_file_says_where_packages_come_from() -> None:
    """Which registry or mirror to ask is the choice of whoever installs; the hashes decide."""
    found = [
        f"{_name(path)}: {registry}"
        for path in _tracked()
        for registry in REGISTRIES
        if registry.encode() in path.read_bytes()
    ]

    assert found == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_the_lock_names_one_version_and_hashes_of_everything(lock: str) -> None:
    """Every line of a lock is a pinned package with hashes, or a comment; no option, no address."""
    text = (ROOT / "deploy" / lock).read_text().replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]

    loose = [
        line
        for line in lines
        if not re.match(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)
    ]

    assert lines
    assert loose == []


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    """A dependency that was added or raised without `sh deploy/lock.sh` is noticed."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = config["project"], config["dependency-groups"]
    runtime = project["dependencies"]

    assert _unmet(runtime, "requirements.lock") == []
    assert _unmet([*runtime, *groups["test"]], "requirements-test.lock") == []


def _unmet(wanted: list[str], lock: str) -> list[str]:
    text = (ROOT / "deploy" / lock).read_text()
    locked: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE):
        locked.setdefault(name, []).append(version)  # another one for another Python
    return [
        wish
        for wish in wanted
        if not any(each in Requirement(wish).specifier for each in locked.get(_package(wish), []))
    ]


def _package(wish: str) -> str:
    return Requirement(wish).name
