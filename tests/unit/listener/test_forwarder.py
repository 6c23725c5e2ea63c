from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testkit.fakes.listener import (
    NOW_MS,
    FakeBroker,
    FakeListenerRegistry,
    FakeSender,
    wait_until,
)
from testkit.messages.wnm import encoded, wnm
from wis2_gc_common.errors import PartError
from wis2_gc_common.metrics import (
    DROPPED,
    INVALID,
    OVER_QUOTA,
    QUEUED,
    RECEIVED,
    field,
)
from wis2_gc_common.ports.queue import Envelope, Sent
from wis2_gc_common.ports.registry import ItemKey
from wis2_gc_common.wis2.decision import Held
from wis2_gc_common.wis2.notification import parse
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS, parse_topic
from wis2_gc_listener import forwarder as forwarder_module
from wis2_gc_listener.arrivals import Arrival, Inbox
from wis2_gc_listener.broker import BrokerState
from wis2_gc_listener.forwarder import Forwarder, Identity, Timing
from wis2_gc_listener.rates import CentreRates
from wis2_gc_listener.triage import Triage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OUR_CENTRE = "fr-meteo-global-cache"
TOPIC = "origin/a/wis2/ca-eccc-msc/data/core/weather/surface-based-observations/synop"
PUBTIME = "2026-11-23T12:00:00Z"
FAST = Timing(
    report_every_s=0.01,
    heartbeat_every_s=0.01,
    registry_first_s=0.02,
    registry_longest_s=0.02,
    queue_first_s=0.001,
    queue_longest_s=0.01,
)


def payload(data_id: str, **changes: object) -> bytes:
    return encoded(wnm(data_id=data_id, pubtime=PUBTIME, **changes))  # type: ignore[arg-type]


PUBTIME_NS = parse(parse_topic(TOPIC), payload("x")).pubtime_ns
DONE = Held("done", PUBTIME_NS, NOW_MS)


def key(data_id: str) -> ItemKey:
    return ItemKey("ca-eccc-msc", data_id)


class Rig:
    """A forwarder among fakes."""

    def __init__(
        self, *, max_batch: int = 10, burst: int = 10_000, queue_problem: str = ""
    ) -> None:
        self.inbox = Inbox(capacity=10_000)
        self.sender = FakeSender(max_batch=max_batch)
        self.registry = FakeListenerRegistry()
        self.broker = FakeBroker()
        self.crashed = threading.Event()
        self.forwarder = Forwarder(
            identity=Identity("fr", "mqtts://broker:8883", DEFAULT_FILTERS, "pod/1"),
            inbox=self.inbox,
            triage=Triage(centre_id=OUR_CENTRE, filters=DEFAULT_FILTERS),
            sender=self.sender,
            registry=self.registry,
            broker=self.broker,
            rates=CentreRates(rate_per_s=1, burst=burst, clock=lambda: 0.0),
            on_crash=self.crashed.set,
            repeat_window_hours=12,
            queue_problem=queue_problem,
            timing=FAST,
        )
        self.put_count = 0

    def put(self, body: bytes, *, topic: str = TOPIC, generation: int = 1, qos: int = 1) -> None:
        arrival = Arrival(topic, body, 1_700_000_000_000, generation, self.put_count, qos)
        self.inbox.put([arrival])
        self.put_count += 1

    def stop(self) -> None:
        assert self.forwarder.stop(timeout_s=10)

    def counter(self, *labels: str) -> int:
        return self.registry.counters.get(field(DROPPED, "fr", *labels), 0)


@contextmanager
def running(rig: Rig) -> Iterator[Rig]:
    rig.forwarder.start()
    try:
        yield rig
    finally:
        rig.stop()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_what_the_queue_accepts_is_acknowledged_in_order(rig: Rig) -> None:
    bodies = [payload(f"d{i}") for i in range(25)]
    for body in bodies:
        rig.put(body)
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 25)
    assert rig.sender.payloads == bodies
    assert rig.broker.packet_ids == list(range(25))
    assert rig.registry.counters == {field(RECEIVED, "fr"): 25, field(QUEUED, "fr"): 25}


