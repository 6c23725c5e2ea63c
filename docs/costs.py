"""What a month costs: `make costs` writes the tables of docs/costs.md from costs-assumptions.json.

Volumes and prices are assumptions; how many of what there are is read from terraform/environments.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.environment import read_variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
ASSUMPTIONS = ROOT / "docs/costs-assumptions.json"
PAGE = ROOT / "docs/costs.md"
BEGIN, END = "<!-- made by `make costs` -->", "<!-- end -->"
_GB, _MILLION = 1e9, 1e6
#: Of a node's memory, what ElastiCache leaves to Redis (`reserved-memory-percent` is 25).
_LEFT_TO_REDIS = 0.75
#: Beside an amount whose price nobody has checked.
_FROM_MEMORY = "†"


class Cost(NamedTuple):
    """One line of a month: so much of something, at a price."""

    part: str
    what: str
    """Behind a colon what differs between columns."""
    price: str
    """A name in the prices."""
    usd: float


def month(assumptions: Mapping[str, Any], name: str) -> list[Cost]:
    """Return every line of a column's month. Raises KeyError: a price or size is not there."""
    prices, v = assumptions["prices"], assumptions["columns"][name]
    tfvars = read_variables(ROOT / f"terraform/environments/{v['tfvars']}.tfvars")
    hours, items = (
        assumptions["hours_per_month"],
        v["items_per_day"] * assumptions["days_per_month"],
    )
    nat = 1 if tfvars["one_nat_gateway"] else 3
    # The metrics service's load balancer has an address in each zone.
    addresses = nat + int(tfvars["broker_address_count"]) + 3
    registry = (int(tfvars["registry_node_count"]), tfvars["registry_node_type"])
    stored_gb = items * v["bytes_per_item"] / _GB
    noticed_gb = items * v["bytes_per_notification"] / _GB
    node_usd = prices[_price("ec2", v["node_type"])]["usd"]
    plan, plan_price = _plan(prices, items * v["downloads_per_item"],
                             stored_gb * v["downloads_per_item"])  # fmt: skip
    lines: list[tuple[str, str, float, str]] = [
        ("Kubernetes", "control plane", hours, "eks_cluster_hour"),
        ("Kubernetes", f"nodes: {v['nodes']} {v['node_type']}", v["nodes"] * hours,
         _price("ec2", v["node_type"])),
        ("Kubernetes", "Auto Mode's share of the nodes",
         v["nodes"] * hours * node_usd * (tfvars["compute"] == "auto"), "eks_auto_mode_share"),
        ("Kubernetes", "disks", v["nodes"] * v["node_disk_gb"] + v["volumes_gb"],
         "ebs_gp3_gb_month"),
        ("Network", f"NAT gateways: {nat}", nat * hours, "nat_gateway_hour"),
        # Each queued notification goes into the queue and out of it.
        ("Network", "what comes in through NAT (data, notifications, queue)", stored_gb + noticed_gb
         * (v["notifications_per_item"] + 2 * v["queued_per_item"]), "nat_gateway_gb"),
        ("Network", f"public addresses: {addresses}", addresses * hours, "public_ipv4_hour"),
        ("Network", "between zones", items * v["cross_zone_bytes_per_item"] / _GB, "cross_zone_gb"),
        # Send, receive, delete: each a batch.
        ("Queue", "SQS requests", 3 * items * v["queued_per_item"] / v["sqs_messages_per_request"]
         / _MILLION, "sqs_million"),
        ("Registry", f"nodes: {registry[0]} {registry[1]}", registry[0] * hours,
         _price("elasticache", registry[1])),
        ("Store", "S3 storage", stored_gb / assumptions["days_per_month"] * v["object_days"],
         "s3_storage_gb_month"),
        ("Store", "S3 PUT", items / _MILLION, "s3_put_million"),
        ("Store", "S3 HEAD and CloudFront's GET", 2 * items / _MILLION, "s3_get_million"),
        ("Downloads", f"CloudFront's plan: {plan}", 1, plan_price),
        ("Broker", "network load balancer", hours, "load_balancer_hour"),
        ("Broker", "its capacity units", v["broker_lcu"] * hours, "nlb_lcu_hour"),
        ("Broker", f"announcements, by subscribers: {v['broker_subscribers']}",
         noticed_gb * v["broker_subscribers"], "internet_out_gb"),
        ("Metrics", "application load balancer", hours, "load_balancer_hour"),
        ("Metrics", "its capacity units", v["metrics_lcu"] * hours, "alb_lcu_hour"),
        ("Around it", "logs", v["log_gb_per_day"] * assumptions["days_per_month"], "logs_gb"),
        ("Around it", "alarms", v["alarms"], "alarm_month"),
        ("Around it", "keys", 3, "kms_key_month"),
        ("Around it", "secrets", v["secrets"], "secret_month"),
        ("Around it", "hosted zone", 1, "zone_month"),
        ("Around it", "images", v["image_gb"], "ecr_gb_month"),
    ]  # fmt: skip
    return [
        Cost(part, what, price, quantity * prices[price]["usd"])
        for part, what, quantity, price in lines
    ]


