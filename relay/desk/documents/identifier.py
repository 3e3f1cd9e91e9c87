"""Identifiers of an item: each type has its form, some a checksum, some are worth nothing without time or port.

A wrong identifier is the commonest reason why data are lost: the custodian looks for nothing, or for
somebody else. Forms, examples and needs of each type are in ``codes.json``; checksums are in
:mod:`relay.desk.documents.checksums`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from relay.desk.documents import checksums, codes
from relay.desk.documents.reading import Finding, text
from relay.desk.documents.wording import say

_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Addresses that mean something only inside one network. Those for documentation serve drills."""

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)\Z")
_OFFSET = re.compile(r"[+-]([0-9]{2}):([0-9]{2})\Z")
_LABELS = {
    "observed_at": "Observed at",
    "observed_tz": "Time zone of the log",
    "port": "Port",
    "service": "Service",
}


def identifier(path: str, item: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what is wrong with the identifier of an item, found at ``path``."""
    entry = codes.find("identifier", item.get("identifier_type"))
    value = text(item, "identifier_value")
    yield from _zone(path, item)
    if entry is None or not value:
        return
    place = f"{path}.identifier_value"
    if re.fullmatch(entry.more["pattern"], value) is None:
        yield Finding(place, _no_such(entry, "This is no {type}; write it like: {example}."))
    elif "*" in value and entry.code not in {"CARD-MASKED", "URL", "PROFILE-URL"}:
        yield Finding(
            place,
            "This stands for many, not for one: name each identifier, so that the custodian can"
            " find it and the request is not too broad.",
        )
    elif not WHOLE.get(entry.code, _anything)(value):
        sentence = (
            "The checksum of this {type} is wrong: a letter or digit is mistyped. It is written"
            " like: {example}."
            if entry.code in _SUMMED
            else "This is no {type}; write it like: {example}."
        )
        yield Finding(place, _no_such(entry, sentence))
    else:
        yield from _doubtful(place, entry.code, value)
    yield from _needed(path, item, entry)


def _no_such(entry: codes.Entry, sentence: str) -> str:
    return say(sentence, type=entry.named(), example=entry.more["example"])


def _needed(path: str, item: Mapping[str, object], entry: codes.Entry) -> Iterator[Finding]:
    for needed in entry.more["needs"]:
        if needed in item or (needed == "port" and "port_unknown_reason" in item):
            continue
        sentence = (
            "“{field}” is missing: an identifier of type {type} needs it, or say why it is not"
            " known. Many share one address; the port tells them apart."
            if needed == "port"
            else "“{field}” is missing: an identifier of type {type} needs it."
        )
        yield Finding(
            f"{path}.{needed}", say(sentence, field=say(_LABELS[needed]), type=entry.code)
        )


def _zone(path: str, item: Mapping[str, object]) -> Iterator[Finding]:
    found = _OFFSET.match(text(item, "observed_tz"))
    if found and (int(found[1]) > 14 or int(found[2]) > 59):
        yield Finding(f"{path}.observed_tz", "No place on earth has this time zone.")


# Whether a text that has its form is whole


def _anything(value: str) -> bool:
    return True


def _ip(version: int) -> Callable[[str], bool]:
    def real(value: str) -> bool:
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            return False
        return found.version == version and getattr(found, "ipv4_mapped", None) is None

    return real


def _domain(value: str) -> bool:
    labels = value.removesuffix(".").split(".")
    if len(value) > 253 or len(labels) < 2 or labels[-1].isdigit():
        return False
    return all(_LABEL.match(label) and _decodes(label) for label in labels)


def _decodes(label: str) -> bool:
    if not label.lower().startswith("xn--"):
        return True
    try:
        return bool(label[4:].encode("ascii").decode("punycode"))
    except (UnicodeError, ValueError):
        return False


def _email(value: str) -> bool:
    local, _at, domain = value.rpartition("@")
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    return not dots and _domain(domain)


def _url(value: str) -> bool:
    try:
        found = urlsplit(value)
        port = found.port
    except ValueError:
        return False
    return bool(found.hostname) and port != 0


def _iban(value: str) -> bool:
    lengths = codes.lists()["identifier"]["IBAN"].more["lengths"]
    return len(value) == lengths.get(value[:2], len(value)) and checksums.mod97(value)


def _coin(value: str) -> bool:
    """Whether a crypto-asset address is whole, as far as its form is one that has a checksum."""
    if value.startswith("0x"):
        return checksums.eip55(value)
    if re.match(r"(bc|tb|ltc)1", value, re.IGNORECASE):
        return checksums.bech32(value)
    if value.lower().startswith(("bitcoincash:", "bchtest:")):
        return checksums.cashaddr(value)
    if re.fullmatch(r"r[1-9A-HJ-NP-Za-km-z]{24,34}", value):
        return checksums.ripple(value)
    if re.fullmatch(r"[123LMDATn9][1-9A-HJ-NP-Za-km-z]{25,34}", value):
        return checksums.base58check(value) is not None
    if re.fullmatch(r"[48][1-9A-HJ-NP-Za-km-z]{94}([1-9A-HJ-NP-Za-km-z]{11})?", value):
        return checksums.monero(value)
    return True


def summed(value: str) -> bool:
    """Whether an address of a crypto-asset has a form whose checksum this room knows."""
    return bool(
        re.match(r"0x|(bc|tb|ltc)1|bitcoincash:|bchtest:", value, re.IGNORECASE)
        or re.fullmatch(r"[r123LMDATn9][1-9A-HJ-NP-Za-km-z]{24,34}", value)
        or re.fullmatch(r"[48][1-9A-HJ-NP-Za-km-z]{94}([1-9A-HJ-NP-Za-km-z]{11})?", value)
    )


WHOLE: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "EMAIL": _email,
        "IPV4": _ip(4),
        "IPV6": _ip(6),
        "DOMAIN": _domain,
        "URL": _url,
        "PROFILE-URL": _url,
        "IBAN": _iban,
        "CRYPTO-ADDRESS": _coin,
    }
)
"""Types whose form is not enough."""
_SUMMED = frozenset({"IBAN", "CRYPTO-ADDRESS"})


# What may be sent and should be looked at again


def _doubtful(place: str, code: str, value: str) -> Iterator[Finding]:
    sentence = ""
    if code in {"IPV4", "IPV6"}:
        address = ipaddress.ip_address(value)
        if any(address in network for network in _LOCAL if network.version == address.version):
            sentence = "This address is used inside networks only; nobody can trace it."
    elif code == "IMEI" and len(value) == 15 and not checksums.luhn(value):
        sentence = (
            "The check digit of this IMEI does not fit: was it typed right? Some logs put 0 there."
        )
    elif code == "MAC":
        first = int(value[:2], 16)
        if first & 3:
            sentence = (
                "This MAC address was made up by a device for one network; it does not name the"
                " device elsewhere."
            )
    elif code == "CRYPTO-ADDRESS" and not summed(value):
        sentence = "This room knows no checksum for such an address: compare it letter by letter."
    elif code in {"ACCOUNT-ID", "BANK-ACCOUNT", "PROVIDER-TICKET"}:
        digits = re.sub(r"[ -]", "", value)
        card = digits.isdecimal() and digits.isascii() and 13 <= len(digits) <= 19
        if card and digits[0] in "3456" and checksums.luhn(digits):
            sentence = "This looks like a whole card number; write cards masked (CARD-MASKED)."
    if sentence:
        yield Finding(place, sentence, warning=True)
