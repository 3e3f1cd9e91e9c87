"""The command line against a real relay on loopback and a desk that is really served by another process."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders_desks import PASSPHRASE, LiveRelay, make_home, passphrase_fd
from builders_keys import World
from click.testing import CliRunner, Result

from keys import keyfile, statement, suite
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay.desk import letters
from relay.desk.cli import desk
from relay.desk.clock import SystemClock

STRETCH = suite.stretch_passphrase
"""As it really is: see `quick_rings`."""
FACTS = "A mail account was taken over and used to empty bank accounts."
REQUEST: dict[str, Any] = {
    "kind": "preservation_request",
    "legal_basis": "UNCC-42",
    "request_status": "NEW",
    "date_of_request": "2026-11-23T02:50:00Z",
    "national_reference": "VN-A05-2026-0417",
    "requesting_authority": {
        "organisation": "Department of Cybersecurity",
        "country": "VN",
        "address": "Ha Noi",
    },
    "officer": {
        "name": "Tran Thi Mai",
        "function": "Investigator",
        "email": "desk@example.vn",
        "phone": "+84 24 1234 5678",
    },
    "reachable": {
        "office_hours": "08:00-17:00",
        "time_zone": "Asia/Ho_Chi_Minh",
        "out_of_hours_phone": "+84 24 1234 5679",
        "languages": ["vi", "en"],
    },
    "requested_authority": "AU",
    "language": "en",
    "translation_attached": False,
    "translation_is_machine": False,
    "proceeding_type": "INVESTIGATION",
    "offence_categories": ["UNCC-7"],
    "offence_domestic": {
        "law": "Penal Code",
        "section": "289",
        "title": "Illegal access",
        "max_penalty_years": 7,
    },
    "facts_summary": FACTS,
    "items": [
        {
            "identifier_type": "EMAIL",
            "identifier_value": "suspect@example.au",
            "data_categories": ["TRAFFIC"],
            "period_from": "2026-11-01T00:00:00Z",
            "period_to": "2026-11-20T00:00:00Z",
            "relation_to_offence": "The account from which the access was made.",
            "custodian": {"known": True, "name": "Example Mail Pty Ltd", "country": "AU"},
        }
    ],
    "necessity": "The provider deletes its logs after thirty days.",
    "urgency_reasons": ["RETENTION-ENDS"],
    "requested_duration_days": 60,
    "confidential": True,
    "do_not_notify_user": True,
    "do_not_notify_reason": "The suspect would destroy evidence.",
    "intends_mla": True,
    "mla_measure": ["DISCLOSE"],
    "mla_expected_by": "2027-01-10",
    "approver": {"name": "Nguyen Van Binh", "function": "Head of division"},
}


@pytest.fixture(scope="module", autouse=True)
def quick_rings() -> Iterator[None]:
    """Argon2id takes half a second by design; here it is shown once, in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "stretch_passphrase", lambda word, salt, **_m: suite.sha256(word.encode() + salt)
        )
        yield


@dataclass
class Network:
    """A relay in a thread, AU served by a process, VN run by each command for itself."""

    folder: Path
    world: World
    relay: LiveRelay
    served: subprocess.Popen[bytes]
    request: Path

    def run(self, who: str, *args: object, signed: bool = False, **more: Any) -> Result:
        """Run one command line of a desk; *signed*: with the passphrase on a descriptor."""
        line = [*map(str, args), "--home", str(self.folder / who)]
        if not signed:
            return CliRunner().invoke(desk, line, **more)
        given = passphrase_fd()
        try:
            return CliRunner().invoke(desk, [*line, "--passphrase-fd", str(given)], **more)
        finally:
            os.close(given)

    def json(self, who: str, *args: object, signed: bool = False) -> dict[str, Any]:
        """Run a command that must succeed, and return its data."""
        found = self.run(who, *args, "--json", signed=signed)
        assert found.exit_code == 0, found.stderr
        assert found.stdout.count("\n") == 1
        data: dict[str, Any] = json.loads(found.stdout)
        return data

    def send(self, *args: object) -> str:
        """Send the request from VN to AU, wait until AU has it, and return its id."""
        line = ["send", self.request, "--to", "AU", "--dated-now", "--yes", "--until", "delivered"]
        return str(self.json("VN", *line, *args, signed=True)["msg"])


