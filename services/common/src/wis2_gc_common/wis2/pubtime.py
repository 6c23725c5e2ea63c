"""RFC 3339 times as integers (wis2-rules.md 6): compared as nanoseconds, never as strings."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wis2_gc_common.errors import Poison, Reason

_NS = 1_000_000_000
NS_PER_MS = 1_000_000
#: Publishers also write `+00:00` for `Z`, other offsets, a `:` before the fraction
#: (wis2-rules.md W3).
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})"
    r"(?:[.:,](\d{1,9}))?(?:[Zz]|([+-])(\d{2}):?(\d{2}))",
    re.ASCII,
)
_LEAP_SECOND = 60
_CYCLE_S = 146_097 * 86_400
_LAST_SECOND = 253_402_300_799


def parse_pubtime(text: str) -> int:
    """Return nanoseconds since 1970-01-01 UTC, exact to 9 fraction digits.

    Raises Poison(INVALID_PUBTIME): not an RFC 3339 time at or after 1970.
    Source: wis2-rules.md 6.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise Poison(Reason.INVALID_PUBTIME, text[:64])
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    # A computer's clock has no leap second: it is the first second of the next minute.
    leap = second == _LEAP_SECOND
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError as error:
        raise Poison(Reason.INVALID_PUBTIME, text[:64]) from error
    seconds = int(moment.timestamp()) + leap
    if match[8] is not None:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:  # noqa: PLR2004 - the clock's own numbers
            raise Poison(Reason.INVALID_PUBTIME, text[:64])
        offset = hours * 3600 + minutes * 60
        seconds += -offset if match[8] == "+" else offset
    nanoseconds = seconds * _NS + int((match[7] or "").ljust(9, "0"))
    if nanoseconds < 0:
        raise Poison(Reason.INVALID_PUBTIME, text[:64])
    return nanoseconds


def format_pubtime(pubtime_ns: int) -> str:
    """Return nanoseconds since 1970-01-01 UTC as RFC 3339 text, with as many digits as needed.

    The reverse of `parse_pubtime`, also for the hours around the end of the year 9999 that offsets
    and leap seconds can reach.
    """
    seconds, fraction = divmod(pubtime_ns, _NS)
    # The calendar repeats after 400 years; Python's ends with the year 9999.
    cycles = 0
    if seconds > _LAST_SECOND:
        cycles, seconds = divmod(seconds, _CYCLE_S)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{moment.year + 400 * cycles:04}{moment:-%m-%dT%H:%M:%S}{digits}Z"


def format_seconds(at_s: float) -> str:
    """Return seconds since 1970 as RFC 3339 text, to the millisecond."""
    return format_pubtime(max(0, round(at_s * 1000)) * 1_000_000)
