"""SQS. Of the queue in Redis, Redis' own faults are enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from testkit.worlds.world import freeze, thaw
from tests.faults.catalogue import LISTENERS, MANAGERS, Scene, fault
from tests.faults.proxy import reply_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Kind

WHO = (*LISTENERS, *MANAGERS)


@fault("SQS hung", only="sqs")
def _(scene: Scene) -> Iterator[str]:
    freeze(scene.world.sqs)
    try:
        scene.is_away()
    finally:
        thaw(scene.world.sqs)
    yield "readiness said so"


@fault("SQS refuses connections", only="sqs")
def _(scene: Scene) -> Iterator[str]:
    with scene.refused(scene.proxies("sqs", *WHO), '"part_away"', by=MANAGERS) as told:
        yield told


@fault("SQS' connections cut", only="sqs")
def _(scene: Scene) -> Iterator[str]:
    yield f"{scene.cut('sqs', *WHO)} connections"


def answers(what: str, status: str, kind: str, *match: str) -> None:
    body = json.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": "no"})
    reply = reply_of(status, "application/x-amz-json-1.0", body)

    @fault(f"SQS {what}", only="sqs")
    def _(scene: Scene) -> Iterator[str]:
        words = tuple(text.encode() for text in match)
        with scene.rule(scene.proxies("sqs", *WHO), "answer", 6, match=words, reply=reply) as hits:
            yield f"{hits} times {status}"


answers("throttles", "400 Bad Request", "RequestThrottled")
answers("has an internal error", "500 Internal Server Error", "InternalFailure")
answers("denies sending", "403 Forbidden", "AccessDeniedException", "AmazonSQS.SendMessage")


def with_rule(what: str, kind: Kind, times: int, *match: str, **options: Any) -> None:
    @fault(f"SQS {what}", only="sqs")
    def _(scene: Scene) -> Iterator[str]:
        words = tuple(text.encode() for text in match)
        with scene.rule(scene.proxies("sqs", *WHO), kind, times, match=words, **options) as hits:
            yield f"{hits} times"


with_rule("loses replies", "lose", 8, share=0.1)
with_rule("is slow", "slow", 10, delay_s=0.4)
with_rule("cuts requests in halves", "halve", 6, share=0.2)
with_rule("takes messages twice", "hold reply", 2, "AmazonSQS.SendMessage", most=2)
with_rule("delivers messages twice", "hold reply", 2, "AmazonSQS.ReceiveMessage", most=2)
with_rule("deletes messages unheard", "hold reply", 2, "AmazonSQS.DeleteMessage", most=2)