def test_what_is_above_a_centres_rate_is_bulk() -> None:
    rig = Rig(burst=3)
    other = TOPIC.replace("ca-eccc-msc", "xx-quiet")
    rig.registry.held[key("known")] = DONE
    rig.put(payload("known"))  # is not queued, and does not count
    for number in range(5):
        rig.put(payload(f"d{number}"))
    rig.put(payload("d"), topic=other)
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 7)
    assert [one.is_bulk for one in rig.sender.accepted] == [False] * 3 + [True] * 2 + [False]


def test_the_envelope_carries_the_notification_untouched(rig: Rig) -> None:
    body = payload("d", unknown_property={"kept": [1.50, "ü"]})
    rig.put(body)
    with running(rig):
        wait_until(lambda: rig.sender.accepted)
    envelope = rig.sender.accepted[0]
    assert (envelope.topic, envelope.payload, envelope.broker) == (TOPIC, body, "fr")
    assert (envelope.arrived_ms, envelope.attempts) == (1_700_000_000_000, 0)


def test_dropped_notifications_are_counted_by_reason_and_acknowledged(rig: Rig) -> None:
    rig.registry.held = {key("done"): DONE}
    rig.put(payload("done"))
    rig.put(b"{")
    rig.put(payload("own", global_cache=OUR_CENTRE))
    rig.put(payload("r"), topic="origin/a/wis2/ca-eccc-msc/data/recommended/weather/x")
    rig.put(payload("t"), topic="nonsense")
    rig.put(payload("fresh"))
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 6)
    assert len(rig.sender.accepted) == 1
    reasons = ("duplicate", "invalid_json", "own", "recommended", "invalid_topic")
    assert [rig.counter(reason) for reason in reasons] == [1] * 5
    assert rig.broker.packet_ids == list(range(6))


def test_the_centre_of_an_invalid_notification_is_to_be_told_now_and_then(rig: Rig) -> None:
    other = TOPIC.replace("ca-eccc-msc", "fr-meteofrance")
    rig.registry.is_away = True
    with running(rig):
        for _ in range(3):
            rig.put(b"{")
        rig.put(b"x" * 8193, topic=other)
        rig.put(b"{", topic="origin/a/wis2/NONSENSE")
        rig.put(payload("own", global_cache=OUR_CENTRE))
        rig.put(b"", topic=TOPIC.replace("ca-eccc-msc", "de-dwd"))
        wait_until(lambda: len(rig.broker.acknowledged) == 7)
        rig.registry.is_away = False
        wait_until(lambda: len(rig.registry.refusals) == 2)
    first, second = rig.registry.refusals
    assert (first.centre_id, first.topic, first.arrived_ms) == (
        "ca-eccc-msc",
        TOPIC,
        1_700_000_000_000,
    )
    assert first.problem.startswith("invalid_json: ")
    assert (second.centre_id, second.problem) == ("fr-meteofrance", "oversize: 8193 bytes")


def test_each_invalid_notification_counts_for_its_centre(rig: Rig) -> None:
    rig.registry.is_away = True
    with running(rig):
        for _ in range(3):
            rig.put(b"{")
        rig.put(payload("t"), topic="origin/a/wis2/de-dwd/data/Core/x")
        # Of nobody in particular, and no notification at all.
        rig.put(payload("t"), topic="origin/a/wis2/NONSENSE")
        rig.put(b"")
        rig.put(payload("own", global_cache=OUR_CENTRE))
        wait_until(lambda: len(rig.broker.acknowledged) == 7)
        rig.registry.is_away = False
        wait_until(lambda: field(RECEIVED, "fr") in rig.registry.counters)
    invalid = {name: n for name, n in rig.registry.counters.items() if INVALID.name in name}
    assert invalid == {field(INVALID, "ca-eccc-msc"): 3, field(INVALID, "de-dwd"): 1}
    assert rig.counter("invalid_json") == 3
    assert rig.counter("invalid_topic") == 2


