from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testkit.messages.wnm import encoded, wnm
from wis2_gc_common.errors import Reason
from wis2_gc_common.wis2.decision import Decision, Held
from wis2_gc_common.wis2.notification import Notification, parse
from wis2_gc_common.wis2.topic import DEFAULT_FILTERS, parse_topic
from wis2_gc_listener.triage import Drop, DropReason, Triage, refusal

OUR_CENTRE = "fr-meteo-global-cache"
TOPIC = "origin/a/wis2/ca-eccc-msc/data/core/weather/surface-based-observations/synop"
PUBTIME = "2026-11-23T12:00:00Z"


def triage(*filters: str) -> Triage:
    return Triage(centre_id=OUR_CENTRE, filters=filters or DEFAULT_FILTERS)


def payload(**changes: object) -> bytes:
    return encoded(wnm(data_id="wis2/x", pubtime=PUBTIME, **changes))  # type: ignore[arg-type]


def notification(rel: str = "canonical", topic: str = TOPIC) -> Notification:
    return parse(parse_topic(topic), payload(rel=rel))


def reason(verdict: Notification | Drop) -> str:
    assert isinstance(verdict, Drop)
    return verdict.reason


def test_a_valid_core_notification_goes_on_to_the_look() -> None:
    verdict = triage().judge(TOPIC, payload())
    assert isinstance(verdict, Notification)
    assert verdict.data_id == "wis2/x"


def test_metadata_goes_on_to_the_look() -> None:
    assert isinstance(triage().judge("cache/a/wis2/ca-eccc-msc/metadata", payload()), Notification)


@pytest.mark.parametrize("channel", ["origin", "cache"])
def test_recommended_data_is_dropped_unread(channel: str) -> None:
    topic = f"{channel}/a/wis2/ca-eccc-msc/data/recommended/weather/experimental"
    assert reason(triage().judge(topic, b"not even JSON")) == DropReason.RECOMMENDED


@pytest.mark.parametrize("below", ["", "/x" * 60, "/a\nb", "/" + "x" * 2000, "/#"])
def test_recommended_data_is_ignored_also_where_its_topic_is_one_we_would_refuse(
    below: str,
) -> None:
    topic = f"origin/a/wis2/ca-eccc-msc/data/recommended{below}"
    assert triage().judge(topic, payload()) == Drop(DropReason.RECOMMENDED)


def test_our_own_notification_is_dropped() -> None:
    verdict = triage().judge(TOPIC.replace("origin", "cache"), payload(global_cache=OUR_CENTRE))
    assert reason(verdict) == DropReason.OWN


def test_another_caches_notification_is_not_ours() -> None:
    verdict = triage().judge(TOPIC, payload(global_cache="cn-cma-global-cache"))
    assert isinstance(verdict, Notification)


@pytest.mark.parametrize("topic", ["", "origin/a/wis2", "monitor/a/wis2/ca-eccc-msc", "x/" * 9])
def test_a_topic_outside_the_grammar_is_dropped(topic: str) -> None:
    assert reason(triage().judge(topic, payload())) == Reason.INVALID_TOPIC


def test_a_refused_topic_is_told_to_the_centre_it_names() -> None:
    verdict = triage().judge("origin/a/wis2/ca-eccc-msc/data/core" + "/x" * 40, payload())
    assert isinstance(verdict, Drop)
    assert verdict.centre_id == "ca-eccc-msc"


def test_an_invalid_notification_is_dropped_with_its_reason() -> None:
    assert reason(triage().judge(TOPIC, b"{")) == Reason.INVALID_JSON
    assert reason(triage().judge(TOPIC, b" " * 8193)) == Reason.OVERSIZE
    assert reason(triage().judge(TOPIC, payload(links=[]))) == Reason.INVALID_LINKS


@pytest.mark.parametrize("topic", [TOPIC, "nonsense"])
def test_an_empty_payload_is_not_an_invalid_notification_of_anybody(topic: str) -> None:
    """That is how a retained message is cleared."""
    assert triage().judge(topic, b"") == Drop(DropReason.EMPTY)


def test_a_topic_outside_our_filters_is_dropped_because_an_old_subscription_may_live_on() -> None:
    narrow = triage("cache/a/wis2/+/data/core/weather/#")
    assert reason(narrow.judge(TOPIC, payload())) == DropReason.NOT_SUBSCRIBED
    assert isinstance(narrow.judge(TOPIC.replace("origin", "cache"), payload()), Notification)


@given(st.text(max_size=60), st.binary(max_size=200))
def test_the_answer_to_everything_is_a_verdict(topic: str, anything: bytes) -> None:
    assert isinstance(triage().judge(topic, anything), Drop)
    assert isinstance(triage().judge(TOPIC, anything), Drop)


PUBTIME_NS = notification().pubtime_ns


NOW_MS = PUBTIME_NS // 1_000_000 + 60_000
WINDOW_MS = 12 * 3_600_000


def done(pubtime_ns: int, **more: int) -> Held:
    return Held("done", pubtime_ns, NOW_MS - 1, **more)


@pytest.mark.parametrize(
    ("held", "rel", "expected"),
    [
        (None, "canonical", None),
        (done(PUBTIME_NS), "canonical", Decision.DUPLICATE),
        (done(PUBTIME_NS), "update", Decision.DUPLICATE),
        (done(PUBTIME_NS + 1), "canonical", Decision.STALE),
        (done(PUBTIME_NS + 1), "deletion", Decision.STALE),
        (done(PUBTIME_NS - 1), "canonical", Decision.REPEAT),
        (Held("done", PUBTIME_NS - 1, NOW_MS - WINDOW_MS), "canonical", None),
        (done(PUBTIME_NS - 2, deleting_ns=PUBTIME_NS - 1), "canonical", None),
        (done(PUBTIME_NS - 1), "update", None),
        (done(PUBTIME_NS - 1), "deletion", None),
        (Held("deleted", PUBTIME_NS, NOW_MS), "canonical", Decision.DUPLICATE),
        (Held("deleted", PUBTIME_NS - 1, NOW_MS), "canonical", None),
        # In progress elsewhere: a fall-back source.
        (Held(None, running_pubtime_ns=PUBTIME_NS), "canonical", None),
        (Held(None, running_pubtime_ns=PUBTIME_NS + 5), "canonical", None),
        (done(PUBTIME_NS, running_pubtime_ns=PUBTIME_NS + 5), "canonical", Decision.DUPLICATE),
    ],
)
def test_only_what_is_done_for_certain_is_refused(
    held: Held | None, rel: str, expected: Decision | None
) -> None:
    verdict = refusal(held, notification(rel), now_ms=NOW_MS, repeat_window_ms=WINDOW_MS)
    assert verdict is expected
