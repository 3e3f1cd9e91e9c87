"""The tables [[endpoint]]: what may stand in them, and a sentence for everything else."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from builders_keys import profile

from keys.errors import Failed
from relay import endpoints
from relay.alert import texts
from relay.config import parse
from relay.endpoints import ByCommand, ByEmail, ByWebhook, Endpoint

ROOT = Path(__file__).resolve().parents[2]
PATH = Path("/etc/poc24/relay.toml")
LEAST: dict[str, Any] = {"relay": {"service": "poc24-test", "instance": "relay.test/1"}}
HOOK: dict[str, Any] = {"kind": "webhook", "url": "https://pager.example.org/au"}
MAIL: dict[str, Any] = {
    "kind": "email",
    "to": "duty@au.example",
    "sender": "relay@example.org",
    "host": "mail.example.org",
}


def read(*tables: Any) -> tuple[Endpoint, ...]:
    """Parse a configuration with these tables."""
    return parse({**LEAST, "endpoint": list(tables)}, PATH, Path("/run/credentials")).endpoints


def one(*channels: Any, **changes: Any) -> dict[str, Any]:
    """Return one table."""
    return {"desk": "AU", "handle": "duty", "channels": list(channels) or [HOOK], **changes}


def wrong(*tables: Any) -> str:
    """Return the sentence with which tables are refused."""
    with pytest.raises(Failed) as failure:
        read(*tables)
    assert failure.value.exit_code == 78
    assert "relay.example.toml" in failure.value.hint
    return failure.value.text


def test_a_table_with_all_ways() -> None:
    """Paths stand beside the file or among the credentials; ports and times have their defaults."""
    mail = {**MAIL, "login": "relay", "password": "credential:mail", "seconds": 20}
    hook = {**HOOK, "token": "token", "ca": "ca.pem"}
    (found,) = read(
        one(hook, mail, {"kind": "command", "argv": ["/bin/page", "AU"]}, language="vi")
    )

    assert (found.desk, found.handle, found.language) == ("AU", "duty", "vi")
    assert found.ways == (
        ByWebhook(HOOK["url"], Path("/etc/poc24/token"), Path("/etc/poc24/ca.pem"), 15),
        ByEmail(
            "duty@au.example",
            "relay@example.org",
            "mail.example.org",
            587,
            "starttls",
            "relay",
            Path("/run/credentials/mail"),
            None,
            20,
        ),
        ByCommand(("/bin/page", "AU"), 15),
    )


@pytest.mark.parametrize(
    ("security", "host", "port"), [("tls", "mail.example.org", 465), ("none", "127.0.0.1", 25)]
)
def test_the_port_follows_from_the_security(security: str, host: str, port: int) -> None:
    """Unless another is named."""
    (found,) = read(one({**MAIL, "security": security, "host": host}))
    (named,) = read(one({**MAIL, "security": security, "host": host, "port": 2525}))

    assert [way.port for way in (*found.ways, *named.ways) if isinstance(way, ByEmail)] == [
        port,
        2525,
    ]


def test_without_tables_nobody_is_paged() -> None:
    """The least configuration is still enough for a start; check names what is missing."""
    assert read() == ()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (3, "[endpoint 1]: it must be a table"),
        ({}, "[endpoint 1] desk: it is missing"),
        (one(desk="Australia"), "[endpoint 1] desk: it must be a desk's id"),
        (one(handle="The Chief"), "[endpoint 1] handle: it must be a handle"),
        (one(language="english"), "language: it must be a language"),
        (one(colour="red"), "[endpoint 1] colour: there is no such key here; there are desk"),
        (one(channels=[]), "channels: it must be a list of 1 to 8"),
        (one(channels=[HOOK] * 9), "channels: it must be a list of 1 to 8"),
        (one(channels="sms"), "channels: it must be a list"),
        (one(3), "[endpoint 1 channels 1] kind: it must be one of webhook, command, email"),
        (one({"kind": "sms"}), "kind: it must be one of"),
        (one({"kind": []}), "kind: it must be one of"),
        (one(HOOK, {"kind": "webhook"}), "[endpoint 1 channels 2] url: it is missing"),
        (one({**HOOK, "secret": "sesame"}), "secret: there is no such key here"),
        (one({**HOOK, "seconds": 31}), "seconds: it must be a whole number from 1 to 30"),
        (one({**HOOK, "seconds": 0}), "seconds: it must be"),
        (one({"kind": "command", "argv": "page AU"}), "argv: it must be a list"),
        (one({"kind": "command", "argv": []}), "argv: it must be a list"),
        (
            one({"kind": "command", "argv": ["page"]}),
            "argv: the program must be named by its absolute path",
        ),
        (one({"kind": "command", "argv": ["/bin/page", 3]}), "argv: it must be a list"),
        (one({**MAIL, "to": "duty"}), "to: it must be a mailbox"),
        (one({**MAIL, "to": "duty@au.example\r\nBcc: x@y"}), "to: it must be a mailbox"),
        (one({**MAIL, "sender": "Relay <relay@example.org>"}), "sender: it must be a mailbox"),
        (one({**MAIL, "host": "mail server"}), "host: it must be a mail server's name"),
        (one({**MAIL, "security": "maybe"}), "security: it must be one of starttls, tls, none"),
        (
            one({**MAIL, "security": "none"}),
            "security: plain text is for a mail server on loopback alone",
        ),
        (one({**MAIL, "login": "relay"}), "login: login and password belong together"),
        (one({**MAIL, "password": "mail"}), "login: login and password belong together"),
    ],
)
def test_what_cannot_stand(table: Any, says: str) -> None:
    """Each with the table's number, the key, and what may stand there."""
    assert says in wrong(table)


