"""The cache in pods under load: nothing is lost or doubled by what happens to its pods.

The steps follow each other, items come all the time, and the last step counts. What a step rolls,
and why, is told and compared with what it has to roll.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import RELEASE, Installation, setting
from tests.cluster.kube import CommandFailed, rolled, run, say, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.kube import Manifest, Namespace

pytestmark = pytest.mark.timeout(3500)
#: The variable RATE: less for a machine that has little time.
_ITEMS_A_SECOND = float(setting("RATE", "8"))
_ITEMS = 2000
#: The services: pods that keep nothing, so that they may end without a word.
_STATELESS = ("listener", "manager", "metrics", "store")


@pytest.fixture(scope="module")
def nodes(namespace: Namespace) -> list[str]:
    """Names of the nodes that take pods."""
    return [
        node["metadata"]["name"]
        for node in namespace.get("nodes")
        if not any(
            taint["effect"] != "PreferNoSchedule" for taint in node["spec"].get("taints", [])
        )
    ]


@pytest.fixture(scope="module")
def installation(
    namespace: Namespace, world_namespace: Namespace, nodes: list[str]
) -> Installation:
    made = Installation(namespace, world_namespace, nodes[-1])
    made.install()
    return made


def _settle(installation: Installation) -> None:
    """Publish no more, and wait until all that was published is announced."""
    installation.publish(0)
    with contextlib.suppress(AssertionError):  # the count is what fails
        wait_until(lambda: not installation.report()["missing"], "all items are announced")


def test_items_are_announced_once(installation: Installation) -> None:
    installation.publish(_ITEMS_A_SECOND)
    wait_until(lambda: installation.report()["published"] >= 200, "200 items are published")
    _settle(installation)
    _assert_once(installation)


class Steps:
    """Does one thing after the other, and tells what each of them rolled."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._cache = installation.cache

    @contextlib.contextmanager
    def step(self, name: str, *, rolls: set[str] | None = None) -> Iterator[None]:
        """What the body does rolls these parts, and no others; None: it does not matter."""
        begun, before = time.monotonic(), self._installation.report()["published"]
        templates, taken = self._cache.templates(), self._installation.sessions_taken()
        yield
        self._cache.wait_for_rollouts()
        why = rolled(templates, self._cache.templates())
        # Each step has items of its own.
        wait_until(lambda: self._installation.report()["published"] >= before + 50, "50 more items")
        report = self._installation.report()
        say(
            f"{name}: {time.monotonic() - begun:.0f} s, {report['published'] - before} items; "
            f"announced {report['announced']} of {report['published']}, "
            f"doubled {len(report['doubled'])}, repeated {report['repeated']}, "
            f"sessions taken {self._installation.sessions_taken() - taken}"
        )
        for part, fields in why.items():
            say(f"    {part}: {', '.join(fields)}")
        if rolls is not None:
            assert set(why) == {part.format(RELEASE) for part in rolls}, name

    def restart_each_part(self) -> None:
        for part in self._cache.templates():
            with self.step(f"restart {part}"):
                self._cache.kubectl("rollout", "restart", part)

    def change_configuration(self) -> None:
        with self.step("a setting of the managers", rolls={"Deployment/{}-manager"}):
            self._installation.upgrade({"manager": {"settings": {"GC_CONCURRENCY": 128}}})

    def change_secret(self) -> None:
        with self.step("a login of one Global Broker", rolls={"Deployment/{}-listener-b"}):
            self._installation.write_global_broker_secret("b", "another")
            self._installation.upgrade()

    def add_and_remove_a_broker(self) -> None:
        of = self._installation.global_broker
        with self.step("one more Global Broker", rolls={"Deployment/{}-listener-c"}):
            self._installation.upgrade({"brokers": [of("a"), of("b"), of("c")]})
        # From here on one of the Global Brokers is away: nothing waits for it.
        self._installation.write_global_broker_secret("away", "everyone")
        both = {"Deployment/{}-listener-c", "Deployment/{}-listener-away"}
        with self.step("that one taken away, and one added that does not answer", rolls=both):
            self._installation.upgrade({"brokers": [of("a"), of("b"), of("away")]})

    def upgrade_and_roll_back(self) -> None:
        before = self._cache.templates()
        services = {p for p in before if p.split("-")[1] in ("listener", "manager", "metrics")}
        with self.step("an upgrade of the services", rolls=services):
            change = {"image": {"tag": setting("NEXT_TAG", setting("TAG"))}}
            levels = {s: {"settings": {"GC_LOG_LEVEL": "debug"}} for s in _STATELESS[:3]}
            self._installation.upgrade({**change, **levels})
        with self.step("the way back", rolls=services):
            self._installation.roll_back()
        assert rolled(before, self._cache.templates()) == {}

    def upgrade_to_what_cannot_be_pulled(self) -> None:
        """What ran runs on, whole, until somebody goes back."""
        with self.step("images that cannot be pulled, and the way back", rolls=set()):
            with pytest.raises(CommandFailed):
                self._installation.upgrade({"image": {"tag": "none-such"}}, timeout_s=20)
            stuck = [pod for pod in self._cache.get("pods") if _image_is_missing(pod)]
            short = [
                item["metadata"]["name"]
                for item in self._cache.get("deployments")
                if item["status"].get("availableReplicas", 0) < item["spec"]["replicas"]
            ]
            say(f"    pods without an image: {len(stuck)}; parts short of pods: {short or 'none'}")
            # One of each listener, and one more manager and metrics service.
            assert len(stuck) == 5
            assert not short
            self._installation.roll_back()

    def scale(self) -> None:
        """Three managers stay three, also when another decides on their number from then on."""
        for mode, kind in (("hpa", ""), ("keda", "scaledobjects.keda.sh")):
            if kind and kind not in self._cache.kubectl("api-resources", "-o", "name").split():
                say(f"autoscaling by {mode}: NOT TRIED, the cluster does not know {kind}")
                continue
            with self.step("three managers", rolls=set()):
                self._scaling(mode="none")
            with (
                self.step(f"autoscaling by {mode}", rolls=set()),
                self._cache.wanted_replicas(f"deployment/{RELEASE}-manager") as wanted,
            ):
                self._scaling(mode=mode, min=3)
            assert set(wanted) == {3}, mode

    def _scaling(self, **how: object) -> None:
        change = {
            "manager": {"replicas": 3, "autoscaling": how},
            # KEDA asks Redis for the queue's length.
            "registry": {"url": f"redis://{RELEASE}-redis:6379/0"},
        }
        self._installation.upgrade(change)

    def drain(self, node: str) -> None:
        refused: list[str] = []
        try:
            with self.step(f"{node} drained", rolls=set()):
                refused += self._cache.drain(node, RELEASE)
        finally:
            self._cache.kubectl("uncordon", node)
        say(f"    evictions that had to wait for another pod of their part: {len(refused)}")
        # One pod each: nothing that a listener's budget could wait for.
        assert not [line for line in refused if f"{RELEASE}-listener" in line]

    def lose(self, node: str, others: list[str]) -> None:
        """The kubelet of `node`, which is empty, ends; its pods run on, and have successors."""
        with self.step(f"listeners and managers moved to {node}", rolls=set()):
            self._cache.kubectl("cordon", *others)
            chosen = "app.kubernetes.io/component in (listener, manager)"
            self._cache.kubectl("delete", "pods", f"--selector={chosen}")
            self._cache.wait_for_rollouts()
            self._cache.kubectl("uncordon", *others)
        taken = self._installation.sessions_taken()
        run("sh", "-c", setting("LOSE_NODE"), "sh", node)
        try:
            with self.step(f"{node} lost, its pods evicted", rolls=set()):
                wait_until(self._cache.unfinished, "the rollouts are said to be unfinished")
                # Its end: what kubectl says, behind what was typed.
                say(f"    said: {self._cache.unfinished()[-200:]}")
                # As Kubernetes does after five minutes.
                on_it = f"--field-selector=spec.nodeName={node}"
                self._cache.kubectl("delete", "pods", "--wait=false", on_it)
            assert self._cache.unfinished().startswith("pod/"), "no pod is said to hang"
            say(f"    said: {self._cache.unfinished()[:200]}")
            self._give_up(node)
        finally:
            run("sh", "-c", setting("BRING_NODE_BACK"), "sh", node)
        with self.step(f"{node} is back", rolls=set()):
            wait_until(lambda: not self._cache.unfinished(), "all rollouts are complete")
        assert self._installation.sessions_taken() == taken, "two listeners fought"

    def _give_up(self, node: str) -> None:
        """What an operator types who knows that a node is dead (docs/disaster-recovery.md)."""
        dead = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        self._cache.kubectl("taint", "node", node, dead)
        try:
            with self.step(f"{node} said to be dead", rolls=set()):
                wait_until(lambda: not self._cache.unfinished(), "no rollout waits for it")
        finally:
            self._cache.kubectl("taint", "node", node, f"{dead}-")

    def kill(self, component: str) -> None:
        with self.step(f"all pods killed: {component}", rolls=set()):
            self._cache.kubectl(
                "delete", "pods", "--force", "--grace-period=0",
                f"--selector=app.kubernetes.io/component={component}",
            )  # fmt: skip


