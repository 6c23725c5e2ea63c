"""`make deploy` against recording stand-ins: what it runs, in which order, and when it stops."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jmespath
import pytest

from deploy.environment import open_environment
from deploy.main import ALL
from deploy.release import ENDING
from tests.deployment.deployments import (
    ACCOUNT,
    COMMIT,
    DIGESTS,
    PASSWORD,
    REGION,
    REPOSITORY,
    WORKLOADS,
    Deployment,
    outputs,
    plan,
)  # fmt: skip

READS_ONLY = (
    ("git",), ("aws", "--version"), ("aws", "sts"), ("aws", "s3api", "head-bucket"),
    ("aws", "service-quotas", "get-service-quota"), ("aws", "ec2", "describe-addresses"),
    ("aws", "ec2", "describe-instances"), ("aws", "secretsmanager", "list-secrets"),
    ("aws", "cloudfront", "list-distributions"),
    ("terraform", "version"), ("docker", "version"), ("kubectl", "version"),
    ("docker", "buildx", "version"), ("docker", "buildx", "inspect"), ("docker", "info"),
    ("helm", "version"),
)  # fmt: skip
WHOLE = [
    "terraform init",
    "terraform plan",
    "terraform apply",
    "terraform init",
    "aws ecr get-login-password",
    "docker login",
    "docker buildx bake",
    "kubectl apply",
    "helm upgrade external-secrets",
    "helm upgrade keda",
    "helm upgrade external-dns",
    "kubectl apply",
    "helm upgrade wis2-global-cache",
]
MONITORING = [*WHOLE[:11], "helm upgrade monitoring", *WHOLE[11:]]


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    # The smoke test has tests of its own; here only that it comes last.
    monkeypatch.setattr("deploy.smoke.step.smoke_test", lambda *_args, **_options: None)
    return Deployment(tmp_path)


def yes(_question: str) -> str:
    return "prod"


def test_a_deployment_of_dev_runs_every_step_in_order_and_asks_nothing(
    deployment: Deployment,
) -> None:
    ended = deployment.run("all")
    assert ended.code == 0, ended.err
    assert deployment.story() == WHOLE
    headings = [line for line in ended.out.splitlines() if line.startswith("[")]
    assert [line.split("] ")[1].split(":")[0] for line in headings] == list(ALL)
    assert ended.out.rstrip().endswith("the smoke test of dev passed")
    assert "egress addresses: 192.0.2.1, 192.0.2.2, 192.0.2.3" in ended.out
    assert "broker addresses: 192.0.2.11, 192.0.2.12, 192.0.2.13" in ended.out
    # No secret is in an argument, or on the screen.
    (login,) = deployment.programs.where("docker", "login")
    assert login.stdin == PASSWORD
    for words in (ended.out, ended.err, *(" ".join(c.argv) for c in deployment.programs.calls)):
        assert PASSWORD not in words


def test_a_deployment_can_be_repeated_and_builds_nothing_twice(deployment: Deployment) -> None:
    assert deployment.run("all").code == 0
    deployment.programs.answer("terraform", "plan", code=0)
    first = len(deployment.story())
    ended = deployment.run("all")
    assert ended.code == 0, ended.err
    again = deployment.story()[first:]
    assert "docker buildx bake" not in again
    assert "docker login" not in again
    assert "terraform apply" not in again
    assert again[-1] == "helm upgrade wis2-global-cache"
    assert "nothing to change" in ended.out


@pytest.mark.parametrize(
    ("failing", "last"),
    [
        (("terraform", "plan"), "terraform plan"),
        (("docker", "buildx", "bake"), "docker buildx bake"),
        (("kubectl", "get", "--raw"), "docker buildx bake"),
        (("helm", "upgrade", "keda"), "helm upgrade keda"),
        (("helm", "upgrade", "wis2-global-cache"), "helm upgrade wis2-global-cache"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_it_stops_at_the_first_failure_with_one_line(
    deployment: Deployment, failing: tuple[str, ...], last: str
) -> None:
    deployment.programs.answer(*failing, code=1, err="it does not work today\n")
    ended = deployment.run("all")
    assert ended.code == 1
    assert deployment.story()[-1] == last
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "the smoke test" not in ended.out


def test_images_are_pushed_by_commit_for_the_nodes(deployment: Deployment) -> None:
    ended = deployment.run("images")
    assert ended.code == 0, ended.err
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/wis2-gc-dev"
    assert f"REGISTRY={registry} TAG={COMMIT[:12]} PLATFORM=linux/amd64 " in ended.out
    assert deployment.programs.where("docker", "buildx", "bake", "--push", *DIGESTS)


def test_a_dirty_tree_gets_a_tag_of_what_is_in_it_in_dev(deployment: Deployment) -> None:
    deployment.programs.answer("git", "status", "--porcelain", out=" M services/x.py\n")
    deployment.programs.answer("git", "write-tree", out=f"{'7' * 40}\n")
    ended = deployment.run("images")
    assert ended.code == 0, ended.err
    assert f" TAG={COMMIT[:12]}-dirty-777777777777 " in ended.out
    assert f"GIT_INDEX_FILE={deployment.root}/.deploy/dev/index git add --all" in ended.out
    # The same tree is not built again, and is what is released.
    assert deployment.run("images").code == deployment.run("release").code == 0
    assert len(deployment.programs.where("docker", "buildx", "bake", "--push")) == 1


def test_the_plan_that_was_shown_is_applied_and_removed(deployment: Deployment) -> None:
    assert deployment.run("infra").code == 0
    # One state for each environment.
    assert deployment.programs.where("terraform", "init", "-backend-config=key=dev.tfstate")
    (planned,), (applied,) = (
        deployment.programs.where("terraform", verb) for verb in ("plan", "apply")
    )
    assert applied.argv[-1] == planned.option("-out")[0]
    assert not (deployment.root / ".deploy/dev/plan").exists()
    assert applied.variables["TF_DATA_DIR"].endswith(".deploy/dev/terraform")


def test_the_operators_own_kubeconfig_is_neither_used_nor_changed(deployment: Deployment) -> None:
    own = deployment.directory / "own"
    own.write_text("mine")
    assert deployment.run("all", KUBECONFIG=str(own)).code == 0
    ours = str(deployment.root / ".deploy/dev/kubeconfig")
    for call in deployment.programs.calls:
        assert call.variables["KUBECONFIG"] == ours
        if call.argv[0] == "helm" and call.has("upgrade"):
            assert call.option("--kube-context") == ["wis2-gc-dev"]
        if call.argv[0] == "kubectl" and not call.has("version"):
            assert call.option("--context") == ["wis2-gc-dev"]
    assert own.read_text() == "mine"
    assert stat.S_IMODE((deployment.root / ".deploy/dev/kubeconfig").stat().st_mode) == 0o600
    assert stat.S_IMODE((deployment.root / ".deploy/dev").stat().st_mode) == 0o700


def test_the_release_takes_terraforms_values_then_ours_then_the_digests(
    deployment: Deployment,
) -> None:
    assert deployment.run("all").code == 0
    (call,) = deployment.programs.where("helm", "upgrade", "wis2-global-cache")
    told, ours, own = map(Path, call.option("--values"))
    assert json.loads(told.read_text()) == outputs("dev")["helm_values"]["value"]
    assert ours == deployment.root / "helm/wis2-global-cache/values/dev.yaml"
    assert json.loads(own.read_text())["image"] == {"digests": DIGESTS}


def test_a_changed_secret_rolls_the_pods_that_read_it_and_an_unchanged_one_does_not(
    deployment: Deployment,
) -> None:
    def revisions() -> dict[str, str]:
        path = deployment.root / ".deploy/dev/deploy-values.json"
        found: dict[str, str] = json.loads(path.read_text())["secrets"]["revisions"]
        return found

    assert deployment.run("images").code == deployment.run("release").code == 0
    first = revisions()
    assert deployment.run("release").code == 0
    assert revisions() == first
    asked = ("aws", "secretsmanager", "list-secret-version-ids", "wis2-gc-dev/broker")
    deployment.programs.answer(*asked, out='"version-2"\n')
    assert deployment.run("release").code == 0
    changed = {name for name, revision in revisions().items() if revision != first[name]}
    assert changed == {"broker"}


def test_secrets_are_fetched_anew_before_the_pods_that_read_them_roll(
    deployment: Deployment,
) -> None:
    assert deployment.run("images").code == 0
    deployment.programs.forget()
    get = ("kubectl", "get", "externalsecret")
    old, new = ({"items": [{"status": {"refreshTime": time}}]}
                for time in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"))  # fmt: skip
    deployment.programs.answer(*get, out=json.dumps(old))
    deployment.programs.answer(*get, out=json.dumps(new), after=" annotate ")
    ended = deployment.run("release")
    assert ended.code == 0, ended.err
    assert deployment.story()[-2:] == ["kubectl annotate", "helm upgrade wis2-global-cache"]


def test_a_global_broker_without_a_login_is_named_before_helm_runs(deployment: Deployment) -> None:
    deployment.programs.answer("aws", "secretsmanager", "get-secret-value",
                               "wis2-gc-dev/global-brokers/meteo-fr", out="2\n")  # fmt: skip
    assert deployment.run("images").code == 0
    ended = deployment.run("release")
    assert ended.code == 1
    assert "wis2-gc-dev/global-brokers/meteo-fr is still empty" in ended.err
    assert "helm upgrade wis2-global-cache" not in deployment.story()


LOGIN = "mqtts://member:pass%40word@globalbroker.example:8883"
METEO_FR = ("aws", "secretsmanager", "get-secret-value", "wis2-gc-dev/global-brokers/meteo-fr")


def test_a_login_that_is_missing_is_asked_for_and_no_other(deployment: Deployment) -> None:
    deployment.programs.answer(*METEO_FR, out="2\n")
    asked: list[str] = []

    def secret(question: str) -> str:
        asked.append(question)
        return f" {LOGIN}\n"

    ended = deployment.run("logins", secrets=secret)
    assert ended.code == 0, ended.err
    assert ["meteo-fr" in question for question in asked] == [True]
    (put,) = deployment.programs.where("aws", "secretsmanager", "put-secret-value")
    assert put.option("--secret-id") == ["wis2-gc-dev/global-brokers/meteo-fr"]
    assert json.loads(put.stdin) == {"url": LOGIN}
    assert "pass" not in " ".join(put.argv)
    assert "pass%40word" not in ended.out + ended.err
    assert "the login of inmet-br is there already" in ended.out
    assert "the login of meteo-fr is put in: mqtts://globalbroker.example:8883" in ended.out


def test_a_login_can_be_put_in_again(deployment: Deployment) -> None:
    ended = deployment.run("logins", BROKER="inmet-br", secrets=lambda _question: LOGIN)
    assert ended.code == 0, ended.err
    (put,) = deployment.programs.where("aws", "secretsmanager", "put-secret-value")
    assert put.option("--secret-id") == ["wis2-gc-dev/global-brokers/inmet-br"]
    ended = deployment.run("logins", BROKER="inmet", secrets=lambda _question: LOGIN)
    assert (ended.code, "inmet-br, meteo-fr" in ended.err) == (2, True)


@pytest.mark.parametrize(
    "url", ["", "globalbroker.example", "https://a:b@c", "mqtts://a:pass#word@c", "mqtts://a:b@"]
)
def test_what_is_no_url_of_a_broker_is_not_put_in(deployment: Deployment, url: str) -> None:
    """A listener would not start with it, and Helm wait for that for a quarter of an hour."""
    deployment.programs.answer(*METEO_FR, out="2\n")
    ended = deployment.run("logins", secrets=lambda _question: url)
    assert ended.code == 1
    assert ended.err.startswith("error: the URL of meteo-fr ")
    assert "pass" not in ended.err
    assert not deployment.programs.where("aws", "secretsmanager", "put-secret-value")


def test_a_release_without_a_global_broker_is_refused_before_helm_runs(
    deployment: Deployment,
) -> None:
    named = outputs("dev")
    named["helm_values"]["value"]["brokers"] = []
    deployment.programs.answer("terraform", "output", "-json", out=json.dumps(named))
    assert deployment.run("images").code == 0
    ended = deployment.run("release")
    assert ended.code == 2
    assert "no Global Broker is named" in ended.err
    assert "helm upgrade wis2-global-cache" not in deployment.story()
    values = deployment.root / "helm/wis2-global-cache/values/dev.yaml"
    with values.open("a") as file:
        file.write("brokers:\n  - {name: fr, secretName: brokers}\n")
    assert deployment.run("release").code == 0


def test_an_image_that_the_registry_lacks_is_told_before_helm_runs(
    deployment: Deployment,
) -> None:
    """It could not be pulled: every listener would wait for it at once."""
    ended = deployment.run("release")
    assert ended.code == 1
    assert f"wis2-gc-listener:{COMMIT[:12]}, of what is checked out, is not in the reg" in ended.err
    assert "first `make deploy-images ENV=dev`" in ended.err
    assert deployment.story() == []


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("v3.18.4", ("--atomic", "--wait")),
        ("v4.2.3", ("--rollback-on-failure", "--wait=legacy", "--server-side=false")),
    ],
)
def test_both_helms_wait_apply_and_take_back_in_the_same_way(
    deployment: Deployment, version: str, options: tuple[str, ...]
) -> None:
    deployment.programs.answer("helm", "version", out=version)
    for step in ("addons", "images", "release"):
        assert deployment.run(step).code == 0
    for call in deployment.programs.where("helm", "upgrade"):
        assert call.has(*options)
        assert ("--atomic" in call.argv) == (version[1] == "3")
    assert deployment.run("rollback", REVISION="1").code == 0
    (back,) = deployment.programs.where("helm", "rollback")
    assert back.has(*options[1:])


def test_definitions_of_resources_are_upgraded_with_the_chart_of_an_add_on(
    deployment: Deployment,
) -> None:
    definitions = "kind: CustomResourceDefinition\n"
    deployment.programs.answer("helm", "show", "crds", "keda", out=definitions)
    assert deployment.run("addons").code == 0
    applied = [call.stdin.strip() for call in deployment.programs.where("kubectl", "apply")]
    assert applied.count(definitions.strip()) == 1
    story = deployment.story()
    assert story.index("helm upgrade keda") == story.index("helm upgrade external-secrets") + 2


def test_production_asks_with_what_will_be_done_and_a_yes_goes_on(deployment: Deployment) -> None:
    deployment.use("prod")
    deployment.programs.answer(
        "terraform", "show", "-json",
        out=plan(module__a=["create"], module__b=["update"], module__c=["delete", "create"]),
    )  # fmt: skip
    ended = deployment.run("all", "prod", answers=yes)
    assert ended.code == 0, ended.err
    (question,) = deployment.questions
    assert "Terraform on prod: 2 to add, 1 to change, 1 to destroy" in question
    assert "will be destroyed or replaced: module.c" in ended.out
    assert deployment.story() == MONITORING


def test_any_other_answer_leaves_production_as_it_is(deployment: Deployment) -> None:
    deployment.use("prod")
    ended = deployment.run("infra", "prod", answers=lambda _question: "yes")
    assert ended.code == 2
    assert "not confirmed" in ended.err
    assert "terraform apply" not in deployment.story()


def test_without_anybody_to_ask_production_wants_the_word_in_confirm(
    deployment: Deployment,
) -> None:
    deployment.use("prod")
    ended = deployment.run("infra", "prod")
    assert (ended.code, "CONFIRM=prod" in ended.err) == (2, True)
    assert "terraform apply" not in deployment.story()
    assert deployment.run("infra", "prod", CONFIRM="dev").code == 2
    assert deployment.run("infra", "prod", CONFIRM="prod").code == 0
    assert deployment.story()[-1] == "terraform apply"


def _refused(deployment: Deployment, env: str = "dev", step: str = "all") -> str:
    """Return the one line, after nothing was touched."""
    ended = deployment.run(step, env, answers=yes)
    assert ended.code == 2, (ended.out, ended.err)
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert not (deployment.root / ".deploy" / env).exists()
    for call in deployment.programs.calls:
        assert any(call.has(*words) for words in READS_ONLY), call.argv
    return ended.err


@pytest.mark.parametrize("step", ["all", "destroy"])
def test_a_missing_environment_is_named_with_the_choices(deployment: Deployment, step: str) -> None:
    assert "ENV=dev or ENV=prod" in _refused(deployment, "", step)


@pytest.mark.parametrize("env", ["production", "../dev", "Dev", "dev "])
def test_an_unknown_environment_is_refused(deployment: Deployment, env: str) -> None:
    assert "there is no environment" in _refused(deployment, env)


def test_missing_programs_are_named_together(deployment: Deployment) -> None:
    deployment.programs.remove("helm")
    deployment.programs.remove("kubectl")
    assert "not installed: kubectl, helm" in _refused(deployment)


@pytest.mark.parametrize(
    ("words", "answer", "told"),
    [
        (("terraform", "version"), {"out": '{"terraform_version": "1.9.8"}'},
         "terraform is version 1.9.8"),
        (("helm", "version"), {"out": "v3.9.0"}, "helm is version 3.9.0"),
        (("aws", "--version"), {"out": "aws-cli/1.45.11 Python/3.11"}, "aws is version 1.45.11"),
        (("kubectl", "version"), {"out": "{}"}, "kubectl is version unknown"),
        (("docker", "version"), {"code": 1, "err": "Cannot connect"}, "docker does not answer"),
        (("docker", "buildx"), {"code": 1, "err": "unknown command"}, "no buildx"),
        (("aws", "sts"), {"code": 253, "err": "Unable to locate"}, "AWS knows no login here"),
        (("aws", "sts"), {"out": ""}, "AWS knows no login here"),
        (("aws", "sts"), {"out": '{"Account": "999999999999"}'},
         f"the AWS login is for account 999999999999; dev belongs to {ACCOUNT}"),
        (("aws", "s3api", "head-bucket"), {"code": 254, "err": "(403) Forbidden"}, "Forbidden"),
    ],
)  # fmt: skip
def test_what_does_not_do_is_refused_in_one_line_before_anything_is_touched(
    deployment: Deployment, words: tuple[str, ...], answer: dict[str, Any], told: str
) -> None:
    deployment.programs.answer(*words, **answer)
    assert told in _refused(deployment)


def test_a_builder_that_attaches_nothing_is_refused_before_anything_is_touched(
    deployment: Deployment,
) -> None:
    own = "Name: default\nDriver: docker\n\nNodes:\nName: default\n"
    deployment.programs.answer("docker", "buildx", "inspect", out=own)
    deployment.programs.answer("docker", "info", out="[[Backing Filesystem extfs]]")
    for step in ("all", "images"):
        line = _refused(deployment, step=step)
        assert "docker buildx create --use --driver docker-container" in line
    store = "[[driver-type io.containerd.snapshotter.v1]]"
    deployment.programs.answer("docker", "info", out=store)
    assert deployment.run("check").code == 0


@pytest.mark.parametrize(("count", "is_told"), [("0", True), ("1", False)])
def test_an_account_that_cloudfront_may_have_to_verify_is_told(
    deployment: Deployment, count: str, *, is_told: bool
) -> None:
    deployment.programs.answer("aws", "cloudfront", "list-distributions", out=f"{count}\n")
    ended = deployment.run("check")
    assert ended.code == 0
    assert ("must be verified" in ended.out) == is_told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # AWS would find these twenty minutes later, or never: a range that nobody is in.
        (f'id  = "{ACCOUNT}"', 'id  = "123456789012"', "example's account_id 123456789012"),
        (f"::{ACCOUNT}:role", "::123456789012:role", "example's cluster_admin_arns arn:aws:iam::1"),
        ("198.51.100.0/24", "192.0.2.0/24", "example's cluster_public_access_cidrs 192.0.2.0/24"),
        ("broker-dev.wis2.example", "broker-dev.example.org", "example's broker_domain wis2-"),
        ("xx-ours-test", "xx-example-test", "example's centre_id xx-example-test"),
        ("kept_images", "kept_imagse", "there is no variable kept_imagse"),
        ("kept_images", 'service_account_prefix = "wis2"\nkept_images',
         "service_account_prefix must be wis2-global-cache"),
    ],
)  # fmt: skip
def test_variables_that_cannot_be_meant_are_refused_by_name(
    deployment: Deployment, old: str, new: str, told: str
) -> None:
    deployment.set("terraform/environments/dev.tfvars", old, new)
    assert told in _refused(deployment)


@pytest.mark.parametrize(
    ("principal", "entry"),
    [
        ("sts::ACCOUNT:assumed-role/other/somebody", None),
        ("iam::ACCOUNT:user/wis2-gc-deploy", None),
        ("iam::ACCOUNT:root", None),
        ("sts::ACCOUNT:assumed-role/Admin_1/me@x", "role/aws-reserved/sso.amazonaws.com/Admin_1"),
        ("iam::ACCOUNT:user/people/me", "user/people/me"),
    ],
)
def test_whom_the_cluster_would_shut_out_is_told_before_it_is_made(
    deployment: Deployment, principal: str, entry: str | None
) -> None:
    arn = f"arn:aws:{principal.replace('ACCOUNT', ACCOUNT)}"
    identity = json.dumps({"Account": ACCOUNT, "Arn": arn})
    deployment.programs.answer("aws", "sts", "get-caller-identity", out=identity)
    if entry is None:
        line = _refused(deployment)
        assert arn in line
        assert "cluster_admin_arns" in line
        return
    deployment.set("terraform/environments/dev.tfvars", "role/wis2-gc-deploy", entry)
    assert deployment.run("check").code == 0


def _instance(kind: str, cores: int, *, is_ours: bool = False) -> list[object]:
    return [kind, {"CoreCount": cores, "ThreadsPerCore": 2}, [{"Key": "eks:x"}] if is_ours else []]


OURS = _instance("m7i.large", 1, is_ours=True)
#: Of others: 2 vCPUs, and two kinds whose quotas are others too.
THEIRS = [_instance("r7i.large", 1), _instance("g5.xlarge", 2), _instance("inf1.xlarge", 2)]


@pytest.mark.parametrize(
    ("env", "quota", "addresses", "instances", "told"),
    [
        ("prod", {"L-0263D0A3": "5.0"}, 0, [], "is 5, others use 0; prod requires 6"),
        ("dev", {"L-0263D0A3": "5.0"}, 4, [], "is 5, others use 4; dev requires 2"),
        ("dev", {"L-0263D0A3": "5.0"}, 3, [], ""),
        ("prod", {"L-1216C47A": "5.0"}, 0, [], "is 5, others use 0; prod requires 12"),
        ("prod", {"L-1216C47A": "12.0"}, 0, [OURS, *THEIRS], "others use 2; prod requires 12"),
        ("prod", {"L-1216C47A": "14.0"}, 0, [OURS] * 6 + THEIRS, ""),
        ("prod", {"L-1216C47A": "null", "L-0263D0A3": "null"}, 0, [], ""),
    ],
)
def test_a_quota_that_leaves_no_room_for_us_is_told_before_anything_is_made(
    deployment: Deployment, env: str, quota: dict[str, str], addresses: int,
    instances: list[object], told: str,
) -> None:  # fmt: skip
    for code, most in quota.items():
        deployment.programs.answer("aws", "service-quotas", code, out=f"{most}\n")
    deployment.programs.answer("aws", "ec2", "describe-addresses", out=f"{addresses}\n")
    deployment.programs.answer("aws", "ec2", "describe-instances", out=json.dumps(instances))
    if told:
        line = _refused(deployment, env, "check")
        assert told in line
        label = "EC2-VPC Elastic" if "L-0263D0A3" in quota else "Running On-Demand Standard"
        assert f'(Service Quotas: "{label}' in line
    else:
        assert deployment.run("check", env).code == 0


def test_what_is_ours_is_known_by_name_tag_and_variables(deployment: Deployment) -> None:
    deployment.set(
        "terraform/environments/prod.tfvars", "vpc_cidr ",
        'existing_nat_allocation_ids = ["eipalloc-1"]\nvpc_cidr ',
    )  # fmt: skip
    assert deployment.run("check", "prod").code == 0

    def asked(what: str, answer: dict[str, object]) -> object:
        (call,) = deployment.programs.where("aws", "ec2", what)
        return jmespath.search(call.option("--query")[0], answer)

    def tagged(key: str, value: str) -> dict[str, object]:
        return {"InstanceType": "m7i.large", "Tags": [{"Key": key, "Value": value}]}

    others: list[dict[str, object]] = [
        tagged("aws:eks:cluster-name", "wis2-gc-dev"), tagged("Name", "wis2-gc-prod"),
        {"InstanceType": "m7i.large"},
    ]  # fmt: skip
    ours = [
        tagged("eks:eks-cluster-name", "wis2-gc-prod"),
        tagged("aws:eks:cluster-name", "wis2-gc-prod"),
    ]
    found = asked(
        "describe-instances", {"Reservations": [{"Instances": ours}, {"Instances": others}]}
    )
    assert isinstance(found, list)
    assert [bool(tags) for _, _, tags in found] == [True, True, False, False, False]
    addresses = [
        tagged("Name", "wis2-gc-prod-egress-1"), {"AllocationId": "eipalloc-1"},
        {"AllocationId": "eipalloc-2"}, tagged("Name", "wis2-gc-dev-egress-1"),
    ]  # fmt: skip
    assert asked("describe-addresses", {"Addresses": addresses}) == 2


@pytest.mark.parametrize("env", ["dev", "prod"])
def test_the_vcpus_are_those_of_the_nodes_that_the_costs_assume(
    deployment: Deployment, env: str
) -> None:
    path = REPOSITORY / "docs/costs-assumptions.json"
    nodes = json.loads(path.read_text("utf-8"))["columns"][env]
    assert nodes["node_type"] == "m7i.large"
    assert open_environment(deployment.root, env).vcpu_count == 2 * nodes["nodes"]


@pytest.mark.parametrize("step", ["all", "infra"])
def test_secrets_that_still_hold_their_names_are_told_before_anything_is_made(
    deployment: Deployment, step: str
) -> None:
    deployment.set(
        "terraform/environments/dev.tfvars",
        'global_brokers = ["inmet-br", "meteo-fr"]',
        'global_brokers = ["inmet-br", "meteo-fr"]\nbroker_accounts = ["cma-cn"]',
    )
    names = ("registry", "global-brokers/meteo-fr", "accounts/cma-cn")
    deleted = [f"wis2-gc-dev/{name}" for name in names]
    deployment.programs.answer(
        "aws", "secretsmanager", "list-secrets", "--include-planned-deletion",
        out=json.dumps([*deleted, "wis2-gc-dev/global-brokers/gone"]),
    )  # fmt: skip
    line = _refused(deployment, "dev", step)
    assert all(name in line for name in deleted)
    assert "gone" not in line
    assert "aws secretsmanager delete-secret" in line


def test_whoever_may_not_look_at_quotas_may_deploy(deployment: Deployment) -> None:
    deployment.programs.answer("aws", "service-quotas", code=254, err="AccessDenied\n")
    assert deployment.run("check").code == 0


@pytest.mark.parametrize(
    ("change", "addresses"),
    [
        ({}, 6),
        ({"one_nat_gateway      = false": "one_nat_gateway = true"}, 4),
        ({"broker_address_count = 3": "broker_address_count = 2"}, 5),
        ({"vpc_cidr ": 'existing_vpc_id = "vpc-0"\nvpc_cidr '}, 3),
    ],
)
def test_elastic_ips_are_counted_as_terraform_makes_them(
    deployment: Deployment, change: dict[str, str], addresses: int
) -> None:
    for old, new in change.items():
        deployment.set("terraform/environments/prod.tfvars", old, new)
    assert open_environment(deployment.root, "prod").address_count == addresses


def test_without_a_global_broker_nothing_is_begun(deployment: Deployment) -> None:
    path = "terraform/environments/dev.tfvars"
    deployment.set(path, 'global_brokers = ["inmet-br", "meteo-fr"]', "global_brokers = []")
    assert "no Global Broker is named" in _refused(deployment)
    # The infrastructure may come first.
    assert deployment.run("infra").code == 0


@pytest.mark.parametrize("step", ["all", "infra", "destroy"])
def test_without_the_bucket_of_the_state_its_step_is_named(
    deployment: Deployment, step: str
) -> None:
    missing = "An error occurred (404) when calling the HeadBucket operation: Not Found\n"
    deployment.programs.answer("aws", "s3api", "head-bucket", code=254, err=missing)
    assert "no such bucket yet: `make deploy-bootstrap ENV=dev`" in _refused(
        deployment, "dev", step
    )
    assert deployment.run("bootstrap").code == 0


def test_a_dirty_tree_is_refused_in_production_and_named(deployment: Deployment) -> None:
    deployment.programs.answer(
        "git", "status", "--porcelain", out=" M services/manager/x.py\n?? new.txt\n"
    )
    line = _refused(deployment, "prod")
    assert "services/manager/x.py and 1 more" in line
    for step in ("images", "infra", "release"):
        assert deployment.run(step, "prod", answers=yes).code == 2


@pytest.mark.parametrize(
    "step", ["addons", "release", "rollout", "smoke", "status", "rollback", "logs"]
)
def test_each_step_on_the_cluster_begins_with_a_kubeconfig_for_it(
    deployment: Deployment, step: str
) -> None:
    """Whatever it led to before: another account, or a cluster of the same name that is gone."""
    missing = "An error occurred (ResourceNotFoundException): No cluster found\n"
    deployment.programs.answer("aws", "eks", "update-kubeconfig", code=254, err=missing)
    ended = deployment.run(step)
    assert (ended.code, "No cluster found" in ended.err) == (1, True)
    assert deployment.story() == []
    (call,) = deployment.programs.where("aws", "eks", "update-kubeconfig")
    assert call.option("--name") == call.option("--alias") == ["wis2-gc-dev"]


def test_without_infrastructure_the_step_that_makes_it_is_named(deployment: Deployment) -> None:
    deployment.programs.answer("terraform", "output", "-json", out="{}")
    ended = deployment.run("addons")
    assert ended.code == 1
    assert "make deploy-infra ENV=dev" in ended.err


def test_the_state_bucket_is_made_once(deployment: Deployment) -> None:
    assert deployment.run("bootstrap").code == 0
    (applied,) = deployment.programs.where("terraform", "apply")
    assert applied.argv[1] == "-chdir=terraform/bootstrap"
    assert applied.variables["TF_DATA_DIR"].endswith(".deploy/dev/bootstrap")
    deployment.programs.forget()
    deployment.programs.answer(
        "aws", "s3api", "list-buckets", out=json.dumps([f"wis2-gc-state-{ACCOUNT}-{REGION}"])
    )
    assert deployment.run("bootstrap").code == 0
    assert deployment.story() == []


def test_a_rollback_asks_in_production_and_waits_for_the_pods(deployment: Deployment) -> None:
    deployment.use("prod")
    assert deployment.run("rollback", "prod", answers=lambda _q: "no").code == 2
    assert "helm rollback" not in deployment.story()
    ended = deployment.run("rollback", "prod", REVISION="7", answers=yes)
    assert ended.code == 0, ended.err
    (call,) = deployment.programs.where("helm", "rollback")
    assert call.has("rollback", "wis2-global-cache", "7", "--namespace", "wis2-gc", "--wait")
    assert "ok  rollouts" in ended.out


def history(*revisions: tuple[str, str], age_s: float = 3600.0) -> str:
    """Return `helm history -o json`: status and description of each revision, from 1 on."""
    updated = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat()
    return json.dumps(
        [
            {"revision": number, "status": status, "description": text, "updated": updated}
            for number, (status, text) in enumerate(revisions, start=1)
        ]
    )


INSTALLED = ("superseded", "Install complete")
UPGRADED = ("superseded", "dev 0123456789ab")
FAILED = ("failed", "Upgrade failed: timed out")


@pytest.mark.parametrize(
    ("revisions", "target"),
    [
        ([INSTALLED, ("deployed", "dev 1")], "1"),
        # --atomic brought 2 back as 4; what ran before that is 1.
        ([INSTALLED, UPGRADED, FAILED, ("deployed", "Rollback to 2")], "1"),
        # The failed one was left as it is.
        ([INSTALLED, ("deployed", "dev 2"), FAILED], "2"),
        ([INSTALLED, ("deployed", "dev 2"), ("pending-upgrade", "Preparing upgrade")], "2"),
        ([INSTALLED, UPGRADED, FAILED, FAILED, ("deployed", "dev 5")], "2"),
    ],
)
def test_a_rollback_goes_to_what_ran_before(
    deployment: Deployment, revisions: list[tuple[str, str]], target: str
) -> None:
    deployment.programs.answer("helm", "history", "-o", "json", out=history(*revisions))
    ended = deployment.run("rollback")
    assert ended.code == 0, ended.err
    (call,) = deployment.programs.where("helm", "rollback")
    assert call.has("rollback", "wis2-global-cache", target)
    assert deployment.run("rollback", REVISION="last").code == 2


def test_without_a_revision_that_ran_nothing_is_rolled_back(deployment: Deployment) -> None:
    only = history(("deployed", "Install complete"))
    deployment.programs.answer("helm", "history", "-o", "json", out=only)
    ended = deployment.run("rollback")
    assert ended.code == 2
    assert "no revision that ran is left" in ended.err
    assert "helm rollback" not in deployment.story()


PENDING = [INSTALLED, ("deployed", "dev 2"), ("pending-upgrade", "Preparing upgrade")]


def test_a_release_that_was_interrupted_long_ago_is_rolled_back_first(
    deployment: Deployment,
) -> None:
    assert deployment.run("images").code == 0
    deployment.programs.answer("helm", "history", "-o", "json", out=history(*PENDING))
    ended = deployment.run("release")
    assert ended.code == 0, ended.err
    assert "revision 3 was interrupted (pending-upgrade); back to 2 first" in ended.out
    assert deployment.story()[-2:] == [
        "helm rollback",
        "helm upgrade wis2-global-cache",
    ]


@pytest.mark.parametrize(
    ("revisions", "age_s", "way_out"),
    [
        (PENDING, 120.0, "another Helm is at work"),
        ([("pending-install", "Initial install underway")], 7200.0, "helm uninstall"),
    ],
)
def test_a_helm_that_may_be_at_work_is_not_disturbed(
    deployment: Deployment, revisions: list[tuple[str, str]], age_s: float, way_out: str
) -> None:
    assert deployment.run("images").code == 0
    before = len(deployment.story())
    text = history(*revisions, age_s=age_s)
    deployment.programs.answer("helm", "history", "-o", "json", out=text)
    ended = deployment.run("release")
    assert ended.code == 2
    assert way_out in ended.err
    assert not [line for line in deployment.story()[before:] if line.startswith("helm")]


ROLLOUT = ("kubectl", "rollout", "status")


def test_a_rollout_is_waited_for_of_each_workload(deployment: Deployment) -> None:
    ended = deployment.run("rollout")
    assert ended.code == 0, ended.err
    assert deployment.programs.where(*ROLLOUT, *WORKLOADS.split())
    assert "ok  rollouts       2 workloads, all pods new and ready" in ended.out
    assert not deployment.programs.where("kubectl", "wait")


def test_a_rollout_that_does_not_end_shows_the_pods_and_what_is_the_matter(
    deployment: Deployment,
) -> None:
    deployment.programs.answer(*ROLLOUT, code=1)
    ended = deployment.run("rollout")
    assert (ended.code, ended.err) == (
        1,
        "error: `kubectl rollout status` ended with exit code 1\n",
    )
    shown = [call.argv[3:] for call in deployment.programs.calls[-2:]]
    assert [words[:2] for words in shown] == [["get", "pod"], ["events", "--types=Warning"]]


def test_a_pod_that_hangs_on_a_lost_node_is_waited_for_and_told(deployment: Deployment) -> None:
    """No workload counts it: all of them were rolled out while it hung."""
    deployment.programs.answer("kubectl", "get", "pod", ENDING, out="pod/a pod/b ")
    deployment.programs.answer("kubectl", "wait", "--for=delete", "pod/a", "pod/b", code=1)
    ended = deployment.run("rollout")
    assert (ended.code, "`kubectl wait a` ended with exit code 1" in ended.err) == (1, True)


def test_a_release_without_workloads_is_not_rolled_out(deployment: Deployment) -> None:
    deployment.programs.answer("kubectl", "get", "deployment,statefulset", "-o", "name", out="")
    ended = deployment.run("rollout")
    assert (ended.code, "has no workloads" in ended.err) == (1, True)


def test_status_shows_release_pods_cache_and_addresses(deployment: Deployment) -> None:
    ended = deployment.run("status")
    assert ended.code == 0
    for words in (("helm", "history"), ("kubectl", "get"), ("kubectl", "exec", "wis2-gc")):
        assert deployment.programs.where(*words)
    assert "broker addresses: 192.0.2.11" in ended.out
    assert "https://metrics." in ended.out


def test_logs_are_of_one_component_or_of_all(deployment: Deployment) -> None:
    assert deployment.run("logs", PART="manager", SINCE="1h", FOLLOW="1").code == 0
    (call,) = deployment.programs.where("kubectl", "logs")
    assert call.option("-l") == [
        "app.kubernetes.io/instance=wis2-global-cache,app.kubernetes.io/component=manager"
    ]
    assert call.has("--since=1h", "--follow")
    ended = deployment.run("logs", PART="managers")
    assert (ended.code, "none of listener, manager" in ended.err) == (2, True)


@pytest.mark.parametrize("item", ["synthetic", "fake"])
def test_nothing_is_made_up_in_production(deployment: Deployment, item: str) -> None:
    deployment.use("prod")
    ended = deployment.run("smoke", "prod", ITEM=item)
    assert ended.code == 2


def test_dev_is_destroyed_from_the_outside_in(deployment: Deployment) -> None:
    deployment.programs.answer("terraform", "state", "list",
                               out="module.cluster.aws_eks_cluster.this\n")  # fmt: skip
    deployment.programs.answer("kubectl", "get", "persistentvolume", out="persistentvolume/pvc-1\n")
    ended = deployment.run("destroy")
    assert ended.code == 0, ended.err
    assert deployment.story() == [
        "terraform init", "helm uninstall", "kubectl delete",
        "helm uninstall", "helm uninstall", "helm uninstall", "terraform plan", "terraform apply",
    ]  # fmt: skip
    removed = [c.argv[c.argv.index("uninstall") + 1]
               for c in deployment.programs.where("helm", "uninstall")]  # fmt: skip
    assert removed == ["wis2-global-cache", "external-dns", "keda", "external-secrets"]
    assert deployment.programs.where("kubectl", "wait", "persistentvolume/pvc-1")
    assert deployment.programs.where("terraform", "plan", "-destroy")


def _protected(deployment: Deployment) -> None:
    deployment.use("prod")
    deployment.set(
        "terraform/environments/prod.tfvars", "budget_usd", "disposable = true\nbudget_usd"
    )
    deployment.programs.forget()
    state = """module.cluster.aws_eks_cluster.this
