"""The live summary line, from the metrics service's API."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT_S = 3.0
_PERCENTILES = ("p50_s", "p99_s")


class SummaryReader:
    """Asks the metrics service once a second, on a thread of its own: it may hang, we do not."""

    def __init__(self, base_url: str, *, every_s: float = 1.0) -> None:
        self._url = f"{base_url}/api/summary"
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
        # No proxy of the environment stands between us and this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not self._stop.wait(self._every_s):
            try:
                with opener.open(self._url, timeout=_TIMEOUT_S) as answer:
                    self._text = summary_line(json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    self._text = f"no numbers: the metrics service answers {error.code}"
            except (OSError, ValueError) as error:
                if self._text:
                    self._text = f"no numbers: {type(error).__name__}"


def summary_line(summary: dict[str, Any]) -> str:
    """Return one line of at most about 120 characters from the answer of `/api/summary`."""
    totals = summary.get("totals") or {}
    recent = summary.get("recent") or {}
    delay = recent.get("delay") or summary.get("delay") or {}
    numbers = "  ".join(
        f"{label} {_count(totals.get(name))}"
        for label, name in (
            ("received", "received"),
            ("duplicates", "duplicates_dropped"),
            ("cached", "cached"),
            ("announced", "announced"),
            ("failed", "failed"),
        )
    )
    rate = recent.get("announced_per_s")
    speed = f"  {rate:.1f}/s" if isinstance(rate, int | float) else ""
    p50, p99 = (_seconds(delay.get(name)) for name in _PERCENTILES)
    return f"{numbers}{speed}  delay p50 {p50} p99 {p99}"


def _count(value: object) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else "-"


def _seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s"