def command(folder: Path, *args: str) -> list[str]:
    """Return the words with which a process of its own is started."""
    return [sys.executable, "-m", "relay.desk.cli", *args, "--home", str(folder)]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, quick_rings: None) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("n")
    world = World(officers=1, now=SystemClock().now() - 60)
    relay = LiveRelay(world)
    relay.start()
    for who in ("VN", "AU"):
        make_home(world, folder / who, who, relay.port)
    request = folder / "request.json"
    request.write_text(json.dumps(REQUEST, indent=2))
    with (folder / "served.log").open("wb") as log:
        served = subprocess.Popen(
            command(folder / "AU", "serve"), stdout=subprocess.PIPE, stderr=log
        )
    assert served.stdout is not None
    assert b"Desk AU is ready" in served.stdout.readline()
    found = Network(folder, world, relay, served, request)
    assert found.run("VN", "status", "--wait", "10").exit_code == 0  # VN fetches the directory
    connected = False
    ends = time.monotonic() + 20
    while not connected and time.monotonic() < ends:
        connected = found.json("AU", "status")["connected"]
        time.sleep(0.05)
    yield found
    served.send_signal(signal.SIGTERM)
    assert served.wait(20) == 0
    served.stdout.close()
    relay.stop()


def test_the_telephone_book_needs_no_line(network: Network) -> None:
    """`desk phone` reads the directory at hand: for a desk that is served, and for one whose relay is far away."""
    found = network.json("AU", "phone", "VN")
    assert [one["number"] for one in found["desks"][0]["numbers"]] == ["+84 24 1234 5678"]
    settings = network.folder / "VN" / "desk.toml"
    before = settings.read_text()
    settings.write_text(before.replace(str(network.relay.port), "1"))
    text = network.run("VN", "phone", "au").stdout
    settings.write_text(before)
    assert "AU-B  Australia, backup contact point" in text
    assert "+84 24 1234 5678  (en; 24/7)" in text
    unknown = network.run("VN", "phone", "NZ")
    assert unknown.exit_code == 1
    assert "AU, AU-B, VN" in unknown.stderr


def test_the_whole_journey_by_hand(network: Network) -> None:
    """Send, inbox, show, acknowledge, answer, timeline: each as typed, each with its JSON."""
    line = ["send", network.request, "--to", "AU", "--dated-now", "--yes", "--ack-within", "45m"]
    sent = network.json("VN", *line, "--until", "delivered", signed=True)
    assert set(sent) == {
        *(
            "msg",
            "statement",
            "sealed",
            "state",
            "to",
            "backup",
            "priority",
            "mode",
            "ack_by",
            "expires",
        )
    }
    assert (sent["to"], sent["backup"], sent["state"]) == ("AU", "AU-B", "delivered")
    msg = sent["msg"]
    listed = network.json("AU", "inbox")["messages"]
    assert [one["msg"] for one in listed] == [msg]
    page = network.run("AU", "show", msg[:10]).stdout
    assert page.startswith("URGENT request from VN to AU\n")
    assert f"desk acknowledge {msg[:10]}" in page
    assert FACTS[:20] in page
    assert network.json("AU", "show", msg[:10])["document"]["facts_summary"] == FACTS
    assert [one["msg"] for one in network.json("VN", "sent")["messages"]] == [msg]
    open_ones = network.run("VN", "sent").stdout
    assert msg[:10] in open_ones
    assert "next: it is offered again" in open_ones
    done = network.json("AU", "acknowledge", msg[:10], signed=True)
    assert (done["msg"], done["kind"], len(done["statements"])) == (msg, "acknowledged", 1)
    assert network.json("AU", "inbox") == {"messages": []}
    assert "Nothing needs you." in network.run("AU", "inbox").stdout
    ends = time.gmtime(network.world.now + 70 * 86_400)
    day = time.strftime("%Y-%m-%d", ends)
    answered = network.json("AU", "answer", msg[:10], "--preserved-until", day, signed=True)
    assert answered["answers"] == msg
    waited = network.run("VN", "inbox", "--wait", "10")
    assert f"{answered['msg'][:10]}  URGENT    answer   from AU" in waited.stdout
    accepted = network.json("VN", "show", answered["msg"][:12])
    assert accepted["document"]["preserved_until"] == f"{day}T23:59:59Z"
    assert (
        accepted["document"]["how_to_get_data"]["central_authority"] == "Ministry of Justice (AU)"
    )
    assert accepted["thread"] == msg
    told = network.json("VN", "timeline", msg[:10])
    assert told["state"] == "closed"
    kinds = [one["what"] for one in told["lines"]]
    for kind in ("statement", "submission", "accepted", "delivered", "acknowledged", "closed"):
        assert kind in kinds
    assert all(one["verified"] for one in told["lines"])
    text = network.run("VN", "timeline", msg[:10]).stdout
    assert "au-01 (AU): acknowledged by a person" in text
    assert "au-01 (AU): closed: answered" in text


