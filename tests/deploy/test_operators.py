"""Rules, runbook and dashboard: each alert tried in promtool, and the whole loop once with the real programs.

Relay -> Prometheus -> rule -> Alertmanager -> webhook, on loopback: a message whose ladder has come to its end pages,
and a person's acknowledgement ends the page.
"""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from builders import Letter, letter_of, receipt_of
from builders_keys import World
from builders_relay import Running, running

from relay.store.sqlite import SqliteStore
from relay.wire import frames
from relay.wire.frames import Type

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
CASES = (DEPLOY / "prometheus" / "rules.test.yml", DEPLOY / "prometheus" / "rules.hours.test.yml")
DASHBOARD = DEPLOY / "grafana" / "relay.json"
RUNBOOK = DEPLOY / "README.md"
PARTS = ("Meaning", "Impact", "First 5 minutes", "Who to call", "How to verify it is over")
PATIENCE_S = 30
POLL_S = 0.1
ALWAYS = {"Watchdog"}
"""It has no case in which it does not fire: that is its purpose."""


def program(name: str) -> str:
    """Return where one of the operators' programs is; fail with the line to type if it is missing."""
    found = os.environ.get(f"POC24_{name.upper()}") or Path(sys.executable).with_name(name)
    if not os.access(found, os.X_OK):
        pytest.fail(
            f"{found} is missing. Type this, then start again:\n"
            "  sh -c 'poc24_needs=test; . deploy/bootstrap.sh; . deploy/operators.sh'",
            pytrace=False,
        )
    return str(found)


def ask(name: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end."""
    return subprocess.run(
        [program(name), *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )


def alerts() -> dict[str, str]:
    """Return each alert's own part of the rules, by its name."""
    parts = RULES.read_text().split("- alert: ")[1:]
    return {part.split("\n", 1)[0].strip(): part for part in parts}


def cases() -> list[str]:
    """Return every case of the rules' tests, from its name on."""
    return [case for file in CASES for case in file.read_text().split("  - name: ")[1:]]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels without the rows' headings."""
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[str]:
    """Return every query of the dashboard, its variables filled in."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [one.replace("$job", "relay").replace("$__rate_interval", "1m") for one in found]


# Without anything running


def test_the_rules_are_sound_and_do_what_they_say() -> None:
    """Promtool reads rules and examples; every case of rules.test.yml comes out as written."""
    for checked in (
        ask("promtool", "check", "rules", RULES),
        ask("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"),
        ask("amtool", "check-config", DEPLOY / "prometheus" / "alertmanager.yml"),
        ask("promtool", "test", "rules", *CASES),
    ):
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that was never seen to fire, or never seen silent, is not trusted."""
    fires, silent = set[str](), set[str]()
    for case in cases():
        name = case.split("alertname: ")[1].split("\n", 1)[0]
        assert case.startswith(f'"{name}: '), "a case is called after its alert"
        (silent if "exp_alerts: []" in case else fires).add(name)

    assert fires == set(alerts())
    assert silent == set(alerts()) - ALWAYS


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "(relay_timer_oldest_due_timestamp_seconds > 0)",
            "(relay_timer_oldest_due_timestamp_seconds)",
        ),
        ('absent(up{job="relay"})\n            or ', ""),
        (
            "            and job_sli:relay_deadline_misses:increase6h >= 3\n        labels:\n          severity: page",
            "        labels:\n          severity: page",
        ),
        (
            "last_over_time(relay_escalations_exhausted_open[5m])",
            "relay_escalations_exhausted_open",
        ),
        ('{kind!="directory"} > 0)', '{kind!="directory"})'),
    ],
)
def test_a_rule_that_was_spoilt_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    """The cases are able to fail: a filter, a guard or a window that is taken out makes one of them fail."""
    rules = RULES.read_text()
    assert rules.count(right) == 1
    (alert,) = [name for name, rule in alerts().items() if right in rule]
    (tmp_path / "rules.yml").write_text(rules.replace(right, wrong))
    (file,) = [file for file in CASES if f'"{alert}: ' in file.read_text()]
    head, *rest = file.read_text().split("  - name: ")
    own = [case for case in rest if case.startswith(f'"{alert}: ')]
    (tmp_path / "rules.test.yml").write_text("  - name: ".join([head, *own]))

    tried = ask("promtool", "test", "rules", tmp_path / "rules.test.yml")
    assert tried.returncode == 1
    assert f"alertname: {alert}" in tried.stderr, "not for another reason"


