"""`relay`, as an operator types it: sentences, exit codes, JSON, and a real process that starts, serves and stops."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders_keys import World, seed
from builders_relay import certificate

from keys import directory as directories
from keys import keyfile
from keys.errors import Code
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay import cli, errors
from relay.server.clock import SystemClock
from relay.store.sqlite import SqliteStore

KEY = bytes(range(32))
READY_S = 20


@dataclass
class Said:
    """What a command left: exit code, data and talk."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """The JSON on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Place:
    """A folder with everything that a relay needs."""

    folder: Path
    world: World

    @property
    def config(self) -> Path:
        """The configuration's path."""
        return self.folder / "relay.toml"

    def write(
        self,
        *,
        argv: str = '["/bin/true"]',
        mapped: tuple[str, ...] = ("AU", "AU-B", "VN"),
        **sections: dict[str, Any],
    ) -> None:
        """Write the configuration; port 0 takes a free one, and sections are changed as given.

        The handle ``duty`` of each desk in *mapped* leads to the program *argv*.
        """
        raw: dict[str, dict[str, Any]] = {
            "relay": {"service": self.world.service, "instance": self.world.instance},
            "listen": {"port": 0},
            "observe": {"port": 0},
            "directory": {"pack": "directory.pack"},
        }
        for name, changes in sections.items():
            raw[name] = {**raw.get(name, {}), **changes}
        lines = []
        for name, values in raw.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        for desk in mapped:
            channels = f'channels = [{{ kind = "command", argv = {argv} }}]'
            lines += ["[[endpoint]]", f'desk = "{desk}"', 'handle = "duty"', channels]
        text = "\n".join(lines)
        tomllib.loads(text)
        self.config.write_text(text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a folder with ring, credential, root document, pack and configuration, made now."""
    world = World(now=SystemClock().now())
    ring = KeyRing((Held(Role.RELAY, seed(f"{Role.RELAY}/{world.instance}"), world.instance),))
    keyfile.write_private(tmp_path / "relay.ring", keyfile.seal_service(ring, KEY))
    keyfile.write_private(tmp_path / "relay.key", KEY)
    (tmp_path / "root.json").write_bytes(world.root)
    (tmp_path / "directory.pack").write_bytes(directories.pack(world.files))
    made = Place(tmp_path, world)
    made.write()
    return made


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs one command line in this process."""

    def run(*args: object) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main.main([str(one) for one in args])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


def claims(said: Said) -> dict[str, tuple[bool, str]]:
    """Return the claims by name."""
    return {one["name"]: (one["holds"], one["text"]) for one in said.data["claims"]}


# check


def test_check_finds_everything_well(place: Place, say: Any) -> None:
    """On a folder that has it all every claim holds, exit 0; in words and as JSON; nothing was made."""
    before = sorted(path.name for path in place.folder.iterdir())
    said = say("check", "--config", place.config)
    assert (said.code, said.out.count("ok ")) == (0, len(said.out.splitlines()))
    said = say("check", "--config", place.config, "--json")
    found = claims(said)
    assert said.data["holds"] is True
    assert set(found) == {
        "attachments",
        "configuration",
        "cryptography",
        "keys",
        "store",
        "certificate",
        "channels",
        "handles",
        "port (listen)",
        "port (observe)",
        "directory",
        "own key",
        "freshness",
        "clock",
    }
    assert sorted(path.name for path in place.folder.iterdir()) == before


def test_check_names_what_does_not_hold(place: Place, say: Any) -> None:
    """Wrong credential, taken port, another instance's key, an old certificate: each its own line with a hint."""
    (place.folder / "relay.key").write_bytes(bytes(32))
    said = say("check", "--config", place.config, "--json")
    assert said.code == errors.REFUSED
    assert claims(said)["keys"][0] is False
    (place.folder / "relay.key").write_bytes(KEY)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place.write(listen={"port": port})
        said = say("check", "--config", place.config)
        assert said.code == errors.REFUSED
        assert f"Port {port} on 127.0.0.1 cannot be had" in said.out
        assert "ss -ltnp" in said.out

    public, _private = certificate(place.folder, days=3)
    place.write(listen={"certificate": public.name, "key": "relay.pem"})
    found = claims(say("check", "--config", place.config, "--json"))
    assert found["certificate"][0] is True
    holds, text = found["certificate dates"]
    assert (holds, text.endswith("more days.")) == (False, True)


def test_check_names_every_handle_that_leads_nowhere(place: Place, say: Any) -> None:
    """A profile's handle without a table is a claim that fails, before a night shows it."""
    place.write(mapped=("VN",))
    said = say("check", "--config", place.config, "--json")
    assert said.code == errors.REFUSED
    assert claims(said)["handles"] == (False, "Nobody can be paged at AU duty, AU-B duty.")
    assert claims(said)["channels"] == (True, "1 handles lead to channels that can be used.")


def test_check_tries_what_stands_in_the_tables(place: Place, say: Any) -> None:
    """An endpoint in the inner network, or a secret that others can read, is told by a claim and not at night."""
    before = place.config.read_text()
    inner = 'channels = [{ kind = "webhook", url = "https://10.1.2.3/page" }]'
    place.config.write_text(f'{before}\n[[endpoint]]\ndesk = "VN"\nhandle = "chief"\n{inner}\n')
    holds, text = claims(say("check", "--config", place.config, "--json"))["channels"]
    assert (holds, "10.1.2.3, which is an inner address" in text) == (False, True)

    token = place.folder / "token"
    token.write_text("sesame")
    token.chmod(0o644)
    loose = 'channels = [{ kind = "webhook", url = "http://127.0.0.1:9/page", token = "token" }]'
    place.config.write_text(f'{before}\n[[endpoint]]\ndesk = "VN"\nhandle = "chief"\n{loose}\n')
    holds, text = claims(say("check", "--config", place.config, "--json"))["channels"]
    assert (holds, "can be read by others" in text) == (False, True)


def test_a_test_page_says_what_came_of_it(place: Place, say: Any) -> None:
    """The text, its code and each channel's result, in words and as JSON; a failure is exit 1."""
    place.write(argv=json.dumps(["/bin/sh", "-c", f"cat >{place.folder}/paged"]))
    said = say("page-test", "--config", place.config, "--desk", "AU", "--handle", "duty")
    assert said.code == 0
    assert said.out.splitlines()[1].split() == ["sent", "command", "exit", "0"]
    text = (place.folder / "paged").read_text().strip()
    assert text.startswith("TEST Routine request waits. Code ")
    assert said.out.splitlines()[0] == f"Sent to AU duty: {text}"

    place.write(argv='["/bin/false"]')
    args = ("--desk", "AU", "--handle", "duty", "--priority", "emergency", "--json")
    said = say("page-test", "--config", place.config, *args)
    assert said.code == errors.REFUSED
    assert said.data["channels"] == [
        {"channel": "command", "result": "failed_temp", "why": "exit 1"}
    ]
    assert said.data["text"].startswith("TEST EMERGENCY")
    assert said.data["code"] in said.data["text"]


def test_a_test_page_to_nobody(place: Place, say: Any) -> None:
    """A handle without a table is a sentence with what to type."""
    said = say("page-test", "--config", place.config, "--desk", "AU", "--handle", "chief")
    assert said.code == errors.CONFIGURATION
    assert "no [[endpoint]] for desk AU and handle chief" in said.err
    assert "relay check" in said.err


def test_check_knows_another_networks_root(place: Place, say: Any) -> None:
    """A pack that does not verify from the trust anchor is a claim that fails, with the reason."""
    other = World(now=place.world.now, desks=("VN",))
    other.files = {**other.files, "1.root.json": b"{}"}
    (place.folder / "directory.pack").write_bytes(b"\0\1x")
    holds, text = claims(say("check", "--config", place.config, "--json"))["directory"]
    assert holds is False
    assert text


# What goes wrong at the start


def test_wrong_credential_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 77 and what to do, not a traceback."""
    (place.folder / "relay.key").write_bytes(bytes(32))
    said = say("serve", "--config", place.config)
    assert said.code == errors.NO_PERMISSION
    assert len(said.err.strip().splitlines()) in (1, 2)


def test_a_credential_that_others_can_read_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 77 and the chmod line."""
    (place.folder / "relay.key").chmod(0o644)
    said = say("serve", "--config", place.config)
    assert said.code == errors.NO_PERMISSION
    assert "chmod 600" in said.err


def test_a_store_of_a_newer_version_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 78: an older relay does not touch a newer one's file."""
    file = sqlite3.connect(place.folder / "relay.db")
    file.execute("CREATE TABLE a (b)")
    file.execute("PRAGMA user_version = 99")
    file.commit()
    file.close()
    (place.folder / "relay.db").chmod(0o600)
    for command in ("serve", "doctor"):
        said = say(command, "--config", place.config)
        assert "newer" in said.err + said.out
    assert say("serve", "--config", place.config).code == errors.CONFIGURATION


def test_a_missing_folder_for_the_store_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 73 and the mkdir line."""
    place.write(store={"path": "nowhere/relay.db"})
    said = say("serve", "--config", place.config)
    assert said.code == 73
    assert "mkdir -m 700" in said.err


def test_a_missing_root_document_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 78, and which file it is."""
    (place.folder / "root.json").unlink()
    said = say("serve", "--config", place.config)
    assert said.code == errors.CONFIGURATION
    assert "root.json" in said.err


def test_a_taken_port_is_a_sentence(place: Place, say: Any) -> None:
    """Exit 69, the port, and how to see who has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place.write(listen={"port": taken.getsockname()[1]})
        said = say("serve", "--config", place.config)
    assert said.code == errors.UNAVAILABLE
    assert "is taken by another program" in said.err


def test_errors_are_json_where_json_is_asked_for(place: Place, say: Any) -> None:
    """With --json the sentence, hint and exit code are one object on standard error."""
    said = say("serve", "--config", place.folder / "none.toml", "--json")
    error = json.loads(said.err)["error"]
    assert (said.code, error["exit"], said.out) == (78, 78, "")
    assert "cannot be read" in error["text"]


def test_usage_and_exit_codes(place: Place, say: Any) -> None:
    """A command line that cannot be is 2; the table of codes names every code that errors can have."""
    assert say("serve").code == errors.USAGE
    assert say("sevre").code == errors.USAGE
    for url in ("ftp://x", "http://relay.example", "ws://192.0.2.1:8424", "https:8424"):
        assert say("publish", place.config, "--url", url).code == errors.USAGE, url
    listed = {one["code"] for one in say("exit-codes", "--json").data["exit_codes"]}
    assert set(errors.EXIT_CODE.values()) <= listed
    assert "done" in say("exit-codes").out


def test_an_unforeseen_error_is_a_sentence(
    place: Place, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a bug of the relay's own ends with 70 and a sentence, and no traceback unless asked for."""

    def broken(_path: Path) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(cli, "_config", broken)
    said = say("check", "--config", place.config)
    assert (said.code, "secret" in said.err) == (errors.INTERNAL, False)
    assert "POC24_TRACEBACK=1" in said.err


# doctor and backup without a running relay


def test_doctor_and_backup_of_a_relay_that_stands_still(place: Place, say: Any) -> None:
    """The store is opened, looked through and copied; the copy is a store again, and is not overwritten."""
    said = say("backup", "--config", place.config, place.folder / "copy.db")
    assert said.code == 0
    said = say("backup", "--config", place.config, place.folder / "copy.db")
    assert (said.code, "there already" in said.err) == (73, True)
    said = say("doctor", "--config", place.config, "--json")
    found = claims(said)
    assert found["store"][0] is True
    assert {"log", "disk", "sync", "freshness"} <= set(found)
    assert found["freshness"] == (False, "The relay has no directory yet.")
    assert said.code == errors.REFUSED
    assert (place.folder / "copy.db").stat().st_mode & 0o777 == 0o600


def test_doctor_finds_damage(place: Place, say: Any) -> None:
    """A file that is none, and one whose rows contradict each other: exit 1 and a finding."""
    (place.folder / "relay.db").write_bytes(b"not a database at all" * 400)
    (place.folder / "relay.db").chmod(0o600)
    said = say("doctor", "--config", place.config, "--json")
    assert said.code == errors.REFUSED
    assert claims(said)["store"][0] is False


# A real process


@pytest.fixture
def running(place: Place) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start `relay serve` as a process; yield it and its ready line; make sure that it ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relay.cli", "serve", "--config", str(place.config), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        yield process, json.loads(line)["ready"]
    finally:
        process.kill()
        process.communicate(timeout=READY_S)


def test_a_real_relay_from_start_to_stop(
    place: Place, say: Any, running: tuple[subprocess.Popen[str], dict[str, Any]]
) -> None:
    """serve, check, doctor, backup, a second serve, publish, SIGTERM: as an operator goes through them."""
    process, ready = running
    url = f"http://127.0.0.1:{ready['port']}"
    found = claims(say("check", "--config", place.config, "--json"))
    assert all(holds for holds, _text in found.values()), found
    assert "running relay" in found["store"][1]
    found = claims(say("doctor", "--config", place.config, "--json"))
    assert found["store"] == (True, "Every row, hash and number agrees with every other.")
    assert found["freshness"][0] is True
    said = say("backup", "--config", place.config, place.folder / "copy.db", "--json")
    assert said.data == {"path": str(place.folder / "copy.db"), "blobs": 0}
    said = say("serve", "--config", place.config)
    assert said.code == errors.TRY_AGAIN
    assert f"number {process.pid}" in said.err

    place.world.freshen(place.world.now)
    pack = place.folder / "newer.pack"
    pack.write_bytes(directories.pack(place.world.files))
    version = place.world.directory().version
    assert say("publish", pack, "--url", url, "--json").data == {"version": version}
    pack.write_bytes(b"\0\1x")
    said = say("publish", pack, "--url", url)
    assert said.code == errors.EXIT_CODE[Code.E_ENCODING]

    process.send_signal(signal.SIGTERM)
    _out, err = process.communicate(timeout=READY_S)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    assert {"ready", "draining", "a newer directory is in force"} <= set(events)
    assert not (place.folder / "relay.db-wal").exists()
    said = say("publish", pack, "--url", url)
    assert said.code == errors.UNAVAILABLE
    assert "Connect" in said.err
    assert "ClientConnectorError" not in said.err


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"version":"8"}', b"{}"])
def test_what_answers_is_no_relay(place: Place, say: Any, answer: bytes) -> None:
    """Another program on that port, with whatever it says: a sentence, and no error of our own."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            line, _address = door.accept()
            with line:
                while line.recv(1 << 16).find(b"service") < 0:
                    pass  # the whole of the small file
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                line.sendall(head % len(answer) + answer)

        other = threading.Thread(target=serve, daemon=True)
        other.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        said = say("publish", place.config, "--url", url)
    assert said.code == errors.BAD_DATA, said.err
    assert "error of its own" not in said.err


def test_a_copy_takes_a_new_epoch(place: Place, say: Any) -> None:
    """A relay that starts on a backup says so by its epoch, so that desks send again what they hold."""
    assert say("backup", "--config", place.config, place.folder / "copy.db").code == 0

    async def epoch(name: str) -> int:
        store = SqliteStore(place.folder / name)
        await store.start(place.world.now)
        await store.stop()
        return store.epoch

    assert asyncio.run(epoch("relay.db")) != asyncio.run(epoch("copy.db"))
