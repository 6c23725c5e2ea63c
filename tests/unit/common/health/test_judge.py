from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.fakes.reader import EMPTY_QUEUE, listener, manager, snapshot_of
from wis2_gc_common import metrics
from wis2_gc_common.errors import Unavailable
from wis2_gc_common.health.facts import Code, Facts, State, Tally, Window, count
from wis2_gc_common.health.judge import OVER_TIME, judge
from wis2_gc_common.metrics import DELAY_BUCKETS_S, field
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.ports.registry import ProcessStatus, Snapshot

FR, BR, M1, M2 = listener("fr"), listener("br"), manager("m-1"), manager("m-2")
BUSY = Tally(
    received={"fr": 500, "br": 500},
    queued=500,
    dropped=100,
    announced=400,
    cached={"xx-a": 300, "xx-b": 100},
    delays=400,
    delays_in_time=400,
)
NOT_READY: dict[str, Any] = {"is_ready": False}
BOTH = frozenset({"fr", "br"})


def facts(*processes: ProcessStatus, **changed: Any) -> Facts:
    """Return what a busy cache says, with these processes and changes."""
    counts = dataclasses.replace(BUSY, **changed.pop("counts", {}))
    due = dataclasses.replace(counts, **changed.pop("due", {}))
    window = Window(300.0, counts, due, changed.pop("ready_brokers", BOTH))
    registry = snapshot_of(processes=processes or (FR, BR, M1, M2))
    return Facts(**{"registry": registry, "depth": EMPTY_QUEUE, "window": window, **changed})


def depth(ready: int, oldest_s: float | None) -> Depth:
    return dataclasses.replace(EMPTY_QUEUE, ready=ready, oldest_s=oldest_s)


def found(judged: Facts) -> list[tuple[str, str, str]]:
    return [(r.code.value, r.state.value, r.subject) for r in judge(judged).reasons]


WAITS: dict[str, Any] = {"is_ready": False, "problems": {"store": "/srv/x: no space left"}}
SAW: dict[str, Any] = {"public_url_problem": "status 503"}
FR_ALONE = frozenset({"fr"})
LATE: dict[str, Any] = {"delays": 20, "delays_in_time": 18}
FEW: dict[str, Any] = {"delays": 3, "delays_in_time": 3}
MANY = {"xx-a": 300, "xx-b": 300}
SLOW = ("slow", "degraded", "")
OLD, VERY_OLD = ("old_items", "degraded", ""), ("old_items", "down", "")
AWAY = Unavailable("queue", "10.0.0.1")

