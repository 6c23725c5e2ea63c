"""Mistakes in values are refused with their name; every value does something."""

from __future__ import annotations

import copy
import functools
import json
import re
from typing import TYPE_CHECKING, Any

import helm_python
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testkit.deployment import chart, kubernetes_schemas
from tests.deployment.test_chart_policy import problems_of_privilege

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = chart.cases()
SCHEMA = json.loads(chart.SCHEMA.read_text("utf-8"))
DEFAULTS = yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8"))
Path = tuple[str, ...]


def _resolved(schema: Any) -> Any:
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def _objects(schema: Any = SCHEMA, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, schema) of every object with named properties, lists apart."""
    schema = _resolved(schema)
    if "properties" in schema:
        yield path, schema
        for name, inner in schema["properties"].items():
            yield from _objects(inner, (*path, name))


def _leaves() -> Iterator[tuple[Path, Any]]:
    """Yield (path, schema) of every value that is not itself an object with named properties."""
    for path, schema in _objects():
        for name, inner in schema["properties"].items():
            if "properties" not in _resolved(inner) and (path, name) != ((), "global"):
                yield (*path, name), _resolved(inner)


def _put(values: chart.Values, path: Path, value: Any) -> chart.Values:
    layer: Any = value
    for name in reversed(path):
        layer = {name: layer}
    return chart.merged(values, layer)


@pytest.mark.parametrize("path", [p for p, _ in _objects()], ids=lambda p: ".".join(p) or "top")
def test_a_mistyped_name_is_refused_with_its_name_wherever_it_stands(path: Path) -> None:
    values = _put(CASES["prod"], (*path, "mistpyed"), "x")
    with pytest.raises(helm_python.HelmError) as refusal:
        chart.render(values)
    where = "/" + "/".join(path) if path else ""
    assert f"'{where}'" in str(refusal.value)
    assert "'mistpyed'" in str(refusal.value)


@pytest.mark.parametrize(
    "entry",
    [{"name": "fr", "secretNmae": "x"}, {"nmae": "fr"}, {"name": "Fr_1", "secretName": "x"}],
)
def test_a_mistyped_broker_is_refused(entry: dict[str, str]) -> None:
    with pytest.raises(helm_python.HelmError, match=r"/brokers/0"):
        chart.render({**CASES["prod"], "brokers": [entry]})


@pytest.mark.parametrize("path", [p for p, _ in _leaves()], ids=".".join)
def test_no_value_can_be_taken_away(path: Path) -> None:
    # `--set path=null` removes a default; a template would stumble over it somewhere.
    if path[-1] in ("requests", "limits", "ephemeral-storage") or path[-2:-1] == ("settings",):
        return
    with pytest.raises(helm_python.HelmError, match=path[-1]):
        chart.render(_put(CASES["gateway"], path, None))


def test_every_value_in_values_yaml_is_in_the_schema_and_the_other_way_round() -> None:
    for path, schema in _objects():
        if not path or path[-1] in ("settings", "requests", "limits"):
            continue
        held = functools.reduce(lambda d, name: d[name], path, DEFAULTS)
        assert set(held) == set(schema["properties"]), path
    assert set(DEFAULTS) | {"global"} == set(SCHEMA["properties"])


def test_every_block_of_values_is_explained() -> None:
    lines = (chart.CHART / "values.yaml").read_text("utf-8").splitlines()
    starts = [n for n, line in enumerate(lines) if re.match(r"[a-zA-Z]+:", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        explained = lines[start - 1].startswith("#") or any(
            line.startswith("  #") for line in lines[start:end]
        )
        assert explained, lines[start]


#: Values to try, one of which every kind of leaf takes.
CANDIDATES: list[Any] = [
    True, False, 3, 5, 17, 1999, 20000, "other", "5Gi", "7Gi", "2h", "9m", "9m0", "32KB", "2gb",
    "eu-west-1", "other.example.int", "sha256:" + "0" * 64, "https://other.example.int/x",
    "https://other.example.int", "1,2",
    "redis-stream:other", "redis://other.example.int:6379/3", "s3://other/x", "file:///srv/other",
    "int-other-global-cache", "registry.other.int/x:1.2", {"other": "x"}, ["10.9.0.0/16"],
    ["other"],
    {"mqtts": "other", "wss": "other"}, [8884],
    [{"key": "other", "operator": "Exists"}], [{"name": "other", "secretName": "other"}],
    [{"name": "other"}],
    {"manager": {"podAnnotations": {"other": "x"}}},
    [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}],
    {"registry": "other"},
]  # fmt: skip


def _others(schema: Any, current: Any) -> list[Any]:
    if "enum" in schema:
        return [choice for choice in schema["enum"] if choice != current]
    full = {**schema, "definitions": SCHEMA["definitions"]}
    validator = jsonschema.Draft7Validator(full)
    return [c for c in CANDIDATES if c != current and validator.is_valid(c)]


@functools.cache
def _all_values(name: str) -> chart.Values:
    return chart.merged(DEFAULTS, CASES[name])


def _rendered_or_refused(values: chart.Values) -> dict[str, str] | str:
    try:
        return chart.render(values)
    except helm_python.HelmError as refusal:
        return str(refusal)


@functools.cache
def _before(name: str) -> dict[str, str]:
    return chart.render(_all_values(name))


@pytest.mark.parametrize(
    ("path", "schema"),
    # Settings are passed on by name; test_chart_settings.py reads them back.
    [pytest.param(p, s, id=".".join(p)) for p, s in _leaves() if "settings" not in p],
)
def test_every_value_does_something(path: Path, schema: Any) -> None:
    """Changes what is rendered, or contradicts another value, in one of the reviewed cases."""
    for name in ("on-premises", "prod", "in-cluster", "gateway", "dev", "stand-in"):
        values = _all_values(name)
        current: Any = values
        for step in path:
            current = current.get(step) if isinstance(current, dict) else None
        before = _before(name)
        for other in _others(schema, current)[:3]:
            after = _rendered_or_refused(_put(values, path, other))
            if isinstance(after, str):
                # Refused, because it contradicts another value: by one of our checks.
                assert "/checks.yaml" in after
                return
            if after != before:
                return
    pytest.fail(f"{'.'.join(path)} is used nowhere")


CONTRADICTIONS = [
    ({"registry": {"secretName": "x"}}, "registry.secretName and registry.secretArn"),
    ({"registry": {"secretArn": ""}}, "registry.secretName or registry.secretArn"),
    ({"registry": {"url": ""}}, "registry.url"),
    (
        {"deploymentSecret": {"secretName": "x"}},
        "deploymentSecret.secretName and deploymentSecret.secretArn",
    ),
    (
        {"deploymentSecret": {"secretArn": ""}},
        "deploymentSecret.secretName or deploymentSecret.secretArn",
    ),
    (
        {"deploymentSecret": {"secretArn": "", "secretName": "x"}},
        "deploymentSecret.secretArn is needed with broker.secretArn",
    ),
    ({"broker": {"secretName": "x"}}, "broker.secretName and broker.secretArn"),
    ({"broker": {"secretArn": ""}}, "broker.secretName or broker.secretArn"),
    ({"broker": {"enabled": False}}, "broker.secretArn"),
    ({"broker": {"accounts": [{"name": "gb"}]}}, "broker.accounts: gb: secretArn is needed"),
    (
        {"broker": {"accounts": [{"name": "gb", "secretArn": "a"}] * 2}},
        "broker.accounts: gb is an account already",
    ),
    (
        {"broker": {"accounts": [{"name": "everyone", "secretArn": "a"}]}},
        "broker.accounts: everyone is an account already",
    ),
    (
        {"broker": {"accounts": [{"name": "publisher-1", "secretArn": "a"}]}},
        "broker.accounts: publisher-1: publisher",
    ),
    (
        {
            "broker": {
                "secretArn": "",
                "secretName": "x",
                "accounts": [{"name": "gb", "secretArn": "a"}],
            }
        },
        "broker.accounts: gb: secretArn without broker.secretArn",
    ),
    ({"broker": {"replicas": 2}}, "broker.replicas"),
    ({"broker": {"software": "mosquitto"}}, "broker.replicas must be 1 with broker.software"),
    *(
        ({"broker": {"image": {"tag": tag}}}, f"broker.image.tag {tag}")
        for tag in ("5.9.0", "v5.10.3", "e5.9.1", "6.0.0-alpha.1", "5.10", "latest", "stable")
    ),
    ({"broker": {"tls": {"mode": "secret"}}}, "broker.tls.secretName"),
    ({"broker": {"tls": {"mode": "certManager"}}}, "broker.tls.issuer.name"),
    ({"brokers": [{"name": "fr"}]}, "brokers: fr: secretName or secretArn"),
    ({"brokers": [{"name": "fr", "secretArn": "a", "secretName": "b"}]}, "brokers: fr: secretName"),
    ({"brokers": [{"name": "fr", "secretArn": "a"}] * 2}, "brokers: fr is named twice"),
    ({"queue": {"deadLetterUrl": "redis-stream:dead"}}, "queue.url and queue.deadLetterUrl"),
    ({"aws": {"region": ""}}, "aws.region"),
    ({"queue": {"url": "redis-stream:a", "deadLetterUrl": "redis-stream:b"}}, "names a user"),
    ({"store": {"endpointUrl": "https://x.example.int"}}, "store.endpointUrl"),
    ({"store": {"url": "file:///srv/x"}, "domain": {"data": ""}}, "domain.data"),
    ({"domain": {"metrics": ""}}, "domain.metrics"),
    ({"web": {"mode": "gateway"}}, "web.gateway.name"),
    ({"manager": {"autoscaling": {"min": 30}}}, "manager.autoscaling.min"),
    (
        {"serviceAccounts": {"metrics": {"name": "wis2-global-cache-manager"}}},
        "serviceAccounts.metrics",
    ),
    ({"serviceAccounts": {"manager": {"name": "wis2-broker"}}}, "serviceAccounts.manager.name"),
    ({"scheduling": {"priorityClass": {"name": "x"}}}, "scheduling.priorityClass.create and"),
    ({"redis": {"enabled": True}}, "registry.url must be redis://wis2-redis:6379"),
]


@pytest.mark.parametrize(("change", "message"), CONTRADICTIONS, ids=lambda v: str(v)[:50])
def test_values_that_contradict_each_other_are_refused(change: chart.Values, message: str) -> None:
    with pytest.raises(helm_python.HelmError) as refusal:
        chart.render(chart.merged(CASES["prod"], change))
    assert message in str(refusal.value)


@pytest.mark.parametrize("missing", ["mqtts", "wss", "accounts"])
def test_a_public_port_without_a_target_group_is_refused(missing: str) -> None:
    values = copy.deepcopy(CASES["prod"])
    del values["broker"]["targetGroupBinding"]["arns"][missing]
    with pytest.raises(helm_python.HelmError, match=r"broker.targetGroupBinding.arns." + missing):
        chart.render(values)
    values["broker"]["targetGroupBinding"]["arns"] = {}
    with pytest.raises(helm_python.HelmError, match=r"needed with broker.tls.mode acm"):
        chart.render(values)


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"tag": "5.8.9"}},
        {"image": {"tag": "5.8.10-patch.1"}},
        {"image": {"tag": "4.4.19"}},
        {"image": {"tag": "5.10.3", "licenseSecretName": "license"}},
        {"image": {"tag": "latest", "licenseSecretName": "license"}},
        {"image": {"tag": "5.10.3"}, "replicas": 1},
        {"image": {"tag": "5.10.3"}, "replicas": 1, "software": "mosquitto"},
    ],
    ids=str,
)
def test_a_version_of_emqx_that_runs_as_asked_is_taken(change: chart.Values) -> None:
    assert chart.render(chart.merged(CASES["prod"], {"broker": change}))


def test_nothing_is_deployed_by_default() -> None:
    with pytest.raises(helm_python.HelmError, match="centreId"):
        chart.render({})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("registry", "url"), "rediss://:hunter2@redis.example.int:6379"),
        (("registry", "url"), "rediss://user:hunter2@redis.example.int:6379"),
        (("queue", "url"), "https://user:hunter2@sqs.example.int/q"),
        (("store", "dataBaseUrl"), "https://user:hunter2@data.example.int"),
    ],
)
def test_a_password_in_a_url_is_refused(path: Path, value: str) -> None:
    with pytest.raises(helm_python.HelmError, match="/" + "/".join(path)):
        chart.render(_put(CASES["prod"], path, value))


def test_what_terraform_puts_out_is_taken() -> None:
    # Only with what is not Terraform's to know: the Global Brokers and how TLS ends.
    values = chart.merged(chart.HELM_VALUES, chart.BROKERS, {"broker": {"tls": {"mode": "acm"}}})
    assert chart.manifests(values)


LEAVES = [(p, s) for p, s in _leaves() if "settings" not in p and p != ("networkPolicy", "enabled")]


@st.composite
def _changed_values(draw: st.DrawFn) -> chart.Values:
    values = copy.deepcopy(CASES[draw(st.sampled_from(sorted(CASES)))])
    for index in draw(st.lists(st.integers(0, len(LEAVES) - 1), min_size=1, max_size=8)):
        path, schema = LEAVES[index]
        choices = _others(schema, None)
        if choices:
            values = _put(values, path, draw(st.sampled_from(choices)))
    return values


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=_changed_values())
def test_any_values_are_refused_by_name_or_make_valid_and_safe_objects(values: Any) -> None:
    rendered = _rendered_or_refused(values)
    if isinstance(rendered, str):
        # A check of ours: never a template that stumbles.
        assert "/checks.yaml" in rendered
        assert "nil pointer" not in rendered
        assert "wrong type" not in rendered
        return
    objects = chart.manifests(values)
    chart.by_id(objects)
    for manifest in objects:
        assert kubernetes_schemas.problems(manifest, "1.34") == []
    policies = [m for m in objects if m["kind"] == "NetworkPolicy"]
    for item, template in chart.pod_specs(objects):
        assert problems_of_privilege(template) == []
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        assert any(p["metadata"]["name"] == f"wis2-{component}" for p in policies), item


def _undocumented(text: str) -> list[str]:
    """Return the leaves of a values file that have no comment, and no key around them has one."""
    rows: list[tuple[tuple[str, ...], bool]] = []
    around: list[tuple[str, bool]] = []
    is_commented = False
    for line in text.splitlines():
        key = re.match(r"( *)(\w+):", line)
        if key:
            del around[len(key[1]) // 2 :]
            around.append((key[2], is_commented))
            rows.append((tuple(name for name, _ in around), any(done for _, done in around)))
        is_commented = bool(re.match(r" *#", line))
    parents = {path[:-1] for path, _ in rows}
    return [".".join(path) for path, done in rows if not done and path not in parents]


def test_every_value_is_documented_by_a_comment() -> None:
    assert _undocumented("a:\n  b: 1\n  # why\n  c: 2\n# these\nd:\n  e: 3\n") == ["a.b"]
    assert _undocumented((chart.CHART / "values.yaml").read_text("utf-8")) == []
