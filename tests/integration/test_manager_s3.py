"""The manager with a bucket: what stops it at start, and what must never be announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.fakes.manager import BASE_URL, envelope_of
from testkit.servers.redis import require_redis
from testkit.servers.scripted_s3 import BUCKET, ScriptedS3, answers, damages
from testkit.servers.web_server import WebServer
from testkit.waiting import until
from testkit.worlds.managers import new_world, until_idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from testkit.servers.redis import RedisServer
    from testkit.worlds.managers import ManagersWorld

pytest_plugins = ("testkit.servers.redis",)

DATA = b"BUFR" * 5000
SECRET = "the-secret-of-this-test"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedS3]:
    server = ScriptedS3()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def world(tmp_path: Path, own_redis: RedisServer) -> Iterator[ManagersWorld]:
    require_redis()
    with new_world(tmp_path, own_redis) as world:
        yield world


def settings(server: ScriptedS3, **others: str) -> dict[str, str]:
    return {
        "GC_STORE_URL": f"s3://{BUCKET}/prefix",
        "AWS_ENDPOINT_URL_S3": server.url,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        **others,
    }


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"GC_STORE_URL": "s3://another-bucket"}, "GC_STORE_URL: bucket another-bucket at "),
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID: no AWS credentials are found"),
        ({"AWS_PROFILE": "none"}, "AWS_PROFILE: the AWS SDK's own settings are wrong"),
        (
            {"AWS_ENDPOINT_URL_S3": "https://a:b@host"},
            "AWS_ENDPOINT_URL_S3: requires http[s]://host",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "nowhere"},
            "AWS_REGION: 'nowhere' is not a region",
        ),
    ],
)
async def test_a_wrong_setting_ends_the_start_with_one_line_and_exit_code_2(
    world: ManagersWorld, server: ScriptedS3, others: dict[str, str], told: str
) -> None:
    manager = world.start(**settings(server, **others))
    await until(lambda: manager.process.poll() is not None)
    log = manager.log.read_text()
    assert manager.process.returncode == 2
    assert log.splitlines()[-1].startswith(f"wis2-gc-manager: {told}")
    assert "Traceback" not in log
    assert SECRET not in log


async def test_a_denied_action_ends_the_start_and_while_running_waits(
    world: ManagersWorld, server: ScriptedS3
) -> None:
    server.always = answers(403, "AccessDenied")
    manager = world.start(**settings(server))
    await until(lambda: manager.process.poll() is not None)
    assert manager.process.returncode == 2
    assert "s3:PutObject" in manager.log.read_text().splitlines()[-1]
    server.always = None
    manager = await world.start(**settings(server)).ready()
    server.always = answers(403, "AccessDenied")
    async with WebServer() as web:
        world.send(envelope_of(data_id="d", href=web.serve("/obs.bufr", DATA)))
        await manager.until_probe(503, "s3:PutObject")
        assert not world.announced
        server.always = None
        await until(lambda: world.announced)
    assert await manager.stop() == 0


async def test_damaged_data_are_not_announced_until_they_arrive_whole(
    world: ManagersWorld, server: ScriptedS3
) -> None:
    manager = await world.start(**settings(server)).ready()
    server.always = damages
    large = bytes(range(256)) * 40_000
    async with WebServer() as web:
        world.send(envelope_of(data_id="small", href=web.serve("/small.bufr", DATA)))
        world.send(envelope_of(data_id="large", href=web.serve("/large.bufr", large)))
        await manager.until_probe(503, "store away")
        assert not world.announced
        assert not [key for key in server.objects if "probe" not in key]
        server.always = None
        await until(lambda: len(world.announced) == 2)
        await until_idle(world)
    data = {message["properties"]["data_id"]: message for message in world.announced}
    for data_id, expected in (("small", DATA), ("large", large)):
        key = data[data_id]["links"][0]["href"].removeprefix(f"{BASE_URL}/")
        assert server.objects[f"prefix/{key}"].data == expected
    assert await manager.stop() == 0
    assert "Traceback" not in manager.log.read_text()
