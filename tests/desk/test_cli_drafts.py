"""Four eyes by hand: drafts, a second officer's approval, lowered urgency, statistics; real homes, a real relay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders_desks import PASSPHRASE, LiveRelay, make_home, passphrase_fd
from builders_keys import World
from click.testing import CliRunner, Result

from keys import keyfile, suite
from keys.identity import Role
from keys.keyfile import Held, KeyRing
from relay.desk.cli import desk
from relay.desk.clock import SystemClock
from relay.desk.documents import skeleton


@pytest.fixture(scope="module", autouse=True)
def quick_rings() -> Iterator[None]:
    """Argon2id takes half a second by design; what it does is shown elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "stretch_passphrase", lambda word, salt, **_m: suite.sha256(word.encode() + salt)
        )
        yield


@dataclass
class Network:
    """A relay in a thread; VN asks two officers for emergencies; each command runs its desk itself."""

    folder: Path
    world: World

    def run(self, who: str, *args: object, ring: str = "", signed: bool = False) -> Result:
        """Run one command line of a desk; *ring*: whose key, where it is not the home's officer."""
        line = [*map(str, args), "--home", str(self.folder / who)]
        if ring:
            line += ["--officer-ring", str(self.folder / ring)]
        if not (signed or ring):
            return CliRunner().invoke(desk, line)
        given = passphrase_fd()
        try:
            return CliRunner().invoke(desk, [*line, "--passphrase-fd", str(given)])
        finally:
            os.close(given)

    def json(self, who: str, *args: object, ring: str = "", signed: bool = False) -> dict[str, Any]:
        """Run a command that must succeed, and return its data."""
        found = self.run(who, *args, "--json", ring=ring, signed=signed)
        assert found.exit_code == 0, found.stderr
        data: dict[str, Any] = json.loads(found.stdout)
        return data

    def request(self, **more: Any) -> Path:
        """Write a request of now; a field that is None is left out."""
        made = skeleton.example("preservation_request", SystemClock().now())
        made |= {"requested_authority": "AU", "urgency_reasons": ["THREAT-TO-LIFE"]}
        made |= {"victims_at_risk": "A child.", **more}
        path = self.folder / "request.json"
        path.write_text(json.dumps({name: one for name, one in made.items() if one is not None}))
        return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, quick_rings: None) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("n")
    world = World(officers=2, now=SystemClock().now() - 60)
    relay = LiveRelay(world)
    relay.start()
    for who in ("VN", "AU"):
        make_home(world, folder / who, who, relay.port)
        handle = world.handles(who)[1]
        held = Held(Role.OFFICER, world.signer(who, handle).seed, handle, who)
        keyfile.write_private(
            folder / f"{who}-second.ring", keyfile.seal_person(KeyRing((held,)), PASSPHRASE)
        )
    settings = folder / "VN" / "desk.toml"
    settings.write_text(settings.read_text().replace("approve = []", 'approve = ["emergency"]'))
    found = Network(folder, world)
    for who in ("VN", "AU"):
        assert found.run(who, "status", "--wait", "10").exit_code == 0
    yield found
    relay.stop()


def test_a_draft_shows_what_is_missing_until_it_is_whole(network: Network) -> None:
    """Kept incomplete, with its red letters and the recipient's warnings; edited, listed, sent, and gone."""
    half = network.request(necessity=None)
    kept = network.json("VN", "send", half, "--to", "AU", "--backup", "", "--draft")
    name = kept["draft"][:10]
    assert [one["letter"] for one in kept["letters"] if not one["fulfilled"]] == ["e"]
    page = network.run("VN", "draft", "show", name)
    assert "[ ] (e)" in page.stdout
    assert "Not complete" in page.stderr
    assert "(e)" in network.run("VN", "draft", "send", name, "--yes", signed=True).stderr
    assert "preservation_request to AU, may be sent" in network.run("VN", "drafts").stdout
    edited = network.json("VN", "draft", "edit", name, "--file", network.request())
    assert (edited["draft"], edited["complete"]) == (kept["draft"], True)
    sent = network.json("VN", "draft", "send", name, "--yes", signed=True)
    assert (sent["to"], sent["backup"], sent["state"]) == ("AU", "", "accepted")
    assert network.json("VN", "drafts") == {"drafts": []}
    again = network.run("VN", "draft", "send", name, "--yes", signed=True)
    assert again.exit_code == 1
    assert "was sent already" in again.stderr


