"""What a month costs: `python -m deploy.costs` writes the tables of docs/costs.md anew.

Volumes and prices are assumptions, all of them in docs/costs-assumptions.json; how many of what
there are is read from terraform/environments.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.environment import assignments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
ASSUMPTIONS = ROOT / "docs" / "costs-assumptions.json"
PAGE = ROOT / "docs" / "costs.md"
BEGIN, END = "<!-- made by `make costs` -->", "<!-- end -->"
ENVIRONMENTS = ("dev", "prod")

_GB = 1e9
_MILLION = 1e6
_FREE_CLOUDFRONT_GB = 1000
_FREE_CLOUDFRONT_REQUESTS = 10 * _MILLION
_DRIVERS = 5
#: send, receive, delete: each a batch.
_SQS_CALLS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """One line: so much of something, at a price."""

    part: str
    what: str
    """Behind a colon what may differ between environments."""
    quantity: float
    price: str
    """A name in the prices."""
    usd: float
    """A month's."""


@dataclass(frozen=True, slots=True)
class Size:
    """What terraform/environments says of an environment."""

    nat_gateways: int
    broker_addresses: int
    registry_node_type: str
    registry_nodes: int
    is_auto_mode: bool


def read_size(tfvars: str) -> Size:
    """Return the size that a tfvars file describes. Raises KeyError: it leaves one of it out."""
    found = assignments(tfvars)
    return Size(
        nat_gateways=1 if found["one_nat_gateway"] == "true" else 3,
        broker_addresses=int(found["broker_address_count"]),
        registry_node_type=found["registry_node_type"],
        registry_nodes=int(found["registry_node_count"]),
        is_auto_mode=found["compute"] == "auto",
    )


def month(assumptions: Mapping[str, Any], name: str, size: Size) -> list[Cost]:
    """Return every line of an environment's month. Raises KeyError: a price that is not there."""
    volumes = assumptions["environments"][name]
    hours, days = assumptions["hours_per_month"], assumptions["days_per_month"]
    items = volumes["items_per_day"] * days
    stored_gb = items * volumes["bytes_per_item"] / _GB
    heard_gb = items * volumes["notifications_per_item"] * volumes["bytes_per_notification"] / _GB
    queued = items * volumes["queued_per_item"]
    # Into the queue and out of it.
    queued_gb = 2 * queued * volumes["bytes_per_notification"] / _GB
    served_gb = stored_gb * volumes["downloads_per_item"]
    announced_gb = items * volumes["broker_subscribers"] * volumes["bytes_per_notification"] / _GB
    nodes = volumes["nodes"]
    # The metrics service's load balancer has one in each zone.
    addresses = size.nat_gateways + size.broker_addresses + 3
    disks_gb = nodes * volumes["node_disk_gb"] + volumes["volumes_gb"]
    node_price = _price_of("ec2", volumes["node_type"])
    auto_mode_usd = nodes * hours * assumptions["prices"][node_price]["usd"]
    lines: list[tuple[str, str, float, str]] = [
        ("Kubernetes", "control plane", hours, "eks_cluster_hour"),
        ("Kubernetes", f"nodes: {nodes} {volumes['node_type']}", nodes * hours, node_price),
        ("Kubernetes", "Auto Mode's share of the nodes", auto_mode_usd * size.is_auto_mode,
         "eks_auto_mode_share"),
        ("Kubernetes", "disks", disks_gb, "ebs_gp3_gb_month"),
        ("Network", f"NAT gateways: {size.nat_gateways}", size.nat_gateways * hours,
         "nat_gateway_hour"),
        ("Network", "what comes in through NAT (data, notifications, queue)",
         stored_gb + heard_gb + queued_gb, "nat_gateway_gb"),
        ("Network", f"public addresses: {addresses}", addresses * hours, "public_ipv4_hour"),
        ("Network", "between zones", items * volumes["cross_zone_bytes_per_item"] / _GB,
         "cross_zone_gb"),
        ("Queue", "SQS requests", queued * _SQS_CALLS / volumes["sqs_messages_per_request"]
         / _MILLION, "sqs_million"),
        ("Registry", f"nodes: {size.registry_nodes} {size.registry_node_type}",
         size.registry_nodes * hours, _price_of("elasticache", size.registry_node_type)),
        ("Store", "S3 storage", volumes["items_per_day"] * volumes["bytes_per_item"]
         * volumes["object_days"] / _GB, "s3_storage_gb_month"),
        ("Store", "S3 PUT", items / _MILLION, "s3_put_million"),
        ("Store", "S3 HEAD and CloudFront's GET", 2 * items / _MILLION, "s3_get_million"),
        ("Downloads", "CloudFront, beyond the first TB", max(0, served_gb - _FREE_CLOUDFRONT_GB),
         "cloudfront_out_gb"),
        ("Downloads", "CloudFront requests, beyond the first ten million",
         max(0, items * volumes["downloads_per_item"] - _FREE_CLOUDFRONT_REQUESTS) / _MILLION,
         "cloudfront_requests_million"),
        ("Broker", "network load balancer", hours, "load_balancer_hour"),
        ("Broker", "its capacity units", volumes["broker_lcu"] * hours, "nlb_lcu_hour"),
        ("Broker", f"announcements, by subscribers: {volumes['broker_subscribers']}", announced_gb,
         "internet_out_gb"),
        ("Metrics", "application load balancer", hours, "load_balancer_hour"),
        ("Metrics", "its capacity units", volumes["metrics_lcu"] * hours, "alb_lcu_hour"),
        ("Around it", "logs", volumes["log_gb_per_day"] * days, "logs_gb"),
        ("Around it", "alarms", volumes["alarms"], "alarm_month"),
        ("Around it", "keys", 3, "kms_key_month"),
        ("Around it", "secrets", volumes["secrets"], "secret_month"),
        ("Around it", "hosted zone", 1, "zone_month"),
        ("Around it", "images", volumes["image_gb"], "ecr_gb_month"),
    ]  # fmt: skip
    return [
        Cost(part, what, quantity, price, quantity * assumptions["prices"][price]["usd"])
        for part, what, quantity, price in lines
    ]


