"""Whether the cache as a whole is ready (`/readyz`). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wis2_gc_metrics.public_text import public_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wis2_gc_common.ports.registry import ProcessStatus


def missing_parts(
    processes: Sequence[ProcessStatus], *, expected_brokers: Sequence[str]
) -> list[str]:
    """Return what is missing, one line each; empty: the cache is ready.

    Ready means that every expected listener is subscribed and that a manager receives. Without
    `expected_brokers` all listeners that report are expected, and at least one.
    """
    listeners = {p.name: p.is_ready for p in processes if p.kind == "listener"}
    expected = list(expected_brokers) or sorted(listeners)
    missing = [_listener_line(name, listeners.get(name)) for name in expected]
    if not expected:
        missing.append("no listener reports")
    managers = [p for p in processes if p.kind == "manager"]
    if not managers:
        missing.append("no manager reports")
    elif not any(p.is_ready for p in managers):
        missing.append(_managers_line(managers))
    return [line for line in missing if line]


def _managers_line(managers: Sequence[ProcessStatus]) -> str:
    """Return one line: the managers' names, then each of their problems once."""
    line = f"no manager receives: {', '.join(sorted(p.name for p in managers))}"
    problems = {
        f"{part}: {problem}" for p in managers for part, problem in public_problems(p.facts).items()
    }
    return f"{line} ({'; '.join(sorted(problems))})" if problems else line


def _listener_line(name: str, is_ready: bool | None) -> str:
    if is_ready is None:
        return f"listener {name} does not report"
    return "" if is_ready else f"listener {name} is not subscribed"
