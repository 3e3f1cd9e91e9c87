"""From the tables of the configuration to channels: secrets read, certificates loaded, hosts looked at."""

import ssl
from collections.abc import Iterable
from pathlib import Path

from yarl import URL

from keys import keyfile
from keys.errors import Failed
from keys.identity import Signer
from relay.alert import addresses, texts
from relay.alert.command import Command
from relay.alert.email import Email
from relay.alert.page import Channel, Woken
from relay.alert.webhook import Webhook
from relay.endpoints import ByCommand, ByWebhook, Endpoint, Way

SECRET_CHARACTERS_MAX = 1000


def woken(
    endpoints: Iterable[Endpoint], service: str, evidence: Signer
) -> dict[tuple[str, str], Woken]:
    """Return who stands behind each (desk, handle); Failed (78) with a sentence if one cannot be used."""
    trusts: dict[Path | None, ssl.SSLContext] = {}
    return {(one.desk, one.handle): _woken(one, service, evidence, trusts) for one in endpoints}


def _woken(
    endpoint: Endpoint,
    service: str,
    evidence: Signer,
    trusts: dict[Path | None, ssl.SSLContext],
) -> Woken:
    place = f"The endpoint {endpoint.desk} {endpoint.handle}"
    if endpoint.language not in texts.languages():
        known = ", ".join(texts.languages())
        raise _unusable(
            f"{place} wants pages in {endpoint.language!r}; there are texts in {known}."
        )
    channels = tuple(_channel(way, place, service, evidence, trusts) for way in endpoint.ways)
    return Woken(endpoint.desk, endpoint.handle, endpoint.language, channels)


def _channel(
    way: Way,
    place: str,
    service: str,
    evidence: Signer,
    trusts: dict[Path | None, ssl.SSLContext],
) -> Channel:
    if isinstance(way, ByCommand):
        return Command(way.argv, float(way.seconds))
    if way.ca not in trusts:  # made once: each holds every authority of this machine
        trusts[way.ca] = _tls(way.ca, place)
    tls, seconds = trusts[way.ca], float(way.seconds)
    if isinstance(way, ByWebhook):
        _check_host(URL(way.url).host or "", place)
        return Webhook(way.url, service, evidence, _secret(way.token, place), tls, seconds)
    _check_host(way.host, place)
    return Email(
        way.sender,
        way.to,
        way.host,
        way.port,
        way.security,
        tls,
        way.login,
        _secret(way.password, place),
        seconds,
    )


def _check_host(host: str, place: str) -> None:
    """Refuse an inner address that is spelt out; a name is looked at whenever it is called."""
    spelt = addresses.literal(host)
    if spelt is not None and not addresses.permitted(host, spelt):
        raise _unusable(
            f"{place} leads to {host}, which is an inner address: the relay does not call these.",
            "Use a host of the open internet, loopback, or a command.",
        )


def _secret(path: Path | None, place: str) -> str:
    """Return the one line of a private file; "" if none is named."""
    if path is None:
        return ""
    try:
        secret = keyfile.read_private(path).decode("ascii").rstrip("\r\n")
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(secret) > SECRET_CHARACTERS_MAX or not secret.isprintable():
        raise _unusable(f"{place}: the file {path} is not one line of plain characters.")
    return secret


def _tls(ca: Path | None, place: str) -> ssl.SSLContext:
    """Return what a server's certificate is judged by: the machine's authorities, or the one that is named."""
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError):
        raise _unusable(f"{place}: {ca} is not a certificate that can be read.") from None


def _unusable(text: str, hint: str = "See [[endpoint]] in deploy/relay.example.toml.") -> Failed:
    return Failed(text, hint=hint, exit_code=78)
