"""`wis2-gc`: the operator's command.

Reads the same `GC_…` settings as the services. Exit codes: 0 success; 1 something is away, unknown
or unhealthy; 2 a setting or the command line is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wis2_gc_common import metrics as catalogue
from wis2_gc_common.errors import SettingsError, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue
from wis2_gc_common.ports.registry import ItemKey
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.runtime.logs import configure_logging
from wis2_gc_common.settings import catalogue as settings
from wis2_gc_common.settings.reader import Reader, warn_of_unknown_settings
from wis2_gc_common.wis2.pubtime import format_pubtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from wis2_gc_common.ports.queue import DeadLetter, DeadLetters, Depth, Queue
    from wis2_gc_common.ports.registry import (
        FailureRecord,
        ItemRecord,
        ProcessStatus,
        RegistryReader,
        Snapshot,
    )
    from wis2_gc_common.settings.values import QueueUrl, Secret

#: The registry keeps at most this many given-up items.
MAX_FAILURES = 1000
MAX_DEAD_LETTERS = 100_000
#: A queue requires the name of its consumer; here it only gives its depth.
_CONSUMER = "operator"
_VISIBILITY_S = 30.0


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The settings of the operator's command."""

    centre_id: str
    redis_url: Secret
    queue_url: QueueUrl
    dead_letter_queue_url: QueueUrl
    log_level: str
    log_format: str


