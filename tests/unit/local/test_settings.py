from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from local.settings import (
    VARIABLES,
    BrokerAccount,
    NamedBroker,
    check_given,
    parse_accounts,
    parse_brokers,
    read_settings,
)
from local.world.mix import DEFAULT_MIX, Kind
from wis2_gc_common.errors import SettingsError


def test_without_arguments_a_simulated_world_stays_on_this_machine() -> None:
    run = read_settings({})
    assert run.is_simulated
    assert run.state == Path(".state")
    assert run.listen == "127.0.0.1"
    assert (run.status_port.port, run.data_port.port) == (8080, 8081)
    assert (run.broker_port.port, run.broker_tls_port.port) == (1883, 8883)
    assert not any(port.is_explicit for port in run.ports)
    assert run.managers == 2
    assert run.mix == DEFAULT_MIX


def test_a_real_cache_listens_for_others() -> None:
    run = read_settings({"BROKERS": "fr=mqtts://everyone:everyone@broker.example:8883"})
    assert not run.is_simulated
    assert run.listen == "0.0.0.0"
    assert read_settings({"BROKERS": "fr=mqtts://b.example", "LISTEN": "127.0.0.1"}).listen == (
        "127.0.0.1"
    )


def test_brokers_are_named_urls() -> None:
    text = " fr=mqtts://everyone:every=one@fr.example:8883  br=wss://br.example/mqtt "
    assert parse_brokers(text) == (
        NamedBroker("fr", "mqtts://everyone:every=one@fr.example:8883"),
        NamedBroker("br", "wss://br.example/mqtt"),
    )
    assert parse_brokers("") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mqtts://u:hidden@fr.example", "name"),
        ("fr", "NAME=URL"),
        ("fr=http://u:hidden@fr.example", "'fr'"),
        ("f/r=mqtts://u:hidden@fr.example", "'f/r'"),
        ("fr=mqtt://a.example fr=mqtt://u:hidden@b.example", "named twice"),
    ],
)
def test_a_wrong_broker_is_one_line_without_its_password(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_brokers(text)
    assert caught.value.variable == "BROKERS"
    assert "hidden" not in str(caught.value)
    if "name" not in problem:
        assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("STATUS_PORT", "0"),
        ("DATA_PORT", "65536"),
        ("BROKER_PORT", "x"),
        ("MANAGERS", "0"),
        ("MANAGERS", "1.5"),
        ("RATE", "0"),
        ("RATE", "nan"),
        ("SEED", "-1"),
        ("MIX", "inline"),
        ("MIX", "rain=3"),
        ("MIX", "inline=nan"),
        ("MIX", "faults=500"),
        ("MIX", ",".join(f"{kind}=0" for kind in Kind if kind not in ("update", "deletion"))),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: text})
    assert caught.value.variable == name


@pytest.mark.parametrize("name", ["BROKER", "PORT", "RETENTION", "rate"])
def test_a_near_miss_on_makes_command_line_is_refused_with_the_names_that_are_known(
    name: str,
) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: is not known .* BROKERS .* GC_… AWS_…$"):
        check_given(["RATE", name])


def test_what_make_run_knows_and_what_it_passes_on_may_be_given() -> None:
    check_given([*VARIABLES, "GC_RETENTION_HOURS", "AWS_PROFILE"])


@pytest.mark.parametrize("text", ["foo", "localhost", "127.0.0.256", "::1", "127.0.0.1:80"])
def test_the_address_to_listen_on_is_one_of_ipv4(text: str) -> None:
    with pytest.raises(SettingsError, match=f"LISTEN: '{text}': requires an IPv4 address"):
        read_settings({"LISTEN": text})


def test_large_limits_are_written_in_full() -> None:
    with pytest.raises(SettingsError, match="from 0 to 4294967296"):
        read_settings({"SEED": "x"})


def test_two_ports_cannot_be_the_same() -> None:
    with pytest.raises(SettingsError, match="BROKER_PORT: 9000 is DATA_PORT already"):
        read_settings({"DATA_PORT": "9000", "BROKER_PORT": "9000"})


def test_the_mix_is_the_default_with_changes() -> None:
    mix = read_settings({"MIX": "model=7, faults=20"}).mix
    assert mix.kinds[Kind.MODEL] == 7
    assert mix.kinds[Kind.INLINE] == DEFAULT_MIX.kinds[Kind.INLINE]
    assert mix.fault_percent == 20
    assert read_settings({"MIX": str(mix)}).mix == mix


