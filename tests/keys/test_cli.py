"""The command line `keys`: a network from a description, every change of it, and errors that are sentences."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from builders_keys import NOW, World
from click.testing import CliRunner, Result

from keys import cli, cli_look, identity, keyfile, suite
from keys.cli_bench import EXIT_CODES, Bench, read_repository, write_repository
from keys.directory import begin, unpack, update
from keys.errors import Failed
from keys.identity import Role, fingerprint

PHRASE = "sáu từ rút bằng xúc xắc"
NETWORK = """
[service]
name = "poc24-test"
url = "ws://127.0.0.1:8424"
instances = ["relay.test/1"]

[root]
holders = 3
threshold = 2

[[desk]]
id = "VN"
officers = ["vn-01"]
devices = 2
server = true
telephones = [{ number = "+84 24 1234 5678", languages = ["vi", "en"], hours = "24/7" }]
card = { languages = ["vi", "en"], preservation_days = 90 }

[[desk]]
id = "AU"
officers = ["au-01"]
telephones = [{ number = "+61 2 1234 5678", languages = ["en"], hours = "24/7" }]
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id is quick here; its strength is shown in test_keyfile."""
    monkeypatch.setattr(keyfile, "MEMORY_MIN", 8 * 1024 * 1024)
    monkeypatch.setattr(keyfile, "PASSES_MIN", 1)


@dataclass
class Terminal:
    """A person at a terminal, at a time of our choice."""

    into: Path
    now: int = NOW

    def type(self, *words: str, lines: tuple[str, ...] = (), typed: str = "") -> Result:
        """Type a command; *lines* come from a descriptor, *typed* from the keyboard."""
        read = None
        if lines:
            read, write = os.pipe()
            os.write(write, "\n".join(lines).encode())
            os.close(write)
            words = (*words, "--passphrase-fd", str(read))
        bench = Bench(lambda: self.now)
        result = CliRunner().invoke(cli.keys, words, input=typed, obj=bench)
        if read is not None:
            os.close(read)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result

    def done(
        self, *words: str, lines: tuple[str, ...] = (PHRASE,), typed: str = ""
    ) -> dict[str, Any]:
        """Type a command that succeeds; return its data."""
        one = ("--one-passphrase",) if lines == (PHRASE,) and not typed else ()
        result = self.type(*words, *one, "--json", lines=lines if not typed else (), typed=typed)
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    @property
    def repository(self) -> tuple[str, str]:
        """The option that names the directory."""
        return "--repository", str(self.into / "repository")

    def ring(self, name: str) -> str:
        """Return the path of a ring."""
        return str(self.into / "rings" / f"{name}.ring")

    def freshen(self) -> dict[str, Any]:
        """Run the automaton once."""
        folder = self.into / "freshness"
        words = (
            "--ring",
            str(folder / "freshness.ring"),
            "--credential-file",
            str(folder / "freshness.key"),
        )
        result = self.type("freshen", *self.repository, *words, "--json")
        assert result.exit_code == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def directory(self) -> Any:
        """Return the directory as a newcomer takes it."""
        root = (self.into / "root.json").read_bytes()
        return update(begin(root), read_repository(self.into / "repository"), self.now)[1]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal after a ceremony."""
    (tmp_path / "network.toml").write_text(NETWORK)
    one = Terminal(tmp_path / "net")
    one.done("ceremony", "--describe", str(tmp_path / "network.toml"), "--into", str(one.into))
    return one


