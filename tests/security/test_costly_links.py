"""Links and answers made to keep a parser busy, beside an innocent centre's items."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from testkit.messages import nasty_inputs
from testkit.messages.wnm import unique_data_id, wnm
from testkit.servers.nodes import Answer, Node
from testkit.worlds.world import wait_until
from wis2_gc_common.wis2.notification import MAX_NOTIFICATION_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testkit.worlds.world import World

EVIL = "origin/a/wis2/xx-evil/data/core/weather"
GOOD = "origin/a/wis2/ca-eccc-msc/data/core/weather"
DATA = b"d" * 5000
#: How often all of it is sent. The worst link alone once took half a second.
ROUNDS = 4


@contextlib.contextmanager
def a_node() -> Iterator[Node]:
    node = Node()
    try:
        yield node
    finally:
        node.close()


def hostile(node: Node) -> list[bytes]:
    """Payloads: costly links, the same where nothing is cached, costly redirects and headers."""
    links = nasty_inputs.links()
    payloads = list(nasty_inputs.messages().values())
    for number, href in enumerate(links.values()):
        try:
            location = href.encode("utf-8").decode("latin-1")
        except UnicodeEncodeError:
            continue
        if location.isprintable():
            answer = Answer(status=302, headers={"Location": location})
            payloads.append(_linked(node.serve(f"/redirect/{number}", answer)))
        payloads.append(_linked(href, cache=False))
    for number, value in enumerate(nasty_inputs.headers().values()):
        for name in ("Content-Type", "Content-Encoding"):
            answer = Answer(DATA, headers={name: value[:60_000]})
            payloads.append(_linked(node.serve(f"/{name}/{number}", answer)))
    return [payload for payload in payloads if 0 < len(payload) <= MAX_NOTIFICATION_BYTES]


def _linked(href: str, **properties: Any) -> bytes:
    message = wnm(data_id=unique_data_id("evil"), href=href, **properties)
    return json.dumps(message).encode()


def test_what_is_costly_to_read_holds_up_nobody(world: World) -> None:
    canaries = []
    with a_node() as evil, a_node() as good:
        for _ in range(ROUNDS):
            for number, payload in enumerate(hostile(evil)):
                world.publish(EVIL, payload)
                if number % 20 == 0:
                    data_id = unique_data_id("canary")
                    href = good.serve(f"/{data_id}", Answer(DATA))
                    world.publish(GOOD, wnm(data_id=data_id, href=href))
                    canaries.append(data_id)
        assert len(canaries) >= ROUNDS * 5
        for data_id in canaries:
            world.announced(data_id, timeout=60)
    # They are announced first, and counted then.
    wait_until(
        lambda: world.counters("ca-eccc-msc") == {"downloaded_total": len(canaries)},
        "all canaries are counted",
    )