module.nat_addresses.aws_eip.protected["wis2-gc-prod-egress-1"]
module.broker_addresses.aws_eip.protected["wis2-gc-prod-broker-1"]
"""
    deployment.programs.answer("terraform", "state", "list", out=state)
    # As AWS answers: in an order of its own.
    pairs = [[f"192.0.2.{n}", f"eipalloc-{n:02}"] for n in (3, 1, 2, 12, 11, 13)]
    deployment.programs.answer("aws", "ec2", "describe-addresses", out=json.dumps(pairs))


def test_production_is_destroyed_by_its_typed_name_only_and_its_addresses_stay(
    deployment: Deployment,
) -> None:
    _protected(deployment)
    for answer in ("prod", "yes", "destroy", "destroy wis2-gc-dev"):
        ended = deployment.run(
            "destroy", "prod", answers=lambda _q, a=answer: a,  # type: ignore[misc]
            CONFIRM="destroy wis2-gc-prod",
        )  # fmt: skip
        assert ended.code == 2
    assert set(deployment.story()) == {"terraform init"}
    ended = deployment.run("destroy", "prod", answers=lambda _q: "destroy wis2-gc-prod")
    assert ended.code == 0, ended.err
    (forgotten,) = deployment.programs.where("terraform", "state", "rm")
    assert [word for word in forgotten.argv if "aws_eip.protected" in word] == forgotten.argv[-2:]
    story = deployment.story()
    assert story.index("terraform state rm") < story.index("terraform plan")
    assert (
        'existing_nat_allocation_ids = ["eipalloc-01", "eipalloc-02", "eipalloc-03"]' in ended.out
    )
    assert 'existing_broker_allocation_ids = ["eipalloc-11"' in ended.out
    assert "stays: the state bucket" in ended.out


def test_production_is_not_destroyed_without_a_terminal_whatever_confirm_says(
    deployment: Deployment,
) -> None:
    _protected(deployment)
    ended = deployment.run("destroy", "prod", CONFIRM="destroy wis2-gc-prod")
    assert (ended.code, "from a terminal only" in ended.err) == (2, True)
    assert deployment.story() == []


def test_what_is_not_disposable_is_not_destroyed_halfway(deployment: Deployment) -> None:
    ended = deployment.run("destroy", "prod", answers=lambda _q: "destroy wis2-gc-prod")
    assert (ended.code, "disposable = true" in ended.err) == (2, True)
    assert deployment.story() == []


@pytest.mark.parametrize("target", ["deploy", "destroy"])
def test_make_without_an_environment_says_so_in_one_line_and_touches_nothing(target: str) -> None:
    tools = REPOSITORY / ".tools/deploy"
    before = tools.exists()
    done = subprocess.run(["make", "-s", target, "ENV="], cwd=REPOSITORY, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == "error: say which environment: ENV=dev or ENV=prod"
    assert tools.exists() == before
