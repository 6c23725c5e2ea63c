"""The chart as text: reviewed, repeatable, and only as different as the values are."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from testkit.deployment import chart
from tools import chart_files

if TYPE_CHECKING:
    from pathlib import Path

CASES = chart.cases()


#: Made with another broker (test_chart_mosquitto.py), or making nothing.
OF_OTHER_VALUES = {"broker/mosquitto-config.yaml", "checks.yaml"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param(path, text, id=str(path.relative_to(chart.ROOT)))
        for path, text in sorted({**chart_files.generated(), **chart.golden_files()}.items())
    ],
)
def test_what_is_made_from_the_code_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text("utf-8") == text, "look at the difference; make chart-files writes it"


def test_each_template_has_a_golden_file_and_no_other_is_there() -> None:
    templates = chart.render(chart.golden_values()).keys()
    files = {str(path.relative_to(chart.GOLDEN)) for path in chart.GOLDEN.rglob("*.*")}
    assert files == templates - OF_OTHER_VALUES - set(chart.AS_THEY_ARE)


def test_rules_and_dashboards_are_the_files_of_the_chart() -> None:
    objects = chart.objects(CASES["prod"])
    files = chart.CHART / "files"
    assert objects["PrometheusRule", "wis2"]["spec"] == yaml.safe_load(
        (files / "alerts.yaml").read_text("utf-8")
    )
    dashboards = {
        path.name: json.loads(path.read_text("utf-8"))
        for path in (files / "dashboards").glob("*.json")
    }
    shown = objects["ConfigMap", "wis2-dashboards"]["data"]
    assert {name: json.loads(text) for name, text in shown.items()} == dashboards


@pytest.mark.parametrize("name", sorted(CASES))
def test_rendering_twice_is_identical(name: str) -> None:
    assert chart.render(copy.deepcopy(CASES[name])) == chart.render(CASES[name])


def test_every_values_file_is_a_case() -> None:
    assert {path.stem for path in (chart.CHART / "values").iterdir()} <= set(CASES)


def test_helm_lint_finds_nothing() -> None:
    report = helm_python.lint(chart.CHART, values=CASES["on-premises"])
    assert report["errors"] == []
    found = [message["error"] for message in report["messages"]]
    assert found == ["icon is recommended"]


@pytest.mark.parametrize("name", ["dev", "prod", "on-premises"])
def test_a_broker_taken_away_takes_exactly_its_own_objects(name: str) -> None:
    values = CASES[name]
    fewer = {**values, "brokers": values["brokers"][1:]}
    gone = values["brokers"][0]["name"]

    before, after = (chart.objects(v) for v in (values, fewer))

    own = {(kind, f"wis2-listener-{gone}") for kind in ("Deployment", "PodDisruptionBudget")}
    if "secretArn" in values["brokers"][0]:
        own.add(("ExternalSecret", f"wis2-listener-{gone}"))
    assert set(before) - set(after) == own
    assert all(_but_for_its_turn(before[key]) == _but_for_its_turn(after[key]) for key in after)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_broker_added_touches_nothing_else(position: int) -> None:
    values = CASES["on-premises"]
    brokers = list(values["brokers"])
    brokers.insert(position, {"name": "noaa-us", "secretName": "noaa-us"})

    before = chart.objects(values)
    after = chart.objects({**values, "brokers": brokers})

    own = {(kind, "wis2-listener-noaa-us") for kind in ("Deployment", "PodDisruptionBudget")}
    assert set(after) - set(before) == own
    assert all(_but_for_its_turn(before[key]) == _but_for_its_turn(after[key]) for key in before)


def _but_for_its_turn(manifest: chart.Manifest) -> chart.Manifest:
    """Without what no running pod notices: when a listener is replaced, after the others."""
    spec = {k: v for k, v in manifest.get("spec", {}).items() if k != "minReadySeconds"}
    return {**manifest, "spec": spec}


def test_listeners_are_replaced_one_after_the_other_and_never_ended_first() -> None:
    listeners = [
        item["spec"]
        for item, template in chart.pod_specs(chart.manifests(CASES["prod"]))
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == "listener"
    ]
    assert [spec["strategy"] for spec in listeners] == [
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    ] * len(listeners)
    assert [spec["minReadySeconds"] for spec in listeners] == [0, 20]


def test_the_files_are_named_alike_in_every_folder() -> None:
    templates = chart.CHART / "templates"
    folders = ("listener", "manager", "metrics", "broker")
    names = {folder: {path.name for path in (templates / folder).iterdir()} for folder in folders}
    common = set.intersection(*names.values())
    assert common == {
        "config.yaml",
        "disruption.yaml",
        "network.yaml",
        "serviceaccount.yaml",
        "workload.yaml",
    }


def _annotations(values: chart.Values) -> dict[str, dict[str, str]]:
    return {
        item["metadata"]["name"]: template["metadata"]["annotations"]
        for item, template in chart.pod_specs(chart.manifests(values))
    }


def _rolled(before: chart.Values, change: chart.Values) -> set[str]:
    old, new = _annotations(before), _annotations(chart.merged(before, change))
    return {name for name in old if old[name] != new[name]}


LISTENERS = {"wis2-listener-meteo-fr", "wis2-listener-inmet-br"}
ALL = LISTENERS | {"wis2-manager", "wis2-metrics"}


@pytest.mark.parametrize(
    ("change", "rolled"),
    [
        ({"manager": {"settings": {"GC_CONCURRENCY": 32}}}, {"wis2-manager"}),
        ({"metrics": {"settings": {"GC_LOG_LEVEL": "debug"}}}, {"wis2-metrics"}),
        ({"listener": {"settings": {"GC_LOG_LEVEL": "debug"}}}, LISTENERS),
        ({"store": {"dataBaseUrl": "https://d.example.int/d"}}, {"wis2-manager", "wis2-store"}),
        ({"broker": {"limits": {"maxInflight": 200}}}, {"wis2-broker"}),
        ({"redis": {"maxMemory": "2gb"}}, {"wis2-redis"}),
        ({"registry": {"secretName": "other"}}, {*ALL, "wis2-redis"}),
        ({"broker": {"secretName": "other"}}, {"wis2-broker", "wis2-manager"}),
        ({"deploymentSecret": {"secretName": "other"}}, {*LISTENERS, "wis2-manager"}),
        ({"secrets": {"revision": "2"}}, {*ALL, "wis2-redis", "wis2-broker"}),
        ({"secrets": {"revisions": {"registry": "2"}}}, {*ALL, "wis2-redis"}),
        ({"secrets": {"revisions": {"deployment": "2"}}}, {*LISTENERS, "wis2-manager"}),
        ({"secrets": {"revisions": {"broker": "2"}}}, {"wis2-broker", "wis2-manager"}),
        # Here no account of that name is among the values.
        ({"secrets": {"revisions": {"accounts/gb-fr": "2"}}}, set()),
        (
            {"secrets": {"revisions": {"global-brokers/meteo-fr": "2"}}},
            {"wis2-listener-meteo-fr"},
        ),
        # For KEDA: pods read the whole URL from the secret.
        ({"registry": {"url": "redis://wis2-redis:6379"}}, set()),
        ({"monitoring": {"rules": True}}, set()),
        ({"networkPolicy": {"enabled": False}}, set()),
    ],
    # A set has no order of its own, and two processes must find tests of one name.
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_change_rolls_the_pods_that_use_it_and_no_others(
    change: chart.Values, rolled: set[str]
) -> None:
    assert _rolled(CASES["on-premises"], change) == rolled


def test_a_new_password_of_an_account_rolls_the_broker_alone() -> None:
    change = {"secrets": {"revisions": {"accounts/gb-fr": "2"}}}
    assert _rolled(CASES["prod"], change) == {"wis2-broker"}


def test_an_address_that_the_registry_secret_is_made_from_rolls_all_that_connect() -> None:
    change = {"registry": {"url": "rediss://cache@other.example.int:6379"}}
    assert _rolled(CASES["prod"], change) == ALL


def test_a_session_survives_a_new_release() -> None:
    # The client id is made of centre-id, broker name and secret: nothing a roll-out changes.
    before, after = (
        chart.objects(v)[("Deployment", "wis2-listener-meteo-fr")]
        for v in (
            CASES["prod"],
            chart.merged(CASES["prod"], {"image": {"tag": "9"}, "secrets": {"revision": "2"}}),
        )
    )
    assert before["spec"]["replicas"] == 1
    assert before["spec"]["selector"] == after["spec"]["selector"]
    assert _env(before)["GC_GLOBAL_BROKER_NAME"] == _env(after)["GC_GLOBAL_BROKER_NAME"]


def _env(workload: chart.Manifest) -> dict[str, Any]:
    container = workload["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry.get("value") for entry in container["env"]}
