"""The smoke test: all checks, in the order in which one builds on the other."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy import terraform
from deploy.checks import check_context
from deploy.environment import RELEASE
from deploy.session import DeployError, Refused
from deploy.smoke.item import check_item
from deploy.smoke.outside import check_broker, check_data, check_metrics, check_ready, subscription
from deploy.smoke.rollouts import check_rollouts
from wis2_gc_common.settings import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.session import Session

#: Pods, then DNS and certificates: the first deployment takes longest.
_PATIENCE_S = 900.0
_INTERVAL_S = 3.0
#: A listener that starts is subscribed well before.
_SUBSCRIBED_S = 60.0
#: How long each kind of item may take; `none` is sent or awaited.
_ITEMS = {"synthetic": 60.0, "live": 300.0, "none": 0.0}
_PUBLIC_ACCOUNT = "everyone"
_BROKER = f"{RELEASE}-broker"
#: Plain MQTT, which managers alone may use.
_CLOSED = (_BROKER, "1883")
_OURS = f"app.kubernetes.io/instance={RELEASE}"


class Target(NamedTuple):
    """What to look at, as the world sees it."""

    namespace: str
    centre_id: str
    metrics_url: str
    """Without a slash at its end, as `data_base_url`."""
    data_base_url: str
    broker_urls: tuple[str, ...]
    """With the public account; the first one is subscribed to for the item."""


def wait_for_rollouts(session: Session) -> None:
    """Wait until every workload of the release runs as it should."""
    check_context(session)
    namespace = terraform.outputs(session)["namespace"]
    _report(session, "rollouts", lambda: rollouts(session, namespace), _PATIENCE_S)


def run_smoke_test(session: Session, item: str, urls: str) -> None:
    """Look at the deployed cache from outside.

    `item` "": `synthetic` in dev, `live` elsewhere. `urls`: managers fetch these, as a test.
    """
    name, is_guarded = session.environment.name, session.environment.is_guarded
    item = item or ("live" if is_guarded else "synthetic")
    if item not in _ITEMS:
        raise Refused(f"ITEM={item} is none of {', '.join(_ITEMS)}")
    if item == "synthetic" and is_guarded:
        raise Refused(f"nothing is made up on {name}: ITEM=live or ITEM=none")
    check_context(session)
    smoke_test(session, target_of(terraform.outputs(session)), item, urls.split())
    session.say(f"the smoke test of {name} passed")


def smoke_test(
    session: Session, target: Target, item: str, urls: list[str], *,
    patience_s: float = _PATIENCE_S, item_timeout_s: float | None = None,
) -> None:  # fmt: skip
    """Run every check, one line each. Raises DeployError: one does not come true in its time.

    `item`: which one goes all the way, `synthetic`, `live` or `none`.
    """
    namespace, ready_url = target.namespace, f"{target.metrics_url}/readyz"
    send = partial(send_from_listener, session, namespace) if item == "synthetic" else None

    def is_ready() -> str:
        try:
            short = min(_SUBSCRIBED_S, patience_s)
            return until(session, lambda: check_ready(ready_url), short)
        except DeployError:
            return check_ready(ready_url, is_last_look=True)

    def whole_way() -> str:
        with subscription(target.broker_urls[0]) as messages:
            return check_item(
                messages, send=send, centre_id=target.centre_id,
                data_base_url=target.data_base_url, timeout_s=item_timeout_s or _ITEMS[item],
            )  # fmt: skip

    checks: dict[str, Callable[[], str]] = {
        "rollouts": lambda: rollouts(session, namespace),
        "metrics": lambda: check_metrics(f"{target.metrics_url}/metrics", target.centre_id),
        "ready": is_ready,
        "data": lambda: check_data(target.data_base_url),
        **{f"broker {url.partition('://')[0]}": partial(check_broker, url)
           for url in target.broker_urls},
        "policies": lambda: check_policies(session, namespace),
        "downloads": lambda: check_downloads(session, namespace, target.broker_urls[0], urls),
        **({} if item == "none" else {f"{item} item": whole_way}),
    }  # fmt: skip
    for name, check in checks.items():
        _report(session, name, check, patience_s)


def until(session: Session, check: Callable[[], str], patience_s: float) -> str:
    """Return what `check` returns once it raises no DeployError any more; raises the last one."""
    deadline = session.now() + patience_s
    while True:
        try:
            return check()
        except DeployError as problem:
            if session.now() >= deadline:
                raise DeployError(f"{problem} (waited {patience_s:g} s)") from None
        session.sleep(_INTERVAL_S)


def _report(session: Session, name: str, check: Callable[[], str], patience_s: float) -> None:
    try:
        session.say(f"ok  {name:<14} {until(session, check, patience_s)}")
    except DeployError as problem:
        raise DeployError(f"{name}: {problem}") from None


def target_of(outputs: dict[str, Any]) -> Target:
    """Return what to look at, from what Terraform tells the chart."""
    values = outputs["helm_values"]
    account = values["broker"].get("publicAccount", _PUBLIC_ACCOUNT)
    login = f"{account}:{account}@{values['domain']['broker']}"
    return Target(
        namespace=outputs["namespace"],
        centre_id=values["centreId"],
        metrics_url=f"https://{values['domain']['metrics']}",
        data_base_url=values["store"]["dataBaseUrl"].rstrip("/"),
        broker_urls=(f"mqtts://{login}:8883", f"wss://{login}:443/mqtt"),
    )


def rollouts(session: Session, namespace: str) -> str:
    """Return how many workloads of the release run. Raises DeployError: not as they should."""

    def ours(kinds: str) -> list[dict[str, Any]]:
        words = ("get", kinds, "-l", _OURS, "-o", "json")
        items: list[dict[str, Any]] = json.loads(_kubectl(session, namespace, *words))["items"]
        return items

    return check_rollouts(ours("deployment,statefulset"), ours("pod"))


def send_from_listener(session: Session, namespace: str, topic: str, payload: bytes) -> None:
    """Have a listener's pod put one notification on the queue: nobody else may."""
    _run_in(session, namespace, "listener", "send", topic, stdin=payload)


