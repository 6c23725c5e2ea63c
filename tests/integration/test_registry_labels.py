"""What strangers put into the labels of the metrics, on a real Redis."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from testkit.fakes.reader import WELL
from wis2_gc_common.errors import Reason
from wis2_gc_common.metrics import (
    DATASERVER_LAST_DOWNLOAD,
    DATASERVER_STATUS,
    DOWNLOADED,
    DOWNLOADED_ERRORS,
    INVALID,
    LAST_DOWNLOAD,
    OTHER_CENTRES,
    field,
)
from wis2_gc_common.ports.queue import Depth
from wis2_gc_common.ports.registry import Commit, Failure, Notice
from wis2_gc_common.redis import registry_keys as keys
from wis2_gc_common.redis.registry_manager import LABEL_DAYS, RedisRegistry
from wis2_gc_metrics.exposition import Reading, expose

if TYPE_CHECKING:
    import redis
    from redis.client import Redis

    from wis2_gc_common.redis.registry_reader import RedisReader

pytest_plugins = ("testkit.servers.redis", "testkit.fakes.redis_registry")

KNOWN = frozenset({"de-dwd", "fr-meteofrance"})
numbers = itertools.count(1)


async def done(registry: RedisRegistry, centre: str, host: str = "") -> None:
    number = next(numbers)
    notice = Notice(f"item-{number}", 1, "canonical", centre, f"id-{number}")
    claimed = await registry.claim(notice, owner="o", worker="w", attempt=number, source=b"s")
    assert claimed.lease is not None
    assert await registry.commit(claimed.lease, Commit("cached", centre, False, host, "key", 1))


async def failed(registry: RedisRegistry, centre: str, host: str, reason: str) -> None:
    number = next(numbers)
    notice = Notice(f"item-{number}", 1, "canonical", centre, f"id-{number}")
    claimed = await registry.claim(notice, owner="o", worker="w", attempt=number, source=b"s")
    assert claimed.lease is not None
    failure = Failure("download", notice.message_id, centre, host, reason)
    assert await registry.fail(claimed.lease, failure)


async def made_up(registry: RedisRegistry, number: int) -> None:
    await registry.count({field(INVALID, f"xx-{at}"): 1 for at in range(number)})


def centres(fields: object, metric: str) -> set[str]:
    assert hasattr(fields, "__iter__")
    return {name.split("|")[1] for name in fields if name.startswith(f"{metric}|")}


def age(raw: redis.Redis, *labels: str, days: int = LABEL_DAYS + 1) -> None:
    for label in labels:
        raw.hincrby(keys.SEEN, label, -days)


async def test_made_up_centres_do_not_take_the_labels_of_known_ones(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    await registry.keep_labels(KNOWN)
    await made_up(registry, 5000)
    await done(registry, "de-dwd", "opendata.dwd.de")
    snapshot = await reader.snapshot()
    assert snapshot.counters[field(DOWNLOADED, "de-dwd")] == 1
    assert snapshot.gauges[field(DATASERVER_STATUS, "de-dwd", "opendata.dwd.de")] == 1
    assert len(centres(snapshot.counters, INVALID.name)) == 101
    assert snapshot.counters[field(INVALID, OTHER_CENTRES)] == 4900


async def test_known_centres_have_labels_although_the_list_came_late(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    await made_up(registry, 5000)
    await done(registry, "de-dwd")
    assert field(DOWNLOADED, "de-dwd") not in (await reader.snapshot()).counters
    await registry.keep_labels(KNOWN)
    await done(registry, "de-dwd")
    assert (await reader.snapshot()).counters[field(DOWNLOADED, "de-dwd")] == 1


async def test_no_new_list_leaves_the_last_one(registry: RedisRegistry, raw: Redis) -> None:
    await registry.keep_labels(KNOWN)
    await registry.keep_labels(None)
    assert raw.smembers(keys.KNOWN) == KNOWN
    await registry.keep_labels({"jp-jma"})
    assert raw.smembers(keys.KNOWN) == {"jp-jma"}


async def test_a_failure_that_names_no_server_makes_no_label(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await failed(registry, "de-dwd", "", Reason.FORBIDDEN_PORT)
    assert set(raw.hgetall(keys.SEEN)) == {"de-dwd"}
    await failed(registry, "de-dwd", "opendata.dwd.de", Reason.TIMEOUT)
    snapshot = await reader.snapshot()
    assert list(snapshot.gauges) == [field(DATASERVER_STATUS, "de-dwd", "opendata.dwd.de")]
    assert snapshot.counters[field(DOWNLOADED_ERRORS, "de-dwd")] == 2


async def test_hosts_that_one_centre_makes_up_leave_room_for_others(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    await registry.keep_labels(KNOWN)
    for number in range(12):
        await done(registry, "xx-1", f"host-{number}.example")
    await done(registry, "de-dwd", "opendata.dwd.de")
    gauges = (await reader.snapshot()).gauges
    hosts = {name.split("|")[2] for name in gauges if name.startswith(f"{DATASERVER_STATUS.name}|")}
    made = {f"host-{number}.example" for number in range(10)}
    assert hosts == made | {"other", "opendata.dwd.de"}


async def test_a_data_server_that_nobody_has_seen_for_days_goes_away(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await done(registry, "de-dwd", "old.example")
    await done(registry, "de-dwd", "opendata.dwd.de")
    assert await registry.keep_labels(None) == 0
    age(raw, "de-dwd|old.example")
    assert await registry.keep_labels(None) == 1
    snapshot = await reader.snapshot()
    for metric in (DATASERVER_STATUS, DATASERVER_LAST_DOWNLOAD):
        assert field(metric, "de-dwd", "old.example") not in snapshot.gauges
        assert field(metric, "de-dwd", "opendata.dwd.de") in snapshot.gauges
    assert snapshot.counters[field(DOWNLOADED, "de-dwd")] == 2


async def test_who_is_seen_again_stays(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await done(registry, "de-dwd", "opendata.dwd.de")
    age(raw, "de-dwd", "de-dwd|opendata.dwd.de")
    await done(registry, "de-dwd", "opendata.dwd.de")
    assert await registry.keep_labels(None) == 0
    assert field(LAST_DOWNLOAD, "de-dwd") in (await reader.snapshot()).gauges


async def test_a_centre_that_comes_back_goes_on_counting_where_it_stood(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    for _ in range(3):
        await done(registry, "de-dwd", "opendata.dwd.de")
    age(raw, "de-dwd", "de-dwd|opendata.dwd.de")
    assert await registry.keep_labels(None) == 2
    gone = await reader.snapshot()
    assert "de-dwd" not in centres(gone.counters, DOWNLOADED.name)
    assert gone.gauges == {}
    await done(registry, "de-dwd")
    assert (await reader.snapshot()).counters[field(DOWNLOADED, "de-dwd")] == 4
    assert raw.hlen(keys.COLD) == 0


async def test_what_is_not_kept_aside_is_in_the_sum_of_the_others(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await done(registry, "de-dwd")
    raw.hset(keys.COLD, mapping={f"xx-{at}": "" for at in range(5000)})
    age(raw, "de-dwd")
    await registry.keep_labels(None)
    counters = (await reader.snapshot()).counters
    assert counters[field(DOWNLOADED, OTHER_CENTRES)] == 1
    assert field(DOWNLOADED, "de-dwd") not in counters


async def test_labels_that_went_make_room(
    registry: RedisRegistry, reader: RedisReader, raw: Redis
) -> None:
    await made_up(registry, 600)
    age(raw, *map(str, raw.hkeys(keys.SEEN)))
    assert await registry.keep_labels(None) == 600
    await done(registry, "de-dwd", "opendata.dwd.de")
    assert (await reader.snapshot()).counters[field(DOWNLOADED, "de-dwd")] == 1


async def test_the_metrics_stay_small_with_all_that_strangers_invent(
    registry: RedisRegistry, reader: RedisReader
) -> None:
    # Every label that is to be had, as long as it may be.
    for at in range(700):
        centre = f"xx-{at:03}-".ljust(64, "a")
        for host in (f"{at}a.".ljust(128, "h"), f"{at}b.".ljust(128, "h")):
            await done(registry, centre, host)
    reading = Reading(0.0, await reader.snapshot(), Depth(0, 0, 0, 0, 0.0))
    body, _ = expose(
        reading, WELL, report_by="xx-local-global-cache", expected_brokers=(), accept=""
    )
    series_of_a_centre = 5 / 12
    fields = [*reading.snapshot.counters, *reading.snapshot.gauges]
    assert len({name.split("|")[1] for name in fields if "|" in name} - {"other", "cached"}) == 600
    of_hosts = sum(len(line) for line in body.splitlines() if b"dataserver=" in line)
    assert of_hosts + (len(body) - of_hosts) / series_of_a_centre < 2_000_000
