"""The Helm release: installs it, rolls it back, shows it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from deploy import terraform
from deploy.checks import check_brokers
from deploy.cluster import TIMEOUT, reach, upgrade, waiting
from deploy.environment import CHART, RELEASE
from deploy.images import pushed_digests
from deploy.logins import check_logins
from deploy.session import Declined, DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.session import Session

COMPONENTS = ("listener", "manager", "metrics", "broker")
#: Our Helm never waits longer: a revision that is pending for longer was left by a dead process.
_INTERRUPTED_AFTER_S = 20 * 60.0
SELECTOR = f"app.kubernetes.io/instance={RELEASE}"
_REFRESH_S = 60
#: The names of terminating pods, for `kubectl get pod`.
ENDING = "jsonpath={range .items[?(@.metadata.deletionTimestamp)]}pod/{.metadata.name} {end}"
#: Helm writes this into the description of a rollback, also of a rollback by `--atomic`.
_ROLLBACK = re.compile(r"Rollback to (\d+)")


def release(session: Session) -> None:
    """Install or upgrade the chart; if that fails, Helm restores the previous revision."""
    reach(session)
    environment, outputs = session.environment, terraform.outputs(session)
    namespace, secrets = outputs["namespace"], outputs["secret_names"]
    told = outputs["helm_values"]
    check_brokers(session, told["brokers"])
    digests = pushed_digests(session, told["image"]["registry"])
    revisions = {name: _version_of(session, secrets[name]) for name in sorted(secrets)}
    check_logins(session, told["brokers"])
    files = {"helm-values.json": told, "deploy-values.json": own_values(digests, revisions)}
    for name, values in files.items():
        text = json.dumps(values, indent=2)
        (environment.directory / name).write_text(f"{text}\n", encoding="utf-8")
    from_terraform, from_deploy = (environment.directory / name for name in files)
    end_interrupted(session, namespace)
    _refresh_secrets(session, namespace)
    commit = session.read("git", "rev-parse", "--short=12", "HEAD")
    upgrade(
        session, RELEASE, CHART, "--namespace", namespace, "--history-max", "10",
        "--description", f"{environment.name} {commit}",
        "--values", from_terraform, "--values", environment.values, "--values", from_deploy,
    )  # fmt: skip


def own_values(digests: Mapping[str, str], revisions: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that only a deployment knows; they win over all others."""
    return {"image": {"digests": digests}, "secrets": {"revisions": revisions}}


def _version_of(session: Session, secret: str) -> str:
    """Return a text that changes when the secret changes, without reading the secret."""
    query = "Versions[?contains(VersionStages, 'AWSCURRENT')].VersionId | [0]"
    return str(session.aws(
        "secretsmanager", "list-secret-version-ids", "--secret-id", secret, "--query", query
    ))  # fmt: skip


def roll_back(session: Session) -> None:
    """Go back to REVISION, or to the previous one; the infrastructure does not change."""
    reach(session)
    revision = session.variables.get("REVISION", "")
    if revision and not revision.isdecimal():
        raise Declined(f"REVISION={revision} is not a number; `make status` lists them")
    name, namespace = session.environment.name, terraform.outputs(session)["namespace"]
    session.run(*session.helm("history", RELEASE, "--namespace", namespace, "--max", "5"))
    target = int(revision) if revision else revision_before(history(session, namespace))
    if target is None:
        raise Declined("there is no earlier revision that ran")
    if session.environment.is_guarded:
        session.confirm(f"{RELEASE} on {name} goes back to revision {target}", word=name)
    roll_back_to(session, namespace, target)
    wait_for_rollouts(session)


def roll_back_to(session: Session, namespace: str, revision: int) -> None:
    """Make Helm restore a revision, and wait for it."""
    session.run(*session.helm(
        "rollback", RELEASE, str(revision), "--namespace", namespace, *waiting(session),
        "--timeout", TIMEOUT, "--cleanup-on-fail",
    ))  # fmt: skip


def history(session: Session, namespace: str) -> list[dict[str, Any]]:
    """Return Helm's records of all revisions, the oldest first; empty if it is not installed."""
    try:
        found = session.read_json(
            *session.helm("history", RELEASE, "--namespace", namespace, "-o", "json")
        )
    except DeployError as error:
        if "not found" in str(error):
            return []
        raise
    return sorted(found, key=lambda revision: int(revision["revision"]))


def revision_before(revisions: Sequence[dict[str, Any]]) -> int | None:
    """Return the revision to go back to, or None if there is none.

    Helm's own choice is the last number minus one, even if that one failed. Pure.

    - If the last one failed or was interrupted: the one that ran before it.
    - Otherwise: the newest one that ran with other content than the running one.
    """
    back_to = {r["revision"]: _ROLLBACK.search(r.get("description", "")) for r in revisions}

    def original(number: int) -> int:
        """Return the number under which this content was first installed, as far as Helm tells."""
        while back := back_to.get(number):
            number = int(back[1])
        return number

    ran: list[int] = [r["revision"] for r in revisions if r["status"] in ("deployed", "superseded")]
    if not ran or revisions[-1]["status"] != "deployed":
        return ran[-1] if ran else None
    others = (number for number in reversed(ran) if original(number) != original(ran[-1]))
    return next(others, None)


