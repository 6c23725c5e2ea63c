"""Links and messages of strangers: nothing stored, no forbidden connection, the others go on."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.nodes import Answer, Node
from tests.support.wnm import encoded, inline, unique_data_id, wnm
from tests.support.world import World, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tripwire(host: str = "127.0.0.2") -> Iterator[tuple[int, list[str]]]:
    """Listen where nobody may connect; yield the port and who came."""
    visitors: list[str] = []
    server = socket.create_server((host, 0))

    def accept() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            visitors.append(str(address))
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with closing(server):
        yield int(server.getsockname()[1]), visitors
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


# Only 127.0.0.1/32 is admitted in this world, so 127.0.0.2 is as forbidden as any private address.
@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.2:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://2130706434:{port}/",
        "http://0x7f000002:{port}/",
        "http://0177.0.0.2:{port}/",
        "http://127.2:{port}/",
        "HTTP://127.0.0.2:{port}/",
        "http://user:password@127.0.0.2:{port}/",
        "http://127.0.0.2.:{port}/",
        "ftp://127.0.0.2:{port}/a",
        "sftp://127.0.0.2:{port}/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://10.0.0.1/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0:{port}/",
        "http://[::]:{port}/",
        "http://[::1]:{port}/",
    ],
)
def test_forbidden_addresses_are_refused_and_counted(
    world: World, topic: str, centre: str, data_id: str, href: str
) -> None:
    with tripwire() as (port, visitors):
        world.publish(topic, wnm(data_id=data_id, href=href.format(port=port)))
        wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the refusal")
        world.settle(including_delayed=True)
        assert not visitors
    assert not world.announcements(data_id)


def test_a_redirect_to_a_forbidden_address_is_refused(
    world: World, node: Node, topic: str, centre: str, data_id: str
) -> None:
    with tripwire() as (port, visitors):
        target = {"Location": f"http://127.0.0.2:{port}/"}
        href = node.serve("/a", Answer(status=302, headers=target))
        world.publish(topic, wnm(data_id=data_id, href=href))
        wait_until(lambda: world.counters(centre) == {"downloaded_errors_total": 1}, "the refusal")
        world.settle(including_delayed=True)
        assert node.requests["/a"] >= 1
        assert not visitors
    assert not world.announcements(data_id)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"[" * 8000,
        b'{"a":' * 1500,
        b"NaN",
        b'{"type":"Feature"}',
        encoded(wnm(data_id="x" * 4000)),
        json.dumps({**wnm(data_id="a"), "links": []}).encode(),
        json.dumps({**wnm(data_id="a"), "properties": None}).encode(),
        encoded(wnm(data_id="nul\x00")),
        encoded(wnm(data_id="surrogate\ud800")),
        encoded(wnm(data_id="a", pubtime="yesterday")),
        encoded(wnm(data_id="a")).replace(b'"geometry"', b'"x":1e999,"geometry"'),
        encoded(wnm(data_id="a")).replace(b'"geometry"', b'"x":' + b"9" * 4000 + b',"geometry"'),
    ],
    ids=range(15),
)
def test_hostile_messages_are_counted_and_hold_up_nobody(
    world: World, topic: str, centre: str, payload: bytes
) -> None:
    def invalid() -> float:
        return sum(
            value
            for (name, labels), value in world.metrics().items()
            if name == "wis2_gc_notifications_dropped_total" and ("broker", "a") in labels
        )

    before = invalid()
    data_id = unique_data_id()
    world.publish(topic, payload)
    world.publish(topic, wnm(data_id=data_id, content=inline(b"x")))
    world.announced(data_id)
    wait_until(lambda: invalid() > before, "the drop is counted")


def test_hostile_file_names_stay_inside_the_store(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    name = "/..%2f..%2f..%2fetc%2f%00passwd%0d%0aX:%20y"
    node.answers[name] = [Answer(b"data")]
    world.publish(topic, wnm(data_id=data_id, href=f"http://127.0.0.1:{node.port}{name}"))
    href = world.announced(data_id).link()["href"]
    assert ".." not in href
    assert world.get(href)[2] == b"data"