def total(costs: Sequence[Cost]) -> float:
    """Return the sum in dollars."""
    return sum(cost.usd for cost in costs)


def render(assumptions: Mapping[str, Any], sizes: Mapping[str, Size]) -> str:
    """Return the tables of docs/costs.md."""
    months = {name: month(assumptions, name, sizes[name]) for name in ENVIRONMENTS}
    volumes = assumptions["environments"]
    rows = [
        "| part | what | dev | prod |",
        "|---|---|---:|---:|",
    ]
    for dev, prod in zip(months["dev"], months["prod"], strict=True):
        what, colon, counted = prod.what.partition(": ")
        name = f"{what}: {dev.what.partition(': ')[2]} and {counted}" if colon else what
        rows.append(f"| {prod.part} | {name} | {_usd(dev.usd)} | {_usd(prod.usd)} |")
    rows.append(
        f"| **a month** | | **{_usd(total(months['dev']))}** | **{_usd(total(months['prod']))}** |"
    )
    drivers = sorted(months["prod"], key=lambda cost: -cost.usd)[:_DRIVERS]
    shares = [
        f"{number}. {cost.part}: {cost.what}, {_usd(cost.usd)} "
        f"({cost.usd / total(months['prod']):.0%})"
        for number, cost in enumerate(drivers, start=1)
    ]
    prod = volumes["prod"]
    once = _GB / prod["bytes_per_item"]
    one_more_download = (
        prod["items_per_day"] * assumptions["days_per_month"]
        * (assumptions["prices"]["cloudfront_out_gb"]["usd"] / once
           + assumptions["prices"]["cloudfront_requests_million"]["usd"] / _MILLION)
    )  # fmt: skip
    one_more_subscriber = (
        prod["items_per_day"] * assumptions["days_per_month"] * prod["bytes_per_notification"]
        / _GB * assumptions["prices"]["internet_out_gb"]["usd"]
    )  # fmt: skip
    prices, sources = assumptions["prices"], assumptions["sources"]
    seen = {name: sum(price["source"] == name for price in prices.values()) for name in sources}
    return "\n".join([
        f"Prices in US dollars, {assumptions['region']}, on demand, without tax and support.",
        f"Where the {len(prices)} prices are from:",
        "",
        *(f"- {seen[name]} *{name}*: {meaning}" for name, meaning in sources.items()),
        "",
        *rows,
        "",
        "What prod's month is made of, the largest first:",
        "",
        *shares,
        "",
        f"- Everything fetched once more by somebody: + {_usd(one_more_download)} a month.",
        f"- One more subscriber to everything: + {_usd(one_more_subscriber)} a month.",
        "",
        "## The volumes behind it",
        "",
        "| | dev | prod |",
        "|---|---:|---:|",
        *(f"| {meaning} | {_number(volumes['dev'][name])} | {_number(volumes['prod'][name])} |"
          for name, meaning in assumptions["meanings"].items()),
        "",
        "## The prices behind it",
        "",
        "| price | $ | per | from |",
        "|---|---:|---|---|",
        *(f"| {name.replace('_', ' ')} | {price['usd']:g} | {price['per']} | {price['source']} |"
          for name, price in prices.items()),
    ])  # fmt: skip


def page(before: str, made: str) -> str:
    """Return docs/costs.md with the tables between its marks replaced by `made`."""
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}"


def current() -> str:
    """Return the tables as the files have it now."""
    sizes = {
        name: read_size((ROOT / f"terraform/environments/{name}.tfvars").read_text("utf-8"))
        for name in ENVIRONMENTS
    }
    return render(json.loads(ASSUMPTIONS.read_text("utf-8")), sizes)


def main() -> int:
    """Write docs/costs.md anew."""
    PAGE.write_text(page(PAGE.read_text("utf-8"), current()), encoding="utf-8")
    return 0


def _price_of(kind: str, instance_type: str) -> str:
    return f"{kind}_{instance_type.removeprefix('cache.').replace('.', '_')}_hour"


def _usd(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 10 else f"{value:.1f}"  # noqa: PLR2004


def _number(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
