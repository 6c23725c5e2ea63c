"""`make deploy` against recording stand-ins: what it makes, on what, and when it stops."""

from __future__ import annotations

import json
import stat
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jmespath
import pytest

from deploy.environment import open_environment
from deploy.main import ALL
from deploy.release import ENDING
from testkit.deployment import chart
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
from tests.deployment.effects import (
    Deleted,
    Forgotten,
    Images,
    Infrastructure,
    Objects,
    Refetched,
    Release,
    RolledBack,
    Secret,
    Uninstalled,
    looks_around,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLUSTER = "wis2-gc-dev"
CACHE = "wis2-global-cache"


LOGIN = "mqtts://member:pass%40word@globalbroker.example:8883"
SECRETS = (PASSWORD, "pass%40word", "pass#word")


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    # The smoke test has tests of its own; here only that it comes last.
    monkeypatch.setattr("deploy.smoke.step.smoke_test", lambda *_args, **_options: None)
    used = Deployment(tmp_path)
    yield used
    # Everybody on the machine can read the arguments of a program.
    for call in used.programs.calls:
        assert not any(secret in word for word in call.argv for secret in SECRETS), call.argv


def saying(answer: str) -> Callable[[str], str]:
    return lambda _question: answer


def _in_short(made: list[Any]) -> list[str]:
    """Return each effect in a word or two: releases by their names."""
    return [
        effect.name if isinstance(effect, Release) else type(effect).__name__.lower()
        for effect in made
    ]


def _is_in_order(made: list[str], *order: str) -> bool:
    return sorted(order, key=made.index) == list(order)


ADD_ONS = {"external-secrets", "keda", "external-dns"}


@pytest.mark.parametrize(("env", "add_ons"), [("dev", ADD_ONS), ("prod", {*ADD_ONS, "monitoring"})])
def test_a_deployment_makes_all_there_is_each_on_what_it_stands_on(
    deployment: Deployment, env: str, add_ons: set[str]
) -> None:
    deployment.use(env)
    ended = deployment.run("all", env, CONFIRM="prod")
    assert ended.code == 0, ended.err
    made = _in_short(deployment.effects())
    assert sorted(made) == sorted(
        ["infrastructure", "images", "objects", "objects", *add_ons, CACHE]
    )
    for add_on in add_ons:
        assert _is_in_order(made, "infrastructure", "objects", add_on, CACHE)
    assert _is_in_order(made, "infrastructure", "images", CACHE)
    # A namespace before what is in it; what add-ons define after them.
    first, then = deployment.effects(Objects)
    kinds = [[item["kind"] for item in each.items] for each in (first, then)]
    assert "Namespace" in kinds[0]
    assert "ClusterSecretStore" in kinds[1]
    again = [i for i, each in enumerate(made) if each == "objects"][1]
    assert made.index("external-secrets") < again < made.index(CACHE)


def test_a_deployment_of_dev_runs_every_step_in_order_and_asks_nothing(
    deployment: Deployment,
) -> None:
    ended = deployment.run("all")
    assert ended.code == 0, ended.err
    headings = [line for line in ended.out.splitlines() if line.startswith("[")]
    assert [line.split("] ")[1].split(":")[0] for line in headings] == list(ALL)
    assert ended.out.rstrip().endswith("the smoke test of dev passed")
    assert "egress addresses: 192.0.2.1, 192.0.2.2, 192.0.2.3" in ended.out
    assert "broker addresses: 192.0.2.11, 192.0.2.12, 192.0.2.13" in ended.out
    assert PASSWORD not in ended.out + ended.err


def test_a_deployment_can_be_repeated_and_builds_nothing_twice(deployment: Deployment) -> None:
    assert deployment.run("all").code == 0
    deployment.programs.answer("terraform", "plan", code=0)
    first = deployment.effects()
    ended = deployment.run("all")
    assert ended.code == 0, ended.err
    again = deployment.effects()[len(first) :]
    assert again == [each for each in first if not isinstance(each, Infrastructure | Images)]
    assert len(deployment.programs.where("docker", "login")) == 1
    assert "nothing to change" in ended.out


@pytest.mark.parametrize(
    ("failing", "last"),
    [
        (("terraform", "plan"), ""),
        (("docker", "buildx", "bake"), "images"),
        (("kubectl", "get", "--raw"), "images"),
        (("helm", "upgrade", "keda"), "keda"),
        (("helm", "upgrade", CACHE), CACHE),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_it_stops_at_the_first_failure_with_one_line(
    deployment: Deployment, failing: tuple[str, ...], last: str
) -> None:
    deployment.programs.answer(*failing, code=1, err="it does not work today\n")
    ended = deployment.run("all")
    assert ended.code == 1
    assert _in_short(deployment.effects())[-1:] == ([last] if last else [])
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "the smoke test" not in ended.out


def test_images_are_pushed_by_commit_for_the_nodes(deployment: Deployment) -> None:
    ended = deployment.run("images")
    assert ended.code == 0, ended.err
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/wis2-gc-dev"
    assert deployment.effects() == [
        Images(registry, COMMIT[:12], "linux/amd64", frozenset(DIGESTS))
    ]


def test_a_dirty_tree_gets_a_tag_of_what_is_in_it_in_dev(deployment: Deployment) -> None:
    deployment.programs.answer("git", "status", "--porcelain", out=" M services/x.py\n")
    deployment.programs.answer("git", "write-tree", out=f"{'7' * 40}\n")
    ended = deployment.run("images")
    assert ended.code == 0, ended.err
    (built,) = deployment.effects()
    assert built.tag == f"{COMMIT[:12]}-dirty-777777777777"
    # The same tree is not built again, and is what is released.
    assert deployment.run("images").code == deployment.run("release").code == 0
    assert _in_short(deployment.effects()) == ["images", CACHE]


def test_the_plan_that_was_shown_is_applied_and_removed(deployment: Deployment) -> None:
    assert deployment.run("infra").code == 0
    # One state for each environment.
    state = f"wis2-gc-state-{ACCOUNT}-{REGION}/dev.tfstate"
    assert deployment.effects() == [Infrastructure("terraform/main", state, "dev.tfvars")]
    assert not (deployment.root / ".deploy/dev/plan").exists()


def test_the_operators_own_kubeconfig_is_neither_used_nor_changed(deployment: Deployment) -> None:
    own = deployment.directory / "own"
    own.write_text("mine")
    assert deployment.run("all", KUBECONFIG=str(own)).code == 0
    ours = str(deployment.root / ".deploy/dev/kubeconfig")
    assert {call.variables["KUBECONFIG"] for call in deployment.programs.calls} == {ours}
    assert {each.cluster for each in deployment.effects(Objects, Release)} == {CLUSTER}
    assert own.read_text() == "mine"
    assert stat.S_IMODE((deployment.root / ".deploy/dev/kubeconfig").stat().st_mode) == 0o600
    assert stat.S_IMODE((deployment.root / ".deploy/dev").stat().st_mode) == 0o700


def _releases(deployment: Deployment) -> list[Release]:
    return [each for each in deployment.effects(Release) if each.name == CACHE]


def test_the_release_has_terraforms_values_then_ours_then_the_digests(
    deployment: Deployment,
) -> None:
    file = deployment.root / "helm/wis2-global-cache/values/dev.yaml"
    ours = {"image": {"digests": {"manager": "ours"}}, "domain": {"data": "ours"}}
    file.write_text(json.dumps(ours))
    assert deployment.run("all").code == 0
    (released,) = _releases(deployment)
    assert (released.cluster, released.namespace) == (CLUSTER, "wis2-gc")
    assert (deployment.root / released.chart).samefile(deployment.root / "helm" / CACHE)
    revisions = dict.fromkeys(outputs("dev")["secret_names"]["value"], "version-1")
    assert released.values == chart.merged(
        outputs("dev")["helm_values"]["value"],
        {"image": {"digests": DIGESTS}, "domain": {"data": "ours"}},
        {"secrets": {"revisions": revisions}},
    )


def test_a_changed_secret_rolls_the_pods_that_read_it_and_an_unchanged_one_does_not(
    deployment: Deployment,
) -> None:
    assert deployment.run("images").code == deployment.run("release").code == 0
    assert deployment.run("release").code == 0
    asked = ("aws", "secretsmanager", "list-secret-version-ids", "wis2-gc-dev/broker")
    deployment.programs.answer(*asked, out='"version-2"\n')
    assert deployment.run("release").code == 0
    first, second, third = (each.values["secrets"]["revisions"] for each in _releases(deployment))
    assert second == first
    assert third == {**first, "broker": "version-2"}


def test_secrets_are_fetched_again_before_the_pods_that_read_them_roll(
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
    assert _in_short(deployment.effects()) == ["refetched", CACHE]
    assert deployment.effects(Refetched) == [Refetched(CLUSTER, "wis2-gc")]


def test_a_global_broker_without_a_login_is_named_before_helm_runs(deployment: Deployment) -> None:
    deployment.programs.answer("aws", "secretsmanager", "get-secret-value",
                               "wis2-gc-dev/global-brokers/meteo-fr", out="2\n")  # fmt: skip
    assert deployment.run("images").code == 0
    ended = deployment.run("release")
    assert ended.code == 1
    assert "wis2-gc-dev/global-brokers/meteo-fr is still empty" in ended.err
    assert not _releases(deployment)


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
    assert deployment.effects() == [Secret("wis2-gc-dev/global-brokers/meteo-fr", {"url": LOGIN})]
    assert "pass%40word" not in ended.out + ended.err
    assert "the login of inmet-br is there already" in ended.out
    assert "the login of meteo-fr is stored: mqtts://globalbroker.example:8883" in ended.out


def test_a_login_can_be_put_in_again(deployment: Deployment) -> None:
    ended = deployment.run("logins", BROKER="inmet-br", secrets=saying(LOGIN))
    assert ended.code == 0, ended.err
    assert deployment.effects() == [Secret("wis2-gc-dev/global-brokers/inmet-br", {"url": LOGIN})]
    ended = deployment.run("logins", BROKER="inmet", secrets=saying(LOGIN))
    assert (ended.code, "inmet-br, meteo-fr" in ended.err) == (2, True)


@pytest.mark.parametrize(
    "url", ["", "globalbroker.example", "https://a:b@c", "mqtts://a:pass#word@c", "mqtts://a:b@"]
)
def test_what_is_not_a_url_of_a_broker_is_not_stored(deployment: Deployment, url: str) -> None:
    """A listener would not start with it, and Helm wait for that for a quarter of an hour."""
    deployment.programs.answer(*METEO_FR, out="2\n")
    ended = deployment.run("logins", secrets=saying(url))
    assert ended.code == 1
    assert ended.err.startswith("error: the URL of meteo-fr ")
    assert "pass" not in ended.err
    assert deployment.effects() == []


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
    assert not _releases(deployment)
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
    assert f"wis2-gc-listener:{COMMIT[:12]}, of this checkout, is not in the reg" in ended.err
    assert "run `make deploy-images ENV=dev` first" in ended.err
    assert deployment.effects() == []


@pytest.mark.parametrize(("version", "helm"), [("v3.18.4", 3), ("v4.2.3", 4)])
def test_both_helms_wait_apply_and_take_back_in_the_same_way(
    deployment: Deployment, version: str, helm: int
) -> None:
    deployment.programs.answer("helm", "version", out=version)
    for step in ("addons", "images", "release"):
        assert deployment.run(step).code == 0
    assert deployment.run("rollback", REVISION="1").code == 0
    assert all(each.is_taken_back for each in deployment.effects(Release))
    told = [each.helm for each in deployment.effects(Release, RolledBack)]
    assert told == [helm] * (len(ADD_ONS) + 2)


def test_definitions_of_resources_are_upgraded_with_the_chart_of_an_add_on(
    deployment: Deployment,
) -> None:
    definitions = "kind: CustomResourceDefinition\n"
    deployment.programs.answer("helm", "show", "crds", "keda", out=definitions)
    assert deployment.run("addons").code == 0
    made = deployment.effects()
    defined = made.index(Objects(CLUSTER, [{"kind": "CustomResourceDefinition"}]))
    assert _in_short(made).count("objects") == 3
    assert _in_short(made)[defined + 1] == "keda"


def test_production_asks_with_what_will_be_done_and_a_yes_goes_on(deployment: Deployment) -> None:
    deployment.use("prod")
    deployment.programs.answer(
        "terraform", "show", "-json",
        out=plan(module__a=["create"], module__b=["update"], module__c=["delete", "create"]),
    )  # fmt: skip
    ended = deployment.run("all", "prod", answers=saying("prod"))
    assert ended.code == 0, ended.err
    (question,) = deployment.questions
    assert "Terraform on prod: 2 to add, 1 to change, 1 to destroy" in question
    assert "will be destroyed or replaced: module.c" in ended.out
    assert _in_short(deployment.effects())[-1] == CACHE


def test_any_other_answer_leaves_production_as_it_is(deployment: Deployment) -> None:
    deployment.use("prod")
    ended = deployment.run("infra", "prod", answers=saying("yes"))
    assert ended.code == 2
    assert "not confirmed" in ended.err
    assert deployment.effects() == []


def test_without_a_terminal_production_requires_the_word_in_confirm(
    deployment: Deployment,
) -> None:
    deployment.use("prod")
    ended = deployment.run("infra", "prod")
    assert (ended.code, "CONFIRM=prod" in ended.err) == (2, True)
    assert deployment.run("infra", "prod", CONFIRM="dev").code == 2
    assert deployment.effects() == []
    assert deployment.run("infra", "prod", CONFIRM="prod").code == 0
    assert _in_short(deployment.effects()) == ["infrastructure"]


def _refused(deployment: Deployment, env: str = "dev", step: str = "all") -> str:
    """Return the one line, after nothing was touched."""
    ended = deployment.run(step, env, answers=saying("prod"))
    assert ended.code == 2, (ended.out, ended.err)
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert not (deployment.root / ".deploy" / env).exists()
    assert [call.argv for call in deployment.programs.calls if not looks_around(call)] == []
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
        (("aws", "sts"), {"code": 253, "err": "Unable to locate"}, "there is no AWS login"),
        (("aws", "sts"), {"out": ""}, "there is no AWS login"),
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


def test_a_login_that_may_not_look_at_quotas_may_deploy(deployment: Deployment) -> None:
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
    assert "no such bucket yet, run `make deploy-bootstrap ENV=dev`" in _refused(
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
        assert deployment.run(step, "prod", answers=saying("prod")).code == 2


@pytest.mark.parametrize(
    "step", ["addons", "release", "rollout", "smoke", "status", "rollback", "logs"]
)
def test_each_step_on_the_cluster_begins_with_a_kubeconfig_for_it(
    deployment: Deployment, step: str
) -> None:
    """It may have led elsewhere before: another account, or a former cluster of the same name."""
    missing = "An error occurred (ResourceNotFoundException): No cluster found\n"
    deployment.programs.answer("aws", "eks", "update-kubeconfig", code=254, err=missing)
    ended = deployment.run(step)
    assert (ended.code, "No cluster found" in ended.err) == (1, True)
    assert deployment.programs.calls[-1].has("aws", "eks", "update-kubeconfig")
    assert deployment.effects() == []


def test_without_infrastructure_the_step_that_makes_it_is_named(deployment: Deployment) -> None:
    deployment.programs.answer("terraform", "output", "-json", out="{}")
    ended = deployment.run("addons")
    assert ended.code == 1
    assert "make deploy-infra ENV=dev" in ended.err


def test_the_state_bucket_is_made_once(deployment: Deployment) -> None:
    assert deployment.run("bootstrap").code == 0
    assert deployment.effects() == [
        Infrastructure(
            "terraform/bootstrap", "bootstrap.tfstate", f"account_id={ACCOUNT} region={REGION}"
        )
    ]
    # Its data are not those of terraform/main.
    assert deployment.run("infra").code == 0
    where = {
        call.option("-chdir")[0]: call.variables["TF_DATA_DIR"]
        for call in deployment.programs.where("terraform", "init")
    }
    assert len(set(where.values())) == 2
    deployment.programs.forget()
    deployment.programs.answer(
        "aws", "s3api", "list-buckets", out=json.dumps([f"wis2-gc-state-{ACCOUNT}-{REGION}"])
    )
    assert deployment.run("bootstrap").code == 0
    assert deployment.effects() == []


def test_a_rollback_asks_in_production_and_waits_for_the_pods(deployment: Deployment) -> None:
    deployment.use("prod")
    assert deployment.run("rollback", "prod", answers=saying("no")).code == 2
    assert deployment.effects() == []
    ended = deployment.run("rollback", "prod", REVISION="7", answers=saying("prod"))
    assert ended.code == 0, ended.err
    assert deployment.effects() == [RolledBack("wis2-gc-prod", "wis2-gc", CACHE, "7", helm=3)]
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
    assert deployment.run("rollback", REVISION="last").code == 2
    assert deployment.effects() == [RolledBack(CLUSTER, "wis2-gc", CACHE, target, helm=3)]


def test_without_a_revision_that_ran_nothing_is_rolled_back(deployment: Deployment) -> None:
    only = history(("deployed", "Install complete"))
    deployment.programs.answer("helm", "history", "-o", "json", out=only)
    ended = deployment.run("rollback")
    assert ended.code == 2
    assert "there is no earlier revision that ran" in ended.err
    assert deployment.effects() == []


PENDING = [INSTALLED, ("deployed", "dev 2"), ("pending-upgrade", "Preparing upgrade")]


def test_a_release_that_was_interrupted_long_ago_is_rolled_back_first(
    deployment: Deployment,
) -> None:
    assert deployment.run("images").code == 0
    deployment.programs.answer("helm", "history", "-o", "json", out=history(*PENDING))
    ended = deployment.run("release")
    assert ended.code == 0, ended.err
    assert "revision 3 was interrupted (pending-upgrade); going back to 2 first" in ended.out
    assert _in_short(deployment.effects()) == ["images", "rolledback", CACHE]
    assert [each.revision for each in deployment.effects(RolledBack)] == ["2"]


@pytest.mark.parametrize(
    ("revisions", "age_s", "way_out"),
    [
        (PENDING, 120.0, "another Helm runs"),
        ([("pending-install", "Initial install underway")], 7200.0, "helm uninstall"),
    ],
)
def test_a_helm_that_may_be_at_work_is_not_disturbed(
    deployment: Deployment, revisions: list[tuple[str, str]], age_s: float, way_out: str
) -> None:
    assert deployment.run("images").code == 0
    text = history(*revisions, age_s=age_s)
    deployment.programs.answer("helm", "history", "-o", "json", out=text)
    ended = deployment.run("release")
    assert ended.code == 2
    assert way_out in ended.err
    assert _in_short(deployment.effects()) == ["images"]


ROLLOUT = ("kubectl", "rollout", "status")


@pytest.mark.parametrize("workload", WORKLOADS.split())
def test_a_rollout_is_waited_for_of_each_workload(deployment: Deployment, workload: str) -> None:
    ended = deployment.run("rollout")
    assert ended.code == 0, ended.err
    assert "ok  rollouts       2 workloads, all pods new and ready" in ended.out
    deployment.programs.answer(*ROLLOUT, workload, code=1)
    assert deployment.run("rollout").code == 1


def test_a_rollout_that_does_not_end_shows_the_pods_and_what_is_the_matter(
    deployment: Deployment,
) -> None:
    deployment.programs.answer(*ROLLOUT, code=1)
    ended = deployment.run("rollout")
    assert (ended.code, ended.err) == (
        1,
        "error: `kubectl rollout status` ended with exit code 1\n",
    )
    pods, events = deployment.programs.calls[-2:]
    assert pods.has("get", "pod")
    assert events.has("events")


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
    assert (ended.code, "not one of listener, manager" in ended.err) == (2, True)


@pytest.mark.parametrize("item", ["synthetic", "fake"])
def test_nothing_is_made_up_in_production(deployment: Deployment, item: str) -> None:
    deployment.use("prod")
    ended = deployment.run("smoke", "prod", ITEM=item)
    assert ended.code == 2


def test_dev_is_destroyed_from_the_outside_in(deployment: Deployment) -> None:
    deployment.programs.answer("terraform", "state", "list",
                               out="module.cluster.aws_eks_cluster.this\n")  # fmt: skip
    ended = deployment.run("destroy")
    assert ended.code == 0, ended.err
    made = deployment.effects()
    assert made[:2] == [
        Uninstalled(CLUSTER, "wis2-gc", CACHE),
        Deleted(CLUSTER, "namespace", ("wis2-gc", "monitoring")),
    ]
    # Add-ons after what they look after: they remove what they have made in AWS.
    assert {each.name for each in made[2:-1]} == ADD_ONS
    assert {each.cluster for each in made[2:-1]} == {CLUSTER}
    state = f"wis2-gc-state-{ACCOUNT}-{REGION}/dev.tfstate"
    assert made[-1] == Infrastructure("terraform/main", state, "dev.tfvars", is_destroyed=True)


def test_volumes_that_do_not_go_stop_a_destruction_before_the_add_ons_go(
    deployment: Deployment,
) -> None:
    deployment.programs.answer("terraform", "state", "list",
                               out="module.cluster.aws_eks_cluster.this\n")  # fmt: skip
    deployment.programs.answer("kubectl", "get", "persistentvolume", out="persistentvolume/pvc-1\n")
    deployment.programs.answer("kubectl", "wait", "persistentvolume/pvc-1", code=1)
    assert deployment.run("destroy").code == 1
    assert _in_short(deployment.effects()) == ["uninstalled", "deleted"]


PROTECTED = [
    'module.nat_addresses.aws_eip.protected["wis2-gc-prod-egress-1"]',
    'module.broker_addresses.aws_eip.protected["wis2-gc-prod-broker-1"]',
]


def _protected(deployment: Deployment) -> None:
    deployment.use("prod")
    deployment.set(
        "terraform/environments/prod.tfvars", "budget_usd", "disposable = true\nbudget_usd"
    )
    deployment.programs.forget()
    state = ["module.cluster.aws_eks_cluster.this", *PROTECTED]
    deployment.programs.answer("terraform", "state", "list", out="\n".join(state))
    # As AWS answers: in an order of its own.
    pairs = [[f"192.0.2.{n}", f"eipalloc-{n:02}"] for n in (3, 1, 2, 12, 11, 13)]
    deployment.programs.answer("aws", "ec2", "describe-addresses", out=json.dumps(pairs))


def test_production_is_destroyed_by_its_typed_name_only_and_its_addresses_stay(
    deployment: Deployment,
) -> None:
    _protected(deployment)
    for answer in ("prod", "yes", "destroy", "destroy wis2-gc-dev"):
        ended = deployment.run(
            "destroy", "prod", answers=saying(answer), CONFIRM="destroy wis2-gc-prod"
        )  # fmt: skip
        assert ended.code == 2
    assert deployment.effects() == []
    ended = deployment.run("destroy", "prod", answers=saying("destroy wis2-gc-prod"))
    assert ended.code == 0, ended.err
    forgotten, destroyed = deployment.effects(Forgotten, Infrastructure)
    assert forgotten == Forgotten(tuple(PROTECTED))
    assert destroyed.is_destroyed
    assert (
        'existing_nat_allocation_ids = ["eipalloc-01", "eipalloc-02", "eipalloc-03"]' in ended.out
    )
    assert 'existing_broker_allocation_ids = ["eipalloc-11"' in ended.out
    assert "stays: the state bucket" in ended.out


def test_production_is_not_destroyed_without_a_terminal_also_with_confirm(
    deployment: Deployment,
) -> None:
    _protected(deployment)
    ended = deployment.run("destroy", "prod", CONFIRM="destroy wis2-gc-prod")
    assert (ended.code, "from a terminal only" in ended.err) == (2, True)
    assert deployment.effects() == []


def test_what_is_not_disposable_is_not_destroyed_halfway(deployment: Deployment) -> None:
    ended = deployment.run("destroy", "prod", answers=saying("destroy wis2-gc-prod"))
    assert (ended.code, "disposable = true" in ended.err) == (2, True)
    assert deployment.effects() == []


@pytest.mark.parametrize("target", ["deploy", "destroy"])
def test_make_without_an_environment_says_so_in_one_line_and_touches_nothing(target: str) -> None:
    tools = REPOSITORY / ".tools/deploy"
    before = tools.exists()
    done = subprocess.run(["make", "-s", target, "ENV="], cwd=REPOSITORY, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == "error: name the environment: ENV=dev or ENV=prod"
    assert tools.exists() == before
