from __future__ import annotations

import dataclasses
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from testkit.fakes.reader import listener, manager, snapshot_of
from wis2_gc_common import metrics as catalogue
from wis2_gc_common.health.judge import OVER_TIME
from wis2_gc_common.metrics import field
from wis2_gc_common.ports.queue import DeadLetter, Depth, Envelope
from wis2_gc_common.ports.registry import FailureRecord, ItemKey, ItemRecord
from wis2_gc_common.wis2.decision import Held
from wis2_gc_common.wis2.pubtime import parse_pubtime
from wis2_gc_operator import reports

DEPTH = Depth(ready=1, in_flight=2, delayed=3, dead=4, oldest_s=5.25)
PUBTIME_NS = parse_pubtime("2026-01-02T03:04:05.123456789Z")


def test_the_status_shows_processes_totals_and_queue() -> None:
    content = snapshot_of(
        counters={
            field(catalogue.RECEIVED, "fr"): 10,
            field(catalogue.RECEIVED, "br"): 5,
            field(catalogue.ITEMS, "cached"): 3,
            field(catalogue.ITEMS, "deleted"): 1,
            field(catalogue.DOWNLOADED_ERRORS, "xx-a"): 2,
            field(catalogue.INTEGRITY_FAILED, "xx-b"): 1,
            field(catalogue.GIVEN_UP, "timeout"): 1,
        },
        processes=(
            listener("fr"),
            listener("br", is_ready=False, last_problem="refused"),
            manager("m-1"),
            manager("m-2", is_ready=False, problems={"store": "disk full"}),
        ),
    )
    report = reports.report_status("xx-test-global-cache", content, DEPTH)
    assert report.exit_code == 0
    assert report.text.startswith("xx-test-global-cache is degraded\n\nHEALTH ")
    shown = "the store takes no objects: 1 of 2 managers say so, m-2 (disk full)"
    assert re.search(f"degraded  {re.escape(shown)}  +docs/operations.md#store-away", report.text)
    lines = [line.split() for line in report.text.splitlines()]
    assert ["listener", "fr", "subscribed", "2027-01-15T08:00:00Z"] in lines
    assert "not subscribed; refused" in report.text
    assert "does not receive; store: disk full" in report.text
    assert ["received", "15", "notifications"] in lines
    assert ["failed", "3", "notifications"] in lines
    assert ["cached", "3", "items"] in lines
    assert ["announced", "4", "items"] in lines
    assert ["given", "up", "1", "items"] in lines
    assert ["in", "flight", "2"] in lines
    assert "oldest waits 5.2 s" in report.text
    assert report.data["totals"]["received"] == 15
    assert report.data["totals"]["dropped_by_listeners"] == 0
    assert report.data["queue"]["dead"] == 4
    assert [p["name"] for p in report.data["listeners"]] == ["fr", "br"]
    assert [p["is_ready"] for p in report.data["managers"]] == [True, False]


def test_the_status_is_the_verdict_of_one_reading() -> None:
    processes = (listener("fr"), manager("m-1"))
    report = reports.report_status("xx-a", snapshot_of(processes=processes), DEPTH)
    assert report.text.startswith("xx-a is well\n\nonly the status page judges what takes time: ")
    assert report.data["health"]["reasons"] == []
    assert report.data["health"]["not_judged"] == list(OVER_TIME)
    report = reports.report_status(
        "xx-a", snapshot_of(processes=processes), DEPTH, expected_brokers=("fr", "br")
    )
    assert report.exit_code == 0
    assert json.loads(json.dumps(report.data["health"]["reasons"])) == [
        {
            "code": "listener_missing",
            "state": "degraded",
            "subject": "br",
            "words": "the listener of br does not report; other Global Brokers bring the same",
            "detail": "",
            "runbook": "docs/operations.md#listener-missing",
        }
    ]


def test_the_age_of_a_queue_that_does_not_tell_it_is_not_made_up() -> None:
    silent = dataclasses.replace(DEPTH, oldest_s=None)
    report = reports.report_status("xx-test-global-cache", snapshot_of(), silent)
    assert report.text.splitlines()[-1] == "oldest waits -"
    assert report.data["queue"]["oldest_s"] is None


