from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from testkit.fakes.reader import WELL, listener, manager, snapshot_of
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.health.facts import Code, Health, HealthReason, State
from wis2_gc_common.metrics import field
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.ports.registry import ProcessStatus, Snapshot
from wis2_gc_metrics.exposition import Reading, expose

if TYPE_CHECKING:
    from wis2_gc_common.metrics import Metric


REPORT_BY = "xx-test-global-cache"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
DEPTH = Depth(ready=3, in_flight=2, delayed=1, dead=4, oldest_s=7.5)


def exposed(
    snapshot: Snapshot,
    *,
    accept: str = "",
    depth: Depth = DEPTH,
    expected: tuple[str, ...] = (),
    health: Health = WELL,
) -> str:
    reading = Reading(1_800_000_000.0, snapshot, depth)
    body, _ = expose(reading, health, report_by=REPORT_BY, expected_brokers=expected, accept=accept)
    return body.decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def everything_counted() -> Snapshot:
    """One series per metric that the registry holds, each with a value of its own."""
    counters, gauges, held = {}, {}, {}
    for number, metric in enumerate(catalogue.CATALOGUE, start=1):
        labels = [f"{label}-value" for label in metric.labels]
        if metric.type == "counter":
            counters[field(metric, *labels)] = number
        elif metric.type == "gauge" and metric.is_wmo:
            gauges[field(metric, *labels)] = number + 0.25
        elif metric.name.startswith("wis2_gc_centre_"):
            held[field(metric, *labels)] = number
    return snapshot_of(
        counters=counters,
        gauges=gauges,
        held=held,
        delay_buckets=tuple(range(1, len(catalogue.DELAY_BUCKETS_S) + 2)),
        delay_sum_s=12.5,
        processes=(listener("fr", last_message_s=1_799_999_999.5), manager("m-1")),
    )


@pytest.mark.parametrize("metric", catalogue.CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_of_the_catalogue_is_exposed_with_its_labels(metric: Metric) -> None:
    text = exposed(everything_counted())
    families = {line.split()[2]: line.split()[3] for line in text.splitlines() if "# TYPE" in line}
    assert families[metric.name] == metric.type
    assert f"# HELP {metric.name} {metric.help}" in text.splitlines()
    label_names = {name for (found, labels), _ in samples(text).items() if found == metric.name
                   for name, _ in labels}  # fmt: skip
    if metric.type != "histogram":
        assert label_names == {*metric.labels, *(["report_by"] if metric.is_wmo else [])}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_family_is_there_before_anything_was_counted(accept: str) -> None:
    text = exposed(snapshot_of(), accept=accept)
    for metric in catalogue.CATALOGUE:
        name = metric.name.removesuffix("_total") if accept else metric.name
        assert f"# TYPE {name} {metric.type}" in text.splitlines()


def test_wmo_counters_have_exactly_the_names_and_labels_of_the_metric_hierarchy() -> None:
    content = snapshot_of(
        counters={
            field(catalogue.DOWNLOADED, "ca-eccc-msc"): 5,
            field(catalogue.INTEGRITY_FAILED, "ca-eccc-msc"): 1,
        },
        gauges={field(catalogue.DATASERVER_STATUS, "ca-eccc-msc", "data.example"): 1},
    )
    lines = exposed(content).splitlines()
    labels = 'centre_id="ca-eccc-msc"'
    by = f'report_by="{REPORT_BY}"'
    assert f"wmo_wis2_gc_downloaded_total{{{labels},{by}}} 5.0" in lines
    assert f"wmo_wis2_gc_integrity_failed_total{{{labels},{by}}} 1.0" in lines
    server = 'dataserver="data.example"'
    assert f"wmo_wis2_gc_dataserver_status_flag{{{labels},{server},{by}}} 1.0" in lines


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_there_are_no_created_series(accept: str) -> None:
    assert "_created" not in exposed(everything_counted(), accept=accept)


def test_openmetrics_is_given_to_those_who_ask_for_it_and_ends_in_eof() -> None:
    reading = Reading(1_800_000_000.0, everything_counted(), DEPTH)
    body, content_type = expose(
        reading, WELL, report_by=REPORT_BY, expected_brokers=(), accept=OPENMETRICS
    )
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    families = openmetrics.text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert names == {metric.name.removesuffix("_total") for metric in catalogue.CATALOGUE}


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "text/plain;version=0.0.4",
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text;version=",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,*/*;q=0.1",
        ";;;,,,=",
        "text/plain;version=1.0.0;escaping=values",
    ],
)
def test_any_accept_header_gets_a_readable_answer(accept: str) -> None:
    reading = Reading(1_800_000_000.0, everything_counted(), DEPTH)
    body, content_type = expose(
        reading, WELL, report_by=REPORT_BY, expected_brokers=(), accept=accept
    )
    read = (
        openmetrics.text_string_to_metric_families
        if content_type.startswith("application/openmetrics")
        else text_string_to_metric_families
    )
    assert len(list(read(body.decode()))) == len(catalogue.CATALOGUE)


