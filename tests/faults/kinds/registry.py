"""Redis: the registry, and the queue of one machine."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import redis

from local.parts.ports import free_port
from testkit.servers.redis import RedisServer
from testkit.worlds.world import freeze, thaw, wait_until
from tests.faults.catalogue import FEW, LISTENERS, MANAGERS, SEEN_S, Scene, fault

if TYPE_CHECKING:
    from collections.abc import Iterator


@fault("Redis killed")
def _(scene: Scene) -> Iterator[str]:
    scene.world.redis.kill()
    scene.load.more(20)
    assert scene.answer("/metrics")[0] == 503, "rather no numbers than wrong ones"
    yield "gone, and /metrics says 503"
    scene.world.redis.start()


@fault("Redis restarted")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    scene.world.redis.stop()
    yield scene.logged(marks, '"part_away"')
    scene.world.redis.start()


@fault("Redis hung")
def _(scene: Scene) -> Iterator[str]:
    freeze(scene.world.redis)
    try:
        scene.is_away()
    finally:
        thaw(scene.world.redis)
    yield "readiness said so"


@fault("Redis' connections cut")
def _(scene: Scene) -> Iterator[str]:
    with scene.admin() as admin:
        cut = admin.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
    assert cut >= 4
    yield f"{cut} connections"


@fault("Redis' connections refused")
def _(scene: Scene) -> Iterator[str]:
    proxies = scene.proxies("redis", *MANAGERS, *LISTENERS)
    with scene.refused(proxies, '"part_away"', by=MANAGERS) as told:
        yield told


@fault("Redis' replies lost")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("redis", *MANAGERS, *LISTENERS), "lose", 10, share=0.05) as hits:
        yield f"{hits} replies"


@fault("Redis' replies never come")
def _(scene: Scene) -> Iterator[str]:
    """The connections stay open: all that wait run into a time-out."""
    marks = scene.marks(*MANAGERS)
    with scene.rule(scene.proxies("redis", *MANAGERS), "hold reply"):
        yield scene.logged(marks, '"part_away"')


@fault("Redis slow")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("redis", *MANAGERS, *LISTENERS), "slow", 60, delay_s=0.1) as hits:
        yield f"{hits} replies a tenth of a second late"


@fault("requests to Redis cut in halves")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("redis", *MANAGERS, *LISTENERS), "halve", 8, share=0.1) as hits:
        yield f"{hits} requests"


@fault("Redis out of memory")
def _(scene: Scene) -> Iterator[str]:
    with scene.admin() as admin:
        limit = admin.config_get("maxmemory")["maxmemory"]
        used = admin.info("memory")["used_memory"]
        admin.config_set("maxmemory", int(used * 0.9))
        with pytest.raises(redis.OutOfMemoryError) as refusal:
            admin.set("more", b"x")
        scene.load.more(60)
        admin.config_set("maxmemory", limit)
    yield str(refusal.value)[:40]


@fault("Redis without its replicas")
def _(scene: Scene) -> Iterator[str]:
    """It refuses to write, as a primary may that has lost them."""
    marks = scene.marks(*MANAGERS)
    with scene.admin() as admin:
        admin.config_set("min-replicas-to-write", 1)
        told = scene.logged(marks, "NOREPLICAS", '"part_away"')
        admin.config_set("min-replicas-to-write", 0)
    yield told


@fault("Redis made a replica")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    with scene.admin() as admin:
        # Of nobody: it keeps what it has, and refuses to write.
        admin.replicaof("127.0.0.1", free_port())
        told = scene.logged(marks, '"part_away"')
        admin.replicaof("NO", "ONE")
    yield told


@fault("Redis busy with a script")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    with scene.admin() as admin, scene.admin() as killer:
        admin.config_set("busy-reply-threshold", 50)
        connection = admin.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", "0")
        told = scene.logged(marks, '"part_away"')
        wait_until(lambda: _ends(killer), "the script is told to end", timeout=SEEN_S)
        with contextlib.suppress(redis.ResponseError):
            connection.read_response()  # it has ended
        connection.disconnect()
        killer.config_set("busy-reply-threshold", 5000)
    yield told


def _ends(admin: redis.Redis) -> bool:
    try:
        return bool(admin.script_kill())
    except redis.ResponseError:
        return False


@fault("Redis has forgotten the scripts")
def _(scene: Scene) -> Iterator[str]:
    with scene.admin() as admin:
        admin.script_flush()
        left = admin.info("memory")["number_of_cached_scripts"]
        wait_until(
            lambda: admin.info("memory")["number_of_cached_scripts"] >= 3, "they are sent again",
            timeout=SEEN_S,
        )  # fmt: skip
    yield f"{left} scripts left, then sent again"


@fault("Redis takes no more clients")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    with scene.admin() as admin:
        limit = admin.config_get("maxclients")["maxclients"]
        admin.ping()
        admin.config_set("maxclients", 1)
        admin.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        told = scene.logged(marks, '"part_away"')
        admin.config_set("maxclients", limit)
    yield told


@fault("Redis fails over as planned", alone=True)
def _(scene: Scene) -> Iterator[str]:
    """Clients that are connected to the old primary, now a replica, get READONLY."""
    with _Replica(scene) as replica:
        marks = scene.marks(*MANAGERS)
        with scene.admin() as admin:
            admin.execute_command("FAILOVER TO", "127.0.0.1", replica.port)
            wait_until(lambda: admin.role()[0] == b"slave", "it is a replica", timeout=SEEN_S)
        told = scene.logged(marks, '"part_away"')
        _turn(scene, replica.port)
        scene.comes_out()
        yield told
        _back(scene, replica)


@fault("Redis fails over and the tail is lost", alone=True)
def _(scene: Scene) -> Iterator[str]:
    """What managers did last is undone: they do it again, under the same message ids.

    The listeners queue nothing meanwhile, nor hear that they have: that would be lost with Redis'
    tail. Where the queue is another, what is committed last would not be done again, and so not be
    counted.
    """
    world = scene.world
    intake = scene.proxies("redis", *LISTENERS) + scene.proxies("sqs", *LISTENERS)
    with _Replica(scene) as replica, redis.Redis.from_url(replica.url) as follower:
        few = []
        if "redis-stream" in scene.back_ends:
            origin = world.new_origin()
            proxy = world.new_proxy(origin.port_number(), origin.host_name())
            proxy.begin("slow", delay_s=2.0)
            few = scene.few("cu-tail", origin, port=proxy.port())
            scene.hit([proxy], FEW)
        for proxy in intake:
            proxy.refuse()
        if not few:
            wait_until(
                lambda: not any(world.waiting().values()), "the queue is empty", timeout=SEEN_S
            )
        with scene.admin() as admin:
            assert admin.execute_command("WAIT", 1, 5000) == 1
            replica.pause()
            offset = admin.info("replication")["master_repl_offset"]
            scene.have_come_out(few)
            wait_until(
                lambda: admin.info("replication")["master_repl_offset"] > offset,
                "there is a tail", timeout=SEEN_S,
            )  # fmt: skip
            tail = admin.info("replication")["master_repl_offset"] - offset
        world.redis.kill()
        replica.resume()
        follower.replicaof("NO", "ONE")
        _turn(scene, replica.port)
        for proxy in intake:
            proxy.accept()
        scene.comes_out()
        yield f"{tail} bytes of commands lost"
        world.redis.start()
        _back(scene, replica)


class _Replica:
    """A replica that has all the primary has."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __enter__(self) -> RedisServer:
        world = self._scene.world
        self._server = RedisServer(
            world.directory / f"replica-{free_port()}", port=free_port(),
            options=("--maxmemory-policy", "noeviction"),
        )  # fmt: skip
        self._server.start()
        with redis.Redis.from_url(self._server.url) as admin:
            _follow(admin, world.redis.port)
        return self._server

    def __exit__(self, *_exception: object) -> None:
        self._server.stop()


def _follow(admin: redis.Redis, port: int) -> None:
    admin.replicaof("127.0.0.1", port)
    wait_until(
        lambda: admin.info("replication")["master_link_status"] == "up", "the replica follows",
        timeout=SEEN_S,
    )  # fmt: skip


def _turn(scene: Scene, port: int) -> None:
    for proxy in scene.proxies("redis"):
        proxy.turn_to(port)
        proxy.cut()


def _back(scene: Scene, replica: RedisServer) -> None:
    """Make the first server the primary again, with all that the other has."""
    with scene.admin() as admin, redis.Redis.from_url(replica.url) as other:
        _follow(admin, replica.port)
        other.execute_command("FAILOVER TO", "127.0.0.1", scene.world.redis.port)
        wait_until(lambda: admin.role()[0] == b"master", "it is the primary", timeout=SEEN_S)
    _turn(scene, scene.world.redis.port)
