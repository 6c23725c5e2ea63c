"""Data servers of WIS2 Nodes: what they cost is counted to the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testkit.messages.wnm import encoded, integrity_of, utc_now, wnm
from testkit.servers.nodes import Answer
from tests.faults.catalogue import FEW, Scene, fault, href_of
from tests.faults.long_load import topic_of
from tests.faults.origins import CUT_SHORT, body_of
from tests.faults.proxy import reply_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER_CACHE = "zz-other-global-cache"


def fails_first(
    kind: str,
    centre_id: str,
    *answers: Answer,
    items: int = FEW,
    errors: int = FEW,
    failed_integrity: int = 0,
) -> None:
    """Each item fails so at first, and then does not."""

    @fault(f"an origin {kind}", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        origin = scene.world.new_origin()
        origin.fail_first(*answers)
        few = scene.few(
            centre_id, origin, items=items, errors=(errors, errors),
            failed_integrity=failed_integrity,
        )  # fmt: skip
        scene.have_come_out(few)
        assert origin.asked() >= items * (len(answers) + 1)
        yield f"{origin.asked()} requests for {items} items"


fails_first("answers 503", "fr-busy", Answer(status=503))
fails_first(
    "answers 500 twice", "fr-broken", Answer(status=500), Answer(status=500), items=2, errors=2
)
fails_first("answers 404 at first", "fr-late", Answer(status=404))
fails_first("throttles each item", "fr-throttles", Answer(status=429, headers={"Retry-After": "1"}))
fails_first("cuts bodies short", "fr-cuts", Answer(announced_length=CUT_SHORT))
fails_first(
    "sends wrong bytes", "fr-lies", Answer(body_of("lies", 3000)),
    errors=0, failed_integrity=FEW,
)  # fmt: skip


@fault("an origin throttles", alone=True)
def _(scene: Scene) -> Iterator[str]:
    """Who is told to come later has failed, once; who waits because of that has not."""
    origin = scene.world.new_origin()
    proxy = scene.world.new_proxy(origin.port_number(), origin.host_name())
    reply = reply_of("429 Too Many Requests\r\nRetry-After: 2", "text/plain", "later")
    proxy.begin("answer", reply=reply, most=1)
    told = scene.few("fr-throttles-one", origin, items=1, port=proxy.port(), errors=(1, 1))
    scene.hit([proxy])
    others = scene.few("fr-throttles-one", origin, items=2 * FEW, port=proxy.port())
    scene.have_come_out(told + others)
    yield f"1 of {1 + len(others)} items told to come later"


@fault("an origin slow")
def _(scene: Scene) -> Iterator[str]:
    origin = scene.world.new_origin()
    proxy = scene.world.new_proxy(origin.port_number(), origin.host_name())
    proxy.begin("slow", delay_s=1.5)
    few = scene.few("fr-slow", origin, port=proxy.port())
    hits = scene.hit([proxy], FEW // 2)
    yield f"{hits} answers late"
    scene.have_come_out(few)


def other_cache_helps(kind: str, centre_id: str, link: str, *answers: Answer) -> None:
    """The link never works; another Global Cache has a copy.

    `link`: `{port}` stands for the origin's port.
    """

    @fault(f"an origin {kind}", alone=True)
    def _(scene: Scene) -> Iterator[str]:
        broken, good = scene.world.new_origin(), scene.world.new_origin()
        broken.fail_first(*answers)
        scene.load.may_fail(centre_id, (FEW, FEW), 0)
        names = [scene.load.name() for _ in range(FEW)]
        begin = scene.failures(centre_id)
        times = {name: utc_now() for name in names}
        for name in names:
            body = body_of(name, 3000)
            href = link.format(port=broken.port_number(), host=broken.host_name(), name=name)
            scene.load.publish(
                centre_id, name, body, counted_for=OTHER_CACHE,
                href=href, pubtime=times[name], integrity=integrity_of(body),
            )  # fmt: skip
        scene.until(lambda: scene.failures(centre_id) >= begin + FEW, f"{FEW} failures are counted")
        for name in names:
            copy = wnm(
                data_id=name, href=href_of(good, name), pubtime=times[name],
                integrity=integrity_of(body_of(name, 3000)), global_cache=OTHER_CACHE,
            )  # fmt: skip
            scene.load.send(topic_of(centre_id, "cache"), encoded(copy))
        scene.have_come_out(names)
        counted = scene.failures(centre_id) - begin
        yield f"{counted:g} failures counted; another cache's copy was taken"


other_cache_helps("has no name in the DNS", "be-nameless", "http://gone.invalid/{name}?3000")
other_cache_helps("speaks no TLS", "be-plain", "https://{host}:{port}/{name}?3000")
other_cache_helps("is down", "be-down", "http://127.0.2.1:{port}/{name}?3000")
other_cache_helps(
    "says 404 for ever", "be-gone", "http://{host}:{port}/{name}?3000",
    *[Answer(status=404)] * 20,
)  # fmt: skip
