"""Logging: constant event names, values as fields, JSON or console."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logging(*, level: str, log_format: str, service: str) -> None:
    """Send our own and the libraries' log lines to standard error in one format.

    `level`: debug, info, warning or error. `log_format`: "json", "console", or "" (console on a
    terminal, else JSON). `service` is a field of every line, from every thread.
    """

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        # Not a context variable: a new thread starts without them.
        event.setdefault("service", service)
        return event

    if not log_format:
        log_format = "console" if sys.stderr.isatty() else "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_service,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    rendering: list[Processor] = (
        [structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            escape_control_characters,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


#: All characters that control a terminal, except the line ends and tabs of a traceback.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _escaped(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what could control the operator's terminal; the JSON renderer escapes by itself."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = _CONTROL.sub(_escaped, value) if name == "exception" else repr(value)
    return event


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def silence_aws_sdk() -> None:
    """Keep the SDK from logging requests, signatures and answers of credential servers."""
    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
