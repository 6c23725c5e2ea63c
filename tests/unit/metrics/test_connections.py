"""The bounds on connections, on a uvicorn of our own with an application that says "well"."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from wis2_gc_metrics import connections
from wis2_gc_metrics.connections import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

WAIT_S = 20


async def application(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"well"})


@contextmanager
def serving() -> Iterator[int]:
    config = uvicorn.Config(
        application, http=BoundedProtocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(WAIT_S)


def get(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read()


def half_a_request(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), WAIT_S)
    client.sendall(b"GET / HTTP/1.1\r\nHost: ")
    return client


def answer(client: socket.socket) -> bytes:
    """Return the whole answer: its head and its body are sent one after the other."""
    received = b""
    while not received.endswith(b"well"):
        data = client.recv(1000)
        assert data, received
        received += data
    return received


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_half_sent_requests_keep_nobody_out() -> None:
    with serving() as port, contextlib.ExitStack() as stack:
        held = [stack.enter_context(half_a_request(port)) for _ in range(400)]
        assert get(port) == b"well"
        assert is_closed(held[0])
        # The newest were spared.
        held[-1].sendall(b"x\r\n\r\n")
        assert answer(held[-1]).startswith(b"HTTP/1.1 200")


def test_a_request_has_a_time_to_arrive_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as port:
        with monkeypatch.context() as patch:
            patch.setattr(connections, "REQUEST_TIMEOUT_S", 0.1)
            with half_a_request(port) as client:
                assert is_closed(client)
        assert get(port) == b"well"


def test_who_is_idle_between_two_requests_goes_before_who_comes_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    with serving() as port, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_S))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer(client).startswith(b"HTTP/1.1 200")
            clients.append(client)
        assert is_closed(clients[0])
        for client in clients[1:]:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer(client).startswith(b"HTTP/1.1 200")
