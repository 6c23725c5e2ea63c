from __future__ import annotations

import os
import socket

from local.parts.ports import free_port, free_ports, is_free, listening_ports


def test_a_picked_port_can_be_listened_on():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)


def test_picked_ports_are_below_those_of_outgoing_connections():
    assert all(20_000 <= port < 32_768 for port in free_ports(20))


def test_several_ports_differ():
    assert len(set(free_ports(20))) == 20


def test_a_port_taken_on_loopback_is_not_free_on_all_addresses():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1], "0.0.0.0")


def test_only_the_ports_of_this_very_process_count():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port in listening_ports(os.getpid())
        assert port not in listening_ports(os.getppid())
    assert port not in listening_ports(os.getpid())


def test_a_process_that_is_gone_listens_on_nothing():
    assert listening_ports(2**22 + 1) == set()
