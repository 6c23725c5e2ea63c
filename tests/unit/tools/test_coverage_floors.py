"""The floors of coverage: what is below fails, and none goes down."""

from __future__ import annotations

from collections import Counter

from tools.coverage_floors import both, branches, by_package, lines, problems, raised


def summary(covered: int, of: int, covered_branches: int, of_branches: int) -> Counter[str]:
    return Counter(
        covered_lines=covered, num_statements=of,
        covered_branches=covered_branches, num_branches=of_branches,
    )  # fmt: skip


def test_the_files_of_a_package_are_counted_together_and_those_below_are_another() -> None:
    report = {
        "files": {
            "services/common/src/wis2_gc_common/sqs/queue.py": {
                "summary": {**summary(8, 10, 1, 4), "percent_covered": 64.2}
            },
            "services/common/src/wis2_gc_common/sqs/client.py": {"summary": summary(2, 10, 3, 4)},
            "services/common/src/wis2_gc_common/errors.py": {"summary": summary(5, 5, 0, 0)},
        }
    }
    packages = by_package(report)
    assert packages.keys() == {"wis2_gc_common", "wis2_gc_common.sqs"}
    sqs = packages["wis2_gc_common.sqs"]
    assert (lines(sqs), branches(sqs), both(sqs)) == (50.0, 50.0, 50.0)


def test_a_package_without_branches_has_all_of_them() -> None:
    assert branches(summary(1, 2, 0, 0)) == 100.0
    assert both(summary(1, 2, 0, 0)) == 50.0


def test_a_package_below_its_floor_is_a_problem_and_one_at_it_is_none() -> None:
    packages = {"a": summary(899, 1000, 0, 0), "b": summary(90, 100, 0, 0)}
    assert problems(packages, {"a": 90, "b": 90}) == ["a: 89.90 % are covered, the floor is 90 %"]


def test_a_package_without_a_floor_and_a_floor_without_a_package_are_problems() -> None:
    assert problems({"new": summary(1, 1, 0, 0)}, {"old": 50}) == [
        "new has no floor: make coverage RAISE=yes",
        "old has a floor, and is not a package",
    ]


def test_floors_rise_to_whole_per_cents_with_slack_and_never_fall() -> None:
    packages = {"a": summary(996, 1000, 0, 0), "b": summary(1, 2, 0, 0), "new": summary(2, 2, 0, 0)}
    assert raised(packages, {"a": 90, "b": 80, "old": 7}) == {"a": 99, "b": 80, "new": 99}
