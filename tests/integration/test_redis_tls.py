"""`rediss://user:password@host`, as ElastiCache requires it, for all that speaks with Redis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
import trustme

from testkit.servers.redis import RedisServer, require_redis
from testkit.waiting import until
from wis2_gc_common.errors import Misconfigured
from wis2_gc_common.open_queue import open_dead_letters, open_queue, open_sender
from wis2_gc_common.redis.registry_listener import RedisListenerRegistry
from wis2_gc_common.redis.registry_manager import RedisRegistry
from wis2_gc_common.redis.registry_reader import RedisReader
from wis2_gc_common.settings.values import QueueUrl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

QUEUE, DEAD = QueueUrl("redis-stream", "notifications"), QueueUrl("redis-stream", "dead-letters")
LOGIN = "cache:s3cret-right"


@dataclass(frozen=True)
class Server:
    """One that speaks TLS as `localhost`, to one user."""

    port: int
    ca_file: Path

    def url(self, login: str = LOGIN, *, host: str = "localhost", query: str = "") -> str:
        trusted = query or f"ssl_ca_certs={self.ca_file}"
        return f"rediss://{login}@{host}:{self.port}/0?{trusted}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_redis()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    directory = tmp_path_factory.mktemp("tls")  # all a server in a container sees
    ca_file, cert_file, key_file = (directory / f"{name}.pem" for name in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(str(ca_file))
    certificate.cert_chain_pems[0].write_to_path(str(cert_file))
    certificate.private_key_pem.write_to_path(str(key_file))
    redis_server = RedisServer(directory).start()
    with redis.Redis.from_url(redis_server.url) as admin:
        name, _, password = LOGIN.partition(":")
        admin.execute_command("ACL SETUSER", name, "on", f">{password}", "~*", "&*", "+@all")
        admin.execute_command(
            "ACL SETUSER", "reader", "on", ">s3cret-read", "~*", "+@read", "+time"
        )
        files = ("tls-cert-file", cert_file, "tls-key-file", key_file, "tls-ca-cert-file", ca_file)
        admin.config_set(*map(str, files), "tls-auth-clients", "no")
        # The system picks no `tls-port`, so the plain one is handed over.
        admin.config_set("port", 0, "tls-port", redis_server.port)
        admin.execute_command("ACL SETUSER", "default", "off")
    yield Server(redis_server.port, ca_file)
    redis_server.stop()


def has_connection(url: str) -> bool:
    """Whether this process has a connection to the server that it has not closed."""
    port = urlsplit(url).port
    return any(one.raddr[1:] == (port,) for one in psutil.Process().net_connections("tcp"))


async def calls(url: str) -> dict[str, BaseException | None]:
    """Make one call of everything that speaks with Redis; return how each failed, if it did."""
    registry = RedisRegistry(url, retention_hours=24, lease_s=30)
    reader = RedisReader(url)
    listener = RedisListenerRegistry(url, retention_hours=24)
    sender = open_sender(QUEUE, redis_url=url, max_length=1)
    queue = open_queue(QUEUE, DEAD, redis_url=url, consumer="one", visibility_s=60)
    letters = open_dead_letters(QUEUE, DEAD, redis_url=url)
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "registry": registry.ping,
        "reader": reader.snapshot,
        "listener": lambda: asyncio.to_thread(listener.look, [], deletions={}),
        "sender": lambda: asyncio.to_thread(sender.check),
        "queue, receiving": lambda: queue.receive(1, wait_s=0),
        "queue, all else": queue.depth,
        "dead letters": lambda: asyncio.to_thread(letters.redrive),
    }
    failed: dict[str, BaseException | None] = {}
    for name, step in steps.items():
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            failed[name] = error
        else:
            failed[name] = None
    await queue.close()
    sender.close()
    letters.close()
    listener.close()
    await reader.close()
    await registry.close()
    # redis-py does not wait for the end of a TLS connection that was refused; a loop that ends
    # before leaves it to the garbage collector, which warns in the test that runs then.
    await until(lambda: not has_connection(url))
    return failed


async def test_user_and_password_over_a_verified_connection_are_let_in(server: Server) -> None:
    failed = await calls(server.url())
    assert len(failed) == 7
    assert not any(failed.values())


@pytest.mark.parametrize(
    ("host", "query", "verdict"),
    [
        ("localhost", "db=0", "self-signed certificate"),
        ("localhost", "ssl_cert_reqs=none&ssl_check_hostname=false", "self-signed certificate"),
        ("127.0.0.1", "", "not valid for '127.0.0.1'"),
        ("127.0.0.1", "ssl_ca_certs={ca}&ssl_check_hostname=false", "not valid for '127.0.0.1'"),
    ],
)
async def test_certificate_and_name_are_verified_with_every_url(
    server: Server, host: str, query: str, verdict: str
) -> None:
    url = server.url(host=host, query=query.format(ca=server.ca_file))
    for name, error in (await calls(url)).items():
        assert isinstance(error, Misconfigured), name
        assert error.variable == "GC_REDIS_URL"
        assert verdict in error.detail, name
        assert "check the host in the URL" in error.detail
        assert "s3cret" not in str(error)


@pytest.mark.parametrize("login", ["cache:s3cret-wrong", "nobody:s3cret-right", ""])
async def test_a_wrong_user_or_password_is_a_wrong_setting_that_is_not_shown(
    server: Server, login: str
) -> None:
    for name, error in (await calls(server.url(login).replace("//@", "//"))).items():
        assert isinstance(error, Misconfigured), (name, error)
        assert error.detail == "Redis refuses us; check user and password in the URL"


async def test_a_user_who_may_not_write_is_told_so(server: Server) -> None:
    failed = await calls(server.url("reader:s3cret-read"))
    error = failed["registry"]
    assert isinstance(error, Misconfigured)
    assert "check its access rules" in error.detail
    assert "s3cret" not in str(error)
