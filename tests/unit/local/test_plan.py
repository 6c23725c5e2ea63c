from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.plan import (
    CHOSEN,
    PartAddresses,
    centre_id,
    common_environment,
    operator_file,
    plan_services,
    process_environment,
    without_chosen,
)
from local.settings import NamedBroker, read_settings
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import Reader

if TYPE_CHECKING:
    from local.plan import ServicePlan


WORLD = (NamedBroker("alpha", "mqtts://u:p@127.0.0.1:1"), NamedBroker("beta", "mqtt://127.0.0.1:2"))


def addresses(ca_file: Path | None = None) -> PartAddresses:
    return PartAddresses(
        redis_url="redis://:secret@127.0.0.1:6380/0",
        manager_broker_url="mqtt://wis2-gc-manager:secret@127.0.0.1:1883",
        store=Path("/state/data"),
        data_base_url="http://127.0.0.1:8081/data",
        status_url="http://127.0.0.1:8080",
        status_port=8080,
        ca_file=ca_file,
        deployment_secret="0123456789abcdef",
    )


def planned(
    environment: dict[str, str],
    brokers: tuple[NamedBroker, ...] = WORLD,
    ca_file: Path | None = None,
) -> list[ServicePlan]:
    run = read_settings(environment)
    where = addresses(ca_file)
    common = common_environment(run, where, brokers, our_centre_id=centre_id(run, "0a1b2c3d"))
    return [plan for group in plan_services(run, where, brokers, common) for plan in group]


def test_two_listeners_two_managers_and_one_metrics_service_run() -> None:
    names = [plan.name for plan in planned({})]
    assert names == ["metrics", "manager-1", "manager-2", "listener-alpha", "listener-beta"]


def test_one_listener_runs_per_named_broker() -> None:
    brokers = "fr=mqtts://a.example br=mqtts://b.example jp=mqtts://c.example"
    plans = planned({"BROKERS": brokers}, read_settings({"BROKERS": brokers}).brokers)
    listeners = [plan for plan in plans if plan.name.startswith("listener")]
    assert [plan.environment["GC_GLOBAL_BROKER_NAME"] for plan in listeners] == ["fr", "br", "jp"]
    assert all(plan.environment["GC_EXPECTED_BROKERS"] == "fr,br,jp" for plan in plans)


def test_the_secret_of_the_state_directory_gives_way_to_one_of_the_user() -> None:
    assert planned({})[1].environment["GC_DEPLOYMENT_SECRET"] == "0123456789abcdef"
    own = planned({"GC_DEPLOYMENT_SECRET": "of the user, long"})[1].environment
    assert own["GC_DEPLOYMENT_SECRET"] == "of the user, long"


def test_a_service_is_told_no_secret_that_it_has_no_use_for() -> None:
    s3 = {
        "AWS_ENDPOINT_URL_S3": "http://s3",
        "AWS_ACCESS_KEY_ID": "s",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    sqs = {"AWS_ACCESS_KEY_ID": "q", "AWS_SECRET_ACCESS_KEY": "q"}
    run = read_settings({})
    for queue in ({}, sqs):
        where = replace(addresses(), store_settings=s3, queue_settings=queue)
        common = common_environment(run, where, WORLD, our_centre_id="xx-a-global-cache")
        [metrics], managers, listeners = plan_services(run, where, WORLD, common)
        assert managers[0].environment["AWS_SECRET_ACCESS_KEY"] == "s"
        for plan in (metrics, *listeners):
            aws = {k: v for k, v in plan.environment.items() if k.startswith("AWS_")}
            assert aws == queue
            assert "GC_LOCAL_BROKER_URL" not in plan.environment
        assert "GC_DEPLOYMENT_SECRET" not in metrics.environment
        assert "GC_DEPLOYMENT_SECRET" in listeners[0].environment


def test_the_address_guard_is_widened_for_the_simulated_world_only() -> None:
    assert planned({})[1].environment["GC_ALLOWED_NETWORKS"] == "127.0.0.0/8"
    real = planned({"BROKERS": "fr=mqtts://a.example"}, WORLD)
    assert all("GC_ALLOWED_NETWORKS" not in plan.environment for plan in real)


def test_every_value_is_one_the_services_accept(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    for plan in planned({}, ca_file=ca_file):
        service = plan.name.partition("-")[0]
        read = Reader(plan.environment)
        for setting in settings.CATALOGUE:
            if service in setting.services:
                read(setting, absent=None)
                assert not setting.is_required or setting.name in plan.environment


def test_the_users_settings_win() -> None:
    given = {"GC_DRAIN_TIMEOUT": "17", "GC_DATA_BASE_URL": "https://data.example"}
    for plan in planned(given):
        assert given.items() <= plan.environment.items()


@pytest.mark.parametrize("given", [{}, {"GC_LOG_FORMAT": "console"}])
def test_services_log_json_for_the_files(given: dict[str, str]) -> None:
    assert {plan.environment["GC_LOG_FORMAT"] for plan in planned(given)} == {"json"}


def test_parts_the_user_has_elsewhere_are_not_configured_by_us(tmp_path: Path) -> None:
    url_file = tmp_path / "url"
    url_file.write_text("redis://127.0.0.1")
    where = PartAddresses(
        "", "", Path("/d"), "http://127.0.0.1:1/data", "http://127.0.0.1:2", 2, None
    )
    run = read_settings({"GC_REDIS_URL_FILE": str(url_file)})
    common = common_environment(run, where, WORLD, our_centre_id="xx-a-global-cache")
    assert "GC_REDIS_URL" not in common
    assert common["GC_REDIS_URL_FILE"] == str(url_file)
    assert "GC_LOCAL_BROKER_URL" not in common


def test_processes_do_not_share_a_port_or_a_name() -> None:
    plans = planned({})
    assert plans[0].environment["GC_HTTP_PORT"] == "8080"
    assert all(plan.environment["GC_HTTP_PORT"] == "0" for plan in plans[1:])
    assert all(plan.environment["GC_HTTP_HOST"] == "127.0.0.1" for plan in plans)
    assert [plan.environment["GC_INSTANCE"] for plan in plans[1:3]] == ["manager-1", "manager-2"]


def test_a_process_inherits_the_environment_but_no_foreign_setting() -> None:
    plan = planned({})[0]
    result = process_environment(plan, {"PATH": "/bin", "GC_TOPICS": "x"})
    assert result["PATH"] == "/bin"
    assert "GC_TOPICS" not in result


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "xx-local-global-cache"),
        ({"BROKERS": "fr=mqtts://a.example"}, "xx-local-0a1b2c3d-global-cache"),
        ({"GC_CENTRE_ID": "de-dwd-global-cache"}, "de-dwd-global-cache"),
    ],
)
def test_two_caches_at_a_real_broker_have_different_names(
    environment: dict[str, str], expected: str
) -> None:
    name = centre_id(read_settings(environment), "0a1b2c3d")
    assert name == expected
    assert settings.CENTRE_ID.parse(name) == name


