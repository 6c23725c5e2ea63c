"""The smoke test as a step of a deployment: Terraform says what to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from deploy.checks import check_context
from deploy.environment import RELEASE
from deploy.errors import DeployError, Refused
from deploy.smoke.rollouts import check_rollouts
from deploy.smoke.run import EndToEnd, Target, smoke_test
from deploy.smoke.waiting import Failed, NotYet, Patience
from deploy.terraform import Terraform

if TYPE_CHECKING:
    from deploy.session import Session

#: Pods, then DNS and certificates: the first deployment takes longest.
_PATIENCE_S = 900.0
_PUBLIC_ACCOUNT = "everyone"
_SCRIPTS = Path(__file__).parent / "smoke"
_BROKER = f"{RELEASE}-broker"
#: Plain MQTT, which managers alone may use.
_CLOSED = (_BROKER, "1883")
_OURS = f"app.kubernetes.io/instance={RELEASE}"


def wait_for_rollouts(session: Session) -> None:
    """Wait until every workload of the release runs as it should."""
    check_context(session)
    namespace = Terraform(session).outputs().namespace
    try:
        detail = _patience(session).until(lambda: rollouts(session, namespace))
    except Failed as failure:
        raise DeployError(f"rollouts: {failure}") from None
    session.say(f"ok  rollouts       {detail}")


def run_smoke_test(session: Session, end_to_end: str) -> None:
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
    namespace = outputs.namespace
    try:
        smoke_test(
            target_of(outputs.helm_values, cast("EndToEnd", choice)),
            inside={
                "rollouts": lambda: rollouts(session, namespace),
                "policies": lambda: check_policies(session, namespace),
            },
            send=lambda topic, payload: send_from_listener(session, namespace, topic, payload),
            say=session.say,
            patience=_patience(session),
            item_timeout_s=300.0 if choice == "live" else 60.0,
        )
    except Failed as failure:
        raise DeployError(f"smoke test: {failure}") from None
    session.say(f"the smoke test of {session.environment.name} passed")


def rollouts(session: Session, namespace: str) -> str:
    """Return how many workloads of the release run. Raises NotYet."""
    workloads, pods = (
        json.loads(_kubectl(session, namespace, "get", kinds, "-l", _OURS, "-o", "json"))["items"]
        for kinds in ("deployment,statefulset", "pod")
    )
    return check_rollouts(workloads, pods)


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
    """Have a listener's pod put one notification on the queue: nobody else may. Raises NotYet."""
    _run_in_listener(session, namespace, "send_one.py", topic, stdin=payload)


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
    outcome = _run_in_listener(session, namespace, "try_to_reach.py", *_CLOSED).strip()
    where = ":".join(_CLOSED)
    if outcome == "shut out":
        return f"a listener's pod finds names, and is shut out of {where}"
    raise NotYet({
        "reached": f"a listener's pod reaches {where}: network policies are not enforced",
        "no such name": f"a listener's pod does not find {where}: {outcome}",
    }.get(outcome, f"cannot tell whether a listener's pod is shut out of {where}: "
                   f"{outcome or 'no answer'}"))  # fmt: skip


def _run_in_listener(
    session: Session, namespace: str, script: str, *arguments: str, stdin: bytes | None = None
) -> str:
    """Return what a script prints in a listener's pod. Raises NotYet."""
    pods = _kubectl(
        session, namespace, "get", "pod", "-l", f"{_OURS},app.kubernetes.io/component=listener",
        "--field-selector=status.phase=Running", "-o", "name",
    ).split()  # fmt: skip
    if not pods:
        raise NotYet("no listener runs, in whose pod it could be tried")
    return _kubectl(
        session, namespace, "exec", "-i", pods[0], "-c", "listener", "--",
        "python", "-c", (_SCRIPTS / script).read_text(encoding="utf-8"), *arguments, stdin=stdin,
    )  # fmt: skip


def _kubectl(session: Session, namespace: str, *words: str, stdin: bytes | None = None) -> str:
    """Return what kubectl prints. Raises NotYet: the API does not answer, or refuses."""
    try:
        return session.commands.read(*session.kubectl(namespace), *words, stdin=stdin)
    except DeployError as error:
        raise NotYet(str(error)) from None


def _patience(session: Session) -> Patience:
    return Patience(_PATIENCE_S, sleep=session.sleep, now=session.now)
