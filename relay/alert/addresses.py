"""Which addresses the relay may call out to: those of the open internet, and its own machine by its own name.

Endpoints come from the operator's configuration and not from a desk; still, a name may lead anywhere tomorrow. So a
name is resolved here, every address that it leads to is looked at, and the connection goes to exactly those addresses:
nobody can answer a second question differently. An inner network is reached through a command, or not at all.
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

UNICAST = ipaddress.IPv6Network("2000::/3")
"""The part of IPv6 from which addresses of the open internet are given out."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a gateway turns into the IPv4 address in their last four bytes (RFC 6052)."""


class Forbidden(Exception):
    """The host leads to an address that the relay does not call."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection goes."""

    family: socket.AddressFamily
    ip: str
    port: int


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by a name that says so: ``localhost`` or a loopback address."""
    if host == "localhost":
        return True
    found = literal(host)
    return found is not None and found.is_loopback


def literal(host: str) -> Ip | None:
    """Return the address that *host* spells out, or None if it is a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_open(ip: Ip) -> bool:
    """Whether an address is one of the open internet, also where it is wrapped into another."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner: list[Ip] = [one for one in (ip.ipv4_mapped, ip.sixtofour) if one is not None]
        inner += ip.teredo or ()
        if ip in NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
        if inner:
            return all(is_open(one) for one in inner)
        if ip.scope_id is not None or ip not in UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified


def permitted(host: str, ip: Ip) -> bool:
    """Whether a connection for *host* may go to *ip*: loopback only where the host says so itself."""
    return ip.is_loopback if is_loopback(host) else is_open(ip)


async def resolve(host: str, port: int) -> tuple[Address, ...]:
    """Return every address of *host*; Forbidden if one of them may not be called, OSError if there is none."""
    loop = asyncio.get_running_loop()
    bare = host.removeprefix("[").removesuffix("]")
    try:
        found = await loop.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("no name") from None
    addresses: dict[str, Address] = {}
    for family, _type, _proto, _name, where in found:
        ip = str(where[0])
        if not permitted(host, ipaddress.ip_address(ip)):
            raise Forbidden
        addresses.setdefault(ip, Address(family, ip, port))
    if not addresses:
        raise OSError("no address")
    return tuple(addresses.values())
