from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from local.parts import ports
from local.parts.ports import free_port, free_ports, is_free, listening_ports

if TYPE_CHECKING:
    import pytest


def test_a_picked_port_can_be_listened_on() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)


def test_picked_ports_are_below_those_of_outgoing_connections() -> None:
    assert all(20_000 <= port < 32_768 for port in free_ports(20))


def test_several_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_picked_port_is_nobody_elses_before_its_user_listens() -> None:
    picked = [free_port() for _ in range(500)]
    assert len(set(picked)) == 500


def test_processes_that_share_the_ports_never_pick_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "_next", None)
    shares = []
    for number in range(3):
        ports.take_share(number, of=3)
        shares.append({next(ports._next) for _ in range(len(ports._CANDIDATES) // 3)})
    assert len(set.union(*shares)) == sum(map(len, shares)) == len(ports._CANDIDATES)


def test_a_port_taken_on_loopback_is_not_free_on_all_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1], "0.0.0.0")


def test_only_the_ports_of_this_very_process_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port in listening_ports(os.getpid())
        assert port not in listening_ports(os.getppid())
    assert port not in listening_ports(os.getpid())


def test_a_process_that_is_gone_listens_on_nothing() -> None:
    assert listening_ports(2**22 + 1) == set()