def test_a_draft_outlives_a_killed_process(network: Network) -> None:
    """Confirmed by a served desk that is killed in the next moment: the next one has it; none of it stands readable."""
    home = network.folder / "VN"
    served = subprocess.Popen(
        [sys.executable, "-m", "relay.desk.cli", "serve", "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert served.stdout is not None
    assert b"ready" in served.stdout.readline()
    path = network.request(facts_summary="A marker that nobody else wrote.")
    line = ["write", "preservation_request", "--file", path, "--to", "AU", "--draft"]
    kept = network.json("VN", *line)
    served.send_signal(signal.SIGKILL)
    served.wait(20)
    served.stdout.close()
    found = network.json("VN", "draft", "show", kept["draft"])
    assert found["document"]["facts_summary"] == "A marker that nobody else wrote."
    assert b"A marker that nobody" not in b"".join(
        one.read_bytes() for one in home.iterdir() if one.is_file()
    )
    assert network.json("VN", "draft", "drop", kept["draft"])["state"] == "dropped"


def test_an_emergency_is_approved_lowered_and_counted(network: Network) -> None:
    """Where the policy asks: not alone, not by oneself; then sent, lowered by the other side, and seen by both."""
    path = network.request()
    line = ["send", path, "--to", "AU", "--backup", "", "--priority", "emergency"]
    before = network.json("VN", "statistics")["all"]["sent"]
    direct = network.run("VN", *line, "--yes", signed=True)
    assert direct.exit_code == 77
    assert "--draft" in direct.stderr
    name = network.json("VN", *line, "--draft")["draft"]
    assert "needs approval" in network.run("VN", "drafts").stdout
    early = network.run("VN", "draft", "send", name, "--yes", signed=True)
    assert early.exit_code == 77
    own = network.run("VN", "approve", name, signed=True)
    assert own.exit_code == 76
    assert "two people" in own.stderr
    done = network.run("VN", "approve", name, ring="VN-second.ring")
    assert done.exit_code == 0, done.stderr
    assert "approved by vn-02" in done.stdout
    edited = network.json("VN", "draft", "edit", name, "--file", network.request(necessity="Now."))
    assert edited["approved"] == {}
    network.json("VN", "approve", name, ring="VN-second.ring")
    sent = network.json("VN", "draft", "send", name, "--yes", signed=True)
    assert "approved by a second officer" in network.run("VN", "timeline", sent["msg"]).stdout
    assert "vn-02 of VN" in network.run("VN", "show", sent["msg"]).stdout
    after = network.json("VN", "statistics")["all"]["sent"]
    assert after["emergency"] == before["emergency"] + 1

    assert network.run("AU", "inbox", "--wait", "10").exit_code == 0
    reason = ["--reason", "The data are kept for a year."]
    network.json("AU", "downgrade", sent["msg"], *reason, "--yes", signed=True)
    same = network.run(
        "AU", "downgrade", sent["msg"], *reason, "--to", "urgent", "--yes", signed=True
    )
    assert same.exit_code == 1
    assert "is not lower" in same.stderr
    assert network.run("VN", "inbox", "--wait", "10").exit_code == 0
    for who in ("VN", "AU"):
        seen = "urgency changed from emergency to urgent: The data are kept for a year."
        assert seen in network.run(who, "timeline", sent["msg"]).stdout
        assert network.json(who, "show", sent["msg"])["urgency"] == "URGENT"
    table = network.run("VN", "statistics").stdout
    assert "urgency lowered 1 times" in table
    assert network.json("VN", "statistics", "--since", "2099-01-01")["desks"] == []
    mine = network.run("VN", "downgrade", sent["msg"], *reason, signed=True)
    assert mine.exit_code == 1


def test_a_refusal_goes_by_a_draft_and_two_officers(network: Network) -> None:
    """No policy is needed for it: `desk answer --refuse` alone sends nothing; approved, it closes the request."""
    sent = network.json("VN", "send", network.request(), "--to", "AU", "--yes", signed=True)
    assert network.run("AU", "inbox", "--wait", "10").exit_code == 0
    refuse = ["answer", sent["msg"], "--refuse", "R-SOV", "--reason", "No.", "--approver", "S. Ro"]
    alone = network.run("AU", *refuse, signed=True)
    assert alone.exit_code == 77
    assert "desk approve" in alone.stderr
    name = network.json("AU", *refuse, "--draft")["draft"]
    network.json("AU", "approve", name, ring="AU-second.ring")
    network.json("AU", "draft", "send", name, "--yes", signed=True)
    assert network.json("AU", "timeline", sent["msg"])["state"] == "closed"


def test_a_stranger_does_not_approve(network: Network) -> None:
    """An officer of another desk has the wrong ring for this home (77); nothing is kept of it."""
    line = ["send", network.request(), "--to", "AU", "--priority", "emergency", "--draft"]
    name = network.json("VN", *line)["draft"]
    found = network.run("VN", "approve", name, ring="AU-second.ring")
    assert found.exit_code == 77
    assert network.json("VN", "draft", "show", name)["approved"] == {}


def test_what_a_draft_cannot_be(network: Network, tmp_path: Path) -> None:
    """Without a recipient, with files, of no kind: told before anything is kept."""
    path = network.request()
    assert (
        network.run("VN", "write", "preservation_request", "--file", path, "--draft").exit_code == 2
    )
    files = ["send", path, "--to", "AU", "--draft", "--attach", path]
    assert network.run("VN", *files).exit_code == 2
    other = tmp_path / "x.json"
    other.write_text('{"kind":"acceptance"}')
    assert network.run("VN", "send", other, "--to", "AU", "--draft").exit_code == 65
    assert network.run("VN", "draft", "show", "zz").exit_code == 1
    settings = network.folder / "VN" / "desk.toml"
    whole = settings.read_text()
    settings.write_text(whole.replace('"emergency"', '"sometimes"'))
    wrong = network.run("VN", "drafts")
    settings.write_text(whole)
    assert wrong.exit_code == 78
    assert "sometimes" in wrong.stderr
