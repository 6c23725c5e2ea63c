"""Every alert rule, run by Prometheus's own tool over invented series: it fires when it must."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from testkit.deployment import chart

if TYPE_CHECKING:
    from pathlib import Path

RULES = chart.CHART / "files" / "alerts.yaml"
ERRORS = "wmo_wis2_gc_downloaded_errors_total"
LAST = "wmo_wis2_gc_last_download_timestamp_seconds"
FLAG = "wmo_wis2_gc_dataserver_status_flag"
READABLE = "wis2_gc_queue_readable"
H = 60
DAY = 24 * H

#: One sample a minute, in promtool's notation.
Values = str


def held(value: float, minutes: int) -> Values:
    return f"{value:g}x{minutes - 1}" if minutes > 1 else f"{value:g}"


def absent(minutes: int) -> Values:
    return f"_x{minutes}"


@dataclass(frozen=True)
class Story:
    """Series from minute 0 on, and at which minutes an alert must be firing, or not."""

    series: dict[str, Values]
    alert: str
    fires_at: tuple[int, ...] = ()
    silent_at: tuple[int, ...] = ()
    times: int = 1
    """How many alerts of that name there are when it fires."""
    step_minutes: int = 1
    """Between two values, and two looks at the rules; `fires_at` stays in minutes."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool", path=f"{chart.ROOT / '.tools' / 'promtool'}")
    found = found or shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed: the alert rules were not run by Prometheus")
    return found


