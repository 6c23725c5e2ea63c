"""The smoke test against the cache on this machine, and against a Kubernetes API of the test's."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from deploy.environment import Environment
from deploy.session import DeployError, Session
from deploy.smoke.item import fetch, make_synthetic, read_announcement
from deploy.smoke.outside import check_broker, check_data, check_metrics, check_ready
from deploy.smoke.step import (
    SmokeTarget,
    check_downloads,
    check_policies,
    send_from_listener,
    smoke_test,
    target_of,
)
from local.parts.certificates import CertificateAuthority
from local.parts.mosquitto import CacheBroker, PublicBroker
from local.parts.nginx import Nginx
from testkit.deployment import chart
from testkit.messages.wnm import inline, integrity_of, unique_data_id, wnm
from testkit.worlds.world import BIN, CENTRE_ID, World, open_world
from tests.deployment.deployments import ACCOUNT, REGION
from tests.deployment.stand_ins import StandIns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEFAULT_DENY = "networkpolicy.networking.k8s.io/wis2-global-cache-default-deny\n"
REAL_TOPIC = "a/wis2/tt-smoke/data/core/weather/surface-based-observations/synop"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as world:
        yield world


def run(
    world: World, tmp_path: Path, item: str, *, timeout_s: float = 60.0, **changes: Any
) -> list[str]:
    """Run the smoke test, impatiently; return what it says."""
    lines: list[str] = []
    target = SmokeTarget(
        **{
            "namespace": "wis2-gc",
            "centre_id": CENTRE_ID,
            "metrics_url": f"http://127.0.0.1:{world.metrics_port}",
            "data_base_url": world.data_base_url,
            "broker_urls": (f"mqtt://everyone:everyone@127.0.0.1:{world.public_broker.port}",),
            **changes,
        }
    )
    opened = replace(session(world, tmp_path), say=lines.append)
    smoke_test(opened, target, item, [], patience_s=0.0, item_timeout_s=timeout_s)
    return lines


def session(
    world: World,
    tmp_path: Path,
    *,
    pods: str = "pod/wis2-listener-a-1\n",
    policies: str = "",
    broker: str = "service/wis2-global-cache-broker\n",
) -> Session:
    """Return a session whose kubectl runs on this machine what it should run in a pod."""
    programs = StandIns(tmp_path / "programs")
    programs.answer("kubectl", "get", "pod", out=pods)
    programs.answer("kubectl", "get", "--ignore-not-found", out=policies + broker)
    (programs.bin / "python").symlink_to(BIN / "python")
    programs.answer("kubectl", "exec", "-i", "--", run={"PATH": f"{BIN}:{programs.bin}"})
    return Session(
        environment=Environment("dev", tmp_path, ACCOUNT, REGION),
        variables={**world.environment, "PATH": str(programs.bin)},
        say=lambda _line: None,
    )


def test_a_cache_that_works_passes_with_an_item_sent_from_a_listeners_pod(
    world: World, tmp_path: Path
) -> None:
    lines = run(world, tmp_path, "synthetic")
    assert [line.split()[1] for line in lines] == [
        "metrics", "ready", "data", "broker", "policies", "downloads", "synthetic",
    ]  # fmt: skip
    assert all(line.startswith("ok  ") for line in lines)
    assert "bytes fetched" in lines[-1]


def test_without_a_running_listener_the_item_cannot_be_sent(world: World, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no listener runs"):
        send_from_listener(session(world, tmp_path, pods=""), "wis2-gc", "topic", b"{}")


def test_a_queue_that_does_not_answer_is_said(world: World, tmp_path: Path) -> None:
    opened = session(world, tmp_path)
    away = {**world.environment, "GC_REDIS_URL": "redis://127.0.0.1:1/0"}
    path = {"PATH": str(tmp_path / "programs/bin")}
    broken = Session(opened.environment, {**away, **path}, say=lambda _line: None)
    with pytest.raises(DeployError, match="a listener's pod cannot send: Unavailable: "):
        send_from_listener(broken, "wis2-gc", "topic", b"{}")


def policies(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, port: int
) -> str:
    """Look at the policies of a cluster in which a listener's pod is this machine."""
    monkeypatch.setattr("deploy.smoke.step._CLOSED", (host, str(port)))
    return check_policies(session(world, tmp_path, policies=DEFAULT_DENY), "wis2-gc")