def _image_is_missing(pod: Manifest) -> bool:
    return any(
        container["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")
        for container in pod["status"].get("containerStatuses", [])
    )


def test_nothing_is_lost_or_doubled(installation: Installation, nodes: list[str]) -> None:
    steps = Steps(installation)
    installation.publish(_ITEMS_A_SECOND)
    steps.restart_each_part()
    steps.change_configuration()
    steps.change_secret()
    steps.add_and_remove_a_broker()
    steps.upgrade_and_roll_back()
    steps.upgrade_to_what_cannot_be_pulled()
    for component in _STATELESS:
        steps.kill(component)
    # Where a volume belongs to a node, its pods cannot leave it.
    others = nodes[:-1] if setting("ACCESS_MODE", "ReadWriteMany") == "ReadWriteMany" else []
    for node in others:
        steps.drain(node)
    say(f"nodes drained: {', '.join(others) or 'NONE'}")
    if others and setting("LOSE_NODE"):
        # The one that was drained last is empty.
        steps.lose(others[-1], [*others[:-1], nodes[-1]])
    else:
        say("nodes lost: NONE (LOSE_NODE)")
    steps.scale()
    wait_until(lambda: installation.report()["published"] >= _ITEMS, f"{_ITEMS} items")
    _settle(installation)
    _assert_once(installation)


