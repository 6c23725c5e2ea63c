"""The smoke test: all checks, in the order in which one builds on the other."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy import terraform
from deploy.checks import check_context
from deploy.environment import RELEASE
from deploy.session import DeployError, Refused
from deploy.smoke.broker import check_broker, subscription
from deploy.smoke.item import check_item
from deploy.smoke.rollouts import check_rollouts
from deploy.smoke.waiting import Failed, NotYet, Patience
from deploy.smoke.web import Web, check_data, check_metrics, check_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.session import Session

#: Pods, then DNS and certificates: the first deployment takes longest.
_PATIENCE_S = 900.0
#: A listener that starts is subscribed well before.
_SUBSCRIBED_S = 60.0
_ITEMS = ("synthetic", "live", "none")
_PUBLIC_ACCOUNT = "everyone"
_BROKER = f"{RELEASE}-broker"
#: Plain MQTT, which managers alone may use.
_CLOSED = (_BROKER, "1883")
_OURS = f"app.kubernetes.io/instance={RELEASE}"


class Target(NamedTuple):
    """What to look at, as the world sees it."""

    centre_id: str
    metrics_url: str
    """Without a slash at its end, as `data_base_url`."""
    data_base_url: str
    broker_urls: tuple[str, ...]
    """With the public account; the first one is subscribed to for the item."""
    end_to_end: str
    """Which item goes all the way: `synthetic`, `live` or `none`."""


def wait_for_rollouts(session: Session) -> None:
    """Wait until every workload of the release runs as it should."""
    check_context(session)
    namespace = terraform.outputs(session)["namespace"]
    try:
        detail = _patience(session).until(lambda: rollouts(session, namespace))
    except Failed as failure:
        raise DeployError(f"rollouts: {failure}") from None
    session.say(f"ok  rollouts       {detail}")


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
    outputs = terraform.outputs(session)
    namespace = outputs["namespace"]
    try:
        smoke_test(
            target_of(outputs["helm_values"], item),
            inside={
                "rollouts": lambda: rollouts(session, namespace),
                "policies": lambda: check_policies(session, namespace),
                "downloads": lambda: check_downloads(
                    session, namespace, f"{outputs['helm_values']['domain']['broker']}:8883", urls
                ),
            },
            send=lambda topic, payload: send_from_listener(session, namespace, topic, payload),
            say=session.say,
            patience=_patience(session),
            item_timeout_s=300.0 if item == "live" else 60.0,
        )
    except Failed as failure:
        raise DeployError(f"smoke test: {failure}") from None
    session.say(f"the smoke test of {name} passed")


def smoke_test(
    target: Target,
    *,
    inside: dict[str, Callable[[], str]],
    send: Callable[[str, bytes], None],
    say: Callable[[str], None],
    patience: Patience,
    item_timeout_s: float = 60.0,
) -> None:
    """Run every check, one line each.

    `inside`: what only the cluster can tell, `rollouts`, `policies` and `downloads`.
    `send` puts a notification on the queue.
    Raises Failed at the first check that does not come true in its time.
    """
    web, ready_url = Web(), f"{target.metrics_url}/readyz"

    def is_ready() -> str:
        short = replace(patience, seconds=min(_SUBSCRIBED_S, patience.seconds))
        try:
            return short.until(partial(check_ready, web, ready_url))
        except Failed:
            return check_ready(web, ready_url, is_last_look=True)

    def item() -> str:
        with subscription(target.broker_urls[0]) as messages:
            return check_item(
                messages, web, send=send if target.end_to_end == "synthetic" else None,
                centre_id=target.centre_id, data_base_url=target.data_base_url,
                timeout_s=item_timeout_s,
            )  # fmt: skip

    checks: dict[str, Callable[[], str]] = {
        "rollouts": inside["rollouts"],
        "metrics": partial(check_metrics, web, f"{target.metrics_url}/metrics", target.centre_id),
        "ready": is_ready,
        "data": partial(check_data, web, target.data_base_url),
        **{f"broker {url.partition('://')[0]}": partial(check_broker, url)
           for url in target.broker_urls},
        "policies": inside["policies"],
        "downloads": inside["downloads"],
        **({} if target.end_to_end == "none" else {f"{target.end_to_end} item": item}),
    }  # fmt: skip
    for name, check in checks.items():
        try:
            say(f"ok  {name:<14} {patience.until(check)}")
        except Failed as failure:
            raise Failed(f"{name}: {failure}") from None


def rollouts(session: Session, namespace: str) -> str:
    """Return how many workloads of the release run. Raises NotYet."""
    workloads, pods = (
        json.loads(_kubectl(session, namespace, "get", kinds, "-l", _OURS, "-o", "json"))["items"]
        for kinds in ("deployment,statefulset", "pod")
    )
    return check_rollouts(workloads, pods)


def target_of(helm_values: dict[str, Any], end_to_end: str) -> Target:
    """Return what to look at, from what the chart is told."""
    account = helm_values["broker"].get("publicAccount", _PUBLIC_ACCOUNT)
    login = f"{account}:{account}@{helm_values['domain']['broker']}"
    return Target(
        centre_id=helm_values["centreId"],
        metrics_url=f"https://{helm_values['domain']['metrics']}",
        data_base_url=helm_values["store"]["dataBaseUrl"].rstrip("/"),
        broker_urls=(f"mqtts://{login}:8883", f"wss://{login}:443/mqtt"),
        end_to_end=end_to_end,
    )


def send_from_listener(session: Session, namespace: str, topic: str, payload: bytes) -> None:
    """Have a listener's pod put one notification on the queue: nobody else may. Raises NotYet."""
    _run_in(session, namespace, "listener", "send_one.py", topic, stdin=payload)


