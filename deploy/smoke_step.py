"""The smoke test as a step of a deployment: Terraform says what to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from deploy.checks import check_context
from deploy.environment import RELEASE
from deploy.errors import DeployError, Refused
from deploy.smoke.rollouts import KubernetesWorkloads, check_rollouts
from deploy.smoke.run import EndToEnd, Target, smoke_test
from deploy.smoke.waiting import Failed, NotYet, Patience
from deploy.terraform import Terraform

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.session import Session
    from deploy.smoke.rollouts import Workloads

#: Pods, then DNS and certificates: the first deployment takes longest.
_PATIENCE_S = 900.0
_PUBLIC_ACCOUNT = "everyone"
_SEND_ONE = Path(__file__).parent / "smoke" / "send_one.py"
_TRY_TO_REACH = Path(__file__).parent / "smoke" / "try_to_reach.py"
_BROKER = f"{RELEASE}-broker"
#: Plain MQTT, which managers alone may use.
_CLOSED = (_BROKER, "1883")
_LISTENERS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=listener"


def open_workloads(session: Session, namespace: str) -> Workloads:
    """Return the release's workloads in the cluster of this environment."""
    return KubernetesWorkloads(
        kubeconfig=session.environment.kubeconfig,
        context=session.environment.cluster_name,
        namespace=namespace,
        release=RELEASE,
    )


def wait_for_rollouts(session: Session, workloads: Callable[[Session, str], Workloads]) -> None:
    """Wait until every workload of the release runs as it should."""
    check_context(session)
    found = workloads(session, Terraform(session).outputs().namespace)
    try:
        detail = _patience(session).until(lambda: check_rollouts(found))
    except Failed as failure:
        raise DeployError(f"rollouts: {failure}") from None
    session.say(f"ok  rollouts       {detail}")


def run_smoke_test(
    session: Session, workloads: Callable[[Session, str], Workloads], end_to_end: str
) -> None:
    """Look at the deployed cache from outside.

    `end_to_end`: "" takes `synthetic` in dev and `live` elsewhere.
    """
    choice = end_to_end or ("live" if session.environment.is_guarded else "synthetic")
    if choice not in get_args(EndToEnd):
        raise Refused(f"ITEM={choice} is none of {', '.join(get_args(EndToEnd))}")
    if choice == "synthetic" and session.environment.is_guarded:
        raise Refused(f"nothing is made up on {session.environment.name}: ITEM=live or ITEM=none")
    check_context(session)
    outputs = Terraform(session).outputs()

    def send(topic: str, payload: bytes) -> None:
        send_from_listener(session, outputs.namespace, topic, payload)

    try:
        smoke_test(
            target_of(outputs.helm_values, cast("EndToEnd", choice)),
            workloads=workloads(session, outputs.namespace),
            send=send,
            policies=lambda: check_policies(session, outputs.namespace),
            say=session.say,
            patience=_patience(session),
            item_timeout_s=300.0 if choice == "live" else 60.0,
        )
    except Failed as failure:
        raise DeployError(f"smoke test: {failure}") from None
    session.say(f"the smoke test of {session.environment.name} passed")


def target_of(helm_values: dict[str, Any], end_to_end: EndToEnd) -> Target:
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
    """Have a listener's pod put one notification on the queue: nobody else may."""
    _run_in_listener(session, namespace, _SEND_ONE, topic, stdin=payload)


def check_policies(session: Session, namespace: str) -> str:
    """Return that network policies are enforced, and let pods look names up.

    A cluster that does not enforce them takes them without a word.
    Raises NotYet.
    """
    if not _is_there(session, namespace, "networkpolicy", f"{RELEASE}-default-deny"):
        return "there are none: networkPolicy.enabled is false"
    if not _is_there(session, namespace, "service", _BROKER):
        return "not tried: no broker of ours to be shut out of, broker.enabled is false"
    outcome = _run_in_listener(session, namespace, _TRY_TO_REACH, *_CLOSED).strip()
    where = ":".join(_CLOSED)
    if outcome == "reached":
        raise NotYet(f"a listener's pod reaches {where}: network policies are not enforced")
    if outcome == "no such name":
        raise NotYet(f"a listener's pod does not find {where}: {outcome}")
    if outcome != "shut out":
        raise NotYet(
            f"cannot tell whether a listener's pod is shut out of {where}: {outcome or 'no answer'}"
        )
    return f"a listener's pod finds names, and is shut out of {where}"


def _is_there(session: Session, namespace: str, kind: str, name: str) -> bool:
    """Whether the cluster has this object. Raises NotYet."""
    try:
        found = session.commands.read(
            *_kubectl(session, namespace), "get", kind, name, "--ignore-not-found", "-o", "name"
        )
    except DeployError as error:
        raise NotYet(str(error)) from None
    return bool(found)


def _run_in_listener(
    session: Session, namespace: str, script: Path, *arguments: str, stdin: bytes | None = None
) -> str:
    """Return what a script prints in a listener's pod. Raises NotYet."""
    kubectl = _kubectl(session, namespace)
    try:
        pods = session.commands.read(
            *kubectl, "get", "pod", "-l", _LISTENERS, "--field-selector=status.phase=Running",
            "-o", "name",
        ).split()  # fmt: skip
        if not pods:
            raise NotYet("no listener runs, in whose pod it could be tried")
        return session.commands.read(
            *kubectl, "exec", "-i", pods[0], "-c", "listener", "--",
            "python", "-c", script.read_text(encoding="utf-8"), *arguments,
            stdin=stdin,
        )  # fmt: skip
    except DeployError as error:
        raise NotYet(str(error)) from None


def _kubectl(session: Session, namespace: str) -> tuple[str, ...]:
    return ("kubectl", "--context", session.environment.cluster_name, "-n", namespace)


def _patience(session: Session) -> Patience:
    return Patience(_PATIENCE_S, sleep=session.sleep, now=session.now)
