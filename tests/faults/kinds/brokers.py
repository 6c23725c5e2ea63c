"""Our own broker, and the Global Brokers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from testkit.worlds.world import freeze, thaw, wait_until
from tests.faults.catalogue import LISTENERS, MANAGERS, SEEN_S, Scene, fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.parts.mosquitto import Mosquitto

ANNOUNCEMENT = (b"cache/a/wis2",)


def save(broker: Mosquitto) -> None:
    """Have its sessions written down, as it does every half minute: then a kill keeps them."""
    file = broker.directory / "mosquitto.db"
    before = file.stat().st_mtime_ns if file.exists() else 0
    os.kill(broker.pid, signal.SIGUSR1)
    wait_until(
        lambda: file.exists() and file.stat().st_mtime_ns > before, "sessions are saved",
        timeout=SEEN_S,
    )  # fmt: skip


@fault("our broker restarted")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    scene.world.cache_broker.stop()
    yield scene.logged(marks, '"broker_lost"')
    scene.world.cache_broker.start()


@fault("our broker killed")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    broker, reader = scene.world.cache_broker, scene.world.relay
    save(broker)
    # A reader whose own acknowledgement finds no broker drops what it has not read.
    freeze(broker)
    scene.until(reader.has_read_all, "all is read that the managers were told is announced")
    broker.kill()
    yield scene.logged(marks, '"broker_lost"')
    broker.start()


@fault("our broker hung")
def _(scene: Scene) -> Iterator[str]:
    """Nothing comes out, nothing breaks: so it may be for as long as the keep-alive allows."""
    freeze(scene.world.cache_broker)
    try:
        scene.load.more(20)  # what it had sent is there by then
        before = scene.world.number_out()
        scene.load.more(60)
        assert scene.world.number_out() == before
    finally:
        thaw(scene.world.cache_broker)
    yield "nothing came out meanwhile"


@fault("our broker refuses connections")
def _(scene: Scene) -> Iterator[str]:
    with scene.refused(scene.proxies("broker"), '"broker_connect_failed"', by=MANAGERS) as told:
        yield told


@fault("our broker's connections cut")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*MANAGERS)
    cut = scene.cut("broker")
    told = scene.logged(marks, '"broker_lost"')
    yield f"{cut} connections, {told}"


@fault("our broker breaks in mid-announcement")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("broker"), "halve", 3, match=ANNOUNCEMENT, most=3) as hits:
        yield f"{hits} announcements cut in halves"


@fault("our broker's acknowledgements lost")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("broker"), "lose", 4, share=0.2, most=5) as hits:
        yield f"{hits} lost"


@fault("our broker slow")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("broker"), "slow", 8, delay_s=0.3) as hits:
        yield f"{hits} acknowledgements late"


@fault("a Global Broker restarted")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks("listener-a")
    scene.world.brokers["a"].stop()
    scene.comes_out(0)
    scene.world.brokers["a"].start()
    yield scene.logged(marks, '"broker_connected"')


@fault("a Global Broker killed with what it had queued")
def _(scene: Scene) -> Iterator[str]:
    """What it has not delivered comes over the other one."""
    world = scene.world
    save(world.brokers["b"])
    world.processes["listener-b"].pause()
    scene.load.more(60)
    world.brokers["b"].kill()
    world.processes["listener-b"].go_on()
    yield "60 notifications and more that listener-b had not read"
    world.brokers["b"].start()


@fault("a Global Broker hung")
def _(scene: Scene) -> Iterator[str]:
    """Items come over the other one, as far as the test's own publisher goes on."""
    freeze(scene.world.brokers["a"])
    try:
        scene.load.more(40)
        scene.comes_out()
    finally:
        thaw(scene.world.brokers["a"])
    yield "stopped; items came out over the other"


@fault("a Global Broker refuses connections")
def _(scene: Scene) -> Iterator[str]:
    with scene.refused(
        scene.proxies("broker-b"), '"broker_connection_failed"', by=("listener-b",)
    ) as told:
        yield told


@fault("both Global Brokers' connections cut")
def _(scene: Scene) -> Iterator[str]:
    marks = scene.marks(*LISTENERS)
    cut = scene.cut("broker-a") + scene.cut("broker-b")
    told = scene.logged(marks, '"broker_connection_failed"')
    yield f"{cut} connections, {told}"


@fault("a Global Broker's messages cut in halves")
def _(scene: Scene) -> Iterator[str]:
    """Our acknowledgements are: what was not acknowledged comes again."""
    with scene.rule(scene.proxies("broker-a"), "halve", 2, share=0.3, most=4) as hits:
        yield f"{hits} acknowledgements"


@fault("a Global Broker slow")
def _(scene: Scene) -> Iterator[str]:
    with scene.rule(scene.proxies("broker-b"), "slow", 8, delay_s=0.2) as hits:
        yield f"{hits} messages late"


@fault("a burst of notifications again")
def _(scene: Scene) -> Iterator[str]:
    """As after the restart of a Global Broker that repeats what it had."""
    again = list(scene.load.payloads)
    for _ in range(5):
        for topic, payload in again:
            scene.load.send(topic, payload)
    yield f"{5 * len(again)} sent again over each broker"
