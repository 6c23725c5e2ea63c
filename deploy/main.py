"""`python -m deploy STEP --env dev`: what the Makefile's group "Deploy" calls.

What a step can be told besides (REVISION, BROKER, PART, …) are variables, as make hands them on.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deploy import cluster, destroy, images, logins, release, terraform
from deploy.checks import TOOLS, check
from deploy.environment import open_environment
from deploy.session import DeployError, Session
from deploy.smoke import step as smoke

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
_CLOUD = ("git", "aws", "terraform")
_CLUSTER = ("aws", "terraform", "kubectl", "helm")


class Step(NamedTuple):
    """One target of the Makefile."""

    run: Callable[[Session], None]
    tools: Sequence[str]
    meaning: str
    requires_clean_tree: bool = False
    """We deploy exactly what a commit contains, in all environments except dev."""
    requires_state: bool = True
    """With Terraform: whether the bucket of its state must exist."""


STEPS = {
    "check": Step(lambda session: session.say(f"ready to deploy {session.environment.name}"),
                  tuple(TOOLS), "check tools, account and checkout; change nothing", True),
    "bootstrap": Step(terraform.bootstrap, _CLOUD, "create the bucket of Terraform's state, once",
                      requires_state=False),
    "infra": Step(terraform.apply, _CLOUD, "plan and apply terraform/main", True),
    "images": Step(images.build_and_push, (*_CLOUD, "docker"), "build and push the images", True),
    "logins": Step(logins.put_logins, ("aws", "terraform"),
                   "store the Global Brokers' logins in Secrets Manager"),
    "kubeconfig": Step(cluster.write_kubeconfig, ("aws", "kubectl"), "connect to the cluster"),
    "addons": Step(cluster.install_add_ons, _CLUSTER, "install what the cache needs around it"),
    "release": Step(release.release, ("git", *_CLUSTER), "install or upgrade the chart", True),
    "rollout": Step(release.wait_for_rollouts, _CLUSTER, "wait until all pods are new and ready"),
    "smoke": Step(smoke.run_smoke_test, _CLUSTER, "test the cache from outside"),
    "status": Step(release.status, _CLUSTER, "release, pods, listeners, queue"),
    "logs": Step(release.logs, _CLUSTER, "logs of all pods, or of PART="),
    "rollback": Step(release.roll_back, _CLUSTER, "go back to the release before, or to REVISION="),
    "destroy": Step(destroy.destroy, _CLUSTER, "destroy the environment"),
}  # fmt: skip
#: `make deploy`, in this order.
ALL = ("check", "infra", "images", "logins", "kubeconfig", "addons", "release", "rollout", "smoke")


def main(
    argv: Sequence[str] | None = None,
    *,
    root: Path = ROOT,
    environment: Mapping[str, str] = os.environ,
    ask: Callable[[str], str] | None = None,
    ask_secret: Callable[[str], str] | None = None,
) -> int:
    """Run one step, or all; return the exit code.

    `ask` and `ask_secret` None: ask the operator if standard input is a terminal.
    """
    parser = argparse.ArgumentParser(prog="deploy", description=__doc__)
    parser.add_argument("step", metavar="STEP", choices=("all", *STEPS), help="all, or one of them")
    parser.add_argument("--env", default="", help="environment: dev, prod")
    options = parser.parse_args(argv)
    names = ALL if options.step == "all" else (options.step,)
    if sys.stdin.isatty():
        ask, ask_secret = ask or input, ask_secret or getpass.getpass
    try:
        found = open_environment(root, options.env)
        variables = {
            **environment,
            # One data directory for each environment: nobody can confuse their states.
            "TF_DATA_DIR": str(found.directory / "terraform"),
            "TF_IN_AUTOMATION": "1",
            "KUBECONFIG": str(found.kubeconfig),
            "AWS_PAGER": "",
        }
        session = Session(found, variables, partial(print, flush=True), ask, ask_secret)
        # The check comes first of all.
        check(session, STEPS[names[0]], is_whole=names[0] == ALL[0])
        # Write nothing before the checks; only the operator may read the files.
        found.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number, name in enumerate(names, start=1):
            if len(names) > 1:
                session.say(f"\n[{number}/{len(names)}] {name}: {STEPS[name].meaning}")
            STEPS[name].run(session)
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped; the step can be repeated", file=sys.stderr)
        return 130
    return 0
