"""A matter between two running desks: both see the same, and the alarm of an end rings once, whoever was away."""

import json
from pathlib import Path
from typing import Any

from builders_desk import Seat, Stage, perform
from builders_keys import NOW
from builders_matter import DAY, WHOLE, Thread, document
from click.testing import CliRunner

from keys import statement, suite
from keys.statement import b64u
from relay.desk import cli_matter
from relay.desk.cli import desk as command
from relay.desk.documents import forms
from relay.desk.documents.reading import written
from relay.wire import content


async def write(seat: Seat, to: str, kind: str, thread: str = "", **fields: Any) -> str:
    """Sign a document of a kind and hand it over; return its message id."""
    header = seat.header(to, ack_by=0)
    body = statement.encode(document(kind, **fields))
    stated = content.originate(
        header,
        kind=forms.statement_kind(kind),
        body_type=forms.body_type(kind),
        body=body,
        thread=thread,
        nonce=suite.random_bytes(16),
        created=header.created,
        officer=seat.officer,
    )
    sent = await seat.desk.send(b64u(header.encode()), b64u(stated.wire), b64u(body))
    await seat.desk.wait(sent["msg"], "delivered", 60)
    await seat.stage.clock.sleep(10)
    return str(sent["msg"])


def rings(seat: Seat) -> list[dict[str, Any]]:
    """Return the alarms of matters that watchers saw."""
    return [one for one in seat.told("alarm") if one["stage"] == "extension"]


def test_both_desks_see_the_same_and_the_alarm_rings_once(tmp_path: Path) -> None:
    """Items, dates, documents and flags are the same at both; after a day away each desk rings once, over restarts."""

    async def story(stage: Stage) -> None:
        vn, au = await stage.seat("VN"), await stage.seat("AU")
        rows = document("preservation_request")["items"] * 2
        asked = await write(vn, "AU", "preservation_request", items=rows, legal_basis="UNCC-42")
        answer = await write(au, "VN", "acceptance", asked, **Thread.held(1, 2, days=2))
        until = written(NOW + 120 * DAY)
        more = await write(vn, "AU", "extension_request", asked, **WHOLE, requested_until=until)
        await write(vn, "AU", "release_notice", asked)
        await stage.settle()
        here, there = await vn.desk.matter(answer), await au.desk.matter(asked)
        for name in ("items", "steps", "flags", "state", "due", "opened"):
            assert here[name] == there[name], name
        assert here["items"][1]["state"] == "held"
        assert [step["fits"] for step in here["steps"]] == [True, True, True, False]
        assert (await vn.desk.matters())["matters"][0]["msg"] == asked
        assert rings(vn) == []
        await vn.stop()
        await stage.clock.sleep(DAY)
        for _time in range(2):
            vn.start()
            await vn.until(lambda: vn.events or vn.task is None, 60)
            await stage.settle()
            await vn.stop()
        (alarm,) = rings(vn)
        assert (alarm["msg"], alarm["to"], alarm["priority"]) == (asked, "AU", "emergency")
        assert len(rings(au)) == 1
        standing = (await au.desk.status())["matters_due"]
        assert standing[0]["text"].startswith("Nobody has answered the request to extend")
        assert (await au.desk.inbox())["matters_due"] == standing
        assert more in [step["msg"] for step in (await au.desk.matter(more))["steps"]]

    perform(story, tmp_path)


def test_the_commands_are_there(tmp_path: Path) -> None:
    """`desk matters` and `desk matter` say what they do, and what is wrong where there is no desk."""
    for name in ("matters", "matter"):
        shown = CliRunner().invoke(command, [name, "--help"])
        assert shown.exit_code == 0
        assert command.commands[name] is getattr(cli_matter, name)
    found = CliRunner().invoke(command, ["matters", "--json", "--home", str(tmp_path)])
    assert found.exit_code == 78
    assert json.loads(found.stderr)["error"]["exit"] == 78
