"""The settings that every manager requires."""

from __future__ import annotations

REQUIRED = {
    "GC_CENTRE_ID": "xx-test-global-cache",
    "GC_REDIS_URL": "redis://:secret@redis.test/0",
    "GC_STORE_URL": "file:///srv/store",
    "GC_DATA_BASE_URL": "https://cache.test/data/",
    "GC_LOCAL_BROKER_URL": "mqtts://manager:secret@broker.test",
    "GC_DEPLOYMENT_SECRET": "0123456789abcdef",
}
