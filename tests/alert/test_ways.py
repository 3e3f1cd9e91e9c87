"""From the configuration to channels: what is read, and what is told before a night shows it."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from builders_relay import certificate
from builders_wire import SERVICE, relay_signer

from keys.errors import Failed
from relay.alert import ways
from relay.alert.command import Command
from relay.alert.email import Email
from relay.alert.page import Woken
from relay.alert.webhook import Webhook
from relay.endpoints import ByCommand, ByEmail, ByWebhook, Endpoint, Way

HOOK = ByWebhook("https://pager.example.org/au", None, None, 10)
MAIL = ByEmail(
    "duty@au.example", "relay@example.org", "mail.example.org", 587, "starttls", "", None, None, 20
)


def made(*found: Way, language: str = "en") -> Woken:
    """Return who stands behind one endpoint."""
    endpoint = Endpoint("AU", "duty", language, found)
    return ways.woken([endpoint], SERVICE, relay_signer())["AU", "duty"]


def unusable(*found: Way, language: str = "en") -> str:
    """Return the sentence with which an endpoint is refused."""
    with pytest.raises(Failed) as failure:
        made(*found, language=language)
    assert failure.value.exit_code == 78
    assert "AU duty" in failure.value.text
    return failure.value.text


def private(path: Path, text: str) -> Path:
    """Write a file that is its owner's alone."""
    path.touch(0o600)
    path.write_text(text)
    return path


def test_each_table_becomes_its_channel(tmp_path: Path) -> None:
    """With the relay's own name and key, the secrets from their files, and its time."""
    token = private(tmp_path / "token", "sesame\n")
    mail = replace(MAIL, login="relay", password=private(tmp_path / "mail", "open"))
    woken = made(replace(HOOK, token=token), mail, ByCommand(("/bin/page",), 5), language="vi")
    hook, email, command = woken.channels

    assert woken.language == "vi"
    assert isinstance(hook, Webhook)
    assert (hook.token, hook.service, hook.evidence, hook.seconds) == (
        "sesame",
        SERVICE,
        relay_signer(),
        10,
    )
    assert isinstance(email, Email)
    assert (email.recipient, email.sender, email.password, email.port) == (
        "duty@au.example",
        "relay@example.org",
        "open",
        587,
    )
    assert isinstance(command, Command)
    assert (command.argv, command.seconds) == (("/bin/page",), 5)
    assert "sesame" not in repr(woken)
    assert "open" not in repr(woken)


def test_authorities_are_read_once(tmp_path: Path) -> None:
    """A thousand endpoints share what they trust; one with its own certificate has its own."""
    public, _private = certificate(tmp_path)
    first, second, own = made(HOOK, MAIL, replace(HOOK, ca=public)).channels
    assert isinstance(first, Webhook)
    assert isinstance(second, Email)
    assert isinstance(own, Webhook)

    assert first.tls is second.tls
    assert own.tls is not first.tls
    assert own.tls is not None
    assert (own.tls.verify_mode, own.tls.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    "way",
    [
        replace(HOOK, url="https://10.0.0.1/page"),
        replace(HOOK, url="https://[fd00::1]:8443/page"),
        replace(HOOK, url="https://169.254.169.254/latest"),
        replace(MAIL, host="192.168.1.1"),
        replace(MAIL, host="::ffff:10.0.0.1"),
    ],
)
def test_inner_addresses_are_refused_at_the_start(way: Way) -> None:
    """An address that is spelt out is judged before anything is sent."""
    assert "is an inner address" in unusable(way)


@pytest.mark.parametrize(
    "way",
    [
        replace(HOOK, url="http://127.0.0.1:8080/page"),
        replace(MAIL, host="localhost", security="none"),
    ],
)
def test_loopback_is_this_machines_own(way: Way) -> None:
    """The operator's own gateway may stand beside the relay."""
    assert len(made(way).channels) == 1


def test_a_language_without_texts() -> None:
    """Those that there are are named."""
    assert "there are texts in ar, en, es, fr, ru, vi, zh" in unusable(HOOK, language="de")


@pytest.mark.parametrize("text", ["", "\n", "two\nlines", "schlüssel", "x" * 1001, "nul\0"])
def test_a_secret_is_one_plain_line(tmp_path: Path, text: str) -> None:
    """A file that was mixed up is told by its name, without its content."""
    said = unusable(replace(HOOK, token=private(tmp_path / "token", text)))
    assert str(tmp_path / "token") in said
    assert not text.strip() or text.strip() not in said


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    """A missing or wrong authority is told at the start."""
    assert "is not a certificate" in unusable(replace(HOOK, ca=tmp_path / "missing.pem"))
    assert "is not a certificate" in unusable(
        replace(MAIL, ca=private(tmp_path / "odd.pem", "odd"))
    )
