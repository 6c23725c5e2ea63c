"""The generated nginx configuration, read by a real nginx."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from wis2_gc_common.wis2.media_type import (
    DEFAULT_MEDIA_TYPE,
    nginx_try_files,
    nginx_types,
    suffix_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    NGINX is None and not os.environ.get("CI"), reason="nginx is not installed"
)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket: no port to pick, none to lose to somebody else."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@pytest.fixture(scope="module")
def nginx() -> Iterator[tuple[Path, Path]]:
    """Serve a directory; yield (directory, Unix socket)."""
    assert NGINX is not None
    with tempfile.TemporaryDirectory() as folder:  # a short path: a socket's has a limit
        place = Path(folder)
        root = place / "data"
        root.mkdir()
        config = place / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            f"""{user} daemon off; pid {place}/pid; error_log {place}/error.log;
            events {{ worker_connections 64; }}
            http {{
              access_log off; default_type {DEFAULT_MEDIA_TYPE}; types {{ {nginx_types()} }}
              client_body_temp_path {place}/a; proxy_temp_path {place}/b;
              fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
              server {{
                listen unix:{place}/socket; root {root};
                location / {{ try_files {nginx_try_files()} =404; }}
              }}
            }}"""
        )
        process = subprocess.Popen([NGINX, "-p", str(place), "-c", str(config)])
        try:
            wait_until_listening(place / "socket", process)
            yield root, place / "socket"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_listening(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx refused the configuration"
        connection = UnixConnection(path)
        try:
            connection.connect()
        except OSError:
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
    raise TimeoutError("nginx does not listen")


def get(path: Path, target: str) -> tuple[int, bytes, str | None]:
    connection = UnixConnection(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Content-Type")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        ("application/bufr", "A_ISIA21EIDB202100"),
        ("application/bufr", "A.bufr"),
        ("application/bufr", "A.GRIB2"),
        ("application/x-grib2", "field.grib2"),
        ("application/octet-stream", "index.html"),
        ("application/octet-stream", "map.svg"),
        ("application/octet-stream", "values.json"),
        ("application/octet-stream", "plain"),
        ("text/plain", "index.html"),
        ("application/geo+json", "record.json"),
        ("application/json", "a b@c=d,e.x"),
        ("application/vnd.google-earth.kmz", "name."),
    ],
)
def test_a_stored_object_is_served_under_its_plain_name_with_its_announced_type(
    nginx: tuple[Path, Path], media_type: str, name: str
) -> None:
    root, server = nginx
    path = root / f"{media_type}-{name}".replace("/", "-") / name
    path.parent.mkdir()
    path.with_name(name + suffix_for(media_type, name)).write_bytes(b"data")
    target = quote(f"/{path.parent.name}/{name}")
    assert get(server, target) == (200, b"data", media_type)


def test_what_is_not_there_is_not_found(nginx: tuple[Path, Path]) -> None:
    _, server = nginx
    assert get(server, "/nothing.bufr")[0] == 404