def check_policies(session: Session, namespace: str) -> str:
    """Return that network policies are enforced, and let pods look names up.

    A cluster that does not enforce them takes them without a word.
    Raises NotYet.
    """

    def is_there(kind: str, name: str) -> bool:
        found = _kubectl(session, namespace, "get", kind, name, "--ignore-not-found", "-o", "name")
        return bool(found)

    if not is_there("networkpolicy", f"{RELEASE}-default-deny"):
        return "there are none: networkPolicy.enabled is false"
    if not is_there("service", _BROKER):
        return "not tried: no broker of ours to be shut out of, broker.enabled is false"
    outcome = _run_in(session, namespace, "listener", "try_to_reach.py", *_CLOSED).strip()
    pod, where = "a listener's pod", ":".join(_CLOSED)
    if outcome == "shut out":
        return f"{pod} finds names, and is shut out of {where}"
    if outcome == "reached":
        raise NotYet(f"{pod} reaches {where}: network policies are not enforced")
    if outcome == "no such name":
        raise NotYet(f"{pod} does not find {where}: {outcome}")
    raise NotYet(f"cannot tell whether {pod} is shut out of {where}: {outcome or 'no answer'}")


def check_downloads(session: Session, namespace: str, open_port: str, urls: str) -> str:
    """Return that a manager's pod reaches `open_port`, `host:port`, and fetches all `urls`.

    Policies may leave it port 443 alone; WIS2 Nodes have their data on others, and on FTP.
    Raises NotYet.
    """
    reached = _run_in(session, namespace, "manager", "try_to_reach.py", *open_port.rsplit(":", 1))
    if reached.strip() != "reached":
        raise NotYet(f"a manager's pod does not reach {open_port}: {reached.strip()}")
    _run_in(session, namespace, "manager", "fetch.py", *urls.split())
    return f"a manager's pod reaches {' '.join((open_port, *urls.split()))}"


def _run_in(
    session: Session, namespace: str, component: str, script: str, *arguments: str,
    stdin: bytes | None = None,
) -> str:  # fmt: skip
    """Return what a script prints in a pod of `component`. Raises NotYet."""
    pods = _kubectl(
        session, namespace, "get", "pod", "-l", f"{_OURS},app.kubernetes.io/component={component}",
        "--field-selector=status.phase=Running", "-o", "name",
    ).split()  # fmt: skip
    if not pods:
        raise NotYet(f"no {component} runs, in whose pod it could be tried")
    text = Path(__file__).with_name(script).read_text(encoding="utf-8")
    return _kubectl(
        session, namespace, "exec", "-i", pods[0], "-c", component, "--",
        "python", "-c", text, *arguments, stdin=stdin,
    )  # fmt: skip


def _kubectl(session: Session, namespace: str, *words: str, stdin: bytes | None = None) -> str:
    """Return what kubectl prints. Raises NotYet: the API does not answer, or refuses."""
    try:
        return session.read(*session.kubectl(*words, namespace=namespace), stdin=stdin)
    except DeployError as error:
        raise NotYet(str(error)) from None


def _patience(session: Session) -> Patience:
    return Patience(_PATIENCE_S, sleep=session.sleep, now=session.now)
