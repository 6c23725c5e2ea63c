"""Which addresses strangers' links may lead us to (architecture.md#address-guard).

Pure, except `AddressGuard.open_socket`, which makes the socket and does not connect it. The
address of the socket that is about to connect is judged, so no spelling of a host name can get
around it. Ports are judged by number: we never connect to a port that no honest data server uses.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wis2_gc_common.errors import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _ranges(*networks: str) -> tuple[tuple[int, int], ...]:
    """Return (first, last) of each network as integers, which compare fast."""
    parsed = [ipaddress.ip_network(text) for text in networks]
    return tuple((int(n.network_address), int(n.broadcast_address)) for n in parsed)


# The IANA special-purpose registries, written out, because the answer of `is_global` in the
# standard library has changed between Python releases.
_V4_REFUSED = _ranges(
    "0.0.0.0/8",  # this host
    "10.0.0.0/8",
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, cloud metadata
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
#: The only IPv6 space assigned as global unicast so far, and the exceptions in it.
_V6_GLOBAL = _ranges("2000::/3")
_V6_REFUSED = _ranges(
    "2001::/23",  # protocol assignments; Teredo is judged before
    "2001:db8::/32",  # documentation
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
#: Metadata and credential services of clouds; never admitted, even if GC_ALLOWED_NETWORKS has them.
#: 168.63.129.16 is among public addresses.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)

#: The ports below 1024 that WIS2 links use (wis2-rules.md 15).
_LOW_PORTS = frozenset({21, 22, 80, 443})
_FIRST_HIGH_PORT = 1024
#: Refused ports above: those that browsers refuse too (the Fetch standard's bad ports), so nobody
#: serves data on them, and services that an intranet with public addresses has inside.
_SERVICE_PORTS = frozenset(
    {
        1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
        6669, 6679, 6697, 10080,
        1433, 1521, 3306, 5432, 6379, 9200, 9300, 11211, 27017,  # databases
        1883, 8883, 5672, 9092,  # brokers
        2375, 2376, 2379, 2380, 6443, 10250,  # Docker, etcd, Kubernetes
        3389, 5900,  # remote desktops
    }
)  # fmt: skip
_DIGITS = frozenset("0123456789")
#: How many verdicts on hosts are remembered.
_MAX_REMEMBERED = 4096
#: The longest useful spelling of an address: `inet_aton` does not accept more digits.
_MAX_LITERAL_CHARS = 253
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")


def is_admitted(
    ip: str | Address,
    allowed_networks: Sequence[Network] = (),
    denied_networks: Sequence[Network] = (),
) -> bool:
    """Whether a stranger's link may make us connect to `ip`.

    Admitted are globally routable unicast addresses and those in `allowed_networks`, but never an
    address in `denied_networks`. An IPv6 address that contains IPv4 addresses (mapped, 6to4,
    Teredo, NAT64) is judged by these. A text that is not an address, or that has a zone
    (`fe80::1%eth0`), is not admitted. Never raises.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address in _MAPPED:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    # The addresses that packets end up at: even a network that is allowed can lead there.
    embedded = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else ()
    places = (address, *embedded)
    if not _METADATA.isdisjoint(places) or any(
        place in network for network in denied_networks for place in places
    ):
        return False
    if any(address in network for network in allowed_networks):
        return True
    if embedded:
        return all(is_admitted(inner, allowed_networks) for inner in embedded)
    return _is_global(address)


def _is_global(address: Address) -> bool:
    number = int(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not _is_in(number, _V4_REFUSED)
    return _is_in(number, _V6_GLOBAL) and not _is_in(number, _V6_REFUSED)


def _is_in(number: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _embedded(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses that packets to `address` would end up at."""
    number = int(address)
    if address in _NAT64:
        return (ipaddress.IPv4Address(number & 0xFFFFFFFF),)
    if address in _SIX_TO_FOUR:
        return (ipaddress.IPv4Address((number >> 80) & 0xFFFFFFFF),)
    if address in _TEREDO:
        server = (number >> 64) & 0xFFFFFFFF
        client = ~number & 0xFFFFFFFF
        return (ipaddress.IPv4Address(server), ipaddress.IPv4Address(client))
    return ()


def literal_address(host: str) -> Address | None:
    """Return the address that a host name spells, as the system's resolver reads it; None: a name.

    `127.1`, `0x7f.1`, `0177.0.0.1`, `2130706433` and `127.0.0.1.` are all 127.0.0.1.
    """
    text = host[: _MAX_LITERAL_CHARS + 1].rstrip(".")
    if len(text) > _MAX_LITERAL_CHARS:
        return None
    if ":" not in text and text[:1] not in _DIGITS:
        # Every spelling of an IPv4 address begins with a digit; most names end here quickly.
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, ValueError):  # ValueError: NUL, or not ASCII
        return None


class ForbiddenAddress(OSError):
    """A socket was about to connect to an address that is not admitted."""


class AddressGuard:
    """The judgement, with the operator's networks and ports."""

    def __init__(
        self,
        allowed_networks: Sequence[Network],
        denied_networks: Sequence[Network] = (),
        allowed_ports: Iterable[int] = (),
    ) -> None:
        self._allowed = tuple(allowed_networks)
        self._denied = tuple(denied_networks)
        self._allowed_ports = frozenset(allowed_ports)
        # Bounded, because strangers name the hosts; a few of them are addresses that come again
        # and again.
        self._judged = lru_cache(maxsize=_MAX_REMEMBERED)(self._judge)

    def admits(self, address: str | Address) -> bool:
        """Whether we may connect to `address`."""
        return is_admitted(address, self._allowed, self._denied)

    def check_host(self, host: str) -> None:
        """Judge a host that is an address; names are judged once they are resolved.

        An admitted address in an odd spelling is refused too: no honest publisher writes one, and
        the parts of a client could understand it differently.
        Raises Refused(FORBIDDEN_ADDRESS or INVALID_URL).
        """
        refusal = self._judged(host)
        if refusal is not None:
            raise Refused(*refusal)

    def check_port(self, port: int) -> None:
        """Judge the port of a link. Raises Refused(FORBIDDEN_PORT)."""
        is_usual = port in _LOW_PORTS if port < _FIRST_HIGH_PORT else port not in _SERVICE_PORTS
        if not is_usual and port not in self._allowed_ports:
            raise Refused(Reason.FORBIDDEN_PORT, str(port))

    def check_data_port(self, port: int) -> None:
        """Judge the port that an FTP server names for data. Raises Refused(FORBIDDEN_PORT).

        Any high port is admitted: it belongs to the same server, the server chose it, and we only
        read from it.
        """
        if port < _FIRST_HIGH_PORT and port not in self._allowed_ports:
            raise Refused(Reason.FORBIDDEN_PORT, f"data on port {port}")

    def _judge(self, host: str) -> tuple[Reason, str] | None:
        address = literal_address(host)
        if address is None:
            return None
        if not self.admits(address):
            return Reason.FORBIDDEN_ADDRESS, str(address)
        if isinstance(address, ipaddress.IPv4Address) and host != str(address):
            return Reason.INVALID_URL, f"odd spelling of {address}"
        return None

    def open_socket(self, addr_info: Any) -> socket.socket:
        """Return a socket for one entry of getaddrinfo's result, not yet connected.

        This is the final check: the next step connects to exactly this address.
        Raises ForbiddenAddress.
        """
        family, kind, protocol, _, sockaddr = addr_info
        if not self.admits(str(sockaddr[0])):
            raise ForbiddenAddress(errno.EACCES, "address is not admitted")
        return socket.socket(family, kind, protocol)
