from __future__ import annotations

import socket

import pytest

from local.run import choose_ports, main
from local.settings import read_settings
from wis2_gc_common.errors import SettingsError


def test_a_port_that_was_asked_for_and_is_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingsError, match=f"DATA_PORT: port {port} is taken"):
            choose_ports(read_settings({"DATA_PORT": str(port)}))


def test_a_default_port_that_is_taken_is_replaced_and_said(monkeypatch):
    monkeypatch.setattr("local.run.is_free", lambda port, _host: port != 8080)
    ports = choose_ports(read_settings({}))
    assert ports.status != 8080
    assert ports.remarks == (f"port 8080 is taken: STATUS_PORT is {ports.status}",)
    assert ports.data == 8081


def test_all_ports_of_a_run_differ(monkeypatch):
    monkeypatch.setattr("local.run.is_free", lambda _port, _host: True)
    ports = choose_ports(read_settings({"DATA_PORT": "8080", "BROKER_PORT": "8883"}))
    numbers = [
        ports.status, ports.data, ports.broker, ports.broker_tls, ports.broker_wss, ports.redis,
        *ports.world,
    ]  # fmt: skip
    assert len(set(numbers)) == len(numbers)
    assert (ports.data, ports.broker) == (8080, 8883)


def test_a_wrong_setting_is_one_line_and_exit_code_2(capsys, tmp_path):
    assert main({"RATE": "fast", "STATE": str(tmp_path / "state")}) == 2
    assert capsys.readouterr().err == "error: RATE: 'fast' wants a number from 0.01 to 5000\n"
    assert not (tmp_path / "state").exists()


def test_a_taken_port_is_one_line_and_exit_code_2(capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main({"STATUS_PORT": str(port), "STATE": str(tmp_path / "state")}) == 2
    assert capsys.readouterr().err == f"error: STATUS_PORT: port {port} is taken\n"
