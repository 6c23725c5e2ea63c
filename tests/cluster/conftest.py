"""Says loudly that there is no cluster; makes namespaces of the tests' own, and takes them away."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.cluster import kube

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> None:
    if problem := kube.why_not():
        bar = "!" * 78
        # Where it must run (REQUIRED=1), a cluster that is not there is an error.
        if os.environ.get("REQUIRED"):
            pytest.fail(problem, pytrace=False)
        pytest.skip(f"\n{bar}\nSKIPPED: {problem}\n{bar}")


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"wis2-gc-test-{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def namespace(prefix: str) -> Iterator[kube.Namespace]:
    found = kube.Namespace(prefix)
    found.create()
    yield found
    if not os.environ.get("KEEP"):
        found.delete()


@pytest.fixture(scope="module")
def world_namespace(prefix: str) -> Iterator[kube.Namespace]:
    found = kube.Namespace(f"{prefix}-world")
    found.create()
    yield found
    if not os.environ.get("KEEP"):
        found.delete()