def read_settings(read: Reader) -> OperatorSettings:
    """Return the typed settings. Raises SettingsError naming the variable."""
    return OperatorSettings(
        centre_id=read(settings.CENTRE_ID),
        redis_url=read(settings.REDIS_URL),
        queue_url=read(settings.QUEUE_URL),
        dead_letter_queue_url=read(settings.DEAD_LETTER_QUEUE_URL),
        log_level=read(settings.LOG_LEVEL),
        log_format=read(settings.LOG_FORMAT),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one command, for people and for programs."""

    text: str
    data: Any
    """Plain JSON values."""
    exit_code: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        read = read_settings(Reader())
        configure_logging(level=read.log_level, log_format=read.log_format, service="operator")
        warn_of_unknown_settings()
        report: Report = arguments.run(read, arguments)
        text = json.dumps(report.data, indent=2) if arguments.json else report.text
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except SettingsError as error:
        return _complain(str(error), 2)
    except Unavailable as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        # The reader (`head`) has closed the pipe: write nothing more, not at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return report.exit_code


def _complain(problem: str, exit_code: int) -> int:
    sys.stderr.write(f"wis2-gc: {printable(problem)}\n")
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wis2-gc",
        description="Looks after a WIS2 Global Cache. Reads the GC_… settings of the services.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[..., Report], meaning: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[common], help=meaning, description=meaning)
        command.set_defaults(run=run)
        return command

    add("status", _status, "Listeners, managers, totals and the queue.")
    add("check", _check, "Whether the settings are right and registry and queue answer.")
    item = add("item", _item, "What is known of one data item.")
    item.add_argument("centre_id", metavar="CENTRE_ID", help="4th level of its topic")
    item.add_argument("data_id", metavar="DATA_ID", help="properties.data_id of its notification")
    failures = add("failures", _failures, "The newest given-up items, newest first.")
    failures.add_argument("--limit", type=_whole_up_to(MAX_FAILURES), default=20, metavar="N")

    meaning = "Messages that no attempt could finish."
    letters = commands.add_parser("dead-letters", help=meaning, description=meaning)
    actions = letters.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="show the oldest; remove none")
    listing.add_argument("--limit", type=_whole_up_to(MAX_DEAD_LETTERS), default=20, metavar="N")
    listing.set_defaults(run=_list_dead_letters)
    redrive = actions.add_parser("redrive", parents=[common], help="put them back into the queue")
    redrive.add_argument(
        "--limit",
        type=_whole_up_to(MAX_DEAD_LETTERS),
        metavar="N",
        help="only the N oldest; default: all",
    )
    redrive.set_defaults(run=_redrive)
    return parser


def _whole_up_to(maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = 0
        if not 1 <= value <= maximum:
            raise argparse.ArgumentTypeError(f"requires a whole number from 1 to {maximum}")
        return value

    return parse


# The commands: each reads, then calls a pure function that reports.


def _status(read: OperatorSettings, _arguments: argparse.Namespace) -> Report:
    async def look() -> Report:
        async with _registry(read) as registry, _queue(read) as queue:
            return report_status(read.centre_id, await registry.snapshot(), await queue.depth())

    return asyncio.run(look())


def _check(read: OperatorSettings, _arguments: argparse.Namespace) -> Report:
    async def look() -> Report:
        async with _registry(read) as registry, _queue(read) as queue:
            return report_check(
                {
                    "registry": await _problem_of(registry.snapshot()),
                    "queue": await _problem_of(queue.depth()),
                }
            )

    return asyncio.run(look())


async def _problem_of(question: Awaitable[object]) -> str:
    try:
        await question
    except Unavailable as error:
        return error.detail or "does not answer"
    return ""


def _item(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    async def look() -> Report:
        async with _registry(read) as registry:
            key = ItemKey(arguments.centre_id, arguments.data_id)
            return report_item(key, await registry.item(key))

    return asyncio.run(look())


def _failures(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    async def look() -> Report:
        async with _registry(read) as registry:
            return report_failures(await registry.failures(arguments.limit))

    return asyncio.run(look())


def _list_dead_letters(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    with contextlib.closing(_dead_letters(read)) as letters:
        return report_dead_letters(letters.list(arguments.limit))


def _redrive(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    with contextlib.closing(_dead_letters(read)) as letters:
        moved = letters.redrive(arguments.limit)
    what = "dead letter" if moved == 1 else "dead letters"
    return Report(f"{moved} {what} put back into the queue", {"redriven": moved})


@contextlib.asynccontextmanager
async def _registry(read: OperatorSettings) -> AsyncIterator[RegistryReader]:
    registry = RedisReader.connect(read.redis_url)
    try:
        yield registry
    finally:
        await registry.close()


@contextlib.asynccontextmanager
async def _queue(read: OperatorSettings) -> AsyncIterator[Queue]:
    queue = open_queue(
        read.queue_url,
        read.dead_letter_queue_url,
        redis_url=read.redis_url,
        consumer=_CONSUMER,
        visibility_s=_VISIBILITY_S,
    )
    try:
        yield queue
    finally:
        await queue.close()


def _dead_letters(read: OperatorSettings) -> DeadLetters:
    return open_dead_letters(read.queue_url, read.dead_letter_queue_url, redis_url=read.redis_url)


# The reports. Pure.


def report_status(centre_id: str, snapshot: Snapshot, depth: Depth) -> Report:
    """Return which processes run, the counters and what waits."""
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
            printable(centre_id),
            table(("PROCESS", "NAME", "STATE", "LAST REPORT"), rows)
            if rows
            else "no listener and no manager reports",
            table(
                ("TOTAL", "COUNT"),
                [(name.replace("_", " "), count) for name, count in totals.items()],
            ),
            table(
                ("QUEUE", "MESSAGES"),
                [(name.replace("_", " "), getattr(depth, name)) for name in _DEPTHS],
            )
            + f"\noldest waits {oldest}",
        )
    )
    data = {
        "centre_id": centre_id,
        "listeners": [_process_data(p) for p in listeners],
        "managers": [_process_data(p) for p in managers],
        "totals": totals,
        "queue": asdict(depth),
    }
    return Report(text, data)


_DEPTHS = ("ready", "in_flight", "delayed", "dead")
_TOTALS = {
    "received": catalogue.RECEIVED,
    "queued": catalogue.QUEUED,
    "dropped_by_listeners": catalogue.DROPPED,
    "dropped_by_managers": catalogue.ITEMS_DROPPED,
    "cached": catalogue.DOWNLOADED,
    "announced": catalogue.ITEMS,
    "download_errors": catalogue.DOWNLOADED_ERRORS,
    "integrity_failures": catalogue.INTEGRITY_FAILED,
    "given_up": catalogue.GIVEN_UP,
}


def _totals(snapshot: Snapshot) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for text, value in snapshot.counters.items():
        sums[catalogue.split_field(text)[0]] += value
    return {name: sums[metric.name] for name, metric in _TOTALS.items()}


def _process_row(process: ProcessStatus, ready: str, not_ready: str) -> tuple[str, ...]:
    state = ready if process.is_ready else "; ".join((not_ready, *_problems(process)))
    return process.kind, process.name, state, _time(process.at_s)


def _problems(process: ProcessStatus) -> list[str]:
    """Return the problems that a listener or a manager reports; each has its own fact."""
    last, parts = process.facts.get("last_problem"), process.facts.get("problems")
    found = [str(last)] if last else []
    if isinstance(parts, dict):
        found += [f"{part}: {problem}" for part, problem in parts.items()]
    return found


def _process_data(process: ProcessStatus) -> dict[str, Any]:
    return {
        "name": process.name,
        "is_ready": process.is_ready,
        "last_report": _time(process.at_s),
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
    held = record.held
    running_ns = held.running_pubtime_ns
    data = {
        **key._asdict(),
        "state": record.state,
        "finished_state": held.state,
        "finished_at": None if held.state is None else _time(held.finished_ms / 1000),
        "pubtime": None if held.state is None else format_pubtime(held.pubtime_ns),
        "running_pubtime": None if running_ns is None else format_pubtime(running_ns),
        "object_key": record.object_key,
        "attempts": record.attempts,
        "last_error": record.last_error,
        "parked": record.parked,
    }
    rows = [(name, "-" if value in (None, "") else str(value)) for name, value in data.items()]
    return Report(table(("ITEM", ""), rows), data)


def report_failures(records: Sequence[FailureRecord]) -> Report:
    """Return the given-up items, in the given order."""
    data = [
        {
            "at": _time(record.at_s),
            "centre_id": record.centre_id,
            "data_id": record.data_id,
            "pubtime": format_pubtime(record.pubtime_ns),
            "error": record.error,
            "attempts": record.attempts,
        }
        for record in records
    ]
    rows = [(r["at"], r["centre_id"], r["attempts"], r["data_id"], r["error"]) for r in data]
    head = ("GIVEN UP", "CENTRE", "ATTEMPTS", "DATA_ID", "ERROR")
    return Report(table(head, rows) if rows else "no item was given up", data)


def report_dead_letters(letters: Sequence[DeadLetter]) -> Report:
    """Return the dead letters, in the given order."""
    data = [
        {
            "died": _time(letter.died_ms / 1000),
            "arrived": _time(letter.envelope.arrived_ms / 1000),
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


def _time(at_s: float) -> str:
    return format_pubtime(max(0, round(at_s * 1000)) * 1_000_000)


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
