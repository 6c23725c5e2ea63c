"""The page of costs is what its assumptions come to."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml

from deploy.environment import read_variables
from docs import costs
from testkit.deployment import chart

ASSUMPTIONS: dict[str, Any] = json.loads(costs.ASSUMPTIONS.read_text("utf-8"))
COLUMNS = tuple(ASSUMPTIONS["columns"])
ENVIRONMENTS = ("dev", "prod")


def month(name: str, **changes: Any) -> float:
    changed = copy.deepcopy(ASSUMPTIONS)
    changed["columns"][name].update(changes)
    return costs.total(costs.month(changed, name))


def test_the_page_is_up_to_date() -> None:
    before = costs.PAGE.read_text("utf-8")
    assert costs.page(before, costs.current(ASSUMPTIONS)) == before, "run `make costs`"


def test_a_page_is_rewritten_between_its_marks_only() -> None:
    page = f"head\n{costs.BEGIN}\nold\n{costs.END}\ntail\n"
    again = costs.page(page, "new")
    assert again == f"head\n{costs.BEGIN}\n\nnew\n\n{costs.END}\ntail\n"
    assert costs.page(again, "new") == again


def test_every_price_is_used_and_every_volume_has_a_meaning() -> None:
    used = {cost.price for each in COLUMNS for cost in costs.month(ASSUMPTIONS, each)}
    compared = {"cloudfront_out_gb", "cloudfront_requests_million"}
    plans = {name for name, price in ASSUMPTIONS["prices"].items() if "holds" in price}
    assert used | compared | plans == set(ASSUMPTIONS["prices"])
    for column in ASSUMPTIONS["columns"].values():
        assert set(column) - {"comment", "tfvars"} == set(ASSUMPTIONS["meanings"])


def test_every_price_says_where_it_is_from() -> None:
    sources = {price["source"] for price in ASSUMPTIONS["prices"].values()}
    assert sources == set(ASSUMPTIONS["sources"])
    page = costs.current(ASSUMPTIONS)
    for name, price in ASSUMPTIONS["prices"].items():
        row = (
            f"| {name.replace('_', ' ')} | {price['usd']:g} | {price['per']} | {price['source']} |"
        )
        assert row in page


def test_sums_are_right_by_hand() -> None:
    lines = {(c.part, c.what.partition(": ")[0]): c.usd for c in costs.month(ASSUMPTIONS, "prod")}
    assert lines["Kubernetes", "control plane"] == pytest.approx(730 * 0.10)
    # 1.2 million items a day, 30.4 days, 5.30 a million
    assert lines["Store", "S3 PUT"] == pytest.approx(1.2 * 30.4 * 5.30)
    # 102 GB a day, three times, less the first TB; 3.6 million a day, less the first ten
    assert costs.paid_by_use(ASSUMPTIONS, "prod") == pytest.approx(
        (102 * 30.4 * 3 - 1000) * 0.085 + (3.6 * 30.4 - 10) * 1.2
    )
    # 1.2 million items of 1.3 messages, three calls for five of them
    assert lines["Queue", "SQS requests"] == pytest.approx(1.2 * 30.4 * 1.3 * 3 / 5 * 0.40)


@pytest.mark.parametrize(
    ("downloads", "plan"),
    # 36.5 million items a month, 3.1 TB: 125 million requests, then 500, then 750.
    [(0, "free"), (0.2, "pro"), (3, "business"), (3.5, "premium_500"), (14, "premium_750")],
)
def test_the_plan_is_the_cheapest_that_holds_requests_and_bytes(
    downloads: float, plan: str
) -> None:
    changed = copy.deepcopy(ASSUMPTIONS)
    changed["columns"]["prod"]["downloads_per_item"] = downloads
    used = {cost.price for cost in costs.month(changed, "prod")}
    assert [name for name in used if "plan" in name] == [f"cloudfront_plan_{plan}"]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_registry_has_room_for_what_is_assumed(name: str) -> None:
    source = (costs.ROOT / "terraform/main/variables.tf").read_text("utf-8")
    variable = source.partition('variable "alarm_registry_memory_percent"')[2]
    alarm = re.search(r"default\s*=\s*(\d+)", variable)
    assert alarm is not None
    room = costs.registry_room_gb(ASSUMPTIONS, name) * int(alarm[1]) / 100
    assert costs.registry_gb(ASSUMPTIONS, name) <= room


def test_a_registry_is_sized_by_hand() -> None:
    # 5.9 million items a day, a day and a half, 600 bytes; three quarters of 13.07 GiB
    name = "prod, 500 GB a day"
    assert costs.registry_gb(ASSUMPTIONS, name) == pytest.approx(5.9 * 1.5 * 0.6)
    assert costs.registry_room_gb(ASSUMPTIONS, name) == pytest.approx(10.53, abs=0.01)


def test_what_rests_on_a_price_from_memory_is_marked_where_it_is_read() -> None:
    page = costs.current(ASSUMPTIONS)
    for cost in costs.month(ASSUMPTIONS, "prod"):
        what = cost.what.partition(": ")[0]
        (row,) = (x for x in page.splitlines() if x.startswith(f"| {cost.part} | {what}"))
        is_remembered = ASSUMPTIONS["prices"][cost.price]["source"] == "memory"
        assert row.count("†") == (len(COLUMNS) if is_remembered else 0), row


@pytest.mark.parametrize(
    "volume", ["items_per_day", "bytes_per_item", "nodes", "broker_subscribers"]
)
def test_more_costs_more(volume: str) -> None:
    given = ASSUMPTIONS["columns"]["prod"][volume]
    assert month("prod", **{volume: 2 * given}) > month("prod")


def test_a_node_type_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError):
        month("prod", node_type="m99.large")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_budget_in_terraform_leaves_room_for_what_is_assumed(name: str) -> None:
    tfvars = read_variables(costs.ROOT / f"terraform/environments/{name}.tfvars")
    assert month(name) <= tfvars["budget_usd"]


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


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_assumed_nodes_hold_what_the_chart_asks_for(name: str) -> None:
    volumes = ASSUMPTIONS["columns"][name]
    assert volumes["node_type"] == "m7i.large"
    cpus, gib = _requests(name)
    assert cpus > 0
    # A fifth of 2 CPUs and 8 GiB belongs to the system; the add-ons require two CPUs and two GiB.
    assert cpus + 2 <= volumes["nodes"] * 2 * 0.8
    assert gib + 2 <= volumes["nodes"] * 8 * 0.8
