"""A registry on a Redis of the test's own, and two looks at what it keeps.

Needs `testkit.servers.redis` for `redis_url`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def registry(redis_url: str) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry.connect(redis_url, retention_hours=24, lease_s=30)
    yield registry
    await registry.close()


@pytest.fixture
async def reader(redis_url: str) -> AsyncIterator[RedisReader]:
    reader = RedisReader.connect(redis_url)
    yield reader
    await reader.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()
