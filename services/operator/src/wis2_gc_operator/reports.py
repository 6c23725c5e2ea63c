"""What each command answers, as text for people and as JSON for programs. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common import metrics as catalogue
from wis2_gc_common.health.facts import Facts
from wis2_gc_common.health.judge import OVER_TIME, judge
from wis2_gc_common.wis2.pubtime import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wis2_gc_common.health.facts import Health
    from wis2_gc_common.ports.queue import DeadLetter, Depth
    from wis2_gc_common.ports.registry import (
        FailureRecord,
        ItemKey,
        ItemRecord,
        ProcessStatus,
        Snapshot,
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one command, for people and for programs."""

    text: str
    data: Any
    """Plain JSON values."""
    exit_code: int = 0


def report_status(
    centre_id: str, snapshot: Snapshot, depth: Depth, *, expected_brokers: Sequence[str] = ()
) -> Report:
    """Return whether the cache is well, which processes run, the counters and what waits."""
    health = judge(Facts(registry=snapshot, depth=depth, expected_brokers=expected_brokers))
    totals = _totals(snapshot)
    listeners = [p for p in snapshot.processes if p.kind == "listener"]
    managers = [p for p in snapshot.processes if p.kind == "manager"]
    rows = [
        *(_process_row(p, "subscribed", "not subscribed") for p in listeners),
        *(_process_row(p, "receives", "does not receive") for p in managers),
    ]
    oldest = "-" if depth.oldest_s is None else f"{depth.oldest_s:.1f} s"
    text = "\n\n".join(
        (
            f"{printable(centre_id)} is {health.state}",
            *([_reasons_table(health)] if health.reasons else []),
            _NOT_JUDGED,
            table(("PROCESS", "NAME", "STATE", "LAST REPORT"), rows)
            if rows
            else "no listener and no manager reports",
            table(
                ("TOTAL", "COUNT", "OF"),
                [
                    (name.replace("_", " "), count, _TOTALS[name][0])
                    for name, count in totals.items()
                ],
            ),
            table(
                ("QUEUE", "NOTIFICATIONS"),
                [(name.replace("_", " "), getattr(depth, name)) for name in _DEPTHS],
            )
            + f"\noldest waits {oldest}",
        )
    )
    data = {
        "centre_id": centre_id,
        "health": {
            "state": health.state,
            "reasons": [asdict(each) | {"runbook": each.code.runbook} for each in health.reasons],
            "not_judged": list(OVER_TIME),
        },
        "listeners": [_process_data(p) for p in listeners],
        "managers": [_process_data(p) for p in managers],
        "totals": totals,
        "queue": asdict(depth),
    }
    return Report(text, data)


#: A command has one reading.
_NOT_JUDGED = f"only the status page judges what takes time: {', '.join(OVER_TIME)}"


def _reasons_table(health: Health) -> str:
    rows = [
        (
            each.state,
            f"{each.words} ({each.detail})" if each.detail else each.words,
            each.code.runbook,
        )
        for each in health.reasons
    ]
    return table(("HEALTH", "WHY", "WHAT TO DO"), rows)


_DEPTHS = ("ready", "in_flight", "delayed", "dead")
#: Per total: what it counts, and the metrics or single counters that it is the sum of. What the
#: status page shows too has the same name there.
_TOTALS = {
    "received": ("notifications", catalogue.RECEIVED.name),
    "queued": ("notifications", catalogue.QUEUED.name),
    "dropped_by_listeners": ("notifications", catalogue.DROPPED.name),
    "dropped_by_managers": ("notifications", catalogue.ITEMS_DROPPED.name),
    "failed": (
        "notifications",
        catalogue.DOWNLOADED_ERRORS.name,
        catalogue.INTEGRITY_FAILED.name,
    ),
    "download_errors": ("notifications", catalogue.DOWNLOADED_ERRORS.name),
    "integrity_failures": ("notifications", catalogue.INTEGRITY_FAILED.name),
    "cached": ("items", catalogue.field(catalogue.ITEMS, "cached")),
    "announced": ("items", catalogue.ITEMS.name),
    "given_up": ("items", catalogue.GIVEN_UP.name),
}


def _totals(snapshot: Snapshot) -> dict[str, int]:
    sums: Counter[str] = Counter(snapshot.counters)
    for text, value in snapshot.counters.items():
        sums[catalogue.split_field(text)[0]] += value
    return {name: sum(sums[part] for part in parts) for name, (_, *parts) in _TOTALS.items()}


def _process_row(process: ProcessStatus, ready: str, not_ready: str) -> tuple[str, ...]:
    state = ready if process.is_ready else "; ".join((not_ready, *_problems(process)))
    return process.kind, process.name, state, format_seconds(process.at_s)


def _problems(process: ProcessStatus) -> list[str]:
    """Return the problems that a listener or a manager reports; each has its own fact."""
    found = [process.last_problem] if process.last_problem else []
    return found + [f"{part}: {problem}" for part, problem in process.problems.items()]


def _process_data(process: ProcessStatus) -> dict[str, Any]:
    return {
        "name": process.name,
        "is_ready": process.is_ready,
        "last_report": format_seconds(process.at_s),
        "facts": dict(process.facts),
    }


def report_check(problems: Mapping[str, str]) -> Report:
    """Return which parts answer; `problems` has "" for a part that does."""
    rows = [("settings", "ok"), *((part, text or "ok") for part, text in problems.items())]
    return Report(
        table(("PART", "STATE"), rows),
        {"is_ok": not any(problems.values()), "problems": dict(problems)},
        exit_code=1 if any(problems.values()) else 0,
    )


def report_item(key: ItemKey, record: ItemRecord | None) -> Report:
    """Return what is known of one item; exit code 1 if nothing is known."""
    if record is None:
        return Report(
            "nothing is known of this data_id of this centre: no notification of it has come to a "
            "manager, or its record has expired",
            {**key._asdict(), "state": None},
            exit_code=1,
        )
    data = record.facts(key)
    rows = [(name, "-" if value in (None, "") else str(value)) for name, value in data.items()]
    return Report(table(("ITEM", ""), rows), data)


def report_failures(records: Sequence[FailureRecord]) -> Report:
    """Return the given-up items, in the given order."""
    data = [record.facts() for record in records]
    rows = [(r["at"], r["centre_id"], r["attempts"], r["data_id"], r["error"]) for r in data]
    head = ("GIVEN UP", "CENTRE", "ATTEMPTS", "DATA_ID", "ERROR")
    return Report(table(head, rows) if rows else "no item was given up", data)


def report_dead_letters(letters: Sequence[DeadLetter]) -> Report:
    """Return the dead letters, in the given order."""
    data = [
        {
            "died": format_seconds(letter.died_ms / 1000),
            "arrived": format_seconds(letter.envelope.arrived_ms / 1000),
            "reason": letter.reason,
            "broker": letter.envelope.broker,
            "topic": letter.envelope.topic,
            "last_error": letter.last_error,
            "payload": letter.envelope.payload.decode("utf-8", "replace"),
        }
        for letter in letters
    ]
    rows = [(r["died"], r["reason"], r["broker"], r["topic"], r["last_error"]) for r in data]
    head = ("DIED", "REASON", "BROKER", "TOPIC", "LAST ERROR")
    return Report(table(head, rows) if rows else "there are no dead letters", data)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as aligned columns; control characters are shown as escapes."""
    lines = [list(head), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Return `text` with an escape for each character that is not visible and not a space.

    Data ids and errors come from strangers: they must not control the operator's terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