def test_an_exercise_says_so_everywhere(network: Network) -> None:
    """The mode that the officer chose is signed, and is the first word on every page."""
    msg = network.send("--mode", "exercise", "--backup", "")
    assert network.run("AU", "show", msg[:10]).stdout.startswith("*** EXERCISE")
    assert "EXERCISE" in network.run("AU", "inbox").stdout
    assert network.json("AU", "show", msg[:10])["header"]["backup"] == ""


def test_a_refusal_needs_a_ground_and_a_second_person(network: Network) -> None:
    """A refusal names a ground that the treaty allows and an approver who is another; else nothing is sent (65)."""
    msg = network.send()
    lazy = network.run(
        "AU",
        "answer",
        msg[:10],
        "--refuse",
        "R-LAZY",
        "--reason",
        "No.",
        "--approver",
        "S. Smith",
        signed=True,
    )
    assert lazy.exit_code == 65
    alone = network.run(
        "AU",
        "answer",
        msg[:10],
        "--refuse",
        "R-SOV",
        "--reason",
        "Essential interests.",
        signed=True,
    )
    assert alone.exit_code == 65
    assert "desk answer --help" in alone.stderr, "there is no file that could be corrected"
    assert "Correct the file" not in alone.stderr
    assert network.json("AU", "timeline", msg[:10])["state"] == "delivered"
    line = [
        "answer",
        msg[:10],
        "--refuse",
        "R-SOV",
        "--reason",
        "Essential interests.",
        "--approver",
        "S. Smith",
    ]
    named = network.run("AU", *line, signed=True)
    assert named.exit_code == 77, "a name is not a signature: see test_cli_drafts"
    assert "--draft" in named.stderr
    assert network.json("AU", "timeline", msg[:10])["state"] == "delivered"


def test_less_than_sixty_days_is_refused_before_it_is_signed(network: Network) -> None:
    """An acceptance below the treaty's shortest term ends with 65 and sends nothing."""
    msg = network.send()
    day = time.strftime("%Y-%m-%d", time.gmtime(network.world.now + 30 * 86_400))
    found = network.run("AU", "answer", msg[:10], "--preserved-until", day)
    assert found.exit_code == 65, "no passphrase is asked for what cannot be sent"
    assert "at least 60 days" in found.stderr
    assert network.json("AU", "timeline", msg[:10])["state"] == "delivered"


def test_declining_tells_why(network: Network) -> None:
    """`declined` moves the ladder on at once; the reason travels sealed."""
    msg = network.send()
    told = network.json(
        "AU", "decline", msg[:10], "--reason", "Ask the federal police.", signed=True
    )
    assert told["declined"] == msg
    assert network.run("VN", "inbox", "--wait", "10").exit_code == 0
    page = network.run("VN", "show", told["msg"][:10])
    assert "Ask the federal police." in page.stdout
    assert network.json("VN", "timeline", msg[:10])["state"] == "declined"


def test_withdrawing_stops_it(network: Network) -> None:
    """The sender takes a request back with a coded reason; the asked desk reads both."""
    msg = network.send()
    told = network.json("VN", "withdraw", msg[:10], "--reason", "SENT-IN-ERROR", signed=True)
    assert told["withdrawn"] == msg
    ends = time.monotonic() + 10
    while (
        network.json("AU", "timeline", msg[:10])["state"] != "withdrawn" and time.monotonic() < ends
    ):
        time.sleep(0.05)
    page = network.run("AU", "show", msg[:10])
    assert "Nothing: it is withdrawn" in page.stdout


def test_each_side_has_its_own_acts(network: Network) -> None:
    """The sender cannot acknowledge its own request, nor the asked desk withdraw it; each is told what to type."""
    msg = network.send()
    own = network.run("VN", "acknowledge", msg[:10], signed=True)
    assert own.exit_code == 1
    assert f"desk withdraw {msg[:10]}" in own.stderr
    other = network.run("AU", "withdraw", msg[:10], "--reason", "CASE-CLOSED", signed=True)
    assert other.exit_code == 1
    assert f"desk decline {msg[:10]}" in other.stderr