def end_interrupted(session: Session, namespace: str) -> None:
    """If a Helm ended before it had finished, restore the revision that ran before.

    Until then Helm refuses every later release ("another operation is in progress").
    Raises Declined: the other Helm may still be at work, or nothing ran before.
    """
    revisions = history(session, namespace)
    if not revisions or not revisions[-1]["status"].startswith("pending-"):
        return
    number, status = revisions[-1]["revision"], revisions[-1]["status"]
    age_s = session.now() - datetime.fromisoformat(revisions[-1]["updated"]).timestamp()
    if age_s < _INTERRUPTED_AFTER_S:
        raise Declined(
            f"revision {number} is {status}: another Helm runs, or was interrupted "
            f"{age_s / 60:.0f} minutes ago; wait until it ends. If you know that none runs: "
            f"`make rollback ENV={session.environment.name}`"
        )
    target = revision_before(revisions)
    if target is None:
        raise Declined(
            f"the first installation was interrupted ({status}), so there is no earlier revision; "
            f"run `helm uninstall {RELEASE} --namespace {namespace}`, then repeat the step"
        )
    session.say(f"revision {number} was interrupted ({status}); going back to {target} first")
    roll_back_to(session, namespace, target)


def wait_for_rollouts(session: Session) -> None:
    """Wait until every pod of the release is new and ready.

    Raises DeployError: some are not; then it shows the pods and what Kubernetes says of them.
    """
    reach(session)
    namespace = terraform.outputs(session)["namespace"]
    kubectl = partial(session.kubectl, namespace=namespace)
    kinds = "deployment,statefulset"
    workloads = session.read(*kubectl("get", kinds, "-l", SELECTOR, "-o", "name")).split()
    if not workloads:
        raise DeployError("the release has no workloads")
    try:
        session.run(*kubectl("rollout", "status", f"--timeout={TIMEOUT}", *workloads))
        # No workload counts these: a pod on a lost node ends only with the node.
        if pods := session.read(*kubectl("get", "pod", "-l", SELECTOR, "-o", ENDING)).split():
            session.run(*kubectl("wait", "--for=delete", f"--timeout={TIMEOUT}", *pods))
    except DeployError:
        session.run(*kubectl("get", "pod", "-l", SELECTOR, "-o", "wide"))
        session.run(*kubectl("events", "--types=Warning"))
        raise
    session.say(f"ok  {'rollouts':<14} {len(workloads)} workloads, all pods new and ready")


def status(session: Session) -> None:
    """Show the release, its workloads and pods, and the cache's own status."""
    reach(session)
    outputs = terraform.outputs(session)
    namespace = outputs["namespace"]
    session.run(*session.helm("history", RELEASE, "--namespace", namespace, "--max", "5"))
    kubectl = partial(session.kubectl, namespace=namespace)
    session.run(*kubectl("get", "deployment,statefulset,hpa,pod", "-l", SELECTOR, "-o", "wide"))
    # The manager's role may read the queue, and its settings name registry and queue.
    manager = ("exec", f"deploy/{RELEASE}-manager", "-c", "manager")
    session.run(*kubectl(*manager, "--", "wis2-gc", "status"), codes=(0, 1))
    terraform.say_addresses(session, outputs)
    session.say(f"status page: https://{outputs['helm_values']['domain']['metrics']}/")


def logs(session: Session) -> None:
    """Show the logs of one PART or of all pods, from SINCE on."""
    component, since = (session.variables.get(name) for name in ("PART", "SINCE"))
    if component and component not in COMPONENTS:
        raise Declined(f"PART={component} is not one of {', '.join(COMPONENTS)}")
    reach(session)
    selector = SELECTOR + (f",app.kubernetes.io/component={component}" if component else "")
    session.run(*session.kubectl(
        "logs", "-l", selector, "--all-containers", "--prefix", "--tail=-1",
        f"--since={since or '10m'}", "--max-log-requests=50",
        *(("--follow",) if session.variables.get("FOLLOW") else ()),
        namespace=terraform.outputs(session)["namespace"],
    ))  # fmt: skip


def _refresh_secrets(session: Session, namespace: str) -> None:
    """Make External Secrets fetch now: the new pods must find the new secret.

    Otherwise they would wait for the next refresh, up to an hour. Does nothing at the first
    installation.
    """
    started_s, kubectl = int(session.now()), partial(session.kubectl, namespace=namespace)
    ours = ("externalsecret", "-l", SELECTOR)

    def old() -> bool:
        """Return whether one was fetched before the start; Kubernetes gives whole seconds."""
        items = session.read_json(*kubectl("get", *ours, "-o", "json"))["items"]
        times = [item.get("status", {}).get("refreshTime") for item in items]
        return any(
            not time or datetime.fromisoformat(time).timestamp() < started_s for time in times
        )

    if not old():
        return
    session.run(*kubectl("annotate", *ours, "--overwrite", f"force-sync={started_s}"))

    def fetched() -> str:
        if old():
            why = f"`kubectl -n {namespace} describe externalsecret` says why"
            raise DeployError(f"External Secrets fetched nothing; {why}")
        return "all"

    session.until(fetched, _REFRESH_S)
