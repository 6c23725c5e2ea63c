from __future__ import annotations

from typing import TYPE_CHECKING

from local.parts.redis_server import RedisServer
from wis2_gc_common.settings.catalogue import REDIS_URL

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_evicted_and_every_change_is_appended(tmp_path: Path) -> None:
    lines = RedisServer(tmp_path).configuration().splitlines()
    assert "maxmemory-policy noeviction" in lines
    assert "appendonly yes" in lines
    assert "appendfsync everysec" in lines
    assert "bind 127.0.0.1" in lines


def test_the_url_is_a_setting_of_the_services_and_carries_the_password(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, port=26379, password="a/b")
    assert str(REDIS_URL.parse(server.url)) == "redis://:a%2Fb@127.0.0.1:26379/0"
    assert 'requirepass "a/b"' in server.configuration()
