"""A checkout to deploy from and stand-ins for the programs: what tests of `make deploy` share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.main import main
from testkit.deployment import chart
from tests.deployment.effects import effects
from tests.deployment.stand_ins import StandIns

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]
ACCOUNT = "210987654321"
REGION = "eu-west-3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = "registry-password-of-twelve-hours"
WORKLOADS = "deployment.apps/wis2-global-cache-manager\nstatefulset.apps/wis2-global-cache-broker\n"
DIGESTS = {
    service: f"sha256:{str(number) * 64}"
    for number, service in enumerate(("listener", "manager", "metrics"), start=1)
}


def outputs(environment: str, *, compute: str = "auto") -> dict[str, Any]:
    """Return what `terraform output -json` prints after an apply."""
    name = f"wis2-gc-{environment}"
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}"
    values = {
        "helm_values": {
            **chart.HELM_VALUES,
            "image": {"registry": registry},
            "brokers": [
                {"name": broker, "secretArn": f"{name}/global-brokers/{broker}"}
                for broker in ("inmet-br", "meteo-fr")
            ],
        },
        "namespace": "wis2-gc",
        "compute": compute,
        "certificate_arn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/0d",
        "vpc_id": "vpc-0a",
        "public_subnet_ids": ["subnet-0a", "subnet-0b", "subnet-0c"],
        "private_subnet_ids": ["subnet-1a", "subnet-1b", "subnet-1c"],
        "tags": {"Project": "wis2-global-cache", "Environment": environment},
        "alarm_topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}-alarms",
        "pod_log_group": "",
        "secret_names": {
            "registry": f"{name}/registry",
            "broker": f"{name}/broker",
            "deployment": f"{name}/deployment",
            "global-brokers/meteo-fr": f"{name}/global-brokers/meteo-fr",
            "global-brokers/inmet-br": f"{name}/global-brokers/inmet-br",
        },
        "egress_addresses": ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        "broker_addresses": ["192.0.2.11", "192.0.2.12", "192.0.2.13"],
    }
    return {key: {"sensitive": False, "value": value} for key, value in values.items()}


def plan(**actions: list[str]) -> str:
    """Return a plan as `terraform show -json` prints it."""
    return json.dumps(
        {
            "resource_changes": [
                {"address": address.replace("__", "."), "change": {"actions": done}}
                for address, done in actions.items()
            ]
        }
    )


@dataclass(frozen=True)
class Ended:
    """How a run of `make deploy` ended."""

    code: int
    out: str
    err: str


@dataclass
class Deployment:
    """A checkout in a folder of its own, with an account behind it that answers as it should."""

    directory: Path
    questions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.directory / "checkout"
        self.programs = StandIns(self.directory / "programs")
        self._make_checkout()
        self._answer()

    def _make_checkout(self) -> None:
        environments = self.root / "terraform" / "environments"
        environments.mkdir(parents=True)
        for name in ("dev", "prod"):
            text = (REPOSITORY / f"terraform/environments/{name}.tfvars").read_text("utf-8")
            (environments / f"{name}.tfvars").write_text(
                text.replace("123456789012", ACCOUNT)
                .replace("eu-west-3", REGION)
                .replace("192.0.2.0/24", "198.51.100.0/24")
                .replace("example.org", "wis2.example")
                .replace("xx-example-", "xx-ours-")
                .replace("global_brokers = []", 'global_brokers = ["inmet-br", "meteo-fr"]')
            )
        (self.root / "terraform/main").mkdir()
        shutil.copy(REPOSITORY / "terraform/main/variables.tf", self.root / "terraform/main")
        shutil.copytree(REPOSITORY / "helm/wis2-global-cache/values",
                        self.root / "helm/wis2-global-cache/values")  # fmt: skip
        for name in ("images", "services"):
            (self.root / name).symlink_to(REPOSITORY / name)

    def _answer(self) -> None:
        answer = self.programs.answer
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/wis2-gc-deploy/somebody"
        identity = {"Account": ACCOUNT, "Arn": session}
        answer("aws", "sts", "get-caller-identity", out=json.dumps(identity))
        answer("aws", "service-quotas", "get-service-quota", out="20.0\n")
        answer("aws", "ec2", "describe-addresses", out="0\n")
        answer("aws", "ec2", "describe-instances", out="[]\n")
        answer("aws", "secretsmanager", "list-secrets", out="[]\n")
        answer("aws", "secretsmanager", "put-secret-value", out='{"VersionId": "version-2"}\n')
        answer("aws", "cloudfront", "list-distributions", out="1\n")
        answer("aws", "s3api", "list-buckets", out="[]\n")
        answer("git", "rev-parse", "HEAD", out=f"{COMMIT}\n")
        answer("git", "rev-parse", "--short=12", "HEAD", out=f"{COMMIT[:12]}\n")
        answer("aws", "ecr", "get-login-password", out=PASSWORD)
        answer("aws", "ecr", "list-images", out="null\n")
        answer("terraform", "plan", code=2, write=("-out", "a plan"))
        answer("terraform", "show", "-json", out=plan(module__queue=["create"]))
        answer("aws", "eks", "update-kubeconfig", write=("--kubeconfig", "apiVersion: v1\n"))
        answer("kubectl", "get", "externalsecret", out='{"items": []}')
        answer("kubectl", "get", "deployment,statefulset", "-o", "name", out=WORKLOADS)
        missing = "Error: release: not found\n"
        answer("helm", "history", "-o", "json", code=1, err=missing)
        answer("aws", "secretsmanager", "list-secret-version-ids", out='"version-1"\n')
        answer("aws", "secretsmanager", "get-secret-value", out="61\n")
        for name in ("dev", "prod"):
            for service, digest in DIGESTS.items():
                image = f"wis2-gc-{name}/wis2-gc-{service}"
                answer("aws", "ecr", "list-images", image, out=f'"{digest}"\n', after=" bake ")
        self.use("dev")

    def use(self, name: str, **options: Any) -> None:
        """Have Terraform answer for this environment."""
        self.programs.answer(
            "terraform", "output", "-json", out=json.dumps(outputs(name, **options))
        )

    def set(self, path: str, old: str, new: str) -> None:
        """Change a file of the checkout."""
        file = self.root / path
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new))

    def run(
        self,
        step: str,
        env: str = "dev",
        *,
        answers: Callable[[str], str] | None = None,
        secrets: Callable[[str], str] | None = None,
        **variables: str,
    ) -> Ended:
        """Run `python -m deploy STEP`. `answers`, `secrets`: who is asked; None: nobody."""

        def ask(question: str) -> str:
            self.questions.append(question)
            assert answers is not None
            return answers(question)

        out, err = io.StringIO(), io.StringIO()
        environment = {
            "PATH": str(self.programs.bin),
            "HOME": str(self.directory),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            **variables,
        }
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(
                [step, "--env", env],
                root=self.root,
                environment=environment,
                ask=None if answers is None else ask,
                ask_secret=secrets,
            )
        return Ended(code, out.getvalue(), err.getvalue())

    def effects(self, *kinds: type[Any]) -> list[Any]:
        """Return what the runs so far would have done, in order; or of these kinds."""
        found = effects(self.programs.calls)
        return [effect for effect in found if not kinds or isinstance(effect, kinds)]