#: (facts, expected reasons): each reason, then what is just not one.
CASES: dict[str, tuple[Facts, list[tuple[str, str, str]]]] = {
    "all is well": (facts(), []),
    "the registry is away": (
        dataclasses.replace(facts(), registry=Unavailable("registry", "10.0.0.1")),
        [("registry_away", "down", "")],
    ),
    "the queue is away": (
        facts(FR, BR, manager("m-1", is_ready=False, problems={"queue": "x"}), depth=AWAY),
        [("queue_away", "down", ""), ("queue_away", "down", "")],
    ),
    "only we cannot read the queue": (facts(depth=AWAY), [("queue_away", "degraded", "")]),
    "all managers wait for the store": (
        facts(FR, BR, manager("m-1", **WAITS), manager("m-2", **WAITS)),
        [("store_away", "down", "")],
    ),
    "one manager waits for the store": (
        facts(FR, BR, manager("m-1", **WAITS), M2),
        [("store_away", "degraded", "m-1")],
    ),
    "the broker is away": (
        facts(FR, BR, manager("m-1", is_ready=False, problems={"broker": ""})),
        [("broker_away", "down", "")],
    ),
    "a manager cannot reach the registry": (
        facts(FR, BR, M1, manager("m-2", is_ready=False, problems={"registry": "x"})),
        [("registry_away", "degraded", "m-2")],
    ),
    "the public URL has stopped all managers": (
        facts(FR, BR, manager("m-1", is_ready=False, problems={"public URL": "x"}, **SAW)),
        [("public_url_fails", "down", "")],
    ),
    "all managers have seen one object fail": (
        facts(FR, BR, manager("m-1", **SAW), manager("m-2", **SAW)),
        [("public_url_fails", "degraded", "m-1, m-2")],
    ),
    "each manager waits for another part": (
        facts(FR, BR, manager("m-1", **WAITS), manager("m-2", **NOT_READY, problems={"broker": 1})),
        [
            ("no_manager", "down", ""),
            ("store_away", "degraded", "m-1"),
            ("broker_away", "degraded", "m-2"),
        ],
    ),
    "problems that cannot be read": (facts(FR, BR, manager("m-1", problems=["store"])), []),
    "an unknown part": (facts(FR, BR, manager("m-1", problems={"moon": "full"})), []),
    "no manager reports": (facts(FR, BR), [("no_manager", "down", "")]),
    "no manager is ready": (
        facts(FR, BR, manager("m-1", **NOT_READY)),
        [("no_manager", "down", "")],
    ),
    "one manager is ready": (facts(FR, BR, M1, manager("m-2", **NOT_READY)), []),
    "no listener reports": (facts(M1), [("no_listener", "down", "")]),
    "no expected listener is ready": (
        facts(FR, M1, expected_brokers=("br", "jp"), counts={"received": {"fr": 9}}),
        [("no_listener", "down", "")],
    ),
    "no listener is ready": (
        facts(listener("fr", is_ready=False, last_problem="TLS"), M1),
        [("no_listener", "down", "")],
    ),
    "a listener is not ready": (
        facts(FR, listener("br", **NOT_READY), M1),
        [("listener_missing", "degraded", "br")],
    ),
    "an expected listener does not report": (
        facts(FR, M1, expected_brokers=("fr", "jp")),
        [("listener_missing", "degraded", "jp")],
    ),
    "all expected listeners are ready": (facts(expected_brokers=("fr", "br")), []),
    "one of two brokers is silent": (
        facts(counts={"received": {"fr": 10}}),
        [("broker_silent", "degraded", "br")],
    ),
    "the other one brings too little to say": (facts(counts={"received": {"fr": 9}}), []),
    "one of two is slow": (facts(counts={"received": {"fr": 900, "br": 1}}), []),
    "a broker that we joined lately": (
        facts(counts={"received": {"fr": 10}}, ready_brokers=frozenset({"fr"})),
        [],
    ),
    "the other one has just begun to bring": (
        facts(counts={"received": {"fr": 10}}, due={"received": {"fr": 9}}),
        [],
    ),
    "the only broker is quiet": (
        facts(FR, M1, counts={"received": {}}, quiet_s=599.0, ready_brokers=FR_ALONE),
        [],
    ),
    "the only broker is silent": (
        facts(FR, M1, counts={"received": {}}, quiet_s=600.0, ready_brokers=FR_ALONE),
        [("nothing_received", "degraded", "")],
    ),
    "a listener that was there reports no more": (
        facts(FR, M1),
        [("listener_missing", "degraded", "br")],
    ),
    "two brokers are silent": (
        facts(counts={"received": {}}, quiet_s=600.0),
        [("nothing_received", "degraded", "")],
    ),
    "two brokers are silent for a short time": (facts(counts={"received": {}}), []),
    "nothing comes, and no listener is ready": (
        facts(M1, counts={"received": {}}, quiet_s=600.0, ready_brokers=frozenset()),
        [("no_listener", "down", ""), ("nothing_received", "down", "")],
    ),
    "none of ten is announced": (
        facts(counts={"queued": 12, "dropped": 2, "announced": 0}),
        [("announced_nothing", "down", "")],
    ),
    "none of nine is announced": (
        facts(counts={"queued": 11, "dropped": 2, "announced": 0}),
        [],
    ),
    "none of many that have just come is announced": (
        facts(counts={"announced": 0, "dropped": 2}, due={"queued": 11}),
        [],
    ),
    "one of many is announced": (facts(counts={"announced": 1}), []),
    "one in nine fails": (
        facts(counts={"failed": {"xx-a": 50}}),
        [("many_failures", "degraded", "")],
    ),
    "one in ten fails": (facts(counts={"failed": {"xx-a": 40}, "announced": 360}), []),
    "half of all fail": (
        facts(counts={"failed": {"xx-a": 250, "xx-b": 200}, "cached": MANY, "announced": 200}),
        [("many_failures", "degraded", "")],
    ),
    "most fail": (
        facts(counts={"failed": {"xx-a": 250, "xx-b": 201}, "cached": MANY, "announced": 200}),
        [("many_failures", "down", "")],
    ),
    "most fail, and they are of one centre": (
        facts(counts={"failed": {"xx-a": 250, "xx-d": 1}, "announced": 200}),
        [("many_failures", "degraded", "")],
    ),
    "most of a few fail": (facts(counts={"failed": {"xx-a": 18}, "announced": 1}), []),
    "most of a centre fail": (
        facts(counts={"failed": {"xx-c": 6}, "cached": {"xx-c": 4}}),
        [("centre_fails", "degraded", "xx-c")],
    ),
    "half of a centre fail": (facts(counts={"failed": {"xx-c": 5}, "cached": {"xx-c": 5}}), []),
    "most of a small centre fail": (
        facts(counts={"failed": {"xx-c": 9}, "cached": {}}),
        [],
    ),
    "the oldest waits for long": (facts(depth=depth(1, 120.1), window=None), [OLD]),
    "the oldest waits": (facts(depth=depth(1, 120.0)), []),
    "the oldest waits, and most come out in time": (facts(depth=depth(1, 599.0)), []),
    "the oldest waits for very long": (facts(depth=depth(1, 600.1), window=None), [OLD]),
    "and the announcements are late": (facts(depth=depth(1, 601), counts=LATE), [VERY_OLD, SLOW]),
    "one centre's flood waits for very long": (facts(depth=depth(1, 601)), [OLD]),
    "one download is slow": (facts(depth=depth(0, 599)), []),
    "too few are announced to say": (facts(depth=depth(1, 601), counts=FEW), [OLD]),
    "one download is very slow": (facts(depth=depth(0, 601), window=None), [OLD]),
    "an age without end": (facts(depth=depth(1, float("inf")), window=None), [OLD]),
    "SQS does not tell the age": (facts(depth=depth(9, None)), []),
    "too many are late": (facts(counts=LATE), [SLOW]),
    "few are late": (facts(counts={"delays": 20, "delays_in_time": 19}), []),
    "most of a few are late": (facts(counts={"delays": 19, "delays_in_time": 0}), []),
    "given up by us": (facts(counts={"given_up_by_us": 1}), [("given_up", "degraded", "")]),
    "without a window": (dataclasses.replace(facts(counts={"announced": 0}), window=None), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_cache_is_judged_by_its_facts(name: str) -> None:
    judged, expected = CASES[name]
    assert found(judged) == expected
    worst = max((State(state).level for _, state, _ in expected), default=0)
    assert judge(judged).state.level == worst


#: What the window knows better than one reading.
_KNOWN_OVER_TIME = {
    "a listener that was there reports no more",
    "the oldest waits, and most come out in time",
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in _KNOWN_OVER_TIME])
def test_one_reading_shows_all_but_what_takes_time(name: str) -> None:
    judged, expected = CASES[name]
    once = dataclasses.replace(judged, window=None, quiet_s=0.0)
    codes = {code for code, _, _ in found(once)}
    assert codes == {code for code, _, _ in expected} - set(OVER_TIME)


def test_every_reason_has_a_case() -> None:
    assert {code for _, reasons in CASES.values() for code, _, _ in reasons} == set(Code)


def test_the_words_are_a_sentence_with_its_numbers_and_without_an_address() -> None:
    failed = {"failed": {"xx-c": 60}, "causes": {"tls": 9, "dns": 70}}
    words = [reason.words for reason in judge(facts(counts=failed)).reasons]
    assert words == [
        "60 notifications failed in 5 minutes, 400 items were announced, most often: dns",
        "xx-c: 60 notifications failed in 5 minutes, 0 items were cached, most often: dns",
    ]
    (old, late, lost) = judge(
        facts(depth=depth(3, 130), counts={**LATE, "given_up_by_us": 1})
    ).reasons
    assert old.words == "the oldest item waits for 2 minutes (in the queue: 3)"
    assert late.words == "of what was announced in 5 minutes, only 90 % was within 2 minutes"
    assert lost.words == "given up in 5 minutes by a fault of ours: 1"
    two = {"failed": {"xx-c": 60, "other": 60}, "causes": {"tls": 9}}
    assert [reason.words for reason in judge(facts(counts=two)).reasons][1:] == [
        "centres that are not listed: 60 notifications failed in 5 minutes, 0 items were cached",
        "xx-c: 60 notifications failed in 5 minutes, 0 items were cached",
    ]
    many = {"failed": {f"xx-{n}": 60 + n for n in range(12)}}
    centres = judge(facts(counts=many)).reasons[1:]
    assert [reason.subject for reason in centres] == [f"xx-{n}" for n in range(11, 1, -1)] + [""]
    assert centres[-1].words == "more centres that fail in the same way: 2; the fault may be ours"
    (full,) = judge(facts(FR, BR, manager("m-1", **WAITS), M2)).reasons
    assert full.words == "the store takes no objects: 1 of 2 managers say so, m-1"
    assert full.detail == "/srv/x: no space left"
    assert full.code.runbook == "docs/operations.md#store-away"


def test_counts_come_from_the_counters_of_a_snapshot() -> None:
    buckets = [0] * (len(DELAY_BUCKETS_S) + 1)
    buckets[DELAY_BUCKETS_S.index(120.0)] = 3
    buckets[DELAY_BUCKETS_S.index(300.0)] = 2
    counted = count(
        snapshot_of(
            counters={
                field(metrics.RECEIVED, "fr"): 9,
                field(metrics.QUEUED, "fr"): 5,
                field(metrics.QUEUED, "br"): 2,
                field(metrics.ITEMS_DROPPED, "stale"): 1,
                field(metrics.ITEMS, "cached"): 3,
                field(metrics.ITEMS, "deleted"): 1,
                field(metrics.DOWNLOADED, "xx-a"): 3,
                field(metrics.DOWNLOADED_ERRORS, "xx-a"): 2,
                field(metrics.INTEGRITY_FAILED, "xx-a"): 1,
                field(metrics.SOURCE_FAILURES, "dns"): 4,
                field(metrics.GIVEN_UP, "unexpected"): 1,
                field(metrics.GIVEN_UP, "not_found"): 7,
                field(metrics.DEAD_LETTERS, "unexpected"): 2,
                "of_a_newer_version": 1,
            },
            delay_buckets=tuple(buckets),
        )
    )
    assert counted == Tally(
        received={"fr": 9}, queued=7, dropped=1, announced=4, cached={"xx-a": 3},
        failed={"xx-a": 3}, causes={"dns": 4}, given_up_by_us=3, delays=5, delays_in_time=3,
    )  # fmt: skip
    assert counted.since(counted) == Tally()
    assert Tally().since(counted) == Tally()
    assert counted.since(Tally(received={"fr": 4}, queued=1)).received == {"fr": 5}


names = st.sampled_from(["fr", "br", "m-1", "m-2", "x|y"])
texts = st.sampled_from(["store", "registry", "public URL", "", "moon"])
values = st.one_of(
    st.none(), st.integers(), st.floats(), texts, st.lists(texts), st.dictionaries(texts, texts)
)
processes = st.lists(
    st.builds(
        ProcessStatus,
        kind=st.sampled_from(["listener", "manager"]),
        name=names,
        is_ready=st.booleans(),
        facts=st.dictionaries(
            st.sampled_from(["problems", "public_url_problem", "last_problem"]), values
        ),
    ),
    max_size=5,
    unique_by=lambda process: (process.kind, process.name),
)
counters = st.dictionaries(
    st.one_of(
        st.text(max_size=9),
        st.builds(
            lambda metric, label: f"{metric.name}|{label}",
            st.sampled_from(metrics.CATALOGUE),
            names,
        ),
    ),
    st.integers(0, 60),
)
snapshots = st.builds(
    Snapshot,
    counters=counters,
    gauges=st.just({}),
    delay_buckets=st.lists(st.integers(0, 30), max_size=20),
    delay_sum_s=st.floats(),
    processes=processes,
)
whole = st.integers(0, 9)
depths = st.builds(Depth, whole, whole, whole, whole, st.one_of(st.none(), st.floats()))
everything = st.builds(
    Facts,
    registry=snapshots,
    depth=st.one_of(depths, st.just(AWAY)),
    window=st.one_of(
        st.none(),
        st.builds(
            lambda after, due, before, ready: Window(
                300.0, count(after).since(count(before)), count(due).since(count(before)), ready
            ),
            snapshots, snapshots, snapshots, st.frozensets(names),
        ),
    ),
    quiet_s=st.sampled_from([0.0, 700.0]),
    expected_brokers=st.sampled_from([(), ("fr",), ("fr", "br")]),
)  # fmt: skip


def worse(judged: Facts) -> list[Facts]:
    """Return the same facts with one more problem each."""
    if isinstance(judged.registry, Unavailable):
        return []
    changed = []
    for process in judged.registry.processes:
        others = [each for each in judged.registry.processes if each is not process]
        problems: list[dict[str, Any]] = [dict(process.facts)]
        if process.kind == "manager":
            known = process.facts.get("problems")
            parts = known if isinstance(known, dict) else {}
            problems.append({**process.facts, "problems": {**parts, "broker": "gone"}})
        for added in problems:
            bad = dataclasses.replace(process, is_ready=False, facts=added)
            registry = dataclasses.replace(judged.registry, processes=[*others, bad])
            changed.append(dataclasses.replace(judged, registry=registry))
    if isinstance(judged.depth, Depth):
        older = dataclasses.replace(judged.depth, ready=judged.depth.ready + 1, oldest_s=1e6)
        changed.append(dataclasses.replace(judged, depth=older))
    if judged.window is not None:
        counts = judged.window.counts
        failed = {**counts.failed, "fr": counts.failed.get("fr", 0) + 7}
        for more in (
            dataclasses.replace(counts, failed=failed),
            dataclasses.replace(counts, given_up_by_us=counts.given_up_by_us + 1),
            dataclasses.replace(counts, queued=counts.queued + 20),
            dataclasses.replace(counts, delays=counts.delays + 5),
        ):
            due = dataclasses.replace(
                judged.window.due, queued=judged.window.due.queued + more.queued - counts.queued
            )
            window = dataclasses.replace(judged.window, counts=more, due=due)
            changed.append(dataclasses.replace(judged, window=window))
    return [
        *changed,
        dataclasses.replace(judged, depth=AWAY, registry=Unavailable("registry")),
        dataclasses.replace(judged, quiet_s=700.0),
    ]


@given(everything)
def test_any_facts_are_judged_and_one_more_problem_never_makes_it_better(judged: Facts) -> None:
    before = judge(judged)
    assert before.state.level == max((r.state.level for r in before.reasons), default=0)
    for changed in worse(judged):
        assert judge(changed).state.level >= before.state.level
