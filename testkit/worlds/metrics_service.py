"""The command `wis2-gc-metrics`, running on a Redis of the test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CENTRE_ID = "xx-test-global-cache"
QUEUE = QueueUrl("redis-stream", "test-queue")
DEAD_LETTERS = QueueUrl("redis-stream", "test-dead")
BIN = Path(sys.executable).parent


def environment(redis_url: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GC_")}
    return kept | {
        "GC_CENTRE_ID": CENTRE_ID,
        "GC_REDIS_URL": redis_url,
        "GC_QUEUE_URL": f"redis-stream:{QUEUE.name}",
        "GC_DEAD_LETTER_QUEUE_URL": f"redis-stream:{DEAD_LETTERS.name}",
        "GC_HTTP_HOST": "127.0.0.1",
        "GC_HTTP_PORT": "0",
        "GC_LOG_FORMAT": "json",
        **more,
    }


class Service:
    """The running command; its log lines are kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._started = threading.Event()
        self.port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._started.wait(60), f"wis2-gc-metrics does not start: {self.lines}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            with suppress(ValueError):
                event = json.loads(line)
                if event["event"] == "metrics_started":
                    self.port = event["http_port"]
                    self._started.set()

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        self.process.send_signal(signal_number)
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return code

    def until(self, path: str, condition: Callable[[httpx.Response], bool]) -> httpx.Response:
        deadline = time.monotonic() + 60
        while True:
            answer = self.client.get(path)
            if condition(answer):
                return answer
            assert time.monotonic() < deadline, f"{path} stays {answer.status_code}: {answer.text}"
            time.sleep(0.05)


@contextmanager
def running(redis_url: str, **more: str) -> Iterator[Service]:
    process = subprocess.Popen(
        [BIN / "wis2-gc-metrics"],
        env=environment(redis_url, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        service = Service(process)
        try:
            yield service
        finally:
            service.client.close()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        assert process.stderr is not None
        process.stderr.close()