def test_made_up_centres_take_no_memory_while_the_registry_is_away(rig: Rig) -> None:
    rig.registry.is_away = True
    with running(rig):
        for number in range(3000):
            rig.put(b"{", topic=TOPIC.replace("ca-eccc-msc", f"xx-{number}"))
        wait_until(lambda: len(rig.broker.acknowledged) == 3000)
        rig.registry.is_away = False
        wait_until(lambda: field(RECEIVED, "fr") in rig.registry.counters)
    invalid = {name: n for name, n in rig.registry.counters.items() if INVALID.name in name}
    assert len(invalid) <= 1000
    assert sum(invalid.values()) == 3000


def test_a_topic_of_64_kilobytes_is_told_in_a_few_words(rig: Rig) -> None:
    with running(rig):
        rig.put(payload("t"), topic=TOPIC + "/x" * 30_000)
        wait_until(lambda: rig.registry.refusals)
    (refusal,) = rig.registry.refusals
    assert refusal.centre_id == "ca-eccc-msc"
    assert refusal.topic == (TOPIC + "/x" * 30_000)[:500]
    assert len(refusal.problem) <= 500


def test_counts_that_the_registry_refuses_are_not_an_outage_and_not_tried_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Mapping[str, int]] = []

    def count(registry: FakeListenerRegistry, counts: Mapping[str, int]) -> None:
        if not refused:
            refused.append(counts)
            raise PartError("registry", "increment or decrement would overflow")
        original(registry, counts)

    original = FakeListenerRegistry.count
    monkeypatch.setattr(FakeListenerRegistry, "count", count)
    with running(rig):
        rig.put(payload("d1"))
        wait_until(lambda: refused)
        assert not rig.forwarder.problem
        rig.put(payload("d2"))
        wait_until(lambda: rig.registry.counters.get(field(QUEUED, "fr")) == 1)
        assert rig.registry.looks == [[key("d1")], [key("d2")]]


def test_one_look_serves_a_whole_batch(rig: Rig) -> None:
    for i in range(30):
        rig.put(payload(f"d{i}"))
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 30)
    assert [len(look) for look in rig.registry.looks] == [30]


def test_nothing_is_acknowledged_while_the_queue_is_away_and_nothing_is_lost(rig: Rig) -> None:
    rig.sender.is_away = True
    for i in range(5):
        rig.put(payload(f"d{i}"))
    with running(rig):
        wait_until(lambda: len(rig.sender.calls) > 3)
        assert rig.broker.acknowledged == []
        assert "queue" in rig.forwarder.problem
        assert rig.forwarder.stalled_s == 0
        # It still says that it lives, and what is wrong.
        wait_until(lambda: "queue" in rig.registry.statuses[-1].facts["last_problem"])
        assert rig.registry.statuses[-1].facts["unacknowledged"] == 5
        rig.sender.is_away = False
        wait_until(lambda: len(rig.broker.acknowledged) == 5)
        wait_until(lambda: not rig.forwarder.problem)
    assert len(rig.sender.accepted) == 5


def test_a_refused_entry_is_sent_again_and_holds_back_those_behind_it(rig: Rig) -> None:
    bodies = [payload(f"d{i}") for i in range(4)]
    lets_through = threading.Event()
    rig.sender.answer = lambda envelope: (
        Sent.REFUSED
        if envelope.payload == bodies[1] and not lets_through.is_set()
        else Sent.ACCEPTED
    )
    for body in bodies:
        rig.put(body)
    with running(rig):
        wait_until(lambda: len(rig.sender.calls) > 3)
        assert rig.broker.packet_ids == [0]
        lets_through.set()
        wait_until(lambda: len(rig.broker.acknowledged) == 4)
    assert rig.broker.packet_ids == [0, 1, 2, 3]
    # Only what was refused was sent again, under the same uid.
    assert sorted(rig.sender.payloads) == sorted(bodies)
    assert len({e.uid for call in rig.sender.calls for e in call}) == 4


def test_what_the_queue_can_never_take_is_counted_and_acknowledged(rig: Rig) -> None:
    rig.sender.answer = lambda _: Sent.POISON
    rig.put(payload("d"))
    with running(rig):
        wait_until(lambda: rig.broker.packet_ids == [0])
    assert rig.counter("not_queueable") == 1


