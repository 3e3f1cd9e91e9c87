"""Identifiers of an item: each type has its form, and some are worth nothing without time or port.

A wrong identifier is the commonest reason why data are lost: the custodian looks for nothing, or for
somebody else. Forms, examples and needs of each type are in ``codes.json``.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping

from relay.desk.documents import codes
from relay.desk.documents.reading import Finding, text

_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Addresses that mean something only inside one network. Those for documentation serve drills."""


def identifier(path: str, item: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what is wrong with the identifier of an item, found at ``path``."""
    entry = codes.find("identifier", item.get("identifier_type"))
    value = text(item, "identifier_value")
    if entry is None or not value:
        return
    if re.fullmatch(entry.more["pattern"], value) is None or not _real(entry.code, value):
        yield Finding(
            f"{path}.identifier_value",
            f"This is no {entry.label()}; write it like: {entry.more['example']}.",
        )
    elif entry.code in {"IPV4", "IPV6"}:
        address = ipaddress.ip_address(value)
        if any(address in network for network in _LOCAL if network.version == address.version):
            yield Finding(
                f"{path}.identifier_value",
                "This address is used inside networks only; nobody can trace it.",
                warning=True,
            )
    labels = {
        "observed_at": "Observed at",
        "observed_tz": "Time zone of the log",
        "port": "Port",
        "service": "Service",
    }
    for needed in entry.more["needs"]:
        if needed in item or (needed == "port" and "port_unknown_reason" in item):
            continue
        more = ", or say why it is not known" if needed == "port" else ""
        yield Finding(
            f"{path}.{needed}",
            f"“{labels[needed]}” is missing: an identifier of type {entry.code} needs it{more}.",
        )


def _real(code: str, value: str) -> bool:
    if code in {"IPV4", "IPV6"}:
        try:
            return f"IPV{ipaddress.ip_address(value).version}" == code
        except ValueError:
            return False
    if code == "IBAN":
        turned = value[4:] + value[:4]
        return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1
    return True
