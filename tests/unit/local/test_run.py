from __future__ import annotations

import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.parts.ports import free_ports
from local.run import Run, choose_ports, main
from local.settings import read_settings
from local.state import StateDirectory
from wis2_gc_common.errors import SettingsError

if TYPE_CHECKING:
    from local.parts.mosquitto import CacheBroker


PORT_VARIABLES = (
    "STATUS_PORT", "DATA_PORT", "BROKER_PORT", "BROKER_TLS_PORT", "BROKER_WSS_PORT", "REDIS_PORT",
)  # fmt: skip


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SettingsError, match=f"DATA_PORT: port {port} is taken"):
            choose_ports(read_settings({"DATA_PORT": str(port)}))


def test_a_default_port_that_is_taken_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.run.is_free", lambda port, _host: port != 8080)
    ports = choose_ports(read_settings({}))
    assert ports.status != 8080
    assert ports.remarks == (f"port 8080 is taken: STATUS_PORT is {ports.status}",)
    assert ports.data == 8081


def test_all_ports_of_a_run_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.run.is_free", lambda _port, _host: True)
    ports = choose_ports(read_settings({"DATA_PORT": "8080", "BROKER_PORT": "8883"}))
    numbers = [
        ports.status, ports.data, ports.broker, ports.broker_tls, ports.broker_wss, ports.redis,
        *ports.world,
    ]  # fmt: skip
    assert len(set(numbers)) == len(numbers)
    assert (ports.data, ports.broker) == (8080, 8883)


def test_a_wrong_setting_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main({"RATE": "fast", "STATE": str(tmp_path / "state")}) == 2
    assert capsys.readouterr().err == "error: RATE: 'fast': requires a number from 0.01 to 5000\n"
    assert not (tmp_path / "state").exists()


def test_an_address_of_another_machine_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main({"LISTEN": "203.0.113.77", "STATE": str(tmp_path / "state")}) == 2
    assert capsys.readouterr().err == (
        "error: LISTEN: cannot listen on 203.0.113.77: Cannot assign requested address\n"
    )
    assert not (tmp_path / "state").exists()


def test_a_misspelt_variable_of_make_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment = {"BROKER": "fr=mqtts://u:hidden@b.example", "STATE": str(tmp_path / "state")}
    assert main(environment, given=["STATE", "BROKER"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: BROKER: is not known to make run; these are: STATE BROKERS ")
    assert error.count("\n") == 1
    assert "hidden" not in error
    assert not (tmp_path / "state").exists()


def test_makes_command_line_is_told_by_name_only() -> None:
    shown = subprocess.run(
        ["make", "-n", "run", "BROKER=fr=mqtts://u:hidden@b.example x", "RATE=3"],
        cwd=Path(__file__).parents[3],
        env={"PATH": os.environ["PATH"], "SEED": "4"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = shlex.split(shown.splitlines()[-1])
    assert words[:4] == ["exec", ".venv/bin/python", "-m", "local.run"]
    assert set(words[4:]) == {"BROKER", "RATE"}


def a_run(tmp_path: Path, *, left_out: tuple[str, ...] = (), **variables: str) -> Run:
    ports = dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))
    environment = {name: str(port) for name, port in ports.items()} | variables
    state = StateDirectory(tmp_path / "state")
    state.close()
    settings = read_settings(environment)
    return Run(settings, state, choose_ports(settings), environment, left_out)


def test_servers_that_the_user_has_elsewhere_are_named(tmp_path: Path) -> None:
    url_file = tmp_path / "url"
    url_file.write_text("mqtt://u:p@127.0.0.1")
    greeting = a_run(
        tmp_path, GC_REDIS_URL="redis://127.0.0.1", GC_LOCAL_BROKER_URL_FILE=str(url_file)
    ).greeting()
    assert "  not started here: redis (GC_REDIS_URL is set)\n" in greeting
    assert "  not started here: broker (GC_LOCAL_BROKER_URL_FILE is set)\n" in greeting
    assert greeting.count("not started here") == 2


def test_the_deployments_secret_is_made_once_and_not_shown(tmp_path: Path) -> None:
    first, second = a_run(tmp_path), a_run(tmp_path)
    secret = first.environment["GC_DEPLOYMENT_SECRET"]
    assert len(secret) >= 16
    assert second.environment["GC_DEPLOYMENT_SECRET"] == secret
    assert secret not in first.greeting()
    assert (tmp_path / "state" / "secrets" / "deployment").stat().st_mode & 0o077 == 0


def test_a_deployments_secret_of_the_user_is_not_joined_by_ours(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("of the user, long enough")
    run = a_run(tmp_path, GC_DEPLOYMENT_SECRET_FILE=str(path))
    assert "GC_DEPLOYMENT_SECRET" not in run.environment


def test_notes_come_before_the_command_to_watch(tmp_path: Path) -> None:
    greeting = a_run(tmp_path, GC_RETENTION_HOUR="3").greeting()
    assert "not started here" not in greeting
    note = greeting.index("Note: GC_RETENTION_HOUR is not a setting of the services")
    assert note < greeting.index("Watch what it announces:")


def test_settings_of_an_earlier_run_that_are_left_out_are_named(tmp_path: Path) -> None:
    greeting = a_run(tmp_path, left_out=("GC_A", "GC_B")).greeting()
    assert "Note: left out, because an earlier run chose them and this shell" in greeting
    assert "GC_A, GC_B; to use one, give it behind make run (NAME=VALUE)" in greeting


def test_a_taken_port_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main({"STATUS_PORT": str(port), "STATE": str(tmp_path / "state")}) == 2
    assert capsys.readouterr().err == f"error: STATUS_PORT: port {port} is taken\n"


def broker_of(run: Run) -> CacheBroker:
    assert run.broker is not None
    return run.broker


def test_the_accounts_of_global_brokers_are_told_without_their_passwords(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a long password\n")
    first = a_run(tmp_path, BROKER_ACCOUNTS=f"gb-fr={file} gb-br")
    broker = broker_of(first)
    made_up = (tmp_path / "state" / "secrets" / "account-gb-br").read_text().strip()
    greeting = first.greeting()
    assert f"  accounts        mqtts://localhost:{first.ports.broker_accounts}\n" in greeting
    assert "                  gb-fr\n" in greeting
    assert "gb-br, password in " in greeting
    assert broker.password("gb-fr") == "a long password"
    assert broker.password("gb-br") == made_up
    assert broker.accounts_port == first.ports.broker_accounts
    assert "a long password" not in greeting
    assert made_up not in greeting
    assert broker_of(a_run(tmp_path, BROKER_ACCOUNTS="gb-br")).password("gb-br") == made_up


def test_without_accounts_their_port_is_closed(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert run.ports.broker_accounts is None
    assert "accounts  " not in run.greeting()
    assert len(broker_of(run).listeners()) == 1