def test_what_is_over_its_centres_share_is_counted_told_once_and_holds_nobody_up(rig: Rig) -> None:
    other = TOPIC.replace("ca-eccc-msc", "xx-quiet")
    rig.sender.answer = lambda one: Sent.OVER_QUOTA if one.topic == TOPIC else Sent.ACCEPTED
    for number in range(5):
        rig.put(payload(f"d{number}"))
    rig.put(payload("d"), topic=other)
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 6)
        wait_until(lambda: rig.registry.refusals)
    assert [one.topic for one in rig.sender.accepted] == [other]
    assert rig.counter("quota") == 5
    assert rig.registry.counters[field(OVER_QUOTA, "ca-eccc-msc")] == 5
    assert field(INVALID, "ca-eccc-msc") not in rig.registry.counters
    (refusal,) = rig.registry.refusals
    assert (refusal.centre_id, refusal.topic) == ("ca-eccc-msc", TOPIC)
    assert refusal.title == "Notification over quota"


def test_an_unforeseen_error_of_the_queue_loses_nothing(rig: Rig) -> None:
    rig.sender.failure = RuntimeError("a bug")
    rig.put(payload("d"))
    with running(rig):
        wait_until(lambda: rig.broker.packet_ids == [0])
    assert len(rig.sender.accepted) == 1


def test_an_unforeseen_error_in_judging_lets_the_notification_pass(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Triage, "judge", lambda *_: 1 / 0)
    rig.put(b"anything")
    with running(rig):
        wait_until(lambda: rig.broker.packet_ids == [0])
    assert rig.sender.payloads == [b"anything"]
    assert not rig.crashed.is_set()


def test_an_unforeseen_error_in_the_decision_lets_the_notification_pass(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder_module, "refusal", lambda *_, **__: 1 / 0)
    rig.put(payload("d"))
    with running(rig):
        wait_until(lambda: rig.broker.packet_ids == [0])
    assert len(rig.sender.accepted) == 1
    assert not rig.crashed.is_set()


def test_an_item_is_looked_up_under_the_centre_of_its_topic(rig: Rig) -> None:
    rig.registry.held = {key("d"): DONE}
    rig.put(payload("d"))
    rig.put(payload("d"), topic=TOPIC.replace("ca-eccc-msc", "de-dwd"))
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 2)
    assert [envelope.topic.split("/")[3] for envelope in rig.sender.accepted] == ["de-dwd"]
    assert rig.registry.looks == [[key("d"), ItemKey("de-dwd", "d")]]


def test_deletions_are_noted_with_the_look_and_go_to_the_queue(rig: Rig) -> None:
    rig.put(payload("a", rel="deletion"))
    rig.put(payload("b", rel="deletion"))
    rig.put(payload("b", rel="deletion", message_id="id-2"))
    rig.put(payload("c"))
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == 4)
    assert rig.registry.deletions == [{key("a"): PUBTIME_NS, key("b"): PUBTIME_NS}]
    assert len(rig.sender.accepted) == 4


@pytest.mark.parametrize(("hours", "is_dropped"), [(11, True), (12, False)])
def test_what_is_announced_again_after_half_a_day_goes_to_the_queue(
    rig: Rig, hours: int, is_dropped: bool
) -> None:
    rig.registry.held = {key("d"): Held("done", PUBTIME_NS - 1, NOW_MS - hours * 3_600_000)}
    rig.put(payload("d"))
    with running(rig):
        wait_until(lambda: rig.broker.acknowledged)
    assert rig.counter("repeat") == is_dropped
    assert len(rig.sender.accepted) == (not is_dropped)


def test_a_look_that_fails_for_what_is_in_it_is_not_an_outage(rig: Rig) -> None:
    rig.registry.fault = PartError("registry", "ResponseError: ERR user_script:9")
    with running(rig):
        for i in range(3):
            rig.put(payload(f"d{i}"))
            wait_until(lambda i=i: len(rig.broker.acknowledged) == i + 1)  # type: ignore[misc]
        assert len(rig.registry.looks) == 3
        assert not rig.forwarder.problem
    assert len(rig.sender.accepted) == 3