def test_the_status_says_when_nobody_reports() -> None:
    report = reports.report_status("xx-test-global-cache", snapshot_of(), DEPTH)
    assert "no listener and no manager reports" in report.text


def test_an_item_is_shown_with_its_times_as_text() -> None:
    held = Held("done", PUBTIME_NS, 1_800_000_000_250, running_pubtime_ns=PUBTIME_NS + 1)
    record = ItemRecord("running", held, "2026-01-02/03/x", 2, "timeout", 3)
    report = reports.report_item(ItemKey("fr-a", "d"), record)
    assert report.exit_code == 0
    assert report.data["centre_id"] == "fr-a"
    assert report.data["finished_at"] == "2027-01-15T08:00:00.25Z"
    assert report.data["pubtime"] == "2026-01-02T03:04:05.123456789Z"
    assert report.data["running_pubtime"] == "2026-01-02T03:04:05.12345679Z"
    lines = [line.split() for line in report.text.splitlines()]
    assert ["object_key", "2026-01-02/03/x"] in lines
    assert ["last_error", "timeout"] in lines
    assert ["parked", "3"] in lines


def test_an_item_that_never_finished_has_no_pubtime() -> None:
    record = ItemRecord("failed", Held(None), None, 1, "dns", 0)
    report = reports.report_item(ItemKey("fr-a", "d"), record)
    assert report.data["pubtime"] is None
    assert ["pubtime", "-"] in [line.split() for line in report.text.splitlines()]


def test_an_unknown_item_is_said_to_be_unknown_with_exit_code_1() -> None:
    report = reports.report_item(ItemKey("fr-a", "d"), None)
    assert report.exit_code == 1
    assert report.text.startswith("nothing is known")
    assert report.data == {"centre_id": "fr-a", "data_id": "d", "state": None}


def test_failures_are_listed_in_their_order() -> None:
    records = [
        FailureRecord(1_800_000_000.0 - n, f"d{n}", "xx-a", PUBTIME_NS, "not_found", 6)
        for n in range(3)
    ]
    report = reports.report_failures(records)
    assert [r["data_id"] for r in report.data] == ["d0", "d1", "d2"]
    assert [line.split()[3] for line in report.text.splitlines()[1:]] == ["d0", "d1", "d2"]


def test_dead_letters_are_listed_with_their_reason_and_payload_only_in_json() -> None:
    envelope = Envelope("origin/a/wis2/xx-a/data", b'{"id": \xff}', "fr", 1_800_000_000_000)
    report = reports.report_dead_letters(
        [DeadLetter(envelope, "unexpected", "KeyError", 1_800_000_001_500)]
    )
    assert report.data == [
        {
            "died": "2027-01-15T08:00:01.5Z",
            "arrived": "2027-01-15T08:00:00Z",
            "reason": "unexpected",
            "broker": "fr",
            "topic": "origin/a/wis2/xx-a/data",
            "last_error": "KeyError",
            "payload": '{"id": \ufffd}',
        }
    ]
    assert "origin/a/wis2/xx-a/data" in report.text
    assert '"id"' not in report.text


def test_empty_lists_say_so() -> None:
    assert reports.report_failures([]).text == "no item was given up"
    assert reports.report_dead_letters([]).text == "there are no dead letters"


def test_a_check_names_the_part_that_does_not_answer() -> None:
    fine = reports.report_check({"registry": "", "queue": ""})
    assert (fine.exit_code, fine.data["is_ok"]) == (0, True)
    away = reports.report_check({"registry": "refused", "queue": ""})
    assert (away.exit_code, away.data["is_ok"]) == (1, False)
    assert ["registry", "refused"] in [line.split() for line in away.text.splitlines()]


def test_a_terminal_is_not_told_to_do_anything_by_strangers() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\r\n\u202eevil\x9b31m"
    records = [FailureRecord(1.0, hostile, "xx-a", 0, hostile, 1)]
    text = reports.report_failures(records).text
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert "\\x1b]0;owned\\x07" in text


@given(st.text())
def test_what_is_printed_is_printable(text: str) -> None:
    shown = reports.printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_a_table_has_one_line_per_row(rows: list[tuple[str, str]]) -> None:
    assert len(reports.table(("A", "B"), rows).split("\n")) == len(rows) + 1