def test_helms_test_says_what_is_subscribed_to(installation: Installation) -> None:
    said = installation.cache.helm("test", RELEASE, "--logs", "--timeout", "300s")
    lines = said.rpartition("POD LOGS")[2].strip()
    say(f"helm test: {lines}")
    # One that is away is not a failure.
    assert re.search(r"\b2 of [23] Global Brokers are subscribed to", lines)


def test_uninstall_leaves_what_the_readme_says_and_an_installation_takes_it_up(
    installation: Installation,
) -> None:
    claims = {
        f"PersistentVolumeClaim/{RELEASE}-store",
        f"PersistentVolumeClaim/data-{RELEASE}-redis-0",
    }
    secrets_before = {item["metadata"]["name"] for item in installation.cache.get("secrets")}
    installation.uninstall()
    # Its pods and what Kubernetes made for it end a little later.
    left = claims | {f"Pod/{RELEASE}-test"}
    wait_until(lambda: installation.cache.left_of(RELEASE) <= left, "all else is gone")
    found = installation.cache.left_of(RELEASE)
    say(f"left by helm uninstall: {', '.join(sorted(found))}")
    assert claims <= found
    secrets_after = {item["metadata"]["name"] for item in installation.cache.get("secrets")}
    assert {
        n for n in secrets_before - secrets_after if not n.startswith("sh.helm.release.")
    } == set()

    before = installation.report()["published"]
    installation.upgrade({"brokers": [installation.global_broker(name) for name in ("a", "b")]})
    installation.cache.wait_for_rollouts()
    installation.publish(_ITEMS_A_SECOND)
    wait_until(lambda: installation.report()["published"] >= before + 50, "50 items are published")
    _settle(installation)
    # With those from before.
    _assert_once(installation)


def _assert_once(installation: Installation) -> None:
    report = installation.report()
    say(
        f"items {report['published']}, announced {report['announced']}, "
        f"lost {len(report['missing'])} {report['missing'][:20]}, "
        f"doubled {len(report['doubled'])} {report['doubled'][:20]}, "
        f"repeated under the same id {report['repeated']}, "
        f"the subscriber's session lost at {report['without_session'] or 'no time'}"
    )
    assert not report["missing"]
    assert not report["doubled"]
    assert not report["unknown"]
    assert installation.verify() == {"fetched": report["published"], "problems": []}
