from __future__ import annotations

import sys

import pytest

from bench.run import main


@pytest.mark.parametrize(("name", "wanted"), [("QUEUE", "sqs"), ("STORE", "s3")])
def test_a_bench_of_parts_that_are_not_known_is_refused_in_one_line(
    name: str, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setenv(name, "rabbit")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{name}=rabbit is not known" in said
    assert wanted in said
