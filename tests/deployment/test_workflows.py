"""What runs in CI, runs nothing that can change under its name, and may do little."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from images.lock import ROOT

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def workflow(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def test_actions_are_pinned_by_commit_and_name_their_version(file: Path) -> None:
    for line in file.read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_a_workflow_may_read_and_a_job_has_to_ask_for_more(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        writes = {k for k, v in job.get("permissions", {}).items() if v == "write"}
        assert writes <= ({"packages", "id-token"} if name == "publish" else set()), name


def test_every_job_has_a_time_limit(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90


def test_a_checkout_leaves_no_token_behind(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_no_expression_is_pasted_into_a_script(workflow: dict[str, Any]) -> None:
    # What a stranger names a branch must not become a command; `needs` are words of GitHub's.
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            found = re.findall(r"\$\{\{\s*([^}]*?)\s*\}\}", step.get("run", ""))
            assert all(re.fullmatch(r"needs\.[\w-]+\.result", text) for text in found), found


def test_the_suite_of_the_cluster_is_told_where_it_is() -> None:
    # kind writes where kubectl looks by itself; the suite goes by KUBECONFIG alone.
    (line,) = (line for line in commands().splitlines() if "make test-cluster" in line)
    assert "KUBECONFIG=" in line


def test_a_target_that_a_workflow_runs_installs_first_what_it_runs() -> None:
    targets = set(re.findall(r"^\W*make ([a-z-]+)", commands(), re.MULTILINE))
    assert {"test", "test-images", "test-compose", "test-cluster"} <= targets
    for target in targets:
        steps = subprocess.check_output(["make", "--dry-run", target], cwd=ROOT, text=True)
        before, runs, _ = steps.partition(".venv/bin/")
        assert "local/bootstrap.sh" in before or not runs, target


def test_the_required_check_asks_for_the_result_of_every_other_job() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    required = jobs.pop("required")
    assert set(required["needs"]) == set(jobs)
    asked = re.findall(r"needs\.([\w-]+)\.result }}\" = success", str(required["steps"]))
    assert set(asked) == set(jobs)


def test_only_a_tag_publishes_and_only_after_the_tests() -> None:
    text = (ROOT / ".github/workflows/images.yml").read_text()
    publish = yaml.safe_load(text)["jobs"]["publish"]
    assert publish["if"] == "github.ref_type == 'tag'"
    assert publish["needs"] == ["test"]


def commands() -> str:
    """Return all that workflows run, one command a line."""
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    run = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
    return run.replace(".ci/run", (ROOT / ".ci/run").read_text())


def test_what_they_make_is_a_target() -> None:
    named = set(re.findall(r"^(?:\s*)make ([a-z-]+)", commands(), re.MULTILINE))
    assert {"test", "test-faults", "test-images"} <= named
    makefiles = (ROOT / "Makefile", *ROOT.glob("*/*.mk"))
    text = "\n".join(path.read_text() for path in makefiles)
    assert named <= set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("suite", "no_excuse"),
    [
        ("test-terraform", "REQUIRE_TERRAFORM=1"),
        ("test-images", "REQUIRED=1"),
        ("test-compose", "REQUIRED=1"),
        ("test-cluster", "REQUIRED=1"),
        ("test-apply", "REQUIRE_TERRAFORM=1"),
        ("test-security", ""),
        ("test-day", ""),
    ],
)
def test_suites_that_make_test_leaves_out_run_and_may_not_skip(suite: str, no_excuse: str) -> None:
    found = [x for x in commands().splitlines() if re.match(rf"\s*make {suite}(\s|$)", x)]
    # .ci/run runs where a tool may not be at hand: some other job must not skip.
    assert any(no_excuse in line for line in found)