def test_the_delay_histogram_is_cumulated_and_complete() -> None:
    buckets = (2, *[0] * (len(catalogue.DELAY_BUCKETS_S) - 2), 1, 4)
    found = samples(exposed(snapshot_of(delay_buckets=buckets, delay_sum_s=9000.5)))
    name = catalogue.ANNOUNCE_DELAY.name
    assert found[f"{name}_bucket", (("le", "0.01"),)] == 2
    assert found[f"{name}_bucket", (("le", "120.0"),)] == 2
    assert found[f"{name}_bucket", (("le", "3600.0"),)] == 3
    assert found[f"{name}_bucket", (("le", "+Inf"),)] == 7
    assert found[f"{name}_count", ()] == 7
    assert found[f"{name}_sum", ()] == 9000.5


def test_the_queue_is_shown_by_state() -> None:
    found = samples(exposed(snapshot_of()))
    states = {labels[0][1]: value for (name, labels), value in found.items()
              if name == catalogue.QUEUE_MESSAGES.name}  # fmt: skip
    assert states == {"ready": 3, "in_flight": 2, "delayed": 1, "dead": 4}
    assert found[catalogue.QUEUE_OLDEST.name, ()] == 7.5


def test_a_queue_that_does_not_tell_an_age_has_no_such_series() -> None:
    found = samples(exposed(snapshot_of(), depth=dataclasses.replace(DEPTH, oldest_s=None)))
    assert found[catalogue.QUEUE_MESSAGES.name, (("state", "ready"),)] == 3
    assert not [name for name, _ in found if name == catalogue.QUEUE_OLDEST.name]


def test_an_expected_listener_that_is_silent_shows_as_not_ready() -> None:
    content = snapshot_of(processes=(listener("br"), listener("us", is_ready=False)))
    found = samples(exposed(content, expected=("br", "fr")))
    name = catalogue.LISTENER_READY.name
    assert found[name, (("broker", "br"),)] == 1
    assert found[name, (("broker", "us"),)] == 0
    assert found[name, (("broker", "fr"),)] == 0


@pytest.mark.parametrize("moment", [0, None, "soon", float("nan"), float("inf"), -1, [1]])
def test_a_listener_that_names_no_time_of_its_last_message_has_no_such_series(moment: Any) -> None:
    content = snapshot_of(processes=(listener("br", last_message_s=moment),))
    assert (catalogue.LISTENER_LAST_MESSAGE.name, (("broker", "br"),)) not in samples(
        exposed(content)
    )


def test_the_last_message_of_a_listener_is_shown_in_seconds() -> None:
    content = snapshot_of(processes=(listener("br", last_message_s=1_799_999_999.5),))
    found = samples(exposed(content))
    assert found[catalogue.LISTENER_LAST_MESSAGE.name, (("broker", "br"),)] == 1_799_999_999.5


