"""What all four commands do at start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["wis2-gc-listener"], ["wis2-gc-manager"], ["wis2-gc-metrics"], ["wis2-gc", "check"]],
    ids=lambda command: command[0],
)
def test_a_misspelt_setting_is_warned_of_in_one_line(command: list[str], tmp_path: Path) -> None:
    # Its port taken, a service ends right after its start; Redis is not there.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ours = {
            "GC_CENTRE_ID": "xx-test-global-cache",
            "GC_REDIS_URL": "redis://127.0.0.1:1/0",
            "GC_STORE_URL": tmp_path.as_uri(),
            "GC_DATA_BASE_URL": "http://127.0.0.1/data",
            "GC_LOCAL_BROKER_URL": "mqtt://a:b@127.0.0.1:1",
            "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
            "GC_GLOBAL_BROKER_URL": "mqtt://a:b@127.0.0.1:1",
            "GC_GLOBAL_BROKER_NAME": "fr",
            "GC_HTTP_HOST": "127.0.0.1",
            "GC_HTTP_PORT": str(taken.getsockname()[1]),
            "GC_LOG_FORMAT": "json",
            "GC_RETENTION_HOUR": "48",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("GC_")}
        ended = subprocess.run(
            [BIN / command[0], *command[1:]],
            env={**inherited, **ours},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode in (1, 2)
    lines = [line for line in ended.stderr.splitlines() if "GC_RETENTION_HOUR" in line]
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert (event["level"], event["event"]) == ("warning", "unknown_settings")
    assert event["variables"] == ["GC_RETENTION_HOUR"]
