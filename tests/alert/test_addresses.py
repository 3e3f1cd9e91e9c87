"""Whom the relay calls: the open internet, and its own machine where the operator says so by name."""

import asyncio
import ipaddress

import pytest

from relay.alert import addresses
from relay.alert.addresses import Forbidden


@pytest.mark.parametrize(
    "ip",
    [
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "233.252.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "fec0::1",
        "5f00::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:0a00:0001::1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_inner_addresses_are_refused(ip: str) -> None:
    """Private, link-local, shared, reserved, multicast; also wrapped in IPv6 (mapped, 6to4, Teredo, NAT64)."""
    assert not addresses.is_open(ipaddress.ip_address(ip))
    assert not addresses.permitted("pager.example.org", ipaddress.ip_address(ip))


@pytest.mark.parametrize(
    "ip", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_open_addresses_are_called(ip: str) -> None:
    """What anybody can reach, the relay may."""
    assert addresses.permitted("pager.example.org", ipaddress.ip_address(ip))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_loopback_by_its_own_name(host: str) -> None:
    """This machine is called only under a name that says so, and such a name leads nowhere else."""
    assert addresses.is_loopback(host)
    assert addresses.permitted(host, ipaddress.ip_address("127.0.0.1"))
    assert not addresses.permitted(host, ipaddress.ip_address("8.8.8.8"))
    assert not addresses.permitted(host, ipaddress.ip_address("10.0.0.1"))


@pytest.mark.parametrize("host", ["localhost.example.org", "10.0.0.1", "example", "2130706433"])
def test_nothing_else_is_loopback(host: str) -> None:
    """A name that only looks like it is judged by its address."""
    assert not addresses.is_loopback(host)


async def test_one_inner_address_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to an open and to an inner address is not called at all."""
    found = [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("10.0.0.1", 443))]

    async def answer(*_args: object, **_more: object) -> list[object]:
        return list(found)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    with pytest.raises(Forbidden):
        await addresses.resolve("pager.example.org", 443)
    found.pop()
    (known,) = await addresses.resolve("pager.example.org", 443)
    assert (known.ip, known.port) == ("8.8.8.8", 443)
    found.clear()
    with pytest.raises(OSError, match="no address"):
        await addresses.resolve("pager.example.org", 443)


async def test_numbers_in_disguise_are_looked_at() -> None:
    """A host written as one number resolves to what it is, and is refused."""
    with pytest.raises((Forbidden, OSError)):
        await addresses.resolve("2130706433", 80)
    with pytest.raises((Forbidden, OSError)):
        await addresses.resolve("0x7f.1", 80)


async def test_an_impossible_name_does_not_resolve() -> None:
    """A label that no name can have is an ordinary failure."""
    with pytest.raises(OSError, match="no name"):
        await addresses.resolve("x" * 64 + ".example", 80)