def test_a_ceremony_makes_a_whole_network(terminal: Terminal) -> None:
    """Rings of every person, a directory that verifies, homes that open; only public files can be read by others."""
    directory = terminal.directory()
    assert set(directory.desks) == {"VN", "AU"}
    assert [one.officer for one in directory.desk("VN").members] == ["vn-01", "vn-01", ""]
    home = terminal.into / "homes" / "VN" / "vn-01"
    ring = keyfile.open_ring(
        keyfile.read_private(home / "device.ring"), key=keyfile.read_credential(home / "device.key")
    )
    member = directory.device(ring.signer(Role.DEVICE).kid)
    assert member.officer == "vn-01"
    assert len(ring.one(Role.DEVICE, keyfile.ARCHIVE).seed) == 32
    officer = keyfile.open_ring(keyfile.read_private(home / "officer.ring"), passphrase=PHRASE)
    assert officer.signer(Role.OFFICER).kid == member.officer_kid
    folder = terminal.into / "relay" / "relay.test-1"
    relay = keyfile.open_ring(
        keyfile.read_private(folder / "relay.ring"),
        key=keyfile.read_credential(folder / "relay.key"),
    )
    assert directory.relay_key("poc24-test", "relay.test/1") == relay.signer(Role.RELAY).public
    for path in terminal.into.rglob("*"):
        if path.is_file() and path.suffix in {".ring", ".key"}:
            assert path.stat().st_mode & 0o077 == 0, path
        assert path.suffix != ".ring" or PHRASE.encode() not in path.read_bytes()


def test_what_is_read_aloud_is_the_root_document(terminal: Terminal) -> None:
    """`show` prints the digits that the ceremony printed: a desk compares them by telephone."""
    root = terminal.into / "root.json"
    digits = fingerprint(suite.sha256(root.read_bytes()).hex())
    assert digits in terminal.type("show", str(root)).stdout