@pytest.mark.parametrize(
    "url",
    [
        "http://pager.example.org/au",
        "ftp://pager.example.org/au",
        "https://",
        "https:///au",
        "pager.example.org",
        "https://name:word@pager.example.org/au",
        "https://pager.example.org\\@127.0.0.1/au",
        "https://pager.example.org#@127.0.0.1/",
        "https://pager.example.org/au#part",
        "https://pager.example.org:0/",
        "https://pager.example.org:99999/",
        "https://pager.example.org/a b",
        "https://pager.example.org/\nx",
        "https://pagér.example.org/",
        "https://127.0.0.1.example.org@10.0.0.1/",
        3,
    ],
)
def test_urls_that_are_refused(url: Any) -> None:
    """Only what every reader of URLs understands in the same way, and https unless it is loopback."""
    assert "url: it must" in wrong(one({**HOOK, "url": url}))


@pytest.mark.parametrize(
    "url",
    [
        "https://pager.example.org",
        "https://pager.example.org:8443/au?desk=AU&x=%20",
        "https://[2606:4700::1111]/au",
        "http://127.0.0.1:8080/page",
        "http://localhost/page",
        "http://[::1]:80/page",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    """Names, addresses, ports, queries; plain http on this machine."""
    (found,) = read(one({**HOOK, "url": url}))
    assert found.ways[0] == ByWebhook(url, None, None, 15)


def test_no_endpoint_stands_twice() -> None:
    """Two tables for one handle would leave it to chance who is woken."""
    assert "[endpoint 2] handle: AU duty stands here twice" in wrong(one(), one())
    assert len(read(one(), one(handle="chief"), one(desk="VN"))) == 3


def test_handles_that_lead_nowhere_are_found() -> None:
    """Every handle of every stage and priority of every profile is looked for."""
    other = profile()
    other["routine"]["stages"][0]["handles"] = ["desk-two", "chief"]
    profiles = {"VN": profile(), "AU": other}

    assert endpoints.unmapped(profiles, ()) == ("AU chief", "AU desk-two", "AU duty", "VN duty")
    assert endpoints.unmapped(profiles, {("AU", "duty"), ("VN", "duty"), ("AU", "chief")}) == (
        "AU desk-two",
    )


def test_the_examples_table_can_be_used() -> None:
    """deploy/relay.example.toml explains the table with one that is right, and names every language."""
    text = (ROOT / "deploy" / "relay.example.toml").read_text("utf-8")
    shown = "\n".join(line[4:] for line in text.splitlines() if line.startswith("#   "))
    (found,) = read(*tomllib.loads(shown)["endpoint"])

    assert {type(way) for way in found.ways} == {ByWebhook, ByEmail, ByCommand}
    (listed,) = re.findall(r"language = .* # (.*)", shown)
    assert sorted(listed.split(", ")) == sorted(texts.languages())
