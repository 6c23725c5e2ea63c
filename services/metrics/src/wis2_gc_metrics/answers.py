"""Turns readings and records into the API's answers. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_common.health.judge import judge
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.wis2.pubtime import format_seconds
from wis2_gc_metrics.delay import describe_delays
from wis2_gc_metrics.exposition import delay_counts, last_message_s
from wis2_gc_metrics.models import (
    BrokerAnswer,
    BrokersAnswer,
    CentreAnswer,
    CentresAnswer,
    CountAnswer,
    DataServerAnswer,
    FailureAnswer,
    FailuresAnswer,
    ItemAnswer,
    ManagerAnswer,
    ManagersAnswer,
    QueueAnswer,
    RecentAnswer,
    RolloutsAnswer,
    SummaryAnswer,
    VerdictAnswer,
    WorkloadAnswer,
)
from wis2_gc_metrics.public_text import public_error, public_facts
from wis2_gc_metrics.readiness import missing_parts
from wis2_gc_metrics.totals import add_up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wis2_gc_common.health.facts import Facts
    from wis2_gc_common.metrics import Metric
    from wis2_gc_common.ports.registry import (
        FailureRecord,
        ItemKey,
        ItemRecord,
        ProcessStatus,
        Snapshot,
    )
    from wis2_gc_metrics.exposition import Reading
    from wis2_gc_metrics.rollouts import Workload


_OF_CENTRE = ("centre_id",)


def summary(
    reading: Reading,
    recent: RecentAnswer | None,
    *,
    centre_id: str,
    expected_brokers: Sequence[str],
) -> SummaryAnswer:
    """Return the numbers of the whole cache."""
    snapshot = reading.snapshot
    missing = what_is_missing(reading, expected_brokers=expected_brokers)
    listeners = _by_name(snapshot, "listener")
    managers = _by_name(snapshot, "manager")
    return SummaryAnswer(
        at=format_seconds(reading.at_s),
        centre_id=centre_id,
        is_ready=not missing,
        missing=missing,
        totals=add_up(snapshot),
        delay=describe_delays(catalogue.DELAY_BUCKETS_S, delay_counts(snapshot)),
        recent=recent,
        queue=queue(reading.depth) if isinstance(reading.depth, Depth) else None,
        listeners=CountAnswer(
            ready=sum(p.is_ready for p in listeners.values()),
            total=len(listeners.keys() | set(expected_brokers)),
        ),
        managers=CountAnswer(ready=sum(p.is_ready for p in managers.values()), total=len(managers)),
    )


def verdict(facts: Facts) -> VerdictAnswer:
    """Return whether the cache is well; the details of the reasons are for `wis2-gc` only."""
    health = judge(facts)
    return VerdictAnswer.model_validate(
        {
            "state": health.state,
            "reasons": [
                {
                    "code": reason.code,
                    "state": reason.state,
                    "subject": reason.subject,
                    "words": reason.words,
                    "runbook": reason.code.runbook,
                }
                for reason in health.reasons
            ],
            "window_s": None if facts.window is None else facts.window.seconds,
        }
    )


def what_is_missing(reading: Reading, *, expected_brokers: Sequence[str]) -> list[str]:
    """Return one line for each part without which the whole cache is not ready."""
    missing = missing_parts(reading.snapshot.processes, expected_brokers=expected_brokers)
    if isinstance(reading.depth, Unavailable):
        missing.append(away(reading.depth))
    return missing


def away(error: Unavailable) -> str:
    """Return one line that says which part is away, without its address."""
    verb = "refuses us" if isinstance(error, Misconfigured) else "does not answer"
    return f"the {error.part} {verb}"


def queue(depth: Depth) -> QueueAnswer:
    """Return how many notifications wait."""
    return QueueAnswer.model_validate(depth)


def _by_name(snapshot: Snapshot, kind: str) -> dict[str, ProcessStatus]:
    return {p.name: p for p in snapshot.processes if p.kind == kind}


class _Table:
    """Counters or gauges, grouped by metric: label values → value."""

    def __init__(self, fields: Mapping[str, float]) -> None:
        self._series: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for text, value in fields.items():
            name, labels = catalogue.split_field(text)
            self._series[name][labels] = value

    def get(self, metric: Metric, *labels: str) -> float | None:
        return self._series[metric.name].get(labels)

    def count(self, metric: Metric, *labels: str) -> int:
        return int(self._series[metric.name].get(labels, 0))

    def number(self, metric: Metric, *labels: str) -> int | None:
        value = self.get(metric, *labels)
        return None if value is None else int(value)

    def labels(self, metric: Metric) -> list[tuple[str, ...]]:
        wanted = len(metric.labels)
        return [labels for labels in self._series[metric.name] if len(labels) == wanted]

    def time(self, metric: Metric, *labels: str) -> str | None:
        value = self.get(metric, *labels)
        return None if value is None or not math.isfinite(value) else format_seconds(value)


def centres(snapshot: Snapshot) -> CentresAnswer:
    """Return the counts of each centre and of its data servers."""
    counters, gauges = _Table(snapshot.counters), _Table(snapshot.gauges)
    held = _Table(snapshot.held)
    names = {centre for (centre,) in held.labels(catalogue.HELD_ITEMS)}
    servers: dict[str, set[str]] = defaultdict(set)
    for metric in catalogue.CATALOGUE:
        if metric.labels[:1] != _OF_CENTRE:
            continue
        table = counters if metric.type == "counter" else gauges
        for labels in table.labels(metric):
            names.add(labels[0])
            if metric.labels == catalogue.DATASERVER_STATUS.labels:
                servers[labels[0]].add(labels[1])
    return CentresAnswer(
        max_items=held.number(catalogue.QUOTA_ITEMS),
        max_bytes=held.number(catalogue.QUOTA_BYTES),
        centres=[
            CentreAnswer(
                centre_id=name,
                downloaded=counters.count(catalogue.DOWNLOADED, name),
                download_errors=counters.count(catalogue.DOWNLOADED_ERRORS, name),
                integrity_failures=counters.count(catalogue.INTEGRITY_FAILED, name),
                no_cache=counters.count(catalogue.NO_CACHE, name),
                overrides=counters.count(catalogue.CACHE_OVERRIDE, name),
                invalid=counters.count(catalogue.INVALID, name),
                future_pubtimes=counters.count(catalogue.FUTURE_PUBTIMES, name),
                held_items=held.count(catalogue.HELD_ITEMS, name),
                held_bytes=held.count(catalogue.HELD_BYTES, name),
                last_download=gauges.time(catalogue.LAST_DOWNLOAD, name),
                last_metadata=gauges.time(catalogue.LAST_METADATA, name),
                data_servers=[
                    _data_server(gauges, name, server) for server in sorted(servers[name])
                ],
            )
            for name in sorted(names)
        ],
    )


def _data_server(gauges: _Table, centre_id: str, server: str) -> DataServerAnswer:
    flag = gauges.get(catalogue.DATASERVER_STATUS, centre_id, server)
    return DataServerAnswer(
        name=server,
        is_up=None if flag is None else flag >= 1,
        last_download=gauges.time(catalogue.DATASERVER_LAST_DOWNLOAD, centre_id, server),
    )


def brokers(snapshot: Snapshot, *, expected_brokers: Sequence[str]) -> BrokersAnswer:
    """Return the Global Brokers that are expected, report, or ever sent a notification."""
    counters = _Table(snapshot.counters)
    listeners = _by_name(snapshot, "listener")
    counted = {labels[0] for labels in counters.labels(catalogue.RECEIVED)}
    dropped: dict[str, int] = defaultdict(int)
    for labels in counters.labels(catalogue.DROPPED):
        dropped[labels[0]] += counters.count(catalogue.DROPPED, *labels)
    names = sorted(counted | listeners.keys() | set(expected_brokers))
    return BrokersAnswer(
        brokers=[_broker(name, listeners.get(name), counters, dropped[name]) for name in names]
    )


def _broker(
    name: str, process: ProcessStatus | None, counters: _Table, dropped: int
) -> BrokerAnswer:
    last_message = None if process is None else last_message_s(process)
    return BrokerAnswer(
        name=name,
        is_ready=process is not None and process.is_ready,
        is_reporting=process is not None,
        last_report=None if process is None else format_seconds(process.at_s),
        last_message=None if last_message is None else format_seconds(last_message),
        received=counters.count(catalogue.RECEIVED, name),
        queued=counters.count(catalogue.QUEUED, name),
        dropped=dropped,
        facts={} if process is None else public_facts(process.facts),
    )


def managers(snapshot: Snapshot) -> ManagersAnswer:
    """Return the managers that report."""
    processes = _by_name(snapshot, "manager")
    return ManagersAnswer(
        managers=[
            ManagerAnswer(
                name=name,
                is_ready=process.is_ready,
                last_report=format_seconds(process.at_s),
                facts=public_facts(process.facts),
            )
            for name, process in sorted(processes.items())
        ]
    )


def failures(records: Sequence[FailureRecord]) -> FailuresAnswer:
    """Return the given-up items, in the given order."""
    return FailuresAnswer(
        failures=[
            FailureAnswer(**record.facts() | {"error": public_error(record.error)})
            for record in records
        ]
    )


def item(key: ItemKey, record: ItemRecord) -> ItemAnswer:
    """Return the history of one item."""
    return ItemAnswer(**record.facts(key) | {"last_error": public_error(record.last_error)})


def rollouts(workloads: Sequence[Workload] | None) -> RolloutsAnswer:
    """Return the workloads, in the given order; None: we are not in a cluster."""
    return RolloutsAnswer(
        is_in_cluster=workloads is not None,
        workloads=[WorkloadAnswer.model_validate(workload) for workload in workloads or ()],
    )