def test_while_the_registry_is_away_everything_passes_and_it_is_not_hammered(rig: Rig) -> None:
    rig.registry.is_away = True
    rig.registry.held = {key("done"): DONE}
    with running(rig):
        for i in range(50):
            rig.put(payload("done"))
            wait_until(lambda i=i: len(rig.broker.acknowledged) == i + 1)  # type: ignore[misc]
        assert len(rig.sender.accepted) == 50
        assert len(rig.registry.looks) < 25
        assert "registry" in rig.forwarder.problem
        rig.registry.is_away = False
        # Counts were kept and are added once it is back; so is the dropping.
        wait_until(lambda: rig.registry.counters.get(field(RECEIVED, "fr")) == 50)
        wait_until(lambda: not rig.forwarder.problem)
        rig.put(payload("done"))
        wait_until(lambda: rig.counter("duplicate") == 1)
    assert len(rig.sender.accepted) == 50


def test_a_small_window_does_not_stall(rig: Rig) -> None:
    """A broker that sends 20 and then waits for acknowledgements (mosquitto)."""
    window, count, sent = 20, 200, 0
    with running(rig):
        while sent < count:
            room = window - (sent - len(rig.broker.acknowledged))
            for _ in range(min(room, count - sent)):
                rig.put(payload(f"d{sent}"))
                sent += 1
            full = sent - window
            wait_until(lambda full=full: len(rig.broker.acknowledged) > full)  # type: ignore[misc]
        wait_until(lambda: len(rig.broker.acknowledged) == count)
    assert rig.broker.packet_ids == list(range(count))


def test_a_stop_finishes_what_has_arrived(rig: Rig) -> None:
    for i in range(500):
        rig.put(payload(f"d{i}"))
    rig.forwarder.start()
    rig.stop()
    assert rig.broker.packet_ids == list(range(500))
    last = rig.registry.statuses[-1]
    assert not last.is_ready
    assert last.facts["queued"] == 500
    assert rig.registry.counters[field(QUEUED, "fr")] == 500


def test_a_stop_does_not_wait_for_a_queue_that_is_away(rig: Rig) -> None:
    rig.sender.is_away = True
    rig.put(payload("d"))
    rig.forwarder.start()
    wait_until(lambda: rig.sender.calls)
    rig.stop()
    assert rig.broker.acknowledged == []


def test_a_heartbeat_tells_what_an_operator_needs_to_know(rig: Rig) -> None:
    rig.put(payload("d"))
    rig.put(b"{")
    with running(rig):
        wait_until(lambda: rig.registry.statuses and rig.registry.statuses[-1].facts["received"])
        status = rig.registry.statuses[-1]
    assert (status.kind, status.name, status.is_ready) == ("listener", "fr", True)
    assert status.facts == {
        "broker": "mqtts://broker:8883",
        "connected": True,
        "topics": list(DEFAULT_FILTERS),
        "received": 2,
        "dropped": 1,
        "queued": 1,
        "last_message_s": 1_700_000_000.0,
        "silence_reconnects": 0,
        "unacknowledged": 0,
        "last_problem": "",
    }


def test_a_heartbeat_says_why_a_broker_is_away(rig: Rig) -> None:
    rig.broker.state = BrokerState(problem="refused by the broker: Not authorized")
    with running(rig):
        wait_until(lambda: rig.registry.statuses)
        status = rig.registry.statuses[-1]
    assert not status.is_ready
    assert status.facts["last_problem"] == "refused by the broker: Not authorized"


def test_it_holds_the_session_and_lets_it_go_at_the_end(rig: Rig) -> None:
    with running(rig):
        wait_until(lambda: rig.registry.holders == {"fr": "pod/1"})
        wait_until(lambda: rig.broker.lets == [True])
    rig.forwarder.leave_session()
    assert rig.registry.holders == {}


def test_who_waits_for_another_listener_does_not_report_on_its_broker(rig: Rig) -> None:
    rig.registry.holders = {"fr": "pod/2"}
    with running(rig):
        wait_until(lambda: rig.broker.lets == [False])
        rig.put(payload("d"))
        wait_until(lambda: rig.registry.counters.get(field(QUEUED, "fr")))
        assert rig.forwarder.problem == ""
    rig.forwarder.leave_session()
    assert rig.registry.statuses == []
    assert rig.registry.holders == {"fr": "pod/2"}


