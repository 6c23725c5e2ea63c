"""compose.yaml on a real engine: `make test-compose`. The tests go on from one another."""

from __future__ import annotations

import contextlib
import itertools
import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from testkit.deployment import compose
from testkit.deployment.containers import require_engine
from testkit.deployment.docker import DockerError, docker
from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.worlds.world import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.deployment.compose import ComposedCache, Reader

pytestmark = [
    pytest.mark.timeout(1800),
    # paho leaves the sockets of a connection that broke to the garbage.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOPIC = "origin/a/wis2/tt-compose/data/core/weather/surface-based-observations/synop"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposedCache]:
    require_engine()
    if why := compose.missing():
        assert "REQUIRED" not in os.environ, why
        pytest.skip(why)
    world = compose.ComposedCache(tmp_path_factory.mktemp("compose"), compose.others())
    try:
        world.up()
        yield world
    except BaseException:
        print(world.compose("logs", "--tail", "30"))  # noqa: T201
        raise
    finally:
        world.close()


@pytest.fixture(scope="module")
def reader(cache: ComposedCache) -> Reader:
    return cache.reader()


@pytest.fixture(scope="module")
def account(cache: ComposedCache) -> Reader:
    return cache.account()


_numbers = itertools.count()


def publish_one(cache: ComposedCache, *brokers: int) -> tuple[str, bytes]:
    """Publish an item, every third inside its notification; return its data_id and its data."""
    number = next(_numbers)
    data_id = unique_data_id("compose")
    body = os.urandom(200 if number % 3 == 0 else 85_000)
    inside: dict[str, Any] = {"content": inline(body)} if number % 3 == 0 else {}
    message = wnm(
        data_id=data_id,
        href=cache.node.serve(f"/{number}", body, host=cache.host),
        length=len(body),
        integrity=integrity_of(body),
        **inside,
    )
    cache.publish(TOPIC, message, *brokers)
    return data_id, body


def check(cache: ComposedCache, reader: Reader, items: list[tuple[str, bytes]]) -> None:
    """Each item came out, under one id, and is served as it was published."""
    for data_id, body in items:
        assert cache.get(reader.link(data_id)) == body
        assert len({message["id"] for message in reader.announced[data_id]}) == 1


def test_items_of_a_world_come_out_over_tls(
    cache: ComposedCache, reader: Reader, account: Reader
) -> None:
    websocket = cache.reader(is_websocket=True)
    items = [publish_one(cache) for _ in range(20)]
    for each in (reader, account, websocket):
        check(cache, each, items)
        assert reader.link(items[0][0]).startswith(f"https://{cache.host}:{cache.https_port}/data/")
    websocket.leave()
    wait_until(
        lambda: cache.counters("tt-compose").get("downloaded_total") == 20,
        "all are counted",
        timeout=120,
    )


def test_the_front_serves_objects_as_make_run_does(cache: ComposedCache, reader: Reader) -> None:
    data_id, body = publish_one(cache)
    url = reader.link(data_id)
    status, headers, got = cache.ask(url)
    assert (status, got) == (200, body)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["Content-Type"] == "application/bufr"
    assert "immutable" in headers["Cache-Control"]
    assert cache.ask(url, Range="bytes=2-5")[::2] == (206, body[2:6])
    for path in ("/data/", "/data", "/data/.incoming/x", "/data/none", "/nginx-health"):
        assert cache.ask(path)[0] == 404, path
    assert cache.ask(url, "POST")[0] == 405


def test_plain_http_leads_to_tls(cache: ComposedCache) -> None:
    status, headers, _ = cache.ask(f"http://{cache.host}:{cache.http_port}/data/x")
    assert (status, headers["Location"]) == (301, f"https://{cache.host}/data/x")


SECRETS = ("redis", "deployment", "manager", "bridge", f"accounts/{compose.ACCOUNT}")


@pytest.fixture(scope="module")
def secrets(cache: ComposedCache) -> dict[str, str]:
    return {name: cache.kept(name) for name in SECRETS}


def test_containers_may_do_nothing_they_need_not(
    cache: ComposedCache, secrets: dict[str, str]
) -> None:
    for name, one in cache.containers().items():
        host = one["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert any(o.startswith("no-new-privileges") for o in host["SecurityOpt"]), name
        assert one["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["Memory"] > 0, name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        environment = " ".join(one["Config"]["Env"])
        assert not [secret for secret in secrets.values() if secret in environment], name


def test_a_secret_is_in_the_containers_that_use_it_and_in_no_other(
    cache: ComposedCache, secrets: dict[str, str]
) -> None:
    holders = {
        "redis": {"redis", "listener-1", "listener-2", "manager", "metrics"},
        "deployment": {"listener-1", "listener-2", "manager"},
        "manager": {"manager"},
        "bridge": {"public-broker"},
        f"accounts/{compose.ACCOUNT}": set(),
    }
    found: dict[str, set[str]] = {secret: set() for secret in holders}
    for name in cache.containers():
        service = name.rpartition("-")[0]
        text = cache.compose(
            "exec", "-T", service, "sh", "-c", "find /run/secrets -type f | xargs cat"
        )
        for secret in holders:
            if secrets[secret] in text:
                found[secret].add(service)
    assert found == holders


def test_who_need_not_go_out_reaches_nobody_there(cache: ComposedCache) -> None:
    # Somebody beside those who go out, on the port that all services of ours listen on.
    stranger = docker(
        "run", "--detach", "--rm", "--network", f"{cache.project}_outside",
        "--entrypoint", "python", "wis2-gc-manager:compose", "-m", "http.server", "8080",
    )  # fmt: skip
    try:
        network = cache.inspect(stranger)[0]["NetworkSettings"]["Networks"]
        host = network[f"{cache.project}_outside"]["IPAddress"]
        ids = {name: one["Id"] for name, one in cache.containers().items()}

        def listens() -> bool:
            with contextlib.suppress(DockerError):  # the connection is refused until it does
                return cache.reaches(ids["manager-1"], host, 8080)
            return False

        wait_until(listens, "the stranger listens", timeout=120)
        reaching = {name for name, one in ids.items() if cache.reaches(one, host, 8080)}
    finally:
        docker("kill", stranger)
    assert reaching == {"manager-1", "manager-2", "listener-1-1", "listener-2-1"}


PARTS = ["listener-1-1", "manager-1", "metrics-1", "redis-1", "manager-2", "nginx-1",
         "public-broker-1", "listener-2-1"]  # fmt: skip


def _is_started_again(cache: ComposedCache, name: str, began: str) -> bool:
    container = cache.containers().get(name, {})
    return bool(container.get("State", {}).get("StartedAt", began) != began)


def _has_subscribed_again(reader: Reader, subscriptions: int) -> bool:
    return reader.subscriptions > subscriptions


def test_containers_killed_under_load_lose_nothing(
    cache: ComposedCache, reader: Reader, account: Reader
) -> None:
    items: list[tuple[str, bytes]] = []
    missed: list[tuple[str, bytes]] = []
    for victim in PARTS:
        began = cache.containers()[victim]["State"]["StartedAt"]
        subscribed = reader.subscriptions
        if victim == "public-broker-1":
            # What was held up by the parts before comes out while there is a public broker.
            # nginx, ended just before, serves again first: `check` fetches through it.
            cache.wait_until_ready()
            check(cache, reader, items)
        published = [publish_one(cache) for _ in range(15)]
        cache.kill(victim)
        published += [publish_one(cache) for _ in range(15)]
        # The public broker keeps nothing for who is not connected again yet (docs/reliability.md).
        (missed if victim == "public-broker-1" else items).extend(published)
        wait_until(
            partial(_is_started_again, cache, victim, began), f"{victim} is started again",
            timeout=120,
        )  # fmt: skip
        if victim == "public-broker-1":
            wait_until(
                partial(_has_subscribed_again, reader, subscribed), "the reader is there again",
                timeout=120,
            )  # fmt: skip
    cache.wait_until_ready()
    check(cache, account, items + missed)
    check(cache, reader, items)


def test_the_broker_killed_between_announcements_loses_nothing(
    cache: ComposedCache, reader: Reader, account: Reader
) -> None:
    # What it has acknowledged and not yet passed on is lost with it (docs/reliability.md).
    check(cache, account, [publish_one(cache)])
    cache.kill("broker-1")
    items = [publish_one(cache) for _ in range(20)]
    check(cache, account, items)
    check(cache, reader, items)


def test_new_images_keep_registry_store_and_sessions(
    cache: ComposedCache, reader: Reader, account: Reader
) -> None:
    before = publish_one(cache)
    check(cache, account, [before])
    counted = cache.counters("tt-compose")["downloaded_total"]
    account.leave()
    # It is away before the upgrade: what comes out meanwhile waits for it on the disk.
    missed = [publish_one(cache) for _ in range(10)]
    check(cache, reader, missed)
    ids = {name: one["Id"] for name, one in cache.containers().items()}
    for service in ("listener", "manager", "metrics"):
        compose.another(f"wis2-gc-{service}:{cache.settings['TAG']}")
    cache.settings["TAG"] = "upgraded"
    for setting, image in compose.others().items():
        cache.settings[setting] = compose.another(image)
    during = [publish_one(cache) for _ in range(10)]
    cache.up()
    during += [publish_one(cache) for _ in range(10)]
    assert not set(ids.values()) & {one["Id"] for one in cache.containers().values()}
    account.come_back()
    check(cache, account, [*missed, *during])
    wait_until(
        lambda: cache.counters("tt-compose")["downloaded_total"] == counted + 30,
        "the counters went on",
        timeout=120,
    )
    # Redis remembers: a repeat of what was done before the upgrade does not come out.
    cache.publish(TOPIC, wnm(data_id=before[0], href=cache.node.serve("/again", before[1])))
    after = publish_one(cache)
    check(cache, account, [after])
    assert len(account.announced[before[0]]) == 1


def test_a_third_global_broker_is_five_lines_and_touches_nothing_else(
    cache: ComposedCache, account: Reader
) -> None:
    ids = {name: one["Id"] for name, one in cache.containers().items()}
    url = cache.url(cache.brokers[2])
    (cache.directory / "compose.override.yaml").write_text(
        f"""\
services:
  listener-3:
    extends: {{file: compose.yaml, service: listener-1}}
    environment: {{GC_GLOBAL_BROKER_NAME: c, GC_GLOBAL_BROKER_URL: "{url}"}}
""",
        encoding="utf-8",
    )
    cache.up(listeners=3)
    now = {name: one["Id"] for name, one in cache.containers().items()}
    assert {name: now.get(name) for name in ids} == ids
    assert now.keys() - ids.keys() == {"listener-3-1"}
    check(cache, account, [publish_one(cache, 2)])


def test_another_account_is_one_word_and_restarts_the_broker_alone(cache: ComposedCache) -> None:
    ids = {name: one["Id"] for name, one in cache.containers().items()}
    cache.settings["BROKER_ACCOUNTS"] = f"{compose.ACCOUNT} gb-other"
    cache.up(listeners=3)
    now = {name: one["Id"] for name, one in cache.containers().items()}
    assert {name for name in ids if ids[name] != now[name]} == {"broker-1"}
    assert len(cache.kept("accounts/gb-other")) == 48


def _serves_another(cache: ComposedCache, port: int, certificate: str) -> bool:
    return served(cache, port) != certificate


def served(cache: ComposedCache, port: int) -> str:
    return ssl.get_server_certificate((cache.host, port), timeout=10)


def test_a_renewed_certificate_is_served_without_a_restart(
    cache: ComposedCache, account: Reader
) -> None:
    ports = (cache.https_port, cache.tls_port, cache.accounts_port)
    before = {port: served(cache, port) for port in ports}
    began = {name: one["State"]["StartedAt"] for name, one in cache.containers().items()}
    cache.renew_certificate()
    cache.compose("run", "--rm", "setup")
    cache.compose("kill", "--signal", "HUP", "nginx", "broker", "public-broker")
    for port in ports:
        wait_until(
            partial(_serves_another, cache, port, before[port]), f"port {port} has the new one",
            timeout=120,
        )  # fmt: skip
    assert began == {n: one["State"]["StartedAt"] for n, one in cache.containers().items()}
    check(cache, account, [publish_one(cache)])


def test_a_key_of_another_certificate_is_refused_and_the_old_pair_stays(
    cache: ComposedCache,
) -> None:
    before = served(cache, cache.https_port)
    key = cache.directory / "compose/tls/privkey.pem"
    old = key.read_bytes()
    cache.renew_certificate()
    key.write_bytes(old)
    with pytest.raises(DockerError, match=r"setup: compose/tls: fullchain\.pem and privkey\.pem"):
        cache.compose("run", "--rm", "setup")
    cache.compose("kill", "--signal", "HUP", "nginx")
    cache.wait_until_ready()
    assert served(cache, cache.https_port) == before
    cache.renew_certificate()


def test_down_keeps_the_data(cache: ComposedCache, account: Reader) -> None:
    before = cache.counters("tt-compose")["downloaded_total"]
    item = publish_one(cache)
    check(cache, account, [item])
    url = account.link(item[0])
    wait_until(
        lambda: cache.counters("tt-compose")["downloaded_total"] == before + 1,
        "it is counted",
        timeout=120,
    )
    counted = cache.counters("tt-compose")
    cache.compose("down")
    with pytest.raises(OSError, match="refused"):
        cache.get("/readyz")
    cache.up(listeners=3)
    assert cache.get(url) == item[1]
    assert cache.counters("tt-compose") == counted


def test_a_lost_registry_costs_a_second_announcement_under_the_same_id(
    cache: ComposedCache, account: Reader
) -> None:
    item = publish_one(cache)
    check(cache, account, [item])
    began = {name: one["State"]["StartedAt"] for name, one in cache.containers().items()}
    # `setup` has ended, and holds the volume all the same.
    cache.compose("rm", "--stop", "--force", "redis", "setup")
    docker("volume", "rm", f"{cache.project}_redis")
    cache.up(listeners=3)
    now = {name: one["State"]["StartedAt"] for name, one in cache.containers().items()}
    # Nobody had to be started again but Redis.
    assert {name for name in began if began[name] != now[name]} == {"redis-1"}
    message = wnm(data_id=item[0], href=cache.node.serve("/once-more", item[1], host=cache.host))
    pubtime = account.announced[item[0]][0]["properties"]["pubtime"]
    message["properties"]["pubtime"] = pubtime
    cache.publish(TOPIC, message)
    wait_until(lambda: len(account.announced[item[0]]) == 2, "it comes again", timeout=180)
    assert len({each["id"] for each in account.announced[item[0]]}) == 1
    check(cache, account, [publish_one(cache)])


def test_an_emptied_store_costs_what_was_in_it(cache: ComposedCache, account: Reader) -> None:
    item = publish_one(cache)
    check(cache, account, [item])
    cache.compose("exec", "-T", "manager", "find", "/srv/wis2/data", "-mindepth", "1", "-delete")
    items = [publish_one(cache) for _ in range(5)]
    check(cache, account, items)
    assert cache.ask(account.link(item[0]))[0] == 404