def test_settings_of_the_services_pass_through() -> None:
    run = read_settings({"GC_RETENTION_HOURS": "48", "GC_CENTRE_ID": "", "PATH": "/bin"})
    assert run.overrides == {"GC_RETENTION_HOURS": "48"}
    assert run.unknown == ()


def test_a_wrong_setting_of_the_services_is_found_before_anything_starts() -> None:
    with pytest.raises(SettingsError, match="GC_RETENTION_HOURS"):
        read_settings({"GC_RETENTION_HOURS": "soon"})


def test_a_misspelt_setting_is_noticed() -> None:
    assert read_settings({"GC_RETENTION_HOUR": "48"}).unknown == ("GC_RETENTION_HOUR",)


@pytest.mark.parametrize(
    "name", ["GC_GLOBAL_BROKER_URL", "GC_GLOBAL_BROKER_NAME", "GC_HTTP_PORT", "GC_INSTANCE"]
)
def test_what_each_process_has_for_itself_cannot_be_set_for_all(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: cannot be set for all processes"):
        read_settings({name: "1"})


def test_every_variable_is_in_the_docs() -> None:
    asked: set[str] = set()

    class Environment(dict[str, str]):
        def get(self, key: str, default: Any = None, /) -> Any:
            asked.add(key)
            return super().get(key, default)

    read_settings(Environment())
    text = (Path(__file__).parents[3] / "docs" / "run-locally.md").read_text(encoding="utf-8")
    documented = {
        line.split("`")[1] for line in text.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)
    }
    assert asked == documented == set(VARIABLES)


def test_every_kind_of_the_mix_is_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "run-locally.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in text for kind in Kind)


def test_the_queue_is_a_redis_stream_or_a_server_that_plays_sqs() -> None:
    assert read_settings({}).queue == "redis-stream"
    assert read_settings({"QUEUE": "sqs"}).queue == "sqs"
    with pytest.raises(SettingsError, match=r"QUEUE: 'rabbit': requires one of redis-stream, sqs"):
        read_settings({"QUEUE": "rabbit"})


def test_the_store_is_a_directory_or_a_server_that_plays_s3() -> None:
    assert read_settings({}).store == "file"
    assert read_settings({"STORE": "s3"}).store == "s3"
    with pytest.raises(SettingsError, match=r"STORE: 'tape': requires one of file, s3"):
        read_settings({"STORE": "tape"})


def test_a_global_broker_has_an_account_by_name_and_its_password_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a long password\n")
    accounts = parse_accounts(f" gb-fr={file}  gb-br ")
    assert accounts == (BrokerAccount("gb-fr", "a long password"), BrokerAccount("gb-br", None))
    assert "a long password" not in repr(accounts)
    assert parse_accounts("") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("GB", "'GB'"),
        ("gb/../x", "'gb/../x'"),
        ("everyone", "an account already"),
        ("wis2-gc-manager", "an account already"),
        ("public-broker", "an account already"),
        ("gb gb", "named twice"),
        ("gb={dir}/absent", "No such file"),
        ("gb={dir}", "Is a directory"),
        ("gb=", "Is a directory"),
        ("gb={dir}/short", "12 or more characters"),
        ("gb={dir}/lines", "one line"),
        ("gb={dir}/bytes", "UTF-8"),
    ],
)
def test_a_wrong_account_is_one_line_without_its_password(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "short").write_text("hidden\n")
    (tmp_path / "lines").write_text("hidden and long\nanother\n")
    (tmp_path / "bytes").write_bytes(b"hidden and long \xff")
    with pytest.raises(SettingsError) as caught:
        parse_accounts(text.replace("{dir}", str(tmp_path)))
    assert caught.value.variable == "BROKER_ACCOUNTS"
    assert problem in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_the_port_of_accounts_is_asked_for_only_when_there_are_any() -> None:
    def variables(**environment: str) -> list[str]:
        return [port.variable for port in read_settings(environment).ports]

    assert "BROKER_ACCOUNTS_PORT" not in variables()
    assert "BROKER_ACCOUNTS_PORT" in variables(BROKER_ACCOUNTS="gb-fr")
    assert read_settings({"BROKER_ACCOUNTS": "gb-fr"}).broker_accounts_port.port == 8884


def test_accounts_of_a_broker_that_is_elsewhere_are_refused() -> None:
    with pytest.raises(SettingsError, match="GC_LOCAL_BROKER_URL is set"):
        read_settings({"BROKER_ACCOUNTS": "gb", "GC_LOCAL_BROKER_URL": "mqtt://u:p@127.0.0.1"})
