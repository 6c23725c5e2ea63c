"""Hostile MQTT clients, HTTP clients and Global Brokers, and an innocent centre's items beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testkit.hostile.all_kinds import CLIENTS, DELIVERIES, REQUESTS
from testkit.hostile.http_requests import OBJECT, SECRET_FILE, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.hostile.attacked import Attacked

pytest_plugins = ("testkit.hostile.fixture",)


@pytest.fixture(scope="module")
def bad_broker(attacked: Attacked) -> Iterator[None]:
    with attacked.a_bad_broker():
        yield


@pytest.fixture(scope="module")
def public_port(attacked: Attacked) -> int:
    """The port where our broker is everybody's."""
    port = attacked.world.public_broker.port
    attacked.watch(port, "everyone")
    return port


@pytest.mark.parametrize("kind", DELIVERIES)
def test_a_global_broker_harms_nobody(attacked: Attacked, bad_broker: None, kind: str) -> None:
    place = attacked.place(kind, list(DELIVERIES).index(kind))
    attacked.attack(DELIVERIES[kind](place), place.centre)


@pytest.mark.parametrize("kind", CLIENTS)
def test_an_mqtt_client_harms_nobody(attacked: Attacked, public_port: int, kind: str) -> None:
    pid = attacked.world.public_broker.pid
    before = attacked.published
    checks = [attacked.canary()]
    for client in CLIENTS[kind]():
        client.act(public_port)
    checks.append(attacked.canary())
    for check in checks:
        check()
    attacked.settle()
    # Nobody but us is heard: the canaries and the sentinels, each once.
    assert attacked.published - before == 2 * len(checks) + len(attacked.world.brokers)
    assert attacked.world.public_broker.is_running
    assert attacked.world.public_broker.pid == pid
    attacked.check_health()


@pytest.mark.parametrize("kind", REQUESTS)
def test_an_http_client_harms_nobody(attacked: Attacked, kind: str) -> None:
    world = attacked.world
    ports = {"nginx": world.nginx.port, "metrics": world.metrics_port}
    (world.store / ".secret").write_bytes(SECRET_FILE)
    for folder in {world.store.parent, world.directory, world.nginx.directory}:
        (folder / "secret").write_bytes(SECRET_FILE)
    check = attacked.canary()
    check()
    path = attacked.object_path(OBJECT)
    for request in REQUESTS[kind]():
        raw = request.raw.replace(b"{object}", path.encode())
        status, answer = ask(ports[request.server], raw)
        assert status in request.statuses, f"{request.server} answers {request.name} with {status}"
        assert SECRET_FILE not in answer, request.name
        assert b"evil.example" not in answer.partition(b"\r\n\r\n")[0], request.name
        assert b"Traceback" not in answer, request.name
    assert world.get(f"{world.data_base_url}/{path}")[2] == OBJECT
    again = attacked.canary()
    again()
    attacked.check_health()
