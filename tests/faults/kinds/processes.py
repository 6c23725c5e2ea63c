"""Our own processes: killed, hung, rolled out, and killed at a named step."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from testkit.servers.nodes import Answer
from testkit.worlds.world import wait_until
from tests.faults.catalogue import FEW, LISTENERS, MANAGERS, SEEN_S, Scene, fault
from tests.faults.long_load import LARGE
from wis2_gc_common.redis import queue_scripts as queue
from wis2_gc_common.redis import registry_scripts as registry
from wis2_gc_manager.store.keys import INCOMING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def killed(who: str, *names: str) -> None:
    @fault(f"{who} killed")
    def _(scene: Scene) -> Iterator[str]:
        for name in names:
            scene.world.processes[name].kill()
        assert not any(scene.world.processes[name].is_alive for name in names)
        scene.load.more(20)
        yield f"{' and '.join(names)} gone"
        for name in names:
            scene.world.processes[name].start()


def rolled_out(who: str, *names: str) -> None:
    @fault(f"{who} rolled out", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        for name in names:
            assert scene.world.processes[name].stop() == 0, "a stop is not a failure"
            scene.load.more(5)
            scene.world.processes[name].start()
        yield f"{' and '.join(names)} ended with 0"


def hung(who: str, name: str) -> None:
    @fault(f"{who} hung")
    def _(scene: Scene) -> Iterator[str]:
        process = scene.world.processes[name]
        process.pause()
        state = Path(f"/proc/{process.pid}/stat")
        scene.until(lambda: ") T " in state.read_text(), "it stands still")
        before = scene.load.names()
        scene.load.more(20)
        scene.have_come_out(before)
        yield f"{name} stopped; what had been published came out by others"
        process.go_on()


killed("manager", "manager-1")
killed("all managers", *MANAGERS)
killed("listener", "listener-a")
killed("all listeners", *LISTENERS)
killed("metrics", "metrics")
rolled_out("manager", "manager-2")
rolled_out("listener", "listener-b")
rolled_out("metrics", "metrics")
rolled_out("everything", *LISTENERS, *MANAGERS, "metrics")
hung("manager", "manager-2")
hung("listener", "listener-b")
hung("metrics", "metrics")


def killed_at(
    step: str,
    part: str,
    *match: str,
    who: tuple[str, ...] = MANAGERS,
    only: str = "",
    needs: Callable[[Scene], None] | None = None,
) -> None:
    """Kill who comes to a step: before it is done, or when it is and they do not know.

    `match`: what the step's request has in it. `needs`: makes it come.
    """
    words = tuple(text.encode() for text in match)
    for when in ("before", "after"):

        @fault(f"{who[0].partition('-')[0]} killed {when} {step}", only=only)
        def _(scene: Scene, when: str = when) -> Iterator[str]:
            proxies = {name: scene.world.proxies[name][part] for name in who}
            for proxy in proxies.values():
                proxy.begin("hold" if when == "before" else "hold reply", match=words)
            if needs is not None:
                needs(scene)
            wait_until(
                lambda: any(proxy.hits() for proxy in proxies.values()), step, timeout=SEEN_S
            )
            victims = [name for name, proxy in proxies.items() if proxy.hits()]
            for name in victims:
                scene.world.processes[name].kill()
            for proxy in proxies.values():
                proxy.calm()
            yield f"{' and '.join(victims)} gone there"
            for name in victims:
                scene.world.processes[name].start()


def items_that_fail(scene: Scene) -> None:
    origin = scene.world.new_origin()
    origin.fail_first(Answer(status=404))
    scene.few("cu-fails", origin, errors=(0, FEW))


def items_that_take_long(scene: Scene) -> None:
    """Longer than a third of the lease."""
    origin = scene.world.new_origin()
    proxy = scene.world.new_proxy(origin.port_number(), origin.host_name())
    proxy.begin("slow", delay_s=2.5)
    scene.few("cu-slow", origin, port=proxy.port())


killed_at("its claim", "redis", registry.CLAIM.sha, registry.CLAIM_WHEN_FULL.sha)
killed_at("its announcement", "broker", "cache/a/wis2")
killed_at("its commit", "redis", registry.COMMIT.sha)
killed_at("recording a failure", "redis", registry.FAIL.sha, needs=items_that_fail)
killed_at("releasing what failed", "redis", registry.RELEASE.sha, needs=items_that_fail)
killed_at("renewing a lease", "redis", registry.RENEW.sha, needs=items_that_take_long)
killed_at("its look", "redis", registry.LOOK.sha, who=LISTENERS[:1])
for step, script, who in (
    ("receiving", queue.RECEIVE, MANAGERS),
    ("deleting", queue.DELETE, MANAGERS),
    ("sending", queue.SEND, LISTENERS[:1]),
):
    killed_at(step, "redis", script.sha, who=who, only="redis-stream")
killed_at("putting back", "redis", queue.PUT_BACK.sha, only="redis-stream", needs=items_that_fail)
for step, action, who in (
    ("receiving", "ReceiveMessage", MANAGERS),
    ("deleting", "DeleteMessage", MANAGERS),
    ("sending", "SendMessage", LISTENERS[:1]),
):
    killed_at(f"{step} (SQS)", "sqs", f"AmazonSQS.{action}", who=who, only="sqs")
killed_at("its upload", "s3", "PUT /", only="s3")


@fault("listener killed before its acknowledgement")
def _(scene: Scene) -> Iterator[str]:
    proxy = scene.world.proxies["listener-b"]["broker-b"]
    proxy.begin("hold")
    scene.hit([proxy])
    scene.world.processes["listener-b"].kill()
    proxy.calm()
    yield "listener-b gone there"
    scene.world.processes["listener-b"].start()


@fault("managers killed while they download")
def _(scene: Scene) -> Iterator[str]:
    origin = scene.world.new_origin()
    proxy = scene.world.new_proxy(origin.port_number(), origin.host_name())
    proxy.begin("hold reply")
    few = scene.few("cu-downloads", origin, port=proxy.port())
    scene.hit([proxy], FEW // 2)
    for name in MANAGERS:
        scene.world.processes[name].kill()
    proxy.calm()
    yield "both managers gone in mid-download"
    for name in MANAGERS:
        scene.world.processes[name].start()
    scene.have_come_out(few)


@fault("managers killed while they write a large object", only="file")
def _(scene: Scene) -> Iterator[str]:
    incoming = scene.world.store / INCOMING
    before = set(incoming.iterdir())
    origin = scene.world.new_origin()
    proxy = scene.world.new_proxy(origin.port_number(), origin.host_name())
    # 64 kB at a time at most: it takes seven seconds, and others that are as large much less.
    proxy.begin("slow", delay_s=0.05)
    large = scene.few("cu-writes", origin, items=1, size=LARGE, port=proxy.port())

    def written() -> int:
        most = 0
        for file in set(incoming.iterdir()) - before:
            with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                most = max(most, file.stat().st_size)
        return most

    scene.hit([proxy], LARGE // 65536 // 4)
    scene.until(lambda: written() > LARGE // 10, "a part of it is on disk")
    for name in MANAGERS:
        scene.world.processes[name].kill()
    left = written()
    assert left, "it was killed in mid-write"
    proxy.calm()
    yield f"both managers gone with {left} bytes written"
    for name in MANAGERS:
        scene.world.processes[name].start()
    scene.have_come_out(large)