def test_verify_says_one_line_per_claim(terminal: Terminal) -> None:
    """Every claim is `ok`; a day later the timestamp is not, and the exit code says so."""
    root = str(terminal.into / "root.json")
    result = terminal.type("verify", *terminal.repository, "--root", root)
    lines = result.stdout.splitlines()
    assert (result.exit_code, len(lines)) == (0, 7)
    assert all(line.startswith("ok") for line in lines[1:])
    terminal.now += 7200
    result = terminal.type("verify", *terminal.repository, "--root", root, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [one["text"].split()[0] for one in found["claims"] if not one["good"]] == ["timestamp"]
    terminal.freshen()
    assert terminal.type("verify", *terminal.repository, "--root", root).exit_code == 0


def test_verify_walks_from_the_first_keys_that_the_folder_remembers(tmp_path: Path) -> None:
    """PROTOCOL 8.4: a rotation is a claim that holds; a key that a registrar quorum swapped is one that does not."""
    world = World()
    words = ("verify", "--repository", str(tmp_path), "--json")

    def claims() -> tuple[int, list[tuple[bool, str]]]:
        write_repository(tmp_path, world.files)
        result = Terminal(tmp_path).type(*words)
        said = json.loads(result.stdout)["claims"]
        found = [(one["good"], one["text"]) for one in said]
        return result.exit_code, [
            one for one in found if "lead from" in one[1] or "were changed" in one[1]
        ]

    world.rotate("AU", NOW)
    code, said = claims()
    assert (code, len(said), said[0][0], "lead from" in said[0][1]) == (0, 1, True, True)
    world.swap_desk_key("VN", NOW)
    code, said = claims()
    assert code == 1
    assert [good for good, _text in said] == [True, False]
    assert fingerprint(world.desk_signers["VN"][0].kid) in said[1][1]


def test_an_officer_is_enrolled_in_two_steps(terminal: Terminal, tmp_path: Path) -> None:
    """Keys are made where they stay; only public keys and proofs travel; the desk's key holder signs."""
    home = tmp_path / "home"
    made = terminal.done("enrol", "--desk", "VN", "--officer", "vn-02", "--into", str(home))
    request = home / "request.json"
    shown = terminal.type("show", str(request)).stdout
    assert made["device"] in shown
    assert made["officer_key"] in shown
    terminal.done(
        "enrol",
        "--accept",
        str(request),
        *terminal.repository,
        "--ring",
        terminal.ring("desk-VN-1"),
        "--yes",
    )
    assert len(terminal.directory().desk("VN").members) == 3
    terminal.freshen()
    assert terminal.directory().desk("VN").members[-1].officer == "vn-02"
    # A further device of the same officer, and the desk's server.
    ring = str(home / "officer.ring")
    for more, words in (
        ("second", ("--officer", "vn-02", "--officer-ring", ring)),
        ("machine", ("--server",)),
    ):
        place = tmp_path / more
        terminal.done("enrol", "--desk", "VN", *words, "--into", str(place))
        terminal.done(
            "enrol",
            "--accept",
            str(place / "request.json"),
            *terminal.repository,
            "--ring",
            terminal.ring("desk-VN-1"),
            "--yes",
        )
    terminal.freshen()
    members = terminal.directory().desk("VN").members
    assert [one.officer for one in members[3:]] == ["vn-02", "vn-02", ""]
    assert members[3].officer_kid == members[4].officer_kid


def test_a_forged_request_enrols_nobody(terminal: Terminal, tmp_path: Path) -> None:
    """A request whose desk was changed on the way is refused, and nothing is written."""
    home = tmp_path / "home"
    terminal.done("enrol", "--desk", "VN", "--officer", "vn-02", "--into", str(home))
    request = home / "request.json"
    request.write_bytes(request.read_bytes().replace(b'{"desk":"VN"', b'{"desk":"AU"'))
    before = read_repository(terminal.into / "repository")
    words = (
        "enrol",
        "--accept",
        str(request),
        *terminal.repository,
        "--ring",
        terminal.ring("desk-AU-1"),
    )
    result = terminal.type(*words, "--yes", lines=(PHRASE,))
    assert (result.exit_code, result.stdout) == (65, "")
    assert read_repository(terminal.into / "repository") == before


def test_nothing_is_signed_without_a_yes(terminal: Terminal) -> None:
    """Whoever answers no, or nothing, has signed nothing."""
    before = read_repository(terminal.into / "repository")
    words = ("revoke", *terminal.repository, "--desk", "VN", "--officer", "vn-01")
    result = terminal.type(*words, "--ring", terminal.ring("desk-VN-1"), typed="n\n")
    assert (result.exit_code, "Nothing was signed" in result.stderr) == (1, True)
    assert read_repository(terminal.into / "repository") == before


def test_revoke_is_from_now_on(terminal: Terminal) -> None:
    """An officer with every device; then the directory says so to everybody."""
    terminal.now += 60
    words = ("revoke", *terminal.repository, "--desk", "VN", "--officer", "vn-01", "--yes")
    terminal.done(*words, "--ring", terminal.ring("desk-VN-1"))
    terminal.freshen()
    members = terminal.directory().desk("VN").members
    assert [one.active(terminal.now) for one in members] == [False, False, True]
    result = terminal.type(*words, "--ring", terminal.ring("desk-VN-1"), lines=(PHRASE,))
    assert (result.exit_code, "no active member" in result.stderr) == (1, True)


def registrars(terminal: Terminal, count: int = 2) -> list[str]:
    """Return the options that name registrars."""
    return [
        word
        for n in range(1, count + 1)
        for word in ("--registrar-ring", terminal.ring(f"registrar-{n}"))
    ]


def test_a_desk_rotates_and_recovers_its_keys(terminal: Terminal) -> None:
    """Whoever had pinned the old key follows both, without a question."""
    trusted, _found = update(
        begin((terminal.into / "root.json").read_bytes()),
        read_repository(terminal.into / "repository"),
        NOW,
    )
    made: dict[str, Any] = {}
    for name, command, by in (
        ("second", "rotate", ["--ring", terminal.ring("desk-VN-1")]),
        (
            "third",
            "recover",
            [
                "--root-ring",
                terminal.ring("root-1"),
                "--root-ring",
                terminal.ring("root-3"),
                "--yes",
            ],
        ),
    ):
        terminal.now += 60
        made = terminal.done("new", "desk", "--desk", "VN", "--ring", terminal.ring(name))
        words = (command, *terminal.repository, "--desk", "VN", "--new-ring", terminal.ring(name))
        found = terminal.done(*words, *by, *registrars(terminal))
        assert found["keys"] == [made["kid"]]
        terminal.freshen()
    files = read_repository(terminal.into / "repository")
    directory = update(trusted, files, terminal.now)[1]
    assert directory.held == {}
    assert directory.desk("VN").desk_kids == (made["kid"],)


def test_too_few_signers_change_nothing(terminal: Terminal) -> None:
    """One registrar, one root holder, the same ring twice: refused, nothing written."""
    terminal.done("new", "desk", "--desk", "VN", "--ring", terminal.ring("new"))
    before = read_repository(terminal.into / "repository")
    new = ("--new-ring", terminal.ring("new"))
    old = ("--ring", terminal.ring("desk-VN-1"))
    root = ("--root-ring", terminal.ring("root-1"))
    for words in (
        ("rotate", *old, *new, *registrars(terminal, 1)),
        ("rotate", *old, *new, *registrars(terminal, 1), *registrars(terminal, 1)),
        ("recover", "--yes", *root, *new, *registrars(terminal)),
        ("recover", "--yes", *root, *root, *new, *registrars(terminal)),
    ):
        whole = (*words, *terminal.repository, "--desk", "VN", "--one-passphrase")
        assert terminal.type(*whole, lines=(PHRASE,)).exit_code == 1, words
    assert read_repository(terminal.into / "repository") == before


def test_a_desk_joins_across_machines(terminal: Terminal, tmp_path: Path) -> None:
    """The desk makes its key, the registrar enters it, the desk signs its first entry, the automaton publishes."""
    key = terminal.done("new", "desk", "--desk", "CA", "--ring", terminal.ring("desk-CA-1"))
    words = ("add-desk", *terminal.repository, "--desk", "CA", "--key", key["identity"], "--yes")
    terminal.done(*words, *registrars(terminal))
    terminal.freshen()
    assert "CA" not in terminal.directory().desks
    terminal.done("enrol", "--desk", "CA", "--officer", "ca-01", "--into", str(tmp_path / "ca"))
    entry = tmp_path / "entry.toml"
    entry.write_text(
        'telephones = [{ number = "+1 613 123 4567", languages = ["en", "fr"], hours = "24/7" }]'
    )
    enter = ("enter", *terminal.repository, "--desk", "CA", "--ring", terminal.ring("desk-CA-1"))
    terminal.done(*enter, "--entry", str(entry), "--request", str(tmp_path / "ca" / "request.json"))
    terminal.freshen()
    assert terminal.directory().desk("CA").members[0].officer == "ca-01"
    entry.write_text("[card]\noral = true")
    terminal.done(*enter, "--entry", str(entry))
    terminal.freshen()
    found = terminal.directory().desk("CA")
    assert (found.card["oral"], found.version, len(found.members)) == (True, 2, 1)


def test_the_roots_holders_replace_the_automaton(terminal: Terminal) -> None:
    """A new root document with a new freshness key; the targets are signed anew; the old automaton stops."""
    made = terminal.done("new", "freshness", "--ring", str(terminal.into / "second.ring"))
    roots = ("--root-ring", terminal.ring("root-1"), "--root-ring", terminal.ring("root-2"))
    terminal.done("renew", *terminal.repository, *roots, "--freshness-key", made["identity"])
    terminal.done("network", *terminal.repository, *registrars(terminal))
    old = terminal.into / "freshness"
    words = ("--ring", str(old / "freshness.ring"), "--credential-file", str(old / "freshness.key"))
    assert terminal.type("freshen", *terminal.repository, *words).exit_code == 1
    second = ("--ring", str(terminal.into / "second.ring"))
    key = ("--credential-file", str(terminal.into / "second.key"))
    assert terminal.type("freshen", *terminal.repository, *second, *key).exit_code == 0
    assert set(terminal.directory().desks) == {"VN", "AU"}


def test_publish_writes_a_verified_pack(terminal: Terminal, tmp_path: Path) -> None:
    """The pack holds what a newcomer needs, and nothing is packed that does not verify."""
    out = tmp_path / "pack"
    words = ("publish", *terminal.repository, "--out", str(out))
    assert terminal.type(*words).exit_code == 0
    root = (terminal.into / "root.json").read_bytes()
    assert set(update(begin(root), unpack(out.read_bytes()), NOW)[1].desks) == {"VN", "AU"}
    terminal.now += 3600
    result = terminal.type(*words)
    assert (result.exit_code, "E_DIRECTORY_STALE" in result.stderr) == (1, True)


def test_show_says_what_a_ring_holds_and_no_secret(terminal: Terminal) -> None:
    """Identity lines and digits of a person's, a device's and a relay's ring; seeds never."""
    home = terminal.into / "homes" / "AU" / "au-01"
    ring = keyfile.open_ring(
        keyfile.read_private(home / "device.ring"), key=keyfile.read_credential(home / "device.key")
    )
    device = ring.signer(Role.DEVICE)
    result = terminal.type("show", str(home / "device.ring"))
    assert device.identity.line() in result.stdout
    assert device.identity.fingerprint in result.stdout
    assert device.seed.hex() not in result.output
    found = terminal.done("show", terminal.ring("root-1"))
    assert found["shown"][0]["identity"].startswith("poc24-root-")
    result = terminal.type("show", device.identity.line(), "--qr")
    assert "█" in result.stderr
    assert "█" not in result.stdout


# How it fails


def write(path: Path, text: str) -> Path:
    """Write a file and return its path."""
    path.write_text(text)
    return path


def test_passphrases_are_typed_twice_and_long_enough(tmp_path: Path) -> None:
    """A new passphrase of eleven characters is refused; two that differ are asked for again."""
    terminal = Terminal(tmp_path)
    words = ("new", "root", "--ring", str(tmp_path / "root.ring"))
    result = terminal.type(*words, typed="eleven char\neleven char\n")
    assert (result.exit_code, "fewer than 12" in result.stderr) == (77, True)
    assert not (tmp_path / "root.ring").exists()
    long = "twelve chars!"
    result = terminal.type(*words, typed=f"{long}\nanother one!!\n{long}\n{long}\n")
    assert result.exit_code == 0
    assert long not in result.output
    keyfile.open_ring(keyfile.read_private(tmp_path / "root.ring"), passphrase=long)


def opened(path: Path) -> Path:
    """Let everybody read a file, and return its path."""
    path.chmod(0o644)
    return path


Attempt = Callable[[Terminal, Path], Result]
FAILURES: dict[str, tuple[int, str, Attempt]] = {
    "wrong passphrase": (
        77,
        "Wrong passphrase",
        lambda one, _tmp: one.type("show", one.ring("root-1"), lines=("not the passphrase",)),
    ),
    "too few lines": (
        78,
        "no further line",
        lambda one, _tmp: one.type(
            "rotate",
            *one.repository,
            "--desk",
            "VN",
            "--ring",
            one.ring("desk-VN-1"),
            "--new-ring",
            one.ring("desk-AU-1"),
            *registrars(one),
            lines=(PHRASE,),
        ),
    ),
    "another's ring": (
        77,
        "no registrar key",
        lambda one, _tmp: one.type(
            "network", *one.repository, "--registrar-ring", one.ring("root-1"), lines=(PHRASE,)
        ),
    ),
    "open ring file": (
        77,
        "chmod 600",
        lambda one, _tmp: one.type("show", str(opened(Path(one.ring("root-1"))))),
    ),
    "no such folder": (
        78,
        "is not a folder",
        lambda one, tmp: one.type("verify", "--repository", str(tmp / "none")),
    ),
    "empty folder": (
        78,
        "no root document",
        lambda one, tmp: one.type("verify", "--repository", str(tmp)),
    ),
    "no such ring": (
        78,
        "cannot be read",
        lambda one, tmp: one.type("show", str(tmp / "none.ring")),
    ),
    "no ring at all": (
        77,
        "not a key ring",
        lambda one, _tmp: one.type("show", str(one.into / "freshness" / "freshness.key")),
    ),
    "a folder that is full": (
        73,
        "not empty",
        lambda one, tmp: one.type(
            "ceremony",
            "--describe",
            str(tmp / "network.toml"),
            "--into",
            str(one.into),
            lines=(PHRASE,),
        ),
    ),
    "an unknown setting": (
        78,
        "unknown setting 'colour'",
        lambda one, tmp: one.type(
            "ceremony",
            "--describe",
            str(write(tmp / "bad.toml", NETWORK + 'colour = "blue"')),
            "--into",
            str(tmp / "x"),
        ),
    ),
    "no telephone": (
        65,
        "telephone number",
        lambda one, tmp: one.type(
            "ceremony",
            "--describe",
            str(write(tmp / "bad.toml", NETWORK.rsplit("telephones", 1)[0])),
            "--into",
            str(tmp / "x"),
            lines=(PHRASE,),
        ),
    ),
    "not TOML": (
        78,
        "cannot be used",
        lambda one, tmp: one.type(
            "ceremony", "--describe", str(write(tmp / "bad.toml", "[")), "--into", str(tmp / "x")
        ),
    ),
    "a missing table": (
        78,
        "'service'",
        lambda one, tmp: one.type(
            "ceremony", "--describe", str(write(tmp / "bad.toml", "")), "--into", str(tmp / "x")
        ),
    ),
    "an option that is missing": (2, "Missing option", lambda one, _tmp: one.type("verify")),
    "a desk key where a root key belongs": (
        2,
        "not a desk key",
        lambda one, _tmp: one.type(
            "add-desk",
            *one.repository,
            "--desk",
            "CA",
            "--key",
            "poc24-root-" + "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            *registrars(one),
        ),
    ),
    "a command that is not there": (2, "No such command", lambda one, _tmp: one.type("destroy")),
}


@pytest.mark.parametrize(("code", "words", "attempt"), FAILURES.values(), ids=FAILURES.keys())
def test_errors_are_sentences_with_documented_codes(
    code: int, words: str, attempt: Attempt, terminal: Terminal, tmp_path: Path
) -> None:
    """What happened, and the exit code that `keys --help` documents; nothing on standard output."""
    result = attempt(terminal, tmp_path)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert code in EXIT_CODES


def test_every_exit_code_is_in_the_help() -> None:
    """`keys --help` lists them."""
    text = CliRunner().invoke(cli.keys, ["--help"], obj=Bench(lambda: NOW)).stdout
    words = " ".join(text.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in words


def test_no_option_takes_a_secret() -> None:
    """Passphrases and keys come from prompts, descriptors and private files: no option and no variable takes them."""
    for command in cli.keys.commands.values():
        for option in command.params:
            assert not option.envvar
            if any("passphrase" in name or "credential" in name for name in option.opts):
                flag = isinstance(option, click.Option) and option.is_flag
                file_or_fd = isinstance(option.type, click.Path) or option.type is click.INT or flag
                assert file_or_fd, option.opts


def test_a_machine_without_the_suite_stops_at_the_door(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C23: missing ML-KEM is exit code 69 and a sentence, whatever was typed."""

    def missing() -> None:
        raise Failed("no working ML-KEM-768", exit_code=69)

    monkeypatch.setattr(suite, "self_test", missing)
    result = terminal.type("verify", *terminal.repository)
    assert (result.exit_code, "ML-KEM" in result.stderr) == (69, True)


def test_main_ends_with_the_commands_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program itself: 0, 2 for a typing mistake, 78 for a missing folder, 130 for Ctrl-C."""

    def run(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["keys", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    assert run("--version") == 0
    assert run("verify", "--repository", "/nowhere/at/all") == 78
    assert run("verify") == 2

    def stopped(*_: object, **__: object) -> None:
        raise click.Abort

    monkeypatch.setattr(cli, "keys", stopped)
    assert run() == 130


def test_only_an_identity_is_drawn(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's ring also holds a secret that has no identity: there is nothing of it to scan."""
    drawn: list[str] = []
    draw = identity.qr

    def note(text: str) -> Any:
        drawn.append(text)
        return draw(text)

    monkeypatch.setattr(cli_look, "qr", note)
    home = terminal.into / "homes" / "VN" / "vn-01"
    result = terminal.type("show", str(home / "device.ring"), "--qr")
    assert result.exit_code == 0, result.stderr
    assert [one[:12] for one in drawn] == ["poc24-device"]


# What is said when it does not work


def test_an_error_can_be_json(tmp_path: Path) -> None:
    """With --json the error is one object on standard error, of the same shape as the other commands'."""
    bench = Bench(lambda: NOW)
    words = ["verify", "--repository", str(tmp_path / "none"), "--json"]
    result = CliRunner().invoke(cli.keys, words, obj=bench)
    error = json.loads(result.stderr)["error"]
    assert set(error) == {"code", "text", "hint", "exit"}
    assert (error["exit"], result.exit_code, result.stdout) == (78, 78, "")


def test_a_fault_of_our_own_is_no_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw ends with 70 and a sentence; its words stay inside."""

    def broken(_folder: Path) -> dict[str, bytes]:
        raise ValueError("a passphrase, perhaps")

    monkeypatch.setattr(cli_look, "read_repository", broken)
    monkeypatch.delenv("POC24_TRACEBACK", raising=False)
    result = terminal.type("verify", *terminal.repository)
    assert result.exit_code == 70
    assert "ValueError" in result.stderr
    assert "perhaps" not in result.stderr


def test_another_desks_ring_is_told_as_such(terminal: Terminal) -> None:
    """Who brings the wrong ring, or too few, hears what is needed and what is here; nothing speaks of a bad copy."""
    words = ("--desk", "VN", "--officer", "vn-01", "--yes", "--ring", terminal.ring("desk-AU-1"))
    found = terminal.type("revoke", *terminal.repository, *words, lines=(PHRASE,))
    assert found.exit_code == 1
    assert "The entry of desk VN needs 1 of 1 keys; 0 are here." in found.stderr
    assert "keys show RING" in found.stderr


def test_an_unknown_member_is_told_with_those_who_are_there(terminal: Terminal) -> None:
    """Whoever revokes at night sees whom there is to revoke, each with the words to type."""
    words = ("--desk", "VN", "--officer", "nobody", "--yes", "--ring", terminal.ring("desk-VN-1"))
    found = terminal.type("revoke", *terminal.repository, *words, lines=(PHRASE,))
    kid = terminal.directory().desk("VN").members[0].device_kid
    assert found.exit_code == 1
    assert f"vn-01 (--device {kid})" in found.stderr


def test_where_nobody_can_be_asked(terminal: Terminal) -> None:
    """Without a terminal a passphrase and a yes are named as what is missing, with what to type."""
    ring = terminal.ring("desk-VN-1")
    silent = terminal.type("show", ring)
    assert (silent.exit_code, "--passphrase-fd 3" in silent.stderr) == (77, True)
    assert "GetPassWarning" not in silent.stderr
    words = ("--desk", "VN", "--officer", "vn-01", "--ring", ring)
    unsure = terminal.type("revoke", *terminal.repository, *words, lines=(PHRASE,))
    assert (unsure.exit_code, "--yes" in unsure.stderr) == (2, True)


def test_the_automaton_goes_on_after_a_bad_moment(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that cannot be read just now is said, and signed the next time: the automaton does not die."""
    folder = terminal.into / "freshness"
    aside = terminal.into / "aside"
    (terminal.into / "repository").rename(aside)
    slept: list[int] = []

    def sleep(seconds: int) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt
        aside.rename(terminal.into / "repository")

    monkeypatch.setattr("time.sleep", sleep)
    line = ("--ring", str(folder / "freshness.ring"), "--every", "20")
    key = ("--credential-file", str(folder / "freshness.key"))
    result = terminal.type("freshen", *terminal.repository, *line, *key)
    assert slept == [20, 20]
    assert "is not a folder" in result.stderr
    assert "is signed" in result.stdout