def sourced(text: str) -> dict[str, str]:
    """Return the variables of a shell that has read this file."""
    return dict(word.split("=", 1) for word in shlex.split(text, comments=True))


def test_the_operators_file_is_a_shell_script_that_quotes() -> None:
    text = operator_file({"GC_B": "a b'c", "GC_A": "1"}, {})
    lines = [line for line in text.splitlines() if not line.startswith(("#", CHOSEN))]
    assert lines == ["GC_A=1", "GC_B='a b'\"'\"'c'"]


def test_what_an_earlier_run_chose_is_not_taken_for_the_users_own() -> None:
    earlier = operator_file({"GC_REDIS_URL": "redis://a b'c", "GC_X": "9"}, {"GC_X": "9"})
    shell = {"PATH": "/bin", **sourced(earlier)}
    kept, left_out = without_chosen(shell, [])
    assert kept == {"PATH": "/bin", "GC_X": "9"}
    assert left_out == ("GC_REDIS_URL",)


def test_what_is_said_wins_over_what_an_earlier_run_chose() -> None:
    earlier = operator_file({"GC_REDIS_URL": "redis://a", "GC_ALLOWED_NETWORKS": "127.0.0.0/8"}, {})
    # In a shell that has not read the file, a value is the user's, though a run chose it too.
    said = {"GC_ALLOWED_NETWORKS": "127.0.0.0/8"}
    assert without_chosen(said, []) == (said, ())
    # In one that has, so is what is given to make, and what was changed since.
    shell = sourced(earlier)
    assert without_chosen(shell, ["GC_ALLOWED_NETWORKS"])[0] == said
    assert without_chosen(shell | {"GC_REDIS_URL": "redis://b"}, [])[0] == {
        "GC_REDIS_URL": "redis://b"
    }


def test_what_was_made_of_a_setting_of_the_user_is_not_the_users() -> None:
    # Our authorities' file has the user's in it: read again as theirs, it would grow at every run.
    earlier = operator_file({"GC_CA_FILE": "/state/tls/trusted.pem"}, {"GC_CA_FILE": "/own.pem"})
    assert without_chosen(sourced(earlier), []) == ({}, ("GC_CA_FILE",))


def test_a_queue_that_is_not_the_default_is_told_to_all_and_the_users_wins() -> None:
    told = {"GC_QUEUE_URL": "http://127.0.0.1:1/1/q", "AWS_ACCESS_KEY_ID": "local"}
    where = replace(addresses(), queue_settings=told)

    def common(overrides: dict[str, str]) -> dict[str, str]:
        run = read_settings(overrides)
        return common_environment(run, where, WORLD, our_centre_id="xx-a-global-cache")

    assert told.items() <= common({}).items()
    assert common({"GC_QUEUE_URL": "redis-stream:x"})["GC_QUEUE_URL"] == "redis-stream:x"


def test_a_store_that_is_not_the_default_is_told_to_all_and_the_users_wins() -> None:
    told = {"GC_STORE_URL": "s3://bucket", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    where = replace(addresses(), store_settings=told)

    def common(overrides: dict[str, str]) -> dict[str, str]:
        run = read_settings(overrides)
        return common_environment(run, where, WORLD, our_centre_id="xx-a-global-cache")

    assert told.items() <= common({}).items()
    assert common({"GC_STORE_URL": "file:///x"})["GC_STORE_URL"] == "file:///x"
