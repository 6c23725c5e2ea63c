"""The Helm release: brings it, takes it back, shows it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deploy.checks import check_context, names_brokers, no_broker
from deploy.environment import CHART, RELEASE
from deploy.errors import DeployError, Refused
from deploy.helm import TIMEOUT, apply_manifests, upgrade, waiting
from deploy.images import noted_digests
from deploy.logins import check_logins, login_secrets
from deploy.revisions import Revision, read_history, revision_before
from deploy.terraform import Outputs, Terraform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.session import Session

#: No Helm of ours waits longer: whoever left a revision pending before that, is gone.
_INTERRUPTED_AFTER_S = 20 * 60.0
#: The class of the broker's load balancer follows from who makes load balancers.
_LOAD_BALANCER_CLASSES = {"auto": "eks.amazonaws.com/nlb", "node_groups": "service.k8s.aws/nlb"}
_SELECTOR = f"app.kubernetes.io/instance={RELEASE}"
COMPONENTS = ("listener", "manager", "metrics", "broker")
_REFRESH_S = 60.0
_POLL_S = 1.0


def release(session: Session) -> None:
    """Install or upgrade the chart; where that fails, Helm brings the one before back."""
    check_context(session)
    environment = session.environment
    outputs = Terraform(session).outputs()
    told = {"brokers": brokers_of(outputs.secret_names), **outputs.helm_values}
    if not told["brokers"] and not names_brokers(environment.values):
        raise DeployError(no_broker(environment.name))
    own = own_values(
        digests=noted_digests(session),
        compute=outputs.compute,
        secrets_revisions=_secrets_revisions(session, outputs),
    )
    check_logins(session, outputs.secret_names)
    files = {"helm-values.json": told, "deploy-values.json": own}
    for name, values in files.items():
        text = json.dumps(values, indent=2)
        (environment.directory / name).write_text(f"{text}\n", encoding="utf-8")
    from_terraform, from_deploy = (environment.directory / name for name in files)
    apply_manifests(session, "namespace", (namespace_manifest(outputs.namespace),))
    _end_interrupted(session, outputs.namespace)
    _refresh_secrets(session, outputs.namespace)
    commit = session.commands.read("git", "rev-parse", "--short=12", "HEAD")
    upgrade(
        session, RELEASE, CHART, "--namespace", outputs.namespace, "--history-max", "10",
        "--description", f"{environment.name} {commit}",
        "--values", from_terraform, "--values", environment.values, "--values", from_deploy,
    )  # fmt: skip


def brokers_of(secret_names: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the chart's `brokers` from the secrets that Terraform made for their logins.

    A list `brokers` in values/{environment}.yaml replaces it.
    """
    return [
        {"name": name, "secretArn": secret} for name, secret in login_secrets(secret_names).items()
    ]