def test_policies_that_are_not_enforced_are_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port answers, as it would through policies that a cluster took and ignores."""
    with pytest.raises(DeployError, match="network policies are not enforced"):
        policies(world, tmp_path, monkeypatch, "127.0.0.1", world.public_broker.port)


def test_policies_that_are_enforced_shut_a_listener_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that drops what comes, as policies do: its queue of connections is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        said = policies(world, tmp_path, monkeypatch, "127.0.0.1", full.getsockname()[1])
    assert "cannot reach" in said


@pytest.mark.parametrize(
    ("host", "why"),
    # Nobody listens there yet; or names cannot be looked up, as policies may have it.
    [("127.0.0.1", "ConnectionRefusedError"), ("no-such-host.invalid", "gaierror")],
)
def test_what_says_nothing_about_policies_is_told_with_its_reason(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, why: str
) -> None:
    with socket.socket() as bound:
        # Nobody listens there, and nobody else can.
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(DeployError, match=f"cannot tell .* {host}:{port}: {why}"):
            policies(world, tmp_path, monkeypatch, host, port)


def test_without_a_broker_of_ours_there_is_nothing_to_be_shut_out_of(
    world: World, tmp_path: Path
) -> None:
    opened = session(world, tmp_path, policies=DEFAULT_DENY, broker="")
    assert "broker.enabled is false" in check_policies(opened, "wis2-gc")


def test_without_policies_there_is_nothing_to_try(world: World, tmp_path: Path) -> None:
    assert "networkPolicy.enabled is false" in check_policies(session(world, tmp_path), "wis2-gc")


def test_a_managers_pod_fetches_over_http_on_another_port_and_over_ftp(
    world: World, tmp_path: Path
) -> None:
    opened = session(world, tmp_path, pods="pod/wis2-manager-1\n")
    port = f"127.0.0.1:{world.public_broker.port}"
    (tmp_path / "file").write_bytes(b"data")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with serving(handler) as web, ftp_server(tmp_path) as ftp:
        urls = [f"http://127.0.0.1:{web}/file", f"ftp://127.0.0.1:{ftp}/file"]
        said = check_downloads(opened, "wis2-gc", f"mqtts://{port}", urls)
        assert said == f"a manager's pod reaches {port} {' '.join(urls)}"
        for url in urls:
            with pytest.raises(DeployError, match=r"404|550"):
                check_downloads(opened, "wis2-gc", f"mqtts://{port}", [f"{url}.gone"])
    with pytest.raises(DeployError, match=f"does not reach 127.0.0.1:{web}: ConnectionRefused"):
        check_downloads(opened, "wis2-gc", f"mqtts://127.0.0.1:{web}", [])


def test_what_is_sent_is_a_notification_of_a_centre_that_cannot_be() -> None:
    notification = make_synthetic()
    assert notification.content is not None
    assert not notification.drops_content
    assert notification.integrity is not None
    assert notification.source_centre_id == "xx-smoke-test"
    assert notification.data_id != make_synthetic().data_id


@contextmanager
def publishing(world: World, make: Callable[[], tuple[str, dict[str, Any]]]) -> Iterator[None]:
    """Publish a new item every moment, as the world does."""
    ended = threading.Event()

    def publish() -> None:
        while not ended.wait(0.1):
            topic, message = make()
            world.publish(topic, message)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_in_production_the_next_real_item_is_taken(world: World, tmp_path: Path) -> None:
    def item() -> tuple[str, dict[str, Any]]:
        data = b"an observation"
        return f"origin/{REAL_TOPIC}", wnm(
            data_id=unique_data_id(), content=inline(data), integrity=integrity_of(data)
        )

    with publishing(world, item):
        lines = run(world, tmp_path, "live")
    assert lines[-1].startswith("ok  live item")
    assert "14 bytes fetched" in lines[-1]


def test_a_cache_that_announces_nothing_of_its_own_fails(world: World, tmp_path: Path) -> None:
    def uncached() -> tuple[str, dict[str, Any]]:
        return f"origin/{REAL_TOPIC}", wnm(data_id=unique_data_id(), cache=False)

    with (
        publishing(world, uncached),
        pytest.raises(DeployError, match="nothing of ours was announced"),
    ):
        run(world, tmp_path, "live", timeout_s=1.0)


def test_an_item_that_is_not_announced_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.smoke.step.send_from_listener", lambda *_args: None)
    with pytest.raises(DeployError, match=r"synthetic item: xx-smoke-test/.* was not announced"):
        run(world, tmp_path, "synthetic", timeout_s=0.5)


def test_another_caches_metrics_are_not_ours(world: World, tmp_path: Path) -> None:
    def item() -> tuple[str, dict[str, Any]]:
        return f"origin/{REAL_TOPIC}", wnm(data_id=unique_data_id(), content=inline(b"x"))

    world.publish(*item())
    world.settle()
    with pytest.raises(DeployError, match=f"metrics: .*reports for {CENTRE_ID}, not for yy-other"):
        run(world, tmp_path, "none", centre_id="yy-other-global-cache")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metrics_url": "http://127.0.0.1:1"}, "metrics: .*refused"),
        ({"broker_urls": ("mqtt://everyone:everyone@127.0.0.1:1",)}, "broker mqtt: .*refused"),
    ],
)
def test_what_cannot_be_reached_fails(
    world: World, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DeployError, match=problem):
        run(world, tmp_path, "none", **changes)


def test_a_wrong_account_is_refused_with_the_brokers_reason(world: World) -> None:
    with pytest.raises(DeployError, match="refuses the connection"):
        check_broker(f"mqtt://everyone:wrong@127.0.0.1:{world.public_broker.port}")


def test_a_broker_that_lets_everybody_in_fails(world: World, monkeypatch: Any) -> None:
    # No broker of ours can be made so; the URL with an account stands for the one without.
    url = f"mqtt://everyone:everyone@127.0.0.1:{world.public_broker.port}"
    real = check_broker.__globals__["subscription"]
    monkeypatch.setitem(
        check_broker.__globals__, "subscription", lambda _url, **options: real(url, **options)
    )
    with pytest.raises(DeployError, match="accepts connections without an account"):
        check_broker(url)


def test_a_data_server_that_lists_what_it_has_fails(world: World) -> None:
    class Listing(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

    with serving(Listing) as port, pytest.raises(DeployError, match="lists what is there"):
        check_data(f"http://127.0.0.1:{port}")


def announcement(world: World, **changes: Any) -> Any:
    message = wnm(
        data_id="d", href=changes.pop("href", f"{world.data_base_url}/nothing"),
        global_cache=changes.pop("global_cache", CENTRE_ID), **changes,
    )  # fmt: skip
    return read_announcement(f"cache/{REAL_TOPIC}", json.dumps(message).encode())


def test_an_object_that_is_not_as_announced_fails(world: World) -> None:
    path = world.store / "smoke" / "object.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"data")
    href = f"{world.data_base_url}/smoke/object.txt"

    def get(**changes: Any) -> bytes:
        return fetch(
            announcement(world, **{"href": href, **changes}),
            centre_id=CENTRE_ID, data_base_url=world.data_base_url,
        )  # fmt: skip

    assert get(length=4, integrity=integrity_of(b"data", "sha3-256", spelling="hex")) == b"data"
    for changes, problem in (
        ({"length": 5}, "4 bytes, 5 announced"),
        ({"integrity": integrity_of(b"dada")}, "checksum"),
        ({"integrity": {"method": "md0", "value": "x"}}, "checksum"),
        ({"href": f"{href}.gone"}, "answers 404"),
        ({"href": "https://elsewhere.example/object.txt"}, "is not under"),
        ({"global_cache": "yy-other-global-cache"}, "the copy of yy-other"),
    ):
        with pytest.raises(DeployError, match=problem):
            get(**changes)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'{"properties": 1}', b"\xff", b"{}"])
def test_strange_messages_are_passed_over(payload: bytes) -> None:
    assert read_announcement(f"cache/{REAL_TOPIC}", payload) is None


def test_certificates_are_verified_over_https_mqtts_and_wss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority(tmp_path / "tls")
    (tmp_path / "objects").mkdir()
    broker = PublicBroker(
        tmp_path / "broker", source=CacheBroker(tmp_path / "source"), authority=authority
    )
    nginx = Nginx(tmp_path / "nginx", root=tmp_path / "objects", authority=authority)
    broker.start()
    nginx.start()
    try:
        urls = (
            f"mqtts://everyone:everyone@localhost:{broker.tls_port}",
            f"wss://everyone:everyone@localhost:{broker.websocket_port}/mqtt",
        )
        data = f"https://localhost:{nginx.tls_port}/data"
        for url in urls:
            with pytest.raises(DeployError, match="CERTIFICATE_VERIFY_FAILED"):
                check_broker(url)
        with pytest.raises(DeployError, match="CERTIFICATE_VERIFY_FAILED"):
            check_data(data)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        for url in urls:
            assert "everyone may subscribe" in check_broker(url)
        assert "lists nothing" in check_data(data)
        with pytest.raises(DeployError, match=r"answers 404"):
            check_metrics(f"{data}/metrics", CENTRE_ID)
    finally:
        nginx.stop()
        broker.stop()


def test_terraform_tells_what_to_look_at() -> None:
    found = target_of({"namespace": "wis2-gc", "helm_values": chart.HELM_VALUES})
    assert found.metrics_url == "https://metrics.wis2.example.int"
    assert found.data_base_url == "https://data.wis2.example.int"
    assert found.broker_urls == (
        "mqtts://everyone:everyone@broker.wis2.example.int:8883",
        "wss://everyone:everyone@broker.wis2.example.int:443/mqtt",
    )
    plain = chart.HELM_VALUES | {"store": {"dataBaseUrl": "http://data.wis2.example.int"}}
    with pytest.raises(DeployError, match="is not https"):
        target_of({"namespace": "wis2-gc", "helm_values": plain})


def test_waiting_ends_with_the_first_success_or_with_what_was_the_matter_last(
    tmp_path: Path,
) -> None:
    waited: list[float] = []
    opened = Session(
        Environment("dev", tmp_path, ACCOUNT, REGION), {}, print,
        sleep=waited.append, now=lambda: sum(waited),
    )  # fmt: skip
    problems = iter(["first", "second", "third", "fourth", "fifth"])

    def check() -> str:
        raise DeployError(next(problems))

    with pytest.raises(DeployError, match=r"third \(waited 6 s\)"):
        opened.until(check, 6.0)
    assert waited == [3.0, 3.0]
    assert opened.until(lambda: next(problems), 0.0) == "fourth"


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def ftp_server(folder: Path) -> Iterator[int]:
    """An FTP server that lets in anybody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports asyncore
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(folder))
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    server, ended = FTPServer(("127.0.0.1", 0), handler), threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.serve_forever(timeout=0.02, blocking=False, handle_exit=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.address[1]
    finally:
        ended.set()
        thread.join()
        server.close_all()


def not_ready(*missing: str) -> type[http.server.BaseHTTPRequestHandler]:
    class NotReady(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            body = {"status": "unavailable", "missing": list(missing)}
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_args: Any) -> None:
            pass

    return NotReady


def test_a_global_broker_that_does_not_take_us_is_told_and_not_fatal() -> None:
    with serving(not_ready("listener fr is not subscribed")) as port:
        url = f"http://127.0.0.1:{port}/readyz"
        with pytest.raises(DeployError, match="listener fr is not subscribed"):
            check_ready(url)
        said = check_ready(url, is_last_look=True)
    assert "NOT SUBSCRIBED" in said
    assert "listener fr is not subscribed" in said


@pytest.mark.parametrize("line", ["no manager reports", "listener fr does not report"])
def test_what_is_missing_of_ours_is_fatal(line: str) -> None:
    handler = not_ready("listener br is not subscribed", line)
    with serving(handler) as port, pytest.raises(DeployError, match=line):
        check_ready(f"http://127.0.0.1:{port}/readyz", is_last_look=True)
