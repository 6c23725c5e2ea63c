"""The live summary line, from the metrics service's API."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT_S = 3.0
_PERCENTILES = ("p50_s", "p99_s")
#: What a narrow window leaves out, in this order.
_DISPENSABLE = ("duplicates", "cached", "received", "rate", "failed", "announced")


class SummaryReader:
    """Asks the metrics service once a second, in its own thread: only that thread may hang."""

    def __init__(
        self, base_url: str, *, columns: Callable[[], int | None], every_s: float = 1.0
    ) -> None:
        """`columns`: returns how long a line may be now."""
        self._url = f"{base_url}/api/summary"
        self._columns = columns
        self._every_s = every_s
        self._text = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="summary", daemon=True)
        self._thread.start()

    def text(self) -> str:
        """Return the newest line; "" before the first answer."""
        return self._text

    def close(self) -> None:
        """Stop asking."""
        self._stop.set()
        self._thread.join(_TIMEOUT_S + 1)

    def _run(self) -> None:
        # Use no proxy from the environment to reach this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not self._stop.wait(self._every_s):
            try:
                with opener.open(self._url, timeout=_TIMEOUT_S) as answer:
                    self._text = summary_line(json.load(answer), self._columns())
            except urllib.error.HTTPError as error:
                with error:
                    self._text = f"no numbers: the metrics service answers {error.code}"
            except (OSError, ValueError):
                if self._text:
                    self._text = "no numbers: the metrics service does not answer"


def summary_line(summary: dict[str, Any], columns: int | None = None) -> str:
    """Return one line from the answer of `/api/summary`, with as much as fits into `columns`.

    It always contains the delay.
    """
    totals = summary.get("totals") or {}
    recent = summary.get("recent") or {}
    delay = recent.get("delay") or summary.get("delay") or {}
    fields = {
        label: f"{label} {_count(totals.get(name))}"
        for label, name in (
            ("received", "received"),
            ("duplicates", "duplicates_dropped"),
            ("cached", "cached"),
            ("announced", "announced"),
            ("failed", "failed"),
        )
    }
    rate = recent.get("announced_per_s")
    if isinstance(rate, int | float):
        fields["rate"] = f"{rate:.1f}/s"
    p50, p99 = (_seconds(delay.get(name)) for name in _PERCENTILES)
    fields["delay"] = f"delay p50 {p50} p99 {p99}"
    for name in _DISPENSABLE:
        if columns is None or len("  ".join(fields.values())) <= columns:
            break
        fields.pop(name, None)
    return "  ".join(fields.values())


def _count(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else "-"


def _seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s"