def check_policies(session: Session, namespace: str) -> str:
    """Return that network policies are enforced, and let pods look names up.

    A cluster that does not enforce them takes them without a word.
    """

    def is_there(kind: str, name: str) -> bool:
        return bool(
            _kubectl(session, namespace, "get", kind, name, "--ignore-not-found", "-o", "name")
        )

    if not is_there("networkpolicy", f"{RELEASE}-default-deny"):
        return "there are none: networkPolicy.enabled is false"
    if not is_there("service", _BROKER):
        return "not tried: no broker of ours to be shut out of, broker.enabled is false"
    outcome = _run_in(session, namespace, "listener", "reach", *_CLOSED).strip()
    pod, where = "a listener's pod", ":".join(_CLOSED)
    if outcome == "shut out":
        return f"{pod} finds names, and is shut out of {where}"
    if outcome == "reached":
        raise DeployError(f"{pod} reaches {where}: network policies are not enforced")
    if outcome == "no such name":
        raise DeployError(f"{pod} does not find {where}: {outcome}")
    raise DeployError(f"cannot tell whether {pod} is shut out of {where}: {outcome or 'no answer'}")


def check_downloads(session: Session, namespace: str, broker_url: str, urls: list[str]) -> str:
    """Return that a manager's pod reaches the port of `broker_url`, and fetches all `urls`.

    Policies may leave it port 443 alone; WIS2 Nodes have their data on others, and on FTP.
    """
    broker = parse_broker_url(broker_url)
    port = f"{broker.host}:{broker.port}"
    reached = _run_in(session, namespace, "manager", "reach", broker.host, str(broker.port)).strip()
    if reached != "reached":
        raise DeployError(f"a manager's pod does not reach {port}: {reached}")
    _run_in(session, namespace, "manager", "fetch", *urls)
    return f"a manager's pod reaches {' '.join((port, *urls))}"


def _run_in(
    session: Session, namespace: str, component: str, *arguments: str, stdin: bytes | None = None
) -> str:
    """Return what in_pod.py prints in a pod of `component`. Raises DeployError."""
    pods = _kubectl(
        session, namespace, "get", "pod", "-l", f"{_OURS},app.kubernetes.io/component={component}",
        "--field-selector=status.phase=Running", "-o", "name",
    ).split()  # fmt: skip
    if not pods:
        raise DeployError(f"no {component} runs, in whose pod it could be tried")
    script = Path(__file__).with_name("in_pod.py").read_text(encoding="utf-8")
    return _kubectl(
        session, namespace, "exec", "-i", pods[0], "-c", component, "--",
        "python", "-c", script, *arguments, stdin=stdin,
    )  # fmt: skip


def _kubectl(session: Session, namespace: str, *words: str, stdin: bytes | None = None) -> str:
    return session.read(*session.kubectl(*words, namespace=namespace), stdin=stdin)
