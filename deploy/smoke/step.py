"""The smoke test: all checks, each after those that it relies on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy import terraform
from deploy.environment import RELEASE
from deploy.release import SELECTOR, wait_for_rollouts
from deploy.session import Declined, DeployError
from deploy.smoke.item import check_item
from deploy.smoke.outside import check_broker, check_data, check_metrics, check_ready, subscription
from wis2_gc_common.settings.parsers import parse_broker_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.session import Session

#: For DNS and certificates: the first deployment takes longest.
_PATIENCE_S = 900.0
#: A new listener is subscribed well before this.
_SUBSCRIBED_S = 60.0
#: How long each kind of item may take; with `none`, no item is sent or awaited.
_ITEMS = {"synthetic": 60.0, "live": 300.0, "none": 0.0}
#: Plain MQTT of our broker, which only managers may use.
_BROKER = f"{RELEASE}-broker"
_CLOSED = (_BROKER, "1883")


class SmokeTarget(NamedTuple):
    """The public addresses to check."""

    namespace: str
    centre_id: str
    metrics_url: str
    """Without a final slash, like `data_base_url`."""
    data_base_url: str
    broker_urls: tuple[str, ...]
    """With the public account; the item's check subscribes to the first one."""


def run_smoke_test(session: Session) -> None:
    """Check the deployed cache from outside.

    Without ITEM: `synthetic` in dev, `live` elsewhere. FETCH: managers fetch these URLs, as a test.
    """
    name, is_guarded = session.environment.name, session.environment.is_guarded
    item = session.variables.get("ITEM") or ("live" if is_guarded else "synthetic")
    urls = session.variables.get("FETCH", "").split()
    if item not in _ITEMS:
        raise Declined(f"ITEM={item} is not one of {', '.join(_ITEMS)}")
    if item == "synthetic" and is_guarded:
        raise Declined(f"no invented item is published on {name}; use ITEM=live or ITEM=none")
    wait_for_rollouts(session)
    smoke_test(session, target_of(terraform.outputs(session)), item, urls)
    session.say(f"the smoke test of {name} passed")


def smoke_test(
    session: Session, target: SmokeTarget, item: str, urls: list[str], *,
    patience_s: float = _PATIENCE_S, item_timeout_s: float | None = None,
) -> None:  # fmt: skip
    """Run every check and print one line each. Raises DeployError: one fails until its time ends.

    `item`: which item to follow, `synthetic`, `live` or `none`.
    """
    namespace, ready_url = target.namespace, f"{target.metrics_url}/readyz"
    send = partial(send_from_listener, session, namespace) if item == "synthetic" else None

    def is_ready() -> str:
        try:
            short = min(_SUBSCRIBED_S, patience_s)
            return session.until(lambda: check_ready(ready_url), short)
        except DeployError:
            return check_ready(ready_url, is_last_look=True)

    def whole_way() -> str:
        with subscription(target.broker_urls[0]) as messages:
            return check_item(
                messages, send=send, centre_id=target.centre_id,
                data_base_url=target.data_base_url, timeout_s=item_timeout_s or _ITEMS[item],
            )  # fmt: skip

    checks: dict[str, Callable[[], str]] = {
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
        try:
            session.say(f"ok  {name:<14} {session.until(check, patience_s)}")
        except DeployError as problem:
            raise DeployError(f"{name}: {problem}") from None


def target_of(outputs: dict[str, Any]) -> SmokeTarget:
    """Return the addresses to check, all over TLS, from Terraform's values for the chart."""
    values = outputs["helm_values"]
    data_base_url = values["store"]["dataBaseUrl"].rstrip("/")
    if not data_base_url.startswith("https://"):
        raise DeployError(f"{data_base_url} is not https")
    account = values["broker"].get("publicAccount", "everyone")
    login = f"{account}:{account}@{values['domain']['broker']}"
    return SmokeTarget(
        namespace=outputs["namespace"],
        centre_id=values["centreId"],
        metrics_url=f"https://{values['domain']['metrics']}",
        data_base_url=data_base_url,
        broker_urls=(f"mqtts://{login}:8883", f"wss://{login}:443/mqtt"),
    )


def send_from_listener(session: Session, namespace: str, topic: str, payload: bytes) -> None:
    """Make a listener's pod put one notification on the queue: nobody else may."""
    if problem := try_in_pod(session, namespace, "listener", "send", topic, stdin=payload):
        raise DeployError(f"a listener's pod cannot send: {problem}")


def check_policies(session: Session, namespace: str) -> str:
    """Return a line: network policies are enforced, and allow pods to look up names.

    A cluster that does not enforce them accepts them silently.
    """
    policy, broker = f"networkpolicy/{RELEASE}-default-deny", f"service/{_BROKER}"
    get = session.kubectl("get", policy, broker, "--ignore-not-found", "-o", "name",
                          namespace=namespace)  # fmt: skip
    found = session.read(*get)
    if "networkpolicy" not in found:
        return "there are none: networkPolicy.enabled is false"
    if broker not in found:
        return "not tried: broker.enabled is false, there is no broker to be kept away from"
    problem = try_in_pod(session, namespace, "listener", "reach", *_CLOSED)
    pod, where = "a listener's pod", ":".join(_CLOSED)
    # Policies drop packets silently. A refusal means that nobody listens yet, and proves nothing.
    if problem.startswith("TimeoutError"):
        return f"{pod} resolves names, and cannot reach {where}"
    if problem:
        raise DeployError(f"cannot tell whether {pod} can reach {where}: {problem}")
    raise DeployError(f"{pod} reaches {where}: network policies are not enforced")


def check_downloads(session: Session, namespace: str, broker_url: str, urls: list[str]) -> str:
    """Return a line: a manager's pod reaches the port of `broker_url`, and fetches all `urls`.

    Policies may leave it only port 443; WIS2 Nodes also use other ports, and FTP.
    """
    broker = parse_broker_url(broker_url)
    port = (broker.host, str(broker.port))
    for what in (("reach", *port), *(("fetch", url) for url in urls)):
        if problem := try_in_pod(session, namespace, "manager", *what):
            raise DeployError(f"a manager's pod does not reach {':'.join(what[1:])}: {problem}")
    return f"a manager's pod reaches {' '.join((':'.join(port), *urls))}"


def try_in_pod(
    session: Session, namespace: str, component: str, *arguments: str, stdin: bytes = b""
) -> str:
    """Return what in_pod.py prints in a pod of `component`; empty: all is well.

    Raises DeployError: there is no such pod, or nothing can run in it.
    """
    kubectl = partial(session.kubectl, namespace=namespace)
    pods = session.read(*kubectl(
        "get", "pod", "-l", f"{SELECTOR},app.kubernetes.io/component={component}",
        "--field-selector=status.phase=Running", "-o", "name",
    )).split()  # fmt: skip
    if not pods:
        raise DeployError(f"no {component} runs in whose pod this can be tried")
    script = Path(__file__).with_name("in_pod.py").read_text(encoding="utf-8")
    return session.read(*kubectl(
        "exec", "-i", pods[0], "-c", component, "--", "python", "-c", script, *arguments,
    ), stdin=stdin)  # fmt: skip
