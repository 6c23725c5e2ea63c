"""The registry's numbers as Prometheus and OpenMetrics text (wis2-rules.md M1 to M10, M15).

Pure: a `Reading` goes in, bytes come out. Every answer has every family of the catalogue, also
those without series, so that an alert rule never refers to an unknown name.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from wis2_gc_common import metrics as catalogue
from wis2_gc_common.health.facts import Code
from wis2_gc_common.ports.queue import Depth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric as Family

    from wis2_gc_common.errors import Unavailable
    from wis2_gc_common.health.facts import Health
    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.registry import ProcessStatus, Snapshot

Series = dict[str, dict[tuple[str, ...], float]]

#: The label of the WMO metric hierarchy that names the reporting cache; every metric has it.
REPORT_BY = "report_by"
#: The fact in a listener's heartbeat with the time of its last notification, in seconds.
LAST_MESSAGE_FACT = "last_message_s"


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that one answer is made of."""

    at_s: float
    """When it was read: seconds since 1970."""
    snapshot: Snapshot
    depth: Depth | Unavailable
    """How much waits, or why the queue did not tell; the counts are valid without it."""


def expose(
    reading: Reading,
    health: Health,
    *,
    report_by: str,
    expected_brokers: Sequence[str],
    accept: str,
) -> tuple[bytes, str]:
    """Return (body, content type) of `/metrics` in the format that the `Accept` header asks for.

    `report_by`: our centre-id. Expected listeners that have not reported are shown as not ready.
    """
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it asks for a version that is not a number
        encode, content_type = choose_encoder("")
    series = _series_of(reading, expected_brokers)
    _add_health(series, health)
    # prometheus_client writes what each format requires around the series. We write the thousands
    # of series ourselves: it takes three to five times the CPU for each.
    heads = [_head(metric, reading.snapshot) for metric in catalogue.CATALOGUE]
    text: list[str] = []
    for line in encode(_Families(heads)).decode().splitlines(keepends=True):
        text.append(line)
        if line.startswith("# TYPE ") and (metric := _BY_FAMILY.get(line.split(" ", 3)[2])):
            text += _lines(metric, series[metric.name], report_by)
    return "".join(text).encode(), content_type


def _series_of(reading: Reading, expected_brokers: Sequence[str]) -> Series:
    series: Series = defaultdict(dict)
    _add_fields(series, "counter", reading.snapshot.counters)
    _add_fields(series, "gauge", reading.snapshot.gauges)
    _add_fields(series, "gauge", reading.snapshot.held)
    _add_depth(series, reading.depth)
    _add_processes(series, reading.snapshot.processes, expected_brokers)
    return series


def _add_health(series: Series, health: Health) -> None:
    codes = {reason.code for reason in health.reasons}
    series[catalogue.HEALTH_STATE.name] = {(): health.state.level}
    series[catalogue.HEALTH_REASON.name] = {(code,): float(code in codes) for code in Code}


class _Families(Collector):
    """A collector, as prometheus_client's encoders require."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


_BY_NAME: dict[str, Metric] = {metric.name: metric for metric in catalogue.CATALOGUE}
#: In OpenMetrics the family of a counter has no suffix.
_BY_FAMILY = _BY_NAME | {name.removesuffix("_total"): metric for name, metric in _BY_NAME.items()}


def _add_fields(
    series: Series, kind: Literal["counter", "gauge"], fields: Mapping[str, float]
) -> None:
    for text, value in fields.items():
        name, labels = catalogue.split_field(text)
        metric = _BY_NAME.get(name)
        # During a rolling upgrade a newer writer may count a metric that this reader does not know.
        if metric is None or metric.type != kind:
            continue
        if len(labels) == len(metric.labels):
            series[name][labels] = value


def _add_depth(series: Series, depth: Depth | Unavailable) -> None:
    series[catalogue.QUEUE_READABLE.name] = {(): float(isinstance(depth, Depth))}
    if not isinstance(depth, Depth):
        return
    series[catalogue.QUEUE_MESSAGES.name] = {
        ("ready",): depth.ready,
        ("in_flight",): depth.in_flight,
        ("delayed",): depth.delayed,
        ("dead",): depth.dead,
    }
    if depth.oldest_s is not None:
        series[catalogue.QUEUE_OLDEST.name] = {(): depth.oldest_s}


def _add_processes(
    series: Series, processes: Sequence[ProcessStatus], expected_brokers: Sequence[str]
) -> None:
    listeners: dict[tuple[str, ...], float] = {(broker,): 0.0 for broker in expected_brokers}
    last_message: dict[tuple[str, ...], float] = {}
    managers: dict[tuple[str, ...], float] = {}
    for process in processes:
        if process.kind == "manager":
            managers[process.name,] = float(process.is_ready)
            continue
        listeners[process.name,] = float(process.is_ready)
        moment = last_message_s(process)
        if moment is not None:
            last_message[process.name,] = moment
    series[catalogue.LISTENER_READY.name] = listeners
    series[catalogue.LISTENER_LAST_MESSAGE.name] = last_message
    series[catalogue.MANAGER_READY.name] = managers


def last_message_s(process: ProcessStatus) -> float | None:
    """Return when a listener last received a notification; None: not since its start."""
    moment = process.facts.get(LAST_MESSAGE_FACT)
    if isinstance(moment, (int, float)) and math.isfinite(moment) and moment > 0:
        return float(moment)
    return None


def _head(metric: Metric, snapshot: Snapshot) -> Family:
    """Return the family without its series; a histogram with its few series."""
    if metric.type == "histogram":
        return _histogram(metric, snapshot)
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def _lines(
    metric: Metric, series: Mapping[tuple[str, ...], float], report_by: str
) -> Iterator[str]:
    """Yield one line per series, sorted by label."""
    if metric.type == "counter" and not metric.labels and not series:
        # A counter without labels always has one series: if nothing is counted, it is 0.
        series = {(): 0.0}
    ours = (f'{REPORT_BY}="{_escaped(report_by)}"',) if metric.is_wmo else ()
    for labels in sorted(series):
        pairs = (
            *(f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, labels)),  # noqa: B905 - the same length, and the check costs time here
            *ours,
        )
        braces = f"{{{','.join(pairs)}}}" if pairs else ""
        value = floatToGoString(series[labels])  # type: ignore[no-untyped-call]
        yield f"{metric.name}{braces} {value}\n"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def _histogram(metric: Metric, snapshot: Snapshot) -> Family:
    bounds = [*map(str, catalogue.DELAY_BUCKETS_S), "+Inf"]
    counts = list(accumulate(delay_counts(snapshot)))
    family = HistogramMetricFamily(metric.name, metric.help, labels=())
    buckets = list(zip(bounds, counts, strict=True))
    family.add_metric([], buckets=buckets, sum_value=snapshot.delay_sum_s)
    return family


def delay_counts(snapshot: Snapshot) -> tuple[int, ...]:
    """Return one count per delay bucket and one for all above; 0 if nothing was counted."""
    wanted = len(catalogue.DELAY_BUCKETS_S) + 1
    counts = tuple(snapshot.delay_buckets)[:wanted]
    return counts + (0,) * (wanted - len(counts))
