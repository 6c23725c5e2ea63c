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
from typing import TYPE_CHECKING, TypeVar

from wis2_gc_common.errors import SettingsError, Unavailable
from wis2_gc_common.open_queue import open_dead_letters, open_queue
from wis2_gc_common.ports.registry import ItemKey
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.runtime.logs import configure_logging
from wis2_gc_common.settings.reader import Reader, warn_of_unknown_settings
from wis2_gc_operator.reports import (
    Report,
    printable,
    report_check,
    report_dead_letters,
    report_failures,
    report_item,
    report_status,
)
from wis2_gc_operator.settings import OperatorSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    from wis2_gc_common.ports.queue import DeadLetters, Queue
    from wis2_gc_common.ports.registry import RegistryReader

    P = TypeVar("P", Queue, RegistryReader)

#: The registry keeps at most this many given-up items.
MAX_FAILURES = 1000
MAX_DEAD_LETTERS = 100_000


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

    def add(
        name: str, run: Callable[..., Coroutine[None, None, Report]], meaning: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[common], help=meaning, description=meaning)
        command.set_defaults(run=lambda *given: asyncio.run(run(*given)))
        return command

    add("status", _status, "Whether it is well, listeners, managers, totals and the queue.")
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


# The commands: each reads, then calls a function of `reports`.


async def _status(read: OperatorSettings, _arguments: argparse.Namespace) -> Report:
    async with _closing(_registry(read)) as registry, _closing(_queue(read)) as queue:
        return report_status(
            read.centre_id,
            await registry.snapshot(),
            await queue.depth(),
            expected_brokers=read.expected_brokers,
        )


async def _check(read: OperatorSettings, _arguments: argparse.Namespace) -> Report:
    async with _closing(_registry(read)) as registry, _closing(_queue(read)) as queue:
        return report_check(
            {
                "registry": await _problem_of(registry.snapshot()),
                "queue": await _problem_of(queue.depth()),
            }
        )


async def _problem_of(question: Awaitable[object]) -> str:
    try:
        await question
    except Unavailable as error:
        return error.detail or "does not answer"
    return ""


async def _item(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    async with _closing(_registry(read)) as registry:
        key = ItemKey(arguments.centre_id, arguments.data_id)
        return report_item(key, await registry.item(key))


async def _failures(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    async with _closing(_registry(read)) as registry:
        return report_failures(await registry.failures(arguments.limit))


def _list_dead_letters(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    with contextlib.closing(_dead_letters(read)) as letters:
        return report_dead_letters(letters.list(arguments.limit))


def _redrive(read: OperatorSettings, arguments: argparse.Namespace) -> Report:
    with contextlib.closing(_dead_letters(read)) as letters:
        moved = letters.redrive(arguments.limit)
    what = "dead letter" if moved == 1 else "dead letters"
    return Report(f"{moved} {what} put back into the queue", {"redriven": moved})


@contextlib.asynccontextmanager
async def _closing(part: P) -> AsyncIterator[P]:
    try:
        yield part
    finally:
        await part.close()


def _registry(read: OperatorSettings) -> RegistryReader:
    return RedisReader(read.redis_url)


def _queue(read: OperatorSettings) -> Queue:
    return open_queue(read.queue_url, read.dead_letter_queue_url, redis_url=read.redis_url)


def _dead_letters(read: OperatorSettings) -> DeadLetters:
    return open_dead_letters(read.queue_url, read.dead_letter_queue_url, redis_url=read.redis_url)