def test_each_alert_has_a_section_in_the_runbook() -> None:
    """Whoever is woken finds what it means, whom it hurts, what to do, whom to call, and when it is over."""
    sections = re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    by_name = {section.split("\n", 1)[0]: section for section in sections}

    assert set(by_name) == set(alerts())
    for name, rule in alerts().items():
        assert f"runbook_url: deploy/README.md#{name.lower()}\n" in rule
        severity = re.search(r"severity: (\w+)", rule)
        assert severity
        assert f"\n*{severity[1]}*\n" in by_name[name]
        assert re.findall(r"^\*\*(.+)\.\*\*", by_name[name], re.MULTILINE) == list(PARTS), name
        for link in re.findall(r"\]\(#(\w+)\)", by_name[name]):
            assert link in {one.lower() for one in by_name}


def test_the_dashboard_says_what_to_do() -> None:
    """Fixed uid, unique panels; each has a title, a unit, a source to choose, and a sentence; the generator agrees."""
    board = json.loads(DASHBOARD.read_text())
    made = subprocess.run(
        [sys.executable, DEPLOY / "grafana" / "make.py"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert made.stdout == DASHBOARD.read_text(), (
        "type: python deploy/grafana/make.py > deploy/grafana/relay.json"
    )
    assert board["uid"] == "poc24-relay"
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len(panel["description"]) > 20, panel["title"]
        for alert in re.findall(r"runbook, (\w+)(?: and (\w+))?", panel["description"]):
            assert {one for one in alert if one} <= set(alerts()), panel["title"]


# With everything running


class Tower:
    """Prometheus and Alertmanager over one relay, and the webhook that pages end at."""

    def __init__(self, folder: Path, relay: Running, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.relay = relay
        self.session = session
        self.posted: list[dict[str, Any]] = []
        self.base = ""

    async def hook(self, request: web.Request) -> web.Response:
        """Take what Alertmanager posts."""
        self.posted.append({"path": request.path, **await request.json()})
        return web.Response()

    async def get(self, path: str, **params: str) -> Any:
        """Ask Prometheus; return the data, or None while it does not answer."""
        try:
            async with self.session.get(self.base + path, params=params) as response:
                body = await response.json(content_type=None)
        except (aiohttp.ClientError, ValueError):
            return None
        assert body["status"] == "success", f"{params}: {body}"
        return body["data"]

    async def samples(self, query: str) -> list[Any]:
        """Return what a query gives now."""
        data = await self.get("/api/v1/query", query=query)
        return list(data["result"]) if data else []

    def told(self, alert: str, status: str) -> list[dict[str, Any]]:
        """Return what was posted about an alert."""
        return [
            {**one, "path": post["path"]}
            for post in self.posted
            for one in post["alerts"]
            if one["labels"]["alertname"] == alert and one["status"] == status
        ]


async def until(what: str, look: Callable[[], Awaitable[Any]]) -> Any:
    """Look again and again until there is something; fail after PATIENCE_S."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while not (found := await look()):
        assert loop.time() < end, f"{what} did not happen within {PATIENCE_S} s"
        await asyncio.sleep(POLL_S)
    return found


async def answers(session: aiohttp.ClientSession, base: str) -> bool:
    """Whether a program says that it is ready."""
    try:
        async with session.get(f"{base}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def free_port(loop: asyncio.AbstractEventLoop) -> int:
    """Return a port that is free now."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@asynccontextmanager
async def process(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program with its log in a file; end it."""
    with (folder / f"{Path(words[0]).name}.log").open("wb") as log:
        running_ = await asyncio.create_subprocess_exec(
            *words, cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield running_
        finally:
            with contextlib.suppress(ProcessLookupError):
                running_.kill()
            await running_.wait()


@asynccontextmanager
async def tower(folder: Path, relay: Running) -> AsyncIterator[Tower]:
    """Run the real programs over a relay, with the rules as they are shipped and the example's routes."""
    loop = asyncio.get_running_loop()
    ours, theirs = free_port(loop), free_port(loop)
    async with aiohttp.ClientSession() as session:
        made = Tower(folder, relay, session)
        app = web.Application()
        app.router.add_post("/{kind}", made.hook)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        hook = runner.addresses[0][1]
        example = (DEPLOY / "prometheus" / "alertmanager.yml").read_text()
        quick = example.replace("127.0.0.1:9095", f"127.0.0.1:{hook}").replace(
            "group_interval: 1m", "group_interval: 1s"
        )
        (folder / "alertmanager.yml").write_text(quick)
        example = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        quick = (
            example.replace("127.0.0.1:9424", relay.observed.removeprefix("http://"))
            .replace("127.0.0.1:9093", f"127.0.0.1:{theirs}")
            .replace("_interval: 5s", "_interval: 1s")
        )
        (folder / "prometheus.yml").write_text(quick)
        # As shipped, but looked at every second: a test does not wait for half a minute.
        rules = re.sub(
            r"interval: (5s|30s|1m)$", "interval: 1s", RULES.read_text(), flags=re.MULTILINE
        )
        (folder / "rules.yml").write_text(rules)
        made.base = f"http://127.0.0.1:{ours}"
        prometheus = process(
            folder,
            program("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{ours}",
            "--rules.alert.resend-delay=1s",  # it finds Alertmanager only after it has begun to fire
        )
        alertmanager = process(
            folder,
            program("alertmanager"),
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alerts",
            f"--web.listen-address=127.0.0.1:{theirs}",
            "--cluster.listen-address=",
        )
        try:
            async with alertmanager:
                await until("Alertmanager", lambda: answers(session, f"http://127.0.0.1:{theirs}"))
                async with prometheus:
                    yield made
        finally:
            await runner.cleanup()


async def silence(relay: Running, world: World) -> Letter:
    """Let a request go unanswered to the end of its ladder; the relay's clock stands at the real time then."""
    sender, _token = await relay.connected("VN")
    begun = relay.clock.at
    letter = letter_of(world, begun)
    await sender.call(Type.SUBMIT, frames.join(letter.submission.wire, letter.envelope))
    for passed in (300, 600, 1200, 3600):
        relay.clock.at = begun + passed
        await relay.relay.ticker.turn()
    value = relay.relay.metrics.registry.get_sample_value
    assert value("relay_escalations_exhausted_open", {"priority": "urgent"}) == 1
    return letter


async def test_silence_reaches_the_operator_and_an_answer_ends_it(tmp_path: Path) -> None:
    """Exhausted at the relay -> rule -> Alertmanager -> webhook; a person acknowledges -> resolved. All queries live."""
    now = int(time.time())  # noqa: TID251 - Prometheus knows no other time
    world = World(now=now - 7200)
    world.freshen(now - 3600)
    async with (
        running(world, SqliteStore(tmp_path / "relay.db"), at=now - 3600) as relay,
        tower(tmp_path, relay) as watch,
    ):
        # It first has to be seen at peace: then the alert is ours.
        await until("a scrape", lambda: watch.samples('up{job="relay"} == 1'))
        world.freshen(now)
        await relay.relay.sessions.publish(world.files, now)
        letter = await silence(relay, world)

        async def fired() -> Any:
            return watch.told("RelayEscalationExhausted", "firing")

        (page, *_more) = await until("a page", fired)
        assert (page["path"], page["labels"]["severity"], page["labels"]["priority"]) == (
            "/page",
            "page",
            "urgent",
        )
        assert page["annotations"]["runbook_url"] == "deploy/README.md#relayescalationexhausted"

        async def beat() -> Any:
            return [one for one in watch.told("Watchdog", "firing") if one["path"] == "/alive"]

        await until("the heartbeat", beat)
        await every_query_has_data(watch)
        every_metric_is_there(relay)

        officer, _token = await relay.connected("AU")
        acknowledged = receipt_of(world, "acknowledged", letter, now)
        await officer.call(Type.RECORD, frames.join(acknowledged.wire))

        async def resolved() -> Any:
            return watch.told("RelayEscalationExhausted", "resolved")

        await until("the end of it", resolved)


async def every_query_has_data(watch: Tower) -> None:
    """Each query of the dashboard parses, and gives data from a live relay."""
    for query in queries():
        assert await watch.get("/api/v1/format_query", query=query), query

        async def look(query: str = query) -> Any:
            return await watch.samples(query)

        await until(f"data for {query}", look)


def every_metric_is_there(relay: Running) -> None:
    """Each metric that a rule or a panel names is one that the relay has; a misspelt name would stay silent for ever."""
    names = set(
        re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{| )", relay.numbers(), re.MULTILINE)
    )
    known = names | {"up", *re.findall(r"^      - record: (\S+)", RULES.read_text(), re.MULTILINE)}
    for text in (
        *queries(),
        *re.findall(r"expr: (?:\|\n((?:          .*\n)+)|(.*))", RULES.read_text()),
    ):
        expr = text if isinstance(text, str) else "".join(text)
        for used in re.findall(
            r"(?<![\w:])((?:relay|process|job_sli:relay|up)[\w:]*)", strings_out(expr)
        ):
            assert used.removesuffix("_bucket").removesuffix("_count") in known, f"{used} in {expr}"


def strings_out(expr: str) -> str:
    """Return an expression without what stands in quotes or in a by(): labels are no metrics."""
    return re.sub(r'"[^"]*"|\bby \([^)]*\)', "", expr)