def test_label_values_with_quotes_backslashes_and_line_ends_come_back_as_they_were() -> None:
    hostile = 'a"b\\c\nd} 1\n# TYPE x counter'
    content = snapshot_of(counters={field(catalogue.DOWNLOADED, hostile): 1})
    found = samples(exposed(content))
    assert found[
        catalogue.DOWNLOADED.name, (("centre_id", hostile), ("report_by", REPORT_BY))
    ] == 1  # fmt: skip


def test_fields_of_an_unknown_version_are_left_out() -> None:
    content = snapshot_of(
        counters={"wis2_gc_of_the_future_total|a": 1, "wmo_wis2_gc_downloaded_total|a|b": 2, "": 3}
    )
    assert exposed(content) == exposed(snapshot_of())


def test_counters_beyond_two_to_the_53rd_do_not_break_the_exposition() -> None:
    content = snapshot_of(counters={field(catalogue.CACHED_VOLUME, "xx-a"): 2**63})
    found = samples(exposed(content))
    assert found[
        catalogue.CACHED_VOLUME.name, (("centre_id", "xx-a"), ("report_by", REPORT_BY))
    ] == 2.0**63  # fmt: skip


names = st.one_of(st.sampled_from([metric.name for metric in catalogue.CATALOGUE]), st.text())
fields = st.lists(st.one_of(st.text(), names), min_size=1, max_size=4).map("|".join)
processes = st.builds(
    ProcessStatus,
    kind=st.sampled_from(["listener", "manager"]),
    name=st.text(),
    is_ready=st.booleans(),
    at_s=st.floats(0, 4e9),
    facts=st.dictionaries(
        st.sampled_from(["last_message_s", "x"]), st.one_of(st.none(), st.floats(), st.text())
    ),
)


@given(
    counters=st.dictionaries(fields, st.integers(0, 2**63)),
    gauges=st.dictionaries(fields, st.floats()),
    buckets=st.lists(st.integers(0, 2**40), max_size=30),
    processes=st.lists(processes, max_size=4, unique_by=lambda p: (p.kind, p.name)),
    accept=st.sampled_from(["", OPENMETRICS]),
)
def test_the_exposition_of_every_registry_can_be_read(
    counters: dict[str, int],
    gauges: dict[str, float],
    buckets: list[int],
    processes: list[ProcessStatus],
    accept: str,
) -> None:
    content = Snapshot(counters, gauges, buckets, 1.0, processes)
    text = exposed(content, accept=accept)
    read = openmetrics.text_string_to_metric_families if accept else text_string_to_metric_families
    assert len(list(read(text))) == len(catalogue.CATALOGUE)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_labels_are_escaped_and_sorted(accept: str) -> None:
    odd = 'a"b\\c\nd'
    counters = {field(catalogue.DOWNLOADED, name): 1_234_567 for name in ("z", odd)}
    lines = [
        line
        for line in exposed(snapshot_of(counters=counters), accept=accept).splitlines()
        if line.startswith("wmo_wis2_gc_downloaded_total{")
    ]
    assert lines == [
        f'wmo_wis2_gc_downloaded_total{{centre_id="{name}",report_by="{REPORT_BY}"}} 1.234567e+06'
        for name in ('a\\"b\\\\c\\nd', "z")
    ]


def test_health_is_a_number_and_each_reason_a_series() -> None:
    reasons = [
        HealthReason(Code.SLOW, State.DEGRADED, "late"),
        HealthReason(Code.SLOW, State.DEGRADED, "too"),
    ]
    lines = exposed(snapshot_of(), health=Health(State.DEGRADED, reasons)).splitlines()
    assert "wis2_gc_health_state 1.0" in lines
    shown = dict(line.split() for line in lines if line.startswith("wis2_gc_health_reason{"))
    assert len(shown) == len(Code)
    assert [name for name, value in shown.items() if value != "0.0"] == [
        'wis2_gc_health_reason{reason="slow"}'
    ]
    assert "wis2_gc_health_state 0.0" in exposed(snapshot_of()).splitlines()
