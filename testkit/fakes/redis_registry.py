"""A registry on a Redis of the test's own, and two looks at what it keeps.

Needs `testkit.servers.redis` for `redis_url`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis

from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator


class Service:
    """The registry and its reader, called without `await`."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.registry = RedisRegistry(url, retention_hours=24, lease_s=600)
        self.reader = RedisReader(url)
        self.listener = RedisListenerRegistry(url, retention_hours=24)
        self.raw = redis.Redis.from_url(url)

    def __call__(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    def close(self) -> None:
        self(self.registry.close())
        self(self.reader.close())
        self._runner.close()
        self.listener.close()
        self.raw.close()


@pytest.fixture
async def registry(redis_url: str) -> AsyncIterator[RedisRegistry]:
    registry = RedisRegistry(redis_url, retention_hours=24, lease_s=30)
    yield registry
    await registry.close()


@pytest.fixture
async def reader(redis_url: str) -> AsyncIterator[RedisReader]:
    reader = RedisReader(redis_url)
    yield reader
    await reader.close()


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()
