"""The chart and the services agree on every setting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wis2_gc_listener.settings
import wis2_gc_manager.settings
import wis2_gc_metrics.settings
from deploy.environment import SERVICES
from testkit.deployment import chart
from tools import chart_files
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = chart.cases()
READ: dict[str, Callable[[Reader], Any]] = {
    "listener": wis2_gc_listener.settings.read_settings,
    "manager": wis2_gc_manager.settings.read_settings,
    "metrics": wis2_gc_metrics.settings.read_settings,
}
#: What the mounted files hold.
FILES = {
    "/run/secrets/registry/url": "rediss://:pass@redis.example.int:6379/0",
    "/run/secrets/broker/url": "mqtt://publisher-01234567:pass@wis2-broker:1883",
    "/run/secrets/deployment/secret": "0123456789abcdef",
    "/run/secrets/global-broker/url": "mqtts://everyone:everyone@gb.example.int:8883",
    "/etc/wis2-gc/ca/ca.pem": "-----BEGIN CERTIFICATE-----",
    "/etc/wis2-gc/centres/centre-id.csv": "Name,Description,Source,Status\n",
}


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_service_can_be_reached(service: str) -> None:
    named = chart_files.settings_schema(service)["properties"].keys()
    own = {setting.name for setting in settings.CATALOGUE if service in setting.services}
    assert named | (chart_files.FOLLOWING.keys() & own) == own
    assert not named & chart_files.FOLLOWING.keys()


def test_what_follows_from_other_values_is_in_the_catalogue() -> None:
    assert chart_files.FOLLOWING.keys() <= {setting.name for setting in settings.CATALOGUE}


def pod_environments(values: chart.Values) -> list[tuple[str, dict[str, str]]]:
    """Return (service, environment) of every pod of ours."""
    objects = chart.manifests(values)
    names = chart.by_id(objects)
    result = []
    for item, template in chart.pod_specs(objects):
        container = template["spec"]["containers"][0]
        if container["name"] not in SERVICES:
            continue
        environment: dict[str, str] = {}
        for source in container["envFrom"]:
            environment |= names[("ConfigMap", source["configMapRef"]["name"])]["data"]
        for entry in container["env"]:
            environment[entry["name"]] = entry.get("value", f"{item['metadata']['name']}-0")
        assert all(isinstance(value, str) for value in environment.values())
        result.append((container["name"], environment))
    return result


def read(service: str, environment: dict[str, str], directory: Path) -> Any:
    """Return the settings as the service would read them in its pod. Raises SettingsError."""
    local = dict(environment)
    for name, value in environment.items():
        if value in FILES:
            path = directory / name
            path.write_text(FILES[value], encoding="utf-8")
            local[name] = str(path)
    return READ[service](Reader(local))


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_pod_starts_with_what_it_is_given(name: str, tmp_path: Path) -> None:
    environments = pod_environments(CASES[name])
    assert {service for service, _ in environments} == set(SERVICES)
    for service, environment in environments:
        known = {setting.name for setting in settings.CATALOGUE if service in setting.services}
        files = {f"{setting.name}_FILE" for setting in settings.CATALOGUE if setting.is_secret}
        ours = {key.removesuffix("_FILE") if key in files else key
                for key in environment if key.startswith("GC_")}  # fmt: skip
        assert ours <= known
        result = read(service, environment, tmp_path)
        assert result.common.http_port == 8080
        assert result.common.centre_id == CASES[name]["centreId"]


def test_listeners_have_names_of_their_own_and_managers_their_pods(tmp_path: Path) -> None:
    read_back = [(s, read(s, e, tmp_path)) for s, e in pod_environments(CASES["prod"])]
    assert [r.broker_name for s, r in read_back if s == "listener"] == ["meteo-fr", "inmet-br"]
    assert [r.instance for s, r in read_back if s == "manager"] == ["wis2-manager-0"]


def test_the_metrics_service_is_told_of_the_release_where_it_shows_rollouts(tmp_path: Path) -> None:
    kubernetes = {
        name: read("metrics", dict(pod_environments(CASES[name]))["metrics"], tmp_path).kubernetes
        for name in ("prod", "gateway")
    }
    assert kubernetes["gateway"] is None
    assert kubernetes["prod"].release == chart.RELEASE


def test_settings_of_one_listener_win_over_those_of_all(tmp_path: Path) -> None:
    values = chart.merged(
        CASES["on-premises"],
        {
            "listener": {"settings": {"GC_LOG_LEVEL": "warning", "GC_MAX_QUEUE_LENGTH": 500}},
            "brokers": [
                {"name": "a", "secretName": "a", "settings": {"GC_LOG_LEVEL": "debug"}},
                {"name": "b", "secretName": "b"},
            ],
        },
    )
    listeners = [read(s, e, tmp_path) for s, e in pod_environments(values) if s == "listener"]
    assert [r.common.log_level for r in listeners] == ["debug", "warning"]
    assert [r.max_queue_length for r in listeners] == [500, 500]


def test_listeners_know_what_managers_do_of_the_memory_of_items(tmp_path: Path) -> None:
    settings_given = {"GC_RETENTION_HOURS": 48, "GC_REPEAT_WINDOW_HOURS": 6}
    values = chart.merged(
        CASES["prod"],
        {"manager": {"settings": settings_given}, "store": {"expirationDays": 2}},
    )
    for service, environment in pod_environments(values):
        if service in {"listener", "manager"}:
            result = read(service, environment, tmp_path)
            assert (result.retention_hours, result.repeat_window_hours) == (48, 6)


def test_large_numbers_do_not_become_floats(tmp_path: Path) -> None:
    # Helm reads all numbers of YAML as floats, and would write 1.073741824e+09.
    values = chart.merged(
        CASES["prod"],
        {
            "manager": {
                "settings": {
                    "GC_MAX_OBJECT_BYTES": 2**40,
                    "GC_HEDGE_DELAY": 0.5,
                    "GC_ADD_LENGTH": False,
                    "GC_ADD_INTEGRITY": True,
                }
            }
        },
    )
    environment = dict(pod_environments(values))["manager"]
    assert environment["GC_MAX_OBJECT_BYTES"] == str(2**40)
    assert environment["GC_HEDGE_DELAY"] == "0.5"
    assert environment["GC_ADD_LENGTH"] == "false"
    assert environment["GC_ADD_INTEGRITY"] == "true"
    read("manager", environment, tmp_path)


def _settings_of(service: str) -> st.SearchStrategy[tuple[str, Any]]:
    properties = chart_files.settings_schema(service)["properties"]

    def value(name: str) -> st.SearchStrategy[Any]:
        kind = properties[name]
        if "enum" in kind:
            return st.sampled_from(kind["enum"])
        if kind["type"] == "integer":
            return st.integers(kind["minimum"], kind["maximum"])
        if kind["type"] == "number":
            return st.floats(kind["minimum"], kind["maximum"]).map(lambda v: round(v, 3))
        default = next(s.default for s in settings.CATALOGUE if s.name == name)
        if "pattern" in kind:
            return st.just(default or "81,990")
        return st.just(default or "127.0.0.0/8" if "NETWORKS" in name else default or "fr,br")

    return st.sampled_from(sorted(properties)).flatmap(
        lambda name: value(name).map(lambda chosen: (name, chosen))
    )


@given(data=st.data(), service=st.sampled_from(SERVICES))
def test_what_the_schema_takes_the_service_takes(data: st.DataObject, service: str) -> None:
    name, value = data.draw(_settings_of(service))
    setting = next(s for s in settings.CATALOGUE if s.name == name)
    text = str(value)
    if text:
        setting.parse(text)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ["GC_CONCURENCY", "GC_QUEUE_URL", "gc_log_level", "PATH"])
def test_a_setting_that_is_none_is_refused_with_its_name(service: str, name: str) -> None:
    values = chart.merged(CASES["prod"], {service: {"settings": {name: "1"}}})
    with pytest.raises(helm_python.HelmError, match=rf"/{service}/settings.*'{name}'"):
        chart.render(values)


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [
        ("manager", "GC_CONCURRENCY", 0),
        ("manager", "GC_CONCURRENCY", "many"),
        ("manager", "GC_VISIBILITY_TIMEOUT", 0.1),
        ("manager", "GC_RETRY_DELAYS", "10;20"),
        ("manager", "GC_ALLOWED_PORTS", "smtp"),
        ("listener", "GC_MQTT_VERSION", "4"),
        ("metrics", "GC_LOG_LEVEL", "verbose"),
    ],
)
def test_a_value_no_service_takes_is_refused_with_its_name(
    service: str, name: str, value: Any
) -> None:
    values = chart.merged(CASES["prod"], {service: {"settings": {name: value}}})
    with pytest.raises(helm_python.HelmError, match=f"/{service}/settings/{name}"):
        chart.render(values)


def test_the_schema_describes_each_setting_as_the_catalogue_does() -> None:
    schema = json.loads(chart.SCHEMA.read_text("utf-8"))
    for setting in settings.CATALOGUE:
        for service in set(setting.services) & set(SERVICES):
            if setting.name not in chart_files.FOLLOWING:
                found = schema["definitions"][f"{service}Settings"]["properties"][setting.name]
                assert found["description"] == setting.meaning
