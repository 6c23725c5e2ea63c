"""What the status page, `/api` and `/readyz` say of our problems: anybody may read them.

They use only our own words for each kind of problem. The details (addresses, paths, texts of
libraries) are in the logs, and in what `wis2-gc` shows the operator.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, get_args

from wis2_gc_common.errors import Part, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The only part of an item's error that is shown after its reason: the status that a server
#: answers.
_STATUS = re.compile(r"(?:status|FTP reply|SFTP status) \d{1,3}\b")
_REASONS = frozenset(Reason)
_PARTS = frozenset(get_args(Part))
_AWAY = "away"
_SEE_LOG = "a problem, see its log"
#: How the problems of a listener begin, and what we show instead.
_OF_LISTENERS = {
    "stopped": "stopped",
    "not connected yet": "not connected yet",
    "not subscribed yet": "not subscribed yet",
    "no connection": "no connection to the Global Broker",
    "TLS": "no TLS connection to the Global Broker",
    "refused by the broker": "refused by the Global Broker",
    "subscription refused": "subscription refused by the Global Broker",
    "disconnected by the broker": "disconnected by the Global Broker",
    "another client has taken our session over": "another client has taken our session over",
    "connected, but silent": "the Global Broker was silent",
    "the broker": "the Global Broker does not answer as it should",
    "the connection was lost": "the connection was lost",
    "the queue refuses": "the queue is full or throttled",
    "queue": "the queue is away",
    "registry": "the registry is away",
}


def public_error(error: str) -> str:
    """Return the reason of an item's error, with the server's status if it has one."""
    reason, _, detail = error.partition(": ")
    if reason not in _REASONS:
        return Reason.UNEXPECTED if error else ""
    status = _STATUS.match(detail)
    return f"{reason}: {status[0]}" if status else reason


def public_problems(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of ours that a manager waits for, each with its problem."""
    problems = facts.get("problems")
    return {part: _AWAY for part in problems if part in _PARTS} if problems else {}


def public_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a process says about itself, without what the public must not read.

    A listener's `broker` and `topics` stay: they belong to a Global Broker and are not secret.
    """
    return {
        name: shown for name, value in facts.items() if (shown := _shown(name, value)) is not None
    }


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if name in {"broker", "topics"}:
        return value
    if name == "problems":
        return public_problems({name: value})
    if name == "public_url_problem":
        return _SEE_LOG if value else ""
    if name == "last_problem":
        return _listener_problem(str(value))
    return None


def _listener_problem(problem: str) -> str:
    words = (words for start, words in _OF_LISTENERS.items() if problem.startswith(start))
    return next(words, _SEE_LOG if problem else "")
