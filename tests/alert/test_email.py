"""E-mail against a real SMTP server on loopback: what is said before the text, and what the mail looks like."""

import email
import email.policy
import ssl
from pathlib import Path

import pytest
from builders_alert import HANGS, MailServer, body_of, mailed, page_for
from builders_relay import certificate

from relay.alert import texts
from relay.alert.email import Email
from relay.alert.page import Word


def mail_to(server: MailServer, security: str = "none", **more: object) -> Email:
    """Return a channel to that server."""
    return Email(
        "relay@relay.test",
        "duty@au.test",
        "127.0.0.1",
        server.port,
        security,
        **{"seconds": 5.0, **more},  # type: ignore[arg-type]
    )


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context and that of who trusts it."""
    public, private = certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    return server, ssl.create_default_context(cafile=str(public))


async def test_a_mail_is_a_mail() -> None:
    """Parsed as mail programs do, subject and body say the text in its own script; no fault is found."""
    page = page_for(language="vi", priority="emergency", mode="exercise", count=12, oldest=45)
    async with mailed() as server:
        await mail_to(server).send(page)
    parsed = email.message_from_bytes(server.mails[0], policy=email.policy.default)

    assert str(parsed["Subject"]) == texts.text(page)
    assert parsed.get_content().strip() == texts.text(page)
    assert (parsed["From"], parsed["To"]) == ("relay@relay.test", "duty@au.test")
    assert (parsed["Importance"], parsed["Auto-Submitted"]) == ("high", "auto-generated")
    assert parsed["Message-ID"] == f"<{page.key}@relay.test>"
    assert "2030" in parsed["Date"]
    assert parsed.defects == []
    assert all(len(line) < 998 for line in server.mails[0].split(b"\r\n"))


async def test_what_the_server_hears() -> None:
    """A greeting by the sender's domain, one sender, one recipient, and good-bye."""
    async with mailed() as server:
        result = await mail_to(server).send(page_for())

    assert (result.word, result.why) == (Word.SENT, "code 250")
    assert server.said == [
        "EHLO relay.test",
        "MAIL FROM:<relay@relay.test>",
        "RCPT TO:<duty@au.test>",
        "DATA",
        "QUIT",
    ]


async def test_starttls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Login and text travel after STARTTLS only, to a server with the right certificate."""
    async with mailed(tls[0]) as server:
        channel = mail_to(server, "starttls", tls=tls[1], login="relay", password="right")
        result = await channel.send(page_for())

    assert result.word is Word.SENT
    assert server.secure == [True]
    assert server.logins == ["relay:right"]
    assert server.said.index("STARTTLS") < server.said.index("MAIL FROM:<relay@relay.test>")


async def test_tls_at_once(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The other usual port: TLS before the first word."""
    async with mailed(tls[0], at_once=True) as server:
        result = await mail_to(server, "tls", tls=tls[1]).send(page_for())

    assert result.word is Word.SENT
    assert server.secure == [True]


async def test_a_wrong_certificate_gets_nothing(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A server that cannot show who it is hears no login and no text."""
    strangers = ssl.create_default_context()
    async with mailed(tls[0]) as server:
        channel = mail_to(server, "starttls", tls=strangers, login="relay", password="right")
        result = await channel.send(page_for())

    assert result.word is Word.FAILED_TEMP
    assert (server.mails, server.logins) == ([], [])


async def test_no_way_back_to_plain_text() -> None:
    """Where STARTTLS is asked for and not offered, the page is not sent in the open."""
    async with mailed() as server:
        channel = mail_to(server, "starttls", tls=ssl.create_default_context())
        result = await channel.send(page_for())

    assert (result.word, server.mails) == (Word.FAILED_PERM, [])


async def test_a_wrong_password_is_final(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The server's 535 stands for the operator to see; the password does not."""
    async with mailed(tls[0]) as server:
        channel = mail_to(server, "starttls", tls=tls[1], login="relay", password="wrong")
        result = await channel.send(page_for())

    assert (result.word, result.why) == (Word.FAILED_PERM, "code 535")
    assert "wrong" not in repr(channel)


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        ("busy", Word.FAILED_TEMP),
        ("mute", Word.FAILED_TEMP),
        (HANGS, Word.UNKNOWN),
        ("breaks", Word.UNKNOWN),
    ],
)
async def test_before_and_after_the_text(behaviour: str, word: Word) -> None:
    """Before the text was handed over nothing can have arrived; afterwards, it can."""
    async with mailed() as server:
        server.behaviour = behaviour
        result = await mail_to(server, seconds=1.5).send(page_for())

    assert result.word is word


async def test_nobody_listens() -> None:
    """A closed port is a failure that may pass."""
    async with mailed() as server:
        channel = mail_to(server)
    assert (await channel.send(page_for())).word is Word.FAILED_TEMP


async def test_an_inner_mail_server_is_not_called() -> None:
    """The relay's own network is out of reach: only loopback by its name, or the open internet."""
    channel = Email("relay@relay.test", "duty@au.test", "10.0.0.1", 25, "none", seconds=2.0)
    result = await channel.send(page_for())

    assert (result.word, result.why) == (Word.FAILED_PERM, "an inner address")


def test_the_body_is_filled_up() -> None:
    """The text in the body has its width, so that also its base64 is as long as any other."""
    channel = Email("relay@relay.test", "duty@au.test", "127.0.0.1", 25, "none")
    page = page_for()

    assert len(body_of(channel.message(page)).rstrip("\r\n").encode()) == texts.width(
        "urgent", "en"
    )
