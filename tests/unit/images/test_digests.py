from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from images import digests

if TYPE_CHECKING:
    from pathlib import Path


def test_an_image_without_a_digest_is_named_by_its_tag() -> None:
    assert digests.pinned("python:3.11", {"python:3.11": None}) == "python:3.11"
    assert digests.pinned("other:1", {}) == "other:1"


@pytest.mark.parametrize("text", ["sha256:abc", "latest", "", f"sha512:{'0' * 128}"])
def test_what_is_no_digest_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "digests.json"
    file.write_text(json.dumps({"python:3.11": text}))
    with pytest.raises(ValueError, match="is no digest"):
        digests.read(file)


def test_without_docker_nothing_is_locked_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "digests.json"
    known = {"a:1": f"sha256:{'0' * 64}", "b:1": None}
    file.write_text(json.dumps(known))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert len(digests.lock(file)) == 2
    assert digests.read(file) == known