def test_while_the_registry_is_away_the_session_is_whose_it_was(rig: Rig) -> None:
    rig.registry.holders = {"fr": "pod/2"}
    with running(rig):
        wait_until(lambda: rig.broker.lets == [False])
        rig.registry.is_away = True
        wait_until(lambda: "registry" in rig.forwarder.problem)
        assert rig.broker.lets == [False]
        rig.registry.holders, rig.registry.is_away = {}, False
        wait_until(lambda: rig.broker.lets == [False, True])
        rig.registry.is_away = True
        wait_until(lambda: rig.broker.lets == [False, True, None])


def test_a_session_of_which_nothing_is_known_is_ours_after_a_while(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: moments[0])
    rig = Rig()
    rig.registry.is_away = True
    rig.forwarder._hold_session(4.9)
    assert rig.broker.lets == []
    assert rig.forwarder.problem
    rig.forwarder._hold_session(FAST.session_lease_s)
    assert rig.broker.lets == [None]


def test_a_queue_that_is_away_at_the_start_is_said_until_it_answers() -> None:
    rig = Rig(queue_problem="queue: no permission")
    rig.sender.is_away = True
    with running(rig):
        wait_until(lambda: "switched off" in rig.forwarder.problem)
        rig.sender.is_away = False
        wait_until(lambda: not rig.forwarder.problem)
    assert rig.sender.calls == []


def test_a_crash_of_the_thread_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeBroker, "acknowledge", lambda *_: 1 / 0)
    rig.put(payload("d"))
    rig.forwarder.start()
    assert rig.crashed.wait(10)
    rig.stop()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["fresh", "done", "broken", "poison", "qos0"]), max_size=60),
    st.lists(st.sampled_from(["ok", "away", "refuse_some"]), max_size=12),
    st.integers(1, 10),
)
def test_acknowledgements_are_the_arrivals_in_order_and_follow_the_queues_answer(
    kinds: list[str], weather: list[str], max_batch: int
) -> None:
    rig = Rig(max_batch=max_batch)
    rig.registry.held = {key(f"d{i}"): DONE for i, kind in enumerate(kinds) if kind == "done"}
    bodies = [b"{" if kind == "broken" else payload(f"d{i}") for i, kind in enumerate(kinds)]
    poison = {bodies[i] for i, kind in enumerate(kinds) if kind == "poison"}
    forecast = iter(weather)
    settled: set[bytes] = set()

    def send(batch: Sequence[Envelope]) -> list[Sent]:
        today = next(forecast, "ok")
        rig.sender.is_away = today == "away"
        refused = {e.uid for e in batch[::2]} if today == "refuse_some" else set()
        rig.sender.answer = lambda e: (
            Sent.REFUSED
            if e.uid in refused
            else Sent.POISON
            if e.payload in poison
            else Sent.ACCEPTED
        )
        answers = FakeSender.send(rig.sender, batch)
        settled.update(
            e.payload for e, a in zip(batch, answers, strict=True) if a is not Sent.REFUSED
        )
        return answers

    def acknowledge(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if kinds[arrival.packet_id] in ("fresh", "poison", "qos0"):
                assert arrival.payload in settled
        FakeBroker.acknowledge(rig.broker, arrivals)

    rig.sender.send = send  # type: ignore[method-assign]
    rig.broker.acknowledge = acknowledge  # type: ignore[method-assign]
    for body, kind in zip(bodies, kinds, strict=True):
        rig.put(body, qos=0 if kind == "qos0" else 1)
    with running(rig):
        wait_until(lambda: len(rig.broker.acknowledged) == len(kinds))
    assert not rig.crashed.is_set()
    assert rig.broker.packet_ids == list(range(len(kinds)))
    assert rig.sender.payloads.count(b"{") == 0
    expected = [b for b, kind in zip(bodies, kinds, strict=True) if kind in ("fresh", "qos0")]
    assert sorted(rig.sender.payloads) == sorted(expected)