def run(promtool: str, story: Story, folder: Path) -> str:
    """Return what promtool finds wrong; "" for nothing."""

    def check(minute: int, count: int) -> dict[str, Any]:
        name = f'ALERTS{{alertname="{story.alert}",alertstate="firing"}}'
        samples = [{"labels": "{}", "value": count}] if count else []
        return {"expr": f"count({name})", "eval_time": f"{minute}m", "exp_samples": samples}

    checks = [check(minute, story.times) for minute in story.fires_at]
    checks += [check(minute, 0) for minute in story.silent_at]
    assert checks
    interval = f"{story.step_minutes}m"
    test = {
        "interval": interval,
        "input_series": [{"series": k, "values": v} for k, v in story.series.items()],
        "promql_expr_test": checks,
    }
    path = folder / "test.yaml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": interval, "tests": [test]}
    path.write_text(yaml.safe_dump(document))
    result = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, check=False
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def centre(metric: str, name: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'{metric}{{report_by="gc",centre_id="{name}"{more}}}'


def after_an_hour(values: Values) -> dict[str, Values]:
    """Return what is there from the beginning, so that it is known who is new."""
    return {READABLE: values}


def steadily(errors_an_hour: int, hours: int) -> Values:
    """Return a counter that grows by so much each hour, at its full minutes."""
    return " ".join(held(n * errors_an_hour, H) for n in range(hours))


def errors_of(centres: int, errors_an_hour: int, hours: int) -> dict[str, Values]:
    """Return counters that were there with 0 for an hour and then grow."""
    return {centre(ERRORS, f"c{n}"): steadily(errors_an_hour, hours) for n in range(centres)}


def at_once(errors: int, hours: int) -> Values:
    """Return a counter that appears with its first errors after 2 hours, and grows hourly."""
    return f"{absent(2 * H)} " + " ".join(held(n * errors, H) for n in range(1, hours + 1))


def down(servers: int, hours: int, *, of: int = 1) -> dict[str, Values]:
    """Return flags of servers that go down after 10 minutes, each of `of` centres."""
    return {
        centre(FLAG, f"c{n}-{m}", dataserver=f"s{n}"): f"{held(1, 10)} {held(0, hours * H)}"
        for n in range(servers)
        for m in range(of)
    }


def weeks_of_failure(weeks: int) -> dict[str, Values]:
    """Return one data server that fails once after 10 minutes; a value each 10 minutes."""
    flag = f"1 {held(0, weeks * 7 * 24 * 6)}"
    errors = f"_ {held(1, weeks * 7 * 24 * 6)}"
    return {centre(FLAG, "a", dataserver="s"): flag, centre(ERRORS, "a"): errors}


TAKEN_OVER = 'wis2_gc_listener_sessions_taken_over_total{broker="fr"}'

STORIES = {
    "a session taken over for the first time": Story(
        {READABLE: held(1, 2 * H), TAKEN_OVER: f"{absent(30)} {held(1, 60)}"},
        "SessionTakenOver",
        fires_at=(31, 40),
        silent_at=(29, 50, 80),
    ),
    "a session taken over again": Story(
        {READABLE: held(1, 2 * H), TAKEN_OVER: f"{held(4, 60)} {held(5, 60)}"},
        "SessionTakenOver",
        fires_at=(61, 70),
        silent_at=(50, 80),
    ),
    "a session that was taken over before anybody looked": Story(
        {READABLE: f"{absent(30)} {held(1, 90)}", TAKEN_OVER: f"{absent(30)} {held(3, 90)}"},
        "SessionTakenOver",
        silent_at=(29, 31, 40, 44, 60),
    ),
    "no data from a centre for 6 h": Story(
        {centre(LAST, "a"): held(0, 7 * H)}, "NoDataFromCentre", (6 * H + 1,), (6 * H,)
    ),
    "data from a centre within 6 h": Story(
        {centre(LAST, "a"): f"{held(0, 6 * H)} {held(21600, H)}"},
        "NoDataFromCentre",
        silent_at=(6 * H, 6 * H + 1, 7 * H - 1),
    ),
    "one silent centre of two": Story(
        {centre(LAST, "a"): held(0, 7 * H), centre(LAST, "b"): held(20000, 7 * H)},
        "NoDataFromCentre",
        (6 * H + 1,),
    ),
    "a centre that has only ever failed": Story(
        {centre(ERRORS, "a"): held(1, 7 * H), centre(LAST, "b"): held(20000, 7 * H)},
        "NoDataFromCentre",
        (6 * H,),
        (6 * H - 1,),
    ),
    "no data at all for 1 h, for 15 m": Story(
        {centre(LAST, "a"): held(0, 2 * H), centre(LAST, "b"): held(60, 2 * H)},
        "NoDataAtAll",
        (H + 17,),
        (H + 16,),
    ),
    "the last data in time": Story(
        {centre(LAST, "a"): f"{held(0, H + 15)} {held(4500, H)}"},
        "NoDataAtAll",
        silent_at=(H + 15, H + 16, 2 * H),
    ),
    "a cache that has never cached anything": Story(
        {READABLE: held(1, 2 * H)}, "NoDataAtAll", (H + 15,), (H + 14,)
    ),
    "a cache that is not there at all": Story(
        {"up": held(1, 3 * H)}, "NoDataAtAll", silent_at=(H, 2 * H, 3 * H - 1)
    ),
    "nothing cached for 15 m": Story(
        {centre(LAST, "a"): held(0, H)}, "NothingCachedLately", (16,), (15,)
    ),
    "11 errors an hour of one centre, for 6 h": Story(
        errors_of(1, 11, 9), "DownloadErrorsOfCentre", (7 * H,), (7 * H - 1,)
    ),
    "10 errors an hour of one centre": Story(
        errors_of(1, 10, 10),
        "DownloadErrorsOfCentre",
        silent_at=(7 * H - 1, 7 * H, 8 * H, 9 * H),
    ),
    "11 errors an hour of a centre that has just appeared": Story(
        after_an_hour(held(1, 12 * H)) | {centre(ERRORS, "a"): at_once(11, 9)},
        "DownloadErrorsOfCentre",
        (8 * H,),
        (8 * H - 1,),
    ),
    "a busy hour in each two": Story(
        {centre(ERRORS, "a"): " ".join(held(n // 2 * 40, H) for n in range(20))},
        "DownloadErrorsOfCentre",
        silent_at=tuple(range(H, 20 * H, 30)),
    ),
    "11 centres with 11 errors each": Story(
        errors_of(11, 11, 4), "DownloadErrorsOfManyCentres", (2 * H,), (2 * H - 1,)
    ),
    "10 centres with 11 errors each": Story(
        errors_of(10, 11, 5), "DownloadErrorsOfManyCentres", silent_at=(2 * H, 3 * H, 4 * H)
    ),
    "11 centres, one of them with 10 errors": Story(
        errors_of(10, 11, 5) | {centre(ERRORS, "c"): steadily(10, 5)},
        "DownloadErrorsOfManyCentres",
        silent_at=(2 * H, 3 * H, 4 * H),
    ),
    "11 new centres with 11 errors at once": Story(
        after_an_hour(held(1, 5 * H))
        | {centre(ERRORS, f"c{n}"): at_once(11, 3) for n in range(11)},
        "DownloadErrorsOfManyCentres",
        (3 * H,),
        (3 * H - 1,),
    ),
    "21 centres with 11 errors each": Story(
        errors_of(21, 11, 4), "DownloadErrorsOfVeryManyCentres", (2 * H,), (2 * H - 1,)
    ),
    "20 centres with 11 errors each": Story(
        errors_of(20, 11, 5), "DownloadErrorsOfVeryManyCentres", silent_at=(2 * H, 3 * H, 4 * H)
    ),
    "a new Prometheus sees old errors": Story(
        {centre(ERRORS, f"c{n}"): held(5000, 5 * H) for n in range(30)}
        | after_an_hour(held(1, 5 * H)),
        "DownloadErrorsOfManyCentres",
        silent_at=tuple(range(0, 5 * H, 20)),
    ),
    "metrics away for two hours, without new errors": Story(
        {
            name: f"{held(value, 2 * H)} {absent(2 * H)} {held(value, 4 * H)}"
            for name, value in [
                (READABLE, 1),
                *((centre(ERRORS, f"c{n}"), 5000) for n in range(30)),
            ]
        },
        "DownloadErrorsOfManyCentres",
        silent_at=tuple(range(0, 8 * H, 20)),
    ),
    "another pod of the metrics service": Story(
        {
            centre(ERRORS, f"c{n}", pod=pod): values
            for n in range(30)
            for pod, values in (
                ("old", held(5000, 3 * H)),
                ("new", f"{absent(3 * H)} {held(5000, 5 * H)}"),
            )
        }
        | after_an_hour(held(1, 8 * H)),
        "DownloadErrorsOfManyCentres",
        silent_at=tuple(range(0, 8 * H, 20)),
    ),
    "two pods of the metrics service count once": Story(
        {centre(ERRORS, "a", pod=pod): steadily(6, 10) for pod in ("x", "y")},
        "DownloadErrorsOfCentre",
        silent_at=tuple(range(H, 10 * H, 60)),
    ),
    "a data server down for 24 h": Story(down(1, 25), "DataServerDown", (DAY + 10,), (DAY + 9,)),
    "a data server that was up for a moment": Story(
        {centre(FLAG, "a", dataserver="s"): f"{held(0, 23 * H)} 1 {held(0, 23 * H)}"},
        "DataServerDown",
        silent_at=(DAY, 46 * H),
    ),
    "a data server whose centre had a failure within the week": Story(
        weeks_of_failure(1), "DataServerDown", (DAY + 10, 7 * DAY - 10), step_minutes=10
    ),
    "a data server that nobody has linked to for a week": Story(
        weeks_of_failure(2),
        "DataServerDown",
        silent_at=(7 * DAY + 10, 10 * DAY, 14 * DAY - 10),
        step_minutes=10,
    ),
    "11 data servers down for 1 h": Story(down(11, 2), "ManyDataServersDown", (H + 10,), (H + 9,)),
    "10 data servers down": Story(down(10, 3), "ManyDataServersDown", silent_at=(H + 10, 3 * H)),
    "10 data servers, each of 3 centres": Story(
        down(10, 3, of=3), "ManyDataServersDown", silent_at=(H + 10, 3 * H)
    ),
    "21 data servers down for 1 h": Story(
        down(21, 2), "VeryManyDataServersDown", (H + 10,), (H + 9,)
    ),
    "20 data servers down": Story(
        down(20, 3), "VeryManyDataServersDown", silent_at=(H + 10, 3 * H)
    ),
    "no metrics": Story({"up": held(0, H)}, "MetricsMissing", (5,), (4,)),
    "metrics are there": Story({READABLE: held(0, H)}, "MetricsMissing", silent_at=(5, 30)),
    "the queue cannot be read": Story(
        {READABLE: f"{held(1, 10)} {held(0, H)}"}, "QueueNotReadable", (15,), (14,)
    ),
    "the queue can be read again": Story(
        {READABLE: f"{held(0, 5)} {held(1, H)}"}, "QueueNotReadable", silent_at=(4, 5, 30)
    ),
    "a listener is not subscribed": Story(
        {'wis2_gc_listener_ready{broker="fr"}': held(0, H)}, "ListenerNotSubscribed", (10,), (9,)
    ),
    "one listener is not enough": Story(
        {'wis2_gc_listener_ready{broker="fr"}': held(1, H)}, "FewerThanTwoListeners", (10,), (9,)
    ),
    "two listeners are": Story(
        {f'wis2_gc_listener_ready{{broker="{name}"}}': held(1, H) for name in ("fr", "br")},
        "FewerThanTwoListeners",
        silent_at=(10, 30),
    ),
    "a Global Broker is silent": Story(
        {'wis2_gc_listener_last_message_timestamp_seconds{broker="fr"}': held(0, H)},
        "GlobalBrokerSilent",
        (21,),
        (20,),
    ),
    "a Global Broker has never said anything": Story(
        {'wis2_gc_listener_ready{broker="fr"}': held(1, H)}, "GlobalBrokerSilent", (20,), (19,)
    ),
    "no manager": Story({READABLE: held(1, H)}, "NoManagerWorks", (5,), (4,)),
    "a manager that does not receive": Story(
        {'wis2_gc_manager_ready{instance="m"}': held(0, H)}, "NoManagerWorks", (5,), (4,)
    ),
    "one manager of two": Story(
        {f'wis2_gc_manager_ready{{instance="m{n}"}}': held(n, H) for n in (0, 1)},
        "NoManagerWorks",
        silent_at=(5, 30),
    ),
    "our public URL fails from the beginning": Story(
        {'wis2_gc_public_checks_total{result="failed"}': "1+1x60"}, "PublicUrlFails", (6,), (5,)
    ),
    "our public URL fails now and then": Story(
        {
            'wis2_gc_public_checks_total{result="failed"}': "0+1x60",
            'wis2_gc_public_checks_total{result="ok"}': "0+1x60",
        },
        "PublicUrlFails",
        silent_at=(6, 30),
    ),
    "the queue is old": Story(
        {"wis2_gc_queue_oldest_seconds": held(301, H)}, "QueueOld", (10,), (9,)
    ),
    "the queue is just young enough": Story(
        {"wis2_gc_queue_oldest_seconds": held(300, H)}, "QueueOld", silent_at=(10, 30)
    ),
    "dead letters": Story(
        {'wis2_gc_queue_messages{state="dead"}': held(1, H)}, "DeadLetters", (5,), (4,)
    ),
    "a centre has nearly all items that it may": Story(
        {
            'wis2_gc_centre_items{centre_id="de-dwd"}': held(91, H),
            'wis2_gc_centre_items{centre_id="fr-meteofrance"}': held(90, H),
            'wis2_gc_centre_items{centre_id="other"}': held(45, H),
            "wis2_gc_centre_quota_items": held(100, H),
        },
        "CentreNearQuota",
        (5,),
        (4,),
    ),
    "a centre has nearly all bytes that it may, and strangers all of theirs": Story(
        {
            'wis2_gc_centre_bytes{centre_id="de-dwd"}': held(91, H),
            'wis2_gc_centre_bytes{centre_id="other"}': held(46, H),
            "wis2_gc_centre_quota_bytes": held(100, H),
        },
        "CentreNearQuota",
        (5,),
        (4,),
        times=2,
    ),
    "centres without a quota hold much": Story(
        {'wis2_gc_centre_items{centre_id="de-dwd"}': held(1e9, H)},
        "CentreNearQuota",
        silent_at=(5, 30),
    ),
    "6 % given up": Story(
        {
            'wis2_gc_items_given_up_total{reason="dns"}': "0+6x180",
            'wis2_gc_items_total{outcome="cached"}': "0+100x180",
        },
        "ItemsGivenUp",
        (H, 2 * H),
    ),
    "4 % given up": Story(
        {
            'wis2_gc_items_given_up_total{reason="dns"}': "0+4x180",
            'wis2_gc_items_total{outcome="cached"}': "0+100x180",
        },
        "ItemsGivenUp",
        silent_at=(H, 2 * H),
    ),
    "everything given up, nothing ever announced": Story(
        {'wis2_gc_items_given_up_total{reason="dns"}': "0+6x180"}, "ItemsGivenUp", (H, 2 * H)
    ),
    "every fifth item is late": Story(
        {
            'wis2_gc_announce_delay_seconds_bucket{le="120.0"}': "0+80x180",
            "wis2_gc_announce_delay_seconds_count": "0+100x180",
        },
        "AnnouncedLate",
        (H + 30,),
    ),
    "every twentieth item is late": Story(
        {
            'wis2_gc_announce_delay_seconds_bucket{le="120.0"}': "0+95x180",
            "wis2_gc_announce_delay_seconds_count": "0+100x180",
        },
        "AnnouncedLate",
        silent_at=(H, 2 * H),
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_an_alert_fires_when_it_must_and_only_then(
    name: str, promtool: str, tmp_path: Path
) -> None:
    assert run(promtool, STORIES[name], tmp_path) == ""


def test_every_alert_has_stories_of_both_kinds() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text("utf-8")))
    assert {story.alert for story in STORIES.values() if story.fires_at} == alerts
    assert {story.alert for story in STORIES.values() if story.silent_at} == alerts


def test_prometheus_own_tool_takes_the_rules(promtool: str) -> None:
    result = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
