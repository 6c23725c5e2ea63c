"""The page of costs is what its assumptions come to."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from deploy import costs
from deploy.environment import assignments
from tests.support import chart

ASSUMPTIONS: dict[str, Any] = json.loads(costs.ASSUMPTIONS.read_text("utf-8"))


def tfvars(name: str) -> str:
    return (costs.ROOT / f"terraform/environments/{name}.tfvars").read_text("utf-8")


def month(name: str, assumptions: dict[str, Any] = ASSUMPTIONS, **changes: Any) -> float:
    changed = copy.deepcopy(assumptions)
    changed["environments"][name].update(changes)
    return costs.total(costs.month(changed, name, costs.read_size(tfvars(name))))


def test_the_page_is_up_to_date() -> None:
    before = costs.PAGE.read_text("utf-8")
    assert costs.page(before, costs.current()) == before, "run `make costs`"


def test_a_page_is_rewritten_between_its_marks_only() -> None:
    page = f"head\n{costs.BEGIN}\nold\n{costs.END}\ntail\n"
    again = costs.page(page, "new")
    assert again == f"head\n{costs.BEGIN}\n\nnew\n\n{costs.END}\ntail\n"
    assert costs.page(again, "new") == again


@pytest.mark.parametrize("name", costs.ENVIRONMENTS)
def test_every_price_is_used_or_somebody_elses_and_every_volume_has_a_meaning(name: str) -> None:
    used = {
        cost.price
        for each in costs.ENVIRONMENTS
        for cost in costs.month(ASSUMPTIONS, each, costs.read_size(tfvars(each)))
    }
    assert used == set(ASSUMPTIONS["prices"])
    assert set(ASSUMPTIONS["environments"][name]) - {"comment"} == set(ASSUMPTIONS["meanings"])


def test_every_price_says_where_it_is_from() -> None:
    sources = {price["source"] for price in ASSUMPTIONS["prices"].values()}
    assert sources == set(ASSUMPTIONS["sources"])
    page = costs.current()
    for name, price in ASSUMPTIONS["prices"].items():
        row = (
            f"| {name.replace('_', ' ')} | {price['usd']:g} | {price['per']} | {price['source']} |"
        )
        assert row in page


def test_sums_are_right_by_hand() -> None:
    lines = {(c.part, c.what): c.usd for c in costs.month(
        ASSUMPTIONS, "prod", costs.read_size(tfvars("prod")))}  # fmt: skip
    assert lines["Kubernetes", "control plane"] == pytest.approx(730 * 0.10)
    # 1.2 million items a day, 30.4 days, 5.30 a million
    assert lines["Store", "S3 PUT"] == pytest.approx(1.2 * 30.4 * 5.30)
    # 102 GB a day, three times, less the first TB
    assert lines["Downloads", "CloudFront, beyond the first TB"] == pytest.approx(
        (102 * 30.4 * 3 - 1000) * 0.085
    )
    # 1.2 million items of 1.3 messages, three calls for five of them
    assert lines["Queue", "SQS requests"] == pytest.approx(1.2 * 30.4 * 1.3 * 3 / 5 * 0.40)


def test_sizes_come_from_terraform() -> None:
    size = costs.read_size(tfvars("prod"))
    assert (size.nat_gateways, size.broker_addresses, size.registry_nodes) == (3, 3, 2)
    dev = costs.read_size(tfvars("dev"))
    assert (dev.nat_gateways, dev.broker_addresses, dev.registry_nodes) == (1, 1, 1)
    with pytest.raises(KeyError):
        costs.read_size("")


def test_what_is_free_never_pays_back() -> None:
    nothing = month("prod", downloads_per_item=0)
    assert nothing == month("prod", downloads_per_item=0.1)
    assert nothing < month("prod", downloads_per_item=1)


@pytest.mark.parametrize(
    "volume", ["items_per_day", "bytes_per_item", "nodes", "broker_subscribers"]
)
def test_more_costs_more(volume: str) -> None:
    given = ASSUMPTIONS["environments"]["prod"][volume]
    assert month("prod", **{volume: 2 * given}) > month("prod")


def test_a_node_type_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError):
        month("prod", node_type="m99.large")


@pytest.mark.parametrize("name", costs.ENVIRONMENTS)
def test_the_budget_in_terraform_leaves_room_for_what_is_assumed(name: str) -> None:
    assert month(name) <= float(assignments(tfvars(name))["budget_usd"])


def _requests(name: str) -> tuple[float, float]:
    """Return the CPUs and the GiB that the chart's pods ask for, at their least number."""
    cpus = gib = 0.0
    values = chart.cases()[name]
    least = values["manager"].get("autoscaling", {}).get("min", 0)
    for path, text in chart.render(values).items():
        if not path.endswith("workload.yaml"):
            continue
        for each in yaml.safe_load_all(text):
            if not each or each["kind"] not in ("Deployment", "StatefulSet"):
                continue
            count = each["spec"].get("replicas", least)
            for container in each["spec"]["template"]["spec"]["containers"]:
                wanted = container["resources"]["requests"]
                cpu, memory = str(wanted["cpu"]), str(wanted["memory"])
                cpus += count * (float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu))
                gib += count * float(memory[:-2]) / (1 if memory.endswith("Gi") else 1024)
    return cpus, gib


@pytest.mark.parametrize("name", costs.ENVIRONMENTS)
def test_the_assumed_nodes_hold_what_the_chart_asks_for(name: str) -> None:
    volumes = ASSUMPTIONS["environments"][name]
    assert volumes["node_type"] == "m7i.large"
    cpus, gib = _requests(name)
    assert cpus > 0
    # A fifth of 2 CPUs and 8 GiB belongs to the system; the add-ons want two CPUs and two GiB.
    assert cpus + 2 <= volumes["nodes"] * 2 * 0.8
    assert gib + 2 <= volumes["nodes"] * 8 * 0.8