def own_values(
    *, digests: Mapping[str, str], compute: str, secrets_revisions: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values that only a deployment knows; they win over all others."""
    return {
        "image": {"digests": dict(digests)},
        "broker": {"service": {"loadBalancerClass": _LOAD_BALANCER_CLASSES[compute]}},
        "secrets": {"revisions": dict(secrets_revisions)},
    }


def namespace_manifest(namespace: str) -> dict[str, Any]:
    """Return the namespace: what is no ordinary pod does not get in."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    }


def roll_back(session: Session, revision: str) -> None:
    """Go back to `revision`, or to the one before; the infrastructure stays as it is."""
    check_context(session)
    if revision and not revision.isdecimal():
        raise Refused(f"REVISION={revision} is not a number; `make status` lists them")
    namespace = Terraform(session).outputs().namespace
    _show_history(session, namespace)
    target = revision or revision_before(_history(session, namespace))
    if target is None:
        raise Refused("no revision that ran is left to go back to")
    if session.environment.is_guarded:
        session.confirm(
            f"{RELEASE} on {session.environment.name} goes back to revision {target}",
            word=session.environment.name,
        )
    _roll_back_to(session, namespace, str(target))


def _roll_back_to(session: Session, namespace: str, revision: str) -> None:
    session.commands.run(
        *session.helm, "rollback", RELEASE, revision, "--namespace", namespace,
        *waiting(session), "--timeout", TIMEOUT, "--cleanup-on-fail",
    )  # fmt: skip


def _history(session: Session, namespace: str) -> list[Revision]:
    """Return the release's revisions; none where it is not installed."""
    try:
        text = session.commands.read(
            *session.helm, "history", RELEASE, "--namespace", namespace, "-o", "json"
        )
    except DeployError as error:
        if "not found" in str(error):
            return []
        raise
    return read_history(text)


def _end_interrupted(session: Session, namespace: str) -> None:
    """Bring back what ran, where a Helm was ended before it had finished.

    Helm refuses every later release ("another operation is in progress") until somebody does.
    Raises Refused: the other Helm may still be at work, or nothing ran before.
    """
    history = _history(session, namespace)
    if not history or not history[-1].is_pending:
        return
    last = history[-1]
    age_s = session.now() - last.updated_s
    if age_s < _INTERRUPTED_AFTER_S:
        raise Refused(
            f"revision {last.number} is {last.status}: another Helm is at work, or was interrupted "
            f"{age_s / 60:.0f} minutes ago; wait until it has ended, or, where you know that none "
            f"runs, `make rollback ENV={session.environment.name}`"
        )
    target = revision_before(history)
    if target is None:
        raise Refused(
            f"the first installation was interrupted ({last.status}); nothing ran before it: "
            f"`helm uninstall {RELEASE} --namespace {namespace}`, then again"
        )
    session.say(f"revision {last.number} was interrupted ({last.status}); back to {target} first")
    _roll_back_to(session, namespace, str(target))


def status(session: Session) -> None:
    """Show the release, its workloads and pods, and what the cache says of itself."""
    check_context(session)
    outputs = Terraform(session).outputs()
    namespace = outputs.namespace
    run = session.commands.run
    _show_history(session, namespace)
    run(
        *session.kubectl(namespace), "get", "deployment,statefulset,hpa,pod",
        "-l", _SELECTOR, "-o", "wide",
    )  # fmt: skip
    # The manager's role may read the queue, and its settings name registry and queue.
    run(
        *session.kubectl(namespace), "exec", f"deploy/{RELEASE}-manager", "-c", "manager", "--",
        "wis2-gc", "status", codes=(0, 1),
    )  # fmt: skip
    for line in outputs.addresses():
        session.say(line)
    session.say(f"status page: https://{outputs.helm_values['domain']['metrics']}/")


def logs(session: Session, *, component: str, since: str, is_following: bool) -> None:
    """Show the pods' logs, of one component or of all."""
    if component and component not in COMPONENTS:
        raise Refused(f"PART={component} is none of {', '.join(COMPONENTS)}")
    check_context(session)
    namespace = Terraform(session).outputs().namespace
    selector = _SELECTOR + (f",app.kubernetes.io/component={component}" if component else "")
    session.commands.run(
        *session.kubectl(namespace), "logs", "-l", selector, "--all-containers", "--prefix",
        "--tail=-1", f"--since={since}", "--max-log-requests=50",
        *(("--follow",) if is_following else ()),
    )  # fmt: skip


def _secrets_revisions(session: Session, outputs: Outputs) -> dict[str, str]:
    """Return for each secret a text that changes when it does; no secret is read."""
    region = session.environment.region
    query = "Versions[?contains(VersionStages, 'AWSCURRENT')].VersionId"
    return {
        name: session.commands.read(
            *("aws", "secretsmanager", "list-secret-version-ids", "--region", region),
            *("--secret-id", secret, "--query", query, "--output", "text"),
        ).strip()
        for name, secret in sorted(outputs.secret_names.items())
    }


def _refresh_secrets(session: Session, namespace: str) -> None:
    """Have External Secrets fetch now: the pods that roll shall find the new secret.

    Without it they would wait for the next refresh, up to an hour. Nothing to do at the first
    installation.
    """
    # Kubernetes tells whole seconds.
    started = datetime.fromtimestamp(int(session.now()), UTC)
    kubectl = session.kubectl(namespace)
    if not _refresh_times(session, namespace):
        return
    session.commands.run(
        *kubectl, "annotate", "externalsecret", "-l", _SELECTOR, "--overwrite",
        f"force-sync={int(session.now())}",
    )  # fmt: skip
    deadline = session.now() + _REFRESH_S
    while any(at < started for at in _refresh_times(session, namespace)):
        if session.now() > deadline:
            raise DeployError(
                f"External Secrets fetched nothing for {_REFRESH_S:.0f} s; "
                f"`kubectl -n {namespace} describe externalsecret` says why"
            )
        session.sleep(_POLL_S)


def _refresh_times(session: Session, namespace: str) -> list[datetime]:
    """Return when each of our ExternalSecrets was fetched last; never: the year 1."""
    answer = session.commands.read(
        *session.kubectl(namespace), "get", "externalsecret", "-l", _SELECTOR, "-o", "json"
    )
    never = datetime.min.replace(tzinfo=UTC)
    return [
        datetime.fromisoformat(time)
        if (time := item.get("status", {}).get("refreshTime"))
        else never
        for item in json.loads(answer)["items"]
    ]


def _show_history(session: Session, namespace: str) -> None:
    session.commands.run(*session.helm, "history", RELEASE, "--namespace", namespace, "--max", "5")
