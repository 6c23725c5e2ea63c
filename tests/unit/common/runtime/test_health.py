from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from testkit.fakes.listener import wait_until
from wis2_gc_common.runtime.health import MAX_CONNECTIONS, HealthServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Probes:
    """What the two probes answer; a test changes it."""

    def __init__(self) -> None:
        self.problems = {"live": "", "ready": ""}

    def live(self) -> str:
        return self.problems["live"]

    def ready(self) -> str:
        return self.problems["ready"]


@contextmanager
def serving(probes: Any, host: str = "127.0.0.1") -> Iterator[HealthServer]:
    server = HealthServer(host, 0, live=probes.live, ready=probes.ready)
    try:
        yield server
    finally:
        server.close()


def get(
    server: HealthServer, path: str, *, host: str = "127.0.0.1", method: str = "GET"
) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "application/json"
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose=1"])
def test_a_service_that_is_well_says_so(path: str) -> None:
    with serving(Probes()) as server:
        assert get(server, path) == (200, {"status": "ok", "problem": ""})


@pytest.mark.parametrize(
    ("kind", "path", "other"), [("live", "/healthz", "/readyz"), ("ready", "/readyz", "/healthz")]
)
def test_a_problem_is_told_with_503_on_its_own_probe_only(kind: str, path: str, other: str) -> None:
    probes = Probes()
    probes.problems[kind] = "not subscribed yet"
    with serving(probes) as server:
        assert get(server, path) == (
            503,
            {"status": "unavailable", "problem": "not subscribed yet"},
        )
        assert get(server, other)[0] == 200


def test_the_answer_is_the_present_one() -> None:
    probes = Probes()
    with serving(probes) as server:
        assert get(server, "/readyz")[0] == 200
        probes.problems["ready"] = "gone"
        assert get(server, "/readyz")[0] == 503
        probes.problems["ready"] = ""
        assert get(server, "/readyz")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz/", "/../healthz"])
def test_there_is_nothing_else(path: str) -> None:
    with serving(Probes()) as server:
        assert get(server, path)[0] == 404


def test_a_probe_that_fails_is_a_problem_and_no_crash() -> None:
    class Broken(Probes):
        def live(self) -> str:
            raise RuntimeError("hung")

    with serving(Broken()) as server:
        status, body = get(server, "/healthz")
        assert status == 503
        assert "hung" in body["problem"]
        assert get(server, "/readyz")[0] == 200


def test_a_slow_probe_does_not_hold_up_the_other() -> None:
    release = threading.Event()

    class Slow(Probes):
        def ready(self) -> str:
            release.wait(30)
            return ""

    with serving(Slow()) as server:
        waiting = threading.Thread(target=get, args=(server, "/readyz"))
        waiting.start()
        try:
            assert get(server, "/healthz")[0] == 200
        finally:
            release.set()
            waiting.join()


def test_a_prober_that_hangs_up_leaves_no_traceback_between_the_log_lines(
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked, gone = threading.Event(), threading.Event()

    class Waiting(Probes):
        def live(self) -> str:
            asked.set()
            gone.wait(30)
            return "x" * 1_000_000

    with serving(Waiting()) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as prober:
            # Close with a reset, so that the answer cannot be written.
            prober.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            prober.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert asked.wait(30)
        gone.set()
        assert get(server, "/readyz")[0] == 200
    assert capfd.readouterr().err == ""


def test_it_may_listen_on_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(Probes(), "::1") as server:
        assert get(server, "/healthz", host="::1")[0] == 200


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with serving(Probes()) as server, pytest.raises(OSError, match="in use"):
        HealthServer("127.0.0.1", server.port, live=str, ready=str)


def test_after_close_nobody_listens() -> None:
    with serving(Probes()) as server:
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_half_sent_requests_keep_nobody_out() -> None:
    with serving(Probes()) as server:
        before = threading.active_count()
        with contextlib.ExitStack() as stack:
            held = []
            # No more than the kernel keeps for the server: what comes beside that is a second late.
            for _ in range(3 * MAX_CONNECTIONS):
                address = ("127.0.0.1", server.port)
                client = stack.enter_context(socket.create_connection(address, 10))
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
                held.append(client)
            assert get(server, "/healthz")[0] == 200
            # The oldest were shown the door; what they began is not served.
            with contextlib.suppress(ConnectionResetError):  # what was not read yet is thrown away
                assert held[0].recv(100) == b""
            most = before + MAX_CONNECTIONS + 10
            wait_until(lambda: threading.active_count() <= most, what="their threads have ended")
        wait_until(lambda: threading.active_count() <= before, what="all threads have ended")
