"""The judge of health: facts go in, a state and its reasons come out. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wis2_gc_common.errors import Unavailable
from wis2_gc_common.health.facts import Code, Health, HealthReason, State, ready_brokers
from wis2_gc_common.metrics import OTHER_CENTRES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wis2_gc_common.health.facts import Facts, Tally, Window
    from wis2_gc_common.ports.registry import ProcessStatus, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """From where on something is a reason."""

    min_queued: int = 10
    """Fewer items say nothing about announcements; fewer notifications nothing about a broker."""
    min_items: int = 20
    """Of fewer items no share is judged."""
    min_items_of_centre: int = 10
    max_centres: int = 10
    """That are named; the others are a number."""
    many_failures: float = 0.1
    most_fail: float = 0.5
    old_s: float = 120.0
    very_old_s: float = 600.0
    in_time: float = 0.95
    quiet_s: float = 600.0


#: Reasons that one reading does not show.
OVER_TIME = (
    Code.BROKER_SILENT,
    Code.NOTHING_RECEIVED,
    Code.ANNOUNCED_NOTHING,
    Code.MANY_FAILURES,
    Code.CENTRE_FAILS,
    Code.SLOW,
    Code.GIVEN_UP,
)

#: What a manager calls the parts it waits for, and what we say of each.
_PARTS = {
    "registry": (Code.REGISTRY_AWAY, "the registry does not answer"),
    "queue": (Code.QUEUE_AWAY, "the queue does not answer"),
    "store": (Code.STORE_AWAY, "the store takes no objects"),
    "broker": (Code.BROKER_AWAY, "our broker takes no announcements"),
    "public URL": (Code.PUBLIC_URL_FAILS, "our objects cannot be fetched under the public URL"),
}


def judge(facts: Facts, limits: HealthLimits | None = None) -> Health:
    """Return the state of the cache, and each reason why it is not well."""
    reasons = sorted(
        _reasons(facts, limits or HealthLimits()),
        key=lambda reason: (-reason.state.level, list(Code).index(reason.code)),
    )
    return Health(reasons[0].state if reasons else State.WELL, reasons)


def _reasons(facts: Facts, limits: HealthLimits) -> Iterator[HealthReason]:
    if isinstance(facts.registry, Unavailable):
        words = "the registry does not answer: nothing is taken in and nothing is announced"
        yield HealthReason(Code.REGISTRY_AWAY, State.DOWN, words, detail=facts.registry.detail)
        return
    managers = [p for p in facts.registry.processes if p.kind == "manager"]
    parts = [*_parts(managers, facts.depth)]
    yield from parts
    yield from _managers(managers, parts)
    yield from _listeners(facts, facts.registry)
    yield from _silence(facts, facts.registry, limits)
    yield from _queue(facts, limits)
    if facts.window is not None:
        yield from _announcements(facts.window, limits)
        yield from _failures(facts.window, limits)


# What managers say of our parts.


def _parts(managers: Sequence[ProcessStatus], depth: object) -> Iterator[HealthReason]:
    for part, (code, words) in _PARTS.items():
        away = {p.name: p.problems[part] or "away" for p in managers if part in p.problems}
        warned = away
        if code is Code.PUBLIC_URL_FAILS:
            seen = {p.name: str(p.facts.get("public_url_problem") or "") for p in managers}
            warned = {name: problem for name, problem in seen.items() if problem} | away
        if not warned:
            continue
        detail = "; ".join(sorted(set(warned.values())))
        if len(away) == len(managers):
            yield HealthReason(code, State.DOWN, f"{words}: all managers say so", detail=detail)
        else:
            names = ", ".join(sorted(warned))
            shown = f"{words}: {len(warned)} of {len(managers)} managers say so, {names}"
            yield HealthReason(code, State.DEGRADED, shown, names, detail)
    if isinstance(depth, Unavailable):
        works = any(p.is_ready for p in managers)
        state = State.DEGRADED if works else State.DOWN
        words = "the queue does not tell how much waits"
        shown = f"{words}; managers still receive" if works else words
        yield HealthReason(Code.QUEUE_AWAY, state, shown, detail=depth.detail)


def _managers(
    managers: Sequence[ProcessStatus], parts: Sequence[HealthReason]
) -> Iterator[HealthReason]:
    if not managers:
        yield HealthReason(Code.NO_MANAGER, State.DOWN, "no manager reports: nothing is announced")
    # If all wait for the same part, that part is the reason.
    elif not any(p.is_ready for p in managers) and all(r.state is not State.DOWN for r in parts):
        names = ", ".join(sorted(p.name for p in managers))
        yield HealthReason(Code.NO_MANAGER, State.DOWN, f"no manager receives: {names}")


# What listeners and Global Brokers do.


def _listeners(facts: Facts, snapshot: Snapshot) -> Iterator[HealthReason]:
    listeners = {p.name: p for p in snapshot.processes if p.kind == "listener"}
    known = listeners.keys() | (facts.window.ready_brokers if facts.window else ())
    expected = list(dict.fromkeys(facts.expected_brokers)) or sorted(known)
    missing = [name for name in expected if name not in listeners or not listeners[name].is_ready]
    if len(missing) == len(expected):
        shown = f": {', '.join(missing)}" if missing else ""
        words = f"no listener is subscribed to a Global Broker{shown}"
        details = {listeners[name].last_problem for name in missing if name in listeners}
        detail = "; ".join(sorted(details - {""}))
        yield HealthReason(Code.NO_LISTENER, State.DOWN, words, detail=detail)
        return
    for name in missing:
        reports = name in listeners
        what = "is not subscribed" if reports else "does not report"
        detail = listeners[name].last_problem if reports else ""
        words = f"the listener of {name} {what}; other Global Brokers bring the same"
        yield HealthReason(Code.LISTENER_MISSING, State.DEGRADED, words, name, detail)


def _silence(facts: Facts, snapshot: Snapshot, limits: HealthLimits) -> Iterator[HealthReason]:
    ready = ready_brokers(snapshot)
    if facts.window is not None:
        others = sum(facts.window.due.received.values())
        silent = (ready & facts.window.ready_brokers) - facts.window.counts.received.keys()
        for name in sorted(silent) if others >= limits.min_queued else ():
            minutes = _minutes(facts.window)
            words = f"{name} brought nothing for {minutes} while others brought {others}"
            yield HealthReason(Code.BROKER_SILENT, State.DEGRADED, words, name)
    if facts.quiet_s >= limits.quiet_s:
        words = f"no Global Broker brought anything for {facts.quiet_s / 60:.0f} minutes"
        state = State.DEGRADED if ready else State.DOWN
        yield HealthReason(Code.NOTHING_RECEIVED, state, words)


# What waits and what comes out.


def _queue(facts: Facts, limits: HealthLimits) -> Iterator[HealthReason]:
    depth = facts.depth
    if isinstance(depth, Unavailable) or depth.oldest_s is None:
        return
    age_s = depth.oldest_s
    is_very_old = age_s > limits.very_old_s
    # While most come out in time, one slow download is the oldest, or one centre's flood waits.
    in_time = _are_in_time(facts.window, limits)
    if is_very_old or (age_s > limits.old_s and depth.ready and in_time is not True):
        is_down = is_very_old and depth.ready > 0 and in_time is False
        words = f"the oldest item waits for {_age(age_s)} (in the queue: {depth.ready})"
        if depth.ready == 0:
            words = f"an item has been in work for {_age(age_s)}"
        yield HealthReason(Code.OLD_ITEMS, State.DOWN if is_down else State.DEGRADED, words)


def _age(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if math.isfinite(seconds) else "an unknown time"


def _are_in_time(window: Window | None, limits: HealthLimits) -> bool | None:
    """Whether the announcements of the window are in time; None if there are too few to say."""
    if window is None or window.counts.delays < limits.min_items:
        return None
    return window.counts.delays_in_time >= limits.in_time * window.counts.delays


def _announcements(window: Window, limits: HealthLimits) -> Iterator[HealthReason]:
    counts, minutes = window.counts, _minutes(window)
    due = window.due.queued - counts.dropped
    if due >= limits.min_queued and counts.announced == 0:
        words = f"{due} items were queued in {minutes}, and none was announced"
        yield HealthReason(Code.ANNOUNCED_NOTHING, State.DOWN, words)
    if _are_in_time(window, limits) is False:
        share = _percent(counts.delays_in_time, counts.delays)
        words = f"of what was announced in {minutes}, only {share} was within 2 minutes"
        yield HealthReason(Code.SLOW, State.DEGRADED, words)
    if counts.given_up_by_us:
        words = f"given up in {minutes} by a fault of ours: {counts.given_up_by_us}"
        yield HealthReason(Code.GIVEN_UP, State.DEGRADED, words)


def _failures(window: Window, limits: HealthLimits) -> Iterator[HealthReason]:
    counts, minutes = window.counts, _minutes(window)
    failed = sum(counts.failed.values())
    tried = failed + counts.announced
    if tried >= limits.min_items and failed > limits.many_failures * tried:
        # With one centre's flood of dead links the cache is not down.
        others = failed - max(counts.failed.values())
        is_down = others > limits.most_fail * (others + counts.announced)
        state = State.DOWN if is_down else State.DEGRADED
        come_out = f"{counts.announced} items were announced"
        words = f"{failed} notifications failed in {minutes}, {come_out}{_cause(counts)}"
        yield HealthReason(Code.MANY_FAILURES, state, words)
    failing = {
        centre: (lost, tried)
        for centre, lost in counts.failed.items()
        if (tried := lost + counts.cached.get(centre, 0)) >= limits.min_items_of_centre
        and lost > limits.most_fail * tried
    }
    worst = sorted(failing, key=lambda centre: (-failing[centre][0], centre))
    for centre in worst[: limits.max_centres]:
        lost, tried = failing[centre]
        name = "centres that are not listed" if centre == OTHER_CENTRES else centre
        # Attempts are counted by reason only: the reason is theirs if nobody else failed.
        cause = _cause(counts) if len(counts.failed) == 1 else ""
        come_out = f"{tried - lost} items were cached"
        words = f"{name}: {lost} notifications failed in {minutes}, {come_out}{cause}"
        yield HealthReason(Code.CENTRE_FAILS, State.DEGRADED, words, centre)
    if more := len(worst[limits.max_centres :]):
        words = f"more centres that fail in the same way: {more}; the fault may be ours"
        yield HealthReason(Code.CENTRE_FAILS, State.DEGRADED, words)


def _cause(counts: Tally) -> str:
    """Return the most frequent reason of failed attempts, as the end of a sentence."""
    if not counts.causes:
        return ""
    return f", most often: {max(sorted(counts.causes), key=lambda name: counts.causes[name])}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole} %"


def _minutes(window: Window) -> str:
    return f"{window.seconds / 60:.0f} minutes"