def paid_by_use(assumptions: Mapping[str, Any], name: str) -> float:
    """Return what the downloads of a month cost without a plan, in dollars."""
    prices, v = assumptions["prices"], assumptions["columns"][name]
    fetched = v["items_per_day"] * assumptions["days_per_month"] * v["downloads_per_item"]
    gb = fetched * v["bytes_per_item"] / _GB
    # A terabyte and ten million requests are free.
    return float(
        max(0, gb - 1000) * prices["cloudfront_out_gb"]["usd"]
        + max(0, fetched / _MILLION - 10) * prices["cloudfront_requests_million"]["usd"]
    )


def registry_gb(assumptions: Mapping[str, Any], name: str) -> float:
    """Return what the registry holds of a column's items, in GB."""
    v = assumptions["columns"][name]
    return float(v["items_per_day"] * v["registry_days"] * v["registry_bytes_per_item"] / _GB)


def registry_room_gb(assumptions: Mapping[str, Any], name: str) -> float:
    """Return the `maxmemory` of a column's type of registry, in GB. Raises KeyError: not known."""
    tfvars_name = assumptions["columns"][name]["tfvars"]
    tfvars = read_variables(ROOT / f"terraform/environments/{tfvars_name}.tfvars")
    gib = assumptions["registry_gib"][tfvars["registry_node_type"]]
    return float(gib * 2**30 / _GB * _LEFT_TO_REDIS)


def total(costs: Sequence[Cost]) -> float:
    """Return the sum in dollars."""
    return sum(cost.usd for cost in costs)


def _plan(prices: Mapping[str, Any], requests: float, gb: float) -> tuple[str, str]:
    """Return the cheapest flat-rate plan that holds a month's downloads, and its price's name."""
    plans = {name: price for name, price in prices.items() if "holds" in price}
    name = min(
        (n for n, p in plans.items()
         if requests <= p["holds"]["million_requests"] * _MILLION and gb <= p["holds"]["gb"]),
        key=lambda n: plans[n]["usd"],
    )  # fmt: skip
    return name.removeprefix("cloudfront_plan_").replace("_", " "), name


def _price(kind: str, instance_type: str) -> str:
    return f"{kind}_{instance_type.removeprefix('cache.').replace('.', '_')}_hour"


def current(assumptions: Mapping[str, Any]) -> str:
    """Return the tables of docs/costs.md."""
    columns, prices = assumptions["columns"], assumptions["prices"]
    months = {name: month(assumptions, name) for name in columns}
    head = (f"| part | what | {' | '.join(columns)} |", f"|---|---|{'---:|' * len(columns)}")
    rows = []
    for each in zip(*months.values(), strict=True):
        what, colon, _ = each[0].what.partition(": ")
        counted = " / ".join(cost.what.partition(": ")[2] for cost in each) if colon else ""
        is_remembered = prices[each[0].price]["source"] == "memory"
        mark = f" {_FROM_MEMORY}" if is_remembered else ""
        sums = " | ".join(_usd(cost.usd) + mark for cost in each)
        rows.append(f"| {each[0].part} | {what}{colon}{counted} | {sums} |")
    totals = " | ".join(f"**{_usd(total(costs))}**" for costs in months.values())
    remembered = " | ".join(
        _usd(total([cost for cost in costs if prices[cost.price]["source"] == "memory"]))
        for costs in months.values()
    )
    by_use = " | ".join(_usd(paid_by_use(assumptions, name)) for name in columns)
    held = " | ".join(
        f"{registry_gb(assumptions, name):.1f} of {registry_room_gb(assumptions, name):.1f}"
        for name in columns
    )
    seen = {name: sum(price["source"] == name for price in prices.values())
            for name in assumptions["sources"]}  # fmt: skip
    return "\n".join([
        f"US dollars a month, {assumptions['region']}, on demand, without tax and support.",
        f"{_FROM_MEMORY}: at a price from memory, not checked.",
        "",
        *head, *rows, f"| **a month** | | {totals} |",
        f"| *of it {_FROM_MEMORY}* | at prices from memory | {remembered} |",
        f"| *for comparison* | downloads paid by use, without a plan | {by_use} |",
        f"| *for comparison* | GB that the registry holds, of the room in its type | {held} |",
        "",
        f"Where the {len(prices)} prices are from:",
        "",
        *(f"- {seen[name]} *{name}*: {text}" for name, text in assumptions["sources"].items()),
        "",
        "## The volumes behind it",
        "",
        f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}",
        *(f"| {meaning} | {' | '.join(_number(c[name]) for c in columns.values())} |"
          for name, meaning in assumptions["meanings"].items()),
        "",
        "## The prices behind it",
        "",
        "| price | $ | per | from |", "|---|---:|---|---|",
        *(f"| {name.replace('_', ' ')} | {price['usd']:g} | {price['per']} | {price['source']} |"
          for name, price in prices.items()),
    ])  # fmt: skip


def page(before: str, made: str) -> str:
    """Return docs/costs.md with the tables between its marks replaced by `made`."""
    head, _, rest = before.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}"


def _usd(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 10 else f"{value:.1f}"  # noqa: PLR2004


def _number(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
    made = current(json.loads(ASSUMPTIONS.read_text("utf-8")))
    PAGE.write_text(page(PAGE.read_text("utf-8"), made), encoding="utf-8")
