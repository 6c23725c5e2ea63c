from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from testkit.fakes.workloads import COMPLETE, FakeSource
from wis2_gc_common.errors import Misconfigured, Unavailable
from wis2_gc_metrics.rollouts import (
    ROLLOUTS_MAX_AGE_S,
    Rollouts,
    version_of,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_rollout_is_complete_when_every_wanted_pod_is_available_and_new() -> None:
    assert COMPLETE.is_complete
    assert replace(COMPLETE, desired=0, updated=0, ready=0, available=0, total=0).is_complete


@pytest.mark.parametrize(
    "change",
    [
        {"is_observed": False},
        {"updated": 2},
        {"total": 4},
        {"available": 2},
        {"desired": 4},
        {"updated": 0, "ready": 0, "available": 0, "total": 0},
    ],
)
def test_a_rollout_is_not_complete_while_anything_is_left_to_do(
    change: dict[str, Any],
) -> None:
    assert not replace(COMPLETE, **change).is_complete


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/emqx/emqx:5.8.9", "5.8.9"),
        ("1.dkr.ecr.eu-west-3.amazonaws.com/wis2/wis2-gc-manager@sha256:abc", "sha256:abc"),
        ("registry.example:5000/wis2/manager:1.2@sha256:abc", "sha256:abc"),
        ("registry.example:5000/wis2/manager", ""),
        ("", ""),
    ],
)
def test_a_version_is_a_tag_or_a_digest_and_names_no_registry(image: str, version: str) -> None:
    assert version_of(image) == version


async def test_workloads_come_by_name() -> None:
    source = FakeSource()
    source.content = [replace(COMPLETE, name=name) for name in ("c", "a", "b")]
    assert [load.name for load in await Rollouts(source).now()] == ["a", "b", "c"]


async def test_many_who_ask_share_one_look_for_some_seconds() -> None:
    source, clock = FakeSource(), Clock()
    rollouts = Rollouts(source, clock=clock)
    await asyncio.gather(*(rollouts.now() for _ in range(50)))
    clock.now_s += ROLLOUTS_MAX_AGE_S
    await rollouts.now()
    assert source.looks == 1
    clock.now_s += 0.1
    await rollouts.now()
    assert source.looks == 2


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("Kubernetes API", "no answer"),
        Misconfigured("Kubernetes API", "GC_KUBERNETES_CREDENTIALS", "403"),
    ],
)
async def test_a_failure_is_shared_kept_as_long_and_logged_once(
    error: Misconfigured | Unavailable,
) -> None:
    source, clock = FakeSource(), Clock()
    rollouts = Rollouts(source, clock=clock)
    source.error = error
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(5):
                with pytest.raises(type(error)) as raised:
                    await rollouts.now()
                assert raised.value.detail == error.detail
            clock.now_s += ROLLOUTS_MAX_AGE_S + 0.1
        assert source.looks == 3
        source.error = None
        assert list(await rollouts.now()) == [COMPLETE]
    events = [(entry["event"], entry.get("detail")) for entry in logs]
    assert events == [("rollouts_unavailable", error.detail), ("rollouts_available", None)]


async def test_closing_closes_the_source() -> None:
    source = FakeSource()
    await Rollouts(source).close()
    assert source.is_closed
