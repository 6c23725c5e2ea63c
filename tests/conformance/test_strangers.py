"""Links and messages of strangers: nothing stored, no forbidden connection, the others go on."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from testkit.messages.wnm import encoded, inline, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import World, open_world, wait_until

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


@pytest.fixture(scope="module")
def strict_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cache to which no private address is admitted, as outside of tests."""
    with open_world(tmp_path_factory.mktemp("strict"), GC_ALLOWED_NETWORKS="") as world:
        yield world


def test_a_name_that_resolves_to_a_forbidden_address_is_refused(
    strict_world: World, topic: str, centre: str, data_id: str
) -> None:
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None)}
    except OSError:
        found = set()
    if "127.0.0.1" not in found:
        pytest.skip("this machine does not know localhost as 127.0.0.1 (/etc/hosts)")

    def refused() -> float:
        labels = frozenset({("reason", "forbidden_address")})
        return strict_world.metrics().get(("wis2_gc_source_failures_total", labels), 0)

    with tripwire("127.0.0.1") as (port, visitors):
        strict_world.publish(topic, wnm(data_id=data_id, href=f"http://localhost:{port}/"))
        wait_until(refused, "the refusal for the address")
        strict_world.settle(including_delayed=True)
        assert not visitors
    assert strict_world.counters(centre) == {"downloaded_errors_total": 1}
    assert not strict_world.announcements(data_id)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"\x00", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[" * 8000, "invalid_json"),
        (b'{"a":' * 1500, "invalid_json"),
        (b" " * 8193, "oversize"),
        (b"NaN", "invalid_json"),
        (b"[]", "not_a_feature"),
        (b'{"type":"Feature"}', "invalid_version"),
        (encoded(wnm(data_id="x" * 4000)), "invalid_data_id"),
        (encoded({**wnm(data_id="a"), "links": []}), "invalid_links"),
        (encoded({**wnm(data_id="a"), "properties": None}), "invalid_properties"),
        (encoded(wnm(data_id="nul\x00")), "invalid_data_id"),
        (encoded(wnm(data_id="surrogate\ud800")), "invalid_json"),
        (encoded(wnm(data_id="a", pubtime="yesterday")), "invalid_pubtime"),
        (encoded({**wnm(data_id="a"), "x": 0}).replace(b'"x": 0', b'"x":1e999'), "invalid_json"),
    ],
    ids=range(16),
)
def test_hostile_messages_are_counted_and_hold_up_nobody(
    world: World, topic: str, data_id: str, payload: bytes, reason: str
) -> None:
    labels = frozenset({("broker", "a"), ("reason", reason)})

    def dropped() -> float:
        return world.metrics().get(("wis2_gc_notifications_dropped_total", labels), 0)

    before = dropped()
    world.publish(topic, payload)
    world.publish(topic, wnm(data_id=data_id, content=inline(b"x")))
    world.announced(data_id)
    wait_until(lambda: dropped() == before + 1, f"the drop is counted as {reason}")


OLD_VERSION = {**wnm(data_id="a"), "version": "v03"}
del OLD_VERSION["conformsTo"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (OLD_VERSION, "invalid_version"),
        ({**wnm(data_id="a"), "conformsTo": ["http://example.org/"]}, "invalid_version"),
        ({**wnm(data_id="a"), "geometry": {"type": "MultiPoint", "coordinates": [[1, 2]]}},
         "invalid_geometry"),
        (wnm(data_id="a", start_datetime="2026-01-01T00:00:00Z",
             end_datetime="2026-01-02T00:00:00Z"), "invalid_datetime"),
        (wnm(data_id="a", metadata_id=7), "invalid_properties"),
        (wnm(data_id="a", media_type=7), "invalid_links"),
        (wnm(data_id="a", cache=False, integrity={"method": "SHA512", "value": "QUJD"}),
         "invalid_integrity"),
    ],
    ids=range(7),
)  # fmt: skip
def test_rule_23_what_the_schema_refuses_is_refused_with_its_reason(
    world: World, topic: str, centre: str, message: dict[str, Any], reason: str
) -> None:
    labels = frozenset({("broker", "a"), ("reason", reason)})

    def dropped() -> float:
        return world.metrics().get(("wis2_gc_notifications_dropped_total", labels), 0)

    before = dropped()
    world.publish(topic, message)
    wait_until(lambda: dropped() == before + 1, f"the drop is counted as {reason}")
    assert not world.wmo(centre)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"href": "file:///etc/shadow", "cache": False}, "unsupported_scheme"),
        ({"href": "javascript:alert(1)", "cache": False}, "unsupported_scheme"),
        ({"href": "http://169.254.169.254/latest/", "cache": False}, "forbidden_address"),
        ({"href": "http://0x7f000002/", "cache": False}, "forbidden_address"),
        ({"href": "http://10.0.0.1/a", "rel": "deletion"}, "forbidden_address"),
        ({"links": [{"rel": "canonical", "href": "https://example.org/a"},
                    {"rel": "via", "href": "javascript:alert(1)"}],
          "content": inline(b"x")}, "unsupported_scheme"),
        ({"links": [{"rel": "canonical", "href": "https://example.org/a"},
                    {"rel": "via", "href": "//169.254.169.254/"}],
          "cache": False}, "forbidden_address"),
    ],
    ids=range(7),
)  # fmt: skip
def test_rule_12_links_are_not_laundered(
    world: World, topic: str, centre: str, data_id: str, options: dict[str, Any], reason: str
) -> None:
    labels = frozenset({("reason", reason)})

    def dropped() -> float:
        return world.metrics().get(("wis2_gc_items_dropped_total", labels), 0)

    before = dropped()
    world.publish(topic, wnm(data_id=data_id, **options))
    wait_until(lambda: dropped() == before + 1, f"the drop is counted as {reason}")
    wait_until(
        lambda: [e for e in world.events if e.topic == f"monitor/a/wis2/{centre}"],
        "the centre is told",
    )
    world.settle()
    assert not world.announcements(data_id)
    assert not world.wmo(centre)


def test_rule_11_core_data_is_cached_although_a_link_beside_it_is_of_no_use(
    world: World, topic: str, data_id: str
) -> None:
    links = [
        {"rel": "canonical", "href": "https://example.org/a"},
        {"rel": "via", "href": "http://192.168.0.10/station"},
    ]
    world.publish(topic, wnm(data_id=data_id, links=links, content=inline(b"x")))
    assert world.announced(data_id).link("via")["href"] == "http://192.168.0.10/station"


def test_a_number_of_four_thousand_digits_is_copied_as_it_is(
    world: World, topic: str, data_id: str
) -> None:
    digits = b"9" * 4000
    message = encoded({**wnm(data_id=data_id, content=inline(b"x")), "x": 0})
    world.publish(topic, message.replace(b'"x": 0', b'"x":' + digits))
    assert digits in world.announced(data_id).payload


def test_hostile_file_names_stay_inside_the_store(
    world: World, node: Node, topic: str, data_id: str
) -> None:
    name = "/..%2f..%2f..%2fetc%2f%00passwd%0d%0aX:%20y"
    node.answers[name] = [Answer(b"data")]
    world.publish(topic, wnm(data_id=data_id, href=f"http://127.0.0.1:{node.port}{name}"))
    href = world.announced(data_id).link()["href"]
    assert ".." not in href
    assert world.get(href)[2] == b"data"
