"""Which addresses are admitted, and what counts as one."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wis2_gc_common.errors import Reason, Refused
from wis2_gc_manager.sources.address_guard import (
    AddressGuard,
    ForbiddenAddress,
    is_admitted,
    literal_address,
)

FORBIDDEN = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::f7f7:f7f7",  # Teredo: server 127.0.0.1, client 8.8.8.8
    "2001:0:808:808::80ff:fffe",  # Teredo: server 8.8.8.8, client 127.0.0.1
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
    "1.2.3",
    "0x7f.1",
    "8.8.8.8 ",
]
ADMITTED = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "192.167.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:0:808:808::f7f7:f7f7",  # Teredo: 8.8.8.8 both times
    "2001:200::1",
    "2002:808:808::1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_special_addresses_are_not_admitted(address: str) -> None:
    assert not is_admitted(address)


@pytest.mark.parametrize("address", ADMITTED)
def test_public_addresses_are_admitted(address: str) -> None:
    assert is_admitted(address)


@given(st.ip_addresses())
def test_nothing_is_admitted_that_the_standard_library_calls_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and address not in ipaddress.ip_network("64:ff9b::/96"))
    )
    if special and not is_translated(address):
        assert not is_admitted(address)


def is_translated(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None
        or address.teredo is not None
        # Debian's Python 3.11 calls all of 2002::/16 private, later ones do not.
        or address.sixtofour is not None
    )


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    verdict = is_admitted(address)
    for carrier in (
        (0xFFFF << 32) | number,
        (0x64FF9B << 96) | number,
        (0x2002 << 112) | (number << 80) | 1,
        (0x20010000 << 96) | (0x08080808 << 64) | (~number & 0xFFFFFFFF),
        (0x20010000 << 96) | (number << 64) | (~0x08080808 & 0xFFFFFFFF),
    ):
        assert is_admitted(ipaddress.IPv6Address(carrier)) == verdict


@given(st.ip_addresses())
def test_text_and_object_are_judged_alike(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_admitted(str(address)) == is_admitted(address)
    if isinstance(address, ipaddress.IPv6Address):
        assert is_admitted(address.exploded) == is_admitted(address)


@example("0\x00")
@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    literal_address(text)
    if is_admitted(text):
        ipaddress.ip_address(text)


def test_the_operators_networks_are_admitted_also_where_embedded() -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::5"):
        assert is_admitted(address, networks)
    for address in ("10.2.0.1", "fd13::5", "127.0.0.1"):
        assert not is_admitted(address, networks)


def test_metadata_services_are_never_admitted() -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    assert is_admitted("127.0.0.1", everything)
    for address in (
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "168.63.129.16",
    ):
        assert not is_admitted(address, everything)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0177.0.0.1",
        "0177.0x0.1",
        "017700000001",
        "0000177.0.0.1",
    ],
)
def test_every_spelling_of_an_address_is_understood(host: str) -> None:
    assert str(literal_address(host)) == "127.0.0.1"
    with pytest.raises(Refused) as caught:
        AddressGuard([]).check_host(host)
    assert caught.value.reason is Reason.FORBIDDEN_ADDRESS


@pytest.mark.parametrize("host", ["localhost", "1a.example", "256.256.256.256", "1.2.3.4.5", "x"])
def test_names_are_not_addresses(host: str) -> None:
    assert literal_address(host) is None
    AddressGuard([]).check_host(host)


def test_an_odd_spelling_of_an_admitted_address_is_an_invalid_link() -> None:
    guard = AddressGuard([])
    guard.check_host("8.8.8.8")
    guard.check_host("2606:4700::1111")
    for host in ("8.8.2056", "134744072", "8.8.8.8.", "010.8.8.8"):
        with pytest.raises(Refused) as caught:
            guard.check_host(host)
        assert caught.value.reason is Reason.INVALID_URL


def test_the_verdict_on_a_host_is_the_same_each_time_and_is_each_guards_own() -> None:
    strict, lenient = AddressGuard([]), AddressGuard([ipaddress.ip_network("127.0.0.1/32")])
    for _ in range(2):
        lenient.check_host("127.0.0.1")
        with pytest.raises(Refused):
            strict.check_host("127.0.0.1")


def test_no_socket_is_made_for_a_forbidden_address() -> None:
    guard = AddressGuard([ipaddress.ip_network("127.0.0.1/32")])
    for family, sockaddr in (
        (socket.AF_INET, ("127.0.0.2", 80)),
        (socket.AF_INET6, ("::1", 80, 0, 0)),
        (socket.AF_INET6, ("::ffff:127.0.0.2", 80, 0, 0)),
    ):
        with pytest.raises(ForbiddenAddress):
            guard.open_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr))
    with guard.open_socket(
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    ) as made:
        assert made.family is socket.AF_INET


@pytest.mark.parametrize(
    "address",
    ["141.38.1.1", "::ffff:141.38.1.1", "64:ff9b::8d26:101", "2002:8d26:101::1", "2001:67c:2e8::1"],
)
def test_a_denied_network_is_not_reached_in_any_spelling_nor_where_it_is_allowed(
    address: str,
) -> None:
    denied = [ipaddress.ip_network("141.38.0.0/16"), ipaddress.ip_network("2001:67c:2e8::/48")]
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert AddressGuard([]).admits(address)
    for allowed in ([], everything):
        assert not AddressGuard(allowed, denied).admits(address)
        assert AddressGuard(allowed, denied).admits("141.39.1.1")


@pytest.mark.parametrize("port", [21, 22, 80, 443, 1024, 8000, 8080, 8443, 9000, 50000, 65535])
def test_ports_of_data_servers_are_asked(port: int) -> None:
    AddressGuard([]).check_port(port)


@pytest.mark.parametrize("port", [1, 23, 25, 53, 445, 990, 1023, 2375, 5432, 6379, 6666, 10250])
def test_other_ports_are_asked_only_if_the_operator_says_so(port: int) -> None:
    with pytest.raises(Refused) as caught:
        AddressGuard([]).check_port(port)
    assert caught.value.reason is Reason.FORBIDDEN_PORT
    AddressGuard([], allowed_ports=[port]).check_port(port)


def test_ftp_servers_may_pick_any_high_port_for_data() -> None:
    guard = AddressGuard([], allowed_ports=[81])
    for port in (81, 1024, 6379, 65535):
        guard.check_data_port(port)
    for port in (1, 22, 25, 80, 1023):
        with pytest.raises(Refused):
            guard.check_data_port(port)