@pytest.mark.parametrize("text", ["0123456789", "12345", "nonsense", ""])
def test_an_unknown_message_is_a_sentence(network: Network, text: str) -> None:
    """An id that nobody has, or that is too short to be one, ends with 1 and the command that lists them."""
    for who in ("VN", "AU"):
        found = network.run(who, "show", text)
        assert found.exit_code == 1
        assert "desk inbox --all" in found.stderr


def test_an_ambiguous_message_is_a_sentence(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits that two messages share are not guessed at (1)."""
    network.send()
    network.send()
    monkeypatch.setattr(letters, "PREFIX_DIGITS_MIN", 0)
    found = network.run("VN", "show", "")
    assert found.exit_code == 1
    assert "Give more of its digits." in found.stderr


def test_an_unknown_desk_is_a_sentence(network: Network, tmp_path: Path) -> None:
    """A desk that is not in the directory ends with 1 before anything is signed."""
    draft = tmp_path / "r.json"
    draft.write_text(json.dumps(REQUEST | {"requested_authority": "NZ"}))
    found = network.run("VN", "send", draft, "--to", "NZ", "--dated-now", "--yes", signed=True)
    assert found.exit_code == 1
    assert "NZ" in found.stderr


def test_without_a_terminal_sending_wants_yes(network: Network) -> None:
    """A script must say --yes; the recipient is shown all the same, and nothing is sent (2)."""
    before = len(network.json("VN", "inbox", "--all")["messages"])
    found = network.run("VN", "send", network.request, "--to", "AU", "--dated-now", signed=True)
    assert found.exit_code == 2
    assert "24/7 contact point of Australia" in found.stderr
    assert "Fingerprint" in found.stderr
    assert len(network.json("VN", "inbox", "--all")["messages"]) == before


def test_the_relay_away_keeps_the_message(network: Network, tmp_path: Path) -> None:
    """Signed while the relay is away: kept in the outbox, told so (75), and sent when it is there again."""
    settings = network.folder / "VN" / "desk.toml"
    whole = settings.read_text()
    settings.write_text(whole.replace(f":{network.relay.port}", ":1"))
    try:
        line = [
            "send",
            network.request,
            "--to",
            "AU",
            "--dated-now",
            "--yes",
            "--wait",
            "0.3",
            "--json",
        ]
        found = network.run("VN", *line, signed=True)
    finally:
        settings.write_text(whole)
    assert found.exit_code == 75
    kept = json.loads(found.stdout)
    assert kept["state"] == "queued"
    error = json.loads(found.stderr.splitlines()[-1])["error"]
    assert "kept in the outbox" in error["text"]
    assert "Do not send it again" in error["hint"]
    assert network.json("VN", "timeline", kept["statement"][:10])["state"] == "queued"
    network.run("VN", "inbox", "--wait", "10")
    assert network.json("VN", "timeline", kept["statement"][:10])["state"] in {
        "accepted",
        "delivered",
    }


def test_what_never_left_is_withdrawn_quietly(network: Network) -> None:
    """A request that is taken back before a byte of it left reaches nobody, and no withdrawal does either."""
    settings = network.folder / "VN" / "desk.toml"
    whole = settings.read_text()
    settings.write_text(whole.replace(f":{network.relay.port}", ":1"))
    line = ["send", network.request, "--to", "AU", "--dated-now", "--yes", "--wait", "0", "--json"]
    try:
        kept = json.loads(network.run("VN", *line, signed=True).stdout)["statement"]
        told = network.json(
            "VN", "withdraw", kept[:10], "--reason", "SENT-IN-ERROR", "--wait", "0", signed=True
        )
    finally:
        settings.write_text(whole)
    assert told["state"] == "withdrawn"
    before = len(network.json("AU", "inbox", "--all")["messages"])
    assert network.run("VN", "inbox", "--wait", "10").exit_code == 0
    assert network.json("VN", "timeline", kept[:10])["state"] == "withdrawn"
    assert len(network.json("AU", "inbox", "--all")["messages"]) == before


def test_a_second_serve_is_told_of_the_first(network: Network) -> None:
    """One home is for one process: the second ends with 75 and names the first."""
    found = subprocess.run(
        command(network.folder / "AU", "serve"), capture_output=True, check=False, timeout=30
    )
    assert found.returncode == 75
    assert f"process {network.served.pid}".encode() in found.stderr
    assert network.json("AU", "status")["served"] is True


def test_watch_prints_a_line_for_each_step(network: Network) -> None:
    """`desk watch --json` is one object on a line, at once; it ends quietly with Ctrl-C."""
    line = command(network.folder / "AU", "watch", "--json")
    # Unbuffered: what select sees must not hide in a buffer of this process.
    # A shell that runs these tests in the background ignores SIGINT, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    signal.signal(signal.SIGINT, before)
    assert watching.stdout is not None
    assert watching.stderr is not None
    try:
        _until_watched(network)
        msg = network.send()
        network.json("AU", "acknowledge", msg[:10], signed=True)
        seen: list[dict[str, Any]] = []
        while not any(one.get("kind") == "acknowledged" and one["msg"] == msg for one in seen):
            ready, _w, _x = select.select([watching.stdout], [], [], 20)
            assert ready, seen
            seen.append(json.loads(watching.stdout.readline()))
        assert any(one["event"] == "message" and one["msg"] == msg for one in seen)
        assert seen[-1]["by"] == "au-01"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
        assert watching.stderr.read() == b""
    finally:
        watching.kill()
        watching.communicate()


def _until_watched(network: Network) -> None:
    """Return when the served desk has somebody who watches: sockets of that name in the kernel's table."""
    path = str(network.folder / "AU" / "control.sock")
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        connected = [
            line for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(path)
        ]
        if len(connected) > 1:
            time.sleep(0.1)  # the question follows the connection
            return
        time.sleep(0.02)
    raise AssertionError("nobody watches")


def test_a_backup_opens_with_the_recovery_key(network: Network, tmp_path: Path) -> None:
    """A new device with the desk's recovery key reads what was sent; a second restore overwrites nothing (73)."""
    seed = b"r" * 32
    ring = tmp_path / "recovery.ring"
    held = KeyRing((Held(Role.DESK, seed, "recovery", "VN"),))
    keyfile.write_private(ring, keyfile.seal_person(held, PASSPHRASE))
    public = statement.b64u(suite.prekey_public(seed))
    msg = network.send()
    settings = network.folder / "VN" / "desk.toml"
    settings.write_text(f'recovery = "{public}"\n' + settings.read_text())
    copy = tmp_path / "copy.db"
    made = network.json("VN", "backup", copy)
    assert made["recoverable"] is True
    assert network.run("VN", "backup", copy).exit_code == 73
    new = network.folder / "NEW"
    make_home(network.world, new, "VN", network.relay.port)
    restored = network.json("NEW", "restore", copy, "--recovery-ring", ring, signed=True)
    assert restored["messages"] >= 1
    assert network.json("NEW", "show", msg[:10])["document"]["facts_summary"] == FACTS
    again = network.run("NEW", "restore", copy, "--recovery-ring", ring, signed=True)
    assert again.exit_code == 73
    foreign = network.run("AU", "restore", copy, "--recovery-ring", ring, signed=True)
    assert foreign.exit_code in {75, 77}


def test_a_person_is_asked_and_can_say_no(network: Network) -> None:
    """On a terminal the recipient is shown and a question asked; "n" signs nothing and sends nothing (1)."""
    before = len(network.json("VN", "inbox", "--all")["messages"])
    line = command(network.folder / "VN", "send", str(network.request), "--to", "AU", "--dated-now")
    mine, theirs = pty.openpty()
    asking = subprocess.Popen(line, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while b"Sign, seal and send this?" not in said:
            ready, _w, _x = select.select([mine], [], [], 20)
            assert ready, said
            said += os.read(mine, 4096)
        os.write(mine, b"n\n")
        assert asking.wait(20) == 1
    finally:
        asking.kill()
        asking.communicate()
        os.close(mine)
    assert b"24/7 contact point of Australia" in said
    assert len(network.json("VN", "inbox", "--all")["messages"]) == before


def test_the_real_passphrase_in_a_process_of_its_own(network: Network, tmp_path: Path) -> None:
    """With Argon2id as it is: a wrong passphrase ends with 77, a right one signs; neither shows anywhere."""
    msg = network.send()
    ring = tmp_path / "officer.ring"
    held = KeyRing((Held(Role.OFFICER, network.world.signer("AU").seed, "au-01", "AU"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "stretch_passphrase", STRETCH)
        keyfile.write_private(ring, keyfile.seal_person(held, PASSPHRASE))
    outputs = b""
    for word, ends in (("wrong horse", 77), (PASSPHRASE, 0)):
        given = passphrase_fd(word)
        line = command(network.folder / "AU", "acknowledge", msg[:10])
        line += ["--officer-ring", str(ring), "--passphrase-fd", str(given)]
        found = subprocess.run(line, capture_output=True, pass_fds=[given], check=False, timeout=60)
        os.close(given)
        assert found.returncode == ends, found.stderr
        outputs += found.stdout + found.stderr
    assert b"horse" not in outputs
    assert network.json("AU", "timeline", msg[:10])["state"] == "acknowledged"


def test_nothing_secret_is_in_the_served_desks_log(network: Network) -> None:
    """Neither content nor names nor keys nor passphrase is in what `desk serve` wrote, and there is something in it."""
    network.send()
    text = (network.folder / "served.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert any(one["event"] == "message" for one in lines)
    held = [network.world.signer("AU").seed, network.world.device("AU").seed]
    spellings = [spelling for one in held for spelling in (one.hex(), statement.b64u(one))]
    for secret in (
        FACTS,
        "Tran Thi Mai",
        "suspect@example.au",
        "VN-A05-2026-0417",
        PASSPHRASE,
        *spellings,
    ):
        assert secret not in text


def test_any_kind_of_document_is_written_in_a_thread(network: Network) -> None:
    """Questions with a freeze, answers, an extension and its decision: each from a file, each read on the other side."""
    msg = network.send()
    files: dict[str, Path] = {}
    for kind in ("info_request", "info_answer", "extension_request", "extension_decision"):
        made = json.loads(network.run("VN", "form", kind, "--example").stdout)
        made["national_reference"] = REQUEST["national_reference"]
        files[kind] = network.folder / f"{kind}.json"
        files[kind].write_text(json.dumps(made))

    def write(who: str, kind: str, about: str) -> dict[str, Any]:
        line = ["write", kind, "--file", files[kind], "--about", about[:10], "--dated-now", "--yes"]
        return network.json(who, *line, signed=True)

    asked = write("AU", "info_request", msg)
    assert network.run("VN", "inbox", "--wait", "10").exit_code == 0
    page = network.json("VN", "show", asked["msg"][:10])
    assert (page["kind"], page["thread"]) == ("info", msg)
    assert page["header"]["ack_by"] > 0, "questions want an answer, so a person acknowledges them"
    answered = write("VN", "info_answer", asked["msg"])
    assert network.json("VN", "show", answered["msg"][:10])["thread"] == msg
    extend = write("VN", "extension_request", msg)
    found = network.json("AU", "show", extend["msg"][:10])
    assert (found["kind"], found["thread"]) == ("request", msg)
    decided = write("AU", "extension_decision", extend["msg"])
    assert network.json("AU", "timeline", extend["msg"][:10])["state"] == "closed"
    assert network.run("VN", "inbox", "--wait", "10").exit_code == 0
    assert network.json("VN", "show", decided["msg"][:10])["thread"] == extend["msg"]


def test_a_document_reads_in_any_language(network: Network) -> None:
    """The same message in Arabic as text and as HTML; free text stays as it was written."""
    msg = network.send()
    arabic = network.run("AU", "show", msg[:10], "--language", "ar").stdout
    assert "طلب الحفظ العاجل" in arabic
    assert FACTS[:20] in arabic
    html = network.run("AU", "show", msg[:10], "--language", "ar", "--html").stdout
    assert html.startswith('<!DOCTYPE html>\n<html lang="ar" dir="rtl">')
    assert '<bdi dir="ltr">VN-A05-2026-0417</bdi>' in html
    assert "<script" not in html


def test_what_opens_a_thread_is_written_too(network: Network) -> None:
    """Spontaneous information goes to a desk as any request does; what follows needs to know what."""
    made = json.loads(network.run("VN", "form", "spontaneous_information", "--example").stdout)
    path = network.folder / "spontaneous.json"
    path.write_text(json.dumps(made))
    line = ["write", "spontaneous_information", "--file", path, "--to", "AU", "--yes"]
    sent = network.json("VN", *line, "--wait", "10", signed=True)
    assert sent["to"] == "AU"
    assert network.json("VN", "show", sent["msg"][:10])["document"]["kind"] == made["kind"]
    wrong = network.run("VN", "write", "spontaneous_information", "--file", path, "--about", sent["msg"][:10], "--yes", signed=True)  # fmt: skip
    assert wrong.exit_code == 65
    assert "follows no request" in wrong.stderr
